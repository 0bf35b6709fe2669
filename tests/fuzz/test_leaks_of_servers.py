"""Nothing that a server does, or that ends an association, keeps memory or objects of it."""

import asyncio
import importlib
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import inputs
import pytest
from acceptors import accepting, ended, entity, n_set_pdus, port
from associations import INSTANCE, MPPS, TIMEOUT, associated, completed, serving, status_dataset
from bad_requests import ABORTED, REFUSED
from certificates import make_certificate, server_context
from cores import TWINS
from fuzzed_associations import associate, close_servers
from leaks import check, check_objects, frees_at_once, no_more_objects, quiet, tried
from n_set_requests import message, request
from pynetdicom import evt
from raw_peer import Peer

pytestmark = [pytest.mark.filterwarnings("ignore"), frees_at_once]
RELEASE = bytes.fromhex("05000000000400000000")


# -- Associations ---------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[None]:
    yield
    close_servers()


@pytest.mark.parametrize("name", TWINS)
def test_associations(name: str, ends: None) -> None:
    streams = {
        "an N-SET and a release": message(request()) + RELEASE,
        "a refused one": message(request({0x1001: b"1.a "})) + RELEASE,
        "an invalid PDU": message(request()) + b"\x09" + bytes(9),
        "the half of one": message(request())[:-30],
    }
    with quiet():
        for how in (1, 3):
            for stream in streams.values():
                check_objects(lambda how=how, stream=stream: associate(name, how, 0, stream), 30)


@pytest.mark.parametrize("name", TWINS)
def test_all_that_may_happen_to_an_association(name: str, ends: None) -> None:
    """That is, what the corpus of fuzzing reaches: each of it once, since it is so much."""
    corpus = inputs.corpus("association")
    assert len(corpus) > 50

    def converse(corpus: list[bytes]) -> None:
        for data in corpus:
            associate(name, data[0], data[1], data[2:])

    with quiet():
        converse(corpus[::10])
        with no_more_objects(2):
            converse(corpus)


# -- Servers --------------------------------------------------------------------------------------


@pytest.fixture
def scp(nset: Any) -> Any:
    return importlib.import_module("nset.scp")


def test_servers(nset: Any, scp: Any) -> None:
    """Started and shut down, in a thread and in a loop; with N-SETs that end in every way."""

    logs = importlib.import_module("nset.logs")

    def refuse(event: Any) -> None:
        raise nset.StatusError(0x0110, "No", error_id=7)

    outcomes: dict[str, Callable[[Any], Any]] = {
        "success": lambda event: (0x0000, None),
        "a list": lambda event: (0x0000, completed()),
        "read": lambda event: (0x0107, event.modification_list),
        "logged": lambda event: (0x0000 if logs.fields(event) else 0x0110, None),
        "a status": lambda event: (status_dataset(Status=0x0110, ErrorComment="No"), None),
        "raised": lambda event: 1 // 0,
        "no answer": lambda event: None,
        "a StatusError": refuse,
    }
    done = iter(())

    def handle(event: Any) -> Any:
        return next(done)(event)

    async def handle_later(event: Any) -> Any:
        await asyncio.sleep(0)
        return next(done)(event)

    def serve(handler: Callable[[Any], Any]) -> None:
        nonlocal done
        done = iter(outcomes.values())
        with accepting(nset, [(evt.EVT_N_SET, handler)], metrics=True) as server:
            with Peer(port(server), MPPS) as peer:
                for number in range(len(outcomes)):
                    peer.send(n_set_pdus(nset, number))
                    peer.receive_message()
                assert server.counts.n_set_requests == len(outcomes)
                assert server.active_associations
            server.bind(evt.EVT_C_ECHO, handler)
            server.unbind(evt.EVT_C_ECHO, handler)

    async def in_a_loop() -> None:
        async with await scp.serve(entity(), ("127.0.0.1", 0)) as server:
            assert server.accepts_connections
            await server.close(0)

    with quiet():
        for handler in handle, handle_later:
            check_objects(lambda handler=handler: serve(handler), 6)
        check_objects(lambda: asyncio.run(in_a_loop()), 6)


def test_connections_that_are_no_associations(nset: Any, tmp_path: Any) -> None:
    """Without a proposal, in TLS or not, by way of a proxy or not."""
    certificate = make_certificate(tmp_path, "server")
    good, proxied = server_context(certificate), b"PROXY TCP4 192.0.2.1 192.0.2.2 7 104\r\n"
    hello = message(request())
    ways: dict[str, tuple[dict[str, Any], bytes]] = {
        "nothing": ({}, b""),
        "no A-ASSOCIATE-RQ": ({}, hello),
        "no TLS": ({"ssl_context": good}, hello),
        "no header of a proxy": ({"proxy_protocol": True}, hello),
        "a good one, and no A-ASSOCIATE-RQ": ({"proxy_protocol": True}, proxied + hello),
        "a good one, and no TLS": ({"proxy_protocol": True, "ssl_context": good}, proxied + hello),
        "one from elsewhere": ({"proxy_protocol": ["192.0.2.7"]}, proxied),
    }
    with quiet():
        for options, sent in ways.values():
            with accepting(nset, **options) as server:

                def connect(server: Any = server, sent: bytes = sent) -> None:
                    with (
                        socket.create_connection(server.server_address, TIMEOUT) as peer,
                        suppress(OSError),  # it may be reset
                    ):
                        peer.sendall(sent)
                        peer.shutdown(socket.SHUT_WR)
                        while peer.recv(4096):
                            pass

                check_objects(connect, 20)


def test_what_is_no_server(nset: Any, scp: Any) -> None:
    """What can't be started, and what is not in a server's loop."""
    ae, address = entity(), ("127.0.0.1", 0)
    without = type(ae)()
    wrong = {"workers": 0, "proxy_protocol": ["nowhere"], "sock": 7}
    actions = {
        f"{name} = {value!r}": tried(scp.start_server, ae, address, False, **{name: value})
        for name, value in wrong.items()
    }
    for name in ("pdu_length", "data_set_bytes", "connections", "first_pdu_timeout"):
        actions[f"limit {name}"] = tried(scp.Limits, **{name: -1})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        actions |= {
            "limits": scp.Limits,
            "no context": tried(scp.start_server, without, address, False),
            "an address that is taken": tried(scp.start_server, ae, taken.getsockname(), False),
            "run: no process": tried(scp.run, ae, address, 0),
            "run: no address": tried(scp.run, ae, None, 1),
            "run: no network": tried(scp.run, ae, address, 1, proxy_protocol=["nowhere"]),
        }
        check(actions)
        assert ae._servers == []


def test_metrics(nset: Any, scp: Any) -> None:
    pytest.importorskip("prometheus_client")
    metrics = importlib.import_module("nset.scp.metrics")
    with accepting(nset) as server:
        collector = metrics.Collector(server)

        def ask() -> None:
            for path in ("/metrics", "/healthz", "/readyz", "/"):
                try:
                    with urllib.request.urlopen(address + path, timeout=TIMEOUT) as answer:
                        answer.read()
                except urllib.error.HTTPError as error:
                    error.close()

        check(
            {
                "collect": lambda: list(collector.collect()),
                "describe": collector.describe,
                "counts": lambda: server.counts,
                "an address that is taken": tried(
                    metrics.serve_http, server.server_address, server
                ),
            }
        )
        with quiet(), no_more_objects(0):
            endpoint = metrics.start_http_server(("127.0.0.1", 0), server)
            address = "http://{}:{}".format(*endpoint.server_address)
            check_objects(ask, 10)
            endpoint.shutdown()
            endpoint.server_close()
            del endpoint


def test_systemd(nset: Any, scp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = importlib.import_module("nset.scp.systemd")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")

    def several() -> None:
        os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
        systemd.listening_socket()

    check(
        {
            "none": systemd.listening_socket,
            "several": tried(several),
            "nobody is told": tried(systemd.notify),
        }
    )


# -- install() ------------------------------------------------------------------------------------


def test_installed(nset: Any) -> None:
    """pynetdicom's own server and requestor, with N-SETs that end in every way."""
    integration = importlib.import_module("nset.pynetdicom")

    def refuse(event: Any) -> None:
        raise nset.StatusError(0x0110, "No")

    answers: list[Callable[[Any], Any]] = [
        lambda event: (0x0000, event.modification_list),
        lambda event: (status_dataset(Status=0x0110, ErrorComment="No"), None),
        lambda event: 1 // 0,
        refuse,
    ]

    def converse() -> None:
        waiting = iter(answers)
        handlers = {evt.EVT_N_SET: lambda event: next(waiting)(event)}
        with associated(server, MPPS, handlers) as (requestor, _):
            for _ in answers:
                requestor.send_n_set(completed(), MPPS, INSTANCE)

    def send() -> None:
        for stream in bad:
            with Peer(port(server), MPPS) as peer:
                peer.send(stream + RELEASE)
                while peer.receive() is not None:
                    pass
        ended(server)

    def install_twice() -> None:
        with integration.installed(), integration.installed(nodelay=False):
            assert integration.is_installed()

    bad = [*[case[0] for case in REFUSED.values()][:2], *[case[0] for case in ABORTED.values()][:2]]
    check(
        {
            "install": lambda: (integration.install(), integration.uninstall()),
            "installed": install_twice,
        }
    )
    with quiet(), serving(MPPS) as server, integration.installed():
        check_objects(converse, 6)
        check_objects(send, 4)
