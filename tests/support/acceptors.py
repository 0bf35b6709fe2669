"""Event-driven acceptors of `nset.scp` on loopback, and what to send them."""

import importlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from types import ModuleType
from typing import Any

from associations import INSTANCE, MPPS, TIMEOUT, completed_bytes
from durations import Duration
from pynetdicom import AE
from raw_peer import COMMAND, LAST, p_data


def entity(*abstract_syntaxes: str) -> AE:
    """An AE that supports and requests these, with timeouts that no test runs into."""
    ae = AE()
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT
    for uid in abstract_syntaxes or (MPPS,):
        ae.add_supported_context(uid)
        ae.add_requested_context(uid)
    return ae


@contextmanager
def accepting(
    nset: ModuleType, handlers: list[Any] | None = None, ae: AE | None = None, **options: Any
) -> Iterator[Any]:
    """Run a server of `nset.scp` on a free port; shut down, it has no association left."""
    scp = importlib.import_module("nset.scp")
    ae = ae or entity()
    server = scp.start_server(ae, ("127.0.0.1", 0), block=False, evt_handlers=handlers, **options)
    try:
        yield server
    finally:
        server.shutdown(quiet=0.1)
    assert server.active_associations == []


def until(condition: Callable[[], Any], what: str = "", seconds: float = TIMEOUT) -> None:
    """Wait for a condition that nothing announces."""
    waited, end = Duration(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            waited.update()
            assert waited.own < seconds, what
        time.sleep(0.001)


def port(server: Any) -> int:
    return int(server.server_address[1])


def n_set_request(nset: ModuleType, message_id: int = 7, sop_class: str = MPPS) -> Any:
    """A request with a small list, in presentation context 1."""
    request = nset.N_SET()
    request.MessageID = message_id
    request.RequestedSOPClassUID = sop_class
    request.RequestedSOPInstanceUID = INSTANCE
    request.ModificationList = BytesIO(completed_bytes())
    return request


def n_set_pdus(nset: ModuleType, message_id: int = 7, max_pdu_length: int = 0) -> bytes:
    """The same as P-DATA-TF PDUs, for a raw peer."""
    return nset.wire.encode_pdus(n_set_request(nset, message_id), 1, max_pdu_length)


def one_pdu(command_set: bytes, data_set: bytes = b"", context_id: int = 1) -> bytes:
    """A P-DATA-TF PDU of a whole message."""
    pdvs = [(context_id, COMMAND | LAST, command_set)]
    if data_set:
        pdvs.append((context_id, LAST, data_set))
    return p_data(*pdvs)


def connected(server: Any) -> socket.socket:
    """A socket that is connected to the server, over which nothing has been sent."""
    return socket.create_connection(server.server_address, TIMEOUT)


def ended(server: Any) -> None:
    """Wait until the server has heard of the end of all its associations."""
    for assoc in server.active_associations:
        assoc.join(TIMEOUT)
        assert not assoc.is_alive()


def is_over(server: Any) -> bool:
    """Tell whether nothing is left of connections and associations."""
    return not server._associations and server.counts.open_connections == 0
