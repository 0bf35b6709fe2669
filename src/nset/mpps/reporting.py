"""An association that reports events, in the caller's thread; what the peer can take is limited.

pynetdicom's requestor keeps all that a peer sends, waits without end for the rest of a PDU, and
serves the peer's requests.
"""

import socket
import struct
import time
from contextlib import suppress
from io import BytesIO
from typing import Any, Final

from pynetdicom import (
    PYNETDICOM_IMPLEMENTATION_UID,
    PYNETDICOM_IMPLEMENTATION_VERSION,
    build_context,
    build_role,
)
from pynetdicom.dimse_messages import N_EVENT_REPORT_RQ
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)

from nset import _pdu
from nset.wire import Message, MessageAssembler

_TIMEOUT_SECONDS = 10.0  # of a connection, and of an answer
_ANSWER_BYTES = 0x20000  # an answer has some hundred; it may have an Event Reply

_PDU_BYTES: Final = 16382  # which the peer is told, as pynetdicom does
_CONTEXT_ID: Final = 1
_N_EVENT_REPORT_RSP: Final = 0x8100
_PDU: Final = struct.Struct(">BxL")
_PDV: Final = struct.Struct(">LB")
_MIN_PDU_LENGTH: Final = _pdu.PDV_HEADER_LENGTH + 2


class Association:
    """An association with a subscriber, of the role SCP: a context manager, which releases it.

    Parameters
    ----------
    address : tuple of (str, int)
        Host and port; connects.
    calling, called : str
        AE titles.
    sop_class : str
        Of the events.

    Raises
    ------
    OSError
        If there is no connection, or none any more; with a ConnectionError from the peer, if it
        sends something else than what is expected, or more than that may have.
    """

    def __init__(self, address: tuple[str, int], calling: str, called: str, sop_class: str) -> None:
        self._sop_class = sop_class
        self._request = _request(calling, called, sop_class)
        self._max_pdu_length = 0
        self._deadline, self._left = 0.0, 0
        self._socket = socket.create_connection(address, _TIMEOUT_SECONDS)

    def __enter__(self) -> "Association":
        """Negotiate the association."""
        try:
            self._send(self._request)
            self._accepted(*self._pdu())
        except BaseException:
            self._abort()
            raise
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        """Release it, or abort it if there was an exception."""
        if kind is not None:
            self._abort()
            return
        with self._socket, suppress(OSError):
            self._send(_short_pdu(_pdu.RELEASE_RQ))
            self._pdu()

    def interrupt(self) -> None:
        """End the connection: what another thread waits for raises an OSError."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def report(self, number: int, event_type: int, uid: str) -> int:
        """Report an event.

        Parameters
        ----------
        number : int
            The Message ID.
        event_type : int
            The Event Type ID.
        uid : str
            The Affected SOP Instance UID.

        Returns
        -------
        int
            The status that the peer answers with.

        Raises
        ------
        OSError
            If it does not answer.
        """
        primitive = N_EVENT_REPORT()
        primitive.MessageID, primitive.EventTypeID = number, event_type
        primitive.AffectedSOPClassUID = self._sop_class
        primitive.AffectedSOPInstanceUID = uid
        message: Any = N_EVENT_REPORT_RQ()
        message.primitive_to_message(primitive)
        pdus = []
        for fragment in message.encode_msg(_CONTEXT_ID, self._max_pdu_length):
            pdu = P_DATA_TF()
            pdu.from_primitive(fragment)
            pdus.append(pdu.encode())
        self._send(b"".join(pdus))
        return self._status()

    # -- What the peer sends -----------------------------------------------------------------------

    def _accepted(self, kind: int, pdu: bytes) -> None:
        answer: Any = A_ASSOCIATE_AC() if kind == _pdu.ASSOCIATE_AC else A_ASSOCIATE_RJ()
        if kind not in (_pdu.ASSOCIATE_AC, _pdu.ASSOCIATE_RJ):
            raise _unexpected(kind)
        try:
            answer.decode(pdu)
            if kind == _pdu.ASSOCIATE_RJ:
                why = f"{answer.result_str}, {answer.source_str}, {answer.reason_str}"
                raise ConnectionRefusedError(f"it rejects the association: {why}")
            results = {item.context_id: item.result for item in answer.presentation_context}
            self._max_pdu_length = answer.user_information.maximum_length or 0
        except OSError:
            raise
        except Exception as exc:  # pydicom's and pynetdicom's, for what is invalid
            raise _unreadable(exc) from exc
        if results.get(_CONTEXT_ID) != 0:
            raise ConnectionRefusedError("it does not accept the presentation context")
        if 0 < self._max_pdu_length < _MIN_PDU_LENGTH:
            raise ConnectionRefusedError("its PDUs are too short for a message")

    def _status(self) -> int:
        message, assembler = None, MessageAssembler()
        try:
            while message is None:
                kind, pdu = self._pdu()
                if kind != _pdu.P_DATA_TF:
                    raise _unexpected(kind)
                rest = memoryview(pdu)[_pdu.HEADER_LENGTH :]
                while rest:
                    length, context_id = _PDV.unpack_from(rest)
                    if not 2 <= length <= len(rest) - 4:
                        raise ValueError("a PDV runs past the end of its PDU")
                    message = assembler.feed(context_id, rest[_PDV.size : 4 + length])
                    rest = rest[4 + length :]
            if isinstance(message, Message):
                answer = decode(BytesIO(message.command_set), True, True)
                status = answer.get("Status")
                if answer.get("CommandField") == _N_EVENT_REPORT_RSP and isinstance(status, int):
                    return status
        except OSError:
            raise
        except Exception as exc:  # pydicom's, struct's, nset's, for what is invalid
            raise _unreadable(exc) from exc
        raise ConnectionError("it sends another message than an answer")

    def _pdu(self) -> tuple[int, bytes]:
        """Return the type of the next PDU, and all of it."""
        header = self._read(_PDU.size)
        kind, length = _PDU.unpack(header)
        if kind not in _pdu.PDU_NAMES:
            raise _unexpected(kind)
        if length > self._left:
            raise ConnectionError(f"it sends more than {_ANSWER_BYTES} bytes")
        return kind, header + self._read(length)

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))
            part = self._socket.recv(length - len(data))
            if not part:
                raise ConnectionError("it has closed the connection")
            data += part
        self._left -= length
        return bytes(data)

    # -- What it is sent ---------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        """Send PDUs; until the next ones the limits are those of the answer."""
        self._deadline, self._left = time.monotonic() + _TIMEOUT_SECONDS, _ANSWER_BYTES
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._socket.sendall(data)

    def _abort(self) -> None:
        with self._socket, suppress(OSError):
            self._socket.setblocking(False)
            self._socket.send(_short_pdu(_pdu.ABORT))


def _request(calling: str, called: str, sop_class: str) -> bytes:
    """Return an A-ASSOCIATE-RQ."""
    context, length = build_context(sop_class), MaximumLengthNotification()
    context.context_id = _CONTEXT_ID
    length.maximum_length_received = _PDU_BYTES
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    primitive.presentation_context_definition_list = [context]
    # In MPPS Notification the SCP sends, so that is the role which the requestor proposes.
    role = build_role(sop_class, scp_role=True)
    primitive.user_information = [length, implementation, version, role]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def _short_pdu(kind: int) -> bytes:
    return _PDU.pack(kind, 4) + bytes(4)


def _unexpected(kind: int) -> ConnectionError:
    return ConnectionError(f"it sends {_pdu.PDU_NAMES.get(kind, f'a PDU of type {kind:02X}H')}")


def _unreadable(exc: Exception) -> ConnectionError:
    return ConnectionError(f"it sends what can't be read: {exc}")
