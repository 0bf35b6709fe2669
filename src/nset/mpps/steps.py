"""A performed procedure step, and what a report makes of it."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydicom import Dataset

from nset import status
from nset.dataset import DataSetError, decode
from nset.mpps import rules
from nset.mpps.merging import merging
from nset.mpps.rules import Answer

_LOGGER = logging.getLogger("nset.mpps")

CREATE, SET, GET = "N-CREATE", "N-SET", "N-GET"

# The dates and times of a step's start and end.
_STARTED, _ENDED = (0x00400244, 0x00400245), (0x00400250, 0x00400251)

# PS3.4 Table F.9.2-1: of an N-CREATE; and of an N-SET, by the status of the step then.
_CREATED = 1
_EVENT_TYPES = {rules.IN_PROGRESS: 4, "COMPLETED": 2, "DISCONTINUED": 3}


class Report(NamedTuple):
    """A request, as it has come.

    Attributes
    ----------
    service : str
        "N-CREATE", "N-SET" or "N-GET".
    uid : str
        The SOP Instance UID.
    transfer_syntax : str
        The UID of the data set's transfer syntax.
    data : bytes
        The encoded data set.
    calling, called : str
        The AE titles.
    peer : str
        The peer's address.
    received : str
        When it came, in UTC, as ISO 8601.
    tags : tuple of int
        The attributes that an N-GET asks for; all if empty.
    """

    service: str
    uid: str
    transfer_syntax: str
    data: bytes
    calling: str = ""
    called: str = ""
    peer: str = ""
    received: str = ""
    tags: tuple[int, ...] = ()

    def digest(self) -> bytes:
        """Return a digest by which a request that was sent again is recognized."""
        text = f"{self.service}\n{self.transfer_syntax}\n".encode()
        return hashlib.blake2b(text + self.data, digest_size=16).digest()


class Scheduled(NamedTuple):
    """What an item of the Scheduled Step Attributes Sequence is searched by."""

    study_uid: str
    accession_number: str
    requested_procedure_id: str
    scheduled_step_id: str


_SEARCHED = (
    "StudyInstanceUID",
    "AccessionNumber",
    "RequestedProcedureID",
    "ScheduledProcedureStepID",
)


@dataclass
class Step:
    """A step, with its columns in the store.

    Attributes
    ----------
    uid : str
        The SOP Instance UID.
    status : str
        The Performed Procedure Step Status.
    patient_id, station_ae_title, modality : str
        These attributes.
    calling_ae_title, called_ae_title : str
        The titles of the association of the N-CREATE.
    started, ended : str
        Date and time, as of VR DT.
    created, updated : str
        When the first and the last request came, in UTC, as ISO 8601.
    messages : int
        How many requests have been stored.
    digest : bytes
        That of the last one.
    transfer_syntax : str
        The UID of the attributes' transfer syntax.
    attributes : bytes
        The attributes as they are now, encoded.
    """

    uid: str
    status: str
    patient_id: str
    station_ae_title: str
    modality: str
    calling_ae_title: str
    called_ae_title: str
    started: str
    ended: str
    created: str
    updated: str
    messages: int
    digest: bytes
    transfer_syntax: str
    attributes: bytes

    def data_set(self) -> Dataset:
        """Return the attributes as they are now."""
        return decode(self.attributes, self.transfer_syntax)


class Message(NamedTuple):
    """A stored request: the step's UID, its number from 1, and the request."""

    uid: str
    number: int
    report: Report


class Changes:
    """What a transaction has read, and what it is to write.

    Parameters
    ----------
    steps : dict of str to Step
        The steps that were there, by UID.
    is_kept : callable
        Whether a request is in the store.

    Attributes
    ----------
    created, updated : dict of str to Step
        Steps to be written.
    scheduled : list of tuple
        What the created ones are searched by: UID, number of the item, and a `Scheduled`'s values.
    messages : list of Message
        The requests to be written.
    events : list of tuple
        What subscribers are to be told: when the request came, the step's UID, its number, and the
        Event Type ID (PS3.4 Table F.9.2-1).
    """

    def __init__(
        self, steps: dict[str, Step], is_kept: Callable[[Report], bool] = lambda _: False
    ) -> None:
        self.steps = steps
        self._is_kept = is_kept
        self.created: dict[str, Step] = {}
        self.updated: dict[str, Step] = {}
        self.scheduled: list[tuple[Any, ...]] = []
        self.messages: list[Message] = []
        self.events: list[tuple[str, str, int, int]] = []

    def apply(self, report: Report, *, is_strict: bool, is_repeated: bool = False) -> Answer:
        """Add what a request changes.

        Parameters
        ----------
        report : Report
            The request.
        is_strict : bool
            Whether nothing is excused.
        is_repeated : bool
            Whether the request may have been stored before: a commit was broken off.

        Returns
        -------
        Answer
            The answer, once this is stored.
        """
        step = self.steps.get(report.uid)
        try:
            if report.service == GET:
                return _get(step, report)
            digest = report.digest()
            was_before = step is not None and not is_strict and digest == step.digest
            if was_before or (is_repeated and self._is_kept(report)):
                answer, excused = rules.DONE, ["it has been before, and is stored once"]
            elif report.service == CREATE:
                answer, excused = self._create(step, report, digest, is_strict)
            else:
                answer, excused = self._set(step, report, digest, is_strict)
        except DataSetError as exc:
            answer, excused = Answer(status.RESOURCE_LIMITATION, str(exc)), []
        except Exception:
            _LOGGER.exception("%s can't be processed", _described(report))
            return Answer(status.PROCESSING_FAILURE, "the data set can't be processed")
        _log(report, answer, excused)
        return answer

    def _create(
        self, step: Step | None, report: Report, digest: bytes, is_strict: bool
    ) -> tuple[Answer, list[str]]:
        if not report.uid:
            return Answer(status.INVALID_SOP_INSTANCE, "there is no Affected SOP Instance UID"), []
        if step is not None:
            return Answer(status.DUPLICATE_SOP_INSTANCE, "there is such an instance"), []
        listed = decode(report.data, report.transfer_syntax)
        answer, excused = rules.check_create(listed, is_strict=is_strict)
        if answer.status == status.SUCCESS:
            scheduled = [
                (report.uid, number, *(_text(keyword, item) for keyword in _SEARCHED))
                for number, item in enumerate(listed.ScheduledStepAttributesSequence, 1)
            ]
            elements = rules.elements(listed)
            step = Step(
                uid=report.uid,
                status=rules.IN_PROGRESS,
                patient_id=_text("PatientID", listed),
                station_ae_title=_text("PerformedStationAETitle", listed),
                modality=_text("Modality", listed),
                calling_ae_title=report.calling,
                called_ae_title=report.called,
                started=_ascii(elements, *_STARTED),
                ended=_ascii(elements, *_ENDED),
                created=report.received,
                updated=report.received,
                messages=0,
                digest=b"",
                transfer_syntax=report.transfer_syntax,
                attributes=report.data,
            )
            self.steps[step.uid] = self.created[step.uid] = step
            self.scheduled += scheduled
            self._keep(step, report, digest)
        return answer, excused

    def _set(
        self, step: Step | None, report: Report, digest: bytes, is_strict: bool
    ) -> tuple[Answer, list[str]]:
        if step is None:
            return Answer(status.NO_SUCH_SOP_INSTANCE, "there is no such instance"), []
        if step.status != rules.IN_PROGRESS:
            return rules.FINAL, []
        both = merging(
            *(step.attributes, step.transfer_syntax, report.data, report.transfer_syntax)
        )
        answer, now, excused = rules.check_set(both, is_strict=is_strict)
        if answer.status in (status.SUCCESS, status.ATTRIBUTE_LIST_ERROR):
            step.attributes = both.encoded(now)
            step.status = _ascii(now, rules.STATUS) or step.status
            step.ended = _ascii(now, *_ENDED)
            if step.uid not in self.created:
                self.updated[step.uid] = step
            self._keep(step, report, digest)
        return answer, excused

    def _keep(self, step: Step, report: Report, digest: bytes) -> None:
        step.messages += 1
        step.digest, step.updated = digest, report.received
        self.messages.append(Message(step.uid, step.messages, report))
        event_type = _CREATED if report.service == CREATE else _EVENT_TYPES[step.status]
        self.events.append((report.received, step.uid, step.messages, event_type))


def _get(step: Step | None, report: Report) -> Answer:
    """Return the attributes of a step (PS3.4 F.8.2.1), with the character set that they need."""
    if step is None:
        return Answer(status.NO_SUCH_SOP_INSTANCE)
    now = step.data_set()
    if not report.tags:
        return Answer(status.SUCCESS, attributes=now)
    unknown = tuple(tag for tag in report.tags if tag not in now)
    chosen = Dataset()
    for tag in (0x00080005, *report.tags):
        if tag in now:
            chosen[tag] = now[tag]
    code = status.OPTIONAL_ATTRIBUTES_NOT_SUPPORTED if unknown else status.SUCCESS
    return Answer(code, tags=unknown, attributes=chosen)


def _text(keyword: str, data_set: Dataset) -> str:
    """Return a value as a column has it."""
    value = getattr(data_set, keyword, None)
    return "" if value is None else str(value).replace("\0", "")  # PostgreSQL takes no NUL


def _ascii(elements: dict[int, Any], *tags: int) -> str:
    """Return values that are ASCII, one behind the other."""
    text = ""
    for tag in tags:
        value = rules.value_of(elements[tag]) if tag in elements else None
        if type(value) is bytes:
            value = value.decode("ascii", "replace")
        text += str(value or "").replace("\0", "").strip(" ")
    return text


def _described(report: Report) -> str:
    return f"{report.service} of {report.uid} by {report.calling}@{report.peer}"


def _log(report: Report, answer: Answer, excused: list[str]) -> None:
    more: tuple[Any, ...]
    if answer.status not in (status.SUCCESS, status.ATTRIBUTE_LIST_ERROR):
        text, more = "%s refused with %04XH: %s", (answer.status, answer.comment)
    elif excused or answer.comment:
        texts = [*excused, *([answer.comment] if answer.comment else [])]
        text, more = "%s stored, although %s", (", ".join(texts),)
    else:
        return
    fields = {
        "peer": report.peer,
        "calling_ae_title": report.calling,
        "called_ae_title": report.called,
        "service": report.service,
        "sop_instance_uid": report.uid,
        "status": answer.status,
    }
    _LOGGER.warning(text, _described(report), *more, extra=fields)
