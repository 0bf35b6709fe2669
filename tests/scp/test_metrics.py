"""nset.scp: what a server measures, and what Prometheus and health checks get."""

import asyncio
import http.client
import importlib
import json
import math
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest
from acceptors import accepting, connected, entity, n_set_pdus, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed
from descriptors import one_descriptor_left
from durations import takes
from paths import REPOSITORY
from pynetdicom import evt
from raw_peer import Peer, reset_when_closed
from service_requests import SERVICES, sent
from services import CT, FIND, associated, echo_pdu, failure, image, patient, query

OBSERVER = (evt.EVT_PDU_SENT, lambda event: None)

parser = pytest.importorskip("prometheus_client.parser")


@pytest.fixture
def metrics(scp):
    return importlib.import_module("nset.scp.metrics")


def times(counts, what):
    """How many were measured, by service."""
    numbers = {}
    for (service, _), number in getattr(counts, f"{what}_times").items():
        numbers[service] = numbers.get(service, 0) + number
    assert numbers.keys() == getattr(counts, f"{what}_seconds").keys()
    return numbers


# -- What is measured ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
@pytest.mark.parametrize("observed", [False, True], ids=["short", "observed"])
def test_each_service(nset, kind, observed):
    answers = []

    def plain(event):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def as_task(event):
        return plain(event)

    handler = as_task if kind == "async" else plain
    bound = [(service.event, handler) for service in SERVICES.values()]
    bound += [OBSERVER] if observed else []
    ae = entity(*{service.classes[0] for service in SERVICES.values()})
    with accepting(nset, bound, ae, inline=kind == "inline", metrics=True) as server:
        for service in SERVICES.values():
            syntax, refused = service.classes[0], service.failure
            answers += [(0x0000, None), (refused, None)] if service.answers_by_two else [0, refused]
            answers.append(nset.StatusError(refused, "No"))
            details = failure(refused)  # which the fast path leaves to pynetdicom
            answers.append((details, None) if service.answers_by_two else details)
            with Peer(port(server), syntax) as peer:
                for number in range(4):
                    peer.send(sent(service.requests["usual"], syntax, number, context_id=1))
                    peer.receive_message()
                peer.release()
        counts = server.counts
    expected = {}
    for name, service in SERVICES.items():
        expected[name, service.classes[0], "Success"] = 1
        expected[name, service.classes[0], "Failure"] = 3
    assert counts.answered == expected
    assert times(counts, "handler") == times(counts, "request") == dict.fromkeys(SERVICES, 4)


def test_a_server_that_is_not_asked_to_measures_nothing(nset):
    with accepting(nset, [OBSERVER]) as server, Peer(port(server), MPPS) as peer:
        peer.send(n_set_pdus(nset))
        peer.receive_message()
        counts = server.counts
        assert counts.responses == {"Failure": 1}
        assert (counts.answered, times(counts, "handler"), times(counts, "request")) == ({}, {}, {})
        peer.release()


def test_times(nset):
    took = []

    async def slow(event):
        began = time.perf_counter()
        await asyncio.sleep(0.03)
        took.append(time.perf_counter() - began)
        return 0x0000, None

    with (
        accepting(nset, [(evt.EVT_N_SET, slow)], metrics=True) as server,
        Peer(port(server), MPPS) as peer,
    ):
        peer.send(n_set_pdus(nset))
        peer.receive_message()
        counts = server.counts
        peer.release()
    for what in ("handler", "request"):
        ((service, bound),) = getattr(counts, f"{what}_times")
        # The times of requests are by another clock.
        assert 0.9 * took[0] < getattr(counts, f"{what}_seconds")[service] <= bound


def test_services_with_many_answers(nset):
    def find(event):
        yield 0xFF00, patient(1)
        yield 0xFF00, patient(2)

    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_STORE, lambda event: 0xB000)]
    with associated(nset, handlers, FIND, CT, metrics=True) as (server, assoc, _):
        assert len(list(assoc.send_c_find(query(), FIND))) == 3
        assert assoc.send_c_store(image()).Status == 0xB000
        counts = server.counts
    assert counts.answered == {("C-FIND", FIND, "Success"): 1, ("C-STORE", CT, "Warning"): 1}
    assert times(counts, "handler") == times(counts, "request") == {"C-FIND": 1, "C-STORE": 1}


def test_sop_classes_that_a_peer_makes_up(nset):
    """They do not become as many labels."""
    with accepting(nset, metrics=True) as server, Peer(port(server), MPPS) as peer:
        for number in range(3):
            request = sent(SERVICES["N-SET"].requests["usual"], MPPS, number, context_id=1)
            made_up = MPPS.encode()[:-1] + b"%d" % (number + 6)
            peer.send(request.replace(MPPS.encode(), made_up))
            command_set, _ = peer.receive_message()
            assert command_set.Status == 0x0118
        assert server.counts.answered == {("N-SET", "other", "Failure"): 3}
        peer.release()


def test_what_an_association_has_bound_is_measured(nset):
    def answer(event):
        return 0x0000, None

    with associated(nset, None, MPPS, metrics=True) as (server, assoc, acceptor):
        acceptor.bind(evt.EVT_N_SET, answer)
        server.bind(evt.EVT_N_GET, answer)
        assert assoc.send_n_set(completed(), MPPS, INSTANCE)[0].Status == 0x0000
        assert times(server.counts, "handler") == {"N-SET": 1}


def test_workers_and_what_waits(nset):
    begun, may_go_on = threading.Event(), threading.Event()

    def handle(event):
        begun.set()
        may_go_on.wait(TIMEOUT)
        return 0x0000, None

    with accepting(nset, [(evt.EVT_N_SET, handle)], workers=1) as server:  # noqa: SIM117
        with Peer(port(server), MPPS) as one, Peer(port(server), MPPS) as other:
            for peer in (one, other):
                peer.send(n_set_pdus(nset))
            assert begun.wait(TIMEOUT)
            until(lambda: server.counts.waiting_jobs["handler"] == 1)
            counts = server.counts
            assert (counts.threads["handler"], counts.busy_threads["handler"]) == (1, 1)
            assert counts.threads.keys() == counts.busy_threads.keys() == {"handler", "service"}
            may_go_on.set()
            for peer in (one, other):
                peer.receive_message()
            until(lambda: server.counts.busy_threads["handler"] == 0)
            one.send(n_set_pdus(nset)[:-1])
            until(lambda: server.counts.waiting_bytes > 0)
            one.send(n_set_pdus(nset)[-1:])
            one.receive_message()
            for peer in (one, other):
                peer.release()


# -- What Prometheus gets --------------------------------------------------------------------------


def get(endpoint, path, **headers):
    """Status and body."""
    address = f"http://127.0.0.1:{endpoint.server_address[1]}{path}"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=TIMEOUT
        ) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(endpoint):
    status, text = get(endpoint, "/metrics")
    assert status == 200
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def endpoint_of(metrics, source, **options):
    endpoint = metrics.start_http_server(("127.0.0.1", 0), source, **options)
    try:
        yield endpoint
    finally:
        endpoint.shutdown()
        endpoint.server_close()


def handled(event):
    return 0x0000, None


def test_metrics(nset, metrics):
    handlers = [(evt.EVT_N_SET, handled)]
    ae = entity(MPPS, SERVICES["C-ECHO"].classes[0])
    with (
        accepting(nset, handlers, ae, metrics=True) as server,
        endpoint_of(metrics, server) as endpoint,
        Peer(port(server), MPPS) as peer,
    ):
        for number in range(2):
            peer.send(n_set_pdus(nset, number))
            peer.receive_message()
        with Peer(port(server), SERVICES["C-ECHO"].classes[0]) as other:
            other.send(echo_pdu())
            other.receive_message()
            other.send(bytes.fromhex("0700 00000004 00000000"))  # an A-ABORT
            until(lambda: server.counts.aborted)
        got = samples(endpoint)
        counts = server.counts
        peer.release()
    assert got["nset_connections_total",] == 2
    assert got["nset_open_connections",] == 1
    assert got["nset_associations_total",] == 2
    assert got["nset_open_associations",] == 1
    assert got["nset_aborted_associations_total", ("reason", "peer")] == 1
    assert got["nset_received_requests_total",] == 3
    assert got["nset_responses_total", ("status", "Success")] == 3
    assert got["nset_received_bytes_total",] == counts.bytes_received > 0
    assert got["nset_sent_bytes_total",] == counts.bytes_sent > 0
    assert got["nset_threads", ("pool", "handler")] >= 1
    of_mpps = ("service", "N-SET"), ("sop_class", MPPS), ("status", "Success")
    assert got[("nset_requests_total", *of_mpps)] == 2
    service = ("service", "N-SET")
    for what in ("handler", "request"):
        buckets = {
            float(key[1][1]): value
            for key, value in got.items()
            if key[0] == f"nset_{what}_seconds_bucket" and service in key
        }
        assert list(buckets.values()) == sorted(buckets.values())
        assert buckets[math.inf] == 2
        assert got[f"nset_{what}_seconds_count", service] == 2
        seconds = getattr(counts, f"{what}_seconds")["N-SET"]
        assert got[f"nset_{what}_seconds_sum", service] == pytest.approx(seconds)


def test_openmetrics(nset, metrics):
    with accepting(nset) as server, endpoint_of(metrics, server) as endpoint:
        _, text = get(endpoint, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")


def test_an_accept_header_that_is_none(nset, metrics):
    with accepting(nset) as server, endpoint_of(metrics, server) as endpoint:
        status, text = get(endpoint, "/metrics", Accept="application/openmetrics-text; version=x")
    assert (status, "nset_connections_total 0.0\n" in text) == (200, True)


def test_head(nset, metrics):
    """As load balancers ask; the connection goes on."""
    with accepting(nset) as server, endpoint_of(metrics, server) as endpoint:
        client = http.client.HTTPConnection(*endpoint.server_address, timeout=TIMEOUT)
        for path, status, length in (("/healthz", 200, "3"), ("/", 404, "42")):
            client.request("HEAD", path)
            response = client.getresponse()
            assert (response.status, response.headers["Content-Length"]) == (status, length)
            assert response.read() == b""
        client.close()


def test_many_clients(nset, metrics):
    """They take no more than so many threads and descriptors, and others are served."""

    def threads():
        return sum("process_request_thread" in one.name for one in threading.enumerate())

    with accepting(nset) as server, endpoint_of(metrics, server) as endpoint, ExitStack() as stack:
        clients = []
        for _ in range(metrics._MAX_CLIENTS + 10):
            client = socket.create_connection(endpoint.server_address, TIMEOUT)
            clients.append(stack.enter_context(client))
            client.sendall(b"GET /hea")
        assert get(endpoint, "/healthz") == (200, "ok\n")
        with takes(0, metrics._CLIENT_SECONDS / 2):  # until when they would be closed anyway
            assert [client.recv(1) for client in clients[:10]] == [b""] * 10
        until(lambda: threads() <= metrics._MAX_CLIENTS)
        clients[-1].sendall(b"lthz HTTP/1.0\r\n\r\n")
        assert clients[-1].recv(100).startswith(b"HTTP/1.1 200 OK")


def test_clients_that_come_together(nset, metrics):
    """The kernel keeps them all until they are accepted."""
    with (
        accepting(nset) as server,
        metrics.HttpServer(("127.0.0.1", 0), server) as endpoint,
        ExitStack() as stack,
    ):
        for _ in range(100):
            client = socket.create_connection(endpoint.server_address, TIMEOUT)
            stack.enter_context(client)


def test_there_are_no_descriptors(nset, metrics):
    """The endpoint does not take the processor from the server."""
    with (
        accepting(nset) as server,
        endpoint_of(metrics, server) as endpoint,
        socket.socket() as first,
        socket.socket() as second,
    ):
        for client in (first, second):
            client.settimeout(TIMEOUT)
        first.connect(endpoint.server_address)
        until(lambda: len(endpoint._clients) == 1)
        with one_descriptor_left(), open(os.devnull):
            second.connect(endpoint.server_address)
            began = time.process_time()
            time.sleep(1)  # as nothing happens
            assert time.process_time() - began < 0.2
        second.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert second.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_clients_that_disconnect_are_no_noise(nset, metrics, capfd, caplog, monkeypatch):
    ended, of_thread = threading.Event(), metrics.HttpServer.shutdown_request

    def shutdown_request(self, request):
        of_thread(self, request)
        ended.set()

    monkeypatch.setattr(metrics.HttpServer, "shutdown_request", shutdown_request)
    with accepting(nset) as server, endpoint_of(metrics, server) as endpoint:
        with socket.create_connection(endpoint.server_address, TIMEOUT) as client:
            client.sendall(b"GET /met")
            reset_when_closed(client)
        assert ended.wait(TIMEOUT)
    assert capfd.readouterr().err == ""
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_request_that_fails_is_logged(nset, metrics, capfd, caplog):
    with accepting(nset) as server:
        with (
            endpoint_of(metrics, server, is_ready=lambda: 1 // 0) as endpoint,
            pytest.raises(http.client.RemoteDisconnected),
        ):
            get(endpoint, "/readyz")
        until(lambda: "The HTTP request of 127.0.0.1:" in caplog.text)
    assert "ZeroDivisionError" in caplog.text
    assert capfd.readouterr().err == ""


def test_a_program_with_metrics_of_its_own(nset, metrics):
    prometheus_client = importlib.import_module("prometheus_client")
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("steps", "Steps.", registry=registry).inc()
    with accepting(nset) as server, endpoint_of(metrics, server, registry=registry) as endpoint:
        got = samples(endpoint)
    assert got["steps_total",] == 1
    assert got["nset_connections_total",] == 0


def test_health(nset, metrics):
    with accepting(nset) as server, endpoint_of(metrics, server) as endpoint:
        assert get(endpoint, "/healthz") == (200, "ok\n")
        assert get(endpoint, "/readyz?verbose") == (200, "ok\n")
        assert get(endpoint, "/")[0] == 404
        server.shutdown()
        assert get(endpoint, "/healthz") == (503, "not ok\n")
        assert get(endpoint, "/readyz") == (503, "not ok\n")


def test_a_loop_that_hangs_is_not_healthy(nset, metrics, monkeypatch):
    monkeypatch.setattr(metrics, "_HEALTHY_SECONDS", 0.05)
    begun, may_go_on = threading.Event(), threading.Event()

    def hang(event):
        begun.set()
        may_go_on.wait(TIMEOUT)
        return 0x0000, None

    with (
        accepting(nset, [(evt.EVT_N_SET, hang)], inline=True) as server,
        endpoint_of(metrics, server) as endpoint,
        Peer(port(server), MPPS) as peer,
    ):
        peer.send(n_set_pdus(nset))
        assert begun.wait(TIMEOUT)
        assert get(endpoint, "/healthz")[0] == 503
        may_go_on.set()
        peer.receive_message()
        until(lambda: get(endpoint, "/healthz")[0] == 200)
        peer.release()


def test_a_server_that_drains_is_not_ready(nset, metrics):
    with accepting(nset) as server, endpoint_of(metrics, server) as endpoint, connected(server):
        until(lambda: server.counts.open_connections == 1)
        server.stop()
        assert get(endpoint, "/readyz")[0] == 503


def test_a_program_that_is_not_ready(nset, metrics):
    answers = iter([False, True])
    with (
        accepting(nset) as server,
        endpoint_of(metrics, server, is_ready=lambda: next(answers)) as endpoint,
    ):
        assert get(endpoint, "/readyz")[0] == 503
        assert get(endpoint, "/readyz")[0] == 200


def test_the_page_and_the_dashboard_have_these_metrics(nset, metrics):
    """Each query of the dashboard is about one that there is, and its labels."""
    known = {}
    with (
        accepting(nset, [(evt.EVT_N_SET, handled)], metrics=True) as server,
        Peer(port(server), MPPS) as peer,
    ):
        peer.send(n_set_pdus(nset))
        peer.receive_message()
        for metric in metrics.Collector(server).collect():
            for sample in metric.samples:
                known.setdefault(sample.name, set()).update(sample.labels)
        peer.release()
    known["nset_aborted_associations_total"] = {"reason"}  # it had none
    page = (REPOSITORY / "docs/how-to/metrics.md").read_text("utf-8")
    for metric in metrics.Collector(server).collect():
        total = "_total" if metric.type == "counter" else ""
        assert f"`{metric.name}{total}`" in page
    dashboard = json.loads((REPOSITORY / "deploy/grafana/nset.json").read_text("utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) >= len(panels) > 0
    for query_text in queries:
        names = re.findall(r"\bnset_\w+", query_text)
        assert names, query_text
        for name in names:
            assert name in known, query_text
        for labels in re.findall(r"\bby \(([^)]*)\)", query_text):
            for label in labels.split(", "):
                assert any(label in known[name] | {"instance"} for name in names), query_text
    assert {name for text in queries for name in re.findall(r"\bnset_\w+", text)} >= {
        name for name in known if name.endswith(("_total", "_bucket"))
    }
