"""The slow path for UIDs, shared by both implementations: UIDs that may not be conformant.

It has pydicom's warnings, the validators, and pynetdicom's log records and error texts, word for
word. With the default validator, conformant text (PS3.5 Section 9.1) causes none of them and does
not get here.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakValueDictionary

from pydicom.uid import UID

from nset import _rules, config

# pynetdicom's own logger, for programs that filter or count its records. Without a handler Python
# would print errors to stderr if the program has not configured logging.
_LOGGER = logging.getLogger("pynetdicom.utils")
_LOGGER.addHandler(logging.NullHandler())

_GRAMMAR: Final = re.compile(r"(?:[1-9][0-9]*|0)(?:\.(?:[1-9][0-9]*|0))*").fullmatch


# A cache: a server gets each UID several times. Adding to a dict and looking up are atomic, with
# and without the GIL.
conformant_uids: Final = dict.fromkeys(_rules.SOP_CLASSES)

# Unprintable UIDs that peers have sent, by id(): a UID itself has no room for such a mark.
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
    """Return the UID that a program has set or a peer has sent; None for an empty value or None.

    `name` is the element's, for messages. If `is_peers`, a peer has sent it: unprintable characters
    are then escaped in the log, now and when the same UID is set again, as in a response. Raise
    ValueError if the bytes cannot be decoded or the validator refuses the UID, TypeError for
    another type.
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
    """Decode as ASCII, else with the configured codecs and without non-ASCII characters."""
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
