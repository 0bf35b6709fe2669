"""Limits and error texts of the PDU reader and the fast path, once for both implementations."""

import logging
from functools import partial

from nset._errors import CommandSetError
from nset._pdu import INVALID_PDU_PARAMETER, P_DATA_TF, RELEASE_RP, UNRECOGNIZED_PDU, PduError

# How a handler is called.
IN_WORKER = 0
IN_LOOP = 1
AS_TASK = 2

MAX_COST_PER_TURN = 64
"""Units that an association may cost in one turn of the loop: a request is one."""

PDU_COST = 16
"""Of a PDU, or part of one, that the slow path takes."""

ENCODING_COST = 4
"""Of a data set in an answer, encoded in the loop."""

BYTES_PER_COST = 0x8000
"""Received bytes that cost as much as a request: uvloop reads 32 times in a turn of the loop."""

MAX_PDVS_PER_CALL = 256
"""The most PDVs that are processed without a break; they cost as much as a PDU."""

MAX_WEIGHT = 32
COMMAND_WEIGHT = 8
"""What the slow path takes of a PDU in one go: so many PDVs; the last one of a command set counts
as several, as a message is behind it."""

LONG_PDU = 0x100000
PIECE = 0x10000
"""Bytes. The PDVs of a longer P-DATA-TF PDU are processed in pieces as they arrive."""

MAX_EMPTY_FRAGMENTS = 8
"""The most empty fragments of a command set, or of a data set, before its last one."""

UNKNOWN_ADDRESS = ("0.0.0.0", 0)
"""Of a peer that has reset the connection before it was accepted; pynetdicom looks up what is no
address."""

CLOSE_SECONDS = 2.0
"""Time for a peer to close the connection once the association is over: the ARTIM timer, unless the
ACSE timeout is less."""

MAX_DRAINED_BYTES = 0x100000
"""What a peer may send meanwhile; it is discarded."""

DEBUG, INFO = logging.DEBUG, logging.INFO

A_RELEASE_RP = bytes((RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))

RELEASE_LOGGER = logging.getLogger("pynetdicom.association")
log_release = partial(RELEASE_LOGGER.info, "Association Released")

BEGINNING = 16
"""Bytes by which other protocols are recognized; at least 6."""

# The first bytes of clients that expect another protocol at the port.
_OTHER_PROTOCOLS = (
    (b"\x16\x03", "a TLS hello"),
    (b"SSH-", "an SSH banner"),
    (b"PROXY ", "a PROXY header"),
    (b"\r\n\r\n\0\r\nQUIT\n", "a PROXY header"),
    *(
        (method + b" ", "an HTTP request")
        for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PRI")
    ),
)


def unknown_type(data: bytes) -> PduError:
    """Return the error for an unknown PDU type, by its first bytes."""
    for beginning, name in _OTHER_PROTOCOLS:
        if data.startswith(beginning[: len(data)]):  # the rest may not have come yet
            return PduError(f"{name}, which is no PDU", UNRECOGNIZED_PDU)
    return PduError(f"unknown PDU type 0x{data[0]:02X}", UNRECOGNIZED_PDU)


def too_long(kind: int, length: int, limit: int) -> PduError:
    """Return the error for a PDU-length over the limit."""
    name = "pdu_length" if kind == P_DATA_TF else "negotiation_length"
    return PduError(
        f"a PDU of type 0x{kind:02X} of {length} bytes, {limit} are allowed (Limits({name}=...))",
        INVALID_PDU_PARAMETER,
    )


def malformed() -> PduError:
    """Return the error for a P-DATA-TF PDU with invalid PDVs (PS3.8 Section 9.3.5)."""
    return PduError("a P-DATA-TF PDU that is not PDVs to its end", INVALID_PDU_PARAMETER)


def too_many_empty_fragments() -> CommandSetError:
    """Return the error for too many empty fragments."""
    return CommandSetError(f"more than {MAX_EMPTY_FRAGMENTS} fragments without a byte")
