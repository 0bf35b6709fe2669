"""Nothing of an association over TLS is kept, however it ends, or fails to begin."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from acceptors import accepting, connected, entity, is_over, n_set_pdus, port, until
from associations import MPPS
from certificates import client_context, server_context
from leaks import check_objects, frees_at_once, quiet
from pynetdicom import evt
from raw_peer import ABORT, Peer, associate_rq, pdu, reset_when_closed

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("loop"),
    frees_at_once,
]

FAILING, ABORTING = 8, 9  # Message IDs


async def handle(event: Any) -> Any:
    if event.message_id == FAILING:
        raise LookupError("no database")
    if event.message_id == ABORTING:
        event.assoc.abort()
    return 0x0000, event.modification_list


@contextmanager
def secured(nset: Any, certificates: Any, **options: Any) -> Iterator[Any]:
    """Run a server that trusts a client's certificate."""
    context, handlers = server_context(*certificates), [(evt.EVT_N_SET, handle)]
    with accepting(nset, handlers, ssl_context=context, **options) as server:
        yield server


def check_ways(server: Any, ways: dict[str, Callable[[], Any]]) -> None:
    """See that none keeps anything; each connects once."""

    def once(way: Callable[[], Any]) -> None:
        before = server.counts.connections
        way()
        until(lambda: server.counts.connections > before and is_over(server) and not server.tasks)

    with quiet():
        for way in ways.values():
            check_objects(lambda way=way: once(way), 6)


def hello(context: ssl.SSLContext) -> bytes:
    """What a client begins with."""
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, False, "localhost").do_handshake()
    return sent.read()


def test_ends(nset: Any, certificates: Any) -> None:
    context = client_context(*certificates)

    def converse(*pdus: bytes, answers: int = 0, proposed: int = 1) -> Callable[[Any], None]:
        def run(end: Callable[[Peer], Any] = Peer.receive) -> None:
            with Peer(port(server), *[MPPS] * proposed, context=context) as peer:
                peer.send(*pdus)
                for _ in range(answers):
                    peer.receive_message()
                end(peer)

        return run

    def leave(peer: Peer) -> None:
        pass

    def unwrap(peer: Peer) -> None:
        with suppress(OSError):
            peer.socket.unwrap()

    good = n_set_pdus(nset)
    ask = converse(good, answers=1)
    with secured(nset, certificates) as server:
        check_ways(
            server,
            {
                "released": lambda: ask(Peer.release),
                "several requests": lambda: converse(good * 3, answers=3)(Peer.release),
                "one that fails": lambda: converse(n_set_pdus(nset, FAILING), answers=1)(
                    Peer.release
                ),
                "an ordinary association": lambda: converse(good, answers=1, proposed=100)(
                    Peer.release
                ),
                "aborted": converse(good, pdu(ABORT, bytes(4))),
                "aborted by the server": converse(n_set_pdus(nset, ABORTING)),
                "an invalid PDU": converse(good + b"\x09" + bytes(9), answers=1),
                "TLS is ended": lambda: ask(unwrap),
                "the connection is": lambda: ask(leave),
                "it is reset": lambda: ask(lambda peer: reset_when_closed(peer.socket)),
                "amid a PDU": lambda: converse(good[:-9])(leave),
                "before the answer": lambda: converse(good)(leave),
            },
        )


def test_handshakes_that_fail(nset: Any, certificates: Any) -> None:
    own, client = certificates
    begin = hello(client_context(*certificates))

    def plain(data: bytes, *, is_reset: bool = False, waits: bool = False) -> Callable[[], None]:
        def run() -> None:
            with connected(server) as peer, suppress(ConnectionError):
                peer.sendall(data)
                while waits and peer.recv(4096):
                    pass
                if is_reset:
                    reset_when_closed(peer)

        return run

    def refused(context: ssl.SSLContext) -> Callable[[], None]:
        def run() -> None:
            with (
                connected(server) as bare,
                suppress(ssl.SSLError, ConnectionError),
                context.wrap_socket(bare, server_hostname="localhost") as peer,
            ):
                peer.sendall(associate_rq(MPPS))
                assert peer.recv(100) == b""

        return run

    with secured(nset, certificates) as server:
        check_ways(
            server,
            {
                "no TLS": plain(associate_rq(MPPS), waits=True),
                "no certificate": refused(client_context(own)),
                "another one": refused(client_context(own, own)),
                "the server is not trusted": refused(client_context(client, client)),
                "nothing": plain(b""),
                "the peer disconnects amid it": plain(begin[:50]),
                "it does, and answers no more": plain(begin),
                "it resets the connection": plain(begin, is_reset=True),
            },
        )
        assert server.counts.associations == 0


def test_handshakes_that_take_too_long(nset: Any, certificates: Any) -> None:
    begin, ae = hello(client_context(*certificates)), entity()
    ae.acse_timeout = 0.1

    def stall() -> None:
        peers = [connected(server) for _ in range(12)]
        for peer in peers:
            peer.sendall(begin[:50])
        for peer in peers:
            assert peer.recv(100) == b""
            peer.close()
        until(lambda: not server.tasks)

    with secured(nset, certificates, ae=ae) as server, quiet():
        check_objects(stall, 2)


def test_servers_with_tls(nset: Any, certificates: Any) -> None:
    """Shut down amid an association and a handshake; and where TLS is set later."""
    own, client = certificates
    context, begin = client_context(own, client), hello(client_context(own, client))

    def serve() -> None:
        with (
            secured(nset, certificates) as server,
            Peer(port(server), MPPS, context=context) as peer,
            connected(server) as other,
        ):
            other.sendall(begin[:50])
            peer.send(n_set_pdus(nset))
            peer.receive_message()
            server.stop(0)
            assert peer.receive() == (ABORT, bytes(4))

    def serve_later() -> None:
        with accepting(nset) as server:
            server.ssl_context = server_context(own)
            with Peer(port(server), MPPS, context=client_context(own)) as peer:
                peer.release()

    with quiet():
        check_objects(serve, 4)
        check_objects(serve_later, 4)
