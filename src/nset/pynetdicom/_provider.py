"""What pynetdicom answers with a dead thread or with silence gets a reason and an answer.

Each public function takes the function of pynetdicom that it stands in for, and gives what to put
in its place.
"""

import copy
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from pydicom.dataset import Dataset

from nset import _rules
from nset._command_set import CommandSetError
from nset._implementation import peek
from nset.primitive import N_SET, pynetdicom_class

_LOGGER = logging.getLogger("nset")


def receive_primitive(stock: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Abort the association where a message can't be read, instead of losing its thread."""

    @wraps(stock)
    def receive_primitive(self: Any, primitive: Any) -> None:
        fault: Exception | None
        try:
            stock(self, primitive)
        except Exception as exc:
            fault = _fault(self.message, exc)
            # Evt19, invalid PDU: A-ABORT with the service provider as its source (PS3.8 9.2).
            self.dul.event_queue.put("Evt19")
        else:
            # Where a message can't be converted, stock code aborts and does not say with whom.
            fault = getattr(self.message, "_nset_fault", None)
        if fault is not None:
            _log_abort(self.assoc, fault)

    return receive_primitive


def _fault(message: Any, exc: Exception) -> Exception:
    """Say what is wrong with the message where stock code has stumbled over it."""
    if isinstance(exc, CommandSetError):
        return exc
    if isinstance(exc, IndexError):
        return CommandSetError("a PDV without a message control header")
    try:
        field, data_set_type = peek(message.encoded_command_set.getvalue())
    except CommandSetError as error:
        return error
    if isinstance(exc, KeyError):
        return CommandSetError(f"{field:04X}H is no DIMSE message", 0x100)
    if data_set_type is None:
        return CommandSetError("missing", 0x800)
    return exc


def service_class(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Remember the service classes of the SOP Classes that N-SET is for; the look-up is long."""
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
    """Answer N-SET requests also where a handler's status is one that no response can carry."""

    @wraps(stock)
    def validate_status(self: Any, status: Any, rsp: Any) -> Any:
        return stock(self, sendable_status(status) if type(rsp) is N_SET else status, rsp)

    return validate_status


def sendable_status(status: Any) -> Any:
    """Leave out of a handler's status what no N-SET response can carry, and say so in the log.

    Parameters
    ----------
    status : object
        What the handler of EVT_N_SET has returned for it.

    Returns
    -------
    object
        The same where nothing is wrong with it, or where pynetdicom knows what to answer. Else
        0110H, Processing Failure, in place of a Status that is none, and of the other elements of
        a `Dataset` those that can be set.
    """
    if not isinstance(status, Dataset):
        if isinstance(status, int) and not 0 <= status <= _rules.MAX_US:
            _log_bad_status(_rules.us_out_of_range(_rules.STATUS))
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
    """Answer N-SET requests that pynetdicom would pass over, and serve the rest by its code."""

    @wraps(stock)
    def _serve_request(self: Any, msg: Any, context_id: int) -> None:
        if type(msg) is pynetdicom_class():
            msg = _as_nset(msg)  # received before nset was installed
        if type(msg) is not N_SET or self._sent_release:
            stock(self, msg, context_id)
            return
        refusal = getattr(msg, "_nset_refusal", None)
        if refusal is not None:
            _refuse(self, msg, context_id, refusal)
            return
        if msg.AffectedSOPClassUID not in (None, msg.RequestedSOPClassUID):
            # pynetdicom chooses the service by the Affected SOP Class where there is one.
            msg = copy.copy(msg)
            msg.AffectedSOPClassUID = None
        stock(self, msg, context_id)

    return _serve_request


def _as_nset(primitive: Any) -> N_SET:
    """Make nset's primitive of one of the stock class, which the service classes no longer know."""
    ours = N_SET()
    ours.__setstate__(
        {keyword: getattr(primitive, keyword, None) for keyword in _rules.STATE_KEYWORDS}
    )
    return ours


def _refuse(assoc: Any, request: N_SET, context_id: int, refusal: CommandSetError) -> None:
    """Send the N-SET-RSP that says why; abort where there is no way to send it."""
    if request.MessageID is None or context_id not in assoc._accepted_cx:
        _log_abort(assoc, refusal)
        assoc.abort()
        return
    _LOGGER.error(
        "Refusing N-SET request %d from %s with status 0x%04X: %s",
        *(request.MessageID, _peer(assoc), refusal.status, refusal),
    )
    assoc.dimse.send_msg(request.response(refusal.status), context_id)


def _log_abort(assoc: Any, fault: Exception) -> None:
    _LOGGER.error(
        "Aborting the association with %s: invalid DIMSE message: %s",
        _peer(assoc),
        fault if isinstance(fault, CommandSetError) else f"{type(fault).__name__}: {fault}",
        exc_info=None if isinstance(fault, CommandSetError) else fault,
    )


def _peer(assoc: Any) -> str:
    """Name the other side: AE title, once there is one, and address."""
    peer = assoc.acceptor if assoc.is_requestor else assoc.requestor
    address = f"{peer.address}:{peer.port}"
    return f"{peer.ae_title}@{address}" if peer.ae_title else address
