"""The server on DCMTK, in C++: compiles it where that is not done.

Needs Debian's g++, libdcmtk-dev and libsqlite3-dev.
"""

import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

SOURCE = Path(__file__).with_name("dcmtk_server.cpp")
PROGRAM = SOURCE.parents[1] / "build" / "benchmarks" / "dcmtk_server"
LIBRARIES = ("dcmnet", "dcmdata", "oflog", "ofstd", "sqlite3")


def command(*arguments: str) -> list[str]:
    """What runs it, in an environment like this process's."""
    os.environ["TCP_NODELAY"] = "1"
    return [str(_program()), *arguments]


def add_option(parser: ArgumentParser) -> None:
    """Have a program measure the others alone, if so asked."""
    parser.add_argument("--without-dcmtk", action="store_true", help="where it is not installed")


def versions(options: Namespace) -> dict[str, str]:
    """DCMTK's, if it is measured."""
    if options.without_dcmtk:
        return {}
    return {"DCMTK": subprocess.check_output(command("--version"), text=True).split()[-1]}


def _program() -> Path:
    if PROGRAM.exists() and PROGRAM.stat().st_mtime >= SOURCE.stat().st_mtime:
        return PROGRAM
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        _give_up("There is no C++ compiler.")
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    libraries = [f"-l{library}" for library in LIBRARIES]
    compilation = [compiler, "-O2", "-pthread", "-o", str(PROGRAM), str(SOURCE), *libraries]
    if subprocess.run(compilation).returncode:
        _give_up("The server on DCMTK could not be compiled; the reason is above.")
    return PROGRAM


def _give_up(reason: str) -> None:
    sys.exit(
        f"{reason} On Debian:\n\n    apt-get install g++ libdcmtk-dev libsqlite3-dev\n\n"
        "or measure the others alone: --without-dcmtk"
    )
