"""The threads of a server: workers, calls into the loop's thread, and who is in which."""

import contextvars
import importlib
import logging
import queue
import threading

import pytest
from acceptors import until
from associations import TIMEOUT
from loops import Loop


@pytest.fixture
def module(nset):
    return importlib.import_module("nset.scp._threads")


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def workers(module, loop, monkeypatch):
    """Makes pools of workers, which are closed in the end; none ends for want of work."""
    monkeypatch.setattr(module, "_IDLE_SECONDS", 3600)
    made = []

    def make(limit=1, run=lambda job: job()):
        made.append(module.Workers(loop, limit, "nset-test", run))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


class Jobs:
    """Jobs that are held until they may end."""

    def __init__(self):
        self.begun, self.ended = queue.Queue(), queue.Queue()
        self._may_end = threading.Semaphore(0)

    def __call__(self):
        self.begun.put(threading.current_thread())
        assert self._may_end.acquire(timeout=TIMEOUT)
        self.ended.put(threading.current_thread())

    def may_end(self, number):
        """Let so many end; give the threads in which they did."""
        for _ in range(number):
            self._may_end.release()
        return [self.ended.get(timeout=TIMEOUT) for _ in range(number)]

    def thread(self):
        """Wait for one that begins, and give its thread."""
        return self.begun.get(timeout=TIMEOUT)


def thread_of(workers):
    """Have the workers do something; give the thread that did it."""
    done = queue.Queue()
    workers.submit(lambda: done.put(threading.current_thread()))
    return done.get(timeout=TIMEOUT)


def is_idle(workers):
    return workers._started == workers._ended == workers._submitted


# -- Workers ---------------------------------------------------------------------------------------


def test_there_is_no_thread_before_there_is_a_job(workers):
    pool = workers()
    assert pool._threads == 0
    thread = thread_of(pool)
    assert (thread.name, thread.daemon) == ("nset-test", True)


def test_jobs_are_called_by_what_was_given(workers):
    called = queue.Queue()
    pool = workers(run=lambda job: called.put((job, job())))
    pool.submit(lambda: "done")
    job, result = called.get(timeout=TIMEOUT)
    assert (job(), result) == ("done", "done")


def test_quick_jobs_share_a_thread(workers, loop, module):
    pool = workers(8)
    threads = set()
    for _ in range(20):
        threads.add(thread_of(pool))
        until(lambda: is_idle(pool))
        loop.run(2 * module._MAX_WAIT_SECONDS)
    assert len(threads) == 1
    assert loop.pending == []


def test_what_waits_gets_a_thread_of_its_own_up_to_the_limit(workers, loop, module):
    pool, jobs = workers(2), Jobs()
    for _ in range(3):
        pool.submit(jobs)
    first = jobs.thread()
    loop.run(module._MAX_WAIT_SECONDS)
    second = jobs.thread()
    assert first is not second
    loop.run(10 * module._MAX_WAIT_SECONDS)
    assert pool._threads == 2
    assert jobs.begun.empty()
    assert len(jobs.may_end(1)) == 1
    assert jobs.thread() in (first, second)
    assert set(jobs.may_end(2)) == {first, second}


def test_a_job_waits_the_whole_time_for_a_thread(workers, loop, module):
    """One that comes just before a look is not taken for one that has waited since the last."""
    pool, jobs = workers(2), Jobs()
    pool.submit(jobs)
    jobs.thread()
    loop.run()  # the first look notes what there is
    pool.submit(jobs)
    loop.run(module._MAX_WAIT_SECONDS)
    assert pool._threads == 1
    loop.run(module._MAX_WAIT_SECONDS)
    assert pool._threads == 2
    jobs.may_end(2)


def test_a_raised_limit_counts_from_the_next_look(workers, loop, module):
    pool, jobs = workers(1), Jobs()
    pool.submit(jobs)
    pool.submit(jobs)
    jobs.thread()
    loop.run(2 * module._MAX_WAIT_SECONDS)
    assert pool._threads == 1
    pool.limit = 2
    loop.run(module._MAX_WAIT_SECONDS)
    jobs.thread()
    jobs.may_end(2)


def test_a_thread_that_has_not_come_to_its_job_is_enough(workers, loop, module):
    """Where the machine is what jobs wait for, more threads would make it worse."""
    pool = workers(2)
    thread_of(pool)
    until(lambda: is_idle(pool))
    loop.run(2 * module._MAX_WAIT_SECONDS)
    with pool._lock:  # the thread has taken the job, and has not begun
        pool._submitted += 1
        pool._is_watched = True
    pool._watch_later()
    loop.run(3 * module._MAX_WAIT_SECONDS)
    assert pool._threads == 1
    pool._jobs.put(lambda: None)
    until(lambda: is_idle(pool))


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_job_that_raises_leaves_the_thread_to_others(workers, monkeypatch, error):
    failures = queue.Queue()
    monkeypatch.setattr(threading, "excepthook", failures.put)

    def fails():
        raise error("for a reason")

    pool = workers()
    pool.submit(fails)
    failure = failures.get(timeout=TIMEOUT)
    assert (failure.exc_type, str(failure.exc_value)) == (error, "for a reason")
    assert thread_of(pool) is failure.thread


def test_threads_end_once_they_have_done_what_they_do(workers):
    pool, jobs = workers(), Jobs()
    pool.submit(jobs)
    thread = jobs.thread()
    pool.close()
    assert thread.is_alive()
    jobs.may_end(1)
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert pool._threads == 0


def test_closed_workers_take_no_more_and_get_no_more(workers, loop, module):
    """A thread that was added for what still waits would not be told to end."""
    pool, jobs = workers(2), Jobs()
    for _ in range(2):
        pool.submit(jobs)
    thread = jobs.thread()
    loop.run()
    pool.close()
    loop.run(2 * module._MAX_WAIT_SECONDS)
    assert loop.pending == []
    assert set(jobs.may_end(2)) == {thread}
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    pool.submit(jobs)
    assert pool._threads == 0


def test_a_thread_without_work_ends_and_the_next_job_gets_another(workers, module, monkeypatch):
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0)
    pool = workers()
    first = thread_of(pool)
    first.join(TIMEOUT)
    assert not first.is_alive()
    assert pool._threads == 0
    assert thread_of(pool) is not first


def test_a_thread_that_the_system_does_not_give_is_asked_for_again(
    workers, loop, module, monkeypatch, caplog
):
    def start(self):
        raise RuntimeError("can't start new thread")

    pool, done = workers(2), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        pool.submit(done.set)
        loop.run(3 * module._MAX_WAIT_SECONDS)
    assert not done.is_set()
    assert caplog.record_tuples == [
        (
            "nset",
            logging.ERROR,
            "No thread for nset-test, which waits for one: can't start new thread",
        )
    ]
    loop.run(module._MAX_WAIT_SECONDS)
    assert done.wait(TIMEOUT)


def test_jobs_are_done_though_the_loop_is_closed(workers, loop):
    loop.close()
    assert thread_of(workers()).is_alive()


# -- Calls into the loop's thread ------------------------------------------------------------------


@pytest.fixture
def callbacks(module, loop):
    return module.Callbacks(loop)


def test_many_calls_take_one_wakeup(callbacks, loop):
    called = []
    caller = threading.Thread(
        target=lambda: [callbacks.call(lambda *args: called.append(args), 1, n) for n in range(5)]
    )
    caller.start()
    caller.join(TIMEOUT)
    assert (loop.wakeups, called) == (1, [])
    loop.run()
    assert called == [(1, n) for n in range(5)]
    callbacks.call(called.clear)
    loop.run()
    assert (loop.wakeups, called) == (2, [])


def test_what_a_call_asks_for_comes_after_the_others(callbacks, loop):
    called = []
    callbacks.call(lambda: callbacks.call(called.append, "last"))
    callbacks.call(called.append, "first")
    loop.run()
    assert called == ["first", "last"]


def test_a_call_that_fails_is_told_of_and_the_others_are_made(callbacks, loop):
    called, error = [], ValueError("for a reason")

    def fails():
        raise error

    callbacks.call(fails)
    callbacks.call(called.append, 1)
    loop.run()
    assert called == [1]
    assert loop.errors == [{"message": f"Exception in {fails}", "exception": error}]


@pytest.mark.parametrize("later", [[], ["later"]])
def test_a_call_that_breaks_off_the_loop_leaves_the_others_for_its_next_turn(
    callbacks, loop, later
):
    called = []

    def breaks_off():
        for item in later:
            callbacks.call(called.append, item)
        raise KeyboardInterrupt

    for function in (breaks_off, lambda: called.append("first"), lambda: called.append("second")):
        callbacks.call(function)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert called == []
    loop.run()
    assert called == ["first", "second", *later]
    assert loop.errors == []


def test_calls_to_a_closed_loop_are_not_kept(callbacks, loop):
    loop.close()
    callbacks.call(pytest.fail, "closed")
    callbacks.call(pytest.fail, "closed")
    assert callbacks._waiting == []
    assert loop.wakeups == 0


# -- Turns -----------------------------------------------------------------------------------------


@pytest.fixture
def turns(module, loop):
    return module.Turns(loop)


def test_one_function_is_called_in_each_turn_of_the_loop(turns, loop):
    called = []

    def call(number):
        called.append(number)
        loop.call_soon(called.append, "another's")

    for number in range(3):
        turns.add(lambda number=number: call(number))
    assert called == []
    loop.run()
    assert called == [0, "another's", 1, "another's", 2, "another's"]
    assert loop.pending == []


def test_a_function_that_raises_leaves_the_others_their_turns(turns, loop):
    called = []

    def fails():
        raise KeyboardInterrupt

    turns.add(fails)
    turns.add(lambda: called.append(1))
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert called == []
    loop.run()
    assert called == [1]
    turns.add(lambda: called.append(2))
    loop.run()
    assert called == [1, 2]


# -- Who is in which -------------------------------------------------------------------------------


@pytest.fixture
def threads(module, loop):
    """The threads of a server, of which this one is the loop's."""
    threads = module.Threads(loop, 1, 1, None)
    yield threads
    threads.close()


def in_worker(threads, function):
    got = queue.Queue()
    threads.service_workers.submit(lambda: got.put(function()))
    return got.get(timeout=TIMEOUT)


def in_thread(function):
    got = queue.Queue()
    thread = threading.Thread(target=lambda: got.put(function()))
    thread.start()
    thread.join(TIMEOUT)
    return got.get(timeout=TIMEOUT)


def test_whose_a_thread_is(threads, module, loop):
    def whose():
        return threads.is_loop_thread(), threads.is_own_thread()

    others = module.Threads(loop, 1, 1, None)
    try:
        assert whose() == (True, True)
        assert in_worker(threads, whose) == (False, True)
        assert in_worker(others, whose) == (False, False)
        assert in_thread(whose) == (False, False)
    finally:
        others.close()


def test_the_loops_thread_does_not_wait(threads):
    with pytest.raises(RuntimeError, match="would hold up the loop"):
        threads.may_wait()
    assert in_worker(threads, threads.may_wait) is None
    assert in_thread(threads.may_wait) is None


def test_in_loop_is_now_in_its_thread_and_soon_from_another(threads, loop):
    called = []
    threads.in_loop(lambda: called.append("now"))
    assert called == ["now"]
    in_thread(lambda: threads.in_loop(lambda: called.append("soon")))
    assert called == ["now"]
    loop.run()
    assert called == ["now", "soon"]


def test_call_later_is_after_a_while_from_any_thread(threads, loop):
    called = []
    in_thread(lambda: threads.call_later(5, lambda: called.append(loop.now)))
    loop.run(10)
    assert called == [5]


def test_what_is_to_end_the_loop(threads):
    def ends():
        return [
            threads.is_for_loop(error()) for error in (KeyboardInterrupt, SystemExit, ValueError)
        ]

    assert ends() == [True, True, False]
    assert in_worker(threads, ends) == [False, False, False]


def test_each_job_begins_with_the_variables_that_were_given(module, loop):
    variable = contextvars.ContextVar("variable", default="none")
    variables = contextvars.Context()
    variables.run(variable.set, "given")
    threads = module.Threads(loop, 1, 1, variables)

    def change():
        return variable.get(), variable.set("changed")

    try:
        assert in_worker(threads, change)[0] == "given"
        assert in_worker(threads, variable.get) == "given"
    finally:
        threads.close()
    assert variables[variable] == "given"
