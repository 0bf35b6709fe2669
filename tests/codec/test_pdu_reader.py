"""PduReader: laws of any stream, however it is cut, on which the implementations agree."""

import random

from cores import LIMITS, OTHER_LENGTH, TWINS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from n_set_requests import request_of
from pdu_streams import (
    C_FIND,
    Stream,
    chopped,
    chops,
    laws,
    left_as,
    others,
    read_by_all,
    requests,
    shape,
    streams,
    taken,
)
from raw_peer import COMMAND, LAST, p_data

QUERIES = [(1, COMMAND | LAST, C_FIND)] * 6
MANY = Stream([p_data(*QUERIES)], [p_data(*QUERIES[:4]), p_data(*QUERIES[4:])], left_as(QUERIES))


@laws
@given(streams(), chops)
@example(MANY, None)
def test_each_item_comes_in_its_place_however_the_stream_is_chopped(stream, chop):
    """Requests are taken out, each other PDV is left in a PDU of its own: no byte is lost."""
    data = b"".join(stream.pdus)
    assert read_by_all([data]) == stream.items
    assert read_by_all(chopped(data, chop)) == stream.items


@laws
@given(streams(), chops)
@example(MANY, None)
def test_when_not_fast_each_pdu_is_left_as_it_is(stream, chop):
    """Or in pieces, where it is more than the slow path takes in one go."""
    data = b"".join(stream.pdus)
    assert read_by_all(chopped(data, chop), decodes_requests=False) == stream.left


@laws
@given(streams(), chops)
@example(MANY, 5)
def test_input_may_come_before_what_has_come_is_taken(stream, chop):
    data = b"".join(stream.pdus)
    for twin in TWINS.values():
        reader = twin.module.PduReader(*LIMITS, twin.events)
        reader.decodes_requests = True
        for chunk in chopped(data, chop):
            reader.feed(chunk)
        assert reader.bytes_waiting == len(data)
        found = []
        while (item := reader.next()) is not None:
            found.append(shape(item))
        assert found == stream.items
        if not found or found[-1] == stream.items[-1]:
            assert reader.bytes_waiting == 0


def mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.choice((0, 1, 2, 3, 4, 0xFF, rng.randrange(256)))
        elif kind == 1:
            del data[at : at + rng.choice((1, 2, 6, 30))]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 6, 30)))
        else:
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


SMALL_LIMITS = (400, 30, 60)


@settings(laws, max_examples=300)
@given(
    st.lists(st.one_of(requests(), others()), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
    chops,
    st.booleans(),
    st.sampled_from([LIMITS, SMALL_LIMITS]),
)
def test_the_twins_agree_on_any_mix_of_pdvs(messages, rng, chop, decodes_requests, limits):
    """PDVs and bytes that are lost, doubled or exchanged: the errors are the same, too."""
    pdvs = [pdv for message in messages for pdv in message.pdvs]
    for _ in range(rng.choice((0, 0, 1, 2))):
        at, other = rng.randrange(len(pdvs)), rng.randrange(len(pdvs))
        pdvs[at] = pdvs[other]
    sent = b""
    while pdvs:
        number = rng.randrange(1, 4)
        sent += p_data(*pdvs[:number])
        pdvs = pdvs[number:]
    sent = mutated(rng, sent)
    assert read_by_all(chopped(sent, chop), limits, decodes_requests) == read_by_all(
        [sent], limits, decodes_requests
    )


@laws
@given(st.binary(max_size=300), chops, st.booleans())
def test_random_bytes(data, chop, decodes_requests):
    """`read` lets no exception pass but the two kinds that it is to raise."""
    read_by_all(chopped(data, chop), decodes_requests=decodes_requests)


def test_random_bodies():
    """Random bytes behind the headers of PDUs and PDVs get further in."""
    rng = random.Random(5)
    kinds = set()
    for _ in range(5000):
        pdvs = [
            (
                rng.choice((1, 1, 3)),
                rng.randrange(256) if rng.random() < 0.2 else rng.choice((0, 1, 2, 3)),
                rng.choice((rng.randbytes(rng.randrange(40)), request_of(), C_FIND, b"")),
            )
            for _ in range(rng.randrange(6))
        ]
        behind = rng.choice((b"", b"", bytes((9, 0, 0, 0, 0, 0))))
        found = read_by_all([p_data(*pdvs[:2]) + p_data(*pdvs[2:]) + behind], SMALL_LIMITS)
        kinds |= {item[0] if type(item) is tuple else type(item) for item in found}
    assert kinds == {bytes, dict, "PduError", "CommandSetError"}


def test_a_stream_of_a_pdu_chopped_byte_by_byte_takes_no_long_time():
    """Collecting what is incomplete costs no copy of it for each part."""
    data_set = bytes(1 << 20)
    sent = p_data((1, COMMAND | LAST, request_of()), (1, LAST, data_set))
    limits = (len(sent), OTHER_LENGTH, len(data_set))
    assert read_by_all(chopped(sent, 16), limits) == [taken(7, data_set)]
