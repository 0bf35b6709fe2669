"""Command sets to try: golden ones and random ones, and pynetdicom's own codec to compare with."""

import ast
import functools
import json
import random
import struct
from io import BytesIO
from typing import Any, NamedTuple

import paths
import pytest
import uids
from outcome import Outcome, recording, without_origins
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID
from pynetdicom import dimse_primitives
from pynetdicom.dimse_messages import N_SET_RQ, N_SET_RSP, DIMSEMessage
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.tests import encoded_dimse_n_msg
from values import NONCONFORMANT_UIDS, Code, OwnUID, Text

STOCK = dimse_primitives.N_SET
DATA = paths.DATA / "command_sets.json"
DELETED = object()

TAGS = {
    "AffectedSOPClassUID": 0x0002,
    "RequestedSOPClassUID": 0x0003,
    "MessageID": 0x0110,
    "MessageIDBeingRespondedTo": 0x0120,
    "Status": 0x0900,
    "OffendingElement": 0x0901,
    "ErrorComment": 0x0902,
    "ErrorID": 0x0903,
    "AffectedSOPInstanceUID": 0x1000,
    "RequestedSOPInstanceUID": 0x1001,
    "AttributeIdentifierList": 0x1005,
}


# -- By hand --------------------------------------------------------------------------------------


def element(tag: int, value: bytes | int, length: int | None = None) -> bytes:
    """An element with implicit VR; an int is a US."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    length = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length) + value


def command_set(*elements: bytes) -> bytes:
    """The elements behind their group length."""
    body = b"".join(elements)
    return element(0x0000, struct.pack("<I", len(body))) + body


def joined(elements: dict[int, bytes | int]) -> bytes:
    """The elements by their tags, in ascending order, behind their group length."""
    return command_set(*(element(tag, elements[tag]) for tag in sorted(elements)))


def explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element with explicit VR and a length of 2 bytes."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


class Golden(NamedTuple):
    """A command set and what it says."""

    data: bytes
    fields: dict[str, Any]

    @property
    def has_data_set(self) -> bool:
        return element(0x0800, 0x0101) not in self.data


def golden() -> dict[str, Golden]:
    """Command sets written by hand from PS3.7."""
    found = json.loads(DATA.read_text(encoding="ascii"))
    return {
        name: Golden(bytes.fromhex("".join(one["elements"])), one["fields"])
        for name, one in found.items()
    }


def upstream() -> dict[str, bytes]:
    """What pynetdicom's own tests take for N-SET command sets."""
    found = {name: data for name, data in vars(encoded_dimse_n_msg).items() if "n_set_r" in name}
    return {name: data[1:] for name, data in found.items() if "cmd" in name}


# -- pynetdicom -----------------------------------------------------------------------------------


def build(cls: type, fields: dict[str, Any]) -> Any:
    """A primitive with these fields, set one by one."""
    primitive = cls()
    for keyword, value in fields.items():
        if value is DELETED:
            delattr(primitive, keyword)
        else:
            setattr(primitive, keyword, value)
    return primitive


def stock_primitive(fields: dict[str, Any]) -> Any:
    """pynetdicom's primitive; an empty list is None there, where it would announce a data set."""
    streams = {name: value for name, value in fields.items() if isinstance(value, BytesIO)}
    empty = [name for name, stream in streams.items() if not stream.getvalue()]
    return build(STOCK, {**fields, **dict.fromkeys(empty)})


def stock_encode(primitive: Any) -> bytes:
    """The command set that pynetdicom sends, with the OffendingElement that it leaves out."""
    is_response = primitive.MessageIDBeingRespondedTo is not None
    message = N_SET_RSP() if is_response else N_SET_RQ()
    message.primitive_to_message(primitive)
    offending = getattr(primitive, "OffendingElement", None)
    if is_response and offending is not None:
        message.command_set.OffendingElement = offending
        message._set_command_group_length()
    return encode(message.command_set, True, True)


def stock_decode(data: bytes) -> Any:
    """What pynetdicom makes of a command set."""
    pdata = P_DATA()
    pdata.presentation_data_value_list = [[1, b"\x03" + data]]
    message = DIMSEMessage()
    message.decode_msg(pdata)
    primitive = message.message_to_primitive()
    primitive._context_id = None
    return primitive


# -- Random primitives ----------------------------------------------------------------------------

ODD_UIDS = [
    uid
    for name, uid in NONCONFORMANT_UIDS.items()
    if len(uid) <= 64 and name not in ("Arabic digit", "surrogate")
]
PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("\\", "")


def random_uid(rng: random.Random) -> Any:
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice((None, "", b"", UID("")))
    if kind == 1:
        return rng.choice(ODD_UIDS)
    if kind == 2:
        text = rng.choice((uids.mutated, uids.padded))(rng)
        if len(text) <= 64 and all(ord(character) < 256 for character in text):
            return text
    text = uids.good(rng)
    return rng.choice((text, text, text.encode("ascii"), UID(text), OwnUID(text), Text(text)))


def random_us(rng: random.Random) -> int:
    return rng.choice((rng.randrange(0x10000), rng.randrange(0x100), 0, 0xFFFF, True, Code.SEVEN))


def random_tag(rng: random.Random) -> Any:
    number = rng.choice((rng.randrange(2**32), rng.randrange(2**16), 0, 2**32 - 1))
    group, item = number >> 16, number & 0xFFFF
    return rng.choice(
        (
            *(number, Tag(number), (group, item), [group, item]),
            *("PatientName", "00100010", (f"{group:x}", f"{item:x}")),
        )
    )


def random_tags(rng: random.Random) -> Any:
    """What an AT element of VM 1-n may be set to."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(([], "", None, DELETED, MultiValue(Tag, [])))
    if kind == 1:
        # Of a list a single tag is one with two numbers in it.
        tag = random_tag(rng)
        return [tag] if isinstance(tag, list) else tag
    tags = [random_tag(rng) for _ in range(rng.randrange(1, 6))]
    return MultiValue(Tag, tags) if kind == 2 else tags


def random_comment(rng: random.Random) -> Any:
    text = "".join(rng.choices(PRINTABLE, k=rng.choice((0, 1, 63, 64, rng.randrange(65)))))
    return rng.choice((text, text, text.encode("ascii"), None, DELETED))


def random_fields(rng: random.Random) -> dict[str, Any]:
    """What a program might set: of a request, a response, or both."""
    fields: dict[str, Any] = {}
    for keyword in rng.sample(sorted(TAGS), k=rng.randrange(4, len(TAGS) + 1)):
        if keyword.endswith("UID"):
            fields[keyword] = random_uid(rng)
        elif keyword.startswith("MessageID"):
            fields[keyword] = rng.choice((random_us(rng), random_us(rng), None))
        elif keyword == "Status":
            fields[keyword] = rng.choice((random_us(rng), random_us(rng), 0x0110, 0x0107, None))
        elif keyword == "ErrorID":
            fields[keyword] = rng.choice((random_us(rng), random_us(rng), [], None, DELETED))
        elif keyword == "ErrorComment":
            fields[keyword] = random_comment(rng)
        else:
            fields[keyword] = random_tags(rng)
    # pynetdicom has none to delete
    if fields.get("OffendingElement") is DELETED:
        del fields["OffendingElement"]
    data_set = rng.choice((b"data", b"odd", b"", b"\x00" * 1000, None))
    name = rng.choice(("ModificationList", "AttributeList"))
    fields[name] = None if data_set is None else BytesIO(data_set)
    if rng.random() < 0.1:
        fields["extra"] = 1  # keeps the C extension off its fast path
    return fields


class Random(NamedTuple):
    """A random primitive's fields, what pynetdicom sends for it, and what it says meanwhile."""

    fields: dict[str, Any]
    data: bytes
    outcome: Outcome


SEEDS = [3, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in (4, 5, 6, 7))]
"""Of random primitives."""


@functools.cache
def random_primitives(seed: int) -> list[Random]:
    """1,000 of them, requests and responses by halves."""
    rng = random.Random(seed)
    found = []
    with without_origins(), recording() as outcome:
        for _ in range(1000):
            fields = random_fields(rng)
            sent = outcome(stock_encode, stock_primitive(fields))
            assert sent.error is None, fields
            found.append(Random(fields, ast.literal_eval(sent.value[1]), sent))
    return found
