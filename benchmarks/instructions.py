"""Counts the instructions of hot operations under callgrind, and compares them with those before.

Usage: python benchmarks/instructions.py [--write]

Unlike times, they are the same on a busy machine. Exits with 1 where one is more than 10 % above
that of instructions.json, which --write makes anew. Counts depend on the interpreter, Cython and
the compiler: with others than there are in the file, nothing is compared. Needs valgrind (Debian:
valgrind), a C compiler and the C extensions.
"""

import argparse
import asyncio
import ctypes
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
MOST = 1.10  # times the count before
WARM_UP, NUMBER = 200, 500

# Callgrind's own requests: so the imports are not counted, which would take a minute.
REQUESTS = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""


def operations() -> Iterator[tuple[str, Callable[[], Any]]]:
    """The hot operations."""
    import lists
    from support import IMPLICIT

    from nset import N_SET, dataset

    request = N_SET()
    request.MessageID = 7
    request.RequestedSOPClassUID = "1.2.840.10008.3.1.2.3.3"
    request.RequestedSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    data_set = lists.encoded(lists.modification_list(2, 5))
    request.ModificationList = BytesIO(data_set)
    encoded = request.to_command_set()
    yield "is_valid_request", lambda: request.is_valid_request
    yield "encode a command set", request.to_command_set
    yield "decode a command set", lambda: N_SET.from_command_set(encoded)
    yield "decode a data set of 2 x 5", lambda: dataset.decode(data_set, IMPLICIT)


def count(library: str) -> None:
    """Run each operation, between requests to callgrind; in a process of callgrind's."""
    requests = ctypes.CDLL(library)

    def counted(name: str, operation: Callable[[], Any]) -> None:
        for _ in range(WARM_UP):
            operation()
        gc.collect()
        requests.begin()
        for _ in range(NUMBER):
            operation()
        requests.end(name.encode())

    gc.disable()
    for name, operation in operations():
        counted(name, operation)
    asyncio.run(_count_n_set(counted))


async def _count_n_set(counted: Callable[[str, Callable[[], Any]], None]) -> None:
    import acceptors
    import in_process
    import load
    from pynetdicom import evt

    from nset import scp

    handlers = [(evt.EVT_N_SET, acceptors.succeed)]
    server = await scp.serve(acceptors.entity(), ("127.0.0.1", 0), evt_handlers=handlers)
    request, answer = load.exchange()
    path = in_process._associated(server, request, answer)
    counts = 0

    def serve() -> None:
        nonlocal counts
        if counts % in_process.TURN == 0:
            path.read()  # as in another turn of the loop, in each of which it may do so much
        counts += 1
        path.data_received(request)

    done = asyncio.get_running_loop().create_future()

    def in_loop() -> None:  # as a loop calls a protocol: not in a task
        counted("an N-SET on the fast path", serve)
        assert path.bytes_waiting == 0
        done.set_result(None)

    asyncio.get_running_loop().call_soon(in_loop)
    await done
    await server.close(0)


def measured() -> dict[str, int]:
    """The instructions of each operation."""
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/requests.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-x", "c", "-o", library, "-"],
            input=REQUESTS,
            text=True,
            check=True,
        )
        out = f"{folder}/callgrind"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        subprocess.run(
            [*valgrind, f"--callgrind-out-file={out}", sys.executable, __file__, "--in", library],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": "0", "NSET_IMPLEMENTATION": "compiled"},
        )
        counts = {}
        for path in Path(folder).glob("callgrind.*"):
            text = path.read_text(encoding="utf-8")
            name = re.search("^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
            total = re.search(r"^(?:totals|summary): (\d+)$", text, re.MULTILINE)
            if name and total:
                counts[name[1]] = round(int(total[1]) / NUMBER)
    return counts


def made_with() -> str:
    """What the counts depend on."""
    compiler = subprocess.run(
        ["cc", "-dumpfullversion"], check=True, capture_output=True, text=True
    ).stdout.strip()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    flags = "shared" if sysconfig.get_config_var("Py_ENABLE_SHARED") else "static"
    return f"{python} ({flags}), Cython {version('Cython')}, cc {compiler}, {platform.machine()}"


def main() -> None:
    if sys.argv[1:2] == ["--in"]:
        count(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="make instructions.json anew")
    options = parser.parse_args()
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    key = made_with()
    if not options.write and key not in known:
        print(f"Not compared: there are no counts for {key}")
        return
    if shutil.which("valgrind") is None:
        sys.exit("There is no valgrind here (Debian: valgrind)")
    counts = measured()
    if options.write:
        text = json.dumps({**known, key: counts}, indent=1) + "\n"
        FILE.write_text(text, encoding="utf-8")
        print(text)
        return
    too_many = False
    for name, before in known[key].items():
        ratio = counts[name] / before
        too_many |= ratio > MOST
        print(f"{name}: {counts[name]} instructions, {ratio:.3f}x{' ✗' * (ratio > MOST)}")
    sys.exit(too_many)


if __name__ == "__main__":
    main()
