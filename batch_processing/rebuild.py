"""Batch views of all months from the master dataset alone: what is left when the view store is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from readerflow.common.progress import Progress, silent
from readerflow.storage.archive import Archive
from readerflow.storage.batch_views import BatchViews, Manifest
from readerflow.storage.realtime_views import RealtimeViews

from .batch import RankRule, run_batch
from .coverage import NothingToCover
from .engine import BatchEngine


def archived_months(archive: Archive) -> list[tuple[str, str]]:
    """(wiki, month) of all sources in the archive, sorted."""
    return sorted({(facts.wiki, facts.month) for segment in archive.segments() for facts in segment.sources.values()})


def rebuild(
    archive: Archive,
    views: BatchViews,
    open_engine: Callable[[], AbstractContextManager[BatchEngine]],
    *,
    partitions: int,
    realtime: RealtimeViews | None = None,
    rule: RankRule | None = None,
    ranking_rows: int = 100_000,
    progress: Progress = silent,
) -> Iterator[tuple[str, str, Manifest | None]]:
    """Publish a generation of each archived month at the latest horizon that the archive allows.

    Yields (wiki, month, manifest) as each is done; None for a month of which no hour has been passed yet.
    """
    for wiki, month in archived_months(archive):
        with open_engine() as engine:
            try:
                manifest = run_batch(
                    wiki,
                    month,
                    archive,
                    views,
                    engine,
                    partitions=partitions,
                    realtime=realtime,
                    rule=rule,
                    ranking_rows=ranking_rows,
                    progress=progress,
                )
            except NothingToCover:
                manifest = None
        yield wiki, month, manifest
