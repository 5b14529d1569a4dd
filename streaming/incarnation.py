"""One run of an incarnation of the stream, whatever engine moves the records: its beginning, take-over and trends.

A run goes on from the checkpoint of an incarnation, or begins a new one (see start.py), which readers take once it has
come as far as the one before and as the archive.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from readerflow.storage.archive import Archive
from readerflow.storage.batch_views import BatchViews
from readerflow.storage.realtime_views import MicroBatch, RealtimeViews, StreamProgress

from .start import smallest_horizons, start_without_checkpoint
from .trends import Trends

#: How often trends are scored while the stream lags behind the log: they are stale soon, and cost time.
LAGGING_TREND_SECONDS = 10.0


@dataclass(frozen=True)
class StreamResult:
    """What a run of the stream has taken from the log, and where it stands."""

    incarnation: str
    batches: int
    entries: int  # records, controls, rejects and duplicates
    records: int
    rejects: int
    duplicates: int
    offsets: dict[int, int]  # partition -> next offset


def new_name(wall: datetime) -> str:
    """A name for an incarnation that begins now; later ones sort behind earlier ones."""
    return f"{wall:%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"


class Run:
    """A run of the stream over its ports. One thread at a time, but for :meth:`newest_trends`."""

    def __init__(
        self,
        partitions: int,
        archive: Archive,
        batch_views: BatchViews,
        realtime: RealtimeViews,
        trends: Trends,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._partitions = partitions
        self._archive = archive
        self._batch_views = batch_views
        self._realtime = realtime
        self._trends = trends
        self._clock = clock
        self._trends_due = clock() + LAGGING_TREND_SECONDS
        self._began: StreamProgress = StreamProgress()
        self.incarnation = ""
        self._replaces: str | None = None  # the current incarnation that this one will replace
        self.adopted = False

    def open(self, fresh: bool, name: str, checkpoints: Collection[str] | None = None) -> None:
        """Go on from the newest incarnation that has a checkpoint, or begin a new one.

        :param name: of the new one, see :func:`new_name`.
        :param checkpoints: incarnations whose engine can go on; None when their progress is all that it needs.
        """
        current = self._realtime.current()
        known = [current or ""] if checkpoints is None else sorted(checkpoints, reverse=True)
        self._replaces = current
        for candidate in known:
            progress = self._realtime.progress(candidate) if candidate and candidate >= (current or "") else None
            if progress and not fresh:
                self.incarnation, self._began, self.adopted = candidate, progress, candidate == current
                return
        start = start_without_checkpoint(self._archive, self._partitions, self._batch_views.retained())
        self._realtime.begin(name, start.progress, start.totals)
        self.incarnation, self._began = name, start.progress
        self.take_over()

    def committed(self) -> StreamProgress:
        """The progress as the view store has it: a batch run may have retired rows meanwhile."""
        found = self._realtime.progress(self.incarnation)
        return self._began if found is None else found

    def take_over(self) -> bool:
        """Make readers take this incarnation once it has come far enough; True when they do so from now on."""
        if self.adopted:
            return False
        if self._replaces is not None:
            old = self._realtime.progress(self._replaces)
            reached = self.committed().offsets
            for partition, offset in reached.items():
                before = old.offsets.get(partition, 0) if old else 0
                if offset < max(before, self._archive.next_offset(partition)):
                    return False
        self._realtime.adopt(self.incarnation, self._replaces)
        self.adopted = True
        self._realtime.retire(smallest_horizons(self._batch_views.retained()))
        return True

    def newest_trends(self, hurry: bool) -> MicroBatch | None:
        """Score anew what has been passed since the last time; while the stream lags, only now and then."""
        if not hurry and self._clock() < self._trends_due:
            return None
        self._trends_due = self._clock() + LAGGING_TREND_SECONDS
        return self._trends.newest(self.incarnation, self.committed())

    def commit_trends(self, scored: MicroBatch) -> None:
        """Commit trends; rows may have been committed since they were scored."""
        now = self.committed()
        progress = replace(now, batch_id=now.batch_id + 1, trended=scored.progress.trended)
        self._realtime.commit(self.incarnation, replace(scored, progress=progress))

    @property
    def taken(self) -> StreamResult:
        reached = self.committed()
        return StreamResult(
            incarnation=self.incarnation,
            batches=reached.batch_id - self._began.batch_id,
            entries=self.entries_until(reached.offsets),
            records=reached.records - self._began.records,
            rejects=reached.rejects - self._began.rejects,
            duplicates=reached.duplicates - self._began.duplicates,
            offsets=reached.offsets,
        )

    def entries_until(self, ends: dict[int, int]) -> int:
        """Entries between the beginning of this run and given offsets."""
        return sum(max(0, end - self._began.offsets.get(partition, 0)) for partition, end in ends.items())

    def note(self) -> str:
        """Counts for whoever watches."""
        taken = self.taken
        return f"{taken.rejects:,} rejects, {taken.duplicates:,} duplicates"
