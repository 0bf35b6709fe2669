"""Headers of the PROXY protocol, as doc/proxy-protocol.txt of HAProxy defines them."""

import importlib
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from implementations import IMPLEMENTATIONS, loaded

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

LINES = {
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n": ("192.168.0.1", 56324),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ("255.255.255.255", 65535),
    b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n": ("0.0.0.0", 0),
    b"PROXY TCP6 2001:DB8::4 ::1 1042 104\r\n": ("2001:db8::4", 1042, 0, 0),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 what ever\r\n": None,
    b"PROXY UNKNOWN \xff\xff\r\n": None,
}
BAD_LINES = [
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
    b"PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
    b"PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n",
    b"PROXY TCP4 192.168.0 192.168.0.11 56324 443\r\n",
    b"PROXY TCP4 192.168.0.1 pacs 56324 443\r\n",
    b"PROXY TCP4 ::1 ::1 56324 443\r\n",
    b"PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
    b"PROXY TCP6 fe80::1%1 ::1 56324 443\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 65536\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 +56324 443\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
    "PROXY TCP4 192.168.0.1 192.168.0.11 \u0665 443\r\n".encode(),
    b"PROXY TCP4 \xff\r\n",
    b"PROXY UDP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    b"PROXY tcp4 192.168.0.1 192.168.0.11 56324 443\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY \r\n0123456",
]

V4 = bytes((10, 0, 0, 4, 10, 0, 0, 5)) + struct.pack(">HH", 1042, 104)
V6 = bytes((*[0] * 15, 4)) * 2 + struct.pack(">HH", 1042, 104)
BLOCKS = {
    "TCP over IPv4": (0x21, 0x11, V4, ("10.0.0.4", 1042)),
    "with TLVs": (0x21, 0x11, V4 + b"\x04\0\x03abc", ("10.0.0.4", 1042)),
    "TCP over IPv6": (0x21, 0x21, V6, ("::4", 1042, 0, 0)),
    "UDP over IPv4": (0x21, 0x12, V4, None),
    "UNIX": (0x21, 0x31, bytes(216), None),
    "unspecified": (0x21, 0x00, b"", None),
    "unspecified family": (0x21, 0x01, V4, None),
    "LOCAL": (0x20, 0x00, b"", None),
    "LOCAL, with addresses": (0x20, 0x11, V4, None),
    "LOCAL, family unknown": (0x20, 0xFF, b"any", None),
}
BAD_BLOCKS = {
    "version 1": (0x11, 0x11, V4),
    "version 3": (0x31, 0x11, V4),
    "version 3, LOCAL": (0x30, 0x11, V4),
    "command 2": (0x22, 0x11, V4),
    "family 4": (0x21, 0x41, V4),
    "protocol 3": (0x21, 0x13, V4),
    "short, IPv4": (0x21, 0x11, V4[:-1]),
    "short, IPv6": (0x21, 0x21, V6[:-1]),
}


def the_module():
    with loaded(IMPLEMENTATIONS[0]):
        return importlib.import_module("nset.scp._proxy")


@pytest.fixture(scope="module")
def proxy():
    return the_module()


def head(command, kind, rest):
    return SIGNATURE + bytes((command, kind)) + struct.pack(">H", len(rest))


class TestVersion1:
    @pytest.mark.parametrize(("line", "address"), LINES.items(), ids=str)
    def test_lines(self, proxy, line, address):
        assert proxy.address_in_line(line) == address

    @pytest.mark.parametrize("line", BAD_LINES, ids=str)
    def test_bad_lines(self, proxy, line):
        with pytest.raises(proxy.HeaderError, match="the PROXY protocol header is invalid: b'PRO"):
            proxy.address_in_line(line)


class TestVersion2:
    @pytest.mark.parametrize(("command", "kind", "rest", "address"), BLOCKS.values(), ids=BLOCKS)
    def test_blocks(self, proxy, command, kind, rest, address):
        assert proxy.address_in_block(head(command, kind, rest), rest) == address

    @pytest.mark.parametrize(("command", "kind", "rest"), BAD_BLOCKS.values(), ids=BAD_BLOCKS)
    def test_bad_blocks(self, proxy, command, kind, rest):
        with pytest.raises(proxy.HeaderError, match="the PROXY protocol header "):
            proxy.address_in_block(head(command, kind, rest), rest)


@given(st.ip_addresses(), st.integers(0, 0xFFFF))
def test_both_versions_say_the_same(host, port):
    proxy = the_module()
    line = f"PROXY TCP{host.version} {host} {host} {port} {port}\r\n".encode()
    rest = host.packed * 2 + struct.pack(">HH", port, port)
    kind = 0x11 if host.version == 4 else 0x21
    address = proxy.address_in_line(line)
    assert address == proxy.address_in_block(head(0x21, kind, rest), rest)
    assert (ipaddress.ip_address(address[0]), address[1]) == (host, port)


class TestTrusted:
    @pytest.mark.parametrize(
        ("networks", "host", "is_trusted"),
        [
            (False, "10.0.0.4", False),
            ([], "10.0.0.4", False),
            (True, "10.0.0.4", True),
            (True, "fe80::1%eth0", True),
            (["10.0.0.0/24"], "10.0.0.4", True),
            (["10.0.0.0/24"], "10.0.1.4", False),
            (["10.0.0.0/24"], "::ffff:10.0.0.4", True),
            (("::1", "10.0.0.4"), "10.0.0.4", True),
            (("::1", "10.0.0.4"), "10.0.0.5", False),
        ],
    )
    def test_networks(self, proxy, networks, host, is_trusted):
        trusted = proxy.Trusted(networks)
        assert trusted.has((host, 1042)) is is_trusted
        assert bool(trusted) is bool(networks)

    @pytest.mark.parametrize("networks", ["10.0.0.0/24", ["10.0.0.1/24"], ["pacs"], [None]])
    def test_what_is_none(self, proxy, networks):
        with pytest.raises(ValueError, match=r"host bits|not appear to be|list of networks"):
            proxy.Trusted(networks)
