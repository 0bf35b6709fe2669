"""The corpus of `make fuzz`, and what it has found: nothing fails on either implementation."""

import inputs
import pytest
from fuzz_targets import TARGETS
from fuzzed_associations import close_servers

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def servers_end():
    yield
    close_servers()


@pytest.mark.parametrize("target", inputs.TARGETS)
def test_nothing_of_it_fails(target):
    assert list(TARGETS) == inputs.TARGETS
    replayed = [*inputs.corpus(target), *inputs.found(target)]
    assert len(replayed) > 50
    for data in replayed:
        TARGETS[target](data)
