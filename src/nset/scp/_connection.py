"""One connection: bytes in, bytes out, and how much of either may wait."""

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pynetdicom import evt

from nset._command_set import CommandSetError
from nset._implementation import PduReader
from nset._pdu import PduError

if TYPE_CHECKING:
    from nset.scp._association import Association
    from nset.scp._server import Server

# Seconds that a peer has at most to close the connection once the association is over.
_LINGER = 30.0


class Connection(asyncio.Protocol):
    """The protocol of a connection, and what pynetdicom takes for its socket.

    What is public for pynetdicom may be called in any thread, the rest only in the loop's.

    Parameters
    ----------
    server : Server
        Whose connection it is.
    sock : socket.socket
        The accepted socket.
    address : tuple
        The peer's.

    Attributes
    ----------
    loop : asyncio.AbstractEventLoop
        The loop.
    reader : PduReader
        What has been received and not been read.
    bytes_sent : int
        How many have been handed to the transport.
    """

    def __init__(self, server: "Server", sock: Any, address: Any) -> None:
        limits, ae = server.limits, server.ae
        self.loop = server.loop
        self.socket: Any = sock
        self.reader = PduReader(
            limits.pdu_length_for(ae.maximum_pdu_size),
            limits.negotiation_length,
            limits.data_set_bytes,
        )
        self.bytes_sent = 0
        self._server = server
        self._transport: Any = None
        self._is_connected = True
        self._is_closed = False
        self._outbox: list[bytes] = []
        self._room: threading.Event | None = None  # there while the peer takes less than is sent
        self._is_held = False
        self._is_unreadable = False
        self._linger: asyncio.TimerHandle | None = None  # there once no more is to be sent
        self.assoc: Association = server.new_association(self, address)

    # -- What asyncio calls ------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Begin: the peer has connected, and with TLS its handshake is done."""
        self._transport = transport
        self._server.connections.add(self)
        self.assoc.begin()

    def data_received(self, data: bytes) -> None:
        """Take what the peer has sent."""
        assoc, reader = self.assoc, self.reader
        dul = assoc.dul
        dul.heard()
        reader.is_fast = dul.is_transferring and not assoc.is_observed()
        reader.feed(data)
        self.read()

    def eof_received(self) -> bool:
        """Close the connection, as the peer has: half of one is of no use to DICOM."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the connection is closed, by whomever."""
        self._is_connected = False
        self.socket = None
        self._outbox.clear()
        if self._room is not None:
            self._room.set()
        if self._linger is not None:
            self._linger.cancel()
        self._server.lost(self)
        dul = self.assoc.dul
        dul.artim_timer.close()
        dul._idle_timer.close()
        dul.event_queue.put("Evt17")
        dul.work()

    def pause_writing(self) -> None:
        """Note that the peer takes less than is sent: then nothing more is read from it."""
        self._room = threading.Event()
        self.hold()

    def resume_writing(self) -> None:
        """Note that there is room again."""
        room, self._room = self._room, None
        if room is not None:
            room.set()
        self.go_on()

    # -- Reading -----------------------------------------------------------------------------------

    def read(self) -> None:
        """Read what has been received, as far as there is room for it."""
        assoc, reader = self.assoc, self.reader
        dul = assoc.dul
        try:
            while not dul.inbox and not self._is_held and not self._is_unreadable:
                item = reader.next()
                if item is None:
                    break
                if type(item) is bytes:
                    dul.inbox.append(item)
                    dul.work()
                else:
                    assoc.request_came(item)
        except CommandSetError as fault:
            if fault.message_id is None:
                self._refuse(fault)
            else:
                assoc.refuse_request(fault, reader.context_id)
                self.loop.call_soon(self.read)
        except PduError as fault:
            self._refuse(fault)

    def _refuse(self, fault: Exception) -> None:
        dul = self.assoc.dul
        self.reader.is_fast = False
        self._is_unreadable = True  # what comes behind it is not to be understood
        dul.refuse(fault)
        dul.work()

    @property
    def has_room(self) -> bool:
        """Whether the peer takes what is sent."""
        return self._room is None

    def hold(self) -> None:
        """Read no more until `go_on`: too much waits to be done."""
        if not self._is_held:
            self._is_held = True
            if not self._transport.is_closing():
                self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again, unless there is another reason not to."""
        if self._is_held and self._room is None and not self.assoc.has_backlog():
            self._is_held = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
            self.loop.call_soon(self.read)

    # -- Writing -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send in the loop's thread."""
        if self._outbox:
            self.send_quietly(data)
        elif self._is_connected and not self._is_closed:
            self.bytes_sent += len(data)
            self._transport.write(data)

    def send(self, data: bytes) -> None:
        """Send; from any thread."""
        self.send_quietly(data)
        evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": data})

    def send_quietly(self, data: bytes) -> None:
        """Send without an event; from any thread."""
        if self._is_closed:
            return
        self._outbox.append(data)
        self._in_loop(self._flush)

    def _flush(self) -> None:
        outbox = self._outbox  # others append to it meanwhile
        waiting = []
        while outbox:
            waiting.append(outbox.pop(0))
        if waiting and self._is_connected and self._linger is None:
            data = b"".join(waiting)
            self.bytes_sent += len(data)
            self._transport.write(data)

    def _in_loop(self, function: Callable[[], None]) -> None:
        if self._server.is_loop_thread():
            function()
        else:
            self._server.callbacks.call(function)

    def wait_for_room(self) -> None:
        """Wait until the peer has taken some of what was sent, in a worker's thread."""
        room = self._room
        if room is None or self._server.is_loop_thread():
            return
        if not room.wait(self.assoc.network_timeout):
            self._server.callbacks.call(self.break_off)

    # -- The end -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close the connection once all is sent; from any thread.

        The sending side first: a peer that has sent more than was read would else lose what was
        sent last, which may be the A-ABORT that says why.
        """
        self._in_loop(self._finish)

    def _finish(self) -> None:
        self._flush()
        if not self._is_connected or self._linger is not None or self._transport.is_closing():
            return
        if not self._transport.can_write_eof():  # TLS has no half-closed connections
            self._transport.close()
            return
        self._transport.write_eof()
        timeout = self.assoc.acse_timeout
        seconds = _LINGER if timeout is None else min(timeout, _LINGER)
        self._linger = self.loop.call_later(seconds, self.break_off)
        if self._is_held:
            self._is_held = False
            self._transport.resume_reading()  # or its end would not be seen

    def close(self) -> None:
        """Close the connection; from any thread, and nothing is sent from now on."""
        self._is_closed = True
        self._in_loop(self._close)

    def _close(self) -> None:
        if self._is_connected:
            self._flush()
            self._transport.close()

    _shutdown_socket = close

    def break_off(self) -> None:
        """Close the connection and drop what is not sent; in the loop's thread."""
        if self._is_connected:
            self._transport.abort()
