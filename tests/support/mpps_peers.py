"""Modalities, workstations and subscribers, and an MPPS server for them."""

import importlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from acceptors import accepting, port, until
from associations import MPPS, TIMEOUT
from n_set_requests import uid as uid_bytes
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dsutils import decode, encode
from raw_peer import LAST, Peer, p_data
from service_requests import asked, sent

RETRIEVE = "1.2.840.10008.3.1.2.3.4"
NOTIFICATION = "1.2.840.10008.3.1.2.3.5"
ROOT = "1.2.826.0.1.3680043.8.498.2"


def encoded(data_set: Dataset, syntax: Any = ImplicitVRLittleEndian) -> bytes:
    """By pydicom, in that transfer syntax."""
    data = encode(data_set, syntax.is_implicit_VR, syntax.is_little_endian)
    assert data is not None
    return data


class Modality(Peer):
    """Reports; an answer is the command set of the response."""

    def __init__(self, port: int, transfer_syntax: Any = ImplicitVRLittleEndian) -> None:
        try:
            super().__init__(port, (MPPS, transfer_syntax))
        except Exception:
            if hasattr(self, "socket"):
                self.socket.close()
            raise
        self.transfer_syntax = transfer_syntax

    def create(self, uid: str | None, listed: Dataset | bytes) -> Dataset:
        return self._answer(0x0140, listed, **({} if uid is None else {"x1000": uid_bytes(uid)}))

    def set(self, uid: str, listed: Dataset | bytes) -> Dataset:
        return self._answer(0x0120, listed, x1001=uid_bytes(uid))

    def ask(self, field: int, listed: Dataset | bytes, **elements: Any) -> None:
        """Send a request, of which the answer is still to be received."""
        data = listed if isinstance(listed, bytes) else encoded(listed, self.transfer_syntax)
        command = sent(asked(field, data, **elements)._replace(data=b""), MPPS, context_id=1)
        fragments = [data[at : at + 16000] for at in range(0, len(data), 16000)]
        headers = [0] * (len(fragments) - 1) + [LAST]
        pdus = [p_data((1, *pdv)) for pdv in zip(headers, fragments, strict=True)]
        self.send(command, *pdus)

    def _answer(self, field: int, listed: Dataset | bytes, **elements: Any) -> Dataset:
        self.ask(field, listed, **elements)
        answer, attributes = self.receive_message()
        assert attributes == b""
        return answer


class Workstation(Peer):
    """Retrieves."""

    def __init__(self, port: int) -> None:
        super().__init__(port, RETRIEVE)

    def get(self, uid: str, *tags: int) -> tuple[Dataset, Dataset]:
        listed = b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags)
        elements = {"x1005": listed} if tags else {}
        self.send(sent(asked(0x0110, x1001=uid_bytes(uid), **elements), RETRIEVE, context_id=1))
        answer, attributes = self.receive_message()
        return answer, decode(BytesIO(attributes), True, True)


class Subscriber:
    """A workstation: what it was told, by whom."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int]] = []  # the number of the step, and the event's type
        self.associations: list[tuple[str, str]] = []  # titles
        self.statuses: list[int] = []  # of the first answers

    def told(self, event: Any) -> tuple[int, None]:
        request = event.request
        assert request.AffectedSOPClassUID == NOTIFICATION
        assert request.EventInformation.getvalue() == b""
        number = int(request.AffectedSOPInstanceUID.rpartition(".")[2])
        self.events.append((number, request.EventTypeID))
        return self.statuses.pop(0) if self.statuses else 0x0000, None

    def accepted(self, event: Any) -> None:
        requestor = event.assoc.requestor
        (role,) = requestor.role_selection.values()
        self.associations.append(
            (requestor.ae_title, event.assoc.acceptor.primitive.called_ae_title)
        )
        assert (role.scu_role, role.scp_role) == (False, True)

    @contextmanager
    def listening(self, address: tuple[str, int]) -> Iterator[int]:
        ae = AE("STATION")
        ae.add_supported_context(NOTIFICATION, scu_role=False, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self.told), (evt.EVT_ACCEPTED, self.accepted)]
        server = ae.start_server(address, block=False, evt_handlers=handlers)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()

    def until_told(self, *events: tuple[int, int]) -> None:
        until(lambda: len(self.events) >= len(events), str(self.events), 3 * TIMEOUT)
        assert self.events == list(events)


class Served:
    """A running server, its port, and another view of its store."""

    def __init__(self, server: Any, store: Any) -> None:
        self.server, self.port = server, port(server)
        self.store = store


@contextmanager
def serving_mpps(
    nset: Any, url: str, *, is_strict: bool = False, subscribers: tuple[Any, ...] = ()
) -> Iterator[Served]:
    """Run an MPPS server of this process."""
    stores = importlib.import_module("nset.mpps.stores")
    server = importlib.import_module("nset.mpps.server")
    store, view = stores.open_store(url, create=True), stores.open_store(url)
    ae = server.entity("NSET_MPPS", 100)
    options = {"is_strict": is_strict, "subscribers": subscribers, "ae_title": "NSET_MPPS"}
    try:
        with server.writing(store, **options) as handlers, accepting(nset, handlers, ae) as running:
            yield Served(running, view)
    finally:
        view.close()
