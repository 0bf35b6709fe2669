"""Runs a server in an event loop of its own, in the main thread or in another one; signals."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from nset.scp._server import Server

# Seconds until Ctrl-C is noticed on Windows.
_WAKE_UP_SECONDS = 0.5


def run_in_thread(server: Server, started: "Future[None]") -> None:
    """Run the server; pass an exception at its start to the waiting thread."""
    try:
        run_server(server, lambda _: started.set_result(None))
    except BaseException as exc:
        if started.done():
            raise
        started.set_exception(exc)


def run_server(server: Server, started: Any) -> None:
    """Run the server in an event loop of its own, and end it with the loop."""
    try:
        loop = new_loop()
        try:
            asyncio.set_event_loop(loop)
            _run_to_end(loop, server, loop.create_task(server.run(lambda: started(server))))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    except BaseException:
        server.abandon()
        raise


def _run_to_end(loop: Any, server: Server, task: "asyncio.Task[None]") -> None:
    """Run the loop until the server has ended.

    The `sys.exit()` of a coroutine breaks off the loop. In a thread of its own that goes on; in the
    main one the program is to end, as by Ctrl-C, but not before the server has in good order. Only
    a second Ctrl-C does not wait for that.
    """
    interrupt: BaseException | None = None
    while not task.done():
        try:
            loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit) as exc:
            if threading.current_thread() is not threading.main_thread():
                continue
            if interrupt is not None and isinstance(exc, KeyboardInterrupt):
                raise
            interrupt = interrupt or exc
            server.stop()
    task.result()
    if interrupt is not None:
        raise interrupt


def new_loop() -> Any:
    """Return a new event loop, uvloop's if that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def stop_on_signals(server: Server) -> None:
    """Shut down in good order by SIGTERM or SIGINT, and at once by a second Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        return
    try:
        server.loop.add_signal_handler(signal.SIGINT, server.interrupt)
        server.loop.add_signal_handler(signal.SIGTERM, server.stop)
    except NotImplementedError:
        # Not by KeyboardInterrupt, which could interrupt the loop anywhere.
        signal.signal(signal.SIGINT, lambda *_: server.interrupt())
        _wake_up(server.loop)


@contextmanager
def kept_signals(*more: int) -> Iterator[None]:
    """Restore the signal handlers that `stop_on_signals` replaces, and those of `more` signals."""
    kept: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        kept = {
            number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, *more)
        }
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None:  # else it was not set by Python
                signal.signal(number, handler)


def _wake_up(loop: Any) -> None:
    """Wake the loop for Ctrl-C: on Windows a waiting loop does not notice it."""
    loop.call_later(_WAKE_UP_SECONDS, _wake_up, loop)
