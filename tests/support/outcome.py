"""Whatever a call does, as one plain value that can be compared and written as JSON."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

from pydicom.uid import UID

PROPERTIES = (
    "MessageID",
    "MessageIDBeingRespondedTo",
    "Status",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "RequestedSOPClassUID",
    "RequestedSOPInstanceUID",
    "ModificationList",
    "AttributeList",
    "is_valid_request",
    "is_valid_response",
    "msg_type",
)
PLAIN_ATTRIBUTES = ("ErrorComment", "ErrorID", "AttributeIdentifierList")
CONSTANTS = ("REQUEST_KEYWORDS", "RESPONSE_KEYWORDS", "STATUS_OPTIONAL_KEYWORDS")
KEPT_PRIVATE_NAMES = (
    "_context_id",
    "_dataset_path",
    "_dataset_file",
    "_dataset_variant",
    "_AffectedSOPInstanceUID",
    "_RequestedSOPClassUID",
    "_RequestedSOPInstanceUID",
)
FIELDS = PROPERTIES + PLAIN_ATTRIBUTES + KEPT_PRIVATE_NAMES


class Outcome(NamedTuple):
    """What a call returned or raised, and which warnings and log records it caused."""

    value: Any
    error: tuple[str, str] | None = None
    warnings: tuple[tuple[str, str], ...] = ()
    records: tuple[tuple[str, str, str, str | None], ...] = ()


class _Record(logging.LogRecord):
    """What is said, without line, file, thread, process and time."""

    def __init__(self, name: str, level: int, *message: Any, **_: Any) -> None:
        _, _, self.msg, self.args, self.exc_info, *_ = message
        self.name, self.levelno, self.levelname = name, level, logging.getLevelName(level)


@contextmanager
def without_origins() -> Iterator[None]:
    """Make log records without their origins, in half the time: for thousands."""
    factory, source = logging.getLogRecordFactory(), logging._srcfile
    logging.setLogRecordFactory(_Record)
    logging._srcfile = None  # looks for no caller
    try:
        yield
    finally:
        logging.setLogRecordFactory(factory)
        logging._srcfile = source


@contextmanager
def recording() -> Iterator[Callable[..., Outcome]]:
    """Give a function that makes a call and tells its `Outcome`; for many calls in a row."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    root = logging.getLogger()
    loggers = [root, logging.getLogger("pydicom"), logging.getLogger("pynetdicom")]
    handlers, levels = root.handlers, [logger.level for logger in loggers]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def outcome(function: Callable[..., Any], *args: Any) -> Outcome:
            caught.clear()
            records.clear()
            value, error = None, None
            try:
                value = shape(function(*args))
            except Exception as exc:
                error = (name_of(type(exc)), str(exc))
            return Outcome(
                value,
                error,
                tuple((name_of(w.category), str(w.message)) for w in caught),
                tuple(
                    (r.name, r.levelname, r.getMessage(), r.exc_info and name_of(r.exc_info[0]))
                    for r in records
                ),
            )

        root.handlers = [handler]
        for logger in loggers:
            logger.setLevel(1)
        try:
            yield outcome
        finally:
            root.handlers = handlers
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def attempt(function: Callable[..., Any], *args: Any) -> Outcome:
    """Make one call and tell its `Outcome`."""
    with recording() as outcome:
        return outcome(function, *args)


def shape(value: Any) -> Any:
    """Value and exact type, in words that do not depend on which ``N_SET`` it came from."""
    cls = type(value)
    if cls in (type(None), bool, int, float, str) or isinstance(value, Outcome):
        return value
    if cls in (list, tuple):
        return [name_of(cls), *map(shape, value)]
    if cls is dict:
        return [name_of(cls), {str(key): shape(item) for key, item in value.items()}]
    if isinstance(value, type):
        return ["class", name_of(value)]
    if "N_SET" in (base.__name__ for base in cls.__mro__):
        return [name_of(cls), state(value)]
    if isinstance(value, BytesIO):
        content = "closed" if value.closed else (value.getvalue().hex(), value.tell())
        return [name_of(cls), content, *extras(value)]
    if isinstance(value, UID):
        return [name_of(cls), str(value), *extras(value)]
    return [name_of(cls), repr(value)]


def extras(value: Any) -> list[Any]:
    """Attributes that an instance has of its own, such as a UID's private encoding."""
    return [sorted(vars(value).items())] if getattr(value, "__dict__", None) else []


def state(primitive: Any) -> dict[str, Any]:
    """Each field with its value, or with the error that reading it raises."""
    found = {}
    for name in FIELDS:
        try:
            found[name] = shape(getattr(primitive, name))
        except Exception as exc:
            found[name] = ["raises", name_of(type(exc)), str(exc)]
    return found


def name_of(cls: type) -> str:
    """A class's full name; pynetdicom's ``N_SET`` and nset's are both ``N_SET``."""
    if cls.__module__ in ("nset.primitive", "pynetdicom.dimse_primitives"):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


def unlike(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """Tell what differs in two shapes or outcomes, leaf by leaf."""
    if ours == theirs:
        return
    if isinstance(ours, Outcome) and isinstance(theirs, Outcome):
        ours, theirs = ours._asdict(), theirs._asdict()
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key in ours:
            yield from unlike(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index in range(len(ours)):
            yield from unlike(ours[index], theirs[index], f"{where}[{index}]")
    else:
        yield f"{where}: {ours!r}, pynetdicom {theirs!r}"
