"""A modality and a workstation, over bare sockets, and an MPPS server for them."""

import importlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from acceptors import accepting, port
from associations import MPPS
from n_set_requests import uid as uid_bytes
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode
from raw_peer import LAST, Peer, p_data
from service_requests import asked, sent

RETRIEVE = "1.2.840.10008.3.1.2.3.4"
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

    def create(self, uid: str, listed: Dataset | bytes) -> Dataset:
        return self._ask(0x0140, listed, x1000=uid_bytes(uid))

    def set(self, uid: str, listed: Dataset | bytes) -> Dataset:
        return self._ask(0x0120, listed, x1001=uid_bytes(uid))

    def _ask(self, field: int, listed: Dataset | bytes, **elements: Any) -> Dataset:
        data = listed if isinstance(listed, bytes) else encoded(listed, self.transfer_syntax)
        command = sent(asked(field, data, **elements)._replace(data=b""), MPPS, context_id=1)
        fragments = [data[at : at + 16000] for at in range(0, len(data), 16000)]
        headers = [0] * (len(fragments) - 1) + [LAST]
        pdus = [p_data((1, *pdv)) for pdv in zip(headers, fragments, strict=True)]
        self.send(command, *pdus)
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


class Served:
    """A running server: its port, and another view of its store."""

    def __init__(self, port: int, store: Any) -> None:
        self.port = port
        self.store = store


@contextmanager
def serving_mpps(nset: Any, url: str, *, is_strict: bool = False) -> Iterator[Served]:
    """Run an MPPS server of this process."""
    stores = importlib.import_module("nset.mpps.stores")
    server = importlib.import_module("nset.mpps.server")
    writer = importlib.import_module("nset.mpps.writer").Writer(
        stores.open_store(url, create=True), is_strict=is_strict
    )
    view = stores.open_store(url)
    ae = server.entity("NSET_MPPS", 100)
    try:
        with accepting(nset, server.handlers(writer), ae) as running:
            yield Served(port(running), view)
    finally:
        writer.close()
        view.close()
