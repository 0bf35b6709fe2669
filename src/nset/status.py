"""The Status (0000,0900) of an N-SET response: its category, and what each code means.

`STATUS_CODES` is the table of the codes that the standard defines for N-SET. `lookup` returns a row
of it; `category` returns the category of any code, listed or not, by the ranges of PS3.7 Annex C.
"""

from typing import NamedTuple

from nset._implementation import category
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

__all__ = ["STATUS_CODES", "StatusCode", "category", "lookup"]


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
    StatusCode(0x0000, "Success", "Success: the attributes were set"),
    StatusCode(0x0105, "Failure", "No such attribute"),
    StatusCode(0x0106, "Failure", "Invalid attribute value: out of range or unsuitable"),
    StatusCode(0x0107, "Warning", "Attribute list error: unknown attributes were not set"),
    StatusCode(0x0110, "Failure", "Processing failure"),
    StatusCode(0x0112, "Failure", "No such SOP instance"),
    StatusCode(0x0116, "Warning", "Attribute value out of range: only the others were set"),
    StatusCode(0x0117, "Failure", "Invalid SOP instance: its UID breaks the rules for UIDs"),
    StatusCode(0x0118, "Failure", "No such SOP class"),
    StatusCode(0x0119, "Failure", "Class-instance conflict: the instance is of another class"),
    # PS3.7 leaves 0120 out for N-SET, but PS3.4 5.4.2.1 requires it
    StatusCode(0x0120, "Failure", "Missing attribute: a mandatory one was not sent"),
    StatusCode(0x0121, "Failure", "Missing attribute value: a mandatory one was sent empty"),
    StatusCode(0x0124, "Failure", "Refused: not authorized"),
    StatusCode(0x0210, "Failure", "Duplicate invocation: the Message ID is in use"),
    StatusCode(0x0211, "Failure", "Unrecognized operation"),
    StatusCode(0x0212, "Failure", "Mistyped argument: not agreed for the association"),
    StatusCode(0x0213, "Failure", "Resource limitation"),
    # Modality Performed Procedure Step: PS3.4 F.7.2.2.3, F.7.2.2.4
    StatusCode(0x0106, "Failure", "Invalid attribute value or character set", (MPPS,)),
    StatusCode(0x0110, "Failure", "Processing failure; Error ID A710H: step is final", (MPPS,)),
    # Unified Procedure Step: PS3.4 CC.2.6.4
    StatusCode(0x0001, "Warning", "Optional attributes are not supported", (UPS_PUSH,)),
    StatusCode(0xB305, "Warning", "Invalid values were coerced to valid ones", (UPS_PUSH,)),
    StatusCode(0xC300, "Failure", "The UPS may no longer be updated", (UPS_PUSH,)),
    StatusCode(0xC301, "Failure", "Wrong or missing Transaction UID", (UPS_PUSH,)),
    StatusCode(0xC307, "Failure", "No UPS with that SOP Instance UID here", (UPS_PUSH,)),
    StatusCode(0xC310, "Failure", "The UPS is not IN PROGRESS", (UPS_PUSH,)),
    # Print: PS3.4 H.4.1.2.1.2, H.4.2.2.1.2, H.4.3.1.2.1.2, H.4.3.2.2.1.2
    StatusCode(0x0106, "Failure", "Invalid attribute value, or too much memory", (FILM_SESSION,)),
    StatusCode(0x0213, "Failure", "Resource limitation: no memory at present", (FILM_SESSION,)),
    StatusCode(0xB600, "Warning", "Memory allocation is not supported", (FILM_SESSION,)),
    StatusCode(0xB604, "Warning", "Image was too large and is demagnified", _IMAGE_BOXES),
    StatusCode(
        0xB605,
        "Warning",
        "Min or Max Density is beyond the printer, which uses its own",
        (FILM_BOX, GRAYSCALE_IMAGE_BOX),
    ),
    StatusCode(0xB609, "Warning", "Image was too large and is cropped", _IMAGE_BOXES),
    StatusCode(0xB60A, "Warning", "Image was too large and is decimated", _IMAGE_BOXES),
    StatusCode(0xC603, "Failure", "Image is larger than the image box", _IMAGE_BOXES),
    StatusCode(0xC605, "Failure", "Printer memory can't hold the image", _IMAGE_BOXES),
    StatusCode(0xC613, "Failure", "Combined image is larger than the image box", _IMAGE_BOXES),
    StatusCode(0xC616, "Failure", "The film box before is not printed yet", (FILM_BOX,)),
    # RT Machine Verification: PS3.4 DD.3.2.1.2
    StatusCode(0xC224, "Failure", "No such beam in the fraction group", _MACHINE_VERIFICATION),
    StatusCode(0xC225, "Failure", "Device or accessory is not supported", _MACHINE_VERIFICATION),
    StatusCode(0xC226, "Failure", "Device or accessory is not in the beam", _MACHINE_VERIFICATION),
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
