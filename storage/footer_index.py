"""The cache of an archive's footers: an SQLite file that knows each file by its name, size and time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from readerflow.common.facts import to_json

from .archive import Segment

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, partition INTEGER NOT NULL,
    first_offset INTEGER NOT NULL, last_offset INTEGER NOT NULL, footer TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS files_by_offset ON files (partition, first_offset);
CREATE TABLE IF NOT EXISTS sources (
    name TEXT NOT NULL REFERENCES files ON DELETE CASCADE, partition INTEGER NOT NULL, first_offset INTEGER NOT NULL,
    source TEXT NOT NULL, wiki TEXT NOT NULL, month TEXT NOT NULL, last_seq INTEGER NOT NULL,
    first_seen INTEGER NOT NULL, passed TEXT, PRIMARY KEY (name, source, wiki, month));
CREATE INDEX IF NOT EXISTS sources_by_source ON sources (source, partition);
CREATE INDEX IF NOT EXISTS sources_by_month ON sources (wiki, month);
CREATE TABLE IF NOT EXISTS replacements (
    name TEXT NOT NULL REFERENCES files ON DELETE CASCADE, wiki TEXT NOT NULL, month TEXT NOT NULL,
    source TEXT NOT NULL, since INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS replacements_by_month ON replacements (wiki, month);
"""


@dataclass(frozen=True)
class StoredFile:
    """A file as its store lists it; size and time tell whether it is still the one whose footer is known."""

    name: str  # below the store's root
    size: int
    changed: int


#: Files by name.
Listing = dict[str, StoredFile]


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has changed the database."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def files_of(connection: sqlite3.Connection, partition: int | None) -> Listing:
    """The files whose footers are known, of a partition or of all."""
    query = "SELECT name, size, changed FROM files WHERE ? IS NULL OR partition = ?"
    return {row[0]: StoredFile(*row) for row in connection.execute(query, (partition, partition))}


def delete(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Forget files."""
    connection.executemany("DELETE FROM files WHERE name = ?", [(name,) for name in names])


def insert(connection: sqlite3.Connection, file: StoredFile, segment: Segment) -> None:
    """Add the footer of a file."""
    connection.execute(
        "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            file.name, file.size, file.changed, segment.partition, segment.first_offset, segment.last_offset,
            to_json(segment),
        ),
    )  # fmt: skip
    for source, facts in segment.sources.items():
        first_seen = min((hour.first_offset for hour in facts.hours.values()), default=segment.last_offset)
        passed = max((end for _, end in facts.closed), default=None)
        connection.execute(
            "INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                file.name, segment.partition, segment.first_offset, source, facts.wiki, facts.month, facts.last_seq,
                first_seen, None if passed is None else passed.isoformat(),
            ),
        )  # fmt: skip
    connection.executemany(
        "INSERT INTO replacements VALUES (?, ?, ?, ?, ?)",
        [(file.name, item.wiki, item.month, item.source, item.offset) for item in segment.replacements],
    )
