"""nset.scp and peers that are no good: what each sees, byte by byte, and what the log says."""

import importlib
import logging
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed, encoded
from bad_requests import ABORTED, CLASSES, OTHER_EVENTS, REFUSED, SERVED, STRAY, others
from bad_statuses import optional_elements, status_dataset, statuses
from bad_statuses import quiet as about_values
from command_sets import element, joined
from n_set_requests import (
    AFFECTED,
    OTHER_INSTANCE,
    TOO_LONG,
    cut,
    message,
    pdvs,
    request,
    uid,
    with_class,
    with_instance,
)
from pydicom.dataset import Dataset
from pynetdicom import _config, evt, sop_class
from pynetdicom.dsutils import decode
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.tests import encoded_pdu_items
from raw_peer import ABORT, AE_TITLE, COMMAND, LAST, P_DATA_TF, Pdu, Peer, associate_rq, p_data, pdu

ECHO = sop_class.Verification
DATA = encoded(completed()).getvalue()

RQ, AC, RJ, RELEASE_RQ, RELEASE_RP, UNKNOWN = 0x01, 0x02, 0x03, 0x05, 0x06, 0x09
RELEASE, RELEASED = pdu(RELEASE_RQ, bytes(4)), pdu(RELEASE_RP, bytes(4))
UNRECOGNIZED, UNEXPECTED, INVALID_PARAMETER = 1, 2, 6  # PS3.8 Table 9-26


def aborted(source: int, reason: int = 0) -> Pdu:
    return Pdu(ABORT, bytes((0, 0, source, reason)))


def rejected(result: int, source: int, reason: int) -> Pdu:
    return Pdu(RJ, bytes((0, result, source, reason)))


BY_USER, BY_PROVIDER = aborted(0), aborted(2)


# -- Peers ----------------------------------------------------------------------------------------


def item(kind: int, value: bytes | str) -> bytes:
    data = value.encode("ascii") if isinstance(value, str) else value
    return struct.pack(">BxH", kind, len(data)) + data


def proposal(
    *, version: int = 1, called: str = "ANY-SCP", calling: str = AE_TITLE, user: str = ""
) -> bytes:
    """An A-ASSOCIATE-RQ: MPPS as context 1, Verification as context 3."""
    contexts = b"".join(
        item(0x20, bytes((number, 0, 0, 0)) + item(0x30, syntax) + item(0x40, "1.2.840.10008.1.2"))
        for number, syntax in ((1, MPPS), (3, ECHO))
    )
    about = item(0x51, struct.pack(">I", 16384)) + item(0x52, "1.2.826.0.1.3680043.8.498.9")
    if user:
        about += item(0x58, struct.pack(">BBH", 1, 0, len(user)) + user.encode() + bytes(2))
    names = called.encode().ljust(16), calling.encode().ljust(16)
    return pdu(
        RQ,
        struct.pack(">H2x16s16s32x", version, *names)
        + item(0x10, "1.2.840.10008.3.1.1.1")
        + contexts
        + item(0x50, about),
    )


class Answer(NamedTuple):
    """A response."""

    context_id: int
    field: int
    message_id: int
    status: int


class Caller(Peer):
    """A peer that has connected, and no more."""

    def __init__(self, server: Any) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = "{}:{}".format(*self.socket.getsockname())

    def associate(self, sent: bytes | None = None) -> "Caller":
        self.send(sent or proposal())
        accepted = self.receive()
        assert accepted is not None
        assert accepted.type == AC, accepted
        return self

    def answer(self) -> Answer:
        """The next response, of one PDU."""
        got = self.receive()
        assert got is not None
        assert got.type == P_DATA_TF, got
        length, context_id, header = struct.unpack_from(">IBB", got.body)
        assert (length, header) == (len(got.body) - 4, COMMAND | LAST)
        said = decode(BytesIO(got.body[6:]), True, True)
        return Answer(context_id, said.CommandField, said.MessageIDBeingRespondedTo, said.Status)

    def goes_on(self, nset: ModuleType) -> None:
        """See that the association does, and end it."""
        self.send(n_set_pdus(nset, 999))
        assert self.answer() == set_answer(999)
        self.release()

    def is_closed(self, *last: Pdu) -> None:
        """See that the server says no more than this, and that it has closed its side."""
        for one in last:
            assert self.receive() == one
        assert self.receive() is None


def set_answer(message_id: int, status: int = 0x0000) -> Answer:
    return Answer(1, 0x8120, message_id, status)


def echo(message_id: int) -> bytes:
    fields = {0x0002: uid(ECHO), 0x0100: 0x0030, 0x0110: message_id, 0x0800: 0x0101}
    return one_pdu(joined(fields), context_id=3)


def echo_answer(message_id: int) -> Answer:
    return Answer(3, 0x8030, message_id, 0x0000)


def over(server: Any, *peers: Peer) -> Any:
    """Let the peers go; give the counts once the server has no association any more."""
    for peer in peers:
        peer.socket.close()
    until(lambda: not server._associations and server.counts.open_connections == 0)
    return server.counts


def state_of(server: Any) -> str:
    (assoc,) = server._associations
    return str(assoc.dul.state_machine.current_state)


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "nset" and record.levelno == logging.ERROR
    ]


# -- Servers --------------------------------------------------------------------------------------


class Handler:
    """Of EVT_N_SET; a coroutine function, so that it is on the short way."""

    def __init__(self) -> None:
        self.served: list[tuple[Any, Dataset]] = []

    async def __call__(self, event: Any) -> Any:
        self.served.append((event.request, event.request.ModificationList.getvalue()))
        return 0x0000, None


def ignore(event: Any) -> None:
    """Only be there."""


# What is bound decides who does what: the loop or workers, with the core's reader or without it.
WAYS = {
    "short": [],
    "listened to": [(evt.EVT_ESTABLISHED, ignore)],
    "observed": [(evt.EVT_PDU_RECV, ignore)],
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@contextmanager
def serving(
    nset: ModuleType, handlers: list[Any], ae: Any = None, **options: Any
) -> Iterator[tuple[Any, Handler]]:
    """A server of MPPS and C-ECHO. At the end it still serves others, and has no failed thread."""
    handler = Handler()
    bound = {evt.EVT_N_SET: handler, **dict(handlers)}
    failures: list[threading.ExceptHookArgs] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", failures.append)
        ae = ae or entity(MPPS, ECHO)
        with accepting(nset, list(bound.items()), ae, **options) as server:
            yield server, handler
            # Else the shutdown gives them a tenth of a second.
            until(lambda: not server._associations)
    assert failures == []


# -- One case per row of what pynetdicom makes of bad requests ------------------------------------


class Row(NamedTuple):
    """What a peer sends, and what it gets: a Status, an A-ABORT, or nothing (None)."""

    pdus: bytes
    answer: int | Pdu | None
    is_served: bool
    reason: str = ""
    """What the log of `nset` says, with the peer's address."""


NO_DATA_SET = request({0x0800: 0x0101})
RESPONSE = request({0x0100: 0x8120, 0x0110: None, 0x0120: 7, 0x0800: 0x0101, 0x0900: 0x0000})
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
@pytest.mark.parametrize("pdus", SERVED.values(), ids=SERVED)
def test_is_served_as_by_an_installed_nset(nset, caplog, pdus):
    with serving(nset, []) as (server, handler), Caller(server).associate() as peer:
        peer.send(pdus)
        assert peer.answer() == set_answer(7)
        peer.goes_on(nset)
    assert [data_set for _, data_set in handler.served] == [DATA, DATA]
    assert handler.served[0][0].RequestedSOPInstanceUID == INSTANCE
    assert reasons(caplog) == []


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


# -- Every PDU in every state ---------------------------------------------------------------------

EVENTS = {
    RQ: "Evt6",
    AC: "Evt3",
    RJ: "Evt4",
    P_DATA_TF: "Evt10",
    RELEASE_RQ: "Evt12",
    RELEASE_RP: "Evt13",
    ABORT: "Evt16",
    UNKNOWN: "Evt19",
}
KINDS = pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: f"{kind:02X}H")


def one_of(kind: int, nset: ModuleType) -> bytes:
    return {
        RQ: proposal(),
        AC: encoded_pdu_items.a_associate_ac,
        RJ: encoded_pdu_items.a_associate_rj,
        P_DATA_TF: n_set_pdus(nset),
        RELEASE_RQ: RELEASE,
        RELEASE_RP: RELEASED,
        ABORT: pdu(ABORT, bytes(4)),
        UNKNOWN: pdu(UNKNOWN, bytes(4)),
    }[kind]


def by_provider(kind: int) -> Pdu:
    return aborted(2, UNRECOGNIZED if kind == UNKNOWN else UNEXPECTED)


def check(nset: ModuleType, peer: Caller, state: str, kind: int) -> None:
    """See that a PDU that has been sent in this state has had the action of PS3.8 Table 9-10."""
    action = TRANSITION_TABLE[EVENTS[kind], state]
    if action == "AE-6":
        answer = peer.receive()
        assert answer is not None
        assert answer.type == AC
        peer.goes_on(nset)
    elif action == "DT-2":
        assert peer.answer() == set_answer(7)
        peer.goes_on(nset)
    elif action == "AR-2":
        peer.is_closed(Pdu(RELEASE_RP, bytes(4)))
    elif action == "AR-6":
        peer.send(RELEASED)
        peer.is_closed()
    elif action == "AR-8":
        peer.send(RELEASED)
        peer.is_closed(Pdu(RELEASE_RP, bytes(4)))
    elif action == "AR-10":
        peer.is_closed(Pdu(RELEASE_RP, bytes(4)))
    elif action == "AA-1":
        peer.is_closed(BY_USER)
    elif action in ("AA-7", "AA-8"):
        peer.is_closed(by_provider(kind))
    else:
        assert action in ("AA-2", "AA-3", "AA-6", "AR-3")
        peer.is_closed()


class Gate:
    """A handler that takes its time."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.entered, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, event: Any) -> Any:
        self.entered.set()
        assert self.may_go_on.wait(TIMEOUT)
        return self.answer


@contextmanager
def gated(event: Any, answer: Any = None) -> Iterator[tuple[Gate, list[Any]]]:
    gate = Gate(answer)
    try:
        yield gate, [(event, gate)]
    finally:
        gate.may_go_on.set()


@contextmanager
def in_state(nset: ModuleType, state: str, how: str) -> Iterator[tuple[Any, Caller, bytes]]:
    """A server, a peer whose association is in this state, and what it has to send first."""
    with ExitStack() as stack:
        enter = stack.enter_context
        before, handlers = b"", WAYS.get(how, [])
        if state == "Sta3":
            event, answer = {
                "EVT_REQUESTED": (evt.EVT_REQUESTED, None),
                "EVT_USER_ID": (evt.EVT_USER_ID, (True, None)),
            }[how]
            gate, handlers = enter(gated(event, answer))
        elif state in ("Sta7", "Sta10") and how == "release":
            handlers = [(evt.EVT_N_SET, lambda event: event.assoc.release() or (0x0000, None))]
        elif state == "Sta8":
            gate, handlers = enter(gated(evt.EVT_N_SET, (0x0000, None)))
            handlers = handlers + WAYS.get(how, [])
        ae = entity(MPPS, ECHO)
        ae.require_called_aet = how == "rejected"
        server, _ = enter(serving(nset, handlers, ae))
        if state in ("Sta3", "Sta8"):
            stack.callback(gate.may_go_on.set)  # before the server is shut down
        shutdown = threading.Thread(target=server.shutdown)
        stack.callback(lambda: shutdown.ident and shutdown.join(TIMEOUT))
        peer = enter(Caller(server))
        if state == "Sta2":
            until(lambda: bool(server._associations))
        elif state == "Sta3":
            peer.send(proposal(user="somebody"))
            assert gate.entered.wait(TIMEOUT)
        elif how == "rejected":
            before = proposal()
        else:
            peer.associate()
        if state in ("Sta7", "Sta10"):
            if how == "release":
                peer.send(n_set_pdus(nset))
            else:
                shutdown.start()
            assert peer.receive() == Pdu(RELEASE_RQ, bytes(4))
        if state == "Sta8":
            peer.send(n_set_pdus(nset))
            assert gate.entered.wait(TIMEOUT)
            if how == "at once":
                before = RELEASE
            else:
                peer.send(RELEASE)
        if state == "Sta10":
            peer.send(RELEASE)
        before = {"aborted": encoded_pdu_items.a_associate_ac, "released": RELEASE}.get(how, before)
        if not before and not (state == "Sta7" and how == "release"):
            until(lambda: state_of(server) == state)
        yield server, peer, before


STATES = pytest.mark.parametrize(
    ("state", "how"),
    [
        ("Sta2", "short"),
        ("Sta2", "observed"),
        ("Sta3", "EVT_REQUESTED"),
        ("Sta3", "EVT_USER_ID"),
        ("Sta6", "short"),
        ("Sta6", "listened to"),
        ("Sta6", "observed"),
        ("Sta7", "release"),
        ("Sta7", "shutdown"),
        ("Sta8", "one after the other"),
        ("Sta8", "at once"),
        ("Sta8", "observed"),
        ("Sta10", "release"),
        ("Sta10", "shutdown"),
    ],
)


@KINDS
@STATES
def test_every_pdu_in_every_state(nset, state, how, kind):
    with in_state(nset, state, how) as (_, peer, before):
        peer.send(before + one_of(kind, nset))
        check(nset, peer, state, kind)


@KINDS
@pytest.mark.parametrize("how", ["rejected", "aborted", "released"])
def test_every_pdu_behind_the_end(nset, how, kind):
    """Of the association: in Sta13, in the write that has led there."""
    with in_state(nset, "Sta13", how) as (_, peer, before):
        peer.send(before + one_of(kind, nset))
        first = {
            "rejected": rejected(1, 1, 7),
            "aborted": aborted(2, UNEXPECTED),
            "released": Pdu(RELEASE_RP, bytes(4)),
        }[how]
        assert peer.receive() == first
        check(nset, peer, "Sta13", kind)


@pytest.mark.parametrize("kind", [AC, UNKNOWN], ids=["unexpected", "unknown"])
@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("Sta2", "short"),
        ("Sta3", "EVT_REQUESTED"),
        ("Sta6", "short"),
        ("Sta7", "release"),
        ("Sta8", "one after the other"),
    ],
)
def test_the_log_says_with_whom_an_association_was_aborted(nset, caplog, state, how, kind):
    with in_state(nset, state, how) as (_, peer, before):
        peer.send(before + one_of(kind, nset))
        answer = peer.receive()
        assert answer is not None
        assert answer.type == ABORT
    assert len(reasons(caplog)) == 1
    assert peer.address in reasons(caplog)[0]
    assert f"{kind:02X}" in reasons(caplog)[0]


@pytest.mark.parametrize("kind", [AC, UNKNOWN], ids=["unexpected", "unknown"])
def test_an_abort_for_a_pdu_is_counted_as_such(nset, kind):
    with serving(nset, []) as (server, _):
        with Caller(server).associate() as peer:
            peer.send(one_of(kind, nset))
            peer.is_closed(by_provider(kind))
        assert over(server).aborted == {"invalid PDU": 1}


def test_release_while_a_handler_runs(nset):
    """It is answered when the request has been."""
    with gated(evt.EVT_N_SET, (0x0000, None)) as (gate, handlers), ExitStack() as stack:
        server, _ = stack.enter_context(serving(nset, handlers))
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(n_set_pdus(nset), n_set_pdus(nset, 8), RELEASE)
        assert gate.entered.wait(TIMEOUT)
        gate.may_go_on.set()
        assert peer.answer() == set_answer(7)
        assert peer.answer() == set_answer(8)
        peer.is_closed(Pdu(RELEASE_RP, bytes(4)))
        counts = over(server, peer)
        assert (counts.released, counts.aborted) == (1, {})


@pytest.mark.parametrize("state", ["Sta3", "Sta6", "Sta7", "Sta8", "Sta10"])
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_peer_that_goes(nset, state, how):
    ways_there = {"Sta3": "EVT_REQUESTED", "Sta7": "release", "Sta10": "release"}
    with in_state(nset, state, ways_there.get(state, "short")) as (server, peer, _):
        if how == "resets":
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()
        until(lambda: server.counts.open_connections == 0)
    # In Sta8 it had asked for the release before.
    counts = server.counts
    assert (counts.aborted or {"connection": counts.released}) == {"connection": 1}


# -- Lengths that lie -----------------------------------------------------------------------------

LIES = {
    "P-DATA of 4 GiB": (bytes((4, 0)) + b"\xff" * 4, INVALID_PARAMETER),
    "A-RELEASE-RQ of 4 GiB": (bytes((5, 0)) + b"\xff" * 4, INVALID_PARAMETER),
    "A-ABORT of 4 GiB": (bytes((7, 0)) + b"\xff" * 4, INVALID_PARAMETER),
    "PDV-length beyond the PDU": (pdu(P_DATA_TF, b"\0\0\0\xff\1\3" + request()), None),
    "PDV-length of 4 GiB": (pdu(P_DATA_TF, b"\xff\xff\xff\xff\1\3" + request()), None),
    "PDV-length cut": (pdu(P_DATA_TF, b"\0\0\0"), None),
    "nothing but a PDV-length": (pdu(P_DATA_TF, b"\0\0\0\2"), None),
    "PDV without its header": (pdu(P_DATA_TF, b"\0\0\0\2\1"), None),
    "PDV of 0 bytes": (pdu(P_DATA_TF, bytes(4)), None),
    "PDV of 1 byte": (pdu(P_DATA_TF, b"\0\0\0\1\1"), None),
    "a byte behind the last PDV": (pdu(P_DATA_TF, b"\0\0\0\2\1\1\0"), None),
    "A-ASSOCIATE-RQ of 0 bytes": (pdu(RQ, b""), None),
}


@ways
def test_a_pdu_without_a_pdv(nset, caplog, way):
    """It says nothing, and is passed over; the log tells of the first one."""
    empty = pdu(P_DATA_TF, b"")
    with serving(nset, way) as (server, handler), Caller(server).associate() as peer:
        peer.send(empty, p_data((1, COMMAND | LAST, request())), empty, empty)
        peer.send(p_data((1, LAST, DATA)), empty)
        assert peer.answer() == set_answer(7)
        peer.goes_on(nset)
    assert handler.served[0][1] == DATA
    told = [one.getMessage() for one in caplog.records if one.name == "nset"]
    assert told == [f"A P-DATA-TF PDU without a PDV from {AE_TITLE}@{peer.address}"]


@ways
@pytest.mark.parametrize("amid", ["between messages", "amid a data set"])
@pytest.mark.parametrize(("lie", "reason"), LIES.values(), ids=LIES)
def test_lengths_that_lie(nset, caplog, lie, reason, amid, way):
    begun = p_data((1, COMMAND | LAST, request()), (1, 0, DATA)) if amid.startswith("amid") else b""
    ae = entity(MPPS, ECHO)
    ae.network_timeout = 1  # for a server that goes on as if nothing were wrong
    with serving(nset, way, ae) as (server, handler):
        with Caller(server).associate() as peer:
            peer.send(begun + lie)
            answer = peer.receive()
            assert answer is not None
            assert (answer.type, answer.body[2]) == (ABORT, 2)
            assert answer.body[3] in ((0, INVALID_PARAMETER) if reason is None else (reason,))
            assert peer.receive() is None
        with Caller(server).associate() as other:
            other.goes_on(nset)
    assert [asked.MessageID for asked, _ in handler.served] == [999]
    assert len(reasons(caplog)) == 1
    assert peer.address in reasons(caplog)[0]


@pytest.mark.parametrize(
    "sent",
    [bytes((1, 0)) + b"\xff" * 4, pdu(RQ, b""), pdu(RQ, b"\xff" * 100), b"GET / HTTP/1.1\r\n\r\n"],
    ids=["4 GiB", "empty", "garbage", "HTTP"],
)
def test_no_association_request(nset, caplog, sent):
    """Before there is an association it is the service user that aborts (AA-1)."""
    with serving(nset, []) as (server, _), Caller(server) as peer:
        peer.send(sent)
        peer.is_closed(BY_USER)
    assert len(reasons(caplog)) == 1
    assert peer.address in reasons(caplog)[0]


@ways
def test_pdu_length(nset, way):
    scp = importlib.import_module("nset.scp")
    limits = scp.Limits(pdu_length=1000, negotiation_length=500)
    with serving(nset, way, limits=limits) as (server, handler):
        with Caller(server).associate() as peer:
            room = 1000 - 12 - len(request())
            peer.send(one_pdu(request(), bytes(room)))
            assert peer.answer() == set_answer(7)
            peer.send(one_pdu(request(), bytes(room + 1)))
            peer.is_closed(aborted(2, INVALID_PARAMETER))
        with Caller(server) as peer:
            peer.send(pdu(RQ, bytes(501)))
            peer.is_closed(BY_USER)
    assert len(handler.served) == 1


def test_what_comes_behind_an_abort_is_not_kept(nset, caplog):
    """However much it is, others are served meanwhile."""
    resource = pytest.importorskip("resource")
    megabyte, number = bytes(1 << 20), 64
    with serving(nset, []) as (server, _), Caller(server).associate() as other:
        with Caller(server).associate() as peer:
            peer.send(pdu(UNKNOWN, b""))
            peer.is_closed(by_provider(UNKNOWN))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            slowest = 0.0
            for _ in range(number):
                try:
                    peer.send(megabyte)
                except (ConnectionError, TimeoutError):  # it does not listen any more: as good
                    break
                began = time.monotonic()
                other.send(n_set_pdus(nset))
                assert other.answer() == set_answer(7)
                slowest = max(slowest, time.monotonic() - began)
                if slowest > 0.2:
                    break
            more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        other.release()
    assert len(reasons(caplog)) == 1
    assert more < 16 * 1024  # KiB
    assert slowest < 0.2


# -- Data sets ------------------------------------------------------------------------------------


def packed(how: str, command: bytes, data_set: bytes) -> bytes:
    if how == "one PDU":
        return one_pdu(command, data_set)
    if how == "two PDUs":
        return message(command, data_set)
    parts = [(1, COMMAND | LAST, command), *pdvs(0, cut(data_set, 32))]
    return b"".join(map(p_data, parts))


@ways
@pytest.mark.parametrize("how", ["one PDU", "two PDUs", "many PDUs"])
@pytest.mark.parametrize("begins", ["canonical", "otherwise"])
def test_data_sets_over_the_limit(nset, caplog, way, how, begins):
    """Each is answered in its turn, and the association goes on."""
    scp = importlib.import_module("nset.scp")
    changes = {} if begins == "canonical" else AFFECTED
    sent = [
        packed(how, request({0x0110: number, **changes}), bytes(100 + number % 2))
        for number in range(10)
    ]
    limits = scp.Limits(data_set_bytes=100)
    with (
        serving(nset, way, limits=limits) as (server, handler),
        Caller(server).associate() as peer,
    ):
        peer.send(*sent)
        answers = [peer.answer() for _ in sent]
        peer.send(sent[0])
        assert peer.answer() == set_answer(0)
        peer.release()
    assert answers == [set_answer(number, 0x0213 if number % 2 else 0x0000) for number in range(10)]
    assert len(handler.served) == 6
    assert reasons(caplog) == [
        f"Refusing N-SET request {number} from {AE_TITLE}@{peer.address} with status 0x0213: "
        "a data set of more than 100 bytes"
        for number in range(1, 10, 2)
    ]


@ways
@pytest.mark.parametrize("field", [0x0120, 0x0140])
def test_a_command_set_that_does_not_end(nset, caplog, way, field):
    fragments = cut(request({0x0100: field, 0x1002: bytes(60000)}), 1000)[:-1]
    with serving(nset, way) as (server, _), Caller(server).associate() as peer:
        peer.send(*(p_data((1, COMMAND, fragment)) for fragment in fragments))
        (connection,) = server.connections
        until(lambda: connection.bytes_received > 60000)
        assert server.counts.open_associations == 1
        peer.send(p_data((1, COMMAND, bytes(6000))))
        peer.is_closed(BY_PROVIDER)
    (reason,) = reasons(caplog)
    assert "a command set of more than 65536 bytes" in reason
    assert peer.address in reason


@ways
def test_a_data_set_over_the_limit_of_another_message(nset, caplog, way):
    scp = importlib.import_module("nset.scp")
    fields = {0x0002: uid(MPPS), 0x0100: 0x0140, 0x0110: 2, 0x0800: 1, 0x1000: uid(INSTANCE)}
    limits = scp.Limits(data_set_bytes=100)
    with serving(nset, way, limits=limits) as (server, _), Caller(server).associate() as peer:
        peer.send(one_pdu(joined(fields), bytes(101)))
        peer.is_closed(BY_PROVIDER)
    assert len(reasons(caplog)) == 1
    assert "a data set of more than 100 bytes" in reasons(caplog)[0]
    assert peer.address in reasons(caplog)[0]


# -- Requests that wait ---------------------------------------------------------------------------


def in_fragments(nset: ModuleType, message_id: int) -> list[bytes]:
    """An N-SET request whose command set comes in two PDUs, which is not the short way."""
    first, *rest = cut(request({0x0110: message_id}), 60)
    parts = [(1, COMMAND, first), *((1, COMMAND, part) for part in rest[:-1])]
    parts += [(1, COMMAND | LAST, rest[-1]), (1, LAST, DATA)]
    return [p_data(part) for part in parts]


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("limit", [1, 2])
def test_a_request_that_was_served_at_once_holds_up_nobody(nset, inline, limit):
    limits = importlib.import_module("nset.scp").Limits(pending_requests=limit)
    options = {"limits": limits, "inline": inline}
    with (
        serving(nset, [(evt.EVT_N_SET, plain)], **options) as (server, _),
        Caller(server).associate() as peer,
    ):
        for number in range(4):
            peer.send(*in_fragments(nset, number))
            assert peer.answer() == set_answer(number)
        peer.send(*in_fragments(nset, 4), *in_fragments(nset, 5), n_set_pdus(nset, 6))
        assert [peer.answer() for _ in range(3)] == [set_answer(number) for number in (4, 5, 6)]
        peer.release()


def test_no_more_than_the_limit_wait(nset):
    is_served, may_go_on = threading.Event(), threading.Event()
    limits = importlib.import_module("nset.scp").Limits(pending_requests=4)

    def wait(event: Any) -> int:
        is_served.set()
        assert may_go_on.wait(TIMEOUT)
        return 0x0000

    with ExitStack() as stack:
        bound = [(evt.EVT_C_ECHO, wait)]
        server, _ = stack.enter_context(serving(nset, bound, limits=limits))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(echo(0))
        assert is_served.wait(TIMEOUT)
        peer.send(*(echo(number) for number in range(1, 100)))
        (connection,) = server.connections
        until(lambda: len(connection.requests) >= 4)
        until(lambda: connection.is_held)  # as it is before, too, until its next turn
        assert len(connection.requests) == 4
        may_go_on.set()
        assert [peer.answer() for _ in range(100)] == [echo_answer(n) for n in range(100)]
        peer.release()


# -- Order ----------------------------------------------------------------------------------------


def alternating(nset: ModuleType, number: int) -> tuple[list[bytes], list[Answer]]:
    """C-ECHO and N-SET in turn."""
    sent, expected = [], []
    for message_id in range(number):
        is_echo = message_id % 2 == 0
        sent.append(echo(message_id) if is_echo else n_set_pdus(nset, message_id))
        expected.append(echo_answer(message_id) if is_echo else set_answer(message_id))
    return sent, expected


def plain(event: Any) -> Any:
    return 0x0000, None


@ways
@pytest.mark.parametrize("handlers", [[], [(evt.EVT_N_SET, plain)]], ids=["async", "plain"])
@pytest.mark.parametrize("writes", ["one write", "a write each", "byte by byte"])
def test_answers_come_in_the_order_of_the_requests(nset, way, handlers, writes):
    sent, expected = alternating(nset, 12 if writes == "byte by byte" else 100)
    with serving(nset, way + handlers) as (server, _), Caller(server).associate() as peer:
        if writes == "one write":
            peer.send(*sent)
        elif writes == "a write each":
            for one in sent:
                peer.send(one)
        else:
            for byte in b"".join(sent):
                peer.send(bytes((byte,)))
        assert [peer.answer() for _ in expected] == expected
        peer.release()


def test_a_request_waits_for_what_a_worker_is_reading(nset, monkeypatch):
    """However long that takes, it neither overtakes another message nor is it taken for a part."""
    entered, may_go_on = threading.Event(), threading.Event()
    stock = DULServiceProvider._decode_pdu

    def decode_slowly(self: Any, data: bytearray) -> Any:
        if data[0] == P_DATA_TF:
            entered.set()
            assert may_go_on.wait(TIMEOUT)
        return stock(self, data)

    monkeypatch.setattr(DULServiceProvider, "_decode_pdu", decode_slowly)
    with ExitStack() as stack:
        server, _ = stack.enter_context(serving(nset, WAYS["listened to"]))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(echo(1))
        assert entered.wait(TIMEOUT)
        peer.send(n_set_pdus(nset, 2))
        may_go_on.set()
        assert [peer.answer() for _ in range(2)] == [echo_answer(1), set_answer(2)]
        peer.release()


def test_an_answer_waits_for_one_that_a_worker_still_has_to_send(nset, monkeypatch):
    """The worker that is reading the next message, when the one that serves the first is done."""
    reads_on, is_served = threading.Event(), threading.Event()
    stock = DULServiceProvider._decode_pdu
    messages = []

    def decode_slowly(self: Any, data: bytearray) -> Any:
        if data[0] == P_DATA_TF:
            messages.append(data)
            if len(messages) == 2:
                reads_on.set()
                is_served.wait(0.3)  # time enough to overtake the answer that is not sent yet
        return stock(self, data)

    def echo_when_read_on(event: Any) -> int:
        assert reads_on.wait(TIMEOUT)
        return 0x0000

    def set_soon(event: Any) -> Any:
        is_served.set()
        return 0x0000, None

    monkeypatch.setattr(DULServiceProvider, "_decode_pdu", decode_slowly)
    bound = [(evt.EVT_C_ECHO, echo_when_read_on), (evt.EVT_N_SET, set_soon)]
    with (
        serving(nset, WAYS["listened to"] + bound) as (server, _),
        Caller(server).associate() as peer,
    ):
        peer.send(echo(1), n_set_pdus(nset, 2), echo(3))
        answers = [peer.answer() for _ in range(3)]
        peer.release()
    assert answers == [echo_answer(1), set_answer(2), echo_answer(3)]


def test_a_request_right_behind_a_message_that_a_worker_reads(nset):
    sent = one_pdu(RESPONSE)
    with (
        serving(nset, WAYS["listened to"]) as (server, _),
        Caller(server).associate() as peer,
    ):
        for number in range(150):
            peer.send(sent)
            peer.send(n_set_pdus(nset, number))
            assert peer.answer() == set_answer(number)
        peer.release()


@ways
def test_pdus_that_end_anywhere(nset, way):
    """The end of one message and the beginning of the next in one PDU."""
    parts, expected = [], []
    for number in range(0, 60, 3):
        parts += [(1, COMMAND | LAST, request({0x0110: number})), *pdvs(0, cut(DATA, 50))]
        parts.append((3, COMMAND | LAST, echo(number + 1)[12:]))
        parts += [*pdvs(COMMAND, cut(request({0x0110: number + 2}), 40)), (1, LAST, DATA)]
        expected += [set_answer(number), echo_answer(number + 1), set_answer(number + 2)]
    for size in (1, 2, 3, 5, 7):
        sent = [p_data(*parts[at : at + size]) for at in range(0, len(parts), size)]
        with serving(nset, way) as (server, handler), Caller(server).associate() as peer:
            peer.send(*sent)
            assert [peer.answer() for _ in expected] == expected
            peer.release()
        assert {data_set for _, data_set in handler.served} == {DATA}


@ways
def test_chopped_byte_by_byte(nset, way):
    sent = n_set_pdus(nset, 1) + n_set_pdus(nset, 2, 64) + message(request(AFFECTED))
    with serving(nset, way) as (server, _), Caller(server).associate() as peer:
        for byte in sent:
            peer.send(bytes((byte,)))
        assert [peer.answer() for _ in range(3)] == [set_answer(1), set_answer(2), set_answer(7)]
        peer.release()


def test_a_request_that_also_responds_while_another_is_served(nset):
    """It is a request all the same, and no answer that somebody waits for."""
    with gated(evt.EVT_C_ECHO, 0x0000) as (gate, handlers), ExitStack() as stack:
        server, handler = stack.enter_context(serving(nset, handlers))
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(echo(1), message(request({0x0120: 3})))
        assert gate.entered.wait(TIMEOUT)
        peer.send(n_set_pdus(nset, 8))
        gate.may_go_on.set()
        assert [peer.answer() for _ in range(3)] == [echo_answer(1), set_answer(7), set_answer(8)]
        peer.release()
    assert len(handler.served) == 2


# -- Handlers that exit ---------------------------------------------------------------------------


def exits(event: Any) -> Any:
    raise SystemExit(event.event.name)


def ask_until_aborted(ae: Any, server: Any) -> None:
    """Associate and send a C-ECHO-RQ, as far as the server's handlers let it come to that."""
    assoc = ae.associate("127.0.0.1", port(server))
    with suppress(RuntimeError):  # aborted already
        assoc.send_c_echo()
    until(lambda: assoc.is_aborted and not server._associations)


@pytest.mark.parametrize(
    "event",
    ["C_ECHO", "CONN_OPEN", "DATA_SENT", "DIMSE_RECV", "ESTABLISHED", "FSM_TRANSITION", "PDU_RECV"],
)
def test_a_handler_that_exits_ends_its_association_alone(nset, event):
    ae = entity(ECHO)
    ae.maximum_associations = 2
    with serving(nset, [(getattr(evt, f"EVT_{event}"), exits)], ae) as (server, _):
        for _ in range(3):
            ask_until_aborted(ae, server)
        assert server.counts.aborted == {"error": 3}


def test_a_thread_survives_a_job_that_raises(nset, monkeypatch):
    """Here the handler of the abort, behind another one that has exited."""
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    ae = entity(ECHO)
    with accepting(nset, [(evt.EVT_ESTABLISHED, exits), (evt.EVT_ABORTED, exits)], ae) as server:
        for _ in range(3):
            ask_until_aborted(ae, server)
        until(lambda: len(failures) == 3)
    assert {str(failure.exc_value) for failure in failures} == {"EVT_ABORTED"}


# -- Timeouts -------------------------------------------------------------------------------------

SECONDS = 0.5


def check_time(measured: Callable[[], float]) -> None:
    """See that it takes `SECONDS`, to 10 % or 50 ms.

    On a busy machine a thread of the test's own may be later than that: one of five tries counts.
    """
    tries: list[float] = []
    while len(tries) < 5:
        tries.append(measured())
        if abs(tries[-1] - SECONDS) <= max(SECONDS * 0.1, 0.05):
            return
    pytest.fail(f"{tries}")


@ways
@pytest.mark.parametrize("sent", [b"", proposal()[:50]], ids=["nothing", "half a request"])
def test_no_association_in_time(nset, way, sent):
    ae = entity(MPPS, ECHO)
    ae.acse_timeout = SECONDS
    with serving(nset, way, ae) as (server, _):

        def measured():
            began = time.monotonic()
            with Caller(server) as peer:
                if sent:
                    peer.send(sent)
                peer.is_closed()
                return time.monotonic() - began

        check_time(measured)


@ways
@pytest.mark.parametrize("response", ["A-ABORT", "A-RELEASE"])
def test_idle_too_long(nset, caplog, way, response):
    ae = entity(MPPS, ECHO)
    ae.network_timeout = SECONDS

    def measured():
        with serving(nset, way, ae) as (server, _), Caller(server).associate() as peer:
            (assoc,) = server.active_associations
            assoc.network_timeout_response = response
            # Whatever comes starts it anew.
            time.sleep(SECONDS / 2)
            peer.send(n_set_pdus(nset))
            assert peer.answer() == set_answer(7)
            began = time.monotonic()
            answer = peer.receive()
            took = time.monotonic() - began
            if response == "A-ABORT":
                assert answer == BY_USER
                peer.is_closed()
            else:
                assert answer == Pdu(RELEASE_RQ, bytes(4))
                peer.send(RELEASED)
                peer.is_closed()
            counts = over(server, peer)
            assert counts.aborted == ({"idle": 1} if response == "A-ABORT" else {})
            assert counts.released == (response == "A-RELEASE")
        return took

    check_time(measured)
    assert "Network timeout reached" in caplog.text


def test_a_slow_handler_is_not_idle(nset):
    ae = entity(MPPS, ECHO)
    ae.network_timeout = SECONDS
    with gated(evt.EVT_N_SET, (0x0000, None)) as (gate, handlers), ExitStack() as stack:
        server, _ = stack.enter_context(serving(nset, handlers, ae))
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(n_set_pdus(nset))
        assert gate.entered.wait(TIMEOUT)
        time.sleep(2 * SECONDS)
        gate.may_go_on.set()
        assert peer.answer() == set_answer(7)
        peer.is_closed(BY_USER)


def test_a_peer_that_does_not_answer_a_release(nset):
    """It is aborted after the time that the AE gives to an association's negotiation."""

    def established(event):
        event.assoc.network_timeout_response = "A-RELEASE"

    ae = entity(MPPS, ECHO)
    ae.network_timeout, ae.acse_timeout = 0.1, SECONDS
    handlers = [(evt.EVT_ESTABLISHED, established)]
    with serving(nset, handlers, ae) as (server, _):

        def measured():
            with Caller(server).associate() as peer:
                assert peer.receive() == Pdu(RELEASE_RQ, bytes(4))
                began = time.monotonic()
                peer.is_closed(aborted(2, 0))
                return time.monotonic() - began

        check_time(measured)


# -- How many, and whom ---------------------------------------------------------------------------


def test_connections(nset):
    scp = importlib.import_module("nset.scp")
    with serving(nset, [], limits=scp.Limits(connections=3)) as (server, _):
        callers = [Caller(server) for _ in range(3)]
        until(lambda: server.counts.open_connections == 3)
        for caller in callers:
            caller.associate()
        for _ in range(2):
            with Caller(server) as peer:
                peer.is_closed()
        assert server.counts.refused_connections == 2
        callers.pop().socket.close()
        until(lambda: server.counts.open_connections == 2)
        with Caller(server) as peer:
            peer.associate().goes_on(nset)
        for caller in callers:
            caller.goes_on(nset)
            caller.socket.close()


@pytest.mark.parametrize("kind", ["TCP", "TLS"])
def test_connections_that_come_all_at_once(nset, kind):
    """Those whose TLS handshake does not get on count, too; the oldest go first."""
    scp = importlib.import_module("nset.scp")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if kind == "TLS" else None
    may_go_on = threading.Event()
    limits = scp.Limits(connections=3)
    with serving(nset, [], limits=limits, ssl_context=tls) as (server, _), ExitStack() as stack:
        stack.callback(may_go_on.set)
        server.loop.call_soon_threadsafe(may_go_on.wait, TIMEOUT)
        callers = [stack.enter_context(Caller(server)) for _ in range(10)]
        may_go_on.set()
        until(lambda: server.counts.connections == 10)
        assert server.counts.refused_connections == 7
        for caller in callers[:7]:
            caller.is_closed()
        assert len(server.connections) + len(server._connecting) == 3
        for caller in callers:
            caller.socket.close()
        until(lambda: server.counts.open_connections == 0)


@ways
def test_maximum_associations(nset, way):
    ae = entity(MPPS, ECHO)
    ae.maximum_associations = 2
    with serving(nset, way, ae) as (server, _):
        first, second = (Caller(server).associate() for _ in range(2))
        with Caller(server) as peer:
            peer.send(proposal())
            peer.is_closed(rejected(2, 3, 2))
        until(lambda: len(server.active_associations) == 2)
        second.goes_on(nset)
        second.socket.close()
        until(lambda: len(server.active_associations) == 1)
        with Caller(server) as peer:
            peer.associate().goes_on(nset)
        first.goes_on(nset)
        first.socket.close()
        assert server.counts.rejected == 1


REJECTED = {
    "called AE title": ({"called": "OTHER"}, (1, 1, 7)),
    "calling AE title": ({"calling": "OTHER"}, (1, 1, 3)),
    "protocol version": ({"version": 2}, (1, 2, 2)),
}


@ways
@pytest.mark.parametrize(("changes", "answer"), REJECTED.values(), ids=REJECTED)
def test_rejected(nset, way, changes, answer):
    ae = entity(MPPS, ECHO)
    ae.ae_title = "ANY-SCP"
    ae.require_called_aet = True
    ae.require_calling_aet = [AE_TITLE]
    with serving(nset, way, ae) as (server, _):
        with Caller(server) as peer:
            peer.send(proposal(**changes))
            peer.is_closed(rejected(*answer))
        with Caller(server) as peer:
            peer.associate().goes_on(nset)
        counts = over(server)
        assert (counts.associations, counts.rejected, counts.aborted) == (1, 1, {})
