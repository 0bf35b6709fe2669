"""Encoded data sets, ordinary and odd; and all that there is of a decoded one."""

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from random import Random
from types import FunctionType
from typing import Any

from pydicom import Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import RawDataElement
from pydicom.dataset import PrivateBlock
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

IMPLICIT, EXPLICIT = str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)
BIG, DEFLATED = str(ExplicitVRBigEndian), str(DeflatedExplicitVRLittleEndian)

UNDEFINED = 0xFFFFFFFF
LONG_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
VRS = [
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF"),
    *("OL", "OV", "OW", "PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN"),
    *("UR", "US", "UT", "UV"),
]
TAGS: dict[str, list[int]] = {}
for _tag, _entry in DicomDictionary.items():
    if _tag > 0x00080005:
        TAGS.setdefault(_entry[0], []).append(_tag)

CHARACTER_SETS = [
    *(b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 13", b"ISO_IR 144", b"GB18030"),
    *(b"ISO_IR 100 ", b"\\ISO 2022 IR 87", b"ISO 2022 IR 6\\ISO 2022 IR 149", b"ISO_IR 999"),
    *(b"ISO-IR 100", b"ISO_IR 192\\ISO 2022 IR 87", b"latin_1", b"ISO_IR 192"),
]
TEXTS = [
    *(b"", b"Head", b"Head ", b"Head\0", b" Head", b"Sch\xe4del", "Schädel".encode(), b"A\\B"),
    *(b"A \\B ", b"\x1b$B;3ED\x1b(B", b"x" * 17, b"x" * 65, b"\r\n", b"  ", b"\\", b"\xff\xfe"),
    *("頭".encode(), b"tab\there", b"x" * 1025, b"a\0b", "頭".encode("gb18030"), b"\xa0x\x85"),
]
NAMES = [
    *(b"Curie^Marie", b"Curie^Marie ", b"", b"A=B=C", b"A^B\\C^D", b"=", b"A=", b"Bj\xf6rk"),
    *("Björk^B".encode(), b"x" * 65, b"^^^", b"\x1b$B;3ED\x1b(B=x", b"A=B=C=D", b"A\0", b" A"),
]
NUMBERS = [
    *(b"1", b"12 ", b"-5", b"+5", b"007", b" 7", b"1.5", b"1.0", b"-1.25e3", b"1E5", b".5", b"5."),
    *(b"", b" ", b"1\\2\\3", b"1 \\2", b"1\\\\2", b"abc", b"1.2.3", b"9" * 13, b"1" * 17, b"nan"),
    *(b"inf", b"1_0", b"1\0", b"2147483648", b"-", b"e5", b"0x1", b"1.5\\2.5", b"1e400", b"-0"),
]
UIDS = [
    *(b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.3", b"1.2.3 ", b"1.02.3"),
    *(b"", b"1.2.", b"1..2", b".1", b"1.2.3\\4.5.6", b"1" * 65, b"1.2.a", b" 1.2", b"0", b"1.0.2"),
]
DATES = [
    b"20260101",
    b"2026",
    b"20260101-20260102",
    b"",
    b"xyz",
    b"20261399",
    b"20260101 ",
    b"A\\B",
]
TIMES = [b"101530", b"10", b"101530.123456", b"", b"25", b"10:15", b"101530 ", b"10-11"]
CODES = [b"CT", b"ORIGINAL\\PRIMARY", b"ct", b"", b"CT ", b"A\\", b"x" * 17, b"\xe4", b" CT", b"\0"]
WIDTHS = {"US": 2, "SS": 2, "AT": 4, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "UV": 8, "SV": 8}
BY_VR = {
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE"), TEXTS),
    **dict.fromkeys(("IS", "DS"), NUMBERS),
    **dict.fromkeys(("CS", "AS"), CODES),
    **dict.fromkeys(("TM",), TIMES),
    **dict.fromkeys(("DA", "DT"), DATES),
    "PN": NAMES,
    "UI": UIDS,
}


def encoded_element(
    tag: int, vr: str, value: bytes, *, implicit: bool, undefined: bool = False
) -> bytes:
    """An element in little endian; the value is taken as it is."""
    length = UNDEFINED if undefined else len(value)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        head += struct.pack("<L", length)
    elif vr in LONG_VRS:
        head += struct.pack("<2s2xL", vr.encode(), length)
    else:
        head += struct.pack("<2sH", vr.encode(), length & 0xFFFF)
    return head + value


def encoded_item(value: bytes, *, undefined: bool = False) -> bytes:
    """An item."""
    if undefined:
        return struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED) + value + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def nested(depth: int, *, implicit: bool = True, undefined: bool = False) -> bytes:
    """A data set with sequences that are nested in each other."""
    data = b""
    for _ in range(depth):
        data = encoded_item(data, undefined=undefined) + (SEQUENCE_END if undefined else b"")
        data = encoded_element(0x00081115, "SQ", data, implicit=implicit, undefined=undefined)
    return data


def random_value(rng: Random, vr: str) -> bytes:
    """A value, most often one that the VR allows."""
    if vr in BY_VR:
        value: bytes = rng.choice(BY_VR[vr])
        return value + b" " * (len(value) % 2 and rng.random() < 0.8)
    if vr in WIDTHS and rng.random() < 0.9:
        return rng.randbytes(WIDTHS[vr] * rng.choice((1, 1, 1, 0, 2, 3)))
    return rng.randbytes(rng.choice((0, 1, 2, 3, 4, 8, 40)))


def random_data_set(rng: Random, *, implicit: bool, depth: int = 0) -> bytes:
    """An encoded data set of what may come."""
    data = b""
    if rng.random() < 0.3:
        value = rng.choice(CHARACTER_SETS)
        data += encoded_element(0x00080005, "CS", value, implicit=implicit)
    tags = {}
    for _ in range(rng.choice((0, 1, 2, 5))):
        vr = rng.choice(VRS)
        if vr == "SQ" and depth > 3:
            continue
        tags[rng.choice(TAGS.get(vr, TAGS["LO"]))] = vr
    if rng.random() < 0.2:
        ambiguous = rng.choice(("US or SS", "OB or OW", "US or OW"))
        tags[rng.choice(TAGS[ambiguous])] = rng.choice(("US", "OW", "SS"))
    if rng.random() < 0.15:
        tags[0x00280103] = "US"
    if rng.random() < 0.2:
        tags[0x00090010], tags[0x00091001], tags[0x00091002] = "LO", "LO", rng.choice(VRS)
        if rng.random() < 0.5:
            tags[rng.choice((0x00090000, 0x00091201, 0x00080000, 0x60003000, 0x00081234))] = "UL"
    order = list(tags)
    if rng.random() < 0.9:
        order.sort()
    for tag in order:
        vr = tags[tag]
        if not implicit and rng.random() < 0.05:
            vr = "UN"
        if vr != "SQ":
            value = random_value(rng, vr)
            if tag == 0x00090010:
                value = rng.choice((b"ACME 1.1", b"SIEMENS MED NM", b"GEMS_PARM_01"))
            data += encoded_element(tag, vr, value, implicit=implicit)
            continue
        undefined = rng.random() < 0.4
        value = b"".join(
            encoded_item(
                random_data_set(rng, implicit=implicit, depth=depth + 1),
                undefined=rng.random() < 0.4,
            )
            for _ in range(rng.choice((0, 1, 1, 2)))
        ) + (SEQUENCE_END if undefined else b"")
        data += encoded_element(tag, vr, value, implicit=implicit, undefined=undefined)
    return data


def damaged(rng: Random, data: bytes) -> bytes:
    """The same with a few bytes changed, left out or put in; or its end cut off."""
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(broken) + 1)
        what = rng.randrange(4)
        if what == 0:
            broken[at : at + 1] = rng.randbytes(1)
        elif what == 1:
            del broken[at : at + rng.choice((1, 2, 8))]
        elif what == 2:
            broken[at:at] = rng.choice(
                (b"\0", b"\xff\xff\xff\xff", SEQUENCE_END, b"\xfe\xff\x00\xe0")
            )
        else:
            del broken[at:]
    return bytes(broken)


# No two of one class are equal and yet differ, as 0.0 and -0.0 do; NaN is not equal to itself.
_PLAIN = frozenset((str, bytes, int, bool, type(None)))


def state(thing: Any, above: tuple[int, ...] = ()) -> Any:
    """All that there is of a value, with the attributes of each object in their order.

    `above` are the objects that it is in: where a Pixel Representation is a sequence, pydicom has
    each item of it refer to the sequence.
    """
    name = type(thing).__name__
    if type(thing) in _PLAIN:  # most of them
        return name, thing
    if isinstance(thing, dict):
        return name, [(state(key), state(value, above)) for key, value in thing.items()]
    if isinstance(thing, (list, tuple)):
        return name, [state(value, above) for value in thing]
    if isinstance(thing, (FunctionType, type)):
        return name, thing.__qualname__
    attributes = getattr(thing, "__dict__", None)
    if attributes is None:
        return name, repr(thing)
    if isinstance(thing, PrivateBlock):  # it knows the data set that it is in
        return name, thing.group, thing.private_creator, thing.block_start
    if id(thing) in above:
        return name, above.index(id(thing))
    text = "" if isinstance(thing, (Dataset, MultiValue, Sequence)) else repr(thing)
    return name, text, state(attributes, (*above, id(thing)))


def outcome(action: Callable[[], Any]) -> Any:
    """What an action returns or raises, and the warnings that it gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Python 3.15's own, given when it first sees the name: to whichever of the two comes first.
        warnings.filterwarnings(
            "ignore", "Support for non-ascii encoding names", DeprecationWarning
        )
        try:
            result = action()
        except Exception as exc:
            result = type(exc), str(exc).partition("\nTraceback")[0]
    return result, [(warning.category, str(warning.message)) for warning in caught]


def pydicom_decode(data: bytes, syntax: str) -> Dataset:
    """Decode as pydicom does."""
    return read_dataset(BytesIO(data), syntax == IMPLICIT, syntax != BIG)


def pydicom_encode(data_set: Dataset, syntax: str) -> bytes:
    """Encode as pydicom does."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = syntax != BIG
    buffer.is_implicit_VR = syntax == IMPLICIT
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def read_all(data_set: Dataset) -> None:
    """Look at each element."""
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                read_all(item)


def is_raw(element: Any) -> bool:
    """Whether an element has not been looked at yet."""
    return isinstance(element, RawDataElement)
