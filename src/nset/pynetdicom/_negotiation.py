"""PDUs that open and end an association, repaired before pynetdicom decodes them.

Receivers ignore unknown items (PS3.8 Section 9.3.1), and test only bit 0 of the protocol version
(Section 9.3.2). pynetdicom refuses a PDU that relies on that, or one of its threads ends when it
converts the PDU. Whatever can be accepted is repaired in the bytes, before pynetdicom decodes them.
Anything else is a `PduError`, or an A-ASSOCIATE-RJ if the standard defines one (Table 9-21).
"""

import logging
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final

from pynetdicom import evt
from pynetdicom.dul import _PDU_TYPES
from pynetdicom.pdu import A_ASSOCIATE_RQ

from nset import _pdu
from nset._pdu import PduError
from nset._rules import escaped
from nset.pynetdicom._provider import _peer

_LOGGER = logging.getLogger("nset")

_RQ, _AC, _RJ, _ABORT = 0x01, 0x02, 0x03, 0x07
KINDS: Final = {kind: _pdu.PDU_NAMES[kind] for kind in (_RQ, _AC, _RJ, _ABORT)}
"""The names of the PDUs that are repaired here, by type."""

_ITEMS_OFFSET: Final = 74  # of an A-ASSOCIATE-RQ or -AC
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX, _USER_INFORMATION = 0x30, 0x40, 0x50
_CONTEXT: Final = {_RQ: 0x20, _AC: 0x21}

# A context per odd ID; 5 user items once, and 3 once per context. A PDU with more items is refused
# before pynetdicom decodes it, which takes 20 us per item.
_MAX_CONTEXTS: Final = 128
_MAX_IN_CONTEXT: Final = 128
_MAX_USER_ITEMS: Final = 5 + 3 * _MAX_CONTEXTS
_MAX_OTHERS: Final = 16

_MAXIMUM_LENGTH, _CLASS_UID, _VERSION_NAME, _USER_IDENTITY = 0x51, 0x52, 0x55, 0x58
_IDENTITIES: Final = (b"\1", b"\2", b"\3", b"\4", b"\5")  # PS3.7 Section D.3.3.7
_USER_ITEMS: Final = {
    _RQ: (0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58),
    _AC: (0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x59),
}

# Assumed if the peer announces no maximum length: DCMTK's default.
_DEFAULT_MAXIMUM_LENGTH_BYTES: Final = 16384

# Reasons by source (PS3.8 Table 9-21), and reasons of the provider (Table 9-26).
_REJECT_REASONS: Final = {1: (1, 2, 3, 7), 2: (1, 2), 3: (1, 2)}
_ABORT_REASONS: Final = (0, 1, 2, 4, 5, 6)

# The offset of each AE title, and the result, source and reason of the A-ASSOCIATE-RJ.
_TITLES: Final = {"calling": (26, (1, 1, 3)), "called": (10, (1, 1, 7))}


def decode_pdu(self: Any, bytestream: bytearray) -> tuple[Any, str]:
    """Return a PDU of `KINDS` and its event, as ``DULServiceProvider._decode_pdu`` does.

    Raise `PduError` if it cannot be accepted; pynetdicom raises other exceptions.
    """
    data = bytes(bytestream)
    evt.trigger(self.assoc, evt.EVT_DATA_RECV, {"data": data})
    kind = data[0]
    cls, event = _PDU_TYPES[data[:1]]
    pdu: Any = cls()
    notes: list[str] = []
    if kind == _RQ:
        data = _with_titles(data, self.assoc)
    pdu.decode(repair(data, notes))
    # Converted here: an exception in the state machine would end its thread.
    primitive = pdu.to_primitive()
    pdu.to_primitive = lambda: primitive
    if notes:
        _LOGGER.warning("%s from %s: %s", KINDS[kind], _peer(self.assoc), "; ".join(notes))
    evt.trigger(self.assoc, evt.EVT_PDU_RECV, {"pdu": pdu})
    return pdu, event


def decode_or_abort(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``DULServiceProvider._decode_pdu`` repair PDUs, and log the peer if that fails."""

    @wraps(stock)
    def _decode_pdu(self: Any, bytestream: bytearray) -> Any:
        if bytestream[0] not in KINDS:
            return stock(self, bytestream)
        try:
            return decode_pdu(self, bytestream)
        except Exception as exc:
            text = str(exc) if isinstance(exc, PduError) else f"{type(exc).__name__}: {exc}"
            _LOGGER.error(
                "Aborting the association with %s: invalid PDU: %s",
                _peer(self.assoc),
                escaped(text),
            )
            raise

    return _decode_pdu


def negotiate_as_acceptor(stock: Callable[[Any], None]) -> Callable[[Any], None]:
    """Make ``ACSE._negotiate_as_acceptor`` reject a request with an invalid AE title."""

    @wraps(stock)
    def _negotiate_as_acceptor(self: Any) -> None:
        rejection = vars(self.assoc).get("_nset_rejection")
        if rejection is not None:
            _LOGGER.warning(
                "Rejecting the association with %s: %s", _peer(self.assoc), rejection[0]
            )
        if not is_rejected(self):
            stock(self)

    return _negotiate_as_acceptor


def is_rejected(acse: Any) -> bool:
    """Reject an association with an invalid AE title; return whether it was rejected."""
    assoc = acse.assoc
    rejection = vars(assoc).get("_nset_rejection")
    if rejection is None:
        return False
    acse.requestor.ae_title = acse.requestor.primitive.calling_ae_title
    acse.send_reject(*rejection[1])
    evt.trigger(assoc, evt.EVT_REJECTED, {})
    assoc.kill()
    return True


def _with_titles(data: bytes, assoc: Any) -> bytes:
    """Strip the AE titles, and mark the association if one is invalid (PS3.5 Section 6.2)."""
    if len(data) < _ITEMS_OFFSET:
        return data
    repaired = bytearray(data)
    for name, (at, answer) in _TITLES.items():
        raw = data[at : at + 16]
        title = raw.strip(b"\0 ")
        try:
            setattr(A_ASSOCIATE_RQ(), f"{name}_ae_title", title)
        except ValueError:
            reason = f"{name.capitalize()} AE Title {raw!r}, which is invalid (PS3.5 Section 6.2)"
            assoc._nset_rejection = reason, answer
            title = _printable(title) or b"?"
        repaired[at : at + 16] = title.ljust(16)
    return bytes(repaired)


def _printable(text: bytes) -> bytes:
    return bytes(c if 0x20 <= c < 0x7F and c != 0x5C else 0x3F for c in text)


def repair(data: bytes, notes: list[str]) -> bytes:
    """Repair an A-ASSOCIATE-RQ, -AC or -RJ, or an A-ABORT, so that pynetdicom can decode it.

    The PDU-length field stays that of the original. `notes` gets a sentence for each violation of
    the standard that was repaired. Raise `PduError` if the PDU cannot be accepted.
    """
    kind = data[0]
    if kind == _ABORT:
        return _abort(data, notes)
    if kind == _RJ:
        return _rejection(data, notes)
    return _association(data, notes)


def _abort(data: bytes, notes: list[str]) -> bytes:
    """Make source and reason valid: whatever they are, AA-3 closes the connection."""
    source, reason = data.ljust(10, b"\0")[8:10]
    if source == 2 and reason not in _ABORT_REASONS:
        notes.append(f"reason {reason} is undefined (PS3.8 Table 9-26)")
        reason = 0
    elif source not in (0, 2):
        notes.append(f"source {source} is undefined (PS3.8 Table 9-26)")
        source = 0
    return data[:6].ljust(8, b"\0") + bytes((source, reason))


def _rejection(data: bytes, notes: list[str]) -> bytes:
    received = result, source, reason = tuple(data.ljust(10, b"\0")[7:10])
    if result not in (1, 2) or reason not in _REJECT_REASONS.get(source, ()):
        text = "result {}, source {}, reason {} are undefined (PS3.8 Table 9-21)"
        notes.append(text.format(*received))
        result = result if result in (1, 2) else 1
        source = source if source in _REJECT_REASONS else 1
        reason = 1
    return data[:6].ljust(7, b"\0") + bytes((result, source, reason))


def _association(data: bytes, notes: list[str]) -> bytes:
    kind, context = data[0], _CONTEXT[data[0]]
    if len(data) < _ITEMS_OFFSET:
        raise _invalid(f"an {KINDS[kind]} of {len(data)} bytes")
    version = b"\0\1" if data[7] & 1 else data[6:8]  # only bit 0 counts (PS3.8 Section 9.3.2)
    parts = [data[:6], version, data[8:_ITEMS_OFFSET]]
    contexts, others, user = 0, 0, None
    for item, value in _items(data, _ITEMS_OFFSET):
        contexts += item == context
        others += item != context
        _check_number(contexts, _MAX_CONTEXTS, "presentation contexts")
        _check_number(others, _MAX_OTHERS, "items beside the presentation contexts")
        if item == context:
            parts.append(_item(item, _presentation_context(kind, value)))
        elif item == _USER_INFORMATION:
            user = value
        elif item == 0x10:
            parts.append(_item(item, value))
    parts.append(_item(_USER_INFORMATION, _user_information(kind, user or b"", notes)))
    return b"".join(parts)


def _presentation_context(kind: int, value: bytes) -> bytes:
    if len(value) < 4:
        raise _invalid(f"a presentation context item of {len(value)} bytes")
    context_id = value[0]
    if not context_id % 2:
        raise _invalid(f"presentation context ID {context_id}, which is even")
    parts, found = [value[:4]], set()
    for number, (item, name) in enumerate(_items(value, 4), 1):
        _check_number(number, _MAX_IN_CONTEXT, "items in a presentation context")
        if name and item in (_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX):
            found.add(item)
            parts.append(_item(item, name))
    if kind == _RQ and _ABSTRACT_SYNTAX not in found:
        raise _invalid(f"presentation context {context_id} without an abstract syntax")
    if (kind == _RQ or value[2] == 0) and _TRANSFER_SYNTAX not in found:
        raise _invalid(f"presentation context {context_id} without a transfer syntax")
    return b"".join(parts)


def _user_information(kind: int, value: bytes, notes: list[str]) -> bytes:
    parts, length = [], None
    for number, (item, data) in enumerate(_items(value, 0), 1):
        _check_number(number, _MAX_USER_ITEMS, "items of user information")
        if item not in _USER_ITEMS[kind]:
            continue
        if item == _MAXIMUM_LENGTH and len(data) == 4:
            length = int.from_bytes(data, "big")
            if 0 < length < _pdu.PDV_HEADER_LENGTH + 2:
                raise _invalid(f"a maximum length of {length} bytes, too small for a PDV")
        elif item == _USER_IDENTITY and data[:1] not in _IDENTITIES:
            raise _invalid(f"a user identity of type {data[0] if data else None}")
        elif item == _VERSION_NAME:
            data = _version_name(data, notes)
        elif item == _CLASS_UID and not 0 < len(data.rstrip(b"\0 ")) <= 64:
            notes.append(f"Implementation Class UID of {len(data)} bytes, ignored")
            data = b""
        if data or item not in (_VERSION_NAME, _CLASS_UID):
            parts.append(_item(item, data))
    if length is None:
        notes.append(f"no Maximum Length, {_DEFAULT_MAXIMUM_LENGTH_BYTES} bytes assumed")
        parts.insert(0, _item(_MAXIMUM_LENGTH, _DEFAULT_MAXIMUM_LENGTH_BYTES.to_bytes(4, "big")))
    return b"".join(parts)


def _version_name(name: bytes, notes: list[str]) -> bytes:
    stripped = name.strip(b"\0 ")
    repaired = _printable(stripped[:16])
    if repaired != stripped:
        notes.append(f"Implementation Version Name {name[:64]!r}, read as {repaired!r}")
    return repaired


def _items(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each item, known or not (PS3.8 Section 9.3.1)."""
    while len(data) - at >= 4:
        begin = at + 4
        at = begin + int.from_bytes(data[at + 2 : begin], "big")
        if at > len(data):
            raise _invalid(f"an item of type 0x{data[begin - 4]:02X} that runs past the end")
        yield data[begin - 4], data[begin:at]
    if data[at:].strip(b"\0"):
        raise _invalid(f"{len(data) - at} bytes after the last item")


def _check_number(number: int, limit: int, what: str) -> None:
    if number > limit:
        raise _invalid(f"more than {limit} {what}")


def _item(kind: int, value: bytes) -> bytes:
    return bytes((kind, 0)) + len(value).to_bytes(2, "big") + value


def _invalid(reason: str) -> PduError:
    return PduError(reason, _pdu.INVALID_PDU_PARAMETER)
