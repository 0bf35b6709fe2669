"""Decodes one stream: its content and its violations."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag
from pydicom.uid import UID

from nset import _rules, status
from nset._command_set import (
    Element,
    Kind,
    announces_data_set,
    command_field,
    data_set_type,
    examine,
)
from nset._errors import count_of_bytes
from nset._pdu import (
    IS_COMMAND,
    IS_LAST,
    PDU_NAMES,
    command_set_too_long,
    context_change,
    data_before_command,
)
from nset.dump import _limits
from nset.dump._associate import PDUReader, accepted_contexts, proposed_contexts
from nset.dump._capture import Stream
from nset.dump._data_set import guess_transfer_syntax, read_data_set
from nset.dump._forms import (
    FRAGMENT,
    PDU_HEADER,
    PDUS,
    PDV_HEADER,
    PDVS,
    begins_command_set,
    find_pdu,
)
from nset.dump._result import Dump, DumpedElement, DumpedMessage, Fault, OtherPDU
from nset.dump._values import keyword_of, message_name, tags, uid_name

_BYTES_PER_ENTRY: Final = 64


class TooManyEntries(Exception):
    """The dump has more than `MAX_ENTRIES` entries."""


class Budget:
    """Counts the entries of all streams."""

    def __init__(self) -> None:
        self._entries = 0

    @property
    def is_spent(self) -> bool:
        """Whether there are too many entries."""
        return self._entries > _limits.MAX_ENTRIES

    def take(self, entries: int = 1) -> None:
        """Count more entries; raise `TooManyEntries` if they are too many."""
        self._entries += entries
        if self.is_spent:
            raise TooManyEntries


@dataclass
class Association:
    """The negotiated syntaxes, by presentation context ID."""

    abstract_syntaxes: dict[int, str | None] = field(default_factory=dict)
    transfer_syntaxes: dict[int, str | None] = field(default_factory=dict)


class _Pieces:
    """The bytes of a command set or data set, from several parts of the stream."""

    def __init__(self) -> None:
        self.size = 0
        self._starts: list[int] = []
        self._stream_starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """Add the bytes of the stream from `start` to `stop`."""
        self._starts.append(self.size)
        self._stream_starts.append(start)
        self._stops.append(stop)
        self.size += stop - start

    def joined(self, data: bytes) -> bytes:
        """Return all bytes."""
        if len(self._stops) == 1:
            return data[self._stream_starts[0] : self._stops[0]]
        view = memoryview(data)
        return b"".join(view[a:b] for a, b in zip(self._stream_starts, self._stops, strict=True))

    def stream_offset(self, offset: int) -> int:
        """Return the offset in the stream of the byte at `offset`."""
        index = bisect_right(self._starts, offset) - 1
        return self._stream_starts[index] + offset - self._starts[index]


class _Message:
    """A message while it is collected."""

    def __init__(self, shown: DumpedMessage, association: Association) -> None:
        self.shown = shown
        self.association = association
        self.command_set = _Pieces()
        self.data_set = _Pieces()
        self.is_command_set_complete = False
        self.has_gap = False  # in the capture; violations are not reported then

    def miss(self, start: int, stop: int) -> None:
        """Note a gap in the capture; the rest of the message is not decoded."""
        self.has_gap = True
        self.shown.notes.append(f"bytes {start} to {stop - 1} of the stream were not captured")


class Reader:
    """Decodes a stream from its start to its end.

    Both streams of a connection share an `Association`; None is for a single stream, which may
    contain several. The `Budget` is that of the whole dump.
    """

    def __init__(
        self, stream: Stream, form: str, association: Association | None, budget: Budget
    ) -> None:
        self.result = Dump(form, len(stream.data), name=stream.name, missing=stream.missing)
        self.at = 0
        self._data = stream.data
        self._missing = stream.missing
        self._is_alone = association is None
        self._association = association or Association()
        self._count = budget.take
        self._message: _Message | None = None
        self._messages: list[_Message] = []
        self._is_cut_off = False
        # Whether the start of the next message may be missing from the capture.
        self._is_after_gap = not stream.is_from_start
        self._has_skipped = False
        self._pdu_reader = PDUReader(stream.data, self._fault, budget.take)

    def read(self) -> None:
        """Decode everything but the data sets."""
        try:
            if self.result.form == PDUS:
                self._read_pdus()
            elif self.result.form == PDVS:
                self._read_pdvs(0, len(self._data))
            elif self.result.form == FRAGMENT:
                self._take(0, None, self._data[0], 1, len(self._data))
            else:
                self._take(0, None, IS_COMMAND | IS_LAST, 0, len(self._data))
            self._close()
        except TooManyEntries:
            reason = f"more than {_limits.MAX_ENTRIES} entries, the rest is not read"
            self.result.violations.append(Fault(reason, input_offset=self.at))

    def read_data_sets(self) -> None:
        """Decode the data sets, once the association is known."""
        for message in self._messages:
            context_id = message.shown.context_id
            if context_id is not None:
                syntaxes = message.association.abstract_syntaxes
                message.shown.abstract_syntax = syntaxes.get(context_id)
            if message.data_set.size:
                try:
                    self._read_data_set(message)
                except TooManyEntries:
                    reason = f"more than {_limits.MAX_ENTRIES} entries: the data set is not listed"
                    message.shown.notes.append(reason)

    def _read_data_set(self, message: _Message) -> None:
        shown, syntaxes = message.shown, message.association.transfer_syntaxes
        data = message.data_set.joined(self._data)
        syntax = syntaxes.get(shown.context_id or 0)
        if syntax is None or not UID(syntax, validation_mode=IGNORE).is_transfer_syntax:
            syntax, shown.transfer_syntax_guessed = guess_transfer_syntax(data), True
        shown.transfer_syntax = syntax
        shown.data_set, notes = read_data_set(
            data, syntax, message.data_set.stream_offset, self._count
        )
        shown.notes += notes

    def _fault(self, at: int, reason: str) -> None:
        self._count()
        self.result.violations.append(Fault(reason, input_offset=at))

    def _gap(self, start: int, stop: int) -> tuple[int, int] | None:
        """Return the first gap in the capture between two offsets."""
        index = bisect_right(self._missing, start, key=lambda gap: gap[1])
        if index < len(self._missing) and self._missing[index][0] < stop:
            return self._missing[index]
        return None

    def _read_pdus(self) -> None:
        size = len(self._data)
        at = self._skip(0, 0) if self._is_after_gap else 0
        while at < size:
            self.at = at
            gap = self._gap(at, at + PDU_HEADER.size)
            if gap is not None:
                at = self._skip(at, gap[1])
                continue
            if size - at < PDU_HEADER.size:
                self._is_cut_off = True
                self._fault(at, f"the input ends after {size - at} of the 6 bytes of a PDU header")
                return
            kind, reserved, length = PDU_HEADER.unpack_from(self._data, at)
            name, stop = PDU_NAMES.get(kind), at + PDU_HEADER.size + length
            if name is None and self._has_skipped:
                # What `find_pdu` found after a gap was no PDU.
                at = self._skip(at, at + 1)
                continue
            if name is None:
                self._fault(at, f"{kind:02X}H is not a PDU type (01H to 07H), the rest is not read")
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
                self._read_pdvs(at + PDU_HEADER.size, stop)
            else:
                self._take_other(kind, name, at, stop)
            at = stop

    def _skip(self, at: int, after: int) -> int:
        """Skip a PDU whose start is missing; return the offset of the next one."""
        self._count()
        start = find_pdu(self._data, after)
        while start is not None and (gap := self._gap(start, start + PDU_HEADER.size)):
            start = find_pdu(self._data, gap[1])
        start = len(self._data) if start is None else start
        if start == at:
            return start
        if self._message is not None:
            self._message.miss(at, start)
        self._is_after_gap = self._has_skipped = True
        note = f"bytes {at} to {start - 1}: the start of a PDU was not captured, skipped"
        self.result.notes.append(note)
        return start

    def _take_other(self, kind: int, name: str, at: int, stop: int) -> None:
        self._count()
        details = {}
        if self._gap(at, stop) is None:
            details = self._pdu_reader.read(kind, at, stop)
        self.result.other_pdus.append(OtherPDU(name, at, stop - at, details))
        if kind == 0x01:
            if self._is_alone:
                self._association = Association()
            self._association.abstract_syntaxes = proposed_contexts(details)
        elif kind == 0x02:
            self._association.transfer_syntaxes = accepted_contexts(details)

    def _read_pdvs(self, at: int, stop: int) -> None:
        """Decode PDVs up to `stop`, or to the end of the input."""
        end = min(stop, len(self._data))
        while at < end:
            self.at = at
            self._count()
            gap = self._gap(at, min(at + PDV_HEADER.size, end))
            if gap is not None:
                if self._message is not None:
                    self._message.miss(at, end)
                self._is_after_gap = True
                return
            if end - at < PDV_HEADER.size:
                if end == stop:
                    self._fault(
                        at,
                        f"{count_of_bytes(end - at)}, too few for a PDV's length, presentation "
                        "context ID and message control header, which take 6",
                    )
                return
            length, context_id, header = PDV_HEADER.unpack_from(self._data, at)
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
                odd = count_of_bytes(length - 2)
                self._fault(at, f"a PDV with a fragment of odd length, {odd}")
            if context_id % 2 == 0:
                self._fault(at, f"presentation context ID {context_id}, not odd")
            self._take(at, context_id, header, at + PDV_HEADER.size, min(after, end))
            at = after

    def _take(self, at: int, context_id: int | None, header: int, start: int, stop: int) -> None:
        """Process a fragment: the bytes from `start` to `stop`, of the PDV at `at`."""
        is_command, is_last = bool(header & IS_COMMAND), bool(header & IS_LAST)
        if header & ~(IS_COMMAND | IS_LAST):
            self._fault(at, f"message control header {header:02X}H: its bits 2 to 7 are not 0")
        message = self._message_for(at, context_id, is_command, start)
        had_gap = message.has_gap
        gap = self._gap(start, stop)
        known = stop
        if gap is not None:
            known = max(start, gap[0])
            message.miss(known, min(stop, gap[1]))
        if is_command:
            message.shown.command_set_bytes += stop - start
            if not had_gap and message.shown.command_set_bytes <= _rules.MAX_COMMAND_SET_LENGTH:
                message.command_set.add(start, known)
            if is_last:
                self._complete(message)
                if message.shown.data_set_announced is False:
                    self._message = None
            return
        if not message.is_command_set_complete:
            if not had_gap:
                self._fault(at, self._why_unexpected(message))
            self._complete(message)
        message.shown.data_set_bytes += stop - start
        if not had_gap:
            message.data_set.add(start, known)
        if is_last:
            self._message = None

    def _message_for(
        self, at: int, context_id: int | None, is_command: bool, start: int
    ) -> _Message:
        """Return the message of a fragment."""
        message = self._message
        is_start = is_command and begins_command_set(self._data, start)
        is_after_gap, self._is_after_gap = self._is_after_gap, False
        if message is not None and is_after_gap:
            if is_start or message.shown.context_id != context_id:
                self._close()
        elif message is not None and message.shown.context_id != context_id:
            self._fault(at, context_change(context_id, message.shown.context_id).reason)
            self._close()
        elif message is not None and is_command and message.is_command_set_complete:
            self._close()
        if self._message is None:
            self._count()
            shown = DumpedMessage("message", context_id, at)
            self.result.messages.append(shown)
            self._message = _Message(shown, self._association)
            self._messages.append(self._message)
            if is_after_gap and not is_start:
                self._message.has_gap = True
                shown.notes.append("its start was not captured")
        return self._message

    def _why_unexpected(self, message: _Message) -> str:
        """Return what is wrong with a data set fragment at this point."""
        if message.command_set.size:
            return data_before_command().reason
        before = self.result.messages[-2:-1]
        if before and before[0].data_set_announced is False:
            return "a fragment of a data set, which the command set before it does not announce"
        return "a fragment of a data set without a command set before it"

    def _close(self) -> None:
        """End a message that is not complete."""
        message, self._message = self._message, None
        if message is None:
            return
        shown = message.shown
        if not message.is_command_set_complete:
            self._complete(message)
            if not self._is_cut_off and not message.has_gap:
                self._fault(shown.input_offset, "a command set without its last fragment")
        elif shown.data_set_announced and self.result.form == PDUS and not self._is_cut_off:
            if message.has_gap:
                return
            came = shown.data_set_bytes
            reason = (
                f"its data set ends after {count_of_bytes(came)}, without a last fragment"
                if came
                else "announces a data set, and none follows"
            )
            types = [element for element in shown.elements if element.tag == 0x00000800]
            where = (types[-1].offset, types[-1].input_offset) if types else (None, None)
            shown.violations.append(Fault(reason, 0x00000800, *where))

    def _complete(self, message: _Message) -> None:
        """Decode the command set."""
        message.is_command_set_complete = True
        shown, data = message.shown, message.command_set.joined(self._data)
        if shown.command_set_bytes > _rules.MAX_COMMAND_SET_LENGTH:
            self._fault(shown.input_offset, command_set_too_long().reason)
        if not data:
            return
        elements, violations = examine(data)
        self._count(len(elements) + len(violations) + len(data) // _BYTES_PER_ENTRY)
        number = command_field(elements)
        if number is not None:
            shown.name = message_name(number) or "message"
            shown.data_set_announced = announces_data_set(number, data_set_type(elements))
        shown.elements += _describe(message, elements, number)
        if message.has_gap:
            return
        for reason, tag, offset, _, _, kind in violations:
            if number in _rules.N_SET_FIELDS or not _is_only_of_n_set(kind, tag):
                where = None if offset is None else message.command_set.stream_offset(offset)
                shown.violations.append(Fault(reason, tag, offset, where))
        if number is not None and message_name(number) is None:
            reason = f"{number:04X}H is no message (PS3.7 Table E.1-1)"
            shown.violations.append(Fault(reason, 0x00000100))


def _describe(
    message: _Message, elements: list[Element], number: int | None
) -> list[DumpedElement]:
    """Return the elements of a command set, with their meanings."""
    described = []
    sop_class = None
    for tag, vr, offset, raw in elements:
        element = DumpedElement(tag, vr, raw, offset, message.command_set.stream_offset(offset))
        if tag in (0x00000002, 0x00000003) and vr == "UI":
            sop_class = element.value
        described.append(element._replace(meaning=_meaning(element, number, sop_class)))
    return described


def _meaning(element: DumpedElement, number: int | None, sop_class: str | None) -> str:
    """Return the meaning of a value, in a message of this Command Field and SOP Class."""
    tag, value = element.tag, element.value
    if element.vr == "AT":
        return ", ".join(filter(None, map(keyword_of, tags(element.raw)))) if value else ""
    if element.vr == "UI":
        return uid_name(value) if value else ""
    if not isinstance(value, int):
        return ""
    if tag == 0x00000100:
        return message_name(value) or "no message"
    if tag == 0x00000800:
        return "no data set" if value == _rules.NO_DATA_SET else "a data set follows"
    if tag == 0x00000900:
        row = status.lookup(value, sop_class) if number in _rules.N_SET_FIELDS else None
        category = status.category(value)
        return f"{category}: {row.meaning}" if row else category
    return ""


def _is_only_of_n_set(kind: Kind, tag: int | None) -> bool:
    """Return whether a violation concerns only N-SET: other messages have other elements."""
    if tag is None or tag >> 16 or not dictionary_has_tag(tag):
        return False
    return kind in (Kind.ELEMENT, Kind.COMMAND_FIELD)
