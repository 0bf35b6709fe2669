"""Reads the input: a file, standard input or text."""

import os
import re
import sys
from typing import Final

from nset.dump import _limits
from nset.dump._capture import Capture, Stream, Undecodable, check_size
from nset.dump._text import capture_of_text

_PCAP: Final = (
    *(b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d"),
    b"\n\r\r\n",
)
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_UTF_8: Final = b"\xef\xbb\xbf"
_PRINTABLE: Final = re.compile(rb"[ -~\s\x80-\xff]+")


def load(source: str) -> Capture:
    """Read a file, standard input or text.

    Parameters
    ----------
    source : str
        A file of bytes, packets or text, ``-`` for the same from standard input, or text with
        hex digits or an array.

    Returns
    -------
    Capture
        The bytes, or those that a text represents.

    Raises
    ------
    Undecodable
        If it is neither a file nor hex digits, contains no bytes, or more than `MAX_INPUT`.
    OSError
        If the file can't be read.
    """
    if source == "-":
        data = sys.stdin.buffer.read(_limits.MAX_INPUT + 1)
    elif os.path.exists(source):
        with open(source, "rb") as file:
            data = file.read(_limits.MAX_INPUT + 1)
    else:
        found = capture_of_text(source.encode("utf-8", "backslashreplace"))
        if found is None:
            raise Undecodable(f"no such file, and not hex digits: {source[:80]!a}")
        return _opened(found)
    check_size(len(data))
    # In every binary format there is a zero byte among the first 64; in a text there is none.
    if data.startswith(_UTF_16):
        data = data.decode("utf-16", "replace").encode("utf-8")
    elif b"\0" in data[:64]:
        return capture_of(data)
    text = capture_of_text(data.removeprefix(_UTF_8))
    if text is not None:
        return _opened(text)
    if _PRINTABLE.fullmatch(data[:64]):
        raise Undecodable(
            "a text in which no bytes are found: neither hex digits nor a hex dump, an array, "
            "a string literal or a log with PDUs in it"
        )
    return capture_of(data)


def capture_of(data: bytes) -> Capture:
    """Return the streams of a pcap or pcapng file, or the bytes as one stream."""
    if data.startswith(_PCAP):
        try:
            from nset.dump._packets import capture_of_file
        except ModuleNotFoundError as exc:
            if exc.name != "dpkt":
                raise
            needs = "a file of packets needs dpkt: pip install 'nset[cli]'"
            raise Undecodable(needs) from exc
        return capture_of_file(data)
    return Capture([[Stream(data)]], size=len(data))


def _opened(capture: Capture) -> Capture:
    """Decode the bytes that a text represents if they are a pcap or pcapng file."""
    streams = [stream for conversation in capture.conversations for stream in conversation]
    is_file = len(streams) == 1 and streams[0].data.startswith(_PCAP)
    return capture_of(streams[0].data) if is_file else capture
