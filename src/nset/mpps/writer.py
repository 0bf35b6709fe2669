"""Many requests in one transaction: what comes while one is committed is the next one's."""

import asyncio
import logging
import threading
from collections.abc import Iterable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple

from nset import status
from nset.mpps.notify import Notifier
from nset.mpps.rules import Answer
from nset.mpps.steps import GET, Changes, Report
from nset.mpps.store import Conflict, Store, Unavailable

_LOGGER = logging.getLogger("nset.mpps")

_MAX_REPORTS = 256  # in a transaction

_FAILED = Answer(status.PROCESSING_FAILURE, "the report could not be stored")
_UNAVAILABLE = Answer(status.RESOURCE_LIMITATION, "the store is not available")


class _Waiting(NamedTuple):
    report: Report
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Answer]"


class Writer:
    """Stores reports in a thread of its own, and answers them when they are on the disk.

    Parameters
    ----------
    store : Store
        Where to; it belongs to the writer's thread.
    is_strict : bool
        Whether nothing is excused.
    notifiers : iterable of Notifier
        What notifies subscribers, once reports are on the disk.
    """

    def __init__(
        self, store: Store, *, is_strict: bool = False, notifiers: Iterable[Notifier] = ()
    ) -> None:
        self._store = store
        self._is_strict = is_strict
        self._notifiers = tuple(notifiers)
        self._subscribers = tuple(notifier.subscriber for notifier in self._notifiers)
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, report: Report) -> "asyncio.Future[Answer]":
        """Have a report stored.

        Parameters
        ----------
        report : Report
            The report.

        Returns
        -------
        asyncio.Future of Answer
            The answer, once the report is on the disk, or can't be.
        """
        if self._thread is None:  # not before: a process that is forked has no threads
            self._thread = threading.Thread(target=self._run, name="nset-mpps-writer", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        waiting = _Waiting(report, loop, loop.create_future())
        self._queue.put(waiting)
        return waiting.future

    def close(self) -> None:
        """Store what waits, and end the thread; then the notifiers'."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._store.close()
        for notifier in self._notifiers:
            notifier.end()
        for notifier in self._notifiers:
            notifier.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            group: list[_Waiting] = []
            item = self._queue.get()
            while item is not None:
                group.append(item)
                if len(group) == _MAX_REPORTS or self._queue.empty():  # this thread alone gets
                    break
                item = self._queue.get()
            is_open = item is not None
            if group:
                answers = self.store([waiting.report for waiting in group])
                with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                    group[0].loop.call_soon_threadsafe(_answer, group, answers)

    def store(self, reports: list[Report], *, is_repeated: bool = False) -> list[Answer]:
        """Store reports in one transaction; where that fails, each in its own.

        Parameters
        ----------
        reports : list of Report
            The reports, in the order in which they came.
        is_repeated : bool
            Whether some may be stored already, since a commit was broken off.

        Returns
        -------
        list of Answer
            Their answers. What was acknowledged is on the disk.
        """

        def apply(changes: Changes) -> list[Answer]:
            return [
                changes.apply(report, is_strict=self._is_strict, is_repeated=is_repeated)
                for report in reports
            ]

        try:
            uids = (report.uid for report in reports)
            answers: list[Answer] = self._store.write(uids, apply, self._subscribers)
            if any(report.service != GET for report in reports):
                for notifier in self._notifiers:
                    notifier.wake()
            return answers
        except (Conflict, Unavailable) as exc:
            if not is_repeated:  # another process was faster, or the connection was lost
                _LOGGER.info("%d reports are stored once more: %s", len(reports), exc)
                return self.store(reports, is_repeated=True)
            _LOGGER.error("%d reports are refused: %s", len(reports), exc)
            return [_UNAVAILABLE] * len(reports)
        except Exception:
            if len(reports) > 1:
                return [self.store([report])[0] for report in reports]
            _LOGGER.exception("%s of %s is refused", reports[0].service, reports[0].uid)
            return [_FAILED]


def _answer(group: list[_Waiting], answers: list[Any]) -> None:
    for waiting, answer in zip(group, answers, strict=True):
        if not waiting.future.done():  # its association may have ended
            waiting.future.set_result(answer)
