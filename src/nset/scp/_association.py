"""An acceptor's association: pynetdicom's, with its services, but without its threads.

It has one job at a time, as pynetdicom's thread would: it negotiates, serves a request, or ends. A
job that never waits is done in the loop's thread, any other by a worker; meanwhile the association
is *busy*, and other work waits in its queues.
"""

import logging
import time
from asyncio import TimerHandle
from collections.abc import Callable
from functools import partial
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association as _StockAssociation
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT

from nset import _pdu
from nset._errors import CommandSetError
from nset._pdu import PduError
from nset.primitive import N_SET
from nset.pynetdicom import _provider
from nset.pynetdicom._messages import remove_file
from nset.scp import _log
from nset.scp._a_associate import MAX_REQUEST_BYTES
from nset.scp._data_sets import Served
from nset.scp._dispatch import log_error, primitive_in
from nset.scp._handlers import messages_are_logged
from nset.scp._memory import ALLOWANCE_BYTES
from nset.scp._services import NONE
from nset.scp._timers import TimedAssociation
from nset.scp._upper_layer import CLOSED

_LOGGER = logging.getLogger("pynetdicom.association")

# A handler that still runs this long after its peer has disconnected is logged.
_LEFT_HANDLER_SECONDS = 5.0

# Time for a peer to answer an A-RELEASE-RQ that its own request has crossed.
_RELEASE_CROSSING_SECONDS = 0.5

# Time to send what the peer has made room for while the process stood still.
_LAST_WRITE_SECONDS = 0.05

# Time for a waiting program to notice itself that the connection is closed.
_WAITER_SECONDS = 1.0


class Association(TimedAssociation):
    """An association of an event-driven server; to programs, pynetdicom's `Association`.

    Its protocol, `path`, makes it when something needs it, and calls it from then on. It owns its
    connection's output and all below, which call it as their ``...User`` protocols say.

    =====================  ==========================================================
    the loop's thread      what the protocol, the connection and the server call,
                           `has_run`, `advance`, `end`, `break_cycles`; ``path.is_busy``,
                           ``path.upper_layer_is_busy``, ``path.is_mid_message``, ``_is_...ing``
    a job's: the loop's    what `_next_job` returns, one at a time; what pynetdicom's
    or a worker's          services and ACSE set
    any thread             `UpperLayerUser`, `MessageUser`; what pynetdicom has: `abort`,
                           `release`, `send_...`, `bind`, `join`; `wake`, `kill`, `submit`
    =====================  ==========================================================

    Parameters
    ----------
    server : Server
        The server.
    path : Dispatcher
        The protocol.
    """

    _is_advancing = False
    _is_sending = False  # the job is done, and what it sends is with the upper layer
    _has_long_request = False
    _was_counted = False
    _is_finishing = False  # the job is neither negotiating nor serving
    _last_checked = 0.0  # at shutdown, `last_received` at the previous check
    _left: TimerHandle | None = None  # while a handler runs without a peer
    _release_collision = False
    _idle = False

    def __repr__(self) -> str:
        return f"<Association with {self.peer_name()}>"

    # -- What its providers ask --------------------------------------------------------------------

    def titles(self) -> tuple[str, str]:
        """Return the peer's AE title and the one that it calls, as far as they are known."""
        if self.accepted is not None:
            return self.accepted.calling_ae_title, self.accepted.called_ae_title
        if not self.has_providers:
            return "", self._server.ae_title
        peer, primitive = self.requestor, self.requestor.primitive
        if primitive is None:
            return peer.ae_title, self.acceptor.ae_title
        return peer.ae_title or primitive.calling_ae_title, primitive.called_ae_title

    def is_observed(self) -> bool:
        """Return whether a program, or the log at DEBUG, observes PDUs or messages."""
        return self.path.observes_messages or messages_are_logged(logging.DEBUG)

    def peer_name(self) -> str:
        """Return the peer's AE title, if it is known, and address."""
        return _log.peer_name(self)

    # -- Threads -----------------------------------------------------------------------------------

    def submit(self, job: Callable[[], None]) -> None:
        """Call `job` in a service worker."""
        self._threads.service_workers.submit(job)

    def wake(self) -> None:
        """Make the loop look for a job; from any thread."""
        if not (self._threads.is_loop_thread() and self._is_advancing):
            self._threads.call(self.advance)

    # -- What the protocol calls -------------------------------------------------------------------

    def connection_made(self) -> None:
        """Begin with EVT_CONN_OPEN, before anything is read."""
        self.path.is_busy = True
        self.flow.pause_from_start()
        self.dul.resume("Sta1")
        self.dul.event_queue.put("Evt5")
        self.do_in_worker(self._open)

    def _open(self) -> None:
        evt.trigger(self, evt.EVT_CONN_OPEN, {"address": self.address})
        self.dul.run()

    def connection_lost(self) -> None:
        """End the association; if a handler still runs, it does not count any more."""
        self.connection.connection_lost()
        if not self.path.bytes_received:
            _log.said_nothing(self)
        self.path.in_data_transfer = False  # before the upper layer has processed it
        self._server.connections.close(self.path)
        self.cancel_timer()
        with self._making:
            if not self.has_providers and (self.is_released or not self._was_requested):
                self.end()
                self.break_cycles()
                return
        self.dul.close_timers()
        self.dul.take(CLOSED)  # after the PDUs that were received before
        self.run_upper_layer()
        if self._is_waited_for():
            self._threads.loop.call_later(_WAITER_SECONDS, self._reactor_checkpoint.open)
        if self.path.is_busy and not self._is_finishing:
            first = next(iter(self.dul.to_user_queue.queue), None)
            if isinstance(first, A_ABORT | A_P_ABORT):
                self._count_abort("peer" if isinstance(first, A_ABORT) else "connection")
            self._left = self._threads.loop.call_later(
                _LEFT_HANDLER_SECONDS, _log.still_handled, self
            )
            self._server.leave(1)
        self.break_cycles()

    def writing_paused(self, size: int) -> None:
        """Pause reading: the peer does not read what is sent."""
        self.flow.writing_paused(size)

    def writing_resumed(self) -> None:
        """Resume reading."""
        self.flow.writing_resumed()

    def established_without_providers(self) -> None:
        """Log it, and see to it that a short network timeout is noticed."""
        _log.accepted(self)
        if self.path.settings.is_short_of_time:
            self.check_idle()  # else when the time for the first PDU would have been over

    def pdu_received(self, pdu: bytes) -> None:
        """Process a PDU in the upper layer."""
        if len(pdu) > MAX_REQUEST_BYTES and pdu[0] == _pdu.ASSOCIATE_RQ:
            self._has_long_request = not self._was_requested
        self.dul.take(pdu)
        self.run_upper_layer()

    def request_received(self, request: Any) -> None:
        """Serve a request that does not take the fast path, now or in its turn."""
        message = self.dimse.message if self.has_providers else None
        if message is not None:
            has_begun = type(message) is not DIMSEMessage
            raise _pdu.command_among_data() if has_begun else _pdu.data_before_command()
        path = self.path
        if request._service.is_concurrent:
            self.reports.add(self, request._context_id, request, path.request_length)
            return
        self.flow.enqueue(path.pending, request._context_id, request, path.request_length)
        if not path.is_busy:
            self.advance()

    def fault_received(self, fault: CommandSetError | PduError) -> None:
        """Answer input that cannot be decoded."""
        if isinstance(fault, CommandSetError) and fault.message_id is not None:
            self.refuse_request(fault, self.path.context_id)
            self._threads.loop.call_soon(self.path.read)
            self.advance()
            return
        self.path.discard_input()
        if self.dul.to_provider_queue.queue:
            self.dul.run()  # a rejection that waits to be sent comes first
        self.dul.refuse(fault)
        self.run_upper_layer()

    def responded(self) -> None:
        """Continue after a response, as other work waits."""
        if not self._is_advancing:
            self.advance()

    def read_no_more(self) -> None:
        """Discard received and future input."""
        self.path.discard_input()
        if self.has_providers:
            self.dul.drop_input()
        self.flow.pause()

    # -- What the upper layer calls ----------------------------------------------------------------

    def accepting(self) -> None:
        """Establish the association."""
        self.path.in_data_transfer = True
        self.is_established = True

    def in_data_transfer(self, value: bool) -> None:
        """Set whether the state is Sta6 (data transfer)."""
        self.path.in_data_transfer = value
        self.path.decodes_requests = self.path.decodes_requests and value

    def rejecting(self, result: Any, source: Any, reason: Any) -> None:
        """Count and log an A-ASSOCIATE-RJ."""
        self._server.counters.count("rejected")
        _log.rejecting(self, result, source, reason)

    def losing(self) -> None:
        """Log a connection that has ended within a message."""
        _log.losing(self)

    def run_upper_layer(self) -> None:
        """Run the upper layer, in a worker if it may block the loop, and continue."""
        if self._is_for_worker():
            self.path.upper_layer_is_busy = True
            self.submit(self._run_in_worker)  # a method of the association, to keep it until then
        elif self.dul.run():
            self.has_run()
        else:  # another thread runs it, and calls has_run() in the loop
            self.path.upper_layer_is_busy = True

    def _run_in_worker(self) -> None:
        self.dul.run()

    def _is_for_worker(self) -> bool:
        """Return whether the input calls a program's functions, or takes long."""
        return self.bindings.has_callbacks or self._has_long_request

    def has_run(self) -> None:
        """Continue after the upper layer has run."""
        # Another thread than the one that is to process the input may have run the upper layer.
        self.path.upper_layer_is_busy = self.dul.has_input
        self.path.is_mid_message = self.dimse.message is not None
        if self._is_sending:
            self._job_done()
        else:
            self.advance()

    # -- One job after the other -------------------------------------------------------------------

    def advance(self) -> None:
        """Do jobs until one is left to a worker or there is none, then resume reading."""
        self._is_advancing = True
        try:
            while not self.path.is_busy and (job := self._next_job()) is not None:
                self._begin_job(job)
        finally:
            self._is_advancing = False
        if self.path.is_reading_paused:
            self.flow.resume()

    def _begin_job(self, job: Callable[[], None]) -> None:
        if job == self._serve_next:  # which itself chooses the thread
            job()
            return
        self.path.is_busy = True
        self._is_finishing = job != self._negotiate
        if self._is_for_worker():
            self.do_in_worker(job)
            return
        try:
            self._try(job)
        finally:
            self.path.is_busy = False

    def do_in_worker(self, job: Callable[[], None]) -> None:
        """Do the job in a worker."""
        self.path.job_began = time.monotonic()
        self.submit(partial(self._do, job))

    def _do(self, job: Callable[[], None]) -> None:
        try:
            self._try(job)
        finally:
            self._threads.call(self._job_done)

    def _job_done(self) -> None:
        """Continue once the upper layer has sent the output of a worker's job.

        The fast path does not go through the upper layer: the answer to the next request must not
        overtake PDUs that another thread, which was running the state machine, still has to send.
        """
        self._is_sending = self.has_providers and self.dul.is_running
        if self._is_sending:
            return
        self.path.is_busy = False
        memory = self.path.memory
        if memory is not None and memory.serving:
            memory.note("serving", 0)
        self.advance()

    def _try(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as exc:
            if self._threads.is_for_loop(exc):
                raise
            log_error(_LOGGER, "%s", exc, exc_info=exc)
            self.dul.note_abort("error")
            self._abort_blocking(block=False)

    def _next_job(self) -> Callable[[], None] | None:
        if self._is_over:
            return None
        if self._is_waited_for():
            return self._serve_next if self.is_established and self.path.pending else None
        first = next(iter(self._primitives.queue), None)  # a thread may remove it
        if self._kill:
            if not self.has_providers:
                self.connection.finish()
                return None
            if self.dul.is_over:
                return self.end
            if not (self.dul.to_provider_queue.queue or self.dul.is_running):
                self.connection.finish()  # the association is over when the peer closes it, too
            return None
        if not self._was_requested:
            return self._negotiate if first else self.end if self._has_ended() else None
        if self.is_established:
            if isinstance(first, (A_ABORT, A_P_ABORT)):
                return partial(self._note_abort, first)
            if self.path.pending:
                return self._serve_next
            if first is not None:
                return self._release_confirmed if first.result else self._answer_to_release()
            if self._idle:
                return self._end_idle
            if self.path.is_ending and not self._sent_release:
                return self._ask_for_release
        return self.end if self._has_ended() else None

    def _has_ended(self) -> bool:
        return self.has_providers and self.dul.is_over

    # -- Negotiation -------------------------------------------------------------------------------

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
            self._server.counters.count("associations")
            _log.accepted(self)
            self.dul._idle_timer.start()
        else:
            self._kill = True

    def negotiated(self) -> None:
        """Pass the negotiated values to the fast path, before the peer may send."""
        self.path.peer_length = self.requestor.maximum_length or 0
        self.path.contexts = self._accepted_cx
        if self.acceptor._common_ext:  # which may name other service classes
            self.path.service_classes = NONE

    # -- Requests ----------------------------------------------------------------------------------

    def message_came(self, context_id: int, message: Any, size: int = 0) -> None:
        """Serve a request in its turn, with a data set of `size` bytes; from any thread."""
        self.tally.count_request(message)
        self.flow.enqueue(self.path.pending, context_id, message, size)

    def refuse_request(self, fault: CommandSetError, context_id: int) -> None:
        """Refuse a request in its turn; from any thread."""
        request = N_SET()
        request.MessageID = fault.message_id
        request._context_id = context_id
        request._nset_refusal = fault  # type: ignore[attr-defined]
        self.message_came(context_id, request)

    def _serve_next(self) -> None:
        """Serve the next request; in the loop's thread."""
        context_id, message, size = self.flow.take(self.path.pending)
        if self.path.is_ending and self._sent_release:
            # It has crossed the A-RELEASE-RQ, and the peer may wait for its response first.
            self._threads.call_later(_RELEASE_CROSSING_SECONDS, self._give_up_release)
            return
        refusal = getattr(message, "_nset_refusal", None)
        can_send = self.dul.can_send if self.has_providers else self.is_established
        if refusal is None and can_send and self.path.serve_queued(message, size):
            return
        message = primitive_in(message)
        self.path.is_busy = True
        if size > ALLOWANCE_BYTES:
            self.flow.note_serving(size)
        if refusal is not None and not self._sent_release:
            self.do_in_worker(partial(_provider._refuse, self, message, context_id, refusal))
        else:
            self.do_in_worker(partial(self._serve_request, message, context_id))

    def _serve_request(self, msg: Any, context_id: int) -> None:
        msg = _provider.by_requested_class(msg)
        refusal = None if self._sent_release else _provider.refusal_of(self, msg)
        if refusal is not None:
            _provider._refuse(self, msg, context_id, refusal)
            return
        had_aborted = self._sent_abort
        served: Any = Served(self, self.service_handlers, self._server.counters.measurements)
        _StockAssociation._serve_request(served, msg, context_id)
        if self._sent_abort and not had_aborted:
            _log.aborted_while_served(self, msg, context_id)

    def report_came(self, context_id: int, message: Any, size: int) -> None:
        """Serve an N-EVENT-REPORT, or a C-GET's C-STORE, concurrently, as pynetdicom does.

        From any thread.
        """
        self.tally.count_request(message)
        self.reports.add(self, context_id, message, size)

    def serve_report(self, message: Any, context_id: int, size: int) -> None:
        """Serve an N-EVENT-REPORT; in the loop's thread."""
        if not (self.path.in_data_transfer and self.path.serve_queued(message, size)):
            serve = partial(self._serve_request, primitive_in(message), context_id)
            self.reports.do_in_worker(self, serve)

    def do_report(self, job: Callable[[], None]) -> None:
        """Do a job for a report; in a worker's thread."""
        self._try(job)

    def reports_served(self) -> None:
        """Answer an A-RELEASE-RQ that has waited for reports."""
        if self._primitives.queue:
            self.responded()

    def service_failed(self, request: Any, context_id: int, exc: Exception) -> None:
        """Abort, as pynetdicom does where its service class has failed."""
        _LOGGER.exception(exc)
        self.abort()
        _log.aborted_while_served(self, request, context_id)

    def _serves_reports(self) -> bool:
        return self._has_made("reports") and self.reports.are_served

    def _is_waited_for(self) -> bool:
        """Return whether a thread waits for a response, or for the peer's release or abort."""
        return self._has_made("checkpoint") and not self._reactor_checkpoint.is_set()

    # -- Its state, for the server -----------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether it counts as an association."""
        return self._was_requested and not self.is_rejected and self._left is None

    def is_working(self) -> bool:
        """Return whether a request is served, or waits to be."""
        return bool(
            self.path.is_busy
            or self.path.pending
            or self._serves_reports()
            or self._is_waited_for()
        )

    def is_quiet(self) -> bool:
        """Return whether nothing was received since the last call, and there is no work."""
        path, before = self.path, self._last_checked
        self._last_checked = path.last_received
        return before == path.last_received and not (
            self.is_working() or path.is_reading_paused or (self._was_requested and self.progress())
        )

    def unanswered(self) -> int:
        """Return the number of requests received, whole or in part, and not answered."""
        begun = self._serves_reports() + bool(self.progress())
        if self.path.is_busy and self.is_established:
            begun += 1
        return (self.flow.pending() if self._has_made("flow") else 0) + begun

    def progress(self) -> tuple[int | None, int] | None:
        """Return Message ID and received bytes of a message that is not complete, or None."""
        return (self.dimse.progress() if self.has_providers else None) or self.path.progress()

    # -- The end -----------------------------------------------------------------------------------

    def _note_abort(self, primitive: Any) -> None:
        by_peer = isinstance(primitive, A_ABORT)
        _LOGGER.info("Association Aborted" if by_peer else "Association Aborted (A-P-ABORT)")
        # Before the primitive is removed: a program without a response checks one or the other.
        self.is_established = False
        self.dul.receive_pdu(wait=False)
        self._count_abort("peer" if by_peer else "connection")
        self.is_aborted = True
        evt.trigger(self, evt.EVT_ABORTED, {})
        self.kill()

    def _answer_to_release(self) -> Callable[[], None] | None:
        """Return the job that answers an A-RELEASE-RQ, once the reports before it are served."""
        waits = self._serves_reports() and not self._sent_release
        return None if waits else self._release_requested

    def _release_requested(self) -> None:
        self.dul.receive_pdu(wait=False)
        if self._sent_release:
            _LOGGER.debug("An A-RELEASE collision has occurred")
            self._release_collision = True  # the requestor answers first (PS3.8 Section 7.2.2.7)
            return
        self.acse.send_release(is_response=True)
        _LOGGER.info("Association Released")
        self._released()

    def _release_confirmed(self) -> None:
        self.dul.receive_pdu(wait=False)
        if self._release_collision:
            self.acse.send_release(is_response=True)
        self._released()

    def _released(self) -> None:
        self.is_released = True
        self.is_established = False
        evt.trigger(self, evt.EVT_RELEASED, {})
        self.kill()

    def release(self) -> None:
        """Release the association, and wait for the peer's A-RELEASE-RP.

        Where the peer has asked for it before, that is answered when the handler has returned.
        """
        if self.dul.state != "Sta8":
            super().release()

    def end_soon(self) -> None:
        """Request the release of an association that is quiet."""
        if self._was_requested:
            self.path.is_ending = True
            self.advance()
        else:
            self.path.abort()

    def _ask_for_release(self) -> None:
        _LOGGER.info("Releasing Association")
        _log.releasing(self)
        self.acse.send_release(is_response=False)

    def _give_up_release(self) -> None:
        if not self._is_over:
            _log.aborting_crossed(self)
            self.request_abort("shutdown")

    def idle_too_long(self) -> None:
        """Handle the network timeout, unless the peer waits for the server."""
        if not self.connection.is_writable:
            self._threads.loop.call_later(
                _LAST_WRITE_SECONDS, self._unread_too_long, self.connection.bytes_unsent
            )
        elif self._is_over_memory() and not self.is_working():
            self.dul.note_abort("memory")
            _log.aborting_over_memory(self, self._server.memory)
            self.request_abort("memory")
        elif self.is_working() or not self.is_established or self.connection.has_input():
            self.dul._idle_timer.start()
            self.flow.resume()
        else:
            self._idle = True
            self.advance()

    def _unread_too_long(self, unsent: int) -> None:
        """Close the connection, unless the peer has read something all the same."""
        if not self.connection.is_connected:
            return
        if self.connection.is_writable or self.connection.bytes_unsent < unsent:
            self.dul._idle_timer.start()
            return
        self.dul.note_abort("idle")
        _LOGGER.error("Network timeout reached")
        _log.closing_unread(self)
        self.path.abort()

    def _is_over_memory(self) -> bool:
        return self.path.memory is not None and self.path.memory.is_over_limit

    def _end_idle(self) -> None:
        self._idle = False
        _LOGGER.error("Network timeout reached")
        if self.network_timeout_response == "A-RELEASE":
            _log.releasing(self)
            self.submit(partial(self._try, self.release))
            return
        self.dul.note_abort("idle")
        self._abort_blocking(block=False)

    def request_abort(self, reason: str) -> None:
        """Abort the association, in a worker if a program's functions are called."""
        self.dul.note_abort(reason)
        abort = partial(self._try, partial(self._abort_blocking, block=False))
        if self.bindings.has_callbacks:
            self._server.aborting.add(self)
            self.submit(partial(self._abort_in_worker, abort))
        else:
            abort()

    def _abort_in_worker(self, abort: Callable[[], None]) -> None:
        try:
            abort()
        finally:
            self._threads.call(self._server.aborting.discard, self)

    def _abort_blocking(self, block: bool = True) -> None:
        if self._sent_abort or self.is_released or self._is_over:
            return
        self._sent_abort = True
        self._count_abort("local")
        self._reactor_checkpoint.open()
        _LOGGER.info("Aborting Association")
        _log.aborting(self)
        try:
            if self.dul.state in ("Sta1", "Sta2"):
                self.is_aborted = True  # there is no peer yet
            else:
                self.acse.send_abort(0x00)
            evt.trigger(self, evt.EVT_ABORTED, {})
        finally:
            self.kill()
        if block and not self._threads.is_own_thread():
            # As in pynetdicom: callers expect the peer to have noticed the abort.
            self.join(1)
            time.sleep(0.1)

    def _count_abort(self, reason: str) -> None:
        """Count the abort once, under the first reason that is known."""
        if not self._was_counted:
            self._was_counted = True
            self.dul.note_abort(reason)
            self._server.counters.count_abort(self.dul.abort_reason)

    def kill(self) -> None:
        """End the association; from any thread."""
        self._kill = True
        self.is_established = False
        if self._has_made("checkpoint"):
            self._reactor_checkpoint.open()
        self.path.is_ending = True  # the fast path then calls responded()
        self.wake()

    def end(self) -> None:
        """End the association: count it, log it, and wake threads that wait for it."""
        self._is_over = True
        self.is_established = False
        if self._left is not None:
            self._left.cancel()
            self._server.leave(-1)
        if self.is_aborted or (self._was_requested and not (self.is_released or self.is_rejected)):
            self._count_abort("connection")
        if self.is_released:
            self._server.counters.count("released")
        if self._was_requested:
            _log.ended(self, time.monotonic() - self.path.since)
        self._primitives.put(None)  # wakes a thread that waits
        reports = self.flow.reports if self._has_made("flow") else ()
        for _, message, _ in (*self.path.pending, *reports):
            remove_file(message)
        if self.has_providers:
            self.dimse.msg_queue.close()
            remove_file(self.dimse.message)
        self.path.pending.clear()
        if self.path.memory is not None:
            self.path.memory.close()
        self._server.forget(self.path)
        self._tell_end()
        if self.has_providers:  # which may be at work
            self._threads.call(self.break_cycles)
