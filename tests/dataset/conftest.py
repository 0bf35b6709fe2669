"""The fixture `dataset`, nset.dataset on either implementation."""

import importlib
from types import ModuleType

import pytest


@pytest.fixture
def dataset(nset: ModuleType) -> ModuleType:
    """nset.dataset, which `import nset` does not import."""
    return importlib.import_module(f"{nset.__name__}.dataset")
