"""A server as a service of systemd: the socket that it listens at, and that it has started.

Without a library of systemd's, and without effect where systemd has not started the program.
"""

import os
import socket

_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)


def listening_socket() -> socket.socket | None:
    """Return the socket that systemd listens at for this program (socket activation).

    The next call returns None, and so do programs that this one starts.

    Returns
    -------
    socket.socket or None
        For the `sock` of `nset.scp.run`, `start_server` and `serve`. None if systemd has passed on
        none.

    Raises
    ------
    ValueError
        If it has passed on several.
    """
    number, pid = (os.environ.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if not number or pid != str(os.getpid()):
        return None
    if number != "1":
        raise ValueError(f"systemd has passed on {number} sockets, and one is expected")
    sock = socket.socket(fileno=_FIRST_DESCRIPTOR)
    sock.set_inheritable(False)
    return sock


def notify(state: str = "READY=1") -> bool:
    """Tell systemd about the program, by default that it has started (``Type=notify``).

    Parameters
    ----------
    state : str
        One or several lines, as sd_notify(3) has them.

    Returns
    -------
    bool
        Whether systemd waits to be told.

    Raises
    ------
    OSError
        If it cannot be told.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())
    return True
