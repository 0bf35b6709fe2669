"""The services of the fast path: one table, which both implementations and the dispatcher read."""

import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Final, NamedTuple

from pydicom.tag import BaseTag
from pydicom.uid import UID
from pynetdicom import dimse_primitives as primitives
from pynetdicom import evt, sop_class
from pynetdicom.service_class import ServiceClass, VerificationServiceClass
from pynetdicom.sop_class import SOPClass, uid_to_service_class

from nset import _rules
from nset.primitive import N_SET as _N_SET
from nset.pynetdicom._provider import OPERATIONS

_ELEMENT: Final = struct.Struct("<HHI").unpack_from

# Whether a request has a data set.
NEVER = 0
OPTIONAL = 1
ALWAYS = 2

COMMAND_FIELD, MESSAGE_ID, DATA_SET_TYPE = 0x0100, 0x0110, 0x0800
AFFECTED_CLASS, REQUESTED_CLASS = 0x0002, 0x0003
AFFECTED_INSTANCE, REQUESTED_INSTANCE = 0x1000, 0x1001
EVENT_TYPE, ATTRIBUTES, ACTION_TYPE = 0x1002, 0x1005, 0x1008
"""Elements of group 0000H (PS3.7 Section E.1)."""


class Service(NamedTuple):
    """A service: the elements of its messages beside those that all have (PS3.7 Chapters 9, 10).

    A response has the SOP Class and Instance of its request as the Affected ones, and its type ID.

    Attributes
    ----------
    number : int
        The place in `SERVICES`.
    name : str
        As in ``"N-SET"``.
    command_field : int
        Of the request; 8000H more in the response.
    event : pynetdicom.evt.InterventionEvent
        What is triggered.
    primitive : type
        What `event.request` is.
    required, optional : tuple of int
        Elements of the request.
    data_set : int
        `NEVER`, `OPTIONAL` or `ALWAYS`.
    request_keyword, response_keyword : str or None
        The attributes of the primitive with a data set. With the latter, a handler answers by a
        status and a data set; without, by a status.
    type_id : int
        The element with the type ID, or 0.
    is_concurrent : bool
        Whether it is served beside other requests.
    """

    number: int
    name: str
    command_field: int
    event: Any
    primitive: Any
    required: tuple[int, ...]
    optional: tuple[int, ...] = ()
    data_set: int = NEVER
    request_keyword: str | None = None
    response_keyword: str | None = None
    type_id: int = 0
    is_concurrent: bool = False


_REQUESTED = (REQUESTED_CLASS, REQUESTED_INSTANCE)

SERVICES: Final = (
    Service(
        *(0, "C-ECHO", 0x0030, evt.EVT_C_ECHO, primitives.C_ECHO),
        required=(AFFECTED_CLASS,),
    ),
    Service(
        *(1, "N-EVENT-REPORT", 0x0100, evt.EVT_N_EVENT_REPORT, primitives.N_EVENT_REPORT),
        required=(AFFECTED_CLASS, AFFECTED_INSTANCE, EVENT_TYPE),
        data_set=OPTIONAL,
        request_keyword="EventInformation",
        response_keyword="EventReply",
        type_id=EVENT_TYPE,
        is_concurrent=True,
    ),
    Service(
        *(2, "N-GET", 0x0110, evt.EVT_N_GET, primitives.N_GET),
        required=_REQUESTED,
        optional=(ATTRIBUTES,),
        response_keyword="AttributeList",
    ),
    Service(
        *(3, "N-SET", _rules.N_SET_RQ, evt.EVT_N_SET, _N_SET),
        required=_REQUESTED,
        data_set=ALWAYS,
        request_keyword="ModificationList",
        response_keyword="AttributeList",
    ),
    Service(
        *(4, "N-ACTION", 0x0130, evt.EVT_N_ACTION, primitives.N_ACTION),
        required=(*_REQUESTED, ACTION_TYPE),
        data_set=OPTIONAL,
        request_keyword="ActionInformation",
        response_keyword="ActionReply",
        type_id=ACTION_TYPE,
    ),
    Service(
        *(5, "N-CREATE", 0x0140, evt.EVT_N_CREATE, primitives.N_CREATE),
        required=(AFFECTED_CLASS,),
        optional=(AFFECTED_INSTANCE,),
        data_set=OPTIONAL,
        request_keyword="AttributeList",
        response_keyword="AttributeList",
    ),
    Service(
        *(6, "N-DELETE", 0x0150, evt.EVT_N_DELETE, primitives.N_DELETE),
        required=_REQUESTED,
    ),
)
"""By their numbers."""

C_ECHO, _, _, N_SET, _, N_CREATE, _ = SERVICES

ServiceClasses = tuple[dict[bytes, type[ServiceClass]], ...]
"""By the number of a service, and then by SOP Class UID: pynetdicom's service classes."""


def service_class(service: Service, uid: str) -> type[ServiceClass] | None:
    """Return pynetdicom's service class that serves a service for an SOP Class.

    Parameters
    ----------
    service : Service
        The service.
    uid : str
        The SOP Class UID; a program may have registered it.

    Returns
    -------
    type or None
        None if there is none of pynetdicom's own, or it has not that service.
    """
    found: type[ServiceClass] = uid_to_service_class(uid)
    return found if _has(found, service) else None


def _has(found: Any, service: Service) -> bool:
    if service is C_ECHO:
        return found is VerificationServiceClass
    return service.name in OPERATIONS.get(found, ())


_UIDS: Final[dict[bytes, Any]] = {
    uid.encode(): uid.service_class for uid in vars(sop_class).values() if isinstance(uid, SOPClass)
}

KNOWN: Final[ServiceClasses] = tuple(
    {uid: found for uid, found in _UIDS.items() if _has(found, service)} for service in SERVICES
)
"""Of the SOP Classes that pynetdicom knows; not to be changed."""

NONE: Final[ServiceClasses] = tuple({} for _ in SERVICES)
"""No service class."""


# -- Primitives ------------------------------------------------------------------------------------

# By the element: the keyword, and a value to find out where pynetdicom keeps it.
_KEYWORDS: Final[dict[int, tuple[str, Any]]] = {
    AFFECTED_CLASS: ("AffectedSOPClassUID", "1.2"),
    REQUESTED_CLASS: ("RequestedSOPClassUID", "1.2"),
    MESSAGE_ID: ("MessageID", 1),
    AFFECTED_INSTANCE: ("AffectedSOPInstanceUID", "1.2"),
    REQUESTED_INSTANCE: ("RequestedSOPInstanceUID", "1.2"),
    EVENT_TYPE: ("EventTypeID", 1),
    ATTRIBUTES: ("AttributeIdentifierList", 1),
    ACTION_TYPE: ("ActionTypeID", 1),
}
_NOTHING: Final = object()
_WITHOUT_DATA_SET: Final = b"\0\0\0\x08\2\0\0\0\1\1"
_WITH_DATA_SET: Final = b"\0\0\0\x08\2\0\0\0\1\0"
"""The Command Data Set Type (0000,0800)."""


def _tags(value: bytes) -> Any:
    tags = [BaseTag(group << 16 | number) for group, number in struct.iter_unpack("<HH", value)]
    return tags[0] if len(tags) == 1 else tags


def _uid(value: bytes) -> Any:
    """Return the UID that pydicom would make of conformant text, without another check."""
    return str.__new__(UID, value.rstrip(b"\0").decode("ascii"))


def _us(value: bytes) -> int:
    return int.from_bytes(value, "little")


_CONVERSIONS: Final[dict[int, Callable[[bytes], Any]]] = {
    **dict.fromkeys((MESSAGE_ID, EVENT_TYPE, ACTION_TYPE), _us),
    **dict.fromkeys((AFFECTED_CLASS, REQUESTED_CLASS), _uid),
    **dict.fromkeys((AFFECTED_INSTANCE, REQUESTED_INSTANCE), _uid),
    ATTRIBUTES: _tags,
}


class _Maker:
    """Makes the primitives of one of pynetdicom's classes past its setters, which check again.

    Where those keep a value is seen from a primitive that they have set.
    """

    def __init__(self, service: Service) -> None:
        self._cls = service.primitive
        blank = self._cls()
        blank._dataset_path = blank._dataset_file = None
        self._blank = dict(vars(blank))
        self._names = {
            tag: self._name(*_KEYWORDS[tag])
            for tag in (MESSAGE_ID, *service.required, *service.optional)
        }
        self._data_set = service.request_keyword and self._name(service.request_keyword, BytesIO())

    def _name(self, keyword: str, value: Any) -> str:
        primitive = self._cls()
        before = dict(vars(primitive))
        setattr(primitive, keyword, value)
        after: dict[str, Any] = vars(primitive)
        (name,) = [name for name, now in after.items() if before.get(name, _NOTHING) is not now]
        return name

    def make(self, command_set: bytes, context_id: int, data_set: BytesIO) -> Any:
        """Return the primitive."""
        primitive = object.__new__(self._cls)
        fields = vars(primitive)
        fields.update(self._blank)
        for tag, value in elements(command_set):
            if tag in self._names:
                fields[self._names[tag]] = _CONVERSIONS[tag](value)
        if self._data_set is not None:
            fields[self._data_set] = data_set
        fields["_context_id"] = context_id
        return primitive


_MAKERS: Final = {service.number: _Maker(service) for service in SERVICES if service is not N_SET}


def primitive_of(service: Service, command_set: bytes, context_id: int, data_set: BytesIO) -> Any:
    """Return the primitive that pynetdicom would make of a request.

    Parameters
    ----------
    service : Service
        The service.
    command_set : bytes
        A canonical command set.
    context_id : int
        ID of its presentation context.
    data_set : io.BytesIO
        Its data set; empty if it has none.

    Returns
    -------
    pynetdicom or nset primitive
        The request.
    """
    if service is not N_SET:
        return _MAKERS[service.number].make(command_set, context_id, data_set)
    # What it lacks is in no attribute, and the refusal says it; the decoder would log it, too.
    request = _N_SET.from_command_set(command_set.replace(_WITHOUT_DATA_SET, _WITH_DATA_SET))
    request.ModificationList = data_set
    request._context_id = context_id
    return request


def elements(command_set: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of a canonical command set: the tag's element number, and the value."""
    at = 0
    while at < len(command_set):
        _, tag, length = _ELEMENT(command_set, at)
        end = at + 8 + length
        yield tag, command_set[at + 8 : end]
        at = end
