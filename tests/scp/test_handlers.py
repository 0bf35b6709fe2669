"""nset.scp: what handlers of EVT_N_SET get, and what becomes of what they return."""

import asyncio
import contextvars
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from queue import Queue

import pytest
from acceptors import accepting, entity, n_set_pdus, port
from associations import INSTANCE, MPPS, TIMEOUT, completed, status_dataset
from pydicom import Dataset
from pynetdicom import dimse_primitives, evt
from raw_peer import Peer
from services import CT, FIND, associated, image, query

KINDS = ("async", "inline", "plain")


@contextmanager
def asked_by(kind, function, nset, **options):
    """A server whose handler is of one kind, and a stock association with it."""
    if kind == "async":

        async def handler(event, *args):
            return function(event, *args)

    else:
        handler = function
    ae = entity()
    bound = [(evt.EVT_N_SET, handler, options.pop("args", None))]
    with accepting(nset, bound, ae, inline=kind == "inline", **options) as server:
        assoc = ae.associate("127.0.0.1", port(server))
        assert assoc.is_established
        try:
            yield server, assoc
        finally:
            assoc.release()


def send(assoc):
    return assoc.send_n_set(completed(), MPPS, INSTANCE, msg_id=7)


@pytest.mark.parametrize("kind", KINDS)
class TestEvent:
    def test_is_pynetdicoms_to_every_reader(self, nset, kind):
        events = Queue()

        def handle(event, *args):
            events.put((event, args))
            return 0x0000, None

        before = datetime.now()
        with asked_by(kind, handle, nset, args=["more", 1]) as (server, assoc):
            assert send(assoc)[0].Status == 0x0000
            event, args = events.get(timeout=TIMEOUT)
            (acceptor,) = server.active_associations
            assert args == ("more", 1)
            assert isinstance(event, evt.Event)
            assert event.event == evt.EVT_N_SET
            assert event.assoc is acceptor
            assert isinstance(event.request, dimse_primitives.N_SET)
            assert type(event.request) is nset.N_SET
            assert event.message_id == event.request.MessageID == 7
            assert event.request.RequestedSOPClassUID == MPPS
            assert event.request.RequestedSOPInstanceUID == INSTANCE
            assert event.modification_list == completed()
            assert event.modification_list is event.modification_list
            (accepted,) = acceptor.accepted_contexts
            assert event.context == accepted.as_tuple
            assert before <= event.timestamp <= datetime.now()
            assert datetime.now() - event.timestamp < timedelta(seconds=TIMEOUT)
            for other in ("identifier", "dataset", "action_type"):
                with pytest.raises(AttributeError, match="The corresponding event is not"):
                    getattr(event, other)

    def test_list_is_a_stream_at_its_end(self, nset, kind):
        lists = Queue()

        def handle(event):
            stream = event.request.ModificationList
            lists.put((type(stream), stream.tell(), stream.getvalue()))
            return 0x0000, None

        with asked_by(kind, handle, nset) as (_, assoc):
            send(assoc)
            cls, position, value = lists.get(timeout=TIMEOUT)
            assert (cls, position) == (BytesIO, len(value))


class Odd:
    def _raise(self, *args):
        raise LookupError("there is nothing behind this")

    __getattr__ = __iter__ = __bool__ = __repr__ = _raise


@pytest.mark.parametrize("kind", KINDS)
class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            ((0x0000, None), {"Status": 0x0000}),
            ((0x0110, None), {"Status": 0x0110}),
            ((0x0107, None), {"Status": 0x0107}),
            (
                (status_dataset(Status=0x0110, ErrorComment="Disk full", ErrorID=7), None),
                {"Status": 0x0110, "ErrorComment": "Disk full", "ErrorID": 7},
            ),
            # As pynetdicom answers them.
            ((0xFFF0, None), {"Status": 0xFFF0}),
            ((None, None), {"Status": 0xC002}),
            (("0", None), {"Status": 0xC002}),
            ((status_dataset(ErrorID=7), None), {"Status": 0xC001}),
            # What pynetdicom aborts the association for.
            (0x0000, {"Status": 0x0110}),
            (None, {"Status": 0x0110}),
            ((0x0000, None, None), {"Status": 0x0110}),
            ((-1, None), {"Status": 0x0110}),
            ((0x10000, None), {"Status": 0x0110}),
            ((0x0000, "no data set"), {"Status": 0x0110}),
        ],
    )
    def test_what_is_returned(self, nset, kind, answer, status):
        with asked_by(kind, lambda event: answer, nset) as (_, assoc):
            got, attributes = send(assoc)
            assert {element.keyword: element.value for element in got} == status
            assert not attributes
            assert send(assoc)[0].Status == status["Status"]  # the association goes on

    @pytest.mark.parametrize("answer", [Odd(), (0x0000, Odd())], ids=["alone", "as a data set"])
    def test_an_object_that_answers_nothing(self, nset, kind, answer):
        """As a proxy of what there is not, in another thread or context."""
        with asked_by(kind, lambda event: answer, nset) as (_, assoc):
            for _ in range(2):
                assert send(assoc)[0].Status == 0x0110

    @pytest.mark.parametrize("status", [0x0000, 0x0107, 0xB000])
    def test_attribute_list(self, nset, kind, status):
        with asked_by(kind, lambda event: (status, event.modification_list), nset) as (_, assoc):
            got, attributes = send(assoc)
            assert got.Status == status
            # B000H is none of the statuses of MPPS: pynetdicom sends it alone.
            assert attributes == (Dataset() if status == 0xB000 else completed())

    def test_no_attribute_list_with_a_failure(self, nset, kind):
        with asked_by(kind, lambda event: (0x0110, completed()), nset) as (_, assoc):
            got, attributes = send(assoc)
            assert (got.Status, attributes) == (0x0110, None)

    @pytest.mark.parametrize("error", [KeyError, SystemExit, asyncio.CancelledError])
    def test_exception(self, nset, kind, caplog, error):
        def handle(event):
            raise error("no such step")

        with asked_by(kind, handle, nset) as (_, assoc):
            assert send(assoc)[0].Status == 0x0110
            assert send(assoc)[0].Status == 0x0110
        assert "Exception in the handler bound to 'evt.EVT_N_SET'" in caplog.text
        assert "no such step" in caplog.text

    def test_no_handler(self, nset, kind, caplog):
        ae = entity()
        with accepting(nset, None, ae, inline=kind == "inline") as server:
            assoc = ae.associate("127.0.0.1", port(server))
            assert send(assoc)[0].Status == 0x0110
            assoc.release()
        assert "No handler has been bound to 'evt.EVT_N_SET'" in caplog.text

    def test_abort(self, nset, kind):
        def handle(event):
            event.assoc.abort()
            return 0x0000, None

        with asked_by(kind, handle, nset) as (server, assoc):
            assert send(assoc)[0] == Dataset()
            assert server.counts.responses == {}
            assert server.counts.aborted == {"local": 1}


class TestPlain:
    def test_release(self, nset):
        def handle(event):
            event.assoc.release()
            return 0x0000, None

        with asked_by("plain", handle, nset) as (server, _):
            with Peer(port(server), MPPS) as peer:
                peer.send(n_set_pdus(nset))
                assert peer.receive() == (0x05, bytes(4))
                peer.send(b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00")
                assert peer.receive() is None
            assert server.counts.responses == {}

    def test_slow_ones_hold_up_nobody_else(self, nset):
        go_on = threading.Event()
        started = Queue()

        def handle(event):
            if event.message_id == 1:
                started.put(None)
                assert go_on.wait(TIMEOUT)
            return 0x0000, None

        with asked_by("plain", handle, nset) as (server, assoc):
            peers = [Peer(port(server), MPPS) for _ in range(8)]
            for peer in peers:
                peer.send(n_set_pdus(nset, 1))
            for _ in peers:
                started.get(timeout=TIMEOUT)
            assert send(assoc)[0].Status == 0x0000
            go_on.set()
            for peer in peers:
                assert peer.receive_message()[0].Status == 0x0000
                peer.release()
                peer.socket.close()

    def test_not_more_threads_than_allowed(self, nset):
        running, most, lock, both = 0, 0, threading.Lock(), threading.Event()

        def handle(event):
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                if running == 2:
                    both.set()
            assert both.wait(TIMEOUT)
            time.sleep(0.02)  # so that all would run at once, if they could
            with lock:
                running -= 1
            return 0x0000, None

        with asked_by("plain", handle, nset, workers=2) as (server, _):
            peers = [Peer(port(server), MPPS) for _ in range(8)]
            for peer in peers:
                peer.send(n_set_pdus(nset, 1))
            for peer in peers:
                assert peer.receive_message()[0].Status == 0x0000
                peer.release()
                peer.socket.close()
        assert most == 2

    def test_function_that_returns_a_coroutine(self, nset):
        async def later(status):
            await asyncio.sleep(0)
            return status, None

        with asked_by("plain", lambda event: later(0x0107), nset) as (_, assoc):
            assert send(assoc)[0].Status == 0x0107

    @pytest.mark.parametrize("form", ["partial", "object", "method"])
    def test_other_callables(self, nset, form):
        class Handler:
            async def __call__(self, event):
                return 0x0107, None

            async def method(self, event):
                return 0x0107, None

        async def function(extra, event):
            return extra, None

        handlers = {
            "partial": partial(function, 0x0107),
            "object": Handler(),
            "method": Handler().method,
        }
        ae = entity()
        with accepting(nset, [(evt.EVT_N_SET, handlers[form])], ae) as server:
            assoc = ae.associate("127.0.0.1", port(server))
            assert send(assoc)[0].Status == 0x0107
            assoc.release()


variable = contextvars.ContextVar("variable", default=0)


class TestAsync:
    def run(self, nset, handler, requests=1):
        """Let a raw peer ask so many times at once; give the statuses in the order of answers."""
        with (
            accepting(nset, [(evt.EVT_N_SET, handler)]) as server,
            Peer(port(server), MPPS) as peer,
        ):
            peer.send(*(n_set_pdus(nset, number) for number in range(1, requests + 1)))
            answers = [peer.receive_message()[0] for _ in range(requests)]
            peer.release()
        assert [answer.MessageIDBeingRespondedTo for answer in answers] == list(
            range(1, requests + 1)
        )
        return [answer.Status for answer in answers]

    @pytest.mark.parametrize("suspends", [False, True])
    def test_is_a_task(self, nset, suspends):
        seen = []

        async def handle(event):
            before = asyncio.current_task()
            assert before is not None
            assert before.get_name()
            if suspends:
                await asyncio.sleep(0)
                assert before in asyncio.all_tasks()
                assert before.cancelling() == 0 if hasattr(before, "cancelling") else True
            assert asyncio.current_task() is before
            assert not before.done()
            seen.append(before)
            return 0x0000, None

        assert self.run(nset, handle, 3) == [0x0000] * 3
        assert len({id(task) for task in seen}) == 3
        assert all(task.done() for task in seen)

    @pytest.mark.parametrize("suspends", [False, True])
    def test_context_variables_are_its_own(self, nset, suspends):
        values = []

        async def handle(event):
            values.append(variable.get())
            variable.set(event.message_id)
            if suspends:
                await asyncio.sleep(0)
            values.append(variable.get())
            return 0x0000, None

        self.run(nset, handle, 3)
        assert values == [0, 1, 0, 2, 0, 3]

    def test_timeout(self, nset):
        async def handle(event):
            try:
                await asyncio.wait_for(asyncio.sleep(TIMEOUT), 0.01)
            except asyncio.TimeoutError:
                return 0x0107, None

        assert self.run(nset, handle) == [0x0107]

    @pytest.mark.skipif(not hasattr(asyncio, "timeout"), reason="asyncio.timeout came with 3.11")
    def test_timeout_of_311(self, nset):
        async def handle(event):
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(TIMEOUT)
            except TimeoutError:
                return 0x0107, None

        assert self.run(nset, handle) == [0x0107]

    @pytest.mark.parametrize("suspends", [False, True])
    def test_cancels_itself(self, nset, suspends):
        ended = []

        async def handle(event):
            try:
                if suspends:
                    await asyncio.sleep(0)
                asyncio.current_task().cancel()
                await asyncio.sleep(TIMEOUT)
            finally:
                ended.append(True)

        assert self.run(nset, handle, 2) == [0x0110] * 2
        assert ended == [True] * 2

    @pytest.mark.parametrize("suspends", [False, True])
    def test_exception(self, nset, suspends):
        async def handle(event):
            if suspends:
                await asyncio.sleep(0)
            raise OSError("database is gone")

        assert self.run(nset, handle, 2) == [0x0110] * 2

    def test_done_callback_of_the_current_task(self, nset):
        done = threading.Event()

        async def handle(event):
            asyncio.current_task().add_done_callback(lambda task: done.set())
            return 0x0000, None

        self.run(nset, handle)
        assert done.wait(TIMEOUT)

    def test_order_within_an_association(self, nset):
        async def handle(event):
            await asyncio.sleep(0.001 * (event.message_id % 3))
            return 0x0000, None

        assert self.run(nset, handle, 60) == [0x0000] * 60

    def test_can_not_wait_for_the_peer(self, nset):
        texts = []

        async def handle(event):
            # It would last as long as the association, which the loop is to end.
            for wait in (event.assoc.release, partial(event.assoc.join, 0.01)):
                with pytest.raises(RuntimeError) as caught:
                    wait()
                texts.append(str(caught.value))
            return 0x0000, None

        assert self.run(nset, handle) == [0x0000]
        assert ["hold up the loop" in text for text in texts] == [True, True]

    def test_slow_one_holds_up_nobody_else(self, nset):
        async def handle(event):
            if event.message_id == 1:
                await event_to_wait_for.wait()
            return 0x0000, None

        event_to_wait_for = asyncio.Event()
        with (
            accepting(nset, [(evt.EVT_N_SET, handle)]) as server,
            Peer(port(server), MPPS) as slow,
            Peer(port(server), MPPS) as quick,
        ):
            slow.send(n_set_pdus(nset, 1))
            quick.send(n_set_pdus(nset, 2))
            assert quick.receive_message()[0].Status == 0x0000
            server.loop.call_soon_threadsafe(event_to_wait_for.set)
            assert slow.receive_message()[0].Status == 0x0000
            slow.release()
            quick.release()


class TestBinding:
    @pytest.mark.parametrize("kind", ["plain", "async"])
    def test_handlers_are_given_as_they_are_bound_and_called_with_the_association(self, nset, kind):
        """Also those that pynetdicom's service classes call."""
        seen = []

        def handle(event):
            seen.append((event.event, event.assoc, type(event.assoc)))
            return 0x0000 if event.event is evt.EVT_C_STORE else (0x0000, None)

        async def handle_async(event):
            return handle(event)

        def find(event):
            seen.append((event.event, event.assoc, type(event.assoc)))
            yield 0x0000, None

        async def find_async(event):
            for answer in find(event):
                yield answer

        one, many = (handle, find) if kind == "plain" else (handle_async, find_async)
        bound = [(evt.EVT_C_STORE, one), (evt.EVT_N_CREATE, one), (evt.EVT_C_FIND, many)]
        with associated(nset, bound, CT, FIND, MPPS) as (_, assoc, acceptor):
            for event, handler in bound:
                assert acceptor.get_handlers(event) == (handler, None)
            acceptor.bind(evt.EVT_PDU_SENT, lambda event: None)  # the slow path for all
            assert assoc.send_c_store(image()).Status == 0x0000
            assert assoc.send_n_create(completed(), MPPS, INSTANCE)[0].Status == 0x0000
            assert [status.Status for status, _ in assoc.send_c_find(query(), FIND)] == [0x0000]
            expected = (evt.EVT_C_STORE, evt.EVT_N_CREATE, evt.EVT_C_FIND)
            assert seen == [(event, acceptor, type(acceptor)) for event in expected]

    def test_bind_and_unbind_while_running(self, nset):
        ae = entity()
        with accepting(nset, [(evt.EVT_N_SET, lambda event: (0x0107, None))], ae) as server:
            assoc = ae.associate("127.0.0.1", port(server))
            assert send(assoc)[0].Status == 0x0107

            async def handle(event):
                return 0x0000, None

            server.bind(evt.EVT_N_SET, handle)
            assert server.get_handlers(evt.EVT_N_SET) == (handle, None)
            assert send(assoc)[0].Status == 0x0000
            (acceptor,) = server.active_associations
            acceptor.bind(evt.EVT_N_SET, lambda event, status: (status, None), [0x0112])
            assert send(assoc)[0].Status == 0x0112
            server.unbind(evt.EVT_N_SET, handle)
            assert send(assoc)[0].Status == 0x0112
            other = ae.associate("127.0.0.1", port(server))
            assert send(other)[0].Status == 0x0110
            other.release()
            assoc.release()

    @pytest.mark.parametrize(
        "event",
        [
            evt.EVT_DATA_RECV,
            evt.EVT_DATA_SENT,
            evt.EVT_PDU_RECV,
            evt.EVT_PDU_SENT,
            evt.EVT_DIMSE_RECV,
            evt.EVT_DIMSE_SENT,
            evt.EVT_FSM_TRANSITION,
        ],
        ids=str,
    )
    def test_whoever_listens_hears(self, nset, event):
        heard = Queue()
        ae = entity()
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, completed()))]
        with accepting(nset, handlers, ae) as server:
            assoc = ae.associate("127.0.0.1", port(server))
            assert send(assoc)[0].Status == 0x0000
            server.bind(event, heard.put)
            assert send(assoc)[1] == completed()
            one = heard.get(timeout=TIMEOUT)
            assert one.event == event
            if event in (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT):
                assert one.message.command_set.CommandField in (0x0120, 0x8120)
            server.unbind(event, heard.put)
            assoc.release()

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("event", [evt.EVT_DIMSE_SENT, evt.EVT_PDU_SENT], ids=str)
    def test_whoever_begins_to_listen_in_the_handler_hears_its_answer(self, nset, kind, event):
        heard = Queue()

        def handle(asked):
            asked.assoc.bind(event, heard.put)
            return 0x0000, None

        with asked_by(kind, handle, nset) as (_, assoc):
            assert send(assoc)[0].Status == 0x0000
            assert heard.get(timeout=TIMEOUT).event == event
