"""pynetdicom's N_SET and both implementations side by side: every difference is deliberate."""

import re

import pytest
from differences import CASES, COMPILED_CASES, DIFFERENCES, STOCK, check, meant, n_set, twins
from implementations import IMPLEMENTATIONS, loaded
from outcome import FIELDS, recording, shape, state, unlike
from paths import DOCS
from stories import STORIES
from values import VALUES, full

PAGE = DOCS / "differences.md"


# -- Each property with each value ----------------------------------------------------------------


def put(cls, name, key):
    """Set, look at everything, delete, look again: in a new primitive and in a full one."""
    value = VALUES[key]
    told = []
    with recording() as outcome:
        for primitive in (cls(), full(cls)):
            told.append(outcome(setattr, primitive, name, value))
            told.append(outcome(lambda p=primitive: getattr(p, name) is value))
            told.append(outcome(state, primitive))
            told.append(outcome(delattr, primitive, name))
            told.append(outcome(delattr, primitive, name))
            told.append(outcome(hasattr, primitive, name))
            told.append(outcome(state, primitive))
    return told


@pytest.mark.parametrize("name", [*FIELDS, "Extra"])
def test_each_value(name):
    theirs = {key: put(STOCK, name, key) for key in VALUES}
    for twin in IMPLEMENTATIONS:
        differing = {}
        for key in VALUES:
            ours = put(n_set(twin), name, key)
            if ours != theirs[key]:
                differing[f"{name} = {key}"] = list(unlike(ours, theirs[key]))
        check(twin, differing, {case for case in meant(twin) if case.startswith(f"{name} = ")})


# -- Everything else ------------------------------------------------------------------------------


@twins
@pytest.mark.parametrize("case", STORIES)
def test_each_story(twin, case):
    cls = n_set(twin)
    with loaded(twin):  # so that pickle finds the class of this implementation
        ours = shape(STORIES[case](cls))
    theirs = shape(STORIES[case](STOCK))
    differing = {case: list(unlike(ours, theirs))} if ours != theirs else {}
    check(twin, differing, {case} & meant(twin))


# -- The page -------------------------------------------------------------------------------------

# On the page for completeness, and tested where the bytes and the codes are.
TESTED_ELSEWHERE = {
    "CommandDataSetType",
    "Errors of decoding",
    "Values that can't be sent",
    "Odd length",
    "Affected UIDs in a request",
    "A data set that is not announced",
    "Fragments in another presentation context",
    "Status categories",
    "Log records of decoding",
    "Error Comment",
    "Escapes in the log",
    "Shared UIDs",
    "singledispatch",
}


def test_the_page_lists_each_difference():
    entries = re.findall(r"^- \*\*(.+?)\.\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(entries) == DIFFERENCES.keys() | TESTED_ELSEWHERE


def test_each_difference_has_a_case():
    assert DIFFERENCES.keys() == CASES.keys() | COMPILED_CASES.keys()
    known = {*STORIES, *(f"{name} = {key}" for name in FIELDS for key in VALUES)}
    assert meant("compiled") <= known
