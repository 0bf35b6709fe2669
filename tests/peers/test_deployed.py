"""What is under deploy/: HAProxy in front of servers, systemd's units, the image.

``make test-peers`` installs HAProxy and systemd's tools, and runs these tests.
"""

import importlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
from acceptors import accepting, entity, is_over, n_set_pdus, port, until
from associations import MPPS, TIMEOUT
from certificates import client_context, make_certificate, server_context
from logs import all_said
from paths import REPOSITORY
from pynetdicom import evt
from raw_peer import Peer, associate_rq
from shutdowns import is_refused

DEPLOY = REPOSITORY / "deploy"
CONFIGURATION = DEPLOY / "haproxy" / "haproxy.cfg"
MODALITIES = ("127.0.0.4", "127.0.0.5", "127.0.0.6")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="they are for Linux"),
]


class Proxied(Peer):
    """A peer at an address of its own that connects to HAProxy."""

    def __init__(self, where, source, context=None):
        bare = socket.create_connection(where, TIMEOUT, (source, 0))
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.own = bare.getsockname()
        if context is not None:
            bare = context.wrap_socket(bare, server_hostname="localhost")
        self.socket = bare
        self.send(associate_rq(MPPS))
        accepted = self.receive()
        assert accepted is not None
        assert accepted.type == 0x02


@contextmanager
def balancing(folder, servers, version="send-proxy-v2"):
    """Run HAProxy in front of two servers; give where it listens."""
    assert shutil.which("haproxy"), "haproxy is missing: run .ci/install-peers"
    text = CONFIGURATION.read_text()
    assert "inter 2s fall 2 rise 1 tcp-ut 10s send-proxy-v2\n" in text
    text = text.replace("inter 2s", "inter 100ms").replace("send-proxy-v2\n", f"{version}\n")
    configuration = folder / "haproxy.cfg"
    configuration.write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as sock, (folder / "log").open("w") as log:
        environment = {**os.environ, "NSET_BIND": f"fd@{sock.fileno()}"}
        for number, server in enumerate(servers, 1):
            environment[f"NSET_MPPS{number}"] = f"127.0.0.1:{port(server)}"
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", configuration],
            **{"env": environment, "pass_fds": [sock.fileno()]},
            **{"stdout": log, "stderr": subprocess.STDOUT},
        )
        try:
            yield sock.getsockname()
        finally:
            process.terminate()
            process.wait(TIMEOUT)


@pytest.fixture(params=["send-proxy", "send-proxy-v2"])
def version(request):
    return request.param


class TestHaproxy:
    def test_the_configuration_is_valid(self):
        run("haproxy", "-c", "-f", str(CONFIGURATION))

    def test_a_host_whose_name_is_not_known_is_left_out(self, monkeypatch):
        monkeypatch.setenv("NSET_MPPS2", "no.such.host.invalid:11112")
        said = run("haproxy", "-c", "-f", str(CONFIGURATION))
        assert "could not resolve address 'no.such.host.invalid', disabling server" in said

    @pytest.mark.parametrize("is_secure", [False, True], ids=["TCP", "TLS"])
    def test_addresses_are_those_of_the_modalities(
        self, nset, version, is_secure, tmp_path, caplog
    ):
        caplog.set_level(logging.INFO, "nset")
        seen, options, context = [], {}, None
        if is_secure:
            certificate = make_certificate(tmp_path, "server")
            options["ssl_context"] = server_context(certificate)
            context = client_context(certificate)

        async def handle(event):
            requestor = event.assoc.requestor
            seen.append((requestor.address, requestor.port))
            return 0x0000, None

        handlers = [(evt.EVT_N_SET, handle)]
        with ExitStack() as stack:
            servers = [
                stack.enter_context(
                    accepting(nset, handlers, proxy_protocol=["127.0.0.1"], **options)
                )
                for _ in range(2)
            ]
            where = stack.enter_context(balancing(tmp_path, servers, version))
            # Its health checks come, and are no noise.
            until(lambda: all(server.counts.connections >= 3 for server in servers))
            assert all_said(caplog) == []
            own = []
            for source in MODALITIES:
                peer = stack.enter_context(Proxied(where, source, context))
                own.append(peer.own)
                peer.send(n_set_pdus(nset))
                assert peer.receive_message()[0].Status == 0x0000
            assert seen == own
            assert {len(server.active_associations) for server in servers} == {1, 2}
            for host, number in own:
                assert f"with RAW@{host}:{number}: " in "".join(all_said(caplog))
            for server in servers:
                assert server.counts.aborted == {}

    def test_a_server_that_is_shut_down_finishes_what_it_has(self, nset, tmp_path):
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        with ExitStack() as stack:
            aes = [entity(), entity()]
            servers = [
                stack.enter_context(accepting(nset, handlers, ae, proxy_protocol=True))
                for ae in aes
            ]
            where = stack.enter_context(balancing(tmp_path, servers))
            peers = [stack.enter_context(Proxied(where, MODALITIES[0])) for _ in range(2)]
            (assoc,) = servers[0].active_associations
            ending = next(peer for peer in peers if peer.own == assoc.address)
            servers[0].stop(quiet=TIMEOUT)
            until(lambda: is_refused(servers[0].server_address))
            for _ in range(10):  # whatever HAProxy has noticed, they are served
                with Proxied(where, MODALITIES[1]) as peer:
                    peer.send(n_set_pdus(nset))
                    assert peer.receive_message()[0].Status == 0x0000
                    peer.release()
            assert servers[1].counts.associations == 11
            ending.send(n_set_pdus(nset))
            assert ending.receive_message()[0].Status == 0x0000
            ending.release()
            for peer in peers:
                peer.socket.close()
            until(lambda: is_over(servers[0]))


def run(*command):
    """Run a tool that finds nothing wrong."""
    assert shutil.which(command[0]), f"{command[0]} is missing: run .ci/install-peers"
    done = subprocess.run(command, capture_output=True, text=True, timeout=6 * TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class TestSystemd:
    @pytest.fixture
    def units(self, tmp_path):
        """The units, with a program that is here."""
        nset = shutil.which("nset", path=os.path.dirname(sys.executable))
        assert nset
        for unit in (DEPLOY / "systemd").iterdir():
            text = unit.read_text().replace("/opt/nset/bin/nset", nset)
            (tmp_path / unit.name).write_text(text)
        return sorted(map(str, tmp_path.iterdir()))

    def test_they_are_valid(self, units):
        assert len(units) == 2
        assert run("systemd-analyze", "verify", *units) == ""

    def test_what_the_service_may_do(self, units):
        said = run("systemd-analyze", "security", "--offline=true", "--threshold=20", units[0])
        assert "Overall exposure level" in said

    def test_it_never_gives_up(self):
        """By default systemd does, after five starts in ten seconds: those of a database outage."""
        text = (DEPLOY / "systemd" / "nset-mpps.service").read_text()
        unit, service = re.search(r"\[Unit\]\n(.+)\[Service\]\n(.+)", text, re.DOTALL).groups()
        assert "\nStartLimitIntervalSec=0\n" in unit
        assert "\nRestart=always\n" in service

    @pytest.mark.usefixtures("nset")
    def test_its_command_line(self):
        text = (DEPLOY / "systemd" / "nset-mpps.service").read_text()
        parsed(*re.search(r"^ExecStart=\S+/nset mpps (.+)$", text, re.MULTILINE)[1].split())


class TestImage:
    @pytest.mark.usefixtures("nset")
    def test_command_lines(self):
        lines = re.findall(r"CMD (\[.+)", (DEPLOY / "docker" / "Dockerfile").read_text())
        parsed(*json.loads(lines[-1]))
        compose = (DEPLOY / "docker" / "compose.yaml").read_text()
        (line,) = re.findall(r"^  command: (.+)$", compose, re.MULTILINE)
        parsed(*json.loads(line))

    def test_a_password_may_have_any_characters(self):
        """In a URL some would have to be escaped; libpq takes PGPASSWORD as it is."""
        compose = (DEPLOY / "docker" / "compose.yaml").read_text()
        places = re.findall(r"^ +(\S+: .*)\$\{NSET_PASSWORD:\?\}(.*)$", compose, re.MULTILINE)
        assert places == [("PGPASSWORD: ", ""), ("POSTGRES_PASSWORD: ", "")]

    def test_what_it_is_built_of(self):
        ignored = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
        for line in ignored:
            if line.startswith("!"):
                assert (REPOSITORY / line[1:]).exists()


def parsed(*arguments):
    """See that ``nset mpps`` takes the arguments."""
    mpps = importlib.import_module("nset.mpps.cli").mpps
    mpps.commands["serve"].make_context("serve", list(arguments))
