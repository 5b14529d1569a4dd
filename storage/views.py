"""The view ports: batch views by generation, realtime views by incarnation, and what the serving layer reads of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from readerflow.common.errors import ReaderFlowError
from readerflow.common.records import TIME

from .log import ActiveSource

Interval = tuple[datetime, datetime]  # half open

RANKINGS = (
    "in", "out", "entries", "pagerank", "reader_rank", "link_rank",
    "search", "empty", "internal", "external", "other",
)  # fmt: skip


class View(str, Enum):
    """The batch views, by name."""

    ARTICLES = "articles"
    SOURCES = "sources"
    DESTINATIONS = "destinations"
    RANKINGS = "rankings"
    CLASSES = "classes"
    GRAPH = "graph"


#: Columns of each batch view, in exported order. Rows are sorted by the key: article; article, position; referrer,
#: position; ranking, position; class (CLASS_ROWS order); referrer, article (bytes).
BATCH_SCHEMAS: dict[View, pa.Schema] = {
    View.ARTICLES: pa.schema(
        [
            pa.field("article", pa.string()),
            *(
                pa.field(name, pa.int64())
                for name in (
                    "in_clicks", "out_clicks", "in_pairs", "out_pairs",
                    "entries_search", "entries_empty", "entries_internal", "entries_external", "entries_other",
                    "in_link_clicks", "in_other_clicks",
                )
            ),
            *(pa.field(name, pa.float64()) for name in ("pagerank", "reader_rank", "link_rank")),
            *(
                pa.field(name, pa.int64())
                for name in ("pagerank_position", "reader_rank_position", "link_rank_position")
            ),
        ]
    ),
    View.SOURCES: pa.schema(
        [
            ("article", pa.string()),
            ("position", pa.int64()),
            ("referrer", pa.string()),
            ("link_type", pa.string()),
            ("clicks", pa.int64()),
        ]
    ),
    View.DESTINATIONS: pa.schema(
        [
            ("referrer", pa.string()),
            ("position", pa.int64()),
            ("article", pa.string()),
            ("link_type", pa.string()),
            ("clicks", pa.int64()),
        ]
    ),
    View.RANKINGS: pa.schema(
        [
            ("ranking", pa.string()),
            ("position", pa.int64()),
            ("article", pa.string()),
            ("value", pa.float64()),
        ]
    ),
    View.CLASSES: pa.schema([("class", pa.string()), ("clicks", pa.int64()), ("pairs", pa.int64())]),
    View.GRAPH: pa.schema([("referrer", pa.string()), ("article", pa.string()), ("clicks", pa.int64())]),
}  # fmt: skip


class Superseded(ReaderFlowError):
    """Somebody else's compare-and-set came first (a newer generation, incarnation or source); this work is dropped."""


class NoGeneration(ReaderFlowError):
    """There is no generation to read, publish over or roll back to."""


@dataclass(frozen=True)
class RankFacts:
    """How a rank was computed."""

    iterations: int
    residual: float  # L1 distance of the last two vectors
    converged: bool  # False only when --iterations asked for a number
    uniform_teleport: bool  # reader_rank: True when no article of the graph has entries


@dataclass(frozen=True)
class Manifest:
    """What a generation covers and how it was made. Stored as JSON beside the pointer."""

    generation: str
    wiki: str
    month: str
    source: str
    since: int  # ActiveSource.since of the source
    horizon: datetime
    offsets: dict[int, int]  # partition -> first offset not covered
    totals: dict[int, dict[str, int]]  # partition -> link type -> clicks with event_time < horizon
    classes: dict[str, int]  # CLASS_ROWS -> clicks
    closed: dict[int, list[Interval]]  # partition -> slots that heartbeats have closed
    rows: dict[str, int]  # view -> rows
    articles: int
    linked_articles: int  # nodes of the link graph
    pairs: int
    ranks: dict[str, RankFacts]
    engine: str
    version: str
    started: datetime
    finished: datetime


@dataclass(frozen=True)
class Generation:
    """A generation that is being written. ``expected`` is what the compare-and-set of publish looks for."""

    id: str
    wiki: str
    month: str
    expected_generation: str | None
    expected_source: ActiveSource | None


class ViewWriter(Protocol):
    """Writes one view of one generation; picklable, so that an engine can run it where the rows are."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> int:
        """Write batches that are sorted by the view's key; return the number of rows.

        Nothing is visible to readers; a second call for the same view replaces the first.
        """


@dataclass(frozen=True)
class LinkGraph:
    """Rows of type ``link`` as compressed sparse rows; node i is titles[i], titles in byte order.

    ``offsets`` int64 (n + 1,), ``targets`` int32 (m,), ``clicks`` int64 (m,); the row of node i is
    targets[offsets[i]:offsets[i + 1]], ascending.
    """

    titles: pa.Array  # (large_)string, (n,)
    offsets: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int32]
    clicks: npt.NDArray[np.int64]

    @property
    def nodes(self) -> int:
        return len(self.titles)

    @property
    def edges(self) -> int:
        return len(self.targets)


class BatchViews(Protocol):
    """Generations: written whole under their own id, published by moving one pointer."""

    def begin(self, wiki: str, month: str) -> Generation:
        """Reserve an id and take a lease for this run; nothing is visible yet."""

    def writer(self, generation: Generation, view: View) -> ViewWriter:
        """The writer of a view (all but GRAPH)."""

    def write_graph(self, generation: Generation, graph: LinkGraph) -> None:
        """Store the link graph of the generation."""

    def publish(self, generation: Generation, manifest: Manifest) -> None:
        """Move the pointer by compare-and-set on what :meth:`begin` saw.

        :raises Superseded: when pointer or active source changed meanwhile; the generation is discarded.
        """

    def discard(self, generation: Generation) -> None:
        """Drop an unpublished generation and its lease."""

    def roll_back(self, wiki: str, month: str) -> Manifest:
        """Point to the retained generation before the current one and return its manifest.

        :raises NoGeneration: when there is none.
        """

    def current(self, wiki: str, month: str) -> Manifest | None:
        """The manifest that the pointer names."""

    def retained(self, wiki: str | None = None, month: str | None = None) -> list[Manifest]:
        """Published generations that are still kept, oldest first."""

    def export(self, generation: str, view: View, rows: int = 65_536) -> Iterable[pa.RecordBatch]:
        """Stream a view in key order, with flat memory. The generation stays until the stream ends.

        :raises NoGeneration: when it is gone.
        """

    def sweep(self) -> list[str]:
        """Remove generations beyond the retained ones, and unpublished ones whose run is dead; return their ids."""


# Realtime views -------------------------------------------------------------------------------------------------------

#: Clicks by hour and pair: serves live_sources (by article) and live_destinations (by referrer).
LIVE_PAIRS = pa.schema(
    [
        ("source", pa.string()),
        ("hour", TIME),
        ("referrer", pa.string()),
        ("article", pa.string()),
        ("link_type", pa.string()),
        ("clicks", pa.int64()),
    ]
)
LIVE_ARTICLES = pa.schema(
    [
        ("source", pa.string()),
        ("hour", TIME),
        ("article", pa.string()),
        ("in_clicks", pa.int64()),
        ("out_clicks", pa.int64()),
    ]
)
#: ``class`` is one of CLASS_ROWS.
LIVE_CLASSES = pa.schema([("source", pa.string()), ("minute", TIME), ("class", pa.string()), ("clicks", pa.int64())])
#: Cumulative clicks, from which lateness is judged; seeded from the archive before the stream's first offset.
LIVE_TOTALS = pa.schema(
    [
        ("source", pa.string()),
        ("partition", pa.int32()),
        ("hour", TIME),
        ("link_type", pa.string()),
        ("clicks", pa.int64()),
    ]
)
#: The newest trends of a source: replaced as a whole. ``window`` in hours; clicks and expected count the hours
#: [start, end), which are fewer than the window where realtime rows do not reach back so far.
TRENDING = pa.schema(
    [
        ("source", pa.string()),
        ("window", pa.int32()),
        ("position", pa.int64()),
        ("article", pa.string()),
        ("clicks", pa.int64()),
        ("expected", pa.float64()),
        ("score", pa.float64()),
        ("start", TIME),
        ("end", TIME),
    ]
)


@dataclass(frozen=True)
class StreamProgress:
    """How far an incarnation of the stream has come; committed together with its rows."""

    batch_id: int = 0
    offsets: dict[int, int] = field(default_factory=dict)  # partition -> next offset
    last_seqs: dict[int, dict[str, int]] = field(default_factory=dict)  # partition -> source -> seq
    closed: dict[int, dict[str, list[Interval]]] = field(default_factory=dict)  # partition -> source -> slots
    months: dict[str, tuple[str, str]] = field(default_factory=dict)  # source -> (wiki, month)
    active: dict[str, ActiveSource] = field(default_factory=dict)  # "wiki/month" -> source
    rows_from: dict[str, datetime] = field(default_factory=dict)  # source -> first hour whose rows are all there
    records: int = 0
    rejects: int = 0
    duplicates: int = 0


@dataclass(frozen=True)
class MicroBatch:
    """What one step of the stream adds; tables in the LIVE_* schemas, ``progress`` as it is afterwards."""

    progress: StreamProgress
    pairs: pa.Table
    articles: pa.Table
    classes: pa.Table
    totals: pa.Table
    trending: pa.Table | None = None  # None keeps the ones there


class RealtimeViews(Protocol):
    """Rows of the hours that batch views do not cover, visible in whole micro-batches only."""

    def begin(self, incarnation: str, progress: StreamProgress, totals: pa.Table) -> None:
        """Start an incarnation at given offsets with seeded totals (LIVE_TOTALS)."""

    def current(self) -> str | None:
        """The incarnation that readers take."""

    def progress(self, incarnation: str) -> StreamProgress | None:
        """What is committed; None for an incarnation that never began or is gone."""

    def commit(self, incarnation: str, batch: MicroBatch) -> None:
        """Add a micro-batch: rows and progress, or nothing. One that is committed already changes nothing.

        :raises Superseded: when readers have taken a newer incarnation.
        """

    def adopt(self, incarnation: str, expected: str | None) -> None:
        """Make readers take an incarnation, by compare-and-set.

        :raises Superseded: when another one is current; later commits of the old one raise it too.
        """

    def retire(self, before: Mapping[str, datetime]) -> None:
        """Drop rows before an hour, by source, and all rows of sources and incarnations that are gone."""

    def article_clicks(self, source: str, start: datetime, end: datetime) -> pa.Table:
        """Clicks in and out of each article in [start, end): article, in_clicks, out_clicks; current incarnation."""


# Serving --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """What an answer rests on. Taken once a request; see docs/architecture for late, hole and complete."""

    wiki: str
    month: str
    source: str | None
    manifest: Manifest | None  # None before the first generation
    horizon: datetime  # the month's start before the first generation
    incarnation: str | None
    batch_id: int  # last committed realtime batch; 0 without
    live_until: datetime  # the hour that the stream has passed in every partition; horizon if not beyond
    late: int  # clicks before the horizon that the generation does not hold
    holes: list[Interval]  # parts of [month's start, live_until) that nobody saw
    replaced: bool  # the source was replaced and the new one has no generation yet

    @property
    def generation(self) -> str | None:
        return self.manifest.generation if self.manifest else None

    @property
    def complete(self) -> bool:
        return not (self.late or self.holes or self.replaced)


class Side(str, Enum):
    """Which neighbours of an article."""

    SOURCES = "sources"
    DESTINATIONS = "destinations"


@dataclass(frozen=True)
class PageKey:
    """The sort key of the last row of a page: clicks descending, then title bytes, then link type."""

    clicks: int
    title: str
    link_type: str


class Reading(Protocol):
    """One request's view of the stores: everything it gives belongs to one generation and one realtime batch."""

    @property
    def snapshot(self) -> Snapshot: ...

    def article(self, title: str) -> tuple[dict[str, Any] | None, pa.Table]:
        """The batch row of an article and its live entries by class: (None or a row, table).

        The live table has one row: in_clicks, out_clicks, and a column for each of CLASS_ROWS' clicks in, counting
        hours >= horizon.
        """

    def neighbours(self, side: Side, title: str, after: PageKey | None, limit: int) -> tuple[pa.Table, pa.Table]:
        """Parts of a page of neighbours: (batch, live), both with columns title, link_type, clicks.

        live holds every neighbour with rows in hours >= horizon. batch holds those neighbours too, and of the others
        the first ``limit`` after ``after``: enough to merge the page.
        """

    def neighbour_counts(self, side: Side, title: str) -> int:
        """How many (neighbour, link type) there are in batch and live together."""

    def ranking(self, ranking: str, after: int, limit: int) -> pa.Table:
        """Rows of a ranking with position > after: position, article, value."""

    def ranking_total(self, ranking: str) -> int:
        """How many rows the ranking holds."""

    def classes(self) -> tuple[pa.Table, pa.Table]:
        """Clicks by class: (batch: class, clicks, pairs; live, hours >= horizon: class, clicks)."""

    def hourly(self, title: str, hours: int) -> pa.Table:
        """Clicks in of an article in each of the last live hours that have any: hour, clicks."""

    def suggest(self, query: str, limit: int) -> pa.Table:
        """Articles whose folded title begins with the folded query, by clicks in: article, in_clicks."""

    def trending(self, window: int) -> pa.Table:
        """TRENDING rows of a window (hours) in order of position."""


class ServingViews(Protocol):
    """All that the web layer knows of storage."""

    def months(self) -> list[tuple[str, str]]:
        """(wiki, month) with a generation or realtime rows, sorted."""

    def latest(self, wiki: str) -> str | None:
        """The wiki's greatest month with a published generation."""

    def latest_live(self, wiki: str) -> str | None:
        """The wiki's greatest month with realtime rows."""

    def read(self, wiki: str, month: str) -> AbstractContextManager[Reading]:
        """Take a snapshot and read from it.

        :raises NoGeneration: when nothing is known of (wiki, month).
        """

    def version(self, wiki: str, month: str) -> str:
        """A short text that changes whenever an answer may: generation, incarnation, realtime batch. Cheap to poll."""

    def stream(self) -> StreamProgress | None:
        """Progress of the incarnation that readers take."""

    def retained(self, wiki: str, month: str) -> list[Manifest]:
        """Manifests that are kept, newest first."""

    def export(self, generation: str, view: View) -> Iterable[pa.RecordBatch]:
        """As BatchViews.export."""
