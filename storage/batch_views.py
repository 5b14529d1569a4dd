"""The batch view port: generations of the batch views, written whole and published by moving one pointer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from readerflow.common.errors import ReaderFlowError

Interval = tuple[datetime, datetime]  # half open

RANKINGS = (
    "in", "out", "entries", "pagerank", "reader_rank", "link_rank", "under_linked", "over_linked",
    "search", "empty", "internal", "external", "other",
)  # fmt: skip


class View(StrEnum):
    """The batch views, by name."""

    ARTICLES = "articles"
    SOURCES = "sources"
    DESTINATIONS = "destinations"
    RANKINGS = "rankings"
    CLASSES = "classes"
    COMMUNITIES = "communities"
    GRAPH = "graph"


#: Columns of each batch view, in exported order. Rows are sorted by the key: article; article, position; referrer,
#: position; ranking, position; class (CLASS_ROWS order); article; referrer, article (bytes).
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
    View.COMMUNITIES: pa.schema([("article", pa.string()), ("community", pa.string()), ("size", pa.int64())]),
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
    """A generation that is being written. Publishing expects ``expected_generation`` at the pointer."""

    id: str
    wiki: str
    month: str
    expected_generation: str | None


class ViewWriter(Protocol):
    """Writes one view of one generation; picklable, so that an engine can run it where the rows are."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> int:
        """Write batches that are sorted by the view's key; return the number of rows.

        Nothing is visible to readers; a second call for the same view replaces the first. Titles may come as a
        dictionary that all batches share, in byte order: whoever wants text casts a batch to the view's schema.
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


def generation_gone(generation: str) -> NoGeneration:
    """What to raise for a generation that is no longer there."""
    return NoGeneration(f"generation {generation} is gone; take the current one")


def why_superseded(
    generation: Generation, manifest: Manifest, current: str | None, source: str | None, since: int
) -> str | None:
    """Why a generation may not be published over a pointer (current generation, source, since); None when it may."""
    if current != generation.expected_generation:
        return "another run moved the pointer meanwhile"
    if source not in (None, manifest.source) and since >= manifest.since:
        return f"its source was replaced by {source} meanwhile"
    return None


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

    def article_in_clicks(self, generation: str, articles: pa.Array) -> pa.Table:
        """Clicks in of those of the given articles that the generation knows: article, in_clicks.

        :raises NoGeneration: when it is gone.
        """

    def sweep(self) -> list[str]:
        """Remove generations beyond the retained ones, and unpublished ones whose run is dead; return their ids."""
