"""``python -m nset dump``: what it makes of captured bytes, and what it says is wrong with them."""

import importlib
import json
import re
import shlex
import struct
import subprocess
import sys
from io import StringIO
from pathlib import Path

import dicom_streams
import pytest
from click.testing import CliRunner
from command_sets import element, explicit
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import DOCS
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.tests import encoded_dimse_msg, encoded_dimse_n_msg, encoded_pdu_items

quick = settings(derandomize=True, database=None, deadline=None, max_examples=300)

PAGE = DOCS / "dump.md"
MPPS = "1.2.840.10008.3.1.2.3.3"
DATA_SET = bytes.fromhex("4000520243530a00") + b"COMPLETED "


def command_set(*elements):
    body = b"".join(elements)
    return element(0x0000, struct.pack("<L", len(body))) + body


def uid(text):
    return text.encode("ascii") + b"\0" * (len(text) % 2)


def request(data_set_type=0x0001, instance=b"1.2.3.4\0", more=()):
    elements = {
        0x0003: uid(MPPS),
        0x0100: 0x0120,
        0x0110: 7,
        0x0800: data_set_type,
        0x1001: instance,
        **dict(more),
    }
    return command_set(*(element(tag, value) for tag, value in elements.items()))


REQUEST = request()
ECHO = command_set(
    element(0x0002, uid("1.2.840.10008.1.1")),
    *(element(tag, value) for tag, value in ((0x0100, 0x0030), (0x0110, 1), (0x0800, 0x0101))),
)


def pdv(header, fragment, context_id=1):
    return struct.pack(">LBB", len(fragment) + 2, context_id, header) + fragment


def pdu(*pdvs, kind=4):
    body = b"".join(pdvs)
    return struct.pack(">BBL", kind, 0, len(body)) + body


def p_data(header, fragment, context_id=1):
    return pdu(pdv(header, fragment, context_id))


WHOLE = p_data(3, REQUEST) + p_data(2, DATA_SET)
ABORT = bytes.fromhex("07000000000400000200")


@pytest.fixture
def dump(nset):
    return importlib.import_module("nset.dump").dump


@pytest.fixture
def run(nset):
    main = importlib.import_module("nset.cli").main

    def run(*arguments, **more):
        # Any exception but that of the exit status comes through.
        return CliRunner().invoke(main, ["dump", *arguments], catch_exceptions=False, **more)

    return run


def texts(dumped):
    faults = [fault for message in dumped.messages for fault in message.violations]
    return [fault.text for fault in [*faults, *dumped.violations]]


# -- What it says ---------------------------------------------------------------------------------

FORMS = {
    "command set": (REQUEST, 0, "command set"),
    "command set without group length": (REQUEST[12:], 0, "command set"),
    "command set of an odd first length": (element(0x0002, b"1.2") + REQUEST, 0, "command set"),
    "command set of an odd Command Field": (
        element(0x0100, b"\x20\1\0") + REQUEST,
        0,
        "command set",
    ),
    "long command set": (REQUEST[12:] + element(0x1003, bytes(1000)), 0, "command set"),
    "long command set with explicit VR": (
        explicit(0x0003, b"UI", uid(MPPS)) + explicit(0x0100, b"US", b"\x20\1") + bytes(1000),
        0,
        "command set",
    ),
    "explicit VR": (explicit(0x0100, b"US", b"\x20\x01"), 0, "command set"),
    "explicit VR with a header": (
        b"\x03" + explicit(0x0100, b"US", b"\x20\x01"),
        1,
        "message control header and fragment",
    ),
    "header and fragment": (b"\x03" + REQUEST, 1, "message control header and fragment"),
    "header and first fragment": (b"\x01" + REQUEST, 1, "message control header and fragment"),
    "PDV": (pdv(3, REQUEST), 6, "PDVs"),
    "PDV of a context with a high ID": (pdv(3, REQUEST, context_id=255), 6, "PDVs"),
    "PDVs": (pdv(3, REQUEST) + pdv(2, DATA_SET), 6, "PDVs"),
    "P-DATA-TF": (WHOLE, 12, "PDUs"),
}


@pytest.mark.parametrize(("data", "offset", "form"), FORMS.values(), ids=FORMS)
def test_it_sees_what_it_has(dump, data, offset, form):
    dumped = dump(data)
    assert dumped.form == form
    assert dumped.size == len(data)
    message = dumped.messages[0]
    assert message.elements[0].input_offset == offset
    assert message.elements[0].offset == 0
    assert message.name == "N-SET-RQ"


PDU_ITEMS = {name: data for name, data in vars(encoded_pdu_items).items() if name[:2] == "a_"}
PDU_NAMES = {
    **{1: "A-ASSOCIATE-RQ", 2: "A-ASSOCIATE-AC", 3: "A-ASSOCIATE-RJ"},
    **{5: "A-RELEASE-RQ", 6: "A-RELEASE-RP", 7: "A-ABORT"},
}


WRONG_IN = {
    "a_associate_rq_called": [f"byte 10: Called AE title '{' ' * 16}': no AE title"],
    "a_associate_rq_calling": [f"byte 26: Calling AE title '{' ' * 16}': no AE title"],
    "a_associate_ac_user": ["byte 128: item 50H of 72 bytes: 58 bytes are left"],
}


@pytest.mark.parametrize("name", PDU_ITEMS)
def test_other_pdus_are_named(dump, name):
    first = PDU_ITEMS[name]
    length = 6 + struct.unpack_from(">L", first, 2)[0]
    dumped = dump(first[:length] + WHOLE + ABORT)
    assert dumped.form == "PDUs"
    assert [other[:3] for other in dumped.other_pdus] == [
        (PDU_NAMES[first[0]], 0, length),
        ("A-ABORT", length + len(WHOLE), len(ABORT)),
    ]
    assert [message.name for message in dumped.messages] == ["N-SET-RQ"]
    assert texts(dumped) == WRONG_IN.get(name, [])


UPSTREAM = {
    name: data
    for module in (encoded_dimse_msg, encoded_dimse_n_msg)
    for name, data in vars(module).items()
    if "_cmd" in name
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_elements_are_those_that_pynetdicom_reads(dump, name):
    """Messages of every kind, pynetdicom's own."""
    data = UPSTREAM[name]
    pdata = P_DATA()
    pdata.presentation_data_value_list = [[1, data]]
    stock = DIMSEMessage()
    stock.decode_msg(pdata)
    dumped = dump(data)
    (message,) = dumped.messages
    assert message.name == type(stock).__name__.replace("_", "-")
    found = {}
    for one in message.elements:
        found[one.keyword] = one.value
        assert one.raw == data[1 + one.offset + 8 :][: len(one.raw)]
        assert data[one.input_offset + 2 :][:2] == struct.pack("<H", one.tag)
    expected = {}
    for one in stock.command_set:
        values = list(one.value) if one.VM > 1 else [one.value] * one.VM
        if one.VR == "AT":
            values = [f"({tag.group:04X},{tag.element:04X})" for tag in values]
        expected[one.keyword] = values if len(values) > 1 else next(iter(values), None)
    assert found == expected
    assert bool(texts(dumped)) == (name.endswith("_empty") or name == "c_move_rsp_cmd_with_dup")


def test_values_and_what_they_mean(dump):
    comment = b"Performed Procedure Step Object may no longer be updated"
    data = command_set(
        element(0x0002, uid(MPPS)),
        element(0x0100, 0x8120),
        element(0x0120, 7),
        element(0x0800, 0x0101),
        element(0x0900, 0x0110),
        element(0x0901, b""),
        element(0x0902, comment),
        element(0x0903, 0xA710),
        element(0x1000, uid("1.2.3.4")),
        element(0x1005, struct.pack("<4H", 0x0040, 0x0252, 0x0009, 0x0001)),
    )
    dumped = dump(data)
    assert texts(dumped) == []
    assert [(e.keyword, e.vr, e.value, e.text) for e in dumped.messages[0].elements] == [
        ("CommandGroupLength", "UL", len(data) - 12, str(len(data) - 12)),
        (
            *("AffectedSOPClassUID", "UI", MPPS),
            f"{MPPS} (Modality Performed Procedure Step SOP Class)",
        ),
        ("CommandField", "US", 0x8120, "8120H (N-SET-RSP)"),
        ("MessageIDBeingRespondedTo", "US", 7, "7"),
        ("CommandDataSetType", "US", 0x0101, "0101H (no data set)"),
        (
            *("Status", "US", 0x0110),
            "0110H (Failure: Processing failure; Error ID A710H: step is final)",
        ),
        ("OffendingElement", "AT", None, "(empty)"),
        ("ErrorComment", "LO", comment.decode(), comment.decode()),
        ("ErrorID", "US", 0xA710, "A710H"),
        ("AffectedSOPInstanceUID", "UI", "1.2.3.4", "1.2.3.4"),
        (
            *("AttributeIdentifierList", "AT", ["(0040,0252)", "(0009,0001)"]),
            "(0040,0252), (0009,0001) (PerformedProcedureStepStatus)",
        ),
    ]


def test_values_that_are_none(dump):
    cases = [
        (element(0x0110, b"\x07\x00\x01"), None, "hex 07 00 01"),
        (element(0x0110, b"\x07\x00\x08\x00"), [7, 8], "7, 8"),
        (element(0x0900, b"\x12\x01\x00\x00"), [0x0112, 0], "0112H, 0000H"),
        (element(0x1001, b"1.2\\3.4 \0"), "1.2\\3.4", "1.2\\3.4"),
        (element(0x1001, b"\n1.2\x1b "), "\n1.2\x1b", "\\x0a1.2\\x1b"),
        (element(0x0902, b"\x1b[2J\xe9\n"), "\x1b[2J\xe9\n", "\\x1b[2J\\xe9\\x0a"),
        (element(0x0902, b"x" * 300), "x" * 300, "x" * 200 + "... (300 bytes)"),
        (explicit(0x0900, b"AT", b"\x10\0\x10\0"), "(0010,0010)", "(0010,0010) (PatientName)"),
        (explicit(0x0003, b"US", b"\1\0\2\0"), [1, 2], "1, 2"),
        (explicit(0x0100, b"UL", b"\x20\1\1\0"), 0x10120, "65824 (no message)"),
        (explicit(0x0110, b"ZZ", b"\1\0"), None, "hex 01 00"),
    ]
    for data, value, text in cases:
        is_explicit = data[4:6].isalpha()
        start = explicit(0x0100, b"US", b"\x20\x81") if is_explicit else element(0x0100, 0x8120)
        (message,) = dump(start + data).messages
        assert message.elements[1].value == value
        assert message.elements[1].text == text


def test_status_by_its_service_and_message(dump):
    for number, sop_class, text in (
        (0x8120, "1.2.840.10008.5.1.4.34.6.1", "C300H (Failure: The UPS may no longer be updated)"),
        (0x8120, MPPS, "C300H (Failure)"),
        (0x8130, "1.2.840.10008.5.1.4.34.6.1", "C300H (Failure)"),
    ):
        data = element(0x0002, uid(sop_class)) + element(0x0100, number) + element(0x0900, 0xC300)
        assert dump(data).messages[0].elements[2].text == text
    number = explicit(0x0002, b"US", bytes(4)) + explicit(0x0100, b"US", b"\x20\x81")
    data = number + explicit(0x0900, b"US", b"\0\xc3")
    assert dump(data).messages[0].elements[2].text == "C300H (Failure)"


@pytest.mark.parametrize("size", [2, 4, 10, 16, 62, 1000])
def test_offsets_in_fragments(dump, size):
    """Each offset in the input, against the bytes taken apart by hand."""
    start = PDU_ITEMS["a_release_rq"]
    stream, places = bytearray(start), []
    bounds = range(0, len(REQUEST), size)
    for at in bounds:
        fragment = REQUEST[at : at + size]
        header = 3 if at == bounds[-1] else 1
        places += range(len(stream) + 12, len(stream) + 12 + len(fragment))
        stream += p_data(header, fragment)
    stream += p_data(0, DATA_SET[:8]) + p_data(2, DATA_SET[8:])
    dumped = dump(bytes(stream))
    assert texts(dumped) == []
    (message,) = dumped.messages
    assert (message.input_offset, message.context_id) == (len(start) + 6, 1)
    assert (message.command_set_bytes, message.data_set_bytes) == (len(REQUEST), len(DATA_SET))
    (whole,) = dump(REQUEST).messages
    assert [e._replace(input_offset=e.offset) for e in message.elements] == whole.elements
    for one in message.elements:
        assert one.input_offset == places[one.offset]


def test_several_messages(dump):
    response = command_set(
        *(element(tag, value) for tag, value in ((0x0100, 0x8120), (0x0120, 7))),
        *(element(tag, value) for tag, value in ((0x0800, 0x0101), (0x0900, 0))),
    )
    both = pdu(pdv(3, REQUEST), pdv(0, DATA_SET), pdv(2, b"ab"))  # in one PDU
    dumped = dump(both + p_data(3, response) + p_data(3, ECHO, 3) + WHOLE)
    assert texts(dumped) == []
    assert [(m.name, m.context_id, m.data_set_bytes) for m in dumped.messages] == [
        ("N-SET-RQ", 1, len(DATA_SET) + 2),
        ("N-SET-RSP", 1, 0),
        ("C-ECHO-RQ", 3, 0),
        ("N-SET-RQ", 1, len(DATA_SET)),
    ]
    assert [m.data_set_announced for m in dumped.messages] == [True, False, False, True]


# -- What is wrong --------------------------------------------------------------------------------

AT_12 = "byte 12, 0 of the command set: "
LENGTH = len(REQUEST)
VIOLATIONS = {
    "none": (WHOLE, []),
    "bad UID": (
        request(instance=b"1.02.3\0\0"),
        [
            "byte 74: Requested SOP Instance UID (0000,1001): "
            "padded otherwise than with one NUL to an even length",
            "byte 74: Requested SOP Instance UID (0000,1001): no UID by PS3.5 Section 9.1",
        ],
    ),
    "missing element": (
        command_set(element(0x0003, uid(MPPS)), element(0x0100, 0x0120), element(0x0800, 1)),
        [
            "Message ID (0000,0110): missing in an N-SET-RQ",
            "Requested SOP Instance UID (0000,1001): missing in an N-SET-RQ",
        ],
    ),
    "wrong group length": (
        pdv(3, element(0, b"\x01\0\0\0") + REQUEST[12:]),
        [
            "byte 6, 0 of the command set: Command Group Length (0000,0000): "
            f"tells 1 bytes, {LENGTH - 12} follow"
        ],
    ),
    "private element": (
        request(more={0x1003: b"ab"}),
        ["byte 90: (0000,1003): no element of an N-SET command set, skipped"],
    ),
    "element of another message": (
        request(more={0x1031: 1}),
        [
            "byte 90: Move Originator Message ID (0000,1031): "
            "no element of an N-SET command set, skipped"
        ],
    ),
    "private element in another message": (
        ECHO[12:] + element(0x1003, b"ab"),
        ["byte 56: (0000,1003): no element of an N-SET command set, skipped"],
    ),
    "element of another group in another message": (
        ECHO[12:] + element(0x00100010, b"ab"),
        ["byte 56: Patient's Name (0010,0010): no element of an N-SET command set, skipped"],
    ),
    "no message": (
        element(0x0100, 0x0777) + element(0x0800, 0x0101),
        ["Command Field (0000,0100): 0777H is no message (PS3.7 Table E.1-1)"],
    ),
    "no response": (
        element(0x0100, 0x8FFF) + element(0x0800, 0x0101),
        ["Command Field (0000,0100): 8FFFH is no message (PS3.7 Table E.1-1)"],
    ),
    "no Command Field": (
        p_data(3, element(0x0110, 7)) + p_data(2, DATA_SET),
        ["Command Field (0000,0100): missing"],
    ),
    "announced and none follows, at the end": (
        p_data(3, REQUEST) + ABORT,
        [
            "byte 76, 64 of the command set: Command Data Set Type (0000,0800): "
            "announces a data set, and none follows"
        ],
    ),
    "announced and none follows, but another message": (
        p_data(3, REQUEST) + WHOLE,
        [
            "byte 76, 64 of the command set: Command Data Set Type (0000,0800): "
            "announces a data set, and none follows"
        ],
    ),
    "announced by the last of several types": (
        p_data(3, element(0x0100, 0x0021) + element(0x0800, 0x0101) + element(0x0800, 0x0001)),
        [
            "byte 32, 20 of the command set: Command Data Set Type (0000,0800): "
            "there again, the last one counts",
            "byte 32, 20 of the command set: Command Data Set Type (0000,0800): "
            "announces a data set, and none follows",
        ],
    ),
    "announced by a request without the type": (
        p_data(3, element(0x0100, 0x0021)),
        ["Command Data Set Type (0000,0800): announces a data set, and none follows"],
    ),
    "data set without an end": (
        p_data(3, REQUEST) + p_data(0, DATA_SET) + p_data(3, ECHO),
        [
            "byte 76, 64 of the command set: Command Data Set Type (0000,0800): "
            "its data set ends after 18 bytes, without a last fragment"
        ],
    ),
    "data set not announced": (
        p_data(3, ECHO) + p_data(0, b"ab") + p_data(2, b"cd"),
        ["byte 86: a fragment of a data set, which the command set before it does not announce"],
    ),
    "data set first": (
        p_data(0, b"ab") + p_data(2, b"cd") + WHOLE,
        ["byte 6: a fragment of a data set without a command set before it"],
    ),
    "data set within the command set": (
        p_data(1, REQUEST) + p_data(2, DATA_SET),
        [f"byte {18 + LENGTH}: a fragment of a data set before the last of the command set"],
    ),
    "command set without an end": (
        p_data(1, ECHO),
        ["byte 6: a command set without its last fragment"],
    ),
    "change of context": (
        p_data(1, ECHO[:20]) + p_data(3, ECHO, 3),
        [
            "byte 24, 12 of the command set: Affected SOP Class UID (0000,0002): "
            "the value of 18 bytes runs past the end, 0 are left",
            "byte 12, 0 of the command set: Command Group Length (0000,0000): "
            "tells 56 bytes, 8 follow",
            "Command Field (0000,0100): missing",
            "byte 38: presentation context 3 within a message of context 1",
            "byte 6: a command set without its last fragment",
        ],
    ),
    "even context": (p_data(3, ECHO, 2), ["byte 6: presentation context ID 2, not odd"]),
    "header": (
        p_data(0x83, ECHO),
        ["byte 6: message control header 83H: its bits 2 to 7 are not 0"],
    ),
    "empty fragment": (
        p_data(1, b"") + p_data(3, ECHO),
        ["byte 6: a PDV with an empty fragment"],
    ),
    "odd fragment": (
        p_data(1, ECHO[:3]) + p_data(3, ECHO[3:]),
        [
            "byte 6: a PDV with a fragment of odd length, 3 bytes",
            "byte 21: a PDV with a fragment of odd length, 65 bytes",
        ],
    ),
    "PDU without PDV": (WHOLE + pdu(), [f"byte {len(WHOLE)}: P-DATA-TF without a PDV"]),
    "PDV too short": (
        pdu(b"\0\0\0\1\1", pdv(3, ECHO)),
        [
            "byte 6: a PDV of length 1, too short for its presentation context ID "
            "and message control header",
        ],
    ),
    "bytes behind the PDVs": (
        pdu(pdv(3, ECHO), b"abc") + WHOLE,
        [
            "byte 80: 3 bytes, too few for a PDV's length, presentation context ID "
            "and message control header, which take 6"
        ],
    ),
    "PDV longer than its PDU": (
        pdu(struct.pack(">LBB", 2000, 1, 3) + ECHO) + WHOLE,
        ["byte 6: a PDV of 2004 bytes: its PDU ends after 74 of them"],
    ),
    "PDV longer than its PDU, and no data set": (
        pdu(struct.pack(">LBB", 2000, 1, 3) + REQUEST) + ABORT,
        [
            "byte 6: a PDV of 2004 bytes: its PDU ends after 96 of them",
            "byte 76, 64 of the command set: Command Data Set Type (0000,0800): "
            "announces a data set, and none follows",
        ],
    ),
    "reserved byte of the PDU": (
        WHOLE + b"\7\1" + ABORT[2:],
        [f"byte {len(WHOLE)}: A-ABORT with 01H as its second byte, not 00H"],
    ),
    "no PDU": (
        WHOLE + b"GET / HTTP",
        [f"byte {len(WHOLE)}: 47H is no type of a PDU, 01H to 07H: nothing to go on by"],
    ),
    "PDU cut off": (
        WHOLE[:60],
        [
            "byte 56, 44 of the command set: 4 bytes of padding at byte 44",
            AT_12 + "Command Group Length (0000,0000): tells 78 bytes, 36 follow",
            "Command Field (0000,0100): missing",
            f"byte 0: P-DATA-TF of {12 + LENGTH} bytes: the input ends after 60 of them",
        ],
    ),
    "PDU header cut off": (
        WHOLE + WHOLE[:3],
        [f"byte {len(WHOLE)}: the input ends after 3 of the 6 bytes of a PDU header"],
    ),
    "PDU cut off before its PDV": (
        WHOLE + WHOLE[:8],
        [f"byte {len(WHOLE)}: P-DATA-TF of {12 + LENGTH} bytes: the input ends after 8 of them"],
    ),
    "data set cut off": (
        WHOLE[:-5],
        [f"byte {12 + LENGTH}: P-DATA-TF of 30 bytes: the input ends after 25 of them"],
    ),
    "data set to come": (
        p_data(3, REQUEST) + WHOLE[:3],
        [f"byte {12 + LENGTH}: the input ends after 3 of the 6 bytes of a PDU header"],
    ),
    "more of the data set to come": (
        p_data(3, REQUEST) + p_data(0, DATA_SET)[:-5],
        [f"byte {12 + LENGTH}: P-DATA-TF of 30 bytes: the input ends after 25 of them"],
    ),
    "more of the command set to come": (
        p_data(1, ECHO + bytes(8))[:-8],
        ["byte 0: P-DATA-TF of 88 bytes: the input ends after 80 of them"],
    ),
    "more of the command set to come in a PDV": (
        pdv(1, ECHO + bytes(8))[:-8],
        ["byte 0: a PDV of 82 bytes: the input ends after 74 of them"],
    ),
    "other PDU cut off": (
        ABORT[:-1],
        ["byte 0: A-ABORT of 10 bytes: the input ends after 9 of them"],
    ),
    "PDV cut off": (
        pdv(3, ECHO)[:-2],
        [
            "byte 64, 58 of the command set: Command Data Set Type (0000,0800): "
            "the value of 2 bytes runs past the end, 0 are left",
            "byte 6, 0 of the command set: Command Group Length (0000,0000): "
            "tells 56 bytes, 54 follow",
            "byte 0: a PDV of 74 bytes: the input ends after 72 of them",
        ],
    ),
    "PDV alone": (pdv(3, REQUEST), []),
    "command set cut off": (
        ECHO[:-2],
        [
            "byte 58: Command Data Set Type (0000,0800): "
            "the value of 2 bytes runs past the end, 0 are left",
            "byte 0: Command Group Length (0000,0000): tells 56 bytes, 54 follow",
        ],
    ),
}


@pytest.mark.parametrize(("data", "expected"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_violations(dump, data, expected):
    dumped = dump(data)
    assert sorted(texts(dumped)) == sorted(expected)
    assert dumped.violation_count == len(expected)


def test_command_set_that_is_too_long(dump):
    for fragments in ([bytes(2**16), b"ab"], [ECHO, bytes(2**16)]):
        stream = b"".join(p_data(1, fragment) for fragment in fragments)
        dumped = dump(stream + p_data(3, b"") + p_data(3, ECHO))
        assert "byte 6: a command set of more than 65536 bytes" in texts(dumped)
        assert dumped.messages[0].command_set_bytes == sum(map(len, fragments))
        assert dumped.messages[-1].name == "C-ECHO-RQ"


def test_a_lot_is_not_listed(nset, dump, monkeypatch):
    limits = importlib.import_module("nset.dump._limits")
    monkeypatch.setattr(limits, "MAX_ENTRIES", 100)
    streams = {
        "elements": p_data(3, ECHO) * 100,
        "PDVs": p_data(1, b"ab") * 1000,
        "violations": p_data(3, ECHO, 2) * 100,
        "PDUs": ABORT * 1000,
        "empty PDUs": pdu() * 1000,
        "short PDVs": pdu(bytes(4) * 1000 + b"ab"),
        "long values": p_data(3, element(0x1005, bytes(4 * 2**13))),
    }
    for name, stream in streams.items():
        dumped = dump(stream)
        elements = sum(len(message.elements) for message in dumped.messages)
        listed = elements + len(dumped.messages) + len(dumped.other_pdus) + dumped.violation_count
        assert listed <= 101, name
        last = texts(dumped)[-1]
        assert last.endswith("more than 100 entries, from here on nothing is looked at"), name


# -- Whatever may come ----------------------------------------------------------------------------

STREAM = PDU_ITEMS["a_associate_rj"] + p_data(1, REQUEST[:50]) + p_data(3, REQUEST[50:])
STREAM += p_data(2, DATA_SET) + p_data(3, ECHO) + ABORT


def assert_can_be_shown(module, dumped):
    document = json.loads(json.dumps(dumped.as_json(), allow_nan=False))
    assert document["violation_count"] == dumped.violation_count
    for message in dumped.messages:
        for one in message.elements:
            assert re.fullmatch("[ -~]+", one.text)
    for text in texts(dumped):
        assert re.fullmatch("[ -~]+", text)


def test_every_prefix(nset, dump):
    for whole in (STREAM, pdv(3, REQUEST) + pdv(2, DATA_SET), b"\x03" + REQUEST, REQUEST):
        complete = dump(whole)
        for size in range(2, len(whole)):
            dumped = dump(whole[:size])
            assert_can_be_shown(nset, dumped)
            if size >= 14:
                assert dumped.form == complete.form
                found = [one for message in dumped.messages for one in message.elements]
                every = [one for message in complete.messages for one in message.elements]
                assert found == every[: len(found)]  # no value is ever cut off


def test_anything(nset, dump):
    undecodable = importlib.import_module("nset.dump").Undecodable
    tags = st.sampled_from([0, 2, 3, 0x100, 0x110, 0x120, 0x800, 0x900, 0x902, 0x1005, 0x1001])
    lengths = st.none() | st.integers(0, 300) | st.just(2**32 - 1)
    values = st.binary(max_size=12)
    vrs = st.sampled_from([b"US", b"UL", b"AT", b"UI", b"LO", b"ZZ", b"SQ", b"UN"])
    elements = st.builds(element, tags, values, lengths) | st.builds(explicit, tags, vrs, values)
    sets = st.lists(elements | values, max_size=6).map(b"".join)
    headers = st.integers(0, 3) | st.integers(0, 255)
    pdvs = st.builds(pdv, headers, sets | st.just(ECHO), st.sampled_from([1, 1, 3, 0, 255]))
    kinds = st.sampled_from([4, 4, 4, 1, 7, 9])
    pdus = st.builds(lambda pdvs, kind: pdu(*pdvs, kind=kind), st.lists(pdvs, max_size=4), kinds)
    streams = st.lists(pdus | values, max_size=4).map(b"".join)
    every = streams | pdvs | sets | st.builds(bytes.__add__, st.just(b"\3"), sets)

    @quick
    @given(every, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=2))
    def check(data, changes):
        changed = bytearray(data)
        for at, value in changes:
            if changed:
                changed[at % len(changed)] = value
        try:
            dumped = dump(bytes(changed))
        except undecodable:
            return
        assert_can_be_shown(nset, dumped)

    check()


# -- The command line -----------------------------------------------------------------------------


def test_exit_status_and_table(run):
    result = run(ECHO.hex())
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == (
        "68 bytes, taken for: command set\n"
        "\n"
        "C-ECHO-RQ at byte 0, command set of 68 bytes, data set none\n"
        "  byte  tag          keyword              VR  value\n"
        "     0  (0000,0000)  CommandGroupLength   UL  56\n"
        "    12  (0000,0002)  AffectedSOPClassUID  UI  1.2.840.10008.1.1 (Verification SOP Class)\n"
        "    38  (0000,0100)  CommandField         US  0030H (C-ECHO-RQ)\n"
        "    48  (0000,0110)  MessageID            US  1\n"
        "    58  (0000,0800)  CommandDataSetType   US  0101H (no data set)\n"
        "\n"
        "Violations of the standard: none\n"
    )
    result = run((WHOLE + b"\x09\x00").hex())
    assert result.exit_code == 1
    assert result.stdout.endswith(
        "PDUs and PDVs\n"
        "  ! byte 132: the input ends after 2 of the 6 bytes of a PDU header\n"
        "\n"
        "Violations of the standard: 1\n"
    )


def test_where_the_input_may_be(run, tmp_path):
    """Bytes and hex digits, from a file and standard input, and hex digits as the argument."""
    digits = WHOLE.hex()
    as_text = {
        "plain": digits,
        "capitals": digits.upper(),
        "blanks": WHOLE.hex(" "),
        "lines": WHOLE.hex(" ", 16).replace(" ", "\r\n") + "\n",
        "colons": WHOLE.hex(":"),
        "0x": " ".join(f"0x{byte:02x}" for byte in WHOLE),
        "one 0x": "0x" + digits,
    }
    expected = run(digits).stdout
    assert expected.startswith(f"{len(WHOLE)} bytes, taken for: PDUs\n")
    file = tmp_path / "capture"
    for name, text in as_text.items():
        assert run(text).stdout == expected, name
        file.write_text(text, encoding="ascii", newline="")
        assert run(str(file)).stdout == expected, name
        assert run("-", input=text).stdout == expected, name
    file.write_bytes(WHOLE)
    assert run(str(file)).stdout == expected
    assert run("-", input=WHOLE).stdout == expected
    more = WHOLE + p_data(3, ECHO, 255)
    file.write_bytes(more)
    assert run(str(file)).stdout == run("-", input=more).stdout == run(more.hex()).stdout


def test_file_of_a_name_in_hex(run, tmp_path, monkeypatch):
    (tmp_path / "0102").write_bytes(ECHO)
    monkeypatch.chdir(tmp_path)
    assert run("0102").exit_code == 0
    assert run("0103").exit_code == 2


BEGIN = "neither a command set nor a PDV nor PDUs: "
REFUSED = {
    "empty": ("", "nothing to decode, the input is empty"),
    "blank": (" ", "nothing to decode, the input is empty"),
    "no file": ("no/such/file", "no such file, and not hex digits: 'no/such/file'"),
    "no digits": ("04 00 0g", "no such file, and not hex digits: '04 00 0g'"),
    "odd": ("04000", "5 hex digits, an odd number: one is missing or too many"),
    "something": ("ab" * 9, BEGIN + "9 bytes, the first are AB AB AB AB AB AB AB AB"),
    "one byte": ("ff", BEGIN + "1 byte, the first are FF"),
    "data set": ("02" + DATA_SET.hex(), BEGIN + "19 bytes, the first are 02 40 00 52 02 43 53 0A"),
    "long": ("e" * 5000, BEGIN + "2500 bytes, the first are EE EE EE EE EE EE EE EE"),
    **{
        magic: (magic + "02000400", "a pcap file whose header can't be read: got 8, 24 needed")
        for magic in ("d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d")
    },
    "0a0d0d0a": (
        "0a0d0d0a02000400",
        "a pcapng file without a TCP connection that has DICOM in it: "
        "the file ends amid a block, or has none at byte 0",
    ),
    "DICOM file": (bytes(128).hex() + b"DICM".hex(), "a DICOM file (PS3.10), not a message"),
}


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize(("source", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_decoded(run, source, words, more):
    result = run(source, *more)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"Error: {words}" in result.stderr


def test_files_that_cannot_be_read(nset, run, tmp_path, monkeypatch):
    assert run(str(tmp_path)).exit_code == 2
    text = tmp_path / "text"
    text.write_text("no hex", encoding="ascii")
    assert "a text in which no bytes are found" in run(str(text)).stderr
    monkeypatch.setattr(importlib.import_module("nset.dump._limits"), "MAX_INPUT", 67)
    long = tmp_path / "long"
    long.write_bytes(ECHO)
    for result in (run(str(long)), run("-", input=ECHO)):
        assert result.exit_code == 2
        assert "more than 67 bytes: give the part that matters" in result.stderr


def test_usage(run):
    assert run().exit_code == 2
    assert run("--yaml", "00").exit_code == 2
    assert "Exits with 0 where there is no violation" in run("--help").stdout


def test_json(run):
    bad = p_data(3, request(instance=b"1.02\0\0"))
    result = run("--json", (bad + WHOLE + ABORT).hex())
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert list(document) == [
        *("form", "size", "messages", "other_pdus", "violations"),
        *("name", "source", "missing", "notes", "streams", "violation_count"),
    ]
    assert document["form"] == "PDUs"
    assert document["size"] == len(bad + WHOLE + ABORT)
    assert document["violation_count"] == 3
    assert document["violations"] == []
    assert document["other_pdus"] == [
        {
            "name": "A-ABORT",
            "input_offset": len(bad + WHOLE),
            "length": 10,
            "details": {
                "source": 2,
                "source_meaning": "service-provider",
                "reason": 0,
                "reason_meaning": "reason-not-specified",
            },
        }
    ]
    first, second = document["messages"]
    assert second == {
        "name": "N-SET-RQ",
        "context_id": 1,
        "input_offset": len(bad) + 6,
        "command_set_bytes": LENGTH,
        "data_set_bytes": len(DATA_SET),
        "data_set_announced": True,
        "elements": second["elements"],
        "violations": [],
        "abstract_syntax": None,
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "transfer_syntax_guessed": True,
        "data_set": [
            {
                "tag": "(0040,0252)",
                "keyword": "PerformedProcedureStepStatus",
                "vr": "CS",
                "length": 10,
                "depth": 0,
                "offset": 0,
                "input_offset": len(bad + WHOLE) - len(DATA_SET),
                "value": "COMPLETED",
                "meaning": "",
            }
        ],
        "notes": [],
    }
    assert second["elements"][1] == {
        "tag": "(0000,0003)",
        "keyword": "RequestedSOPClassUID",
        "vr": "UI",
        "value": MPPS,
        "meaning": "Modality Performed Procedure Step SOP Class",
        "raw": uid(MPPS).hex(),
        "offset": 12,
        "input_offset": len(bad) + 24,
    }
    assert first["violations"][1] == {
        "reason": "no UID by PS3.5 Section 9.1",
        "tag": "(0000,1001)",
        "offset": 74,
        "input_offset": 86,
        "text": "byte 86, 74 of the command set: Requested SOP Instance UID (0000,1001): "
        "no UID by PS3.5 Section 9.1",
    }
    assert run("--json", ECHO.hex()).exit_code == 0


def test_a_peer_writes_nothing_of_its_own(run):
    """Neither to a terminal nor in rich's markup."""
    comment = b"[red]a[/red]\x1b]0;title\x07\r\xff "
    data = element(0x0100, 0x8120) + element(0x0902, comment)
    output = run(data.hex()).stdout
    assert "[red]a[/red]\\x1b]0;title\\x07\\x0d\\xff" in output
    assert re.fullmatch("[ -~\n]+", output)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_without_a_terminal_no_line_is_cut_or_padded(run, monkeypatch, term):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "20")
    comment = b"x" * 190
    output = run((element(0x0100, 0x8120) + element(0x0902, comment)).hex()).stdout
    assert "x" * 190 in output
    assert "\x1b" not in output
    assert not re.search(" $", output, re.MULTILINE)


def test_on_a_terminal_nothing_is_lost(nset, dump, monkeypatch):
    class Terminal(StringIO):
        def isatty(self):
            return True

    show = importlib.import_module("nset.dump._show").show
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    show(dump(element(0x0100, 0x8120) + element(0x0902, b"abcdefghij" * 19)))
    output = sys.stdout.getvalue()
    assert "\x1b[" in output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    table = plain[: plain.index("  ! ")]
    assert max(map(len, table.splitlines())) <= 80
    assert "abcdefghij" * 19 in re.sub(r"\s", "", table)
    assert "(0000,0902)  ErrorComment" in plain


def spawn(*arguments, **more):
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, **more)


def test_as_a_process(nset):
    ran = spawn("-m", "nset", "dump", "-", input=WHOLE)
    assert ran.stderr == b""
    assert ran.returncode == 0
    assert ran.stdout.decode("ascii").splitlines()[0] == f"{len(WHOLE)} bytes, taken for: PDUs"
    ran = spawn("-m", "nset", "dump", "--json", p_data(3, REQUEST).hex())
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["messages"][0]["name"] == "N-SET-RQ"
    assert spawn("-m", "nset", "dump", "ab").returncode == 2


def test_without_rich(nset):
    """JSON needs none; the table says what it needs."""
    program = """if True:
        import runpy, sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "rich":
                    raise ModuleNotFoundError(f"No module named {name!r}", name="rich")

        sys.meta_path.insert(0, Missing())
        runpy.run_module("nset", run_name="__main__")
    """
    ran = spawn("-c", program, "dump", "--json", ECHO.hex())
    assert (ran.returncode, ran.stderr) == (0, b"")
    ran = spawn("-c", program, "dump", ECHO.hex())
    assert ran.returncode == 2
    assert b"without --json it needs rich: pip install 'nset[cli]'" in ran.stderr


def test_docs_show_what_is_printed(run, tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    (capture,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    (command, output) = re.findall(r"```console\n\$ (.*?)\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    Path("capture.hex").write_text(capture, encoding="ascii")
    python, minus_m, nset, dump, *arguments = shlex.split(command)
    assert [python, minus_m, nset, dump] == ["python", "-m", "nset", "dump"]
    assert run(*arguments).stdout == output


def test_docs_name_the_limits_and_keys(nset, run):
    module = importlib.import_module("nset.dump")
    limits = importlib.import_module("nset.dump._limits")
    text = PAGE.read_text(encoding="utf-8")
    assert f"{module.MAX_INPUT // 2**20} MiB" in text
    assert f"{module.MAX_ENTRIES:,} PDUs" in text
    assert f"{limits.MAX_SEGMENTS:,} TCP segments" in text
    assert f"{limits.MAX_CONNECTIONS:,} connections" in text
    assert f"{limits.MAX_DATA_SET_ELEMENTS:,} elements and {limits.MAX_DEPTH} levels" in text
    assert f"{limits.MAX_INFLATED // 2**20} MiB inflated" in text
    stream = (
        dicom_streams.request()
        + dicom_streams.acceptance(dicom_streams.EXPLICIT)
        + WHOLE
        + p_data(3, REQUEST)
    )
    document = json.loads(run("--json", (stream + ABORT).hex()).stdout)
    first, message = document["messages"]
    keys = {*document, *message, *message["elements"][0], *message["violations"][0]}
    keys |= {*first["data_set"][0], *document["other_pdus"][0]}
    for pdu in document["other_pdus"][:2]:
        details = pdu["details"]
        keys |= {*details, *details["presentation_contexts"][0]}
    for key in keys:
        assert f"`{key}`" in text, key
    for form in (module.COMMAND_SET, module.FRAGMENT, module.PDVS, module.PDUS):
        assert f"- **{form}**" in text
