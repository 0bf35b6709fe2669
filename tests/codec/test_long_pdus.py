"""PduReader: PDUs of many bytes or of many PDVs are taken piece by piece."""

import struct

import pytest
from cores import LIMITS, TWINS, twins
from n_set_requests import request_of
from pdu_streams import (
    C_FIND,
    C_STORE,
    DATA,
    NEXT,
    NEXT_READ,
    UNLIMITED,
    chopped,
    read_by_all,
    shape,
    taken,
)
from raw_peer import COMMAND, LAST, P_DATA_TF, p_data, pdu

LONG_DATA_SET = bytes(range(251)) * 10_000


@pytest.mark.parametrize("size", [1000, 0x10000, 0x150001, 1 << 30])
def test_a_long_pdu_is_taken_as_it_comes(size):
    sent = p_data(
        *[(1, COMMAND | LAST, request_of()), (1, LAST, LONG_DATA_SET)],
        *[(1, COMMAND | LAST, request_of(8)), (1, 0, b""), (1, LAST, DATA)],
        *[(1, COMMAND | LAST, request_of(9)), (1, 0, DATA), (1, LAST, b"")],
    )
    assert len(sent) > 0x100000
    for twin in TWINS.values():
        reader = twin.module.PduReader(*UNLIMITED, twin.events)
        reader.decodes_requests = True
        found, unread = [], 0
        for chunk in chopped(sent + NEXT, size):
            reader.feed(chunk)
            while (item := reader.next()) is not None:
                found.append((shape(item), reader.request_length))
            if not found:
                unread = max(unread, reader.bytes_waiting)
        assert found == [
            (taken(7, LONG_DATA_SET), len(LONG_DATA_SET)),
            (taken(8, DATA), len(DATA)),
            (taken(9, DATA), len(DATA)),
            (NEXT_READ, len(DATA)),
        ]
        assert unread <= len(LONG_DATA_SET) + 0x10000  # the rest of a piece
        assert reader.bytes_waiting == 0


@pytest.mark.parametrize("decodes_requests", [False, True])
def test_what_the_slow_path_takes_of_a_long_pdu_comes_in_pieces(decodes_requests):
    pdvs = [(1, COMMAND | LAST, C_STORE), (1, LAST, LONG_DATA_SET), (3, COMMAND | LAST, C_FIND)]
    found = read_by_all(chopped(p_data(*pdvs), 50_000), UNLIMITED, decodes_requests)
    pieces = [split(item) for item in found]
    assert all(len(item) <= 0x10000 + 12 for item in found)
    assert all(len(piece) == 1 for piece in pieces)
    together = []
    for ((context_id, header, fragment),) in pieces:
        if together and not together[-1][1] & LAST:
            together[-1] = (context_id, header, together[-1][2] + fragment)
        else:
            together.append((context_id, header, fragment))
    assert together == pdvs


def split(item):
    """The PDVs of a PDU."""
    kind, length = struct.unpack_from(">BxI", item)
    assert (kind, length) == (P_DATA_TF, len(item) - 6)
    pdvs, at = [], 6
    while at < len(item):
        length, context_id, header = struct.unpack_from(">IBB", item, at)
        pdvs.append((context_id, header, item[at + 6 : at + 4 + length]))
        at += 4 + length
    return pdvs


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\0\1\1".ljust(0x100001, b"\0"),
        b"\xff\xff\xff\xff\1\2".ljust(0x100001, b"\0"),
        p_data((1, 2, bytes(0x100000)))[6:-1],
        p_data((1, 2, bytes(0x100000)))[6:] + bytes(5),
    ],
    ids=["too short", "too long", "too long by a byte", "too few bytes at the end"],
)
def test_a_long_pdu_that_is_malformed(body):
    found = read_by_all([pdu(P_DATA_TF, body)], UNLIMITED)
    assert found[-1][:2] == ("PduError", "a P-DATA-TF PDU that is not PDVs to its end")


@pytest.mark.parametrize("decodes_requests", [False, True])
@pytest.mark.parametrize(
    ("pdv", "together"),
    [((1, 0, b"ab"), 32), ((1, COMMAND, b"ab"), 32), ((1, COMMAND | LAST, C_FIND), 4)],
    ids=["data set", "command set", "messages"],
)
def test_a_pdu_of_many_pdvs_is_taken_apart(decodes_requests, pdv, together):
    sent = p_data(*[pdv] * 100)
    found = [split(item) for item in read_by_all([sent], decodes_requests=decodes_requests)]
    assert [pdv for pdvs in found for pdv in pdvs] == [pdv] * 100
    assert {len(pdvs) for pdvs in found[:-1]} == {together}
    malformed = pdu(P_DATA_TF, sent[6:] + b"\0")
    assert read_by_all([malformed], decodes_requests=decodes_requests)[-1][1] == (
        "a P-DATA-TF PDU that is not PDVs to its end"
    )


def test_fragments_without_a_byte():
    few = [(1, COMMAND | LAST, request_of()), *[(1, 0, b"")] * 8, (1, LAST, DATA)]
    many = [(1, COMMAND | LAST, request_of()), *[(1, 0, b"")] * 9, (1, LAST, DATA)]
    assert read_by_all([p_data(*few) * 2]) == [taken(7, DATA)] * 2
    found = read_by_all([p_data(*many)])
    assert found[0][:2] == ("CommandSetError", "more than 8 fragments without a byte")


@twins
def test_pdvs_left(twin):
    """What takes many PDVs can be left for later."""
    reader = twin.module.PduReader(*LIMITS, twin.events)
    reader.decodes_requests = True
    reader.feed(p_data((1, COMMAND | LAST, request_of()), *[(1, 0, b"ab")] * 9, (1, LAST, b"")))
    for _ in range(2):
        reader.pdvs_left = 5
        assert reader.next() is None
        assert reader.pdvs_left == 0
    reader.pdvs_left = -1
    assert shape(reader.next()) == taken(7, b"ab" * 9)
