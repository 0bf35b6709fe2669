"""What one association, and all of them together, may take of a server."""

import os
from dataclasses import dataclass, fields
from typing import Any

_MIN_PDU_LENGTH = 0x10000
_UNLIMITED_PDU_LENGTH = 0xFFFFFFFF

# Bytes by which a PDU may be longer than announced: some peers count its header, or two, as well.
_HEADERS = 12

# Of a machine that does not say how much memory it has.
_SOME_MEMORY = 0x100000000


def check_count(name: str, value: Any) -> None:
    """Refuse what is no number of things."""
    if not (isinstance(value, int) and value > 0):
        raise ValueError(f"{name} must be an int above 0, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server; each is looked at before the memory is taken.

    The number of associations, the time until one is established and the time that one may be idle
    are the AE's: ``maximum_associations``, ``acse_timeout``, ``network_timeout``.

    Attributes
    ----------
    pdu_length : int or None
        Most bytes behind the PDU-length field of a P-DATA-TF PDU. None (the default) is what the AE
        announces as ``maximum_pdu_size`` and 12, since some peers are off by a header or two, but
        65536 where that is less; no limit where it is 0, unlimited. More is answered with an
        A-ABORT.
    negotiation_length : int
        The same for PDUs of other types: an A-ASSOCIATE-RQ with 128 contexts may have 150 KiB.
    data_set_bytes : int
        Most bytes of the data set of a message. An N-SET request with more is answered with status
        0213H, any other message with an A-ABORT; so is a command set of more than 64 KiB.
    pending_requests : int
        Requests of an association that may wait while one is served. With so many, no more is read
        from its socket until half of them are served.
    association_bytes : int
        Bytes of an association that may wait: data sets that arrive, requests to be served,
        responses to be taken by the server's program, and what the peer does not take; or one
        message, where that is more. With more, no more is read from its socket.
    server_bytes : int or None
        The same for all associations together. None (the default) is a quarter of the machine's
        memory. With more, no more is read from the sockets of associations that have more than
        64 KiB waiting, but for one, so that none waits for another for good. One that can't go on
        for the network timeout is aborted.
    connections : int or None
        Connections at once, with those that are not associations yet. None (the default) is the
        AE's ``maximum_associations`` and 100. Where there are so many, one that has sent no PDU yet
        is closed for each new one, the oldest first; else the new one is.
    first_pdu_timeout : float
        Seconds in which the first PDU has to be complete, with TLS its handshake among them; the
        AE's ``acse_timeout`` where that is less.
    """

    pdu_length: int | None = None
    negotiation_length: int = 0x100000
    data_set_bytes: int = 0x10000000
    pending_requests: int = 64
    association_bytes: int = 0x4000000
    server_bytes: int | None = None
    connections: int | None = None
    first_pdu_timeout: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "first_pdu_timeout":
                if not (isinstance(value, int | float) and value > 0):
                    raise ValueError(f"{field.name} must be a number above 0, not {value!r}")
            elif value is not None or field.default is not None:
                check_count(field.name, value)

    def pdu_length_for(self, announced: int) -> int:
        """Return the limit of a P-DATA-TF PDU.

        Parameters
        ----------
        announced : int
            The AE's ``maximum_pdu_size``, in bytes; 0 is unlimited.

        Returns
        -------
        int
            Bytes behind the PDU-length field.
        """
        if self.pdu_length is not None:
            return self.pdu_length
        if announced == 0:
            return _UNLIMITED_PDU_LENGTH
        return min(max(announced + _HEADERS, _MIN_PDU_LENGTH), _UNLIMITED_PDU_LENGTH)

    def bytes_for_server(self) -> int:
        """Return the limit of bytes that wait in all associations.

        Returns
        -------
        int
            Bytes.
        """
        if self.server_bytes is not None:
            return self.server_bytes
        try:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            memory = _SOME_MEMORY
        return memory // 4

    def connections_for(self, associations: int) -> int:
        """Return the limit of connections.

        Parameters
        ----------
        associations : int
            The AE's ``maximum_associations``.

        Returns
        -------
        int
            Connections at once.
        """
        return associations + 100 if self.connections is None else self.connections
