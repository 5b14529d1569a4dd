"""How ReaderFlow opens SQLite: WAL, durable commits, explicit transactions."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from readerflow.common.errors import ReaderFlowError

BUSY_SECONDS = 30.0


def connect(path: Path, *, page_bytes: int | None = None) -> sqlite3.Connection:
    """Open a database for reading and writing; made when it is not there. Transactions are begun by hand.

    :param page_bytes: page size of a database that is made; large pages suit large blobs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    if page_bytes is not None:
        connection.execute(f"PRAGMA page_size={int(page_bytes)}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait by itself while another connection switches the same new file."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class OtherTables(ReaderFlowError):
    """A database was made by another version of ReaderFlow."""


def make_tables(connection: sqlite3.Connection, path: Path, script: str) -> None:
    """Make the tables of a new database, whose ``user_version`` then stands for the script.

    :raises OtherTables: when the database was made by another script.
    """
    version = zlib.crc32(script.encode()) & 0x7FFF_FFFF
    if _version(connection) == version:
        return
    with transaction(connection):  # another process may be making them right now
        found = _version(connection)
        if found == version:
            return
        if found or connection.execute("select count(*) from sqlite_master").fetchone()[0]:
            raise OtherTables(f"{path} was made by another version of ReaderFlow; use that one, or 'readerflow purge'")
        for statement in script.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={version}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Write in one transaction: all of the block or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk, for instance, has ended it already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Read several statements from one state of the database."""
    connection.execute("BEGIN DEFERRED")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
