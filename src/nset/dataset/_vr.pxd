"""The value representations (PS3.5 Section 6.2): their headers, and what is a value of one."""

cdef enum:  # as in a header: 256 * the first letter + the second
    AE = 0x4145
    AS = 0x4153
    AT = 0x4154
    CS = 0x4353
    DA = 0x4441
    DS = 0x4453
    DT = 0x4454
    FD = 0x4644
    FL = 0x464C
    IS = 0x4953
    LO = 0x4C4F
    LT = 0x4C54
    OB = 0x4F42
    OD = 0x4F44
    OF = 0x4F46
    OL = 0x4F4C
    OV = 0x4F56
    OW = 0x4F57
    PN = 0x504E
    SH = 0x5348
    SL = 0x534C
    SQ = 0x5351
    SS = 0x5353
    ST = 0x5354
    SV = 0x5356
    TM = 0x544D
    UC = 0x5543
    UI = 0x5549
    UL = 0x554C
    UR = 0x5552
    UN = 0x554E
    US = 0x5553
    UT = 0x5554
    UV = 0x5556

cdef inline bint is_text(int vr) noexcept nogil:
    return (
        vr == UI or vr == CS or vr == LO or vr == SH or vr == PN or vr == DA or vr == TM or vr == AE
        or vr == AS or vr == DT or vr == LT or vr == ST or vr == UT or vr == UC or vr == UR
    )

cdef inline bint is_bytes(int vr) noexcept nogil:
    return vr == OB or vr == OW or vr == OF or vr == OD or vr == OL or vr == OV

cdef inline int bytes_of_length(int vr) noexcept nogil:
    """Return the size of the length in a header of Explicit VR; 0 where there is no such VR."""
    if (
        is_bytes(vr) or vr == SQ or vr == UC or vr == UN or vr == UR or vr == UT
        or vr == SV or vr == UV
    ):
        return 4
    if (
        is_text(vr) or vr == AT or vr == DS or vr == FD or vr == FL or vr == IS
        or vr == SL or vr == SS or vr == UL or vr == US
    ):
        return 2
    return 0

cdef inline const char* stripped(const char* text, Py_ssize_t* size) noexcept nogil:
    """Leave out what pads the end: blanks and NULs."""
    while size[0] and (text[size[0] - 1] == c' ' or text[size[0] - 1] == 0):
        size[0] -= 1
    return text

cdef inline bint is_uid(const char* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef bint begins = True
    if not 1 <= size <= 64 or text[size - 1] == c'.':
        return False
    for i in range(size):
        if text[i] == c'.':
            if begins:
                return False
            begins = True
        elif not c'0' <= text[i] <= c'9':
            return False
        else:
            if begins and text[i] == c'0' and i + 1 < size and text[i + 1] != c'.':
                return False
            begins = False
    return True

cdef inline Py_ssize_t skip_digits(
    const char* text, Py_ssize_t size, Py_ssize_t* at
) noexcept nogil:
    """Move on past the digits, and return how many there are."""
    cdef Py_ssize_t first = at[0]
    while at[0] < size and c'0' <= text[at[0]] <= c'9':
        at[0] += 1
    return at[0] - first

cdef inline bint is_number(const char* text, Py_ssize_t size, bint is_decimal) noexcept nogil:
    """Whether a text is a conformant IS or DS, with no blanks."""
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t digits
    if not 1 <= size <= (16 if is_decimal else 12):
        return False
    if text[0] == c'+' or text[0] == c'-':
        i = 1
    digits = skip_digits(text, size, &i)
    if is_decimal:
        if i < size and text[i] == c'.':
            i += 1
            digits += skip_digits(text, size, &i)
        if digits and i < size and (text[i] == c'e' or text[i] == c'E'):
            i += 1
            if i < size and (text[i] == c'+' or text[i] == c'-'):
                i += 1
            digits = skip_digits(text, size, &i)
    return digits > 0 and i == size
