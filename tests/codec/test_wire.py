"""nset.wire: messages cut into PDVs and PDUs, put together again, and what is wrong with them."""

import logging
import struct
import tracemalloc
from io import BytesIO
from itertools import pairwise

import pytest
from command_sets import build, element, golden
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pynetdicom import dimse_primitives
from pynetdicom.dimse_messages import N_SET_RQ, N_SET_RSP
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification

quick = settings(max_examples=100)

MPPS = "1.2.840.10008.3.1.2.3.3"
INSTANCE = "1.2.826.0.1.3680043.8.498.1"
DATA_SET = bytes.fromhex("4000520243530a00") + b"COMPLETED "

REQUEST = {
    "MessageID": 7,
    "RequestedSOPClassUID": MPPS,
    "RequestedSOPInstanceUID": INSTANCE,
    "ModificationList": BytesIO(DATA_SET),
}
RESPONSE = {
    "MessageIDBeingRespondedTo": 7,
    "AffectedSOPClassUID": MPPS,
    "AffectedSOPInstanceUID": INSTANCE,
    "Status": 0x0107,
    "ErrorComment": "a comment",
    "AttributeIdentifierList": [0x00400252, 0x00400253],
    "AttributeList": BytesIO(DATA_SET),
}
MESSAGES = {
    "request": REQUEST,
    "response": RESPONSE,
    "response without data set": {**RESPONSE, "AttributeList": None},
    "request with an empty list": {**REQUEST, "ModificationList": BytesIO()},
}
messages = pytest.mark.parametrize("fields", MESSAGES.values(), ids=MESSAGES)

COMMAND, LAST = 1, 2


def command_set(*elements):
    body = b"".join(elements)
    return element(0x0000, struct.pack("<L", len(body))) + body


def uid(text):
    return text.encode("ascii") + b"\0" * (len(text) % 2)


def request_set(*, data_set_type=0x0001, instance=INSTANCE, message_id=7):
    return command_set(
        element(0x0003, uid(MPPS)),
        element(0x0100, 0x0120),
        element(0x0110, message_id),
        element(0x0800, data_set_type),
        element(0x1001, uid(instance)),
    )


def response_set(data_set_type, more=()):
    elements = {0x0100: 0x8120, **dict(more), 0x0120: 7, 0x0800: data_set_type, 0x0900: 0}
    return command_set(*(element(tag, value) for tag, value in elements.items()))


def other_set(field, data_set_type=0x0101):
    """A C-ECHO-RQ or C-STORE-RQ, as far as this module looks at them."""
    return command_set(
        element(0x0002, uid(Verification)),
        element(0x0100, field),
        element(0x0110, 1),
        element(0x0800, data_set_type),
    )


def pdvs_of(pdus):
    """Take P-DATA-TF PDUs apart by hand: context ID and the rest of each PDV."""
    pdvs = []
    while pdus:
        kind, reserved, pdu_length, pdv_length, context_id = struct.unpack_from(">BBLLB", pdus)
        assert (kind, reserved) == (4, 0)
        assert pdu_length == pdv_length + 4  # one PDV each
        assert len(pdus) >= 6 + pdu_length
        pdvs.append((context_id, pdus[11 : 6 + pdu_length]))
        pdus = pdus[6 + pdu_length :]
    return pdvs


def fed(assembler, pdvs):
    """What comes of the last PDV; all before it complete no message."""
    *some, last = pdvs
    for pdv in some:
        assert assembler.feed(*pdv) is None
    return assembler.feed(*last)


def values(primitive):
    keywords = (
        *("MessageID", "RequestedSOPClassUID", "RequestedSOPInstanceUID", "Status"),
        *("MessageIDBeingRespondedTo", "AffectedSOPClassUID", "AffectedSOPInstanceUID"),
        *("ErrorComment", "ErrorID", "AttributeIdentifierList", "OffendingElement"),
    )
    return {keyword: getattr(primitive, keyword) for keyword in keywords}


def assert_works(nset, assembler):
    """It takes a whole message from here on: nothing of an earlier one is left."""
    message = fed(assembler, [(5, b"\x03" + request_set()), (5, b"\x02" + DATA_SET)])
    assert type(message) is nset.N_SET
    assert message._context_id == 5
    assert message.MessageID == 7
    assert message.ModificationList.getvalue() == DATA_SET


# -- encode_pdus ----------------------------------------------------------------------------------


@messages
@pytest.mark.parametrize("max_pdu_length", [8, 9, 16, 127, 16382, 0])
def test_pdus_keep_the_rules_and_come_back(nset, fields, max_pdu_length):
    primitive = build(nset.N_SET, fields)
    pdvs = pdvs_of(nset.wire.encode_pdus(primitive, 3, max_pdu_length))
    data_set = primitive.ModificationList.getvalue() if primitive.ModificationList else b""
    for kind, whole in ((COMMAND, primitive.to_command_set()), (0, data_set)):
        fragments = [pdv for _, pdv in pdvs if pdv[0] & COMMAND == kind]
        assert b"".join(pdv[1:] for pdv in fragments) == whole
        headers = [kind] * (len(fragments) - 1) + [kind | LAST] * bool(whole)
        assert [pdv[0] for pdv in fragments] == headers
    assert [pdv[0] & COMMAND for _, pdv in pdvs] == sorted(
        (pdv[0] & COMMAND for _, pdv in pdvs), reverse=True
    )
    for context_id, pdv in pdvs:
        assert context_id == 3
        assert len(pdv[1:]) % 2 == 0
        assert len(pdv) > 1
        if max_pdu_length:
            assert 4 + 1 + len(pdv) <= max_pdu_length
    again = fed(nset.wire.MessageAssembler(), pdvs)
    assert type(again) is nset.N_SET
    assert values(again) == values(primitive)
    assert again.ModificationList.getvalue() == data_set
    assert again._context_id == 3


@messages
@pytest.mark.parametrize("max_pdu_length", [8, 16, 128, 16382, 0])
def test_pdus_are_those_of_pynetdicom(nset, fields, max_pdu_length):
    stock = build(dimse_primitives.N_SET, fields)
    if stock.ModificationList is not None and not stock.ModificationList.getvalue():
        stock.ModificationList = None  # pynetdicom announces it, and sends none
    message = N_SET_RQ() if "MessageID" in fields else N_SET_RSP()
    message.primitive_to_message(stock)
    expected = b""
    for p_data in message.encode_msg(1, max_pdu_length):
        pdu = P_DATA_TF()
        pdu.from_primitive(p_data)
        expected += pdu.encode()
    assert nset.wire.encode_pdus(build(nset.N_SET, fields), 1, max_pdu_length) == expected


def test_without_a_data_set_none_is_announced_or_sent(nset):
    for stream in (None, BytesIO()):
        primitive = build(nset.N_SET, {**REQUEST, "ModificationList": stream})
        ((_, pdv),) = pdvs_of(nset.wire.encode_pdus(primitive, 1))
        assert pdv[0] == COMMAND | LAST
        assert element(0x0800, 0x0101) in pdv


def test_odd_data_set_is_padded_and_left_alone(nset):
    stream = BytesIO(b"odd")
    stream.seek(1)
    primitive = build(nset.N_SET, {**REQUEST, "ModificationList": stream})
    for max_pdu_length, fragments in ((8, [b"od", b"d\0"]), (10, [b"odd\0"]), (0, [b"odd\0"])):
        pdvs = pdvs_of(nset.wire.encode_pdus(primitive, 1, max_pdu_length))
        assert [pdv[1:] for _, pdv in pdvs if not pdv[0] & COMMAND] == fragments
    assert stream.getvalue() == b"odd"
    assert stream.tell() == 1
    assert primitive.ModificationList is stream


@pytest.mark.parametrize("max_pdu_length", [-1, 1, 6, 7])
def test_no_pdu_is_so_short(nset, max_pdu_length):
    words = f"^max_pdu_length must be 0 or at least 8, not {max_pdu_length}$"
    with pytest.raises(ValueError, match=words):
        nset.wire.encode_pdus(build(nset.N_SET, REQUEST), 1, max_pdu_length)


def test_a_maximum_beyond_the_field_is_no_limit(nset):
    primitive = build(nset.N_SET, REQUEST)
    unlimited = nset.wire.encode_pdus(primitive, 1)
    assert nset.wire.encode_pdus(primitive, 1, 2**40) == unlimited


@pytest.mark.parametrize("context_id", [1, 255])
def test_the_first_and_the_last_context(nset, context_id):
    pdvs = pdvs_of(nset.wire.encode_pdus(build(nset.N_SET, REQUEST), context_id))
    assert {number for number, _ in pdvs} == {context_id}


@pytest.mark.parametrize("context_id", [-1, 0, 2, 256, 257])
def test_no_context_has_such_an_id(nset, context_id):
    words = f"^context_id must be odd and between 1 and 255, not {context_id}$"
    with pytest.raises(ValueError, match=words):
        nset.wire.encode_pdus(build(nset.N_SET, REQUEST), context_id)


def test_what_cannot_be_sent_is_refused(nset):
    with pytest.raises(ValueError, match="ErrorComment"):
        nset.wire.encode_pdus(build(nset.N_SET, {**RESPONSE, "ErrorComment": "\\"}), 1)
    with pytest.raises(TypeError, match="ErrorID"):
        nset.wire.encode_pdus(build(nset.N_SET, {**RESPONSE, "ErrorID": "7"}), 1)


def test_data_set_in_a_file_is_refused(nset):
    """It would be announced, and the peer wait for it."""
    primitive = build(nset.N_SET, {**REQUEST, "ModificationList": None})
    primitive._dataset_path = ("file", 0)
    with pytest.raises(ValueError, match="a data set in a file"):
        nset.wire.encode_pdus(primitive, 1)


# -- data_set_follows -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "data_set_type", "expected"),
    [
        (0x0120, 0x0101, False),
        (0x8120, 0x0101, False),
        *[(0x0120, other, True) for other in (0x0000, 0x0001, 0x0102, 0x0202, 0xFEFE)],
        *[(0x8120, other, True) for other in (0x0000, 0x0001, 0x0102, 0x0202, 0xFEFE)],
        (0x0120, None, True),
        (0x8120, None, False),
        (0x0120, b"", True),
        (0x8120, b"", False),
        (0x0120, b"\x01\x01\x01\x00", False),
        (0x0030, 0x0101, False),
        (0x8030, None, False),
        (0x0001, None, True),
    ],
)
def test_data_set_follows(nset, field, data_set_type, expected):
    elements = [element(0x0100, field)]
    if data_set_type is not None:
        elements.append(element(0x0800, data_set_type))
    data = command_set(*elements)
    for form in (bytes, bytearray, memoryview):
        assert nset.wire.data_set_follows(form(data)) is expected


def test_data_set_follows_by_the_last_of_several(nset):
    types = [element(0x0800, 0x0001), element(0x0800, 0x0101)]
    for order, expected in ((types, False), (types[::-1], True)):
        data = command_set(element(0x0100, 0x0120), *order)
        assert nset.wire.data_set_follows(data) is expected


def test_data_set_follows_in_golden_command_sets(nset):
    for name, one in golden().items():
        announced = element(0x0800, 0x0101) not in one.data
        assert nset.wire.data_set_follows(one.data) is announced, name


@pytest.mark.parametrize(
    ("data", "words", "tag", "offset", "status"),
    [
        (b"", "missing", 0x0100, None, 0x0211),
        (command_set(element(0x0800, 1)), "missing", 0x0100, None, 0x0211),
        (command_set(element(0x0100, b"")), "missing", 0x0100, None, 0x0211),
        (command_set(element(0x0100, b"\x20")), "missing", 0x0100, None, 0x0211),
        (request_set()[:-1], "27 are left", 0x1001, 74, 0x0110),
        (element(0x0100, b"\x20\x01", length=2**32 - 1), "4294967295", 0x0100, 0, 0x0110),
    ],
)
def test_data_set_follows_nothing_that_cannot_be_read(nset, data, words, tag, offset, status):
    with pytest.raises(nset.CommandSetError, match=words) as caught:
        nset.wire.data_set_follows(data)
    error = caught.value
    assert (error.tag, error.offset, error.status) == (tag, offset, status)


def test_data_set_follows_takes_bytes_only(nset):
    with pytest.raises(TypeError):
        nset.wire.data_set_follows("0120")


# -- Assembling -----------------------------------------------------------------------------------


def cut(data, places, kind):
    """PDVs with the fragments between these places."""
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    pdvs = [bytes((kind,)) + data[a:b] for a, b in pairwise(bounds)]
    pdvs[-1] = bytes((kind | LAST,)) + pdvs[-1][1:]
    return pdvs


places = st.lists(st.integers(0, 200), max_size=12)


@messages
def test_any_cuts_give_the_same_message(nset, fields):
    primitive = build(nset.N_SET, fields)
    data = primitive.to_command_set()
    data_set = primitive.ModificationList.getvalue() if primitive.ModificationList else b""

    @quick
    @given(places, places, st.lists(st.integers(0, 63), min_size=30, max_size=30))
    @example([], [], [0] * 30)
    @example(list(range(200)), list(range(200)), [63] * 30)
    def check(command_places, data_places, high_bits):
        pdvs = cut(data, command_places, COMMAND)
        if data_set:
            pdvs += cut(data_set, data_places, 0)
        for index, bits in enumerate(high_bits[: len(pdvs)]):
            pdvs[index] = bytes((pdvs[index][0] | bits << 2,)) + pdvs[index][1:]
        again = fed(nset.wire.MessageAssembler(), [(1, pdv) for pdv in pdvs])
        assert type(again) is nset.N_SET
        assert values(again) == values(primitive)
        assert again.ModificationList.getvalue() == data_set

    logging.getLogger("nset").setLevel(logging.CRITICAL)
    try:
        check()
    finally:
        logging.getLogger("nset").setLevel(logging.NOTSET)


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind(nset, form):
    buffers = [bytearray(b"\x03" + request_set()), bytearray(b"\x02" + DATA_SET)]
    message = fed(nset.wire.MessageAssembler(), [(1, form(buffer)) for buffer in buffers])
    for buffer in buffers:
        buffer[:] = b"\xff" * len(buffer)
    assert message.RequestedSOPInstanceUID == INSTANCE
    assert message.ModificationList.getvalue() == DATA_SET


def test_text_is_no_pdv_and_ends_the_message(nset):
    assembler = nset.wire.MessageAssembler()
    assert assembler.feed(1, b"\x01" + request_set()[:10]) is None
    with pytest.raises(TypeError):
        assembler.feed(1, "\x03")
    assert_works(nset, assembler)


def test_several_messages_one_after_the_other(nset):
    assembler = nset.wire.MessageAssembler()
    assert_works(nset, assembler)
    answer = assembler.feed(3, b"\x03" + response_set(0x0101))
    assert (answer.MessageIDBeingRespondedTo, answer._context_id) == (7, 3)
    assert assembler.feed(7, b"\x03" + other_set(0x0030)).context_id == 7
    assert_works(nset, assembler)


def test_list_is_what_was_written(nset):
    """Each byte once: the list is no copy, and its position at the end as in pynetdicom."""
    assembler = nset.wire.MessageAssembler()
    assembler.feed(1, b"\x03" + request_set())
    assembler.feed(1, b"\x00" + bytes(2**20))
    tracemalloc.start()
    try:
        message = assembler.feed(1, b"\x02")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20 // 4
    assert type(message.ModificationList) is BytesIO
    assert message.ModificationList.tell() == 2**20
    assert message.ModificationList.getvalue() == bytes(2**20)
    assert message.AttributeList is message.ModificationList


def test_messages_share_no_list(nset):
    assembler = nset.wire.MessageAssembler()
    first, second = (
        fed(assembler, [(1, b"\x03" + request_set()), (1, b"\x02" + data)])
        for data in (b"12", b"3")
    )
    assert first.ModificationList.getvalue() == b"12"
    assert second.ModificationList.getvalue() == b"3"


@pytest.mark.parametrize("data", [request_set(data_set_type=0x0101), response_set(0x0101)])
def test_message_without_a_data_set(nset, data):
    message = nset.wire.MessageAssembler().feed(1, b"\x03" + data)
    assert type(message) is nset.N_SET
    assert message.ModificationList.getvalue() == b""


def test_missing_type_goes_by_request_and_response(nset):
    announced, alone = (
        command_set(element(0x0100, field), element(0x0110, 1)) for field in (0x0120, 0x8120)
    )
    assembler = nset.wire.MessageAssembler()
    assert assembler.feed(1, b"\x03" + announced) is None
    assert assembler.feed(1, b"\x02").ModificationList.getvalue() == b""
    assert type(assembler.feed(1, b"\x03" + alone)) is nset.N_SET


def test_empty_fragments(nset, caplog):
    data = request_set()
    pdvs = [b"\x01", b"\x01" + data, b"\x03", b"\x00", b"\x00" + DATA_SET, b"\x02"]
    message = fed(nset.wire.MessageAssembler(), [(1, pdv) for pdv in pdvs])
    assert message.MessageID == 7
    assert message.ModificationList.getvalue() == DATA_SET
    assert caplog.records == []


def test_odd_fragments_are_told_once_a_message(nset, caplog):
    assembler = nset.wire.MessageAssembler()
    data = request_set()
    for _ in range(2):
        pdvs = [b"\x01" + data[:3], b"\x03" + data[3:], b"\x00abc", b"\x00d", b"\x02efg"]
        message = fed(assembler, [(1, pdv) for pdv in pdvs])
        assert message.ModificationList.getvalue() == b"abcdefg"
        ((name, level, text),) = caplog.record_tuples
        assert (name, level) == ("nset", logging.WARNING)
        assert text == "PDV with a fragment of odd length, 3 bytes"
        caplog.clear()


def test_high_bits_of_the_header_mean_nothing(nset):
    pdvs = [bytes((0xFD,)) + request_set()[:20], bytes((0xFF,)) + request_set()[20:]]
    pdvs += [bytes((0xFC,)) + DATA_SET, bytes((0xFE,))]
    message = fed(nset.wire.MessageAssembler(), [(1, pdv) for pdv in pdvs])
    assert message.ModificationList.getvalue() == DATA_SET


def test_other_messages_come_undecoded(nset):
    assembler = nset.wire.MessageAssembler()
    echo, store = other_set(0x0030), other_set(0x0001, 0x0001)
    message = assembler.feed(1, b"\x03" + echo)
    assert type(message) is nset.wire.Message
    assert message == (1, echo, None)
    message = fed(assembler, [(9, b"\x03" + store), (9, b"\x00ab"), (9, b"\x02cd")])
    assert (message.context_id, message.command_set) == (9, store)
    assert type(message.command_set) is bytes
    assert message.data_set.getvalue() == b"abcd"
    assert message.data_set.tell() == 4
    assert_works(nset, assembler)


# -- Faults ---------------------------------------------------------------------------------------

RQ, RQ_ALONE = request_set(), request_set(data_set_type=0x0101)
BAD_UID = request_set(instance="1." * 40)
FAULTS = {
    "empty PDV": ([b""], "a PDV without a message control header", 0x0110),
    "empty PDV within a message": (
        [b"\x01" + RQ[:10], b""],
        "a PDV without a message control header",
        0x0110,
    ),
    "data set first": (
        [b"\x02" + DATA_SET],
        "a fragment of a data set before the last of the command set",
        0x0110,
    ),
    "data set within the command set": (
        [b"\x01" + RQ, b"\x02" + DATA_SET],
        "a fragment of a data set before the last of the command set",
        0x0110,
    ),
    "command set within the data set": (
        [b"\x03" + RQ, b"\x00ab", b"\x01" + RQ],
        "a fragment of a command set among those of a data set",
        0x0110,
    ),
    "command set where a data set is due": (
        [b"\x03" + RQ, b"\x03" + RQ],
        "a fragment of a command set among those of a data set",
        0x0110,
    ),
    "long command set": (
        [b"\x01" + bytes(0x10000), b"\x01ab"],
        "a command set of more than 65536 bytes",
        0x0213,
    ),
    "no Command Field": (
        [b"\x03" + command_set(element(0x0110, 1))],
        "Command Field (0000,0100): missing",
        0x0211,
    ),
    "empty command set": ([b"\x03"], "Command Field (0000,0100): missing", 0x0211),
    "data set of a response too long": (
        [b"\x03" + response_set(0x0001), b"\x02" + bytes(101)],
        "a data set of more than 100 bytes",
        0x0213,
    ),
    "data set of a response with a Message ID too long": (
        [b"\x03" + response_set(0x0001, {0x0110: 5}), b"\x02" + bytes(102)],
        "a data set of more than 100 bytes",
        0x0213,
    ),
    "data set of another message too long": (
        [b"\x03" + other_set(0x0001, 0x0001), b"\x00" + bytes(99), b"\x02ab"],
        "a data set of more than 100 bytes",
        0x0213,
    ),
}


@pytest.mark.parametrize(("pdvs", "words", "status"), FAULTS.values(), ids=FAULTS)
def test_fault(nset, pdvs, words, status):
    assembler = nset.wire.MessageAssembler(max_dataset_bytes=100)
    with pytest.raises(nset.CommandSetError) as caught:
        fed(assembler, [(1, pdv) for pdv in pdvs])
    assert str(caught.value) == words
    assert caught.value.status == status
    assert caught.value.message_id is None
    with pytest.raises(nset.CommandSetError, match="before the last of the command set"):
        assembler.feed(1, b"\x02ab")
    assert_works(nset, assembler)


def test_change_of_context(nset):
    starts = ([b"\x01" + RQ[:10]], [b"\x03" + RQ], [b"\x03" + RQ, b"\x00ab"])
    for start in starts:
        for pdv in (b"\x03" + RQ, b"\x02ab"):
            assembler = nset.wire.MessageAssembler()
            for one in start:
                assert assembler.feed(1, one) is None
            words = "^presentation context 3 within a message of context 1$"
            with pytest.raises(nset.CommandSetError, match=words):
                assembler.feed(3, pdv)
            assert_works(nset, assembler)


@pytest.mark.parametrize("data", [RQ_ALONE, response_set(0x0101), other_set(0x0030)])
def test_data_set_that_was_not_announced(nset, data):
    assembler = nset.wire.MessageAssembler()
    assert assembler.feed(1, b"\x03" + data) is not None
    with pytest.raises(nset.CommandSetError, match="a fragment of a data set before"):
        assembler.feed(1, b"\x02" + DATA_SET)
    assert_works(nset, assembler)


def test_longest_command_set(nset):
    body = RQ_ALONE + element(0x9999, bytes(0x10000 - len(RQ_ALONE) - 8))
    assembler = nset.wire.MessageAssembler()
    assert assembler.feed(1, b"\x03" + body).MessageID == 7
    with pytest.raises(nset.CommandSetError, match="more than 65536 bytes"):
        assembler.feed(1, b"\x03" + body + b"\0\0")
    assert_works(nset, assembler)


def test_data_set_up_to_the_limit(nset):
    assembler = nset.wire.MessageAssembler(max_dataset_bytes=4)
    pdvs = [b"\x03" + RQ, b"\x00ab", b"\x00cd", b"\x02"]
    assert fed(assembler, [(1, pdv) for pdv in pdvs]).ModificationList.getvalue() == b"abcd"
    none = nset.wire.MessageAssembler(max_dataset_bytes=0)
    assert fed(none, [(1, b"\x03" + RQ), (1, b"\x02")]).ModificationList.getvalue() == b""
    with pytest.raises(nset.CommandSetError, match="more than 0 bytes"):
        fed(none, [(1, b"\x03" + RQ), (1, b"\x02ab")])


def test_limit_holds_before_memory_is_taken(nset):
    assembler = nset.wire.MessageAssembler(max_dataset_bytes=2**20)
    fragment = b"\x00" + bytes(2**20 - 2)
    too_much = b"\x00" + bytes(2**24)
    assembler.feed(1, b"\x03" + RQ)
    assembler.feed(1, fragment)
    tracemalloc.start()
    try:
        with pytest.raises(nset.CommandSetError, match="more than 1048576 bytes"):
            assembler.feed(1, too_much)
        for _ in range(4):
            assert assembler.feed(1, too_much) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert_works(nset, nset.wire.MessageAssembler())


REFUSED = {
    "data set too long": ([b"\x03" + RQ, b"\x00" + bytes(98), b"\x00abcd"], 0x0213),
    "bad UID": ([b"\x03" + BAD_UID], 0x0117),
    "bad UID in fragments": ([b"\x01" + BAD_UID[:50], b"\x03" + BAD_UID[50:]], 0x0117),
    "cut off": ([b"\x03" + RQ[:-2]], 0x0110),
}


@pytest.mark.parametrize(("pdvs", "status"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore:The value length")
def test_refused_request_can_be_answered(nset, pdvs, status):
    """The rest of its data set is skipped: the association goes on."""
    refused = [(1, pdv) for pdv in pdvs]
    rests = (
        [b"\x02cd"],
        [b"\x00cd", b"\x00", b"\x02" + bytes(1000)],
        [],  # the next message comes instead
    )
    assembler = nset.wire.MessageAssembler(max_dataset_bytes=100)
    for rest in rests:
        with pytest.raises(nset.CommandSetError) as caught:
            fed(assembler, refused)
        assert caught.value.status == status
        assert caught.value.message_id == 7
        for pdv in rest:
            assert assembler.feed(1, pdv) is None
        if rest:
            with pytest.raises(nset.CommandSetError, match="before the last of the command set"):
                assembler.feed(1, b"\x02cd")
        assert_works(nset, assembler)
    with pytest.raises(nset.CommandSetError):
        fed(assembler, refused)
    with pytest.raises(nset.CommandSetError, match="before the last of the command set"):
        assembler.feed(3, b"\x02cd")
    assert_works(nset, assembler)


def test_refused_with_the_last_of_its_data_set(nset):
    assembler = nset.wire.MessageAssembler(max_dataset_bytes=1)
    with pytest.raises(nset.CommandSetError) as caught:
        fed(assembler, [(1, b"\x03" + RQ), (1, b"\x02ab")])
    assert caught.value.message_id == 7
    with pytest.raises(nset.CommandSetError, match="before the last of the command set"):
        assembler.feed(1, b"\x02cd")


def test_any_pdvs_give_messages_or_errors(nset):
    pieces = st.sampled_from([b"", RQ, RQ_ALONE, RQ[:40], RQ[40:], DATA_SET, other_set(0x0001, 1)])
    pdvs = st.tuples(st.integers(0, 7), pieces | st.binary(max_size=20), st.booleans())

    @quick
    @given(st.lists(pdvs, max_size=12))
    def check(pdvs):
        assembler = nset.wire.MessageAssembler(max_dataset_bytes=30)
        for header, fragment, is_other in pdvs:
            try:
                message = assembler.feed(3 if is_other else 1, bytes((header,)) + fragment)
            except nset.CommandSetError:
                continue
            assert message is None or type(message) in (nset.N_SET, nset.wire.Message)
            stream = message and getattr(message, "ModificationList", None)
            assert not stream or len(stream.getvalue()) <= 30
        assert_works(nset, nset.wire.MessageAssembler())

    logging.getLogger("nset").setLevel(logging.CRITICAL)
    try:
        check()
    finally:
        logging.getLogger("nset").setLevel(logging.NOTSET)
