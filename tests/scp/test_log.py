"""nset.scp: what pynetdicom's loggers say is what they say of its own server."""

import logging
import queue
import socket
import threading

import pytest
from acceptors import accepting, n_set_pdus, port, until
from associations import MPPS, TIMEOUT
from pynetdicom import _config, evt
from raw_peer import ABORT, RELEASE_RP, RELEASE_RQ, Peer, associate_rq, pdu
from services import (
    ECHO,
    echo_pdu,
    everything,
    failure,
    stock_server,
)


class TestLog:
    @pytest.fixture
    def compared(self, nset, caplog, remembered, request):
        """What our server's log says, and what pynetdicom's does."""

        def compare(of, make_ae=everything, handlers=None):
            def by_stock():
                with stock_server(handlers, make_ae()) as server:
                    return of(server)

            with accepting(nset, handlers, make_ae()) as server:
                ours = of(server)
            assert ours
            key = request.node.name.replace(request.node.callspec.params["nset"], "")
            return ours, remembered(key, by_stock)

        return compare

    def records(self, server, peer_does, caplog, level):
        """What pynetdicom's loggers say of one raw peer."""
        closed = queue.Queue()
        server.bind(evt.EVT_CONN_CLOSE, lambda event: closed.put(event.assoc))
        caplog.clear()
        with caplog.at_level(level, logger="pynetdicom"):
            peer_does(port(server))
            closed.get(timeout=TIMEOUT).join(TIMEOUT)
            until(lambda: not server.active_associations)
        return [record for record in caplog.record_tuples if record[0].startswith("pynetdicom")]

    @pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG], ids=logging.getLevelName)
    @pytest.mark.parametrize("what", ["release", "abort", "C-ECHO", "N-SET", "N-SET failed"])
    def test_is_pynetdicoms(self, nset, compared, caplog, level, what):
        def peer_does(number):
            with Peer(number, ECHO if what == "C-ECHO" else MPPS) as peer:
                if what == "abort":
                    peer.send(pdu(ABORT, bytes(4)))
                    assert peer.receive() is None
                    return
                if what != "release":
                    peer.send(echo_pdu() if what == "C-ECHO" else n_set_pdus(nset))
                    peer.receive_message()
                peer.release()

        answer = failure(0x0110) if what == "N-SET failed" else 0x0000
        handlers = [(evt.EVT_N_SET, lambda event: (answer, None))]
        ours, theirs = compared(
            lambda server: self.records(server, peer_does, caplog, level), handlers=handlers
        )
        assert ours == theirs

    @pytest.mark.parametrize("what", ["abort", "release"])
    def test_of_what_the_server_begins(self, compared, caplog, what):
        def of(server):
            def peer_does(number):
                with Peer(number, ECHO) as peer:
                    until(lambda: server.active_associations[0].is_established)
                    (acceptor,) = server.active_associations
                    thread = threading.Thread(target=getattr(acceptor, what))
                    thread.start()
                    while answer := peer.receive():  # pynetdicom's abort may close without one
                        if answer.type == RELEASE_RQ:
                            peer.send(pdu(RELEASE_RP, bytes(4)))
                    thread.join(TIMEOUT)

            return self.records(server, peer_does, caplog, logging.INFO)

        ours, theirs = compared(of)
        assert ours == theirs

    def test_of_a_rejection(self, compared, caplog):
        def peer_does(number):
            with socket.create_connection(("127.0.0.1", number), TIMEOUT) as peer:
                peer.sendall(associate_rq(ECHO))
                assert peer.recv(100)[0] == 0x03
                assert peer.recv(100) == b""

        def closed():
            ae = everything()
            ae.require_calling_aet = ["OTHER"]
            return ae

        ours, theirs = compared(
            lambda server: self.records(server, peer_does, caplog, logging.INFO), closed
        )
        assert ours == theirs

    def test_without_the_standard_handlers(self, nset, compared, caplog, monkeypatch):
        """But for how often a data set is decoded: command sets are not."""
        monkeypatch.setattr(_config, "LOG_HANDLER_LEVEL", "none")

        def peer_does(number):
            with Peer(number, MPPS) as peer:
                peer.send(n_set_pdus(nset))
                peer.receive_message()
                peer.release()

        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        ours, theirs = compared(
            lambda server: self.records(server, peer_does, caplog, logging.DEBUG),
            handlers=handlers,
        )
        ours, theirs = (
            [record for record in records if record[0] != "pynetdicom.dsutils"]
            for records in (ours, theirs)
        )
        assert ours == theirs
