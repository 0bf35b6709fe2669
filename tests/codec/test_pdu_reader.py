"""PduReader and encode_response of both implementations: what they decode, and what they leave."""

import gc
import importlib
import random
import struct
import tracemalloc
from collections import Counter
from io import BytesIO
from typing import Any, NamedTuple

import pytest
from associations import INSTANCE, MPPS
from command_sets import command_set, element, joined
from cores import LIMITS, OTHER_LENGTH, PDU_LENGTH, TWINS, twins
from hypothesis import example, given, settings
from hypothesis import strategies as st
from n_set_requests import request_of, uid
from pydicom.tag import Tag
from pynetdicom import build_context
from raw_peer import COMMAND, LAST, P_DATA_TF, p_data, pdu
from services import CT, FIND
from values import Contrary, Lazy, Posing
from violations import CASES

laws = settings(derandomize=True, database=None, deadline=None, max_examples=200)

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
NO_DATA_SET = 0x0101
DATA_SET_TYPES = [0x0000, 0x0001, 0x0102, 0xFFFF]


@st.composite
def requests(draw):
    """A message of any service, whose command set is in one PDV."""
    name, field, of, type_id, data_set_types = draw(st.sampled_from(SERVICES))
    message_id, context_id = draw(numbers), draw(st.sampled_from([1, 3, 127, 255]))
    kind = draw(st.sampled_from(data_set_types))
    elements = {0x0100: field, 0x0110: message_id, 0x0800: kind}
    said = {"MessageID": message_id, f"{of}SOPClassUID": draw(uids)}
    elements[0x0003 if of == "Requested" else 0x0002] = uid(said[f"{of}SOPClassUID"])
    if name != "C-ECHO" and (name != "N-CREATE" or draw(st.booleans())):
        said[f"{of}SOPInstanceUID"] = draw(uids)
        elements[0x1001 if of == "Requested" else 0x1000] = uid(said[f"{of}SOPInstanceUID"])
    if type_id is not None:
        keyword, tag = type_id
        said[keyword] = elements[tag] = draw(numbers)
    if name == "N-GET" and draw(st.booleans()):
        tags = draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5))
        elements[0x1005] = b"".join(struct.pack("<HH", *tag) for tag in tags)
        found = [Tag(tag) for tag in tags]
        said["AttributeIdentifierList"] = found if len(found) > 1 else found[0]
    data_set = b"" if kind == NO_DATA_SET else draw(st.binary(max_size=100))
    pdvs = pdvs_of(draw, context_id, COMMAND, [joined(elements)])
    if kind != NO_DATA_SET:
        pdvs += pdvs_of(draw, context_id, 0, cut(data_set, draw(places)))
    lacks = name == "N-SET" and kind == NO_DATA_SET
    return Message(pdvs, read_as(name, data_set, context_id, lacks, **said))


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


@st.composite
def others(draw):
    """Messages that are none of its business: whole, but for a data set that may be missing."""
    command, is_cut = draw(
        st.one_of(
            st.tuples(st.sampled_from([C_FIND, C_STORE, *RESPONSES]), st.booleans()),
            st.tuples(st.sampled_from([ECHO, CREATE]), st.just(True)),
            st.tuples(st.sampled_from(sorted(UNUSUAL.values())), st.booleans()),
            st.tuples(st.just(request_of()), st.just(True)),
        )
    )
    context_id = draw(st.sampled_from([1, 3, 255]))
    at = draw(st.integers(1, len(command) - 1)) if is_cut and len(command) > 1 else 0
    fragments = [command[:at], command[at:]] if at else [command]
    pdvs = pdvs_of(draw, context_id, COMMAND, fragments)
    if draw(st.booleans()):
        pdvs += pdvs_of(draw, context_id, 0, cut(draw(st.binary(max_size=50)), draw(places)))
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


@st.composite
def streams(draw):
    """Messages whose PDVs are in PDUs that begin and end anywhere, and PDUs of other types."""
    messages = draw(st.lists(st.one_of(requests(), requests(), others()), max_size=6))
    sent, items, when_not_fast, waiting, left = [], [], [], [], []

    def leave():
        """PDVs of a PDU that are for the slow path stay one PDU, unless a request is in between."""
        items.extend(pieces_of(left))
        left.clear()

    for message in messages:
        last = len(message.pdvs) - 1
        for at, pdv in enumerate(message.pdvs):
            if waiting and draw(st.booleans()):
                leave()
                sent.append(p_data(*waiting))
                when_not_fast += left_as(waiting)
                waiting = []
                if draw(st.integers(0, 3)) == 0:
                    other = draw(st.one_of(other_pdus, malformed))
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


# -- Laws -----------------------------------------------------------------------------------------


QUERIES = [(1, COMMAND | LAST, C_FIND)] * 6
MANY = Stream([p_data(*QUERIES)], [p_data(*QUERIES[:4]), p_data(*QUERIES[4:])], left_as(QUERIES))


@laws
@given(streams(), chops)
@example(MANY, None)
def test_each_item_comes_in_its_place_however_the_stream_is_chopped(stream, chop):
    """Requests are taken out, each other PDV is left in a PDU of its own: no byte is lost."""
    data = b"".join(stream.pdus)
    assert read_by_all([data]) == stream.items
    assert read_by_all(chopped(data, chop)) == stream.items


@laws
@given(streams(), chops)
@example(MANY, None)
def test_when_not_fast_each_pdu_is_left_as_it_is(stream, chop):
    """Or in pieces, where it is more than the slow path takes in one go."""
    data = b"".join(stream.pdus)
    assert read_by_all(chopped(data, chop), decodes_requests=False) == stream.left


@laws
@given(streams(), chops)
@example(MANY, 5)
def test_input_may_come_before_what_has_come_is_taken(stream, chop):
    data = b"".join(stream.pdus)
    for twin in TWINS.values():
        reader = twin.module.PduReader(*LIMITS, twin.events)
        reader.decodes_requests = True
        for chunk in chopped(data, chop):
            reader.feed(chunk)
        assert reader.bytes_waiting == len(data)
        found = []
        while (item := reader.next()) is not None:
            found.append(shape(item))
        assert found == stream.items
        if not found or found[-1] == stream.items[-1]:
            assert reader.bytes_waiting == 0


def mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.choice((0, 1, 2, 3, 4, 0xFF, rng.randrange(256)))
        elif kind == 1:
            del data[at : at + rng.choice((1, 2, 6, 30))]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 6, 30)))
        else:
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


SMALL_LIMITS = (400, 30, 60)


@settings(laws, max_examples=300)
@given(
    st.lists(st.one_of(requests(), others()), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
    chops,
    st.booleans(),
    st.sampled_from([LIMITS, SMALL_LIMITS]),
)
def test_the_twins_agree_on_any_mix_of_pdvs(messages, rng, chop, decodes_requests, limits):
    """PDVs and bytes that are lost, doubled or exchanged: the errors are the same, too."""
    pdvs = [pdv for message in messages for pdv in message.pdvs]
    for _ in range(rng.choice((0, 0, 1, 2))):
        at, other = rng.randrange(len(pdvs)), rng.randrange(len(pdvs))
        pdvs[at] = pdvs[other]
    sent = b""
    while pdvs:
        number = rng.randrange(1, 4)
        sent += p_data(*pdvs[:number])
        pdvs = pdvs[number:]
    sent = mutated(rng, sent)
    assert read_by_all(chopped(sent, chop), limits, decodes_requests) == read_by_all(
        [sent], limits, decodes_requests
    )


@laws
@given(st.binary(max_size=300), chops, st.booleans())
def test_random_bytes(data, chop, decodes_requests):
    """`read` lets no exception pass but the two kinds that it is to raise."""
    read_by_all(chopped(data, chop), decodes_requests=decodes_requests)


def test_random_bodies():
    """Random bytes behind the headers of PDUs and PDVs get further in."""
    rng = random.Random(5)
    kinds = set()
    for _ in range(5000):
        pdvs = [
            (
                rng.choice((1, 1, 3)),
                rng.randrange(256) if rng.random() < 0.2 else rng.choice((0, 1, 2, 3)),
                rng.choice((rng.randbytes(rng.randrange(40)), request_of(), C_FIND, b"")),
            )
            for _ in range(rng.randrange(6))
        ]
        behind = rng.choice((b"", b"", bytes((9, 0, 0, 0, 0, 0))))
        found = read_by_all([p_data(*pdvs[:2]) + p_data(*pdvs[2:]) + behind], SMALL_LIMITS)
        kinds |= {item[0] if type(item) is tuple else type(item) for item in found}
    assert kinds == {bytes, dict, "PduError", "CommandSetError"}


def test_a_stream_of_a_pdu_chopped_byte_by_byte_takes_no_long_time():
    """Collecting what is incomplete costs no copy of it for each part."""
    data_set = bytes(1 << 20)
    sent = p_data((1, COMMAND | LAST, request_of()), (1, LAST, data_set))
    limits = (len(sent), OTHER_LENGTH, len(data_set))
    assert read_by_all(chopped(sent, 16), limits) == [taken(7, data_set)]


# -- What is kept ---------------------------------------------------------------------------------


def streams_of(data):
    """Every stream in the process that holds this."""
    streams = [one for one in gc.get_objects() if type(one) is BytesIO and not one.closed]
    return [one for one in streams if one.getvalue() == data]


@twins
@pytest.mark.parametrize("end", ["last fragment", "fault", "give up"])
def test_nothing_is_kept_of_a_request_that_has_ended(twin, end):
    """Its data set may be large, and the next one may never come."""
    data = b"to be found in this test alone"
    reader = twin.module.PduReader(*LIMITS, twin.events)
    reader.decodes_requests = True
    reader.feed(p_data((1, COMMAND | LAST, request_of()), (1, 0, data)))
    assert reader.next() is None
    if end == "last fragment":
        reader.feed(p_data((1, LAST, b"")))
        asked = reader.next()
        assert asked._stream.getvalue() == data
        assert streams_of(data) == [asked._stream]
        del asked
    elif end == "fault":
        reader.feed(p_data((1, COMMAND | LAST, C_FIND)))
        with pytest.raises(twin.nset.CommandSetError):
            reader.next()
    else:
        reader.discard_input()
    assert streams_of(data) == []


def fragments_of(data_set, size=16370):
    """A request whose data set is in PDUs of one fragment."""
    parts = [data_set[at : at + size] for at in range(0, len(data_set), size)]
    pdvs = [(1, COMMAND | LAST, request_of()), *[(1, 0, part) for part in parts]]
    return b"".join(p_data(pdv) for pdv in pdvs) + p_data((1, LAST, b""))


LONG_LIMITS = (PDU_LENGTH, OTHER_LENGTH, 0x180000)


@twins
def test_each_long_data_set_has_memory_of_its_own(twin):
    """Whoever keeps the list of a request, or changes it, has nothing to do with the next."""
    reader = twin.module.PduReader(*LONG_LIMITS, twin.events)
    reader.decodes_requests = True
    sizes = [300_000, 1 << 20, 300_000, 5, 1 << 20]
    data_sets = [bytes([number]) * size for number, size in enumerate(sizes)]
    kept = []
    for data_set in data_sets:
        reader.feed(fragments_of(data_set))
        kept.append(reader.next())
    streams, views = [], []
    for asked in kept[1:]:  # the first is not read before the others have come
        streams.append(asked._stream)
        views.append(streams[-1].getbuffer())
    views[0][:2] = b"XY"
    streams[1].getvalue()
    views[1].release()
    streams[1].write(b"more")
    del views
    data_sets[1] = b"XY" + data_sets[1][2:]
    data_sets[2] += b"more"
    reader.feed(fragments_of(b"\xff" * (1 << 20)))
    asked = reader.next()
    assert [one._stream.getvalue() for one in kept] == data_sets
    assert asked._stream.getvalue() == b"\xff" * (1 << 20)


@twins
def test_memory_of_a_long_data_set(twin):
    """At most twice what has come and no more than the limit; what has come, once it is whole."""
    reader = twin.module.PduReader(*LONG_LIMITS, twin.events)
    reader.decodes_requests = True
    size, spare = 0x140000, 0x8000
    sent = fragments_of(bytes(size))
    chunks = chopped(sent, 10_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number, chunk in enumerate(chunks):
            reader.feed(chunk)
            asked = reader.next()
            taken = tracemalloc.get_traced_memory()[0] - before
            assert taken <= min(2 * (number + 1) * 10_000, LONG_LIMITS[2]) + spare
        assert asked._stream.getvalue() == bytes(size)
        assert tracemalloc.get_traced_memory()[0] - before <= size + spare
        del asked
        assert tracemalloc.get_traced_memory()[0] - before <= spare
        assert tracemalloc.get_traced_memory()[1] - before <= 2.5 * size
    finally:
        tracemalloc.stop()


# -- PDUs that would take long --------------------------------------------------------------------

UNLIMITED = (0xFFFFFFFF, OTHER_LENGTH, 0x400000)
LONG_DATA_SET = bytes(range(251)) * 10_000


@pytest.mark.parametrize("size", [1000, 0x10000, 0x150001, 1 << 30])
def test_a_long_pdu_is_taken_as_it_comes(size):
    sent = p_data(
        *[(1, COMMAND | LAST, request_of()), (1, LAST, LONG_DATA_SET)],
        *[(1, COMMAND | LAST, request_of(8)), (1, 0, b""), (1, LAST, DATA)],
    )
    assert len(sent) > 0x100000
    for twin in TWINS.values():
        reader = twin.module.PduReader(*UNLIMITED, twin.events)
        reader.decodes_requests = True
        found, unread = [], 0
        for chunk in chopped(sent + NEXT, size):
            reader.feed(chunk)
            while (item := reader.next()) is not None:
                found.append((shape(item), reader.request_length))
            if not found:
                unread = max(unread, reader.bytes_waiting)
        assert found == [
            (taken(7, LONG_DATA_SET), len(LONG_DATA_SET)),
            (taken(8, DATA), len(DATA)),
            (NEXT_READ, len(DATA)),
        ]
        assert unread <= len(LONG_DATA_SET) + 0x10000  # the rest of a piece
        assert reader.bytes_waiting == 0


@pytest.mark.parametrize("decodes_requests", [False, True])
def test_what_the_slow_path_takes_of_a_long_pdu_comes_in_pieces(decodes_requests):
    pdvs = [(1, COMMAND | LAST, C_STORE), (1, LAST, LONG_DATA_SET), (3, COMMAND | LAST, C_FIND)]
    found = read_by_all(chopped(p_data(*pdvs), 50_000), UNLIMITED, decodes_requests)
    pieces = [split(item) for item in found]
    assert all(len(item) <= 0x10000 + 12 for item in found)
    assert all(len(piece) == 1 for piece in pieces)
    together = []
    for ((context_id, header, fragment),) in pieces:
        if together and not together[-1][1] & LAST:
            together[-1] = (context_id, header, together[-1][2] + fragment)
        else:
            together.append((context_id, header, fragment))
    assert together == pdvs


def split(item):
    """The PDVs of a PDU."""
    kind, length = struct.unpack_from(">BxI", item)
    assert (kind, length) == (P_DATA_TF, len(item) - 6)
    pdvs, at = [], 6
    while at < len(item):
        length, context_id, header = struct.unpack_from(">IBB", item, at)
        pdvs.append((context_id, header, item[at + 6 : at + 4 + length]))
        at += 4 + length
    return pdvs


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\0\1\1".ljust(0x100001, b"\0"),
        b"\xff\xff\xff\xff\1\2".ljust(0x100001, b"\0"),
        p_data((1, 2, bytes(0x100000)))[6:] + bytes(5),
    ],
    ids=["too short", "too long", "too few bytes at the end"],
)
def test_a_long_pdu_that_is_malformed(body):
    found = read_by_all([pdu(P_DATA_TF, body)], UNLIMITED)
    assert found[-1][:2] == ("PduError", "a P-DATA-TF PDU that is not PDVs to its end")


@pytest.mark.parametrize("decodes_requests", [False, True])
@pytest.mark.parametrize(
    ("pdv", "together"),
    [((1, 0, b"ab"), 32), ((1, COMMAND, b"ab"), 32), ((1, COMMAND | LAST, C_FIND), 4)],
    ids=["data set", "command set", "messages"],
)
def test_a_pdu_of_many_pdvs_is_taken_apart(decodes_requests, pdv, together):
    sent = p_data(*[pdv] * 100)
    found = [split(item) for item in read_by_all([sent], decodes_requests=decodes_requests)]
    assert [pdv for pdvs in found for pdv in pdvs] == [pdv] * 100
    assert {len(pdvs) for pdvs in found[:-1]} == {together}
    malformed = pdu(P_DATA_TF, sent[6:] + b"\0")
    assert read_by_all([malformed], decodes_requests=decodes_requests)[-1][1] == (
        "a P-DATA-TF PDU that is not PDVs to its end"
    )


def test_fragments_without_a_byte():
    few = [(1, COMMAND | LAST, request_of()), *[(1, 0, b"")] * 8, (1, LAST, DATA)]
    many = [(1, COMMAND | LAST, request_of()), *[(1, 0, b"")] * 9, (1, LAST, DATA)]
    assert read_by_all([p_data(*few) * 2]) == [taken(7, DATA)] * 2
    found = read_by_all([p_data(*many)])
    assert found[0][:2] == ("CommandSetError", "more than 8 fragments without a byte")


@twins
def test_pdvs_left(twin):
    """What takes many PDVs can be left for later."""
    reader = twin.module.PduReader(*LIMITS, twin.events)
    reader.decodes_requests = True
    reader.feed(p_data((1, COMMAND | LAST, request_of()), *[(1, 0, b"ab")] * 9, (1, LAST, b"")))
    for _ in range(2):
        reader.pdvs_left = 5
        assert reader.next() is None
        assert reader.pdvs_left == 0
    reader.pdvs_left = -1
    assert shape(reader.next()) == taken(7, b"ab" * 9)


# -- Requests for the slow path -------------------------------------------------------------------

DATA = b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100"


@pytest.mark.parametrize("command", UNUSUAL.values(), ids=UNUSUAL)
def test_what_breaks_a_rule_is_left_to_others(command):
    sent = [p_data((1, COMMAND | LAST, command)), p_data((1, LAST, DATA))]
    assert read_by_all([b"".join(sent)]) == sent


@pytest.mark.parametrize("command", CANONICAL.values(), ids=CANONICAL)
def test_what_breaks_none_is_taken(command):
    (item,) = read_by_all([p_data((1, COMMAND | LAST, command), (1, LAST, DATA))])
    assert (item["MessageID"], item["data set"]) == (7, DATA)


def test_a_request_that_has_begun_is_taken_when_not_fast_any_more():
    for twin in TWINS.values():
        reader = twin.module.PduReader(*LIMITS, twin.events)
        reader.decodes_requests = True
        reader.feed(p_data((1, COMMAND | LAST, request_of()), (1, 0, DATA)))
        assert reader.next() is None
        reader.decodes_requests = False
        following = (1, COMMAND | LAST, request_of(8)), (1, LAST, DATA)
        reader.feed(p_data((1, LAST, b"more"), *following) + NEXT)
        assert shape(reader.next()) == taken(7, DATA + b"more")
        assert [reader.next() for _ in range(2)] == [p_data(*following), NEXT]
        assert reader.next() is None
        assert (reader.requests_read, reader.context_id) == ({"N-SET": 1}, 1)


def test_the_users_validator_has_its_say(monkeypatch):
    sent = p_data((1, COMMAND | LAST, request_of())), p_data((1, LAST, DATA))
    config = importlib.import_module("pynetdicom._config")
    monkeypatch.setitem(config.VALIDATORS, "UI", lambda uid: (False, "not this one"))
    assert read_by_all([b"".join(sent)]) == list(sent)


def test_an_n_set_without_a_data_set():
    """One that follows all the same is skipped, in that context."""
    command = (1, COMMAND | LAST, WITHOUT_DATA_SET)
    lacking = taken(lacks=True, instance="1.2.3.4")
    assert read_by_all([p_data(command)]) == [lacking]
    data = (1, 0, DATA), (1, LAST, DATA)
    for sent in (p_data(command, *data), p_data(command) + p_data(*data)):
        assert read_by_all([sent + NEXT]) == [lacking, NEXT_READ]
    other = p_data((3, LAST, DATA))
    assert read_by_all([p_data(command) + other + NEXT]) == [lacking, other, NEXT_READ]
    assert read_by_all([p_data(command, (3, LAST, DATA)) + NEXT]) == [lacking, NEXT_READ]
    more = p_data((1, LAST, DATA))
    assert read_by_all([p_data(command, *data) + more + NEXT]) == [lacking, more, NEXT_READ]


@twins
def test_whether_it_is_within_a_message_behind_one_without_a_data_set(twin):
    reader = twin.module.PduReader(*LIMITS, twin.events)
    reader.decodes_requests = True
    reader.feed(p_data((1, COMMAND | LAST, request_of(kind=NO_DATA_SET))))
    assert reader.next()._lacks_data_set
    assert reader.progress() is None
    reader.feed(p_data((1, 0, DATA)))
    assert reader.next() is None
    assert reader.progress() == (None, 0)
    reader.feed(p_data((1, LAST, DATA)))
    assert reader.next() is None
    assert reader.progress() is None


ECHO = joined({0x0002: uid("1.2.840.10008.1.1"), 0x0100: 0x0030, 0x0110: 8, 0x0800: NO_DATA_SET})
ECHO_READ = read_as("C-ECHO", MessageID=8, AffectedSOPClassUID="1.2.840.10008.1.1")
CREATE = joined({0x0002: uid(MPPS), 0x0100: 0x0140, 0x0110: 8, 0x0800: NO_DATA_SET})
CREATE_READ = read_as("N-CREATE", MessageID=8, AffectedSOPClassUID=MPPS)


def test_data_behind_a_request_that_has_none():
    """It is skipped in the same PDU, as in pynetdicom, unless the request may have a data set."""
    data = (1, 0, DATA), (3, LAST, DATA)
    assert read_by_all([p_data((1, COMMAND | LAST, ECHO), *data) + NEXT]) == [ECHO_READ, NEXT_READ]
    found = read_by_all([p_data((1, COMMAND | LAST, ECHO)) + p_data(*data) + NEXT])
    assert found == [ECHO_READ, p_data(*data), NEXT_READ]
    found = read_by_all([p_data((1, COMMAND | LAST, CREATE), *data) + NEXT])
    assert found == [CREATE_READ, p_data(*data), NEXT_READ]
    echoes = (1, COMMAND | LAST, ECHO), *data, (1, COMMAND | LAST, ECHO), *data
    assert read_by_all([p_data(*echoes)]) == [ECHO_READ, ECHO_READ]


LEFT_TO_OTHERS = {
    "C-ECHO with a data set": {0x0002: uid(MPPS), 0x0100: 0x0030, 0x0110: 8, 0x0800: 1},
    "N-GET with a data set": {
        **{0x0003: uid(MPPS), 0x0100: 0x0110, 0x0110: 8, 0x0800: 1, 0x1001: uid(INSTANCE)},
    },
    "N-ACTION without a type": {
        **{0x0003: uid(MPPS), 0x0100: 0x0130, 0x0110: 8, 0x0800: 1, 0x1001: uid(INSTANCE)},
    },
    "N-EVENT-REPORT without an instance": {
        **{0x0002: uid(MPPS), 0x0100: 0x0100, 0x0110: 8, 0x0800: 1, 0x1002: 1},
    },
    "N-CREATE of the Requested class": {0x0003: uid(MPPS), 0x0100: 0x0140, 0x0110: 8, 0x0800: 1},
    "N-CREATE with a type": {
        **{0x0002: uid(MPPS), 0x0100: 0x0140, 0x0110: 8, 0x0800: 1, 0x1002: 1},
    },
    "N-GET of no tag": {
        **{0x0003: uid(MPPS), 0x0100: 0x0110, 0x0110: 8, 0x0800: 0x0101},
        **{0x1001: uid(INSTANCE), 0x1005: b""},
    },
    "N-GET of half a tag": {
        **{0x0003: uid(MPPS), 0x0100: 0x0110, 0x0110: 8, 0x0800: 0x0101},
        **{0x1001: uid(INSTANCE), 0x1005: b"\x10\0\x10\0\x10\0"},
    },
    "no service": {0x0002: uid(MPPS), 0x0100: 0x0160, 0x0110: 8, 0x0800: 0x0101},
    "C-ECHO-RSP": {0x0002: uid(MPPS), 0x0100: 0x8030, 0x0120: 8, 0x0800: 0x0101, 0x0900: 0},
}


@pytest.mark.parametrize("elements", LEFT_TO_OTHERS.values(), ids=LEFT_TO_OTHERS)
def test_other_services_and_requests_that_break_a_rule(elements):
    sent = p_data((1, COMMAND | LAST, joined(elements)), (1, LAST, DATA))
    assert read_by_all([sent + NEXT]) == [sent, NEXT_READ]


def test_a_long_command_set_is_left_to_others():
    tags = bytes(4) * 0x4000
    elements = {0x0003: uid(MPPS), 0x0100: 0x0110, 0x0110: 8, 0x0800: NO_DATA_SET}
    sent = p_data((1, COMMAND | LAST, joined({**elements, 0x1001: uid(INSTANCE), 0x1005: tags})))
    assert read_by_all([sent], UNLIMITED) == [sent]


def test_a_request_whose_command_set_is_cut_is_left_to_others_with_its_data_set():
    pdvs = [
        (1, COMMAND, request_of()[:30]),
        (1, COMMAND | LAST, request_of()[30:]),
        (1, LAST, DATA),
    ]
    found = read_by_all(
        [p_data(*pdvs) + p_data((1, COMMAND | LAST, request_of()), (1, LAST, DATA))]
    )
    assert found == [p_data(*pdvs), taken(data_set=DATA)]


def test_a_whole_command_set_behind_the_beginning_of_another_is_left_to_others():
    """It is they who know what is wrong with it."""
    pdvs = [(1, COMMAND, C_FIND[:20]), (1, COMMAND | LAST, request_of()), (1, LAST, DATA)]
    assert read_by_all([p_data(*pdvs)]) == [p_data(*pdvs)]


# -- Faults ---------------------------------------------------------------------------------------

NEXT = p_data((1, COMMAND | LAST, request_of(8)), (1, LAST, DATA))
NEXT_READ = taken(8, DATA)


PDVS = p_data((1, COMMAND | LAST, request_of()), (1, LAST, b"data"))[6:]


def longer(by):
    """The PDVs, of which the last one says that it is longer by so many bytes than it is."""
    at = len(PDVS) - 10
    (length,) = struct.unpack_from(">I", PDVS, at)
    return PDVS[:at] + struct.pack(">I", length + by) + PDVS[at + 4 :]


MALFORMED = {
    "a length of 0 before them": bytes(4) + PDVS,
    "a length of 0 behind them": PDVS + bytes(4),
    "a length of 1 before them": b"\0\0\0\1\1" + PDVS,
    "a length of 1 behind them": PDVS + b"\0\0\0\1\1",
    "the last runs past the end by 1": longer(1),
    "the last runs past the end by 2": longer(2),
    "the last runs past the end by 4": longer(4),
    "the last ends 1 before the end": longer(-1),
    "the last ends 4 before the end": longer(-4),
    "a header is cut": PDVS + b"\0\0\0\2\1",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_pdu_is_left_whole(body):
    assert read_by_all([pdu(P_DATA_TF, body) + NEXT]) == [pdu(P_DATA_TF, body), NEXT_READ]


def test_the_shortest_pdv_is_one():
    """Of a length of 2: context ID and control header."""
    pdvs = (1, COMMAND | LAST, request_of()), (1, 0, b""), (1, 0, b"data"), (1, LAST, b"")
    assert read_by_all([p_data(*pdvs)]) == [taken(7, b"data")]


@twins
class TestPdus:
    def error(self, twin, sent, limits=LIMITS, decodes_requests=True):
        reader = twin.module.PduReader(*limits, twin.events)
        reader.decodes_requests = decodes_requests
        reader.feed(sent)
        with pytest.raises(twin.nset._pdu.PduError) as caught:
            reader.next()
        # Nothing can be read any more.
        reader.feed(NEXT)
        with pytest.raises(twin.nset._pdu.PduError) as again:
            reader.next()
        assert str(again.value) == str(caught.value)
        return str(caught.value), caught.value.diagnostic

    @pytest.mark.parametrize("kind", [0x00, 0x08, 0x09, 0x80, 0xFF])
    @pytest.mark.parametrize("decodes_requests", [False, True])
    def test_unknown_type(self, twin, kind, decodes_requests):
        sent = bytes((kind, 0, 0, 0, 0, 0))
        assert self.error(twin, sent, decodes_requests=decodes_requests) == (
            f"unknown PDU type 0x{kind:02X}",
            1,
        )

    @pytest.mark.parametrize(
        ("kind", "limit"), [(kind, 30 if kind != P_DATA_TF else 100) for kind in range(1, 8)]
    )
    def test_length(self, twin, kind, limit):
        limits = (100, 30, 1000)
        fits = pdu(kind, bytes(limit))
        assert read(twin, [fits], limits) == [fits]
        for length in (limit + 1, 0xFFFFFFFF):
            # The header is enough.
            sent = struct.pack(">BxI", kind, length)
            name = "pdu_length" if kind == P_DATA_TF else "negotiation_length"
            text = (
                f"a PDU of type 0x{kind:02X} of {length} bytes, {limit} are allowed "
                f"(Limits({name}=...))"
            )
            assert self.error(twin, sent, limits) == (text, 6)

    def test_what_is_before_it_is_read(self, twin):
        sent = NEXT + pdu(0x05, bytes(4)) + bytes((9, 0, 0, 0, 0, 0))
        *items, error = read(twin, [sent])
        assert items == [NEXT_READ, pdu(0x05, bytes(4))]
        assert error[:2] == ("PduError", "unknown PDU type 0x09")


COMMAND_AGAIN = "a fragment of a command set among those of a data set"


class TestDataSets:
    def fault(self, item, text, message_id=None):
        name, said, _, attributes = item
        assert (name, said) == ("CommandSetError", text)
        assert attributes["message_id"] == message_id
        return attributes

    @pytest.mark.parametrize(
        "pdv",
        [
            (1, COMMAND | LAST, request_of(9)),
            (1, COMMAND, request_of(9)),
            (3, COMMAND | LAST, C_FIND),
        ],
        ids=["whole", "cut", "of another context"],
    )
    def test_command_among_them(self, pdv):
        sent = p_data((1, COMMAND | LAST, request_of()), (1, 0, DATA)), p_data(pdv), NEXT
        error, *items = read_by_all([b"".join(sent)])
        self.fault(error, COMMAND_AGAIN)
        assert items == [NEXT_READ]

    @twins
    def test_change_to_a_context_of_the_same_transfer_syntax(self, twin, caplog):
        one, other = build_context(MPPS), build_context(MPPS)
        for syntax, is_taken in (("1.2.840.10008.1.2", True), ("1.2.840.10008.1.2.1", False)):
            reader = twin.module.PduReader(*LIMITS, twin.events)
            one.transfer_syntax, other.transfer_syntax = ["1.2.840.10008.1.2"], [syntax]
            reader.contexts = {1: one, 3: other}
            reader.decodes_requests = True
            reader.feed(
                p_data((1, COMMAND | LAST, request_of()), (3, 0, b"ab"), (3, 0, b"cd"))
                + p_data((1, 0, b"ef"), (3, LAST, b"gh"))
            )
            if is_taken:
                taken = reader.next()
                assert (taken._context_id, taken._stream.getvalue()) == (1, b"abcdefgh")
                assert len(caplog.records) == 1
                # The next message begins anew.
                reader.feed(p_data((3, COMMAND | LAST, request_of()), (1, LAST, b"ab")))
                assert reader.next()._context_id == 3
                assert len(caplog.records) == 2
            else:
                with pytest.raises(twin.nset.CommandSetError, match="context 3 within a message"):
                    reader.next()

    def test_change_of_context(self):
        sent = p_data((1, COMMAND | LAST, request_of())), p_data((3, LAST, DATA)), NEXT
        error, *items = read_by_all([b"".join(sent)])
        self.fault(error, "presentation context 3 within a message of context 1")
        assert items == [NEXT_READ]

    @pytest.mark.parametrize("limit", [0, 1, 17, 18])
    def test_limit_is_no_byte_less(self, limit):
        limits = (PDU_LENGTH, OTHER_LENGTH, limit)
        for data_set in (bytes(limit), b""):
            for fragments in ([data_set], [data_set[:1], data_set[1:]], [b"", data_set, b""]):
                last = len(fragments) - 1
                pdvs = [(1, LAST * (at == last), one) for at, one in enumerate(fragments)]
                sent = p_data((1, COMMAND | LAST, request_of()), *pdvs)
                assert read_by_all([sent], limits) == [taken(7, data_set)]

    @pytest.mark.parametrize(
        "fragments",
        [[19], [18, 1], [1, 1, 17], [19, 0], [10, 10, 10, 10], [0, 19, 0], [18, 1, 1000, 1]],
        ids=str,
    )
    @pytest.mark.parametrize("packing", ["one PDU", "a PDU each"])
    def test_limit(self, fragments, packing):
        """One error that can be answered; the rest of the data set is skipped."""
        last = len(fragments) - 1
        pdvs = [(1, COMMAND | LAST, request_of(5))]
        pdvs += [(1, LAST * (at == last), bytes(size)) for at, size in enumerate(fragments)]
        sent = p_data(*pdvs) if packing == "one PDU" else b"".join(map(p_data, pdvs))
        following = p_data((1, COMMAND | LAST, request_of(8)), (1, LAST, DATA[:18]))
        limits = (PDU_LENGTH, OTHER_LENGTH, 18)
        error, *items = read_by_all([sent + following], limits)
        attributes = self.fault(error, "a data set of more than 18 bytes", 5)
        assert attributes["status"] == 0x0213
        assert items == [taken(8, DATA[:18])]

    @pytest.mark.parametrize(
        ("pdv", "read_as"),
        [
            ((3, 0, b"x"), p_data((3, 0, b"x"))),
            ((3, LAST, b"x"), p_data((3, LAST, b"x"))),
            ((1, COMMAND | LAST, C_FIND), p_data((1, COMMAND | LAST, C_FIND))),
            ((1, COMMAND, C_FIND), p_data((1, COMMAND, C_FIND))),
        ],
        ids=["data of another context", "its last", "a command", "the beginning of one"],
    )
    def test_nothing_else_is_passed_over(self, pdv, read_as):
        sent = p_data((1, COMMAND | LAST, request_of(5)), (1, 0, bytes(19)), (1, 0, b"more"), pdv)
        error, *items = read_by_all([sent], (PDU_LENGTH, OTHER_LENGTH, 18))
        self.fault(error, "a data set of more than 18 bytes", 5)
        assert items == [read_as]

    def test_is_passed_over_when_not_fast_any_more(self):
        for twin in TWINS.values():
            reader = twin.module.PduReader(PDU_LENGTH, OTHER_LENGTH, 18, twin.events)
            reader.decodes_requests = True
            reader.feed(p_data((1, COMMAND | LAST, request_of(5)), (1, 0, bytes(19))))
            with pytest.raises(twin.nset.CommandSetError):
                reader.next()
            reader.decodes_requests = False
            reader.feed(p_data((1, 0, b"more")) + p_data((1, LAST, b"")) + NEXT)
            assert reader.next() == NEXT
            assert reader.next() is None

    def test_malformed_pdu_among_them_is_left_to_others(self):
        bad = pdu(P_DATA_TF, b"\0\0\0\1\1")
        sent = p_data((1, COMMAND | LAST, request_of()), (1, 0, DATA)), bad, p_data((1, LAST, b""))
        assert read_by_all([b"".join(sent)]) == [bad, taken(data_set=DATA)]


# -- encode_response ------------------------------------------------------------------------------


def received(twin, message_id, sop_class, instance, context_id):
    """A request as the reader gives it."""
    reader = twin.module.PduReader(*LIMITS, twin.events)
    reader.decodes_requests = True
    command = request_of(message_id, sop_class, instance)
    reader.feed(p_data((context_id, COMMAND | LAST, command), (context_id, LAST, DATA)))
    return reader.next()


@laws
@given(
    st.integers(0, 0xFFFF),
    uids,
    uids,
    st.integers(0, 127).map(lambda number: 2 * number + 1),
    st.integers(0, 0xFFFF),
    st.one_of(st.just(0), st.integers(8, 300), st.integers(0, 2**32 - 1)),
)
def test_encode_response(message_id, sop_class, instance, context_id, status, max_pdu_length):
    pdus = []
    for twin in TWINS.values():
        asked = received(twin, message_id, sop_class, instance, context_id)
        encoded = twin.module.encode_response(asked, status, max_pdu_length)
        # One PDU, however much there is room for.
        response = asked.request.response(status)
        whole = twin.nset.wire.encode_pdus(response, context_id)
        fits = max_pdu_length == 0 or len(whole) - 6 <= max_pdu_length
        assert encoded == (whole if fits else None)
        if fits:
            assert encoded == twin.nset.wire.encode_pdus(response, context_id, max_pdu_length)
        pdus.append(encoded)
    assert pdus[1:] == pdus[:-1]


@twins
@pytest.mark.parametrize(
    "status",
    [
        *(-1, 0x10000, 2**70, None, "0", 0.0, b"\0\0", Posing(0), Lazy(0), Contrary(-1)),
        Contrary(0x10000),
    ],
    ids=repr,
)
def test_encode_response_of_no_status(twin, status):
    assert twin.module.encode_response(received(twin, 7, MPPS, INSTANCE, 1), status, 0) is None


@twins
def test_encode_response_to_a_request_that_the_slow_path_has_decoded(twin):
    event, request = twin.events(), twin.nset.N_SET()
    event._hold(twin.nset.scp._services.N_SET, request, 1)
    assert event.request is request
    assert twin.module.encode_response(event, 0, 0) is None


@twins
@pytest.mark.parametrize("context_id", [1, 2, 254, 255])
def test_encode_response_in_the_first_and_the_last_context(twin, context_id):
    asked = received(twin, 7, MPPS, INSTANCE, context_id)
    encoded = twin.module.encode_response(asked, 0, 0)
    assert encoded is not None
    assert encoded[6:12] == struct.pack(">IBB", len(encoded) - 10, context_id, COMMAND | LAST)


@twins
def test_encode_response_of_just_the_length_that_the_peer_takes(twin):
    asked = received(twin, 7, MPPS, INSTANCE, 1)
    encoded = twin.module.encode_response(asked, 0, 0)
    length = len(encoded) - 6
    for limit in (length, length + 1, 2**32 - 1):
        assert twin.module.encode_response(asked, 0, limit) == encoded
    for limit in (length - 1, length - 2, length - 6, 8, 1):
        assert twin.module.encode_response(asked, 0, limit) is None


@twins
def test_encode_response_to_a_request_that_a_handler_has_changed(twin):
    """As in pynetdicom, it is the response to what has been received."""
    asked = received(twin, 7, MPPS, INSTANCE, 1)
    response = twin.module.encode_response(asked, 0x0110, 0)
    asked.request.MessageID, asked.request.RequestedSOPInstanceUID = 9, "1.2.3"
    assert twin.module.encode_response(asked, 0x0110, 0) == response


@twins
def test_encode_response_by_hand(twin):
    body = command_set(
        element(0x0002, uid(MPPS)),
        element(0x0100, 0x8120),
        element(0x0120, 7),
        element(0x0800, 0x0101),
        element(0x0900, 0x0107),
        element(0x1000, uid(INSTANCE)),
    )
    asked = received(twin, 7, MPPS, INSTANCE, 5)
    assert twin.module.encode_response(asked, 0x0107, 0) == p_data((5, COMMAND | LAST, body))
