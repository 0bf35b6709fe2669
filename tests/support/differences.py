"""What is meant to differ from pynetdicom's N_SET.

What a difference is called here is what it is called in docs/differences.md, in bold.
"""

import pytest
from implementations import IMPLEMENTATIONS, loaded
from pynetdicom import dimse_primitives
from values import NONCONFORMANT_UIDS, OUT_OF_RANGE, WRONG_UIDS

STOCK = dimse_primitives.N_SET

twins = pytest.mark.parametrize("twin", IMPLEMENTATIONS)


def n_set(twin):
    with loaded(twin) as nset:
        return nset.N_SET


DIFFERENCES = {
    "Status": "a TypeError deep inside the encoder would come too late",
    "Requested SOP Class UID": "a message should name the element that is wrong",
    "OffendingElement": "PS3.7 Annex C wants it in a response",
    "repr": "for a log line",
    "type": "a class of our own is what makes it fast",
    "Names of its own": "what a program gains",
    "vars": "the C extension keeps its fields elsewhere",
    "Private names": "how a class does its work is its own affair",
    "Where a log record comes from": "another file logs it",
    "Overridden private properties": "one look-up less for each read and write",
    "Copies of subclasses": "pickles that either twin can read",
    "Compiled properties": "a property object would cost what the compiled code saves",
    "Compiled base class": "CPython joins no two layouts",
}

# The cases below that must differ because of it: these and no others.
CASES = {
    "Status": {f"Status = {key}" for key in OUT_OF_RANGE},
    "Requested SOP Class UID": {
        f"{name} = {key}"
        for name in ("RequestedSOPClassUID", "_RequestedSOPClassUID")
        for key in (*NONCONFORMANT_UIDS, *WRONG_UIDS)
    },
    "OffendingElement": {
        "the optional keywords",
        "what init sets by name",
        "hasattr of every name pynetdicom knows",
    },
    "repr": {"repr and str"},
    "type": {"the class itself", "a mock of an instance"},
    "Names of its own": {"public names"},
    "vars": {"vars of an instance"},
    "Private names": {"private names of the class"},
    "Where a log record comes from": {"the file of a log record"},
    "Overridden private properties": {"a subclass overrides a private property"},
    "Copies of subclasses": {"a copied subclass with slots", "a copied subclass with new"},
}
COMPILED_CASES = {
    "Compiled properties": {
        "attributes of the class",
        "a subclass overrides the setter alone",
        "signature of init",
        "an autospec takes arguments",
        "keyword arguments",
    },
    "Compiled base class": {"a second base with a layout of its own"},
}


def meant(twin):
    """Every case that is meant to differ on this implementation."""
    cases = CASES | COMPILED_CASES if twin == "compiled" else CASES
    return set().union(*cases.values())


def check(twin, differing, cases):
    """Fail unless exactly the cases that are meant to differ do."""
    lines = [f"{case}{line}" for case in differing.keys() - cases for line in differing[case]]
    lines += [f"{case}: does not differ any more" for case in cases - differing.keys()]
    if lines:
        text = "\n".join([f"{twin}: {len(lines)} differences not meant", *sorted(lines)[:20]])
        pytest.fail(text, pytrace=False)
