"""encode_response: the PDU of a response, or None for the slow path."""

import struct

import pytest
from associations import INSTANCE, MPPS
from command_sets import command_set, element
from cores import LIMITS, TWINS, twins
from hypothesis import given
from hypothesis import strategies as st
from n_set_requests import request_of, uid
from pdu_streams import DATA, laws, uids
from raw_peer import COMMAND, LAST, p_data
from values import Contrary, Lazy, Posing


def received(twin, message_id, sop_class, instance, context_id):
    """A request as the reader gives it."""
    reader = twin.module.PduReader(*LIMITS, twin.events)
    reader.decodes_requests = True
    command = request_of(message_id, sop_class, instance)
    reader.feed(p_data((context_id, COMMAND | LAST, command), (context_id, LAST, DATA)))
    return reader.next()


@laws
@given(
    st.integers(0, 0xFFFF),
    uids,
    uids,
    st.integers(0, 127).map(lambda number: 2 * number + 1),
    st.integers(0, 0xFFFF),
    st.one_of(st.just(0), st.integers(8, 300), st.integers(0, 2**32 - 1)),
)
def test_encode_response(message_id, sop_class, instance, context_id, status, max_pdu_length):
    pdus = []
    for twin in TWINS.values():
        asked = received(twin, message_id, sop_class, instance, context_id)
        encoded = twin.module.encode_response(asked, status, max_pdu_length)
        # One PDU, however much there is room for.
        response = asked.request.response(status)
        whole = twin.nset.wire.encode_pdus(response, context_id)
        fits = max_pdu_length == 0 or len(whole) - 6 <= max_pdu_length
        assert encoded == (whole if fits else None)
        if fits:
            assert encoded == twin.nset.wire.encode_pdus(response, context_id, max_pdu_length)
        pdus.append(encoded)
    assert pdus[1:] == pdus[:-1]


@twins
@pytest.mark.parametrize(
    "status",
    [
        *(-1, 0x10000, 2**70, None, "0", 0.0, b"\0\0", Posing(0), Lazy(0), Contrary(-1)),
        Contrary(0x10000),
    ],
    ids=repr,
)
def test_encode_response_of_no_status(twin, status):
    assert twin.module.encode_response(received(twin, 7, MPPS, INSTANCE, 1), status, 0) is None


@twins
def test_encode_response_to_a_request_that_the_slow_path_has_decoded(twin):
    event, request = twin.events(), twin.nset.N_SET()
    event._hold(twin.nset.scp._services.N_SET, request, 1)
    assert event.request is request
    assert twin.module.encode_response(event, 0, 0) is None


@twins
@pytest.mark.parametrize("context_id", [1, 2, 254, 255])
def test_encode_response_in_the_first_and_the_last_context(twin, context_id):
    asked = received(twin, 7, MPPS, INSTANCE, context_id)
    encoded = twin.module.encode_response(asked, 0, 0)
    assert encoded is not None
    assert encoded[6:12] == struct.pack(">IBB", len(encoded) - 10, context_id, COMMAND | LAST)


@twins
def test_encode_response_of_just_the_length_that_the_peer_takes(twin):
    asked = received(twin, 7, MPPS, INSTANCE, 1)
    encoded = twin.module.encode_response(asked, 0, 0)
    length = len(encoded) - 6
    for limit in (length, length + 1, 2**32 - 1):
        assert twin.module.encode_response(asked, 0, limit) == encoded
    for limit in (length - 1, length - 2, length - 6, 8, 1):
        assert twin.module.encode_response(asked, 0, limit) is None


@twins
def test_encode_response_to_a_request_that_a_handler_has_changed(twin):
    """As in pynetdicom, it is the response to what has been received."""
    asked = received(twin, 7, MPPS, INSTANCE, 1)
    response = twin.module.encode_response(asked, 0x0110, 0)
    asked.request.MessageID, asked.request.RequestedSOPInstanceUID = 9, "1.2.3"
    assert twin.module.encode_response(asked, 0x0110, 0) == response


@twins
def test_encode_response_by_hand(twin):
    body = command_set(
        element(0x0002, uid(MPPS)),
        element(0x0100, 0x8120),
        element(0x0120, 7),
        element(0x0800, 0x0101),
        element(0x0900, 0x0107),
        element(0x1000, uid(INSTANCE)),
    )
    asked = received(twin, 7, MPPS, INSTANCE, 5)
    assert twin.module.encode_response(asked, 0x0107, 0) == p_data((5, COMMAND | LAST, body))
