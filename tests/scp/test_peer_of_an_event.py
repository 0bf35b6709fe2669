"""nset.scp: who has sent a request, from its event alone."""

import importlib

import pytest
from acceptors import accepting, entity, one_pdu
from associations import INSTANCE, MPPS, completed
from callers import Caller, set_answer
from n_set_requests import DATA, request_of
from pynetdicom import build_role, evt
from services import CT, ECHO, FIND, UPS, associated, image, query

REQUESTS = {
    "C-ECHO": (evt.EVT_C_ECHO, lambda assoc: assoc.send_c_echo()),
    "C-STORE": (evt.EVT_C_STORE, lambda assoc: assoc.send_c_store(image())),
    "C-FIND": (evt.EVT_C_FIND, lambda assoc: list(assoc.send_c_find(query(), FIND))),
    "N-SET": (evt.EVT_N_SET, lambda assoc: assoc.send_n_set(completed(), MPPS, INSTANCE)),
    "N-CREATE": (evt.EVT_N_CREATE, lambda assoc: assoc.send_n_create(completed(), MPPS, INSTANCE)),
    "N-GET": (evt.EVT_N_GET, lambda assoc: assoc.send_n_get([], UPS, INSTANCE)),
}


def parts(event):
    return event.calling_ae_title, event.called_ae_title, event.peer_address


@pytest.mark.parametrize("roles", [[], [MPPS]], ids=["ordinary", "negotiated by pynetdicom"])
@pytest.mark.parametrize("kind", ["inline", "plain"])
@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_that_of_the_requestor(nset, name, kind, roles):
    event_type, ask = REQUESTS[name]
    seen = []

    def handle(event):
        found = parts(event)
        requestor = event.assoc.requestor
        told = (requestor.ae_title, requestor.primitive.called_ae_title, requestor.address)
        seen.append((found, parts(event), told))
        return iter(()) if name == "C-FIND" else (0x0000, None) if name[0] == "N" else 0x0000

    negotiation = [build_role(uid, scu_role=True, scp_role=True) for uid in roles]
    with associated(
        *(nset, [(event_type, handle)], CT, ECHO, FIND, MPPS, UPS),
        ext_neg=negotiation,
        inline=kind == "inline",
    ) as (_, assoc, _):
        ask(assoc)
    assert seen == [(("NSET", "ANY-SCP", "127.0.0.1"),) * 3]


def test_no_association_is_made_for_it(nset, monkeypatch):
    seen, made = [], []
    server_class = importlib.import_module("nset.scp._server").Server
    stock = server_class.make_association
    monkeypatch.setattr(
        server_class, "make_association", lambda *args: made.append(args) or stock(*args)
    )

    async def handle(event):
        seen.append((*parts(event), len(made)))
        return 0x0000, None

    with (
        accepting(nset, [(evt.EVT_N_SET, handle)], entity(MPPS)) as server,
        Caller(server) as peer,
    ):
        peer.associate()
        peer.send(one_pdu(request_of(7), DATA))
        assert peer.answer() == set_answer(7)
        peer.release()
    assert seen == [("RAW", "ANY-SCP", "127.0.0.1", 0)]
