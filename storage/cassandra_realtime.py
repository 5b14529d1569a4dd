"""Realtime views in Cassandra: packed rows by write, visible once the write is committed.

See :mod:`.cassandra_incarnations` for writes and :mod:`.cassandra_live_rows` for what a stored row is. Readers add up
the stored rows of committed writes, so nothing is ever added in place, and a micro-batch's rows may be written in any
order by any process. Rows are retired at once, by ``rows_from`` of the progress, but whole days of them go only when
no reader can be at them any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa

from readerflow.common.arrow_streams import read_streams
from readerflow.common.crash import crash_point
from readerflow.common.facts import to_json
from readerflow.common.months import Month, now
from readerflow.common.patience import LIMIT

from .batch_views import Superseded
from .cassandra_compaction import ARTICLES_BODY, SHARDS, STORED, Compaction
from .cassandra_incarnations import (
    Incarnation,
    Incarnations,
    begin_incarnation,
    change,
    delete_incarnation,
    read_incarnations,
)
from .cassandra_live_rows import BUCKETS, Stored, counted, day_number
from .cassandra_part_writer import OWN_PART, CassandraPartWriter, write_totals, write_trends
from .cassandra_pointers import Change, MonthState, add_month, change_month, months, read_pointer
from .cassandra_session import Cassandra, Writes
from .log import ActiveSource
from .realtime_views import ARTICLE_CLICKS, MicroBatch, PartWriter, StreamProgress, kept_rows
from .serving_schema import hour_number

#: Rows that nobody asks for any more stay as long as a reader may be at them: twice what one request may take, and what
#: clocks may differ.
GRACE_SECONDS = 60.0
_SELECT_ARTICLES = f"""
    select {STORED} from {{ks}}.live_articles where incarnation = ? and source = ? and hour = ? and shard = ?
"""  # noqa: S608, our own names


class CassandraRealtime:
    """The realtime views of a keyspace; see :class:`.realtime_views.PartedRealtimeViews`.

    :param grace_seconds: how long a reader may be at rows that were retired.
    """

    def __init__(self, cassandra: Cassandra, grace_seconds: float = GRACE_SECONDS) -> None:
        self._cassandra = cassandra
        self._grace = grace_seconds
        self._begun: dict[str, tuple[int, int]] = {}  # incarnation -> (batch id, write)
        self._compaction = Compaction(cassandra, grace_seconds)

    def __enter__(self) -> CassandraRealtime:
        return self

    def __exit__(self, *error: object) -> None:
        self._begun.clear()

    def begin(self, incarnation: str, progress: StreamProgress, totals: pa.Table) -> None:
        state = self._state()
        if incarnation in state.rows:
            raise ValueError(f"incarnation {incarnation} has begun already")
        for other in state.rows.values():
            if other.incarnation != state.current:
                self._let_go(other)
        with self._cassandra.writes() as writes:
            write_totals(writes, incarnation, 0, totals)
        self._cassandra.persist(lambda: begin_incarnation(self._cassandra, incarnation, progress))
        self._sweep()

    def current(self) -> str | None:
        return self._state().current

    def progress(self, incarnation: str) -> StreamProgress | None:
        row = self._state().alive(incarnation)
        return row.progress if row else None

    def part_writer(self, incarnation: str, batch_id: int) -> PartWriter:
        self._writable(incarnation)
        taken: list[int] = []

        def take(state: Incarnations, row: Incarnation) -> dict[str, Any]:
            taken[:] = [row.writes + 1]
            return {"writes": row.writes + 1}

        self._change(incarnation, take)
        if not taken:
            raise _superseded(incarnation)
        self._begun[incarnation] = batch_id, taken[0]
        return CassandraPartWriter(self._cassandra, incarnation, taken[0])

    def commit(self, incarnation: str, batch: MicroBatch) -> None:
        batch_id = batch.progress.batch_id
        before = self._writable(incarnation)
        if before.batch_id >= batch_id:
            return
        _check_follows(incarnation, before.batch_id, batch_id)
        if self._begun.get(incarnation, (0, 0))[0] != batch_id:
            self.part_writer(incarnation, batch_id)
        _, write = self._begun.pop(incarnation)
        writer = CassandraPartWriter(self._cassandra, incarnation, write)
        if batch.pairs.num_rows or batch.articles.num_rows or batch.classes.num_rows:
            writer(OWN_PART, batch)
        with self._cassandra.writes() as writes:
            write_totals(writes, incarnation, write, batch.totals)
            write_trends(writes, incarnation, write, before.progress, batch)
        self._point(before.progress, batch.progress)
        crash_point("stream.rows_written")
        self._publish(incarnation, write, batch.progress)
        self._compaction.committed(incarnation, write, batch.totals)

    def _publish(self, incarnation: str, write: int, progress: StreamProgress) -> None:
        published: list[bool] = []

        def publish(state: Incarnations, row: Incarnation) -> dict[str, Any] | None:
            if not state.may_write(row):
                return None
            published[:] = [True]
            if row.batch_id >= progress.batch_id:
                return None
            _check_follows(incarnation, row.batch_id, progress.batch_id)
            return {
                "batch_id": progress.batch_id,
                "write": write,
                "aborted": [*row.aborted, *range(row.write + 1, write)],
                "progress": to_json(kept_rows(row.progress, progress)),
            }

        self._change(incarnation, publish)
        if not published:
            raise _superseded(incarnation)

    def _point(self, before: StreamProgress, after: StreamProgress) -> None:
        """Make the active sources known to readers, where the pointer does not know a later one."""
        for key, active in after.active.items():
            if before.active.get(key) != active or before.batch_id == 0:
                wiki, month = key.rsplit("/", 1)
                self._cassandra.persist(partial(add_month, self._cassandra, wiki, month))
                change_month(self._cassandra, wiki, month, partial(_point_to, active), LIMIT)

    def adopt(self, incarnation: str, expected: str | None) -> None:
        def take(state: Incarnations, row: Incarnation) -> dict[str, Any] | None:
            if state.current == incarnation:
                return None
            if state.current != expected:
                raise Superseded(
                    f"readers have taken the stream's incarnation {state.current} meanwhile, not {expected}; "
                    "start the stream again"
                )
            return {"current": incarnation}

        state = self._state()
        if state.alive(incarnation) is None:
            raise Superseded(f"incarnation {incarnation} of the stream is gone; start the stream again")
        self._change(incarnation, take)
        if self._state().current != incarnation:
            raise Superseded(f"incarnation {incarnation} of the stream is gone; start the stream again")

    def retire(self, before: Mapping[str, datetime]) -> None:
        state = self._state()
        current = state.alive(state.current)
        if current is None:
            return
        self._sweep()
        pointed = {read_pointer(self._cassandra, *month).source or "" for month in months(self._cassandra)}
        for row in state.rows.values():
            if row.gone is None and row.place < current.place:
                self._let_go(row)
            elif row.gone is None:
                self._retire(row.incarnation, before, pointed)
        self._sweep()

    def _retire(self, incarnation: str, before: Mapping[str, datetime], pointed: set[str]) -> None:
        sources = {source for source, _ in self._days(incarnation)}
        self._change(incarnation, lambda _, row: _retired(row, sources, before, pointed))

    def article_clicks(self, source: str, start: datetime, end: datetime, incarnation: str | None = None) -> pa.Table:
        state = self._state()
        row = state.alive(incarnation or state.current)
        if row is None:
            return ARTICLE_CLICKS.empty_table()
        start = max(start, row.progress.rows_from.get(source, start))
        days = {day for name, day in self._days(row.incarnation) if name == source}
        hours = [hour for hour in range(hour_number(start), hour_number(end)) if hour // 24 in days]
        futures = [
            self._cassandra.start(_SELECT_ARTICLES, (row.incarnation, source, hour, shard))
            for hour in hours
            for shard in range(SHARDS)
        ]
        bodies = [
            stored.body
            for future in futures
            for stored in counted([Stored(*found) for found in self._cassandra.finish(future)], row.write, row.aborted)
        ]
        found = (
            read_streams(bodies, ARTICLES_BODY)
            .group_by("article")
            .aggregate([("in_clicks", "sum"), ("out_clicks", "sum")])
        )
        return found.select(["article", "in_clicks_sum", "out_clicks_sum"]).rename_columns(ARTICLE_CLICKS.names)

    def compact(self) -> int:
        self._sweep()
        return self._compaction.run()

    def _state(self) -> Incarnations:
        return self._cassandra.persist(lambda: read_incarnations(self._cassandra, serial=True))

    def _writable(self, incarnation: str) -> Incarnation:
        """The row of an incarnation that may write.

        :raises Superseded: when it is gone, or readers have taken a newer one.
        """
        state = self._state()
        row = state.alive(incarnation)
        if row is None or not state.may_write(row):
            raise _superseded(incarnation)
        return row

    def _change(self, incarnation: str, revise: Callable[[Incarnations, Incarnation], dict[str, Any] | None]) -> None:
        self._cassandra.persist(lambda: change(self._cassandra, incarnation, revise))

    def _let_go(self, row: Incarnation) -> None:
        self._change(row.incarnation, lambda *_: {"gone": now()})

    def _days(self, incarnation: str) -> list[tuple[str, int]]:
        return live_days(self._cassandra, incarnation)

    def _sweep(self) -> None:
        """Delete rows that were retired, and incarnations that are gone, when no reader can be at them any more."""
        due = now() - timedelta(seconds=self._grace)
        for row in self._state().rows.values():
            if row.gone is not None and row.gone <= due:
                self._cassandra.persist(lambda row=row: self._delete(row))  # type: ignore[misc]
            elif row.gone is None and row.retired is not None and row.retired <= due:
                self._cassandra.persist(lambda row=row: self._delete_days(row))  # type: ignore[misc]
                self._change(
                    row.incarnation,
                    lambda _, new, row=row: (  # type: ignore[misc]
                        {"retired": None} if new.retired == row.retired else None
                    ),
                )

    def _delete(self, row: Incarnation) -> None:
        sources = {*row.progress.months, *(source for source, _ in self._days(row.incarnation))}
        with self._cassandra.writes() as writes:
            for source, day in self._days(row.incarnation):
                _delete_day(writes, row.incarnation, source, day)
            for source in sources:
                writes.add(
                    "delete from {ks}.live_trends where incarnation = ? and source = ?", (row.incarnation, source)
                )
            writes.add("delete from {ks}.live_totals where incarnation = ?", (row.incarnation,))
        self._cassandra.rows("delete from {ks}.live_days where incarnation = ?", (row.incarnation,))
        delete_incarnation(self._cassandra, row.incarnation)

    def _delete_days(self, row: Incarnation) -> None:
        rows_from = row.progress.rows_from
        gone = [
            (source, day)
            for source, day in self._days(row.incarnation)
            if source in rows_from and day < day_number(rows_from[source])
        ]
        with self._cassandra.writes() as writes:
            for source, day in gone:
                _delete_day(writes, row.incarnation, source, day)
        with self._cassandra.writes() as writes:
            for source, day in gone:
                values = (row.incarnation, source, day)
                writes.add("delete from {ks}.live_days where incarnation = ? and source = ? and day = ?", values)


def live_days(cassandra: Cassandra, incarnation: str) -> list[tuple[str, int]]:
    """(source, day) that may have rows."""
    found = cassandra.rows("select source, day from {ks}.live_days where incarnation = ?", (incarnation,))
    return [(row[0], row[1]) for row in found]


def _point_to(active: ActiveSource, state: MonthState) -> Change | None:
    """Point to a source, unless a later one is known."""
    known = state.pointer
    if known.source is not None and known.since is not None and known.since >= active.since:
        return None
    return Change(replace(known, source=active.source, since=active.since))


def _delete_day(writes: Writes, incarnation: str, source: str, day: int) -> None:
    key = (incarnation, source, day)
    for bucket in range(BUCKETS):
        writes.add(
            "delete from {ks}.live_pairs where incarnation = ? and source = ? and day = ? and bucket = ?",
            (*key, bucket),
        )
    for hour in range(24 * day, 24 * day + 24):
        for shard in range(SHARDS):
            writes.add(
                "delete from {ks}.live_articles where incarnation = ? and source = ? and hour = ? and shard = ?",
                (incarnation, source, hour, shard),
            )
    writes.add("delete from {ks}.live_classes where incarnation = ? and source = ? and day = ?", key)


def _retired(
    row: Incarnation, sources: set[str], before: Mapping[str, datetime], pointed: set[str]
) -> dict[str, Any] | None:
    """What changes of an incarnation, which has rows of ``sources``, when those before an hour are retired.

    Totals stay: by them the lateness of a source is judged that comes back.
    """
    progress = row.progress
    wanted = pointed | {active.source for active in progress.active.values()}
    rows_from = dict(progress.rows_from)
    for source in sources:
        if source in before:
            rows_from[source] = max(before[source], rows_from.get(source, before[source]))
        elif source not in wanted and source in progress.months:
            rows_from[source] = Month.parse(progress.months[source][1]).end
    if rows_from == progress.rows_from:
        return None
    return {"progress": to_json(replace(progress, rows_from=rows_from)), "retired": now()}


def _check_follows(incarnation: str, before: int, batch_id: int) -> None:
    if before + 1 != batch_id:
        raise Superseded(
            f"micro-batch {batch_id} does not follow {before}: another stream writes incarnation {incarnation}; "
            "stop it and start the stream again"
        )


def _superseded(incarnation: str) -> Superseded:
    return Superseded(
        f"readers have taken a newer incarnation of the stream than {incarnation}; start the stream again"
    )
