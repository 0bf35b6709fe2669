"""nset.scp: how many connections and associations there may be, and of whom."""

import ssl
import threading
from contextlib import ExitStack

import pytest
from acceptors import entity, until
from associations import MPPS, TIMEOUT
from callers import ECHO, Caller, over, proposal, rejected, serving, ways
from raw_peer import AE_TITLE


def test_connections(nset, scp):
    with serving(nset, [], limits=scp.Limits(connections=3)) as (server, _):
        callers = [Caller(server) for _ in range(3)]
        until(lambda: server.counts.open_connections == 3)
        for caller in callers:
            caller.associate()
        for _ in range(2):
            with Caller(server) as peer:
                peer.is_closed()
        assert server.counts.refused_connections == 2
        callers.pop().socket.close()
        until(lambda: server.counts.open_connections == 2)
        with Caller(server) as peer:
            peer.associate().goes_on(nset)
        for caller in callers:
            caller.goes_on(nset)
            caller.socket.close()


@pytest.mark.parametrize("kind", ["TCP", "TLS"])
def test_connections_that_come_all_at_once(nset, scp, kind):
    """Those whose TLS handshake does not get on count, too; the oldest go first."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if kind == "TLS" else None
    may_go_on = threading.Event()
    limits = scp.Limits(connections=3)
    with serving(nset, [], limits=limits, ssl_context=tls) as (server, _), ExitStack() as stack:
        stack.callback(may_go_on.set)
        server.loop.call_soon_threadsafe(may_go_on.wait, TIMEOUT)
        callers = [stack.enter_context(Caller(server)) for _ in range(10)]
        may_go_on.set()
        until(lambda: server.counts.connections == 10)
        assert server.counts.refused_connections == 7
        for caller in callers[:7]:
            caller.is_closed()
        assert len(server.connections.connected) + len(server.connections.connecting) == 3
        for caller in callers:
            caller.socket.close()
        until(lambda: server.counts.open_connections == 0)


@ways
def test_maximum_associations(nset, way):
    ae = entity(MPPS, ECHO)
    ae.maximum_associations = 2
    with serving(nset, way, ae) as (server, _):
        first, second = (Caller(server).associate() for _ in range(2))
        with Caller(server) as peer:
            peer.send(proposal())
            peer.is_closed(rejected(2, 3, 2))
        until(lambda: len(server.active_associations) == 2)
        second.goes_on(nset)
        second.socket.close()
        until(lambda: len(server.active_associations) == 1)
        with Caller(server) as peer:
            peer.associate().goes_on(nset)
        first.goes_on(nset)
        first.socket.close()
        assert server.counts.rejected == 1


REJECTED = {
    "called AE title": ({"called": "OTHER"}, (1, 1, 7)),
    "calling AE title": ({"calling": "OTHER"}, (1, 1, 3)),
    "protocol version": ({"version": 2}, (1, 2, 2)),
}


@ways
@pytest.mark.parametrize(("changes", "answer"), REJECTED.values(), ids=REJECTED)
def test_rejected(nset, way, changes, answer):
    ae = entity(MPPS, ECHO)
    ae.ae_title = "ANY-SCP"
    ae.require_called_aet = True
    ae.require_calling_aet = [AE_TITLE]
    with serving(nset, way, ae) as (server, _):
        with Caller(server) as peer:
            peer.send(proposal(**changes))
            peer.is_closed(rejected(*answer))
        with Caller(server) as peer:
            peer.associate().goes_on(nset)
        counts = over(server)
        assert (counts.associations, counts.rejected, counts.aborted) == (1, 1, {})
