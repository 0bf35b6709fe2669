"""N-EVENT-REPORTs, which are served one at a time, concurrently with other requests."""

import threading
from functools import partial
from typing import Any, Protocol

from nset.scp._flow_control import FlowControl
from nset.scp._threads import Threads


class ReportsUser(Protocol):
    """What is called of the association."""

    def is_alive(self) -> bool:
        """Return whether the association is not over."""

    def serve_report(self, message: Any, context_id: int) -> None:
        """Serve an N-EVENT-REPORT; in a worker's thread."""


class Reports:
    """The queued N-EVENT-REPORTs of one association.

    Parameters
    ----------
    flow : FlowControl
        Has their queue, and counts what waits.
    threads : Threads
        The server's.

    Attributes
    ----------
    are_served : bool
        Whether a worker serves one.
    """

    def __init__(self, flow: FlowControl, threads: Threads) -> None:
        self._flow = flow
        self._threads = threads
        self._lock = threading.Lock()  # guards the end of serving
        self.are_served = False

    def add(self, assoc: ReportsUser, context_id: int, message: Any, size: int) -> None:
        """Queue a report; from any thread."""
        with self._lock:
            self._flow.enqueue(self._flow.reports, context_id, message, size)
            begins = not self.are_served
            self.are_served = True
        if begins:
            self._submit(assoc)

    def _submit(self, assoc: ReportsUser) -> None:
        self._threads.service_workers.submit(partial(self._serve, assoc))

    def _serve(self, assoc: ReportsUser) -> None:
        """Serve the next report in a worker's thread; the loop runs in between."""
        with self._lock:
            if not self._flow.reports or not assoc.is_alive():
                self.are_served = False
                return
            context_id, message, _ = self._flow.take(self._flow.reports)
        try:
            assoc.serve_report(message, context_id)
        finally:
            self._threads.call(self._served, assoc)

    def _served(self, assoc: ReportsUser) -> None:
        self._submit(assoc)
        self._flow.resume()
