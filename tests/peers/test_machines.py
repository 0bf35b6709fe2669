"""Three machines: HAProxy, and two with ``nset mpps`` on one PostgreSQL, one of which fails.

Each is a network namespace with an address of its own. The modalities are outside, each with its
own address, too.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
from acceptors import until
from associations import MPPS, TIMEOUT
from implementations import IMPLEMENTATIONS, loaded
from mpps_peers import Modality
from paths import REPOSITORY
from postgresql import cluster
from pydicom.uid import ImplicitVRLittleEndian
from raw_peer import associate_rq
from reporters import Reporter, ended, reported, stored_once

CONFIGURATION = REPOSITORY / "deploy" / "haproxy" / "haproxy.cfg"
PORT = 11112
MODALITIES = 8
PATIENCE = 2  # seconds that a modality waits for an answer

pytestmark = pytest.mark.peers


class Machine:
    """A network namespace, and what runs in it.

    Attributes
    ----------
    log : pathlib.Path
        What its program has written.
    """

    def __init__(self, name, folder):
        self.name, self.log = name, folder / f"{name}.log"
        self._process = None
        self._cables = []
        ip("netns", "add", name)

    def join(self, cable, number, other=None):
        """Connect it with another machine, or this one; give the addresses of both.

        Its end of the cable is in the network 198.18.`number`.0, and has the name with an "n".
        """
        near, far = f"{cable}n", f"{cable}f"
        where = ("netns", other.name if other else str(os.getpid()))
        ip("link", "add", near, "netns", self.name, "type", "veth", "peer", far, *where)
        self._cables.append(near)
        addresses = [f"198.18.{number}.1", f"198.18.{number}.2"]
        ends = zip((self.run, other.run if other else run), (near, far), addresses, strict=True)
        for run_there, end, address in ends:
            run_there("ip", "addr", "add", f"{address}/24", "dev", end)
            run_there("ip", "link", "set", end, "up")
        return addresses

    def run(self, *command):
        ip("netns", "exec", self.name, *command)

    def start(self, *command, **environment):
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                **{"env": {**os.environ, **environment}, "start_new_session": True},
                **{"stdout": log, "stderr": subprocess.STDOUT},
            )

    def kill(self):
        """Kill all that runs in it, with SIGKILL."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def remove(self):
        self.kill()
        for end in self._cables:  # else they are there until the kernel has tidied up
            self.run("ip", "link", "del", end)
        ip("netns", "del", self.name)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def ip(*arguments):
    run("ip", *arguments)


class Modalities:
    """How modalities come to HAProxy, each from its own address."""

    def __init__(self, where, addresses):
        self._where, self._addresses = where, addresses
        self.is_over = False

    def connect(self, number):
        end = time.monotonic() + 6 * TIMEOUT
        while time.monotonic() < end:
            try:
                return FromItsAddress(self._where, self._addresses[number])
            except (OSError, AssertionError):
                time.sleep(0.01)
        raise TimeoutError("nobody serves")


class FromItsAddress(Modality):
    def __init__(self, where, source):
        self.transfer_syntax = ImplicitVRLittleEndian
        self.socket = socket.create_connection((where, PORT), PATIENCE, (source, 0))
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.send(associate_rq((MPPS, ImplicitVRLittleEndian)))
            accepted = self.receive()
            assert accepted is not None
            assert accepted.type == 0x02
        except BaseException:
            self.socket.close()
            raise


@contextmanager
def machines(folder):
    """Three; skip where this process may not make them."""
    if not sys.platform.startswith("linux") or shutil.which("ip") is None:
        pytest.skip("network namespaces are Linux's, and made by iproute2's ip")
    names = [f"nset{os.getpid()}{name}" for name in ("lb", "one", "two")]
    with ExitStack() as stack:
        made = []
        for name in names:
            try:
                made.append(Machine(name, folder))
            except AssertionError as exc:
                pytest.skip(f"no network namespaces here: {exc}")
            stack.callback(made[-1].remove)
        yield made


@pytest.mark.parametrize("how", ["kill -9", "power"])
def test_a_host_fails_under_load(how, tmp_path):
    """What modalities have been told is stored is there, once; and the others report on."""
    assert shutil.which("haproxy"), "haproxy is missing: run .ci/install-peers"
    network, cable = 3 * (os.getpid() % 80), f"n{os.getpid()}"
    with cluster() as postgresql, machines(tmp_path) as (balancer, one, two):
        postgresql.sql("CREATE SCHEMA machines")
        url = postgresql.url("machines")
        where, outside = balancer.join(f"{cable}a", network)
        sources = [f"198.18.{network}.{100 + number}" for number in range(MODALITIES)]
        for source in sources:
            ip("addr", "add", f"{source}/24", "dev", f"{cable}af")
        hosts = {}
        for number, host in enumerate((one, two), 1):
            address, proxy = host.join(f"{cable}{number}", network + number, balancer)
            hosts[f"NSET_MPPS{number}"] = f"{address}:{PORT}"
            command = [sys.executable, "-m", "nset", "mpps", f"{address}:{PORT}", "--store", url]
            host.start(*command, "--processes", "2", "--proxy-protocol", proxy)
            until(lambda host=host: "Serving" in host.log.read_text(), host.name, 6 * TIMEOUT)
        text = CONFIGURATION.read_text().replace("inter 2s", "inter 200ms")
        text = text.replace("timeout connect 3s", "timeout connect 500ms")
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(text)
        balancer.start(
            *("haproxy", "-db", "-f", str(configuration)), NSET_BIND=f"{where}:{PORT}", **hosts
        )
        modalities = Modalities(where, sources)
        reporters = [Reporter(modalities, number) for number in range(MODALITIES)]
        for reporter in reporters:
            reporter.start()

        def why():
            return "".join(machine.log.read_text()[-3000:] for machine in (balancer, one, two))

        try:
            reported(reporters, 20 * MODALITIES, 6 * TIMEOUT, why)
            # HAProxy has given associations to both.
            assert all("Accepted the association" in host.log.read_text() for host in (one, two))
            if how == "power":
                one.run("ip", "link", "set", f"{cable}1n", "down")
            one.kill()
            for reporter in reporters:
                reported([reporter], 20, 6 * TIMEOUT, why)
        finally:
            modalities.is_over = True
        ended(reporters)
        with loaded(IMPLEMENTATIONS[0]):
            stored_once(url, reporters)
        told = two.log.read_text()
        assert all(f"RAW@{source}:" in told for source in sources)
        assert outside not in told
