"""nset.scp with pynetdicom as SCU: the services, as of pynetdicom's own server.

That one gets the same requests and the same handlers.
"""

import asyncio
import threading
from pathlib import Path
from queue import Queue

import pytest
import services
from acceptors import accepting, port, until
from associations import TIMEOUT
from pynetdicom import _config, build_context, evt
from services import (
    CT,
    ECHO,
    FIND,
    KINDS,
    MANY,
    ONCE,
    SINGLE,
    answers_of,
    associated,
    everything,
    image,
    observed,
    single,
)


class TestServices:
    def compare(self, nset, kind, name, destination, oracle):
        scenario = single(SINGLE[name], *answers_of(SINGLE[name]))
        with accepting(nset, None, everything()) as server:
            got = observed(server, destination, scenario, KINDS[kind])
        assert got == oracle(name, scenario)
        (answers, _), seen = got
        assert len(seen) == len(answers) == len(answers_of(SINGLE[name]))

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", [name for name in SINGLE if name != "C-STORE"])
    def test_single_response(self, nset, kind, name, destination, oracle):
        self.compare(nset, kind, name, destination, oracle)

    @ONCE
    def test_store(self, nset, kind, destination, oracle):
        self.compare(nset, kind, "C-STORE", destination, oracle)

    @ONCE
    @pytest.mark.parametrize("scenario", MANY, ids=lambda scenario: scenario.__name__)
    def test_many_responses(self, nset, kind, scenario, destination, oracle):
        with accepting(nset, None, everything()) as server:
            got = observed(server, destination, scenario, KINDS[kind])
        assert got == oracle(scenario, scenario)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("in_file", [False, True])
    def test_store_of_two_mebibytes(self, nset, kind, in_file, monkeypatch):
        monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", in_file)
        pixels = bytes(range(256)) * 0x2000
        seen = Queue()

        def handle(event):
            path = event.dataset_path if in_file else None
            stored = event.dataset
            seen.put((path, path is not None and path.is_file(), stored.PixelData))
            return 0x0000

        handlers = [(evt.EVT_C_STORE, KINDS[kind](handle))]
        with associated(nset, handlers, CT) as (server, assoc, _):
            assert assoc.send_c_store(image(1, pixels)).Status == 0x0000
            path, was_there, stored = seen.get(timeout=TIMEOUT)
            assert stored == pixels
            assert was_there == in_file
            if in_file:
                until(lambda: not Path(path).exists(), "the file is left over")
            assert assoc.send_c_store(image(2)).Status == 0x0000
            assert server.counts.bytes_received > 0x200000


def test_no_handlers(nset, destination, oracle):
    """Without a bound handler the answer is pynetdicom's."""

    def scenario(place):
        names = ("C-STORE", "N-CREATE", "N-GET", "N-ACTION", "N-DELETE")

        def ask(assoc):
            return [SINGLE[name].ask(assoc) for name in ("C-ECHO", *names)]

        syntaxes = {SINGLE[name].syntax for name in ("C-ECHO", *names)}
        return services.Exchange({}, ask, tuple(sorted(syntaxes)))

    with accepting(nset, None, everything()) as server:
        assert observed(server, destination, scenario) == oracle("none", scenario)


def test_async_find_that_is_cancelled(nset):
    """An asynchronous generator does not hold up the C-CANCEL that it waits for."""

    async def handle(event):
        yield 0xFF00, services.patient(1)
        while not event.is_cancelled:
            await asyncio.sleep(0.001)
        yield 0xFE00, None

    with associated(nset, [(evt.EVT_C_FIND, handle)], FIND) as (_, assoc, _acceptor):
        statuses = []
        for status, _ in assoc.send_c_find(services.query(), FIND, msg_id=7):
            statuses.append(status.Status)
            assoc.send_c_cancel(7, query_model=FIND)
        assert statuses == [0xFF00, 0xFE00]


def test_move_to_another_event_driven_server(nset, oracle):
    ae = everything()
    with accepting(nset, None, ae) as server, accepting(nset, None, everything()) as other:
        got = observed(server, other, services.move_two)
    assert got == oracle(services.move_two, services.move_two)


def test_services_of_many_associations_at_once(nset):
    """Handlers that wait for each other: each association has a thread for what it asks."""
    together = threading.Barrier(8)

    def handle(event):
        together.wait(TIMEOUT)
        return 0x0000

    ae = everything()
    contexts = [build_context(ECHO)]
    with accepting(nset, [(evt.EVT_C_ECHO, handle)], ae) as server:
        statuses = Queue()

        def ask():
            assoc = ae.associate("127.0.0.1", port(server), contexts)
            statuses.put(assoc.send_c_echo())
            assoc.release()

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert [statuses.get(timeout=TIMEOUT).Status for _ in threads] == [0x0000] * 8
