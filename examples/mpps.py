"""An MPPS server with handlers of one's own: modalities begin procedure steps and complete them.

It keeps the steps in a dict. `nset mpps` is a whole one, with a database.
"""

from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep, Verification

import nset.scp
from nset import StatusError, status

steps = {}


def create(event):
    uid, step = event.request.AffectedSOPInstanceUID, event.attribute_list
    if uid in steps:
        raise StatusError(status.DUPLICATE_SOP_INSTANCE)
    if uid is None:
        raise StatusError(status.INVALID_SOP_INSTANCE, "A step has the modality's UID")
    missing = [
        keyword
        for keyword in ("PerformedProcedureStepID", "ScheduledStepAttributesSequence")
        if not step.get(keyword)
    ]
    if missing:
        raise StatusError(status.MISSING_ATTRIBUTE_VALUE, attribute_identifiers=missing)
    if step.get("PerformedProcedureStepStatus") != "IN PROGRESS":
        raise StatusError(status.INVALID_ATTRIBUTE_VALUE, "A new step is IN PROGRESS")
    steps[uid] = step
    return status.SUCCESS, None


def change(event):
    step = steps.get(event.request.RequestedSOPInstanceUID)
    if step is None:
        raise StatusError(status.NO_SUCH_SOP_INSTANCE)
    if step.PerformedProcedureStepStatus != "IN PROGRESS":
        raise StatusError(
            status.PROCESSING_FAILURE,
            comment=f"The step is {step.PerformedProcedureStepStatus}",
            error_id=status.MPPS_ERROR_ID_NO_LONGER_UPDATABLE,
        )
    step.update(event.modification_list)
    return status.SUCCESS, None


def server(address=("", 11112), block=True):
    ae = AE("MPPS")
    ae.add_supported_context(ModalityPerformedProcedureStep)
    ae.add_supported_context(Verification)
    handlers = [(evt.EVT_N_CREATE, create), (evt.EVT_N_SET, change)]
    # inline: called in the event loop, one at a time, as they never wait for anything.
    return nset.scp.start_server(ae, address, block, evt_handlers=handlers, inline=True)


if __name__ == "__main__":
    server()
