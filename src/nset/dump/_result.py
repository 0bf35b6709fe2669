"""The result of a dump: streams, messages, their elements, other PDUs and violations."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from nset._errors import element_text, tag_text
from nset.dump import _limits
from nset.dump._values import TEXT_VRS, keyword_of, numbers_or_tags, printable

_IN_HEX: Final = (0x00000100, 0x00000800, 0x00000900, 0x00000903)


class Fault(NamedTuple):
    """A violation of the standard.

    Attributes
    ----------
    reason : str
        What is wrong.
    tag : int or None
        The element.
    offset : int or None
        Bytes from the start of the command set to the element, or to where decoding fails.
    input_offset : int or None
        Bytes from the start of the stream to the same place, or to the PDV or PDU at fault.
    """

    reason: str
    tag: int | None = None
    offset: int | None = None
    input_offset: int | None = None

    @property
    def text(self) -> str:
        """The offset, the element, and what is wrong."""
        parts = []
        if self.input_offset is not None:
            place = f"byte {self.input_offset}"
            if self.offset not in (None, self.input_offset):
                place += f", {self.offset} of the command set"
            parts.append(place)
        if self.tag is not None:
            parts.append(element_text(self.tag))
        return ": ".join([*parts, self.reason])

    def as_json(self) -> dict[str, Any]:
        """Return it as a dict for `json.dumps`."""
        tag = None if self.tag is None else tag_text(self.tag)
        return {**self._asdict(), "tag": tag, "text": self.text}


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
        Bytes to the tag, from the start of the command set and of the stream.
    meaning : str
        The meaning of the value, or empty.
    """

    tag: int
    vr: str
    raw: bytes
    offset: int
    input_offset: int
    meaning: str = ""

    @property
    def keyword(self) -> str:
        """The keyword, or empty if pydicom's dictionary has none."""
        return keyword_of(self.tag)

    @property
    def value(self) -> Any:
        """The value; a list if there are several, None if it is empty or cannot be decoded."""
        if self.raw and self.vr in TEXT_VRS:
            return self.raw.decode("latin-1").rstrip("\0 ")
        values = numbers_or_tags(self.vr, self.raw)
        return values if len(values) > 1 else next(iter(values), None)

    @property
    def text(self) -> str:
        """The value and its meaning, in printable ASCII."""
        value = self.value
        if value is None:
            text = f"hex {self.raw.hex(' ')}" if self.raw else "(empty)"
        elif isinstance(value, str):
            text = printable(value)
        else:
            in_hex = self.tag in _IN_HEX and self.vr == "US"
            values = numbers_or_tags(self.vr, self.raw)
            text = ", ".join(f"{one:04X}H" if in_hex else str(one) for one in values)
        return _shortened(text, self.meaning, len(self.raw))

    def as_json(self) -> dict[str, Any]:
        """Return it as a dict for `json.dumps`."""
        return {
            "tag": tag_text(self.tag),
            "keyword": self.keyword,
            "vr": self.vr,
            "value": self.value,
            "meaning": self.meaning,
            "raw": self.raw.hex(),
            "offset": self.offset,
            "input_offset": self.input_offset,
        }


class DataSetElement(NamedTuple):
    """An element of a data set, or an Item of a sequence (PS3.5 Section 7.5).

    Attributes
    ----------
    tag : int
        The tag.
    vr : str
        As sent, or by pydicom's dictionary; empty for an Item.
    length : int or None
        Bytes of the value as sent; None if its length is undefined.
    depth : int
        The number of sequences that contain it.
    offset, input_offset : int
        Bytes to the tag, from the start of the data set and of the stream. For a deflated data set
        both count in the inflated data.
    value : str, int, float, list or None
        As pydicom decodes it, shortened; None if it is empty, contains other elements, or cannot be
        decoded.
    meaning : str
        The meaning of the value, or why there is no value, or empty.
    """

    tag: int
    vr: str
    length: int | None
    depth: int
    offset: int
    input_offset: int
    value: Any = None
    meaning: str = ""

    @property
    def keyword(self) -> str:
        """The keyword, or empty if pydicom's dictionary has none."""
        return keyword_of(self.tag)

    @property
    def text(self) -> str:
        """The value and its meaning, in printable ASCII."""
        if self.value is None:
            return f"({self.meaning or 'empty'})"
        values = self.value if isinstance(self.value, list) else [self.value]
        text = printable("\\".join(map(str, values)))
        return _shortened(text, printable(self.meaning), self.length or 0)

    def as_json(self) -> dict[str, Any]:
        """Return it as a dict for `json.dumps`."""
        return {**self._asdict(), "tag": tag_text(self.tag), "keyword": self.keyword}


def _shortened(text: str, meaning: str, size: int) -> str:
    text += f" ({meaning})" if meaning else ""
    if len(text) > _limits.MAX_SHOWN:
        return f"{text[: _limits.MAX_SHOWN]}... ({size} bytes)"
    return text


@dataclass
class DumpedMessage:
    """A message, complete or not.

    Attributes
    ----------
    name : str
        Such as ``"N-SET-RQ"``; ``"message"`` if the Command Field is missing or unknown.
    context_id : int or None
        ID of the presentation context; None if the input has none.
    input_offset : int
        Bytes from the start of the stream to its first fragment.
    command_set_bytes, data_set_bytes : int
        The length of each, as far as it was captured.
    data_set_announced : bool or None
        Whether the command set announces a data set; None if that is unknown.
    elements : list of DumpedElement
        The elements of the command set, in their order.
    violations : list of Fault
        Violations in the command set, and in what it announces.
    abstract_syntax : str or None
        UID that was proposed for the context, if the A-ASSOCIATE-RQ was captured.
    transfer_syntax : str or None
        UID by which the data set is decoded; None if there is no data set.
    transfer_syntax_guessed : bool
        True if it is not from an A-ASSOCIATE-AC.
    data_set : list of DataSetElement
        The elements of the data set, in their order.
    notes : list of str
        What was not captured, and where the data set cannot be decoded.
    """

    name: str
    context_id: int | None
    input_offset: int
    command_set_bytes: int = 0
    data_set_bytes: int = 0
    data_set_announced: bool | None = None
    elements: list[DumpedElement] = field(default_factory=list)
    violations: list[Fault] = field(default_factory=list)
    abstract_syntax: str | None = None
    transfer_syntax: str | None = None
    transfer_syntax_guessed: bool = False
    data_set: list[DataSetElement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as a dict for `json.dumps`."""
        return {
            **vars(self),
            "elements": [element.as_json() for element in self.elements],
            "violations": [fault.as_json() for fault in self.violations],
            "data_set": [element.as_json() for element in self.data_set],
        }


class OtherPDU(NamedTuple):
    """A PDU that carries no message.

    Attributes
    ----------
    name : str
        Such as ``"A-ASSOCIATE-RQ"``.
    input_offset : int
        Bytes from the start of the stream.
    length : int
        Its length by its header, with the header.
    details : dict
        Its fields, for `json.dumps`: see docs/how-to/dump.md.
    """

    name: str
    input_offset: int
    length: int
    details: dict[str, Any]


@dataclass
class Dump:
    """The content of the input, or of one stream of a capture.

    Attributes
    ----------
    form : str
        The detected format.
    size : int
        The number of bytes.
    messages : list of DumpedMessage
        In their order.
    other_pdus : list of OtherPDU
        In their order.
    violations : list of Fault
        Violations in PDUs and PDVs, in their order.
    name : str
        The name of the stream, such as ``"10.0.0.4:1042 -> 10.0.0.9:104"``, or empty.
    source : str
        What contained the bytes, such as ``"a pcap file"``; empty for bytes and hex digits.
    missing : list of tuple of int
        Start and end of each gap in the capture.
    notes : list of str
        What was skipped, and why.
    streams : list of Dump
        The streams, if there are several; the other lists are empty then.
    """

    form: str
    size: int
    messages: list[DumpedMessage] = field(default_factory=list)
    other_pdus: list[OtherPDU] = field(default_factory=list)
    violations: list[Fault] = field(default_factory=list)
    name: str = ""
    source: str = ""
    missing: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    streams: list["Dump"] = field(default_factory=list)

    @property
    def violation_count(self) -> int:
        """The number of all violations."""
        count = len(self.violations) + sum(len(message.violations) for message in self.messages)
        return count + sum(stream.violation_count for stream in self.streams)

    def as_json(self) -> dict[str, Any]:
        """Return it as a dict for `json.dumps`.

        Returns
        -------
        dict
            The attributes by name. Tags are text, and ``raw`` is hex digits.
        """
        return {
            **vars(self),
            "messages": [message.as_json() for message in self.messages],
            "other_pdus": [pdu._asdict() for pdu in self.other_pdus],
            "violations": [fault.as_json() for fault in self.violations],
            "streams": [stream.as_json() for stream in self.streams],
            "violation_count": self.violation_count,
        }
