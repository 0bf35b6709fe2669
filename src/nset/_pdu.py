"""PDUs (PS3.8 Section 9.3): numbers and error texts."""

import logging
from typing import Any

from nset import _rules
from nset._errors import CommandSetError

_LOGGER = logging.getLogger("nset")

ASSOCIATE_RQ = 0x01
ASSOCIATE_AC = 0x02
ASSOCIATE_RJ = 0x03
P_DATA_TF = 0x04
RELEASE_RQ = 0x05
RELEASE_RP = 0x06
ABORT = LAST_PDU_TYPE = 0x07
PDU_NAMES = {
    ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    ASSOCIATE_AC: "A-ASSOCIATE-AC",
    ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    P_DATA_TF: "P-DATA-TF",
    RELEASE_RQ: "A-RELEASE-RQ",
    RELEASE_RP: "A-RELEASE-RP",
    ABORT: "A-ABORT",
}
"""PDU types (PS3.8 Section 9.3.1)."""

HEADER_LENGTH = 6
"""Bytes of a PDU up to the end of its PDU-length field."""

PDV_HEADER_LENGTH = 6
"""Of a PDV: its length field, the presentation context ID and the message control header."""

IS_COMMAND = 0x01
IS_LAST = 0x02
"""Bits of the message control header (PS3.8 Section E.2)."""

# Reasons of an A-ABORT of the service provider (PS3.8 Table 9-26).
UNRECOGNIZED_PDU = 1
UNEXPECTED_PDU = 2
INVALID_PDU_PARAMETER = 6


class PduError(ValueError):
    """A PDU that cannot be processed, and the reason for the A-ABORT (PS3.8 Table 9-26)."""

    def __init__(self, reason: str, diagnostic: int) -> None:
        super().__init__(reason, diagnostic)
        self.diagnostic = diagnostic

    def __str__(self) -> str:
        return str(self.args[0])


def command_among_data() -> CommandSetError:
    """Return the error for a command fragment before the end of the data set."""
    return CommandSetError("a fragment of a command set among those of a data set")


def data_before_command() -> CommandSetError:
    """Return the error for a data set fragment before the end of the command set."""
    return CommandSetError("a fragment of a data set before the last of the command set")


def context_change(context_id: int | None, expected: int | None) -> CommandSetError:
    """Return the error for a PDV in another presentation context than its message."""
    return CommandSetError(
        f"presentation context {context_id} within a message of context {expected}"
    )


def may_be_of(contexts: dict[int, Any], context_id: int, expected: int, is_logged: bool) -> bool:
    """Return whether a data set fragment may belong to a message in another presentation context.

    It may if both contexts were accepted with the same transfer syntax: messages do not mix (PS3.8
    Annex E), so it belongs to no other message, and its bytes have the same meaning. Log that,
    unless `is_logged` says that it was for this message.
    """
    other, own = contexts.get(context_id), contexts.get(expected)
    if other is None or own is None or other.transfer_syntax != own.transfer_syntax:
        return False
    if not is_logged:
        _LOGGER.warning("%s, with the same transfer syntax", context_change(context_id, expected))
    return True


def command_set_too_long() -> CommandSetError:
    """Return the error for a command set over the limit."""
    return CommandSetError(
        f"a command set of more than {_rules.MAX_COMMAND_SET_LENGTH} bytes",
        status=_rules.RESOURCE_LIMITATION,
    )


def data_set_too_long(limit: int, message_id: int | None) -> CommandSetError:
    """Return the error for a data set over the limit; the Message ID, if a response is possible."""
    error = CommandSetError(
        f"a data set of more than {limit} bytes", status=_rules.RESOURCE_LIMITATION
    )
    error.message_id = message_id
    return error
