"""Data sets by `nset.dataset`: as pynetdicom has them encoded and decoded, and logged.

`send_n_set`, `encode`, `decode` and `get_dataset` take a stock function of pynetdicom
and return its replacement, which calls the stock function for all but N-SET.
"""

import logging
import threading
from collections.abc import Callable
from functools import wraps
from io import BytesIO
from typing import Any, Final

from pydicom import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import dsutils

from nset import dataset
from nset.dataset import MAX_INFLATED_BYTES

# By what pynetdicom's functions are given: implicit VR, little endian, deflated.
_SYNTAXES: Final[dict[tuple[bool, ...], UID]] = {
    (True, True, False): ImplicitVRLittleEndian,
    (False, True, False): ExplicitVRLittleEndian,
    (False, True, True): DeflatedExplicitVRLittleEndian,
}

_thread = threading.local()  # has `sends_n_set` while a thread is in `send_n_set`


def encoded(data_set: Any, syntax: UID) -> bytes | None:
    """Return an encoded data set; None, with the reason in the log, if that can't be had."""
    try:
        return dataset.encode(data_set, syntax)
    except Exception:  # pynetdicom logs what is wrong
        return dsutils.encode(
            data_set, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
        )


def decoded(data: bytes, syntax: UID, limit: int) -> Dataset:
    """Return a decoded data set, with pynetdicom's line in the log.

    Raise `DataSetError` if it exceeds a bound; `limit` is the most bytes of it when inflated.
    """
    if dsutils.LOGGER.isEnabledFor(logging.DEBUG):
        deflated = "Deflated " if syntax.is_deflated else ""
        endian = "Little Endian" if syntax.is_little_endian else "Big Endian"
        vr = "Implicit" if syntax.is_implicit_VR else "Explicit"
        text = f"{deflated}{endian} {vr}"
        dsutils.LOGGER.debug('pydicom.read_dataset() TransferSyntax="%s"', text)
    return dataset.decode(data, syntax, max_inflated_bytes=limit)


def data_set_of(event: Any, attribute: str, message: str, limit: int) -> Dataset:
    """Return a data set of the request, for `Event._get_dataset`; decoded once.

    `message` is that of the AttributeError if the request has none; `limit` as for `decoded`.
    """
    try:
        return cached(event, getattr(event.request, attribute), limit)
    except AttributeError:
        raise AttributeError(message) from None


def cached(event: Any, stream: BytesIO | None, limit: int) -> Dataset:
    """Return the data set in a stream; decoded once, as long as it is the same stream."""
    if event._hash != hash(stream):
        data = stream.getvalue() if stream else b""
        if data:
            syntax = event.context.transfer_syntax
            event._decoded = decoded(data, syntax, limit)
            event._decoded.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
        else:
            event._decoded = Dataset()
        event._hash = hash(stream)
    return event._decoded  # type: ignore[no-any-return]


# -- Patches ---------------------------------------------------------------------------------------


def send_n_set(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Have nset encode the Modification List and decode the Attribute List."""

    @wraps(stock)
    def send_n_set(self: Any, *args: Any, **kwargs: Any) -> Any:
        _thread.sends_n_set = True
        try:
            return stock(self, *args, **kwargs)
        finally:
            _thread.sends_n_set = False

    return send_n_set


def encode(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Encode a data set as before, for `send_n_set` in C."""
    return _for_n_set(stock, encoded)


def decode(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Decode a data set as before, for `send_n_set` in C."""
    return _for_n_set(
        stock, lambda stream, syntax: decoded(stream.getvalue(), syntax, MAX_INFLATED_BYTES)
    )


def _for_n_set(stock: Callable[..., Any], ours: Callable[[Any, UID], Any]) -> Callable[..., Any]:
    @wraps(stock)
    def function(data: Any, *encoding: bool, **named: bool) -> Any:
        syntax = _SYNTAXES.get(encoding)
        if syntax is None or not getattr(_thread, "sends_n_set", False):
            return stock(data, *encoding, **named)
        return ours(data, syntax)

    return function


def get_dataset(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Replace ``Event._get_dataset``: the Modification List is decoded in C."""

    @wraps(stock)
    def _get_dataset(self: Any, attr: str, exc_msg: str) -> Any:
        if attr != "ModificationList":
            return stock(self, attr, exc_msg)
        return data_set_of(self, attr, exc_msg, MAX_INFLATED_BYTES)

    return _get_dataset
