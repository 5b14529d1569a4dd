"""Stores of either profile filled from a plain list of records, for tests of what serves them.

The batch views are worked out here in plain Python, so that they are an oracle too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from readerflow.common.months import HOUR
from readerflow.common.records import CLASS_OF, CLASS_ROWS, CLASSES, LINK_TYPES, partition_of
from readerflow.storage.batch_views import BATCH_SCHEMAS, BatchViews, LinkGraph, Manifest, RankFacts, View
from readerflow.storage.cassandra_batch import CassandraBatchViews
from readerflow.storage.cassandra_realtime import CassandraRealtime
from readerflow.storage.cassandra_serving import CassandraServing
from readerflow.storage.cassandra_session import Cassandra
from readerflow.storage.duckdb_views import DuckDBViews
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.storage.generation_files import LocalFiles
from readerflow.storage.realtime_views import (
    LIVE_ARTICLES,
    LIVE_CLASSES,
    LIVE_PAIRS,
    LIVE_TOTALS,
    TRENDING,
    MicroBatch,
    RealtimeViews,
    StreamProgress,
)
from readerflow.storage.serving_views import PageKey, ServingViews
from readerflow.storage.sqlite_realtime import SQLiteRealtime

WIKI, MONTH, SOURCE = "hrwiki", "2025-03", "a1b2c3d4"
START = datetime(2025, 3, 1)
PARTITIONS = 2


@dataclass(frozen=True)
class Click:
    """A click record; ``hour`` counts from the month's start, ``offset`` is its place in its article's partition."""

    hour: int
    referrer: str
    article: str
    link_type: str
    clicks: int
    offset: int = 0

    @property
    def partition(self) -> int:
        return partition_of(self.article, PARTITIONS)

    @property
    def time(self) -> datetime:
        return START + self.hour * HOUR

    @property
    def class_row(self) -> str:
        return CLASS_OF.get(self.referrer) or ("link" if self.link_type == "link" else "other")


def numbered(clicks: Iterable[Click]) -> list[Click]:
    """Give records their offsets, in the order they come."""
    ends: dict[int, int] = defaultdict(int)
    found = []
    for click in clicks:
        offset = ends[click.partition]
        ends[click.partition] += 1
        found.append(Click(click.hour, click.referrer, click.article, click.link_type, click.clicks, offset))
    return found


def sums(clicks: Iterable[Click], *names: str) -> dict[tuple[Any, ...], int]:
    """Clicks by the given attributes."""
    found: dict[tuple[Any, ...], int] = defaultdict(int)
    for click in clicks:
        found[tuple(getattr(click, name) for name in names)] += click.clicks
    return dict(found)


def table(rows: Iterable[Iterable[Any]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(column, f.type) for column, f in zip(columns, schema, strict=True)], schema=schema)


def batch_tables(clicks: list[Click]) -> dict[View, pa.Table]:
    """The batch views of records."""
    pairs = sums(clicks, "referrer", "article", "link_type")
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (referrer, article, link_type), n in pairs.items():
        row = found[article]
        row["in_clicks"] += n
        row["in_pairs"] += 1
        if referrer in CLASS_OF:
            row[CLASS_OF[referrer].replace("other-", "entries_")] += n
        else:
            row["in_link_clicks" if link_type == "link" else "in_other_clicks"] += n
            found[referrer]["out_clicks"] += n
            found[referrer]["out_pairs"] += 1
    linked = sorted({t for (r, a, k) in pairs if k == "link" for t in (r, a)}, key=str.encode)
    names = BATCH_SCHEMAS[View.ARTICLES].names
    articles = [
        (title, *(found[title][name] for name in names[1:12]), *_ranks(title, linked))
        for title in sorted(found, key=str.encode)
    ]
    classes = {name: [0, 0] for name in CLASS_ROWS}
    for (referrer, _, link_type), n in pairs.items():
        row_name = Click(0, referrer, "", link_type, n).class_row
        classes[row_name][0] += n
        classes[row_name][1] += 1
    rankings = [
        ("in", position, row[0], float(row[1]))
        for position, row in enumerate(sorted(articles, key=lambda row: (-row[1], row[0].encode())), 1)
    ]
    rankings += [("pagerank", i + 1, title, 1 / len(linked)) for i, title in enumerate(linked)]
    # One that holds all; how communities are found is the batch layer's business.
    communities = [(title, linked[-1], len(linked)) for title in linked]
    return {
        View.ARTICLES: table(articles, BATCH_SCHEMAS[View.ARTICLES]),
        View.SOURCES: _neighbours(pairs, 1, 0, View.SOURCES),
        View.DESTINATIONS: _neighbours(
            {key: n for key, n in pairs.items() if key[0] not in CLASS_OF}, 0, 1, View.DESTINATIONS
        ),
        View.RANKINGS: table(rankings, BATCH_SCHEMAS[View.RANKINGS]),
        View.CLASSES: table([(name, *values) for name, values in classes.items()], BATCH_SCHEMAS[View.CLASSES]),
        View.COMMUNITIES: table(communities, BATCH_SCHEMAS[View.COMMUNITIES]),
    }


def _ranks(title: str, linked: list[str]) -> tuple[Any, ...]:
    if title not in linked:
        return (None,) * 6
    return (1 / len(linked),) * 3 + (linked.index(title) + 1,) * 3


def _neighbours(pairs: dict[tuple[Any, ...], int], of: int, other: int, view: View) -> pa.Table:
    by_title: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for key, n in pairs.items():
        by_title[key[of]].append((n, key[other], key[2]))
    rows = []
    for title in sorted(by_title, key=str.encode):
        ranked = sorted(by_title[title], key=lambda row: (-row[0], row[1].encode(), row[2]))
        rows += [(title, i, name, kind, n) for i, (n, name, kind) in enumerate(ranked, 1)]
    return table(rows, BATCH_SCHEMAS[view])


def link_graph(clicks: list[Click]) -> LinkGraph:
    edges = sums([c for c in clicks if c.link_type == "link"], "referrer", "article")
    titles = sorted({title for edge in edges for title in edge}, key=str.encode)
    number = {title: i for i, title in enumerate(titles)}
    rows = sorted((number[a], number[b], n) for (a, b), n in edges.items())
    counts = np.bincount([row[0] for row in rows], minlength=len(titles)) if titles else np.zeros(0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return LinkGraph(
        pa.array(titles, pa.string()),
        offsets,
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.int64),
    )


@dataclass
class Store:
    """A home with batch and realtime views."""

    home: Path
    incarnation: str = "i1"
    months: dict[str, tuple[str, str]] = field(default_factory=lambda: {SOURCE: (WIKI, MONTH)})

    @property
    def serving_db(self) -> Path:
        return self.home / "serving.db"

    @property
    def views_root(self) -> Path:
        return self.home / "views"

    def batch_views(self, kept: int = 2) -> AbstractContextManager[BatchViews]:
        return DuckDBViews(self.views_root, kept)

    def realtime(self) -> AbstractContextManager[RealtimeViews]:
        return SQLiteRealtime(self.serving_db)

    def serving(self, query_seconds: float = 10.0) -> AbstractContextManager[ServingViews]:
        return EmbeddedServing(self.serving_db, self.views_root, query_seconds)

    def publish(self, clicks: list[Click], horizon_hour: int, source: str = SOURCE, kept: int = 2) -> Manifest:
        """Publish a generation of the records before a horizon, which it takes as all there are so far."""
        wiki, month = self.months[source]
        covered = [click for click in clicks if click.hour < horizon_hour]
        views = batch_tables(covered)
        with self.batch_views(kept) as batch_views:
            generation = batch_views.begin(wiki, month)
            rows = {view.value: batch_views.writer(generation, view)(rows.to_batches()) for view, rows in views.items()}
            graph = link_graph(covered)
            batch_views.write_graph(generation, graph)
            rows[View.GRAPH.value] = graph.edges
            ends = {p: max((c.offset + 1 for c in clicks if c.partition == p), default=0) for p in range(PARTITIONS)}
            facts = RankFacts(100, 1e-11, True, False)
            manifest = Manifest(
                generation=generation.id,
                wiki=wiki,
                month=month,
                source=source,
                since=-1,
                horizon=START + horizon_hour * HOUR,
                offsets=ends,
                totals={
                    p: {
                        kind: sum(c.clicks for c in covered if c.partition == p and c.link_type == kind)
                        for kind in LINK_TYPES
                    }
                    for p in range(PARTITIONS)
                },
                classes=dict(
                    views[View.CLASSES].select(["class", "clicks"]).to_pydict() and _pairs(views[View.CLASSES])
                ),
                closed={p: [(START, START + horizon_hour * HOUR)] for p in range(PARTITIONS)},
                rows=rows,
                articles=views[View.ARTICLES].num_rows,
                linked_articles=graph.nodes,
                pairs=views[View.SOURCES].num_rows,
                ranks={name: facts for name in ("pagerank", "reader_rank", "link_rank")},
                engine="test",
                version="0",
                started=START,
                finished=START + timedelta(seconds=3),
            )
            batch_views.publish(generation, manifest)
            batch_views.sweep()
        return manifest

    def stream(self, *batches: MicroBatch) -> None:
        """Commit micro-batches under the store's incarnation, which readers take."""
        with self.realtime() as realtime:
            if realtime.progress(self.incarnation) is None:
                realtime.begin(self.incarnation, StreamProgress(), LIVE_TOTALS.empty_table())
                realtime.adopt(self.incarnation, realtime.current())
            for batch in batches:
                realtime.commit(self.incarnation, batch)

    def retire(self) -> None:
        """Drop realtime rows that no retained generation needs."""
        with self.batch_views() as batch_views, self.realtime() as realtime:
            horizons: dict[str, datetime] = {}
            for manifest in batch_views.retained():
                horizons[manifest.source] = min(manifest.horizon, horizons.get(manifest.source, manifest.horizon))
            realtime.retire(horizons)


@dataclass
class CassandraStore(Store):
    """The same in a keyspace."""

    cassandra: Cassandra = field(kw_only=True)
    grace_seconds: float = 60.0

    def batch_views(self, kept: int = 2) -> CassandraBatchViews:
        return CassandraBatchViews(
            self.cassandra,
            LocalFiles(self.home / "files"),
            self.home / "leases",
            kept,
            query_seconds=self.grace_seconds,
        )

    def realtime(self) -> CassandraRealtime:
        return CassandraRealtime(self.cassandra, self.grace_seconds)

    def serving(self, query_seconds: float = 10.0) -> CassandraServing:
        files, comparisons = LocalFiles(self.home / "files"), self.home / "comparisons"
        return CassandraServing(self.cassandra, files, self.batch_views(), comparisons, query_seconds, state_seconds=0)


def _pairs(classes: pa.Table) -> dict[str, int]:
    return dict(zip(classes["class"].to_pylist(), classes["clicks"].to_pylist(), strict=True))


def micro_batch(
    clicks: list[Click],
    batch_id: int,
    passed_hour: int,
    source: str = SOURCE,
    months: dict[str, tuple[str, str]] | None = None,
    trends: list[tuple[Any, ...]] | None = None,
    ends: dict[int, int] | None = None,
    rows_from_hour: int = 0,
) -> MicroBatch:
    """What the stream makes of records: all their rows, every partition closed up to an hour."""
    pairs = sums(clicks, "time", "referrer", "article", "link_type")
    by_article: dict[tuple[str, datetime], list[int]] = defaultdict(lambda: [0, 0])
    for click in clicks:
        by_article[click.article, click.time][0] += click.clicks
        if click.referrer not in CLASS_OF:
            by_article[click.referrer, click.time][1] += click.clicks
    until = START + passed_hour * HOUR
    progress = StreamProgress(
        batch_id=batch_id,
        offsets=ends
        or {p: max((c.offset + 1 for c in clicks if c.partition == p), default=0) for p in range(PARTITIONS)},
        closed={p: {source: [(START + rows_from_hour * HOUR, until)]} for p in range(PARTITIONS)},
        months=months or {source: (WIKI, MONTH)},
        rows_from={source: START + rows_from_hour * HOUR},
        records=len(clicks),
    )
    return MicroBatch(
        progress,
        table([(source, *key, n) for key, n in pairs.items()], LIVE_PAIRS),
        table([(source, hour, title, *n) for (title, hour), n in by_article.items()], LIVE_ARTICLES),
        table([(source, *key, n) for key, n in sums(clicks, "time", "class_row").items()], LIVE_CLASSES),
        table([(source, *key, n) for key, n in sums(clicks, "partition", "time", "link_type").items()], LIVE_TOTALS),
        table([(source, *row) for row in trends], TRENDING) if trends is not None else None,
    )


def order(key: PageKey) -> tuple[int, bytes, str]:
    """How neighbours are sorted: merged clicks descending, then title by UTF-8 bytes, then link type."""
    return -key.clicks, key.title.encode(), key.link_type


def exact_article(clicks: list[Click], title: str) -> dict[str, int]:
    """The oracle: an article's numbers, straight from the records."""
    into = [c for c in clicks if c.article == title]
    return {
        "in": sum(c.clicks for c in into),
        "out": sum(c.clicks for c in clicks if c.referrer == title and title not in CLASS_OF),
        "in_link": sum(c.clicks for c in into if c.class_row == "link"),
        "in_other": sum(c.clicks for c in into if c.class_row == "other"),
        **{name.removeprefix("other-"): sum(c.clicks for c in into if c.class_row == name) for name in CLASSES},
    }
