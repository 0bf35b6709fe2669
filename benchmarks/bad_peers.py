"""Peers that a server should survive: they come, do something that is wrong or slow, and go.

Usage: python benchmarks/bad_peers.py PORT SECONDS [BAD SLOW_READERS SLOW_WRITERS SEED [ONLY]]
Prints what they have done, and what they have found wrong with the server, as JSON.
"""

import asyncio
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import load
from support import p_data, pdu

from nset.demo import MPPS

TIMEOUT = 10  # seconds; for what takes milliseconds when all is well
PATIENCE = 6.0  # seconds: longer than the server's own timeouts

_Behaviour = Callable[["Peer", random.Random], Awaitable[None]]


class Wrong(Exception):
    """The server has not done what it should."""


class Peer:
    """A socket, connected to the server."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.port = port
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = asyncio.get_running_loop()

    async def connect(self) -> None:
        await self._in_time(self._loop.sock_connect(self.socket, ("127.0.0.1", self.port)))

    async def associate(self) -> None:
        await self.send(load.ASSOCIATE_RQ)
        await self.accepted()

    async def accepted(self) -> None:
        header = await self.read(6)
        if header[0] != load.ASSOCIATE_AC:
            raise Wrong(f"PDU {header[0]:02X}H is the answer to an A-ASSOCIATE-RQ")
        await self.read(int.from_bytes(header[2:], "big"))

    async def send(self, data: bytes) -> None:
        await self._in_time(self._loop.sock_sendall(self.socket, data))

    async def send_slowly(self, data: bytes, pause: float) -> None:
        for byte in data:
            await self.send(bytes((byte,)))
            await asyncio.sleep(pause)

    async def read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = await self._in_time(self._loop.sock_recv(self.socket, length - len(data)))
            if not more:
                raise ConnectionError("closed by the server")
            data += more
        return data

    async def until_closed(self, seconds: float) -> bool:
        """Read until the server has closed the connection; False where it has not."""
        end = time.monotonic() + seconds
        with suppress(ConnectionError):
            while (left := end - time.monotonic()) > 0:
                try:
                    data = await asyncio.wait_for(self._loop.sock_recv(self.socket, 65536), left)
                except asyncio.TimeoutError:
                    return False
                if not data:
                    return True
            return False
        return True

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def _in_time(self, awaitable: Awaitable[bytes]) -> bytes:
        return await asyncio.wait_for(awaitable, TIMEOUT)


# -- What is sent ----------------------------------------------------------------------------------


def exchange(message_id: int, length: int = 1024) -> tuple[bytes, bytes]:
    """A request, and the answer that the server of the soak test should give."""
    data_set = message_id.to_bytes(2, "little") + load.INSTANCE.encode()
    return load.exchange(message_id, data_set.ljust(length, b"\0"))


REQUEST, ANSWER = exchange(7)
SHORT_REQUEST, SHORT_ANSWER = exchange(8, 64)


def _lies() -> list[tuple[bool, bytes]]:
    """PDUs whose lengths are not true, and whether they come in an association."""
    rq = load.ASSOCIATE_RQ
    item = rq.index(b"\x10\x00", 70)
    honest = p_data((1, 0x03, bytes(50)))

    def lying(pdv_length: int) -> bytes:
        return honest[:6] + struct.pack(">I", pdv_length) + honest[10:]

    return [
        (False, b"\x01\x00\xff\xff\xff\xff" + rq[6:]),
        (False, rq[: item + 2] + b"\xff\xff" + rq[item + 4 :]),
        (False, b"\x01\x00\x00\x00\x00\x04" + rq[6:]),
        (False, b"\x04\x00\xff\xff\xff\xff" + bytes(100)),
        (True, b"\x04\x00\xff\xff\xff\xff" + bytes(1000)),
        (True, p_data()),
        *((True, lying(length)) for length in (0xFFFFFFFF, 0, 1)),
        (True, p_data((1, 0x03, struct.pack("<HHL", 0, 0x0100, 0x7FFFFFFF).ljust(50, b"\0")))),
        (True, b"\x09\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
        (True, b"\x07\x00\xff\xff\xff\xff\x00\x00\x00\x00"),
    ]


LIES = _lies()


# -- What they do ----------------------------------------------------------------------------------


async def garbage(peer: Peer, chance: random.Random) -> None:
    if chance.random() < 0.5:
        await peer.associate()
    data = chance.randbytes(chance.randint(1, 4000))
    if chance.random() < 0.5:
        data = bytes((chance.randint(1, 7),)) + data
    await peer.send(data)
    await peer.until_closed(chance.uniform(0.1, 1))


async def flood(peer: Peer, chance: random.Random) -> None:
    """Send an invalid PDU, and keep sending after the A-ABORT."""
    if chance.random() < 0.5:
        await peer.associate()
    await peer.send(chance.randbytes(100))
    end = time.monotonic() + chance.uniform(0.2, 2)
    while time.monotonic() < end:
        await peer.send(bytes(50_000))
        await asyncio.sleep(0.005)


async def half_pdu(peer: Peer, chance: random.Random) -> None:
    whole = load.ASSOCIATE_RQ
    if chance.random() < 0.5:
        await peer.associate()
        whole = REQUEST
    await peer.send(whole[: chance.randint(1, len(whole) - 1)])
    await _stay(peer, chance)


async def silent(peer: Peer, chance: random.Random) -> None:
    await _stay(peer, chance)


async def _stay(peer: Peer, chance: random.Random) -> None:
    """Send nothing: most disconnect soon, some wait until the server closes the connection."""
    if chance.random() < 0.8:
        await peer.until_closed(chance.uniform(0.1, 1))
    elif not await peer.until_closed(PATIENCE + TIMEOUT):
        raise Wrong("a silent peer was not sent away")


async def abort(peer: Peer, chance: random.Random) -> None:
    await peer.associate()
    sent = REQUEST * chance.randint(0, 5) + REQUEST[: chance.choice((0, _first_pdu()))]
    await peer.send(sent + load.ABORT)
    if chance.random() < 0.5:
        await peer.until_closed(PATIENCE)


def _first_pdu() -> int:
    return 6 + int.from_bytes(REQUEST[2:6], "big")


async def lie(peer: Peer, chance: random.Random) -> None:
    is_associated, data = chance.choice(LIES)
    if is_associated:
        await peer.associate()
    await peer.send(data)
    await peer.until_closed(chance.uniform(0.1, 1))


async def reset(peer: Peer, chance: random.Random) -> None:
    if chance.random() < 0.9:
        await peer.associate()
        await peer.send(REQUEST * chance.randint(0, 20))
        if chance.random() < 0.5:
            await asyncio.sleep(chance.uniform(0, 0.05))
    peer.reset()


async def leave(peer: Peer, chance: random.Random) -> None:
    """Close the connection without a release, while a request is served."""
    await peer.associate()
    await peer.send(REQUEST * chance.randint(0, 5) + REQUEST[: chance.randint(0, 500)])


async def read_slowly(peer: Peer, chance: random.Random) -> None:
    """Send request after request, and read a byte of the answers now and then."""
    await peer.associate()
    end = time.monotonic() + chance.uniform(2, 8)

    async def ask() -> None:
        while True:
            await asyncio.get_running_loop().sock_sendall(peer.socket, REQUEST * 20)
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    try:
        while time.monotonic() < end and not asking.done():
            await asyncio.sleep(chance.uniform(0.02, 0.1))
            await peer.read(1)
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await asking
    if chance.random() < 0.5:
        peer.reset()


async def write_slowly(peer: Peer, chance: random.Random) -> None:
    """Send byte by byte; there is nothing wrong with that, and the answer has to be right."""
    pause = chance.uniform(0.002, 0.004)
    await peer.send_slowly(load.ASSOCIATE_RQ, pause)
    await peer.accepted()
    await peer.send_slowly(SHORT_REQUEST, pause)
    answer = await peer.read(len(SHORT_ANSWER))
    if answer != SHORT_ANSWER:
        raise Wrong(f"the answer should be {SHORT_ANSWER!r}, and is {answer!r}")
    await peer.send_slowly(load.RELEASE_RQ, pause)
    if await peer.read(10) != load.RELEASE_RP:
        raise Wrong("no A-RELEASE-RP")


# -- Floods: what is allowed, or nearly, and costs the server more than the peer -------------------


def _full(*pdvs: tuple[int, int, bytes]) -> bytes:
    """A P-DATA-TF PDU that is full of these PDVs, again and again."""
    return p_data(*pdvs * (65536 // sum(len(fragment) + 6 for _, _, fragment in pdvs)))


def _command(field: int, *elements: tuple[int, bytes | int]) -> bytes:
    """A command set: UIDs and US elements by number, in ascending order."""
    values = [(0x0100, field), *elements]
    body = b""
    for tag, value in sorted(values, key=lambda element: element[0]):
        data = (
            struct.pack("<H", value) if isinstance(value, int) else value + b"\0" * (len(value) % 2)
        )
        body += struct.pack("<HHI", 0, tag, len(data)) + data
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


_CLASS, _INSTANCE = MPPS.encode(), load.INSTANCE.encode()
_N_SET = _command(0x0120, (0x0003, _CLASS), (0x0110, 7), (0x0800, 1), (0x1001, _INSTANCE))
_N_SET_WITHOUT = _N_SET.replace(
    struct.pack("<HHIH", 0, 0x0800, 2, 1), struct.pack("<HHIH", 0, 0x0800, 2, 0x0101)
)
_DATA_SET = struct.pack("<H", 7) + _INSTANCE  # as the server of the soak test wants it
_N_SET_RSP = _command(0x8120, (0x0120, 7), (0x0800, 0x0101), (0x0900, 0))
_REPORT = _command(
    0x0100, (0x0002, _CLASS), (0x0110, 7), (0x0800, 1), (0x1000, _INSTANCE), (0x1002, 1)
)

RATE = 2.5 * (1 << 20)
"""Bytes a second that a flood sends."""


async def _pour(peer: Peer, chance: random.Random, first: bytes, again: bytes) -> None:
    """Send for a while, as fast as the server takes it, up to `RATE`; answers are dropped."""
    await peer.associate()
    loop = asyncio.get_running_loop()

    async def drop() -> None:
        with suppress(OSError):
            while await loop.sock_recv(peer.socket, 1 << 20):
                pass

    dropping = asyncio.create_task(drop())
    try:
        begin, sent = loop.time(), len(first)
        end = begin + chance.uniform(2, 4)
        await peer.send(first)
        while loop.time() < end and not dropping.done():
            with suppress(asyncio.TimeoutError):  # it is held, as it may be
                await asyncio.wait_for(loop.sock_sendall(peer.socket, again), end - loop.time())
                sent += len(again)
            await asyncio.sleep(max(begin + sent / RATE - loop.time(), 0))
    finally:
        dropping.cancel()
        await asyncio.gather(dropping, return_exceptions=True)
        peer.reset()


def _pouring(name: str, again: bytes, first: bytes = b"") -> _Behaviour:
    async def behaviour(peer: Peer, chance: random.Random) -> None:
        await _pour(peer, chance, first, again)

    behaviour.__name__ = name
    return behaviour


_BEGUN = p_data((1, 0x03, _N_SET))
FLOODS = (
    _pouring("empty_fragments", _full((1, 0x00, b"")), _BEGUN),
    _pouring("small_fragments", _full((1, 0x00, b"ab")), _BEGUN),
    _pouring("small_messages", _full((1, 0x03, _N_SET), (1, 0x02, _DATA_SET))),
    _pouring("no_data_sets", _full((1, 0x03, _N_SET_WITHOUT))),
    _pouring("responses", _full((1, 0x03, _N_SET_RSP))),
    _pouring("reports", _full((1, 0x03, _REPORT), (1, 0x02, bytes(500)))),
    _pouring("endless", _full((1, 0x00, bytes(65530))), _BEGUN),
)


async def negotiation(peer: Peer, chance: random.Random) -> None:
    """Propose thousands of presentation contexts."""
    rq = load.ASSOCIATE_RQ
    at = rq.index(b"\x20\x00", 74)
    item = rq[at : at + 4 + int.from_bytes(rq[at + 2 : at + 4], "big")]
    body = rq[6:at] + item * (900_000 // len(item)) + rq[at + len(item) :]
    await peer.send(pdu(0x01, body))
    await peer.until_closed(chance.uniform(0.5, 1))


async def unfinished(peer: Peer, chance: random.Random) -> None:
    """Send most of a large data set, and then no more of it."""
    await peer.associate()
    data = exchange(7, 250_000)[0][:-100]
    with suppress(asyncio.TimeoutError):  # it is read no further, as it may be
        await asyncio.wait_for(peer._loop.sock_sendall(peer.socket, data), 2)
    await peer.until_closed(chance.uniform(0.5, 2))


async def connects(peer: Peer, chance: random.Random) -> None:
    """Connect again and again."""
    await peer.until_closed(0.05)
    for _ in range(200):
        other = Peer(peer.port)
        await other.connect()
        other.socket.close()


BAD = (
    *(
        garbage,
        flood,
        half_pdu,
        silent,
        abort,
        lie,
        reset,
        leave,
        negotiation,
        connects,
        unfinished,
    ),
    *FLOODS,
)


class Crowd:
    """All of them.

    Parameters
    ----------
    port : int
        Of the server, on 127.0.0.1.
    seconds : float
        How long they come and go.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self.port = port
        self.end = time.monotonic() + seconds
        self.done: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    async def one(self, behaviours: tuple[_Behaviour, ...], chance: random.Random) -> None:
        """Come and go, again and again."""
        while time.monotonic() < self.end:
            behaviour = chance.choice(behaviours)
            name = behaviour.__name__
            peer = Peer(self.port, 4096 if behaviour is read_slowly else None)
            try:
                await peer.connect()
                await behaviour(peer, chance)
            except ConnectionError as exc:
                # The server aborts most of them, but refuses none, and closes none for being slow.
                if isinstance(exc, ConnectionRefusedError) or behaviour is write_slowly:
                    self.wrong[f"{name}: {exc!r}"] += 1
            except (Wrong, asyncio.TimeoutError) as exc:
                self.wrong[f"{name}: {exc!r}"] += 1
            finally:
                peer.socket.close()
            self.done[name] += 1
            await asyncio.sleep(chance.uniform(0.05, 0.5))


async def main(
    port: int,
    seconds: float,
    bad: int = 16,
    readers: int = 4,
    writers: int = 4,
    seed: int = 1,
    only: str = "",
) -> None:
    """Have them come and go, and print what happened."""
    os.nice(15)  # else good peers that share a CPU with this process are late to send
    crowd = Crowd(port, seconds)
    chance = random.Random(seed)
    chosen = tuple(behaviour for behaviour in BAD if only in ("", behaviour.__name__))
    groups = [(chosen, bad), ((read_slowly,), readers), ((write_slowly,), writers)]
    await asyncio.gather(
        *(
            crowd.one(behaviours, random.Random(chance.random()))
            for behaviours, number in groups
            for _ in range(number)
        )
    )
    print(json.dumps({"done": crowd.done, "wrong": crowd.wrong}))


if __name__ == "__main__":
    port, seconds, *numbers = sys.argv[1:7]
    asyncio.run(main(int(port), float(seconds), *map(int, numbers), *sys.argv[7:]))
