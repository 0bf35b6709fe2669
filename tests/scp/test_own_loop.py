"""nset.scp in a program's own event loop."""

import asyncio
import importlib
import socket
from contextlib import closing

import pytest
import services
from acceptors import entity, port, until
from associations import MPPS, TIMEOUT, send_n_set
from certificates import client_context, server_context
from pynetdicom import evt
from raw_peer import associate_rq, pdu, reset_when_closed
from services import (
    SINGLE,
    answers_of,
    as_async,
    everything,
    observed,
    single,
)


class TestServe:
    def test_async_with(self, scp):
        async def main():
            seen = []
            loop = asyncio.get_running_loop()

            async def handle(event):
                seen.append(asyncio.get_running_loop() is loop)
                return 0x0000, None

            ae = entity()
            handlers = [(evt.EVT_N_SET, handle)]
            async with await scp.serve(ae, ("127.0.0.1", 0), evt_handlers=handlers) as server:
                address = server.server_address
                assoc = await asyncio.to_thread(ae.associate, *address)
                assert await asyncio.to_thread(send_n_set, assoc) == 0x0000
                assert len(server.active_associations) == 1
                assert server.loop is loop
            until(lambda: assoc.is_released)
            assert server.active_associations == []
            assert ae._servers == []
            assert seen == [True]

        asyncio.run(asyncio.wait_for(main(), 3 * TIMEOUT))

    def test_close_and_wait_closed(self, scp):
        async def main():
            server = await scp.serve(entity(), ("127.0.0.1", 0))
            waiting = asyncio.create_task(server.wait_closed())
            await asyncio.sleep(0)
            assert not waiting.done()
            await server.close()
            await waiting
            await server.wait_closed()
            await server.close()

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    def test_services(self, scp, destination, oracle):
        """Those of pynetdicom are worked on by threads, also here."""
        scenarios = {
            name: single(SINGLE[name], *answers_of(SINGLE[name])) for name in ("C-STORE", "N-SET")
        }
        for scenario in (services.find_several, services.get_two, services.move_two):
            scenarios[scenario] = scenario

        async def main():
            async with await scp.serve(everything(), ("127.0.0.1", 0)) as server:
                return {
                    key: await asyncio.to_thread(observed, server, destination, scenario, as_async)
                    for key, scenario in scenarios.items()
                }

        got = asyncio.run(asyncio.wait_for(main(), 6 * TIMEOUT))
        for key, scenario in scenarios.items():
            assert got[key] == oracle(key, scenario)

    def test_shut_down_by_another_thread(self, scp):
        async def main():
            ae = entity()
            server = await scp.serve(ae, ("127.0.0.1", 0))
            await asyncio.to_thread(ae.shutdown)
            await server.wait_closed()
            assert ae._servers == []

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    def test_address_that_is_taken(self, scp):
        async def main():
            async with await scp.serve(entity(), ("127.0.0.1", 0)) as server:
                with pytest.raises(OSError, match="in use"):
                    await scp.serve(entity(), server.server_address)

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    @pytest.mark.parametrize("is_secured", [False, True])
    def test_loop_without_readers(self, scp, certificates, is_secured):
        """Such as the default one of Windows, where accept() fails if the peer has gone."""
        failures = [OSError(22, "The specified network name is no longer available")]
        own, _ = certificates
        context, tls = (server_context(own), (client_context(own), "localhost"))
        if not is_secured:
            context = tls = None

        class Loop(asyncio.SelectorEventLoop):
            def add_reader(self, *args):
                raise NotImplementedError

            def remove_reader(self, *args):
                raise NotImplementedError

            def add_signal_handler(self, *args):
                raise NotImplementedError

            async def sock_accept(self, sock):
                if failures:
                    raise failures.pop()
                return await super().sock_accept(sock)

        def ask(server):
            for _ in range(3):
                assoc = entity().associate("127.0.0.1", port(server), tls_args=tls)
                assert send_n_set(assoc) == 0x0000
                assoc.release()

        async def main():
            handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
            async with await scp.serve(entity(), ("127.0.0.1", 0), context, handlers) as server:
                await asyncio.to_thread(ask, server)
            assert server.counts.released == 3
            assert failures == []

        loop = Loop()
        with closing(loop):
            loop.run_until_complete(asyncio.wait_for(main(), TIMEOUT))

    @pytest.mark.usefixtures("loop")
    def test_peers_that_are_gone_before_they_are_accepted(self, scp, monkeypatch):
        """They have no address, and no name is looked up for them."""
        looked_up, faults = [], []
        unknown = pdu(9, b"")

        def getaddrinfo(host, *args, **kwargs):
            looked_up.append(host)
            return stock(host, *args, **kwargs)

        stock = socket.getaddrinfo
        monkeypatch.setattr("pynetdicom.transport.socket.getaddrinfo", getaddrinfo)

        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
            async with await scp.serve(entity(), ("127.0.0.1", 0)) as server:
                for sent in (b"", associate_rq(MPPS)[:-1], unknown, associate_rq(MPPS) + unknown):
                    with socket.create_connection(server.server_address) as peer:
                        reset_when_closed(peer)
                        peer.sendall(sent)
                assoc = await asyncio.to_thread(entity().associate, *server.server_address)
                await asyncio.to_thread(assoc.release)
            assert server.counts.released == 1

        with closing(importlib.import_module("nset.scp._run").new_loop()) as own:
            own.run_until_complete(asyncio.wait_for(main(), TIMEOUT))
        assert faults == []
        assert {*looked_up} <= {"127.0.0.1", "0.0.0.0", None}

    def test_program_that_is_cancelled(self, scp):
        """`async with` ends the server also when its task is cancelled."""

        async def program(ae, started):
            async with await scp.serve(ae, ("127.0.0.1", 0)) as server:
                started.set_result(server)
                await server.wait_closed()

        async def main():
            ae = entity()
            started = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(program(ae, started))
            server = await started
            assoc = await asyncio.to_thread(entity().associate, *server.server_address)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ae._servers == []
            assert server.active_associations == []
            until(lambda: assoc.is_released)

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))
