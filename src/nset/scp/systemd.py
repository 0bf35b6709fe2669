"""A server as a service of systemd: the socket that it listens at, and that it has started.

Without a library of systemd's, and without effect where systemd has not started the program.
"""

import errno
import os
import socket

_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)

# For systemd to take what it is told; it does at once, unless it is not well itself.
_NOTIFY_SECONDS = 5.0


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
    if number in ("", "0") or pid != str(os.getpid()):
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
        If it cannot be told, or does not take it in 5 seconds.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_NOTIFY_SECONDS)
        try:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
        except OSError as exc:
            number, text = exc.errno or errno.ETIMEDOUT, exc.strerror or "it does not read"
            raise OSError(number, text, address) from exc
    return True
