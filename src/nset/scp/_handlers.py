"""Handlers: functions bound to events of a server or an association, and how they are called."""

import asyncio
import concurrent.futures
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

from pynetdicom import _handlers, evt

from nset.scp._implementation import level_check
from nset.scp._measurements import Measurements
from nset.scp._rules import AS_TASK, IN_LOOP, IN_WORKER
from nset.scp._services import SERVICES
from nset.scp._threads import Threads

# A thread that waits for a coroutine checks this often whether the loop still runs.
_LOOP_CHECK_SECONDS = 1.0

# pynetdicom's log handlers log the content of each PDU and message here, at DEBUG.
messages_are_logged = level_check(logging.getLogger("pynetdicom._handlers"))

# These only log, at DEBUG.
_STANDARD: Final = (
    _handlers.standard_dimse_recv_handler,
    _handlers.standard_dimse_sent_handler,
    _handlers.standard_pdu_recv_handler,
    _handlers.standard_pdu_sent_handler,
)

# Events of each PDU or message.
_OF_MESSAGES: Final = (
    evt.EVT_DATA_RECV,
    evt.EVT_DATA_SENT,
    evt.EVT_DIMSE_RECV,
    evt.EVT_DIMSE_SENT,
    evt.EVT_FSM_TRANSITION,
    evt.EVT_PDU_RECV,
    evt.EVT_PDU_SENT,
)

# Events of the negotiation.
OF_NEGOTIATION: Final = (
    evt.EVT_ASYNC_OPS,
    evt.EVT_SOP_COMMON,
    evt.EVT_SOP_EXTENDED,
    evt.EVT_USER_ID,
)


class Bindings:
    """The bound handlers, examined once; immutable.

    Parameters
    ----------
    handlers : dict
        As pynetdicom keeps them: by event a list of (function, arguments), or one such tuple.
    inline : bool
        Whether plain handlers of services are called in the loop's thread.
    measurements : Measurements, optional
        What measures the handlers of services.

    Attributes
    ----------
    services : tuple of tuple of (callable, tuple, int)
        Those of the services, by their numbers, as `handler_of` gives them.
    logs_messages : bool
        Whether pynetdicom's log handler is bound to EVT_DIMSE_RECV.
    observes_messages : bool
        Whether a program is bound to events of PDUs or messages; pynetdicom's log handlers aside.
    negotiates : bool
        Whether a program is bound to events of the negotiation.
    has_callbacks : bool
        Whether a program's code runs when an association is negotiated, sends, receives or ends.
    """

    __slots__ = ("has_callbacks", "logs_messages", "negotiates", "observes_messages", "services")

    def __init__(
        self,
        handlers: dict[Any, Any],
        *,
        inline: bool,
        measurements: Measurements | None = None,
    ) -> None:
        self.services = tuple(
            handler_of(service.event, handlers[service.event], inline=inline)
            for service in SERVICES
        )
        if measurements is not None:
            self.services = tuple(
                (
                    (measurements.timed_async if mode == AS_TASK else measurements.timed)(
                        service.name, function
                    ),
                    args,
                    mode,
                )
                for service, (function, args, mode) in zip(SERVICES, self.services, strict=True)
            )
        self.logs_messages = any(
            function is _handlers.standard_dimse_recv_handler
            for function, _ in handlers.get(evt.EVT_DIMSE_RECV, ())
        )
        heard = {
            event
            for event, bound in handlers.items()
            if event.is_notification and any(function not in _STANDARD for function, _ in bound)
        }
        self.negotiates = any(
            handlers[event][0] is not evt.get_default_handler(event) for event in OF_NEGOTIATION
        )
        self.observes_messages = not heard.isdisjoint(_OF_MESSAGES)
        self.has_callbacks = bool(heard) or self.negotiates


def rebound(
    handlers: dict[Any, Any],
    event: Any,
    handler: Callable[..., Any],
    args: list[Any] | None = None,
    *,
    unbind: bool = False,
) -> dict[Any, Any]:
    """Return a copy of the handlers with a handler bound; other threads may read the original.

    Parameters
    ----------
    handlers : dict
        As for `Bindings`.
    event : NotificationEvent or InterventionEvent
        The event.
    handler : callable
        The function.
    args : list, optional
        More arguments for it.
    unbind : bool
        Whether to unbind it instead.

    Returns
    -------
    dict
        The copy.
    """
    copy = dict(handlers)
    if isinstance(copy.get(event), list):
        copy[event] = list(copy[event])
    if unbind:
        evt._remove_handler(event, copy, handler)
    else:
        evt._add_handler(event, copy, (handler, args))
    return copy


def handler_of(
    event: Any, bound: Any, *, inline: bool
) -> tuple[Callable[..., Any], tuple[Any, ...], int]:
    """Return the handler of a service.

    Parameters
    ----------
    event : InterventionEvent
        The service's.
    bound : tuple of (callable, list or None)
        As pynetdicom keeps it.
    inline : bool
        Whether plain functions are called in the loop's thread.

    Returns
    -------
    tuple of (callable, tuple, int)
        The function, more arguments for it, and how it is called.
    """
    function, args = bound
    may_not_block = inline or function is evt.get_default_handler(event)
    mode = AS_TASK if is_async(function) else IN_LOOP if may_not_block else IN_WORKER
    return function, tuple(args or ()), mode


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling a function, or an object with ``__call__``, returns a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - it is what is looked into
    )


class CoroutineHandlers:
    """Lets pynetdicom's service classes, which do not await, call coroutine functions.

    Parameters
    ----------
    threads : Threads
        Those of the server.
    tasks : set of asyncio.Task
        Where handlers are while they are awaited, to be cancelled when the server ends.
    """

    def __init__(self, threads: Threads, tasks: set[Any]) -> None:
        self._threads = threads
        self._tasks = tasks

    def callable_handler(self, bound: Any) -> Any:
        """Return a handler that pynetdicom's service classes can call without awaiting.

        Parameters
        ----------
        bound : tuple of (callable, list or None)
            What is bound to an intervention event.

        Returns
        -------
        tuple of (callable, list or None)
            A coroutine function as a function that waits for it; in a worker's thread only.
        """
        if not bound:
            return bound
        function, args = bound
        if inspect.isasyncgenfunction(function):
            return partial(self._iterate, function), args
        return (partial(self._wait, function), args) if is_async(function) else bound

    def _wait(self, function: Callable[..., Any], *args: Any) -> Any:
        coroutine = self._await(function, args)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._threads.loop)
            while not concurrent.futures.wait([future], _LOOP_CHECK_SECONDS)[0]:
                if self._threads.loop.is_closed():
                    raise RuntimeError("the server has ended, and its loop with it")
        except RuntimeError:  # or the loop was closed before
            coroutine.close()
            raise
        return future.result()

    async def _await(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Await a handler, as a task that is cancelled when the server ends."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            return await function(*args)
        finally:
            self._tasks.discard(task)

    def _iterate(self, function: Callable[..., Any], *args: Any) -> Iterator[Any]:
        results = function(*args)
        try:
            while True:
                try:
                    yield self._wait(results.__anext__)
                except StopAsyncIteration:
                    return
        finally:  # pynetdicom may stop before the last item
            if not self._threads.is_loop_thread():
                with suppress(RuntimeError):  # the loop is closed
                    self._wait(results.aclose)
