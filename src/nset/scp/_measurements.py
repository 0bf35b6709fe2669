"""What a server measures of requests if it is asked to: their times and SOP Classes."""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from pynetdicom.service_class import ServiceClass
from pynetdicom.sop_class import uid_to_service_class

from nset import status

BOUNDS_SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf")),
)
"""Upper bounds of the ranges in which times are counted."""

OTHER_SOP_CLASS: Final = "other"
"""Stands for all SOP Classes that pynetdicom does not know: a peer may make up any number."""


class Times:
    """How often something took how long, by service.

    Attributes
    ----------
    counts : Counter
        By service and upper bound in seconds, one of `BOUNDS_SECONDS`.
    seconds : Counter
        By service, all together.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, float]] = Counter()
        self.seconds: Counter[str] = Counter()

    def add(self, service: str, seconds: float) -> None:
        """Count one that took these seconds; a clock may have been set back meanwhile."""
        seconds = max(seconds, 0.0)
        self.counts[service, BOUNDS_SECONDS[bisect_left(BOUNDS_SECONDS, seconds)]] += 1
        self.seconds[service] += seconds  # type: ignore[assignment]


class Measurements:
    """The measurements of a server; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all of it
        self._answered: Counter[tuple[str, str, str]] = Counter()
        self._handlers = Times()
        self._requests = Times()

    def renew(self) -> None:
        """Drop the lock, which a lost thread may hold; after a fork."""
        self._lock = threading.Lock()

    def fast_response(self, event: Any, code: int) -> None:
        """Measure a response of the fast path.

        Parameters
        ----------
        event : ServiceEvent
            The event of the request.
        code : int
            The status.
        """
        uid: str = event._sop_class_uid().decode()
        self.response(event._service.name, uid, code, event._seconds)

    def response(self, service: str, uid: str, code: int, began: float | None) -> None:
        """Measure a response.

        Parameters
        ----------
        service : str
            As in ``"N-SET"``.
        uid : str
            The SOP Class UID, one that pynetdicom knows or `OTHER_SOP_CLASS`.
        code : int
            The status.
        began : float or None
            When the request came, in seconds since the epoch, if that is known.
        """
        category = status.category(code)
        if category == "Pending":
            return
        with self._lock:
            self._answered[service, uid, category] += 1
            if began is not None:
                self._requests.add(service, time.time() - began)

    def handled(self, service: str, seconds: float) -> None:
        """Measure a handler."""
        with self._lock:
            self._handlers.add(service, seconds)

    def timed(self, service: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a handler that is measured, plain as the function is."""

        def handler(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.handled(service, time.perf_counter() - began)

        return handler

    def timed_async(self, service: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a coroutine function that is measured."""

        async def handler(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return await function(*args)
            finally:
                self.handled(service, time.perf_counter() - began)

        return handler

    def timed_items(self, service: str, items: Iterator[Any]) -> Iterator[Any]:
        """Yield what a handler yields; measure the time that it takes for that."""
        seconds = 0.0
        try:
            while True:
                began = time.perf_counter()
                try:
                    item = next(items)
                except StopIteration:
                    return
                finally:
                    seconds += time.perf_counter() - began
                yield item
        finally:
            self.handled(service, seconds)

    def fields(self) -> dict[str, Any]:
        """Return what is measured, by the names in `Counts`."""
        with self._lock:
            return {
                "answered": dict(self._answered),
                "handler_times": dict(self._handlers.counts),
                "handler_seconds": dict(self._handlers.seconds),
                "request_times": dict(self._requests.counts),
                "request_seconds": dict(self._requests.seconds),
            }


def sop_class_of(message: Any) -> str:
    """Return the Affected SOP Class UID of a response, if pynetdicom knows it."""
    uid = getattr(message, "AffectedSOPClassUID", None)
    is_known = uid is not None and uid_to_service_class(uid) is not ServiceClass
    return str(uid) if is_known else OTHER_SOP_CLASS
