"""Folds stored rows of the realtime views together, so that what a reader reads does not grow with every micro-batch.

Only writes that every reader's snapshot includes are folded: those that were committed longer ago than a request may
take. A title's rows of an hour are folded once it has FOLD_AT new ones, which is counted on the way from
``live_articles``, so a title costs one fold for many rows and a rare one none at all. Crash at any point: see
:mod:`.cassandra_live_rows`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.arrow_streams import read_streams

from .cassandra_incarnations import Incarnation, read_incarnations
from .cassandra_live_rows import (
    FOLDED,
    Stored,
    add_up,
    bucket_of,
    counted,
    pack_entries,
    pieces,
    unpack,
    worth_folding,
)
from .cassandra_session import Cassandra
from .realtime_views import LIVE_ARTICLES, LIVE_CLASSES, LIVE_TOTALS

#: New rows of a title in an hour that are worth a fold.
FOLD_AT = 32
#: Partitions that are read at the same time.
READ_AHEAD = 32
#: Partitions of an hour of live_articles; parts spread over them.
SHARDS = 4
#: What a stored row of live_articles and live_classes holds: the key says the rest.
ARTICLES_BODY = pa.schema([LIVE_ARTICLES.field(name) for name in ("article", "in_clicks", "out_clicks")])
CLASSES_BODY = pa.schema([LIVE_CLASSES.field(name) for name in ("minute", "class", "clicks")])
STORED = "id, part, chunk, chunks, since, body"

_COUNTS = pa.schema([("article", pa.string()), ("rows", pa.int64())])


@dataclass(frozen=True)
class _Group:
    """Rows that are folded together: a table and a beginning of its key."""

    table: str
    key: dict[str, Any]

    @property
    def where(self) -> str:
        return " and ".join(f"{column} = ?" for column in self.key)


@dataclass
class _Known:
    """What has been committed to an incarnation and not been looked at."""

    marks: deque[tuple[float, int]] = field(default_factory=deque)  # when (monotonic), write
    until: int = 0  # the last write whose titles were counted
    hours: dict[tuple[str, int], pa.Table] = field(default_factory=dict)  # (source, hour) -> _COUNTS of its titles


class Compaction:
    """Folds what this process has committed."""

    def __init__(self, cassandra: Cassandra, grace_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._cassandra = cassandra
        self._grace = grace_seconds
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def committed(self, incarnation: str, write: int, totals: pa.Table) -> None:
        """Remember a write and the hours that it brought rows of."""
        known = self._known.setdefault(incarnation, _Known())
        known.marks.append((self._clock(), write))
        hours = totals.group_by(["source", "hour"]).aggregate([])
        for source, hour in zip(hours["source"].to_pylist(), hours["hour"].cast(pa.int64()).to_pylist(), strict=True):
            known.hours.setdefault((source, hour // 3_600_000_000), _COUNTS.empty_table())

    def run(self) -> int:
        """Fold what is old enough; return how many rows are gone."""
        folded = 0
        incarnations = read_incarnations(self._cassandra)
        for name in list(self._known):
            row = incarnations.alive(name)
            if row is None:
                del self._known[name]
            else:
                folded += self._fold_incarnation(row, self._known[name])
        return folded

    def _fold_incarnation(self, row: Incarnation, known: _Known) -> int:
        until, due = 0, self._clock() - self._grace
        while known.marks and known.marks[0][0] <= due:
            until = known.marks.popleft()[1]
        if not until:
            return 0
        folded = self._fold([_Group("live_totals", {"incarnation": row.incarnation})], until, row.aborted, _sum_totals)
        self._drop_trends(row, until)
        days = sorted({(source, hour // 24) for source, hour in known.hours})
        folded += self._fold(
            [_Group("live_classes", {"incarnation": row.incarnation, "source": s, "day": day}) for s, day in days],
            until,
            row.aborted,
            _sum_classes,
        )
        newest = {source: max(hour for name, hour in known.hours if name == source) for source, _ in known.hours}
        for source, hour in list(known.hours):
            folded += self._fold_hour(row, known, source, hour, until)
            if hour < newest[source] - 1:
                del known.hours[source, hour]  # late rows bring it back
        known.until = until
        return folded

    def _fold_hour(self, row: Incarnation, known: _Known, source: str, hour: int, until: int) -> int:
        key = {"incarnation": row.incarnation, "source": source, "hour": hour}
        groups = [_Group("live_articles", {**key, "shard": shard}) for shard in range(SHARDS)]
        counts = [known.hours[source, hour]]

        folded = 0
        for group, rows in self._read(groups):
            new = [one for one in counted(rows, until, row.aborted) if one.id > known.until and one.part != FOLDED]
            titles = read_streams([one.body for one in new], ARTICLES_BODY)["article"]
            counts.append(pa.table([titles, pa.repeat(1, len(titles))], schema=_COUNTS))
            folded += self._fold_group(group, rows, until, row.aborted, _sum_articles)
        rows_of = pa.concat_tables(counts).group_by("article").aggregate([("rows", "sum")])
        rows_of = rows_of.select(["article", "rows_sum"]).rename_columns(_COUNTS.names)
        often = pc.greater_equal(rows_of["rows"], FOLD_AT)
        known.hours[source, hour] = rows_of.filter(pc.invert(often)).cast(_COUNTS)
        return folded + self._fold_titles(row, source, hour, rows_of.filter(often)["article"].to_pylist(), until)

    def _fold_titles(self, row: Incarnation, source: str, hour: int, titles: list[str], until: int) -> int:
        groups = (
            _Group(
                "live_pairs",
                {
                    "incarnation": row.incarnation,
                    "source": source,
                    "day": hour // 24,
                    "bucket": bucket_of(title),
                    "title": title,
                    "side": side,
                    "hour": hour,
                },
            )
            for title in titles
            for side in (0, 1)
        )
        return self._fold(groups, until, row.aborted, _sum_pairs)

    def _drop_trends(self, row: Incarnation, until: int) -> None:
        """Drop trends that newer ones, which every reader sees, have replaced."""
        for source in row.progress.months:
            key = (row.incarnation, source)
            found = self._cassandra.rows(
                "select id from {ks}.live_trends where incarnation = ? and source = ? and id <= ?", (*key, until)
            )
            newest = max((write for (write,) in found if write not in row.aborted), default=0)
            if any(write < newest for (write,) in found):
                self._cassandra.rows(
                    "delete from {ks}.live_trends where incarnation = ? and source = ? and id < ?", (*key, newest)
                )

    def _read(self, groups: Iterable[_Group]) -> Iterable[tuple[_Group, list[Stored]]]:
        waiting = iter(groups)
        while some := list(islice(waiting, READ_AHEAD)):
            futures = [
                self._cassandra.start(
                    f"select {STORED} from {{ks}}.{group.table} where {group.where}",  # noqa: S608, our own names
                    tuple(group.key.values()),
                )
                for group in some
            ]
            for group, future in zip(some, futures, strict=True):
                yield group, [Stored(*found) for found in self._cassandra.finish(future)]

    def _fold(
        self,
        groups: Iterable[_Group],
        until: int,
        aborted: Collection[int],
        add: Callable[[list[Stored]], list[bytes]],
    ) -> int:
        return sum(self._fold_group(group, rows, until, aborted, add) for group, rows in self._read(groups))

    def _fold_group(
        self,
        group: _Group,
        rows: list[Stored],
        until: int,
        aborted: Collection[int],
        add: Callable[[list[Stored]], list[bytes]],
    ) -> int:
        old = worth_folding(rows, until, aborted)
        if not old:
            return 0
        last = max(row.id for row in old)
        since = min(row.since if row.part == FOLDED else row.id for row in old)
        bodies = add(old)
        names = ", ".join(group.key)
        insert = f"""
            insert into {{ks}}.{group.table} ({names}, {STORED}) values ({", ".join("?" * (len(group.key) + 6))})
        """  # noqa: S608, our own names
        key = tuple(group.key.values())
        with self._cassandra.writes() as writes:
            for chunk, body in enumerate(bodies):
                writes.add(insert, (*key, last, FOLDED, chunk, len(bodies), since, body))
        delete = f"delete from {{ks}}.{group.table} where {group.where}"  # noqa: S608, our own names
        with self._cassandra.writes() as writes:
            writes.add(f"{delete} and id >= ? and id < ?", (*key, since, last))
            writes.add(f"{delete} and id = ? and part < ?", (*key, last, FOLDED))
        return len(old) - len(bodies)


def _sum_pairs(rows: list[Stored]) -> list[bytes]:
    return pack_entries(*add_up(unpack([row.body for row in rows])))


def _summed(rows: list[Stored], schema: pa.Schema, values: tuple[str, ...]) -> list[bytes]:
    keys = [name for name in schema.names if name not in values]
    table = read_streams([row.body for row in rows], schema)
    found = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in values])
    found = found.rename_columns([name.removesuffix("_sum") for name in found.column_names])
    return list(pieces(found.select(schema.names).cast(schema)))


def _sum_articles(rows: list[Stored]) -> list[bytes]:
    return _summed(rows, ARTICLES_BODY, ("in_clicks", "out_clicks"))


def _sum_classes(rows: list[Stored]) -> list[bytes]:
    return _summed(rows, CLASSES_BODY, ("clicks",))


def _sum_totals(rows: list[Stored]) -> list[bytes]:
    return _summed(rows, LIVE_TOTALS, ("clicks",))
