"""A server of `nset.scp` that stores each request before it answers, until a signal ends it.

Usage: python storing_acceptor.py async|plain DATABASE; prints the port.
"""

import asyncio
import sqlite3
import sys
import threading

from associations import MPPS
from pynetdicom import AE, evt

from nset import scp


class AnnouncingAE(AE):
    """Prints the port of a new server, as ``start_server`` returns none while it blocks."""

    def make_server(self, *args, **kwargs):
        server = super().make_server(*args, **kwargs)
        print(server.server_address[1], flush=True)
        return server


class Store:
    """What has been asked for, in the order in which it was stored."""

    def __init__(self, path):
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        # The process ends, not the machine: what was committed is there without a sync to disk.
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE requests (instance TEXT, message_id INTEGER)")
        self._database.commit()

    def add(self, request):
        row = (str(request.RequestedSOPInstanceUID), request.MessageID)
        with self._lock:
            self._database.execute("INSERT INTO requests VALUES (?, ?)", row)
            self._database.commit()


def main(kind, path):
    store = Store(path)

    def plain(event):
        store.add(event.request)
        return 0x0000, None

    async def in_thread(event):
        await asyncio.to_thread(store.add, event.request)
        return 0x0000, None

    ae = AnnouncingAE()
    ae.maximum_associations = 100
    ae.add_supported_context(MPPS)
    handler = plain if kind == "plain" else in_thread
    scp.start_server(ae, ("127.0.0.1", 0), block=True, evt_handlers=[(evt.EVT_N_SET, handler)])


if __name__ == "__main__":
    main(*sys.argv[1:])
