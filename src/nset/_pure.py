"""The pure-Python fallback: the same contract as ``_core.pyx``, without a compiler.

Each UID has a slot, a list with the UID and whether it is known to be conformant. The UID is text
at first, and becomes a `UID` object when it is first read. Setting makes a new slot, so a reading
thread cannot undo what another thread has just set; the C extension has critical sections for that.
"""

import re
import struct
import sys
from collections.abc import Mapping
from io import BytesIO
from operator import index
from typing import Any, Final, TypeVar

from pydicom.uid import UID

from nset import _command_set, _rules
from nset._command_set import read_command_field_and_type as read_command_field_and_type
from nset._rules import (
    MAX_US,
    N_SET_RQ,
    N_SET_RSP,
    NO_DATA_SET,
    REQUEST_KEYWORDS,
    RESPONSE_KEYWORDS,
)
from nset._uid import conformant_uids, is_conformant_uid, validate_uid
from nset.config import _own as _own_settings

_Self = TypeVar("_Self", bound="Primitive")

_modules: Final = sys.modules
_CONFIG: Final = "pynetdicom._config"
_new_str: Final = str.__new__

_registered: type | None = None
_registered_names: Mapping[str, Any] = {}
_registered_size = 0


def register_class(cls: type) -> None:
    """Register the public ``N_SET``, whose fields are accessed directly while it is not patched."""
    global _registered, _registered_names, _registered_size
    _registered = cls
    _registered_names = cls.__dict__
    _registered_size = len(_registered_names)


def category(code: int) -> str:
    """Return the category of a status code by the ranges of PS3.7 Annex C.

    Parameters
    ----------
    code : int
        The code, 0 or more.

    Returns
    -------
    str
        ``"Success"``, ``"Warning"``, ``"Failure"``, ``"Cancel"``, ``"Pending"``, or ``"Unknown"``
        for codes that Annex C does not list.

    Raises
    ------
    ValueError
        If `code` is negative or not an int.
    """
    try:
        number = index(code) if isinstance(code, int) else -1
    except TypeError:  # its __class__ is int, its type is not
        number = -1
    if number < 0:
        raise _rules.status_code_type()
    if number == 0x0000:
        return "Success"
    if number in (0x0001, 0x0107, 0x0116) or 0xB000 <= number <= 0xBFFF:
        return "Warning"
    if 0x0100 <= number <= 0x02FF or 0xA000 <= number <= 0xAFFF or 0xC000 <= number <= 0xCFFF:
        return "Failure"
    if number == 0xFE00:
        return "Cancel"
    if number in (0xFF00, 0xFF01):
        return "Pending"
    return "Unknown"


def default_validator_is_in_force() -> bool:
    """Return whether conformant text causes no error, warning or record; read at each call."""
    # Subscripts, not get(): free-threaded 3.13 locks twice, and yields, where get() returns an
    # object of another thread.
    try:
        now = _modules[_CONFIG].__dict__ if _CONFIG in _modules else _own_settings
        return now["VALIDATORS"]["UI"] is now["validate_ui"]
    except (KeyError, AttributeError):
        # Another thread is importing it, or it is blocked (None): the slow path handles that.
        return False


def _check_uid(value: Any, keyword: str) -> list[Any] | None:
    """Return the slot for `value`: conformant text and True, or a UID and False; None for none."""
    cls = type(value)
    if cls is str:
        text = value
    elif cls is UID and not hasattr(value, "_PRIVATE_TS_ENCODING"):
        text = str(value)
    else:
        text = ""
    if text in conformant_uids or is_conformant_uid(text):
        # default_validator_is_in_force() inlined: the call would add a tenth to setting a UID.
        try:
            now = _modules[_CONFIG].__dict__ if _CONFIG in _modules else _own_settings
            if now["VALIDATORS"]["UI"] is now["validate_ui"]:
                return [text, True]
        except (KeyError, AttributeError):
            pass
    uid = validate_uid(value, _rules.ELEMENT_NAMES[keyword])
    return None if uid is None else [uid, False]


def _uid_in(slot: list[Any]) -> UID:
    """Return the UID that pydicom would make of conformant text, without another check."""
    uid: UID
    uid = slot[0] = _new_str(UID, slot[0])
    return uid


def _check_us(value: Any, keyword: str) -> None:
    """Raise unless the value is None or an int in the range of US."""
    if isinstance(value, int):
        if not 0 <= value <= MAX_US:
            raise _rules.us_out_of_range(_rules.ELEMENT_NAMES[keyword])
    elif value is not None:
        raise _rules.us_type(_rules.ELEMENT_NAMES[keyword])


# Canonical command sets (PS3.7 Section 6.3.1), but for the lengths, which are compared later.
_LENGTH: Final = rb"(..\x00\x00)"
_US: Final = rb"\x02\x00\x00\x00(..)"
_UID: Final = _LENGTH + rb"([0-9.]+\x00?)"
_GROUP: Final = rb"\x00\x00\x00\x00\x04\x00\x00\x00" + _LENGTH
_CANONICAL_RQ: Final = re.compile(
    _GROUP
    + rb"\x00\x00\x03\x00"
    + _UID
    + rb"\x00\x00\x00\x01\x02\x00\x00\x00\x20\x01"
    + rb"\x00\x00\x10\x01"
    + _US
    + rb"\x00\x00\x00\x08"
    + _US
    + rb"\x00\x00\x01\x10"
    + _UID,
    re.DOTALL,
).fullmatch
_CANONICAL_RSP: Final = re.compile(
    _GROUP
    + rb"(?:\x00\x00\x02\x00"
    + _UID
    + rb")?\x00\x00\x00\x01\x02\x00\x00\x00\x20\x81"
    + rb"\x00\x00\x20\x01"
    + _US
    + rb"\x00\x00\x00\x08"
    + _US
    + rb"\x00\x00\x00\x09"
    + _US
    + rb"(?:\x00\x00\x00\x10"
    + _UID
    + rb")?",
    re.DOTALL,
).fullmatch
_HEADER: Final = struct.Struct("<HHI").pack
_GROUP_LENGTH: Final = struct.Struct("<HHII").pack
_RQ: Final = struct.Struct("<HHIHHHIHHHIH").pack
_RSP: Final = struct.Struct("<HHIHHHIHHHIHHHIH").pack


def _us(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _uid_slot(length: bytes | None, value: bytes | None) -> list[Any] | None:
    """Return the slot for a conformant UID with canonical padding; None for any other."""
    if length is None or value is None or _us(length) != len(value) or len(value) % 2:
        return None
    text = (value[:-1] if value[-1] == 0 else value).decode("ascii")
    return [text, True] if is_conformant_uid(text) else None


def _decode_canonical(data: bytes) -> dict[str, Any] | None:
    """Decode a canonical command set into attributes; return None for any other."""
    if not default_validator_is_in_force():
        return None
    found = _CANONICAL_RQ(data)
    if found is not None:
        length, class_length, sop_class, message_id, kind, instance_length, instance = (
            found.groups()
        )
        fields = {
            "_requested_sop_class_uid": _uid_slot(class_length, sop_class),
            "_message_id": _us(message_id),
            "_requested_sop_instance_uid": _uid_slot(instance_length, instance),
        }
        if None in fields.values() or _us(length) != len(data) - 12 or _us(kind) == NO_DATA_SET:
            return None
        return fields
    found = _CANONICAL_RSP(data)
    if found is None:
        return None
    length, class_length, sop_class, message_id, _, status, instance_length, instance = (
        found.groups()
    )
    fields = {
        "_affected_sop_class_uid": _uid_slot(class_length, sop_class),
        "_message_id_being_responded_to": _us(message_id),
        "_status": _us(status),
        "_affected_sop_instance_uid": _uid_slot(instance_length, instance),
    }
    if (
        _us(length) != len(data) - 12
        or (sop_class is not None and fields["_affected_sop_class_uid"] is None)
        or (instance is not None and fields["_affected_sop_instance_uid"] is None)
    ):
        return None
    return fields


def _us_or_none(value: Any) -> int | None:
    """Return the int if it is in the range of US; None for any other value."""
    if type(value) is not int:
        if not issubclass(type(value), int):  # isinstance() would believe a __class__ of int
            return None
        value = index(value)
    return value if 0 <= value <= MAX_US else None


def _uid_element(number: int, slot: list[Any] | None) -> bytes | None:
    """Encode a conformant UID with its header, b"" for None; return None for any other."""
    if slot is None:
        return b""
    uid: str
    uid, is_conformant = slot
    if not is_conformant and not is_conformant_uid(uid):
        return None
    value = uid.encode("ascii")
    if len(value) % 2:
        value += b"\0"
    return _HEADER(0, number, len(value)) + value


def _encode_canonical(primitive: "Primitive") -> bytes | None:
    """Encode a canonical command set; return None for the slow path."""
    stream = primitive._dataset
    if (
        type(primitive) is not _registered
        or len(_registered_names) != _registered_size
        or (stream is None and primitive._dataset_path)
    ):
        return None
    data_set_type = 0x0001 if stream is not None and stream.getvalue() else NO_DATA_SET
    if primitive._message_id_being_responded_to is None:
        sop_class = _uid_element(0x0003, primitive._requested_sop_class_uid)
        instance = _uid_element(0x1001, primitive._requested_sop_instance_uid)
        message_id = _us_or_none(primitive._message_id)
        if message_id is None or sop_class is None or instance is None:
            return None
        middle = _RQ(
            *(0, 0x0100, 2, N_SET_RQ),
            *(0, 0x0110, 2, message_id),
            *(0, 0x0800, 2, data_set_type),
        )
        length = len(sop_class) + len(middle) + len(instance)
        return _GROUP_LENGTH(0, 0, 4, length) + sop_class + middle + instance
    optional = primitive.__dict__.get
    if not (
        optional("ErrorComment", 0)
        is optional("ErrorID", 0)
        is optional("AttributeIdentifierList", 0)
        is optional("OffendingElement", 0)
        is None
    ):
        return None
    return _encode_response(
        _us_or_none(primitive._message_id_being_responded_to),
        data_set_type,
        _us_or_none(primitive._status),
        primitive._affected_sop_class_uid,
        primitive._affected_sop_instance_uid,
    )


def _encode_response(
    message_id: int | None,
    data_set_type: int,
    status: int | None,
    class_slot: list[Any] | None,
    instance_slot: list[Any] | None,
) -> bytes | None:
    sop_class, instance = _uid_element(0x0002, class_slot), _uid_element(0x1000, instance_slot)
    if message_id is None or status is None or sop_class is None or instance is None:
        return None
    middle = _RSP(
        *(0, 0x0100, 2, N_SET_RSP),
        *(0, 0x0120, 2, message_id),
        *(0, 0x0800, 2, data_set_type),
        *(0, 0x0900, 2, status),
    )
    length = len(sop_class) + len(middle) + len(instance)
    return _GROUP_LENGTH(0, 0, 4, length) + sop_class + middle + instance


def _alias(field: Any, keyword: str) -> Any:
    """Return a second property for a field."""
    return property(field.fget, field.fset, doc=f"pynetdicom's other name of `{keyword}`.")


class Primitive:
    """The fields of an N-SET request or response; the base class of ``nset.N_SET``.

    Instances are safe to share between threads: each attribute is read and written atomically.
    """

    _message_id: int | None = None
    _message_id_being_responded_to: int | None = None
    _affected_sop_class_uid: list[Any] | None = None
    _affected_sop_instance_uid: list[Any] | None = None
    _requested_sop_class_uid: list[Any] | None = None
    _requested_sop_instance_uid: list[Any] | None = None
    _status: int | None = None
    _dataset: BytesIO | None = None
    _context_id: int | None = None
    _dataset_path: Any = None
    _dataset_file: Any = None

    REQUEST_KEYWORDS: tuple[str, ...] = _rules.REQUEST_KEYWORDS
    RESPONSE_KEYWORDS: tuple[str, ...] = _rules.RESPONSE_KEYWORDS
    STATUS_OPTIONAL_KEYWORDS: tuple[str, ...] = _rules.STATUS_OPTIONAL_KEYWORDS

    ErrorComment: Any
    ErrorID: Any
    AttributeIdentifierList: Any
    OffendingElement: Any

    def __init__(self) -> None:
        if type(self) is _registered and len(_registered_names) == _registered_size:
            self._dataset = self.ErrorComment = self.ErrorID = None
            self.AttributeIdentifierList = self.OffendingElement = None
        else:
            for keyword in _rules.INIT_KEYWORDS:
                setattr(self, keyword, None)

    __init__.__qualname__ = "N_SET.__init__"  # the name in its error texts

    @property
    def MessageID(self) -> int | None:
        """Message ID (0000,0110): int in 0..65535, or None."""
        return self._message_id

    @MessageID.setter
    def MessageID(self, value: int | None) -> None:
        if type(value) is not int or not 0 <= value <= 0xFFFF:
            _check_us(value, "MessageID")
        self._message_id = value

    @property
    def MessageIDBeingRespondedTo(self) -> int | None:
        """Message ID Being Responded To (0000,0120): int in 0..65535, or None."""
        return self._message_id_being_responded_to

    @MessageIDBeingRespondedTo.setter
    def MessageIDBeingRespondedTo(self, value: int | None) -> None:
        if type(value) is not int or not 0 <= value <= 0xFFFF:
            _check_us(value, "MessageIDBeingRespondedTo")
        self._message_id_being_responded_to = value

    @property
    def Status(self) -> int | None:
        """Status (0000,0900): int in 0..65535, or None."""
        return self._status

    @Status.setter
    def Status(self, value: int | None) -> None:
        if type(value) is not int or not 0 <= value <= 0xFFFF:
            _check_us(value, "Status")
        self._status = value

    @property
    def AffectedSOPClassUID(self) -> UID | None:
        """Affected SOP Class UID (0000,0002): UID of at most 64 characters, or None."""
        slot = self._affected_sop_class_uid
        if slot is None:
            return None
        uid = slot[0]
        return uid if type(uid) is UID else _uid_in(slot)

    @AffectedSOPClassUID.setter
    def AffectedSOPClassUID(self, value: str | bytes | UID | None) -> None:
        self._affected_sop_class_uid = _check_uid(value, "AffectedSOPClassUID")

    @property
    def AffectedSOPInstanceUID(self) -> UID | None:
        """Affected SOP Instance UID (0000,1000): UID of at most 64 characters, or None."""
        slot = self._affected_sop_instance_uid
        if slot is None:
            return None
        uid = slot[0]
        return uid if type(uid) is UID else _uid_in(slot)

    @AffectedSOPInstanceUID.setter
    def AffectedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self._affected_sop_instance_uid = _check_uid(value, "AffectedSOPInstanceUID")

    @property
    def RequestedSOPClassUID(self) -> UID | None:
        """Requested SOP Class UID (0000,0003): UID of at most 64 characters, or None."""
        slot = self._requested_sop_class_uid
        if slot is None:
            return None
        uid = slot[0]
        return uid if type(uid) is UID else _uid_in(slot)

    @RequestedSOPClassUID.setter
    def RequestedSOPClassUID(self, value: str | bytes | UID | None) -> None:
        self._requested_sop_class_uid = _check_uid(value, "RequestedSOPClassUID")

    @property
    def RequestedSOPInstanceUID(self) -> UID | None:
        """Requested SOP Instance UID (0000,1001): UID of at most 64 characters, or None."""
        slot = self._requested_sop_instance_uid
        if slot is None:
            return None
        uid = slot[0]
        return uid if type(uid) is UID else _uid_in(slot)

    @RequestedSOPInstanceUID.setter
    def RequestedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self._requested_sop_instance_uid = _check_uid(value, "RequestedSOPInstanceUID")

    _AffectedSOPInstanceUID = _alias(AffectedSOPInstanceUID, "AffectedSOPInstanceUID")
    _RequestedSOPClassUID = _alias(RequestedSOPClassUID, "RequestedSOPClassUID")
    _RequestedSOPInstanceUID = _alias(RequestedSOPInstanceUID, "RequestedSOPInstanceUID")

    @property
    def _dataset_variant(self) -> BytesIO | None:
        """The one list under both its names; set as a tuple of the list and the name."""
        return self._dataset

    @_dataset_variant.setter
    def _dataset_variant(self, value: tuple[BytesIO | None, str]) -> None:
        stream = value[0]
        if stream is not None and not isinstance(stream, BytesIO):
            raise _rules.list_type(value[1])
        self._dataset = stream

    @property
    def AttributeList(self) -> BytesIO | None:
        """Encoded Attribute List of a response: BytesIO or None; one with ModificationList."""
        return self._dataset

    @AttributeList.setter
    def AttributeList(self, value: BytesIO | None) -> None:
        if value is not None and not isinstance(value, BytesIO):
            raise _rules.list_type("AttributeList")
        self._dataset = value

    @property
    def ModificationList(self) -> BytesIO | None:
        """Encoded Modification List of a request: BytesIO or None; one with AttributeList."""
        return self._dataset

    @ModificationList.setter
    def ModificationList(self, value: BytesIO | None) -> None:
        if value is not None and not isinstance(value, BytesIO):
            raise _rules.list_type("ModificationList")
        self._dataset = value

    @property
    def is_valid_request(self) -> bool:
        """Whether all of ``REQUEST_KEYWORDS`` are set (PS3.7 Table 10.1-3)."""
        keywords = self.REQUEST_KEYWORDS
        if (
            keywords is REQUEST_KEYWORDS
            and type(self) is _registered
            and len(_registered_names) == _registered_size
        ):
            return (
                self._message_id is not None
                and self._requested_sop_class_uid is not None
                and self._requested_sop_instance_uid is not None
                and self._dataset is not None
            )
        for keyword in keywords:  # noqa: SIM110 - all() takes twice the time
            if getattr(self, keyword) is None:
                return False
        return True

    @property
    def is_valid_response(self) -> bool:
        """Whether all of ``RESPONSE_KEYWORDS`` are set (PS3.7 Table 10.1-3)."""
        keywords = self.RESPONSE_KEYWORDS
        if (
            keywords is RESPONSE_KEYWORDS
            and type(self) is _registered
            and len(_registered_names) == _registered_size
        ):
            return self._message_id_being_responded_to is not None and self._status is not None
        for keyword in keywords:  # noqa: SIM110 - all() takes twice the time
            if getattr(self, keyword) is None:
                return False
        return True

    @property
    def msg_type(self) -> str:
        """The name of the class with hyphens: ``"N-SET"``."""
        return self.__class__.__name__.replace("_", "-")

    def to_command_set(self) -> bytes:
        """Encode the command set (PS3.7 Section 10.3.3), Implicit VR Little Endian.

        Returns
        -------
        bytes
            That of an N-SET-RSP if `MessageIDBeingRespondedTo` is set, else that of an N-SET-RQ.

        Raises
        ------
        ValueError
            If a value cannot be encoded; names the element.
        TypeError
            If a value is of a type that cannot be encoded; names the element.
        """
        return _encode_canonical(self) or _command_set.encode(self)

    @classmethod
    def from_command_set(
        cls: type[_Self], data: bytes | bytearray | memoryview, *, strict: bool = False
    ) -> _Self:
        """Decode the command set of an N-SET-RQ or N-SET-RSP (PS3.7 Section 10.3.3).

        Parameters
        ----------
        data : bytes-like
            The command set, Implicit VR Little Endian. A violation that does not prevent decoding
            is accepted, with a WARNING record of the logger ``nset``.
        strict : bool
            Accept only what PS3.7 Sections 6.3.1 and 10.3.3 allow.

        Returns
        -------
        N_SET
            With an empty `BytesIO` as its list. In a request, an absent Requested UID gets the
            value of the Affected one.

        Raises
        ------
        CommandSetError
            If the bytes are not such a command set.
        TypeError
            If `data` is not bytes-like.
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        fields = _decode_canonical(data)
        if fields is not None:
            primitive = cls()
            primitive.__dict__.update(fields)
        else:
            fields = _command_set.decode(data, strict)
            primitive = cls()
            Primitive.__setstate__(primitive, fields)
        primitive._dataset = BytesIO()
        return primitive

    def __getstate__(self) -> dict[str, Any]:
        state = {}
        for name, value in self.__dict__.copy().items():  # atomic: other threads may set and delete
            if name in _UIDS and value is not None:
                value = value[0] if type(value[0]) is UID else _uid_in(value)
            state[_rules.KEYWORDS.get(name, name)] = value
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            attribute = _ATTRIBUTES.get(name, name)
            if attribute in _UIDS and value is not None:
                value = [value, False]
            self.__dict__[attribute] = value


# Pickles hold keywords, not names of attributes: either implementation reads the other's.
_ATTRIBUTES: Final = {keyword: attribute for attribute, keyword in _rules.KEYWORDS.items()}
_UIDS: Final = frozenset(name for name in _rules.KEYWORDS if name.endswith("_uid"))
