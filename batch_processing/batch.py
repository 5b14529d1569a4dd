"""One batch run: master dataset -> one generation of the batch views of a (wiki, month), published whole or not at all.

A generation covers every archived record of the active source with event_time < horizon. It rests on the files that
are listed when the run begins, and never waits for more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from readerflow.common.crash import crash_point
from readerflow.common.months import Month, now
from readerflow.common.progress import Progress, silent
from readerflow.common.records import CLASS_OF, CLASS_ROWS
from readerflow.storage.archive import ARCHIVED, Archive
from readerflow.storage.batch_views import BATCH_SCHEMAS, BatchViews, Generation, LinkGraph, Manifest, View
from readerflow.storage.realtime_views import RealtimeViews

from .communities import communities, community_columns
from .coverage import Coverage, cover
from .engine import BatchEngine, DistributedEngine, StoredView
from .graph import NO_LINKS, Ids, link_graph
from .pagerank import LinkMatrix, Rank, pagerank
from .views import sql

log = logging.getLogger(__name__)

#: What the views are made of, in the order of computation; each is the query of its name in ``views/``. Titles come
#: first, numbered.
TITLES = "titles"
TABLES = ("referrer_classes", "pairs", "incoming", "outgoing")
#: The views that need no ranks, and those that come after them.
TRAFFIC_VIEWS = (
    StoredView(View.SOURCES, sql("sources"), ("article", "referrer"), numbered="article"),
    StoredView(View.DESTINATIONS, sql("destinations"), ("referrer", "article"), numbered="referrer"),
)
ARTICLE_VIEWS = (
    StoredView(View.ARTICLES, "select * from articles order by article", ("article",)),
    StoredView(View.RANKINGS, sql("rankings"), ("article",)),
    StoredView(View.CLASSES, sql("classes")),
)
COMMUNITIES_VIEW = StoredView(
    View.COMMUNITIES, "select article, community, size from communities order by article", ("article", "community")
)
#: Link graphs with more edges are not brought to this machine, which needs some 60 bytes for each.
GRAPH_EDGES = 100_000_000
#: The table of ranks where none are computed.
NO_RANKS = pa.schema(
    [("article", pa.int32()), *(field for field in BATCH_SCHEMAS[View.ARTICLES] if "rank" in field.name)]
)
STEPS = len(TABLES) + len(TRAFFIC_VIEWS) + len(ARTICLE_VIEWS) + 5


@dataclass(frozen=True)
class RankRule:
    """How ranks are computed; ``iterations`` None means until they have converged.

    Graphs with more than ``kernel_edges`` edges are ranked by the engine, if it can, instead of on this machine.
    """

    damping: float = 0.85
    tolerance: float = 1e-10
    iterations: int | None = None
    kernel_edges: int = 60_000_000

    def distributed(self, engine: BatchEngine, edges: int) -> TypeGuard[DistributedEngine]:
        """Whether the engine ranks a graph with so many edges."""
        return edges > self.kernel_edges and isinstance(engine, DistributedEngine)


def run_batch(
    wiki: str,
    month: str,
    archive: Archive,
    views: BatchViews,
    engine: BatchEngine,
    *,
    partitions: int,
    realtime: RealtimeViews | None = None,
    until: datetime | None = None,
    not_before: datetime | None = None,
    rule: RankRule | None = None,
    ranking_rows: int = 100_000,
    progress: Progress = silent,
    clock: Callable[[], datetime] = now,
) -> Manifest:
    """Compute and publish a generation, then remove what no retained generation needs.

    :param partitions: of the event log; each must have been archived up to the horizon.
    :param realtime: whose rows before all retained horizons go; None when there are none.
    :raises ReaderFlowError: as :func:`.coverage.cover`, :func:`.pagerank.pagerank` and ``BatchViews.publish`` say;
        nothing has been published then.
    """
    started = clock()
    generation = views.begin(wiki, month)
    try:
        coverage = cover(archive, wiki, Month.parse(month), partitions, until=until, not_before=not_before)
        run = _Run(generation, coverage, views, engine, rule or RankRule(), ranking_rows, progress)
        run.write()
        manifest = run.manifest(started, clock())
        crash_point("batch.before_publish")
    except BaseException:
        views.discard(generation)
        raise
    views.publish(generation, manifest)
    crash_point("batch.published")
    tidy(views, realtime)
    return manifest


def tidy(views: BatchViews, realtime: RealtimeViews | None) -> None:
    """Remove generations beyond the retained ones, and realtime rows before every retained horizon of their source."""
    views.sweep()
    if realtime is not None:
        before: dict[str, datetime] = {}
        for manifest in views.retained():
            before[manifest.source] = min(manifest.horizon, before.get(manifest.source, manifest.horizon))
        realtime.retire(before)


class _Run:
    """The steps of one run, in order."""

    def __init__(
        self,
        generation: Generation,
        coverage: Coverage,
        views: BatchViews,
        engine: BatchEngine,
        rule: RankRule,
        ranking_rows: int,
        progress: Progress,
    ) -> None:
        self._generation = generation
        self._coverage = coverage
        self._views = views
        self._engine = engine
        self._rule = rule
        self._progress = progress
        self._steps_done = 0
        self._step_began = time.monotonic()
        self._values: dict[str, Any] = {
            "source": coverage.active.source,
            "horizon": coverage.horizon,
            "ranking_rows": ranking_rows,
        }
        self._rows: dict[str, int] = {}
        self._ranks: dict[str, Rank] = {}
        self._linked_articles = 0

    def write(self) -> None:
        """Compute everything and write it under the generation's id."""
        make_tables(self._engine, self._coverage.uris, self._values, self._step)
        edges = count_edges(self._engine)
        graph, ids = self._graph(edges)
        entries = entries_by_title(self._engine)
        self._step("graph")
        with ThreadPoolExecutor(1) as beside:
            # The kernels leave the interpreter lock, so they run while the engine sorts and writes.
            ranked = beside.submit(self._rank, edges, graph, ids, entries)
            found = beside.submit(communities, graph)
            for view in TRAFFIC_VIEWS:
                self._store(view)
                crash_point("batch.half_written")
            self._ranks, ranked_ids = ranked.result()
            members = community_columns(found.result(), ids)
        self._step("ranks")
        self._engine.put("ranks", rank_columns(self._ranks, ranked_ids))
        self._engine.define("articles", sql("articles"), self._values)
        self._engine.put("communities", members)
        for view in (*ARTICLE_VIEWS, COMMUNITIES_VIEW):
            self._store(view)
        self._views.write_graph(self._generation, graph)
        self._rows[View.GRAPH.value] = graph.edges
        self._linked_articles = len(ranked_ids)
        self._step("graph files")

    def _graph(self, edges: int) -> tuple[LinkGraph, Ids]:
        """The link graph and the title id of each node; empty where the engine ranks what no machine could hold."""
        if edges > GRAPH_EDGES and self._rule.distributed(self._engine, edges):
            log.warning(
                "the link graph has %d edges, more than the %d that are brought to one machine: this generation has "
                "ranks, but neither its graph nor communities",
                edges,
                GRAPH_EDGES,
            )
            return NO_LINKS, np.zeros(0, dtype=np.int32)
        return link_graph(self._engine.titles(), self._engine.batches(sql("edges"), {}))

    def _rank(
        self, edges: int, graph: LinkGraph, ids: Ids, entries: npt.NDArray[np.float64]
    ) -> tuple[dict[str, Rank], Ids]:
        if self._rule.distributed(self._engine, edges):
            return distributed_ranks(self._engine, entries, self._rule)
        return compute_ranks(graph, entries[ids], self._rule), ids

    def manifest(self, started: datetime, finished: datetime) -> Manifest:
        """Say what was written."""
        coverage = self._coverage
        totals: dict[int, dict[str, int]] = {partition: {} for partition in coverage.offsets}
        for row in self._read(sql("totals")).to_pylist():
            totals[row["partition"]][row["link_type"]] = row["clicks"]
        return Manifest(
            generation=self._generation.id,
            wiki=self._generation.wiki,
            month=self._generation.month,
            source=coverage.active.source,
            since=coverage.active.since,
            horizon=coverage.horizon,
            offsets=coverage.offsets,
            totals=totals,
            classes={row["class"]: row["clicks"] for row in self._read(sql("classes")).to_pylist()},
            closed=coverage.closed,
            rows=self._rows,
            articles=self._rows[View.ARTICLES.value],
            linked_articles=self._linked_articles,
            pairs=self._rows[View.SOURCES.value],
            ranks={name: rank.facts for name, rank in self._ranks.items()},
            engine=self._engine.name,
            version=version("readerflow"),
            started=started,
            finished=finished,
        )

    def _store(self, stored: StoredView) -> None:
        writer = self._views.writer(self._generation, stored.view)
        self._rows[stored.view.value] = self._engine.store(stored, self._values, writer)
        self._step(stored.view.value)

    def _read(self, query: str) -> pa.Table:
        return pa.Table.from_batches(self._engine.batches(query, self._values))

    def _step(self, name: str) -> None:
        ended = time.monotonic()
        log.debug("%s took %.2f s", name, ended - self._step_began)
        self._step_began = ended
        self._steps_done += 1
        self._progress(self._steps_done, STEPS, name)


def make_tables(
    engine: BatchEngine, uris: Sequence[str], values: Mapping[str, Any], done: Callable[[str], None]
) -> None:
    """Compute what all views are made of; ``done`` is told each table's name.

    :param values: ``source`` and ``horizon``.
    """
    if uris:
        engine.open("archived", uris)
    else:
        engine.put("archived", ARCHIVED.empty_table())
    engine.put("classes_of", pa.table({"referrer": list(CLASS_OF), "class": list(CLASS_OF.values())}))
    engine.put("class_rows", pa.table({"position": range(len(CLASS_ROWS)), "class": CLASS_ROWS}))
    engine.number(TITLES, sql(TITLES), values)
    done(TITLES)
    for name in TABLES:
        engine.define(name, sql(name), values)
        done(name)


def count_edges(engine: BatchEngine) -> int:
    """How many edges the link graph has."""
    rows = pa.Table.from_batches(engine.batches("select count(*) as edges from pairs where kind = 'link'", {}))
    return int(rows["edges"][0].as_py())


def entries_by_title(engine: BatchEngine) -> npt.NDArray[np.float64]:
    """Clicks of readers who came into Wikipedia by each title."""
    query = "select article, in_clicks - in_link_clicks - in_other_clicks as entries from incoming"
    rows = pa.Table.from_batches(engine.batches(query, {}))
    entries = np.zeros(len(engine.titles()))
    entries[rows["article"].to_numpy()] = rows["entries"].to_numpy()
    return entries


def compute_ranks(graph: LinkGraph, entries: npt.NDArray[np.float64], rule: RankRule) -> dict[str, Rank]:
    """Compute the three ranks of a link graph.

    :param entries: shape (n,): clicks of readers who came in by each node.
    """
    by_clicks = LinkMatrix.of_clicks(graph)
    return _three_ranks(by_clicks, by_clicks.unweighted(graph), entries, rule)


def distributed_ranks(
    engine: DistributedEngine, entries: npt.NDArray[np.float64], rule: RankRule
) -> tuple[dict[str, Rank], Ids]:
    """Compute the three ranks of links that stay where the engine has them.

    :param entries: clicks of readers who came in by each title.
    :returns: the ranks and the title id of each node.
    """
    with engine.links(sql("edges")) as links:
        return _three_ranks(links.by_clicks, links.unweighted, entries[links.ids], rule), links.ids


def _three_ranks(
    by_clicks: LinkMatrix, unweighted: LinkMatrix, entries: npt.NDArray[np.float64], rule: RankRule
) -> dict[str, Rank]:
    tasks = {
        "pagerank": (by_clicks, None),
        "reader_rank": (by_clicks, entries),
        "link_rank": (unweighted, None),
    }
    with ThreadPoolExecutor(len(tasks)) as pool:
        ranks = {
            name: pool.submit(
                pagerank,
                matrix,
                teleport=teleport,
                damping=rule.damping,
                tolerance=rule.tolerance,
                iterations=rule.iterations,
            )
            for name, (matrix, teleport) in tasks.items()
        }
        return {name: rank.result() for name, rank in ranks.items()}


def rank_columns(ranks: dict[str, Rank], ids: Ids) -> pa.Table:
    """Ranks and positions by article (title id)."""
    columns: dict[str, pa.Array] = {"article": pa.array(ids)}
    for name, rank in ranks.items():
        columns[name] = pa.array(rank.values)
        columns[f"{name}_position"] = pa.array(rank.positions())
    return pa.table(columns)
