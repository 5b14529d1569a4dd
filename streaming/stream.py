"""The stream: follows the event log and keeps the realtime views up with it, micro-batch by micro-batch.

A micro-batch is committed with the offsets after it, so a stream that was killed goes on from the last one. Without a
checkpoint it begins a new *incarnation* (see start.py), which readers take once it has come as far as the one before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from readerflow.common.crash import crash_point
from readerflow.common.errors import Unavailable
from readerflow.common.months import now
from readerflow.common.patience import Stop, patiently
from readerflow.common.progress import Progress, silent
from readerflow.storage.archive import Archive
from readerflow.storage.batch_views import BatchViews
from readerflow.storage.lease import lease
from readerflow.storage.log import EventLog, LogSlice, log_ends
from readerflow.storage.realtime_views import MicroBatch, RealtimeViews, StreamProgress

from .incarnation import Run, StreamResult, new_name
from .metrics import with_figures
from .microbatch import micro_batch
from .trends import TrendRule, Trends


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
    :raises Unavailable: when a store is away; with ``follow`` the stream waits for it.
    """
    stop = stop or threading.Event()
    held: AbstractContextManager[None] = lease(lease_path, "the stream") if lease_path else nullcontext()
    with held, ThreadPoolExecutor(1) as beside:
        trends = Trends(realtime, batch_views, trend_rule or TrendRule())
        run = Run(log.partitions, archive, batch_views, realtime, trends, clock)
        follower = _Follower(log, realtime, run, batch_entries, beside, clock, wall)
        tries = partial(patiently, stop=stop, limit=None if follow else 0)
        try:
            tries(follower.look_at_ends)
            tries(partial(run.open, fresh, new_name(wall())))
            while not stop.is_set():
                moved = tries(partial(follower.step, follow))
                tries(run.take_over)
                trended = tries(partial(follower.update_trends, hurry=not moved))
                progress(run.taken.entries, run.entries_until(follower.ends), run.note())
                if not moved and not trended:
                    if not follow:
                        break
                    stop.wait(poll_seconds)
        except Unavailable:
            if not stop.is_set():
                raise  # else it was told to stop while it waited
        return run.taken


class _Follower:
    """Takes the log into the realtime views; while a micro-batch is committed, the next one is computed beside it."""

    def __init__(
        self,
        log: EventLog,
        realtime: RealtimeViews,
        run: Run,
        batch_entries: int,
        beside: Executor,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._realtime = realtime
        self._run = run
        self._batch_entries = batch_entries
        self._beside = beside
        self._clock = clock
        self._wall = wall
        self._prepared: tuple[StreamProgress, float, Future[MicroBatch | None]] | None = None
        self.ends: dict[int, int] = {}  # partition -> where the log ended when it was last looked at

    def look_at_ends(self) -> None:
        """See where the log ends now."""
        self.ends = log_ends(self._log)

    def step(self, follow: bool) -> bool:
        """Take one micro-batch, with ``follow`` up to where the log ends now; False when there is nothing to take."""
        before = self._run.committed()
        began, batch = self._next(before, follow)
        if batch is None:
            return False
        # Trends count as a batch too; they may have been committed since this one was computed.
        stamped = replace(batch.progress, batch_id=before.batch_id + 1, trended=before.trended)
        stamped = with_figures(stamped, before, self.ends, self._clock() - began, self._wall())
        self._prepared = stamped, self._clock(), self._beside.submit(self._prepare, stamped, follow)
        crash_point("stream.offsets_chosen")
        self._realtime.commit(self._run.incarnation, replace(batch, progress=stamped))
        return True

    def _next(self, before: StreamProgress, follow: bool) -> tuple[float, MicroBatch | None]:
        """When its work began, and the micro-batch after ``before``: the prepared one, if it is for these offsets."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            after, began, future = prepared
            batch = future.result()
            if batch is not None and after.offsets == before.offsets:
                return began, batch
        return self._clock(), self._prepare(before, follow)

    def _prepare(self, before: StreamProgress, follow: bool) -> MicroBatch | None:
        if follow:
            self.look_at_ends()
        slices = self._read(before)
        return micro_batch(slices, before) if slices else None

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

    def update_trends(self, hurry: bool) -> bool:
        """Commit trends anew where that is due."""
        scored = self._run.newest_trends(hurry)
        if scored is not None:
            self._run.commit_trends(scored)
        return scored is not None
