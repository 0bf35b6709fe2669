# The interface between the two extensions: all that nset.scp._core may use of nset._core, which
# alone knows the fields of a primitive.

from libc.stdint cimport uint16_t, uint32_t

cdef enum:
    MAX_UID_LENGTH = 64
    GROUP_LENGTH_SIZE = 12  # bytes of the element (0000,0000)
    # Bytes of a canonical command set: group length, two UIDs of 8 + 64, five US elements of 8 + 2.
    MAX_COMMAND_SET = GROUP_LENGTH_SIZE + 2 * (8 + MAX_UID_LENGTH) + 5 * (8 + 2)


cdef struct Cursor:
    const unsigned char* at
    size_t left


# Advances by a number of bytes; NULL if there are fewer. The one place that checks bounds.
cdef inline const unsigned char* take(Cursor* cursor, size_t count) noexcept nogil:
    cdef const unsigned char* at = cursor.at
    if count > cursor.left:
        return NULL
    cursor.at += count
    cursor.left -= count
    return at


cdef inline uint16_t us(const unsigned char* at) noexcept nogil:
    return <uint16_t>(at[0] | at[1] << 8)


cdef inline uint32_t ul(const unsigned char* at) noexcept nogil:
    return <uint32_t>at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24


cdef inline void fill_us(unsigned char* at, long value) noexcept nogil:
    at[0], at[1] = <unsigned char>value, <unsigned char>(value >> 8)


# Writes the header of an element, and returns where its value goes.
cdef inline unsigned char* put_header(
    unsigned char* at, uint32_t tag, uint32_t length
) noexcept nogil:
    at[0] = at[1] = 0
    at[2], at[3] = <unsigned char>tag, <unsigned char>(tag >> 8)
    at[4], at[5] = <unsigned char>length, <unsigned char>(length >> 8)
    at[6] = at[7] = 0  # no canonical value is longer than 64 bytes
    return at + 8


# Writes the Command Group Length (0000,0000) to the start of a command set of so many bytes.
cdef inline void put_group_length(unsigned char* at, size_t length) noexcept nogil:
    put_header(at, 0x0000, 4)
    length -= GROUP_LENGTH_SIZE
    at[8], at[9] = <unsigned char>length, <unsigned char>(length >> 8)
    at[10] = at[11] = 0


# The elements of a canonical command set, as bits.
cdef enum:
    HAS_AFFECTED_CLASS = 0x1
    HAS_REQUESTED_CLASS = 0x2
    HAS_COMMAND_FIELD = 0x4
    HAS_MESSAGE_ID = 0x8
    HAS_RESPONDED_TO = 0x10
    HAS_DATA_SET_TYPE = 0x20
    HAS_STATUS = 0x40
    HAS_AFFECTED_INSTANCE = 0x80
    HAS_REQUESTED_INSTANCE = 0x100
    HAS_EVENT_TYPE = 0x200
    HAS_ATTRIBUTES = 0x400
    HAS_ACTION_TYPE = 0x800


# A UID, without its padding.
cdef struct Span:
    const unsigned char* text
    uint32_t length


cdef struct Command:
    uint32_t has
    uint16_t command_field
    uint16_t message_id  # or Message ID Being Responded To
    uint16_t data_set_type
    uint16_t status
    uint16_t type_id  # of an event or an action
    Py_ssize_t known_sop_class  # index among N-SET's SOP Classes, or -1
    Span sop_class
    Span instance


# Reads a canonical command set of a message of any DIMSE-N service or of C-ECHO (PS3.7 Section
# 6.3.1); False for any other, and for an element that these do not have.
cdef bint read_canonical(
    const unsigned char* data, size_t length, Command* command
) noexcept nogil

# Whether conformant UIDs cause no error, warning or record; to be asked for each message.
cdef bint default_validator_is_in_force() except -1
