# The interface between the two extensions: all that nset.scp._core may use of nset._core, which
# alone knows the fields of a primitive.

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


# Whether the bytes are a canonical command set of an N-SET-RQ.
cdef bint is_request(const unsigned char* data, size_t length) noexcept nogil

# A request of the class `cls` in that presentation context; None if is_request() returns False, or
# if the default UID validator is not in force. Its list is empty until attach() is called.
cdef object decode_request(
    object cls, const unsigned char* data, size_t length, unsigned char context_id
)

# Sets the data set of a request: a BytesIO, or bytes, which become one when they are first read.
cdef int attach(object request, object data_set) except -1

# Writes the command set of the N-SET-RSP without a data set to `at`, which must have room for
# MAX_COMMAND_SET bytes; returns its length, or 0 for the slow path.
cdef Py_ssize_t encode_response_command_set(
    object request, object status, unsigned char* at
) except -1

# The ID of a request's presentation context; -1 if it is not in the range of US.
cdef long context_id_of(object request) except -2

# The Requested SOP Class UID of a request: a str or a UID, or None.
cdef object sop_class_of(object request)
