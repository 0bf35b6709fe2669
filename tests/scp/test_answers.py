"""nset.scp: whatever a handler does, its peer gets an answer, or for other services an A-ABORT."""

import enum
import logging
from functools import partial

import pytest
from acceptors import accepting, entity, n_set_pdus, port
from associations import MPPS
from pydicom import Dataset
from pynetdicom import evt
from raw_peer import ABORT, Peer
from service_requests import SERVICES, SYNTAXES, sent


class OwnError(BaseException):
    """No Exception, and none of Python's own."""


def raising(*names, base=object, error=OwnError):
    """An object whose methods of these names raise."""

    def method(self, *args, **kwargs):
        raise error("from the handler's object")

    return type("Raising", (base,), dict.fromkeys(names, method))


class Meta(type):
    """A type that can't be asked whether its objects can be awaited."""

    def __getattr__(cls, name):
        raise OwnError(name) if name == "__await__" else AttributeError(name)


class Unawaitable(metaclass=Meta):
    """An object of which it is unknown whether it can be awaited."""


def raising_status(error):
    return raising(
        "__hash__", "__eq__", "__index__", "__int__", "__lt__", "__le__", base=int, error=error
    )(0)


class Status(enum.IntEnum):
    """A status that is a subclass of int, as programs have them."""

    SUCCESS = 0x0000
    OUT_OF_RESOURCES = 0x0213


NASTY = {
    "metaclass": lambda: Unawaitable(),
    "len": lambda: raising("__len__", "__iter__", "__repr__", "__str__")(),
    "len that is an Exception": lambda: raising(
        "__len__", "__iter__", "__repr__", error=ValueError
    )(),
    "no status": lambda: (raising("__eq__", "__hash__", "__repr__")(), None),
    "data set": lambda: (0x0000, raising("__bool__", "__len__", "__iter__", "__repr__")()),
    "status": lambda: (raising_status(OwnError), None),
    "status, an Exception": lambda: (raising_status(ValueError), None),
    "await that raises": lambda: raising("__await__")(),
    "status data set": lambda: (raising("__contains__", "__getattr__", base=Dataset)(), None),
}


@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
@pytest.mark.parametrize("observed", [False, True], ids=["short", "observed"])
@pytest.mark.parametrize("make", NASTY.values(), ids=NASTY)
def test_whatever_a_handler_returns_is_answered(nset, kind, observed, make, caplog):
    answers = iter([make, lambda: (0x0000, None)])
    # For what is neither int nor Dataset pynetdicom has a status of its own.
    status = 0xC002 if make is NASTY["no status"] else 0x0110
    check_answers(nset, kind, observed, lambda: next(answers)(), [status, 0x0000])
    assert any(record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
@pytest.mark.parametrize("observed", [False, True], ids=["short", "observed"])
def test_a_status_that_is_a_subclass_of_int(nset, kind, observed):
    answers = iter([(Status.OUT_OF_RESOURCES, None), (Status.SUCCESS, None), (True, None)])
    check_answers(nset, kind, observed, lambda: next(answers), [0x0213, 0x0000, 0x0001])


@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
@pytest.mark.parametrize("observed", [False, True], ids=["short", "observed"])
@pytest.mark.parametrize("error", [OwnError, SystemExit, GeneratorExit])
def test_whatever_a_handler_raises_is_answered_also_where_the_log_raises(
    nset, kind, observed, error
):
    class Log(logging.Handler):
        def handle(self, record):
            raise error("from the log's handler")

    log = Log(logging.ERROR)
    answers = iter([raising("__call__", error=error)(), lambda: (0x0000, None)])
    logger = logging.getLogger("pynetdicom.service_class")
    logger.addHandler(log)
    try:
        check_answers(nset, kind, observed, lambda: next(answers)(), [0x0110, 0x0000])
    finally:
        logger.removeHandler(log)


def uninitialized(nset):
    """One of a program's own, whose ``__init__`` has not called that of its base."""
    return type("OwnStatusError", (nset.StatusError,), {"__init__": lambda self: None})()


def changed(**attributes):
    def make(nset):
        error = nset.StatusError(0x0110, "a comment")
        vars(error).update(attributes)
        return error

    return make


SPOILED = {
    "uninitialized": uninitialized,
    "status": changed(status="0110"),
    "comment": changed(comment=7),
    "error_id": changed(error_id="7"),
    "tags": changed(attribute_identifiers=None),
    "other tags": changed(offending_elements=[object()]),
}


def raises(make, nset):
    raise make(nset)


@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
@pytest.mark.parametrize("observed", [False, True], ids=["short", "observed"])
@pytest.mark.parametrize("make", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_status_error_is_an_exception_like_others(nset, kind, observed, make, caplog):
    answers = iter([lambda: raises(make, nset), lambda: (0x0000, None)])
    check_answers(nset, kind, observed, lambda: next(answers)(), [0x0110, 0x0000])
    assert "Exception in the handler bound to 'evt.EVT_N_SET'" in caplog.text


OTHERS = [name for name in SERVICES if name != "N-SET"]


@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
@pytest.mark.parametrize("name", OTHERS)
def test_whatever_a_handler_of_another_service_does_the_server_goes_on(nset, kind, name, caplog):
    """As on the slow path: it is pynetdicom's service class that answers, fails or aborts."""
    service = SERVICES[name]
    request = sent(service.requests["usual"], service.classes[0])
    answers = {}

    def plain(event):
        return answers["next"]()

    async def as_task(event):
        return answers["next"]()

    spoiled = {
        f"StatusError, {title}": partial(raises, make, nset) for title, make in SPOILED.items()
    }
    ends = {}
    for observed in (False, True):
        bound = [(service.event, as_task if kind == "async" else plain)]
        bound += [(evt.EVT_PDU_SENT, lambda event: None)] if observed else []
        ae = entity(*SYNTAXES)
        with accepting(nset, bound, ae, inline=kind == "inline") as server:
            for title, make in {**NASTY, **RAISING, **spoiled}.items():
                answers["next"] = make
                with Peer(port(server), *SYNTAXES) as peer:
                    peer.send(request)
                    got = peer.receive()
                    assert got is not None
                    ends.setdefault(title, []).append(got)
                    if got.type != ABORT:
                        peer.release()
    # The fast path awaits what a plain function has returned, if that can be awaited.
    del ends["await that raises"]
    assert [title for title, (one, other) in ends.items() if one != other] == []
    # Nothing has got as far as the loop; of eager tasks that exit asyncio has its own record.
    said = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert [line for line in said if "Task exception was never retrieved" not in line] == []


RAISING = {
    error.__name__: raising("__call__", error=error)()
    for error in (ValueError, OwnError, SystemExit, GeneratorExit)
}


def check_answers(nset, kind, observed, answer, statuses):
    """Have a handler answer as many requests, one after the other."""

    def plain(event):
        return answer()

    async def as_task(event):
        return answer()

    handlers = [(evt.EVT_N_SET, as_task if kind == "async" else plain)]
    if observed:
        handlers.append((evt.EVT_PDU_SENT, lambda event: None))
    with (
        accepting(nset, handlers, inline=kind == "inline") as server,
        Peer(port(server), MPPS) as peer,
    ):
        for number, status in enumerate(statuses):
            peer.send(n_set_pdus(nset, number))
            command_set, _ = peer.receive_message()
            assert (command_set.MessageIDBeingRespondedTo, command_set.Status) == (number, status)
        peer.release()
