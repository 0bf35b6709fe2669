"""Unified procedure steps (PS3.4 Annex CC): a workstation works on one, and subscribers are told.

N-CREATE, N-SET, N-ACTION for a change of state or a subscription, N-EVENT-REPORT to subscribers.
"""

from pydicom import Dataset
from pynetdicom import AE, build_role, evt, sop_class

import nset.scp
from nset import StatusError, status

CHANGE_STATE, SUBSCRIBE = 1, 3  # Action Type IDs
STATE_REPORT = 1  # an Event Type ID
NEXT_STATES = {"SCHEDULED": ("IN PROGRESS",), "IN PROGRESS": ("COMPLETED", "CANCELED")}
EVENT = sop_class.UnifiedProcedureStepEvent

subscribers = {"WATCHER": ("127.0.0.1", 11113)}  # where AE titles listen
steps, subscriptions = {}, {}


def create(event):
    uid, step = event.request.AffectedSOPInstanceUID, event.attribute_list
    if uid is None:
        raise StatusError(status.INVALID_SOP_INSTANCE, "A step has the client's UID")
    if uid in steps:
        raise StatusError(status.DUPLICATE_SOP_INSTANCE)
    if step.get("ProcedureStepState") != "SCHEDULED":
        raise StatusError(status.UPS_NOT_SCHEDULED)
    steps[uid] = step
    return status.SUCCESS, None


def step_for(event, changes):
    step = steps.get(event.request.RequestedSOPInstanceUID)
    if step is None:
        raise StatusError(status.UPS_NO_SUCH_INSTANCE)
    if step.get("TransactionUID") not in (None, changes.get("TransactionUID")):
        raise StatusError(status.UPS_WRONG_TRANSACTION_UID, "Another one works on it")
    return step


def change(event):
    step = step_for(event, event.modification_list)
    if step.ProcedureStepState not in NEXT_STATES:
        raise StatusError(status.UPS_NO_LONGER_UPDATABLE)
    step.update(event.modification_list)
    return status.SUCCESS, None


def act(event):
    uid, asked = event.request.RequestedSOPInstanceUID, event.action_information
    if event.action_type == SUBSCRIBE:
        if asked.ReceivingAE not in subscribers:
            raise StatusError(status.UPS_UNKNOWN_RECEIVING_AE_TITLE)
        subscriptions.setdefault(uid, set()).add(asked.ReceivingAE)
    elif event.action_type == CHANGE_STATE:
        step = step_for(event, asked)
        if asked.ProcedureStepState not in NEXT_STATES.get(step.ProcedureStepState, ()):
            raise StatusError(status.UPS_ACTION_NOT_APPROPRIATE, f"It is {step.ProcedureStepState}")
        step.update(asked)
        for title in subscriptions.get(uid, ()):
            tell(title, uid, step.ProcedureStepState)
    else:
        raise StatusError(status.NO_SUCH_ACTION)
    return status.SUCCESS, None


def tell(title, uid, state):
    ae, report = AE("UPS"), Dataset()
    ae.add_requested_context(EVENT)
    role = build_role(EVENT, scp_role=True)
    assoc = ae.associate(*subscribers[title], ae_title=title, ext_neg=[role])
    if assoc.is_established:
        report.ProcedureStepState = state
        push = sop_class.UnifiedProcedureStepPush
        assoc.send_n_event_report(report, STATE_REPORT, push, uid, meta_uid=EVENT)
        assoc.release()


def server(address=("", 11112), block=True):
    ae = AE("UPS")
    ae.add_supported_context(sop_class.UnifiedProcedureStepPush)
    ae.add_supported_context(sop_class.UnifiedProcedureStepPull)
    ae.add_supported_context(sop_class.UnifiedProcedureStepWatch)
    handlers = [(evt.EVT_N_CREATE, create), (evt.EVT_N_SET, change), (evt.EVT_N_ACTION, act)]
    # One worker: one handler after the other, which may wait for a subscriber.
    return nset.scp.start_server(ae, address, block, evt_handlers=handlers, workers=1)


if __name__ == "__main__":
    server()
