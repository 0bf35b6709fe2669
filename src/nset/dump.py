"""Takes captured bytes apart for ``python -m nset dump``: what they say and what is wrong in them.

The bytes are a command set (PS3.7 Section 6.3.1), PDVs or PDUs (PS3.8 Section 9.3), whole or cut
off, and they tell which. What they hold is trusted in nothing: it raises nothing, and the work and
the memory that it takes are limited.
"""

import os
import re
import struct
import sys
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_description, dictionary_has_tag, dictionary_keyword
from pydicom.uid import UID

from nset import _rules, status
from nset._command_set import (
    NO_DATA_SET,
    Element,
    announces_data_set,
    command_field,
    data_set_type,
    examine,
)
from nset._pdu import IS_COMMAND, IS_LAST

__all__ = ["Dump", "DumpedElement", "DumpedMessage", "Fault", "OtherPDU", "Undecodable"]
__all__ += ["dump", "load"]

MAX_INPUT: Final = 0x10000000
"""Most bytes that are read of a file, 256 MiB."""

MAX_ENTRIES: Final = 50_000
"""Most PDUs, PDVs, elements (a long one for several) and violations, all together."""

COMMAND_SET: Final = "command set"
FRAGMENT: Final = "message control header and fragment"
PDVS: Final = "PDVs"
PDUS: Final = "PDUs"

_PDU_NAMES: Final = {
    0x01: "A-ASSOCIATE-RQ",
    0x02: "A-ASSOCIATE-AC",
    0x03: "A-ASSOCIATE-RJ",
    0x04: "P-DATA-TF",
    0x05: "A-RELEASE-RQ",
    0x06: "A-RELEASE-RP",
    0x07: "A-ABORT",
}
_PDU_HEADER: Final = struct.Struct(">BBL")
_PDV_HEADER: Final = struct.Struct(">LBB")

_SERVICES: Final = {
    0x0001: "C-STORE",
    0x0010: "C-GET",
    0x0020: "C-FIND",
    0x0021: "C-MOVE",
    0x0030: "C-ECHO",
    0x0100: "N-EVENT-REPORT",
    0x0110: "N-GET",
    0x0120: "N-SET",
    0x0130: "N-ACTION",
    0x0140: "N-CREATE",
    0x0150: "N-DELETE",
    0x0FFF: "C-CANCEL",
}

_NUMBERS: Final = {"US": struct.Struct("<H"), "UL": struct.Struct("<L")}
_TAG: Final = struct.Struct("<HH")
_TEXT_VRS: Final = ("AE", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI")
_IN_HEX: Final = (0x00000100, 0x00000800, 0x00000900, 0x00000903)

_MAX_SHOWN: Final = 200  # characters of a value
_BYTES_OF_AN_ENTRY: Final = 64

_CAPTURE_FILES: Final = (
    *(b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d"),
    b"\n\r\r\n",
)


class Undecodable(ValueError):
    """Input that is neither a command set nor PDVs nor PDUs; the text says why."""


class Fault(NamedTuple):
    """A violation of the standard.

    Attributes
    ----------
    reason : str
        What is wrong.
    tag : int or None
        The element that is at fault.
    offset : int or None
        Bytes from the start of the command set to that element, or to where it can't be read.
    input_offset : int or None
        Bytes from the start of the input to the same place, or to the PDV or PDU at fault.
    """

    reason: str
    tag: int | None = None
    offset: int | None = None
    input_offset: int | None = None

    @property
    def text(self) -> str:
        """Where it is, the element, and what is wrong."""
        parts = []
        if self.input_offset is not None:
            place = f"byte {self.input_offset}"
            if self.offset not in (None, self.input_offset):
                place += f", {self.offset} of the command set"
            parts.append(place)
        if self.tag is not None:
            known = dictionary_has_tag(self.tag)
            name = f"{dictionary_description(self.tag)} " if known else ""
            parts.append(name + tag_text(self.tag))
        return ": ".join([*parts, self.reason])


class DumpedElement(NamedTuple):
    """An element of a command set.

    Attributes
    ----------
    tag : int
        The tag.
    vr : str
        By PS3.7 Annex E or pydicom's dictionary, or as sent with explicit VR.
    raw : bytes
        The value as sent.
    offset, input_offset : int
        Bytes to the tag, from the start of the command set and of the input.
    meaning : str
        What the value stands for; empty where there is nothing to say.
    """

    tag: int
    vr: str
    raw: bytes
    offset: int
    input_offset: int
    meaning: str = ""

    @property
    def keyword(self) -> str:
        """The keyword, empty where pydicom's dictionary has none."""
        return _keyword(self.tag)

    @property
    def value(self) -> Any:
        """The value: a list where there are several, None where it is empty or can't be read."""
        if self.raw and self.vr in _TEXT_VRS:
            return self.raw.decode("latin-1").rstrip("\0 ")
        values = _values(self.vr, self.raw)
        return values if len(values) > 1 else next(iter(values), None)

    @property
    def text(self) -> str:
        """The value and its meaning, in printable ASCII."""
        value = self.value
        if value is None:
            text = f"hex {self.raw.hex(' ')}" if self.raw else "(empty)"
        elif isinstance(value, str):
            text = "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in value)
        else:
            in_hex = self.tag in _IN_HEX and self.vr == "US"
            values = _values(self.vr, self.raw)
            text = ", ".join(f"{one:04X}H" if in_hex else str(one) for one in values)
        text += f" ({self.meaning})" if self.meaning else ""
        if len(text) > _MAX_SHOWN:
            text = f"{text[:_MAX_SHOWN]}... ({len(self.raw)} bytes)"
        return text


@dataclass
class DumpedMessage:
    """A message, or as much as there is of it.

    Attributes
    ----------
    name : str
        Such as ``"N-SET-RQ"``; ``"message"`` where the Command Field is missing or unknown.
    context_id : int or None
        ID of the presentation context; None where the input has none.
    input_offset : int
        Bytes from the start of the input to what came first of it.
    command_set_bytes, data_set_bytes : int
        Bytes that came of each.
    data_set_announced : bool or None
        Whether the command set says that a data set follows; None where that can't be told.
    elements : list of DumpedElement
        Those of the command set, in their order.
    violations : list of Fault
        Those within the command set, and of what it says of a data set.
    """

    name: str
    context_id: int | None
    input_offset: int
    command_set_bytes: int = 0
    data_set_bytes: int = 0
    data_set_announced: bool | None = None
    elements: list[DumpedElement] = field(default_factory=list)
    violations: list[Fault] = field(default_factory=list)


class OtherPDU(NamedTuple):
    """A PDU that carries no message.

    Attributes
    ----------
    name : str
        Such as ``"A-ASSOCIATE-RQ"``.
    input_offset : int
        Bytes from the start of the input.
    length : int
        Bytes that it should have, its header included.
    """

    name: str
    input_offset: int
    length: int


@dataclass
class Dump:
    """What the input holds.

    Attributes
    ----------
    form : str
        What it was taken for.
    size : int
        Its bytes.
    messages : list of DumpedMessage
        In their order.
    other_pdus : list of OtherPDU
        In their order.
    violations : list of Fault
        Those of the PDUs and PDVs, in their order.
    """

    form: str
    size: int
    messages: list[DumpedMessage] = field(default_factory=list)
    other_pdus: list[OtherPDU] = field(default_factory=list)
    violations: list[Fault] = field(default_factory=list)

    @property
    def violation_count(self) -> int:
        """How many there are in all."""
        return len(self.violations) + sum(len(message.violations) for message in self.messages)

    def as_json(self) -> dict[str, Any]:
        """Give it as what `json.dumps` takes.

        Returns
        -------
        dict
            The attributes by name. Tags are text, and ``raw`` is hex digits.
        """
        messages = [
            {
                **vars(message),
                "elements": [_element_as_json(element) for element in message.elements],
                "violations": [_fault_as_json(fault) for fault in message.violations],
            }
            for message in self.messages
        ]
        return {
            **vars(self),
            "messages": messages,
            "other_pdus": [pdu._asdict() for pdu in self.other_pdus],
            "violations": [_fault_as_json(fault) for fault in self.violations],
            "violation_count": self.violation_count,
        }


def _element_as_json(element: DumpedElement) -> dict[str, Any]:
    return {
        "tag": tag_text(element.tag),
        "keyword": element.keyword,
        "vr": element.vr,
        "value": element.value,
        "meaning": element.meaning,
        "raw": element.raw.hex(),
        "offset": element.offset,
        "input_offset": element.input_offset,
    }


def _fault_as_json(fault: Fault) -> dict[str, Any]:
    tag = None if fault.tag is None else tag_text(fault.tag)
    return {**fault._asdict(), "tag": tag, "text": fault.text}


# -- Values ---------------------------------------------------------------------------------------


def tag_text(tag: int) -> str:
    """Write a tag as the standard does, such as ``(0000,0110)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _keyword(tag: int) -> str:
    return dictionary_keyword(tag) if dictionary_has_tag(tag) else ""


def _tags(raw: bytes) -> list[int]:
    return [group << 16 | number for group, number in _TAG.iter_unpack(raw)]


def _values(vr: str, raw: bytes) -> list[Any]:
    """Give the numbers or tags of a value, none of what has a wrong length or another VR."""
    if vr == "AT" and len(raw) % _TAG.size == 0:
        return [tag_text(tag) for tag in _tags(raw)]
    layout = _NUMBERS.get(vr)
    if layout is None or len(raw) % layout.size:
        return []
    return [number for (number,) in layout.iter_unpack(raw)]


def _message_name(number: int) -> str | None:
    service = _SERVICES.get(number & ~0x8000)
    if service is None or number == 0x8FFF:
        return None
    return f"{service}-RSP" if number & 0x8000 else f"{service}-RQ"


def _meaning(element: DumpedElement, number: int | None, sop_class: str | None) -> str:
    """Say what a value stands for, in a message of this Command Field and SOP Class."""
    tag, value = element.tag, element.value
    if element.vr == "AT":
        return ", ".join(filter(None, map(_keyword, _tags(element.raw)))) if value else ""
    if element.vr == "UI":
        if not value:
            return ""
        uid = UID(value, validation_mode=IGNORE)
        return "" if uid.name == uid else uid.name
    if not isinstance(value, int):
        return ""
    if tag == 0x00000100:
        return _message_name(value) or "no message"
    if tag == 0x00000800:
        return "no data set" if value == NO_DATA_SET else "a data set follows"
    if tag == 0x00000900:
        row = status.lookup(value, sop_class) if number in _rules.N_SET_FIELDS else None
        category = status.category(value)
        return f"{category}: {row.meaning}" if row else category
    return ""


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


# -- Input ----------------------------------------------------------------------------------------


def load(source: str) -> bytes:
    """Read what the user has named.

    Parameters
    ----------
    source : str
        A file of bytes or of hex digits, ``-`` for the same from standard input, or hex digits.

    Returns
    -------
    bytes
        The bytes, also those that hex digits stand for.

    Raises
    ------
    Undecodable
        If it is no file and no hex digits, or more than `MAX_INPUT` bytes.
    OSError
        If the file can't be read.
    """
    if source == "-":
        data = sys.stdin.buffer.read(MAX_INPUT + 1)
    elif os.path.exists(source):
        with open(source, "rb") as file:
            data = file.read(MAX_INPUT + 1)
    else:
        decoded = _from_hex(source)
        if decoded is None:
            raise Undecodable(f"no such file, and not hex digits: {source[:80]!a}")
        return decoded
    if len(data) > MAX_INPUT:
        raise Undecodable(f"more than {MAX_INPUT} bytes: give the part that matters")
    # Whatever it is a dump of, it has a zero byte among its first: hex digits are only that.
    decoded = _from_hex(data.decode("ascii")) if data.isascii() else None
    return data if decoded is None else decoded


def _from_hex(text: str) -> bytes | None:
    """Read hex digits with blanks, colons and 0x among them; None for other text."""
    digits = "".join(re.sub(r"\b0[xX]", "", text).replace(":", "").split())
    if not re.fullmatch("[0-9A-Fa-f]*", digits):
        return None
    if len(digits) % 2:
        raise Undecodable(f"{len(digits)} hex digits, an odd number: one is missing or too many")
    return bytes.fromhex(digits)


def _form(data: bytes) -> str:
    """Tell what the bytes are, by what each form has and the others can't have."""
    if not data:
        raise Undecodable("nothing to decode, the input is empty")
    if data.startswith(_CAPTURE_FILES):
        raise Undecodable(
            "a capture file (pcap): give the bytes of one TCP stream, in Wireshark by "
            "Follow > TCP Stream > Show data as Raw > Save as"
        )
    if data[128:132] == b"DICM":
        raise Undecodable("a DICOM file (PS3.10), not a message")
    # 01H and 03H are also types of PDUs, but of such that have no small number there.
    if data[0] in (IS_COMMAND, IS_COMMAND | IS_LAST) and _begins_command_set(data, 1):
        return FRAGMENT
    if data[0] in _PDU_NAMES and data[1:2] in (b"", b"\0"):
        return PDUS
    if _begins_pdv(data):
        return PDVS
    if _begins_command_set(data, 0) or (len(data) < 8 and data.startswith(b"\0\0")):
        return COMMAND_SET
    raise Undecodable(
        f"neither a command set nor a PDV nor PDUs: {_bytes(len(data))}, "
        f"the first are {data[:8].hex(' ').upper()}"
    )


def _begins_command_set(data: bytes, at: int) -> bool:
    """Whether an element of group 0000 may start here: with a small length, or with a VR."""
    if len(data) < at + 8 or data[at : at + 2] != b"\0\0":
        return False
    vr = data[at + 4 : at + 6]
    return data[at + 6 : at + 8] == b"\0\0" or (vr.isalpha() and vr.isupper())


def _begins_pdv(data: bytes) -> bool:
    """Whether a PDV may start here: an odd context ID is where an element has its even length."""
    if len(data) < _PDV_HEADER.size:
        return False
    length, context_id, header = _PDV_HEADER.unpack_from(data)
    if length < 2 or context_id % 2 == 0 or header > (IS_COMMAND | IS_LAST):
        return False
    if 4 + length <= len(data):
        return True
    return bool(header & IS_COMMAND) and _begins_command_set(data, _PDV_HEADER.size)


# -- Taking apart ---------------------------------------------------------------------------------


def dump(data: bytes) -> Dump:
    """Take apart a command set, PDVs or PDUs.

    Parameters
    ----------
    data : bytes
        The input, whole or cut off.

    Returns
    -------
    Dump
        What it holds; of data sets only the length.

    Raises
    ------
    Undecodable
        If it is none of these.
    """
    reader = _Reader(data, _form(data))
    try:
        reader.read()
    except _Full:
        reason = f"more than {MAX_ENTRIES} entries, from here on nothing is looked at"
        reader.result.violations.append(Fault(reason, input_offset=reader.at))
    return reader.result


class _Full(Exception):
    """There are more than `MAX_ENTRIES`."""


class _Message:
    """A message while it is put together."""

    def __init__(self, shown: DumpedMessage) -> None:
        self.shown = shown
        self.command_set = bytearray()
        self.is_command_set_complete = False
        # Where each fragment starts in the command set, and there in the input.
        self._starts: list[int] = []
        self._input_starts: list[int] = []

    def add(self, fragment: memoryview, at: int) -> None:
        """Add a fragment to the command set, unless it becomes too long."""
        self.shown.command_set_bytes += len(fragment)
        if self.shown.command_set_bytes <= _rules.MAX_COMMAND_SET_LENGTH:
            self._starts.append(len(self.command_set))
            self._input_starts.append(at)
            self.command_set += fragment

    def input_offset(self, offset: int) -> int:
        """Find a byte of the command set in the input."""
        index = bisect_right(self._starts, offset) - 1
        return self._input_starts[index] + offset - self._starts[index]


class _Reader:
    """Reads the input once, from its start to its end."""

    def __init__(self, data: bytes, form: str) -> None:
        self.result = Dump(form, len(data))
        self.at = 0
        self._data = data
        self._entries = 0
        self._message: _Message | None = None
        self._is_cut_off = False

    def read(self) -> None:
        """Read it all."""
        if self.result.form == PDUS:
            self._read_pdus()
        elif self.result.form == PDVS:
            self._read_pdvs(0, len(self._data))
        elif self.result.form == FRAGMENT:
            self._take(0, None, self._data[0], 1, len(self._data))
        else:
            self._take(0, None, IS_COMMAND | IS_LAST, 0, len(self._data))
        self._close()

    def _count(self, entries: int = 1) -> None:
        self._entries += entries
        if self._entries > MAX_ENTRIES:
            raise _Full

    def _fault(self, at: int, reason: str) -> None:
        self._count()
        self.result.violations.append(Fault(reason, input_offset=at))

    def _read_pdus(self) -> None:
        at, size = 0, len(self._data)
        while at < size:
            self.at = at
            if size - at < _PDU_HEADER.size:
                self._is_cut_off = True
                self._fault(at, f"the input ends after {size - at} of the 6 bytes of a PDU header")
                return
            kind, reserved, length = _PDU_HEADER.unpack_from(self._data, at)
            name, stop = _PDU_NAMES.get(kind), at + _PDU_HEADER.size + length
            if name is None:
                self._fault(at, f"{kind:02X}H is no type of a PDU, 01H to 07H: nothing to go on by")
                return
            if reserved:
                self._fault(at, f"{name} with {reserved:02X}H as its second byte, not 00H")
            if stop > size:
                self._is_cut_off = True
                self._fault(
                    at, f"{name} of {stop - at} bytes: the input ends after {size - at} of them"
                )
            if name == "P-DATA-TF":
                if length == 0:
                    self._fault(at, "P-DATA-TF without a PDV")
                self._read_pdvs(at + _PDU_HEADER.size, stop)
            else:
                self._count()
                self.result.other_pdus.append(OtherPDU(name, at, stop - at))
            at = stop

    def _read_pdvs(self, at: int, stop: int) -> None:
        """Read PDVs up to where they should end, or up to the end of the input."""
        end = min(stop, len(self._data))
        while at < end:
            self.at = at
            self._count()
            if end - at < _PDV_HEADER.size:
                if end == stop:
                    self._fault(
                        at,
                        f"{_bytes(end - at)}, too few for a PDV's length, presentation context ID "
                        "and message control header, which take 6",
                    )
                return
            length, context_id, header = _PDV_HEADER.unpack_from(self._data, at)
            after = at + 4 + length
            if length < 2:
                self._fault(
                    at,
                    f"a PDV of length {length}, too short for its presentation context ID "
                    "and message control header",
                )
                at = after
                continue
            if after > stop:
                is_in_pdu = self.result.form == PDUS
                self._is_cut_off |= not is_in_pdu
                whole = "its PDU" if is_in_pdu else "the input"
                self._fault(
                    at, f"a PDV of {after - at} bytes: {whole} ends after {stop - at} of them"
                )
            elif length == 2:
                self._fault(at, "a PDV with an empty fragment")
            elif length % 2:
                self._fault(at, f"a PDV with a fragment of odd length, {_bytes(length - 2)}")
            if context_id % 2 == 0:
                self._fault(at, f"presentation context ID {context_id}, not odd")
            self._take(at, context_id, header, at + _PDV_HEADER.size, min(after, end))
            at = after

    def _take(self, at: int, context_id: int | None, header: int, start: int, stop: int) -> None:
        """Take a fragment: the bytes from `start` to `stop`, of the PDV at `at`."""
        is_command, is_last = bool(header & IS_COMMAND), bool(header & IS_LAST)
        if header & ~(IS_COMMAND | IS_LAST):
            self._fault(at, f"message control header {header:02X}H: its bits 2 to 7 are not 0")
        fragment = memoryview(self._data)[start:stop]
        message = self._message_for(at, context_id, is_command)
        if is_command:
            message.add(fragment, start)
            if is_last:
                self._complete(message)
                if message.shown.data_set_announced is False:
                    self._message = None
            return
        if not message.is_command_set_complete:
            self._fault(at, self._why_unexpected(message))
            self._complete(message)
        message.shown.data_set_bytes += len(fragment)
        if is_last:
            self._message = None

    def _message_for(self, at: int, context_id: int | None, is_command: bool) -> _Message:
        """Give the message that a fragment belongs to."""
        message = self._message
        if message is not None and message.shown.context_id != context_id:
            self._fault(
                at,
                f"presentation context {context_id} "
                f"within a message of context {message.shown.context_id}",
            )
            self._close()
        elif message is not None and is_command and message.is_command_set_complete:
            self._close()
        if self._message is None:
            self._count()
            shown = DumpedMessage("message", context_id, at)
            self.result.messages.append(shown)
            self._message = _Message(shown)
        return self._message

    def _why_unexpected(self, message: _Message) -> str:
        """Say what is wrong with a fragment of a data set that comes now."""
        if message.command_set:
            return "a fragment of a data set before the last of the command set"
        before = self.result.messages[-2:-1]
        if before and before[0].data_set_announced is False:
            return "a fragment of a data set, which the command set before it does not announce"
        return "a fragment of a data set without a command set before it"

    def _close(self) -> None:
        """Be done with a message of which more should have come."""
        message, self._message = self._message, None
        if message is None:
            return
        shown = message.shown
        if not message.is_command_set_complete:
            self._complete(message)
            if not self._is_cut_off:
                self._fault(shown.input_offset, "a command set without its last fragment")
        elif shown.data_set_announced and self.result.form == PDUS and not self._is_cut_off:
            came = shown.data_set_bytes
            reason = (
                f"its data set ends after {_bytes(came)}, without a last fragment"
                if came
                else "announces a data set, and none follows"
            )
            types = [element for element in shown.elements if element.tag == 0x00000800]
            where = (types[-1].offset, types[-1].input_offset) if types else (None, None)
            shown.violations.append(Fault(reason, 0x00000800, *where))

    def _complete(self, message: _Message) -> None:
        """Read a command set of which no more comes."""
        message.is_command_set_complete = True
        shown, data = message.shown, bytes(message.command_set)
        if shown.command_set_bytes > len(data):
            limit = _rules.MAX_COMMAND_SET_LENGTH
            self._fault(shown.input_offset, f"a command set of more than {limit} bytes")
        if not data:
            return
        elements, violations = examine(data)
        self._count(len(elements) + len(violations) + len(data) // _BYTES_OF_AN_ENTRY)
        number = command_field(elements)
        if number is not None:
            shown.name = _message_name(number) or "message"
            shown.data_set_announced = announces_data_set(number, data_set_type(elements))
        shown.elements += _describe(message, elements, number)
        for reason, tag, offset, _, _ in violations:
            if number in _rules.N_SET_FIELDS or not _is_only_of_n_set(reason, tag):
                where = None if offset is None else message.input_offset(offset)
                shown.violations.append(Fault(reason, tag, offset, where))
        if number is not None and _message_name(number) is None:
            reason = f"{number:04X}H is no message (PS3.7 Table E.1-1)"
            shown.violations.append(Fault(reason, 0x00000100))


def _describe(
    message: _Message, elements: list[Element], number: int | None
) -> list[DumpedElement]:
    """Give the elements of a command set with their meaning."""
    described = []
    sop_class = None
    for tag, vr, offset, raw in elements:
        element = DumpedElement(tag, vr, raw, offset, message.input_offset(offset))
        if tag in (0x00000002, 0x00000003) and vr == "UI":
            sop_class = element.value
        described.append(element._replace(meaning=_meaning(element, number, sop_class)))
    return described


def _is_only_of_n_set(reason: str, tag: int | None) -> bool:
    """Whether a violation is none in other messages, which have elements of their own."""
    if tag is None or tag >> 16 or not dictionary_has_tag(tag):
        return False
    return reason == "no element of an N-SET command set, skipped" or "is no N-SET" in reason
