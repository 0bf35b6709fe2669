"""N-EVENT-REPORTs, which are served one at a time, concurrently with other requests."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from nset.scp._flow_control import FlowControl
from nset.scp._threads import Threads


class ReportsUser(Protocol):
    """What is called of the association."""

    def is_alive(self) -> bool:
        """Return whether the association is not over."""

    def serve_report(self, message: Any, context_id: int, size: int) -> None:
        """Serve an N-EVENT-REPORT, and call `Reports.served` in the end; in the loop's thread."""

    def do_report(self, job: Callable[[], None]) -> None:
        """Do a job; in a worker's thread."""

    def reports_served(self) -> None:
        """Continue, as no report is served any more; in the loop's thread."""


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
        Whether one is served.
    """

    def __init__(self, flow: FlowControl, threads: Threads) -> None:
        self._flow = flow
        self._threads = threads
        self._lock = threading.Lock()  # guards the end of serving
        self.are_served = False
        self._is_advancing = self._is_next = False

    def begin(self) -> bool:
        """Return whether a report may be served now; it is being served from now on."""
        with self._lock:
            begins = not self.are_served
            self.are_served = True
        return begins

    def add(self, assoc: ReportsUser, context_id: int, message: Any, size: int) -> None:
        """Queue a report; from any thread."""
        with self._lock:
            self._flow.enqueue(self._flow.reports, context_id, message, size)
            begins = not self.are_served
            self.are_served = True
        if begins:
            self._threads.in_loop(partial(self.served, assoc))

    def do_in_worker(self, assoc: ReportsUser, job: Callable[[], None]) -> None:
        """Do what is left to do for the report in a worker's thread."""
        self._threads.service_workers.submit(partial(self._do, assoc, job))

    def _do(self, assoc: ReportsUser, job: Callable[[], None]) -> None:
        try:
            assoc.do_report(job)
        finally:
            self._threads.call(self.served, assoc)

    def served(self, assoc: ReportsUser) -> None:
        """Serve the next report, if there is one; in the loop's thread."""
        self._is_next = True
        if self._is_advancing:  # it was served at once
            return
        self._is_advancing = True
        try:
            while self._is_next:
                self._is_next = False
                self._serve_next(assoc)
        finally:
            self._is_advancing = False
        self._flow.resume()
        if not self.are_served:
            assoc.reports_served()

    def _serve_next(self, assoc: ReportsUser) -> None:
        with self._lock:
            if not self._flow.reports or not assoc.is_alive():
                self.are_served = False
                return
            context_id, message, size = self._flow.take(self._flow.reports)
        assoc.serve_report(message, context_id, size)
