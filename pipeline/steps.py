"""The steps of a month: each runs one layer with the settings over the opened storage and returns its result."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from readerflow.batch_processing.batch import RankRule, run_batch
from readerflow.batch_processing.rebuild import rebuild as rebuild_views
from readerflow.common.months import Month
from readerflow.common.settings import Settings
from readerflow.common.titles import check_wiki
from readerflow.kafka.archiver import ArchiveResult
from readerflow.kafka.archiver import archive as archive_entries
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import ReplayResult
from readerflow.kafka.producer import replay as replay_plan
from readerflow.preprocessing.data_preprocess import identify
from readerflow.preprocessing.data_preprocess import preprocess as preprocess_dump
from readerflow.storage import Storage
from readerflow.storage.batch_views import Manifest
from readerflow.storage.lease import lease
from readerflow.storage.pairs import PairsFacts
from readerflow.streaming.incarnation import StreamResult
from readerflow.streaming.trends import TrendRule

from .console import stage
from .engines import batch_engine, run_stream


@contextmanager
def stopping(follow: bool) -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that a following step ends cleanly.

    Without ``follow`` they end the whole command: no further step of it may run, and its exit status is not 0.
    """
    stop = threading.Event()
    if not follow:
        yield stop
        return
    before = {name: signal.signal(name, lambda *_: stop.set()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def preprocess(settings: Settings, storage: Storage, dump: Path, wiki: str | None, month: str | None) -> PairsFacts:
    """Turn a dump into pairs; wiki and month come from its name where they are not given."""
    if wiki is None or month is None:
        named_wiki, named_month = identify(dump)
        wiki, month = wiki or named_wiki, month or str(named_month)
    with stage("preprocess", "lines") as progress:
        return preprocess_dump(
            dump,
            check_wiki(wiki),
            Month.parse(month),
            storage.pairs,
            min_clicks=settings.min_clicks,
            max_rejects=settings.max_rejects,
            progress=progress,
        )


def replay(storage: Storage, plan: ReplayPlan, **options: Any) -> ReplayResult:
    """Replay pairs into the log; ``options`` are those of ``kafka.producer.replay``."""
    name = f"{plan.wiki} {plan.month}"
    held = lease(storage.lease_path(f"replay-{plan.wiki}-{plan.month}"), f"the replay of {name}")
    with held, stage("replay", "clicks") as progress:
        return replay_plan(plan, storage.pairs, storage.log, replays=storage.replays, progress=progress, **options)


def archive(settings: Settings, storage: Storage, *, follow: bool = False) -> ArchiveResult:
    """Copy the log into the master dataset."""
    held = lease(storage.lease_path("archive"), "the archiving")
    with held, stopping(follow) as stop, stage("archive", "entries") as progress:
        return archive_entries(
            storage.log,
            storage.archive,
            storage.dead_letters,
            segment_rows=settings.segment_rows,
            segment_bytes=settings.segment_bytes,
            segment_seconds=settings.segment_seconds,
            follow=follow,
            poll_seconds=settings.poll_seconds,
            stop=stop,
            progress=progress,
        )


def batch(
    settings: Settings,
    storage: Storage,
    wiki: str,
    month: str,
    until: datetime | None = None,
    iterations: int | None = None,
) -> Manifest:
    """Compute and publish a generation, then drop what no reader needs any more."""
    with stage("batch", "steps") as progress, batch_engine(settings, storage) as engine:
        return run_batch(
            wiki,
            month,
            storage.archive,
            storage.batch_views,
            engine,
            partitions=storage.log.partitions,
            realtime=storage.realtime_views,
            until=until,
            not_before=rows_from(storage, wiki, month),
            rule=RankRule(settings.damping, settings.rank_tolerance, iterations, settings.rank_kernel_edges),
            ranking_rows=settings.ranking_rows,
            progress=progress,
        )


def rebuild(settings: Settings, storage: Storage) -> Iterator[tuple[str, str, Manifest | None]]:
    """Publish a generation of each month in the master dataset; None for one of which no hour has passed."""
    with stage("rebuild", "steps") as progress:
        yield from rebuild_views(
            storage.archive,
            storage.batch_views,
            lambda: batch_engine(settings, storage),
            partitions=storage.log.partitions,
            realtime=storage.realtime_views,
            rule=RankRule(settings.damping, settings.rank_tolerance, kernel_edges=settings.rank_kernel_edges),
            ranking_rows=settings.ranking_rows,
            progress=progress,
        )


def rows_from(storage: Storage, wiki: str, month: str) -> datetime | None:
    """The first hour that realtime rows of the month's source hold: a horizon before it would leave a hole."""
    progress = storage.serving_views.stream()
    active = storage.archive.active_source(wiki, month)
    return progress.rows_from.get(active.source) if progress and active else None


def stream(settings: Settings, storage: Storage, *, follow: bool = False, fresh: bool = False) -> StreamResult:
    """Bring the realtime views up to the log."""
    with stopping(follow) as stop, stage("stream", "entries") as progress:
        return run_stream(
            settings,
            storage,
            follow=follow,
            fresh=fresh,
            batch_entries=settings.batch_entries,
            trend_rule=TrendRule(settings.trend_min_clicks),
            lease_path=storage.lease_path("stream"),
            stop=stop,
            progress=progress,
        )
