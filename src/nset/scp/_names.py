"""What peers are called in the log."""

from typing import Any


def address_name(address: Any) -> str:
    """Name an address: host and port, as in ``[::1]:104``."""
    if not (isinstance(address, tuple) and len(address) >= 2):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def escaped(text: Any) -> str:
    """Give what a peer has sent so that it can't forge a line of the log."""
    shown = str(text)
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode("ascii")
