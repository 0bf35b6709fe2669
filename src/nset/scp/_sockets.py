"""Listening sockets: one that is bound here, or one that the program has."""

import socket
import sys
from typing import Any

from pynetdicom.transport import AddressInformation

from nset.logs import address_name


def bind(sock: Any, address: Any, *, reuse_port: bool) -> None:
    """Bind a socket; an error names the address.

    Parameters
    ----------
    sock : socket.socket
        The socket.
    address : tuple
        The address.
    reuse_port : bool
        Whether other processes may listen at it, too.

    Raises
    ------
    ValueError
        If this system has no SO_REUSEPORT that `reuse_port` needs.
    OSError
        If the address cannot be had.
    """
    try:
        if reuse_port:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise ValueError(f"reuse_port needs SO_REUSEPORT, which {sys.platform} lacks")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # On Windows SO_REUSEADDR lets two servers share a port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as exc:
        exc.filename = address_name(address)
        raise


def bound(address: Any, *, reuse_port: bool) -> socket.socket:
    """Return a new socket that is bound.

    Parameters
    ----------
    address, reuse_port
        As for `bind`.

    Returns
    -------
    socket.socket
        For TCP over IPv4 or IPv6.

    Raises
    ------
    ValueError, OSError
        As `bind` does.
    """
    sock = socket.socket(AddressInformation.from_tuple(address).address_family)
    try:
        bind(sock, address, reuse_port=reuse_port)
    except BaseException:
        sock.close()
        raise
    return sock


def address_of(address: Any, sock: socket.socket | None, *, reuse_port: bool) -> Any:
    """Return the address that a server is to have, by its arguments.

    Raises
    ------
    ValueError
        If they contradict each other, or the socket is not one for TCP.
    """
    if (address is None) is (sock is None):
        raise ValueError("either address or sock must be given, and the other be None")
    if sock is None:
        return address
    if reuse_port:
        raise ValueError("reuse_port is for an address: sock is bound already")
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"sock must be a TCP socket, not {sock!r}")
    return sock.getsockname()
