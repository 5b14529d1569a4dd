"""The realtime view port: rows of the hours that batch views do not cover, by incarnation of the stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from readerflow.common.records import TIME

from .batch_views import Interval
from .log import ActiveSource

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
ARTICLE_CLICKS = pa.schema([("article", pa.string()), ("in_clicks", pa.int64()), ("out_clicks", pa.int64())])
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
class BatchFigures:
    """How the newest micro-batch went, for operators."""

    entries: int  # log entries that it took
    seconds: float  # from its first step to its commit
    lag: dict[int, int]  # partition -> log entries that waited behind it when it was committed
    committed_at: datetime


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
    trended: dict[str, datetime] = field(default_factory=dict)  # source -> end of the newest trends
    records: int = 0
    rejects: int = 0
    duplicates: int = 0
    late: int = 0  # records that came after the heartbeat that closed their slot, in their partition
    figures: BatchFigures | None = None  # of engines that measure them


@dataclass(frozen=True)
class MicroBatch:
    """What one step of the stream adds; tables in the LIVE_* schemas, ``progress`` as it is afterwards."""

    progress: StreamProgress
    pairs: pa.Table
    articles: pa.Table
    classes: pa.Table
    totals: pa.Table
    trending: pa.Table | None = None  # replaces those of its sources and of ``progress.trended``; None keeps all


def kept_rows(before: StreamProgress, after: StreamProgress) -> StreamProgress:
    """``after``, remembering which rows were retired while it was worked out; ``before`` is what is committed now."""
    rows_from = dict(after.rows_from)
    for source, hour in before.rows_from.items():
        rows_from[source] = max(hour, rows_from.get(source, hour))
    return replace(after, rows_from=rows_from)


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

    def article_clicks(self, source: str, start: datetime, end: datetime, incarnation: str | None = None) -> pa.Table:
        """Clicks in and out of each article in [start, end): ARTICLE_CLICKS; of the current incarnation by default."""


class PartWriter(Protocol):
    """Writes one part of a micro-batch; picklable, so that an engine can run it where the rows are."""

    def __call__(self, part: int, batch: MicroBatch) -> None:
        """Write pairs, articles and classes of a part (0 and up, a Kafka partition for instance).

        Progress, totals and trends of ``batch`` are not looked at. Nothing is visible to readers before the
        micro-batch is committed; a part that is written again must hold the same rows, and replaces itself.
        """


class PartedRealtimeViews(RealtimeViews, Protocol):
    """Realtime views whose micro-batches may be written in parts, by several processes."""

    def part_writer(self, incarnation: str, batch_id: int) -> PartWriter:
        """Begin a micro-batch that is written in parts.

        When all parts are written, :meth:`RealtimeViews.commit` of the same object makes them visible with progress,
        totals and trends; its other tables are then empty. What a writer wrote that was not committed is never seen:
        after a failure take a new writer and write all parts again.

        :raises Superseded: as ``commit``.
        """

    def compact(self) -> int:
        """Fold rows of older micro-batches together, so that readers find fewer; return how many are gone.

        To be called now and then while micro-batches are committed; it never changes an answer.
        """
