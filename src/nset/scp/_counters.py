"""What a monitoring system may want to know of a server."""

import threading
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from nset import status

_CATEGORIES = ("Success", "Warning", "Failure", "Cancel", "Pending", "Unknown")


class Counts(NamedTuple):
    """How much a server has done since it was started.

    Attributes
    ----------
    connections : int
        Connections that were taken, and `refused_connections` those that were closed as there were
        too many: new ones, or silent ones for them.
    open_connections : int
        Those that are open now.
    associations : int
        Associations that were accepted; `rejected` and `released` are the others' fates.
    open_associations : int
        Those that are established now.
    aborted : dict of str to int
        Associations that were aborted, by reason: ``"peer"`` (it sent an A-ABORT), ``"connection"``
        (it was lost), ``"invalid PDU"``, ``"invalid message"``, ``"idle"`` (the network timeout),
        ``"local"`` (a handler or program did), ``"error"`` (of the server), ``"shutdown"``.
    requests : int
        Requests that were received, of N-SET (`n_set_requests`) and all others.
    responses : dict of str to int
        Responses that were sent, by the category of their status.
    bytes_received, bytes_sent : int
        On all connections, TLS aside.
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


class Counters:
    """Counts; what is frequent is counted by each connection and added up when asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all of it, and that a connection counts once
        self._events: Counter[str] = Counter()
        self._aborted: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._connections: set[Any] = set()  # those that are open

    def renew(self) -> None:
        """Have no connections, and a lock that nobody holds: in a process that has been forked."""
        self._lock = threading.Lock()
        self._connections = set()

    def count(self, what: str, number: int = 1) -> None:
        """Count something that has happened."""
        with self._lock:
            self._events[what] += number

    def count_abort(self, reason: str) -> None:
        """Count an association that was aborted."""
        with self._lock:
            self._aborted[reason] += 1

    def count_request(self, tally: "Tally", service: str) -> None:
        """Count a request that has come another way than the short one."""
        with self._lock:
            tally.requests[service] += 1
            self._events["requests"] += 1
            self._events["n_set_requests"] += service == "N-SET"

    def count_response(self, tally: "Tally", service: str, code: int) -> None:
        """Count a response that has gone another way."""
        with self._lock:
            tally.responses[service, code] += 1
            self._statuses[code] += 1

    def open(self, connection: Any) -> None:
        """Add what a connection counts, which is open."""
        with self._lock:
            self._connections.add(connection)

    def close(self, connection: Any) -> None:
        """Add what a connection has counted, which is closed."""
        with self._lock:
            self._connections.discard(connection)
            self._add(connection, self._events, self._statuses)

    def _add(self, connection: Any, events: Counter[str], statuses: Counter[int]) -> None:
        events["requests"] += connection.requests_read
        events["n_set_requests"] += connection.requests_read
        events["bytes_received"] += connection.bytes_received
        events["bytes_sent"] += connection.bytes_sent
        statuses.update(dict(connection.sent))  # a copy: the loop's thread goes on

    def counts(self, open_connections: int, open_associations: int) -> Counts:
        """Add up.

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
            for connection in self._connections:
                self._add(connection, events, statuses)
        return Counts(
            connections=events["connections"],
            refused_connections=events["refused_connections"],
            open_connections=open_connections,
            associations=events["associations"],
            open_associations=open_associations,
            rejected=events["rejected"],
            released=events["released"],
            aborted=dict(aborted),
            requests=events["requests"],
            n_set_requests=events["n_set_requests"],
            responses=by_category(statuses),
            bytes_received=events["bytes_received"],
            bytes_sent=events["bytes_sent"],
        )


class Tally:
    """What one association was asked, and has answered, another way than the short one.

    Attributes
    ----------
    requests : Counter
        By service, such as ``"C-ECHO"``.
    responses : Counter
        By service and status.
    """

    __slots__ = ("requests", "responses")

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.responses: Counter[tuple[str, int]] = Counter()

    def summary(self, n_set_requests: int, n_set_statuses: dict[int, int]) -> str:
        """Say what there was, with what has gone the short way.

        Parameters
        ----------
        n_set_requests : int
            Requests that have come the short way.
        n_set_statuses : dict of int to int
            Responses that have gone it, by status.

        Returns
        -------
        str
            As in ``N-SET 3 (2 Success, 1 Warning), C-ECHO 1 (1 Success)``.
        """
        requests, statuses = Counter(self.requests), defaultdict[str, Counter[int]](Counter)
        requests["N-SET"] += n_set_requests
        statuses["N-SET"].update(n_set_statuses)
        for (service, code), number in self.responses.items():
            statuses[service][code] += number
        shown = []
        for service, number in requests.items():
            if number:
                answers = by_category(statuses[service]).items()
                listed = ", ".join(f"{count} {category}" for category, count in answers)
                shown.append(f"{service} {number} ({listed or 'no response'})")
        return ", ".join(shown) or "no requests"


def by_category(statuses: Counter[int]) -> dict[str, int]:
    """Add up statuses by their category (PS3.7 Annex C)."""
    numbers = dict.fromkeys(_CATEGORIES, 0)
    for code, number in statuses.items():
        numbers[status.category(code)] += number
    return {category: number for category, number in numbers.items() if number}
