"""A step and a Modification List for it: their elements, and what they are put together.

Most steps and lists are put together as they are encoded. Those that differ in transfer syntax or
character set are decoded, as are those that are not as `nset.dataset` writes them: the result is
the same.
"""

from functools import cached_property
from typing import Any

from pydicom import Dataset
from pydicom.tag import Tag

from nset.dataset import decode, encode
from nset.dataset._pieces import split
from nset.mpps.rules import FINAL_STATES, IN_PROGRESS, STATUS, elements, value_of

_CHARACTER_SET = Tag(0x00080005)

# As they come, of an even length.
_STATES = {
    (state + " " * (len(state) % 2)).encode(): state for state in (IN_PROGRESS, *FINAL_STATES)
}


class DataSets:
    """Both decoded: a `nset.mpps.rules.Both`.

    Its parameters are those of `merging`.
    """

    def __init__(self, step: bytes, syntax: str, listed: bytes, syntax_of_list: str) -> None:
        self._syntax = syntax
        self.decoded = decode(step, syntax), decode(listed, syntax_of_list)
        unify(*self.decoded, is_recoded=syntax_of_list != syntax)
        self.created, self.given = map(elements, self.decoded)

    def state(self) -> Any:
        """Return the status of the list."""
        return self.decoded[1].PerformedProcedureStepStatus

    def encoded(self, now: dict[int, Any]) -> bytes:
        """Return a data set of elements of both."""
        merged, _ = self.decoded
        # Item by item, pydicom would take longer for it than all the rest.
        merged._dict = {element.tag: element for element in now.values()}
        return encode(merged, self._syntax)


class Pieces:
    """Both as they are encoded, in one transfer syntax and character set; the same.

    Parameters
    ----------
    step, listed : bytes
        The step's attributes, and the Modification List.
    syntax : str
        The UID of their transfer syntax.
    created, given : dict of int to bytes
        The elements of the step and of the list, by their tags, in ascending order.
    """

    def __init__(
        self,
        step: bytes,
        listed: bytes,
        syntax: str,
        created: dict[int, bytes],
        given: dict[int, bytes],
    ) -> None:
        self._encoded, self._syntax = (step, listed), syntax
        self.created, self.given = created, given

    @cached_property
    def decoded(self) -> tuple[Dataset, Dataset]:
        """Both as data sets."""
        step, listed = self._encoded
        return decode(step, self._syntax), decode(listed, self._syntax)

    def state(self) -> Any:
        """Return the status of the list."""
        state = _STATES.get(value_of(self.given[STATUS]))
        return state or self.decoded[1].PerformedProcedureStepStatus

    def encoded(self, now: dict[int, Any]) -> bytes:
        """Return a data set of elements of both."""
        if len(now) > len(self.created):
            now = dict(sorted(now.items()))
        return b"".join(now.values())


def merging(step: bytes, syntax: str, listed: bytes, syntax_of_list: str) -> DataSets | Pieces:
    """Return a step and a Modification List for it, to be put together.

    Parameters
    ----------
    step, syntax : bytes, str
        The step's attributes, and the UID of their transfer syntax.
    listed, syntax_of_list : bytes, str
        The Modification List, and the UID of its transfer syntax.

    Returns
    -------
    DataSets or Pieces
        Both.
    """
    if syntax == syntax_of_list:
        created, given = split(step, syntax), split(listed, syntax)
        if created is not None and given is not None:
            theirs = given.get(_CHARACTER_SET)
            if theirs is None or theirs == created.get(_CHARACTER_SET):
                return Pieces(step, listed, syntax, created, given)
    return DataSets(step, syntax, listed, syntax_of_list)


def unify(step: Dataset, listed: Dataset, *, is_recoded: bool) -> None:
    """Put a step and a Modification List for it in one character set and transfer syntax.

    They are those of the step. If the character set of the list is another one, it is UTF-8 then
    (PS3.4 F.7.2.2.3). A list that names none is read as the step's are.

    Parameters
    ----------
    step : pydicom.Dataset
        The step's attributes.
    listed : pydicom.Dataset
        The Modification List.
    is_recoded : bool
        Whether it is in another transfer syntax.
    """
    if not is_recoded and _as_it_came(step) == _as_it_came(listed):
        return
    theirs = listed.get("SpecificCharacterSet")
    if theirs and theirs != step.get("SpecificCharacterSet"):
        _read(step)
        _read(listed)
        step.SpecificCharacterSet = "ISO_IR 192"
    elif is_recoded:
        if not theirs:
            implicit, little = listed.original_encoding
            listed.set_original_encoding(implicit, little, step.original_character_set)
        _read(listed)


def _as_it_came(data_set: Dataset) -> Any:
    """Return the character set; undecoded, if nobody has read it before."""
    element = data_set._dict.get(_CHARACTER_SET)
    return element and element.value


def _read(data_set: Dataset) -> None:
    """Have each value decoded; those that are not are written as they came."""
    for _ in data_set.iterall():
        pass
