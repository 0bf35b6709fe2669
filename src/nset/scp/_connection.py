"""A connection: the transport of one association, its output, and an orderly close."""

import asyncio
import os
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from nset.scp._threads import Threads

# Time for a peer to close the connection once the association is over; the ARTIM timer, the AE's
# acse_timeout, if that is less.
_CLOSE_SECONDS = 2.0

# What a peer may send meanwhile; it is discarded.
_MAX_DRAINED_BYTES = 0x100000

# In the outbox: stands for a message that is sent in pieces.
_PIECES: Any = object()


class ConnectionUser(Protocol):
    """What a connection calls of its association, in the loop's thread, and reads of it."""

    acse_timeout: float | None
    network_timeout: float | None

    def connection_made(self) -> None:
        """Start: the peer has connected, with TLS after its handshake."""

    def connection_lost(self) -> None:
        """End: the connection is closed, by either side."""

    def writing_paused(self, size: int) -> None:
        """Pause: the peer does not read, and `size` bytes wait in the transport."""

    def writing_resumed(self) -> None:
        """Note that there is room again."""


class Connection(asyncio.Protocol):
    """The asyncio protocol of a connection; `data_received` is the fast path's.

    =====================  ==========================================================
    the loop's thread      what asyncio calls, `pause_reading`, `resume_reading`,
                           `has_input`, `abort`, `discard`, ``_transport``, ``_is_closing``
    any thread             `queue`, `flush`, `send`, `send_message`, `send_in_pieces`,
                           `stop_messages`, `wait_for_room`, `finish`, `close`,
                           `is_closed`, `outbox` (only appended to)
    guarded by ``_lock``   ``_takes_messages``, ``_is_aborting``
    =====================  ==========================================================

    Parameters
    ----------
    user : Association
        The association, which has what `ConnectionUser` says.
    threads : Threads
        The server's.
    data_received : callable
        Called with what is received.

    Attributes
    ----------
    outbox : list of bytes
        What is to be sent before anything else.
    is_connected : bool
        Whether asyncio has not said that the connection is closed.
    is_closed : bool
        Whether nothing is sent any more.
    bytes_sent : int
        How many were given to the transport, those of the fast path aside.
    """

    def __init__(
        self,
        user: ConnectionUser,
        threads: Threads,
        data_received: Callable[[bytes], None],
    ) -> None:
        self._user = user
        self._threads = threads
        self.data_received: Any = data_received
        self.outbox: list[Any] = []
        self.is_connected = True
        self.is_closed = False
        self.bytes_sent = 0
        self._transport: Any = None
        self._room: threading.Event | None = None  # while writing is paused
        self._is_closing = False  # waits for the peer to close
        self._lock = threading.Lock()  # guards that no message is sent after a release or an abort
        self._takes_messages = True
        self._is_aborting = self._is_to_finish = False
        self._pieces = threading.Lock()  # held while a message is sent in pieces

    def break_cycles(self, user: Any) -> None:
        """Keep only a weak reference to an association that is over."""
        self._user = user
        self.data_received = None

    # -- What asyncio calls ------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._user.connection_made()

    def eof_received(self) -> bool:
        """Return False, to close the connection: DICOM has no use for a half-closed one."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.is_connected = False
        self.is_closed = True
        self.outbox.clear()
        if self._room is not None:
            self._room.set()
        if self._is_closing:
            self._threads.closing.discard(self)
        self._user.connection_lost()

    def pause_writing(self) -> None:
        """Pause reading, as the transport's buffer is full."""
        self._room = threading.Event()
        self._user.writing_paused(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Note that there is room again."""
        room, self._room = self._room, None
        if room is not None:
            room.set()
        self._user.writing_resumed()

    # -- Reading -----------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether asyncio has said that the connection is made."""
        return self._transport is not None

    def peer_address(self) -> Any:
        """Return the peer's address; an unknown one if the peer has disconnected already."""
        return self._transport.get_extra_info("peername") or ("?", 0)

    def _fileno(self) -> int:
        sock = self._transport.get_extra_info("socket") if self.is_connected else None
        return -1 if sock is None else int(sock.fileno())

    @property
    def write(self) -> Any:
        """The transport's method."""
        return self._transport.write

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
        if not room.wait(self._user.network_timeout):
            self._threads.call(self.abort)

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
        if self.is_connected and not self._is_closing:
            self.bytes_sent += len(data)
            self._transport.write(data)

    # -- The end -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close the connection once everything is sent.

        The sending side first: a peer that has sent more than was read would else lose what was
        sent last, which may be the A-ABORT that says why.
        """
        self._threads.in_loop(self._finish_soon)

    def _finish_soon(self) -> None:
        if self.outbox and self.outbox[0] is _PIECES:  # the last PDU is after it
            self._is_to_finish = True
            return
        self._threads.loop.call_soon(self._finish)  # input that has arrived is processed first

    def _finish(self) -> None:
        self._flush()
        if not self.is_connected or self._is_closing or self._transport.is_closing():
            return
        if not self._transport.can_write_eof():  # TLS has no half-closed connections
            self._close()
            return
        with suppress(OSError):  # the peer may have disconnected
            self._transport.write_eof()
        self._limit_close()
        self._transport.set_protocol(_DrainingProtocol(self, self._transport))
        self._transport.resume_reading()  # to see the end of the input

    def _limit_close(self) -> None:
        timeout = self._user.acse_timeout
        seconds = _CLOSE_SECONDS if timeout is None else min(timeout, _CLOSE_SECONDS)
        self._is_closing = True
        self._threads.closing.add(self, seconds)

    def close(self) -> None:
        """Close the connection, and send nothing from now on."""
        self.is_closed = True
        self._threads.in_loop(self._close)

    def _close(self) -> None:
        if self.is_connected and not self._is_closing:
            self._flush()
            self._transport.close()
            self._limit_close()  # the peer may not read the rest

    def abort(self) -> None:
        """Close the connection, and discard unsent output."""
        if self.is_connected:
            self._transport.abort()

    def close_in_child(self, null: int) -> None:
        """Close a forked process's copy of the socket.

        Its descriptor stays open as a copy of `null`: the transport may yet close its number.
        """
        self.is_closed = True
        descriptor = self._fileno() if self.has_begun else -1
        if descriptor >= 0:
            os.dup2(null, descriptor, inheritable=False)


class _DrainingProtocol(asyncio.Protocol):
    """Discards the input after the end of an association, until the peer closes the connection."""

    def __init__(self, connection: Connection, transport: Any) -> None:
        self._connection = connection
        self._transport = transport
        self._left = _MAX_DRAINED_BYTES

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
