"""nset.scp: what those see who run it."""

import importlib
import socket

import pytest
from acceptors import accepting, entity, port
from associations import TIMEOUT
from raw_peer import ABORT

BAD_COUNTS = [0, -1, -5, 2.5, "3"]


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "nset"]


# -- What it is made of ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", BAD_COUNTS)
@pytest.mark.parametrize(
    "name",
    ["connections", "data_set_bytes", "negotiation_length", "pdu_length", "pending_requests"],
)
def test_a_limit_that_is_none(nset, name, value):
    limits = importlib.import_module("nset.scp").Limits
    with pytest.raises(ValueError, match=f"^{name} must be an int above 0, not {value!r}$"):
        limits(**{name: value})


@pytest.mark.parametrize("value", BAD_COUNTS)
def test_workers_that_are_none(nset, value):
    scp = importlib.import_module("nset.scp")
    ae = entity()
    with pytest.raises(ValueError, match=f"^workers must be an int above 0, not {value!r}$"):
        scp.start_server(ae, ("127.0.0.1", 0), block=False, workers=value)
    assert ae._servers == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_that_is_taken_is_named(nset, host):
    scp = importlib.import_module("nset.scp")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip("there is no IPv6 here")
        taken.listen()
        number = taken.getsockname()[1]
        shown = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        address = (host, number, 0, 0) if ":" in host else (host, number)
        with pytest.raises(OSError, match="in use") as caught:
            scp.start_server(entity(), address, block=False)
    assert str(caught.value).endswith(f": '{shown}'")


def test_no_second_server_has_the_port_on_windows(nset, monkeypatch):
    """There SO_REUSEADDR would let it."""
    options = []

    class Socket(socket.socket):
        def setsockopt(self, level, option, value):
            if option != exclusive:
                super().setsockopt(level, option, value)
            options.append(option)

    exclusive = ~socket.SO_REUSEADDR
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", exclusive, raising=False)
    monkeypatch.setattr(socket, "socket", Socket)
    with accepting(nset) as server:
        assert port(server) > 0
        assert options == [exclusive]


# -- Others that take its port for theirs ----------------------------------------------------------

OTHERS = {
    "GET": (b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", "an HTTP request"),
    "OPTIONS": (b"OPTIONS * HTTP/1.1\r\n\r\n", "an HTTP request"),
    "POST": (b"POST /studies HTTP/1.1\r\n\r\n", "an HTTP request"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "an HTTP request"),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(190), "a TLS hello"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH banner"),
    "PROXY": (b"PROXY TCP4 10.0.0.4 10.0.0.5 1042 104\r\n", "a PROXY header"),
    "PROXY 2": (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
        "a PROXY header",
    ),
}


@pytest.mark.parametrize(("sent", "name"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("first", [6, 1000])
def test_another_protocol_is_named(nset, caplog, sent, name, first):
    """Also where no more of it has come than a PDU's header has bytes."""
    with (
        accepting(nset) as server,
        socket.create_connection(("127.0.0.1", port(server)), TIMEOUT) as peer,
    ):
        peer.sendall(sent[:first])
        assert peer.recv(10) == bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0))
    (line,) = errors(caplog)
    assert line.endswith(f": invalid PDU: {name}, which is no PDU")


@pytest.mark.parametrize("sent", [b"GETTIN", b"\x16\x02\x03\x01\0\0", b"ssh-2.", b"\r\n\r\n\r\n"])
def test_what_only_looks_like_it_is_not(nset, sent):
    error = importlib.import_module("nset._pdu").unknown_type(sent)
    assert str(error) == f"unknown PDU type 0x{sent[0]:02X}"
