"""Selects the implementation, once, for all modules.

The environment variable ``NSET_IMPLEMENTATION`` says which: ``compiled`` (an ImportError where the
extension can't be had), ``python``, or ``auto`` (the default: compiled if it can be had). The same
variable with the same meaning decides at build time whether the extension is built.
"""

import os
from typing import TYPE_CHECKING, Literal

_CHOICES = ("auto", "compiled", "python")
_choice = os.environ.get("NSET_IMPLEMENTATION", "auto")
if _choice not in _CHOICES:
    raise ImportError(f"NSET_IMPLEMENTATION must be one of {', '.join(_CHOICES)}, not {_choice!r}")

# Texts of Cython's and CPython's errors in an interpreter that cannot load the extension.
_ANOTHER_INTERPRETER = ("one interpreter per process", "loading in subinterpreters")

IMPLEMENTATION: Literal["compiled", "python"]

if TYPE_CHECKING or _choice == "python":
    import nset._pure as _chosen

    IMPLEMENTATION = "python"
else:
    try:
        import nset._core as _chosen

        IMPLEMENTATION = "compiled"
    except ImportError as exc:
        # Only an extension that was not built, or that another interpreter has loaded, is replaced
        # by the fallback: one that fails to load is an error.
        is_missing = isinstance(exc, ModuleNotFoundError) and exc.name == "nset._core"
        is_elsewhere = any(text in str(exc) for text in _ANOTHER_INTERPRETER)
        if not (is_missing or (is_elsewhere and _choice == "auto")):
            raise
        if _choice == "compiled":
            raise ImportError(
                "NSET_IMPLEMENTATION=compiled, but nset was installed without its extension _core"
            ) from exc
        import nset._pure as _chosen

        IMPLEMENTATION = "python"

Primitive = _chosen.Primitive
register_class = _chosen.register_class
category = _chosen.category
read_command_field_and_type = _chosen.read_command_field_and_type
