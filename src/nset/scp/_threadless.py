"""pynetdicom's `Association` without its thread: its interface for programs and pynetdicom."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from typing import Any

from pynetdicom import _config
from pynetdicom._globals import MODE_ACCEPTOR, MODE_REQUESTOR
from pynetdicom.association import Association as _StockAssociation
from pynetdicom.transport import AddressInformation

from nset.scp._a_associate import Accepted, Settings
from nset.scp._data_sets import bounded
from nset.scp._dispatch import Dispatcher
from nset.scp._handlers import Bindings, rebound
from nset.scp._negotiation import Acceptor, Requestor

_ended_lock = threading.Lock()  # guards that all who join an association wait for the same event


class ThreadlessAssociation(_StockAssociation):
    """An acceptor's association with the interface of a thread.

    `is_alive` and `join` tell of the association, `name` is a name. What is here may be used in any
    thread. pynetdicom's objects are made on demand, when an attribute of one of these names is read
    for the first time (``requestor``, ``acceptor``, ``acse``, ``dul``, ``dimse``, ``_accepted_cx``,
    ``_rejected_cx``), and so are nset's of `_MAKERS`. An ordinary association needs none of them.

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
    accepted : Accepted or None
        The negotiation, where pynetdicom has no part in it.
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
    accepted: Accepted | None = None
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
        self._making = threading.RLock()  # guards what is made on demand

    # -- What is made on demand --------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        make = _MAKERS.get(name)
        if make is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with self._making:
            if name not in vars(self):
                getattr(self, make)()
            return vars(self)[name]

    def _make_users(self) -> None:
        accepted = self.accepted
        settings = accepted.settings if accepted is not None else Settings.of(self._server)
        requestor = Requestor(self, MODE_REQUESTOR)
        requestor.address_info = AddressInformation.from_tuple(self.address)
        acceptor = Acceptor(self, MODE_ACCEPTOR)
        settings.apply_to(acceptor)
        acceptor.address_info = self._server.local
        if accepted is not None:
            requestor.remember(accepted)
            acceptor.remember(accepted)
        vars(self).update(requestor=requestor, acceptor=acceptor)

    def _make_contexts(self) -> None:
        accepted: dict[int, Any] = {}
        rejected: list[Any] = []
        if self.accepted is not None:
            accepted = {number: _copy(cx) for number, cx in self.accepted.contexts.items()}
            rejected = [_copy(context) for context in self.accepted.rejected]
        vars(self).update(_accepted_cx=accepted, _rejected_cx=rejected)

    def _has_made(self, name: str) -> bool:
        """Return whether what is made on demand has been made."""
        return name in vars(self)

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
            self.bindings = Bindings(handlers, inline=self._server.is_inline)
            self._own_handlers = handlers

    def get_handlers(self, event: Any) -> Any:
        """Return the handlers of an event; coroutine functions as functions that wait."""
        handlers = self._handlers.get(event, [])
        if event.is_intervention:
            return bounded(event, self._server.coroutines.callable_handler(handlers))
        return handlers


def _copy(context: Any) -> Any:
    """Copy a presentation context, with its list of transfer syntaxes."""
    new = copy(context)
    vars(new).update({k: v[:] for k, v in vars(context).items() if isinstance(v, list)})
    return new


# Names of methods.
_MAKERS = {
    "requestor": "_make_users",
    "acceptor": "_make_users",
    "acse": "_make_providers",
    "dul": "_make_providers",
    "dimse": "_make_providers",
    "_accepted_cx": "_make_contexts",
    "_rejected_cx": "_make_contexts",
    "_reactor_checkpoint": "_make_checkpoint",
    "flow": "_make_flow",
    "memory": "_make_memory",
    "reports": "_make_reports",
    "tally": "_make_tally",
}
