"""Primitives that threads share: what is read is what some thread wrote, and the last write wins.

Where there is a GIL it is made to change hands all the time; ``make test-free-threaded`` goes
without one.
"""

import copy
import itertools
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from pydicom.uid import UID
from together import run_together

# How long a test runs where it has no end of its own: a busy machine may start a thread late.
SECONDS = 0.15
TURNS = 5
TIMEOUT = 60

REQUEST_UIDS = ("RequestedSOPClassUID", "RequestedSOPInstanceUID")
RESPONSE_UIDS = ("AffectedSOPClassUID", "AffectedSOPInstanceUID")
UIDS = REQUEST_UIDS + RESPONSE_UIDS
INTEGERS = ("MessageID", "MessageIDBeingRespondedTo", "Status")
PLAIN = ("ErrorComment", "ErrorID", "AttributeIdentifierList", "OffendingElement")
KEYWORDS = (*UIDS, *INTEGERS, *PLAIN, "ModificationList", "_context_id")


# -- Values that can be distinguished --------------------------------------------------------------


class Text(str):
    """A str subclass that misbehaves on close inspection."""

    __slots__ = ()


# Kept as text until they are read, or made a UID at once: all ways that a setter can go
UID_FORMS: tuple[Callable[[str], object], ...] = (str, UID, Text, lambda text: text.encode())


def make(keyword: str, number: int) -> object:
    """Make a value of the attribute's type that shows the number."""
    if keyword in UIDS:
        return UID_FORMS[number % len(UID_FORMS)](f"1.2.{number}")
    if keyword == "ModificationList":
        return BytesIO(b"%d" % number)
    if keyword == "ErrorComment":
        return f"{number}"
    return number


def read(primitive: object, keyword: str) -> int:
    """Read the attribute's number, -1 where there is none; the value must be whole."""
    value = getattr(primitive, keyword, None)
    if value is None:
        return -1
    if keyword in UIDS:
        assert type(value) is UID
        assert value[:4] == "1.2."
        return int(value[4:])
    if keyword == "ModificationList":
        return int(value.getvalue())
    return int(value)


def filled(nset, *keywords: str):
    primitive = nset.N_SET()
    for keyword in keywords or KEYWORDS:
        setattr(primitive, keyword, make(keyword, 0))
    return primitive


# -- Threads that run together ---------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _threads_take_turns_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def repeat_together(*steps: Callable[[], object]) -> None:
    """Run each step over and over in a thread of its own, until all have had their turns."""
    end = time.monotonic() + SECONDS
    turns = [0] * len(steps)
    failed = threading.Event()

    def repeat(index: int) -> None:
        try:
            while time.monotonic() < end or min(turns) < TURNS:
                if failed.is_set():
                    return
                steps[index]()
                turns[index] += 1
        except BaseException:
            failed.set()
            raise

    run_together(*(partial(repeat, index) for index in range(len(steps))))


def run_in_step(rounds: Sequence[Iterable[Any]], *jobs: Callable[[Any], object]) -> None:
    """Have each job do every item, in threads that start each round at the same moment."""
    in_step = threading.Barrier(len(jobs))

    def walk(job: Callable[[Any], object]) -> None:
        try:
            for items in rounds:
                in_step.wait(TIMEOUT)
                for item in items:
                    job(item)
        except BaseException:
            in_step.abort()
            raise

    run_together(*(partial(walk, job) for job in jobs))


class Writer:
    """Sets its attributes to ever greater numbers, of which no other writer has any."""

    def __init__(self, primitive: object, keywords: tuple[str, ...], lane: int, lanes: int) -> None:
        self._primitive, self._keywords, self._alone = primitive, keywords, lanes == 1
        self._numbers = iter(range(lane + lanes, 0x10000, lanes))
        self.last = 0

    def __call__(self) -> None:
        if self._alone:
            # Since the last step others may have read it, and have made a UID of it
            for keyword in self._keywords:
                assert read(self._primitive, keyword) == self.last, keyword
        self.last = next(self._numbers, self.last)
        for keyword in self._keywords:
            setattr(self._primitive, keyword, make(keyword, self.last))


class Reader:
    """Looks at the attributes, by itself or in a copy: no writer's numbers may ever go back."""

    def __init__(
        self,
        primitive: object,
        keywords: tuple[str, ...],
        lanes: int = 1,
        look: Callable[[object], object] = lambda primitive: primitive,
    ) -> None:
        self._primitive, self._lanes, self._look = primitive, lanes, look
        self._seen = {keyword: [0] * lanes for keyword in keywords}

    def __call__(self) -> None:
        primitive = self._look(self._primitive)
        for keyword, seen in self._seen.items():
            number = read(primitive, keyword)
            assert number >= seen[number % self._lanes], keyword
            seen[number % self._lanes] = number


# -- The laws --------------------------------------------------------------------------------------


def test_private_primitives(nset):
    """No thread finds in its own primitives what is another's."""

    def user(name: int) -> Callable[[], None]:
        numbers = itertools.count()

        def step() -> None:
            number = name * 10_000 + next(numbers) % 10_000
            primitive = nset.N_SET()
            assert not primitive.is_valid_request
            for keyword in KEYWORDS:
                assert read(primitive, keyword) == -1
                setattr(primitive, keyword, make(keyword, number))
            assert primitive.is_valid_request
            assert primitive.is_valid_response
            with pytest.raises(ValueError, match="Status must be between 0 and 65535"):
                primitive.Status = -name
            with pytest.raises(TypeError, match="'Affected SOP Class UID' must be str"):
                primitive.AffectedSOPClassUID = name
            for same in (primitive, copy.copy(primitive), pickle.loads(pickle.dumps(primitive))):
                assert [read(same, keyword) for keyword in KEYWORDS] == [number] * len(KEYWORDS)
            response = primitive.response(number)
            assert response.MessageIDBeingRespondedTo == response.Status == number
            assert response.AffectedSOPInstanceUID == f"1.2.{number}"
            again = nset.N_SET.from_command_set(response.to_command_set())
            assert read(again, "AffectedSOPClassUID") == read(again, "Status") == number

        return step

    repeat_together(*(user(name) for name in range(1, 5)))


@pytest.mark.parametrize("keywords", [UIDS, INTEGERS, (*PLAIN, "ModificationList", "_context_id")])
def test_attributes_with_several_writers(nset, keywords):
    primitive = filled(nset)
    writers = [Writer(primitive, keywords, lane, 3) for lane in range(3)]
    repeat_together(*writers, Reader(primitive, keywords, 3), Reader(primitive, keywords, 3))
    for keyword in keywords:
        assert read(primitive, keyword) in {writer.last for writer in writers}


@pytest.mark.parametrize(
    "look",
    [
        lambda primitive: primitive,
        copy.copy,
        copy.deepcopy,
        lambda p: pickle.loads(pickle.dumps(p)),
    ],
    ids=["itself", "copy", "deepcopy", "pickle"],
)
def test_every_attribute_with_a_writer_of_its_own(nset, look):
    """Each writer finds what it wrote last, whatever becomes of the attributes beside it."""
    primitive = filled(nset)
    writers = {
        keywords: Writer(primitive, keywords, 0, 1)
        for keywords in (KEYWORDS[0::4], KEYWORDS[1::4], KEYWORDS[2::4], KEYWORDS[3::4])
    }
    repeat_together(*writers.values(), Reader(primitive, KEYWORDS, look=look))
    for keywords, writer in writers.items():
        assert [read(primitive, keyword) for keyword in keywords] == [writer.last] * len(keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        ("MessageID", *REQUEST_UIDS),
        ("MessageIDBeingRespondedTo", *RESPONSE_UIDS, "Status", "ErrorComment", "ErrorID"),
    ],
    ids=["request", "response"],
)
def test_encoding_while_attributes_are_set(nset, keywords):
    primitive = filled(nset, *keywords)

    def through_bytes(primitive):
        assert repr(primitive).startswith("N_SET(")
        return nset.N_SET.from_command_set(primitive.to_command_set())

    repeat_together(
        Writer(primitive, keywords[0::2], 0, 1),
        Writer(primitive, keywords[1::2], 0, 1),
        Reader(primitive, keywords, look=through_bytes),
    )


@pytest.mark.parametrize("keyword", UIDS)
def test_a_uid_that_is_set_while_it_is_read(nset, keyword):
    """Making a UID of the old text never costs the new one."""
    primitive = filled(nset)
    readers = [Reader(primitive, (keyword,)) for _ in range(2)]
    repeat_together(Writer(primitive, (keyword,), 0, 1), *readers)


def test_decoded_uids_that_are_set_while_they_are_first_read(nset):
    request = filled(nset, "MessageID", *REQUEST_UIDS).to_command_set()
    response = filled(nset, "MessageIDBeingRespondedTo", "Status", *RESPONSE_UIDS).to_command_set()
    rounds = []
    for _ in range(200):
        decoded = [(nset.N_SET.from_command_set(request), REQUEST_UIDS) for _ in range(4)]
        decoded += [(nset.N_SET.from_command_set(response), RESPONSE_UIDS) for _ in range(4)]
        rounds.append([(primitive, keyword) for primitive, uids in decoded for keyword in uids])

    def set_uid(uid: tuple[object, str]) -> None:
        setattr(*uid, "1.2.1")

    def read_uid(uid: tuple[object, str]) -> None:
        assert read(*uid) in (0, 1)

    run_in_step(rounds, set_uid, read_uid, read_uid)
    assert {read(*uid) for uids in rounds for uid in uids} == {1}


def test_attributes_that_are_deleted_and_set(nset):
    primitive = filled(nset)

    def writer(keyword: str) -> Callable[[], None]:
        numbers = itertools.count(1)

        def step() -> None:
            number = next(numbers)
            delattr(primitive, keyword)
            assert not hasattr(primitive, keyword)
            with pytest.raises(AttributeError, match=keyword):
                delattr(primitive, keyword)
            setattr(primitive, keyword, make(keyword, number))
            assert read(primitive, keyword) == number

        return step

    def reader(look: Callable[[object], object]) -> Callable[[], None]:
        seen = dict.fromkeys(PLAIN, 0)

        def step() -> None:
            for keyword in PLAIN:
                number = read(look(primitive), keyword)
                assert number == -1 or number >= seen[keyword], keyword
                seen[keyword] = max(number, seen[keyword])

        return step

    repeat_together(*map(writer, PLAIN), reader(lambda primitive: primitive), reader(copy.copy))
    assert all(read(primitive, keyword) > 0 for keyword in PLAIN)


def test_an_attribute_is_deleted_by_one_thread(nset):
    """As many deletions as there are attributes, and one never brings back another."""
    rounds = [[filled(nset, *PLAIN) for _ in range(8)] for _ in range(200)]
    deleted = []

    def delete(keyword: str, primitive: object) -> None:
        with suppress(AttributeError):
            delattr(primitive, keyword)
            deleted.append(keyword)

    run_in_step(rounds, *(partial(delete, keyword) for keyword in ("ErrorComment",) * 2 + PLAIN))
    assert [deleted.count(keyword) for keyword in PLAIN] == [1600] * len(PLAIN)
    for primitive in itertools.chain(*rounds):
        assert not any(hasattr(primitive, keyword) for keyword in PLAIN)


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without the GIL two threads can't share a BytesIO of CPython 3.13",
)
def test_repr_while_the_list_is_written(nset):
    """No write is refused because another thread reads."""
    primitive = nset.N_SET()
    primitive.ModificationList = stream = BytesIO()

    def write() -> None:
        stream.write(b"more")
        if stream.tell() > 10_000:
            stream.seek(0)
            stream.truncate()

    def look() -> None:
        for _ in range(20):
            assert repr(primitive).startswith("N_SET(ModificationList=<")

    repeat_together(write, look, look)


def test_attributes_that_users_add(nset):
    """The place for them is made when the first comes: none is lost for that."""
    rounds = [[nset.N_SET() for _ in range(4)] for _ in range(50)]
    names = {thread: [f"{thread}_{number}" for number in range(10)] for thread in "abc"}

    def add(thread: str, primitive: object) -> None:
        for name in names[thread]:
            setattr(primitive, name, name)
            assert getattr(primitive, name) == getattr(copy.copy(primitive), name) == name

    run_in_step(rounds, *(partial(add, thread) for thread in names))
    for primitive in itertools.chain(*rounds):
        for name in itertools.chain(*names.values()):
            assert getattr(primitive, name) == name


def test_validity_while_attributes_are_set(nset):
    """As long as nothing is missing it is valid; as long as something is, it is not."""
    request = ("MessageID", *REQUEST_UIDS, "ModificationList")
    response = ("MessageIDBeingRespondedTo", "Status")
    complete = filled(nset, *request, *response)
    no_class = filled(nset, "MessageID", "RequestedSOPInstanceUID", "ModificationList")
    no_status = filled(nset, "MessageIDBeingRespondedTo")
    toggled = filled(nset, "RequestedSOPInstanceUID", "MessageIDBeingRespondedTo")

    def set_and_clear() -> None:
        for value in (7, None):
            no_class.MessageID = value
            toggled.Status = value
            assert toggled.is_valid_response is (value is not None)

    def check() -> None:
        assert complete.is_valid_request
        assert complete.is_valid_response
        assert not no_class.is_valid_request
        assert not no_status.is_valid_response
        assert toggled.is_valid_response in (True, False)

    repeat_together(
        Writer(complete, request, 0, 1),
        Writer(complete, response, 0, 1),
        set_and_clear,
        check,
        check,
    )


def test_a_response_while_the_message_id_is_set_and_cleared(nset):
    """There is one with a Message ID, or there is none."""
    request = filled(nset, "MessageID", *REQUEST_UIDS)

    def set_and_clear() -> None:
        request.MessageID = None
        request.MessageID = 7

    def respond() -> None:
        try:
            response = request.response()
        except ValueError:
            return
        assert response.MessageIDBeingRespondedTo in (0, 7)
        assert response.is_valid_response

    repeat_together(set_and_clear, respond, respond)


def test_a_validator_that_comes_and_goes(nset):
    """Who puts it in force finds it in force, whatever other threads look up at the time."""
    validators = nset.config.VALIDATORS
    default = validators["UI"]

    def refuse(uid: UID) -> tuple[bool, str]:
        return False, "refused"

    def build() -> None:
        primitive = nset.N_SET()
        with suppress(ValueError):
            primitive.RequestedSOPClassUID = "1.2.7"
            assert read(primitive, "RequestedSOPClassUID") == 7

    def toggle() -> None:
        primitive = nset.N_SET()
        validators["UI"] = refuse
        with pytest.raises(ValueError, match="refused"):
            primitive.RequestedSOPClassUID = "1.2.8"
        validators["UI"] = default
        primitive.RequestedSOPClassUID = "1.2.8"

    try:
        repeat_together(toggle, build, build)
    finally:
        validators["UI"] = default
