"""nset.scp and bad requests: what the peer gets, byte by byte, and what the log says."""

import logging
from typing import Any, NamedTuple

import pytest
from acceptors import entity, one_pdu
from associations import INSTANCE, MPPS, status_dataset
from bad_requests import (
    ABORTED,
    CLASSES,
    OTHER_EVENTS,
    REFUSED,
    SERVED,
    STRAY,
    others,
    see_that_the_peer_is_blamed,
    undecodable,
)
from bad_statuses import optional_elements, statuses
from bad_statuses import quiet as about_values
from callers import (
    BY_PROVIDER,
    BY_USER,
    DATA,
    ECHO,
    Answer,
    Caller,
    over,
    serving,
    set_answer,
    ways,
)
from command_sets import element, joined
from logs import reasons, warnings_of
from n_set_requests import (
    AFFECTED,
    OTHER_INSTANCE,
    RESPONSE,
    TOO_LONG,
    cut,
    message,
    pdvs,
    request,
    uid,
    with_class,
    with_instance,
)
from pynetdicom import _config, evt, sop_class
from raw_peer import ABORT, AE_TITLE, COMMAND, LAST, Pdu, associate_rq, p_data


class Row(NamedTuple):
    """What a peer sends, and what it gets: a Status, an A-ABORT, or nothing (None)."""

    pdus: bytes
    answer: int | Pdu | None
    is_served: bool
    reason: str = ""
    """What the log of `nset` says, with the peer's address."""


NO_DATA_SET = request({0x0800: 0x0101})
ROWS = {
    "no CommandDataSetType": Row(message(request({0x0800: None})), 0x0000, True),
    "no CommandDataSetType, of another message": Row(
        one_pdu(joined({0x0002: uid(ECHO), 0x0100: 0x0030, 0x0110: 1}), context_id=3),
        BY_PROVIDER,
        False,
        "Command Data Set Type (0000,0800): missing",
    ),
    "no CommandField": Row(
        message(request({0x0100: None})), BY_PROVIDER, False, "Command Field (0000,0100): missing"
    ),
    "an unknown CommandField": Row(
        message(request({0x0100: 0x0999})), BY_PROVIDER, False, "0999H is no DIMSE message"
    ),
    "an empty command PDV": Row(
        p_data((1, COMMAND | LAST, b"")), BY_PROVIDER, False, "Command Field (0000,0100): missing"
    ),
    "an instance UID of 65 characters": Row(
        with_instance(uid(TOO_LONG)), 0x0117, False, "must not exceed 64 characters"
    ),
    "a class UID of 65 characters": Row(
        with_class(uid(TOO_LONG)), 0x0118, False, "must not exceed 64 characters"
    ),
    "a MessageID of 1 byte": Row(
        message(request({0x0110: b"\7"})), BY_PROVIDER, False, "1 byte long, not 2"
    ),
    "a Status of 1 byte": Row(
        message(request({0x0900: b"\0"})), 0x0212, False, "1 byte long, not 2"
    ),
    "no MessageID": Row(
        message(request({0x0110: None})), BY_USER, False, "Message ID (0000,0110): missing"
    ),
    "no instance UID": Row(
        message(request({0x1001: None})),
        0x0117,
        False,
        "Requested SOP Instance UID (0000,1001): missing",
    ),
    "Affected UIDs instead of Requested": Row(
        message(request({0x0003: None, 0x1001: None, **AFFECTED})), 0x0000, True
    ),
    "an N-SET-RSP out of the blue": Row(one_pdu(RESPONSE), None, False),
    "0101": Row(one_pdu(NO_DATA_SET), 0x0212, False, "0101H, but an N-SET-RQ has a data set"),
    "0101, and a data set in the same PDU": Row(
        one_pdu(NO_DATA_SET, DATA), 0x0212, False, "0101H, but an N-SET-RQ has a data set"
    ),
    "Affected and Requested UIDs that differ": Row(
        message(request({0x0002: uid(sop_class.CTImageStorage), 0x1000: uid(OTHER_INSTANCE)})),
        0x0000,
        True,
    ),
    "an unknown class": Row(with_class(uid("1.2.3.4")), 0x0118, False, "1.2.3.4"),
    "a context that was not accepted": Row(
        p_data((5, COMMAND | LAST, request()), (5, LAST, DATA)), BY_USER, False, "context 5"
    ),
    "MessageIDBeingRespondedTo in a request": Row(message(request({0x0120: 3})), 0x0000, True),
    "an empty last data PDV": Row(
        p_data((1, COMMAND | LAST, request()), (1, 0, DATA), (1, LAST, b"")), 0x0000, True
    ),
    "a command split over PDVs": Row(
        p_data(*pdvs(COMMAND, cut(request(), 10)), (1, LAST, DATA)), 0x0000, True
    ),
    "high bits of the header": Row(
        p_data((1, 0xF0 | COMMAND | LAST, request()), (1, 0xF0 | LAST, DATA)), 0x0000, True
    ),
    "an undecodable data set": Row(message(request(), b"\xff" * 10), 0x0000, True),
}
rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
quiet = pytest.mark.filterwarnings("ignore:The value length", "ignore:Invalid value for VR UI")


@quiet
@ways
@rows
def test_rows_of_bad_requests(nset, row, way):
    with serving(nset, way) as (server, handler), Caller(server).associate() as peer:
        peer.send(row.pdus)
        if isinstance(row.answer, Pdu):
            peer.is_closed(row.answer)
        else:
            if row.answer is not None:
                assert peer.answer() == set_answer(7, row.answer)
            peer.goes_on(nset)
            assert handler.served.pop()[0].MessageID == 999
        assert len(handler.served) == row.is_served
        if row.is_served:
            is_empty = element(0x0800, 0x0101) in row.pdus
            ((asked, data_set),) = handler.served
            assert (asked.MessageID, asked._context_id) == (7, 1)
            assert data_set == b"" if is_empty else data_set != b""


@quiet
@ways
@pytest.mark.parametrize(
    "row",
    [row for row in ROWS.values() if row.reason],
    ids=[name for name, row in ROWS.items() if row.reason],
)
def test_the_log_says_what_was_wrong_and_with_whom(nset, caplog, row, way):
    with serving(nset, way) as (server, _), Caller(server).associate() as peer:
        peer.send(row.pdus)
        assert peer.receive() is not None
    assert len(reasons(caplog)) == 1
    (reason,) = reasons(caplog)
    assert f"{AE_TITLE}@{peer.address}" in reason
    assert row.reason in reason


def test_uids_are_to_conform_where_that_is_asked_for(nset, monkeypatch):
    monkeypatch.setattr(_config, "ENFORCE_UID_CONFORMANCE", True)
    with (
        serving(nset, []) as (server, handler),
        Caller(server).associate() as peer,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("warnings.warn", lambda *args, **more: None)  # of pydicom's, in a thread
        peer.send(with_instance(uid("1.2.03")))
        assert peer.answer() == set_answer(7, 0x0117)
        assert handler.served == []
        peer.goes_on(nset)


@ways
def test_a_data_set_that_does_not_come(nset, caplog, way):
    ae = entity(MPPS, ECHO)
    ae.network_timeout = 0.2
    with serving(nset, way, ae) as (server, handler), Caller(server).associate() as peer:
        peer.send(p_data((1, COMMAND | LAST, request())))
        peer.is_closed(BY_USER)
        assert over(server, peer).aborted == {"idle": 1}
    assert handler.served == []
    assert "Network timeout reached" in caplog.text


@quiet
@ways
@pytest.mark.parametrize("pdus", SERVED.values(), ids=SERVED)
def test_is_served_as_by_an_installed_nset(nset, caplog, pdus, way):
    with serving(nset, way) as (server, handler), Caller(server).associate() as peer:
        peer.send(pdus)
        assert peer.answer() == set_answer(7)
        peer.goes_on(nset)
    assert [data_set for _, data_set in handler.served] == [DATA, DATA]
    assert handler.served[0][0].RequestedSOPInstanceUID == INSTANCE
    assert reasons(caplog) == []
    name = f"{AE_TITLE}@{peer.address}"
    assert [line for line in warnings_of(caplog) if name not in line] == []


@quiet
@pytest.mark.parametrize("refusal", REFUSED.values(), ids=REFUSED)
def test_is_refused_as_by_an_installed_nset(nset, caplog, refusal):
    with serving(nset, []) as (server, handler), Caller(server).associate() as peer:
        peer.send(refusal.pdus)
        assert peer.answer() == set_answer(7, refusal.status)
        assert handler.served == []
        peer.goes_on(nset)
    assert reasons(caplog) == [
        f"Refusing N-SET request 7 from {AE_TITLE}@{peer.address} "
        f"with status 0x{refusal.status:04X}: {refusal.reason}"
    ]


# There context 3 was not proposed.
OF_ONE_CONTEXT = {name: fault for name, fault in ABORTED.items() if "context that was" not in name}


@pytest.mark.parametrize("fault", OF_ONE_CONTEXT.values(), ids=OF_ONE_CONTEXT)
@ways
def test_is_aborted_as_by_an_installed_nset(nset, caplog, fault, way):
    with serving(nset, way) as (server, handler), Caller(server).associate() as peer:
        peer.send(fault.pdus)
        peer.is_closed(Pdu(ABORT, fault.source))
    assert handler.served == []
    assert reasons(caplog) == [
        f"Aborting the association with {AE_TITLE}@{peer.address}: "
        f"invalid DIMSE message: {fault.reason}"
    ]


@ways
@undecodable
def test_what_pydicom_can_not_decode(nset, caplog, pdus, reason, way):
    """It is the peer's fault: there is no traceback in nset's log."""
    with serving(nset, way) as (server, _), Caller(server).associate() as peer:
        peer.send(pdus)
        peer.is_closed(BY_PROVIDER)
        assert over(server).aborted == {"invalid message": 1}
    see_that_the_peer_is_blamed(caplog.records, f"{AE_TITLE}@{peer.address}", reason)


@ways
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_a_data_set_in_another_context(nset, caplog, syntax, way):
    """Where both have one transfer syntax it can be of no other message."""
    sent = associate_rq(MPPS, (ECHO, syntax))
    with serving(nset, way) as (server, handler), Caller(server).associate(sent) as peer:
        peer.send(STRAY)
        if syntax == "1.2.840.10008.1.2":
            assert peer.answer() == set_answer(7)
            peer.goes_on(nset)
            assert handler.served[0][1] == DATA
        else:
            peer.is_closed(BY_PROVIDER)
            assert handler.served == []
    told = [one.getMessage() for one in caplog.records if "within a message" in one.getMessage()]
    assert len(told) == 1
    assert "presentation context 3 within a message of context 1" in told[0]


@ways
@pytest.mark.parametrize("text", CLASSES)
def test_classes_that_have_n_set_are_served(nset, monkeypatch, text, way):
    monkeypatch.setitem(sop_class._PROCEDURE_STEP_CLASSES, "Own", CLASSES[-1])
    with serving(nset, way) as (server, handler), Caller(server).associate() as peer:
        peer.send(with_class(uid(text)))
        assert peer.answer() == set_answer(7)
        peer.release()
    assert handler.served[0][0].RequestedSOPClassUID == text


@ways
@others
def test_a_request_of_another_service_is_refused(nset, caplog, pdus, status, reason, way):
    """As with an installed nset."""
    heard: list[Any] = []
    handlers = [*way, *((event, heard.append) for event in OTHER_EVENTS)]
    with serving(nset, handlers) as (server, handler), Caller(server).associate() as peer:
        peer.send(pdus)
        answer = peer.answer()
        peer.goes_on(nset)
        assert len(handler.served) == 1
    field = pdus[pdus.index(element(0x0100, 0)[:8]) + 8 :][:2]
    assert answer == Answer(1, 0x8000 | int.from_bytes(field, "little"), 7, status)
    assert heard == []
    (told,) = reasons(caplog)
    assert f"request 7 from {AE_TITLE}@{peer.address} with status 0x{status:04X}: " in told
    assert reason in told


@about_values
@statuses
@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
def test_a_status_that_cant_be_sent_as_it_is(nset, caplog, given, sent, reason, kind):
    """As with an installed nset."""

    def handle(event):
        return status_dataset(**given), None

    async def handle_in_loop(event):
        return handle(event)

    handler = handle_in_loop if kind == "async" else handle
    with (
        serving(nset, [(evt.EVT_N_SET, handler)], inline=kind == "inline") as (server, _),
        Caller(server).associate() as peer,
    ):
        peer.send(message(request()))
        response, _ = peer.receive_message()
        peer.release()
    assert optional_elements(response) == sent
    (told,) = [
        record.getMessage()
        for record in caplog.records
        if record.name == "nset" and record.levelno >= logging.WARNING
    ]
    assert told.startswith(reason)
