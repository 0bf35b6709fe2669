"""``python -m nset dump``: what it makes of A-ASSOCIATE, A-RELEASE and A-ABORT PDUs."""

import importlib
import re
import struct

import dicom_streams as streams
import pytest
from click.testing import CliRunner
from dicom_streams import IMPLICIT, MPPS, associate, context, item
from dumped import assert_can_be_shown, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import pdu as pdu_classes
from pynetdicom.tests import encoded_pdu_items

quick = settings(max_examples=300)

# pynetdicom refuses to read titles that are blank and an item that is cut off.
UNREAD = ("a_associate_rq_called", "a_associate_rq_calling", "a_associate_ac_user")
PDU_ITEMS = {
    name: data
    for name, data in vars(encoded_pdu_items).items()
    if name.startswith("a_") and name not in UNREAD
}


@pytest.mark.parametrize("name", PDU_ITEMS)
def test_other_pdus_say_what_pynetdicom_reads(dump, name):
    first = PDU_ITEMS[name]
    length = 6 + struct.unpack_from(">L", first, 2)[0]
    ((_, _, _, details),) = dump(first[:length]).other_pdus
    stock = {
        1: pdu_classes.A_ASSOCIATE_RQ,
        2: pdu_classes.A_ASSOCIATE_AC,
        3: pdu_classes.A_ASSOCIATE_RJ,
        5: pdu_classes.A_RELEASE_RQ,
        6: pdu_classes.A_RELEASE_RP,
        7: pdu_classes.A_ABORT_RQ,
    }[first[0]]()
    stock.decode(first[:length])
    assert details == {**details, **READ[first[0]](stock)}


def read_associate(stock):
    called, calling = (stock.called_ae_title, stock.calling_ae_title)
    items = [item for item in stock.variable_items if item.item_type == 0x50]
    return {
        "protocol_version": stock.protocol_version,
        "called_ae_title": called.strip(),
        "calling_ae_title": calling.strip(),
        "application_context": stock.application_context_name,
        "user_information": [
            {"item": one.item_type, "name": one_name, **fields}
            for item in items
            for one in item.user_data
            for one_name, fields in [read_user_item(one)]
        ],
    }


def read_request(stock):
    contexts = [
        {
            "id": context.context_id,
            "abstract_syntax": context.abstract_syntax,
            "transfer_syntaxes": context.transfer_syntax,
        }
        for context in stock.presentation_context
    ]
    return {**read_associate(stock), "presentation_contexts": contexts}


def read_acceptance(stock):
    contexts = [
        {
            "id": context.context_id,
            "result": context.result,
            "result_meaning": RESULTS[context.result],
            "transfer_syntaxes": [context.transfer_syntax or ""]
            * len(context.transfer_syntax_sub_item),
        }
        for context in stock.presentation_context
    ]
    return {**read_associate(stock), "presentation_contexts": contexts}


RESULTS = {
    0: "acceptance",
    1: "user-rejection",
    2: "no-reason (provider rejection)",
    3: "abstract-syntax-not-supported (provider rejection)",
    4: "transfer-syntaxes-not-supported (provider rejection)",
}


def read_user_item(item):
    kind = item.item_type
    if kind == 0x51:
        return "Maximum Length", {"value": item.maximum_length_received}
    if kind == 0x52:
        return "Implementation Class UID", {"value": item.implementation_class_uid}
    if kind == 0x53:
        window = (item.maximum_number_operations_invoked, item.maximum_number_operations_performed)
        return "Asynchronous Operations Window", dict(
            zip(("invoked", "performed"), window, strict=True)
        )
    if kind == 0x54:
        roles = {"sop_class": item.sop_class_uid, "scu": item.scu_role, "scp": item.scp_role}
        return "SCP/SCU Role Selection", roles
    if kind == 0x55:
        return "Implementation Version Name", {"value": item.implementation_version_name}
    if kind == 0x56:
        information = item.service_class_application_information.hex(" ")
        return "SOP Class Extended Negotiation", {
            "sop_class": item.sop_class_uid,
            "information": information,
        }
    if kind == 0x57:
        return "SOP Class Common Extended Negotiation", {
            "sop_class": item.sop_class_uid,
            "service_class": item.service_class_uid,
            "related_sop_classes": item.related_general_sop_class_identification,
        }
    if kind == 0x59:
        return "User Identity Response", {"response_bytes": len(item.server_response)}
    assert kind == 0x58
    has_name = item.user_identity_type in (1, 2)
    primary = item.primary_field
    return "User Identity", {
        "type": item.user_identity_type,
        "type_meaning": {1: "username", 2: "username and passcode"}[item.user_identity_type],
        "response_requested": bool(item.positive_response_requested),
        **({"username": primary.decode()} if has_name else {"primary_bytes": len(primary)}),
        "secondary_bytes": len(item.secondary_field or b""),
    }


READ = {
    1: read_request,
    2: read_acceptance,
    3: lambda stock: {
        "result": stock.result,
        "source": stock.source,
        "reason": stock.reason_diagnostic,
        "reason_meaning": "no-reason-given",
    },
    5: lambda stock: {},
    6: lambda stock: {},
    7: lambda stock: {"source": stock.source, "reason": stock.reason_diagnostic},
}


# -- What is wrong --------------------------------------------------------------------------------

NAME = item(0x10, "1.2.840.10008.3.1.1.1")
PROPOSED = context(0x20, 1, item(0x30, MPPS), item(0x40, IMPLICIT))
USER = item(0x50, item(0x51, bytes(4)))
FIRST = 74  # where the first item is
SECOND = FIRST + len(NAME)


def pdu(kind, body):
    return struct.pack(">BBL", kind, 0, len(body)) + body


WRONG = {
    "nothing": (associate(1, NAME, PROPOSED, USER), []),
    "too short": (pdu(1, b"\1" * 67), ["byte 6: 67 bytes, too few: titles take 68"]),
    "version": (
        associate(1, NAME, PROPOSED, USER, version=2),
        ["byte 6: protocol version 0002H: its bit 0 is not 1"],
    ),
    "version with other bits": (associate(1, NAME, PROPOSED, USER, version=0xFFFF), []),
    "titles": (
        associate(1, NAME, PROPOSED, USER, called=b"A\\B", calling=b"CT\x1b[2J\0\0"),
        [
            "byte 10: Called AE title 'A\\B             ': no AE title",
            "byte 26: Calling AE title 'CT\\x1b[2J\\x00\\x00        ': no AE title",
        ],
    ),
    "item of another PDU": (
        associate(1, NAME, context(0x21, 1), PROPOSED, USER),
        [f"byte {SECOND}: an item of type 21H, not of this PDU"],
    ),
    "item too long": (
        associate(1, NAME, b"\x20\0\0\xff\1"),
        [
            f"byte {SECOND}: item 20H of 255 bytes: 1 byte are left",
            f"byte {SECOND + 4}: presentation context 1 without an abstract syntax",
        ],
    ),
    "item header": (
        associate(1, NAME, PROPOSED, b"\x50\0\0"),
        [f"byte {SECOND + len(PROPOSED)}: 3 bytes, too few for an item's header"],
    ),
    "even context": (
        associate(1, NAME, context(0x20, 2, item(0x30, MPPS), item(0x40, IMPLICIT)), USER),
        [f"byte {SECOND + 4}: presentation context ID 2, not odd"],
    ),
    "context again": (
        associate(1, NAME, PROPOSED, PROPOSED, USER),
        ["byte 6: a presentation context ID more than once"],
    ),
    "no transfer syntax": (
        associate(1, NAME, context(0x20, 1, item(0x30, MPPS)), USER),
        [f"byte {SECOND + 4}: presentation context 1 without a transfer syntax"],
    ),
    "item in a context": (
        associate(2, NAME, context(0x21, 1, item(0x40, IMPLICIT), item(0x30, MPPS)), USER),
        [f"byte {SECOND + 8 + 4 + len(IMPLICIT)}: an item of type 30H, not of a context"],
    ),
    "result": (
        associate(2, NAME, context(0x21, 1, item(0x40, IMPLICIT), result=9), USER),
        [f"byte {SECOND + 6}: result 9 (PS3.8 Table 9-18)"],
    ),
    "user item": (
        associate(1, PROPOSED, item(0x50, item(0x51, b"abc"), item(0x7F, b"new"))),
        [f"byte {FIRST + len(PROPOSED) + 4}: Maximum Length of 3 bytes can't be read"],
    ),
    "identity": (
        associate(1, PROPOSED, item(0x50, item(0x58, b"\x09\1\0\1k\0\0"))),
        [f"byte {FIRST + len(PROPOSED) + 8}: User Identity of type 9 (PS3.7 Table D.3-14)"],
    ),
    "rejection": (
        pdu(3, b"\0\7\x09\1"),
        [
            "byte 0: A-ASSOCIATE-RJ with result 7 (PS3.8 Table 9-21)",
            "byte 0: A-ASSOCIATE-RJ with source 9 (PS3.8 Table 9-21)",
        ],
    ),
    "abort": (pdu(7, b"\0\0\5\0"), ["byte 0: A-ABORT with source 5 (PS3.8 Table 9-26)"]),
    "abort's reason": (pdu(7, b"\0\0\2\3"), ["byte 0: A-ABORT with reason 3 (PS3.8 Table 9-26)"]),
    "abort by the user": (pdu(7, b"\0\0\0\7"), []),
    "length": (pdu(5, bytes(5)), ["byte 0: a PDU-length of 5, not 4"]),
}


@pytest.mark.parametrize(("data", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong(dump, data, expected):
    assert texts(dump(data)) == expected


def test_what_is_rejected_and_aborted(nset):
    main = importlib.import_module("nset.cli").main
    data = pdu(3, b"\0\1\1\7") + pdu(3, b"\0\2\3\2") + pdu(7, b"\0\0\2\6") + pdu(7, bytes(4))
    output = CliRunner().invoke(main, ["dump", data.hex()], catch_exceptions=False).stdout
    assert re.findall("^  (.*)$", output, re.MULTILINE) == [
        "Result: 1 (rejected-permanent)",
        "Source: 1 (service-user)",
        "Reason: 7 (called-AE-title-not-recognized)",
        "Result: 2 (rejected-transient)",
        "Source: 3 (service-provider (presentation related function))",
        "Reason: 2 (local-limit-exceeded)",
        "Source: 2 (service-provider)",
        "Reason: 6 (invalid-PDU-parameter-value)",
        "Source: 0 (service-user)",
        "Reason: 0 (not significant)",
    ]


def test_secrets_and_controls_are_not_shown(nset):
    main = importlib.import_module("nset.cli").main
    identity = b"\2\1" + b"\0\6bob\x1b[m"[:8] + b"\0\6secret"
    data = associate(
        1,
        NAME,
        context(0x20, 1, item(0x30, "1.2\x1b[2J"), item(0x40, "[red]\r\n")),
        item(0x50, item(0x55, "\x07version"), item(0x58, identity)),
        called=b"\x1b]0;me\x07",
    )
    for more in ([], ["--json"]):
        output = (
            CliRunner().invoke(main, ["dump", *more, data.hex()], catch_exceptions=False).stdout
        )
        assert "secret" not in output
        assert re.fullmatch("[ -~\n]+", output)
        assert "bob" in output
    assert "  User Identity: type 2" in CliRunner().invoke(main, ["dump", data.hex()]).stdout


def test_every_prefix(nset, dump):
    """Of what is cut off there is as much as came, and one violation."""
    for name, whole in PDU_ITEMS.items():
        whole = whole[: 6 + struct.unpack_from(">L", whole, 2)[0]]
        for size in range(6, len(whole)):
            dumped = dump(whole[:size])
            assert_can_be_shown(nset, dumped)
            assert texts(dumped) == [
                f"byte 0: {dumped.other_pdus[0].name} of {len(whole)} bytes: "
                f"the input ends after {size} of them"
            ], name


def test_anything(nset, dump):
    kinds = st.sampled_from([0x10, 0x20, 0x21, 0x30, 0x40, 0x50, *range(0x51, 0x5A)])
    leaves = st.builds(item, kinds, st.binary(max_size=12))
    items = st.recursive(leaves, lambda inner: st.builds(item, kinds, inner, inner), max_leaves=8)
    bodies = st.lists(items | st.binary(max_size=5), max_size=6)

    @quick
    @given(st.sampled_from([1, 2]), bodies, st.integers(0, 5))
    def check(kind, bodies, more):
        data = associate(kind, *bodies)
        assert_can_be_shown(nset, dump(data[: len(data) - more]))
        assert_can_be_shown(nset, dump(data))

    check()


def test_items_without_number(nset, dump, monkeypatch):
    monkeypatch.setattr(importlib.import_module("nset.dump._limits"), "MAX_ENTRIES", 100)
    (last,) = texts(dump(associate(1, item(0x50) * 5000)))
    assert last == "byte 0: more than 100 entries, the rest is not read"
    related = item(0x57, b"\0\0", b"\0\0", struct.pack(">H", 20_000), bytes(20_000))
    (last,) = texts(dump(associate(1, item(0x50, related))))
    assert last == "byte 0: more than 100 entries, the rest is not read"


def test_a_refused_context_is_said(dump):
    dumped = dump(streams.request() + streams.acceptance(result=3))
    (context,) = dumped.other_pdus[1].details["presentation_contexts"]
    assert context["result_meaning"] == "abstract-syntax-not-supported (provider rejection)"
