"""A cursor, which all reading of the peer's bytes goes through (PS3.5 Section 7.1)."""

from libc.stdint cimport uint8_t, uint32_t

from nset.dataset._vr cimport bytes_of_length

cdef struct Cursor:
    const uint8_t* data
    size_t at
    size_t end

cdef struct Header:
    uint32_t tag
    uint32_t length
    int vr  # 256 * its first letter + its second; 0 where the encoding does not say
    size_t value  # where the value begins

cdef inline uint32_t read_u16(const uint8_t* p) noexcept nogil:
    return p[0] | <uint32_t>p[1] << 8

cdef inline uint32_t read_u32(const uint8_t* p) noexcept nogil:
    return read_u16(p) | read_u16(p + 2) << 16

cdef inline bint is_upper(uint8_t char) noexcept nogil:
    return 65 <= char <= 90

cdef inline bint next_header(Cursor* cursor, bint implicit, Header* header) noexcept nogil:
    """Read a header; False where it, or the value that it announces, is not within the bounds."""
    cdef const uint8_t* p = cursor.data + cursor.at
    cdef size_t left = cursor.end - cursor.at
    cdef size_t size = 8
    cdef int bytes_of_its_length
    if left < 8:
        return False
    header.tag = read_u16(p) << 16 | read_u16(p + 2)
    header.vr = 0
    if implicit or header.tag >> 16 == 0xFFFE:
        header.length = read_u32(p + 4)
    else:
        header.vr = p[4] << 8 | p[5]
        bytes_of_its_length = bytes_of_length(header.vr)
        if bytes_of_its_length == 2:
            header.length = read_u16(p + 6)
        elif bytes_of_its_length == 4 and left >= 12:
            header.length = read_u32(p + 8)
            size = 12
        else:
            return False
    if header.length != 0xFFFFFFFFU and header.length > left - size:
        return False
    cursor.at += size
    header.value = cursor.at
    return True
