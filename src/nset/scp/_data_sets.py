"""What pynetdicom's service classes get of nset: data sets by `nset.dataset`, and handlers."""

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import evt

from nset._status_error import StatusError, checked
from nset.dataset import DataSetError
from nset.pynetdicom._answers import log_status_error, refused, response_with, status_of
from nset.pynetdicom._data_sets import data_set_of
from nset.pynetdicom._exchange import refuse_after_release
from nset.scp._measurements import Measurements

_WITH_DATA_SET: Final = (
    evt.EVT_N_ACTION,
    evt.EVT_N_CREATE,
    evt.EVT_N_EVENT_REPORT,
    evt.EVT_N_SET,
)


_BEFORE_STATUSES: Final = {evt.EVT_C_FIND: 0, evt.EVT_C_GET: 1, evt.EVT_C_MOVE: 2}
"""How much a generator yields before its statuses: the destination, the number of images."""


class PeerEvent(evt.Event):
    """The event of a request, which knows the peer without the objects of an association."""

    _path: Any = None

    @property
    def calling_ae_title(self) -> str:
        """The peer's AE title, as in ``event.assoc.requestor.ae_title``."""
        return self._titles()[0]

    @property
    def called_ae_title(self) -> str:
        """The AE title that the peer has called; it need not be the server's."""
        return self._titles()[1]

    @property
    def peer_address(self) -> str:
        """The peer's address, as in ``event.assoc.requestor.address``.

        Behind a trusted proxy it is the one in the PROXY protocol header.
        """
        path: Any = self._path or self.assoc
        return str(path.address[0])

    def _titles(self) -> tuple[str, str]:
        accepted: Any = None if self._path is None else self._path.accepted
        if accepted is not None:
            return accepted.calling_ae_title, accepted.called_ae_title
        assoc: Any = self.assoc
        titles: tuple[str, str] = assoc.titles()
        return titles


class DataSetEvent(PeerEvent):
    """An event whose data set is decoded by nset."""

    def _get_dataset(self, attr: str, exc_msg: str) -> Dataset:
        limit = self.assoc.limits.data_set_bytes  # type: ignore[attr-defined]
        return data_set_of(self, attr, exc_msg, limit)


class Served:
    """Stands for an association in pynetdicom's service class while that serves a request.

    It has the association's attributes, and handlers that the service class can call. If a handler
    raises `StatusError`, the response is sent here, and the association is not established any more
    for the service class, which then sends nothing.

    Parameters
    ----------
    assoc : Association
        The association.
    get_handlers : callable
        Returns the handler of an event, and more arguments for it.
    measurements : Measurements, optional
        What measures the handlers.
    """

    dimse: Any  # the association's, until a handler has raised

    def __init__(
        self,
        assoc: Any,
        get_handlers: Callable[[Any], Any],
        measurements: Measurements | None = None,
    ) -> None:
        self._nset_assoc = assoc
        self._nset_measurements = measurements
        self._nset_get_handlers = get_handlers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nset_assoc, name)

    def get_handlers(self, event: Any) -> Any:
        """Return the handlers of an event."""
        bound = self._nset_get_handlers(event)
        if not event.is_intervention:
            return bound
        function, args = bound
        return partial(self._nset_call, function), args

    def send_c_store(self, *args: Any, **options: Any) -> Any:
        """Send an image of a C-GET, if the peer still answers."""
        refuse_after_release(self._nset_assoc)
        return self._nset_assoc.send_c_store(*args, **options)

    def _nset_call(self, function: Callable[..., Any], event: Any, *args: Any) -> Any:
        """Call a handler; `StatusError` and `DataSetError` are answers."""
        event.assoc = self._nset_assoc
        event.__class__ = DataSetEvent if event.event in _WITH_DATA_SET else PeerEvent
        request = copy(event.request)  # as it was received
        measurements = self._nset_measurements
        service = type(request).__name__.replace("_", "-")
        if measurements is not None and event.event not in _BEFORE_STATUSES:
            function = measurements.timed(service, function)
        try:
            answer = function(event, *args)
        except DataSetError as error:
            if event.event not in _WITH_DATA_SET:
                raise
            return refused(error, event.assoc, request)
        except StatusError as error:
            return self._nset_answer(request, event, checked(error))
        if event.event in _BEFORE_STATUSES and isinstance(answer, Iterator):
            if measurements is not None:
                answer = measurements.timed_items(service, answer)
            return self._nset_iterate(answer, request, event)
        return answer

    def _nset_iterate(self, answers: Iterator[Any], request: Any, event: Any) -> Iterator[Any]:
        """Yield what a handler yields; the status of a `StatusError` is the last."""
        number = 0
        try:
            for answer in answers:
                yield answer
                number += 1
        except StatusError as exc:
            error = checked(exc)
            if number < _BEFORE_STATUSES[event.event]:
                yield self._nset_answer(request, event, error)
            else:  # with the numbers of sub-operations, which the service class knows
                log_status_error(error, self._nset_assoc, request)
                yield status_of(error), None

    def _nset_answer(self, request: Any, event: Any, error: StatusError) -> int:
        log_status_error(error, self._nset_assoc, request)
        self.dimse.send_msg(response_with(request, error), event.context.context_id)
        self.is_established = False
        self.dimse = SimpleNamespace(send_msg=lambda response, context_id: None)
        return 0  # in place of a number of sub-operations, which C-GET answers once more
