"""An event loop that is driven by hand: its time passes when a test says so."""

from collections.abc import Callable
from typing import Any


class _Call:
    """A call that is to come, and may be cancelled."""

    def __init__(self, due: float, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.due, self.function, self.args = due, function, args
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """What nset.scp uses of an asyncio loop to have functions called, soon or later.

    Attributes
    ----------
    now : float
        What its clock shows, in seconds.
    wakeups : int
        How often another thread may have had to wake it up.
    errors : list of dict
        What its exception handler was told.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.wakeups = 0
        self.errors: list[dict[str, Any]] = []
        self._is_closed = False
        self._calls: list[_Call] = []

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._is_closed = True

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, function: Callable[..., Any], *args: Any) -> _Call:
        return self.call_later(when - self.now, function, *args)

    def call_later(self, delay: float, function: Callable[..., Any], *args: Any) -> _Call:
        call = _Call(self.now + delay, function, args)
        self._calls.append(call)
        return call

    def call_soon(self, function: Callable[..., Any], *args: Any) -> _Call:
        return self.call_later(0, function, *args)

    def call_soon_threadsafe(self, function: Callable[..., Any], *args: Any) -> _Call:
        if self._is_closed:
            raise RuntimeError("Event loop is closed")
        self.wakeups += 1
        return self.call_soon(function, *args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    @property
    def pending(self) -> list[_Call]:
        """Calls that are to come."""
        return [call for call in self._calls if not call.is_cancelled]

    def run(self, seconds: float = 0) -> None:
        """Let time pass, and make the calls that are due by then, each at its time."""
        end = self.now + seconds
        while due := [call for call in self.pending if call.due <= end]:
            call = min(due, key=lambda call: call.due)
            self._calls.remove(call)
            self.now = max(self.now, call.due)
            call.function(*call.args)
        self.now = end
