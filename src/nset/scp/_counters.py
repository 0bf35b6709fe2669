"""What a monitoring system may want to know of a server."""

import threading
from collections import Counter
from typing import Any, NamedTuple

from nset import status

_CATEGORIES = ("Success", "Warning", "Failure", "Cancel", "Pending", "Unknown")


class Counts(NamedTuple):
    """How much a server has done since it was started.

    Attributes
    ----------
    connections : int
        Connections that were taken, and `refused_connections` those over the limit.
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
    """Counts; what is frequent is counted by each association and added up when asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _events, _aborted and _statuses
        self._events: Counter[str] = Counter()
        self._aborted: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self.fast_statuses: dict[int, int] = {}  # the loop's thread alone changes it

    def count(self, what: str, number: int = 1) -> None:
        """Count something that has happened."""
        with self._lock:
            self._events[what] += number

    def count_abort(self, reason: str) -> None:
        """Count an association that was aborted."""
        with self._lock:
            self._aborted[reason] += 1

    def count_status(self, code: int) -> None:
        """Count a response."""
        with self._lock:
            self._statuses[code] += 1

    def counts(self, connections: list[Any], open_associations: int) -> Counts:
        """Add up.

        Parameters
        ----------
        connections : list of Connection
            Those that are open.
        open_associations : int
            How many associations are established.

        Returns
        -------
        Counts
            Up to now.
        """
        with self._lock:
            events, aborted = self._events.copy(), self._aborted.copy()
            statuses = self._statuses.copy()
        statuses.update(dict(self.fast_statuses))
        n_set_requests = sum(one.requests_read for one in connections)
        responses = dict.fromkeys(_CATEGORIES, 0)
        for code, number in statuses.items():
            responses[status.category(code)] += number
        return Counts(
            connections=events["connections"],
            refused_connections=events["refused_connections"],
            open_connections=len(connections),
            associations=events["associations"],
            open_associations=open_associations,
            rejected=events["rejected"],
            released=events["released"],
            aborted=dict(aborted),
            requests=events["requests"] + n_set_requests,
            n_set_requests=events["n_set_requests"] + n_set_requests,
            responses={category: number for category, number in responses.items() if number},
            bytes_received=events["bytes_received"]
            + sum(one.bytes_received for one in connections),
            bytes_sent=events["bytes_sent"] + sum(one.bytes_sent for one in connections),
        )
