"""Whatever the bytes: pydicom's result, to the last attribute, or pydicom's exception."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from types import ModuleType

import pydicom
import pytest
from compared_data_sets import agree, both, change_character_set, compare
from encoded_data_sets import (
    EXPLICIT,
    IMPLICIT,
    damaged,
    encoded_element,
    encoded_item,
    pydicom_decode,
    pydicom_encode,
    random_data_set,
    read_all,
    state,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

pytestmark = pytest.mark.filterwarnings("ignore")
examples = settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(rng=st.randoms(use_true_random=False), implicit=st.booleans())
@examples
def test_random_data_sets(dataset: ModuleType, rng: Random, implicit: bool) -> None:
    data = random_data_set(rng, implicit=implicit)
    compare(dataset, rng, data, IMPLICIT if implicit else EXPLICIT)


@given(rng=st.randoms(use_true_random=False), implicit=st.booleans())
@examples
def test_damaged_data_sets(dataset: ModuleType, rng: Random, implicit: bool) -> None:
    data = damaged(rng, random_data_set(rng, implicit=implicit))
    compare(dataset, rng, data, rng.choice((IMPLICIT, EXPLICIT)))


@given(data=st.binary(max_size=60), syntax=st.sampled_from((IMPLICIT, EXPLICIT)))
@examples
def test_any_bytes(dataset: ModuleType, data: bytes, syntax: str) -> None:
    compare(dataset, Random(0), data, syntax)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_an_empty_sequence_beside_an_invalid_pixel_representation(
    dataset: ModuleType, syntax: str
) -> None:
    """pydicom raises when it is first written, and writes it the second time."""
    data = encoded_element(0x00280103, "US", b"\r", implicit=True)
    data += encoded_element(0x300C0020, "SQ", b"", implicit=True)
    ours, theirs = dataset.decode(data, IMPLICIT), pydicom_decode(data, IMPLICIT)
    for _ in range(2):
        agree(lambda: dataset.encode(ours, syntax), lambda: pydicom_encode(theirs, syntax))
        assert state(ours) == state(theirs)


def _explicit(tag: int, vr: str, value: bytes) -> bytes:
    return encoded_element(tag, vr, value, implicit=False)


ITEMS = {
    "an empty element": _explicit(0x00280010, "US", b""),
    "an empty group length": _explicit(0x00280000, "UL", b""),
    "a sequence": _explicit(0x00400260, "SQ", encoded_item(_explicit(0x00080100, "SH", b"A "))),
    "implicit VRs": encoded_element(0xFFFF0000, "UL", b"", implicit=True),
}


@pytest.mark.parametrize("tag", [0x00400340, 0x00090000])
@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
@pytest.mark.parametrize("look", [change_character_set, list])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_items_that_nobody_has_looked_at_of_a_data_set_that_is_written_anew(
    dataset: ModuleType, tag: int, item: bytes, look: Callable[[Dataset], object], syntax: str
) -> None:
    """pydicom converts what is empty, and sequences, in each item of what it can't copy."""
    data = _explicit(tag, "SQ", encoded_item(item))
    ours, theirs = dataset.decode(data, EXPLICIT), pydicom_decode(data, EXPLICIT)
    both(ours, theirs, look)
    agree(lambda: dataset.encode(ours, syntax), lambda: pydicom_encode(theirs, syntax))
    assert state(ours) == state(theirs)


@pytest.mark.parametrize("tag", [0x00283002, 0x00091001])
@pytest.mark.parametrize("charset", [None, "ISO_IR 13", "ISO_IR 144", "ISO_IR 192"])
@pytest.mark.parametrize("name", ["Ж^頭", "\ud800", "Röntgen^Wilhelm", "頭=Ж"])
@pytest.mark.parametrize("is_decoded", [False, True])
def test_warnings_of_names_come_once(
    dataset: ModuleType, tag: int, charset: str | None, name: str, is_decoded: bool
) -> None:
    """Also where pydicom writes all of it, as an element behind the name is not ordinary."""

    def made() -> Dataset:
        data_set = Dataset()
        data_set.PatientName = "x"
        if is_decoded:
            data = pydicom_encode(data_set, EXPLICIT)
            data_set = dataset.decode(data, EXPLICIT)
        data_set.SpecificCharacterSet = charset
        data_set.PatientName = name
        data_set.add_new(tag, "US", [1, 2, 3])
        return data_set

    for syntax in (IMPLICIT, EXPLICIT):
        ours, theirs = made(), made()
        agree(partial(dataset.encode, ours, syntax), partial(pydicom_encode, theirs, syntax))


def shipped() -> list[tuple[bytes, str]]:
    """The data sets of the files that pydicom comes with."""
    found = []
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")):
        if not path.is_file() or path.stat().st_size > 3_000_000:
            continue
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            continue
        file = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        syntax = file.file_meta.get("TransferSyntaxUID")
        if syntax is not None and syntax.is_transfer_syntax:
            found.append((_behind_file_meta(data), str(syntax)))
    return found


def _behind_file_meta(data: bytes) -> bytes:
    """What follows group 2, which is in Explicit VR Little Endian."""
    at = 132
    while data[at : at + 2] == b"\2\0":
        is_long = data[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        length = data[at + 8 : at + 12] if is_long else data[at + 6 : at + 8]
        at += (12 if is_long else 8) + int.from_bytes(length, "little")
    return data[at:]


def test_the_files_that_pydicom_ships(dataset: ModuleType) -> None:
    files = shipped()
    assert len(files) > 40
    for data, uid in files:
        syntax = pydicom.uid.UID(uid)
        if syntax.is_deflated:
            continue

        def theirs(data: bytes = data, syntax: pydicom.uid.UID = syntax) -> Dataset:
            buffer = pydicom.filebase.DicomBytesIO(data)
            return pydicom.filereader.read_dataset(
                buffer, syntax.is_implicit_VR, syntax.is_little_endian
            )

        ours, expected = agree(lambda data=data, uid=uid: dataset.decode(data, uid), theirs)
        both(ours, expected, lambda data_set: None)
        both(ours, expected, read_all)
