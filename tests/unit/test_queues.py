"""Queues and timers of an association: pynetdicom's and the standard library's are the oracles."""

import importlib
import queue
import threading
from types import SimpleNamespace

import pynetdicom.timer
import pytest
from acceptors import until
from associations import TIMEOUT
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import Loop

quick = settings(max_examples=200)


@pytest.fixture
def module(nset):
    return importlib.import_module("nset.scp._queues")


def waiting(mailbox, number):
    """Wait until so many threads wait for something to come."""
    until(lambda: mailbox._condition is not None and len(mailbox._condition._waiters) == number)


class Getter(threading.Thread):
    """A thread that takes something from a mailbox."""

    def __init__(self, take, *args):
        super().__init__(target=lambda: self._got.put(take(*args)), daemon=True)
        self._got = queue.Queue()
        self.start()

    def got(self):
        self.join(TIMEOUT)
        return self._got.get(timeout=0)


# -- Mailboxes -------------------------------------------------------------------------------------


def test_a_mailbox_is_a_queue(module):
    """Whatever is done to it by one thread, it does what `queue.Queue` does."""

    def got(box, **options):
        try:
            return box.get(**options)
        except queue.Empty:
            return queue.Empty

    @quick
    @given(st.lists(st.integers() | st.sampled_from([{"block": False}, {"timeout": 0}])))
    def check(steps):
        box, oracle = module.Mailbox(), queue.Queue()
        for step in steps:
            if isinstance(step, int):
                box.put(step)
                oracle.put(step)
            else:
                assert got(box, **step) == got(oracle, **step)
            assert (box.empty(), box.qsize()) == (oracle.empty(), oracle.qsize())
            assert box.queue == list(oracle.queue)

    check()


def test_nothing_to_wait_with_is_made_before_someone_waits(module):
    box = module.Mailbox()
    box.put(1)
    assert box.get(block=False) == 1
    with pytest.raises(queue.Empty):
        box.get(False)
    assert box._condition is None


def test_who_waits_gets_what_comes(module):
    box = module.Mailbox()
    getter = Getter(box.get)
    waiting(box, 1)
    box.put("item")
    assert getter.got() == "item"
    assert box.empty()


def test_each_of_several_gets_one(module):
    box = module.Mailbox()
    getters = [Getter(box.get) for _ in range(4)]
    waiting(box, 4)
    for item in range(4):
        box.put(item)
    assert sorted(getter.got() for getter in getters) == [0, 1, 2, 3]


# -- Responses -------------------------------------------------------------------------------------


def response(message_id):
    return 1, SimpleNamespace(MessageIDBeingRespondedTo=message_id)


def test_a_response_is_for_whom_it_answers(module):
    responses = module.Responses()
    first, second, third = response(7), response(8), response(7)
    for item in (first, second, third):
        responses.put(item)
    assert responses.take(8, 0) is second
    assert responses.take(8, 0) is None
    assert responses.take(7, 0) is first
    assert responses.take(7, 0) is third
    assert responses.empty()


def test_who_asks_for_any_response_gets_the_oldest(module):
    responses = module.Responses()
    first, second = response(7), response(8)
    responses.put(first)
    responses.put(second)
    assert responses.take(None, 0) is first
    assert responses.get(block=False) is second


def test_each_waits_for_its_own(module):
    responses = module.Responses()
    getters = {number: Getter(responses.take, number, TIMEOUT) for number in (1, 2, 3)}
    waiting(responses, 3)
    items = {number: response(number) for number in (3, 1, 2)}
    for item in items.values():
        responses.put(item)
    assert {number: getter.got() for number, getter in getters.items()} == items


@pytest.mark.parametrize("late", [0, 0.1])
def test_who_wakes_late_waits_once_more(module, monkeypatch, late):
    """Its process has stood still, and the loop has yet to read what came meanwhile."""
    now, waits = [1.0], []

    def wait(seconds):
        waits.append(seconds)
        now[0] += seconds + late
        return len(waits) == 2

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert module.wait_in_time(wait, 5.0) is (late > 0)
    assert waits == [5.0, module._LAST_READ_SECONDS] if late else [5.0]


def test_what_pynetdicom_tells_of_the_end_is_no_response(module):
    responses = module.Responses()
    responses.put((None, None))
    assert responses.empty()
    assert not responses.is_closed
    assert responses.take(None, 0) is None


def test_nobody_waits_any_longer_once_no_more_will_come(module):
    responses = module.Responses()
    getters = [Getter(responses.take, number, None) for number in (1, None)]
    waiting(responses, 2)
    responses.close()
    assert [getter.got() for getter in getters] == [None, None]
    assert responses.is_closed


def test_what_has_come_is_taken_after_the_end(module):
    responses, item = module.Responses(), response(7)
    responses.put(item)
    responses.close()
    assert responses.take(8, None) is None
    assert responses.take(7, None) is item
    assert responses.take(7, None) is None


# -- Timers ----------------------------------------------------------------------------------------


@pytest.fixture
def loop(module, monkeypatch):
    """A loop by whose clock the timers go, nset's and pynetdicom's."""
    loop = Loop()
    clocks = SimpleNamespace(monotonic=loop.monotonic, time=loop.monotonic)
    monkeypatch.setattr(module, "time", clocks)
    monkeypatch.setattr(pynetdicom.timer, "time", clocks)
    return loop


@pytest.fixture
def expired():
    """When a timer has expired."""
    return []


@pytest.fixture
def timer(module, loop, expired):
    """A timer of 10 seconds."""
    return module.Timer(10, loop, lambda: expired.append(loop.now))


def test_a_timer_expires_once(timer, loop, expired):
    timer.start()
    loop.run(9.9)
    assert expired == []
    loop.run(100)
    assert expired == [10]


def test_a_timer_that_is_not_started_does_not_expire(timer, loop, expired):
    loop.run(100)
    assert (expired, loop.wakeups) == ([], 0)


def test_a_timer_that_is_started_anew_counts_from_zero_and_costs_no_wakeup(timer, loop, expired):
    for start in (timer.start, timer.restart, timer.start):
        start()
        loop.run(9)
    assert expired == []
    assert (loop.wakeups, len(loop.pending)) == (1, 1)
    loop.run(1)
    assert expired == [28]


def test_a_timer_that_is_stopped_does_not_expire(timer, loop, expired):
    timer.start()
    loop.run(9)
    timer.stop()
    loop.run(100)
    assert (expired, loop.pending) == ([], [])
    timer.start()
    loop.run(10)
    assert expired == [119]


@pytest.mark.parametrize("value", [3, 30, 0, None])
def test_a_timeout_that_is_set_counts_for_the_time_that_runs(timer, loop, expired, value):
    timer.start()
    loop.run(2)
    timer.timeout = value
    assert timer.timeout == value
    loop.run(100)
    assert expired == ([] if value is None else [max(value, 2)])
    assert loop.pending == []


def test_a_timeout_that_is_set_before_the_start(timer, loop, expired):
    timer.timeout = 3
    assert loop.wakeups == 0
    timer.start()
    timer.timeout = 3
    loop.run(100)
    assert (expired, loop.wakeups) == ([3], 1)


def test_a_timer_that_never_expires_may_come_to_do_so(module, loop, expired):
    timer = module.Timer(None, loop, lambda: expired.append(loop.now))
    timer.start()
    loop.run(100)
    assert (expired, loop.wakeups) == ([], 0)
    timer.timeout = 110
    loop.run(100)
    assert expired == [110]


@pytest.mark.parametrize(("early", "at"), [(1 / 2048, 10 - 1 / 2048), (1 / 8, 10)])
def test_a_loop_whose_clock_is_coarse(timer, loop, expired, early, at):
    """What is left of a millisecond is over; more than that is waited for."""
    timer.start()
    loop.run()
    (call,) = loop.pending
    call.due -= early
    loop.run(20)
    assert expired == [at]


def test_a_closed_timer_lets_go(timer, loop, expired):
    timer.start()
    loop.run()
    timer.close()
    assert loop.pending == []
    timer.start()
    timer.timeout = 1
    loop.run(100)
    assert (expired, loop.pending) == ([], [])
    timer.close()


def test_a_timer_of_a_closed_loop_does_nothing(timer, loop, expired):
    loop.close()
    timer.start()
    timer.timeout = 1
    loop.run(100)
    assert (expired, loop.wakeups) == ([], 0)


def test_a_timer_tells_what_pynetdicoms_does(module, loop):
    """As long as it runs: it has stopped when it expires, and when it is stopped."""
    seconds = st.integers(0, 8).map(lambda eighths: eighths / 8)
    steps = st.sampled_from(["start", "restart"]) | st.tuples(st.just("pass"), seconds)
    steps |= st.tuples(st.just("set"), st.none() | seconds)

    @quick
    @given(st.none() | seconds, st.lists(steps))
    def check(timeout, steps):
        timer = module.Timer(timeout, loop, lambda: None)
        stock = pynetdicom.timer.Timer(timeout)
        for step in steps:
            match step:
                case ("pass", number):
                    loop.now += number  # the loop itself is late
                case ("set", number):
                    timer.timeout = stock.timeout = number
                case name:
                    getattr(timer, name)()
                    getattr(stock, name)()
            told = [(one.expired, one.remaining, one.timeout) for one in (timer, stock)]
            assert told[0] == told[1]

    check()


def test_an_idle_timer_counts_from_what_was_heard_last(module, loop, expired):
    path = SimpleNamespace(last_received=0.0)
    timer = module.IdleTimer(10, loop, lambda: expired.append(loop.now), path)
    timer.start()
    loop.run(6)
    path.last_received = 6
    assert timer.remaining == 10
    loop.run(9)
    assert expired == []
    timer.start()  # 15 is later than 6
    loop.run(9)
    assert (expired, timer.remaining) == ([], 1)
    loop.run(1)
    assert expired == [25]


# -- Deadlines -------------------------------------------------------------------------------------


@pytest.fixture
def deadlines_of(nset):
    return importlib.import_module("nset.scp._implementation").Deadlines


def test_deadlines_are_kept_like_a_timer_for_each_item(deadlines_of):
    @quick
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("add"), st.integers(0, 4), st.sampled_from([1, 2, 5])),
                st.tuples(st.just("discard"), st.integers(0, 4)),
                st.tuples(st.just("wait"), st.sampled_from([0.5, 1, 3])),
            )
        )
    )
    def check(steps):
        loop, oracle, called, expected = Loop(), Loop(), [], []
        deadlines = deadlines_of(loop, lambda item: called.append((item, loop.now)))
        timers = {}
        for what, *args in steps:
            if what == "wait":
                loop.run(*args)
                oracle.run(*args)
                continue
            item = args[0]
            if item in timers:
                timers.pop(item).cancel()
            if what == "discard":
                deadlines.discard(item)
                continue
            deadlines.add(*args)
            timers[item] = oracle.call_later(
                args[1], lambda item=item: expected.append((item, oracle.now))
            )
        loop.run(10)
        oracle.run(10)
        assert sorted(called) == sorted(expected)
        assert [now for _, now in called] == [now for _, now in expected]
        assert len(loop.pending) == 0

    check()


def test_deadlines_need_one_timer_of_the_loop(deadlines_of):
    loop, called = Loop(), []
    deadlines = deadlines_of(loop, called.append)
    for number in range(100):
        deadlines.add(number, 5)
    assert len(loop.pending) == 1
    for number in range(99):
        deadlines.discard(number)
    loop.run(5)
    assert called == [99]


def test_an_item_that_expires_may_take_another_with_it(deadlines_of):
    loop, called = Loop(), []

    def expire(item):
        called.append(item)
        deadlines.discard("other")
        if len(called) < 3:
            deadlines.add(item, 1)

    deadlines = deadlines_of(loop, expire)
    deadlines.add("one", 1)
    deadlines.add("other", 1)
    loop.run(10)
    assert called == ["one"] * 3
