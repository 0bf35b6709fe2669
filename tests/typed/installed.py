"""A program of pynetdicom's that calls `install`: server and client."""

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import N_SET
from pynetdicom.transport import ThreadedAssociationServer

import nset.pynetdicom

MPPS = "1.2.840.10008.3.1.2.3.3"
served: list[int | None] = []


def keep(request: N_SET) -> None:
    served.append(request.MessageID)


def handle_set(event: evt.Event) -> tuple[int, Dataset | None]:
    assert isinstance(event.request, N_SET)
    keep(event.request)
    return 0x0000, event.modification_list


def main() -> None:
    with nset.pynetdicom.installed(nodelay=True):
        installed: bool = nset.pynetdicom.is_installed()
        ae = AE()
        ae.add_supported_context(MPPS)
        ae.add_requested_context(MPPS)
        handlers: list[evt.EventHandlerType] = [(evt.EVT_N_SET, handle_set)]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert isinstance(server, ThreadedAssociationServer)
        association = ae.associate("127.0.0.1", server.server_address[1])
        request = Dataset()
        request.PerformedProcedureStepStatus = "COMPLETED"
        answer, _ = association.send_n_set(request, MPPS, "1.2.3")
        association.release()
        server.shutdown()
        print(installed, answer.Status, served)


if __name__ == "__main__":
    main()
