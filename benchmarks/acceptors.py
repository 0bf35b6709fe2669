"""Servers that are measured: pynetdicom's, `nset.scp` in each of its ways, canned bytes.

Usage: python benchmarks/acceptors.py KIND; prints the port, and ends with its standard input.
"""

import asyncio
import os
import sys
import threading
from typing import Any

import load
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

import nset.pynetdicom
from nset import scp
from nset.demo import MPPS


class Echo(asyncio.Protocol):
    """Sends canned bytes for each request, and looks at nothing but how many bytes have come."""

    request_length = 0
    accept = answer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._is_accepted = False
        self._received = 0

    def data_received(self, data: bytes) -> None:
        if not self._is_accepted:
            self._is_accepted = True
            self._transport.write(self.accept)
            return
        self._received += len(data)
        while self._received >= self.request_length:
            self._received -= self.request_length
            self._transport.write(self.answer)


def entity() -> AE:
    """The AE of an MPPS SCP, with room for 2000 associations."""
    ae = AE("NSET_DEMO")
    ae.add_supported_context(MPPS)
    ae.maximum_associations = 2000
    return ae


async def succeed(event: Any) -> tuple[int, None]:
    return 0x0000, None


async def suspending(event: Any) -> tuple[int, None]:
    await asyncio.sleep(0)
    return 0x0000, None


def plain(event: Any) -> tuple[int, None]:
    return 0x0000, None


async def echo() -> None:
    request, Echo.answer = load.exchange()
    Echo.request_length = len(request)
    Echo.accept = b"\x02\x00\x00\x00\x00\x00"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def scp_on_asyncio() -> None:
    server = await scp.serve(entity(), ("127.0.0.1", 0), evt_handlers=[(evt.EVT_N_SET, succeed)])
    announce(server.server_address[1])
    await server.wait_closed()


def serve(start: Any, handler: Any, ae: AE | None = None, **options: Any) -> None:
    server = start(
        ae or entity(),
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_N_SET, handler)],
        **options,
    )
    announce(server.server_address[1])
    threading.Event().wait()


def archive() -> AE:
    """An AE that supports 128 contexts."""
    ae = entity()
    for context in AllStoragePresentationContexts[: 128 - len(ae.supported_contexts)]:
        ae.add_supported_context(context.abstract_syntax)
    return ae


def command(kind: str) -> list[str]:
    """What runs such a server."""
    return [sys.executable, __file__, kind]


def announce(port: int) -> None:
    print(port, flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()


def main(kind: str) -> None:
    if kind == "echo":
        import uvloop

        uvloop.run(echo())
    elif kind == "asyncio":
        asyncio.run(scp_on_asyncio())
    elif kind in ("pynetdicom", "installed"):
        if kind == "installed":
            nset.pynetdicom.install()
        serve(AE.start_server, plain)
    elif kind == "archive":
        serve(scp.start_server, succeed, archive())
    else:
        handler = {"async": succeed, "suspending": suspending}.get(kind, plain)
        serve(scp.start_server, handler, inline=kind == "inline")


if __name__ == "__main__":
    main(sys.argv[1])
