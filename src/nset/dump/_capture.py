"""The bytes to decode, as streams, and where they were found."""

from dataclasses import dataclass, field

from nset.dump import _limits


class Undecodable(ValueError):
    """The input has no messages in a known format; the text says why."""


@dataclass
class Stream:
    """The bytes that one side has sent, in their order.

    Attributes
    ----------
    data : bytes
        The bytes, with zeros for those that are missing.
    name : str
        The name of the stream; empty if there is only one.
    missing : list of tuple of int
        Start and end of each gap in the capture, in their order.
    is_from_start : bool
        Whether the first byte is the first of a PDU, PDV or command set.
    form : str
        The format; empty to detect it.
    """

    data: bytes
    name: str = ""
    missing: list[tuple[int, int]] = field(default_factory=list)
    is_from_start: bool = True
    form: str = ""


@dataclass
class Capture:
    """The content of a file, a text or an argument.

    Attributes
    ----------
    conversations : list of list of Stream
        The streams of each connection: one accepts the contexts that the other one proposes.
    source : str
        What contained the bytes; empty for bytes and hex digits.
    size : int
        The number of all bytes.
    notes : list of str
        What was skipped, and why.
    """

    conversations: list[list[Stream]]
    source: str = ""
    size: int = 0
    notes: list[str] = field(default_factory=list)


def check_size(size: int) -> None:
    """Raise `Undecodable` above `MAX_INPUT`, before memory is taken."""
    if size > _limits.MAX_INPUT:
        raise Undecodable(f"more than {_limits.MAX_INPUT} bytes: give the part that matters")
