"""The stores, by their URL."""

import re

from nset.mpps.sqlite import SqliteStore
from nset.mpps.store import Store, StoreError, Unavailable


def open_store(url: str, *, create: bool = False) -> Store:
    """Open a store.

    Parameters
    ----------
    url : str
        ``sqlite:///FILE``, with a fourth slash for an absolute path, or ``postgresql://...`` as
        libpq has it.
    create : bool
        Whether a store that is not there is made, and one of an older version migrated.

    Returns
    -------
    Store
        The store.

    Raises
    ------
    StoreError
        If it can't be used.
    """
    store: Store
    try:
        if url.startswith("sqlite:///"):
            store = SqliteStore(url.removeprefix("sqlite:///"))
        elif url.startswith(("postgresql://", "postgres://")):
            try:
                from nset.mpps.postgresql import PostgresqlStore
            except ModuleNotFoundError as exc:
                raise StoreError(f"PostgreSQL needs {exc.name}: pip install 'nset[mpps]'") from exc
            store = PostgresqlStore(url)
        else:
            raise StoreError("a store is sqlite:///FILE or postgresql://...")
        try:
            store.check(create=create)
        finally:
            store.close()  # a process that is forked later has connections of its own
    except (StoreError, Unavailable) as exc:
        shown = re.sub(r"(//[^:/@]*):[^@]*@", r"\1:***@", url)  # without a password
        raise StoreError(f"{shown}: {exc}") from exc
    return store
