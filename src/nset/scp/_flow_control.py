"""Flow control: an association's socket is not read while too much of it waits."""

from typing import Any

from nset.scp._checkpoint import Checkpoint
from nset.scp._connection import Connection
from nset.scp._memory import MESSAGE_OVERHEAD, Memory
from nset.scp._threads import Threads


class FlowControl:
    """Counts what waits in one association, and pauses and resumes reading.

    =====================  ==========================================================
    the loop's thread      `pause`, `resume`, `check`, ``note_...``
    any thread             `enqueue`, `take`, `check_soon`, `pending`
    =====================  ==========================================================

    Parameters
    ----------
    path : NSetDispatcher
        The association's fast path, which reads.
    connection : Connection
        Its connection.
    memory : Memory
        Its bytes that wait.
    checkpoint : Checkpoint
        Tells whether threads wait for the peer, which they would do in vain if it were not read.
    max_pending : int
        Most requests that may wait.
    threads : Threads
        The server's.

    Attributes
    ----------
    reports : list of tuple
        N-EVENT-REPORTs that wait to be served, beside the requests of the fast path.
    """

    def __init__(
        self,
        path: Any,
        connection: Connection,
        memory: Memory,
        checkpoint: Checkpoint,
        max_pending: int,
        threads: Threads,
    ) -> None:
        self._path = path
        self._connection = connection
        self._memory = memory
        self._checkpoint = checkpoint
        self._max_pending = max_pending
        self._threads = threads
        self._requests: list[Any] = path.pending
        self.reports: list[Any] = []
        self._will_resume = False

    def let_go(self) -> None:
        """Keep nothing of an association that is over."""
        self._path = None

    # -- What waits --------------------------------------------------------------------------------

    def pending(self) -> int:
        """Return how many requests wait."""
        return len(self._requests) + len(self.reports)

    def enqueue(self, queue: list[Any], context_id: int, message: Any, size: int) -> None:
        """Put a message into a queue, with a data set of `size` bytes; and check."""
        size += MESSAGE_OVERHEAD
        self._memory.queue(size)
        queue.append((context_id, message, size))
        self._threads.in_loop(self.check)

    def take(self, queue: list[Any]) -> tuple[int, Any, int]:
        """Take the oldest message from a queue: its context ID, itself, and its bytes in memory."""
        context_id, message, size = queue.pop(0)
        self._memory.queue(-size)
        return context_id, message, size

    def note_incomplete(self, size: int) -> None:
        """Count the bytes that have come and are not read as a message yet."""
        self._memory.note("incomplete", size)
        self._check_memory()

    def note_serving(self, size: int) -> None:
        """Count a long request while it is served."""
        self._memory.note("serving", size)
        self._check_memory()

    def note_served(self) -> None:
        """Count the request that is served no more."""
        self._memory.note("serving", 0)
        self.resume()

    def writing_paused(self, size: int) -> None:
        """Read no more, as the peer takes less than is sent: so many bytes wait."""
        self._memory.note("unsent", size)
        self.pause()

    def writing_resumed(self) -> None:
        """Read again, as there is room again."""
        self._memory.note("unsent", 0)
        self.resume()

    # -- Pausing and resuming ----------------------------------------------------------------------

    def pause(self) -> None:
        """Read no more until `resume`."""
        path = self._path
        if path is not None and not path.is_reading_paused:
            path.is_reading_paused = True
            self._connection.pause_reading()

    def pause_from_start(self) -> None:
        """Do the same when the connection is made; what comes before the pause waits."""
        self._path.is_reading_paused = True
        # A transport only begins to read behind connection_made.
        self._threads.loop.call_soon(self._pause_still)

    def _pause_still(self) -> None:
        if self._path is not None and self._path.is_reading_paused:
            self._connection.pause_reading()

    def check(self) -> None:
        """Read no more if too much waits."""
        # A thread that waits for the peer needs what is behind the requests.
        if self.pending() >= self._max_pending and self._checkpoint.is_set():
            self.pause()
        self._check_memory()

    def check_soon(self) -> None:
        """Have that done in the loop's thread."""
        self._threads.in_loop(self.check)

    def _check_memory(self) -> None:
        if self._memory.is_over_limit:
            self.pause()
            self.resume()  # where there has been room again before the pause

    def resume(self) -> None:
        """Read again, in another turn of the loop, unless there is another reason not to."""
        path = self._path
        if (
            path is not None
            and path.is_reading_paused
            and not self._will_resume
            and self._may_resume()
        ):
            self._will_resume = True
            self._threads.turns.add(self._read_on)

    def resume_soon(self) -> None:
        """Have that done in the loop's thread."""
        self._threads.in_loop(self.resume)

    def _may_resume(self) -> bool:
        connection = self._connection
        has_backlog = self.pending() > self._max_pending // 2 and self._checkpoint.is_set()
        return (
            not connection.is_closed
            and connection.is_writable
            and not has_backlog
            and not self._memory.is_over_limit
        )

    def _read_on(self) -> None:
        """Read what is there already, and only then let more come."""
        self._will_resume = False
        path = self._path
        if path is not None and self._may_resume():
            path.is_reading_paused = False
            path.read()
            if not path.is_reading_paused:
                self._connection.resume_reading()
