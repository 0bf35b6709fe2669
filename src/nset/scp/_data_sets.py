"""Data sets of DIMSE-N requests: decoded by `nset.dataset`, within its bounds."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import evt

from nset.dataset import DataSetError
from nset.pynetdicom._data_sets import data_set_of, refused

_WITH_DATA_SET: Final = (
    evt.EVT_N_ACTION,
    evt.EVT_N_CREATE,
    evt.EVT_N_EVENT_REPORT,
    evt.EVT_N_SET,
)


class DataSetEvent(evt.Event):
    """An event whose data set is decoded by nset."""

    def _get_dataset(self, attr: str, exc_msg: str) -> Dataset:
        limit = self.assoc.limits.data_set_bytes  # type: ignore[attr-defined]
        return data_set_of(self, attr, exc_msg, limit)


def bounded(event: Any, bound: Any) -> Any:
    """Return a handler that gets a `DataSetEvent`, if its event has a data set.

    Parameters
    ----------
    event : InterventionEvent
        The event.
    bound : tuple of (callable, list or None)
        What is bound to it.

    Returns
    -------
    tuple of (callable, list or None)
        The same; a `DataSetError` that it raises is an answer.
    """
    if event not in _WITH_DATA_SET or not bound:
        return bound
    function, args = bound
    return partial(_call, function), args


def _call(function: Callable[..., Any], event: Any, *args: Any) -> Any:
    event.__class__ = DataSetEvent
    try:
        return function(event, *args)
    except DataSetError as error:
        return refused(error)
