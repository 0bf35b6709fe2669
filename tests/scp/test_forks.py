"""nset.scp: a process that is forked, or started, has nothing of the server."""

import os
import socket
import subprocess
import sys
import threading

import pytest
from acceptors import accepting, port
from associations import MPPS, TIMEOUT
from paths import SUPPORT
from raw_peer import Peer

FORKS = """
import asyncio, multiprocessing, os, socket, subprocess, sys, time, warnings
import nset.scp
import psutil
from acceptors import entity, n_set_pdus, port
from associations import MPPS
from pynetdicom import evt, sop_class
from raw_peer import Peer

if sys.argv[1] == "asyncio":
    nset.scp._run.new_loop = asyncio.SelectorEventLoop
warnings.simplefilter("ignore", DeprecationWarning)

def in_child(ae, server, ends, told):
    os.close(ends[1])
    begun = time.monotonic()
    server.shutdown()
    server.shutdown(timeout=0)
    with server:
        pass
    ae.shutdown()
    took = time.monotonic() - begun
    connections = psutil.Process().net_connections("tcp")
    number = port(server)
    held = [connection for connection in connections if connection.laddr.port == number]
    counts = server.counts
    said = [took < 1, not held, server.active_associations == [], counts.open_connections == 0]
    # And it can have a server of its own.
    own = nset.scp.start_server(entity(), ("127.0.0.1", 0), block=False)
    with Peer(port(own), MPPS) as peer:
        peer.release()
    own.shutdown()
    os.write(told[1], repr(said).encode())
    os.read(ends[0], 1)

def check(how):
    ae = entity()
    server = nset.scp.start_server(
        ae, ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_SET, lambda event: (0, None))]
    )
    number = port(server)
    peers = [Peer(number, MPPS) for _ in range(2)]
    ends = os.pipe()  # the child lives until the parent closes it
    told = os.pipe()
    if how == "fork":
        child = os.fork()
        if child == 0:
            try:
                in_child(ae, server, ends, told)
            finally:
                os._exit(0)
    elif how == "multiprocessing":
        arguments = ae, server, ends, told
        process = multiprocessing.get_context("fork").Process(target=in_child, args=arguments)
        process.start()
    else:  # and then exec
        command = "import os; print([os.readlink('/proc/self/fd/' + fd) for fd in '3456789'"
        command += " if os.path.exists('/proc/self/fd/' + fd)])"
        print("socket" in subprocess.check_output(
            [sys.executable, "-c", command], close_fds=False, text=True
        ))
        server.shutdown(quiet=0.1, timeout=0.3)
        for peer in peers:
            peer.socket.close()
        return
    print(os.read(told[0], 100).decode(), flush=True)
    # The parent's associations go on, and end with it.
    for peer in peers:
        peer.send(n_set_pdus(nset))
        assert peer.receive_message()[0].Status == 0
    peers[0].release()
    server.shutdown(timeout=0)
    while peers[1].receive() is not None:
        pass
    try:
        socket.create_connection(("127.0.0.1", number), 2).close()
        print("still bound")
    except ConnectionRefusedError:
        print("free")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", number))
        again.listen()
    os.close(ends[1])

for how in ("exec", "fork", "multiprocessing"):  # the first has the lowest file descriptors
    print(how, flush=True)
    check(how)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks at /proc")
def test_a_forked_process_has_nothing_of_the_server(nset, loop):
    """Each way to fork one is tried in one process: most of what it takes is imports."""
    environment = {
        **os.environ,
        "NSET_IMPLEMENTATION": nset.IMPLEMENTATION,
        "PYTHONPATH": str(SUPPORT),
    }
    ended = subprocess.run(
        [sys.executable, "-c", FORKS, loop],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT * 3,
        check=False,
    )
    assert ended.stderr == ""
    forked = "[True, True, True, True]\nfree\n"
    assert ended.stdout == f"exec\nFalse\nfork\n{forked}multiprocessing\n{forked}"


def test_an_option_that_a_socket_does_not_take_any_more(nset, monkeypatch, caplog):
    """As on macOS, where the peer has gone already."""
    stock = socket.socket.setsockopt

    def setsockopt(self, level, option, value):
        if option == socket.TCP_NODELAY and threading.current_thread() is server.thread:
            raise OSError(22, "Invalid argument")
        stock(self, level, option, value)

    with accepting(nset) as server:
        monkeypatch.setattr(socket.socket, "setsockopt", setsockopt)
        with Peer(port(server), MPPS) as peer:
            peer.release()
        assert caplog.records == []
