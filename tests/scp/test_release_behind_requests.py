"""An A-RELEASE-RQ behind requests, in one write with them, is answered behind all their responses.

What stock pynetdicom makes of it is no model: it drops requests, ends the responses to queries with
Success, whatever is left, and forgets the A-RELEASE-RQ.
"""

import asyncio
import importlib
import queue
from contextlib import contextmanager

import pytest
from acceptors import accepting, entity, one_pdu, port, until
from associations import INSTANCE, MPPS, encoded
from certificates import new_contexts
from command_sets import joined
from n_set_requests import DATA, uid
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from raw_peer import RELEASE_RP, RELEASE_RQ, Peer, pdu
from services import (
    CT,
    ECHO,
    FIND,
    GET,
    MOVE,
    as_async,
    everything,
    image,
    patient,
    query,
    stock_server,
)

# -- One response each -----------------------------------------------------------------------------

ONE = uid(INSTANCE)
REQUESTS = {
    "N-SET": (evt.EVT_N_SET, {0x0003: uid(MPPS), 0x0100: 0x0120, 0x1001: ONE}),
    "N-CREATE": (evt.EVT_N_CREATE, {0x0002: uid(MPPS), 0x0100: 0x0140, 0x1000: ONE}),
    "N-EVENT-REPORT": (
        evt.EVT_N_EVENT_REPORT,
        {0x0002: uid(MPPS), 0x0100: 0x0100, 0x1000: ONE, 0x1002: 1},
    ),
    "C-ECHO": (evt.EVT_C_ECHO, {0x0002: uid(ECHO), 0x0100: 0x0030}),
    "C-STORE": (
        evt.EVT_C_STORE,
        {0x0002: uid(CT), 0x0100: 0x0001, 0x0700: 0, 0x1000: ONE},
    ),
}


def numbered(name, message_id):
    _, elements = REQUESTS[name]
    data = b"" if name == "C-ECHO" else DATA
    command = {**elements, 0x0110: message_id, 0x0800: 0x0001 if data else 0x0101}
    return one_pdu(joined(dict(sorted(command.items()))), data)


@pytest.mark.parametrize("names", [*([name] for name in REQUESTS), [*REQUESTS]], ids=" ".join)
@pytest.mark.parametrize("way", ["ordinary", "observed", "TLS"])
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_requests_of_all_services(nset, tmp_path, kind, way, names):
    """No handler has returned when the release comes."""
    sent = [numbered(names[number % len(names)], number) for number in range(1, 10)]
    sent.append(pdu(RELEASE_RQ, bytes(4)))
    served = []

    def answer_to(event):
        served.append(event.request.MessageID)
        return 0x0000 if event.event in (evt.EVT_C_ECHO, evt.EVT_C_STORE) else (0x0000, None)

    def has_come(assoc):  # without making its objects
        return assoc.has_providers and assoc.dul.state == "Sta8"

    def handle(event):
        until(lambda: has_come(event.assoc))
        return answer_to(event)

    async def handle_in_loop(event):
        while not has_come(event.assoc):
            await asyncio.sleep(0.001)
        return answer_to(event)

    handlers = [
        (event, handle_in_loop if kind == "async" else handle) for event, _ in REQUESTS.values()
    ]
    options, context = {}, None
    if way == "observed":
        handlers.append((evt.EVT_PDU_RECV, lambda event: None))
    elif way == "TLS":
        options["ssl_context"], context = new_contexts(tmp_path)
    ae = entity(MPPS, ECHO, CT)
    ae.network_timeout = None  # after which the release would be looked at again
    with (
        accepting(nset, handlers, ae, **options) as server,
        Peer(port(server), MPPS, ECHO, CT, context=context) as peer,
    ):
        peer.send(*sent)
        answered = []
        for _ in range(9):
            command, _ = peer.receive_message()
            assert command.Status == 0x0000
            answered.append(command.MessageIDBeingRespondedTo)
        assert peer.receive() == (RELEASE_RP, bytes(4))
        assert peer.receive() is None
    assert sorted(answered) == sorted(served) == list(range(1, 10))


# -- Several responses -----------------------------------------------------------------------------

PENDING, SUCCESS, ALL_SUB_OPERATIONS_FAILED = 0xFF00, 0x0000, 0xA702


@contextmanager
def installed_server(nset, handlers):
    with (
        importlib.import_module("nset.pynetdicom").installed(),
        stock_server(handlers) as server,
    ):
        yield server


def nset_server(nset, handlers):
    return accepting(nset, handlers, everything())


KINDS = {
    "install": (installed_server, lambda handler: handler),
    "scp, plain": (nset_server, lambda handler: handler),
    "scp, async": (nset_server, as_async),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def request(field, syntax, message_id, **elements):
    command = {0x0002: uid(syntax), 0x0100: field, 0x0110: message_id, 0x0700: 0, 0x0800: 0x0001}
    more = {int(tag[1:], 16): value for tag, value in elements.items()}
    return one_pdu(joined({**command, **more}), encoded(query()).getvalue())


def wait_for_the_release(event):
    until(lambda: event.assoc.dul.state_machine.current_state == "Sta8")


def asked(nset, kind, event, handler, syntax, *requests):
    """Send the requests and a release in one write; give Message ID and Status of each response."""
    serve, make = KINDS[kind]
    responses = []
    with (
        serve(nset, [(event, make(handler))]) as server,
        Peer(port(server), syntax, CT, roles=True) as peer,
    ):
        peer.send(*requests, pdu(RELEASE_RQ, bytes(4)))
        while len([status for _, status in responses if status != PENDING]) < len(requests):
            command, _ = peer.receive_message()
            responses.append((command.MessageIDBeingRespondedTo, command.Status))
        assert peer.receive() == (RELEASE_RP, bytes(4))
        assert peer.receive() is None
    return responses


@kinds
def test_c_find(nset, kind):
    def handle(event):
        wait_for_the_release(event)
        for number in range(2):
            yield PENDING, patient(number)

    requests = [request(0x0020, FIND, message_id) for message_id in (1, 2)]
    assert asked(nset, kind, evt.EVT_C_FIND, handle, FIND, *requests) == [
        *((1, PENDING), (1, PENDING), (1, SUCCESS)),
        *((2, PENDING), (2, PENDING), (2, SUCCESS)),
    ]


@kinds
def test_c_move(nset, kind, destination):
    moved = queue.Queue()

    def store(event):
        moved.put(event.request.AffectedSOPInstanceUID)
        return SUCCESS

    def handle(event):
        wait_for_the_release(event)
        contexts = [build_context(CT, ImplicitVRLittleEndian)]
        yield "127.0.0.1", destination.server_address[1], {"contexts": contexts}
        yield 2
        for number in (1, 2):
            yield PENDING, image(number)

    destination.bind(evt.EVT_C_STORE, store)
    request_of_both = request(0x0021, MOVE, 1, x0600=b"ANY-SCP ")
    assert asked(nset, kind, evt.EVT_C_MOVE, handle, MOVE, request_of_both) == [
        *((1, PENDING), (1, PENDING), (1, SUCCESS)),
    ]
    images = [image(number).SOPInstanceUID for number in (1, 2)]
    assert [moved.get_nowait() for _ in images] == images


@kinds
def test_c_get(nset, kind):
    """The peer sends no responses any more: the sub-operations fail, without a timeout."""

    def handle(event):
        wait_for_the_release(event)
        yield 2
        for number in (1, 2):
            yield PENDING, image(number)

    assert asked(nset, kind, evt.EVT_C_GET, handle, GET, request(0x0010, GET, 1)) == [
        *((1, PENDING), (1, PENDING), (1, ALL_SUB_OPERATIONS_FAILED)),
    ]
