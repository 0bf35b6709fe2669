"""What a server's process has taken so far, and what associations take of it that send nothing.

For Linux: the kernel tells in ``/proc`` and by the clock of a process.
"""

import resource
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nset.demo import load

TIMEOUT = 30  # seconds; for what takes milliseconds when all is well

_SETTLE = 0.5  # seconds; what the last of many associations has begun is over by then
_RELEASE_RQ, _RELEASE_RP = 0x05, 0x06


class Idle(NamedTuple):
    """What associations take.

    Attributes
    ----------
    set_up : float
        CPU time in microseconds to set up one.
    release : float
        CPU time in microseconds to release one.
    memory : float
        KiB of RSS by which the process grows with each.
    cpu : float
        Per cent of one core that all of them take while nothing is sent.
    """

    set_up: float
    release: float
    memory: float
    cpu: float


def idle(server: load.Server, associations: int, seconds: float, before: int = 20) -> Idle:
    """Open associations one after the other, let them be, and release them.

    Parameters
    ----------
    server : nset.demo.load.Server
        The server.
    associations : int
        How many.
    seconds : float
        How long they are let be.
    before : int
        How many there are already, so that what the first of all take is not counted.

    Returns
    -------
    Idle
        What they take.
    """
    allow_open_files(associations + before)
    first = [_associate(server.port) for _ in range(before)]
    time.sleep(_SETTLE)
    taken, size = cpu_seconds(server.pid), resident_bytes(server.pid)
    others = [_associate(server.port) for _ in range(associations)]
    time.sleep(_SETTLE)
    set_up = cpu_seconds(server.pid) - taken
    memory = resident_bytes(server.pid) - size

    taken = cpu_seconds(server.pid)
    time.sleep(seconds)
    cpu = (cpu_seconds(server.pid) - taken) / seconds

    taken = cpu_seconds(server.pid)
    for peer in others:
        _release(peer)
    time.sleep(_SETTLE)
    release = cpu_seconds(server.pid) - taken
    for peer in first:
        peer.close()
    return Idle(
        set_up / associations * 1e6,
        release / associations * 1e6,
        memory / associations / 1024,
        cpu * 100,
    )


def cpu_seconds(pid: int) -> float:
    """Tell what CPU time a process has taken, with its threads that have ended.

    Parameters
    ----------
    pid : int
        The process.

    Returns
    -------
    float
        Seconds, user and system; /proc/PID/stat would tell them in steps of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not have


def waited_seconds(pid: int) -> float:
    """Tell how long the threads that a process has were ready to run, but had no CPU.

    Parameters
    ----------
    pid : int
        The process.

    Returns
    -------
    float
        Seconds: what other processes have taken from this one.
    """
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread may have ended by now
            nanoseconds += int((thread / "schedstat").read_text().split()[1])
    return nanoseconds / 1e9


def resident_bytes(pid: int) -> int:
    """Tell what a process has in memory.

    Parameters
    ----------
    pid : int
        The process.

    Returns
    -------
    int
        Its RSS in bytes.
    """
    return _status(pid, "VmRSS") * 1024


def threads(pid: int) -> int:
    """Tell how many threads a process has.

    Parameters
    ----------
    pid : int
        The process.

    Returns
    -------
    int
        Their number.
    """
    return _status(pid, "Threads")


def _status(pid: int, name: str) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        (number,) = (line.split()[1] for line in file if line.startswith(f"{name}:"))
    return int(number)


def allow_open_files(number: int) -> None:
    """Raise this process's limit of open files, and that of those it starts, where it is lower.

    Parameters
    ----------
    number : int
        How many connections there will be.
    """
    number += 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


def _associate(port: int) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(load.associate_rq())
    header = _read(peer, 6)
    if header[0] != 0x02:
        raise ValueError(f"a PDU of type {header[0]:02X}H, not 02H")
    _read(peer, int.from_bytes(header[2:], "big"))
    return peer


def _release(peer: socket.socket) -> None:
    peer.sendall(bytes((_RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0)))
    answer = _read(peer, 10)
    if answer[0] != _RELEASE_RP:
        raise ValueError(f"a PDU of type {answer[0]:02X}H, not {_RELEASE_RP:02X}H")
    peer.close()


def _read(peer: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = peer.recv(length - len(data))
        if not more:
            raise ConnectionError("the server has closed the connection")
        data += more
    return data
