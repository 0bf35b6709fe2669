"""Finds the bytes that a text represents: hex digits, hex dumps, arrays, literals and logs."""

import binascii
import re
import warnings
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Final

from nset._errors import count_of_bytes
from nset.dump import _limits
from nset.dump._capture import Capture, Stream, Undecodable, check_size
from nset.dump._hex_dump import read_hex_dump

_CHUNK_BYTES: Final = 0x2000
_HEX: Final = b"0123456789abcdefABCDEF"
_SEPARATORS: Final = b" \t\r\n\f\v:,;"
_SEPARATOR: Final = re.compile(rb"[\s:,;\\]")
_TOKEN_ENDS: Final = re.compile(rb"[\s:,;]+|(?=\\)")

# Matches in the output of Python's list(data), with numbers of 1 to 3 digits.
_DECIMAL: Final = re.compile(rb"(?<!\d)(?:\d|\d{3})(?!\d)")
_NO_DECIMAL: Final = re.compile(rb"[a-fA-F:;\\]")

_PYNETDICOM_BLOCK: Final = b" ENCODED PDU "
_END_OF_BLOCK: Final = b" END ENCODED PDU "
_DCMTK_BLOCK: Final = re.compile(rb"PDU Length: (\d{1,9}) \+ 6 bytes PDU header")
_HEX_AT_END: Final = re.compile(rb"(?:^|\s)((?:[0-9a-fA-F]{2} {1,2})*[0-9a-fA-F]{2})\s*$")
_PYNETDICOM_ROW_BYTES: Final = 25
_DCMTK_ROW_BYTES: Final = 16
_MAX_HEX_CHARACTERS: Final = 100
"""Characters at the end of a line of a log that can be hex digits."""

_MAX_NOTES: Final = 16

_ARRAY: Final = re.compile(rb"[\[{(]([0-9a-fA-FxX,\s]{7,})[\]})]")
_COMMENT: Final = re.compile(
    rb"/\*[^\n]{0,200}?\*/(?=[\s,]*?(?:0[xX]|[\n\d\]})]|$))|(?://|#)[^\n]*"
)
_PEER: Final = re.compile(rb"\bpeer(\d)_\d+\s*\[\d*\]\s*=\s*$")
_QUOTE: Final = re.compile(rb"(?<![A-Za-z0-9_\\])[bB]?(['\"])")
_MIN_ARRAY_BYTES: Final = 8
"""A text may have other numbers in brackets."""

_MIN_HEX_DIGITS: Final = 20
"""A shorter string literal of hex digits is not taken for bytes."""

_LOGS: Final = {
    "pynetdicom": (
        re.compile(rb"END A-(?:ASSOCIATE-..|ABORT) PDU ==|pydicom\.read_dataset\(\) Transfer"),
        "to log them: evt_handlers=[(evt.EVT_DATA_RECV, debug_data), "
        "(evt.EVT_DATA_SENT, debug_data)], with debug_data of pynetdicom._handlers, at level DEBUG",
    ),
    "DCMTK": (
        re.compile(rb"\$dcmtk: |BEGIN A-ASSOCIATE-.. ==|DcmDataset::read\(\) Transfer"),
        "DCMTK logs the received A-ASSOCIATE PDU at level debug, and never the bytes of messages: "
        "capture packets with tcpdump -w FILE port PORT",
    ),
    "DICOM messages": (
        re.compile(rb"(?:INCOMING|OUTGOING) DIMSE MESSAGE =="),
        "capture packets with tcpdump -w FILE port PORT",
    ),
}


def capture_of_text(text: bytes) -> Capture | None:
    """Return the bytes that a text represents, in any encoding that extends ASCII; None for none.

    Raise `Undecodable` if it is a log without bytes, has an odd number of hex digits, or represents
    too many bytes.
    """
    notes: list[str] = []
    if _PYNETDICOM_BLOCK in text:
        blocks = list(_blocks_of_pynetdicom(text, notes))
        if blocks:
            return _stream_of(blocks, "a log of pynetdicom", notes)
    if _DCMTK_BLOCK.search(text):
        blocks = list(_blocks_of_dcmtk(text, notes))
        if blocks:
            notes.append("a log of DCMTK has the bytes of A-ASSOCIATE PDUs, not of messages")
            return _stream_of(blocks, "a log of DCMTK", notes)
    sides = read_hex_dump(text)
    if sides is not None:
        return _capture_of_sides(sides, "a hex dump", _nodes(text))
    plain = _from_digits(text)
    if plain is not None:
        return _capture_of_sides([[plain]], "", [])
    arrays = _arrays(text)
    if arrays:
        return _capture_of_sides(arrays, "an array", [])
    literals = _literals(text)
    if literals:
        return _capture_of_sides([literals], "a string literal", [])
    for name, (pattern, advice) in _LOGS.items():
        if pattern.search(text):
            raise Undecodable(f"a log of {name} without bytes in it: {advice}")
    return None


def _stream_of(blocks: list[bytes], source: str, notes: list[str]) -> Capture:
    data = b"".join(blocks)
    return Capture([[Stream(data)]], source, len(data), notes)


def _capture_of_sides(
    sides: Sequence[Sequence[bytes | bytearray]], source: str, names: list[str]
) -> Capture:
    """Join the blocks of each side, or decode them if they are packets."""
    blocks = [block for side in sides for block in side]
    packets = _packets_of(blocks, source)
    if packets is not None:
        return packets
    streams = []
    for number, side in enumerate(sides):
        data = bytes(side[0]) if len(side) == 1 else b"".join(side)
        name = names[number] if number < len(names) else f"side {number + 1}"
        streams.append(Stream(data, name if len(sides) > 1 else ""))
    return Capture([streams], source, sum(map(len, blocks)))


def _packets_of(blocks: list[bytes | bytearray], source: str) -> Capture | None:
    try:
        from nset.dump._packets import capture_of_frames
    except ModuleNotFoundError as exc:
        if exc.name != "dpkt":
            raise
        return None
    return capture_of_frames(blocks, source or "hex digits")


# -- Logs -----------------------------------------------------------------------------------------


def _hex_at_end(line: bytes, most: int) -> bytes:
    """Return the bytes at the end of a line of a log, whatever precedes them."""
    found = _HEX_AT_END.search(line.rstrip()[-_MAX_HEX_CHARACTERS:])
    return binascii.unhexlify(found[1].replace(b" ", b""))[-most:] if found and most else b""


def _blocks_of_pynetdicom(text: bytes, notes: list[str]) -> Iterator[bytes]:
    """Yield the PDUs that pynetdicom's `debug_data` has logged."""
    block: bytearray | None = None
    # A shorter row is the last one, or the end of another thread's line.
    short: list[bytes] = []
    number = 0
    for number, line in enumerate(BytesIO(text), 1):
        if _PYNETDICOM_BLOCK in line:
            if block is not None:
                yield from _completed(block, short, number, notes)
            block, short = (None if _END_OF_BLOCK in line else bytearray()), []
        elif block is not None:
            row = _hex_at_end(line, _PYNETDICOM_ROW_BYTES)
            if len(row) == _PYNETDICOM_ROW_BYTES:
                block += row
            elif row:
                short = [*short[-15:], row]
    if block is not None:
        yield from _completed(block, short, number, notes)


def _completed(
    block: bytearray, short: list[bytes], number: int, notes: list[str]
) -> Iterator[bytes]:
    """Yield the bytes of a block, with the short row that completes its last PDU."""
    for rest in (*short, b""):
        if _is_whole(block + rest):
            yield bytes(block + rest)
            return
    found = bytes(block + max(short, key=len, default=b""))
    _note(notes, f"an incomplete PDU: {count_of_bytes(len(found))}, up to line {number}")
    yield found


def _is_whole(data: bytearray) -> bool:
    """Return whether the bytes are one or more complete PDUs."""
    at = 0
    while at + 6 <= len(data):
        at += 6 + int.from_bytes(data[at + 2 : at + 6], "big")
    return at == len(data) > 0


def _blocks_of_dcmtk(text: bytes, notes: list[str]) -> Iterator[bytes]:
    """Yield the PDUs that DCMTK has logged, each after its length."""
    block, size, number = bytearray(), 0, 0
    for number, line in enumerate(BytesIO(text), 1):
        missing = size - len(block)
        row = _hex_at_end(line, min(missing, _DCMTK_ROW_BYTES))
        block += row
        if block and (len(block) == size or not row):
            if len(block) < size:
                _note(
                    notes, f"an incomplete PDU: {len(block)} of {size} bytes, up to line {number}"
                )
            yield bytes(block)
            block, size = bytearray(), 0
        start = _DCMTK_BLOCK.search(line[-200:])
        if start:
            size = int(start[1]) + 6
    if block:
        _note(notes, f"an incomplete PDU: {len(block)} of {size} bytes, up to line {number}")
        yield bytes(block)


def _note(notes: list[str], text: str) -> None:
    if len(notes) < _MAX_NOTES:
        notes.append(text)


def _nodes(text: bytes) -> list[str]:
    """Return the names of both streams, if `tshark -z follow,tcp,hex` has written them."""
    found = [re.search(rb"^Node %d: (\S{1,60})" % number, text, re.MULTILINE) for number in (0, 1)]
    names = [one[1].decode("ascii", "replace") for one in found if one is not None]
    return [f"{names[0]} -> {names[1]}", f"{names[1]} -> {names[0]}"] if len(names) == 2 else []


# -- Digits and arrays ----------------------------------------------------------------------------


def _from_digits(text: bytes) -> bytes | None:
    """Read hex digits with separators and prefixes; return None for other text."""
    # A single prefix may precede all digits.
    text = text[2:] if re.match(rb"0[xX][0-9a-fA-F]{3}", text) else text
    if re.search(rb"[^0-9a-fA-FxX\\\s:,;]", text):
        return None
    if b"x" in text or b"X" in text:
        return _from_tokens(text, 16)
    if b"," in text and _DECIMAL.search(text) and not _NO_DECIMAL.search(text):
        return _from_tokens(text, 10)
    digits = text.translate(None, _SEPARATORS)
    if digits.translate(None, _HEX):
        return None
    if len(digits) % 2:
        raise Undecodable(f"{len(digits)} hex digits, an odd number: one is missing or too many")
    return binascii.unhexlify(digits)


def _chunks(text: bytes) -> Iterator[bytes]:
    """Yield a text in parts that end before a separator."""
    at = 0
    while at < len(text):
        found = _SEPARATOR.search(text, at + _CHUNK_BYTES)
        stop = len(text) if found is None else found.start()
        yield text[at:stop]
        at = stop


def _from_tokens(text: bytes, base: int) -> bytes | None:
    """Read numbers with separators; return None if one of them is not a byte."""
    data = bytearray()
    read = _token if base == 16 else _decimal
    for chunk in _chunks(text):
        try:
            data += b"".join(map(read, filter(None, _TOKEN_ENDS.split(chunk))))
        except ValueError:
            return None
    return bytes(data)


def _token(token: bytes) -> bytes:
    """Read a number in hex; without a prefix, any number of digits."""
    if token[:2] in (b"0x", b"0X", b"\\x"):
        return binascii.unhexlify(token[2:].rjust(2, b"0") if len(token) > 2 else b"?")
    return binascii.unhexlify(token)


def _decimal(token: bytes) -> bytes:
    return bytes((int(token),))


def _arrays(text: bytes) -> list[list[bytes | bytearray]]:
    """Read arrays of numbers, as C and Python write them.

    Wireshark's "Follow TCP Stream" names those of the two sides ``peer0_`` and ``peer1_``.
    """
    if b"," not in text:
        return []
    if b"/*" in text or b"//" in text or b"#" in text:
        text = _COMMENT.sub(b"", text)
    sides: dict[bytes, list[bytes | bytearray]] = {}
    count = 0
    for found in _ARRAY.finditer(text):
        data = _from_digits(found[1].strip()) if b"," in found[1] else None
        peer = _PEER.search(text, max(0, found.start() - 64), found.start())
        if data is None or (len(data) < _MIN_ARRAY_BYTES and not peer):
            continue
        count += 1
        if count > _limits.MAX_SEGMENTS:
            raise Undecodable(f"more than {_limits.MAX_SEGMENTS} arrays in one text")
        sides.setdefault(peer[1] if peer else b"", []).append(data)
    return [sides[name] for name in sorted(sides)]


def _literals(text: bytes) -> list[bytes | bytearray]:
    """Read string literals of Python and C with escapes or hex digits."""
    blocks: list[bytes | bytearray] = []
    at = size = 0
    while (found := _QUOTE.search(text, at)) is not None:
        start, quote = found.end(), found[1]
        stop = _closing(text, start, quote)
        if stop is None:
            at = start
            continue
        data = _literal(text[start:stop])
        at = stop + 1
        if data:
            size += len(data)
            check_size(size)
            if len(blocks) >= _limits.MAX_SEGMENTS:
                raise Undecodable(f"more than {_limits.MAX_SEGMENTS} literals in one text")
            blocks.append(data)
    return blocks


def _closing(text: bytes, start: int, quote: bytes) -> int | None:
    """Return the offset of the quote that ends a literal on the same line, or None."""
    at = text.find(quote, start)
    while at >= 0:
        before = at
        while before > start and text[before - 1] == 0x5C:
            before -= 1
        if (at - before) % 2 == 0:
            return at if text.find(b"\n", start, at) < 0 else None
        at = text.find(quote, at + 1)
    return None


def _literal(content: bytes) -> bytes | None:
    if b"\\x" in content:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes are kept
                return content.decode("unicode_escape").encode("latin-1")
        except ValueError:
            return None
    digits = content.translate(None, _SEPARATORS)
    is_hex = (
        len(digits) >= _MIN_HEX_DIGITS and len(digits) % 2 == 0 and not digits.translate(None, _HEX)
    )
    return binascii.unhexlify(digits) if is_hex else None
