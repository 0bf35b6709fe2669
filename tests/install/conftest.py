"""Fixtures of several files about ``nset.pynetdicom``: it, and pynetdicom's own server."""

import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from associations import MPPS, serving
from pynetdicom.transport import ThreadedAssociationServer


@pytest.fixture
def integration(nset: ModuleType) -> Iterator[ModuleType]:
    """``nset.pynetdicom`` on each implementation in turn, uninstalled afterwards."""
    integration = importlib.import_module("nset.pynetdicom")
    yield integration
    integration.uninstall()


@pytest.fixture
def installed(integration: ModuleType) -> ModuleType:
    """The same, installed."""
    integration.install()
    return integration


@pytest.fixture
def both(integration: ModuleType) -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """Do something with nset installed and without; give both results, nset's first."""

    def both(run: Callable[[], Any]) -> tuple[Any, Any]:
        with integration.installed():
            ours = run()
        return ours, run()

    return both


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[ThreadedAssociationServer]:
    """pynetdicom's own server of the file's SOP_CLASSES, or of MPPS."""
    with serving(*getattr(request.module, "SOP_CLASSES", (MPPS,))) as server:
        yield server
