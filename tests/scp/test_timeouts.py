"""nset.scp: peers that say nothing for too long."""

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from acceptors import entity, n_set_pdus
from associations import MPPS, TIMEOUT
from callers import (
    BY_USER,
    ECHO,
    RELEASE_RQ,
    RELEASED,
    Caller,
    aborted,
    gated,
    over,
    proposal,
    serving,
    set_answer,
    ways,
)
from durations import Duration, timed
from pynetdicom import evt
from raw_peer import Pdu

SECONDS = 0.5


def check_time(measured: Callable[[], tuple[Duration, Duration] | None]) -> None:
    """See that it takes `SECONDS`, to 10 % or 50 ms.

    Since what happens before the server's clock starts, and since what happens after that. On a
    busy machine a thread of the test's own may be later than that: one of five tries counts, and
    none in which it was too late to begin with.
    """
    tolerance = max(SECONDS * 0.1, 0.05)
    tries: list[tuple[float, float]] = []
    for _ in range(20):
        took = measured()
        if took is None:
            continue
        before, after = took
        tries.append((before.whole, after.own))
        if SECONDS - tolerance <= before.whole and after.own <= SECONDS + tolerance:
            return
        if len(tries) == 5:
            break
    pytest.fail(f"{tries}")


@ways
@pytest.mark.parametrize("sent", [b"", proposal()[:50]], ids=["nothing", "half a request"])
def test_no_association_in_time(nset, way, sent):
    ae = entity(MPPS, ECHO)
    ae.acse_timeout = SECONDS
    with serving(nset, way, ae) as (server, _):

        def measured():
            with timed() as took, Caller(server) as peer:
                if sent:
                    peer.send(sent)
                peer.is_closed()
            return took, took

        check_time(measured)


@ways
@pytest.mark.parametrize("response", ["A-ABORT", "A-RELEASE"])
def test_idle_too_long(nset, caplog, way, response):
    ae = entity(MPPS, ECHO)
    ae.network_timeout = SECONDS

    def measured():
        with serving(nset, way, ae) as (server, _), Caller(server).associate() as peer:
            (assoc,) = server.active_associations
            assoc.network_timeout_response = response
            # Whatever comes starts it anew.
            idle = Duration()
            time.sleep(SECONDS / 2)
            with timed() as since_request:
                peer.send(n_set_pdus(nset))
                idle.update()
                if idle.whole > 0.8 * SECONDS:
                    return None
                assert peer.answer() == set_answer(7)
                with timed() as since_answer:
                    answer = peer.receive()
            if response == "A-ABORT":
                assert answer == BY_USER
                peer.is_closed()
            else:
                assert answer == Pdu(RELEASE_RQ, bytes(4))
                peer.send(RELEASED)
                peer.is_closed()
            counts = over(server, peer)
            assert counts.aborted == ({"idle": 1} if response == "A-ABORT" else {})
            assert counts.released == (response == "A-RELEASE")
        return since_request, since_answer

    check_time(measured)
    assert "Network timeout reached" in caplog.text


def test_a_slow_handler_is_not_idle(nset):
    ae = entity(MPPS, ECHO)
    ae.network_timeout = SECONDS
    with gated(evt.EVT_N_SET, (0x0000, None)) as (gate, handlers), ExitStack() as stack:
        server, _ = stack.enter_context(serving(nset, handlers, ae))
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(n_set_pdus(nset))
        assert gate.entered.wait(TIMEOUT)
        time.sleep(2 * SECONDS)
        gate.may_go_on.set()
        assert peer.answer() == set_answer(7)
        peer.is_closed(BY_USER)


def test_a_peer_that_does_not_answer_a_release(nset):
    """It is aborted after the time that the AE gives to an association's negotiation."""

    def established(event):
        event.assoc.network_timeout_response = "A-RELEASE"

    ae = entity(MPPS, ECHO)
    ae.network_timeout, ae.acse_timeout = 0.1, SECONDS
    handlers = [(evt.EVT_ESTABLISHED, established)]
    with serving(nset, handlers, ae) as (server, _):

        def measured():
            with Caller(server).associate() as peer:
                with timed() as idle:
                    assert peer.receive() == Pdu(RELEASE_RQ, bytes(4))
                    with timed() as since_release:
                        peer.is_closed(aborted(2, 0))
                idle.whole -= ae.network_timeout
                return idle, since_release

        check_time(measured)
