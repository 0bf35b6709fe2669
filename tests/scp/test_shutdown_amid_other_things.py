"""nset.scp: shutdowns while handlers, handshakes, the loop or a program are at something."""

import asyncio
import gc
import importlib
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from acceptors import accepting, entity, port, until
from associations import MPPS, TIMEOUT
from certificates import new_contexts
from durations import takes
from ends import ECHO, RELEASE, RELEASED, exits
from paths import SUPPORT
from pynetdicom import evt
from raw_peer import ABORT, RELEASE_RQ, Peer, associate_rq
from shutdowns import shutting_down


@pytest.mark.parametrize("bad", ["slow", "exits"])
def test_handlers_of_the_abort_do_not_hold_up_a_shutdown(nset, bad):
    """They run beside each other, and where one fails the other associations end all the same."""
    may_return = threading.Event()

    def aborted(event):
        if bad == "exits":
            exits(event)
        may_return.wait(TIMEOUT)

    with accepting(nset, [(evt.EVT_ABORTED, aborted)]) as server:
        peers = [Peer(port(server), MPPS) for _ in range(4)]
        with shutting_down(server, quiet=0.1):
            assert [peer.receive().type for peer in peers] == [RELEASE_RQ] * 4
            with takes(0, 2.5):
                server.shutdown(timeout=0)
        for peer in peers:
            with peer:
                assert peer.receive().type == ABORT
        may_return.set()


def test_handlers_of_the_abort_have_run_when_the_server_is_shut_down(nset):
    stored = []

    def aborted(event):
        time.sleep(0.2)
        stored.append(event.assoc)

    with accepting(nset, [(evt.EVT_ABORTED, aborted)]) as server:
        with Peer(port(server), MPPS) as peer, shutting_down(server, quiet=0.1):
            assert peer.receive().type == RELEASE_RQ
            server.stop(timeout=0)
            assert peer.receive().type == ABORT
        assert len(stored) == 1


def test_an_async_handler_of_another_service_is_cancelled(nset):
    has_begun, ended = threading.Event(), []

    async def handle(event):
        has_begun.set()
        try:
            await asyncio.sleep(TIMEOUT * 10)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    ae = entity(ECHO)
    with accepting(nset, [(evt.EVT_C_ECHO, handle)], ae) as server:
        assoc = ae.associate("127.0.0.1", port(server))
        threading.Thread(target=assoc.send_c_echo, daemon=True).start()
        assert has_begun.wait(TIMEOUT)
        server.shutdown(timeout=0.1)
    assert ended == ["cancelled"]
    until(lambda: "nset-service" not in [thread.name for thread in threading.enumerate()])


def test_a_tls_handshake_that_ends_while_the_server_shuts_down(nset, tmp_path):
    server_context, context = new_contexts(tmp_path)
    with accepting(nset, None, ssl_context=server_context) as server:

        def connect():
            return socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)

        def associate(bare):
            peer = context.wrap_socket(bare, server_hostname="localhost")
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(1000)[0] == 0x02
            return peer

        early, late = associate(connect()), connect()
        until(lambda: server.counts.connections == 2)
        thread = threading.Thread(target=server.shutdown, daemon=True)
        thread.start()
        until(lambda: server.is_releasing)
        late = associate(late)
        for peer in (early, late):
            assert peer.recv(10) == RELEASE
            peer.sendall(RELEASED)
            peer.close()
        thread.join(TIMEOUT / 2)
        assert not thread.is_alive()


@pytest.mark.parametrize("block", [True, False])
def test_a_shutdown_before_the_loop_runs(scp, monkeypatch, block):
    made, may_go_on = threading.Event(), threading.Event()
    running = importlib.import_module("nset.scp._run")
    stock = running.new_loop

    def new_loop():
        made.set()
        assert may_go_on.wait(TIMEOUT)
        return stock()

    monkeypatch.setattr(running, "new_loop", new_loop)
    ae = entity()
    threads = [
        threading.Thread(target=scp.start_server, args=(ae, ("127.0.0.1", 0), block), daemon=True)
    ]
    threads[0].start()
    assert made.wait(TIMEOUT)
    (server,) = ae._servers
    threads.append(threading.Thread(target=ae.shutdown, daemon=True))
    threads[1].start()
    until(lambda: server._is_to_stop)
    may_go_on.set()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    assert ae._servers == []


def test_a_serve_that_is_cancelled(scp):
    ae = entity()

    async def main():
        for turns in range(3):
            task = asyncio.create_task(scp.serve(ae, ("127.0.0.1", 0)))
            for _ in range(turns):
                await asyncio.sleep(0)
            (servers,) = [list(ae._servers)]
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await (await task).close()
            for _ in range(100):
                if ae._servers == []:
                    break
                await asyncio.sleep(0.01)
            assert ae._servers == []
            for server in servers:
                assert server.socket is None or server.socket.fileno() == -1

    asyncio.run(main())
    gc.collect()  # a socket that was left behind would be an error


def test_a_connection_that_is_accepted_at_the_end(scp):
    """Not even a peer that has connected while the server ends is left with an open socket."""
    ae = entity()

    async def main():
        loop = asyncio.get_running_loop()
        for turns in range(6):
            server = await scp.serve(ae, ("127.0.0.1", 0))
            with socket.create_connection(("127.0.0.1", server.server_address[1]), TIMEOUT) as peer:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await server.close(0)
                peer.setblocking(False)
                with suppress(ConnectionError):  # where the loop had not accepted it
                    assert await asyncio.wait_for(loop.sock_recv(peer, 1), TIMEOUT) == b""

    asyncio.run(main())
    gc.collect()  # a socket that was left behind would be an error


@pytest.mark.skipif(os.name != "posix", reason="the loop of the script is posix's")
def test_a_shutdown_in_debug_mode(nset):
    """asyncio then refuses what is not safe to call from another thread."""
    environment = {
        **os.environ,
        "NSET_IMPLEMENTATION": nset.IMPLEMENTATION,
        "PYTHONPATH": str(SUPPORT),
    }
    script = """
import threading
import time
import nset.scp
from acceptors import entity, port
from associations import MPPS
from pynetdicom import evt
from raw_peer import RELEASE_RP, Peer, pdu

def agree():
    peer.receive()
    time.sleep(0.2)  # until a thread waits for it
    peer.send(pdu(RELEASE_RP, bytes(4)))
    peer.socket.close()

handlers = [(evt.EVT_RELEASED, lambda event: None)]
server = nset.scp.start_server(entity(), ("127.0.0.1", 0), block=False, evt_handlers=handlers)
peer = Peer(port(server), MPPS)
threading.Thread(target=agree).start()
server.shutdown()
print(server.active_associations)
"""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT * 3,
        check=True,
    )
    assert ended.stdout == "[]\n"
    assert "Error" not in ended.stderr
