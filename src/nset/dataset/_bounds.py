"""What one data set may take: how deep it is nested, how many elements it has."""

from dataclasses import dataclass
from typing import Final

from pydicom import config
from pydicom._private_dict import private_dictionaries
from pydicom.datadict import dictionary_VR
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

MAX_DEPTH: Final = 64
"""How many sequences may be nested in each other; what the standard defines has fewer than ten."""

MAX_ELEMENTS: Final = 1_000_000
"""How many elements a data set may have, those of items included."""

_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD

_VRS = {vr.encode() for vr in STANDARD_VR}
_LONG_VRS = {vr.encode() for vr in EXPLICIT_VR_LENGTH_32}


class DataSetError(ValueError):
    """A data set that takes more than one data set may.

    Attributes
    ----------
    offset : int
        Where the bound was exceeded, in bytes from the start of the data set; of a deflated one,
        from the start of what has been inflated.
    path : tuple of pydicom.tag.BaseTag
        The sequences that the offset is in, and the element that is there, from the outermost in.
    """

    def __init__(self, reason: str, offset: int, path: tuple[BaseTag, ...] = ()) -> None:
        where = "".join(map(str, path)) or "the data set"
        super().__init__(f"{reason}, at offset {offset} in {where}")
        self.offset = offset
        self.path = path


@dataclass(slots=True)
class _Frame:
    """A sequence or a data set that is being gone through."""

    start: int
    length: int  # the value that begins at `start` ends there; or _UNDEFINED
    limit: int  # where the bytes end that pydicom has before it
    implicit: bool
    tag: int | None = None  # of a sequence; None for a data set
    resume: int | None = None  # where to go on behind it; None is where it ends by itself


def check(data: bytes, implicit: bool, little: bool) -> None:
    """Raise an error if pydicom would find more in a data set than may be there.

    It follows pydicom through whatever bytes there are, and makes no objects of them. Where pydicom
    may take a value for a sequence, it is taken for one.

    Parameters
    ----------
    data : bytes
        The data set, inflated.
    implicit : bool
        Whether the transfer syntax has implicit VRs.
    little : bool
        Whether it is little endian.

    Raises
    ------
    DataSetError
        If it is nested too deeply or has too many elements.
    """
    byte_order = "little" if little else "big"
    at = elements = depth = 0
    size = len(data)
    stack = [_Frame(0, size, size, _is_implicit(data[4:6], implicit, is_item=False))]

    def number(begin: int, count: int) -> int:
        return int.from_bytes(data[begin : begin + count], byte_order)  # type: ignore[arg-type]

    def tag_at(begin: int) -> int:
        return number(begin, 2) << 16 | number(begin + 2, 2)

    def fail(reason: str, tag: int, begin: int) -> DataSetError:
        tags = [frame.tag for frame in stack if frame.tag is not None]
        return DataSetError(reason, begin, tuple(map(BaseTag, [*tags, tag])))

    while stack:
        frame = stack[-1]
        begin = at
        is_over = frame.length != _UNDEFINED and at - frame.start >= frame.length
        if is_over or frame.limit - at < 8:
            if not is_over:
                at = frame.limit
            at = at if frame.resume is None else frame.resume
            depth -= frame.tag is not None
            stack.pop()
            continue
        tag = tag_at(at)
        if frame.tag is not None:
            at += 8
            if tag == _SEQUENCE_END:
                at = at if frame.resume is None else frame.resume
                depth -= 1
                stack.pop()
                continue
            vr = data[at + 4 : min(at + 6, frame.limit)]
            inner = _is_implicit(vr, frame.implicit, is_item=True)
            stack.append(_Frame(at, number(at - 4, 4), frame.limit, inner))
            continue

        vr = data[at + 4 : at + 6]
        length = number(at + 4, 4)
        at += 8
        if frame.implicit:
            vr = b""
        elif vr in _LONG_VRS:
            if frame.limit - at < 4:
                at = frame.limit
                continue
            length = number(at, 4)
            at += 4
        elif vr in _VRS or b"AA" <= vr <= b"ZZ" or not config.assume_implicit_vr_switch:
            length = number(at - 2, 2)
        else:
            vr = b""
        if tag == _ITEM_END:
            stack.pop()
            continue
        elements += 1
        if elements > MAX_ELEMENTS:
            raise fail(f"more than {MAX_ELEMENTS} elements", tag, begin)
        is_undefined = length == _UNDEFINED
        starts_with_item = is_undefined and at + 4 <= frame.limit and tag_at(at) == _ITEM
        if not _may_be_sequence(tag, vr, is_undefined, starts_with_item):
            if is_undefined:
                at = _behind_undefined(data, at, frame.limit, little)
                if at < 0:  # pydicom ends the data set, and goes on where the value begins
                    at = begin + (12 if vr in _LONG_VRS else 8)
                    stack.pop()
            else:
                at = min(at + length, frame.limit)
            continue
        if length == 0:
            continue
        depth += 1
        if depth > MAX_DEPTH:
            raise fail(f"more than {MAX_DEPTH} nested sequences", tag, begin)
        if is_undefined:
            stack.append(_Frame(at, length, frame.limit, frame.implicit, tag))
        else:
            limit = min(at + length, frame.limit)
            stack.append(_Frame(at, limit - at, limit, frame.implicit, tag, limit))


def _is_implicit(vr: bytes, implicit: bool, *, is_item: bool) -> bool:
    """Return which VRs pydicom finds in a data set, by where its first element may have one."""
    if len(vr) < 2 or (is_item and implicit):
        return implicit
    return not (0x41 <= vr[0] <= 0x5A and 0x41 <= vr[1] <= 0x5A)


def _may_be_sequence(tag: int, vr: bytes, is_undefined: bool, starts_with_item: bool) -> bool:
    if vr not in (b"", b"UN"):
        return vr == b"SQ"
    if is_undefined and vr == b"UN" and config.settings.infer_sq_for_un_vr:
        return True
    if tag >> 16 & 1:
        return starts_with_item or (not is_undefined and _is_private_sequence(tag))
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return starts_with_item


def _is_private_sequence(tag: int) -> bool:
    """Return whether a private element is a sequence for one of the creators that pydicom knows."""
    size = sum(map(len, private_dictionaries.values()))  # a program may add to them
    if size not in _private_sequences:
        _private_sequences.clear()
        _private_sequences[size] = {
            key
            for entries in private_dictionaries.values()
            for key, entry in entries.items()
            if entry[0] == "SQ"
        }
    group, element = f"{tag >> 16:04X}", f"{tag & 0xFFFF:04X}"
    keys = {group + element, f"{group}xx{element[2:]}", f"{group[:2]}xxxx{element[2:]}"}
    return not keys.isdisjoint(_private_sequences.get(size, keys))


_private_sequences: dict[int, set[str]] = {}


def _behind_undefined(data: bytes, at: int, limit: int, little: bool) -> int:
    """Return the end of a value of undefined length that is not a sequence, or -1."""
    byte_order = "little" if little else "big"
    item = b"\xfe\xff\x00\xe0" if little else b"\xff\xfe\xe0\x00"
    end = b"\xfe\xff\xdd\xe0" if little else b"\xff\xfe\xe0\xdd"
    behind = at
    while limit - behind >= 8 and data[behind : behind + 4] == item:
        behind += 8 + int.from_bytes(data[behind + 4 : behind + 8], byte_order)  # type: ignore[arg-type]
    if limit - behind < 4 or data[behind : behind + 4] != end:
        behind = data.find(end, at, limit)
    return behind if behind < 0 else min(behind + 8, limit)
