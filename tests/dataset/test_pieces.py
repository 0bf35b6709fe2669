"""Encoded elements: those of an ordinary data set, and none where encoding would change a byte."""

import importlib
from random import Random
from types import ModuleType
from typing import Any

import pytest
from encoded_data_sets import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SEQUENCE_END,
    damaged,
    encoded_element,
    encoded_item,
    nested,
    pydicom_decode,
    pydicom_encode,
    random_data_set,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.filterwarnings("ignore")
examples = settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def split(dataset: ModuleType) -> Any:
    return importlib.import_module(f"{dataset.__name__}._pieces").split


@given(rng=st.randoms(use_true_random=False), implicit=st.booleans(), is_damaged=st.booleans())
@examples
def test_pydicom_makes_the_same_bytes_of_them(
    split: Any, rng: Random, implicit: bool, is_damaged: bool
) -> None:
    syntax = IMPLICIT if implicit else EXPLICIT
    data = random_data_set(rng, implicit=implicit)
    if is_damaged:
        data = damaged(rng, data)
    pieces = split(data, syntax)
    if pieces is not None:
        assert b"".join(pieces.values()) == data
        some = {tag: piece for tag, piece in pieces.items() if rng.random() < 0.7}
        for chosen in (pieces, some):
            data = b"".join(chosen.values())
            decoded = pydicom_decode(data, syntax)
            assert list(map(int, decoded.keys())) == list(chosen)
            assert pydicom_encode(decoded, syntax) == data


@pytest.mark.parametrize("implicit", [True, False])
def test_ordinary_data_sets(nset: ModuleType, split: Any, implicit: bool) -> None:
    item = encoded_element(0x00080100, "SH", b"P5", implicit=implicit)
    elements = {
        0x00080005: encoded_element(0x00080005, "CS", b"ISO_IR 192", implicit=implicit),
        0x00081032: encoded_element(0x00081032, "SQ", encoded_item(item), implicit=implicit),
        0x00100010: encoded_element(0x00100010, "PN", b"", implicit=implicit),
        0x00400340: encoded_element(
            *(0x00400340, "SQ", encoded_item(nested(2, implicit=implicit), undefined=True)),
            implicit=implicit,
            undefined=True,
        )
        + SEQUENCE_END,
        0x00410010: encoded_element(0x00410010, "LO", b"ACME", implicit=implicit),
        0x00411001: encoded_element(0x00411001, "UN", b"\1\2\3", implicit=implicit),
    }
    pieces = split(b"".join(elements.values()), IMPLICIT if implicit else EXPLICIT)
    if nset.IMPLEMENTATION == "python":
        assert pieces is None
        return
    assert pieces == elements


def made(*elements: Any, implicit: bool = False) -> tuple[bytes, str]:
    data = b"".join(encoded_element(*element, implicit=implicit) for element in elements)
    return data, IMPLICIT if implicit else EXPLICIT


def in_undefined(item: bytes) -> tuple[bytes, str]:
    data = encoded_item(item) + SEQUENCE_END
    return encoded_element(0x00081032, "SQ", data, implicit=True, undefined=True), IMPLICIT


NUMBER, NAME = (0x00080050, "SH", b"A1"), (0x00100010, "PN", b"A^B ")
GROUP_LENGTH = (0x00100000, "UL", b"\4\0\0\0")
NOT_ORDINARY = {
    "in another order": made(NAME, NUMBER),
    "one of them twice": made(NAME, NAME),
    "a group length": made(GROUP_LENGTH, NAME),
    "a group below 8": made((0x00060001, "LO", b"A ")),
    "another VR": made((0x00100010, "LO", b"A^B ")),
    "no VR": made((0x00100010, "UN", b"")),
    "an unknown element without a value": made((0x00081234, "LO", b""), implicit=True),
    "one of several VRs": made((0x00280106, "US", b""), implicit=True),
    "reserved bytes that are set": (b"\x08\0\x32\x10SQ\1\0\0\0\0\0", EXPLICIT),
    "a character set that is not known": made((0x00080005, "CS", b"ISO_IR 999"), implicit=True),
    "a character set with a NUL": made((0x00080005, "CS", b"ISO_IR 6\0\0"), implicit=True),
    "a Pixel Representation": made((0x00280103, "US", b"\0\0")),
    "a sequence of undefined length without items": (
        encoded_element(0x00081032, "SQ", SEQUENCE_END, implicit=True, undefined=True),
        IMPLICIT,
    ),
    "an item in another order": in_undefined(made(NAME, NUMBER, implicit=True)[0]),
    "an item with a group length": in_undefined(made(GROUP_LENGTH, implicit=True)[0]),
    "an item with a character set": in_undefined(
        made((0x00080005, "CS", b"ISO_IR 100"), implicit=True)[0]
    ),
    "cut off": (made(NAME, implicit=True)[0][:-1], IMPLICIT),
    "nested too deeply": (nested(65), IMPLICIT),
    "Big Endian": (b"", BIG),
    "deflated": (b"", DEFLATED),
}


@pytest.mark.parametrize(("data", "syntax"), NOT_ORDINARY.values(), ids=NOT_ORDINARY)
def test_others_have_none(split: Any, data: bytes, syntax: str) -> None:
    assert split(data, syntax) is None


def test_none_where_a_program_has_changed_how_pydicom_reads(
    split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydicom.config.data_element_callback", lambda raw, **_: raw)
    assert split(*made(NAME)) is None
