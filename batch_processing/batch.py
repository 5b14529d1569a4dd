"""One batch run: master dataset -> one generation of the batch views of a (wiki, month), published whole or not at all.

A generation covers every archived record of the active source with event_time < horizon. It rests on the files that
are listed when the run begins, and never waits for more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from readerflow.common.crash import crash_point
from readerflow.common.months import Month, now
from readerflow.common.progress import Progress, silent
from readerflow.common.records import CLASS_OF, CLASS_ROWS
from readerflow.storage.archive import ARCHIVED, Archive
from readerflow.storage.batch_views import BatchViews, Generation, LinkGraph, Manifest, View
from readerflow.storage.realtime_views import RealtimeViews

from .coverage import Coverage, cover
from .engine import BatchEngine, StoredView
from .graph import Ids, link_graph
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
STEPS = len(TABLES) + len(TRAFFIC_VIEWS) + len(ARTICLE_VIEWS) + 4


@dataclass(frozen=True)
class RankRule:
    """How ranks are computed; ``iterations`` None means until they have converged."""

    damping: float = 0.85
    tolerance: float = 1e-10
    iterations: int | None = None


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
        self._prepare()
        graph, ids = link_graph(self._engine.titles(), self._engine.batches(sql("edges"), {}))
        entries = self._entries()[ids]
        self._step("graph")
        with ThreadPoolExecutor(1) as beside:
            # The kernel of the ranks leaves the interpreter lock, so it runs while the engine sorts and writes.
            ranks = beside.submit(compute_ranks, graph, entries, self._rule)
            for view in TRAFFIC_VIEWS:
                self._store(view)
                crash_point("batch.half_written")
            self._ranks = ranks.result()
        self._step("ranks")
        self._engine.put("ranks", rank_columns(self._ranks, ids))
        self._engine.define("articles", sql("articles"), self._values)
        for view in ARTICLE_VIEWS:
            self._store(view)
        self._views.write_graph(self._generation, graph)
        self._rows[View.GRAPH.value] = graph.edges
        self._linked_articles = graph.nodes
        self._step("graph files")

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

    def _prepare(self) -> None:
        if self._coverage.uris:
            self._engine.open("archived", self._coverage.uris)
        else:
            self._engine.put("archived", ARCHIVED.empty_table())
        self._engine.put("classes_of", pa.table({"referrer": list(CLASS_OF), "class": list(CLASS_OF.values())}))
        self._engine.put("class_rows", pa.table({"position": range(len(CLASS_ROWS)), "class": CLASS_ROWS}))
        self._engine.number(TITLES, sql(TITLES), self._values)
        self._step(TITLES)
        for name in TABLES:
            self._engine.define(name, sql(name), self._values)
            self._step(name)

    def _entries(self) -> npt.NDArray[np.float64]:
        """Clicks of readers who came into Wikipedia by each title."""
        rows = self._read("select article, in_clicks - in_link_clicks - in_other_clicks as entries from incoming")
        entries = np.zeros(len(self._engine.titles()))
        entries[rows["article"].to_numpy()] = rows["entries"].to_numpy()
        return entries

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


def compute_ranks(graph: LinkGraph, entries: npt.NDArray[np.float64], rule: RankRule) -> dict[str, Rank]:
    """Compute the three ranks of a link graph.

    :param entries: shape (n,): clicks of readers who came in by each node.
    """
    by_clicks = LinkMatrix.of_clicks(graph)
    tasks = {
        "pagerank": (by_clicks, None),
        "reader_rank": (by_clicks, entries),
        "link_rank": (by_clicks.unweighted(graph), None),
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
