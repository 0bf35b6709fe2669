"""The defaults that SECURITY.md and the page of the limits state are those of the code."""

import importlib
import os
import re
from pathlib import Path

import pytest
from pynetdicom import AE

ROOT = Path(__file__).parents[2]


def in_units(number):
    """The number of bytes as the pages have it."""
    return f"{number >> 20} MiB" if number % (1 << 20) == 0 else f"{number >> 10} KiB"


def rows(page, head=""):
    """The first two cells of each row of the page's tables, or of those under a heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if head:
        text = text.partition(f"\n## {head}")[2].partition("\n## ")[0]
    found = dict(re.findall(r"^\| (.*?) \| (.*?) \|", text, re.MULTILINE))
    found.pop("what", None)
    return found


def a_quarter_of_memory(limits):
    """What the pages say of the limit, if it is that."""
    memory = 1 << 32  # where there is no telling
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "a quarter of the machine's memory" if limits.bytes_for_server() == memory // 4 else ""


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
        "all_associations": a_quarter_of_memory(limits),
        "contexts": importlib.import_module("nset.pynetdicom._negotiation")._MAX_CONTEXTS,
        "logged": importlib.import_module("nset._rules").MAX_LOGGED,
        "connections": limits.connections_for(ae.maximum_associations),
        "more_connections": limits.connections_for(0),
        "command_set": in_units(importlib.import_module("nset._rules").MAX_COMMAND_SET_LENGTH),
        "inflated": in_units(data_sets.MAX_INFLATED_BYTES),
        "data_sets": data_sets,
        "rules": rules,
        "drained": in_units(rules.MAX_DRAINED_BYTES),
    }


def test_security(code):
    stated = rows("SECURITY.md", "What a peer can make a server")
    known = {
        "connections at once, with {ae.maximum_associations} associations": "{connections}",
        "time of a connection until its first PDU is complete": "{limits.first_pdu_timeout:g} s",
        "bytes kept of a connection before it is an association": "{negotiation}",
        "bytes kept of a message's data set": "{data_set}",
        "bytes kept of a command set": "{command_set}",
        "bytes pending for an association, or one message if that is more": "{association}",
        "bytes pending for all associations": "{all_associations}",
        "requests of an association that wait": "{limits.pending_requests}",
        "bytes that a deflated data set becomes": "{data_set}",
        "elements of a data set, and sequences within each other": (
            "{data_sets.MAX_ELEMENTS:,}, and {data_sets.MAX_DEPTH}"
        ),
        "time that an association may be idle": "{ae.network_timeout:g} s",
        "bytes read, and time taken, after the end of an association": (
            "{drained}, and {rules.CLOSE_SECONDS:g} s"
        ),
    }
    assert stated == {name.format(**code): text.format(**code) for name, text in known.items()}


def test_the_page_of_the_limits(code):
    stated = rows("docs/reference/limits.md")
    known = {
        "`pdu_length`": (
            "`maximum_pdu_size` plus {pdu_extra}, at least {pdu_least}; none if that is 0"
        ),
        "`negotiation_length`": "{negotiation}",
        "`data_set_bytes`": "{data_set}",
        "`pending_requests`": "{limits.pending_requests} per association",
        "`association_bytes`": "{association}, or one message if that is more",
        "`server_bytes`": "{all_associations}, for all associations",
        "`connections`": "`maximum_associations` plus {more_connections}",
        "`first_pdu_timeout`": "{limits.first_pdu_timeout:g} s",
        "`maximum_associations`": "{ae.maximum_associations}",
        "`maximum_pdu_size`": "{ae.maximum_pdu_size}",
        "`acse_timeout`, `dimse_timeout`, `network_timeout`": (
            "{ae.acse_timeout:g}, {ae.dimse_timeout:g}, {ae.network_timeout:g} s"
        ),
        "a command set": "{command_set}",
        "presentation contexts in an A-ASSOCIATE-RQ": "{contexts} (PS3.8 Section 9.3.2.2)",
        "violations that are logged of one message": "{logged}",
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
    }
    heads = {"`Limits`": "default", "`AE`": "default"}
    assert stated == {**heads, **{name: text.format(**code) for name, text in known.items()}}


def test_nset_dump(nset):
    limits = importlib.import_module("nset.dump._limits")
    text = " ".join((ROOT / "docs/how-to/dump.md").read_text(encoding="utf-8").split())
    for said in (
        f"Up to {in_units(limits.MAX_INPUT)} are read, and up to {limits.MAX_ENTRIES:,} PDUs, PDVs",
        f"up to {limits.MAX_SEGMENTS:,} TCP segments and {limits.MAX_CONNECTIONS:,} connections",
        f"up to {limits.MAX_DATA_SET_ELEMENTS:,} elements and {limits.MAX_DEPTH} levels",
        f"up to {in_units(limits.MAX_INFLATED)} inflated",
    ):
        assert said in text


def test_nset_mpps(nset):
    serve = importlib.import_module("nset.mpps.cli").serve
    default = {option.name: option.default for option in serve.params}
    reporting = importlib.import_module("nset.mpps.reporting")
    assert (
        f"`nset mpps` has {default['max_associations']} associations of all processes, and "
        f"{default['max_data_set']} MiB for a data set.\n"
        f"Of a subscriber's answer it takes at most {in_units(reporting._ANSWER_BYTES)}, and waits "
        f"{reporting._TIMEOUT_SECONDS:g} s for it."
    ) in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
