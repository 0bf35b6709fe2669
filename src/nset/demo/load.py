"""What an N-SET costs a server, by pynetdicom, with nset, and nset's own: real ones, real sockets.

Run as a program it is one of the two processes that are measured: ``serve`` is a server,
``round-trips`` a pynetdicom SCU. The raw client of `cpu_per_request` is the process that calls it.
"""

import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from statistics import median
from typing import Any, Final, NamedTuple

from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from nset import N_SET, scp, wire
from nset.demo import MPPS, keep_responses
from nset.pynetdicom import install

INSTANCE = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789"
DATA_SET_LENGTH = 1024
STOCK: Final = "pynetdicom"
INSTALLED: Final = "installed"
SCP: Final = "scp"
KINDS: Final = (STOCK, INSTALLED, SCP)
"""Servers: pynetdicom's own, the same with nset installed in it, and `nset.scp`."""

TIMEOUT = 120  # seconds; for what takes milliseconds or a few seconds when all is well
CAN_MEASURE_CPU = os.path.exists("/proc/self/stat")
_ASSOCIATE_AC = 0x02


class Server(NamedTuple):
    """A server in a process of its own.

    Attributes
    ----------
    port : int
        On 127.0.0.1.
    pid : int
        Of the process.
    """

    port: int
    pid: int


@contextmanager
def server(kind: str) -> Iterator[Server]:
    """Run an MPPS SCP that answers each N-SET with 0x0000.

    Parameters
    ----------
    kind : str
        One of `KINDS`.

    Yields
    ------
    Server
        Ready to take associations.
    """
    with running(_command("serve", kind)) as process:
        yield process


@contextmanager
def running(command: list[str]) -> Iterator[Server]:
    """Run a program that prints the port it serves, and ends with its standard input.

    Parameters
    ----------
    command : list of str
        The program and its arguments.

    Yields
    ------
    Server
        Ready to take associations.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), process.pid)
        finally:
            process.stdin.close()


def cpu_per_request(server: Server, associations: int, seconds: float) -> float:
    """Keep a server busy, one outstanding N-SET on each association, and see what it takes.

    Each request of 1 KiB is sent in one write, with TCP_NODELAY: no wait for an acknowledgement is
    measured. For systems with ``/proc``.

    Parameters
    ----------
    server : Server
        The server.
    associations : int
        How many there are at once.
    seconds : float
        How long.

    Returns
    -------
    float
        CPU time of the server's process, user and system, in microseconds for each N-SET.
    """
    peers = [_Peer(server.port) for _ in range(associations)]
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer.socket, selectors.EVENT_READ, peer)
            peer.send()
        served = 0
        before, end = _cpu_seconds(server.pid), time.monotonic() + seconds
        while time.monotonic() < end:
            ready = selector.select(TIMEOUT)
            if not ready:
                raise TimeoutError(f"no answer from the server in {TIMEOUT} s")
            for key, _ in ready:
                if key.data.receive():
                    served += 1
                    key.data.send()
        taken = _cpu_seconds(server.pid) - before
    for peer in peers:
        peer.socket.close()
    return taken / served * 1e6


def idle_cpu(server: Server, associations: int, seconds: float) -> float:
    """See what associations take of a server that are open and send nothing.

    Parameters
    ----------
    server : Server
        The server.
    associations : int
        How many there are at once.
    seconds : float
        How long.

    Returns
    -------
    float
        CPU time of the server's process, user and system, in per cent of one core.
    """
    peers = [_Peer(server.port) for _ in range(associations)]
    before = _cpu_seconds(server.pid)
    time.sleep(seconds)
    taken = _cpu_seconds(server.pid) - before
    for peer in peers:
        peer.socket.close()
    return taken / seconds * 100


def round_trip(server: Server, kind: str, requests: int = 50) -> float:
    """Time ``send_n_set`` of a pynetdicom SCU in a process of its own.

    Parameters
    ----------
    server : Server
        Whom it asks.
    kind : str
        One of `KINDS`: nset is installed in the SCU as it is in such a server.
    requests : int
        How many are sent, one after the other.

    Returns
    -------
    float
        Milliseconds from the call to its return, the median.
    """
    command = [*_command("round-trips", kind), str(server.port), str(requests)]
    scu = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=TIMEOUT)
    return float(scu.stdout)


def _command(task: str, kind: str) -> list[str]:
    return [sys.executable, "-m", "nset.demo.load", task, kind]


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Peer:
    """An association that is nothing but a socket: it shall cost less than the server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.socket.sendall(associate_rq())
        while (pdu := self._next_pdu()) is None:
            self._read()
        if pdu[0] != _ASSOCIATE_AC:
            raise ValueError(f"a PDU of type {pdu[0]:02X}H, not {_ASSOCIATE_AC:02X}H")
        self._request, self._answer = exchange()

    def send(self) -> None:
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Read what is there; True where that completes the answer to the last request."""
        self._read()
        if len(self._received) < len(self._answer):
            return False
        if self._received != self._answer:
            raise ValueError(f"the answer should be {self._answer!r}, and is {self._received!r}")
        self._received = b""
        return True

    def _read(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._received += data

    def _next_pdu(self) -> bytes | None:
        if len(self._received) < 6:
            return None
        (length,) = struct.unpack_from(">2xL", self._received)
        if len(self._received) < 6 + length:
            return None
        pdu, self._received = self._received[: 6 + length], self._received[6 + length :]
        return pdu


def exchange() -> tuple[bytes, bytes]:
    """Make the PDUs of a request of 1 KiB, and those of the answer to it.

    Returns
    -------
    tuple of (bytes, bytes)
        Each for one ``send``.
    """
    request = N_SET()
    request.MessageID = 7
    request.RequestedSOPClassUID = MPPS
    request.RequestedSOPInstanceUID = INSTANCE
    request.ModificationList = BytesIO(bytes(DATA_SET_LENGTH))
    return wire.encode_pdus(request, 1, 16382), wire.encode_pdus(request.response(0x0000), 1)


def associate_rq() -> bytes:
    """Make the A-ASSOCIATE-RQ PDU that asks for the one presentation context.

    Returns
    -------
    bytes
        As pynetdicom would send it.
    """
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title = "NSET_LOAD"
    request.called_ae_title = "NSET_DEMO"
    context = build_context(MPPS, ImplicitVRLittleEndian)
    context.context_id = 1
    request.presentation_context_definition_list = [context]
    length = MaximumLengthNotification()
    length.maximum_length_received = 16382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.8.498.1"
    request.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()


def entity() -> AE:
    """Make the AE of an MPPS SCP.

    Returns
    -------
    pynetdicom.ae.ApplicationEntity
        With room for 2000 associations.
    """
    ae = AE("NSET_DEMO")
    ae.add_supported_context(MPPS)
    ae.maximum_associations = 2000
    return ae


async def succeed(event: Any) -> tuple[int, None]:
    """Handle an N-SET: success."""
    return 0x0000, None


def _serve(kind: str) -> None:
    def plain(event: Any) -> tuple[int, None]:
        return 0x0000, None

    start, handler = (scp.start_server, succeed) if kind == SCP else (AE.start_server, plain)
    running: Any = start(
        entity(), ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_SET, handler)]
    )
    print(running.server_address[1], flush=True)
    sys.stdin.read()
    os._exit(0)  # shutting down in good order takes pynetdicom half a second an association


def _round_trips(port: int, requests: int) -> None:
    ae = AE("NSET_LOAD")
    ae.add_requested_context(MPPS, ImplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", port)
    modifications = Dataset()
    modifications.PerformedProcedureStepDescription = "x" * 64
    modifications.CommentsOnThePerformedProcedureStep = "x" * DATA_SET_LENGTH
    times = []
    for message_id in range(1, requests + 1):
        start = time.perf_counter()
        status, _ = assoc.send_n_set(modifications, MPPS, INSTANCE, msg_id=message_id)
        times.append(time.perf_counter() - start)
        if status.get("Status") != 0x0000:
            sys.exit(f"the server answered {status}")
    assoc.release()
    print(median(times) * 1000)


def _main(task: str, kind: str, *numbers: str) -> None:
    if kind != STOCK:
        install()
    if task == "serve":
        _serve(kind)
    else:
        if kind == STOCK:
            keep_responses()
        _round_trips(*map(int, numbers))


if __name__ == "__main__":
    _main(*sys.argv[1:])
