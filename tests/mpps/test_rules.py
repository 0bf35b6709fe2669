"""The rules of PS3.4 F.7.2: each attribute of Table F.7.2-1, each transition, each status.

Over real associations, on both stores. What an answer is to be is computed from the table as text.
"""

import functools
import itertools
from io import BytesIO

import pytest
from associations import MPPS
from implementations import IMPLEMENTATIONS
from mpps_peers import RETRIEVE, ROOT, Modality, Workstation, encoded
from mpps_table import ROWS, VITAL, changed, modifications, whole
from n_set_requests import uid as uid_bytes
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pynetdicom.dsutils import decode
from raw_peer import Peer
from service_requests import ECHO, asked, sent

SUCCESS, ATTRIBUTE_LIST_ERROR = 0x0000, 0x0107
MISSING, EMPTY = 0x0120, 0x0121
STATUS = "PerformedProcedureStepStatus"
WHOLE = encoded(whole())

modes = pytest.mark.parametrize("is_strict", [False, True], ids=["default", "strict"])

# What goes through a table: one mode on each implementation, the others in `make test-all`.
modes_of_tables = pytest.mark.parametrize(
    ("nset", "is_strict"),
    [
        pytest.param(
            *(implementation, is_strict),
            marks=[pytest.mark.exhaustive]
            if implementation != IMPLEMENTATIONS[is_strict % len(IMPLEMENTATIONS)]
            else [],
            id=f"{implementation}-{'strict' if is_strict else 'default'}",
        )
        for implementation in IMPLEMENTATIONS
        for is_strict in (False, True)
    ],
    indirect=["nset"],
)


@pytest.fixture
def new_uid():
    numbers = itertools.count(1)
    return lambda: f"{ROOT}.{next(numbers)}"


def parsed():
    """A step as `whole`, at a tenth of the price: what nobody touches stays bytes."""
    return decode(BytesIO(WHOLE), True, True)


def listed(answer):
    """The Attribute Identifier List."""
    tags = answer.get("AttributeIdentifierList")
    return [] if tags is None else [tags] if isinstance(tags, int) else list(tags)


def expected(kind, is_empty):
    """The status where a type binds."""
    if is_empty:
        return EMPTY if kind in ("1", "1C", "1C*", "3/1", "3/1C") else SUCCESS
    return MISSING if kind in ("1", "1C*", "2") else SUCCESS


def alone(step, keyword):
    """A list of one attribute."""
    one = Dataset()
    one[keyword] = step[keyword]
    return encoded(one)


def other_value(row):
    """A list that sets the attribute to another value."""
    step = parsed()
    element = step[row.tag]
    if element.VR == "SQ":
        element.value = [*element.value, *parsed()[row.tag].value]
    elif row.path != (STATUS,):
        element.value = {"DA": "20261128", "TM": "101600"}.get(element.VR, "2")
    return alone(step, row.path[0])


@functools.cache
def lists_to_create():
    """Each attribute, missing and empty."""
    return [
        (row, is_empty, encoded(changed(parsed(), row, is_empty)))
        for row in ROWS
        for is_empty in (False, True)
    ]


@functools.cache
def lists_to_set():
    """Each attribute outside of items: with another value, the same one, and empty."""
    return [
        (
            row,
            other_value(row),
            alone(parsed(), row.path[0]),
            alone(changed(parsed(), row, True), row.path[0]),
        )
        for row in ROWS
        if len(row.path) == 1 and row.path[0] != "SpecificCharacterSet"
    ]


@functools.cache
def items_to_set():
    """Each attribute in items that may be set, missing and empty."""
    return [
        (row, is_empty, alone(changed(parsed(), row, is_empty), row.path[0]))
        for row in ROWS
        if len(row.path) > 1 and row.set != "-"
        for is_empty in (False, True)
    ]


@modes_of_tables
def test_each_attribute_of_an_n_create(serving, new_uid, is_strict):
    wrong = []
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        for row, is_empty, data in lists_to_create():
            uid = new_uid()
            answer = modality.create(uid, data)
            status = expected(row.create, is_empty) if is_strict or row.name in VITAL else SUCCESS
            comment = f"{row.path[-1]} is {'empty' if is_empty else 'missing'}"
            comment += f" in {row.path[-2]}" if len(row.path) > 1 else ""
            if answer.Status != status or (status and answer.ErrorComment != comment[:64]):
                wrong.append((row.name, is_empty, answer))
            if listed(answer) != ([row.tag] if status else []):
                wrong.append((row.name, is_empty, answer))
            if (served.store.get(uid) is not None) != (status == SUCCESS):
                wrong.append((row.name, is_empty, "stored"))
    assert wrong == []


@modes_of_tables
def test_each_attribute_of_an_n_set(serving, new_uid, is_strict):
    wrong = []
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        for row, other, same, empty in lists_to_set():
            for name, data in (("other", other), ("same", same), ("empty", empty)):
                uid = new_uid()
                assert modality.create(uid, WHOLE).Status == SUCCESS
                answer = modality.set(uid, data)
                status = expected(row.set, True) if name == "empty" else SUCCESS
                if status and not (is_strict or row.path == (STATUS,)):
                    status = SUCCESS
                if row.set == "-" and (is_strict or name != "same"):
                    status = ATTRIBUTE_LIST_ERROR
                tags = [row.tag] if status else []
                if (answer.Status, listed(answer)) != (status, tags):
                    wrong.append((row.name, name, f"{status:04X}", answer))
    assert wrong == []


@modes_of_tables
def test_each_attribute_of_an_item_in_an_n_set(serving, new_uid, is_strict):
    """By default, nobody looks into items: the report counts."""
    wrong, uid = [], new_uid()
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        assert modality.create(uid, WHOLE).Status == SUCCESS
        for row, is_empty, data in items_to_set():
            answer = modality.set(uid, data)
            status = expected(row.set, is_empty) if is_strict else SUCCESS
            if (answer.Status, listed(answer)) != (status, [row.tag] if status else []):
                wrong.append((row.name, is_empty, f"{status:04X}", answer))
    assert wrong == []


LONG, SHORT = "1234567890ABCDEFG", "1234567890ABCDEF"
CODE = "ScheduledStepAttributesSequence>ScheduledProtocolCodeSequence"
ISSUER = "ScheduledStepAttributesSequence>IssuerOfAccessionNumberSequence"
QUALIFIERS = "IssuerOfPatientIDQualifiersSequence"

# The sequence, what is in its item, and what is missing then.
CONDITIONS = [
    (CODE, {"CodeValue": "1", "CodingSchemeDesignator": "DCM"}, []),
    (CODE, {"LongCodeValue": LONG, "CodingSchemeDesignator": "DCM"}, []),
    (CODE, {"LongCodeValue": SHORT, "CodingSchemeDesignator": "DCM"}, ["CodeValue"]),
    (CODE, {"LongCodeValue": LONG}, ["CodingSchemeDesignator"]),
    (CODE, {"CodeValue": "1"}, ["CodingSchemeDesignator"]),
    (CODE, {"URNCodeValue": "urn:lex:us:1"}, []),
    (CODE, {}, ["CodeValue"]),
    (ISSUER, {"LocalNamespaceEntityID": "A"}, []),
    (ISSUER, {"UniversalEntityID": "1.2", "UniversalEntityIDType": "ISO"}, []),
    (ISSUER, {"UniversalEntityID": "1.2"}, ["UniversalEntityIDType"]),
    (ISSUER, {}, ["LocalNamespaceEntityID", "UniversalEntityID"]),
    (QUALIFIERS, {}, []),
    (QUALIFIERS, {"UniversalEntityID": "1.2"}, ["UniversalEntityIDType"]),
]


@modes
def test_conditions(serving, new_uid, is_strict):
    wrong = []
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        for path, elements, missing in CONDITIONS:
            step, item = whole(), Dataset()
            holder, names = step, path.split(">")
            for keyword in names[:-1]:
                (holder,) = holder[keyword].value
            for keyword, value in elements.items():
                setattr(item, keyword, value)
            if path == CODE:
                item.CodeMeaning = "1"
            setattr(holder, names[-1], [item])
            answer = modality.create(new_uid(), step)
            tags = [tag_for_keyword(keyword) for keyword in missing] if is_strict else []
            if (answer.Status, listed(answer)) != (MISSING if tags else SUCCESS, tags):
                wrong.append((path, elements, answer))
    assert wrong == []


@modes
@pytest.mark.parametrize("place", ["PatientComments", "OperatorsName"])
def test_text_needs_a_character_set(serving, new_uid, is_strict, place):
    """In the list itself, and in its items."""
    created, more, uid = whole(), modifications(whole()), new_uid()
    for one in (created, more):
        holder = one if place == "PatientComments" else one.PerformedSeriesSequence[0]
        setattr(holder, place, "XY")
        del one.SpecificCharacterSet
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        beyond = [encoded(one).replace(b"XY", b"\xfc\xe9") for one in (created, more)]
        step = whole()
        setattr(step, place, "")
        answers = [modality.create(uid, beyond[0])]
        if is_strict:
            assert modality.create(uid, step).Status == SUCCESS
        answers.append(modality.set(uid, beyond[1]))
        for answer in answers:
            if is_strict:
                assert (answer.Status, listed(answer)) == (MISSING, [0x00080005])
                assert answer.ErrorComment == f"SpecificCharacterSet is missing for {place}"
            else:
                assert answer.Status == SUCCESS
        assert modality.create(new_uid(), created).Status == SUCCESS  # it has only ASCII


@modes_of_tables
@pytest.mark.parametrize("state", ["COMPLETED", "DISCONTINUED"])
def test_each_attribute_of_the_final_state(serving, new_uid, is_strict, state):
    """It may come with the last N-SET, before, or never; then a modality could not help it."""
    needed = [row for row in ROWS if row.final]
    assert len(needed) == 3
    end = Dataset()
    end.PerformedProcedureStepStatus = state
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        for row in needed:
            for comes in ("never", "empty", "before", "with the last"):
                step = whole() if comes != "never" else changed(whole(), row, is_empty=False)
                if comes in ("empty", "with the last"):
                    changed(step, row, is_empty=True)
                uid = new_uid()
                # Strict, an N-CREATE has all of it; what is never there is empty then.
                created = encoded(step) if comes != "never" or not is_strict else None
                if created is None:
                    continue
                assert modality.create(uid, created).Status == SUCCESS
                last = Dataset()
                last.update(end)
                if comes == "with the last":
                    last[row.tag] = whole()[row.tag]
                answer = modality.set(uid, last)
                status = EMPTY if comes == "empty" and is_strict else SUCCESS
                assert (answer.Status, listed(answer)) == (status, [row.tag] if status else [])
                assert served.store.get(uid).status == ("IN PROGRESS" if status else state)


TRANSITIONS = [
    ("IN PROGRESS", "IN PROGRESS", SUCCESS),
    ("IN PROGRESS", "COMPLETED", SUCCESS),
    ("IN PROGRESS", "DISCONTINUED", SUCCESS),
    ("IN PROGRESS", "STARTED", 0x0106),
    ("IN PROGRESS", None, SUCCESS),
    *(
        (final, state, 0x0110)
        for final in ("COMPLETED", "DISCONTINUED")
        for state in (*("IN PROGRESS", "COMPLETED", "DISCONTINUED", "STARTED"), None)
    ),
]


@modes_of_tables
def test_each_transition(serving, new_uid, is_strict):
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        for before, after, status in TRANSITIONS:
            uid, step = new_uid(), modifications(whole())
            assert modality.create(uid, WHOLE).Status == SUCCESS
            step.PerformedProcedureStepStatus = before
            assert modality.set(uid, step).Status == SUCCESS
            kept = served.store.get(uid)
            step.CommentsOnThePerformedProcedureStep = "other"
            if after is None:
                del step.PerformedProcedureStepStatus
            else:
                step.PerformedProcedureStepStatus = after
            answer = modality.set(uid, step)
            assert answer.Status == status, (before, after)
            if status == 0x0110:
                assert answer.ErrorID == 0xA710
                assert (
                    answer.ErrorComment
                    == "Performed Procedure Step Object may no longer be updated"
                )
            if status:
                assert served.store.get(uid) == kept
            else:
                assert served.store.get(uid).status == (after or before)


@modes
@pytest.mark.parametrize("state", ["COMPLETED", "DISCONTINUED", "STARTED"])
def test_a_step_begins_in_progress(serving, new_uid, is_strict, state):
    step, uid = whole(), new_uid()
    step.PerformedProcedureStepStatus = state
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        answer = modality.create(uid, step)
        assert answer.Status == 0x0106
        assert answer.ErrorComment == f"PerformedProcedureStepStatus is {state!r}"
        assert served.store.get(uid) is None


@modes
def test_duplicates_and_unknown_instances(serving, new_uid, is_strict):
    """The same request again is one that a modality sends again, as it has seen no answer."""
    uid, other = new_uid(), new_uid()
    last = modifications(whole())
    last.PerformedProcedureStepStatus = "COMPLETED"
    changed_step = whole()
    changed_step.PatientID = "2"
    with (
        serving(is_strict=is_strict) as served,
        Modality(served.port) as modality,
        Workstation(served.port) as workstation,
    ):
        assert modality.set(uid, last).Status == 0x0112
        assert workstation.get(uid)[0].Status == 0x0112
        assert modality.create(uid, WHOLE).Status == SUCCESS
        assert modality.create(uid, changed_step).Status == 0x0111
        assert modality.create(uid, WHOLE).Status == (0x0111 if is_strict else SUCCESS)
        assert modality.set(uid, last).Status == SUCCESS
        assert modality.set(uid, last).Status == (0x0110 if is_strict else SUCCESS)
        assert modality.create(uid, WHOLE).Status == 0x0111
        assert modality.set(other, last).Status == 0x0112
        assert len(served.store.messages(uid)) == 2


@modes
@pytest.mark.parametrize("uid", [None, ""], ids=["missing", "empty"])
def test_the_modality_names_the_instance(serving, is_strict, uid):
    """PS3.4 F.7.2.1.2: no SCP makes a UID for it."""
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        answer = modality.create(uid, WHOLE)
        assert answer.Status == 0x0117
        assert answer.ErrorComment == "there is no Affected SOP Instance UID"
        assert list(served.store.find()) == []


@modes
def test_what_was_not_created(serving, new_uid, is_strict, caplog):
    uid, step = new_uid(), whole()
    del step.CommentsOnThePerformedProcedureStep
    more = Dataset()
    more.CommentsOnThePerformedProcedureStep = "late"
    more.PerformedProcedureStepDescription = "new"
    with serving(is_strict=is_strict) as served, Modality(served.port) as modality:
        assert modality.create(uid, step).Status == SUCCESS
        answer = modality.set(uid, more)
        now = served.store.get(uid).data_set()
    assert now.PerformedProcedureStepDescription == "new"
    if is_strict:
        assert answer.Status == ATTRIBUTE_LIST_ERROR
        assert listed(answer) == [tag_for_keyword("CommentsOnThePerformedProcedureStep")]
        assert "CommentsOnThePerformedProcedureStep" not in now
    else:
        assert answer.Status == SUCCESS
        assert now.CommentsOnThePerformedProcedureStep == "late"
        text = f"N-SET of {uid} by RAW@127.0.0.1 stored, although "
        assert text + "CommentsOnThePerformedProcedureStep was not created" in caplog.messages


def test_what_may_not_be_set_stays(serving, new_uid):
    uid, more = new_uid(), modifications(whole())
    more.PatientID, more.Modality = "2", "CT"
    more.PerformedProcedureStepStatus = "COMPLETED"
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(uid, WHOLE).Status == SUCCESS
        answer = modality.set(uid, more)
        step = served.store.get(uid)
    assert answer.Status == ATTRIBUTE_LIST_ERROR
    assert answer.ErrorComment == "not to be set: Modality"
    assert listed(answer) == [0x00080060, 0x00100020]
    assert step.status == "COMPLETED"
    assert (step.data_set().PatientID, step.data_set().Modality) == ("1", "1")


def test_what_is_not_in_the_table_may_be_set(serving, new_uid):
    uid, step = new_uid(), whole()
    step.TotalNumberOfExposures = 1
    more = Dataset()
    more.TotalNumberOfExposures = 7
    with serving(is_strict=True) as served, Modality(served.port) as modality:
        assert modality.create(uid, step).Status == SUCCESS
        assert modality.set(uid, more).Status == SUCCESS
        assert served.store.get(uid).data_set().TotalNumberOfExposures == 7


@pytest.mark.parametrize(
    ("service", "field", "abstract_syntax"),
    [
        ("N-CREATE", 0x0140, RETRIEVE),
        ("N-SET", 0x0120, RETRIEVE),
        ("N-GET", 0x0110, MPPS),
        ("N-CREATE", 0x0140, ECHO),
    ],
)
def test_each_class_has_its_services(serving, new_uid, service, field, abstract_syntax):
    uid = new_uid()
    number = {"x1000" if field == 0x0140 else "x1001": uid_bytes(uid)}
    data = b"" if field == 0x0110 else encoded(modifications(whole()))
    request = asked(field, data, **number)
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(uid, WHOLE).Status == SUCCESS
        with Peer(served.port, abstract_syntax) as peer:
            peer.send(sent(request, MPPS, context_id=1))
            answer, _ = peer.receive_message()
        assert answer.Status == 0x0211
        assert answer.ErrorComment == f"the presentation context has no {service}"
        assert served.store.get(uid).messages == 1


def test_retrieve(serving, new_uid):
    uid = new_uid()
    with (
        serving() as served,
        Modality(served.port) as modality,
        Workstation(served.port) as workstation,
    ):
        assert modality.create(uid, WHOLE).Status == SUCCESS
        answer, attributes = workstation.get(uid)
        assert (answer.Status, attributes) == (SUCCESS, whole())
        answer, attributes = workstation.get(uid, 0x00100020, 0x00400252)
        assert answer.Status == SUCCESS
        assert [element.keyword for element in attributes] == [
            *("SpecificCharacterSet", "PatientID", STATUS)
        ]
        answer, attributes = workstation.get(uid, 0x00100020, 0x00181234)
        assert (answer.Status, listed(answer)) == (0x0001, [0x00181234])
        assert attributes.PatientID == "1"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x40\0\x70\x02\xff\xff\xff\xff\x08\0\x60\0\0\0\0\0", 0x0110),
        (b"\x40\0\x40\x03\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 70, 0x0213),
    ],
    ids=["no items", "too deep"],
)
def test_lists_that_can_not_be_read(serving, new_uid, data, status):
    uid = new_uid()
    with serving() as served, Modality(served.port) as modality:
        assert modality.create(uid, data).Status == status
        assert served.store.get(uid) is None
        assert modality.create(uid, WHOLE).Status == SUCCESS
        kept = served.store.get(uid)
        assert modality.set(uid, data).Status == status
        assert served.store.get(uid) == kept
