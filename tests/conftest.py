"""The fixture `nset`, the package on either implementation; and pynetdicom without some defects."""

import gc
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import settings
from implementations import IMPLEMENTATIONS, loaded, names_of_nset
from sound_pynetdicom import sound_pynetdicom

# Of which settings in files of tests are made: the same is drawn each time, however long it takes.
settings.register_profile("nset", derandomize=True, database=None, deadline=None)
settings.load_profile("nset")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: with pytest-xdist in one worker, beside which the others go on."""
    items.sort(key=lambda item: item.get_closest_marker("upstream") is None)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end: thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=IMPLEMENTATIONS)
def nset(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The package, on each implementation in turn."""
    with loaded(request.param) as package:
        bases = package.N_SET.__bases__
        yield package
        if package.N_SET.__bases__ != bases:  # install() adds one for good
            package.N_SET.__bases__ = bases


@pytest.fixture(autouse=True)
def no_other_copy() -> Iterator[None]:
    """Fail a test that imports nset outside of `loaded`.

    The extension takes the class of the last copy for its own, so that the tests behind would run
    on the slow path.
    """
    yield
    if copy := names_of_nset():
        for name in copy:
            del sys.modules[name]
        pytest.fail(f"{copy} were imported")


@pytest.fixture(scope="session", autouse=True)
def pynetdicom_is_sound() -> Iterator[None]:
    """What fails a test is a fault of nset's, or of the test."""
    with loaded(IMPLEMENTATIONS[0]):
        exchange = importlib.import_module("nset.pynetdicom._exchange")
    with sound_pynetdicom(exchange):
        yield
