"""pynetdicom's upper layer (PS3.8) without its thread.

The state machine, its actions and its table are pynetdicom's. Whoever gives it something to do, the
loop with what has come or a worker with what is to be sent, has it done in his own thread, unless
another one is at it already; then that one does it, too. So nobody waits, and all is in order.
"""

import logging
import threading
from typing import Any

from pynetdicom.dul import DULServiceProvider as _StockDUL
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_P_ABORT, P_DATA

from nset import _pdu
from nset._errors import CommandSetError
from nset._pdu import PduError
from nset.pynetdicom import _negotiation, _provider
from nset.scp._queues import IdleTimer, Mailbox, Timer

_DUL_LOGGER = logging.getLogger("pynetdicom.dul")
_LOGGER = logging.getLogger("nset")

# What PDUs are to the state machine (PS3.8 Table 9-10).
_PDU_TYPES = {"Evt3": 2, "Evt4": 3, "Evt6": 1, "Evt10": 4, "Evt12": 5, "Evt13": 6}

_PROVIDER = 0x02
"""The source of an A-ABORT that is not the user's (PS3.8 Section 9.3.8)."""

CLOSED = b""
"""What is no PDU but the end of the connection."""

# Seconds. pynetdicom's requestor looks whether it is still connected after its request has gone
# out; a rejection that has come by then, and closed the connection, it takes for an abort.
_REJECTION_DELAY = 0.01

# Seconds in which what is in the socket already is read.
_LOOK_AGAIN = 0.05


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
    """pynetdicom's, telling the connection when it has nothing more to send."""

    def transition(self, state: str) -> None:
        super().transition(state)
        dul: Any = self.dul
        dul.socket.is_transferring = state == "Sta6"
        dul.socket.is_fast = dul.socket.is_fast and state == "Sta6"
        if state == "Sta13":
            dul.socket.finish()


class DULServiceProvider(_StockDUL):
    """The upper layer of one association.

    Parameters
    ----------
    assoc : Association
        The association.
    connection : Connection
        Where PDUs come from and go to.

    Attributes
    ----------
    fault : int
        The reason for the next A-ABORT of the provider (PS3.8 Table 9-26).
    """

    def __init__(self, assoc: Any, connection: Any) -> None:
        # Not the thread's: there is none.
        self._assoc = assoc
        self.socket: Any = connection
        self.event_queue: Any = Mailbox()
        self.to_provider_queue: Any = Mailbox()
        self.to_user_queue: Any = Mailbox()
        self._recv_pdu: Any = Mailbox()
        loop = connection.loop
        self._idle_timer: Any = IdleTimer(60, connection, assoc.idle_too_long)
        self.artim_timer: Any = Timer(30, loop, self._artim_expired)
        self.state_machine = _StateMachine(self)
        self._run_loop_delay = 0.001
        self._kill_thread = False
        self.fault = 0
        self._inbox: list[bytes] = connection.inbox
        self._claim = threading.Lock()  # guards is_pumping and _has_more
        self._has_more = False

    def is_alive(self) -> bool:
        """Tell whether there is a thread to wait for: there is none."""
        return False

    def start(self) -> None:
        """Do nothing: there is no thread to start."""

    @property
    def state(self) -> str:
        """``"Sta1"`` to ``"Sta13"``."""
        return self.state_machine.current_state

    @property
    def is_over(self) -> bool:
        """Whether the state machine has come to its end."""
        return self._kill_thread

    def _artim_expired(self) -> None:
        if self.socket.has_input():  # as where the process has stood still: it comes first
            self.socket.loop.call_later(_LOOK_AGAIN, self._expire, self.state)
        else:
            self._expire(self.state)

    def _expire(self, state: str) -> None:
        if self.state == state and not self.is_over:
            self.event_queue.put("Evt18")
            self.work()

    def work(self) -> None:
        """Have all done that there is to do; in the loop's thread, which no program may hold up."""
        assoc: Any = self.assoc
        if assoc.is_for_worker():
            assoc.submit(assoc.pump)  # which is there until the job is done
        else:
            self.pump()

    def send_pdu(self, primitive: Any) -> None:
        """Send a primitive, as the state machine will have it; from any thread.

        Parameters
        ----------
        primitive : pynetdicom primitive
            As for pynetdicom's provider. A worker's P-DATA waits until there is room for it.
        """
        if isinstance(primitive, P_DATA):
            self.socket.wait_for_room()
        super().send_pdu(primitive)
        if isinstance(primitive, A_ASSOCIATE) and primitive.result:
            self.socket.call_later(_REJECTION_DELAY, self.work)
        else:
            self.pump()

    def pump(self) -> None:
        """Do all that there is to do; from any thread."""
        with self._claim:
            self._has_more = True
            if self.socket.is_pumping:
                return
            self.socket.is_pumping = True
        while True:
            with self._claim:
                if not self._has_more:
                    self.socket.is_pumping = False
                    break
                self._has_more = False
            try:
                while self._step():
                    pass
            except BaseException as exc:
                self._break_down(exc)
                if self.assoc.is_for_loop(exc):  # type: ignore[attr-defined]
                    with self._claim:
                        self.socket.is_pumping = False
                    raise
        self.assoc.has_pumped()  # type: ignore[attr-defined]

    def _step(self) -> bool:
        """Process one event; False where there is none."""
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
            # It has come too late, as a response to a peer that has gone.
            primitive = self.to_provider_queue.get(False)
            _DUL_LOGGER.debug("%s not sent in %s", type(primitive).__name__, self.state)
        return True

    def _send_message(self) -> None:
        """Send the fragments of a message; nothing else comes between them (PS3.8 Annex E)."""
        queue = self.to_provider_queue.queue
        fragments = getattr(queue[0], "fragments", [queue[0]])
        queue[0:1] = fragments  # to which others only append
        with self.socket.sending_at_once():
            for _ in fragments:
                self.state_machine.do_action("Evt9")

    def _note_unexpected(self, kind: int, action: str) -> None:
        assoc: Any = self.assoc
        self.fault = _pdu.UNEXPECTED_PDU
        if action != "AA-7":  # where it is over already
            assoc.abort_reason = assoc.abort_reason or "invalid PDU"
            _LOGGER.error(
                "Aborting the association with %s: invalid PDU: one of type 0x%02X in %s",
                *(assoc.peer_name(), kind, self.state),
            )

    def _decode_pdu(self, bytestream: bytearray) -> Any:
        if bytestream[0] in _negotiation.KINDS:
            return _negotiation.decode_pdu(self, bytestream)
        return super()._decode_pdu(bytestream)

    def _decode_next(self) -> bool:
        """Decode the next PDU that has been received; False where there is none."""
        if not self._inbox:
            return False
        data = self._inbox.pop(0)
        if data is CLOSED:
            self.event_queue.put("Evt17")
            return True
        if data[0] == _pdu.ABORT:  # whoever on the other side is its source
            assoc: Any = self.assoc
            assoc.abort_reason = assoc.abort_reason or "peer"
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

    def refuse(self, fault: Exception) -> None:
        """Note that what has been received is invalid, and say why and from whom."""
        self.fault = fault.diagnostic if isinstance(fault, PduError) else 0
        assoc: Any = self.assoc
        assoc.abort_reason = assoc.abort_reason or (
            "invalid message" if isinstance(fault, CommandSetError) else "invalid PDU"
        )
        if isinstance(fault, PduError):
            _LOGGER.error(
                "Aborting the association with %s: invalid PDU: %s",
                assoc.peer_name(),
                fault,
            )
        else:
            _provider._log_abort(assoc, fault)
        self.event_queue.put("Evt19")

    def _send(self, pdu: Any) -> None:
        assoc: Any = self.assoc
        if isinstance(pdu, A_ABORT_RQ) and pdu.source == _PROVIDER:
            pdu.reason_diagnostic = self.fault  # pynetdicom does not know
        elif isinstance(pdu, A_ASSOCIATE_RJ):
            assoc.note_rejection(pdu.result, pdu.source, pdu.reason_diagnostic)
        if isinstance(pdu, (A_RELEASE_RQ, A_RELEASE_RP, A_ABORT_RQ)):
            # No message is sent behind a release or an abort.
            self.socket.stop_messages(aborts=isinstance(pdu, A_ABORT_RQ))
        super()._send(pdu)

    def _break_down(self, exc: BaseException) -> None:
        """Abort past the state machine, which has failed; the others go on."""
        assoc: Any = self.assoc
        _DUL_LOGGER.error("Exception in the upper layer, aborting association")
        _LOGGER.error("Aborting the association with %s: %s", assoc.peer_name(), exc, exc_info=exc)
        assoc.abort_reason = assoc.abort_reason or "error"
        pdu = A_ABORT_RQ()
        pdu.source = _PROVIDER
        pdu.reason_diagnostic = self.fault
        self.socket.stop_messages(aborts=True)
        self.socket.send_quietly(pdu.encode())  # it may be who listens that has failed
        self.socket.finish()
        self.end(A_P_ABORT())

    def end(self, primitive: Any) -> None:
        """End the state machine where it stands; the user learns of it by a primitive."""
        self.socket.is_transferring = False
        if isinstance(primitive, A_P_ABORT):
            primitive.provider_reason = 0x00
        self.to_user_queue.put(primitive)
        self.kill_dul()

    def kill_dul(self) -> None:
        """Note that the state machine has come to its end, and wake whoever waits for a message."""
        super().kill_dul()
        responses: Any = self.assoc.dimse.msg_queue
        responses.close()

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """Give the next primitive for the user.

        Parameters
        ----------
        wait : bool
            Whether to wait for one; not in the loop's thread.
        timeout : float, optional
            Seconds.

        Returns
        -------
        pynetdicom primitive or None
            None where there is none.
        """
        if wait:
            self.assoc.may_wait()  # type: ignore[attr-defined]
        return super().receive_pdu(wait, timeout)
