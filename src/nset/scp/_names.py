"""Names of peers in the log."""

from typing import Any


def address_name(address: Any) -> str:
    """Return host and port of an address, as in ``[::1]:104``."""
    if not (isinstance(address, tuple) and len(address) >= 2):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
