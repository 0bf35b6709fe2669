"""Decodes the elements of a data set (PS3.5 Section 7), with values as pydicom decodes them.

pydicom's own reader recurses into sequences and keeps everything that it reads. This one has
limits, and reports the offset at which decoding fails.
"""

import contextlib
import math
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pydicom import config
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR
from pydicom.values import convert_value

from nset._errors import count_of_bytes, tag_text
from nset.dump import _limits
from nset.dump._result import DataSetElement
from nset.dump._values import keyword_of, uid_name

UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_END_OF_ITEM: Final = 0xFFFEE00D
_END_OF_SEQUENCE: Final = 0xFFFEE0DD
_CHARACTER_SET: Final = 0x00080005

_VRS: Final = frozenset(vr.value for vr in VR if len(vr.value) == 2)
_LONG_VRS: Final = frozenset(vr.value for vr in EXPLICIT_VR_LENGTH_32)
_BULK_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))

_MAX_CONVERTED_BYTES: Final = 1024
"""Of a value, for pydicom to convert; a multiple of the size of every number."""


class _Container(NamedTuple):
    """What contains an element: the data set, a sequence or an Item."""

    is_sequence: bool
    end: int | None  # None if a delimiter ends it
    depth: int
    is_implicit: bool
    encodings: list[str]
    is_pixel_data: bool = False


class _Unreadable(Exception):
    """The data set cannot be decoded further."""


def guess_transfer_syntax(data: bytes) -> str:
    """Return Explicit VR Little Endian if the first element has a VR, else Implicit."""
    is_explicit = data[4:6].decode("latin-1") in _VRS
    return str(ExplicitVRLittleEndian if is_explicit else ImplicitVRLittleEndian)


def read_data_set(
    data: bytes, transfer_syntax: str, input_offset: Callable[[int], int], count: Callable[[], None]
) -> tuple[list[DataSetElement], list[str]]:
    """Return the elements of a data set, and notes on what is not listed and why.

    `input_offset` maps an offset in the data set to one in the stream; `count` is called for each
    element, and raises if they are too many.
    """
    notes: list[str] = []
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(data, _limits.MAX_INFLATED)
        except zlib.error as exc:
            return [], [f"the data set can't be inflated: {exc}"]
        if inflater.unconsumed_tail:
            notes.append(f"inflated up to {_limits.MAX_INFLATED} bytes, the rest is not read")
        input_offset = int
    reader = _Reader(data, transfer_syntax, input_offset, count)
    # pydicom would warn about values that violate their VR; they are shown as they are.
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        with contextlib.suppress(_Unreadable):
            reader.read()
    return reader.elements, notes + reader.notes


class _Reader:
    """Decodes a data set without recursion."""

    def __init__(
        self,
        data: bytes,
        transfer_syntax: str,
        input_offset: Callable[[int], int],
        count: Callable[[], None],
    ) -> None:
        self.elements: list[DataSetElement] = []
        self.notes: list[str] = []
        self._data = data
        self._at = 0
        self._order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
        self._input_offset = input_offset
        self._count = count
        is_implicit = transfer_syntax == ImplicitVRLittleEndian
        self._containers = [_Container(False, len(data), 0, is_implicit, convert_encodings(None))]

    def read(self) -> None:
        while True:
            while len(self._containers) > 1 and self._containers[-1].end == self._at:
                self._containers.pop()
            parent = self._containers[-1]
            end = self._end()
            if self._at >= end:
                if len(self._containers) > 1:
                    what = "a sequence" if parent.is_sequence else "an Item"
                    raise self._stop(f"{what} of undefined length without its end")
                return
            if len(self.elements) >= _limits.MAX_DATA_SET_ELEMENTS:
                limit = _limits.MAX_DATA_SET_ELEMENTS
                self.notes.append(f"more than {limit} elements, the rest is not listed")
                return
            if end - self._at < 8:
                left = count_of_bytes(end - self._at)
                raise self._stop(f"{left}, too few for the header of an element")
            group, number, length = struct.unpack_from(f"{self._order}HHL", self._data, self._at)
            tag = group << 16 | number
            if tag in (_END_OF_ITEM, _END_OF_SEQUENCE):
                self._leave(parent, tag)
            elif parent.is_sequence:
                self._enter_item(parent, tag, length, end)
            else:
                self._element(parent, tag, end)

    def _stop(self, reason: str, tag: int | None = None) -> _Unreadable:
        where = f"byte {self._input_offset(self._at)}, {self._at} of the data set"
        name = "" if tag is None else f"{keyword_of(tag)} {tag_text(tag)}: ".lstrip()
        self.notes.append(f"{where}: {name}{reason}; it is read no further")
        return _Unreadable()

    def _end(self) -> int:
        """Return the end of the innermost container with a defined length."""
        return next(one.end for one in reversed(self._containers) if one.end is not None)

    def _leave(self, parent: _Container, tag: int) -> None:
        expected = _END_OF_SEQUENCE if parent.is_sequence else _END_OF_ITEM
        if parent.end is not None or tag != expected:
            raise self._stop("a delimiter where nothing is to end", tag)
        self._containers.pop()
        self._at += 8

    def _enter_item(self, parent: _Container, tag: int, length: int, end: int) -> None:
        if tag != _ITEM:
            raise self._stop("where an Item should be", tag)
        at = self._at
        stop = None if length == UNDEFINED else at + 8 + length
        if stop is not None and stop > end:
            raise self._past_end(tag, length, end - at - 8)
        what = "fragment" if parent.is_pixel_data else "item"
        shown_length = None if stop is None else length
        self._add(DataSetElement(tag, "", shown_length, parent.depth, at, 0, None, what))
        self._at = at + 8
        if parent.is_pixel_data:  # a fragment, which has no elements
            if stop is None:
                raise self._stop("a fragment of undefined length", tag)
            self._at = stop
        else:
            self._containers.append(
                _Container(False, stop, parent.depth, parent.is_implicit, parent.encodings)
            )

    def _element(self, parent: _Container, tag: int, end: int) -> None:
        at = self._at
        vr, start, length = self._header(parent, tag, end)
        if length == UNDEFINED or vr == "SQ":
            self._enter_sequence(parent, tag, vr, start, length, end)
            return
        if length > end - start:
            raise self._past_end(tag, length, end - start)
        raw = self._data[start : start + min(length, _MAX_CONVERTED_BYTES)]
        value, meaning = self._value(tag, vr, raw, length, parent)
        if tag == _CHARACTER_SET:
            # Applies to the elements that follow in this data set or Item, and to its Items.
            names = value if isinstance(value, list) else [value or ""]
            try:
                encodings = convert_encodings([str(name) for name in names])
            except Exception:
                encodings = parent.encodings
            self._containers[-1] = parent._replace(encodings=encodings)
        self._add(DataSetElement(tag, vr, length, parent.depth, at, 0, value, meaning))
        self._at = start + length

    def _header(self, parent: _Container, tag: int, end: int) -> tuple[str, int, int]:
        """Return the VR of an element, the offset of its value, and its length."""
        at, order = self._at, self._order
        if parent.is_implicit:
            return _vr_of(tag), at + 8, struct.unpack_from(f"{order}L", self._data, at + 4)[0]
        vr = self._data[at + 4 : at + 6].decode("latin-1")
        if vr not in _VRS:
            raise self._stop(f"{self._data[at + 4 : at + 6].hex().upper()}H is no VR", tag)
        if vr not in _LONG_VRS:
            return vr, at + 8, struct.unpack_from(f"{order}H", self._data, at + 6)[0]
        if end - at < 12:
            raise self._stop(f"{end - at} bytes, too few for the header of a {vr} element", tag)
        return vr, at + 12, struct.unpack_from(f"{order}L", self._data, at + 8)[0]

    def _enter_sequence(
        self, parent: _Container, tag: int, vr: str, start: int, length: int, end: int
    ) -> None:
        stop = None if length == UNDEFINED else start + length
        if stop is not None and stop > end:
            raise self._past_end(tag, length, end - start)
        is_pixel_data = vr in ("OB", "OW")
        if not is_pixel_data and vr not in ("SQ", "UN") and not parent.is_implicit:
            raise self._stop(f"{vr} of undefined length", tag)
        is_too_deep = parent.depth + 1 > _limits.MAX_DEPTH
        meaning = f"{'fragments' if is_pixel_data else 'sequence'}"
        if is_too_deep:
            meaning += f", deeper than {_limits.MAX_DEPTH}: not listed"
        shown_length = None if stop is None else length
        self._add(DataSetElement(tag, vr, shown_length, parent.depth, self._at, 0, None, meaning))
        if is_too_deep:
            if stop is None:
                self.notes.append(
                    f"sequences deeper than {_limits.MAX_DEPTH}: the rest is not read"
                )
                raise _Unreadable
            self._at = stop
            return
        self._at = start
        # UN of undefined length has implicit VR within (PS3.5 Section 6.2.2).
        is_implicit = parent.is_implicit or vr == "UN"
        self._containers.append(
            _Container(True, stop, parent.depth + 1, is_implicit, parent.encodings, is_pixel_data)
        )

    def _past_end(self, tag: int, length: int, left: int) -> _Unreadable:
        reason = f"the value of {count_of_bytes(length)} runs past the end, {left} are left"
        return self._stop(reason, tag)

    def _add(self, element: DataSetElement) -> None:
        self._count()
        at = self._input_offset(element.offset)
        self.elements.append(element._replace(input_offset=at))

    def _value(
        self, tag: int, vr: str, raw: bytes, length: int, parent: _Container
    ) -> tuple[Any, str]:
        """Return a value for `json.dumps`, and its meaning."""
        if not raw:
            return None, ""
        if vr in _BULK_VRS:
            return raw[:16].hex(" "), f"hex of {count_of_bytes(length)}" if length > 16 else "hex"
        element = RawDataElement(
            *(BaseTag(tag), vr, len(raw), raw, 0, parent.is_implicit, self._order == "<"), True
        )
        try:
            value = convert_value(vr, element, parent.encodings)
        except Exception:  # pydicom raises many kinds for invalid values
            return raw[:16].hex(" "), f"hex: no value of VR {vr}"
        values: list[Any] = list(value) if isinstance(value, (list, MultiValue)) else [value]
        plain = [_plain(one) for one in values]
        meaning = ""
        if vr == "UI" and len(plain) == 1:
            meaning = uid_name(plain[0])
        elif vr == "AT":
            meaning = ", ".join(filter(None, (keyword_of(int(one)) for one in values)))
        if length > _MAX_CONVERTED_BYTES:
            meaning = f"the first of {count_of_bytes(length)}"
        return (plain if len(plain) > 1 else next(iter(plain), None)), meaning


def _plain(value: Any) -> Any:
    """Convert a value of pydicom's for `json.dumps`."""
    if isinstance(value, BaseTag):
        return tag_text(value)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    return str(value)


def _vr_of(tag: int) -> str:
    """Return the VR of an element from pydicom's dictionary."""
    if dictionary_has_tag(tag):
        vr = dictionary_VR(tag)
        return "OW" if vr == "OB or OW" else vr.partition(" ")[0]
    if tag & 0xFFFF == 0:
        return "UL"
    # Private Creators (PS3.5 Section 7.8.1)
    return "LO" if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
