"""The master dataset in a local folder: ``clicks/<partition>/<first offset>.parquet``.

A file is written in ``tmp/``, made durable, and published with a hard link, which never overwrites. ``index.db`` is a
cache of the footers: each verb looks at the folders first, adds files that the cache lacks and forgets files that are
gone, so it may be deleted at any time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from readerflow.common.crash import crash_point
from readerflow.common.facts import from_json, to_json

from .archive import ARCHIVED, AlreadyPublished, ArchiveUnavailable, OverlappingSegments, Segment
from .lease import is_leased, lease
from .log import ActiveSource
from .sqlite import OtherTables, connect, make_tables, transaction

FOOTER_KEY = b"readerflow.segment"
ROW_GROUP_ROWS = 512 * 1024

_SCHEMA = """
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
class _File:
    """A file as the folder shows it; size and time tell whether it is still the one whose footer is known."""

    name: str  # <partition>/<file>
    size: int
    changed: int


class LocalArchive:
    """The archive below a folder; see :class:`readerflow.storage.archive.Archive`. Threads may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._clicks = root / "clicks"
        self._temporary = root / "tmp"
        self._index = root / "index.db"
        self._connection: sqlite3.Connection | None = None
        self._known: dict[str, _File] = {}
        self._version = -1  # of the index when it held what is known
        self._lock = threading.RLock()

    def __enter__(self) -> LocalArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._close()

    def publish(self, segment: Segment, rows: pa.Table) -> Segment:
        final = self._clicks / str(segment.partition) / f"{segment.first_offset:020d}.parquet"
        with self._translated():
            if final.exists():
                raise self._published(final)
            self._temporary.mkdir(parents=True, exist_ok=True)
            final.parent.mkdir(parents=True, exist_ok=True)
            name = f"{segment.partition}-{segment.first_offset}-{os.getpid()}-{threading.get_ident()}.parquet"
            temporary = self._temporary / name
            with lease(temporary.with_suffix(".lock"), f"the writing of {final}"):
                try:
                    self._write(temporary, segment, rows)
                    crash_point("archiver.file_closed")
                    try:
                        os.link(temporary, final)
                    except FileExistsError:
                        raise self._published(final) from None
                    _sync_folder(final.parent)
                    _sync_folder(self._clicks)
                    crash_point("archiver.renamed")
                finally:
                    temporary.unlink(missing_ok=True)
                    temporary.with_suffix(".lock").unlink(missing_ok=True)
        return replace(segment, uri=str(final.absolute()))

    def _write(self, path: Path, segment: Segment, rows: pa.Table) -> None:
        """Write rows and footer to a file and make it durable."""
        stored = to_json(replace(segment, uri=""))
        with path.open("wb") as file:
            with pq.ParquetWriter(file, ARCHIVED, compression="zstd", compression_level=1) as writer:
                half = rows.num_rows // 2
                writer.write_table(rows.slice(0, half), row_group_size=ROW_GROUP_ROWS)
                crash_point("archiver.file_half_written")
                writer.write_table(rows.slice(half), row_group_size=ROW_GROUP_ROWS)
                writer.add_key_value_metadata({FOOTER_KEY.decode(): stored})
            file.flush()
            os.fsync(file.fileno())

    def _published(self, final: Path) -> AlreadyPublished:
        return AlreadyPublished(f"{final} is published already: another archiver has written this range")

    def next_offset(self, partition: int) -> int:
        reached = 0
        for first, last, _ in self._ranges(partition):
            if first > reached:
                break
            reached = max(reached, last + 1)
        return reached

    def next_file(self, partition: int, start: int) -> int | None:
        query = "SELECT min(first_offset) FROM files WHERE partition = ? AND first_offset > ?"
        with self._refreshed() as connection:
            (first,) = connection.execute(query, (partition, start)).fetchone()
        return None if first is None else int(first)

    def segments(self, wiki: str | None = None, month: str | None = None) -> list[Segment]:
        with self._refreshed() as connection:
            partitions = [row[0] for row in connection.execute("SELECT DISTINCT partition FROM files")]
            for partition in partitions:
                self._check_overlaps(partition)
            query = "SELECT name, footer FROM files"
            values: tuple[str | None, ...] = ()
            if wiki is not None or month is not None:
                query += (
                    " WHERE name IN (SELECT name FROM sources WHERE coalesce(?, wiki) = wiki AND"
                    " coalesce(?, month) = month UNION SELECT name FROM replacements WHERE coalesce(?, wiki) = wiki"
                    " AND coalesce(?, month) = month)"
                )
                values = (wiki, month, wiki, month)
            rows = connection.execute(query + " ORDER BY partition, first_offset, name", values).fetchall()
        return [replace(from_json(Segment, footer), uri=str((self._clicks / name).absolute())) for name, footer in rows]

    def _check_overlaps(self, partition: int) -> None:
        before: tuple[int, int, str] | None = None
        for current in self._ranges(partition):
            if before is not None and current[0] <= before[1]:
                raise OverlappingSegments(
                    f"{self._clicks / before[2]} and {self._clicks / current[2]} both hold offset {current[0]} of"
                    f" partition {partition}; move the wrong one away"
                )
            before = current

    def last_seq(self, partition: int, source: str, before: int | None = None) -> int | None:
        query = (
            "SELECT max(last_seq) FROM sources WHERE partition = ? AND source = ? AND (? IS NULL OR first_offset < ?)"
        )
        with self._refreshed() as connection:
            (last,) = connection.execute(query, (partition, source, before, before)).fetchone()
        return None if last is None else int(last)

    def passed(self, source: str, partition: int) -> datetime | None:
        query = "SELECT max(passed) FROM sources WHERE partition = ? AND source = ?"
        with self._refreshed() as connection:
            (passed,) = connection.execute(query, (partition, source)).fetchone()
        return None if passed is None else datetime.fromisoformat(passed)

    def active_source(self, wiki: str, month: str) -> ActiveSource | None:
        with self._refreshed() as connection:
            replaced = connection.execute(
                "SELECT source, since FROM replacements WHERE wiki = ? AND month = ? ORDER BY since DESC LIMIT 1",
                (wiki, month),
            ).fetchone()
            first = connection.execute(
                "SELECT source, -1 FROM sources WHERE wiki = ? AND month = ?"
                " ORDER BY first_offset, first_seen, partition LIMIT 1",
                (wiki, month),
            ).fetchone()
        found = replaced or first
        return None if found is None else ActiveSource(*found)

    def sweep(self) -> None:
        with self._translated():
            for lock in self._temporary.glob("*.lock"):
                if not is_leased(lock):
                    lock.with_suffix(".parquet").unlink(missing_ok=True)
                    lock.unlink(missing_ok=True)
            for file in self._temporary.glob("*.parquet"):
                if not file.with_suffix(".lock").exists():
                    file.unlink(missing_ok=True)

    def _ranges(self, partition: int) -> list[tuple[int, int, str]]:
        """(first offset, last offset, name) of the files of a partition, in offset order."""
        with self._refreshed() as connection:
            return connection.execute(
                "SELECT first_offset, last_offset, name FROM files WHERE partition = ? ORDER BY first_offset, name",
                (partition,),
            ).fetchall()

    @contextmanager
    def _refreshed(self) -> Iterator[sqlite3.Connection]:
        """The index after it has been brought up to what the folders hold. A broken index is made anew."""
        with self._lock, self._translated():
            try:
                connection = self._open()
                self._refresh(connection)
            except sqlite3.OperationalError:
                raise
            except (sqlite3.DatabaseError, OtherTables):
                self._discard()
                connection = self._open()
                self._refresh(connection)
            yield connection

    def _refresh(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == self._version and {file.name: file for file in self._listed()} == self._known:
            return
        with transaction(connection):
            # Looked at only now: by an older look the files that another process has just added would go again.
            there = {file.name: file for file in self._listed()}
            rows = connection.execute("SELECT name, size, changed FROM files").fetchall()
            known = {name: _File(name, size, changed) for name, size, changed in rows}
            for name in [name for name, file in known.items() if there.get(name) != file]:
                connection.execute("DELETE FROM files WHERE name = ?", (name,))
                del known[name]
            for name in there.keys() - known.keys():
                segment = self._footer(name)
                if segment is None:
                    del there[name]
                else:
                    _insert(connection, there[name], segment)
            version = _version(connection)
        self._known, self._version = there, version

    def _listed(self) -> Iterator[_File]:
        with suppress(FileNotFoundError):
            for partition in sorted(entry.name for entry in os.scandir(self._clicks) if entry.is_dir()):
                for entry in os.scandir(self._clicks / partition):
                    if entry.name.endswith(".parquet"):
                        facts = entry.stat()
                        yield _File(f"{partition}/{entry.name}", facts.st_size, facts.st_mtime_ns)

    def _footer(self, name: str) -> Segment | None:
        """The segment of a file; None when it has just gone.

        :raises ArchiveUnavailable: when the file is not a whole archive file.
        """
        path = self._clicks / name
        try:
            return from_json(Segment, pq.read_metadata(path).metadata[FOOTER_KEY])
        except FileNotFoundError:
            return None
        except (pa.ArrowInvalid, KeyError, TypeError, ValidationError) as error:
            raise ArchiveUnavailable(
                f"{path} is not a whole archive file ({error}); move it away, then 'readerflow archive' writes it anew"
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._index)
            make_tables(self._connection, self._index, _SCHEMA)
        return self._connection

    def _discard(self) -> None:
        self._close()
        for suffix in ("", "-wal", "-shm"):
            self._index.with_name(self._index.name + suffix).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._known, self._version = None, {}, -1

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            raise ArchiveUnavailable(
                f"the archive {self._root} can't be used: {error}; check the disk and its rights, then try again"
            ) from error


def _version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has changed the database."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _insert(connection: sqlite3.Connection, file: _File, segment: Segment) -> None:
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


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
