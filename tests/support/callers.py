"""Peers of nset.scp that send given bytes, and servers for them."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from acceptors import accepting, entity, n_set_pdus, one_pdu, port, until
from associations import MPPS, TIMEOUT, completed_bytes
from command_sets import joined
from n_set_requests import uid
from pydicom.dataset import Dataset
from pynetdicom import evt, sop_class
from pynetdicom.dsutils import decode
from raw_peer import ABORT, AE_TITLE, COMMAND, LAST, P_DATA_TF, Pdu, Peer, item, pdu

ECHO = sop_class.Verification
DATA = completed_bytes()

RQ, AC, RJ, RELEASE_RQ, RELEASE_RP, UNKNOWN = 0x01, 0x02, 0x03, 0x05, 0x06, 0x09
RELEASE, RELEASED = pdu(RELEASE_RQ, bytes(4)), pdu(RELEASE_RP, bytes(4))
UNRECOGNIZED, UNEXPECTED, INVALID_PARAMETER = 1, 2, 6  # PS3.8 Table 9-26


def aborted(source: int, reason: int = 0) -> Pdu:
    return Pdu(ABORT, bytes((0, 0, source, reason)))


def rejected(result: int, source: int, reason: int) -> Pdu:
    return Pdu(RJ, bytes((0, result, source, reason)))


BY_USER, BY_PROVIDER = aborted(0), aborted(2)


def by_provider(kind: int) -> Pdu:
    """What answers a PDU that is not expected, or not known."""
    return aborted(2, UNRECOGNIZED if kind == UNKNOWN else UNEXPECTED)


def proposal(
    *, version: int = 1, called: str = "ANY-SCP", calling: str = AE_TITLE, user: str = ""
) -> bytes:
    """An A-ASSOCIATE-RQ: MPPS as context 1, Verification as context 3."""
    contexts = b"".join(
        item(0x20, bytes((number, 0, 0, 0)) + item(0x30, syntax) + item(0x40, "1.2.840.10008.1.2"))
        for number, syntax in ((1, MPPS), (3, ECHO))
    )
    about = item(0x51, struct.pack(">I", 16384)) + item(0x52, "1.2.826.0.1.3680043.8.498.9")
    if user:
        about += item(0x58, struct.pack(">BBH", 1, 0, len(user)) + user.encode() + bytes(2))
    names = called.encode().ljust(16), calling.encode().ljust(16)
    return pdu(
        RQ,
        struct.pack(">H2x16s16s32x", version, *names)
        + item(0x10, "1.2.840.10008.3.1.1.1")
        + contexts
        + item(0x50, about),
    )


class Answer(NamedTuple):
    """A response."""

    context_id: int
    field: int
    message_id: int
    status: int


class Caller(Peer):
    """A peer that has connected and sent the given bytes, and no more."""

    def __init__(self, server: Any, *pdus: bytes, context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port(server)), TIMEOUT)
        if context is not None:
            self.socket = context.wrap_socket(
                self.socket, server_hostname="localhost", suppress_ragged_eofs=False
            )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = "{}:{}".format(*self.socket.getsockname())
        self.send(*pdus)

    def associate(self, sent: bytes | None = None) -> "Caller":
        self.send(sent or proposal())
        accepted = self.receive()
        assert accepted is not None
        assert accepted.type == AC, accepted
        return self

    def answer(self) -> Answer:
        """The next response, of one PDU."""
        got = self.receive()
        assert got is not None
        assert got.type == P_DATA_TF, got
        length, context_id, header = struct.unpack_from(">IBB", got.body)
        assert (length, header) == (len(got.body) - 4, COMMAND | LAST)
        said = decode(BytesIO(got.body[6:]), True, True)
        return Answer(context_id, said.CommandField, said.MessageIDBeingRespondedTo, said.Status)

    def goes_on(self, nset: ModuleType) -> None:
        """See that the association does, and end it."""
        self.send(n_set_pdus(nset, 999))
        assert self.answer() == set_answer(999)
        self.release()

    def is_closed(self, *last: Pdu) -> None:
        """See that the server says no more than this, and that it has closed its side."""
        for one in last:
            assert self.receive() == one
        assert self.receive() is None


def set_answer(message_id: int, status: int = 0x0000) -> Answer:
    return Answer(1, 0x8120, message_id, status)


def echo(message_id: int) -> bytes:
    fields = {0x0002: uid(ECHO), 0x0100: 0x0030, 0x0110: message_id, 0x0800: 0x0101}
    return one_pdu(joined(fields), context_id=3)


def echo_answer(message_id: int) -> Answer:
    return Answer(3, 0x8030, message_id, 0x0000)


def over(server: Any, *peers: Peer) -> Any:
    """Let the peers go; give the counts once the server has no association any more."""
    for peer in peers:
        peer.socket.close()
    until(lambda: not server._associations and server.counts.open_connections == 0)
    return server.counts


def state_of(server: Any) -> str:
    states = [one.assoc.dul.state_machine.current_state for one in list(server._associations)]
    return "".join(states)  # of one association, once it has connected


class Handler:
    """Of EVT_N_SET; a coroutine function, so that it is on the fast path."""

    def __init__(self) -> None:
        self.served: list[tuple[Any, Dataset]] = []

    async def __call__(self, event: Any) -> Any:
        self.served.append((event.request, event.request.ModificationList.getvalue()))
        return 0x0000, None


def ignore(event: Any) -> None:
    """Only be there."""


# What is bound decides who does what: the loop or workers, with the core's reader or without it.
WAYS = {
    "short": [],
    "listened to": [(evt.EVT_ESTABLISHED, ignore)],
    "observed": [(evt.EVT_PDU_RECV, ignore)],
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@contextmanager
def serving(
    nset: ModuleType, handlers: list[Any], ae: Any = None, **options: Any
) -> Iterator[tuple[Any, Handler]]:
    """A server of MPPS and C-ECHO. At the end it still serves others, and has no failed thread."""
    handler = Handler()
    bound = {evt.EVT_N_SET: handler, **dict(handlers)}
    failures: list[threading.ExceptHookArgs] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", failures.append)
        ae = ae or entity(MPPS, ECHO)
        with accepting(nset, list(bound.items()), ae, **options) as server:
            yield server, handler
            # Else the shutdown gives them a tenth of a second.
            until(lambda: not server._associations)
    assert failures == []


class Gate:
    """A handler that takes its time."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.entered, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, event: Any) -> Any:
        self.entered.set()
        assert self.may_go_on.wait(TIMEOUT)
        return self.answer


@contextmanager
def gated(event: Any, answer: Any = None) -> Iterator[tuple[Gate, list[Any]]]:
    gate = Gate(answer)
    try:
        yield gate, [(event, gate)]
    finally:
        gate.may_go_on.set()
