"""Data sets of DIMSE-N requests and responses: by `nset.dataset`, and within its bounds."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import dsutils, evt

from nset import _rules
from nset.dataset import DataSetError, decode, encode

_LOGGER = logging.getLogger("nset")

_WITH_DATA_SET: Final = (
    evt.EVT_N_ACTION,
    evt.EVT_N_CREATE,
    evt.EVT_N_EVENT_REPORT,
    evt.EVT_N_SET,
)


class DataSetEvent(evt.Event):
    """An event whose data set is decoded by nset."""

    def _get_dataset(self, attr: str, exc_msg: str) -> Dataset:
        try:
            stream = getattr(self.request, attr)
            if self._hash != hash(stream):
                encoded = stream.getvalue() if stream else b""
                limit = self.assoc.limits.data_set_bytes  # type: ignore[attr-defined]
                self._decoded = (
                    _decoded(encoded, self.context.transfer_syntax, limit) if encoded else Dataset()
                )
                self._hash = hash(stream)
            return self._decoded  # type: ignore[return-value]
        except AttributeError:
            raise AttributeError(exc_msg) from None


def _decoded(encoded: bytes, syntax: UID, limit: int) -> Dataset:
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    if dsutils.LOGGER.isEnabledFor(logging.DEBUG):
        deflated = "Deflated " if syntax.is_deflated else ""
        endian = "Little Endian" if little else "Big Endian"
        vr = "Implicit" if implicit else "Explicit"
        dsutils.LOGGER.debug(
            'pydicom.read_dataset() TransferSyntax="%s"', f"{deflated}{endian} {vr}"
        )
    data_set = decode(encoded, syntax, max_inflated_bytes=limit)
    data_set.set_original_encoding(implicit, little)
    return data_set


def encoded(data_set: Any, syntax: UID) -> bytes | None:
    """Return an encoded data set; None, with the reason in the log, where that can't be had."""
    try:
        return encode(data_set, syntax)
    except Exception:  # pynetdicom says in the log what is wrong
        return dsutils.encode(
            data_set, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
        )


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


def refused(error: DataSetError) -> tuple[int, None]:
    """Log that a data set takes too much; return the answer of a handler that has met it."""
    _LOGGER.error("The data set of a request was not decoded: %s", error)
    return _rules.RESOURCE_LIMITATION, None
