"""A pytest plugin for pynetdicom's own tests: they find nset where pynetdicom had its own N-SET.

Loaded with ``-p``, so before the tests import names from pynetdicom. ``--stock`` leaves pynetdicom
as it is: what fails there too is not nset's doing.
"""

import socketserver

import pytest

import nset.pynetdicom

# How often a server looks whether it is to stop. Nearly every test stops one, and half a second
# for each, which is the default, made four fifths of their time.
socketserver.BaseServer.serve_forever.__defaults__ = (0.01,)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stock", action="store_true", help="do not install nset")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--stock"):
        nset.pynetdicom.install()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail unless what the tests have imported is the class that is meant to be tested."""
    installed = not session.config.getoption("--stock")
    for module in {item.module for item in session.items}:
        taken = vars(module).get("N_SET", nset.N_SET if installed else None)
        assert (taken is nset.N_SET) == installed, module


def pytest_sessionfinish() -> None:
    nset.pynetdicom.uninstall()
