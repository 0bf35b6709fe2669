"""What an N-SET costs `nset.scp` from bytes in to bytes out, without a socket."""

import asyncio
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import acceptors
import load
from pynetdicom import evt

from nset import scp
from nset.scp._dispatch import Dispatcher

TURNS = 2000
TURN = 60
"""Requests in a turn: fewer than an association may have served in one of the loop."""

WAYS: dict[str, tuple[Any, bool]] = {
    "async": (acceptors.succeed, False),
    "inline": (acceptors.plain, True),
}
"""Handlers that answer at once, and whether they are called inline."""


class Transport(asyncio.Transport):
    """Takes what is sent, and does nothing with it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def write(self, data: Any) -> None:
        self.sent = data

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return False

    def _do_nothing(self) -> None:
        pass

    pause_reading = resume_reading = close = abort = _do_nothing


def measure() -> dict[str, list[float]]:
    """Take turns with all of `WAYS`.

    Returns
    -------
    dict of str to list of float
        Nanoseconds for each N-SET, turn by turn.
    """
    return asyncio.run(_measure())


async def _measure() -> dict[str, list[float]]:
    loop = asyncio.get_running_loop()
    taken: asyncio.Future[dict[str, list[float]]] = loop.create_future()
    servers = {
        way: await scp.serve(
            acceptors.entity(),
            ("127.0.0.1", 0),
            evt_handlers=[(evt.EVT_N_SET, handler)],
            inline=inline,
        )
        for way, (handler, inline) in WAYS.items()
    }
    # As a loop calls a protocol: not in a task.
    loop.call_soon(_into, taken, lambda: _take_turns(servers))
    try:
        return await taken
    finally:
        for server in servers.values():
            await server.close(0)


def _into(future: Any, function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except Exception as exc:
        future.set_exception(exc)


def _take_turns(servers: dict[str, scp.Server]) -> dict[str, list[float]]:
    request, answer = load.exchange()
    paths = {way: _associated(server, request, answer) for way, server in servers.items()}
    taken: dict[str, list[float]] = {way: [] for way in paths}
    for _ in range(TURNS):
        for way, path in paths.items():
            receive = path.data_received
            path.read()  # as in another turn of the loop, in each of which it may do so much
            start = time.perf_counter()
            for _ in range(TURN):
                receive(request)
            taken[way].append((time.perf_counter() - start) / TURN * 1e9)
    return taken


def _associated(server: scp.Server, request: bytes, answer: bytes) -> Dispatcher:
    path = Dispatcher(server)
    transport = Transport()
    path.connection_made(transport)
    path.data_received(load.ASSOCIATE_RQ)
    path.data_received(request)
    if transport.sent != answer:
        raise ValueError(f"the answer should be {answer!r}, and is {transport.sent!r}")
    return path


if __name__ == "__main__":
    for way, times in measure().items():
        print(f"{way}: {median(times):.0f} [{min(times):.0f}-{max(times):.0f}] ns")
