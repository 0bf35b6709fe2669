"""What pynetdicom's service classes get of nset: data sets by `nset.dataset`, and handlers."""

from collections.abc import Callable
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


def call_handler(assoc: Any, function: Callable[..., Any], event: Any, *args: Any) -> Any:
    """Call a handler for pynetdicom's service class, which has been given a `Served` association.

    Parameters
    ----------
    assoc : Association
        The association itself.
    function : callable
        The handler.
    event : pynetdicom.events.Event
        Becomes a `DataSetEvent`, if its request has a data set.
    *args
        More arguments for the handler.

    Returns
    -------
    object
        What the handler returns; a `DataSetError` that it raises is an answer.
    """
    event.assoc = assoc
    if event.event not in _WITH_DATA_SET:
        return function(event, *args)
    event.__class__ = DataSetEvent
    try:
        return function(event, *args)
    except DataSetError as error:
        return refused(error)


class Served:
    """Stands for an association in pynetdicom's service class while that serves a request.

    It has the association's attributes, and handlers that the service class can call.

    Parameters
    ----------
    assoc : Association
        The association.
    get_handlers : callable
        Returns the handler of an event, and more arguments for it.
    """

    def __init__(self, assoc: Any, get_handlers: Callable[[Any], Any]) -> None:
        self._nset_assoc = assoc
        self.get_handlers = get_handlers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nset_assoc, name)
