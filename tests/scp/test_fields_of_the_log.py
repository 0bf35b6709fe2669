"""nset.logs: the fields of records about associations and requests, of both servers."""

import importlib
import logging

import pytest
from acceptors import accepting, entity, n_set_pdus, port
from associations import INSTANCE, MPPS, completed
from n_set_requests import uid
from pynetdicom import evt
from raw_peer import Peer
from service_requests import asked, sent


@pytest.fixture
def logs(nset):
    return importlib.import_module("nset.logs")


def fields_of(record):
    names = ("peer", "calling_ae_title", "called_ae_title", "service", "message_id")
    names += ("sop_class_uid", "sop_instance_uid", "status")
    return {name: vars(record)[name] for name in names if hasattr(record, name)}


def record_with(caplog, beginning):
    (record,) = [one for one in caplog.records if one.getMessage().startswith(beginning)]
    return record


def of_association(peer):
    return {"peer": peer.address, "calling_ae_title": "RAW", "called_ae_title": "ANY-SCP"}


OF_REQUEST = {
    "service": "N-SET",
    "message_id": 7,
    "sop_class_uid": MPPS,
    "sop_instance_uid": INSTANCE,
}


@pytest.mark.parametrize("observed", [False, True], ids=["short", "observed"])
def test_records_of_a_server(nset, logs, observed, caplog):
    def handle(event):
        logging.getLogger("program").info("Stored", extra=logs.fields(event, status=0))
        raise nset.StatusError(0x0112)

    bound = [(evt.EVT_N_SET, handle), *([(evt.EVT_PDU_SENT, print)] if observed else [])]
    caplog.set_level(logging.INFO)
    with accepting(nset, bound) as server, Peer(port(server), MPPS) as peer:
        peer.send(n_set_pdus(nset, 7))
        peer.receive_message()
        peer.send(sent(asked(0x0120, x1001=uid(INSTANCE)), MPPS, 8, 1))  # without a list
        peer.receive_message()
        peer.release()
    expected = of_association(peer)
    assert fields_of(record_with(caplog, "Accepted the association")) == expected
    assert fields_of(record_with(caplog, "The association of")) == expected
    answered = record_with(caplog, "Answering")
    assert fields_of(answered) == {**expected, **OF_REQUEST, "status": 0x0112}
    assert fields_of(record_with(caplog, "Stored")) == {**expected, **OF_REQUEST, "status": 0}
    refused = record_with(caplog, "Refusing")
    more = {"message_id": 8, "status": 0x0212}
    assert fields_of(refused) == {**expected, **OF_REQUEST, **more}


def test_records_of_pynetdicoms_server(nset, logs, caplog):
    """After install()."""

    def handle(event):
        logging.getLogger("program").warning("Stored", extra=logs.fields(event))
        raise nset.StatusError(0x0112)

    caplog.set_level(logging.INFO, "nset")
    ae = entity(MPPS)
    with importlib.import_module("nset.pynetdicom").installed():
        server = ae.start_server(("127.0.0.1", 0), False, evt_handlers=[(evt.EVT_N_SET, handle)])
        assoc = ae.associate("127.0.0.1", port(server))
        assoc.send_n_set(completed(), MPPS, INSTANCE, 7)
        assoc.release()
        server.shutdown()
    stored, answered = record_with(caplog, "Stored"), record_with(caplog, "Answering")
    assert fields_of(stored)["peer"].startswith("127.0.0.1:")
    expected = {"calling_ae_title": "PYNETDICOM", "called_ae_title": "ANY-SCP", **OF_REQUEST}
    for record, more in ((stored, {}), (answered, {"status": 0x0112})):
        assert fields_of(record) == {**expected, "peer": stored.peer, **more}
