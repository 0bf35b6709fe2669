"""How many bytes wait in a server, when that is too many, and who is told of room."""

import importlib
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from together import run_together

quick = settings(max_examples=200)

KINDS = ("incomplete", "receiving", "serving", "unsent")  # beside what is queued
LIMIT, SERVER_LIMIT = 1000, 1_000_000


@pytest.fixture
def module(nset):
    return importlib.import_module("nset.scp._memory")


@pytest.fixture
def rooms():
    """What the server had waiting when it was told that there is room again."""
    return []


@pytest.fixture
def server(module, rooms):
    server = module.ServerMemory(SERVER_LIMIT, lambda: rooms.append(server.waiting))
    return server


@pytest.fixture
def make(module, server):
    return lambda: module.Memory(server, LIMIT)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_noted_takes_the_place_of_what_was(make, server, kind):
    memory = make()
    for size in (5, 300, 20, 0, 7):
        memory.note(kind, size)
        assert (getattr(memory, kind), memory.waiting, server.waiting) == (size, size, size)


def test_what_is_queued_is_added_up(make, server):
    memory = make()
    for size, total in ((5, 5), (300, 305), (-5, 300), (-300, 0)):
        memory.queue(size)
        assert (memory.queued, memory.waiting, server.waiting) == (total, total, total)


def test_a_closed_association_has_nothing_waiting_and_never_again(make, server):
    memory, other = make(), make()
    other.note("unsent", 3)
    for kind in KINDS:
        memory.note(kind, 10)
    memory.queue(10)
    assert (memory.waiting, server.waiting) == (50, 53)
    memory.close()
    assert (memory.waiting, server.waiting) == (0, 3)
    for late in (lambda: memory.note("serving", 10), lambda: memory.queue(10), memory.close):
        late()
        assert (memory.waiting, server.waiting) == (0, 3)


def test_when_a_server_is_full(make, server, rooms):
    memory = make()
    memory.note("receiving", SERVER_LIMIT)
    assert not server.is_full
    memory.queue(1)
    assert server.is_full
    memory.queue(-1)
    assert not server.is_full
    assert rooms == [SERVER_LIMIT]


def test_the_server_has_what_its_associations_have(module):
    """Whatever they do, and it is told of room each time that there is none and then is."""
    sizes = st.integers(0, 0x20000)
    steps = st.tuples(st.integers(0, 2), st.sampled_from([*KINDS, "queue", "take", "close"]), sizes)

    @quick
    @given(st.lists(steps, max_size=40))
    def check(steps):
        told = []
        server = module.ServerMemory(0x30000, lambda: told.append(server.waiting))
        memories = [module.Memory(server, LIMIT) for _ in range(3)]
        for index, step, size in steps:
            memory, was_full, before = memories[index], server.is_full, len(told)
            if step == "close":
                memory.close()
            elif step == "queue":
                memory.queue(size)
            elif step == "take":
                memory.queue(-min(size, memory.queued))
            else:
                memory.note(step, size)
            assert server.waiting == sum(one.waiting for one in memories)
            assert server.is_full == (server.waiting > 0x30000)
            assert len(told) - before == (was_full and not server.is_full)

    check()


@pytest.mark.parametrize(
    ("waiting", "is_over"),
    [
        ({}, False),
        ({"queued": LIMIT}, False),
        ({"queued": LIMIT + 1}, True),
        ({"serving": LIMIT + 1}, True),
        ({"unsent": LIMIT + 1}, True),
        ({"incomplete": LIMIT, "unsent": 1}, True),
        ({"receiving": LIMIT, "serving": 1}, True),
        # One message alone has a limit of its own.
        ({"incomplete": 10 * LIMIT, "receiving": 10 * LIMIT}, False),
    ],
    ids=str,
)
def test_when_an_association_has_too_much(make, waiting, is_over):
    memory = make()
    for kind, size in waiting.items():
        memory.queue(size) if kind == "queued" else memory.note(kind, size)
    assert memory.is_over_limit == is_over


def test_of_those_with_much_in_a_server_with_room_all_go_on(make, module):
    memories = [make() for _ in range(3)]
    for memory in memories:
        memory.note("receiving", 2 * module.ALLOWANCE_BYTES)
    assert [memory.is_over_limit for memory in memories] == [False] * 3


def test_of_those_with_much_in_a_full_server_one_goes_on(make, module, server, rooms):
    first, second, small = make(), make(), make()
    for memory in (first, second):
        memory.note("receiving", SERVER_LIMIT // 2)
    small.note("receiving", module.ALLOWANCE_BYTES)
    assert server.is_full
    assert not small.is_over_limit  # which does not make it the one
    assert not first.is_over_limit
    assert second.is_over_limit
    assert not first.is_over_limit
    # It goes on until little of it waits; then whoever asks first does, and all are told.
    first.note("receiving", module.ALLOWANCE_BYTES + 1)
    assert rooms == [SERVER_LIMIT // 2 + 2 * module.ALLOWANCE_BYTES + 1]
    second.note("receiving", SERVER_LIMIT)
    assert second.is_over_limit
    first.note("receiving", module.ALLOWANCE_BYTES)
    assert rooms[1:] == [SERVER_LIMIT + 2 * module.ALLOWANCE_BYTES]
    assert not second.is_over_limit
    first.note("receiving", module.ALLOWANCE_BYTES + 1)
    assert first.is_over_limit
    second.close()
    assert rooms[2:] == [2 * module.ALLOWANCE_BYTES + 1]
    assert not first.is_over_limit


def test_nothing_is_lost_that_threads_count_together(make, server):
    memories = [make() for _ in range(2)]

    def count(memory):
        for _ in range(2000):
            memory.queue(3)
            memory.queue(-2)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        run_together(*(lambda memory=memory: count(memory) for memory in memories * 2))
    finally:
        sys.setswitchinterval(interval)
    assert [memory.queued for memory in memories] == [4000, 4000]
    assert server.waiting == 8000
