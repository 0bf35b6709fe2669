"""A store in PostgreSQL, by psycopg 3, which many processes and machines may share."""

from typing import Any

import psycopg
from psycopg import errors

from nset.mpps.store import Conflict, Store, Unavailable

# Seconds; a modality waits some ten of them for its answer.
_CONNECT_SECONDS = 3
_LOCKED_SECONDS = 5
_SILENT_SECONDS = 5

# Of a key that is there no other process's.
_LOCK = 0x6E736574


class PostgresqlStore(Store):
    """Steps in a database.

    Parameters
    ----------
    url : str
        The database, as libpq has it: ``postgresql://user@host/database?sslmode=verify-full``.
    """

    parameter = "%s"
    bytes_type = "BYTEA"
    lock = " FOR UPDATE"
    lock_schema = f"SELECT pg_advisory_xact_lock({_LOCK})"

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self) -> Any:
        """Return a new connection to the database."""
        connection = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            keepalives_idle=_SILENT_SECONDS,
            tcp_user_timeout=_SILENT_SECONDS * 1000,
        )
        connection.execute(f"SET lock_timeout = {int(_LOCKED_SECONDS * 1000)}")  # ms
        if connection.execute("SHOW synchronous_commit").fetchall() == [("off",)]:
            connection.execute("SET synchronous_commit = on")
        return connection

    def translated(self, exc: Exception) -> Exception:
        """Return `Conflict` if another process was faster, `Unavailable` for what may be over."""
        if isinstance(
            exc, errors.UniqueViolation | errors.DeadlockDetected | errors.SerializationFailure
        ):
            return Conflict(str(exc))
        # An InternalError is that of a server which only reads, as after a failover to another one.
        if isinstance(
            exc,
            psycopg.OperationalError
            | psycopg.InterfaceError
            | psycopg.InternalError
            | errors.InsufficientPrivilege,
        ):
            return Unavailable(" ".join(str(exc).split()))
        return exc
