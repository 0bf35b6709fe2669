"""The server: a listening socket, its associations, and an orderly shutdown."""

import asyncio
import contextvars
import logging
import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationServer

from nset.scp import _eager_tasks, _proxy
from nset.scp._a_associate import Accepted, Negotiations
from nset.scp._ae_settings import AESettings, KnownSettings
from nset.scp._association import Association
from nset.scp._counters import Counters, Counts
from nset.scp._dispatch import Dispatcher
from nset.scp._handlers import Bindings, CoroutineHandlers, messages_are_logged, rebound
from nset.scp._implementation import Connections, level_check
from nset.scp._limits import Limits, check_count
from nset.scp._listener import Listener
from nset.scp._measurements import Measurements
from nset.scp._memory import ServerMemory
from nset.scp._negotiation import SupportedContexts
from nset.scp._shared import Share
from nset.scp._sockets import bind
from nset.scp._threads import Threads

_LOGGER = logging.getLogger("nset")
_ACSE_LOGGER = logging.getLogger("pynetdicom.acse")
_logs_acceptances = level_check(_ACSE_LOGGER)
_logs = level_check(_LOGGER)

SHUTDOWN_TIMEOUT = 10.0
"""Seconds at shutdown after which associations are aborted, by default."""

QUIET = 1.0
"""Seconds at shutdown without a request until the server requests the release, by default."""

# Seconds for what takes milliseconds: closing sockets once everything is over.
_CLOSING_SECONDS = 1.0

# Looks that find an association quiet before it is asked to be released.
_LOOKS_PER_QUIET = 10

_MAX_THREADS = 1000


_set_ssl_context: Any = AssociationServer.ssl_context.fset  # type: ignore[attr-defined]


class Server(AssociationServer):
    """A running server; also a context manager, which shuts it down.

    It has the interface of pynetdicom's servers, and is safe to share between threads.

    =====================  ==========================================================
    the loop's thread      `run`, `close`, `wait_closed`, `negotiated`, `leave`; `tasks`,
                           `aborting`, `listener`, `settings`
    any thread             `stop`, `shutdown`, `interrupt`, `bind`, `unbind`, `forget`,
                           `counts`, `active_associations`; `deadline`
    guarded by             ``_handlers``
    ``connections.lock``
    =====================  ==========================================================

    Parameters
    ----------
    ae : pynetdicom.ae.ApplicationEntity
        The AE.
    address : tuple
        The address to listen at; port 0 is any free port.
    ae_title : str
        Its AE title.
    contexts : list of pynetdicom.presentation.PresentationContext
        The supported contexts.
    ssl_context : ssl.SSLContext, optional
        For TLS.
    evt_handlers : list of tuple, optional
        Handlers to bind.
    inline : bool
        Whether plain handlers of the fast path's services are called in the loop's thread.
    workers : int, optional
        The most threads for them otherwise.
    limits : Limits, optional
        What peers may take of it.
    reuse_port : bool
        Whether other processes may listen at the address, too.
    sock : socket.socket, optional
        The listening socket, instead of a new one at the address.
    metrics : bool
        Whether it measures requests.
    proxy_protocol : bool or iterable of str
        The networks whose connections begin with a PROXY protocol header.

    Attributes
    ----------
    connections : Connections
        The server's connections and associations.
    counters : Counters
        The server's counters.
    deadline : float
        When associations are aborted and nothing more is read, by the monotonic clock.
    share : Share or None
        Of the associations that several processes may have together.
    """

    request_queue_size = 1024
    loop: Any = None  # there once it runs, as is the listener
    listener: Any = None
    share: Share | None = None

    def __init__(
        self,
        ae: ApplicationEntity,
        address: Any,
        ae_title: str,
        contexts: list[PresentationContext],
        ssl_context: Any = None,
        evt_handlers: list[Any] | None = None,
        *,
        inline: bool = False,
        workers: int | None = None,
        limits: Limits | None = None,
        reuse_port: bool = False,
        sock: socket.socket | None = None,
        metrics: bool = False,
        proxy_protocol: bool | Iterable[str] = False,
    ) -> None:
        if workers is not None:
            check_count("workers", workers)
        self.limits = limits or Limits()
        self.is_inline = inline
        self.is_logged = messages_are_logged
        self.logs = _logs
        self.settings = KnownSettings(ae, self.limits)
        self._reuses_port = reuse_port
        self._given = sock
        self.counters = Counters(Measurements() if metrics else None)
        self.memory = ServerMemory(self.limits.bytes_for_server(), self._has_room)
        self.connections = Connections(self)
        self.tasks: set[Any] = set()  # of handlers that wait, and of handshakes
        self.aborting: set[Association] = set()  # by workers
        self.is_releasing = False
        self._proxies = _proxy.Trusted(proxy_protocol)
        self._stopping = asyncio.Event()
        self._is_to_stop = False
        self._stopped = asyncio.Event()
        self._ended = threading.Event()
        self.deadline = math.inf
        self._quiet = math.inf
        self._closing_timeout = _CLOSING_SECONDS
        self.supported = SupportedContexts()
        self.negotiations = Negotiations(self)
        self._variables = contextvars.copy_context() if _config.PASS_CONTEXTVARS else None
        super().__init__(ae, address, ae_title, contexts, ssl_context, evt_handlers)
        self._max_workers = min(workers or ae.maximum_associations, _MAX_THREADS)
        self._may_add_workers = workers is None
        self._left = 0  # associations whose peer has gone while a handler goes on
        assert self.socket is not None
        self.socket.setblocking(False)
        self.local = AddressInformation.from_tuple(self.server_address)
        ae._servers.append(self)  # type: ignore[arg-type]
        _servers.add(self)

    def server_bind(self) -> None:
        """Bind the listening socket, or take the one that was given."""
        listening: Any = self.socket
        if self._given is None:
            bind(listening, self.server_address, reuse_port=self._reuses_port)
        else:
            listening.close()
            self.socket = self._given
        self.server_address = self.socket.getsockname()  # type: ignore[union-attr]

    def server_close(self) -> None:
        """Close the listening socket."""
        if self._given is None:
            super().server_close()
        else:  # other processes may have it, and stock code shuts it down
            self._given.close()
        if self.listener is not None:
            self.listener.close()

    # -- Handlers ----------------------------------------------------------------------------------

    def _bind_defaults(self) -> None:
        super()._bind_defaults()
        self.connections.bindings = self.bindings_of(self._handlers)

    def bindings_of(self, handlers: dict[Any, Any]) -> Bindings:
        """Return the handlers, examined, and measured if the server measures them."""
        return Bindings(handlers, inline=self.is_inline, measurements=self.counters.measurements)

    def bind(self, event: Any, handler: Callable[..., Any], args: list[Any] | None = None) -> None:
        """Bind a handler to an event, for present and future associations.

        Parameters
        ----------
        event : NotificationEvent or InterventionEvent
            The event.
        handler : callable
            A function, or for DIMSE services a coroutine function.
        args : list, optional
            More arguments for it.
        """
        self._rebind(event, handler, args)
        for path in list(self._associations):
            if path.own_handlers is not None:
                path.assoc.bind(event, handler, args)

    def unbind(self, event: Any, handler: Callable[..., Any]) -> None:
        """Unbind a handler from an event, for present and future associations.

        Parameters
        ----------
        event : NotificationEvent or InterventionEvent
            The event.
        handler : callable
            The handler.
        """
        self._rebind(event, handler, unbind=True)
        for path in list(self._associations):
            if path.own_handlers is not None:
                path.assoc.unbind(event, handler)

    def _rebind(
        self, event: Any, handler: Any, args: list[Any] | None = None, *, unbind: bool = False
    ) -> None:
        with self.connections.lock:
            handlers = rebound(self._handlers, event, handler, args, unbind=unbind)
            self._handlers = handlers
            if self.connections.bindings is not None:  # else more defaults are to be bound
                bindings = self.connections.bindings = self.bindings_of(handlers)
                for path in list(self._associations):
                    if path.own_handlers is None:
                        path.bindings = bindings

    # -- Associations ------------------------------------------------------------------------------

    @property
    def _associations(self) -> dict[Dispatcher, None]:
        return self.connections.associations

    @property
    def active_associations(self) -> list[Any]:
        """The associations that are not over, including those that are being negotiated.

        An association is one from its A-ASSOCIATE-RQ until its connection is closed, or until what
        tells of that is done.
        """
        return [path.assoc for path in list(self._associations) if path.is_active]

    @property
    def counts(self) -> Counts:
        """The counts since the server was started, for a monitoring system."""
        active = [path for path in list(self._associations) if path.is_active]
        established = sum(path.is_established for path in active)
        counts = self.counters.counts(len(self.connections.connected), established)
        if self.loop is None:  # there are no threads yet
            return counts
        workers = self.threads.handler_workers, self.threads.service_workers
        threads, busy, waiting = (
            dict(zip(("handler", "service"), numbers, strict=True))
            for numbers in zip(*(pool.state() for pool in workers), strict=True)
        )
        return counts._replace(
            waiting_bytes=self.memory.waiting,
            threads=threads,
            busy_threads=busy,
            waiting_jobs=waiting,
        )

    @property
    def accepts_connections(self) -> bool:
        """Whether it runs, and is not being shut down."""
        return self.loop is not None and not self._is_to_stop and not self._ended.is_set()

    def make_association(self, path: Dispatcher) -> Association:
        """Make the association of a protocol."""
        return Association(self, path)

    def negotiated(self, request: bytes, settings: AESettings) -> Accepted | None:
        """Return the answer to an A-ASSOCIATE-RQ; None where pynetdicom has to negotiate."""
        if len(self._associations) > settings.maximum_associations:
            return None
        if (len(self.ae._servers) > 1 or self.share is not None) and not self.accepts_more():
            return None
        accepted = self.negotiations.accept(request, settings)
        if accepted is not None and _logs_acceptances(logging.INFO):
            _ACSE_LOGGER.info("Accepting Association")
        return accepted

    def leave(self, number: int) -> None:
        """Count a handler that still runs after its peer has disconnected: 1, or -1 at its end.

        Each association is to have a thread, so the pool gets another one meanwhile.
        """
        self._left += number
        if self._may_add_workers:
            self.threads.handler_workers.limit = min(self._max_workers + self._left, _MAX_THREADS)

    def forget(self, path: Dispatcher) -> None:
        """Remove an association that is over."""
        self._associations.pop(path, None)
        self.keeps_share()
        if self.is_releasing and not self._associations:
            self.threads.call(self._stopped.set)

    def accepts_more(self) -> bool:
        """Return whether there are fewer associations than the AE's limit, whatever their state."""
        ae: Any = self.ae
        number = 0
        for server in ae._servers:
            if not isinstance(server, Server):
                return False
            number += len(server._associations)
        return number <= int(ae.maximum_associations) and self.keeps_share()

    def keeps_share(self) -> bool:
        """Return whether all server processes together have no more than their limit."""
        return self.share is None or self.share.is_kept(len(self._associations))

    def _has_room(self) -> None:
        self.threads.call(self._read_on)

    def _read_on(self) -> None:
        """Resume reading for associations that were paused by the memory limit."""
        for path in list(self.connections.connected):
            if path.is_reading_paused:
                path.assoc.flow.resume()

    # -- Running -----------------------------------------------------------------------------------

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve in the running event loop until shut down.

        Parameters
        ----------
        started : callable
            Called once connections are taken.
        """
        self.loop = asyncio.get_running_loop()
        # Two service threads per association: its job, and its upper layer.
        services = 2 * self.limits.connections_for(self.ae.maximum_associations)
        self.threads = Threads(self.loop, self._max_workers, services, self._variables)
        self.coroutines = CoroutineHandlers(self.threads, self.tasks)
        self.start_task = partial(_eager_tasks.start_task, self.loop)
        self.listener = Listener(self, self._proxies)
        await self.listener.listen()
        started()
        if self._is_to_stop:  # before there was a loop to tell
            self._stopping.set()
        try:
            await self._stopping.wait()
        finally:
            if not self._is_to_stop:  # cancelled
                self.stop()
            try:
                await self.listener.stop()
                await asyncio.sleep(0)
                self.server_close()
                await self._end_associations()
            finally:
                self._close()

    @property
    def ssl_context(self) -> Any:
        """The `ssl.SSLContext` for TLS, or None; another one applies to new connections."""
        return self._ssl_context

    @ssl_context.setter
    def ssl_context(self, context: Any) -> None:
        _set_ssl_context(self, context)
        if self.loop is None:
            return
        if self.threads.is_loop_thread():
            task = self.loop.create_task(self.listener.listen())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            asyncio.run_coroutine_threadsafe(self.listener.listen(), self.loop).result()

    async def _end_associations(self) -> None:
        """Wait for the associations to end; abort the remaining ones at the deadline."""
        self.is_releasing = True
        quiet_looks: dict[Dispatcher, int] = {}
        # Short waits, as a second call of `stop` may bring the deadline forward.
        while self._associations and (left := self.deadline - time.monotonic()) > 0:
            self._stopped.clear()
            seconds = max(min(self._quiet / _LOOKS_PER_QUIET, left, 0.1), 0.01)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), seconds)
            for path in list(self._associations):
                # Counted, not measured: while the loop stands still, no request can be seen.
                looks = quiet_looks[path] = (
                    quiet_looks.get(path, 0) + 1 if path.assoc.is_quiet() else 0
                )
                if looks and looks * seconds >= self._quiet and not path.is_ending:
                    path.assoc.end_soon()
        if active := self.active_associations:
            _LOGGER.warning(
                "Aborting %d associations at shutdown, which cuts off %d requests",
                *(len(active), sum(assoc.unanswered() for assoc in active)),
            )
        for path in list(self.connections.connected):
            path.assoc.read_no_more()
        for path in list(self._associations):
            path.assoc.request_abort("shutdown")
        end = time.monotonic() + self._closing_timeout
        while (self.connections.connected or self.aborting) and time.monotonic() < end:
            await asyncio.sleep(0.001)
        for path in list(self.connections.connected):
            path.abort()
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=self._closing_timeout)
        await asyncio.sleep(0)
        for path in list(self._associations):
            path.assoc.end()  # its handler has not returned

    def _close(self) -> None:
        self.threads.close()
        self._leave()

    def abandon(self) -> None:
        """Close a server that could not be started, or whose loop was interrupted."""
        self.server_close()
        self._leave()

    def _leave(self) -> None:
        servers: list[Any] = self.ae._servers
        if self in servers:
            servers.remove(self)
        self._ended.set()

    def end_in_child(self) -> None:
        """Close a forked process's copy of the server; the parent's goes on.

        Neither the loop is touched, whose epoll they share, nor is a connection shut down.
        """
        # Threads that do not exist in this process may have held these.
        bindings, connected = self.connections.bindings, self.connections.connected
        self.connections, self._ended = Connections(self), threading.Event()
        self.connections.bindings = bindings
        self.counters.renew()
        null = os.open(os.devnull, os.O_RDWR)
        for path in connected:
            path.close_in_child(null)
        os.close(null)
        for sock in (self.socket, *([] if self.listener is None else self.listener.sockets)):
            if sock is not None and sock.fileno() >= 0:
                os.close(sock.detach())
        self.tasks = set()
        self.loop = self.thread = self.task = None
        self._leave()

    def stop(self, timeout: float = SHUTDOWN_TIMEOUT, quiet: float = QUIET) -> None:
        """Begin to shut down, without waiting; from any thread.

        Parameters
        ----------
        timeout, quiet : float
            As for `shutdown`.
        """
        self.deadline = min(self.deadline, time.monotonic() + timeout)
        self._quiet = min(self._quiet, quiet, timeout / 2)
        self._is_to_stop = True
        if self.loop is None:
            return
        try:
            self.loop.call_soon_threadsafe(self._stopping.set)
        except RuntimeError:  # the loop is closed
            self._ended.set()

    def interrupt(self) -> None:
        """Begin to shut down; the second call aborts the remaining associations."""
        if self._is_to_stop:
            self._closing_timeout = 0.1
            self.stop(0)
        else:
            self.stop()

    def shutdown(self, timeout: float = SHUTDOWN_TIMEOUT, quiet: float = QUIET) -> None:
        """Stop accepting connections, answer the requests that still arrive, and end.

        Returns when that is done; in a handler's thread, or the loop's, at once.

        Parameters
        ----------
        timeout : float
            Seconds after which associations that have not ended are aborted, and nothing is read
            any more.
        quiet : float
            Seconds without a request after which an association is asked to be released. Half the
            `timeout` where that is less.
        """
        self.stop(timeout, quiet)
        if self.loop is None or not self.threads.is_own_thread():
            self._ended.wait()
            thread = self.thread
            if thread is not None:
                thread.join()

    async def wait_closed(self) -> None:
        """Wait until the server has been shut down; in its loop."""
        if self.task is not None:
            await asyncio.wait([self.task])

    async def close(self, timeout: float = SHUTDOWN_TIMEOUT, quiet: float = QUIET) -> None:
        """Shut down, and wait until that is done; in the server's loop.

        Parameters
        ----------
        timeout, quiet : float
            As for `shutdown`.
        """
        self.stop(timeout, quiet)
        await self.wait_closed()

    thread: threading.Thread | None = None
    task: "asyncio.Task[None] | None" = None

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


_servers: "weakref.WeakSet[Server]" = weakref.WeakSet()


def _end_in_child() -> None:
    for server in list(_servers):
        server.end_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_in_child)


def _with_ours(stock: Any) -> property:
    """Return a property that includes the associations of `Server`s, which are not threads."""

    def active_associations(self: ApplicationEntity) -> list[Any]:
        """Return a list of the AE's active associations, requestors and acceptors."""
        ours = [
            assoc
            for server in self._servers
            if isinstance(server, Server)
            for assoc in server.active_associations
        ]
        return [*stock.fget(self), *ours]

    return property(active_associations)


# pynetdicom finds an AE's associations among the threads of the process. The property also returns
# those of nset's servers, so that programs see them and the limit of associations counts them.
ApplicationEntity.active_associations = _with_ours(  # type: ignore[method-assign,assignment]
    ApplicationEntity.active_associations
)
