"""The defaults that SECURITY.md and the page of the limits state are those of the code."""

import importlib
import re
from pathlib import Path

import pytest
from pynetdicom import AE

ROOT = Path(__file__).parents[2]


def in_units(number):
    """The number of bytes as the pages have it."""
    return f"{number >> 20} MiB" if number % (1 << 20) == 0 else f"{number >> 10} KiB"


def rows(page):
    """The first two cells of each row of the page's tables."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (.*?) \| (.*?) \|", text, re.MULTILINE))


@pytest.fixture
def code(nset):
    """What the code has."""
    ae = AE()
    limits = importlib.import_module("nset.scp").Limits()
    assert limits.pdu_length is limits.server_bytes is limits.connections is None
    rules = importlib.import_module("nset.scp._rules")
    data_sets = importlib.import_module("nset.dataset")
    return {
        "ae": ae,
        "limits": limits,
        "pdu_extra": limits.pdu_length_for(1 << 20) - (1 << 20),
        "pdu_least": in_units(limits.pdu_length_for(1)),
        "negotiation": in_units(limits.negotiation_length),
        "data_set": in_units(limits.data_set_bytes),
        "association": in_units(limits.association_bytes),
        "connections": limits.connections_for(ae.maximum_associations),
        "more_connections": limits.connections_for(0),
        "command_set": in_units(importlib.import_module("nset._rules").MAX_COMMAND_SET_LENGTH),
        "inflated": in_units(data_sets.MAX_INFLATED_BYTES),
        "data_sets": data_sets,
        "rules": rules,
        "drained": in_units(rules.MAX_DRAINED_BYTES),
    }


def test_security(code):
    stated = rows("SECURITY.md")
    for name, text in {
        "connections at once, with {ae.maximum_associations} associations": "{connections}",
        "time of a connection until its first PDU is complete": "{limits.first_pdu_timeout:g} s",
        "bytes kept of a connection before it is an association": "{negotiation}",
        "bytes kept of a message's data set": "{data_set}",
        "bytes kept of a command set": "{command_set}",
        "bytes pending for an association, or one message if that is more": "{association}",
        "requests of an association that wait": "{limits.pending_requests}",
        "bytes that a deflated data set becomes": "{data_set}",
        "elements of a data set, and sequences within each other": (
            "{data_sets.MAX_ELEMENTS:,}, and {data_sets.MAX_DEPTH}"
        ),
        "time that an association may be idle": "{ae.network_timeout:g} s",
        "bytes read, and time taken, after the end of an association": (
            "{drained}, and {rules.CLOSE_SECONDS:g} s"
        ),
    }.items():
        assert stated[name.format(**code)] == text.format(**code), name


def test_the_page_of_the_limits(code):
    stated = rows("docs/reference/limits.md")
    for name, text in {
        "`pdu_length`": (
            "`maximum_pdu_size` plus {pdu_extra}, at least {pdu_least}; none if that is 0"
        ),
        "`negotiation_length`": "{negotiation}",
        "`data_set_bytes`": "{data_set}",
        "`pending_requests`": "{limits.pending_requests} per association",
        "`association_bytes`": "{association}, or one message if that is more",
        "`connections`": "`maximum_associations` plus {more_connections}",
        "`first_pdu_timeout`": "{limits.first_pdu_timeout:g} s",
        "`maximum_associations`": "{ae.maximum_associations}",
        "`maximum_pdu_size`": "{ae.maximum_pdu_size}",
        "`acse_timeout`, `dimse_timeout`, `network_timeout`": (
            "{ae.acse_timeout:g}, {ae.dimse_timeout:g}, {ae.network_timeout:g} s"
        ),
        "a command set": "{command_set}",
        "empty fragments of a command set or data set before its last one": (
            "{rules.MAX_EMPTY_FRAGMENTS}"
        ),
        "nested sequences of a data set": "{data_sets.MAX_DEPTH}",
        "elements of a data set, with those of items": "{data_sets.MAX_ELEMENTS:,}",
        "bytes of an inflated data set": (
            "`data_set_bytes`; of `nset.dataset.decode` and `install()` {inflated}"
        ),
        "what a peer may send after the end of its association": (
            "{drained}, {rules.CLOSE_SECONDS:g} s"
        ),
    }.items():
        assert stated[name] == text.format(**code), name


def test_nset_mpps(nset):
    serve = importlib.import_module("nset.mpps.cli").serve
    default = {option.name: option.default for option in serve.params}
    assert (
        f"`nset mpps` has {default['max_associations']} associations of all processes, and "
        f"{default['max_data_set']} MiB for a data set."
    ) in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
