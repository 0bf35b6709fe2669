"""Hands the times that were taken by turns to pytest-benchmark, and prints the comparison."""

from collections.abc import Callable

import compare
import pytest
import tables
from pytest_benchmark.fixture import BenchmarkFixture
from rows import Row


class Clock:
    """The clock that pytest-benchmark reads: each turn moves it on by what was measured."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


clock = Clock()
shown: list[Row] = []


@pytest.fixture
def record(benchmark: BenchmarkFixture) -> Callable[[Row, str], None]:
    """Record what one implementation took for one row."""

    def record(row: Row, implementation: str) -> None:
        turns = iter(compare.measured(row)[implementation])

        def turn() -> None:
            clock.seconds += next(turns) / 1e9

        benchmark.group = row.operation.name
        benchmark.pedantic(turn, rounds=compare.TURNS)
        if row not in shown:
            shown.append(row)

    return record


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if shown:
        terminalreporter.section("against pynetdicom")
        terminalreporter.write_line(tables.markdown(*compare.table(shown, targets=True)))
