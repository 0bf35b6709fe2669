"""The core of nset.scp, PDU reader and fast path, of either implementation."""

import importlib
from typing import Any, NamedTuple

import pytest
from implementations import IMPLEMENTATIONS, loaded


class Twin(NamedTuple):
    """A copy of the package, and the module of its implementation."""

    nset: Any
    module: Any

    @property
    def events(self) -> Any:
        """The class of the events that requests are read as."""
        return self.nset.scp._dispatch.ServiceEvent


def twin(name):
    with loaded(name) as nset:
        module = importlib.import_module(f"nset.scp.{'_core' if name == 'compiled' else '_pure'}")
        return Twin(nset, module)


TWINS = {name: twin(name) for name in IMPLEMENTATIONS}
twins = pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)

PDU_LENGTH, OTHER_LENGTH, DATA_SET_LENGTH = 0x10000, 0x1000, 0x8000
LIMITS = (PDU_LENGTH, OTHER_LENGTH, DATA_SET_LENGTH)
