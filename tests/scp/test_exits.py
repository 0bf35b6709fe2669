"""nset.scp: handlers that exit end their own association, and no thread."""

import threading
from contextlib import suppress
from typing import Any

import pytest
from acceptors import accepting, entity, port, until
from callers import ECHO, serving
from pynetdicom import evt


def exits(event: Any) -> Any:
    raise SystemExit(event.event.name)


def ask_until_aborted(ae: Any, server: Any) -> None:
    """Associate and send a C-ECHO-RQ, as far as the server's handlers let it come to that."""
    assoc = ae.associate("127.0.0.1", port(server))
    with suppress(RuntimeError):  # aborted already
        assoc.send_c_echo()
    until(lambda: assoc.is_aborted and not server._associations)


@pytest.mark.parametrize(
    "event",
    ["C_ECHO", "CONN_OPEN", "DATA_SENT", "DIMSE_RECV", "ESTABLISHED", "FSM_TRANSITION", "PDU_RECV"],
)
def test_a_handler_that_exits_ends_its_association_alone(nset, event):
    ae = entity(ECHO)
    ae.maximum_associations = 2
    with serving(nset, [(getattr(evt, f"EVT_{event}"), exits)], ae) as (server, _):
        for _ in range(3):
            ask_until_aborted(ae, server)
        assert server.counts.aborted == {"error": 3}


def test_a_thread_survives_a_job_that_raises(nset, monkeypatch):
    """Here the handler of the abort, behind another one that has exited."""
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    ae = entity(ECHO)
    with accepting(nset, [(evt.EVT_ESTABLISHED, exits), (evt.EVT_ABORTED, exits)], ae) as server:
        for _ in range(3):
            ask_until_aborted(ae, server)
        until(lambda: len(failures) == 3)
    assert {str(failure.exc_value) for failure in failures} == {"EVT_ABORTED"}
