"""Real associations over TCP on loopback, both sides pynetdicom's own, and what to send in them."""

import functools
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt, sop_class
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.transport import ThreadedAssociationServer

MPPS = sop_class.ModalityPerformedProcedureStep
UPS = sop_class.UnifiedProcedureStepPull
PRINT = sop_class.BasicGrayscalePrintManagementMeta
RT = sop_class.RTConventionalMachineVerification
INSTANCE = "1.2.826.0.1.3680043.8.498.1"

TIMEOUT = 10  # seconds; for what takes milliseconds when all is well


@contextmanager
def serving(*abstract_syntaxes: str) -> Iterator[ThreadedAssociationServer]:
    """Run an SCP on a free port. Shutting it down takes half a second: one for many tests."""
    ae = _entity()
    for uid in abstract_syntaxes:
        ae.add_supported_context(uid)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        yield server
    finally:
        server.shutdown()


@contextmanager
def associated(
    server: ThreadedAssociationServer,
    abstract_syntax: str,
    handlers: dict[evt.InterventionEvent, Callable[[Any], Any]] | None = None,
) -> Iterator[tuple[Association, Association]]:
    """Associate with the server; give requestor and acceptor.

    The handlers are the acceptor's. Afterwards both are released, and their threads have ended.
    """
    established: queue.Queue[Association] = queue.Queue()
    handlers = dict(handlers or {})
    handlers[evt.EVT_ESTABLISHED] = lambda event: established.put(event.assoc)
    for event, handler in handlers.items():
        server.bind(event, handler)
    ae = _entity()
    ae.add_requested_context(abstract_syntax, ImplicitVRLittleEndian)
    try:
        requestor = ae.associate("127.0.0.1", server.server_address[1])
        assert requestor.is_established
        acceptor = established.get(timeout=TIMEOUT)
        try:
            yield requestor, acceptor
        finally:
            requestor.release()
            for thread in (requestor, requestor.dul, acceptor, acceptor.dul):
                thread.join(TIMEOUT)
                assert not thread.is_alive()
    finally:
        for event, handler in handlers.items():
            server.unbind(event, handler)


def exchange(requestor: Association, request: Any) -> Any:
    """Send a request and wait for the response, as `send_n_set` does with one that it has made."""
    with listening(requestor):
        requestor.dimse.send_msg(request, context_id(requestor))
        return receive(requestor)


@contextmanager
def listening(association: Association) -> Iterator[None]:
    """Keep the reactor from taking the next message for a request, as `send_n_set` does."""
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.0001)  # the only way to know
    try:
        yield
    finally:
        association._reactor_checkpoint.set()


def receive(association: Association) -> Any:
    """Wait for the next message."""
    _, message = association.dimse.get_msg(block=True)
    assert message is not None
    return message


def context_id(association: Association) -> int:
    """The one presentation context that was accepted."""
    (context,) = association.accepted_contexts
    return context.context_id


def completed() -> Dataset:
    """The modification list of a procedure step that has been completed."""
    dataset = Dataset()
    dataset.PerformedProcedureStepStatus = "COMPLETED"
    dataset.PerformedProcedureStepEndDate = "20240229"
    dataset.PerformedProcedureStepEndTime = "101530"
    series = Dataset()
    series.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    series.RetrieveAETitle = "ARCHIVE"
    dataset.PerformedSeriesSequence = [series]
    return dataset


def status_dataset(**elements: object) -> Dataset:
    """What a handler may answer in place of a bare status."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@functools.cache
def completed_bytes() -> bytes:
    """The same, encoded."""
    return encoded(completed()).getvalue()


def encoded(dataset: Dataset) -> BytesIO:
    """The data set in the transfer syntax that `associated` negotiates, Implicit VR LE."""
    data = encode(dataset, is_implicit_vr=True, is_little_endian=True)
    assert data is not None
    return BytesIO(data)


def send_n_set(assoc: Association) -> int:
    """Send a request by pynetdicom's SCU; give the status of the response."""
    return int(assoc.send_n_set(completed(), MPPS, INSTANCE, msg_id=7)[0].Status)


def make_request(cls: type, class_uid: str = MPPS) -> Any:
    """A request of either package's class."""
    request = cls()
    request.MessageID = 7
    request.RequestedSOPClassUID = class_uid
    request.RequestedSOPInstanceUID = INSTANCE
    request.ModificationList = BytesIO(completed_bytes())
    return request


def make_response(cls: type) -> Any:
    """A response of either package's class."""
    response = cls()
    response.MessageIDBeingRespondedTo = 7
    response.AffectedSOPClassUID = MPPS
    response.AffectedSOPInstanceUID = INSTANCE
    response.Status = 0x0110
    response.ErrorComment = "Disk full"
    response.ErrorID = 28
    return response


def fields(primitive: Any) -> dict[str, object]:
    """What a primitive of either package's class says."""
    values = {
        keyword: getattr(primitive, keyword)
        for keyword in (
            *("MessageID", "RequestedSOPClassUID", "RequestedSOPInstanceUID"),
            *("MessageIDBeingRespondedTo", "AffectedSOPClassUID", "AffectedSOPInstanceUID"),
            *("Status", "ErrorComment", "ErrorID", "AttributeIdentifierList"),
        )
    }
    data_set = primitive.ModificationList
    values["data set"] = b"" if data_set is None else data_set.getvalue()
    return values


def _entity() -> AE:
    ae = AE()
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT
    return ae
