"""Opens the ledger's database: SQLite in WAL mode with full sync, the embedded default."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, insert, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from egfr_dls.errors import ConfigurationError, TemporaryFailureError
from egfr_dls.ledger import schema
from egfr_dls.ledger.changes import Changes
from egfr_dls.ledger.migrations import migrate

Tx = Connection  # an open transaction
MINIMUM_SQLITE = (3, 35)  # RETURNING


def ledger_url(text: str) -> URL:
    """Return ``[ledger] url`` as a value.

    Raises
    ------
    ConfigurationError
        it is no URL of a SQLite file
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigurationError("ledger.url is not a database URL; needed: sqlite:///path") from error
    if url.get_backend_name() != "sqlite":
        raise ConfigurationError(f"ledger.url: {url.get_backend_name()} is not in this version; needed: sqlite:///path")
    if url.database in (None, "", ":memory:"):
        raise ConfigurationError("ledger.url names no file; needed: sqlite:///path")
    return url


class Ledger:
    """The ledger's ways in: ``begin`` for a transaction that may write, ``read`` for one that never does, ``changes``."""

    def __init__(self, url: str) -> None:
        self._file = file = Path(ledger_url(url).database or "")
        if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
            raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old; needed: 3.35 or later")
        _make_file(file)
        self._writer = create_engine(url)
        self._reader = create_engine(url)
        for engine, begin in ((self._writer, "BEGIN IMMEDIATE"), (self._reader, "BEGIN")):
            _configure(engine, begin)
        self._prepare()

    @contextmanager
    def begin(self) -> Iterator[Tx]:
        """Open a transaction that takes the write lock at once, so that it can never fail half-way for want of it.

        Raises
        ------
        TemporaryFailureError
            the database is locked for longer than its time-out, full or failing
        """
        with _translated(), self._writer.begin() as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """Open a snapshot for reading."""
        with _translated(), self._reader.connect() as tx:
            yield tx

    @contextmanager
    def changes(self) -> Iterator[Changes]:
        """Open a waiter for the calling thread; what is committed from now on wakes it."""
        with closing(Changes(self._file)) as changes:
            yield changes

    def close(self) -> None:
        """Check-point and close."""
        self._writer.dispose()
        self._reader.dispose()

    def _prepare(self) -> None:
        with self.begin() as tx:
            schema.metadata.create_all(tx)
            version = tx.scalar(select(schema.schema_version.c.version))
            if version is None:
                tx.execute(insert(schema.schema_version).values(version=schema.SCHEMA_VERSION))
            elif version > schema.SCHEMA_VERSION:
                raise ConfigurationError(
                    f"the ledger has schema version {version}; this program knows {schema.SCHEMA_VERSION}: run the newer one"
                )
            else:
                migrate(tx, version)


def _make_file(file: Path) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=True)  # SQLite gives its other files the mode of this one
    except OSError as error:
        raise ConfigurationError(f"the ledger {file}: {error.strerror}; needed: a file that can be made") from error


def _configure(engine: Any, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's events open the transactions
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.OperationalError):
            raise TemporaryFailureError("the ledger's database is locked, full or failing") from error
        raise
