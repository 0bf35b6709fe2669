"""Addresses of the command line."""


def host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of an address.

    Parameters
    ----------
    text : str
        [HOST]:PORT; brackets around an IPv6 address.

    Returns
    -------
    tuple of (str, int)
        The host, which may be empty, and the port.

    Raises
    ------
    ValueError
        If it is none.
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise ValueError("an address is [HOST]:PORT")
    return host.strip("[]"), int(port)
