"""The output of a connection, and its orderly close."""

import selectors
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

from nset.scp._implementation import AssociationProtocol
from nset.scp._queues import wait_in_time
from nset.scp._threads import Threads

# In the outbox: stands for a message that is sent in pieces.
_PIECES: Any = object()


class ConnectionUser(Protocol):
    """What a connection calls of its association, in the loop's thread, and reads of it."""

    acse_timeout: float | None
    network_timeout: float | None

    def writing_paused(self, size: int) -> None:
        """Pause: the peer does not read, and `size` bytes wait in the transport."""

    def writing_resumed(self) -> None:
        """Resume: the transport takes bytes again."""


class Connection:
    """The output of a connection, and its end; what the peer sends is the protocol's.

    =====================  ==========================================================
    the loop's thread      what the protocol calls, `pause_reading`, `resume_reading`,
                           `has_input`, ``_is_...ing``
    any thread             `queue`, `flush`, `send`, `send_message`, `send_in_pieces`,
                           `stop_messages`, `wait_for_room`, `finish`, `close`,
                           `is_closed`, `outbox` (only appended to)
    guarded by ``_lock``   ``_takes_messages``, ``_is_aborting``
    =====================  ==========================================================

    Parameters
    ----------
    user : Association
        The association, which has what `ConnectionUser` says.
    protocol : AssociationProtocol
        The protocol, which has the transport.
    threads : Threads
        The server's.

    Attributes
    ----------
    outbox : list of bytes
        What is to be sent before anything else.
    bytes_sent : int
        How many were given to the transport, those of the protocol aside.
    """

    def __init__(
        self, user: ConnectionUser, protocol: AssociationProtocol, threads: Threads
    ) -> None:
        self._user = user
        self._protocol = protocol
        self._threads = threads
        self.outbox: list[Any] = []
        self.bytes_sent = 0
        self._room: threading.Event | None = None  # while writing is paused
        self._lock = threading.Lock()  # guards that no message is sent after a release or an abort
        self._takes_messages = not protocol.sent_release
        self._is_aborting = self._is_to_finish = False
        self._pieces = threading.Lock()  # held while a message is sent in pieces
        protocol.outbox, protocol.send_message = self.outbox, self.send_message

    def break_cycles(self, user: Any) -> None:
        """Keep only a weak reference to an association that is over."""
        self._user = user
        self._protocol.send_message = None

    @property
    def _transport(self) -> Any:
        return self._protocol.transport

    @property
    def is_connected(self) -> bool:
        """Whether asyncio has not said that the connection is closed."""
        return self._protocol.is_connected

    @property
    def is_closed(self) -> bool:
        """Whether nothing is sent any more."""
        return self._protocol.is_closed

    # -- What the protocol calls -------------------------------------------------------------------

    def connection_lost(self) -> None:
        """Discard what was to be sent."""
        self.outbox.clear()
        if self._room is not None:
            self._room.set()

    def pause_writing(self) -> None:
        """Pause reading, as the transport's buffer is full."""
        self._room = threading.Event()
        self._user.writing_paused(self.bytes_unsent)

    def resume_writing(self) -> None:
        """Note that there is room again."""
        room, self._room = self._room, None
        if room is not None:
            room.set()
        self._user.writing_resumed()

    # -- Reading -----------------------------------------------------------------------------------

    def _fileno(self) -> int:
        transport = self._transport if self.is_connected else None
        sock = None if transport is None else transport.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    def pause_reading(self) -> None:
        """Pause the transport's reading."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume the transport's reading."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def has_input(self) -> bool:
        """Return whether the socket has input that was not read yet."""
        descriptor = self._fileno()
        if descriptor < 0:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            return bool(selector.select(0))

    # -- Writing -----------------------------------------------------------------------------------

    @property
    def bytes_unsent(self) -> int:
        """How many bytes wait in the transport."""
        return int(self._transport.get_write_buffer_size()) if self.is_connected else 0

    @property
    def is_writable(self) -> bool:
        """Whether the transport accepts output without buffering too much."""
        return self._room is None

    def queue(self, data: bytes) -> None:
        """Append data to the outbox; `flush` sends it."""
        if not self.is_closed:
            self.outbox.append(data)

    def flush(self) -> None:
        """Send the outbox."""
        self._threads.in_loop(self._flush)

    def send(self, data: bytes) -> None:
        """Send data."""
        if not self.outbox and self._threads.is_loop_thread():
            if not self.is_closed:
                self._write(data)
        else:
            self.queue(data)
            self.flush()

    def send_message(self, pdus: bytes) -> None:
        """Send the PDUs of a message past the state machine."""
        with self._lock:
            if self._takes_messages and not self.is_closed:
                self.outbox.append(pdus)
        self.flush()

    def send_in_pieces(self, pdus: Iterator[bytes]) -> None:
        """Send a message as its PDUs are made; in a thread that may wait.

        What other threads send meanwhile waits in the outbox.
        """
        with self._pieces:
            with self._lock:
                if not self._takes_messages:
                    return
                self.outbox.append(_PIECES)
            self.flush()  # earlier output goes first
            try:
                for pdu in pdus:
                    self.wait_for_room()
                    if self.is_closed or self._is_aborting:
                        break
                    self._threads.in_loop(partial(self._write, pdu))
            finally:
                self._threads.in_loop(self._end_pieces)

    def stop_messages(self, *, aborts: bool) -> None:
        """Accept no more messages: an A-RELEASE or A-ABORT is about to be sent."""
        with self._lock:
            self._takes_messages = False
            self._is_aborting = aborts

    def wait_for_room(self) -> None:
        """Wait until writing is resumed; in a worker's thread."""
        room = self._room
        if room is None or self._threads.is_loop_thread():
            return
        if not wait_in_time(room.wait, self._user.network_timeout):
            self._threads.call(self._protocol.abort)

    def _flush(self) -> None:
        outbox = self.outbox  # other threads append to it meanwhile
        waiting = []
        while outbox and outbox[0] is not _PIECES:
            waiting.append(outbox.pop(0))
        if waiting:
            self._write(b"".join(waiting))

    def _end_pieces(self) -> None:
        if self.outbox:  # else the connection has been closed
            self.outbox.pop(0)
            self._flush()
            if self._is_to_finish:
                self._finish_soon()

    def _write(self, data: bytes) -> None:
        if self.is_connected and not self._protocol.is_closing:
            self.bytes_sent += len(data)
            self._transport.write(data)

    # -- The end -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close the connection once everything is sent."""
        self._threads.in_loop(self._finish_soon)

    def _finish_soon(self) -> None:
        if self.outbox and self.outbox[0] is _PIECES:  # the last PDU is after it
            self._is_to_finish = True
            return
        self._threads.loop.call_soon(self._finish)  # input that has arrived is processed first

    def _finish(self) -> None:
        self._flush()
        if not self.is_connected or self._protocol.is_closing or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._protocol.half_close(self._user.acse_timeout)
        else:  # TLS has no half-closed connections
            self._close()

    def close(self) -> None:
        """Close the connection, and send nothing from now on."""
        self._protocol.is_closed = True
        self._threads.in_loop(self._close)

    def _close(self) -> None:
        if self.is_connected and not self._protocol.is_closing:
            self._flush()
            self._transport.close()
            self._protocol.limit_close(self._user.acse_timeout)  # the peer may not read the rest
