"""Command sets broken at random: the same N_SET or CommandSetError on both implementations."""

import random
import struct

import pytest
from command_sets import TAGS, golden, upstream
from compared_command_sets import compare, telling
from violations import CASES, explicit_vr

GOLDEN = [*[one.data for one in golden().values()], *upstream().values(), explicit_vr()]
SETS = [*GOLDEN, *[case.data for case in CASES.values() if case.data]]


def test_every_prefix():
    read = {}
    with telling() as tell:
        for data in GOLDEN:
            for length in range(len(data)):
                read[data[:length]] = compare(tell, data[:length], strictly=True)
    # They end between two elements, or in a header
    assert 100 < sum(read.values()) < 1000


# -- Mutations ------------------------------------------------------------------------------------


def heads(data):
    """Where elements begin and end, as far as the lengths tell."""
    places, at = [0], 0
    while at + 8 <= len(data):
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        places.append(min(at, len(data)))
    return places


def an_element(rng, data):
    places = heads(data)
    index = rng.randrange(len(places))
    return slice(places[index], places[index + 1] if index + 1 < len(places) else None)


def flip(rng, data):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def put(rng, data):
    values = (0x00, 0x09, 0x20, 0x2E, 0x30, 0x31, 0x41, 0x5C, 0xFF, rng.randrange(256))
    data[rng.randrange(len(data))] = rng.choice(values)


def lie(rng, data):
    """Tell another length."""
    at = rng.choice(heads(data)) + 4
    length = int.from_bytes(data[at : at + 4], "little")
    lengths = (0, 1, 2, 3, 4, 6, 8, length - 2, length + 2, length + 10, 2**31 - 1, 2**32 - 1)
    data[at : at + 4] = struct.pack("<I", rng.choice(lengths) & 0xFFFFFFFF)


def rename(rng, data):
    """Give an element another tag."""
    at = rng.choice(heads(data))
    number = rng.choice((*TAGS.values(), 0x0000, 0x0001, 0x0100, 0x0800, 0x5110))
    data[at : at + 4] = struct.pack("<HH", rng.choice((0, 0, 0, 0, 8, 9)), number)


def cut(rng, data):
    del data[rng.randrange(len(data)) :]


def take_out(rng, data):
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 8, 10, rng.randrange(64)))]


def drop(rng, data):
    del data[an_element(rng, data)]


def fill_in(rng, data):
    at = rng.choice((len(data), rng.randrange(len(data) + 1), rng.choice(heads(data))))
    data[at:at] = rng.choice((rng.randbytes(rng.randrange(12)), bytes(rng.randrange(20))))


def double(rng, data):
    at = rng.choice(heads(data))
    data[at:at] = data[an_element(rng, data)]


def move(rng, data):
    found = an_element(rng, data)
    taken = data[found]
    del data[found]
    at = rng.choice(heads(data))
    data[at:at] = taken


def splice(rng, data):
    """Go on with another command set."""
    other = rng.choice(SETS)
    at = rng.choice((rng.randrange(len(data) + 1), rng.choice(heads(data))))
    data[at:] = other[rng.choice((rng.randrange(len(other) + 1), rng.choice(heads(other)))) :]


MUTATIONS = (flip, put, lie, rename, cut, take_out, drop, fill_in, double, move, splice)


def mutated(rng):
    data = bytearray(rng.choice(SETS))
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(MUTATIONS)(rng, data)
        data = data or bytearray(8)
    return bytes(data)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 16))]
)
def test_mutated_command_sets(seed):
    rng = random.Random(seed)
    count = 6_250
    with telling() as tell:
        read = sum(compare(tell, mutated(rng), strictly=n % 4 == 0) for n in range(count))
    assert 0.2 < read / count < 0.6
