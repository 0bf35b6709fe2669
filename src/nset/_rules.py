"""Limits, keywords and error texts, written once for both twins.

A text that both twins raise lives here and nowhere else, so that the two cannot drift apart.
"""

import sys

MAX_US = 0xFFFF
"""Largest value of a US element (PS3.5 Section 6.2), so of a Message ID and of a Status."""

MAX_UID_LENGTH = 64
"""Most characters a UID may have (PS3.5 Section 9.1)."""

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
"""What a pickled primitive holds, beside attributes that the user added."""

REPR_KEYWORDS = (*STATE_KEYWORDS[:8], *STATUS_OPTIONAL_KEYWORDS)
"""What ``repr`` shows where it is set."""

INIT_KEYWORDS = ("ModificationList", "AttributeList", *STATUS_OPTIONAL_KEYWORDS)
"""What ``N_SET()`` sets to None by name, so that a subclass may step in between."""

VALIDITY_KEYWORDS = (
    "REQUEST_KEYWORDS",
    "RESPONSE_KEYWORDS",
    *REQUEST_KEYWORDS,
    *RESPONSE_KEYWORDS,
)
"""What a validity check reads; a class that overrides none of them takes the short way."""

MESSAGE_ID = "Message ID"
MESSAGE_ID_BEING_RESPONDED_TO = "Message ID Being Responded To"
STATUS = "Status"

AFFECTED_SOP_CLASS_UID = "Affected SOP Class UID"
AFFECTED_SOP_INSTANCE_UID = "Affected SOP Instance UID"
REQUESTED_SOP_CLASS_UID = "Requested SOP Class UID"
REQUESTED_SOP_INSTANCE_UID = "Requested SOP Instance UID"


def us_out_of_range(name: str) -> ValueError:
    """For an int that no US element can hold."""
    return ValueError(f"{name} must be between 0 and {MAX_US}, inclusive")


def message_id_type(name: str) -> TypeError:
    """For a Message ID that is neither int nor None."""
    return TypeError(f"{name} must be an int")


def status_type() -> TypeError:
    """For a Status that is neither int nor None."""
    return TypeError("DIMSE primitive's 'Status' must be an int")


def list_type(name: str) -> TypeError:
    """For an Attribute or Modification List that is neither BytesIO nor None."""
    return TypeError(f"'{name}' parameter must be a BytesIO object")


def status_code_type() -> ValueError:
    """For a status code that is negative or no int."""
    return ValueError("'code' must be a positive integer.")


def no_message_id() -> ValueError:
    """For a response to what has no Message ID."""
    return ValueError("can't respond to an N-SET request without a Message ID (0000,0110)")


def no_attribute(primitive: object, name: str) -> AttributeError:
    """For an attribute that has been deleted: the words of the running Python."""
    text = f"'{type(primitive).__name__}' object has no attribute '{name}'"
    return AttributeError(text, name=name, obj=primitive)


# property says it in other words since 3.11; a getset descriptor would say it in words of its own.
if sys.version_info >= (3, 11):

    def no_deleter(primitive: object, name: str) -> AttributeError:
        """For ``del`` of a property."""
        return AttributeError(
            f"property '{name}' of '{type(primitive).__qualname__}' object has no deleter"
        )

    def no_setter(primitive: object, name: str) -> AttributeError:
        """For assignment to a property that is only read."""
        return AttributeError(
            f"property '{name}' of '{type(primitive).__qualname__}' object has no setter"
        )

else:

    def no_deleter(primitive: object, name: str) -> AttributeError:
        """For ``del`` of a property."""
        return AttributeError(f"can't delete attribute '{name}'")

    def no_setter(primitive: object, name: str) -> AttributeError:
        """For assignment to a property that is only read."""
        return AttributeError(f"can't set attribute '{name}'")
