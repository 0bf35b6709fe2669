"""Selects the implementation, once, for all modules.

The environment variable ``NSET_IMPLEMENTATION`` says which: ``compiled`` (an ImportError where the
extension can't be had), ``python``, or ``auto`` (the default: compiled if it can be had). The same
variable with the same meaning decides at build time whether the extension is built.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Literal

_CHOICES = ("auto", "compiled", "python")
_choice = os.environ.get("NSET_IMPLEMENTATION", "auto")
if _choice not in _CHOICES:
    raise ImportError(f"NSET_IMPLEMENTATION must be one of {', '.join(_CHOICES)}, not {_choice!r}")

# Texts of Cython's and CPython's errors in an interpreter that cannot load the extension.
_ANOTHER_INTERPRETER = ("one interpreter per process", "loading in subinterpreters")

IMPLEMENTATION: Literal["compiled", "python"]


def _has_core() -> bool:
    """Import the extension; return False if the fallback is to replace it."""
    try:
        import_module("nset._core")
    except ImportError as exc:
        # Only an extension that was not built, or that another interpreter has loaded, is replaced:
        # one that fails to load is an error.
        is_missing = isinstance(exc, ModuleNotFoundError) and exc.name == "nset._core"
        is_elsewhere = any(text in str(exc) for text in _ANOTHER_INTERPRETER)
        if not (is_missing or (is_elsewhere and _choice == "auto")):
            raise
        if _choice == "compiled":
            raise ImportError(
                "NSET_IMPLEMENTATION=compiled, but nset was installed without its extension _core"
            ) from exc
        return False
    return True


if TYPE_CHECKING or _choice == "python" or not _has_core():
    from nset._pure import Primitive, category, read_command_field_and_type, register_class

    IMPLEMENTATION = "python"
else:
    from nset._core import Primitive, category, read_command_field_and_type, register_class

    IMPLEMENTATION = "compiled"

__all__ = [
    "IMPLEMENTATION",
    "Primitive",
    "category",
    "read_command_field_and_type",
    "register_class",
]
