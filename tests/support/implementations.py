"""The package on either implementation, as a copy of its own."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_choice = os.environ.get("NSET_IMPLEMENTATION", "auto")
IMPLEMENTATIONS = ("compiled", "python") if _choice == "auto" else (_choice,)

_copies: dict[str, dict[str, ModuleType]] = {}


def names_of_nset() -> list[str]:
    """What is loaded of nset; asked three times a test, of thousands of modules."""
    if "\nnset" not in "\n" + "\n".join(sys.modules):  # most often, and in less than half the time
        return []
    return [name for name in sys.modules if name[:4] == "nset" and name.partition(".")[0] == "nset"]


def _take_modules() -> dict[str, ModuleType]:
    names = names_of_nset()
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def loaded(implementation: str) -> Iterator[ModuleType]:
    """Make ``import nset`` find the copy of the package that runs on one implementation.

    One that cannot be loaded is an error: no test is skipped for lack of a compiler.
    """
    before = _take_modules()
    sys.modules.update(_copies.get(implementation, {}))
    environment = os.environ.get("NSET_IMPLEMENTATION")
    os.environ["NSET_IMPLEMENTATION"] = implementation
    try:
        nset = importlib.import_module("nset")
        assert implementation == nset.IMPLEMENTATION
        yield nset
    finally:
        _copies[implementation] = _take_modules()
        sys.modules.update(before)
        if environment is None:
            del os.environ["NSET_IMPLEMENTATION"]
        else:
            os.environ["NSET_IMPLEMENTATION"] = environment
