"""Server processes that share a listening socket, and their parent, which watches over them."""

import logging
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

from nset.scp._counters import Counts, total
from nset.scp._run import kept_signals, run_server
from nset.scp._server import SHUTDOWN_TIMEOUT, Server
from nset.scp._shared import Place, Share, places

_LOGGER = logging.getLogger("nset")

# A process that ends sooner is started again only after these seconds, which double.
_STEADY_SECONDS = 1.0
_FIRST_DELAY_SECONDS = 0.1
_MAX_DELAY_SECONDS = 10.0

# How often a process publishes its counts.
_COUNTING_SECONDS = 0.5

# A process whose event loop has stood still for so long is not healthy.
_HEALTHY_NS = 2_000_000_000

# For what runs beside the servers to end.
_OTHERS_SECONDS = 2.0

# What servers have beyond their own time to shut down, until they are killed.
_KILLING_SECONDS = 5.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Processes:
    """The server processes of `nset.scp.run`, as their parent and each of them sees them.

    Parameters
    ----------
    server_address : tuple
        Where they listen.
    number : int
        How many there are.

    Attributes
    ----------
    server_address : tuple
        Where they listen; with port 0 the one that was free.
    """

    def __init__(self, server_address: Any, number: int) -> None:
        self.server_address = server_address
        self._places = places(number)

    @property
    def counts(self) -> Counts:
        """The counts of all processes together, also of those that have ended.

        Each process publishes its own every half second, and at its end; only what one that is
        killed has counted since is lost.
        """
        return total(counts for place in self._places if (counts := place.counts) is not None)

    @property
    def pids(self) -> list[int]:
        """The IDs of the processes that accept connections now."""
        return [pid for place in self._places if (pid := place.pid)]

    @property
    def are_healthy(self) -> bool:
        """Whether the event loops of all processes that serve have worked in the last 2 seconds.

        False if there is none.
        """
        turns = [turn for place in self._places if (turn := place.turn)]
        return bool(turns) and time.monotonic_ns() - min(turns) < _HEALTHY_NS


class _Child:
    """A child process, which is started again whenever it has ended.

    Parameters
    ----------
    work : callable
        What it does.
    place : Place, optional
        Its place, if it is a server.
    """

    process: Any = None
    due = 0.0  # when it is to be started, by the monotonic clock
    _since = 0.0
    _delay = 0.0  # seconds

    def __init__(self, work: Callable[[], None], place: Place | None = None) -> None:
        self._work = work
        self.place = place

    @property
    def is_up(self) -> bool:
        """Whether it runs and, as a server, accepts connections."""
        return self.process is not None and (self.place is None or self.place.pid != 0)

    def start(self) -> None:
        """Start it; until it has handlers of its own, signals wait."""
        fork: Any = multiprocessing.get_context("fork")
        process = fork.Process(target=self._work)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
        except OSError:
            self._put_off(is_steady=False)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self.process = process
        self._since = time.monotonic()

    def _put_off(self, *, is_steady: bool) -> None:
        """Note when to start it again: at once if it ran for long enough."""
        self._delay = 0.0 if is_steady else max(2 * self._delay, _FIRST_DELAY_SECONDS)
        self._delay = min(self._delay, _MAX_DELAY_SECONDS)
        self.due = time.monotonic() + self._delay

    def end(self) -> str | None:
        """Return how it has ended, and note when to start it again; None if it runs."""
        code = None if self.process is None else self.process.exitcode
        if code is None:
            return None
        self._put_off(is_steady=time.monotonic() - self._since >= _STEADY_SECONDS)
        if self.place is not None:
            self.place.vacate()
        pid = self.process.pid
        self.process.close()
        self.process = None
        name = "Server process" if self.place is not None else "The process beside the servers"
        return f"{name} {pid} has ended ({_how(code)})"

    def send(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.process.exitcode is None:
            os.kill(self.process.pid, number)


class Parent:
    """The process that starts and ends the server processes; it does no DICOM.

    Parameters
    ----------
    sock : socket.socket
        The bound socket, from which all servers accept; the parent closes it at the end.
    number : int
        How many servers there are.
    make : callable
        Makes a server of its handlers, in its process.
    handlers : callable
        Returns a context manager that gives the handlers; called in each server's process.
    most : int or None
        The limit of associations of all processes together.
    beside : callable, optional
        Called with the `Processes` in one more process.
    """

    def __init__(
        self,
        sock: socket.socket,
        number: int,
        make: Callable[[Any], Server],
        handlers: Callable[[], AbstractContextManager[Any]],
        most: int | None,
        beside: Callable[[Processes], object] | None,
    ) -> None:
        self.processes = Processes(sock.getsockname(), number)
        self._sock, self._make, self._handlers, self._most = sock, make, handlers, most
        self._servers = [
            _Child(partial(self._in_child, partial(self._serve, place)), place)
            for place in self.processes._places
        ]
        self._others = []
        if beside is not None:
            work = partial(self._do_beside, beside)
            self._others.append(_Child(partial(self._in_child, work)))
        self._signals: list[int] = []  # that have come
        self._is_ending = False
        self._deadline = math.inf  # for servers that are to end, by the monotonic clock

    # -- In the parent -----------------------------------------------------------------------------

    def run(self, started: Callable[[Processes], object]) -> None:
        """Keep the processes going until SIGTERM or SIGINT, and end them.

        Parameters
        ----------
        started : callable
            Called with the `Processes` once all servers accept connections.

        Raises
        ------
        ChildProcessError
            If a process ends before that.
        OSError
            If a process cannot be forked before that.
        """
        with ExitStack() as stack:
            stack.callback(self._sock.close)
            self._lifeline = _pipe(stack)  # ends when the parent does, in whatever way
            self._wakeups = _pipe(stack)  # written to by signals, and by servers that are up
            os.set_blocking(self._wakeups[1], False)
            stack.enter_context(kept_signals(signal.SIGCHLD))
            for number in (*_SIGNALS, signal.SIGCHLD):
                signal.signal(number, lambda number, _: self._signals.append(number))
            before = signal.set_wakeup_fd(self._wakeups[1], warn_on_full_buffer=False)
            stack.callback(signal.set_wakeup_fd, before)
            stack.callback(self._end_others)
            try:
                self._watch(started)
            except BaseException:
                self._end_servers()
                self._watch(started)
                raise

    def _watch(self, started: Callable[[Processes], object]) -> None:
        """Start the processes, again when they have ended; return once the servers are to end."""
        children, has_started = [*self._servers, *self._others], False
        while True:
            self._act_on_signals()
            now = time.monotonic()
            for child in children:
                if (how := child.end()) and not self._is_ending:
                    if not has_started:
                        raise ChildProcessError(f"{how} before all had started: see its log")
                    _LOGGER.error("%s; the next one starts in %.1f s", how, child.due - now)
                elif how:
                    _LOGGER.debug("%s", how)
                if child.process is None and child.due <= now and not self._is_ending:
                    try:
                        child.start()
                    except OSError as exc:  # as of a limit of processes, or of memory
                        if not has_started:
                            raise
                        _LOGGER.error(
                            "Can't start a process: %s; the next attempt is in %.1f s",
                            *(exc, child.due - now),
                        )
            if self._is_ending:
                if not any(child.process for child in self._servers):
                    return
            elif not has_started and all(child.is_up for child in children):
                has_started = True
                started(self.processes)
            due = [] if self._is_ending else [one.due for one in children if not one.process]
            self._wait(min([*due, self._deadline]))

    def _wait(self, until: float) -> None:
        """Wait for a signal or a server that is up, at most until then by the monotonic clock."""
        seconds = None if until == math.inf else max(until - time.monotonic(), 0)
        if multiprocessing.connection.wait([self._wakeups[0]], seconds):
            os.read(self._wakeups[0], 0x1000)

    def _act_on_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGINT and self._is_ending:
                self._send(signal.SIGQUIT)
            elif number in _SIGNALS:
                self._end_servers()
        if time.monotonic() >= self._deadline:
            _LOGGER.error("Killing the server processes that have not ended")
            self._deadline = math.inf
            self._send(signal.SIGKILL)

    def _end_servers(self) -> None:
        """Have the servers shut down."""
        if not self._is_ending:
            self._is_ending = True
            self._deadline = time.monotonic() + SHUTDOWN_TIMEOUT + _KILLING_SECONDS
            self._sock.close()
            self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        for child in self._servers:
            child.send(number)

    def _end_others(self) -> None:
        for child in self._others:
            for number in (signal.SIGTERM, signal.SIGKILL):
                child.send(number)
                if child.process is not None:
                    child.process.join(_OTHERS_SECONDS)

    # -- In a child --------------------------------------------------------------------------------

    def _in_child(self, work: Callable[[], None]) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes to all; the parent acts on it
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(self._lifeline[1])
        try:
            work()
        except Exception:
            _LOGGER.exception("The process %d has failed", os.getpid())
            sys.exit(1)

    def _serve(self, place: Place) -> None:
        with self._handlers() as handlers:
            server = self._make(handlers)
            server.share = Share(self.processes._places, place, self._most)
            before = [] if place.counts is None else [place.counts]

            def publish() -> None:
                place.counts = total([*before, server.counts])
                place.turn = time.monotonic_ns()
                place.pid = os.getpid() if server.accepts_connections else 0

            def publish_often() -> None:
                publish()
                server.loop.call_later(_COUNTING_SECONDS, publish_often)

            def started(server: Server) -> None:
                loop = server.loop
                loop.add_signal_handler(signal.SIGTERM, stop)
                loop.add_signal_handler(signal.SIGQUIT, server.interrupt)
                loop.add_reader(self._lifeline[0], orphaned)
                publish_often()
                os.write(self._wakeups[1], b"\0")

            def stop() -> None:
                server.stop()
                publish()

            def orphaned() -> None:
                _LOGGER.error("The parent of the server processes is gone: shutting down")
                server.loop.remove_reader(self._lifeline[0])
                stop()

            run_server(server, started)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has been heard
            publish()
            place.turn = 0

    def _do_beside(self, beside: Callable[[Processes], object]) -> None:
        self._sock.close()  # else it would listen on when the servers have ended
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        beside(self.processes)

    def _end_with_parent(self) -> None:
        # It may not block: a server's loop has set that, and they all have the same pipe.
        multiprocessing.connection.wait([self._lifeline[0]])
        os._exit(1)


def _how(code: int) -> str:
    """Say how a process has ended, by multiprocessing's exit code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal, most of which have no name
        return f"signal {-code}"


def _pipe(stack: ExitStack) -> tuple[int, int]:
    """Return the ends of a pipe, for reading and for writing, until the stack is closed."""
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
