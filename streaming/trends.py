"""Trends: articles whose clicks in the last 1, 6 or 24 hours are many more than one would expect.

A window ends at ``live_until`` of its source, the hour that the stream has passed in every partition, and begins where
realtime rows begin if they do not reach back far enough. With the daily profile w (common/dayshape.py),

    r        = w(hours of the window) / w(hours before it that are counted)
    expected = clicks into the article in these hours before * r
    score    = (clicks - expected) / sqrt((expected + SPREAD^2 * expected^2) * (1 + r) + FLOOR)

The hours before are those of the batch view (the window's own hours taken out) and up to BEFORE_HOURS of live hours
between both. The root is the deviation of a count whose rate itself spreads by SPREAD from hour to hour, which real
days do beyond the chance of small counts; 1 + r is for the expectation being estimated from counts as well; FLOOR
keeps articles that had next to no clicks before from scoring high by a handful of them. Fewer than ``min_clicks``
clicks in the window are no trend at any score.

    spark-submit streaming/trends.py BOOTSTRAP_SERVERS [--once] [--fresh]

runs the whole stream as a Spark job (spark_stream.py) until it gets SIGTERM or SIGINT; where HDFS and Cassandra are
say the settings. Where the package is not installed, add ``--py-files readerflow.zip`` (common/spark_session.py
makes it).
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.dayshape import weight_between
from readerflow.common.months import HOUR, Month, floor_hour
from readerflow.common.records import TIME, empty
from readerflow.storage.batch_views import BatchViews, Interval, Manifest, NoGeneration
from readerflow.storage.freshness import passed
from readerflow.storage.realtime_views import (
    LIVE_ARTICLES,
    LIVE_CLASSES,
    LIVE_PAIRS,
    LIVE_TOTALS,
    TRENDING,
    MicroBatch,
    PartedRealtimeViews,
    RealtimeViews,
    StreamProgress,
)
from readerflow.streaming.views import sql

WINDOWS = (1, 6, 24)  # hours
#: How much an article's readers spread from hour to hour, as a share, beyond the chance of small counts.
SPREAD = 0.2
#: Variance that even an article without any readers has.
FLOOR = 4.0
#: Live hours before a window that are counted at most: more would cost time and tell little more.
BEFORE_HOURS = 72
KEPT = 100
ATTEMPTS = 3
FORMULA = (
    f"score = (clicks - expected) / sqrt((expected + {SPREAD:g}² · expected²) · (1 + r) + {FLOOR:g}), where expected ="
    " clicks in the hours before · r, and r = weight of the window's hours / weight of the hours before, by the stated"
    " daily profile"
)

_PIECES = pa.schema([("article", pa.string()), ("begins", TIME), ("ends", TIME), ("clicks", pa.int64())])
_WINDOWS = pa.schema(
    [
        ("hours", pa.int32()),
        ("begins", TIME),
        ("horizon", TIME),
        ("live_from", TIME),
        ("window_weight", pa.float64()),
        ("before_weight", pa.float64()),
    ]
)
BATCH_CLICKS = pa.schema([("article", pa.string()), ("in_clicks", pa.int64())])


@dataclass(frozen=True)
class TrendRule:
    """What counts as a trend worth keeping."""

    min_clicks: int = 20
    kept: int = KEPT  # articles of a window


@dataclass(frozen=True)
class TrendWindow:
    """A window [begins, end) and the weights of its hours and of the hours before it that are counted."""

    hours: int
    begins: datetime
    window_weight: int
    before_weight: int


@dataclass(frozen=True)
class TrendScope:
    """Which hours the windows of a source compare."""

    windows: list[TrendWindow]
    end: datetime
    horizon: datetime  # the batch view holds the hours before
    live_from: datetime  # live hours from here count as hours before a window

    def pieces(self) -> list[Interval]:
        """Intervals of live hours, none of which crosses the border of a window, the horizon or ``live_from``."""
        borders = {self.end, self.horizon, self.live_from, *(window.begins for window in self.windows)}
        first = min([self.live_from, *(window.begins for window in self.windows)])
        return list(pairwise(sorted(border for border in borders if first <= border <= self.end)))


def scope(
    month: Month, end: datetime, rows_from: datetime, closed: Sequence[Interval], manifest: Manifest | None
) -> TrendScope:
    """Choose the hours to compare; windows without any hour, or without any before them, are left out.

    :param end: the hour that the stream has passed in every partition.
    :param closed: slots that heartbeats have closed.
    :param manifest: the current generation, if it is of the same source.
    """
    horizon = manifest.horizon if manifest else month.start
    batch_closed = next(iter(manifest.closed.values()), []) if manifest else []
    seen_from = max(rows_from, min((start for start, _ in closed), default=end))
    begins = {hours: max(end - hours * HOUR, seen_from, month.start) for hours in WINDOWS}
    live_from = max(horizon, seen_from, min(begins.values()) - timedelta(hours=BEFORE_HOURS))
    windows = []
    for hours, begin in begins.items():
        before = _weight(month, batch_closed, month.start, min(horizon, begin))
        before += _weight(month, closed, live_from, begin)
        within = _weight(month, closed, begin, end)
        if within > 0 and before > 0 and horizon <= end:
            windows.append(TrendWindow(hours, begin, within, before))
    return TrendScope(windows, end, horizon, live_from)


def _weight(month: Month, slots: Sequence[Interval], start: datetime, end: datetime) -> int:
    """The weight of the hours of [start, end) that lie in slots."""
    return sum(
        weight_between(month, max(first, start), min(last, end))
        for first, last in slots
        if max(first, start) < min(last, end)
    )


class Trends:
    """Scores the articles of the sources that the stream has brought further."""

    def __init__(self, realtime: RealtimeViews, batch_views: BatchViews, rule: TrendRule) -> None:
        self._realtime = realtime
        self._batch_views = batch_views
        self._rule = rule

    def newest(self, incarnation: str, progress: StreamProgress) -> MicroBatch | None:
        """A micro-batch with nothing but new trends; None when no active source has passed another hour."""
        trended = dict(progress.trended)
        tables = [empty(TRENDING)]
        for active in progress.active.values():
            reached = passed(progress, active.source)
            if reached is None or active.source not in progress.months:
                continue
            end = floor_hour(reached)
            if trended.get(active.source) != end:
                trended[active.source] = end
                tables.append(self._of(incarnation, progress, active.source, end))
        if trended == progress.trended:
            return None
        return MicroBatch(
            progress=replace(progress, batch_id=progress.batch_id + 1, trended=trended),
            pairs=empty(LIVE_PAIRS),
            articles=empty(LIVE_ARTICLES),
            classes=empty(LIVE_CLASSES),
            totals=empty(LIVE_TOTALS),
            trending=pa.concat_tables(tables),
        )

    def _of(self, incarnation: str, progress: StreamProgress, source: str, end: datetime) -> pa.Table:
        """The trends of a source at ``end``."""
        wiki, month = progress.months[source]
        closed = next((slots[source] for slots in progress.closed.values() if source in slots), [])
        rows_from = progress.rows_from.get(source, end)
        for attempt in range(1, ATTEMPTS + 1):
            manifest = self._batch_views.current(wiki, month)
            if manifest is not None and manifest.source != source:
                manifest = None
            hours = scope(Month.parse(month), end, rows_from, closed, manifest)
            try:
                return self._score(incarnation, source, hours, manifest)
            except NoGeneration:
                # A batch run has moved the pointer and swept the generation that we had looked up.
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _score(self, incarnation: str, source: str, hours: TrendScope, manifest: Manifest | None) -> pa.Table:
        if not hours.windows:
            return empty(TRENDING)
        pieces = pa.concat_tables(
            [empty(_PIECES), *(self._piece(incarnation, source, start, end) for start, end in hours.pieces())]
        )

        def in_clicks(articles: pa.Array) -> pa.Table:
            if manifest is None or len(articles) == 0:
                return empty(BATCH_CLICKS)
            return self._batch_views.article_in_clicks(manifest.generation, articles)

        return score(source, hours, pieces, in_clicks, self._rule)

    def _piece(self, incarnation: str, source: str, start: datetime, end: datetime) -> pa.Table:
        found = self._realtime.article_clicks(source, start, end, incarnation)
        found = found.filter(pc.greater(found["in_clicks"], 0))
        times = [pa.repeat(pa.scalar(time, TIME), found.num_rows) for time in (start, end)]
        return pa.table([found["article"], *times, found["in_clicks"]], schema=_PIECES)


def score(
    source: str, hours: TrendScope, pieces: pa.Table, in_clicks: Callable[[pa.Array], pa.Table], rule: TrendRule
) -> pa.Table:
    """Score the articles of each window: TRENDING rows.

    :param pieces: clicks into articles by the intervals of ``hours.pieces()``.
    :param in_clicks: gives the batch view's clicks into given articles: BATCH_CLICKS.
    """
    windows = [
        (window.hours, window.begins, hours.horizon, hours.live_from, window.window_weight, window.before_weight)
        for window in hours.windows
    ]
    columns = [pa.array(c, f.type) for c, f in zip(zip(*windows, strict=True), _WINDOWS, strict=True)]
    rules = {"min_clicks": rule.min_clicks, "kept": rule.kept, "spread": SPREAD, "floor_variance": FLOOR}
    with duckdb.connect() as connection:
        connection.register("pieces", pieces)
        connection.register("windows", pa.table(columns, schema=_WINDOWS))
        connection.register("rule", pa.Table.from_pylist([rules]))
        counted = connection.sql(sql("window_clicks")).to_arrow_table()
        connection.register("window_clicks", counted)
        connection.register("batch_clicks", in_clicks(counted["article"].unique()))
        scored = connection.sql(sql("trending")).to_arrow_table()
    begins = {window.hours: window.begins for window in hours.windows}
    named = {
        "source": pa.repeat(source, scored.num_rows),
        "window": scored["hours"],
        **{name: scored[name] for name in ("position", "article", "clicks", "expected", "score")},
        "start": pa.array([begins[hours_] for hours_ in scored["hours"].to_pylist()], TIME),
        "end": pa.repeat(pa.scalar(hours.end, TIME), scored.num_rows),
    }
    return pa.table([named[name] for name in TRENDING.names], names=TRENDING.names).cast(TRENDING)


def main(given: Sequence[str] | None = None) -> int:
    """Run the stream as a Spark job, with the settings of the environment."""
    from readerflow.common.errors import ReaderFlowError
    from readerflow.common.logs import configure_logging
    from readerflow.common.settings import load
    from readerflow.storage import open_storage
    from readerflow.streaming.spark_stream import spark_stream
    from readerflow.streaming.trends import TrendRule

    parser = argparse.ArgumentParser(prog="trends.py", description="Keep realtime views and trends up with a topic.")
    parser.add_argument("bootstrap_servers", metavar="BOOTSTRAP_SERVERS", help="Kafka brokers: HOST:PORT,...")
    parser.add_argument("--once", action="store_true", help="end where the topic ends now, instead of following it")
    parser.add_argument("--fresh", action="store_true", help="forget the checkpoint and begin a new incarnation")
    options = parser.parse_args(given)
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    try:
        settings = load(profile="cluster", kafka_bootstrap=options.bootstrap_servers)
        configure_logging(settings.log_format)
        with open_storage(settings) as storage:
            result = spark_stream(
                settings,
                storage.log,
                storage.archive,
                storage.batch_views,
                cast(PartedRealtimeViews, storage.realtime_views),
                follow=not options.once,
                fresh=options.fresh,
                trend_rule=TrendRule(settings.trend_min_clicks),
                lease_path=storage.lease_path("stream"),
                stop=stop,
            )
    except ReaderFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{result.records:,} records in {result.batches} micro-batches, {result.rejects:,} rejects", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
