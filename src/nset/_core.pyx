# cython: language_level=3, freethreading_compatible=True, embedsignature=False
# cython: binding=True, auto_pickle=False, autotestdict=False
# cython: warn.unused=True, warn.maybe_uninitialized=True
"""The C extension: UID scan, ranges, list and validity checks, command-set codec.

Scans and range checks are C. Error texts and unusual values are left to ``_rules`` and ``_uid``,
which the pure-Python fallback uses, too. Attributes are read and written in a critical section: a
no-op under the GIL, a lock of the object without it.
"""

import sys
from io import BytesIO

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.module cimport PyModule_CheckExact, PyModule_GetDict
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from nset._dict cimport get as _get

from pydicom.uid import UID

from nset import _command_set, _rules
from nset._uid import validate_uid
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

    ctypedef struct Class "PyTypeObject":
        PyObject* tp_dict
        object (*tp_new)(Class* cls, PyObject* args, PyObject* keywords)

    Class* Py_TYPE(object instance)
    Py_ssize_t PyDict_GET_SIZE(PyObject* mapping)


cdef enum:
    MAX_US = 0xFFFF

assert MAX_UID_LENGTH == _rules.MAX_UID_LENGTH
assert MAX_US == _rules.MAX_US

# The fields of a Primitive by their slots, which are their places among its attributes and in its
# masks: `_lazy`, `_conformant`, `_absent`.
cdef enum:
    AFFECTED_CLASS
    AFFECTED_INSTANCE
    REQUESTED_CLASS
    REQUESTED_INSTANCE
    LIST
    ERROR_COMMENT
    ERROR_ID
    ATTRIBUTE_IDENTIFIER_LIST
    OFFENDING_ELEMENT
    CONTEXT_ID
    OWN_REQUEST_KEYWORDS
    OWN_RESPONSE_KEYWORDS
    MESSAGE_ID
    RESPONDED_TO
    STATUS
    SLOTS
    STATUS_OPTIONAL = (
        1 << ERROR_COMMENT | 1 << ERROR_ID
        | 1 << ATTRIBUTE_IDENTIFIER_LIST | 1 << OFFENDING_ELEMENT
    )
    NOT_SET_BY_INIT = 1 << CONTEXT_ID | 1 << OWN_REQUEST_KEYWORDS | 1 << OWN_RESPONSE_KEYWORDS

cdef type _UID = UID
# For isinstance(), so not C types: an object may return one of these as its __class__.
cdef object _BytesIO = BytesIO
cdef object _int = int
cdef dict _modules = sys.modules


# -- UIDs -----------------------------------------------------------------------------------------

cdef enum:
    # 1 + 64 + 1 characters, rounded up to whole vectors.
    SCAN_LENGTH = 80


cdef bint _is_conformant_uid(const unsigned char* text, Py_ssize_t length) noexcept nogil:
    """Return whether the text is a UID by PS3.5 Section 9.1; without a branch, so it vectorises."""
    cdef unsigned char padded[SCAN_LENGTH + 2]
    cdef unsigned char before, here, after
    cdef unsigned char bad = 0
    cdef int i
    if length < 1 or length > MAX_UID_LENGTH:
        return False
    # A dot on both sides of each component, and digits up to the end.
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


cdef bint default_validator_is_in_force() except -1:
    """Return whether conformant text causes no error, warning or record; read at each call."""
    if _is_as_last_seen():
        return True
    cdef dict settings = _own_settings
    cdef object module = _get(_modules, "pynetdicom._config")
    cdef object validators
    if module is not None:
        if not PyModule_CheckExact(module):
            return False
        settings = <dict>PyModule_GetDict(module)
    validators = _get(settings, "VALIDATORS")
    # Missing while another thread is importing pynetdicom: the slow path handles that.
    if type(validators) is not dict:
        return False
    if _get(<dict>validators, "UI") is not _get(settings, "validate_ui"):
        return False
    _see(settings, <dict>validators)
    return True


# Goes with Python 3.11, and the two calls above with it: the versions of dicts, by which
# default_validator_is_in_force() knows that they have not changed since it last returned True.

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

# Each dict is alive as long as the previous one has the same version.
cdef uint64_t _modules_version = 0
cdef void* _settings = NULL
cdef uint64_t _settings_version = 0
cdef void* _validators = NULL
cdef uint64_t _validators_version = 0


cdef inline bint _is_as_last_seen() noexcept:
    return (
        _modules_version != 0
        and _version(<void*>_modules) == _modules_version
        and _version(_settings) == _settings_version
        and _version(_validators) == _validators_version
    )


cdef inline void _see(dict settings, dict validators) noexcept:
    global _modules_version, _settings, _settings_version, _validators, _validators_version
    if _version(<void*>_modules) != 0:
        _modules_version = _version(<void*>_modules)
        _settings, _settings_version = <void*>settings, _version(<void*>settings)
        _validators, _validators_version = <void*>validators, _version(<void*>validators)


cdef object _check_uid(object value, object name, bint* is_conformant):
    """Return the value to store: conformant text, a UID, or None."""
    if type(value) is str or type(value) is _UID:
        if (
            PyUnicode_IS_ASCII(value)
            and _is_conformant_uid(PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value))
            and default_validator_is_in_force()
            and (type(value) is str or not hasattr(value, "_PRIVATE_TS_ENCODING"))
        ):
            is_conformant[0] = True
            return value
    elif type(value) is bytes:
        if (
            _is_conformant_uid(
                <const unsigned char*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
            )
            and default_validator_is_in_force()
        ):
            is_conformant[0] = True
            return PyUnicode_DecodeASCII(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), NULL)
    elif value is None:
        return None
    return validate_uid(value, name)


cdef object _new_uid(object text):
    """Return the UID that pydicom would make of conformant text, without another check."""
    cdef tuple args = (text,)
    return PyUnicode_Type.tp_new(_UID, <PyObject*>args, NULL)


# -- Integers -------------------------------------------------------------------------------------

cdef bint _is_us(object value) except -1:
    """Return whether an int, or an object with that __class__, is in the range of US."""
    cdef int overflow = 0
    cdef long number
    if not PyLong_CheckExact(value):
        return 0 <= value <= MAX_US
    number = PyLong_AsLongAndOverflow(value, &overflow)
    return overflow == 0 and 0 <= number <= MAX_US


cdef inline bint _is_int(object value) except -1:
    return PyLong_CheckExact(value) or isinstance(value, _int)


cdef inline int _check_us(object value, str name) except -1:
    """Raise unless the value is None or an int in the range of US."""
    if _is_int(value):
        if not _is_us(value):
            raise _rules.us_out_of_range(name)
    elif value is not None:
        raise _rules.us_type(name)
    return 0


def category(code):
    """Return the category of a status code by the ranges of PS3.7 Annex C.

    Parameters
    ----------
    code : int
        The code, 0 or more.

    Returns
    -------
    str
        ``"Success"``, ``"Warning"``, ``"Failure"``, ``"Cancel"``, ``"Pending"``, or ``"Unknown"``
        for codes that Annex C does not list.

    Raises
    ------
    ValueError
        If `code` is negative or not an int.
    """
    cdef int overflow = 0
    cdef long number = -1
    if _is_int(code):
        try:
            number = PyLong_AsLongAndOverflow(code, &overflow)
        except TypeError:  # its __class__ is int, its type is not
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

assert (N_SET_RQ, N_SET_RSP) == (_rules.N_SET_RQ, _rules.N_SET_RSP)
assert NO_DATA_SET == _rules.NO_DATA_SET

# The elements that N-SET-RQ and N-SET-RSP must have, and may.
cdef enum:
    REQUEST = (
        HAS_REQUESTED_CLASS | HAS_COMMAND_FIELD | HAS_MESSAGE_ID | HAS_DATA_SET_TYPE
        | HAS_REQUESTED_INSTANCE
    )
    RESPONSE = HAS_COMMAND_FIELD | HAS_RESPONDED_TO | HAS_DATA_SET_TYPE | HAS_STATUS
    RESPONSE_MAY = HAS_AFFECTED_CLASS | HAS_AFFECTED_INSTANCE


cdef inline bint _uid_span(Span* span, const unsigned char* value, uint32_t length) noexcept nogil:
    """Read a conformant UID with canonical padding."""
    if length == 0 or length > MAX_UID_LENGTH or length & 1:
        return False
    span.text = value
    span.length = length - (value[length - 1] == 0)
    return _is_conformant_uid(span.text, <Py_ssize_t>span.length)


# Made once, as requests have the same SOP Class again and again. Immutable, so safe to share.
cdef tuple _sop_classes = tuple([UID(text) for text in _rules.SOP_CLASSES])
cdef Span[MAX_SOP_CLASSES] _sop_class_spans
assert len(_sop_classes) == MAX_SOP_CLASSES
for _index, _uid in enumerate(_sop_classes):
    _sop_class_spans[_index].text = PyUnicode_1BYTE_DATA(_uid)
    _sop_class_spans[_index].length = len(_uid)
del _index, _uid


cdef inline Py_ssize_t _find_sop_class(const unsigned char* value, uint32_t size) noexcept nogil:
    """Return the index of a padded UID among N-SET's SOP Classes; -1 for any other."""
    cdef Py_ssize_t i
    cdef uint32_t length
    for i in range(MAX_SOP_CLASSES):
        length = _sop_class_spans[i].length
        if (
            length + (length & 1) == size
            and memcmp(_sop_class_spans[i].text, value, length) == 0
            and (length == size or value[length] == 0)
        ):
            return i
    return -1


cdef bint read_canonical(const unsigned char* data, size_t length, Command* command) noexcept nogil:
    cdef Cursor cursor
    cdef const unsigned char* header
    cdef const unsigned char* value
    cdef uint32_t tag, size, bit
    cdef uint32_t previous_tag = 0
    cursor.at, cursor.left = data, length
    memset(command, 0, sizeof(Command))
    header = take(&cursor, GROUP_LENGTH_SIZE)
    if header == NULL or ul(header) != 0 or ul(header + 4) != 4:
        return False
    if ul(header + 8) != cursor.left:
        return False
    while cursor.left > 0:
        header = take(&cursor, 8)
        if header == NULL:
            return False
        size = ul(header + 4)
        value = take(&cursor, size)
        if value == NULL or us(header) != 0:
            return False
        tag = us(header + 2)
        if tag <= previous_tag:
            return False
        previous_tag = tag
        if tag == 0x0002 or tag == 0x0003:
            bit = HAS_AFFECTED_CLASS if tag == 0x0002 else HAS_REQUESTED_CLASS
            command.known_sop_class = _find_sop_class(value, size)
            if command.known_sop_class >= 0:
                command.sop_class.text = value
                command.sop_class.length = _sop_class_spans[command.known_sop_class].length
            elif not _uid_span(&command.sop_class, value, size):
                return False
        elif tag == 0x1000 or tag == 0x1001:
            bit = HAS_AFFECTED_INSTANCE if tag == 0x1000 else HAS_REQUESTED_INSTANCE
            if not _uid_span(&command.instance, value, size):
                return False
        elif tag == 0x1005:
            bit = HAS_ATTRIBUTES
            if size == 0 or size % 4 != 0:
                return False
        elif size != 2:
            return False
        elif tag == 0x0100:
            bit, command.command_field = HAS_COMMAND_FIELD, us(value)
        elif tag == 0x0110:
            bit, command.message_id = HAS_MESSAGE_ID, us(value)
        elif tag == 0x0120:
            bit, command.message_id = HAS_RESPONDED_TO, us(value)
        elif tag == 0x0800:
            bit, command.data_set_type = HAS_DATA_SET_TYPE, us(value)
        elif tag == 0x0900:
            bit, command.status = HAS_STATUS, us(value)
        elif tag == 0x1002:
            bit, command.type_id = HAS_EVENT_TYPE, us(value)
        elif tag == 0x1008:
            bit, command.type_id = HAS_ACTION_TYPE, us(value)
        else:
            return False
        command.has |= bit
    return True


cdef bint _decode_canonical(
    const unsigned char* data, size_t length, Command* command
) noexcept nogil:
    """Decode a canonical command set of N-SET; return False for any other."""
    if not read_canonical(data, length, command):
        return False
    if command.has == REQUEST:
        return command.command_field == N_SET_RQ and command.data_set_type != NO_DATA_SET
    return command.command_field == N_SET_RSP and command.has & ~RESPONSE_MAY == RESPONSE


def read_command_field_and_type(bytes data not None):
    """See ``_command_set.read_command_field_and_type``."""
    cdef Cursor cursor
    cdef const unsigned char* header
    cdef const unsigned char* value
    cdef uint32_t tag, size
    cdef long field = -1
    cdef long data_set_type = -1
    cursor.at = <const unsigned char*>PyBytes_AS_STRING(data)
    cursor.left = <size_t>PyBytes_GET_SIZE(data)
    # Two capital letters instead of a length: explicit VR.
    if cursor.left >= 6 and c"A" <= cursor.at[4] <= c"Z" and c"A" <= cursor.at[5] <= c"Z":
        return _command_set.read_command_field_and_type(data)
    while cursor.left > 0:
        header = take(&cursor, 8)
        if header == NULL:
            return _command_set.read_command_field_and_type(data)
        tag = <uint32_t>us(header) << 16 | us(header + 2)
        size = ul(header + 4)
        value = take(&cursor, size)
        if value == NULL:
            return _command_set.read_command_field_and_type(data)
        if tag == 0x0100 or tag == 0x0800:
            if size != 2:
                return _command_set.read_command_field_and_type(data)
            if tag == 0x0100:
                field = us(value)
            else:
                data_set_type = us(value)
    if field < 0 or data_set_type < 0:
        return _command_set.read_command_field_and_type(data)
    return field, data_set_type


# The elements between the two UIDs, with values to be filled in from byte 18 on.
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


cdef inline unsigned char* _put_uid(
    unsigned char* at, uint32_t tag, object uid, bint is_checked
) noexcept:
    """Write a UID, or nothing for None; return NULL if it is not conformant."""
    cdef Py_ssize_t length
    cdef const unsigned char* text
    if uid is None:
        return at
    if not is_checked and not (PyUnicode_Check(uid) and PyUnicode_IS_ASCII(uid)):
        return NULL
    length = PyUnicode_GET_LENGTH(uid)
    text = PyUnicode_1BYTE_DATA(uid)
    if not is_checked and not _is_conformant_uid(text, length):
        return NULL
    at = put_header(at, tag, <uint32_t>(length + (length & 1)))
    memcpy(at, text, <size_t>length)
    at += length
    if length & 1:
        at[0] = 0
        at += 1
    return at


cdef inline long _us_or_minus_1(object value) except -2:
    """Return the int if it is in the range of US, else -1."""
    cdef int overflow = 0
    cdef long number
    if not PyLong_Check(value):
        return -1
    number = PyLong_AsLongAndOverflow(value, &overflow)
    return number if overflow == 0 and 0 <= number <= MAX_US else -1


cdef inline unsigned char* _put_response(
    unsigned char* at, long message_id, long data_set_type, long status,
    object sop_class, bint is_class_checked, object instance, bint is_instance_checked,
) noexcept:
    """Write an N-SET-RSP's elements after the group length; NULL if a UID is not conformant."""
    at = _put_uid(at, 0x0002, sop_class, is_class_checked)
    if at == NULL:
        return NULL
    memcpy(at, RSP_MIDDLE, RSP_MIDDLE_SIZE)
    fill_us(at + 18, message_id)
    fill_us(at + 28, data_set_type)
    fill_us(at + 38, status)
    return _put_uid(at + RSP_MIDDLE_SIZE, 0x1000, instance, is_instance_checked)


cdef bytes _encode_canonical(Primitive primitive, bint has_data_set):
    """Encode a canonical command set; return None for the slow path."""
    cdef unsigned char buffer[MAX_COMMAND_SET]
    cdef unsigned char* at = buffer + GROUP_LENGTH_SIZE
    cdef long data_set_type = 0x0001 if has_data_set else NO_DATA_SET
    cdef long message_id, status
    cdef uint16_t conformant = primitive._conformant
    if primitive._message_id_being_responded_to is None:
        message_id = _us_or_minus_1(primitive._message_id)
        if message_id < 0:
            return None
        at = _put_uid(
            at, 0x0003, primitive._requested_sop_class_uid, conformant & 1 << REQUESTED_CLASS
        )
        if at == NULL:
            return None
        memcpy(at, RQ_MIDDLE, RQ_MIDDLE_SIZE)
        fill_us(at + 18, message_id)
        fill_us(at + 28, data_set_type)
        at += RQ_MIDDLE_SIZE
        at = _put_uid(
            at, 0x1001, primitive._requested_sop_instance_uid, conformant & 1 << REQUESTED_INSTANCE
        )
    else:
        message_id = _us_or_minus_1(primitive._message_id_being_responded_to)
        status = _us_or_minus_1(primitive._status)
        if (
            message_id < 0
            or status < 0
            or primitive._absent & STATUS_OPTIONAL
            or primitive._error_comment is not None
            or primitive._error_id is not None
            or primitive._attribute_identifier_list is not None
            or primitive._offending_element is not None
        ):
            return None
        at = _put_response(
            at, message_id, data_set_type, status,
            primitive._affected_sop_class_uid, conformant & 1 << AFFECTED_CLASS,
            primitive._affected_sop_instance_uid, conformant & 1 << AFFECTED_INSTANCE,
        )
    if at == NULL:
        return None
    put_group_length(buffer, <size_t>(at - buffer))
    return PyBytes_FromStringAndSize(<const char*>buffer, at - buffer)


cdef object _text(Span* span):
    cdef object text = PyUnicode_New(<Py_ssize_t>span.length, 127)
    memcpy(PyUnicode_1BYTE_DATA(text), span.text, span.length)
    return text


cdef int _fill(Primitive primitive, Command* command) except -1:
    """Set the decoded fields of a new primitive, which no other thread has yet."""
    primitive._lazy |= 1 << LIST
    if command.command_field == N_SET_RQ:
        primitive._message_id = command.message_id
        if command.known_sop_class >= 0:
            primitive._requested_sop_class_uid = _sop_classes[command.known_sop_class]
            primitive._conformant |= 1 << REQUESTED_CLASS
        else:
            primitive._requested_sop_class_uid = _text(&command.sop_class)
            primitive._mark(1 << REQUESTED_CLASS, True)
        primitive._requested_sop_instance_uid = _text(&command.instance)
        primitive._mark(1 << REQUESTED_INSTANCE, True)
        return 0
    primitive._message_id_being_responded_to = command.message_id
    primitive._status = command.status
    if command.has & HAS_AFFECTED_CLASS:
        if command.known_sop_class >= 0:
            primitive._affected_sop_class_uid = _sop_classes[command.known_sop_class]
            primitive._conformant |= 1 << AFFECTED_CLASS
        else:
            primitive._affected_sop_class_uid = _text(&command.sop_class)
            primitive._mark(1 << AFFECTED_CLASS, True)
    if command.has & HAS_AFFECTED_INSTANCE:
        primitive._affected_sop_instance_uid = _text(&command.instance)
        primitive._mark(1 << AFFECTED_INSTANCE, True)
    return 0


# -- The registered class -------------------------------------------------------------------------

cdef object _registered_class = None
cdef Class* _registered = NULL
cdef Py_ssize_t _registered_size = 0


def register_class(cls):
    """See ``_pure.register_class``."""
    global _registered, _registered_class, _registered_size
    _registered_class = cls
    _registered = <Class*><PyObject*>cls
    _registered_size = PyDict_GET_SIZE(_registered.tp_dict)


cdef inline bint _is_unpatched(Class* cls) noexcept:
    """Return whether this is the registered class, and nothing was added to its namespace."""
    return cls == _registered and PyDict_GET_SIZE(cls.tp_dict) == _registered_size


cdef Primitive _new(object cls):
    """Return a new instance; of the registered class without a Python call."""
    cdef Primitive primitive
    cdef tuple nothing = ()
    if not _is_unpatched(<Class*><PyObject*>cls):
        return cls()
    primitive = _registered.tp_new(_registered, <PyObject*>nothing, NULL)
    primitive._absent = NOT_SET_BY_INIT
    return primitive


# -- Fields ---------------------------------------------------------------------------------------

cdef extern from *:
    """
    /* The fields of a Primitive as an array. */
    #define nset_slots(primitive) (&(primitive)->_affected_sop_class_uid)
    #define nset_number_of_slots(primitive) (&(primitive)->_status - nset_slots(primitive) + 1)
    #define nset_get(primitive, slot) Py_NewRef(nset_slots(primitive)[slot])
    #define nset_put(primitive, slot, value) \
        Py_XSETREF(nset_slots(primitive)[slot], Py_NewRef(value))
    """
    Py_ssize_t _number_of_slots "nset_number_of_slots"(Primitive primitive) noexcept
    object _get_slot "nset_get"(Primitive primitive, unsigned int slot)
    void _put_slot "nset_put"(Primitive primitive, unsigned int slot, object value) noexcept


cdef enum Kind:
    US  # a Message ID or a Status
    UI  # a UID
    DATA_SET  # the list, under one of its names
    DATA_SET_VARIANT  # the list, set as a tuple of the list and the name for an error
    ANY  # any value; may be deleted


cdef class _Field:
    """A field of `Primitive`: the descriptor of a slot.

    Parameters
    ----------
    kind : int
        A `Kind`: how values are checked.
    slot : int
        Where the value is kept.
    keyword : str
        The name of the attribute.
    doc : str
        What `help` shows.
    default : object, optional
        The value of the class, and of an instance without one of its own.
    """

    cdef readonly object __doc__
    cdef object _default
    cdef str _keyword
    cdef str _name  # the element's, for error texts
    cdef int _kind
    cdef unsigned int _slot
    cdef uint16_t _bit

    def __init__(self, int kind, unsigned int slot, str keyword not None, doc, default=None):
        if slot >= SLOTS:
            raise ValueError("no slot of a Primitive")
        self._kind, self._slot, self._bit = kind, slot, <uint16_t>(1 << slot)
        self._keyword, self.__doc__, self._default = keyword, doc, default
        self._name = _rules.ELEMENT_NAMES.get(keyword.lstrip("_"))

    def __get__(self, instance, owner):
        if instance is None:
            return self if self._default is None else self._default
        cdef Primitive primitive = <Primitive?>instance
        with cython.critical_section(primitive):
            if primitive._lazy & self._bit:
                primitive._make(self._slot)
            if not primitive._absent & self._bit or self._slot == CONTEXT_ID:
                return _get_slot(primitive, self._slot)
        if self._default is not None:
            return self._default
        raise _rules.no_attribute(instance, self._keyword)

    def __set__(self, instance, value):
        cdef Primitive primitive = <Primitive?>instance
        cdef bint is_conformant = False
        cdef object stream
        if self._kind == US:
            _check_us(value, self._name)
        elif self._kind == UI:
            value = _check_uid(value, self._name, &is_conformant)
        elif self._kind == DATA_SET:
            if value is not None and not isinstance(value, _BytesIO):
                raise _rules.list_type(self._keyword)
        elif self._kind == DATA_SET_VARIANT:
            stream = value[0]
            if stream is not None and not isinstance(stream, _BytesIO):
                raise _rules.list_type(value[1])
            value = stream
        self.put(primitive, value, is_conformant)

    def __delete__(self, instance):
        cdef Primitive primitive = <Primitive?>instance
        if self._kind != ANY:
            raise _rules.no_deleter(instance, self._keyword)
        with cython.critical_section(primitive):
            if not primitive._absent & self._bit:
                _put_slot(primitive, self._slot, None)
                primitive._absent |= self._bit
                return
        raise _rules.no_attribute_to_delete(instance, self._keyword)

    cdef inline int put(
        self, Primitive primitive, object value, bint is_conformant
    ) except -1:
        """Set a value unchecked, and whether it is conformant text that is not a UID yet."""
        with cython.critical_section(primitive):
            _put_slot(primitive, self._slot, value)
            primitive._absent &= ~self._bit
            primitive._mark(self._bit, is_conformant)
        return 0


cdef class _Computed:
    """A property without a setter, with error texts as the running Python words them."""

    cdef readonly object __doc__
    cdef str _name
    cdef object (*_compute)(Primitive primitive)

    def __get__(self, instance, owner):
        # NULL where it was made by Python code, which only _computed() is to do.
        if instance is None or self._compute == NULL:
            return self
        return self._compute(<Primitive?>instance)

    def __set__(self, instance, value):
        raise _rules.no_setter(instance, self._name)

    def __delete__(self, instance):
        raise _rules.no_deleter(instance, self._name)


cdef _Computed _computed(object (*compute)(Primitive primitive), str name, str doc):
    cdef _Computed made = _Computed()
    made._compute, made._name, made.__doc__ = compute, name, doc
    return made


cdef object _is_valid_request(Primitive primitive):
    if not (primitive._absent & 1 << OWN_REQUEST_KEYWORDS and _is_unpatched(Py_TYPE(primitive))):
        return _are_set(primitive, primitive.REQUEST_KEYWORDS)
    with cython.critical_section(primitive):
        return (
            primitive._message_id is not None
            and primitive._requested_sop_class_uid is not None
            and primitive._requested_sop_instance_uid is not None
            and (primitive._dataset is not None or primitive._lazy & 1 << LIST != 0)
        )


cdef object _is_valid_response(Primitive primitive):
    if not (primitive._absent & 1 << OWN_RESPONSE_KEYWORDS and _is_unpatched(Py_TYPE(primitive))):
        return _are_set(primitive, primitive.RESPONSE_KEYWORDS)
    with cython.critical_section(primitive):
        return (
            primitive._message_id_being_responded_to is not None and primitive._status is not None
        )


cdef bint _are_set(object primitive, object keywords) except -1:
    for keyword in keywords:
        if getattr(primitive, keyword) is None:
            return False
    return True


cdef object _msg_type(Primitive primitive):
    return primitive.__class__.__name__.replace("_", "-")


cdef object _stream_of(bytes content):
    """Return the list of a decoded message."""
    cdef object stream
    if content is None:
        return _BytesIO()
    stream = _BytesIO(content)
    stream.seek(0, 2)  # as after writing the fragments into it
    return stream


cdef class Primitive:
    """The fields of an N-SET request or response; the base class of ``nset.N_SET``.

    Instances are safe to share between threads: each attribute is read and written atomically.
    """

    STATUS_OPTIONAL_KEYWORDS = _rules.STATUS_OPTIONAL_KEYWORDS

    _dataset_path = None
    _dataset_file = None

    MessageID = _Field(
        US, MESSAGE_ID, "MessageID", "Message ID (0000,0110): int in 0..65535, or None."
    )
    MessageIDBeingRespondedTo = _Field(
        US, RESPONDED_TO, "MessageIDBeingRespondedTo",
        "Message ID Being Responded To (0000,0120): int in 0..65535, or None.",
    )
    Status = _Field(US, STATUS, "Status", "Status (0000,0900): int in 0..65535, or None.")
    AffectedSOPClassUID = _Field(
        UI, AFFECTED_CLASS, "AffectedSOPClassUID",
        "Affected SOP Class UID (0000,0002): UID of at most 64 characters, or None.",
    )
    AffectedSOPInstanceUID = _Field(
        UI, AFFECTED_INSTANCE, "AffectedSOPInstanceUID",
        "Affected SOP Instance UID (0000,1000): UID of at most 64 characters, or None.",
    )
    RequestedSOPClassUID = _Field(
        UI, REQUESTED_CLASS, "RequestedSOPClassUID",
        "Requested SOP Class UID (0000,0003): UID of at most 64 characters, or None.",
    )
    RequestedSOPInstanceUID = _Field(
        UI, REQUESTED_INSTANCE, "RequestedSOPInstanceUID",
        "Requested SOP Instance UID (0000,1001): UID of at most 64 characters, or None.",
    )
    _AffectedSOPInstanceUID = _Field(
        UI, AFFECTED_INSTANCE, "_AffectedSOPInstanceUID",
        "pynetdicom's other name of `AffectedSOPInstanceUID`.",
    )
    _RequestedSOPClassUID = _Field(
        UI, REQUESTED_CLASS, "_RequestedSOPClassUID",
        "pynetdicom's other name of `RequestedSOPClassUID`.",
    )
    _RequestedSOPInstanceUID = _Field(
        UI, REQUESTED_INSTANCE, "_RequestedSOPInstanceUID",
        "pynetdicom's other name of `RequestedSOPInstanceUID`.",
    )
    AttributeList = _Field(
        DATA_SET, LIST, "AttributeList",
        "Encoded Attribute List of a response: BytesIO or None; one with ModificationList.",
    )
    ModificationList = _Field(
        DATA_SET, LIST, "ModificationList",
        "Encoded Modification List of a request: BytesIO or None; one with AttributeList.",
    )
    _dataset_variant = _Field(
        DATA_SET_VARIANT, LIST, "_dataset_variant",
        "The one list under both its names; set as a tuple of the list and the name.",
    )
    ErrorComment = _Field(
        ANY, ERROR_COMMENT, "ErrorComment",
        "Error Comment (0000,0902): any value; checked when it is sent.",
    )
    ErrorID = _Field(
        ANY, ERROR_ID, "ErrorID", "Error ID (0000,0903): any value; checked when it is sent."
    )
    AttributeIdentifierList = _Field(
        ANY, ATTRIBUTE_IDENTIFIER_LIST, "AttributeIdentifierList",
        "Attribute Identifier List (0000,1005): any value; checked when it is sent.",
    )
    OffendingElement = _Field(
        ANY, OFFENDING_ELEMENT, "OffendingElement",
        "Offending Element (0000,0901): any value; checked when it is sent.",
    )
    _context_id = _Field(
        ANY, CONTEXT_ID, "_context_id",
        "ID of the presentation context (PS3.8 Section 9.3.2.2) that the message came in.",
    )
    REQUEST_KEYWORDS = _Field(
        ANY, OWN_REQUEST_KEYWORDS, "REQUEST_KEYWORDS",
        "What an N-SET-RQ must have (PS3.7 Table 10.1-3): keywords.",
        _rules.REQUEST_KEYWORDS,
    )
    RESPONSE_KEYWORDS = _Field(
        ANY, OWN_RESPONSE_KEYWORDS, "RESPONSE_KEYWORDS",
        "What an N-SET-RSP must have (PS3.7 Table 10.1-3): keywords.",
        _rules.RESPONSE_KEYWORDS,
    )
    is_valid_request = _computed(
        _is_valid_request,
        "is_valid_request",
        "Whether all of ``REQUEST_KEYWORDS`` are set (PS3.7 Table 10.1-3).",
    )
    is_valid_response = _computed(
        _is_valid_response,
        "is_valid_response",
        "Whether all of ``RESPONSE_KEYWORDS`` are set (PS3.7 Table 10.1-3).",
    )
    msg_type = _computed(
        _msg_type, "msg_type", "The name of the class with hyphens: ``\"N-SET\"``."
    )

    # In the order of the slots.
    cdef object _affected_sop_class_uid
    cdef object _affected_sop_instance_uid
    cdef object _requested_sop_class_uid
    cdef object _requested_sop_instance_uid
    cdef object _dataset
    cdef object _error_comment
    cdef object _error_id
    cdef object _attribute_identifier_list
    cdef object _offending_element
    cdef object _context
    cdef object _own_request_keywords
    cdef object _own_response_keywords
    cdef object _message_id
    cdef object _message_id_being_responded_to
    cdef object _status
    # UIDs that are still text, and a list that is still None or the received bytes.
    cdef uint16_t _lazy
    # UIDs that are known to be conformant, and are not scanned again on encode.
    cdef uint16_t _conformant
    # Plain attributes that were deleted, or not set by __init__ yet.
    cdef uint16_t _absent

    def __cinit__(self):
        self._absent = STATUS_OPTIONAL | NOT_SET_BY_INIT

    def __init__(self, *args):
        if args:
            raise _rules.takes_no_arguments(len(args))
        if not _is_unpatched(Py_TYPE(self)):
            for keyword in _rules.INIT_KEYWORDS:
                setattr(self, keyword, None)
            return
        with cython.critical_section(self):
            self._dataset = None
            self._lazy &= ~(1 << LIST)
            self._error_comment = None
            self._error_id = None
            self._attribute_identifier_list = None
            self._offending_element = None
            self._absent &= NOT_SET_BY_INIT

    cdef inline void _mark(self, uint16_t uid, bint is_conformant) noexcept:
        """Record whether a UID that was set is conformant text without a UID object."""
        if is_conformant:
            self._lazy |= uid
            self._conformant |= uid
        else:
            self._lazy &= ~uid
            self._conformant &= ~uid

    cdef int _make(self, unsigned int slot) except -1:
        """Create the object of a lazy field; in a critical section."""
        cdef object content, made
        while self._lazy & 1 << slot:
            content = _get_slot(self, slot)
            made = _stream_of(content) if slot == LIST else _new_uid(content)
            # That may have run the garbage collector, and so any code.
            if self._lazy & 1 << slot and _get_slot(self, slot) is content:
                _put_slot(self, slot, made)
                self._lazy &= <uint16_t>~(1 << slot)
        return 0

    def to_command_set(self):
        """Encode the command set (PS3.7 Section 10.3.3), Implicit VR Little Endian.

        Returns
        -------
        bytes
            That of an N-SET-RSP if `MessageIDBeingRespondedTo` is set, else that of an N-SET-RQ.

        Raises
        ------
        ValueError
            If a value cannot be encoded; names the element.
        TypeError
            If a value is of a type that cannot be encoded; names the element.
        """
        cdef bytes encoded = None
        cdef object stream
        if _is_unpatched(Py_TYPE(self)):
            with cython.critical_section(self):
                if self._lazy & 1 << LIST:
                    self._make(LIST)
                stream = self._dataset
            # Without a list pynetdicom may send a file: the slow path handles that.
            if stream is not None or not self._dataset_path:
                has_data_set = stream is not None and len(stream.getvalue()) > 0
                with cython.critical_section(self):
                    encoded = _encode_canonical(self, has_data_set)
        return _command_set.encode(self) if encoded is None else encoded

    @classmethod
    def from_command_set(cls, data, *, bint strict=False):
        """Decode the command set of an N-SET-RQ or N-SET-RSP (PS3.7 Section 10.3.3).

        Parameters
        ----------
        data : bytes-like
            The command set, Implicit VR Little Endian. A violation that does not prevent decoding
            is accepted, with a WARNING record of the logger ``nset``.
        strict : bool
            Accept only what PS3.7 Sections 6.3.1 and 10.3.3 allow.

        Returns
        -------
        N_SET
            With an empty `BytesIO` as its list. In a request, an absent Requested UID gets the
            value of the Affected one.

        Raises
        ------
        CommandSetError
            If the bytes are not such a command set.
        TypeError
            If `data` is not bytes-like.
        """
        cdef Command command
        cdef Primitive primitive
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if not (
            _decode_canonical(
                <const unsigned char*>PyBytes_AS_STRING(data),
                <size_t>PyBytes_GET_SIZE(data),
                &command,
            )
            and default_validator_is_in_force()
        ):
            fields = _command_set.decode(data, strict)
            primitive = _new(cls)
            Primitive.__setstate__(primitive, fields)
            primitive._lazy |= 1 << LIST
            return primitive
        primitive = _new(cls)
        _fill(primitive, &command)
        return primitive

    def __getstate__(self):
        state = self.__dict__.copy()  # atomic: other threads may set and delete
        for keyword, field in _fields.items():
            try:
                value = field.__get__(self)
            except AttributeError:
                continue  # deleted, and so it is in the copy
            if value is not (<_Field>field)._default or keyword in _rules.STATUS_OPTIONAL_KEYWORDS:
                state[keyword] = value
        return state

    def __setstate__(self, state):
        for name, value in state.items():
            # A pickle of pynetdicom's class, loaded while nset is installed, has these names.
            field = _fields.get(_rules.KEYWORDS.get(name, name))
            if field is None:
                setattr(self, name, value)
            else:
                (<_Field>field).put(self, value, False)


assert _number_of_slots(Primitive()) == SLOTS

# The fields themselves, for a state that does not depend on overrides in a subclass.
cdef dict _fields = {
    keyword: vars(Primitive)[keyword]
    for keyword in (*_rules.STATE_KEYWORDS, "REQUEST_KEYWORDS", "RESPONSE_KEYWORDS")
}
