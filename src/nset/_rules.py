"""Limits, keywords and error texts, once for both implementations."""

import sys

from pydicom.datadict import dictionary_description

MAX_US = 0xFFFF
"""Largest value of a US element (PS3.5 Section 6.2), so of a Message ID and of a Status."""

MAX_UID_LENGTH = 64
"""The most characters of a UID (PS3.5 Section 9.1)."""

MAX_CONFORMANT_UIDS = 1024
"""The most UIDs in the cache of conformant UIDs."""

MAX_COMMENT_LENGTH = 64
"""The most characters of an Error Comment, an LO (PS3.5 Section 6.2)."""

MAX_COMMAND_SET_LENGTH = 0x10000
"""The most bytes of a command set; the longest real ones have a few hundred."""

MAX_LOGGED = 16
"""The most violations of one message that are logged; a peer determines how many there are."""

N_SET_RQ = 0x0120
N_SET_RSP = 0x8120
N_SET_FIELDS = (N_SET_RQ, N_SET_RSP)
"""Command Fields of N-SET-RQ and N-SET-RSP (PS3.7 Tables 10.3-5 and 10.3-6)."""

NO_DATA_SET = 0x0101
"""The Command Data Set Type that announces no data set (PS3.7 Section E.1)."""

# SOP Classes that can be the Requested SOP Class of an N-SET. For UPS that is always UPS Push,
# whichever UPS SOP Class was negotiated (PS3.4 CC.3.1.1); for print it is never a Meta SOP Class.
MPPS = "1.2.840.10008.3.1.2.3.3"
UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
FILM_SESSION = "1.2.840.10008.5.1.1.1"
FILM_BOX = "1.2.840.10008.5.1.1.2"
GRAYSCALE_IMAGE_BOX = "1.2.840.10008.5.1.1.4"
COLOR_IMAGE_BOX = "1.2.840.10008.5.1.1.4.1"
ANNOTATION_BOX = "1.2.840.10008.5.1.1.15"
RT_CONVENTIONAL = "1.2.840.10008.5.1.4.34.8"
RT_ION = "1.2.840.10008.5.1.4.34.9"
SOP_CLASSES = (
    MPPS,
    UPS_PUSH,
    FILM_SESSION,
    FILM_BOX,
    GRAYSCALE_IMAGE_BOX,
    COLOR_IMAGE_BOX,
    ANNOTATION_BOX,
    RT_CONVENTIONAL,
    RT_ION,
)

# Statuses for invalid requests (PS3.7 Annex C).
PROCESSING_FAILURE = 0x0110
INVALID_SOP_INSTANCE = 0x0117
NO_SUCH_SOP_CLASS = 0x0118
UNRECOGNIZED_OPERATION = 0x0211
MISTYPED_ARGUMENT = 0x0212
RESOURCE_LIMITATION = 0x0213

REQUEST_KEYWORDS = (
    "MessageID",
    "RequestedSOPClassUID",
    "RequestedSOPInstanceUID",
    "ModificationList",
)
RESPONSE_KEYWORDS = ("MessageIDBeingRespondedTo", "Status")
STATUS_OPTIONAL_KEYWORDS = (
    "ErrorComment",
    "ErrorID",
    "AttributeIdentifierList",
    "OffendingElement",
)

STATE_KEYWORDS = (
    "MessageID",
    "MessageIDBeingRespondedTo",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "RequestedSOPClassUID",
    "RequestedSOPInstanceUID",
    "Status",
    "ModificationList",
    "_context_id",
    *STATUS_OPTIONAL_KEYWORDS,
)
"""The fields in a pickle, beside attributes that a program has added."""

REPR_KEYWORDS = (*STATE_KEYWORDS[:8], *STATUS_OPTIONAL_KEYWORDS)
"""The fields that ``repr`` shows if they are set."""

INIT_KEYWORDS = ("ModificationList", "AttributeList", *STATUS_OPTIONAL_KEYWORDS)
"""The attributes that ``N_SET()`` sets to None by name, so that a subclass can override them."""

KEYWORDS = {
    "_message_id": "MessageID",
    "_message_id_being_responded_to": "MessageIDBeingRespondedTo",
    "_status": "Status",
    "_affected_sop_class_uid": "AffectedSOPClassUID",
    "_affected_sop_instance_uid": "AffectedSOPInstanceUID",
    "_requested_sop_class_uid": "RequestedSOPClassUID",
    "_requested_sop_instance_uid": "RequestedSOPInstanceUID",
    "_dataset": "ModificationList",
}
"""Keywords by the names of pynetdicom's private attributes, which the fallback has, too."""

ELEMENT_NAMES = {keyword: dictionary_description(keyword) for keyword in STATE_KEYWORDS[:7]}
"""Names of the checked fields for error texts, by keyword."""


def escaped(text: str) -> str:
    """Escape text of a peer for the log, so that it cannot forge records or control a terminal.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    str
        The same with escapes, as in a literal of Python, of what is not printable.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


# pynetdicom has another text for this one.
_US_OWNERS = {"Status": "DIMSE primitive's 'Status'"}


def us_out_of_range(name: str) -> ValueError:
    """Return the error for an int outside the range of US."""
    return ValueError(f"{name} must be between 0 and {MAX_US}, inclusive")


def us_type(name: str) -> TypeError:
    """Return the error for a Message ID or a Status that is neither int nor None."""
    return TypeError(f"{_US_OWNERS.get(name, name)} must be an int")


def list_type(name: str) -> TypeError:
    """Return the error for an Attribute or Modification List that is neither BytesIO nor None."""
    return TypeError(f"'{name}' parameter must be a BytesIO object")


def status_code_type() -> ValueError:
    """Return the error for a status code that is negative or not an int."""
    return ValueError("'code' must be a positive integer.")


def takes_no_arguments(count: int) -> TypeError:
    """Return the error for arguments to ``N_SET()``, as Python words it."""
    return TypeError(f"N_SET.__init__() takes 1 positional argument but {count + 1} were given")


def no_message_id() -> ValueError:
    """Return the error for a response to a request without a Message ID."""
    return ValueError("can't respond to an N-SET request without a Message ID (0000,0110)")


def no_attribute(primitive: object, name: str) -> AttributeError:
    """Return the error for a deleted attribute, as the running Python words it."""
    text = f"'{type(primitive).__name__}' object has no attribute '{name}'"
    return AttributeError(text, name=name, obj=primitive)


# The texts of `property` changed in 3.11; those of a getset descriptor would differ from both.
if sys.version_info >= (3, 11):
    no_attribute_to_delete = no_attribute

    def no_deleter(primitive: object, name: str) -> AttributeError:
        """Return the error for ``del`` of a property."""
        return AttributeError(
            f"property '{name}' of '{type(primitive).__qualname__}' object has no deleter"
        )

    def no_setter(primitive: object, name: str) -> AttributeError:
        """Return the error for assignment to a read-only property."""
        return AttributeError(
            f"property '{name}' of '{type(primitive).__qualname__}' object has no setter"
        )

else:

    def no_attribute_to_delete(primitive: object, name: str) -> AttributeError:
        """Return the error for ``del`` of a missing attribute."""
        return AttributeError(name)

    def no_deleter(primitive: object, name: str) -> AttributeError:
        """Return the error for ``del`` of a property."""
        return AttributeError(f"can't delete attribute '{name}'")

    def no_setter(primitive: object, name: str) -> AttributeError:
        """Return the error for assignment to a read-only property."""
        return AttributeError(f"can't set attribute '{name}'")
