"""A store in a file of SQLite: write-ahead log, on the disk before the answer."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nset.mpps.store import Store, Unavailable

_LOCKED_SECONDS = 5.0  # that a transaction of another process is waited for

_AGAIN_SECONDS = 0.01

# Of new files. A report changes some nine pages, little of each, and the log gets them whole.
_PAGE_BYTES = 2048

# Of the write-ahead log, until it is copied into the file: a page that many reports have changed is
# copied once.
_LOG_PAGES = 4000


class SqliteStore(Store):
    """Steps in a file; several processes of one machine may share it.

    Parameters
    ----------
    path : str
        The file.
    """

    parameter = "?"
    bytes_type = "BLOB"
    begin = "BEGIN IMMEDIATE"  # it waits for its turn at once, not when it has read already

    def __init__(self, path: str) -> None:
        self._path = str(Path(path).absolute())
        self._uri = f"file:{quote(self._path)}?mode="
        self._mode = "rw"
        self._opened: tuple[int, int] | None = None  # what file that was

    def migrate(self) -> None:
        """Bring the schema to the version of this nset; make the file where it is not there."""
        self._mode = "rwc"
        try:
            super().migrate()
        finally:
            self._mode = "rw"  # if the file is lost later, an empty one does not stand for it

    def connect(self) -> Any:
        """Return a new connection to the file."""
        before = self._file()
        connection = sqlite3.connect(
            self._uri + self._mode,
            timeout=_LOCKED_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        try:
            _refuse_foreign(connection)
            if self._mode == "rwc":
                connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            _keep_log(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        except BaseException:
            connection.close()
            raise
        self._opened = before or self._file()  # in this order: one that is replaced now is seen
        return connection

    def is_lost(self) -> bool:
        """Return whether the file was deleted, or replaced; SQLite would go on writing to it."""
        return self._file() != self._opened

    def _file(self) -> tuple[int, int] | None:
        """Return what file has the path, if any has."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def translated(self, exc: Exception) -> Exception:
        """Return `Unavailable` for what may be over later: locked, full, unreadable."""
        # sqlite3 raises DatabaseError itself for a damaged file, and subclasses for all the rest.
        if isinstance(exc, sqlite3.OperationalError) or type(exc) is sqlite3.DatabaseError:
            return Unavailable(str(exc))
        return exc


def _refuse_foreign(connection: sqlite3.Connection) -> None:
    """Leave another program's database as it is: even a write-ahead log would change the file."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if tables and ("nset_mpps",) not in tables:
        raise Unavailable("no such table: nset_mpps")


def _keep_log(connection: sqlite3.Connection) -> None:
    """Have a write-ahead log; SQLite does not wait for a process that has a new file have one."""
    end = time.monotonic() + _LOCKED_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > end:
                raise
        time.sleep(_AGAIN_SECONDS)
