"""The server: an SCP for Modality Performed Procedure Step (PS3.4 Annex F), of either kind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event

from nset.demo import MPPS
from nset.pynetdicom import installed

FINAL = ("COMPLETED", "DISCONTINUED")


class Received(NamedTuple):
    """A request that the server has received, and its data set."""

    request: Any
    data_set: Dataset


class Steps:
    """The reported performed procedure steps, and the handlers that store them."""

    def __init__(self) -> None:
        self.stored: dict[str, Dataset] = {}
        self.received: list[Received] = []

    def create(self, event: Event) -> tuple[int, None]:
        """Handle an N-CREATE: a step begins (PS3.4 F.7.2.1)."""
        request: Any = event.request
        step = event.attribute_list
        self.received.append(Received(request, step))
        uid = request.AffectedSOPInstanceUID
        if uid is None or step.get("PerformedProcedureStepStatus") != "IN PROGRESS":
            return 0x0106, None
        if uid in self.stored:
            return 0x0111, None
        self.stored[uid] = Dataset(step)
        return 0x0000, None

    def update(self, event: Event) -> tuple[int | Dataset, None]:
        """Handle an N-SET: a step goes on or ends (PS3.4 F.7.2.2)."""
        request: Any = event.request
        modifications = event.modification_list
        self.received.append(Received(request, modifications))
        step = self.stored.get(request.RequestedSOPInstanceUID)
        if step is None:
            return 0x0112, None
        if step.PerformedProcedureStepStatus in FINAL:
            refusal = Dataset()
            refusal.Status = 0x0110
            refusal.ErrorID = 0xA710
            refusal.ErrorComment = "Performed Procedure Step Object may no longer be updated"
            return refusal, None
        step.update(modifications)
        return 0x0000, None


@contextmanager
def serve(steps: Steps, start_server: Callable[..., Any]) -> Iterator[int]:
    """Run a server, with nset installed in pynetdicom, and yield its port on 127.0.0.1.

    `start_server` is pynetdicom's ``AE.start_server``, or that of `nset.scp`.
    """
    ae = AE("NSET_DEMO")
    ae.add_supported_context(MPPS)
    handlers = [(evt.EVT_N_CREATE, steps.create), (evt.EVT_N_SET, steps.update)]
    with installed():
        server = start_server(ae, ("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
