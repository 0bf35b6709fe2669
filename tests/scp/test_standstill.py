"""nset.scp: a process that stood still for longer than its timeouts first reads and sends."""

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from acceptors import n_set_pdus, one_pdu, until
from associations import MPPS, TIMEOUT
from command_sets import joined
from paths import SUPPORT
from raw_peer import RELEASE_RP, RELEASE_RQ, Peer, pdu

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops a process")

SECONDS = 1.0
"""The timeouts of the server."""

LENGTH = 100_000
"""The bytes of an element of its answers."""

SERVER = f"""
import asyncio, sys
import nset.scp
from acceptors import entity, port
from associations import INSTANCE, MPPS
from pydicom import Dataset
from pynetdicom import evt

if sys.argv[1] == "asyncio":
    nset.scp._run.new_loop = asyncio.SelectorEventLoop

ASKS, IS_RELEASED, IS_OBSERVED = 1, 2, 4
LONG = Dataset()
LONG.TextValue = {LENGTH} * "x"

def answer(event):
    if event.message_id == ASKS:
        status, _ = event.assoc.send_n_event_report(event.attribute_list, 1, MPPS, INSTANCE)
        return status.get("Status", 0x0110), None
    if event.message_id == IS_RELEASED:
        event.assoc.network_timeout_response = "A-RELEASE"
    if event.message_id == IS_OBSERVED:
        event.assoc.bind(evt.EVT_DATA_SENT, lambda event: None)
    if event.message_id <= IS_OBSERVED:
        event.assoc.network_timeout = {SECONDS}
        return 0x0000, None
    return 0x0000, LONG

ae = entity()
ae.acse_timeout = ae.dimse_timeout = {SECONDS}
server = nset.scp.start_server(
    ae, ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_SET, answer)]
)
print(port(server), flush=True)
for _ in sys.stdin:
    print(server.counts.released, sum(server.counts.aborted.values()), flush=True)
server.shutdown(timeout=0)
"""

ASKS, IS_RELEASED, IS_SLOW, IS_OBSERVED = 1, 2, 3, 4


class Server:
    """A server in a process of its own."""

    def __init__(self, nset, loop):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, loop],
            env={
                **os.environ,
                "NSET_IMPLEMENTATION": nset.IMPLEMENTATION,
                "PYTHONPATH": str(SUPPORT),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.process.stdout.readline())

    def counts(self):
        """How many associations were released, and aborted."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    @contextmanager
    def stopped(self):
        """Stop it; afterwards it goes on when its timeouts have passed."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
            time.sleep(SECONDS * 1.2)
        finally:
            self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def server(nset, loop):
    """The server."""
    running = Server(nset, loop)
    yield running
    running.process.stdin.close()
    running.process.stdout.close()
    assert running.process.wait(TIMEOUT) == 0


def test_answers_that_have_come_are_taken(nset, server):
    """To a request of a handler's, and to an A-RELEASE-RQ."""
    with Peer(server.port, MPPS) as peer:
        peer.send(n_set_pdus(nset, ASKS))
        report, _ = peer.receive_message()
        with server.stopped():
            fields = {0x0002: MPPS.encode() + b"\0", 0x0100: 0x8100, 0x0120: report.MessageID}
            peer.send(one_pdu(joined({**fields, 0x0800: 0x0101, 0x0900: 0x0000})))
        assert peer.receive_message()[0].Status == 0x0000
        peer.release()
    with Peer(server.port, MPPS) as peer:
        peer.send(n_set_pdus(nset, IS_RELEASED))
        peer.receive_message()
        assert peer.receive().type == RELEASE_RQ
        with server.stopped():
            peer.send(pdu(RELEASE_RP, bytes(4)))
        until(lambda: server.counts() == ["2", "0"])


@pytest.mark.parametrize("first", [IS_SLOW, IS_OBSERVED])
def test_a_peer_that_has_read_meanwhile_is_no_slow_one(nset, server, first):
    """Also where a worker waits until there is room for the next PDU."""
    requests = [n_set_pdus(nset, number) for number in range(10, 310)]
    for _ in range(5):
        with Peer(server.port, MPPS) as peer:
            peer.send(n_set_pdus(nset, first))
            peer.receive_message()
            began = time.monotonic()
            peer.send(*requests)
            time.sleep(SECONDS / 3)  # until the server can send no more
            if time.monotonic() - began > SECONDS * 0.8:
                continue  # the machine is busy, and the peer is a slow one
            received = 0
            with server.stopped():
                while select.select([peer.socket], [], [], 0.1)[0]:
                    received += len(peer.socket.recv(1 << 20))
            assert received < len(requests) * LENGTH
            while received < len(requests) * LENGTH:
                read = len(peer.socket.recv(1 << 20))
                assert read > 0, f"closed after {received} bytes"
                received += read
            return
    pytest.skip("the machine is too busy")
