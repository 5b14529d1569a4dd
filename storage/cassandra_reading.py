"""One request's view of the Cassandra stores: pages of a generation and the live rows of a write, joined in Arrow.

A neighbour list longer than a page is joined as a whole where live rows or a page border need it; a process keeps the
lists that were asked for last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cassandra import OperationTimedOut, ReadTimeout

from readerflow.common.arrow_streams import read_streams
from readerflow.common.records import CLASS_OF, CLASS_ROWS

from .batch_views import BATCH_SCHEMAS, View
from .cassandra_generation import CassandraGeneration
from .cassandra_incarnations import Incarnation
from .cassandra_live import LiveReader, LiveTitle
from .cassandra_pages import PAGE_ROWS
from .cassandra_session import ViewsUnavailable
from .click_graph import ClickGraph
from .realtime_views import TRENDING
from .recent import Recent
from .serving_schema import hour_number, hour_time
from .serving_views import (
    HITS,
    HOURLY,
    LIVE_ARTICLE,
    LIVE_CLICKS,
    NEIGHBOURS,
    RANKING,
    PageKey,
    QueryTooLong,
    Side,
    Snapshot,
)
from .title_index import TitleIndex

_PAIRS_COLUMN = {Side.SOURCES: "in_pairs", Side.DESTINATIONS: "out_pairs"}
_NO_LIVE = LiveTitle({side: NEIGHBOURS.empty_table() for side in Side}, np.zeros(0, np.int64), np.zeros(0, np.int64))
_CLASS_NAMES = pa.array(list(CLASS_OF))
_CLASS_PLACES = np.array([CLASS_ROWS.index(name) for name in CLASS_OF.values()])
_LINK, _OTHER = CLASS_ROWS.index("link"), CLASS_ROWS.index("other")

T = TypeVar("T")


class CassandraReading:
    """What one request reads.

    :param incarnation: None without realtime rows.
    :param batch: None before the first generation.
    :param recent: what the process keeps of generations, by (generation, what, title).
    :param index: opens the word index of the generation.
    :param graph: gives the generation's link graph.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        incarnation: Incarnation | None,
        live: LiveReader,
        batch: CassandraGeneration | None,
        recent: Recent[Any],
        index: Callable[[], TitleIndex],
        graph: Callable[[], ClickGraph],
        deadline: float,
    ) -> None:
        self._snapshot = snapshot
        self._incarnation = incarnation
        self._live_reader = live
        self._batch = batch
        self._recent = recent
        self._index = index
        self._graph = graph
        self._deadline = deadline
        self._live: dict[str, LiveTitle] = {}
        self._rows: dict[str, dict[str, Any] | None] = {}

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    def article(self, title: str) -> tuple[dict[str, Any] | None, dict[str, int]]:
        return self._told(lambda: self._article(title))

    def _article(self, title: str) -> tuple[dict[str, Any] | None, dict[str, int]]:
        finish = self._start(title)
        row = self._row(title)
        live = finish().neighbours
        by_class, out = _by_class(live[Side.SOURCES]), int(live[Side.DESTINATIONS]["clicks"].to_numpy().sum())
        return row, dict(zip(LIVE_ARTICLE, (sum(by_class), out, *by_class), strict=True))

    def community(self, title: str) -> dict[str, Any] | None:
        batch = self._batch
        return self._told(lambda: batch.community(title)) if batch else None

    def neighbours(self, side: Side, title: str, after: PageKey | None, limit: int) -> tuple[pa.Table, pa.Table]:
        return self._told(lambda: self._neighbours(side, title, after, limit))

    def _neighbours(self, side: Side, title: str, after: PageKey | None, limit: int) -> tuple[pa.Table, pa.Table]:
        finish = self._start(title)
        pairs = self._pairs(side, title)
        size = PAGE_ROWS[side]
        first = self._list(side, title, 0) if pairs else NEIGHBOURS.empty_table()
        live = finish().neighbours[side]
        if pairs <= size:
            return first, live
        if after is None and not live.num_rows and limit <= size:
            return first.slice(0, limit), live
        whole = self._list(side, title, None)
        theirs = pc.is_in(whole["title"], value_set=live["title"]).to_numpy()
        start = _place(whole, after) if after is not None else 0
        others = np.flatnonzero(~theirs[start:])[:limit] + start
        places = np.union1d(np.flatnonzero(theirs), others)
        return whole.take(pa.array(places)), live

    def neighbour_counts(self, side: Side, title: str) -> int:
        return self._told(lambda: self._neighbour_counts(side, title))

    def _neighbour_counts(self, side: Side, title: str) -> int:
        finish = self._start(title)
        pairs = self._pairs(side, title)
        live = finish().neighbours[side]
        if not pairs or not live.num_rows:
            return pairs or int(live.num_rows)
        batch = self._list(side, title, None if pairs > PAGE_ROWS[side] else 0)
        theirs = batch.filter(pc.is_in(batch["title"], value_set=live["title"]))
        return pairs + _distinct(pa.concat_tables([theirs, live])) - int(theirs.num_rows)

    def between(self, referrer: str, article: str) -> tuple[pa.Table, pa.Table]:
        return self._told(lambda: self._between(referrer, article))

    def _between(self, referrer: str, article: str) -> tuple[pa.Table, pa.Table]:
        finish = self._start(referrer)
        batch = self._batch_between(referrer, article)
        live = finish().neighbours[Side.DESTINATIONS]
        return batch, live.filter(pc.equal(live["title"], article))

    def _batch_between(self, referrer: str, article: str) -> pa.Table:
        """The batch part, from the shorter of the two lists that hold it: of two hubs, tens of pages."""
        ends = (Side.DESTINATIONS, referrer, article), (Side.SOURCES, article, referrer)
        pairs, side, title, other = min((self._pairs(side, title), side, title, other) for side, title, other in ends)
        if not pairs:
            return NEIGHBOURS.empty_table()
        rows = self._list(side, title, None if pairs > PAGE_ROWS[side] else 0)
        found = rows.filter(pc.equal(rows["title"], other))
        return found.set_column(0, NEIGHBOURS.field("title"), pa.array([article] * found.num_rows, pa.string()))

    def ranking(self, ranking: str, after: int, limit: int) -> pa.Table:
        return self._told(lambda: self._batch.ranking(ranking, after, limit) if self._batch else RANKING.empty_table())

    def ranking_total(self, ranking: str) -> int:
        if self._batch is None:
            return 0
        batch = self._batch
        return self._kept("total", ranking, lambda: self._told(lambda: batch.ranking_total(ranking)))

    def classes(self) -> tuple[pa.Table, pa.Table]:
        return self._told(self._classes)

    def _classes(self) -> tuple[pa.Table, pa.Table]:
        row, source = self._incarnation, self._snapshot.source
        live = LIVE_CLICKS.empty_table()
        if row is not None and source is not None:
            live = self._live_reader.classes(row, source, self._snapshot.horizon).cast(LIVE_CLICKS)
        if self._batch is None:
            return BATCH_SCHEMAS[View.CLASSES].empty_table(), live
        return self._kept("classes", "", self._batch.classes), live

    def hourly(self, title: str, hours: int) -> pa.Table:
        return self._told(lambda: self._hourly(title, hours))

    def _hourly(self, title: str, hours: int) -> pa.Table:
        first = hour_number(self._snapshot.live_until) - hours
        if first >= self._horizon:
            live = self._start(title)()
        else:
            row, source = self._incarnation, self._snapshot.source
            if row is None or source is None:
                return HOURLY.empty_table()
            live = self._live_reader.start_title(row, source, title, hour_time(first))()
        kept = live.hours >= first
        times = [hour_time(hour) for hour in live.hours[kept].tolist()]
        return pa.table([pa.array(times, HOURLY.field("hour").type), pa.array(live.clicks_in[kept])], schema=HOURLY)

    def suggest(self, query: str, limit: int) -> pa.Table:
        return self._told(
            lambda: self._index().suggest(query, limit, self._check) if self._batch else HITS.empty_table()
        )

    def search(self, query: str, after: int, limit: int) -> tuple[pa.Table, int]:
        none = HITS.empty_table(), 0
        return self._told(lambda: self._index().search(query, after, limit, self._check) if self._batch else none)

    def graph(self) -> ClickGraph | None:
        return self._told(self._graph) if self._batch else None

    def trending(self, window: int) -> pa.Table:
        row, source = self._incarnation, self._snapshot.source
        if row is None or source is None:
            return TRENDING.empty_table()
        body = self._told(lambda: self._live_reader.trends(row, source))
        rows = read_streams([] if body is None else [body], TRENDING)
        return rows.filter(pc.equal(rows["window"], window)).sort_by("position")

    @cached_property
    def _horizon(self) -> int:
        return hour_number(self._snapshot.horizon)

    def _start(self, title: str) -> Callable[[], LiveTitle]:
        """Ask for the live rows of a title; what is returned waits for them."""
        row, source = self._incarnation, self._snapshot.source
        known = _NO_LIVE if row is None or source is None else self._live.get(title)
        if known is not None or row is None or source is None:
            return lambda: known or _NO_LIVE
        finish = self._live_reader.start_title(row, source, title, self._snapshot.horizon)

        def keep() -> LiveTitle:
            found = self._live[title] = finish()
            return found

        return keep

    def _kept(self, what: str, title: str, read: Callable[[], T]) -> T:
        """Something of the generation, which never changes."""
        key = (self._snapshot.generation, what, title)
        known: tuple[T] | None = self._recent.get(key)
        if known is None:
            found = read()
            size = int(found.nbytes) if isinstance(found, pa.Table) else 1_000
            known = self._recent.put(key, (found,), size)
        return known[0]

    def _row(self, title: str) -> dict[str, Any] | None:
        if self._batch is None:
            return None
        if title not in self._rows:
            self._rows[title] = self._batch.article(title)
        return self._rows[title]

    def _pairs(self, side: Side, title: str) -> int:
        row = self._row(title)
        return int(row[_PAIRS_COLUMN[side]] or 0) if row else 0

    def _list(self, side: Side, title: str, page: int | None) -> pa.Table:
        """A page of batch neighbours, or all of them."""
        batch = self._batch
        assert batch is not None  # noqa: S101
        if page is None:
            return self._kept(f"all {side}", title, lambda: batch.all_neighbours(side, title).combine_chunks())
        return batch.neighbour_page(side, title, page)

    def _told(self, read: Callable[[], T]) -> T:
        """Read, unless the request is over its time.

        :raises QueryTooLong: when it is, or Cassandra itself gave up.
        """
        self._check()
        try:
            found = read()
        except ViewsUnavailable as error:
            if isinstance(error.__cause__, OperationTimedOut | ReadTimeout):
                raise _too_long() from error
            raise
        self._check()
        return found

    def _check(self) -> None:
        if time.monotonic() > self._deadline:
            raise _too_long()


def _by_class(sources: pa.Table) -> list[int]:
    """Clicks in by CLASS_ROWS."""
    if not sources.num_rows:
        return [0] * len(CLASS_ROWS)
    classes = pc.fill_null(pc.index_in(sources["title"], value_set=_CLASS_NAMES), -1).to_numpy()
    by_type = np.where(pc.equal(sources["link_type"], "link").to_numpy(), _LINK, _OTHER)
    places = np.where(classes >= 0, _CLASS_PLACES[classes], by_type)
    sums = np.bincount(places, weights=sources["clicks"].to_numpy(), minlength=len(CLASS_ROWS))
    found: list[int] = sums.astype(np.int64).tolist()
    return found


def _distinct(neighbours: pa.Table) -> int:
    """How many (title, link type) there are."""
    titles, kinds = (column.combine_chunks().dictionary_encode() for column in neighbours.columns[:2])
    pairs = titles.indices.to_numpy().astype(np.int64) * len(kinds.dictionary) + kinds.indices.to_numpy()
    return len(np.unique(pairs))


def _place(neighbours: pa.Table, after: PageKey) -> int:
    """How many of the sorted neighbours come up to and with a key."""
    falling = -neighbours["clicks"].to_numpy()
    start, end = (int(np.searchsorted(falling, -after.clicks, side=side)) for side in ("left", "right"))
    same = neighbours.slice(start, end - start)
    beyond = pc.or_(
        pc.greater(same["title"], after.title),
        pc.and_(pc.equal(same["title"], after.title), pc.greater(same["link_type"], after.link_type)),
    )
    return end - int(pc.sum(beyond).as_py() or 0)


def _too_long() -> QueryTooLong:
    return QueryTooLong("the question took too long and was stopped; ask for fewer rows, or later")
