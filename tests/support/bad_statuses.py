"""Statuses that handlers of EVT_N_SET answer with, and what can be sent of them."""

import pytest
from associations import INSTANCE, MPPS
from n_set_requests import TOO_LONG
from pydicom.dataset import Dataset

MENDED = "Sending what can be sent of an Error Comment: ErrorComment (0000,0902) must "
WITHOUT = "Sending an N-SET response without an element: "
BAD_STATUS = "The handler bound to 'evt.EVT_N_SET' returned a bad status: "

# The status of a handler, how it is answered, and the only line about it in the log.
STATUSES = {
    "a comment with an umlaut": (
        {"Status": 0x0107, "ErrorComment": "Größe", "ErrorID": 0xA710},
        {"Status": 0x0107, "ErrorComment": "Gr??e", "ErrorID": 0xA710},
        MENDED + "be ASCII without",
    ),
    "a comment of 65 characters": (
        {"Status": 0x0110, "ErrorComment": "x" * 65, "ErrorID": 0xA710},
        {"Status": 0x0110, "ErrorComment": "x" * 64, "ErrorID": 0xA710},
        MENDED + "have at most 64 characters, not 65",
    ),
    "a comment of 70 umlauts": (
        {"Status": 0x0110, "ErrorComment": "ü" * 70},
        {"Status": 0x0110, "ErrorComment": "?" * 64},
        MENDED + "have at most 64 characters, not 70",
    ),
    "a comment with a backslash": (
        {"Status": 0x0110, "ErrorComment": "a\\b"},
        {"Status": 0x0110, "ErrorComment": "a?b"},
        MENDED + "be str or bytes, not MultiValue",
    ),
    "a comment with a line end": (
        {"Status": 0x0110, "ErrorComment": "a\nb"},
        {"Status": 0x0110, "ErrorComment": "a?b"},
        MENDED + "be ASCII without",
    ),
    "an ErrorID out of range": (
        {"Status": 0x0110, "ErrorID": 0x10000, "ErrorComment": "Disk full"},
        {"Status": 0x0110, "ErrorComment": "Disk full"},
        WITHOUT + "ErrorID (0000,0903) must be between 0 and 65535",
    ),
    "an instance UID of 65 characters": (
        {"Status": 0x0110, "AffectedSOPInstanceUID": TOO_LONG, "ErrorComment": "Disk full"},
        {"Status": 0x0110, "ErrorComment": "Disk full"},
        BAD_STATUS + "Invalid 'Affected SOP Instance UID' value",
    ),
    "a Status out of range": (
        {"Status": 0x10000, "ErrorComment": "Disk full", "ErrorID": 28},
        {"Status": 0x0110, "ErrorComment": "Disk full", "ErrorID": 28},
        BAD_STATUS + "Status must be between 0 and 65535, inclusive",
    ),
    "a Status that is no number": (
        {"Status": "0000", "ErrorComment": "Disk full"},
        {"Status": 0x0110, "ErrorComment": "Disk full"},
        BAD_STATUS + "DIMSE primitive's 'Status' must be an int",
    ),
    "a Status without a value": (
        {"Status": [], "ErrorComment": "Disk full"},
        {"Status": 0x0110, "ErrorComment": "Disk full"},
        BAD_STATUS,
    ),
}
statuses = pytest.mark.parametrize(("given", "sent", "reason"), STATUSES.values(), ids=STATUSES)
# pydicom has its say of what the handler makes.
quiet = pytest.mark.filterwarnings(
    "ignore:The value length", "ignore:Invalid value", "ignore:A value"
)


def optional_elements(response: Dataset) -> dict[str, object]:
    """What a handler may have said, of a response."""
    keywords = ("Status", "ErrorComment", "ErrorID", "AttributeIdentifierList")
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == (MPPS, INSTANCE)
    return {keyword: response[keyword].value for keyword in keywords if keyword in response}
