"""What peers, one association and all associations may take of a server."""

import os
from dataclasses import dataclass, fields
from typing import Any

_MIN_PDU_BYTES = 0x10000
_MAX_PDU_BYTES = 0xFFFFFFFF

# Bytes by which a PDU may be longer than announced: some peers count its header, or two, as well.
_HEADER_BYTES = 12

# Of a machine that does not say how much memory it has.
_DEFAULT_MEMORY_BYTES = 0x100000000


def check_count(name: str, value: Any) -> None:
    """Raise `ValueError` unless the value is an int above 0."""
    if not (isinstance(value, int) and value > 0):
        raise ValueError(f"{name} must be an int above 0, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server; each is checked before the memory is taken.

    The number of associations, the time to establish one and the time that one may be idle are the
    AE's: ``maximum_associations``, ``acse_timeout``, ``network_timeout``.

    Attributes
    ----------
    pdu_length : int or None
        The most bytes after the PDU-length field of a P-DATA-TF PDU. None (the default) is the AE's
        ``maximum_pdu_size`` plus 12, since some peers are off by a header or two, and at least
        65536; there is no limit if the AE's is 0, unlimited. A longer PDU is answered with an
        A-ABORT.
    negotiation_length : int
        The same for other PDUs: an A-ASSOCIATE-RQ with 128 contexts may have 150 KiB.
    data_set_bytes : int
        The most bytes of a message's data set. A longer one is answered with status 0213H for an
        N-SET request, else with an A-ABORT; so is a command set of more than 64 KiB.
    pending_requests : int
        The most requests of an association that wait while one is served. Then reading from its
        socket pauses until half of them are served.
    association_bytes : int
        The most pending bytes of an association: data sets that are arriving, queued requests,
        responses that a program has not taken yet, and output that the peer does not read; or one
        message, if that is more. Above it, reading from its socket pauses.
    server_bytes : int or None
        The most pending bytes of all associations. None (the default) is a quarter of the machine's
        memory. Above it, reading pauses for associations with more than 64 KiB pending, all but
        one, so that they do not wait for each other for ever. An association for which that lasts
        for the network timeout is aborted.
    connections : int or None
        The most open connections, including those that are not associations yet. None (the
        default) is the AE's ``maximum_associations`` plus 100. With so many, a new connection
        replaces the oldest that has sent no PDU; if there is none, the new one is closed.
    first_pdu_timeout : float
        Seconds until the first PDU must be complete, including the TLS handshake; the AE's
        ``acse_timeout`` if that is less.
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
            return _MAX_PDU_BYTES
        return min(max(announced + _HEADER_BYTES, _MIN_PDU_BYTES), _MAX_PDU_BYTES)

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
            memory = _DEFAULT_MEMORY_BYTES
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
