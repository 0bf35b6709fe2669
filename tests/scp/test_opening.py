"""nset.scp: a connection opens before anything is read from it."""

import socket
import threading
import time

import pytest
from acceptors import accepting, is_over, port, until
from associations import MPPS, TIMEOUT
from pynetdicom import evt
from raw_peer import Peer, associate_rq


def test_a_connection_has_opened_before_anything_comes(nset):
    """For each bound function, however long it takes."""
    heard = []

    def opened(event):
        time.sleep(0.05)  # time enough for the A-ASSOCIATE-RQ to be read
        heard.append("open")

    handlers = [
        (evt.EVT_CONN_OPEN, opened),
        (evt.EVT_DATA_RECV, lambda event: heard.append("data")),
    ]
    with accepting(nset, handlers) as server, Peer(port(server), MPPS) as peer:
        peer.release()
        assert heard == ["open", "data", "data"]


@pytest.fixture
def opening():
    """A handler of EVT_CONN_OPEN that takes a while, and what ends that."""
    has_begun, may_return = threading.Event(), threading.Event()

    def opened(event):
        has_begun.set()
        assert may_return.wait(TIMEOUT)

    yield [(evt.EVT_CONN_OPEN, opened)], has_begun, may_return
    may_return.set()


@pytest.mark.usefixtures("loop")
def test_nothing_is_read_while_a_connection_opens(nset, opening):
    """What the system takes for it is all that there is."""
    handlers, has_begun, may_return = opening
    with (
        accepting(nset, handlers) as server,
        socket.create_connection(("127.0.0.1", port(server)), TIMEOUT) as peer,
    ):
        assert has_begun.wait(TIMEOUT)
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.sendall(bytes(100_000_000))
        (assoc,) = [path.assoc for path in server.connections.connected]
        assert assoc.path.bytes_received < 0x100000
        may_return.set()
        until(lambda: is_over(server))


@pytest.mark.usefixtures("loop")
def test_a_peer_that_goes_while_its_connection_opens(nset, opening):
    handlers, has_begun, may_return = opening
    with accepting(nset, handlers) as server:
        with socket.create_connection(("127.0.0.1", port(server)), TIMEOUT) as peer:
            assert has_begun.wait(TIMEOUT)
            peer.sendall(associate_rq(MPPS))
        time.sleep(0.1)  # time enough to take note of what is not its turn yet
        may_return.set()
        until(lambda: is_over(server))
        assert server.counts.aborted == {"connection": 1}
