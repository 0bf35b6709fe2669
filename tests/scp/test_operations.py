"""nset.scp: what those see who run it."""

import asyncio
import importlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import pytest
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import MPPS, TIMEOUT
from certificates import client_context, make_certificate, server_context
from command_sets import joined
from paths import SUPPORT
from pynetdicom import evt, sop_class
from pynetdicom.sop_class import Verification
from raw_peer import ABORT, COMMAND, LAST, Peer, associate_rq, p_data, pdu

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
    error = importlib.import_module("nset.scp._rules").unknown_type(sent)
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


def test_a_peer_that_the_server_has_not_read_is_not_silent(nset):
    """It has sent its A-ASSOCIATE-RQ, and a handler takes longer to hear of the connection."""
    limits = importlib.import_module("nset.scp").Limits(first_pdu_timeout=0.1)
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
    monkeypatch.setattr(
        importlib.import_module("nset.scp._association"), "_LEFT_HANDLER_SECONDS", 0.2
    )
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
            until(lambda: server.active_associations == ae.active_associations == [])
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


# -- Counts ----------------------------------------------------------------------------------------

PATHS = {
    "fast": ("async", []),
    "fast, plain": ("plain", []),
    "listened to": ("plain", [(evt.EVT_ESTABLISHED, lambda event: None)]),
    "observed": ("plain", [(evt.EVT_PDU_RECV, lambda event: None)]),
}


@pytest.mark.parametrize("packed", ["whole", "in fragments", "too long", "refused"])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("pipelined", [False, True])
def test_counts_on_every_path(nset, path, packed, pipelined):
    kind, handlers = path

    async def handle_async(event):
        return 0x0000, None

    bound = handle_async if kind == "async" else lambda event: (0x0000, None)
    handlers = [(evt.EVT_N_SET, bound), *handlers]
    limits = importlib.import_module("nset.scp").Limits(
        data_set_bytes=50 if packed == "too long" else 1000
    )
    sent = [n_set_pdus(nset, number, 64 if packed == "in fragments" else 0) for number in range(3)]
    if packed == "refused":
        sent = [one_pdu(joined(request({0x1001: None, 0x0110: n}))) for n in range(3)]
    status = {"refused": "Failure", "too long": "Failure"}.get(packed, "Success")
    with accepting(nset, handlers, entity(MPPS, Verification), limits=limits) as server:

        def check(number):
            counts = server.counts
            assert (counts.requests, counts.n_set_requests) == (number, number)
            assert counts.responses == {status: number}

        with Peer(port(server), MPPS) as peer:
            for number, one in enumerate([b"".join(sent)] if pipelined else sent, 1):
                peer.send(one)
                for _ in range(3 if pipelined else 1):
                    peer.receive_message()
                check(3 if pipelined else number)
            peer.release()
        until(lambda: is_over(server))
        check(3)
        with Peer(port(server), Verification) as peer:
            peer.send(echo())
            peer.receive_message()
            counts = server.counts
            assert (counts.requests, counts.n_set_requests) == (4, 3)
            peer.release()
        until(lambda: is_over(server))
        assert sum(server.counts.responses.values()) == 4


def request(changes):
    """The fields of an N-SET-RQ without a data set."""
    fields = {
        0x0003: MPPS.encode() + bytes(len(MPPS) % 2),
        0x0100: 0x0120,
        0x0110: 7,
        0x0800: 0x0101,
        0x1001: b"1.2.3.4\0",
    }
    fields.update(changes)
    return {field: value for field, value in fields.items() if value is not None}


@pytest.mark.parametrize("source", [0, 1, 2, 7])
@pytest.mark.parametrize("heard", [False, True])
def test_an_abort_of_the_peers_is_counted_as_such(nset, source, heard):
    """Also behind an A-ASSOCIATE-AC without a context, and whatever it says is its source."""
    handlers = [(evt.EVT_ABORTED, lambda event: None)] if heard else None
    with accepting(nset, handlers) as server:
        for syntax in (MPPS, Verification):
            with Peer(port(server), syntax) as peer:
                peer.send(pdu(ABORT, bytes((0, 0, source, 0))))
                while peer.receive() is not None:
                    pass
        until(lambda: is_over(server))
        assert server.counts.aborted == {"peer": 2}


# -- What the log says of associations -------------------------------------------------------------


@pytest.fixture
def lines(caplog):
    """The lines of the logger `nset` and their levels, with the peer's address as ADDRESS."""
    caplog.set_level("DEBUG", "nset")

    def give(server, peer):
        until(lambda: is_over(server))
        return [
            (
                record.levelname,
                re.sub(r"\d+\.\d s", "SECONDS", said.replace(peer.address, "ADDRESS")),
            )
            for record in caplog.records
            if record.name == "nset" and (said := record.getMessage())
        ]

    return give


ACCEPTED = ("INFO", "Accepted the association with RAW@ADDRESS: 1 of 1 presentation contexts")
ENDED = "The association of RAW@ADDRESS with ANY-SCP has ended: SECONDS, "


def test_an_association_that_is_released(nset, lines):
    ae = entity(MPPS, Verification)
    statuses = iter([0x0000, 0x0107, 0x0000])
    handlers = [(evt.EVT_N_SET, lambda event: (next(statuses), None))]
    with accepting(nset, handlers, ae) as server:
        with Peer(port(server), MPPS) as peer:
            for number, length in ((1, 0), (2, 64), (3, 0)):
                peer.send(n_set_pdus(nset, number, length))
                peer.receive_message()
            (assoc,) = server.connected
            peer.release()
        assert lines(server, peer) == [
            ACCEPTED,
            (
                "INFO",
                f"{ENDED}N-SET 3 (2 Success, 1 Warning), {assoc.path.bytes_received} bytes "
                f"received, {assoc.bytes_sent} sent, released",
            ),
        ]


def test_an_association_of_another_service(nset, lines):
    with accepting(nset, None, entity(Verification)) as server:
        with Peer(port(server), Verification) as peer:
            peer.send(echo())
            peer.receive_message()
            peer.release()
        assert "C-ECHO 1 (1 Success)" in lines(server, peer)[-1][1]


def test_an_association_that_the_peer_aborts(nset, lines):
    with accepting(nset) as server:
        with Peer(port(server), MPPS) as peer:
            peer.send(pdu(ABORT, bytes(4)))
            assert peer.receive() is None
        first, last = lines(server, peer)
        assert first == ACCEPTED
        assert last[1].startswith(f"{ENDED}no requests, ")
        assert last[1].endswith(", aborted (peer)")


@pytest.mark.parametrize("path", ["fast", "in fragments", "command set", "PDU"])
def test_a_connection_that_is_lost_amid_a_message(nset, lines, path):
    with accepting(nset) as server:
        with Peer(port(server), MPPS) as peer:
            sent = n_set_pdus(nset, 7, 64 if path == "in fragments" else 0)
            at = 6 + int.from_bytes(sent[2:6], "big")
            if path == "in fragments":
                at = sent.rindex(b"\x04\0", 0, -6)
            at = {"command set": 70, "PDU": 20}.get(path, at)
            peer.send(sent[:at])
            until(lambda: sum(one.path.bytes_received for one in server.connected) >= at)
        said = lines(server, peer)
    (level, line) = said[1]
    assert level == "WARNING"
    known = "its Message ID is not known" if path in ("command set", "PDU") else "Message ID 7"
    assert line.startswith(f"Lost the connection with RAW@ADDRESS amid a message: {known}, ")
    assert said[2][1].endswith("aborted (connection)")


def test_looking_at_a_request_that_comes_tells_nothing_of_it(nset, lines, caplog):
    """What is to be said of its command set is said when that is decoded, once."""
    command = joined(request({0x0110: 7, 0x0800: 1})) + bytes(2)
    sent = [p_data((1, COMMAND, command[:20])), p_data((1, COMMAND | LAST, command[20:]))]
    limits = importlib.import_module("nset.scp").Limits(data_set_bytes=100)
    with accepting(nset, None, limits=limits) as server:
        with Peer(port(server), MPPS) as peer:
            peer.send(*sent, p_data((1, LAST, bytes(101))))
            assert peer.receive_message()[0].Status == 0x0213
            peer.send(*sent, p_data((1, 0, bytes(10))))
            (assoc,) = server.connected
            until(lambda: assoc.progress() == (7, len(command) + 10))
        said = [line for _, line in lines(server, peer)]
    assert any("amid a message: Message ID 7, " in line for line in said)
    assert "N-SET command set" not in caplog.text


def test_a_peer_that_only_connects(nset, security, caplog):
    options, _ = security
    caplog.set_level("DEBUG", "nset")
    with accepting(nset, **options) as server:
        with connected(server) as peer:
            name = "{}:{}".format(*peer.getsockname())
        until(lambda: f"{name} has connected, sent nothing, and gone" in caplog.text)
        until(lambda: is_over(server))
    assert [record.levelname for record in caplog.records if record.name == "nset"] == ["DEBUG"]


def test_a_peer_that_goes_amid_its_handshake(nset, caplog, tmp_path):
    certificate = make_certificate(tmp_path, "server")
    with accepting(nset, ssl_context=server_context(certificate)) as server:
        with connected(server) as peer:
            peer.sendall(b"\x16\x03\x01")
            name = "{}:{}".format(*peer.getsockname())
        until(lambda: name in caplog.text)
    (line,) = errors(caplog)
    assert re.fullmatch(rf"The TLS handshake with {name} failed: \w+", line)


REJECTIONS = {
    "called": ("it calls ANY-SCP, not PACS (AE.require_called_aet)", "require_called_aet", True),
    "calling": (
        "its AE title is not among AE.require_calling_aet",
        "require_calling_aet",
        ["OTHER"],
    ),
    "number": ("1 associations already (AE.maximum_associations)", "maximum_associations", 1),
}


@pytest.mark.parametrize("why", REJECTIONS)
def test_a_rejection(nset, lines, why):
    reason, name, value = REJECTIONS[why]
    ae = entity()
    ae.ae_title = "PACS"
    if why == "number":
        ae.maximum_associations = 1
    with accepting(nset, None, ae) as server, ExitStack() as stack:
        if why == "number":
            stack.enter_context(Peer(port(server), MPPS))
        else:
            setattr(ae, name, value)
        with connected(server) as peer:
            address = "{}:{}".format(*peer.getsockname())
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1) == b"\x03"
        until(lambda: server.counts.open_connections == (why == "number"))
        said = [record for record in caplog_of(lines) if address in record.getMessage()]
    first, last = said
    assert (first.levelname, first.getMessage()) == (
        "WARNING",
        f"Rejecting the association with RAW@{address}: {reason}",
    )
    assert last.getMessage().endswith("rejected")


def caplog_of(lines):
    return [
        record for record in lines.__closure__[0].cell_contents.records if record.name == "nset"
    ]


def test_what_a_peer_calls_itself_forges_no_line(nset, caplog):
    caplog.set_level("DEBUG", "nset")
    sent = associate_rq(MPPS).replace(b"RAW   ", b"R\x1b[2K\n")
    with accepting(nset) as server, connected(server) as peer:
        peer.sendall(sent)
        peer.recv(1000)
        peer.close()
        until(lambda: is_over(server))
    assert all(
        record.getMessage().isprintable() for record in caplog.records if record.name == "nset"
    )


@pytest.mark.parametrize("why", ["idle", "shutdown", "program"])
def test_an_abort_says_why(nset, lines, why):
    ae = entity()
    ae.network_timeout = 0.2 if why == "idle" else TIMEOUT
    with accepting(nset, None, ae) as server, Peer(port(server), MPPS) as peer:
        if why == "program":
            server.active_associations[0].abort()
        elif why == "shutdown":
            server.shutdown(timeout=0)
        while (item := peer.receive()) is not None:
            assert item.type == ABORT
        peer.socket.close()
        said = lines(server, peer)
    level, reason = {
        "idle": ("WARNING", "nothing for SECONDS (AE.network_timeout)"),
        "shutdown": ("WARNING", "the server is shut down"),
        "program": ("INFO", "the program does"),
    }[why]
    assert (level, f"Aborting the association with RAW@ADDRESS: {reason}") in said
    name = {"program": "local"}.get(why, why)
    assert said[-1][1].endswith(f"aborted ({name})")


# -- Processes that are forked ---------------------------------------------------------------------

FORKS = """
import asyncio, multiprocessing, os, socket, subprocess, sys, time, warnings
import nset.scp
import psutil
from acceptors import entity, n_set_pdus, port
from associations import MPPS
from pynetdicom import evt, sop_class
from raw_peer import Peer

how, loop = sys.argv[1:]
if loop == "asyncio":
    nset.scp._run.new_loop = asyncio.SelectorEventLoop
warnings.simplefilter("ignore", DeprecationWarning)
ae = entity()
server = nset.scp.start_server(
    ae, ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_SET, lambda event: (0, None))]
)
number = port(server)
peers = [Peer(number, MPPS) for _ in range(2)]
ends = os.pipe()  # the child lives until the parent closes it
told = os.pipe()

def in_child():
    os.close(ends[1])
    begun = time.monotonic()
    server.shutdown()
    server.shutdown(timeout=0)
    with server:
        pass
    ae.shutdown()
    took = time.monotonic() - begun
    connections = psutil.Process().net_connections("tcp")
    held = [connection for connection in connections if connection.laddr.port == number]
    counts = server.counts
    said = [took < 1, not held, server.active_associations == [], counts.open_connections == 0]
    # And it can have a server of its own.
    own = nset.scp.start_server(entity(), ("127.0.0.1", 0), block=False)
    with Peer(port(own), MPPS) as peer:
        peer.release()
    own.shutdown()
    os.write(told[1], repr(said).encode())
    os.read(ends[0], 1)

if how == "fork":
    child = os.fork()
    if child == 0:
        try:
            in_child()
        finally:
            os._exit(0)
elif how == "multiprocessing":
    process = multiprocessing.get_context("fork").Process(target=in_child)
    process.start()
else:  # and then exec
    command = "import os; print([os.readlink('/proc/self/fd/' + fd) for fd in '3456789'"
    command += " if os.path.exists('/proc/self/fd/' + fd)])"
    print("socket" in subprocess.check_output(
        [sys.executable, "-c", command], close_fds=False, text=True
    ))
    server.shutdown(quiet=0.1, timeout=0.3)
    os._exit(0)
print(os.read(told[0], 100).decode(), flush=True)
# The parent's associations go on, and end with it.
for peer in peers:
    peer.send(n_set_pdus(nset))
    assert peer.receive_message()[0].Status == 0
peers[0].release()
server.shutdown(timeout=0)
while peers[1].receive() is not None:
    pass
try:
    socket.create_connection(("127.0.0.1", number), 2).close()
    print("still bound")
except ConnectionRefusedError:
    print("free")
with socket.socket() as again:
    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    again.bind(("127.0.0.1", number))
    again.listen()
os.close(ends[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks at /proc")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("how", ["fork", "multiprocessing", "exec"])
def test_a_forked_process_has_nothing_of_the_server(nset, how, loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="nset[scp] has it where it can be")
    environment = {
        **os.environ,
        "NSET_IMPLEMENTATION": nset.IMPLEMENTATION,
        "PYTHONPATH": str(SUPPORT),
    }
    ended = subprocess.run(
        [sys.executable, "-c", FORKS, how, loop],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT * 3,
        check=False,
    )
    assert ended.stderr == ""
    wanted = "False\n" if how == "exec" else "[True, True, True, True]\nfree\n"
    assert ended.stdout == wanted


def test_an_option_that_a_socket_does_not_take_any_more(nset, monkeypatch, caplog):
    """As on macOS, where the peer has gone already."""
    stock = socket.socket.setsockopt

    def setsockopt(self, level, option, value):
        if option == socket.TCP_NODELAY and threading.current_thread() is server.thread:
            raise OSError(22, "Invalid argument")
        stock(self, level, option, value)

    with accepting(nset) as server:
        monkeypatch.setattr(socket.socket, "setsockopt", setsockopt)
        with Peer(port(server), MPPS) as peer:
            peer.release()
        assert caplog.records == []


# -- Requests of many items ------------------------------------------------------------------------


def item(kind, value):
    return bytes((kind, 0)) + len(value).to_bytes(2, "big") + value


def long_request(contexts=1, syntaxes=1, user=b"", more=b""):
    """An A-ASSOCIATE-RQ of so many presentation contexts, each with so many transfer syntaxes."""
    names = [*storage_classes(), MPPS.encode()]
    parts = [
        item(
            0x20,
            bytes((2 * number % 256 + 1, 0, 0, 0))
            + item(0x30, names[-1 - number % len(names)])
            + item(0x40, b"1.2.840.10008.1.2") * syntaxes,
        )
        for number in range(contexts)
    ]
    about = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.826.0.1.3680043.8.498.9")
    head = b"\0\1\0\0" + b"ANY-SCP".ljust(16) + b"RAW".ljust(16) + bytes(32)
    application = item(0x10, b"1.2.840.10008.3.1.1.1")
    return pdu(1, head + application + b"".join(parts) + more + item(0x50, about + user))


def storage_classes():
    return [uid.encode() for uid in sop_class._STORAGE_CLASSES.values()]


ROLE = item(0x54, b"\0\x11" + b"1.2.840.10008.1.1" + b"\1\1")
TOO_MANY = {
    "contexts": (long_request(129), "more than 128 presentation contexts"),
    "thousands of contexts": (long_request(12000), "more than 128 presentation contexts"),
    "transfer syntaxes": (long_request(128, 280), "more than 128 items in a presentation context"),
    "user items": (long_request(user=ROLE * 2600), "more than 389 items of user information"),
    "unknown items": (long_request(more=item(0x77, b"") * 200000), "more than 16 items"),
    "unknown user items": (long_request(user=item(0x77, b"") * 16000), "more than 389 items"),
}


@pytest.mark.parametrize(("sent", "reason"), TOO_MANY.values(), ids=TOO_MANY)
@pytest.mark.parametrize("heard", [False, True])
def test_a_request_of_too_many_items(nset, caplog, sent, reason, heard):
    """It is refused before it is parsed, and no other peer waits for that."""
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    if heard:
        handlers.append((evt.EVT_REQUESTED, lambda event: None))
    with accepting(nset, handlers) as server, Peer(port(server), MPPS) as good:
        for _ in range(5):
            with connected(server) as peer:
                peer.sendall(sent)
                with busy_peer(nset, good) as slowest:
                    assert peer.recv(10) == bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0))
            assert slowest[0] < 0.5
        good.release()
        assert server.counts.associations == 1
    lines = errors(caplog)
    assert len(lines) == 5
    assert all("invalid PDU" in line and reason in line for line in lines)


@pytest.mark.parametrize("heard", [False, True])
def test_a_long_request_holds_up_nobody(nset, heard):
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    if heard:
        handlers.append((evt.EVT_REQUESTED, lambda event: None))
    ae = entity()
    for uid in sop_class._STORAGE_CLASSES.values():
        ae.add_supported_context(uid)
    took, waited = [], []
    with accepting(nset, handlers, ae) as server, Peer(port(server), MPPS) as good:
        for _ in range(5):
            with connected(server) as peer:
                began = time.monotonic()
                peer.sendall(long_request(128, 60, ROLE * 100))
                with busy_peer(nset, good) as slowest:
                    assert peer.recv(1) == b"\x02"
                took.append(time.monotonic() - began)
                waited.append(slowest[0])
        assert sum(waited) < sum(took) / 2
        good.release()


@contextmanager
def busy_peer(nset, peer):
    """Have a peer ask all the time; tell of the longest that it has waited."""
    slowest, ends = [0.0], threading.Event()

    def ask():
        while not ends.is_set():
            began = time.monotonic()
            peer.send(n_set_pdus(nset))
            peer.receive_message()
            slowest[0] = max(slowest[0], time.monotonic() - began)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield slowest
    finally:
        ends.set()
        thread.join(TIMEOUT)
