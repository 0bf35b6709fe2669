"""nset.scp: SIGTERM and Ctrl-C end a server in good order."""

import importlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest
from acceptors import n_set_pdus, n_set_request, until
from associations import INSTANCE, MPPS, TIMEOUT
from durations import takes
from paths import SUPPORT
from raw_peer import P_DATA_TF, Peer
from shutdowns import KINDS, RELEASE, RELEASED, SLACK, is_refused

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
            with takes(0, importlib.import_module("nset.scp").SHUTDOWN_TIMEOUT, process.pid):
                assert process.wait(TIMEOUT + SLACK) == 0
            for client in clients:
                client.join(TIMEOUT)
                assert not client.is_alive()
        with closing(sqlite3.connect(path)) as database:
            stored = {client.instance: [] for client in clients}
            for instance, message_id in database.execute("SELECT * FROM requests ORDER BY rowid"):
                stored[instance].append(message_id)
        return clients, stored

    @pytest.mark.parametrize(
        ("window", "more"),
        [
            *((1, 0), (16, 100)),
            *(pytest.param(*both, marks=pytest.mark.exhaustive) for both in ((1, 100), (16, 0))),
        ],
    )
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
        with takes(0, SLACK, process.pid):
            assert process.wait(TIMEOUT) == 0


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
            with takes(0, SLACK, process.pid):
                assert process.stdout.readline() == "ended\n"
            assert process.wait(TIMEOUT) == 0

    def test_twice_ends_it_at_once(self, nset, system):
        with in_foreground(nset, system) as (process, server_port), Peer(server_port, MPPS) as peer:
            peer.send(n_set_pdus(nset))
            assert process.stdout.readline() == "asked\n"
            process.send_signal(signal.SIGINT)
            until(lambda: is_refused(("127.0.0.1", server_port)))
            process.send_signal(signal.SIGINT)
            with takes(0, SLACK, process.pid):
                process.wait(TIMEOUT)
