"""Flow control: reading from an association's socket pauses while too much is pending."""

from typing import Any

from nset.scp._checkpoint import Checkpoint
from nset.scp._connection import Connection
from nset.scp._memory import MESSAGE_OVERHEAD_BYTES, Memory
from nset.scp._threads import Threads


class FlowControl:
    """Counts the pending requests and bytes of one association, and pauses and resumes reading.

    =====================  ==========================================================
    the loop's thread      `pause`, `resume`, `check`, `check_memory`, ``note_...``
    any thread             `enqueue`, `take`, `check_soon`, `pending`
    =====================  ==========================================================

    Parameters
    ----------
    path : Dispatcher
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

    def break_cycles(self) -> None:
        """Keep nothing of an association that is over."""
        self._path = None

    # -- What waits --------------------------------------------------------------------------------

    def pending(self) -> int:
        """Return how many requests wait."""
        return len(self._requests) + len(self.reports)

    def enqueue(self, queue: list[Any], context_id: int, message: Any, size: int) -> None:
        """Append a message with a data set of `size` bytes to a queue, and check the limits."""
        size += MESSAGE_OVERHEAD_BYTES
        self._memory.queue(size)
        queue.append((context_id, message, size))
        self._threads.in_loop(self.check)

    def take(self, queue: list[Any]) -> tuple[int, Any, int]:
        """Remove the oldest message; return its context ID, itself, and its bytes in memory."""
        context_id, message, size = queue.pop(0)
        self._memory.queue(-size)
        return context_id, message, size

    def note_serving(self, size: int) -> None:
        """Count a long request while it is served."""
        self._memory.note("serving", size)
        self.check_memory()

    def note_served(self) -> None:
        """Stop counting the request that was served."""
        self._memory.note("serving", 0)
        self.resume()

    def writing_paused(self, size: int) -> None:
        """Pause reading: the peer does not read, and `size` bytes of output wait."""
        self._memory.note("unsent", size)
        self.pause()

    def writing_resumed(self) -> None:
        """Resume reading: the peer has read enough."""
        self._memory.note("unsent", 0)
        self.resume()

    # -- Pausing and resuming ----------------------------------------------------------------------

    def pause(self) -> None:
        """Pause reading until `resume`."""
        path = self._path
        if path is not None and not path.is_reading_paused:
            path.is_reading_paused = True
            self._connection.pause_reading()

    def pause_from_start(self) -> None:
        """Pause reading when the connection is made; input that arrives before waits."""
        self._path.is_reading_paused = True
        # A transport begins to read after connection_made.
        self._threads.loop.call_soon(self._pause_still)

    def _pause_still(self) -> None:
        if self._path is not None and self._path.is_reading_paused:
            self._connection.pause_reading()

    def check(self) -> None:
        """Pause reading if too much is pending."""
        # A thread that waits for the peer needs the input after the requests.
        if self.pending() >= self._max_pending and self._checkpoint.is_set():
            self.pause()
        self.check_memory()

    def check_soon(self) -> None:
        """Call that in the loop's thread."""
        self._threads.in_loop(self.check)

    def check_memory(self) -> None:
        """Pause reading if too many bytes wait."""
        if self._memory.is_over_limit:
            self.pause()
            self.resume()  # the reason may have ended before the pause

    def resume(self) -> None:
        """Resume reading in another loop iteration, unless there is a reason not to."""
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
        """Call that in the loop's thread."""
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
        """Process input that was received already, then resume the transport."""
        self._will_resume = False
        path = self._path
        if path is not None and self._may_resume():
            path.is_reading_paused = False
            path.read()
            if not path.is_reading_paused:
                self._connection.resume_reading()
