"""`install`: pynetdicom's own SCP and SCU make and take nset's ``N_SET``.

A module that took ``N_SET`` from pynetdicom before `install` keeps the stock class; messages made
of it can still be sent.
"""

import importlib
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from nset.primitive import N_SET, pynetdicom_class

_KNOWN_VERSIONS = ((3, 0), (3, 1))

# Where pynetdicom keeps a name of its own for the class.
_MODULES = (
    "dimse_primitives",
    "association",
    "service_class",
    "service_class_n",
    "dimse",
    "dimse_messages",
)

_lock = threading.RLock()  # guards _undo
_undo: list["_Entry"] = []


class _Entry:
    """One entry of a namespace or mapping, with what stood there before."""

    def __init__(self, mapping: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        self._mapping = mapping
        self._key = key
        self._value = value
        self._was_there = key in mapping
        self._before = mapping.get(key)

    def put(self) -> None:
        self._mapping[self._key] = self._value

    def put_back(self) -> None:
        if self._was_there:
            self._mapping[self._key] = self._before
        else:
            del self._mapping[self._key]


def install() -> None:
    """Make pynetdicom's SCP and SCU create nset's ``N_SET``, for the whole process.

    Does nothing where it is installed already. Associations that are open go on.

    Raises
    ------
    ImportError
        If pynetdicom is not there.
    RuntimeError
        If this is no pynetdicom that nset knows (3.0, 3.1); nothing has been changed then.
    """
    with _lock:
        if _undo:
            return
        for entry in _entries():
            entry.put()
            _undo.append(entry)


def uninstall() -> None:
    """Put everything back as it was before `install`; does nothing where it is not installed."""
    with _lock:
        while _undo:
            _undo.pop().put_back()


def is_installed() -> bool:
    """Tell whether `install` is in force.

    Returns
    -------
    bool
        True between `install` and `uninstall`.
    """
    return bool(_undo)


@contextmanager
def installed() -> Iterator[None]:
    """Install for the length of a ``with`` block, then restore the state it found.

    Yields
    ------
    None
    """
    with _lock:
        before = is_installed()
        install()
    try:
        yield
    finally:
        if not before:
            uninstall()


def _entries() -> list[_Entry]:
    """Look at every place that is to be changed, and change none."""
    modules = {name: _module(name) for name in _MODULES}
    stock = pynetdicom_class()
    entries = []
    for name, module in modules.items():
        if stock is None or module.__dict__.get("N_SET") is not stock:
            raise _unknown(f"{name}.N_SET is not its N-SET primitive")
        entries.append(_Entry(module.__dict__, "N_SET", N_SET))
    dimse = modules["dimse"]
    for table in ("_RQ_TO_MESSAGE", "_RSP_TO_MESSAGE"):
        mapping = getattr(dimse, table, None)
        if not isinstance(mapping, dict) or stock not in mapping:
            raise _unknown(f"dimse.{table} does not hold its N-SET primitive")
        # Beside the stock class, not in its place: instances of that may be waiting to be sent.
        entries.append(_Entry(mapping, N_SET, mapping[stock]))
    messages = modules["dimse_messages"]
    # Spelled either way, by release.
    for table in ("_MSG_TO_PRIMITVE", "_MSG_TO_PRIMITIVE"):
        mapping = getattr(messages, table, None)
        if isinstance(mapping, dict) and mapping.get("N_SET") is stock:
            entries.append(_Entry(mapping, "N_SET", N_SET))
            return entries
    raise _unknown("dimse_messages has no table of primitives that holds N_SET")


def _module(name: str) -> ModuleType:
    package = importlib.import_module("pynetdicom")
    if _version(package) not in _KNOWN_VERSIONS:
        raise _unknown("not a version that nset was made for")
    try:
        return importlib.import_module(f"pynetdicom.{name}")
    except ModuleNotFoundError as exc:
        raise _unknown(f"it has no module {name}") from exc


def _version(package: ModuleType) -> tuple[int, ...]:
    parts = str(getattr(package, "__version__", "")).split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal())


def _unknown(reason: str) -> RuntimeError:
    package = importlib.import_module("pynetdicom")
    version = getattr(package, "__version__", "of unknown version")
    return RuntimeError(f"nset can't be installed in pynetdicom {version}: {reason}")
