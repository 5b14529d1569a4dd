"""The stream: follows the event log and keeps the realtime views up with it, micro-batch by micro-batch.

A micro-batch is committed with the offsets after it, so a stream that was killed goes on from the last one. Without a
checkpoint it begins a new *incarnation* (see start.py), which readers take once it has come as far as the one before.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from readerflow.common.crash import crash_point
from readerflow.common.months import now
from readerflow.common.progress import Progress, silent
from readerflow.storage.archive import Archive
from readerflow.storage.batch_views import BatchViews
from readerflow.storage.lease import lease
from readerflow.storage.log import EventLog, LogSlice
from readerflow.storage.realtime_views import MicroBatch, RealtimeViews, StreamProgress

from .microbatch import micro_batch
from .start import smallest_horizons, start_without_checkpoint
from .trends import TrendRule, Trends

#: How often trends are scored while the stream lags behind the log: they are stale soon, and cost time.
LAGGING_TREND_SECONDS = 10.0


class Stop(Protocol):
    """Something like a ``threading.Event``."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


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


def stream(
    log: EventLog,
    archive: Archive,
    batch_views: BatchViews,
    realtime: RealtimeViews,
    *,
    follow: bool = False,
    fresh: bool = False,
    batch_entries: int = 500_000,
    poll_seconds: float = 0.5,
    trend_rule: TrendRule | None = None,
    lease_path: Path | None = None,
    stop: Stop | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], datetime] = now,
) -> StreamResult:
    """Take into the realtime views what the log holds; with ``follow`` go on until ``stop`` is set.

    :param fresh: forget the checkpoint and begin a new incarnation.
    :param batch_entries: log entries of a micro-batch at most, over all partitions.
    :param trend_rule: how trends are scored; None takes the defaults.
    :param lease_path: held while the stream runs, so that one runs at a time.
    :raises Leased: when another stream runs.
    :raises Superseded: when another stream's incarnation was taken meanwhile.
    :raises OffsetGone: when the log has lost entries that the stream needs.
    """
    stop = stop or threading.Event()
    held: AbstractContextManager[None] = lease(lease_path, "the stream") if lease_path else nullcontext()
    with held, ThreadPoolExecutor(1) as beside:
        run = _Run(log, archive, batch_views, realtime, trend_rule or TrendRule(), batch_entries, beside, clock)
        run.open(fresh, f"{wall():%Y%m%dT%H%M%S}-{os.urandom(4).hex()}")
        while not stop.is_set():
            moved = run.step(follow)
            run.take_over()
            trended = run.update_trends(hurry=not moved)
            progress(run.taken.entries, run.entries_until(run.ends), run.note())
            if not moved and not trended:
                if not follow:
                    break
                stop.wait(poll_seconds)
        return run.taken


class _Run:
    """One run of the stream over its ports.

    While a micro-batch is committed, the next one is read and computed beside it.
    """

    def __init__(
        self,
        log: EventLog,
        archive: Archive,
        batch_views: BatchViews,
        realtime: RealtimeViews,
        trend_rule: TrendRule,
        batch_entries: int,
        beside: Executor,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._archive = archive
        self._batch_views = batch_views
        self._realtime = realtime
        self._trends = Trends(realtime, batch_views, trend_rule)
        self._batch_entries = batch_entries
        self._beside = beside
        self._prepared: tuple[StreamProgress, Future[MicroBatch | None]] | None = None
        self._clock = clock
        self._trends_due = clock() + LAGGING_TREND_SECONDS
        self._began: StreamProgress = StreamProgress()
        self.incarnation = ""
        self._replaces: str | None = None  # the current incarnation that this one will replace
        self._adopted = False
        self.ends: dict[int, int] = {}  # partition -> where the log ended when it was last looked at

    def open(self, fresh: bool, name: str) -> None:
        """Go on from the checkpoint of the current incarnation, or begin a new one."""
        self._look_at_ends()
        current = self._realtime.current()
        known = self._realtime.progress(current) if current else None
        if current and known and not fresh:
            self.incarnation, self._began, self._adopted = current, known, True
            return
        start = start_without_checkpoint(self._archive, self._log.partitions, self._batch_views.retained())
        self._realtime.begin(name, start.progress, start.totals)
        self.incarnation, self._began, self._replaces = name, start.progress, current
        self.take_over()

    def committed(self) -> StreamProgress:
        """The progress as the view store has it: a batch run may have retired rows meanwhile."""
        found = self._realtime.progress(self.incarnation)
        return self._began if found is None else found

    def step(self, follow: bool) -> bool:
        """Take one micro-batch, with ``follow`` up to where the log ends now; False when there is nothing to take."""
        before = self.committed()
        batch = self._next(before, follow)
        if batch is None:
            return False
        # Trends count as a batch too; they may have been committed since this one was computed.
        stamped = replace(batch.progress, batch_id=before.batch_id + 1, trended=before.trended)
        self._prepared = stamped, self._beside.submit(self._prepare, stamped, follow)
        crash_point("stream.offsets_chosen")
        self._realtime.commit(self.incarnation, replace(batch, progress=stamped))
        return True

    def _next(self, before: StreamProgress, follow: bool) -> MicroBatch | None:
        """The micro-batch after ``before``: the prepared one, if it was prepared for these offsets."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            batch = prepared[1].result()
            if batch is not None and prepared[0].offsets == before.offsets:
                return batch
        return self._prepare(before, follow)

    def _prepare(self, before: StreamProgress, follow: bool) -> MicroBatch | None:
        if follow:
            self._look_at_ends()
        slices = self._read(before)
        return micro_batch(slices, before) if slices else None

    def _look_at_ends(self) -> None:
        self.ends = {partition: self._log.end_offset(partition) for partition in range(self._log.partitions)}

    def _read(self, before: StreamProgress) -> dict[int, LogSlice]:
        """Read from each partition its share of what waits, so that all advance evenly."""
        waiting = {partition: end - before.offsets.get(partition, 0) for partition, end in self.ends.items()}
        waiting = {partition: entries for partition, entries in waiting.items() if entries > 0}
        whole = max(sum(waiting.values()), 1)
        slices = {}
        for partition, entries in waiting.items():
            share = max(1, min(entries, entries * self._batch_entries // whole))
            slices[partition] = self._log.read(partition, before.offsets.get(partition, 0), share)
        return slices

    def take_over(self) -> None:
        """Make readers take this incarnation once it has come as far as the one before and as the archive."""
        if self._adopted:
            return
        if self._replaces is not None:
            old = self._realtime.progress(self._replaces)
            reached = self.committed().offsets
            for partition, offset in reached.items():
                before = old.offsets.get(partition, 0) if old else 0
                if offset < max(before, self._archive.next_offset(partition)):
                    return
        self._realtime.adopt(self.incarnation, self._replaces)
        self._adopted = True
        self._realtime.retire(smallest_horizons(self._batch_views.retained()))

    def update_trends(self, hurry: bool) -> bool:
        """Score anew what has been passed since the last time; while the stream lags, only now and then."""
        if not hurry and self._clock() < self._trends_due:
            return False
        batch = self._trends.newest(self.incarnation, self.committed())
        if batch is None:
            return False
        self._realtime.commit(self.incarnation, batch)
        self._trends_due = self._clock() + LAGGING_TREND_SECONDS
        return True

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
