"""An event-driven acceptor under pynetdicom's `AE` and the same handlers.

``nset.scp.start_server(ae, ...)`` replaces ``ae.start_server(...)``; `serve` does so in a program
with an event loop of its own. The DIMSE-N services and C-ECHO run on the fast path; everything else
is pynetdicom's own code, without its threads.
"""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal, overload

from pynetdicom.ae import ApplicationEntity

from nset.scp._counters import Counts
from nset.scp._limits import Limits
from nset.scp._run import kept_signals, run, run_in_thread, stop_on_signals
from nset.scp._server import QUIET, SHUTDOWN_TIMEOUT, Server

__all__ = ["QUIET", "SHUTDOWN_TIMEOUT", "Counts", "Limits", "Server", "serve", "start_server"]


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

    Returns
    -------
    Server or None
        None if `block` is True.

    Raises
    ------
    ValueError
        If the AE supports no context, the roles of a context contradict each other, or `workers` is
        not an int above 0.
    OSError
        If the server cannot listen at the address, or an event loop cannot be created for lack of
        file descriptors.
    """
    server = _make(
        *(ae, address),
        ssl_context=ssl_context,
        evt_handlers=evt_handlers,
        ae_title=ae_title,
        contexts=contexts,
        inline=inline,
        workers=workers,
        limits=limits,
    )
    if block:
        with suppress(KeyboardInterrupt), kept_signals():
            run(server, stop_on_signals)
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
) -> Server:
    """Accept associations for an AE in the running event loop.

    Parameters
    ----------
    ae, address, ssl_context, evt_handlers, ae_title, contexts, inline, workers, limits
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
        *(ae, address),
        ssl_context=ssl_context,
        evt_handlers=evt_handlers,
        ae_title=ae_title,
        contexts=contexts,
        inline=inline,
        workers=workers,
        limits=limits,
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


def _make(ae: ApplicationEntity, address: Any, **options: Any) -> Server:
    server: Any = ae.make_server(address, server_class=Server, **options)
    return server  # type: ignore[no-any-return]
