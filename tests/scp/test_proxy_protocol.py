"""nset.scp behind a proxy that says for whom it has connected."""

import asyncio
import importlib
import logging
import socket
import struct
import sys

import pytest
from acceptors import accepting, entity, is_over, n_set_pdus, port, until
from associations import MPPS, TIMEOUT
from certificates import client_context, server_context
from hypothesis import given, settings
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS, loaded
from logs import all_said, warnings_of
from pynetdicom import evt
from raw_peer import ABORT, Peer, associate_rq, reset_when_closed

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 10.0.0.4 10.0.0.5 1042 104\r\n"
BLOCK = SIGNATURE + b"\x21\x11\0\x0c" + bytes((10, 0, 0, 4, 10, 0, 0, 5)) + b"\x04\x12\0\x68"
IPV6 = b"PROXY TCP6 2001:db8::4 ::1 1042 104\r\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"
UNKNOWN = b"PROXY UNKNOWN\r\n"
MODALITY = ("10.0.0.4", 1042)
PROXIES = {
    "version 1": (LINE, MODALITY),
    "version 2": (BLOCK, MODALITY),
    "IPv6": (IPV6, ("2001:db8::4", 1042)),
    "LOCAL": (LOCAL, None),
    "UNKNOWN": (UNKNOWN, None),
}
LOOPBACK = ["127.0.0.0/8"]


class Proxied(Peer):
    """A peer behind a proxy."""

    def __init__(self, server, header, context=None):
        bare = socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.own = bare.getsockname()
        if context is None:
            bare.sendall(header + associate_rq(MPPS))  # in one write
            self.socket = bare
        else:
            bare.sendall(header)
            self.socket = context.wrap_socket(bare, server_hostname="localhost")
            self.socket.sendall(associate_rq(MPPS))
        assert self.receive().type == 0x02


def sent(server, *parts):
    """A connection on which these have been sent, as packets of their own."""
    peer = socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for part in parts:
        peer.sendall(part)
    return peer


@pytest.mark.usefixtures("loop")
class TestAddress:
    @pytest.mark.parametrize("is_secure", [False, True], ids=["TCP", "TLS"])
    @pytest.mark.parametrize(("header", "modality"), PROXIES.values(), ids=PROXIES)
    def test_it_is_that_of_the_modality(
        self, nset, header, modality, is_secure, certificates, caplog
    ):
        caplog.set_level(logging.INFO, "nset")
        own, _ = certificates
        seen, peers = [], []

        async def handle(event):
            requestor = event.assoc.requestor
            seen.append((requestor.address, requestor.port))
            peers.append(event.peer_address)
            return 0x0000, None

        def opened(event):
            seen.append(event.address[:2])

        secure = {"ssl_context": server_context(own)} if is_secure else {}
        context = client_context(own) if is_secure else None
        handlers = [(evt.EVT_N_SET, handle), (evt.EVT_CONN_OPEN, opened)]
        with accepting(nset, handlers, proxy_protocol=True, **secure) as server:
            with Proxied(server, header, context) as peer:
                host, number = modality or peer.own
                peer.send(n_set_pdus(nset))
                assert peer.receive_message()[0].Status == 0x0000
                peer.release()
            until(lambda: is_over(server))
        assert seen == [(host, number)] * 2
        assert peers == [host]
        name = f"RAW@[{host}]:{number}" if ":" in host else f"RAW@{host}:{number}"
        assert f"Accepted the association with {name}: " in "".join(all_said(caplog))

    @pytest.mark.parametrize("header", [LINE, BLOCK, UNKNOWN, LOCAL], ids=repr)
    def test_byte_by_byte(self, nset, header):
        with accepting(nset, proxy_protocol=True) as server:
            bytes_of_it = [header[i : i + 1] for i in range(len(header))]
            with sent(server, *bytes_of_it, associate_rq(MPPS)) as peer:
                assert peer.recv(1) == b"\x02"

    def test_longest_headers(self, nset):
        filled = UNKNOWN[:-2] + b" " + b"x" * (107 - len(UNKNOWN) - 1) + b"\r\n"
        assert len(filled) == 107
        block = BLOCK[:14] + struct.pack(">H", 4096) + BLOCK[16:]
        block += bytes(4096 + 16 - len(block))
        with accepting(nset, proxy_protocol=True) as server:
            for header in (filled, block):
                with sent(server, header + associate_rq(MPPS)) as peer:
                    assert peer.recv(1) == b"\x02"


HEADERS = st.sampled_from([LINE, BLOCK, IPV6, LOCAL, UNKNOWN, BLOCK[:15] + b"\x14" + bytes(20)])


class TestReading:
    """What is read of a connection, whatever comes in whatever parts."""

    def read(self, parts):
        """What `peer_behind` makes of them, and what is still there."""
        with loaded(IMPLEMENTATIONS[0]):
            peer_behind = importlib.import_module("nset.scp._proxy").peer_behind

        async def send(far):
            for part in parts:
                far.sendall(part)
                await asyncio.sleep(0)
            far.shutdown(socket.SHUT_WR)

        async def both(near, far):
            address, _ = await asyncio.gather(peer_behind(near, ("127.0.0.1", 1)), send(far))
            return address

        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            address = asyncio.run(both(near, far))
            near.setblocking(True)
            with near.makefile("rb") as rest:
                return address, rest.read()

    @settings(max_examples=30)
    @given(HEADERS, st.binary(max_size=50), st.lists(st.integers(1, 60), max_size=8))
    def test_no_byte_more_than_the_header(self, header, tail, lengths):
        whole, parts = header + tail, []
        for length in lengths:
            parts.append(whole[:length])
            whole = whole[length:]
        address, rest = self.read([*parts, whole])
        assert address is not None
        assert rest == tail

    @settings(max_examples=60)
    @given(st.sampled_from([b"", b"PROXY ", SIGNATURE, b"PROXY TCP4 "]), st.binary(max_size=200))
    def test_any_bytes(self, first, others):
        address, _ = self.read([first + others])
        assert address is None or address[1] <= 0xFFFF


class TestRefused:
    @pytest.mark.parametrize(
        ("received", "why"),
        [
            (associate_rq(MPPS), r"it begins with b'\x01\x00"),
            (
                b"PROXY TCP4 pacs ::1 1 1\r\n",
                "the PROXY protocol header is invalid: b'PROXY TCP4 p",
            ),
            (b"PROXY TCP4 " + b"1" * 96, "the PROXY protocol header has no end in 107 bytes"),
            (b"PROXY \r\n01234567", "the PROXY protocol header is invalid: b'PROXY \\r\\n0123456'"),
            (SIGNATURE + b"\x21\x11\x10\x01", "the PROXY protocol header has 4097 bytes after"),
            (SIGNATURE + b"\x21\x11\0\x04abcd", "the PROXY protocol header has 4 bytes for its"),
            (SIGNATURE + b"\x41\x11\0\0", "the PROXY protocol header is invalid: b"),
        ],
    )
    def test_what_is_no_header(self, nset, received, why, caplog):
        with accepting(nset, proxy_protocol=True) as server, sent(server, received) as peer:
            name = "{}:{}".format(*peer.getsockname())
            assert closes(peer)
            until(lambda: is_over(server))
            assert server.counts.aborted == {}
        (line,) = warnings_of(caplog)
        assert line.startswith(f"Closing the connection with {name}: {why}")

    @pytest.mark.skipif(sys.platform == "darwin", reason="127.0.0.2 is not there")
    def test_only_networks_that_are_named_may_send_it(self, nset):
        with accepting(nset, proxy_protocol=["127.0.0.2/32"]) as server:
            with sent(server, LINE + associate_rq(MPPS)) as peer:
                assert peer.recv(1) == bytes((ABORT,))
            with Peer(port(server), MPPS) as peer:
                peer.release()
            source = ("127.0.0.2", 0)
            with socket.create_connection(server.server_address, TIMEOUT, source) as peer:
                peer.sendall(LINE + associate_rq(MPPS))
                assert peer.recv(1) == b"\x02"
                (assoc,) = server.active_associations
                assert assoc.requestor.address == MODALITY[0]

    @pytest.mark.parametrize("first", [b"", LINE[:10], BLOCK[:20], LOCAL, LINE + b"\x01"])
    def test_a_header_and_pdu_that_take_too_long(self, nset, scp, first, caplog):
        caplog.set_level(logging.INFO, "nset")
        limits = scp.Limits(first_pdu_timeout=0.2)
        with (
            accepting(nset, proxy_protocol=LOOPBACK, limits=limits) as server,
            sent(server, first) as peer,
        ):
            assert closes(peer)
            until(lambda: is_over(server))
        (line,) = all_said(caplog)
        assert "which has sent no PDU in 0.2 s" in line

    def test_connections_without_a_header_count(self, nset, scp):
        ae = entity()
        limits = scp.Limits(connections=2)
        with (
            accepting(nset, ae=ae, proxy_protocol=LOOPBACK, limits=limits) as server,
            sent(server) as first,
            sent(server, LINE) as second,
        ):
            until(lambda: server.counts.connections == 2)
            with Proxied(server, LINE) as third:
                assert closes(first)
                third.release()
            assert server.counts.refused_connections == 1
            assert second.send(b"\x01") == 1


def closes(peer):
    """Tell whether the server closes the connection."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


class TestHealthChecks:
    @pytest.mark.parametrize("is_secure", [False, True], ids=["TCP", "TLS"])
    @pytest.mark.parametrize("resets", [False, True], ids=["FIN", "RST"])
    @pytest.mark.parametrize("header", [b"", LOCAL, LINE, BLOCK[:20]], ids=repr)
    def test_they_are_no_noise(self, nset, header, resets, is_secure, certificates, caplog):
        """They connect, send a header or not, and disconnect."""
        caplog.set_level(logging.INFO)
        own, _ = certificates
        secure = {"ssl_context": server_context(own)} if is_secure else {}
        with accepting(nset, proxy_protocol=LOOPBACK, **secure) as server:
            peer = sent(server, header)
            if resets:
                reset_when_closed(peer)
            peer.close()
            context = client_context(own) if is_secure else None
            with Proxied(server, LINE, context) as peer:
                until(lambda: server.counts.open_connections == 1)
                until(lambda: not server.connections.connecting)
            until(lambda: is_over(server))
            counts = server.counts
        assert (counts.connections, counts.associations) == (2, 1)
        assert counts.aborted == {"connection": 1}  # that of the peer, which did not release it
        assert not any("disconnected" in line or "Closing" in line for line in all_said(caplog))
        assert [record for record in caplog.records if record.levelno > logging.INFO] == []
