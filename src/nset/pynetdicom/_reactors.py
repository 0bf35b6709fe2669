"""The two threads of an association wait for something to do, instead of looking every millisecond.

pynetdicom runs two threads for an association: the DUL's reads and writes the socket, the
association's serves requests. In both, stock loops sleep for a millisecond at each turn. Here the
loops stay, and what they call to sleep waits, while an acceptor's association transfers data
(Sta6); in any other state, and for requestors, it sleeps as ever.

The lock of an association is held by its DUL thread, save while that waits. Whoever sends
something meanwhile takes the lock and does himself what the DUL thread would do.
"""

import select
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial, wraps
from queue import Empty, Queue
from typing import Any, Final

from pynetdicom.transport import AssociationSocket

from nset import _pdu, _rules
from nset._command_set import CommandSetError
from nset.pynetdicom._exchange import Checkpoint, Messages
from nset.pynetdicom._provider import _log_abort

# After so many seconds a thread looks up although nothing was announced, as when it is told to end.
_LOOK_UP: Final = 0.05

# What the association's loop sleeps at a turn; its other sleeps are longer or shorter.
_TURN: Final = 0.001

# Bytes. The two PDUs of a usual request come in one read.
_READ_AHEAD: Final = 65536

# Bytes of a PDU's type and length, and as many of its first PDV's length, context and header.
_HEADER: Final = 6

# Bytes behind a PDU's length that no PDU with such a command fragment has more of.
_USUAL: Final = _HEADER + _rules.MAX_COMMAND_SET_LENGTH


class Clock:
    """Stand in for the module ``time`` where pynetdicom's loops look it up."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        """Sleep, or wait where the caller is one of the two threads in its loop."""
        thread = threading.current_thread()
        wait = getattr(thread, "_nset_wait", None)
        if wait is None or seconds != _TURN or not wait():
            time.sleep(seconds)


class _Bell:
    """What a thread waits for that others ring; once rung it stays so until someone has waited."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        # RuntimeError: it is rung already.
        try:
            self._lock.release()
        except RuntimeError:
            return

    def wait(self, timeout: float) -> None:
        self._lock.acquire(timeout=max(timeout, 0))


class _RingingQueue(Queue[Any]):
    """A queue that rings when something is put into it."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self._ring = ring

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._ring()


def init(stock: Callable[..., None]) -> Callable[..., None]:
    """Make ``Association.__init__`` prepare its queues, and an acceptor's threads to wait."""

    @wraps(stock)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        bell = _Bell()
        self.dimse.msg_queue = Messages(self, bell.ring)
        self._reactor_checkpoint = Checkpoint(self)
        if self.is_acceptor and hasattr(select, "poll"):  # Windows has none
            _prepare(self, bell)

    return init


def _prepare(assoc: Any, bell: _Bell) -> None:
    dul, messages = assoc.dul, assoc.dimse.msg_queue
    dul.to_user_queue = _RingingQueue(bell.ring)

    def wait_for_messages() -> bool:
        if not _transfers_data(dul):
            return False
        if not messages.queue and not messages.is_asking and not assoc._kill:
            bell.wait(min(_LOOK_UP, dul._idle_timer.remaining))
        return True

    lock = threading.Lock()
    lock.acquire()
    assoc._nset_wait = wait_for_messages
    dul._nset_wait = partial(_wait_for_network, dul, lock)
    dul._nset_send_waiting = partial(_send_waiting, dul, lock)
    dul.send_pdu = partial(_send_pdu, dul)


def kill_dul(stock: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make ``DULServiceProvider.kill_dul`` wake an acceptor that waits for an A-ASSOCIATE-RQ.

    A connection that is closed before it brings one would count as an association until the ACSE
    timeout is over, and ten such connections in that time keep everybody else out.
    """

    @wraps(stock)
    def kill_dul(self: Any) -> None:
        stock(self)
        assoc = self.assoc
        if assoc.is_acceptor and assoc.requestor.primitive is None:
            self.to_user_queue.put(None)

    return kill_dul


def _transfers_data(dul: Any) -> bool:
    return bool(dul.state_machine.current_state == "Sta6")


def _send_pdu(dul: Any, primitive: Any) -> None:
    """Stand in for ``DULServiceProvider.send_pdu``."""
    type(dul).send_pdu(dul, primitive)
    dul._nset_send_waiting()


def _send_waiting(dul: Any, lock: threading.Lock) -> None:
    """Send what waits to be sent, at once if the DUL thread only waits."""
    while dul.to_provider_queue.queue and lock.acquire(blocking=False):
        try:
            if not _act(dul):
                return
        finally:
            lock.release()


def _act(dul: Any) -> bool:
    """Do the state machine's action for the first primitive to be sent; False leaves it there."""
    if not _transfers_data(dul) or dul.event_queue.queue:
        return False
    try:
        if not dul._process_recv_primitive():
            return False
        event = dul.event_queue.get(block=False)
    except (Empty, ValueError):  # a primitive of no kind: the DUL thread knows what to do
        return False
    dul.state_machine.do_action(event)
    return True


def _wait_for_network(dul: Any, lock: threading.Lock) -> bool:
    """Wait in the DUL thread's place; False where it is to sleep."""
    connection: Any = dul.socket
    if not _transfers_data(dul) or connection is None or connection.socket is None:
        return False
    if not isinstance(connection, _ReadingAhead):
        if type(connection) is not AssociationSocket:
            return False
        connection.__class__ = _ReadingAhead
        vars(connection)["_ahead"] = bytearray()
    lock.release()
    try:
        # What was put there before the release is for this thread; after it, for who put it.
        if not dul.to_provider_queue.queue:
            return bool(connection.wait(_LOOK_UP))
        return True
    finally:
        lock.acquire()


class _ReadingAhead(AssociationSocket):
    """Takes from the socket what there is, and remembers what was seen of it while waiting."""

    _ahead: bytearray
    _kind = 0  # of the PDU whose header was read last
    # True: something is there to be read. False: nothing was, when it was looked at last. None:
    # nobody has looked since.
    _seen: bool | None = None
    _poll: Any = None

    def wait(self, timeout: float) -> bool:
        """Wait until something can be read, so many seconds at most; False if it is closed."""
        sock = self.socket
        if sock is None or sock.fileno() < 0:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)
        is_buffered = self._ahead or (isinstance(sock, ssl.SSLSocket) and sock.pending())
        self._seen = bool(is_buffered or self._poll.poll(timeout * 1000))
        return True

    @property
    def ready(self) -> bool:
        if self._ahead:
            self._seen = False
            return True
        seen, self._seen = self._seen, False if self._seen else None
        if seen is None:
            return super().ready
        return seen and self.socket is not None and self._is_connected

    def recv(self, nr_bytes: int) -> bytearray:
        ahead = self._ahead
        is_unchecked = nr_bytes > _USUAL and self._kind == _pdu.P_DATA_TF
        while len(ahead) < nr_bytes:
            if is_unchecked and len(ahead) >= _HEADER:
                _check_first_pdv(ahead)
                is_unchecked = False
            assert self.socket is not None
            data = self.socket.recv(_READ_AHEAD)
            if not data:
                break
            ahead += data
        taken = ahead[:nr_bytes]
        del ahead[:nr_bytes]
        if nr_bytes == _HEADER and taken:
            self._kind = taken[0]
        return taken


def recv(stock: Callable[[Any, int], bytearray]) -> Callable[[Any, int], bytearray]:
    """Make ``AssociationSocket.recv`` look at the first PDV before it reads the rest."""

    @wraps(stock)
    def recv(self: Any, nr_bytes: int) -> bytearray:
        if nr_bytes <= _USUAL or vars(self).get("_kind") != _pdu.P_DATA_TF:
            data = stock(self, nr_bytes)
            if nr_bytes == _HEADER and data:
                self._kind = data[0]
            return data
        data = stock(self, _HEADER)
        if len(data) < _HEADER:
            return data
        _check_first_pdv(data)
        data += stock(self, nr_bytes - _HEADER)
        return data

    return recv


def _check_first_pdv(data: bytearray) -> None:
    length = int.from_bytes(data[:4], "big")
    if data[5] & _pdu.IS_COMMAND and length - 2 > _rules.MAX_COMMAND_SET_LENGTH:
        raise _pdu.command_set_too_long()


def read_pdu_data(stock: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make ``DULServiceProvider._read_pdu_data`` abort where a PDU is not worth its memory."""

    @wraps(stock)
    def _read_pdu_data(self: Any) -> None:
        connection = self.socket
        if "_nset_is_refused" in vars(connection):  # what still comes of that PDU is dropped
            try:
                data = connection.socket.recv(_READ_AHEAD)
            except OSError:
                data = b""
            if not data:
                self.event_queue.put("Evt17")
            return
        try:
            stock(self)
        except CommandSetError as fault:
            connection._nset_is_refused = True
            vars(connection).get("_ahead", bytearray()).clear()
            _log_abort(self.assoc, fault)
            self.event_queue.put("Evt19")

    return _read_pdu_data
