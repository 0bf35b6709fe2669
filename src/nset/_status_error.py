"""`StatusError`, which a handler raises to answer with a failure or a warning."""

from collections.abc import Iterable
from typing import Any

from pydicom.tag import Tag

from nset import _rules
from nset._command_set import repaired_comment
from nset._implementation import category


class StatusError(Exception):
    """A request is answered with a status; raised in a handler of a DIMSE service.

    It is an answer, not an error of the server: no traceback is logged.

    Parameters
    ----------
    status : int
        The Status (0000,0900), 0 to 65535; `nset.status` has names.
    comment : str, optional
        The Error Comment (0000,0902). The peer gets its first 64 characters, with "?" for what is
        not printable ASCII and for backslashes.
    error_id : int, optional
        The Error ID (0000,0903), 0 to 65535.
    attribute_identifiers : iterable, optional
        The Attribute Identifier List (0000,1005): keywords, ints or whatever `pydicom.tag.Tag`
        takes, as for `nset.status.MISSING_ATTRIBUTE`.
    offending_elements : iterable, optional
        The Offending Element (0000,0901): tags in the same forms.

    Attributes
    ----------
    status, comment, error_id : int, str or None, int or None
        As given.
    attribute_identifiers, offending_elements : tuple of pydicom.tag.BaseTag
        Empty if there are none.

    Raises
    ------
    ValueError
        If `status` or `error_id` is out of range, or a tag is none.
    TypeError
        If `status` or `error_id` is not an int.
    """

    def __init__(
        self,
        status: int,
        comment: str | None = None,
        *,
        error_id: int | None = None,
        attribute_identifiers: Iterable[Any] = (),
        offending_elements: Iterable[Any] = (),
    ) -> None:
        super().__init__(status, comment)
        self.status = _us(status, "Status")
        self.comment = comment
        self.error_id = None if error_id is None else _us(error_id, "ErrorID")
        self.attribute_identifiers = tuple(Tag(tag) for tag in attribute_identifiers)
        self.offending_elements = tuple(Tag(tag) for tag in offending_elements)

    def __str__(self) -> str:
        error_id = "" if self.error_id is None else f", Error ID 0x{self.error_id:04X}"
        comment = f": {self.comment}" if self.comment else ""
        return f"status 0x{self.status:04X} ({category(self.status)}){error_id}{comment}"

    @property
    def details(self) -> dict[str, Any]:
        """What goes with the status into the response, by keyword."""
        details = {
            "ErrorComment": repaired_comment(self.comment) if self.comment else None,
            "ErrorID": self.error_id,
            "AttributeIdentifierList": list(self.attribute_identifiers) or None,
            "OffendingElement": list(self.offending_elements) or None,
        }
        return {keyword: value for keyword, value in details.items() if value is not None}


def as_status_error(exc: BaseException) -> StatusError | None:
    """Return a copy of a `StatusError`, or None if it is none that can be sent.

    A subclass may not have called ``__init__``, and a program may have changed an attribute.

    Parameters
    ----------
    exc : BaseException
        What a handler has raised.

    Returns
    -------
    StatusError or None
        One whose attributes are what they should be.
    """
    if not isinstance(exc, StatusError):
        return None
    try:
        copy = StatusError(
            *(exc.status, exc.comment),
            error_id=exc.error_id,
            attribute_identifiers=exc.attribute_identifiers,
            offending_elements=exc.offending_elements,
        )
        _ = copy.details  # raises for a comment that is no text
        return copy
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None


def checked(error: StatusError) -> StatusError:
    """Return a copy of it; raise TypeError in its place if it is none that can be sent."""
    copy = as_status_error(error)
    if copy is None:
        raise TypeError("StatusError with an attribute that can not be sent") from error
    return copy


def _us(value: int, name: str) -> int:
    if not isinstance(value, int):
        raise _rules.us_type(name)
    if not 0 <= value <= _rules.MAX_US:
        raise _rules.us_out_of_range(name)
    return int(value)
