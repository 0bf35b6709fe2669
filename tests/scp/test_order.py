"""nset.scp: answers come in the order of the requests, however many of them wait."""

import importlib
import threading
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest
from acceptors import n_set_pdus, one_pdu, until
from associations import TIMEOUT
from callers import DATA, WAYS, Answer, Caller, echo, echo_answer, gated, serving, set_answer, ways
from n_set_requests import (
    AFFECTED,
    RESPONSE,
    cut,
    message,
    pdvs,
    request,
)
from pynetdicom import evt
from pynetdicom.dul import DULServiceProvider
from raw_peer import COMMAND, LAST, P_DATA_TF, p_data

# -- Requests that wait ---------------------------------------------------------------------------


def in_fragments(nset: ModuleType, message_id: int) -> list[bytes]:
    """An N-SET request whose command set comes in two PDUs, for the slow path."""
    first, *rest = cut(request({0x0110: message_id}), 60)
    parts = [(1, COMMAND, first), *((1, COMMAND, part) for part in rest[:-1])]
    parts += [(1, COMMAND | LAST, rest[-1]), (1, LAST, DATA)]
    return [p_data(part) for part in parts]


def slow_echo(message_id: int) -> bytes:
    """A C-ECHO request whose command set comes in two PDVs, for the slow path."""
    first, rest = cut(echo(message_id)[12:], 40)
    return p_data((3, COMMAND, first), (3, COMMAND | LAST, rest))


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("limit", [1, 2])
def test_a_request_that_was_served_at_once_holds_up_nobody(nset, scp, inline, limit):
    limits = scp.Limits(pending_requests=limit)
    options = {"limits": limits, "inline": inline}
    with (
        serving(nset, [(evt.EVT_N_SET, plain)], **options) as (server, _),
        Caller(server).associate() as peer,
    ):
        for number in range(4):
            peer.send(*in_fragments(nset, number))
            assert peer.answer() == set_answer(number)
        peer.send(*in_fragments(nset, 4), *in_fragments(nset, 5), n_set_pdus(nset, 6))
        assert [peer.answer() for _ in range(3)] == [set_answer(number) for number in (4, 5, 6)]
        peer.release()


def test_no_more_than_the_limit_wait(nset, scp):
    is_served, may_go_on = threading.Event(), threading.Event()
    limits = scp.Limits(pending_requests=4)

    def wait(event: Any) -> int:
        is_served.set()
        assert may_go_on.wait(TIMEOUT)
        return 0x0000

    with ExitStack() as stack:
        bound = [(evt.EVT_C_ECHO, wait)]
        server, _ = stack.enter_context(serving(nset, bound, limits=limits))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(echo(0))
        assert is_served.wait(TIMEOUT)
        peer.send(*(echo(number) for number in range(1, 100)))
        (assoc,) = [path.assoc for path in server.connections.connected]
        until(lambda: len(assoc.path.pending) >= 4)
        until(lambda: assoc.path.is_reading_paused)  # as it is before, too, until its next turn
        assert len(assoc.path.pending) == 4
        may_go_on.set()
        assert [peer.answer() for _ in range(100)] == [echo_answer(n) for n in range(100)]
        peer.release()


# -- Order ----------------------------------------------------------------------------------------


def alternating(nset: ModuleType, number: int) -> tuple[list[bytes], list[Answer]]:
    """C-ECHO, for either path, and N-SET in turn."""
    sent, expected = [], []
    for message_id in range(number):
        is_set = message_id % 2 == 1
        one = echo if message_id % 4 == 0 else slow_echo
        sent.append(n_set_pdus(nset, message_id) if is_set else one(message_id))
        expected.append(set_answer(message_id) if is_set else echo_answer(message_id))
    return sent, expected


def plain(event: Any) -> Any:
    return 0x0000, None


@ways
@pytest.mark.parametrize("handlers", [[], [(evt.EVT_N_SET, plain)]], ids=["async", "plain"])
@pytest.mark.parametrize("writes", ["one write", "a write each", "byte by byte"])
def test_answers_come_in_the_order_of_the_requests(nset, way, handlers, writes):
    sent, expected = alternating(nset, 12 if writes == "byte by byte" else 100)
    with serving(nset, way + handlers) as (server, _), Caller(server).associate() as peer:
        if writes == "one write":
            peer.send(*sent)
        elif writes == "a write each":
            for one in sent:
                peer.send(one)
        else:
            for byte in b"".join(sent):
                peer.send(bytes((byte,)))
        assert [peer.answer() for _ in expected] == expected
        peer.release()


def test_a_request_waits_for_what_a_worker_is_reading(nset, monkeypatch):
    """However long that takes, it neither overtakes another message nor is it taken for a part."""
    entered, may_go_on = threading.Event(), threading.Event()
    stock = DULServiceProvider._decode_pdu

    def decode_slowly(self: Any, data: bytearray) -> Any:
        if data[0] == P_DATA_TF:
            entered.set()
            assert may_go_on.wait(TIMEOUT)
        return stock(self, data)

    monkeypatch.setattr(DULServiceProvider, "_decode_pdu", decode_slowly)
    with ExitStack() as stack:
        server, _ = stack.enter_context(serving(nset, WAYS["listened to"]))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(slow_echo(1))
        assert entered.wait(TIMEOUT)
        peer.send(n_set_pdus(nset, 2))
        may_go_on.set()
        assert [peer.answer() for _ in range(2)] == [echo_answer(1), set_answer(2)]
        peer.release()


def test_a_request_waits_for_what_a_worker_has_yet_to_read(nset, monkeypatch):
    """Also where another thread, which had no part of it, has just run the upper layer."""
    is_submitted, may_go_on, is_served = threading.Event(), threading.Event(), threading.Event()
    association = importlib.import_module("nset.scp._association").Association
    run_in_worker = association._run_in_worker

    def run_late(self: Any) -> None:
        is_submitted.set()
        assert may_go_on.wait(TIMEOUT)
        run_in_worker(self)

    def note(event: Any) -> Any:
        is_served.set()
        return 0x0000, None

    bound = [*WAYS["listened to"], (evt.EVT_N_SET, note)]
    with ExitStack() as stack:
        server, _ = stack.enter_context(serving(nset, bound))
        stack.callback(may_go_on.set)
        peer = stack.enter_context(Caller(server)).associate()
        monkeypatch.setattr(association, "_run_in_worker", run_late)
        (acceptor,) = server.active_associations
        until(lambda: not (acceptor.dul.is_running or acceptor.path.is_busy))  # negotiating
        peer.send(slow_echo(1))
        assert is_submitted.wait(TIMEOUT)
        server.threads.call(acceptor.has_run)
        peer.send(n_set_pdus(nset, 2))
        assert not is_served.wait(0.3)  # time enough to overtake
        may_go_on.set()
        assert [peer.answer() for _ in range(2)] == [echo_answer(1), set_answer(2)]
        peer.release()


def test_an_answer_waits_for_one_that_a_worker_still_has_to_send(nset, monkeypatch):
    """The worker that is reading the next message, when the one that serves the first is done."""
    reads_on, is_served = threading.Event(), threading.Event()
    stock = DULServiceProvider._decode_pdu
    messages = []

    def decode_slowly(self: Any, data: bytearray) -> Any:
        if data[0] == P_DATA_TF:
            messages.append(data)
            if len(messages) == 2:
                reads_on.set()
                is_served.wait(0.3)  # time enough to overtake the answer that is not sent yet
        return stock(self, data)

    def echo_when_read_on(event: Any) -> int:
        assert reads_on.wait(TIMEOUT)
        return 0x0000

    def set_soon(event: Any) -> Any:
        is_served.set()
        return 0x0000, None

    monkeypatch.setattr(DULServiceProvider, "_decode_pdu", decode_slowly)
    bound = [(evt.EVT_C_ECHO, echo_when_read_on), (evt.EVT_N_SET, set_soon)]
    with (
        serving(nset, WAYS["listened to"] + bound) as (server, _),
        Caller(server).associate() as peer,
    ):
        peer.send(slow_echo(1), n_set_pdus(nset, 2), slow_echo(3))
        answers = [peer.answer() for _ in range(3)]
        peer.release()
    assert answers == [echo_answer(1), set_answer(2), echo_answer(3)]


def test_a_request_right_behind_a_message_that_a_worker_reads(nset):
    sent = one_pdu(RESPONSE)
    with (
        serving(nset, WAYS["listened to"]) as (server, _),
        Caller(server).associate() as peer,
    ):
        for number in range(150):
            peer.send(sent)
            peer.send(n_set_pdus(nset, number))
            assert peer.answer() == set_answer(number)
        peer.release()


@ways
def test_pdus_that_end_anywhere(nset, way):
    """The end of one message and the beginning of the next in one PDU."""
    parts, expected = [], []
    for number in range(0, 60, 3):
        parts += [(1, COMMAND | LAST, request({0x0110: number})), *pdvs(0, cut(DATA, 50))]
        parts.append((3, COMMAND | LAST, echo(number + 1)[12:]))
        parts += [*pdvs(COMMAND, cut(request({0x0110: number + 2}), 40)), (1, LAST, DATA)]
        expected += [set_answer(number), echo_answer(number + 1), set_answer(number + 2)]
    for size in (1, 2, 3, 5, 7):
        sent = [p_data(*parts[at : at + size]) for at in range(0, len(parts), size)]
        with serving(nset, way) as (server, handler), Caller(server).associate() as peer:
            peer.send(*sent)
            assert [peer.answer() for _ in expected] == expected
            peer.release()
        assert {data_set for _, data_set in handler.served} == {DATA}


@ways
def test_chopped_byte_by_byte(nset, way):
    sent = n_set_pdus(nset, 1) + n_set_pdus(nset, 2, 64) + message(request(AFFECTED))
    with serving(nset, way) as (server, _), Caller(server).associate() as peer:
        for byte in sent:
            peer.send(bytes((byte,)))
        assert [peer.answer() for _ in range(3)] == [set_answer(1), set_answer(2), set_answer(7)]
        peer.release()


def test_a_request_that_also_responds_while_another_is_served(nset):
    """It is a request all the same, and not a response that a thread waits for."""
    with gated(evt.EVT_C_ECHO, 0x0000) as (gate, handlers), ExitStack() as stack:
        server, handler = stack.enter_context(serving(nset, handlers))
        peer = stack.enter_context(Caller(server)).associate()
        peer.send(echo(1), message(request({0x0120: 3})))
        assert gate.entered.wait(TIMEOUT)
        peer.send(n_set_pdus(nset, 8))
        gate.may_go_on.set()
        assert [peer.answer() for _ in range(3)] == [echo_answer(1), set_answer(7), set_answer(8)]
        peer.release()
    assert len(handler.served) == 2
