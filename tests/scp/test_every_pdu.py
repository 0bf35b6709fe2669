"""nset.scp: every PDU in every state of the upper layer (PS3.8 Table 9-10)."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import pytest
from acceptors import entity, n_set_pdus, until
from associations import MPPS, TIMEOUT
from callers import (
    AC,
    BY_USER,
    ECHO,
    RELEASE,
    RELEASE_RP,
    RELEASE_RQ,
    RELEASED,
    RJ,
    RQ,
    UNEXPECTED,
    UNKNOWN,
    WAYS,
    Caller,
    aborted,
    by_provider,
    gated,
    over,
    proposal,
    rejected,
    serving,
    set_answer,
    state_of,
)
from logs import reasons
from pynetdicom import evt
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.tests import encoded_pdu_items
from raw_peer import ABORT, P_DATA_TF, Pdu, pdu, reset_when_closed

EVENTS = {
    RQ: "Evt6",
    AC: "Evt3",
    RJ: "Evt4",
    P_DATA_TF: "Evt10",
    RELEASE_RQ: "Evt12",
    RELEASE_RP: "Evt13",
    ABORT: "Evt16",
    UNKNOWN: "Evt19",
}
KINDS = pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: f"{kind:02X}H")


def one_of(kind: int, nset: ModuleType) -> bytes:
    return {
        RQ: proposal(),
        AC: encoded_pdu_items.a_associate_ac,
        RJ: encoded_pdu_items.a_associate_rj,
        P_DATA_TF: n_set_pdus(nset),
        RELEASE_RQ: RELEASE,
        RELEASE_RP: RELEASED,
        ABORT: pdu(ABORT, bytes(4)),
        UNKNOWN: pdu(UNKNOWN, bytes(4)),
    }[kind]


def check(nset: ModuleType, peer: Caller, state: str, kind: int) -> None:
    """See that a PDU that has been sent in this state has had the action of PS3.8 Table 9-10."""
    action = TRANSITION_TABLE[EVENTS[kind], state]
    if action == "AE-6":
        answer = peer.receive()
        assert answer is not None
        assert answer.type == AC
        peer.goes_on(nset)
    elif action == "DT-2":
        assert peer.answer() == set_answer(7)
        peer.goes_on(nset)
    elif action == "AR-2":
        peer.is_closed(Pdu(RELEASE_RP, bytes(4)))
    elif action == "AR-6":
        peer.send(RELEASED)
        peer.is_closed()
    elif action == "AR-8":
        peer.send(RELEASED)
        peer.is_closed(Pdu(RELEASE_RP, bytes(4)))
    elif action == "AR-10":
        peer.is_closed(Pdu(RELEASE_RP, bytes(4)))
    elif action == "AA-1":
        peer.is_closed(BY_USER)
    elif action in ("AA-7", "AA-8"):
        peer.is_closed(by_provider(kind))
    else:
        assert action in ("AA-2", "AA-3", "AA-6", "AR-3")
        peer.is_closed()


@contextmanager
def in_state(nset: ModuleType, state: str, how: str) -> Iterator[tuple[Any, Caller, bytes]]:
    """A server, a peer whose association is in this state, and what it has to send first."""
    with ExitStack() as stack:
        enter = stack.enter_context
        before, handlers = b"", WAYS.get(how, [])
        if state == "Sta3":
            event, answer = {
                "EVT_REQUESTED": (evt.EVT_REQUESTED, None),
                "EVT_USER_ID": (evt.EVT_USER_ID, (True, None)),
            }[how]
            gate, handlers = enter(gated(event, answer))
        elif state in ("Sta7", "Sta10") and how == "release":
            handlers = [(evt.EVT_N_SET, lambda event: event.assoc.release() or (0x0000, None))]
        elif state == "Sta8":
            gate, handlers = enter(gated(evt.EVT_N_SET, (0x0000, None)))
            handlers = handlers + WAYS.get(how, [])
        ae = entity(MPPS, ECHO)
        ae.require_called_aet = how == "rejected"
        server, _ = enter(serving(nset, handlers, ae))
        if state in ("Sta3", "Sta8"):
            stack.callback(gate.may_go_on.set)  # before the server is shut down
        shutdown = threading.Thread(target=server.shutdown, kwargs={"quiet": 0.1})
        stack.callback(lambda: shutdown.ident and shutdown.join(TIMEOUT))
        peer = enter(Caller(server))
        if state == "Sta2":
            until(lambda: bool(server._associations))
        elif state == "Sta3":
            peer.send(proposal(user="somebody"))
            assert gate.entered.wait(TIMEOUT)
        elif how == "rejected":
            before = proposal()
        else:
            peer.associate()
        if state in ("Sta7", "Sta10"):
            if how == "release":
                peer.send(n_set_pdus(nset))
            else:
                shutdown.start()
            assert peer.receive() == Pdu(RELEASE_RQ, bytes(4))
        if state == "Sta8":
            peer.send(n_set_pdus(nset))
            assert gate.entered.wait(TIMEOUT)
            if how == "at once":
                before = RELEASE
            else:
                peer.send(RELEASE)
        if state == "Sta10":
            peer.send(RELEASE)
        before = {"aborted": encoded_pdu_items.a_associate_ac, "released": RELEASE}.get(how, before)
        if not before and not (state == "Sta7" and how == "release"):
            until(lambda: state_of(server) == state)
        yield server, peer, before


STATES = pytest.mark.parametrize(
    ("state", "how"),
    [
        ("Sta2", "short"),
        ("Sta2", "observed"),
        ("Sta3", "EVT_REQUESTED"),
        ("Sta3", "EVT_USER_ID"),
        ("Sta6", "short"),
        ("Sta6", "listened to"),
        ("Sta6", "observed"),
        ("Sta7", "release"),
        ("Sta7", "shutdown"),
        ("Sta8", "one after the other"),
        ("Sta8", "at once"),
        ("Sta8", "observed"),
        ("Sta10", "release"),
        ("Sta10", "shutdown"),
    ],
)


@KINDS
@STATES
def test_every_pdu_in_every_state(nset, state, how, kind):
    with in_state(nset, state, how) as (_, peer, before):
        peer.send(before + one_of(kind, nset))
        check(nset, peer, state, kind)


@KINDS
@pytest.mark.parametrize("how", ["rejected", "aborted", "released"])
def test_every_pdu_behind_the_end(nset, how, kind):
    """Of the association: in Sta13, in the write that has led there."""
    with in_state(nset, "Sta13", how) as (_, peer, before):
        peer.send(before + one_of(kind, nset))
        first = {
            "rejected": rejected(1, 1, 7),
            "aborted": aborted(2, UNEXPECTED),
            "released": Pdu(RELEASE_RP, bytes(4)),
        }[how]
        assert peer.receive() == first
        check(nset, peer, "Sta13", kind)


@pytest.mark.parametrize("kind", [AC, UNKNOWN], ids=["unexpected", "unknown"])
@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("Sta2", "short"),
        ("Sta3", "EVT_REQUESTED"),
        ("Sta6", "short"),
        ("Sta7", "release"),
        ("Sta8", "one after the other"),
    ],
)
def test_the_log_says_with_whom_an_association_was_aborted(nset, caplog, state, how, kind):
    with in_state(nset, state, how) as (_, peer, before):
        peer.send(before + one_of(kind, nset))
        answer = peer.receive()
        assert answer is not None
        assert answer.type == ABORT
    assert len(reasons(caplog)) == 1
    assert peer.address in reasons(caplog)[0]
    assert f"{kind:02X}" in reasons(caplog)[0]


@pytest.mark.parametrize("kind", [AC, UNKNOWN], ids=["unexpected", "unknown"])
def test_an_abort_for_a_pdu_is_counted_as_such(nset, kind):
    with serving(nset, []) as (server, _):
        with Caller(server).associate() as peer:
            peer.send(one_of(kind, nset))
            peer.is_closed(by_provider(kind))
        assert over(server).aborted == {"invalid PDU": 1}


def test_release_while_a_handler_runs(nset):
    """It is answered when the request has been."""
    with gated(evt.EVT_N_SET, (0x0000, None)) as (gate, handlers), ExitStack() as stack:
        server, _ = stack.enter_context(serving(nset, handlers))
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(n_set_pdus(nset), n_set_pdus(nset, 8), RELEASE)
        assert gate.entered.wait(TIMEOUT)
        gate.may_go_on.set()
        assert peer.answer() == set_answer(7)
        assert peer.answer() == set_answer(8)
        peer.is_closed(Pdu(RELEASE_RP, bytes(4)))
        counts = over(server, peer)
        assert (counts.released, counts.aborted) == (1, {})


@pytest.mark.parametrize("state", ["Sta3", "Sta6", "Sta7", "Sta8", "Sta10"])
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_peer_that_goes(nset, state, how):
    ways_there = {"Sta3": "EVT_REQUESTED", "Sta7": "release", "Sta10": "release"}
    with in_state(nset, state, ways_there.get(state, "short")) as (server, peer, _):
        if how == "resets":
            reset_when_closed(peer.socket)
        peer.socket.close()
        until(lambda: server.counts.open_connections == 0)
    # In Sta8 it had asked for the release before.
    counts = server.counts
    assert (counts.aborted or {"connection": counts.released}) == {"connection": 1}
