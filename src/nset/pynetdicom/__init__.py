"""`install`: N-SET inside pynetdicom's own SCP and SCU, on nset's primitive and codec.

A module that took ``N_SET`` from pynetdicom before `install` keeps the stock class; messages made
of it can still be sent.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nset.pynetdicom._places import Place, places

__all__ = ["install", "installed", "is_installed", "uninstall"]

_lock = threading.RLock()  # guards _taken
_taken: list[Place] = []


def install(*, nodelay: bool = True) -> None:
    """Make pynetdicom create nset's ``N_SET`` and encode and decode N-SET messages by it.

    In the whole process, for SCPs and SCUs, from the next message on. Other messages are left as
    they are. Does nothing where it is installed already.

    Parameters
    ----------
    nodelay : bool
        Set TCP_NODELAY on the sockets of new associations, as requestor and as acceptor: without
        it a message that takes two PDUs waits some 40 ms for the peer's delayed acknowledgement.

    Raises
    ------
    ImportError
        If pynetdicom is not there.
    RuntimeError
        If this is no pynetdicom that nset knows (3.0, 3.1); nothing has been changed then.
    """
    with _lock:
        if _taken:
            return
        for place in places(nodelay=nodelay):
            place.take()
            _taken.append(place)


def uninstall() -> None:
    """Put everything back as it was before `install`; does nothing where it is not installed."""
    with _lock:
        while _taken:
            _taken.pop().give_back()


def is_installed() -> bool:
    """Tell whether `install` is in force.

    Returns
    -------
    bool
        True between `install` and `uninstall`.
    """
    return bool(_taken)


@contextmanager
def installed(*, nodelay: bool = True) -> Iterator[None]:
    """Install for the length of a ``with`` block, then restore the state it found.

    Parameters
    ----------
    nodelay : bool
        As for `install`; of no effect where that is in force already.

    Yields
    ------
    None
    """
    with _lock:
        before = is_installed()
        install(nodelay=nodelay)
    try:
        yield
    finally:
        if before:
            install(nodelay=nodelay)
        else:
            uninstall()
