"""An acceptor's association: pynetdicom's, with its services, but without its threads.

It does one thing at a time, as pynetdicom's thread would: it negotiates, serves a request, or
ends. What never waits is done in the loop's thread, the rest by a worker; meanwhile it is *busy*,
and what else comes waits in its queues.
"""

import logging
import threading
import time
import weakref
from asyncio import TimerHandle
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

from pynetdicom import _config, evt
from pynetdicom._globals import MODE_ACCEPTOR, MODE_REQUESTOR
from pynetdicom.association import Association as _StockAssociation
from pynetdicom.association import ServiceUser
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT
from pynetdicom.transport import AddressInformation

from nset import _pdu
from nset._errors import CommandSetError
from nset.primitive import N_SET
from nset.pynetdicom import _provider
from nset.pynetdicom._messages import remove_file
from nset.scp._counters import Tally
from nset.scp._dimse import DIMSEServiceProvider
from nset.scp._handlers import Bindings, messages_are_logged, rebound
from nset.scp._limits import Limits
from nset.scp._memory import ALLOWANCE, MESSAGE_OVERHEAD
from nset.scp._n_set import failed, known_services, log_error, response_to, service_class
from nset.scp._names import address_name
from nset.scp._negotiation import Acceptor, AcceptorACSE
from nset.scp._upper_layer import DULServiceProvider
from nset.wire import encode_pdus

_LOGGER = logging.getLogger("pynetdicom.association")
_NSET_LOGGER = logging.getLogger("nset")

_over_lock = threading.Lock()  # guards that all who wait for the end of one wait for the same

# Seconds after which a handler that still runs, though its peer has gone, is worth a warning.
_LEFT = 5.0

# Seconds in which a peer may still agree to a release that its request has crossed.
_CROSSING = 0.5


class _Checkpoint:
    """What stops an association from taking what a thread waits for itself."""

    __slots__ = ("_assoc", "_waiting")

    def __init__(self, assoc: "Association") -> None:
        self._assoc = assoc
        self._waiting: set[int] = set()  # threads; each changed by one call

    def is_set(self) -> bool:
        return not self._waiting

    def clear(self) -> None:
        self._assoc.may_wait()
        self._waiting.add(threading.get_ident())
        self._assoc.has_pumped()  # too many requests may have kept it from reading
        if not self._assoc.is_established:  # any more
            self.set()

    def set(self) -> None:
        """Let go of what the thread has waited for, or another for which it goes on."""
        self._assoc.dimse.asks_no_more()
        thread = threading.get_ident()
        if thread in self._waiting:
            self._waiting.discard(thread)
            self._assoc.has_pumped()
        else:
            self.open()

    def let_go(self, assoc: "Association") -> None:
        self._assoc = assoc

    def open(self) -> None:
        """Let go of whatever anyone waits for."""
        if self._waiting:
            self._waiting.clear()
            self._assoc.has_pumped()


class Association(_StockAssociation):
    """An association of an event-driven server; to programs, pynetdicom's `Association`.

    Where pynetdicom's is a thread, this one only looks like one: `is_alive` and `join` tell of the
    association, `name` is a name.

    Parameters
    ----------
    server : Server
        Whose it is.
    connection : Connection
        Its connection.
    address : tuple
        The peer's.
    """

    # Asked of all associations whenever a new one comes.
    is_acceptor = True
    is_requestor = False

    name: str = "AcceptorThread"
    daemon: bool = True
    ident = None
    native_id = None

    # pynetdicom holds it while it sets a timeout or writes a few lines of the log; but also, where
    # an answer to a program's own C-FIND can't be decoded, until that program asks for the next
    # one. For that no association can wait, and the loop less than any.
    lock: Any = nullcontext()

    def __init__(self, server: Any, connection: Any, address: Any) -> None:
        # What pynetdicom's __init__ does, threads aside.
        ae = server.ae
        self._ae = ae
        self._server: Any = None
        self.mode = MODE_ACCEPTOR
        self.requestor = ServiceUser(self, MODE_REQUESTOR)
        self.acceptor = Acceptor(self, MODE_ACCEPTOR)
        self._server = server
        self.is_established = self.is_rejected = self.is_aborted = self.is_released = False
        self._sent_abort = self._sent_release = False
        self._accepted_cx: dict[int, Any] = {}
        self._rejected_cx: list[Any] = []
        self.acse = AcceptorACSE(self)
        self.dul: Any = DULServiceProvider(self, connection)
        self.dimse: Any = DIMSEServiceProvider(self, connection)
        self.acse_timeout = ae.acse_timeout
        self.connection_timeout = ae.connection_timeout
        self.dimse_timeout = ae.dimse_timeout
        self.network_timeout = ae.network_timeout
        self.network_timeout_response = "A-ABORT"
        self._kill = False
        self._reactor_checkpoint: Any = _Checkpoint(self)
        self._timer_resolution = _config.WINDOWS_TIMER_RESOLUTION

        self.acceptor.maximum_length = ae.maximum_pdu_size
        self.acceptor.ae_title = server.ae_title
        self.acceptor.address_info = server.local
        self.acceptor.implementation_class_uid = ae.implementation_class_uid
        self.acceptor.implementation_version_name = ae.implementation_version_name
        self.requestor.address_info = AddressInformation.from_tuple(address)

        self.limits: Limits = server.limits
        self.abort_reason = ""  # as Counts.aborted has it, where it is known
        self._address = address
        self._since = time.monotonic()
        self._tally = Tally()
        self._connection = connection
        self._own_handlers: dict[Any, Any] | None = None
        self.bindings = server.bindings
        self._reports: list[Any] = []  # N-EVENT-REPORTs that wait
        self._reports_lock = threading.Lock()  # guards the end of their being served
        self._is_serving_reports = False
        self._is_advancing = False
        self._is_sending = False  # what was done has something to send that a pump still holds
        self._was_requested = False
        self._has_long_request = False
        self._was_counted = False
        self._is_over = False
        self._is_finishing = False  # all but negotiating and serving leads to the end
        self._heard = 0.0  # when something had come last at the last look, while shutting down
        self._left: TimerHandle | None = None  # there where its peer has gone and a handler has not
        self._collided = False
        self._idle = False
        self._over: threading.Event | None = None

    # -- What pynetdicom's association is as a thread ----------------------------------------------

    def __repr__(self) -> str:
        return f"<Association with {self.peer_name()}>"

    def start(self) -> None:
        """Do nothing: the connection has begun it."""

    def is_alive(self) -> bool:
        """Tell whether the association goes on."""
        return not self._is_over

    def join(self, timeout: float | None = None) -> None:
        """Wait until the association is over, and is counted and forgotten as such."""
        self._end_of_it().wait(timeout)

    @property
    def _is_paused(self) -> bool:
        return True  # there is no loop that might take a message first

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        pass

    # -- Handlers ----------------------------------------------------------------------------------

    @property
    def _handlers(self) -> dict[Any, Any]:  # type: ignore[override]
        own = self._own_handlers
        return self._server._handlers if own is None else own

    @property
    def bindings(self) -> Bindings:
        """What is bound, looked through."""
        return self._bindings

    @bindings.setter
    def bindings(self, bindings: Bindings) -> None:
        self._bindings = bindings
        self._connection.handler = bindings.n_set
        self._connection.is_observed = bindings.is_observed

    @property
    def is_active(self) -> bool:
        """Whether it counts as an association."""
        return self._was_requested and not self.is_rejected and self._left is None

    @property
    def is_ending(self) -> bool:
        """Whether the association is to be released once it has nothing else to do."""
        return bool(self._connection.is_ending)

    @is_ending.setter
    def is_ending(self, value: bool) -> None:
        self._connection.is_ending = value

    @property
    def has_own_handlers(self) -> bool:
        """Whether handlers were bound to or unbound from this association alone."""
        return self._own_handlers is not None

    def bind(self, event: Any, handler: Callable[..., Any], args: list[Any] | None = None) -> None:
        """Bind a handler to an event of this association."""
        with self._server.handlers_lock:
            handlers = rebound(self._handlers, event, handler, args)
            self.bindings = Bindings(handlers, inline=self._server.is_inline)
            self._own_handlers = handlers

    def unbind(self, event: Any, handler: Callable[..., Any]) -> None:
        """Unbind a handler from an event of this association."""
        with self._server.handlers_lock:
            handlers = rebound(self._handlers, event, handler, unbind=True)
            self.bindings = Bindings(handlers, inline=self._server.is_inline)
            self._own_handlers = handlers

    def get_handlers(self, event: Any) -> Any:
        """Give what is bound to an event, coroutine functions as such that can be called."""
        handlers = self._handlers.get(event, [])
        return (
            self._server.coroutines.callable_handler(handlers)
            if event.is_intervention
            else handlers
        )

    def is_observed(self) -> bool:
        """Tell whether someone looks at PDUs or messages: a program, or the log at DEBUG."""
        return self._bindings.is_observed or messages_are_logged(logging.DEBUG)

    def is_for_worker(self) -> bool:
        """Tell whether what has come may hold up the loop: a program's code runs, or it is long."""
        return self.bindings.is_listened_to or self._has_long_request

    def request_is_long(self) -> None:
        """Have workers read and negotiate an A-ASSOCIATE-RQ that takes more than moments."""
        self._has_long_request = not self._was_requested

    # -- Threads -----------------------------------------------------------------------------------

    def may_wait(self) -> None:
        """Refuse to wait in the loop's thread: what is waited for would never come."""
        self._server.threads.may_wait()

    def submit(self, job: Callable[[], None]) -> None:
        """Have a worker do something."""
        self._server.threads.service_workers.submit(job)

    def is_for_loop(self, exc: BaseException) -> bool:
        """Tell whether it is the loop that an exception is to end, as Ctrl-C does.

        In a worker's thread it is a handler's `sys.exit()`, and ends the association alone.
        """
        return not isinstance(exc, Exception) and bool(self._server.threads.is_loop_thread())

    def pump(self) -> None:
        """Have the state machine do all that there is to do; from any thread."""
        self.dul.pump()

    def has_pumped(self) -> None:
        """Look what there is to do, soon; from any thread."""
        self._server.threads.in_loop(self._after_pump)

    def _after_pump(self) -> None:
        if self._is_sending:
            self._done()
        else:
            self.advance()

    # -- One thing after the other -----------------------------------------------------------------

    def begin(self) -> None:
        """Begin with a connection that has just been opened."""
        self.dul._idle_timer.start()
        self.dul.event_queue.put("Evt5")
        if self.bindings.is_listened_to:
            self._connection.is_busy = True
            self._connection.hold_from_start()  # nobody hears of anything before that
            self.do_in_worker(self._opened)
        else:
            self._opened()
            self.advance()

    def _opened(self) -> None:
        evt.trigger(self, evt.EVT_CONN_OPEN, {"address": self._address})
        self.dul.pump()

    def advance(self) -> None:
        """Do what there is to do, until it takes a while, and read on; in the loop's thread."""
        if self._is_advancing:
            return  # what is being done has called back, and the loop below goes on
        self._is_advancing = True
        try:
            self._take_steps()
        finally:
            self._is_advancing = False
        self._connection.go_on()

    def _take_steps(self) -> None:
        while not self._connection.is_busy:
            step = self._next_step()
            if step is None:
                return
            if step == self._serve_next:  # which says itself where it is done
                step()
                continue
            self._connection.is_busy = True
            self._is_finishing = step != self._negotiate
            if self.is_for_worker():
                self.do_in_worker(step)
                return
            try:
                self._try(step)
            finally:
                self._connection.is_busy = False

    def do_in_worker(self, step: Callable[[], None]) -> None:
        """Have a worker do the one thing that is being done."""
        self._connection.began = time.monotonic()
        self.submit(partial(self._do, step))

    def _do(self, step: Callable[[], None]) -> None:
        """Do something in a worker's thread."""
        try:
            self._try(step)
        finally:
            self._server.threads.call(self._done)

    def _done(self) -> None:
        """Go on once all is sent that a worker's step has given to the state machine.

        Another worker that was at it already may not have come to it yet, and the answer to the
        next request, which goes past the state machine, must not overtake it.
        """
        self._is_sending = self._connection.is_pumping
        if not self._is_sending:
            self.go_on()

    def go_on(self) -> None:
        """Go on with what waits; in the loop's thread."""
        self._connection.is_busy = False
        if self._connection.memory.serving:
            self._connection.memory.note("serving", 0)
        self.advance()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as exc:
            if self.is_for_loop(exc):
                raise
            log_error(_LOGGER, "%s", exc, exc_info=exc)
            self.abort_reason = self.abort_reason or "error"
            self._abort_blocking(block=False)

    def _next_step(self) -> Callable[[], None] | None:
        if self._is_over:
            return None
        if self.is_awaiting:  # a thread, for a response or for the peer's release or abort
            return self._serve_next if self.is_established and self._connection.requests else None
        first = next(iter(self.dul.to_user_queue.queue), None)  # a program may take it meanwhile
        if self._kill:
            if self.dul.is_over:
                return self.end
            if not (self.dul.to_provider_queue.queue or self._connection.is_pumping):
                self._connection.finish()  # and once the peer has closed it too, this is over
            return None
        if not self._was_requested:
            return self._negotiate if first else self.end if self.dul.is_over else None
        if self.is_established:
            if isinstance(first, (A_ABORT, A_P_ABORT)):
                return self._aborted
            if self._connection.requests:
                return self._serve_next
            if first is not None:
                return self._release_confirmed if first.result else self._release_requested
            if self._idle:
                return self._end_idle
            if self._connection.is_ending and not self._sent_release:
                return self._ask_for_release
        return self.end if self.dul.is_over else None

    def _negotiate(self) -> None:
        self._was_requested = True
        self._has_long_request = False
        primitive = self.dul.receive_pdu(wait=False)
        if not isinstance(primitive, A_ASSOCIATE):
            self._note_abort(primitive)
            return
        self.requestor.primitive = primitive
        evt.trigger(self, evt.EVT_REQUESTED, {})
        if not self.is_aborted and not self.is_rejected:
            self.acse.negotiate_association()
        if self.is_established:
            self.count("associations")
            _NSET_LOGGER.info(
                "Accepted the association with %s: %d of %d presentation contexts",
                self.peer_name(),
                len(self._accepted_cx),
                len(self._accepted_cx) + len(self._rejected_cx),
            )
            self.dul._idle_timer.start()
        else:
            self._kill = True

    def prepare_connection(self) -> None:
        """Tell the connection what has been negotiated."""
        self._connection.peer_length = self.requestor.maximum_length or 0
        self._connection.contexts = self._accepted_cx
        if self.acceptor._common_ext:  # which may name other service classes
            self._connection.services = {}

    def _aborted(self) -> None:
        self._note_abort(self.dul.peek_next_pdu())

    def _note_abort(self, primitive: Any) -> None:
        by_peer = isinstance(primitive, A_ABORT)
        _LOGGER.info("Association Aborted" if by_peer else "Association Aborted (A-P-ABORT)")
        # Before the primitive is gone: a program that has got no answer looks for one or the other.
        self.is_established = False
        self.dul.receive_pdu(wait=False)
        self._count_abort("peer" if by_peer else "connection")
        self.is_aborted = True
        evt.trigger(self, evt.EVT_ABORTED, {})
        self.kill()

    def _release_requested(self) -> None:
        self.dul.receive_pdu(wait=False)
        if self._sent_release:
            _LOGGER.debug("An A-RELEASE collision has occurred")
            self._collided = True  # the requestor answers first (PS3.8 Section 7.2.2.7)
            return
        self.acse.send_release(is_response=True)
        _LOGGER.info("Association Released")
        self._released()

    def _release_confirmed(self) -> None:
        self.dul.receive_pdu(wait=False)
        if self._collided:
            self.acse.send_release(is_response=True)
        self._released()

    def _released(self) -> None:
        self.is_released = True
        self.is_established = False
        evt.trigger(self, evt.EVT_RELEASED, {})
        self.kill()

    def is_quiet(self) -> bool:
        """Tell whether nothing has come since the last time, and nothing is being done."""
        connection = self._connection
        before, self._heard = self._heard, connection.heard
        return before == connection.heard and not (
            self.is_working() or connection.is_held or (self._was_requested and self.progress())
        )

    def end_soon(self) -> None:
        """Ask for the release of an association that is quiet."""
        if self._was_requested:
            self.is_ending = True
            self.advance()
        else:
            self._connection.break_off()

    def unanswered(self) -> int:
        """Count the requests that have come, or begun to, and are not answered."""
        begun = self._is_serving_reports + bool(self.progress())
        if self._connection.is_busy and self.is_established:
            begun += 1
        return self._pending_requests() + begun

    def progress(self) -> tuple[int | None, int] | None:
        """Tell of a message that has not come to its end: its Message ID and the bytes so far."""
        progress: tuple[int | None, int] | None = self.dimse.progress()
        return progress or self._connection.progress()

    def _ask_for_release(self) -> None:
        _LOGGER.info("Releasing Association")
        _NSET_LOGGER.info("Asking %s to release its association", self.peer_name())
        self.acse.send_release(is_response=False)

    def idle_too_long(self) -> None:
        """Act on the network timeout, unless it is the server that lets the peer wait."""
        if not self._connection.has_room:
            self.abort_reason = self.abort_reason or "idle"
            _LOGGER.error("Network timeout reached")
            _NSET_LOGGER.warning(
                "Closing the connection with %s, which has taken nothing for %s s "
                "(AE.network_timeout)",
                *(self.peer_name(), self.network_timeout),
            )
            self._connection.break_off()
        elif self._connection.memory.is_over_limit and not self.is_working():
            self.abort_reason = self.abort_reason or "memory"
            _NSET_LOGGER.error(
                "Aborting the association with %s: %d bytes of it wait, and in all associations %d "
                "(Limits(association_bytes=%d, server_bytes=%d))",
                *(self.peer_name(), self._connection.memory.waiting, self._server.memory.waiting),
                *(self.limits.association_bytes, self._server.memory.limit),
            )
            self.abort_soon()
        elif self.is_working() or not self.is_established or self._connection.has_input():
            self.dul._idle_timer.start()
            self._connection.go_on()
        else:
            self._idle = True
            self.advance()

    def is_working(self) -> bool:
        """Tell whether something that has been asked is being done, or waits to be."""
        return bool(
            self._connection.is_busy
            or self._connection.requests
            or self._is_serving_reports
            or self.is_awaiting
        )

    def _end_idle(self) -> None:
        self._idle = False
        _LOGGER.error("Network timeout reached")
        if self.network_timeout_response == "A-RELEASE":
            _NSET_LOGGER.info("Asking %s to release its association", self.peer_name())
            self.submit(partial(self._try, self.release))
            return
        self.abort_reason = self.abort_reason or "idle"
        self._abort_blocking(block=False)

    def end(self) -> None:
        """Be over: nobody hears of the association any more."""
        self._is_over = True
        self.is_established = False
        if self._left is not None:
            self._left.cancel()
            self._server.leave(-1)
        if self.is_aborted or (self._was_requested and not (self.is_released or self.is_rejected)):
            self._count_abort("connection")
        if self.is_released:
            self.count("released")
        if self._was_requested:
            self._log_end()
        self.dul.to_user_queue.put(None)  # for whoever still waits
        self.dimse.msg_queue.close()
        for _, message, _ in self._connection.requests:
            remove_file(message)
        remove_file(self.dimse.message)
        self._connection.requests.clear()
        self._connection.memory.close()
        self._server.forget(self)
        self._end_of_it().set()
        self._server.threads.call(self.let_go)

    def let_go(self) -> None:
        """Break the cycles of what is over, so that its memory is free without the collector.

        Who keeps the association finds all of it still. In the loop's thread.
        """
        if not self._is_over or self._connection.is_connected:
            return
        weak: Any = weakref.proxy(self)
        self.requestor.assoc = self.acceptor.assoc = weak
        self.acse._assoc = self.dul._assoc = self.dimse._assoc = weak
        self._reactor_checkpoint.let_go(weak)
        self.dul.state_machine.dul = weakref.proxy(self.dul)
        self.dul._kill_thread = True  # where the server has ended first
        vars(self).pop("abort", None)  # pynetdicom sets it around handlers, to a method of this
        self._connection.let_go(weak)

    def connection_lost(self) -> None:
        """Count no more, also where a handler goes on whose peer has gone."""
        if not self._connection.is_busy or self._is_finishing:
            return
        first = next(iter(self.dul.to_user_queue.queue), None)
        if isinstance(first, A_ABORT | A_P_ABORT):
            self._count_abort("peer" if isinstance(first, A_ABORT) else "connection")
        self._left = self._connection.loop.call_later(_LEFT, self._log_left)
        self._server.leave(1)

    def _log_left(self) -> None:
        _NSET_LOGGER.warning(
            "A handler of the association with %s has gone on for %.1f s, and its peer has gone",
            *(self.peer_name(), time.monotonic() - self._connection.began),
        )

    def count(self, what: str) -> None:
        """Count something that has happened."""
        self._server.counters.count(what)

    def _count_abort(self, reason: str) -> None:
        """Count an abort, once, for what has caused it or else for the reason."""
        if not self._was_counted:
            self._was_counted = True
            self.abort_reason = self.abort_reason or reason
            self._server.counters.count_abort(self.abort_reason)

    # -- Ending it ---------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the association; from any thread."""
        self._kill = True
        self.is_established = False
        self._reactor_checkpoint.open()
        self._connection.is_ending = True  # whoever answers looks what there is to do
        self.has_pumped()

    def release(self) -> None:
        """Release the association, and wait until the peer has agreed.

        Where the peer has asked for it before, that is answered when the handler has returned.
        """
        if self.dul.state != "Sta8":
            super().release()

    def abort_soon(self) -> None:
        """Abort the association; in the loop's thread, which no program may hold up."""
        abort = partial(self._try, partial(self._abort_blocking, block=False))
        if self.bindings.is_listened_to:
            self._server.aborting.add(self)
            self.submit(partial(self._abort_in_worker, abort))
        else:
            abort()

    def _abort_in_worker(self, abort: Callable[[], None]) -> None:
        try:
            abort()
        finally:
            self._server.threads.call(self._server.aborting.discard, self)

    def wait_no_more(self) -> None:
        """End, also where a program has begun to wait for an answer and has not gone on with it."""
        self._reactor_checkpoint.open()

    def _abort_blocking(self, block: bool = True) -> None:
        if self._sent_abort or self.is_released or self._is_over:
            return
        self._sent_abort = True
        self._count_abort("local")
        self._reactor_checkpoint.open()
        _LOGGER.info("Aborting Association")
        self._log_abort()
        try:
            if self.dul.state in ("Sta1", "Sta2"):
                self.is_aborted = True  # nobody to tell
            else:
                self.acse.send_abort(0x00)
            evt.trigger(self, evt.EVT_ABORTED, {})
        finally:
            self.kill()
        if block and not self._server.threads.is_own_thread():
            # As pynetdicom does: whoever returns from here may look at the other side.
            self.join(1)
            time.sleep(0.1)

    def _end_of_it(self) -> threading.Event:
        """Give what is set last of all; made when it is asked for."""
        with _over_lock:
            self._over = self._over or threading.Event()
            return self._over

    # -- Requests ----------------------------------------------------------------------------------

    def request_came(self, request: Any) -> None:
        """Serve an N-SET request that can't take the short way, now or in its turn."""
        message = self.dimse.message
        if message is not None:
            has_begun = type(message) is not DIMSEMessage
            raise _pdu.command_among_data() if has_begun else _pdu.data_before_command()
        connection = self._connection
        self._enqueue(connection.requests, request._context_id, request, connection.request_length)
        self._hold_where_too_much_waits()
        if not connection.is_busy:
            self.advance()

    def message_came(self, context_id: int, message: Any, size: int = 0) -> None:
        """Serve any other message in its turn, with a data set of `size` bytes; any thread."""
        self._count_request(message)
        self._enqueue(self._connection.requests, context_id, message, size)
        self.hold_in_loop()
        self.has_pumped()

    def response_came(self, context_id: int, response: Any, size: int) -> None:
        """Keep a response for the thread that has asked; from any thread."""
        self._connection.memory.queue(size + MESSAGE_OVERHEAD)
        self.dimse.msg_queue.put((context_id, response, size + MESSAGE_OVERHEAD))
        self.hold_in_loop()

    def response_taken(self, size: int) -> None:
        """Read on where a response was one too many."""
        self._connection.memory.queue(-size)
        if self._connection.is_held:
            self.has_pumped()

    def _enqueue(self, queue: list[Any], context_id: int, message: Any, size: int) -> None:
        size += MESSAGE_OVERHEAD
        self._connection.memory.queue(size)
        queue.append((context_id, message, size))

    def _take_from(self, queue: list[Any]) -> tuple[int, Any, int]:
        context_id, message, size = queue.pop(0)
        self._connection.memory.queue(-size)
        return context_id, message, size

    def hold_in_loop(self) -> None:
        """Read no more where too much waits; from any thread."""
        self._server.threads.in_loop(self._hold_where_too_much_waits)

    def _hold_where_too_much_waits(self) -> None:
        # A thread that waits for the peer needs what is behind them.
        if self._pending_requests() >= self.limits.pending_requests and not self.is_awaiting:
            self._connection.hold()
        self._connection.hold_over_limit()

    def _pending_requests(self) -> int:
        return len(self._connection.requests) + len(self._reports)

    def refuse_request(self, fault: CommandSetError, context_id: int) -> None:
        """Answer a request that can't be served in its turn; from any thread."""
        request = N_SET()
        request.MessageID = fault.message_id
        request._context_id = context_id
        request._nset_refusal = fault  # type: ignore[attr-defined]
        self.message_came(context_id, request)

    def has_backlog(self) -> bool:
        """Tell whether too many requests wait for more to be read."""
        return not self.is_awaiting and (
            self._pending_requests() > self.limits.pending_requests // 2
        )

    @property
    def is_awaiting(self) -> bool:
        """Whether a program's thread waits for the peer itself."""
        return not self._reactor_checkpoint.is_set()

    def _serve_next(self) -> None:
        """Serve the next message; in the loop's thread."""
        connection = self._connection
        context_id, message, size = self._take_from(connection.requests)
        if connection.is_ending and self._sent_release:
            # It has crossed the A-RELEASE-RQ, and its peer may rather wait for an answer to it.
            connection.call_later(_CROSSING, self._give_up_release)
            return
        refusal = getattr(message, "_nset_refusal", None)
        if type(message) is N_SET and message.is_valid_request and refusal is None:
            connection.queued_size = size
            is_served = self._serve_n_set(message)
            connection.queued_size = 0
            if is_served:
                return
        connection.is_busy = True
        if size > ALLOWANCE:
            connection.memory.note("serving", size)
        if refusal is not None and not self._sent_release:
            refuse = partial(_provider._refuse, self, message, context_id, refusal)
            self.do_in_worker(refuse)
            return
        self.do_in_worker(partial(self._serve_request, message, context_id))

    def _give_up_release(self) -> None:
        if not self._is_over:
            _NSET_LOGGER.warning(
                "Aborting the association with %s: its request has crossed the A-RELEASE-RQ",
                self.peer_name(),
            )
            self.abort_reason = self.abort_reason or "shutdown"
            self.abort_soon()

    def _serve_n_set(self, request: Any) -> bool:
        """Have the handler of EVT_N_SET called, also for an SOP Class that a program registered."""
        connection = self._connection
        if not self._can_send() or self.acceptor._common_ext:
            return False
        if connection.serve(request):
            return True
        sop_class = request.RequestedSOPClassUID
        service = service_class(sop_class)
        if service is None or service is known_services.get(sop_class):
            return False
        connection.services = {**known_services, sop_class: service}
        return bool(connection.serve(request))

    def _serve_request(self, msg: Any, context_id: int) -> None:
        msg = _provider.by_requested_class(msg)
        refusal = None if self._sent_release else _provider.refusal_of(self, msg)
        if refusal is not None:
            _provider._refuse(self, msg, context_id, refusal)
            return
        had_aborted = self._sent_abort
        super()._serve_request(msg, context_id)
        if self._sent_abort and not had_aborted:
            _NSET_LOGGER.error(
                "Aborted the association with %s while its %s was served: %s, context %d",
                *(self.peer_name(), msg.msg_type, _sop_class(msg), context_id),
            )

    def serve_aside(self, message: Any, context_id: int, size: int) -> None:
        """Serve an N-EVENT-REPORT beside other requests, as pynetdicom does; from any thread."""
        self._count_request(message)
        with self._reports_lock:
            self._enqueue(self._reports, context_id, message, size)
            begins = not self._is_serving_reports
            self._is_serving_reports = True
        if begins:
            self.submit(self._serve_report)
        self.hold_in_loop()

    def _serve_report(self) -> None:
        """Serve the next N-EVENT-REPORT in a worker's thread; the loop has its turn in between."""
        with self._reports_lock:
            if not self._reports or self._is_over:
                self._is_serving_reports = False
                return
            context_id, message, _ = self._take_from(self._reports)
        try:
            self._try(partial(self._serve_request, message, context_id))
        finally:
            self._server.threads.call(self._report_served)

    def _report_served(self) -> None:
        self.submit(self._serve_report)
        self._after_pump()  # there may be room to read on

    def answer(self, event: Any, service: Any, answer: Any) -> None:
        """Send a response that takes some thought; in a worker's thread."""
        if not self.is_established:
            return
        request: Any = event.request
        context = event._context
        try:
            response = response_to(request, answer, service(self), context)
            self.dimse.send_msg(response, context.context_id)
        except BaseException as exc:  # of an object that the handler has returned, or of the log
            status, _ = failed(exc)
            response = request.response(status)
            self.send_pdus(encode_pdus(response, context.context_id, self.dimse.maximum_pdu_size))

    def _can_send(self) -> bool:
        return bool(self._connection.is_transferring) or self.dul.state == "Sta8"

    def send_pdus(self, pdus: bytes) -> None:
        """Send the P-DATA-TF PDUs of a message past the state machine, where that allows it."""
        if self._can_send():
            self._connection.wait_for_room()
            self._connection.send_message(pdus)

    def send_in_pieces(self, pdus: Iterator[bytes]) -> None:
        """Do the same with PDUs that are made as they are sent; in a thread that may wait."""
        self.may_wait()
        if self._can_send():
            self._connection.send_in_pieces(pdus)

    def _count_request(self, message: Any) -> None:
        self._server.counters.count_request(self._tally, _service(message))

    def count_response(self, message: Any) -> None:
        """Count a response that does not go the short way."""
        code = getattr(message, "Status", None)
        if isinstance(code, int) and code >= 0 and self._can_send():
            self._server.counters.count_response(self._tally, _service(message), code)

    # -- What the log says -------------------------------------------------------------------------

    def peer_name(self) -> str:
        """Name the peer: AE title and address, or the address alone where there is no title yet."""
        peer = self.requestor
        title = peer.ae_title or (peer.primitive.calling_ae_title if peer.primitive else "")
        name = address_name(self._address)
        return f"{title}@{name}" if title else name

    def note_rejection(self, result: int, source: int, reason: int) -> None:
        """Count an A-ASSOCIATE-RJ that is sent, and say why."""
        self.count("rejected")
        ae, primitive = self.ae, self.requestor.primitive
        called = primitive.called_ae_title if primitive else ""
        reasons = {
            (1, 1, 3): "its AE title is not among AE.require_calling_aet",
            (1, 1, 7): f"it calls {called}, not {self.acceptor.ae_title} (AE.require_called_aet)",
            (1, 2, 2): "its protocol version is not 1",
            (2, 2, 1): "its user identity was refused (EVT_USER_ID)",
            (2, 3, 2): f"{ae.maximum_associations} associations already (AE.maximum_associations)",
        }
        default = f"result {result}, source {source}, reason {reason} (PS3.8 Table 9-21)"
        bad_title = vars(self).get("_nset_rejection")
        why = bad_title[0] if bad_title else reasons.get((result, source, reason), default)
        _NSET_LOGGER.warning("Rejecting the association with %s: %s", self.peer_name(), why)

    def _log_abort(self) -> None:
        """Say why an association is aborted; with faults, that has been said."""
        level, why = {
            "idle": (logging.WARNING, f"nothing for {self.network_timeout} s (AE.network_timeout)"),
            "shutdown": (logging.WARNING, "the server is shut down"),
            "error": (logging.WARNING, "an error of the server's or of a handler"),
            "local": (logging.INFO, "the program does"),
        }.get(self.abort_reason, (logging.DEBUG, self.abort_reason))
        _NSET_LOGGER.log(level, "Aborting the association with %s: %s", self.peer_name(), why)

    def _log_end(self) -> None:
        """Say in one line what there was of an association."""
        if not _NSET_LOGGER.isEnabledFor(logging.INFO):
            return
        connection, primitive = self._connection, self.requestor.primitive
        end = "released" if self.is_released else "rejected" if self.is_rejected else ""
        _NSET_LOGGER.info(
            "The association of %s with %s has ended: %.1f s, %s, %d bytes received, %d sent, %s",
            self.peer_name(),
            primitive.called_ae_title if primitive else self.acceptor.ae_title,
            time.monotonic() - self._since,
            self._tally.summary(connection.requests_read, connection.sent),
            connection.bytes_received,
            connection.bytes_sent,
            end or f"aborted ({self.abort_reason})",
        )


def _service(message: Any) -> str:
    """Name the service of a message."""
    return type(message).__name__.replace("_", "-")


def _sop_class(message: Any) -> Any:
    """Give what a request says its SOP Class is."""
    requested = getattr(message, "RequestedSOPClassUID", None)
    return requested or getattr(message, "AffectedSOPClassUID", None)
