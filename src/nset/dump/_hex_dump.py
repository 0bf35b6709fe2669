"""Reads hex dumps whose lines begin with an offset.

That is the output of xxd, hexdump -C, od, tcpdump -X and tshark -x, and what Wireshark copies. The
offset of the next line shows where the bytes of a line end and their characters begin. In the last
line it is the split at which the characters match the bytes.
"""

import re
from io import BytesIO
from typing import Final

from nset._errors import count_of_bytes
from nset.dump import _limits
from nset.dump._capture import Undecodable, check_size

_LINE: Final = re.compile(
    rb"(?P<indent>[ \t>]*)(?:0x)?(?P<offset>[0-9a-fA-F]{3,16})"
    rb"(?P<colon>:?)(?P<blanks>[ \t]+|\r?\n|$)(?P<rest>.*)",
    re.DOTALL,
)
_TOKENS: Final = re.compile(rb"(?:[0-9a-fA-F]{2}){1,16}(?=[\s|]|$)")
_MAX_LINE_CHARACTERS: Final = 1024
_MAX_BYTES_PER_LINE: Final = 256

_PRINTABLE: Final = bytes(byte if 0x20 <= byte <= 0x7E else 0x2E for byte in range(256))


class _Line:
    """A line of which it is not yet known where its bytes end."""

    def __init__(self, rest: bytes, has_words: bool) -> None:
        self._rest = rest
        # The bytes up to each token, and the offset of the rest of the line.
        self._stops: list[tuple[bytes, int]] = []
        data, at = b"", 0
        while len(data) < _MAX_BYTES_PER_LINE:
            while rest[at : at + 1] in (b" ", b"\t"):
                at += 1
            token = _TOKENS.match(rest, at)
            if token is None:
                break
            found = bytes.fromhex(token[0].decode("ascii"))
            # hexdump without -C and od -x write words, the second byte first.
            data += found[::-1] if has_words and len(found) == 2 else found
            at = token.end()
            self._stops.append((data, at))

    @property
    def most(self) -> int:
        """The largest possible number of bytes."""
        return len(self._stops[-1][0]) if self._stops else 0

    def first(self, count: int) -> bytes:
        """Return the first `count` bytes, or fewer if the line has fewer."""
        return next((data for data, _ in self._stops if len(data) >= count), b"")[:count]

    def all(self) -> bytes:
        """Return the bytes of a last line, whose number no next line gives."""
        for data, at in self._stops:
            characters = self._rest[at:].strip()
            if characters[:1] in (b"|", b">") and _same(characters[1:-1], data):
                return data
            if characters and _same(characters, data):
                return data
        return self._stops[-1][0] if self._stops else b""


def _same(characters: bytes, data: bytes) -> bool:
    """Return whether the characters match the bytes, except blanks: one separates groups of 8."""
    return characters.replace(b" ", b"") == data.translate(_PRINTABLE).replace(b" ", b"")


class _Side:
    """The lines with one indentation: one side of a connection."""

    def __init__(self) -> None:
        self.blocks: list[bytearray] = []
        # Whether these are lines of a dump, not text that looks like one by coincidence.
        self.is_certain = False
        self._offset = 0
        self._line: _Line | None = None
        self._width = 0
        self._is_first = True
        self._is_repeated = False
        self._base = 16

    def repeat(self) -> None:
        """Process a ``*``: the previous line repeats up to the next offset."""
        self._is_repeated = self._line is not None

    def take(self, digits: bytes, line: _Line, is_set_apart: bool) -> None:
        """Process a line; `is_set_apart` if more than a blank separates offset and bytes."""
        offset = None if self._line is None else self._next_offset(self._line, digits)
        if self._line is not None and offset is not None:
            self._add(self._line, offset - self._offset)
            self._offset, self._line, self._is_first = offset, line, False
            self.is_certain = True
            return
        if self._line is not None and is_set_apart and int(digits, 16) > self._offset:
            raise Undecodable(
                f"a hex dump with {count_of_bytes(self._line.most)} at offset {self._offset:X}H, "
                f"and the next at {int(digits, 16):X}H: some are missing"
            )
        self.end()
        self._base, self._offset, self._line = 16, int(digits, 16), line
        self._width, self._is_first = 0, True
        self.is_certain |= is_set_apart and self._offset == 0 and line.most > 0

    def _next_offset(self, line: _Line, digits: bytes) -> int | None:
        """Return the offset of the next line: in hex or, for od and xxd -d, in another base."""
        for base in (16, 10, 8) if self._is_first and self._offset == 0 else (self._base,):
            try:
                offset = int(digits, base)
            except ValueError:
                continue
            count = offset - self._offset
            is_next = count <= line.most if base == 16 else count == len(line.all())
            if count > 0 and (is_next or self._is_repeated):
                self._base = base
                return offset
        return None

    def _block(self) -> bytearray:
        if self._is_first:
            if len(self.blocks) >= _limits.MAX_SEGMENTS:
                raise Undecodable(f"more than {_limits.MAX_SEGMENTS} hex dumps in one text")
            self.blocks.append(bytearray())
        return self.blocks[-1]

    def _add(self, line: _Line, count: int) -> None:
        """Add `count` bytes of a line, or of a line that repeats."""
        block = self._block()
        if self._is_repeated:
            self._is_repeated = False
            data = line.first(self._width) if self._width else line.all()
            check_size(len(block) + count)
            block += (data * (count // max(len(data), 1) + 1))[:count]
        else:
            self._width = max(self._width, count)
            block += line.first(count)

    def end(self) -> None:
        """Add the last line of a dump; a single line only if its offset is 0."""
        line, self._line, self._is_repeated = self._line, None, False
        if line is not None and line.most and not (self._is_first and self._offset):
            data = line.all()
            block = self._block()
            block += data[: self._width] if self._width else data


def read_hex_dump(text: bytes) -> list[list[bytearray]] | None:
    """Return the hex dumps in a text by side of a connection; None if there is none.

    Only Wireshark's "Follow TCP Stream" has a second side, indented. Other lines are skipped.
    """
    sides: dict[bytes, _Side] = {}
    last: _Side | None = None
    for raw in BytesIO(text):
        found = _LINE.match(raw[:_MAX_LINE_CHARACTERS])
        if found is None:
            if last is not None and raw.strip(b" \t\r\n>") == b"*":
                last.repeat()
            continue
        indent = found["indent"].replace(b">", b"").replace(b"\t", b"    ")
        last = sides.setdefault(indent if len(indent) >= 4 else b"", _Side())
        digits = found["offset"]
        has_colon = bool(found["colon"])
        is_set_apart = has_colon or len(found["blanks"].strip(b"\r\n")) >= 2
        line = _Line(found["rest"], len(digits) == 7 and not has_colon)
        last.take(digits, line, is_set_apart and len(digits) >= 4)
    for side in sides.values():
        side.end()
    return [side.blocks for side in sides.values() if side.is_certain and side.blocks] or None
