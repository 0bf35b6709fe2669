"""The threads of a server: the event loop's, and workers for jobs that would block it."""

import contextvars
import logging
import sys
import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from operator import methodcaller
from queue import Empty, SimpleQueue
from typing import Any

from nset.scp._implementation import Deadlines

_LOGGER = logging.getLogger("nset")

# A job that has waited this long for a thread gets a new one, up to the limit: so few threads do
# the quick jobs, which costs least, and slow jobs do not delay each other.
_MAX_WAIT_SECONDS = 0.005

# A thread without jobs ends after this time.
_IDLE_SECONDS = 10.0


class Workers:
    """A bounded pool of daemon threads.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        Watches over how long jobs wait.
    limit : int
        Most threads at a time.
    name : str
        What the threads are called.
    run : callable
        Called with each job, which it has to call.

    Attributes
    ----------
    limit : int
        As given, or set since.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        limit: int,
        name: str,
        run: Callable[[Callable[[], None]], None],
    ) -> None:
        self._loop = loop
        self.limit = limit
        self._name = name
        self._run = run
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()  # guards the counts
        self._threads = 0
        self._submitted = 0
        self._started = 0
        self._ended = 0
        self._is_watched = False
        self._is_closed = False
        self._is_short = False  # the system has no more threads

    def submit(self, job: Callable[[], None]) -> None:
        """Call `job` in a thread; its exceptions go to `threading.excepthook`."""
        with self._lock:
            if self._is_closed:
                return
            self._submitted += 1
            if self._threads == 0:
                self._add_thread()
            watch = not self._is_watched
            self._is_watched = True
        self._jobs.put(job)
        if watch:
            with suppress(RuntimeError):  # the loop is closed, and the server has ended
                self._loop.call_soon_threadsafe(self._watch_later)

    def state(self) -> tuple[int, int, int]:
        """Return the numbers of threads, of those at work, and of jobs that wait."""
        with self._lock:
            return self._threads, self._started - self._ended, self._submitted - self._started

    def close(self) -> None:
        """Let the threads end after their current jobs."""
        with self._lock:
            self._is_closed = True
            threads = self._threads
        for _ in range(threads):
            self._jobs.put(None)

    def _add_thread(self) -> None:
        """Add a thread, with the lock held; if the system has none, the next check tries again."""
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as exc:
            if not self._is_short:
                _LOGGER.error("No thread for %s, which waits for one: %s", self._name, exc)
            self._is_short = True
        else:
            self._threads += 1
            self._is_short = False

    def _watch_later(self) -> None:
        self._loop.call_later(_MAX_WAIT_SECONDS, self._watch, self._submitted)

    def _watch(self, submitted: int) -> None:
        """Add a thread if a job that was there at the last look still has none, and gets none.

        A thread that has nothing to do takes it as soon as it runs: where the machine, or the GIL,
        is what jobs wait for, more threads would make it worse.
        """
        with self._lock:
            if self._is_closed:  # a new thread would not end
                return
            busy = self._started - self._ended
            waiting = submitted - self._started - (self._threads - busy)
            for _ in range(min(waiting, self.limit - self._threads)):
                self._add_thread()
                if self._is_short:
                    break
            self._is_watched = again = self._submitted > self._started
        if again:
            self._watch_later()

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._submitted > self._started and not self._is_closed:
                        continue
                    self._threads -= 1
                    return
            if job is None:
                with self._lock:
                    self._threads -= 1
                return
            with self._lock:
                self._started += 1
            try:
                self._run(job)
            except BaseException:  # the thread continues with other jobs
                failure = (*sys.exc_info(), threading.current_thread())
                threading.excepthook(threading.ExceptHookArgs(failure))
                del failure
            del job  # else it would live until the next job
            with self._lock:
                self._ended += 1


class Callbacks:
    """Calls functions in the loop's thread, many per wake-up.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        The loop.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in the loop soon; from any thread. A closed loop never calls it."""
        with self._lock:
            self._waiting.append((function, args))
            if len(self._waiting) > 1:
                return
            try:
                self._loop.call_soon_threadsafe(self._call_all)
            except RuntimeError:  # the loop is closed
                self._waiting.clear()

    def _call_all(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for number, (function, args) in enumerate(waiting, 1):
            try:
                function(*args)
            except Exception as exc:  # call the functions of other associations all the same
                self._loop.call_exception_handler(
                    {"message": f"Exception in {function}", "exception": exc}
                )
            except BaseException:  # which interrupts the loop; it may be resumed
                with self._lock:
                    self._waiting[:0] = waiting[number:]
                self._loop.call_soon(self._call_all)
                raise


class Turns:
    """Calls functions in the loop's thread, one per loop iteration, in their order.

    However many associations have much to do, any other one waits for one of them only.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        The loop, in whose thread all of this happens.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, function: Callable[[], None]) -> None:
        """Call a function in its turn."""
        self._waiting.append(function)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        try:
            self._waiting[0]()
        finally:
            self._waiting.popleft()
            if self._waiting:
                self._loop.call_soon(self._next)


class Threads:
    """The threads of a server; created in the loop's thread, used in any.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        The running loop.
    handlers, services : int
        Most workers that call handlers of the fast path's services, and that do anything else.
    variables : contextvars.Context, optional
        What each job of a worker begins with a copy of.

    Attributes
    ----------
    loop : asyncio.AbstractEventLoop
        As given.
    handler_workers, service_workers : Workers
        The two pools.
    turns : Turns
        For what is more than the loop should do in one turn.
    closing : Deadlines
        Connections that the peer is to close.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        handlers: int,
        services: int,
        variables: contextvars.Context | None,
    ) -> None:
        self.loop = loop
        self._loop_thread = threading.get_ident()
        self._callbacks = Callbacks(loop)
        self._variables = variables
        self.turns = Turns(loop)
        self.closing = Deadlines(loop, methodcaller("abort"))
        self.handler_workers = Workers(loop, handlers, "nset-handler", self._run_job)
        self.service_workers = Workers(loop, services, "nset-service", self._run_job)

    def is_loop_thread(self) -> bool:
        """Return whether the caller is in the loop's thread."""
        return threading.get_ident() == self._loop_thread

    def is_own_thread(self) -> bool:
        """Return whether the caller is in the loop's or a worker's thread."""
        return self.is_loop_thread() or getattr(_worker, "threads", None) is self

    def may_wait(self) -> None:
        """Raise in the loop's thread: it would wait for ever, as only itself could end the wait."""
        if self.is_loop_thread():
            raise RuntimeError(
                "an async or inline handler can't wait for the peer: it would hold up the loop; "
                "call this from another thread, as asyncio.to_thread does"
            )

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in the loop soon."""
        self._callbacks.call(function, *args)

    def in_loop(self, function: Callable[[], None]) -> None:
        """Call a function now if this is the loop's thread, else in the loop soon."""
        if self.is_loop_thread():
            function()
        else:
            self._callbacks.call(function)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function in the loop after some seconds."""
        self._callbacks.call(self.loop.call_later, seconds, function)

    def is_for_loop(self, exc: BaseException) -> bool:
        """Return whether an exception should end the loop, as Ctrl-C does.

        In a worker's thread it is a handler's `sys.exit()`, and ends the association alone.
        """
        return not isinstance(exc, Exception) and self.is_loop_thread()

    def close(self) -> None:
        """Let the workers end after their current jobs."""
        self.handler_workers.close()
        self.service_workers.close()

    def _run_job(self, job: Callable[[], None]) -> None:
        _worker.threads = self
        if self._variables is None:
            job()
        else:
            self._variables.copy().run(job)


class _Worker(threading.local):
    threads: Threads | None = None


_worker = _Worker()
