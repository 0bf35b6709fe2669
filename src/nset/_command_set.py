"""The slow path for command sets, shared by both implementations: those that are not canonical.

`decode` accepts anything that a peer may send and reports its violations; `encode` encodes anything
that a primitive may have. Canonical command sets (PS3.7 Section 6.3.1, Tables 10.3-5 and 10.3-6) do
not get here: each implementation decodes and encodes them itself.
"""

import logging
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any, Final, NamedTuple

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from nset import _rules
from nset._errors import CommandSetError, count_of_bytes, describe, tag_text
from nset._rules import MAX_US, N_SET_RQ, N_SET_RSP, NO_DATA_SET
from nset._uid import is_conformant_uid, validate_uid


def _escape(record: logging.LogRecord) -> bool:
    """Escape unprintable characters in a record and in the exceptions of its traceback."""
    with suppress(Exception):  # raised by an object's __str__; the handlers report it
        text = record.getMessage()
        if not text.isprintable():
            record.msg, record.args = _rules.escaped(text), None
        exc = record.exc_info[1] if record.exc_info else None
        trace = "".join(traceback.format_exception(exc)).rstrip("\n") if exc else ""
        for _ in range(_rules.MAX_LOGGED):  # the chain of exceptions may be a cycle
            if exc is not None and not str(exc).isprintable():
                record.exc_text = trace = trace.replace(str(exc), _rules.escaped(str(exc)))
            exc = exc and (exc.__cause__ or exc.__context__)
    return True


_LOGGER = logging.getLogger("nset")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.addFilter(_escape)


class CommandElement(NamedTuple):
    """An element that N-SET defines (PS3.7 Tables 10.3-5, 10.3-6 and E.1-1, Annex C)."""

    keyword: str
    vr: str
    in_request: bool
    in_response: bool
    required: bool


COMMAND_ELEMENTS: Final = {
    0x00000000: CommandElement("CommandGroupLength", "UL", True, True, True),
    0x00000002: CommandElement("AffectedSOPClassUID", "UI", False, True, False),
    0x00000003: CommandElement("RequestedSOPClassUID", "UI", True, False, True),
    0x00000100: CommandElement("CommandField", "US", True, True, True),
    0x00000110: CommandElement("MessageID", "US", True, False, True),
    0x00000120: CommandElement("MessageIDBeingRespondedTo", "US", False, True, True),
    0x00000800: CommandElement("CommandDataSetType", "US", True, True, True),
    0x00000900: CommandElement("Status", "US", False, True, True),
    0x00000901: CommandElement("OffendingElement", "AT", False, True, False),
    0x00000902: CommandElement("ErrorComment", "LO", False, True, False),
    0x00000903: CommandElement("ErrorID", "US", False, True, False),
    0x00001000: CommandElement("AffectedSOPInstanceUID", "UI", False, True, False),
    0x00001001: CommandElement("RequestedSOPInstanceUID", "UI", True, False, True),
    0x00001005: CommandElement("AttributeIdentifierList", "AT", False, True, False),
}
_TAGS: Final = {element.keyword: tag for tag, element in COMMAND_ELEMENTS.items()}
_ITEM_LENGTHS: Final = {"US": 2, "UL": 4, "AT": 4}
_US: Final = struct.Struct("<H")

# With explicit VR these have 2 reserved bytes and a length of 4 (PS3.5 Section 7.1.2).
_LONG_VRS: Final = (
    *(b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV"),
    *(b"UC", b"UN", b"UR", b"UT", b"UV"),
)


class Element(NamedTuple):
    """An element of a command set, as sent."""

    tag: int
    vr: str
    """By PS3.7 Annex E, or as sent with explicit VR."""
    offset: int
    """Bytes from the start of the command set to the tag."""
    value: bytes


class Kind(Enum):
    """What a violation concerns; not every caller reports every kind."""

    COMMAND_FIELD = "the message is not of N-SET"
    ELEMENT = "the element is not of N-SET"
    UID = "the UID does not conform"
    OTHER = "anything else"


class Violation(NamedTuple):
    """A violation of PS3.7."""

    reason: str
    tag: int | None
    offset: int | None
    status: int
    is_error: bool
    """Whether lenient decoding fails, too."""
    kind: Kind = Kind.OTHER


# -- Decoding -------------------------------------------------------------------------------------


class _Sender(threading.local):
    """Who has sent what this thread decodes, for the log: what names the peer, or None."""

    name: Callable[[], str] | None = None


sender: Final = _Sender()


def decode(data: bytes, strict: bool) -> dict[str, Any]:
    """Decode any command set that can be one of an N-SET, into values by the primitive's keywords.

    If `strict`, accept only what PS3.7 Sections 6.3.1 and 10.3.3 allow. Raise `CommandSetError` for
    the first violation that is not accepted.
    """
    elements, violations = examine(data)
    errors = [violation for violation in violations if violation.is_error]
    if errors or (strict and violations):
        raise _error((errors or violations)[0], elements)
    fields: dict[str, Any] = {}
    for element in {element.tag: element for element in elements}.values():
        known = COMMAND_ELEMENTS.get(element.tag)
        if known is not None:
            fields[known.keyword] = _value(known, element, elements)
    # validate_uid() has logged UIDs that do not conform, in pynetdicom's words.
    logged = [violation for violation in violations if violation.kind is not Kind.UID]
    whose = f" from {sender.name()}" if logged and sender.name is not None else ""
    for reason, tag, offset, *_ in logged[: _rules.MAX_LOGGED]:
        _LOGGER.warning("N-SET command set%s: %s", whose, describe(reason, tag, offset))
    if len(logged) > _rules.MAX_LOGGED:
        more = len(logged) - _rules.MAX_LOGGED
        _LOGGER.warning("N-SET command set%s: and %d more", whose, more)
    is_request = fields.pop("CommandField") == N_SET_RQ
    fields.pop("CommandGroupLength", None)
    fields.pop("CommandDataSetType", None)
    if is_request:
        # PS3.4 Section 5.4.2.3 names the Affected UIDs where PS3.7 has the Requested ones.
        for which in ("SOPClassUID", "SOPInstanceUID"):
            if fields.get(f"Requested{which}") is None:
                fields[f"Requested{which}"] = fields.get(f"Affected{which}")
    return fields


def examine(data: bytes) -> tuple[list[Element], list[Violation]]:
    """Return the elements of any command set, as far as they can be decoded, and its violations.

    The violations are those of PS3.7 Sections 6.3.1 and 10.3.3, in the order of the bytes; missing
    elements last.
    """
    elements, violations, padding = _split(data)
    seen: set[int] = set()
    previous_tag = -1
    for element in elements:
        if element.tag in seen:
            violations.append(
                _violation("there again, the last one counts", element.tag, element.offset)
            )
        elif element.tag < previous_tag:
            violations.append(_violation("out of order: tags ascend", element.tag, element.offset))
        violations += _element_violations(element)
        seen.add(element.tag)
        previous_tag = element.tag
    violations += _message_violations(elements, len(data), padding)
    violations.sort(key=lambda found: len(data) if found.offset is None else found.offset)
    return elements, violations


def command_field(elements: list[Element]) -> int | None:
    """Return the Command Field (0000,0100), the last one if there are several.

    None if it is missing, empty or of a wrong length.
    """
    return _us(elements, 0x00000100)


def data_set_type(elements: list[Element]) -> int | None:
    """Return the Command Data Set Type (0000,0800), as `command_field` does."""
    return _us(elements, 0x00000800)


def message_id(elements: list[Element]) -> int | None:
    """Return the Message ID (0000,0110), as `command_field` does."""
    return _us(elements, 0x00000110)


def announces_data_set(field: int, data_set_type: int | None) -> bool:
    """Return whether a command set announces a data set.

    Without a Command Data Set Type, a request does and a response (bit 15 of the field) does not.
    """
    return not field & 0x8000 if data_set_type is None else data_set_type != NO_DATA_SET


def read_command_field_and_type(data: bytes) -> tuple[int, int | None]:
    """Return Command Field and Command Data Set Type of any message's command set.

    Raise `CommandSetError` if there is no Command Field, or the bytes cannot be decoded.
    """
    elements, violations, _ = _split(data)
    for violation in violations:
        if violation.is_error:
            raise _error(violation, elements)
    field = command_field(elements)
    if field is None:
        raise CommandSetError("missing", 0x100, None, _rules.UNRECOGNIZED_OPERATION)
    return field, data_set_type(elements)


def _us(elements: list[Element], tag: int) -> int | None:
    for element in reversed(elements):
        if element.tag == tag:
            value = element.value
            return None if not value or len(value) % 2 else int.from_bytes(value[:2], "little")
    return None


def _split(data: bytes) -> tuple[list[Element], list[Violation], int]:
    """Split the bytes into elements, as far as possible; count the bytes of padding.

    Padding is fewer bytes than a header has, or zeros up to the end.
    """
    elements: list[Element] = []
    explicit = _is_vr(data[4:6])  # decided by the first element, as in pydicom
    violations = []
    if explicit:
        violations.append(_violation("explicit VR, not Implicit VR Little Endian", None, 0))
    at, end, content_end = 0, len(data), len(data.rstrip(b"\0"))
    padding = 0
    while at < end:
        header, vr, length = _header(data, at, explicit)
        left = end - at - header
        if end - at < 8 or at >= content_end:
            padding = end - at
            violations.append(
                _violation(f"{count_of_bytes(padding)} of padding at byte {at}", None, at)
            )
            break
        if left < 0:
            violations.append(
                Violation(
                    f"{count_of_bytes(end - at)} at byte {at}, too few for the header of an "
                    f"element, which takes {header}",
                    *(None, at, _rules.PROCESSING_FAILURE, True),
                )
            )
            break
        group, number = struct.unpack_from("<HH", data, at)
        tag = group << 16 | number
        if length > left:
            violations.append(
                Violation(
                    f"the value of {length} bytes runs past the end, {left} are left",
                    *(tag, at, _rules.PROCESSING_FAILURE, True),
                )
            )
            break
        value = data[at + header : at + header + length]
        elements.append(Element(tag, vr or _vr(tag), at, value))
        at += header + length
    return elements, violations, padding


def _is_vr(text: bytes) -> bool:
    """Return whether these are two capital letters: no length of a command element is like that."""
    return len(text) == 2 and text.isalpha() and text.isupper()


def _header(data: bytes, at: int, explicit: bool) -> tuple[int, str | None, int]:
    """Return the header's length, the VR if it has one, and the value's length."""
    vr = data[at + 4 : at + 6]
    # Elements with implicit VR may stand among those with explicit VR.
    if not explicit or not _is_vr(vr):
        return 8, None, int.from_bytes(data[at + 4 : at + 8], "little")
    if vr in _LONG_VRS:
        return 12, vr.decode("ascii"), int.from_bytes(data[at + 8 : at + 12], "little")
    return 8, vr.decode("ascii"), int.from_bytes(data[at + 6 : at + 8], "little")


def _vr(tag: int) -> str:
    known = COMMAND_ELEMENTS.get(tag)
    if known is not None:
        return known.vr
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


def _element_violations(element: Element) -> list[Violation]:
    """Return the violations of PS3.7 Section 6.3.1 and of its VR in an element."""
    tag, offset, value = element.tag, element.offset, element.value
    known = COMMAND_ELEMENTS.get(tag)
    if known is not None and known.vr in _ITEM_LENGTHS:
        item = _ITEM_LENGTHS[known.vr]
        if len(value) % item or (not value and known.vr == "UL"):
            reason = f"{count_of_bytes(len(value))} long, not {item}"
            return [Violation(reason, tag, offset, _rules.MISTYPED_ARGUMENT, True)]
    return [_violation(reason, tag, offset, kind) for reason, kind in _reasons(element, known)]


def _reasons(element: Element, known: CommandElement | None) -> Iterator[tuple[str, Kind]]:
    value = element.value
    if known is None:
        yield "no element of an N-SET command set, skipped", Kind.ELEMENT
    if len(value) % 2:
        yield f"{count_of_bytes(len(value))} long, an odd number", Kind.OTHER
    if known is None:
        return
    if element.vr != known.vr:
        yield f"VR {element.vr}, not {known.vr}", Kind.OTHER
    if known.vr == "US" and not value:
        yield "without a value", Kind.OTHER
    elif known.vr in ("US", "UL") and len(value) > _ITEM_LENGTHS[known.vr]:
        count = len(value) // _ITEM_LENGTHS[known.vr]
        yield f"{count} values, the first is taken", Kind.OTHER
    elif known.vr == "UI":
        yield from _uid_reasons(value)
    elif known.vr == "LO":
        yield from ((reason, Kind.OTHER) for reason in _comment_reasons(value))


def _uid_reasons(value: bytes) -> Iterator[tuple[str, Kind]]:
    """Yield the violations of PS3.5 Sections 6.2 and 9.1 in a UID."""
    if b"\\" in value:
        yield f"{value.count(92) + 1} values, the first is taken", Kind.OTHER
        return
    text = value.decode("latin-1").rstrip("\0 ")
    uid = text.strip()
    if not uid:
        yield "without a value", Kind.OTHER
        return
    if value[len(text) :] not in (b"", b"\0" if len(text) % 2 else b""):
        yield "padded otherwise than with one NUL to an even length", Kind.OTHER
    if uid != text:
        yield "blanks around the UID", Kind.OTHER
    if not is_conformant_uid(uid):
        yield "no UID by PS3.5 Section 9.1", Kind.UID


def _comment_reasons(value: bytes) -> Iterator[str]:
    """Yield the violations in an Error Comment, an LO of the default repertoire (PS3.5 6.2)."""
    text = value.rstrip(b"\0 ")
    if b"\\" in value:
        yield f"{value.count(92) + 1} values, the first is taken"
    if len(text) > _rules.MAX_COMMENT_LENGTH:
        yield f"{len(text)} characters, more than {_rules.MAX_COMMENT_LENGTH}"
    if not text.isascii() or any(byte < 0x20 or byte == 0x7F for byte in text):
        yield "characters outside the default character repertoire"
    if value.endswith(b"\0"):
        yield "padded with NUL, not with a space"


def _message_violations(elements: list[Element], size: int, padding: int) -> list[Violation]:
    """Return the violations of PS3.7 Tables 10.3-5 and 10.3-6 in a command set."""
    present = {element.tag: element for element in elements}
    violations = []
    length = present.get(0)
    if length is not None and len(length.value) == 4:
        declared = int.from_bytes(length.value, "little")
        actual = size - length.offset - 12
        if declared not in (actual, actual - padding):
            reason = f"tells {declared} bytes, {actual} follow"
            violations.append(_violation(reason, 0, length.offset))
    field = command_field(elements)
    if field not in (N_SET_RQ, N_SET_RSP):
        offset = present[0x100].offset if 0x100 in present else None
        status = _rules.UNRECOGNIZED_OPERATION
        if field is None:
            violations.append(Violation("missing", 0x100, offset, status, True))
        else:
            reason = f"{field:04X}H is no N-SET (0120H or 8120H)"
            violations.append(Violation(reason, 0x100, offset, status, True, Kind.COMMAND_FIELD))
        return violations
    name = "N-SET-RQ" if field == N_SET_RQ else "N-SET-RSP"
    for tag, known in COMMAND_ELEMENTS.items():
        belongs = known.in_request if field == N_SET_RQ else known.in_response
        if tag in present and not belongs:
            violations.append(_violation(f"no element of an {name}", tag, present[tag].offset))
        if tag not in present and belongs and known.required:
            violations.append(
                Violation(f"missing in an {name}", tag, None, missing_status(known.keyword), False)
            )
    if field == N_SET_RQ and data_set_type(elements) == NO_DATA_SET:
        violations.append(
            _violation("0101H: a request without a data set", 0x800, present[0x800].offset)
        )
    return violations


def _violation(
    reason: str, tag: int | None = None, offset: int | None = None, kind: Kind = Kind.OTHER
) -> Violation:
    keyword = COMMAND_ELEMENTS[tag].keyword if tag in COMMAND_ELEMENTS else ""
    status = missing_status(keyword) if keyword.endswith("UID") else _rules.MISTYPED_ARGUMENT
    return Violation(reason, tag, offset, status, False, kind)


def missing_status(keyword: str) -> int:
    """Return the Status for a missing or invalid element (PS3.7 Annex C)."""
    if keyword.endswith("SOPInstanceUID"):
        return _rules.INVALID_SOP_INSTANCE
    if keyword.endswith("SOPClassUID"):
        return _rules.NO_SUCH_SOP_CLASS
    return _rules.MISTYPED_ARGUMENT


def _value(known: CommandElement, element: Element, elements: list[Element]) -> Any:
    """Convert a value as pydicom does; raise if the validators refuse it."""
    value = element.value
    if known.vr in ("US", "UL"):
        item = _ITEM_LENGTHS[known.vr]
        return int.from_bytes(value[:item], "little") if value else None
    if known.vr == "AT":
        tags = [BaseTag(high << 16 | low) for high, low in struct.iter_unpack("<HH", value)]
        if len(tags) < 2:
            return tags[0] if tags else None
        return MultiValue(Tag, tags)
    text = value.decode("latin-1").partition("\\")[0].rstrip("\0 ")
    if known.vr == "LO":
        return text
    try:
        return validate_uid(text, _rules.ELEMENT_NAMES[known.keyword], is_peers=True)
    except ValueError as exc:
        violation = Violation(
            str(exc), element.tag, element.offset, missing_status(known.keyword), True
        )
        raise _error(violation, elements) from exc


def _error(violation: Violation, elements: list[Element]) -> CommandSetError:
    error = CommandSetError(*violation[:4])
    if command_field(elements) == N_SET_RQ:
        error.message_id = _us(elements, 0x00000110)
    return error


# -- Encoding -------------------------------------------------------------------------------------


def encode(primitive: Any, *, is_lenient: bool = False) -> bytes:
    """Encode the command set of any primitive, as pynetdicom would.

    Raise ValueError or TypeError, with the element's name, for a value that cannot be encoded. If
    `is_lenient`, encode as much of a response as possible: a long Error Comment is cut, characters
    that LO does not allow become "?", and optional elements that cannot be encoded are left out.
    Each is logged.
    """
    is_response = primitive.MessageIDBeingRespondedTo is not None
    values = {}
    for tag, known in COMMAND_ELEMENTS.items():
        if tag == 0 or not (known.in_response if is_response else known.in_request):
            continue
        if known.keyword == "CommandField":
            value: bytes | None = _US.pack(N_SET_RSP if is_response else N_SET_RQ)
        elif known.keyword == "CommandDataSetType":
            value = _US.pack(0x0001 if _has_data_set(primitive, is_response) else NO_DATA_SET)
        elif is_lenient and not known.required:
            value = _encode_leniently(primitive, known)
        else:
            value = _encode_field(primitive, known)
        if value is not None:
            values[tag] = value
    return joined(values)


def joined(values: dict[int, bytes]) -> bytes:
    """Return the command set of encoded values by tag, in ascending order, with its length."""
    body = b"".join(
        struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
        for tag, value in sorted(values.items())
    )
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _has_data_set(primitive: Any, is_response: bool) -> bool:
    """Return whether a data set will be sent: an empty list is none."""
    stream = primitive.AttributeList if is_response else primitive.ModificationList
    if stream is None:
        return bool(primitive._dataset_path)  # pynetdicom then sends the data set from a file
    return len(stream.getvalue()) > 0


def encode_details(details: dict[str, Any]) -> dict[int, bytes]:
    """Encode optional elements of a response, by keyword: return their values by tag."""
    tags = {keyword: _TAGS[keyword] for keyword in details}
    return {
        tag: _ENCODERS[COMMAND_ELEMENTS[tag].vr](details[keyword], keyword)
        for keyword, tag in tags.items()
    }


def _encode_field(primitive: Any, known: CommandElement) -> bytes | None:
    """Return the encoded value, padded; None if the element is not sent."""
    keyword = known.keyword
    optional = keyword in _rules.STATUS_OPTIONAL_KEYWORDS
    if optional and not hasattr(primitive, keyword):
        # pynetdicom sends its three with an empty value after they were deleted.
        return None if keyword == "OffendingElement" else b""
    value = getattr(primitive, keyword)
    if value is None:
        return None
    if optional and isinstance(value, str | bytes | list | tuple | MultiValue) and not value:
        return b""
    return _ENCODERS[known.vr](value, keyword)


def _encode_leniently(primitive: Any, known: CommandElement) -> bytes | None:
    """Return the encoded value, or as much of it as possible; None if that is nothing."""
    try:
        return _encode_field(primitive, known)
    except Exception as exc:  # a program may set any value
        value = getattr(primitive, known.keyword)
        if known.vr == "LO" and isinstance(value, list | tuple | MultiValue):
            value = "\\".join(map(str, value))  # pydicom has split the text of a Dataset
        if known.vr == "LO" and isinstance(value, str | bytes):
            _LOGGER.warning("Sending what can be sent of an Error Comment: %s", exc)
            return _encode_comment(repaired_comment(value), known.keyword)
        _LOGGER.error("Sending an N-SET response without an element: %s", exc)
        return None


def repaired_comment(comment: str | bytes) -> str:
    """Cut a comment, with "?" for characters that LO in the default repertoire does not allow."""
    text = comment.decode("latin-1") if isinstance(comment, bytes) else comment
    return "".join(
        char if char.isascii() and char.isprintable() and char != "\\" else "?"
        for char in text[: _rules.MAX_COMMENT_LENGTH]
    )


def _named(keyword: str) -> str:
    return f"{keyword} {tag_text(_TAGS[keyword])}"


def _encode_number(value: Any, keyword: str) -> bytes:
    """Encode a US, 2 bytes (PS3.5 Section 6.2)."""
    if not issubclass(type(value), int):  # isinstance() would believe a __class__ of int
        raise TypeError(f"{_named(keyword)} must be an int, not {type(value).__name__}")
    try:
        return _US.pack(value)
    except struct.error:
        raise ValueError(f"{_named(keyword)} must be between 0 and {MAX_US}, inclusive") from None


def _encode_uid(uid: Any, keyword: str) -> bytes:
    """Encode a UID, padded with a NUL to an even length (PS3.5 Section 9.1)."""
    if not is_conformant_uid(uid):
        # Sent unchanged, with pydicom's warning.
        try:
            uid = "\\".join([UID(part) for part in uid.split("\\")])
        except ValueError as exc:
            raise ValueError(f"{_named(keyword)} can't be sent: {exc}") from exc
    try:
        value: bytes = uid.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(
            f"{_named(keyword)} has characters that can't be sent: {str(uid)!r}"
        ) from None
    return value + b"\0" if len(value) % 2 else value


def _encode_tags(value: Any, keyword: str) -> bytes:
    """Encode one tag or a list of tags as AT, 4 bytes each (PS3.5 Section 6.2)."""
    encoded = []
    for item in value if isinstance(value, list | MultiValue) else [value]:
        try:
            tag = Tag(item)
            if not 0 <= tag <= 0xFFFFFFFF:  # Tag() does not check a BaseTag
                raise ValueError("a tag has 4 bytes")
            encoded.append(struct.pack("<HH", tag.group, tag.element))
        except (TypeError, ValueError, OverflowError) as exc:
            kind = TypeError if isinstance(exc, TypeError) else ValueError
            raise kind(f"{_named(keyword)} can't be sent as {item!r}: {exc}") from exc
    return b"".join(encoded)


def _encode_comment(value: Any, keyword: str) -> bytes:
    """Encode an LO of the default repertoire, padded with a space (PS3.5 Section 6.2)."""
    if not isinstance(value, str | bytes):
        raise TypeError(f"{_named(keyword)} must be str or bytes, not {type(value).__name__}")
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if len(text) > _rules.MAX_COMMENT_LENGTH:
        raise ValueError(
            f"{_named(keyword)} must have at most {_rules.MAX_COMMENT_LENGTH} characters, "
            f"not {len(text)}"
        )
    if not text.isascii() or not text.isprintable() or "\\" in text:
        raise ValueError(
            f"{_named(keyword)} must be ASCII without backslash and control characters, "
            f"not {value!r}"
        )
    encoded = text.encode("ascii")
    return encoded + b" " if len(encoded) % 2 else encoded


_ENCODERS: Final[dict[str, Callable[[Any, str], bytes]]] = {
    "AT": _encode_tags,
    "LO": _encode_comment,
    "UI": _encode_uid,
    "US": _encode_number,
}
