# cython: language_level=3, freethreading_compatible=True, embedsignature=False
# cython: binding=True, auto_pickle=False, autotestdict=False
# cython: warn.unused=True, warn.maybe_uninitialized=True
"""Conformant data sets in Implicit and Explicit VR Little Endian, with the results of pydicom.

Everything else is left to pydicom: `decode` and `encode` then return None, and an element stays a
`RawDataElement`, which pydicom converts when it is read.
"""

import sys

from pydicom import charset, config, datadict, dataelem, hooks as _hooks, multival, tag as _tags
from pydicom import sequence, uid, valuerep
from pydicom.dataset import Dataset as _PydicomDataset, FileDataset

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Keys, PyDict_Size
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject, PyObject_GenericGetAttr, PyObject_GenericSetAttr
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from nset._dict cimport get as _get
from nset.dataset._cursor cimport Cursor, Header, is_upper, next_header, read_u16
from nset.dataset._vr cimport (
    AE, AS, AT, CS, DA, DS, DT, FD, FL, IS, LO, LT, PN, SH, SL, SQ, SS, ST, SV, TM,
    UC, UI, UL, UR, UN, US, UT, UV, bytes_of_length, is_bytes, is_number, is_text, is_uid, stripped,
)
from nset.dataset import _agreement, _bounds

cdef extern from "Python.h":
    ctypedef struct Type "PyTypeObject":
        object (*tp_new)(Type* cls, PyObject* args, PyObject* keywords)
        object (*tp_alloc)(Type* cls, Py_ssize_t count)

    object PyUnicode_DecodeLatin1(const char* text, Py_ssize_t size, const char* errors)
    object PyUnicode_DecodeUTF8(const char* text, Py_ssize_t size, const char* errors)
    bint PyUnicode_Check(object value)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    uint32_t PyUnicode_READ_CHAR(object text, Py_ssize_t index)
    int PyUnicode_KIND(object text)
    const char* PyUnicode_1BYTE_DATA "(const char *)PyUnicode_1BYTE_DATA"(object text)
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    long PyLong_AsLongAndOverflow(object number, int* overflow) except? -1
    void PyObject_GC_UnTrack(object thing)
    void PyTuple_SET_ITEM(object where, Py_ssize_t index, object value)

cdef extern from *:
    """
    /* What one thread writes, another one reads with all that it refers to. */
    #ifdef Py_GIL_DISABLED
    #define NSET_LOAD(at) ((PyObject *)_Py_atomic_load_ptr_acquire(at))
    #define NSET_STORE(at, value) _Py_atomic_store_ptr_release(at, value)
    #else  /* the GIL sees to it */
    #define NSET_LOAD(at) (*(at))
    #define NSET_STORE(at, value) (*(at) = (value))
    #endif
    """
    PyObject* _load "NSET_LOAD"(PyObject** at) noexcept nogil
    void _keep "NSET_STORE"(PyObject** at, PyObject* value) noexcept nogil

cdef enum:
    DEPTH = 64
    ELEMENTS = 1_000_000
    SLOTS = 1 << 14  # of the table of tags, a third of them taken

cdef uint32_t UNDEFINED = 0xFFFFFFFFU
cdef uint32_t ITEM = 0xFFFEE000U
cdef uint32_t ITEM_END = 0xFFFEE00DU
cdef uint32_t SEQUENCE_END = 0xFFFEE0DDU
cdef uint32_t CHARACTER_SET = 0x00080005
cdef uint32_t PIXEL_REPRESENTATION = 0x00280103

assert (DEPTH, ELEMENTS) == (_bounds.MAX_DEPTH, _bounds.MAX_ELEMENTS)


cdef inline Cursor _at_begin(bytes data) noexcept:
    return Cursor(<const uint8_t*>PyBytes_AS_STRING(data), 0, <size_t>PyBytes_GET_SIZE(data))

cdef inline int _index(int vr) noexcept nogil:
    """Return where a VR, two capitals, stands in the table of them."""
    return ((vr >> 8) - 65) * 26 + (vr & 0xFF) - 65


# ---- What is ordinary ----

cdef struct Slot:
    uint32_t tag
    int vr  # in pydicom's dictionary; 0 where there is none
    PyObject* number  # the dictionary's key
    PyObject* made  # the BaseTag, once it has been needed: one object stands for each

cdef Slot _slots[SLOTS]
cdef Py_ssize_t _entries = len(datadict.DicomDictionary)
cdef tuple _numbers = tuple(datadict.DicomDictionary)  # which the slots refer to
assert _entries < SLOTS // 2

cdef inline int _code(object vr):
    """Give a VR as a header has it; 1 where there is no such VR, as of "US or SS"."""
    if not PyUnicode_Check(vr) or PyUnicode_GET_LENGTH(vr) != 2:
        return 1
    return PyUnicode_READ_CHAR(vr, 0) << 8 | PyUnicode_READ_CHAR(vr, 1)

cdef inline Slot* _slot(uint32_t tag) noexcept nogil:
    cdef uint32_t i = (tag * <uint32_t>0x9E3779B1) >> 18
    while _slots[i].vr and _slots[i].tag != tag:
        i = (i + 1) & (SLOTS - 1)
    return &_slots[i]

for _number_key in _numbers:
    _slot(_number_key)[0] = Slot(
        _number_key, _code(datadict.DicomDictionary[_number_key][0]), <PyObject*>_number_key, NULL
    )

cdef struct Frame:
    size_t end
    bint is_undefined
    bint has_items

cdef bint _is_ordinary(Cursor cursor, bint implicit, bint has_items) noexcept nogil:
    """Whether all is as the standard has it, and within bounds; as pydicom then reads it, too."""
    cdef Frame frames[2 * DEPTH + 2]
    cdef Frame* frame = frames
    cdef Header header
    cdef size_t elements = 0
    cdef int depth = 0
    cdef int vr
    frame[0] = Frame(cursor.end, False, has_items)
    while True:
        if cursor.at == frame.end and not frame.is_undefined:
            if depth == 0:
                return True
            depth -= 1
            frame -= 1
            continue
        cursor.end = frame.end
        if not next_header(&cursor, implicit, &header):
            return False
        if header.tag == (SEQUENCE_END if frame.has_items else ITEM_END):
            if not frame.is_undefined or header.length:
                return False
            depth -= 1
            frame -= 1
            continue
        if frame.has_items:
            if header.tag != ITEM:
                return False
        else:
            elements += 1
            vr = header.vr if header.vr else _slot(header.tag).vr
            if header.tag >> 16 == 0xFFFE:
                return False
            if vr != SQ or header.length == 0:
                if header.length == UNDEFINED:
                    return False
                if (implicit and (header.tag & 0x10000 or vr == 0)) or vr == UN:
                    # pydicom may find a sequence here: as deep and long as there is room for
                    if depth // 2 + header.length // 16 >= DEPTH:
                        return False
                    elements += header.length // 8
                if elements > ELEMENTS:
                    return False
                cursor.at += header.length
                continue
            if depth >= 2 * DEPTH - 1:
                return False
        if elements > ELEMENTS:
            return False
        depth += 1
        frame += 1
        frame.has_items = not (frame - 1).has_items
        frame.is_undefined = header.length == UNDEFINED
        frame.end = (frame - 1).end if frame.is_undefined else cursor.at + header.length


# ---- pydicom's settings and classes ----

cdef dict _config = vars(config)
cdef dict _settings = vars(config.settings)
cdef dict _hooks_set = vars(_hooks.hooks)
cdef dict _dictionary = datadict.DicomDictionary
cdef dict _keywords = datadict.keyword_dict
cdef object _default_vr_hook = _hooks.raw_element_vr
cdef object _default_value_hook = _hooks.raw_element_value
cdef object _registered_uids = uid.UID_dictionary

cdef object _BaseTag = _tags.BaseTag
cdef object _RawDataElement = dataelem.RawDataElement
cdef object _DataElement = dataelem.DataElement
cdef object _Sequence = sequence.Sequence
cdef object _MultiValue = multival.MultiValue
cdef object _PersonName = valuerep.PersonName
cdef object _IS = valuerep.IS
cdef object _DSfloat = valuerep.DSfloat
cdef object _UID = uid.UID
cdef str _DEFAULT_ENCODING = charset.default_encoding

cdef inline object _new(object base, object cls, tuple args=()):
    """Call the ``__new__`` of a builtin type for a class that is based on it."""
    return (<Type*>base).tp_new(<Type*>cls, <PyObject*>args, NULL)

cdef inline int _set(object instance, str name, object value) except -1:
    return PyObject_GenericSetAttr(instance, name, value)

cdef bint _reads_by_default():
    """Return whether pydicom's settings for reading have their defaults.

    Settings for particular kinds of values are checked for each such value.
    """
    cdef object mode = _get(_settings, "_reading_validation_mode")
    return (
        (mode is _WARN or (mode is None and _is_off("enforce_valid_values")))
        and _get(_config, "data_element_callback") is None
        and _get(_hooks_set, "raw_element_vr") is _default_vr_hook
        and _get(_hooks_set, "raw_element_value") is _default_value_hook
        and PyDict_Size(_dictionary) == _entries
    )

cdef bint _makes_by_default():
    """Return whether those for data sets have their defaults, too."""
    return (
        _reads_by_default()
        and _is_off("use_none_as_empty_text_VR_value")
        and _is_off("debugging")
        and _is_off("_use_future")
    )

cdef inline bint _is_off(str setting):
    return _get(_config, setting) is False

cdef object _WARN = config.WARN


# ---- Data sets of raw elements ----

cdef dict _known_tags = {}  # which the slots refer to
cdef object _PIXEL_REPRESENTATION = _BaseTag(PIXEL_REPRESENTATION)
cdef list _vrs = [None] * (26 * 26)

for _vr in valuerep.STANDARD_VR:
    _vrs[_index(_code(_vr.value))] = _vr.value
    assert bytes_of_length(_code(_vr.value)) == (4 if _vr in valuerep.EXPLICIT_VR_LENGTH_32 else 2)

cdef object _tag(uint32_t number):
    cdef Slot* slot = _slot(number)
    cdef PyObject* made = _load(&slot.made)
    if made != NULL:
        return <object>made
    found = _new(int, _BaseTag, (number,))
    if slot.vr:
        found = _known_tags.setdefault(number, found)
        _keep(&slot.made, <PyObject*>found)
    return found

cdef inline void _put(object new, Py_ssize_t index, object field) noexcept:
    Py_INCREF(field)
    PyTuple_SET_ITEM(new, index, field)

cdef object _raw(object tag, object vr, object length, object value, object tell, bint implicit):
    cdef object raw = (<Type*>_RawDataElement).tp_alloc(<Type*>_RawDataElement, 9)
    _put(raw, 0, tag)
    _put(raw, 1, vr)
    _put(raw, 2, length)
    _put(raw, 3, value)
    _put(raw, 4, tell)
    _put(raw, 5, implicit)
    _put(raw, 6, True)
    _put(raw, 7, True)
    _put(raw, 8, False)
    PyObject_GC_UnTrack(raw)  # as CPython itself does with tuples that can be in no cycle
    return raw

cdef object _element(object tag, object vr, object value, object tell, bint is_undefined):
    cdef object element = _new(object, _DataElement)
    _set(element, "tag", tag)
    _set(element, "VR", vr)
    _set(element, "validation_mode", _WARN)
    _set(element, "_value", value)
    _set(element, "file_tell", tell)
    _set(element, "is_undefined_length", is_undefined)
    _set(element, "private_creator", None)
    return element

cdef dict _read_character_sets = {}

cdef list _encodings(bytes value):
    """Give Python's names for a Specific Character Set, if pydicom has nothing to say of it."""
    found = _get(_read_character_sets, value)
    if found is None:
        text = value.decode("iso8859").rstrip(" \0")
        names = text.split("\\")
        if not charset.python_encoding.keys() >= set(names) or (
            len(names) > 1 and not set(names).isdisjoint(charset.STAND_ALONE_ENCODINGS)
        ):
            return None
        found = charset.convert_encodings(names)
        if len(value) <= 64 and len(_read_character_sets) < 64:
            _read_character_sets[value] = found
    return list(found)

cdef object _data_set(
    bytes buffer, Cursor* cursor, bint is_undefined, bint implicit, object encoding
):
    """Make a data set of what the cursor is at; the bytes have been found to be ordinary."""
    cdef Header header
    cdef dict elements = {}
    cdef const uint8_t* p = cursor.data + cursor.at
    cdef object parent_encoding = encoding
    cdef object tag, vr, value, data_set
    if PyBytes_GET_SIZE(buffer) - <Py_ssize_t>cursor.at >= 6:  # pydicom looks behind an empty item
        implicit = implicit or not (is_upper(p[4]) and is_upper(p[5]))
    while is_undefined or cursor.at < cursor.end:
        if not next_header(cursor, implicit, &header):
            raise AssertionError("what is not ordinary was taken for it")
        if header.tag == ITEM_END:
            break
        tag = _tag(header.tag)
        vr = None
        if header.vr:
            vr = _vrs[_index(header.vr)]
        tell = <object>header.value
        if header.length == UNDEFINED:
            if vr is None:
                vr = _dictionary[header.tag][0]
            value = _sequence(buffer, cursor, True, implicit, encoding, 0)
            elements[tag] = _element(tag, vr, value, tell, True)
            continue
        if header.length == 0:
            value = b"" if header.vr == SQ or is_text(header.vr) else None
        else:
            value = PyBytes_FromStringAndSize(
                <const char*>cursor.data + header.value, header.length
            )
            cursor.at += header.length
        if header.tag == CHARACTER_SET:
            encoding = _encodings(value or b"") if header.vr == CS or header.vr == 0 else None
            if encoding is None:
                raise _NotOrdinary
        elements[tag] = _raw(tag, vr, header.length, value, tell, implicit)
    data_set = _new(object, Dataset)
    _set(data_set, "_parent_encoding", parent_encoding)
    _set(data_set, "_dict", elements)
    _set(data_set, "is_decompressed", False)
    _set(data_set, "_read_little", True)
    _set(data_set, "_read_implicit", implicit)
    _set(data_set, "_read_charset", encoding)
    _set(data_set, "_is_little_endian", None)
    _set(data_set, "_is_implicit_VR", None)
    _set(data_set, "is_undefined_length_sequence_item", is_undefined)
    _set(data_set, "_private_blocks", {})
    _set(data_set, "_pixel_array", None)
    _set(data_set, "_pixel_array_opts", {"use_pdh": False})
    _set(data_set, "_pixel_id", {})
    return data_set

cdef object _sequence(
    bytes buffer,
    Cursor* cursor,
    bint is_undefined,
    bint implicit,
    object encoding,
    Py_ssize_t offset,
):
    """Make a sequence of what the cursor is at; `offset` is added to where its items are."""
    cdef Header header
    cdef size_t end = cursor.end
    cdef list items = []
    cdef object item, found
    while is_undefined or cursor.at < end:
        tell = <object>(<Py_ssize_t>cursor.at + offset)
        if not next_header(cursor, implicit, &header):
            raise AssertionError("what is not ordinary was taken for it")
        if header.tag == SEQUENCE_END:
            break
        if header.length != UNDEFINED:
            cursor.end = cursor.at + header.length
        item = _data_set(buffer, cursor, header.length == UNDEFINED, implicit, encoding)
        cursor.end = end
        _set(item, "seq_item_tell", tell)
        _set(item, "file_tell", tell)
        items.append(item)
    found = _new(object, _Sequence)
    _set(found, "_list", items)
    _set(found, "is_undefined_length", is_undefined)
    return found


class _NotOrdinary(Exception):
    """What pydicom does instead."""


cdef bint _is_read_here(Cursor cursor, bint implicit):
    """Return whether a data set is read here; else pydicom is to read it."""
    if not is_usable or not _makes_by_default() or not _is_ordinary(cursor, implicit, False):
        return False
    return not (implicit and cursor.end and is_upper(cursor.data[4]) and is_upper(cursor.data[5]))


def decode(bytes data not None, bint implicit):
    """Return the data set; None where pydicom is to read it."""
    cdef Cursor cursor = _at_begin(data)
    if not _is_read_here(cursor, implicit):
        return None
    try:
        return _data_set(data, &cursor, False, implicit, _DEFAULT_ENCODING)
    except _NotOrdinary:
        return None


# ---- Elements as they are encoded ----

cdef bint _skip(Cursor* cursor, bint implicit, Header* header) noexcept nogil:
    """Go behind the next element; False where `encode` would write another header or no element.

    The bytes have been found to be ordinary, and `header` is that of the element before.
    """
    cdef uint32_t before = header.tag
    cdef size_t begin = cursor.at
    cdef int known
    if not next_header(cursor, implicit, header):
        return False
    known = _slot(header.tag).vr
    if header.tag <= before or header.tag < 0x00080000 or header.tag & 0xFFFF == 0:
        return False
    if header.tag >> 16 == 0xFFFE:
        return False
    if header.vr and known > 1 and known != header.vr:
        return False
    if header.value - begin == 12 and read_u16(cursor.data + begin + 6):
        return False
    if header.length == 0 and (header.vr == UN or (implicit and known <= 1)):
        return False  # it gets a VR by what is known of it
    if header.length == UNDEFINED:
        return _skip_items(cursor, implicit)
    cursor.at += header.length
    return True

cdef bint _skip_items(Cursor* cursor, bint implicit) noexcept nogil:
    """Go behind a sequence of undefined length; the same."""
    cdef Header item, header
    cdef size_t end = cursor.end
    item.tag = 0
    while next_header(cursor, implicit, &item) and item.tag == ITEM:
        if item.length != UNDEFINED:
            cursor.end = cursor.at + item.length
        header.tag = 0
        while item.length == UNDEFINED or cursor.at < cursor.end:
            if not _skip(cursor, implicit, &header):
                if header.tag == ITEM_END:
                    break
                return False
            if header.tag == CHARACTER_SET:
                return False
        cursor.end = end
    return item.tag == SEQUENCE_END

cdef bint _is_written_as_read(bytes character_set):
    """Return whether a Specific Character Set, which encoding reads, is known and padded well."""
    cdef bytes names = character_set.rstrip(b" \0")
    return (
        character_set == names + b" " * (len(names) & 1)
        and _encodings(character_set) is not None
    )


def split(bytes data not None, bint implicit):
    """Return the encoded elements by their tags, in their order.

    None where `encode`, of what `decode` makes of the bytes, might give others.
    """
    cdef Cursor cursor = _at_begin(data)
    cdef Header header
    cdef dict pieces = {}
    cdef size_t begin
    if not _is_read_here(cursor, implicit):
        return None
    header.tag = 0
    while cursor.at < cursor.end:
        begin = cursor.at
        if not _skip(&cursor, implicit, &header) or header.tag == PIXEL_REPRESENTATION:
            return None
        if header.length == UNDEFINED and cursor.at - header.value == 8:  # no items: no value
            return None
        if header.tag == CHARACTER_SET and not _is_written_as_read(data[header.value : cursor.at]):
            return None
        pieces[header.tag] = PyBytes_FromStringAndSize(
            <const char*>cursor.data + begin, cursor.at - begin
        )
    return pieces


# ---- Values ----

cdef dict _uids = {}  # of the registered ones, so that one object stands for each
cdef dict _read_uids = {}  # the same by the values that they were read from

cdef object _uid(const char* text, Py_ssize_t size):
    if not is_uid(text, size):
        return None
    cdef str name = PyUnicode_DecodeLatin1(text, size, NULL)
    if size < 14 or memcmp(text, b"1.2.840.10008.", 14) != 0:
        return _new(str, _UID, (name,))
    found = _get(_uids, name)
    if found is None:
        found = _new(str, _UID, (name,))
        if name in _registered_uids:
            _uids[name] = found
    return found

cdef object _number(const char* text, Py_ssize_t size, bint is_decimal):
    if not is_number(text, size, is_decimal):
        return None
    cdef str original = PyUnicode_DecodeLatin1(text, size, NULL)
    cdef object number
    number = _new(float, _DSfloat, (original,)) if is_decimal else _new(int, _IS, (original,))
    _set(number, "original_string", original)
    if is_decimal:
        _set(number, "auto_format", False)
    return number

cdef object _text(const char* text, Py_ssize_t size, object encodings):
    """Decode text; None if it has a code extension, or an unusual character set."""
    cdef object name = encodings[0] if type(encodings) is list else encodings
    if memchr(text, 0x1B, size) != NULL:
        return None
    if name == _DEFAULT_ENCODING or name == "latin_1":
        return PyUnicode_DecodeLatin1(text, size, NULL)
    if name == "UTF8":
        try:
            return PyUnicode_DecodeUTF8(text, size, NULL)
        except UnicodeDecodeError:
            return None
    return None

cdef inline object _without_padding(str value, const char* text, Py_ssize_t size):
    """Return a text that has been decoded from those bytes without what pads its end."""
    if size and (text[size - 1] == c' ' or text[size - 1] == 0):
        return value.rstrip("\0 ")
    return value

cdef object _name(const char* text, Py_ssize_t size, object encodings):
    cdef str name = _text(text, size, encodings)
    cdef object person
    if name is None or not 0 < len(name) <= 64 or memchr(text, c'=', size) != NULL:
        return None
    person = _new(object, _PersonName)
    _set(person, "_components", (name,))
    _set(person, "validation_mode", _WARN)
    _set(person, "original_string", PyBytes_FromStringAndSize(text, size))
    _set(person, "encodings", tuple(encodings) if type(encodings) is list else (encodings,))
    return person

cdef object _single(int vr, const char* text, Py_ssize_t size, object encodings):
    """Convert one of the values of a text; None where pydicom is to do it."""
    cdef str value
    if vr == UI:
        return _uid(text, size)
    if vr == IS:
        return _number(text, size, False) if _is_off("use_IS_numpy") else None
    if vr == DS:
        if _is_off("use_DS_numpy") and _is_off("use_DS_decimal"):
            return _number(text, size, True)
        return None
    if vr == DA or vr == TM or vr == DT:
        if not _is_off("datetime_conversion"):
            return None
        return PyUnicode_DecodeLatin1(text, size, NULL)
    if vr == CS or vr == AS:
        return PyUnicode_DecodeLatin1(text, size, NULL)
    if vr == PN:
        return _name(text, size, encodings)
    if vr == AE:
        while size and text[0] == c' ':
            text += 1
            size -= 1
        while size and text[size - 1] == c' ':
            size -= 1
        if size and not (0x20 < text[0] < 0x7F and 0x20 < text[size - 1] < 0x7F):
            return None
        return PyUnicode_DecodeLatin1(text, size, NULL)
    value = _text(text, size, encodings)  # LO, SH, UC: its blanks count for its length
    if value is None or (vr != UC and len(value) > (64 if vr == LO else 16)):
        return None
    return _without_padding(value, text, size)

cdef object _texts(int vr, const char* text, Py_ssize_t size, object encodings):
    """Convert a text of one or more values; None where pydicom is to do it."""
    cdef const char* end
    cdef Py_ssize_t length
    cdef object value, many, constructor
    if vr != LO and vr != SH and vr != UC and vr != AE:
        text = stripped(text, &size)
    end = <const char*>memchr(text, c'\\', size)
    if end == NULL:
        return _single(vr, text, size, encodings)
    if vr == PN:
        return None
    many = []
    while True:
        length = end - text if end != NULL else size
        value = _single(vr, text, length, encodings)
        if value is None:
            return None
        many.append(value)
        if end == NULL:
            break
        text += length + 1
        size -= length + 1
        end = <const char*>memchr(text, c'\\', size)
    value = _new(object, _MultiValue)
    constructor = _UID if vr == UI else _IS if vr == IS else _DSfloat if vr == DS else str
    _set(value, "_constructor", constructor)
    _set(value, "_list", many)
    return value

cdef object _one_number(int vr, const char* p):
    cdef uint16_t u16
    cdef uint32_t u32
    cdef uint64_t u64
    cdef float f32
    cdef double f64
    if vr == US or vr == SS:
        memcpy(&u16, p, 2)
        return <int16_t>u16 if vr == SS else u16
    if vr == UL or vr == SL:
        memcpy(&u32, p, 4)
        return <int32_t>u32 if vr == SL else u32
    if vr == UV or vr == SV:
        memcpy(&u64, p, 8)
        if vr == SV:
            return <int64_t>u64
        return u64
    if vr == FL:
        memcpy(&f32, p, 4)
        return <double>f32
    memcpy(&f64, p, 8)
    return f64

cdef object _value(int vr, bytes raw, object encodings):
    """Convert a value that is not empty and no sequence; None where pydicom is to do it."""
    cdef const char* text = PyBytes_AS_STRING(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw)
    cdef Py_ssize_t width
    cdef object found
    cdef str value
    if vr == LT or vr == ST or vr == UT:
        value = _text(text, size, encodings)
        if value is None or (vr != UT and len(value) > (10240 if vr == LT else 1024)):
            return None
        return _without_padding(value, text, size)
    if vr == UR:
        return None
    if vr == UI:
        if size < 14 or memcmp(text, b"1.2.840.10008.", 14) != 0:
            return _texts(vr, text, size, encodings)
        found = _get(_read_uids, raw)
        if found is None:
            found = _texts(vr, text, size, encodings)
            if type(found) is _UID and found in _uids and len(_read_uids) < 1024:
                _read_uids[raw] = found
        return found
    if vr == IS or vr == DS or is_text(vr):
        return _texts(vr, text, size, encodings)
    if is_bytes(vr):
        return raw
    if vr == AT:
        if size != 4:
            return None
        return _tag(read_u16(<const uint8_t*>text) << 16 | read_u16(<const uint8_t*>text + 2))
    if vr == US or vr == SS:
        width = 2
    elif vr == UL or vr == SL or vr == FL:
        width = 4
    elif vr == UV or vr == SV or vr == FD:
        width = 8
    else:
        return None
    if size % width:
        return None
    if size == width:
        return _one_number(vr, text)
    return [_one_number(vr, text + i) for i in range(0, size, width)]

cdef object _empty(int vr):
    if vr == SQ:
        found = _new(object, _Sequence)
        _set(found, "_list", [])
        return found
    if is_text(vr):
        return ""
    return None

cdef inline bint _is_lut_descriptor(uint32_t number) noexcept nogil:
    return number >> 2 == 0x00281100 >> 2 or number == 0x00283002

cdef object _convert(object data_set, dict elements, object tag, tuple raw):
    """Make the element of a raw one; None where pydicom is to do it."""
    cdef uint32_t number = tag
    cdef object vr = raw[1]
    cdef object entry, value, encodings
    cdef Cursor cursor
    cdef Slot* slot
    cdef long length
    cdef int code, overflow = 0
    if (
        number & 0x10000  # may be in a private block
        or number >> 16 == 0x7FE0  # pixels
        or _is_lut_descriptor(number)
        or raw[6] is not True
        or type(raw[2]) is not int
        or not _reads_by_default()
    ):
        return None
    if vr is None:
        slot = _slot(number)
        entry = None if slot.number == NULL else _get(_dictionary, <object>slot.number)
        if entry is None:
            return None
        vr = entry[0]
    code = _code(vr)
    length = PyLong_AsLongAndOverflow(raw[2], &overflow)
    if code == UN or bytes_of_length(code) == 0 or overflow:
        return None
    if length == 0:
        if code == PN or not _is_off("use_none_as_empty_text_VR_value"):
            return None
        return _element(tag, vr, _empty(code), raw[4], False)
    if type(raw[3]) is not bytes or type(raw[4]) is not int or length == UNDEFINED:
        return None
    encodings = PyObject_GenericGetAttr(data_set, "_read_charset")
    if not encodings:
        return None
    if code != SQ:
        if number == CHARACTER_SET:
            encodings = _DEFAULT_ENCODING
        value = _value(code, raw[3], encodings)
        return None if value is None else _element(tag, vr, value, raw[4], False)
    cursor = _at_begin(raw[3])
    if not _makes_by_default() or not _is_ordinary(cursor, raw[5], True):
        return None
    try:
        value = _sequence(
            raw[3], &cursor, False, raw[5],
            [encodings] if type(encodings) is str else encodings, raw[4],
        )
    except _NotOrdinary:
        return None
    return _element(tag, vr, value, raw[4], False)

cdef int _spread_pixel_representation(object data_set, dict elements, object element) except -1:
    """Set the Pixel Representation of items, as pydicom does for US or SS elements."""
    cdef object item
    if not (_PIXEL_REPRESENTATION in elements or "_pixel_rep" in data_set.__dict__):
        for item in PyObject_GenericGetAttr(PyObject_GenericGetAttr(element, "_value"), "_list"):
            if _PIXEL_REPRESENTATION in <dict>PyObject_GenericGetAttr(item, "_dict"):
                break
        else:
            return 0
    data_set._set_pixel_representation(element)
    return 0


# ---- The data set ----

cdef object _converted(object data_set, object tag):
    """Return the element, converted if it was raw; None if pydicom has to convert it."""
    cdef object elements = PyObject_GenericGetAttr(data_set, "_dict")
    cdef object element, now
    if type(elements) is not dict:
        return None
    element = _get(<dict>elements, tag)
    if type(element) is not _RawDataElement:
        return element
    element = _convert(data_set, <dict>elements, tag, <tuple>element)
    if element is None:
        return None
    with cython.critical_section(elements):  # another thread may have made it meanwhile
        now = _get(<dict>elements, tag)
        if type(now) is not _RawDataElement:
            return now
        (<dict>elements)[tag] = element
    if type(PyObject_GenericGetAttr(element, "_value")) is _Sequence:
        _spread_pixel_representation(data_set, <dict>elements, element)
    return element


@cython.final
@cython.freelist(8)
cdef class _Elements:
    """Iterates over the elements that a data set has when the first one is asked for.

    As pydicom's generator, it is over when reading an element has raised.
    """

    cdef object data_set  # None when it is over
    cdef list tags
    cdef Py_ssize_t at

    def __iter__(self):
        return self

    def __next__(self):
        cdef object data_set, element
        cdef object tag = None
        with cython.critical_section(self):
            data_set, self.data_set = self.data_set, None
            if self.tags is None and data_set is not None:
                self.tags = _sorted(PyObject_GenericGetAttr(data_set, "_dict"))
            if data_set is not None and self.at < len(self.tags):
                tag = self.tags[self.at]
                self.at += 1
        if tag is None:
            raise StopIteration
        element = _converted(data_set, tag)
        if element is None:
            element = _PydicomDataset.__getitem__(data_set, tag)
        with cython.critical_section(self):
            self.data_set = data_set
        return element


cdef object _items_of(object element):
    """Return what iterates over the items of a sequence."""
    cdef object value
    if type(element) is _DataElement:
        value = PyObject_GenericGetAttr(element, "_value")
        if type(value) is _Sequence:
            return PyObject_GenericGetAttr(value, "_list")
    return element.value


class Dataset(_PydicomDataset):
    """pydicom's `Dataset`, with elements that are made in C; copies and pickles are pydicom's."""

    def __getitem__(self, key):
        if type(key) is _BaseTag:
            element = _converted(self, key)
            if element is not None:
                return element
        return _PydicomDataset.__getitem__(self, key)

    def __getattr__(self, name):
        number = _get(_keywords, name)
        if number is not None:
            element = _converted(self, _tag(number))
            if type(element) is _DataElement:
                return PyObject_GenericGetAttr(element, "_value")
        return _PydicomDataset.__getattr__(self, name)

    def __iter__(self):
        cdef _Elements elements = _Elements.__new__(_Elements)
        elements.data_set = self
        return elements

    def iterall(self):
        for element in self:
            yield element
            if element.VR == "SQ":
                for item in _items_of(element):
                    yield from item.iterall()

    def __reduce_ex__(self, protocol):
        plain = _PydicomDataset.__new__(_PydicomDataset)
        plain.__dict__.update(self.__dict__)
        return plain.__reduce_ex__(0)  # the later protocols want the class of what is pickled


cdef list _sorted(object elements):
    """Return the tags in ascending order; most data sets have them so."""
    cdef list tags = PyDict_Keys(elements) if type(elements) is dict else list(elements)
    cdef uint32_t number, before = 0
    for tag in tags:
        number = tag
        if number < before:
            return sorted(tags, key=int)
        before = number
    return tags


# ---- Encoding ----

@cython.final
cdef class _Writer:
    """Bytes that grow."""

    cdef uint8_t* data
    cdef size_t size
    cdef size_t room
    cdef bint implicit
    cdef list names  # that remember what they are encoded as, once all has been written

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef uint8_t* more(self, size_t count) except NULL:
        """Return where the next bytes go."""
        cdef void* data
        if count > self.room - self.size:
            data = PyMem_Realloc(self.data, 2 * self.room + count + 1024)
            if data == NULL:
                raise MemoryError
            self.data = <uint8_t*>data
            self.room = 2 * self.room + count + 1024
        self.size += count
        return self.data + self.size - count

    cdef int put(self, const void* source, size_t count) except -1:
        if count:
            memcpy(self.more(count), source, count)
        return 0

    cdef int put_header(self, uint32_t tag, uint32_t length) except -1:
        _store(self.more(4), tag >> 16 | tag << 16)
        _store(self.more(4), length)
        return 0

cdef inline void _store(uint8_t* p, uint32_t value) noexcept nogil:
    p[0] = value & 0xFF
    p[1] = value >> 8 & 0xFF
    p[2] = value >> 16 & 0xFF
    p[3] = value >> 24


def encode(object data_set, bint implicit):
    """Return the bytes; None where pydicom is to write the data set."""
    cdef _Writer writer = _Writer()
    writer.implicit = implicit
    writer.names = []
    try:
        _write_data_set(writer, data_set, [_DEFAULT_ENCODING], 0, False)
    except Exception:  # then pydicom says what is wrong, if something is
        return None
    for name, original in writer.names:
        _set(name, "original_string", original)
    return PyBytes_FromStringAndSize(<const char*>writer.data, writer.size)


cdef int _write_data_set(
    _Writer writer, object data_set, list encodings, int depth, bint is_changed
) except -1:
    """Write a data set; it is changed where one that it is in has another encoding than before."""
    cdef dict elements
    cdef object element
    cdef uint32_t number
    if type(data_set) not in _WRITTEN or depth > DEPTH or not is_usable:
        raise _NotOrdinary
    elements = PyObject_GenericGetAttr(data_set, "_dict")
    is_changed = (
        is_changed
        or PyObject_GenericGetAttr(data_set, "_read_implicit") is not <bint>writer.implicit
        or PyObject_GenericGetAttr(data_set, "_read_little") is not True
    )
    element = _get(elements, _CHARACTER_SET)
    if element is not None:
        if is_changed and type(element) is _RawDataElement:
            raise _NotOrdinary
        value = data_set[_CHARACTER_SET].value or _DEFAULT_ENCODING
        encodings = [charset.python_encoding.get(value, value)]
        if encodings[0] != _DEFAULT_ENCODING and value not in charset.python_encoding:
            raise _NotOrdinary
        is_changed = is_changed or data_set._read_charset != data_set._character_set
    elif not is_changed:
        is_changed = PyObject_GenericGetAttr(data_set, "_read_charset") != (
            PyObject_GenericGetAttr(data_set, "_parent_encoding")
        )
    for tag in _sorted(elements):
        number = tag
        element = _get(elements, tag)
        if is_changed and type(element) is _RawDataElement:
            raise _NotOrdinary  # pydicom converts it first, and may have something to say
        if number & 0xFFFF == 0 and number >> 16 > 6:  # pydicom writes no group lengths
            if is_changed and element.VR != "UL":
                raise _NotOrdinary  # it may be a sequence, of which pydicom converts the items
            continue
        if type(element) is _RawDataElement:
            if (<tuple>element)[3] is not None:
                _write_raw(writer, number, <tuple>element)
                continue
            if type(_get(elements, _PIXEL_REPRESENTATION)) is _RawDataElement:
                raise _NotOrdinary  # pydicom reads it for a sequence, and may raise
            element = _converted(data_set, tag)
        if type(element) is not _DataElement:
            raise _NotOrdinary
        _write_element(writer, number, element, encodings, depth, is_changed)
    return 0

cdef size_t _open(_Writer writer, uint32_t number, int vr) except 0:
    """Write a header, the length of which is still to come; give where the value begins."""
    if writer.implicit:
        writer.put_header(number, 0)
        return writer.size
    if bytes_of_length(vr) == 0:
        raise _NotOrdinary
    writer.put_header(number, vr >> 8 | (vr & 0xFF) << 8)
    if bytes_of_length(vr) == 4:
        _store(writer.more(4), 0)
    return writer.size

cdef int _close(_Writer writer, size_t begin, int vr, bint is_undefined) except -1:
    """Fill in the length of what has been written since."""
    cdef size_t length = writer.size - begin
    if is_undefined:
        _store(writer.data + begin - 4, UNDEFINED)
        writer.put_header(SEQUENCE_END, 0)
    elif writer.implicit or bytes_of_length(vr) == 4:
        if length >= UNDEFINED:
            raise _NotOrdinary
        _store(writer.data + begin - 4, length)
    elif length > 0xFFFF:
        raise _NotOrdinary
    else:
        writer.data[begin - 2] = length & 0xFF
        writer.data[begin - 1] = length >> 8
    return 0

cdef int _write_raw(_Writer writer, uint32_t number, tuple raw) except -1:
    cdef int vr = _code(raw[1])
    cdef bytes value = raw[3]
    cdef size_t begin = _open(writer, number, vr)
    if raw[2] == UNDEFINED:
        raise _NotOrdinary
    writer.put(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    return _close(writer, begin, vr, False)

cdef int _write_element(
    _Writer writer, uint32_t number, object element, list encodings, int depth, bint is_changed
) except -1:
    cdef int vr = _code(PyObject_GenericGetAttr(element, "VR"))
    cdef object value = PyObject_GenericGetAttr(element, "_value")
    cdef bint is_undefined = PyObject_GenericGetAttr(element, "is_undefined_length")
    cdef size_t begin = _open(writer, number, vr)
    if bytes_of_length(vr) == 0 or (is_undefined and vr != SQ):
        raise _NotOrdinary
    if vr == SQ:
        _write_items(writer, value, encodings, depth + 1, is_changed)
    elif type(value) is _MultiValue or type(value) is list:
        if type(value) is _MultiValue:
            value = PyObject_GenericGetAttr(value, "_list")
        if _is_lut_descriptor(number):
            raise _NotOrdinary
        _write_values(writer, vr, <list>value, encodings)
    elif value is not None:
        _write_value(writer, vr, value, encodings)
    if (writer.size - begin) & 1 and vr != UN and vr != SQ:
        writer.more(1)[0] = c' ' if vr != UI and (is_text(vr) or vr == IS or vr == DS) else 0
    return _close(writer, begin, vr, is_undefined)

cdef int _write_items(
    _Writer writer, object value, list encodings, int depth, bint is_changed
) except -1:
    cdef size_t begin
    if type(value) is not _Sequence:
        raise _NotOrdinary
    for item in <list>PyObject_GenericGetAttr(value, "_list"):
        writer.put_header(ITEM, UNDEFINED)
        begin = writer.size
        _write_data_set(writer, item, encodings, depth, is_changed)
        if PyObject_GenericGetAttr(item, "is_undefined_length_sequence_item"):
            writer.put_header(ITEM_END, 0)
        elif writer.size - begin >= UNDEFINED:
            raise _NotOrdinary
        else:
            _store(writer.data + begin - 4, writer.size - begin)
    return 0

cdef int _write_values(_Writer writer, int vr, list values, list encodings) except -1:
    cdef bint is_first = True
    for value in values:
        if is_text(vr) or vr == IS or vr == DS:
            if not is_first:
                writer.more(1)[0] = c'\\'
            is_first = False
        elif is_bytes(vr) or vr == UN:
            raise _NotOrdinary
        _write_value(writer, vr, value, encodings)
    return 0

cdef int _write_value(_Writer writer, int vr, object value, list encodings) except -1:
    cdef uint64_t bits
    cdef int64_t signed
    cdef float f32
    cdef double f64
    if vr == PN:
        if type(value) is _PersonName:
            _write_name(writer, value, encodings)
            return 0
    elif vr == IS or vr == DS:
        if type(value) is _IS or type(value) is _DSfloat:
            original = getattr(value, "original_string", None)
            if original is None:
                original = str(int(value)) if type(value) is _IS else str(value)
            return _write_text(writer, original, _DEFAULT_ENCODING)
        if type(value) is str and not value:
            return 0
    elif is_text(vr):
        if type(value) is str or type(value) is _UID:
            name = encodings[0] if (
                vr == LO or vr == SH or vr == LT or vr == ST or vr == UT or vr == UC
            ) else _DEFAULT_ENCODING
            return _write_text(writer, value, name)
    elif type(value) is bytes:
        if is_bytes(vr) or vr == UN:
            return writer.put(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    elif vr == AT:
        if type(value) is int or type(value) is _BaseTag:
            bits = <uint32_t>value
            _store(writer.more(4), bits >> 16 | (bits & 0xFFFF) << 16)
            return 0
    elif vr == FD or vr == FL:
        if type(value) is float or type(value) is int:
            f64 = value
            f32 = <float>f64
            if vr == FD:
                return writer.put(&f64, 8)
            if <double>f32 - <double>f32 == 0 or f64 - f64 != 0:  # it is finite, or was not
                return writer.put(&f32, 4)
    elif type(value) is int:
        if vr == UV:
            bits = value
            return writer.put(&bits, 8)
        signed = value
        if vr == SV:
            return writer.put(&signed, 8)
        if (vr == UL and 0 <= signed <= 0xFFFFFFFF) or (
            vr == SL and -0x80000000 <= signed <= 0x7FFFFFFF
        ):
            return writer.put(&signed, 4)
        if (vr == US and 0 <= signed <= 0xFFFF) or (vr == SS and -0x8000 <= signed <= 0x7FFF):
            return writer.put(&signed, 2)
    elif type(value) is str and not value:
        return 0
    raise _NotOrdinary

cdef int _write_text(_Writer writer, object text, object encoding) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* encoded = _encoded(text, encoding, &size)
    return writer.put(encoded, size)

cdef const char* _encoded(object text, object encoding, Py_ssize_t* size) except NULL:
    """Encode a text in UTF-8 or Latin-1; raise where pydicom may have something to say."""
    if not PyUnicode_Check(text):
        raise _NotOrdinary
    if encoding == "UTF8":
        return PyUnicode_AsUTF8AndSize(text, size)
    if PyUnicode_KIND(text) != 1 or not (encoding == _DEFAULT_ENCODING or encoding == "latin_1"):
        raise _NotOrdinary
    size[0] = PyUnicode_GET_LENGTH(text)
    return PyUnicode_1BYTE_DATA(text)

cdef int _write_name(_Writer writer, object name, list encodings) except -1:
    cdef bytes original = PyObject_GenericGetAttr(name, "original_string")
    cdef object own = PyObject_GenericGetAttr(name, "encodings")
    cdef Py_ssize_t size = 0
    cdef bint is_other = not (own is None or own == tuple(encodings))
    if original is None and not name:
        return 0  # it is left as it is
    if is_other or original is None:
        for component in name.components:
            _encoded(component, encodings[0], &size)  # pydicom's warning is not to come twice
        if is_other:
            original = name.encode(encodings)
        else:
            original = valuerep._encode_personname(name.components, encodings)
            writer.names.append((name, original))
    return writer.put(PyBytes_AS_STRING(original), PyBytes_GET_SIZE(original))

cdef tuple _WRITTEN = (Dataset, _PydicomDataset, FileDataset)
cdef object _CHARACTER_SET = _BaseTag(0x00080005)


# ---- Whether this pydicom is as it was when this was written ----

is_usable = sys.byteorder == "little"
is_usable = is_usable and _agreement.agrees_with_pydicom(decode, encode)
