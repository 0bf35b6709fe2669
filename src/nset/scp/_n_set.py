"""N-SET: how a request gets to its handler, the event for it, and the response to it."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from functools import cached_property, partial
from io import BytesIO
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom._globals import STATUS_SUCCESS, STATUS_WARNING
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
from nset.dataset import DataSetError
from nset.primitive import N_SET
from nset.pynetdicom._data_sets import encoded, refused
from nset.pynetdicom._provider import sendable_status
from nset.scp._data_sets import DataSetEvent
from nset.scp._handlers import messages_are_logged
from nset.scp._implementation import FastPath, SetEventBase
from nset.scp._limits import Limits
from nset.scp._memory import ALLOWANCE_BYTES
from nset.scp._threads import Threads

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
    """Return the service class that serves N-SET for an SOP Class, which may have been registered.

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


class SetEvent(SetEventBase, DataSetEvent):
    """EVT_N_SET; what takes time and few handlers use is computed on access."""

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
        """The time at which the event was made."""
        return datetime.fromtimestamp(self._seconds)


def log_error(logger: logging.Logger, *args: Any, exc_info: BaseException | None = None) -> None:
    """Log an error; an exception of a log handler does not prevent the response."""
    try:
        logger.error(*args, exc_info=exc_info)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return


def failed(exc: BaseException) -> tuple[int, None]:
    """Log the exception of a handler; return a Processing Failure in place of its result."""
    if isinstance(exc, DataSetError):
        return refused(exc)
    log_error(_LOGGER, "Exception in the handler bound to 'evt.EVT_N_SET'")
    log_error(_LOGGER, "%s", exc, exc_info=exc)
    return _rules.PROCESSING_FAILURE, None


def response_to(request: N_SET, answer: Any, service: Any, context: PresentationContext) -> N_SET:
    """Return the response for what the handler has returned.

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
    """Return whether a plain function has returned an awaitable.

    By its type: instances may fake attributes, and a metaclass may raise.
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
        attribute_list = encoded(data_set, syntax)
    except Exception as exc:
        _LOGGER.error("%s", exc, exc_info=exc)
        attribute_list = None
    if attribute_list is None:
        _LOGGER.error("Failed encoding the response 'Attribute List' dataset")
        response.Status = _rules.PROCESSING_FAILURE
    else:
        response.AttributeList = BytesIO(attribute_list)


class NSetDispatcher(FastPath):
    """The fast path of one association, and how N-SET is served off it.

    =====================  ==========================================================
    the loop's thread      all but what follows
    any thread             `handler`, `in_data_transfer`, `observes_messages`, `is_ending`,
                           `contexts`, `service_classes` (set while nothing is served);
                           reading `last_received` and all counts
    a worker's             ``_call``, ``_respond``
    =====================  ==========================================================

    Parameters
    ----------
    assoc : Association
        The association.
    limits : Limits
        The server's.
    max_pdu_size : int
        The AE's ``maximum_pdu_size``.
    threads : Threads
        The server's.
    tasks : set of asyncio.Task
        Where handlers are while they wait, to be cancelled when the server ends.
    start_task : callable
        Starts a coroutine as a task.

    Attributes
    ----------
    flow : FlowControl
        The association's.
    job_began : float
        When the association's job has begun, by the monotonic clock.
    queued_size : int
        Bytes in memory of the request that is served next, if it has waited.
    """

    flow: Any  # a FlowControl, which has the path

    def __init__(
        self,
        assoc: Any,
        limits: Limits,
        max_pdu_size: int,
        threads: Threads,
        tasks: set[Any],
        start_task: Callable[[Any], tuple[bool, Any]],
    ) -> None:
        super().__init__(
            limits.pdu_length_for(max_pdu_size),
            limits.negotiation_length,
            limits.data_set_bytes,
            N_SET,
        )
        self.assoc = assoc
        self._threads = threads
        self._tasks = tasks
        self.start_task = start_task
        self.pending, self.contexts, self.response_counts = [], {}, {}
        self.service_classes = known_services
        self.event_class = SetEvent
        self.is_logged = messages_are_logged
        self.job_began = 0.0
        self.queued_size = 0
        self._is_long = False  # the request that is served

    def break_cycles(self, assoc: Any) -> None:
        """Keep only a weak reference to an association that is over."""
        self.discard_input()
        self.write = None
        self.assoc = assoc

    def serve_queued(self, request: Any, size: int) -> bool:
        """Serve a queued request, even of an SOP Class that a program has registered.

        Parameters
        ----------
        request : N_SET
            A valid request.
        size : int
            Its bytes in memory.

        Returns
        -------
        bool
            False, with nothing done, if pynetdicom's service has to serve it.
        """
        self.queued_size = size
        try:
            if self.serve(request):
                return True
            sop_class = request.RequestedSOPClassUID
            service = service_class(sop_class)
            if service is None or service is known_services.get(sop_class):
                return False
            self.service_classes = {**known_services, sop_class: service}
            return bool(self.serve(request))
        finally:
            self.queued_size = 0

    # -- What the core calls -----------------------------------------------------------------------

    def call_in_worker(self, event: Any, service: Any) -> None:
        """Call a plain handler in a worker's thread."""
        self._note_serving()
        self._threads.handler_workers.submit(partial(self._call, event, service))

    def respond_later(self, task: Any, event: Any, service: Any) -> None:
        """Send the response when the task of a handler has ended."""
        self._note_serving()
        self._tasks.add(task)
        task.add_done_callback(partial(self._task_done, event, service))

    def respond_slowly(self, event: Any, service: Any, answer: Any) -> None:
        """Send a response that the fast path does not encode."""
        if is_awaitable(answer):
            self.respond_later(self._threads.loop.create_task(_await(answer)), event, service)
        else:
            self.assoc.do_in_worker(partial(self._respond, event, service, answer))

    def failed(self, exc: BaseException) -> tuple[int, None]:
        """Return the result in place of that of a handler that has raised."""
        return failed(exc)

    # -- Handlers that take their time -------------------------------------------------------------

    def _note_serving(self) -> None:
        self.job_began = time.monotonic()
        size = self.queued_size or self.request_length
        self._is_long = size > ALLOWANCE_BYTES
        if self._is_long:
            self.flow.note_serving(size)

    def _call(self, event: Any, service: Any) -> None:
        function, args, _ = self.handler
        try:
            answer = function(event, *args)
        except BaseException as exc:
            answer = failed(exc)
        self._threads.call(self._handled, event, service, answer)

    def _task_done(self, event: Any, service: Any, task: Any) -> None:
        self._tasks.discard(task)
        try:
            answer = task.result()
        except BaseException as exc:  # or CancelledError
            answer = failed(exc)
        self._handled(event, service, answer)

    def _handled(self, event: Any, service: Any, answer: Any) -> None:
        if self._is_long:
            self.flow.note_served()
        self.respond(event, service, answer)

    def _respond(self, event: Any, service: Any, answer: Any) -> None:
        """Send a response as pynetdicom does."""
        assoc, request, context = event.assoc, event.request, event._context
        if not assoc.is_established:
            return
        try:
            response = response_to(request, answer, service(assoc), context)
            assoc.dimse.send_msg(response, context.context_id)
        except BaseException as exc:  # raised by the returned object, or by a log handler
            status, _ = failed(exc)
            assoc.dimse.send_encoded(request.response(status), context.context_id)


async def _await(awaitable: Any) -> Any:
    return await awaitable
