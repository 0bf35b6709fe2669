"""pynetdicom's upper layer (PS3.8) without its thread: PDUs in, PDUs and primitives out.

The state machine, its actions and its table are pynetdicom's. Any thread may give the upper layer
work: the loop's thread a received PDU, a worker or a program's thread a primitive to be sent. The
thread that does runs the state machine itself, unless another one is running it; then that one does
the added work, too. So no thread waits for another, and everything is in order.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from pynetdicom import evt
from pynetdicom.dul import DULServiceProvider as _StockDUL
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_P_ABORT, P_DATA

from nset import _pdu
from nset._errors import CommandSetError
from nset._pdu import PduError
from nset.pynetdicom import _negotiation, _provider
from nset.scp._connection import Connection
from nset.scp._queues import IdleTimer, Mailbox, Responses, Timer
from nset.scp._threads import Threads

_DUL_LOGGER = logging.getLogger("pynetdicom.dul")
_LOGGER = logging.getLogger("nset")

# Events of received PDUs, with the PDU's type (PS3.8 Table 9-10).
_PDU_TYPES = {"Evt3": 2, "Evt4": 3, "Evt6": 1, "Evt10": 4, "Evt12": 5, "Evt13": 6}

_PROVIDER = 0x02
"""The source of an A-ABORT that is not the user's (PS3.8 Section 9.3.8)."""

CLOSED = b""
"""Stands in the inbox for the end of the connection."""

# pynetdicom's requestor checks its connection after it has sent its request: a rejection that has
# arrived by then, with a closed connection, it takes for an abort.
_REJECTION_DELAY_SECONDS = 0.01

# Time to read input that is in the socket already.
_LAST_READ_SECONDS = 0.05


class UpperLayerUser(Protocol):
    """What the upper layer calls of the association; from any thread, if nothing else is said."""

    def accepting(self) -> None:
        """Establish the association, in Sta6: its A-ASSOCIATE-AC is about to be sent."""

    def in_data_transfer(self, value: bool) -> None:
        """Set whether the state is Sta6."""

    def rejecting(self, result: Any, source: Any, reason: Any) -> None:
        """Count and log an A-ASSOCIATE-RJ that is about to be sent."""

    def losing(self) -> None:
        """Log a connection that has ended within a message."""

    def has_run(self) -> None:
        """Continue after another thread has run the upper layer; in the loop's thread."""

    def run_upper_layer(self) -> None:
        """Run the upper layer, and continue; in the loop's thread."""

    def peer_name(self) -> str:
        """Return the peer's name for the log."""


class Message(P_DATA):
    """A whole message, which the state machine sends as the P-DATA of its fragments.

    Parameters
    ----------
    fragments : list of P_DATA
        In their order.
    """

    def __init__(self, fragments: list[P_DATA]) -> None:
        super().__init__()
        self.fragments = fragments


class _StateMachine(StateMachine):
    def transition(self, state: str) -> None:
        super().transition(state)
        self.dul.state_changed(state)  # type: ignore[attr-defined]


class DULServiceProvider(_StockDUL):
    """The upper layer of one association; to pynetdicom's actions also their socket.

    =====================  ==========================================================
    the loop's thread      `take`, `take_closed`, `drop_input`, the timers
    any thread             all else
    guarded by ``_claim``  `is_running`, ``_has_more``
    who runs it alone      ``_recv_pdu``, ``_pdus``, `fault`, the state machine
    =====================  ==========================================================

    Parameters
    ----------
    assoc : Association
        The association, which has what `UpperLayerUser` says.
    connection : Connection
        Where PDUs are sent.
    threads : Threads
        The server's.
    idle_timer : IdleTimer
        For the network timeout.
    responses : Responses
        Closed when the state machine has ended.
    primitives : Mailbox
        Gets those for the user.

    Attributes
    ----------
    is_running : bool
        Whether a thread is running the state machine.
    fault : int
        The reason for the next A-ABORT of the provider (PS3.8 Table 9-26).
    abort_reason : str
        Why the association is aborted, as in `Counts.aborted`; empty if that is not known.
    """

    _assoc: Any

    def __init__(
        self,
        assoc: UpperLayerUser,
        connection: Connection,
        threads: Threads,
        idle_timer: IdleTimer,
        responses: Responses,
        primitives: Mailbox,
    ) -> None:
        # Without the stock __init__, which makes a thread.
        self._assoc = assoc
        self._user = assoc
        self._connection = connection
        self._threads = threads
        self._responses = responses
        self.event_queue: Any = Mailbox()
        self.to_provider_queue: Any = Mailbox()
        self.to_user_queue: Any = primitives
        self._recv_pdu: Any = Mailbox()
        self._idle_timer: Any = idle_timer
        self.artim_timer: Any = Timer(30, threads.loop, self.artim_expired)
        self.state_machine = _StateMachine(self)
        self._run_loop_delay = 0.001
        self._kill_thread = False
        self.fault = 0
        self.abort_reason = ""
        self._inbox: list[bytes] = []  # PDUs that are not decoded yet
        self._pdus: list[bytes] | None = None  # of a message that is being sent
        self._is_in_data_transfer = False
        self._claim = threading.Lock()
        self.is_running = False
        self._has_more = False

    def break_cycles(self, assoc: Any) -> None:
        """Keep only a weak reference to an association that is over."""
        self._assoc = self._user = assoc
        self._kill_thread = True  # if the server has ended first

    def is_alive(self) -> bool:
        """Return False: there is no thread."""
        return False

    def start(self) -> None:
        """Do nothing: there is no thread."""

    @property
    def state(self) -> str:
        """``"Sta1"`` to ``"Sta13"``."""
        return self.state_machine.current_state

    @property
    def is_over(self) -> bool:
        """Whether the state machine has ended."""
        return self._kill_thread

    @property
    def has_input(self) -> bool:
        """Whether received PDUs are not processed yet, or not to the end."""
        # In this order: a thread says that it runs before it takes a PDU from the inbox.
        return bool(self._inbox and not self._kill_thread) or self.is_running

    @property
    def can_send(self) -> bool:
        """Whether messages may be sent."""
        return self._is_in_data_transfer or self.state == "Sta8"

    def resume(self, state: str) -> None:
        """Take the state of an association that had no upper layer so far."""
        self.state_machine.current_state = state
        self._is_in_data_transfer = state == "Sta6"

    def state_changed(self, state: str) -> None:
        """Handle a new state."""
        self._set_in_data_transfer(state == "Sta6")
        if state == "Sta13":
            self._connection.finish()

    def _set_in_data_transfer(self, value: bool) -> None:
        if value != self._is_in_data_transfer:
            self._is_in_data_transfer = value
            self._user.in_data_transfer(value)

    def note_abort(self, reason: str) -> None:
        """Set the reason of the abort, unless there is one."""
        self.abort_reason = self.abort_reason or reason

    # -- Timers ------------------------------------------------------------------------------------

    def close_timers(self) -> None:
        """Stop the timers for good."""
        self.artim_timer.close()
        self._idle_timer.close()

    def artim_expired(self) -> None:
        """Process the expiry of the ARTIM timer, but first what is in the socket."""
        if self._connection.has_input():  # after the process has stood still: it goes first
            self._threads.loop.call_later(_LAST_READ_SECONDS, self._expire, self.state)
        else:
            self._expire(self.state)

    def _expire(self, state: str) -> None:
        if self.state == state and not self.is_over:
            self.event_queue.put("Evt18")
            self._user.run_upper_layer()

    # -- Running the state machine -----------------------------------------------------------------

    def run(self) -> bool:  # type: ignore[override]
        """Run the state machine until there is no work; from any thread.

        Returns
        -------
        bool
            True once it is done; False if another thread does it. The loop's thread goes on when
            this returns; if another thread has done the work, the loop is told.
        """
        with self._claim:
            self._has_more = True
            if self.is_running:
                return False
            self.is_running = True
        while True:
            with self._claim:
                if not self._has_more:
                    self.is_running = False
                    break
                self._has_more = False
            try:
                while self._process_event():
                    pass
            except BaseException as exc:
                self._break_down(exc)
                if self._threads.is_for_loop(exc):
                    with self._claim:
                        self.is_running = False
                    raise
        if not self._threads.is_loop_thread():
            self._threads.call(self._user.has_run)
        return True

    def _process_event(self) -> bool:
        """Process one event; False if there is none."""
        if self._kill_thread:
            return False
        events = self.event_queue.queue
        if not events and not self._process_recv_primitive() and not self._decode_next():
            return False
        event = self.event_queue.get(False)
        action = TRANSITION_TABLE.get((event, self.state))
        if action is not None:
            kind = _PDU_TYPES.get(event)
            if kind is not None and action in ("AA-1", "AA-7", "AA-8"):
                self._note_unexpected(kind, action)
            if event == "Evt9":
                self._send_message()
            else:
                self.state_machine.do_action(event)
        elif event in ("Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15"):
            # Too late: for example, a response to a peer that has disconnected.
            primitive = self.to_provider_queue.get(False)
            _DUL_LOGGER.debug("%s not sent in %s", type(primitive).__name__, self.state)
        return True

    def _break_down(self, exc: BaseException) -> None:
        """Abort without the state machine, which has failed; other associations go on."""
        _DUL_LOGGER.error("Exception in the upper layer, aborting association")
        _LOGGER.error(
            "Aborting the association with %s: %s", self._user.peer_name(), exc, exc_info=exc
        )
        self.note_abort("error")
        pdu = A_ABORT_RQ()
        pdu.source = _PROVIDER
        pdu.reason_diagnostic = self.fault
        self._stop_messages(aborts=True)
        self._connection.send(pdu.encode())  # no event: it may be its handler that has failed
        self._connection.finish()
        self.end(A_P_ABORT())

    def end(self, primitive: Any) -> None:
        """End the state machine in its state, and give the user a primitive."""
        self._set_in_data_transfer(False)
        if isinstance(primitive, A_P_ABORT):
            primitive.provider_reason = 0x00
        self.to_user_queue.put(primitive)
        self.kill_dul()

    def kill_dul(self) -> None:
        """End the state machine, and wake threads that wait for messages."""
        super().kill_dul()
        self._responses.close()

    # -- PDUs in -----------------------------------------------------------------------------------

    def take(self, pdu: bytes) -> None:
        """Add a received PDU, or `CLOSED`; `run` processes it."""
        self._inbox.append(pdu)

    def drop_input(self) -> None:
        """Drop the PDUs that are not processed yet."""
        self._inbox.clear()

    def _decode_next(self) -> bool:
        """Decode the next received PDU; return False if there is none."""
        if not self._inbox:
            return False
        data = self._inbox.pop(0)
        if data is CLOSED:
            if self.state in ("Sta6", "Sta7"):
                self._user.losing()
            self.event_queue.put("Evt17")
            return True
        if data[0] == _pdu.ABORT:  # of whichever source on the other side
            self.note_abort("peer")
        try:
            pdu, event = self._decode_pdu(bytearray(data))
        except Exception as exc:
            _DUL_LOGGER.error("Unable to decode the received PDU data")
            _DUL_LOGGER.exception(exc)
            if not isinstance(exc, PduError):
                exc = PduError(f"{type(exc).__name__}: {exc}", _pdu.INVALID_PDU_PARAMETER)
            self.refuse(exc)
            return True
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)
        return True

    def _decode_pdu(self, bytestream: bytearray) -> Any:
        if bytestream[0] in _negotiation.KINDS:
            return _negotiation.decode_pdu(self, bytestream)
        return super()._decode_pdu(bytestream)

    def _note_unexpected(self, kind: int, action: str) -> None:
        self.fault = _pdu.UNEXPECTED_PDU
        if action != "AA-7":  # where it is over already
            self.note_abort("invalid PDU")
            _LOGGER.error(
                "Aborting the association with %s: invalid PDU: one of type 0x%02X in %s",
                *(self._user.peer_name(), kind, self.state),
            )

    def refuse(self, fault: Exception) -> None:
        """Abort because of an invalid input, and log the peer and the reason."""
        self.fault = fault.diagnostic if isinstance(fault, PduError) else 0
        self.note_abort("invalid message" if isinstance(fault, CommandSetError) else "invalid PDU")
        if isinstance(fault, PduError):
            _LOGGER.error(
                "Aborting the association with %s: invalid PDU: %s", self._user.peer_name(), fault
            )
        else:
            _provider._log_abort(self._assoc, fault)
        self.event_queue.put("Evt19")

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """Return the next primitive for the user.

        Parameters
        ----------
        wait : bool
            Whether to wait for one; not in the loop's thread.
        timeout : float, optional
            Seconds.

        Returns
        -------
        pynetdicom primitive or None
            None if there is none.
        """
        if wait:
            self._threads.may_wait()
        return super().receive_pdu(wait, timeout)

    # -- PDUs out ----------------------------------------------------------------------------------

    def send_pdu(self, primitive: Any) -> None:
        """Send a primitive by way of the state machine; from any thread.

        Parameters
        ----------
        primitive : pynetdicom primitive
            As for pynetdicom's provider. A worker's P-DATA waits until there is room for it.
        """
        if isinstance(primitive, P_DATA):
            self._connection.wait_for_room()
        super().send_pdu(primitive)
        if isinstance(primitive, A_ASSOCIATE) and primitive.result:
            self._threads.call_later(_REJECTION_DELAY_SECONDS, self._user.run_upper_layer)
        else:
            self.run()

    def _send_message(self) -> None:
        """Send the fragments of a message; nothing else comes between them (PS3.8 Annex E)."""
        queue = self.to_provider_queue.queue
        fragments = getattr(queue[0], "fragments", [queue[0]])
        queue[0:1] = fragments  # other threads only append to it
        with self._joined():
            for _ in fragments:
                self.state_machine.do_action("Evt9")

    @contextmanager
    def _joined(self) -> Iterator[None]:
        """Send the PDUs that the state machine sends meanwhile in one write."""
        pdus: list[bytes] = []
        self._pdus = pdus
        try:
            yield
        finally:
            self._pdus = None
            if pdus:
                self._connection.send(b"".join(pdus))

    def _send(self, pdu: Any) -> None:
        if isinstance(pdu, A_ABORT_RQ) and pdu.source == _PROVIDER:
            pdu.reason_diagnostic = self.fault  # pynetdicom does not know
        elif isinstance(pdu, A_ASSOCIATE_RJ):
            self._user.rejecting(pdu.result, pdu.source, pdu.reason_diagnostic)
        if isinstance(pdu, (A_RELEASE_RQ, A_RELEASE_RP, A_ABORT_RQ)):
            self._stop_messages(aborts=isinstance(pdu, A_ABORT_RQ))
        super()._send(pdu)

    def _stop_messages(self, *, aborts: bool) -> None:
        """Send no message after a release or an abort."""
        self._set_in_data_transfer(False)
        self._connection.stop_messages(aborts=aborts)

    @property
    def socket(self) -> Any:  # type: ignore[override]
        """What pynetdicom's actions take for a socket, to `send` PDUs and to `close`."""
        return self

    def send(self, data: bytes) -> None:
        """Send an encoded PDU."""
        if self._pdus is not None:
            self._pdus.append(data)
        elif data[0] == _pdu.ASSOCIATE_AC:
            # The association is established before the peer knows: the peer and programs may send
            # requests at once. Messages of programs are sent after the A-ASSOCIATE-AC.
            self._connection.queue(data)
            self._is_in_data_transfer = True
            self._user.accepting()
            self._connection.flush()
        else:
            self._connection.send(data)
        evt.trigger(self._assoc, evt.EVT_DATA_SENT, {"data": data})

    def close(self) -> None:
        """Close the connection, and send nothing from now on."""
        self._set_in_data_transfer(False)
        self._connection.close()

    _shutdown_socket = close
