"""pynetdicom's `Association` without its thread: its interface for programs and pynetdicom."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from pynetdicom import _config
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association as _StockAssociation

from nset.scp._dispatch import Dispatcher
from nset.scp._handlers import OF_NEGOTIATION, Bindings, rebound

_ended_lock = threading.Lock()  # guards that all who join an association wait for the same event


class ThreadlessAssociation(_StockAssociation):
    """An acceptor's association with the interface of a thread.

    `is_alive` and `join` tell of the association, `name` is a name. What is here may be used in any
    thread.

    Parameters
    ----------
    server : Server
        The server.

    Attributes
    ----------
    address : tuple
        The peer's, once it has connected.
    path : Dispatcher
        The association's fast path, which gets the bound handlers.
    """

    # Read of all associations for each new one.
    is_acceptor = True
    is_requestor = False

    name: str = "AcceptorThread"
    daemon: bool = True
    ident = None
    native_id = None

    # pynetdicom holds it while it sets a timeout or logs; but also, if a response to a program's
    # own C-FIND cannot be decoded, until that program takes the next one. No association, and least
    # of all the loop, can wait for that.
    lock: Any = nullcontext()

    mode = MODE_ACCEPTOR
    is_established = is_rejected = is_aborted = is_released = False
    _sent_abort = _sent_release = _kill = _is_over = False
    network_timeout_response = "A-ABORT"
    _own_handlers: dict[Any, Any] | None = None
    _ended: threading.Event | None = None  # made when it is waited for
    _has_told_end = False

    address: Any = None
    path: Dispatcher

    def __init__(self, server: Any) -> None:
        # As pynetdicom's __init__, without threads.
        ae = server.ae
        self._ae = ae
        self._server: Any = server
        self._timer_resolution = _config.WINDOWS_TIMER_RESOLUTION
        self._acse_timeout = ae.acse_timeout
        self.connection_timeout = ae.connection_timeout
        self._dimse_timeout = ae.dimse_timeout
        self._network_timeout = ae.network_timeout

    # -- What pynetdicom's association is as a thread ----------------------------------------------

    def start(self) -> None:
        """Do nothing: there is no thread."""

    def is_alive(self) -> bool:
        """Return whether the association is not over."""
        return not self._is_over

    def join(self, timeout: float | None = None) -> None:
        """Wait until the association is over, and counted."""
        with _ended_lock:
            if self._has_told_end:
                return
            self._ended = ended = self._ended or threading.Event()
        ended.wait(timeout)

    def _tell_end(self) -> None:
        """Wake the threads that have joined the association."""
        with _ended_lock:
            self._has_told_end = True
            ended = self._ended
        if ended is not None:
            ended.set()

    @property
    def _is_paused(self) -> bool:
        return True  # no thread takes messages first

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        pass

    # -- Handlers ----------------------------------------------------------------------------------

    @property
    def _handlers(self) -> dict[Any, Any]:  # type: ignore[override]
        own = self._own_handlers
        return self._server._handlers if own is None else own

    @property
    def bindings(self) -> Bindings:
        """The bound handlers, examined."""
        return self._bindings

    @bindings.setter
    def bindings(self, bindings: Bindings) -> None:
        self._bindings = bindings
        self.path.handlers = bindings.services
        self.path.logs_messages = bindings.logs_messages
        self.path.observes_messages = bindings.observes_messages

    @property
    def has_own_handlers(self) -> bool:
        """Whether handlers were bound to or unbound from this association alone."""
        return self._own_handlers is not None

    def bind(self, event: Any, handler: Callable[..., Any], args: list[Any] | None = None) -> None:
        """Bind a handler to an event of this association."""
        self._rebind(event, handler, args)

    def unbind(self, event: Any, handler: Callable[..., Any]) -> None:
        """Unbind a handler from an event of this association."""
        self._rebind(event, handler, unbind=True)

    def _rebind(
        self, event: Any, handler: Any, args: list[Any] | None = None, *, unbind: bool = False
    ) -> None:
        with self._server.handlers_lock:
            handlers = rebound(self._handlers, event, handler, args, unbind=unbind)
            self.bindings = self._server.bindings_of(handlers)
            self._own_handlers = handlers

    def get_handlers(self, event: Any) -> Any:
        """Return the handlers of an event, as they are bound.

        Of an event of the negotiation, which pynetdicom's ACSE calls, a coroutine function is given
        as a function that waits.
        """
        handlers = self._handlers.get(event, [])
        if event in OF_NEGOTIATION:
            return self._server.coroutines.callable_handler(handlers)
        return handlers

    def service_handlers(self, event: Any) -> Any:
        """Return the handler of a service as pynetdicom's service class can call it."""
        handlers = self._handlers.get(event, [])
        if not event.is_intervention:
            return handlers
        return self._server.coroutines.callable_handler(handlers)
