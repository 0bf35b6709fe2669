"""Messages of one association of `nset.scp` that several threads send and wait for at once."""

import importlib
import logging
import re
import struct
import threading
from asyncio import SelectorEventLoop

import pytest
from acceptors import accepting, entity, n_set_pdus, one_pdu, port
from associations import INSTANCE, MPPS, TIMEOUT, completed
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import _config, build_role, evt
from pynetdicom.sop_class import CTImageStorage, Verification
from raw_peer import Peer

N_EVENT_REPORT_RSP = 0x8100
C_ECHO_RSP = 0x8030


def response(message_id, field=N_EVENT_REPORT_RSP, status=0x0000):
    """The command set of a response to a request of the server's."""
    elements = ((0x0100, field), (0x0120, message_id), (0x0800, 0x0101), (0x0900, status))
    body = b"".join(struct.pack("<HHIH", 0, tag, 2, value) for tag, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def report(assoc, message_id, received):
    status, _ = assoc.send_n_event_report(completed(), 1, MPPS, INSTANCE, msg_id=message_id)
    received[message_id] = status.get("Status")


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


@pytest.mark.parametrize("observed", [False, True])
def test_each_response_goes_to_the_thread_that_has_asked(nset, observed):
    handlers = [(evt.EVT_PDU_SENT, lambda event: None)] if observed else []
    with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
        (assoc,) = server.active_associations
        received = {}
        threads = []
        for message_id in (1, 2):
            threads.append(in_thread(report, assoc, message_id, received))
            assert peer.receive_message()[0].MessageID == message_id
        peer.send(one_pdu(response(2, status=0x0107)))
        threads[1].join(TIMEOUT)
        assert received == {2: 0x0107}
        peer.send(one_pdu(response(1, status=0x0000)))
        threads[0].join(TIMEOUT)
        assert received == {1: 0x0000, 2: 0x0107}
        peer.release()


def test_a_message_right_behind_the_a_associate_ac(nset, monkeypatch):
    """The peer has that, and the state machine is not done with it yet: nothing is lost."""
    monkeypatch.setattr(importlib.import_module("nset.scp._run"), "new_loop", SelectorEventLoop)
    machine = importlib.import_module("nset.scp._upper_layer")._StateMachine
    provider = importlib.import_module("nset.scp._dimse").DIMSEServiceProvider
    transition, send_msg, has_tried = machine.transition, provider.send_msg, threading.Event()

    def late(self, state):
        assert state != "Sta6" or has_tried.wait(TIMEOUT)
        transition(self, state)

    def noted(self, *args):
        send_msg(self, *args)
        has_tried.set()

    monkeypatch.setattr(machine, "transition", late)
    monkeypatch.setattr(provider, "send_msg", noted)
    with accepting(nset) as server, Peer(port(server), MPPS) as peer:
        (assoc,) = server.active_associations
        received = {}
        thread = in_thread(report, assoc, 1, received)
        assert peer.receive_message()[0].MessageID == 1
        peer.send(one_pdu(response(1)))
        thread.join(TIMEOUT)
        assert received == {1: 0x0000}
        peer.release()


def test_requests_are_served_while_a_thread_waits_for_a_response(nset):
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
        (assoc,) = server.active_associations
        received = {}
        thread = in_thread(report, assoc, 1, received)
        assert peer.receive_message()[0].MessageID == 1
        for message_id in range(2, 5):
            peer.send(n_set_pdus(nset, message_id))
            assert peer.receive_message()[0].MessageIDBeingRespondedTo == message_id
        peer.send(one_pdu(response(1)))
        thread.join(TIMEOUT)
        assert received == {1: 0x0000}
        peer.release()


def test_the_end_wakes_all_that_wait(nset):
    with accepting(nset) as server, Peer(port(server), MPPS) as peer:
        (assoc,) = server.active_associations
        received = {}
        threads = [in_thread(report, assoc, number, received) for number in (1, 2, 3)]
        for _ in threads:
            peer.receive_message()
        peer.socket.close()
        for thread in threads:
            thread.join(TIMEOUT / 2)
            assert not thread.is_alive()
        assert received == {1: None, 2: None, 3: None}


def test_responses_that_nobody_has_asked_for(nset, caplog):
    """They are dropped at once, as pynetdicom does in the end, and none is kept for later."""
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
        (assoc,) = server.active_associations
        received = {}
        with caplog.at_level(logging.WARNING):
            peer.send(one_pdu(response(3)), n_set_pdus(nset, 7))
            assert peer.receive_message()[0].MessageIDBeingRespondedTo == 7
            thread = in_thread(report, assoc, 3, received)
            assert peer.receive_message()[0].MessageID == 3
            peer.send(*[one_pdu(response(number, C_ECHO_RSP)) for number in range(3)])
            peer.send(one_pdu(response(3, status=0x0110)), one_pdu(response(3)))
            thread.join(TIMEOUT)
            assert received == {3: 0x0110}
            peer.release()
        unexpected = [record.getMessage().split()[2] for record in caplog.records]
        assert unexpected == ["N-EVENT-REPORT", *3 * ["C-ECHO"], "N-EVENT-REPORT"]


def test_a_peer_that_answers_with_a_wrong_message_id(nset, caplog):
    """As in pynetdicom it is understood, where only one request can be meant."""
    with accepting(nset) as server, Peer(port(server), MPPS) as peer:
        (assoc,) = server.active_associations
        received = {}
        for number in (1, 2):
            thread = in_thread(report, assoc, number, received)
            assert peer.receive_message()[0].MessageID == number
            peer.send(one_pdu(response(4711, status=0x0107 + number)))
            thread.join(TIMEOUT)
            assert received[number] == 0x0107 + number
        text = "RAW@.* has answered with Message ID 4711, which no request has had"
        assert len(re.findall(text, caplog.text)) == 2
        threads = [in_thread(report, assoc, number, received) for number in (3, 4)]
        for _ in threads:
            peer.receive_message()
        answers = [4711, 1, 3, 4]  # of nobody knows which, of one that has its answer, of these
        peer.send(*(one_pdu(response(number, status=number)) for number in answers))
        for thread in threads:
            thread.join(TIMEOUT)
        assert (received[3], received[4]) == (3, 4)
        peer.release()


def test_a_file_that_is_sent_in_pieces(nset, tmp_path, monkeypatch):
    """Messages of other threads wait until it is sent."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, INSTANCE
    image.PatientComments = "x" * 10_000
    image.PixelData = bytes(1_000_000)
    image["PixelData"].VR = "OW"
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = (
        CTImageStorage,
        INSTANCE,
    )
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path = tmp_path / "image.dcm"
    image.save_as(path, enforce_file_format=True)

    ae, client = entity(CTImageStorage, Verification), entity(CTImageStorage, Verification)
    for context in ae.supported_contexts:
        context.scu_role = context.scp_role = True
    client.maximum_pdu_size = 4096
    with accepting(nset, None, ae) as server:
        stored = []
        assoc = client.associate(
            *("127.0.0.1", port(server)),
            ext_neg=[
                build_role(uid, scu_role=True, scp_role=True)
                for uid in (CTImageStorage, Verification)
            ],
            evt_handlers=[
                (evt.EVT_C_STORE, lambda event: stored.append(event.request) or 0x0000),
                (evt.EVT_C_ECHO, lambda event: 0x0000),
            ],
        )
        (acceptor,) = server.active_associations
        statuses, is_over = [], threading.Event()

        def ask():
            while not is_over.is_set():
                statuses.append(acceptor.send_c_echo(msg_id=2).get("Status"))

        thread = in_thread(ask)
        for _ in range(3):
            assert acceptor.send_c_store(path, msg_id=1).get("Status") == 0x0000
        is_over.set()
        thread.join(TIMEOUT)
        assert set(statuses) == {0x0000}
        assert len(stored) == 3
        assoc.release()


@pytest.mark.parametrize("pipelined", [40, 200])
def test_a_handler_gets_its_response_also_from_behind_many_requests(nset, pipelined):
    """More than may wait: what it waits for is read all the same."""
    statuses = []

    def handle(event):
        if event.request.MessageID == 0:
            status, _ = event.assoc.send_n_event_report(completed(), 1, MPPS, INSTANCE, msg_id=9)
            statuses.append(status.get("Status"))
        return 0x0000, None

    handlers = [(evt.EVT_N_SET, handle)]
    with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
        peer.send(*(n_set_pdus(nset, number) for number in range(pipelined)))
        assert peer.receive_message()[0].MessageID == 9
        peer.send(one_pdu(response(9)))
        for number in range(pipelined):
            assert peer.receive_message()[0].MessageIDBeingRespondedTo == number
        assert statuses == [0x0000]
        peer.release()
