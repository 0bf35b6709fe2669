"""pynetdicom's N_SET_RQ and N_SET_RSP over bytes: no pydicom `Dataset` unless someone reads it.

Each function takes the method of pynetdicom that it stands in for, and falls back on it wherever
the message is not one that nset has read or written itself.

A message that nset has read or written keeps the bytes of its command set in ``_nset_encoded``.
"""

import logging
import re
from collections.abc import Callable, Iterator
from functools import wraps
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import dimse_messages
from pynetdicom.dsutils import decode
from pynetdicom.pdu_primitives import P_DATA

from nset import _rules
from nset._command_set import CommandSetError, announces_data_set, peek
from nset.primitive import N_SET
from nset.wire import IS_COMMAND, IS_LAST, fragments, padded

_NAMES: Final = {0x0120: "N_SET_RQ", 0x8120: "N_SET_RSP"}

# A Command Field of N-SET may stand here, in whatever VR: the look that other messages pay for.
_maybe_n_set: Final = re.compile(rb"\x00\x00\x00\x01....\x20[\x01\x81]", re.DOTALL).search


# -- The command set as a Dataset, made when first read --------------------------------------------


def _get_command_set(message: Any) -> Dataset:
    values = vars(message)
    if "command_set" not in values:
        encoded = values.get("_nset_encoded")
        if encoded is None:
            values["command_set"] = _blank(type(message).__name__)
        else:
            values["command_set"] = _as_dataset(encoded)
    dataset: Dataset = values["command_set"]
    return dataset


def _set_command_set(message: Any, value: Dataset) -> None:
    vars(message)["command_set"] = value


COMMAND_SET: Final = (_get_command_set, _set_command_set)


def _blank(name: str) -> Dataset:
    """Make the command set of a new message: each of its elements, without a value."""
    dataset = Dataset()
    for keyword in dimse_messages._COMMAND_SET_KEYWORDS[name.replace("_", "-")]:
        setattr(dataset, keyword, None)
    return dataset


def _as_dataset(encoded: bytes) -> Dataset:
    return decode(BytesIO(encoded), True, True)


def _is_as_encoded(message: Any) -> bool:
    """Whether the bytes still are the message: no handler has changed the `Dataset` it read."""
    values = vars(message)
    encoded = values.get("_nset_encoded")
    if encoded is None:
        return False
    return "command_set" not in values or values["command_set"] == _as_dataset(encoded)


# -- Sending --------------------------------------------------------------------------------------


def init(self: Any) -> None:
    """Stand in for ``DIMSEMessage.__init__``: the command set comes when it is read."""
    self.context_id = None
    self.encoded_command_set = BytesIO()
    self.data_set = BytesIO()
    self._data_set_path = None
    self._data_set_file = None


def primitive_to_message(stock: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Encode an nset primitive at once.

    Parameters
    ----------
    stock : callable
        pynetdicom's.

    Returns
    -------
    callable
        What to put in its place.
    """

    @wraps(stock)
    def primitive_to_message(self: Any, primitive: Any) -> None:
        vars(self).pop("_nset_encoded", None)
        is_response = type(self).__name__ == "N_SET_RSP"
        if (
            not issubclass(type(primitive), N_SET)
            or (primitive.MessageIDBeingRespondedTo is not None) is not is_response
        ):
            stock(self, primitive)
            return
        self._nset_encoded = primitive.to_command_set()
        vars(self).pop("command_set", None)
        self.data_set = primitive.AttributeList if is_response else primitive.ModificationList
        self._data_set_path = getattr(primitive, "_dataset_path", None)

    return primitive_to_message


def encode_msg(
    stock: Callable[[Any, int, int], Iterator[P_DATA]],
) -> Callable[[Any, int, int], Iterator[P_DATA]]:
    """Cut the encoded message into PDVs.

    Parameters
    ----------
    stock : callable
        pynetdicom's.

    Returns
    -------
    callable
        What to put in its place.
    """

    @wraps(stock)
    def encode_msg(self: Any, context_id: int, max_pdu_length: int) -> Iterator[P_DATA]:
        if not _is_as_encoded(self) or (self.data_set is None and self._data_set_path is not None):
            yield from stock(self, context_id, max_pdu_length)
            return
        self.context_id = context_id
        data_set = b"" if self.data_set is None else padded(self.data_set.getvalue())
        for kind, data in ((IS_COMMAND, self._nset_encoded), (0, data_set)):
            cut = list(fragments(data, max_pdu_length))
            for index, fragment in enumerate(cut, start=1):
                header = kind | (IS_LAST if index == len(cut) else 0)
                primitive = P_DATA()
                primitive.presentation_data_value_list.append(
                    (context_id, bytes((header,)) + fragment)
                )
                yield primitive

    return encode_msg


# -- Receiving ------------------------------------------------------------------------------------


def decode_msg(stock: Callable[..., bool]) -> Callable[..., bool]:
    """Collect the fragments of N-SET messages without decoding them by pydicom.

    Parameters
    ----------
    stock : callable
        pynetdicom's, for messages of all kinds.

    Returns
    -------
    callable
        What to put in its place.
    """

    @wraps(stock)
    def decode_msg(self: Any, primitive: Any, assoc: Any = None) -> bool:
        if primitive.__class__ is not P_DATA:
            return stock(self, primitive, assoc)
        pdvs = primitive.presentation_data_value_list
        if "_nset_encoded" not in vars(self):
            rest = _start(self, pdvs)
            if rest is None:
                return stock(self, primitive, assoc)
            if not announces_data_set(*peek(self._nset_encoded)):
                return True
            pdvs = pdvs[rest:]
        for _, pdv in pdvs:
            if pdv[0] & IS_COMMAND:
                raise CommandSetError("a fragment of a command set among those of a data set")
            self.data_set.write(memoryview(pdv)[1:])
            if pdv[0] & IS_LAST:
                return True
        return False

    return decode_msg


def _start(message: Any, pdvs: list[tuple[int, bytes]]) -> int | None:
    """Make the message an N-SET if these PDVs complete the command set of one.

    Returns
    -------
    int or None
        The number of PDVs that the command set took; None, with nothing changed, where the
        message is another or not that far.
    """
    command = None
    for index, (context_id, pdv) in enumerate(pdvs):
        if not pdv or not pdv[0] & IS_COMMAND:
            return None
        if command is None:
            command = bytearray(message.encoded_command_set.getvalue())
        command += memoryview(pdv)[1:]
        if not pdv[0] & IS_LAST:
            continue
        encoded = bytes(command)
        name = _NAMES.get(peek(encoded)[0]) if _maybe_n_set(encoded) else None
        if name is None:
            return None
        message.context_id = context_id
        message.encoded_command_set = BytesIO(encoded)
        message._nset_encoded = encoded
        message.__class__ = getattr(dimse_messages, name)
        vars(message).pop("command_set", None)
        return index + 1
    return None


def message_to_primitive(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decode the command set straight into a primitive.

    Parameters
    ----------
    stock : callable
        pynetdicom's.

    Returns
    -------
    callable
        What to put in its place. A request that can't be read but can be answered becomes a
        primitive that holds the reason as ``_nset_refusal``.
    """

    @wraps(stock)
    def message_to_primitive(self: Any) -> Any:
        if not _is_as_encoded(self):
            return stock(self)
        try:
            primitive = N_SET.from_command_set(self._nset_encoded)
        except CommandSetError as error:
            if error.message_id is None:
                raise
            primitive = N_SET()
            primitive.MessageID = error.message_id
            primitive._nset_refusal = error  # type: ignore[attr-defined]
        primitive.ModificationList = self.data_set
        primitive._context_id = self.context_id
        # What send_n_set copies to the status it returns; its users know these three.
        primitive.STATUS_OPTIONAL_KEYWORDS = _rules.STATUS_OPTIONAL_KEYWORDS[:3]
        return primitive

    return message_to_primitive


# -- Logging --------------------------------------------------------------------------------------


def where_enabled(
    logger: logging.Logger, stock: Callable[[Any], list[str]]
) -> Callable[[Any], list[str]]:
    """Format a message for the log only where somebody will see it.

    Parameters
    ----------
    logger : logging.Logger
        pynetdicom's, which takes the lines at DEBUG.
    stock : callable
        pynetdicom's handler for one kind of message.

    Returns
    -------
    callable
        What to put in its place.
    """

    @wraps(stock)
    def handler(event: Any) -> list[str]:
        return stock(event) if logger.isEnabledFor(logging.DEBUG) else []

    return handler
