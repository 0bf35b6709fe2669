"""``python -m nset dump``: what it says is wrong with captured bytes."""

import importlib
import struct

import pytest
from associations import MPPS
from command_sets import command_set, element
from dumped import (
    ABORT,
    DATA_SET,
    ECHO,
    REQUEST,
    WHOLE,
    p_data,
    pdu,
    pdv,
    request,
    texts,
)
from n_set_requests import uid

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
        [f"byte {len(WHOLE)}: 47H is not a PDU type (01H to 07H), the rest is not read"],
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
        assert last.endswith("more than 100 entries, the rest is not read"), name
