"""What a server counts, of associations and by itself, and how an association is summed up."""

import importlib
import sys
from collections import Counter

import pytest
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, N_SET
from together import run_together


@pytest.fixture
def module(nset):
    return importlib.import_module("nset.scp._counters")


class Path:
    """What the path of an association counts itself."""

    accepted = made = None

    def __init__(self, requests=0, received=0, sent=0, **statuses):
        self.events = {"requests": requests, "n_set_requests": requests}
        self.events.update(bytes_received=received, bytes_sent=sent)
        self.statuses = {int(code[1:], 16): number for code, number in statuses.items()}

    def add_to(self, events, statuses):
        for counts, more in ((events, self.events), (statuses, self.statuses)):
            counts.update({what: counts.get(what, 0) + number for what, number in more.items()})


def message(cls, status=None):
    message = cls()
    message.Status = status
    return message


@pytest.fixture
def counters(module):
    return module.Counters()


@pytest.fixture
def tally(module, counters):
    return module.Tally(counters)


def test_nothing_has_been_counted(counters, module):
    assert counters.counts(0, 0) == module.Counts(0, 0, 0, 0, 0, 0, 0, {}, 0, 0, {}, 0, 0)


EVENTS = ("connections", "refused_connections", "associations", "rejected", "released")


@pytest.mark.parametrize("what", EVENTS)
def test_events(counters, what):
    counters.count(what)
    counters.count(what, 2)
    counts = counters.counts(4, 5)
    assert {name: getattr(counts, name) for name in EVENTS} == {**dict.fromkeys(EVENTS, 0), what: 3}
    assert (counts.open_connections, counts.open_associations) == (4, 5)


def test_aborts_by_reason(counters):
    for reason in ("peer", "idle", "peer"):
        counters.count_abort(reason)
    assert counters.counts(0, 0).aborted == {"peer": 2, "idle": 1}


def test_requests_and_responses_of_the_slow_path(counters, module, tally):
    other = module.Tally(counters)
    for one, cls in ((tally, N_SET), (tally, C_ECHO), (other, C_ECHO)):
        one.count_request(message(cls))
        one.count_response(message(cls, 0x0000))
    tally.count_response(message(N_SET, 0x0110))
    counts = counters.counts(0, 0)
    assert (counts.requests, counts.n_set_requests) == (3, 1)
    assert counts.responses == {"Success": 3, "Failure": 1}
    assert tally.requests == {"N-SET": 1, "C-ECHO": 1}
    assert tally.responses == {("N-SET", 0): 1, ("N-SET", 0x0110): 1, ("C-ECHO", 0): 1}
    assert other.requests == {"C-ECHO": 1}


@pytest.mark.parametrize("response", [message(N_SET), C_CANCEL()], ids=["none", "C-CANCEL"])
def test_a_response_without_a_status_does_not_count(counters, tally, response):
    tally.count_response(response)
    assert (counters.counts(0, 0).responses, tally.responses) == ({}, {})


def test_an_association_counts_while_its_connection_is_open_and_afterwards(counters):
    one, other = Path(2, 300, 40, s0000=1, s0107=1), Path(1, 100, 10, s0000=1)
    counters.open(one, is_new=False)
    counters.open(other, is_new=False)

    def counted():
        counts = counters.counts(0, 0)
        numbers = counts.requests, counts.n_set_requests, counts.bytes_received, counts.bytes_sent
        return *numbers, counts.responses

    assert counted() == (3, 3, 400, 50, {"Success": 2, "Warning": 1})
    assert counted() == (3, 3, 400, 50, {"Success": 2, "Warning": 1})
    one.events["requests"] += 1  # a C-ECHO
    one.events["bytes_received"] += 100
    one.statuses[0x0000] += 1
    assert counted() == (4, 3, 500, 50, {"Success": 3, "Warning": 1})
    counters.close(one)
    assert counted() == (4, 3, 500, 50, {"Success": 3, "Warning": 1})
    counters.close(other)
    assert counted() == (4, 3, 500, 50, {"Success": 3, "Warning": 1})


def test_a_forked_process_has_no_associations_and_a_free_lock(counters):
    counters.count("associations")
    counters.open(Path(5, 5, 5, s0000=5), is_new=False)
    counters._lock.acquire()  # by a thread that the fork has not taken along
    counters.renew()
    counts = counters.counts(0, 0)
    assert (counts.associations, counts.requests, counts.responses) == (1, 0, {})


def test_nothing_is_lost_that_threads_count_together(counters, tally):
    request, response = message(N_SET), message(N_SET, 0x0000)

    def count():
        for _ in range(2000):
            counters.count("associations")
            counters.count_abort("peer")
            tally.count_request(request)
            tally.count_response(response)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        run_together(*[count] * 4)
    finally:
        sys.setswitchinterval(interval)
    counts = counters.counts(0, 0)
    assert (counts.associations, counts.aborted, counts.requests) == (8000, {"peer": 8000}, 8000)
    assert (tally.requests, tally.responses) == ({"N-SET": 8000}, {("N-SET", 0): 8000})


@pytest.mark.parametrize(
    ("statuses", "numbers"),
    [
        ({}, {}),
        ({0x0000: 2}, {"Success": 2}),
        ({0x0107: 1, 0xB000: 2, 0x0001: 3}, {"Warning": 6}),
        ({0x0110: 1, 0xA700: 1, 0xC123: 1}, {"Failure": 3}),
        ({0xFE00: 1, 0xFF00: 2, 0xFF01: 3}, {"Cancel": 1, "Pending": 5}),
        ({0xFFF0: 1, 0x0000: 0}, {"Unknown": 1}),
    ],
    ids=str,
)
def test_statuses_by_category(module, statuses, numbers):
    assert module.by_category(Counter(statuses)) == numbers


@pytest.mark.parametrize(
    ("requests", "responses", "fast_requests", "fast_responses", "summary"),
    [
        ({}, {}, {}, {}, "no requests"),
        ({}, {}, {"N-SET": 2}, {}, "N-SET 2 (no response)"),
        (
            *({}, {}, {"N-SET": 3}, {("N-SET", 0x0107): 1, ("N-SET", 0x0000): 2}),
            "N-SET 3 (2 Success, 1 Warning)",
        ),
        ({"C-ECHO": 1}, {("C-ECHO", 0): 1}, {}, {}, "C-ECHO 1 (1 Success)"),
        (
            {"N-SET": 2, "C-FIND": 2},
            {("N-SET", 0x0110): 1, ("N-SET", 0): 1, ("C-FIND", 0xFF00): 3, ("C-FIND", 0): 2},
            {"N-SET": 2, "C-ECHO": 1},
            {("N-SET", 0x0000): 2, ("C-ECHO", 0x0000): 1},
            "N-SET 4 (3 Success, 1 Failure), C-FIND 2 (2 Success, 3 Pending), C-ECHO 1 (1 Success)",
        ),
    ],
    ids=["nothing", "not answered", "fast path", "slow path", "both"],
)
def test_summary_of_an_association(
    tally, requests, responses, fast_requests, fast_responses, summary
):
    tally.requests.update(requests)
    tally.responses.update(responses)
    assert tally.summary(fast_requests, fast_responses) == summary
    assert tally.requests == requests  # the next summary says the same
    assert tally.summary(fast_requests, fast_responses) == summary


class TestTotal:
    def test_of_several_servers(self, module):
        one, other = module.Counters(), module.Counters()
        one.count("connections", 2)
        other.count("connections", 3)
        for counters, reason in ((one, "peer"), (other, "peer"), (other, "idle")):
            counters.count_abort(reason)
        total = module.total([one.counts(1, 0), other.counts(2, 1)])
        assert (total.connections, total.open_connections, total.open_associations) == (5, 3, 1)
        assert total.aborted == {"peer": 2, "idle": 1}

    def test_of_none(self, module):
        assert module.total([]) == module.Counters().counts(0, 0)
