"""Streams of PDUs for the PDU reader, and what both implementations make of them."""

import struct
from collections import Counter
from io import BytesIO
from typing import Any, NamedTuple

from associations import INSTANCE, MPPS
from command_sets import element, joined
from cores import LIMITS, OTHER_LENGTH, TWINS
from hypothesis import settings
from hypothesis import strategies as st
from n_set_requests import request_of, uid
from pydicom.tag import Tag
from raw_peer import COMMAND, LAST, P_DATA_TF, p_data, pdu
from services import CT, FIND
from violations import CASES

laws = settings(max_examples=200)

MAX_WEIGHT, COMMAND_WEIGHT = 32, 8  # as in nset.scp._rules


# -- What comes out -------------------------------------------------------------------------------


def shape(item):
    """An item by value."""
    if type(item) is bytes:
        return item
    assert type(item).__name__ == "ServiceEvent"
    stream = item._stream
    assert stream is item._stream
    return {
        "service": item._service.name,
        **{keyword: getattr(item.request, keyword, None) for keyword in KEYWORDS},
        "data set": stream.getvalue(),
        "lacks data set": item._lacks_data_set,
        "context": item._context_id,
        "position": stream.tell(),
    }


KEYWORDS = (
    *("MessageID", "RequestedSOPClassUID", "RequestedSOPInstanceUID", "AffectedSOPClassUID"),
    *("AffectedSOPInstanceUID", "MessageIDBeingRespondedTo", "Status", "ErrorComment", "ErrorID"),
    *("AttributeIdentifierList", "EventTypeID", "ActionTypeID"),
)


def error_shape(exc):
    return type(exc).__name__, str(exc), exc.args, vars(exc)


def read(twin, chunks, limits=LIMITS, decodes_requests=True):
    """All that comes of a stream, up to a PduError: behind one nothing can be read."""
    reader = twin.module.PduReader(*limits, twin.events)
    reader.decodes_requests = decodes_requests
    found = []
    for chunk in chunks:
        reader.feed(chunk)
        while True:
            try:
                item = reader.next()
            except twin.nset._pdu.PduError as exc:
                return [*found, error_shape(exc)]
            except twin.nset.CommandSetError as exc:
                item = error_shape(exc)
            if item is None:
                break
            if type(item) not in (bytes, tuple):
                assert type(item) is twin.events
                assert reader.context_id == item._context_id == item.request._context_id
                assert type(item._stream) is BytesIO
                assert item.request.is_valid_request
                item = shape(item)
            found.append(item)
    assert reader.bytes_received == sum(map(len, chunks))
    assert reader.requests_read == Counter(item["service"] for item in found if type(item) is dict)
    return found


def read_by_all(chunks, limits=LIMITS, decodes_requests=True):
    """The same, on which the implementations agree."""
    first, *others = [read(twin, chunks, limits, decodes_requests) for twin in TWINS.values()]
    for other in others:
        assert other == first
        assert [list(map(type, values(item))) for item in other] == [
            list(map(type, values(item))) for item in first
        ]
    return first


def values(item):
    return list(item.values()) if type(item) is dict else [item]


# -- What goes in ---------------------------------------------------------------------------------


def read_as(service, data_set=b"", context_id=1, lacks=False, **said):
    """What a request is read as."""
    return {
        "service": service,
        **dict.fromkeys(KEYWORDS),
        **said,
        "data set": data_set,
        "lacks data set": lacks,
        "context": context_id,
        "position": len(data_set),
    }


def taken(message_id=7, data_set=b"", context_id=1, sop_class=MPPS, instance=INSTANCE, lacks=False):
    """What an N-SET is read as."""
    return read_as(
        *("N-SET", data_set, context_id, lacks),
        MessageID=message_id,
        RequestedSOPClassUID=sop_class,
        RequestedSOPInstanceUID=instance,
    )


def cut(data, places):
    """Cut at these places; what is left of them beyond the end counts from its start again."""
    places = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


class Message(NamedTuple):
    """PDVs, and what a request among them is read as; None of another message."""

    pdvs: list[tuple[int, int, bytes]]
    read_as: dict[str, Any] | None


# Drawn from for each message, and made once: hypothesis validates each strategy that is made.
booleans = st.booleans()
places = st.lists(st.integers(0, 300), max_size=3)
high_bits = st.sampled_from([0, 0, 0, 0x04, 0xF0, 0xFC])
uids = st.one_of(
    st.sampled_from([MPPS, INSTANCE, "1.2.840.10008.5.1.4.34.6.1", "1." + "2" * 62, "0", "2.5"]),
    st.lists(st.integers(0, 9999), min_size=1, max_size=12).map(lambda n: ".".join(map(str, n))),
)


def pdvs_of(draw, context_id, kind, fragments):
    bits = draw(high_bits)
    last = len(fragments) - 1
    return [
        (context_id, bits | kind | (LAST if at == last else 0), fragment)
        for at, fragment in enumerate(fragments)
    ]


numbers = st.integers(0, 0xFFFF)
lists_of_tags = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5)
context_ids = st.sampled_from([1, 3, 127, 255])
data_sets = st.binary(max_size=100)
NO_DATA_SET = 0x0101
DATA_SET_TYPES = [0x0000, 0x0001, 0x0102, 0xFFFF]

# Name, Command Field, whose SOP Class and Instance, type ID, Command Data Set Types.
SERVICES = [
    ("C-ECHO", 0x0030, "Affected", None, [NO_DATA_SET]),
    ("N-EVENT-REPORT", 0x0100, "Affected", ("EventTypeID", 0x1002), [NO_DATA_SET, *DATA_SET_TYPES]),
    ("N-GET", 0x0110, "Requested", None, [NO_DATA_SET]),
    *[("N-SET", 0x0120, "Requested", None, [NO_DATA_SET, *DATA_SET_TYPES])] * 4,
    ("N-ACTION", 0x0130, "Requested", ("ActionTypeID", 0x1008), [NO_DATA_SET, *DATA_SET_TYPES]),
    ("N-CREATE", 0x0140, "Affected", None, [NO_DATA_SET, *DATA_SET_TYPES]),
    ("N-DELETE", 0x0150, "Requested", None, [NO_DATA_SET]),
]
any_service = st.sampled_from(SERVICES)
data_set_types_of = {name: st.sampled_from(types) for name, _, _, _, types in SERVICES}


@st.composite
def requests(draw):
    """A message of any service, whose command set is in one PDV."""
    name, field, of, type_id, _ = draw(any_service)
    message_id, context_id = draw(numbers), draw(context_ids)
    kind = draw(data_set_types_of[name])
    elements = {0x0100: field, 0x0110: message_id, 0x0800: kind}
    said = {"MessageID": message_id, f"{of}SOPClassUID": draw(uids)}
    elements[0x0003 if of == "Requested" else 0x0002] = uid(said[f"{of}SOPClassUID"])
    if name != "C-ECHO" and (name != "N-CREATE" or draw(booleans)):
        said[f"{of}SOPInstanceUID"] = draw(uids)
        elements[0x1001 if of == "Requested" else 0x1000] = uid(said[f"{of}SOPInstanceUID"])
    if type_id is not None:
        keyword, tag = type_id
        said[keyword] = elements[tag] = draw(numbers)
    if name == "N-GET" and draw(booleans):
        tags = draw(lists_of_tags)
        elements[0x1005] = b"".join(struct.pack("<HH", *tag) for tag in tags)
        found = [Tag(tag) for tag in tags]
        said["AttributeIdentifierList"] = found if len(found) > 1 else found[0]
    data_set = b"" if kind == NO_DATA_SET else draw(data_sets)
    pdvs = pdvs_of(draw, context_id, COMMAND, [joined(elements)])
    if kind != NO_DATA_SET:
        pdvs += pdvs_of(draw, context_id, 0, cut(data_set, draw(places)))
    lacks = name == "N-SET" and kind == NO_DATA_SET
    return Message(pdvs, read_as(name, data_set, context_id, lacks, **said))


C_FIND = joined({0x0002: uid(FIND), 0x0100: 0x0020, 0x0110: 1, 0x0700: 0, 0x0800: 0x0101})
C_STORE = joined(
    {0x0002: uid(CT), 0x0100: 0x0001, 0x0110: 2, 0x0700: 0, 0x0800: 1, 0x1000: b"1.2\0"}
)
UNUSUAL = {
    name: case.data
    for name, case in CASES.items()
    if case.data and (case.violations or case.error or element(0x0100, 0x8120) in case.data)
}
WITHOUT_DATA_SET = UNUSUAL.pop("a request without a data set")
CANONICAL = {
    name: case.data
    for name, case in CASES.items()
    if case.data and name not in UNUSUAL and case.data != WITHOUT_DATA_SET
}
RESPONSES = [
    joined({0x0100: 0x8120, 0x0120: 7, 0x0800: 0x0101, 0x0900: 0}),
    joined({0x0002: uid(MPPS), 0x0100: 0x8120, 0x0120: 7, 0x0800: 1, 0x0900: 0}),
]


ECHO = joined({0x0002: uid("1.2.840.10008.1.1"), 0x0100: 0x0030, 0x0110: 8, 0x0800: NO_DATA_SET})
CREATE = joined({0x0002: uid(MPPS), 0x0100: 0x0140, 0x0110: 8, 0x0800: NO_DATA_SET})

other_commands = st.one_of(
    st.tuples(st.sampled_from([C_FIND, C_STORE, *RESPONSES]), booleans),
    st.tuples(st.sampled_from([ECHO, CREATE]), st.just(True)),
    st.tuples(st.sampled_from(sorted(UNUSUAL.values())), booleans),
    st.tuples(st.just(request_of()), st.just(True)),
)
other_context_ids = st.sampled_from([1, 3, 255])
other_data_sets = st.binary(max_size=50)


@st.composite
def others(draw):
    """Messages that are none of its business: whole, but for a data set that may be missing."""
    command, is_cut = draw(other_commands)
    context_id = draw(other_context_ids)
    at = draw(st.integers(1, len(command) - 1)) if is_cut and len(command) > 1 else 0
    fragments = [command[:at], command[at:]] if at else [command]
    pdvs = pdvs_of(draw, context_id, COMMAND, fragments)
    if draw(booleans):
        pdvs += pdvs_of(draw, context_id, 0, cut(draw(other_data_sets), draw(places)))
    return Message(pdvs, None)


other_pdus = st.builds(
    pdu, st.sampled_from([0x01, 0x02, 0x03, 0x05, 0x06, 0x07]), st.binary(max_size=20)
)
malformed = st.sampled_from(
    [
        pdu(P_DATA_TF, b""),
        pdu(P_DATA_TF, b"\0\0\0\2\1"),
        pdu(P_DATA_TF, b"\0\0\0\0\1\3"),
        pdu(P_DATA_TF, b"\0\0\0\1\1"),
        pdu(P_DATA_TF, b"\0\0\0\3\1\3"),
        pdu(P_DATA_TF, b"\0\0\0\2\1\3\0"),
        pdu(P_DATA_TF, b"\xff\xff\xff\xff\1\3"),
    ]
)


class Stream(NamedTuple):
    """PDUs, what they are to be read as, and what when requests are not taken out."""

    pdus: list[bytes]
    items: list[Any]
    left: list[bytes]


def weight_of(pdvs):
    ends = [header & (COMMAND | LAST) == COMMAND | LAST for _, header, _ in pdvs]
    return sum(COMMAND_WEIGHT if is_end else 1 for is_end in ends)


def pieces_of(pdvs):
    """The PDUs that PDVs are left in: no more in one than the slow path takes in one go."""
    pieces = []
    for pdv in pdvs:
        if not pieces or weight_of(pieces[-1]) >= MAX_WEIGHT:
            pieces.append([])
        pieces[-1].append(pdv)
    return [p_data(*piece) for piece in pieces]


def left_as(pdvs):
    """What a PDU is left as when requests are not taken out: it is cut up where it is too much."""
    return [p_data(*pdvs)] if weight_of(pdvs) <= MAX_WEIGHT else pieces_of(pdvs)


several_messages = st.lists(st.one_of(requests(), requests(), others()), max_size=6)
up_to_three = st.integers(0, 3)
pdus_between = st.one_of(other_pdus, malformed)


@st.composite
def streams(draw):
    """Messages whose PDVs are in PDUs that begin and end anywhere, and PDUs of other types."""
    messages = draw(several_messages)
    sent, items, when_not_fast, waiting, left = [], [], [], [], []

    def leave():
        """PDVs of a PDU that are for the slow path stay one PDU, unless a request is in between."""
        items.extend(pieces_of(left))
        left.clear()

    for message in messages:
        last = len(message.pdvs) - 1
        for at, pdv in enumerate(message.pdvs):
            if waiting and draw(booleans):
                leave()
                sent.append(p_data(*waiting))
                when_not_fast += left_as(waiting)
                waiting = []
                if draw(up_to_three) == 0:
                    other = draw(pdus_between)
                    for kept in (sent, items, when_not_fast):
                        kept.append(other)
            waiting.append(pdv)
            if message.read_as is None:
                left.append(pdv)
                continue
            leave()
            if at == last:
                items.append(message.read_as)
    leave()
    if waiting:
        sent.append(p_data(*waiting))
        when_not_fast += left_as(waiting)
    return Stream(sent, items, when_not_fast)


chops = st.one_of(
    st.just(None), st.lists(st.integers(0, 10_000), min_size=1, max_size=12), st.integers(1, 7)
)


def chopped(data, chop):
    """The same in parts: whole, cut at some places, or in parts of so many bytes."""
    if chop is None:
        return [data]
    if isinstance(chop, int):
        return [data[at : at + chop] for at in range(0, len(data), chop)]
    return cut(data, chop)


# -- Some that several tests need ------------------------------------------------------------------

UNLIMITED = (0xFFFFFFFF, OTHER_LENGTH, 0x400000)
DATA = b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100"

NEXT = p_data((1, COMMAND | LAST, request_of(8)), (1, LAST, DATA))
NEXT_READ = taken(8, DATA)
