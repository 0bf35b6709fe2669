"""``python -m nset dump``: what it shows of data sets, with pydicom as the oracle."""

import importlib
import json
import re
import struct
import tracemalloc
import zlib

import pytest
from dicom_streams import (
    ABORT,
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    acceptance,
    encoded,
    request,
)
from dumped import p_data, texts
from dumped import request as n_set
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

quick = settings(max_examples=300)

COMMAND_SET = n_set()


def series(uid):
    item = Dataset()
    item.PerformingPhysicianName = "Doe^Jane"
    item.SeriesInstanceUID = uid
    image = Dataset()
    image.ReferencedSOPInstanceUID = uid + ".1"
    item.ReferencedImageSequence = [image, Dataset()]
    return item


def report():
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientName = "Müller^Zoë"
    dataset.FrameIncrementPointer = 0x00181063
    dataset.Rows = 512
    dataset.PixelSpacing = [0.5, 0.25]
    dataset.ImageComments = ""
    dataset.PerformedProcedureStepStatus = "COMPLETED"
    dataset.PerformedSeriesSequence = [series("1.2.3"), series("1.2.4")]
    dataset.add_new(0x00090010, "LO", "ACME")
    dataset.add_new(0x00091001, "OB", bytes(range(40)))
    dataset.RecommendedDisplayFrameRateInFloat = 12.5
    return dataset


def stream(data, syntax, *, accepted=None):
    before = request(syntax) + acceptance(accepted or syntax)
    return before + p_data(3, COMMAND_SET) + p_data(2, data)


def undefined(dataset):
    """Let all sequences and items of it have undefined lengths."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                undefined(item)
    return dataset


def listed(dataset, depth=0):
    """Depth, tag, VR and value of each element, as pydicom has them."""
    for element in dataset:
        is_sequence = isinstance(element.value, Sequence)
        yield depth, int(element.tag), element.VR, None if is_sequence else element.value
        if is_sequence:
            for item in element.value:
                yield depth + 1, 0xFFFEE000, "", None
                yield from listed(item, depth + 1)


def shown(message):
    for element in message.data_set:
        yield element.depth, element.tag, element.vr, element.value


@pytest.mark.parametrize(
    "form", [report, lambda: undefined(report())], ids=["defined", "undefined"]
)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_it_shows_what_pydicom_reads(dump, syntax, form):
    data = encoded(form(), syntax)
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        sent = deflater.compress(data) + deflater.flush()
        sent += b"\0" * (len(sent) % 2)
    else:
        sent = data
    dumped = dump(stream(sent, syntax))
    assert texts(dumped) == []
    (message,) = dumped.messages
    assert message.notes == []
    assert message.abstract_syntax == "1.2.840.10008.3.1.2.3.3"
    assert (message.transfer_syntax, message.transfer_syntax_guessed) == (syntax, False)
    expected = []
    for depth, tag, vr, value in listed(report()):
        if vr == "OB":
            value = value[:16].hex(" ")
            # Of a private element implicit VR does not tell the VR.
            vr = "UN" if syntax == IMPLICIT else vr
        elif vr == "AT":
            value = "(0018,1063)"
        elif vr == "DS":
            value = [str(one) for one in value]
        elif vr == "PN":
            value = str(value)
        elif isinstance(value, MultiValue):
            value = list(value)
        elif value == "":
            value = None
        expected.append((depth, tag, vr, value))
    assert list(shown(message)) == expected
    for element in message.data_set:
        order = ">" if syntax == BIG_ENDIAN else "<"
        tag = struct.pack(f"{order}HH", element.tag >> 16, element.tag & 0xFFFF)
        assert data[element.offset :][:4] == tag
        if syntax == DEFLATED:
            assert element.input_offset == element.offset
        else:
            assert stream(sent, syntax)[element.input_offset :][:4] == tag


def test_it_guesses_where_no_acceptance_was_seen(dump):
    for syntax in (IMPLICIT, EXPLICIT):
        data = encoded(report(), syntax)
        alone = p_data(3, COMMAND_SET) + p_data(2, data)
        for capture in (alone, request(syntax) + alone, request() + acceptance(result=3) + alone):
            (message,) = dump(capture).messages
            assert (message.transfer_syntax, message.transfer_syntax_guessed) == (syntax, True)
            assert len(message.data_set) == len(list(listed(report())))


def test_a_transfer_syntax_of_a_vendor_is_guessed(dump):
    (message,) = dump(stream(encoded(report(), IMPLICIT), "1.2.840.113619.5.2")).messages
    assert (message.transfer_syntax, message.transfer_syntax_guessed) == (IMPLICIT, True)


def test_the_contexts_are_those_of_the_last_association(dump):
    first = stream(encoded(report(), EXPLICIT), EXPLICIT)
    second = stream(encoded(report(), IMPLICIT), IMPLICIT)
    dumped = dump(first + second + ABORT)
    assert [message.transfer_syntax for message in dumped.messages] == [EXPLICIT, IMPLICIT]
    assert [message.notes for message in dumped.messages] == [[], []]


def test_encapsulated_pixel_data(dump):
    fragments = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack(
        "<HHL4s", 0xFFFE, 0xE000, 4, b"abcd"
    )
    data = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + fragments
    data += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    (message,) = dump(stream(data, "1.2.840.10008.1.2.4.50")).messages
    assert [(one.keyword, one.length, one.text) for one in message.data_set] == [
        ("PixelData", None, "(fragments)"),
        ("Item", 0, "(fragment)"),
        ("Item", 4, "(fragment)"),
    ]
    assert message.notes == []


def test_a_sequence_of_unknown_vr_has_implicit_vr_within(dump):
    within = ITEM + encoded(report(), IMPLICIT) + bytes.fromhex("feff0de000000000")
    data = bytes.fromhex("09000110") + b"UN\0\0" + b"\xff" * 4 + within
    data += bytes.fromhex("feffdde000000000")
    (message,) = dump(stream(data, EXPLICIT)).messages
    assert message.notes == []
    whole = dump(stream(encoded(report(), IMPLICIT), IMPLICIT)).messages[0]
    found = [(depth - 1, *rest) for depth, *rest in shown(message)]
    assert found[2:] == list(shown(whole))


def test_fragments_of_the_data_set(dump):
    data = encoded(report(), EXPLICIT)
    pieces = [data[at : at + 10] for at in range(0, len(data), 10)]
    capture = request(EXPLICIT) + acceptance(EXPLICIT) + p_data(3, COMMAND_SET)
    capture += b"".join(p_data(2 if piece is pieces[-1] else 0, piece) for piece in pieces)
    (message,) = dump(capture).messages
    (whole,) = dump(stream(data, EXPLICIT)).messages
    assert list(shown(message)) == list(shown(whole))
    for element in message.data_set:
        if element.offset % 10 < 7:
            assert capture[element.input_offset :][:4] == data[element.offset :][:4]


ITEM = bytes.fromhex("feff00e0ffffffff")
SEQUENCE = bytes.fromhex("08004011ffffffff")  # ReferencedImageSequence
UNREADABLE = {
    "cut off": (
        bytes.fromhex("4000520243530a00") + b"COMPL",
        EXPLICIT,
        0,
        "PerformedProcedureStepStatus (0040,0252): "
        "the value of 10 bytes runs past the end, 5 are left",
    ),
    "too few for a header": (
        bytes(5),
        IMPLICIT,
        0,
        "5 bytes, too few for the header of an element",
    ),
    "no VR": (
        bytes.fromhex("400052020a000000") + b"COMPLETED ",
        EXPLICIT,
        0,
        "PerformedProcedureStepStatus (0040,0252): 0A00H is no VR",
    ),
    "no item": (
        SEQUENCE + bytes(8),
        IMPLICIT,
        8,
        "CommandGroupLength (0000,0000): where an Item should be",
    ),
    "no end": (SEQUENCE + ITEM, IMPLICIT, 16, "an Item of undefined length without its end"),
    "no end of the sequence": (
        SEQUENCE,
        IMPLICIT,
        8,
        "a sequence of undefined length without its end",
    ),
    "end of nothing": (
        bytes.fromhex("feff0de000000000"),
        IMPLICIT,
        0,
        "ItemDelimitationItem (FFFE,E00D): a delimiter where nothing is to end",
    ),
    "undefined length": (
        bytes.fromhex("08001811") + b"UT\0\0" + b"\xff" * 4,
        EXPLICIT,
        0,
        "(0008,1118): UT of undefined length",
    ),
    "long header cut off": (
        bytes.fromhex("08001811") + b"UT\0\0",
        EXPLICIT,
        0,
        "(0008,1118): 8 bytes, too few for the header of a UT element",
    ),
    "item too long": (
        SEQUENCE + bytes.fromhex("feff00e008000000"),
        IMPLICIT,
        8,
        "Item (FFFE,E000): the value of 8 bytes runs past the end, 0 are left",
    ),
    "sequence too long": (
        bytes.fromhex("0800401108000000"),
        IMPLICIT,
        0,
        "ReferencedImageSequence (0008,1140): the value of 8 bytes runs past the end, 0 are left",
    ),
}


@pytest.mark.parametrize(("data", "syntax", "at", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_where_it_cannot_be_read(dump, data, syntax, at, reason):
    capture = stream(data, syntax)
    (message,) = dump(capture).messages
    where = f"byte {len(capture) - len(data) + at}, {at} of the data set: "
    assert message.notes == [f"{where}{reason}; it is read no further"]
    assert message.violations == []


def test_deflated_that_is_not(dump):
    (message,) = dump(stream(b"\xff" * 20, DEFLATED)).messages
    assert message.data_set == []
    assert message.notes[0].startswith("the data set can't be inflated: ")


def test_values_are_escaped_and_shortened(dump):
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageComments = "\x1b[2J\u202e[red]" + "x" * 5000
    (message,) = dump(stream(encoded(dataset, EXPLICIT), EXPLICIT)).messages
    text = message.data_set[1].text
    assert text.startswith("\\x1b[2J\\u202e[red]xxx")
    assert text.endswith("... (5012 bytes)")
    assert len(text) < 240
    assert len(message.data_set[1].value) < 1100


def test_limits(nset, dump):
    limits = importlib.import_module("nset.dump._limits")
    dumped = dump(stream(bytes.fromhex("0800401100000000") * 5000, IMPLICIT))
    (message,) = dumped.messages
    assert len(message.data_set) == limits.MAX_DATA_SET_ELEMENTS
    assert message.notes == ["more than 2000 elements, the rest is not listed"]
    (message,) = dump(stream((SEQUENCE + ITEM) * 1000, IMPLICIT)).messages
    assert max(one.depth for one in message.data_set) == limits.MAX_DEPTH
    assert message.notes == ["sequences deeper than 16: the rest is not read"]
    data = b""
    for _ in range(20):
        data = struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data
        data = struct.pack("<HHL", 0x0008, 0x1140, len(data)) + data
    (message,) = dump(stream(data, IMPLICIT)).messages
    assert message.data_set[-1].text == "(sequence, deeper than 16: not listed)"
    assert message.notes == []


def test_a_bomb_is_not_inflated(dump):
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(deflater.compress(bytes(2**20)) for _ in range(256)) + deflater.flush()
    tracemalloc.start()
    (message,) = dump(stream(bomb, DEFLATED)).messages
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "inflated up to 16777216 bytes, the rest is not read" in message.notes
    assert peak < 64 * 2**20


def test_more_entries_than_are_listed(nset, dump, monkeypatch):
    monkeypatch.setattr(importlib.import_module("nset.dump._limits"), "MAX_ENTRIES", 40)
    (message,) = dump(stream(encoded(report(), EXPLICIT), EXPLICIT)).messages
    assert message.notes == ["more than 40 entries: the data set is not listed"]


def test_anything(nset, dump):
    headers = st.sampled_from(
        [
            *(SEQUENCE, ITEM, b"ISO_IR 100", b"\\ISO 2022 IR 87"),
            *map(
                bytes.fromhex,
                (
                    *("feff0de000000000", "feffdde000000000", "080005000a000000"),
                    *("0800050043530a00", "0900101000000000", "e07f1000ffffffff"),
                    *("e07f10004f420000ffffffff", "10001000504e0800", "1b2442ffff3d3d3d"),
                ),
            ),
        ]
    )
    data = st.lists(headers | st.binary(max_size=12), max_size=12).map(b"".join)
    syntaxes = st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, "1.2.3"])

    @quick
    @given(data, syntaxes)
    def check(data, syntax):
        (message,) = dump(stream(data, syntax)).messages
        json.dumps(message.as_json(), allow_nan=False)
        for element in message.data_set:
            assert re.fullmatch("[ -~]+", element.text)
            assert 0 <= element.offset <= len(data) or syntax == DEFLATED

    check()
