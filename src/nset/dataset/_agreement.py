"""Whether pydicom still makes of data sets what the C extension was written to make of them.

The extension sets the attributes of pydicom's objects itself, so it asks once, on import.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

from pydicom import Dataset, Sequence
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue

_Decode = Callable[[bytes, bool], Dataset | None]
_Encode = Callable[[Dataset, bool], bytes | None]

_SAMPLE: Final[dict[str, Any]] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "SOPInstanceUID": "1.2.3",
    "StudyDate": "20260101",
    "ReferringPhysicianName": "Curie^Marie",
    "StudyDescription": "Sch\xe4del",
    "SliceThickness": "1.5",
    "SeriesNumber": "4",
    "Rows": 1,
    "OperatorsName": None,
}


def agrees_with_pydicom(decode: _Decode, encode: _Encode) -> bool:
    """Return whether both functions do as pydicom does, before values are converted and after."""
    try:
        return all(_agree(decode, encode, is_undefined) for is_undefined in (False, True))
    except Exception:  # whatever a pydicom to come has changed
        return False


def _agree(decode: _Decode, encode: _Encode, is_undefined: bool) -> bool:
    data_set, item = Dataset(), Dataset()
    for keyword, value in _SAMPLE.items():
        setattr(item, keyword, value)
        setattr(data_set, keyword, value)
    data_set.ReferencedImageSequence = [item, item]
    data_set["ReferencedImageSequence"].is_undefined_length = is_undefined
    item.is_undefined_length_sequence_item = is_undefined
    for implicit in (True, False):
        buffer = DicomBytesIO()
        buffer.is_little_endian = True
        buffer.is_implicit_VR = implicit
        write_dataset(buffer, data_set)
        data = buffer.getvalue()
        ours = decode(data, implicit)
        if ours is None or encode(data_set, implicit) != data:
            return False
        pydicoms = read_dataset(BytesIO(data), implicit, True)
        for _ in range(2):
            if _state(ours) != _state(pydicoms):
                return False
            for read in ours, pydicoms:
                list(read.iterall())
    return True


def _state(thing: object) -> object:
    """Return all that there is of a value, with the attributes of each object in their order."""
    if isinstance(thing, list | tuple) and not isinstance(thing, RawDataElement):
        return type(thing).__name__, [_state(item) for item in thing]
    if isinstance(thing, dict):
        return "dict", [(_state(key), _state(value)) for key, value in thing.items()]
    attributes = getattr(thing, "__dict__", None)
    if attributes is None or isinstance(thing, type):
        return type(thing).__name__, repr(thing)
    text = "" if isinstance(thing, Dataset | Sequence | MultiValue) else repr(thing)
    return type(thing).__name__, text, _state(attributes)
