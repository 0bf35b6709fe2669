"""Modalities that report all the time, and send a report again until it is answered."""

import importlib
import threading
import time
from typing import Any

from associations import TIMEOUT
from mpps_peers import ROOT, encoded
from mpps_table import modifications, whole

WHOLE = encoded(whole())


def lists(number: int) -> list[tuple[str, bytes]]:
    """What is reported of a step, one after the other."""
    going, done = modifications(whole()), modifications(whole())
    going.CommentsOnThePerformedProcedureStep = f"{number}"
    done.CommentsOnThePerformedProcedureStep = f"{number}."
    done.PerformedProcedureStepStatus = "COMPLETED"
    return [("create", WHOLE), ("set", encoded(going)), ("set", encoded(done))]


class Reporter(threading.Thread):
    """A modality.

    The server gives it a `Modality` by ``connect(number)``, and tells by ``is_over`` when it is to
    end with this step.
    """

    def __init__(self, server: Any, number: int) -> None:
        super().__init__(daemon=True)
        self._server, self._number = server, number
        self.acknowledged: list[tuple[str, bytes]] = []  # UID and data
        self.refused: list[tuple[str, bytes]] = []

    def run(self) -> None:
        self._peer = self._server.connect(self._number)
        for count in range(1_000_000):
            uid = f"{ROOT}.{self._number}.{count}"
            for service, data in lists(count):
                answer = self._asked(service, uid, data)
                (self.refused if answer.Status else self.acknowledged).append((uid, data))
            if self._server.is_over:
                self._asked("release")
                self._peer.socket.close()
                return

    def _asked(self, service: str, *request: Any) -> Any:
        """Ask until there is an answer; who is asked may be killed meanwhile."""
        while True:
            try:
                return getattr(self._peer, service)(*request)
            except (OSError, AssertionError):
                self._peer.socket.close()
                self._peer = self._server.connect(self._number)


def reported(reporters: list[Reporter], more: int, seconds: float, why: Any) -> None:
    """Wait until they have so many more answers together; `why` tells why there are none."""
    before = sum(len(reporter.acknowledged) for reporter in reporters)
    until = time.monotonic() + seconds
    while sum(len(reporter.acknowledged) for reporter in reporters) < before + more:
        assert time.monotonic() < until, why()
        time.sleep(0.005)


def ended(reporters: list[Reporter]) -> None:
    """Wait for their end, now that all is over."""
    for reporter in reporters:
        reporter.join(6 * TIMEOUT)
        assert not reporter.is_alive()


def stored_once(url: str, reporters: list[Reporter]) -> None:
    """See that all that was acknowledged is in the store, once, and nothing else."""
    assert [reporter.refused for reporter in reporters] == [[] for _ in reporters]
    store = importlib.import_module("nset.mpps.stores").open_store(url)
    stored = {step.uid: store.messages(step.uid) for step in store.find()}
    store.close()
    for reporter in reporters:
        for uid in {uid for uid, _ in reporter.acknowledged}:
            known = [data for of, data in reporter.acknowledged if of == uid]
            assert [message.report.data for message in stored.pop(uid)] == known
    assert stored == {}
