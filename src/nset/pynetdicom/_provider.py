"""What pynetdicom answers with a dead thread or with silence gets a reason and an answer."""

import copy
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from nset import _rules
from nset._command_set import CommandSetError, missing_status, peek
from nset.primitive import N_SET

_LOGGER = logging.getLogger("nset")


def receive_primitive(stock: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Abort the association where a message can't be read, instead of losing its thread.

    Parameters
    ----------
    stock : callable
        pynetdicom's.

    Returns
    -------
    callable
        What to put in its place.
    """

    @wraps(stock)
    def receive_primitive(self: Any, primitive: Any) -> None:
        try:
            stock(self, primitive)
        except Exception as exc:
            _LOGGER.error(
                "Aborting the association with %s: invalid DIMSE message: %s",
                _peer(self.assoc),
                _reason(self.message, exc),
            )
            self.message = None
            # Evt19, invalid PDU: A-ABORT with the service provider as its source (PS3.8 9.2).
            self.dul.event_queue.put("Evt19")

    return receive_primitive


def _reason(message: Any, exc: Exception) -> str:
    """Say what is wrong with the message where stock code has stumbled over it."""
    if isinstance(exc, CommandSetError):
        return str(exc)
    if isinstance(exc, IndexError):
        return "a PDV without a message control header"
    try:
        field, _ = peek(message.encoded_command_set.getvalue())
    except CommandSetError as error:
        return str(error)
    if isinstance(exc, KeyError):
        return f"Command Field (0000,0100): {field:04X}H is no DIMSE message"
    return f"{type(exc).__name__}: {exc}"


def serve_request(stock: Callable[[Any, Any, int], None]) -> Callable[[Any, Any, int], None]:
    """Answer N-SET requests that pynetdicom would pass over, and serve the rest by its code.

    Parameters
    ----------
    stock : callable
        pynetdicom's, for requests of all kinds.

    Returns
    -------
    callable
        What to put in its place.
    """

    @wraps(stock)
    def _serve_request(self: Any, msg: Any, context_id: int) -> None:
        if type(msg) is not N_SET or self._sent_release or _is_response(msg):
            stock(self, msg, context_id)
            return
        refusal = getattr(msg, "_nset_refusal", None)
        if refusal is None and not msg.is_valid_request:
            refusal = _refusal(msg)
        if refusal is not None and context_id in self._accepted_cx:
            _refuse(self, msg, context_id, refusal)
            return
        if msg.AffectedSOPClassUID not in (None, msg.RequestedSOPClassUID):
            # pynetdicom chooses the service by the Affected SOP Class where there is one.
            msg = copy.copy(msg)
            msg.AffectedSOPClassUID = None
        stock(self, msg, context_id)

    return _serve_request


def _is_response(primitive: N_SET) -> bool:
    return primitive.MessageID is None and primitive.MessageIDBeingRespondedTo is not None


def _refusal(request: N_SET) -> CommandSetError:
    """Name the first of the mandatory elements that a request lacks."""
    for keyword in request.REQUEST_KEYWORDS:
        if getattr(request, keyword) is None:
            tag = _rules.TAGS.get(keyword)
            return CommandSetError("missing in an N-SET-RQ", tag, None, missing_status(keyword))
    return CommandSetError("not a valid N-SET-RQ")


def _refuse(assoc: Any, request: N_SET, context_id: int, refusal: CommandSetError) -> None:
    """Send the N-SET-RSP that says why; without a Message ID to respond to, abort."""
    if request.MessageID is None:
        _LOGGER.error("Aborting the association with %s: %s", _peer(assoc), refusal)
        assoc.abort()
        return
    _LOGGER.error(
        "Refusing N-SET request %d from %s with status 0x%04X: %s",
        *(request.MessageID, _peer(assoc), refusal.status, refusal),
    )
    assoc.dimse.send_msg(request.response(refusal.status), context_id)


def _peer(assoc: Any) -> str:
    """Name the other side: AE title and address."""
    peer = assoc.acceptor if assoc.is_requestor else assoc.requestor
    return f"{peer.ae_title}@{peer.address}:{peer.port}"
