"""A program that serves N-SET in several processes; it prints what becomes of them.

Usage: python several_processes.py NUMBER FOLDER [MOST]

As lines of JSON: ``["started", port, pids]``; by each server process ``["entered", pid]`` and
``["left", pid]``; by a process beside them ``["beside", pid, pids, counts]``, at each change; at
last ``["ended", counts]``. A handler waits, and prints ``["asked", pid]``, while there is a file
"wait" in the folder; a process fails at its start while there is a file "fail", and none can be
forked while there is a file "full". With a file "traced" from the beginning, a process that gets
SIGUSR1 prints ``["kept", pid, bytes, descriptors]``, what it has; and those that have ended are
started again at once.
"""

import errno
import gc
import json
import logging
import os
import signal
import sys
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

from acceptors import entity
from pynetdicom import evt

from nset import scp
from nset.scp import _processes

number, folder = int(sys.argv[1]), Path(sys.argv[2])
served = []
most = int(sys.argv[3]) if len(sys.argv) > 3 else None


def say(*what):
    os.write(1, json.dumps(what).encode() + b"\n")  # whole lines, from whatever process


def handle(event):
    if (folder / "wait").exists():
        say("asked", os.getpid())
    while (folder / "wait").exists():
        time.sleep(0.01)
    return 0x0000, None


def fork():
    if (folder / "full").exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return real_fork()


def say_what_is_kept(*_):
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    say("kept", os.getpid(), size, len(os.listdir("/dev/fd")))


@contextmanager
def handlers():
    if (folder / "fail").exists():
        raise LookupError("no database")
    say("entered", os.getpid())
    yield [(evt.EVT_N_SET, handle)]
    say("left", os.getpid())


def watch(processes):
    said = None
    while True:
        now = [os.getpid(), processes.pids, processes.counts._asdict()]
        if now != said:
            said = now
            say("beside", *now)
        time.sleep(0.02)


def started(processes):
    served.append(processes)
    say("started", processes.server_address[1], processes.pids)


if __name__ == "__main__":
    if (folder / "traced").exists():
        tracemalloc.start()
        _processes._STEADY_SECONDS = 0.0
        signal.signal(signal.SIGUSR1, say_what_is_kept)
    logging.basicConfig(format="%(levelname)s %(message)s")
    real_fork, os.fork = os.fork, fork
    scp.run(
        *(entity(), ("127.0.0.1", 0), number),
        evt_handlers=handlers,
        maximum_associations=most,
        started=started,
        beside=watch,
    )
    say("ended", served[0].counts._asdict())
