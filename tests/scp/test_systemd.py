"""A server as a service of systemd: its socket, and what systemd is told."""

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys

import pytest
from associations import TIMEOUT
from raw_peer import Peer

VERIFICATION = "1.2.840.10008.1.1"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="systemd is for Linux")


BEGIN = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def systemd(scp):
    return importlib.import_module("nset.scp.systemd")


@contextlib.contextmanager
def activated(command, sock, told, **options):
    """Run a program as systemd does: with the socket as descriptor 3."""
    begin = [sys.executable, "-c", BEGIN, str(sock.fileno())]
    environment = {**os.environ, "NOTIFY_SOCKET": told}
    process = subprocess.Popen(
        [*begin, *command], pass_fds=[sock.fileno()], env=environment, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("is_abstract", [False, True])
def test_nset_mpps_as_a_service(nset, tmp_path, is_abstract):
    """It listens at the socket that is there, and says when it does."""
    if is_abstract and not sys.platform.startswith("linux"):
        pytest.skip("abstract addresses are Linux's")
    name = f"nset-{os.getpid()}-{nset.IMPLEMENTATION}" if is_abstract else str(tmp_path / "notify")
    command = [sys.executable, "-m", "nset", "mpps", "--store", f"sqlite:///{tmp_path}/mpps"]
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        notified.bind(f"\0{name}" if is_abstract else name)
        notified.settimeout(3 * TIMEOUT)
        told = f"@{name}" if is_abstract else name
        with activated(command, sock, told, stderr=subprocess.DEVNULL) as process:
            assert notified.recv(100) == b"READY=1"
            with Peer(sock.getsockname()[1], VERIFICATION) as peer:
                peer.release()
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT) == 0
        socket.create_connection(sock.getsockname(), TIMEOUT).close()  # it is systemd's


def test_nset_mpps_that_cannot_say_that_it_has_started(tmp_path):
    """Such as one that has inherited the variable: it serves."""
    command = [sys.executable, "-m", "nset", "mpps", "--store", f"sqlite:///{tmp_path}/mpps"]
    gone = str(tmp_path / "gone")
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        activated(command, sock, gone, stderr=subprocess.PIPE, text=True) as process,
    ):
        with Peer(sock.getsockname()[1], VERIFICATION) as peer:
            peer.release()
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=3 * TIMEOUT)[1]
    assert process.returncode == 0
    assert "WARNING nset.mpps: Can't tell systemd that the server has started: [Errno 2]" in log
    assert f"'{gone}'" in log


class TestListeningSocket:
    def test_there_is_none(self, systemd, monkeypatch):
        assert systemd.listening_socket() is None
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "0")
        assert systemd.listening_socket() is None

    @pytest.mark.parametrize("name", ["LISTEN_FDS", "LISTEN_PID"])
    def test_it_is_for_another_program(self, systemd, monkeypatch, name):
        """Such as the shell that has started this one; and the next is not misled."""
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "1")
        monkeypatch.setenv(name, "0" if name == "LISTEN_PID" else "")
        assert systemd.listening_socket() is None
        assert "LISTEN_FDS" not in os.environ

    def test_several(self, systemd, monkeypatch):
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "2")
        with pytest.raises(ValueError, match="2 sockets, and one is expected"):
            systemd.listening_socket()


class TestNotify:
    def test_nobody_waits(self, systemd, monkeypatch):
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        assert systemd.notify() is False

    def test_nobody_is_there(self, systemd, monkeypatch, tmp_path):
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
        with pytest.raises(OSError, match="No such file"):
            systemd.notify()

    def test_it_does_not_read(self, systemd, monkeypatch, tmp_path):
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "full"))
        monkeypatch.setattr(systemd, "_NOTIFY_SECONDS", 0.1)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
        ):
            notified.bind(str(tmp_path / "full"))
            other.connect(str(tmp_path / "full"))
            other.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    other.send(b"READY=1")
            with pytest.raises(OSError, match=r"it does not read: '.*full'|buffer space"):
                systemd.notify()
