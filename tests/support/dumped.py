"""Messages for ``python -m nset dump``, byte by byte, and what it says of them."""

import json
import re
import struct

from associations import MPPS
from command_sets import command_set, element
from n_set_requests import uid
from pynetdicom.tests import encoded_pdu_items

DATA_SET = bytes.fromhex("4000520243530a00") + b"COMPLETED "


def request(data_set_type=0x0001, instance=b"1.2.3.4\0", more=()):
    elements = {
        0x0003: uid(MPPS),
        0x0100: 0x0120,
        0x0110: 7,
        0x0800: data_set_type,
        0x1001: instance,
        **dict(more),
    }
    return command_set(*(element(tag, value) for tag, value in elements.items()))


REQUEST = request()
ECHO = command_set(
    element(0x0002, uid("1.2.840.10008.1.1")),
    *(element(tag, value) for tag, value in ((0x0100, 0x0030), (0x0110, 1), (0x0800, 0x0101))),
)


def pdv(header, fragment, context_id=1):
    return struct.pack(">LBB", len(fragment) + 2, context_id, header) + fragment


def pdu(*pdvs, kind=4):
    body = b"".join(pdvs)
    return struct.pack(">BBL", kind, 0, len(body)) + body


def p_data(header, fragment, context_id=1):
    return pdu(pdv(header, fragment, context_id))


WHOLE = p_data(3, REQUEST) + p_data(2, DATA_SET)
ABORT = bytes.fromhex("07000000000400000200")
PDU_ITEMS = {name: data for name, data in vars(encoded_pdu_items).items() if name[:2] == "a_"}


def texts(dumped):
    faults = [fault for message in dumped.messages for fault in message.violations]
    return [fault.text for fault in [*faults, *dumped.violations]]


def assert_can_be_shown(module, dumped):
    document = json.loads(json.dumps(dumped.as_json(), allow_nan=False))
    assert document["violation_count"] == dumped.violation_count
    for message in dumped.messages:
        for one in message.elements:
            assert re.fullmatch("[ -~]+", one.text)
    for text in texts(dumped):
        assert re.fullmatch("[ -~]+", text)
