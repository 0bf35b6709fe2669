"""The PROXY protocol, versions 1 and 2: a proxy says for whom it has connected.

Its specification is HAProxy's doc/proxy-protocol.txt.
"""

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import Iterable
from typing import Any

from nset.logs import address_name

_LOGGER = logging.getLogger("nset")

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD_BYTES = 16  # of version 2, with its length field
_MAX_FOLLOWING_BYTES = 4096
_LOCAL, _PROXY = 0, 1
_MAX_FAMILY, _MAX_PROTOCOL = 3, 2
# By family and transport protocol: the class of the addresses, and their length.
_TCP = {0x11: (ipaddress.IPv4Address, 4), 0x21: (ipaddress.IPv6Address, 16)}

_MAX_LINE_BYTES = 107
_MIN_LINE_BYTES = 15
_CLASSES = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}
_PORT = re.compile("0|[1-9][0-9]{0,4}")
_MAX_PORT = 0xFFFF


class HeaderError(ValueError):
    """Bytes that are not a PROXY protocol header."""


class Trusted:
    """The networks whose connections begin with a header.

    Parameters
    ----------
    networks : bool or iterable of str
        Networks and addresses, as in ``["10.0.0.0/24", "::1"]``. True: all; False: none.

    Raises
    ------
    ValueError
        If one is not a network.
    """

    def __init__(self, networks: bool | Iterable[str]) -> None:
        if isinstance(networks, str):
            raise ValueError(f"proxy_protocol must be a bool or a list of networks: {networks!r}")
        if isinstance(networks, bool):
            networks = ["0.0.0.0/0", "::/0"] if networks else []
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def has(self, address: Any) -> bool:
        """Return whether the connections from an address begin with a header."""
        if not self._networks:
            return False
        host: Any = ipaddress.ip_address(address[0].partition("%")[0])
        host = getattr(host, "ipv4_mapped", None) or host
        return any(host in network for network in self._networks)


async def peer_behind(sock: socket.socket, address: Any) -> Any:
    """Read the header of a connection, and no byte more.

    Parameters
    ----------
    sock : socket.socket
        The accepted socket, which does not block.
    address : tuple
        The proxy's.

    Returns
    -------
    tuple or None
        The address of the peer behind the proxy; that of the proxy where it has connected for
        itself, or does not say for whom. None, with a record in the log, if there is no header.
    """
    name = address_name(address)
    try:
        return await _header(sock) or address
    except HeaderError as exc:
        _LOGGER.warning("Closing the connection with %s: %s", name, exc)
    except OSError:
        _LOGGER.debug("%s connected, sent no PROXY protocol header and disconnected", name)
    return None


async def _header(sock: socket.socket) -> Any:
    head = await _receive(sock, len(_SIGNATURE))
    if head == _SIGNATURE:
        return await _version_2(sock, head)
    if head.startswith(b"PROXY "):
        return await _version_1(sock, head)
    raise HeaderError(f"it begins with {head!r}, not with a PROXY protocol header")


async def _version_1(sock: socket.socket, line: bytes) -> Any:
    line += await _receive(sock, _MIN_LINE_BYTES - len(line))
    while b"\r\n" not in line:
        left = _MAX_LINE_BYTES - len(line)
        if left == 0:
            raise HeaderError(f"the PROXY protocol header has no end in {len(line)} bytes")
        try:
            ahead = sock.recv(left, socket.MSG_PEEK)
        except BlockingIOError:
            ahead = b""
        end = (line + ahead).find(b"\r\n")
        line += await _receive(sock, end + 2 - len(line) if end >= 0 else len(ahead) or 1)
    return address_in_line(line)


def address_in_line(line: bytes) -> Any:
    """Return the address of the source in a header of version 1.

    Parameters
    ----------
    line : bytes
        The header, with its CRLF.

    Returns
    -------
    tuple or None
        None for UNKNOWN.

    Raises
    ------
    HeaderError
        If it is not a header.
    """
    if line.startswith((b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r\n")):
        return None
    try:
        text = line.decode("ascii").removesuffix("\r\n")
        _, family, source, destination, port, to_port = text.split(" ")
        host, _ = (_CLASSES[family](address) for address in (source, destination))
        if "%" in text or not all(map(_is_port, (port, to_port))):  # IPv6Address takes a zone
            raise ValueError
    except (ValueError, KeyError):
        raise HeaderError(f"the PROXY protocol header is invalid: {line!r}") from None
    return _as_address(host, int(port))


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) <= _MAX_PORT


async def _version_2(sock: socket.socket, head: bytes) -> Any:
    head += await _receive(sock, _HEAD_BYTES - len(head))
    length = int.from_bytes(head[14:], "big")
    if length > _MAX_FOLLOWING_BYTES:
        raise HeaderError(f"the PROXY protocol header has {length} bytes after the first 16")
    return address_in_block(head, await _receive(sock, length))


def address_in_block(head: bytes, rest: bytes) -> Any:
    """Return the address of the source in a header of version 2.

    Parameters
    ----------
    head, rest : bytes
        Its first 16 bytes, and the others.

    Returns
    -------
    tuple or None
        None if the proxy has connected for itself, or for what is not TCP.

    Raises
    ------
    HeaderError
        If it is not a header.
    """
    (version, command), kind = divmod(head[12], 16), head[13]
    if version == 2 and command == _LOCAL:
        return None
    if version != 2 or command != _PROXY or kind >> 4 > _MAX_FAMILY or kind & 15 > _MAX_PROTOCOL:
        raise HeaderError(f"the PROXY protocol header is invalid: {head!r}")
    if kind not in _TCP:
        return None
    of_family, size = _TCP[kind]
    if len(rest) < 2 * size + 4:
        raise HeaderError(f"the PROXY protocol header has {len(rest)} bytes for its addresses")
    return _as_address(of_family(rest[:size]), int.from_bytes(rest[2 * size : 2 * size + 2], "big"))


def _as_address(host: Any, port: int) -> Any:
    """Return an address as a socket would have it."""
    return (str(host), port) if host.version == 4 else (str(host), port, 0, 0)


async def _receive(sock: socket.socket, number: int) -> bytes:
    """Receive so many bytes.

    Raises
    ------
    OSError
        If the peer disconnects before.
    """
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < number:
        try:
            more = sock.recv(number - len(data))  # a proxy sends it as soon as it has connected
        except BlockingIOError:
            more = await loop.sock_recv(sock, number - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data
