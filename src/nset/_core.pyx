# cython: language_level=3, freethreading_compatible=True, embedsignature=False
# cython: binding=True, auto_pickle=False, autotestdict=False
# cython: warn.unused=True, warn.maybe_uninitialized=True
"""The compiled implementation: UID scan, ranges, list and validity checks, command-set codec.

What a scan or a range check touches is C; every text and every unusual value is left to ``_rules``
and ``_uid``, which the pure-Python fallback uses, too. Attributes are read and written inside a
critical section: nothing under the GIL, a lock of the object's own without it.
"""

import sys
from io import BytesIO

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.module cimport PyModule_CheckExact, PyModule_GetDict
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from pydicom.uid import UID

from nset import _command_set, _rules
from nset._uid import accept_uid
from nset.config import _own as _own_settings

cdef class Primitive

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    unsigned char* PyUnicode_1BYTE_DATA(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    object PyUnicode_DecodeASCII(const char* text, Py_ssize_t size, const char* errors)
    bint PyUnicode_Check(object value)
    bint PyLong_Check(object value)
    bint PyLong_CheckExact(object value)
    long PyLong_AsLongAndOverflow(object value, int* overflow) except? -1
    PyTypeObject PyUnicode_Type

    ctypedef struct VersionedType "PyTypeObject":
        unsigned int tp_version_tag
        object (*tp_new)(VersionedType* cls, PyObject* args, PyObject* keywords)

    VersionedType* Py_TYPE(object instance)

cdef extern from *:
    """
    /* dict.get() with a reference of our own, which builds without the GIL need. */
    static inline PyObject *nset_dict_get(PyObject *dict, PyObject *key) {
        PyObject *value;
    #if PY_VERSION_HEX >= 0x030D0000
        if (PyDict_GetItemRef(dict, key, &value) < 0) return NULL;
    #else
        value = PyDict_GetItemWithError(dict, key);
        if (value == NULL && PyErr_Occurred()) return NULL;
        Py_XINCREF(value);
    #endif
        return value != NULL ? value : Py_NewRef(Py_None);
    }
    """
    object _get "nset_dict_get"(dict mapping, object key)

cdef extern from *:
    """
    /* A number that no two states of any dicts share, or 0 where CPython keeps none (3.12 on). */
    static inline uint64_t nset_dict_version(void *dict) {
    #if PY_VERSION_HEX < 0x030C0000
        return ((PyDictObject *)dict)->ma_version_tag;
    #else
        (void)dict;
        return 0;
    #endif
    }
    """
    uint64_t _version "nset_dict_version"(void* mapping) noexcept


cdef enum:
    MAX_US = 0xFFFF

assert MAX_UID_LENGTH == _rules.MAX_UID_LENGTH
assert MAX_US == _rules.MAX_US

# Which of the fields are still to become objects, on first reading: the four UIDs are text so far.
cdef enum:
    AFFECTED_CLASS = 1
    AFFECTED_INSTANCE = 2
    REQUESTED_CLASS = 4
    REQUESTED_INSTANCE = 8
    LIST = 16  # of a message that has been decoded: empty, or the bytes that have come

# Of the UIDs, `_clean` tells by the same bits which need no scan when they are sent.

# Which of the four plain attributes are absent: deleted, or not yet set by __init__.
cdef enum:
    ERROR_COMMENT = 1
    ERROR_ID = 2
    ATTRIBUTE_IDENTIFIER_LIST = 4
    OFFENDING_ELEMENT = 8
    STATUS_OPTIONAL = 15
    CONTEXT_ID = 16

cdef type _UID = UID
# Asked by isinstance, so not as types of C: an object may say by __class__ that it is one.
cdef object _BytesIO = BytesIO
cdef object _int = int
cdef dict _modules = sys.modules
cdef str _MESSAGE_ID = _rules.MESSAGE_ID
cdef str _MESSAGE_ID_BEING_RESPONDED_TO = _rules.MESSAGE_ID_BEING_RESPONDED_TO
cdef str _AFFECTED_SOP_CLASS_UID = _rules.AFFECTED_SOP_CLASS_UID
cdef str _AFFECTED_SOP_INSTANCE_UID = _rules.AFFECTED_SOP_INSTANCE_UID
cdef str _REQUESTED_SOP_CLASS_UID = _rules.REQUESTED_SOP_CLASS_UID
cdef str _REQUESTED_SOP_INSTANCE_UID = _rules.REQUESTED_SOP_INSTANCE_UID


# -- UIDs -----------------------------------------------------------------------------------------

cdef enum:
    # The scan runs over whole vectors: 1 + 64 + 1 characters, filled up.
    SCAN_LENGTH = 80


cdef bint _is_clean_uid(const unsigned char* text, Py_ssize_t length) noexcept nogil:
    """Whether the text is a UID by PS3.5 Section 9.1: no branch in the loop, so it vectorises."""
    cdef unsigned char padded[SCAN_LENGTH + 2]
    cdef unsigned char before, here, after
    cdef unsigned char bad = 0
    cdef int i
    if length < 1 or length > MAX_UID_LENGTH:
        return False
    # A dot on either side of every component, and harmless digits up to the end.
    memset(padded, c"1", sizeof(padded))
    padded[0] = c"."
    memcpy(padded + 1, text, <size_t>length)
    padded[length + 1] = c"."
    for i in range(SCAN_LENGTH):
        before, here, after = padded[i], padded[i + 1], padded[i + 2]
        bad |= (
            ((<unsigned char>(here - c"0") > 9) & (here != c"."))
            | ((before == c".") & (here == c"."))
            | ((before == c".") & (here == c"0") & (after != c"."))
        )
    return bad == 0


# What the last look that found the default validator went through. Each is alive as long as the
# version of the one before it holds.
cdef uint64_t _modules_version = 0
cdef void* _settings = NULL
cdef uint64_t _settings_version = 0
cdef void* _validators = NULL
cdef uint64_t _validators_version = 0


cdef bint _default_validator_is_in_force() except -1:
    """Whether clean text can cause no error, warning or record; read at each call."""
    global _modules_version, _settings, _settings_version, _validators, _validators_version
    if (
        _modules_version != 0
        and _version(<void*>_modules) == _modules_version
        and _version(_settings) == _settings_version
        and _version(_validators) == _validators_version
    ):
        return True
    cdef dict settings = _own_settings
    cdef object module = _get(_modules, "pynetdicom._config")
    cdef object validators
    if module is not None:
        if not PyModule_CheckExact(module):
            return False
        settings = <dict>PyModule_GetDict(module)
    validators = _get(settings, "VALIDATORS")
    # Not there while another thread is still importing pynetdicom: the slow path knows.
    if type(validators) is not dict:
        return False
    if _get(<dict>validators, "UI") is not _get(settings, "validate_ui"):
        return False
    if _version(<void*>_modules) != 0:
        _modules_version = _version(<void*>_modules)
        _settings, _settings_version = <void*>settings, _version(<void*>settings)
        _validators, _validators_version = <void*>validators, _version(<void*>validators)
    return True


cdef object _check_uid(object value, object name, bint* unread):
    """Give what to keep for `value`: text that is still to become a UID, a UID, or None."""
    if type(value) is str or type(value) is _UID:
        if (
            PyUnicode_IS_ASCII(value)
            and _is_clean_uid(PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value))
            and _default_validator_is_in_force()
            and (type(value) is str or not hasattr(value, "_PRIVATE_TS_ENCODING"))
        ):
            unread[0] = True
            return value
    elif type(value) is bytes:
        if (
            _is_clean_uid(<const unsigned char*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            and _default_validator_is_in_force()
        ):
            unread[0] = True
            return PyUnicode_DecodeASCII(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), NULL)
    elif value is None:
        return None
    return accept_uid(value, name)


cdef object _new_uid(object text):
    """Make the UID that pydicom would make of clean text, without checking it again."""
    cdef tuple args = (text,)
    return PyUnicode_Type.tp_new(_UID, <PyObject*>args, NULL)


# -- Integers -------------------------------------------------------------------------------------

cdef bint _is_us(object value) except -1:
    """Whether the int, or what says that it is one, fits in a US element (2 bytes)."""
    cdef int overflow = 0
    cdef long number
    if not PyLong_CheckExact(value):
        return 0 <= value <= MAX_US
    number = PyLong_AsLongAndOverflow(value, &overflow)
    return overflow == 0 and 0 <= number <= MAX_US


cdef inline bint _is_int(object value) except -1:
    return PyLong_CheckExact(value) or isinstance(value, _int)


cdef inline bint _is_message_id(object value, str name) except -1:
    if not _is_int(value):
        if value is None:
            return True
        raise _rules.message_id_type(name)
    if not _is_us(value):
        raise _rules.us_out_of_range(name)
    return True


def category(code):
    """Give the category of a status code by the ranges of PS3.7 Annex C.

    Parameters
    ----------
    code : int
        The code, 0 or more.

    Returns
    -------
    str
        ``"Success"``, ``"Warning"``, ``"Failure"``, ``"Cancel"``, ``"Pending"``, or ``"Unknown"``
        for what Annex C does not list.

    Raises
    ------
    ValueError
        If `code` is negative or no int.
    """
    cdef int overflow = 0
    cdef long number = -1
    if _is_int(code):
        try:
            number = PyLong_AsLongAndOverflow(code, &overflow)
        except TypeError:  # it only gives itself out as an int
            pass
    if overflow > 0:
        return "Unknown"
    if number < 0:
        raise _rules.status_code_type()
    if number == 0x0000:
        return "Success"
    if number == 0x0001 or number == 0x0107 or number == 0x0116 or 0xB000 <= number <= 0xBFFF:
        return "Warning"
    if 0x0100 <= number <= 0x02FF or 0xA000 <= number <= 0xAFFF or 0xC000 <= number <= 0xCFFF:
        return "Failure"
    if number == 0xFE00:
        return "Cancel"
    if number == 0xFF00 or number == 0xFF01:
        return "Pending"
    return "Unknown"


# -- The command set (PS3.7 Sections 6.3.1 and 10.3.3) --------------------------------------------

cdef enum:
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    NO_DATA_SET = 0x0101
    MAX_SOP_CLASSES = 9
    RQ_MIDDLE_SIZE = 30
    RSP_MIDDLE_SIZE = 40

# What a canonical command set has, as bits; and what an N-SET-RQ and an N-SET-RSP must have.
cdef enum:
    HAS_AFFECTED_CLASS = 1
    HAS_REQUESTED_CLASS = 2
    HAS_COMMAND_FIELD = 4
    HAS_MESSAGE_ID = 8
    HAS_RESPONDED_TO = 16
    HAS_DATA_SET_TYPE = 32
    HAS_STATUS = 64
    HAS_AFFECTED_INSTANCE = 128
    HAS_REQUESTED_INSTANCE = 256
    REQUEST = (
        HAS_REQUESTED_CLASS | HAS_COMMAND_FIELD | HAS_MESSAGE_ID | HAS_DATA_SET_TYPE
        | HAS_REQUESTED_INSTANCE
    )
    RESPONSE = HAS_COMMAND_FIELD | HAS_RESPONDED_TO | HAS_DATA_SET_TYPE | HAS_STATUS
    RESPONSE_MAY = HAS_AFFECTED_CLASS | HAS_AFFECTED_INSTANCE

cdef struct Span:
    const unsigned char* text
    uint32_t length

cdef struct Command:
    uint32_t has
    uint16_t command_field
    uint16_t message_id  # or the one responded to
    uint16_t data_set_type
    uint16_t status
    Py_ssize_t known_sop_class  # index into _sop_classes, or -1
    Span sop_class
    Span instance

cdef inline uint16_t _us(const unsigned char* at) noexcept nogil:
    return <uint16_t>(at[0] | at[1] << 8)


cdef inline uint32_t _ul(const unsigned char* at) noexcept nogil:
    return <uint32_t>at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24


cdef inline bint _uid_span(Span* span, const unsigned char* value, uint32_t length) noexcept nogil:
    """Take a clean UID that is padded as it should be."""
    if length == 0 or length > MAX_UID_LENGTH or length & 1:
        return False
    span.text = value
    span.length = length - (value[length - 1] == 0)
    return _is_clean_uid(span.text, <Py_ssize_t>span.length)


# Made once: a server meets the same SOP Class in each request. Never changed, so safe to share.
cdef tuple _sop_classes = tuple([UID(text) for text in _rules.SOP_CLASSES])
cdef Span[MAX_SOP_CLASSES] _sop_class_spans
assert len(_sop_classes) == MAX_SOP_CLASSES
for _index, _uid in enumerate(_sop_classes):
    _sop_class_spans[_index].text = PyUnicode_1BYTE_DATA(_uid)
    _sop_class_spans[_index].length = len(_uid)
del _index, _uid


cdef inline Py_ssize_t _find_sop_class(const unsigned char* value, uint32_t length) noexcept nogil:
    """Look a padded UID up among the SOP Classes that N-SET is defined for; -1 for any other."""
    cdef Py_ssize_t i
    cdef uint32_t own
    for i in range(MAX_SOP_CLASSES):
        own = _sop_class_spans[i].length
        if (
            own + (own & 1) == length
            and memcmp(_sop_class_spans[i].text, value, own) == 0
            and (own == length or value[own] == 0)
        ):
            return i
    return -1


cdef bint _parse(const unsigned char* data, size_t length, Command* command) noexcept nogil:
    """Read a command set that breaks no rule; False for any other, whatever its fault."""
    cdef Cursor cursor
    cdef const unsigned char* header
    cdef const unsigned char* value
    cdef uint32_t tag, size, bit
    cdef uint32_t before = 0
    cursor.at, cursor.left = data, length
    memset(command, 0, sizeof(Command))
    header = take(&cursor, GROUP_LENGTH_SIZE)
    if header == NULL or _ul(header) != 0 or _ul(header + 4) != 4:
        return False
    if _ul(header + 8) != cursor.left:
        return False
    while cursor.left > 0:
        header = take(&cursor, 8)
        if header == NULL:
            return False
        size = _ul(header + 4)
        value = take(&cursor, size)
        if value == NULL or _us(header) != 0:
            return False
        tag = _us(header + 2)
        if tag <= before:
            return False
        before = tag
        if tag == 0x0002 or tag == 0x0003:
            bit = HAS_AFFECTED_CLASS if tag == 0x0002 else HAS_REQUESTED_CLASS
            command.known_sop_class = _find_sop_class(value, size)
            if command.known_sop_class < 0 and not _uid_span(&command.sop_class, value, size):
                return False
        elif tag == 0x1000 or tag == 0x1001:
            bit = HAS_AFFECTED_INSTANCE if tag == 0x1000 else HAS_REQUESTED_INSTANCE
            if not _uid_span(&command.instance, value, size):
                return False
        elif size != 2:
            return False
        elif tag == 0x0100:
            bit, command.command_field = HAS_COMMAND_FIELD, _us(value)
        elif tag == 0x0110:
            bit, command.message_id = HAS_MESSAGE_ID, _us(value)
        elif tag == 0x0120:
            bit, command.message_id = HAS_RESPONDED_TO, _us(value)
        elif tag == 0x0800:
            bit, command.data_set_type = HAS_DATA_SET_TYPE, _us(value)
        elif tag == 0x0900:
            bit, command.status = HAS_STATUS, _us(value)
        else:
            return False
        command.has |= bit
    if command.has == REQUEST:
        return command.command_field == N_SET_RQ and command.data_set_type != NO_DATA_SET
    return command.command_field == N_SET_RSP and command.has & ~RESPONSE_MAY == RESPONSE


def peek(bytes data not None):
    """Give Command Field and Command Data Set Type of any message's command set.

    Parameters
    ----------
    data : bytes
        The command set.

    Returns
    -------
    tuple of (int, int or None)
        Command Field (0000,0100), and Command Data Set Type (0000,0800).

    Raises
    ------
    CommandSetError
        If there is no Command Field, or the bytes can't be read.
    """
    cdef Cursor cursor
    cdef const unsigned char* header
    cdef const unsigned char* value
    cdef uint32_t tag, size
    cdef long field = -1
    cdef long data_set_type = -1
    cursor.at = <const unsigned char*>PyBytes_AS_STRING(data)
    cursor.left = <size_t>PyBytes_GET_SIZE(data)
    # Two capital letters where the length would stand: explicit VR.
    if cursor.left >= 6 and c"A" <= cursor.at[4] <= c"Z" and c"A" <= cursor.at[5] <= c"Z":
        return _command_set.peek(data)
    while cursor.left > 0:
        header = take(&cursor, 8)
        if header == NULL:
            return _command_set.peek(data)
        tag = <uint32_t>_us(header) << 16 | _us(header + 2)
        size = _ul(header + 4)
        value = take(&cursor, size)
        if value == NULL:
            return _command_set.peek(data)
        if tag == 0x0100 or tag == 0x0800:
            if size != 2:
                return _command_set.peek(data)
            if tag == 0x0100:
                field = _us(value)
            else:
                data_set_type = _us(value)
    if field < 0 or data_set_type < 0:
        return _command_set.peek(data)
    return field, data_set_type


cdef inline unsigned char* _put_header(
    unsigned char* at, uint32_t tag, uint32_t length
) noexcept nogil:
    at[0] = at[1] = 0
    at[2], at[3] = <unsigned char>tag, <unsigned char>(tag >> 8)
    at[4], at[5] = <unsigned char>length, <unsigned char>(length >> 8)
    at[6] = at[7] = 0  # no canonical value is longer than 64 bytes
    return at + 8


# The elements between the two UIDs, to be filled in from byte 18 on.
cdef const unsigned char* RQ_MIDDLE = (
    b"\x00\x00\x00\x01\x02\x00\x00\x00\x20\x01"  # Command Field
    b"\x00\x00\x10\x01\x02\x00\x00\x00\x00\x00"  # Message ID
    b"\x00\x00\x00\x08\x02\x00\x00\x00\x00\x00"  # Command Data Set Type
)
cdef const unsigned char* RSP_MIDDLE = (
    b"\x00\x00\x00\x01\x02\x00\x00\x00\x20\x81"  # Command Field
    b"\x00\x00\x20\x01\x02\x00\x00\x00\x00\x00"  # Message ID Being Responded To
    b"\x00\x00\x00\x08\x02\x00\x00\x00\x00\x00"  # Command Data Set Type
    b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"  # Status
)


cdef inline void _fill_us(unsigned char* at, long value) noexcept nogil:
    at[0], at[1] = <unsigned char>value, <unsigned char>(value >> 8)


cdef inline unsigned char* _put_uid(
    unsigned char* at, uint32_t tag, object uid, bint is_clean
) noexcept:
    """Write a UID, or nothing for None; NULL for one that is not clean."""
    cdef Py_ssize_t length
    cdef const unsigned char* text
    if uid is None:
        return at
    if not is_clean and not (PyUnicode_Check(uid) and PyUnicode_IS_ASCII(uid)):
        return NULL
    length = PyUnicode_GET_LENGTH(uid)
    text = PyUnicode_1BYTE_DATA(uid)
    if not is_clean and not _is_clean_uid(text, length):
        return NULL
    at = _put_header(at, tag, <uint32_t>(length + (length & 1)))
    memcpy(at, text, <size_t>length)
    at += length
    if length & 1:
        at[0] = 0
        at += 1
    return at


cdef inline long _number(object value) except -2:
    """Give the int if a US element can hold it; else -1."""
    cdef int overflow = 0
    cdef long number
    if not PyLong_Check(value):
        return -1
    number = PyLong_AsLongAndOverflow(value, &overflow)
    return number if overflow == 0 and 0 <= number <= MAX_US else -1


cdef inline unsigned char* _put_response(
    unsigned char* at, long message_id, long data_set_type, long status,
    object sop_class, bint class_is_clean, object instance, bint instance_is_clean,
) noexcept:
    """Write the elements of an N-SET-RSP behind the group length; NULL if a UID is not clean."""
    at = _put_uid(at, 0x0002, sop_class, class_is_clean)
    if at == NULL:
        return NULL
    memcpy(at, RSP_MIDDLE, RSP_MIDDLE_SIZE)
    _fill_us(at + 18, message_id)
    _fill_us(at + 28, data_set_type)
    _fill_us(at + 38, status)
    return _put_uid(at + RSP_MIDDLE_SIZE, 0x1000, instance, instance_is_clean)


cdef inline void _put_group_length(unsigned char* at, size_t length) noexcept nogil:
    """Write the element (0000,0000) of a command set of so many bytes."""
    _put_header(at, 0x0000, 4)
    length -= GROUP_LENGTH_SIZE
    at[8], at[9] = <unsigned char>length, <unsigned char>(length >> 8)
    at[10] = at[11] = 0


cdef bytes _write(Primitive primitive, bint has_data_set):
    """Encode what needs no thought; None for any other."""
    cdef unsigned char buffer[MAX_COMMAND_SET]
    cdef unsigned char* at = buffer + GROUP_LENGTH_SIZE
    cdef long data_set_type = 0x0001 if has_data_set else NO_DATA_SET
    cdef long message_id, status
    cdef unsigned char clean = primitive._clean
    if primitive._message_id_being_responded_to is None:
        message_id = _number(primitive._message_id)
        if message_id < 0:
            return None
        at = _put_uid(at, 0x0003, primitive._requested_sop_class_uid, clean & REQUESTED_CLASS)
        if at == NULL:
            return None
        memcpy(at, RQ_MIDDLE, RQ_MIDDLE_SIZE)
        _fill_us(at + 18, message_id)
        _fill_us(at + 28, data_set_type)
        at += RQ_MIDDLE_SIZE
        at = _put_uid(at, 0x1001, primitive._requested_sop_instance_uid, clean & REQUESTED_INSTANCE)
    else:
        message_id = _number(primitive._message_id_being_responded_to)
        status = _number(primitive._status)
        if (
            message_id < 0
            or status < 0
            or primitive._absent & ~CONTEXT_ID
            or primitive._error_comment is not None
            or primitive._error_id is not None
            or primitive._attribute_identifier_list is not None
            or primitive._offending_element is not None
        ):
            return None
        at = _put_response(
            at, message_id, data_set_type, status,
            primitive._affected_sop_class_uid, clean & AFFECTED_CLASS,
            primitive._affected_sop_instance_uid, clean & AFFECTED_INSTANCE,
        )
    if at == NULL:
        return None
    _put_group_length(buffer, <size_t>(at - buffer))
    return PyBytes_FromStringAndSize(<const char*>buffer, at - buffer)


cdef object _text(Span* span):
    cdef object text = PyUnicode_New(<Py_ssize_t>span.length, 127)
    memcpy(PyUnicode_1BYTE_DATA(text), span.text, span.length)
    return text


cdef int _fill(Primitive primitive, Command* command) except -1:
    """Put what has been read into a primitive that nobody else has yet."""
    primitive._unread |= LIST
    if command.command_field == N_SET_RQ:
        primitive._message_id = command.message_id
        if command.known_sop_class >= 0:
            primitive._requested_sop_class_uid = _sop_classes[command.known_sop_class]
            primitive._clean |= REQUESTED_CLASS
        else:
            primitive._requested_sop_class_uid = _text(&command.sop_class)
            primitive._mark(REQUESTED_CLASS, True)
        primitive._requested_sop_instance_uid = _text(&command.instance)
        primitive._mark(REQUESTED_INSTANCE, True)
        return 0
    primitive._message_id_being_responded_to = command.message_id
    primitive._status = command.status
    if command.has & HAS_AFFECTED_CLASS:
        if command.known_sop_class >= 0:
            primitive._affected_sop_class_uid = _sop_classes[command.known_sop_class]
            primitive._clean |= AFFECTED_CLASS
        else:
            primitive._affected_sop_class_uid = _text(&command.sop_class)
            primitive._mark(AFFECTED_CLASS, True)
    if command.has & HAS_AFFECTED_INSTANCE:
        primitive._affected_sop_instance_uid = _text(&command.instance)
        primitive._mark(AFFECTED_INSTANCE, True)
    return 0


# -- What nset.scp._core may use: see _core.pxd ---------------------------------------------------

cdef bint is_request(const unsigned char* data, size_t length) noexcept nogil:
    cdef Command command
    return _parse(data, length, &command) and command.command_field == N_SET_RQ


cdef object decode_request(
    object cls, const unsigned char* data, size_t length, unsigned char context_id
):
    cdef Command command
    cdef Primitive request
    if not (_parse(data, length, &command) and command.command_field == N_SET_RQ):
        return None
    if not _default_validator_is_in_force():
        return None
    request = _new(cls)
    _fill(request, &command)
    request._context = context_id
    request._absent &= ~CONTEXT_ID
    return request


cdef int attach(object request, object data_set) except -1:
    cdef Primitive primitive = <Primitive?>request
    primitive._dataset = data_set
    if type(data_set) is bytes:
        primitive._unread |= LIST
    else:
        primitive._unread &= ~LIST
    return 0


cdef Py_ssize_t encode_response_command_set(
    object request, object status, unsigned char* at
) except -1:
    cdef Primitive primitive = <Primitive?>request
    cdef unsigned char* end
    cdef long message_id
    cdef long number = _number(status)
    with cython.critical_section(primitive):
        message_id = _number(primitive._message_id)
        if (
            number < 0 or message_id < 0
            or primitive._requested_sop_class_uid is None
            or primitive._requested_sop_instance_uid is None
        ):
            return 0
        end = _put_response(
            at + GROUP_LENGTH_SIZE, message_id, NO_DATA_SET, number,
            primitive._requested_sop_class_uid, primitive._clean & REQUESTED_CLASS,
            primitive._requested_sop_instance_uid, primitive._clean & REQUESTED_INSTANCE,
        )
    if end == NULL:
        return 0
    _put_group_length(at, <size_t>(end - at))
    return end - at


cdef long context_id_of(object request) except -2:
    cdef Primitive primitive = <Primitive?>request
    with cython.critical_section(primitive):
        return _number(primitive._context)


cdef object sop_class_of(object request):
    cdef Primitive primitive = <Primitive?>request
    with cython.critical_section(primitive):
        return primitive._requested_sop_class_uid


# -- The public class -----------------------------------------------------------------------------

cdef object _adopted_class = None
cdef VersionedType* _adopted = NULL
cdef unsigned int _adopted_version = 0


def adopt(cls):
    """Name the class whose `__init__` need not look for overridden properties.

    Parameters
    ----------
    cls : type
        The public ``N_SET``. Called once, while nset is imported.
    """
    global _adopted, _adopted_class
    _adopted_class = cls
    _adopted = <VersionedType*><PyObject*>cls


cdef bint _is_untouched(Primitive primitive) except -1:
    """Whether the validity checks may read the fields: nobody has overridden or patched a property.

    True only for the adopted class itself, as long as its version is one that was looked through;
    CPython gives a class a new version whenever it or a base is changed.
    """
    if Py_TYPE(primitive) != _adopted or primitive._has_own_keywords:
        return False
    return _is_as_adopted()


cdef bint _is_as_adopted() except -1:
    global _adopted_version
    if _adopted.tp_version_tag != 0 and _adopted.tp_version_tag == _adopted_version:
        return True
    if _has_overrides(_adopted_class):
        return False
    _adopted_version = _adopted.tp_version_tag
    return True


cdef Primitive _new(object cls):
    """Call a class without arguments; the adopted one without the detour of a call."""
    cdef Primitive primitive
    cdef tuple nothing = ()
    if <VersionedType*><PyObject*>cls != _adopted or not _is_as_adopted():
        return cls()
    primitive = _adopted.tp_new(_adopted, <PyObject*>nothing, NULL)
    primitive._absent = CONTEXT_ID
    return primitive


cdef bint _has_overrides(object cls) except -1:
    return not _rules.SHORT_WAY_KEYWORDS.isdisjoint(cls.__dict__)


cdef class _Keywords:
    """A class's tuple of keywords that an instance may replace by one of its own.

    To readers a plain attribute. It notes on the instance that there is a replacement, which the
    validity checks could else only learn by a look-up that takes as long as they do.
    """

    cdef object _name
    cdef object _keywords

    def __init__(self, name, keywords):
        self._name = name
        self._keywords = keywords

    def __get__(self, instance, owner):
        if instance is None or not (<Primitive?>instance)._has_own_keywords:
            return self._keywords
        return instance.__dict__.get(self._name, self._keywords)

    def __set__(self, instance, value):
        (<Primitive?>instance)._has_own_keywords = True
        instance.__dict__[self._name] = value

    def __delete__(self, instance):
        try:
            del instance.__dict__[self._name]
        except KeyError:
            raise _rules.no_attribute_to_delete(instance, self._name) from None


cdef object _stream_of(bytes content):
    """Make the list of a message that has been decoded."""
    cdef object stream
    if content is None:
        return _BytesIO()
    stream = _BytesIO(content)
    stream.seek(0, 2)  # as where the fragments have been written into it
    return stream


cdef class Primitive:
    """What an N-SET request and response hold; ``nset.N_SET`` is its public face.

    Instances are safe to share between threads: each attribute is read and written whole.
    """

    REQUEST_KEYWORDS = _Keywords("REQUEST_KEYWORDS", _rules.REQUEST_KEYWORDS)
    RESPONSE_KEYWORDS = _Keywords("RESPONSE_KEYWORDS", _rules.RESPONSE_KEYWORDS)
    STATUS_OPTIONAL_KEYWORDS = _rules.STATUS_OPTIONAL_KEYWORDS

    _dataset_path = None
    _dataset_file = None

    cdef object _message_id
    cdef object _message_id_being_responded_to
    cdef object _affected_sop_class_uid
    cdef object _affected_sop_instance_uid
    cdef object _requested_sop_class_uid
    cdef object _requested_sop_instance_uid
    cdef object _status
    cdef object _dataset
    cdef object _error_comment
    cdef object _error_id
    cdef object _attribute_identifier_list
    cdef object _offending_element
    cdef object _context
    cdef unsigned char _unread
    cdef unsigned char _clean
    cdef unsigned char _absent
    cdef bint _has_own_keywords

    def __cinit__(self):
        self._absent = STATUS_OPTIONAL | CONTEXT_ID

    def __init__(self, *args):
        if args:
            raise _rules.takes_no_arguments(len(args))
        if not _is_untouched(self):
            for keyword in _rules.INIT_KEYWORDS:
                setattr(self, keyword, None)
            return
        with cython.critical_section(self):
            self._dataset = None
            self._unread &= ~LIST
            self._error_comment = None
            self._error_id = None
            self._attribute_identifier_list = None
            self._offending_element = None
            self._absent &= CONTEXT_ID

    @property
    def MessageID(self):
        """Message ID (0000,0110): int in 0..65535, or None."""
        with cython.critical_section(self):
            return self._message_id

    @MessageID.setter
    def MessageID(self, value):
        _is_message_id(value, _MESSAGE_ID)
        with cython.critical_section(self):
            self._message_id = value

    @MessageID.deleter
    def MessageID(self):
        raise _rules.no_deleter(self, "MessageID")

    @property
    def MessageIDBeingRespondedTo(self):
        """Message ID Being Responded To (0000,0120): int in 0..65535, or None."""
        with cython.critical_section(self):
            return self._message_id_being_responded_to

    @MessageIDBeingRespondedTo.setter
    def MessageIDBeingRespondedTo(self, value):
        _is_message_id(value, _MESSAGE_ID_BEING_RESPONDED_TO)
        with cython.critical_section(self):
            self._message_id_being_responded_to = value

    @MessageIDBeingRespondedTo.deleter
    def MessageIDBeingRespondedTo(self):
        raise _rules.no_deleter(self, "MessageIDBeingRespondedTo")

    @property
    def Status(self):
        """Status (0000,0900): int in 0..65535, or None."""
        with cython.critical_section(self):
            return self._status

    @Status.setter
    def Status(self, value):
        if _is_int(value):
            if not _is_us(value):
                raise _rules.us_out_of_range(_rules.STATUS)
        elif value is not None:
            raise _rules.status_type()
        with cython.critical_section(self):
            self._status = value

    @Status.deleter
    def Status(self):
        raise _rules.no_deleter(self, "Status")

    @property
    def AffectedSOPClassUID(self):
        """Affected SOP Class UID (0000,0002): UID of at most 64 characters, or None."""
        cdef object text, uid
        with cython.critical_section(self):
            while self._unread & AFFECTED_CLASS:
                text = self._affected_sop_class_uid
                uid = _new_uid(text)
                # Making it may have run the garbage collector, and that anything.
                if self._unread & AFFECTED_CLASS and self._affected_sop_class_uid is text:
                    self._affected_sop_class_uid = uid
                    self._unread &= ~AFFECTED_CLASS
            return self._affected_sop_class_uid

    @AffectedSOPClassUID.setter
    def AffectedSOPClassUID(self, value):
        cdef bint unread = False
        value = _check_uid(value, _AFFECTED_SOP_CLASS_UID, &unread)
        with cython.critical_section(self):
            self._affected_sop_class_uid = value
            self._mark(AFFECTED_CLASS, unread)

    @AffectedSOPClassUID.deleter
    def AffectedSOPClassUID(self):
        raise _rules.no_deleter(self, "AffectedSOPClassUID")

    @property
    def AffectedSOPInstanceUID(self):
        """Affected SOP Instance UID (0000,1000): UID of at most 64 characters, or None."""
        cdef object text, uid
        with cython.critical_section(self):
            while self._unread & AFFECTED_INSTANCE:
                text = self._affected_sop_instance_uid
                uid = _new_uid(text)
                # Making it may have run the garbage collector, and that anything.
                if self._unread & AFFECTED_INSTANCE and self._affected_sop_instance_uid is text:
                    self._affected_sop_instance_uid = uid
                    self._unread &= ~AFFECTED_INSTANCE
            return self._affected_sop_instance_uid

    @AffectedSOPInstanceUID.setter
    def AffectedSOPInstanceUID(self, value):
        cdef bint unread = False
        value = _check_uid(value, _AFFECTED_SOP_INSTANCE_UID, &unread)
        with cython.critical_section(self):
            self._affected_sop_instance_uid = value
            self._mark(AFFECTED_INSTANCE, unread)

    @AffectedSOPInstanceUID.deleter
    def AffectedSOPInstanceUID(self):
        raise _rules.no_deleter(self, "AffectedSOPInstanceUID")

    @property
    def RequestedSOPClassUID(self):
        """Requested SOP Class UID (0000,0003): UID of at most 64 characters, or None."""
        cdef object text, uid
        with cython.critical_section(self):
            while self._unread & REQUESTED_CLASS:
                text = self._requested_sop_class_uid
                uid = _new_uid(text)
                # Making it may have run the garbage collector, and that anything.
                if self._unread & REQUESTED_CLASS and self._requested_sop_class_uid is text:
                    self._requested_sop_class_uid = uid
                    self._unread &= ~REQUESTED_CLASS
            return self._requested_sop_class_uid

    @RequestedSOPClassUID.setter
    def RequestedSOPClassUID(self, value):
        cdef bint unread = False
        value = _check_uid(value, _REQUESTED_SOP_CLASS_UID, &unread)
        with cython.critical_section(self):
            self._requested_sop_class_uid = value
            self._mark(REQUESTED_CLASS, unread)

    @RequestedSOPClassUID.deleter
    def RequestedSOPClassUID(self):
        raise _rules.no_deleter(self, "RequestedSOPClassUID")

    @property
    def RequestedSOPInstanceUID(self):
        """Requested SOP Instance UID (0000,1001): UID of at most 64 characters, or None."""
        cdef object text, uid
        with cython.critical_section(self):
            while self._unread & REQUESTED_INSTANCE:
                text = self._requested_sop_instance_uid
                uid = _new_uid(text)
                # Making it may have run the garbage collector, and that anything.
                if self._unread & REQUESTED_INSTANCE and self._requested_sop_instance_uid is text:
                    self._requested_sop_instance_uid = uid
                    self._unread &= ~REQUESTED_INSTANCE
            return self._requested_sop_instance_uid

    @RequestedSOPInstanceUID.setter
    def RequestedSOPInstanceUID(self, value):
        cdef bint unread = False
        value = _check_uid(value, _REQUESTED_SOP_INSTANCE_UID, &unread)
        with cython.critical_section(self):
            self._requested_sop_instance_uid = value
            self._mark(REQUESTED_INSTANCE, unread)

    @RequestedSOPInstanceUID.deleter
    def RequestedSOPInstanceUID(self):
        raise _rules.no_deleter(self, "RequestedSOPInstanceUID")

    @property
    def _AffectedSOPInstanceUID(self):
        """pynetdicom's other name of `AffectedSOPInstanceUID`."""
        return _fields["AffectedSOPInstanceUID"].__get__(self)

    @_AffectedSOPInstanceUID.setter
    def _AffectedSOPInstanceUID(self, value):
        _fields["AffectedSOPInstanceUID"].__set__(self, value)

    @_AffectedSOPInstanceUID.deleter
    def _AffectedSOPInstanceUID(self):
        raise _rules.no_deleter(self, "_AffectedSOPInstanceUID")

    @property
    def _RequestedSOPClassUID(self):
        """pynetdicom's other name of `RequestedSOPClassUID`."""
        return _fields["RequestedSOPClassUID"].__get__(self)

    @_RequestedSOPClassUID.setter
    def _RequestedSOPClassUID(self, value):
        _fields["RequestedSOPClassUID"].__set__(self, value)

    @_RequestedSOPClassUID.deleter
    def _RequestedSOPClassUID(self):
        raise _rules.no_deleter(self, "_RequestedSOPClassUID")

    @property
    def _RequestedSOPInstanceUID(self):
        """pynetdicom's other name of `RequestedSOPInstanceUID`."""
        return _fields["RequestedSOPInstanceUID"].__get__(self)

    @_RequestedSOPInstanceUID.setter
    def _RequestedSOPInstanceUID(self, value):
        _fields["RequestedSOPInstanceUID"].__set__(self, value)

    @_RequestedSOPInstanceUID.deleter
    def _RequestedSOPInstanceUID(self):
        raise _rules.no_deleter(self, "_RequestedSOPInstanceUID")

    @property
    def _dataset_variant(self):
        """The one list under both its names; set as a tuple of the list and the name."""
        return self._read_list()

    @_dataset_variant.setter
    def _dataset_variant(self, value):
        cdef object stream = value[0]
        if stream is not None and not isinstance(stream, _BytesIO):
            raise _rules.list_type(value[1])
        with cython.critical_section(self):
            self._dataset = stream
            self._unread &= ~LIST

    @_dataset_variant.deleter
    def _dataset_variant(self):
        raise _rules.no_deleter(self, "_dataset_variant")

    @property
    def AttributeList(self):
        """Encoded Attribute List of a response: BytesIO or None; one with ModificationList."""
        return self._read_list()

    @AttributeList.setter
    def AttributeList(self, value):
        self._put_list(value, "AttributeList")

    @AttributeList.deleter
    def AttributeList(self):
        raise _rules.no_deleter(self, "AttributeList")

    @property
    def ModificationList(self):
        """Encoded Modification List of a request: BytesIO or None; one with AttributeList."""
        return self._read_list()

    @ModificationList.setter
    def ModificationList(self, value):
        self._put_list(value, "ModificationList")

    @ModificationList.deleter
    def ModificationList(self):
        raise _rules.no_deleter(self, "ModificationList")

    cdef int _put_list(self, object value, object name) except -1:
        if value is not None and not isinstance(value, _BytesIO):
            raise _rules.list_type(name)
        with cython.critical_section(self):
            self._dataset = value
            self._unread &= ~LIST
        return 0

    cdef inline void _mark(self, unsigned char uid, bint is_clean) noexcept:
        """Note of a UID that was set whether it is clean text, not yet read."""
        if is_clean:
            self._unread |= uid
            self._clean |= uid
        else:
            self._unread &= ~uid
            self._clean &= ~uid

    cdef object _read_list(self):
        cdef object stream
        with cython.critical_section(self):
            if self._unread & LIST:
                stream = _stream_of(self._dataset)
                # Making it may have run the garbage collector, and that anything.
                if self._unread & LIST:
                    self._dataset = stream
                    self._unread &= ~LIST
            return self._dataset

    @property
    def ErrorComment(self):
        """Error Comment (0000,0902): any value; checked when it is sent."""
        with cython.critical_section(self):
            if not self._absent & ERROR_COMMENT:
                return self._error_comment
        raise _rules.no_attribute(self, "ErrorComment")

    @ErrorComment.setter
    def ErrorComment(self, value):
        with cython.critical_section(self):
            self._error_comment = value
            self._absent &= ~ERROR_COMMENT

    @ErrorComment.deleter
    def ErrorComment(self):
        with cython.critical_section(self):
            if not self._absent & ERROR_COMMENT:
                self._error_comment = None
                self._absent |= ERROR_COMMENT
                return
        raise _rules.no_attribute_to_delete(self, "ErrorComment")

    @property
    def ErrorID(self):
        """Error ID (0000,0903): any value; checked when it is sent."""
        with cython.critical_section(self):
            if not self._absent & ERROR_ID:
                return self._error_id
        raise _rules.no_attribute(self, "ErrorID")

    @ErrorID.setter
    def ErrorID(self, value):
        with cython.critical_section(self):
            self._error_id = value
            self._absent &= ~ERROR_ID

    @ErrorID.deleter
    def ErrorID(self):
        with cython.critical_section(self):
            if not self._absent & ERROR_ID:
                self._error_id = None
                self._absent |= ERROR_ID
                return
        raise _rules.no_attribute_to_delete(self, "ErrorID")

    @property
    def AttributeIdentifierList(self):
        """Attribute Identifier List (0000,1005): any value; checked when it is sent."""
        with cython.critical_section(self):
            if not self._absent & ATTRIBUTE_IDENTIFIER_LIST:
                return self._attribute_identifier_list
        raise _rules.no_attribute(self, "AttributeIdentifierList")

    @AttributeIdentifierList.setter
    def AttributeIdentifierList(self, value):
        with cython.critical_section(self):
            self._attribute_identifier_list = value
            self._absent &= ~ATTRIBUTE_IDENTIFIER_LIST

    @AttributeIdentifierList.deleter
    def AttributeIdentifierList(self):
        with cython.critical_section(self):
            if not self._absent & ATTRIBUTE_IDENTIFIER_LIST:
                self._attribute_identifier_list = None
                self._absent |= ATTRIBUTE_IDENTIFIER_LIST
                return
        raise _rules.no_attribute_to_delete(self, "AttributeIdentifierList")

    @property
    def OffendingElement(self):
        """Offending Element (0000,0901): any value; checked when it is sent."""
        with cython.critical_section(self):
            if not self._absent & OFFENDING_ELEMENT:
                return self._offending_element
        raise _rules.no_attribute(self, "OffendingElement")

    @OffendingElement.setter
    def OffendingElement(self, value):
        with cython.critical_section(self):
            self._offending_element = value
            self._absent &= ~OFFENDING_ELEMENT

    @OffendingElement.deleter
    def OffendingElement(self):
        with cython.critical_section(self):
            if not self._absent & OFFENDING_ELEMENT:
                self._offending_element = None
                self._absent |= OFFENDING_ELEMENT
                return
        raise _rules.no_attribute_to_delete(self, "OffendingElement")

    @property
    def _context_id(self):
        """ID of the presentation context (PS3.8 Section 9.3.2.2) that the message came in."""
        with cython.critical_section(self):
            return self._context

    @_context_id.setter
    def _context_id(self, value):
        with cython.critical_section(self):
            self._context = value
            self._absent &= ~CONTEXT_ID

    @_context_id.deleter
    def _context_id(self):
        with cython.critical_section(self):
            if not self._absent & CONTEXT_ID:
                self._context = None
                self._absent |= CONTEXT_ID
                return
        raise _rules.no_attribute_to_delete(self, "_context_id")

    @property
    def is_valid_request(self):
        """Whether all of ``REQUEST_KEYWORDS`` are set (PS3.7 Table 10.1-3)."""
        if _is_untouched(self):
            with cython.critical_section(self):
                return (
                    self._message_id is not None
                    and self._requested_sop_class_uid is not None
                    and self._requested_sop_instance_uid is not None
                    and (self._dataset is not None or self._unread & LIST != 0)
                )
        for keyword in self.REQUEST_KEYWORDS:
            if getattr(self, keyword) is None:
                return False
        return True

    @is_valid_request.setter
    def is_valid_request(self, value):
        raise _rules.no_setter(self, "is_valid_request")

    @is_valid_request.deleter
    def is_valid_request(self):
        raise _rules.no_deleter(self, "is_valid_request")

    @property
    def is_valid_response(self):
        """Whether all of ``RESPONSE_KEYWORDS`` are set (PS3.7 Table 10.1-3)."""
        if _is_untouched(self):
            with cython.critical_section(self):
                return (
                    self._message_id_being_responded_to is not None and self._status is not None
                )
        for keyword in self.RESPONSE_KEYWORDS:
            if getattr(self, keyword) is None:
                return False
        return True

    @is_valid_response.setter
    def is_valid_response(self, value):
        raise _rules.no_setter(self, "is_valid_response")

    @is_valid_response.deleter
    def is_valid_response(self):
        raise _rules.no_deleter(self, "is_valid_response")

    @property
    def msg_type(self):
        """The name of the class with hyphens: ``"N-SET"``."""
        return self.__class__.__name__.replace("_", "-")

    @msg_type.setter
    def msg_type(self, value):
        raise _rules.no_setter(self, "msg_type")

    @msg_type.deleter
    def msg_type(self):
        raise _rules.no_deleter(self, "msg_type")

    def to_command_set(self):
        """Encode the command set (PS3.7 Section 10.3.3), Implicit VR Little Endian.

        Returns
        -------
        bytes
            That of an N-SET-RSP where `MessageIDBeingRespondedTo` is set, else of an N-SET-RQ.

        Raises
        ------
        ValueError
            If a value can't be sent; by the element's name.
        TypeError
            If a value is of a type that can't be sent; by the element's name.
        """
        cdef bytes encoded = None
        cdef object stream
        if _is_untouched(self):
            stream = self._read_list()
            # Without a list pynetdicom may have a file to send: the slow path knows.
            if stream is not None or not self._dataset_path:
                has_data_set = stream is not None and len(stream.getvalue()) > 0
                with cython.critical_section(self):
                    encoded = _write(self, has_data_set)
        return _command_set.encode(self) if encoded is None else encoded

    @classmethod
    def from_command_set(cls, data, *, bint strict=False):
        """Decode the command set of an N-SET-RQ or N-SET-RSP (PS3.7 Section 10.3.3).

        Parameters
        ----------
        data : bytes-like
            The command set, Implicit VR Little Endian. What deviates from that but can be read is
            accepted, each violation with a WARNING record of the logger ``nset``.
        strict : bool
            Accept only what PS3.7 Sections 6.3.1 and 10.3.3 allow.

        Returns
        -------
        N_SET
            With an empty `BytesIO` as its list. In a request, a Requested UID that is absent takes
            the value of the Affected one.

        Raises
        ------
        CommandSetError
            If the bytes can't be such a command set.
        TypeError
            If `data` is not bytes-like.
        """
        cdef Command command
        cdef Primitive primitive
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if not (
            _parse(
                <const unsigned char*>PyBytes_AS_STRING(data),
                <size_t>PyBytes_GET_SIZE(data),
                &command,
            )
            and _default_validator_is_in_force()
        ):
            fields = _command_set.decode(data, strict)
            primitive = _new(cls)
            Primitive.__setstate__(primitive, fields)
            primitive._unread |= LIST
            return primitive
        primitive = _new(cls)
        _fill(primitive, &command)
        return primitive

    def __getstate__(self):
        state = self.__dict__.copy()  # whole: other threads may set and delete
        for keyword, field in _fields.items():
            try:
                value = field.__get__(self)
            except AttributeError:
                continue  # deleted, and to be so in the copy
            if value is not None or keyword in _rules.STATUS_OPTIONAL_KEYWORDS:
                state[keyword] = value
        return state

    def __setstate__(self, state):
        for name, value in state.items():
            # A pickle of pynetdicom's class, read while nset stands in its place, has these names.
            if not self._restore(_rules.KEYWORDS.get(name, name), value):
                setattr(self, name, value)

    cdef bint _restore(self, object name, object value) except -1:
        """Put a field as it was, unchecked; False for what is no field."""
        with cython.critical_section(self):
            if name == "MessageID":
                self._message_id = value
            elif name == "MessageIDBeingRespondedTo":
                self._message_id_being_responded_to = value
            elif name == "Status":
                self._status = value
            elif name == "AffectedSOPClassUID":
                self._affected_sop_class_uid = value
                self._mark(AFFECTED_CLASS, False)
            elif name == "AffectedSOPInstanceUID":
                self._affected_sop_instance_uid = value
                self._mark(AFFECTED_INSTANCE, False)
            elif name == "RequestedSOPClassUID":
                self._requested_sop_class_uid = value
                self._mark(REQUESTED_CLASS, False)
            elif name == "RequestedSOPInstanceUID":
                self._requested_sop_instance_uid = value
                self._mark(REQUESTED_INSTANCE, False)
            elif name == "ModificationList":
                self._dataset = value
                self._unread &= ~LIST
            elif name == "ErrorComment":
                self._error_comment = value
                self._absent &= ~ERROR_COMMENT
            elif name == "ErrorID":
                self._error_id = value
                self._absent &= ~ERROR_ID
            elif name == "AttributeIdentifierList":
                self._attribute_identifier_list = value
                self._absent &= ~ATTRIBUTE_IDENTIFIER_LIST
            elif name == "OffendingElement":
                self._offending_element = value
                self._absent &= ~OFFENDING_ELEMENT
            elif name == "_context_id":
                self._context = value
                self._absent &= ~CONTEXT_ID
            else:
                return False
        return True


# The properties themselves, for a state that no subclass's override has a part in.
cdef dict _fields = {keyword: getattr(Primitive, keyword) for keyword in _rules.STATE_KEYWORDS}
