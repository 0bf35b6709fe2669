"""Detects the format of bytes: a command set, PDVs or PDUs."""

import re
import struct
from typing import Final

from nset._errors import count_of_bytes
from nset._pdu import IS_COMMAND, IS_LAST, PDU_NAMES
from nset.dump._capture import Undecodable

COMMAND_SET: Final = "command set"
FRAGMENT: Final = "message control header and fragment"
PDVS: Final = "PDVs"
PDUS: Final = "PDUs"

PDU_HEADER: Final = struct.Struct(">BBL")
PDV_HEADER: Final = struct.Struct(">LBB")

# The start of a PDU by more than its type: of a P-DATA-TF, by its first PDV.
_PDU: Final = re.compile(
    rb"\x04\x00(?=....(....)[%b][\x00-\x03])"
    rb"|[\x01\x02]\x00\x00...\x00\x01\x00\x00"
    rb"|[\x03\x05-\x07]\x00\x00\x00\x00\x04\x00[\x00-\x02][\x00-\x03][\x00-\x07]"
    % b"".join(b"\\x%02x" % number for number in range(1, 256, 2)),
    re.DOTALL,
)
_MAX_SEARCHED_PDU_BYTES: Final = 0x1000000
"""In a search for the start of a PDU, a longer one is taken for a coincidence."""


def form_of(data: bytes) -> str:
    """Return the format of the bytes, by bytes that no other format can have there."""
    if not data:
        raise Undecodable("nothing to decode, the input is empty")
    if data[128:132] == b"DICM":
        raise Undecodable("a DICOM file (PS3.10), not a message")
    # 01H and 03H are also PDU types, but those PDUs have no small number there.
    if data[0] in (IS_COMMAND, IS_COMMAND | IS_LAST) and begins_command_set(data, 1):
        return FRAGMENT
    if data[0] in PDU_NAMES and data[1:2] in (b"", b"\0"):
        return PDUS
    if _begins_pdv(data):
        return PDVS
    if begins_command_set(data, 0) or (len(data) < 8 and data.startswith(b"\0\0")):
        return COMMAND_SET
    raise Undecodable(
        f"neither a command set nor a PDV nor PDUs: {count_of_bytes(len(data))}, "
        f"the first are {data[:8].hex(' ').upper()}"
    )


def begins_command_set(data: bytes, at: int) -> bool:
    """Return whether an element of group 0000 may start here: it has a small length, or a VR."""
    if len(data) < at + 8 or data[at : at + 2] != b"\0\0":
        return False
    vr = data[at + 4 : at + 6]
    return data[at + 6 : at + 8] == b"\0\0" or (vr.isalpha() and vr.isupper())


def _begins_pdv(data: bytes) -> bool:
    """Return whether a PDV may start here: its odd context ID is where an element has a length."""
    if len(data) < PDV_HEADER.size:
        return False
    length, context_id, header = PDV_HEADER.unpack_from(data)
    if length < 2 or context_id % 2 == 0 or header > (IS_COMMAND | IS_LAST):
        return False
    if 4 + length <= len(data):
        return True
    return bool(header & IS_COMMAND) and begins_command_set(data, PDV_HEADER.size)


def find_pdu(data: bytes, at: int) -> int | None:
    """Return the next offset, from `at` on, at which a PDU seems to start; parts may be missing."""
    found = _PDU.search(data, at)
    while found is not None:
        start = found.start()
        _, _, length = PDU_HEADER.unpack_from(data, start)
        pdv = found[1]
        if length <= _MAX_SEARCHED_PDU_BYTES and (
            pdv is None or 2 <= int.from_bytes(pdv, "big") <= length - 4
        ):
            stop = start + PDU_HEADER.size + length
            if stop >= len(data) or (
                data[stop] in PDU_NAMES and data[stop + 1 : stop + 2] <= b"\0"
            ):
                return start
        found = _PDU.search(data, start + 1)
    return None
