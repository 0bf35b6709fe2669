"""pynetdicom's N_SET_RQ and N_SET_RSP without a pydicom `Dataset`, unless a program reads it.

Each public function takes a stock method of pynetdicom and returns its replacement, which calls the
stock method for messages that nset has neither decoded nor encoded.

A message that nset has decoded or encoded keeps the bytes of its command set in ``_nset_encoded``.
Everything else in it is as in pynetdicom: stock code can take over at any point, so `uninstall`
does no harm to messages that are being sent or received.
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
from pynetdicom import _handlers, dimse_messages, dsutils
from pynetdicom.pdu_primitives import P_DATA

from nset import _pdu, _rules
from nset._command_set import (
    announces_data_set,
    data_set_type,
    encode,
    examine,
    missing_status,
)
from nset._errors import CommandSetError
from nset._implementation import read_command_field_and_type
from nset._pdu import IS_COMMAND, IS_LAST
from nset._rules import N_SET_RQ, N_SET_RSP, NO_DATA_SET
from nset.primitive import N_SET
from nset.wire import split_into_pdvs

_NAMES: Final = {N_SET_RQ: "N_SET_RQ", N_SET_RSP: "N_SET_RSP"}

# Requests that must have a data set, and those that may (PS3.7 Sections 9.3 and 10.3).
_WITH_DATA_SET: Final = frozenset(("C_STORE_RQ", "C_FIND_RQ", "C_GET_RQ", "C_MOVE_RQ", "N_SET_RQ"))
_MAY_HAVE_DATA_SET: Final = frozenset(("N_CREATE_RQ", "N_ACTION_RQ", "N_EVENT_REPORT_RQ"))

# Matches if the bytes can contain a Command Field of N-SET, in any VR: some have 2 reserved bytes
# and a length of 4 bytes. This search is the only cost that nset adds to other messages.
_maybe_n_set: Final = re.compile(rb"\x00\x00\x00\x01....(?:....)?\x20[\x01\x81]", re.DOTALL).search


# -- The command set as a Dataset, made when first read --------------------------------------------


class _LazyDataset(Dataset):
    """A command set that becomes a `Dataset`, class and all, when an attribute is first used.

    `read` returns the `Dataset` whose elements it gets.
    """

    def __init__(self, read: Callable[[], Dataset]) -> None:
        object.__setattr__(self, "_read", read)

    def __getattribute__(self, name: str) -> Any:
        values = object.__getattribute__(self, "__dict__")
        read = values.get("_read")
        if read is not None:
            # Without a lock: several threads may get here; the values of the first one are kept.
            for key, value in vars(read()).items():
                values.setdefault(key, value)
            object.__setattr__(self, "__class__", Dataset)
            values.pop("_read", None)
        return object.__getattribute__(self, name)


def _blank(keywords: tuple[str, ...]) -> Dataset:
    """Return the command set of a new message: each of its elements, empty."""
    dataset = Dataset()
    for keyword in keywords:
        setattr(dataset, keyword, None)
    return dataset


def _received(encoded: bytes) -> Dataset:
    return dsutils.decode(BytesIO(encoded), True, True)  # which also logs that


def _sent(encoded: bytes) -> Dataset:
    return read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)


def _is_as_encoded(message: Any) -> bool:
    """Return whether no handler has changed the `Dataset` since the bytes were made."""
    encoded = vars(message).get("_nset_encoded")
    if encoded is None:
        return False
    command_set = message.command_set
    if type(command_set) is _LazyDataset:
        return True
    try:
        return bool(command_set == _sent(encoded))
    except Exception:  # an element cannot be decoded: no handler can have changed it
        return True


# -- Sending --------------------------------------------------------------------------------------


def init(self: Any) -> None:
    """Replace ``DIMSEMessage.__init__``: the command set is built when it is read."""
    self.context_id = None
    self.encoded_command_set = BytesIO()
    self.data_set = BytesIO()
    keywords = dimse_messages._COMMAND_SET_KEYWORDS[type(self).__name__.replace("_", "-")]
    self.command_set = _LazyDataset(partial(_blank, keywords))
    self._data_set_path = None
    self._data_set_file = None


def primitive_to_message(stock: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Encode an nset primitive without a `Dataset`."""

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
        self.command_set = _LazyDataset(partial(_sent, encoded))
        self.data_set = primitive.AttributeList if is_response else primitive.ModificationList
        self._data_set_path = getattr(primitive, "_dataset_path", None)

    return primitive_to_message


def _encoded_response(response: N_SET) -> bytes:
    """Encode a response, without the elements that cannot be encoded."""
    try:
        return response.to_command_set()
    except Exception:  # a program may set any value
        return encode(response, is_lenient=True)


def encode_msg(
    stock: Callable[[Any, int, int], Iterator[P_DATA]],
) -> Callable[[Any, int, int], Iterator[P_DATA]]:
    """Split the encoded message into PDVs."""

    @wraps(stock)
    def encode_msg(self: Any, context_id: int, max_pdu_length: int) -> Iterator[P_DATA]:
        if not _is_as_encoded(self) or (self.data_set is None and self._data_set_path is not None):
            yield from stock(self, context_id, max_pdu_length)
            return
        self.context_id = context_id
        data_set = b"" if self.data_set is None else self.data_set.getvalue()
        for pdv in split_into_pdvs(self._nset_encoded, data_set, max_pdu_length):
            primitive = P_DATA()
            primitive.presentation_data_value_list.append((context_id, pdv))
            yield primitive

    return encode_msg


# -- Receiving ------------------------------------------------------------------------------------


def new_message() -> Any:
    """Return an empty ``DIMSEMessage`` for receiving, without building its `Dataset`."""
    message: Any = object.__new__(dimse_messages.DIMSEMessage)
    message.context_id = None
    message.encoded_command_set = BytesIO()
    message.data_set = BytesIO()
    message.command_set = _LazyDataset(Dataset)
    message._data_set_path = None
    message._data_set_file = None
    return message


def remove_file(message: Any) -> None:
    """Remove the file with the data set of a message that is not served, if it has one.

    pynetdicom removes it after serving the request (STORE_RECV_CHUNKED_DATASET). The message may be
    a DIMSEMessage, whole or in part, a primitive, or None.
    """
    file = getattr(message, "_data_set_file", None) or getattr(message, "_dataset_file", None)
    if file is not None:
        file.close()
        with suppress(OSError):
            os.unlink(file.name)


def decode_msg(stock: Callable[..., bool]) -> Callable[..., bool]:
    """Collect the fragments of N-SET messages without decoding them with pydicom."""

    @wraps(stock)
    def decode_msg(self: Any, primitive: Any, assoc: Any = None) -> bool:
        if primitive.__class__ is not P_DATA:
            return stock(self, primitive, assoc)
        pdvs = primitive.presentation_data_value_list
        if "_nset_encoded" not in vars(self):
            started = _start(self, pdvs)
            if started is None:
                return _decode_with(stock, self, primitive, assoc)
            taken, data_set_follows = started
            if not data_set_follows:
                return True
            pdvs = pdvs[taken:]
        for context_id, pdv in pdvs:
            if pdv[0] & IS_COMMAND:
                raise _pdu.command_among_data()
            if context_id != self.context_id:
                contexts = {} if assoc is None else assoc._accepted_cx
                logged = vars(self).setdefault("_nset_contexts", set())
                if not _pdu.may_be_of(contexts, context_id, self.context_id, bool(logged)):
                    raise _pdu.context_change(context_id, self.context_id)
                logged.add(context_id)
            self.data_set.write(memoryview(pdv)[1:])
            if pdv[0] & IS_LAST:
                return True
        return False

    return decode_msg


def _decode_with(stock: Callable[..., bool], message: Any, primitive: Any, assoc: Any) -> bool:
    """Call the stock method for PDVs of other messages; return whether the message is complete."""
    was_open = type(message) is dimse_messages.DIMSEMessage
    try:
        is_complete = stock(message, primitive, assoc)
    except OSError:  # of a file that the data set is written to
        raise
    except Exception as exc:
        message._nset_fault = _undecodable(exc)
        raise
    name = type(message).__name__
    if was_open and (name in _NAMES.values() or (is_complete and name == "DIMSEMessage")):
        raise _pdu.data_before_command()
    return is_complete


def _undecodable(exc: Exception) -> CommandSetError:
    """Return the fault of a command set at which pydicom or pynetdicom has raised an exception."""
    return CommandSetError(f"{type(exc).__name__}: {exc}")


def _start(message: Any, pdvs: list[tuple[int, bytes]]) -> tuple[int, bool] | None:
    """Turn the message into an N-SET if these PDVs complete the command set of one.

    Return the number of PDVs of the command set, and whether a data set follows; None, with nothing
    changed, if it is another message or not complete. Raise `CommandSetError` if it is too long.
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
    if length > len(encoded):  # in several fragments
        encoded = message.encoded_command_set.getvalue()
        encoded += b"".join([pdv[1:] for _, pdv in pdvs[:taken]])
    if not _maybe_n_set(encoded):
        return None
    field, data_set_follows = _command_header(encoded)
    name = _NAMES.get(field)
    if name is None:
        return None
    if message.data_set.tell():
        raise _pdu.data_before_command()
    message.context_id = pdvs[taken - 1][0]
    message.encoded_command_set = BytesIO(encoded)
    message.command_set = _LazyDataset(partial(_received, encoded))
    message.__class__ = getattr(dimse_messages, name)
    message._nset_encoded = encoded
    message._nset_has_data_set = data_set_follows
    return taken, data_set_follows


def _command_header(encoded: bytes) -> tuple[int, bool]:
    """Return the Command Field, and whether a data set follows."""
    try:
        field, kind_of_data_set = read_command_field_and_type(encoded)
    except CommandSetError as error:
        if error.message_id is None:
            raise
        # A request that can be refused, once its data set has been skipped.
        field, kind_of_data_set = N_SET_RQ, data_set_type(examine(encoded)[0])
    return field, announces_data_set(field, kind_of_data_set)


def lacks_data_set(message: Any, kinds: frozenset[str] = _WITH_DATA_SET) -> bool:
    """Return whether a complete message is a request of these kinds without a data set."""
    if type(message).__name__ not in kinds:
        return False
    if "_nset_has_data_set" in vars(message):
        return not message._nset_has_data_set
    return bool(message.command_set.CommandDataSetType == NO_DATA_SET)


def may_be_followed_by_data(message: Any) -> bool:
    """Return whether a data set fragment after a message, in the same PDU, is skipped.

    It is, as in pynetdicom, unless the request's data set is optional: serving such a request
    without the data set would acknowledge data that is lost.
    """
    return not lacks_data_set(message, _MAY_HAVE_DATA_SET)


def message_to_primitive(stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decode the command set into a primitive, without a `Dataset`.

    A request that cannot be served, of any service, becomes a primitive with the reason as
    ``_nset_refusal``. If it cannot be answered either, the message has the reason as
    ``_nset_fault``.
    """

    @wraps(stock)
    def message_to_primitive(self: Any) -> Any:
        refusal = None
        if not _is_as_encoded(self):
            try:
                primitive = stock(self)
            except Exception as exc:
                self._nset_fault = _undecodable(exc)
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
        # send_n_set copies these to the status that it returns, and its callers know these three.
        primitive.STATUS_OPTIONAL_KEYWORDS = _rules.STATUS_OPTIONAL_KEYWORDS[:3]
        is_whole = primitive.is_valid_request and vars(self).get("_nset_has_data_set")
        if refusal is None and not is_whole:
            refusal = _refusal(self, primitive)
        if refusal is not None:
            primitive._nset_refusal = refusal  # type: ignore[attr-defined]
        return primitive

    return message_to_primitive


def _refusal(message: Any, request: Any) -> CommandSetError | None:
    """Return which mandatory element a request lacks, as an error; None if it lacks none."""
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
    return no_data_set(name) if lacks_data_set(message) else None


def no_data_set(name: str) -> CommandSetError:
    """Return the error for a request without the data set that it must have."""
    return CommandSetError(
        f"0101H, but {'a' if name[0] == 'C' else 'an'} {name} has a data set",
        *(0x800, None, _rules.MISTYPED_ARGUMENT),
    )


# -- Logging --------------------------------------------------------------------------------------


def where_enabled(stock: Callable[[Any], list[str]]) -> Callable[[Any], list[str]]:
    """Make a log handler of pynetdicom's format messages only where its logger is at DEBUG."""

    @wraps(stock)
    def handler(event: Any) -> list[str]:
        return stock(event) if _handlers.LOGGER.isEnabledFor(logging.DEBUG) else []

    return handler
