"""TCP_NODELAY on the sockets of associations."""

import socket
from collections.abc import Callable
from functools import wraps
from typing import Any


def init(stock: Callable[..., None]) -> Callable[..., None]:
    """Make ``AssociationSocket.__init__`` switch Nagle's algorithm off.

    Parameters
    ----------
    stock : callable
        pynetdicom's.

    Returns
    -------
    callable
        What to put in its place.
    """

    @wraps(stock)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock(self, *args, **kwargs)
        if isinstance(self.socket, socket.socket) and self.socket.family in (
            socket.AF_INET,
            socket.AF_INET6,
        ):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    return init
