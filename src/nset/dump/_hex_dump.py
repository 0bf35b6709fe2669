"""Reads hex dumps whose lines begin with an offset.

Such are those of xxd, hexdump -C, od, tcpdump -X, tshark -x and Wireshark's copies. Where the bytes
of a line end and their characters begin is told by the offset of the next line; in the last line by
which split has the characters of its bytes.
"""

import re
from io import BytesIO
from typing import Final

from nset.dump import _limits
from nset.dump._capture import Undecodable, check_size
from nset.dump._values import count_of_bytes

_LINE: Final = re.compile(
    rb"(?P<indent>[ \t>]*)(?:0x)?(?P<offset>[0-9a-fA-F]{3,16})"
    rb"(?P<colon>:?)(?P<blanks>[ \t]+|\r?\n|$)(?P<rest>.*)",
    re.DOTALL,
)
_TOKENS: Final = re.compile(rb"(?:[0-9a-fA-F]{2}){1,16}(?=[\s|]|$)")
_MAX_LINE: Final = 1024
_MAX_BYTES: Final = 256
"""Most bytes that a line is taken to have."""

_PRINTABLE: Final = bytes(byte if 0x20 <= byte <= 0x7E else 0x2E for byte in range(256))


class _Line:
    """What a line has before it is known where its bytes end."""

    def __init__(self, rest: bytes, has_words: bool) -> None:
        self._rest = rest
        # After so many bytes the line goes on there.
        self._stops: list[tuple[bytes, int]] = []
        data, at = b"", 0
        while len(data) < _MAX_BYTES:
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
        """How many bytes it may have."""
        return len(self._stops[-1][0]) if self._stops else 0

    def first(self, count: int) -> bytes:
        """Give as many bytes, or fewer where it has not so many."""
        return next((data for data, _ in self._stops if len(data) >= count), b"")[:count]

    def all(self) -> bytes:
        """Give its bytes where no next line says how many they are."""
        for data, at in self._stops:
            characters = self._rest[at:].strip()
            if characters[:1] in (b"|", b">") and _same(characters[1:-1], data):
                return data
            if characters and _same(characters, data):
                return data
        return self._stops[-1][0] if self._stops else b""


def _same(characters: bytes, data: bytes) -> bool:
    """Whether they are those of the bytes, but for blanks: one is between two eights of them."""
    return characters.replace(b" ", b"") == data.translate(_PRINTABLE).replace(b" ", b"")


class _Side:
    """The lines of one indentation: of one side of a connection."""

    def __init__(self) -> None:
        self.blocks: list[bytearray] = []
        # Whether these are lines of a dump, and no text that looks so by chance.
        self.is_certain = False
        self._offset = 0
        self._line: _Line | None = None
        self._width = 0
        self._is_first = True
        self._is_repeated = False
        self._base = 16

    def repeat(self) -> None:
        """Take a ``*``: the line before stands for all up to the next offset."""
        self._is_repeated = self._line is not None

    def take(self, digits: bytes, line: _Line, is_set_apart: bool) -> None:
        """Take a line, whose offset may be set apart from its bytes."""
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
        """Read the offset of the next line: in hex or, for od and xxd -d, to another base."""
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
        """Add the bytes of a line, up to an offset."""
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
        """Add the last line of a dump; one alone only if it starts at 0."""
        line, self._line, self._is_repeated = self._line, None, False
        if line is not None and line.most and not (self._is_first and self._offset):
            data = line.all()
            block = self._block()
            block += data[: self._width] if self._width else data


def read_hex_dump(text: bytes) -> list[list[bytearray]] | None:
    """Read the hex dumps in a text.

    Parameters
    ----------
    text : bytes
        The text; lines that are not of a dump are passed over.

    Returns
    -------
    list of list of bytearray or None
        For each side of a connection its dumps; one side but for Wireshark's "Follow TCP Stream",
        which indents the second. None where there is no dump.
    """
    sides: dict[bytes, _Side] = {}
    last: _Side | None = None
    for raw in BytesIO(text):
        found = _LINE.match(raw[:_MAX_LINE])
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
