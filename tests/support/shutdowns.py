"""Shutdowns of a server, what they may take, and what their peers see."""

import asyncio
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from associations import TIMEOUT
from pynetdicom import evt
from raw_peer import RELEASE_RP, RELEASE_RQ, pdu

RELEASE = (RELEASE_RQ, bytes(4))
RELEASED = pdu(RELEASE_RP, bytes(4))
KINDS = ("async", "plain")

DEADLINE = 0.5
SLACK = 1.5  # seconds beyond a deadline, for a slow machine


def bound(function, kind="plain"):
    """A handler of EVT_N_SET, plain or as a coroutine function that does the same in a thread."""

    async def in_thread(event):
        return await asyncio.to_thread(function, event)

    return [(evt.EVT_N_SET, in_thread if kind == "async" else function)]


def flood(peer, data):
    """Send until the other side takes no more."""
    with suppress(TimeoutError):
        for _ in range(1000):
            peer.send(data)
        pytest.fail("the server takes all, and its answers are not read")


def succeed(event):
    return 0x0000, None


@contextmanager
def shutting_down(server, **options):
    """Have another thread shut the server down; afterwards it has."""
    thread = threading.Thread(target=server.shutdown, kwargs=options, daemon=True)
    thread.start()
    yield thread
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def agree_to_release(peer):
    """See that the server releases the association, and then closes the connection."""
    assert peer.receive() == RELEASE
    peer.send(RELEASED)
    assert peer.receive() is None


def answered(peer):
    """The Message ID of the next response, a success."""
    command_set, _ = peer.receive_message()
    assert command_set.Status == 0x0000
    return command_set.MessageIDBeingRespondedTo


def is_refused(address):
    try:
        socket.create_connection(address, TIMEOUT).close()
    except ConnectionError:
        return True
    return False
