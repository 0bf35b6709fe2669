"""Data sets by nset.dataset and pydicom: the same result, to the last attribute, or exception."""

import copy
import pickle
from collections.abc import Callable
from random import Random
from types import ModuleType
from typing import Any

from encoded_data_sets import (
    EXPLICIT,
    IMPLICIT,
    outcome,
    pydicom_decode,
    pydicom_encode,
    read_all,
    state,
)
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag


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


def change_character_set(data_set: Dataset) -> None:
    """Have it written anew, with sequences whose items nobody has looked at."""
    list(data_set)
    data_set.SpecificCharacterSet = "ISO_IR 192"


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
    change_character_set,
    list,
]


def compare(dataset: ModuleType, rng: Random, data: bytes, syntax: str) -> None:
    """Decode, look at it in some way, most often read all, write it."""
    ours, theirs = agree(lambda: dataset.decode(data, syntax), lambda: pydicom_decode(data, syntax))
    if not isinstance(theirs, Dataset):
        return
    other = rng.choice((syntax, syntax, IMPLICIT, EXPLICIT))
    encoders = (lambda: dataset.encode(ours, other), lambda: pydicom_encode(theirs, other))
    if rng.random() < 0.2:
        agree(*encoders)
    both(ours, theirs, rng.choice(LOOKS))
    if rng.random() < 0.5:
        both(ours, theirs, read_all)
    agree(*encoders)
    assert state(ours) == state(theirs)
    again = outcome(lambda: pydicom_decode(data, syntax))[0]
    equal = outcome(lambda: theirs == again)[0]
    if isinstance(equal, bool):  # False where there is a NaN
        assert (ours == again, again == ours, ours != again) == (equal, equal, not equal)
