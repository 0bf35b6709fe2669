"""What a server does, with nset installed, with messages that are no good: over bare sockets."""

import importlib
import logging
import queue
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from associations import (
    INSTANCE,
    MPPS,
    TIMEOUT,
    associated,
    completed,
    context_id,
    make_request,
    status_dataset,
)
from bad_requests import (
    ABORTED,
    BY_PROVIDER,
    BY_USER,
    CLASSES,
    DATA_SET_FIRST,
    OTHER_EVENTS,
    REFUSED,
    REGISTERED,
    SERVED,
    STRAY,
    other,
    others,
    see_that_the_peer_is_blamed,
    undecodable,
)
from bad_statuses import BAD_STATUS, optional_elements, quiet, statuses
from command_sets import command_set, element
from logs import reasons, warnings_of
from n_set_requests import (
    DATA,
    INSTANCE_OFFSET,
    TOO_LONG,
    message,
    request,
    uid,
    with_class,
    with_instance,
)
from pydicom.dataset import Dataset
from pynetdicom import _config, build_context, evt, sop_class
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import ThreadedAssociationServer
from raw_peer import ABORT, AE_TITLE, COMMAND, LAST, P_DATA_TF, Pdu, Peer, p_data, pdu

# -- The server -----------------------------------------------------------------------------------


class Scp:
    """A server with nset installed."""

    def __init__(self, server: ThreadedAssociationServer) -> None:
        self.server = server
        self.served: list[tuple[object, Dataset]] = []
        self.acceptors: queue.Queue = queue.Queue()

    def connect(self) -> Peer:
        return Peer(self.server.server_address[1], MPPS)

    def serve(self, event: evt.Event) -> Any:
        self.served.append((event.request, event.modification_list))
        return self.answer(event)

    @staticmethod
    def answer(event: evt.Event) -> Any:
        return 0x0000, None


@pytest.fixture
def stock_scp(server: ThreadedAssociationServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scp]:
    """The server, whose threads end as they should, and which serves the next association."""
    scp = Scp(server)
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    handlers = {
        evt.EVT_N_SET: scp.serve,
        evt.EVT_ESTABLISHED: lambda event: scp.acceptors.put(event.assoc),
    }
    for event, handler in handlers.items():
        server.bind(event, handler)
    yield scp

    scp.served.clear()
    scp.answer = Scp.answer
    with scp.connect() as peer:
        peer.send(message(request()))
        assert peer.receive_message()[0].Status == 0x0000
        peer.release()
    assert len(scp.served) == 1
    while not scp.acceptors.empty():
        acceptor = scp.acceptors.get()
        for thread in (acceptor, acceptor.dul):
            thread.join(TIMEOUT)
            assert not thread.is_alive()
    assert failures == []
    for event, handler in handlers.items():
        server.unbind(event, handler)


@pytest.fixture
def scp(nset: ModuleType, stock_scp: Scp) -> Iterator[Scp]:
    with importlib.import_module("nset.pynetdicom").installed():
        yield stock_scp
        # What stock code would do with a late response is not nset's doing.
        for acceptor in list(stock_scp.acceptors.queue):
            acceptor.join(TIMEOUT)
            acceptor.dul.join(TIMEOUT)


# -- Served ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("pdus", SERVED.values(), ids=SERVED)
def test_is_served(scp, caplog, pdus):
    with scp.connect() as peer:
        peer.send(pdus)
        response, data_set = peer.receive_message()
        peer.release()
    assert response.CommandField == 0x8120
    assert response.MessageIDBeingRespondedTo == 7
    assert response.Status == 0x0000
    assert response.AffectedSOPClassUID == MPPS
    assert response.AffectedSOPInstanceUID == INSTANCE
    assert data_set == b""
    ((served, modification_list),) = scp.served
    assert served.MessageID == 7
    assert served.RequestedSOPClassUID == MPPS
    assert served.RequestedSOPInstanceUID == INSTANCE
    assert served._context_id == 1
    assert modification_list == completed()
    assert reasons(caplog) == []
    name = f"{AE_TITLE}@{peer.address}"
    assert [line for line in warnings_of(caplog) if name not in line] == []


@pytest.fixture
def registered(monkeypatch):
    """An SOP Class that a program has registered."""
    known = sop_class._PROCEDURE_STEP_CLASSES
    monkeypatch.setitem(known, "Own", REGISTERED)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("text", CLASSES)
def test_classes_that_have_n_set_are_served(scp, text):
    """Whatever the context: UPS Push in one of UPS Pull, a Film Box in one of a Meta SOP Class."""
    with scp.connect() as peer:
        peer.send(with_class(uid(text)))
        assert peer.receive_message()[0].Status == 0x0000
        peer.release()


# -- Refused --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("refusal", REFUSED.values(), ids=REFUSED)
def test_is_refused_with_a_status(scp, caplog, refusal):
    with scp.connect() as peer:
        peer.send(refusal.pdus)
        response, data_set = peer.receive_message()
        assert scp.served == []
        # The association goes on
        peer.send(message(request({0x0110: 8})))
        assert peer.receive_message()[0].Status == 0x0000
        peer.release()
    assert response.CommandField == 0x8120
    assert response.MessageIDBeingRespondedTo == 7
    assert response.Status == refusal.status
    assert data_set == b""
    assert reasons(caplog) == [
        f"Refusing N-SET request 7 from {AE_TITLE}@{peer.address} "
        f"with status 0x{refusal.status:04X}: {refusal.reason}"
    ]


def test_a_refusal_tells_what_it_is_about(scp):
    with scp.connect() as peer:
        peer.send(message(request({0x0003: None})))
        response, _ = peer.receive_message()
        assert response.AffectedSOPInstanceUID == INSTANCE
        assert "AffectedSOPClassUID" not in response
        peer.send(message(request({0x1001: None})))
        response, _ = peer.receive_message()
        assert response.AffectedSOPClassUID == MPPS
        assert "AffectedSOPInstanceUID" not in response


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("bad", ["1.2.03", "1..2", "abc"])
def test_nonconformant_uids_are_refused_where_they_must_conform(scp, caplog, monkeypatch, bad):
    with scp.connect() as peer:
        peer.send(with_instance(uid(bad)))
        assert peer.receive_message()[0].Status == 0x0000
        assert scp.served[0][0].RequestedSOPInstanceUID == bad
        monkeypatch.setattr(_config, "ENFORCE_UID_CONFORMANCE", True)
        peer.send(with_instance(uid(bad)))
        response, _ = peer.receive_message()
    assert response.Status == 0x0117
    assert len(scp.served) == 1
    (reason,) = reasons(caplog)
    assert reason.endswith(
        f"with status 0x0117: Requested SOP Instance UID (0000,1001) at byte {INSTANCE_OFFSET}: "
        f"Invalid 'Requested SOP Instance UID' value '{bad}' - UID is non-conformant"
    )


@pytest.mark.filterwarnings("ignore:The value length")
def test_the_users_validators_decide(scp, monkeypatch):
    monkeypatch.setitem(_config.VALIDATORS, "UI", lambda uid: (True, ""))
    with scp.connect() as peer:
        peer.send(with_instance(uid(TOO_LONG)))
        assert peer.receive_message()[0].Status == 0x0000
    assert scp.served[0][0].RequestedSOPInstanceUID == TOO_LONG


def test_the_user_decides_what_a_request_must_have(scp, nset, monkeypatch):
    """The way to serve print SCUs that leave the instance out."""
    keywords = ("MessageID", "RequestedSOPClassUID")
    monkeypatch.setattr(nset.N_SET, "REQUEST_KEYWORDS", keywords)
    with scp.connect() as peer:
        peer.send(message(request({0x1001: None})))
        assert peer.receive_message()[0].Status == 0x0000
    assert scp.served[0][0].RequestedSOPInstanceUID is None


# -- Aborted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ABORTED.values(), ids=ABORTED)
def test_is_answered_with_an_abort(scp, caplog, fault):
    with scp.connect() as peer:
        peer.send(fault.pdus)
        assert peer.receive() == (ABORT, fault.source)
        assert peer.receive() is None
    assert scp.served == []
    assert reasons(caplog) == [
        f"Aborting the association with {AE_TITLE}@{peer.address}: "
        f"invalid DIMSE message: {fault.reason}"
    ]


@undecodable
def test_what_pydicom_can_not_decode(scp, caplog, pdus, reason):
    """It is the peer's fault: there is no traceback in nset's log."""
    with scp.connect() as peer:
        peer.send(pdus)
        assert peer.receive() == (ABORT, BY_PROVIDER)
        assert peer.receive() is None
    see_that_the_peer_is_blamed(caplog.records, f"{AE_TITLE}@{peer.address}", reason)


# -- Other services -------------------------------------------------------------------------------


@others
def test_a_request_of_another_service_is_refused(scp, caplog, pdus, status, reason):
    heard: list[Any] = []
    for event in OTHER_EVENTS:
        scp.server.bind(event, heard.append)
    try:
        with scp.connect() as peer:
            peer.send(pdus)
            response, data_set = peer.receive_message()
            peer.send(message(request({0x0110: 8})))
            assert peer.receive_message()[0].Status == 0x0000
            peer.release()
    finally:
        for event in OTHER_EVENTS:
            scp.server.unbind(event, heard.append)
    field = pdus[pdus.index(element(0x0100, 0)[:8]) + 8 :][:2]
    assert response.CommandField == 0x8000 | int.from_bytes(field, "little")
    assert (response.MessageIDBeingRespondedTo, response.Status, data_set) == (7, status, b"")
    assert heard == []
    (told,) = reasons(caplog)
    assert f"request 7 from {AE_TITLE}@{peer.address} with status 0x{status:04X}: " in told
    assert reason in told


def test_a_request_of_another_service_without_a_message_id_is_aborted(scp, caplog):
    with scp.connect() as peer:
        peer.send(other(0x0030, MessageID="", AffectedSOPClassUID=sop_class.Verification))
        assert peer.receive() == (ABORT, BY_USER)
    (told,) = reasons(caplog)
    assert told.endswith("Message ID (0000,0110): missing in a C-ECHO-RQ")


@pytest.mark.parametrize("in_one_pdu", [True, False])
def test_an_action_that_may_have_lost_its_information(scp, caplog, in_one_pdu):
    """Its data set is optional: it is served, and the association is aborted by what follows."""
    action = other(
        0x0130,
        RequestedSOPClassUID=sop_class.StorageCommitmentPushModel,
        RequestedSOPInstanceUID=INSTANCE,
        ActionTypeID=1,
    )
    stray = p_data((1, LAST, DATA))
    with scp.connect() as peer:
        if in_one_pdu:
            peer.send(pdu(P_DATA_TF, action[6:] + stray[6:]))
        else:
            peer.send(action, stray)
        last = peer.receive()
        assert last == (ABORT, BY_PROVIDER) or peer.receive() == (ABORT, BY_PROVIDER)
    assert reasons(caplog)[-1].endswith(DATA_SET_FIRST)


# -- A data set in another context ----------------------------------------------------------------

BIG_ENDIAN = "1.2.840.10008.1.2.2"


@pytest.fixture
def both_syntaxes(server):
    """A server that takes Verification, too: in one transfer syntax or in another one."""
    server.contexts.append(build_context(sop_class.Verification, BIG_ENDIAN))
    server.contexts.append(build_context(sop_class.UnifiedProcedureStepPush))
    yield
    del server.contexts[-2:]


@pytest.mark.usefixtures("both_syntaxes")
def test_a_data_set_in_a_context_of_the_same_transfer_syntax(scp, caplog):
    with Peer(scp.server.server_address[1], MPPS, sop_class.UnifiedProcedureStepPush) as peer:
        peer.send(STRAY)
        assert peer.receive_message()[0].Status == 0x0000
        peer.release()
    assert [data_set for _, data_set in scp.served] == [completed()]
    assert warnings_of(caplog) == [
        "presentation context 3 within a message of context 1, with the same transfer syntax"
    ]


@pytest.mark.usefixtures("both_syntaxes")
def test_a_data_set_in_a_context_of_another_transfer_syntax(scp, caplog):
    with Peer(scp.server.server_address[1], MPPS, (sop_class.Verification, BIG_ENDIAN)) as peer:
        peer.send(STRAY)
        assert peer.receive() == (ABORT, BY_PROVIDER)
    assert scp.served == []
    (reason,) = reasons(caplog)
    assert reason.endswith("presentation context 3 within a message of context 1")


# -- As without nset ------------------------------------------------------------------------------


AS_EVER = {
    "a context that was not accepted": (
        p_data((3, COMMAND | LAST, request()), (3, LAST, DATA)),
        "Received DIMSE message with invalid or rejected context ID: 3",
    ),
}


@pytest.mark.parametrize(("pdus", "reason"), AS_EVER.values(), ids=AS_EVER)
def test_pynetdicom_aborts(scp, caplog, pdus, reason):
    caplog.set_level(logging.INFO, "pynetdicom.association")
    with scp.connect() as peer:
        peer.send(pdus)
        assert peer.receive() == (ABORT, BY_USER)
        assert peer.receive() is None
    assert scp.served == []
    assert reason in caplog.text


def test_a_response_to_no_request_is_passed_over(scp, caplog):
    with scp.connect() as peer:
        rsp = request({0x0100: 0x8120, 0x0110: None, 0x0120: 7, 0x0800: 0x0101, 0x0900: 0x0000})
        peer.send(p_data((1, COMMAND | LAST, rsp)), message(request()))
        assert peer.receive_message()[0].MessageIDBeingRespondedTo == 7
        peer.release()
    assert len(scp.served) == 1
    assert "Received unexpected N-SET service message" in caplog.text


def test_requests_sent_ahead_are_answered_in_their_order(scp):
    with scp.connect() as peer:
        peer.send(*(message(request({0x0110: number})) for number in range(20)))
        answered = [peer.receive_message()[0].MessageIDBeingRespondedTo for _ in range(20)]
        peer.release()
    assert answered == list(range(20))


def test_a_data_set_that_does_not_come(scp, caplog):
    scp.server.bind(evt.EVT_ACCEPTED, hurry)
    try:
        with scp.connect() as peer:
            peer.send(p_data((1, COMMAND | LAST, request())))
            assert peer.receive() == (ABORT, BY_USER)
    finally:
        scp.server.unbind(evt.EVT_ACCEPTED, hurry)
    assert scp.served == []
    assert "Network timeout reached" in caplog.text


def hurry(event: evt.Event) -> None:
    event.assoc.network_timeout = 0.1


def test_what_is_behind_a_message_in_the_same_pdu(scp):
    """Stock, it is lost."""
    pdvs = [(1, COMMAND | LAST, request()), (1, LAST, DATA)]
    with scp.connect() as peer:
        peer.send(p_data(*pdvs, *pdvs, (1, COMMAND | LAST, request({0x0800: 0x0101})), *pdvs))
        assert [peer.receive_message()[0].Status for _ in range(4)] == [0, 0, 0x0212, 0]
        peer.release()
    assert len(scp.served) == 3


def test_a_pdu_without_a_pdv(scp, caplog):
    """It is ignored, and the first one is logged."""
    empty = pdu(P_DATA_TF, b"")
    with scp.connect() as peer:
        peer.send(empty, p_data((1, COMMAND | LAST, request())), empty, empty)
        peer.send(p_data((1, LAST, DATA)), empty)
        assert peer.receive_message()[0].Status == 0x0000
        peer.release()
    assert warnings_of(caplog) == [f"A P-DATA-TF PDU without a PDV from {AE_TITLE}@{peer.address}"]


# -- What handlers return -------------------------------------------------------------------------


def raises(event: evt.Event) -> Any:
    raise ValueError("no such step")


ABORTS = None

# What the handler answers, and the Status that the peer gets
ANSWERS = {
    "Success": (lambda event: (0x0000, None), 0x0000),
    "Success and a data set": (lambda event: (0x0000, completed()), 0x0000),
    "Success and an empty data set": (lambda event: (0x0000, Dataset()), 0x0000),
    "a Warning and a data set": (lambda event: (0x0107, completed()), 0x0107),
    "a Failure and a data set, which is left out": (lambda event: (0x0106, completed()), 0x0106),
    "an unknown code and a data set, which is left out": (
        lambda event: (0xFFF0, completed()),
        0xFFF0,
    ),
    "a status with all that may be in it": (
        lambda event: (
            status_dataset(
                Status=0x0107,
                ErrorComment="Disk nearly full",
                ErrorID=28,
                AttributeIdentifierList=[0x00400252, 0x00400250],
            ),
            completed(),
        ),
        0x0107,
    ),
    "an element that no response has": (
        lambda event: (status_dataset(Status=0x0110, PatientName="Yamada^Tarou"), None),
        0x0110,
    ),
    "no status": (lambda event: (None, None), 0xC002),
    "a data set without a status": (lambda event: (Dataset(), None), 0xC001),
    "an exception": (raises, 0x0110),
    "a bare int": (lambda event: 0x0000, ABORTS),
    "nothing": (lambda event: None, ABORTS),
    "too much": (lambda event: (0x0000, None, None), ABORTS),
    "an abort": (lambda event: event.assoc.abort(), ABORTS),
}


def answered(scp: Scp, data_set: bytes = DATA) -> list[Pdu]:
    """The PDUs of the answer to a request."""
    with scp.connect() as peer:
        peer.send(message(request(), data_set))
        pdus = [peer.receive()]
        if pdus[0].type == P_DATA_TF and element(0x0800, 0x0101) not in pdus[0].body:
            pdus.append(peer.receive())
    return pdus


@pytest.mark.filterwarnings("ignore:.* exceeds the maximum length", "ignore:Value")
@pytest.mark.parametrize(("answer", "status"), ANSWERS.values(), ids=ANSWERS)
def test_answers_of_handlers(nset, stock_scp, answer, status):
    stock_scp.answer = answer
    without = answered(stock_scp)
    with importlib.import_module("nset.pynetdicom").installed():
        assert answered(stock_scp) == without
    if status is ABORTS:
        assert without == [(ABORT, BY_USER)]
    else:
        assert element(0x0900, status) in without[0].body


@pytest.mark.parametrize("status", [-1, 0x10000])
def test_a_status_out_of_range(scp, caplog, status):
    scp.answer = lambda event: (status, None)
    (response,) = answered(scp)
    assert element(0x0900, 0x0110) in response.body
    assert reasons(caplog) == [BAD_STATUS + "Status must be between 0 and 65535, inclusive"]


@pytest.mark.parametrize("data_set", [b"\xff" * 10, DATA[:-3], DATA + b"\0"])
def test_an_undecodable_data_set_is_left_to_the_handler(nset, stock_scp, data_set):
    """Here the exception is the handler's."""
    without = answered(stock_scp, data_set)
    with importlib.import_module("nset.pynetdicom").installed():
        assert answered(stock_scp, data_set) == without


@quiet
@statuses
def test_a_status_that_cant_be_sent_as_it_is(scp, caplog, given, sent, reason):
    """The peer gets what can be encoded, and the log what cannot."""
    scp.answer = lambda event: (status_dataset(**given), None)
    with scp.connect() as peer:
        peer.send(message(request()))
        response, _ = peer.receive_message()
        peer.release()
    assert optional_elements(response) == sent
    (told,) = warnings_of(caplog) + reasons(caplog)
    assert told.startswith(reason)


# -- At the other end -----------------------------------------------------------------------------


RESPONSE = {
    0x0002: uid(MPPS),
    0x0100: 0x8120,
    0x0120: 1,
    0x0800: 0x0101,
    0x0900: 0x0000,
    0x1000: uid(INSTANCE),
}


def response(changes: dict[int, bytes | int | None]) -> bytes:
    elements = sorted({**RESPONSE, **changes}.items())
    return command_set(*(element(tag, value) for tag, value in elements if value is not None))


@pytest.mark.parametrize("padding", [b"\0", bytes(7), bytes(9), b"\x20" * 7])
def test_a_response_with_padding(nset, server, padding):
    """The requestor takes it: the server has done what was asked."""

    def answer(event):
        data = P_DATA()
        command = response({0x0120: event.request.MessageID}) + padding
        data.presentation_data_value_list.append((event.context.context_id, b"\3" + command))
        event.assoc.dul.send_pdu(data)
        event.assoc.dimse.send_msg = lambda *args: None
        return 0x0000, None

    with (
        importlib.import_module("nset.pynetdicom").installed(),
        associated(server, MPPS, {evt.EVT_N_SET: answer}) as (requestor, _),
    ):
        status, _ = requestor.send_n_set(completed(), MPPS, INSTANCE, msg_id=7)
    assert status.Status == 0x0000


BAD_RESPONSES = {
    "a Status of 1 byte": (response({0x0900: b"\0"}), "Status (0000,0900) at byte 74: 1 byte long"),
    "a truncated UID": (
        response({})[:-2],
        "Affected SOP Instance UID (0000,1000) at byte 84: the value of 28 bytes runs past the end",
    ),
    "a UID of 65 characters": (
        response({0x1000: uid(TOO_LONG)}),
        "Affected SOP Instance UID (0000,1000) at byte 84: Invalid 'Affected SOP Instance UID'",
    ),
    "no CommandField": (response({0x0100: None}), "Command Field (0000,0100): missing"),
}


@pytest.mark.filterwarnings("ignore:The value length", "ignore:Expected explicit")
@pytest.mark.parametrize(("command", "reason"), BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_a_bad_response(nset, server, caplog, command, reason):
    """The requestor aborts."""

    def answer(event):
        data = P_DATA()
        data.presentation_data_value_list.append((event.context.context_id, b"\3" + command))
        event.assoc.dul.send_pdu(data)
        return 0x0000, None

    with (
        importlib.import_module("nset.pynetdicom").installed(),
        associated(server, MPPS, {evt.EVT_N_SET: answer}) as (requestor, _),
    ):
        requestor.dimse.send_msg(make_request(nset.N_SET), context_id(requestor))
        requestor.join(TIMEOUT)
        assert requestor.is_aborted
    (logged,) = reasons(caplog)
    assert logged.startswith(
        f"Aborting the association with ANY-SCP@127.0.0.1:{server.server_address[1]}: "
        f"invalid DIMSE message: {reason}"
    )
