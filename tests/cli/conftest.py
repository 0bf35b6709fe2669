"""Fixtures of several files about ``python -m nset dump``."""

import importlib

import pytest
from click.testing import CliRunner


@pytest.fixture
def dump(nset):
    return importlib.import_module("nset.dump").dump


@pytest.fixture
def run(nset):
    main = importlib.import_module("nset.cli").main

    def run(*arguments, **more):
        # Any exception but that of the exit status comes through.
        return CliRunner().invoke(main, ["dump", *arguments], catch_exceptions=False, **more)

    return run


@pytest.fixture
def undecodable(nset):
    return importlib.import_module("nset.dump").Undecodable
