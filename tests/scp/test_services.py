"""nset.scp with pynetdicom as SCU: services, negotiation, the server itself, its log, TLS, many.

What can be compared is: pynetdicom's own server gets the same requests and the same handlers.
"""

import asyncio
import gc
import importlib
import logging
import os
import socket
import ssl
import sys
import threading
import time
import warnings
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from queue import Queue

import pytest
import services
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed, serving
from certificates import client_context, make_certificate, server_context
from implementations import IMPLEMENTATIONS, loaded
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import _config, build_context, build_role, dimse_messages, dimse_primitives, evt
from raw_peer import ABORT, RELEASE_RP, RELEASE_RQ, Peer, associate_rq, pdu
from services import (
    COMMITMENT,
    CT,
    ECHO,
    FIND,
    MANY,
    NEGOTIATIONS,
    SINGLE,
    answers_of,
    as_async,
    everything,
    failure,
    image,
    observed,
    single,
    user_identity,
)

KINDS = {"plain": lambda handler: handler, "async": as_async}

# What pynetdicom's code does on either twin is enough to see once with each kind.
ONCE = pytest.mark.parametrize(
    ("nset", "kind"),
    [(IMPLEMENTATIONS[0], "plain"), (IMPLEMENTATIONS[-1], "async")],
    indirect=["nset"],
)
N_SETS = [name for name in SINGLE if name.startswith("N-SET")]


@contextmanager
def stock_server(handlers=None, ae=None):
    server = (ae or everything()).start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def stock():
    """One of pynetdicom's servers."""
    with stock_server() as server:
        yield server


@pytest.fixture(scope="module")
def destination():
    """The third AE, where images are moved to."""
    with serving(CT) as server:
        yield server


@pytest.fixture(scope="module")
def oracle(stock, destination):
    """What pynetdicom's server makes of a scenario; each is run once."""
    known = {}

    def run(key, scenario):
        if key not in known:
            known[key] = observed(stock, destination, scenario)
        return known[key]

    return run


@pytest.fixture(scope="module")
def remembered():
    """Does something the first time that it is asked to: pynetdicom's server ends slowly."""
    known = {}

    def once(key, make):
        if key not in known:
            known[key] = make()
        return known[key]

    return once


@contextmanager
def associated(nset, handlers, *syntaxes, own_handlers=(), ext_neg=(), **options):
    """A server, a stock association with it, and the acceptor's side of that."""
    ae = everything()
    contexts = [build_context(syntax, ImplicitVRLittleEndian) for syntax in syntaxes]
    with accepting(nset, handlers, ae, **options) as server:
        assoc = ae.associate(
            *("127.0.0.1", port(server), contexts),
            evt_handlers=list(own_handlers),
            ext_neg=list(ext_neg),
        )
        assert assoc.is_established
        (acceptor,) = server.active_associations
        try:
            yield server, assoc, acceptor
        finally:
            assoc.release()


def send(assoc):
    return assoc.send_n_set(completed(), MPPS, INSTANCE, msg_id=7)[0].Status


def connected(server):
    return socket.create_connection(server.server_address, TIMEOUT)


def ended(server):
    """Wait until the server has heard of the end of all its associations."""
    for assoc in server.active_associations:
        assoc.join(TIMEOUT)
        assert not assoc.is_alive()


# -- Services --------------------------------------------------------------------------------------


class TestServices:
    def compare(self, nset, kind, name, destination, oracle):
        scenario = single(SINGLE[name], *answers_of(SINGLE[name]))
        with accepting(nset, None, everything()) as server:
            got = observed(server, destination, scenario, KINDS[kind])
        assert got == oracle(name, scenario)
        (answers, _), seen = got
        assert len(seen) == len(answers) == len(answers_of(SINGLE[name]))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", N_SETS)
    def test_n_set(self, nset, kind, name, destination, oracle):
        self.compare(nset, kind, name, destination, oracle)

    @ONCE
    @pytest.mark.parametrize("name", [name for name in SINGLE if name not in N_SETS])
    def test_single_response(self, nset, kind, name, destination, oracle):
        self.compare(nset, kind, name, destination, oracle)

    @ONCE
    @pytest.mark.parametrize("scenario", MANY, ids=lambda scenario: scenario.__name__)
    def test_many_responses(self, nset, kind, scenario, destination, oracle):
        with accepting(nset, None, everything()) as server:
            got = observed(server, destination, scenario, KINDS[kind])
        assert got == oracle(scenario, scenario)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("in_file", [False, True])
    def test_store_of_two_mebibytes(self, nset, kind, in_file, monkeypatch):
        monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", in_file)
        pixels = bytes(range(256)) * 0x2000
        seen = Queue()

        def handle(event):
            path = event.dataset_path if in_file else None
            stored = event.dataset
            seen.put((path, path is not None and path.is_file(), stored.PixelData))
            return 0x0000

        handlers = [(evt.EVT_C_STORE, KINDS[kind](handle))]
        with associated(nset, handlers, CT) as (server, assoc, _):
            assert assoc.send_c_store(image(1, pixels)).Status == 0x0000
            path, was_there, stored = seen.get(timeout=TIMEOUT)
            assert stored == pixels
            assert was_there == in_file
            if in_file:
                until(lambda: not Path(path).exists(), "the file is left over")
            assert assoc.send_c_store(image(2)).Status == 0x0000
            assert server.counts.bytes_received > 0x200000


def test_no_handlers(nset, destination, oracle):
    """What nobody has bound a handler to is answered as pynetdicom answers it."""

    def scenario(place):
        names = ("C-STORE", "N-CREATE", "N-GET", "N-ACTION", "N-DELETE")

        def ask(assoc):
            return [SINGLE[name].ask(assoc) for name in ("C-ECHO", *names)]

        syntaxes = {SINGLE[name].syntax for name in ("C-ECHO", *names)}
        return services.Exchange({}, ask, tuple(sorted(syntaxes)))

    with accepting(nset, None, everything()) as server:
        assert observed(server, destination, scenario) == oracle("none", scenario)


def test_async_find_that_is_cancelled(nset):
    """An asynchronous generator does not hold up the C-CANCEL that it waits for."""

    async def handle(event):
        yield 0xFF00, services.patient(1)
        while not event.is_cancelled:
            await asyncio.sleep(0.001)
        yield 0xFE00, None

    with associated(nset, [(evt.EVT_C_FIND, handle)], FIND) as (_, assoc, _acceptor):
        statuses = []
        for status, _ in assoc.send_c_find(services.query(), FIND, msg_id=7):
            statuses.append(status.Status)
            assoc.send_c_cancel(7, query_model=FIND)
        assert statuses == [0xFF00, 0xFE00]


def test_move_to_another_event_driven_server(nset, oracle):
    ae = everything()
    with accepting(nset, None, ae) as server, accepting(nset, None, everything()) as other:
        got = observed(server, other, services.move_two)
    assert got == oracle(services.move_two, services.move_two)


def test_services_of_many_associations_at_once(nset):
    """Handlers that wait for each other: each association has a thread for what it asks."""
    together = threading.Barrier(8)

    def handle(event):
        together.wait(TIMEOUT)
        return 0x0000

    ae = everything()
    contexts = [build_context(ECHO)]
    with accepting(nset, [(evt.EVT_C_ECHO, handle)], ae) as server:
        statuses = Queue()

        def ask():
            assoc = ae.associate("127.0.0.1", port(server), contexts)
            statuses.put(assoc.send_c_echo())
            assoc.release()

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert [statuses.get(timeout=TIMEOUT).Status for _ in threads] == [0x0000] * 8


# -- What the server's side begins -----------------------------------------------------------------


class TestAcceptorAsks:
    def test_event_report(self, nset):
        reports = Queue()

        def handle(event):
            reports.put((event.event_type, event.event_information))
            return 0x0000, completed()

        own = [(evt.EVT_N_EVENT_REPORT, handle)]
        with associated(nset, None, COMMITMENT, own_handlers=own) as (_, _assoc, acceptor):
            for number in (1, 2):
                status, reply = acceptor.send_n_event_report(
                    completed(), number, COMMITMENT, INSTANCE
                )
                assert (status.Status, reply) == (0x0000, completed())
                assert reports.get(timeout=TIMEOUT) == (number, completed())

    def test_event_report_in_a_handler(self, nset):
        """A plain handler may ask while the peer waits for its answer."""
        reports = Queue()

        def commit(event):
            status, _ = event.assoc.send_n_event_report(completed(), 1, COMMITMENT, INSTANCE)
            return status.Status, None

        def handle(event):
            reports.put(event.event_type)
            return 0x0000, None

        own = [(evt.EVT_N_EVENT_REPORT, handle)]
        handlers = [(evt.EVT_N_ACTION, commit)]
        with associated(nset, handlers, COMMITMENT, own_handlers=own) as (_, assoc, _acceptor):
            status, _ = assoc.send_n_action(completed(), 1, COMMITMENT, INSTANCE)
            assert status.Status == 0x0000
            assert reports.get(timeout=TIMEOUT) == 1

    def test_echo_and_store(self, nset):
        stored = Queue()

        def store(event):
            stored.put(event.dataset.PixelData)
            return 0xB000

        own = [(evt.EVT_C_STORE, store), (evt.EVT_C_ECHO, lambda event: 0x0000)]
        both = [build_role(uid, scu_role=True, scp_role=True) for uid in (ECHO, CT)]
        with associated(nset, None, ECHO, CT, own_handlers=own, ext_neg=both) as (
            server,
            assoc,
            acceptor,
        ):
            assert acceptor.send_c_echo().Status == 0x0000
            assert acceptor.send_c_store(image(1, bytes(100_000))).Status == 0xB000
            assert stored.get(timeout=TIMEOUT) == bytes(100_000)
            # And the peer may still ask, too.
            assert assoc.send_c_echo().Status == 0x0000
            assert server.counts.requests == 1

    def test_n_set(self, nset):
        lists = Queue()

        def handle(event):
            lists.put(event.modification_list)
            return 0x0000, None

        own = [(evt.EVT_N_SET, handle)]
        role = [build_role(MPPS, scu_role=True, scp_role=True)]
        handlers = [(evt.EVT_N_SET, lambda event: (0x0107, None))]
        with associated(nset, handlers, MPPS, own_handlers=own, ext_neg=role) as (
            _,
            assoc,
            acceptor,
        ):
            assert send(acceptor) == 0x0000
            assert lists.get(timeout=TIMEOUT) == completed()
            assert send(assoc) == 0x0107

    def test_what_was_not_negotiated(self, nset):
        refused = pytest.raises(ValueError, match="No presentation context")
        with associated(nset, None, ECHO) as (_, _assoc, acceptor), refused:
            acceptor.send_c_echo()

    def test_peer_that_does_not_answer(self, nset):
        """The DIMSE timeout aborts the association, as it does pynetdicom's."""
        ae = everything()
        ae.dimse_timeout = 0.05
        with accepting(nset, None, ae) as server, Peer(port(server), COMMITMENT) as peer:
            (acceptor,) = server.active_associations
            status, _ = acceptor.send_n_event_report(None, 1, COMMITMENT, INSTANCE)
            assert "Status" not in status
            assert acceptor.is_aborted
            peer.receive_message()
            assert peer.receive().type == ABORT
            ended(server)

    @pytest.mark.parametrize("has_noted", [False, True])
    def test_peer_that_goes(self, nset, monkeypatch, caplog, has_noted):
        """It is told apart from one that does not answer, however far that has been noted."""
        handlers = [] if has_noted else [(evt.EVT_CONN_CLOSE, lambda event: time.sleep(0.1))]
        with accepting(nset, handlers, everything()) as server:
            peer = Peer(port(server), COMMITMENT)
            (acceptor,) = server.active_associations
            kill_dul, receive_pdu = acceptor.dul.kill_dul, acceptor.dul.receive_pdu
            is_aborted = acceptor.acse.is_aborted

            def end_slowly():
                time.sleep(0.1)  # in which the asker learns that there is no answer
                kill_dul()

            def receive_slowly(*args, **kwargs):
                primitive = receive_pdu(*args, **kwargs)
                time.sleep(0.1)  # in which he looks why
                return primitive

            def look_late(kind):
                until(acceptor.dul.to_user_queue.empty)
                return is_aborted(kind)

            if has_noted:
                monkeypatch.setattr(acceptor.dul, "kill_dul", end_slowly)
                monkeypatch.setattr(acceptor.dul, "receive_pdu", receive_slowly)
                monkeypatch.setattr(acceptor.acse, "is_aborted", look_late)
            answers = Queue()
            asker = threading.Thread(
                target=lambda: answers.put(
                    acceptor.send_n_event_report(None, 1, COMMITMENT, INSTANCE)
                )
            )
            asker.start()
            peer.receive_message()
            peer.socket.close()
            assert "Status" not in answers.get(timeout=TIMEOUT)[0]
            asker.join(TIMEOUT)
            ended(server)
            assert acceptor.is_aborted
            assert server.counts.aborted == {"connection": 1}
        assert "timeout" not in caplog.text

    def test_release(self, nset):
        released = threading.Event()
        handlers = [(evt.EVT_RELEASED, lambda event: released.set())]
        with associated(nset, handlers, ECHO) as (server, assoc, acceptor):
            acceptor.release()
            assert acceptor.is_released
            assert not acceptor.is_established
            assert released.wait(TIMEOUT)
            ended(server)
            until(lambda: assoc.is_released, "the requestor")
            assert server.active_associations == []
            assert server.counts.released == 1
            acceptor.release()  # once more does nothing
            acceptor.abort()
            assert server.counts.aborted == {}

    def test_release_after_requests(self, nset):
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        with associated(nset, handlers, MPPS) as (_, assoc, acceptor):
            assert send(assoc) == 0x0000
            acceptor.release()
            assert acceptor.is_released
            until(lambda: assoc.is_released, "the requestor")

    def test_abort(self, nset):
        aborted = threading.Event()
        handlers = [(evt.EVT_ABORTED, lambda event: aborted.set())]
        with associated(nset, handlers, ECHO) as (server, assoc, acceptor):
            acceptor.abort()
            assert acceptor.is_aborted
            assert not acceptor.is_established
            assert aborted.wait(TIMEOUT)
            ended(server)
            assert not acceptor.is_alive()
            until(lambda: assoc.is_aborted, "the requestor")
            assert server.counts.aborted == {"local": 1}
            with pytest.raises(RuntimeError, match="must be established"):
                acceptor.send_c_echo()

    def test_release_by_both_at_once(self, nset):
        """PS3.8 Section 7.2.2.7: the requestor's response comes first."""
        with accepting(nset, None, everything()) as server, Peer(port(server), ECHO) as peer:
            (acceptor,) = server.active_associations
            release = threading.Thread(target=acceptor.release)
            release.start()
            assert peer.receive() == (RELEASE_RQ, bytes(4))
            peer.send(pdu(RELEASE_RQ, bytes(4)), pdu(RELEASE_RP, bytes(4)))
            assert peer.receive() == (RELEASE_RP, bytes(4))
            assert peer.receive() is None
            release.join(TIMEOUT)
            assert acceptor.is_released
            ended(server)


# -- Negotiation -----------------------------------------------------------------------------------


@ONCE
@pytest.mark.parametrize("name", NEGOTIATIONS)
def test_negotiation(nset, kind, name, destination, oracle):
    scenario = NEGOTIATIONS[name]
    with accepting(nset, None, everything()) as server:
        got = observed(server, destination, scenario, KINDS[kind])
        ended(server)
        (_, (_, is_rejected)), _ = got
        assert server.counts.rejected == is_rejected
    assert got == oracle(("negotiation", name), scenario)


@pytest.mark.parametrize(
    "restriction",
    [{"require_calling_aet": ["OTHER"]}, {"require_called_aet": True}, {"maximum_associations": 0}],
    ids=lambda restriction: next(iter(restriction)),
)
def test_rejections(nset, destination, restriction, remembered):
    def ask(assoc):
        primitive = assoc.acceptor.primitive
        return primitive.result, primitive.result_source, primitive.diagnostic

    def scenario(place):
        return services.Exchange({}, ask, (ECHO,))

    def restricted():
        ae = everything()
        for name, value in restriction.items():
            # The AE's own setter takes no limit of 0.
            setattr(ae, "_maximum_associations" if value == 0 else name, value)
        return ae

    with accepting(nset, None, restricted()) as server:
        got = observed(server, destination, scenario)
        ended(server)
        assert server.counts.rejected == 1
        assert server.counts.associations == 0

    def by_stock():
        with stock_server(ae=restricted()) as server:
            return observed(server, destination, scenario)

    assert got == remembered(str(restriction), by_stock)
    assert got[0][1] == (False, True)


def test_users_answer_is_for_whom_asked(nset):
    def handle(event):
        return event.primary_field == b"me", b"ticket"

    handlers = [(evt.EVT_USER_ID, handle)]
    item = user_identity(3, wants_answer=True)
    with associated(nset, handlers, ECHO, ext_neg=[item]) as (server, assoc, _):
        assert assoc.acceptor.user_identity.server_response == b"ticket"
        other = services.everything().associate(
            "127.0.0.1", port(server), [build_context(ECHO)], ext_neg=[user_identity(1, user=b"u")]
        )
        assert other.is_rejected


@pytest.mark.parametrize("event", [evt.EVT_USER_ID, evt.EVT_REQUESTED, evt.EVT_CONN_OPEN], ids=str)
def test_slow_negotiation_holds_up_nobody_else(nset, event):
    started, go_on, slow = threading.Event(), threading.Event(), Queue()

    def handle(event):
        if not started.is_set():
            started.set()
            assert go_on.wait(TIMEOUT)
        return True, None

    ae = entity()
    options = {"ext_neg": [user_identity()]} if event == evt.EVT_USER_ID else {}
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None)), (event, handle)]
    with accepting(nset, handlers, ae) as server:
        thread = threading.Thread(
            target=lambda: slow.put(ae.associate("127.0.0.1", port(server), **options))
        )
        thread.start()
        try:
            assert started.wait(TIMEOUT)
            for _ in range(3):
                quick = ae.associate("127.0.0.1", port(server), **options)
                assert send(quick) == 0x0000
                quick.release()
                assert slow.empty()
        finally:
            go_on.set()
        thread.join(TIMEOUT)
        assoc = slow.get(timeout=TIMEOUT)
        assert send(assoc) == 0x0000
        assoc.release()


# -- The server ------------------------------------------------------------------------------------


@contextmanager
def one_descriptor_left():
    """Let this process open one more file, and no others."""
    resource = pytest.importorskip("resource")  # Windows has none, and no such limit
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files[0] + 10, limits[1]))
        with suppress(OSError):
            while True:
                files.append(os.dup(files[0]))
        os.close(files.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in files:
            os.close(file)


class TestServer:
    def test_address_and_associations(self, nset):
        ae = everything()
        with accepting(nset, None, ae) as server:
            host, number = server.server_address
            assert host == "127.0.0.1"
            assert number > 0
            assert server.active_associations == []
            one = ae.associate(host, number, [build_context(ECHO)])
            two = ae.associate(host, number, [build_context(ECHO)])
            assert len(server.active_associations) == 2
            for acceptor in server.active_associations:
                assert acceptor.is_acceptor
                assert acceptor.is_established
                assert acceptor.is_alive()
                assert acceptor.ae is ae
                assert acceptor.acceptor.port == number
                assert acceptor.requestor.ae_title == "NSET"
                assert acceptor in ae.active_associations
            assert len(ae.active_associations) == 4
            first = server.active_associations[0]
            assert first.requestor.port == one.requestor.port
            one.release()
            first.join(TIMEOUT)
            assert len(server.active_associations) == 1
            two.release()

    def test_ipv6(self, nset):
        scp = importlib.import_module("nset.scp")
        ae = everything()
        with scp.start_server(ae, ("::1", 0, 0, 0), block=False) as server:
            assoc = ae.associate("::1", port(server), [build_context(ECHO)])
            assert assoc.send_c_echo().Status == 0x0000
            assoc.release()

    def test_address_that_is_taken(self, nset):
        scp = importlib.import_module("nset.scp")
        with accepting(nset, None) as server, pytest.raises(OSError, match="in use"):
            scp.start_server(entity(), server.server_address, block=False)

    # asyncio's own loop stumbles in its finalizer where it was not made to the end.
    @pytest.mark.filterwarnings("ignore:Exception ignored in. .*BaseEventLoop")
    @pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
    @pytest.mark.parametrize("block", [False, True])
    def test_no_descriptors_for_a_loop(self, nset, block):
        scp = importlib.import_module("nset.scp")
        ae = entity()
        with one_descriptor_left(), pytest.raises(OSError, match=r"(?i)too many open files"):
            scp.start_server(ae, ("127.0.0.1", 0), block)
        gc.collect()  # what is left of the loop, while its warnings are ignored
        assert ae._servers == []
        with scp.start_server(ae, ("127.0.0.1", 0), block=False) as server:
            assert server.server_address[1]

    def test_events_and_handlers(self, nset, stock):
        handler, other = (lambda event: 0x0000), (lambda event: None)
        with accepting(nset, [(evt.EVT_C_ECHO, handler, [1])], everything()) as server:
            assert server.get_events() == stock.get_events()
            for event in stock.get_events():
                if event != evt.EVT_C_ECHO:
                    assert server.get_handlers(event) == stock.get_handlers(event)
            assert server.get_handlers(evt.EVT_C_ECHO) == (handler, [1])
            server.bind(evt.EVT_CONN_OPEN, other)
            assert server.get_handlers(evt.EVT_CONN_OPEN) == [(other, None)]
            server.unbind(evt.EVT_CONN_OPEN, other)
            server.unbind(evt.EVT_C_ECHO, handler)
            for event in (evt.EVT_CONN_OPEN, evt.EVT_C_ECHO):
                assert server.get_handlers(event) == stock.get_handlers(event)

    def test_bind_reaches_associations(self, nset):
        opened = Queue()
        with associated(nset, None, ECHO) as (server, assoc, acceptor):
            server.bind(evt.EVT_C_ECHO, lambda event, status: status, [0x0122])
            assert assoc.send_c_echo().Status == 0x0122
            acceptor.bind(evt.EVT_C_ECHO, lambda event: 0x0210)
            assert assoc.send_c_echo().Status == 0x0210
            server.bind(evt.EVT_CONN_CLOSE, opened.put)
            assoc.release()
            assert opened.get(timeout=TIMEOUT).assoc is acceptor

    @pytest.mark.parametrize(
        "events",
        [
            (evt.EVT_CONN_OPEN, evt.EVT_REQUESTED, evt.EVT_ACCEPTED, evt.EVT_ESTABLISHED),
            (evt.EVT_RELEASED, evt.EVT_CONN_CLOSE),
            (evt.EVT_ACSE_RECV, evt.EVT_ACSE_SENT),
            (evt.EVT_PDU_RECV, evt.EVT_PDU_SENT),
            (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT),
            (evt.EVT_DATA_RECV, evt.EVT_DATA_SENT),
            (evt.EVT_FSM_TRANSITION,),
        ],
        ids=lambda events: events[0].name,
    )
    def test_notifications_are_pynetdicoms(self, nset, events, remembered):
        """The same ones in the same order, though pynetdicom's come from two threads."""

        def told(server):
            heard, released, closed = [], threading.Event(), threading.Event()

            def note(event):
                if event.event is evt.EVT_CONN_CLOSE:
                    assert released.wait(TIMEOUT)  # from the other thread; which is first is chance
                heard.append((event.event.name, *_details(event)))

            for event in events:
                server.bind(event, note)
            server.bind(evt.EVT_RELEASED, lambda event: released.set())
            server.bind(evt.EVT_CONN_CLOSE, lambda event: closed.set())
            with Peer(port(server), ECHO) as peer:
                peer.send(echo_pdu())
                peer.receive_message()
                peer.release()
            assert closed.wait(TIMEOUT)
            until(lambda: not server.active_associations)
            return heard

        def told_by_stock():
            with stock_server() as server:
                return told(server)

        with accepting(nset, None, everything()) as server:
            got = told(server)
        assert got == remembered(events, told_by_stock)
        assert {name for name, *_ in got} == {event.name for event in events}

    def test_shutdown(self, nset):
        scp = importlib.import_module("nset.scp")
        ae = everything()
        server = scp.start_server(ae, ("127.0.0.1", 0), block=False)
        assert ae._servers == [server]
        assoc = ae.associate(*server.server_address, [build_context(ECHO)])
        server.shutdown()
        until(lambda: assoc.is_released, "released in good order")
        assert ae._servers == []
        assert server.active_associations == []
        assert server.counts.open_connections == 0
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(server.server_address, TIMEOUT)
        server.shutdown()  # once more does nothing

    def test_as_context_manager(self, nset):
        scp = importlib.import_module("nset.scp")
        ae = everything()
        with scp.start_server(ae, ("127.0.0.1", 0), block=False) as server:
            assoc = ae.associate(*server.server_address, [build_context(ECHO)])
            assert assoc.is_established
        until(lambda: assoc.is_released)
        assert ae._servers == []

    def test_shutdown_of_the_ae(self, nset):
        scp = importlib.import_module("nset.scp")
        ae = everything()
        servers = [scp.start_server(ae, ("127.0.0.1", 0), block=False) for _ in range(2)]
        client = everything()
        assocs = [client.associate(*s.server_address, [build_context(ECHO)]) for s in servers]
        ae.shutdown()
        assert ae._servers == []
        for server, assoc in zip(servers, assocs, strict=True):
            assert server.active_associations == []
            assert not server.thread.is_alive()
            until(lambda assoc=assoc: assoc.is_aborted)

    def test_blocking_until_the_ae_is_shut_down(self, nset):
        scp = importlib.import_module("nset.scp")
        ae, results = everything(), Queue()
        thread = threading.Thread(
            target=lambda: results.put(scp.start_server(ae, ("127.0.0.1", 0), block=True))
        )
        thread.start()
        until(lambda: ae._servers, "no server")
        (server,) = ae._servers
        assoc = everything().associate(*server.server_address, [build_context(ECHO)])
        assert assoc.send_c_echo().Status == 0x0000
        ae.shutdown()
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        assert results.get(timeout=TIMEOUT) is None

    def test_maximum_associations(self, nset):
        ae = everything()
        ae.maximum_associations = 2
        client = everything()
        with accepting(nset, None, ae) as server, accepting(nset, None, ae) as other:
            # Those of both servers of the AE count.
            one = client.associate(*server.server_address, [build_context(ECHO)])
            two = client.associate(*other.server_address, [build_context(ECHO)])
            for _ in range(2):
                more = client.associate(*server.server_address, [build_context(ECHO)])
                assert more.is_rejected
                assert more.acceptor.primitive.result_source == 0x03
            (acceptor,) = [one for one in server.active_associations if one.is_established]
            one.release()
            acceptor.join(TIMEOUT)
            more = client.associate(*server.server_address, [build_context(ECHO)])
            assert more.is_established
            more.release()
            two.release()
            ended(server)
            assert server.counts.rejected == 2

    @pytest.mark.parametrize("is_heard", [False, True])
    @pytest.mark.parametrize("kind", [ABORT, RELEASE_RQ], ids=["abort", "release"])
    def test_peer_that_closes_at_once(self, nset, kind, is_heard):
        """The end of the connection does not overtake what came before it."""
        handlers = [(evt.EVT_REQUESTED, lambda event: None)] if is_heard else None
        with accepting(nset, handlers) as server:
            for _ in range(20):
                with Peer(port(server), MPPS) as peer:
                    peer.send(pdu(kind, bytes(4)))
                ended(server)
            counts = server.counts
            if kind == ABORT:
                assert (counts.released, counts.aborted) == (0, {"peer": 20})
            else:
                assert (counts.released, counts.aborted) == (20, {})

    def test_own_title_and_contexts(self, nset):
        ae = everything()
        ae.require_called_aet = True
        options = {"ae_title": "OTHER", "contexts": [build_context(ECHO)]}
        with accepting(nset, None, ae, **options) as server:
            wanted = [build_context(ECHO), build_context(CT)]
            assert ae.associate(*server.server_address, wanted).is_rejected
            assoc = ae.associate(*server.server_address, wanted, ae_title="OTHER")
            assert [context.abstract_syntax for context in assoc.accepted_contexts] == [ECHO]
            assert [context.abstract_syntax for context in assoc.rejected_contexts] == [CT]
            assoc.release()

    def test_no_contexts(self, nset):
        scp = importlib.import_module("nset.scp")
        with pytest.raises(ValueError, match="No supported Presentation Contexts"):
            scp.start_server(services.AE(), ("127.0.0.1", 0), block=False)

    def test_counts(self, nset):
        handlers = [
            (evt.EVT_N_SET, lambda event: (0x0107 if event.message_id == 1 else 0x0000, None)),
            (evt.EVT_C_ECHO, lambda event: 0x0122),
            (evt.EVT_USER_ID, lambda event: (False, None)),
        ]
        with associated(nset, handlers, MPPS, ECHO) as (server, assoc, acceptor):
            assert assoc.send_n_set(completed(), MPPS, INSTANCE, msg_id=1)[0].Status == 0x0107
            assert send(assoc) == 0x0000
            assert assoc.send_c_echo().Status == 0x0122
            counts = server.counts
            assert (counts.connections, counts.open_connections) == (1, 1)
            assert (counts.associations, counts.open_associations) == (1, 1)
            assert (counts.requests, counts.n_set_requests) == (3, 2)
            assert counts.responses == {"Warning": 1, "Success": 1, "Failure": 1}
            assert (counts.released, counts.rejected, counts.aborted) == (0, 0, {})
            assert counts.bytes_received > counts.bytes_sent > 100
            assoc.release()
            acceptor.join(TIMEOUT)
            ae = everything()
            contexts = [build_context(ECHO)]
            rejected = ae.associate(*server.server_address, contexts, ext_neg=[user_identity()])
            assert rejected.is_rejected
            for end in ("peer", "local"):
                assoc = ae.associate(*server.server_address, contexts)
                (acceptor,) = [one for one in server.active_associations if one.is_established]
                (assoc if end == "peer" else acceptor).abort()
                acceptor.join(TIMEOUT)
            peer = Peer(port(server), ECHO)
            (acceptor,) = [one for one in server.active_associations if one.is_established]
            peer.socket.close()
            acceptor.join(TIMEOUT)
            until(lambda: server.counts.open_connections == 0)
            after = server.counts
            assert (after.connections, after.refused_connections) == (5, 0)
            assert (after.associations, after.open_associations) == (4, 0)
            assert (after.released, after.rejected) == (1, 1)
            assert after.aborted == {"peer": 1, "local": 1, "connection": 1}
            assert (after.requests, after.n_set_requests) == (3, 2)


def _details(event):
    """What a notification says, but for what differs between any two servers."""
    if event.event in (evt.EVT_DATA_RECV, evt.EVT_DATA_SENT):
        return (bytes(event.data),)
    if event.event in (evt.EVT_PDU_RECV, evt.EVT_PDU_SENT):
        return type(event.pdu).__name__, event.pdu.encode()
    if event.event in (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT):
        return type(event.message).__name__, event.message.command_set
    if event.event in (evt.EVT_ACSE_RECV, evt.EVT_ACSE_SENT):
        return (type(event.primitive).__name__,)
    if event.event == evt.EVT_FSM_TRANSITION:
        return event.current_state, event.fsm_event, event.action, event.next_state
    return ()


def echo_pdu():
    request = dimse_primitives.C_ECHO()
    request.MessageID = 1
    request.AffectedSOPClassUID = ECHO
    message = dimse_messages.C_ECHO_RQ()
    message.primitive_to_message(request)
    (data,) = message.encode_msg(1, 16382)
    ((_, fragment),) = data.presentation_data_value_list
    return one_pdu(fragment[1:])


# -- In a program's own loop -----------------------------------------------------------------------


class TestServe:
    def test_async_with(self, nset):
        scp = importlib.import_module("nset.scp")

        async def main():
            seen = []
            loop = asyncio.get_running_loop()

            async def handle(event):
                seen.append(asyncio.get_running_loop() is loop)
                return 0x0000, None

            ae = entity()
            handlers = [(evt.EVT_N_SET, handle)]
            async with await scp.serve(ae, ("127.0.0.1", 0), evt_handlers=handlers) as server:
                address = server.server_address
                assoc = await asyncio.to_thread(ae.associate, *address)
                assert await asyncio.to_thread(send, assoc) == 0x0000
                assert len(server.active_associations) == 1
                assert server.loop is loop
            until(lambda: assoc.is_released)
            assert server.active_associations == []
            assert ae._servers == []
            assert seen == [True]

        asyncio.run(asyncio.wait_for(main(), 3 * TIMEOUT))

    def test_close_and_wait_closed(self, nset):
        scp = importlib.import_module("nset.scp")

        async def main():
            server = await scp.serve(entity(), ("127.0.0.1", 0))
            waiting = asyncio.create_task(server.wait_closed())
            await asyncio.sleep(0)
            assert not waiting.done()
            await server.close()
            await waiting
            await server.wait_closed()
            await server.close()

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    def test_services(self, nset, destination, oracle):
        """Those of pynetdicom are worked on by threads, also here."""
        scp = importlib.import_module("nset.scp")
        scenarios = {
            name: single(SINGLE[name], *answers_of(SINGLE[name])) for name in ("C-STORE", "N-SET")
        }
        for scenario in (services.find_several, services.get_two, services.move_two):
            scenarios[scenario] = scenario

        async def main():
            async with await scp.serve(everything(), ("127.0.0.1", 0)) as server:
                return {
                    key: await asyncio.to_thread(observed, server, destination, scenario, as_async)
                    for key, scenario in scenarios.items()
                }

        got = asyncio.run(asyncio.wait_for(main(), 6 * TIMEOUT))
        for key, scenario in scenarios.items():
            assert got[key] == oracle(key, scenario)

    def test_shut_down_by_another_thread(self, nset):
        scp = importlib.import_module("nset.scp")

        async def main():
            ae = entity()
            server = await scp.serve(ae, ("127.0.0.1", 0))
            await asyncio.to_thread(ae.shutdown)
            await server.wait_closed()
            assert ae._servers == []

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    def test_address_that_is_taken(self, nset):
        scp = importlib.import_module("nset.scp")

        async def main():
            async with await scp.serve(entity(), ("127.0.0.1", 0)) as server:
                with pytest.raises(OSError, match="in use"):
                    await scp.serve(entity(), server.server_address)

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))

    @pytest.mark.parametrize("is_secured", [False, True])
    def test_loop_without_readers(self, nset, certificates, is_secured):
        """Such as the default one of Windows."""
        scp = importlib.import_module("nset.scp")
        own, _ = certificates
        context, tls = (server_context(own), (client_context(own), "localhost"))
        if not is_secured:
            context = tls = None

        class Loop(asyncio.SelectorEventLoop):
            def add_reader(self, *args):
                raise NotImplementedError

            def remove_reader(self, *args):
                raise NotImplementedError

            def add_signal_handler(self, *args):
                raise NotImplementedError

        def ask(server):
            for _ in range(3):
                assoc = entity().associate("127.0.0.1", port(server), tls_args=tls)
                assert send(assoc) == 0x0000
                assoc.release()

        async def main():
            handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
            async with await scp.serve(entity(), ("127.0.0.1", 0), context, handlers) as server:
                await asyncio.to_thread(ask, server)
            assert server.counts.released == 3

        loop = Loop()
        with closing(loop):
            loop.run_until_complete(asyncio.wait_for(main(), TIMEOUT))

    def test_program_that_is_cancelled(self, nset):
        """`async with` ends the server also when its task is cancelled."""
        scp = importlib.import_module("nset.scp")

        async def program(ae, started):
            async with await scp.serve(ae, ("127.0.0.1", 0)) as server:
                started.set_result(server)
                await server.wait_closed()

        async def main():
            ae = entity()
            started = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(program(ae, started))
            server = await started
            assoc = await asyncio.to_thread(entity().associate, *server.server_address)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ae._servers == []
            assert server.active_associations == []
            until(lambda: assoc.is_released)

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))


# -- What is in the log ----------------------------------------------------------------------------


class TestLog:
    @pytest.fixture
    def compared(self, nset, caplog, remembered, request):
        """What our server's log says, and what pynetdicom's does."""

        def compare(of, make_ae=everything, handlers=None):
            def by_stock():
                with stock_server(handlers, make_ae()) as server:
                    return of(server)

            with accepting(nset, handlers, make_ae()) as server:
                ours = of(server)
            assert ours
            key = request.node.name.replace(request.node.callspec.params["nset"], "")
            return ours, remembered(key, by_stock)

        return compare

    def records(self, server, peer_does, caplog, level):
        """What pynetdicom's loggers say of one raw peer."""
        closed = threading.Event()
        server.bind(evt.EVT_CONN_CLOSE, lambda event: closed.set())
        caplog.clear()
        with caplog.at_level(level, logger="pynetdicom"):
            peer_does(port(server))
            assert closed.wait(TIMEOUT)
            until(lambda: not server.active_associations)
        return [record for record in caplog.record_tuples if record[0].startswith("pynetdicom")]

    @pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG], ids=logging.getLevelName)
    @pytest.mark.parametrize("what", ["release", "abort", "C-ECHO", "N-SET", "N-SET failed"])
    def test_is_pynetdicoms(self, nset, compared, caplog, level, what):
        def peer_does(number):
            with Peer(number, ECHO if what == "C-ECHO" else MPPS) as peer:
                if what == "abort":
                    peer.send(pdu(ABORT, bytes(4)))
                    assert peer.receive() is None
                    return
                if what != "release":
                    peer.send(echo_pdu() if what == "C-ECHO" else n_set_pdus(nset))
                    peer.receive_message()
                peer.release()

        answer = failure(0x0110) if what == "N-SET failed" else 0x0000
        handlers = [(evt.EVT_N_SET, lambda event: (answer, None))]
        ours, theirs = compared(
            lambda server: self.records(server, peer_does, caplog, level), handlers=handlers
        )
        assert ours == theirs

    @pytest.mark.parametrize("what", ["abort", "release"])
    def test_of_what_the_server_begins(self, compared, caplog, what):
        def of(server):
            def peer_does(number):
                with Peer(number, ECHO) as peer:
                    until(lambda: server.active_associations[0].is_established)
                    (acceptor,) = server.active_associations
                    thread = threading.Thread(target=getattr(acceptor, what))
                    thread.start()
                    while answer := peer.receive():  # pynetdicom's abort may close without one
                        if answer.type == RELEASE_RQ:
                            peer.send(pdu(RELEASE_RP, bytes(4)))
                    thread.join(TIMEOUT)

            return self.records(server, peer_does, caplog, logging.INFO)

        ours, theirs = compared(of)
        assert ours == theirs

    def test_of_a_rejection(self, compared, caplog):
        def peer_does(number):
            with socket.create_connection(("127.0.0.1", number), TIMEOUT) as peer:
                peer.sendall(associate_rq(ECHO))
                assert peer.recv(100)[0] == 0x03
                assert peer.recv(100) == b""

        def closed():
            ae = everything()
            ae.require_calling_aet = ["OTHER"]
            return ae

        ours, theirs = compared(
            lambda server: self.records(server, peer_does, caplog, logging.INFO), closed
        )
        assert ours == theirs

    def test_without_the_standard_handlers(self, nset, compared, caplog, monkeypatch):
        """But for how often a data set is decoded: command sets are not."""
        monkeypatch.setattr(_config, "LOG_HANDLER_LEVEL", "none")

        def peer_does(number):
            with Peer(number, MPPS) as peer:
                peer.send(n_set_pdus(nset))
                peer.receive_message()
                peer.release()

        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        ours, theirs = compared(
            lambda server: self.records(server, peer_does, caplog, logging.DEBUG),
            handlers=handlers,
        )
        ours, theirs = (
            [record for record in records if record[0] != "pynetdicom.dsutils"]
            for records in (ours, theirs)
        )
        assert ours == theirs


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The server's, and a client's."""
    directory = tmp_path_factory.mktemp("certificates")
    return make_certificate(directory, "server"), make_certificate(directory, "client")


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request, monkeypatch):
    """Whose loop the server runs in: they differ in how they do TLS."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="nset[scp] has it where it can be")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    return request.param


@pytest.mark.usefixtures("loop")
class TestTls:
    @pytest.fixture(autouse=True)
    def sockets_of_refused_requestors(self):
        yield
        # pynetdicom's requestor does not close a socket whose TLS handshake has failed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    @contextmanager
    def secured(self, nset, context, handlers=None, ae=None):
        scp = importlib.import_module("nset.scp")
        ae = ae or entity(MPPS, ECHO)
        server = scp.start_server(ae, ("127.0.0.1", 0), False, context, handlers)
        try:
            assert server.ssl_context is context
            yield server
        finally:
            self.shut_down(server)

    def shut_down(self, server):
        """Shut down; but a shutdown that hangs is not to hang the tests."""
        thread = threading.Thread(target=server.shutdown, args=(2,), daemon=True)
        thread.start()
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "the shutdown hangs"

    def is_refused(self, server, context):
        """Tell whether there is no answer to a request; pynetdicom's SCU would leave its socket."""
        with connected(server) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost") as peer:
                    peer.sendall(associate_rq(MPPS))
                    return peer.recv(100) == b""
            except (ssl.SSLError, ConnectionError):
                return True

    def associate(self, server, context):
        tls_args = None if context is None else (context, "localhost")
        ae = entity(MPPS, ECHO)
        return ae.associate("127.0.0.1", port(server), tls_args=tls_args)

    @pytest.mark.parametrize("kind", KINDS)
    def test_n_set_and_release(self, nset, kind, certificates):
        own, _ = certificates
        seen = Queue()

        def handle(event):
            seen.put(event.modification_list)
            return 0x0000, event.modification_list

        handlers = [(evt.EVT_N_SET, KINDS[kind](handle))]
        with self.secured(nset, server_context(own), handlers) as server:
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            for _ in range(3):
                status, attributes = assoc.send_n_set(completed(), MPPS, INSTANCE)
                assert (status.Status, attributes) == (0x0000, completed())
                assert seen.get(timeout=TIMEOUT) == completed()
            assert assoc.send_c_echo().Status == 0x0000
            (acceptor,) = server.active_associations
            assoc.release()
            assert assoc.is_released
            acceptor.join(TIMEOUT)
            until(lambda: server.counts.open_connections == 0)
            assert (server.counts.released, server.counts.aborted) == (1, {})

    @pytest.mark.parametrize("kind", KINDS)
    def test_large_lists(self, nset, kind, certificates):
        own, _ = certificates
        large = completed()
        large.add_new("PixelData", "OW", bytes(range(256)) * 0x2000)
        handlers = [(evt.EVT_N_SET, KINDS[kind](lambda event: (0x0000, event.modification_list)))]
        with self.secured(nset, server_context(own), handlers) as server:
            assoc = self.associate(server, client_context(own))
            status, attributes = assoc.send_n_set(large, MPPS, INSTANCE)
            assert status.Status == 0x0000
            assert attributes.PixelData == large.PixelData
            assoc.release()

    def test_release_and_abort_by_the_server(self, nset, certificates):
        own, _ = certificates
        with self.secured(nset, server_context(own)) as server:
            for what in ("release", "abort"):
                assoc = self.associate(server, client_context(own))
                (acceptor,) = server.active_associations
                getattr(acceptor, what)()
                acceptor.join(TIMEOUT)
                until(lambda assoc=assoc: not assoc.is_established)
                assert (assoc.is_released, assoc.is_aborted) == (
                    what == "release",
                    what == "abort",
                )
            assert (server.counts.released, server.counts.aborted) == (1, {"local": 1})

    def test_client_with_a_certificate(self, nset, certificates):
        own, client = certificates
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        with self.secured(nset, server_context(own, client), handlers) as server:
            assoc = self.associate(server, client_context(own, client))
            assert send(assoc) == 0x0000
            assoc.release()

    @pytest.mark.parametrize("has", ["none", "another"])
    def test_client_without_the_right_certificate(self, nset, certificates, has, caplog):
        own, client = certificates
        with self.secured(nset, server_context(own, client)) as server:
            refused = self.associate(server, client_context(own, own if has == "another" else None))
            assert not refused.is_established
            assoc = self.associate(server, client_context(own, client))
            assert assoc.is_established
            assoc.release()
            assert server.counts.associations == 1
        assert "TLS handshake" in caplog.text

    def test_client_that_does_not_trust_the_server(self, nset, certificates):
        own, client = certificates
        with self.secured(nset, server_context(own)) as server:
            assert self.is_refused(server, client_context(client))
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            assoc.release()

    def test_plain_client(self, nset, certificates, caplog):
        own, _ = certificates
        with self.secured(nset, server_context(own)) as server:
            with connected(server) as peer:
                peer.sendall(associate_rq(ECHO))
                answer = b""
                while more := peer.recv(1000):
                    answer += more
                assert answer[:1] != b"\x02"
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            assoc.release()
            assert server.counts.associations == 1
        assert "TLS handshake" in caplog.text

    def test_tls_client_at_a_plain_port(self, nset, certificates):
        own, _ = certificates
        with self.secured(nset, None) as server:
            assert self.is_refused(server, client_context(own))
            assoc = self.associate(server, None)
            assert assoc.is_established
            assoc.release()
            until(lambda: not server.active_associations)

    @pytest.mark.parametrize("sent", [0, 5], ids=["nothing", "part"])
    def test_client_that_stalls_in_the_handshake(self, nset, certificates, sent):
        own, _ = certificates
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        with self.secured(nset, server_context(own), handlers) as server:
            stalled = [connected(server) for _ in range(5)]
            hello = ssl.MemoryBIO()
            client = client_context(own).wrap_bio(ssl.MemoryBIO(), hello, False, "localhost")
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            for peer in stalled:
                peer.sendall(hello.read(sent) if sent else b"")
            assoc = self.associate(server, client_context(own))
            assert send(assoc) == 0x0000
            assoc.release()
            self.shut_down(server)  # which they do not hold up either
            for peer in stalled:
                assert peer.recv(1000) == b""
                peer.close()

    @pytest.mark.parametrize("why", ["failed", "stalled"])
    def test_handshakes_are_no_associations(self, nset, certificates, why):
        """They neither count for the limit nor hold up the shutdown."""
        own, client = certificates
        ae = entity()
        ae.maximum_associations = 2
        with self.secured(nset, server_context(own), ae=ae) as server:
            if why == "failed":
                peers = []
                for _ in range(3):
                    assert self.is_refused(server, client_context(client))
            else:
                peers = [connected(server) for _ in range(3)]
            until(lambda: server.counts.connections == 3)
            assert server.active_associations == []
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            assoc.release()
            ended(server)
            begun = time.monotonic()
            self.shut_down(server)
            assert time.monotonic() - begun < 1.5
            for peer in peers:
                assert peer.recv(1000) == b""
                peer.close()

    def test_handshake_has_a_time_limit(self, nset, certificates):
        own, _ = certificates
        ae = entity()
        ae.acse_timeout = 0.1
        with self.secured(nset, server_context(own), ae=ae) as server, connected(server) as peer:
            assert peer.recv(1000) == b""
            until(lambda: server.active_associations == [])

    def test_context_that_is_set_later(self, nset, certificates):
        own, _ = certificates
        with self.secured(nset, None) as server:
            server.ssl_context = server_context(own)
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            assoc.release()


def test_tls_in_a_program_s_own_loop(nset, certificates):
    scp = importlib.import_module("nset.scp")
    own, client = certificates

    async def main():
        ae = entity()
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        context = server_context(own, client)
        async with await scp.serve(ae, ("127.0.0.1", 0), context, handlers) as server:
            tls = (client_context(own, client), "localhost")
            assoc = await asyncio.to_thread(
                lambda: ae.associate(*server.server_address, tls_args=tls)
            )
            assert await asyncio.to_thread(send, assoc) == 0x0000
            await asyncio.to_thread(assoc.release)
            assert assoc.is_released

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


# -- Many ------------------------------------------------------------------------------------------


@pytest.fixture
def descriptors():
    """Room for the sockets of both sides."""
    resource = pytest.importorskip("resource")  # Windows has none, and no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"no more than {hard} descriptors"
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_more_than_1024_descriptors():
    """What select() can't do; on one twin, as the descriptors are the loop's business."""
    number = 1100
    ae = entity()
    ae.maximum_associations = number
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    with loaded(IMPLEMENTATIONS[0]) as nset, accepting(nset, handlers, ae) as server:
        peers = [Peer(port(server), MPPS) for _ in range(number)]
        assert peers[-1].socket.fileno() > 1024
        assert server.counts.open_associations == number
        assert len(server.active_associations) == number
        with connected(server) as peer:  # one too many
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(100)[0] == 0x03
        for peer in (peers[-1], peers[0]):
            peer.send(n_set_pdus(nset))
            assert peer.receive_message()[0].Status == 0x0000
        for peer in peers:
            peer.send(pdu(RELEASE_RQ, bytes(4)))
        for peer in peers:
            assert peer.receive() == (RELEASE_RP, bytes(4))
            peer.socket.close()
        assert server.counts.rejected == 1
