"""nset.scp: the server object, its events, ends and counts, and many associations."""

import gc
import socket
import threading
from queue import Queue

import pytest
import services
from acceptors import accepting, connected, ended, entity, n_set_pdus, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed, send_n_set
from descriptors import one_descriptor_left
from implementations import IMPLEMENTATIONS, loaded
from pynetdicom import build_context, evt
from raw_peer import ABORT, RELEASE_RP, RELEASE_RQ, Peer, associate_rq, pdu
from services import (
    CT,
    ECHO,
    associated,
    echo_pdu,
    everything,
    stock_server,
    user_identity,
)


class TestServer:
    def test_address_and_associations(self, nset):
        ae = everything()
        with accepting(nset, None, ae) as server:
            host, number = server.server_address
            assert host == "127.0.0.1"
            assert number > 0
            assert server.active_associations == []
            one = ae.associate(host, number, [build_context(ECHO)])
            two = ae.associate(host, number, [build_context(ECHO)])
            assert len(server.active_associations) == 2
            for acceptor in server.active_associations:
                assert acceptor.is_acceptor
                assert acceptor.is_established
                assert acceptor.is_alive()
                assert acceptor.ae is ae
                assert acceptor.acceptor.port == number
                assert acceptor.requestor.ae_title == "NSET"
                assert acceptor in ae.active_associations
            assert len(ae.active_associations) == 4
            first = server.active_associations[0]
            assert first.requestor.port == one.requestor.port
            one.release()
            first.join(TIMEOUT)
            assert len(server.active_associations) == 1
            two.release()

    def test_ipv6(self, scp):
        ae = everything()
        with scp.start_server(ae, ("::1", 0, 0, 0), block=False) as server:
            assoc = ae.associate("::1", port(server), [build_context(ECHO)])
            assert assoc.send_c_echo().Status == 0x0000
            assoc.release()

    def test_address_that_is_taken(self, nset, scp):
        with accepting(nset, None) as server, pytest.raises(OSError, match="in use"):
            scp.start_server(entity(), server.server_address, block=False)

    # asyncio's own loop stumbles in its finalizer where it was not made to the end.
    @pytest.mark.filterwarnings("ignore:Exception ignored in. .*BaseEventLoop")
    @pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
    @pytest.mark.parametrize("block", [False, True])
    def test_no_descriptors_for_a_loop(self, scp, block):
        ae = entity()
        with one_descriptor_left(), pytest.raises(OSError, match=r"(?i)too many open files"):
            scp.start_server(ae, ("127.0.0.1", 0), block)
        gc.collect()  # what is left of the loop, while its warnings are ignored
        assert ae._servers == []
        with scp.start_server(ae, ("127.0.0.1", 0), block=False) as server:
            assert server.server_address[1]

    def test_events_and_handlers(self, nset, stock):
        handler, other = (lambda event: 0x0000), (lambda event: None)
        with accepting(nset, [(evt.EVT_C_ECHO, handler, [1])], everything()) as server:
            assert server.get_events() == stock.get_events()
            for event in stock.get_events():
                if event != evt.EVT_C_ECHO:
                    assert server.get_handlers(event) == stock.get_handlers(event)
            assert server.get_handlers(evt.EVT_C_ECHO) == (handler, [1])
            server.bind(evt.EVT_CONN_OPEN, other)
            assert server.get_handlers(evt.EVT_CONN_OPEN) == [(other, None)]
            server.unbind(evt.EVT_CONN_OPEN, other)
            server.unbind(evt.EVT_C_ECHO, handler)
            for event in (evt.EVT_CONN_OPEN, evt.EVT_C_ECHO):
                assert server.get_handlers(event) == stock.get_handlers(event)

    def test_bind_reaches_associations(self, nset):
        opened = Queue()
        with associated(nset, None, ECHO) as (server, assoc, acceptor):
            server.bind(evt.EVT_C_ECHO, lambda event, status: status, [0x0122])
            assert assoc.send_c_echo().Status == 0x0122
            acceptor.bind(evt.EVT_C_ECHO, lambda event: 0x0210)
            assert assoc.send_c_echo().Status == 0x0210
            server.bind(evt.EVT_CONN_CLOSE, opened.put)
            assoc.release()
            assert opened.get(timeout=TIMEOUT).assoc is acceptor

    @pytest.mark.parametrize(
        "events",
        [
            (evt.EVT_CONN_OPEN, evt.EVT_REQUESTED, evt.EVT_ACCEPTED, evt.EVT_ESTABLISHED),
            (evt.EVT_RELEASED, evt.EVT_CONN_CLOSE),
            (evt.EVT_ACSE_RECV, evt.EVT_ACSE_SENT),
            (evt.EVT_PDU_RECV, evt.EVT_PDU_SENT),
            (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT),
            (evt.EVT_DATA_RECV, evt.EVT_DATA_SENT),
            (evt.EVT_FSM_TRANSITION,),
        ],
        ids=lambda events: events[0].name,
    )
    def test_notifications_are_pynetdicoms(self, nset, events, remembered):
        """The same ones in the same order, though pynetdicom's come from two threads."""

        def told(server):
            heard, released, closed = [], threading.Event(), threading.Event()

            def note(event):
                if event.event is evt.EVT_CONN_CLOSE:
                    assert released.wait(TIMEOUT)  # from the other thread; which is first is chance
                heard.append((event.event.name, *_details(event)))

            for event in events:
                server.bind(event, note)
            server.bind(evt.EVT_RELEASED, lambda event: released.set())
            server.bind(evt.EVT_CONN_CLOSE, lambda event: closed.set())
            with Peer(port(server), ECHO) as peer:
                peer.send(echo_pdu())
                peer.receive_message()
                peer.release()
            assert closed.wait(TIMEOUT)
            until(lambda: not server.active_associations)
            return heard

        def told_by_stock():
            with stock_server() as server:
                return told(server)

        with accepting(nset, None, everything()) as server:
            got = told(server)
        assert got == remembered(events, told_by_stock)
        assert {name for name, *_ in got} == {event.name for event in events}

    def test_shutdown(self, scp):
        ae = everything()
        server = scp.start_server(ae, ("127.0.0.1", 0), block=False)
        assert ae._servers == [server]
        assoc = ae.associate(*server.server_address, [build_context(ECHO)])
        server.shutdown()
        until(lambda: assoc.is_released, "released in good order")
        assert ae._servers == []
        assert server.active_associations == []
        assert server.counts.open_connections == 0
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(server.server_address, TIMEOUT)
        server.shutdown()  # once more does nothing

    def test_as_context_manager(self, scp):
        ae = everything()
        with scp.start_server(ae, ("127.0.0.1", 0), block=False) as server:
            assoc = ae.associate(*server.server_address, [build_context(ECHO)])
            assert assoc.is_established
        until(lambda: assoc.is_released)
        assert ae._servers == []

    def test_shutdown_of_the_ae(self, scp):
        ae = everything()
        servers = [scp.start_server(ae, ("127.0.0.1", 0), block=False) for _ in range(2)]
        client = everything()
        assocs = [client.associate(*s.server_address, [build_context(ECHO)]) for s in servers]
        ae.shutdown()
        assert ae._servers == []
        for server, assoc in zip(servers, assocs, strict=True):
            assert server.active_associations == []
            assert not server.thread.is_alive()
            until(lambda assoc=assoc: assoc.is_aborted)

    def test_blocking_until_the_ae_is_shut_down(self, scp):
        ae, results = everything(), Queue()
        thread = threading.Thread(
            target=lambda: results.put(scp.start_server(ae, ("127.0.0.1", 0), block=True))
        )
        thread.start()
        until(lambda: ae._servers, "no server")
        (server,) = ae._servers
        assoc = everything().associate(*server.server_address, [build_context(ECHO)])
        assert assoc.send_c_echo().Status == 0x0000
        ae.shutdown()
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        assert results.get(timeout=TIMEOUT) is None

    def test_maximum_associations(self, nset):
        ae = everything()
        ae.maximum_associations = 2
        client = everything()
        with accepting(nset, None, ae) as server, accepting(nset, None, ae) as other:
            # Those of both servers of the AE count.
            one = client.associate(*server.server_address, [build_context(ECHO)])
            two = client.associate(*other.server_address, [build_context(ECHO)])
            for _ in range(2):
                more = client.associate(*server.server_address, [build_context(ECHO)])
                assert more.is_rejected
                assert more.acceptor.primitive.result_source == 0x03
            (acceptor,) = [one for one in server.active_associations if one.is_established]
            one.release()
            acceptor.join(TIMEOUT)
            more = client.associate(*server.server_address, [build_context(ECHO)])
            assert more.is_established
            more.release()
            two.release()
            ended(server)
            assert server.counts.rejected == 2

    @pytest.mark.parametrize("is_heard", [False, True])
    @pytest.mark.parametrize("kind", [ABORT, RELEASE_RQ], ids=["abort", "release"])
    def test_peer_that_closes_at_once(self, nset, kind, is_heard):
        """The end of the connection does not overtake what came before it."""
        handlers = [(evt.EVT_REQUESTED, lambda event: None)] if is_heard else None
        with accepting(nset, handlers) as server:
            for _ in range(20):
                with Peer(port(server), MPPS) as peer:
                    peer.send(pdu(kind, bytes(4)))
                ended(server)
            counts = server.counts
            if kind == ABORT:
                assert (counts.released, counts.aborted) == (0, {"peer": 20})
            else:
                assert (counts.released, counts.aborted) == (20, {})

    def test_own_title_and_contexts(self, nset):
        ae = everything()
        ae.require_called_aet = True
        options = {"ae_title": "OTHER", "contexts": [build_context(ECHO)]}
        with accepting(nset, None, ae, **options) as server:
            wanted = [build_context(ECHO), build_context(CT)]
            assert ae.associate(*server.server_address, wanted).is_rejected
            assoc = ae.associate(*server.server_address, wanted, ae_title="OTHER")
            assert [context.abstract_syntax for context in assoc.accepted_contexts] == [ECHO]
            assert [context.abstract_syntax for context in assoc.rejected_contexts] == [CT]
            assoc.release()

    def test_no_contexts(self, scp):
        with pytest.raises(ValueError, match="No supported Presentation Contexts"):
            scp.start_server(services.AE(), ("127.0.0.1", 0), block=False)

    def test_counts(self, nset):
        handlers = [
            (evt.EVT_N_SET, lambda event: (0x0107 if event.message_id == 1 else 0x0000, None)),
            (evt.EVT_C_ECHO, lambda event: 0x0122),
            (evt.EVT_USER_ID, lambda event: (False, None)),
        ]
        with associated(nset, handlers, MPPS, ECHO) as (server, assoc, acceptor):
            assert assoc.send_n_set(completed(), MPPS, INSTANCE, msg_id=1)[0].Status == 0x0107
            assert send_n_set(assoc) == 0x0000
            assert assoc.send_c_echo().Status == 0x0122
            counts = server.counts
            assert (counts.connections, counts.open_connections) == (1, 1)
            assert (counts.associations, counts.open_associations) == (1, 1)
            assert (counts.requests, counts.n_set_requests) == (3, 2)
            assert counts.responses == {"Warning": 1, "Success": 1, "Failure": 1}
            assert (counts.released, counts.rejected, counts.aborted) == (0, 0, {})
            assert counts.bytes_received > counts.bytes_sent > 100
            assoc.release()
            acceptor.join(TIMEOUT)
            ae = everything()
            contexts = [build_context(ECHO)]
            rejected = ae.associate(*server.server_address, contexts, ext_neg=[user_identity()])
            assert rejected.is_rejected
            for end in ("peer", "local"):
                assoc = ae.associate(*server.server_address, contexts)
                (acceptor,) = [one for one in server.active_associations if one.is_established]
                (assoc if end == "peer" else acceptor).abort()
                acceptor.join(TIMEOUT)
            peer = Peer(port(server), ECHO)
            (acceptor,) = [one for one in server.active_associations if one.is_established]
            peer.socket.close()
            acceptor.join(TIMEOUT)
            until(lambda: server.counts.open_connections == 0)
            after = server.counts
            assert (after.connections, after.refused_connections) == (5, 0)
            assert (after.associations, after.open_associations) == (4, 0)
            assert (after.released, after.rejected) == (1, 1)
            assert after.aborted == {"peer": 1, "local": 1, "connection": 1}
            assert (after.requests, after.n_set_requests) == (3, 2)


def _details(event):
    """What a notification says, but for what differs between any two servers."""
    if event.event in (evt.EVT_DATA_RECV, evt.EVT_DATA_SENT):
        return (bytes(event.data),)
    if event.event in (evt.EVT_PDU_RECV, evt.EVT_PDU_SENT):
        return type(event.pdu).__name__, event.pdu.encode()
    if event.event in (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT):
        return type(event.message).__name__, event.message.command_set
    if event.event in (evt.EVT_ACSE_RECV, evt.EVT_ACSE_SENT):
        return (type(event.primitive).__name__,)
    if event.event == evt.EVT_FSM_TRANSITION:
        return event.current_state, event.fsm_event, event.action, event.next_state
    return ()


@pytest.fixture
def descriptors():
    """Room for the sockets of both sides."""
    resource = pytest.importorskip("resource")  # Windows has none, and no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"no more than {hard} descriptors"
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_more_than_1024_descriptors():
    """What select() can't do; on one implementation, as descriptors are the loop's business."""
    number = 1100
    ae = entity()
    ae.maximum_associations = number
    ae.network_timeout = None  # the first are idle until the last are there
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
    with loaded(IMPLEMENTATIONS[0]) as nset, accepting(nset, handlers, ae) as server:
        peers = [Peer(port(server), MPPS) for _ in range(number)]
        assert peers[-1].socket.fileno() > 1024
        assert server.counts.open_associations == number
        assert len(server.active_associations) == number
        with connected(server) as peer:  # one too many
            peer.sendall(associate_rq(MPPS))
            assert peer.recv(100)[0] == 0x03
        for peer in (peers[-1], peers[0]):
            peer.send(n_set_pdus(nset))
            assert peer.receive_message()[0].Status == 0x0000
        for peer in peers:
            peer.send(pdu(RELEASE_RQ, bytes(4)))
        for peer in peers:
            assert peer.receive() == (RELEASE_RP, bytes(4))
            peer.socket.close()
        assert server.counts.rejected == 1
