"""An MPPS server on all cores behind HAProxy, with metrics and health checks; Ctrl-C stops it."""

from functools import partial
from pathlib import Path

from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep

import nset.scp
from nset import StatusError, status
from nset.scp import metrics

FOLDER = Path("reports")


def change(event):
    uid = event.request.RequestedSOPInstanceUID
    if not uid.is_valid:  # it may be a path, and it names a file here
        raise StatusError(status.INVALID_SOP_INSTANCE)
    try:
        with (FOLDER / f"{uid}.dcm").open("xb") as file:
            file.write(event.request.ModificationList.getbuffer())
    except FileExistsError:
        raise StatusError(status.PROCESSING_FAILURE, "It was reported before") from None
    return status.SUCCESS, None


def main(address=("", 11112), watched=("", 9112), balancers=("10.0.0.2",), **options):
    FOLDER.mkdir(exist_ok=True)
    ae = AE("MPPS")
    ae.add_supported_context(ModalityPerformedProcedureStep)
    options |= {"evt_handlers": [(evt.EVT_N_SET, change)], "proxy_protocol": balancers}
    watch = partial(metrics.serve_http, watched)
    nset.scp.run(ae, address, metrics=True, beside=watch, **options)


if __name__ == "__main__":
    main()
