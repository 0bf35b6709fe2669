"""Messages to and from PDVs (PS3.8 Section 9.3.5, Annex E), without any I/O.

A PDV here means the bytes after the presentation context ID: the message control header (one byte;
bit 0 is set for a fragment of a command set, bit 1 for a last fragment) and the fragment.
"""

import logging
from collections.abc import Iterator
from io import BytesIO
from typing import Final, NamedTuple

from nset import _pdu, _rules
from nset._command_set import announces_data_set
from nset._errors import CommandSetError
from nset._implementation import read_command_field_and_type
from nset._pdu import IS_COMMAND, IS_LAST
from nset.primitive import N_SET

__all__ = ["Message", "MessageAssembler", "data_set_follows", "encode_pdus"]

_LOGGER = logging.getLogger("nset")

_MIN_PDU_LENGTH: Final = _pdu.PDV_HEADER_LENGTH + 2
_MAX_PDU_LENGTH: Final = 0xFFFFFFFF


class Message(NamedTuple):
    """A message of another service than N-SET, not decoded.

    Attributes
    ----------
    context_id : int
        ID of its presentation context.
    command_set : bytes
        The encoded command set.
    data_set : io.BytesIO or None
        The encoded data set, positioned at the end; None if none was announced.
    """

    context_id: int
    command_set: bytes
    data_set: BytesIO | None


def data_set_follows(command_set: bytes | bytearray | memoryview) -> bool:
    """Return whether a command set announces a data set (PS3.7 Section E.1, (0000,0800)).

    Parameters
    ----------
    command_set : bytes-like
        The command set of any message, Implicit VR Little Endian.

    Returns
    -------
    bool
        Whether the Command Data Set Type is present and not 0101H. If it is missing: True for a
        request, False for a response.

    Raises
    ------
    CommandSetError
        If the bytes cannot be decoded, or have no Command Field (0000,0100).
    TypeError
        If `command_set` is not bytes-like.
    """
    return announces_data_set(*read_command_field_and_type(bytes(memoryview(command_set))))


class MessageAssembler:
    """Assembles the messages of one association from their PDVs.

    Not safe to share between threads: the PDVs of an association have an order.

    Parameters
    ----------
    max_dataset_bytes : int, optional
        The most bytes that a data set may have; None (the default) is unlimited.
    """

    def __init__(self, max_dataset_bytes: int | None = None) -> None:
        self._max_dataset_bytes = max_dataset_bytes
        self._refused: int | None = None
        self._reset()

    def _reset(self) -> None:
        self._context_id: int | None = None
        self._command = bytearray()
        self._message: N_SET | Message | None = None
        self._data_set = BytesIO()
        self._is_odd = False

    def feed(
        self, context_id: int, pdv: bytes | bytearray | memoryview
    ) -> "N_SET | Message | None":
        """Process the next PDV.

        Parameters
        ----------
        context_id : int
            ID of the presentation context of the PDV.
        pdv : bytes-like
            The message control header byte and the fragment.

        Returns
        -------
        N_SET or Message or None
            The message that this PDV completes: for an N-SET the primitive, with its
            ``_context_id`` and its list positioned at the end. None if the message is not complete.

        Raises
        ------
        CommandSetError
            If a fragment is out of order, the context changes within a message, a limit is
            exceeded, or the command set cannot be decoded. The message is dropped. If the error has
            a ``message_id``, the request can be answered and the association can continue: the rest
            of its data set is skipped.
        TypeError
            If `pdv` is not bytes-like.
        """
        try:
            return self._feed(context_id, memoryview(pdv))
        except BaseException as exc:
            self._reset()
            if isinstance(exc, CommandSetError) and exc.message_id is not None:
                is_end = pdv[0] & (IS_COMMAND | IS_LAST) == IS_LAST
                self._refused = None if is_end else context_id
            raise

    def _feed(self, context_id: int, pdv: memoryview) -> "N_SET | Message | None":
        if len(pdv) == 0:
            raise CommandSetError("a PDV without a message control header")
        header, fragment = pdv[0], pdv[1:]
        if self._refused == context_id and not header & IS_COMMAND:
            if header & IS_LAST:
                self._refused = None
            return None
        self._refused = None
        if self._context_id is None:
            self._context_id = context_id
        elif context_id != self._context_id:
            raise _pdu.context_change(context_id, self._context_id)
        if len(fragment) % 2 and not self._is_odd:
            self._is_odd = True  # one record per message
            _LOGGER.warning("PDV with a fragment of odd length, %d bytes", len(fragment))
        if not header & IS_COMMAND:
            if self._message is None:
                raise _pdu.data_before_command()
            return self._feed_data_set(fragment, bool(header & IS_LAST))
        if self._message is not None:
            raise _pdu.command_among_data()
        if len(self._command) + len(fragment) > _rules.MAX_COMMAND_SET_LENGTH:
            raise _pdu.command_set_too_long()
        self._command += fragment
        return self._start(bytes(self._command)) if header & IS_LAST else None

    def _start(self, command_set: bytes) -> "N_SET | Message | None":
        """Decode a complete command set."""
        assert self._context_id is not None
        field, data_set_type = read_command_field_and_type(command_set)
        follows = announces_data_set(field, data_set_type)
        if field in _rules.N_SET_FIELDS:
            message: N_SET | Message = N_SET.from_command_set(command_set)
            message._context_id = self._context_id  # type: ignore[union-attr]
        else:
            message = Message(self._context_id, command_set, self._data_set if follows else None)
        if follows:
            self._message = message
            return None
        self._reset()
        return message

    def _feed_data_set(self, fragment: memoryview, is_last: bool) -> "N_SET | Message | None":
        limit, message = self._max_dataset_bytes, self._message
        if limit is not None and self._data_set.tell() + len(fragment) > limit:
            message_id = None
            if isinstance(message, N_SET) and message.MessageIDBeingRespondedTo is None:
                message_id = message.MessageID
            raise _pdu.data_set_too_long(limit, message_id)
        self._data_set.write(fragment)
        if not is_last:
            return None
        if isinstance(message, N_SET):
            message.ModificationList = self._data_set
        self._reset()
        return message


def fragments(data: bytes | memoryview, max_pdu_length: int) -> Iterator[memoryview]:
    """Split a command set or data set into fragments, all but the last of an even length.

    `max_pdu_length` is the most bytes after the PDU-length field of a P-DATA-TF PDU with one PDV
    (PS3.8 Sections D.1, E.1); 0 is unlimited. Raise ValueError if it is negative or between 1 and
    7.
    """
    if max_pdu_length != 0 and max_pdu_length < _MIN_PDU_LENGTH:
        raise ValueError(f"max_pdu_length must be 0 or at least 8, not {max_pdu_length}")
    length = (min(max_pdu_length or _MAX_PDU_LENGTH, _MAX_PDU_LENGTH) - _pdu.PDV_HEADER_LENGTH) & ~1
    view = memoryview(data)
    for at in range(0, len(view), length):
        yield view[at : at + length]


def encode_pdus(primitive: N_SET, context_id: int, max_pdu_length: int = 0) -> bytes:
    """Encode a message as P-DATA-TF PDUs (PS3.8 Section 9.3.5), one PDV each.

    Parameters
    ----------
    primitive : N_SET
        The request or response. A list of odd length is padded with one 00H.
    context_id : int
        ID of the presentation context, odd, 1 to 255.
    max_pdu_length : int
        The peer's maximum length, in bytes after the PDU-length field; 0 is unlimited.

    Returns
    -------
    bytes
        All PDUs, for one ``send``.

    Raises
    ------
    ValueError
        If `context_id` or `max_pdu_length` is out of range, or a value cannot be encoded. Also if
        the data set is in a file, as pynetdicom's may be.
    TypeError
        If a value is of a type that cannot be encoded.
    """
    if not 1 <= context_id <= 255 or context_id % 2 == 0:
        raise ValueError(f"context_id must be odd and between 1 and 255, not {context_id!r}")
    stream = primitive.ModificationList
    if stream is None and primitive._dataset_path:
        raise ValueError("a data set in a file can't be sent by encode_pdus")
    data_set = b"" if stream is None else stream.getvalue()
    parts = []
    for pdv in split_into_pdvs(primitive.to_command_set(), data_set, max_pdu_length):
        length = len(pdv) + 1
        parts.append(b"\x04\x00" + (length + 4).to_bytes(4, "big"))
        parts.append(length.to_bytes(4, "big") + bytes((context_id,)) + pdv)
    return b"".join(parts)


def split_into_pdvs(command_set: bytes, data_set: bytes, max_pdu_length: int) -> Iterator[bytes]:
    """Yield each PDV of a message: message control header and fragment (PS3.8 Section E.2)."""
    for kind, data in ((IS_COMMAND, command_set), (0, padded(data_set))):
        cut = list(fragments(data, max_pdu_length))
        for left, fragment in zip(range(len(cut) - 1, -1, -1), cut, strict=True):
            yield bytes((kind if left else kind | IS_LAST,)) + fragment


def padded(data_set: bytes) -> bytes:
    """Pad a data set to an even length, as fragments must have (PS3.8 Section E.1)."""
    return data_set + b"\x00" if len(data_set) % 2 else data_set
