"""nset.scp: what those see who run it."""

import asyncio
import importlib
import re
import socket
import threading
import time
from contextlib import ExitStack
from itertools import pairwise

import pytest
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import MPPS, TIMEOUT
from certificates import client_context, make_certificate, server_context
from command_sets import joined
from pynetdicom import evt
from pynetdicom.sop_class import Verification
from raw_peer import ABORT, Peer, associate_rq

BAD_COUNTS = [0, -1, -5, 2.5, "3"]


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "nset"]


# -- What it is made of ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", BAD_COUNTS)
@pytest.mark.parametrize(
    "name",
    ["connections", "data_set_bytes", "negotiation_length", "pdu_length", "pending_requests"],
)
def test_a_limit_that_is_none(nset, name, value):
    limits = importlib.import_module("nset.scp").Limits
    with pytest.raises(ValueError, match=f"^{name} must be an int above 0, not {value!r}$"):
        limits(**{name: value})


@pytest.mark.parametrize("value", BAD_COUNTS)
def test_workers_that_are_none(nset, value):
    scp = importlib.import_module("nset.scp")
    ae = entity()
    with pytest.raises(ValueError, match=f"^workers must be an int above 0, not {value!r}$"):
        scp.start_server(ae, ("127.0.0.1", 0), block=False, workers=value)
    assert ae._servers == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_that_is_taken_is_named(nset, host):
    scp = importlib.import_module("nset.scp")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip("there is no IPv6 here")
        taken.listen()
        number = taken.getsockname()[1]
        shown = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        address = (host, number, 0, 0) if ":" in host else (host, number)
        with pytest.raises(OSError, match="in use") as caught:
            scp.start_server(entity(), address, block=False)
    assert str(caught.value).endswith(f": '{shown}'")


def test_no_second_server_has_the_port_on_windows(nset, monkeypatch):
    """There SO_REUSEADDR would let it."""
    options = []

    class Socket(socket.socket):
        def setsockopt(self, level, option, value):
            if option != exclusive:
                super().setsockopt(level, option, value)
            options.append(option)

    exclusive = ~socket.SO_REUSEADDR
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", exclusive, raising=False)
    monkeypatch.setattr(socket, "socket", Socket)
    with accepting(nset) as server:
        assert port(server) > 0
        assert options == [exclusive]


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
    (line,) = errors(caplog)
    assert line.endswith(f": invalid PDU: {name}, which is no PDU")


@pytest.mark.parametrize("sent", [b"GETTIN", b"\x16\x02\x03\x01\0\0", b"ssh-2.", b"\r\n\r\n\r\n"])
def test_what_only_looks_like_it_is_not(nset, sent):
    error = importlib.import_module("nset._pdu").unknown_type(sent)
    assert str(error) == f"unknown PDU type 0x{sent[0]:02X}"


# -- Connections that say nothing ------------------------------------------------------------------

HALF = associate_rq(MPPS)[:100]


def connected(server):
    return socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)


def is_over(server):
    return not server._associations and server.counts.open_connections == 0


@pytest.fixture(params=["TCP", "TLS"])
def security(request, tmp_path):
    """What makes a server, and what makes a client's socket of a bare one."""
    if request.param == "TCP":
        return {}, lambda bare: bare
    certificate = make_certificate(tmp_path, "server")
    context = client_context(certificate)
    return (
        {"ssl_context": server_context(certificate)},
        lambda bare: context.wrap_socket(bare, server_hostname="localhost"),
    )


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
def test_silent_connections_have_a_time_of_their_own(nset, security, caplog, sent):
    options, secured = security
    caplog.set_level("INFO", "nset")
    limits = importlib.import_module("nset.scp").Limits(first_pdu_timeout=0.3)
    with accepting(nset, limits=limits, **options) as server:
        began = time.monotonic()
        peers = [connected(server) for _ in range(3)]
        peers = [secured(peer) for peer in peers] if sent else peers
        names = ["{}:{}".format(*peer.getsockname()) for peer in peers]
        for peer in peers:
            peer.sendall(sent)
        for peer in peers:
            with peer:
                assert peer.recv(100) == b""
        assert 0.25 < time.monotonic() - began < 2
        until(lambda: is_over(server))
        assert server.counts.aborted == {}
        with secured(connected(server)) as peer:
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1) == b"\x02"
            time.sleep(0.6)
            assert len(server.active_associations) == 1
    for name in names:
        assert f"Closing the connection with {name}, which has sent no PDU in 0.3 s" in caplog.text


def test_the_time_is_the_aes_where_that_is_less(nset, security):
    options, _ = security
    ae = entity()
    ae.acse_timeout = 0.1
    with accepting(nset, None, ae, **options) as server, connected(server) as peer:
        began = time.monotonic()
        assert peer.recv(100) == b""
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("sent", [b"", HALF], ids=["nothing", "half a request"])
def test_the_oldest_silent_connection_goes_first(nset, security, caplog, sent):
    options, secured = security
    limits = importlib.import_module("nset.scp").Limits(connections=4)
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
    assert len([line for line in errors(caplog) if "4 connections already" in line]) == 1


def is_closed(peer):
    try:
        return peer.recv(100) == b""
    except ConnectionError:
        return True


def test_a_flood_of_connections_holds_up_nobody(nset):
    """At most 32 are taken in a turn of the loop."""
    turns, limits = [], importlib.import_module("nset.scp").Limits(connections=500)
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


# -- Handlers that are left ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "plain", "C-ECHO"])
@pytest.mark.parametrize("heard", [False, True])
def test_a_handler_that_hangs_for_a_peer_that_has_gone(nset, monkeypatch, caplog, kind, heard):
    """It is no association any more, and others have a thread all the same."""
    monkeypatch.setattr(importlib.import_module("nset.scp._association"), "_LEFT", 0.2)
    may_return, begun = threading.Event(), []

    def handle(event):
        begun.append(event.message_id)
        if len(begun) <= 3:
            assert may_return.wait(TIMEOUT * 3)
        return 0x0000, None

    async def handle_async(event):
        return await asyncio.to_thread(handle, event)

    ae = entity(MPPS, Verification)
    ae.maximum_associations = 3
    handlers = [
        (evt.EVT_N_SET, handle_async if kind == "async" else handle),
        (evt.EVT_C_ECHO, lambda event: handle(event)[0]),
        *([(evt.EVT_ABORTED, lambda event: None)] if heard else []),
    ]
    with accepting(nset, handlers, ae) as server:
        try:
            for number in range(1, 4):
                with Peer(port(server), Verification if kind == "C-ECHO" else MPPS) as peer:
                    peer.send(echo() if kind == "C-ECHO" else n_set_pdus(nset, number))
                    until(lambda number=number: len(begun) == number)
            until(lambda: server.counts.open_connections == 0)
            assert server.active_associations == ae.active_associations == []
            peers = [Peer(port(server), MPPS) for _ in range(3)]
            for peer in peers:
                peer.send(n_set_pdus(nset, 7))
            for peer in peers:
                with peer:
                    assert peer.receive_message()[0].Status == 0x0000
                    peer.release()
            until(lambda: caplog.text.count("has gone on for") == 3)
            time.sleep(0.3)  # and not again
        finally:
            may_return.set()
        until(lambda: is_over(server))
        assert server.counts.aborted == {"connection": 3}
    lines = [line for line in errors(caplog) if "has gone on for" in line]
    assert len(lines) == 3
    assert re.search(r"RAW@127.0.0.1:\d+ has gone on for 0\.\d s, and its peer has gone", lines[0])


def echo(message_id=1):
    fields = {0x0002: Verification.encode() + b"\0", 0x0100: 0x0030, 0x0110: message_id}
    return one_pdu(joined({**fields, 0x0800: 0x0101}))
