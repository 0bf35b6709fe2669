"""Threads that start at the same moment."""

import threading
from collections.abc import Callable

TIMEOUT = 60  # seconds; for what takes milliseconds when all is well


def run_together(*jobs: Callable[[], object]) -> None:
    """Start the jobs at the same moment, each in a thread; raise what one of them raised."""
    start = threading.Barrier(len(jobs))
    errors: list[BaseException] = []

    def work(job: Callable[[], object]) -> None:
        try:
            start.wait(TIMEOUT)
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    if errors:
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
