"""The PDU reader of the pure-Python fallback (PS3.8 Section 9.3)."""

import struct
from io import BytesIO
from typing import Any, Final

from nset import _pdu
from nset._pure import default_validator_is_in_force
from nset.scp import _rules
from nset.scp._pure_requests import ServiceEventBase, pdu_of, request_in
from nset.scp._services import (
    ALWAYS,
    OPTIONAL,
)

_PDU_HEADER: Final = struct.Struct(">BxI")
_PDV_HEADER: Final = struct.Struct(">IBB")

# Where the reader is among the PDVs of messages.
_BETWEEN_MESSAGES: Final = 0  # or in the data set of a message for the slow path
_IN_COMMAND: Final = 1  # of a message for the slow path, in several fragments
_IN_DATA_SET: Final = 2  # of a request
_SKIPPING_DATA_SET: Final = 3  # the rest of a data set that is too long, or was not announced
_BEHIND_REFUSED: Final = 4  # of a request that lacks a data set: one that follows is skipped


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
        pdu = pdu_of(piece, self._pdv_context, header)
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
            if self._may_begin_request(header) and request_in(
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
        found = request_in(data)
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
