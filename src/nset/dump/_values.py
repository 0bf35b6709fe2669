"""Values of a command set, and their meaning."""

import struct
from typing import Any, Final

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag, dictionary_keyword
from pydicom.uid import UID

from nset._errors import tag_text

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

TEXT_VRS: Final = ("AE", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI")
_NUMBERS: Final = {"US": struct.Struct("<H"), "UL": struct.Struct("<L")}
_TAG: Final = struct.Struct("<HH")


def keyword_of(tag: int) -> str:
    """Return the keyword, or empty if pydicom's dictionary has none."""
    return dictionary_keyword(tag) if dictionary_has_tag(tag) else ""


def tags(raw: bytes) -> list[int]:
    """Return the tags of a value."""
    return [group << 16 | number for group, number in _TAG.iter_unpack(raw)]


def numbers_or_tags(vr: str, raw: bytes) -> list[Any]:
    """Return the numbers or tags of a value; none for a wrong length or another VR."""
    if vr == "AT" and len(raw) % _TAG.size == 0:
        return [tag_text(tag) for tag in tags(raw)]
    layout = _NUMBERS.get(vr)
    if layout is None or len(raw) % layout.size:
        return []
    return [number for (number,) in layout.iter_unpack(raw)]


def message_name(number: int) -> str | None:
    """Return the name of the message with this Command Field, such as ``N-SET-RQ``."""
    service = _SERVICES.get(number & ~0x8000)
    if service is None or number == 0x8FFF:
        return None
    return f"{service}-RSP" if number & 0x8000 else f"{service}-RQ"


def uid_name(value: str) -> str:
    """Return the name of a UID in the standard, or empty."""
    uid = UID(value, validation_mode=IGNORE)
    return "" if uid.name == uid else uid.name


def printable(text: str) -> str:
    """Return a text with everything but printable ASCII escaped."""
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if " " <= character <= "~":
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
