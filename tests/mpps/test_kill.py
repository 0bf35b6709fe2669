"""``kill -9`` under load: no acknowledged report is missing, and none is there twice.

Modalities report all the time, and send a report again if they see no answer. The server is killed
with all its processes, or one of those alone, and started again. ``make test-kill`` does so 50
times; KILL_ROUNDS says how often.
"""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from associations import TIMEOUT
from mpps_peers import Modality
from reporters import Reporter, ended, reported, stored_once

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
MODALITIES = 8

pytestmark = pytest.mark.peers


class Server:
    """``nset mpps``, which is killed and started again at another port."""

    _starts = 0

    def __init__(self, store, processes, log):
        self._command = [sys.executable, "-m", "nset", "mpps", "127.0.0.1:0", "--store", store]
        self._command += ["--processes", str(processes), "--log-level", "INFO"]
        self.log = log
        self._changed = threading.Condition()
        self.port = None
        self.is_over = False

    def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self._command, stderr=log, start_new_session=True)
        begin, end = self.log.stat().st_size, time.monotonic() + 6 * TIMEOUT
        while True:
            found = re.findall(r"Serving as NSET_MPPS at 127.0.0.1:(\d+)", self.log.read_text())
            if len(found) > self._starts:
                break
            assert self.process.poll() is None, self.log.read_text()[begin:]
            assert time.monotonic() < end, "it does not start"
            time.sleep(0.01)
        self._starts += 1
        with self._changed:
            self.port = int(found[-1])
            self._changed.notify_all()

    def kill(self, *, alone):
        """Kill all processes; or one that serves, and leave the rest to the parent."""
        if alone:
            random.choice(psutil.Process(self.process.pid).children()).kill()
            return
        with self._changed:
            self.port = None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.start()

    def end(self):
        self.process.terminate()
        assert self.process.wait(3 * TIMEOUT) == 0

    def connect(self, number):
        """Associate with whatever serves now."""
        end = time.monotonic() + 6 * TIMEOUT
        while time.monotonic() < end:
            with self._changed:
                self._changed.wait_for(lambda: self.port is not None, TIMEOUT)
                port = self.port
            try:
                return Modality(port)
            except (OSError, AssertionError, TypeError):  # it has been killed just now
                time.sleep(0.001)
        raise TimeoutError("nobody serves")


@pytest.mark.parametrize("processes", [1, 4])
def test_acknowledged_reports_are_there_once(nset, url, processes, tmp_path):
    server = Server(url, processes, Path(tmp_path / "log"))
    server.start()
    reporters = [Reporter(server, number) for number in range(MODALITIES)]
    for reporter in reporters:
        reporter.start()
    for number in range(ROUNDS):
        reported(reporters, 20, 6 * TIMEOUT, lambda: server.log.read_text()[-5000:])
        time.sleep(random.uniform(0, 0.1))  # anywhere in a transaction
        server.kill(alone=processes > 1 and number % 2 == 1)
    server.is_over = True
    ended(reporters)
    server.end()
    stored_once(url, reporters)
