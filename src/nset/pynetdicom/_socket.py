"""TCP_NODELAY on the sockets of associations."""

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any


def init(stock: Callable[..., None]) -> Callable[..., None]:
    """Make ``AssociationSocket.__init__`` disable Nagle's algorithm."""

    @wraps(stock)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        if isinstance(self.socket, socket.socket) and self.socket.family in (
            socket.AF_INET,
            socket.AF_INET6,
        ):
            # Some systems refuse it if the peer has disconnected.
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    return init
