"""nset.scp: C-ECHO and the DIMSE-N services byte by byte, beside pynetdicom's own server.

What a handler sees, what it is answered by, and what the log says of it.
"""

import asyncio
import importlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from acceptors import accepting, entity, is_over, n_set_pdus, port, until
from associations import MPPS, TIMEOUT, UPS, completed, encoded
from command_sets import joined
from hypothesis import given, settings
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS, loaded
from n_set_requests import uid
from pydicom import Dataset
from pynetdicom import AE, evt, sop_class
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from raw_peer import ABORT, COMMAND, LAST, P_DATA_TF, Peer, p_data
from service_requests import (
    COMMITMENT,
    DATA,
    ONE,
    REQUESTED,
    SERVICES,
    SYNTAXES,
    Service,
    asked,
    sent,
)
from services import ECHO


def everything() -> AE:
    return entity(*SYNTAXES)


# -- What handlers see and are answered ------------------------------------------------------------


def status(code: int, **more: Any) -> Dataset:
    made = Dataset()
    made.Status = code
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def reply(**more: Any) -> Dataset:
    made = Dataset()
    made.PatientName, made.PatientID = "Answer^Me", "12"
    made.ReferencedSOPSequence = [completed()]
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def unencodable() -> Dataset:
    made = Dataset()
    made.Rows = 1
    made["Rows"]._value = "many"
    return made


class Many(int):
    """A status that is more than an int."""


def by_two(service: Service) -> dict[str, Callable[[], Any]]:
    """Answers of a status and a data set, for which pynetdicom does not abort."""
    return {
        "success": lambda: (0x0000, None),
        "data set": lambda: (0x0000, reply()),
        "long data set": lambda: (0x0000, reply(TextValue="x" * 40001)),
        "odd data set": lambda: (0x0000, reply(TextValue="x" * 101)),
        "empty data set": lambda: (0x0000, Dataset()),
        "warning": lambda: (0x0107, reply()),
        "failure": lambda: (service.failure, None),
        "failure with a data set": lambda: (0x0110, reply()),
        "unknown": lambda: (0xFFF0, None),
        "unknown with a data set": lambda: (0xFFF0, reply()),
        "status of more": lambda: (status(0x0110, ErrorComment="Disk full", ErrorID=7), None),
        "status of more with a data set": lambda: (status(0x0107, ErrorComment="Some"), reply()),
        "status of something else": lambda: (status(0x0110, PatientName="A"), None),
        "status without one": lambda: (Dataset(), None),
        "no status": lambda: ("x", None),
        "bool": lambda: (True, None),
        "another int": lambda: (Many(0x0000), reply()),
        "a list": lambda: [0x0000, reply()],
        "a data set that can't be encoded": lambda: (0x0000, unencodable()),
        "no data set": lambda: (0x0000, "x"),
        "raises": lambda: 1 / 0,
        "an instance": lambda: (0x0000, reply(AffectedSOPInstanceUID="1.2.3")),
    }


def by_one(service: Service) -> dict[str, Callable[[], Any]]:
    return {
        "success": lambda: 0x0000,
        "failure": lambda: service.failure,
        "unknown": lambda: 0xFFF0,
        "status of more": lambda: status(service.failure, ErrorComment="Out of paper"),
        "status of something else": lambda: status(0x0110, PatientName="A"),
        "status without one": Dataset,
        "no status": lambda: "x",
        "bool": lambda: True,
        "another int": lambda: Many(0x0000),
        "a pair": lambda: (0x0000, None),
        "raises": lambda: 1 / 0,
        "none": lambda: None,
    }


# pynetdicom aborts; so does nset.scp, but for N-SET.
ABORTED: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "a status": lambda: 0x0000,
    "three": lambda: (0x0000, None, None),
}
PROPERTIES = sorted(name for name, one in vars(evt.Event).items() if isinstance(one, property))


def value_of(value: Any) -> Any:
    if isinstance(value, BytesIO):
        return value.getvalue(), value.tell()
    if isinstance(value, list):
        return [value_of(one) for one in value]
    return type(value).__name__, value


def seen_of(event: Any) -> dict[str, Any]:
    """Everything that a handler can read of its event."""
    facts: dict[str, Any] = {}
    for name in (*PROPERTIES, "context"):
        try:
            facts[name] = getattr(event, name)
        except AttributeError as exc:
            facts[name] = str(exc)
        except Exception as exc:
            facts[name] = repr(exc)
    request = event.request
    assert event.request is request
    facts["request"] = type(request).__name__
    names = [name for name in dir(request) if not name.startswith("__")]
    # nset's own N_SET is compared with pynetdicom's elsewhere.
    for name in names if event.event is not evt.EVT_N_SET else ():
        value = getattr(request, name)
        if not callable(value):
            facts[f"request.{name}"] = value_of(value)
    assert event.assoc.is_established
    return facts


class Server(NamedTuple):
    """A server, what its handlers are to return, what they have seen, and what happened already."""

    server: Any
    ways: SimpleNamespace
    known: dict[Any, "Happened"]
    peers: dict[int, Peer]
    """Those that are associated with it, by the length of the PDUs that they take."""


@contextmanager
def asking(
    server: Any, ways: SimpleNamespace, known: dict[Any, "Happened"] | None = None
) -> Iterator[Server]:
    """A server that is asked by `ask`; in the end, the peers release their associations."""
    on = Server(server, ways, {} if known is None else known, {})
    try:
        yield on
        for peer in on.peers.values():
            peer.release()
    finally:
        for peer in on.peers.values():
            peer.socket.close()


def ignore(event: Any) -> None:
    """Change nothing."""


def bound(kind: str) -> tuple[list[Any], SimpleNamespace]:
    """Handlers of all services that answer by what they are told to."""
    ways = SimpleNamespace(answer=lambda: None, seen=[], change=ignore)

    def handle(event: Any) -> Any:
        ways.seen.append(seen_of(event))
        ways.change(event)
        return ways.answer()

    async def handle_async(event: Any) -> Any:
        return handle(event)

    async def suspend(event: Any) -> Any:
        await asyncio.sleep(0)
        return handle(event)

    function = {"async": handle_async, "suspending": suspend}.get(kind, handle)
    return [(service.event, function) for service in SERVICES.values()], ways


@pytest.fixture(scope="module")
def stock() -> Iterator[tuple[Any, SimpleNamespace, dict[Any, "Happened"]]]:
    handlers, ways = bound("plain")
    server = everything().start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    yield server, ways, {}
    server.shutdown()


@pytest.fixture
def theirs(stock: Any) -> Iterator[Server]:
    with asking(*stock) as on:
        yield on


@pytest.fixture(params=["plain", "inline", "async", "suspending"])
def ours(nset: Any, request: pytest.FixtureRequest) -> Iterator[Server]:
    handlers, ways = bound(request.param)
    inline = request.param == "inline"
    with (
        accepting(nset, handlers, everything(), inline=inline) as server,
        asking(server, ways) as on,
    ):
        yield on


class Happened(NamedTuple):
    """PDUs that came back, what the handler saw, and what the log said."""

    pdus: list[Any]
    seen: list[dict[str, Any]]
    said: list[tuple[str, int, str]]


def ask(
    on: Server, caplog: Any, request: bytes, answer: Callable[[], Any], max_length: int = 16384
) -> Happened:
    """Send a request, and receive all that comes up to the end of the answer."""
    on.ways.answer, on.ways.seen = answer, []
    peer = on.peers.get(max_length)
    if peer is None:
        peer = on.peers[max_length] = Peer(port(on.server), *SYNTAXES, max_length=max_length)
    caplog.clear()
    peer.send(request)
    pdus: list[Any] = []
    is_whole = False
    while not is_whole:
        got = peer.receive()
        pdus.append(got if got is None or got.type != ABORT else ABORT)
        is_whole = got is None or got.type != P_DATA_TF or not follows(pdus)
    if pdus[-1] in (None, ABORT):
        on.peers.pop(max_length).socket.close()
    said = [
        (record.name, record.levelno, record.getMessage().splitlines()[0])
        for record in caplog.records
        if record.name in ("pynetdicom.service_class", "pynetdicom._handlers")
    ]
    return Happened(pdus, on.ways.seen, said)


def follows(pdus: list[Any]) -> bool:
    """Whether more of the message has to come."""
    if pdus[-1].body[5] & COMMAND:
        return b"\0\0\0\x08\2\0\0\0\1\1" not in pdus[-1].body
    return not pdus[-1].body[5] & LAST


def compared(
    ours: Server,
    theirs: Server,
    caplog: Any,
    request: bytes,
    answer: Any,
    title: Any = None,
    **options: Any,
) -> Happened:
    """Ask both servers; pynetdicom's only once with an answer of this title."""
    key = request, title, *options.values()
    with caplog.at_level(logging.INFO):
        expected = theirs.known.get(key) if title else None
        if expected is None:
            expected = theirs.known[key] = ask(theirs, caplog, request, answer, **options)
        got = ask(ours, caplog, request, answer, **options)
    assert got.pdus == expected.pdus
    assert got.seen == expected.seen
    return Happened(*got[:2], list(zip(got.said, expected.said, strict=True)))


@pytest.mark.parametrize("name", SERVICES)
def test_each_class_and_request(ours, theirs, caplog, name):
    service = SERVICES[name]
    answer = (lambda: (0x0000, None)) if service.answers_by_two else (lambda: 0x0000)
    for syntax in service.classes:
        for kind, request in service.requests.items():
            got = compared(ours, theirs, caplog, sent(request, syntax), answer, "success")
            assert len(got.seen) == 1, (syntax, kind)
            assert all(one == other for one, other in got.said)
    counts = ours.server.counts
    number = len(service.classes) * len(service.requests)
    assert (counts.requests, counts.n_set_requests) == (number, number * (name == "N-SET"))
    assert sum(counts.responses.values()) == number


@pytest.mark.parametrize("name", SERVICES)
def test_each_answer(ours, theirs, caplog, name):
    service = SERVICES[name]
    answers = (by_two if service.answers_by_two else by_one)(service)
    for kind, request in service.requests.items():
        for title, answer in answers.items():
            encoded_request = sent(request, service.classes[0])
            got = compared(ours, theirs, caplog, encoded_request, answer, title)
            assert got.pdus[0].type == P_DATA_TF, (kind, title)
            if name != "N-SET":
                assert all(one == other for one, other in got.said), (kind, title)


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "N-SET"])
def test_answers_for_which_pynetdicom_aborts(ours, theirs, caplog, name):
    service = SERVICES[name]
    request = sent(service.requests["usual"], service.classes[0])
    for answer in ABORTED.values() if service.answers_by_two else ():
        expected = ask(theirs, caplog, request, answer)
        got = ask(ours, caplog, request, answer)
        # pynetdicom sometimes closes the connection before the A-ABORT of a report is sent.
        assert expected.pdus in ([ABORT], [None])
        assert got == ([ABORT], expected.seen, [])


@pytest.mark.parametrize("max_length", [200, 202, 256, 0])
def test_answers_in_pdus_of_the_peers_length(ours, theirs, caplog, max_length):
    request = sent(SERVICES["N-GET"].requests["usual"], UPS)
    for length in (0, 1, 186, 187, 188, 193, 194, 195, 196, 388, 389, 1000):
        data_set = Dataset()
        data_set.TextValue = "x" * length

        def answer(data_set: Dataset = data_set) -> Any:
            return 0x0000, data_set

        compared(ours, theirs, caplog, request, answer, f"of {length}", max_length=max_length)


@pytest.mark.parametrize("max_length", [201, 255])
def test_fragments_of_an_even_length(ours, caplog, max_length):
    """As PS3.8 Section E.1 has them, where pynetdicom cuts at the peer's odd length."""
    data_set = reply(TextValue="x" * 1001)
    request = sent(SERVICES["N-GET"].requests["usual"], UPS)
    got = ask(ours, caplog, request, lambda: (0x0000, data_set), max_length=max_length)
    bodies = [pdu.body for pdu in got.pdus]
    assert {len(body) for body in bodies[1:-1]} == {max_length - 1}
    assert b"".join(body[6:] for body in bodies[1:]) == encoded(data_set).getvalue()


@pytest.mark.parametrize("name", SERVICES)
def test_a_handler_that_changes_its_request(ours, theirs, caplog, name):
    """The answer is to what has been received."""
    service = SERVICES[name]
    request = sent(service.requests["usual"], service.classes[0])

    def change(event: Any) -> None:
        event.request.MessageID = 99
        event.request.AffectedSOPClassUID = "1.2.3"

    ours.ways.change = theirs.ways.change = change
    try:
        for code in (0x0000, status(0x0110, ErrorComment="Disk full")):
            answer = (code, None) if service.answers_by_two else code
            compared(ours, theirs, caplog, request, lambda answer=answer: answer)
    finally:
        theirs.ways.change = ignore


# -- What event.request is -------------------------------------------------------------------------


@st.composite
def command_sets(draw: Any) -> tuple[str, bytes]:
    """The command set of a request, and the name of its service."""
    name = draw(st.sampled_from([name for name in SERVICES if name != "N-SET"]))
    elements = dict(draw(st.sampled_from(list(SERVICES[name].requests.values()))).elements)
    numbers = st.integers(0, 0xFFFF)
    parts = st.lists(st.integers(0, 10**8), min_size=1, max_size=6)
    for tag in list(elements):
        if tag in (0x1000, 0x1001):
            elements[tag] = uid(".".join(map(str, draw(parts))))
        elif tag == 0x1005:
            elements[tag] = b"".join(
                draw(st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=8))
            )
        elif tag in (0x1002, 0x1008):
            elements[tag] = draw(numbers)
    elements[0x0003 if elements[0x0100] in REQUESTED else 0x0002] = uid(
        ".".join(map(str, draw(parts)))
    )
    return name, joined({**elements, 0x0110: draw(numbers)})


@settings(max_examples=300)
@given(command_sets(), st.binary(max_size=20), st.sampled_from([1, 127, 255]))
def test_it_is_pynetdicoms_own_primitive(drawn, data, context_id):
    """Made of the bytes, it is what pynetdicom makes of them, to the last attribute."""
    name, command_set = drawn
    with loaded(IMPLEMENTATIONS[0]):
        services = importlib.import_module("nset.scp._services")
    (service,) = [one for one in services.SERVICES if one.name == name]
    has_data = b"\0\0\0\x08\2\0\0\0\1\0" in command_set
    message = DIMSEMessage()
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((context_id, b"\3" + command_set))
    if has_data:
        primitive.presentation_data_value_list.append((context_id, b"\2" + data))
    assert message.decode_msg(primitive)
    expected = message.message_to_primitive()
    stream = BytesIO()
    stream.write(data if has_data else b"")
    made = services.primitive_of(service, command_set, context_id, stream)
    assert type(made) is type(expected)
    assert shown(made) == shown(expected)


def shown(primitive: Any) -> dict[str, Any]:
    return {name: value_of(value) for name, value in vars(primitive).items()}


# -- Handlers that are bound, and those that are not -----------------------------------------------


def test_no_handler(nset, caplog):
    """The answers of pynetdicom's own handlers."""
    stock = everything().start_server(("127.0.0.1", 0), block=False)
    try:
        with (
            accepting(nset, None, everything()) as server,
            asking(server, SimpleNamespace()) as ours,
            asking(stock, SimpleNamespace()) as theirs,
        ):
            for service in SERVICES.values():
                request = sent(service.requests["usual"], service.classes[0])
                compared(ours, theirs, caplog, request, None)
    finally:
        stock.shutdown()


@pytest.mark.parametrize("on_association", [False, True])
def test_a_handler_that_is_bound_later(nset, on_association):
    seen = []

    async def first(event: Any) -> int:
        seen.append("first")
        return 0x0000

    def second(event: Any, *more: Any) -> int:
        seen.append(more)
        return 0x0000

    with (
        accepting(nset, [(evt.EVT_C_ECHO, first)], everything()) as server,
        Peer(port(server), ECHO) as peer,
    ):
        (acceptor,) = server.active_associations
        for function, args in ((first, None), (second, ["more", 1])):
            (acceptor if on_association else server).bind(evt.EVT_C_ECHO, function, args)
            peer.send(sent(SERVICES["C-ECHO"].requests["usual"], ECHO))
            assert peer.receive_message()[0].Status == 0x0000
        peer.release()
    assert seen == ["first", ("more", 1)]


@pytest.mark.parametrize("name", SERVICES)
def test_an_async_handler_takes_no_thread(nset, name):
    """It is called in the loop's thread, also while its service is not that of the moment."""
    threads = set()
    service = SERVICES[name]
    answer = (0x0000, None) if service.answers_by_two else 0x0000

    async def handle(event: Any) -> Any:
        threads.add(threading.current_thread().name)
        return answer

    syntax = service.classes[0]
    with (
        accepting(nset, [(service.event, handle)], everything()) as server,
        Peer(port(server), *SYNTAXES) as peer,
    ):
        before = threading.active_count()
        requests = [one for kind, one in service.requests.items() if kind != "without an instance"]
        peer.send(*[sent(one, syntax) for one in requests] * 3)
        for _ in range(3 * len(requests)):
            assert peer.receive().type == P_DATA_TF
        assert threading.active_count() == before
        peer.release()
    (name,) = threads
    assert "nset-handler" not in name
    assert "nset-service" not in name


@pytest.mark.parametrize("kind", ["plain", "inline", "async", "suspending"])
def test_no_service_needs_pynetdicoms_objects(nset, kind):
    """Of an association, which an ordinary one has on demand."""
    requests = []

    def handle(event: Any) -> Any:
        requests.append((event.request, event.context, event.timestamp, event.message_id))
        return 0x0000 if event.event in (evt.EVT_C_ECHO, evt.EVT_N_DELETE) else (0x0000, reply())

    async def handle_async(event: Any) -> Any:
        if kind == "suspending":
            await asyncio.sleep(0)
        return handle(event)

    function = handle_async if kind in ("async", "suspending") else handle
    bound_ = [(service.event, function) for service in SERVICES.values()]
    with accepting(nset, bound_, everything(), inline=kind == "inline") as server:
        with Peer(port(server), *SYNTAXES) as peer:  # whose negotiation is remembered
            peer.release()
        with Peer(port(server), *SYNTAXES) as peer:
            (acceptor,) = server.active_associations
            for service in SERVICES.values():
                peer.send(sent(service.requests["usual"], service.classes[0]))
                pdus = [peer.receive()]
                while follows(pdus):
                    pdus.append(peer.receive())
            made = vars(acceptor).keys()
            assert not made & {"dul", "dimse", "acse", "requestor", "acceptor", "_accepted_cx"}
            peer.release()
        assert server.counts.responses == {"Success": len(SERVICES)}
    assert len(requests) == len(SERVICES)


# -- Together --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "inline", "async"])
def test_requests_of_all_services_are_answered_in_their_order(nset, kind):
    """All but reports, which are served beside the others."""
    names = [name for name in SERVICES if name != "N-EVENT-REPORT"]

    def handle(event: Any) -> Any:
        return 0x0000 if event.event in (evt.EVT_C_ECHO, evt.EVT_N_DELETE) else (0x0000, reply())

    async def handle_async(event: Any) -> Any:
        return handle(event)

    function = handle_async if kind == "async" else handle
    bound = [(SERVICES[name].event, function) for name in names]
    requests = [
        sent(request, SERVICES[name].classes[0], number)
        for number, (name, request) in enumerate(
            (name, request)
            for name in names
            for request in SERVICES[name].requests.values()
            if 0x1000 in request.elements or name != "N-CREATE"
        )
    ] * 10
    with (
        accepting(nset, bound, everything(), inline=kind == "inline") as server,
        Peer(port(server), *SYNTAXES) as peer,
    ):
        peer.send(*requests)
        answered = []
        while len(answered) < len(requests):
            got = peer.receive()
            if got.body[5] & COMMAND:
                at = got.body.index(b"\0\0\x20\1\2\0\0\0") + 8
                answered.append(int.from_bytes(got.body[at : at + 2], "little"))
        assert answered == list(range(len(requests) // 10)) * 10
        while not got.body[5] & LAST or (got.body[5] & COMMAND and follows([got])):
            got = peer.receive()
        counts = server.counts
        assert (counts.requests, counts.responses) == (len(requests), {"Success": len(requests)})
        peer.release()


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_report_is_served_beside_another_request(nset, kind):
    """But one after the other, in their order."""
    entered, may_go_on = threading.Event(), threading.Event()
    reports, at_once = [], []

    def wait(event: Any) -> Any:
        entered.set()
        assert may_go_on.wait(TIMEOUT)
        return 0x0000, None

    async def wait_async(event: Any) -> Any:
        return await asyncio.to_thread(wait, event)

    def report(event: Any) -> Any:
        at_once.append(event.message_id)
        assert at_once == [event.message_id]
        reports.append(event.message_id)
        at_once.clear()
        return 0x0000, None

    async def report_async(event: Any) -> Any:
        await asyncio.sleep(0)
        return report(event)

    bound = [
        (evt.EVT_N_ACTION, wait_async if kind == "async" else wait),
        (evt.EVT_N_EVENT_REPORT, report_async if kind == "async" else report),
    ]
    action = sent(SERVICES["N-ACTION"].requests["usual"], COMMITMENT, 1)
    one = SERVICES["N-EVENT-REPORT"].requests["usual"]
    with ExitStack() as stack:
        server = stack.enter_context(accepting(nset, bound, everything(), workers=1))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Peer(port(server), *SYNTAXES))
        peer.send(action, *(sent(one, COMMITMENT, number) for number in range(10, 40)))
        assert entered.wait(TIMEOUT)
        for _ in range(30):
            assert b"\0\1\2\0\0\0\0\x81" in peer.receive().body
        may_go_on.set()
        assert b"\0\1\2\0\0\0\x30\x81" in peer.receive().body
        peer.release()
    assert reports == list(range(10, 40))


def test_the_log_says_how_many_there_were_of_each(nset, caplog):
    bound_, ways = bound("async")
    ways.answer = lambda: (0x0000, None)
    caplog.set_level(logging.INFO, "nset")
    with accepting(nset, bound_, everything()) as server, Peer(port(server), *SYNTAXES) as peer:
        for name in ("N-ACTION", "N-CREATE", "N-CREATE", "N-SET"):
            peer.send(sent(SERVICES[name].requests["usual"], SERVICES[name].classes[0]))
            assert peer.receive().type == P_DATA_TF
        peer.release()
        until(lambda: is_over(server))
    (line,) = [line for line in caplog.messages if "has ended" in line]
    expected = ("N-SET 1 (1 Success)", "N-ACTION 1 (1 Success)", "N-CREATE 2 (2 Success)")
    assert all(one in line for one in expected)


@pytest.mark.parametrize("kind", ["plain", "async", "inline"])
def test_a_data_set_that_is_too_long(nset, scp, kind, caplog):
    """Of another service than N-SET, as on the slow path: an A-ABORT."""
    bound_, ways = bound(kind)
    limits = scp.Limits(data_set_bytes=100)
    options = {"limits": limits, "inline": kind == "inline"}
    with accepting(nset, bound_, everything(), **options) as server:
        for name in ("N-CREATE", "N-ACTION", "N-EVENT-REPORT"):
            service = SERVICES[name]
            with Peer(port(server), *SYNTAXES) as peer:
                peer.send(sent(service.requests["usual"], service.classes[0]))
                assert peer.receive().type == ABORT
        until(lambda: is_over(server))
        assert server.counts.aborted == {"invalid message": 3}
    assert ways.seen == []
    assert caplog.text.count("a data set of more than 100 bytes") == 3


def test_an_n_set_without_a_data_set_is_refused(nset, caplog):
    bound_, ways = bound("async")
    ways.answer = lambda: (0x0000, None)
    lacking = sent(asked(0x0120, x1001=ONE), MPPS)
    with accepting(nset, bound_, everything()) as server, Peer(port(server), MPPS) as peer:
        pdus = lacking.replace(bytes((3, 3)), bytes((1, 3)))
        peer.send(pdus + p_data((1, LAST, DATA)) + n_set_pdus(nset, 8))
        answers = [peer.receive_message()[0] for _ in range(2)]
        assert [(one.MessageIDBeingRespondedTo, one.Status) for one in answers] == [
            (7, 0x0212),
            (8, 0x0000),
        ]
        counts = server.counts
        assert (counts.requests, counts.responses) == (2, {"Success": 1, "Failure": 1})
        peer.release()
    assert "Refusing N-SET request 7 from RAW@" in caplog.text
    assert "with status 0x0212: Command Data Set Type (0000,0800): 0101H, but an" in caplog.text
    assert len(ways.seen) == 1


def test_an_n_set_without_a_data_set_is_refused_in_its_turn(nset, caplog):
    entered, may_go_on = threading.Event(), threading.Event()

    def wait(event: Any) -> Any:
        entered.set()
        assert may_go_on.wait(TIMEOUT)
        return 0x0000, None

    lacking = sent(asked(0x0120, x1001=ONE), MPPS, 2, 1)
    with ExitStack() as stack:
        server = stack.enter_context(accepting(nset, [(evt.EVT_N_SET, wait)]))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Peer(port(server), MPPS))
        peer.send(n_set_pdus(nset, 1))
        assert entered.wait(TIMEOUT)
        peer.send(lacking + n_set_pdus(nset, 3))
        (acceptor,) = server.active_associations
        until(lambda: acceptor.unanswered() == 3)
        may_go_on.set()
        answers = [peer.receive_message()[0] for _ in range(3)]
        peer.release()
    assert [(one.MessageIDBeingRespondedTo, one.Status) for one in answers] == [
        *((1, 0x0000), (2, 0x0212), (3, 0x0000)),
    ]
    assert [record.levelname for record in caplog.records if record.name == "nset"] == ["ERROR"]


def test_a_class_that_a_program_has_registered(nset):
    """The first request looks it up, the next ones are on the fast path."""
    private = "1.2.826.0.1.3680043.8.498.97"
    if not hasattr(sop_class, "NsetPrivateFilm"):
        service = sop_class.uid_to_service_class(sop_class.BasicFilmSession)
        sop_class.register_uid(private, "NsetPrivateFilm", service)
    ae = entity(private)
    bound_, ways = bound("async")
    ways.answer = lambda: 0x0000
    with accepting(nset, bound_, ae) as server, Peer(port(server), private) as peer:
        for number in range(3):
            peer.send(sent(SERVICES["N-DELETE"].requests["usual"], private, number, 1))
            assert peer.receive_message()[0].Status == 0x0000
        assert server.counts.requests == 3
        peer.release()
    assert len(ways.seen) == 3


# -- What waits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["inline", "async", "plain"])
def test_a_peer_that_does_not_read_its_answers(nset, kind):
    """It is not read from, and the server keeps no more than a few of them."""
    answer = Dataset()
    answer.TextValue = "x" * 0x10000
    total = 400

    def handle(event: Any) -> Any:
        return 0x0000, answer

    async def handle_async(event: Any) -> Any:
        return handle(event)

    bound_ = [(evt.EVT_N_GET, handle_async if kind == "async" else handle)]
    request = SERVICES["N-GET"].requests["of all"]
    with (
        accepting(nset, bound_, everything(), inline=kind == "inline") as server,
        Peer(port(server), *SYNTAXES) as peer,
    ):
        (acceptor,) = server.active_associations
        peer.send(*(sent(request, UPS, number) for number in range(total)))
        until(lambda: acceptor.path.is_reading_paused and not acceptor.connection.is_writable)
        assert server.counts.responses["Success"] < total
        assert acceptor.connection._transport.get_write_buffer_size() < 0x400000
        answered = 0
        while answered < total:
            got = peer.receive()
            answered += got.body[5] == LAST
        peer.release()
    assert server.counts.responses == {"Success": total}


@pytest.mark.parametrize("name", ["N-CREATE", "N-ACTION", "N-EVENT-REPORT"])
def test_data_sets_that_wait_count_towards_the_memory(nset, scp, name):
    """Until their requests are served."""
    entered, may_go_on = threading.Event(), threading.Event()

    async def wait(event: Any) -> Any:
        entered.set()
        await asyncio.to_thread(may_go_on.wait, TIMEOUT)
        return 0x0000, None

    service = SERVICES[name]
    request = service.requests["usual"]._replace(data=bytes(0x20000))
    one = sent(request, service.classes[0])
    limits = scp.Limits(association_bytes=0x80000)
    with ExitStack() as stack:
        ae, bound_ = everything(), [(service.event, wait)]
        ae.maximum_pdu_size = 0
        server = stack.enter_context(accepting(nset, bound_, ae, limits=limits))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Peer(port(server), *SYNTAXES))
        (acceptor,) = server.active_associations
        sender = threading.Thread(target=peer.send, args=(one * 10,), daemon=True)
        sender.start()
        assert entered.wait(TIMEOUT)
        until(lambda: acceptor.path.is_reading_paused and acceptor.memory.waiting > 0x80000)
        assert acceptor.memory.waiting < 0x80000 + 3 * 0x20000
        may_go_on.set()
        for _ in range(10):
            assert peer.receive().type == P_DATA_TF
        sender.join(TIMEOUT)
        until(lambda: acceptor.memory.waiting == 0)
        peer.release()


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_request_that_is_being_served_at_shutdown_is_answered(nset, kind, name):
    entered, may_go_on = threading.Event(), threading.Event()
    service = SERVICES[name]
    answer = (0x0000, None) if service.answers_by_two else 0x0000

    def wait(event: Any) -> Any:
        entered.set()
        assert may_go_on.wait(TIMEOUT)
        return answer

    async def wait_async(event: Any) -> Any:
        return await asyncio.to_thread(wait, event)

    bound_ = [(service.event, wait_async if kind == "async" else wait)]
    one = sent(service.requests["usual"], service.classes[0])
    with ExitStack() as stack:
        server = stack.enter_context(accepting(nset, bound_, everything()))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Peer(port(server), *SYNTAXES))
        (acceptor,) = server.active_associations
        peer.send(one, one)
        assert entered.wait(TIMEOUT)
        until(lambda: acceptor.unanswered() == 2)
        stopping = threading.Thread(target=server.shutdown, kwargs={"quiet": 0.1}, daemon=True)
        stopping.start()
        may_go_on.set()
        assert [peer.receive().type for _ in range(3)] == [P_DATA_TF, P_DATA_TF, 0x05]
        peer.send(bytes((6, 0, 0, 0, 0, 4, 0, 0, 0, 0)))
        stopping.join(TIMEOUT)
    assert server.counts.responses == {"Success": 2}


def test_the_peer_goes_while_a_report_is_served(nset, caplog):
    """The next one is not served, and nothing is left."""
    entered, may_go_on = threading.Event(), threading.Event()
    served = []

    def wait(event: Any) -> Any:
        served.append(event.message_id)
        entered.set()
        assert may_go_on.wait(TIMEOUT)
        return 0x0000, None

    one = SERVICES["N-EVENT-REPORT"].requests["usual"]
    with ExitStack() as stack:
        bound_ = [(evt.EVT_N_EVENT_REPORT, wait)]
        server = stack.enter_context(accepting(nset, bound_, everything()))
        stack.callback(may_go_on.set)
        with Peer(port(server), *SYNTAXES) as peer:
            peer.send(*(sent(one, COMMITMENT, number) for number in range(3)))
            assert entered.wait(TIMEOUT)
            (acceptor,) = server.active_associations
            until(lambda: acceptor.unanswered() == 3)
        until(lambda: server.counts.open_connections == 0)
        may_go_on.set()
        until(lambda: is_over(server))
    assert served == [0]
    assert not [record for record in caplog.records if record.name == "asyncio"]
