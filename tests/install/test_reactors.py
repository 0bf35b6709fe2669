"""The threads of an acceptor wait instead of looking every millisecond; nothing else differs."""

import importlib
import socket
import threading
import time

import n_set_requests
import pytest
from acceptors import until
from associations import (
    INSTANCE,
    MPPS,
    TIMEOUT,
    associated,
    completed,
    context_id,
    listening,
    make_request,
    receive,
)
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, association, evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.transport import AssociationSocket
from raw_peer import ABORT, COMMAND, LAST, RELEASE_RQ, Peer, associate_rq, p_data, pdu


def request(number: int) -> bytes:
    """Without a data set."""
    encoded = n_set_requests.request({0x0110: number})
    return p_data((1, COMMAND | LAST, encoded), (1, LAST, b""))


class Counting:
    """A timer that counts how often a loop looks at it: once a turn."""

    def __init__(self, timer):
        self._timer = timer
        self.turns = 0

    def __getattr__(self, name):
        self.turns += name == "expired"
        return getattr(self._timer, name)


def test_an_idle_association_hardly_wakes_its_threads(installed, server):
    """Stock loops would take some 250 turns each in the third of a second that this one idles."""
    with associated(server, MPPS) as (scu, scp):
        assert scu.send_n_set(completed(), MPPS, INSTANCE)[0].Status == 0x0110
        timers = Counting(scp.dul._idle_timer), Counting(scp.dul.artim_timer)
        scp.dul._idle_timer, scp.dul.artim_timer = timers
        threading.Event().wait(0.3)
        assert all(1 <= timer.turns < 50 for timer in timers)


def test_requests_that_were_read_ahead_survive_uninstall(installed, server):
    """All of them come in one segment; the first one's handler uninstalls."""
    handled = []

    def handle(event):
        installed.uninstall()
        handled.append(event.request.MessageID)
        return 0x0000, None

    server.bind(evt.EVT_N_SET, handle)
    try:
        with Peer(server.server_address[1], MPPS) as peer:
            peer.send(*map(request, range(1, 6)))
            answered = [peer.receive_message()[0].MessageIDBeingRespondedTo for _ in range(5)]
            peer.release()
    finally:
        server.unbind(evt.EVT_N_SET, handle)
    assert handled == answered == [1, 2, 3, 4, 5]


def test_pdus_that_come_byte_by_byte(installed, server):
    with Peer(server.server_address[1], MPPS) as peer:
        for byte in request(7) + request(8):
            peer.send(bytes([byte]))
        answered = [peer.receive_message()[0].MessageIDBeingRespondedTo for _ in range(2)]
        peer.release()
    assert answered == [7, 8]


def test_an_acceptor_that_has_waited_releases(installed, server):
    with associated(server, MPPS) as (scu, scp):
        scp.release()
        scu.join(TIMEOUT)
        assert scp.is_released
        assert scu.is_released


@pytest.mark.parametrize("block", [True, False])
def test_an_acceptor_that_has_waited_aborts(installed, server, block):
    with associated(server, MPPS) as (scu, scp):
        scp.abort(block=block)
        scu.join(TIMEOUT)
        scp.join(TIMEOUT)
        assert not scp.is_alive()
        assert scu.is_aborted


def test_an_acceptor_that_has_waited_sends_requests(installed, server):
    """Its loop stands still meanwhile, so that it does not take the response for a request."""

    def handle(event):
        return 0x0000, event.event_information

    report = Dataset()
    report.PatientID = "1"
    with associated(server, MPPS) as (scu, scp):
        scu.bind(evt.EVT_N_EVENT_REPORT, handle)
        for number in range(20):
            status, answer = scp.send_n_event_report(report, 1, MPPS, INSTANCE, msg_id=number)
            assert (status.Status, answer) == (0x0000, report)


@pytest.mark.parametrize("is_requestor", [True, False])
def test_a_loop_that_is_paused_takes_no_response(monkeypatch, nset, server, is_requestor):
    """As where it looks once more, late, since it has not woken up between two requests."""
    integration = importlib.import_module("nset.pynetdicom")
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", DIMSEServiceProvider.get_msg.__wrapped__)
    with integration.installed(), associated(server, MPPS) as (scu, scp):
        sender = scu if is_requestor else scp
        with listening(sender):
            sender.dimse.send_msg(make_request(nset.N_SET), context_id(sender))
            until(lambda: sender.dimse.msg_queue.queue, "the response")
            assert sender.dimse.get_msg(block=False) == (None, None)
            assert receive(sender).MessageIDBeingRespondedTo == 7


@pytest.mark.parametrize("timeout", [0.2, 0.5])
def test_the_network_timeout(installed, server, timeout):
    aborted = threading.Event()
    with associated(server, MPPS) as (scu, scp):
        scp.bind(evt.EVT_ABORTED, lambda event: aborted.set())
        scp.network_timeout = timeout
        start = time.monotonic()
        assert scu.send_n_set(completed(), MPPS, INSTANCE)[0].Status is not None
        assert aborted.wait(TIMEOUT)
        waited = time.monotonic() - start
    assert waited >= timeout


def test_a_connection_that_is_closed_beneath_it(installed, server):
    with associated(server, MPPS) as (_, scp):
        scp.dul.socket.socket.close()
        scp.join(TIMEOUT)
        assert not scp.is_alive()


def test_a_peer_that_reads_slowly(installed, server):
    """The answer does not fit in the buffers: it goes on as the peer reads."""
    answer = Dataset()
    answer.PixelData = bytes(8_000_000)
    answer["PixelData"].VR = "OW"

    def handle(event):
        return 0x0000, answer

    server.bind(evt.EVT_N_SET, handle)
    try:
        with Peer(server.server_address[1], MPPS) as peer:
            peer.send(request(1), request(2))
            for number in (1, 2):
                command, data_set = peer.receive_message()
                assert command.MessageIDBeingRespondedTo == number
                assert len(data_set) == 8_000_008
            peer.release()
    finally:
        server.unbind(evt.EVT_N_SET, handle)


def test_requestors_are_left_alone(installed, server):
    with associated(server, MPPS) as (scu, _):
        assert type(scu.dul.socket) is AssociationSocket
        assert "send_pdu" not in vars(scu.dul)


def test_a_subclass_of_the_socket_sleeps_as_ever(installed, monkeypatch):
    """A socket object that another library has put there is not touched."""

    class Special(AssociationSocket):
        pass

    established = threading.Event()
    ae = AE()
    ae.add_supported_context(MPPS)
    ae.add_requested_context(MPPS, ImplicitVRLittleEndian)
    made = []
    init = association.Association.set_socket

    def set_socket(self, socket):
        if self.is_acceptor:
            socket.__class__ = Special
            made.append(socket)
            established.set()
        init(self, socket)

    monkeypatch.setattr(association.Association, "set_socket", set_socket)
    running = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_N_SET, lambda event: (0x0000, None))],
    )
    try:
        scu = ae.associate(*running.server_address)
        assert established.wait(TIMEOUT)
        assert scu.send_n_set(completed(), MPPS, INSTANCE)[0].Status == 0x0000
        assert [type(socket) for socket in made] == [Special]
        scu.release()
    finally:
        running.shutdown()


NOTHING_MORE = {
    "nothing": b"",
    "half a request": associate_rq(MPPS)[:60],
    "an abort": pdu(ABORT, bytes(4)),
    "another PDU": pdu(RELEASE_RQ, bytes(4)),
    "no PDU": b"GET / HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize("sent", NOTHING_MORE.values(), ids=NOTHING_MORE)
def test_connections_that_end_without_an_association(installed, sent):
    """As of a health check: its thread ends with it, and others are served."""
    ae = AE()
    ae.acse_timeout = 60
    ae.add_supported_context(MPPS)
    opened, number = [], ae.maximum_associations + 2
    handlers = [(evt.EVT_CONN_OPEN, lambda event: opened.append(event.assoc))]
    running = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        for _ in range(number):
            with socket.create_connection(running.server_address, TIMEOUT) as connection:
                connection.sendall(sent)
        until(lambda: len(opened) == number, "all connections are taken")
        until(lambda: all(one.ident and not one.is_alive() for one in opened), "threads that wait")
        with Peer(running.server_address[1], MPPS) as peer:
            peer.release()
    finally:
        running.shutdown()
