"""The pure-Python twin: the same contract as ``_core.pyx``, for where nothing can be compiled.

A UID is kept in a list of its own, with whether it is clean: text at first, whose place a `UID`
object takes when it is first read. Setting puts a new list: so a thread that reads can never undo
what another has just set, which the core sees to by critical sections.
"""

import re
import struct
import sys
from collections.abc import Mapping
from io import BytesIO
from operator import index
from time import monotonic, time
from typing import Any, Final, TypeVar

from pydicom.uid import UID

from nset import _command_set, _pdu, _rules
from nset._rules import MAX_US, REQUEST_KEYWORDS, RESPONSE_KEYWORDS
from nset._uid import accept_uid, is_clean, known_uids
from nset.config import _own as _own_settings

_Self = TypeVar("_Self", bound="Primitive")

peek = _command_set.peek

_modules: Final = sys.modules
_CONFIG: Final = "pynetdicom._config"
_new_str: Final = str.__new__

_adopted: type | None = None
_adopted_names: Mapping[str, Any] = {}
_adopted_size = 0


def adopt(cls: type) -> None:
    """Name the class whose methods need not look for overridden properties.

    Parameters
    ----------
    cls : type
        The public ``N_SET``. Called once, while nset is imported.
    """
    global _adopted, _adopted_names, _adopted_size
    _adopted = cls
    _adopted_names = cls.__dict__
    _adopted_size = len(_adopted_names)


def category(code: int) -> str:
    """Give the category of a status code by the ranges of PS3.7 Annex C.

    Parameters
    ----------
    code : int
        The code, 0 or more.

    Returns
    -------
    str
        ``"Success"``, ``"Warning"``, ``"Failure"``, ``"Cancel"``, ``"Pending"``, or ``"Unknown"``
        for what Annex C does not list.

    Raises
    ------
    ValueError
        If `code` is negative or no int.
    """
    try:
        number = index(code) if isinstance(code, int) else -1
    except TypeError:  # it only gives itself out as an int
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


def _default_validator_is_in_force() -> bool:
    """Whether clean text can cause no error, warning or record; read at each call."""
    # By subscripts: free-threaded 3.13 locks twice, and yields, where get() gives what another
    # thread has made.
    try:
        now = _modules[_CONFIG].__dict__ if _CONFIG in _modules else _own_settings
        return now["VALIDATORS"]["UI"] is now["validate_ui"]
    except (KeyError, AttributeError):
        # It is being imported by another thread, or must not be (None): the slow path knows.
        return False


def _check_uid(value: Any, name: str) -> list[Any] | None:
    """Give what to keep for `value`: clean text and True, or a UID and False; None for none."""
    cls = type(value)
    if cls is str:
        text = value
    elif cls is UID and not hasattr(value, "_PRIVATE_TS_ENCODING"):
        text = str(value)
    else:
        text = ""
    if text in known_uids or is_clean(text):
        # As _default_validator_is_in_force() has it, without the call.
        try:
            now = _modules[_CONFIG].__dict__ if _CONFIG in _modules else _own_settings
            if now["VALIDATORS"]["UI"] is now["validate_ui"]:
                return [text, True]
        except (KeyError, AttributeError):
            pass
    uid = accept_uid(value, name)
    return None if uid is None else [uid, False]


def _read_uid(kept: list[Any]) -> UID:
    """Make the UID that pydicom would make of clean text, without checking it again."""
    uid: UID
    uid = kept[0] = _new_str(UID, kept[0])
    return uid


def _check_message_id(value: Any, name: str) -> None:
    """Take or refuse what is no plain int in range."""
    if isinstance(value, int):
        if not 0 <= value <= MAX_US:
            raise _rules.us_out_of_range(name)
    elif value is not None:
        raise _rules.message_id_type(name)


def _check_status(value: Any) -> None:
    """Take or refuse what is no plain int in range."""
    if isinstance(value, int):
        if not 0 <= value <= MAX_US:
            raise _rules.us_out_of_range(_rules.STATUS)
    elif value is not None:
        raise _rules.status_type()


# A command set as PS3.7 Section 6.3.1 wants it; the lengths are still to be compared.
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


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _parse_uid(length: bytes | None, value: bytes | None) -> list[Any] | None:
    """Give what to keep of a UID that is clean and padded as it should be; None for any other."""
    if length is None or value is None or _number(length) != len(value) or len(value) % 2:
        return None
    text = (value[:-1] if value[-1] == 0 else value).decode("ascii")
    return [text, True] if is_clean(text) else None


def _read_canonical(data: bytes) -> dict[str, Any] | None:
    """Read a command set that breaks no rule into attributes; None for any other."""
    if not _default_validator_is_in_force():
        return None
    found = _CANONICAL_RQ(data)
    if found is not None:
        length, class_length, sop_class, message_id, kind, instance_length, instance = (
            found.groups()
        )
        fields = {
            "_requested_sop_class_uid": _parse_uid(class_length, sop_class),
            "_message_id": _number(message_id),
            "_requested_sop_instance_uid": _parse_uid(instance_length, instance),
        }
        if (
            None in fields.values()
            or _number(length) != len(data) - 12
            or _number(kind) == _command_set.NO_DATA_SET
        ):
            return None
        return fields
    found = _CANONICAL_RSP(data)
    if found is None:
        return None
    length, class_length, sop_class, message_id, _, status, instance_length, instance = (
        found.groups()
    )
    fields = {
        "_affected_sop_class_uid": _parse_uid(class_length, sop_class),
        "_message_id_being_responded_to": _number(message_id),
        "_status": _number(status),
        "_affected_sop_instance_uid": _parse_uid(instance_length, instance),
    }
    if (
        _number(length) != len(data) - 12
        or (sop_class is not None and fields["_affected_sop_class_uid"] is None)
        or (instance is not None and fields["_affected_sop_instance_uid"] is None)
    ):
        return None
    return fields


def _us(value: Any) -> int | None:
    """Give the int if a US element can hold it; None for any other."""
    if type(value) is not int:
        if not issubclass(type(value), int):  # isinstance() would believe what only poses as one
            return None
        value = index(value)
    return value if 0 <= value <= MAX_US else None


def _uid_element(number: int, kept: list[Any] | None) -> bytes | None:
    """Encode a clean UID with its header, nothing for None; None for any other."""
    if kept is None:
        return b""
    uid: str
    uid, clean = kept
    if not clean and not is_clean(uid):
        return None
    value = uid.encode("ascii")
    if len(value) % 2:
        value += b"\0"
    return _HEADER(0, number, len(value)) + value


def _write_canonical(primitive: "Primitive") -> bytes | None:
    """Encode what needs no thought; None for any other."""
    stream = primitive._dataset
    if (
        type(primitive) is not _adopted
        or len(_adopted_names) != _adopted_size
        or (stream is None and primitive._dataset_path)
    ):
        return None
    data_set_type = 0x0001 if stream is not None and stream.getvalue() else 0x0101
    if primitive._message_id_being_responded_to is None:
        sop_class = _uid_element(0x0003, primitive._requested_sop_class_uid)
        instance = _uid_element(0x1001, primitive._requested_sop_instance_uid)
        message_id = _us(primitive._message_id)
        if message_id is None or sop_class is None or instance is None:
            return None
        middle = _RQ(
            *(0, 0x0100, 2, 0x0120),
            *(0, 0x0110, 2, message_id),
            *(0, 0x0800, 2, data_set_type),
        )
    else:
        sop_class = _uid_element(0x0002, primitive._affected_sop_class_uid)
        instance = _uid_element(0x1000, primitive._affected_sop_instance_uid)
        message_id = _us(primitive._message_id_being_responded_to)
        status = _us(primitive._status)
        optional = primitive.__dict__.get
        if (
            message_id is None
            or status is None
            or sop_class is None
            or instance is None
            or not (
                optional("ErrorComment", 0)
                is optional("ErrorID", 0)
                is optional("AttributeIdentifierList", 0)
                is optional("OffendingElement", 0)
                is None
            )
        ):
            return None
        middle = _RSP(
            *(0, 0x0100, 2, 0x8120),
            *(0, 0x0120, 2, message_id),
            *(0, 0x0800, 2, data_set_type),
            *(0, 0x0900, 2, status),
        )
    length = len(sop_class) + len(middle) + len(instance)
    return _GROUP_LENGTH(0, 0, 4, length) + sop_class + middle + instance


class Primitive:
    """What an N-SET request and response hold; ``nset.N_SET`` is its public face.

    Instances are safe to share between threads: each attribute is read and written whole.
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
        if type(self) is _adopted and len(_adopted_names) == _adopted_size:
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
            _check_message_id(value, _rules.MESSAGE_ID)
        self._message_id = value

    @property
    def MessageIDBeingRespondedTo(self) -> int | None:
        """Message ID Being Responded To (0000,0120): int in 0..65535, or None."""
        return self._message_id_being_responded_to

    @MessageIDBeingRespondedTo.setter
    def MessageIDBeingRespondedTo(self, value: int | None) -> None:
        if type(value) is not int or not 0 <= value <= 0xFFFF:
            _check_message_id(value, _rules.MESSAGE_ID_BEING_RESPONDED_TO)
        self._message_id_being_responded_to = value

    @property
    def Status(self) -> int | None:
        """Status (0000,0900): int in 0..65535, or None."""
        return self._status

    @Status.setter
    def Status(self, value: int | None) -> None:
        if type(value) is not int or not 0 <= value <= 0xFFFF:
            _check_status(value)
        self._status = value

    @property
    def AffectedSOPClassUID(self) -> UID | None:
        """Affected SOP Class UID (0000,0002): UID of at most 64 characters, or None."""
        kept = self._affected_sop_class_uid
        if kept is None:
            return None
        uid = kept[0]
        return uid if type(uid) is UID else _read_uid(kept)

    @AffectedSOPClassUID.setter
    def AffectedSOPClassUID(self, value: str | bytes | UID | None) -> None:
        self._affected_sop_class_uid = _check_uid(value, _rules.AFFECTED_SOP_CLASS_UID)

    @property
    def AffectedSOPInstanceUID(self) -> UID | None:
        """Affected SOP Instance UID (0000,1000): UID of at most 64 characters, or None."""
        kept = self._affected_sop_instance_uid
        if kept is None:
            return None
        uid = kept[0]
        return uid if type(uid) is UID else _read_uid(kept)

    @AffectedSOPInstanceUID.setter
    def AffectedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self._affected_sop_instance_uid = _check_uid(value, _rules.AFFECTED_SOP_INSTANCE_UID)

    @property
    def RequestedSOPClassUID(self) -> UID | None:
        """Requested SOP Class UID (0000,0003): UID of at most 64 characters, or None."""
        kept = self._requested_sop_class_uid
        if kept is None:
            return None
        uid = kept[0]
        return uid if type(uid) is UID else _read_uid(kept)

    @RequestedSOPClassUID.setter
    def RequestedSOPClassUID(self, value: str | bytes | UID | None) -> None:
        self._requested_sop_class_uid = _check_uid(value, _rules.REQUESTED_SOP_CLASS_UID)

    @property
    def RequestedSOPInstanceUID(self) -> UID | None:
        """Requested SOP Instance UID (0000,1001): UID of at most 64 characters, or None."""
        kept = self._requested_sop_instance_uid
        if kept is None:
            return None
        uid = kept[0]
        return uid if type(uid) is UID else _read_uid(kept)

    @RequestedSOPInstanceUID.setter
    def RequestedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self._requested_sop_instance_uid = _check_uid(value, _rules.REQUESTED_SOP_INSTANCE_UID)

    @property
    def _AffectedSOPInstanceUID(self) -> UID | None:
        """pynetdicom's other name of `AffectedSOPInstanceUID`."""
        kept = self._affected_sop_instance_uid
        if kept is None:
            return None
        uid = kept[0]
        return uid if type(uid) is UID else _read_uid(kept)

    @_AffectedSOPInstanceUID.setter
    def _AffectedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self._affected_sop_instance_uid = _check_uid(
            value, _rules.UID_NAMES["AffectedSOPInstanceUID"]
        )

    @property
    def _RequestedSOPClassUID(self) -> UID | None:
        """pynetdicom's other name of `RequestedSOPClassUID`."""
        kept = self._requested_sop_class_uid
        if kept is None:
            return None
        uid = kept[0]
        return uid if type(uid) is UID else _read_uid(kept)

    @_RequestedSOPClassUID.setter
    def _RequestedSOPClassUID(self, value: str | bytes | UID | None) -> None:
        self._requested_sop_class_uid = _check_uid(value, _rules.UID_NAMES["RequestedSOPClassUID"])

    @property
    def _RequestedSOPInstanceUID(self) -> UID | None:
        """pynetdicom's other name of `RequestedSOPInstanceUID`."""
        kept = self._requested_sop_instance_uid
        if kept is None:
            return None
        uid = kept[0]
        return uid if type(uid) is UID else _read_uid(kept)

    @_RequestedSOPInstanceUID.setter
    def _RequestedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self._requested_sop_instance_uid = _check_uid(
            value, _rules.UID_NAMES["RequestedSOPInstanceUID"]
        )

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
            and type(self) is _adopted
            and len(_adopted_names) == _adopted_size
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
            and type(self) is _adopted
            and len(_adopted_names) == _adopted_size
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
            That of an N-SET-RSP where `MessageIDBeingRespondedTo` is set, else of an N-SET-RQ.

        Raises
        ------
        ValueError
            If a value can't be sent; by the element's name.
        TypeError
            If a value is of a type that can't be sent; by the element's name.
        """
        return _write_canonical(self) or _command_set.encode(self)

    @classmethod
    def from_command_set(
        cls: type[_Self], data: bytes | bytearray | memoryview, *, strict: bool = False
    ) -> _Self:
        """Decode the command set of an N-SET-RQ or N-SET-RSP (PS3.7 Section 10.3.3).

        Parameters
        ----------
        data : bytes-like
            The command set, Implicit VR Little Endian. What deviates from that but can be read is
            accepted, each violation with a WARNING record of the logger ``nset``.
        strict : bool
            Accept only what PS3.7 Sections 6.3.1 and 10.3.3 allow.

        Returns
        -------
        N_SET
            With an empty `BytesIO` as its list. In a request, a Requested UID that is absent takes
            the value of the Affected one.

        Raises
        ------
        CommandSetError
            If the bytes can't be such a command set.
        TypeError
            If `data` is not bytes-like.
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        fields = _read_canonical(data)
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
        for name, value in self.__dict__.copy().items():  # whole: other threads may set and delete
            if name in _UIDS and value is not None:
                value = value[0] if type(value[0]) is UID else _read_uid(value)
            state[_rules.KEYWORDS.get(name, name)] = value
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            attribute = _ATTRIBUTES.get(name, name)
            if attribute in _UIDS and value is not None:
                value = [value, False]
            self.__dict__[attribute] = value


# Pickles hold keywords, not the names of one twin's attributes: either twin reads the other's.
_ATTRIBUTES: Final = {keyword: attribute for attribute, keyword in _rules.KEYWORDS.items()}
_UIDS: Final = frozenset(name for name in _rules.KEYWORDS if name.endswith("_uid"))


# -- PDUs (PS3.8 Section 9.3) ---------------------------------------------------------------------

_PDU_HEADER: Final = struct.Struct(">BxI")
_PDV_HEADER: Final = struct.Struct(">IBB")
_RESPONSE_HEADER: Final = struct.Struct(">BxIIBB").pack

# Where the reader is among the PDVs of messages.
_BETWEEN: Final = 0  # messages, or in the data set of one that it leaves to others
_IN_COMMAND: Final = 1  # of a message that it leaves to others, and that is cut
_IN_DATA_SET: Final = 2  # of an N-SET request
_PASSING_OVER: Final = 3  # what is left of a data set that was too long


def encode_response(request: Primitive, status: int, max_pdu_length: int) -> bytes | None:
    """Encode the response to a request that has been decoded, as one P-DATA-TF PDU.

    Parameters
    ----------
    request : N_SET
        With Message ID, Requested UIDs and context ID.
    status : int
        The Status (0000,0900), 0 to 65535.
    max_pdu_length : int
        The peer's maximum length, in bytes; 0 is unlimited.

    Returns
    -------
    bytes or None
        The PDU of an N-SET-RSP without a data set; None where it takes more thought.
    """
    number, message_id, context_id = map(_us, (status, request._message_id, request._context_id))
    kept_class, kept_instance = (
        request._requested_sop_class_uid,
        request._requested_sop_instance_uid,
    )
    if (
        number is None
        or message_id is None
        or context_id is None
        or not 0 < context_id <= 255
        or kept_class is None
        or kept_instance is None
    ):
        return None
    sop_class, instance = _uid_element(0x0002, kept_class), _uid_element(0x1000, kept_instance)
    if sop_class is None or instance is None:
        return None
    middle = _RSP(
        *(0, 0x0100, 2, 0x8120),
        *(0, 0x0120, 2, message_id),
        *(0, 0x0800, 2, _command_set.NO_DATA_SET),
        *(0, 0x0900, 2, number),
    )
    elements = sop_class + middle + instance
    length = 12 + len(elements) + _PDV_HEADER.size
    if max_pdu_length != 0 and length > max_pdu_length:
        return None
    header = _RESPONSE_HEADER(
        *(_pdu.P_DATA_TF, length, length - 4, context_id, _pdu.IS_COMMAND | _pdu.IS_LAST)
    )
    return header + _GROUP_LENGTH(0, 0, 4, len(elements)) + elements


class PduReader:
    """Cuts what an association receives into PDUs, and takes the N-SET requests out of them.

    It takes only requests that break no rule, whose command set is one PDV. Whatever else there is
    it gives as PDUs, in its place among the requests, for others to read or to refuse.

    Parameters
    ----------
    max_pdu_length : int
        Most bytes that may come behind the PDU-length field of a P-DATA-TF PDU.
    max_other_length : int
        The same for PDUs of other types.
    max_data_set_length : int
        Most bytes that the data set of an N-SET request may have.
    cls : type
        The class of the requests: ``nset.N_SET``.

    Attributes
    ----------
    is_fast : bool
        Whether to take requests out; False at first. Where False, all is given as PDUs.
    bytes_received : int
        How many have been fed.
    requests_read : int
        How many N-SET requests have been taken out.
    context_id : int
        ID of the presentation context of the last one that has begun.
    contexts : dict
        The accepted presentation contexts by ID; none at first.
    pdvs_left : int
        How many PDVs `next` may still look at before it gives None; negative (at first) is no
        limit.
    request_length : int
        Bytes of the data set of the last request that has been taken out.
    """

    def __init__(
        self,
        max_pdu_length: int,
        max_other_length: int,
        max_data_set_length: int,
        cls: type[Primitive],
    ) -> None:
        self._cls = cls
        self.is_fast = False
        self.bytes_received = 0
        self.requests_read = 0
        self._max_pdu_length = max_pdu_length
        self._max_other_length = max_other_length
        self._max_data_set_length = max_data_set_length
        self._data: bytes | None = None
        self._at = 0
        self._incomplete: bytearray | None = None
        self._wanted = 0
        self._pdu: bytes | None = None
        self._begin = self._next = self._end = 0
        self._has_given_up = False
        self._stage = _BETWEEN
        self._request: Any = None
        self.context_id = 0
        self.contexts: dict[int, Any] = {}
        self._other_context = -1  # in which fragments of its data set come, too; -1 if in none
        self._stream: BytesIO | None = None
        self._length = 0
        self._empty_fragments = 0
        self.request_length = 0
        self.pdvs_left = -1
        self._long_left = 0  # bytes of a long PDU that are still to be taken
        self._is_in_pdv = False  # of a long PDU; then with:
        self._pdv_left = self._pdv_context = self._pdv_header = 0

    @property
    def bytes_waiting(self) -> int:
        """Bytes that have come and are of nothing that has been given."""
        waiting = self._length if self._stage == _IN_DATA_SET else 0
        if self._incomplete is not None:
            waiting += len(self._incomplete)
        return waiting if self._data is None else waiting + len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Take what has been received.

        Parameters
        ----------
        data : bytes
            Any part of the stream, as it comes.
        """
        self.bytes_received += len(data)
        if self._has_given_up:
            return
        if self._incomplete is not None:
            self._incomplete += data
            if len(self._incomplete) < self._wanted:
                return
            self._data, self._at = bytes(self._incomplete), 0
            self._incomplete = None
        elif self._data is None:
            self._data, self._at = data, 0
        else:
            self._data, self._at = self._data[self._at :] + data, 0

    def give_up(self) -> None:
        """Drop what has come and whatever still comes: it is not to be understood."""
        self._has_given_up = True
        self._data = self._pdu = self._incomplete = None
        self._long_left = 0
        self._end_request()

    def progress(self) -> tuple[int | None, int] | None:
        """Tell of a message that has not come to its end.

        Returns
        -------
        tuple of (int or None, int) or None
            The Message ID where that is known, and how many bytes have come of it or of the PDU
            that it is in; None between messages.
        """
        waiting = len(self._incomplete or b"")
        if self._stage == _IN_DATA_SET:
            return self._request._message_id, self._length + waiting
        return (None, waiting) if waiting or self._stage != _BETWEEN else None

    def next(self) -> Any:
        """Give what comes next.

        Returns
        -------
        N_SET or bytes or None
            An N-SET request with its list and ``_context_id``; or a PDU; or None where more has to
            come first.

        Raises
        ------
        PduError
            If the type of a PDU is unknown or its length over the limit. Nothing can be read any
            more then.
        CommandSetError
            If a PDV has no place in a request that has begun, or the data set is too long. Where
            the error has a ``message_id`` the association can go on.
        """
        while True:
            if self._pdu is None:
                item = self._next_pdu()
                if self._pdu is None:
                    return item
            if self.pdvs_left == 0:
                return None
            if self.pdvs_left > 0:
                self.pdvs_left -= 1
            item = self._next_pdv(self._pdu)
            if item is not None:
                return item

    def _next_pdu(self) -> bytes | None:
        """Give a PDU, or None: there is none, or its PDVs are to be taken one by one."""
        data, begin = self._data, self._at
        if data is None:
            return None
        if self._long_left:
            return self._next_piece(data)
        left = len(data) - begin
        if left < _PDU_HEADER.size:
            self._wait_for(data, _PDU_HEADER.size)
            return None
        kind, length = _PDU_HEADER.unpack_from(data, begin)
        if not 1 <= kind <= _pdu.LAST_PDU_TYPE:
            raise _pdu.unknown_type(data[begin : begin + _pdu.BEGINNING])
        limit = self._max_pdu_length if kind == _pdu.P_DATA_TF else self._max_other_length
        if length > limit:
            raise _pdu.too_long(kind, length, limit)
        if kind == _pdu.P_DATA_TF and length > _pdu.LONG_PDU:
            self._at = begin + _PDU_HEADER.size
            self._long_left = length
            return self._next_piece(data)
        end = begin + _PDU_HEADER.size + length
        if end > len(data):
            self._wait_for(data, _PDU_HEADER.size + length)
            return None
        self._begin, self._end = begin, end
        self._at = end
        if end == len(data):
            self._data = None
        if kind != _pdu.P_DATA_TF:
            return data[begin:end]
        is_well_formed, weight = _weigh(data, begin + _PDU_HEADER.size, end)
        if weight > _pdu.MAX_WEIGHT:
            if not is_well_formed:
                raise _pdu.malformed()
        elif not is_well_formed or not (self.is_fast or self._stage >= _IN_DATA_SET):
            return data[begin:end]
        self._pdu, self._next = data, begin + _PDU_HEADER.size
        return None

    def _next_piece(self, data: bytes) -> bytes | None:
        """Take a piece of a PDV of a long PDU as a PDU of its own; None as `_next_pdu`."""
        if not self._is_in_pdv:
            if self._long_left < _PDV_HEADER.size:
                raise _pdu.malformed()
            if len(data) - self._at < _PDV_HEADER.size:
                self._wait_for(data, _PDV_HEADER.size)
                return None
            length, self._pdv_context, self._pdv_header = _PDV_HEADER.unpack_from(data, self._at)
            if length < 2 or length > self._long_left - 4:
                raise _pdu.malformed()
            self._is_in_pdv, self._pdv_left = True, length - 2
            self._at += _PDV_HEADER.size
            self._long_left -= _PDV_HEADER.size
        size = min(self._pdv_left, _pdu.PIECE)
        if len(data) - self._at < size:
            self._wait_for(data, size)
            return None
        piece = data[self._at : self._at + size]
        self._at += size
        self._long_left -= size
        self._pdv_left -= size
        if self._at == len(data):
            self._data = None
        self._is_in_pdv = self._pdv_left > 0
        header = self._pdv_header & ~_pdu.IS_LAST if self._is_in_pdv else self._pdv_header
        pdu = b"".join(
            (
                _PDU_HEADER.pack(_pdu.P_DATA_TF, size + _PDV_HEADER.size),
                _PDV_HEADER.pack(size + 2, self._pdv_context, header),
                piece,
            )
        )
        if not (self.is_fast or self._stage >= _IN_DATA_SET):
            return pdu
        self._pdu, self._begin, self._next, self._end = pdu, 0, _PDU_HEADER.size, len(pdu)
        return None

    def _wait_for(self, data: bytes, wanted: int) -> None:
        """Keep the beginning of a PDU."""
        self._data = None
        if self._at < len(data):
            self._incomplete, self._wanted = bytearray(data[self._at :]), wanted

    def _next_pdv(self, data: bytes) -> Any:
        """Take the next PDV of the PDU; give what it completes, if anything."""
        begin = self._next
        length, context_id, header = _PDV_HEADER.unpack_from(data, begin)
        fragment, end = begin + _PDV_HEADER.size, begin + 4 + length
        self._step_over(length)
        if self._stage == _PASSING_OVER:
            if context_id == self.context_id and not header & _pdu.IS_COMMAND:
                if header & _pdu.IS_LAST:
                    self._stage = _BETWEEN
                return None
            self._stage = _BETWEEN
        if self._stage == _IN_DATA_SET:
            return self._next_of_data_set(data, fragment, end, context_id, header)
        fields = self._read_request(data, begin)
        if fields is not None:
            self._request = self._cls()
            self._request.__dict__.update(fields)
            self._request._context_id = self.context_id = context_id
            self._stream, self._length, self._empty_fragments = None, 0, 0
            self._other_context = -1
            self._stage = _IN_DATA_SET
            return None
        # The slow path takes it, and as many of those behind it as are for that, too.
        self._note_command(header)
        weight = _weight(header)
        while (
            self._pdu is not None
            and weight < _pdu.MAX_WEIGHT
            and self._read_request(data, self._next) is None
        ):
            length, _, header = _PDV_HEADER.unpack_from(data, self._next)
            weight += _weight(header)
            self._note_command(header)
            self._step_over(length)
        end = self._next
        if begin == self._begin + _PDU_HEADER.size and end == self._end:
            return data[self._begin : end]
        return _PDU_HEADER.pack(_pdu.P_DATA_TF, end - begin) + data[begin:end]

    def _step_over(self, length: int) -> None:
        self._next += 4 + length
        if self._next == self._end:
            self._pdu = None

    def _note_command(self, header: int) -> None:
        if header & _pdu.IS_COMMAND:
            self._stage = _BETWEEN if header & _pdu.IS_LAST else _IN_COMMAND

    def _read_request(self, data: bytes, begin: int) -> dict[str, Any] | None:
        """Read the PDV there if it is the command set of an N-SET request that breaks no rule."""
        length, _, header = _PDV_HEADER.unpack_from(data, begin)
        if (
            self._stage != _BETWEEN
            or not self.is_fast
            or header & (_pdu.IS_COMMAND | _pdu.IS_LAST) != _pdu.IS_COMMAND | _pdu.IS_LAST
        ):
            return None
        fields = _read_canonical(data[begin + _PDV_HEADER.size : begin + 4 + length])
        return fields if fields is not None and "_message_id" in fields else None

    def _next_of_data_set(
        self, data: bytes, begin: int, end: int, context_id: int, header: int
    ) -> Any:
        """Take a PDV while the data set of a request is due; give the request once complete."""
        request = self._request
        if header & _pdu.IS_COMMAND or not self._is_of_request(context_id):
            self._end_request()
            if header & _pdu.IS_COMMAND:
                raise _pdu.command_among_data()
            raise _pdu.context_change(context_id, self.context_id)
        if end - begin > self._max_data_set_length - self._length:
            self._end_request()
            if not header & _pdu.IS_LAST:
                self._stage = _PASSING_OVER
            raise _pdu.data_set_too_long(self._max_data_set_length, request._message_id)
        if begin == end and not header & _pdu.IS_LAST:
            self._empty_fragments += 1
            if self._empty_fragments > _pdu.MAX_EMPTY_FRAGMENTS:
                self._end_request()
                raise _pdu.too_many_empty_fragments()
        self._length += end - begin
        if self._stream is None:
            self._stream = BytesIO()
        self._stream.write(memoryview(data)[begin:end])
        if not header & _pdu.IS_LAST:
            return None
        request._dataset = self._stream
        self.request_length = self._length
        self._end_request()
        self.requests_read += 1
        return request

    def _is_of_request(self, context_id: int) -> bool:
        """Whether a fragment can be of the request's data set by its presentation context."""
        if context_id not in (self.context_id, self._other_context):
            if not _pdu.may_be_of(
                self.contexts, context_id, self.context_id, self._other_context >= 0
            ):
                return False
            self._other_context = context_id
        return True

    def _end_request(self) -> None:
        self._request = self._stream = None
        self._stage = _BETWEEN


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


class SetEventBase:
    """What an EVT_N_SET is made with; the rest is looked up when someone asks.

    Attributes
    ----------
    assoc : Association
        The association in which the request came.
    request : N_SET
        The request.
    _context : PresentationContext
        The context that it came in.
    _seconds : float
        When it was made, in seconds since the epoch.
    """

    assoc: Any = None
    request: Any = None
    _context: Any = None
    _seconds: Any = None


class RequestPath(PduReader):
    """The short way: from what has been received to the handler, and from its answer to the peer.

    It takes an N-SET request that finds its association with nothing else to do, and an answer that
    is a known status and no data set. All else is left to the methods that a subclass has. For the
    loop's thread alone, but for its attributes.

    Attributes
    ----------
    assoc : Association
        For events.
    handler : tuple of (callable, tuple, int)
        What is bound to EVT_N_SET: the function, more arguments, and how it is called.
    event_class : type
        A subclass of `SetEventBase`.
    services : dict
        By SOP Class, the service classes that have N-SET, with their ``statuses``.
    requests : list of tuple
        What waits to be served.
    sent : dict
        How many answers have gone out the short way, by status.
    begin : callable
        Begins a coroutine as a task: gives whether it has ended, and its result or the task.
    inbox : list of bytes
        PDUs that have been left to others, and that they have not taken yet.
    outbox : list of bytes
        What is to be sent before anything else.
    transmit : callable
        Hands bytes to the transport.
    bytes_sent : int
        How many have been handed to it.
    peer_length : int
        The peer's maximum PDU length, 0 is unlimited.
    heard : float
        When something came last, by the monotonic clock.
    is_enabled : callable
        Whether a level of the logger is enabled that has the messages at DEBUG.
    primitives : list
        What waits for the association's user.
    is_transferring, is_observed, is_busy : bool
        Whether the state is Sta6, someone listens to messages, something is being done.
    is_receiving : bool
        Whether another message is on its way in.
    is_held, is_pumping : bool
        Whether no more is to be read for now, or not while the state machine is at work.
    is_ending, is_closed : bool
        Whether the association is to be released, nothing is to be sent.
    """

    assoc: Any = None
    handler: Any = None
    event_class: Any = None
    services: Any = None
    requests: Any = None
    sent: Any = None
    begin: Any = None
    inbox: Any = None
    outbox: Any = None
    transmit: Any = None
    bytes_sent = 0
    peer_length = 0
    heard = 0.0
    is_transferring = False
    is_observed = False
    is_busy = False
    is_receiving = False
    is_held = False
    is_ending = False
    is_closed = False
    is_pumping = False
    is_enabled: Any = None
    primitives: Any = None
    _is_logged = False
    _left = _pdu.AT_A_TIME
    _noted = 0

    # What a subclass has.
    hold: Any
    read_later: Any
    send_message: Any
    take_pdu: Any
    take_request: Any
    take_fault: Any
    call_in_worker: Any
    answer_later: Any
    answer_slowly: Any
    answered: Any
    failed: Any
    note_waiting: Any

    def count_sent(self, number: int) -> None:
        """Count bytes that have been handed to the transport otherwise; in the loop's thread."""
        self.bytes_sent += number

    def data_received(self, data: bytes) -> None:
        """Take what has been received, and do what is asked.

        Parameters
        ----------
        data : bytes
            Any part of the stream, as it comes.
        """
        self.heard = monotonic()
        self._is_logged = self.is_enabled(10)
        self.is_fast = self.is_transferring and not self.is_observed and not self._is_logged
        self.feed(data)
        self._read()

    def read(self) -> None:
        """Read what has been received, in another turn of the loop."""
        self._left = _pdu.AT_A_TIME
        self._read()

    def _read(self) -> None:
        """Read what has been received, as far as there is room, and as others may wait for it."""
        try:
            self._read_items()
        except (_command_set.CommandSetError, _pdu.PduError) as fault:
            self.take_fault(fault)
        waiting = self.bytes_waiting
        if waiting != self._noted:
            self._noted = waiting
            self.note_waiting(waiting)

    def _read_items(self) -> None:
        while not self.is_held:
            if self.inbox or self.is_pumping or self._left <= 0:
                self.hold()
                if self._left <= 0:
                    self.read_later()
                return
            self.pdvs_left = _pdu.PDVS_AT_A_TIME
            item = self.next()
            if item is None:
                if self.pdvs_left != 0:
                    return
                self._left -= _pdu.PDU_COST
            elif type(item) is bytes:
                self._left -= _pdu.PDU_COST
                self.take_pdu(item)
            else:
                self._left -= 1
                if (
                    self.is_busy
                    or self.requests
                    or self.is_receiving
                    or not self.is_transferring
                    or not self.serve(item)
                ):
                    self.take_request(item)

    def serve(self, request: Any) -> bool:
        """Have the handler called.

        Parameters
        ----------
        request : N_SET
            A valid request, with its context ID.

        Returns
        -------
        bool
            False, with nothing done, where it takes more thought.
        """
        try:  # not by get(): see _default_validator_is_in_force
            context = self.contexts[request._context_id]
            service = self.services[request.RequestedSOPClassUID]
        except KeyError:
            return False
        function, args, how = self.handler
        event = self.event_class()
        event.assoc, event.request, event._context = self.assoc, request, context
        event._seconds = time()
        self.is_busy = True
        if how == _pdu.IN_WORKER:
            self.call_in_worker(event, service)
            return True
        try:
            answer = function(event, *args)
            if how == _pdu.AS_TASK:
                has_ended, answer = self.begin(answer)
                if not has_ended:
                    self.answer_later(answer, event, service)
                    return True
        except BaseException as exc:
            answer = self.failed(exc)
        self.answer(event, service, answer)
        return True

    def answer(self, event: SetEventBase, service: Any, answer: Any) -> None:
        """Send the response to what a handler has returned.

        Parameters
        ----------
        event : SetEventBase
            The event.
        service : type
            The service class.
        answer : object
            What the handler has returned.
        """
        if (
            type(answer) is tuple
            and len(answer) == 2
            and answer[1] is None
            and type(answer[0]) is int
            and answer[0] in service.statuses
            and self.is_transferring
            and not self.is_observed
            and not self._is_logged
        ):
            code = answer[0]
            pdu = encode_response(event.request, code, self.peer_length)
            if pdu is not None:
                # Before it is sent: whoever has the answer finds it counted.
                self.sent[code] = self.sent.get(code, 0) + 1
                if self.outbox or self.is_closed:
                    self.send_message(pdu)
                else:
                    self.bytes_sent += len(pdu)
                    self.transmit(pdu)
                self.is_busy = False
                if self.requests or self.primitives or self.is_ending:
                    self.answered()
                return
        self.answer_slowly(event, service, answer)


def _weight(header: int) -> int:
    """Give what a PDV counts in what the slow path takes of a PDU in one go."""
    is_end_of_command = header & (_pdu.IS_COMMAND | _pdu.IS_LAST) == _pdu.IS_COMMAND | _pdu.IS_LAST
    return _pdu.COMMAND_WEIGHT if is_end_of_command else 1


def _weigh(data: bytes, begin: int, end: int) -> tuple[bool, int]:
    """Whether the body of a P-DATA-TF PDU is PDVs to its end (PS3.8 Section 9.3.5); their weight.

    The weight is that of the PDVs up to what is wrong.
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
