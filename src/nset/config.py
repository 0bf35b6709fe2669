"""How UIDs are checked: pynetdicom's three settings, read anew at every call.

Where pynetdicom is loaded, its ``pynetdicom._config`` is the one place: reading and assigning
here reads and assigns there. Otherwise this module holds the same three itself; what was assigned
here before pynetdicom was first imported does not move over.

Attributes
----------
ENFORCE_UID_CONFORMANCE : bool
    True: a UID that PS3.5 Section 9.1 does not allow is refused. False (default): only one of more
    than 64 characters is, and the rest is logged.
VALIDATORS : dict of str to callable
    ``VALIDATORS["UI"]`` takes a `pydicom.uid.UID` and returns ``(ok, reason)``.
CODECS : tuple of str
    Tried in turn for a UID given as bytes that are not ASCII. Default ``("ascii",)``.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pydicom.uid import UID

from nset._rules import MAX_UID_LENGTH

ENFORCE_UID_CONFORMANCE: bool
VALIDATORS: dict[str, Callable[[Any], tuple[bool, str]]]
CODECS: tuple[str, ...]

_NAMES = frozenset({"ENFORCE_UID_CONFORMANCE", "VALIDATORS", "CODECS"})


def validate_ui(value: Any) -> tuple[bool, str]:
    """Check a UID by `ENFORCE_UID_CONFORMANCE`: the default of ``VALIDATORS["UI"]``.

    Parameters
    ----------
    value : pydicom.uid.UID
        The UID to check.

    Returns
    -------
    tuple of (bool, str)
        Whether it may be used, and if not, why.
    """
    if not isinstance(value, str):
        return False, "must be pydicom.uid.UID"
    uid = UID(value)  # pydicom warns of a bad UID here once more, as it does under pynetdicom
    if settings()["ENFORCE_UID_CONFORMANCE"]:
        return (True, "") if uid.is_valid else (False, "UID is non-conformant")
    if not uid:
        return False, "must not be an empty str"
    if len(uid) > MAX_UID_LENGTH:
        return False, f"must not exceed {MAX_UID_LENGTH} characters"
    return True, ""


# The core looks for "validate_ui" beside "VALIDATORS", as pynetdicom._config has it, to see
# whether the default validator is in force.
_own: dict[str, Any] = {
    "ENFORCE_UID_CONFORMANCE": False,
    "VALIDATORS": {"UI": validate_ui},
    "CODECS": ("ascii",),
    "validate_ui": validate_ui,
}


def settings() -> dict[str, Any]:
    """Give the namespace that holds the three settings now.

    Returns
    -------
    dict
        That of ``pynetdicom._config``, or our own while pynetdicom is not (fully) loaded.
    """
    module = sys.modules.get("pynetdicom._config")
    # VALIDATORS is the last of the three that pynetdicom defines: a module without it is still
    # being imported by another thread.
    if module is not None and "VALIDATORS" in module.__dict__:
        return module.__dict__
    return _own


class _Config(ModuleType):
    """The module itself, with the settings as attributes that reach through."""

    def __getattr__(self, name: str) -> Any:
        if name in _NAMES:
            return settings()[name]
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _NAMES:
            settings()[name] = value
        else:
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_NAMES})


sys.modules[__name__].__class__ = _Config
