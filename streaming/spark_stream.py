"""The stream as a Spark Structured Streaming job: Kafka -> realtime views, with a checkpoint in HDFS.

Spark says which offsets come next and moves them to its tasks (spark_parts.py); what counts is the progress that is
committed with the rows in the view store. A micro-batch whose rows are there already is passed over, so Spark may do
it again after any failure. No watermark: nothing is dropped. Spark's query dies when a server is away for seconds;
this job then says so, waits and starts it again.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from readerflow.common.crash import crash_point
from readerflow.common.errors import ReaderFlowError, Unavailable
from readerflow.common.months import now
from readerflow.common.patience import LIMIT, Patience, Stop
from readerflow.common.progress import Progress, silent
from readerflow.common.records import empty
from readerflow.common.settings import Settings
from readerflow.common.spark_errors import SparkFailed, failure_text, first_line, spark_error
from readerflow.common.spark_session import spark_session
from readerflow.storage.archive import Archive
from readerflow.storage.batch_views import BatchViews
from readerflow.storage.kafka_clients import spark_options
from readerflow.storage.lease import lease
from readerflow.storage.log import EventLog, LogUnavailable, OffsetGone, log_ends
from readerflow.storage.realtime_views import (
    LIVE_ARTICLES,
    LIVE_CLASSES,
    LIVE_PAIRS,
    LIVE_TOTALS,
    MicroBatch,
    PartedRealtimeViews,
)

from .incarnation import Run, StreamResult, new_name
from .metrics import with_figures
from .microbatch import merged
from .spark_checkpoints import Checkpoints
from .spark_parts import COLUMNS, OUTCOME, outcomes, part_task
from .trends import TrendRule, Trends

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

#: What the job asks of its session.
CONF = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "50000",
    "spark.sql.streaming.minBatchesToRetain": "10",
    "spark.sql.streaming.stopTimeout": "20s",
}
#: How long a stop waits for the micro-batch that is under way before it is dropped.
STOP_SECONDS = 20.0
#: How often stored rows are folded together.
COMPACT_SECONDS = 10.0
_LOST = re.compile(r"KAFKA_DATA_LOSS|failOnDataLoss|OffsetOutOfRangeException")

_log = logging.getLogger(__name__)


def spark_stream(
    settings: Settings,
    log: EventLog,
    archive: Archive,
    batch_views: BatchViews,
    realtime: PartedRealtimeViews,
    *,
    follow: bool = False,
    fresh: bool = False,
    batch_entries: int | None = None,
    trend_rule: TrendRule | None = None,
    lease_path: Path | None = None,
    stop: Stop | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], datetime] = now,
) -> StreamResult:
    """Take into the realtime views what the topic holds; with ``follow`` go on until ``stop`` is set.

    :param settings: where Kafka, HDFS and Spark are; ``log`` reads the same topic.
    :param fresh: forget the checkpoint and begin a new incarnation.
    :param batch_entries: log entries of a micro-batch at most, over all partitions; None takes the setting.
    :param trend_rule: how trends are scored; None takes the defaults.
    :param lease_path: held while the stream runs, so that one runs at a time.
    :raises Leased: when another stream runs.
    :raises Superseded: when another stream's incarnation was taken meanwhile.
    :raises OffsetGone: when the log has lost entries that the stream needs.
    :raises Unavailable: without ``follow``, when a server stays away.
    """
    stop = stop or threading.Event()
    held: AbstractContextManager[None] = lease(lease_path, "the stream") if lease_path else nullcontext()
    with held, spark_session("readerflow stream", settings, CONF) as session:
        session.sparkContext.setLogLevel("OFF")  # every failure is raised here, and told in a line
        job = _Job(session, settings, log, realtime, batch_entries or settings.batch_entries, clock, wall)
        patience = Patience(stop, None if follow else LIMIT)
        while not stop.is_set():
            before = job.batches
            try:
                if job.run is None:
                    run = Run(
                        log.partitions,
                        archive,
                        batch_views,
                        realtime,
                        Trends(realtime, batch_views, trend_rule or TrendRule()),
                        clock,
                    )
                    run.open(fresh, new_name(wall()), job.checkpoints.names())
                    job.begin(run)
                try:
                    if job.follow(follow, stop, settings.poll_seconds, progress):
                        break
                except OffsetGone:
                    if not job.forget_checkpoint():
                        raise
                    _log.warning("the view store has lost rows that it had confirmed; the stream takes them again")
            except Unavailable as error:
                if job.batches > before:
                    patience.over()
                patience.wait(error)
        return job.taken


class _Job:
    """Runs Spark's query over an incarnation. Spark calls :meth:`_take` in a thread of its own."""

    def __init__(
        self,
        session: SparkSession,
        settings: Settings,
        log: EventLog,
        realtime: PartedRealtimeViews,
        batch_entries: int,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._session = session
        self._settings = settings
        self._log = log
        self._realtime = realtime
        self._batch_entries = batch_entries
        self._clock = clock
        self._wall = wall
        self.checkpoints = Checkpoints(session, settings)
        self.run: Run | None = None
        self.taken = StreamResult("", 0, 0, 0, 0, 0, {})  # as of the last look
        self.batches = 0  # that this process has committed
        self._ends: dict[int, int] = {}  # where the log ended when this process began
        self._committing = threading.Lock()  # one micro-batch, of records or trends, at a time
        self._stopping = False
        self._failure: BaseException | None = None  # what ended the query
        self._caught_up = False
        self._forgotten_at: dict[int, int] = {}  # the progress at which the checkpoint was dropped
        self._compact_due = clock() + COMPACT_SECONDS

    def begin(self, run: Run) -> None:
        """Take records for an incarnation that was opened."""
        self._ends = log_ends(self._log)
        self.run = run

    def _tell(self, run: Run, progress: Progress) -> None:
        self.taken = run.taken
        there = run.entries_until(self._ends)
        # Who follows goes on behind where the log ended at first; how much is left is not known then.
        progress(self.taken.entries, there if self.taken.entries <= there else None, run.note())

    def follow(self, forever: bool, stop: Stop, poll_seconds: float, progress: Progress) -> bool:
        """Run a query until ``stop`` is set or, unless ``forever``, up to where the log ended; False: not there yet.

        :raises ReaderFlowError: what ended the query.
        """
        run = self._opened
        self._stopping, self._failure, self._caught_up = False, None, False
        query = self._start(forever)
        try:
            while query.isActive and not stop.is_set():
                stop.wait(poll_seconds)
                self._between(run)
                self._tell(run, progress)
            self._stop(query)
            failure = self._failure or query.exception()
        except Exception as error:
            self._stop(query)
            failure = error
        if failure is not None:
            known = query_error(failure)
            if stop.is_set() and isinstance(known, (Unavailable, SparkFailed)):
                return True  # a micro-batch was dropped: what was committed is safe
            raise known from None
        self._tell(run, progress)
        if not stop.is_set():
            self._caught_up = all(self.taken.offsets.get(part, 0) >= end for part, end in self._ends.items())
            self._between(run)
            self._tell(run, progress)
        return stop.is_set() or self._caught_up

    def forget_checkpoint(self) -> bool:
        """Drop the checkpoint, so that the next query begins at the committed rows; False when that was done before.

        The checkpoint is ahead of the rows when the view store was killed and has lost what it had confirmed last.

        :raises OffsetGone: when the log lacks the entries after the rows.
        :raises Unavailable: when a server does not answer.
        """
        run = self._opened
        offsets = run.committed().offsets
        if offsets == self._forgotten_at:
            return False
        for partition, offset in offsets.items():
            self._log.read(partition, offset, 1)
        self.checkpoints.drop(run.incarnation)
        self._forgotten_at = offsets
        return True

    @property
    def _opened(self) -> Run:
        if self.run is None:
            raise ValueError("begin a run first")
        return self.run

    def _start(self, forever: bool) -> StreamingQuery:
        """Start Spark's query; where there is no checkpoint yet it begins at the progress."""
        run = self._opened
        trigger: dict[str, Any] = (
            {"processingTime": f"{self._settings.trigger_seconds:g} seconds"} if forever else {"availableNow": True}
        )
        topic, offsets = self._settings.kafka_topic, run.committed().offsets
        options = {
            **spark_options(self._settings),
            "assign": json.dumps({topic: sorted(offsets)}),
            "startingOffsets": json.dumps({topic: {str(part): offset for part, offset in offsets.items()}}),
            "maxOffsetsPerTrigger": str(self._batch_entries),
            "failOnDataLoss": "true",
            "kafkaConsumer.pollTimeoutMs": str(int(self._settings.kafka_timeout * 1000)),
        }
        try:
            frame = self._session.readStream.format("kafka").options(**options).load()
            writer = frame.select(*COLUMNS).writeStream.foreachBatch(self._take)
            return writer.option("checkpointLocation", self.checkpoints.uri(run.incarnation)).trigger(**trigger).start()
        except Exception as error:
            raise query_error(error) from error

    def _stop(self, query: StreamingQuery) -> None:
        """Let the micro-batch under way end, or drop it when that takes too long, and stop the query."""
        self._stopping = True
        if self._committing.acquire(timeout=STOP_SECONDS):
            self._committing.release()
        try:
            query.stop()
        except Exception as error:  # Spark's own time-out: the micro-batch hangs, and goes with the session
            _log.warning("the query did not stop in time: %s", query_error(error))

    def _take(self, frame: DataFrame, epoch: int) -> None:
        """Take a micro-batch of Spark's."""
        with self._committing:
            if self._stopping:
                raise SparkStopped
            try:
                self._micro_batch(frame)
            except BaseException as error:
                # Spark hands on no more than its text.
                self._failure = error
                raise

    def _micro_batch(self, frame: DataFrame) -> None:
        run, began = self._opened, self._clock()
        before = run.committed()
        crash_point("stream.offsets_chosen")
        write = self._realtime.part_writer(run.incarnation, before.batch_id + 1)
        rows = frame.mapInArrow(part_task(before, write), OUTCOME).collect()
        found = outcomes(tuple(row) for row in rows)
        if not found:
            return
        progress = merged({partition: outcome.part for partition, outcome in sorted(found.items())}, before)
        ends = self._lag_ends()
        self._realtime.commit(
            run.incarnation,
            MicroBatch(
                progress=with_figures(progress, before, ends, self._clock() - began, self._wall()),
                pairs=empty(LIVE_PAIRS),
                articles=empty(LIVE_ARTICLES),
                classes=empty(LIVE_CLASSES),
                totals=pa.concat_tables([empty(LIVE_TOTALS), *(outcome.totals for outcome in found.values())]),
            ),
        )
        self.batches += 1
        self._caught_up = bool(ends) and all(progress.offsets.get(part, 0) >= end for part, end in ends.items())

    def _between(self, run: Run) -> None:
        """What is due beside the micro-batches: take-over, trends, compaction."""
        with self._committing:
            took = run.take_over()
        if took:
            self.checkpoints.drop_before(run.incarnation)
        # Scored beside a micro-batch, since that takes seconds; committed between two.
        scored = run.newest_trends(hurry=self._caught_up)
        with self._committing:
            if scored is not None:
                run.commit_trends(scored)
            if self._clock() >= self._compact_due:
                self._realtime.compact()
                self._compact_due = self._clock() + COMPACT_SECONDS

    def _lag_ends(self) -> dict[int, int]:
        """Where the log ends; nothing when it does not answer, since the rows are read already."""
        try:
            return log_ends(self._log)
        except LogUnavailable:
            return {}


class SparkStopped(ReaderFlowError):
    """The stream was told to stop before a micro-batch began."""


def query_error(error: BaseException) -> ReaderFlowError:
    """The error that a failure of Spark's query stands for."""
    if isinstance(error, ReaderFlowError) or not _LOST.search(text := failure_text(error)):
        return spark_error(error, "take the stream's records")
    return OffsetGone(
        f"the log has lost entries that the stream needs ({first_line(text)}); start it with --fresh, so that it "
        "begins where the archive lets it"
    )
