"""Measures `nset.scp` and others; given a file, also puts the tables there.

Usage: python benchmarks/scp.py [--rounds N] [--seconds S] [README.md]
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import compare
import in_process
import processes

from nset.demo import load

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "benchmarks"
LIBRARIES = ("dcmnet", "dcmdata", "oflog", "ofstd")

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turns")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a round lasts")
    parser.add_argument("--idle-seconds", type=float, default=10.0, help="that nothing is sent")
    parser.add_argument("--without-dcmtk", action="store_true", help="where it is not installed")
    parser.add_argument("file", nargs="*", type=Path, help="with the two markers in it")
    options = parser.parse_args()

    commands = {
        kind: [sys.executable, str(HERE / "acceptors.py"), kind]
        for kind in SERVERS | IDLE_SERVERS
        if kind != DCMTK
    }
    if not options.without_dcmtk:
        commands[DCMTK] = [str(dcmtk())]
        os.environ["TCP_NODELAY"] = "1"
    processes.allow_open_files(IDLE)

    busy = compare.markdown(_busy(commands, options.rounds, options.seconds))
    idle = compare.markdown(_idle(commands, options.rounds, options.idle_seconds))
    text = (
        f"{busy}\n\n{idle}\n\n{_in_process()}\n\n"
        f"Medians [and extremes] of {options.rounds} rounds in turns, each with a new server; the "
        f"ratio is\nthat to canned bytes in the same round. {compare.machine()}"
    )
    print(text)
    for file in options.file:
        compare.write(file, "scp", text)


def dcmtk() -> Path:
    """Compile the server on DCMTK, unless that is done.

    Returns
    -------
    pathlib.Path
        The program.
    """
    source, program = HERE / "dcmtk_server.cpp", BUILD / "dcmtk_server"
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        _give_up("There is no C++ compiler.")
    BUILD.mkdir(parents=True, exist_ok=True)
    libraries = [f"-l{library}" for library in LIBRARIES]
    command = [compiler, "-O2", "-pthread", "-o", str(program), str(source), *libraries]
    if subprocess.run(command).returncode:
        _give_up("The server on DCMTK could not be compiled; the reason is above.")
    return program


def _give_up(reason: str) -> None:
    sys.exit(
        f"{reason} On Debian:\n\n    apt-get install g++ libdcmtk-dev\n\n"
        "or measure the others alone: --without-dcmtk"
    )


def _busy(commands: dict[str, list[str]], rounds: int, seconds: float) -> list[list[str]]:
    kinds = [kind for kind in SERVERS if kind in commands]
    lines = {kind: [SERVERS[kind]] for kind in kinds}
    head = ["µs of CPU for each N-SET"]
    for count in ASSOCIATIONS:
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind in kinds:
                with load.running(commands[kind]) as server:
                    taken[kind].append(load.cpu_per_request(server, count, seconds))
        head += [f"{count} at once", "ratio"]
        for kind, values in taken.items():
            ratio = median(one / echo for one, echo in zip(values, taken[ECHO], strict=True))
            lines[kind] += [_spread(values), f"{ratio:.2f}x"]
    return [head, *lines.values()]


def _idle(commands: dict[str, list[str]], rounds: int, seconds: float) -> list[list[str]]:
    kinds = [kind for kind in IDLE_SERVERS if kind in commands]
    taken: dict[str, list[processes.Idle]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            with load.running(commands[kind]) as server:
                taken[kind].append(processes.idle(server, IDLE, seconds))
    lines = [
        [IDLE_SERVERS[kind], *(_spread(column) for column in zip(*values, strict=True))]
        for kind, values in taken.items()
    ]
    return [IDLE_HEAD, *lines]


def _in_process() -> str:
    taken = in_process.measure()
    figures = ", ".join(f"{way} {median(times):.0f} ns" for way, times in taken.items())
    return f"From bytes in to bytes out without a socket, for each N-SET: {figures}."


def _spread(values: list[float] | tuple[float, ...]) -> str:
    return f"{_short(median(values))} [{_short(min(values))}-{_short(max(values))}]"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


if __name__ == "__main__":
    main()
