"""The bytes to take apart, as streams, and where they came from."""

from dataclasses import dataclass, field

from nset.dump import _limits


class Undecodable(ValueError):
    """Input that has no messages in a form that is known; the text says why."""


@dataclass
class Stream:
    """Bytes in their order.

    Attributes
    ----------
    data : bytes
        The bytes, with zeros for those that are missing.
    name : str
        Whose they are; empty where there is only one stream.
    missing : list of tuple of int
        Start and end of what was not captured, in their order.
    is_from_start : bool
        Whether it may not start amid a message.
    form : str
        What they are; empty where that is to be seen from them.
    """

    data: bytes
    name: str = ""
    missing: list[tuple[int, int]] = field(default_factory=list)
    is_from_start: bool = True
    form: str = ""


@dataclass
class Capture:
    """What a file, a text or an argument holds.

    Attributes
    ----------
    conversations : list of list of Stream
        The streams of one connection belong together: what one of them accepts, the other uses.
    source : str
        What the bytes were found in; empty for bytes and hex digits.
    size : int
        Bytes in all.
    notes : list of str
        What was passed over, and why.
    """

    conversations: list[list[Stream]]
    source: str = ""
    size: int = 0
    notes: list[str] = field(default_factory=list)


def check_size(size: int) -> None:
    """Refuse what is over the limit, before memory is taken for it."""
    if size > _limits.MAX_INPUT:
        raise Undecodable(f"more than {_limits.MAX_INPUT} bytes: give the part that matters")
