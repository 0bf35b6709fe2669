"""nset.scp: associations that end while something is going on."""

import asyncio
import gc
import importlib
import os
import socket
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from io import BytesIO

import pytest
from acceptors import accepting, entity, is_over, n_set_pdus, port, until
from associations import MPPS, TIMEOUT
from certificates import new_contexts
from ends import ECHO, FIND, RELEASE, exits, query, succeed
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_primitives import C_ECHO, C_FIND
from raw_peer import ABORT, P_DATA_TF, RELEASE_RP, Peer, associate_rq, pdu

# -- Peers that go ---------------------------------------------------------------------------------


def test_a_peer_that_goes_while_a_handler_negotiates(nset):
    """No timer goes on, and none holds what is left."""
    seen, has_gone = [], threading.Event()

    def established(event):
        seen.append(weakref.ref(event.assoc))
        assert has_gone.wait(TIMEOUT)

    with accepting(nset, [(evt.EVT_ESTABLISHED, established)]) as server:
        with Peer(port(server), MPPS):
            pass
        until(lambda: server.counts.open_connections == 0)
        has_gone.set()
        until(lambda: is_over(server))
        until(lambda: gc.collect() is not None and seen[0]() is None)


def test_a_peer_that_takes_no_answer_and_aborts(nset):
    """It keeps its socket open, and so what is left for it would stay for ever."""
    with (
        accepting(nset, [(evt.EVT_N_SET, succeed)], inline=True) as server,
        Peer(port(server), MPPS) as peer,
    ):
        (assoc,) = [path.assoc for path in server.connections.connected]
        descriptor = assoc.connection._transport.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0x10000)
        waiting = 0
        while waiting == 0:
            asked = sum(assoc.path.requests_read.values()) + 100
            peer.send(n_set_pdus(nset) * 100)
            until(lambda asked=asked: sum(assoc.path.requests_read.values()) == asked)
            time.sleep(0.01)  # time for the system to take it, if it does
            waiting = assoc.connection._transport.get_write_buffer_size()
        assert assoc.connection.is_writable
        peer.send(pdu(ABORT, bytes(4)))
        until(lambda: is_over(server))


def test_a_tls_peer_that_does_not_close(nset, tmp_path):
    server_context, context = new_contexts(tmp_path)
    ae = entity()
    ae.network_timeout = 0.1
    with accepting(nset, None, ae, ssl_context=server_context) as server:
        bare = socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)
        peer = context.wrap_socket(bare, server_hostname="localhost")
        peer.sendall(associate_rq(MPPS))
        assert peer.recv(1) == b"\2"
        until(lambda: is_over(server), seconds=4)  # asyncio's own timeout is 30
        peer.close()


# -- Programs that wait, or no more ----------------------------------------------------------------


@contextmanager
def both_ways(nset, handle, *, find=None, dimse_timeout=TIMEOUT):
    """A server whose C-ECHO handler may itself ask the peer, and an association with it."""
    ae = AE()
    ae.acse_timeout, ae.network_timeout, ae.dimse_timeout = TIMEOUT, TIMEOUT, dimse_timeout
    client = AE()
    client.acse_timeout = client.network_timeout = client.dimse_timeout = TIMEOUT
    for uid in (ECHO, FIND):
        ae.add_supported_context(uid, scu_role=True, scp_role=True)
        client.add_requested_context(uid)
    with accepting(nset, [(evt.EVT_C_ECHO, handle)], ae) as server:
        assoc = client.associate(
            *("127.0.0.1", port(server)),
            ext_neg=[build_role(uid, scu_role=True, scp_role=True) for uid in (ECHO, FIND)],
            evt_handlers=[(evt.EVT_C_FIND, find)] if find else [],
        )
        yield server, assoc
        assoc.abort()


def send_echo(assoc):
    """Send a C-ECHO-RQ and do not wait, so that the client's own thread is there for the C-FIND."""
    request = C_ECHO()
    request.MessageID = 1
    request.AffectedSOPClassUID = ECHO
    assoc.dimse.send_msg(request, next(iter(assoc.accepted_contexts)).context_id)


@pytest.mark.parametrize("way", ["dropped", "kept", "never begun"])
def test_a_program_that_does_not_take_all_the_answers(nset, way):
    kept, has_returned, has_answered, has_aborted = [], *(threading.Event() for _ in range(3))

    def find(event):
        for _ in range(3):
            yield 0xFF00, query()
        has_answered.set()
        # pynetdicom's own thread dies of what is to be sent behind an A-ABORT.
        assert has_aborted.wait(TIMEOUT)

    def handle(event):
        answers = event.assoc.send_c_find(query(), FIND)
        if way != "never begun":
            next(answers)
        if way != "dropped":
            kept.append(answers)
        has_returned.set()
        return 0x0000

    with both_ways(nset, handle, find=find) as (server, assoc):
        send_echo(assoc)
        assert has_returned.wait(TIMEOUT)
        assert has_answered.wait(TIMEOUT)
        assoc.abort()
        has_aborted.set()
        until(lambda: is_over(server))


def test_a_program_that_asks_a_peer_that_has_gone(nset):
    """Each call raises at once, even one that would wait for ever."""
    answers, has_gone = [], threading.Event()

    def handle(event):
        assert has_gone.wait(TIMEOUT)
        until(lambda: event.assoc.dul.is_over)
        for _ in range(2):
            answers.append(event.assoc.send_c_echo())
        return 0x0000

    with both_ways(nset, handle, dimse_timeout=None) as (server, assoc):
        threading.Thread(target=assoc.send_c_echo, daemon=True).start()
        until(lambda: server.counts.requests == 1)
        assoc.abort()
        has_gone.set()
        until(lambda: is_over(server))
        assert answers == [Dataset(), Dataset()]


def test_a_handler_that_releases_what_its_peer_has_asked_to_release(nset):
    def handle(event):
        until(lambda: event.assoc.dul.state == "Sta8")
        event.assoc.release()
        return 0x0000, None

    with (
        accepting(nset, [(evt.EVT_N_SET, handle)]) as server,
        Peer(port(server), MPPS) as peer,
    ):
        peer.send(n_set_pdus(nset), RELEASE)
        assert [peer.receive().type for _ in range(2)] == [P_DATA_TF, RELEASE_RP]
        assert peer.receive() is None
        peer.socket.close()
        until(lambda: is_over(server))
        assert server.counts.released == 1


def test_a_program_that_releases_what_ends_meanwhile(nset, monkeypatch):
    """It has seen that the association is established, and nothing since."""
    entered, may_go_on = threading.Event(), threading.Event()
    module = importlib.import_module("nset.scp._checkpoint")
    stock = module.Checkpoint.clear

    def clear(self):
        entered.set()
        assert may_go_on.wait(TIMEOUT)
        stock(self)

    monkeypatch.setattr(module.Checkpoint, "clear", clear)
    ae = entity()
    ae.acse_timeout = None
    with accepting(nset, [], ae) as server, Peer(port(server), MPPS) as peer:
        (assoc,) = server.active_associations
        thread = threading.Thread(target=assoc.release, daemon=True)
        thread.start()
        assert entered.wait(TIMEOUT)
        peer.send(RELEASE)
        assert peer.receive().type == RELEASE_RP
        until(lambda: assoc._kill)
        may_go_on.set()
        assert peer.receive() is None
        peer.socket.close()
        until(lambda: is_over(server))
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_all_who_join_are_told(nset, monkeypatch):
    """Also where each of them has found that he is the first."""
    made = threading.Barrier(2)
    module = importlib.import_module("nset.scp._threadless")

    class Threading:
        def __getattr__(self, name):
            return getattr(threading, name)

        def Event(self):
            event = threading.Event()
            with suppress(threading.BrokenBarrierError):  # one at a time, as it should be
                made.wait(0.3)
            return event

    with accepting(nset) as server, Peer(port(server), MPPS) as peer:
        (assoc,) = server.active_associations
        monkeypatch.setattr(module, "threading", Threading())
        threads = [threading.Thread(target=assoc.join, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: assoc._ended is not None)
        peer.release()
        for thread in threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive()


def test_who_has_joined_finds_it_counted_and_forgotten(nset, monkeypatch):
    module = importlib.import_module("nset.scp._server")
    stock = module.Server.forget

    def forget(self, assoc):
        time.sleep(0.1)
        stock(self, assoc)

    monkeypatch.setattr(module.Server, "forget", forget)
    with accepting(nset) as server:
        with Peer(port(server), MPPS) as peer:
            (assoc,) = server.active_associations
            peer.release()
        assoc.join(TIMEOUT)
        assert server.active_associations == []
        assert server.counts.released == 1


def test_an_async_handler_that_aborts_and_a_listener_that_exits(nset):
    """In the loop's thread, which goes on with the others."""

    async def handle(event):
        event.assoc.abort()

    def sent(event):
        if type(event.pdu).__name__ == "A_ABORT_RQ":
            exits(event)

    handlers = [(evt.EVT_N_SET, handle), (evt.EVT_PDU_SENT, sent)]
    with accepting(nset, handlers) as server:
        for _ in range(2):
            with Peer(port(server), MPPS) as peer:
                peer.send(n_set_pdus(nset))
                assert peer.receive().type == ABORT
            until(lambda: is_over(server))


def test_an_association_that_is_killed_while_a_handler_runs(nset):
    has_begun, may_return = threading.Event(), threading.Event()

    def handle(event):
        has_begun.set()
        assert may_return.wait(TIMEOUT)
        return 0x0000, None

    with (
        accepting(nset, [(evt.EVT_N_SET, handle)]) as server,
        Peer(port(server), MPPS) as peer,
    ):
        (assoc,) = server.active_associations
        peer.send(n_set_pdus(nset))
        assert has_begun.wait(TIMEOUT)
        assoc.kill()
        may_return.set()
        while peer.receive() is not None:
            pass
        peer.socket.close()
        until(lambda: is_over(server))


def test_a_request_right_behind_the_answer_of_a_handler_that_kills_its_association(nset):
    """Its handler returns when nothing can be sent any more."""

    async def handle(event):
        await asyncio.sleep(0)
        event.assoc.kill()
        return 0x0000, None

    with accepting(nset, [(evt.EVT_N_SET, handle)]) as server:
        for _ in range(5):
            with Peer(port(server), MPPS) as peer:
                peer.send(n_set_pdus(nset))
                assert peer.receive() is not None
                peer.send(n_set_pdus(nset))
            until(lambda: is_over(server))


@pytest.mark.parametrize("error", [KeyError, SystemExit])
def test_what_others_have_for_the_loop_is_done_all_the_same(nset, error):
    done, has_begun, may_go_on = [], threading.Event(), threading.Event()

    def fail():
        raise error("of one association")

    def wait():
        has_begun.set()
        assert may_go_on.wait(TIMEOUT)

    with accepting(nset) as server:
        server.threads.call(wait)
        assert has_begun.wait(TIMEOUT)
        server.threads.call(done.append, 1)
        server.threads.call(fail)
        server.threads.call(done.append, 2)
        may_go_on.set()
        until(lambda: done == [1, 2])


def test_a_program_that_stops_at_what_it_can_not_decode(nset):
    """pynetdicom then holds the association's lock until the program goes on."""
    has_stopped, may_go_on, joined = threading.Event(), threading.Event(), []

    def handle(event):
        answers = event.assoc.send_c_find(query(), FIND)
        assert next(answers)[1] is None
        event.assoc.join(0.01)
        joined.append(event.assoc.is_alive())
        has_stopped.set()
        assert may_go_on.wait(TIMEOUT)
        return 0x0000

    def answer_badly(request, context):
        response = C_FIND()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = FIND
        response.Status = 0xFF00
        response.Identifier = BytesIO(bytes.fromhex("2800100003000000 010203"))
        assoc.dimse.send_msg(response, context)

    with both_ways(nset, handle) as (server, assoc):
        assoc._serve_request = answer_badly
        send_echo(assoc)
        assert has_stopped.wait(TIMEOUT)
        other = entity(ECHO).associate("127.0.0.1", port(server))
        assert other.is_established
        other.release()
        assert joined == [True]
        # Nor to the answer to its C-ECHO: its requestor is to abort, and has nothing more to send.
        assoc._serve_request = lambda message, context: None
        may_go_on.set()
