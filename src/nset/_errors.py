"""`CommandSetError`, and how error texts name elements and count bytes."""

from pydicom.datadict import dictionary_description, dictionary_has_tag
from pydicom.tag import BaseTag

from nset import _rules


class CommandSetError(ValueError):
    """Bytes that are not an N-SET command set, or a message that violates the rules for PDVs.

    Parameters
    ----------
    reason : str
        What is wrong, in a sentence.
    tag : int, optional
        The element.
    offset : int, optional
        Bytes from the start of the command set to the element's tag.
    status : int
        The Status (0000,0900) that a server should answer with.

    Attributes
    ----------
    reason : str
        As given.
    tag : pydicom.tag.BaseTag or None
        As given.
    offset : int or None
        As given.
    status : int
        As given.
    message_id : int or None
        The Message ID (0000,0110) of the request, if it could be decoded: a server needs it to
        answer.
    """

    def __init__(
        self,
        reason: str,
        tag: int | None = None,
        offset: int | None = None,
        status: int = _rules.PROCESSING_FAILURE,
    ) -> None:
        super().__init__(reason, tag, offset, status)
        self.reason = reason
        self.tag = None if tag is None else BaseTag(tag)
        self.offset = offset
        self.status = status
        self.message_id: int | None = None

    def __str__(self) -> str:
        return describe(self.reason, self.tag, self.offset)


def describe(reason: str, tag: int | None, offset: int | None) -> str:
    """Return a text such as ``Message ID (0000,0110) at byte 50: 1 byte long, not 2``."""
    if tag is None:
        return reason
    place = "" if offset is None else f" at byte {offset}"
    return f"{element_text(tag)}{place}: {reason}"


def element_text(tag: int) -> str:
    """Return an element's name and tag, such as ``Message ID (0000,0110)``."""
    name = f"{dictionary_description(tag)} " if dictionary_has_tag(tag) else ""
    return name + tag_text(tag)


def tag_text(tag: int) -> str:
    """Return a tag as the standard writes it, such as ``(0000,0110)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def count_of_bytes(count: int) -> str:
    """Return a number of bytes as text."""
    return "1 byte" if count == 1 else f"{count} bytes"
