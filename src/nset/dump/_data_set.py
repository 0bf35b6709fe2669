"""Lists the elements of a data set (PS3.5 Section 7), the values as pydicom reads them.

pydicom's own reader goes down one call for each sequence and keeps all that it reads; this one has
limits, and says where something can't be read.
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

from nset.dump import _limits
from nset.dump._result import DataSetElement
from nset.dump._values import count_of_bytes, keyword_of, tag_text, uid_name

UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_END_OF_ITEM: Final = 0xFFFEE00D
_END_OF_SEQUENCE: Final = 0xFFFEE0DD
_CHARACTER_SET: Final = 0x00080005

_VRS: Final = frozenset(vr.value for vr in VR if len(vr.value) == 2)
_LONG_VRS: Final = frozenset(vr.value for vr in EXPLICIT_VR_LENGTH_32)
_BULK_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))

_MAX_CONVERTED: Final = 1024
"""Bytes of a value that pydicom is given; a multiple of the size of every number."""


class _Place(NamedTuple):
    """What an element is in: the data set, a sequence or an Item."""

    is_sequence: bool
    end: int | None  # None where a delimiter ends it
    depth: int
    is_implicit: bool
    encodings: list[str]
    is_pixel_data: bool = False


class _Unreadable(Exception):
    """The data set can't be read any further."""


def guess_transfer_syntax(data: bytes) -> str:
    """Give Explicit VR Little Endian where the first element has a VR, else Implicit."""
    is_explicit = data[4:6].decode("latin-1") in _VRS
    return str(ExplicitVRLittleEndian if is_explicit else ImplicitVRLittleEndian)


def read_data_set(
    data: bytes, transfer_syntax: str, input_offset: Callable[[int], int], count: Callable[[], None]
) -> tuple[list[DataSetElement], list[str]]:
    """List what a data set holds.

    Parameters
    ----------
    data : bytes
        As much as there is of it.
    transfer_syntax : str
        UID of the transfer syntax.
    input_offset : callable
        Finds a byte of the data set in the stream.
    count : callable
        Called for each element; raises where there are too many.

    Returns
    -------
    tuple
        The elements; and notes on what is not listed, and why it can't be read to its end.
    """
    notes: list[str] = []
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(data, _limits.MAX_INFLATED)
        except zlib.error as exc:
            return [], [f"the data set can't be inflated: {exc}"]
        if inflater.unconsumed_tail:
            notes.append(f"inflated up to {_limits.MAX_INFLATED} bytes, the rest is not looked at")
        input_offset = int
    reader = _Reader(data, transfer_syntax, input_offset, count)
    # A value that breaks a rule of its VR is shown as it is; pydicom would warn of it.
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        with contextlib.suppress(_Unreadable):
            reader.read()
    return reader.elements, notes + reader.notes


class _Reader:
    """Goes through a data set once, without recursion."""

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
        self._places = [_Place(False, len(data), 0, is_implicit, convert_encodings(None))]

    def read(self) -> None:
        while True:
            while len(self._places) > 1 and self._places[-1].end == self._at:
                self._places.pop()
            place = self._places[-1]
            end = self._end()
            if self._at >= end:
                if len(self._places) > 1:
                    what = "a sequence" if place.is_sequence else "an Item"
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
                self._leave(place, tag)
            elif place.is_sequence:
                self._enter_item(place, tag, length, end)
            else:
                self._element(place, tag, end)

    def _stop(self, reason: str, tag: int | None = None) -> _Unreadable:
        where = f"byte {self._input_offset(self._at)}, {self._at} of the data set"
        name = "" if tag is None else f"{keyword_of(tag)} {tag_text(tag)}: ".lstrip()
        self.notes.append(f"{where}: {name}{reason}; it is read no further")
        return _Unreadable()

    def _end(self) -> int:
        """Where the innermost place that has a length ends."""
        return next(place.end for place in reversed(self._places) if place.end is not None)

    def _leave(self, place: _Place, tag: int) -> None:
        expected = _END_OF_SEQUENCE if place.is_sequence else _END_OF_ITEM
        if place.end is not None or tag != expected:
            raise self._stop("a delimiter where nothing is to end", tag)
        self._places.pop()
        self._at += 8

    def _enter_item(self, place: _Place, tag: int, length: int, end: int) -> None:
        if tag != _ITEM:
            raise self._stop("where an Item should be", tag)
        at = self._at
        stop = None if length == UNDEFINED else at + 8 + length
        if stop is not None and stop > end:
            raise self._past_end(tag, length, end - at - 8)
        what = "fragment" if place.is_pixel_data else "item"
        shown_length = None if stop is None else length
        self._add(DataSetElement(tag, "", shown_length, place.depth, at, 0, None, what))
        self._at = at + 8
        if place.is_pixel_data:  # a fragment, which has no elements
            if stop is None:
                raise self._stop("a fragment of undefined length", tag)
            self._at = stop
        else:
            self._places.append(
                _Place(False, stop, place.depth, place.is_implicit, place.encodings)
            )

    def _element(self, place: _Place, tag: int, end: int) -> None:
        at = self._at
        vr, start, length = self._header(place, tag, end)
        if length == UNDEFINED or vr == "SQ":
            self._enter_sequence(place, tag, vr, start, length, end)
            return
        if length > end - start:
            raise self._past_end(tag, length, end - start)
        raw = self._data[start : start + min(length, _MAX_CONVERTED)]
        value, meaning = self._value(tag, vr, raw, length, place)
        if tag == _CHARACTER_SET:
            # Holds for what follows in this data set or Item, and for the Items in it.
            names = value if isinstance(value, list) else [value or ""]
            try:
                encodings = convert_encodings([str(name) for name in names])
            except Exception:
                encodings = place.encodings
            self._places[-1] = place._replace(encodings=encodings)
        self._add(DataSetElement(tag, vr, length, place.depth, at, 0, value, meaning))
        self._at = start + length

    def _header(self, place: _Place, tag: int, end: int) -> tuple[str, int, int]:
        """Give the VR of an element, where its value starts, and its length."""
        at, order = self._at, self._order
        if place.is_implicit:
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
        self, place: _Place, tag: int, vr: str, start: int, length: int, end: int
    ) -> None:
        stop = None if length == UNDEFINED else start + length
        if stop is not None and stop > end:
            raise self._past_end(tag, length, end - start)
        is_pixel_data = vr in ("OB", "OW")
        if not is_pixel_data and vr not in ("SQ", "UN") and not place.is_implicit:
            raise self._stop(f"{vr} of undefined length", tag)
        is_too_deep = place.depth + 1 > _limits.MAX_DEPTH
        meaning = f"{'fragments' if is_pixel_data else 'sequence'}"
        if is_too_deep:
            meaning += f", deeper than {_limits.MAX_DEPTH}: not listed"
        shown_length = None if stop is None else length
        self._add(DataSetElement(tag, vr, shown_length, place.depth, self._at, 0, None, meaning))
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
        is_implicit = place.is_implicit or vr == "UN"
        self._places.append(
            _Place(True, stop, place.depth + 1, is_implicit, place.encodings, is_pixel_data)
        )

    def _past_end(self, tag: int, length: int, left: int) -> _Unreadable:
        reason = f"the value of {count_of_bytes(length)} runs past the end, {left} are left"
        return self._stop(reason, tag)

    def _add(self, element: DataSetElement) -> None:
        self._count()
        at = self._input_offset(element.offset)
        self.elements.append(element._replace(input_offset=at))

    def _value(self, tag: int, vr: str, raw: bytes, length: int, place: _Place) -> tuple[Any, str]:
        """Give a value for `json.dumps`, and what it stands for."""
        if not raw:
            return None, ""
        if vr in _BULK_VRS:
            return raw[:16].hex(" "), f"hex of {count_of_bytes(length)}" if length > 16 else "hex"
        element = RawDataElement(
            *(BaseTag(tag), vr, len(raw), raw, 0, place.is_implicit, self._order == "<"), True
        )
        try:
            value = convert_value(vr, element, place.encodings)
        except Exception:  # whatever pydicom makes of bytes that are no such value
            return raw[:16].hex(" "), f"hex: no value of VR {vr}"
        values: list[Any] = list(value) if isinstance(value, (list, MultiValue)) else [value]
        plain = [_plain(one) for one in values]
        meaning = ""
        if vr == "UI" and len(plain) == 1:
            meaning = uid_name(plain[0])
        elif vr == "AT":
            meaning = ", ".join(filter(None, (keyword_of(int(one)) for one in values)))
        if length > _MAX_CONVERTED:
            meaning = f"the first of {count_of_bytes(length)}"
        return (plain if len(plain) > 1 else next(iter(plain), None)), meaning


def _plain(value: Any) -> Any:
    """Make of pydicom's value one that `json.dumps` takes."""
    if isinstance(value, BaseTag):
        return tag_text(value)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    return str(value)


def _vr_of(tag: int) -> str:
    """Give the VR of an element by pydicom's dictionary."""
    if dictionary_has_tag(tag):
        vr = dictionary_VR(tag)
        return "OW" if vr == "OB or OW" else vr.partition(" ")[0]
    if tag & 0xFFFF == 0:
        return "UL"
    # Private Creators (PS3.5 Section 7.8.1)
    return "LO" if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
