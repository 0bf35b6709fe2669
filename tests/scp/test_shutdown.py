"""nset.scp: a server that is shut down answers what it was asked, and lets everybody know."""

import asyncio
import gc
import importlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress

import pytest
from acceptors import accepting, entity, n_set_pdus, n_set_request, one_pdu, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed
from command_sets import joined
from paths import SUPPORT
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import Verification
from raw_peer import ABORT, P_DATA_TF, RELEASE_RP, RELEASE_RQ, Peer, pdu

RELEASE = (RELEASE_RQ, bytes(4))
RELEASED = pdu(RELEASE_RP, bytes(4))
KINDS = ("async", "plain")

DEADLINE = 0.5
SLACK = 1.5  # seconds beyond a deadline, for a slow machine


def bound(function, kind="plain"):
    """A handler of EVT_N_SET, plain or as a coroutine function that does the same in a thread."""

    async def in_thread(event):
        return await asyncio.to_thread(function, event)

    return [(evt.EVT_N_SET, in_thread if kind == "async" else function)]


def flood(peer, data):
    """Send until the other side takes no more."""
    with suppress(TimeoutError):
        for _ in range(1000):
            peer.send(data)
        pytest.fail("the server takes all, and its answers are not read")


def succeed(event):
    return 0x0000, None


@contextmanager
def shutting_down(server, **options):
    """Have another thread shut the server down; afterwards it has."""
    thread = threading.Thread(target=server.shutdown, kwargs=options, daemon=True)
    thread.start()
    yield thread
    thread.join(TIMEOUT)
    assert not thread.is_alive()


@contextmanager
def takes(at_least, at_most):
    start = time.monotonic()
    yield
    assert at_least <= time.monotonic() - start <= at_most


def agree_to_release(peer):
    """See that the server releases the association, and then closes the connection."""
    assert peer.receive() == RELEASE
    peer.send(RELEASED)
    assert peer.receive() is None


def answered(peer):
    """The Message ID of the next response, a success."""
    command_set, _ = peer.receive_message()
    assert command_set.Status == 0x0000
    return command_set.MessageIDBeingRespondedTo


class TestIdleAssociations:
    def test_are_released(self, nset):
        with accepting(nset) as server:
            peers = [Peer(port(server), MPPS) for _ in range(3)]
            with takes(0, SLACK), shutting_down(server):
                for peer in peers:
                    with peer:
                        agree_to_release(peer)
            assert server.counts.released == 3
            assert server.counts.aborted == {}

    def test_of_pynetdicom_are_released(self, nset):
        ae = entity()
        with accepting(nset, ae=ae) as server:
            assoc = ae.associate("127.0.0.1", port(server))
            assert assoc.is_established
            with takes(0, SLACK):
                server.shutdown()
            assoc.join(TIMEOUT)
            assert assoc.is_released
            assert not assoc.is_aborted

    def test_that_have_asked_before_are_released(self, nset):
        with accepting(nset, bound(succeed)) as server, Peer(port(server), MPPS) as peer:
            peer.send(n_set_pdus(nset, 7))
            assert answered(peer) == 7
            with shutting_down(server):
                agree_to_release(peer)

    def test_in_a_loop_of_ones_own(self, scp):

        async def serve():
            server = await scp.serve(entity(), ("127.0.0.1", 0))
            async with server:
                peer = await asyncio.to_thread(Peer, port(server), MPPS)
                agreed = asyncio.create_task(asyncio.to_thread(agree_to_release, peer))
            await agreed
            peer.socket.close()
            assert server.active_associations == []
            await server.close()

        asyncio.run(asyncio.wait_for(serve(), TIMEOUT))


class TestDeadline:
    def test_peer_that_does_not_answer_is_aborted(self, nset):
        with accepting(nset) as server, Peer(port(server), MPPS) as peer:
            with takes(DEADLINE, DEADLINE + SLACK):
                server.shutdown(timeout=DEADLINE, quiet=0.1)
            assert peer.receive() == RELEASE
            aborted = peer.receive()
            assert aborted.type == ABORT
            assert peer.receive() is None
            assert server.counts.aborted == {"shutdown": 1}

    def test_none_at_all(self, nset):
        with accepting(nset) as server, Peer(port(server), MPPS) as peer:
            with takes(0, SLACK):
                server.shutdown(timeout=0)
            received = []
            while (item := peer.receive()) is not None:
                received.append(item.type)
            assert received[-1] == ABORT

    def test_connection_without_an_association(self, nset):
        with accepting(nset) as server:
            address = ("127.0.0.1", port(server))
            with socket.create_connection(address, TIMEOUT) as silent:
                until(lambda: server.counts.open_connections == 1)
                with takes(0, DEADLINE + SLACK):
                    server.shutdown(timeout=DEADLINE)
                assert silent.recv(1) == b""

    def test_peer_that_does_not_read(self, nset):
        with accepting(nset, bound(succeed)) as server:
            peer = Peer(port(server), MPPS)
            peer.socket.settimeout(0.2)
            with peer:
                flood(peer, n_set_pdus(nset) * 500)
                with takes(0, DEADLINE + SLACK):
                    server.shutdown(timeout=DEADLINE)

    def test_plain_handler_that_never_ends(self, nset):
        called, end = threading.Event(), threading.Event()

        def handle(event):
            called.set()
            end.wait(TIMEOUT)
            return 0x0000, None

        with accepting(nset, bound(handle)) as server, Peer(port(server), MPPS) as peer:
            peer.send(n_set_pdus(nset))
            assert called.wait(TIMEOUT)
            try:
                with takes(DEADLINE, DEADLINE + SLACK):
                    server.shutdown(timeout=DEADLINE)
                assert peer.receive().type == ABORT
                assert peer.receive() is None
            finally:
                end.set()

    def test_async_handler_that_never_ends(self, nset, caplog):
        called = threading.Event()

        async def handle(event):
            called.set()
            await asyncio.Event().wait()

        handlers = [(evt.EVT_N_SET, handle)]
        with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
            peer.send(n_set_pdus(nset))
            assert called.wait(TIMEOUT)
            with takes(DEADLINE, DEADLINE + SLACK):
                server.shutdown(timeout=DEADLINE)
            assert peer.receive().type == ABORT
            assert peer.receive() is None
        del handle
        gc.collect()
        assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


class TestInFlight:
    @pytest.mark.parametrize("kind", KINDS)
    def test_requests_are_answered(self, nset, kind):
        def handle(event):
            time.sleep(0.005)
            return 0x0000, None

        ids = list(range(1, 51))
        with accepting(nset, bound(handle, kind)) as server, Peer(port(server), MPPS) as peer:
            peer.send(*(n_set_pdus(nset, message_id) for message_id in ids))
            got = [answered(peer)]
            with shutting_down(server):
                got += [answered(peer) for _ in ids[1:]]
                agree_to_release(peer)
            assert got == ids

    def test_answer_comes_before_the_release(self, nset):
        called, end = threading.Event(), threading.Event()

        def handle(event):
            called.set()
            end.wait(TIMEOUT)
            return 0x0000, None

        with accepting(nset, bound(handle)) as server, Peer(port(server), MPPS) as peer:
            peer.send(n_set_pdus(nset, 7))
            assert called.wait(TIMEOUT)
            with shutting_down(server):
                time.sleep(0.2)
                end.set()
                assert answered(peer) == 7
                agree_to_release(peer)

    def test_new_connections_are_refused(self, nset):
        called, end = threading.Event(), threading.Event()

        def handle(event):
            called.set()
            end.wait(TIMEOUT)
            return 0x0000, None

        with accepting(nset, bound(handle)) as server, Peer(port(server), MPPS) as peer:
            address = ("127.0.0.1", port(server))
            peer.send(n_set_pdus(nset, 7))
            assert called.wait(TIMEOUT)
            with shutting_down(server):
                until(lambda: is_refused(address))
                time.sleep(0.2)
                assert is_refused(address)
                end.set()
                assert answered(peer) == 7
                agree_to_release(peer)


def is_refused(address):
    try:
        socket.create_connection(address, TIMEOUT).close()
    except ConnectionError:
        return True
    return False


class TestCalls:
    @pytest.mark.parametrize("kind", ["async", "inline", "plain"])
    def test_from_a_handler(self, nset, kind):
        times = []

        def handle(event):
            start = time.monotonic()
            server.shutdown()
            times.append(time.monotonic() - start)
            return 0x0000, None

        async def handle_in_loop(event):
            return handle(event)

        handlers = [(evt.EVT_N_SET, handle_in_loop if kind == "async" else handle)]
        with (
            accepting(nset, handlers, inline=kind == "inline") as server,
            Peer(port(server), MPPS) as peer,
        ):
            peer.send(n_set_pdus(nset, 7))
            assert answered(peer) == 7
            agree_to_release(peer)
            server.thread.join(TIMEOUT)
            assert not server.thread.is_alive()
            assert times[0] < 0.05

    def test_twice(self, nset):
        with accepting(nset) as server, Peer(port(server), MPPS) as peer:
            with shutting_down(server):
                agree_to_release(peer)
            with takes(0, 0.5):
                server.shutdown()
                server.shutdown(timeout=0)
                server.stop()

    def test_by_many_at_once(self, nset):
        with accepting(nset) as server, Peer(port(server), MPPS) as peer:
            with ThreadPoolExecutor(4) as pool:
                ended = [pool.submit(server.shutdown) for _ in range(4)]
                agree_to_release(peer)
                for future in ended:
                    future.result(TIMEOUT)
            assert server.counts.released == 1

    def test_by_the_ae(self, nset):
        ae = entity()
        with accepting(nset, ae=ae) as server, Peer(port(server), MPPS) as peer:
            thread = threading.Thread(target=ae.shutdown, daemon=True)
            thread.start()
            ended = []
            while (item := peer.receive()) is not None:
                ended.append(item.type)
                if item == RELEASE:
                    peer.send(RELEASED)
            assert ended in ([RELEASE_RQ], [ABORT])
            thread.join(TIMEOUT)
            assert not thread.is_alive()
            assert ae._servers == []


# -- SIGTERM ---------------------------------------------------------------------------------------


@contextmanager
def storing(nset, kind, path):
    """Run a server that stores what it is asked; give its process and its port."""
    command = [
        sys.executable,
        str(SUPPORT / "storing_acceptor.py"),
        kind,
        str(path),
    ]
    environment = {**os.environ, "NSET_IMPLEMENTATION": nset.IMPLEMENTATION}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


class Client(threading.Thread):
    """Keeps a number of requests outstanding until it is stopped, or released."""

    def __init__(self, nset, number, server_port, window):
        super().__init__(daemon=True)
        self.instance = f"{INSTANCE}.{number}"
        self.sent, self.answered = [], []
        self.end = "nothing"
        self.is_stopped = False
        self._nset = nset
        self._window = window
        self._peer = Peer(server_port, MPPS)

    def run(self):
        with self._peer as peer:
            try:
                while self._step(peer):
                    pass
            except OSError as exc:
                self.end = repr(exc)

    def _step(self, peer):
        while not self.is_stopped and len(self.sent) - len(self.answered) < self._window:
            request = n_set_request(self._nset, len(self.sent) + 1)
            request.RequestedSOPInstanceUID = self.instance
            self.sent.append(request.MessageID)
            peer.send(self._nset.wire.encode_pdus(request, 1))
        item = peer.receive()
        if item is None:
            self.end = "closed"
        elif item == RELEASE:
            peer.send(RELEASED)
            self.end = "released" if peer.receive() is None else "not closed"
        elif item.type == P_DATA_TF:
            response = self._nset.N_SET.from_command_set(item.body[6:], strict=True)
            assert response.Status == 0x0000
            assert response.AffectedSOPInstanceUID == self.instance
            self.answered.append(response.MessageIDBeingRespondedTo)
            return True
        else:
            self.end = "aborted"
        return False


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGTERM to wait for")
@pytest.mark.parametrize("kind", KINDS)
class TestSignal:
    def run(self, nset, kind, path, window, *, more):
        """Ask and ask, with a SIGTERM in the middle; give the clients and what was stored."""
        with storing(nset, kind, path) as (process, server_port):
            clients = [Client(nset, number, server_port, window) for number in range(6)]
            for client in clients:
                client.start()
            until(lambda: all(len(client.answered) >= 30 for client in clients))
            process.send_signal(signal.SIGTERM)
            asked = [len(client.answered) + more for client in clients]
            for client, number in zip(clients, asked, strict=True):
                until(lambda client=client, number=number: len(client.answered) >= number)
            for client in clients:
                client.is_stopped = True
            with takes(0, importlib.import_module("nset.scp").SHUTDOWN_TIMEOUT):
                assert process.wait(TIMEOUT + SLACK) == 0
            for client in clients:
                client.join(TIMEOUT)
                assert not client.is_alive()
        with closing(sqlite3.connect(path)) as database:
            stored = {client.instance: [] for client in clients}
            for instance, message_id in database.execute("SELECT * FROM requests ORDER BY rowid"):
                stored[instance].append(message_id)
        return clients, stored

    @pytest.mark.parametrize("window", [1, 16])
    @pytest.mark.parametrize("more", [0, 100])
    def test_all_that_was_sent_is_answered(self, nset, kind, window, more, tmp_path):
        """By clients that go on for a while, and then wait to be asked for the release."""
        clients, stored = self.run(nset, kind, tmp_path / "requests", window, more=more)
        for client in clients:
            assert client.answered == client.sent == stored[client.instance]
            assert client.end == "released"


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGTERM to wait for")
def test_signal_without_associations(nset, tmp_path):
    with storing(nset, "plain", tmp_path / "requests") as (process, server_port):
        with Peer(server_port, MPPS) as peer:
            peer.release()  # then the server is at work, and hears signals
        process.send_signal(signal.SIGTERM)
        with takes(0, SLACK):
            assert process.wait(TIMEOUT) == 0


# -- Coroutines that exit --------------------------------------------------------------------------


def exits_after_waiting(error, code=None):
    async def handler(event):
        await asyncio.sleep(0)
        raise error(code)

    return [(evt.EVT_N_SET, handler), (evt.EVT_C_ECHO, handler)]


def test_a_coroutine_that_exits_breaks_off_no_thread(nset):
    ae = entity(MPPS, Verification)
    with accepting(nset, exits_after_waiting(SystemExit), ae) as server:
        for number in (1, 2):
            assoc = ae.associate("127.0.0.1", port(server))
            assert assoc.send_n_set(completed(), MPPS, INSTANCE)[0].Status == 0x0110
            assert assoc.send_c_echo() == Dataset()
            until(lambda: server.active_associations == [])
            assert server.counts.aborted == {"error": number}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_the_main_thread_ends_in_good_order(nset, scp, error):
    """As by Ctrl-C where a loop has no signal handlers: on Windows."""
    ae = entity()
    ended = []

    def ask():
        until(lambda: ae._servers and ae._servers[0].counts is not None)
        server_port = port(ae._servers[0])
        with Peer(server_port, MPPS) as idle, Peer(server_port, MPPS) as peer:
            peer.send(n_set_pdus(nset))
            ended.append(nset.N_SET.from_command_set(peer.receive().body[6:]).Status)
            for one in (idle, peer):
                ended.append(one.receive())
                one.send(RELEASED)
                ended.append(one.receive())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    expected = pytest.raises(SystemExit, match="3") if error is SystemExit else nullcontext()
    with expected:
        handlers = exits_after_waiting(error, 3)
        assert scp.start_server(ae, ("127.0.0.1", 0), evt_handlers=handlers) is None
    thread.join(TIMEOUT)
    assert ended == [0x0110, RELEASE, None, RELEASE, None]
    assert ae._servers == []


@pytest.mark.parametrize("begun", [True, False])
def test_the_main_thread_does_so_whatever_exits_meanwhile(nset, scp, begun):
    """Two coroutines exit, one behind the other; a third handler still answers its peer."""
    ae = entity()
    turns, ended = {number: asyncio.Event() for number in (1, 2, 3)}, []

    async def handle(event):
        number = event.message_id
        await turns[number].wait()
        if number < 3:
            raise SystemExit(number)
        return 0x0000, None

    def ask():
        until(lambda: ae._servers and ae._servers[0].loop is not None)
        (server,) = ae._servers
        peers = [Peer(port(server), MPPS) for _ in turns]
        for number, peer in enumerate(peers, 1):
            peer.send(n_set_pdus(nset, number))
        until(lambda: server.counts.n_set_requests == 3)
        if begun:
            server.stop()
            until(lambda: server.is_releasing)
        for number, peer in enumerate(peers, 1):
            server.loop.call_soon_threadsafe(turns[number].set)
            with peer:
                ended.append(peer.receive_message()[0].Status)
                agree_to_release(peer)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    with pytest.raises(SystemExit, match="1"):
        scp.start_server(ae, ("127.0.0.1", 0), evt_handlers=[(evt.EVT_N_SET, handle)])
    thread.join(TIMEOUT)
    assert ended == [0x0110, 0x0110, 0x0000]
    assert ae._servers == []


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


# -- Clients that go on ----------------------------------------------------------------------------


def test_clients_that_go_on_until_they_are_done(nset):
    """No request is lost, and each of them releases its association itself."""
    got, ends = {}, {}

    def ask(number, peer):
        with peer:
            got[number] = []
            for message_id in range(200):
                peer.send(n_set_pdus(nset, message_id))
                got[number].append(answered(peer))
                time.sleep(0.003)
            peer.send(pdu(RELEASE_RQ, bytes(4)))
            ends[number] = peer.receive()

    with accepting(nset, bound(succeed)) as server:
        peers = [Peer(port(server), MPPS) for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            for number, peer in enumerate(peers):
                pool.submit(ask, number, peer)
            until(lambda: len(got) == 6 and all(len(ids) > 10 for ids in got.values()))
            server.shutdown(quiet=0.2)
        assert got == {number: list(range(200)) for number in range(6)}
        assert set(ends.values()) == {(RELEASE_RP, bytes(4))}
        assert (server.counts.released, server.counts.aborted) == (6, {})


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
    "small PDVs": lambda nset: pdu(P_DATA_TF, bytes((0, 0, 0, 2, 1, 1)) * 10000),
    "N-EVENT-REPORTs": lambda nset: one_pdu(joined(EVENT_REPORT)) * 300,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("observed", [False, True])
def test_nothing_is_read_from_the_deadline_on(nset, flood, observed):
    handlers = bound(succeed)
    if observed:
        handlers.append((evt.EVT_PDU_RECV, lambda event: None))
    stopped = threading.Event()

    def send(peer):
        with suppress(OSError):
            while not stopped.is_set():
                peer.send(flood(nset))

    def take(peer):
        with suppress(OSError):
            while peer.socket.recv(0x10000):
                pass

    with accepting(nset, handlers) as server:
        peers = [Peer(port(server), MPPS) for _ in range(2)]
        threads = [
            threading.Thread(target=function, args=(peer,), daemon=True)
            for peer in peers
            for function in (send, take)
        ]
        for thread in threads:
            thread.start()
        until(lambda: all(one.path.bytes_received > 30_000 for one in server.connected))
        with takes(0, DEADLINE + 2 * SLACK):
            server.shutdown(timeout=DEADLINE)
        stopped.set()
        for peer in peers:
            peer.socket.close()
        for thread in threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive()


# -- Ctrl-C ----------------------------------------------------------------------------------------

SCRIPT = """
import asyncio, selectors, signal, sys, threading, time
import nset.scp
from acceptors import entity
from associations import MPPS
from pynetdicom import evt

class Deaf(selectors.DefaultSelector):
    '''Waits as select() does on Windows: no signal breaks in.'''
    def select(self, timeout=None):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().select(timeout)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

class Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        super().__init__(Deaf())
    def add_signal_handler(self, *args):
        raise NotImplementedError
    def add_reader(self, *args):
        raise NotImplementedError

def handle(event):
    print("asked", flush=True)
    time.sleep(100)

if sys.argv[1] == "windows":
    nset.scp._run.new_loop = Loop
ae = entity()
def tell():
    while not ae._servers or ae._servers[0].loop is None:
        time.sleep(0.01)
    print(ae._servers[0].server_address[1], flush=True)
threading.Thread(target=tell).start()
nset.scp.start_server(ae, ("127.0.0.1", 0), evt_handlers=[(evt.EVT_N_SET, handle)])
print("ended", flush=True)
"""


@contextmanager
def in_foreground(nset, system):
    """A server in the main thread of a process of its own, and its port."""
    environment = {
        **os.environ,
        "NSET_IMPLEMENTATION": nset.IMPLEMENTATION,
        "PYTHONPATH": str(SUPPORT),
    }
    command = [sys.executable, "-c", SCRIPT, system]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.skipif(os.name != "posix", reason="Windows is simulated")
@pytest.mark.parametrize("system", ["posix", "windows"])
class TestInterrupt:
    def test_ends_an_idle_server(self, nset, system):
        with in_foreground(nset, system) as (process, server_port):
            with Peer(server_port, MPPS) as peer:
                peer.release()
            process.send_signal(signal.SIGINT)
            with takes(0, SLACK):
                assert process.stdout.readline() == "ended\n"
            assert process.wait(TIMEOUT) == 0

    def test_twice_ends_it_at_once(self, nset, system):
        with in_foreground(nset, system) as (process, server_port), Peer(server_port, MPPS) as peer:
            peer.send(n_set_pdus(nset))
            assert process.stdout.readline() == "asked\n"
            process.send_signal(signal.SIGINT)
            until(lambda: is_refused(("127.0.0.1", server_port)))
            process.send_signal(signal.SIGINT)
            with takes(0, SLACK):
                process.wait(TIMEOUT)
