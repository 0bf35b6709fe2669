"""Fixtures of several files about nset.scp: what it is compared with, and certificates."""

import gc
import importlib
import sys

import pytest
from associations import serving
from certificates import make_certificate, new_contexts
from services import (
    CT,
    observed,
    stock_server,
)


@pytest.fixture(scope="module", autouse=True)
def sockets_are_closed():
    """See that no test of a file leaves a socket behind, lest one of another file fail for it."""
    yield
    gc.collect()


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request, monkeypatch):
    """Whose loop a server runs in: they differ in how they accept, and do TLS."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="nset[scp] has it where it can be")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    return request.param


@pytest.fixture(scope="module")
def stock():
    """One of pynetdicom's servers."""
    with stock_server() as server:
        yield server


@pytest.fixture(scope="module")
def destination():
    """The third AE, where images are moved to."""
    with serving(CT) as server:
        yield server


@pytest.fixture(scope="module")
def oracle(stock, destination):
    """What pynetdicom's server makes of a scenario; each is run once."""
    known = {}

    def run(key, scenario):
        if key not in known:
            known[key] = observed(stock, destination, scenario)
        return known[key]

    return run


@pytest.fixture(scope="module")
def remembered():
    """Does something the first time that it is asked to: pynetdicom's server ends slowly."""
    known = {}

    def once(key, make):
        if key not in known:
            known[key] = make()
        return known[key]

    return once


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The server's, and a client's."""
    directory = tmp_path_factory.mktemp("certificates")
    return make_certificate(directory, "server"), make_certificate(directory, "client")


@pytest.fixture
def scp(nset):
    """The package `nset.scp`, on each implementation in turn."""
    return importlib.import_module("nset.scp")


@pytest.fixture(params=["TCP", "TLS"])
def security(request, tmp_path):
    """What makes a server, and what makes a client's socket of a bare one."""
    if request.param == "TCP":
        return {}, lambda bare: bare
    server_context, context = new_contexts(tmp_path)
    return (
        {"ssl_context": server_context},
        lambda bare: context.wrap_socket(bare, server_hostname="localhost"),
    )
