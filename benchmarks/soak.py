"""A soak test of `nset.scp`: good peers are to be served well, whatever bad ones do beside them.

Usage: python benchmarks/soak.py [--seconds S] [--handler async|plain|inline]

First the good peers are alone, then bad ones come and go. Ends with 1 where an answer was lost or
wrong, the 99th percentile of the good ones' waits or the server's memory has grown too much, or
something was left behind. For Linux. The server is a process of its own, and so are the bad peers.
Where there are several CPUs the server has one, as if the peers were on other machines; without
the GIL it has them all, and shares them.
"""

import argparse
import asyncio
import gc
import json
import os
import struct
import subprocess
import sys
import sysconfig
import time
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import bad_peers
import load
import psutil
import soak_server
from rich.console import Console
from rich.progress import Progress

from nset import IMPLEMENTATION

HERE = Path(__file__).parent
TIMEOUT = 20  # seconds; for what takes milliseconds or a few seconds when all is well
MIB = 1 << 20

# Bytes that a worker's thread takes for good; the later the busier the machine, up to the pool's
# limit. Without the GIL each has a heap of its own: 30 more took 8.7 MiB in all, and 1.2 with it.
IS_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
THREAD_HEAP = 0x48000 if IS_FREE_THREADED else 0

# Such a heap also keeps what was freed in it: beside A-ASSOCIATE-RQs of 900 kB the RSS rises by
# 80 MiB and not by 15, where the objects are the same 8,000; and most of it is given back.
ALLOCATOR = 4 if IS_FREE_THREADED else 1

WARM_UP = 2.0
"""Seconds before anything counts."""

ALONE = 0.25
"""Which part of the time the good peers are alone."""

BURST = 4
"""Requests that every second good peer sends in one write, so that some wait in the server."""

_MARK = 0x5AA5
_MARK_BYTES = _MARK.to_bytes(2, "little")
_P_DATA_TF = 0x04


class Phase(NamedTuple):
    """What was seen in a part of the test.

    Attributes
    ----------
    name : str
        For the report.
    waits : array of float
        Seconds from each request to its answer.
    delays : array of float
        Seconds by which this process was late to send: its own share of the waits.
    sizes : list of int
        The server's RSS without the heaps of its threads, second by second.
    taken : list of tuple of (float, float, float)
        Likewise: the time, what CPU time the server had taken, how long its CPU had been busy.
    """

    name: str
    waits: "array[float]"
    delays: "array[float]"
    sizes: list[int]
    taken: list[tuple[float, float, float]]

    @classmethod
    def new(cls, name: str) -> "Phase":
        """Make one in which nothing was seen yet."""
        return cls(name, array("d"), array("d"), [], [])

    @property
    def p99(self) -> float:
        """Seconds that 99 of 100 requests waited at most."""
        return _quantile(self.waits, 0.99)

    @property
    def cpu(self) -> float:
        """Which part of the time the server ran."""
        return self._part(1)

    @property
    def disturbed(self) -> float:
        """Which part of the time its CPU worked for others."""
        return self._part(2) - self._part(1)

    def _part(self, column: int) -> float:
        first, last = self.taken[0], self.taken[-1]
        return (last[column] - first[column]) / (last[0] - first[0])

    def __str__(self) -> str:
        waits = ", ".join(
            f"{name} {_quantile(self.waits, part) * 1e3:.2f}"
            for name, part in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1)]
        )
        return (
            f"{self.name}: {len(self.waits)} N-SETs, ms: {waits}\n"
            f"    late to send, ms: p99 {_quantile(self.delays, 0.99) * 1e3:.2f}; the server's "
            f"CPU {self.cpu:.0%}, and others had {self.disturbed:.0%} of it"
        )


class GoodPeer(asyncio.Protocol):
    """An association that asks at a steady pace, and checks each answer.

    Parameters
    ----------
    soak : Soak
        Where it belongs.
    number : int
        Which of them it is.
    """

    def __init__(self, soak: "Soak", number: int) -> None:
        self.soak = soak
        self.faults: list[str] = []
        self.sent = self.answered = 0
        self.associated: asyncio.Future[None] = soak.loop.create_future()
        self._burst = BURST if number % 2 else 1
        self._period = self._burst / soak.rate
        self._next = 0.0
        self._waiting: deque[tuple[int, float]] = deque()
        self._received = b""
        self._is_over = False

        instance = f"1.2.826.0.1.3680043.8.498.7{number:03d}"
        data_set = (_MARK_BYTES + instance.encode()).ljust(1024, b"\0")
        self._answers: dict[int, list[bytes]] = {}
        for status in {soak_server.status_of(message_id) for message_id in range(10)}:
            request, answer = load.exchange(_MARK, data_set, status, instance)
            self._request = request.split(_MARK_BYTES)
            self._answers[status] = answer.split(_MARK_BYTES)
        (self._answer_length,) = {len(_MARK_BYTES.join(parts)) for parts in self._answers.values()}

    def start(self, delay: float) -> None:
        """Begin to ask."""
        self._next = self.soak.loop.time() + delay
        self.soak.loop.call_at(self._next, self._ask)

    def stop(self) -> None:
        """Ask no more."""
        self._is_over = True

    @property
    def unanswered(self) -> int:
        """How many answers are still to come."""
        return len(self._waiting)

    def close(self) -> None:
        """Close the connection."""
        self._is_over = True
        self._transport.close()

    def _ask(self) -> None:
        if self._is_over or self.faults:
            return
        loop = self.soak.loop
        self.soak.phase.delays.append(loop.time() - self._next)
        requests = []
        for _ in range(self._burst):
            message_id = self.sent % 0xFFFF + 1
            self.sent += 1
            requests.append(message_id.to_bytes(2, "little").join(self._request))
            self._waiting.append((message_id, time.perf_counter()))
        self._transport.write(b"".join(requests))
        # By the plan, not by when it was done; but what was missed is not caught up with.
        self._next = max(self._next + self._period, loop.time())
        loop.call_at(self._next, self._ask)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(load.ASSOCIATE_RQ)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._received += data
        if not self.associated.done():
            self._take_acceptance()
        while len(self._received) >= self._answer_length or self._has_other_pdu():
            answer = self._received[: self._answer_length]
            self._received = self._received[self._answer_length :]
            if not self._take_answer(answer, now):
                return

    def _has_other_pdu(self) -> bool:
        return bool(self._received) and self._received[0] != _P_DATA_TF and self.associated.done()

    def _take_acceptance(self) -> None:
        if len(self._received) < 6:
            return
        (kind, length) = struct.unpack_from(">BxL", self._received)
        if len(self._received) < 6 + length:
            return
        self._received = self._received[6 + length :]
        if kind == load.ASSOCIATE_AC:
            self.associated.set_result(None)
        else:
            self.associated.set_exception(ConnectionError(f"PDU {kind:02X}H, not 02H"))

    def _take_answer(self, answer: bytes, now: float) -> bool:
        if not self._waiting:
            return self._fail(f"without a request came {answer.hex(' ')}")
        message_id, sent = self._waiting.popleft()
        parts = self._answers[soak_server.status_of(message_id)]
        if answer != message_id.to_bytes(2, "little").join(parts):
            return self._fail(f"the answer to request {self.answered + 1} is {answer.hex(' ')}")
        self.answered += 1
        self.soak.phase.waits.append(now - sent)
        return True

    def _fail(self, fault: str) -> bool:
        self.faults.append(fault)
        self._transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_over or self._waiting:
            self.faults.append(f"the connection was lost: {exc!r}")
        if not self.associated.done():
            self.associated.set_exception(ConnectionError("no answer to the A-ASSOCIATE-RQ"))


class Soak:
    """The test.

    Parameters
    ----------
    options : argparse.Namespace
        As the program has them.
    server : load.Server
        Whom it tests.
    bar : rich.progress.Progress
        What shows how far it is.
    """

    def __init__(self, options: argparse.Namespace, server: load.Server, bar: Progress) -> None:
        self.options = options
        self.rate: float = options.rate
        self.server = server
        self._bar, self._task = bar, bar.add_task("soaking", total=options.seconds)
        self.loop = asyncio.get_running_loop()
        self.phases = [Phase.new("warming up")]
        self.bad: dict[str, Any] = {"done": {}, "wrong": {}}
        self.peers = [GoodPeer(self, number) for number in range(options.associations)]

    @property
    def phase(self) -> Phase:
        """What is being seen."""
        return self.phases[-1]

    async def run(self) -> None:
        """Take the time that it takes."""
        for peer in self.peers:
            await self.loop.create_connection(lambda peer=peer: peer, "127.0.0.1", self.server.port)
            await asyncio.wait_for(peer.associated, TIMEOUT)
        for number, peer in enumerate(self.peers):
            peer.start(number / len(self.peers) / self.rate)
        seconds: float = self.options.seconds
        await self._watch(WARM_UP)
        self.phases.append(Phase.new("alone"))
        await self._watch(seconds * ALONE)
        self.phases.append(Phase.new("with bad peers"))
        await self._with_bad_peers(seconds * (1 - ALONE) - WARM_UP)
        self.phases.append(Phase.new("afterwards"))
        for peer in self.peers:
            peer.stop()
        end = time.monotonic() + TIMEOUT
        while any(peer.unanswered for peer in self.peers) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        for peer in self.peers:
            peer.close()
        await asyncio.sleep(0.5)

    async def _watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._sample()
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 1))
            self._bar.advance(self._task, min(left, 1))
            self._sample()

    def _sample(self) -> None:
        pid, status = self.server.pid, psutil.Process(self.server.pid)
        heaps = status.num_threads() * THREAD_HEAP
        self.phase.sizes.append(status.memory_info().rss - heaps)
        self.phase.taken.append(
            (time.monotonic(), load.cpu_seconds(pid), _busy_seconds(os.sched_getaffinity(pid)))
        )

    async def _with_bad_peers(self, seconds: float) -> None:
        numbers = (self.options.bad, self.options.slow, self.options.slow, self.options.seed)
        only = [self.options.only] if self.options.only else []
        crowd = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "bad_peers.py"),
            *map(str, (self.server.port, seconds, *numbers, *only)),
            stdout=subprocess.PIPE,
        )
        try:
            await self._watch(seconds)
            # The last ones are still there, and are waited for with the good ones at work.
            output, _ = await asyncio.wait_for(crowd.communicate(), 2 * TIMEOUT)
        except BaseException:
            crowd.kill()
            raise
        if crowd.returncode:
            raise RuntimeError("the bad peers have failed; the reason is above")
        self.bad = json.loads(output)


def when_empty(server: load.Server, seconds: float) -> dict[str, Any]:
    """What the server has done, once all peers are gone or the time is over."""
    end = time.monotonic() + seconds
    while True:
        done: dict[str, Any] = json.loads(server.ask())
        is_empty = not done["active_associations"] and not done["open_connections"]
        if is_empty or time.monotonic() > end:
            return done
        time.sleep(0.2)


def report(soak: Soak, done: dict[str, Any], options: argparse.Namespace) -> bool:
    """Print what was seen, and tell whether all is well."""
    _, alone, attacked, _ = soak.phases
    faults = [
        f"good peer {number}: {fault}"
        for number, peer in enumerate(soak.peers)
        for fault in peer.faults
    ]
    faults += [f"{fault} ({times} times)" for fault, times in soak.bad["wrong"].items()]
    sent = sum(peer.sent for peer in soak.peers)
    lost = sent - sum(peer.answered for peer in soak.peers)
    before, after = growth(attacked.sizes)
    allowed = max(options.factor * alone.p99, options.floor / 1e3)
    left = done["active_associations"] + done["open_connections"]
    deeds = ", ".join(f"{name} {times}" for name, times in sorted(soak.bad["done"].items()))

    print(
        f"{IMPLEMENTATION} implementation, {options.handler} handler, {len(soak.peers)} good peers"
    )
    print(alone, attacked, sep="\n")
    print(f"bad peers: {deeds}")
    print(f"server: {json.dumps(done)}")
    for fault in faults[:20]:
        print(f"  {fault}")
    is_busy = attacked.disturbed > options.busy
    marks = [
        (lost == 0 and not faults, f"{lost} of {sent} answers lost, {len(faults)} faults"),
        (done["unfit"] == 0, f"{done['unfit']} requests with another's data set"),
        (
            attacked.p99 <= allowed or is_busy,
            f"p99 with bad peers {attacked.p99 / alone.p99:.2f}x that without, "
            f"{attacked.p99 * 1e3:.2f} ms; at most {options.factor:g}x or {options.floor:g} ms"
            f"{', were the machine less busy' if is_busy else ''}",
        ),
        (
            after - before <= options.growth * MIB,
            f"memory {before / MIB:.1f} -> {after / MIB:.1f} MiB; at most {options.growth:g} more",
        ),
        (
            max(attacked.sizes) - alone.sizes[-1] <= options.peak * MIB,
            f"memory at most {max(attacked.sizes) / MIB:.1f} MiB; at most {options.peak:g} more "
            f"than without bad peers",
        ),
        (left == 0, f"{left} associations or connections left behind"),
    ]
    for is_well, text in marks:
        print("✓" if is_well else "✗", text)
    return all(is_well for is_well, _ in marks)


def growth(sizes: list[int]) -> tuple[float, float]:
    """Tell the size once it should be stable, and at the end.

    Parameters
    ----------
    sizes : list of int
        Second by second.

    Returns
    -------
    tuple of (float, float)
        The least that was seen from a third to the middle, and in the last sixth: what bad peers
        hold for a while is bounded otherwise.
    """
    part = max(len(sizes) // 6, 1)
    return min(sizes[2 * part : 3 * part]), min(sizes[-part:])


def _busy_seconds(cpus: set[int]) -> float:
    """Return how long CPUs have worked since the machine was started, for whomever."""
    busy = 0.0
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        if number in cpus:
            busy += times.user + times.nice + times.system
            busy += times.irq + times.softirq + times.steal
    return busy


def _quantile(values: "array[float]", part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else float("nan")


def _run(main: Callable[[], Any]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


def main() -> None:
    """Run the test, print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="in all")
    parser.add_argument("--handler", choices=("async", "plain", "inline"), default="async")
    parser.add_argument("--associations", type=int, default=64, help="good ones")
    parser.add_argument("--rate", type=float, default=50, help="N-SETs a second on each of them")
    parser.add_argument("--bad", type=int, default=16, help="bad peers at a time")
    parser.add_argument(
        "--slow", type=int, default=4, help="slow readers, and as many slow writers"
    )
    parser.add_argument("--only", choices=[bad.__name__ for bad in bad_peers.BAD], help="bad ones")
    parser.add_argument("--factor", type=float, default=3, help="by which the p99 may rise")
    parser.add_argument("--floor", type=float, default=20, help="a p99 that is well anyway, in ms")
    parser.add_argument(
        "--growth",
        type=float,
        default=8 * ALLOCATOR,
        help="MiB that the server may grow by once the bad peers have been there for a while",
    )
    parser.add_argument(
        "--peak",
        type=float,
        default=4 * ALLOCATOR * soak_server.SERVER_BYTES / MIB,
        help="MiB that the server may have at any time beyond what it has without bad peers",
    )
    parser.add_argument(
        "--busy",
        type=float,
        default=1,
        help="part of the time that its CPU works for others, beyond which p99 does not count",
    )
    parser.add_argument("--seed", type=int, default=1, help="of what the bad peers do")
    parser.add_argument("--log", type=Path, default="/dev/null", help="where the server's log goes")
    options = parser.parse_args()
    if options.seconds < 10:
        parser.error("it takes at least 10 seconds")

    gc.disable()  # its pauses would be seen as the server's; what is allocated here has no cycles
    console = Console(stderr=True)
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    command = [sys.executable, str(HERE / "soak_server.py"), options.handler]
    with load.running(command, log=options.log, is_apart=not IS_FREE_THREADED) as server, progress:

        async def test() -> None:
            nonlocal soak
            soak = Soak(options, server, progress)
            await soak.run()

        soak: Any = None
        _run(test)
        done = when_empty(server, TIMEOUT)
    sys.exit(0 if report(soak, done, options) else 1)


if __name__ == "__main__":
    main()
