# cython: language_level=3, freethreading_compatible=True, embedsignature=False
# cython: binding=True, auto_pickle=False, autotestdict=False
# cython: warn.unused=True, warn.maybe_uninitialized=True
"""The C extension of `nset.scp`: the PDU reader and the fast path.

``_core.pxd`` declares what it uses of ``nset._core``; limits and error texts are in ``_rules``,
which the pure-Python fallback uses, too.
"""

from io import BytesIO
from time import monotonic, time

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
    _PyBytes_Resize,
)
from cpython.object cimport PyObject
from cpython.ref cimport Py_CLEAR
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from nset._core cimport (
    GROUP_LENGTH_SIZE,
    HAS_ACTION_TYPE,
    HAS_AFFECTED_CLASS,
    HAS_AFFECTED_INSTANCE,
    HAS_ATTRIBUTES,
    HAS_COMMAND_FIELD,
    HAS_DATA_SET_TYPE,
    HAS_EVENT_TYPE,
    HAS_MESSAGE_ID,
    HAS_REQUESTED_CLASS,
    HAS_REQUESTED_INSTANCE,
    MAX_COMMAND_SET,
    Command,
    Cursor,
    default_validator_is_in_force,
    fill_us,
    put_group_length,
    put_header,
    read_canonical,
    take,
)

from nset import _pdu
from nset import _rules as _limits
from nset._errors import CommandSetError
from nset.scp import _rules, _services

cdef object _BytesIO = BytesIO
cdef object _monotonic = monotonic
cdef object _time = time


# -- Requests and responses (PS3.7 Sections 9.3, 10.3) --------------------------------------------

cdef enum:
    NO_DATA_SET = 0x0101
    A_DATA_SET = 0x0001
    MAX_COMMAND_SET_LENGTH = 0x10000
    IS_RESPONSE = 0x8000
    MAX_US = 0xFFFF
    C_ECHO = 0
    N_CREATE = 5
    N_SET = 3
    # Whether a request has a data set.
    NEVER = 0
    OPTIONAL = 1
    ALWAYS = 2

assert NO_DATA_SET == _limits.NO_DATA_SET
assert MAX_US == _limits.MAX_US
assert MAX_COMMAND_SET_LENGTH == _limits.MAX_COMMAND_SET_LENGTH
assert NUMBER_OF_SERVICES == len(_services.SERVICES)
assert (C_ECHO, N_CREATE) == (_services.C_ECHO.number, _services.N_CREATE.number)
assert N_SET == _services.N_SET.number
assert (NEVER, OPTIONAL, ALWAYS) == (_services.NEVER, _services.OPTIONAL, _services.ALWAYS)


cdef struct Row:
    uint16_t command_field
    uint16_t type_tag
    uint32_t required
    uint32_t allowed
    int data_set
    bint is_concurrent
    bint has_data_set_in_response

# The table of services, by bits.
cdef Row[NUMBER_OF_SERVICES] _rows
cdef tuple _SERVICES = _services.SERVICES
cdef tuple _SOP_CLASSES = tuple([uid.encode() for uid in _limits.SOP_CLASSES])
cdef tuple _NAMES = tuple([_service.name for _service in _services.SERVICES])
_BITS = {
    _services.AFFECTED_CLASS: HAS_AFFECTED_CLASS,
    _services.REQUESTED_CLASS: HAS_REQUESTED_CLASS,
    _services.AFFECTED_INSTANCE: HAS_AFFECTED_INSTANCE,
    _services.REQUESTED_INSTANCE: HAS_REQUESTED_INSTANCE,
    _services.EVENT_TYPE: HAS_EVENT_TYPE,
    _services.ATTRIBUTES: HAS_ATTRIBUTES,
    _services.ACTION_TYPE: HAS_ACTION_TYPE,
}
for _index, _service in enumerate(_services.SERVICES):
    _rows[_index].command_field = _service.command_field
    _rows[_index].type_tag = _service.type_id
    _rows[_index].required = HAS_COMMAND_FIELD | HAS_MESSAGE_ID | HAS_DATA_SET_TYPE | sum(
        [_BITS[tag] for tag in _service.required]
    )
    _rows[_index].allowed = _rows[_index].required | sum([_BITS[tag] for tag in _service.optional])
    _rows[_index].data_set = _service.data_set
    _rows[_index].is_concurrent = _service.is_concurrent
    _rows[_index].has_data_set_in_response = _service.response_keyword is not None
del _BITS, _index, _service


cdef int _find_service(const unsigned char* data, size_t length, Command* command) noexcept nogil:
    """Read the command set of a request; return the index of its service, -1 for any other."""
    cdef int index
    cdef Row* row
    if length > MAX_COMMAND_SET_LENGTH or not read_canonical(data, length, command):
        return -1
    for index in range(NUMBER_OF_SERVICES):
        row = &_rows[index]
        if command.command_field == row.command_field:
            if command.has & row.required != row.required or command.has & ~row.allowed:
                return -1
            if row.data_set == NEVER and command.data_set_type != NO_DATA_SET:
                return -1
            return index
    return -1


cdef class ServiceEventBase:
    """See ``_pure.ServiceEventBase``."""

    @property
    def assoc(self):
        """The association."""
        cdef object assoc, path
        with cython.critical_section(self):
            assoc, path = self._assoc, self._path
        if assoc is None and path is not None:
            assoc = path.assoc
            with cython.critical_section(self):
                self._assoc = assoc
        return assoc

    @assoc.setter
    def assoc(self, value):
        with cython.critical_section(self):
            self._assoc = value

    @property
    def request(self):
        """The request as a primitive."""
        cdef object request
        with cython.critical_section(self):
            request = self._request
        if request is None:
            request = self._make_request()
            with cython.critical_section(self):
                if self._request is None:
                    self._request = request
                request = self._request
        return request

    @request.setter
    def request(self, value):
        with cython.critical_section(self):
            self._request = value

    @property
    def _has_request(self):
        with cython.critical_section(self):
            return self._request is not None

    @property
    def _has_instance(self):
        return self._instance != NULL

    @property
    def _stream(self):
        """The data set, empty if there is none."""
        cdef object stream
        with cython.critical_section(self):
            stream = self._data_set
            if type(stream) is not _BytesIO:
                self._data_set = _BytesIO() if stream is None else _BytesIO(stream)
                stream = self._data_set
                stream.seek(0, 2)  # as after writing the fragments into it
            return stream

    def _hold(self, service, request, int context_id):
        """See ``_pure.ServiceEventBase._hold``."""
        self._service, self._request, self._context_id = service, request, context_id
        self._index = service.number

    cdef int _fill(
        self, int index, const unsigned char* data, size_t length, Command* command, int context_id
    ) except -1:
        cdef const unsigned char* at
        self._command_set = PyBytes_FromStringAndSize(<const char*>data, <Py_ssize_t>length)
        at = <const unsigned char*>PyBytes_AS_STRING(self._command_set)
        self._service, self._index = _SERVICES[index], index
        self._context_id = context_id
        self._message_id, self._type_id = command.message_id, command.type_id
        self._sop_class = at + (command.sop_class.text - data)
        self._sop_class_length = command.sop_class.length
        self._known_sop_class = command.known_sop_class
        if command.instance.length > 0:
            self._instance = at + (command.instance.text - data)
            self._instance_length = command.instance.length
        self._lacks_data_set = (
            _rows[index].data_set == ALWAYS and command.data_set_type == NO_DATA_SET
        )
        return 0

    def _sop_class_uid(self):
        return self._uid_of_class()

    cdef bytes _uid_of_class(self):
        if self._command_set is None:
            return self._request.RequestedSOPClassUID.encode()
        if self._known_sop_class >= 0:
            return _SOP_CLASSES[self._known_sop_class]
        return PyBytes_FromStringAndSize(<const char*>self._sop_class, self._sop_class_length)


cdef inline unsigned char* _put_uid(
    unsigned char* at, uint32_t tag, const unsigned char* uid, uint32_t length
) noexcept nogil:
    """Write a UID, padded; or nothing for NULL."""
    if uid == NULL:
        return at
    at = put_header(at, tag, length + (length & 1))
    memcpy(at, uid, length)
    at += length
    if length & 1:
        at[0] = 0
        at += 1
    return at


cdef inline unsigned char* _put_us(unsigned char* at, uint32_t tag, uint16_t value) noexcept nogil:
    at = put_header(at, tag, 2)
    fill_us(at, value)
    return at + 2


cdef size_t _put_response(
    unsigned char* start, ServiceEventBase event, uint16_t status, bint has_data_set
) noexcept:
    """Write the command set of the response; return its length."""
    cdef Row* row = &_rows[event._index]
    cdef unsigned char* at = start + GROUP_LENGTH_SIZE
    at = _put_uid(at, 0x0002, event._sop_class, event._sop_class_length)
    at = _put_us(at, 0x0100, row.command_field | IS_RESPONSE)
    at = _put_us(at, 0x0120, event._message_id)
    at = _put_us(at, 0x0800, A_DATA_SET if has_data_set else NO_DATA_SET)
    at = _put_us(at, 0x0900, status)
    at = _put_uid(at, 0x1000, event._instance, event._instance_length)
    if row.type_tag != 0:
        at = _put_us(at, row.type_tag, event._type_id)
    put_group_length(start, <size_t>(at - start))
    return <size_t>(at - start)


# -- PDUs (PS3.8 Section 9.3) ---------------------------------------------------------------------

cdef enum:
    P_DATA_TF = 0x04
    LAST_PDU_TYPE = 0x07
    IS_COMMAND = 0x01
    IS_LAST = 0x02
    PDU_HEADER = 6
    PDV_HEADER = 6
    PDU_PREFIX = PDU_HEADER + PDV_HEADER  # what stands before the fragment of the first PDV

assert (P_DATA_TF, LAST_PDU_TYPE) == (_pdu.P_DATA_TF, _pdu.LAST_PDU_TYPE)
assert (IS_COMMAND, IS_LAST) == (_pdu.IS_COMMAND, _pdu.IS_LAST)
assert (PDU_HEADER, PDV_HEADER) == (_pdu.HEADER_LENGTH, _pdu.PDV_HEADER_LENGTH)

cdef inline void _fill_ul(unsigned char* at, uint32_t value) noexcept nogil:
    """Write a length of PS3.8, in big-endian byte order."""
    at[0], at[1] = <unsigned char>(value >> 24), <unsigned char>(value >> 16)
    at[2], at[3] = <unsigned char>(value >> 8), <unsigned char>value


cdef inline uint32_t _big_endian(const unsigned char* at) noexcept nogil:
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | <uint32_t>at[3]


def encode_response(
    ServiceEventBase event not None, status, max_pdu_length, bytes data_set not None=b""
):
    """See ``_pure.encode_response``."""
    return _encode_response(event, status, max_pdu_length, data_set)


cdef bytes _encode_response(
    ServiceEventBase event, object status, uint32_t limit, bytes data_set
):
    cdef unsigned char command_set[MAX_COMMAND_SET]
    cdef size_t size, data_size, length, number
    cdef bytes pdus
    cdef unsigned char* at
    if event._command_set is None or type(status) is not int or not 0 <= status <= MAX_US:
        return None
    data_size = <size_t>PyBytes_GET_SIZE(data_set)
    size = _put_response(command_set, event, status, data_size > 0)
    if limit != 0 and PDV_HEADER + size > limit:
        return None
    # As much in each PDU of the data set as there is room for, of an even length.
    length = limit if limit != 0 else <size_t>0xFFFFFFFF
    length = (length - PDV_HEADER) & ~<size_t>1
    number = (data_size + length - 1) // length
    pdus = PyBytes_FromStringAndSize(
        NULL, <Py_ssize_t>((1 + number) * PDU_PREFIX + size + data_size + (data_size & 1))
    )
    at = <unsigned char*>PyBytes_AS_STRING(pdus)
    at = _put_pdu(at, command_set, size, event._context_id, IS_COMMAND | IS_LAST)
    _put_data_set(
        at, <const unsigned char*>PyBytes_AS_STRING(data_set), data_size, length, event._context_id
    )
    return pdus


cdef inline unsigned char* _put_pdu(
    unsigned char* at, const unsigned char* fragment, size_t length, int context_id, int header
) noexcept nogil:
    """Write a P-DATA-TF PDU of one PDV."""
    at[0], at[1] = P_DATA_TF, 0
    _fill_ul(at + 2, <uint32_t>(PDV_HEADER + length))
    _fill_ul(at + PDU_HEADER, <uint32_t>(length + 2))
    at[PDU_PREFIX - 2], at[PDU_PREFIX - 1] = <unsigned char>context_id, <unsigned char>header
    memcpy(at + PDU_PREFIX, fragment, length)
    return at + PDU_PREFIX + length


cdef void _put_data_set(
    unsigned char* at, const unsigned char* data, size_t size, size_t length, int context_id
) noexcept nogil:
    """Write a data set as PDUs of that length; padded, if its length is odd."""
    cdef size_t left = size
    while left > length:
        at = _put_pdu(at, data, length, context_id, 0)
        data += length
        left -= length
    if left > 0:
        # With the byte of padding, for which there is room: `length` is even.
        _put_pdu(at, data, left, context_id, IS_LAST)
        if left & 1:
            at[PDU_PREFIX + left] = 0
            _fill_ul(at + 2, <uint32_t>(PDV_HEADER + left + 1))
            _fill_ul(at + PDU_HEADER, <uint32_t>(left + 3))


# Where the reader is among the PDVs of messages.
cdef enum:
    BETWEEN_MESSAGES = 0  # or in the data set of a message for the slow path
    IN_COMMAND = 1  # of a message for the slow path, in several fragments
    IN_DATA_SET = 2  # of a request
    SKIPPING_DATA_SET = 3  # the rest of a data set that is too long, or was not announced
    BEHIND_REFUSED = 4  # of a request that lacks a data set: one that follows is skipped


# How much of a PDU the slow path gets at once, and the size of a piece of a long PDU.
cdef enum:
    MAX_WEIGHT = 32
    COMMAND_WEIGHT = 8
    LONG_PDU = 0x100000
    PIECE = 0x10000
    MAX_EMPTY_FRAGMENTS = 8
    SMALL_DATA_SET = 0x1000  # bytes that are kept free for one of several fragments, at first

assert (MAX_WEIGHT, COMMAND_WEIGHT) == (_rules.MAX_WEIGHT, _rules.COMMAND_WEIGHT)
assert (LONG_PDU, PIECE) == (_rules.LONG_PDU, _rules.PIECE)
assert MAX_EMPTY_FRAGMENTS == _rules.MAX_EMPTY_FRAGMENTS


cdef inline uint32_t _weight(unsigned char header) noexcept nogil:
    """Return the weight of a PDV, for the limit of PDVs that the slow path gets at once."""
    return COMMAND_WEIGHT if header & (IS_COMMAND | IS_LAST) == IS_COMMAND | IS_LAST else 1


cdef bint _weigh(const unsigned char* body, size_t length, size_t* weight) noexcept nogil:
    """Return whether a P-DATA-TF PDU has only valid PDVs (PS3.8 Section 9.3.5), and their weight.

    The weight is that of the valid PDVs.
    """
    cdef Cursor cursor
    cdef const unsigned char* header
    cdef uint32_t size
    cursor.at, cursor.left = body, length
    weight[0] = 0
    if length == 0:
        return False
    while cursor.left > 0:
        header = take(&cursor, PDV_HEADER)
        if header == NULL:
            return False
        size = _big_endian(header)
        if size < 2 or take(&cursor, size - 2) == NULL:
            return False
        weight[0] += _weight(header[5])
    return True


cdef extern from "Python.h":
    PyObject* _new_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL


cdef class PduReader:
    """See ``_pure.PduReader``."""

    def __init__(
        self,
        uint32_t max_pdu_length,
        uint32_t max_other_length,
        size_t max_data_set_length,
        event_class,
    ):
        self._set_up(max_pdu_length, max_other_length, max_data_set_length, event_class)

    cdef object _set_up(
        self,
        uint32_t max_pdu_length,
        uint32_t max_other_length,
        size_t max_data_set_length,
        object event_class,
    ):
        self._event_class = event_class
        self._max_pdu_length = max_pdu_length
        self._max_other_length = max_other_length
        self._max_data_set_length = max_data_set_length
        self.contexts = {}
        self.pdvs_left = -1

    def __dealloc__(self):
        Py_CLEAR(self._data_set)

    @property
    def bytes_received(self):
        """The number of bytes passed to `feed`; may be read in any thread."""
        return _count(&self._bytes_received)

    @property
    def requests_read(self):
        """The numbers of decoded requests by service; may be read in any thread."""
        cdef int index
        cdef dict numbers = {}
        for index in range(NUMBER_OF_SERVICES):
            if _count(&self._requests_read[index]) != 0:
                numbers[_NAMES[index]] = _count(&self._requests_read[index])
        return numbers

    @property
    def bytes_waiting(self):
        """Received bytes of PDUs and requests that are not complete."""
        with cython.critical_section(self):
            return self._bytes_waiting()

    cdef size_t _bytes_waiting(self):
        cdef size_t waiting = self._data_set_bytes()
        if self._incomplete is not None:
            waiting += <size_t>len(self._incomplete)
        if self._data is not None:
            waiting += <size_t>PyBytes_GET_SIZE(self._data) - self._offset
        if self._later is not None:
            waiting += <size_t>PyBytes_GET_SIZE(self._later) - self._later_offset
        return waiting

    cpdef object feed(self, bytes data):
        """See ``_pure.PduReader.feed``."""
        if data is None:
            raise TypeError("data must be bytes, not None")
        with cython.critical_section(self):
            _add(&self._bytes_received, <uint64_t>PyBytes_GET_SIZE(data))
            if self._has_given_up:
                return
            if self._later is not None:
                self._later, self._later_offset = self._later[self._later_offset:] + data, 0
            elif self._data is not None:
                self._later, self._later_offset = data, 0
            else:
                self._take_input(data, 0)

    cdef object _take_input(self, bytes data, size_t offset):
        """Process input from `offset` on; first what completes a partial PDU."""
        cdef size_t end
        if self._incomplete is None:
            self._data, self._offset = data, offset
            return
        end = offset + self._needed - <size_t>len(self._incomplete)
        self._incomplete += data[offset:end]
        if end > <size_t>PyBytes_GET_SIZE(data):
            return
        self._data, self._offset = bytes(self._incomplete), 0
        self._incomplete = None
        if end < <size_t>PyBytes_GET_SIZE(data):
            self._later, self._later_offset = data, end

    def discard_input(self):
        """Discard received and future input: it cannot be decoded any more."""
        with cython.critical_section(self):
            self._has_given_up = True
            self._data = self._later = self._pdu = self._incomplete = None
            self._long_left = 0
            self._end_request()

    def progress(self):
        """See ``_pure.PduReader.progress``."""
        cdef size_t waiting
        cdef bint is_between
        with cython.critical_section(self):
            waiting = 0 if self._incomplete is None else <size_t>len(self._incomplete)
            if self._stage == IN_DATA_SET:
                return self._request._message_id, self._data_set_length + waiting
            is_between = self._stage == BETWEEN_MESSAGES or self._stage == BEHIND_REFUSED
            return (None, waiting) if waiting or not is_between else None

    cpdef object next(self):
        """See ``_pure.PduReader.next``."""
        cdef object item
        with cython.critical_section(self):
            while True:
                if self._pdu is None:
                    item = self._next_pdu()
                    if self._pdu is None:
                        if item is None and self._later is not None:
                            continue
                        return item
                if self.pdvs_left == 0:
                    return None
                if self.pdvs_left > 0:
                    self.pdvs_left -= 1
                item = self._next_pdv()
                if item is not None:
                    return item

    cdef object _next_pdu(self):
        """Return a PDU; None if there is none, or if its PDVs are processed one by one."""
        cdef bytes data = self._data
        cdef const unsigned char* at
        cdef size_t left, weight
        cdef uint32_t length, limit
        cdef unsigned char kind
        cdef bint is_well_formed
        if data is None and self._later is not None:
            data, self._later = self._later, None
            self._take_input(data, self._later_offset)
            data = self._data
        if data is None:
            return None
        if self._long_left > 0:
            return self._next_piece(data)
        at = <const unsigned char*>PyBytes_AS_STRING(data) + self._offset
        left = <size_t>PyBytes_GET_SIZE(data) - self._offset
        if left < PDU_HEADER:
            return self._keep_partial_pdu(PDU_HEADER)
        kind, length = at[0], _big_endian(at + 2)
        if not 1 <= kind <= LAST_PDU_TYPE:
            raise _rules.unknown_type(data[self._offset:self._offset + <size_t>_rules.BEGINNING])
        limit = self._max_pdu_length if kind == P_DATA_TF else self._max_other_length
        if length > limit:
            raise _rules.too_long(kind, length, limit)
        if kind == P_DATA_TF and length > LONG_PDU:
            self._offset += PDU_HEADER
            self._long_left = length
            return self._next_piece(data)
        if left - PDU_HEADER < length:
            return self._keep_partial_pdu(PDU_HEADER + <size_t>length)
        self._pdu_start, self._pdu_end = self._offset, self._offset + PDU_HEADER + length
        self._offset = self._pdu_end
        if left == PDU_HEADER + <size_t>length:
            self._data = None
        if kind != P_DATA_TF:
            return self._current_pdu(data)
        is_well_formed = _weigh(at + PDU_HEADER, length, &weight)
        if weight > MAX_WEIGHT:
            if not is_well_formed:
                raise _rules.malformed()
        elif not is_well_formed or not (self.decodes_requests or self._stage >= IN_DATA_SET):
            return self._current_pdu(data)
        self._pdu, self._pdv_start = data, self._pdu_start + PDU_HEADER
        self._skips_data = False
        return None

    cdef object _next_piece(self, bytes data):
        """Return a piece of a PDV of a long PDU as a PDU of its own; None as `_next_pdu`."""
        cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(data) + self._offset
        cdef size_t left = <size_t>PyBytes_GET_SIZE(data) - self._offset
        cdef size_t size
        cdef uint32_t length
        cdef bytes pdu
        if not self._is_in_pdv:
            if self._long_left < PDV_HEADER:
                raise _rules.malformed()
            if left < PDV_HEADER:
                return self._keep_partial_pdu(PDV_HEADER)
            length = _big_endian(at)
            if length < 2 or length > self._long_left - 4:
                raise _rules.malformed()
            self._is_in_pdv, self._pdv_left = True, length - 2
            self._pdv_context, self._pdv_header = at[4], at[5]
            self._offset += PDV_HEADER
            self._long_left -= PDV_HEADER
            at += PDV_HEADER
            left -= PDV_HEADER
        size = self._pdv_left if self._pdv_left < PIECE else PIECE
        if left < size:
            return self._keep_partial_pdu(size)
        self._offset += size
        self._long_left -= size
        self._pdv_left -= size
        if left == size:
            self._data = None
        self._is_in_pdv = self._pdv_left > 0
        pdu = _pdu_of_piece(
            at, size, self._pdv_context,
            self._pdv_header & ~IS_LAST if self._is_in_pdv else self._pdv_header,
        )
        if not (self.decodes_requests or self._stage >= IN_DATA_SET):
            return pdu
        self._pdu, self._pdu_start, self._pdv_start = pdu, 0, PDU_HEADER
        self._pdu_end = <size_t>PyBytes_GET_SIZE(pdu)
        self._skips_data = False
        return None

    cdef object _keep_partial_pdu(self, size_t needed):
        """Keep a partial PDU until it has `needed` bytes."""
        cdef bytes data = self._data
        self._data = None
        if self._offset < <size_t>PyBytes_GET_SIZE(data):
            self._incomplete, self._needed = bytearray(data[self._offset:]), needed
        return None

    cdef bytes _current_pdu(self, bytes data):
        """Return the PDU whose PDVs are processed."""
        if self._pdu_start == 0 and self._pdu_end == <size_t>PyBytes_GET_SIZE(data):
            return data
        return data[self._pdu_start:self._pdu_end]

    cdef object _next_pdv(self):
        """Process the next PDV of the PDU; return what it completes, if anything."""
        cdef bytes data = self._pdu
        cdef size_t begin = self._pdv_start
        cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(data) + begin
        cdef uint32_t length = _big_endian(at)
        cdef unsigned char context_id = at[4], header = at[5]
        cdef uint32_t weight
        cdef Command command
        self._step_over(length)
        if self._stage >= SKIPPING_DATA_SET:
            if context_id == self.context_id and not header & IS_COMMAND:
                self._stage = BETWEEN_MESSAGES if header & IS_LAST else SKIPPING_DATA_SET
                return None
            self._stage = BETWEEN_MESSAGES
        if self._skips_data:
            if not header & IS_COMMAND:
                return None
            self._skips_data = False
        if self._stage == IN_DATA_SET:
            return self._next_of_data_set(data, begin + PDV_HEADER, length - 2, context_id, header)
        if self._may_begin_request(header):
            self._begin_request(at + PDV_HEADER, length - 2, context_id, &command)
        if self._request is not None:
            self.context_id, self._data_set_length = context_id, 0
            self._empty_fragments = 0
            self._other_context = -1
            if command.data_set_type == NO_DATA_SET:
                return self._request_without_data_set()
            self._stage = IN_DATA_SET
            return None
        # For the slow path, together with the following PDVs that are, too.
        self._note_command(header)
        weight = _weight(header)
        while self._pdu is not None and weight < MAX_WEIGHT:
            at = <const unsigned char*>PyBytes_AS_STRING(data) + self._pdv_start
            if self._may_begin_request(at[5]) and _find_service(
                at + PDV_HEADER, _big_endian(at) - 2, &command
            ) >= 0:
                break
            weight += _weight(at[5])
            self._note_command(at[5])
            self._step_over(_big_endian(at))
        if begin == self._pdu_start + PDU_HEADER and self._pdv_start == self._pdu_end:
            return self._current_pdu(data)
        return _pdu_of(
            <const unsigned char*>PyBytes_AS_STRING(data) + begin, self._pdv_start - begin
        )

    cdef void _step_over(self, uint32_t length) noexcept:
        self._pdv_start += 4 + <size_t>length
        if self._pdv_start == self._pdu_end:
            self._pdu = None

    cdef void _note_command(self, unsigned char header) noexcept:
        if header & IS_COMMAND:
            self._stage = BETWEEN_MESSAGES if header & IS_LAST else IN_COMMAND

    cdef bint _may_begin_request(self, unsigned char header) noexcept:
        """Return whether a PDV can be the whole command set of a request to decode."""
        return (
            self._stage == BETWEEN_MESSAGES
            and self.decodes_requests
            and header & (IS_COMMAND | IS_LAST) == IS_COMMAND | IS_LAST
        )

    cdef int _begin_request(
        self, const unsigned char* data, size_t length, int context_id, Command* command
    ) except -1:
        """Decode a command set into the current request, if it is one."""
        cdef int index = _find_service(data, length, command)
        cdef ServiceEventBase request
        if index >= 0 and default_validator_is_in_force():
            request = self._event_class()
            request._fill(index, data, length, command, context_id)
            self._request = request
        return 0

    cdef object _request_without_data_set(self):
        """Return the current request; its service says what becomes of data that follows."""
        cdef ServiceEventBase request = self._request
        self._end_request()
        if request._lacks_data_set:
            self._stage = BEHIND_REFUSED
        self._skips_data = _rows[request._index].data_set != OPTIONAL
        self.request_length = 0
        _add(&self._requests_read[request._index], 1)
        return request

    cdef object _next_of_data_set(
        self, bytes data, size_t begin, size_t length,
        unsigned char context_id, unsigned char header,
    ):
        """Process a PDV of a request's data set; return the request when it is complete."""
        cdef ServiceEventBase request = self._request
        if header & IS_COMMAND or not self._is_of_request(context_id):
            self._end_request()
            if header & IS_COMMAND:
                raise _pdu.command_among_data()
            raise _pdu.context_change(context_id, self.context_id)
        if length > self._max_data_set_length - self._data_set_length:
            self._end_request()
            if not header & IS_LAST:
                self._stage = SKIPPING_DATA_SET
            raise _pdu.data_set_too_long(
                self._max_data_set_length,
                request._message_id if _rows[request._index].data_set == ALWAYS else None,
            )
        if length == 0 and not header & IS_LAST:
            self._empty_fragments += 1
            if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
                self._end_request()
                raise _rules.too_many_empty_fragments()
        if header & IS_LAST and self._data_set == NULL:
            self._data_set_length = length
            request._data_set = data[begin:begin + length]
        else:
            self._append(<const unsigned char*>PyBytes_AS_STRING(data) + begin, length)
            if not header & IS_LAST:
                return None
            self._resize(self._data_set_length)
            request._data_set = <object>self._data_set
        self.request_length = self._data_set_length
        self._end_request()
        _add(&self._requests_read[request._index], 1)
        return request

    cdef int _append(self, const unsigned char* fragment, size_t length) except -1:
        """Append a fragment to the data set, for which `_max_data_set_length` has room."""
        cdef size_t size = self._data_set_length + length
        cdef size_t room = 0
        if length == 0:
            return 0
        if self._data_set != NULL:
            room = <size_t>PyBytes_GET_SIZE(<object>self._data_set)
        if size > room:
            room = max(room, <size_t>SMALL_DATA_SET)
            while room < size:
                room *= 2
            self._resize(min(room, self._max_data_set_length))
        memcpy(PyBytes_AS_STRING(<object>self._data_set) + self._data_set_length, fragment, length)
        self._data_set_length = size
        return 0

    cdef int _resize(self, size_t size) except -1:
        """Make room for so many bytes of the data set."""
        try:
            if self._data_set == NULL:
                self._data_set = _new_bytes(NULL, <Py_ssize_t>size)
            else:
                _PyBytes_Resize(&self._data_set, <Py_ssize_t>size)
        except MemoryError:
            self._end_request()  # what has come is lost
            raise
        return 0

    cdef bint _is_of_request(self, int context_id) except -1:
        """Return whether a fragment's presentation context allows it in the request's data set."""
        if context_id != self.context_id and context_id != self._other_context:
            if not _pdu.may_be_of(
                self.contexts, context_id, self.context_id, self._other_context >= 0
            ):
                return False
            self._other_context = context_id
        return True

    cdef void _end_request(self) noexcept:
        self._request = None
        Py_CLEAR(self._data_set)
        self._stage = BETWEEN_MESSAGES

    # A long data set that is read into a buffer: what is ordinary goes from there to the data set.

    cdef size_t _data_set_bytes(self) noexcept:
        return self._data_set_length if self._stage == IN_DATA_SET else 0

    cdef size_t _bytes_missing(self) except? 0:
        """Return how many bytes of input a partial PDU needs, if nothing else waits."""
        if self._incomplete is None or self._later is not None:
            return 0
        return self._needed - <size_t>len(self._incomplete)

    cdef size_t _take_fragments(self, const unsigned char* at, size_t size) except? 0:
        """Append fragments of the data set, each a whole PDU, and return the bytes of the PDUs.

        It stops before the last fragment, and before whatever is not ordinary.
        """
        cdef size_t taken = 0
        cdef uint32_t length
        with cython.critical_section(self):
            if (
                self._stage != IN_DATA_SET or self._long_left > 0 or self._incomplete is not None
                or self._data is not None or self._later is not None or self._pdu is not None
            ):
                return 0
            while size - taken > PDU_PREFIX:
                length = _big_endian(at + 2)
                if (
                    at[0] != P_DATA_TF or length > min(self._max_pdu_length, <uint32_t>LONG_PDU)
                    or length <= PDV_HEADER or length > size - taken - PDU_HEADER
                    or _big_endian(at + PDU_HEADER) != length - 4
                    or at[PDU_PREFIX - 2] != self.context_id or at[PDU_PREFIX - 1] != 0
                    or length - PDV_HEADER > self._max_data_set_length - self._data_set_length
                ):
                    break
                self._append(at + PDU_PREFIX, length - PDV_HEADER)
                at += PDU_HEADER + length
                taken += PDU_HEADER + length
            _add(&self._bytes_received, taken)
        return taken


cdef bytes _pdu_of(const unsigned char* pdv, size_t length):
    """Make a P-DATA-TF PDU of one PDV."""
    cdef bytes pdu = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(PDU_HEADER + length))
    cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(pdu)
    at[0], at[1] = P_DATA_TF, 0
    _fill_ul(at + 2, <uint32_t>length)
    memcpy(at + PDU_HEADER, pdv, length)
    return pdu


cdef bytes _pdu_of_piece(
    const unsigned char* piece, size_t length, unsigned char context_id, unsigned char header
):
    """Make a P-DATA-TF PDU of one PDV with a piece of a longer one, of PIECE bytes at most."""
    cdef bytes pdu = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(PDU_PREFIX + length))
    _put_pdu(<unsigned char*>PyBytes_AS_STRING(pdu), piece, length, context_id, header)
    return pdu


# -- The fast path of a request through a server --------------------------------------------------

# How a handler is called.
cdef enum:
    IN_WORKER = 0
    IN_LOOP = 1
    AS_TASK = 2

    MAX_COST_PER_TURN = 64
    PDU_COST = 16
    ENCODING_COST = 4
    BYTES_PER_COST = 0x8000
    MAX_PDVS_PER_CALL = 256

assert (IN_WORKER, IN_LOOP, AS_TASK) == (_rules.IN_WORKER, _rules.IN_LOOP, _rules.AS_TASK)
assert (MAX_COST_PER_TURN, PDU_COST) == (_rules.MAX_COST_PER_TURN, _rules.PDU_COST)
assert ENCODING_COST == _rules.ENCODING_COST
assert BYTES_PER_COST == _rules.BYTES_PER_COST
assert MAX_PDVS_PER_CALL == _rules.MAX_PDVS_PER_CALL


cdef extern from *:
    """
    /* Without the StopIteration that a coroutine ends with when it is sent to in Python. */
    static inline PyObject *nset_step(PyObject *coroutine) {
        PyObject *result = NULL, *pair;
        PySendResult outcome = PyIter_Send(coroutine, Py_None, &result);
        if (outcome == PYGEN_ERROR) return NULL;
        pair = PyTuple_Pack(2, outcome == PYGEN_RETURN ? Py_True : Py_False, result);
        Py_DECREF(result);
        return pair;
    }
    """
    object _step "nset_step"(object coroutine)


def step(coroutine):
    """See ``_pure.step``."""
    return _step(coroutine)


cdef class FastPath(PduReader):
    """See ``_pure.FastPath``."""

    def __cinit__(self, *args):
        self._budget = MAX_COST_PER_TURN

    @property
    def assoc(self):
        return self._association()

    @assoc.setter
    def assoc(self, value):
        with cython.critical_section(self):
            self._assoc = value

    cdef object _association(self):
        with cython.critical_section(self):
            return self._assoc

    cdef tuple _handlers_of_services(self):
        with cython.critical_section(self):
            return self._handlers

    @property
    def handlers(self):
        """The handlers of the services; may be set in any thread."""
        return self._handlers_of_services()

    @handlers.setter
    def handlers(self, tuple value):
        with cython.critical_section(self):
            self._handlers = value

    # Read and set in any thread.

    @property
    def response_counts(self):
        cdef object name, counts, all_counts
        with cython.critical_section(self):
            all_counts = self._response_counts
        return {
            (name, code): number
            for name, counts in zip(_NAMES, all_counts or ())
            for code, number in (<dict>counts).copy().items()
        }

    @property
    def bytes_sent(self):
        return _count(&self._bytes_sent)

    @property
    def in_data_transfer(self):
        return _flag(&self._in_data_transfer) != 0

    @in_data_transfer.setter
    def in_data_transfer(self, bint value):
        _set_flag(&self._in_data_transfer, value)

    @property
    def observes_messages(self):
        return _flag(&self._observes_messages) != 0

    @observes_messages.setter
    def observes_messages(self, bint value):
        _set_flag(&self._observes_messages, value)

    @property
    def is_ending(self):
        return _flag(&self._is_ending) != 0

    @is_ending.setter
    def is_ending(self, bint value):
        _set_flag(&self._is_ending, value)

    def add_to(self, dict events not None, dict statuses not None):
        """See ``_pure.FastPath.add_to``."""
        cdef uint64_t requests = 0
        cdef int index
        cdef object counts, all_counts
        for index in range(NUMBER_OF_SERVICES):
            requests += _count(&self._requests_read[index])
        if requests != 0:
            events["requests"] += requests
            events["n_set_requests"] += _count(&self._requests_read[N_SET])
        events["bytes_received"] += _count(&self._bytes_received)
        events["bytes_sent"] += _count(&self._bytes_sent)
        with cython.critical_section(self):
            all_counts = self._response_counts
        for counts in all_counts or ():
            if not counts:
                continue
            for code, number in (<dict>counts).copy().items():
                statuses[code] = statuses.get(code, 0) + number

    def data_received(self, bytes data not None):
        """See ``_pure.FastPath.data_received``."""
        self._receive(data)

    cdef object _receive(self, bytes data):
        self.last_received = _monotonic()
        self._is_logged = self.is_logged(10)
        self.decodes_requests = (
            _flag(&self._in_data_transfer) != 0
            and not _flag(&self._observes_messages)
            and not self._is_logged
        )
        self._charge(<size_t>PyBytes_GET_SIZE(data))
        self.feed(data)
        self._read()

    cdef void _charge(self, size_t received) noexcept:
        self._budget -= <int>(received // BYTES_PER_COST)

    def pdu_received(self, bytes pdu not None):
        """See ``_pure.FastPath.pdu_received``."""
        self._association().pdu_received(pdu)

    def read(self):
        """Process received input in another loop iteration."""
        self._budget = MAX_COST_PER_TURN
        self._read()

    cdef object _read(self):
        """Process received input until reading is paused or the turn is over."""
        cdef size_t waiting
        try:
            self._read_items()
        except (CommandSetError, _pdu.PduError) as fault:
            self._association().fault_received(fault)
        waiting = self._bytes_waiting()
        if waiting != self._noted:
            self._noted = waiting
            self.note_incomplete(waiting)

    cdef object _read_items(self):
        cdef object item
        while not self.is_reading_paused:
            if self.upper_layer_is_busy or self._budget <= 0:
                self._association().flow.pause()
                if self._budget <= 0:
                    self._association().flow.resume()
                return
            self.pdvs_left = MAX_PDVS_PER_CALL
            item = self.next()
            if item is None:
                if self.pdvs_left != 0:
                    return
                self._budget -= PDU_COST
            elif type(item) is bytes:
                self._budget -= PDU_COST
                self.pdu_received(item)
            else:
                self._budget -= 1
                if (<ServiceEventBase>item)._index == C_ECHO:
                    self.log_echo(item)
                if (
                    self.is_mid_message or not _flag(&self._in_data_transfer)
                    or (
                        (self.is_busy or self.pending)
                        and not _rows[(<ServiceEventBase>item)._index].is_concurrent
                    )
                    or not self._serve(item)
                ):
                    self._association().request_received(item)

    def serve(self, ServiceEventBase event not None):
        """See ``_pure.FastPath.serve``."""
        return self._serve(event)

    cdef bint _serve(self, ServiceEventBase event) except -1:
        cdef tuple handler = self._handlers_of_services()[event._index]
        cdef dict classes = self.service_classes[event._index]
        cdef object context = self.contexts.get(event._context_id)
        cdef object service = classes.get(event._uid_of_class())
        cdef object function, args, answer
        cdef int mode = handler[2]
        if context is None or service is None:
            return False
        if _rows[event._index].is_concurrent:
            if not self.begin_concurrent():
                return False
        else:
            self.is_busy = True
        function, args = handler[0], handler[1]
        event._assoc, event._path, event._context = self._assoc, self, context
        event._seconds = _time()
        if event._lacks_data_set:
            self.refuse(event)
            return True
        if mode == IN_WORKER:
            self.call_in_worker(event, service)
            return True
        try:
            answer = function(event, *args) if args else function(event)
            if mode == AS_TASK:
                has_ended, answer = self.start_task(answer)
                if not has_ended:
                    self.respond_later(answer, event, service)
                    return True
        except BaseException as exc:
            answer = self.failed(event, exc)
        self._respond(event, service, answer)
        return True

    def respond(self, ServiceEventBase event not None, service, answer):
        """See ``_pure.FastPath.respond``."""
        self._respond(event, service, answer)

    cdef int _respond(
        self, ServiceEventBase event, object service, object answer
    ) except -1:
        cdef object code = answer, data_set = b""
        cdef bytes pdus
        if _rows[event._index].has_data_set_in_response:
            if type(answer) is not tuple or len(<tuple>answer) != 2:
                self.respond_slowly(event, service, answer)
                return 0
            code, data_set = (<tuple>answer)[0], (<tuple>answer)[1]
        if (
            type(code) is int and code in service.statuses and self._may_respond()
            # A new instance needs a UID.
            and (code != 0 or event._index != N_CREATE or event._instance != NULL)
        ):
            if data_set is None:
                data_set = b""
            elif _rows[event._index].has_data_set_in_response:
                data_set = self.encoded(event, service, code, data_set)
                self._budget -= ENCODING_COST
            if data_set is not None:
                pdus = _encode_response(event, code, self.peer_length, data_set)
                if pdus is not None:
                    self._send(event, code, pdus)
                    return 0
        self.respond_slowly(event, service, answer)
        return 0

    def may_respond(self):
        """See ``_pure.FastPath.may_respond``."""
        return self._may_respond()

    cdef bint _may_respond(self) noexcept:
        return (
            _flag(&self._in_data_transfer) != 0
            and not _flag(&self._observes_messages)
            and not self._is_logged
        )

    def send(self, ServiceEventBase event not None, code, bytes pdus not None):
        """See ``_pure.FastPath.send``."""
        self._send(event, code, pdus)

    cdef int _send(self, ServiceEventBase event, object code, bytes pdus) except -1:
        cdef dict counts
        if self._response_counts is None:
            with cython.critical_section(self):
                self._response_counts = tuple([{} for _ in _SERVICES])
        counts = self._response_counts[event._index]
        # Before it is sent: a peer that has the answer finds it counted.
        counts[code] = counts.get(code, 0) + 1
        if self.measure is not None:
            self.measure(event, code)
        if self.outbox:
            self.send_message(pdus)
        else:
            _add(&self._bytes_sent, <uint64_t>PyBytes_GET_SIZE(pdus))
            self.write(pdus)
        if _rows[event._index].is_concurrent:
            self.end_concurrent(event)
            return 0
        self.is_busy = False
        if self.pending or self.user_queue or _flag(&self._is_ending):
            self._association().responded()
        return 0
