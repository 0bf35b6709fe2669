"""N-EVENT-REPORT to subscribers of MPPS Notification (PS3.4 F.9), which pynetdicom's SCPs are."""

import importlib
import socket
import threading
from datetime import timedelta

import pytest
from acceptors import until
from mpps_peers import ROOT, Modality, Subscriber, encoded
from mpps_table import modifications, whole

WHOLE = encoded(whole())


def ending(state):
    step = modifications(whole())
    step.PerformedProcedureStepStatus = state
    return encoded(step)


@pytest.fixture
def notify(nset, monkeypatch):
    """The module; failed notifications are repeated soon."""
    module = importlib.import_module("nset.mpps.notify")
    monkeypatch.setattr(module, "_AGAIN_SECONDS", (0.01, 0.05))
    return module


@pytest.fixture
def workstation():
    return Subscriber()


@pytest.fixture
def closed_port():
    """A port where nobody listens, until somebody does."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def at(notify, port):
    return notify.subscriber(f"STATION@127.0.0.1:{port}")


def waiting(served, to):
    return [(item.uid, item.event_type) for item in served.store.waiting(to.name)]


def test_each_event(serving, notify, workstation):
    """What is refused, and what has come again, is no event."""
    with workstation.listening(("127.0.0.1", 0)) as port:
        to = at(notify, port)
        with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
            for number in (1, 2):
                assert modality.create(f"{ROOT}.{number}", WHOLE).Status == 0x0000
                assert modality.create(f"{ROOT}.{number}", WHOLE).Status == 0x0000
            assert modality.set(f"{ROOT}.1", ending("IN PROGRESS")).Status == 0x0000
            assert modality.set(f"{ROOT}.1", ending("COMPLETED")).Status == 0x0000
            assert modality.set(f"{ROOT}.1", ending("DISCONTINUED")).Status == 0x0110
            assert modality.set(f"{ROOT}.2", ending("DISCONTINUED")).Status == 0x0000
            workstation.until_told((1, 1), (2, 1), (1, 4), (1, 2), (2, 3))
            until(lambda: not waiting(served, to))
    assert set(workstation.associations) == {("NSET_MPPS", "STATION")}


def test_a_subscriber_that_is_away(serving, notify, workstation, closed_port, caplog):
    """Modalities are answered; what waits is in the store, for the next server, too."""
    to = at(notify, closed_port)
    with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
        assert modality.create(f"{ROOT}.1", WHOLE).Status == 0x0000
        until(lambda: f"{to.name} is not notified" in caplog.text)
        assert modality.set(f"{ROOT}.1", ending("COMPLETED")).Status == 0x0000
        assert waiting(served, to) == [(f"{ROOT}.1", 1), (f"{ROOT}.1", 2)]
    with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
        assert modality.create(f"{ROOT}.2", WHOLE).Status == 0x0000
        with workstation.listening(("127.0.0.1", closed_port)):
            workstation.until_told((1, 1), (1, 2), (2, 1))
            until(lambda: not waiting(served, to))


def test_a_subscriber_that_refuses(serving, notify, workstation, caplog):
    workstation.statuses = [0x0110]
    with workstation.listening(("127.0.0.1", 0)) as port:
        to = at(notify, port)
        with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
            assert modality.create(f"{ROOT}.1", WHOLE).Status == 0x0000
            assert modality.create(f"{ROOT}.2", WHOLE).Status == 0x0000
            workstation.until_told((1, 1), (2, 1))
            until(lambda: not waiting(served, to))
    assert f"{to.name} answers the notification of {ROOT}.1 with 0110H" in caplog.messages


def test_one_that_aborts_is_told_again(serving, notify, workstation):
    told, aborted = workstation.told, threading.Event()

    def abort_first(event):
        if not aborted.is_set():
            aborted.set()
            event.assoc.abort()
        return told(event)

    workstation.told = abort_first
    with workstation.listening(("127.0.0.1", 0)) as port:
        to = at(notify, port)
        with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
            assert modality.create(f"{ROOT}.1", WHOLE).Status == 0x0000
            workstation.until_told((1, 1), (1, 1))
            until(lambda: not waiting(served, to))


def test_two_servers_and_one_subscriber(serving, notify, workstation):
    """Whatever server a report has come to, one of them notifies, in the reports' order."""
    expected = []
    with workstation.listening(("127.0.0.1", 0)) as port:
        to = at(notify, port)
        with serving(subscribers=(to,)) as one, serving(subscribers=(to,)) as other:
            with Modality(one.port) as first, Modality(other.port) as second:
                for number in range(10):
                    assert first.create(f"{ROOT}.{number}", WHOLE).Status == 0x0000
                    done = second.set(f"{ROOT}.{number}", ending("COMPLETED"))
                    assert done.Status == 0x0000
                    expected += [(number, 1), (number, 2)]
            workstation.until_told(*expected)
            until(lambda: not waiting(one, to))
        assert workstation.events == expected


def test_one_claims_at_a_time(nset, url):
    store = importlib.import_module("nset.mpps.stores").open_store(url, create=True)
    assert store.claim("A", "2026-11-27T10:00", "2026-11-27T10:01")
    assert not store.claim("A", "2026-11-27T10:00", "2026-11-27T10:02")
    assert store.claim("B", "2026-11-27T10:00", "2026-11-27T10:01")
    assert store.claim("A", "2026-11-27T10:03", "2026-11-27T10:04")  # that process has died
    store.release("A", "2026-11-27T10:01", [])  # or was slow
    assert not store.claim("A", "2026-11-27T10:03", "2026-11-27T10:05")
    store.release("A", "2026-11-27T10:04", [])
    assert store.claim("A", "2026-11-27T10:03", "2026-11-27T10:05")
    store.close()


def test_what_is_too_old_is_given_up(
    serving, notify, workstation, closed_port, monkeypatch, caplog
):
    monkeypatch.setattr(notify, "_KEPT", timedelta(seconds=-60))
    to = at(notify, closed_port)
    with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
        assert modality.create(f"{ROOT}.1", WHOLE).Status == 0x0000
        until(lambda: not waiting(served, to))
    assert f"1 notifications to {to.name} are given up" in caplog.messages


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("RIS@ris.example.org:104", ("RIS", "ris.example.org", 104)),
        ("A@B@[::1]:11112", ("A@B", "::1", 11112)),
        *((text, None) for text in ("", "RIS", "RIS@host", "@host:1", "RIS@:1", "RIS@host:x")),
        *((text, None) for text in ("RIS@host:0", "RIS@host:65536", "RIS@host:²", " @host:1")),
        *((text, None) for text in ("R\\S@host:1", "R\x1bS@host:1", "RÏS@host:1")),
        ("A_TITLE_OF_17_CHA@host:1", None),
        *((text, None) for text in ("RIS@a..b:1", f"RIS@{'a' * 64}:1")),
    ],
)
def test_subscribers(nset, notify, text, parts):
    if parts is None:
        with pytest.raises(ValueError, match="a subscriber is TITLE@HOST:PORT, and not"):
            notify.subscriber(text)
    else:
        assert notify.subscriber(text) == (text, *parts)
