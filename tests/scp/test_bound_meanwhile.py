"""nset.scp: handlers that are bound while an association begins."""

import importlib
import threading

from acceptors import accepting, n_set_pdus, port
from associations import MPPS, TIMEOUT
from ends import succeed
from pynetdicom import evt
from raw_peer import Peer


def test_bound_to_the_server_while_an_association_is_made(nset, monkeypatch):
    path = importlib.import_module("nset.scp._server").Dispatcher
    bound = path.bindings
    with accepting(nset, [(evt.EVT_N_SET, lambda event: (0x0110, None))]) as server:
        thread = threading.Thread(target=server.bind, args=(evt.EVT_N_SET, succeed), daemon=True)

        def set_bindings(path, bindings):
            if path in server._associations and thread.ident is None:
                thread.start()
                thread.join(0.3)  # time enough for what is bound then to be lost
            bound.__set__(path, bindings)

        monkeypatch.setattr(path, "bindings", property(bound.__get__, set_bindings))
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
