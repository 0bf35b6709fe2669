"""The operations that are compared, a line of the table each, with their targets."""

import sys
from dataclasses import dataclass

from timing import Operation


@dataclass(frozen=True)
class Row:
    """An operation, and how many times as fast as pynetdicom each implementation is to be."""

    operation: Operation
    compiled: float
    python: float = 1.0


# CPython 3.12 made pynetdicom's own getters faster.
GET = 2.0 if sys.version_info < (3, 12) else 1.8

# pynetdicom's own encoder, and what it made of the request.
ENCODE = """
from io import BytesIO
from pynetdicom.dimse_messages import N_SET_RQ
from pynetdicom.dsutils import decode, encode

message = N_SET_RQ()
message.primitive_to_message(primitive)
data = encode(message.command_set, True, True)
"""


def _build(instance: str) -> tuple[str, str]:
    return (
        "request = N_SET(); request.MessageID = 7; request.RequestedSOPClassUID = sop_class; "
        f"request.RequestedSOPInstanceUID = {instance}; request.ModificationList = stream; "
        "request.is_valid_request",
        f"request.RequestedSOPInstanceUID == {instance} and request.is_valid_request",
    )


ROWS = (
    Row(
        Operation("create: N_SET()", "new = N_SET()", "new.MessageID is None"),
        compiled=1,
    ),
    Row(
        Operation("get MessageID", "primitive.MessageID", "primitive.MessageID == 1"),
        compiled=GET,
    ),
    Row(
        Operation("set MessageID", "primitive.MessageID = 7", "primitive.MessageID == 7"),
        compiled=3,
    ),
    Row(
        Operation(
            "set a UID from str, SOP Class seen before",
            "primitive.RequestedSOPClassUID = sop_class",
            "primitive.RequestedSOPClassUID == sop_class",
        ),
        compiled=130,
    ),
    Row(
        Operation(
            "set a UID from str, never seen",
            "primitive.RequestedSOPInstanceUID = unseen",
            "primitive.RequestedSOPInstanceUID == unseen",
        ),
        compiled=130,
    ),
    Row(
        Operation(
            "set a UID from UID",
            "primitive.RequestedSOPClassUID = uid",
            "primitive.RequestedSOPClassUID == uid",
        ),
        compiled=130,
    ),
    Row(
        Operation("is_valid_request", "primitive.is_valid_request", "primitive.is_valid_request"),
        compiled=15,
    ),
    Row(
        Operation("build and validate a request", *_build("instance")),
        compiled=55,
        python=10,
    ),
    Row(
        Operation("the same, instance never seen", *_build("unseen")),
        compiled=55,
        python=10,
    ),
    Row(
        Operation(
            "encode: request to command set",
            "data = primitive.to_command_set()",
            "data == encode(message.command_set, True, True)",
            pynetdicom="message = N_SET_RQ(); message.primitive_to_message(primitive); "
            "data = encode(message.command_set, True, True)",
            setup=ENCODE,
        ),
        compiled=3000,
        python=100,
    ),
    Row(
        Operation(
            "decode: command set to request, UIDs read",
            "request = N_SET.from_command_set(data); "
            "request.RequestedSOPClassUID; request.RequestedSOPInstanceUID",
            "request.RequestedSOPInstanceUID == primitive.RequestedSOPInstanceUID",
            pynetdicom="message = N_SET_RQ(); "
            "message.command_set = decode(BytesIO(data), True, True); "
            "request = message.message_to_primitive(); "
            "request.RequestedSOPClassUID; request.RequestedSOPInstanceUID",
            setup=ENCODE,
        ),
        compiled=500,
        python=25,
    ),
)
