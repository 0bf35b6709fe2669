"""Measures everything, records it in results.json, and makes the tables and charts of it anew.

Usage: python benchmarks/all.py [--skip growth,mpps] [--rounds N]

Wants the machine to itself. A part that fails is told of at the end; what was measured of it before
stays, as it does for one that is left out.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import charts
import results
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).parent

# For each part its programs, with the marker of what they measure.
PARTS: dict[str, list[tuple[str, list[str]]]] = {
    "primitive": [("figures", ["compare.py"])],
    "data-sets": [("data-sets", ["data_sets.py"])],
    "servers": [("servers", ["servers.py"])],
    "scp": [("scp", ["scp.py"])],
    "reports": [("report", ["report.py"])],
    "growth": [("growth", ["report.py", "--growth"])],
    "services": [("services", ["services.py"])],
    "processes": [("processes", ["processes.py"])],
    "mpps": [("mpps", ["mpps.py"]), ("mpps-slow", ["mpps.py", "--sync-ms", "5"])],
}


def names(text: str) -> list[str]:
    """Return the names of parts in a list with commas."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := set(found) - set(PARTS):
        raise argparse.ArgumentTypeError(
            f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}"
        )
    return found


def measured(marker: str, program: list[str], rounds: list[str]) -> str:
    """Run a program; return what is wrong, or nothing."""
    pages = [str(page) for page in results.pages() if marker in results.blocks(page)]
    rounds = [] if program == ["compare.py"] else rounds
    command = [sys.executable, str(HERE / program[0]), *program[1:], *rounds, *pages]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if done.returncode != 0:
        return done.stderr
    if not pages:
        results.record(marker, done.stdout.strip())
    return ""


def main() -> None:
    """Measure the parts, one after the other; each alone on the machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skip", type=names, default=[], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", help="of each, in turns; else as many as each takes itself")
    options = parser.parse_args()
    rounds = [] if options.rounds is None else ["--rounds", options.rounds]
    programs = [
        (part, *program)
        for part, of_part in PARTS.items()
        if part not in options.skip
        for program in of_part
    ]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn())
    failed = []
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=len(programs))
        for part, marker, program in programs:
            progress.update(task, description=part)
            if wrong := measured(marker, program, rounds):
                failed.append(part)
                console.print(f"{part} failed:\n{wrong}", markup=False)
            progress.advance(task)
    results.write(page for page in results.pages() if results.blocks(page))
    charts.draw()
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
