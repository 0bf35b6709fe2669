"""nset.status: every code against pynetdicom, the table of codes against the standard."""

import doctest
import enum

import pynetdicom.status
import pytest
from paths import DOCS
from pydicom.uid import UID
from pynetdicom.sop_class import uid_to_service_class
from values import Contrary, Lazy, Posing

# Failure by PS3.7 Annex C (01xx and 02xx are), "Unknown" in pynetdicom
RESERVED_FAILURES = [
    range(0x0100, 0x0105),
    range(0x0108, 0x0110),
    range(0x011A, 0x0120),
    range(0x0125, 0x0210),
    range(0x0214, 0x0300),
]

SOP_CLASSES = {
    "1.2.840.10008.3.1.2.3.3": "Modality Performed Procedure Step SOP Class",
    "1.2.840.10008.5.1.4.34.6.1": "Unified Procedure Step - Push SOP Class",
    "1.2.840.10008.5.1.1.1": "Basic Film Session SOP Class",
    "1.2.840.10008.5.1.1.2": "Basic Film Box SOP Class",
    "1.2.840.10008.5.1.1.4": "Basic Grayscale Image Box SOP Class",
    "1.2.840.10008.5.1.1.4.1": "Basic Color Image Box SOP Class",
    "1.2.840.10008.5.1.4.34.8": "RT Conventional Machine Verification",
    "1.2.840.10008.5.1.4.34.9": "RT Ion Machine Verification",
}

# What pynetdicom's tables list beyond N-SET. They are made by service, for all its operations.
OTHER_OPERATIONS = {
    "GENERAL": {0x0111, 0x0113, 0x0114, 0x0115, 0x0122, 0x0123, 0xFE00},
    "PROCEDURE_STEP": {0x0001},
    "UNIFIED_PROCEDURE_STEP_SERVICE_CLASS": {
        *(0xA700, 0xA900, 0xB300, 0xB301, 0xB304, 0xB306, 0xFF00, 0xFF01),
        *set(range(0xC000, 0xD000)) - {0xC300, 0xC301, 0xC307, 0xC310},
    },
    "PRINT_JOB_MANAGEMENT_SERVICE_CLASS": {0xB601, 0xB602, 0xB603, 0xC600, 0xC601, 0xC602},
    "RT_MACHINE_VERIFICATION_SERVICE_CLASS": {0xC112, 0xC221, 0xC222, 0xC223, 0xC227},
}


class Index:
    """Not an int, but can stand in for one."""

    def __index__(self):
        return 0


class Code(int):
    """An int subclass of the plainest kind."""


class Print(enum.IntEnum):
    CROPPED = 0xB609
    NEGATIVE = -1


def outcome(function, code):
    """Return value and its type, or exception type and text."""
    try:
        value = function(code)
    except Exception as error:
        return type(error), str(error)
    return type(value), value


def test_category_of_every_code(nset):
    ours, theirs = nset.status.category, pynetdicom.status.code_to_category
    differing = {
        code: (ours(code), theirs(code)) for code in range(0x10000) if ours(code) != theirs(code)
    }
    reserved = [code for codes in RESERVED_FAILURES for code in codes]
    assert len(reserved) == 490
    assert differing == dict.fromkeys(reserved, ("Failure", "Unknown"))


@pytest.mark.parametrize(
    "code",
    [
        *(0x10000, 0x10001, 0x1B609, 0x1FF00, 2**31, 2**32, 2**40, 2**63, 2**64 + 1, 2**5000),
        *(-1, -0x100, -0x5000, -(2**31), -(2**63), -(2**70)),
        *(True, False, Code(0), Code(0xFE00), Code(-1), Print.CROPPED, Print.NEGATIVE),
        *(0.0, 1.5, -1.0, float("nan"), 0j, "0", "Success", b"\0", None, [], (0,), object, Index()),
    ],
    ids=lambda code: type(code).__name__,
)
def test_category_of_what_is_no_code(nset, code):
    ours = outcome(nset.status.category, code)
    assert ours == outcome(pynetdicom.status.code_to_category, code)
    if isinstance(code, int) and code >= 0:
        assert ours[0] is str
    else:
        assert ours == (ValueError, "'code' must be a positive integer.")


def test_category_of_what_poses_as_an_int(nset):
    """By its index, where it has one; no number can be had of another."""
    for code in (0x0000, 0x0107, 0x0110, 0xFE00, 0xFF00, 0x0002, 2**70):
        assert nset.status.category(Lazy(code)) == nset.status.category(code)
        assert nset.status.category(Contrary(code)) == nset.status.category(code)
    for code in (Lazy(-1), Contrary(-1), Posing(0), Posing(0x0107), Posing("0")):
        refused = ValueError, "'code' must be a positive integer."
        assert outcome(nset.status.category, code) == refused


def test_category_takes_pynetdicoms_keyword(nset):
    assert nset.status.category(code=0x0107) == "Warning"


def test_table_agrees_with_the_ranges(nset):
    for row in nset.status.STATUS_CODES:
        assert row.category == nset.status.category(row.code), row
        assert row.category in {"Success", "Warning", "Failure"}, row


def test_table_has_no_code_twice_for_a_sop_class(nset):
    keys = [
        (row.code, uid) for row in nset.status.STATUS_CODES for uid in row.sop_classes or (None,)
    ]
    assert len(keys) == len(set(keys))


def test_table_names_current_sop_classes(nset):
    uids = [UID(uid) for row in nset.status.STATUS_CODES for uid in row.sop_classes]
    assert {str(uid): uid.name for uid in uids} == SOP_CLASSES
    assert all(uid.type == "SOP Class" and not uid.is_retired for uid in uids)


def test_table_is_for_people(nset):
    for row in nset.status.STATUS_CODES:
        assert row.meaning == row.meaning.strip(), row
        assert 0 < len(row.meaning) <= 64, row  # so that it fits an Error Comment (LO)
        assert row.meaning.isascii(), row


def test_each_code_is_in_pynetdicoms_table(nset):
    for row in nset.status.STATUS_CODES:
        tables = [uid_to_service_class(uid).statuses for uid in row.sop_classes]
        for table in tables or [pynetdicom.status.GENERAL_STATUS]:
            assert table[row.code][0] == row.category, row


@pytest.mark.parametrize("service", OTHER_OPERATIONS)
def test_no_code_of_pynetdicoms_table_is_forgotten(nset, service):
    table = getattr(pynetdicom.status, f"{service}_STATUS")
    ours = {
        row.code
        for row in nset.status.STATUS_CODES
        if not row.sop_classes or uid_to_service_class(row.sop_classes[0]).statuses is table
    }
    general = set() if service == "GENERAL" else OTHER_OPERATIONS["GENERAL"]
    assert table.keys() - ours - general == OTHER_OPERATIONS[service]


def test_lookup_finds_every_row(nset):
    for row in nset.status.STATUS_CODES:
        for uid in row.sop_classes:
            assert nset.status.lookup(row.code, uid) is row
            assert nset.status.lookup(row.code, UID(uid)) is row
        if not row.sop_classes:
            assert nset.status.lookup(row.code) is row
            assert nset.status.lookup(row.code, "1.2.3") is row


@pytest.mark.parametrize("code", [0x0106, 0x0110])
def test_lookup_prefers_the_service(nset, code):
    mpps = "1.2.840.10008.3.1.2.3.3"
    assert nset.status.lookup(code, mpps).sop_classes == (mpps,)
    assert nset.status.lookup(code).sop_classes == ()
    assert nset.status.lookup(code, mpps).meaning != nset.status.lookup(code).meaning


def test_lookup_takes_the_common_row_where_the_service_has_none(nset):
    common = nset.status.lookup(0x0112)
    assert common is not None
    assert nset.status.lookup(0x0112, "1.2.840.10008.5.1.1.2") is common


@pytest.mark.parametrize(
    ("code", "sop_class"),
    [
        (0xC300, None),  # UPS only
        (0xC300, "1.2.840.10008.5.1.1.2"),
        (0xB605, "1.2.840.10008.5.1.1.4.1"),  # no densities in color
        (0x0115, None),  # not for N-SET
        (0xFE00, None),
        (0xC112, "1.2.840.10008.5.1.4.34.9"),
        (-1, None),
        (0x10000, None),
    ],
)
def test_lookup_of_what_the_standard_does_not_define(nset, code, sop_class):
    assert nset.status.lookup(code, sop_class) is None


def test_a_row_cannot_be_changed(nset):
    with pytest.raises(AttributeError):
        nset.status.STATUS_CODES[0].meaning = "other"


def test_examples_of_the_page(nset):
    page = DOCS / "reference/status.md"
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.attempted > 5
    assert result.failed == 0
