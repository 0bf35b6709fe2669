"""install(): a handler of EVT_N_SET answers by raising StatusError, or by a response."""

import logging

import pytest
from acceptors import entity
from associations import INSTANCE, MPPS, completed, encoded
from pydicom import Dataset
from pydicom.tag import Tag
from pynetdicom import evt


@pytest.fixture
def ask(installed):
    """Send an N-SET to pynetdicom's server with that handler; give what comes back."""

    def ask(handler, event=evt.EVT_N_SET, method="send_n_set"):
        ae = entity(MPPS)
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(event, handler)])
        try:
            assoc = ae.associate(*server.server_address[:2])
            try:
                return getattr(assoc, method)(completed(), MPPS, INSTANCE)
            finally:
                assoc.release()
        finally:
            server.shutdown()

    return ask


def test_a_status_error(nset, ask, caplog):
    error = nset.StatusError(
        nset.status.MISSING_ATTRIBUTE_VALUE,
        "No status",
        error_id=1,
        attribute_identifiers=["PerformedProcedureStepStatus", "PatientID"],
    )

    def handle(event):
        raise error

    with caplog.at_level(logging.INFO, "nset"):
        status, attributes = ask(handle)
    assert {element.keyword: element.value for element in status} == {
        "Status": 0x0121,
        "ErrorComment": "No status",
        "ErrorID": 1,
        "AttributeIdentifierList": [Tag("PerformedProcedureStepStatus"), Tag("PatientID")],
    }
    assert attributes is None
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    (said,) = [line for line in caplog.messages if line.startswith("Answering")]
    assert said.startswith("Answering N-SET request 1 from PYNETDICOM@127.0.0.1:")
    assert said.endswith(": status 0x0121 (Failure), Error ID 0x0001: No status")


@pytest.mark.parametrize("attributes", [{"status": "0111"}, {"comment": 7}, {"error_id": "7"}])
def test_a_status_error_that_a_program_has_spoiled(nset, ask, caplog, attributes):
    def handle(event):
        error = nset.StatusError(0x0111, "Duplicate")
        vars(error).update(attributes)
        raise error

    status, _ = ask(handle)
    assert {element.keyword: element.value for element in status} == {"Status": 0x0110}
    assert "Exception in the handler bound to 'evt.EVT_N_SET'" in caplog.text


def test_other_services_are_left_alone(nset, ask, caplog):
    def handle(event):
        raise nset.StatusError(0x0111)

    assert ask(handle, evt.EVT_N_CREATE, "send_n_create")[0].Status == 0x0110
    assert "Exception in the handler bound to 'evt.EVT_N_CREATE'" in caplog.text


@pytest.mark.parametrize("with_list", [False, True])
def test_a_response(ask, with_list):
    def handle(event):
        response = event.request.response(0x0107)
        response.ErrorComment = "Not all"
        response.AttributeList = encoded(completed()) if with_list else None
        return response

    status, attributes = ask(handle)
    assert (status.Status, status.ErrorComment) == (0x0107, "Not all")
    assert attributes == (completed() if with_list else Dataset())
