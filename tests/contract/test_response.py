"""``N_SET.response()``."""

import re

import pytest
from differences import n_set, twins
from outcome import attempt, recording, state
from pydicom.uid import UID
from values import VALUES, full


@twins
def test_response(twin):
    request = full(n_set(twin))
    before = state(request)
    request.Status = request.MessageIDBeingRespondedTo = None
    response = request.response()
    assert type(response) is n_set(twin)
    assert {name: value for name, value in state(response).items() if value} == {
        "MessageIDBeingRespondedTo": 1,
        "AffectedSOPClassUID": before["RequestedSOPClassUID"],
        "AffectedSOPInstanceUID": before["RequestedSOPInstanceUID"],
        "_AffectedSOPInstanceUID": before["RequestedSOPInstanceUID"],
        "is_valid_response": True,
        "msg_type": "N-SET",
        "_context_id": 3,
    }
    assert response.Status == 0x0000
    assert response.OffendingElement is None
    request.Status, request.MessageIDBeingRespondedTo = 0x0107, 2
    assert state(request) == before


@twins
def test_response_takes_the_affected_uids_where_there_are_no_requested_ones(twin):
    request = full(n_set(twin))
    request.RequestedSOPClassUID = None
    response = request.response(0x0118)
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == ("1.2.3", "1.2.6")
    request.RequestedSOPInstanceUID = None
    response = request.response(status=0x0117)
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == ("1.2.3", "1.2.4")
    assert response.Status == 0x0117
    request.AffectedSOPClassUID = request.AffectedSOPInstanceUID = None
    assert request.response().AffectedSOPInstanceUID is None


@twins
def test_response_does_not_check_again_what_the_request_has(twin):
    request = n_set(twin)()
    request.MessageID = Number = VALUES["IntEnum 7"]
    request._context_id = "any"
    with recording() as outcome:
        assert outcome(setattr, request, "RequestedSOPInstanceUID", "1.02").records
        told = outcome(request.response)
    assert told.error is None
    assert (told.warnings, told.records) == ((), ())
    response = request.response()
    assert response.MessageIDBeingRespondedTo is Number
    assert response.AffectedSOPInstanceUID is request.RequestedSOPInstanceUID
    assert response._context_id == "any"


@twins
def test_response_of_a_subclass(twin):
    class Mine(n_set(twin)):
        RequestedSOPClassUID = UID("1.2.9")

        def __init__(self, number):
            super().__init__()
            self.MessageID = number

    response = Mine(7).response()
    assert type(response) is n_set(twin)
    assert response.MessageIDBeingRespondedTo == 7
    assert response.AffectedSOPClassUID == "1.2.9"


@twins
@pytest.mark.parametrize(
    ("message_id", "status", "error"),
    [
        (None, 0, ("ValueError", r".*Message ID \(0000,0110\)")),
        (7, -1, ("ValueError", "Status must be between 0 and 65535, inclusive")),
        (7, 65536, ("ValueError", "Status must be between 0 and 65535, inclusive")),
        (7, "0", ("TypeError", "DIMSE primitive's 'Status' must be an int")),
        (7, b"0", ("TypeError", "DIMSE primitive's 'Status' must be an int")),
    ],
)
def test_response_that_can_not_be(twin, message_id, status, error):
    request = full(n_set(twin))
    request.MessageID = message_id
    told = attempt(request.response, status)
    assert told.error[0] == error[0]
    assert re.fullmatch(error[1], told.error[1])
