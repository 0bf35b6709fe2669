"""nset.scp: async generators are closed."""

import asyncio
import threading

import pytest
from acceptors import accepting, entity, port, until
from associations import TIMEOUT
from ends import FIND, query
from pynetdicom import evt


@pytest.mark.parametrize("last", [0xC000, None])
def test_an_async_generator_is_closed(nset, last):
    """Also where pynetdicom asks for no more of it, as behind a failure."""
    log = []

    async def find(event):
        try:
            yield 0xFF00, query()
            if last is not None:
                yield last, None
                yield 0xFF00, query()
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    ae = entity(FIND)
    with accepting(nset, [(evt.EVT_C_FIND, find)], ae) as server:
        assoc = ae.associate("127.0.0.1", port(server))
        statuses = [status.Status for status, _ in assoc.send_c_find(query(), FIND)]
        assert statuses == [0xFF00, last or 0x0000]
        until(lambda: log == ["closed"])
        assoc.release()


def test_an_async_generator_at_shutdown(nset):
    """No thread waits for it any more, also where it is closed behind the end of the loop."""
    has_begun, log = threading.Event(), []

    async def find(event):
        yield 0xFF00, query()
        has_begun.set()
        try:
            await asyncio.sleep(TIMEOUT * 10)
        finally:
            log.append("cancelled")

    ae = entity(FIND)
    with accepting(nset, [(evt.EVT_C_FIND, find)], ae) as server:
        assoc = ae.associate("127.0.0.1", port(server))
        thread = threading.Thread(target=lambda: list(assoc.send_c_find(query(), FIND)))
        thread.start()
        assert has_begun.wait(TIMEOUT)
        server.shutdown(timeout=0.1)
        thread.join(TIMEOUT)
    assert log == ["cancelled"]
    until(lambda: "nset-service" not in [thread.name for thread in threading.enumerate()])
