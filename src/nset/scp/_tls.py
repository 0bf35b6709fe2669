"""An accepted connection is opened, with TLS after its handshake."""

import asyncio
import logging
import socket
from typing import Any

from nset.logs import address_name

_LOGGER = logging.getLogger("nset")


async def open_connection(
    protocol: Any, sock: socket.socket, address: Any, context: Any, seconds: float
) -> None:
    """Open a connection; for TLS, wait for the first bytes and shake hands; log a failure.

    Parameters
    ----------
    protocol : AssociationProtocol
        Whose `connection_made` is called then.
    sock : socket.socket
        The accepted socket.
    address : tuple
        The peer's, for the log.
    context : ssl.SSLContext or None
        The server's, for TLS.
    seconds : float
        Time for the handshake.
    """
    loop, name = asyncio.get_running_loop(), address_name(address)
    if context is None:
        await loop.connect_accepted_socket(lambda: protocol, sock)
        return
    try:
        if not await _has_sent(sock):
            _LOGGER.debug("%s connected, sent nothing and disconnected", name)
            return
        await loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=context, ssl_handshake_timeout=seconds
        )
    except Exception as exc:
        text = str(exc) or type(exc).__name__
        _LOGGER.error("The TLS handshake with %s failed: %s", name, text)


async def _has_sent(sock: socket.socket) -> bool:
    """Wait for the first byte of a peer; return False if it disconnects instead."""
    try:
        await readable(sock)
        return sock.recv(1, socket.MSG_PEEK) != b""
    except NotImplementedError:  # it is not known before it is read
        return True
    except OSError:
        return False


async def readable(sock: socket.socket) -> None:
    """Wait until there is something to read, or to accept.

    Raises
    ------
    NotImplementedError
        In the default loop of Windows.
    """
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(sock)
