# cython: language_level=3, freethreading_compatible=True, embedsignature=False
# cython: binding=True, auto_pickle=False, autotestdict=False
# cython: warn.unused=True, warn.maybe_uninitialized=True
"""The C extension of `nset.scp`: the asyncio protocol of an association.

As ``_pure_protocol.py``, which the pure-Python fallback uses.
"""

from asyncio import BufferedProtocol
from logging import Logger
from operator import itemgetter
from threading import Lock, RLock
from time import monotonic
from weakref import ref

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t

from nset.scp._core cimport FastPath, _add, _flag, _set_flag

from nset import _pdu
from nset.scp import _rules, _services

cdef object _monotonic = monotonic
cdef object _RLock = RLock
cdef object _ref = ref
cdef object _KNOWN = _services.KNOWN
cdef object _second = itemgetter(1)
cdef object _INFO = _rules.INFO, _DEBUG = _rules.DEBUG
cdef bytes _RELEASE_RP = _rules.A_RELEASE_RP

cdef enum:
    ASSOCIATE_RQ = 0x01
    RELEASE_RQ = 0x05
    MAX_DRAINED_BYTES = 0x100000
    BUFFER_BYTES = 0x40000
    LONG_DATA_SET_BYTES = 0x20000  # from there on, it is read into the buffer

assert (ASSOCIATE_RQ, RELEASE_RQ) == (_pdu.ASSOCIATE_RQ, _pdu.RELEASE_RQ)
assert MAX_DRAINED_BYTES == _rules.MAX_DRAINED_BYTES


cdef class _LevelCheck:
    """`logging.Logger.isEnabledFor`, from the cache of its results where it has one."""

    cdef object _logger
    cdef object _is_enabled_for

    def __init__(self, logger):
        self._logger, self._is_enabled_for = logger, logger.isEnabledFor

    def __call__(self, level):
        cdef object known = self._logger._cache.get(level)
        if known is None or self._logger.disabled:
            return self._is_enabled_for(level)
        return known


def level_check(logger):
    """See ``_pure_protocol.level_check``."""
    is_stock = type(logger).isEnabledFor is Logger.isEnabledFor and hasattr(logger, "_cache")
    return _LevelCheck(logger) if is_stock else logger.isEnabledFor


cdef object _logs_releases = level_check(_rules.RELEASE_LOGGER)


cdef class Connections:
    """See ``_pure_protocol.Connections``."""

    cdef readonly set connected
    cdef readonly dict associations
    cdef readonly dict connecting
    cdef readonly dict silent
    cdef readonly object lock
    cdef public object bindings
    cdef public Deadlines first_pdus
    cdef public object makes_room
    cdef public bint is_full
    cdef bytearray buffer  # what long data sets are read into, of one association after the other
    cdef object view_of_buffer
    cdef object _server
    cdef object _counters

    def __init__(self, server):
        self._server, self._counters = server, server.counters
        self.connected, self.associations, self.connecting, self.silent = set(), {}, {}, {}
        self.lock = Lock()

    cpdef bint admits(self, settings, address) except -1:
        """See ``_pure_protocol.Connections.admits``."""
        if len(self.connected) + len(self.connecting) >= <Py_ssize_t>settings.maximum_connections:
            return self.makes_room(settings, address)
        self.is_full = False
        return True

    cpdef object wait_for_pdu(self, AssociationProtocol path):
        """See ``_pure_protocol.Connections.wait_for_pdu``."""
        self.silent[path] = None
        self.first_pdus.add(path, path.settings.first_pdu_timeout)

    cpdef object stop_waiting(self, AssociationProtocol path):
        """See ``_pure_protocol.Connections.stop_waiting``."""
        self.silent.pop(path, None)
        self.first_pdus.discard(path)

    cdef bint open(self, AssociationProtocol path) except -1:
        cdef object counters = self._counters
        cdef bint is_new = self.connecting.pop(path, None) is None
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

    cpdef object close(self, AssociationProtocol path, bint has_ended=False):
        """See ``_pure_protocol.Connections.close``."""
        self.stop_waiting(path)
        self.connected.discard(path)
        self._counters.close(path, has_ended)
        if has_ended:
            self._server.forget(path)


cdef object _settings_of(server):
    """Return the `AESettings` of a server; without a call, if the AE has not changed."""
    cdef object known = server.settings
    if known.is_stock and known.values == known.attributes:
        return known.current
    return known()


cdef class AssociationProtocol(FastPath):
    """See ``_pure_protocol.AssociationProtocol``."""

    cdef readonly object server
    cdef Connections _connections
    cdef readonly object making
    cdef readonly object settings
    cdef readonly double since
    cdef public object transport
    cdef public object address
    cdef public object accepted
    cdef public object own_handlers
    cdef object _bindings
    cdef public bint logs_messages
    cdef public bint has_callbacks
    cdef public bint has_providers
    cdef public bint is_closing
    cdef bint _is_refused
    cdef bint _was_heard
    cdef bint _is_to_finish
    cdef bint _is_draining
    cdef bint _is_buffered  # its transport's protocol is a _LongDataSet
    cdef size_t _drained
    cdef int _is_connected
    cdef int _is_closed
    cdef int _was_requested
    cdef int _is_established
    cdef int _is_released
    cdef int _is_over
    cdef int _sent_release
    cdef int _is_killed

    def __init__(self, server):
        cdef object settings = _settings_of(server), limits = server.limits
        self._set_up(
            settings.pdu_length, limits.negotiation_length, limits.data_set_bytes, self.event_class
        )
        self.server = server
        self._connections = server.connections
        self.settings = settings
        self.making = _RLock()
        self.since = _monotonic()
        self._is_connected = self.logs_messages = True
        self.pending = []
        self.service_classes = _KNOWN
        self.start_task = server.start_task
        self.is_logged = server.is_logged

    @property
    def bindings(self):
        """The bound handlers, examined; set with the server's lock."""
        with cython.critical_section(self):
            return self._bindings

    @bindings.setter
    def bindings(self, bindings):
        with cython.critical_section(self):
            self._bindings = bindings
        self.handlers = bindings.services
        self.logs_messages = bindings.logs_messages
        self.observes_messages = bindings.observes_messages
        self.has_callbacks = bindings.has_callbacks

    # Read and set in any thread.

    @property
    def is_connected(self):
        return _flag(&self._is_connected) != 0

    @is_connected.setter
    def is_connected(self, bint value):
        _set_flag(&self._is_connected, value)

    @property
    def is_closed(self):
        return _flag(&self._is_closed) != 0

    @is_closed.setter
    def is_closed(self, bint value):
        _set_flag(&self._is_closed, value)

    @property
    def was_requested(self):
        return _flag(&self._was_requested) != 0

    @was_requested.setter
    def was_requested(self, bint value):
        _set_flag(&self._was_requested, value)

    @property
    def is_established(self):
        return _flag(&self._is_established) != 0

    @is_established.setter
    def is_established(self, bint value):
        _set_flag(&self._is_established, value)

    @property
    def is_released(self):
        return _flag(&self._is_released) != 0

    @is_released.setter
    def is_released(self, bint value):
        _set_flag(&self._is_released, value)

    @property
    def is_over(self):
        return _flag(&self._is_over) != 0

    @is_over.setter
    def is_over(self, bint value):
        _set_flag(&self._is_over, value)

    @property
    def sent_release(self):
        return _flag(&self._sent_release) != 0

    @sent_release.setter
    def sent_release(self, bint value):
        _set_flag(&self._sent_release, value)

    @property
    def is_killed(self):
        return _flag(&self._is_killed) != 0

    @is_killed.setter
    def is_killed(self, bint value):
        _set_flag(&self._is_killed, value)

    # -- The association ---------------------------------------------------------------------------

    @property
    def made(self):
        """See ``_pure_protocol.AssociationProtocol.made``."""
        cdef object assoc
        with cython.critical_section(self):
            assoc = self._assoc
        return assoc() if type(assoc) is _ref else assoc

    cdef object _association(self):
        cdef object assoc
        with cython.critical_section(self):
            assoc = self._assoc
        if assoc is not None and type(assoc) is not _ref:
            return assoc
        with self.making:
            assoc = self.made
            if assoc is None:
                assoc = self.server.make_association(self)
                with cython.critical_section(self):
                    self._assoc = assoc
                if _flag(&self._is_over):
                    self.forget_association()
            return assoc

    def forget_association(self):
        """See ``_pure_protocol.AssociationProtocol.forget_association``."""
        cdef object assoc = self.made
        self.write = None
        with cython.critical_section(self):
            self._assoc = None if assoc is None else _ref(assoc)

    # -- What asyncio calls ------------------------------------------------------------------------

    def connection_made(self, transport):
        """See ``_pure_protocol.AssociationProtocol.connection_made``."""
        self.transport, self.write = transport, transport.write
        if self.address is None:
            self.address = transport.get_extra_info("peername") or _rules.UNKNOWN_ADDRESS
        if not self._connections.open(self):
            self.is_over = self._is_refused = True
            transport.abort()
        elif self.has_callbacks:
            self._association().connection_made()

    def data_received(self, bytes data not None):
        """See ``_pure_protocol.AssociationProtocol.data_received``."""
        if self._is_draining:
            self._drained += <size_t>len(data)
            if self._drained > MAX_DRAINED_BYTES:
                self.transport.abort()
        else:
            self._receive(data)
            if self._data_set_bytes() >= LONG_DATA_SET_BYTES:
                self._read_into_buffer()

    cdef object _read_into_buffer(self):
        if not self._is_buffered and not self.transport.is_closing():
            self._is_buffered = True
            self.transport.set_protocol(_LongDataSet(self))

    cdef object _buffer_updated(self, size_t size):
        cdef bytes data
        cdef const char* at = PyByteArray_AS_STRING(self._connections.buffer)
        cdef size_t taken = self._bytes_missing(), fragments
        if self._is_draining or self.is_reading_paused or taken > size:
            taken = 0
        else:
            if taken > 0:
                data = PyBytes_FromStringAndSize(at, <Py_ssize_t>taken)
                self._receive(data)
            fragments = self._take_fragments(<const unsigned char*>at + taken, size - taken)
            self._charge(fragments)
            taken += fragments
        data = PyBytes_FromStringAndSize(at + taken, <Py_ssize_t>(size - taken))
        self.data_received(data)
        if self._data_set_bytes() < LONG_DATA_SET_BYTES and not self.transport.is_closing():
            self._is_buffered = False
            self.transport.set_protocol(self)

    def eof_received(self):
        """Return False, to close the connection: DICOM has no use for a half-closed one."""
        return False

    def pause_writing(self):
        """See ``_pure_protocol.AssociationProtocol.pause_writing``."""
        if not self._is_draining:
            self._association().connection.pause_writing()

    def resume_writing(self):
        """Resume reading, as there is room again."""
        if not self._is_draining:
            self._association().connection.resume_writing()

    def connection_lost(self, exc):
        """See ``_pure_protocol.AssociationProtocol.connection_lost``."""
        cdef bint ends_alone = False
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
            self._connections.close(self, has_ended=True)
            self.discard_input()
            if self._noted:
                self.note_incomplete(0)
            self.transport = self.write = None
        else:
            self._association().connection_lost()

    cdef bint _may_end_alone(self) except -1:
        """Return whether the association ends with the connection, and its end is not logged."""
        if _flag(&self._is_released):
            return not self.server.logs(_INFO)
        return not _flag(&self._was_requested) and not self.server.logs(_DEBUG)

    # -- An ordinary association -------------------------------------------------------------------

    def pdu_received(self, bytes pdu not None):
        """See ``_pure_protocol.AssociationProtocol.pdu_received``."""
        if _monotonic() > <double>self.server.deadline:  # the loop has not acted on it yet
            self._association().read_no_more()
            return
        if not self._was_heard:
            self._was_heard = True
            self._connections.silent.pop(self, None)
        if not self._process_ordinary(pdu):
            self._association().pdu_received(pdu)

    cdef bint _process_ordinary(self, bytes pdu) except -1:
        """Return False, with nothing done, if pynetdicom has to do it, or something observes it."""
        cdef unsigned char kind = pdu[0]
        if (
            kind != ASSOCIATE_RQ and kind != RELEASE_RQ
            or self._is_logged or self.has_callbacks or _flag(&self._observes_messages)
        ):
            return False
        with self.making:
            if self.has_providers:
                return False
            return self._accept(pdu) if kind == ASSOCIATE_RQ else self._release()

    cdef bint _accept(self, bytes request) except -1:
        cdef object accepted
        if _flag(&self._was_requested):
            return False
        accepted = self.server.negotiated(request, _settings_of(self.server))
        if accepted is None:
            return False
        self.accepted = accepted
        self.contexts, self.peer_length = accepted.contexts, accepted.peer_length
        _set_flag(&self._was_requested, True)
        _set_flag(&self._is_established, True)
        _set_flag(&self._in_data_transfer, True)
        self.decodes_requests = True
        self._put(accepted.answer)
        if self.settings.is_short_of_time or self.server.logs(_INFO):
            self._association().established_without_providers()
        return True

    cdef bint _release(self) except -1:
        cdef object assoc = self.made
        if (
            not _flag(&self._is_established) or _flag(&self._is_ending)
            or self.is_busy or self.pending or self.progress() is not None
            or (assoc is not None and assoc.is_working())
        ):
            return False
        _set_flag(&self._in_data_transfer, False)
        self.decodes_requests = False
        _set_flag(&self._is_established, False)
        _set_flag(&self._is_released, True)
        _set_flag(&self._sent_release, True)
        _set_flag(&self._is_killed, True)
        _set_flag(&self._is_ending, True)
        if assoc is not None:
            assoc.connection.stop_messages(aborts=False)
        self._put(_RELEASE_RP)
        if _logs_releases(_INFO):
            _rules.log_release()
        self._is_to_finish = True
        return True

    cdef object _put(self, bytes pdu):
        """Send a PDU, behind what is to be sent before it."""
        if self.outbox:
            self._association().connection.send(pdu)
        else:
            _add(&self._bytes_sent, <uint64_t>len(pdu))
            self.write(pdu)

    cdef object _read(self):
        FastPath._read(self)
        if self._is_to_finish:  # input that has arrived is processed first
            self._is_to_finish = False
            if self.made is None and self._bytes_waiting() == 0:
                self._finish()
            else:
                self._association().connection.finish()

    cdef object _finish(self):
        cdef object transport = self.transport
        if transport.is_closing():
            return
        if transport.can_write_eof():
            self.half_close(self.settings.acse_timeout)
        else:  # TLS has no half-closed connections
            self._association().connection.finish()

    # -- Its end -----------------------------------------------------------------------------------

    def half_close(self, timeout):
        """See ``_pure_protocol.AssociationProtocol.half_close``."""
        try:
            self.transport.write_eof()
        except OSError:  # the peer may have disconnected
            pass
        self.limit_close(timeout)
        self._is_draining = True
        self.transport.resume_reading()  # to see the end of the input

    def limit_close(self, timeout):
        """See ``_pure_protocol.AssociationProtocol.limit_close``."""
        cdef double seconds = _rules.CLOSE_SECONDS
        if timeout is not None and timeout < seconds:
            seconds = timeout
        self.is_closing = True
        _set_flag(&self._in_data_transfer, False)  # a handler may still run
        self.server.threads.closing.add(self, seconds)

    def abort(self):
        """Close the connection, and discard unsent output."""
        if _flag(&self._is_connected):
            self.transport.abort()


class _LongDataSet(BufferedProtocol):
    """Reads for an association, amid a long data set, without making bytes of each read."""

    def __init__(self, AssociationProtocol path not None):
        self._path = path
        self.eof_received, self.connection_lost = path.eof_received, path.connection_lost
        self.pause_writing, self.resume_writing = path.pause_writing, path.resume_writing

    def get_buffer(self, sizehint):
        """Return the server's buffer."""
        cdef AssociationProtocol path = self._path
        cdef Connections connections = path._connections
        if connections.buffer is None:
            connections.buffer = bytearray(BUFFER_BYTES)
            connections.view_of_buffer = memoryview(connections.buffer)
        return connections.view_of_buffer  # asyncio's TLS takes slices of what it gets

    def buffer_updated(self, size):
        """Receive the first `size` bytes of the buffer."""
        cdef AssociationProtocol path = self._path
        path._buffer_updated(min(<size_t>size, <size_t>BUFFER_BYTES))


cdef class Deadlines:
    """See ``_pure_protocol.Deadlines``."""

    cdef object _loop
    cdef object _now
    cdef object _expire
    cdef dict _items  # when each is due, by the loop's clock; in that order
    cdef double _latest
    cdef object _handle

    def __init__(self, loop, expire):
        self._loop, self._now, self._expire, self._items = loop, loop.time, expire, {}

    cpdef object add(self, item, double seconds):
        """See ``_pure_protocol.Deadlines.add``."""
        cdef double due = <double>self._now() + seconds
        self._items.pop(item, None)
        self._items[item] = due
        if due < self._latest:  # the time is shorter than before
            self._items = dict(sorted(self._items.items(), key=_second))
            self._arm()
        else:
            self._latest = due
            if self._handle is None:
                self._arm()

    cpdef object discard(self, item):
        """Forget an item, if it is there."""
        self._items.pop(item, None)

    cdef object _arm(self):
        cdef object due
        if self._handle is not None:
            self._handle.cancel()
        due = next(iter(self._items.values()), None)
        self._handle = None if due is None else self._loop.call_at(due, self._call)

    def _call(self):
        cdef object now = self._now(), item
        cdef list due = []
        for item in self._items:
            if self._items[item] > now:
                break
            due.append(item)
        for item in due:
            # An earlier one may have removed it.
            if self._items.pop(item, None) is not None:
                self._expire(item)
        self._arm()
