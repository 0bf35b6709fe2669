"""One connection: bytes in, bytes out, and how much of either may wait."""

import asyncio
import logging
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from pynetdicom import evt

from nset import _pdu
from nset._errors import CommandSetError
from nset._pdu import PduError
from nset.primitive import N_SET
from nset.scp._handlers import messages_are_logged
from nset.scp._implementation import RequestPath
from nset.scp._memory import ALLOWANCE, Memory
from nset.scp._n_set import SetEvent, failed, is_awaitable, known_services
from nset.scp._upper_layer import CLOSED

_LOGGER = logging.getLogger("nset")

# Bytes of an A-ASSOCIATE-RQ that take pynetdicom a few milliseconds.
_LONG = 4096

# Seconds that a peer has at most to close the connection once the association is over, also where
# the ARTIM timer, the AE's acse_timeout, would give it more.
_LINGER = 2.0

# Seconds in which a program that waits for the peer may itself take note that it has gone.
_AWAITED = 1.0

# Bytes that it may send meanwhile, to be dropped.
_DROPPED = 0x100000

# In the outbox: what stands for a message that is sent piece by piece.
_PIECES: Any = object()


class Connection(RequestPath, asyncio.Protocol):
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
    is_connected : bool
        Whether asyncio has not said that the connection is closed.
    address : tuple
        The peer's.
    began : float
        When what is being done has begun, by the monotonic clock.
    """

    def __init__(self, server: Any, sock: Any, address: Any) -> None:
        limits, ae = server.limits, server.ae
        RequestPath.__init__(
            self,
            limits.pdu_length_for(ae.maximum_pdu_size),
            limits.negotiation_length,
            limits.data_set_bytes,
            N_SET,
        )
        self.loop = server.loop
        self.socket: Any = sock
        self._server = server
        self._transport: Any = None
        self.is_connected = True
        self.queued_size = 0  # of the request that is served next, where it has waited
        self._will_read_on = False
        self._room: threading.Event | None = None  # there while the peer takes less than is sent
        self._linger: asyncio.TimerHandle | None = None  # there once no more is to be sent
        self._lock = threading.Lock()  # guards that no message is sent behind a release or an abort
        self._takes_messages = True
        self._is_aborting = self._is_to_finish = False
        self._message: list[bytes] | None = None  # PDUs of one that the state machine is sending
        self._pieces = threading.Lock()  # held while a message is sent piece by piece

        self.requests, self.inbox, self.outbox = [], [], []
        self.contexts = {}
        self.services = known_services
        self.sent = {}
        self.event_class = SetEvent
        self.is_enabled = messages_are_logged
        self.begin = server.begin
        self.address = address
        self.began = 0.0
        self.memory = Memory(server.memory, limits.association_bytes)

    # -- What asyncio calls ------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Begin: the peer has connected, and with TLS its handshake is done."""
        self._transport = transport
        self.transmit = transport.write
        self.assoc: Any = self._server.new_association(self, self.address)
        self.primitives = self.assoc.dul.to_user_queue.queue
        self._server.connected(self)
        self.assoc.begin()

    def eof_received(self) -> bool:
        """Close the connection, as the peer has: half of one is of no use to DICOM."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the connection is closed, by whomever."""
        self.is_connected = False
        self.is_closed = True
        self._log_loss()
        self.socket = None
        self.outbox.clear()
        if self._room is not None:
            self._room.set()
        if self._linger is not None:
            self._linger.cancel()
        self._server.lost(self)
        dul = self.assoc.dul
        dul.artim_timer.close()
        dul._idle_timer.close()
        self.inbox.append(CLOSED)  # behind the PDUs that have come before it
        dul.work()
        if self.assoc.is_awaiting:
            self.loop.call_later(_AWAITED, self.assoc.wait_no_more)
        self.assoc.connection_lost()
        self.assoc.let_go()

    def let_go(self, assoc: Any) -> None:
        """Keep nothing of an association that is over but a weak reference to it."""
        self.give_up()
        self.transmit = None
        self.assoc = assoc

    def _log_loss(self) -> None:
        """Say what else than an association has ended."""
        if not self.bytes_received:
            _LOGGER.debug("%s has connected, sent nothing, and gone", self.assoc.peer_name())
        elif self.assoc.is_established and (progress := self.assoc.progress()):
            message_id, length = progress
            _LOGGER.warning(
                "Lost the connection with %s amid a message: %s, %d bytes so far",
                self.assoc.peer_name(),
                "its Message ID is not known" if message_id is None else f"Message ID {message_id}",
                length,
            )

    def pause_writing(self) -> None:
        """Note that the peer takes less than is sent: then nothing more is read from it."""
        self._room = threading.Event()
        self.memory.note("unsent", self._transport.get_write_buffer_size())
        self.hold()

    def resume_writing(self) -> None:
        """Note that there is room again."""
        room, self._room = self._room, None
        if room is not None:
            room.set()
        self.memory.note("unsent", 0)
        self.go_on()

    # -- Reading: what the short way leaves to others ----------------------------------------------

    def take_pdu(self, pdu: bytes) -> None:
        """Have a PDU taken by the state machine; no more is read until it is."""
        if time.monotonic() > self._server.deadline:  # which the loop has not come to yet
            self.read_no_more()
            return
        self._server.heard(self)
        if len(pdu) > _LONG and pdu[0] == _pdu.ASSOCIATE_RQ:
            self.assoc.request_is_long()
        self.inbox.append(pdu)
        self.assoc.dul.work()

    def take_request(self, request: Any) -> None:
        """Have a request served in its turn."""
        self.assoc.request_came(request)

    def take_fault(self, fault: CommandSetError | PduError) -> None:
        """Answer what can't be read."""
        if isinstance(fault, CommandSetError) and fault.message_id is not None:
            self.assoc.refuse_request(fault, self.context_id)
            self.loop.call_soon(self.read)
            return
        self.give_up()
        if self.assoc.dul.to_provider_queue.queue:
            self.assoc.dul.pump()  # a rejection that waits to be sent comes first
        self.assoc.dul.refuse(fault)
        self.assoc.dul.work()

    @property
    def has_room(self) -> bool:
        """Whether the peer takes what is sent."""
        return self._room is None

    def hold(self) -> None:
        """Read no more until `go_on`: too much waits to be done."""
        if not self.is_held:
            self.is_held = True
            self._pause()

    def note_waiting(self, size: int) -> None:
        """Note how many bytes have come and are not read; where it is too much, read no more."""
        self.memory.note("incomplete", size)
        self.hold_over_limit()

    def hold_over_limit(self) -> None:
        """Read no more where too much waits."""
        if self.memory.is_over_limit:
            self.hold()
            self.go_on()  # where there has been room again before it was held

    def hold_from_start(self) -> None:
        """Do the same when the connection is made; what comes before the pause waits."""
        self.is_held = True
        self.loop.call_soon(self._pause)  # a transport only begins to read behind connection_made

    def _pause(self) -> None:
        if self.is_held and not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again, in another turn of the loop, unless there is another reason not to."""
        if self.is_held and not self._will_read_on and not self.is_closed and self._may_read_on():
            self._will_read_on = True
            self._server.read_in_turn(self.read_on)

    read_later = go_on

    def _may_read_on(self) -> bool:
        return self._room is None and not self.assoc.has_backlog() and not self.memory.is_over_limit

    def read_on(self) -> None:
        """Read what is there already, and only then let more come."""
        self._will_read_on = False
        if not self.is_closed and self._may_read_on():
            self.is_held = False
            self.read()
            if not self.is_held and not self._transport.is_closing():
                self._transport.resume_reading()

    def has_input(self) -> bool:
        """Tell whether there is something in the socket that was not read yet."""
        sock = self.socket
        if sock is None or sock.fileno() < 0:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    # -- Answering: what the short way leaves to others --------------------------------------------

    def call_in_worker(self, event: Any, service: Any) -> None:
        """Call a plain handler in a worker's thread."""
        self.began = time.monotonic()
        self._note_serving()
        self._server.threads.handler_workers.submit(partial(self._call, event, service))

    def _call(self, event: Any, service: Any) -> None:
        function, args, _ = self.handler
        try:
            answer = function(event, *args)
        except BaseException as exc:
            answer = failed(exc)
        self._server.threads.call(self._handled, event, service, answer)

    def _handled(self, event: Any, service: Any, answer: Any) -> None:
        if self.memory.serving:
            self.memory.note("serving", 0)
            self.go_on()
        self.answer(event, service, answer)

    def _note_serving(self) -> None:
        """Count a request while its handler takes its time, where it is a long one."""
        size = self.queued_size or self.request_length
        if size > ALLOWANCE:
            self.memory.note("serving", size)
            self.hold_over_limit()

    def answer_later(self, task: Any, event: Any, service: Any) -> None:
        """Answer when the task of a handler has ended."""
        self.began = time.monotonic()
        self._note_serving()
        self._server.tasks.add(task)
        task.add_done_callback(partial(self._task_done, event, service))

    def _task_done(self, event: Any, service: Any, task: Any) -> None:
        self._server.tasks.discard(task)
        try:
            answer = task.result()
        except BaseException as exc:  # also where it was cancelled
            answer = failed(exc)
        self._handled(event, service, answer)

    def answer_slowly(self, event: Any, service: Any, answer: Any) -> None:
        """Send a response that takes some thought."""
        if is_awaitable(answer):
            self.answer_later(self.loop.create_task(_await(answer)), event, service)
        else:
            self.assoc.do_in_worker(partial(self.assoc.answer, event, service, answer))

    def answered(self) -> None:
        """Go on with what waits."""
        self.assoc.go_on()

    def failed(self, exc: BaseException) -> tuple[int, None]:
        """Give what a handler that has raised is taken to have returned."""
        return failed(exc)

    # -- Writing -----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send a PDU of the state machine's."""
        if self._message is not None:
            self._message.append(data)
        elif data[0] == _pdu.ASSOCIATE_AC:
            self._accept(data)
        else:
            self.send_quietly(data)
        evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": data})

    def _accept(self, data: bytes) -> None:
        """Establish the association before the peer knows: it may ask at once, as may a program.

        What a program sends from here on comes behind the A-ASSOCIATE-AC.
        """
        if not self.is_closed:
            self.outbox.append(data)
        self.is_transferring = True
        self.assoc.is_established = True
        self._in_loop(self._flush)

    @contextmanager
    def sending_at_once(self) -> Iterator[None]:
        """Have the PDUs that the state machine sends meanwhile leave together."""
        pdus: list[bytes] = []
        self._message = pdus
        try:
            yield
        finally:
            self._message = None
            if pdus:
                self.send_quietly(b"".join(pdus))

    def send_message(self, pdus: bytes) -> None:
        """Send the PDUs of a message past the state machine; from any thread."""
        with self._lock:
            if self._takes_messages and not self.is_closed:
                self.outbox.append(pdus)
        self._in_loop(self._flush)

    def send_in_pieces(self, pdus: Iterator[bytes]) -> None:
        """Send a message as its PDUs are made; in a thread that may wait.

        What others send meanwhile waits in the outbox.
        """
        with self._pieces:
            with self._lock:
                if not self._takes_messages:
                    return
                self.outbox.append(_PIECES)
            self._in_loop(self._flush)  # what is before it leaves before the first piece
            try:
                for pdu in pdus:
                    self.wait_for_room()
                    if self.is_closed or self._is_aborting:
                        break
                    self._in_loop(partial(self._write, pdu))
            finally:
                self._in_loop(self._end_pieces)

    def stop_messages(self, *, aborts: bool) -> None:
        """Take no more messages: an A-RELEASE or A-ABORT is to be sent; from any thread."""
        with self._lock:
            self._takes_messages = self.is_transferring = False
            self._is_aborting = aborts

    def send_quietly(self, data: bytes) -> None:
        """Send without an event; from any thread."""
        if not self.is_closed:
            self.outbox.append(data)
            self._in_loop(self._flush)

    def _flush(self) -> None:
        outbox = self.outbox  # others append to it meanwhile
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
        if self.is_connected and self._linger is None:
            self.count_sent(len(data))
            self._transport.write(data)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Have a function called in the loop's thread after a while; from any thread."""
        self._server.threads.call(self.loop.call_later, seconds, function)

    def _in_loop(self, function: Callable[[], None]) -> None:
        self._server.threads.in_loop(function)

    def wait_for_room(self) -> None:
        """Wait until the peer has taken some of what was sent, in a worker's thread."""
        room = self._room
        if room is None or self._server.threads.is_loop_thread():
            return
        if not room.wait(self.assoc.network_timeout):
            self._server.threads.call(self.break_off)

    # -- The end -----------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close the connection once all is sent; from any thread.

        The sending side first: a peer that has sent more than was read would else lose what was
        sent last, which may be the A-ABORT that says why.
        """
        self._in_loop(self._finish_soon)

    def _finish_soon(self) -> None:
        if self.outbox and self.outbox[0] is _PIECES:  # behind which the last PDU waits
            self._is_to_finish = True
            return
        self.loop.call_soon(self._finish)  # what has come already is looked at first

    def _finish(self) -> None:
        self._flush()
        if not self.is_connected or self._linger is not None or self._transport.is_closing():
            return
        if not self._transport.can_write_eof():  # TLS has no half-closed connections
            self._close()
            return
        with suppress(OSError):  # where the peer has gone already
            self._transport.write_eof()
        self._begin_linger()
        self._transport.set_protocol(_Drain(self, self._transport))
        self._transport.resume_reading()  # it may have been paused, and its end is to be seen

    def _begin_linger(self) -> None:
        timeout = self.assoc.acse_timeout
        seconds = _LINGER if timeout is None else min(timeout, _LINGER)
        self._linger = self.loop.call_later(seconds, self.break_off)

    def close(self) -> None:
        """Close the connection; from any thread, and nothing is sent from now on."""
        self.is_closed = True
        self._in_loop(self._close)

    def _close(self) -> None:
        if self.is_connected and self._linger is None:
            self._flush()
            self._transport.close()
            self._begin_linger()  # for a peer that takes nothing of what is still to be sent

    _shutdown_socket = close

    def read_no_more(self) -> None:
        """Drop what has come and whatever still comes; in the loop's thread."""
        self.give_up()
        self.inbox.clear()
        self.hold()

    def break_off(self) -> None:
        """Close the connection and drop what is not sent; in the loop's thread."""
        if self.is_connected:
            self._transport.abort()


class _Drain(asyncio.Protocol):
    """Drops what a peer still sends when its association is over, and waits for it to close."""

    def __init__(self, connection: Connection, transport: Any) -> None:
        self._connection = connection
        self._transport = transport
        self._left = _DROPPED

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


async def _await(awaitable: Any) -> Any:
    return await awaitable
