"""Fixtures of the tests of ``nset mpps``: the stores, and servers on them."""

import functools
import itertools

import pytest
from mpps_peers import serving_mpps
from postgresql import cluster

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql():
    """A cluster of PostgreSQL."""
    with cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peers)])
def url(request, tmp_path):
    """Of a new store, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/mpps.sqlite"
    cluster = request.getfixturevalue("postgresql")
    schema = f"test_{next(_numbers)}"
    cluster.sql(f"CREATE SCHEMA {schema}")
    return cluster.url(schema)


@pytest.fixture
def serving(nset, url):
    """Run a server on it."""
    return functools.partial(serving_mpps, nset, url)
