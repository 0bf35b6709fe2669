"""Picks the twin, once, for every module.

The environment variable ``NSET_IMPLEMENTATION`` says which: ``compiled`` (an ImportError where the
extension is not there), ``python``, or ``auto`` (the default: compiled if it is there). The same
variable with the same meaning decides at build time whether the extension is built.
"""

import os
from typing import TYPE_CHECKING, Literal

_CHOICES = ("auto", "compiled", "python")
_choice = os.environ.get("NSET_IMPLEMENTATION", "auto")
if _choice not in _CHOICES:
    raise ImportError(f"NSET_IMPLEMENTATION must be one of {', '.join(_CHOICES)}, not {_choice!r}")

IMPLEMENTATION: Literal["compiled", "python"]

if TYPE_CHECKING or _choice == "python":
    from nset._pure import (
        PduReader,
        Primitive,
        RequestPath,
        SetEventBase,
        adopt,
        category,
        encode_response,
        peek,
        step,
    )

    IMPLEMENTATION = "python"
else:
    try:
        from nset._core import (
            PduReader,
            Primitive,
            RequestPath,
            SetEventBase,
            adopt,
            category,
            encode_response,
            peek,
            step,
        )

        IMPLEMENTATION = "compiled"
    except ModuleNotFoundError as exc:
        # Only a core that was never built is passed over: one that fails to load is a fault.
        if exc.name != "nset._core":
            raise
        if _choice == "compiled":
            raise ImportError(
                "NSET_IMPLEMENTATION=compiled, but nset was installed without its extension _core"
            ) from exc
        from nset._pure import (
            PduReader,
            Primitive,
            RequestPath,
            SetEventBase,
            adopt,
            category,
            encode_response,
            peek,
            step,
        )

        IMPLEMENTATION = "python"

__all__ = [
    "IMPLEMENTATION",
    "PduReader",
    "Primitive",
    "RequestPath",
    "SetEventBase",
    "adopt",
    "category",
    "encode_response",
    "peek",
    "step",
]
