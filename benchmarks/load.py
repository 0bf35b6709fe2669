"""Servers in processes of their own, a raw peer that loads them, and what that takes of them.

For Linux, which has a clock for each process.
"""

import os
import resource
import selectors
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from pynetdicom.dimse_messages import DIMSEMessage
from support import Peer, associate_rq, p_data, pdu

from nset import N_SET, wire
from nset.demo import MPPS

INSTANCE = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789"
TIMEOUT = 120  # seconds; for what takes milliseconds or a few seconds when all is well

ASSOCIATE_RQ = associate_rq(MPPS)
ASSOCIATE_AC = 0x02
SUCCESS = struct.pack("<HHIH", 0, 0x0900, 2, 0x0000)  # Status (0000,0900)
RELEASE_RQ, RELEASE_RP, ABORT = (pdu(kind, bytes(4)) for kind in (0x05, 0x06, 0x07))

_END_SECONDS = 20  # a server that has not ended by then is killed
_SETTLE = 0.5  # seconds; what the last of many associations has begun is over by then


# -- What is sent ----------------------------------------------------------------------------------


def exchange(
    message_id: int = 7,
    data_set: bytes | None = bytes(1024),
    status: int = 0x0000,
    instance: str = INSTANCE,
) -> tuple[bytes, bytes]:
    """The PDUs of a request, and those of the answer to it, each for one ``send``."""
    request = N_SET()
    request.MessageID = message_id
    request.RequestedSOPClassUID = MPPS
    request.RequestedSOPInstanceUID = instance
    request.ModificationList = None if data_set is None else BytesIO(data_set)
    return wire.encode_pdus(request, 1, 16382), wire.encode_pdus(request.response(status), 1)


def message_pdus(message: DIMSEMessage, primitive: Any) -> bytes:
    """The PDUs of a message of another kind, as pynetdicom sends them, for one ``send``."""
    message.primitive_to_message(primitive)
    return b"".join(
        p_data((context_id, pdv[0], pdv[1:]))
        for part in message.encode_msg(1, 16382)
        for context_id, pdv in part.presentation_data_value_list
    )


def release(peer: Peer) -> None:
    """Release the association, and close."""
    peer.send(RELEASE_RQ)
    expect(peer, RELEASE_RP)
    peer.socket.close()


def expect(peer: Peer, answer: bytes) -> None:
    """Receive that."""
    received = peer.read(len(answer))
    if received != answer:
        raise ValueError(f"the answer should be {answer!r}, and is {received!r}")


# -- Whom it is sent to ----------------------------------------------------------------------------


class Server:
    """A program in a process of its own that prints the port it serves on 127.0.0.1.

    Attributes
    ----------
    port, pid : int
        Its port, and its process.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid
        self.port = int(self._line())

    def ask(self) -> str:
        """Send it a line, and return the one that it prints then."""
        print(file=self._process.stdin, flush=True)
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server has ended; the reason is above")
        return line


@contextmanager
def running(
    command: list[str], *, log: Path | None = None, is_apart: bool = False
) -> Iterator[Server]:
    """Run a program that ends with its standard input.

    Parameters
    ----------
    command : list of str
        The program and its arguments.
    log : pathlib.Path, optional
        Where its standard error goes.
    is_apart : bool
        Whether it has a CPU for itself, and this process the others; where there are several.
    """
    cpu, *others = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        errors = stack.enter_context(log.open("w")) if log else None
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        stack.enter_context(process)
        if is_apart and others:
            os.sched_setaffinity(process.pid, {cpu})
            os.sched_setaffinity(0, others)
            stack.callback(os.sched_setaffinity, 0, {cpu, *others})
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


# -- What it takes ---------------------------------------------------------------------------------


def cpu_per_request(
    server: Server,
    associations: int,
    seconds: float,
    of: tuple[str, bytes, bytes] | None = None,
) -> float:
    """Keep a server busy, with one outstanding request on each association.

    Each request is sent in one write, with TCP_NODELAY: no wait for an acknowledgement is measured.

    Parameters
    ----------
    server : Server
        The server.
    associations : int
        How many.
    seconds : float
        For how long.
    of : tuple of (str, bytes, bytes), optional
        The SOP Class, the PDUs of the request and those of the answer; by default of an N-SET with
        1 KiB.

    Returns
    -------
    float
        CPU time of the server's process, user and system, in microseconds for each request.
    """
    syntax, request, answer = of or (MPPS, *exchange())
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        peers = [stack.enter_context(Peer(server.port, syntax)) for _ in range(associations)]
        for peer in peers:
            selector.register(peer.socket, selectors.EVENT_READ, peer)
            peer.send(request)
        served = 0
        before, end = cpu_seconds(server.pid), time.monotonic() + seconds
        while time.monotonic() < end:
            ready = selector.select(TIMEOUT)
            if not ready:
                raise TimeoutError(f"no answer from the server in {TIMEOUT} s")
            for key, _ in ready:
                expect(key.data, answer)
                key.data.send(request)
            served += len(ready)
        return (cpu_seconds(server.pid) - before) / served * 1e6


def report(port: int, requests: Iterable[bytes], modalities: int) -> int:
    """Make reports: connect, associate, one request, release; so many modalities at a time.

    Parameters
    ----------
    port : int
        The server's.
    requests : iterable of bytes
        The PDUs of each request, which is to be answered by one PDU with success.
    modalities : int
        How many.

    Returns
    -------
    int
        How many reports were made.
    """
    left, made = iter(requests), 0
    with selectors.DefaultSelector() as selector:

        def begin() -> None:
            request = next(left, None)
            if request is not None:
                steps = _one_report(port, request)
                selector.register(next(steps), selectors.EVENT_READ, steps)

        for _ in range(modalities):
            begin()
        while selector.get_map():
            for key, _ in selector.select(TIMEOUT):
                selector.unregister(key.fileobj)
                modality = next(key.data, None)
                if modality is None:
                    made += 1
                    begin()
                else:
                    selector.register(modality, selectors.EVENT_READ, key.data)
    return made


def _one_report(port: int, request: bytes) -> Iterator[socket.socket]:
    """Make a report; yield whenever an answer is due."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as modality:
        modality.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        modality.sendall(ASSOCIATE_RQ)
        yield modality
        assert _receive(modality)[0] == ASSOCIATE_AC
        modality.sendall(request)
        yield modality
        answer = _receive(modality)
        assert SUCCESS in answer, answer
        modality.sendall(RELEASE_RQ)
        yield modality
        assert _receive(modality) == RELEASE_RP


def _receive(modality: socket.socket) -> bytes:
    """Receive a PDU; more than one is never due."""
    data = modality.recv(4096)
    while len(data) < 6 or len(data) < 6 + int.from_bytes(data[2:6], "big"):
        data += modality.recv(4096)
    return data


class Idle(NamedTuple):
    """What associations take.

    Attributes
    ----------
    set_up, release : float
        CPU time in microseconds to set up one, and to release one.
    memory : float
        KiB of RSS by which the process grows with each.
    cpu : float
        Per cent of one core that all of them take while nothing is sent.
    """

    set_up: float
    release: float
    memory: float
    cpu: float


def idle(server: Server, associations: int, seconds: float, before: int = 20) -> Idle:
    """Open associations one after the other, let them be, and release them.

    Parameters
    ----------
    server : Server
        The server.
    associations : int
        How many.
    seconds : float
        How long they are let be.
    before : int
        How many there are already, so that what the first of all take is not counted.
    """
    allow_open_files(associations + before)
    process = psutil.Process(server.pid)
    with ExitStack() as stack:
        for _ in range(before):
            stack.enter_context(Peer(server.port, MPPS))
        time.sleep(_SETTLE)
        taken, size = cpu_seconds(server.pid), process.memory_info().rss
        others = [Peer(server.port, MPPS) for _ in range(associations)]
        time.sleep(_SETTLE)
        set_up = cpu_seconds(server.pid) - taken
        memory = process.memory_info().rss - size

        taken = cpu_seconds(server.pid)
        time.sleep(seconds)
        cpu = (cpu_seconds(server.pid) - taken) / seconds

        taken = cpu_seconds(server.pid)
        for peer in others:
            release(peer)
        time.sleep(_SETTLE)
        released = cpu_seconds(server.pid) - taken
    return Idle(
        set_up / associations * 1e6,
        released / associations * 1e6,
        memory / associations / 1024,
        cpu * 100,
    )


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, with its threads that have ended; psutil's goes by steps of 10 ms."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not have


def allow_open_files(number: int) -> None:
    """Raise the limit of open files, of this process and those it starts, where it is lower."""
    number += 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
