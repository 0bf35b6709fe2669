"""An event-driven acceptor under pynetdicom's `AE` and the same handlers.

``nset.scp.start_server(ae, ...)`` replaces ``ae.start_server(...)``; `serve` does so in a program
with an event loop of its own, and `run` in several processes. The DIMSE-N services and C-ECHO run
on the fast path; everything else is pynetdicom's own code, without its threads.
"""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any, Literal, overload

from pynetdicom.ae import ApplicationEntity

from nset.scp._counters import Counts
from nset.scp._limits import Limits, check_count
from nset.scp._processes import Parent, Processes, usable_cpus
from nset.scp._proxy import Trusted
from nset.scp._run import kept_signals, run_in_thread, run_server, stop_on_signals
from nset.scp._server import QUIET, SHUTDOWN_TIMEOUT, Server
from nset.scp._sockets import address_of, bound

__all__ = [
    "QUIET",
    "SHUTDOWN_TIMEOUT",
    "Counts",
    "Limits",
    "Processes",
    "Server",
    "run",
    "serve",
    "start_server",
]


@overload
def start_server(
    ae: ApplicationEntity,
    address: Any,
    block: Literal[True] = True,
    ssl_context: Any = None,
    evt_handlers: list[Any] | None = None,
    ae_title: str | None = None,
    contexts: list[Any] | None = None,
    *,
    inline: bool = False,
    workers: int | None = None,
    limits: Limits | None = None,
    reuse_port: bool = False,
    sock: socket.socket | None = None,
    metrics: bool = False,
    proxy_protocol: bool | Iterable[str] = False,
) -> None: ...


@overload
def start_server(
    ae: ApplicationEntity,
    address: Any,
    block: Literal[False],
    ssl_context: Any = None,
    evt_handlers: list[Any] | None = None,
    ae_title: str | None = None,
    contexts: list[Any] | None = None,
    *,
    inline: bool = False,
    workers: int | None = None,
    limits: Limits | None = None,
    reuse_port: bool = False,
    sock: socket.socket | None = None,
    metrics: bool = False,
    proxy_protocol: bool | Iterable[str] = False,
) -> Server: ...


@overload
def start_server(
    ae: ApplicationEntity,
    address: Any,
    block: bool,
    ssl_context: Any = None,
    evt_handlers: list[Any] | None = None,
    ae_title: str | None = None,
    contexts: list[Any] | None = None,
    *,
    inline: bool = False,
    workers: int | None = None,
    limits: Limits | None = None,
    reuse_port: bool = False,
    sock: socket.socket | None = None,
    metrics: bool = False,
    proxy_protocol: bool | Iterable[str] = False,
) -> Server | None: ...


def start_server(
    ae: ApplicationEntity,
    address: Any,
    block: bool = True,
    ssl_context: Any = None,
    evt_handlers: list[Any] | None = None,
    ae_title: str | None = None,
    contexts: list[Any] | None = None,
    *,
    inline: bool = False,
    workers: int | None = None,
    limits: Limits | None = None,
    reuse_port: bool = False,
    sock: socket.socket | None = None,
    metrics: bool = False,
    proxy_protocol: bool | Iterable[str] = False,
) -> Server | None:
    """Accept associations for an AE, as its own ``start_server`` does.

    Parameters
    ----------
    ae : pynetdicom.ae.ApplicationEntity
        The AE, with its titles, contexts, timeouts and limits.
    address : tuple
        ``(host, port)``, for IPv6 also ``(host, port, flowinfo, scope_id)``. Port 0: any free port.
    block : bool
        Return only when the server was shut down: by SIGINT or SIGTERM in the main thread, or by
        another thread. If False, the server runs in a thread of its own.
    ssl_context : ssl.SSLContext, optional
        For TLS.
    evt_handlers : list of tuple, optional
        ``(event, handler)`` or ``(event, handler, args)``. A handler of a DIMSE service may be a
        coroutine function; it is then awaited in the server's loop.
    ae_title : str, optional
        The server's title, instead of the AE's.
    contexts : list of pynetdicom.presentation.PresentationContext, optional
        The supported contexts, instead of the AE's.
    inline : bool
        Call plain handlers of DIMSE-N services and C-ECHO in the event loop's thread: only for
        handlers that never block, since nothing else runs meanwhile.
    workers : int, optional
        The most threads for those handlers otherwise. By default one per association that the AE
        allows, at most 1000.
    limits : Limits, optional
        What peers may take of the server.
    reuse_port : bool
        Let other processes listen at the address, too, if they also set it (SO_REUSEPORT): the
        kernel gives each a part of the connections.
    sock : socket.socket, optional
        A bound TCP socket to listen with, such as one that systemd has passed on; `address` is
        None then. The server closes it at its end.
    metrics : bool
        Measure how long handlers and requests take, and count by SOP Class: see `Counts`, and
        `nset.scp.metrics`. Costs about 3 µs a request.
    proxy_protocol : bool or iterable of str
        The networks or addresses of proxies, as in ``["10.0.0.0/24", "::1"]``, whose connections
        begin with a header of the PROXY protocol, version 1 or 2: the peer's address is the one in
        it. A connection from there without one is closed; from elsewhere a header is refused, as
        any bytes that are no PDU. True: all connections begin with one.

    Returns
    -------
    Server or None
        None if `block` is True.

    Raises
    ------
    ValueError
        If the AE supports no context, the roles of a context contradict each other, `workers` is
        not an int above 0, not one of `address` and `sock` is given, the system does not have
        `reuse_port`, or `proxy_protocol` has what is not a network.
    OSError
        If the server cannot listen at the address, or an event loop cannot be created for lack of
        file descriptors.
    """
    server = _make(
        *(ae, address, sock),
        reuse_port=reuse_port,
        ssl_context=ssl_context,
        evt_handlers=evt_handlers,
        ae_title=ae_title,
        contexts=contexts,
        inline=inline,
        workers=workers,
        limits=limits,
        metrics=metrics,
        proxy_protocol=proxy_protocol,
    )
    if block:
        with suppress(KeyboardInterrupt), kept_signals():
            run_server(server, stop_on_signals)
        return None
    started: Future[None] = Future()
    server.thread = threading.Thread(
        target=run_in_thread, args=(server, started), name="nset-server", daemon=True
    )
    server.thread.start()
    started.result()
    return server


async def serve(
    ae: ApplicationEntity,
    address: Any,
    ssl_context: Any = None,
    evt_handlers: list[Any] | None = None,
    ae_title: str | None = None,
    contexts: list[Any] | None = None,
    *,
    inline: bool = False,
    workers: int | None = None,
    limits: Limits | None = None,
    reuse_port: bool = False,
    sock: socket.socket | None = None,
    metrics: bool = False,
    proxy_protocol: bool | Iterable[str] = False,
) -> Server:
    """Accept associations for an AE in the running event loop.

    Parameters
    ----------
    ae, address, ssl_context, evt_handlers, ae_title, contexts, inline, workers, limits, \
    reuse_port, sock, proxy_protocol, metrics
        As for `start_server`.

    Returns
    -------
    Server
        The server, which accepts connections. ``await server.close()`` or ``async with server:``
        shuts it down, ``await server.wait_closed()`` waits for that.

    Raises
    ------
    ValueError, OSError
        As for `start_server`.
    """
    server = _make(
        *(ae, address, sock),
        reuse_port=reuse_port,
        ssl_context=ssl_context,
        evt_handlers=evt_handlers,
        ae_title=ae_title,
        contexts=contexts,
        inline=inline,
        workers=workers,
        limits=limits,
        metrics=metrics,
        proxy_protocol=proxy_protocol,
    )
    loop = asyncio.get_running_loop()
    started: asyncio.Future[None] = loop.create_future()
    server.task = loop.create_task(server.run(lambda: started.set_result(None)))
    try:
        await asyncio.wait([server.task, started], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        server.task.add_done_callback(lambda _: server.abandon())  # if it has not started yet
        server.task.cancel()
        raise
    if not started.done():
        server.abandon()
        await server.task  # which raises its exception
    return server


def run(
    ae: ApplicationEntity,
    address: Any,
    processes: int | None = None,
    ssl_context: Any = None,
    evt_handlers: list[Any] | Callable[[], AbstractContextManager[list[Any]]] | None = None,
    ae_title: str | None = None,
    contexts: list[Any] | None = None,
    *,
    inline: bool = False,
    workers: int | None = None,
    limits: Limits | None = None,
    reuse_port: bool = False,
    sock: socket.socket | None = None,
    metrics: bool = False,
    proxy_protocol: bool | Iterable[str] = False,
    maximum_associations: int | None = None,
    started: Callable[[Processes], object] = lambda processes: None,
    beside: Callable[[Processes], object] | None = None,
) -> None:
    """Accept associations for an AE in several processes, until SIGTERM or SIGINT.

    This process forks them, and does no DICOM itself. It starts another one for each that ends,
    at once if that one has run for a second, else after a delay that doubles up to 10 seconds. By
    SIGTERM or SIGINT all shut down in good order, as `Server.shutdown` says; by a second SIGINT at
    once. If this process is killed, they shut down, too.

    It must be called in the main thread, before the program has started others, since a forked
    process has none of them.

    Parameters
    ----------
    ae : pynetdicom.ae.ApplicationEntity
        The AE. Its limits are those of each process.
    address
        As for `start_server`. All processes accept from one listening socket.
    processes : int, optional
        How many; by default one for each CPU that this process may use.
    evt_handlers : list of tuple or callable, optional
        The handlers, or a function that returns a context manager of them. That is entered in each
        process before it accepts connections, and left after its server has ended: the place for
        what cannot be forked, such as the connection to a database.
    ssl_context, ae_title, contexts, inline, workers, limits, reuse_port, sock, proxy_protocol, \
    metrics
        As for `start_server`.
    maximum_associations : int, optional
        The most associations of all processes together; a request above it is rejected (local limit
        exceeded). By default there is only the AE's limit for each process.
    started : callable, optional
        Called with the `Processes`, in this process, once all accept connections. It must not start
        a thread.
    beside : callable, optional
        Called with the `Processes` in one more process, which is started again when it ends, and
        ended by SIGTERM when the servers have: the place for what watches them, such as an
        endpoint for metrics.

    Raises
    ------
    ValueError
        As `start_server` does, and if this is not the main thread.
    OSError
        If the address cannot be had, or the processes cannot be forked at first.
    ChildProcessError
        If a process ends before all have started; its log says why.
    NotImplementedError
        If the system cannot fork processes, as Windows.
    """
    if not hasattr(os, "fork"):
        raise NotImplementedError(
            f"{sys.platform} cannot fork processes: start several programs, each with its own "
            "address, and a load balancer before them"
        )
    number = usable_cpus() if processes is None else processes
    check_count("processes", number)
    if maximum_associations is not None:
        check_count("maximum_associations", maximum_associations)
    address_of(address, sock, reuse_port=reuse_port)
    Trusted(proxy_protocol)  # an error here rather than in each process
    listening = sock or bound(address, reuse_port=reuse_port)

    def make(handlers: list[Any] | None) -> Server:
        return _make(
            *(ae, None, listening),
            ssl_context=ssl_context,
            evt_handlers=handlers,
            ae_title=ae_title,
            contexts=contexts,
            inline=inline,
            workers=workers,
            limits=limits,
            metrics=metrics,
            proxy_protocol=proxy_protocol,
        )

    handlers = evt_handlers if callable(evt_handlers) else partial(nullcontext, evt_handlers)
    Parent(listening, number, make, handlers, maximum_associations, beside).run(started)


def _make(
    ae: ApplicationEntity,
    address: Any,
    sock: socket.socket | None,
    *,
    reuse_port: bool = False,
    **options: Any,
) -> Server:
    server: Any = ae.make_server(
        address_of(address, sock, reuse_port=reuse_port),
        server_class=Server,
        sock=sock,
        reuse_port=reuse_port,
        **options,
    )
    return server  # type: ignore[no-any-return]
