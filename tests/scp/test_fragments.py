"""Several threads send by one association: no message has another one's fragments among its own.

PS3.8 Annex E: the PDVs of a message come one after the other. The peer here asks and answers at
once, records all that comes, and reads little at a time, so that a message takes many PDUs.
"""

import importlib
import queue
import struct
import threading
from contextlib import contextmanager

import pytest
from acceptors import accepting, entity, n_set_pdus, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed
from certificates import client_context, make_certificate, server_context
from command_sets import command_set, element
from pydicom.dataset import Dataset
from pynetdicom import association, evt
from raw_peer import ABORT, COMMAND, LAST, P_DATA_TF, RELEASE_RP, RELEASE_RQ, Peer, p_data, pdu
from services import as_async

# N-SETs of the peer, and reports of each of two threads of the server.
NUMBERS = [(250, 75), pytest.param((1000, 300), marks=pytest.mark.exhaustive)]
AT_ONCE = 4  # requests that the peer has open
LENGTH = 150  # of the PDUs that the peer takes


class Recording(Peer):
    """Keeps whatever the server has sent."""

    def __init__(self, *args, **options):
        self.recorded = bytearray()
        super().__init__(*args, max_length=LENGTH, **options)

    def read(self, length):
        data = super().read(length)
        self.recorded += data
        return data


def report_response(message_id, event_information):
    """It gives back what it was told."""
    return p_data(
        (
            1,
            COMMAND | LAST,
            command_set(
                element(0x0002, MPPS.encode() + b"\0"),
                element(0x0100, 0x8100),
                element(0x0120, message_id),
                element(0x0800, 0x0001),
                element(0x0900, 0x0000),
                element(0x1000, INSTANCE.encode() + b"\0"),
            ),
        ),
        (1, LAST, event_information),
    )


def converse(nset, peer, n_sets, reports):
    """Send N-SETs, answer reports; give the Message IDs of what was answered, by service."""
    assembler = nset.wire.MessageAssembler()
    answered, reported, asked = [], [], 0
    while len(answered) < n_sets or len(reported) < 2 * reports:
        while asked < n_sets and asked - len(answered) < AT_ONCE:
            asked += 1
            peer.send(n_set_pdus(nset, asked, LENGTH))
        received = peer.receive()
        assert received is not None
        assert received.type == P_DATA_TF, f"{received.type:02X}H after {len(answered)} N-SETs"
        length, context_id = struct.unpack_from(">IB", received.body)
        assert length == len(received.body) - 4
        message = assembler.feed(context_id, received.body[5:])
        if isinstance(message, nset.N_SET):
            assert message.Status == 0x0000
            answered.append(message.MessageIDBeingRespondedTo)
        elif message is not None:
            message_id = number_of(message.command_set)
            reported.append(message_id)
            peer.send(report_response(message_id, message.data_set.getvalue()))
    return answered, reported


def number_of(command_set):
    at = command_set.index(struct.pack("<HHL", 0x0000, 0x0110, 2)) + 8
    return int.from_bytes(command_set[at : at + 2], "little")


def report(assoc, numbers, outcome):
    """Ask, and see that each answer is to the same question."""
    try:
        for number in numbers:
            information = Dataset()
            information.PatientID = str(number)
            information.PatientComments = "x" * 400
            status, reply = assoc.send_n_event_report(information, 1, MPPS, INSTANCE, number)
            assert (status.Status, reply) == (0x0000, information)
    except BaseException as exc:
        outcome.put(exc)
    else:
        outcome.put(None)


@contextmanager
def installed_server(nset, handlers, **options):
    with importlib.import_module("nset.pynetdicom").installed():
        server = entity().start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, **options
        )
        try:
            yield server
        finally:
            server.shutdown()


def nset_server(nset, handlers, **options):
    return accepting(nset, handlers, **options)


KINDS = {
    "install": (installed_server, lambda handler: handler, {}),
    "scp, plain": (nset_server, lambda handler: handler, {}),
    "scp, async": (nset_server, as_async, {}),
    "scp, inline": (nset_server, lambda handler: handler, {"inline": True}),
}


# How the program comes by the association, and what else is there.
WAYS = ("told when it is established", "in a handler", "of the server", "observed", "TLS")


@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_reports_beside_responses(nset, monkeypatch, tmp_path, kind, way, numbers):
    """What comes of the server is right, and all is answered, of either side."""
    serve, make, options = KINDS[kind]
    n_sets, reports = numbers
    of_threads = [range(first, first + reports) for first in (1, 10_001)]
    answer = completed()
    answer.PatientComments = "y" * 400
    found, outcome = queue.Queue(), queue.Queue()

    def handle(event):
        if way == "in a handler" and event.request.MessageID == 5:
            found.put(event.assoc)
        return 0x0000, answer

    handlers, context = [(evt.EVT_N_SET, make(handle))], None
    if way == WAYS[0]:
        handlers.append((evt.EVT_ESTABLISHED, lambda event: found.put(event.assoc)))
    elif way == "observed":
        handlers.append((evt.EVT_PDU_SENT, lambda event: None))
    elif way == "TLS":
        certificate = make_certificate(tmp_path, "server")
        options = {**options, "ssl_context": server_context(certificate)}
        context = client_context(certificate)

    def report_all():
        assoc = found.get(timeout=TIMEOUT)
        threads = [
            threading.Thread(target=report, args=(assoc, own, outcome), daemon=True)
            for own in of_threads
        ]
        for thread in threads:
            thread.start()

    with (
        serve(nset, handlers, **options) as server,
        Recording(port(server), MPPS, context=context) as peer,
    ):
        if way not in WAYS[:2]:
            until(lambda: server.active_associations)
            found.put(*server.active_associations)
        threading.Thread(target=report_all, daemon=True).start()
        answered, reported = converse(nset, peer, n_sets, reports)
        assert [outcome.get(timeout=TIMEOUT) for _ in of_threads] == [None, None]
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        assert peer.receive() == (RELEASE_RP, bytes(4))
    assert answered == list(range(1, n_sets + 1))
    assert sorted(reported) == [*of_threads[0], *of_threads[1]]
    see_that_it_is_sound(monkeypatch, peer, n_sets + 2 * reports)


def see_that_it_is_sound(monkeypatch, peer, messages):
    """See what `nset.dump` says of all that has come."""
    dump = importlib.import_module("nset.dump")
    monkeypatch.setattr(dump, "MAX_ENTRIES", 1_000_000)
    dumped = dump.dump(bytes(peer.recorded))
    assert [fault.text for fault in dumped.violations] == []
    assert dumped.violation_count == 0
    assert len(dumped.messages) == messages


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["abort", "release"])
def test_an_end_amid_long_messages(nset, monkeypatch, kind, end):
    """It comes after a whole message, whichever thread has sent that."""
    serve, _, options = KINDS[kind]
    failures, established = [], queue.Queue()
    monkeypatch.setattr(threading, "excepthook", failures.append)
    encode, encoded = association.encode, threading.Semaphore(0)
    monkeypatch.setattr(association, "encode", lambda *args: encoded.release() or encode(*args))
    handlers = [(evt.EVT_ESTABLISHED, lambda event: established.put(event.assoc))]
    information = Dataset()
    information.add_new("PixelData", "OW", bytes(200_000))
    with serve(nset, handlers, **options) as server, Recording(port(server), MPPS) as peer:
        assoc = established.get(timeout=TIMEOUT)
        threads = [
            threading.Thread(
                target=assoc.send_n_event_report, args=(information, 1, MPPS, INSTANCE, number)
            )
            for number in (1, 2)
        ]
        for thread in threads:
            thread.start()
        for _ in threads:  # each has found the association established
            assert encoded.acquire(timeout=TIMEOUT)
        assert peer.receive().type == P_DATA_TF
        threads.append(threading.Thread(target=getattr(assoc, end)))
        threads[-1].start()
        while (received := peer.receive()).type == P_DATA_TF:
            pass
        if end == "release":
            assert received.type == RELEASE_RQ
            peer.send(pdu(RELEASE_RP, bytes(4)))
        else:
            assert received.type == ABORT
        assert peer.receive() is None
        for thread in threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive()
    assert failures == []
    dumped = importlib.import_module("nset.dump").dump(bytes(peer.recorded))
    assert dumped.violation_count == 0
