"""from_command_set() of both implementations: what is decoded, logged and refused."""

import array
import copy
import ctypes
import functools
import logging
import mmap
import pickle
import struct
from io import BytesIO

import pytest
from command_sets import (
    SEEDS,
    TAGS,
    build,
    element,
    golden,
    joined,
    random_primitives,
    stock_decode,
    upstream,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS, loaded
from outcome import Outcome, attempt, shape, state, unlike
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from uids import Settings, failing, in_force, permissive, refusing
from violations import CASES, CLASS, INSTANCE, LONG, NO_UID, SKIPPED, in_words, request, response

twins = pytest.mark.parametrize("twin", IMPLEMENTATIONS)
modes = pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
quick = settings(max_examples=100)


def package(twin):
    with loaded(twin) as nset:
        return nset


NSETS = {twin: package(twin) for twin in IMPLEMENTATIONS}
FIELDS = (*TAGS, "ModificationList")
GOLDEN = {name: one.data for name, one in golden().items()} | upstream()


def decode(nset, data, strict=False):
    return nset.N_SET.from_command_set(data, strict=strict)


def fields_or_error(nset, data, strict):
    try:
        primitive = decode(nset, data, strict)
    except nset.CommandSetError as exc:
        return error_shape(exc.tag, exc.offset, exc.status, exc.reason, exc.message_id, str(exc))
    return {keyword: getattr(primitive, keyword) for keyword in FIELDS}


def error_shape(tag, offset, status, reason, message_id, text):
    return {
        "reason": reason,
        "text": text,
        "tag": tag,
        "offset": offset,
        "status": status,
        "message_id": message_id,
    }


def told(nset, data, strict=False):
    """Everything that comes of one command set."""
    return attempt(fields_or_error, nset, data, strict)


# -- What pynetdicom reads ------------------------------------------------------------------------


@functools.cache
def what_pynetdicom_reads(seed):
    """What pynetdicom sends, and what it makes of that itself."""
    sent = [one.data for one in random_primitives(seed)] + list(GOLDEN.values())
    return [(data, state(stock_decode(data))) for data in sent]


@twins
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_pynetdicom_sends(twin, seed):
    nset = NSETS[twin]
    for data, theirs in what_pynetdicom_reads(seed):
        ours = decode(nset, data)
        seen = state(ours)
        assert list(unlike(seen, theirs)) == [], data
        assert state(slowly(nset, data)) == seen
        tags = ours.AttributeIdentifierList
        if isinstance(tags, MultiValue):
            assert {type(tag) for tag in tags} == {BaseTag}
            tags.append("PatientName")  # takes what a list of pynetdicom's takes
            assert tags[-1] == 0x00100010


@twins
@modes
@pytest.mark.parametrize("name", golden())
def test_golden(twin, strict, name):
    fields = golden()[name].fields
    for keyword in fields.keys() & {"OffendingElement", "AttributeIdentifierList"}:
        tags = fields[keyword]
        fields[keyword] = MultiValue(Tag, tags) if isinstance(tags, list) else BaseTag(tags)
    assert told(NSETS[twin], GOLDEN[name], strict) == Outcome(fields_shape(fields))


def fields_shape(fields):
    """What `told` returns for these fields, with all others None."""
    fields = {
        keyword: str.__new__(UID, value) if keyword.endswith("UID") and value is not None else value
        for keyword, value in fields.items()
    }
    return shape({**dict.fromkeys(TAGS), **fields, "ModificationList": BytesIO()})


def slowly(nset, data, strict=False):
    """What the slow path makes of any command set, the quick ones too."""
    primitive = nset.N_SET()
    primitive.__setstate__(nset._command_set.decode(data, strict))
    primitive.ModificationList = BytesIO()
    return primitive


@twins
@modes
@pytest.mark.parametrize("data", GOLDEN.values(), ids=GOLDEN)
def test_the_quick_way_and_the_slow_way(twin, strict, data):
    nset = NSETS[twin]
    assert attempt(decode, nset, data, strict) == attempt(slowly, nset, data, strict)


@twins
@modes
@pytest.mark.parametrize("name", ["request", "response", "least response", "n_set_rq_cmd"])
def test_the_quick_way_is_taken(twin, strict, name, monkeypatch):
    monkeypatch.delattr(NSETS[twin]._command_set, "decode")
    assert decode(NSETS[twin], GOLDEN[name], strict).is_valid_request == name.startswith(
        ("req", "n")
    )


@twins
def test_a_primitive_of_its_own_each_time(twin):
    one, other = (decode(NSETS[twin], GOLDEN["request"]) for _ in range(2))
    one.ModificationList.write(b"data")
    one.RequestedSOPClassUID = "1.2.3"
    assert other.ModificationList.getvalue() == b""
    assert state(other) == state(decode(NSETS[twin], GOLDEN["request"]))
    assert other.RequestedSOPClassUID is other.RequestedSOPClassUID


@twins
@pytest.mark.parametrize("data", [GOLDEN["request"], GOLDEN["tags"]], ids=["quick", "slow"])
def test_a_subclass(twin, data):
    class Own(NSETS[twin].N_SET):
        def __init__(self):
            super().__init__()
            self.made = True

        def __setstate__(self, state):
            raise AssertionError("this is for pickles")

    primitive = Own.from_command_set(data)
    assert type(primitive) is Own
    assert primitive.made
    assert state(primitive)["MessageID"] == state(decode(NSETS[twin], data))["MessageID"]
    assert type(primitive.ModificationList) is BytesIO


# -- The laws of the round trip -------------------------------------------------------------------

number = st.integers(0, 0xFFFF)
uid = st.from_regex(r"(0|[1-9][0-9]{0,9})(\.(0|[1-9][0-9]{0,9})){0,9}", fullmatch=True).filter(
    lambda text: len(text) <= 64
)
tag = st.integers(0, 0xFFFFFFFF)
comment = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"))
comment = comment.map(lambda text: text.rstrip(" ")[:64].rstrip(" "))
tags = (
    st.none() | tag.map(BaseTag) | st.lists(tag, min_size=2).map(lambda tags: MultiValue(Tag, tags))
)
optional = {
    "OffendingElement": tags,
    "ErrorComment": st.none() | comment,
    "ErrorID": st.none() | number,
    "AttributeIdentifierList": tags,
}
requests = st.fixed_dictionaries(
    {},
    optional={
        "MessageID": number,
        "RequestedSOPClassUID": uid.map(UID),
        "RequestedSOPInstanceUID": uid.map(UID),
    },
)
responses = st.fixed_dictionaries(
    {"MessageIDBeingRespondedTo": number},
    optional={
        "Status": number,
        "AffectedSOPClassUID": uid.map(UID),
        "AffectedSOPInstanceUID": uid.map(UID),
        **optional,
    },
)


@twins
@quick
@given(fields=requests | responses, data_set=st.none() | st.binary(max_size=3).map(BytesIO))
def test_primitive_to_bytes_to_primitive(twin, fields, data_set):
    nset = NSETS[twin]
    primitive = build(nset.N_SET, {**fields, "ModificationList": data_set})
    again = decode(nset, primitive.to_command_set())
    primitive.ModificationList = BytesIO()
    assert state(again) == state(primitive)
    assert shape(again.OffendingElement) == shape(primitive.OffendingElement)


def padded(text, filling):
    value = text.encode("ascii")
    return value + filling * (len(value) % 2)


def at(value):
    return b"".join(struct.pack("<HH", one >> 16, one & 0xFFFF) for one in value)


uid_value = uid.map(lambda text: padded(text, b"\0"))
tags_value = st.lists(tag).map(at)
canonical_requests = st.fixed_dictionaries(
    {
        0x0003: uid_value,
        0x0100: st.just(0x0120),
        0x0110: number,
        0x0800: number.filter(lambda value: value != 0x0101),
        0x1001: uid_value,
    }
)
canonical_responses = st.fixed_dictionaries(
    {0x0100: st.just(0x8120), 0x0120: number, 0x0800: number, 0x0900: number},
    optional={
        0x0002: uid_value,
        0x0901: tags_value,
        0x0902: comment.map(lambda text: padded(text, b" ")),
        0x0903: number,
        0x1000: uid_value,
        0x1005: tags_value,
    },
)


@twins
@quick
@given(elements=canonical_requests | canonical_responses)
def test_bytes_to_primitive_to_bytes(twin, elements):
    nset = NSETS[twin]
    data = joined(elements)
    elements[0x0800] = 0x0101
    # pynetdicom, too, reads an empty list of tags as None
    without = {key: value for key, value in elements.items() if value != b"" or key == 0x0902}
    outcome = attempt(lambda: decode(nset, data, True).to_command_set())
    assert outcome == Outcome(shape(joined(without)))


# -- One violation after the other ----------------------------------------------------------------


def expected_fields(case):
    is_response = element(0x0100, 0x8120) in case.data
    plain = (
        {"MessageIDBeingRespondedTo": 7, "Status": 0x0110}
        if is_response
        else {"MessageID": 7, "RequestedSOPClassUID": CLASS, "RequestedSOPInstanceUID": INSTANCE}
    )
    return plain | case.fields


def expected_error(tag, offset, status, reason, message_id):
    text = in_words(tag, offset, status, reason)
    tag = None if tag is None else BaseTag(tag)
    return shape(error_shape(tag, offset, status, reason, message_id, text))


def first_three(records):
    return tuple(record[:3] for record in records)


@twins
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_lenient(twin, case):
    outcome = told(NSETS[twin], case.data)
    records = case.records
    if case.error is None:
        assert outcome.value == fields_shape(expected_fields(case))
        records += tuple(
            ("nset", "WARNING", f"N-SET command set: {in_words(*violation)}")
            for violation in case.violations
            if violation[3] != NO_UID  # of which pynetdicom's own record tells
        )
    else:
        assert outcome.value == expected_error(*case.error, case.message_id)
    assert first_three(outcome.records) == records
    assert outcome.warnings == tuple(
        ("UserWarning", text) for name, _, text in case.records if name == "pydicom"
    )


@twins
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_strict(twin, case):
    outcome = told(NSETS[twin], case.data, strict=True)
    if case.violations or case.error:
        told_error = outcome.value[1]
        message_id = told_error["message_id"]
        error = case.violations[0] if case.violations else case.error
        assert outcome == Outcome(expected_error(*error, message_id))
    else:
        assert outcome == Outcome(fields_shape(expected_fields(case)))


READABLE = {name: case for name, case in CASES.items() if not case.error}


@pytest.mark.parametrize("case", READABLE.values(), ids=READABLE)
def test_what_pynetdicom_makes_of_it(case):
    def theirs():
        primitive = stock_decode(case.data)
        return {name: getattr(primitive, name) for name in FIELDS if name != "OffendingElement"}

    outcome = attempt(theirs)
    ours = fields_shape(expected_fields(case))
    del ours[1]["OffendingElement"]
    assert (outcome.value != ours) == bool(case.unlike_stock)
    assert outcome.error is None or outcome.error[0] == case.unlike_stock


# -- The log --------------------------------------------------------------------------------------


@twins
@pytest.mark.parametrize(("count", "lines"), [(16, 16), (17, 17), (5000, 17)])
def test_a_flood_of_violations(twin, count, lines, caplog):
    """A command set of 62 KB would else cause thousands of lines."""
    decode(NSETS[twin], request({0x00091000 + number: b"" for number in range(count)}))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == lines
    assert told[15] == f"N-SET command set: (0009,100F) at byte 210: {SKIPPED}"
    assert told[16:] == [f"N-SET command set: and {count - 16} more"] * (count > 16)


FORGED = "1.2\n2026-11-27 ERROR forged\x1b[2J"


@twins
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("text", [FORGED, FORGED + "\x9b" * 40], ids=["accepted", "refused"])
def test_what_a_peer_has_sent_is_escaped_in_the_log(twin, text, caplog):
    """Texts of exceptions are pynetdicom's, and so are records of what a user sets."""
    nset = NSETS[twin]
    data = request({0x1001: text.encode("latin-1")})
    if text == FORGED:
        primitive = decode(nset, data)
        assert primitive.RequestedSOPInstanceUID == text
        nset.N_SET().AffectedSOPInstanceUID = primitive.RequestedSOPInstanceUID
        nset.N_SET().AffectedSOPInstanceUID = nset.N_SET().AffectedSOPInstanceUID
        ours = [record for record in caplog.records if record.name == "pynetdicom.utils"]
        assert len(ours) == 2
    else:
        with pytest.raises(nset.CommandSetError) as caught:
            decode(nset, data)
        assert f"'{text}'" in str(caught.value)
        logging.getLogger("nset").error("Refused: %s", caught.value, exc_info=caught.value)
        assert f"'{text}'" not in caplog.text
    for record in caplog.records:
        assert record.getMessage().isprintable(), record
    assert "\\n2026-11-27 ERROR forged\\x1b" in caplog.text
    assert "\n2026-11-27" not in caplog.text
    caplog.clear()
    nset.N_SET().AffectedSOPInstanceUID = FORGED
    assert f"'{FORGED}'" in caplog.text


# -- Settings -------------------------------------------------------------------------------------

BAD_INSTANCE = request({0x1001: b"1.2.03"})
BAD_CLASS = request({0x0003: b"1.2.03"})


def refused(nset, data, setting):
    """The error for a refused UID; pynetdicom refuses it with the same text."""
    with in_force(setting, nset.config):
        outcome, theirs = told(nset, data), attempt(stock_decode, data)
    error = outcome.value[1]
    # but that it calls each Requested UID that of the Instance
    reason = error["reason"].replace("Requested SOP Class", "Requested SOP Instance")
    assert theirs.error == ("ValueError", reason)
    records = [record for record in outcome.records if record[1] == "ERROR"]
    return error["tag"][1], error["status"], error["reason"], records


@twins
@pytest.mark.parametrize(
    ("data", "tag", "status", "name"),
    [
        (BAD_INSTANCE, "(0000,1001)", 0x0117, "Requested SOP Instance UID"),
        (BAD_CLASS, "(0000,0003)", 0x0118, "Requested SOP Class UID"),
        (response({0x1000: b"1.2.03"}), "(0000,1000)", 0x0117, "Affected SOP Instance UID"),
        (response({0x0002: b"1.2.03"}), "(0000,0002)", 0x0118, "Affected SOP Class UID"),
    ],
)
def test_enforced_conformance(twin, data, tag, status, name):
    reason = f"Invalid '{name}' value '1.2.03' - UID is non-conformant"
    assert refused(NSETS[twin], data, Settings("ignore", True)) == (
        *(tag, status, reason),
        [("pynetdicom.utils", "ERROR", reason, None)],
    )
    with in_force(Settings("ignore", True), NSETS[twin].config):
        assert told(NSETS[twin], GOLDEN["request"]).error is None
        # Blanks come off first, as ever
        fields = expected_fields(CASES["UID with a leading space"])
        assert told(NSETS[twin], request({0x1001: b" 1.2.3"})).value == fields_shape(fields)


@twins
def test_a_validator_of_ones_own(twin):
    nset = NSETS[twin]
    # It is asked of the best of UIDs, too, in the order of the bytes
    tag, status, reason, _ = refused(nset, request(), Settings("warn", False, refusing))
    assert (tag, status) == ("(0000,0003)", 0x0118)
    assert reason == f"Invalid 'Requested SOP Class UID' value '{CLASS}' - not UID '1.2.8'"
    with in_force(Settings("ignore", True, permissive), nset.config):
        primitive = decode(nset, request({0x1001: LONG.encode()}))
    assert primitive.RequestedSOPInstanceUID == LONG
    with in_force(Settings("ignore", True, failing), nset.config):
        assert told(nset, request()).error == ("LookupError", f"no register for {CLASS}")


@twins
def test_validation_by_pydicom(twin):
    nset = NSETS[twin]
    with in_force(Settings("raise"), nset.config):
        error = told(nset, BAD_CLASS).value[1]
        assert attempt(stock_decode, BAD_CLASS).error[0] == "ValueError"
    assert (error["tag"][1], error["status"]) == ("(0000,0003)", 0x0118)
    assert error["reason"].startswith("Invalid value for VR UI: '1.2.03'")
    with in_force(Settings("ignore"), nset.config):
        outcome = told(nset, BAD_CLASS)
    text = "Non-conformant 'Requested SOP Class UID' value '1.2.03'"
    assert outcome.records == (("pynetdicom.utils", "WARNING", text, None),)
    assert outcome.warnings == ()


@twins
def test_codecs_are_for_uids_that_are_set(twin):
    data = request({0x1001: b"1.2.\xe9\0"})
    with in_force(Settings("ignore", False, None, ("ascii", "utf-16-le")), NSETS[twin].config):
        assert decode(NSETS[twin], data).RequestedSOPInstanceUID == "1.2.\xe9"
        assert stock_decode(data).RequestedSOPInstanceUID == "1.2.\xe9"


# -- What is given --------------------------------------------------------------------------------


class Octets(bytes):
    pass


def mmap_of(data):
    found = mmap.mmap(-1, len(data))
    found[:] = data
    return found


@twins
@pytest.mark.parametrize("name", ["request", "processing failure"])
def test_any_buffer(twin, name):
    data = GOLDEN[name]
    spread = bytearray(2 * len(data))
    spread[::2] = data
    buffers = [
        *(data, Octets(data), bytearray(data), memoryview(data), memoryview(bytearray(data))),
        *(memoryview(b"xx" + data + b"x")[2:-1], memoryview(spread)[::2]),
        *(memoryview(data[::-1])[::-1], memoryview(data).cast("B", (len(data) // 2, 2))),
        *(array.array("H", data), BytesIO(data).getbuffer(), mmap_of(data)),
        (ctypes.c_char * len(data)).from_buffer_copy(data),
    ]
    expected = told(NSETS[twin], data)
    assert expected.error is None
    assert [told(NSETS[twin], buffer) for buffer in buffers] == [expected] * len(buffers)


@twins
def test_the_buffer_is_released(twin):
    data = bytearray(GOLDEN["request"])
    primitive = decode(NSETS[twin], data)
    data[:] = b"x" * 1000  # which an export would forbid
    assert primitive.RequestedSOPClassUID == CLASS
    assert primitive.RequestedSOPInstanceUID == INSTANCE


@twins
@modes
@pytest.mark.parametrize("data", ["", "text", None, 7, [1, 2], {}, object])
def test_no_buffer(twin, strict, data):
    text = f"memoryview: a bytes-like object is required, not '{type(data).__name__}'"
    assert told(NSETS[twin], data, strict).error == ("TypeError", text)


@twins
def test_a_view_that_was_released(twin):
    view = memoryview(GOLDEN["request"])
    view.release()
    text = "operation forbidden on released memoryview object"
    assert told(NSETS[twin], view).error == ("ValueError", text)


@twins
def test_strict_is_told_by_name(twin):
    with pytest.raises(TypeError, match="positional argument"):
        NSETS[twin].N_SET.from_command_set(b"", True)


# -- What is raised -------------------------------------------------------------------------------


def pickled(error):
    return [pickle.loads(pickle.dumps(error, number)) for number in range(6)]


def test_the_error(nset):
    with pytest.raises(nset.CommandSetError) as caught:
        nset.N_SET.from_command_set(request({0x0110: b"\x07"}))
    error = caught.value
    assert nset.CommandSetError.__mro__[1] is ValueError
    assert str(error) == "Message ID (0000,0110) at byte 54: 1 byte long, not 2"
    assert (error.reason, error.offset, error.status) == ("1 byte long, not 2", 54, 0x0212)
    assert type(error.tag) is BaseTag
    assert error.tag == 0x0110
    for twin in (copy.copy(error), copy.deepcopy(error), *pickled(error)):
        assert type(twin) is nset.CommandSetError
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)
        assert type(twin.tag) is BaseTag


def test_the_error_of_a_refused_uid(nset):
    with (
        in_force(Settings("ignore", True), nset.config),
        pytest.raises(nset.CommandSetError) as caught,
    ):
        nset.N_SET.from_command_set(BAD_CLASS)
    error = caught.value
    assert type(error.__cause__) is ValueError
    assert error.reason == str(error.__cause__)
    assert str(error) == f"Requested SOP Class UID (0000,0003) at byte 12: {error.reason}"
    assert error.message_id == 7
    assert [vars(twin) for twin in pickled(error)] == [vars(error)] * 6


def test_an_error_of_ones_own(nset):
    error = nset.CommandSetError("too late")
    assert str(error) == "too late"
    assert (error.reason, error.tag, error.offset) == ("too late", None, None)
    assert (error.status, error.message_id) == (0x0110, None)
    error = nset.CommandSetError("too late", 0x00001001, status=0x0117)
    assert str(error) == "Requested SOP Instance UID (0000,1001): too late"


def test_nothing_is_printed_where_nothing_is_configured(nset):
    handlers = logging.getLogger("nset").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)


def test_the_uid_of_a_known_sop_class_is_shared_on_the_core_alone(nset):
    """On the page of differences: what makes decoding quick on the core."""
    primitive = nset.N_SET()
    primitive.MessageID = 7
    primitive.RequestedSOPClassUID = "1.2.840.10008.3.1.2.3.3"
    primitive.RequestedSOPInstanceUID = "1.2.3.4"
    primitive.ModificationList = BytesIO(b"..")
    data = primitive.to_command_set()
    first, second = (nset.N_SET.from_command_set(data).RequestedSOPClassUID for _ in range(2))
    assert first == second
    assert (first is second) == (nset.IMPLEMENTATION == "compiled")
