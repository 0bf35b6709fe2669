"""Nothing that nset does, or refuses to do, keeps memory or a reference to what it was given."""

import contextlib
import copy
import gc
import importlib
import logging
import pickle
import sys
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from random import Random
from typing import Any

import pytest
from bad_requests import ABORTED, REFUSED, SERVED
from command_sets import golden, upstream
from cores import TWINS, twins
from encoded_data_sets import EXPLICIT, IMPLICIT, damaged, random_data_set
from fuzzed_associations import associate, close_servers
from n_set_requests import DATA, message, request
from pdu_streams import read
from raw_peer import COMMAND, LAST
from violations import CASES

TIMES = 30
# The least that an object takes is 16 bytes: where one is kept each time, it is more than this.
MOST_BYTES = 12
# Each of them with twice as many times: what is filled once, or by another thread, is outgrown.
ATTEMPTS = 8

SETTINGS = {
    "MessageID": (7, 0, 65535, -1, 65536, "7", None),
    "MessageIDBeingRespondedTo": (7, -1, 65536, "7", None),
    "Status": (0x0110, -1, 65536, "x", None),
    "AffectedSOPClassUID": ("1.2.3", "1.2.840.10008.3.1.2.3.3", b"1.2.4", "1.a", 7, None),
    "AffectedSOPInstanceUID": ("1.2.3", "1." * 40, b"1.2.4", "1.a", 7, None),
    "RequestedSOPClassUID": ("1.2.3", b"1.2.4", "1.a", 7, None),
    "RequestedSOPInstanceUID": ("1.2.3", b"1.2.4", "", "1.a", 7, None),
    "ModificationList": (BytesIO(DATA), b"", 7, None),
    "AttributeList": (BytesIO(DATA), b"", 7, None),
    "AttributeIdentifierList": ([0x00100010], 0x00100010, "no tag", None),
    "ErrorComment": ("text", "a\\b", "a" * 65, None),
    "ErrorID": (7, -1, 65536, None),
    "OffendingElement": ([0x00100010], "no tag", None),
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """pytest keeps what is logged."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, [logging.NullHandler()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers = before


def _kept(action: Callable[[], Any]) -> float:
    """The bytes that are kept each time."""
    kept = 0.0
    for attempt in range(ATTEMPTS):
        times = TIMES << attempt
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            action()
        gc.collect()
        kept = (tracemalloc.get_traced_memory()[0] - before) / times
        if kept <= MOST_BYTES:
            break
    return kept


def check(actions: dict[str, Callable[[], Any]]) -> None:
    """Fail for each that keeps memory."""
    kept = {}
    tracemalloc.start()
    try:
        with _quiet():
            for name, action in actions.items():
                for _ in range(TIMES // 2):
                    action()
                kept[name] = _kept(action)
    finally:
        tracemalloc.stop()
    assert {name: size for name, size in kept.items() if size > MOST_BYTES} == {}


def tried(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], None]:
    """Call it, and whatever it raises, that is all right."""

    def action() -> None:
        with contextlib.suppress(Exception):
            function(*args, **kwargs)

    return action


def _full(nset: Any) -> Any:
    primitive = nset.N_SET()
    for keyword, values in SETTINGS.items():
        if keyword != "MessageIDBeingRespondedTo":
            setattr(primitive, keyword, values[0])
    return primitive


def test_primitives(nset):
    primitive = _full(nset)
    assert primitive.is_valid_request
    actions = {
        "create": nset.N_SET,
        "fill": lambda: _full(nset),
        "copy": lambda: copy.copy(primitive),
        "deepcopy": lambda: copy.deepcopy(primitive),
        "pickle": lambda: pickle.loads(pickle.dumps(primitive)),
        "repr": lambda: repr(primitive),
        "respond": lambda: primitive.response(0x0110),
        "encode": primitive.to_command_set,
        "valid?": lambda: (primitive.is_valid_request, primitive.is_valid_response),
        "an unknown attribute": tried(getattr, primitive, "Nothing"),
    }
    for keyword, values in SETTINGS.items():
        for value in values:
            actions[f"{keyword} = {value!r}"] = tried(setattr, nset.N_SET(), keyword, value)
        actions[f"get {keyword}"] = lambda keyword=keyword: getattr(primitive, keyword)
        actions[f"del {keyword}"] = tried(delattr, primitive, keyword)
    check(actions)


def test_references_to_what_is_set(nset):
    """The same objects, so that no memory says that one more of them is kept."""
    values = [*((key, value) for key, values in SETTINGS.items() for value in values)]
    values = [(key, value) for key, value in values if not isinstance(value, int | None.__class__)]
    before = [sys.getrefcount(value) for _, value in values]
    with _quiet():
        for keyword, value in values:
            primitive = nset.N_SET()
            for _ in range(TIMES):
                tried(setattr, primitive, keyword, value)()
                getattr(primitive, keyword)
                tried(primitive.to_command_set)()
    del primitive
    gc.collect()
    after = [sys.getrefcount(value) for _, value in values]
    grown = [pair for pair, a, b in zip(values, before, after, strict=True) if b - a > TIMES // 2]
    assert grown == []


def test_command_sets(nset):
    sets = {**{name: one.data for name, one in golden().items()}, **upstream()}
    sets |= {name: case.data for name, case in CASES.items() if case.data}
    actions = {}
    for name, data in sets.items():
        actions[name] = tried(nset.N_SET.from_command_set, data)
        actions[f"{name}, strict"] = tried(nset.N_SET.from_command_set, data, strict=True)
    for value in (None, "text", 7, bytearray(request()), memoryview(request())):
        actions[f"a {type(value)}"] = tried(nset.N_SET.from_command_set, value)
    check(actions)


def test_messages(nset):
    wire = importlib.import_module("nset.wire")
    primitive = _full(nset)

    def assemble(*pdvs: bytes, most: int | None = None) -> None:
        assembler = wire.MessageAssembler(most)
        for pdv in pdvs:
            assembler.feed(1, pdv)

    command, data = bytes((COMMAND | LAST,)) + request(), bytes((LAST,)) + DATA
    check(
        {
            "whole": lambda: assemble(command, data),
            "a part": lambda: assemble(command),
            "too long": tried(assemble, command, data, most=3),
            "data first": tried(assemble, data),
            "broken": tried(assemble, command[:20] + b"\xff" * 9 + command[20:]),
            "encode": lambda: wire.encode_pdus(primitive, 1, 100),
            "too short a PDU": tried(wire.encode_pdus, primitive, 1, 7),
            "status": lambda: nset.status.category(0xB000),
            "no status": tried(nset.status.category, -1),
        }
    )


@twins
def test_pdus(twin):
    streams = {f"served {name}": stream for name, stream in SERVED.items()}
    for what, cases in (("refused", REFUSED), ("aborted", ABORTED)):
        streams |= {f"{what} {name}": case[0] for name, case in cases.items()}
    assert len(streams) > 50
    check(
        {
            name: lambda stream=stream: read(twin, [stream[:9], stream[9:]])
            for name, stream in streams.items()
            if len(stream) < 10_000
        }
    )


def test_data_sets(nset):
    dataset = importlib.import_module("nset.dataset")
    actions: dict[str, Callable[[], Any]] = {}

    def there_and_back(data: bytes, syntax: str) -> None:
        dataset.encode(dataset.decode(data, syntax), syntax)

    for number in range(8):
        rng = Random(number)
        syntax = (IMPLICIT, EXPLICIT)[number % 2]
        data = random_data_set(rng, implicit=number % 2 == 0)
        actions[f"{number}"] = tried(there_and_back, data, syntax)
        actions[f"{number} damaged"] = tried(there_and_back, damaged(rng, data), syntax)
    check(actions)


@pytest.mark.parametrize("name", TWINS)
def test_associations(name):
    release = bytes.fromhex("05000000000400000000")
    streams = {
        "an N-SET and a release": message(request()) + release,
        "a refused one": message(request({0x1001: b"1.a "})) + release,
        "an invalid PDU": message(request()) + b"\x09" + bytes(9),
        "the half of one": message(request())[:-30],
    }
    try:
        with _quiet():
            for how in (1, 3):
                for what, stream in streams.items():
                    for _ in range(5):
                        associate(name, how, 0, stream)
                    before = _objects()
                    for _ in range(TIMES):
                        associate(name, how, 0, stream)
                    # The last ones may not be freed yet: a worker has called for the end of each.
                    grown = {kind: n for kind, n in (_objects() - before).items() if n > TIMES // 2}
                    assert grown == {}, what
    finally:
        close_servers()


def _objects() -> Counter[str]:
    """The number of objects of each of the classes that an association has."""
    gc.collect()
    kinds = Counter(type(one) for one in gc.get_objects())
    return Counter(
        {
            f"{kind.__module__}.{kind.__qualname__}": number
            for kind, number in kinds.items()
            if str(kind.__module__).startswith(("nset", "pynetdicom", "_asyncio", "asyncio"))
        }
    )
