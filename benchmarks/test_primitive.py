"""The primitive: building, reading and validating it."""

import pytest
from compare import IMPLEMENTATIONS
from conftest import clock
from rows import ROWS


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.operation.name)
def test_primitive(record, row, implementation):
    record(row, implementation)
