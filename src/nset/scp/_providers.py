"""pynetdicom's DUL and DIMSE service providers without their threads.

The state machine, its actions and its table are pynetdicom's. Whoever gives it something to do, the
loop with what has come or a worker with what is to be sent, has it done in his own thread, unless
another one is at it already; then that one does it, too. So nobody waits, and all is in order.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom.dimse import _RQ_TO_MESSAGE, _RSP_TO_MESSAGE
from pynetdicom.dimse import DIMSEServiceProvider as _StockDIMSE
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, N_EVENT_REPORT
from pynetdicom.dul import DULServiceProvider as _StockDUL
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_P_ABORT, P_DATA

from nset import _pdu, _rules, status
from nset._command_set import N_SET_RQ as _N_SET_RQ
from nset._command_set import CommandSetError, command_field, examine
from nset._command_set import message_id as _message_id
from nset._pdu import PduError
from nset.primitive import N_SET
from nset.pynetdicom import _messages, _negotiation, _provider
from nset.scp._queues import IdleTimer, Mailbox, Responses, Timer
from nset.scp._rules import MAX_EMPTY_FRAGMENTS, too_many_empty_fragments
from nset.wire import encode_pdus

if TYPE_CHECKING:
    from nset.scp._association import Association
    from nset.scp._connection import Connection

_ASSOC_LOGGER = logging.getLogger("pynetdicom.association")
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

_decode_msg = _messages.decode_msg(DIMSEMessage.decode_msg)
_message_to_primitive = _messages.message_to_primitive(DIMSEMessage.message_to_primitive)
_primitive_to_message = _messages.primitive_to_message(DIMSEMessage.primitive_to_message)
_encode_msg = _messages.encode_msg(DIMSEMessage.encode_msg)


class _Message(P_DATA):
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

    def __init__(self, assoc: "Association", connection: "Connection") -> None:
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


class DIMSEServiceProvider(_StockDIMSE):
    """The messages of one association that do not take the short way.

    Parameters
    ----------
    assoc : Association
        The association.
    connection : Connection
        Its connection.
    """

    def __init__(self, assoc: "Association", connection: "Connection") -> None:
        self._assoc = assoc
        self._connection = connection
        self.cancel_req: dict[int, Any] = {}
        self.message: Any = None
        self.msg_queue: Any = Responses()
        self._lock = threading.Lock()  # guards _asked and _unanswered
        self._asked: dict[int, int] = {}  # Message IDs of what threads have asked last
        self._unanswered: Counter[int] = Counter()  # and of all that is not answered
        self._received = 0  # bytes of the message's data set
        self._commanded = 0  # and of its command set
        self._empty_fragments = 0
        self._unexpected = 0
        self._nset_refused: int | None = None  # the context of a data set that is passed over

    def get_msg(self, block: bool = False) -> Any:
        """Give the next response from the peer.

        Parameters
        ----------
        block : bool
            Whether to wait for one; not in the loop's thread.

        Returns
        -------
        tuple of (int, primitive) or (None, None)
            The context ID and the response.
        """
        if not block:
            return super().get_msg(block)
        assoc: Any = self.assoc
        assoc.may_wait()
        with self._lock:
            message_id = self._asked.get(threading.get_ident())
        response = self.msg_queue.take(message_id, self.dimse_timeout)
        if response is None:
            return None, None
        context_id, message, size = response
        assoc.response_taken(size)
        return context_id, message

    def asks_no_more(self) -> None:
        """Note that the thread waits for no more responses to what it has asked last."""
        with self._lock:
            self._asked.pop(threading.get_ident(), None)

    def _note_request(self, primitive: Any) -> None:
        with self._lock:
            self._asked[threading.get_ident()] = primitive.MessageID
            self._unanswered[primitive.MessageID] += 1

    def _expects(self, response: Any) -> bool:
        """Whether a response answers what was asked; the last to a request settles it."""
        message_id = response.MessageIDBeingRespondedTo
        with self._lock:
            if not self._unanswered[message_id]:
                return False
            if status.category(response.Status or 0) != "Pending":
                self._unanswered[message_id] -= 1
            return True

    def receive_primitive(self, primitive: Any) -> None:
        """Take a P-DATA primitive.

        Parameters
        ----------
        primitive : P_DATA
            With PDVs of one or more messages.
        """
        fault: Exception
        try:
            may_pass_over = False
            if not primitive.presentation_data_value_list:
                _provider.warn_of_no_pdv(self)
            for pdv in primitive.presentation_data_value_list:
                if not (may_pass_over and pdv[1] and not pdv[1][0] & _pdu.IS_COMMAND):
                    may_pass_over = self._receive(pdv)
            return
        except CommandSetError as exc:
            fault = exc
        except Exception as exc:
            fault = _provider._fault(self.message, exc) if self.message is not None else exc
        self.dul.refuse(fault)  # type: ignore[attr-defined]

    def _receive(self, pdv: tuple[int, bytes]) -> bool:
        """Take one PDV; give whether data behind it in the same PDU is passed over."""
        context_id, data = pdv
        if _provider.passes_over(self, context_id, data):
            return False
        message = self.message
        if message is None:
            message = self.message = _messages.new_message()
            self._received = self._commanded = self._empty_fragments = 0
            self._connection.is_receiving = True
        if len(data) == 1 and not data[0] & _pdu.IS_LAST:
            self._empty_fragments += 1
            if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
                raise too_many_empty_fragments()
        if data and data[0] & _pdu.IS_COMMAND:
            self._commanded += len(data) - 1
            if self._commanded > _rules.MAX_COMMAND_SET_LENGTH:
                raise _pdu.command_set_too_long()
        elif data and not self._has_room(context_id, data):
            return False
        memory = self._connection.memory
        memory.note("receiving", self._received + self._commanded)
        if memory.is_over_limit:
            self.assoc.hold_in_loop()  # type: ignore[attr-defined]
        primitive = P_DATA()
        primitive.presentation_data_value_list.append(pdv)
        if not _decode_msg(message, primitive, self.assoc):
            return False
        self._complete(message)
        return _provider.has_come(self, message, context_id)

    def _complete(self, message: Any) -> None:
        assoc: Any = self.assoc
        # The log handlers have nothing to say of an N-SET but at DEBUG.
        if "_nset_encoded" not in vars(message) or assoc.is_observed():
            evt.trigger(assoc, evt.EVT_DIMSE_RECV, {"message": message})
        try:
            primitive: Any = _message_to_primitive(message)
        except Exception as exc:
            if not isinstance(exc, CommandSetError):
                _DUL_LOGGER.error("Received an invalid DIMSE message")
                _DUL_LOGGER.exception(exc)
            raise
        context_id = message.context_id
        # The data set belongs to the primitive now.
        message.encoded_command_set, message.data_set = BytesIO(), BytesIO()
        message._data_set_file = message._data_set_path = None
        self._receives_no_more()
        size = self._received
        if isinstance(primitive, C_CANCEL):
            message_id: Any = primitive.MessageIDBeingRespondedTo
            if len(self.cancel_req) < 10:  # as in pynetdicom
                self.cancel_req[message_id] = primitive
        elif isinstance(primitive, N_EVENT_REPORT) and primitive.is_valid_request:
            assoc.serve_aside(primitive, context_id, size)
        elif not type(message).__name__.endswith("_RSP"):
            assoc.message_came(context_id, primitive, size)
        elif self._expects(primitive):
            assoc.response_came(context_id, primitive, size)
        else:
            self._drop_unexpected(primitive)

    def _drop_unexpected(self, response: Any) -> None:
        """Drop a response to nothing that was asked; the log tells of the first ones."""
        self._unexpected += 1
        if self._unexpected <= _rules.MAX_TOLD:
            _ASSOC_LOGGER.warning("Received unexpected %s service message", response.msg_type)
        elif self._unexpected == _rules.MAX_TOLD + 1:
            assoc: Any = self.assoc
            _LOGGER.warning("And more of such from %s, which are not logged", assoc.peer_name())

    def _receives_no_more(self) -> None:
        self.message = None
        self._connection.is_receiving = False
        self._connection.memory.note("receiving", 0)

    def _has_room(self, context_id: int, data: bytes) -> bool:
        """Whether a fragment of a data set is within the limit; else see to it that it is said."""
        limit = self.assoc.limits.data_set_bytes  # type: ignore[attr-defined]
        self._received += len(data) - 1
        if self._received <= limit:
            return True
        message_id = self._request_id(self.message)
        _messages.remove_file(self.message)
        self._receives_no_more()
        fault = _pdu.data_set_too_long(limit, message_id)
        if message_id is None:
            raise fault
        self._nset_refused = context_id
        _provider.passes_over(self, context_id, data)
        self.assoc.refuse_request(fault, context_id)  # type: ignore[attr-defined]
        return False

    def progress(self) -> tuple[int | None, int] | None:
        """Tell of a message that has not come to its end.

        Returns
        -------
        tuple of (int or None, int) or None
            The Message ID where that is known, and how many bytes have come; None between messages.
        """
        message = self.message  # which a worker may have come to the end of
        if message is None:
            return None
        return self._request_id(message), self._commanded + self._received

    def _request_id(self, message: Any) -> int | None:
        """Look for the Message ID of an N-SET request, and say nothing of what else is there."""
        encoded = vars(message).get("_nset_encoded")
        if encoded is None:
            return None
        elements, _ = examine(encoded)
        return _message_id(elements) if command_field(elements) == _N_SET_RQ else None

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message.

        Parameters
        ----------
        primitive : pynetdicom or nset primitive
            The message.
        context_id : int
            The presentation context.
        """
        assoc: Any = self.assoc
        if primitive.MessageIDBeingRespondedTo is not None:
            assoc.count_response(primitive)
        else:
            self._note_request(primitive)
        is_observed = assoc.is_observed()
        if issubclass(type(primitive), N_SET) and not is_observed and not primitive._dataset_path:
            try:
                encoded = encode_pdus(primitive, context_id, self.maximum_pdu_size)
            except Exception:  # a value may be anything
                pass  # the long way sends what can be sent of it
            else:
                assoc.send_pdus(encoded)
                return
        fragments = self._fragments(primitive, context_id)
        if is_observed:
            self.dul.send_pdu(_Message(list(fragments)))
            return
        pdus = (P_DATA_TF(fragment).encode() for fragment in fragments)
        if getattr(primitive, "_dataset_path", None):  # a file that may not be in memory as a whole
            assoc.send_in_pieces(pdus)
        else:
            assoc.send_pdus(b"".join(pdus))

    def _fragments(self, primitive: Any, context_id: int) -> Iterator[P_DATA]:
        """Encode a message as pynetdicom does, and tell whoever listens."""
        table = _RQ_TO_MESSAGE if primitive.MessageIDBeingRespondedTo is None else _RSP_TO_MESSAGE
        message = table[primitive.__class__]()
        if issubclass(type(primitive), N_SET):
            to_message, encode = _primitive_to_message, _encode_msg
        else:
            to_message, encode = type(message).primitive_to_message, type(message).encode_msg
        to_message(message, primitive)
        message.context_id = context_id
        evt.trigger(self.assoc, evt.EVT_DIMSE_SENT, {"message": message})
        return encode(message, context_id, self.maximum_pdu_size)
