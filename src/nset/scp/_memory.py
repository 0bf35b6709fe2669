"""Pending bytes of a server and of each association, and whether they exceed their limits."""

import threading
from collections.abc import Callable
from typing import Final

MESSAGE_OVERHEAD_BYTES: Final = 1024
"""Bytes that a message takes in memory beside its data set, approximately."""

ALLOWANCE_BYTES: Final = 0x10000
"""Pending bytes that each association may always have, whatever the server has."""


class ServerMemory:
    """The pending bytes of all associations of a server; safe to share between threads.

    Parameters
    ----------
    limit : int
        Most of them. Beyond it one association at a time may finish its message, so that messages
        that have begun do not wait for each other.
    has_room : callable
        Called, in any thread, once there is room again where there was none.

    Attributes
    ----------
    waiting : int
        How many there are.
    """

    def __init__(self, limit: int, has_room: Callable[[], None]) -> None:
        self.limit = limit
        self.waiting = 0
        self.lock = threading.Lock()  # guards what is counted, of all associations
        self._has_room = has_room
        self._favoured: Memory | None = None

    @property
    def is_full(self) -> bool:
        """Whether there are too many."""
        return self.waiting > self.limit

    def favours(self, memory: "Memory") -> bool:
        """Return whether this is the one association that may go on above the limit."""
        with self.lock:
            self._favoured = self._favoured or memory
            return self._favoured is memory

    def change(self, memory: "Memory", by: int) -> None:
        """Add to the bytes of an association, or subtract; with the lock held."""
        was_full = self.is_full
        self.waiting += by
        ends = memory is self._favoured and memory.waiting <= ALLOWANCE_BYTES
        if ends:
            self._favoured = None
        if ends or (was_full and not self.is_full):
            self._has_room()


class Memory:
    """The pending bytes of one association; safe to share between threads.

    Parameters
    ----------
    server : ServerMemory
        Where they count, too.
    limit : int
        Most of them, or one message where that is more.
    """

    __slots__ = (
        "_is_closed",
        "_limit",
        "_server",
        "incomplete",
        "queued",
        "receiving",
        "serving",
        "unsent",
    )

    def __init__(self, server: ServerMemory, limit: int) -> None:
        self._server = server
        self._limit = limit
        self._is_closed = False
        self.incomplete = 0  # has come, and is not read as a message
        self.receiving = 0  # of a message that the slow path puts together
        self.serving = 0  # of a long request that is being served
        self.queued = 0  # of requests that wait to be served, and responses to be taken
        self.unsent = 0  # of what the peer does not take

    @property
    def waiting(self) -> int:
        """The sum of all kinds."""
        return self.incomplete + self.receiving + self.serving + self.queued + self.unsent

    @property
    def is_over_limit(self) -> bool:
        """Whether reading should pause.

        A message that has begun may come whole while no other waits: it has a limit of its own.
        """
        waiting = self.waiting
        server = self._server
        if server.is_full and waiting > ALLOWANCE_BYTES and not server.favours(self):
            return True
        return waiting > self._limit and self.serving + self.queued + self.unsent > 0

    def queue(self, size: int) -> None:
        """Add to the queued bytes; a negative size subtracts."""
        with self._server.lock:
            if not self._is_closed:
                self.queued += size
                self._server.change(self, size)

    def note(self, name: str, size: int) -> None:
        """Set the bytes of one of the other kinds."""
        with self._server.lock:
            if not self._is_closed:
                before = getattr(self, name)
                setattr(self, name, size)
                self._server.change(self, size - before)

    def close(self) -> None:
        """Remove the association's bytes from the server's: it is over."""
        with self._server.lock:
            if not self._is_closed:
                self._is_closed = True
                waiting = self.waiting
                self.incomplete = self.receiving = self.serving = self.queued = self.unsent = 0
                self._server.change(self, -waiting)
