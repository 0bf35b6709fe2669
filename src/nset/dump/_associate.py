"""Decodes the PDUs without messages: A-ASSOCIATE, A-RELEASE, A-ABORT (PS3.8 Section 9.3)."""

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from nset._errors import count_of_bytes
from nset.dump._values import printable, uid_name

Report = Callable[[int, str], None]
"""Takes an offset in the stream and a violation."""

_FIXED_BYTES: Final = 68
"""Bytes of an A-ASSOCIATE-RQ and -AC between the PDU's header and the first item."""

_RESULTS: Final = {1: "rejected-permanent", 2: "rejected-transient"}
_SOURCES: Final = {
    1: "service-user",
    2: "service-provider (ACSE related function)",
    3: "service-provider (presentation related function)",
}
_REASONS: Final = {
    (1, 1): "no-reason-given",
    (1, 2): "application-context-name-not-supported",
    (1, 3): "calling-AE-title-not-recognized",
    (1, 7): "called-AE-title-not-recognized",
    (2, 1): "no-reason-given",
    (2, 2): "protocol-version-not-supported",
    (3, 1): "temporary-congestion",
    (3, 2): "local-limit-exceeded",
}
_CONTEXT_RESULTS: Final = {
    0: "acceptance",
    1: "user-rejection",
    2: "no-reason (provider rejection)",
    3: "abstract-syntax-not-supported (provider rejection)",
    4: "transfer-syntaxes-not-supported (provider rejection)",
}
_ABORT_SOURCES: Final = {0: "service-user", 2: "service-provider"}
_ABORT_REASONS: Final = {
    0: "reason-not-specified",
    1: "unrecognized-PDU",
    2: "unexpected-PDU",
    4: "unrecognized-PDU-parameter",
    5: "unexpected-PDU-parameter",
    6: "invalid-PDU-parameter-value",
}
_USER_ITEMS: Final = {
    0x51: "Maximum Length",
    0x52: "Implementation Class UID",
    0x53: "Asynchronous Operations Window",
    0x54: "SCP/SCU Role Selection",
    0x55: "Implementation Version Name",
    0x56: "SOP Class Extended Negotiation",
    0x57: "SOP Class Common Extended Negotiation",
    0x58: "User Identity",
    0x59: "User Identity Response",
}
_IDENTITIES: Final = {
    1: "username",
    2: "username and passcode",
    3: "Kerberos service ticket",
    4: "SAML assertion",
    5: "JSON Web Token",
}


def accepted_contexts(details: dict[str, Any]) -> dict[int, str | None]:
    """Return the transfer syntax of each context of an A-ASSOCIATE-AC; None if it was refused."""
    found = {}
    for context in details.get("presentation_contexts", ()):
        syntaxes = context["transfer_syntaxes"]
        is_accepted = context.get("result") == 0 and syntaxes
        found[context["id"]] = syntaxes[0] if is_accepted else None
    return found


def proposed_contexts(details: dict[str, Any]) -> dict[int, str | None]:
    """Return the abstract syntax of each context of an A-ASSOCIATE-RQ."""
    contexts = details.get("presentation_contexts", ())
    return {context["id"]: context["abstract_syntax"] for context in contexts}


def _ignore(at: int, reason: str) -> None:
    pass


class PDUReader:
    """Decodes the PDUs of a stream that carry no message.

    It calls `report` for each violation, and `count` for each item; that raises if they are too
    many.
    """

    def __init__(self, data: bytes, report: Report, count: Callable[[], None]) -> None:
        self._data = data
        self._report = self._report_to = report
        self._count = count

    def read(self, kind: int, at: int, stop: int) -> dict[str, Any]:
        """Return the fields of the PDU from `at` to `stop` by name, as far as they were captured.

        `kind` is its type, not 04H. Bytes after the end of the stream are missing.
        """
        start, end = at + 6, min(stop, len(self._data))
        # A truncated PDU has been reported; its other violations are not.
        self._report = self._report_to if end == stop else _ignore
        if kind in (0x01, 0x02):
            return self._associate(kind, start, end)
        if stop - start != 4:
            self._report(at, f"a PDU-length of {stop - start}, not 4")
        body = self._data[start:end]
        if len(body) < 4:
            return {}
        if kind == 0x03:
            return self._reject(at, body)
        return self._abort(at, body) if kind == 0x07 else {}

    def _reject(self, at: int, body: bytes) -> dict[str, Any]:
        result, source, reason = body[1:4]
        found: dict[str, Any] = {"result": result, "result_meaning": _RESULTS.get(result)}
        found |= {"source": source, "source_meaning": _SOURCES.get(source)}
        found |= {"reason": reason, "reason_meaning": _REASONS.get((source, reason))}
        for name in ("result", "source"):
            if found[f"{name}_meaning"] is None:
                self._report(at, f"A-ASSOCIATE-RJ with {name} {found[name]} (PS3.8 Table 9-21)")
        if found["source_meaning"] and found["reason_meaning"] is None:
            found["reason_meaning"] = "reserved"
        return found

    def _abort(self, at: int, body: bytes) -> dict[str, Any]:
        source, reason = body[2:4]
        is_of_provider = source == 2
        meaning = _ABORT_REASONS.get(reason, "reserved") if is_of_provider else "not significant"
        found = {"source": source, "source_meaning": _ABORT_SOURCES.get(source)}
        found |= {"reason": reason, "reason_meaning": meaning}
        if source not in _ABORT_SOURCES:
            self._report(at, f"A-ABORT with source {source} (PS3.8 Table 9-26)")
        elif is_of_provider and reason not in _ABORT_REASONS:
            self._report(at, f"A-ABORT with reason {reason} (PS3.8 Table 9-26)")
        return found

    def _associate(self, kind: int, start: int, end: int) -> dict[str, Any]:
        if end - start < _FIXED_BYTES:
            self._report(start, f"{count_of_bytes(end - start)}, too few: titles take 68")
            return {}
        version, _, called, calling = struct.unpack_from(">HH16s16s", self._data, start)
        found: dict[str, Any] = {"protocol_version": version}
        if not version & 1:
            self._report(start, f"protocol version {version:04X}H: its bit 0 is not 1")
        found["called_ae_title"] = self._title(start + 4, called, "Called", kind)
        found["calling_ae_title"] = self._title(start + 20, calling, "Calling", kind)
        found["application_context"] = None
        found["presentation_contexts"] = contexts = []
        found["user_information"] = user_information = []
        context_kind = 0x20 if kind == 0x01 else 0x21
        for item, at, stop in self._items(start + _FIXED_BYTES, end):
            if item == 0x10:
                found["application_context"] = _latin(self._data[at:stop])
            elif item == context_kind:
                contexts.append(self._context(kind, at, stop))
            elif item == 0x50:
                user_information += [self._user_item(*sub, kind) for sub in self._items(at, stop)]
            else:
                self._report(at - 4, f"an item of type {item:02X}H, not of this PDU")
        ids = [context["id"] for context in contexts]
        if len(set(ids)) < len(ids):
            self._report(start, "a presentation context ID more than once")
        return found

    def _title(self, at: int, raw: bytes, name: str, kind: int) -> str:
        title = raw.decode("latin-1").strip(" \0")
        is_legal = all(" " <= one <= "~" and one != "\\" for one in title)
        # Receivers of an A-ASSOCIATE-AC do not test the titles (PS3.8 Table 9-17).
        if kind == 0x01 and not (title and is_legal and b"\0" not in raw):
            self._report(at, f"{name} AE title '{printable(raw.decode('latin-1'))}': no AE title")
        return title

    def _items(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield the type of each item, and the start and end of its value."""
        while at < end:
            self._count()
            if end - at < 4:
                self._report(at, f"{count_of_bytes(end - at)}, too few for an item's header")
                return
            kind, _, length = struct.unpack_from(">BBH", self._data, at)
            stop = at + 4 + length
            if stop > end:
                left = count_of_bytes(end - at - 4)
                self._report(at, f"item {kind:02X}H of {count_of_bytes(length)}: {left} are left")
            yield kind, at + 4, min(stop, end)
            at = stop

    def _context(self, kind: int, at: int, stop: int) -> dict[str, Any]:
        head = self._data[at : min(at + 4, stop)].ljust(4, b"\0")
        found: dict[str, Any] = {"id": head[0]}
        if head[0] % 2 == 0 and stop > at:
            self._report(at, f"presentation context ID {head[0]}, not odd")
        if kind == 0x02:
            meaning = _CONTEXT_RESULTS.get(head[2])
            found |= {"result": head[2], "result_meaning": meaning}
            if meaning is None:
                self._report(at + 2, f"result {head[2]} (PS3.8 Table 9-18)")
        else:
            found["abstract_syntax"] = None
        found["transfer_syntaxes"] = syntaxes = []
        for item, begin, end in self._items(at + 4, stop):
            if item == 0x40:
                syntaxes.append(_latin(self._data[begin:end]))
            elif item == 0x30 and kind == 0x01:
                found["abstract_syntax"] = _latin(self._data[begin:end])
            else:
                self._report(begin - 4, f"an item of type {item:02X}H, not of a context")
        if kind == 0x01 and not (found["abstract_syntax"] and syntaxes):
            lacks = "a transfer" if found["abstract_syntax"] else "an abstract"
            self._report(at, f"presentation context {head[0]} without {lacks} syntax")
        return found

    def _user_item(self, item: int, at: int, stop: int, kind: int) -> dict[str, Any]:
        """Return the fields of an item of user information (PS3.7 Annex D.3)."""
        name = _USER_ITEMS.get(item, f"item {item:02X}H")
        try:
            fields = self._user_fields(item, at, stop, kind)
        except (struct.error, IndexError):
            fields = None
        if fields is None:
            fields = {"bytes": stop - at}
            if item in _USER_ITEMS:
                self._report(at - 4, f"{name} of {count_of_bytes(stop - at)} can't be read")
        return {"item": item, "name": name, **fields}

    def _user_fields(self, item: int, at: int, stop: int, kind: int) -> dict[str, Any] | None:
        data = self._data[at:stop]
        if item == 0x51:
            (length,) = struct.unpack(">L", data)
            return {"value": length}
        if item in (0x52, 0x55):
            return {"value": _latin(data)}
        if item == 0x53:
            invoked, performed = struct.unpack(">HH", data)
            return {"invoked": invoked, "performed": performed}
        if item == 0x54:
            sop_class, rest = _sub_field(data)
            scu, scp = struct.unpack(">BB", rest)
            return {"sop_class": _latin(sop_class), "scu": scu, "scp": scp}
        if item == 0x56:
            sop_class, rest = _sub_field(data)
            return {"sop_class": _latin(sop_class), "information": rest[:64].hex(" ")}
        if item == 0x57:
            sop_class, rest = _sub_field(data)
            service_class, rest = _sub_field(rest)
            related, _ = _sub_field(rest)
            uids = []
            while related:
                self._count()
                uid, related = _sub_field(related)
                uids.append(_latin(uid))
            found = {"sop_class": _latin(sop_class), "service_class": _latin(service_class)}
            return {**found, "related_sop_classes": uids}
        if item == 0x58 and kind == 0x01:
            return self._identity(at, data)
        if item == 0x59 and kind == 0x02:
            response, _ = _sub_field(data)
            return {"response_bytes": len(response)}
        return None

    def _identity(self, at: int, data: bytes) -> dict[str, Any]:
        """Return the user identity; of a passcode, ticket, assertion or token only the length."""
        primary, rest = _sub_field(data[2:])
        secondary, _ = _sub_field(rest)
        found: dict[str, Any] = {"type": data[0], "type_meaning": _IDENTITIES.get(data[0])}
        if data[0] not in _IDENTITIES:
            self._report(at, f"User Identity of type {data[0]} (PS3.7 Table D.3-14)")
        found["response_requested"] = bool(data[1])
        if data[0] in (1, 2):
            found["username"] = primary.decode("utf-8", "backslashreplace")
        else:
            found["primary_bytes"] = len(primary)
        return {**found, "secondary_bytes": len(secondary)}


def _latin(raw: bytes) -> str:
    return raw.decode("latin-1").rstrip(" \0")


def _sub_field(data: bytes) -> tuple[bytes, bytes]:
    """Split off a field with 2 bytes of length; raise struct.error if it is incomplete."""
    (length,) = struct.unpack_from(">H", data)
    if length > len(data) - 2:
        raise struct.error("runs past the end")
    return data[2 : 2 + length], data[2 + length :]


def as_lines(details: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a PDU as labels and values, in printable ASCII."""
    for name, text in _fields(details):
        label = name.replace("_", " ").replace("ae title", "AE title")
        yield label[0].upper() + label[1:], text
    yield from map(_context_line, details.get("presentation_contexts", ()))
    for item in details.get("user_information", ()):
        fields = {key: item[key] for key in item if key not in ("item", "name")}
        shown = [
            text if key == "value" else f"{key.replace('_', ' ')} {text}"
            for key, text in _fields(fields)
        ]
        yield item["name"], ", ".join(shown)


def _fields(details: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each field with its meaning, except those with fields of their own."""
    for name, value in details.items():
        if name.endswith("_meaning") or name in ("presentation_contexts", "user_information"):
            continue
        meaning = details.get(f"{name}_meaning")
        yield name, _value(value) + (f" ({meaning})" if meaning else "")


def _context_line(context: dict[str, Any]) -> tuple[str, str]:
    parts = []
    if "result" in context:
        meaning = context["result_meaning"] or "no result of the standard"
        parts.append(f"{context['result']} ({meaning})")
    else:
        parts.append(_value(context["abstract_syntax"]))
    # The transfer syntax of a refused context is not significant.
    if context.get("result", 0) == 0:
        parts.append(" | ".join(map(_value, context["transfer_syntaxes"])) or "none")
    return f"Presentation context {context['id']}", ": ".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(_value, value)) or "none"
    if not isinstance(value, str):
        return "none" if value is None else str(value)
    name = uid_name(value)
    return printable(f"{value} ({name})" if name else value)[:200]
