"""With nset in pynetdicom the same bytes are sent, over TCP and TLS, in fragments of any length."""

import pathlib
import socket
import ssl
from io import BytesIO

import pynetdicom.tests
import pytest
from associations import (
    INSTANCE,
    MPPS,
    associated,
    completed,
    completed_bytes,
    exchange,
    make_request,
    status_dataset,
)
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from seen import STOCK, Seen, elements, with_lengths

CERTIFICATES = pathlib.Path(pynetdicom.tests.__file__).parent / "cert_files"


def pdvs(wire: list[bytes]) -> list[tuple[int, int, bytes]]:
    """Context ID, message control header and fragment of each PDU, which holds one PDV."""
    found = []
    for pdu in wire:
        assert int.from_bytes(pdu[6:10], "big") == len(pdu) - 10
        found.append((pdu[10], pdu[11], pdu[12:]))
    return found


def joined(fragments: list[tuple[int, int, bytes]]) -> tuple[bytes, bytes]:
    """The command set and the data set, each in fragments of which the last one says so."""
    whole = {1: b"", 0: b""}
    complete = []
    for _, header, fragment in fragments:
        assert header & 1 not in complete
        whole[header & 1] += fragment
        if header & 2:
            complete.append(header & 1)
    assert complete == [1, 0]
    return whole[1], whole[0]


@pytest.mark.parametrize(
    ("scp_length", "scu_length"), [(0, 0), (16382, 32), (32, 16382), (64, 20), (8, 64), (29, 17)]
)
def test_fragments(server, both, scp_length, scu_length):
    def run():
        handlers = {evt.EVT_N_SET: lambda event: (0x0000, event.modification_list)}
        with with_lengths(server, handlers, scp_length, scu_length) as (scu, scp):
            seen = Seen(scu=scu, scp=scp)
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
            assert status.Status == 0x0000
            assert answer == completed()
        # Not before the end: a PDU counts as sent a little after the peer has it.
        return {name: pdvs(wire) for name, wire in seen.wire.items()}

    ours, stock = both(run)
    for name, length in (("scu", scp_length), ("scp", scu_length)):
        assert joined(ours[name]) == joined(stock[name])
        for _, _, fragment in ours[name]:
            assert len(fragment) % 2 == 0
            assert length == 0 or len(fragment) <= length - 6
        if length % 2 == 0:
            assert ours[name] == stock[name]


@pytest.mark.parametrize("data", [b"odd", b"even"])
def test_a_data_set_of_odd_length_is_padded(nset, server, integration, data):
    """Difference 7."""
    received = []

    def handle(event):
        received.append(event.request.ModificationList.getvalue())
        return 0x0000, None

    request = make_request(nset.N_SET)
    request.ModificationList = BytesIO(data)
    integration.install()
    with associated(server, MPPS, {evt.EVT_N_SET: handle}) as (scu, _):
        assert exchange(scu, request).Status == 0x0000
    assert received == [data + b"\0" * (len(data) % 2)]
    assert request.ModificationList.getvalue() == data


def test_an_empty_data_set_is_not_announced(server, integration):
    """Difference 3: pynetdicom announces one, and the peer waits for it until its timeout."""
    integration.install()
    handlers = {evt.EVT_N_SET: lambda event: (0x0000, event.modification_list)}
    with associated(server, MPPS, handlers) as (scu, scp):
        seen = Seen(scu=scu, scp=scp)
        # Nor is it taken for one: an N-SET without a list is none.
        assert scu.send_n_set(Dataset(), MPPS, INSTANCE) == (status_dataset(Status=0x0212), None)
    for wire in seen.wire.values():
        ((_, header, command_set),) = pdvs(wire)
        assert header == 0x03
        assert bytes.fromhex("00000008 02000000 0101") in command_set


@pytest.mark.parametrize("skipped", [0, 132])
@pytest.mark.parametrize("length", [0, 128])
def test_a_data_set_from_a_file(nset, server, both, tmp_path, skipped, length):
    """As `send_c_store` does it where data sets are sent in chunks."""
    path = tmp_path / "data_set"
    path.write_bytes(bytes(skipped) + completed_bytes())
    classes = iter((nset.N_SET, STOCK))

    def run():
        received = []

        def handle(event):
            received.append(event.modification_list)
            return 0x0000, None

        request = make_request(next(classes))
        request.ModificationList = None
        request._dataset_path = (path, skipped)
        with with_lengths(server, {evt.EVT_N_SET: handle}, length, length) as (scu, scp):
            seen = Seen(scu=scu, scp=scp)
            assert exchange(scu, request).Status == 0x0000
        return received, seen.wire

    ours, stock = both(run)
    assert ours == stock
    assert ours[0] == [completed()]


@pytest.mark.parametrize("nodelay", [True, False])
def test_nodelay(server, integration, nodelay):
    def is_set(association: Association) -> bool:
        sock = association.dul.socket.socket
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    integration.install(nodelay=nodelay)
    with associated(server, MPPS) as (scu, scp):
        assert is_set(scu) is nodelay
        assert is_set(scp) is nodelay
    integration.uninstall()
    with associated(server, MPPS) as (scu, scp):
        assert not is_set(scu)
        assert not is_set(scp)


def test_tls(both):
    def context(protocol: int, name: str, peer: str) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(CERTIFICATES / f"{name}.crt", CERTIFICATES / f"{name}.key")
        context.load_verify_locations(CERTIFICATES / f"{peer}.crt")
        return context

    def run():
        ae = AE()
        ae.add_supported_context(MPPS)
        ae.add_requested_context(MPPS)
        server = ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            ssl_context=context(ssl.PROTOCOL_TLS_SERVER, "server", "client"),
            evt_handlers=[(evt.EVT_N_SET, lambda event: (0x0000, event.modification_list))],
        )
        try:
            scu = ae.associate(
                "127.0.0.1",
                server.server_address[1],
                tls_args=(context(ssl.PROTOCOL_TLS_CLIENT, "client", "server"), None),
            )
            sock = scu.dul.socket.socket
            assert isinstance(sock, ssl.SSLSocket)
            nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            status, answer = scu.send_n_set(completed(), MPPS, INSTANCE)
            scu.release()
        finally:
            server.shutdown()
        return nodelay, elements(status), answer

    ours, stock = both(run)
    assert (ours[0], stock[0]) == (1, 0)
    assert ours[1:] == stock[1:]
    assert ours[2] == completed()
