"""A peer that sends any bytes: an association over a bare socket (PS3.8 9.3)."""

import socket
import ssl
import struct
from io import BytesIO
from types import TracebackType
from typing import NamedTuple

from associations import TIMEOUT
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode

AE_TITLE = "RAW"

COMMAND, LAST = 0x01, 0x02  # bits of the message control header

P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = 0x04, 0x05, 0x06, 0x07


class Pdu(NamedTuple):
    """A PDU as it has come: its type, and what is behind its length field."""

    type: int
    body: bytes


class Peer:
    """An SCU that has proposed abstract syntaxes, as `associate_rq` has them."""

    def __init__(
        self,
        port: int,
        *abstract_syntaxes: str | tuple[str, ...],
        max_length: int = 16384,
        context: ssl.SSLContext | None = None,
        roles: bool = False,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = "{}:{}".format(*self.socket.getsockname())
        self.socket.sendall(associate_rq(*abstract_syntaxes, max_length=max_length, roles=roles))
        accepted = self.receive()
        assert accepted is not None
        assert accepted.type == 0x02

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, *pdus: bytes) -> None:
        """Send PDUs in one write."""
        self.socket.sendall(b"".join(pdus))

    def receive(self) -> Pdu | None:
        """The next PDU; None where the connection has been closed."""
        header = self.read(6)
        if not header:
            return None
        kind, length = struct.unpack(">BxI", header)
        return Pdu(kind, self.read(length))

    def receive_message(self) -> tuple[Dataset, bytes]:
        """The next message: its command set, decoded by pydicom, and its data set."""
        command_set = decode(BytesIO(self._receive_part(COMMAND)), True, True)
        follows = command_set.CommandDataSetType != 0x0101
        return command_set, self._receive_part(0) if follows else b""

    def _receive_part(self, kind: int) -> bytes:
        """A command set or data set, from PDUs of one PDV each, as pynetdicom sends them."""
        part = b""
        header = kind
        while not header & LAST:
            pdu = self.receive()
            assert pdu is not None
            assert pdu.type == P_DATA_TF, f"PDU {pdu.type:02X}H: {pdu.body.hex(' ')}"
            length, context_id, header = struct.unpack_from(">IBB", pdu.body)
            assert (length, context_id, header & COMMAND) == (len(pdu.body) - 4, 1, kind)
            part += pdu.body[6:]
        return part

    def release(self) -> None:
        """Release the association, and see that the other side agrees."""
        self.send(pdu(RELEASE_RQ, bytes(4)))
        assert self.receive() == (RELEASE_RP, bytes(4))
        assert self.receive() is None

    def read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                assert not data
                break
            data += more
        return data


def reset_when_closed(connection: socket.socket) -> None:
    """Have it closed by a RST, in place of a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def item(kind: int, *parts: bytes | str) -> bytes:
    """An item or sub-item of an association PDU."""
    body = b"".join(part.encode("ascii") if isinstance(part, str) else part for part in parts)
    return struct.pack(">BxH", kind, len(body)) + body


def p_data(*pdvs: tuple[int, int, bytes]) -> bytes:
    """A P-DATA-TF PDU of PDVs: context ID, message control header, fragment."""
    return pdu(
        P_DATA_TF,
        b"".join(
            struct.pack(">IBB", len(fragment) + 2, context_id, header) + fragment
            for context_id, header, fragment in pdvs
        ),
    )


def associate_rq(
    *abstract_syntaxes: str | tuple[str, ...], max_length: int = 16384, roles: bool = False
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2) for contexts 1, 3, ...

    In Implicit VR Little Endian, or else in the transfer syntaxes that are given with it; with
    both roles, where that is asked for.
    """
    contexts = b""
    user = item(0x51, struct.pack(">I", max_length)) + item(0x52, "1.2.826.0.1.3680043.8.498.9")
    for number, given in enumerate(abstract_syntaxes):
        syntax, *transfers = (given, "1.2.840.10008.1.2") if isinstance(given, str) else given
        context = bytes((2 * number + 1, 0, 0, 0)) + item(0x30, syntax)
        contexts += item(0x20, context + b"".join(item(0x40, uid) for uid in transfers))
        if roles:
            user += item(0x54, struct.pack(">H", len(syntax)), syntax, b"\1\1")
    return pdu(
        0x01,
        struct.pack(">H2x16s16s32x", 1, b"ANY-SCP".ljust(16), AE_TITLE.encode().ljust(16))
        + item(0x10, "1.2.840.10008.3.1.1.1")
        + contexts
        + item(0x50, user),
    )
