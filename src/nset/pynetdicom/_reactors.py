"""The two threads of an association block until there is work, instead of polling.

pynetdicom runs two threads for an association: the DUL's reads and writes the socket, the
association's serves requests. Both run stock loops that sleep for a millisecond in each iteration.
The loops stay as they are; the `sleep` that they call blocks until there is work, as long as an
acceptor's association is in state Sta6 (data transfer). In any other state, and for requestors, it
sleeps as usual.

The DUL thread holds the association's lock except while it blocks. A thread that sends something
meanwhile takes the lock and performs the state machine's action itself.
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
from nset._errors import CommandSetError
from nset.pynetdicom._exchange import Checkpoint, Messages
from nset.pynetdicom._provider import _log_abort

# A blocked thread checks this often for changes that wake no thread, such as `assoc._kill`.
_POLL_SECONDS: Final = 0.05

# What both loops sleep in an iteration; their other sleeps are longer or shorter.
_LOOP_SLEEP_SECONDS: Final = 0.001

# Enough to read the two PDUs of a usual request at once.
_READ_AHEAD_BYTES: Final = 65536

# Bytes of a PDU's type and length; and of its first PDV's length, context ID and header.
_HEADER_BYTES: Final = 6

# No longer PDU can start with a command fragment of a valid length.
_MAX_UNCHECKED_BYTES: Final = _HEADER_BYTES + _rules.MAX_COMMAND_SET_LENGTH


class Clock:
    """Replaces the module ``time`` in the modules of pynetdicom's loops."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        """Sleep, or block until there is work if the caller is one of the two loops."""
        thread = threading.current_thread()
        wait_for_work = getattr(thread, "_nset_wait_for_work", None)
        if wait_for_work is None or seconds != _LOOP_SLEEP_SECONDS or not wait_for_work():
            time.sleep(seconds)


class _WakeUp:
    """An event for one waiting thread, reset by `wait`; cheaper than `threading.Event`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # it is set already
            return

    def wait(self, timeout: float) -> None:
        self._lock.acquire(timeout=max(timeout, 0))


class _WakingQueue(Queue[Any]):
    """A queue that calls a function after each `put`."""

    def __init__(self, wake_up: Callable[[], None]) -> None:
        super().__init__()
        self._wake_up = wake_up

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._wake_up()


def init(stock: Callable[..., None]) -> Callable[..., None]:
    """Make ``Association.__init__`` replace the queues, and let an acceptor's threads block."""

    @wraps(stock)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        wake_up = _WakeUp()
        self.dimse.msg_queue = Messages(self, wake_up.set)
        self._reactor_checkpoint = Checkpoint(self)
        if self.is_acceptor and hasattr(select, "poll"):  # not on Windows
            _let_threads_block(self, wake_up)

    return init


def _let_threads_block(assoc: Any, wake_up: _WakeUp) -> None:
    dul, messages = assoc.dul, assoc.dimse.msg_queue
    dul.to_user_queue = _WakingQueue(wake_up.set)

    def wait_for_messages() -> bool:
        if not _is_in_data_transfer(dul):
            return False
        if not messages.queue and not messages.has_waiters and not assoc._kill:
            wake_up.wait(min(_POLL_SECONDS, dul._idle_timer.remaining))
        return True

    lock = threading.Lock()
    lock.acquire()
    assoc._nset_wait_for_work = wait_for_messages
    dul._nset_wait_for_work = partial(_wait_for_network, dul, lock)
    dul._nset_send_queued = partial(_send_queued, dul, lock)
    dul.send_pdu = partial(_send_pdu, dul)


def kill_dul(stock: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make ``DULServiceProvider.kill_dul`` wake an acceptor that waits for an A-ASSOCIATE-RQ.

    A connection that is closed before it sends one would otherwise count as an association until
    the ACSE timeout, and ten such connections in that time keep out all other peers.
    """

    @wraps(stock)
    def kill_dul(self: Any) -> None:
        stock(self)
        assoc = self.assoc
        if assoc.is_acceptor and assoc.requestor.primitive is None:
            self.to_user_queue.put(None)

    return kill_dul


def _is_in_data_transfer(dul: Any) -> bool:
    return bool(dul.state_machine.current_state == "Sta6")


def _send_pdu(dul: Any, primitive: Any) -> None:
    """Replace ``DULServiceProvider.send_pdu``."""
    type(dul).send_pdu(dul, primitive)
    dul._nset_send_queued()


def _send_queued(dul: Any, lock: threading.Lock) -> None:
    """Send the queued primitives from this thread, if the DUL thread is blocked."""
    while dul.to_provider_queue.queue and lock.acquire(blocking=False):
        try:
            if not _send_next(dul):
                return
        finally:
            lock.release()


def _send_next(dul: Any) -> bool:
    """Run the state machine's action for the first queued primitive; False if it has to stay."""
    if not _is_in_data_transfer(dul) or dul.event_queue.queue:
        return False
    try:
        if not dul._process_recv_primitive():
            return False
        event = dul.event_queue.get(block=False)
    except (Empty, ValueError):  # an unknown primitive: the DUL thread reports it
        return False
    dul.state_machine.do_action(event)
    return True


def _wait_for_network(dul: Any, lock: threading.Lock) -> bool:
    """Block the DUL thread until there is something to read; False if it should sleep instead."""
    connection: Any = dul.socket
    if not _is_in_data_transfer(dul) or connection is None or connection.socket is None:
        return False
    if not isinstance(connection, _ReadAheadSocket):
        if type(connection) is not AssociationSocket:
            return False
        connection.__class__ = _ReadAheadSocket
        vars(connection)["_ahead"] = bytearray()
    lock.release()
    try:
        # What was queued before the release is this thread's to send; the rest, its sender's.
        if not dul.to_provider_queue.queue:
            return bool(connection.wait(_POLL_SECONDS))
        return True
    finally:
        lock.acquire()


class _ReadAheadSocket(AssociationSocket):
    """Reads as much as the socket has, and remembers whether it was readable while waiting."""

    _ahead: bytearray
    _pdu_type = 0  # of the PDU whose header was read last
    # True or False by the last poll, False once that has been reported; None: poll again.
    _was_readable: bool | None = None
    _poll: Any = None

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until there is something to read; False if it is closed."""
        sock = self.socket
        if sock is None or sock.fileno() < 0:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)
        is_buffered = self._ahead or (isinstance(sock, ssl.SSLSocket) and sock.pending())
        self._was_readable = bool(is_buffered or self._poll.poll(timeout * 1000))
        return True

    @property
    def ready(self) -> bool:
        if self._ahead:
            self._was_readable = False
            return True
        was_readable = self._was_readable
        self._was_readable = False if was_readable else None
        if was_readable is None:
            return super().ready
        return was_readable and self.socket is not None and self._is_connected

    def recv(self, nr_bytes: int) -> bytearray:
        ahead = self._ahead
        is_unchecked = nr_bytes > _MAX_UNCHECKED_BYTES and self._pdu_type == _pdu.P_DATA_TF
        while len(ahead) < nr_bytes:
            if is_unchecked and len(ahead) >= _HEADER_BYTES:
                _check_first_pdv(ahead)
                is_unchecked = False
            assert self.socket is not None
            data = self.socket.recv(_READ_AHEAD_BYTES)
            if not data:
                break
            ahead += data
        taken = ahead[:nr_bytes]
        del ahead[:nr_bytes]
        if nr_bytes == _HEADER_BYTES and taken:
            self._pdu_type = taken[0]
        return taken


def recv(stock: Callable[[Any, int], bytearray]) -> Callable[[Any, int], bytearray]:
    """Make ``AssociationSocket.recv`` check a long PDU's first PDV before it reads the rest."""

    @wraps(stock)
    def recv(self: Any, nr_bytes: int) -> bytearray:
        if nr_bytes <= _MAX_UNCHECKED_BYTES or vars(self).get("_pdu_type") != _pdu.P_DATA_TF:
            data = stock(self, nr_bytes)
            if nr_bytes == _HEADER_BYTES and data:
                self._pdu_type = data[0]
            return data
        data = stock(self, _HEADER_BYTES)
        if len(data) < _HEADER_BYTES:
            return data
        _check_first_pdv(data)
        data += stock(self, nr_bytes - _HEADER_BYTES)
        return data

    return recv


def _check_first_pdv(data: bytearray) -> None:
    length = int.from_bytes(data[:4], "big")
    if data[5] & _pdu.IS_COMMAND and length - 2 > _rules.MAX_COMMAND_SET_LENGTH:
        raise _pdu.command_set_too_long()


def read_pdu_data(stock: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make ``DULServiceProvider._read_pdu_data`` abort on a PDU that `recv` refuses to read."""

    @wraps(stock)
    def _read_pdu_data(self: Any) -> None:
        connection = self.socket
        if "_nset_is_refused" in vars(connection):  # discard the rest of that PDU
            try:
                data = connection.socket.recv(_READ_AHEAD_BYTES)
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
