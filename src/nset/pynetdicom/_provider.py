"""Answers to requests that stock pynetdicom drops silently, or that end one of its threads.

Most public functions take a stock function of pynetdicom and return its replacement.
"""

import copy
import logging
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pynetdicom import association
from pynetdicom import service_class as c
from pynetdicom import service_class_n as n
from pynetdicom.pdu_primitives import P_DATA

from nset import _pdu, _rules
from nset._command_set import sender
from nset._errors import CommandSetError
from nset._implementation import read_command_field_and_type
from nset.logs import of_association, of_request
from nset.primitive import N_SET, pynetdicom_class
from nset.pynetdicom._messages import (
    lacks_data_set,
    may_be_followed_by_data,
    new_message,
    remove_file,
)

_LOGGER = logging.getLogger("nset")

_ALL: Final = ("N-CREATE", "N-EVENT-REPORT", "N-GET", "N-SET", "N-ACTION", "N-DELETE")

OPERATIONS: Final[dict[Any, tuple[str, ...]]] = {
    n.ApplicationEventLoggingServiceClass: ("N-ACTION",),
    n.DisplaySystemManagementServiceClass: ("N-GET",),
    n.InstanceAvailabilityNotificationServiceClass: ("N-CREATE",),
    n.MediaCreationManagementServiceClass: ("N-CREATE", "N-GET", "N-ACTION"),
    n.PrintManagementServiceClass: _ALL,
    n.ProcedureStepServiceClass: _ALL[:4],
    n.RTMachineVerificationServiceClass: _ALL,
    n.StorageCommitmentServiceClass: ("N-EVENT-REPORT", "N-ACTION"),
    n.StorageManagementServiceClass: ("N-EVENT-REPORT", "N-ACTION"),
    n.UnifiedProcedureStepServiceClass: _ALL[:5],
}
"""DIMSE-N operations by pynetdicom's service classes; a program's own class may have any."""

_WITH_N_SET: Final = frozenset(_rules.SOP_CLASSES)


def receive_primitive(stock: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Receive PDV by PDV, and abort if a message cannot be decoded, instead of ending the thread.

    Stock code loses fragments that follow the end of a message in the same PDU.
    """

    @wraps(stock)
    def receive_primitive(self: Any, primitive: Any) -> None:
        fault: Exception | None = None
        try:
            may_skip = False
            pdvs = primitive.presentation_data_value_list
            if not pdvs:
                warn_of_no_pdv(self)
            for pdv in pdvs:
                context_id, data = pdv
                if skip_refused_data_set(self, context_id, data) or (may_skip and _is_data(data)):
                    continue
                message = self.message
                if message is None:
                    message = self.message = new_message()
                sender.name = partial(_peer, self.assoc)
                try:
                    stock(self, primitive if len(pdvs) == 1 else _p_data(pdv))
                finally:
                    sender.name = None
                may_skip = self.message is None and end_message(self, message, context_id)
                # Stock code aborts if a message cannot be converted, and does not log the peer.
                fault = message.__dict__.get("_nset_fault")
                if fault is not None:
                    break
        except Exception as exc:
            fault = _fault(self.message, exc)
            # Evt19, invalid PDU: A-ABORT with the service provider as its source (PS3.8 9.2).
            self.dul.event_queue.put("Evt19")
        if fault is not None:
            _log_abort(self.assoc, fault)

    return receive_primitive


def _p_data(pdv: tuple[int, bytes]) -> P_DATA:
    primitive = P_DATA()
    primitive.presentation_data_value_list.append(pdv)
    return primitive


def warn_of_no_pdv(dimse: Any) -> None:
    """Log an empty P-DATA-TF PDU, once per association."""
    if not hasattr(dimse, "_nset_has_warned"):
        dimse._nset_has_warned = True
        _LOGGER.warning("A P-DATA-TF PDU without a PDV from %s", _peer(dimse.assoc))


def warn_of_message_id(peer: str, message_id: int) -> None:
    """Log that a response is taken for another request's than it says."""
    _LOGGER.warning(
        "%s has answered with Message ID %d, which no request has had", peer, message_id
    )


def _is_data(data: bytes) -> bool:
    return len(data) > 0 and not data[0] & _pdu.IS_COMMAND


def skip_refused_data_set(dimse: Any, context_id: int, data: bytes) -> bool:
    """Return whether a PDV belongs to the data set of a refused request, and so is skipped.

    ``_nset_refused`` of the `dimse`, pynetdicom's or nset's, is the context of that data set, or
    None.
    """
    refused = getattr(dimse, "_nset_refused", None)
    if refused is None:
        return False
    is_part = context_id == refused and _is_data(data)
    if not is_part or data[0] & _pdu.IS_LAST:
        dimse._nset_refused = None
    return is_part


def end_message(dimse: Any, message: Any, context_id: int) -> bool:
    """Process the end of a message; return whether a data set after it in its PDU is skipped."""
    if lacks_data_set(message):
        dimse._nset_refused = context_id
    return may_be_followed_by_data(message)


def _fault(message: Any, exc: Exception) -> Exception:
    """Return the fault in a message at which stock code has raised an exception."""
    if isinstance(exc, CommandSetError):
        return exc
    if isinstance(exc, IndexError):
        return CommandSetError("a PDV without a message control header")
    try:
        field, data_set_type = read_command_field_and_type(message.encoded_command_set.getvalue())
    except CommandSetError as error:
        return error
    if isinstance(exc, KeyError):
        return CommandSetError(f"{field:04X}H is no DIMSE message", 0x100)
    if data_set_type is None:
        return CommandSetError("missing", 0x800)
    fault: Exception = vars(message).get("_nset_fault", exc)
    return fault


def service_class(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Cache the service classes of N-SET's SOP Classes: the stock look-up is slow."""
    known: dict[Any, Any] = {}

    @wraps(stock)
    def uid_to_service_class(uid: Any) -> Any:
        found = known.get(uid)
        if found is None:
            found = stock(uid)
            if uid in _rules.SOP_CLASSES:
                known[uid] = found
        return found

    return uid_to_service_class


def validate_status(stock: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Answer N-SET requests even if no response can carry the handler's status."""

    @wraps(stock)
    def validate_status(self: Any, status: Any, rsp: Any) -> Any:
        is_usual = type(status) is int and 0 <= status <= _rules.MAX_US
        if not is_usual and type(rsp) is N_SET:
            status = sendable_status(status)
        return stock(self, status, rsp)

    return validate_status


def sendable_status(status: Any) -> Any:
    """Remove from a handler's status what no N-SET response can carry, and log that.

    Return the same object if it is valid, or if pynetdicom itself answers it. Otherwise return it
    with 0110H, Processing Failure, for an invalid Status, and without the elements of a `Dataset`
    that cannot be set.
    """
    if not isinstance(status, Dataset):
        if isinstance(status, int) and not 0 <= status <= _rules.MAX_US:
            _log_bad_status(_rules.us_out_of_range("Status"))
            return _rules.PROCESSING_FAILURE
        return status
    if "Status" not in status:
        return status
    trial, kept = N_SET(), Dataset()
    for element in status:
        keyword = element.keyword
        try:
            if hasattr(trial, keyword):
                setattr(trial, keyword, element.value)
            if keyword == "Status" and trial.Status is None:
                raise ValueError("the Status has no value")
        except (TypeError, ValueError) as exc:
            _log_bad_status(exc)
            if keyword == "Status":
                kept.Status = _rules.PROCESSING_FAILURE
        else:
            kept.add(element)
    return kept


def _log_bad_status(exc: Exception) -> None:
    _LOGGER.error("The handler bound to 'evt.EVT_N_SET' returned a bad status: %s", exc)


def serve_request(stock: Callable[[Any, Any, int], None]) -> Callable[[Any, Any, int], None]:
    """Refuse requests that pynetdicom cannot serve, and let stock code serve the others."""

    @wraps(stock)
    def _serve_request(self: Any, msg: Any, context_id: int) -> None:
        if type(msg) is N_SET:
            msg = by_requested_class(msg)
        elif type(msg) is pynetdicom_class():
            msg = by_requested_class(_as_nset(msg))  # received before nset was installed
        refusal = None if self._sent_release else refusal_of(self, msg)
        if refusal is not None:
            _refuse(self, msg, context_id, refusal)
        else:
            stock(self, msg, context_id)

    return _serve_request


def by_requested_class(msg: Any) -> Any:
    """Return an N-SET for which pynetdicom selects the service by the Requested SOP Class.

    It selects by the Affected SOP Class if there is one, so the copy has none.
    """
    if type(msg) is not N_SET or msg.AffectedSOPClassUID is None:
        return msg
    if msg.AffectedSOPClassUID != msg.RequestedSOPClassUID:
        msg = copy.copy(msg)
        msg.AffectedSOPClassUID = None
    return msg


def refusal_of(assoc: Any, msg: Any) -> CommandSetError | None:
    """Return the reason to refuse a message; None if it can be served, or is not a request.

    A missing element, or for DIMSE-N an unknown SOP Class or one without that operation.
    """
    refusal: CommandSetError | None = getattr(msg, "_nset_refusal", None)
    is_n_set = type(msg) is N_SET and msg.RequestedSOPClassUID in _WITH_N_SET
    if refusal is None and is_n_set and not assoc.acceptor._common_ext:
        return None
    name = type(msg).__name__.replace("_", "-")
    if refusal is not None or not name.startswith("N-") or not msg.is_valid_request:
        return refusal
    # The order in which pynetdicom looks it up.
    keyword = "AffectedSOPClassUID"
    if getattr(msg, keyword, None) is None:
        keyword = "RequestedSOPClassUID"
    uid = getattr(msg, keyword)
    common = assoc.acceptor.accepted_common_extended.get(uid)
    look_up: Any = vars(association)["uid_to_service_class"]
    service = look_up(common[0] if common else uid)
    if service is c.ServiceClass:
        status = _rules.NO_SUCH_SOP_CLASS
        reason = f"no service class for '{uid}', see pynetdicom.sop_class.register_uid()"
    elif name not in OPERATIONS.get(service, () if service.__module__ == c.__name__ else _ALL):
        status, reason = _rules.UNRECOGNIZED_OPERATION, f"'{uid}' has no {name}"
    else:
        return None
    return CommandSetError(reason, tag_for_keyword(keyword), None, status)


def _as_nset(primitive: Any) -> N_SET:
    """Convert a primitive of the stock class, which the service classes no longer accept."""
    ours = N_SET()
    ours.__setstate__(
        {keyword: getattr(primitive, keyword, None) for keyword in _rules.STATE_KEYWORDS}
    )
    return ours


def _refuse(assoc: Any, request: Any, context_id: int, refusal: CommandSetError) -> None:
    """Send a response with the refusal's status, or abort if none can be sent."""
    remove_file(request)
    if request.MessageID is None or context_id not in assoc._accepted_cx:
        _log_abort(assoc, refusal)
        assoc.abort()
        return
    log_refusal(assoc, request, refusal)
    assoc.dimse.send_msg(response_to(request, refusal.status), context_id)


def log_refusal(assoc: Any, request: Any, refusal: CommandSetError) -> None:
    """Log why a request is refused."""
    _LOGGER.error(
        "Refusing %s request %d from %s with status 0x%04X: %s",
        *(request.msg_type, request.MessageID, _peer(assoc), refusal.status, refusal),
        extra={**of_association(assoc), **of_request(request), "status": refusal.status},
    )


def response_to(request: Any, status: int) -> Any:
    """Return the response with a status."""
    if type(request) is N_SET:
        return request.response(status)
    response = type(request)()
    response.MessageIDBeingRespondedTo = request.MessageID
    for which in ("SOPClassUID", "SOPInstanceUID"):
        uid = getattr(request, f"Requested{which}", None) or getattr(
            request, f"Affected{which}", None
        )
        if uid is not None:
            setattr(response, f"Affected{which}", uid)
    for keyword in ("ActionTypeID", "EventTypeID"):
        if hasattr(request, keyword):
            setattr(response, keyword, getattr(request, keyword))
    response.Status = status
    return response


def _log_abort(assoc: Any, fault: Exception) -> None:
    _LOGGER.error(
        "Aborting the association with %s: invalid DIMSE message: %s",
        _peer(assoc),
        fault if isinstance(fault, CommandSetError) else f"{type(fault).__name__}: {fault}",
        exc_info=None if isinstance(fault, CommandSetError) else fault,
        extra=of_association(assoc),
    )


def _peer(assoc: Any) -> str:
    """Return the peer's AE title, if it is known, and address, for the log."""
    peer = assoc.acceptor if assoc.is_requestor else assoc.requestor
    address = f"{peer.address}:{peer.port}"
    return f"{peer.ae_title}@{address}" if peer.ae_title else address
