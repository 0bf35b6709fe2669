"""PduReader: which requests it decodes, and which it leaves to the slow path."""

import importlib

import pytest
from associations import INSTANCE, MPPS
from command_sets import joined
from cores import LIMITS, TWINS, twins
from n_set_requests import request_of, uid
from pdu_streams import (
    C_FIND,
    CANONICAL,
    CREATE,
    DATA,
    ECHO,
    NEXT,
    NEXT_READ,
    NO_DATA_SET,
    UNLIMITED,
    UNUSUAL,
    WITHOUT_DATA_SET,
    read_as,
    read_by_all,
    shape,
    taken,
)
from raw_peer import COMMAND, LAST, p_data


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


ECHO_READ = read_as("C-ECHO", MessageID=8, AffectedSOPClassUID="1.2.840.10008.1.1")
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
