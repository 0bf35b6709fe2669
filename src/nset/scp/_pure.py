"""The pure-Python fallback for the PDU reader and the fast path: as ``_core.pyx``."""

import struct
from io import BytesIO
from time import monotonic, time
from typing import Any, Final

from nset import _pdu
from nset._errors import CommandSetError
from nset._pure import default_validator_is_in_force
from nset._rules import MAX_COMMAND_SET_LENGTH, MAX_US, NO_DATA_SET
from nset._uid import is_conformant_uid
from nset.scp import _rules
from nset.scp._services import (
    ACTION_TYPE,
    AFFECTED_CLASS,
    AFFECTED_INSTANCE,
    ALWAYS,
    ATTRIBUTES,
    C_ECHO,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    EVENT_TYPE,
    MESSAGE_ID,
    N_CREATE,
    NEVER,
    OPTIONAL,
    REQUESTED_CLASS,
    REQUESTED_INSTANCE,
    SERVICES,
    Service,
    ServiceClasses,
)

# -- Requests and responses (PS3.7 Sections 9.3, 10.3) --------------------------------------------

_ELEMENT: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<HHIH").pack
_GROUP_LENGTH: Final = struct.Struct("<HHII")
_A_DATA_SET: Final = 0x0001
_IS_RESPONSE: Final = 0x8000

_UIDS: Final = (AFFECTED_CLASS, REQUESTED_CLASS, AFFECTED_INSTANCE, REQUESTED_INSTANCE)
_NUMBERS: Final = (COMMAND_FIELD, MESSAGE_ID, DATA_SET_TYPE, EVENT_TYPE, ACTION_TYPE)

# By Command Field: the service, the elements that a request must have, and that it may have.
_TABLE: Final = {
    service.command_field: (service, required, required | set(service.optional))
    for service in SERVICES
    for required in [{COMMAND_FIELD, MESSAGE_ID, DATA_SET_TYPE, *service.required}]
}

_Elements = dict[int, bytes]


def _read_canonical(data: bytes) -> _Elements | None:
    """Return the values of a canonical command set by their elements; None for any other."""
    if len(data) < _GROUP_LENGTH.size or len(data) > MAX_COMMAND_SET_LENGTH:
        return None
    if _GROUP_LENGTH.unpack_from(data) != (0, 0, 4, len(data) - _GROUP_LENGTH.size):
        return None
    elements: _Elements = {}
    at, end, previous = _GROUP_LENGTH.size, len(data), 0
    while at < end:
        if end - at < _ELEMENT.size:
            return None
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        value = data[at : at + length]
        if group != 0 or element <= previous or len(value) != length:
            return None
        if element in _UIDS:
            if length % 2 or not is_conformant_uid(_text(value)):
                return None
        elif element == ATTRIBUTES:
            if length == 0 or length % 4:
                return None
        elif element not in _NUMBERS or length != 2:
            return None
        elements[element] = value
        previous = element
        at += length
    return elements


def _text(value: bytes) -> str:
    """Return a UID without its padding."""
    return (value[:-1] if value[-1:] == b"\0" else value).decode("latin-1")


def _us(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _request_in(data: bytes) -> tuple[Service, _Elements] | None:
    """Return the service of a request, and its elements; None for any other command set."""
    elements = _read_canonical(data)
    if elements is None or COMMAND_FIELD not in elements:
        return None
    row = _TABLE.get(_us(elements[COMMAND_FIELD]))
    if row is None:
        return None
    service, required, allowed = row
    if not required <= elements.keys() <= allowed:
        return None
    if service.data_set == NEVER and _us(elements[DATA_SET_TYPE]) != NO_DATA_SET:
        return None
    return service, elements


class ServiceEventBase:
    """The event of a request, as it is received; what few handlers read is made on access.

    Attributes
    ----------
    assoc : Association
        The association in which the request came.
    request : pynetdicom or nset primitive
        The request; made by the subclass's ``_make_request`` when it is first read.
    _service : Service
        The service.
    _context : PresentationContext
        The context that the request came in.
    _context_id : int
        Its ID.
    _seconds : float
        When it was made, in seconds since the epoch.
    _command_set : bytes or None
        The canonical command set; None for a request that the slow path has decoded.
    _message_id : int
        The Message ID of such a command set.
    _lacks_data_set : bool
        Whether the request has no data set, and should have one.
    _has_request : bool
        Whether `request` was made or set.
    _has_instance : bool
        Whether such a command set has a SOP Instance UID.
    _stream : io.BytesIO
        The data set, empty if there is none.
    """

    assoc: Any = None
    _service: Any = None
    _context: Any = None
    _context_id = 0
    _seconds: Any = None
    _command_set: bytes | None = None
    _message_id = 0
    _lacks_data_set = False
    _request: Any = None
    _data_set: BytesIO | None = None
    _elements: _Elements

    _make_request: Any  # of the subclass

    @property
    def request(self) -> Any:
        """The request as a primitive."""
        if self._request is None:
            made = self._make_request()
            self.__dict__.setdefault("_request", made)
        return self._request

    @request.setter
    def request(self, value: Any) -> None:
        self._request = value

    @property
    def _has_request(self) -> bool:
        return self._request is not None

    @property
    def _has_instance(self) -> bool:
        return self._instance() is not None

    @property
    def _stream(self) -> BytesIO:
        """The data set, empty if there is none."""
        return self._data_set or self.__dict__.setdefault("_data_set", BytesIO())

    def _hold(self, service: Service, request: Any, context_id: int) -> None:
        """Take a request that the slow path has decoded."""
        self._service, self._request, self._context_id = service, request, context_id

    def _fill(
        self, service: Service, command_set: bytes, elements: _Elements, context_id: int
    ) -> None:
        self._service, self._command_set, self._elements = service, command_set, elements
        self._context_id = context_id
        self._message_id = _us(elements[MESSAGE_ID])
        self._lacks_data_set = service.data_set == ALWAYS and not self._announces_data_set()

    def _announces_data_set(self) -> bool:
        return _us(self._elements[DATA_SET_TYPE]) != NO_DATA_SET

    def _sop_class(self) -> bytes | None:
        elements = self._elements
        return elements.get(AFFECTED_CLASS) or elements.get(REQUESTED_CLASS)

    def _instance(self) -> bytes | None:
        elements = self._elements
        return elements.get(AFFECTED_INSTANCE) or elements.get(REQUESTED_INSTANCE)

    def _sop_class_uid(self) -> bytes:
        if self._command_set is None:
            uid: str = self._request.RequestedSOPClassUID
            return uid.encode()
        return (self._sop_class() or b"").rstrip(b"\0")


def _uid(element: int, value: bytes | None) -> bytes:
    return b"" if value is None else _ELEMENT.pack(0, element, len(value)) + value


def _response(event: ServiceEventBase, status: int, has_data_set: bool) -> bytes:
    """Encode the command set of the response."""
    service = event._service
    body = b"".join(
        (
            _uid(AFFECTED_CLASS, event._sop_class()),
            _US(0, COMMAND_FIELD, 2, service.command_field | _IS_RESPONSE),
            _US(0, 0x0120, 2, event._message_id),
            _US(0, DATA_SET_TYPE, 2, _A_DATA_SET if has_data_set else NO_DATA_SET),
            _US(0, 0x0900, 2, status),
            _uid(AFFECTED_INSTANCE, event._instance()),
            _uid(service.type_id, event._elements.get(service.type_id)),
        )
    )
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


# -- PDUs (PS3.8 Section 9.3) ---------------------------------------------------------------------

_PDU_HEADER: Final = struct.Struct(">BxI")
_PDV_HEADER: Final = struct.Struct(">IBB")
_PDU_OF_ONE: Final = struct.Struct(">BxIIBB").pack

# Where the reader is among the PDVs of messages.
_BETWEEN_MESSAGES: Final = 0  # or in the data set of a message for the slow path
_IN_COMMAND: Final = 1  # of a message for the slow path, in several fragments
_IN_DATA_SET: Final = 2  # of a request
_SKIPPING_DATA_SET: Final = 3  # the rest of a data set that is too long, or was not announced
_BEHIND_REFUSED: Final = 4  # of a request that lacks a data set: one that follows is skipped


def encode_response(
    event: ServiceEventBase, status: int, max_pdu_length: int, data_set: bytes = b""
) -> bytes | None:
    """Encode the response to a request as P-DATA-TF PDUs.

    Parameters
    ----------
    event : ServiceEventBase
        The event of the request.
    status : int
        The Status (0000,0900), 0 to 65535.
    max_pdu_length : int
        The peer's maximum length, in bytes; 0 is unlimited.
    data_set : bytes
        The encoded data set; empty for none.

    Returns
    -------
    bytes or None
        The PDUs, of one PDV each; None where it is left to the slow path.
    """
    if event._command_set is None or type(status) is not int or not 0 <= status <= MAX_US:
        return None
    command_set = _response(event, status, bool(data_set))
    if max_pdu_length != 0 and _PDV_HEADER.size + len(command_set) > max_pdu_length:
        return None
    context_id, data = event._context_id, data_set + b"\0" * (len(data_set) % 2)
    parts = [_pdu_of(command_set, context_id, _pdu.IS_COMMAND | _pdu.IS_LAST)]
    length = ((max_pdu_length or 0xFFFFFFFF) - _PDV_HEADER.size) & ~1
    for at in range(0, len(data), length):
        is_last = at + length >= len(data)
        parts.append(_pdu_of(data[at : at + length], context_id, _pdu.IS_LAST if is_last else 0))
    return b"".join(parts)


def _pdu_of(fragment: bytes, context_id: int, header: int) -> bytes:
    """Make a P-DATA-TF PDU of one PDV."""
    length = len(fragment) + 2
    return _PDU_OF_ONE(_pdu.P_DATA_TF, length + 4, length, context_id, header) + fragment


class PduReader:
    """Splits the input of an association into PDUs, and decodes the requests in them.

    It decodes only canonical requests with a command set of one PDV. It returns everything else as
    PDUs, in order with the requests: the slow path decodes or refuses them.

    Parameters
    ----------
    max_pdu_length : int
        The most bytes after the PDU-length field of a P-DATA-TF PDU.
    max_other_length : int
        The same for PDUs of other types.
    max_data_set_length : int
        The most bytes of the data set of a request.
    event_class : type
        A subclass of `ServiceEventBase`.

    Attributes
    ----------
    decodes_requests : bool
        Whether to decode requests; False at first. If False, everything is returned as PDUs.
    bytes_received : int
        The number of bytes passed to `feed`.
    requests_read : dict of str to int
        The numbers of decoded requests by service.
    context_id : int
        ID of the presentation context of the last request.
    contexts : dict
        The accepted presentation contexts by ID; none at first.
    pdvs_left : int
        How many PDVs `next` may still process before it returns None; negative (at first) is
        unlimited.
    request_length : int
        Bytes of the data set of the last request.
    """

    def __init__(
        self,
        max_pdu_length: int,
        max_other_length: int,
        max_data_set_length: int,
        event_class: type[ServiceEventBase],
    ) -> None:
        self._event_class = event_class
        self.decodes_requests = False
        self.bytes_received = 0
        self.requests_read: dict[str, int] = {}
        self._max_pdu_length = max_pdu_length
        self._max_other_length = max_other_length
        self._max_data_set_length = max_data_set_length
        self._data: bytes | None = None
        self._offset = 0
        self._later: bytes | None = None
        self._later_offset = 0
        self._incomplete: bytearray | None = None
        self._needed = 0
        self._pdu: bytes | None = None
        self._pdu_start = self._pdv_start = self._pdu_end = 0
        self._has_given_up = False
        self._stage = _BETWEEN_MESSAGES
        self._skips_data = False  # in the rest of this PDU
        self._request: Any = None
        self.context_id = 0
        self.contexts: dict[int, Any] = {}
        self._other_context = -1  # of other fragments of its data set, or -1
        self._stream: BytesIO | None = None
        self._data_set_length = 0
        self._empty_fragments = 0
        self.request_length = 0
        self.pdvs_left = -1
        self._long_left = 0  # bytes of a long PDU that were not processed yet
        self._is_in_pdv = False  # of a long PDU; then with:
        self._pdv_left = self._pdv_context = self._pdv_header = 0

    @property
    def bytes_waiting(self) -> int:
        """Received bytes of PDUs and requests that are not complete."""
        waiting = self._data_set_length if self._stage == _IN_DATA_SET else 0
        if self._incomplete is not None:
            waiting += len(self._incomplete)
        if self._data is not None:
            waiting += len(self._data) - self._offset
        if self._later is not None:
            waiting += len(self._later) - self._later_offset
        return waiting

    def feed(self, data: bytes) -> None:
        """Add received bytes.

        Parameters
        ----------
        data : bytes
            Any part of the stream.
        """
        self.bytes_received += len(data)
        if self._has_given_up:
            return
        if self._later is not None:
            self._later, self._later_offset = self._later[self._later_offset :] + data, 0
        elif self._data is not None:
            self._later, self._later_offset = data, 0
        else:
            self._take_input(data, 0)

    def _take_input(self, data: bytes, offset: int) -> None:
        """Process input from `offset` on; first what completes a partial PDU."""
        if self._incomplete is None:
            self._data, self._offset = data, offset
            return
        end = offset + self._needed - len(self._incomplete)
        self._incomplete += data[offset:end]
        if end > len(data):
            return
        self._data, self._offset = bytes(self._incomplete), 0
        self._incomplete = None
        if end < len(data):
            self._later, self._later_offset = data, end

    def discard_input(self) -> None:
        """Discard received and future input: it cannot be decoded any more."""
        self._has_given_up = True
        self._data = self._later = self._pdu = self._incomplete = None
        self._long_left = 0
        self._end_request()

    def progress(self) -> tuple[int | None, int] | None:
        """Return how much was received of a message that is not complete.

        Returns
        -------
        tuple of (int or None, int) or None
            The Message ID if it is known, and the received bytes of the message or of its current
            PDU; None between messages.
        """
        waiting = len(self._incomplete or b"")
        if self._stage == _IN_DATA_SET:
            return self._request._message_id, self._data_set_length + waiting
        is_between = self._stage in (_BETWEEN_MESSAGES, _BEHIND_REFUSED)
        return (None, waiting) if waiting or not is_between else None

    def next(self) -> Any:
        """Return the next request or PDU.

        Returns
        -------
        ServiceEventBase or bytes or None
            The event of a request with its data set; a PDU; or None if more input is needed.

        Raises
        ------
        PduError
            If the type of a PDU is unknown or its length over the limit. The rest of the input
            cannot be decoded then.
        CommandSetError
            If a PDV is out of order in a request, or the data set is too long. If the error has a
            ``message_id``, the association can continue.
        """
        while True:
            if self._pdu is None:
                item = self._next_pdu()
                if self._pdu is None:
                    if item is None and self._later is not None:
                        continue
                    return item
            if self.pdvs_left == 0:
                return None
            if self.pdvs_left > 0:
                self.pdvs_left -= 1
            item = self._next_pdv(self._pdu)
            if item is not None:
                return item

    def _next_pdu(self) -> bytes | None:
        """Return a PDU; None if there is none, or if its PDVs are processed one by one."""
        if self._data is None and self._later is not None:
            later, self._later = self._later, None
            self._take_input(later, self._later_offset)
        data, begin = self._data, self._offset
        if data is None:
            return None
        if self._long_left:
            return self._next_piece(data)
        left = len(data) - begin
        if left < _PDU_HEADER.size:
            self._keep_partial_pdu(data, _PDU_HEADER.size)
            return None
        kind, length = _PDU_HEADER.unpack_from(data, begin)
        if not 1 <= kind <= _pdu.LAST_PDU_TYPE:
            raise _rules.unknown_type(data[begin : begin + _rules.BEGINNING])
        limit = self._max_pdu_length if kind == _pdu.P_DATA_TF else self._max_other_length
        if length > limit:
            raise _rules.too_long(kind, length, limit)
        if kind == _pdu.P_DATA_TF and length > _rules.LONG_PDU:
            self._offset = begin + _PDU_HEADER.size
            self._long_left = length
            return self._next_piece(data)
        end = begin + _PDU_HEADER.size + length
        if end > len(data):
            self._keep_partial_pdu(data, _PDU_HEADER.size + length)
            return None
        self._pdu_start, self._pdu_end = begin, end
        self._offset = end
        if end == len(data):
            self._data = None
        if kind != _pdu.P_DATA_TF:
            return data[begin:end]
        is_well_formed, weight = _weigh(data, begin + _PDU_HEADER.size, end)
        if weight > _rules.MAX_WEIGHT:
            if not is_well_formed:
                raise _rules.malformed()
        elif not is_well_formed or not (self.decodes_requests or self._stage >= _IN_DATA_SET):
            return data[begin:end]
        self._pdu, self._pdv_start = data, begin + _PDU_HEADER.size
        self._skips_data = False
        return None

    def _next_piece(self, data: bytes) -> bytes | None:
        """Return a piece of a PDV of a long PDU as a PDU of its own; None as `_next_pdu`."""
        if not self._is_in_pdv:
            if self._long_left < _PDV_HEADER.size:
                raise _rules.malformed()
            if len(data) - self._offset < _PDV_HEADER.size:
                self._keep_partial_pdu(data, _PDV_HEADER.size)
                return None
            length, self._pdv_context, self._pdv_header = _PDV_HEADER.unpack_from(
                data, self._offset
            )
            if length < 2 or length > self._long_left - 4:
                raise _rules.malformed()
            self._is_in_pdv, self._pdv_left = True, length - 2
            self._offset += _PDV_HEADER.size
            self._long_left -= _PDV_HEADER.size
        size = min(self._pdv_left, _rules.PIECE)
        if len(data) - self._offset < size:
            self._keep_partial_pdu(data, size)
            return None
        piece = data[self._offset : self._offset + size]
        self._offset += size
        self._long_left -= size
        self._pdv_left -= size
        if self._offset == len(data):
            self._data = None
        self._is_in_pdv = self._pdv_left > 0
        header = self._pdv_header & ~_pdu.IS_LAST if self._is_in_pdv else self._pdv_header
        pdu = _pdu_of(piece, self._pdv_context, header)
        if not (self.decodes_requests or self._stage >= _IN_DATA_SET):
            return pdu
        self._pdu, self._pdu_start, self._pdv_start, self._pdu_end = (
            pdu,
            0,
            _PDU_HEADER.size,
            len(pdu),
        )
        self._skips_data = False
        return None

    def _keep_partial_pdu(self, data: bytes, needed: int) -> None:
        """Keep a partial PDU until it has `needed` bytes."""
        self._data = None
        if self._offset < len(data):
            self._incomplete, self._needed = bytearray(data[self._offset :]), needed

    def _next_pdv(self, data: bytes) -> Any:
        """Process the next PDV of the PDU; return what it completes, if anything."""
        begin = self._pdv_start
        length, context_id, header = _PDV_HEADER.unpack_from(data, begin)
        fragment, end = begin + _PDV_HEADER.size, begin + 4 + length
        self._step_over(length)
        if self._stage >= _SKIPPING_DATA_SET:
            if context_id == self.context_id and not header & _pdu.IS_COMMAND:
                is_last = header & _pdu.IS_LAST
                self._stage = _BETWEEN_MESSAGES if is_last else _SKIPPING_DATA_SET
                return None
            self._stage = _BETWEEN_MESSAGES
        if self._skips_data:
            if not header & _pdu.IS_COMMAND:
                return None
            self._skips_data = False
        if self._stage == _IN_DATA_SET:
            return self._next_of_data_set(data, fragment, end, context_id, header)
        if self._may_begin_request(header):
            self._begin_request(data[fragment:end], context_id)
        if self._request is not None:
            self.context_id, self._stream, self._data_set_length = context_id, None, 0
            self._empty_fragments = 0
            self._other_context = -1
            if not self._request._announces_data_set():
                return self._request_without_data_set()
            self._stage = _IN_DATA_SET
            return None
        # For the slow path, together with the following PDVs that are, too.
        self._note_command(header)
        weight = _weight(header)
        while self._pdu is not None and weight < _rules.MAX_WEIGHT:
            length, _, header = _PDV_HEADER.unpack_from(data, self._pdv_start)
            fragment = self._pdv_start + _PDV_HEADER.size
            if self._may_begin_request(header) and _request_in(
                data[fragment : self._pdv_start + 4 + length]
            ):
                break
            weight += _weight(header)
            self._note_command(header)
            self._step_over(length)
        end = self._pdv_start
        if begin == self._pdu_start + _PDU_HEADER.size and end == self._pdu_end:
            return data[self._pdu_start : end]
        return _PDU_HEADER.pack(_pdu.P_DATA_TF, end - begin) + data[begin:end]

    def _step_over(self, length: int) -> None:
        self._pdv_start += 4 + length
        if self._pdv_start == self._pdu_end:
            self._pdu = None

    def _note_command(self, header: int) -> None:
        if header & _pdu.IS_COMMAND:
            self._stage = _BETWEEN_MESSAGES if header & _pdu.IS_LAST else _IN_COMMAND

    def _may_begin_request(self, header: int) -> bool:
        """Return whether a PDV can be the whole command set of a request to decode."""
        return (
            self._stage == _BETWEEN_MESSAGES
            and self.decodes_requests
            and header & (_pdu.IS_COMMAND | _pdu.IS_LAST) == _pdu.IS_COMMAND | _pdu.IS_LAST
        )

    def _begin_request(self, data: bytes, context_id: int) -> None:
        """Decode a command set into the current request, if it is one."""
        found = _request_in(data)
        if found is not None and default_validator_is_in_force():
            service, elements = found
            self._request = self._event_class()
            self._request._fill(service, data, elements, context_id)

    def _request_without_data_set(self) -> Any:
        """Return the current request; its service says what becomes of data that follows."""
        request = self._request
        self._end_request()
        if request._lacks_data_set:
            self._stage = _BEHIND_REFUSED
        self._skips_data = request._service.data_set != OPTIONAL
        self.request_length = 0
        self._count(request)
        return request

    def _count(self, request: ServiceEventBase) -> None:
        name = request._service.name
        self.requests_read[name] = self.requests_read.get(name, 0) + 1

    def _next_of_data_set(
        self, data: bytes, begin: int, end: int, context_id: int, header: int
    ) -> Any:
        """Process a PDV of a request's data set; return the request when it is complete."""
        request = self._request
        if header & _pdu.IS_COMMAND or not self._is_of_request(context_id):
            self._end_request()
            if header & _pdu.IS_COMMAND:
                raise _pdu.command_among_data()
            raise _pdu.context_change(context_id, self.context_id)
        if end - begin > self._max_data_set_length - self._data_set_length:
            self._end_request()
            if not header & _pdu.IS_LAST:
                self._stage = _SKIPPING_DATA_SET
            raise _pdu.data_set_too_long(
                self._max_data_set_length,
                request._message_id if request._service.data_set == ALWAYS else None,
            )
        if begin == end and not header & _pdu.IS_LAST:
            self._empty_fragments += 1
            if self._empty_fragments > _rules.MAX_EMPTY_FRAGMENTS:
                self._end_request()
                raise _rules.too_many_empty_fragments()
        self._data_set_length += end - begin
        if self._stream is None:
            self._stream = BytesIO()
        self._stream.write(memoryview(data)[begin:end])
        if not header & _pdu.IS_LAST:
            return None
        request._data_set = self._stream
        self.request_length = self._data_set_length
        self._end_request()
        self._count(request)
        return request

    def _is_of_request(self, context_id: int) -> bool:
        """Return whether a fragment's presentation context allows it in the request's data set."""
        if context_id not in (self.context_id, self._other_context):
            if not _pdu.may_be_of(
                self.contexts, context_id, self.context_id, self._other_context >= 0
            ):
                return False
            self._other_context = context_id
        return True

    def _end_request(self) -> None:
        self._request = self._stream = None
        self._stage = _BETWEEN_MESSAGES


def step(coroutine: Any) -> tuple[bool, Any]:
    """Run a coroutine up to where it next waits.

    Parameters
    ----------
    coroutine : coroutine
        What to run; what it raises is raised.

    Returns
    -------
    tuple of (bool, object)
        Whether it has ended, and what it has returned or else yielded.
    """
    try:
        return False, coroutine.send(None)
    except StopIteration as stop:
        return True, stop.value


class FastPath(PduReader):
    """The fast path: from received bytes to the handler, and from its answer to the peer.

    It takes a request whose association has nothing else to do, and an answer that is a known
    status and a data set that the subclass encodes, or none. It leaves all else to the association,
    and to methods of the subclass. In the loop's thread, but for attributes that say otherwise.

    Attributes
    ----------
    assoc : Association
        Goes into events. Has `pdu_received`, `request_received` and `fault_received` for what the
        fast path leaves, and `responded`, called after a response if other work waits; and `flow`,
        with `pause` and `resume` for reading and `note_incomplete` for bytes of partial messages.
    handlers : tuple of tuple of (callable, tuple, int)
        What is bound to the events of the services, by their numbers: the function, more arguments,
        and how it is called; any thread.
    service_classes : tuple of dict
        By the number of a service and by SOP Class UID: the service classes, with their
        ``statuses``.
    pending : list of tuple
        Messages that wait to be served.
    response_counts : dict of (str, int) to int
        How many responses the fast path has sent, by service and status; any thread.
    start_task : callable
        Starts a coroutine as a task; returns whether it has ended, and its result or the task.
    outbox : list of bytes
        What is to be sent before anything else.
    write : callable
        Gives bytes to the transport.
    send_message : callable
        Sends bytes behind the outbox.
    bytes_sent : int
        How many the fast path has given to the transport; any thread.
    peer_length : int
        The peer's maximum PDU length, 0 is unlimited.
    last_received : float
        When bytes were received last, by the monotonic clock.
    is_logged : callable
        Returns whether a level of the logger that has messages at DEBUG is enabled.
    user_queue : list
        Primitives for the association.
    in_data_transfer : bool
        Whether the state is Sta6; any thread.
    observes_messages : bool
        Whether a program is bound to events of PDUs or messages; any thread.
    is_busy : bool
        Whether the association has a job.
    is_mid_message : bool
        Whether the slow path has received part of a message.
    is_reading_paused : bool
        Whether nothing is to be read.
    upper_layer_is_busy : bool
        Whether another thread runs the upper layer; the next PDU is not read before it is done.
    is_ending : bool
        Whether the association is to be released or is over; any thread.
    """

    assoc: Any = None
    handlers: Any = None
    service_classes: ServiceClasses = ()
    pending: Any = None
    start_task: Any = None
    outbox: Any = None
    write: Any = None
    send_message: Any = None
    bytes_sent = 0
    peer_length = 0
    last_received = 0.0
    in_data_transfer = False
    observes_messages = False
    is_busy = False
    is_mid_message = False
    is_reading_paused = False
    is_ending = False
    upper_layer_is_busy = False
    is_logged: Any = None
    user_queue: Any = None
    _is_logged = False
    _budget = _rules.MAX_COST_PER_TURN
    _noted = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._response_counts: dict[tuple[str, int], int] = {}

    @property
    def response_counts(self) -> dict[tuple[str, int], int]:
        """How many responses the fast path has sent, by service and status."""
        return self._response_counts.copy()

    # Set or defined by the subclass.
    call_in_worker: Any
    respond_later: Any
    respond_slowly: Any
    encoded: Any
    failed: Any
    refuse: Any
    log_echo: Any
    begin_concurrent: Any
    end_concurrent: Any

    def data_received(self, data: bytes) -> None:
        """Process received bytes, any part of the stream."""
        self.last_received = monotonic()
        self._is_logged = self.is_logged(10)
        self.decodes_requests = (
            self.in_data_transfer and not self.observes_messages and not self._is_logged
        )
        self.feed(data)
        self._read()

    def read(self) -> None:
        """Process received input in another loop iteration."""
        self._budget = _rules.MAX_COST_PER_TURN
        self._read()

    def _read(self) -> None:
        """Process received input until reading is paused or the turn is over."""
        try:
            self._read_items()
        except (CommandSetError, _pdu.PduError) as fault:
            self.assoc.fault_received(fault)
        waiting = self.bytes_waiting
        if waiting != self._noted:
            self._noted = waiting
            self.assoc.flow.note_incomplete(waiting)

    def _read_items(self) -> None:
        while not self.is_reading_paused:
            if self.upper_layer_is_busy or self._budget <= 0:
                self.assoc.flow.pause()
                if self._budget <= 0:
                    self.assoc.flow.resume()
                return
            self.pdvs_left = _rules.MAX_PDVS_PER_CALL
            item = self.next()
            if item is None:
                if self.pdvs_left != 0:
                    return
                self._budget -= _rules.PDU_COST
            elif type(item) is bytes:
                self._budget -= _rules.PDU_COST
                self.assoc.pdu_received(item)
            else:
                self._budget -= 1
                if item._service is C_ECHO:
                    self.log_echo(item)
                if (
                    self.is_mid_message
                    or not self.in_data_transfer
                    or ((self.is_busy or self.pending) and not item._service.is_concurrent)
                    or not self.serve(item)
                ):
                    self.assoc.request_received(item)

    def serve(self, event: ServiceEventBase) -> bool:
        """Call the handler.

        Parameters
        ----------
        event : ServiceEventBase
            The event of a valid request.

        Returns
        -------
        bool
            False, with nothing done, if it is left to the slow path.
        """
        index = event._service.number
        try:  # by subscripts: free-threaded 3.13 locks twice, and yields, in get()
            context = self.contexts[event._context_id]
            service = self.service_classes[index][event._sop_class_uid()]
        except KeyError:
            return False
        if not event._service.is_concurrent:
            self.is_busy = True
        elif not self.begin_concurrent():
            return False
        function, args, mode = self.handlers[index]
        event.assoc, event._context = self.assoc, context
        event._seconds = time()
        if event._lacks_data_set:
            self.refuse(event)
            return True
        if mode == _rules.IN_WORKER:
            self.call_in_worker(event, service)
            return True
        try:
            answer = function(event, *args)
            if mode == _rules.AS_TASK:
                has_ended, answer = self.start_task(answer)
                if not has_ended:
                    self.respond_later(answer, event, service)
                    return True
        except BaseException as exc:
            answer = self.failed(event, exc)
        self.respond(event, service, answer)
        return True

    def respond(self, event: ServiceEventBase, service: Any, answer: Any) -> None:
        """Send the response to what a handler has returned."""
        code = answer
        data_set: Any = b""
        if event._service.response_keyword is not None:
            if type(answer) is not tuple or len(answer) != 2:
                self.respond_slowly(event, service, answer)
                return
            code, data_set = answer
        if (
            type(code) is int
            and code in service.statuses
            and self.may_respond()
            # A new instance needs a UID.
            and (code != 0 or event._service is not N_CREATE or event._instance() is not None)
        ):
            if data_set is None:
                data_set = b""
            elif event._service.response_keyword is not None:
                data_set = self.encoded(event, service, code, data_set)
                self._budget -= _rules.ENCODING_COST
            if data_set is not None:
                pdus = encode_response(event, code, self.peer_length, data_set)
                if pdus is not None:
                    self.send(event, code, pdus)
                    return
        self.respond_slowly(event, service, answer)

    def may_respond(self) -> bool:
        """Return whether responses may be sent past the upper layer."""
        return self.in_data_transfer and not self.observes_messages and not self._is_logged

    def send(self, event: ServiceEventBase, code: int, pdus: bytes) -> None:
        """Send the response to a request, and go on.

        Parameters
        ----------
        event : ServiceEventBase
            The request's.
        code : int
            The status.
        pdus : bytes
            The response.
        """
        kind = event._service.name, code
        # Before it is sent: a peer that has the answer finds it counted.
        self._response_counts[kind] = self._response_counts.get(kind, 0) + 1
        if self.outbox:
            self.send_message(pdus)
        else:
            self.bytes_sent += len(pdus)
            self.write(pdus)
        if event._service.is_concurrent:
            self.end_concurrent(event)
            return
        self.is_busy = False
        if self.pending or self.user_queue or self.is_ending:
            self.assoc.responded()


def _weight(header: int) -> int:
    """Return the weight of a PDV, for the limit of PDVs that the slow path gets at once."""
    is_end_of_command = header & (_pdu.IS_COMMAND | _pdu.IS_LAST) == _pdu.IS_COMMAND | _pdu.IS_LAST
    return _rules.COMMAND_WEIGHT if is_end_of_command else 1


def _weigh(data: bytes, begin: int, end: int) -> tuple[bool, int]:
    """Return whether a P-DATA-TF PDU has only valid PDVs (PS3.8 Section 9.3.5), and their weight.

    The weight is that of the valid PDVs.
    """
    weight = 0
    if begin == end:
        return False, weight
    while begin < end:
        if end - begin < _PDV_HEADER.size:
            return False, weight
        (length, _, header) = _PDV_HEADER.unpack_from(data, begin)
        if length < 2 or length > end - begin - 4:
            return False, weight
        weight += _weight(header)
        begin += 4 + length
    return True, weight
