"""The Status (0000,0900) of a response: names, categories, and what each code means for N-SET.

The codes have names, as in `NO_SUCH_SOP_INSTANCE`. `STATUS_CODES` is the table of those that the
standard defines for N-SET, and `lookup` returns a row of it; `category` returns the category of any
code, listed or not, by the ranges of PS3.7 Annex C.
"""

from typing import Final, NamedTuple

from nset._implementation import category as category
from nset._rules import (
    COLOR_IMAGE_BOX,
    FILM_BOX,
    FILM_SESSION,
    GRAYSCALE_IMAGE_BOX,
    MPPS,
    RT_CONVENTIONAL,
    RT_ION,
    UPS_PUSH,
)
from nset._rules import INVALID_SOP_INSTANCE as INVALID_SOP_INSTANCE
from nset._rules import MISTYPED_ARGUMENT as MISTYPED_ARGUMENT
from nset._rules import NO_SUCH_SOP_CLASS as NO_SUCH_SOP_CLASS
from nset._rules import PROCESSING_FAILURE as PROCESSING_FAILURE
from nset._rules import RESOURCE_LIMITATION as RESOURCE_LIMITATION
from nset._rules import UNRECOGNIZED_OPERATION as UNRECOGNIZED_OPERATION

# Any service: PS3.7 Annex C, with those of nset._rules
SUCCESS: Final = 0x0000
OPTIONAL_ATTRIBUTES_NOT_SUPPORTED: Final = 0x0001
NO_SUCH_ATTRIBUTE: Final = 0x0105
INVALID_ATTRIBUTE_VALUE: Final = 0x0106
ATTRIBUTE_LIST_ERROR: Final = 0x0107
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NO_SUCH_SOP_INSTANCE: Final = 0x0112
NO_SUCH_EVENT_TYPE: Final = 0x0113
NO_SUCH_ARGUMENT: Final = 0x0114
INVALID_ARGUMENT_VALUE: Final = 0x0115
ATTRIBUTE_VALUE_OUT_OF_RANGE: Final = 0x0116
CLASS_INSTANCE_CONFLICT: Final = 0x0119
MISSING_ATTRIBUTE: Final = 0x0120
MISSING_ATTRIBUTE_VALUE: Final = 0x0121
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
DUPLICATE_INVOCATION: Final = 0x0210
OUT_OF_RESOURCES: Final = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
CANCEL: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITH_WARNING: Final = 0xFF01

# Modality Performed Procedure Step: the Error ID beside PROCESSING_FAILURE, PS3.4 F.7.2.2
MPPS_ERROR_ID_NO_LONGER_UPDATABLE: Final = 0xA710

# Unified Procedure Step: PS3.4 CC.2
UPS_CREATED_WITH_MODIFICATIONS: Final = 0xB300
UPS_DELETION_LOCK_NOT_GRANTED: Final = 0xB301
UPS_ALREADY_CANCELED: Final = 0xB304
UPS_VALUES_COERCED: Final = 0xB305
UPS_ALREADY_COMPLETED: Final = 0xB306
UPS_NO_LONGER_UPDATABLE: Final = 0xC300
UPS_WRONG_TRANSACTION_UID: Final = 0xC301
UPS_IS_IN_PROGRESS: Final = 0xC302
UPS_SCHEDULED_ONLY_BY_N_CREATE: Final = 0xC303
UPS_FINAL_STATE_REQUIREMENTS_NOT_MET: Final = 0xC304
UPS_NO_SUCH_INSTANCE: Final = 0xC307
UPS_UNKNOWN_RECEIVING_AE_TITLE: Final = 0xC308
UPS_NOT_SCHEDULED: Final = 0xC309
UPS_NOT_IN_PROGRESS: Final = 0xC310
UPS_IS_COMPLETED: Final = 0xC311
UPS_PERFORMER_CANNOT_BE_CONTACTED: Final = 0xC312
UPS_PERFORMER_WILL_NOT_CANCEL: Final = 0xC313
UPS_ACTION_NOT_APPROPRIATE: Final = 0xC314
UPS_EVENT_REPORTS_NOT_SUPPORTED: Final = 0xC315

# Print: PS3.4 H.4
PRINT_MEMORY_ALLOCATION_NOT_SUPPORTED: Final = 0xB600
PRINT_COLLATION_NOT_SUPPORTED: Final = 0xB601
PRINT_FILM_SESSION_HAS_EMPTY_PAGE: Final = 0xB602
PRINT_FILM_BOX_IS_EMPTY_PAGE: Final = 0xB603
PRINT_IMAGE_DEMAGNIFIED: Final = 0xB604
PRINT_DENSITY_OUT_OF_RANGE: Final = 0xB605
PRINT_IMAGE_CROPPED: Final = 0xB609
PRINT_IMAGE_DECIMATED: Final = 0xB60A
PRINT_FILM_SESSION_WITHOUT_FILM_BOX: Final = 0xC600
PRINT_FILM_SESSION_QUEUE_FULL: Final = 0xC601
PRINT_FILM_BOX_QUEUE_FULL: Final = 0xC602
PRINT_IMAGE_TOO_LARGE: Final = 0xC603
PRINT_OUT_OF_MEMORY: Final = 0xC605
PRINT_COMBINED_IMAGE_TOO_LARGE: Final = 0xC613
PRINT_FILM_BOX_NOT_PRINTED: Final = 0xC616

# RT Machine Verification: PS3.4 DD.3.2.1.2
RT_NO_SUCH_BEAM: Final = 0xC224
RT_DEVICE_NOT_SUPPORTED: Final = 0xC225
RT_DEVICE_NOT_IN_BEAM: Final = 0xC226


class StatusCode(NamedTuple):
    """A status code that the standard defines for N-SET.

    Attributes
    ----------
    code : int
        The value of Status (0000,0900), 0x0000 to 0xFFFF.
    category : str
        ``"Success"``, ``"Warning"`` or ``"Failure"``; an N-SET response has no other.
    meaning : str
        The meaning in a short phrase. The wording is nset's, not the standard's, and may change.
    sop_classes : tuple of str
        The UIDs of the SOP Classes that define this meaning; empty if it applies to all.
    """

    code: int
    category: str
    meaning: str
    sop_classes: tuple[str, ...] = ()


_IMAGE_BOXES = (GRAYSCALE_IMAGE_BOX, COLOR_IMAGE_BOX)
_MACHINE_VERIFICATION = (RT_CONVENTIONAL, RT_ION)

STATUS_CODES: tuple[StatusCode, ...] = (
    # Every SOP Class: PS3.7 10.1.3.1.9
    StatusCode(SUCCESS, "Success", "Success: the attributes were set"),
    StatusCode(NO_SUCH_ATTRIBUTE, "Failure", "No such attribute"),
    StatusCode(
        INVALID_ATTRIBUTE_VALUE, "Failure", "Invalid attribute value: out of range or unsuitable"
    ),
    StatusCode(
        ATTRIBUTE_LIST_ERROR, "Warning", "Attribute list error: unknown attributes were not set"
    ),
    StatusCode(PROCESSING_FAILURE, "Failure", "Processing failure"),
    StatusCode(NO_SUCH_SOP_INSTANCE, "Failure", "No such SOP instance"),
    StatusCode(
        ATTRIBUTE_VALUE_OUT_OF_RANGE,
        "Warning",
        "Attribute value out of range: only the others were set",
    ),
    StatusCode(
        INVALID_SOP_INSTANCE, "Failure", "Invalid SOP instance: its UID breaks the rules for UIDs"
    ),
    StatusCode(NO_SUCH_SOP_CLASS, "Failure", "No such SOP class"),
    StatusCode(
        CLASS_INSTANCE_CONFLICT,
        "Failure",
        "Class-instance conflict: the instance is of another class",
    ),
    # PS3.7 leaves 0120 out for N-SET, but PS3.4 5.4.2.1 requires it
    StatusCode(MISSING_ATTRIBUTE, "Failure", "Missing attribute: a mandatory one was not sent"),
    StatusCode(
        MISSING_ATTRIBUTE_VALUE,
        "Failure",
        "Missing attribute value: a mandatory one was sent empty",
    ),
    StatusCode(NOT_AUTHORIZED, "Failure", "Refused: not authorized"),
    StatusCode(DUPLICATE_INVOCATION, "Failure", "Duplicate invocation: the Message ID is in use"),
    StatusCode(UNRECOGNIZED_OPERATION, "Failure", "Unrecognized operation"),
    StatusCode(MISTYPED_ARGUMENT, "Failure", "Mistyped argument: not agreed for the association"),
    StatusCode(RESOURCE_LIMITATION, "Failure", "Resource limitation"),
    # Modality Performed Procedure Step: PS3.4 F.7.2.2.3, F.7.2.2.4
    StatusCode(
        INVALID_ATTRIBUTE_VALUE, "Failure", "Invalid attribute value or character set", (MPPS,)
    ),
    StatusCode(
        PROCESSING_FAILURE, "Failure", "Processing failure; Error ID A710H: step is final", (MPPS,)
    ),
    # Unified Procedure Step: PS3.4 CC.2.6.4
    StatusCode(
        OPTIONAL_ATTRIBUTES_NOT_SUPPORTED,
        "Warning",
        "Optional attributes are not supported",
        (UPS_PUSH,),
    ),
    StatusCode(
        UPS_VALUES_COERCED, "Warning", "Invalid values were coerced to valid ones", (UPS_PUSH,)
    ),
    StatusCode(UPS_NO_LONGER_UPDATABLE, "Failure", "The UPS may no longer be updated", (UPS_PUSH,)),
    StatusCode(
        UPS_WRONG_TRANSACTION_UID, "Failure", "Wrong or missing Transaction UID", (UPS_PUSH,)
    ),
    StatusCode(
        UPS_NO_SUCH_INSTANCE, "Failure", "No UPS with that SOP Instance UID here", (UPS_PUSH,)
    ),
    StatusCode(UPS_NOT_IN_PROGRESS, "Failure", "The UPS is not IN PROGRESS", (UPS_PUSH,)),
    # Print: PS3.4 H.4.1.2.1.2, H.4.2.2.1.2, H.4.3.1.2.1.2, H.4.3.2.2.1.2
    StatusCode(
        INVALID_ATTRIBUTE_VALUE,
        "Failure",
        "Invalid attribute value, or too much memory",
        (FILM_SESSION,),
    ),
    StatusCode(
        RESOURCE_LIMITATION, "Failure", "Resource limitation: no memory at present", (FILM_SESSION,)
    ),
    StatusCode(
        PRINT_MEMORY_ALLOCATION_NOT_SUPPORTED,
        "Warning",
        "Memory allocation is not supported",
        (FILM_SESSION,),
    ),
    StatusCode(
        PRINT_IMAGE_DEMAGNIFIED, "Warning", "Image was too large and is demagnified", _IMAGE_BOXES
    ),
    StatusCode(
        PRINT_DENSITY_OUT_OF_RANGE,
        "Warning",
        "Min or Max Density is beyond the printer, which uses its own",
        (FILM_BOX, GRAYSCALE_IMAGE_BOX),
    ),
    StatusCode(PRINT_IMAGE_CROPPED, "Warning", "Image was too large and is cropped", _IMAGE_BOXES),
    StatusCode(
        PRINT_IMAGE_DECIMATED, "Warning", "Image was too large and is decimated", _IMAGE_BOXES
    ),
    StatusCode(
        PRINT_IMAGE_TOO_LARGE, "Failure", "Image is larger than the image box", _IMAGE_BOXES
    ),
    StatusCode(PRINT_OUT_OF_MEMORY, "Failure", "Printer memory can't hold the image", _IMAGE_BOXES),
    StatusCode(
        PRINT_COMBINED_IMAGE_TOO_LARGE,
        "Failure",
        "Combined image is larger than the image box",
        _IMAGE_BOXES,
    ),
    StatusCode(
        PRINT_FILM_BOX_NOT_PRINTED, "Failure", "The film box before is not printed yet", (FILM_BOX,)
    ),
    # RT Machine Verification: PS3.4 DD.3.2.1.2
    StatusCode(
        RT_NO_SUCH_BEAM, "Failure", "No such beam in the fraction group", _MACHINE_VERIFICATION
    ),
    StatusCode(
        RT_DEVICE_NOT_SUPPORTED,
        "Failure",
        "Device or accessory is not supported",
        _MACHINE_VERIFICATION,
    ),
    StatusCode(
        RT_DEVICE_NOT_IN_BEAM,
        "Failure",
        "Device or accessory is not in the beam",
        _MACHINE_VERIFICATION,
    ),
)
"""The codes that the standard defines for N-SET responses: those of all SOP Classes, then those of
each service."""

_ROWS = {(row.code, uid): row for row in STATUS_CODES for uid in row.sop_classes or (None,)}


def lookup(code: int, sop_class: str | None = None) -> StatusCode | None:
    """Return the standard's entry for a status code.

    Parameters
    ----------
    code : int
        The value of Status (0000,0900).
    sop_class : str, optional
        The Requested SOP Class UID of the request. A meaning that this SOP Class defines takes
        precedence over the common one; without a UID only the common one is returned.

    Returns
    -------
    StatusCode or None
        None if the standard defines no such code for N-SET. An SCP may still send a code of its
        own, Axxx, Bxxx or Cxxx: `category` returns its category.
    """
    return _ROWS.get((code, sop_class)) or _ROWS.get((code, None))
