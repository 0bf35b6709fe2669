"""nset.scp: a server that is shut down answers what it was asked, and lets everybody know."""

import asyncio
import gc
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from acceptors import accepting, entity, n_set_pdus, port, until
from associations import MPPS, TIMEOUT
from durations import takes, timed
from pynetdicom import evt
from raw_peer import ABORT, RELEASE_RQ, Peer
from shutdowns import (
    DEADLINE,
    KINDS,
    RELEASE,
    RELEASED,
    SLACK,
    agree_to_release,
    answered,
    bound,
    flood,
    is_refused,
    shutting_down,
    succeed,
)


class TestIdleAssociations:
    def test_are_released(self, nset):
        with accepting(nset) as server:
            peers = [Peer(port(server), MPPS) for _ in range(3)]
            with takes(0, SLACK), shutting_down(server, quiet=0.1):
                for peer in peers:
                    with peer:
                        agree_to_release(peer)
            assert server.counts.released == 3
            assert server.counts.aborted == {}

    def test_of_pynetdicom_are_released(self, nset):
        ae = entity()
        with accepting(nset, ae=ae) as server:
            assoc = ae.associate("127.0.0.1", port(server))
            assert assoc.is_established
            with takes(0, SLACK):
                server.shutdown(quiet=0.1)
            assoc.join(TIMEOUT)
            assert assoc.is_released
            assert not assoc.is_aborted

    def test_that_have_asked_before_are_released(self, nset):
        with accepting(nset, bound(succeed)) as server, Peer(port(server), MPPS) as peer:
            peer.send(n_set_pdus(nset, 7))
            assert answered(peer) == 7
            with shutting_down(server):
                agree_to_release(peer)

    def test_in_a_loop_of_ones_own(self, scp):

        async def serve():
            server = await scp.serve(entity(), ("127.0.0.1", 0))
            async with server:
                peer = await asyncio.to_thread(Peer, port(server), MPPS)
                agreed = asyncio.create_task(asyncio.to_thread(agree_to_release, peer))
            await agreed
            peer.socket.close()
            assert server.active_associations == []
            await server.close()

        asyncio.run(asyncio.wait_for(serve(), TIMEOUT))


class TestDeadline:
    def test_peer_that_does_not_answer_is_aborted(self, nset):
        with accepting(nset) as server, Peer(port(server), MPPS) as peer:
            with shutting_down(server, quiet=0.1):
                assert peer.receive() == RELEASE
                with takes(DEADLINE, DEADLINE + SLACK):
                    server.shutdown(timeout=DEADLINE)
            aborted = peer.receive()
            assert aborted.type == ABORT
            assert peer.receive() is None
            assert server.counts.aborted == {"shutdown": 1}

    def test_none_at_all(self, nset):
        with accepting(nset) as server, Peer(port(server), MPPS) as peer:
            with takes(0, SLACK):
                server.shutdown(timeout=0)
            received = []
            while (item := peer.receive()) is not None:
                received.append(item.type)
            assert received[-1] == ABORT

    def test_connection_without_an_association(self, nset):
        with accepting(nset) as server:
            address = ("127.0.0.1", port(server))
            with socket.create_connection(address, TIMEOUT) as silent:
                until(lambda: server.counts.open_connections == 1)
                with takes(0, DEADLINE + SLACK):
                    server.shutdown(timeout=DEADLINE)
                assert silent.recv(1) == b""

    def test_peer_that_does_not_read(self, nset):
        with accepting(nset, bound(succeed)) as server:
            peer = Peer(port(server), MPPS)
            peer.socket.settimeout(0.2)
            with peer:
                flood(peer, n_set_pdus(nset) * 500)
                with takes(0, DEADLINE + SLACK):
                    server.shutdown(timeout=DEADLINE)

    def test_plain_handler_that_never_ends(self, nset):
        called, end = threading.Event(), threading.Event()

        def handle(event):
            called.set()
            end.wait(TIMEOUT)
            return 0x0000, None

        with accepting(nset, bound(handle)) as server, Peer(port(server), MPPS) as peer:
            peer.send(n_set_pdus(nset))
            assert called.wait(TIMEOUT)
            try:
                with takes(DEADLINE, DEADLINE + SLACK):
                    server.shutdown(timeout=DEADLINE)
                assert peer.receive().type == ABORT
                assert peer.receive() is None
            finally:
                end.set()

    def test_async_handler_that_never_ends(self, nset, caplog):
        called = threading.Event()

        async def handle(event):
            called.set()
            await asyncio.Event().wait()

        handlers = [(evt.EVT_N_SET, handle)]
        with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
            peer.send(n_set_pdus(nset))
            assert called.wait(TIMEOUT)
            with takes(DEADLINE, DEADLINE + SLACK):
                server.shutdown(timeout=DEADLINE)
            assert peer.receive().type == ABORT
            assert peer.receive() is None
        del handle
        gc.collect()
        assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


class TestInFlight:
    @pytest.mark.parametrize("kind", KINDS)
    def test_requests_are_answered(self, nset, kind):
        def handle(event):
            time.sleep(0.005)
            return 0x0000, None

        ids = list(range(1, 51))
        with accepting(nset, bound(handle, kind)) as server, Peer(port(server), MPPS) as peer:
            peer.send(*(n_set_pdus(nset, message_id) for message_id in ids))
            got = [answered(peer)]
            with shutting_down(server):
                got += [answered(peer) for _ in ids[1:]]
                agree_to_release(peer)
            assert got == ids

    def test_answer_comes_before_the_release(self, nset):
        called, end = threading.Event(), threading.Event()

        def handle(event):
            called.set()
            end.wait(TIMEOUT)
            return 0x0000, None

        with accepting(nset, bound(handle)) as server, Peer(port(server), MPPS) as peer:
            peer.send(n_set_pdus(nset, 7))
            assert called.wait(TIMEOUT)
            with shutting_down(server):
                time.sleep(0.2)
                end.set()
                assert answered(peer) == 7
                agree_to_release(peer)

    def test_new_connections_are_refused(self, nset):
        called, end = threading.Event(), threading.Event()

        def handle(event):
            called.set()
            end.wait(TIMEOUT)
            return 0x0000, None

        with accepting(nset, bound(handle)) as server, Peer(port(server), MPPS) as peer:
            address = ("127.0.0.1", port(server))
            peer.send(n_set_pdus(nset, 7))
            assert called.wait(TIMEOUT)
            with shutting_down(server):
                until(lambda: is_refused(address))
                time.sleep(0.2)
                assert is_refused(address)
                end.set()
                assert answered(peer) == 7
                agree_to_release(peer)


class TestCalls:
    @pytest.mark.parametrize("kind", ["async", "inline", "plain"])
    def test_from_a_handler(self, nset, kind):
        times = []

        def handle(event):
            with timed() as took:
                server.shutdown()
            times.append(took.own)
            return 0x0000, None

        async def handle_in_loop(event):
            return handle(event)

        handlers = [(evt.EVT_N_SET, handle_in_loop if kind == "async" else handle)]
        with (
            accepting(nset, handlers, inline=kind == "inline") as server,
            Peer(port(server), MPPS) as peer,
        ):
            peer.send(n_set_pdus(nset, 7))
            assert answered(peer) == 7
            agree_to_release(peer)
            server.thread.join(TIMEOUT)
            assert not server.thread.is_alive()
            assert times[0] < 0.05

    def test_twice(self, nset):
        with accepting(nset) as server, Peer(port(server), MPPS) as peer:
            with shutting_down(server):
                agree_to_release(peer)
            with takes(0, 0.5):
                server.shutdown()
                server.shutdown(timeout=0)
                server.stop()

    def test_by_many_at_once(self, nset):
        with accepting(nset) as server, Peer(port(server), MPPS) as peer:
            with ThreadPoolExecutor(4) as pool:
                ended = [pool.submit(server.shutdown) for _ in range(4)]
                agree_to_release(peer)
                for future in ended:
                    future.result(TIMEOUT)
            assert server.counts.released == 1

    def test_by_the_ae(self, nset):
        ae = entity()
        with accepting(nset, ae=ae) as server, Peer(port(server), MPPS) as peer:
            thread = threading.Thread(target=ae.shutdown, daemon=True)
            thread.start()
            ended = []
            while (item := peer.receive()) is not None:
                ended.append(item.type)
                if item == RELEASE:
                    peer.send(RELEASED)
            assert ended in ([RELEASE_RQ], [ABORT])
            thread.join(TIMEOUT)
            assert not thread.is_alive()
            assert ae._servers == []
