"""Responses of the fast path with what else a `StatusError` has: a comment, an Error ID, tags."""

from typing import Any

from nset import _pdu
from nset._command_set import encode_details, joined
from nset._status_error import StatusError
from nset.pynetdicom._answers import details_of
from nset.scp._implementation import encode_response
from nset.scp._pure_requests import pdu_of
from nset.scp._services import elements

_PREFIX_LENGTH = _pdu.HEADER_LENGTH + _pdu.PDV_HEADER_LENGTH  # of a PDU and its first PDV


def encode_status_error(event: Any, error: StatusError, max_pdu_length: int) -> bytes | None:
    """Encode the response to a request whose handler has raised.

    Parameters
    ----------
    event : ServiceEvent
        The event of the request.
    error : StatusError
        What it has raised.
    max_pdu_length : int
        The peer's maximum length, in bytes; 0 is unlimited.

    Returns
    -------
    bytes or None
        A PDU; None where it is left to the slow path.
    """
    usual = encode_response(event, error.status, 0)
    if usual is None:
        return None
    values = dict(elements(usual[_PREFIX_LENGTH:]))
    del values[0]  # the group length
    values |= encode_details(details_of(error, event._service.primitive))
    command_set = joined(values)
    if max_pdu_length != 0 and _pdu.PDV_HEADER_LENGTH + len(command_set) > max_pdu_length:
        return None
    return pdu_of(command_set, event._context_id, _pdu.IS_COMMAND | _pdu.IS_LAST)
