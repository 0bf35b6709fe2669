"""pynetdicom's DIMSE service provider (PS3.7) without its thread."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Protocol

from pynetdicom import evt
from pynetdicom.dimse import _RQ_TO_MESSAGE, _RSP_TO_MESSAGE
from pynetdicom.dimse import DIMSEServiceProvider as _StockDIMSE
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE, N_EVENT_REPORT
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from nset import _pdu, _rules, status
from nset._command_set import command_field, examine, sender
from nset._command_set import message_id as _message_id
from nset._errors import CommandSetError
from nset._rules import N_SET_RQ as _N_SET_RQ
from nset.primitive import N_SET
from nset.pynetdicom import _messages, _provider
from nset.scp._connection import Connection
from nset.scp._counters import Tally
from nset.scp._flow_control import FlowControl
from nset.scp._memory import MESSAGE_OVERHEAD_BYTES, Memory
from nset.scp._queues import Responses
from nset.scp._rules import MAX_EMPTY_FRAGMENTS, too_many_empty_fragments
from nset.scp._threads import Threads
from nset.scp._upper_layer import DULServiceProvider, Message
from nset.wire import encode_pdus

_ASSOC_LOGGER = logging.getLogger("pynetdicom.association")
_DUL_LOGGER = logging.getLogger("pynetdicom.dul")
_LOGGER = logging.getLogger("nset")

_decode_msg = _messages.decode_msg(DIMSEMessage.decode_msg)
_message_to_primitive = _messages.message_to_primitive(DIMSEMessage.message_to_primitive)
_primitive_to_message = _messages.primitive_to_message(DIMSEMessage.primitive_to_message)
_encode_msg = _messages.encode_msg(DIMSEMessage.encode_msg)


class MessageUser(Protocol):
    """What DIMSE calls of the association; in any thread."""

    def message_came(self, context_id: int, message: Any, size: int = 0) -> None:
        """Serve a request in its turn, with a data set of `size` bytes."""

    def report_came(self, context_id: int, message: Any, size: int) -> None:
        """Serve an N-EVENT-REPORT, or a C-GET's C-STORE, concurrently, as pynetdicom does."""

    def refuse_request(self, fault: CommandSetError, context_id: int) -> None:
        """Refuse a request in its turn."""

    def is_observed(self) -> bool:
        """Return whether a program, or the log at DEBUG, observes PDUs or messages."""

    def peer_name(self) -> str:
        """Name the peer."""


class DIMSEServiceProvider(_StockDIMSE):
    """The messages of one association that do not take the fast path.

    =====================  ==========================================================
    who runs the upper     `receive_primitive`, ``_receive...``, ``_expects``
    layer
    a waiting thread       `get_msg`, `asks_no_more`
    any thread             `send_msg`, `send_encoded`, `progress`, `message` (reading)
    guarded by ``_lock``   ``_asked``, ``_services``, ``_unanswered``
    =====================  ==========================================================

    Parameters
    ----------
    assoc : Association
        The association, which has what `MessageUser` says.
    upper_layer : DULServiceProvider
        What takes messages that are observed, fragment by fragment.
    connection : Connection
        What takes all other messages.
    flow : FlowControl
        Counts responses that wait.
    memory : Memory
        Counts the message that is being received.
    threads : Threads
        The server's.
    tally : Tally
        Counts responses that are sent.
    responses : Responses
        Those from the peer.
    max_data_set : int
        Most bytes of the data set of a message.
    """

    _assoc: Any

    def __init__(
        self,
        assoc: MessageUser,
        upper_layer: DULServiceProvider,
        connection: Connection,
        flow: FlowControl,
        memory: Memory,
        threads: Threads,
        tally: Tally,
        responses: Responses,
        max_data_set: int,
    ) -> None:
        self._assoc = assoc
        self._user = assoc
        self._upper_layer = upper_layer
        self._connection = connection
        self._flow = flow
        self._memory = memory
        self._threads = threads
        self._tally = tally
        self._max_data_set = max_data_set
        self.cancel_req: dict[int, Any] = {}
        self.message: Any = None
        self.msg_queue: Any = responses
        self._lock = threading.Lock()
        self._asked: dict[int, int] = {}  # by thread, the Message ID of its last request
        self._services: dict[int, str] = {}  # by Message ID, of all requests there have been
        self._unanswered: Counter[int] = Counter()  # Message IDs of all requests
        self._data_set_length = 0  # of the message, so far
        self._command_set_length = 0
        self._empty_fragments = 0
        self._unexpected = 0
        self._nset_refused: int | None = None  # the context of a data set that is skipped

    def break_cycles(self, assoc: Any) -> None:
        """Keep only a weak reference to an association that is over."""
        self._assoc = self._user = assoc

    # -- Responses from the peer -------------------------------------------------------------------

    def get_msg(self, block: bool = False) -> Any:
        """Return the next response from the peer.

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
        self._threads.may_wait()
        with self._lock:
            message_id = self._asked.get(threading.get_ident())
        response = self.msg_queue.take(message_id, self.dimse_timeout)
        if response is None:
            return None, None
        context_id, message, size = response
        self._memory.queue(-size)
        self._flow.resume_soon()
        return context_id, message

    def _keep_response(self, context_id: int, response: Any) -> None:
        """Queue a response for the thread of its request."""
        size = self._data_set_length + MESSAGE_OVERHEAD_BYTES
        self._memory.queue(size)
        self.msg_queue.put((context_id, response, size))
        self._flow.check_soon()

    def asks_no_more(self) -> None:
        """Forget the last request of this thread: it waits for no more responses."""
        with self._lock:
            self._asked.pop(threading.get_ident(), None)

    def _note_request(self, primitive: Any) -> None:
        with self._lock:
            self._asked[threading.get_ident()] = primitive.MessageID
            self._services[primitive.MessageID] = type(primitive).__name__
            self._unanswered[primitive.MessageID] += 1

    def _expects(self, response: Any) -> bool:
        """Return whether a response answers a request; the last response to one settles it."""
        with self._lock:
            message_id = self._meant(response)
            if not self._unanswered[message_id]:
                return False
            if status.category(response.Status or 0) != "Pending":
                self._unanswered[message_id] -= 1
            return True

    def _meant(self, response: Any) -> Any:
        """Return the Message ID of a response; with one of no request, that which can be meant.

        Stock code looks at no Message ID, so there are peers that get by with a wrong one.
        """
        message_id = response.MessageIDBeingRespondedTo
        if message_id is None or message_id in self._services:
            return message_id
        waiting = [number for number, count in self._unanswered.items() for _ in range(count)]
        if [self._services[number] for number in waiting] != [type(response).__name__]:
            return message_id
        (response.MessageIDBeingRespondedTo,) = waiting
        _provider.warn_of_message_id(self._user.peer_name(), message_id)
        return waiting[0]

    # -- Messages in -------------------------------------------------------------------------------

    def receive_primitive(self, primitive: Any) -> None:
        """Process a P-DATA primitive.

        Parameters
        ----------
        primitive : P_DATA
            With PDVs of one or more messages.
        """
        fault: Exception
        try:
            may_skip = False
            if not primitive.presentation_data_value_list:
                _provider.warn_of_no_pdv(self)
            for pdv in primitive.presentation_data_value_list:
                if not (may_skip and pdv[1] and not pdv[1][0] & _pdu.IS_COMMAND):
                    may_skip = self._receive(pdv)
            return
        except CommandSetError as exc:
            fault = exc
        except Exception as exc:
            fault = _provider._fault(self.message, exc) if self.message is not None else exc
        self._upper_layer.refuse(fault)

    def _receive(self, pdv: tuple[int, bytes]) -> bool:
        """Process one PDV; return whether data after it in the same PDU is skipped."""
        context_id, data = pdv
        if _provider.skip_refused_data_set(self, context_id, data):
            return False
        message = self.message
        if message is None:
            message = self.message = _messages.new_message()
            self._data_set_length = self._command_set_length = self._empty_fragments = 0
        if len(data) == 1 and not data[0] & _pdu.IS_LAST:
            self._empty_fragments += 1
            if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
                raise too_many_empty_fragments()
        if data and data[0] & _pdu.IS_COMMAND:
            self._command_set_length += len(data) - 1
            if self._command_set_length > _rules.MAX_COMMAND_SET_LENGTH:
                raise _pdu.command_set_too_long()
        elif data and not self._is_within_limit(context_id, data):
            return False
        self._memory.note("receiving", self._data_set_length + self._command_set_length)
        if self._memory.is_over_limit:
            self._flow.check_soon()
        primitive = P_DATA()
        primitive.presentation_data_value_list.append(pdv)
        if not _decode_msg(message, primitive, self._assoc):
            return False
        self._complete(message)
        return _provider.end_message(self, message, context_id)

    def _complete(self, message: Any) -> None:
        # pynetdicom's log handlers log an N-SET only at DEBUG.
        if "_nset_encoded" not in vars(message) or self._user.is_observed():
            evt.trigger(self._assoc, evt.EVT_DIMSE_RECV, {"message": message})
        sender.name = self._user.peer_name
        try:
            primitive: Any = _message_to_primitive(message)
        except Exception as exc:
            if not isinstance(exc, CommandSetError):
                _DUL_LOGGER.error("Received an invalid DIMSE message")
                _DUL_LOGGER.exception(exc)
            raise
        finally:
            sender.name = None
        context_id = message.context_id
        # The data set belongs to the primitive now.
        message.encoded_command_set, message.data_set = BytesIO(), BytesIO()
        message._data_set_file = message._data_set_path = None
        self._end_message()
        size = self._data_set_length
        if isinstance(primitive, C_CANCEL):
            message_id: Any = primitive.MessageIDBeingRespondedTo
            if len(self.cancel_req) < 10:  # as in pynetdicom
                self.cancel_req[message_id] = primitive
        elif self._is_concurrent(primitive):
            self._user.report_came(context_id, primitive, size)
        elif not type(message).__name__.endswith("_RSP"):
            self._user.message_came(context_id, primitive, size)
        elif self._expects(primitive):
            self._keep_response(context_id, primitive)
        else:
            self._drop_unexpected(primitive)

    def _is_concurrent(self, message: Any) -> bool:
        """Return whether a message is a request that is served beside others.

        The sub-operations of a program's C-GET are, as its response comes after them, and a handler
        may wait for it.
        """
        if isinstance(message, C_STORE):
            with self._lock:
                asked = any(
                    count and self._services[number] == "C_GET"
                    for number, count in self._unanswered.items()
                )
            return asked and bool(message.is_valid_request)
        return isinstance(message, N_EVENT_REPORT) and bool(message.is_valid_request)

    def _drop_unexpected(self, response: Any) -> None:
        """Drop a response to no request; log the first ones."""
        self._unexpected += 1
        if self._unexpected <= _rules.MAX_LOGGED:
            _ASSOC_LOGGER.warning("Received unexpected %s service message", response.msg_type)
        elif self._unexpected == _rules.MAX_LOGGED + 1:
            name = self._user.peer_name()
            _LOGGER.warning("And more of such from %s, which are not logged", name)

    def _end_message(self) -> None:
        self.message = None
        self._memory.note("receiving", 0)

    def _is_within_limit(self, context_id: int, data: bytes) -> bool:
        """Return whether a fragment of a data set is within the limit; else refuse the message."""
        self._data_set_length += len(data) - 1
        if self._data_set_length <= self._max_data_set:
            return True
        message_id = self._request_id(self.message)
        _messages.remove_file(self.message)
        self._end_message()
        fault = _pdu.data_set_too_long(self._max_data_set, message_id)
        if message_id is None:
            raise fault
        self._nset_refused = context_id
        _provider.skip_refused_data_set(self, context_id, data)
        self._user.refuse_request(fault, context_id)
        return False

    def progress(self) -> tuple[int | None, int] | None:
        """Return how much was received of a message that is not complete.

        Returns
        -------
        tuple of (int or None, int) or None
            The Message ID where that is known, and how many bytes have come; None between messages.
        """
        message = self.message  # a worker may complete it meanwhile
        if message is None:
            return None
        return self._request_id(message), self._command_set_length + self._data_set_length

    def _request_id(self, message: Any) -> int | None:
        """Return the Message ID of an N-SET request, without logging violations."""
        encoded = vars(message).get("_nset_encoded")
        if encoded is None:
            return None
        elements, _ = examine(encoded)
        return _message_id(elements) if command_field(elements) == _N_SET_RQ else None

    # -- Messages out ------------------------------------------------------------------------------

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message.

        Parameters
        ----------
        primitive : pynetdicom or nset primitive
            The message.
        context_id : int
            The presentation context.
        """
        if primitive.MessageIDBeingRespondedTo is None:
            self._note_request(primitive)
        elif self._upper_layer.can_send:
            self._tally.count_response(primitive)
        is_observed = self._user.is_observed()
        if issubclass(type(primitive), N_SET) and not is_observed and not primitive._dataset_path:
            try:
                encoded = encode_pdus(primitive, context_id, self.maximum_pdu_size)
            except Exception:  # a program may set any value
                pass  # the slow path encodes as much as possible
            else:
                self._send_pdus(encoded)
                return
        fragments = self._fragments(primitive, context_id)
        if is_observed:
            self._upper_layer.send_pdu(Message(list(fragments)))
            return
        pdus = (P_DATA_TF(fragment).encode() for fragment in fragments)
        if getattr(primitive, "_dataset_path", None):  # a file may be too large for memory
            self._threads.may_wait()
            if self._upper_layer.can_send:
                self._connection.send_in_pieces(pdus)
        else:
            self._send_pdus(b"".join(pdus))

    def send_encoded(self, response: N_SET, context_id: int) -> None:
        """Send an N-SET response that can be encoded, without an event."""
        self._send_pdus(encode_pdus(response, context_id, self.maximum_pdu_size))

    def _send_pdus(self, pdus: bytes) -> None:
        """Send the PDUs of a message without the state machine, if its state allows that."""
        if self._upper_layer.can_send:
            self._connection.wait_for_room()
            self._connection.send_message(pdus)

    def _fragments(self, primitive: Any, context_id: int) -> Iterator[P_DATA]:
        """Encode a message as pynetdicom does, and trigger its event."""
        table = _RQ_TO_MESSAGE if primitive.MessageIDBeingRespondedTo is None else _RSP_TO_MESSAGE
        message = table[primitive.__class__]()
        if issubclass(type(primitive), N_SET):
            to_message, encode = _primitive_to_message, _encode_msg
        else:
            to_message, encode = type(message).primitive_to_message, type(message).encode_msg
        keyword = "AttributeIdentifierList"  # pynetdicom's N-CREATE response has none
        if getattr(primitive, keyword, None) is not None and keyword not in message.command_set:
            setattr(message.command_set, keyword, None)
        to_message(message, primitive)
        message.context_id = context_id
        evt.trigger(self._assoc, evt.EVT_DIMSE_SENT, {"message": message})
        return encode(message, context_id, self.maximum_pdu_size)
