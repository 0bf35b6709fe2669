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
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed, completed_bytes
from certificates import new_contexts
from command_sets import command_set, element, joined
from n_set_requests import uid
from pydicom.dataset import Dataset
from pynetdicom import association, evt
from raw_peer import ABORT, COMMAND, LAST, P_DATA_TF, RELEASE_RP, RELEASE_RQ, Peer, p_data, pdu
from services import CT, ECHO, FIND, as_async, everything

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
            message_id = number_in(message.command_set, 0x0110)
            reported.append(message_id)
            peer.send(report_response(message_id, message.data_set.getvalue()))
    return answered, reported


def number_in(command_set, tag):
    at = command_set.index(struct.pack("<HHL", 0x0000, tag, 2)) + 8
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
def installed_server(nset, handlers, ae=None, **options):
    with importlib.import_module("nset.pynetdicom").installed():
        server = (ae or entity()).start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, **options
        )
        try:
            yield server
        finally:
            server.shutdown()


def nset_server(nset, handlers, ae=None, **options):
    return accepting(nset, handlers, ae, **options)


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
        server_context, context = new_contexts(tmp_path)
        options = {**options, "ssl_context": server_context}

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
            found.put(the_association(server))
        threading.Thread(target=report_all, daemon=True).start()
        answered, reported = converse(nset, peer, n_sets, reports)
        assert [outcome.get(timeout=TIMEOUT) for _ in of_threads] == [None, None]
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        assert peer.receive() == (RELEASE_RP, bytes(4))
    assert answered == list(range(1, n_sets + 1))
    assert sorted(reported) == [*of_threads[0], *of_threads[1]]
    see_that_it_is_sound(monkeypatch, peer, n_sets + 2 * reports)


def the_association(server):
    """The server's only one; pynetdicom's says a little late that it is established."""
    until(lambda: [assoc for assoc in server.active_associations if assoc.is_established])
    (assoc,) = server.active_associations
    return assoc


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


# -- All services ----------------------------------------------------------------------------------

ONE = uid(INSTANCE)
SYNTAXES = (MPPS, ECHO, CT, FIND)
DATA = completed_bytes()
ASKED = (
    (MPPS, {0x0003: uid(MPPS), 0x0100: 0x0120, 0x1001: ONE}, DATA),
    (MPPS, {0x0002: uid(MPPS), 0x0100: 0x0140, 0x1000: ONE}, DATA),
    (FIND, {0x0002: uid(FIND), 0x0100: 0x0020, 0x0700: 0}, DATA),
    (MPPS, {0x0003: uid(MPPS), 0x0100: 0x0110, 0x1001: ONE}, b""),
    (ECHO, {0x0002: uid(ECHO), 0x0100: 0x0030}, b""),
    (CT, {0x0002: uid(CT), 0x0100: 0x0001, 0x0700: 0, 0x1000: ONE}, DATA),
)
N_EVENT_REPORT_RQ, C_FIND_RQ, C_FIND_RSP, C_CANCEL_RQ = 0x0100, 0x0020, 0x8020, 0x0FFF
PENDING, CANCELLED = 0xFF00, 0xFE00


def sent(syntax, elements, data=b""):
    command = {**elements, 0x0800: 0x0001 if data else 0x0101}
    return one_pdu(joined(dict(sorted(command.items()))), data, 2 * SYNTAXES.index(syntax) + 1)


def found(message_id, status, data=b""):
    """A response to the server's C-FIND."""
    elements = {0x0002: uid(FIND), 0x0100: C_FIND_RSP, 0x0120: message_id, 0x0900: status}
    return sent(FIND, elements, data)


def converse_of_all(nset, peer, requests, reports, queries):
    """Send requests, answer reports and queries; give how many messages have come."""
    assembler = nset.wire.MessageAssembler()
    asked, answered, reported, cancelled, messages = 0, [], 0, 0, 0
    while len(answered) < requests or reported < reports or cancelled < queries:
        while asked < requests and asked - len(answered) < AT_ONCE:
            syntax, elements, data = ASKED[asked % len(ASKED)]
            asked += 1
            peer.send(sent(syntax, {**elements, 0x0110: asked}, data))
        received = peer.receive()
        assert received is not None
        assert received.type == P_DATA_TF, f"{received.type:02X}H after {messages} messages"
        message = assembler.feed(received.body[4], received.body[5:])
        if message is None:
            continue
        messages += 1
        is_n_set = isinstance(message, nset.N_SET)
        command = message.to_command_set() if is_n_set else message.command_set
        field = number_in(command, 0x0100)
        if field == N_EVENT_REPORT_RQ:
            reported += 1
            message_id = number_in(command, 0x0110)
            peer.send(report_response(message_id, message.data_set.getvalue()))
        elif field == C_FIND_RQ:
            data = message.data_set.getvalue()
            peer.send(found(number_in(command, 0x0110), PENDING, data) * 2)
        elif field == C_CANCEL_RQ:
            cancelled += 1
            peer.send(found(number_in(command, 0x0120), CANCELLED))
        elif (status := number_in(command, 0x0900)) != PENDING:
            assert status == 0x0000
            answered.append(number_in(command, 0x0120))
    assert answered == list(range(1, requests + 1))
    return messages


def query_and_cancel(assoc, numbers, outcome):
    """Ask for what is cancelled when two of it have come."""
    try:
        for number in numbers:
            identifier = Dataset()
            identifier.PatientComments = "z" * 400
            got = []
            for status, _ in assoc.send_c_find(identifier, FIND, msg_id=number):
                got.append(status.Status)
                if len(got) == 2:
                    assoc.send_c_cancel(number, query_model=FIND)
            assert got == [PENDING, PENDING, CANCELLED]
    except BaseException as exc:
        outcome.put(exc)
    else:
        outcome.put(None)


@pytest.mark.parametrize("kind", KINDS)
def test_reports_and_queries_beside_all_services(nset, monkeypatch, kind):
    """Responses of service classes, and C-CANCEL requests of the server's, are whole, too."""
    serve, make, options = KINDS[kind]
    answer = completed()
    answer.PatientComments = "y" * 400

    def find(event):
        for _ in range(3):
            yield PENDING, answer
        yield 0x0000, None

    handlers = [
        *(
            (event, make(lambda event: (0x0000, answer)))
            for event in (evt.EVT_N_SET, evt.EVT_N_CREATE, evt.EVT_N_GET)
        ),
        *((event, make(lambda event: 0x0000)) for event in (evt.EVT_C_ECHO, evt.EVT_C_STORE)),
        (evt.EVT_C_FIND, make(find)),
    ]
    jobs = (
        (report, range(1001, 1041)),
        (report, range(2001, 2041)),
        (query_and_cancel, range(3001, 3021)),
    )
    outcome = queue.Queue()
    with (
        serve(nset, handlers, everything(), **options) as server,
        Recording(port(server), *SYNTAXES, roles=True) as peer,
    ):
        assoc = the_association(server)
        for job, numbers in jobs:
            threading.Thread(target=job, args=(assoc, numbers, outcome), daemon=True).start()
        messages = converse_of_all(nset, peer, 120, 80, 20)
        assert [outcome.get(timeout=TIMEOUT) for _ in jobs] == [None] * len(jobs)
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        assert peer.receive() == (RELEASE_RP, bytes(4))
    see_that_it_is_sound(monkeypatch, peer, messages)
