"""The master dataset as Parquet files in a file store: ``clicks/<partition>/<first offset>.parquet``.

The store (a local folder, HDFS) knows files; this knows archives. ``index.db`` is a local cache of the footers: each
verb lists the files first, adds those that the cache lacks and forgets those that are gone, so it may be deleted at
any time.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from readerflow.common.facts import from_json, to_json

from .archive import ARCHIVED, AlreadyPublished, ArchiveUnavailable, OverlappingSegments, Segment
from .footer_index import SCHEMA, Listing, StoredFile, data_version, delete, files_of, insert
from .log import ActiveSource
from .sqlite import OtherTables, connect, make_tables, transaction

FOOTER_KEY = b"readerflow.segment"
ROW_GROUP_ROWS = 512 * 1024

A = TypeVar("A")
B = TypeVar("B")


class FileStore(Protocol):
    """Files under names with slashes. A store that can't be used raises ``OSError`` or ``ArchiveUnavailable``."""

    threads: int  # requests that it answers faster together

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder; none when it is not there."""

    def files(self, folder: str) -> list[StoredFile]:
        """The files in a folder, with names below the root; none when it is not there."""

    def open(self, file: StoredFile) -> pa.NativeFile:
        """Open a file for reading at any place.

        :raises FileNotFoundError: when it is gone.
        """

    def publish(self, name: str, data: pa.Buffer) -> None:
        """Make a file appear as a whole, durably; never over another one.

        :raises FileExistsError: when there is a file of that name.
        """

    def sweep(self) -> None:
        """Remove temporary files of :meth:`publish` that no living process writes."""

    def uri(self, name: str) -> str:
        """Where an engine opens a file."""


class ParquetArchive:
    """The archive in a file store; see :class:`readerflow.storage.archive.Archive`. Threads may share it."""

    def __init__(self, store: FileStore, index: Path) -> None:
        self._store = store
        self._index = index
        self._connection: sqlite3.Connection | None = None
        self._known: Listing = {}
        self._version = -1  # of the index when it held what is known
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._close()

    def publish(self, segment: Segment, rows: pa.Table) -> Segment:
        name = f"clicks/{segment.partition}/{segment.first_offset:020d}.parquet"
        with self._translated():
            try:
                self._store.publish(name, _encoded(segment, rows))
            except FileExistsError:
                raise AlreadyPublished(
                    f"{self._store.uri(name)} is published already: another archiver has written this range"
                ) from None
        return replace(segment, uri=self._store.uri(name))

    def read(self, segment: Segment, columns: Sequence[str] = ARCHIVED.names, first_offset: int = 0) -> pa.Table:
        name = f"clicks/{segment.partition}/{segment.first_offset:020d}.parquet"
        with self._translated():
            found = [file for file in self._store.files(f"clicks/{segment.partition}") if file.name == name]
            if not found:
                raise ArchiveUnavailable(f"{self._store.uri(name)} is gone; 'readerflow archive' writes it anew")
            with self._store.open(found[0]) as source:
                behind = [("offset", ">=", first_offset)] if first_offset else None
                return pq.read_table(source, columns=list(columns), filters=behind)

    def next_offset(self, partition: int) -> int:
        reached = 0
        for first, last, _ in self._ranges(partition):
            if first > reached:
                break
            reached = max(reached, last + 1)
        return reached

    def next_file(self, partition: int, start: int) -> int | None:
        query = "SELECT min(first_offset) FROM files WHERE partition = ? AND first_offset > ?"
        with self._refreshed(partition) as connection:
            (first,) = connection.execute(query, (partition, start)).fetchone()
        return None if first is None else int(first)

    def segments(self, wiki: str | None = None, month: str | None = None) -> list[Segment]:
        with self._refreshed() as connection:
            ranges = connection.execute(
                "SELECT partition, first_offset, last_offset, name FROM files ORDER BY partition, first_offset, name"
            ).fetchall()
            self._check_overlaps(ranges)
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
        return [replace(from_json(Segment, footer), uri=self._store.uri(name)) for name, footer in rows]

    def _check_overlaps(self, ranges: Iterable[tuple[int, int, int, str]]) -> None:
        before: tuple[int, int, int, str] | None = None
        for current in ranges:
            partition, first, _, name = current
            if before is not None and before[0] == partition and first <= before[2]:
                raise OverlappingSegments(
                    f"{self._store.uri(before[3])} and {self._store.uri(name)} both hold offset {first} of"
                    f" partition {partition}; move the wrong one away"
                )
            before = current

    def last_seq(self, partition: int, source: str, before: int | None = None) -> int | None:
        query = (
            "SELECT max(last_seq) FROM sources WHERE partition = ? AND source = ? AND (? IS NULL OR first_offset < ?)"
        )
        with self._refreshed(partition) as connection:
            (last,) = connection.execute(query, (partition, source, before, before)).fetchone()
        return None if last is None else int(last)

    def passed(self, source: str, partition: int) -> datetime | None:
        query = "SELECT max(passed) FROM sources WHERE partition = ? AND source = ?"
        with self._refreshed(partition) as connection:
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
            self._store.sweep()

    def _ranges(self, partition: int) -> list[tuple[int, int, str]]:
        """(first offset, last offset, name) of the files of a partition, in offset order."""
        with self._refreshed(partition) as connection:
            return connection.execute(
                "SELECT first_offset, last_offset, name FROM files WHERE partition = ? ORDER BY first_offset, name",
                (partition,),
            ).fetchall()

    @contextmanager
    def _refreshed(self, partition: int | None = None) -> Iterator[sqlite3.Connection]:
        """The index, brought up to what the store holds of a partition (None: of all). A broken one is made anew."""
        with self._lock, self._translated():
            try:
                connection = self._open()
                self._refresh(connection, partition)
            except sqlite3.OperationalError:
                raise
            except (sqlite3.DatabaseError, OtherTables):
                self._discard()
                connection = self._open()
                self._refresh(connection, partition)
            yield connection

    def _refresh(self, connection: sqlite3.Connection, partition: int | None) -> None:
        there = self._listed(partition)
        if data_version(connection) == self._version and there == {
            name: file for name, file in self._known.items() if _is_of(name, partition)
        }:
            return
        # Before the transaction, which other processes wait for: there may be thousands.
        known = files_of(connection, partition)
        footers = self._footers(file for name, file in there.items() if known.get(name) != file)
        with transaction(connection):
            # Looked at only now: by an older look the files that another process has just added would go again.
            there, known = self._listed(partition), files_of(connection, partition)
            gone = [name for name, file in known.items() if there.get(name) != file]
            delete(connection, gone)
            added = [file for name, file in there.items() if known.get(name) != file]
            footers |= self._footers(file for file in added if file not in footers)
            for file in added:
                segment = footers[file]
                if segment is None:
                    del there[file.name]
                else:
                    insert(connection, file, segment)
            version = data_version(connection)
            if version != self._version:  # other processes may have changed what is known of other partitions
                self._known = files_of(connection, None)
        self._known = {name: file for name, file in self._known.items() if not _is_of(name, partition)} | there
        self._version = version

    def _listed(self, partition: int | None) -> Listing:
        partitions = self._store.folders("clicks") if partition is None else [str(partition)]
        folders = [f"clicks/{name}" for name in partitions]
        return {
            file.name: file
            for files in self._mapped(self._store.files, folders)
            for file in files
            if file.name.endswith(".parquet")
        }

    def _footers(self, files: Iterable[StoredFile]) -> dict[StoredFile, Segment | None]:
        wanted = list(files)
        return dict(zip(wanted, self._mapped(self._footer, wanted), strict=True))

    def _footer(self, file: StoredFile) -> Segment | None:
        """The segment of a file; None when it has just gone.

        :raises ArchiveUnavailable: when the file is not a whole archive file of its partition.
        """
        try:
            with self._store.open(file) as source:
                segment = from_json(Segment, pq.read_metadata(source).metadata[FOOTER_KEY])
        except FileNotFoundError:
            return None
        except (pa.ArrowInvalid, KeyError, TypeError, ValidationError) as error:
            raise ArchiveUnavailable(
                f"{self._store.uri(file.name)} is not a whole archive file ({error}); move it away, then"
                " 'readerflow archive' writes it anew"
            ) from error
        if not _is_of(file.name, segment.partition):
            raise ArchiveUnavailable(
                f"{self._store.uri(file.name)} is a file of partition {segment.partition}; move it back there"
            )
        return segment

    def _mapped(self, function: Callable[[A], B], values: Sequence[A]) -> list[B]:
        threads = min(self._store.threads, len(values))
        if threads <= 1:
            return [function(value) for value in values]
        with ThreadPoolExecutor(threads, thread_name_prefix="archive") as pool:
            return list(pool.map(function, values))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._index)
            make_tables(self._connection, self._index, SCHEMA)
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
                f"the archive {self._store.uri('clicks')} can't be used: {error}; check the disk and its rights, then"
                " try again"
            ) from error


def _encoded(segment: Segment, rows: pa.Table) -> pa.Buffer:
    """Rows and footer as a Parquet file."""
    stream = pa.BufferOutputStream()
    with pq.ParquetWriter(stream, ARCHIVED, compression="zstd", compression_level=1) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata({FOOTER_KEY.decode(): to_json(replace(segment, uri=""))})
    return stream.getvalue()


def _is_of(name: str, partition: int | None) -> bool:
    return partition is None or name.startswith(f"clicks/{partition}/")
