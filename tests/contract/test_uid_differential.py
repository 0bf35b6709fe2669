"""What becomes of a UID: pynetdicom and both implementations agree, and unusual UIDs are listed."""

import contextlib
import json
import os
import subprocess
import sys

import pynetdicom
import pytest
import uids
from hypothesis import given, settings
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS, loaded
from outcome import Outcome, attempt, recording
from paths import SUPPORT
from pydicom.uid import UID
from pynetdicom import _config
from uids import (
    CORNERS,
    CUSTOM_VALIDATION,
    DEFAULT_VALIDATION,
    Refused,
    Settings,
    in_force,
    outcomes,
)

STOCK = pynetdicom.dimse_primitives.N_SET

twins = pytest.mark.parametrize("twin", IMPLEMENTATIONS)
classes = pytest.mark.parametrize("cls_name", ["pynetdicom", *IMPLEMENTATIONS])
quick = settings(max_examples=200)


def n_set(name):
    if name == "pynetdicom":
        return STOCK
    with loaded(name) as nset:
        return nset.N_SET


# -- The unusual ones -----------------------------------------------------------------------------


@classes
@pytest.mark.parametrize("enforce", [False, True])
@pytest.mark.parametrize("row", CORNERS, ids=lambda row: ascii(row[0])[:20])
def test_corner(cls_name, enforce, row):
    value, lenient, strict, warnings, level = row
    expected = strict if enforce else lenient
    with in_force(Settings(enforce=enforce), _config):
        told = attempt(uids.set_and_get, n_set(cls_name), "RequestedSOPInstanceUID", value)
        theirs = attempt(uids.set_and_get, STOCK, "RequestedSOPInstanceUID", value)
    assert told == theirs

    record = None
    if isinstance(expected, Refused):
        uid = (value.decode() if isinstance(value, bytes) else value).strip()
        record = f"Invalid 'Requested SOP Instance UID' value '{uid}' - {expected}"
        assert told.error == ("ValueError", record)
    else:
        assert told.error is None
        assert told.value == (expected and ["pydicom.uid.UID", expected])
        if level:
            record = f"Non-conformant 'Requested SOP Instance UID' value '{expected}'"
    assert [category for category, _ in told.warnings] == ["UserWarning"] * warnings
    records = [("pydicom", "WARNING", text, None) for _, text in told.warnings]
    if record:
        level = "ERROR" if isinstance(expected, Refused) else level
        records.append(("pynetdicom.utils", level, record, None))
    assert list(told.records) == records


@classes
@pytest.mark.parametrize("value", [bytearray(b"1.2"), memoryview(b"1"), 1, 1.2, ["1.2"], (), True])
def test_what_is_no_uid(cls_name, value):
    told = attempt(uids.set_and_get, n_set(cls_name), "AffectedSOPClassUID", value)
    text = "'Affected SOP Class UID' must be str, bytes, UID or None, not "
    assert told == Outcome(None, ("TypeError", text + f"'{type(value).__name__}'"))


ASCII_ERROR = "'ascii' codec can't decode byte 0xc3 in position 4: ordinal not in range(128)"
UTF_8_ERROR = "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"


@classes
@pytest.mark.parametrize(
    ("value", "codecs", "kept", "logged"),
    [
        (b"1.2.\xc3\xa93", ("ascii", "utf-8"), "1.2.3", [ASCII_ERROR]),
        (b"1.2.\xc3\xa93", ("utf-8",), "1.2.3", [ASCII_ERROR]),
        (b"1.2.\xc3\xa93", ("ascii", "latin-1"), "1.2.3", [ASCII_ERROR]),
        (
            b"1.2.\xc3\xa93",
            ("ascii",),
            Refused("Unable to decode '31 2E 32 2E C3 A9 33' using the ascii codec(s)"),
            [ASCII_ERROR],
        ),
        (
            b"\xff",
            ("646", "utf-8", "us-ascii"),
            Refused("Unable to decode 'FF' using the ascii, utf-8 codec(s)"),
            [ASCII_ERROR.replace("c3 in position 4", "ff in position 0"), UTF_8_ERROR],
        ),
    ],
)
def test_codecs(cls_name, value, codecs, kept, logged):
    with in_force(Settings(codecs=codecs), _config):
        told = attempt(uids.set_and_get, n_set(cls_name), "AffectedSOPInstanceUID", value)
    if isinstance(kept, Refused):
        assert told.error == ("ValueError", kept)
    else:
        assert told.value == ["pydicom.uid.UID", kept]
    assert told.warnings == ()
    assert [record[:3] for record in told.records] == [
        ("pynetdicom.utils", "ERROR", text) for text in logged
    ]
    assert {record[3] for record in told.records} == {"UnicodeDecodeError"}


INVALID = (
    "Invalid value for VR UI: '{}'. Please see <https://dicom.nema.org/medical/dicom/current/output"
    "/html/part05.html#table_6.2-1> for allowed values for each VR."
)


@classes
@pytest.mark.parametrize("enforce", [False, True])
def test_reading_validation_mode(cls_name, enforce):
    cls = n_set(cls_name)
    for value in ("abc", "1.2.3 "):
        with in_force(Settings("raise", enforce), _config):
            told = attempt(uids.set_and_get, cls, "RequestedSOPInstanceUID", value)
        assert told == Outcome(None, ("ValueError", INVALID.format(value)))
    with in_force(Settings("ignore", enforce), _config):
        told = attempt(uids.set_and_get, cls, "RequestedSOPInstanceUID", "1.2.3 ")
    assert told == Outcome(["pydicom.uid.UID", "1.2.3"])


@classes
def test_custom_validator(cls_name):
    cls, given = n_set(cls_name), []

    def validator(uid):
        given.append((type(uid), str(uid)))
        return answer

    def put(value):
        return attempt(uids.set_and_get, cls, "RequestedSOPInstanceUID", value)

    with in_force(Settings("ignore", True, validator), _config):
        answer = True, "not told"
        assert put("1" * 200).error is None
        assert put("1.2 ").value == ["pydicom.uid.UID", "1.2"]
        assert given == [(UID, "1" * 200), (UID, "1.2")]
        given.clear()
        for empty in (None, "", b"", "  ", UID("")):
            assert put(empty).value is None
        assert given == []
        answer = False, "for a reason"
        error = "Invalid 'Requested SOP Instance UID' value '1.2' - for a reason"
        assert put(b"1.2").error == ("ValueError", error)
        assert put(b"1.2").records == (("pynetdicom.utils", "ERROR", error, None),)
        answer = True
        error = "cannot unpack non-iterable bool object"
        assert put("1.2").error == ("TypeError", error)
        _config.VALIDATORS["UI"] = None
        assert put("1.2").error[0] == "TypeError"
    assert put("1.2").value == ["pydicom.uid.UID", "1.2"]


# -- Against pynetdicom ---------------------------------------------------------------------------

COUNT = 20_000  # under each mode and ENFORCE_UID_CONFORMANCE; a quarter under each custom setting


def corrected(outcome, index):
    """What pynetdicom would say if it named Requested SOP Class UID rightly."""
    if uids.PROPERTIES[index % 4] != "RequestedSOPClassUID":
        return outcome
    text = json.dumps(outcome).replace("Requested SOP Instance UID", "Requested SOP Class UID")
    return json.loads(text)


def disagreements(values, ours, theirs):
    lines = []
    for index, (value, our, their) in enumerate(zip(values, ours, theirs, strict=True)):
        if our != their and json.loads(json.dumps(our)) != (fixed := corrected(their, index)):
            name = uids.PROPERTIES[index % 4]
            lines.append(f"{name} = {type(value).__name__} {value!r}: {our}, pynetdicom {fixed}")
    return lines


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(setting, marks=[pytest.mark.exhaustive] if index else [])
        for settings in (DEFAULT_VALIDATION, CUSTOM_VALIDATION)
        for index, setting in enumerate(settings)
    ],
    ids=lambda s: "-".join(map(str, s[:2])),
)
def test_random_uids(setting):
    values = uids.corpus(COUNT if setting in DEFAULT_VALIDATION else COUNT // 4)
    with in_force(setting, _config):
        theirs = outcomes(STOCK, values)
        lines = [
            f"{twin}: {line}"
            for twin in IMPLEMENTATIONS
            for line in disagreements(values, outcomes(n_set(twin), values), theirs)
        ]
    if lines:
        pytest.fail("\n".join([f"{len(lines)} disagree", *lines[:20]]), pytrace=False)


def test_random_uids_are_of_all_kinds():
    """Lest the comparison above be one of a single case."""
    values = uids.corpus(COUNT)
    assert len(set(map(repr, values))) > 0.9 * COUNT
    told = outcomes(STOCK, values)
    clean = [o for o in told if o.value and not o.warnings]
    logged = [o for o in told if o.value and o.records[-1:] and "Non-conf" in o.records[-1][2]]
    stripped = [o for o in told if o.value and len(o.warnings) == 1]
    refused = [o for o in told if o.error]
    empty = [o for o in told if o.value is None and not o.error]
    for kind in (clean, logged, stripped, refused, empty):
        assert len(kind) > 0.01 * COUNT


# -- Laws -----------------------------------------------------------------------------------------

components = st.integers(0, 10**15 - 1).map(str)
clean_uids = st.lists(components, min_size=1, max_size=20).map(".".join)
near_uids = st.text("0123456789. \0\n\x85\xe9\u0663", max_size=70)


@quick
@given(clean_uids.filter(lambda text: len(text) <= 64))
def test_what_is_set_is_what_is_read(text):
    for twin in IMPLEMENTATIONS:
        primitive = n_set(twin)()
        for value in (text, text.encode(), UID(text)):
            for name in uids.PROPERTIES:
                setattr(primitive, name, value)
                kept = getattr(primitive, name)
                assert type(kept) is UID
                assert kept == text
                assert kept.is_valid


@quick
@given(st.one_of(near_uids, st.text(max_size=20), st.binary(max_size=20), clean_uids))
def test_any_text_or_bytes(value):
    told = [
        attempt(uids.set_and_get, n_set(twin), "AffectedSOPClassUID", value)
        for twin in ("pynetdicom", *IMPLEMENTATIONS)
    ]
    assert all(one == told[0] for one in told)


@quick
@given(near_uids)
def test_what_was_taken_once_is_taken_again(text):
    for twin in IMPLEMENTATIONS:
        primitive = n_set(twin)()
        with recording() as outcome:
            if outcome(setattr, primitive, "AffectedSOPClassUID", text).error is None:
                kept = primitive.AffectedSOPClassUID
                assert outcome(setattr, primitive, "AffectedSOPClassUID", kept).error is None
                assert primitive.AffectedSOPClassUID == kept


# -- Where pynetdicom is not loaded ---------------------------------------------------------------


def python(code, twin, *options):
    """Run the code in a new process, on one implementation; output on stderr is an error."""
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        env={**os.environ, "NSET_IMPLEMENTATION": twin},
        cwd=SUPPORT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def alone():
    """What each implementation makes of UIDs in a process without pynetdicom, by settings."""
    told = {}
    for twin in IMPLEMENTATIONS:
        done = python(f"import uids; uids.main({COUNT // 20})", twin, "-W", "ignore")
        assert done.stderr == ""
        told[twin] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("index", range(len(DEFAULT_VALIDATION + CUSTOM_VALIDATION)))
def test_the_same_without_pynetdicom(alone, index):
    values = uids.corners_and_corpus(COUNT // 20)
    setting = (DEFAULT_VALIDATION + CUSTOM_VALIDATION)[index]
    with in_force(setting, _config):
        theirs = json.loads(json.dumps(outcomes(STOCK, values)))
    for twin in IMPLEMENTATIONS:
        assert disagreements(values, alone[twin][index], theirs) == []


QUIET = """
import contextlib, warnings
warnings.simplefilter("ignore")
{first}
import nset
for value in ("1.02", "1" * 65, b"\\xff", "1.2 "):
    with contextlib.suppress(ValueError):
        nset.N_SET().RequestedSOPInstanceUID = value
"""


@twins
@pytest.mark.parametrize("first", ["", "import pynetdicom"])
def test_nothing_on_stderr_where_logging_is_not_configured(twin, first):
    done = python(QUIET.format(first=first), twin)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@twins
def test_import_does_not_load_pynetdicom(twin):
    code = """
import sys
import nset

request = nset.N_SET()
request.MessageID, request.RequestedSOPInstanceUID = 1, "1.2 "
assert request.__class__ is type(request) is nset.N_SET
request.response()
nset.config.ENFORCE_UID_CONFORMANCE = True
loaded = [name for name in sys.modules if name.split(".")[0] == "pynetdicom"]
assert loaded == [], loaded
"""
    done = python(code, twin, "-W", "ignore")
    assert (done.returncode, done.stderr) == (0, "")


BEFORE_AND_AFTER = """
import sys
import nset
from nset import config


def takes(uid):
    try:
        nset.N_SET().AffectedSOPClassUID = uid
    except ValueError:
        return False
    return True


assert config.ENFORCE_UID_CONFORMANCE is False
assert config.CODECS == ("ascii",)
assert list(config.VALIDATORS) == ["UI"]
assert {"ENFORCE_UID_CONFORMANCE", "VALIDATORS", "CODECS"} <= set(dir(config))

# Before pynetdicom is loaded the settings are nset's own...
assert takes("1.02")
config.ENFORCE_UID_CONFORMANCE = True
assert not takes("1.02")
config.VALIDATORS["UI"] = lambda uid: (uid != "1.2", "not this one")
assert takes("1.02") and not takes("1.2")
config.CODECS = ("ascii", "latin-1")
assert takes(b"1.3\\xe9")
own = config.VALIDATORS

# ... also while another thread has got half way through its import ...
import types
sys.modules["pynetdicom._config"] = types.ModuleType("pynetdicom._config")
assert not takes("1.2") and config.ENFORCE_UID_CONFORMANCE is True
del sys.modules["pynetdicom._config"]

# ... and from then on pynetdicom's.
from pynetdicom import _config
assert config.ENFORCE_UID_CONFORMANCE is False
assert config.CODECS is _config.CODECS == ("ascii",)
assert config.VALIDATORS is _config.VALIDATORS is not own
assert takes("1.02") and takes("1.2") and not takes(b"1.3\\xe9")

config.ENFORCE_UID_CONFORMANCE = True
assert _config.ENFORCE_UID_CONFORMANCE is True and not takes("1.02")
_config.ENFORCE_UID_CONFORMANCE = False
assert config.ENFORCE_UID_CONFORMANCE is False and takes("1.02")

config.CODECS = ("ascii", "latin-1")
assert _config.CODECS == ("ascii", "latin-1") and takes(b"1.3\\xe9")
_config.CODECS = ("ascii",)
assert config.CODECS == ("ascii",) and not takes(b"1.3\\xe9")

_config.VALIDATORS["UI"], default = lambda uid: (uid != "1.2", ""), _config.VALIDATORS["UI"]
assert not takes("1.2") and takes("1.2.3")
config.VALIDATORS["UI"] = default
assert takes("1.2")
config.VALIDATORS = {"UI": lambda uid: (False, "")}
assert _config.VALIDATORS is config.VALIDATORS and not takes("1.2")
assert not takes("1.2")

config.other = 1
assert config.other == 1 and not hasattr(_config, "other")
try:
    config.absent
except AttributeError as error:
    assert str(error) == "module 'nset.config' has no attribute 'absent'"
"""


@twins
def test_config_before_and_after_pynetdicom_is_loaded(twin):
    done = python(BEFORE_AND_AFTER, twin, "-W", "ignore")
    assert (done.returncode, done.stderr) == (0, "")


@twins
def test_a_module_in_place_of_pynetdicoms_config_is_obeyed(twin):
    """Whatever its class: pynetdicom itself reads the module's attributes."""

    class Module(type(_config)):
        pass

    primitive = n_set(twin)()
    with contextlib.ExitStack() as stack:
        _config.__class__ = Module
        stack.callback(setattr, _config, "__class__", type(pynetdicom))
        stack.enter_context(in_force(Settings(validator=uids.refusing), _config))
        assert attempt(setattr, primitive, "AffectedSOPClassUID", "1.2").error is not None
