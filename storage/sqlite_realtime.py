"""Realtime views in ``serving.db``: rows, totals and progress of a micro-batch change in one transaction.

Rows of the same key are added up, so a key stands once. An incarnation that began later has a higher row number in
``incarnations``: that is what *newer* means here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.crash import crash_point
from readerflow.common.facts import from_json, to_json
from readerflow.common.months import Month
from readerflow.common.records import CLASS_OF

from .batch_views import Superseded
from .realtime_views import ARTICLE_CLICKS, MicroBatch, StreamProgress, kept_rows
from .serving_schema import hour_number, open_serving
from .sqlite import reading, transaction

#: Pages of keyed tables that stay in memory while a batch is added, in KiB.
CACHE_KIB = 128 * 1024
_MICROSECONDS = {"hour": 3_600_000_000, "minute": 60_000_000, "start": 3_600_000_000, "end": 3_600_000_000}
_ROWS = ("live_pairs", "live_days", "live_articles", "live_classes", "trending")
#: Rows of one insert statement: many in one cost half of what they cost one by one.
INSERTED_ROWS = 200


@dataclass(frozen=True)
class _Table:
    """A live table: its columns after ``feed``, in stored order, and those that are added up."""

    name: str
    columns: tuple[str, ...]
    summed: tuple[str, ...] = ()

    @cache  # noqa: B019, a handful of tables for the life of the process
    def insert(self, rows: int) -> str:
        """A statement for a number of rows; its parameters are the feed, then the columns row by row."""
        row = f"(?1{', ?' * len(self.columns)})"
        sql = f"insert into {self.name} (feed, {', '.join(self.columns)}) values {', '.join([row] * rows)}"  # noqa: S608
        if self.summed:
            sums = ", ".join(f"{column} = {column} + excluded.{column}" for column in self.summed)
            sql += f" on conflict do update set {sums}"
        return sql


_PAIRS = _Table(
    "live_pairs", ("day", "article", "hour", "referrer", "link_type", "clicks", "from_article"), ("clicks",)
)
_ARTICLES = _Table("live_articles", ("hour", "article", "in_clicks", "out_clicks"), ("in_clicks", "out_clicks"))
_CLASSES = _Table("live_classes", ("minute", "class", "clicks"), ("clicks",))
_TOTALS = _Table("live_totals", ("partition", "hour", "link_type", "clicks"), ("clicks",))
_TRENDS = _Table("trending", ("window", "position", "article", "clicks", "expected", "score", "start", "end"))


class SQLiteRealtime:
    """The realtime views of a home; see :class:`readerflow.storage.realtime_views.RealtimeViews`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> SQLiteRealtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _serving(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_serving(self._path)
            self._connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        return self._connection

    def begin(self, incarnation: str, progress: StreamProgress, totals: pa.Table) -> None:
        with transaction(self._serving) as serving:
            current = _current(serving)
            for (other,) in serving.execute("select incarnation from incarnations").fetchall():
                if other == incarnation:
                    raise ValueError(f"incarnation {incarnation} has begun already")
                if other != current:
                    _drop_incarnation(serving, other)
            serving.execute(
                "insert into incarnations (incarnation, batch_id, progress) values (?, ?, ?)",
                (incarnation, progress.batch_id, to_json(progress)),
            )
            _add(serving, _Feeds(serving, incarnation), _TOTALS, totals)

    def current(self) -> str | None:
        return _current(self._serving)

    def progress(self, incarnation: str) -> StreamProgress | None:
        return _progress(self._serving, incarnation)

    def commit(self, incarnation: str, batch: MicroBatch) -> None:
        with transaction(self._serving) as serving:
            before = _progress(serving, incarnation)
            if before is None or not _may_write(serving, incarnation):
                raise Superseded(
                    f"readers have taken a newer incarnation of the stream than {incarnation}; start the stream again"
                )
            if before.batch_id >= batch.progress.batch_id:
                return
            if before.batch_id + 1 != batch.progress.batch_id:
                raise Superseded(
                    f"micro-batch {batch.progress.batch_id} does not follow {before.batch_id}: another stream writes"
                    f" incarnation {incarnation}; stop it and start the stream again"
                )
            feeds = _Feeds(serving, incarnation)
            _add_pairs(serving, feeds, batch.pairs)
            crash_point("stream.rows_half_written")
            _add(serving, feeds, _ARTICLES, batch.articles)
            _add(serving, feeds, _CLASSES, batch.classes)
            _add(serving, feeds, _TOTALS, batch.totals)
            if batch.trending is not None:
                _replace_trends(serving, feeds, before, batch.progress, batch.trending)
            _point(serving, batch.progress)
            _write_progress(serving, incarnation, kept_rows(before, batch.progress))
            crash_point("stream.rows_written")

    def adopt(self, incarnation: str, expected: str | None) -> None:
        with transaction(self._serving) as serving:
            current = _current(serving)
            if current == incarnation:
                return
            if current != expected:
                raise Superseded(
                    f"readers have taken the stream's incarnation {current} meanwhile, not {expected}; "
                    "start the stream again"
                )
            if _progress(serving, incarnation) is None:
                raise Superseded(f"incarnation {incarnation} of the stream is gone; start the stream again")
            serving.execute(
                "insert into current_incarnation (id, incarnation) values (1, ?) "
                "on conflict do update set incarnation = excluded.incarnation",
                (incarnation,),
            )

    def retire(self, before: Mapping[str, datetime]) -> None:
        with transaction(self._serving) as serving:
            current = _current(serving)
            if current is None:
                return
            older = "rowid < (select rowid from incarnations where incarnation = ?)"
            for (gone,) in serving.execute(
                f"select incarnation from incarnations where {older}",  # noqa: S608, our own text
                (current,),
            ).fetchall():
                _drop_incarnation(serving, gone)
            for (incarnation,) in serving.execute("select incarnation from incarnations").fetchall():
                _retire(serving, incarnation, before)

    def article_clicks(self, source: str, start: datetime, end: datetime, incarnation: str | None = None) -> pa.Table:
        sql = """
            select article, sum(in_clicks), sum(out_clicks) from live_articles
            where feed = (select feed from feeds where source = ? and incarnation =
                coalesce(?, (select incarnation from current_incarnation)))
            and hour >= ? and hour < ? group by article
        """
        with reading(self._serving) as serving:
            rows = serving.execute(sql, (source, incarnation, hour_number(start), hour_number(end))).fetchall()
        columns = list(zip(*rows, strict=True)) or [()] * len(ARTICLE_CLICKS)
        return pa.table(
            [pa.array(column, field.type) for column, field in zip(columns, ARTICLE_CLICKS, strict=True)],
            schema=ARTICLE_CLICKS,
        )


class _Feeds:
    """The numbers of an incarnation's sources, given on first use."""

    def __init__(self, serving: sqlite3.Connection, incarnation: str) -> None:
        self._serving = serving
        self._incarnation = incarnation

    def number(self, source: str) -> int:
        key = (self._incarnation, source)
        self._serving.execute("insert or ignore into feeds (incarnation, source) values (?, ?)", key)
        row = self._serving.execute("select feed from feeds where incarnation = ? and source = ?", key).fetchone()
        return int(row[0])


def _add(serving: sqlite3.Connection, feeds: _Feeds, table: _Table, rows: pa.Table) -> None:
    """Add the rows of a live table, source by source."""
    for source in rows["source"].unique().to_pylist():
        mine = rows.filter(pc.equal(rows["source"], source))
        feed = feeds.number(source)
        values = chain.from_iterable(zip(*(_values(mine, name) for name in table.columns), strict=True))
        left = mine.num_rows
        while left > 0:
            count = min(left, INSERTED_ROWS)
            serving.execute(table.insert(count), (feed, *islice(values, count * len(table.columns))))
            left -= count


def _add_pairs(serving: sqlite3.Connection, feeds: _Feeds, rows: pa.Table) -> None:
    """Add rows of live_pairs and make their days known."""
    hours = pc.divide(rows["hour"].cast(pa.int64()), _MICROSECONDS["hour"])
    from_article = pc.invert(pc.is_in(rows["referrer"], value_set=pa.array(list(CLASS_OF))))
    rows = rows.append_column("day", pc.divide(hours, 24)).append_column("from_article", from_article.cast(pa.int8()))
    _add(serving, feeds, _PAIRS, rows)
    days = rows.group_by(["source", "day"]).aggregate([])
    serving.executemany(
        "insert or ignore into live_days (feed, day) values (?, ?)",
        [(feeds.number(row["source"]), row["day"]) for row in days.to_pylist()],
    )


def _values(rows: pa.Table, name: str) -> Iterable[Any]:
    """A column as Python values; times as numbers of hours or minutes."""
    unit = _MICROSECONDS.get(name)
    column = rows[name] if unit is None else pc.divide(rows[name].cast(pa.int64()), unit)
    values: Sequence[Any] = column.to_pylist()
    return values


def _replace_trends(
    serving: sqlite3.Connection, feeds: _Feeds, before: StreamProgress, after: StreamProgress, trends: pa.Table
) -> None:
    renewed = {source for source, end in after.trended.items() if before.trended.get(source) != end}
    for source in renewed | set(trends["source"].unique().to_pylist()):
        serving.execute("delete from trending where feed = ?", (feeds.number(source),))
    _add(serving, feeds, _TRENDS, trends)


def _point(serving: sqlite3.Connection, progress: StreamProgress) -> None:
    """Make the active sources known to readers, where the pointer does not know a later one."""
    serving.executemany(
        "insert into pointers (wiki, month, source, since) values (?, ?, ?, ?) on conflict do update "
        "set source = excluded.source, since = excluded.since where excluded.since > since or source is null",
        [(*month.rsplit("/", 1), active.source, active.since) for month, active in progress.active.items()],
    )


def _current(serving: sqlite3.Connection) -> str | None:
    row = serving.execute("select incarnation from current_incarnation").fetchone()
    return row[0] if row else None


def _progress(serving: sqlite3.Connection, incarnation: str) -> StreamProgress | None:
    row = serving.execute("select progress from incarnations where incarnation = ?", (incarnation,)).fetchone()
    return from_json(StreamProgress, row[0]) if row else None


def _write_progress(serving: sqlite3.Connection, incarnation: str, progress: StreamProgress) -> None:
    serving.execute(
        "update incarnations set batch_id = ?, progress = ? where incarnation = ?",
        (progress.batch_id, to_json(progress), incarnation),
    )


def _may_write(serving: sqlite3.Connection, incarnation: str) -> bool:
    """Whether no newer incarnation is the current one."""
    row = serving.execute(
        "select 1 from current_incarnation c join incarnations i using (incarnation) "
        "where i.rowid > (select rowid from incarnations where incarnation = ?)",
        (incarnation,),
    ).fetchone()
    return row is None


def _drop_incarnation(serving: sqlite3.Connection, incarnation: str) -> None:
    feeds = serving.execute("select feed from feeds where incarnation = ?", (incarnation,)).fetchall()
    for table in (*_ROWS, "live_totals", "feeds"):
        serving.executemany(f"delete from {table} where feed = ?", feeds)  # noqa: S608, our own names
    serving.execute("delete from incarnations where incarnation = ?", (incarnation,))


def _retire(serving: sqlite3.Connection, incarnation: str, before: Mapping[str, datetime]) -> None:
    """Drop what no retained generation needs of an incarnation's rows.

    Totals stay: by them the lateness of a source is judged that comes back.
    """
    progress = _progress(serving, incarnation)
    if progress is None:
        return
    wanted = {active.source for active in progress.active.values()}
    wanted |= {row[0] for row in serving.execute("select source from pointers").fetchall()}
    rows_from = dict(progress.rows_from)
    for feed, source in serving.execute(
        "select feed, source from feeds where incarnation = ?", (incarnation,)
    ).fetchall():
        if source in before:
            hour = hour_number(before[source])
            serving.execute("delete from live_pairs where feed = ? and day < ?", (feed, hour // 24))
            serving.execute("delete from live_pairs where feed = ? and day = ? and hour < ?", (feed, hour // 24, hour))
            serving.execute("delete from live_days where feed = ? and day < ?", (feed, hour // 24))
            serving.execute("delete from live_articles where feed = ? and hour < ?", (feed, hour))
            serving.execute("delete from live_classes where feed = ? and minute < ?", (feed, hour * 60))
            rows_from[source] = max(before[source], rows_from.get(source, before[source]))
        elif source not in wanted:
            for table in _ROWS:
                serving.execute(f"delete from {table} where feed = ?", (feed,))  # noqa: S608, our own names
            if source in progress.months:
                rows_from[source] = Month.parse(progress.months[source][1]).end
    if rows_from != progress.rows_from:
        _write_progress(serving, incarnation, replace(progress, rows_from=rows_from))
