"""nset.scp: a handler answers by raising StatusError, or for N-SET by a response."""

import logging
from io import BytesIO

import pytest
from acceptors import accepting, entity, n_set_pdus, port
from associations import INSTANCE, MPPS, completed, encoded
from pydicom.tag import Tag
from pynetdicom import evt, sop_class
from pynetdicom.dsutils import decode, encode
from raw_peer import LAST, Peer
from service_requests import SERVICES, sent
from services import CT, FIND, GET, KINDS, MOVE, ONCE, associated, image, patient, query

INFORMATION = sop_class.GeneralRelevantPatientInformationQuery
TAGS = ["PerformedProcedureStepStatus", 0x00400250]
DETAILS = {
    "comment": "The step is final",
    "error_id": 0xA710,
    "attribute_identifiers": TAGS,
    "offending_elements": TAGS[:1],
}
WITH_LIST = ("N-CREATE", "N-GET", "N-SET")
OBSERVER = (evt.EVT_PDU_SENT, lambda event: None)


def details_of(name):
    """What the service's response has of the details (PS3.7 Sections 9.3 and 10.3)."""
    details = {"ErrorComment": "The step is final"}
    if name != "C-ECHO":
        details["ErrorID"] = 0xA710
    if name in WITH_LIST:
        details["AttributeIdentifierList"] = [Tag(tag) for tag in TAGS]
    if name == "N-SET":  # nset's own primitive
        details["OffendingElement"] = Tag(TAGS[0])
    return details


@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
@pytest.mark.parametrize("observed", [False, True], ids=["short", "observed"])
def test_each_service(nset, kind, observed, caplog):
    errors = []

    def plain(event):
        raise errors.pop(0)

    async def as_task(event):
        raise errors.pop(0)

    handler = as_task if kind == "async" else plain
    bound = [(service.event, handler) for service in SERVICES.values()]
    bound += [OBSERVER] if observed else []
    ae = entity(*{service.classes[0] for service in SERVICES.values()})
    caplog.set_level(logging.INFO, "nset")
    with accepting(nset, bound, ae, inline=kind == "inline") as server:
        for name, service in SERVICES.items():
            errors += [nset.StatusError(service.failure)]
            errors += [nset.StatusError(service.failure, **DETAILS)]
            check_answers(server, name, service, caplog)
    assert errors == []


def check_answers(server, name, service, caplog):
    """Send two requests, and see that they are answered without and with details."""
    syntax = service.classes[0]
    caplog.clear()
    with Peer(port(server), syntax) as peer:
        for number, details in enumerate([{}, details_of(name)]):
            peer.send(sent(service.requests["usual"], syntax, number, context_id=1))
            command_set, data_set = peer.receive_message()
            got = {element.keyword: element.value for element in command_set}
            del got["CommandField"], command_set.CommandGroupLength
            assert got.pop("CommandGroupLength") == len(encode(command_set, True, True))
            assert got.pop("AffectedSOPClassUID") == syntax
            assert got.pop("AffectedSOPInstanceUID", None) == (
                None if name == "C-ECHO" else INSTANCE
            )
            assert got == {
                "MessageIDBeingRespondedTo": number,
                "CommandDataSetType": 0x0101,
                "Status": service.failure,
                **({"EventTypeID": 2} if name == "N-EVENT-REPORT" else {}),
                **({"ActionTypeID": 1} if name == "N-ACTION" else {}),
                **details,
            }
            assert data_set == b""
        peer.release()
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []
    assert [line for line in caplog.messages if line.startswith("Answering")] == [
        f"Answering {name} request 0 from RAW@{peer.address}: "
        f"status 0x{service.failure:04X} (Failure)",
        f"Answering {name} request 1 from RAW@{peer.address}: "
        f"status 0x{service.failure:04X} (Failure), Error ID 0xA710: The step is final",
    ]


def test_a_peer_of_short_pdus(nset):
    async def handle(event):
        raise nset.StatusError(0x0110, **DETAILS)

    with (
        accepting(nset, [(evt.EVT_N_SET, handle)]) as server,
        Peer(port(server), MPPS, max_length=100) as peer,
    ):
        peer.send(n_set_pdus(nset))
        parts = []
        while not parts or not parts[-1].body[5] & LAST:
            parts.append(peer.receive())
        assert max(len(part.body) for part in parts) <= 100 < sum(len(one.body) for one in parts)
        command_set = decode(BytesIO(b"".join(part.body[6:] for part in parts)), True, True)
        assert (command_set.Status, command_set.ErrorID) == (0x0110, 0xA710)
        peer.release()


@ONCE
def test_c_store(nset, kind, caplog):
    def handle(event):
        raise nset.StatusError(0xA700, "Out of paper", offending_elements=["PixelData"])

    with associated(nset, [(evt.EVT_C_STORE, KINDS[kind](handle))], CT) as (_, assoc, _):
        status = assoc.send_c_store(image())
    assert status.Status == 0xA700
    assert (status.ErrorComment, status.OffendingElement) == ("Out of paper", 0x7FE00010)
    assert_no_error(caplog)


def find_at_once(error):
    def handle(event):
        raise error

    return handle


def find_before_the_first(error):
    def handle(event):
        if event:
            raise error
        yield 0x0000, None

    return handle


def find_behind_one(error):
    def handle(event):
        yield 0xFF00, patient(1)
        raise error

    return handle


@ONCE
@pytest.mark.parametrize(
    ("make", "pending"),
    [(find_at_once, 0), (find_before_the_first, 0), (find_behind_one, 1)],
)
def test_c_find(nset, kind, make, pending, caplog):
    handler = KINDS[kind](make(nset.StatusError(0xA700, "Out of paper")))
    with associated(nset, [(evt.EVT_C_FIND, handler)], FIND) as (_, assoc, _):
        for _ in range(2):  # the association goes on
            *before, (last, identifier) = assoc.send_c_find(query(), FIND)
            assert [status.Status for status, _ in before] == [0xFF00] * pending
            assert (last.Status, last.ErrorComment) == (0xA700, "Out of paper")
            assert identifier is None
    assert_no_error(caplog)


@ONCE
@pytest.mark.parametrize("make", [find_at_once, find_before_the_first])
def test_c_find_of_one_answer(nset, kind, make, caplog):
    handler = KINDS[kind](make(nset.StatusError(0xC100)))
    ae = entity(INFORMATION)
    with accepting(nset, [(evt.EVT_C_FIND, handler)], ae) as server:
        assoc = ae.associate("127.0.0.1", port(server))
        ((status, _),) = assoc.send_c_find(query(), INFORMATION)
        assert status.Status == 0xC100
        assoc.release()
    assert_no_error(caplog)


@ONCE
@pytest.mark.parametrize("yielded", [0, 1, 2])
def test_c_get(nset, kind, yielded, caplog):
    """Behind the number of images the response has the numbers of sub-operations."""

    def handle(event):
        if yielded:
            yield 2
        if yielded > 1:
            yield 0xFF00, None
        raise nset.StatusError(0xA701, "Out of paper")

    with associated(nset, [(evt.EVT_C_GET, KINDS[kind](handle))], GET, CT) as (_, assoc, _):
        *_, (status, _) = assoc.send_c_get(query(), GET)
    assert (status.Status, status.ErrorComment) == (0xA701, "Out of paper")
    assert status.get("NumberOfFailedSuboperations") == (2 if yielded else None)
    assert_no_error(caplog)


@ONCE
@pytest.mark.parametrize("yielded", [0, 1, 2, 3])
def test_c_move(nset, kind, yielded, destination, caplog):
    def handle(event):
        contexts = {"contexts": entity(CT).requested_contexts}
        items = [(*destination.server_address[:2], contexts), 2, (0xFF00, None)]
        yield from items[:yielded]
        raise nset.StatusError(0xA801, "Out of paper")

    with associated(nset, [(evt.EVT_C_MOVE, KINDS[kind](handle))], MOVE) as (_, assoc, _):
        *_, (status, _) = assoc.send_c_move(query(), "ELSEWHERE", MOVE)
    assert (status.Status, status.ErrorComment) == (0xA801, "Out of paper")
    assert status.get("NumberOfFailedSuboperations") == (2 if yielded > 1 else None)
    assert_no_error(caplog)


def test_a_detail_that_a_response_has_not(nset, caplog):
    def handle(event):
        raise nset.StatusError(0xA700, error_id=1)

    with associated(nset, [(evt.EVT_C_STORE, handle)], CT) as (_, assoc, _):
        status = assoc.send_c_store(image())
    assert "ErrorID" not in status
    assert "A C-STORE response has no ErrorID: it is left out" in caplog.messages


def test_what_a_handler_has_changed_in_the_request_is_not_in_the_response(nset):
    def handle(event):
        event.request.AffectedSOPInstanceUID = "1.2.3"
        event.request.MessageID = 1
        raise nset.StatusError(0xA700, "Out of paper")

    received = []
    own = [(evt.EVT_DIMSE_RECV, lambda event: received.append(event.message.command_set))]
    with associated(nset, [(evt.EVT_C_STORE, handle)], CT, own_handlers=own) as (_, assoc, _):
        assert assoc.send_c_store(image(), msg_id=7).Status == 0xA700
    (response,) = received
    assert response.MessageIDBeingRespondedTo == 7
    assert response.AffectedSOPInstanceUID == image().SOPInstanceUID


# -- A response as the answer ----------------------------------------------------------------------


def test_a_response_as_the_answer(nset):
    def handle(event):
        response = event.request.response(0x0107)
        response.ErrorComment = "Not all"
        response.AttributeIdentifierList = [Tag(TAGS[0])]
        response.AttributeList = encoded(completed())
        return response

    for kind in ("plain", "inline"):
        for extra in ([], [OBSERVER]):
            bound = [(evt.EVT_N_SET, handle), *extra]
            ae = entity()
            with accepting(nset, bound, ae, inline=kind == "inline") as server:
                assoc = ae.associate("127.0.0.1", port(server))
                status, attributes = assoc.send_n_set(completed(), MPPS, INSTANCE)
                assert (status.Status, status.ErrorComment) == (0x0107, "Not all")
                assert status.AttributeIdentifierList == Tag(TAGS[0])
                assert attributes == completed()
                assoc.release()


@pytest.mark.parametrize("which", ["request", "of another", "without a status"])
def test_a_primitive_that_is_no_answer(nset, which, caplog):
    def handle(event):
        if which == "request":
            return event.request
        response = event.request.response(None if which == "without a status" else 0)
        if which == "of another":
            response.MessageIDBeingRespondedTo += 1
        return response

    with accepting(nset, [(evt.EVT_N_SET, handle)]) as server, Peer(port(server), MPPS) as peer:
        peer.send(n_set_pdus(nset, 7))
        command_set, _ = peer.receive_message()
        assert (command_set.MessageIDBeingRespondedTo, command_set.Status) == (7, 0x0110)
        peer.release()
    assert "not a status and a data set" in caplog.text


def assert_no_error(caplog):
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
