"""to_command_set() of both implementations: pynetdicom's bytes, and errors by element."""

import struct
from io import BytesIO

import pytest
from command_sets import (
    DELETED,
    SEEDS,
    STOCK,
    TAGS,
    build,
    command_set,
    element,
    golden,
    random_primitives,
    stock_encode,
    stock_primitive,
    upstream,
)
from implementations import IMPLEMENTATIONS, loaded
from outcome import attempt, recording, shape, without_origins
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from uids import Settings, in_force, permissive
from values import Contrary, Lazy, Number, OwnUID, Posing, TextEnum, closed_stream

twins = pytest.mark.parametrize("twin", IMPLEMENTATIONS)


def codec(twin):
    """The implementation's class, and the slow path for unusual primitives."""
    with loaded(twin) as nset:
        return nset.N_SET, nset._command_set.encode


# -- pynetdicom's bytes ---------------------------------------------------------------------------


@twins
@pytest.mark.parametrize("seed", SEEDS)
def test_random_primitives(twin, seed):
    cls, slowly = codec(twin)
    with without_origins(), recording() as outcome:
        for fields, _, expected in random_primitives(seed):
            primitive = build(cls, fields)
            assert outcome(primitive.to_command_set) == expected, fields
            assert outcome(slowly, primitive) == expected, fields


@pytest.mark.parametrize("seed", SEEDS)
def test_random_primitives_are_of_all_kinds(seed):
    sent = random_primitives(seed)
    responses = [one.data for one in sent if element(0x0100, 0x8120) in one.data]
    assert 0.4 < len(responses) / len(sent) < 0.7
    assert 0.1 < sum(bool(one.outcome.records) for one in sent) / len(sent) < 0.5
    for tag in (0x0002, 0x0120, 0x0900, 0x0901, 0x0902, 0x0903, 0x1000, 0x1005):
        header = struct.pack("<HH", 0, tag)
        values = {data.partition(header)[2] for data in responses if header in data}
        assert len(values) > len(responses) / 3, hex(tag)


@twins
@pytest.mark.parametrize("name", golden())
def test_golden(twin, name):
    cls, slowly = codec(twin)
    data, fields = golden()[name].data, golden()[name].fields
    if golden()[name].has_data_set:
        fields["ModificationList"] = BytesIO(b"data")
    primitive = build(cls, fields)
    assert primitive.to_command_set() == data
    assert slowly(primitive) == data
    assert stock_encode(stock_primitive(fields)) == data


@twins
@pytest.mark.parametrize("name", ["request", "response", "least response"])
def test_the_quick_way_is_taken(twin, name, monkeypatch):
    with loaded(twin) as nset:
        monkeypatch.delattr(nset._command_set, "encode")
    primitive = build(nset.N_SET, golden()[name].fields)
    assert len(primitive.to_command_set()) == len(golden()[name].data)


@twins
def test_upstream_golden(twin):
    cls, _ = codec(twin)
    request = build(
        cls,
        {
            "MessageID": 7,
            "RequestedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "RequestedSOPInstanceUID": "1.2.392.200036.9116.2.6.1.48",
            "ModificationList": BytesIO(b"data"),
        },
    )
    response = build(
        cls,
        {
            "MessageIDBeingRespondedTo": 5,
            "AffectedSOPClassUID": "1.2.4.10",
            "AffectedSOPInstanceUID": "1.2.4.5.7.8",
            "Status": 0x0000,
            "AttributeList": BytesIO(b"data"),
        },
    )
    assert request.to_command_set() == upstream()["n_set_rq_cmd"]
    assert response.to_command_set() == upstream()["n_set_rsp_cmd"]


@twins
def test_nothing_is_required(twin):
    cls, _ = codec(twin)
    assert cls().to_command_set() == command_set(element(0x0100, 0x0120), element(0x0800, 0x0101))
    assert cls().to_command_set() == stock_encode(STOCK())


@twins
@pytest.mark.parametrize("length", range(1, 65))
def test_each_length_of_uid(twin, length):
    cls, slowly = codec(twin)
    uid = ("1." * 32)[: length - 1] + "7"
    primitive = build(cls, {"MessageID": 1, "RequestedSOPClassUID": uid})
    value = uid.encode() + b"\0" * (length % 2)
    assert element(0x0003, value) in primitive.to_command_set()
    assert primitive.to_command_set() == slowly(primitive) == stock_encode(primitive)


@twins
def test_encoding_changes_nothing(twin):
    cls, _ = codec(twin)
    tags = [0x00100010, "PatientID"]
    stream = BytesIO(b"data")
    stream.seek(2)
    fields = {
        "MessageIDBeingRespondedTo": 1,
        "AttributeIdentifierList": tags,
        "AttributeList": stream,
    }
    primitive = build(cls, fields)
    before = shape(primitive)
    assert type(primitive.to_command_set()) is bytes
    assert primitive.to_command_set() == primitive.to_command_set()
    assert shape(primitive) == before
    assert primitive.AttributeIdentifierList is tags
    assert tags == [0x00100010, "PatientID"]


@twins
def test_properties_of_a_subclass_are_asked(twin):
    class Own(codec(twin)[0]):
        pass

    for keyword, value in {
        "RequestedSOPClassUID": UID("1.2.3"),
        "ModificationList": BytesIO(b"data"),
        "AttributeList": BytesIO(),
        "ErrorID": 0xA710,
    }.items():
        setattr(Own, keyword, property(lambda self, value=value: value, lambda self, value: None))
    request, response = build(Own, {}), build(Own, {"MessageIDBeingRespondedTo": 1})
    sop_class, error = element(0x0003, b"1.2.3\0"), element(0x0903, 0xA710)
    assert sop_class + element(0x0100, 0x0120) + element(0x0800, 1) in request.to_command_set()
    assert element(0x0800, 0x0101) + error in response.to_command_set()


properties = pytest.mark.parametrize(
    ("keyword", "value", "tag"),
    [
        ("MessageID", 9, 0x0110),
        ("RequestedSOPInstanceUID", UID("1.2.34"), 0x1001),
        ("MessageIDBeingRespondedTo", 9, 0x0120),
        ("Status", 0x0107, 0x0900),
        ("AffectedSOPClassUID", UID("1.2.34"), 0x0002),
    ],
)


def canonical(cls, tag):
    """A primitive of which all that is sent is set; a response if the element is of one."""
    fields = {"Status": 0, "RequestedSOPInstanceUID": "1.2.3", "AffectedSOPClassUID": "1.2.3"}
    fields |= {"RequestedSOPClassUID": "1.2.3", "AffectedSOPInstanceUID": "1.2.3"}
    is_response = tag in (0x0120, 0x0900, 0x0002)
    return build(cls, fields | {"MessageIDBeingRespondedTo" if is_response else "MessageID": 7})


def encoded(tag, value):
    return element(tag, value if type(value) is int else value.encode())


@twins
@properties
def test_a_property_of_a_subclass_is_asked(twin, keyword, value, tag):
    class Own(codec(twin)[0]):
        pass

    primitive = canonical(Own, tag)
    assert encoded(tag, value) not in primitive.to_command_set()
    setattr(Own, keyword, property(lambda self: value))
    assert encoded(tag, value) in primitive.to_command_set()


@twins
@properties
def test_a_property_that_is_patched_into_the_class_is_asked(twin, keyword, value, tag, monkeypatch):
    cls, slowly = codec(twin)
    primitive = canonical(cls, tag)
    before = primitive.to_command_set()
    monkeypatch.setattr(cls, keyword, property(lambda self: value))
    assert encoded(tag, value) not in before
    assert encoded(tag, value) in primitive.to_command_set()
    assert primitive.to_command_set() == slowly(primitive)
    monkeypatch.undo()
    assert primitive.to_command_set() == before


# -- Whether a data set follows -------------------------------------------------------------------


@twins
@pytest.mark.parametrize("kind", ["MessageID", "MessageIDBeingRespondedTo"])
@pytest.mark.parametrize("name", ["ModificationList", "AttributeList"])
@pytest.mark.parametrize(
    ("stream", "path", "expected"),
    [
        (BytesIO(b"data"), None, 0x0001),
        (BytesIO(b"x"), None, 0x0001),
        (BytesIO(), None, 0x0101),
        (None, None, 0x0101),
        # pynetdicom sends from a file only where there is no list
        (None, ("file", 0), 0x0001),
        (BytesIO(), ("file", 0), 0x0101),
        (BytesIO(b"data"), ("file", 0), 0x0001),
    ],
)
def test_command_data_set_type(twin, kind, name, stream, path, expected):
    cls, slowly = codec(twin)
    primitive = build(cls, {kind: 1, "Status": 0, name: stream, "_dataset_path": path})
    assert element(0x0800, expected) in primitive.to_command_set()
    assert primitive.to_command_set() == slowly(primitive)


# -- What can be sent of it ---------------------------------------------------------------------

LENIENT = [
    ("ErrorComment", "Größe", b"Gr??e "),
    ("ErrorComment", b"Gr\xf6\xdfe", b"Gr??e "),
    ("ErrorComment", "x" * 65, b"x" * 64),
    ("ErrorComment", "ü" * 65, b"?" * 64),
    ("ErrorComment", "\ud800\x1b\\", b"??? "),
    ("ErrorComment", MultiValue(str, ["a", "b"]), b"a?b "),
    ("ErrorComment", ["a", 5], b"a?5 "),
    ("ErrorComment", 5, None),
    ("ErrorID", 0x10000, None),
    ("ErrorID", "5", None),
    ("AttributeIdentifierList", [0x00100010, "no tag"], None),
    ("OffendingElement", object(), None),
    ("AffectedSOPInstanceUID", "1.2.\u65e5", None),
]


@twins
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(("keyword", "value", "sent"), LENIENT)
def test_what_can_be_sent_of_a_response(twin, keyword, value, sent, caplog):
    """The good elements go with what can be sent of a bad one; one line tells of it."""
    cls, slowly = codec(twin)
    good = {"MessageIDBeingRespondedTo": 1, "Status": 0x0107, "ErrorComment": "ok", "ErrorID": 28}
    good |= {"AttributeIdentifierList": [0x00100020], "OffendingElement": 0x00100020}
    good |= {"AffectedSOPClassUID": "1.2.3", "AffectedSOPInstanceUID": "1.2.4"}
    response = build(cls, good)
    expected = response.to_command_set()
    response = build(cls, {**good, keyword: None})
    if sent is not None:
        fields = {**good, keyword: sent.decode().rstrip()}
        expected = build(cls, fields).to_command_set()
    else:
        expected = response.to_command_set()
    response.__setstate__({keyword: value})
    with pytest.raises((TypeError, ValueError, AttributeError)):
        response.to_command_set()  # the user's own call refuses it
    assert slowly(response, is_lenient=True) == expected
    told = [record for record in caplog.records if record.name == "nset"]
    assert [record.levelname for record in told] == ["WARNING" if sent else "ERROR"]


@twins
def test_what_a_response_must_have(twin):
    cls, slowly = codec(twin)
    response = build(cls, {"MessageIDBeingRespondedTo": 1})
    response.__setstate__({"Status": "0000"})
    with pytest.raises(TypeError, match="Status"):
        slowly(response, is_lenient=True)


# -- What can't be sent ---------------------------------------------------------------------------

COMMENT = "ErrorComment (0000,0902)"
ERROR_ID = "ErrorID (0000,0903)"
TAG_LIST = "AttributeIdentifierList (0000,1005)"
CHARACTERS = f"{COMMENT} must be ASCII without backslash and control characters, not "
RANGE = "must be between 0 and 65535, inclusive"

UNSENDABLE = [
    ("ErrorComment", "x" * 65, ValueError, f"{COMMENT} must have at most 64 characters, not 65"),
    ("ErrorComment", b"x" * 99, ValueError, f"{COMMENT} must have at most 64 characters, not 99"),
    ("ErrorComment", "é", ValueError, CHARACTERS + "'é'"),
    ("ErrorComment", "\u65e5", ValueError, CHARACTERS + "'\u65e5'"),
    ("ErrorComment", "\ud800", ValueError, CHARACTERS + "'\\ud800'"),
    ("ErrorComment", b"\xe9", ValueError, CHARACTERS + "b'\\xe9'"),
    ("ErrorComment", "a\\b", ValueError, CHARACTERS + "'a\\\\b'"),
    ("ErrorComment", b"a\\b", ValueError, CHARACTERS + "b'a\\\\b'"),
    ("ErrorComment", "a\n", ValueError, CHARACTERS + "'a\\n'"),
    ("ErrorComment", "a\0", ValueError, CHARACTERS + "'a\\x00'"),
    ("ErrorComment", "\x7f", ValueError, CHARACTERS + "'\\x7f'"),
    ("ErrorComment", "\x1b(Ba", ValueError, CHARACTERS + "'\\x1b(Ba'"),
    ("ErrorComment", 5, TypeError, f"{COMMENT} must be str or bytes, not int"),
    ("ErrorComment", False, TypeError, f"{COMMENT} must be str or bytes, not bool"),
    ("ErrorComment", ["a", "b"], TypeError, f"{COMMENT} must be str or bytes, not list"),
    ("ErrorComment", ["a"], TypeError, f"{COMMENT} must be str or bytes, not list"),
    ("ErrorComment", bytearray(b"a"), TypeError, f"{COMMENT} must be str or bytes, not bytearray"),
    ("ErrorID", -1, ValueError, f"{ERROR_ID} {RANGE}"),
    ("ErrorID", 65536, ValueError, f"{ERROR_ID} {RANGE}"),
    ("ErrorID", 2**70, ValueError, f"{ERROR_ID} {RANGE}"),
    ("ErrorID", Number(70000), ValueError, f"{ERROR_ID} {RANGE}"),
    ("ErrorID", "5", TypeError, f"{ERROR_ID} must be an int, not str"),
    ("ErrorID", 1.5, TypeError, f"{ERROR_ID} must be an int, not float"),
    ("ErrorID", [1, 2], TypeError, f"{ERROR_ID} must be an int, not list"),
    ("ErrorID", [1], TypeError, f"{ERROR_ID} must be an int, not list"),
    ("ErrorID", Posing(7), TypeError, f"{ERROR_ID} must be an int, not Posing"),
    (
        *("AttributeIdentifierList", "NoKeyword", ValueError),
        f"{TAG_LIST} can't be sent as 'NoKeyword': Unable to create an element tag from "
        "'NoKeyword': unknown DICOM element keyword or an invalid int",
    ),
    (
        *("AttributeIdentifierList", [0x00100010, -1], ValueError),
        f"{TAG_LIST} can't be sent as -1: Unable to create an element tag from '-1': "
        "tags must be positive",
    ),
    (
        *("AttributeIdentifierList", 2**32, ValueError),
        f"{TAG_LIST} can't be sent as 4294967296: Unable to create an element tag from "
        "'4294967296': the combined group and element values are limited to a maximum of 4-bytes",
    ),
    (
        *("AttributeIdentifierList", (1, 2, 3), ValueError),
        f"{TAG_LIST} can't be sent as (1, 2, 3): Tag must be an int or a 2-tuple",
    ),
    (
        *("AttributeIdentifierList", [None], TypeError),
        f"{TAG_LIST} can't be sent as None: '>' not supported between instances of 'NoneType' and "
        "'int'",
    ),
    (
        *("AttributeIdentifierList", [(1, "2")], TypeError),
        f"{TAG_LIST} can't be sent as (1, '2'): Unable to create an element tag from '(1, '2')': "
        "both arguments must be the same type and str or int",
    ),
    (
        *("AttributeIdentifierList", b"PatientName", TypeError),
        f"{TAG_LIST} can't be sent as b'PatientName': '>' not supported between instances of "
        "'bytes' and 'int'",
    ),
    (
        *("AttributeIdentifierList", MultiValue(BaseTag, [2**33]), ValueError),
        f"{TAG_LIST} can't be sent as (20000,0000): a tag has 4 bytes",
    ),
    (
        *("AttributeIdentifierList", BaseTag(-1), ValueError),
        f"{TAG_LIST} can't be sent as (-001,FFFF): a tag has 4 bytes",
    ),
    (
        *("OffendingElement", ["PatientName", "Nobody"], ValueError),
        "OffendingElement (0000,0901) can't be sent as 'Nobody': Unable to create an element tag "
        "from 'Nobody': unknown DICOM element keyword or an invalid int",
    ),
    (
        *("AffectedSOPInstanceUID", "1.2.\u0663", ValueError),
        "AffectedSOPInstanceUID (0000,1000) has characters that can't be sent: '1.2.\u0663'",
    ),
    (
        *("AffectedSOPClassUID", "1.2.\ud800", ValueError),
        "AffectedSOPClassUID (0000,0002) has characters that can't be sent: '1.2.\\ud800'",
    ),
    ("Status", Posing(7), TypeError, "Status (0000,0900) must be an int, not Posing"),
    ("Status", Lazy(7), TypeError, "Status (0000,0900) must be an int, not Lazy"),
    (
        *("MessageIDBeingRespondedTo", Lazy(7), TypeError),
        "MessageIDBeingRespondedTo (0000,0120) must be an int, not Lazy",
    ),
    ("Status", Contrary(65536), ValueError, f"Status (0000,0900) {RANGE}"),
    (
        *("MessageIDBeingRespondedTo", Contrary(2**64), ValueError),
        f"MessageIDBeingRespondedTo (0000,0120) {RANGE}",
    ),
]


@twins
@pytest.mark.parametrize(("keyword", "value", "kind", "text"), UNSENDABLE)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_what_can_not_be_sent(twin, keyword, value, kind, text):
    cls, _ = codec(twin)
    # A captured log that holds a lone surrogate can't go from a worker of pytest-xdist.
    with recording():
        primitive = build(cls, {"MessageIDBeingRespondedTo": 1, "Status": 0x0110, keyword: value})
    with pytest.raises((ValueError, TypeError)) as caught:
        primitive.to_command_set()
    assert type(caught.value) is kind
    assert str(caught.value) == text


@twins
def test_what_can_not_be_sent_in_a_request(twin):
    cls, _ = codec(twin)
    told = [
        attempt(build(cls, {"MessageID": value}).to_command_set).error
        for value in (Posing(7), Lazy(7), Contrary(65536), Contrary(2**64))
    ]
    assert told == [
        ("TypeError", "MessageID (0000,0110) must be an int, not Posing"),
        ("TypeError", "MessageID (0000,0110) must be an int, not Lazy"),
        ("ValueError", f"MessageID (0000,0110) {RANGE}"),
        ("ValueError", f"MessageID (0000,0110) {RANGE}"),
    ]


@twins
def test_what_a_request_does_not_send_is_not_looked_at(twin):
    cls, _ = codec(twin)
    bad = {keyword: value for keyword, value, _, _ in UNSENDABLE if keyword.startswith(("E", "O"))}
    assert (
        build(cls, {"MessageID": 1, **bad}).to_command_set()
        == build(cls, {"MessageID": 1}).to_command_set()
    )


@twins
def test_a_closed_list(twin):
    cls, slowly = codec(twin)
    primitive = build(cls, {"MessageID": 1, "ModificationList": closed_stream()})
    told = attempt(primitive.to_command_set)
    assert told.error == ("ValueError", "I/O operation on closed file.")
    assert told == attempt(slowly, primitive)


# -- Odd values that can be sent ------------------------------------------------------------------


@twins
@pytest.mark.parametrize("keyword", ["ErrorComment", "ErrorID", "AttributeIdentifierList"])
@pytest.mark.parametrize("value", ["", b"", [], DELETED])
@pytest.mark.filterwarnings("ignore:A value of type 'str' cannot be assigned:UserWarning")
def test_an_empty_value_is_an_element_of_no_length(twin, keyword, value):
    cls, _ = codec(twin)
    fields = {"MessageIDBeingRespondedTo": 1, keyword: value}
    encoded = build(cls, fields).to_command_set()
    assert element(TAGS[keyword], b"") in encoded
    assert encoded == stock_encode(stock_primitive(fields))


@twins
def test_the_offending_element(twin):
    cls, _ = codec(twin)

    def sent(value):
        primitive = build(cls, {"MessageIDBeingRespondedTo": 1, "OffendingElement": value})
        return primitive.to_command_set()[12 + 30 :]

    assert sent(DELETED) == sent(None) == b""
    assert sent([]) == sent(()) == element(0x0901, b"")
    assert sent("PatientName") == sent(0x00100010) == element(0x0901, b"\x10\x00\x10\x00")
    assert sent([(8, 0x60), Tag(0x0040A043)]) == element(
        0x0901, b"\x08\x00\x60\x00\x40\x00\x43\xa0"
    )


@twins
@pytest.mark.parametrize(
    ("comment", "value"),
    [
        (TextEnum.WORD, b"word"),
        ("a", b"a "),
        ("a ", b"a "),
        (" a", b" a"),
        (" ", b"  "),
        (b"abc", b"abc "),
        ("x" * 64, b"x" * 64),
        ("x" * 63, b"x" * 63 + b" "),
    ],
)
def test_error_comments(twin, comment, value):
    cls, _ = codec(twin)
    fields = {"MessageIDBeingRespondedTo": 1, "ErrorComment": comment}
    encoded = build(cls, fields).to_command_set()
    assert encoded.endswith(element(0x0902, value))
    assert encoded == stock_encode(stock_primitive(fields))


@twins
def test_long_uids_that_a_validator_let_pass(twin):
    with loaded(twin) as nset:
        for length in (65, 200, 70001):
            uid = "1" * length
            with in_force(Settings("ignore", False, permissive), nset.config):
                request = build(nset.N_SET, {"MessageID": 1, "RequestedSOPInstanceUID": uid})
                value = uid.encode() + b"\0" * (length % 2)
                assert element(0x1001, value) in request.to_command_set()
                assert struct.unpack("<I", request.to_command_set()[8:12])[0] == 30 + 8 + len(value)
                assert request.to_command_set() == stock_encode(request)


@twins
def test_validation_by_pydicom(twin):
    with loaded(twin) as nset:
        with in_force(Settings("ignore"), nset.config):
            primitive = build(
                nset.N_SET, {"MessageID": 1, "RequestedSOPInstanceUID": OwnUID("1.02")}
            )
            assert attempt(primitive.to_command_set) == attempt(stock_encode, primitive)
        with in_force(Settings("raise"), nset.config):
            error, reason = attempt(primitive.to_command_set).error
        assert error == "ValueError"
        assert reason.startswith("RequestedSOPInstanceUID (0000,1001) can't be sent: Invalid value")
