"""Subscribers that answer what they may not, or not at all: reports are stored, and wait for them.

Each is a bare socket, and has a script of what it sends when.
"""

import importlib
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from acceptors import until
from associations import TIMEOUT
from mpps_peers import ROOT, Modality, encoded
from mpps_table import whole
from n_set_requests import uid as uid_bytes
from raw_peer import (
    ABORT,
    COMMAND,
    LAST,
    RELEASE_RP,
    RELEASE_RQ,
    item,
    p_data,
    pdu,
    reset_when_closed,
)
from service_requests import asked, sent

WHOLE = encoded(whole())
NOTIFICATION = "1.2.840.10008.3.1.2.3.5"


def accepted(result=0, max_length=16384):
    """An A-ASSOCIATE-AC (PS3.8 9.3.3)."""
    context = item(0x21, bytes((1, 0, result, 0)), item(0x40, "1.2.840.10008.1.2"))
    user = item(0x50, item(0x51, struct.pack(">I", max_length)))
    start = struct.pack(">HH", 1, 0) + b" " * 32 + bytes(32)
    return pdu(0x02, start + item(0x10, "1.2.840.10008.3.1.1.1") + context + user)


def answer(*elements):
    """An N-EVENT-REPORT-RSP; elements of the command set are number and bytes."""
    body = b"".join(
        struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements
    )
    return p_data((1, COMMAND | LAST, body))


US = struct.Struct("<H").pack
SUCCESS = answer((0x100, US(0x8100)), (0x120, US(1)), (0x800, US(0x0101)), (0x900, US(0)))
REQUEST = sent(asked(0x0100, x0002=uid_bytes(NOTIFICATION)), NOTIFICATION, context_id=1)
TIMED_OUT = "timed out"
ENDLESS = bytes(0x100000)


class Script:
    """A subscriber: what it sends once it has a PDU, and then once more; it goes on at the last."""

    def __init__(self, *answers):
        self.answers = answers
        self.received = threading.Semaphore(0)
        self.is_over = threading.Event()
        self.connections = []

    @contextmanager
    def listening(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=self.accept, args=(listening,), daemon=True)
            thread.start()
            yield listening.getsockname()[1]
            self.is_over.set()
            listening.shutdown(socket.SHUT_RDWR)
            for connection in self.connections:
                connection.close()
            thread.join(TIMEOUT)

    def accept(self, listening):
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                self.connections.append(connection)
                with suppress(OSError):
                    self.serve(connection)

    def serve(self, connection):
        for parts in self.answers:
            if not connection.recv(0x10000):
                return
            self.received.release()
            if parts is None:
                reset_when_closed(connection)
                connection.close()
                return
            for part in parts:
                connection.sendall(part)
        self.is_over.wait(TIMEOUT)


def drops():
    """Bytes of a PDU, each for itself."""
    yield pdu(0x04, bytes(0x1000))[:6]
    while True:
        time.sleep(0.01)
        yield b"\0"


def fragments():
    while True:
        yield p_data((1, COMMAND, bytes(1000)))


@pytest.fixture
def notify(nset, monkeypatch):
    module = importlib.import_module("nset.mpps.notify")
    monkeypatch.setattr(module, "_AGAIN_SECONDS", (60, 60))
    monkeypatch.setattr(module, "_ENDING_SECONDS", 0.05)
    return module


@pytest.fixture
def url(tmp_path):
    """Of a new store; what a subscriber does has nothing to do with its kind."""
    return f"sqlite:///{tmp_path}/mpps.sqlite"


def have_timeout(monkeypatch, seconds):
    monkeypatch.setattr(importlib.import_module("nset.mpps.reporting"), "_TIMEOUT_SECONDS", seconds)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ([None], "Connection reset by peer"),
        ([[pdu(0x03, bytes((0, 1, 1, 7)))]], "Called AE title not recognised"),
        ([[pdu(0x03, bytes(4))]], "it sends what can't be read: "),
        ([[accepted(result=3)]], "it does not accept the presentation context"),
        ([[accepted(max_length=7)]], "its PDUs are too short for a message"),
        ([[pdu(0x02, b"")]], "it sends what can't be read: "),
        ([[pdu(ABORT, bytes(4))]], "it sends A-ABORT"),
        ([[b"HTTP/1.1 400 Bad Request\r\n"]], "it sends a PDU of type 48H"),
        ([[pdu(0x02, bytes(70))[:2] + b"\xff" * 4, ENDLESS]], "it sends more than 131072 bytes"),
        ([[accepted()], [pdu(ABORT, bytes(4))]], "it sends A-ABORT"),
        ([[accepted()], [pdu(RELEASE_RQ, bytes(4))]], "it sends A-RELEASE-RQ"),
        ([[accepted()], [REQUEST]], "it sends another message than an answer"),
        ([[accepted()], [answer((0x100, US(0x8100)))]], "it sends another message than an answer"),
        ([[accepted()], [answer((0x100, US(0x8120)))]], "it sends another message than an answer"),
        ([[accepted()], [answer((0x900, b"?"))]], "it sends what can't be read: "),
        ([[accepted()], [pdu(0x04, bytes(4))]], "it sends what can't be read: "),
        ([[accepted()], [pdu(0x04, b"")]], TIMED_OUT),
        ([[accepted()], [p_data((1, LAST, b""))]], "it sends what can't be read: "),
        ([[accepted()], fragments], "it sends what can't be read: a command set of more than"),
        ([[accepted()], [b"\x04\0\xff\xff\xff\xff", ENDLESS]], "it sends more than 131072 bytes"),
        ([[accepted()], drops], TIMED_OUT),
        ([[accepted()], []], TIMED_OUT),
    ],
)
def test_what_is_not_an_answer(serving, notify, monkeypatch, caplog, script, why):
    """The log has one record, of the reason, and no traceback."""
    if why == TIMED_OUT:
        have_timeout(monkeypatch, 0.5)
    script = [part() if callable(part) else part for part in script]
    with Script(*script).listening() as port:
        to = notify.subscriber(f"STATION@127.0.0.1:{port}")
        with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
            assert modality.create(f"{ROOT}.1", WHOLE).Status == 0x0000
            until(lambda: to.name in caplog.text)
            assert [item.uid for item in served.store.waiting(to.name)] == [f"{ROOT}.1"]
    (record,) = [record for record in caplog.records if to.name in record.getMessage()]
    assert why in record.getMessage()
    assert not record.exc_info


def test_a_name_that_is_not_known(serving, notify, caplog):
    to = notify.subscriber("STATION@[fe80::1%no-such-interface]:104")  # needs no name server
    with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
        assert modality.create(f"{ROOT}.1", WHOLE).Status == 0x0000
        until(lambda: to.name in caplog.text)
    (record,) = [record for record in caplog.records if to.name in record.getMessage()]
    assert not record.exc_info


@pytest.mark.parametrize("script", [[[]], [[accepted()], []]])
def test_a_server_that_ends_does_not_wait_for_it(serving, notify, monkeypatch, caplog, script):
    """Not even for as long as an answer may take, so the server is not killed meanwhile."""
    have_timeout(monkeypatch, 10 * TIMEOUT)
    silent = Script(*script)
    with silent.listening() as port:
        to = notify.subscriber(f"STATION@127.0.0.1:{port}")
        with serving(subscribers=(to,)) as served:
            with Modality(served.port) as modality:
                assert modality.create(f"{ROOT}.1", WHOLE).Status == 0x0000
            for _ in script:
                assert silent.received.acquire(timeout=TIMEOUT)
        assert not [each for each in threading.enumerate() if each.name.endswith(to.name)]
    assert to.name not in caplog.text


def test_an_answer_in_parts(serving, notify, caplog):
    parts = [SUCCESS[at : at + 1] for at in range(len(SUCCESS))]
    script = Script([accepted()], parts, [pdu(RELEASE_RP, bytes(4))])
    with script.listening() as port:
        to = notify.subscriber(f"STATION@127.0.0.1:{port}")
        with serving(subscribers=(to,)) as served, Modality(served.port) as modality:
            assert modality.create(f"{ROOT}.1", WHOLE).Status == 0x0000
            until(lambda: not served.store.waiting(to.name))
    assert to.name not in caplog.text
