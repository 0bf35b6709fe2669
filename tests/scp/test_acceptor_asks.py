"""nset.scp: what the acceptor asks of its peer, and its releases and aborts."""

import asyncio
import threading
import time
from queue import Queue

import pytest
from acceptors import accepting, ended, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed, send_n_set
from pynetdicom import build_role, evt
from pynetdicom.dimse_primitives import N_ACTION
from raw_peer import ABORT, RELEASE_RP, RELEASE_RQ, Peer, pdu
from services import (
    COMMITMENT,
    CT,
    ECHO,
    GET,
    KINDS,
    associated,
    everything,
    image,
    query,
)


class TestAcceptorAsks:
    def test_event_report(self, nset):
        reports = Queue()

        def handle(event):
            reports.put((event.event_type, event.event_information))
            return 0x0000, completed()

        own = [(evt.EVT_N_EVENT_REPORT, handle)]
        with associated(nset, None, COMMITMENT, own_handlers=own) as (_, _assoc, acceptor):
            for number in (1, 2):
                status, reply = acceptor.send_n_event_report(
                    completed(), number, COMMITMENT, INSTANCE
                )
                assert (status.Status, reply) == (0x0000, completed())
                assert reports.get(timeout=TIMEOUT) == (number, completed())

    def test_event_report_in_a_handler(self, nset):
        """A plain handler may ask while the peer waits for its answer."""
        reports = Queue()

        def commit(event):
            status, _ = event.assoc.send_n_event_report(completed(), 1, COMMITMENT, INSTANCE)
            return status.Status, None

        def handle(event):
            reports.put(event.event_type)
            return 0x0000, None

        own = [(evt.EVT_N_EVENT_REPORT, handle)]
        handlers = [(evt.EVT_N_ACTION, commit)]
        with associated(nset, handlers, COMMITMENT, own_handlers=own) as (_, assoc, _acceptor):
            status, _ = assoc.send_n_action(completed(), 1, COMMITMENT, INSTANCE)
            assert status.Status == 0x0000
            assert reports.get(timeout=TIMEOUT) == 1

    def test_echo_and_store(self, nset):
        stored = Queue()

        def store(event):
            stored.put(event.dataset.PixelData)
            return 0xB000

        own = [(evt.EVT_C_STORE, store), (evt.EVT_C_ECHO, lambda event: 0x0000)]
        both = [build_role(uid, scu_role=True, scp_role=True) for uid in (ECHO, CT)]
        with associated(nset, None, ECHO, CT, own_handlers=own, ext_neg=both) as (
            server,
            assoc,
            acceptor,
        ):
            assert acceptor.send_c_echo().Status == 0x0000
            assert acceptor.send_c_store(image(1, bytes(100_000))).Status == 0xB000
            assert stored.get(timeout=TIMEOUT) == bytes(100_000)
            # And the peer may still ask, too.
            assert assoc.send_c_echo().Status == 0x0000
            assert server.counts.requests == 1

    @pytest.mark.parametrize("kind", KINDS)
    def test_c_get_in_a_handler(self, nset, kind):
        """It is over after its sub-operations, which are requests of the peer."""
        answers, stored = Queue(), Queue()

        def retrieve(assoc):
            answers.put([status.get("Status") for status, _ in assoc.send_c_get(query(), GET)])
            return 0x0000, None

        async def retrieve_in_thread(event):
            return await asyncio.to_thread(retrieve, event.assoc)

        def store(event):
            stored.put(event.dataset.PixelData)
            return 0x0000

        def send(event):
            yield 2
            yield from ((0xFF00, image(number)) for number in (1, 2))

        def plain(event):
            return retrieve(event.assoc)

        act = retrieve_in_thread if kind == "async" else plain
        handlers = [(evt.EVT_N_ACTION, act), (evt.EVT_C_STORE, KINDS[kind](store))]
        uids = COMMITMENT, GET, CT
        roles = [build_role(uid, scu_role=True, scp_role=True) for uid in uids]
        with associated(
            *(nset, handlers, *uids), own_handlers=[(evt.EVT_C_GET, send)], ext_neg=roles
        ) as (_, assoc, acceptor):
            request = N_ACTION()
            request.MessageID, request.ActionTypeID = 7, 1
            request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = COMMITMENT, INSTANCE
            (context,) = (cx for cx in assoc.accepted_contexts if cx.abstract_syntax == COMMITMENT)
            assoc.dimse.send_msg(request, context.context_id)  # and then serve
            assert answers.get(timeout=TIMEOUT) == [0xFF00, 0xFF00, 0x0000]
            assert stored.qsize() == 2
            assert acceptor.is_established

    def test_n_set(self, nset):
        lists = Queue()

        def handle(event):
            lists.put(event.modification_list)
            return 0x0000, None

        own = [(evt.EVT_N_SET, handle)]
        role = [build_role(MPPS, scu_role=True, scp_role=True)]
        handlers = [(evt.EVT_N_SET, lambda event: (0x0107, None))]
        with associated(nset, handlers, MPPS, own_handlers=own, ext_neg=role) as (
            _,
            assoc,
            acceptor,
        ):
            assert send_n_set(acceptor) == 0x0000
            assert lists.get(timeout=TIMEOUT) == completed()
            assert send_n_set(assoc) == 0x0107

    def test_what_was_not_negotiated(self, nset):
        refused = pytest.raises(ValueError, match="No presentation context")
        with associated(nset, None, ECHO) as (_, _assoc, acceptor), refused:
            acceptor.send_c_echo()

    def test_peer_that_does_not_answer(self, nset):
        """The DIMSE timeout aborts the association, as it does pynetdicom's."""
        ae = everything()
        ae.dimse_timeout = 0.05
        with accepting(nset, None, ae) as server, Peer(port(server), COMMITMENT) as peer:
            (acceptor,) = server.active_associations
            status, _ = acceptor.send_n_event_report(None, 1, COMMITMENT, INSTANCE)
            assert "Status" not in status
            assert acceptor.is_aborted
            peer.receive_message()
            assert peer.receive().type == ABORT
            ended(server)

    @pytest.mark.parametrize("has_noted", [False, True])
    def test_peer_that_goes(self, nset, monkeypatch, caplog, has_noted):
        """It differs from a peer that does not answer, however far the end has been processed."""
        handlers = [] if has_noted else [(evt.EVT_CONN_CLOSE, lambda event: time.sleep(0.1))]
        with accepting(nset, handlers, everything()) as server:
            peer = Peer(port(server), COMMITMENT)
            (acceptor,) = server.active_associations
            kill_dul, receive_pdu = acceptor.dul.kill_dul, acceptor.dul.receive_pdu
            is_aborted = acceptor.acse.is_aborted

            def end_slowly():
                time.sleep(0.1)  # in which the asker learns that there is no answer
                kill_dul()

            def receive_slowly(*args, **kwargs):
                primitive = receive_pdu(*args, **kwargs)
                time.sleep(0.1)  # in which he looks why
                return primitive

            def look_late(kind):
                until(acceptor.dul.to_user_queue.empty)
                return is_aborted(kind)

            if has_noted:
                monkeypatch.setattr(acceptor.dul, "kill_dul", end_slowly)
                monkeypatch.setattr(acceptor.dul, "receive_pdu", receive_slowly)
                monkeypatch.setattr(acceptor.acse, "is_aborted", look_late)
            answers = Queue()
            asker = threading.Thread(
                target=lambda: answers.put(
                    acceptor.send_n_event_report(None, 1, COMMITMENT, INSTANCE)
                )
            )
            asker.start()
            peer.receive_message()
            peer.socket.close()
            assert "Status" not in answers.get(timeout=TIMEOUT)[0]
            asker.join(TIMEOUT)
            ended(server)
            assert acceptor.is_aborted
            assert server.counts.aborted == {"connection": 1}
        assert "timeout" not in caplog.text

    def test_release(self, nset):
        released = threading.Event()
        handlers = [(evt.EVT_RELEASED, lambda event: released.set())]
        with associated(nset, handlers, ECHO) as (server, assoc, acceptor):
            acceptor.release()
            assert acceptor.is_released
            assert not acceptor.is_established
            assert released.wait(TIMEOUT)
            ended(server)
            until(lambda: assoc.is_released, "the requestor")
            assert server.active_associations == []
            assert server.counts.released == 1
            acceptor.release()  # once more does nothing
            acceptor.abort()
            assert server.counts.aborted == {}

    def test_release_after_requests(self, nset):
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        with associated(nset, handlers, MPPS) as (_, assoc, acceptor):
            assert send_n_set(assoc) == 0x0000
            acceptor.release()
            assert acceptor.is_released
            until(lambda: assoc.is_released, "the requestor")

    def test_abort(self, nset):
        aborted = threading.Event()
        handlers = [(evt.EVT_ABORTED, lambda event: aborted.set())]
        with associated(nset, handlers, ECHO) as (server, assoc, acceptor):
            acceptor.abort()
            assert acceptor.is_aborted
            assert not acceptor.is_established
            assert aborted.wait(TIMEOUT)
            ended(server)
            assert not acceptor.is_alive()
            until(lambda: assoc.is_aborted, "the requestor")
            assert server.counts.aborted == {"local": 1}
            with pytest.raises(RuntimeError, match="must be established"):
                acceptor.send_c_echo()

    def test_release_by_both_at_once(self, nset):
        """PS3.8 Section 7.2.2.7: the requestor's response comes first."""
        with accepting(nset, None, everything()) as server, Peer(port(server), ECHO) as peer:
            (acceptor,) = server.active_associations
            release = threading.Thread(target=acceptor.release)
            release.start()
            assert peer.receive() == (RELEASE_RQ, bytes(4))
            peer.send(pdu(RELEASE_RQ, bytes(4)), pdu(RELEASE_RP, bytes(4)))
            assert peer.receive() == (RELEASE_RP, bytes(4))
            assert peer.receive() is None
            release.join(TIMEOUT)
            assert acceptor.is_released
            ended(server)
