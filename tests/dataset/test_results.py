"""What a program sees of nset.dataset beside pydicom's results."""

import gc
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pydicom
import pytest
from encoded_data_sets import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    encoded_element,
    encoded_item,
    is_raw,
    outcome,
    pydicom_decode,
    pydicom_encode,
    read_all,
    state,
)
from pydicom import Dataset, config
from pydicom.hooks import hooks, raw_element_value
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit


def made() -> Dataset:
    """A data set of a program, with an element of each kind."""
    image = Dataset()
    image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    image.ReferencedSOPInstanceUID = "1.2.3"
    series = Dataset()
    series.OperatorsName = ["Bell^Jocelyn", "Curie^Marie"]
    series.ReferencedImageSequence = [image, image]
    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 192"
    step.PerformedStationName = "頭"
    step.PatientName = "Röntgen^Wilhelm"
    step.ImageType = ["ORIGINAL", "PRIMARY"]
    step.PerformedProcedureStepStartDate = "20260101"
    step.PerformedProcedureStepEndTime = ""
    step.RadiationMode = None
    step.SeriesNumber = 7
    step.ImagePositionPatient = [1.5, "-2", 3]
    step.Rows = 512
    step.PixelSpacing = None
    step.FrameIncrementPointer = 0x00181063
    step.RecommendedDisplayFrameRateInFloat = 12.5
    step.DataPointRows = 70000
    step.EncapsulatedDocument = b"odd"
    step.PerformedSeriesSequence = [series]
    step.PerformedProtocolCodeSequence = []
    step.add_new_private("ACME 1.1", 0x0029, 1, "text", "LO")
    return step


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, str(JPEGBaseline8Bit)])
def test_what_a_program_made(dataset: ModuleType, syntax: str) -> None:
    ours, theirs = made(), made()
    encoded = dataset.encode(ours, syntax)
    assert encoded == pydicom_encode(theirs, syntax)
    assert state(ours) == state(theirs)
    assert dataset.decode(encoded, syntax) == pydicom_decode(encoded, syntax)


def test_what_is_encoded_in_c(dataset: ModuleType) -> None:
    if dataset.IMPLEMENTATION == "compiled":
        assert dataset._core.is_usable
        for implicit in (True, False):
            encoded = dataset._core.encode(made(), implicit)
            assert encoded is not None
            assert dataset._core.decode(encoded, implicit) is not None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_like(dataset: ModuleType, kind: Callable[[bytes], Any]) -> None:
    data = kind(encoded_element(0x00100010, "PN", b"A^B ", implicit=True))
    data_set = dataset.decode(data, ImplicitVRLittleEndian)
    if kind is bytearray:
        data[8:] = b"X^Y "
    assert data_set.PatientName == "A^B"


@pytest.mark.parametrize("syntax", ["1.2.3", "1.2.840.10008.5.1.4.1.1.2", ""])
def test_no_transfer_syntax(dataset: ModuleType, syntax: str) -> None:
    with pytest.raises(ValueError, match="not a transfer syntax"):
        dataset.decode(b"", syntax)
    with pytest.raises(ValueError, match="not a transfer syntax"):
        dataset.encode(Dataset(), syntax)


def test_what_can_not_be_encoded(dataset: ModuleType) -> None:
    data_set = Dataset()
    data_set.Rows = 1
    data_set["Rows"]._value = "many"
    ours = outcome(lambda: dataset.encode(data_set, IMPLICIT))
    assert ours == outcome(lambda: pydicom_encode(data_set, IMPLICIT))
    assert ours[0][0] is OSError


def test_elements_are_made_when_they_are_looked_at(dataset: ModuleType) -> None:
    data = dataset.encode(made(), IMPLICIT)
    data_set = dataset.decode(data, IMPLICIT)
    assert all(map(is_raw, data_set.values()))
    series = data_set.PerformedSeriesSequence[0]
    assert all(map(is_raw, series.values()))
    assert not is_raw(data_set.get_item("PerformedSeriesSequence"))
    assert is_raw(data_set.get_item("Rows"))


@pytest.mark.filterwarnings("ignore")
def test_iterators_are_those_of_a_generator(dataset: ModuleType) -> None:
    """They begin when the first element is asked for, and end where one can not be read."""
    data = encoded_element(0x00080060, "CS", b"CT", implicit=True)
    data += encoded_element(0x00280010, "US", b"odd", implicit=True)
    data += encoded_element(0x00280011, "US", b"\1\0", implicit=True)
    for data_set in dataset.decode(data, IMPLICIT), pydicom_decode(data, IMPLICIT):
        elements = iter(data_set)
        data_set.AccessionNumber = "7"
        assert [next(elements).keyword for _ in range(2)] == ["AccessionNumber", "Modality"]
        data_set.InstitutionName = "not seen"
        with pytest.raises(pydicom.errors.BytesLengthException):
            next(elements)
        assert list(elements) == []
        assert iter(elements) is elements
        del data_set.Rows
        assert len(list(data_set)) == 4


@pytest.mark.filterwarnings("ignore")
def test_iterall_is_that_of_a_generator(dataset: ModuleType) -> None:
    """It goes into sequences as they are by then, and ends where an element can not be read."""
    item = encoded_item(encoded_element(0x00080050, "SH", b"7 ", implicit=True))
    data = encoded_element(0x00081140, "SQ", item * 2, implicit=True)
    data += encoded_element(0x00280010, "US", b"odd", implicit=True)
    data += encoded_element(0x00280011, "US", b"\1\0", implicit=True)
    for data_set in dataset.decode(data, IMPLICIT), pydicom_decode(data, IMPLICIT):
        elements = data_set.iterall()
        data_set.Modality = "CT"
        assert next(elements).keyword == "Modality"
        images = next(elements)
        images.value[1:] = [data_set[:0x00081140], data_set.__class__()]
        found = [next(elements).keyword for _ in range(2)]
        assert found == ["AccessionNumber", "Modality"]
        with pytest.raises(pydicom.errors.BytesLengthException):
            next(elements)
        assert list(elements) == []
        assert iter(elements) is elements
        del data_set.Rows
        assert [element.keyword for element in data_set.iterall()][-1] == "Columns"
        elements = data_set.iterall()
        while next(elements) is not images:
            pass
        images.VR = "OB"
        assert [element.keyword for element in elements] == ["Columns"]


def test_it_is_a_data_set(dataset: ModuleType) -> None:
    data_set = dataset.decode(dataset.encode(made(), IMPLICIT), IMPLICIT)
    assert isinstance(data_set, Dataset)
    assert type(data_set).__name__ == "Dataset"
    assert type(pickle.loads(pickle.dumps(data_set))) is Dataset
    assert type(data_set.copy()) is Dataset
    assert type(data_set[0x00080000:0x00090000]) is Dataset
    with pytest.raises(AttributeError, match="'Dataset' object has no attribute 'Missing'"):
        data_set.Missing  # noqa: B018
    with pytest.raises(KeyError):
        data_set[0x00200010]


def _hook(raw: Any, data: dict[str, Any], **kwargs: Any) -> None:
    raw_element_value(raw, data, **kwargs)
    data["value"] = str(data["value"]) + "!"


def _callback(raw: Any, **kwargs: Any) -> Any:
    return raw._replace(value=b"20000101") if raw.tag == 0x00080020 else raw


SETTINGS: list[tuple[Any, str, Any]] = [
    (config, "datetime_conversion", True),
    (config, "use_none_as_empty_text_VR_value", True),
    (config, "enforce_valid_values", True),
    (config, "data_element_callback", _callback),
    (config, "debugging", True),
    (config.settings, "_reading_validation_mode", config.RAISE),
    (config.settings, "_reading_validation_mode", config.IGNORE),
    (hooks, "raw_element_value", _hook),
    (hooks, "raw_element_kwargs", {"some": "thing"}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(("where", "name", "value"), SETTINGS)
def test_settings(
    dataset: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    value: Any,
    is_late: bool,
    implicit: bool,
) -> None:
    """pydicom's settings hold, set before decoding or between that and a look at the elements."""
    elements = [
        (0x00080020, "DA", b"20260101"),
        (0x00080060, "CS", b"CT"),
        (0x00080050, "SH", b""),
        (0x00100040, "CS", b"not a code at all, and too long"),
        (0x00181405, "IS", b"4 "),
        (0x00180050, "DS", b"1.5 "),
        (0x0020000D, "UI", b"1.2.03"),
    ]
    item = b"".join(encoded_element(*element, implicit=implicit) for element in elements)
    data = item + encoded_element(0x00400340, "SQ", encoded_item(item), implicit=implicit)
    syntax = IMPLICIT if implicit else EXPLICIT
    if not is_late:
        monkeypatch.setattr(where, name, value)
    ours, theirs = dataset.decode(data, syntax), pydicom_decode(data, syntax)
    monkeypatch.setattr(where, name, value)
    for _ in range(2):
        assert state(ours) == state(theirs)
        assert outcome(lambda: read_all(ours)) == outcome(lambda: read_all(theirs))


@pytest.mark.filterwarnings("ignore")
def test_ds_as_decimal(dataset: ModuleType) -> None:
    data = encoded_element(0x00180050, "DS", b"1.5 ", implicit=True)
    config.DS_decimal(True)
    try:
        ours, theirs = dataset.decode(data, IMPLICIT), pydicom_decode(data, IMPLICIT)
        read_all(ours)
        read_all(theirs)
    finally:
        config.DS_decimal(False)
    assert state(ours) == state(theirs)


def test_an_entry_that_a_program_has_added(
    dataset: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = ("SQ", "1", "Test", "", "TestSequence")
    monkeypatch.setitem(pydicom.datadict.DicomDictionary, 0x00081234, entry)
    data = encoded_element(0x00081234, "SQ", encoded_item(b""), implicit=True)
    ours, theirs = dataset.decode(data, IMPLICIT), pydicom_decode(data, IMPLICIT)
    assert len(ours[0x00081234].value) == 1
    read_all(theirs)
    assert state(ours) == state(theirs)


def test_import_nset_does_not_import_it() -> None:
    code = "import nset, sys; assert 'nset.dataset' not in sys.modules; import nset.dataset"
    code += "; assert 'pynetdicom' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_that_share_a_data_set(dataset: ModuleType) -> None:
    written = made()
    if dataset.IMPLEMENTATION == "python":
        # pydicom stores the element of an empty sequence before it makes a Sequence of its list.
        del written.PerformedProtocolCodeSequence
    encoded = dataset.encode(written, IMPLICIT)
    expected = pydicom_decode(encoded, IMPLICIT)
    read_all(expected)
    for _ in range(20):
        shared = dataset.decode(encoded, IMPLICIT)
        found: list[Any] = []
        start = threading.Barrier(4)

        def look(shared: Dataset = shared, found: list[Any] = found) -> None:
            start.wait()  # noqa: B023
            read_all(shared)
            # Equal ones: of two threads that convert an element at once, each may have its own.
            found.append([repr(element) for element in shared])

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert found.count(found[0]) == 4
        assert state(shared) == state(expected)


def test_nothing_is_left_behind(dataset: ModuleType) -> None:
    encoded = dataset.encode(made(), EXPLICIT)

    def turn() -> None:
        data_set = dataset.decode(encoded, EXPLICIT)
        read_all(data_set)
        dataset.encode(data_set, EXPLICIT)
        dataset.encode(data_set, IMPLICIT)

    turn()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(300):
        turn()
    gc.collect()
    assert sys.getallocatedblocks() - before < 300
