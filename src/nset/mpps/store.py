"""Where steps are kept: what both databases share, and the schema."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple

from nset.mpps.steps import Changes, Message, Report, Scheduled, Step

MIGRATIONS: Final = (
    """
    CREATE TABLE steps (
        uid TEXT PRIMARY KEY,
        status TEXT NOT NULL,
        patient_id TEXT NOT NULL,
        station_ae_title TEXT NOT NULL,
        modality TEXT NOT NULL,
        calling_ae_title TEXT NOT NULL,
        called_ae_title TEXT NOT NULL,
        started TEXT NOT NULL,
        ended TEXT NOT NULL,
        created TEXT NOT NULL,
        updated TEXT NOT NULL,
        messages INTEGER NOT NULL,
        digest {bytes} NOT NULL,
        transfer_syntax TEXT NOT NULL,
        attributes {bytes} NOT NULL
    );
    CREATE INDEX steps_by_patient ON steps (patient_id);
    CREATE INDEX steps_by_time ON steps (created);
    CREATE INDEX steps_in_progress ON steps (created) WHERE status = 'IN PROGRESS';
    CREATE TABLE scheduled_steps (
        uid TEXT NOT NULL REFERENCES steps,
        number INTEGER NOT NULL,
        study_uid TEXT NOT NULL,
        accession_number TEXT NOT NULL,
        requested_procedure_id TEXT NOT NULL,
        scheduled_step_id TEXT NOT NULL,
        PRIMARY KEY (uid, number)
    );
    CREATE INDEX scheduled_by_study ON scheduled_steps (study_uid);
    CREATE INDEX scheduled_by_accession_number ON scheduled_steps (accession_number);
    CREATE TABLE messages (
        uid TEXT NOT NULL REFERENCES steps,
        number INTEGER NOT NULL,
        service TEXT NOT NULL,
        transfer_syntax TEXT NOT NULL,
        data {bytes} NOT NULL,
        calling_ae_title TEXT NOT NULL,
        called_ae_title TEXT NOT NULL,
        peer TEXT NOT NULL,
        received TEXT NOT NULL,
        PRIMARY KEY (uid, number)
    );
    """,
    """
    CREATE TABLE notifications (
        subscriber TEXT NOT NULL,
        received TEXT NOT NULL,
        uid TEXT NOT NULL,
        number INTEGER NOT NULL,
        event_type INTEGER NOT NULL,
        PRIMARY KEY (subscriber, received, uid, number)
    );
    CREATE TABLE subscribers (
        subscriber TEXT PRIMARY KEY,
        claimed_until TEXT NOT NULL
    );
    """,
)
"""What makes version n + 1 of the schema of version n. What has been released stays as it is."""

COLUMNS: Final = tuple(field.name for field in fields(Step))

# A search's name, and its condition.
CONDITIONS: Final = {
    "status": "status = {0}",
    "patient_id": "patient_id = {0}",
    "ae_title": "{0} IN (station_ae_title, calling_ae_title)",
    "study_uid": "uid IN (SELECT uid FROM scheduled_steps WHERE study_uid = {0})",
    "accession_number": "uid IN (SELECT uid FROM scheduled_steps WHERE accession_number = {0})",
    "since": "created >= {0}",
}

_PAGE = 500  # steps

_MAX_NOTIFICATIONS = 100  # that are read at a time


class Notification(NamedTuple):
    """What waits for a subscriber: when the report of a step came, its number, and the event."""

    received: str
    uid: str
    number: int
    event_type: int


class Unavailable(Exception):
    """The store can't be used at present: it is locked, full, or can't be reached."""


class Conflict(Exception):
    """Another process was faster: what was read is no longer so. The same again may do."""


class StoreError(Exception):
    """The store can't be used: it is no such store, or of a newer nset."""


class Store:
    """Performed procedure steps in a database, used by one thread at a time; the statements.

    Attributes
    ----------
    parameter : str
        What stands for a parameter in a statement.
    bytes_type : str
        The database's type for bytes.
    begin : str
        What begins a transaction that writes.
    lock : str
        What a SELECT that locks its rows ends with.
    lock_schema : str
        A statement that keeps other processes from migrating the schema, until the commit.
    """

    parameter: str
    bytes_type: str
    begin = "BEGIN"
    lock = ""
    lock_schema = ""
    _connection: Any = None

    def connect(self) -> Any:
        """Return a new connection to the database."""
        raise NotImplementedError

    def translated(self, exc: Exception) -> Exception:
        """Return `Unavailable` or `Conflict` for a driver's exception, or the exception itself."""
        raise NotImplementedError

    def is_lost(self) -> bool:
        """Return whether what the connection writes to is the store no more."""
        return False

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """Give a cursor; translate exceptions. One of the database's ends the connection."""
        try:
            if self._connection is not None and self.is_lost():
                self.close()
            if self._connection is None:
                self._connection = self.connect()
            yield self._connection.cursor()
        except Exception as exc:
            translated = self.translated(exc)
            if translated is exc:
                raise
            self.close()
            raise translated from exc

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Give a cursor in a transaction that may write; commit at the end."""
        with self._cursor() as cursor:
            cursor.execute(self.begin)
            try:
                yield cursor
                cursor.execute("COMMIT")
                if self.is_lost():
                    raise Unavailable("the database is gone")
            except BaseException:
                with suppress(Exception):
                    cursor.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection to the database; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def migrate(self) -> None:
        """Bring the schema to the version of this nset.

        Raises
        ------
        StoreError
            If it is newer.
        Unavailable
            If the database can't be used.
        """
        with self._transaction() as cursor:
            if self.lock_schema:
                cursor.execute(self.lock_schema)
            cursor.execute("CREATE TABLE IF NOT EXISTS nset_mpps (version INTEGER NOT NULL)")
            version = cursor.execute("SELECT max(version) FROM nset_mpps").fetchone()[0] or 0
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"the schema has version {version}, and this nset knows those up to "
                    f"{len(MIGRATIONS)}: install a newer nset"
                )
            for text in MIGRATIONS[version:]:
                for statement in text.format(bytes=self.bytes_type).split(";"):
                    if statement.strip():
                        cursor.execute(statement)
            if version < len(MIGRATIONS):
                cursor.execute(f"INSERT INTO nset_mpps VALUES ({len(MIGRATIONS)})")

    def check(self, *, create: bool) -> None:
        """Migrate the schema, or only see that it is of this version.

        Raises
        ------
        StoreError, Unavailable
            If it can't be used.
        """
        try:
            if create:
                self.migrate()
                return
            with self._cursor() as cursor:
                version = cursor.execute("SELECT max(version) FROM nset_mpps").fetchone()[0]
        except (StoreError, Unavailable):
            raise
        except Exception as exc:
            raise StoreError(f"it is no store of nset mpps: {exc}") from exc
        if version != len(MIGRATIONS):
            raise StoreError(
                f"the schema has version {version}, and this nset needs {len(MIGRATIONS)}"
            )

    # -- Writing -----------------------------------------------------------------------------------

    def write(
        self,
        uids: Iterable[str],
        apply: Callable[[Changes], Any],
        subscribers: tuple[str, ...] = (),
    ) -> Any:
        """Lock steps, change them, and commit: all of it or nothing.

        Parameters
        ----------
        uids : iterable of str
            The SOP Instance UIDs of those that may be changed.
        apply : callable
            Gets the `Changes` with the steps that are there, and adds to them.
        subscribers : tuple of str
            Who is told of the changes: see `waiting`.

        Returns
        -------
        object
            What `apply` returns, when the changes are on the disk.

        Raises
        ------
        Unavailable, Conflict
            Nothing was changed; or, if the database was lost in the commit, all of it may be.
        """
        wanted = sorted(set(uids))  # in one order, so that no two processes wait for each other
        with self._transaction() as cursor:
            select = f"{_SELECT} WHERE uid IN ({self._parameters(len(wanted))}) ORDER BY uid"
            rows = cursor.execute(select + self.lock, wanted).fetchall()
            is_kept = partial(self._has, cursor)
            changes = Changes({row[0]: Step(*row) for row in rows}, is_kept)
            result = apply(changes)
            created = [changes.created[uid] for uid in wanted if uid in changes.created]
            self._insert(cursor, "steps", [_row(step) for step in created])
            self._insert(cursor, "scheduled_steps", changes.scheduled)
            updated = [_changing(step) for step in changes.updated.values()]
            if updated:
                cursor.executemany(self._adapted(_UPDATE), updated)
            self._insert(
                *(cursor, "messages"),
                [
                    (uid, number, report.service, *report[2:-1])
                    for uid, number, report in changes.messages
                ],
            )
            told = [(subscriber, *event) for subscriber in subscribers for event in changes.events]
            self._insert(cursor, "notifications", told)
        return result

    def _has(self, cursor: Any, report: Report) -> bool:
        statement = (
            "SELECT 1 FROM messages WHERE uid = ? AND service = ? AND received = ? "
            "AND calling_ae_title = ? AND peer = ? AND data = ?"
        )
        values = report.uid, report.service, report.received, report.calling, report.peer
        found = cursor.execute(self._adapted(statement), (*values, report.data)).fetchone()
        return found is not None

    def _insert(self, cursor: Any, table: str, rows: list[Any]) -> None:
        if rows:
            values = self._parameters(len(rows[0]))
            cursor.executemany(f"INSERT INTO {table} VALUES ({values})", rows)

    def _parameters(self, count: int) -> str:
        return ", ".join([self.parameter] * count)

    # -- Notifications -----------------------------------------------------------------------------

    def waiting(self, subscriber: str) -> list[Notification]:
        """Return what waits for a subscriber, the oldest first; not more than a hundred."""
        statement = (
            "SELECT received, uid, number, event_type FROM notifications WHERE subscriber = ? "
            f"ORDER BY received, uid, number LIMIT {_MAX_NOTIFICATIONS}"
        )
        with self._cursor() as cursor:
            rows = cursor.execute(self._adapted(statement), [subscriber]).fetchall()
        return [Notification(*row) for row in rows]

    def claim(self, subscriber: str, now: str, until: str) -> bool:
        """Return whether this caller is to notify a subscriber; no other one is until then."""
        statement = (
            "INSERT INTO subscribers VALUES (?, ?) ON CONFLICT (subscriber) DO UPDATE "
            "SET claimed_until = excluded.claimed_until WHERE subscribers.claimed_until < ?"
        )
        with self._transaction() as cursor:
            count: int = cursor.execute(self._adapted(statement), [subscriber, until, now]).rowcount
        return count == 1

    def drop(self, subscriber: str, before: str) -> int:
        """Drop what has waited for too long, for this subscriber; return how many there were."""
        statement = "DELETE FROM notifications WHERE subscriber = ? AND received < ?"
        with self._transaction() as cursor:
            count: int = cursor.execute(self._adapted(statement), [subscriber, before]).rowcount
        return count

    def release(self, subscriber: str, until: str, sent: list[Notification]) -> None:
        """Forget what has been sent, and let other callers claim the subscriber."""
        with self._transaction() as cursor:
            if sent:
                statement = (
                    "DELETE FROM notifications "
                    "WHERE subscriber = ? AND received = ? AND uid = ? AND number = ?"
                )
                cursor.executemany(
                    self._adapted(statement), [(subscriber, *item[:3]) for item in sent]
                )
            statement = "DELETE FROM subscribers WHERE subscriber = ? AND claimed_until = ?"
            cursor.execute(self._adapted(statement), [subscriber, until])

    def _adapted(self, statement: str) -> str:
        return statement.replace("?", self.parameter)

    # -- Reading -----------------------------------------------------------------------------------

    def find(self, limit: int | None = None, **conditions: str) -> Iterator[Step]:
        """Yield steps that meet all conditions, the newest first."""
        texts = [CONDITIONS[name].format(self.parameter) for name in conditions]
        values = list(conditions.values())
        left = sys.maxsize if limit is None else limit
        after: list[str] = []
        while left > 0:
            page = [*texts, f"(created, uid) < ({self._parameters(2)})"] if after else texts
            where = f" WHERE {' AND '.join(page)}" if page else ""
            size = min(left, _PAGE)
            statement = f"{_SELECT}{where} ORDER BY created DESC, uid DESC LIMIT {size}"
            with self._cursor() as cursor:
                rows = cursor.execute(statement, values + after).fetchall()
            yield from (Step(*row) for row in rows)
            if len(rows) < size:
                return
            left -= size
            after = [rows[-1][COLUMNS.index("created")], rows[-1][0]]

    def get(self, uid: str) -> Step | None:
        """Return a step."""
        rows = self._rows(_SELECT, uid)
        return Step(*rows[0]) if rows else None

    def scheduled(self, uid: str) -> list[Scheduled]:
        """Return what a step is searched by besides."""
        rows = self._rows("SELECT * FROM scheduled_steps", uid, " ORDER BY number")
        return [Scheduled(*row[2:]) for row in rows]

    def messages(self, uid: str) -> list[Message]:
        """Return a step's requests, in their order."""
        rows = self._rows("SELECT * FROM messages", uid, " ORDER BY number")
        return [Message(row[0], row[1], Report(row[2], row[0], *row[3:])) for row in rows]

    def _rows(self, select: str, uid: str, order: str = "") -> list[Any]:
        with self._cursor() as cursor:
            rows: list[Any] = cursor.execute(
                f"{select} WHERE uid = {self.parameter}{order}", [uid]
            ).fetchall()
        return rows


_SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM steps"
# Not all of them: a database writes each index of a column that is set, changed or not.
_CHANGING: Final = ("status", "ended", "updated", "messages", "digest", "attributes", "uid")
_UPDATE: Final = f"UPDATE steps SET {' = ?, '.join(_CHANGING[:-1])} = ? WHERE uid = ?"
_changing = attrgetter(*_CHANGING)


def _row(step: Step) -> tuple[Any, ...]:
    return tuple(vars(step).values())
