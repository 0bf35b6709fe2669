"""pynetdicom's N_SET_RQ and N_SET_RSP over bytes: no pydicom `Dataset` unless someone reads it.

Each public function takes the method of pynetdicom that it stands in for, and gives what to put in
its place; that falls back on the stock one wherever the message is not one that nset has read or
written itself.

A message that nset has read or written keeps the bytes of its command set in ``_nset_encoded``.
Nothing else about it is special: stock code can go on with it at any point, so that `uninstall`
does no harm to messages on their way.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, wraps
from io import BytesIO
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import dimse_messages, dsutils
from pynetdicom.pdu_primitives import P_DATA

from nset import _pdu, _rules
from nset._command_set import (
    N_SET_RQ,
    NO_DATA_SET,
    CommandSetError,
    announces_data_set,
    data_set_type,
    encode,
    examine,
    missing_status,
)
from nset._implementation import peek
from nset._pdu import IS_COMMAND, IS_LAST
from nset.primitive import N_SET
from nset.wire import cut_into_pdvs

_NAMES: Final = {0x0120: "N_SET_RQ", 0x8120: "N_SET_RSP"}

# Requests that must have a data set, and those that may (PS3.7 Sections 9.3 and 10.3).
_WITH_DATA_SET: Final = frozenset(("C_STORE_RQ", "C_FIND_RQ", "C_GET_RQ", "C_MOVE_RQ", "N_SET_RQ"))
_MAY_HAVE_DATA_SET: Final = frozenset(("N_CREATE_RQ", "N_ACTION_RQ", "N_EVENT_REPORT_RQ"))

# A Command Field of N-SET may stand here, in whatever VR, of which some have a length of 4 bytes
# behind 2 reserved ones: the look that other messages pay for.
_maybe_n_set: Final = re.compile(rb"\x00\x00\x00\x01....(?:....)?\x20[\x01\x81]", re.DOTALL).search


# -- The command set as a Dataset, made when first read --------------------------------------------


class _Unread(Dataset):
    """A command set that turns into a `Dataset`, class and all, at whatever is first done with it.

    Parameters
    ----------
    read : callable
        Gives the `Dataset` whose elements it is to have.
    """

    def __init__(self, read: Callable[[], Dataset]) -> None:
        object.__setattr__(self, "_read", read)

    def __getattribute__(self, name: str) -> Any:
        values = object.__getattribute__(self, "__dict__")
        read = values.get("_read")
        if read is not None:
            # Without a lock: several threads may get here, and the first one's values stay.
            for key, value in vars(read()).items():
                values.setdefault(key, value)
            object.__setattr__(self, "__class__", Dataset)
            values.pop("_read", None)
        return object.__getattribute__(self, name)


def _blank(keywords: tuple[str, ...]) -> Dataset:
    """Make the command set of a new message: each of its elements, without a value."""
    dataset = Dataset()
    for keyword in keywords:
        setattr(dataset, keyword, None)
    return dataset


def _received(encoded: bytes) -> Dataset:
    return dsutils.decode(BytesIO(encoded), True, True)  # which says so in the log


def _sent(encoded: bytes) -> Dataset:
    return read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)


def _is_as_encoded(message: Any) -> bool:
    """Whether the bytes still are the message: no handler has changed the `Dataset` it read."""
    encoded = vars(message).get("_nset_encoded")
    if encoded is None:
        return False
    command_set = message.command_set
    if type(command_set) is _Unread:
        return True
    try:
        return bool(command_set == _sent(encoded))
    except Exception:  # it holds an element that can't be read: whoever has tried changed nothing
        return True


# -- Sending --------------------------------------------------------------------------------------


def init(self: Any) -> None:
    """Stand in for ``DIMSEMessage.__init__``: the command set comes when it is read."""
    self.context_id = None
    self.encoded_command_set = BytesIO()
    self.data_set = BytesIO()
    keywords = dimse_messages._COMMAND_SET_KEYWORDS[type(self).__name__.replace("_", "-")]
    self.command_set = _Unread(partial(_blank, keywords))
    self._data_set_path = None
    self._data_set_file = None


def primitive_to_message(stock: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Encode an nset primitive at once."""

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
        encoded = _encoded_response(primitive) if is_response else primitive.to_command_set()
        self._nset_encoded = encoded
        self.command_set = _Unread(partial(_sent, encoded))
        self.data_set = primitive.AttributeList if is_response else primitive.ModificationList
        self._data_set_path = getattr(primitive, "_dataset_path", None)

    return primitive_to_message


def _encoded_response(response: N_SET) -> bytes:
    """Encode a response; the peer gets its Status also where what explains it can't be sent."""
    try:
        return response.to_command_set()
    except Exception:  # a value may be anything
        return encode(response, is_lenient=True)


def encode_msg(
    stock: Callable[[Any, int, int], Iterator[P_DATA]],
) -> Callable[[Any, int, int], Iterator[P_DATA]]:
    """Cut the encoded message into PDVs."""

    @wraps(stock)
    def encode_msg(self: Any, context_id: int, max_pdu_length: int) -> Iterator[P_DATA]:
        if not _is_as_encoded(self) or (self.data_set is None and self._data_set_path is not None):
            yield from stock(self, context_id, max_pdu_length)
            return
        self.context_id = context_id
        data_set = b"" if self.data_set is None else self.data_set.getvalue()
        for pdv in cut_into_pdvs(self._nset_encoded, data_set, max_pdu_length):
            primitive = P_DATA()
            primitive.presentation_data_value_list.append((context_id, pdv))
            yield primitive

    return encode_msg


# -- Receiving ------------------------------------------------------------------------------------


def new_message() -> Any:
    """Make a ``DIMSEMessage`` to receive by; most never need the `Dataset` that it comes with."""
    message: Any = object.__new__(dimse_messages.DIMSEMessage)
    message.context_id = None
    message.encoded_command_set = BytesIO()
    message.data_set = BytesIO()
    message.command_set = _Unread(Dataset)
    message._data_set_path = None
    message._data_set_file = None
    return message


def remove_file(message: Any) -> None:
    """Remove the file that holds what has come of a data set, if one does.

    pynetdicom does so where it has served the request (STORE_RECV_CHUNKED_DATASET).

    Parameters
    ----------
    message : pynetdicom DIMSEMessage or primitive, or None
        What has been received, and is served no more.
    """
    file = getattr(message, "_data_set_file", None) or getattr(message, "_dataset_file", None)
    if file is not None:
        file.close()
        with suppress(OSError):
            os.unlink(file.name)


def decode_msg(stock: Callable[..., bool]) -> Callable[..., bool]:
    """Collect the fragments of N-SET messages without decoding them by pydicom."""

    @wraps(stock)
    def decode_msg(self: Any, primitive: Any, assoc: Any = None) -> bool:
        if primitive.__class__ is not P_DATA:
            return stock(self, primitive, assoc)
        pdvs = primitive.presentation_data_value_list
        if "_nset_encoded" not in vars(self):
            started = _start(self, pdvs)
            if started is None:
                return _leave_to(stock, self, primitive, assoc)
            taken, data_set_follows = started
            if not data_set_follows:
                return True
            pdvs = pdvs[taken:]
        for context_id, pdv in pdvs:
            if pdv[0] & IS_COMMAND:
                raise _pdu.command_among_data()
            if context_id != self.context_id:
                contexts = {} if assoc is None else assoc._accepted_cx
                is_told = vars(self).setdefault("_nset_contexts", set())
                if not _pdu.may_be_of(contexts, context_id, self.context_id, bool(is_told)):
                    raise _pdu.context_change(context_id, self.context_id)
                is_told.add(context_id)
            self.data_set.write(memoryview(pdv)[1:])
            if pdv[0] & IS_LAST:
                return True
        return False

    return decode_msg


def _leave_to(stock: Callable[..., bool], message: Any, primitive: Any, assoc: Any) -> bool:
    """Have stock code take what is of no N-SET message, or not of one that can be.

    Returns
    -------
    bool
        Whether the message is complete.
    """
    was_open = type(message) is dimse_messages.DIMSEMessage
    is_complete = stock(message, primitive, assoc)
    name = type(message).__name__
    if was_open and (name in _NAMES.values() or (is_complete and name == "DIMSEMessage")):
        raise _pdu.data_before_command()
    return is_complete


def _start(message: Any, pdvs: list[tuple[int, bytes]]) -> tuple[int, bool] | None:
    """Make the message an N-SET if these PDVs complete the command set of one.

    Returns
    -------
    tuple of int and bool, or None
        The number of PDVs that the command set took, and whether a data set follows; None, with
        nothing changed, where the message is another or not that far.

    Raises
    ------
    CommandSetError
        If there is more of a command set than anybody needs, before it is kept.
    """
    taken, length = 0, message.encoded_command_set.tell()
    for _, pdv in pdvs:
        if not pdv or not pdv[0] & IS_COMMAND:
            return None
        taken += 1
        length += len(pdv) - 1
        if length > _rules.MAX_COMMAND_SET_LENGTH:
            raise _pdu.command_set_too_long()
        if pdv[0] & IS_LAST:
            break
    else:
        return None
    encoded = pdvs[0][1][1:]
    if length > len(encoded):  # it came in several fragments
        encoded = message.encoded_command_set.getvalue()
        encoded += b"".join([pdv[1:] for _, pdv in pdvs[:taken]])
    if not _maybe_n_set(encoded):
        return None
    field, data_set_follows = _look(encoded)
    name = _NAMES.get(field)
    if name is None:
        return None
    if message.data_set.tell():
        raise _pdu.data_before_command()
    message.context_id = pdvs[taken - 1][0]
    message.encoded_command_set = BytesIO(encoded)
    message.command_set = _Unread(partial(_received, encoded))
    message.__class__ = getattr(dimse_messages, name)
    message._nset_encoded = encoded
    message._nset_has_data_set = data_set_follows
    return taken, data_set_follows


def _look(encoded: bytes) -> tuple[int, bool]:
    """Give the Command Field, and whether a data set follows."""
    try:
        field, kind_of_data_set = peek(encoded)
    except CommandSetError as error:
        if error.message_id is None:
            raise
        # A request that can be answered, once its data set is out of the way.
        field, kind_of_data_set = N_SET_RQ, data_set_type(examine(encoded)[0])
    return field, announces_data_set(field, kind_of_data_set)


def lacks_data_set(message: Any, kinds: frozenset[str] = _WITH_DATA_SET) -> bool:
    """Tell whether a message that is complete is a request of some kinds without a data set.

    Parameters
    ----------
    message : pynetdicom DIMSEMessage
        The message.
    kinds : frozenset of str
        Those that must have one, or `_MAY_HAVE_DATA_SET`.

    Returns
    -------
    bool
        Whether its Command Data Set Type is 0101H.
    """
    if type(message).__name__ not in kinds:
        return False
    if "_nset_has_data_set" in vars(message):
        return not message._nset_has_data_set
    return bool(message.command_set.CommandDataSetType == NO_DATA_SET)


def may_be_followed_by_data(message: Any) -> bool:
    """Tell whether a fragment of a data set behind a message, in the same PDU, is passed over.

    It is as in pynetdicom, but for one that the request may have been meant to have: to serve that
    without would be to acknowledge what is lost.
    """
    return not lacks_data_set(message, _MAY_HAVE_DATA_SET)


def message_to_primitive(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decode the command set straight into a primitive.

    Parameters
    ----------
    stock : callable
        pynetdicom's.

    Returns
    -------
    callable
        What to put in its place. A request that can't be served, of whatever service, becomes a
        primitive that holds the reason as ``_nset_refusal``; where no answer is possible either,
        the message holds it as ``_nset_fault``.
    """

    @wraps(stock)
    def message_to_primitive(self: Any) -> Any:
        refusal = None
        if not _is_as_encoded(self):
            try:
                primitive = stock(self)
            except Exception as exc:
                self._nset_fault = exc
                raise
            refusal = _refusal(self, primitive)
            if refusal is not None:
                primitive._nset_refusal = refusal
            return primitive
        try:
            primitive = N_SET.from_command_set(self._nset_encoded)
        except CommandSetError as error:
            if error.message_id is None:
                self._nset_fault = error
                raise
            refusal = error
            primitive = N_SET()
            primitive.MessageID = error.message_id
        primitive.ModificationList = self.data_set
        primitive._context_id = self.context_id
        # What send_n_set copies to the status it returns; its users know these three.
        primitive.STATUS_OPTIONAL_KEYWORDS = _rules.STATUS_OPTIONAL_KEYWORDS[:3]
        is_whole = primitive.is_valid_request and vars(self).get("_nset_has_data_set")
        if refusal is None and not is_whole:
            refusal = _refusal(self, primitive)
        if refusal is not None:
            primitive._nset_refusal = refusal  # type: ignore[attr-defined]
        return primitive

    return message_to_primitive


def _refusal(message: Any, request: Any) -> CommandSetError | None:
    """Name what a request lacks of what it must have; None where that is nothing."""
    name = type(message).__name__.replace("_", "-")
    if not name.endswith("-RQ") or name == "C-CANCEL-RQ":
        return None
    if not request.is_valid_request:
        for keyword in request.REQUEST_KEYWORDS:
            if getattr(request, keyword, None) is None:
                reason = f"missing in {'a' if name[0] == 'C' else 'an'} {name}"
                return CommandSetError(
                    reason, tag_for_keyword(keyword), None, missing_status(keyword)
                )
        return CommandSetError(f"no valid {name}")
    if lacks_data_set(message):
        return CommandSetError(
            f"0101H, but {'a' if name[0] == 'C' else 'an'} {name} has a data set",
            *(0x800, None, _rules.MISTYPED_ARGUMENT),
        )
    return None


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
