"""nset.scp: servers that share a port, and a listening socket that the program has."""

import asyncio
import socket

import pytest
from acceptors import accepting, entity, port
from associations import MPPS, TIMEOUT
from raw_peer import Peer, associate_rq

ANY = ("127.0.0.1", 0)


class TestReusePort:
    @pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system does not have it")
    def test_two_servers_at_one_address(self, nset, scp):
        async def main():
            async with (
                await scp.serve(entity(), ANY, reuse_port=True) as one,
                await scp.serve(entity(), one.server_address, reuse_port=True) as other,
            ):
                assert one.server_address == other.server_address
                with pytest.raises(OSError, match=str(port(one))):
                    await scp.serve(entity(), one.server_address)

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))
        with accepting(nset, reuse_port=True) as server, Peer(port(server), MPPS) as peer:
            peer.release()

    def test_where_there_is_none(self, scp, monkeypatch):
        monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
        with pytest.raises(ValueError, match="reuse_port needs SO_REUSEPORT"):
            scp.start_server(entity(), ANY, reuse_port=True)


class TestSock:
    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
    def test_it_is_listened_at_and_closed(self, scp, family):
        loopback = "127.0.0.1" if family == socket.AF_INET else "::1"
        sock = socket.socket(family)
        sock.bind((loopback, 0))
        with scp.start_server(entity(), None, block=False, sock=sock) as server:
            assert server.server_address == sock.getsockname()
            socket.create_connection(server.server_address[:2], TIMEOUT).close()
        assert sock.fileno() == -1

    def test_another_copy_goes_on_listening(self, scp, security):
        """As that of another process, or of systemd."""
        options, secured = security
        with socket.create_server(ANY) as copy:
            for _ in range(2):
                sock = copy.dup()
                with scp.start_server(entity(), None, block=False, sock=sock, **options) as server:
                    address = server.server_address
                    with secured(socket.create_connection(address, TIMEOUT)):
                        pass
            with socket.create_connection(address, TIMEOUT):
                copy.settimeout(TIMEOUT)
                copy.accept()[0].close()

    def test_in_a_loop(self, scp):
        async def main():
            sock = socket.create_server(ANY)
            async with await scp.serve(entity(), None, sock=sock) as server:
                _, writer = await asyncio.open_connection(*server.server_address)
                writer.close()
                await writer.wait_closed()
            assert sock.fileno() == -1

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("is_given", [False, True], ids=["address", "sock"])
@pytest.mark.filterwarnings("ignore:Exception ignored in. .*_SSLProtocolTransport")  # of 3.10
@pytest.mark.parametrize("proxies", [[], ["127.0.0.1"]], ids=["direct", "proxy"])
def test_nothing_that_is_sent_waits_for_an_acknowledgement(scp, security, is_given, proxies):
    """TCP_NODELAY is set, whoever makes the sockets."""
    options, secured = security
    sock = socket.create_server(ANY) if is_given else None
    server = scp.start_server(
        *(entity(), None if is_given else ANY),
        block=False,
        sock=sock,
        proxy_protocol=proxies,
        **options,
    )
    with server, socket.create_connection(server.server_address, TIMEOUT) as bare:
        if proxies:
            bare.sendall(b"PROXY UNKNOWN\r\n")
        with secured(bare) as peer:
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1) == b"\x02"
            (path,) = server.connections.connected
            accepted = path.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


class TestArguments:
    @pytest.mark.parametrize(
        ("address", "kind", "options", "match"),
        [
            (ANY, socket.SOCK_STREAM, {}, "either address or sock must be given"),
            (None, None, {}, "either address or sock must be given"),
            (None, socket.SOCK_STREAM, {"reuse_port": True}, "sock is bound already"),
            (None, socket.SOCK_DGRAM, {}, "sock must be a TCP socket, not <socket.socket"),
        ],
    )
    def test_what_is_refused(self, scp, address, kind, options, match):
        sock = None if kind is None else socket.socket(type=kind)
        try:
            with pytest.raises(ValueError, match=match):
                scp.start_server(entity(), address, sock=sock, **options)
        finally:
            if sock is not None:
                sock.close()
