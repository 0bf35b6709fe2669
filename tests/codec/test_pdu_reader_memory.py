"""PduReader: what it keeps of requests and of long data sets, and what it does not."""

import gc
import tracemalloc
from io import BytesIO

import pytest
from cores import LIMITS, OTHER_LENGTH, PDU_LENGTH, twins
from n_set_requests import request_of
from pdu_streams import C_FIND, chopped
from raw_peer import COMMAND, LAST, p_data


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
