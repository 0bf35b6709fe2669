"""pynetdicom's reactor checkpoint, without a reactor."""

import threading
from typing import Any

from nset.scp._threads import Threads


class Checkpoint:
    """While cleared, messages are left to the threads that wait for a response or the end.

    pynetdicom's `Association` clears and sets it around each request of a program; any thread.

    Parameters
    ----------
    assoc : Association
        The association.
    threads : Threads
        The server's.
    """

    __slots__ = ("_assoc", "_threads", "_waiting")

    def __init__(self, assoc: Any, threads: Threads) -> None:
        self._assoc = assoc
        self._threads = threads
        self._waiting: set[int] = set()  # threads; each changed by one call

    def is_set(self) -> bool:
        """Return whether no thread waits."""
        return not self._waiting

    def clear(self) -> None:
        """Add this thread to those that wait; raise in the loop's thread."""
        self._threads.may_wait()
        self._waiting.add(threading.get_ident())
        self._assoc.wake()  # reading may be paused by too many requests
        if not self._assoc.is_established:  # any more
            self.set()

    def set(self) -> None:
        """End this thread's wait; if it is not waiting, end all waits."""
        self._assoc.dimse.asks_no_more()
        thread = threading.get_ident()
        if thread in self._waiting:
            self._waiting.discard(thread)
            self._assoc.wake()
        else:
            self.open()

    def open(self) -> None:
        """End all waits."""
        if self._waiting:
            self._waiting.clear()
            self._assoc.wake()

    def break_cycles(self, assoc: Any) -> None:
        """Keep only a weak reference to an association that is over."""
        self._assoc = assoc
