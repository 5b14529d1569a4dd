"""One generation of the batch views as Cassandra's readers see it: a look-up is one page of one partition.

The bounds of a view (the first key of each bucket) are read once; then a key leads to its bucket by bisection, and
within the bucket the page is the first one at or before the key. A generation never changes, so threads may share one,
and a process keeps the pages that it read last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .batch_views import BATCH_SCHEMAS, Manifest, View
from .cassandra_pages import (
    IN_CLICKS,
    IN_CLICKS_SCHEMA,
    ONE_KEY,
    PAGE_ROWS,
    Key,
    entries_of,
    first_key,
    last_key,
    page_rows,
    stored_page,
)
from .cassandra_session import Cassandra
from .known_pages import KnownPages
from .recent import Recent
from .serving_views import NEIGHBOURS, RANKING, Side
from .title_files import place_of

LAST_POSITION = 2**31 - 1
#: Buckets that are read at the same time by questions that need many.
BUCKETS_AT_A_TIME = 4

_BOUNDS = "select key, position from {ks}.bounds where generation = ? and of_view = ?"
_BUCKET = "from {ks}.pages where generation = ? and of_view = ? and bucket = ? and bucket_position = ?"
_PAGE_AT = f"select page {_BUCKET} and (key, position) <= (?, ?) limit 1"
_PAGES_OF = f"select page {_BUCKET} and key = ? and position >= ? and position <= ?"
_ALL_PAGES = f"select page {_BUCKET}"


class CassandraGeneration:
    """Reads one generation. That it is still there is the caller's business.

    :param kept: where pages that were looked up stay for the next look-up; without, none does.
    """

    def __init__(
        self,
        cassandra: Cassandra,
        generation: str,
        manifest: Manifest | None = None,
        kept: Recent[pa.RecordBatch] | None = None,
    ) -> None:
        self._cassandra = cassandra
        self._bounds: dict[str, list[Key]] = {}
        self._known = KnownPages(generation, Recent(0) if kept is None else kept)
        self.generation = generation
        self.manifest = manifest

    def article(self, title: str) -> dict[str, Any] | None:
        """The row of an article."""
        return self._row(View.ARTICLES, title)

    def community(self, title: str) -> dict[str, Any] | None:
        """The row of the view ``communities``."""
        return self._row(View.COMMUNITIES, title)

    def _row(self, view: View, title: str) -> dict[str, Any] | None:
        """The row of an article in a view that has one for each."""
        page = self._page_at(view, (title, 0))
        place = -1 if page is None else pc.index(page.column("article"), title).as_py()
        if page is None or place < 0:
            return None
        row: dict[str, Any] = page.slice(place, 1).to_pylist()[0]
        return row

    def neighbour_page(self, side: Side, title: str, page: int) -> pa.Table:
        """Page 0, 1, ... of an article's neighbours, strongest first: NEIGHBOURS; each has PAGE_ROWS but the last."""
        first = page * PAGE_ROWS[side] + 1
        found = self._page_at(side, (title, first))
        position, entries = entries_of(found, title) if found is not None else (0, None)
        return entries if position == first else NEIGHBOURS.empty_table()

    def all_neighbours(self, side: Side, title: str) -> pa.Table:
        """All neighbours of an article, strongest first: NEIGHBOURS."""
        first = self.neighbour_page(side, title, 0)
        if first.num_rows < PAGE_ROWS[side]:
            return first
        found = self._pages_of(side, title, 2, LAST_POSITION)
        return pa.concat_tables([first, *(entries_of(stored_page(side, data), title)[1] for data in found)])

    def ranking(self, name: str, after: int, limit: int) -> pa.Table:
        """Rows of a ranking with position > after: RANKING."""
        size = PAGE_ROWS[View.RANKINGS]
        data = self._pages_of(View.RANKINGS, name, after // size * size + 1, after + limit)
        pages = [page_rows(View.RANKINGS, page) for page in data]
        table = pa.Table.from_batches(pages, BATCH_SCHEMAS[View.RANKINGS]).select(RANKING.names)
        return table.filter(pc.greater(table["position"], after)).slice(0, limit)

    def ranking_total(self, name: str) -> int:
        """How many rows a ranking holds."""
        page = self._page_at(View.RANKINGS, (name, LAST_POSITION))
        ranking, position = last_key(View.RANKINGS, page) if page is not None else ("", 0)
        return position if ranking == name else 0

    def classes(self) -> pa.Table:
        """The view ``classes``."""
        page = self._page_at(View.CLASSES, ONE_KEY)
        return pa.Table.from_batches([] if page is None else [page], BATCH_SCHEMAS[View.CLASSES])

    def article_in_clicks(self, articles: pa.Array) -> pa.Table:
        """Clicks in of those of the given articles that the generation knows: article, in_clicks."""
        wanted = pc.unique(articles.cast(pa.string()))
        wanted = wanted.take(pc.array_sort_indices(wanted))
        borders = [place_of(wanted, key) for key, _ in self.bounds(IN_CLICKS)]
        found = [
            rows.filter(pc.is_in(rows["article"], value_set=wanted.slice(start, end - start)))
            for start, end, rows in self._buckets_between(borders, len(wanted))
        ]
        return pa.concat_tables([IN_CLICKS_SCHEMA.empty_table(), *found])

    def export(self, view: View, rows: int) -> Iterator[pa.RecordBatch]:
        """All rows of a view in key order, at most ``rows`` at a time; holds two buckets in memory."""
        for table in self._buckets(view, self.bounds(view), 1):
            yield from table.to_batches(rows)

    def read_ahead(self, views: Iterable[View], stopped: Callable[[], bool]) -> None:
        """Keep all pages of some views, so that look-ups find them; ends early when it is ``stopped``."""
        for view in views:
            for bucket in self.bounds(view):
                if stopped():
                    return
                for (data,) in self._cassandra.rows(_ALL_PAGES, (self.generation, str(view), *bucket)):
                    self._keep(view, data)

    def bounds(self, view: str) -> list[Key]:
        """The first keys of a view's buckets."""
        known = self._bounds.get(view)
        if known is None:
            found = self._cassandra.rows(_BOUNDS, (self.generation, view))
            known = self._bounds[view] = [(row[0], row[1]) for row in found]
        return known

    def _bucket_of(self, view: str, key: Key) -> int:
        """The number of the bucket that a key would lie in; -1 before the first."""
        return bisect_right(self.bounds(view), key) - 1

    def _page_at(self, view: str, key: Key) -> pa.RecordBatch | None:
        """The page that holds a key if any does, in its schema of PAGE_SCHEMAS."""
        known = self._known.find(view, key)
        if known is not None:
            return known
        bucket = self._bucket_of(view, key)
        if bucket < 0:
            return None
        values = (self.generation, str(view), *self.bounds(view)[bucket], *key)
        found = self._cassandra.rows(_PAGE_AT, values)
        if not found:
            return None
        return self._keep(view, found[0][0])

    def _keep(self, view: str, data: bytes) -> pa.RecordBatch:
        page = stored_page(view, data)
        self._known.keep(view, first_key(view, page), page)
        return page

    def _pages_of(self, view: str, key: str, first: int, last: int) -> list[bytes]:
        """The pages of one key that begin at positions first to last, in order."""
        buckets = range(max(self._bucket_of(view, (key, first)), 0), self._bucket_of(view, (key, last)) + 1)
        futures = [
            self._cassandra.start(_PAGES_OF, (self.generation, str(view), *self.bounds(view)[bucket], key, first, last))
            for bucket in buckets
        ]
        return [row[0] for future in futures for row in reversed(self._cassandra.finish(future))]

    def _buckets(self, view: str, keys: list[Key], ahead: int) -> Iterator[pa.Table]:
        """The rows of whole buckets; ``ahead`` are asked for before they are needed."""
        futures = []
        for number in range(len(keys) + ahead):
            if number < len(keys):
                futures.append(self._cassandra.start(_ALL_PAGES, (self.generation, str(view), *keys[number])))
            if number >= ahead:
                found = self._cassandra.finish(futures.pop(0))
                pages = [page_rows(view, row[0]) for row in reversed(found)]
                yield pa.Table.from_batches(pages).combine_chunks()

    def _buckets_between(self, borders: list[int], count: int) -> Iterator[tuple[int, int, pa.Table]]:
        """Those buckets of the clicks in that hold any of ``count`` sorted titles: (first, last title, rows)."""
        ends = [*borders[1:], count][: len(borders)]
        spans = [
            (start, end, key)
            for start, end, key in zip(borders, ends, self.bounds(IN_CLICKS), strict=True)
            if end > start
        ]
        tables = self._buckets(IN_CLICKS, [key for _, _, key in spans], BUCKETS_AT_A_TIME)
        return ((start, end, table) for (start, end, _), table in zip(spans, tables, strict=True))
