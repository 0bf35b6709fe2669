"""What a report must and may have: PS3.4 (2024c) Table F.7.2-1, and what it says of a list.

Two ways of reading it: *strict* is the standard's. By default, what modalities are known to leave
out or add is accepted, and named in the log.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from nset import status

IN_PROGRESS: Final = "IN PROGRESS"
FINAL_STATES: Final = ("COMPLETED", "DISCONTINUED")

STATUS: Final = 0x00400252
"""The tag of the Performed Procedure Step Status."""


class Rule(NamedTuple):
    """A row of Table F.7.2-1: the types that bind an SCU.

    Attributes
    ----------
    keyword : str
        The attribute.
    create : str
        Its type in an N-CREATE: "1" must have a value, "2" must be there, "1C" and "3" may be.
    set : str
        Its type in an N-SET, "3/1" or "3/1C" if it is not to be emptied; empty where it is not
        allowed.
    final : str
        Its type once the step is COMPLETED or DISCONTINUED, where that differs; not of items.
    items : tuple of Rule
        The rules of a sequence's items.
    is_vital : bool
        Whether an N-CREATE without it is refused even where the rules are not strict.
    condition : callable, optional
        Whether an attribute of type 1C is required beside these elements of an item. None where
        that can't be seen in a data set.
    """

    keyword: str
    create: str
    set: str = ""
    final: str = ""
    items: "tuple[Rule, ...]" = ()
    is_vital: bool = False
    condition: "Callable[[Mapping[int, Any]], bool] | None" = None


_WITH_VALUE: Final = ("1", "1C", "3/1", "3/1C")

_CODE_VALUE, _SCHEME, _LONG_CODE_VALUE, _URN = 0x00080100, 0x00080102, 0x00080119, 0x00080120
_LOCAL_ENTITY, _UNIVERSAL_ENTITY = 0x00400031, 0x00400032
_SHORT_CODE = 16  # characters, which Code Value can have


def _needs_code_value(item: Mapping[int, Any]) -> bool:
    long = item.get(_LONG_CODE_VALUE)
    return _URN not in item and (long is None or len(long.value or "") <= _SHORT_CODE)


def _needs_scheme(item: Mapping[int, Any]) -> bool:
    return _CODE_VALUE in item or _LONG_CODE_VALUE in item


def _code(meaning: str, *, may_be_set: bool) -> tuple[Rule, ...]:
    """Return Tables F.7.2-1a to -1f: the attributes of a code, without most of type 3."""
    values = "3/1C" if may_be_set else ""
    scheme = "1C" if may_be_set else ""
    simple = (
        Rule("CodeValue", "1C", values, condition=_needs_code_value),
        Rule("LongCodeValue", "1C", values),
        Rule("URNCodeValue", "1C", values),
        Rule("CodingSchemeDesignator", "1C", scheme, condition=_needs_scheme),
        Rule("CodingSchemeVersion", "1C", scheme),
        Rule("CodeMeaning", meaning, meaning if may_be_set else ""),
    )
    return *simple, Rule("EquivalentCodeSequence", "3", "3" if may_be_set else "", items=simple)


_INSTANCE = tuple(Rule(f"ReferencedSOP{word}UID", "1") for word in ("Class", "Instance"))
_IMAGE = tuple(rule._replace(set="1") for rule in _INSTANCE)
_ENTITY_TYPE = Rule("UniversalEntityIDType", "1C", condition=lambda item: _UNIVERSAL_ENTITY in item)
_ENTITY = (
    Rule("LocalNamespaceEntityID", "1C", condition=lambda item: _UNIVERSAL_ENTITY not in item),
    Rule("UniversalEntityID", "1C", condition=lambda item: _LOCAL_ENTITY not in item),
    _ENTITY_TYPE,
)
_SPECIMEN = (Rule("SpecimenIdentifier", "1", "1"), Rule("SpecimenUID", "1", "1"))

_SCHEDULED = (
    Rule("StudyInstanceUID", "1", is_vital=True),
    Rule("ReferencedStudySequence", "2", items=_INSTANCE),
    Rule("AccessionNumber", "2"),
    Rule("IssuerOfAccessionNumberSequence", "3", items=_ENTITY),
    Rule("PlacerOrderNumberImagingServiceRequest", "3"),
    Rule("OrderPlacerIdentifierSequence", "3", items=_ENTITY),
    Rule("FillerOrderNumberImagingServiceRequest", "3"),
    Rule("OrderFillerIdentifierSequence", "3", items=_ENTITY),
    Rule("RequestedProcedureID", "2"),
    Rule("RequestedProcedureCodeSequence", "3", items=_code("1", may_be_set=False)),
    Rule("RequestedProcedureDescription", "2"),
    Rule("ScheduledProcedureStepID", "2"),
    Rule("ScheduledProcedureStepDescription", "2"),
    Rule("ScheduledProtocolCodeSequence", "2", items=_code("1", may_be_set=False)),
)
_SERIES = (
    Rule("PerformingPhysicianName", "2", "2"),
    Rule("ProtocolName", "1", "1"),
    Rule("OperatorsName", "2", "2"),
    Rule("SeriesInstanceUID", "1", "1"),
    Rule("SeriesDescription", "2", "2"),
    Rule("RetrieveAETitle", "2", "2"),
    Rule("ArchiveRequested", "3", "3"),
    Rule(
        *("ReferencedImageSequence", "2", "2"),
        items=(
            *_IMAGE,
            Rule("ContainerIdentifier", "3", "3"),
            Rule("SpecimenDescriptionSequence", "3", "3", items=_SPECIMEN),
        ),
    ),
    Rule("ReferencedNonImageCompositeSOPInstanceSequence", "2", "2", items=_IMAGE),
)

TABLE: Final = (
    Rule("SpecificCharacterSet", "1C", "1C"),
    Rule("ScheduledStepAttributesSequence", "1", items=_SCHEDULED, is_vital=True),
    Rule("PatientName", "2"),
    Rule("PatientID", "2"),
    Rule("IssuerOfPatientID", "3"),
    Rule("IssuerOfPatientIDQualifiersSequence", "3", items=(_ENTITY_TYPE,)),
    Rule("OtherPatientIDsSequence", "3"),
    Rule("PatientBirthDate", "2"),
    Rule("PatientSex", "2"),
    Rule("ReferencedPatientSequence", "2", items=_INSTANCE),
    Rule("AdmissionID", "3"),
    Rule("IssuerOfAdmissionIDSequence", "3", items=_ENTITY),
    Rule("ServiceEpisodeID", "3"),
    Rule("IssuerOfServiceEpisodeIDSequence", "3", items=_ENTITY),
    Rule("ServiceEpisodeDescription", "3"),
    Rule("PerformedProcedureStepID", "1"),
    Rule("PerformedStationAETitle", "1"),
    Rule("PerformedStationName", "2"),
    Rule("PerformedLocation", "2"),
    Rule("PerformedProcedureStepStartDate", "1", is_vital=True),
    Rule("PerformedProcedureStepStartTime", "1", is_vital=True),
    Rule("PerformedProcedureStepStatus", "1", "3/1", is_vital=True),
    Rule("PerformedProcedureStepDescription", "2", "3"),
    Rule("PerformedProcedureTypeDescription", "2", "3"),
    Rule("ProcedureCodeSequence", "2", "3", items=_code("3", may_be_set=True)),
    Rule("ReasonForPerformedProcedureCodeSequence", "3", "3", items=_code("1", may_be_set=True)),
    Rule("PerformedProcedureStepEndDate", "2", "3/1", "1"),
    Rule("PerformedProcedureStepEndTime", "2", "3/1", "1"),
    Rule("CommentsOnThePerformedProcedureStep", "3", "3"),
    Rule(
        "PerformedProcedureStepDiscontinuationReasonCodeSequence",
        "3",
        "3",
        items=_code("1", may_be_set=True),
    ),
    Rule("Modality", "1", is_vital=True),
    Rule("StudyID", "2"),
    Rule("PerformedProtocolCodeSequence", "2", "3", items=_code("3", may_be_set=True)),
    Rule("PerformedSeriesSequence", "2", "3/1", "1", items=_SERIES),
)
"""Table F.7.2-1. An attribute that is not in it is of type 3, in an N-CREATE and an N-SET."""


def _tagged(rules: tuple[Rule, ...]) -> tuple[tuple[int, Rule], ...]:
    return tuple((tag_for_keyword(rule.keyword) or 0, rule) for rule in rules)


_tagged_items: Final = cache(_tagged)
_TABLE: Final = _tagged(TABLE)
_BY_TAG: Final = dict(_TABLE)
_FINAL: Final = tuple((tag, rule) for tag, rule in _TABLE if rule.final)
_NOT_EMPTY: Final = {tag: (tag, rule) for tag, rule in _TABLE if rule.set == "3/1"}
_CHARACTER_SET = 0x00080005
_TEXT: Final = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
"""VRs that Specific Character Set is for."""


class Answer(NamedTuple):
    """What a request is answered with.

    Attributes
    ----------
    status : int
        The Status (0000,0900).
    comment : str
        The Error Comment, of which the peer gets 64 characters.
    error_id : int, optional
        The Error ID.
    tags : tuple of int
        The Attribute Identifier List.
    attributes : pydicom.Dataset, optional
        The Attribute List, of an N-GET.
    """

    status: int
    comment: str = ""
    error_id: int | None = None
    tags: tuple[int, ...] = ()
    attributes: Dataset | None = None


DONE: Final = Answer(status.SUCCESS)
FINAL: Final = Answer(
    status.PROCESSING_FAILURE,
    "Performed Procedure Step Object may no longer be updated",  # PS3.4 Table F.7.2-2
    status.MPPS_ERROR_ID_NO_LONGER_UPDATABLE,
)


class Fault(NamedTuple):
    """An attribute that is not as the table has it, and the status for that."""

    status: int
    tag: int
    is_vital: bool
    text: str


def name(tag: int) -> str:
    """Return an attribute's keyword, or its tag where it has none."""
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def elements(data_set: Dataset) -> dict[int, Any]:
    """Return the elements, raw or not, by plain ints: a `BaseTag` compares slowly."""
    found = data_set._dict  # keys() and values() would be made of it
    return dict(zip(map(int, found), found.values(), strict=True))


_HEADER_BYTES = 8


def value_of(element: Any) -> Any:
    """Return a value, as it came or decoded.

    Of an encoded element, it is what follows a header of eight bytes. With explicit VRs that of a
    sequence has twelve; what follows eight of them is empty, too, if there are no items.
    """
    return element[_HEADER_BYTES:] if type(element) is bytes else element.value


def _is_empty(element: Any) -> bool:
    if type(element) is bytes:
        return len(element.rstrip(b" \0")) <= _HEADER_BYTES
    value = element.value
    if type(value) is bytes:
        return not value.strip(b" \0")
    return not value and value != 0


def _faults(
    listed: dict[int, Any], rules: Iterable[tuple[int, Rule]], service: str, place: str = ""
) -> Iterator[Fault]:
    """Yield what is missing or empty, as the types of "create", "set" or "final" have it."""
    for tag, rule in rules:
        kind = getattr(rule, service)
        element = listed.get(tag)
        if element is None:
            if kind in ("1", "2") or (kind == "1C" and rule.condition and rule.condition(listed)):
                text = f"{rule.keyword} is missing{place}"
                yield Fault(status.MISSING_ATTRIBUTE, tag, rule.is_vital, text)
        elif kind in _WITH_VALUE and _is_empty(element):
            text = f"{rule.keyword} is empty{place}"
            yield Fault(status.MISSING_ATTRIBUTE_VALUE, tag, rule.is_vital, text)


def _faults_of_items(
    listed: Dataset, rules: Iterable[tuple[int, Rule]], service: str
) -> Iterator[Fault]:
    for _, rule in rules:
        if rule.items and rule.keyword in listed:
            inner = _tagged_items(rule.items)
            for item in listed[rule.keyword].value or ():
                yield from _faults(elements(item), inner, service, f" in {rule.keyword}")
                yield from _faults_of_items(item, inner, service)


def _faults_of_text(listed: Dataset) -> Iterator[Fault]:
    """Yield what is missing where text is not in the default character repertoire."""
    if _CHARACTER_SET in listed:
        return
    for element in listed.iterall():
        if element.VR in _TEXT and not str(element.value).isascii():
            text = f"SpecificCharacterSet is missing for {name(element.tag)}"
            yield Fault(status.MISSING_ATTRIBUTE, _CHARACTER_SET, False, text)
            return


def _refusal(faults: list[Fault]) -> Answer:
    """Return the answer to faults: the first one's status, and all attributes with that status."""
    first = faults[0]
    tags = dict.fromkeys(fault.tag for fault in faults if fault.status == first.status)
    return Answer(first.status, first.text, tags=tuple(tags))


def check_create(listed: Dataset, *, is_strict: bool) -> tuple[Answer, list[str]]:
    """Check the Attribute List of an N-CREATE (PS3.4 F.7.2.1).

    Parameters
    ----------
    listed : pydicom.Dataset
        The Attribute List.
    is_strict : bool
        Whether nothing is excused.

    Returns
    -------
    tuple of (Answer, list of str)
        The answer; and what was excused, for the log.
    """
    faults = list(_faults(elements(listed), _TABLE, "create"))
    if is_strict:
        faults += _faults_of_items(listed, _TABLE, "create")
        faults += _faults_of_text(listed)
    else:
        for item in listed.get("ScheduledStepAttributesSequence") or ():
            place = " in ScheduledStepAttributesSequence"
            faults += _faults(elements(item), _tagged_items(_SCHEDULED), "create", place)
    grave = [fault for fault in faults if is_strict or fault.is_vital]
    if grave:
        return _refusal(grave), []
    if listed.PerformedProcedureStepStatus != IN_PROGRESS:
        return _invalid_status(listed.PerformedProcedureStepStatus), []
    return DONE, [fault.text for fault in faults]


def _invalid_status(state: Any) -> Answer:
    text = f"PerformedProcedureStepStatus is {state!r}"
    return Answer(status.INVALID_ATTRIBUTE_VALUE, text, tags=(STATUS,))


class Both(Protocol):
    """A step and a Modification List for it.

    Attributes
    ----------
    created, given : dict of int to element
        The elements of the step and of the list, by their tags: pydicom's, or encoded.
    """

    created: dict[int, Any]
    given: dict[int, Any]

    @property
    def decoded(self) -> tuple[Dataset, Dataset]:
        """The step and the list as data sets."""

    def state(self) -> Any:
        """Return the Performed Procedure Step Status of the list, which has one."""

    def encoded(self, now: dict[int, Any]) -> bytes:
        """Return a data set of elements of both, in the transfer syntax of the step."""


def _is_other(both: Both, tag: int) -> bool:
    """Return whether the list has another value than the step."""
    step, listed = both.decoded
    return bool(listed[tag].value != step[tag].value)


def check_set(both: Both, *, is_strict: bool) -> tuple[Answer, dict[int, Any], list[str]]:
    """Check the Modification List of an N-SET for a step IN PROGRESS (PS3.4 F.7.2.2).

    Both are in one character set; that of the step stays.

    Parameters
    ----------
    both : Both
        The step, and the Modification List.
    is_strict : bool
        Whether nothing is excused.

    Returns
    -------
    tuple of (Answer, dict of int to element, list of str)
        The answer; the step's elements then; and what was excused, for the log.
    """
    created, given = both.created, both.given
    to_set: dict[int, Any] = {}
    refused: list[int] = []
    faults: list[Fault] = []
    for tag, element in given.items():
        rule = _BY_TAG.get(tag)
        if rule is not None and not rule.set:
            if is_strict or tag not in created or _is_other(both, tag):
                refused.append(tag)
        elif tag in created:
            to_set[tag] = element
        elif is_strict:
            refused.append(tag)
        else:
            to_set[tag] = element
            faults.append(Fault(status.SUCCESS, tag, False, f"{name(tag)} was not created"))
    to_set.pop(_CHARACTER_SET, None)
    faults += _faults(to_set, [_NOT_EMPTY[tag] for tag in to_set if tag in _NOT_EMPTY], "set")
    if is_strict:
        _, listed = both.decoded
        faults += _faults_of_items(listed, _TABLE, "set")
        faults += _faults_of_text(listed)
    now = created | to_set
    if STATUS in given:
        state = both.state()
        if state in FINAL_STATES:
            faults += _faults(now, _FINAL, "final")
        elif state and state != IN_PROGRESS:
            return _invalid_status(state), {}, []
    grave = [fault for fault in faults if is_strict or fault.is_vital]
    if grave:
        return _refusal(grave), {}, []
    texts = list(dict.fromkeys(fault.text for fault in faults))
    if refused:
        comment = f"not to be set: {name(refused[0])}"
        return Answer(status.ATTRIBUTE_LIST_ERROR, comment, tags=tuple(refused)), now, texts
    return DONE, now, texts
