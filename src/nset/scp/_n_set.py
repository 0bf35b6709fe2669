"""N-SET requests: the event that a handler gets, and the response that its answer makes."""

import logging
from datetime import datetime
from functools import cached_property
from io import BytesIO
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom._globals import STATUS_SUCCESS, STATUS_WARNING
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass
from pynetdicom.service_class_n import (
    PrintManagementServiceClass,
    ProcedureStepServiceClass,
    RTMachineVerificationServiceClass,
    UnifiedProcedureStepServiceClass,
)
from pynetdicom.sop_class import uid_to_service_class

from nset import _rules
from nset.primitive import N_SET
from nset.pynetdicom._provider import sendable_status
from nset.scp._implementation import SetEventBase

_LOGGER = logging.getLogger("pynetdicom.service_class")

_SERVICE_CLASSES: Final = (
    PrintManagementServiceClass,
    ProcedureStepServiceClass,
    RTMachineVerificationServiceClass,
    UnifiedProcedureStepServiceClass,
)

known_services: Final[dict[Any, type[ServiceClass]]] = {
    UID(sop_class): uid_to_service_class(sop_class) for sop_class in _rules.SOP_CLASSES
}
"""The service classes of the SOP Classes that N-SET is defined for; not to be changed."""


def service_class(sop_class: UID | None) -> type[ServiceClass] | None:
    """Give the service class that serves N-SET for an SOP Class, which may have been registered.

    Parameters
    ----------
    sop_class : pydicom.uid.UID or None
        The Requested SOP Class UID.

    Returns
    -------
    type or None
        pynetdicom's service class; None where there is none that has N-SET.
    """
    found = known_services.get(sop_class)
    if found is None and sop_class is not None:
        found = uid_to_service_class(sop_class)
    return found if found in _SERVICE_CLASSES else None


class SetEvent(SetEventBase, evt.Event):
    """EVT_N_SET, without what takes time and few handlers ask for."""

    _event = evt.EVT_N_SET
    _hash = None
    _decoded = None

    __init__ = object.__init__

    @cached_property
    def context(self) -> Any:  # type: ignore[override]
        """The context as a `PresentationContextTuple`."""
        return self._context.as_tuple

    @cached_property
    def timestamp(self) -> datetime:  # type: ignore[override]
        """When the event was made."""
        return datetime.fromtimestamp(self._seconds)


def log_error(logger: logging.Logger, *args: Any, exc_info: BaseException | None = None) -> None:
    """Log an error; a log handler that raises does not keep the peer from its answer."""
    try:
        logger.error(*args, exc_info=exc_info)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return


def failed(exc: BaseException) -> tuple[int, None]:
    """Say in the log that the handler has raised; give what it is then taken to have returned."""
    log_error(_LOGGER, "Exception in the handler bound to 'evt.EVT_N_SET'")
    log_error(_LOGGER, "%s", exc, exc_info=exc)
    return _rules.PROCESSING_FAILURE, None


def response_to(request: N_SET, answer: Any, service: Any, context: PresentationContext) -> N_SET:
    """Make the response from what the handler has returned.

    What pynetdicom can't answer is a Processing Failure (0110H) here, with the reason in the log.

    Parameters
    ----------
    request : N_SET
        The request.
    answer : object
        A tuple of a status (an int, or a `Dataset` with a Status) and a `Dataset` or None.
    service : pynetdicom.service_class.ServiceClass
        Whose statuses count.
    context : pynetdicom.presentation.PresentationContext
        With the transfer syntax of the data set.

    Returns
    -------
    N_SET
        The response.
    """
    response = request.response()
    response.Status = None
    try:
        code, data_set = answer
    except Exception:
        _LOGGER.error(
            "The handler bound to 'evt.EVT_N_SET' returned %s, not a status and a data set",
            _described(answer),
        )
        return request.response(_rules.PROCESSING_FAILURE)
    try:
        service.validate_status(sendable_status(code), response)
        sent: Any = response.Status
    except Exception as exc:
        _LOGGER.error("The handler bound to 'evt.EVT_N_SET' returned a bad status: %s", exc)
        return request.response(_rules.PROCESSING_FAILURE)
    if service.statuses.get(sent, ("",))[0] in (STATUS_SUCCESS, STATUS_WARNING):
        _attach(response, data_set, context)
    return response


def is_awaitable(answer: Any) -> bool:
    """Tell whether a plain function has returned a coroutine or the like.

    By the type, as an object may be anything; and a type may have a type of its own.
    """
    try:
        return hasattr(type(answer), "__await__")
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False


def _described(answer: Any) -> str:
    try:
        return repr(answer)
    except Exception:
        return f"an object of {type(answer)}"


def _attach(response: N_SET, data_set: Any, context: PresentationContext) -> None:
    """Encode the Attribute List, if there is one."""
    syntax = context.transfer_syntax[0]
    try:
        if not data_set:
            return
        encoded = encode(
            data_set, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
        )
    except Exception as exc:
        _LOGGER.error("%s", exc, exc_info=exc)
        encoded = None
    if encoded is None:
        _LOGGER.error("Failed encoding the response 'Attribute List' dataset")
        response.Status = _rules.PROCESSING_FAILURE
    else:
        response.AttributeList = BytesIO(encoded)
