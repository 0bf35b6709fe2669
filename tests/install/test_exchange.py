"""With nset installed, several threads may ask by one association: each gets its own answers."""

import importlib
import logging
import queue
import struct
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed, make_request, serving
from certificates import client_context, make_certificate, new_contexts, server_context
from command_sets import joined
from logs import all_said
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_SET
from pynetdicom.pdu_primitives import P_DATA
from raw_peer import ABORT, AE_TITLE, COMMAND, LAST, RELEASE_RP, RELEASE_RQ, Peer, p_data, pdu
from services import CT, ECHO, FIND, GET, image, query


@contextmanager
def both_sides(handlers, *syntaxes, own_handlers=(), is_released=True, **options):
    """An acceptor and a requestor that ask each other for these SOP Classes."""
    established = queue.Queue()
    handlers = [*handlers, (evt.EVT_ESTABLISHED, lambda event: established.put(event.assoc))]
    ae = entity(*syntaxes)
    for syntax in syntaxes:
        ae.add_supported_context(syntax, scu_role=True, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=options.get("server")
    )
    try:
        scu = ae.associate(
            *("127.0.0.1", server.server_address[1]),
            evt_handlers=list(own_handlers),
            ext_neg=[build_role(one, scu_role=True, scp_role=True) for one in syntaxes],
            tls_args=options.get("client"),
        )
        assert scu.is_established
        yield scu, established.get(timeout=TIMEOUT)
        if is_released:
            scu.release()
            assert scu.is_released
    finally:
        server.shutdown()


def in_threads(*functions):
    """Call them all at once; whatever one raises is raised."""
    outcome = queue.Queue()

    def call(function):
        try:
            outcome.put((function(), None))
        except BaseException as exc:
            outcome.put((None, exc))

    for function in functions:
        threading.Thread(target=call, args=(function,), daemon=True).start()
    for _ in functions:
        _, exc = outcome.get(timeout=TIMEOUT)
        if exc is not None:
            raise exc


def numbered(number):
    dataset = Dataset()
    dataset.PatientID = str(number)
    dataset.add_new("PixelData", "OW", bytes(40_000))  # several PDUs
    return dataset


def set_several(assoc, first):
    for number in range(first, first + 50):
        status, reply = assoc.send_n_set(numbered(number), MPPS, INSTANCE, number)
        assert (status.Status, reply.PatientID) == (0x0000, str(number))


def give_back(event):
    assert event.modification_list.PatientID == str(event.request.MessageID)
    return 0x0000, event.modification_list


TRANSPORTS = ["plain", "observed", "TLS"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_requestor_and_an_acceptor_of_several_threads(installed, tmp_path, transport):
    """Both ask and answer all the time."""
    handlers = [(evt.EVT_N_SET, give_back)]
    if transport == "observed":
        handlers.append((evt.EVT_PDU_SENT, lambda event: time.sleep(0)))
    options = {}
    if transport == "TLS":
        certificate = make_certificate(tmp_path, "server")
        options["server"] = server_context(certificate)
        options["client"] = (client_context(certificate), "localhost")
    own = [(evt.EVT_N_SET, give_back)]
    with both_sides(handlers, MPPS, own_handlers=own, **options) as (scu, scp):
        in_threads(
            *(lambda first=first: set_several(scu, first) for first in (1, 1001, 2001)),
            *(lambda first=first: set_several(scp, first) for first in (3001, 4001)),
        )


def test_reports_reach_a_requestor_that_asks(installed):
    """What serves them in threads of its own has no say in whether the loop is paused."""

    def handle(event):
        return 0x0000, event.event_information

    def ask(scp, first):
        for number in range(first, first + 100):
            status, reply = scp.send_n_event_report(numbered(number), 1, MPPS, INSTANCE, number)
            assert (status.Status, reply.PatientID) == (0x0000, str(number))

    own = [(evt.EVT_N_EVENT_REPORT, handle)]
    with both_sides([(evt.EVT_N_SET, give_back)], MPPS, own_handlers=own) as (scu, scp):
        in_threads(lambda: set_several(scu, 1), lambda: ask(scp, 1001), lambda: ask(scp, 2001))


def test_the_same_message_id_in_all_threads(installed):
    """As without one: each gets an answer."""

    def ask(assoc):
        for _ in range(50):
            assert assoc.send_c_echo().Status == 0x0000

    with both_sides([], ECHO) as (scu, _):
        in_threads(*(lambda: ask(scu) for _ in range(4)))


def patients(event):
    for number in range(1, 4):
        found = query()
        found.PatientID = f"{event.request.MessageID}.{number}"
        yield 0xFF00, found
    yield 0x0000, None


def ids(responses):
    return [identifier.PatientID for status, identifier in responses if identifier]


def test_two_queries_at_once_and_an_echo(installed):
    """Generators that go on by turns, in any thread, each with its own answers."""
    with both_sides([(evt.EVT_C_FIND, patients)], FIND, ECHO) as (scu, _):
        one = scu.send_c_find(query(), FIND, msg_id=1)
        two = scu.send_c_find(query(), FIND, msg_id=2)
        by_turns = list(zip(two, one, strict=True))
        assert [ids(responses) for responses in zip(*by_turns, strict=True)] == [
            [f"{number}.{at}" for at in (1, 2, 3)] for number in (2, 1)
        ]
        one = scu.send_c_find(query(), FIND, msg_id=3)
        assert scu.send_c_echo(4).Status == 0x0000
        in_threads(lambda: ids(one) == ["3.1", "3.2", "3.3"] or pytest.fail("another's answers"))
        left = scu.send_c_find(query(), FIND, msg_id=5)
        next(left)
        left.close()  # no thread waits for the rest of it
        assert scu.send_c_echo(6).Status == 0x0000


def test_a_peer_that_answers_with_a_wrong_message_id(both, nset, caplog):
    """As in stock pynetdicom it is understood, where only one request can be meant."""

    def renumber(event):
        if "Status" in event.message.command_set:
            event.message.command_set.MessageIDBeingRespondedTo = 4711

    handlers = [
        *((evt.EVT_N_SET, give_back), (evt.EVT_C_FIND, patients)),
        (evt.EVT_DIMSE_SENT, renumber),
    ]

    def ask():
        with both_sides(handlers, MPPS, ECHO, FIND) as (scu, _):
            status, reply = scu.send_n_set(numbered(1), MPPS, INSTANCE, 1)
            echoed = scu.send_c_echo(2)
            return status, reply, echoed, ids(scu.send_c_find(query(), FIND, 3))

    ours, stock = both(ask)
    assert ours == stock
    assert ours[0].Status == ours[2].Status == 0x0000
    assert ours[3] == ["3.1", "3.2", "3.3"]
    assert sum("answered with Message ID 4711" in said for said in all_said(caplog)) == 6


def test_a_response_to_an_earlier_request_is_not_taken_for_the_answer(installed):
    """That a query was not read to its end leaves responses behind."""
    with both_sides([(evt.EVT_C_FIND, patients)], FIND) as (scu, _):
        first = scu.send_c_find(query(), FIND, 1)
        next(first)
        first.close()
        assert ids(scu.send_c_find(query(), FIND, 2)) == ["2.1", "2.2", "2.3"]


def test_a_cancel_amid_other_requests(installed):
    """It leaves whole, and who is cancelled gets its last answer."""
    cancelled = threading.Event()

    def find(event):
        yield 0xFF00, query()
        while not event.is_cancelled:
            yield 0xFF00, query()
        cancelled.set()
        yield 0xFE00, None

    with both_sides([(evt.EVT_C_FIND, find)], FIND, ECHO) as (scu, _):
        responses = scu.send_c_find(query(), FIND, msg_id=1)
        next(responses)
        in_threads(lambda: scu.send_c_cancel(1, query_model=FIND))
        assert [status.Status for status, _ in responses][-1] == 0xFE00
        assert cancelled.is_set()
        assert scu.send_c_echo(2).Status == 0x0000


def test_sub_operations_go_to_who_retrieves(installed):
    stored = []

    def get(event):
        yield 3
        for number in range(3):
            yield 0xFF00, image(number)

    def store(event):
        stored.append(event.dataset.SOPInstanceUID)
        return 0x0000

    def retrieve(scu):
        responses = list(scu.send_c_get(query(), GET, msg_id=1))
        assert responses[-1][0].Status == 0x0000

    def echo(scu):
        for number in range(2, 30):
            assert scu.send_c_echo(number).Status == 0x0000

    with both_sides(
        [(evt.EVT_C_GET, get)],
        *(GET, CT, ECHO),
        own_handlers=[(evt.EVT_C_STORE, store)],
    ) as (scu, _):
        in_threads(lambda: retrieve(scu), lambda: echo(scu))
    assert len(stored) == 3


def test_who_waits_is_told_of_the_end(installed):
    """All of them, at once, and not when the timeout is over."""
    entered, go_on = threading.Semaphore(0), threading.Event()

    def handle(event):
        entered.release()
        go_on.wait(TIMEOUT)
        return 0x0000, None

    with serving(MPPS) as server:
        ae = entity()
        server.bind(evt.EVT_N_SET, handle)
        scu = ae.associate("127.0.0.1", server.server_address[1])
        answers = queue.Queue()

        def ask(number):
            answers.put(scu.send_n_set(completed(), MPPS, INSTANCE, number)[0])

        for number in (1, 2, 3):
            threading.Thread(target=ask, args=(number,), daemon=True).start()
        entered.acquire(timeout=TIMEOUT)
        (acceptor,) = server.active_associations
        until(lambda: acceptor.dimse.msg_queue.qsize() == 2, "all of them have asked")
        threading.Thread(target=acceptor.abort, daemon=True).start()
        assert [answers.get(timeout=TIMEOUT / 2) for _ in range(3)] == [Dataset()] * 3
        go_on.set()
        scu.join(TIMEOUT)
        assert scu.is_aborted


# -- The end --------------------------------------------------------------------------------------

UIDS = {0x0002: MPPS.encode() + b"\0", 0x1000: INSTANCE.encode() + b"\0"}


def n_set(nset, number):
    return n_set_pdus(nset, number)


def n_create(nset, number):
    return one_pdu(joined({**UIDS, 0x0100: 0x0140, 0x0110: number, 0x0800: 0x0101}))


def n_event_report(nset, number):
    return one_pdu(joined({**UIDS, 0x0100: 0x0100, 0x0110: number, 0x0800: 0x0101, 0x1002: 1}))


def c_echo(nset, number):
    class_uid = ECHO.encode() + b"\0"
    return one_pdu(joined({0x0002: class_uid, 0x0100: 0x0030, 0x0110: number, 0x0800: 0x0101}))


REQUESTS = {
    "N-SET": [n_set],
    "N-CREATE": [n_create],
    "N-EVENT-REPORT": [n_event_report],
    "C-ECHO": [c_echo],
    "all of them": [n_set, n_create, n_event_report, c_echo],
}
RELEASE = pdu(RELEASE_RQ, bytes(4))


@contextmanager
def served(**options):
    """A server whose handlers have done when the peer's last PDU has come."""
    handled = []

    def handle(event):
        machine = event.assoc.dul.state_machine
        state = getattr(event.assoc, "waits_for", "Sta8")
        until(lambda: machine.current_state == state, state)
        handled.append(event.message_id)
        return 0x0000 if event.event is evt.EVT_C_ECHO else (0x0000, None)

    events = (evt.EVT_N_SET, evt.EVT_N_CREATE, evt.EVT_N_EVENT_REPORT, evt.EVT_C_ECHO)
    server = entity(MPPS, ECHO).start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(event, handle) for event in events],
        **options,
    )
    try:
        yield server, handled
    finally:
        server.shutdown()


def answers(peer, count):
    return sorted(peer.receive_message()[0].MessageIDBeingRespondedTo for _ in range(count))


@pytest.mark.parametrize("kinds", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("way", ["plain", "TLS", "from before the installation"])
def test_a_release_behind_requests(nset, tmp_path, kinds, way):
    """All in one write: what came before it is answered first."""
    options, context = {}, None
    if way == "TLS":
        options["ssl_context"], context = new_contexts(tmp_path)
    integration = importlib.import_module("nset.pynetdicom")
    is_late = way == "from before the installation"
    requests = [kinds[number % len(kinds)](nset, number) for number in range(1, 10)]
    with served(**options) as (server, handled):
        with nullcontext() if is_late else integration.installed():
            peer = Peer(port(server), MPPS, context=context)
        with integration.installed(), peer:
            peer.send(*requests, RELEASE)
            assert answers(peer, 9) == list(range(1, 10))
            assert peer.receive() == (RELEASE_RP, bytes(4))
            assert peer.receive() is None
    assert sorted(handled) == list(range(1, 10))


def test_a_release_behind_requests_of_a_peer_that_goes(installed):
    """It has asked for all of it, and then for nothing more."""
    with served() as (server, handled):
        with Peer(port(server), MPPS) as peer:
            (assoc,) = server.active_associations
            assoc.waits_for = "Sta1"
            peer.send(*(c_echo(None, number) for number in range(1, 10)), RELEASE)
        assoc.join(TIMEOUT)
        assert not assoc.is_alive()
    assert handled == list(range(1, 10))
    assert assoc.is_released


@pytest.mark.parametrize("end", [pdu(ABORT, bytes(4)), b""], ids=["abort", "close"])
def test_an_end_behind_requests(installed, caplog, end):
    """No peer is left to answer; the log says what was not done."""
    with served() as (server, handled):
        with Peer(port(server), MPPS) as peer:
            (assoc,) = server.active_associations
            assoc.waits_for = "Sta1"
            peer.send(*(n_create(None, number) for number in range(1, 10)), end)
        assoc.join(TIMEOUT)
        assert not assoc.is_alive()
    assert handled == [1]
    assert f"The association with {AE_TITLE}@{peer.address} ended with 8 requests" in caplog.text


def send_in_its_place(assoc, data):
    """Send these bytes in place of a request, by the thread that also reads: TLS takes no two."""
    connection = assoc.dul.socket

    def send(_):
        del connection.send
        connection.send(data)

    connection.send = send
    assoc.dimse.send_msg(make_request(N_SET), 1)


@pytest.mark.parametrize("transport", ["TCP", "TLS"])
@pytest.mark.parametrize("side", ["acceptor", "requestor"])
def test_a_command_fragment_that_is_too_long_is_not_waited_for(
    installed, tmp_path, caplog, side, transport
):
    began = struct.pack(">BxIIBB", 0x04, 400 << 20, (400 << 20) - 4, 1, 0x01)
    options = {}
    if transport == "TLS":
        certificate = make_certificate(tmp_path, "server")
        options["server"] = server_context(certificate)
        options["client"] = (client_context(certificate), "localhost")
    with both_sides([], MPPS, is_released=False, **options) as (scu, acceptor):
        sender, other = (scu, acceptor) if side == "acceptor" else (acceptor, scu)
        send_in_its_place(sender, began + bytes(200_000))
        until(lambda: other.is_aborted and sender.is_aborted)
    (told,) = [record.getMessage() for record in caplog.records if "Aborting" in record.msg]
    assert told.endswith("invalid DIMSE message: a command set of more than 65536 bytes")
    assert "@127.0.0.1:" in told
    assert "Unknown PDU type" not in caplog.text


def test_who_begins_to_ask_when_the_loop_has_ended(installed):
    """Stock, he waits for ever for the loop to pause."""
    established = queue.Queue()
    handlers = [(evt.EVT_ESTABLISHED, lambda event: established.put(event.assoc))]
    server = entity().start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        with Peer(port(server), MPPS) as peer:
            assoc = established.get(timeout=TIMEOUT)

            def ask():
                return assoc.send_n_event_report(numbered(1), 1, MPPS, INSTANCE)

            asking = threading.Thread(target=ask)
            asking.start()
            peer.receive()
            assoc.abort()
            for thread in (asking, assoc):
                thread.join(TIMEOUT)
            assoc.is_established = True  # as it was when another thread looked
            in_threads(ask)
    finally:
        server.shutdown()


@pytest.mark.parametrize("end", ["abort", "release"])
@pytest.mark.parametrize("side", ["acceptor", "requestor"])
@pytest.mark.parametrize("use", ["dropped", "never iterated", "kept"])
def test_an_end_behind_responses_that_nobody_takes(installed, use, side, end):
    """A generator that is not used up does not keep the association's loop from the end."""
    find = [(evt.EVT_C_FIND, patients)]
    sides = both_sides(find, FIND, ECHO, own_handlers=find, is_released=False)
    with sides as (scu, acceptor):
        asker, peer = (scu, acceptor) if side == "requestor" else (acceptor, scu)
        responses = asker.send_c_find(query(), FIND, msg_id=1)
        if use == "kept":
            next(responses)
        elif use == "dropped":
            del responses
        assert asker.send_c_echo(2).Status == 0x0000
        in_threads(getattr(peer, end))
        asker.join(TIMEOUT)
        assert not asker.is_alive()
        assert asker.is_aborted if end == "abort" else asker.is_released and peer.is_released


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("install", "abort"),
        ("install", "gone"),
        ("scp", "abort"),
        ("scp", "gone"),
        ("scp", "limit"),
    ],
)
def test_no_file_is_left_of_a_data_set(installed, nset, monkeypatch, tmp_path, kind, end):
    """What pynetdicom writes into a file, and of which the end never comes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", True)
    fields = {0x0002: CT.encode(), 0x0100: 1, 0x0110: 2, 0x0800: 1, 0x1000: INSTANCE.encode()}
    began = p_data((1, COMMAND | LAST, joined(fields))), p_data((1, 0, bytes(100)))
    if kind == "scp":
        limits = importlib.import_module("nset.scp").Limits(data_set_bytes=1000)
        serve = accepting(nset, None, entity(CT), limits=limits)
    else:
        serve = closing_server(entity(CT).start_server(("127.0.0.1", 0), block=False))
    with serve as server, Peer(port(server), CT) as peer:
        peer.send(*began)
        until(lambda: list(tmp_path.iterdir()))
        if end == "abort":
            peer.send(pdu(ABORT, bytes(4)))
        elif end == "gone":
            peer.socket.close()
        else:
            peer.send(p_data((1, 0, bytes(1000))))
        until(lambda: not list(tmp_path.iterdir()), "the file is left over")


@contextmanager
def closing_server(server):
    try:
        yield server
    finally:
        server.shutdown()


def test_a_primitive_that_is_not_sent_whose_event_has_come_twice(installed, caplog):
    """As behind an invalid message: its A-ABORT has an event of its own, which comes first."""
    dul = Association(AE(), "acceptor").dul
    dul.state_machine.current_state = "Sta13"
    dul.to_provider_queue.put(P_DATA())
    with caplog.at_level(logging.DEBUG, "nset"):
        for _ in range(2):
            assert dul._process_recv_primitive()
        for _ in range(2):
            dul.state_machine.do_action(dul.event_queue.get(False))
    assert all_said(caplog) == ["P_DATA not sent in Sta13"]
