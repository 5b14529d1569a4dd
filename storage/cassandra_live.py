"""Live rows as one request reads them: a title's neighbours, and sums that a process keeps up with the stream.

Everything is read up to the write of the request's snapshot. What a write has committed never changes, so results are
kept by it; see :mod:`.cassandra_live_rows` for what counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cassandra.cluster import ResponseFuture

from readerflow.common.arrow_streams import read_streams

from .cassandra_compaction import CLASSES_BODY, STORED
from .cassandra_incarnations import Incarnation
from .cassandra_live_rows import (
    FOLDED,
    SIDE_NUMBERS,
    Stored,
    add_up,
    bucket_of,
    counted,
    day_number,
    link_type_names,
    unpack,
)
from .cassandra_session import Cassandra, Row
from .realtime_views import LIVE_TOTALS
from .recent import Recent
from .serving_schema import hour_number
from .serving_views import NEIGHBOURS, Side

#: What a process keeps of titles that were asked for last.
TITLE_BYTES = 64 << 20

_PAIRS = f"""
    select side, hour, {STORED} from {{ks}}.live_pairs
    where incarnation = ? and source = ? and day = ? and bucket = ? and title = ? and side in (0, 1)
"""  # noqa: S608, our own names
_PAIRS_FROM = f"{_PAIRS} and hour >= ?"
# Rows of an hour lie in the order of their writes: for what came later, the hours are named.
_NEW_PAIRS = f"{_PAIRS} and hour in ? and id > ?"
_CLASSES = f"""
    select {STORED} from {{ks}}.live_classes
    where incarnation = ? and source = ? and day = ? and id > ? and id <= ?
"""  # noqa: S608, our own names
_TOTALS = f"select {STORED} from {{ks}}.live_totals where incarnation = ? and id > ? and id <= ?"  # noqa: S608
_DAYS = "select source, day from {ks}.live_days where incarnation = ?"
_TRENDS = "select id, body from {ks}.live_trends where incarnation = ? and source = ? and id <= ? limit ?"


@dataclass(frozen=True)
class LiveTitle:
    """The live rows of a title: neighbours by side (NEIGHBOURS), and clicks in by hour, ascending."""

    neighbours: dict[Side, pa.Table]
    hours: npt.NDArray[np.int64]
    clicks_in: npt.NDArray[np.int64]

    @property
    def size(self) -> int:
        return sum(int(table.nbytes) for table in self.neighbours.values()) + 16 * len(self.hours)


_NOTHING = LiveTitle({side: NEIGHBOURS.empty_table() for side in Side}, np.zeros(0, np.int64), np.zeros(0, np.int64))


class LiveReader:
    """Reads live rows of one keyspace. Threads may share it."""

    def __init__(self, cassandra: Cassandra) -> None:
        self._cassandra = cassandra
        self._titles: Recent[tuple[int, LiveTitle]] = Recent(TITLE_BYTES)
        self._days: Recent[list[tuple[str, int]]] = Recent(1 << 20)
        self._sums = _Sums()
        self._unpacking = [threading.Lock() for _ in range(64)]

    def days(self, row: Incarnation) -> list[tuple[str, int]]:
        """(source, day) that may have rows, as far as they were not retired."""
        known = self._days.get((row.incarnation, row.revision))
        if known is None:
            rows_from = row.progress.rows_from
            found = self._cassandra.rows(_DAYS, (row.incarnation,))
            known = [
                (source, day)
                for source, day in found
                if source not in rows_from or (day + 1) * 24 > hour_number(rows_from[source])
            ]
            self._days.put((row.incarnation, row.revision), known, 100 * len(known))
        return known

    def start_title(self, row: Incarnation, source: str, title: str, first: datetime) -> Callable[[], LiveTitle]:
        """Ask for the rows of a title from an hour on; what is returned waits for the answer.

        Of a title that was asked for before only the rows of newer writes are read.
        """
        from_hour = hour_number(max(first, row.progress.rows_from.get(source, first)))
        key = (row.incarnation, source, title, from_hour)
        after, known = self._titles.get(key) or (0, _NOTHING)
        if after == row.write:
            return lambda: known
        if after > row.write:
            after, known = 0, _NOTHING
        futures = self._ask(row, source, title, from_hour, after)

        def finish() -> LiveTitle:
            rows = [one for future in futures for one in self._cassandra.finish(future)]
            # After a commit all who ask for a hot title come at once: one of them unpacks it.
            with self._unpacking[hash(key) % len(self._unpacking)]:
                newest = self._titles.get(key)
                if newest is not None and newest[0] == row.write:
                    return newest[1]
                if any(one[3] == FOLDED and one[6] <= after for one in rows):
                    # A fold has taken up rows that are in what is known already.
                    again = self._ask(row, source, title, from_hour, 0)
                    found = _live_title([one for future in again for one in self._cassandra.finish(future)], row)
                else:
                    found = _both(known, _live_title(rows, row)) if rows else known
                if newest is None or newest[0] < row.write:
                    self._titles.put(key, (row.write, found), found.size)
                return found

        return finish

    def _ask(self, row: Incarnation, source: str, title: str, from_hour: int, after: int) -> list[ResponseFuture]:
        days = [day for name, day in self.days(row) if name == source and day >= from_hour // 24]
        asked = []
        for day in days:
            key = (row.incarnation, source, day, bucket_of(title), title)
            if after:
                hours = list(range(max(from_hour, 24 * day), 24 * day + 24))
                asked.append(self._cassandra.start(_NEW_PAIRS, (*key, hours, after)))
            else:
                asked.append(self._cassandra.start(_PAIRS_FROM, (*key, from_hour)))
        return asked

    def totals(self, row: Incarnation, source: str, before: datetime) -> dict[int, dict[str, int]]:
        """Clicks of hours before a time that the stream has seen, by partition and link type."""

        def read(after: int) -> list[Row]:
            return self._cassandra.rows(_TOTALS, (row.incarnation, after, row.write))

        keys = ("source", "partition", "hour", "link_type")
        table = self._sums.of(("totals", row.incarnation), row, read, LIVE_TOTALS, keys)
        mine = pc.and_(pc.equal(table["source"], source), pc.less(table["hour"], pa.scalar(before, pa.timestamp("us"))))
        sums = table.filter(mine).group_by(["partition", "link_type"]).aggregate([("clicks", "sum")])
        found: dict[int, dict[str, int]] = {}
        for partition, link_type, clicks in zip(
            *(sums[name].to_pylist() for name in ("partition", "link_type", "clicks_sum")), strict=True
        ):
            found.setdefault(partition, {})[link_type] = clicks
        return found

    def classes(self, row: Incarnation, source: str, first: datetime) -> pa.Table:
        """Clicks by class from an hour on: class, clicks."""
        first = max(first, row.progress.rows_from.get(source, first))
        tables = [CLASSES_BODY.empty_table()]
        for name, day in self.days(row):
            if name == source and day >= day_number(first):

                def read(after: int, day: int = day) -> list[Row]:
                    return self._cassandra.rows(_CLASSES, (row.incarnation, source, day, after, row.write))

                key = ("classes", row.incarnation, source, day)
                tables.append(self._sums.of(key, row, read, CLASSES_BODY, ("minute", "class")))
        rows = pa.concat_tables(tables)
        rows = rows.filter(pc.greater_equal(rows["minute"], pa.scalar(first, pa.timestamp("us"))))
        found = rows.group_by("class").aggregate([("clicks", "sum")])
        return pa.table([found["class"], found["clicks_sum"]], names=["class", "clicks"])

    def trends(self, row: Incarnation, source: str) -> bytes | None:
        """The newest trends of a source, as an Arrow stream."""
        values = (row.incarnation, source, row.write, len(row.aborted) + 1)
        return next((body for write, body in self._cassandra.rows(_TRENDS, values) if write not in row.aborted), None)


def _live_title(rows: list[Row], row: Incarnation) -> LiveTitle:
    bodies: dict[int, list[bytes]] = {0: [], 1: []}
    hours: list[int] = []  # of the bodies of sources
    for (side, hour), group in groupby(rows, key=itemgetter(0, 1)):
        found = [one.body for one in counted([Stored(*one[2:]) for one in group], row.write, row.aborted)]
        bodies[side] += found
        if side == SIDE_NUMBERS[Side.SOURCES]:
            hours += [hour] * len(found)
    neighbours, by_hour, clicks_in = dict(_NOTHING.neighbours), _NOTHING.hours, _NOTHING.clicks_in
    for side, number in SIDE_NUMBERS.items():
        if not bodies[number]:
            continue
        entries = unpack(bodies[number])
        if side is Side.SOURCES:
            starts = np.concatenate([[0], np.cumsum(entries.sizes)[:-1]])
            by_hour, clicks_in = _by_hour(np.array(hours), np.add.reduceat(entries.clicks, starts))
        titles, kinds, clicks = add_up(entries)
        columns = [titles, link_type_names(kinds), pa.array(clicks)]
        neighbours[side] = pa.table(columns, schema=NEIGHBOURS)
    return LiveTitle(neighbours, by_hour, clicks_in)


def _by_hour(
    hours: npt.NDArray[np.int64], clicks: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each hour once, ascending, and the sum of its clicks."""
    found, places = np.unique(hours, return_inverse=True)
    sums = np.zeros(len(found), np.int64)
    np.add.at(sums, places, clicks)
    return found, sums


def _both(known: LiveTitle, new: LiveTitle) -> LiveTitle:
    """What two sets of writes add up to."""
    neighbours = {}
    for side in Side:
        tables = [known.neighbours[side], new.neighbours[side]]
        if all(table.num_rows for table in tables):
            sums = pa.concat_tables(tables).combine_chunks().group_by(NEIGHBOURS.names[:2], use_threads=False)
            rows = sums.aggregate([("clicks", "sum")])
            neighbours[side] = pa.table([rows["title"], rows["link_type"], rows["clicks_sum"]], schema=NEIGHBOURS)
        else:
            neighbours[side] = tables[0] if tables[0].num_rows else tables[1]
    hours, clicks = (np.concatenate(pair) for pair in ((known.hours, new.hours), (known.clicks_in, new.clicks_in)))
    return LiveTitle(neighbours, *_by_hour(hours, clicks))


class _Sums:
    """Sums of the stored rows of a group up to a write, kept up by reading the rows of newer writes only."""

    def __init__(self) -> None:
        self._known: Recent[tuple[int, pa.Table]] = Recent(TITLE_BYTES)
        self._lock = threading.Lock()

    def of(
        self,
        key: tuple[Any, ...],
        row: Incarnation,
        read: Callable[[int], list[Row]],
        schema: pa.Schema,
        keys: Sequence[str],
    ) -> pa.Table:
        """The sums of ``clicks`` by ``keys``; ``read`` gives the rows after a write up to the snapshot's."""
        until, table = self._known.get(key) or (-1, schema.empty_table())
        if until == row.write:
            return table
        if until > row.write:
            until, table = -1, schema.empty_table()
        rows = [Stored(*one) for one in read(until)]
        if any(one.part == FOLDED and one.since <= until for one in rows):
            # A fold has taken up rows that are in the sums already.
            until, table = -1, schema.empty_table()
            rows = [Stored(*one) for one in read(until)]
        new = read_streams([one.body for one in counted(rows, row.write, row.aborted)], schema)
        sums = pa.concat_tables([table, new]).group_by(list(keys)).aggregate([("clicks", "sum")])
        table = sums.rename_columns([*keys, "clicks"]).select(schema.names).cast(schema).combine_chunks()
        with self._lock:
            newest = self._known.get(key)
            if newest is None or newest[0] < row.write:
                self._known.put(key, (row.write, table), table.nbytes)
        return table
