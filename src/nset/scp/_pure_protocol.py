"""The pure-Python fallback for the asyncio protocol of an association: as ``_protocol.pyx``."""

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from logging import Logger
from threading import Lock, RLock
from time import monotonic
from typing import Any
from weakref import ref

from nset import _pdu
from nset.scp import _rules, _services
from nset.scp._pure import FastPath

__all__ = ["AssociationProtocol", "Connections", "Deadlines", "level_check"]


def level_check(logger: Logger) -> Callable[[int], bool]:
    """Return the logger's method `isEnabledFor`, or a faster function with the same result."""
    return logger.isEnabledFor


class Connections:
    """The connections of a server and their associations.

    In the loop's thread, but for attributes that say otherwise.

    Parameters
    ----------
    server : Server
        The server. Has `counters`, and `forget` for an association that is over.

    Attributes
    ----------
    connected : set of AssociationProtocol
        Those whose connection is open.
    associations : dict of AssociationProtocol to None
        Those that are not over, the oldest first; added to with `lock`, removed in any thread.
    connecting : dict of AssociationProtocol to tuple of (asyncio.Task, socket.socket)
        Those with a PROXY protocol header or a TLS handshake to come.
    silent : dict of AssociationProtocol to None
        Those whose peer has sent no PDU, the oldest first.
    lock : threading.Lock
        Guards the change of handlers and bindings.
    bindings : Bindings
        The server's handlers, examined; set with `lock`, in any thread.
    first_pdus : Deadlines
        Of the first PDUs; set once there is a loop.
    makes_room : callable
        Called with the AE's settings and a peer's address where there are too many connections;
        returns whether there is room for the peer now. Set with `first_pdus`.
    is_full : bool
        Whether there were too many when the last peer connected.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._counters = server.counters
        self.connected: set[Any] = set()
        self.associations: dict[Any, None] = {}
        self.connecting: dict[Any, Any] = {}
        self.silent: dict[Any, None] = {}
        self.lock = Lock()
        self.bindings: Any = None
        self.first_pdus: Any = None
        self.makes_room: Any = None
        self.is_full = False

    def admits(self, settings: Any, address: Any) -> bool:
        """Return whether there is room for a connection of a peer, or is made."""
        if len(self.connected) + len(self.connecting) >= settings.maximum_connections:
            return bool(self.makes_room(settings, address))
        self.is_full = False
        return True

    def wait_for_pdu(self, path: Any) -> None:
        """Wait a limited time for the first PDU of a connection."""
        self.silent[path] = None
        self.first_pdus.add(path, path.settings.first_pdu_timeout)

    def stop_waiting(self, path: Any) -> None:
        """Wait no more for the first PDU of a connection, nor look whether it is idle."""
        self.silent.pop(path, None)
        self.first_pdus.discard(path)

    def open(self, path: Any) -> bool:
        """Add an association whose connection is open, after its TLS handshake.

        Returns
        -------
        bool
            False, with nothing done, if there are too many connections.
        """
        counters = self._counters
        is_new = self.connecting.pop(path, None) is None
        if is_new:
            if not self.admits(path.settings, path.address):
                return False
            self.wait_for_pdu(path)
        counters.open(path, is_new)
        self.connected.add(path)
        with self.lock:
            self.associations[path] = None
            path.bindings = self.bindings
        if counters.measurements is not None:
            path.measure = counters.measurements.fast_response
        return True

    def close(self, path: Any, has_ended: bool = False) -> None:
        """Remove an association whose connection is closed; all of it, if it has ended with it."""
        self.stop_waiting(path)
        self.connected.discard(path)
        self._counters.close(path, has_ended)
        if has_ended:
            self._server.forget(path)


class AssociationProtocol(FastPath):
    """The asyncio protocol of an association, which it establishes and releases if it is ordinary.

    Such an association needs no other object, and none of pynetdicom's. The `Association` is made
    when something reads `assoc`; with ``made`` None there is none. In the loop's thread, but for
    attributes that say otherwise.

    Parameters
    ----------
    server : Server
        The server. Has its `connections`, `negotiated` for an A-ASSOCIATE-RQ, `make_association`,
        and what the fast path needs.

    Attributes
    ----------
    making : threading.RLock
        Guards what is made of an association on demand, and that nothing is while the protocol
        establishes or ends it.
    settings : AESettings
        The AE's when the peer connected.
    since : float
        When the peer connected, by the monotonic clock.
    transport : asyncio.Transport or None
        The connection's, once it is made.
    address : tuple
        The peer's.
    accepted : Accepted or None
        The negotiation, where pynetdicom has no part in it.
    bindings : Bindings
        The bound handlers, examined; set with the server's lock.
    own_handlers : dict or None
        The association's handlers, where they are not the server's.
    logs_messages : bool
        Whether pynetdicom's log handler is bound to EVT_DIMSE_RECV.
    has_callbacks : bool
        Whether a program's code runs when an association is negotiated, sends, receives or ends.
    has_providers : bool
        Whether pynetdicom's providers have been made, which then do the rest.
    is_closing : bool
        Whether the server waits for the peer to close the connection.
    is_connected : bool
        Whether asyncio has not said that the connection is closed; any thread.
    is_closed : bool
        Whether nothing is sent any more; any thread.
    was_requested, is_established, is_released, is_over, sent_release, is_killed : bool
        The state of the association; any thread.
    """

    event_class: Any
    transport: Any = None
    address: Any = None
    accepted: Any = None
    own_handlers: Any = None
    logs_messages = True
    has_callbacks = False
    has_providers = False
    is_closing = False
    is_connected = True
    is_closed = False
    was_requested = is_established = is_released = is_over = False
    sent_release = is_killed = False
    _is_refused = False
    _was_heard = False
    _is_to_finish = False
    _is_draining = False
    _drained = 0

    def __init__(self, server: Any) -> None:
        settings, limits = server.settings(), server.limits
        super().__init__(
            settings.pdu_length, limits.negotiation_length, limits.data_set_bytes, self.event_class
        )
        self.server = server
        self.settings = settings
        self.making = RLock()
        self.since = monotonic()
        self.pending = []
        self.service_classes = _services.KNOWN
        self.start_task = server.start_task
        self.is_logged = server.is_logged

    @property
    def bindings(self) -> Any:
        """The bound handlers, examined."""
        return self._bindings

    @bindings.setter
    def bindings(self, bindings: Any) -> None:
        self._bindings = bindings
        self.handlers = bindings.services
        self.logs_messages = bindings.logs_messages
        self.observes_messages = bindings.observes_messages
        self.has_callbacks = bindings.has_callbacks

    # -- The association ---------------------------------------------------------------------------

    @property
    def made(self) -> Any:
        """The association, or None if it has not been made; any thread."""
        assoc = self._assoc
        return assoc() if type(assoc) is ref else assoc

    @property  # type: ignore[misc]
    def assoc(self) -> Any:
        """The association, which is made if it was not; any thread."""
        assoc = self._assoc
        if assoc is not None and type(assoc) is not ref:
            return assoc
        with self.making:
            assoc = self.made
            if assoc is None:
                assoc = self._assoc = self.server.make_association(self)
                if self.is_over:
                    self.forget_association()
            return assoc

    def forget_association(self) -> None:
        """Keep only a weak reference to the association, which is over."""
        assoc = self.made
        self.write = None
        self._assoc = None if assoc is None else ref(assoc)

    # -- What asyncio calls ------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Begin, if the server has room for one more."""
        self.transport, self.write = transport, transport.write
        if self.address is None:
            self.address = transport.get_extra_info("peername") or _rules.UNKNOWN_ADDRESS
        if not self.server.connections.open(self):
            self.is_over = self._is_refused = True
            transport.abort()
        elif self.has_callbacks:
            self.assoc.connection_made()

    def data_received(self, data: bytes) -> None:
        """Process received bytes, any part of the stream; none after the association's end."""
        if self._is_draining:
            self._drained += len(data)
            if self._drained > _rules.MAX_DRAINED_BYTES:
                self.transport.abort()
        else:
            super().data_received(data)

    def eof_received(self) -> bool:
        """Return False, to close the connection: DICOM has no use for a half-closed one."""
        return False

    def pause_writing(self) -> None:
        """Pause reading, as the transport's buffer is full."""
        if not self._is_draining:
            self.assoc.connection.pause_writing()

    def resume_writing(self) -> None:
        """Resume reading, as there is room again."""
        if not self._is_draining:
            self.assoc.connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, alone if that is ordinary."""
        self.is_connected, self.is_closed = False, True
        if self.is_closing:
            self.server.threads.closing.discard(self)
        if self._is_refused:
            self.transport = self.write = None
            return
        with self.making:
            ends_alone = self.made is None and self._may_end_alone()
            if ends_alone:
                self.is_over = True
        if ends_alone:
            self.server.connections.close(self, has_ended=True)
            self.discard_input()
            if self._noted:
                self.note_incomplete(0)
            self.transport = self.write = None
        else:
            self.assoc.connection_lost()

    def _may_end_alone(self) -> bool:
        """Return whether the association ends with the connection, and its end is not logged."""
        if self.is_released:
            return not self.server.logs(_rules.INFO)
        return not self.was_requested and not self.server.logs(_rules.DEBUG)

    # -- An ordinary association -------------------------------------------------------------------

    def pdu_received(self, pdu: bytes) -> None:
        """Establish or release an ordinary association; leave all else to it."""
        if monotonic() > self.server.deadline:  # the loop has not acted on it yet
            self.assoc.read_no_more()
            return
        if not self._was_heard:
            self._was_heard = True
            self.server.connections.silent.pop(self, None)
        if not self._process_ordinary(pdu):
            self.assoc.pdu_received(pdu)

    def _process_ordinary(self, pdu: bytes) -> bool:
        """Return False, with nothing done, if pynetdicom has to do it, or something observes it."""
        if (
            pdu[0] not in (_pdu.ASSOCIATE_RQ, _pdu.RELEASE_RQ)
            or self._is_logged
            or self.has_callbacks
            or self.observes_messages
        ):
            return False
        with self.making:
            if self.has_providers:
                return False
            return self._accept(pdu) if pdu[0] == _pdu.ASSOCIATE_RQ else self._release()

    def _accept(self, request: bytes) -> bool:
        if self.was_requested:
            return False
        accepted = self.server.negotiated(request, self.server.settings())
        if accepted is None:
            return False
        self.accepted = accepted
        self.contexts, self.peer_length = accepted.contexts, accepted.peer_length
        self.was_requested = self.is_established = True
        self.in_data_transfer = self.decodes_requests = True
        self._put(accepted.answer)
        if self.settings.is_short_of_time or self.server.logs(_rules.INFO):
            self.assoc.established_without_providers()
        return True

    def _release(self) -> bool:
        assoc = self.made
        if (
            not self.is_established
            or self.is_ending
            or self.is_busy
            or self.pending
            or self.progress() is not None
            or (assoc is not None and assoc.is_working())
        ):
            return False
        self.in_data_transfer = self.decodes_requests = self.is_established = False
        self.is_released = self.sent_release = self.is_killed = self.is_ending = True
        if assoc is not None:
            assoc.connection.stop_messages(aborts=False)
        self._put(_rules.A_RELEASE_RP)
        if _rules.RELEASE_LOGGER.isEnabledFor(_rules.INFO):
            _rules.log_release()
        self._is_to_finish = True
        return True

    def _put(self, pdu: bytes) -> None:
        """Send a PDU, behind what is to be sent before it."""
        if self.outbox:
            self.assoc.connection.send(pdu)
        else:
            self.bytes_sent += len(pdu)
            self.write(pdu)

    def _read(self) -> None:
        super()._read()
        if self._is_to_finish:  # input that has arrived is processed first
            self._is_to_finish = False
            if self.made is None and self.bytes_waiting == 0:
                self._finish()
            else:
                self.assoc.connection.finish()

    def _finish(self) -> None:
        transport = self.transport
        if transport.is_closing():
            return
        if transport.can_write_eof():
            self.half_close(self.settings.acse_timeout)
        else:  # TLS has no half-closed connections
            self.assoc.connection.finish()

    # -- Its end -----------------------------------------------------------------------------------

    def half_close(self, timeout: float | None) -> None:
        """Close the sending side; discard what comes until the peer closes the connection.

        The sending side first: a peer that has sent more than was read would else lose what was
        sent last, which may be the A-ABORT that says why.

        Parameters
        ----------
        timeout : float or None
            As for `limit_close`.
        """
        with suppress(OSError):  # the peer may have disconnected
            self.transport.write_eof()
        self.limit_close(timeout)
        self._is_draining = True
        self.transport.resume_reading()  # to see the end of the input

    def limit_close(self, timeout: float | None) -> None:
        """Wait a limited time for the peer to close the connection.

        Parameters
        ----------
        timeout : float or None
            Seconds, the ACSE timeout; two at most.
        """
        seconds = _rules.CLOSE_SECONDS
        if timeout is not None and timeout < seconds:
            seconds = timeout
        self.is_closing = True
        self.in_data_transfer = False  # a handler may still run
        self.server.threads.closing.add(self, seconds)

    def abort(self) -> None:
        """Close the connection, and discard unsent output."""
        if self.is_connected:
            self.transport.abort()


class Deadlines:
    """Calls a function for each of many items after a time, with one timer of the loop.

    Most items are discarded before. In the loop's thread.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        The loop.
    expire : callable
        Called with an item.
    """

    __slots__ = ("_expire", "_handle", "_items", "_latest", "_loop")

    def __init__(self, loop: AbstractEventLoop, expire: Callable[[Any], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._items: dict[Any, float] = {}  # when each is due, by the loop's clock; in that order
        self._latest = 0.0
        self._handle: TimerHandle | None = None

    def add(self, item: Any, seconds: float) -> None:
        """Add an item, or set its time anew."""
        due = self._loop.time() + seconds
        if item in self._items:
            del self._items[item]
        self._items[item] = due
        if due < self._latest:  # the time is shorter than before
            self._items = dict(sorted(self._items.items(), key=lambda pair: pair[1]))
            self._arm()
        else:
            self._latest = due
            if self._handle is None:
                self._arm()

    def discard(self, item: Any) -> None:
        """Forget an item, if it is there."""
        self._items.pop(item, None)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        due = next(iter(self._items.values()), None)
        self._handle = None if due is None else self._loop.call_at(due, self._call)

    def _call(self) -> None:
        now = self._loop.time()
        for item in list(takewhile(lambda item: self._items[item] <= now, self._items)):
            # An earlier one may have removed it.
            if self._items.pop(item, None) is not None:
                self._expire(item)
        self._arm()
