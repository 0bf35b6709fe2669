"""What a server does, with nset installed, with messages that are no good: over bare sockets."""

import importlib
import logging
import queue
import struct
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from associations import (
    INSTANCE,
    MPPS,
    TIMEOUT,
    associated,
    completed,
    context_id,
    encoded,
    make_request,
    serving,
)
from command_sets import command_set, element, explicit
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pynetdicom import _config, build_context, evt, sop_class
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import ThreadedAssociationServer
from raw_peer import ABORT, AE_TITLE, COMMAND, LAST, P_DATA_TF, Pdu, Peer, p_data, pdu

OTHER_INSTANCE = "1.2.826.0.1.3680043.8.498.77"
TOO_LONG = "1." * 32 + "1"  # 65 characters
DATA = encoded(completed()).getvalue()

BY_USER, BY_PROVIDER = bytes((0, 0, 0, 0)), bytes((0, 0, 2, 0))  # A-ABORT, PS3.8 9.3.8


# -- Requests -------------------------------------------------------------------------------------


def uid(text: str) -> bytes:
    return text.encode("ascii") + b"\0" * (len(text) % 2)


ELEMENTS = {
    0x0003: uid(MPPS),
    0x0100: 0x0120,
    0x0110: 7,
    0x0800: 0x0001,
    0x1001: uid(INSTANCE),
}


def request(changes: dict[int, bytes | int | None] | None = None) -> bytes:
    """The command set of an N-SET-RQ; an element that is None is left out."""
    elements = sorted({**ELEMENTS, **(changes or {})}.items())
    return command_set(*(element(tag, value) for tag, value in elements if value is not None))


def message(command: bytes, data_set: bytes | None = DATA) -> bytes:
    """In a PDU for the command set and one for the data set."""
    sent = p_data((1, COMMAND | LAST, command))
    return sent if data_set is None else sent + p_data((1, LAST, data_set))


def cut(data: bytes, length: int) -> list[bytes]:
    return [data[at : at + length] for at in range(0, len(data), length)]


def pdvs(kind: int, fragments: list[bytes]) -> list[tuple[int, int, bytes]]:
    last = len(fragments) - 1
    return [
        (1, kind | (LAST if at == last else 0), fragment) for at, fragment in enumerate(fragments)
    ]


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


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedAssociationServer]:
    with serving(MPPS) as server:
        yield server


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


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "nset" and record.levelno == logging.ERROR
    ]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "nset" and record.levelno == logging.WARNING
    ]


# -- Served ---------------------------------------------------------------------------------------


def with_class(text: bytes) -> bytes:
    return message(request({0x0003: text}))


def with_instance(text: bytes) -> bytes:
    return message(request({0x1001: text}))


AFFECTED = {0x0002: uid(MPPS), 0x1000: uid(INSTANCE)}
UNORDERED = command_set(*(element(tag, value) for tag, value in reversed(ELEMENTS.items())))
EXPLICIT = b"".join(
    (
        explicit(0x0003, b"UI", uid(MPPS)),
        explicit(0x0100, b"US", b"\x20\x01"),
        explicit(0x0110, b"US", b"\x07\x00"),
        explicit(0x0800, b"US", b"\x01\x00"),
        explicit(0x1001, b"UI", uid(INSTANCE)),
    )
)

EXPLICIT_UN = b"".join(
    struct.pack("<HH2sHI", 0, tag, b"UN", 0, len(value)) + value
    for tag, value in (
        (0x0003, uid(MPPS)),
        (0x0100, b"\x20\x01"),
        (0x0110, b"\x07\x00"),
        (0x0800, b"\x01\x00"),
        (0x1001, uid(INSTANCE)),
    )
)

SERVED = {
    "as it should be": message(request()),
    "no CommandDataSetType": message(request({0x0800: None})),
    "Affected UIDs in place of Requested": message(
        request({0x0003: None, 0x1001: None, **AFFECTED})
    ),
    "both, the same": message(request(AFFECTED)),
    "both, different": message(
        request({0x0002: uid(sop_class.CTImageStorage), 0x1000: uid(OTHER_INSTANCE)})
    ),
    "both, and the Affected class takes no N-SET": message(
        request({0x0002: uid(sop_class.Verification)})
    ),
    "both, and nobody knows the Affected class": message(request({0x0002: uid("1.2.3.4")})),
    "MessageIDBeingRespondedTo in a request": message(request({0x0120: 3})),
    "empty last data PDV": p_data((1, COMMAND | LAST, request()))
    + p_data((1, 0, DATA))
    + p_data((1, LAST, b"")),
    "empty PDVs before those with something in them": p_data((1, COMMAND, b""))
    + p_data((1, COMMAND | LAST, request()))
    + p_data((1, 0, b""))
    + p_data((1, LAST, DATA)),
    "command and data set split over PDUs": b"".join(
        p_data(pdv) for pdv in pdvs(COMMAND, cut(request(), 10)) + pdvs(0, cut(DATA, 16))
    ),
    "command and data set split over PDVs of one PDU": p_data(
        *pdvs(COMMAND, cut(request(), 10)), *pdvs(0, cut(DATA, 16))
    ),
    "PDUs that end anywhere": p_data(*pdvs(COMMAND, cut(request(), 10))[:4])
    + p_data(*pdvs(COMMAND, cut(request(), 10))[4:], *pdvs(0, cut(DATA, 16))[:2])
    + p_data(*pdvs(0, cut(DATA, 16))[2:]),
    "odd fragments": p_data(*pdvs(COMMAND, cut(request(), 13)), *pdvs(0, cut(DATA, 7))),
    "high bits of the header": p_data(
        (1, 0xF0 | COMMAND | LAST, request()), (1, 0xF0 | LAST, DATA)
    ),
    "UIDs padded with a space": with_instance(INSTANCE.encode() + b" "),
    "UIDs padded with two NULs": with_instance(INSTANCE.encode() + b"\0\0"),
    "UIDs padded with a NUL and a space": with_class(MPPS.encode() + b"\0 "),
    "UIDs with a space before them": with_instance(b" " + INSTANCE.encode()),
    "VM above 1, the first counts": message(
        request({0x0110: b"\x07\x00\x09\x00", 0x1001: uid(f"{INSTANCE}\\{OTHER_INSTANCE}")})
    ),
    "an element twice, the last counts": message(
        command_set(element(0x0110, 9), request()[12:], element(0x1001, uid(INSTANCE)))
    ),
    "out of order": message(UNORDERED),
    "unknown, retired, private and data elements": message(
        request(
            {
                0x0001: b"\x10\0\0\0",
                0x0850: 3,
                0x0FFF: b"??",
                0x00090010: b"PRIVATE ",
                0x00100010: b"Yamada^Tarou",
            }
        )
    ),
    "wrong group length": message(element(0, b"\xff\xff\0\0") + request()[12:]),
    "no group length": message(request()[12:]),
    "explicit VR": message(EXPLICIT),
    "explicit VR UN": message(EXPLICIT_UN),
    **{
        f"{length} zeros at the end": message(request() + bytes(length))
        for length in (*range(1, 18), 1001)
    },
    **{
        f"{length} bytes at the end": message(request() + b"\x20" * length)
        for length in range(1, 8)
    },
    "an odd UID and a PDV that is rounded up": message(
        request({0x1001: INSTANCE.encode() + b"\0" * (1 - len(INSTANCE) % 2)}) + b"\0"
    ),
    "explicit VR and zeros at the end": message(EXPLICIT + bytes(9)),
    **{
        f"CommandDataSetType {kind:04X}H": message(request({0x0800: kind}))
        for kind in (0x0000, 0x0102, 0x0202, 0xFEFE)
    },
}


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


REGISTERED = "1.2.826.0.1.3680043.8.498.99"
CLASSES = (
    *(sop_class.UnifiedProcedureStepPush, sop_class.UnifiedProcedureStepWatch),
    *(sop_class.BasicFilmBox, sop_class.BasicGrayscalePrintManagementMeta),
    *(sop_class.RTConventionalMachineVerification, sop_class.UnifiedProcedureStepEvent),
    REGISTERED,
)


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


class Refusal(NamedTuple):
    """An N-SET-RSP with this status, for this reason in the log."""

    pdus: bytes
    status: int
    reason: str


INSTANCE_OFFSET = len(request()) - len(element(0x1001, uid(INSTANCE)))

REFUSED = {
    "an instance UID of 65 characters": Refusal(
        with_instance(uid(TOO_LONG)),
        0x0117,
        f"Requested SOP Instance UID (0000,1001) at byte {INSTANCE_OFFSET}: "
        f"Invalid 'Requested SOP Instance UID' value '{TOO_LONG}' - must not exceed 64 characters",
    ),
    "a class UID of 65 characters": Refusal(
        with_class(uid(TOO_LONG)),
        0x0118,
        "Requested SOP Class UID (0000,0003) at byte 12: "
        f"Invalid 'Requested SOP Class UID' value '{TOO_LONG}' - must not exceed 64 characters",
    ),
    "no instance UID": Refusal(
        message(request({0x1001: None})),
        0x0117,
        "Requested SOP Instance UID (0000,1001): missing in an N-SET-RQ",
    ),
    "an empty instance UID": Refusal(
        with_instance(b""),
        0x0117,
        "Requested SOP Instance UID (0000,1001): missing in an N-SET-RQ",
    ),
    "no class UID": Refusal(
        message(request({0x0003: None})),
        0x0118,
        "Requested SOP Class UID (0000,0003): missing in an N-SET-RQ",
    ),
    "neither UID": Refusal(
        message(request({0x0003: None, 0x1001: None})),
        0x0118,
        "Requested SOP Class UID (0000,0003): missing in an N-SET-RQ",
    ),
    "a Status of 1 byte": Refusal(
        message(request({0x0900: b"\0"})),
        0x0212,
        f"Status (0000,0900) at byte {INSTANCE_OFFSET}: 1 byte long, not 2",
    ),
    "a truncated instance UID": Refusal(
        message(request()[:-4]),
        0x0110,
        f"Requested SOP Instance UID (0000,1001) at byte {INSTANCE_OFFSET}: "
        f"the value of {len(uid(INSTANCE))} bytes runs past the end, {len(uid(INSTANCE)) - 4} "
        "are left",
    ),
    "a truncated header": Refusal(
        message(request()[: INSTANCE_OFFSET + 6]),
        0x0117,
        "Requested SOP Instance UID (0000,1001): missing in an N-SET-RQ",
    ),
    **{
        f"0101H, and {name}": Refusal(
            p_data((1, COMMAND | LAST, request({0x0800: 0x0101})), *same) + b"".join(behind),
            0x0212,
            "Command Data Set Type (0000,0800): 0101H, but an N-SET-RQ has a data set",
        )
        for name, same, behind in (
            ("no data set", [], []),
            ("a data set in the same PDU", [(1, LAST, DATA)], []),
            ("one that begins there", [(1, 0, DATA[:8])], [p_data((1, LAST, DATA[8:]))]),
            ("a data set in a PDU of its own", [], [p_data((1, LAST, DATA))]),
            ("a data set in PDUs", [], [p_data((1, 0, DATA[:8])), p_data((1, LAST, DATA[8:]))]),
        )
    },
    "0101H, truncated, and a data set": Refusal(
        message(request({0x0800: 0x0101})[:-4]),
        0x0110,
        f"Requested SOP Instance UID (0000,1001) at byte {INSTANCE_OFFSET}: "
        f"the value of {len(uid(INSTANCE))} bytes runs past the end, {len(uid(INSTANCE)) - 4} "
        "are left",
    ),
    "an unknown class": Refusal(
        with_class(uid("1.2.3.4")),
        0x0118,
        "Requested SOP Class UID (0000,0003): no service class for '1.2.3.4', "
        "see pynetdicom.sop_class.register_uid()",
    ),
    **{
        f"a class without N-SET, {sop_class}": Refusal(
            with_class(uid(sop_class)),
            0x0211,
            f"Requested SOP Class UID (0000,0003): '{sop_class}' has no N-SET",
        )
        for sop_class in (
            sop_class.CTImageStorage,
            sop_class.Verification,
            sop_class.StudyRootQueryRetrieveInformationModelFind,
            sop_class.ModalityWorklistInformationFind,
            sop_class.StorageCommitmentPushModel,
            sop_class.MediaCreationManagement,
            sop_class.HangingProtocolStorage,
        )
    },
    "truncated, and no data set": Refusal(
        message(request({0x0800: 0x0101})[:-4], data_set=None),
        0x0110,
        f"Requested SOP Instance UID (0000,1001) at byte {INSTANCE_OFFSET}: "
        f"the value of {len(uid(INSTANCE))} bytes runs past the end, {len(uid(INSTANCE)) - 4} "
        "are left",
    ),
}


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


class Fault(NamedTuple):
    """An A-ABORT, for this reason in the log."""

    pdus: bytes
    reason: str
    source: bytes = BY_PROVIDER


DATA_SET_FIRST = "a fragment of a data set before the last of the command set"
COMMAND_AGAIN = "a fragment of a command set among those of a data set"

ABORTED = {
    "no CommandField": Fault(
        message(request({0x0100: None})), "Command Field (0000,0100): missing"
    ),
    "an empty CommandField": Fault(
        message(request({0x0100: b""})), "Command Field (0000,0100): missing"
    ),
    "an unknown CommandField": Fault(
        message(request({0x0100: 0x0999})), "Command Field (0000,0100): 0999H is no DIMSE message"
    ),
    "an empty command set": Fault(
        p_data((1, COMMAND | LAST, b"")), "Command Field (0000,0100): missing"
    ),
    "a PDV without a header": Fault(
        pdu(P_DATA_TF, bytes((0, 0, 0, 1, 1))), "a PDV without a message control header"
    ),
    "a PDV without a header, among those of the data set": Fault(
        p_data((1, COMMAND | LAST, request())) + pdu(P_DATA_TF, bytes((0, 0, 0, 1, 1))),
        "a PDV without a message control header",
    ),
    "no MessageID": Fault(
        message(request({0x0110: None})),
        "Message ID (0000,0110): missing in an N-SET-RQ",
        BY_USER,
    ),
    "an empty MessageID": Fault(
        message(request({0x0110: b""})),
        "Message ID (0000,0110): missing in an N-SET-RQ",
        BY_USER,
    ),
    "no MessageID but the one responded to": Fault(
        message(request({0x0110: None, 0x0120: 7})),
        "Message ID (0000,0110): missing in an N-SET-RQ",
        BY_USER,
    ),
    "a MessageID of 1 byte": Fault(
        message(request({0x0110: b"\7"})),
        "Message ID (0000,0110) at byte 54: 1 byte long, not 2",
    ),
    "a CommandField of another message, and nothing more": Fault(
        p_data((1, COMMAND | LAST, command_set(element(0x0100, 0x0030)))),
        "Command Data Set Type (0000,0800): missing",
    ),
    "truncated before the MessageID": Fault(
        message(request()[:60]),
        "Message ID (0000,0110): missing in an N-SET-RQ",
        BY_USER,
    ),
    "a context that was not accepted": Fault(
        p_data((3, COMMAND | LAST, request({0x1001: None})), (3, LAST, DATA)),
        "Requested SOP Instance UID (0000,1001): missing in an N-SET-RQ",
        BY_USER,
    ),
    "a data set first": Fault(p_data((1, LAST, DATA)), DATA_SET_FIRST),
    "a fragment of a data set first": Fault(
        p_data((1, 0, DATA)) + message(request()), DATA_SET_FIRST
    ),
    "a data set before the last of the command set": Fault(
        p_data((1, COMMAND, request()[:20]), (1, LAST, DATA)), DATA_SET_FIRST
    ),
    "a fragment of a data set amid the command set": Fault(
        p_data((1, COMMAND, request()[:20]), (1, 0, DATA), (1, COMMAND | LAST, request()[20:])),
        DATA_SET_FIRST,
    ),
    "a fragment of a data set amid the command set, in PDUs": Fault(
        p_data((1, COMMAND, request()[:20]))
        + p_data((1, 0, DATA))
        + p_data((1, COMMAND | LAST, request()[20:])),
        DATA_SET_FIRST,
    ),
    "a fragment of a command set amid the data set": Fault(
        p_data((1, COMMAND | LAST, request())) + p_data((1, 0, DATA), (1, COMMAND, request())),
        COMMAND_AGAIN,
    ),
    "another message amid the data set": Fault(
        p_data((1, COMMAND | LAST, request()), (1, 0, DATA)) + message(request({0x0110: 8})),
        COMMAND_AGAIN,
    ),
    **{
        f"a command set of {what} that does not end": Fault(
            b"".join(
                p_data((1, COMMAND, fragment))
                for fragment in cut(request({0x0100: field, 0x1002: bytes(70_000)}), 1000)[:-1]
            ),
            "a command set of more than 65536 bytes",
        )
        for what, field in (("an N-SET", 0x0120), ("an N-CREATE", 0x0140), ("nothing", 0x7777))
    },
    "a command set in two PDVs that is too long": Fault(
        b"".join(map(p_data, pdvs(COMMAND, cut(request({0x1002: bytes(65_536)}), 40_000)))),
        "a command set of more than 65536 bytes",
    ),
    "a data set in another context": Fault(
        p_data((1, COMMAND | LAST, request()), (5, LAST, DATA)),
        "presentation context 5 within a message of context 1",
    ),
}


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


# -- Other services -------------------------------------------------------------------------------

CT, FIND = sop_class.CTImageStorage, sop_class.StudyRootQueryRetrieveInformationModelFind
MOVE = sop_class.StudyRootQueryRetrieveInformationModelMove
NO_INSTANCE, NO_CLASS = "Instance UID (0000,1001): missing in", "Class UID (0000,0003): missing in"
NO_AFFECTED_CLASS = "Affected SOP Class UID (0000,0002): missing in"
NO_AFFECTED_INSTANCE = "Affected SOP Instance UID (0000,1000): missing in"
ALONE = "Command Data Set Type (0000,0800): 0101H, but a"


def other(field: int, *, data: bool = False, **elements: str | int) -> bytes:
    """A request of another service, by keyword; with a data set, announced or not."""
    tags = {tag_for_keyword(keyword): value for keyword, value in elements.items()}
    tags = {0x0100: field, 0x0110: 7, 0x0800: 0x0101 if not data else 0x0001} | tags
    command = command_set(
        *(
            element(tag, uid(value) if isinstance(value, str) else value)
            for tag, value in sorted(tags.items())
            if value != ""
        )
    )
    return message(command, DATA if data else None)


def unannounced(pdus: bytes) -> bytes:
    """The same request with 0101H, and its data set behind it all the same."""
    return pdus.replace(element(0x0800, 0x0001), element(0x0800, 0x0101))


STORE = {"AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": INSTANCE, "Priority": 0}
QUERY = {"AffectedSOPClassUID": FIND, "Priority": 0}
ABOUT = {"RequestedSOPClassUID": MPPS, "RequestedSOPInstanceUID": INSTANCE}
TOLD = {"AffectedSOPClassUID": MPPS, "AffectedSOPInstanceUID": INSTANCE, "EventTypeID": 1}

# Requests, the Status of their response, and the reason in the log.
OTHERS = {
    "C-ECHO without a class": (other(0x0030), 0x0118, NO_AFFECTED_CLASS),
    "C-STORE without an instance": (
        other(0x0001, data=True, **{**STORE, "AffectedSOPInstanceUID": ""}),
        0x0117,
        NO_AFFECTED_INSTANCE,
    ),
    "C-STORE without a class": (
        other(0x0001, data=True, **{**STORE, "AffectedSOPClassUID": ""}),
        0x0118,
        NO_AFFECTED_CLASS,
    ),
    "C-FIND without a class": (other(0x0020, data=True, Priority=0), 0x0118, NO_AFFECTED_CLASS),
    "C-GET without a class": (other(0x0010, data=True, Priority=0), 0x0118, NO_AFFECTED_CLASS),
    "C-MOVE without a destination": (
        other(0x0021, data=True, AffectedSOPClassUID=MOVE, Priority=0),
        0x0212,
        "Move Destination (0000,0600): missing in",
    ),
    "N-EVENT-REPORT without an instance": (
        other(0x0100, **{**TOLD, "AffectedSOPInstanceUID": ""}),
        0x0117,
        NO_AFFECTED_INSTANCE,
    ),
    "N-GET without a class": (
        other(0x0110, **{**ABOUT, "RequestedSOPClassUID": ""}),
        0x0118,
        NO_CLASS,
    ),
    "N-ACTION without an instance": (
        other(0x0130, **{**ABOUT, "RequestedSOPInstanceUID": "", "ActionTypeID": 1}),
        0x0117,
        NO_INSTANCE,
    ),
    "N-ACTION without a type": (
        other(0x0130, **ABOUT),
        0x0212,
        "Action Type ID (0000,1008): missing in",
    ),
    "N-CREATE without a class": (other(0x0140, data=True), 0x0118, NO_AFFECTED_CLASS),
    "N-DELETE without an instance": (
        other(0x0150, **{**ABOUT, "RequestedSOPInstanceUID": ""}),
        0x0117,
        NO_INSTANCE,
    ),
    "C-STORE, 0101H": (unannounced(other(0x0001, data=True, **STORE)), 0x0212, ALONE),
    "C-FIND, 0101H": (unannounced(other(0x0020, data=True, **QUERY)), 0x0212, ALONE),
    "C-GET, 0101H": (unannounced(other(0x0010, data=True, **QUERY)), 0x0212, ALONE),
    "C-MOVE, 0101H": (
        unannounced(other(0x0021, data=True, **QUERY, MoveDestination="AE")),
        0x0212,
        ALONE,
    ),
    "N-CREATE of what is stored": (
        other(0x0140, data=True, AffectedSOPClassUID=CT),
        0x0211,
        f"'{CT}' has no N-CREATE",
    ),
    "N-EVENT-REPORT of what is stored": (
        other(0x0100, **{**TOLD, "AffectedSOPClassUID": CT}),
        0x0211,
        f"'{CT}' has no N-EVENT-REPORT",
    ),
    "N-GET of what is verified": (
        other(0x0110, **{**ABOUT, "RequestedSOPClassUID": sop_class.Verification}),
        0x0211,
        f"'{sop_class.Verification}' has no N-GET",
    ),
    "N-ACTION of a procedure step": (
        other(0x0130, **ABOUT, ActionTypeID=1),
        0x0211,
        f"'{MPPS}' has no N-ACTION",
    ),
    "N-DELETE of a procedure step": (other(0x0150, **ABOUT), 0x0211, f"'{MPPS}' has no N-DELETE"),
    "N-GET of nothing known": (
        other(0x0110, **{**ABOUT, "RequestedSOPClassUID": "1.2.840.10008.5.1.4.34.4.1"}),
        0x0118,
        "no service class for '1.2.840.10008.5.1.4.34.4.1'",
    ),
}
OTHER_EVENTS = (
    *(evt.EVT_C_ECHO, evt.EVT_C_STORE, evt.EVT_C_FIND, evt.EVT_C_GET, evt.EVT_C_MOVE),
    *(evt.EVT_N_CREATE, evt.EVT_N_EVENT_REPORT, evt.EVT_N_GET, evt.EVT_N_ACTION, evt.EVT_N_DELETE),
)
others = pytest.mark.parametrize(("pdus", "status", "reason"), OTHERS.values(), ids=OTHERS)


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
# The same request, its data set in pieces of which some come in context 3.
STRAY = p_data((1, COMMAND | LAST, request())) + b"".join(
    p_data((context_id, LAST if context_id == 1 else 0, part))
    for context_id, part in zip((3, 3, 1), cut(DATA, len(DATA) // 3 + 1), strict=True)
)


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
    """It says nothing, and is passed over; the log tells of the first one."""
    empty = pdu(P_DATA_TF, b"")
    with scp.connect() as peer:
        peer.send(empty, p_data((1, COMMAND | LAST, request())), empty, empty)
        peer.send(p_data((1, LAST, DATA)), empty)
        assert peer.receive_message()[0].Status == 0x0000
        peer.release()
    assert warnings_of(caplog) == [f"A P-DATA-TF PDU without a PDV from {AE_TITLE}@{peer.address}"]


# -- What handlers return -------------------------------------------------------------------------


def status_dataset(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


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


MENDED = "Sending what can be sent of an Error Comment: ErrorComment (0000,0902) must "
WITHOUT = "Sending an N-SET response without an element: "
BAD_STATUS = "The handler bound to 'evt.EVT_N_SET' returned a bad status: "

# The status of a handler, how it is answered, and the only line about it in the log.
STATUSES = {
    "a comment with an umlaut": (
        {"Status": 0x0107, "ErrorComment": "Größe", "ErrorID": 0xA710},
        {"Status": 0x0107, "ErrorComment": "Gr??e", "ErrorID": 0xA710},
        MENDED + "be ASCII without",
    ),
    "a comment of 65 characters": (
        {"Status": 0x0110, "ErrorComment": "x" * 65, "ErrorID": 0xA710},
        {"Status": 0x0110, "ErrorComment": "x" * 64, "ErrorID": 0xA710},
        MENDED + "have at most 64 characters, not 65",
    ),
    "a comment of 70 umlauts": (
        {"Status": 0x0110, "ErrorComment": "ü" * 70},
        {"Status": 0x0110, "ErrorComment": "?" * 64},
        MENDED + "have at most 64 characters, not 70",
    ),
    "a comment with a backslash": (
        {"Status": 0x0110, "ErrorComment": "a\\b"},
        {"Status": 0x0110, "ErrorComment": "a?b"},
        MENDED + "be str or bytes, not MultiValue",
    ),
    "a comment with a line end": (
        {"Status": 0x0110, "ErrorComment": "a\nb"},
        {"Status": 0x0110, "ErrorComment": "a?b"},
        MENDED + "be ASCII without",
    ),
    "an ErrorID out of range": (
        {"Status": 0x0110, "ErrorID": 0x10000, "ErrorComment": "Disk full"},
        {"Status": 0x0110, "ErrorComment": "Disk full"},
        WITHOUT + "ErrorID (0000,0903) must be between 0 and 65535",
    ),
    "an instance UID of 65 characters": (
        {"Status": 0x0110, "AffectedSOPInstanceUID": TOO_LONG, "ErrorComment": "Disk full"},
        {"Status": 0x0110, "ErrorComment": "Disk full"},
        BAD_STATUS + "Invalid 'Affected SOP Instance UID' value",
    ),
    "a Status out of range": (
        {"Status": 0x10000, "ErrorComment": "Disk full", "ErrorID": 28},
        {"Status": 0x0110, "ErrorComment": "Disk full", "ErrorID": 28},
        BAD_STATUS + "Status must be between 0 and 65535, inclusive",
    ),
    "a Status that is no number": (
        {"Status": "0000", "ErrorComment": "Disk full"},
        {"Status": 0x0110, "ErrorComment": "Disk full"},
        BAD_STATUS + "DIMSE primitive's 'Status' must be an int",
    ),
    "a Status without a value": (
        {"Status": [], "ErrorComment": "Disk full"},
        {"Status": 0x0110, "ErrorComment": "Disk full"},
        BAD_STATUS,
    ),
}
statuses = pytest.mark.parametrize(("given", "sent", "reason"), STATUSES.values(), ids=STATUSES)
# pydicom has its say of what the handler makes.
quiet = pytest.mark.filterwarnings(
    "ignore:The value length", "ignore:Invalid value", "ignore:A value"
)


def optional_elements(response: Dataset) -> dict[str, object]:
    """What a handler may have said, of a response."""
    keywords = ("Status", "ErrorComment", "ErrorID", "AttributeIdentifierList")
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == (MPPS, INSTANCE)
    return {keyword: response[keyword].value for keyword in keywords if keyword in response}


@quiet
@statuses
def test_a_status_that_cant_be_sent_as_it_is(scp, caplog, given, sent, reason):
    """The peer is told what can be sent of it, and the log what can't."""
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
