"""How a request gets to its handler off the fast path's core, its event, and the response to it."""

import logging
import os
import time
from datetime import datetime
from functools import cached_property, partial
from io import BytesIO
from typing import Any, Final, NamedTuple

from pydicom import Dataset
from pynetdicom._globals import STATUS_SUCCESS, STATUS_WARNING
from pynetdicom.presentation import PresentationContext

from nset import _rules, dataset
from nset._errors import CommandSetError
from nset._status_error import as_status_error
from nset.dataset import DataSetError
from nset.primitive import N_SET
from nset.pynetdicom import _provider
from nset.pynetdicom._answers import is_response, log_status_error, refused, response_with
from nset.pynetdicom._data_sets import cached, encoded
from nset.pynetdicom._messages import no_data_set
from nset.pynetdicom._provider import sendable_status
from nset.scp import _services
from nset.scp._data_sets import DataSetEvent, Served
from nset.scp._details import encode_status_error
from nset.scp._implementation import AssociationProtocol, ServiceEventBase, encode_response
from nset.scp._memory import ALLOWANCE_BYTES, Memory

_LOGGER = logging.getLogger("pynetdicom.service_class")
_MESSAGE_LOGGER = logging.getLogger("pynetdicom._handlers")
_NSET_LOGGER = logging.getLogger("nset")

_NO_DATA_SET: Final = no_data_set("N-SET-RQ")
"""Why an N-SET without a data set is refused; the only service on the fast path that needs one."""

_WITH_DATA_SET: Final = (STATUS_SUCCESS, STATUS_WARNING)
"""The categories of statuses that a data set goes with."""


class ServiceEvent(ServiceEventBase, DataSetEvent):
    """The event of a request; what takes time and few handlers use is computed on access."""

    _hash = None
    _decoded = None

    __init__ = object.__init__

    @property
    def _event(self) -> Any:  # type: ignore[override]
        return self._service.event

    @property
    def _nset_refusal(self) -> CommandSetError | None:
        """Why the request is refused, if it is."""
        return _NO_DATA_SET if self._lacks_data_set else None

    @cached_property
    def context(self) -> Any:  # type: ignore[override]
        """The context as a `PresentationContextTuple`."""
        return self._context.as_tuple

    @cached_property
    def timestamp(self) -> datetime:  # type: ignore[override]
        """The time at which the event was made."""
        return datetime.fromtimestamp(self._seconds)

    def _make_request(self) -> Any:
        command_set: Any = self._command_set  # else there would be a request
        return _services.primitive_of(self._service, command_set, self._context_id, self._stream)

    def _get_dataset(self, attr: str, exc_msg: str) -> Dataset:
        if self._has_request or attr != self._service.request_keyword:
            return super()._get_dataset(attr, exc_msg)
        try:
            return cached(self, self._stream, self._path.server.limits.data_set_bytes)
        except AttributeError:
            raise AttributeError(exc_msg) from None


def log_error(logger: logging.Logger, *args: Any, exc_info: BaseException | None = None) -> None:
    """Log an error; an exception of a log handler does not prevent the response."""
    try:
        logger.error(*args, exc_info=exc_info)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return


def failed(exc: BaseException, event: Any) -> tuple[int, None]:
    """Log the exception of a handler of EVT_N_SET; return a Processing Failure in its place."""
    if isinstance(exc, DataSetError):
        return refused(exc, event.assoc, event.request)
    log_error(_LOGGER, "Exception in the handler bound to 'evt.EVT_N_SET'")
    log_error(_LOGGER, "%s", exc, exc_info=exc)
    return _rules.PROCESSING_FAILURE, None


class _Raised(NamedTuple):
    """In place of a handler's answer: what it has raised."""

    exception: BaseException


def _answered(answer: Any, event: Any) -> Any:
    """Stand for a handler that has answered already."""
    if type(answer) is _Raised:
        raise answer.exception
    return answer


class _Encoded(NamedTuple):
    """A handler's answer whose data set a worker has encoded: what is sent of it."""

    answer: Any
    code: int
    data_set: bytes


def response_to(request: N_SET, answer: Any, service: Any, context: PresentationContext) -> N_SET:
    """Return the response for what the handler has returned.

    What pynetdicom can't answer is a Processing Failure (0110H) here, with the reason in the log.

    Parameters
    ----------
    request : N_SET
        The request.
    answer : object
        A tuple of a status (an int, or a `Dataset` with a Status) and a `Dataset` or None, or the
        response itself.
    service : pynetdicom.service_class.ServiceClass
        Whose statuses count.
    context : pynetdicom.presentation.PresentationContext
        With the transfer syntax of the data set.

    Returns
    -------
    N_SET
        The response.
    """
    if is_response(answer) and answer.MessageIDBeingRespondedTo == request.MessageID:
        return answer  # type: ignore[no-any-return]
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


class Dispatcher(AssociationProtocol):
    """The protocol of one association, and how requests are served that it does not serve alone.

    =====================  ==========================================================
    the loop's thread      all but what follows
    any thread             `handlers`, `in_data_transfer`, `observes_messages`, `is_ending`,
                           `contexts`, `service_classes` (set while nothing is served),
                           `logs_messages`, `bindings` (set with the server's lock), `is_active`;
                           the state; reading `last_received` and all counts
    a worker's             ``_call``, ``_respond_as_pynetdicom``
    =====================  ==========================================================

    Attributes
    ----------
    job_began : float
        When the association's job has begun, by the monotonic clock.
    memory : Memory or None
        Its bytes that wait, once there were any; any thread.
    queued_size : int
        Bytes in memory of the request that is served next, if it has waited.
    """

    event_class = ServiceEvent
    job_began = 0.0
    memory: Memory | None = None
    queued_size = 0
    _is_long = False  # the request that is served

    @property
    def is_active(self) -> bool:
        """Whether this counts as an association."""
        assoc = self.made
        return self.was_requested and (assoc is None or assoc.is_active)

    def close_in_child(self, null: int) -> None:
        """Close a forked process's copy of the socket.

        Its descriptor stays open as a copy of `null`: the transport may yet close its number.
        """
        self.is_closed = True
        sock = self.transport and self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            os.dup2(null, sock.fileno(), inheritable=False)

    @property
    def all_bytes_sent(self) -> int:
        """How many bytes were given to the transport, those of the slow path included."""
        assoc = self.made
        return self.bytes_sent + (0 if assoc is None else assoc.connection.bytes_sent)

    def memory_on_demand(self) -> Memory:
        """Return its bytes that wait; any thread."""
        with self.making:
            if self.memory is None:
                server = self.server
                self.memory = Memory(server.memory, server.limits.association_bytes)
            return self.memory

    def serve_queued(self, request: Any, size: int) -> bool:
        """Serve a queued request, even of an SOP Class that a program has registered.

        Parameters
        ----------
        request : ServiceEvent or primitive
            The event of a request, or what the slow path has decoded.
        size : int
            Its bytes in memory.

        Returns
        -------
        bool
            False, with nothing done, if pynetdicom's service has to serve it.
        """
        event = event_of(request)
        if event is None or event._nset_refusal is not None:
            return False
        self.queued_size = size
        try:
            return bool(self.serve(event) or (self._learn(event) and self.serve(event)))
        finally:
            self.queued_size = 0

    def _learn(self, event: Any) -> bool:
        """Look up the service class of an SOP Class; return whether it is new and serves it."""
        index, known = event._service.number, list(self.service_classes)
        uid = event._sop_class_uid()
        if self.service_classes is _services.NONE or uid in known[index]:
            return False
        found = _services.service_class(event._service, uid.decode())
        if found is not None:
            known[index] = {**known[index], uid: found}
            self.service_classes = tuple(known)
        return found is not None

    # -- What the core calls -----------------------------------------------------------------------

    def note_incomplete(self, size: int) -> None:
        """Count the received bytes of partial PDUs and messages."""
        memory = self.memory or self.memory_on_demand()
        memory.note("incomplete", size)
        if memory.is_over_limit:
            self.assoc.flow.check_memory()

    def call_in_worker(self, event: Any, service: Any) -> None:
        """Call a plain handler in a worker's thread."""
        self._note_serving(event)
        # What is served beside other requests does not wait for their workers.
        workers = (
            self.server.threads.service_workers
            if event._service.is_concurrent
            else self.server.threads.handler_workers
        )
        workers.submit(partial(self._call, event, service))

    def respond_later(self, task: Any, event: Any, service: Any) -> None:
        """Send the response when the task of a handler has ended."""
        self._note_serving(event)
        self.server.tasks.add(task)
        task.add_done_callback(partial(self._task_done, event, service))

    def encoded(self, event: Any, service: Any, code: int, data_set: Any) -> bytes | None:
        """Return the encoded data set of an answer; None if the slow path is to encode it."""
        if not issubclass(type(data_set), Dataset):
            return None
        if service.statuses[code][0] not in _WITH_DATA_SET:
            return b""
        try:
            if not data_set:
                return b""
            return dataset.encode(data_set, event._context.transfer_syntax[0])
        except KeyboardInterrupt:
            raise
        except BaseException:  # raised by a subclass, or for a value: pynetdicom says what is wrong
            return None

    def respond_slowly(self, event: Any, service: Any, answer: Any) -> None:
        """Send a response that the core does not encode."""
        if type(answer) is _Encoded:
            answer, code, data_set = answer
            length = self.peer_length
            pdus = self.may_respond() and encode_response(event, code, length, data_set)
            if pdus:
                self.send(event, code, pdus)
                return
        error = as_status_error(answer.exception) if type(answer) is _Raised else None
        if error is not None:
            pdus = self.may_respond() and encode_status_error(event, error, self.peer_length)
            if pdus:
                self.send(event, error.status, pdus)
                return
        if is_awaitable(answer):
            self.respond_later(self.server.threads.loop.create_task(_await(answer)), event, service)
            return
        if self.measure is not None:
            self.assoc.tally.note(event.message_id, event._seconds)
        respond = partial(self._respond_as_pynetdicom, event, service, answer)
        if event._service.is_concurrent:
            self.assoc.reports.do_in_worker(event.assoc, respond)
        else:
            self.assoc.do_in_worker(respond)

    def failed(self, event: Any, exc: BaseException) -> Any:
        """Return the result in place of that of a handler that has raised."""
        error = as_status_error(exc)
        if error is not None:
            if _NSET_LOGGER.isEnabledFor(logging.INFO):  # else the association may not be made
                log_status_error(error, event.assoc, event.request)
            if error.details:
                return _Raised(error)
            return error.status if event._service.response_keyword is None else (error.status, None)
        if event._service is _services.N_SET:
            return failed(exc, event)
        if isinstance(exc, DataSetError) and event._service.request_keyword is not None:
            return refused(exc, event.assoc, event.request)
        return _Raised(exc)

    def refuse(self, event: Any) -> None:
        """Refuse a request that lacks its data set."""
        refusal = event._nset_refusal
        pdus = self.may_respond() and encode_response(event, refusal.status, self.peer_length)
        if pdus:
            _provider.log_refusal(self.assoc, event.request, refusal)
            self.send(event, refusal.status, pdus)
        else:
            request, context_id = event.request, event._context_id
            self.assoc.do_in_worker(
                partial(_provider._refuse, self.assoc, request, context_id, refusal)
            )

    def log_echo(self, event: Any) -> None:
        """Log a C-ECHO request, as pynetdicom's log handler does."""
        if self.is_logged(logging.INFO) and self.logs_messages:
            _MESSAGE_LOGGER.info("Received Echo Request (MsgID %d)", event._message_id)

    def begin_concurrent(self) -> bool:
        """Return whether a report may be served now; it is being served from now on."""
        return self.queued_size > 0 or bool(self.assoc.reports.begin())

    def end_concurrent(self, event: Any) -> None:
        """Go on after a report was served."""
        self.assoc.reports.served(event.assoc)

    # -- Handlers that take their time -------------------------------------------------------------

    def _note_serving(self, event: Any) -> None:
        if event._service.is_concurrent:
            return
        self.job_began = time.monotonic()
        size = self.queued_size or self.request_length
        self._is_long = size > ALLOWANCE_BYTES
        if self._is_long:
            self.assoc.flow.note_serving(size)

    def _call(self, event: Any, service: Any) -> None:
        function, args, _ = self.handlers[event._service.number]
        try:
            answer = self._with_data_set_encoded(event, service, function(event, *args))
        except BaseException as exc:
            answer = self.failed(event, exc)
        self.server.threads.call(self._handled, event, service, answer)

    def _with_data_set_encoded(self, event: Any, service: Any, answer: Any) -> Any:
        """Encode the data set of an answer, if that is all there is to it; in any thread."""
        if (
            event._service.response_keyword is None
            or type(answer) is not tuple
            or len(answer) != 2
            or answer[1] is None
        ):
            return answer
        code, data_set = answer
        if type(code) is not int or code not in service.statuses:
            return answer
        if event._service is _services.N_CREATE and not event._has_instance:
            return answer
        encoded = self.encoded(event, service, code, data_set)
        return answer if encoded is None else _Encoded(answer, code, encoded)

    def _task_done(self, event: Any, service: Any, task: Any) -> None:
        self.server.tasks.discard(task)
        try:
            answer = task.result()
        except BaseException as exc:  # or CancelledError
            answer = self.failed(event, exc)
        self._handled(event, service, answer)

    def _handled(self, event: Any, service: Any, answer: Any) -> None:
        if self._is_long and not event._service.is_concurrent:
            self.assoc.flow.note_served()
        self.respond(event, service, answer)

    def _respond_as_pynetdicom(self, event: Any, service: Any, answer: Any) -> None:
        """Send a response as pynetdicom does."""
        assoc, context = event.assoc, event._context
        if not assoc.is_established:
            return
        # As it was received: a handler may have changed its own.
        request = event.request if event._command_set is None else event._make_request()
        error = as_status_error(answer.exception) if type(answer) is _Raised else None
        if error is not None:
            assoc.dimse.send_msg(response_with(request, error), context.context_id)
            return
        if event._service is not _services.N_SET:
            try:
                handler = partial(_answered, answer), None
                service(Served(assoc, lambda event: handler)).SCP(request, context)
            except Exception as exc:
                assoc.service_failed(request, context.context_id, exc)
            return
        try:
            response = response_to(request, answer, service(assoc), context)
            assoc.dimse.send_msg(response, context.context_id)
        except BaseException as exc:  # raised by the returned object, or by a log handler
            status, _ = failed(exc, event)
            assoc.dimse.send_encoded(request.response(status), context.context_id)


def event_of(request: Any) -> Any:
    """Return the event of a request that the fast path may serve.

    Parameters
    ----------
    request : ServiceEvent or primitive
        The event itself, or what the slow path has decoded.

    Returns
    -------
    ServiceEvent or None
        None for anything but an event and a valid N-SET.
    """
    if type(request) is ServiceEvent:
        return request
    if type(request) is not N_SET or not request.is_valid_request:
        return None
    event = ServiceEvent()
    event._hold(_services.N_SET, request, request._context_id)
    return event


def primitive_in(request: Any) -> Any:
    """Return the primitive of a request, whether that is in an event or not."""
    return request.request if type(request) is ServiceEvent else request


async def _await(awaitable: Any) -> Any:
    return await awaitable
