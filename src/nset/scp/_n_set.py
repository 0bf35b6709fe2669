"""N-SET requests: the event that a handler gets, and the response that its answer makes."""

import inspect
import logging
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from io import BytesIO
from time import time
from typing import Any, Final, NamedTuple

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

_LOGGER = logging.getLogger("pynetdicom.service_class")

_SERVICE_CLASSES: Final = (
    PrintManagementServiceClass,
    ProcedureStepServiceClass,
    RTMachineVerificationServiceClass,
    UnifiedProcedureStepServiceClass,
)

_known_services: dict[Any, type[ServiceClass]] = {}


def service_class(sop_class: UID | None) -> type[ServiceClass] | None:
    """Give the service class that serves N-SET for an SOP Class.

    Parameters
    ----------
    sop_class : pydicom.uid.UID or None
        The Requested SOP Class UID.

    Returns
    -------
    type or None
        pynetdicom's service class; None where there is none that has N-SET.
    """
    found = _known_services.get(sop_class)
    if found is None and sop_class is not None:
        looked_up = uid_to_service_class(sop_class)
        if looked_up not in _SERVICE_CLASSES:
            return None
        found = looked_up
        if sop_class in _rules.SOP_CLASSES:  # others may be registered anew at any time
            _known_services[sop_class] = found
    return found


class SetEvent(evt.Event):
    """EVT_N_SET, without what takes time and few handlers ask for.

    Parameters
    ----------
    assoc : Association
        The association in which the request came.
    request : N_SET
        The request.
    context : pynetdicom.presentation.PresentationContext
        The context that it came in.
    """

    _event = evt.EVT_N_SET
    _hash = None
    _decoded = None

    def __init__(self, assoc: Any, request: N_SET, context: PresentationContext) -> None:
        self.assoc = assoc
        self.request = request  # type: ignore[assignment]
        self._context = context
        self._seconds = time()

    @cached_property
    def context(self) -> Any:  # type: ignore[override]
        """The context as a `PresentationContextTuple`."""
        return self._context.as_tuple

    @cached_property
    def timestamp(self) -> datetime:  # type: ignore[override]
        """When the event was made."""
        return datetime.fromtimestamp(self._seconds)


class Handler(NamedTuple):
    """What is bound to EVT_N_SET.

    Attributes
    ----------
    function : callable
        Takes the event, then `args`.
    args : tuple
        More arguments.
    is_async : bool
        Whether it gives a coroutine.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    is_async: bool


def handler_of(bound: Any) -> Handler:
    """Look at what is bound to an intervention event.

    Parameters
    ----------
    bound : tuple of (callable, list or None)
        As pynetdicom keeps it.

    Returns
    -------
    Handler
        The same, and whether it is to be awaited.
    """
    function, args = bound
    return Handler(function, tuple(args or ()), is_async(function))


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling a function, or an object with ``__call__``, gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - it is what is looked into
    )


def failed(exc: BaseException) -> tuple[int, None]:
    """Say in the log that the handler has raised; give what it is then taken to have returned."""
    _LOGGER.error("Exception in the handler bound to 'evt.EVT_N_SET'")
    _LOGGER.error("%s", exc, exc_info=exc)
    return _rules.PROCESSING_FAILURE, None


def response_to(
    request: N_SET, answer: Any, service: ServiceClass, context: PresentationContext
) -> N_SET:
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
    except (TypeError, ValueError):
        _LOGGER.error(
            "The handler bound to 'evt.EVT_N_SET' returned %r, not a status and a data set", answer
        )
        return request.response(_rules.PROCESSING_FAILURE)
    try:
        service.validate_status(code, response)
        sent = response.Status
        if sent is None:
            raise ValueError("the Status has no value")
    except Exception as exc:
        _LOGGER.error("The handler bound to 'evt.EVT_N_SET' returned a bad status: %s", exc)
        return request.response(_rules.PROCESSING_FAILURE)
    if data_set and service.statuses.get(sent, ("",))[0] in (STATUS_SUCCESS, STATUS_WARNING):
        _attach(response, data_set, context)
    return response


def _attach(response: N_SET, data_set: Any, context: PresentationContext) -> None:
    """Encode the Attribute List."""
    syntax = context.transfer_syntax[0]
    try:
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
