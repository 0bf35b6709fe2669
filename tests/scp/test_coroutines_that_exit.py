"""nset.scp: coroutines that exit end their association, or the program, in good order."""

import asyncio
import threading
from contextlib import nullcontext

import pytest
from acceptors import accepting, entity, n_set_pdus, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import Verification
from raw_peer import Peer
from shutdowns import RELEASE, RELEASED, agree_to_release


def exits_after_waiting(error, code=None):
    async def handler(event):
        await asyncio.sleep(0)
        raise error(code)

    return [(evt.EVT_N_SET, handler), (evt.EVT_C_ECHO, handler)]


def test_a_coroutine_that_exits_breaks_off_no_thread(nset):
    ae = entity(MPPS, Verification)
    with accepting(nset, exits_after_waiting(SystemExit), ae) as server:
        for number in (1, 2):
            assoc = ae.associate("127.0.0.1", port(server))
            assert assoc.send_n_set(completed(), MPPS, INSTANCE)[0].Status == 0x0110
            assert assoc.send_c_echo() == Dataset()
            until(lambda: server.active_associations == [])
            assert server.counts.aborted == {"error": number}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_the_main_thread_ends_in_good_order(nset, scp, error):
    """As by Ctrl-C where a loop has no signal handlers: on Windows."""
    ae = entity()
    ended = []

    def ask():
        until(lambda: ae._servers and ae._servers[0].counts is not None)
        server_port = port(ae._servers[0])
        with Peer(server_port, MPPS) as idle, Peer(server_port, MPPS) as peer:
            peer.send(n_set_pdus(nset))
            ended.append(nset.N_SET.from_command_set(peer.receive().body[6:]).Status)
            for one in (idle, peer):
                ended.append(one.receive())
                one.send(RELEASED)
                ended.append(one.receive())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    expected = pytest.raises(SystemExit, match="3") if error is SystemExit else nullcontext()
    with expected:
        handlers = exits_after_waiting(error, 3)
        assert scp.start_server(ae, ("127.0.0.1", 0), evt_handlers=handlers) is None
    thread.join(TIMEOUT)
    assert ended == [0x0110, RELEASE, None, RELEASE, None]
    assert ae._servers == []


@pytest.mark.parametrize("begun", [True, False])
def test_the_main_thread_does_so_whatever_exits_meanwhile(nset, scp, begun):
    """Two coroutines exit, one behind the other; a third handler still answers its peer."""
    ae = entity()
    turns, ended = {number: asyncio.Event() for number in (1, 2, 3)}, []

    async def handle(event):
        number = event.message_id
        await turns[number].wait()
        if number < 3:
            raise SystemExit(number)
        return 0x0000, None

    def ask():
        until(lambda: ae._servers and ae._servers[0].loop is not None)
        (server,) = ae._servers
        peers = [Peer(port(server), MPPS) for _ in turns]
        for number, peer in enumerate(peers, 1):
            peer.send(n_set_pdus(nset, number))
        until(lambda: server.counts.n_set_requests == 3)
        if begun:
            server.stop()
            until(lambda: server.is_releasing)
        for number, peer in enumerate(peers, 1):
            server.loop.call_soon_threadsafe(turns[number].set)
            with peer:
                ended.append(peer.receive_message()[0].Status)
                agree_to_release(peer)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    with pytest.raises(SystemExit, match="1"):
        scp.start_server(ae, ("127.0.0.1", 0), evt_handlers=[(evt.EVT_N_SET, handle)])
    thread.join(TIMEOUT)
    assert ended == [0x0110, 0x0110, 0x0000]
    assert ae._servers == []
