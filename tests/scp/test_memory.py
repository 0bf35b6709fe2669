"""nset.scp: how much of a server its peers can take, and that it is free again afterwards."""

import asyncio
import gc
import importlib
import logging
import socket
import struct
import sysconfig
import threading
import time
import weakref
from contextlib import ExitStack, suppress
from io import BytesIO

import pytest
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import INSTANCE, MPPS, TIMEOUT
from command_sets import joined
from pynetdicom import evt
from pynetdicom.sop_class import Verification
from raw_peer import ABORT, LAST, Peer, associate_rq, p_data, pdu

MIB = 1 << 20


def n_set(nset, message_id, length, max_pdu_length=0):
    """An N-SET request with a list of so many bytes."""
    request = nset.N_SET()
    request.MessageID = message_id
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = MPPS, INSTANCE
    request.ModificationList = BytesIO(bytes(length))
    return nset.wire.encode_pdus(request, 1, max_pdu_length)


def report(message_id, length=100):
    """An N-EVENT-REPORT request."""
    command = {
        **{0x0002: MPPS.encode() + b"\0", 0x0100: 0x0100, 0x0110: message_id, 0x0800: 1},
        **{0x1000: INSTANCE.encode() + b"\0", 0x1002: 1},
    }
    return one_pdu(joined(command), bytes(length))


def pour(peer, data):
    """Send as much as the socket takes while the server does not read; return how much."""
    peer.socket.settimeout(0.5)  # the only way to see that nothing is taken
    sent = 0
    with suppress(TimeoutError):
        while sent < len(data):
            sent += peer.socket.send(data[sent : sent + 65536])
    peer.socket.settimeout(TIMEOUT)
    return sent


class Gate:
    """A plain handler that waits until it may go on."""

    def __init__(self):
        self.opened, self.sizes = threading.Event(), []

    def __call__(self, event):
        assert self.opened.wait(TIMEOUT)
        self.sizes.append(len(event.request.ModificationList.getvalue()))
        return 0x0000, None


# -- Limits ----------------------------------------------------------------------------------------


def test_requests_that_wait_are_bounded_by_their_bytes(nset):
    gate = Gate()
    scp_limits = {"association_bytes": 4 * MIB}
    with (
        accepting(nset, [(evt.EVT_N_SET, gate)], limits=limits(nset, **scp_limits)) as server,
        Peer(port(server), MPPS) as peer,
    ):
        requests = b"".join(n_set(nset, number, MIB, 16384) for number in range(30))
        sent = pour(peer, requests)
        (assoc,) = [path.assoc for path in server.connections.connected]
        # One is served, one may have begun, and what the system holds is none of the server's.
        assert server.memory.waiting <= 6 * MIB
        assert server.counts.bytes_received <= 7 * MIB
        assert assoc.memory.waiting == server.memory.waiting
        gate.opened.set()
        rest = threading.Thread(target=peer.socket.sendall, args=(requests[sent:],))
        rest.start()
        for number in range(30):
            assert peer.receive_message()[0].MessageIDBeingRespondedTo == number
        rest.join(TIMEOUT)
        assert server.memory.waiting == 0
        peer.release()
    assert gate.sizes == [MIB] * 30


def limits(nset, **values):
    return importlib.import_module("nset.scp").Limits(**values)


def test_one_message_may_be_longer_than_what_may_wait(nset):
    gate = Gate()
    gate.opened.set()
    with (
        accepting(
            nset, [(evt.EVT_N_SET, gate)], limits=limits(nset, association_bytes=MIB)
        ) as server,
        Peer(port(server), MPPS) as peer,
    ):
        peer.send(n_set(nset, 1, 3 * MIB, 16384), n_set(nset, 2, 3 * MIB, 16384))
        for number in (1, 2):
            assert peer.receive_message()[0].MessageIDBeingRespondedTo == number
        peer.release()


@pytest.mark.parametrize("kind", ["N-SET", "N-EVENT-REPORT"])
def test_messages_that_arrive_are_bounded_for_all_together(nset, kind):
    """Associations with little to ask are served all the same, and the rest once there is room."""
    gate = Gate()
    gate.opened.set()
    handlers = [(evt.EVT_N_SET, gate), (evt.EVT_N_EVENT_REPORT, lambda event: (0x0000, None))]
    ae = entity()
    bounded = limits(nset, server_bytes=4 * MIB)
    with accepting(nset, handlers, ae, limits=bounded) as server, ExitStack() as stack:
        peers = [stack.enter_context(Peer(port(server), MPPS)) for _ in range(4)]
        message = n_set(nset, 1, 3 * MIB, 16384)
        if kind != "N-SET":
            message = command_of(report(1)) + data_pdus(3 * MIB)
        sent = [pour(peer, message[:-100]) for peer in peers]
        # One may come to its end nevertheless, and what is too much is seen behind a read.
        assert server.memory.waiting <= 4 * MIB + len(message) + len(peers) * 0x40000
        assert server.counts.bytes_received < 3 * len(message)
        with Peer(port(server), MPPS) as good:
            for number in range(100):
                good.send(n_set_pdus(nset, number))
                assert good.receive_message()[0].MessageIDBeingRespondedTo == number
            good.release()
        for peer in peers[1:]:  # which the server does not read from any more
            peer.socket.close()
        peers[0].send(message[sent[0] :])
        assert peers[0].receive_message()[0].MessageIDBeingRespondedTo == 1
        peers[0].release()
        until(lambda: server.memory.waiting == 0)


def command_of(message):
    """The command set of a message in one PDU, as a PDU of its own."""
    (length,) = struct.unpack_from(">I", message, 6)
    return pdu(0x04, message[6 : 10 + length])


def data_pdus(length):
    """A data set as PDUs of 16 KiB."""
    parts = [min(16000, length - at) for at in range(0, length, 16000)]
    return b"".join(
        p_data((1, LAST if at == len(parts) - 1 else 0, bytes(part)))
        for at, part in enumerate(parts)
    )


def test_a_message_that_can_not_go_on_is_aborted(nset, caplog):
    ae = entity()
    ae.network_timeout = 1
    with accepting(nset, None, ae, limits=limits(nset, server_bytes=MIB)) as server:
        with Peer(port(server), MPPS) as slow, Peer(port(server), MPPS) as peer:
            for path in server.connections.connected:
                assoc = path.assoc
                if assoc.requestor.port == slow.socket.getsockname()[1]:
                    assoc.network_timeout = None  # it pauses until the other peer can send no more
            slow.send(n_set(nset, 1, 2 * MIB, 16384)[:-200])
            until(lambda: server.memory.waiting > MIB)  # and it may go on, as the first
            pour(peer, n_set(nset, 1, 4 * MIB, 16384))
            peer.socket.settimeout(0.1)
            answer = None
            while answer is None:
                slow.send(b"\0")
                with suppress(TimeoutError):
                    answer = peer.receive()
            assert answer.type == ABORT
        until(lambda: not server._associations)
        assert server.counts.aborted == {"memory": 1, "connection": 1}
        assert server.memory.waiting == 0
    (record,) = [one for one in caplog.records if "server_bytes" in one.getMessage()]
    assert record.levelno == logging.ERROR
    assert "Aborting the association with RAW@127.0.0.1" in record.getMessage()


def test_event_reports_are_served_in_turn_and_bounded(nset):
    """They take one worker, and count among the requests that wait."""
    began, may_end, order = threading.Semaphore(0), threading.Event(), []

    def handle(event):
        order.append(event.request.MessageID)
        began.release()
        assert may_end.wait(TIMEOUT)
        return 0x0000, None

    handlers = [(evt.EVT_N_EVENT_REPORT, handle), (evt.EVT_C_ECHO, lambda event: 0x0000)]
    ae = entity(MPPS, Verification)
    with (
        accepting(nset, handlers, ae, limits=limits(nset, pending_requests=8)) as server,
        Peer(port(server), MPPS) as peer,
    ):
        reports = b"".join(report(number, 60_000) for number in range(100))
        sent = pour(peer, reports)
        assert began.acquire(timeout=TIMEOUT)
        assert order == [0]
        assert server.counts.requests <= 12
        others = entity(Verification).associate("127.0.0.1", port(server))
        assert others.send_c_echo().Status == 0x0000
        others.release()
        may_end.set()
        rest = threading.Thread(target=peer.socket.sendall, args=(reports[sent:],))
        rest.start()
        for number in range(100):
            assert peer.receive_message()[0].MessageIDBeingRespondedTo == number
        rest.join(TIMEOUT)
        assert order == list(range(100))
        peer.release()


def test_answers_that_the_peer_does_not_take_count(nset):
    """A peer that asks and does not read is not read from, and that is counted."""
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    with (
        accepting(nset, handlers, inline=True) as server,
        Peer(port(server), MPPS) as peer,
    ):
        requests = n_set_pdus(nset) * 60_000
        (assoc,) = [path.assoc for path in server.connections.connected]
        sent = pour(peer, requests)
        while sent < len(requests) and not assoc.memory.unsent:  # a busy machine has only paused
            sent += pour(peer, requests[sent:])
        until(lambda: assoc.memory.unsent)
        assert server.memory.waiting < MIB
        reading = threading.Thread(target=peer.socket.sendall, args=(requests[sent:],))
        reading.start()
        for _ in range(60_000):
            assert peer.receive().type == 0x04
        reading.join(TIMEOUT)
        peer.release()


# -- PDUs of any length ----------------------------------------------------------------------------


@pytest.mark.parametrize("observed", [False, True])
def test_an_unlimited_pdu_is_served(nset, observed):
    gate = Gate()
    gate.opened.set()
    ae = entity()
    ae.maximum_pdu_size = 0
    handlers = [(evt.EVT_N_SET, gate), *([(evt.EVT_PDU_RECV, print)] if observed else [])]
    bounded = limits(nset, data_set_bytes=6 * MIB)
    with (
        accepting(nset, handlers, ae, limits=bounded) as server,
        Peer(port(server), MPPS) as peer,
    ):
        peer.send(n_set(nset, 1, 5 * MIB), n_set(nset, 2, 7 * MIB), n_set(nset, 3, 10))
        statuses = [peer.receive_message()[0].Status for _ in range(3)]
        assert statuses == [0x0000, 0x0213, 0x0000]
        peer.release()
    assert gate.sizes == [5 * MIB, 10]


@pytest.mark.parametrize("announced", [16382, 65536, 100_000, 1_048_576])
@pytest.mark.parametrize("more", [6, 12, 14])
def test_a_pdu_that_is_longer_than_announced(nset, announced, more, caplog):
    gate = Gate()
    gate.opened.set()
    ae = entity()
    ae.maximum_pdu_size = announced
    with (
        accepting(nset, [(evt.EVT_N_SET, gate)], ae) as server,
        Peer(port(server), MPPS) as peer,
    ):
        command, _ = n_set_pdus(nset), None
        sent = p_data((1, LAST, bytes(announced + more - 6)))
        assert len(sent) == announced + more + 6
        peer.send(command_of(command) + sent)
        if more <= 12 or announced < 65536:
            assert peer.receive_message()[0].Status == 0x0000
            peer.release()
        else:
            assert peer.receive().type == ABORT
            assert f"{announced + 12} are allowed (Limits(pdu_length=...))" in caplog.text


# -- A process that stood still --------------------------------------------------------------------


@pytest.mark.parametrize("has_begun", [False, True], ids=["A-ASSOCIATE-RQ", "N-SET"])
def test_what_came_while_the_loop_stood_still_is_served(nset, has_begun):
    """Timeouts have passed meanwhile, and what waits in the sockets comes first."""
    stands = threading.Event()

    def handle(event):
        if event.request.MessageID == 1:
            stands.set()
            time.sleep(1.2)
        return 0x0000, None

    ae = entity()
    ae.network_timeout = ae.acse_timeout = 0.5
    with (
        accepting(nset, [(evt.EVT_N_SET, handle)], ae, inline=True) as server,
        Peer(port(server), MPPS) as peer,
    ):
        if has_begun:
            other = Peer(port(server), MPPS)
        else:
            early = socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)
            until(lambda: server.counts.connections == 2)
        peer.send(n_set_pdus(nset, 1))
        assert stands.wait(TIMEOUT)
        if has_begun:
            with other:
                other.send(n_set_pdus(nset, 2))
                assert other.receive_message()[0].MessageIDBeingRespondedTo == 2
                other.release()
        else:
            with early:
                early.sendall(associate_rq(MPPS))
                assert early.recv(1) == b"\x02"


# -- Afterwards ------------------------------------------------------------------------------------


@pytest.fixture
def no_collector():
    gc.disable()
    yield
    gc.enable()


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without the GIL CPython defers what another thread lets go of, some of it for good",
)
@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
@pytest.mark.parametrize("observed", [False, True], ids=["short", "observed"])
@pytest.mark.parametrize("way", ["release", "abort", "close", "amid a message", "rejected"])
def test_memory_is_free_without_the_garbage_collector(nset, kind, observed, way):
    ended = []

    def plain(event):
        ended.append(weakref.ref(event.assoc))
        return 0x0000, None

    async def suspended(event):
        await asyncio.sleep(0)
        return plain(event)

    handlers = [(evt.EVT_N_SET, suspended if kind == "async" else plain)]
    if observed:
        handlers.append((evt.EVT_PDU_RECV, lambda event: None))
    ae = entity()
    with accepting(nset, handlers, ae, inline=kind == "inline") as server:
        ae.require_called_aet = way == "rejected"
        if way == "rejected":
            with socket.create_connection(("127.0.0.1", port(server)), TIMEOUT) as peer:
                until(lambda: server._associations)
                ended.append(weakref.ref(next(iter(server._associations)).assoc))
                peer.sendall(associate_rq(MPPS).replace(b"ANY-SCP".ljust(16), b"OTHER".ljust(16)))
                assert peer.recv(1) == b"\x03"
        else:
            with Peer(port(server), MPPS) as peer:
                peer.send(n_set_pdus(nset))
                assert peer.receive_message()[0].Status == 0x0000
                if way == "release":
                    peer.release()
                elif way == "abort":
                    peer.send(pdu(ABORT, bytes(4)))
                elif way == "amid a message":
                    peer.send(n_set_pdus(nset)[:-1])
        until(lambda: not server._associations and not server.connections.connected)
        until(lambda: ended[0]() is None, "the association is kept")


@pytest.mark.usefixtures("no_collector")
def test_who_keeps_an_association_finds_it_as_it_was(nset):
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    with accepting(nset, handlers) as server:
        with Peer(port(server), MPPS) as peer:
            (assoc,) = server.active_associations
            peer.release()
        until(lambda: not server._associations and not server.connections.connected)
        server.shutdown()
    assert assoc.is_released
    assert not assoc.is_alive()
    assert assoc.requestor.ae_title == "RAW"
    assert [context.abstract_syntax for context in assoc.accepted_contexts] == [MPPS]
    assert assoc.remote["ae_title"] == "RAW"
    assert assoc.dul.assoc.is_released
    assoc.abort()
    assoc.release()


def test_what_is_being_served_counts_where_it_is_long(nset):
    gate = Gate()
    with (
        accepting(nset, [(evt.EVT_N_SET, gate)], limits=limits(nset, server_bytes=MIB)) as server,
        Peer(port(server), MPPS) as peer,
    ):
        peer.send(n_set(nset, 1, 2 * MIB, 16384))
        until(lambda: server.memory.waiting >= 2 * MIB)
        gate.opened.set()
        assert peer.receive_message()[0].Status == 0x0000
        assert server.memory.waiting == 0
        peer.release()
