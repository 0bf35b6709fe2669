"""The fixture `nset`, the package on either twin; and a pynetdicom to be relied on."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
from sound_pynetdicom import sound_pynetdicom

_choice = os.environ.get("NSET_IMPLEMENTATION", "auto")
IMPLEMENTATIONS = ("compiled", "python") if _choice == "auto" else (_choice,)

_copies: dict[str, dict[str, ModuleType]] = {}


def _take_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == "nset" or name.startswith("nset.")]
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def loaded(implementation: str) -> Iterator[ModuleType]:
    """Have ``import nset`` find the copy of the package that runs on one twin.

    A twin that can't be loaded is an error: no test is skipped for the want of a compiler.
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


@pytest.fixture(params=IMPLEMENTATIONS)
def nset(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The package, on each twin in turn."""
    with loaded(request.param) as package:
        bases = package.N_SET.__bases__
        yield package
        if package.N_SET.__bases__ != bases:  # install() adds one for good
            package.N_SET.__bases__ = bases


@pytest.fixture(scope="session", autouse=True)
def pynetdicom_is_sound() -> Iterator[None]:
    """What fails a test is a fault of nset's, or of the test."""
    with loaded(IMPLEMENTATIONS[0]):
        exchange = importlib.import_module("nset.pynetdicom._exchange")
    with sound_pynetdicom(exchange):
        yield
