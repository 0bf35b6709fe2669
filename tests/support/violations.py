"""Command sets that break the rules of PS3.7, and what is to come of each."""

import struct
from typing import Any, NamedTuple

from command_sets import command_set, element, explicit, joined
from pydicom.datadict import dictionary_description


class Case(NamedTuple):
    """A command set that breaks a rule, and what comes of it.

    A violation or an error is the tag, the offset, the status to answer with, and the reason. The
    strict reader raises the first violation, or else the error; the lenient one logs them all.
    """

    data: bytes
    violations: tuple[tuple[int | None, int | None, int, str], ...] = ()
    fields: dict[str, Any] = {}  # noqa: RUF012 - a value that nothing changes
    """What is read; of the plain request or response all that is not named here."""
    records: tuple[tuple[str, str, str], ...] = ()
    """Those of pydicom and pynetdicom."""
    error: tuple[int | None, int | None, int, str] | None = None
    message_id: int | None = None
    """What is known of it where even the lenient reader fails."""
    unlike_stock: str = ""
    """Why pynetdicom reads something else."""


PLAIN_REQUEST = {
    0x0003: b"1.2.840.10008.3.1.2.3.3\0",  # at byte 12
    0x0100: 0x0120,  # at byte 44
    0x0110: 7,  # at byte 54
    0x0800: 0x0001,  # at byte 64
    0x1001: b"1.2.3.4\0",  # at byte 74
}
PLAIN_RESPONSE = {0x0100: 0x8120, 0x0120: 7, 0x0800: 0x0101, 0x0900: 0x0110}  # at 12, 22, 32, 42
CLASS, INSTANCE = "1.2.840.10008.3.1.2.3.3", "1.2.3.4"
OPERATION, ARGUMENT, FAILURE = 0x0211, 0x0212, 0x0110


def request(changes=None):
    """The plain request with elements changed, or taken out by None."""
    elements = PLAIN_REQUEST | (changes or {})
    return joined({tag: value for tag, value in elements.items() if value is not None})


def response(changes=None):
    """The plain response with elements changed, or taken out by None."""
    elements = PLAIN_RESPONSE | (changes or {})
    return joined({tag: value for tag, value in elements.items() if value is not None})


def uid_case(value, kept, *reasons, pydicom=0, records=()):
    """A Requested SOP Instance UID with so many warnings of pydicom's before other records."""
    text = value.decode("latin-1").rstrip("\0 ").partition("\\")[0]
    return Case(
        request({0x1001: value}),
        tuple((0x1001, 74, 0x0117, reason) for reason in reasons),
        {"RequestedSOPInstanceUID": kept},
        (*[invalid(text)] * pydicom, *records),
    )


def bad_uid_case(value, kept, *reasons):
    """A UID that PS3.5 does not allow: pynetdicom's own WARNING record stands for ours."""
    text = f"Non-conformant 'Requested SOP Instance UID' value {kept!r}"
    records = [("pynetdicom.utils", "WARNING", text)]
    return uid_case(value, kept, *reasons, NO_UID, pydicom=2, records=records)


def invalid(text):
    """pydicom's record of a bad UID."""
    return (
        *("pydicom", "WARNING"),
        f"Invalid value for VR UI: {text!r}. Please see <https://dicom.nema.org/medical/dicom/"
        "current/output/html/part05.html#table_6.2-1> for allowed values for each VR.",
    )


NO_UID = "no UID by PS3.5 Section 9.1"
PADDED = "padded otherwise than with one NUL to an even length"
LONG = "1." + "2" * 64
LONG_REASON = f"Invalid 'Requested SOP Instance UID' value '{LONG}' - must not exceed 64 characters"
LONG_CLASS_REASON = LONG_REASON.replace("Instance", "Class")
TOO_LONG = (
    *("pydicom", "WARNING"),
    "The value length (66) exceeds the maximum length of 64 allowed for VR UI. Please see "
    "<https://dicom.nema.org/medical/dicom/current/output/html/part05.html#table_6.2-1> for "
    "allowed values for each VR.",
)
SKIPPED = "no element of an N-SET command set, skipped"
AGAIN = "there again, the last one counts"


def explicit_vr(us=b"US"):
    """The plain request with explicit VR, the last element with a long header."""
    elements = (
        explicit(0x0003, b"UI", PLAIN_REQUEST[0x0003]),
        explicit(0x0100, b"US", b"\x20\x01"),
        explicit(0x0110, us, b"\x07\0"),
        explicit(0x0800, b"US", b"\x01\0"),
        struct.pack("<HH2sHI", 0, 0x1001, b"UN", 0, 8) + b"1.2.3.4\0",
    )
    body = b"".join(elements)
    return explicit(0x0000, b"UL", struct.pack("<I", len(body))) + body


def padding(count, at=90):
    """The violation of bytes behind the last element; 90 is the length of the plain request."""
    return None, at, ARGUMENT, f"{count} byte{'s' * (count > 1)} of padding at byte {at}"


EXPLICIT = (None, 0, ARGUMENT, "explicit VR, not Implicit VR Little Endian")


def length_told(told, follow=78, offset=0):
    return (0x0000, offset, ARGUMENT, f"tells {told} bytes, {follow} follow")


def missing(tag, status=ARGUMENT, kind="N-SET-RQ"):
    return (tag, None, status, f"missing in an {kind}")


CASES = {
    # -- What peers send
    "UID padded with a space": uid_case(b"1.2.3 ", "1.2.3", PADDED),
    "UID padded with spaces and NULs": uid_case(b"1.2.3 \0 ", "1.2.3", PADDED),
    "UID with a leading space": uid_case(
        b" 1.2.3",
        "1.2.3",
        "blanks around the UID",
        records=[invalid(" 1.2.3")],
    ),
    "UID with a trailing newline": uid_case(
        b"1.2.3\n",
        "1.2.3",
        "blanks around the UID",
        records=[invalid("1.2.3\n")],
    ),
    "UID with two NULs": uid_case(b"1.2.34\0\0", "1.2.34", PADDED),
    "UID with NUL and space": uid_case(b"1.2.34\0 ", "1.2.34", PADDED),
    "UID of even length with a NUL": uid_case(
        *(b"1.2.34\0", "1.2.34", "7 bytes long, an odd number", PADDED),
    ),
    "64 characters and two NULs": uid_case(b"1." + b"2" * 62 + b"\0\0", "1." + "2" * 62, PADDED),
    "UID with a leading zero": bad_uid_case(b"1.2.03", "1.2.03"),
    "UID with an empty component": bad_uid_case(b"1..2", "1..2"),
    "UID of letters": bad_uid_case(b"word", "word"),
    "UID of letters, padded with a space": bad_uid_case(b"words ", "words", PADDED),
    "UID with an inner NUL": bad_uid_case(b"1.\x0034\0", "1.\x0034"),
    "UID in Latin-1": bad_uid_case(b"1.2.\xe9\0", "1.2.\xe9"),
    "UID of 66 characters": Case(
        request({0x1001: LONG.encode()}),
        ((0x1001, 74, 0x0117, NO_UID),),
        records=(TOO_LONG, TOO_LONG, ("pynetdicom.utils", "ERROR", LONG_REASON)),
        error=(0x1001, 74, 0x0117, LONG_REASON),
        message_id=7,
    ),
    "SOP Class UID of 66 characters": Case(
        request({0x0003: LONG.encode()}),
        ((0x0003, 12, 0x0118, NO_UID),),
        records=(TOO_LONG, TOO_LONG, ("pynetdicom.utils", "ERROR", LONG_CLASS_REASON)),
        error=(0x0003, 12, 0x0118, LONG_CLASS_REASON),
        message_id=7,
    ),
    "Affected UIDs in a request": Case(
        request({0x0003: None, 0x1001: None, 0x0002: b"1.2.3\0", 0x1000: b"4.5.6\0"}),
        (
            (0x0002, 12, 0x0118, "no element of an N-SET-RQ"),
            (0x1000, 56, 0x0117, "no element of an N-SET-RQ"),
            missing(0x0003, 0x0118),
            missing(0x1001, 0x0117),
        ),
        {
            "AffectedSOPClassUID": "1.2.3",
            "RequestedSOPClassUID": "1.2.3",
            "AffectedSOPInstanceUID": "4.5.6",
            "RequestedSOPInstanceUID": "4.5.6",
        },
        unlike_stock="Affected UIDs stand in for Requested ones",
    ),
    "an Affected UID for an empty Requested one": Case(
        request({0x0003: b"", 0x0002: b"1.2.3\0"}),
        (
            (0x0002, 12, 0x0118, "no element of an N-SET-RQ"),
            (0x0003, 26, 0x0118, "without a value"),
        ),
        {"AffectedSOPClassUID": "1.2.3", "RequestedSOPClassUID": "1.2.3"},
        unlike_stock="Affected UIDs stand in for Requested ones",
    ),
    "Affected and Requested UIDs that differ": Case(
        request({0x0002: b"1.2.3\0", 0x1000: b"4.5.6\0"}),
        (
            (0x0002, 12, 0x0118, "no element of an N-SET-RQ"),
            (0x1000, 88, 0x0117, "no element of an N-SET-RQ"),
        ),
        {"AffectedSOPClassUID": "1.2.3", "AffectedSOPInstanceUID": "4.5.6"},
    ),
    "Requested UIDs in a response": Case(
        response({0x0003: b"1.2.3\0", 0x1001: b"4.5.6\0"}),
        (
            (0x0003, 12, 0x0118, "no element of an N-SET-RSP"),
            (0x1001, 66, 0x0117, "no element of an N-SET-RSP"),
        ),
        {"RequestedSOPClassUID": "1.2.3", "RequestedSOPInstanceUID": "4.5.6"},
    ),
    "no Requested SOP Instance UID": Case(
        request({0x1001: None}), (missing(0x1001, 0x0117),), {"RequestedSOPInstanceUID": None}
    ),
    "no Requested SOP Class UID": Case(
        request({0x0003: None}), (missing(0x0003, 0x0118),), {"RequestedSOPClassUID": None}
    ),
    "UIDs without a value": Case(
        request({0x0003: b"", 0x1001: b"\0\0"}),
        ((0x0003, 12, 0x0118, "without a value"), (0x1001, 50, 0x0117, "without a value")),
        {"RequestedSOPClassUID": None, "RequestedSOPInstanceUID": None},
    ),
    "UID of blanks": uid_case(b" \t", None, "without a value", records=[invalid(" \t")]),
    **{
        f"CommandDataSetType {value:04X}": Case(request({0x0800: value}))
        for value in (0x0000, 0x0001, 0x0100, 0x0102, 0x0202, 0xFEFE, 0xFFFF)
    },
    "no CommandDataSetType": Case(
        request({0x0800: None}), (missing(0x0800),), unlike_stock="AttributeError"
    ),
    "no CommandDataSetType in a response": Case(
        response({0x0800: None}),
        (missing(0x0800, kind="N-SET-RSP"),),
        unlike_stock="AttributeError",
    ),
    "CommandDataSetType without a value": Case(
        request({0x0800: b""}), ((0x0800, 64, ARGUMENT, "without a value"),)
    ),
    "a request without a data set": Case(
        request({0x0800: 0x0101}), ((0x0800, 64, ARGUMENT, "0101H: a request without a data set"),)
    ),
    "two UIDs": uid_case(b"1.2.3\\4.5.6\0", "1.2.3", "2 values, the first is taken"),
    "three UIDs, the first empty": uid_case(b"\\1\\2", None, "3 values, the first is taken"),
    "two UIDs, the first bad": uid_case(
        *(b"01\\2", "01", "2 values, the first is taken"),
        pydicom=2,
        records=[
            (
                "pynetdicom.utils",
                "WARNING",
                "Non-conformant 'Requested SOP Instance UID' value '01'",
            )
        ],
    ),
    "two Message IDs": Case(
        request({0x0110: b"\x07\0\x08\0"}),
        ((0x0110, 54, ARGUMENT, "2 values, the first is taken"),),
    ),
    "two Command Fields": Case(
        request({0x0100: b"\x20\x01\x20\x81"}),
        ((0x0100, 44, ARGUMENT, "2 values, the first is taken"),),
        unlike_stock="TypeError",
    ),
    "two group lengths": Case(
        element(0x0000, struct.pack("<II", 78, 1)) + request()[12:],
        ((0x0000, 0, ARGUMENT, "2 values, the first is taken"),),
    ),
    "two Error Comments": Case(
        response({0x0902: b" a \\b "}),
        ((0x0902, 52, ARGUMENT, "2 values, the first is taken"),),
        {"ErrorComment": " a"},
    ),
    "an element twice": Case(
        command_set(request()[12:64], element(0x0110, 9), request()[64:]),
        ((0x0110, 64, ARGUMENT, AGAIN),),
        {"MessageID": 9},
    ),
    "an element three times": Case(
        command_set(request()[12:], *[element(0x1001, uid) for uid in (b"1.2\0", b"3.45")]),
        ((0x1001, 90, 0x0117, AGAIN), (0x1001, 102, 0x0117, AGAIN)),
        {"RequestedSOPInstanceUID": "3.45"},
    ),
    "an element that is empty the second time": Case(
        command_set(request()[12:], element(0x0110, b"")),
        ((0x0110, 90, ARGUMENT, AGAIN), (0x0110, 90, ARGUMENT, "without a value")),
        {"MessageID": None},
    ),
    "tags out of order": Case(
        command_set(request()[74:], request()[12:74]),
        ((0x0003, 28, 0x0118, "out of order: tags ascend"),),
    ),
    "tags in descending order": Case(
        command_set(*reversed([element(tag, value) for tag, value in PLAIN_REQUEST.items()])),
        (
            (0x0800, 28, ARGUMENT, "out of order: tags ascend"),
            (0x0110, 38, ARGUMENT, "out of order: tags ascend"),
            (0x0100, 48, ARGUMENT, "out of order: tags ascend"),
            (0x0003, 58, 0x0118, "out of order: tags ascend"),
        ),
    ),
    "an unknown element": Case(request({0x0FFF: b"what?!"}), ((0x0FFF, 74, ARGUMENT, SKIPPED),)),
    "a retired element": Case(request({0x0001: b"\x5a\0\0\0"}), ((0x0001, 12, ARGUMENT, SKIPPED),)),
    "an element of another message": Case(
        request({0x0700: 2, 0x1008: 1}),
        ((0x0700, 64, ARGUMENT, SKIPPED), (0x1008, 100, ARGUMENT, SKIPPED)),
    ),
    "a private element": Case(
        request({0x00091001: b"data"}), ((0x00091001, 90, ARGUMENT, SKIPPED),)
    ),
    "data elements": Case(
        request({0x00100010: b"Doe^John", 0xFFFEE00D: b""}),
        ((0x00100010, 90, ARGUMENT, SKIPPED), (0xFFFEE00D, 106, ARGUMENT, SKIPPED)),
    ),
    "an unknown element of odd length": Case(
        request({0x0FFF: b"x"}),
        (
            (0x0FFF, 74, ARGUMENT, SKIPPED),
            (0x0FFF, 74, ARGUMENT, "1 byte long, an odd number"),
        ),
    ),
    "no group length": Case(request()[12:], (missing(0x0000),)),
    "group length of 0": Case(element(0x0000, bytes(4)) + request()[12:], (length_told(0),)),
    "group length too large": Case(
        element(0x0000, b"\xff" * 4) + request()[12:], (length_told(0xFFFFFFFF),)
    ),
    "group length that counts itself": Case(
        element(0x0000, b"\x5a\0\0\0") + request()[12:], (length_told(90),)
    ),
    "group length at the end": Case(
        request()[12:] + request()[:12],
        ((0x0000, 78, ARGUMENT, "out of order: tags ascend"), length_told(78, 0, 78)),
    ),
    "zeros behind it": Case(
        request() + bytes(16),
        (padding(16),),
    ),
    **{
        f"{count} zeros behind it": Case(request() + bytes(count), (padding(count),))
        for count in (1, 2, 4, 7, 9, 15, 17, 1001)
    },
    **{
        f"{count} bytes behind it": Case(request() + b"\x20" * count, (padding(count),))
        for count in (1, 6, 7)
    },
    "zeros behind it that its length counts": Case(
        element(0x0000, struct.pack("<I", 80)) + request()[12:] + bytes(2),
        (padding(2),),
    ),
    "zeros behind a wrong length": Case(
        element(0x0000, struct.pack("<I", 79)) + request()[12:] + bytes(2),
        (length_told(79, 80), padding(2)),
    ),
    "zeros behind a UID of odd length": Case(
        request({0x1001: b"1.2.3"}) + b"\0",
        (
            (0x1001, 74, 0x0117, "5 bytes long, an odd number"),
            padding(1, 87),
        ),
        {"RequestedSOPInstanceUID": "1.2.3"},
    ),
    "zeros behind a response": Case(response() + bytes(3), (padding(3, 52),)),
    "zeros behind explicit VR": Case(
        explicit_vr() + bytes(9),
        (
            EXPLICIT,
            (0x1001, 74, 0x0117, "VR UN, not UI"),
            padding(9, 94),
        ),
    ),
    "the beginning of a header": Case(
        request()[:79],
        (
            length_told(78, 67),
            padding(5, 74),
            missing(0x1001, 0x0117),
        ),
        {"RequestedSOPInstanceUID": None},
    ),
    "explicit VR with the beginning of a header": Case(
        explicit_vr()[:81],
        (
            EXPLICIT,
            length_told(82, 69),
            padding(7, 74),
            missing(0x1001, 0x0117),
        ),
        {"RequestedSOPInstanceUID": None},
    ),
    "explicit VR": Case(explicit_vr(), (EXPLICIT, (0x1001, 74, 0x0117, "VR UN, not UI"))),
    "explicit VR that is wrong": Case(
        explicit_vr(us=b"SS"),
        (
            EXPLICIT,
            (0x0110, 54, ARGUMENT, "VR SS, not US"),
            (0x1001, 74, 0x0117, "VR UN, not UI"),
        ),
    ),
    "explicit VR in the first element alone": Case(
        explicit(0x0000, b"UL", struct.pack("<I", 78)) + request()[12:], (EXPLICIT,)
    ),
    "a UID of odd length": uid_case(b"1.2.3", "1.2.3", "5 bytes long, an odd number"),
    "an Error Comment of odd length": Case(
        response({0x0902: b"abc"}),
        ((0x0902, 52, ARGUMENT, "3 bytes long, an odd number"),),
        {"ErrorComment": "abc"},
    ),
    "no Message ID": Case(request({0x0110: None}), (missing(0x0110),), {"MessageID": None}),
    "a Message ID without a value": Case(
        request({0x0110: b""}), ((0x0110, 54, ARGUMENT, "without a value"),), {"MessageID": None}
    ),
    "an Error Comment of 66 characters": Case(
        response({0x0902: b"x" * 66}),
        ((0x0902, 52, ARGUMENT, "66 characters, more than 64"),),
        {"ErrorComment": "x" * 66},
    ),
    "an Error Comment in Latin-1": Case(
        response({0x0902: b"\xe9t\xe9 "}),
        ((0x0902, 52, ARGUMENT, "characters outside the default character repertoire"),),
        {"ErrorComment": "été"},
    ),
    **{
        f"an Error Comment with a {ord(character):02X}H": Case(
            response({0x0902: f"a{character}".encode("latin-1")}),
            ((0x0902, 52, ARGUMENT, "characters outside the default character repertoire"),),
            {"ErrorComment": f"a{character}"},
        )
        for character in "\n\x1f\x7f\x80"
    },
    "an Error Comment with an escape sequence": Case(
        response({0x0902: b"\x1b(Ba"}),
        ((0x0902, 52, ARGUMENT, "characters outside the default character repertoire"),),
        {"ErrorComment": "\x1b(Ba"},
        unlike_stock="the escape sequence is lost",
    ),
    "an Error Comment padded with NUL": Case(
        response({0x0902: b"abc\0"}),
        ((0x0902, 52, ARGUMENT, "padded with NUL, not with a space"),),
        {"ErrorComment": "abc"},
    ),
    "an Error Comment of spaces": Case(response({0x0902: b"    "}), (), {"ErrorComment": ""}),
    "an Error Comment without a value": Case(response({0x0902: b""}), (), {"ErrorComment": ""}),
    "tags without a value": Case(response({0x0901: b"", 0x1005: b""})),
    # -- What a server is sent
    "no response that it asked for": Case(response()),
    "an unknown SOP class": Case(
        request({0x0003: b"1.2.3\0"}), (), {"RequestedSOPClassUID": "1.2.3"}
    ),
    "a request that responds": Case(
        request({0x0120: 9}),
        ((0x0120, 64, ARGUMENT, "no element of an N-SET-RQ"),),
        {"MessageIDBeingRespondedTo": 9},
    ),
    "a response that asks": Case(
        response({0x0110: 9}),
        ((0x0110, 22, ARGUMENT, "no element of an N-SET-RSP"),),
        {"MessageID": 9},
    ),
    "a response without a status": Case(
        response({0x0900: None}), (missing(0x0900, kind="N-SET-RSP"),), {"Status": None}
    ),
    "a response to nothing": Case(
        response({0x0120: None}),
        (missing(0x0120, kind="N-SET-RSP"),),
        {"MessageIDBeingRespondedTo": None},
    ),
    # -- What can't be read
    "nothing": Case(b"", error=(0x0100, None, OPERATION, "missing")),
    "zeros": Case(bytes(8), error=(0x0100, None, OPERATION, "missing")),
    "no Command Field": Case(request({0x0100: None}), error=(0x0100, None, OPERATION, "missing")),
    "a Command Field without a value": Case(
        request({0x0100: b""}), error=(0x0100, 44, OPERATION, "missing")
    ),
    **{
        f"Command Field {field:04X}": Case(
            request({0x0100: field, 0x0700: 1}),
            error=(0x0100, 44, OPERATION, f"{field:04X}H is no N-SET (0120H or 8120H)"),
        )
        for field in (0x0000, 0x0030, 0x0110, 0x8110, 0x2001, 0xFFFF)
    },
    "a value that runs past the end": Case(
        request()[:-1],
        error=(0x1001, 74, FAILURE, "the value of 8 bytes runs past the end, 7 are left"),
        message_id=7,
    ),
    "a length of 2 GiB": Case(
        request()[:78] + b"\xff\xff\xff\x7f" + request()[82:],
        error=(0x1001, 74, FAILURE, "the value of 2147483647 bytes runs past the end, 8 are left"),
        message_id=7,
    ),
    "an undefined length": Case(
        request()[:16] + b"\xff\xff\xff\xff" + request()[20:],
        error=(0x0003, 12, FAILURE, "the value of 4294967295 bytes runs past the end, 70 are left"),
    ),
    "explicit VR with a header that runs past the end": Case(
        explicit_vr()[:85],
        error=(
            *(None, 74, FAILURE),
            "11 bytes at byte 74, too few for the header of an element, which takes 12",
        ),
        message_id=7,
    ),
    "nine bytes behind it": Case(
        request() + b"\x20" * 9,
        error=(
            *(0x20202020, 90, FAILURE),
            "the value of 538976288 bytes runs past the end, 1 are left",
        ),
        message_id=7,
    ),
    "explicit VR with a value that runs past the end": Case(
        explicit_vr()[:-1],
        error=(0x1001, 74, FAILURE, "the value of 8 bytes runs past the end, 7 are left"),
        message_id=7,
    ),
    "a Message ID of 1 byte": Case(
        request({0x0110: b"\x07"}), error=(0x0110, 54, ARGUMENT, "1 byte long, not 2")
    ),
    "a Message ID of 3 bytes": Case(
        request({0x0110: b"\x07\0\0"}), error=(0x0110, 54, ARGUMENT, "3 bytes long, not 2")
    ),
    "a Message ID of 1 byte, and a good one": Case(
        request({0x0110: b"\x07"}) + element(0x0110, 7),
        error=(0x0110, 54, ARGUMENT, "1 byte long, not 2"),
        message_id=7,
    ),
    "a Command Field of 1 byte": Case(
        request({0x0100: b"\x20"}), error=(0x0100, 44, ARGUMENT, "1 byte long, not 2")
    ),
    "a Status of 3 bytes": Case(
        response({0x0900: b"\0\0\0"}), error=(0x0900, 42, ARGUMENT, "3 bytes long, not 2")
    ),
    "a group length of 2 bytes": Case(
        element(0x0000, 78) + request()[12:],
        error=(0x0000, 0, ARGUMENT, "2 bytes long, not 4"),
        message_id=7,
    ),
    "a group length without a value": Case(
        element(0x0000, b"") + request()[12:],
        error=(0x0000, 0, ARGUMENT, "0 bytes long, not 4"),
        message_id=7,
    ),
    "tags of 6 bytes": Case(
        response({0x1005: b"\x10\0\x10\0\x10\0"}),
        error=(0x1005, 52, ARGUMENT, "6 bytes long, not 4"),
    ),
    "an Offending Element of 2 bytes": Case(
        response({0x0901: b"\x10\0"}), error=(0x0901, 52, ARGUMENT, "2 bytes long, not 4")
    ),
}


def in_words(tag, offset, status, reason):
    """How a violation or an error is reported."""
    if tag is None:
        return reason
    name = "" if tag in (0x0FFF, 0x00091001, 0x20202020) else dictionary_description(tag) + " "
    place = "" if offset is None else f" at byte {offset}"
    return f"{name}({tag >> 16:04X},{tag & 0xFFFF:04X}){place}: {reason}"
