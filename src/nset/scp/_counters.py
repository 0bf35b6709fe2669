"""Counts of a server, for monitoring, and of one association, for the log."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from nset import status
from nset.scp._measurements import Measurements, sop_class_of

_EVENTS = (
    *("connections", "refused_connections", "associations", "rejected", "released"),
    *("requests", "n_set_requests", "bytes_received", "bytes_sent"),
)

_CATEGORIES = ("Success", "Warning", "Failure", "Cancel", "Pending", "Unknown")

_EMPTY: dict[Any, Any] = {}  # not to be changed


class Counts(NamedTuple):
    """Counts of a server since it was started.

    Attributes
    ----------
    connections : int
        Accepted connections; `refused_connections` were closed because there were too many: new
        ones, or silent ones that new ones replaced.
    open_connections : int
        Connections that are open now.
    associations : int
        Accepted associations; `rejected` were not accepted, `released` have been released.
    open_associations : int
        Associations that are established now.
    aborted : dict of str to int
        Aborted associations by reason: ``"peer"`` (it sent an A-ABORT), ``"connection"`` (it was
        lost), ``"invalid PDU"``, ``"invalid message"``, ``"idle"`` (the network timeout),
        ``"memory"`` (too many bytes pending), ``"local"`` (by a handler or program), ``"error"``
        (of the server), ``"shutdown"``.
    requests : int
        Received requests of all services; `n_set_requests` of N-SET.
    responses : dict of str to int
        Sent responses by the category of their status.
    bytes_received, bytes_sent : int
        On all connections, without the overhead of TLS.
    waiting_bytes : int
        What waits now, as `Limits` counts it: messages that are received or wait to be served.
    threads, busy_threads, waiting_jobs : dict of str to int
        Workers that there are now, those at work, and jobs that wait for one; by their pool,
        ``"handler"`` or ``"service"``.
    answered : dict of (str, str, str) to int
        Requests that have got their last response, by service, SOP Class UID and category of the
        status; this and the others below only with ``metrics=True``. SOP Classes that pynetdicom
        does not know are ``"other"``.
    handler_times, request_times : dict of (str, float) to int
        How many handlers, or requests from when they have come to their last response, took how
        long: by service and upper bound in seconds, each counted under one.
    handler_seconds, request_seconds : dict of str to float
        How long they took all together, by service.
    """

    connections: int
    refused_connections: int
    open_connections: int
    associations: int
    open_associations: int
    rejected: int
    released: int
    aborted: dict[str, int]
    requests: int
    n_set_requests: int
    responses: dict[str, int]
    bytes_received: int
    bytes_sent: int
    waiting_bytes: int = 0
    threads: dict[str, int] = _EMPTY
    busy_threads: dict[str, int] = _EMPTY
    waiting_jobs: dict[str, int] = _EMPTY
    answered: dict[tuple[str, str, str], int] = _EMPTY
    handler_times: dict[tuple[str, float], int] = _EMPTY
    handler_seconds: dict[str, float] = _EMPTY
    request_times: dict[tuple[str, float], int] = _EMPTY
    request_seconds: dict[str, float] = _EMPTY


class Counters:
    """Counters of a server; each association counts frequent events itself.

    Attributes
    ----------
    measurements : Measurements or None
        What is measured beside, if the server is asked to.
    """

    def __init__(self, measurements: Measurements | None = None) -> None:
        self.measurements = measurements
        self._lock = threading.Lock()  # guards all of it, and that a connection counts once
        self._events: dict[str, Any] = dict.fromkeys(_EVENTS, 0)  # fields of `Counts`
        self._aborted: Counter[str] = Counter()
        self._statuses: dict[int, int] = {}
        self._paths: set[Any] = set()  # of associations whose connection is open

    def renew(self) -> None:
        """Drop the open associations, and the lock, which a lost thread may hold; after a fork."""
        self._lock = threading.Lock()
        self._paths = set()
        if self.measurements is not None:
            self.measurements.renew()

    def count(self, what: str, number: int = 1) -> None:
        """Count an event."""
        with self._lock:
            self._events[what] += number

    def count_abort(self, reason: str) -> None:
        """Count an association that was aborted."""
        with self._lock:
            self._aborted[reason] += 1

    def count_request(self, tally: "Tally", service: str) -> None:
        """Count a request that has not come by the fast path."""
        with self._lock:
            tally.requests[service] += 1
            self._events["requests"] += 1
            self._events["n_set_requests"] += service == "N-SET"

    def count_response(self, tally: "Tally", service: str, code: int) -> None:
        """Count a response that does not go by the fast path."""
        with self._lock:
            tally.responses[service, code] += 1
            self._statuses[code] = self._statuses.get(code, 0) + 1

    def open(self, path: Any, is_new: bool) -> None:
        """Add a connection that is open now; count it, if it is new."""
        with self._lock:
            self._paths.add(path)
            self._events["connections"] += is_new

    def close(self, path: Any, has_ended: bool = False) -> None:
        """Keep the counts of a connection that is closed, and of its release if it ends alone."""
        with self._lock:
            self._paths.discard(path)
            self._add(path, self._events, self._statuses)
            if has_ended and path.is_released:
                self._events["released"] += 1

    def _add(self, path: Any, events: dict[str, int], statuses: dict[int, int]) -> None:
        path.add_to(events, statuses)
        if path.accepted is not None:  # without pynetdicom, and not counted then
            events["associations"] += 1
        if (assoc := path.made) is not None:
            events["bytes_sent"] += assoc.connection.bytes_sent

    def counts(self, open_connections: int, open_associations: int) -> Counts:
        """Return all counts.

        Parameters
        ----------
        open_connections, open_associations : int
            How many there are.

        Returns
        -------
        Counts
            Up to now.
        """
        with self._lock:
            events, aborted = self._events.copy(), self._aborted.copy()
            statuses = self._statuses.copy()
            for path in self._paths:
                self._add(path, events, statuses)
        return Counts(
            **events,
            open_connections=open_connections,
            open_associations=open_associations,
            aborted=dict(aborted),
            responses=by_category(statuses),
            **({} if self.measurements is None else self.measurements.fields()),
        )


def total(several: Iterable[Counts]) -> Counts:
    """Add up counts, as of several servers.

    Parameters
    ----------
    several : iterable of Counts
        The counts.

    Returns
    -------
    Counts
        Their sums; all 0 of none.
    """
    sums: list[Any] = []
    for values in zip(Counters().counts(0, 0), *several, strict=False):
        if isinstance(values[0], dict):
            one: Counter[str] = Counter()
            for value in values:
                one.update(value)
            sums.append(dict(one))
        else:
            sums.append(sum(values))
    return Counts(*sums)


def ended(counts: Counts) -> Counts:
    """Return the counts of a server that has ended: it has nothing open, and nothing waits."""
    return counts._replace(
        open_connections=0,
        open_associations=0,
        waiting_bytes=0,
        threads={},
        busy_threads={},
        waiting_jobs={},
    )


class Tally:
    """Requests and responses of one association that do not take the fast path.

    Parameters
    ----------
    counters : Counters
        The server's, where they are counted, too.

    Attributes
    ----------
    requests : Counter
        By service, such as ``"C-ECHO"``.
    responses : Counter
        By service and status.
    """

    __slots__ = ("_began", "_counters", "requests", "responses")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._began: dict[int, float] = {}  # by Message ID, of what is measured
        self.requests: Counter[str] = Counter()
        self.responses: Counter[tuple[str, int]] = Counter()

    def count_request(self, message: Any) -> None:
        """Count a request; from any thread."""
        self._counters.count_request(self, _service(message))
        if self._counters.measurements is not None and message.MessageID is not None:
            self.note(message.MessageID, time.time())

    def note(self, message_id: int, began: float) -> None:
        """Note when a request has come; from any thread."""
        self._began[message_id] = began

    def count_response(self, message: Any) -> None:
        """Count a response; from any thread."""
        code = getattr(message, "Status", None)
        if isinstance(code, int) and code >= 0:
            service = _service(message)
            self._counters.count_response(self, service, code)
            if (measurements := self._counters.measurements) is not None:
                is_last = status.category(code) != "Pending"
                message_id = message.MessageIDBeingRespondedTo
                began = self._began.pop(message_id, None) if is_last else None
                measurements.response(service, sop_class_of(message), code, began)

    def summary(
        self, fast_requests: dict[str, int], fast_responses: dict[tuple[str, int], int]
    ) -> str:
        """Return what there was, with what has taken the fast path.

        Parameters
        ----------
        fast_requests : dict of str to int
            Requests that have taken it, by service.
        fast_responses : dict of (str, int) to int
            Responses that have, by service and status.

        Returns
        -------
        str
            As in ``N-SET 3 (2 Success, 1 Warning), C-ECHO 1 (1 Success)``.
        """
        requests, statuses = Counter(self.requests), defaultdict[str, Counter[int]](Counter)
        requests.update(fast_requests)
        for responses in (fast_responses, self.responses):
            for (service, code), number in responses.items():
                statuses[service][code] += number
        shown = []
        for service, number in requests.items():
            if number:
                answers = by_category(statuses[service]).items()
                listed = ", ".join(f"{count} {category}" for category, count in answers)
                shown.append(f"{service} {number} ({listed or 'no response'})")
        return ", ".join(shown) or "no requests"


def by_category(statuses: dict[int, int]) -> dict[str, int]:
    """Add up statuses by their category (PS3.7 Annex C)."""
    numbers = dict.fromkeys(_CATEGORIES, 0)
    for code, number in statuses.items():
        numbers[status.category(code)] += number
    return {category: number for category, number in numbers.items() if number}


def _service(message: Any) -> str:
    """Name the service of a message."""
    return type(message).__name__.replace("_", "-")
