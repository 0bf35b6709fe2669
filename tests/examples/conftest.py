"""What the tests of the examples share: an example, on each implementation, and its clients."""

import importlib.util
import os
from contextlib import contextmanager

import pytest
from associations import TIMEOUT
from paths import REPOSITORY
from pynetdicom import AE


@pytest.fixture
def example(nset):
    """Load an example, as a module of its own in each test."""

    def load(name):
        path = REPOSITORY / "examples" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"example_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def associated():
    """Associate with a server; it is released in the end."""

    @contextmanager
    def associated(server, *sop_classes):
        ae = AE("CT_4")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT
        for sop_class in sop_classes:
            ae.add_requested_context(sop_class)
        assoc = ae.associate("127.0.0.1", server.server_address[1])
        assert assoc.is_established
        try:
            yield assoc
        finally:
            assoc.release()

    return associated


@pytest.fixture
def environment(nset):
    """The environment of a program that is to run on the same implementation."""
    return {**os.environ, "NSET_IMPLEMENTATION": nset.IMPLEMENTATION}
