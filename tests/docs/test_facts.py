"""docs/: tables and charts say what the code says."""

import ast
import importlib
import re
import sys
from dataclasses import fields

import pytest
from paths import DOCS, REPOSITORY
from pydicom.datadict import dictionary_keyword
from pydicom.uid import UID
from pynetdicom import AE


def text_of(page):
    return (DOCS / page).read_text("utf-8")


def rows(text):
    """Of the tables of a text: the cells of each line."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


sys.path.append(str(REPOSITORY / "benchmarks"))
charts, results = map(importlib.import_module, ("charts", "results"))
CHARTS = charts.files()


@pytest.mark.parametrize("path", CHARTS, ids=lambda path: path.name)
def test_charts_show_what_was_measured(path):
    assert path.read_text("utf-8") == CHARTS[path], "run: python benchmarks/charts.py"


def test_tables_are_what_was_measured():
    measured = results.load()
    seen = set()
    for page in results.pages():
        for marker, block in results.blocks(page).items():
            seen.add(marker)
            result = measured[marker]
            cells = [line for line in rows(block) if not set("".join(line)) <= set(":-")]
            texts = [" ".join(part.split()) for part in block.split("\n\n") if part[0] != "|"]
            is_same = cells == [
                line for table in result["tables"] for line in (table["head"], *table["rows"])
            ]
            assert is_same, f"{page}, {marker}: run python benchmarks/results.py"
            assert texts == results.paragraphs(result)
    assert seen == measured.keys()


def test_limits_have_their_defaults(nset):
    limits = importlib.import_module("nset.scp").Limits()
    said = {row[0].strip("`"): row[1] for row in rows(text_of("reference/limits.md"))}
    mib = 2**20
    words = {
        "pdu_length": None,
        "negotiation_length": f"{limits.negotiation_length // mib} MiB",
        "data_set_bytes": f"{limits.data_set_bytes // mib} MiB",
        "pending_requests": f"{limits.pending_requests} per association",
        "association_bytes": f"{limits.association_bytes // mib} MiB",
        "server_bytes": None,
        "connections": f"plus {limits.connections_for(0)}",
        "first_pdu_timeout": f"{limits.first_pdu_timeout:g} s",
    }
    assert words.keys() == {field.name for field in fields(limits)}
    for name, word in words.items():
        assert (getattr(limits, name) is None) if word is None else word in said[name]
    ae = AE()
    assert said["maximum_associations"] == str(ae.maximum_associations)
    assert said["maximum_pdu_size"] == str(ae.maximum_pdu_size)
    timeouts = (ae.acse_timeout, ae.dimse_timeout, ae.network_timeout)
    assert said["acse_timeout`, `dimse_timeout`, `network_timeout"] == "{}, {}, {} s".format(
        *timeouts
    )
    for name, value in zip(("acse", "dimse", "network"), timeouts, strict=True):
        assert [f"`ae.{name}_timeout`", f"{value} s"] in [
            row[:2] for row in rows(text_of("how-to/timeouts.md"))
        ]


def test_fixed_limits_are_those_of_the_code(nset):
    rules = importlib.import_module("nset._rules")
    scp_rules = importlib.import_module("nset.scp._rules")
    data_sets = importlib.import_module("nset.dataset")
    said = {row[0]: row[1] for row in rows(text_of("reference/limits.md"))}
    assert said["a command set"] == f"{rules.MAX_COMMAND_SET_LENGTH // 1024} KiB"
    empty = "empty fragments of a command set or data set before its last one"
    assert said[empty] == str(scp_rules.MAX_EMPTY_FRAGMENTS)
    assert said["nested sequences of a data set"] == str(data_sets.MAX_DEPTH)
    assert said["elements of a data set, with those of items"] == f"{data_sets.MAX_ELEMENTS:,}"
    assert f"{data_sets.MAX_INFLATED_BYTES // 2**20} MiB" in said["bytes of an inflated data set"]
    assert said["violations that are logged of one message"] == str(rules.MAX_LOGGED)
    drained, seconds = scp_rules.MAX_DRAINED_BYTES // 2**20, scp_rules.CLOSE_SECONDS
    end = "what a peer may send after the end of its association"
    assert said[end] == f"{drained} MiB, {seconds:g} s"


def test_the_conformance_statement_is_that_of_the_entity(nset):
    server = importlib.import_module("nset.mpps.server")
    serve = importlib.import_module("nset.mpps.cli").mpps.commands["serve"]
    default = {parameter.name: parameter.default for parameter in serve.params}
    ae = server.entity(default["ae_title"], default["max_associations"])
    text = text_of("conformance.md")
    assert {row[1] for row in rows(text) if row[0] in dict.fromkeys(names(ae))} >= {
        str(context.abstract_syntax) for context in ae.supported_contexts
    }
    for context in ae.supported_contexts:
        (listed,) = (row[1] for row in rows(text) if row[0] == ", ".join(names(ae)))
        assert re.findall(r"1\.2\.[\d.]+\d", listed) == list(context.transfer_syntax)
    said = {row[0]: row[1] for row in rows(text)}
    assert said["simultaneous associations"].startswith(f"{default['max_associations']} ")
    assert said["maximum PDU length announced"] == str(ae.maximum_pdu_size)
    assert said["port"].startswith(default["address"].strip(":"))
    assert said["AE title"] == default["ae_title"]
    assert said["store"] == f"`{default['url']}`"
    assert said["largest data set"] == f"{default['max_data_set']} MiB"
    assert "1.2.826.0.1.3680043.9.3811" in ae.implementation_class_uid
    assert f"### 3.2 AE specification: {default['ae_title']}" in text


def names(ae):
    """Of its SOP Classes."""
    return [
        context.abstract_syntax.name.removesuffix(" SOP Class") for context in ae.supported_contexts
    ]


REFERENCE = DOCS / "reference/api"
MODULES = {"config", "status", "wire"}  # they have pages of their own
WITHOUT_ALL = {
    "nset.config": {"ENFORCE_UID_CONFORMANCE", "VALIDATORS", "CODECS", "validate_ui"},
    "nset.status": {"category", "lookup", "StatusCode", "STATUS_CODES"},
    "nset.scp.systemd": {"listening_socket", "notify"},
}


def public(module):
    """Its public names."""
    if hasattr(module, "__all__"):
        return set(module.__all__) - MODULES
    names = WITHOUT_ALL[module.__name__]
    if module.__name__ == "nset.status":
        names = names | {name for name, value in vars(module).items() if is_code(name, value)}
    return names


def is_code(name, value):
    return not name.startswith("_") and name.isupper() and type(value) is int


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda page: page.stem)
def test_the_reference_has_every_public_name(nset, page):
    module = importlib.import_module(page.stem)
    text = page.read_text("utf-8")
    listed = re.findall(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)", text, re.MULTILINE)
    assert listed.pop(0) == page.stem
    names = {name.removeprefix(f"{page.stem}.") for name in listed}
    assert names == public(module)


def test_the_reference_has_every_package():
    pages = {page.stem for page in REFERENCE.glob("*.md")}
    assert set(re.findall(r"^api/(.*)$", text_of("reference/api.md"), re.MULTILINE)) == pages
    source = REPOSITORY / "src"
    with_all = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for path in source.rglob("*.py")
        if "__all__ = " in path.read_text("utf-8")
    }
    assert {name for name in with_all if "._" not in name} <= pages


def test_the_names_of_status_codes_have_their_values(nset):
    said = re.findall(
        r"py:data:: (\w+)\n   :value: (0x....)\n", text_of("reference/api/nset.status.md")
    )
    codes = {
        name: f"0x{value:04X}" for name, value in vars(nset.status).items() if is_code(name, value)
    }
    assert dict(said) == codes


def test_constants_have_their_values(nset):
    for page in REFERENCE.glob("*.md"):
        said = re.findall(r"py:data:: (\w+)\n   :value: (.*)\n", page.read_text("utf-8"))
        module = importlib.import_module(page.stem)
        for name, value in said:
            assert ast.literal_eval(value) == getattr(module, name)


def test_command_sets_are_those_of_n_set(nset):
    elements = importlib.import_module("nset._command_set").COMMAND_ELEMENTS
    listed = [row for row in rows(text_of("reference/command-sets.md")) if row[0].startswith("(")]
    assert listed == [
        [
            f"({tag >> 16:04X},{tag & 0xFFFF:04X})",
            element.keyword,
            element.vr,
            *(
                "" if not there else "required" if element.required else "optional"
                for there in (element.in_request, element.in_response)
            ),
        ]
        for tag, element in elements.items()
    ]


def test_services_are_those_of_the_fast_path(nset):
    services = importlib.import_module("nset.scp._services")
    said = {row[0]: row[1:] for row in rows(text_of("reference/command-sets.md")) if len(row) == 6}

    def keywords(tags):
        return ", ".join(dictionary_keyword(tag) for tag in tags)

    for service in services.SERVICES:
        optional = ", optional" if service.data_set == services.OPTIONAL else ""
        assert said[service.name] == [
            f"{service.command_field:04X}H",
            keywords(service.required),
            keywords(service.optional),
            service.request_keyword + optional if service.request_keyword else "",
            service.response_keyword or "",
        ]
    assert len(said) == len(services.SERVICES) + len(("service", "---"))


@pytest.mark.parametrize(
    "page", [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/README.md")], ids=lambda page: page.name
)
def test_links_into_the_repository_lead_somewhere(page):
    """Of pages that Sphinx does not read."""
    for target, anchor in re.findall(
        r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text("utf-8")
    ):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            words = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
            assert anchor in words, anchor


def test_the_page_has_the_status_codes(nset):
    listed = [row for row in rows(text_of("reference/status.md")) if len(row) == 4]
    assert listed[2:] == [
        [
            f"{row.code:04X}",
            row.category,
            row.meaning,
            ", ".join(class_name(uid) for uid in row.sop_classes) or "any",
        ]
        for row in nset.status.STATUS_CODES
    ]


def class_name(uid):
    return UID(uid).name.removesuffix(" - Trial").removesuffix(" SOP Class")
