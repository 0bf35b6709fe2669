"""Requests, good and bad, and what is to come of each: an answer, a refusal or an abort."""

import logging
import struct
from typing import NamedTuple

import pytest
from associations import INSTANCE, MPPS
from command_sets import command_set, element, explicit
from n_set_requests import (
    AFFECTED,
    DATA,
    ELEMENTS,
    INSTANCE_OFFSET,
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
from pydicom.datadict import tag_for_keyword
from pynetdicom import evt, sop_class
from raw_peer import COMMAND, LAST, P_DATA_TF, p_data, pdu

BY_USER, BY_PROVIDER = bytes((0, 0, 0, 0)), bytes((0, 0, 2, 0))  # A-ABORT, PS3.8 9.3.8


# -- Served ---------------------------------------------------------------------------------------

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

REGISTERED = "1.2.826.0.1.3680043.8.498.99"
CLASSES = (
    *(sop_class.UnifiedProcedureStepPush, sop_class.UnifiedProcedureStepWatch),
    *(sop_class.BasicFilmBox, sop_class.BasicGrayscalePrintManagementMeta),
    *(sop_class.RTConventionalMachineVerification, sop_class.UnifiedProcedureStepEvent),
    REGISTERED,
)


# -- Refused --------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """An N-SET-RSP with this status, for this reason in the log."""

    pdus: bytes
    status: int
    reason: str


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


# -- Other services -------------------------------------------------------------------------------

CT, FIND = sop_class.CTImageStorage, sop_class.StudyRootQueryRetrieveInformationModelFind
MOVE = sop_class.StudyRootQueryRetrieveInformationModelMove
NO_INSTANCE, NO_CLASS = "Instance UID (0000,1001): missing in", "Class UID (0000,0003): missing in"
NO_AFFECTED_CLASS = "Affected SOP Class UID (0000,0002): missing in"
NO_AFFECTED_INSTANCE = "Affected SOP Instance UID (0000,1000): missing in"
ALONE = "Command Data Set Type (0000,0800): 0101H, but a"


def other(field: int, *, data: bool = False, **elements: str | int | bytes) -> bytes:
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
# Requests that pydicom or pynetdicom can't decode, and how what they raise begins.
UNDECODABLE = {
    "a Status of 1 byte": (other(0x0030, AffectedSOPClassUID=MPPS, Status=b"\0"), "BytesLength"),
    "two Command Fields": (
        other(0x0110, **ABOUT, CommandField=b"\x10\x01\x20\x01"),
        "TypeError: ",
    ),
}
undecodable = pytest.mark.parametrize(("pdus", "reason"), UNDECODABLE.values(), ids=UNDECODABLE)


def see_that_the_peer_is_blamed(records: list[logging.LogRecord], peer: str, reason: str) -> None:
    """See that the log has one error, without a traceback, that says so."""
    (said,) = [one for one in records if one.name == "nset" and one.levelname == "ERROR"]
    beginning = f"Aborting the association with {peer}: invalid DIMSE message: {reason}"
    assert said.getMessage().startswith(beginning)
    assert said.exc_info is None


OTHER_EVENTS = (
    *(evt.EVT_C_ECHO, evt.EVT_C_STORE, evt.EVT_C_FIND, evt.EVT_C_GET, evt.EVT_C_MOVE),
    *(evt.EVT_N_CREATE, evt.EVT_N_EVENT_REPORT, evt.EVT_N_GET, evt.EVT_N_ACTION, evt.EVT_N_DELETE),
)
others = pytest.mark.parametrize(("pdus", "status", "reason"), OTHERS.values(), ids=OTHERS)


# -- A data set in another context ----------------------------------------------------------------

# The same request, its data set in pieces of which some come in context 3.
STRAY = p_data((1, COMMAND | LAST, request())) + b"".join(
    p_data((context_id, LAST if context_id == 1 else 0, part))
    for context_id, part in zip((3, 3, 1), cut(DATA, len(DATA) // 3 + 1), strict=True)
)
