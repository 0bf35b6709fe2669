"""A program on pynetdicom, made faster by one line: a server, and a modality that reports to it."""

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep as MPPS

import nset.pynetdicom


def handle_set(event):
    changes = event.modification_list
    print(f"{event.request.RequestedSOPInstanceUID}: {changes.PerformedProcedureStepStatus}")
    return 0x0000, changes


def main():
    nset.pynetdicom.install()  # the rest is as it was before

    scp = AE("ARCHIVE")
    scp.add_supported_context(MPPS)
    handlers = [(evt.EVT_N_SET, handle_set)]
    server = scp.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)

    modality = AE("CT_4")
    modality.add_requested_context(MPPS)
    assoc = modality.associate(*server.server_address)
    changes = Dataset()
    changes.PerformedProcedureStepStatus = "COMPLETED"
    status, attributes = assoc.send_n_set(changes, MPPS, "1.2.826.0.1.3680043.8.498.1")
    print(f"0x{status.Status:04X}, {len(attributes)} attribute")
    assoc.release()
    server.shutdown()


if __name__ == "__main__":
    main()
