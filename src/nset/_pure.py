"""The pure-Python twin: the same contract as ``_core.pyx``, for where nothing can be compiled.

UIDs are turned into `UID` objects when they are set: without the core's critical sections a
conversion on reading could overwrite what another thread has just set.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, Final

from pydicom.uid import UID

from nset import _rules
from nset._rules import MAX_UID_LENGTH, MAX_US, REQUEST_KEYWORDS, RESPONSE_KEYWORDS
from nset._uid import accept_uid
from nset.config import settings

_UID_GRAMMAR: Final = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*").fullmatch

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
    if not isinstance(code, int) or code < 0:
        raise _rules.status_code_type()
    if code == 0x0000:
        return "Success"
    if code in (0x0001, 0x0107, 0x0116) or 0xB000 <= code <= 0xBFFF:
        return "Warning"
    if 0x0100 <= code <= 0x02FF or 0xA000 <= code <= 0xAFFF or 0xC000 <= code <= 0xCFFF:
        return "Failure"
    if code == 0xFE00:
        return "Cancel"
    if code in (0xFF00, 0xFF01):
        return "Pending"
    return "Unknown"


@lru_cache(maxsize=1024)
def _is_clean(text: str) -> bool:
    """Whether the text is a UID by PS3.5 Section 9.1. A server meets each several times."""
    return _UID_GRAMMAR(text) is not None


def _check_uid(value: Any, name: str) -> UID | None:
    """Convert and check a UID; clean text skips pydicom's and the default validator's checks."""
    text = value
    if type(value) is UID and not hasattr(value, "_PRIVATE_TS_ENCODING"):
        text = str(value)
    if type(text) is str and len(text) <= MAX_UID_LENGTH and _is_clean(text):
        now = settings()
        if now["VALIDATORS"]["UI"] is now.get("validate_ui"):
            return str.__new__(UID, text)
    return accept_uid(value, name)


class Primitive:
    """What an N-SET request and response hold; ``nset.N_SET`` is its public face.

    Instances are safe to share between threads: each attribute is read and written whole.
    """

    _message_id: int | None = None
    _message_id_being_responded_to: int | None = None
    _affected_sop_class_uid: UID | None = None
    _affected_sop_instance_uid: UID | None = None
    _requested_sop_class_uid: UID | None = None
    _requested_sop_instance_uid: UID | None = None
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
        if type(self) is _adopted:
            self._dataset = self.ErrorComment = self.ErrorID = None
            self.AttributeIdentifierList = self.OffendingElement = None
        else:
            for keyword in _rules.INIT_KEYWORDS:
                setattr(self, keyword, None)

    @property
    def MessageID(self) -> int | None:
        """Message ID (0000,0110): int in 0..65535, or None."""
        return self._message_id

    @MessageID.setter
    def MessageID(self, value: int | None) -> None:
        if isinstance(value, int):
            if not 0 <= value <= MAX_US:
                raise _rules.us_out_of_range(_rules.MESSAGE_ID)
        elif value is not None:
            raise _rules.message_id_type(_rules.MESSAGE_ID)
        self._message_id = value

    @property
    def MessageIDBeingRespondedTo(self) -> int | None:
        """Message ID Being Responded To (0000,0120): int in 0..65535, or None."""
        return self._message_id_being_responded_to

    @MessageIDBeingRespondedTo.setter
    def MessageIDBeingRespondedTo(self, value: int | None) -> None:
        if isinstance(value, int):
            if not 0 <= value <= MAX_US:
                raise _rules.us_out_of_range(_rules.MESSAGE_ID_BEING_RESPONDED_TO)
        elif value is not None:
            raise _rules.message_id_type(_rules.MESSAGE_ID_BEING_RESPONDED_TO)
        self._message_id_being_responded_to = value

    @property
    def Status(self) -> int | None:
        """Status (0000,0900): int in 0..65535, or None."""
        return self._status

    @Status.setter
    def Status(self, value: int | None) -> None:
        if isinstance(value, int):
            if not 0 <= value <= MAX_US:
                raise _rules.us_out_of_range(_rules.STATUS)
        elif value is not None:
            raise _rules.status_type()
        self._status = value

    @property
    def AffectedSOPClassUID(self) -> UID | None:
        """Affected SOP Class UID (0000,0002): UID of at most 64 characters, or None."""
        return self._affected_sop_class_uid

    @AffectedSOPClassUID.setter
    def AffectedSOPClassUID(self, value: str | bytes | UID | None) -> None:
        self._affected_sop_class_uid = _check_uid(value, _rules.AFFECTED_SOP_CLASS_UID)

    @property
    def AffectedSOPInstanceUID(self) -> UID | None:
        """Affected SOP Instance UID (0000,1000): UID of at most 64 characters, or None."""
        return self._affected_sop_instance_uid

    @AffectedSOPInstanceUID.setter
    def AffectedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self._affected_sop_instance_uid = _check_uid(value, _rules.AFFECTED_SOP_INSTANCE_UID)

    @property
    def RequestedSOPClassUID(self) -> UID | None:
        """Requested SOP Class UID (0000,0003): UID of at most 64 characters, or None."""
        return self._requested_sop_class_uid

    @RequestedSOPClassUID.setter
    def RequestedSOPClassUID(self, value: str | bytes | UID | None) -> None:
        self._requested_sop_class_uid = _check_uid(value, _rules.REQUESTED_SOP_CLASS_UID)

    @property
    def RequestedSOPInstanceUID(self) -> UID | None:
        """Requested SOP Instance UID (0000,1001): UID of at most 64 characters, or None."""
        return self._requested_sop_instance_uid

    @RequestedSOPInstanceUID.setter
    def RequestedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self._requested_sop_instance_uid = _check_uid(value, _rules.REQUESTED_SOP_INSTANCE_UID)

    @property
    def _AffectedSOPInstanceUID(self) -> UID | None:
        """pynetdicom's other name of `AffectedSOPInstanceUID`."""
        return self.AffectedSOPInstanceUID

    @_AffectedSOPInstanceUID.setter
    def _AffectedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self.AffectedSOPInstanceUID = value

    @property
    def _RequestedSOPClassUID(self) -> UID | None:
        """pynetdicom's other name of `RequestedSOPClassUID`."""
        return self.RequestedSOPClassUID

    @_RequestedSOPClassUID.setter
    def _RequestedSOPClassUID(self, value: str | bytes | UID | None) -> None:
        self.RequestedSOPClassUID = value

    @property
    def _RequestedSOPInstanceUID(self) -> UID | None:
        """pynetdicom's other name of `RequestedSOPInstanceUID`."""
        return self.RequestedSOPInstanceUID

    @_RequestedSOPInstanceUID.setter
    def _RequestedSOPInstanceUID(self, value: str | bytes | UID | None) -> None:
        self.RequestedSOPInstanceUID = value

    @property
    def _dataset_variant(self) -> BytesIO | None:
        """The one list under both its names; set as a tuple of the list and the name."""
        return self._dataset

    @_dataset_variant.setter
    def _dataset_variant(self, value: tuple[BytesIO | None, str]) -> None:
        if value[0] is not None and not isinstance(value[0], BytesIO):
            raise _rules.list_type(value[1])
        self._dataset = value[0]

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
        if keywords is REQUEST_KEYWORDS and type(self) is _adopted and len(_adopted_names) == _adopted_size:
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
        if keywords is RESPONSE_KEYWORDS and type(self) is _adopted and len(_adopted_names) == _adopted_size:
            return self._message_id_being_responded_to is not None and self._status is not None
        for keyword in keywords:  # noqa: SIM110 - all() takes twice the time
            if getattr(self, keyword) is None:
                return False
        return True

    @property
    def msg_type(self) -> str:
        """The name of the class with hyphens: ``"N-SET"``."""
        return self.__class__.__name__.replace("_", "-")

    def __getstate__(self) -> dict[str, Any]:
        return {_KEYWORDS.get(name, name): value for name, value in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            self.__dict__[_ATTRIBUTES.get(name, name)] = value


# Pickles hold keywords, not the names of one twin's attributes: either twin reads the other's.
_ATTRIBUTES: Final = {
    "MessageID": "_message_id",
    "MessageIDBeingRespondedTo": "_message_id_being_responded_to",
    "Status": "_status",
    "AffectedSOPClassUID": "_affected_sop_class_uid",
    "AffectedSOPInstanceUID": "_affected_sop_instance_uid",
    "RequestedSOPClassUID": "_requested_sop_class_uid",
    "RequestedSOPInstanceUID": "_requested_sop_instance_uid",
    "ModificationList": "_dataset",
}
_KEYWORDS: Final = {attribute: keyword for keyword, attribute in _ATTRIBUTES.items()}
