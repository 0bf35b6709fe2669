"""pynetdicom's `Association` without its thread: its interface for programs and pynetdicom."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from pynetdicom import _config
from pynetdicom._globals import MODE_ACCEPTOR, MODE_REQUESTOR
from pynetdicom.association import Association as _StockAssociation
from pynetdicom.association import ServiceUser
from pynetdicom.transport import AddressInformation

from nset.scp._data_sets import bounded
from nset.scp._dispatch import Dispatcher
from nset.scp._handlers import Bindings, rebound
from nset.scp._negotiation import Acceptor

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

    path: Dispatcher

    def __init__(self, server: Any) -> None:
        # As pynetdicom's __init__, without threads.
        ae = server.ae
        self._ae = ae
        self._server: Any = None
        self.mode = MODE_ACCEPTOR
        self.requestor = ServiceUser(self, MODE_REQUESTOR)
        self.acceptor = Acceptor(self, MODE_ACCEPTOR)
        self._server = server
        self.is_established = self.is_rejected = self.is_aborted = self.is_released = False
        self._sent_abort = self._sent_release = False
        self._accepted_cx: dict[int, Any] = {}
        self._rejected_cx: list[Any] = []
        self._kill = False
        self._timer_resolution = _config.WINDOWS_TIMER_RESOLUTION
        self.network_timeout_response = "A-ABORT"
        self._own_handlers: dict[Any, Any] | None = None
        self._is_over = False
        self._ended: threading.Event | None = None

    def _take_settings(self, address: Any) -> None:
        """Copy the settings of the server and its AE, and its handlers."""
        ae, server = self.ae, self._server
        self.acse_timeout = ae.acse_timeout
        self.connection_timeout = ae.connection_timeout
        self.dimse_timeout = ae.dimse_timeout
        self.network_timeout = ae.network_timeout
        self.acceptor.maximum_length = ae.maximum_pdu_size
        self.acceptor.ae_title = server.ae_title
        self.acceptor.address_info = server.local
        self.acceptor.implementation_class_uid = ae.implementation_class_uid
        self.acceptor.implementation_version_name = ae.implementation_version_name
        self.requestor.address_info = AddressInformation.from_tuple(address)
        self.bindings = server.bindings

    # -- What pynetdicom's association is as a thread ----------------------------------------------

    def start(self) -> None:
        """Do nothing: there is no thread."""

    def is_alive(self) -> bool:
        """Return whether the association is not over."""
        return not self._is_over

    def join(self, timeout: float | None = None) -> None:
        """Wait until the association is over, and counted."""
        self._ended_event().wait(timeout)

    def _ended_event(self) -> threading.Event:
        """Return the event that is set at the end; created on demand."""
        with _ended_lock:
            self._ended = self._ended or threading.Event()
            return self._ended

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
            self.bindings = Bindings(handlers, inline=self._server.is_inline)
            self._own_handlers = handlers

    def get_handlers(self, event: Any) -> Any:
        """Return the handlers of an event; coroutine functions as functions that wait."""
        handlers = self._handlers.get(event, [])
        if event.is_intervention:
            return bounded(event, self._server.coroutines.callable_handler(handlers))
        return handlers
