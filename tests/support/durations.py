"""What something takes, on a machine that others use as well."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Between two looks at the threads; what a thread waits between the last one and its end is missed.
_LOOK_SECONDS = 0.02


class Duration:
    """The seconds since it was made, for this process and those of the given IDs.

    `own` is without the time in which their threads waited for a CPU, as Linux counts it: an upper
    bound on `own` says something of the code, whatever else the machine has to do.
    """

    def __init__(self, *processes: int) -> None:
        self._processes = ("self", *processes)
        self._before = self._waits()
        self._waited = dict(self._before)
        self._began = time.monotonic()
        self.whole = self.own = 0.0

    def update(self) -> None:
        self.whole = time.monotonic() - self._began
        self._waited.update(self._waits())
        self.own = self.whole - sum(self._waited.values()) + sum(self._before.values())

    def _waits(self) -> dict[str, float]:
        """The seconds that each thread has waited for a CPU so far."""
        waits = {}
        for process in self._processes:
            for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
                with suppress(OSError):  # it has ended
                    waits[path.parent.name] = int(path.read_bytes().split()[1]) / 1e9
        return waits


@contextmanager
def timed(*processes: int) -> Iterator[Duration]:
    """Measure a block."""
    duration, has_ended = Duration(*processes), threading.Event()

    def look() -> None:
        while not has_ended.wait(_LOOK_SECONDS):
            duration.update()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield duration
    finally:
        has_ended.set()
        thread.join()
        duration.update()


@contextmanager
def takes(at_least: float, at_most: float, *processes: int) -> Iterator[None]:
    """See that a block takes so many seconds."""
    with timed(*processes) as duration:
        yield
    assert at_least <= duration.whole
    assert duration.own <= at_most
