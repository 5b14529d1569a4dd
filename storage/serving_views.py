"""The serving port: what the web layer reads of batch and realtime views, from one snapshot a request."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import pyarrow as pa

from readerflow.common.errors import ReaderFlowError
from readerflow.common.records import CLASS_ROWS, TIME

from .batch_views import Interval, Manifest, View
from .changes import Changes
from .click_graph import ClickGraph
from .realtime_views import StreamProgress

#: What a reading's tables hold.
NEIGHBOURS = pa.schema([("title", pa.string()), ("link_type", pa.string()), ("clicks", pa.int64())])
RANKING = pa.schema([("position", pa.int64()), ("article", pa.string()), ("value", pa.float64())])
#: ``position`` is that among all articles of the generation by clicks in.
HITS = pa.schema([("position", pa.int64()), ("article", pa.string()), ("in_clicks", pa.int64())])
HOURLY = pa.schema([("hour", TIME), ("clicks", pa.int64())])
LIVE_CLICKS = pa.schema([("class", pa.string()), ("clicks", pa.int64())])
#: The live clicks of an article: in, out, and in by class.
LIVE_ARTICLE = ("in_clicks", "out_clicks", *CLASS_ROWS)


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


class Side(StrEnum):
    """Which neighbours of an article."""

    SOURCES = "sources"
    DESTINATIONS = "destinations"


@dataclass(frozen=True)
class PageKey:
    """The sort key of the last row of a page: clicks descending, then title bytes, then link type."""

    clicks: int
    title: str
    link_type: str


class QueryTooLong(ReaderFlowError):
    """A question took longer than a visitor may make the site work; a smaller one (a lower limit) may pass."""


class ChangesPending(ReaderFlowError):
    """What changed between two generations is being worked out; whoever asks again later gets it."""


class Reading(Protocol):
    """One request's view of the stores: everything it gives belongs to one generation and one realtime batch.

    Every verb raises :class:`QueryTooLong` when it would take longer than the adapter allows.
    """

    @property
    def snapshot(self) -> Snapshot: ...

    def article(self, title: str) -> tuple[dict[str, Any] | None, dict[str, int]]:
        """The batch row of an article, None without one; its live clicks (hours >= horizon) by LIVE_ARTICLE."""

    def community(self, title: str) -> dict[str, Any] | None:
        """The row of an article in the view ``communities``; None outside the link graph."""

    def neighbours(self, side: Side, title: str, after: PageKey | None, limit: int) -> tuple[pa.Table, pa.Table]:
        """Parts of a page of neighbours: (batch, live), both with columns title, link_type, clicks.

        live holds every neighbour with rows in hours >= horizon. batch holds those neighbours too, and of the others
        the first ``limit`` after ``after``: enough to merge the page.
        """

    def neighbour_counts(self, side: Side, title: str) -> int:
        """How many (neighbour, link type) there are in batch and live together."""

    def between(self, referrer: str, article: str) -> tuple[pa.Table, pa.Table]:
        """Clicks from one article to another: (batch, live), both NEIGHBOURS, in which ``title`` is the second one."""

    def ranking(self, ranking: str, after: int, limit: int) -> pa.Table:
        """Rows of a ranking with position > after: position, article, value."""

    def ranking_total(self, ranking: str) -> int:
        """How many rows the ranking holds."""

    def classes(self) -> tuple[pa.Table, pa.Table]:
        """Clicks by class: (batch: class, clicks, pairs; live, hours >= horizon: class, clicks)."""

    def hourly(self, title: str, hours: int) -> pa.Table:
        """Clicks in of an article in each of the last live hours that have any: hour, clicks."""

    def suggest(self, query: str, limit: int) -> pa.Table:
        """The first hits of :meth:`search`: HITS. Faster, since nobody counts them."""

    def search(self, query: str, after: int, limit: int) -> tuple[pa.Table, int]:
        """Articles in whose titles each word of the query begins another word, by clicks in; batch only.

        Words are folded: see :mod:`.title_words`. A query without words has no hits.

        :param after: the position of the last hit of the page before; 0 for the first page.
        :returns: HITS of a page, and how many hits there are in all.
        """

    def graph(self) -> ClickGraph | None:
        """The generation's link graph, to be used after the reading, too; None before the first generation.

        It has no nodes where the batch layer kept none (a month with too many links).
        """

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

    def read_at(self, wiki: str, month: str, generation: str | None) -> AbstractContextManager[Reading]:
        """Read as :meth:`read`, but of a generation that a page before rested on (None: of a time without one).

        :raises NoGeneration: when it is no longer kept.
        """

    def open_ahead(self, wiki: str, month: str) -> None:
        """Have a month at hand before visitors ask for it; what takes long goes on beside.

        :raises NoGeneration: when nothing is known of (wiki, month).
        """

    def snapshots(self) -> list[Snapshot]:
        """What :meth:`read` would rest on, for each of :meth:`months` that it takes; opens no views, so it is cheap."""

    def version(self) -> str:
        """A short text that changes whenever an answer may: pointers, incarnation, realtime batch, which
        realtime rows were retired. Cheap to poll.

        It waits in no line of those who read.
        """

    def stream(self) -> StreamProgress | None:
        """Progress of the incarnation that readers take."""

    def retained(self, wiki: str, month: str) -> list[Manifest]:
        """Manifests that are kept, newest first."""

    def export(self, generation: str, view: View) -> Iterable[pa.RecordBatch]:
        """As BatchViews.export."""

    def movers(self, now: Manifest, before: Manifest) -> Changes:
        """Which articles rose and fell most from one generation to another: lists of :mod:`.changes`.

        It is worked out when it is first asked for, and kept.

        :raises ChangesPending: while it is being worked out.
        :raises NoGeneration: when one of them is no longer kept, and nobody has asked before.
        :raises QueryTooLong: when working it out took too long, or too many others are being worked out.
        """

    def pair_changes(self, now: Manifest, before: Manifest) -> Changes:
        """Which pairs of referrer and article only one of two generations has; otherwise as :meth:`movers`."""
