"""nset.scp: threads that the system does not give."""

import threading

import pytest
from acceptors import accepting, n_set_pdus, port
from associations import MPPS, TIMEOUT
from pynetdicom import evt
from raw_peer import P_DATA_TF, Peer


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
