"""nset.scp: connections that say nothing for too long, or what is no DICOM."""

import importlib
import socket
import threading
import time
from contextlib import ExitStack
from itertools import pairwise

import pytest
from acceptors import accepting, connected, entity, is_over, n_set_pdus, port, until
from associations import MPPS, TIMEOUT
from durations import takes
from logs import all_said
from pynetdicom import evt
from raw_peer import ABORT, Peer, associate_rq

# -- Others that take its port for theirs ----------------------------------------------------------


OTHERS = {
    "GET": (b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", "an HTTP request"),
    "OPTIONS": (b"OPTIONS * HTTP/1.1\r\n\r\n", "an HTTP request"),
    "POST": (b"POST /studies HTTP/1.1\r\n\r\n", "an HTTP request"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "an HTTP request"),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(190), "a TLS hello"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH banner"),
    "PROXY": (b"PROXY TCP4 10.0.0.4 10.0.0.5 1042 104\r\n", "a PROXY header"),
    "PROXY 2": (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
        "a PROXY header",
    ),
}


@pytest.mark.parametrize(("sent", "name"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("first", [6, 1000])
def test_another_protocol_is_named(nset, caplog, sent, name, first):
    """Also where no more of it has come than a PDU's header has bytes."""
    with (
        accepting(nset) as server,
        socket.create_connection(("127.0.0.1", port(server)), TIMEOUT) as peer,
    ):
        peer.sendall(sent[:first])
        assert peer.recv(10) == bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0))
    (line,) = all_said(caplog)
    assert line.endswith(f": invalid PDU: {name}, which is no PDU")


@pytest.mark.parametrize("sent", [b"GETTIN", b"\x16\x02\x03\x01\0\0", b"ssh-2.", b"\r\n\r\n\r\n"])
def test_what_only_looks_like_it_is_not(nset, sent):
    error = importlib.import_module("nset.scp._rules").unknown_type(sent)
    assert str(error) == f"unknown PDU type 0x{sent[0]:02X}"


# -- Connections that say nothing ------------------------------------------------------------------

HALF = associate_rq(MPPS)[:100]


@pytest.mark.parametrize("sent", [b"", HALF], ids=["nothing", "half a request"])
@pytest.mark.parametrize("heard", [False, True])
def test_silent_connections_are_no_associations(nset, security, sent, heard):
    options, secured = security
    ae = entity()
    ae.maximum_associations = 2
    handlers = [(evt.EVT_CONN_OPEN, lambda event: None)] if heard else None
    with accepting(nset, handlers, ae, **options) as server, ExitStack() as stack:
        for _ in range(10):
            peer = secured(connected(server)) if sent else connected(server)
            stack.enter_context(peer).sendall(sent)
        until(lambda: server.counts.connections == 10)
        for _ in range(2):
            peer = stack.enter_context(secured(connected(server)))
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1) == b"\x02"
        assert len(server.active_associations) == len(ae.active_associations) == 2
        with secured(connected(server)) as peer:
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1) == b"\x03"


@pytest.mark.parametrize("sent", [b"", HALF], ids=["nothing", "half a request"])
def test_silent_connections_have_a_time_of_their_own(nset, scp, security, caplog, sent):
    options, secured = security
    caplog.set_level("INFO", "nset")
    limits = scp.Limits(first_pdu_timeout=0.3)
    with accepting(nset, limits=limits, **options) as server:
        with takes(0.25, 2):
            peers = [connected(server) for _ in range(3)]
            peers = [secured(peer) for peer in peers] if sent else peers
            names = ["{}:{}".format(*peer.getsockname()) for peer in peers]
            for peer in peers:
                peer.sendall(sent)
            for peer in peers:
                with peer:
                    assert peer.recv(100) == b""
        until(lambda: is_over(server))
        assert server.counts.aborted == {}
        with secured(connected(server)) as peer:
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1) == b"\x02"
            time.sleep(0.6)
            assert len(server.active_associations) == 1
    for name in names:
        assert f"Closing the connection with {name}, which has sent no PDU in 0.3 s" in caplog.text


def test_a_peer_that_the_server_has_not_read_is_not_silent(nset, scp):
    """It has sent its A-ASSOCIATE-RQ, and a handler takes longer to hear of the connection."""
    limits = scp.Limits(first_pdu_timeout=0.1)
    handlers = [(evt.EVT_CONN_OPEN, lambda event: time.sleep(0.6))]
    with accepting(nset, handlers, limits=limits) as server, Peer(port(server), MPPS) as peer:
        peer.release()


def test_counts_while_connections_come_and_go(nset):
    """They are added up in another thread than that which notes these."""
    with accepting(nset) as server:
        for number in range(1, 101):
            with Peer(port(server), MPPS) as peer:
                peer.send(n_set_pdus(nset))
                until(lambda number=number: server.counts.n_set_requests >= number)
            assert server.counts.n_set_requests == number


def test_the_time_is_the_aes_where_that_is_less(nset, security):
    options, _ = security
    ae = entity()
    ae.acse_timeout = 0.1
    with accepting(nset, None, ae, **options) as server, connected(server) as peer, takes(0, 2):
        assert peer.recv(100) == b""


@pytest.mark.parametrize("sent", [b"", HALF], ids=["nothing", "half a request"])
def test_the_oldest_silent_connection_goes_first(nset, scp, security, caplog, sent):
    options, secured = security
    limits = scp.Limits(connections=4)
    with accepting(nset, limits=limits, **options) as server, ExitStack() as stack:
        talker = stack.enter_context(secured(connected(server)))
        talker.sendall(associate_rq(MPPS))
        assert talker.recv(1000)[0] == 0x02
        silent = []
        for number in range(3):
            peer = secured(connected(server)) if sent else connected(server)
            silent.append(stack.enter_context(peer))
            peer.sendall(sent)
            until(lambda number=number: server.counts.connections == number + 2)
        for number in range(3):
            peer = stack.enter_context(secured(connected(server)))
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1000)[0] == 0x02
            assert silent[number].recv(100) == b""
            assert server.counts.refused_connections == number + 1
        # Now none is silent.
        with connected(server) as peer:
            assert is_closed(peer)
        assert len(server.active_associations) == 4
        assert server.counts.connections == 7
    assert len([line for line in all_said(caplog) if "4 connections already" in line]) == 1


def is_closed(peer):
    try:
        return peer.recv(100) == b""
    except ConnectionError:
        return True


def test_a_flood_of_connections_holds_up_nobody(nset, scp):
    """At most 32 are taken in a turn of the loop."""
    turns, limits = [], scp.Limits(connections=500)
    with accepting(nset, limits=limits) as server, ExitStack() as stack:
        may_go_on = threading.Event()

        def turn():
            turns.append(server.counts.connections)
            if turns[-1] < 200:
                server.loop.call_soon(turn)

        server.loop.call_soon_threadsafe(may_go_on.wait, TIMEOUT)
        for _ in range(200):
            stack.enter_context(connected(server))
        server.loop.call_soon_threadsafe(turn)
        may_go_on.set()
        until(lambda: turns and turns[-1] == 200)
    assert max(after - before for before, after in pairwise(turns)) <= 32
