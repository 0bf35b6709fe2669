"""Whatever the bytes: pydicom's result, to the last attribute, or pydicom's exception."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pydicom
import pytest
from encoded_data_sets import (
    EXPLICIT,
    IMPLICIT,
    damaged,
    encoded_element,
    outcome,
    pydicom_decode,
    pydicom_encode,
    random_data_set,
    read_all,
    state,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag

pytestmark = pytest.mark.filterwarnings("ignore")
examples = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def agree(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[Any, Any]:
    """Do the same with both; what comes out, or is raised, and the warnings must be the same."""
    ours_result, ours_warnings = outcome(ours)
    theirs_result, theirs_warnings = outcome(theirs)
    assert state(ours_result) == state(theirs_result)
    assert ours_warnings == theirs_warnings
    return ours_result, theirs_result


def both(ours: Any, theirs: Any, action: Callable[[Any], Any]) -> None:
    """Do the same with both data sets, which must then still be the same."""
    agree(lambda: action(ours), lambda: action(theirs))
    assert state(ours) == state(theirs)


def by_keyword(data_set: Dataset) -> list[Any]:
    """Get values by the names of attributes, in an order of their own."""
    keywords = [keyword_for_tag(tag) for tag in reversed(list(data_set.keys()))]
    return [getattr(data_set, keyword) for keyword in keywords if keyword]


def change(data_set: Dataset) -> None:
    """Change, add and take away."""
    data_set.PatientName = "Bell^Jocelyn"
    data_set.SeriesInstanceUID = "1.2.3.4"
    for element in data_set:
        if element.VR == "SQ":
            element.value.append(Dataset())
            break
    for tag in list(data_set.keys())[:1]:
        del data_set[tag]


LOOKS: list[Callable[[Any], Any]] = [
    lambda data_set: None,
    lambda data_set: pickle.loads(pickle.dumps(data_set)),
    lambda data_set: pickle.loads(pickle.dumps(data_set, protocol=0)),
    copy.copy,
    copy.deepcopy,
    str,
    lambda data_set: data_set.to_json(),
    lambda data_set: [data_set[tag] for tag in reversed(list(data_set.keys()))],
    lambda data_set: [data_set.get_item(tag) for tag in list(data_set.keys())],
    lambda data_set: [data_set.get(int(tag)) for tag in list(data_set.keys())],
    lambda data_set: list(data_set.elements()),
    lambda data_set: list(data_set.iterall()),
    lambda data_set: data_set[0x00100000:0x00300000],
    lambda data_set: ("PatientName" in data_set, len(data_set), "StudyDate" in data_set),
    by_keyword,
    change,
]


def compare(dataset: ModuleType, rng: Random, data: bytes, syntax: str) -> None:
    """Decode, look at it in some way, read all, write it."""
    ours, theirs = agree(lambda: dataset.decode(data, syntax), lambda: pydicom_decode(data, syntax))
    if not isinstance(theirs, Dataset):
        return
    other = rng.choice((syntax, syntax, IMPLICIT, EXPLICIT))
    encoders = (lambda: dataset.encode(ours, other), lambda: pydicom_encode(theirs, other))
    if rng.random() < 0.2:
        agree(*encoders)
    both(ours, theirs, rng.choice(LOOKS))
    both(ours, theirs, read_all)
    agree(*encoders)
    assert state(ours) == state(theirs)
    again = outcome(lambda: pydicom_decode(data, syntax))[0]
    equal = outcome(lambda: theirs == again)[0]
    if isinstance(equal, bool):  # False where there is a NaN
        assert (ours == again, again == ours, ours != again) == (equal, equal, not equal)


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
