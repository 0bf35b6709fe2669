"""With nset in pynetdicom associations end as ever."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from associations import (
    INSTANCE,
    MPPS,
    TIMEOUT,
    associated,
    completed,
)
from pynetdicom import evt
from seen import elements, with_lengths


def abort(event: evt.Event) -> None:
    event.assoc.abort()


def close(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    event.assoc.dul.join(TIMEOUT)


ENDS: dict[str, Callable[[evt.Event], Any]] = {
    "abort": abort,
    "closed connection": close,
    "exception": lambda event: 1 / 0,
    "release": lambda event: (0x0000, None),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_ends(server, both, end):
    def run():
        with associated(server, MPPS, {evt.EVT_N_SET: end}) as (scu, scp):
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
        return (
            *(elements(status), answer),
            *(scu.is_aborted, scu.is_released, scu.is_established),
            *(scp.is_aborted, scp.is_released, scp.is_established),
        )

    ours, stock = both(run)
    assert ours == stock


def test_the_dimse_timeout(server, both):
    def run():
        timed_out = threading.Event()

        def handle(event):
            timed_out.wait(TIMEOUT)
            return 0x0000, None

        with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (scu, scp):
            scu.dimse_timeout = 0.2
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
            timed_out.set()
        return elements(status), answer, scu.is_aborted, scp.is_aborted

    ours, stock = both(run)
    assert ours == stock == ([], None, True, True)


def test_install_and_uninstall_amid_messages(nset, server, integration):
    """Fragments keep coming while nset is installed and uninstalled: no message is lost."""
    received = []

    def handle(event):
        received.append(event.modification_list)
        return 0x0000, event.modification_list

    with with_lengths(server, {evt.EVT_N_SET: handle}, 64, 64) as (scu, scp):

        def toggle(event):
            (integration.uninstall if integration.is_installed() else integration.install)()

        scp.bind(evt.EVT_DATA_RECV, toggle)
        scu.bind(evt.EVT_DATA_RECV, toggle)
        for number in range(5):
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE, msg_id=number)
            assert status.Status == 0x0000
            assert answer == completed()
    assert received == [completed()] * 5
