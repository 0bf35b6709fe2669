"""`install`: nset's primitive and codec inside pynetdicom's own SCP and SCU.

A module that imported ``N_SET`` from pynetdicom before `install` keeps the stock class; its
messages can still be sent.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nset.pynetdicom._patches import Patch, patches

__all__ = ["install", "installed", "is_installed", "uninstall"]

_lock = threading.RLock()  # guards _applied
_applied: list[Patch] = []


def install(*, nodelay: bool = True) -> None:
    """Make pynetdicom create nset's ``N_SET``, and encode and decode N-SET messages with it.

    In the whole process, for SCPs and SCUs, from the next message on. Valid messages of other
    services are not changed. Does nothing if nset is installed already.

    Parameters
    ----------
    nodelay : bool
        Set TCP_NODELAY on the sockets of new associations, as requestor and as acceptor: without
        it a message of two PDUs waits some 40 ms for the peer's delayed acknowledgement.

    Raises
    ------
    ImportError
        If pynetdicom is not installed.
    RuntimeError
        If this pynetdicom is not one that nset supports (3.0, 3.1). Nothing is changed then.
    """
    with _lock:
        if _applied:
            return
        for patch in patches(nodelay=nodelay):
            patch.apply()
            _applied.append(patch)


def uninstall() -> None:
    """Restore pynetdicom as it was before `install`. Does nothing if nset is not installed."""
    with _lock:
        while _applied:
            _applied.pop().revert()


def is_installed() -> bool:
    """Return whether nset is installed.

    Returns
    -------
    bool
        True between `install` and `uninstall`.
    """
    return bool(_applied)


@contextmanager
def installed(*, nodelay: bool = True) -> Iterator[None]:
    """Install for the length of a ``with`` block, then restore the previous state.

    Parameters
    ----------
    nodelay : bool
        As for `install`; without effect if nset is installed already.

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
