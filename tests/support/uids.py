"""UIDs, good and bad, ways to check them, and what an N_SET makes of them.

Also runs where pynetdicom must not be imported: `python -c "import uids; uids.main(...)"`.
"""

import functools
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pydicom.config
from outcome import Outcome, recording, without_origins
from pydicom.uid import UID

PROPERTIES = (
    "RequestedSOPInstanceUID",
    "RequestedSOPClassUID",
    "AffectedSOPInstanceUID",
    "AffectedSOPClassUID",
)
ODDITIES = [
    *("\0", " ", "\t", "\n", "\r\n", "\x1c", "\x7f", "\x80", "\x85", "\xa0", "\u2003", "\ufeff"),
    *("\u0663", "\uff13", "\u4e00", "\xe9", "\ud800", "\U0001d7d8", "\\", "-", "+", "/", ":"),
    *("0", "00", ".", "..", "a", "A", "_", "'", "%s", "{}"),
]


class OwnUID(UID):
    pass


class Text(str):
    pass


class Octets(bytes):
    pass


def good(rng: random.Random) -> str:
    """A UID by PS3.5 Section 9.1."""
    text = ".".join(
        str(rng.randrange(10 ** rng.randrange(1, 12))) for _ in range(rng.randrange(15))
    )
    return text[:64].rstrip(".") or "1"


def mutated(rng: random.Random) -> str:
    """A UID with something done to it."""
    text = good(rng)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        end = at + rng.choice((0, 0, 1, 3))
        text = text[:at] + rng.choice(ODDITIES) + text[end:]
    return text


def padded(rng: random.Random) -> str:
    """A UID with blanks or NULs around it."""
    around = [" ", "\0", "\n", "\t", "\x85", "\u2003"]
    before, after = ("".join(rng.choices(around, k=rng.choice((0, 1, 1, 2, 70)))) for _ in range(2))
    return before + good(rng) + after


def of_length(rng: random.Random) -> str:
    """Digits and dots, 0 to 200 characters, most of them about 64."""
    length = rng.choice((rng.randrange(201), 63, 64, 65, 66, 127, 128))
    return "".join(rng.choices("1234567890.", weights=[9] * 10 + [20], k=length))


def junk(rng: random.Random) -> str:
    """Anything."""
    return "".join(rng.choices([*ODDITIES, "1", "2", "1.2", "é1"], k=rng.randrange(12)))


def wrapped(rng: random.Random, text: str) -> Any:
    """The text as one of the types that it may come in."""
    kind = rng.randrange(12)
    if kind < 5:
        return text
    if kind < 8:
        codec = rng.choice(("latin-1", "utf-8", "utf-16-le"))
        encoded = text.encode(codec, errors="ignore")
        return Octets(encoded) if kind == 7 else encoded
    if kind == 8:
        return Text(text)
    uid = str.__new__(OwnUID if kind == 9 else UID, text)
    if kind == 10:
        uid.set_private_encoding(rng.random() < 0.5, rng.random() < 0.5)
    return uid


@functools.cache
def corpus(count: int, seed: int = 20) -> list[Any]:
    """So many UIDs, the same each time."""
    rng = random.Random(seed)
    makers = (good, mutated, mutated, mutated, padded, of_length, junk)
    return [wrapped(rng, rng.choice(makers)(rng)) for _ in range(count)]


# -- The unusual ones -----------------------------------------------------------------------------


class Refused(str):
    """Why a UID is refused."""


TOO_LONG = Refused("must not exceed 64 characters")
BAD = Refused("UID is non-conformant")
LONG = "1." + "2" * 62  # 64 characters

CORNERS = [
    # given, kept, kept under ENFORCE, pydicom's warnings, level of pynetdicom's record
    (None, None, None, 0, None),
    ("", None, None, 0, None),
    (b"", None, None, 0, None),
    ("   ", None, None, 1, None),
    (b"  ", None, None, 1, None),
    ("\u2003\x85", None, None, 1, None),
    ("1.2.3", "1.2.3", "1.2.3", 0, None),
    (b"1.2.3", "1.2.3", "1.2.3", 0, None),
    (UID("1.2.3"), "1.2.3", "1.2.3", 0, None),
    # What PS3.5 Section 9.1 allows, whatever ISO 8824 says of roots
    ("0", "0", "0", 0, None),
    ("1", "1", "1", 0, None),
    ("1.2.0", "1.2.0", "1.2.0", 0, None),
    ("3.1", "3.1", "3.1", 0, None),
    ("1.40", "1.40", "1.40", 0, None),
    ("9.9.9", "9.9.9", "9.9.9", 0, None),
    # Blanks around it, in the sense of Unicode, are taken off
    (" 1.2.3", "1.2.3", "1.2.3", 1, None),
    ("1.2.3 ", "1.2.3", "1.2.3", 1, None),
    ("1.2.3\n", "1.2.3", "1.2.3", 1, None),
    (b"1.2.3\n", "1.2.3", "1.2.3", 1, None),
    (str.__new__(UID, "1.2.3\n"), "1.2.3", "1.2.3", 1, None),
    ("\t1.2.3\r\n", "1.2.3", "1.2.3", 1, None),
    ("\x1c1.2.3\x1f", "1.2.3", "1.2.3", 1, None),
    ("1.2.3\x85", "1.2.3", "1.2.3", 1, None),
    ("1.2.3\xa0", "1.2.3", "1.2.3", 1, None),
    ("1.2.3\u2003", "1.2.3", "1.2.3", 1, None),
    # NUL is no blank
    ("1.2.3\0", "1.2.3\0", BAD, 2, "WARNING"),
    (b"1.2.3\0", "1.2.3\0", BAD, 2, "WARNING"),
    ("1.2.3\0\0", "1.2.3\0\0", BAD, 2, "WARNING"),
    ("1.2.3 \0", "1.2.3 \0", BAD, 2, "WARNING"),
    ("1.2.3\0 ", "1.2.3\0", BAD, 2, "WARNING"),
    ("\0001.2.3", "\0001.2.3", BAD, 2, "WARNING"),
    ("\0", "\0", BAD, 2, "WARNING"),
    ("1.2.3\ufeff", "1.2.3\ufeff", BAD, 2, "WARNING"),
    # Digits are 0 to 9 of ISO 646
    ("1.2.\u0663", "1.2.\u0663", BAD, 2, "WARNING"),
    ("1.2.\uff13", "1.2.\uff13", BAD, 2, "WARNING"),
    ("\u4e00", "\u4e00", BAD, 2, "WARNING"),
    ("1.2.\xe9", "1.2.\xe9", BAD, 2, "WARNING"),
    # Components
    ("1.2.03", "1.2.03", BAD, 2, "WARNING"),
    ("00", "00", BAD, 2, "WARNING"),
    ("01.2", "01.2", BAD, 2, "WARNING"),
    ("1..2", "1..2", BAD, 2, "WARNING"),
    (".1", ".1", BAD, 2, "WARNING"),
    ("1.", "1.", BAD, 2, "WARNING"),
    ("abc", "abc", BAD, 2, "WARNING"),
    ("-1", "-1", BAD, 2, "WARNING"),
    ("1.2\\3.4", "1.2\\3.4", BAD, 2, "WARNING"),
    ("1.2.3\n4", "1.2.3\n4", BAD, 2, "WARNING"),
    # Length, after the blanks are off
    (LONG, LONG, LONG, 0, None),
    ("1" * 64, "1" * 64, "1" * 64, 0, None),
    ("  " + LONG, LONG, LONG, 1, None),
    (LONG + " ", LONG, LONG, 1, None),
    ("a" * 64, "a" * 64, BAD, 2, "WARNING"),
    (LONG + "3", TOO_LONG, BAD, 2, "ERROR"),
    (LONG + "\0", TOO_LONG, BAD, 2, "ERROR"),
    (b"1" * 200, TOO_LONG, BAD, 2, "ERROR"),
]


def corners_and_corpus(count: int) -> list[Any]:
    return [row[0] for row in CORNERS] + corpus(count)


# -- Settings -------------------------------------------------------------------------------------

MODES = {
    "ignore": pydicom.config.IGNORE,
    "warn": pydicom.config.WARN,
    "raise": pydicom.config.RAISE,
}


def permissive(uid: UID) -> tuple[bool, str]:
    return True, "never told"


def refusing(uid: UID) -> tuple[bool, str]:
    return False, f"not {type(uid).__name__} {uid[:5]!r}"


def by_length(uid: UID) -> tuple[bool, str]:
    return len(uid) % 2 == 0, "odd"


def bare_bool(uid: UID) -> Any:
    return len(uid) < 20


def failing(uid: UID) -> tuple[bool, str]:
    raise LookupError(f"no register for {uid}")


class Settings(NamedTuple):
    """What decides whether a UID is taken; None: the default validator."""

    mode: str = "warn"
    enforce: bool = False
    validator: Any = None
    codecs: tuple[str, ...] = ("ascii",)


DEFAULT_VALIDATION = [Settings(mode, enforce) for mode in MODES for enforce in (False, True)]
CUSTOM_VALIDATION = [
    Settings("warn", False, permissive, ("ascii", "utf-8")),
    Settings("ignore", True, permissive, ("ascii", "utf-16-le", "latin-1")),
    Settings("raise", True, permissive),
    Settings("warn", True, refusing, ("utf-8", "us-ascii")),
    Settings("ignore", False, by_length, ("646", "utf-8", "utf-16-le")),
    Settings("warn", False, bare_bool),
    Settings("raise", False, failing, ("ascii", "no such codec")),
    Settings("warn", True, None, ("ascii", "latin-1")),
    Settings("ignore", False, None, ()),
]


@contextmanager
def in_force(settings: Settings, config: Any) -> Iterator[None]:
    """Have the settings in ``pynetdicom._config`` or ``nset.config``, and in pydicom."""
    before = config.ENFORCE_UID_CONFORMANCE, config.VALIDATORS["UI"], config.CODECS
    mode = pydicom.config.settings.reading_validation_mode
    config.ENFORCE_UID_CONFORMANCE = settings.enforce
    config.VALIDATORS["UI"] = settings.validator or before[1]
    config.CODECS = settings.codecs
    pydicom.config.settings.reading_validation_mode = MODES[settings.mode]
    try:
        yield
    finally:
        config.ENFORCE_UID_CONFORMANCE, config.VALIDATORS["UI"], config.CODECS = before
        pydicom.config.settings.reading_validation_mode = mode


# -- Outcomes -------------------------------------------------------------------------------------


def set_and_get(cls: type, name: str, value: Any) -> Any:
    primitive = cls()
    setattr(primitive, name, value)
    return getattr(primitive, name)


def outcomes(cls: type, values: list[Any]) -> list[Outcome]:
    """What comes of each value, in one property after the other."""
    with without_origins(), recording() as outcome:
        return [
            outcome(set_and_get, cls, PROPERTIES[index % 4], value)
            for index, value in enumerate(values)
        ]


def main(count: int) -> None:
    """Print, as JSON, what nset makes of UIDs under all settings; pynetdicom is not there."""
    import nset

    told = []
    for settings in DEFAULT_VALIDATION + CUSTOM_VALIDATION:
        with in_force(settings, nset.config):
            told.append(outcomes(nset.N_SET, corners_and_corpus(count)))
    assert not [name for name in sys.modules if name.split(".")[0] == "pynetdicom"]
    json.dump(told, sys.stdout)
