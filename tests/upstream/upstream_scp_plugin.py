"""A pytest plugin for pynetdicom's own tests: the servers that they start are those of `nset.scp`.

``--stock`` leaves pynetdicom's as they are: what fails there too is not nset's doing.
"""

from typing import Any

import pytest
from pynetdicom.ae import ApplicationEntity

import nset.scp


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stock", action="store_true", help="pynetdicom's own servers")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--stock"):
        ApplicationEntity.start_server = _start_server


def _start_server(self: ApplicationEntity, *args: Any, **kwargs: Any) -> Any:
    return nset.scp.start_server(self, *args, **kwargs)
