"""Queues and timers with pynetdicom's interface, which cost next to nothing while unused.

An association has five queues and two timers. Made of `queue.Queue` they would take 19 KiB of an
idle association, and pynetdicom's timers have to be asked all the time whether they have expired.
"""

import threading
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from functools import partial
from queue import Empty
from typing import Any

_lock = threading.Lock()  # guards that a mailbox gets only one condition

# A thread that wakes so much later than it should was in a process that stood still: then it waits
# once more, while the loop reads what has arrived.
_LATE_SECONDS = 0.02
_LAST_READ_SECONDS = 0.2


def wait_in_time(wait: Callable[[float | None], object], timeout: float | None) -> bool:
    """Wait in a thread for what the loop reads; that comes before the timeout takes effect.

    Parameters
    ----------
    wait : callable
        Waits for some seconds at most; returns something true if it has come.
    timeout : float or None
        Seconds.

    Returns
    -------
    bool
        Whether it has come.
    """
    began = time.monotonic()
    if wait(timeout) or timeout is None:
        return True
    late = time.monotonic() - began - timeout
    return late > _LATE_SECONDS and bool(wait(_LAST_READ_SECONDS))


class Mailbox:
    """An unbounded `queue.Queue`, as far as pynetdicom uses one.

    Safe to share between threads. The condition that `get` waits on is made at its first use.

    Attributes
    ----------
    queue : list
        What is in it, the oldest first.
    """

    __slots__ = ("_condition", "queue")

    def __init__(self) -> None:
        self.queue: list[Any] = []
        self._condition: threading.Condition | None = None

    def put(self, item: Any) -> None:
        """Append an item."""
        self.queue.append(item)
        # Append, then read `_condition`; get() does the reverse: one of the two sees the other.
        condition = self._condition
        if condition is not None:
            with condition:
                condition.notify()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return the oldest item.

        Parameters
        ----------
        block : bool
            Whether to wait for one.
        timeout : float, optional
            How many seconds at most.

        Returns
        -------
        object
            The item.

        Raises
        ------
        queue.Empty
            If there is none.
        """
        if not block:
            return self._pop()
        condition = self._make_condition()
        with condition:
            if not wait_in_time(partial(condition.wait_for, self.qsize), timeout):
                raise Empty
            return self._pop()

    def _make_condition(self) -> threading.Condition:
        with _lock:
            if self._condition is None:
                self._condition = threading.Condition()
            return self._condition

    def _pop(self) -> Any:
        try:
            return self.queue.pop(0)
        except IndexError:
            raise Empty from None

    def empty(self) -> bool:
        """Return whether it is empty."""
        return not self.queue

    def qsize(self) -> int:
        """Return how many items are in it."""
        return len(self.queue)


class Responses(Mailbox):
    """A peer's responses, each for the thread of its request.

    Attributes
    ----------
    is_closed : bool
        Whether no more will come.
    """

    __slots__ = ("is_closed",)

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def put(self, item: Any) -> None:
        """Append a response; ignore None, with which pynetdicom marks the end."""
        if item[1] is not None:
            self.queue.append(item)
        condition = self._condition
        if condition is not None:
            with condition:
                condition.notify_all()  # each waits for its own

    def close(self) -> None:
        """Wake all waiting threads; no thread waits from now on."""
        self.is_closed = True
        self.put((None, None))

    def take(self, message_id: int | None, timeout: float | None) -> Any:
        """Remove and return the oldest response to a request; wait for one.

        Parameters
        ----------
        message_id : int or None
            The Message ID of the request; None takes any response.
        timeout : float or None
            How many seconds to wait at most.

        Returns
        -------
        tuple or None
            What was put, or None: there is none in time, or nothing more will come.
        """
        found: Any = None

        def look() -> bool:
            nonlocal found
            for at, item in enumerate(self.queue):
                if message_id is None or item[1].MessageIDBeingRespondedTo == message_id:
                    found = self.queue.pop(at)
                    break
            return found is not None or self.is_closed

        condition = self._make_condition()
        with condition:
            wait_in_time(partial(condition.wait_for, look), timeout)
        return found


def _nothing() -> None:
    pass


class Timer:
    """A `pynetdicom.timer.Timer` that calls a function in the loop's thread when it has expired.

    Starting it again only notes the time; the loop's timer handle checks that when it fires.

    Parameters
    ----------
    timeout : float or None
        Seconds; None never expires.
    loop : asyncio.AbstractEventLoop
        In whose thread `expire` is called. The timer itself may be used in any.
    expire : callable
        What to call.
    """

    __slots__ = ("_expire", "_handle", "_is_closed", "_loop", "_started", "_timeout")

    def __init__(
        self, timeout: float | None, loop: AbstractEventLoop, expire: Callable[[], None]
    ) -> None:
        self._timeout = timeout
        self._loop = loop
        self._expire = expire
        self._started: float | None = None
        self._handle: TimerHandle | None = None
        self._is_closed = False

    def start(self) -> None:
        """Start the timer."""
        self.start_at(time.monotonic())

    def start_at(self, began: float) -> None:
        """Start the timer as of a time in the past, by the monotonic clock."""
        self._started = began
        if self._handle is None and self._timeout is not None:
            self._schedule()

    restart = start

    def stop(self) -> None:
        """Stop the timer."""
        self._started = None

    def close(self) -> None:
        """Cancel the loop's timer, for good; in the loop's thread."""
        self._is_closed = True
        self._started = None
        self._expire = _nothing  # a bound method would keep its object alive
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def expired(self) -> bool:
        """Whether the timer has expired."""
        return self._timeout is not None and self._started is not None and self.remaining < 0

    @property
    def remaining(self) -> float:
        """Seconds that are left; 1 if it never expires, as in pynetdicom."""
        if self._timeout is None:
            return 1
        if self._started is None:
            return self._timeout
        return self._timeout - (time.monotonic() - self._started)

    @property
    def timeout(self) -> float | None:
        """Seconds, or None for never; a new value applies to a running timer, too."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: float | None) -> None:
        if value == self._timeout:
            return
        self._timeout = value
        if self._started is not None:
            self._schedule()

    def _schedule(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set_handle)

    def _set_handle(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._timeout is not None and self._started is not None and not self._is_closed:
            self._handle = self._loop.call_later(max(self.remaining, 0), self._check_expiry)

    def _check_expiry(self) -> None:
        self._handle = None
        # A loop's clock is coarse: less than a millisecond counts as expired.
        if self._timeout is None or self._started is None or self.remaining > 0.001:
            self._set_handle()
        else:
            self._started = None
            self._expire()


class IdleTimer(Timer):
    """A timer that counts from the last received bytes.

    Parameters
    ----------
    timeout, loop, expire
        As for `Timer`.
    path : FastPath
        With ``last_received``, the time of that.
    """

    __slots__ = ("_path",)

    def __init__(
        self,
        timeout: float | None,
        loop: AbstractEventLoop,
        expire: Callable[[], None],
        path: Any,
    ) -> None:
        super().__init__(timeout, loop, expire)
        self._path = path

    @property
    def remaining(self) -> float:
        """Seconds that are left; 1 if it never expires, as in pynetdicom."""
        if self._started is not None:
            self._started = max(self._started, self._path.last_received)
        return super().remaining
