"""nset.scp: a shutdown while clients go on sending."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed
from certificates import new_contexts
from command_sets import joined
from durations import takes
from n_set_requests import request
from pynetdicom import evt
from raw_peer import ABORT, COMMAND, LAST, P_DATA_TF, RELEASE_RP, RELEASE_RQ, Peer, p_data, pdu
from shutdowns import (
    DEADLINE,
    SLACK,
    agree_to_release,
    answered,
    bound,
    is_refused,
    shutting_down,
    succeed,
)


def test_pynetdicom_scu_under_load(nset):
    """A request and the A-RELEASE-RQ may cross: pynetdicom then hears nothing but its timeout."""
    client = entity()
    client.dimse_timeout = 1
    ended = []

    def ask(assoc):
        while assoc.is_established:
            try:
                status, _ = assoc.send_n_set(completed(), MPPS, INSTANCE)
            except RuntimeError:  # released meanwhile
                break
            ended.append(status.get("Status"))

    with accepting(nset, bound(succeed)) as server:
        assocs = [client.associate("127.0.0.1", port(server)) for _ in range(3)]
        threads = [threading.Thread(target=ask, args=(assoc,), daemon=True) for assoc in assocs]
        for thread in threads:
            thread.start()
        until(lambda: len(ended) > 10)
        with takes(0, DEADLINE + SLACK):
            server.shutdown(timeout=DEADLINE)
        for thread in threads:
            thread.join(2 * TIMEOUT)
            assert not thread.is_alive()


@contextmanager
def flooding(peer, sent):
    """Send it again and again, and take whatever comes, until the end of the block."""
    stopped = threading.Event()

    def send():
        with suppress(OSError):
            while not stopped.is_set():
                peer.send(sent)

    def take():
        with suppress(OSError):
            while peer.socket.recv(0x10000):
                pass

    threads = [threading.Thread(target=function, daemon=True) for function in (send, take)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        peer.socket.close()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.mark.parametrize("way", ["plain", "async", "inline", "observed", "TLS", "beside a flood"])
def test_clients_that_go_on_until_they_are_done(nset, tmp_path, way):
    """No request is lost, and each of them releases its association itself."""
    got, ends = {}, {}

    def ask(number, peer):
        with peer:
            got[number] = []
            for message_id in range(100):
                peer.send(n_set_pdus(nset, message_id))
                got[number].append(answered(peer))
                time.sleep(0.02)
            peer.send(pdu(RELEASE_RQ, bytes(4)))
            ends[number] = peer.receive()

    handlers, options, context = bound(succeed, way), {"inline": way == "inline"}, None
    if way == "observed":
        handlers.append((evt.EVT_PDU_RECV, lambda event: None))
    elif way == "TLS":
        options["ssl_context"], context = new_contexts(tmp_path)
    with accepting(nset, handlers, **options) as server, ExitStack() as flood:
        peers = [Peer(port(server), MPPS, context=context) for _ in range(6)]
        if way == "beside a flood":
            flood.enter_context(flooding(Peer(port(server), MPPS), n_set_pdus(nset) * 100))
        with ThreadPoolExecutor(6) as pool:
            for number, peer in enumerate(peers):
                pool.submit(ask, number, peer)
            until(lambda: len(got) == 6 and all(len(ids) > 10 for ids in got.values()))
            server.stop(timeout=2 * TIMEOUT, quiet=1)  # less than what follows, more than any pause
        flood.close()
        server.shutdown()
        assert got == {number: list(range(100)) for number in range(6)}
        assert set(ends.values()) == {(RELEASE_RP, bytes(4))}
        assert server.counts.released == 6
        assert "shutdown" not in server.counts.aborted


def test_a_client_that_was_quiet_for_a_second_is_asked(nset):
    with (
        accepting(nset, bound(succeed)) as server,
        Peer(port(server), MPPS) as peer,
        shutting_down(server),
    ):
        for number in range(3):
            time.sleep(0.6)
            peer.send(n_set_pdus(nset, number))
            assert answered(peer) == number
        with takes(0.8, 1 + SLACK):
            agree_to_release(peer)


def test_longer_times_than_usual(nset):
    with (
        accepting(nset, bound(succeed)) as server,
        Peer(port(server), MPPS) as peer,
        shutting_down(server, timeout=60, quiet=2),
    ):
        until(lambda: is_refused(server.server_address))
        assert server.deadline - time.monotonic() > 30
        with takes(1.5, 2 + SLACK):
            agree_to_release(peer)


def test_quiet_is_counted_from_the_answer(nset):
    def handle(event):
        time.sleep(0.6)
        return 0x0000, None

    with accepting(nset, bound(handle)) as server, Peer(port(server), MPPS) as peer:
        peer.send(n_set_pdus(nset, 7))
        with shutting_down(server, quiet=0.3):
            assert answered(peer) == 7
            with takes(0.2, 0.3 + SLACK):
                agree_to_release(peer)


@pytest.mark.parametrize("amid", ["data set", "PDU", "observed"])
def test_a_client_amid_a_message_is_not_quiet(nset, amid):
    """What it still sends is answered, however long it takes."""
    handlers = bound(succeed)
    if amid == "observed":
        handlers.append((evt.EVT_DIMSE_RECV, lambda event: None))
    with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
        sent = n_set_pdus(nset, 7)
        at = 10 if amid == "PDU" else 6 + int.from_bytes(sent[2:6], "big")  # the command set
        peer.send(sent[:at])
        with shutting_down(server, quiet=0.1):
            peer.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                peer.receive()
            peer.socket.settimeout(TIMEOUT)
            peer.send(sent[at:])
            assert answered(peer) == 7
            agree_to_release(peer)


def test_the_log_says_how_many_requests_were_cut_off(nset, caplog):
    end = threading.Event()

    def handle(event):
        end.wait(TIMEOUT)
        return 0x0000, None

    with accepting(nset, bound(handle)) as server:
        with Peer(port(server), MPPS) as peer, Peer(port(server), MPPS) as other:
            idle = Peer(port(server), MPPS)
            peer.send(*(n_set_pdus(nset, number) for number in range(5)))
            other.send(n_set_pdus(nset)[:-1])
            idle.send(n_set_pdus(nset)[:3])
            until(lambda: server.counts.requests == 5)
            try:
                server.shutdown(timeout=DEADLINE)
            finally:
                end.set()
            for one in (peer, other, idle):
                assert one.receive().type == ABORT
            idle.socket.close()
        assert server.counts.aborted == {"shutdown": 3}
    assert [line for line in caplog.messages if "cuts off" in line] == [
        "Aborting 3 associations at shutdown, which cuts off 7 requests"
    ]


EVENT_REPORT = {
    0x0002: MPPS.encode() + bytes(len(MPPS) % 2),
    0x0100: 0x0100,
    0x0110: 7,
    0x0800: 0x0101,
    0x1000: b"1.2.3.4\0",
    0x1002: 1,
}
FLOODS = {
    "N-SETs": lambda nset: n_set_pdus(nset) * 100,
    "N-SETs in fragments": lambda nset: n_set_pdus(nset, 7, 64) * 100,
    "long N-SETs": lambda nset: (
        p_data((1, COMMAND | LAST, request()))
        + p_data((1, 0, bytes(16000))) * 500
        + p_data((1, LAST, bytes(2)))
    ),
    "small PDVs": lambda nset: pdu(P_DATA_TF, bytes((0, 0, 0, 2, 1, 1)) * 10000),
    "N-EVENT-REPORTs": lambda nset: one_pdu(joined(EVENT_REPORT)) * 300,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("observed", [False, True])
def test_nothing_is_read_from_the_deadline_on(nset, flood, observed):
    handlers = bound(succeed)
    if observed:
        handlers.append((evt.EVT_PDU_RECV, lambda event: None))
    with accepting(nset, handlers) as server, ExitStack() as floods:
        for _ in range(2):
            floods.enter_context(flooding(Peer(port(server), MPPS), flood(nset)))
        until(lambda: all(one.bytes_received > 30_000 for one in server.connections.connected))
        with takes(0, DEADLINE + 2 * SLACK):
            server.shutdown(timeout=DEADLINE)
