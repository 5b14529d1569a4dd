"""The embedded event log: a SQLite file whose rows are compressed Arrow batches of many entries.

A row of ``batches`` holds the entries [first_offset, first_offset + entries) of a partition: records and controls as an
Arrow IPC stream each (see storage/packing.py), or raw entries as one of (key, value). Offsets are given inside the
transaction of ``flush``, with the last seqs and active sources, so a reader of another process sees all of a flush or
nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.records import CONTROLS, ENTRIES, MAX_RAW_BYTES, RECORDS, REJECTS, Kind

from .log import ActiveSource, LogSlice, LogUnavailable, OffsetGone
from .packing import Packed, constant, pack, pack_raw, split, unpack
from .sqlite import connect, make_tables, reading, transaction

#: Entries of a stored batch: large enough to compress and read well, small enough to slice.
BATCH_ENTRIES = 128 * 1024
#: Raw bytes that are combined into one batch.
BATCH_BYTES = 16 * 1024 * 1024
#: Decoded batches that are kept because a reader stopped within them.
KEPT_BATCHES = 8
#: SQLite writes batches of megabytes in half the time of its default of 4 KiB.
PAGE_BYTES = 16 * 1024

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (topic TEXT PRIMARY KEY, partitions INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ends (
    topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, first_offset INTEGER NOT NULL, entries INTEGER NOT NULL,
    raw BLOB, records BLOB, controls BLOB, PRIMARY KEY (topic, partition, first_offset));
CREATE TABLE IF NOT EXISTS last_seqs (
    topic TEXT, partition INTEGER, source TEXT, seq INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, source)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS active_sources (
    topic TEXT, wiki TEXT, month TEXT, source TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (topic, wiki, month)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class _Batch:
    """A compressed batch that waits for its offset, with what the log remembers of it."""

    packed: Packed
    last_seqs: dict[str, int]
    firsts: list[tuple[str, str, str]]  # (wiki, month, source), in their order
    replacements: list[tuple[int, str, str, str]]  # (place in the batch, wiki, month, source)


@dataclass
class _Buffer:
    """What a partition has taken since the last flush."""

    sealed: list[_Batch] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    raw: list[tuple[bytes | None, bytes]] = field(default_factory=list)
    raw_bytes: int = 0


class SQLiteLog:
    """One topic of a SQLite file; see :class:`readerflow.storage.log.EventLog`.

    Threads may share it: each reads through its own connection, and appending is serialised. Processes may open the
    same file. A file that exists keeps its number of partitions, whatever ``partitions`` says.

    :param raw_bytes: where the ``value`` of a reject is cut; topics of larger documents (dead letters) raise it.
    """

    def __init__(self, path: Path, topic: str, partitions: int, *, raw_bytes: int = MAX_RAW_BYTES) -> None:
        self._path = path
        self._topic = topic
        self._wanted = partitions
        self._raw_bytes = raw_bytes
        self._partitions: int | None = None
        self._buffers: dict[int, _Buffer] = {}
        self._lock = threading.RLock()  # of buffers, connections and kept batches
        self._writing = threading.Lock()  # flushes go one after the other, while appending goes on
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._kept: OrderedDict[tuple[int, int], LogSlice] = OrderedDict()

    def __enter__(self) -> SQLiteLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()
            self._kept.clear()

    @property
    def partitions(self) -> int:
        if self._partitions is None:
            with self._translated():
                self._connection()
        return cast(int, self._partitions)

    def append(self, partition: int, entries: pa.Table) -> None:
        self._check(partition)
        if not entries.schema.equals(ENTRIES):
            raise ValueError(f"entries have the schema {entries.schema.names}, the log takes {ENTRIES.names}")
        if entries.num_rows == 0:
            return
        with self._lock:
            buffer = self._buffers.setdefault(partition, _Buffer())
            _seal_raw(buffer)
            buffer.tables.append(entries)
            buffer.rows += entries.num_rows
            if buffer.rows >= BATCH_ENTRIES:
                _seal_tables(buffer)

    def append_raw(self, partition: int, entries: Iterable[tuple[bytes | None, bytes]]) -> None:
        self._check(partition)
        with self._lock:
            buffer = self._buffers.setdefault(partition, _Buffer())
            _seal_tables(buffer)
            for key, value in entries:
                buffer.raw.append((key, value))
                buffer.raw_bytes += len(value) + len(key or b"")
                if len(buffer.raw) >= BATCH_ENTRIES or buffer.raw_bytes >= BATCH_BYTES:
                    _seal_raw(buffer)

    def flush(self) -> None:
        with self._writing:
            with self._lock:
                buffers, self._buffers = self._buffers, {}
                for buffer in buffers.values():
                    _seal_tables(buffer)
                    _seal_raw(buffer)
            if not any(buffer.sealed for buffer in buffers.values()):
                return
            with self._translated(), transaction(self._connection()) as connection:
                for partition, buffer in buffers.items():
                    self._write(connection, partition, buffer.sealed)

    def _write(self, connection: sqlite3.Connection, partition: int, batches: list[_Batch]) -> None:
        offset = self._end(connection, partition)
        for batch in batches:
            connection.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._topic, partition, offset, *astuple(batch.packed)),
            )
            connection.executemany(
                "INSERT INTO last_seqs VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET seq = max(last_seqs.seq, excluded.seq)",
                [(self._topic, partition, source, seq) for source, seq in batch.last_seqs.items()],
            )
            connection.executemany(
                "INSERT INTO active_sources VALUES (?, ?, ?, ?, -1) ON CONFLICT DO NOTHING",
                [(self._topic, *first) for first in batch.firsts],
            )
            if partition == 0:
                connection.executemany(
                    "INSERT INTO active_sources VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET source = excluded.source, since = excluded.since",
                    [(self._topic, *names, offset + place) for place, *names in batch.replacements],
                )
            offset += batch.packed.entries
        connection.execute(
            "INSERT INTO ends VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            (self._topic, partition, offset),
        )

    def read(self, partition: int, start: int, limit: int) -> LogSlice:
        self._check(partition)
        if start < 0 or limit < 0:
            raise ValueError(f"start {start} and limit {limit} must not be negative")
        with self._translated(), reading(self._connection()) as connection:
            stop = min(start + limit, self._end(connection, partition))
            slices = list(self._slices(connection, partition, start, stop)) if start < stop else []
        return LogSlice(
            records=_concat([piece.records for piece in slices], RECORDS),
            controls=_concat([piece.controls for piece in slices], CONTROLS),
            rejects=_concat([piece.rejects for piece in slices], REJECTS),
            next_offset=max(start, stop),
        )

    def _slices(self, connection: sqlite3.Connection, partition: int, start: int, stop: int) -> Iterator[LogSlice]:
        """Yield the decoded batches of [start, stop), each cut to it."""
        expected = start
        rows = connection.execute(
            "SELECT first_offset, entries FROM batches WHERE topic = ? AND partition = ? AND first_offset < ?"
            " AND first_offset >= coalesce((SELECT max(first_offset) FROM batches"
            " WHERE topic = ? AND partition = ? AND first_offset <= ?), ?) ORDER BY first_offset",
            (self._topic, partition, stop, self._topic, partition, start, start),
        ).fetchall()
        for first, entries in [row for row in rows if row[0] + row[1] > start]:
            if first > expected:
                raise self._gone(partition, expected, first)
            yield _cut(self._batch(connection, partition, first, first + entries > stop), start, stop)
            expected = first + entries
        if expected < stop:
            raise self._gone(partition, expected, stop)

    def _batch(self, connection: sqlite3.Connection, partition: int, first: int, keep: bool) -> LogSlice:
        """Decode a stored batch; it is kept while a reader goes through it in small steps."""
        with self._lock:
            kept = self._kept.pop((partition, first), None)
        if kept is None:
            row = connection.execute(
                "SELECT entries, raw, records, controls FROM batches"
                " WHERE topic = ? AND partition = ? AND first_offset = ?",
                (self._topic, partition, first),
            ).fetchone()
            kept = unpack(Packed(*row), first, self._raw_bytes)
        if keep:
            with self._lock:
                self._kept[partition, first] = kept
                while len(self._kept) > KEPT_BATCHES:
                    self._kept.popitem(last=False)
        return kept

    def _gone(self, partition: int, start: int, stop: int) -> OffsetGone:
        return OffsetGone(
            f"topic {self._topic}, partition {partition}: offsets {start} to {stop - 1} are missing from {self._path};"
            " restore the file from a copy, or run 'readerflow purge' and replay all months again"
        )

    def end_offset(self, partition: int) -> int:
        self._check(partition)
        with self._translated():
            return self._end(self._connection(), partition)

    def last_seq(self, partition: int, source: str) -> int | None:
        self._check(partition)
        with self._translated():
            row = (
                self._connection()
                .execute(
                    "SELECT seq FROM last_seqs WHERE topic = ? AND partition = ? AND source = ?",
                    (self._topic, partition, source),
                )
                .fetchone()
            )
        return None if row is None else int(row[0])

    def active_source(self, wiki: str, month: str) -> ActiveSource | None:
        with self._translated():
            row = (
                self._connection()
                .execute(
                    "SELECT source, since FROM active_sources WHERE topic = ? AND wiki = ? AND month = ?",
                    (self._topic, wiki, month),
                )
                .fetchone()
            )
        return None if row is None else ActiveSource(*row)

    def _end(self, connection: sqlite3.Connection, partition: int) -> int:
        row = connection.execute(
            "SELECT next_offset FROM ends WHERE topic = ? AND partition = ?", (self._topic, partition)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _check(self, partition: int) -> None:
        if not 0 <= partition < self.partitions:
            raise ValueError(f"topic {self._topic} has partitions 0 to {self.partitions - 1}, not {partition}")

    def _connection(self) -> sqlite3.Connection:
        """The connection of this thread."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self._path, page_bytes=PAGE_BYTES)
            with self._lock:
                self._connections.append(connection)
            self._local.connection = connection
            self._open_topic(connection)
        return cast(sqlite3.Connection, connection)

    def _open_topic(self, connection: sqlite3.Connection) -> None:
        if self._partitions is not None:
            return
        make_tables(connection, self._path, _SCHEMA)
        with transaction(connection):
            connection.execute("INSERT INTO topics VALUES (?, ?) ON CONFLICT DO NOTHING", (self._topic, self._wanted))
            row = connection.execute("SELECT partitions FROM topics WHERE topic = ?", (self._topic,)).fetchone()
        self._partitions = int(row[0])  # only now may other threads take the tables for granted

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise LogUnavailable(
                f"the log {self._path} can't be used: {error}; check the disk and who else holds it, then try again"
            ) from error


def _seal_tables(buffer: _Buffer) -> None:
    """Compress the buffered tables into batches of about BATCH_ENTRIES."""
    if not buffer.tables:
        return
    table = pa.concat_tables(buffer.tables)
    buffer.tables, buffer.rows = [], 0
    parts = max(1, round(table.num_rows / BATCH_ENTRIES))
    borders = [table.num_rows * part // parts for part in range(parts + 1)]
    for start, stop in pairwise(borders):
        piece = split(table.slice(start, stop - start), 0)
        buffer.sealed.append(_sealed(piece, pack(piece)))


def _seal_raw(buffer: _Buffer) -> None:
    """Compress the buffered raw entries; those that can be decoded count for last seqs and active sources."""
    if not buffer.raw:
        return
    keys, values = zip(*buffer.raw, strict=True)
    buffer.raw, buffer.raw_bytes = [], 0
    packed = pack_raw(pa.array(keys, pa.binary()), pa.array(values, pa.binary()))
    buffer.sealed.append(_sealed(unpack(packed, 0, 0), packed))


def _sealed(piece: LogSlice, packed: Packed) -> _Batch:
    """What the log remembers of a batch whose offsets begin with 0."""
    replaced = piece.controls.filter(pc.equal(piece.controls["kind"], int(Kind.REPLACEMENT)))
    replacements = [(row["offset"], row["wiki"], row["month"], row["source"]) for row in replaced.to_pylist()]
    last_seqs: dict[str, int] = {}
    firsts: list[tuple[int, str, str, str]] = []
    for rows in (piece.records, piece.controls):
        for source, (last, first, wiki, month) in _by_source(rows).items():
            last_seqs[source] = max(last, last_seqs.get(source, last))
            firsts.append((first, wiki, month, source))
    firsts.sort()
    return _Batch(
        packed,
        {source: last for source, last in last_seqs.items() if last >= 0},  # a replacement has no seq
        [(wiki, month, source) for _, wiki, month, source in firsts],
        replacements,
    )


def _by_source(rows: pa.Table) -> dict[str, tuple[int, int, str, str]]:
    """(highest seq, first offset, wiki, month) of each source."""
    found: dict[str, tuple[int, int, str, str]] = {}
    if rows.num_rows == 0:
        return found
    seqs = rows["seq"].to_numpy()
    if constant(rows["source"]):
        groups: dict[str, Any] = {rows["source"][0].as_py(): slice(None)}
    else:
        codes = rows["source"].combine_chunks().dictionary_encode()
        indices = codes.indices.to_numpy()
        groups = {source: np.flatnonzero(indices == code) for code, source in enumerate(codes.dictionary.to_pylist())}
    for source, places in groups.items():
        first = 0 if isinstance(places, slice) else int(places[0])
        row = {name: rows[name][first].as_py() for name in ("offset", "wiki", "month")}
        found[source] = (int(seqs[places].max()), row["offset"], row["wiki"], row["month"])
    return found


def _cut(batch: LogSlice, start: int, stop: int) -> LogSlice:
    return LogSlice(
        _between(batch.records, start, stop),
        _between(batch.controls, start, stop),
        _between(batch.rejects, start, stop),
        min(batch.next_offset, stop),
    )


def _between(rows: pa.Table, start: int, stop: int) -> pa.Table:
    """The rows with offsets of [start, stop); rows are in offset order, so no copy is made."""
    if rows.num_rows == 0:
        return rows
    low, high = np.searchsorted(rows["offset"].to_numpy(), [start, stop])
    return rows.slice(int(low), int(high - low))


def _concat(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    tables = [table for table in tables if table.num_rows]
    return pa.concat_tables(tables) if tables else schema.empty_table()
