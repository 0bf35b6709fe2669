"""Requests and responses of the pure-Python fallback (PS3.7 Sections 9.3 and 10.3)."""

import struct
from io import BytesIO
from typing import Any, Final

from nset import _pdu
from nset._rules import MAX_COMMAND_SET_LENGTH, MAX_US, NO_DATA_SET
from nset._uid import is_conformant_uid
from nset.scp._services import (
    ACTION_TYPE,
    AFFECTED_CLASS,
    AFFECTED_INSTANCE,
    ALWAYS,
    ATTRIBUTES,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    EVENT_TYPE,
    MESSAGE_ID,
    NEVER,
    REQUESTED_CLASS,
    REQUESTED_INSTANCE,
    SERVICES,
    Service,
)

_PDV_HEADER: Final = struct.Struct(">IBB")
_PDU_OF_ONE: Final = struct.Struct(">BxIIBB").pack
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


def request_in(data: bytes) -> tuple[Service, _Elements] | None:
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
        The association in which the request came; made when it is first read.
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

    _assoc: Any = None
    _path: Any = None
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
    def assoc(self) -> Any:
        """The association."""
        if self._assoc is None and self._path is not None:
            self._assoc = self._path.assoc
        return self._assoc

    @assoc.setter
    def assoc(self, value: Any) -> None:
        self._assoc = value

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
    parts = [pdu_of(command_set, context_id, _pdu.IS_COMMAND | _pdu.IS_LAST)]
    length = ((max_pdu_length or 0xFFFFFFFF) - _PDV_HEADER.size) & ~1
    for at in range(0, len(data), length):
        is_last = at + length >= len(data)
        parts.append(pdu_of(data[at : at + length], context_id, _pdu.IS_LAST if is_last else 0))
    return b"".join(parts)


def pdu_of(fragment: bytes, context_id: int, header: int) -> bytes:
    """Make a P-DATA-TF PDU of one PDV."""
    length = len(fragment) + 2
    return _PDU_OF_ONE(_pdu.P_DATA_TF, length + 4, length, context_id, header) + fragment
