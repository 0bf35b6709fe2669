"""The measurements of the demo's last two tables: a primitive, and an N-SET over TCP.

For the second one ``python -m nset.demo.clock KIND SECONDS`` is the requestor. It starts the
server, ``python -m nset.demo.clock KIND serve``.
"""

import os
import selectors
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from io import BytesIO
from statistics import median
from typing import Any, Final, NamedTuple

from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_RQ

from nset import N_SET, scp, wire
from nset.demo import MPPS, keep_responses
from nset.pynetdicom import install

STOCK: Final = "pynetdicom"
INSTALLED: Final = "installed"
SCP: Final = "scp"
"""Servers: pynetdicom's own, the same with nset installed in it, and `nset.scp`."""

TIMEOUT = 120  # seconds; for what takes a few seconds when all is well
REPEATS = 7
ASSOCIATIONS = 8
SECONDS = 0.5  # of requests on all of them

_INSTANCE = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789"
_NUMBER = 2000
_SETUP = "from io import BytesIO; stream = BytesIO(bytes(64)); from {} import N_SET"
_BUILD = (
    "request = N_SET(); request.MessageID = 7; "
    f"request.RequestedSOPClassUID = {MPPS!r}; "
    f"request.RequestedSOPInstanceUID = {_INSTANCE!r}; "
    "request.ModificationList = stream; request.is_valid_request"
)


def build_time(implementation: str) -> float:
    """Return the seconds for building and validating a request, the best of `REPEATS`.

    In a process of its own, with ``"pynetdicom"`` or with a value of `NSET_IMPLEMENTATION`.
    """
    environment = dict(os.environ)
    module = "pynetdicom.dimse_primitives"
    if implementation != "pynetdicom":
        environment["NSET_IMPLEMENTATION"], module = implementation, "nset"
    arguments = f"{_BUILD!r}, {_SETUP.format(module)!r}, number={_NUMBER}, repeat={REPEATS}"
    program = f"import timeit; print(min(timeit.repeat({arguments})))"
    return float(_output("-c", program, env=environment)) / _NUMBER


class Cost(NamedTuple):
    """Seconds for an N-SET."""

    cpu: float
    """CPU time of the server's process, with `ASSOCIATIONS` requests at a time."""
    round_trip: float
    """From the call of ``send_n_set`` to its return, the median; one at a time."""


def cost(kind: str) -> Cost:
    """Measure a requestor and a server of that kind, each in a process of its own."""
    return Cost(*map(float, _output("-m", "nset.demo.clock", kind, str(SECONDS)).split()))


def _output(*arguments: str, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, env=env, text=True, check=True, timeout=TIMEOUT
    )
    return done.stdout


def round_trips(kind: str, port: int, requests: int = 30) -> tuple[float, bytes]:
    """Return the median time of `requests` calls of ``send_n_set``, and the A-ASSOCIATE-RQ PDU.

    Unless the server is of the kind `STOCK`, nset is installed in this process, too.
    """
    if kind == STOCK:
        keep_responses()
    else:
        install()
    ae = AE("NSET_LOAD")
    ae.add_requested_context(MPPS, ImplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", port)
    modifications = Dataset()
    modifications.PerformedProcedureStepDescription = "x" * 64
    modifications.CommentsOnThePerformedProcedureStep = "x" * 1024
    times = []
    for _ in range(requests):
        start = time.perf_counter()
        status, _ = association.send_n_set(modifications, MPPS, _INSTANCE)
        times.append(time.perf_counter() - start)
        if status.get("Status") != 0x0000:
            sys.exit(f"the server answered {status}")
    association.release()
    proposed: Any = A_ASSOCIATE_RQ()
    proposed.from_primitive(association.requestor.primitive)
    return median(times), proposed.encode()


def _ask(kind: str, seconds: float) -> None:
    command = [sys.executable, "-m", "nset.demo.clock", kind, "serve"]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server,
        ExitStack() as ends,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        ends.callback(server.stdin.close)
        port = int(server.stdout.readline())
        seconds, proposed = round_trips(kind, port)
        peers = []
        for _ in range(ASSOCIATIONS):
            peers.append(ends.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT)))
            peers[-1].sendall(proposed)
            peers[-1].recv(65536)
        before = _cpu(server)
        requests = _keep_requesting(peers, seconds)
        print((_cpu(server) - before) / requests, seconds)


def _cpu(server: "subprocess.Popen[str]") -> float:
    assert server.stdout is not None
    print(file=server.stdin, flush=True)
    return float(server.stdout.readline())


def _keep_requesting(peers: list[socket.socket], seconds: float) -> int:
    """Keep one request of each peer outstanding, and return how many were answered."""
    request = N_SET()
    request.MessageID, request.RequestedSOPClassUID = 7, MPPS
    request.RequestedSOPInstanceUID, request.ModificationList = _INSTANCE, BytesIO(bytes(1024))
    pdus = wire.encode_pdus(request, 1, 16382)
    expected = wire.encode_pdus(request.response(0x0000), 1)
    requests, end = 0, time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer, selectors.EVENT_READ, peer)
            peer.sendall(pdus)
        while not requests or time.monotonic() < end:
            for key, _ in selector.select(TIMEOUT):
                answer = key.data.recv(65536)
                if answer != expected:
                    sys.exit(f"the server answered {answer.hex(' ')}")
                requests += 1
                key.data.sendall(pdus)
    return requests


def _serve(kind: str) -> None:
    """Print the port, then the CPU time for each line of standard input, and exit at its end."""

    def plain(event: Any) -> tuple[int, None]:
        return 0x0000, None

    async def succeed(event: Any) -> tuple[int, None]:
        return 0x0000, None

    if kind != STOCK:
        install()
    ae = AE("NSET_DEMO")
    ae.add_supported_context(MPPS)
    start, handler = (scp.start_server, succeed) if kind == SCP else (AE.start_server, plain)
    server: Any = start(ae, ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_SET, handler)])
    print(server.server_address[1], flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
    os._exit(0)  # shutting down in good order takes pynetdicom half a second an association


if __name__ == "__main__":
    if sys.argv[2] == "serve":
        _serve(sys.argv[1])
    else:
        _ask(sys.argv[1], float(sys.argv[2]))
