"""nset.StatusError: its values, its text, and what the names of nset.status are."""

import copy
import enum
import pickle

import pynetdicom.status
import pytest
from pydicom.tag import Tag
from pynetdicom.status import (
    GENERAL_STATUS,
    PRINT_JOB_MANAGEMENT_SERVICE_CLASS_STATUS,
    UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS,
)


class Code(enum.IntEnum):
    NO_SUCH_STEP = 0x0112


def test_what_it_has(nset):
    error = nset.StatusError(
        Code.NO_SUCH_STEP,
        "No such step",
        error_id=2,
        attribute_identifiers=["PatientID", 0x00080060, (0x0008, 0x0050)],
        offending_elements={"PatientID"},
    )
    assert type(error.status) is int
    assert (error.status, error.comment, error.error_id) == (0x0112, "No such step", 2)
    tags = tuple(map(Tag, ("PatientID", "Modality", "AccessionNumber")))
    assert error.attribute_identifiers == tags
    assert error.offending_elements == tags[:1]
    assert error.details == {
        "ErrorComment": "No such step",
        "ErrorID": 2,
        "AttributeIdentifierList": list(tags),
        "OffendingElement": list(tags[:1]),
    }
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is nset.StatusError
        assert (vars(other), str(other)) == (vars(error), str(error))


def test_alone(nset):
    error = nset.StatusError(0x0107)
    assert (error.comment, error.error_id) == (None, None)
    assert error.attribute_identifiers == error.offending_elements == ()
    assert error.details == {}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"status": 0x0110}, "status 0x0110 (Failure)"),
        ({"status": 0xB305, "comment": "Coerced"}, "status 0xB305 (Warning): Coerced"),
        (
            {"status": 0x0110, "error_id": 0xA710, "comment": "Final"},
            "status 0x0110 (Failure), Error ID 0xA710: Final",
        ),
    ],
)
def test_text(nset, arguments, text):
    assert str(nset.StatusError(**arguments)) == text


@pytest.mark.parametrize(
    ("comment", "sent"),
    [
        ("x" * 65, "x" * 64),
        ("C:\\dicom\n", "C:?dicom?"),
        ("Gerät", "Ger?t"),
        ("", None),
    ],
)
def test_a_comment_that_no_lo_has(nset, comment, sent):
    """The peer gets as much of it as can be sent: it often is the text of another exception."""
    error = nset.StatusError(0x0110, comment)
    assert error.comment == comment
    assert error.details.get("ErrorComment") == sent


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"status": -1}, ValueError, "Status must be between 0 and 65535, inclusive"),
        ({"status": 0x10000}, ValueError, "Status must be between 0 and 65535, inclusive"),
        ({"status": "0110"}, TypeError, "DIMSE primitive's 'Status' must be an int"),
        ({"status": 0, "error_id": -1}, ValueError, "ErrorID must be between 0 and 65535"),
        ({"status": 0, "error_id": "1"}, TypeError, "ErrorID must be an int"),
        ({"status": 0, "attribute_identifiers": ["NoKeyword"]}, ValueError, "NoKeyword"),
        ({"status": 0, "offending_elements": "PatientID"}, ValueError, "P"),
    ],
)
def test_what_it_cannot_have(nset, arguments, error, text):
    with pytest.raises(error, match=text):
        nset.StatusError(**arguments)


# -- The names of nset.status ----------------------------------------------------------------------


def names(nset, prefix=""):
    """The names of codes by their code; of other services' where the prefix is empty, none."""
    services = ("UPS_", "PRINT_", "RT_", "MPPS_")
    return {
        value: name
        for name, value in vars(nset.status).items()
        if type(value) is int
        and (name.startswith(prefix) if prefix else not name.startswith(services))
    }


def test_each_code_has_one_name(nset):
    codes = [value for value in vars(nset.status).values() if type(value) is int]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("prefix", "table", "more"),
    [
        ("", GENERAL_STATUS, {0x0001, 0xA700, 0xA900, 0xC000, 0xFF00, 0xFF01}),
        ("PRINT_", PRINT_JOB_MANAGEMENT_SERVICE_CLASS_STATUS, set()),
        ("UPS_", UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS, set()),
    ],
)
def test_all_codes_have_names(nset, prefix, table, more):
    common = names(nset) if prefix else {}
    # pynetdicom lists all of Cxxx for UPS: those with a meaning of their own.
    theirs = {code for code, (_, text) in table.items() if text != "Unable to Process"}
    assert {*names(nset, prefix), *common} - set(common) == (theirs | more) - set(common)
    for code in names(nset, prefix):
        category = pynetdicom.status.code_to_category(code)
        assert nset.status.category(code) == category


def test_names_of_the_table(nset):
    """The table of N-SET has no other codes, so names for all."""
    named = {value for value in vars(nset.status).values() if type(value) is int}
    assert {row.code for row in nset.status.STATUS_CODES} <= named
