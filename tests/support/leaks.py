"""Whether something keeps memory, descriptors, or objects of associations and stores, each time."""

import asyncio
import contextlib
import gc
import logging
import sysconfig
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

frees_at_once = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without the GIL CPython frees the keys of dicts later, when it likes",
)

TIMES = 30
# The least that an object takes is 16 bytes: where one is kept each time, it is more than this.
MOST_BYTES = 12
# Each of them with twice as many times: what is filled once, or by another thread, is outgrown.
ATTEMPTS = 8
_LOOKS = 20  # for what other threads still have to let go of

# Of objects that tracemalloc, or the garbage collector, would only see a part of, too: of TLS and
# databases.
PACKAGES = ("nset", "pynetdicom", "asyncio", "_asyncio", "uvloop", "ssl", "_ssl", "socket")
PACKAGES += ("threading", "sqlite3", "psycopg", "psycopg_binary")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """pytest keeps what is logged."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, [logging.NullHandler()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers = before


def _kept(action: Callable[[], Any], least: int) -> float:
    """The bytes that are kept each time."""
    kept = 0.0
    for attempt in range(ATTEMPTS):
        times = least << attempt
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            action()
        gc.collect()
        kept = (tracemalloc.get_traced_memory()[0] - before) / times
        if kept <= MOST_BYTES:
            break
    return kept


def check(actions: dict[str, Callable[[], Any]], times: int = TIMES) -> None:
    """Fail for each that keeps memory; fewer times for what takes long."""
    kept = {}
    tracemalloc.start()
    try:
        with quiet():
            for name, action in actions.items():
                for _ in range(times // 2):
                    action()
                kept[name] = _kept(action, times)
    finally:
        tracemalloc.stop()
    kept = {name: size for name, size in kept.items() if size > MOST_BYTES}
    assert not kept, kept


def tried(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], None]:
    """Call it, and whatever it raises, that is all right."""

    def action() -> None:
        with contextlib.suppress(Exception):
            function(*args, **kwargs)

    return action


def objects() -> Counter[str]:
    """The number of objects of each of the classes that an association has, and of descriptors."""
    gc.collect()
    kinds = Counter(type(one) for one in gc.get_objects() if not _is_cancelled(one))
    found = Counter(
        {
            f"{kind.__module__}.{kind.__qualname__}": number
            for kind, number in kinds.items()
            if str(kind.__module__).partition(".")[0] in PACKAGES
        }
    )
    if not psutil.WINDOWS:
        found["descriptors"] = psutil.Process().num_fds()
    return found


def _is_cancelled(one: Any) -> bool:
    """Whether it is a timer that asyncio keeps, up to a hundred of them, until it was due."""
    return type(one) is asyncio.TimerHandle and one.cancelled()


def check_objects(action: Callable[[], Any], times: int) -> None:
    """Fail if it leaves such an object each time, or every other time."""
    for _ in range(min(times // 2, 5)):
        action()
    with no_more_objects(times // 2):
        for _ in range(times):
            action()


@contextlib.contextmanager
def no_more_objects(most: int) -> Iterator[None]:
    """Fail if there are more such objects afterwards than these.

    The last ones may not be freed yet: a worker has called for the end of each. Nothing tells when
    it has.
    """
    before = objects()
    yield
    for _ in range(_LOOKS):
        grown = {kind: number for kind, number in (objects() - before).items() if number > most}
        if not grown:
            return
        time.sleep(0.1)
    pytest.fail(f"{grown}")
