"""Association requests that break the standard or go past what pynetdicom knows of it.

Each with nset installed in pynetdicom, and with nset.scp.
"""

import importlib
import logging
import queue
import socket
import struct
import threading
from contextlib import contextmanager

import pytest
from acceptors import accepting, entity, n_set_pdus
from associations import MPPS, TIMEOUT
from callers import Caller
from pynetdicom import AE, evt, sop_class
from pynetdicom.dul import DULServiceProvider
from raw_peer import ABORT, Pdu, item, pdu

IMPLICIT = "1.2.840.10008.1.2"
CLASS_UID = "1.2.826.0.1.3680043.8.498.9"
AC, RJ = 0x02, 0x03


# -- What is sent ---------------------------------------------------------------------------------


def context(number=1, abstract=MPPS, *transfer, more=b"", kind=0x20, result=0):
    syntaxes = item(0x30, abstract) if abstract and kind == 0x20 else b""
    syntaxes += b"".join(item(0x40, syntax) for syntax in transfer or (IMPLICIT,) if syntax)
    return item(kind, bytes((number, 0, result, 0)) + syntaxes + more)


LENGTH = item(0x51, struct.pack(">I", 16384))
CLASS = item(0x52, CLASS_UID)
NAME = item(0x10, "1.2.840.10008.3.1.1.1")


def associate(
    *,
    version=1,
    called=b"ANY-SCP",
    calling=b"RAW",
    items=None,
    contexts=None,
    user=LENGTH + CLASS,
    kind=0x01,
    more=b"",
):
    if items is None:
        items = NAME + (context() if contexts is None else contexts) + item(0x50, user)
    titles = called.ljust(16)[:16], calling.ljust(16)[:16]
    return pdu(kind, struct.pack(">H2x16s16s32x", version, *titles) + items + more)


def identity(kind, primary=b"me", secondary=b""):
    fields = bytes((kind, 0)) + struct.pack(">H", len(primary)) + primary
    return item(0x58, fields + struct.pack(">H", len(secondary)) + secondary)


# -- The servers ----------------------------------------------------------------------------------


@contextmanager
def installed_server(nset, handlers, ae, **options):
    with importlib.import_module("nset.pynetdicom").installed():
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, **options)
        try:
            yield server
        finally:
            server.shutdown()


def nset_server(nset, handlers, ae, **options):
    return accepting(nset, handlers, ae, **options)


INTEGRATIONS = pytest.mark.parametrize(
    "serve", [installed_server, nset_server], ids=["install", "scp"]
)


@contextmanager
def watched(monkeypatch):
    """No thread ends by an exception."""
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    yield
    assert failures == []


@pytest.fixture(autouse=True)
def threads_end_well(monkeypatch):
    with watched(monkeypatch):
        yield


def succeed(event):
    return 0x0000, None


def told(caplog, level):
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == ("nset", level)
    ]


# -- Served ---------------------------------------------------------------------------------------

UNKNOWN = item(0x5A, b"of a later edition")
TOO_LONG = "IMPLEMENTATION_VERSION_1.2.3"

SERVED = {
    "as it should be": (associate(), ""),
    "an unknown user item": (associate(user=UNKNOWN + LENGTH + UNKNOWN + CLASS), ""),
    "an unknown user item that is empty": (associate(user=LENGTH + item(0xFF, b"")), ""),
    "the answer to a user identity": (associate(user=LENGTH + item(0x59, b"\0\0")), ""),
    "an unknown item": (
        associate(items=item(0x11, b"?") + NAME + context() + item(0x50, LENGTH) + item(0x99, b"")),
        "",
    ),
    "an unknown item in a context": (associate(contexts=context(more=item(0x41, b"?"))), ""),
    "a version with other bits": (associate(version=0x8003), ""),
    "a version name of 28 characters": (
        associate(user=LENGTH + CLASS + item(0x55, TOO_LONG)),
        f"Implementation Version Name {TOO_LONG.encode()!r}, read as {TOO_LONG[:16].encode()!r}",
    ),
    "a version name with control characters": (
        associate(user=LENGTH + CLASS + item(0x55, b"V1\n\\\xff")),
        "Implementation Version Name b'V1\\n\\\\\\xff', read as b'V1???'",
    ),
    "an empty version name": (associate(user=LENGTH + CLASS + item(0x55, b"")), ""),
    "a version name padded with NUL": (associate(user=LENGTH + item(0x55, b"V1\0\0")), ""),
    "no Maximum Length": (associate(user=CLASS), "no Maximum Length, 16384 bytes assumed"),
    "no user information": (
        associate(items=NAME + context()),
        "no Maximum Length, 16384 bytes assumed",
    ),
    "no Implementation Class UID": (associate(user=LENGTH), ""),
    "an Implementation Class UID of 70 characters": (
        associate(user=LENGTH + item(0x52, "1." * 35)),
        "Implementation Class UID of 70 bytes, ignored",
    ),
    "titles padded with NUL": (associate(called=b"ANY-SCP\0", calling=b"RAW".ljust(16, b"\0")), ""),
    "NUL in front of a title": (associate(calling=b"\0\0RAW"), ""),
    "two bytes of padding": (associate(more=bytes(2)), ""),
    "128 contexts": (associate(contexts=b"".join(map(context, range(1, 256, 2)))), ""),
}


@INTEGRATIONS
@pytest.mark.parametrize(("request_pdu", "note"), SERVED.values(), ids=SERVED)
def test_served(nset, caplog, serve, request_pdu, note):
    """The association is accepted and of use, also where messages are logged."""
    caplog.set_level(logging.DEBUG)
    established = queue.Queue()
    handlers = [
        (evt.EVT_N_SET, succeed),
        (evt.EVT_ESTABLISHED, lambda event: established.put(event.assoc)),
    ]
    with serve(nset, handlers, entity()) as server, Caller(server, request_pdu) as peer:
        assert peer.receive().type == AC
        requestor = established.get(timeout=TIMEOUT).requestor
        assert (requestor.ae_title, requestor.maximum_length) == ("RAW", 16384)
        assert requestor.primitive.called_ae_title == "ANY-SCP"
        peer.send(n_set_pdus(nset))
        assert peer.receive_message()[0].Status == 0x0000
        peer.release()
    expected = [f"A-ASSOCIATE-RQ from {peer.address}: {note}"] if note else []
    assert told(caplog, logging.WARNING) == expected
    assert "Traceback" not in caplog.text


@INTEGRATIONS
def test_handlers_see_what_was_sent(nset, serve):
    seen = queue.Queue()
    handlers = [(evt.EVT_DATA_RECV, lambda event: seen.put(event.data))]
    request_pdu = associate(user=UNKNOWN, called=b"ANY-SCP\0")
    with serve(nset, handlers, entity()) as server, Caller(server, request_pdu) as peer:
        assert peer.receive().type == AC
        assert seen.get(timeout=TIMEOUT) == request_pdu
        peer.release()


# -- Rejected -------------------------------------------------------------------------------------

CALLED, CALLING = (1, 1, 7), (1, 1, 3)  # result, source, reason: PS3.8 Table 9-21

REJECTED = {
    "a backslash": (associate(calling=b"A\\B"), CALLING, "Calling AE Title b'A\\\\B  "),
    "a line end": (associate(called=b"A\nB"), CALLED, "Called AE Title b'A\\nB  "),
    "escape": (associate(calling=b"\x1b[2J"), CALLING, "Calling AE Title b'\\x1b[2J  "),
    "beyond ASCII": (associate(calling=b"CT_\xdc"), CALLING, "Calling AE Title b'CT_\\xdc  "),
    "spaces": (associate(calling=b""), CALLING, "Calling AE Title b'    "),
    "NULs": (associate(called=bytes(16)), CALLED, "Called AE Title b'\\x00\\x00"),
    "NUL amid a title": (associate(called=b"A\0B"), CALLED, "Called AE Title b'A\\x00B  "),
    "version 2": (associate(version=2), (1, 2, 2), ""),
}


@INTEGRATIONS
@pytest.mark.parametrize(("request_pdu", "answer", "reason"), REJECTED.values(), ids=REJECTED)
def test_rejected(nset, caplog, serve, request_pdu, answer, reason):
    rejected = queue.Queue()
    handlers = [(evt.EVT_REJECTED, rejected.put)]
    with serve(nset, handlers, entity()) as server, Caller(server, request_pdu) as peer:
        assert peer.receive() == Pdu(RJ, bytes((0, *answer)))
        assert peer.receive() is None
        if reason:
            rejected.get(timeout=TIMEOUT)
            (line,) = told(caplog, logging.WARNING)
            assert line.startswith("Rejecting the association with ")
            assert f"{peer.address}: {reason}" in line
    assert "\n" not in "".join(told(caplog, logging.WARNING))


# -- Aborted --------------------------------------------------------------------------------------

ABORTED = {
    "an even context ID": (
        associate(contexts=context() + context(2)),
        "presentation context ID 2, which is even",
    ),
    "context ID 0": (associate(contexts=context(0)), "presentation context ID 0, which is even"),
    "no transfer syntax": (
        associate(contexts=context(1, MPPS, "")),
        "presentation context 1 without a transfer syntax",
    ),
    "an empty transfer syntax": (
        associate(contexts=context(1, MPPS, "", more=item(0x40, b""))),
        "presentation context 1 without a transfer syntax",
    ),
    "no abstract syntax": (
        associate(contexts=context(1, "")),
        "presentation context 1 without an abstract syntax",
    ),
    "a context of 3 bytes": (
        associate(contexts=item(0x20, b"\1\0\0")),
        "a presentation context item of 3 bytes",
    ),
    "129 contexts": (
        associate(contexts=b"".join(map(context, (*range(1, 256, 2), 1)))),
        "more than 128 presentation contexts",
    ),
    "identity of type 9": (
        associate(user=LENGTH + identity(9)),
        "a user identity of type 9",
    ),
    "an item that is cut off": (
        associate(more=b"\x50\0\0\x10abc"),
        "an item of type 0x50 that runs past the end",
    ),
    "a sub-item that is cut off": (
        associate(user=LENGTH + b"\x55\0\0\x10abc"),
        "an item of type 0x55 that runs past the end",
    ),
    "bytes behind the last item": (associate(more=b"abc"), "3 bytes after the last item"),
    "a maximum length of 7": (
        associate(user=item(0x51, b"\0\0\0\7")),
        "a maximum length of 7 bytes, too small for a PDV",
    ),
    "60 bytes": (pdu(0x01, bytes(54)), "an A-ASSOCIATE-RQ of 60 bytes"),
}


@INTEGRATIONS
@pytest.mark.parametrize(("request_pdu", "reason"), ABORTED.values(), ids=ABORTED)
def test_aborted(nset, caplog, serve, request_pdu, reason):
    with serve(nset, [], entity()) as server:
        with Caller(server, request_pdu) as peer:
            assert peer.receive().type == ABORT
            assert peer.receive() is None
        with Caller(server, associate()) as other:
            assert other.receive().type == AC
            other.release()
    (line,) = told(caplog, logging.ERROR)
    assert line.startswith("Aborting the association with ")
    assert line.endswith(f"{peer.address}: invalid PDU: {reason}")


# -- A-ABORT --------------------------------------------------------------------------------------

ABORTS = {
    "source 1": (bytes((0, 0, 1, 0)), "source 1 is undefined (PS3.8 Table 9-26)"),
    "source 9": (bytes((0, 0, 9, 9)), "source 9 is undefined (PS3.8 Table 9-26)"),
    "reason 3": (bytes((0, 0, 2, 3)), "reason 3 is undefined (PS3.8 Table 9-26)"),
    "reason 99": (bytes((0, 0, 2, 99)), "reason 99 is undefined (PS3.8 Table 9-26)"),
    "a reason of a user": (bytes((0, 0, 0, 99)), ""),
    "nothing": (b"", ""),
}


@INTEGRATIONS
@pytest.mark.parametrize(("body", "note"), ABORTS.values(), ids=ABORTS)
@pytest.mark.parametrize("state", ["Sta2", "Sta6"])
def test_aborts_of_peers(nset, caplog, serve, state, body, note):
    """AA-2 and AA-3: the connection is closed, and nothing is answered."""
    caplog.set_level(logging.INFO)
    begun = [associate()] if state == "Sta6" else []
    with serve(nset, [], entity()) as server:
        with Caller(server, *begun) as peer:
            for _ in begun:
                assert peer.receive().type == AC
            peer.send(pdu(ABORT, body))
            assert peer.receive() is None
        if serve is nset_server:
            with accepting(nset) as other, Caller(other, associate()) as peer:
                assert peer.receive().type == AC
                peer.send(pdu(ABORT, body))
                assert peer.receive() is None
            assert other.counts.aborted == {"peer": 1}
    assert "Traceback" not in caplog.text
    assert note in "".join(told(caplog, logging.WARNING))
    assert told(caplog, logging.ERROR) == []


# -- The other way round --------------------------------------------------------------------------


@contextmanager
def answering(waits, answer):
    """A server that answers an A-ASSOCIATE-RQ once someone waits; give what it gets after that."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(TIMEOUT)
    received = queue.Queue()

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            connection.recv(65536)
            assert waits.wait(TIMEOUT)
            connection.sendall(answer)
            received.put(connection.recv(65536))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], received
    finally:
        thread.join(TIMEOUT)
        listener.close()


def accepted(**changes):
    contexts = context(1, "", kind=0x21)
    return associate(**{"kind": AC, "contexts": contexts, **changes})


ANSWERS = {
    "as it should be": (accepted(), "accepted"),
    "an unknown user item": (accepted(user=LENGTH + UNKNOWN), "accepted"),
    "no Maximum Length": (accepted(user=CLASS), "accepted"),
    "a long version name": (accepted(user=LENGTH + item(0x55, TOO_LONG)), "accepted"),
    "a rejected context without a transfer syntax": (
        accepted(contexts=context(1, "", kind=0x21) + context(3, "", "", kind=0x21, result=4)),
        "accepted",
    ),
    "an even context ID": (accepted(contexts=context(2, "", kind=0x21)), "aborted"),
    "no transfer syntax": (accepted(contexts=context(1, "", "", kind=0x21)), "aborted"),
    "a rejection": (pdu(RJ, bytes((0, 1, 1, 7))), "rejected"),
    "a rejection for reason 99": (pdu(RJ, bytes((0, 1, 1, 99))), "rejected"),
    "a rejection by source 7": (pdu(RJ, bytes((0, 9, 7, 1))), "rejected"),
    "an abort by source 5": (pdu(ABORT, bytes((0, 0, 5, 0))), "aborted"),
}


@pytest.mark.parametrize(("answer", "outcome"), ANSWERS.values(), ids=ANSWERS)
def test_answers_to_a_requestor(nset, monkeypatch, answer, outcome):
    """With nset installed: what comes of them is what is to come, and soon."""
    # pynetdicom takes a rejection that closes the connection before it has looked at that for an
    # abort: the answer is sent once it waits for one.
    waits = threading.Event()
    receive_pdu = DULServiceProvider.receive_pdu

    def wait_for_answer(self, *args, **options):
        waits.set()
        return receive_pdu(self, *args, **options)

    monkeypatch.setattr(DULServiceProvider, "receive_pdu", wait_for_answer)
    ae = AE()
    ae.acse_timeout = ae.network_timeout = TIMEOUT
    ae.add_requested_context(MPPS, IMPLICIT)
    ae.add_requested_context(sop_class.Verification, IMPLICIT)
    with (
        importlib.import_module("nset.pynetdicom").installed(),
        answering(waits, answer) as (number, received),
    ):
        assoc = ae.associate("127.0.0.1", number)
        assert assoc.is_established == (outcome == "accepted")
        assert assoc.is_rejected == (outcome == "rejected")
        assert assoc.is_aborted == (outcome == "aborted")
        assoc.abort()
        received.get(timeout=TIMEOUT)
        assoc.dul.join(TIMEOUT)
        assert not assoc.dul.is_alive()
