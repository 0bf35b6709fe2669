"""nset.scp over TLS, with uvloop and with asyncio."""

import asyncio
import gc
import ssl
import threading
import warnings
from contextlib import contextmanager
from queue import Queue

import pytest
from acceptors import connected, ended, entity, port, until
from associations import INSTANCE, MPPS, TIMEOUT, completed, send_n_set
from certificates import client_context, server_context
from durations import takes
from pynetdicom import evt
from raw_peer import associate_rq
from services import (
    ECHO,
    KINDS,
)


@pytest.mark.usefixtures("loop")
class TestTls:
    @pytest.fixture(autouse=True)
    def sockets_of_refused_requestors(self):
        yield
        # pynetdicom's requestor does not close a socket whose TLS handshake has failed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    @contextmanager
    def secured(self, scp, context, handlers=None, ae=None):
        ae = ae or entity(MPPS, ECHO)
        server = scp.start_server(ae, ("127.0.0.1", 0), False, context, handlers)
        try:
            assert server.ssl_context is context
            yield server
        finally:
            self.shut_down(server)

    def shut_down(self, server):
        """Shut down; but a shutdown that hangs is not to hang the tests."""
        thread = threading.Thread(target=server.shutdown, args=(2,), daemon=True)
        thread.start()
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "the shutdown hangs"

    def is_refused(self, server, context):
        """Tell whether there is no answer to a request; pynetdicom's SCU would leave its socket."""
        with connected(server) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost") as peer:
                    peer.sendall(associate_rq(MPPS))
                    return peer.recv(100) == b""
            except (ssl.SSLError, ConnectionError):
                return True

    def associate(self, server, context):
        tls_args = None if context is None else (context, "localhost")
        ae = entity(MPPS, ECHO)
        return ae.associate("127.0.0.1", port(server), tls_args=tls_args)

    @pytest.mark.parametrize("kind", KINDS)
    def test_n_set_and_release(self, scp, kind, certificates):
        own, _ = certificates
        seen = Queue()

        def handle(event):
            seen.put(event.modification_list)
            return 0x0000, event.modification_list

        handlers = [(evt.EVT_N_SET, KINDS[kind](handle))]
        with self.secured(scp, server_context(own), handlers) as server:
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            for _ in range(3):
                status, attributes = assoc.send_n_set(completed(), MPPS, INSTANCE)
                assert (status.Status, attributes) == (0x0000, completed())
                assert seen.get(timeout=TIMEOUT) == completed()
            assert assoc.send_c_echo().Status == 0x0000
            (acceptor,) = server.active_associations
            assoc.release()
            assert assoc.is_released
            acceptor.join(TIMEOUT)
            until(lambda: server.counts.open_connections == 0)
            assert (server.counts.released, server.counts.aborted) == (1, {})

    @pytest.mark.parametrize("kind", KINDS)
    def test_large_lists(self, scp, kind, certificates):
        own, _ = certificates
        large = completed()
        large.add_new("PixelData", "OW", bytes(range(256)) * 0x2000)
        handlers = [(evt.EVT_N_SET, KINDS[kind](lambda event: (0x0000, event.modification_list)))]
        with self.secured(scp, server_context(own), handlers) as server:
            assoc = self.associate(server, client_context(own))
            status, attributes = assoc.send_n_set(large, MPPS, INSTANCE)
            assert status.Status == 0x0000
            assert attributes.PixelData == large.PixelData
            assoc.release()

    def test_release_and_abort_by_the_server(self, scp, certificates):
        own, _ = certificates
        with self.secured(scp, server_context(own)) as server:
            for what in ("release", "abort"):
                assoc = self.associate(server, client_context(own))
                (acceptor,) = server.active_associations
                getattr(acceptor, what)()
                acceptor.join(TIMEOUT)
                until(lambda assoc=assoc: not assoc.is_established)
                assert (assoc.is_released, assoc.is_aborted) == (
                    what == "release",
                    what == "abort",
                )
            assert (server.counts.released, server.counts.aborted) == (1, {"local": 1})

    def test_client_with_a_certificate(self, scp, certificates):
        own, client = certificates
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        with self.secured(scp, server_context(own, client), handlers) as server:
            assoc = self.associate(server, client_context(own, client))
            assert send_n_set(assoc) == 0x0000
            assoc.release()

    @pytest.mark.parametrize("has", ["none", "another"])
    def test_client_without_the_right_certificate(self, scp, certificates, has, caplog):
        own, client = certificates
        with self.secured(scp, server_context(own, client)) as server:
            refused = self.associate(server, client_context(own, own if has == "another" else None))
            assert not refused.is_established
            assoc = self.associate(server, client_context(own, client))
            assert assoc.is_established
            assoc.release()
            assert server.counts.associations == 1
        assert "TLS handshake" in caplog.text

    def test_client_that_does_not_trust_the_server(self, scp, certificates):
        own, client = certificates
        with self.secured(scp, server_context(own)) as server:
            assert self.is_refused(server, client_context(client))
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            assoc.release()

    def test_plain_client(self, scp, certificates, caplog):
        own, _ = certificates
        with self.secured(scp, server_context(own)) as server:
            with connected(server) as peer:
                peer.sendall(associate_rq(ECHO))
                answer = b""
                while more := peer.recv(1000):
                    answer += more
                assert answer[:1] != b"\x02"
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            assoc.release()
            assert server.counts.associations == 1
        assert "TLS handshake" in caplog.text

    def test_tls_client_at_a_plain_port(self, scp, certificates):
        own, _ = certificates
        with self.secured(scp, None) as server:
            assert self.is_refused(server, client_context(own))
            assoc = self.associate(server, None)
            assert assoc.is_established
            assoc.release()
            until(lambda: not server.active_associations)

    @pytest.mark.parametrize("sent", [0, 5], ids=["nothing", "part"])
    def test_client_that_stalls_in_the_handshake(self, scp, certificates, sent):
        own, _ = certificates
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        with self.secured(scp, server_context(own), handlers) as server:
            stalled = [connected(server) for _ in range(5)]
            hello = ssl.MemoryBIO()
            client = client_context(own).wrap_bio(ssl.MemoryBIO(), hello, False, "localhost")
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            for peer in stalled:
                peer.sendall(hello.read(sent) if sent else b"")
            assoc = self.associate(server, client_context(own))
            assert send_n_set(assoc) == 0x0000
            assoc.release()
            self.shut_down(server)  # which they do not hold up either
            for peer in stalled:
                assert peer.recv(1000) == b""
                peer.close()

    @pytest.mark.parametrize("why", ["failed", "stalled"])
    def test_handshakes_are_no_associations(self, scp, certificates, why):
        """They neither count for the limit nor hold up the shutdown."""
        own, client = certificates
        ae = entity()
        ae.maximum_associations = 2
        with self.secured(scp, server_context(own), ae=ae) as server:
            if why == "failed":
                peers = []
                for _ in range(3):
                    assert self.is_refused(server, client_context(client))
            else:
                peers = [connected(server) for _ in range(3)]
            until(lambda: server.counts.connections == 3)
            assert server.active_associations == []
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            assoc.release()
            ended(server)
            with takes(0, 1.5):
                self.shut_down(server)
            for peer in peers:
                assert peer.recv(1000) == b""
                peer.close()

    def test_handshake_has_a_time_limit(self, scp, certificates):
        own, _ = certificates
        ae = entity()
        ae.acse_timeout = 0.1
        with self.secured(scp, server_context(own), ae=ae) as server, connected(server) as peer:
            assert peer.recv(1000) == b""
            until(lambda: server.active_associations == [])

    def test_context_that_is_set_later(self, scp, certificates):
        own, _ = certificates
        with self.secured(scp, None) as server:
            server.ssl_context = server_context(own)
            assoc = self.associate(server, client_context(own))
            assert assoc.is_established
            assoc.release()


def test_tls_in_a_program_s_own_loop(scp, certificates):
    own, client = certificates

    async def main():
        ae = entity()
        handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None))]
        context = server_context(own, client)
        async with await scp.serve(ae, ("127.0.0.1", 0), context, handlers) as server:
            tls = (client_context(own, client), "localhost")
            assoc = await asyncio.to_thread(
                lambda: ae.associate(*server.server_address, tls_args=tls)
            )
            assert await asyncio.to_thread(send_n_set, assoc) == 0x0000
            await asyncio.to_thread(assoc.release)
            assert assoc.is_released

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))
