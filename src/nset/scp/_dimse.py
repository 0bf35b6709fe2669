"""pynetdicom's DIMSE service provider (PS3.7) without its thread."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse import _RQ_TO_MESSAGE, _RSP_TO_MESSAGE
from pynetdicom.dimse import DIMSEServiceProvider as _StockDIMSE
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, N_EVENT_REPORT
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from nset import _pdu, _rules, status
from nset._command_set import command_field, examine
from nset._command_set import message_id as _message_id
from nset._errors import CommandSetError
from nset._rules import N_SET_RQ as _N_SET_RQ
from nset.primitive import N_SET
from nset.pynetdicom import _messages, _provider
from nset.scp._queues import Responses
from nset.scp._rules import MAX_EMPTY_FRAGMENTS, too_many_empty_fragments
from nset.scp._upper_layer import Message
from nset.wire import encode_pdus

_ASSOC_LOGGER = logging.getLogger("pynetdicom.association")
_DUL_LOGGER = logging.getLogger("pynetdicom.dul")
_LOGGER = logging.getLogger("nset")

_decode_msg = _messages.decode_msg(DIMSEMessage.decode_msg)
_message_to_primitive = _messages.message_to_primitive(DIMSEMessage.message_to_primitive)
_primitive_to_message = _messages.primitive_to_message(DIMSEMessage.primitive_to_message)
_encode_msg = _messages.encode_msg(DIMSEMessage.encode_msg)


class DIMSEServiceProvider(_StockDIMSE):
    """The messages of one association that do not take the short way.

    Parameters
    ----------
    assoc : Association
        The association.
    connection : Connection
        Its connection.
    """

    def __init__(self, assoc: Any, connection: Any) -> None:
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
        if self._unexpected <= _rules.MAX_LOGGED:
            _ASSOC_LOGGER.warning("Received unexpected %s service message", response.msg_type)
        elif self._unexpected == _rules.MAX_LOGGED + 1:
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
            self.dul.send_pdu(Message(list(fragments)))
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
