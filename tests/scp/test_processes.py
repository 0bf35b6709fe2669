"""nset.scp.run: several processes at one address, and a parent that watches over them."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict, deque
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest
from acceptors import entity, n_set_pdus, until
from associations import MPPS, TIMEOUT
from durations import takes
from leaks import ATTEMPTS, MOST_BYTES, frees_at_once
from paths import SUPPORT
from raw_peer import ABORT, Peer, associate_rq
from shutdowns import is_refused

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nset.scp.run forks")

LOCAL_LIMIT_EXCEEDED = bytes((0, 2, 3, 2))


class Program:
    """The program several_processes.py, and what it has said."""

    def __init__(self, process, log, stack):
        self._process, self._log, self._stack = process, log, stack
        self._said = defaultdict(deque)
        self.pid = process.pid
        self.port, self.pids = self.next("started", until=lambda port, pids: True)

    def next(self, kind, until):
        """What the first new line of the kind says for which a condition is true."""
        while True:
            while self._said[kind]:
                what = self._said[kind].popleft()
                if until(*what):
                    return what
            line = self._process.stdout.readline()
            assert line, f"it has ended: {self.log()}"
            said, *what = json.loads(line)
            self._said[said].append(what)

    def counts(self, until):
        """The first counts of all processes for which a condition is true."""
        return self.next("beside", lambda beside, pids, counts: until(counts))[2]

    def log(self):
        return self._log.read_text()

    def kept(self, pid):
        """The bytes and descriptors that a process has now."""
        os.kill(pid, signal.SIGUSR1)
        return self.next("kept", lambda of, *_: of == pid)[1:]

    def others(self, pids):
        """The server processes, once none of them is of these and all are up."""
        return self.next(
            "beside", lambda _, now, __: len(now) == len(self.pids) and not {*now} & {*pids}
        )[1]

    def peer(self):
        """A peer that is closed with the program at the latest."""
        return self._stack.enter_context(Peer(self.port, MPPS))

    def peers_of_each(self):
        """A peer of each server process, by process."""
        peers = {}
        while len(peers) < len(self.pids):
            peer = self.peer()
            if peers.setdefault(self.process_of(peer), peer) is not peer:
                peer.release()
                peer.socket.close()
        return peers

    def process_of(self, peer):
        """The server process at the other end of a peer's connection."""
        here = peer.socket.getsockname()
        for process in psutil.Process(self.pid).children():
            if any(one.raddr == here for one in process.net_connections("tcp")):
                return process.pid
        raise AssertionError("no process has the connection")

    def end(self, number=signal.SIGTERM):
        """Leave the program, end it, and see that it ends."""
        self._stack.close()
        children = psutil.Process(self.pid).children()
        self._process.send_signal(number)
        return self.ended(children)

    def ended(self, children):
        """Wait for its end and that of its children; give its exit code."""
        code = self._process.wait(3 * TIMEOUT)
        assert psutil.wait_procs(children, 3 * TIMEOUT)[1] == []
        assert is_refused(("127.0.0.1", self.port))
        return code


@contextmanager
def running(folder, number=2, most=None, implementation=None):
    """Run the program; what does not end is killed."""
    arguments = [str(number), str(folder), *([str(most)] if most else [])]
    command = [sys.executable, str(SUPPORT / "several_processes.py"), *arguments]
    environment = dict(os.environ)
    if implementation is not None:
        environment["NSET_IMPLEMENTATION"] = implementation
    log = folder / "log"
    options = {"env": environment, "text": True, "start_new_session": True}
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, **options) as process,
    ):
        patience = threading.Timer(9 * TIMEOUT, process.kill)
        patience.start()
        try:
            with ExitStack() as stack:
                yield Program(process, log, stack)
        finally:
            patience.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also those that have no parent any more


def asks(nset, peer):
    """Send a request, and see that it is answered."""
    peer.send(n_set_pdus(nset))
    assert peer.receive_message()[0].Status == 0x0000


def interrupt(processes):
    """Do what the terminal does at Ctrl-C."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)


class TestServing:
    def test_all_processes_serve_and_end_in_good_order(self, nset, tmp_path):
        with running(tmp_path, implementation=nset.IMPLEMENTATION) as program:
            peers = program.peers_of_each()
            assert sorted(peers) == sorted(program.pids)
            assert program.pid not in peers
            for peer in peers.values():
                asks(nset, peer)
            (tmp_path / "wait").touch()
            peers[program.pids[0]].send(n_set_pdus(nset))
            program.next("asked", lambda pid: pid == program.pids[0])
            children = psutil.Process(program.pid).children()
            os.kill(program.pid, signal.SIGTERM)
            until(lambda: is_refused(("127.0.0.1", program.port)))
            asked = peers[program.pids[1]]
            asked.send(n_set_pdus(nset))
            (tmp_path / "wait").unlink()
            for peer in peers.values():
                assert peer.receive_message()[0].Status == 0x0000
                peer.release()
            (counts,) = program.next("ended", lambda counts: True)
            assert counts["released"] == counts["associations"] >= 2
            assert counts["responses"] == {"Success": 4}
            assert counts["requests"] == counts["n_set_requests"] == 4
            assert {program.next("left", lambda pid: True)[0] for _ in peers} == set(peers)
            assert program.ended(children) == 0
            assert program.log() == ""

    def test_limit_of_all_processes_together(self, nset, tmp_path):
        with running(tmp_path, 2, most=3, implementation=nset.IMPLEMENTATION) as program:
            peers = [program.peer() for _ in range(3)]
            for request in (associate_rq(MPPS), associate_rq(*[MPPS] * 100)):  # too long for fast
                with socket.create_connection(("127.0.0.1", program.port), TIMEOUT) as refused:
                    refused.sendall(request)
                    assert refused.recv(100)[6:] == LOCAL_LIMIT_EXCEEDED
            assert "3 associations in all processes already" in program.log()
            peers.pop().release()

            def has_room():
                with socket.create_connection(("127.0.0.1", program.port), TIMEOUT) as peer:
                    peer.sendall(associate_rq(MPPS))
                    return peer.recv(1) == b"\x02"

            until(has_room)
            assert program.end() == 0


class TestEnds:
    def test_a_killed_process_takes_no_other_with_it(self, nset, tmp_path):
        with running(tmp_path, implementation=nset.IMPLEMENTATION) as program:
            peers = program.peers_of_each()
            killed, other = program.pids
            for peer in peers.values():
                asks(nset, peer)
            program.counts(lambda counts: counts["requests"] == 2)
            os.kill(killed, signal.SIGKILL)
            assert peers[killed].receive() is None
            asks(nset, peers[other])
            _, pids, counts = program.next(
                "beside", lambda _, pids, counts: killed not in pids and len(pids) == 2
            )
            assert other in pids
            assert counts["open_connections"] < counts["connections"]
            program.pids = pids
            again = program.peers_of_each()
            for peer in again.values():
                asks(nset, peer)
            program.counts(lambda counts: counts["requests"] == 5)
            assert f"Server process {killed} has ended (SIGKILL); the next one" in program.log()
            assert program.end() == 0

    def replaced_late(self, program, hindrance, logged):
        """Kill a process that can't be replaced while a file is there; the other one serves on."""
        hindrance.touch()
        os.kill(program.pids[0], signal.SIGKILL)
        until(lambda: logged in program.log())
        with program.peer() as peer:
            assert program.process_of(peer) == program.pids[1]
        hindrance.unlink()
        program.next("beside", lambda _, pids, counts: len(pids) == 2 and pids != program.pids)

    def test_a_process_that_cannot_start_is_tried_again_and_again(self, tmp_path):
        with running(tmp_path) as program:
            self.replaced_late(program, tmp_path / "fail", "next one starts in 0.4 s")
            log = program.log()
            assert "LookupError: no database" in log
            assert log.index("starts in 0.1 s") < log.index("starts in 0.2 s")
            assert program.end() == 0

    @pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="macOS has no such signals")
    def test_a_signal_without_a_name(self, tmp_path):
        number = signal.SIGRTMIN + 1
        with running(tmp_path) as program:
            os.kill(program.pids[0], number)
            program.next("beside", lambda _, pids, counts: len(pids) == 2 and pids != program.pids)
            killed = f"Server process {program.pids[0]} has ended (signal {number:d}); the next one"
            assert killed in program.log()
            assert program.end() == 0

    def test_a_process_that_cannot_be_forked_is_tried_again(self, tmp_path):
        with running(tmp_path) as program:
            self.replaced_late(program, tmp_path / "full", "the next attempt is in 0.2 s")
            assert "ERROR Can't start a process: [Errno " in program.log()
            assert program.end() == 0

    def test_processes_that_cannot_be_forked_at_first(self, tmp_path):
        (tmp_path / "full").touch()
        with pytest.raises(AssertionError, match="BlockingIOError"), running(tmp_path) as program:
            pytest.fail(f"it has started: {program.log()}")

    def test_a_process_that_cannot_start_at_first(self, tmp_path):
        (tmp_path / "fail").touch()
        with pytest.raises(AssertionError, match="no database"), running(tmp_path) as program:
            pytest.fail(f"it has started: {program.log()}")
        log = (tmp_path / "log").read_text()
        assert "ChildProcessError: Server process" in log

    def test_the_process_beside_is_started_again(self, tmp_path):
        with running(tmp_path) as program:
            beside = program.next("beside", lambda *_: True)[0]
            os.kill(beside, signal.SIGKILL)
            beside, *_ = program.next(
                "beside", lambda pid, pids, counts: pid != beside and len(pids) == 2
            )
            children = psutil.Process(program.pid).children()
            assert beside in {child.pid for child in children}
            os.kill(program.pid, signal.SIGKILL)  # and it ends with the parent, as the others
            assert program.ended(children) == -signal.SIGKILL
            assert "Traceback" not in program.log()

    def test_servers_shut_down_without_their_parent(self, tmp_path):
        with running(tmp_path) as program, program.peer() as peer:
            (tmp_path / "wait").touch()
            children = psutil.Process(program.pid).children()
            os.kill(program.pid, signal.SIGKILL)
            until(lambda: is_refused(("127.0.0.1", program.port)))
            peer.socket.close()
            (tmp_path / "wait").unlink()
            assert program.ended(children) == -signal.SIGKILL
            assert program.log().count("parent of the server processes is gone") == 2

    def test_twice_interrupted(self, nset, tmp_path):
        """By Ctrl-C, which comes to all processes."""
        with running(tmp_path) as program, program.peer() as peer:
            (tmp_path / "wait").touch()
            children = psutil.Process(program.pid).children()
            peer.send(n_set_pdus(nset))
            program.next("asked", lambda pid: True)
            processes = [psutil.Process(program.pid), *children]
            interrupt(processes)
            until(lambda: is_refused(("127.0.0.1", program.port)))
            with takes(0, importlib.import_module("nset.scp").SHUTDOWN_TIMEOUT / 2):
                interrupt(processes)
                assert peer.receive().type == ABORT
            (tmp_path / "wait").unlink()
            assert program.ended(children) == 0


@frees_at_once
class TestMemory:
    """The least that a process grows by, in some attempts: what is filled once is outgrown."""

    @pytest.fixture
    def traced(self, tmp_path):
        (tmp_path / "traced").touch()
        return tmp_path

    def check(self, kept, act):
        """Fail if there is more each time; `act` returns how many times it has done something."""
        grown = []
        for _ in range(ATTEMPTS):
            size, *descriptors = kept()
            times = act()
            after, *descriptors_after = kept()
            assert descriptors_after == descriptors
            grown.append((after - size) / times)
            if grown[-1] <= MOST_BYTES:
                return
        pytest.fail(f"{grown} bytes each time")

    def test_a_parent_of_processes_that_die(self, traced):
        """Killed, or failing as they start."""
        number = 4
        with running(traced, number) as program:

            def kill():
                for pid in program.pids:
                    os.kill(pid, signal.SIGKILL)

            def die():
                before = program.log().count(" has ended ")
                kill()
                program.pids = program.others(program.pids)
                (traced / "fail").touch()
                failed = program.log().count("exit code 1")
                kill()
                until(lambda: program.log().count("exit code 1") >= failed + number)
                (traced / "fail").unlink()
                program.pids = program.others(program.pids)
                return program.log().count(" has ended ") - before

            def kept():
                return *program.kept(program.pid), max(program.kept(pid)[1] for pid in program.pids)

            die()
            self.check(kept, die)
            assert program.end() == 0

    def test_a_server_with_many_reports(self, nset, traced):
        with running(traced, 1, implementation=nset.IMPLEMENTATION) as program:
            connections = 0

            def report(times=100):
                nonlocal connections
                for _ in range(times):
                    with Peer(program.port, MPPS) as peer:
                        asks(nset, peer)
                        peer.release()
                connections += times
                over = (connections, 0)
                program.counts(lambda now: (now["connections"], now["open_connections"]) == over)
                return times

            report()
            self.check(lambda: program.kept(program.pids[0]), report)
            assert program.end() == 0


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "error", "match"),
        [
            ({"processes": 0}, ValueError, "processes must be an int above 0, not 0"),
            ({"maximum_associations": 0}, ValueError, "maximum_associations must be an int above"),
            ({"address": None}, ValueError, "either address or sock"),
            ({"proxy_protocol": ["pacs"]}, ValueError, "'pacs' does not appear to be an IPv4"),
        ],
    )
    def test_what_it_refuses(self, scp, options, error, match):
        with pytest.raises(error, match=match):
            scp.run(**{"ae": entity(), "address": ("127.0.0.1", 0), **options})

    def test_where_processes_cannot_be_forked(self, scp, monkeypatch):
        monkeypatch.delattr(os, "fork")
        with pytest.raises(NotImplementedError, match="cannot fork processes"):
            scp.run(entity(), ("127.0.0.1", 0), 2)

    def test_in_a_thread(self, scp):
        """The address is free again."""
        caught = []
        with socket.create_server(("127.0.0.1", 0)) as sock:
            address = sock.getsockname()

        def run():
            with pytest.raises(ValueError, match="main thread") as error:
                scp.run(entity(), address, 2)
            caught.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(TIMEOUT)
        assert caught
        socket.create_server(address).close()


class TestPlaces:
    """What processes share, without processes."""

    def test_counts_that_are_being_replaced(self, scp):
        shared = importlib.import_module("nset.scp._shared")
        counters = importlib.import_module("nset.scp._counters")
        writing, reading = shared.places(2)[1], None
        memory = writing._memory
        reading = shared.Place(memory, 1)
        assert reading.counts is None
        counts = counters.total([])
        for number in range(1, 5):
            writing.counts = counts._replace(requests=number, aborted={"peer": number})
            assert reading.counts == counts._replace(requests=number, aborted={"peer": number})
        # It dies while it writes the other copy.
        start = writing._start_of((4 + 1) % 2)
        memory[start : start + 10] = bytes(10)
        assert reading.counts.requests == 4

    def test_counts_beyond_the_space(self, scp):
        shared = importlib.import_module("nset.scp._shared")
        counters = importlib.import_module("nset.scp._counters")
        (place,) = shared.places(1)
        place.counts = counters.total([])
        long = {"reason": 1, "x" * 0x100000: 1}
        with pytest.raises(ValueError, match="bytes of counts, of at most 1048576"):
            place.counts = counters.total([])._replace(aborted=long)
        assert place.counts == counters.total([])
