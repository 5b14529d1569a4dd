"""Writes the rows of a micro-batch into Cassandra: where they were computed, parts side by side, in any order.

What is written is seen when its *write* has been committed (:mod:`.cassandra_incarnations`). The same part again
replaces itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.arrow_streams import write_stream
from readerflow.common.crash import crash_point
from readerflow.common.months import HOUR

from .cassandra_compaction import SHARDS
from .cassandra_live_rows import DAY, pack_pairs, pieces
from .cassandra_session import Cassandra, Writes
from .realtime_views import MicroBatch, StreamProgress

#: The part of what is not written in parts.
OWN_PART = 1_000_000
#: Rows and bytes of one request: below what a server refuses by default.
BATCH_ROWS, BATCH_BYTES = 100, 40_000

_DAY = "insert into {ks}.live_days (incarnation, source, day) values (?, ?, ?)"
_PAIRS = """
    insert into {ks}.live_pairs
        (incarnation, source, day, bucket, id, part, title, side, hour, chunk, chunks, since, body)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?)
"""
_ARTICLES = """
    insert into {ks}.live_articles (incarnation, source, hour, shard, id, part, chunk, chunks, since, body)
    values (?, ?, ?, ?, ?, ?, ?, 0, 0, ?)
"""
_CLASSES = """
    insert into {ks}.live_classes (incarnation, source, day, id, part, chunk, chunks, since, body)
    values (?, ?, ?, ?, ?, ?, 0, 0, ?)
"""
_TOTALS = """
    insert into {ks}.live_totals (incarnation, id, part, chunk, chunks, since, body) values (?, ?, ?, ?, 0, 0, ?)
"""
_TRENDS = "insert into {ks}.live_trends (incarnation, source, id, body) values (?, ?, ?, ?)"


@dataclass(frozen=True)
class CassandraPartWriter:
    """Writes the parts of one write; see :class:`.realtime_views.PartWriter`."""

    cassandra: Cassandra
    incarnation: str
    write: int

    def __call__(self, part: int, batch: MicroBatch) -> None:
        self._make_known(batch)
        with self.cassandra.writes() as writes:
            for requests in _requests(self._pair_rows(part, batch.pairs)):
                writes.add_batch(requests)
            crash_point("stream.rows_half_written")
            for source, hour, rows in _by(batch.articles, "hour", HOUR):
                for chunk, body in enumerate(pieces(rows)):
                    values = (self.incarnation, source, hour, part % SHARDS, self.write, part, chunk, body)
                    writes.add(_ARTICLES, values)
            for source, day, rows in _by(batch.classes, "minute", DAY):
                for chunk, body in enumerate(pieces(rows)):
                    writes.add(_CLASSES, (self.incarnation, source, day, self.write, part, chunk, body))

    def _pair_rows(self, part: int, pairs: pa.Table) -> Iterator[tuple[tuple[str, tuple[Any, ...]], int]]:
        """Statements and the bytes of each."""
        for key, rows in pack_pairs(pairs):
            fixed = (self.incarnation, *key, self.write, part)
            for row in rows:
                yield (_PAIRS, (*fixed, *row)), len(row.body) + 100

    def _make_known(self, batch: MicroBatch) -> None:
        """Make the days of a batch's rows known before there are any."""
        days = {(source, day) for source, day, _ in _by(batch.classes, "minute", DAY)}
        days |= {(source, hour // 24) for source, hour, _ in _by(batch.articles, "hour", HOUR)}
        with self.cassandra.writes() as writes:
            for source, day in days:
                writes.add(_DAY, (self.incarnation, source, day))


def _requests(
    statements: Iterator[tuple[tuple[str, tuple[Any, ...]], int]],
) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """Statements in groups of bounded rows and bytes."""
    group: list[tuple[str, tuple[Any, ...]]] = []
    size = 0
    for statement, length in statements:
        if group and (len(group) >= BATCH_ROWS or size + length > BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append(statement)
        size += length
    if group:
        yield group


def _by(table: pa.Table, time: str, unit: timedelta) -> Iterator[tuple[str, int, pa.Table]]:
    """The rows of each source and day or hour: (source, its number, rows without what these say)."""
    numbers = pc.divide(table[time].cast(pa.int64()), int(unit / timedelta(microseconds=1)))
    for source in table["source"].unique().to_pylist():
        mine = pc.equal(table["source"], source)
        rows, at = table.filter(mine), numbers.filter(mine)
        dropped = ["source"] if unit == DAY else ["source", time]
        for place in at.unique().to_pylist():
            yield source, place, rows.filter(pc.equal(at, place)).drop_columns(dropped)


def write_totals(writes: Writes, incarnation: str, write: int, totals: pa.Table) -> None:
    """Write totals (LIVE_TOTALS) of a write."""
    for chunk, body in enumerate(pieces(totals)):
        writes.add(_TOTALS, (incarnation, write, OWN_PART, chunk, body))


def write_trends(writes: Writes, incarnation: str, write: int, before: StreamProgress, batch: MicroBatch) -> None:
    """Write the trends of a micro-batch, if it has any, and of sources that have none any more."""
    trends = batch.trending
    if trends is None:
        return
    renewed = {source for source, end in batch.progress.trended.items() if before.trended.get(source) != end}
    for source in renewed | set(trends["source"].unique().to_pylist()):
        mine = trends.filter(pc.equal(trends["source"], source)).combine_chunks()
        writes.add(_TRENDS, (incarnation, source, write, write_stream(mine)))
