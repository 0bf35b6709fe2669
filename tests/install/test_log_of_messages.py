"""With nset in pynetdicom the log says the same."""

import logging
from typing import Any

import pytest
from associations import (
    INSTANCE,
    MPPS,
    associated,
    completed,
)
from pynetdicom import evt
from seen import ANSWERS


@pytest.fixture
def log(server, both, caplog):
    """What pynetdicom logs of an N-SET with this answer, with nset and without."""

    def log(level: int, answer: Any) -> tuple[Any, Any]:
        def run():
            with associated(server, MPPS, {evt.EVT_N_SET: lambda event: answer}) as (scu, _):
                # What is logged of the beginning of the association is behind us after this.
                scu.send_n_set(completed(), MPPS, INSTANCE)
                caplog.clear()
                scu.send_n_set(completed(), MPPS, INSTANCE)
                return [(one.name, one.levelno, one.getMessage()) for one in caplog.records]

        caplog.set_level(level, "pynetdicom")
        return both(run)

    return log


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_log_for_debugging(log, answer):
    ours, stock = log(logging.DEBUG, answer)
    assert ours == stock
    assert "N-SET RSP" in str(ours)


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_the_log(log, level):
    ours, stock = log(level, (0xFFF0, None))
    assert ours == stock
    assert "N-SET RSP" not in str(ours)
    assert "0xFFF0" in str(ours)
