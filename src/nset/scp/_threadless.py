"""pynetdicom's `Association` without its thread: its interface for programs and pynetdicom."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from operator import attrgetter
from typing import Any

from pynetdicom import _config
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association as _StockAssociation

from nset.scp._dispatch import Dispatcher
from nset.scp._handlers import OF_NEGOTIATION, rebound

_ended_lock = threading.Lock()  # guards that all who join an association wait for the same event


def _of_path(name: str) -> Any:
    """Return a property that is the path's attribute of this name."""
    return property(attrgetter(f"path.{name}"), lambda self, value: setattr(self.path, name, value))


class ThreadlessAssociation(_StockAssociation):
    """An acceptor's association with the interface of a thread.

    `is_alive` and `join` tell of the association, `name` is a name. What is here may be used in any
    thread.

    Parameters
    ----------
    server : Server
        The server.
    path : Dispatcher
        The association's protocol, with its state.
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
    is_rejected = is_aborted = _sent_abort = False
    network_timeout_response = "A-ABORT"
    _ended: threading.Event | None = None  # made when it is waited for
    _has_told_end = False

    path: Dispatcher

    def __init__(self, server: Any, path: Dispatcher) -> None:
        # As pynetdicom's __init__, without threads.
        self._ae = server.ae
        self._server: Any = server
        self.path = path
        self._timer_resolution = _config.WINDOWS_TIMER_RESOLUTION
        settings = path.settings
        self._acse_timeout = settings.acse_timeout
        self.connection_timeout = settings.connection_timeout
        self._dimse_timeout = settings.dimse_timeout
        self._network_timeout = settings.network_timeout

    # -- What the protocol knows without it --------------------------------------------------------

    address = _of_path("address")
    accepted = _of_path("accepted")
    is_established = _of_path("is_established")
    is_released = _of_path("is_released")
    _is_over = _of_path("is_over")
    _kill = _of_path("is_killed")
    _sent_release = _of_path("sent_release")
    _was_requested = _of_path("was_requested")
    _own_handlers: Any = _of_path("own_handlers")
    bindings = _of_path("bindings")

    # -- What pynetdicom's association is as a thread ----------------------------------------------

    def start(self) -> None:
        """Do nothing: there is no thread."""

    def is_alive(self) -> bool:
        """Return whether the association is not over."""
        return not self._is_over

    def join(self, timeout: float | None = None) -> None:
        """Wait until the association is over, and counted; not in the loop's thread."""
        with _ended_lock:
            if self._has_told_end:
                return
            self._server.threads.may_wait()
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
        own: dict[Any, Any] | None = self._own_handlers
        return self._server._handlers if own is None else own

    def bind(self, event: Any, handler: Callable[..., Any], args: list[Any] | None = None) -> None:
        """Bind a handler to an event of this association."""
        self._rebind(event, handler, args)

    def unbind(self, event: Any, handler: Callable[..., Any]) -> None:
        """Unbind a handler from an event of this association."""
        self._rebind(event, handler, unbind=True)

    def _rebind(
        self, event: Any, handler: Any, args: list[Any] | None = None, *, unbind: bool = False
    ) -> None:
        with self._server.connections.lock:
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
