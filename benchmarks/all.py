"""Measures everything, records it in results.json, and makes the tables and charts of it anew.

Usage: python benchmarks/all.py [--skip growth,mpps] [--rounds N] [--seconds S]

Wants the machine to itself. A part that fails is told of at the end; what was measured of it before
stays, as it does for one that is left out.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

HERE = Path(__file__).parent

PARTS = {
    "primitive": [["compare.py"]],
    "data-sets": [["data_sets.py"]],
    "servers": [["servers.py"]],
    "scp": [["scp.py"]],
    "reports": [["report.py"]],
    "parts": [["parts.py"]],
    "growth": [["report.py", "--growth"]],
    "services": [["services.py"]],
    "processes": [["processes.py"]],
    "mpps": [["mpps.py"], ["mpps.py", "--sync-ms", "5"], ["mpps.py", "--parts"]],
}
"""The programs of each."""
WITHOUT_ROUNDS = "compare.py"


def names(text: str) -> list[str]:
    """Return the names of parts in a list with commas."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := set(found) - set(PARTS):
        raise argparse.ArgumentTypeError(
            f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}"
        )
    return found


def main() -> None:
    """Measure the parts, one after the other; each alone on the machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip", type=names, default=[], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", help="of each, in turns; else as many as each takes itself")
    parser.add_argument("--seconds", help="that a round lasts; else what each takes itself")
    options = parser.parse_args()
    given = {"--rounds": options.rounds, "--seconds": options.seconds}
    chosen = [part for option in given.items() if option[1] for part in option]
    programs = [
        (part, program)
        for part, of_part in PARTS.items()
        if part not in options.skip
        for program in of_part
    ]
    console = Console(stderr=True)
    failed, begin = [], time.monotonic()
    for number, (part, program) in enumerate(programs, 1):
        # Each shows a bar of its own.
        minutes, seconds = divmod(int(time.monotonic() - begin), 60)
        console.print(f"{minutes:3}:{seconds:02}  {number}/{len(programs)}  {' '.join(program)}")
        rounds = [] if program[0] == WITHOUT_ROUNDS else chosen
        command = [sys.executable, str(HERE / program[0]), *program[1:], *rounds, "--record"]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            failed.append(part)
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}; the reasons are above")


if __name__ == "__main__":
    main()
