"""A program on `nset.scp`: in a thread of its own, in the program's loop, and for good."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import N_SET

import nset.scp
from nset import StatusError, logs, status
from nset.scp import metrics, systemd

MPPS = "1.2.840.10008.3.1.2.3.3"
ADDRESS = ("127.0.0.1", 0)


def instance_of(request: N_SET) -> str:
    return str(request.RequestedSOPInstanceUID)


async def handle_set(event: evt.Event) -> tuple[int, Dataset | None]:
    request = event.request
    assert isinstance(request, nset.N_SET)
    print(instance_of(request))
    if not request.RequestedSOPInstanceUID:
        raise StatusError(status.MISSING_ATTRIBUTE, "No UID", attribute_identifiers=["PatientID"])
    return status.SUCCESS, None


def in_a_thread(ae: ApplicationEntity) -> int:
    limits = nset.scp.Limits()
    handlers: list[evt.EventHandlerType] = [(evt.EVT_N_SET, handle_set)]
    with nset.scp.start_server(
        ae, ADDRESS, block=False, evt_handlers=handlers, limits=limits
    ) as server:
        association = ae.associate("127.0.0.1", server.server_address[1])
        report = Dataset()
        report.PerformedProcedureStepStatus = "COMPLETED"
        association.send_n_set(report, MPPS, "1.2.3")
        association.release()
        counts: nset.scp.Counts = server.counts
        print(counts.requests, counts.responses)
        return counts.n_set_requests + len(server.active_associations)


def watched(ae: ApplicationEntity) -> None:
    with nset.scp.start_server(ae, ADDRESS, block=False, metrics=True) as server:
        endpoint = metrics.start_http_server(ADDRESS, server, is_ready=lambda: True)
        print(endpoint.server_address[0], server.counts.request_seconds.get("N-SET"))
        endpoint.shutdown()
        endpoint.server_close()
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().handlers[0].setFormatter(logs.JsonFormatter())


async def in_the_loop(ae: ApplicationEntity) -> None:
    async with await nset.scp.serve(ae, ADDRESS, inline=True, workers=2) as server:
        print(server.counts.associations)


def for_good(ae: ApplicationEntity, block: bool) -> nset.scp.Server | None:
    if block:
        nset.scp.start_server(ae, ADDRESS)
    return nset.scp.start_server(ae, ADDRESS, block)


@contextmanager
def handlers() -> Iterator[list[evt.EventHandlerType]]:
    yield [(evt.EVT_N_SET, handle_set)]


def in_processes(ae: ApplicationEntity) -> None:
    def started(processes: nset.scp.Processes) -> bool:
        print(processes.server_address, processes.pids, processes.counts.requests)
        return systemd.notify()

    sock = systemd.listening_socket()
    address = ADDRESS if sock is None else None
    proxies = ["10.0.0.0/24"]
    nset.scp.run(
        ae,
        address,
        processes=2,
        evt_handlers=handlers,
        sock=sock,
        proxy_protocol=proxies,
        maximum_associations=10,
        started=started,
    )


def main() -> None:
    ae = AE()
    ae.add_supported_context(MPPS)
    ae.add_requested_context(MPPS)
    in_a_thread(ae)
    watched(ae)
    asyncio.run(in_the_loop(ae))
    if "--processes" in sys.argv:
        in_processes(ae)
    server = for_good(ae, "--block" in sys.argv)
    if server is not None:
        server.shutdown()


if __name__ == "__main__":
    main()
