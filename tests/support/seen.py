"""What a program sees of messages, with nset installed and without."""

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from associations import (
    MPPS,
    TIMEOUT,
    completed,
    make_request,
    make_response,
    status_dataset,
)
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, dimse_messages, dimse_primitives, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

STOCK = dimse_primitives.N_SET


def elements(command_set: Dataset) -> list[tuple[object, ...]]:
    return [(element.tag, element.VR, element.value) for element in command_set]


class Seen:
    """Every message that associations send and receive, and the P-DATA-TF PDUs that they send."""

    def __init__(self, **associations: Association) -> None:
        self.messages: list[tuple[object, ...]] = []
        self.wire: dict[str, list[bytes]] = {}
        for name, association in associations.items():
            self.wire[name] = []
            association.bind(evt.EVT_DIMSE_RECV, self._message, [name])
            association.bind(evt.EVT_DIMSE_SENT, self._message, [name])
            association.bind(evt.EVT_DATA_SENT, self._sent, [name])

    def _message(self, event: evt.Event, name: str) -> None:
        message = event.message
        self.messages.append(
            (
                name,
                event.event.name,
                type(message),
                isinstance(message.command_set, Dataset),
                message.context_id,
                elements(message.command_set),
                None if message.data_set is None else message.data_set.getvalue(),
            )
        )

    def _sent(self, event: evt.Event, name: str) -> None:
        if event.data[0] == 0x04:
            self.wire[name].append(event.data)


ANSWERS = {
    "Success": (0x0000, None),
    "Success and a data set": (0x0000, completed()),
    "a Warning with attributes": (
        status_dataset(Status=0x0107, AttributeIdentifierList=[0x00400252, 0x00400250]),
        completed(),
    ),
    "a Warning with one attribute": (
        status_dataset(Status=0x0107, AttributeIdentifierList=0x00400252),
        None,
    ),
    "a Failure with a comment": (
        status_dataset(Status=0x0110, ErrorComment="Disk full", ErrorID=28),
        None,
    ),
    "a Failure with an empty comment": (status_dataset(Status=0x0110, ErrorComment=""), None),
    "an unknown status": (0xFFF0, completed()),
}


def is_read(message: Any) -> bool:
    return type(vars(message)["command_set"]) is Dataset


def received(make: Callable[[type], Any] = make_request) -> Any:
    """A message that was received, and whose command set was not read."""
    name = {make_request: "N_SET_RQ", make_response: "N_SET_RSP"}[make]
    sent = getattr(dimse_messages, name)()
    sent.primitive_to_message(make(STOCK))
    message = dimse_messages.DIMSEMessage()
    for data in sent.encode_msg(1, 0):
        message.decode_msg(data)
    return message


@contextmanager
def with_lengths(
    server: ThreadedAssociationServer, handlers: dict[Any, Any], scp_length: int, scu_length: int
) -> Iterator[tuple[Association, Association]]:
    """As `associated`, with the maximum length that each side is ready to receive."""
    before = server.ae.maximum_pdu_size
    server.ae.maximum_pdu_size = scp_length
    acceptors: queue.Queue[Association] = queue.Queue()
    handlers = {**handlers, evt.EVT_ESTABLISHED: lambda event: acceptors.put(event.assoc)}
    for event, handler in handlers.items():
        server.bind(event, handler)
    ae = AE()
    ae.add_requested_context(MPPS, ImplicitVRLittleEndian)
    scu = ae.associate("127.0.0.1", server.server_address[1], max_pdu=scu_length)
    scp = acceptors.get(timeout=TIMEOUT)
    try:
        yield scu, scp
    finally:
        scu.release()
        for thread in (scu, scp):
            thread.join(TIMEOUT)
        for event, handler in handlers.items():
            server.unbind(event, handler)
        server.ae.maximum_pdu_size = before
