"""nset.scp: what those see who run it: refusals to start, handlers that hang, counts, delays."""

import asyncio
import importlib
import re
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from acceptors import accepting, connected, entity, is_over, n_set_pdus, one_pdu, port, until
from associations import MPPS, TIMEOUT
from command_sets import joined
from durations import Duration
from logs import all_said
from pynetdicom import evt, sop_class
from pynetdicom.sop_class import Verification
from raw_peer import ABORT, Peer, item, pdu
from services import echo_pdu

BAD_COUNTS = [0, -1, -5, 2.5, "3"]


# -- What it is made of ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", BAD_COUNTS)
def test_workers_that_are_none(scp, value):
    ae = entity()
    with pytest.raises(ValueError, match=f"^workers must be an int above 0, not {value!r}$"):
        scp.start_server(ae, ("127.0.0.1", 0), block=False, workers=value)
    assert ae._servers == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_that_is_taken_is_named(scp, host):
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
            if level == socket.SOL_SOCKET:
                options.append(option)

    exclusive = ~socket.SO_REUSEADDR
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", exclusive, raising=False)
    monkeypatch.setattr(socket, "socket", Socket)
    with accepting(nset) as server:
        assert port(server) > 0
        assert options == [exclusive]


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
                    peer.send(echo_pdu() if kind == "C-ECHO" else n_set_pdus(nset, number))
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
            until(lambda: caplog.text.count("still runs after") == 3)
            time.sleep(0.3)  # and not again
        finally:
            may_return.set()
        until(lambda: is_over(server))
        assert server.counts.aborted == {"connection": 3}
    lines = [line for line in all_said(caplog) if "still runs after" in line]
    assert len(lines) == 3
    assert re.search(r"RAW@127.0.0.1:\d+ still runs after 0\.\d s, and its peer has gone", lines[0])


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
            peer.send(echo_pdu())
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


# -- Requests of many items ------------------------------------------------------------------------


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
    lines = all_said(caplog)
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
            took = Duration()
            peer.send(n_set_pdus(nset))
            peer.receive_message()
            took.update()
            slowest[0] = max(slowest[0], took.own)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield slowest
    finally:
        ends.set()
        thread.join(TIMEOUT)
