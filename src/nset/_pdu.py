"""What both twins know of PDUs (PS3.8 Section 9.3): numbers, limits and error texts."""

import logging
from typing import Any

from nset import _rules
from nset._command_set import CommandSetError

_LOGGER = logging.getLogger("nset")

ASSOCIATE_RQ = 0x01
ASSOCIATE_AC = 0x02
P_DATA_TF = 0x04
ABORT = LAST_PDU_TYPE = 0x07
"""PDU types are 01H to 07H (PS3.8 Section 9.3.1)."""

HEADER_LENGTH = 6
"""Bytes of a PDU up to the end of its length field."""

PDV_HEADER_LENGTH = 6
"""Of a PDV: its length field, the presentation context ID and the message control header."""

IS_COMMAND = 0x01
IS_LAST = 0x02
"""Bits of the message control header (PS3.8 Section E.2)."""

# Reasons of an A-ABORT that the service provider has caused (PS3.8 Table 9-26).
UNRECOGNIZED_PDU = 1
UNEXPECTED_PDU = 2
INVALID_PDU_PARAMETER = 6

# How a handler is called.
IN_WORKER = 0
IN_LOOP = 1
AS_TASK = 2

AT_A_TIME = 64
"""What an association may cost in one turn of the loop, in units: an N-SET request is one."""

PDU_COST = 16
"""Of a PDU, or part of one, that the slow path takes."""

PDVS_AT_A_TIME = 256
"""Most PDVs that are looked at in one go; they cost as much as a PDU."""

MAX_WEIGHT = 32
COMMAND_WEIGHT = 8
"""What the slow path takes of a PDU in one go: so many PDVs; the last one of a command set counts
as several, as a message is behind it."""

LONG_PDU = 0x100000
PIECE = 0x10000
"""Bytes. Of a P-DATA-TF PDU that is longer, pieces of its PDVs are taken as they come."""

MAX_EMPTY_FRAGMENTS = 8
"""Most fragments without a byte that a command set, or a data set, may have before its last."""


class PduError(ValueError):
    """A PDU that can't be read.

    Parameters
    ----------
    reason : str
        What is wrong, in a sentence.
    diagnostic : int
        The reason to give in the A-ABORT (PS3.8 Table 9-26).

    Attributes
    ----------
    diagnostic : int
        As given.
    """

    def __init__(self, reason: str, diagnostic: int) -> None:
        super().__init__(reason, diagnostic)
        self.diagnostic = diagnostic

    def __str__(self) -> str:
        return str(self.args[0])


BEGINNING = 16
"""Bytes that are looked at to tell what else has come instead of a PDU; 6 at least."""

# How those begin who take the port for another one.
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
    """For the first byte of no PDU, and a few more that came with it."""
    for beginning, name in _OTHER_PROTOCOLS:
        if data.startswith(beginning[: len(data)]):  # the rest may not have come yet
            return PduError(f"{name}, which is no PDU", UNRECOGNIZED_PDU)
    return PduError(f"unknown PDU type 0x{data[0]:02X}", UNRECOGNIZED_PDU)


def too_long(kind: int, length: int, limit: int) -> PduError:
    """For a PDU-length that is over the limit."""
    name = "pdu_length" if kind == P_DATA_TF else "negotiation_length"
    return PduError(
        f"a PDU of type 0x{kind:02X} of {length} bytes, {limit} are allowed (Limits({name}=...))",
        INVALID_PDU_PARAMETER,
    )


def malformed() -> PduError:
    """For a P-DATA-TF PDU that is not PDVs to its end (PS3.8 Section 9.3.5)."""
    return PduError("a P-DATA-TF PDU that is not PDVs to its end", INVALID_PDU_PARAMETER)


def too_many_empty_fragments() -> CommandSetError:
    """For fragments that bring nothing, and of which there could be no end."""
    return CommandSetError(f"more than {MAX_EMPTY_FRAGMENTS} fragments without a byte")


def command_among_data() -> CommandSetError:
    """For a command fragment where the data set is not complete."""
    return CommandSetError("a fragment of a command set among those of a data set")


def data_before_command() -> CommandSetError:
    """For a data set fragment where the command set is not complete."""
    return CommandSetError("a fragment of a data set before the last of the command set")


def context_change(context_id: int, expected: int) -> CommandSetError:
    """For a PDV of another presentation context than the message that it is in."""
    return CommandSetError(
        f"presentation context {context_id} within a message of context {expected}"
    )


def may_be_of(contexts: dict[int, Any], context_id: int, expected: int, is_told: bool) -> bool:
    """Tell whether a fragment of a data set can be of a message in another presentation context.

    It can where both contexts have been accepted with one transfer syntax: messages do not mix
    (PS3.8 Annex E), so it can be of no other, and its bytes mean the same.

    Parameters
    ----------
    contexts : dict
        The accepted presentation contexts by ID.
    context_id : int
        Of the fragment.
    expected : int
        Of the message.
    is_told : bool
        Whether the log tells already that some of the message have come so.

    Returns
    -------
    bool
        Whether it can.
    """
    other, own = contexts.get(context_id), contexts.get(expected)
    if other is None or own is None or other.transfer_syntax != own.transfer_syntax:
        return False
    if not is_told:
        _LOGGER.warning("%s, with the same transfer syntax", context_change(context_id, expected))
    return True


def command_set_too_long() -> CommandSetError:
    """For more fragments of a command set than are collected."""
    return CommandSetError(
        f"a command set of more than {_rules.MAX_COMMAND_SET_LENGTH} bytes",
        status=_rules.RESOURCE_LIMITATION,
    )


def data_set_too_long(limit: int, message_id: int | None) -> CommandSetError:
    """For a data set over the limit; with the Message ID where the request can be answered."""
    error = CommandSetError(
        f"a data set of more than {limit} bytes", status=_rules.RESOURCE_LIMITATION
    )
    error.message_id = message_id
    return error
