"""How UIDs are checked: pynetdicom's three settings, read at every call.

If pynetdicom is loaded, the values are those of ``pynetdicom._config``: reading and assigning here
reads and assigns there. Otherwise this module has the same three itself; values assigned before
pynetdicom is first imported are not copied to it.

Attributes
----------
ENFORCE_UID_CONFORMANCE : bool
    True: a UID that violates PS3.5 Section 9.1 is refused. False (default): only one of more than
    64 characters is refused, other violations are logged.
VALIDATORS : dict of str to callable
    ``VALIDATORS["UI"]`` takes a `pydicom.uid.UID` and returns ``(ok, reason)``.
CODECS : tuple of str
    Tried in order for a UID given as bytes that are not ASCII. Default ``("ascii",)``.
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
        Whether it is accepted, and if not, why.
    """
    if not isinstance(value, str):
        return False, "must be pydicom.uid.UID"
    uid = UID(value)  # pydicom warns about an invalid UID a second time, as it does in pynetdicom
    if settings()["ENFORCE_UID_CONFORMANCE"]:
        return (True, "") if uid.is_valid else (False, "UID is non-conformant")
    if not uid:
        return False, "must not be an empty str"
    if len(uid) > MAX_UID_LENGTH:
        return False, f"must not exceed {MAX_UID_LENGTH} characters"
    return True, ""


# As in pynetdicom._config, "validate_ui" is the default validator: the C extension compares the
# one in VALIDATORS with it.
_own: dict[str, Any] = {
    "ENFORCE_UID_CONFORMANCE": False,
    "VALIDATORS": {"UI": validate_ui},
    "CODECS": ("ascii",),
    "validate_ui": validate_ui,
}


def settings() -> dict[str, Any]:
    """Return the namespace that holds the three settings.

    That of ``pynetdicom._config``, or nset's own until pynetdicom is completely loaded.
    """
    module = sys.modules.get("pynetdicom._config")
    # pynetdicom defines VALIDATORS last of the three: while it is missing, another thread is still
    # importing the module.
    if module is not None and "VALIDATORS" in module.__dict__:
        return module.__dict__
    return _own


class _Config(ModuleType):
    """The class of this module, with the three settings as attributes."""

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
