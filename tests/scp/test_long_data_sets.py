"""nset.scp: a long data set arrives whole, and what comes amid it is what it is amid a short one.

The C extension has the transport read the rest of a long one into a buffer of the server.
"""

import select
import socket
import threading
from itertools import pairwise

import pytest
from acceptors import entity, until
from associations import MPPS, TIMEOUT
from callers import ECHO, RELEASE, Caller, echo, echo_answer, over, serving, set_answer
from certificates import client_context, server_context
from n_set_requests import cut, request
from raw_peer import ABORT, COMMAND, LAST, P_DATA_TF, p_data, pdu, reset_when_closed

MIB = 1 << 20
BEGINNING = b"".join(number.to_bytes(4, "little") for number in range(75_000))  # 300 KB
AS_USUAL = 0x4000 - 12
MORE = bytes(range(251)) * 1200
PDUS = p_data((1, 0, bytes(20))) * 0x9000  # of 32 bytes each: a piece is a multiple of it

AMID = {
    "nothing": (b"", b""),
    "two PDVs in a PDU": (b"12", p_data((1, 0, b"1"), (1, 0, b"2"))),
    "a PDU without a PDV": (b"", pdu(P_DATA_TF, b"")),
    "an empty fragment": (b"", p_data((1, 0, b""))),
    "single bytes": (MORE[:300], b"".join(p_data((1, 0, one)) for one in cut(MORE[:300], 1))),
    "a PDU longer than the buffer": (MORE, p_data((1, 0, MORE))),
    "a PDU of which pieces are taken": (MORE * 5, p_data((1, 0, MORE * 5))),
    "a PDU of which each piece begins like a PDU": (PDUS, p_data((1, 0, PDUS))),
}
ENDS = {
    "a fragment": (b"end", p_data((1, LAST, b"end"))),
    "an empty one": (b"", p_data((1, LAST, b""))),
    "a fragment behind another": (b"an end", p_data((1, 0, b"an "), (1, LAST, b"end"))),
    "a long one": (MORE, p_data((1, LAST, MORE))),
}


def fragments(data: bytes) -> bytes:
    """PDUs of what is not the end of a data set."""
    return b"".join(p_data((1, 0, fragment)) for fragment in cut(data, AS_USUAL))


def begun(beginning: bytes = BEGINNING) -> bytes:
    """A request, Message ID 7, whose data set begins with this."""
    return p_data((1, COMMAND | LAST, request())) + fragments(beginning)


@pytest.fixture(params=["TCP", "TLS"])
def contexts(request, certificates):
    """Of the server, and of its peer."""
    if request.param == "TCP":
        return None, None
    own = certificates[0]
    return server_context(own), client_context(own)


def unlimited():
    ae = entity(MPPS, ECHO)
    ae.maximum_pdu_size = 0
    return ae


@pytest.mark.usefixtures("loop")
def test_what_arrives(nset, contexts):
    """Each that is sent is served once, whole, and so is what comes behind it in the same write."""
    of_server, of_peer = contexts
    expected = []
    with (
        serving(nset, [], unlimited(), ssl_context=of_server) as (server, handler),
        Caller(server, context=of_peer).associate() as peer,
    ):
        for amid, pdus in AMID.values():
            for end, last in ENDS.values():
                peer.send(begun(), pdus, fragments(BEGINNING), last, echo(8))
                assert {peer.answer(), peer.answer()} == {set_answer(7), echo_answer(8)}
                expected.append(BEGINNING + amid + BEGINNING + end)
        peer.goes_on(nset)
    assert [data for _, data in handler.served[:-1]] == expected


@pytest.mark.usefixtures("loop")
def test_each_break_between_reads(nset):
    """The server has read all so far whenever the peer goes on, which it does after any byte."""
    pieces = cut(MORE[:200], 40)
    sent = b"".join(p_data((1, 0, piece)) for piece in pieces)
    sizes = (1, 5, 6, 11, 12, 13, 51, 52, 53, 64, 105)
    with serving(nset, []) as (server, handler), Caller(server).associate() as peer:
        (path,) = server.connections.connected
        peer.send(begun())
        until(lambda: path.progress() == (7, len(BEGINNING)))
        received = server.counts.bytes_received
        for size in sizes:
            for part in cut(sent, size):
                received += len(part)
                peer.send(part)
                until(lambda: server.counts.bytes_received == received)  # noqa: B023
        until(lambda: path.progress() == (7, len(BEGINNING) + 200 * len(sizes)))
        peer.send(p_data((1, LAST, b"end")))
        assert peer.answer() == set_answer(7)
    assert handler.served[0][1] == BEGINNING + MORE[:200] * len(sizes) + b"end"


def test_it_is_read_into_a_buffer(nset):
    """With the C extension alone; a short one is not."""
    always = nset.IMPLEMENTATION == "python"
    with serving(nset, []) as (server, _), Caller(server).associate() as peer:
        (path,) = server.connections.connected

        def protocol_is_own():
            return path.transport.get_protocol() is path

        for data_set, is_own in ((BEGINNING[:1000], True), (BEGINNING, always)):
            peer.send(begun(data_set))
            until(lambda: path.progress() == (7, len(data_set)))  # noqa: B023
            assert protocol_is_own() is is_own
            peer.send(p_data((1, LAST, b"end")))
            assert peer.answer() == set_answer(7)
            until(protocol_is_own)
        peer.goes_on(nset)


@pytest.mark.filterwarnings("ignore:Exception ignored in. .*_SSLProtocolTransport")  # of 3.10
@pytest.mark.usefixtures("loop")
def test_others_have_their_turns(nset, contexts):
    """However fast it comes, some 2 MiB of it are read in a turn of the loop."""
    of_server, of_peer = contexts
    turns: list[int] = []

    def turn():
        turns.append(server.counts.bytes_received)
        if len(handler.served) == 0:
            server.loop.call_soon(turn)

    with (
        serving(nset, [], unlimited(), ssl_context=of_server) as (server, handler),
        Caller(server, context=of_peer).associate() as peer,
    ):
        (path,) = server.connections.connected
        peer.send(begun())
        until(lambda: path.progress() == (7, len(BEGINNING)))
        may_go_on = threading.Event()
        server.loop.call_soon_threadsafe(may_go_on.wait, TIMEOUT)
        sent = fragments(bytes(16 * MIB)) + p_data((1, LAST, b"end"))
        sending = threading.Thread(target=peer.send, args=(sent,))
        sending.start()
        # Until the sockets' buffers are full.
        until(lambda: not select.select([], [peer.socket], [], 0)[1])
        server.loop.call_soon_threadsafe(turn)
        may_go_on.set()
        sending.join(TIMEOUT)
        assert peer.answer() == set_answer(7)
    assert max(after - before for before, after in pairwise(turns)) < 3 * MIB


# -- What must not be amid a data set -------------------------------------------------------------

LIMITS = {"data_set_bytes": 500_000, "pdu_length": 0x8000}
GO_ON = {
    "another context": p_data((3, 0, b"12"), (1, LAST, b"34")) + echo(8),
    "more than the limit": fragments(MORE * 2) + p_data((1, LAST, b"12")) + echo(8),
}
FAULTS = {
    **GO_ON,
    "a context that was not proposed": p_data((99, 0, b"12")),
    "too many fragments without a byte": p_data((1, 0, b"")) * 9,
    "a command": p_data((1, COMMAND | LAST, request())),
    "A-RELEASE-RQ": RELEASE,
    "A-ABORT": pdu(ABORT, bytes(4)),
    "a PDU of an unknown type": pdu(0x09, b""),
    "a P-DATA-TF PDU that is too long": p_data((1, 0, bytes(0x8000 - 5))),
    "a P-DATA-TF PDU of 4 GiB": bytes((P_DATA_TF, 0)) + b"\xff" * 4,
    "PDV-length beyond the PDU": pdu(P_DATA_TF, b"\0\0\0\xff\1\0" + MORE[:100]),
    "PDV of 1 byte": pdu(P_DATA_TF, b"\0\0\0\1\1" + MORE[:100]),
    "the end of its input": None,
    "a reset": None,
}


def outcome(nset, scp, caplog, fault, beginning):
    """What the peer gets after such a beginning of its data set; the server's log and counts."""
    caplog.clear()
    limits = scp.Limits(**LIMITS)
    with serving(nset, [], limits=limits) as (server, handler):
        with Caller(server).associate() as peer:
            (path,) = server.connections.connected
            peer.send(begun(beginning))
            until(lambda: path.progress() == (7, len(beginning)))
            received = []
            if fault == "a reset":
                reset_when_closed(peer.socket)
            elif fault == "the end of its input":
                peer.socket.shutdown(socket.SHUT_WR)
                assert peer.receive() is None
            else:
                peer.send(FAULTS[fault])
                if fault in GO_ON:
                    received = [peer.receive(), peer.receive()]
                    peer.release()
                else:
                    received = list(iter(peer.receive, None))
        counts = over(server, peer)
    told = [record.getMessage().replace(peer.address, "") for record in caplog.records]
    told = [text.replace(f"{len(beginning)} bytes", "") for text in told]
    counts = counts._replace(bytes_received=0)
    served = [data.removeprefix(beginning) for _, data in handler.served]
    return received, served, told, counts


@pytest.mark.parametrize("fault", FAULTS)
def test_what_must_not_be_amid_it(nset, scp, caplog, fault):
    outcome_of_a_short_one = outcome(nset, scp, caplog, fault, BEGINNING[:1000])
    assert outcome(nset, scp, caplog, fault, BEGINNING) == outcome_of_a_short_one
