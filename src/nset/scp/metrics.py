"""The counts of a server for Prometheus, and an HTTP endpoint for them and for health checks.

Needs the extra ``nset[metrics]``. `Collector` is for a program that has an endpoint of its own,
`start_http_server` and `serve_http` are one.
"""

import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily as _COUNTER
from prometheus_client.core import GaugeMetricFamily as _GAUGE
from prometheus_client.core import (
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector as _Collector

from nset.logs import address_name
from nset.scp._counters import Counts
from nset.scp._measurements import BOUNDS_SECONDS

_LOGGER = logging.getLogger("nset")

__all__ = ["Collector", "HttpServer", "Source", "serve_http", "start_http_server"]

# A server whose event loop does not answer within this time is not healthy.
_HEALTHY_SECONDS = 2.0

# For a client to send its request, and to read the answer.
_CLIENT_SECONDS = 10.0

# Connections at a time; for another one the oldest is closed.
_MAX_CLIENTS = 100

# Seconds until connections are taken again when there were no descriptors.
_RETRY_SECONDS = 0.1


class Source(Protocol):
    """What is watched: a `nset.scp.Server`, or the processes of ``nset.scp.run``."""

    @property
    def counts(self) -> Counts:
        """Its counts."""


# Kind, name, field of `Counts`, text, labels.
_METRICS: Final[tuple[tuple[Any, str, str, str, list[str]], ...]] = (
    (_COUNTER, "connections", "connections", "Accepted connections.", []),
    (
        *(_COUNTER, "refused_connections", "refused_connections"),
        *("Connections closed since there were too many.", []),
    ),
    (_COUNTER, "associations", "associations", "Accepted associations.", []),
    (_COUNTER, "rejected_associations", "rejected", "Rejected associations.", []),
    (_COUNTER, "released_associations", "released", "Released associations.", []),
    (_COUNTER, "aborted_associations", "aborted", "Aborted associations.", ["reason"]),
    (_COUNTER, "received_requests", "requests", "Received requests of all services.", []),
    (
        *(_COUNTER, "requests", "answered", "Requests that have got their last response."),
        ["service", "sop_class", "status"],
    ),
    (_COUNTER, "responses", "responses", "Sent responses by category of status.", ["status"]),
    (_COUNTER, "received_bytes", "bytes_received", "Received bytes, those of TLS aside.", []),
    (_COUNTER, "sent_bytes", "bytes_sent", "Sent bytes, those of TLS aside.", []),
    (_GAUGE, "open_connections", "open_connections", "Connections that are open.", []),
    (_GAUGE, "open_associations", "open_associations", "Established associations.", []),
    (_GAUGE, "waiting_bytes", "waiting_bytes", "Bytes that are received or wait.", []),
    (_GAUGE, "threads", "threads", "Threads of a pool of workers.", ["pool"]),
    (_GAUGE, "busy_threads", "busy_threads", "Threads of a pool that are at work.", ["pool"]),
    (_GAUGE, "waiting_jobs", "waiting_jobs", "Jobs that wait for a thread.", ["pool"]),
)
_TIMES: Final = (
    ("handler", "Time that handlers take."),
    ("request", "Time from a request to its last response."),
)


class Collector(_Collector):
    """The counts of a server as metrics, read when they are asked for.

    Times, and requests by service, SOP Class and status, are there if the server was started with
    ``metrics=True``.

    Parameters
    ----------
    source : Server or Processes
        What is watched.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def describe(self) -> list[Metric]:
        """Return nothing: registering the collector does not read the counts."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        counts = self._source.counts
        for kind, name, field, text, labels in _METRICS:
            metric, value = kind(f"nset_{name}", text, labels=labels), getattr(counts, field)
            for key, number in value.items() if labels else [((), value)]:
                metric.add_metric(key if isinstance(key, tuple) else (key,), number)
            yield metric
        if hasattr(self._source, "pids"):
            text = "Server processes that accept connections."
            yield _GAUGE("nset_processes", text, value=len(self._source.pids))
        for name, text in _TIMES:
            yield _histogram(
                HistogramMetricFamily(f"nset_{name}_seconds", text, labels=["service"]),
                getattr(counts, f"{name}_times"),
                getattr(counts, f"{name}_seconds"),
            )


def _histogram(
    histogram: HistogramMetricFamily,
    numbers: dict[tuple[str, float], int],
    seconds: dict[str, float],
) -> HistogramMetricFamily:
    """Fill in how often something took how long, by service."""
    for service, together in seconds.items():
        buckets, below = [], 0
        for bound in BOUNDS_SECONDS:
            below += numbers.get((service, bound), 0)
            buckets.append((("+Inf" if bound == float("inf") else str(bound)), below))
        histogram.add_metric([service], buckets, together)
    return histogram


class HttpServer(ThreadingHTTPServer):
    """An HTTP endpoint for monitoring; not for the public, as it has neither TLS nor passwords.

    ==============  =======================================================================
    ``/metrics``    the metrics, as text or as OpenMetrics
    ``/healthz``    200 as long as the event loop of the server, or those of all its
                    processes, work, else 503
    ``/readyz``     200 while connections are accepted and `is_ready` says so, else 503
    ==============  =======================================================================

    Parameters
    ----------
    address : tuple
        ``(host, port)``. Port 0: any free port, which `server_address` then has.
    source : Server or Processes
        What is watched.
    is_ready : callable, optional
        Whether the program can do its work, such as whether it has its database.
    registry : prometheus_client.CollectorRegistry, optional
        With metrics of the program, to which those of `source` are added.

    Raises
    ------
    OSError
        If it cannot listen at the address.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        source: Source,
        is_ready: Callable[[], bool] = lambda: True,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self._lock = threading.Lock()
        self._clients: dict[socket.socket, None] = {}  # guarded by it; the oldest first
        self.source = source
        self.is_ready = is_ready
        self.registry = CollectorRegistry() if registry is None else registry
        self.registry.register(Collector(source))

    def server_bind(self) -> None:
        """Bind the socket; without a look-up of the host's name, which may take long."""
        socketserver.TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; after an error not at once again, as it is there all the time."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_RETRY_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        with self._lock:
            if len(self._clients) >= _MAX_CLIENTS:
                oldest = next(iter(self._clients))
                del self._clients[oldest]
                with suppress(OSError):  # the client has closed it
                    oldest.shutdown(socket.SHUT_RDWR)  # so that its thread ends
            self._clients[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a request has failed with; nothing if its client has disconnected."""
        if not isinstance(sys.exc_info()[1], OSError):
            _LOGGER.exception("The HTTP request of %s has failed", address_name(client_address))


class _Handler(BaseHTTPRequestHandler):
    """Answers a request."""

    server: HttpServer
    timeout = _CLIENT_SECONDS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a GET or a HEAD."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            try:
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            except TypeError:  # of a version that is no number
                encode, content_type = choose_encoder("")
            self._answer(200, encode(self.server.registry), content_type)
        elif path in _CHECKS:
            is_well = _CHECKS[path](self.server)
            self._answer(200 if is_well else 503, b"ok\n" if is_well else b"not ok\n")
        else:
            self._answer(404, b"There are /metrics, /healthz and /readyz.\n")

    do_HEAD = do_GET

    def _answer(self, code: int, body: bytes, content_type: str = "text/plain") -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: health checks come all the time."""


def _is_healthy(server: HttpServer) -> bool:
    """Return whether the event loop works, or those of all processes."""
    source: Any = server.source
    if hasattr(source, "are_healthy"):
        return bool(source.are_healthy)
    loop = getattr(source, "loop", None)
    if loop is None:
        return _accepts(source)
    works = threading.Event()
    try:
        loop.call_soon_threadsafe(works.set)
    except RuntimeError:  # it is closed
        return False
    return works.wait(_HEALTHY_SECONDS)


def _accepts(source: Any) -> bool:
    """Return whether connections are accepted."""
    if hasattr(source, "pids"):
        return bool(source.pids)
    return bool(source.accepts_connections)


_CHECKS: Final[dict[str, Callable[[HttpServer], bool]]] = {
    "/healthz": _is_healthy,
    "/readyz": lambda server: _accepts(server.source) and server.is_ready(),
}


def start_http_server(
    address: tuple[str, int],
    source: Source,
    is_ready: Callable[[], bool] = lambda: True,
    registry: CollectorRegistry | None = None,
) -> HttpServer:
    """Answer HTTP requests in a thread of its own.

    Parameters
    ----------
    address, source, is_ready, registry
        As for `HttpServer`.

    Returns
    -------
    HttpServer
        The endpoint; ``shutdown()`` and ``server_close()`` end it.

    Raises
    ------
    OSError
        If it cannot listen at the address.
    """
    server = HttpServer(address, source, is_ready, registry)
    threading.Thread(target=server.serve_forever, name="nset-metrics", daemon=True).start()
    return server


def serve_http(
    address: tuple[str, int],
    source: Source,
    is_ready: Callable[[], bool] = lambda: True,
    registry: CollectorRegistry | None = None,
) -> None:
    """Answer HTTP requests in this thread, for good: as for ``nset.scp.run(beside=...)``.

    Parameters
    ----------
    address, source, is_ready, registry
        As for `HttpServer`.

    Raises
    ------
    OSError
        If it cannot listen at the address.
    """
    with HttpServer(address, source, is_ready, registry) as server:
        server.serve_forever()
