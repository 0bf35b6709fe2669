"""Measures `nset.scp` beside canned bytes and DCMTK.

Usage: python benchmarks/scp.py [--rounds N] [--seconds S] [--record]
"""

from importlib.metadata import version
from statistics import median

import acceptors
import dcmtk
import in_process
import load
import tables

ASSOCIATIONS = (8, 32, 64)
ECHO = "echo"
DCMTK = "dcmtk"
SERVERS = {
    ECHO: "canned bytes, uvloop",
    "async": "`nset.scp`, async handler",
    "inline": "inline handler",
    "plain": "plain handler, in the pool",
    "suspending": "async handler that suspends",
    "asyncio": "async handler, without uvloop",
    DCMTK: "DCMTK, C++, data set dropped",
}

IDLE = 1000
IDLE_SERVERS = {
    "async": "`nset.scp`, 1 context",
    "archive": "128 contexts supported",
    DCMTK: "DCMTK, C++, a thread each",
}
IDLE_HEAD = [
    f"{IDLE} associations",
    "set up, µs of CPU",
    "release, µs of CPU",
    "memory each, KiB",
    "all idle, % of a core",
]


def main() -> None:
    """Take the rounds, print the tables."""
    parser = tables.arguments(__doc__)
    parser.add_argument("--idle-seconds", type=float, default=10.0, help="that nothing is sent")
    dcmtk.add_option(parser)
    options = parser.parse_args()

    commands = {kind: acceptors.command(kind) for kind in SERVERS | IDLE_SERVERS if kind != DCMTK}
    if not options.without_dcmtk:
        commands[DCMTK] = dcmtk.command()
    load.allow_open_files(IDLE)

    busy = _busy(commands, options.rounds, options.seconds)
    idle = _idle(commands, options.rounds, options.idle_seconds)
    text = (
        f"Medians [and extremes] of {options.rounds} rounds in turns, each with a new server; the "
        "ratio is that to canned bytes in the same round."
    )
    peers = {"uvloop": version("uvloop"), **dcmtk.versions(options)}
    tables.finish("scp", [busy, idle], [_in_process(), text], record=options.record, **peers)


def _busy(commands: dict[str, list[str]], rounds: int, seconds: float) -> tables.Table:
    lines = {kind: [name] for kind, name in SERVERS.items() if kind in commands}
    head = ["µs of CPU for each N-SET"]
    turns = [(count, kind) for count in ASSOCIATIONS for _ in range(rounds) for kind in lines]
    taken: dict[tuple[int, str], list[float]] = {turn: [] for turn in turns}
    for count, kind in tables.progress(turns, "busy servers"):
        with load.running(commands[kind]) as server:
            taken[count, kind].append(load.cpu_per_request(server, count, seconds))
    for count in ASSOCIATIONS:
        head += [f"{count} at once", "ratio"]
        for kind, line in lines.items():
            pairs = zip(taken[count, kind], taken[count, ECHO], strict=True)
            ratio = median(one / echo for one, echo in pairs)
            line += [tables.spread(taken[count, kind]), f"{ratio:.2f}x"]
    return tables.Table(head, [*lines.values()])


def _idle(commands: dict[str, list[str]], rounds: int, seconds: float) -> tables.Table:
    taken: dict[str, list[load.Idle]] = {kind: [] for kind in IDLE_SERVERS if kind in commands}
    for kind in tables.progress([*taken] * rounds, "idle servers"):
        with load.running(commands[kind]) as server:
            taken[kind].append(load.idle(server, IDLE, seconds))
    lines = [
        [IDLE_SERVERS[kind], *(tables.spread(column) for column in zip(*values, strict=True))]
        for kind, values in taken.items()
    ]
    return tables.Table(IDLE_HEAD, lines)


def _in_process() -> str:
    taken = in_process.measure()
    figures = ", ".join(f"{way} {median(times):.0f} ns" for way, times in taken.items())
    return f"From bytes in to bytes out without a socket, for each N-SET: {figures}."


if __name__ == "__main__":
    main()
