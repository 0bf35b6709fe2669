"""nset.scp: whatever handlers, peers and threads do, nothing is left of what has ended."""

import asyncio
import gc
import importlib
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from io import BytesIO

import pytest
from acceptors import accepting, entity, is_over, n_set_pdus, port, until
from associations import MPPS, TIMEOUT
from certificates import client_context, make_certificate, server_context
from paths import SUPPORT
from pydicom import Dataset
from pynetdicom import AE, build_role, evt, sop_class
from pynetdicom.dimse_primitives import C_ECHO, C_FIND
from raw_peer import ABORT, P_DATA_TF, RELEASE_RP, RELEASE_RQ, Peer, associate_rq, pdu

ECHO = sop_class.Verification
FIND = sop_class.PatientRootQueryRetrieveInformationModelFind

RELEASE = pdu(RELEASE_RQ, bytes(4))
RELEASED = pdu(RELEASE_RP, bytes(4))


def succeed(event):
    return 0x0000, None


def exits(event):
    raise SystemExit(event.event.name)


def query():
    identifier = Dataset()
    identifier.PatientName = "*"
    identifier.QueryRetrieveLevel = "PATIENT"
    return identifier


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
        (assoc,) = server.connected
        assoc.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0x10000)
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
    certificate = make_certificate(tmp_path, "server")
    ae = entity()
    ae.network_timeout = 0.1
    options = {"ssl_context": server_context(certificate)}
    with accepting(nset, None, ae, **options) as server:
        bare = socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)
        peer = client_context(certificate).wrap_socket(bare, server_hostname="localhost")
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


def test_a_connection_has_opened_before_anything_comes(nset):
    """For each bound function, however long it takes."""
    heard = []

    def opened(event):
        time.sleep(0.05)  # time enough for the A-ASSOCIATE-RQ to be read
        heard.append("open")

    handlers = [
        (evt.EVT_CONN_OPEN, opened),
        (evt.EVT_DATA_RECV, lambda event: heard.append("data")),
    ]
    with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
        peer.release()
        assert heard == ["open", "data", "data"]


@pytest.fixture
def opening():
    """A handler of EVT_CONN_OPEN that takes a while, and what ends that."""
    has_begun, may_return = threading.Event(), threading.Event()

    def opened(event):
        has_begun.set()
        assert may_return.wait(TIMEOUT)

    yield [(evt.EVT_CONN_OPEN, opened)], has_begun, may_return
    may_return.set()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_nothing_is_read_while_a_connection_opens(nset, monkeypatch, opening, loop):
    """What the system takes for it is all that there is."""
    monkeypatch_loop(monkeypatch, loop)
    handlers, has_begun, may_return = opening
    with (
        accepting(nset, handlers) as server,
        socket.create_connection(("127.0.0.1", port(server)), TIMEOUT) as peer,
    ):
        assert has_begun.wait(TIMEOUT)
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.sendall(bytes(100_000_000))
        (assoc,) = server.connected
        assert assoc.path.bytes_received < 0x100000
        may_return.set()
        until(lambda: is_over(server))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_peer_that_goes_while_its_connection_opens(nset, monkeypatch, opening, loop):
    monkeypatch_loop(monkeypatch, loop)
    handlers, has_begun, may_return = opening
    with accepting(nset, handlers) as server:
        with socket.create_connection(("127.0.0.1", port(server)), TIMEOUT) as peer:
            assert has_begun.wait(TIMEOUT)
            peer.sendall(associate_rq(MPPS))
        time.sleep(0.1)  # time enough to take note of what is not its turn yet
        may_return.set()
        until(lambda: is_over(server))
        assert server.counts.aborted == {"connection": 1}


def monkeypatch_loop(monkeypatch, loop):
    if loop == "asyncio":
        running = importlib.import_module("nset.scp._run")
        monkeypatch.setattr(running, "new_loop", asyncio.SelectorEventLoop)
    else:
        pytest.importorskip("uvloop", reason="nset[scp] has it where it can be")


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


# -- Threads that the system does not give ---------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_a_thread_that_can_not_be_started(nset, monkeypatch, caplog, number):
    """What waits for it gets the next one; the first or, where handlers are slow, one more."""
    refused = []
    stock = threading.Thread.start
    started = []

    def start(self):
        if self.name == "nset-handler":
            started.append(self)
            if len(started) == number:
                refused.append(self)
                raise RuntimeError("can't start new thread")
        stock(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    together = threading.Barrier(3)

    def handle(event):
        together.wait(TIMEOUT)
        return 0x0000, None

    with accepting(nset, [(evt.EVT_N_SET, handle)], workers=3) as server:
        peers = [Peer(port(server), MPPS) for _ in range(3)]
        for peer in peers:
            peer.send(n_set_pdus(nset))
        for peer in peers:
            with peer:
                assert peer.receive().type == P_DATA_TF
                peer.release()
        assert len(refused) == 1
        assert len(started) == 4
        assert [r.getMessage() for r in caplog.records if r.name == "nset"] == [
            "No thread for nset-handler, which waits for one: can't start new thread"
        ]


# -- Async generators ------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [0xC000, None])
def test_an_async_generator_is_closed(nset, last):
    """Also where pynetdicom asks for no more of it, as behind a failure."""
    log = []

    async def find(event):
        try:
            yield 0xFF00, query()
            if last is not None:
                yield last, None
                yield 0xFF00, query()
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    ae = entity(FIND)
    with accepting(nset, [(evt.EVT_C_FIND, find)], ae) as server:
        assoc = ae.associate("127.0.0.1", port(server))
        statuses = [status.Status for status, _ in assoc.send_c_find(query(), FIND)]
        assert statuses == [0xFF00, last or 0x0000]
        until(lambda: log == ["closed"])
        assoc.release()


def test_an_async_generator_at_shutdown(nset):
    """No thread waits for it any more, also where it is closed behind the end of the loop."""
    has_begun, log = threading.Event(), []

    async def find(event):
        yield 0xFF00, query()
        has_begun.set()
        try:
            await asyncio.sleep(TIMEOUT * 10)
        finally:
            log.append("cancelled")

    ae = entity(FIND)
    with accepting(nset, [(evt.EVT_C_FIND, find)], ae) as server:
        assoc = ae.associate("127.0.0.1", port(server))
        thread = threading.Thread(target=lambda: list(assoc.send_c_find(query(), FIND)))
        thread.start()
        assert has_begun.wait(TIMEOUT)
        server.shutdown(timeout=0.1)
        thread.join(TIMEOUT)
    assert log == ["cancelled"]
    until(lambda: "nset-service" not in [thread.name for thread in threading.enumerate()])


# -- Handlers that are bound meanwhile -------------------------------------------------------------


def test_bound_to_the_server_while_an_association_is_made(nset, monkeypatch):
    module = importlib.import_module("nset.scp._server")
    stock = module.Association
    with accepting(nset, [(evt.EVT_N_SET, lambda event: (0x0110, None))]) as server:
        thread = threading.Thread(target=server.bind, args=(evt.EVT_N_SET, succeed), daemon=True)

        class Association(stock):
            @property
            def bindings(self):
                return super().bindings

            @bindings.setter
            def bindings(self, bindings):
                if self in server._associations and thread.ident is None:
                    thread.start()
                    thread.join(0.3)  # time enough for what is bound then to be lost
                stock.bindings.fset(self, bindings)

        monkeypatch.setattr(module, "Association", Association)
        with Peer(port(server), MPPS) as peer:
            thread.join(TIMEOUT)
            peer.send(n_set_pdus(nset))
            assert peer.receive_message()[0].Status == 0x0000


def test_bound_to_the_server_and_to_an_association_at_once(nset, monkeypatch):
    module = importlib.import_module("nset.scp._threadless")
    stock = module.rebound
    inside, may_go_on = threading.Event(), threading.Event()

    def rebound(*args, **options):
        handlers = stock(*args, **options)
        inside.set()
        may_go_on.wait(0.3)  # time enough for the other to be lost
        return handlers

    with (
        accepting(nset, [(evt.EVT_N_SET, lambda event: (0x0110, None))]) as server,
        Peer(port(server), MPPS) as peer,
    ):
        (assoc,) = server.active_associations
        monkeypatch.setattr(module, "rebound", rebound)
        binding = (evt.EVT_RELEASED, lambda event: None)
        thread = threading.Thread(target=assoc.bind, args=binding, daemon=True)
        thread.start()
        assert inside.wait(TIMEOUT)
        server.bind(evt.EVT_N_SET, succeed)
        may_go_on.set()
        thread.join(TIMEOUT)
        peer.send(n_set_pdus(nset))
        assert peer.receive_message()[0].Status == 0x0000


# -- Servers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["slow", "exits"])
def test_handlers_of_the_abort_do_not_hold_up_a_shutdown(nset, bad):
    """They run beside each other, and where one fails the other associations end all the same."""
    may_return = threading.Event()

    def aborted(event):
        if bad == "exits":
            exits(event)
        may_return.wait(TIMEOUT)

    with accepting(nset, [(evt.EVT_ABORTED, aborted)]) as server:
        peers = [Peer(port(server), MPPS) for _ in range(4)]
        start = time.monotonic()
        server.shutdown(timeout=0.5)
        assert time.monotonic() - start < 3
        for peer in peers:
            with peer:
                assert [peer.receive().type for _ in range(2)] == [RELEASE_RQ, ABORT]
        may_return.set()


def test_handlers_of_the_abort_have_run_when_the_server_is_shut_down(nset):
    stored = []

    def aborted(event):
        time.sleep(0.2)
        stored.append(event.assoc)

    with accepting(nset, [(evt.EVT_ABORTED, aborted)]) as server:
        with Peer(port(server), MPPS) as peer:
            thread = threading.Thread(target=server.shutdown, kwargs={"timeout": 0.5}, daemon=True)
            thread.start()
            assert [peer.receive().type for _ in range(2)] == [RELEASE_RQ, ABORT]
        thread.join(TIMEOUT)
        assert len(stored) == 1


def test_an_async_handler_of_another_service_is_cancelled(nset):
    has_begun, ended = threading.Event(), []

    async def handle(event):
        has_begun.set()
        try:
            await asyncio.sleep(TIMEOUT * 10)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    ae = entity(ECHO)
    with accepting(nset, [(evt.EVT_C_ECHO, handle)], ae) as server:
        assoc = ae.associate("127.0.0.1", port(server))
        threading.Thread(target=assoc.send_c_echo, daemon=True).start()
        assert has_begun.wait(TIMEOUT)
        server.shutdown(timeout=0.1)
    assert ended == ["cancelled"]
    until(lambda: "nset-service" not in [thread.name for thread in threading.enumerate()])


def test_a_tls_handshake_that_ends_while_the_server_shuts_down(nset, tmp_path):
    certificate = make_certificate(tmp_path, "server")
    options = {"ssl_context": server_context(certificate)}
    with accepting(nset, None, **options) as server:
        context = client_context(certificate)

        def connect():
            return socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)

        def associate(bare):
            peer = context.wrap_socket(bare, server_hostname="localhost")
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1000)[0] == 0x02
            return peer

        early, late = associate(connect()), connect()
        until(lambda: server.counts.connections == 2)
        thread = threading.Thread(target=server.shutdown, daemon=True)
        thread.start()
        until(lambda: server.is_releasing)
        late = associate(late)
        for peer in (early, late):
            assert peer.recv(10) == RELEASE
            peer.sendall(RELEASED)
            peer.close()
        thread.join(TIMEOUT / 2)
        assert not thread.is_alive()


@pytest.mark.parametrize("block", [True, False])
def test_a_shutdown_before_the_loop_runs(scp, monkeypatch, block):
    made, may_go_on = threading.Event(), threading.Event()
    running = importlib.import_module("nset.scp._run")
    stock = running.new_loop

    def new_loop():
        made.set()
        assert may_go_on.wait(TIMEOUT)
        return stock()

    monkeypatch.setattr(running, "new_loop", new_loop)
    ae = entity()
    threads = [
        threading.Thread(target=scp.start_server, args=(ae, ("127.0.0.1", 0), block), daemon=True)
    ]
    threads[0].start()
    assert made.wait(TIMEOUT)
    (server,) = ae._servers
    threads.append(threading.Thread(target=ae.shutdown, daemon=True))
    threads[1].start()
    until(lambda: server._is_to_stop)
    may_go_on.set()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    assert ae._servers == []


def test_a_serve_that_is_cancelled(scp):
    ae = entity()

    async def main():
        for turns in range(3):
            task = asyncio.create_task(scp.serve(ae, ("127.0.0.1", 0)))
            for _ in range(turns):
                await asyncio.sleep(0)
            (servers,) = [list(ae._servers)]
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await (await task).close()
            for _ in range(100):
                if ae._servers == []:
                    break
                await asyncio.sleep(0.01)
            assert ae._servers == []
            for server in servers:
                assert server.socket is None or server.socket.fileno() == -1

    asyncio.run(main())


@pytest.mark.skipif(os.name != "posix", reason="the loop of the script is posix's")
def test_a_shutdown_in_debug_mode(nset):
    """asyncio then refuses what is not safe to call from another thread."""
    environment = {
        **os.environ,
        "NSET_IMPLEMENTATION": nset.IMPLEMENTATION,
        "PYTHONPATH": str(SUPPORT),
    }
    script = """
import threading
import time
import nset.scp
from acceptors import entity, port
from associations import MPPS
from pynetdicom import evt
from raw_peer import RELEASE_RP, Peer, pdu

def agree():
    peer.receive()
    time.sleep(0.2)  # until a thread waits for it
    peer.send(pdu(RELEASE_RP, bytes(4)))
    peer.socket.close()

handlers = [(evt.EVT_RELEASED, lambda event: None)]
server = nset.scp.start_server(entity(), ("127.0.0.1", 0), block=False, evt_handlers=handlers)
peer = Peer(port(server), MPPS)
threading.Thread(target=agree).start()
server.shutdown()
print(server.active_associations)
"""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT * 3,
        check=True,
    )
    assert ended.stdout == "[]\n"
    assert "Error" not in ended.stderr
