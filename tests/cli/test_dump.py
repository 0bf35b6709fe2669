"""``python -m nset dump``: what it makes of captured bytes, whatever they are."""

import importlib
import struct

import pytest
from associations import MPPS
from command_sets import command_set, element, explicit
from dumped import (
    ABORT,
    DATA_SET,
    ECHO,
    PDU_ITEMS,
    REQUEST,
    WHOLE,
    assert_can_be_shown,
    p_data,
    pdu,
    pdv,
    texts,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from n_set_requests import uid
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.tests import encoded_dimse_msg, encoded_dimse_n_msg

quick = settings(max_examples=300)


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


# -- Whatever may come ----------------------------------------------------------------------------

STREAM = PDU_ITEMS["a_associate_rj"] + p_data(1, REQUEST[:50]) + p_data(3, REQUEST[50:])
STREAM += p_data(2, DATA_SET) + p_data(3, ECHO) + ABORT


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
