"""How much of a data set a peer can have decoded; both implementations, with the same errors."""

import functools
import struct
import zlib
from random import Random
from types import ModuleType

import pytest
from encoded_data_sets import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    damaged,
    encoded_element,
    encoded_item,
    nested,
    outcome,
    pydicom_decode,
    random_data_set,
    read_all,
)
from pydicom import Dataset
from pydicom.datadict import dictionary_VR

SEQUENCE = 0x00081115


def depth_of(data_set: Dataset, above: int = 0) -> int:
    """How deep pydicom finds sequences nested, in as much as it can read."""
    deepest = above
    for tag in list(data_set.keys()):
        element = outcome(lambda tag=tag: data_set[tag])[0]
        if not isinstance(element, tuple) and element.VR == "SQ":
            inner = [depth_of(item, above + 1) for item in element.value]
            deepest = max(deepest, *inner, above + bool(inner))
    return deepest


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_as_deep_as_may_be(dataset: ModuleType, syntax: str, undefined: bool) -> None:
    data = nested(dataset.MAX_DEPTH, implicit=syntax == IMPLICIT, undefined=undefined)
    assert depth_of(dataset.decode(data, syntax)) == dataset.MAX_DEPTH


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("more", [1, 1000])
def test_too_deep(dataset: ModuleType, syntax: str, undefined: bool, more: int) -> None:
    depth = dataset.MAX_DEPTH + more
    data = nested(depth, implicit=syntax == IMPLICIT, undefined=undefined)
    with pytest.raises(dataset.DataSetError) as raised:
        dataset.decode(data, syntax)
    head = 8 if syntax == IMPLICIT else 12
    offset = dataset.MAX_DEPTH * (head + 8)
    assert raised.value.offset == offset
    assert raised.value.path == (SEQUENCE,) * (dataset.MAX_DEPTH + 1)
    path = "(0008,1115)" * (dataset.MAX_DEPTH + 1)
    assert str(raised.value) == f"more than 64 nested sequences, at offset {offset} in {path}"


@pytest.mark.parametrize(
    "before",
    [
        b"\x08\0\x05\0\x04\0\0\0none",  # an unknown character set
        encoded_element(0x00104000, "LT", b"\xff\xff", implicit=True, undefined=True)
        + b"\xfe\xff\xdd\xe0\0\0\0\0",
    ],
)
def test_too_deep_where_pydicom_reads_it(dataset: ModuleType, before: bytes) -> None:
    with pytest.raises(dataset.DataSetError, match="nested"):
        dataset.decode(before + nested(65), IMPLICIT)


@pytest.mark.parametrize(
    "element",
    [
        lambda value: encoded_element(SEQUENCE, "UN", value, implicit=False),
        lambda value: encoded_element(0x00291001, "UN", value, implicit=False, undefined=True),
    ],
)
def test_too_deep_in_an_unknown_vr(dataset: ModuleType, element: object) -> None:
    value = encoded_item(nested(64, implicit=False))
    with pytest.raises(dataset.DataSetError, match="nested"):
        dataset.decode(element(value), EXPLICIT)  # type: ignore[operator]


def test_too_deep_in_a_private_sequence(dataset: ModuleType) -> None:
    creator = encoded_element(0x00290010, "LO", b"SIEMENS MEDCOM HEADER2", implicit=True)
    item = encoded_item(nested(64))
    with pytest.raises(dataset.DataSetError, match="nested"):
        dataset.decode(creator + encoded_element(0x0029_1040, "SQ", item, implicit=True), IMPLICIT)


def test_too_deep_in_big_endian(dataset: ModuleType) -> None:
    data = b""
    for _ in range(65):
        data = struct.pack(">HHL", 0xFFFE, 0xE000, len(data)) + data
        data = struct.pack(">HH2s2xL", 0x0008, 0x1115, b"SQ", len(data)) + data
    with pytest.raises(dataset.DataSetError, match="nested"):
        dataset.decode(data, BIG)
    assert depth_of(dataset.decode(data[20:], BIG)) == 64


EMPTY_NAME = encoded_element(0x00100010, "PN", b"", implicit=True)


@pytest.fixture
def quick_dictionary(dataset: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look a tag up once instead of a million times, which is half of what these tests take."""
    monkeypatch.setattr(dataset._bounds, "dictionary_VR", functools.cache(dictionary_VR))


@pytest.mark.usefixtures("quick_dictionary")
def test_as_many_elements_as_may_be(dataset: ModuleType) -> None:
    item = encoded_item(EMPTY_NAME * (dataset.MAX_ELEMENTS - 1))
    sequence = encoded_element(SEQUENCE, "SQ", item, implicit=True)
    assert len(dataset.decode(sequence, IMPLICIT)) == 1


@pytest.mark.usefixtures("quick_dictionary")
@pytest.mark.parametrize("undefined", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_too_many_elements(dataset: ModuleType, undefined: bool) -> None:
    if undefined:
        item = encoded_item(EMPTY_NAME * dataset.MAX_ELEMENTS) + b"\xfe\xff\xdd\xe0\0\0\0\0"
        sequence = encoded_element(SEQUENCE, "SQ", item, implicit=True, undefined=True)
    else:
        item = encoded_item(EMPTY_NAME * (dataset.MAX_ELEMENTS - 1))
        sequence = encoded_element(SEQUENCE, "SQ", item, implicit=True) + EMPTY_NAME
    with pytest.raises(dataset.DataSetError, match="more than 1000000 elements") as raised:
        dataset.decode(sequence, IMPLICIT)
    assert raised.value.path[-1] == 0x00100010


def test_inflated(dataset: ModuleType) -> None:
    data = encoded_element(0x00104000, "LT", b"x" * 5000, implicit=False)
    deflated = dataset.encode(dataset.decode(data, EXPLICIT), DEFLATED)
    assert len(deflated) % 2 == 0
    assert dataset.decode(deflated, DEFLATED).PatientComments == "x" * 5000
    assert dataset.decode(deflated, DEFLATED, max_inflated_bytes=len(data))
    with pytest.raises(dataset.DataSetError, match="when inflated") as raised:
        dataset.decode(deflated, DEFLATED, max_inflated_bytes=len(data) - 1)
    assert raised.value.offset == len(data) - 1
    with pytest.raises(zlib.error) as expected:
        zlib.decompress(deflated[:9], -zlib.MAX_WBITS)
    with pytest.raises(zlib.error, match=str(expected.value)):
        dataset.decode(deflated[:9], DEFLATED)


@pytest.mark.filterwarnings("ignore")
def test_no_depth_escapes(dataset: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pydicom finds in damaged bytes is found before: one level less is not enough."""
    found = 0
    for seed in range(600):
        rng = Random(seed)
        syntax = rng.choice((IMPLICIT, EXPLICIT))
        data = nested(rng.randrange(4), implicit=syntax == IMPLICIT, undefined=rng.random() < 0.5)
        data = damaged(rng, data + random_data_set(rng, implicit=syntax == IMPLICIT))
        data_set = outcome(lambda data=data, syntax=syntax: pydicom_decode(data, syntax))[0]
        depth = depth_of(data_set) if isinstance(data_set, Dataset) else 0
        if depth:
            found += 1
            monkeypatch.setattr(dataset._bounds, "MAX_DEPTH", depth - 1)
            with pytest.raises(dataset.DataSetError):
                dataset._bounds.check(data, syntax == IMPLICIT, True)
    assert found > 100


def test_what_a_bound_is_not_for(dataset: ModuleType) -> None:
    private = encoded_element(0x00291001, "OB", b"\0" * 4096, implicit=True)
    data_set = dataset.decode(private, IMPLICIT)
    read_all(data_set)
    assert data_set[0x00291001].value == b"\0" * 4096
