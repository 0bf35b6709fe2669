"""The slow path for UIDs: all that either implementation does not know to conform.

Here are pydicom's warnings, the validators, and pynetdicom's log records and error texts, word for
word. Conformant text (PS3.5 Section 9.1) under the default validator never gets here: it can cause
neither.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakValueDictionary

from pydicom.uid import UID

from nset import _rules, config

# pynetdicom's own logger: who filters or counts its records goes on doing so. Without a handler
# Python would print errors to stderr where the user has not configured logging.
_LOGGER = logging.getLogger("pynetdicom.utils")
_LOGGER.addHandler(logging.NullHandler())

_GRAMMAR: Final = re.compile(r"(?:[1-9][0-9]*|0)(?:\.(?:[1-9][0-9]*|0))*").fullmatch


# A cache: a server meets each UID several times. A dict, because adding and looking up are atomic,
# with and without the GIL.
conformant_uids: Final = dict.fromkeys(_rules.SOP_CLASSES)

# What peers have sent and can't be printed, by its id: nothing is to be seen of that on a UID.
_of_peers: Final[WeakValueDictionary[int, UID]] = WeakValueDictionary()


def is_conformant_uid(text: str) -> bool:
    """Return whether text is a UID by PS3.5 Section 9.1."""
    if text in conformant_uids:
        return True
    if len(text) > _rules.MAX_UID_LENGTH or _GRAMMAR(text) is None:
        return False
    if len(conformant_uids) >= _rules.MAX_CONFORMANT_UIDS:
        conformant_uids.clear()
    conformant_uids[str(text)] = None
    return True


def validate_uid(value: Any, name: str, *, is_peers: bool = False) -> UID | None:
    """Make a UID of what a program set or a peer sent, or refuse it.

    Parameters
    ----------
    value : str, bytes, pydicom.uid.UID or None
        The UID, at most 64 characters after blanks around it are taken off.
    name : str
        The element's name, for messages.
    is_peers : bool
        Whether it has come over the network: what can't be printed of it is escaped in the log,
        then and wherever the UID is set again, as it is in a response.

    Returns
    -------
    pydicom.uid.UID or None
        None for None and for an empty value.

    Raises
    ------
    ValueError
        If the bytes can't be decoded or the validator refuses the UID.
    TypeError
        If `value` is of another type.
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        value = _decode(value)
    if not isinstance(value, str):
        raise TypeError(
            f"'{name}' must be str, bytes, UID or None, not '{value.__class__.__name__}'"
        )
    uid = UID(value)
    if not uid:
        return None
    logged: Callable[[str], str] = str
    if not uid.isprintable() and (is_peers or _of_peers.get(id(value)) is value):
        _of_peers[id(uid)] = uid
        logged = _rules.escaped
    conforms, reason = config.settings()["VALIDATORS"]["UI"](uid)
    if not conforms:
        text = f"Invalid '{name}' value '{uid}' - {reason}"
        _LOGGER.error(logged(text))
        raise ValueError(text)
    if not uid.is_valid:
        _LOGGER.warning(logged(f"Non-conformant '{name}' value '{uid}'"))
    return uid


def _decode(value: bytes) -> str:
    """ASCII first, then the codecs of the configuration with all that is not ASCII left out."""
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as exc:
        _LOGGER.exception(exc)
    codecs = [c for c in config.settings()["CODECS"] if c not in ("ascii", "646", "us-ascii")]
    for codec in codecs:
        try:
            return value.decode(codec).encode("ascii", errors="ignore").decode("ascii")
        except UnicodeError as exc:
            _LOGGER.exception(exc)
    raise ValueError(
        f"Unable to decode '{value.hex(' ').upper()}' using the "
        f"{', '.join(['ascii', *codecs])} codec(s)"
    )
