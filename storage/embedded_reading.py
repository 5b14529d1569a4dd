"""One request's view of the embedded stores: SQL over a generation's DuckDB file and over one state of ``serving.db``.

Queries are few and small: an article page takes one look-up in each of ``articles``, ``sources`` and ``destinations``
and one on each side of ``live_pairs``; ``live_articles`` lies in the order of hours, for trends. Hours are counted from
1970, as in :mod:`.serving_schema`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from readerflow.common.records import CLASS_OF, CLASS_ROWS, LINK_TYPES

from .batch_views import BATCH_SCHEMAS, View
from .click_graph import ClickGraph
from .open_generations import BatchQueries
from .realtime_views import TRENDING
from .serving_schema import hour_number, hour_time
from .serving_views import (
    HITS,
    HOURLY,
    LIVE_ARTICLE,
    LIVE_CLICKS,
    NEIGHBOURS,
    RANKING,
    PageKey,
    Side,
    Snapshot,
)
from .title_files import Titles, place_of

#: An article with at most this many neighbours on each side is read whole in one go, since planning queries costs more
#: than these rows.
WHOLE_LIST_ROWS = 500

_ARTICLE_COLUMNS = BATCH_SCHEMAS[View.ARTICLES].names
# Text of a whole row group would be read to find a title; titles lie beside the tables, in the order of rows.
_AMONG = "rowid between $first and $last and article = $title"
_ARTICLE = f"select {', '.join(_ARTICLE_COLUMNS)} from articles where {_AMONG}"  # noqa: S608
_COMMUNITY_COLUMNS = BATCH_SCHEMAS[View.COMMUNITIES].names
_COMMUNITY = f"select {', '.join(_COMMUNITY_COLUMNS)} from communities where {_AMONG}"  # noqa: S608
_SIDES = {
    Side.SOURCES: ("sources", "article", "referrer"),
    Side.DESTINATIONS: ("destinations", "referrer", "article"),
}
_PAIRS_COLUMN = {Side.SOURCES: "in_pairs", Side.DESTINATIONS: "out_pairs"}
# Titles are ids in these tables, see :mod:`.neighbour_tables`.
_BOTH_LISTS = """
    select 0, referrer, link_type, clicks from sources where article = $article
    union all select 1, article, link_type, clicks from destinations where referrer = $referrer
"""
_PAGE = {
    side: f"""
        select {other}, link_type, clicks from {table}
        where {key} = $key
            and (clicks < $clicks
                or (clicks = $clicks and ({other} > $after or ({other} = $after and link_type > $type))))
        order by position
        limit $limit
    """  # noqa: S608
    for side, (table, key, other) in _SIDES.items()
}
_THESE = {
    side: f"""
        select {other}, link_type, clicks from {table}
        where {key} = $key and ({other}, link_type::varchar) in (select unnest($ids), unnest($types))
    """  # noqa: S608
    for side, (table, key, other) in _SIDES.items()
}
_BETWEEN = """
    select article, link_type, clicks from destinations where referrer = $referrer and article = $article
"""
# A live pair is found by its day: the key of live_pairs begins with it. Without statistics the planner does not see
# that the smaller index serves the other side.
_LIVE_DAYS = "feed = ?1 and day in (select day from live_days where feed = ?1 and day >= ?3 / 24)"
_LIVE = {
    Side.SOURCES: f"""
        select referrer, link_type, sum(clicks) from live_pairs
        where {_LIVE_DAYS} and article = ?2 and hour >= ?3 group by referrer, link_type
    """,  # noqa: S608, no values in it
    Side.DESTINATIONS: f"""
        select article, link_type, sum(clicks) from live_pairs indexed by live_destinations
        where {_LIVE_DAYS} and referrer = ?2 and from_article and hour >= ?3 group by article, link_type
    """,  # noqa: S608, no values in it
}
_HOURLY = f"""
    select hour, sum(clicks) from live_pairs
    where {_LIVE_DAYS} and article = ?2 and hour >= ?3 group by hour order by hour
"""  # noqa: S608, no values in it
_FIRST_KEY = PageKey(2**62, "", "")
LAST_LINK_TYPE = max(LINK_TYPES)

Rows = Sequence[tuple[Any, ...]]
NeighbourRows = list[tuple[str, str, int]]


def as_table(rows: Rows, schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _page(batch: BatchQueries, side: Side, title: str, after: PageKey, limit: int) -> NeighbourRows:
    """The batch neighbours after a key, strongest first."""
    titles = batch.titles(View(side))
    known = titles.id_of(after.title)
    # The place of a title that is not there is the next one's, none of whose rows has been shown.
    key, beyond = (titles.place(after.title) - 1, LAST_LINK_TYPE) if known is None else (known, after.link_type)
    values = {"key": titles.id_of(title), "clicks": after.clicks, "after": key, "type": beyond, "limit": limit}
    return _named(titles, batch.rows(_PAGE[side], values))


def _named(titles: Titles, rows: Sequence[Sequence[Any]]) -> NeighbourRows:
    """Rows (id, link type, clicks) with titles in place of ids."""
    names = titles.of([row[0] for row in rows]).to_pylist()
    return [(name, row[1], row[2]) for name, row in zip(names, rows, strict=True)]


class EmbeddedReading:
    """What one request reads. ``batch`` is None before the first generation, ``feed`` without realtime rows."""

    def __init__(
        self, snapshot: Snapshot, sqlite: sqlite3.Connection, feed: int | None, batch: BatchQueries | None
    ) -> None:
        self._snapshot = snapshot
        self._sqlite = sqlite
        self._feed = feed
        self._batch = batch
        self._live: dict[tuple[Side, str], NeighbourRows] = {}
        self._whole: dict[str, dict[Side, NeighbourRows]] = {}
        self._rows: dict[str, dict[str, Any] | None] = {}

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @cached_property
    def _horizon(self) -> int:
        return hour_number(self._snapshot.horizon)

    def article(self, title: str) -> tuple[dict[str, Any] | None, dict[str, int]]:
        return self._article_row(title), dict(zip(LIVE_ARTICLE, self._live_article(title), strict=True))

    def community(self, title: str) -> dict[str, Any] | None:
        found = self._row(_COMMUNITY, View.COMMUNITIES, self._batch.graph.titles, title) if self._batch else None
        return dict(zip(_COMMUNITY_COLUMNS, found, strict=True)) if found else None

    def _article_row(self, title: str) -> dict[str, Any] | None:
        if title not in self._rows:
            titles = self._batch.titles(View.SOURCES).array if self._batch else None
            found = self._row(_ARTICLE, View.ARTICLES, titles, title)
            self._rows[title] = dict(zip(_ARTICLE_COLUMNS, found, strict=True)) if found else None
        return self._rows[title]

    def _row(self, sql: str, view: View, titles: pa.Array, title: str) -> tuple[Any, ...] | None:
        """The row of a title in a view whose rows are those of some of ``titles``, in their order."""
        manifest = self._snapshot.manifest
        if self._batch is None or manifest is None or view.value not in manifest.rows:
            return None  # no generation, or one that an older version wrote without the view
        place, others = place_of(titles, title), len(titles) - manifest.rows[view.value]
        found = self._batch.rows(sql, {"first": place - others, "last": place, "title": title})
        return found[0] if found else None

    def _live_article(self, title: str) -> tuple[int, ...]:
        classes = dict.fromkeys(CLASS_ROWS, 0)
        for referrer, link_type, clicks in self._live_neighbours(Side.SOURCES, title):
            classes[CLASS_OF.get(referrer) or ("link" if link_type == "link" else "other")] += clicks
        clicks_out = sum(row[2] for row in self._live_neighbours(Side.DESTINATIONS, title))
        return sum(classes.values()), clicks_out, *classes.values()

    def _live_rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        if self._feed is None:
            return []
        return self._sqlite.execute(sql, (self._feed, *values)).fetchall()

    def _live_neighbours(self, side: Side, title: str) -> NeighbourRows:
        if (side, title) not in self._live:
            self._live[side, title] = self._live_rows(_LIVE[side], title, self._horizon)
        return self._live[side, title]

    def neighbours(self, side: Side, title: str, after: PageKey | None, limit: int) -> tuple[pa.Table, pa.Table]:
        live = self._live_neighbours(side, title)
        return as_table(self._batch_neighbours(side, title, after, limit, live), NEIGHBOURS), as_table(live, NEIGHBOURS)

    def _batch_neighbours(
        self, side: Side, title: str, after: PageKey | None, limit: int, live: NeighbourRows
    ) -> NeighbourRows:
        pairs = self._batch_pairs(side, title)
        if self._batch is None or not pairs:
            return []
        whole = self._whole_list(side, title)
        if whole is not None:
            return whole
        # At most len(live) of these rows are live ones, which do not count towards the limit.
        rows = _page(self._batch, side, title, after or _FIRST_KEY, limit + len(live))
        return list(dict.fromkeys([*rows, *self._these(side, title, live)]))

    def _batch_pairs(self, side: Side, title: str) -> int:
        row = self._article_row(title)
        return row[_PAIRS_COLUMN[side]] or 0 if row else 0

    def _whole_list(self, side: Side, title: str) -> NeighbourRows | None:
        """All batch neighbours, in no order; None for an article with too many of them."""
        if any(self._batch_pairs(one, title) > WHOLE_LIST_ROWS for one in Side):
            return None
        if title not in self._whole:
            self._whole[title] = self._both_lists(title)
        return self._whole[title][side]

    def _both_lists(self, title: str) -> dict[Side, NeighbourRows]:
        if self._batch is None:
            return {side: [] for side in Side}
        titles = {side: self._batch.titles(View(side)) for side in Side}
        values = {_SIDES[side][1]: titles[side].id_of(title) for side in Side}
        rows = self._batch.rows(_BOTH_LISTS, values)
        return {
            side: _named(titles[side], [row[1:] for row in rows if row[0] == place]) for place, side in enumerate(Side)
        }

    def _these(self, side: Side, title: str, live: NeighbourRows) -> NeighbourRows:
        """The batch rows of neighbours that have live rows too."""
        if self._batch is None or not live:
            return []
        titles = self._batch.titles(View(side))
        found = [(titles.id_of(row[0]), row[1]) for row in live]
        known = [row for row in found if row[0] is not None]
        if not known:
            return []
        ids, types = (list(column) for column in zip(*known, strict=True))
        return _named(titles, self._batch.rows(_THESE[side], {"key": titles.id_of(title), "ids": ids, "types": types}))

    def neighbour_counts(self, side: Side, title: str) -> int:
        pairs = self._batch_pairs(side, title)
        live = self._live_neighbours(side, title)
        if not live or not pairs:
            return pairs or len(live)
        batch = self._whole_list(side, title)
        known = {(row[0], row[1]) for row in (self._these(side, title, live) if batch is None else batch)}
        return pairs + sum((row[0], row[1]) not in known for row in live)

    def between(self, referrer: str, article: str) -> tuple[pa.Table, pa.Table]:
        live = [row for row in self._live_neighbours(Side.DESTINATIONS, referrer) if row[0] == article]
        return as_table(self._batch_between(referrer, article), NEIGHBOURS), as_table(live, NEIGHBOURS)

    def _batch_between(self, referrer: str, article: str) -> NeighbourRows:
        if self._batch is None:
            return []
        titles = self._batch.titles(View.DESTINATIONS)
        values = {"referrer": titles.id_of(referrer), "article": titles.id_of(article)}
        return [] if None in values.values() else _named(titles, self._batch.rows(_BETWEEN, values))

    def ranking(self, ranking: str, after: int, limit: int) -> pa.Table:
        sql = """
            select position, article, value from rankings
            where ranking = $ranking and position > $after order by position limit $limit
        """
        values = {"ranking": ranking, "after": after, "limit": limit}
        return as_table(self._batch.rows(sql, values) if self._batch else [], RANKING)

    def ranking_total(self, ranking: str) -> int:
        if self._batch is None:
            return 0
        counts = self._batch.rows("select ranking, count(*) from rankings group by ranking", {})
        return int(dict(counts).get(ranking, 0))

    def classes(self) -> tuple[pa.Table, pa.Table]:
        sql = "select class, sum(clicks) from live_classes where feed = ? and minute >= ? group by class"
        live = as_table(self._live_rows(sql, self._horizon * 60), LIVE_CLICKS)
        batch = self._batch.rows("select class, clicks, pairs from classes", {}) if self._batch else []
        return as_table(batch, BATCH_SCHEMAS[View.CLASSES]), live

    def hourly(self, title: str, hours: int) -> pa.Table:
        first = hour_number(self._snapshot.live_until) - hours
        return as_table([(hour_time(hour), clicks) for hour, clicks in self._live_rows(_HOURLY, title, first)], HOURLY)

    def suggest(self, query: str, limit: int) -> pa.Table:
        return self._batch.index.suggest(query, limit, self._batch.check) if self._batch else HITS.empty_table()

    def search(self, query: str, after: int, limit: int) -> tuple[pa.Table, int]:
        batch = self._batch
        return batch.index.search(query, after, limit, batch.check) if batch else (HITS.empty_table(), 0)

    def graph(self) -> ClickGraph | None:
        return self._batch.graph if self._batch else None

    def trending(self, window: int) -> pa.Table:
        sql = """
            select position, article, clicks, expected, score, start, end from trending
            where feed = ? and window = ? order by position
        """
        rows = [
            (
                self._snapshot.source,
                window,
                position,
                article,
                clicks,
                expected,
                score,
                hour_time(start),
                hour_time(end),
            )
            for position, article, clicks, expected, score, start, end in self._live_rows(sql, window)
        ]
        return as_table(rows, TRENDING)
