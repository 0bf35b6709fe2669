"""The server of a soak test: `nset.scp`, whose handler checks what it is asked.

Usage: python benchmarks/soak_server.py async|plain|inline
Prints the port, then what it has done as a line of JSON for each line of its standard input, and
ends with that.
"""

import asyncio
import gc
import json
import os
import sys
import threading
from typing import Any

import acceptors
from pynetdicom import evt

from nset import scp

ACSE_TIMEOUT = 4
NETWORK_TIMEOUT = 5
"""Seconds: short, so that silent peers run into them in a short test, too."""

SERVER_BYTES = 8 << 20
DATA_SET_BYTES = 1 << 18
"""Bytes that may wait, and that a data set may have: few, so that short tests come to them."""

FAILURE = 0x0110

handled = 0
unfit = 0


def status_of(message_id: int) -> int:
    """What a request is answered with, so that answers that are mixed up are seen."""
    return 0x0107 if message_id % 10 == 9 else 0x0000


def check(event: Any) -> int:
    """Count a request; does its data set belong to it?"""
    global handled, unfit
    request = event.request
    handled += 1  # a thread may be interrupted here: with plain handlers it is not exact
    expected = request.MessageID.to_bytes(2, "little") + request.RequestedSOPInstanceUID.encode()
    if not request.ModificationList.getvalue().startswith(expected):
        unfit += 1
        return FAILURE
    return status_of(request.MessageID)


async def suspend_at_times(event: Any) -> tuple[int, None]:
    status = check(event)
    if event.message_id % 8 == 7:
        await asyncio.sleep(0.001)
    return status, None


def plain(event: Any) -> tuple[int, None]:
    return check(event), None


def main(kind: str) -> None:
    """Serve until the standard input ends."""
    gc.freeze()  # as docs/reference/scp.md advises
    ae = acceptors.entity()
    ae.maximum_associations = 200
    ae.acse_timeout, ae.network_timeout = ACSE_TIMEOUT, NETWORK_TIMEOUT
    handler = suspend_at_times if kind == "async" else plain
    server = scp.start_server(
        ae,
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_N_SET, handler)],
        inline=kind == "inline",
        limits=scp.Limits(server_bytes=SERVER_BYTES, data_set_bytes=DATA_SET_BYTES),
    )
    assert server is not None
    print(server.server_address[1], flush=True)
    for _ in sys.stdin:
        done = {
            "handled": handled,
            "unfit": unfit,
            "threads": threading.active_count(),
            "active_associations": len(server.active_associations),
            **server.counts._asdict(),
        }
        print(json.dumps(done), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
