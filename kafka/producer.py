"""The producer: replays a preprocessed month into the event log, exactly once as readers see it.

``python kafka/producer.py WIKI MONTH`` replays with default settings; ``readerflow replay`` has all the options.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.crash import crash_point
from readerflow.common.errors import BadInput, ReaderFlowError
from readerflow.common.months import format_time
from readerflow.common.patience import patiently
from readerflow.common.progress import Progress, silent
from readerflow.common.records import ENTRIES, Kind
from readerflow.kafka.chunks import load
from readerflow.kafka.cut import Cutter, Law, cutter
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.storage.log import EventLog
from readerflow.storage.pairs import PairsFacts, PairStore
from readerflow.storage.replays import ReplayFacts, ReplayStore

#: Entries after which the log is flushed when the replay runs as fast as it can.
FLUSH_ENTRIES = 1_000_000
#: Steps in which a slot of single clicks is appended at a pace, minute by minute; fewer where a step would take less
#: than so many seconds, since each waits for the log to confirm it.
STEPS, STEP_SECONDS = 60, 0.1


class SourceRefused(ReaderFlowError):
    """Another replay counts for the (wiki, month)."""


class PartRefused(ReaderFlowError):
    """A part of the month does not begin where the last one ended."""


@dataclass(frozen=True)
class ReplayResult:
    """What a replay has appended; a replay that had been done before appends nothing."""

    source: str
    records: int
    clicks: int
    heartbeats: int
    start: datetime  # the part of the month, as asked for
    end: datetime
    replaced: str | None = None  # the source that was active before


def replay(
    plan: ReplayPlan,
    pairs: PairStore,
    log: EventLog,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    speed: float | None = None,
    duration: float | None = None,
    replace: bool = False,
    replays: ReplayStore | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ReplayResult:
    """Append the records of [start, end) that the log does not hold yet, and the heartbeats of its slots.

    :param start: border of a slot; None goes on where this replay stands, or begins with the month.
    :param end: border of a slot; None is the month's end.
    :param speed: seconds of event time in a second of wall time; None is as fast as it goes.
    :param duration: seconds of wall time for what is still to be appended; instead of ``speed``.
    :param replace: make this replay the active source although another one is.
    :param replays: where the facts of replays are kept; by default beside the pairs.
    :raises NoPairs: when the month has not been preprocessed.
    :raises SourceRefused: when another source is active and ``replace`` is false.
    :raises PartRefused: when the part does not continue what is in the log.
    """
    facts = pairs.facts(plan.wiki, str(plan.month))
    replays = replays or ReplayStore(pairs.root.parent / "replays")
    source = plan.source(log.partitions, facts.checksum)
    replaced = _check_source(plan, source, log, replace)
    profiles = plan.profiles()
    law = Law(plan, source, load(plan, pairs, log.partitions, profiles), profiles)
    made = cutter(law)
    lasts = [-1 if (last := log.last_seq(p, source)) is None else last for p in range(log.partitions)]
    known = replays.find(source)
    part = _part(plan, made, lasts, known, start, end)
    if max(lasts) < 0 or known is None:
        lost = known is None and max(lasts) >= 0 and start is None  # nobody knows any more where it began
        begin = plan.month.start if lost else plan.slots.border(part.begin)
        replays.write(_facts(plan, source, facts, log.partitions, begin))
    if replaced is not None:
        log.append(0, _replacement(plan, source))
        log.flush()
    to_come = law.total(part.end * law.slots.hours) - law.total(part.first * law.slots.hours)
    writer = _Writer(log, source, lasts, progress, to_come)
    pace = _pace(plan, part, speed, duration, clock, sleep)
    if pace is None:
        _run(made, part, writer)
    else:
        _run_paced(plan, made, part, writer, pace)
    return ReplayResult(
        source, writer.records, writer.clicks, writer.heartbeats,
        plan.slots.border(part.begin), plan.slots.border(part.end), replaced,
    )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """Slots of a part: [begin, end) was asked for, [first, end) has something left to append."""

    begin: int
    end: int
    first: int


def _check_source(plan: ReplayPlan, source: str, log: EventLog, replace: bool) -> str | None:
    """The source that this replay has to replace; None when it is the active one or the first."""
    active = log.active_source(plan.wiki, str(plan.month))
    if active is None or active.source == source:
        return None
    if not replace:
        raise SourceRefused(
            f"another replay of {plan.wiki} {plan.month} is active (source {active.source}, this is {source}):"
            " its grain, seed, bursts, noise, partitions or pairs differ; use --replace, or 'readerflow purge' first"
        )
    return active.source


def _part(
    plan: ReplayPlan,
    made: Cutter,
    lasts: list[int],
    known: ReplayFacts | None,
    start: datetime | None,
    end: datetime | None,
) -> _Part:
    """The slots to replay.

    :raises PartRefused: when they don't continue what the log holds of the source.
    """
    slots = plan.slots
    stop = slots.count if end is None else slots.index(end)
    closed = int(np.searchsorted(made.heartbeat_seqs(), min(lasts), side="right"))
    if max(lasts) < 0:
        begin = 0 if start is None else slots.index(start)
        first = begin
    else:
        earliest = 0 if known is None else slots.index(known.begin)
        closed = max(closed, earliest)
        at = slots.border(closed)
        begin = min(closed, stop) if start is None else slots.index(start)
        if begin > closed:
            raise PartRefused(
                f"this replay of {plan.wiki} {plan.month} has come to {format_time(at)} and can't go on from"
                f" {format_time(slots.border(begin))}: leave --from away, or begin at {format_time(at)}"
            )
        if begin < earliest:
            raise PartRefused(
                f"this replay of {plan.wiki} {plan.month} began at {format_time(slots.border(earliest))} and can't go"
                f" back to {format_time(slots.border(begin))}: use --replace with another seed, or 'readerflow purge'"
            )
        first = closed
    if begin > stop or (begin == stop and max(lasts) < 0):
        raise BadInput(
            f"the part ends before it begins: --from must be before --until {format_time(slots.border(stop))}"
        )
    return _Part(begin, stop, min(first, stop))


def _facts(plan: ReplayPlan, source: str, facts: PairsFacts, partitions: int, begin: datetime) -> ReplayFacts:
    return ReplayFacts(
        source=source,
        wiki=plan.wiki,
        month=str(plan.month),
        grain=plan.grain.value,
        seed=plan.seed,
        partitions=partitions,
        checksum=facts.checksum,
        begin=begin,
        noise=plan.noise,
        bursts=[str(burst) for burst in plan.bursts],
    )


def _replacement(plan: ReplayPlan, source: str) -> pa.Table:
    row = {"kind": int(Kind.REPLACEMENT), "source": source, "seq": -1, "wiki": plan.wiki, "month": str(plan.month)}
    return pa.Table.from_pylist([row], schema=ENTRIES)


class _Writer:
    """Appends what the log lacks and counts it; while the log is away it waits, until ``stop`` is set."""

    def __init__(self, log: EventLog, source: str, lasts: list[int], progress: Progress, total: int) -> None:
        self._log = log
        self._source = source
        self._lasts = lasts
        self._progress = progress
        self._total = total
        self._waiting = 0
        self._unflushed: list[tuple[int, pa.Table]] = []
        self._failed = False
        self.stop = threading.Event()
        self.records = self.clicks = self.heartbeats = 0

    def append(self, partition: int, entries: pa.Table) -> None:
        if entries.num_rows and entries["seq"][0].as_py() <= self._lasts[partition]:
            seqs = entries["seq"].to_numpy()
            entries = entries.slice(int(np.searchsorted(seqs, self._lasts[partition], side="right")))
        if entries.num_rows == 0:
            return
        self._log.append(partition, entries)
        self._unflushed.append((partition, entries))
        beats = entries["clicks"].null_count
        self.heartbeats += beats
        self.records += entries.num_rows - beats
        self.clicks += pc.sum(entries["clicks"]).as_py() or 0
        self._waiting += entries.num_rows

    def write(self, partition: int, entries: pa.Table) -> None:
        self.append(partition, entries)
        self.flush(FLUSH_ENTRIES)

    def flush(self, at_least: int = 1) -> None:
        if self._waiting >= at_least:
            patiently(self._flush, self.stop)
            self._unflushed.clear()
            self._waiting = 0
            crash_point("replay.appended")
            self._progress(self.clicks, self._total, f"{self.records:,} records")

    def _flush(self) -> None:
        if self._failed:
            self._append_again()
        self._failed = True
        self._log.flush()
        self._failed = False

    def _append_again(self) -> None:
        """Append what a flush that failed has not made durable."""
        partitions = {partition for partition, _ in self._unflushed}
        lasts = {partition: self._log.last_seq(partition, self._source) for partition in partitions}
        for partition, entries in self._unflushed:
            last = lasts[partition]
            first = 0 if last is None else int(np.searchsorted(entries["seq"].to_numpy(), last, side="right"))
            self._log.append(partition, entries.slice(first))


def _run(made: Cutter, part: _Part, writer: _Writer) -> None:
    """Cut and append as fast as it goes: while one piece is cut, the one before is written."""
    step = made.slots_at_once()
    with ThreadPoolExecutor(1, thread_name_prefix="replay") as thread:
        writing: Future[None] | None = None
        try:
            for first in range(part.first, part.end, step):
                for partition, entries in made.cut(first, min(first + step, part.end)):
                    if writing is not None:
                        writing.result()
                    writing = thread.submit(writer.write, partition, entries)
            if writing is not None:
                writing.result()
        except BaseException:
            writer.stop.set()  # whoever interrupts the replay need not wait for a log that is away
            raise
    writer.flush()


@dataclass(frozen=True)
class _Pace:
    """Event time against wall time."""

    speed: float
    origin: datetime  # event time of the beginning
    began: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def steps(self, span: timedelta) -> int:
        """In how many steps so much event time is appended."""
        return min(STEPS, max(1, int(span.total_seconds() / self.speed / STEP_SECONDS)))

    def wait_until(self, event_time: datetime) -> None:
        due = self.began + (event_time - self.origin).total_seconds() / self.speed
        while (rest := due - self.clock()) > 0:
            self.sleep(rest)


def _pace(
    plan: ReplayPlan,
    part: _Part,
    speed: float | None,
    duration: float | None,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> _Pace | None:
    if speed is not None and duration is not None:
        raise BadInput("--speed and --duration exclude each other; give one of them")
    if any(value is not None and not 0 < value < math.inf for value in (speed, duration)):
        raise BadInput("--speed and --duration must be numbers above 0")
    origin = plan.slots.border(part.first)
    if duration is not None:
        speed = max((plan.slots.border(part.end) - origin).total_seconds(), 1.0) / duration
    return None if speed is None else _Pace(speed, origin, clock(), clock, sleep)


def _run_paced(plan: ReplayPlan, made: Cutter, part: _Part, writer: _Writer, pace: _Pace) -> None:
    """Append each slot when its time has passed; a slot of single clicks in steps."""
    for slot in range(part.first, part.end):
        start, end = plan.slots.border(slot), plan.slots.border(slot + 1)
        steps = pace.steps(end - start) if plan.grain is Grain.CLICK else 1
        length = (end - start) / steps
        cut = list(made.cut(slot, slot + 1))
        for step in range(steps):
            begin, until = start + step * length, start + (step + 1) * length
            pace.wait_until(until)
            for partition, entries in cut:
                writer.append(partition, entries if steps == 1 else _step(entries, begin, until, end))
            writer.flush()


def _step(entries: pa.Table, begin: datetime, until: datetime, end: datetime) -> pa.Table:
    """The records of [begin, until) of a slot; the heartbeat, which stands last, goes with the slot's end."""
    times = entries["event_time"].to_numpy()[:-1]
    low, high = np.searchsorted(times, [np.datetime64(begin, "us"), np.datetime64(until, "us")])
    return entries.slice(int(low), int(high - low) + (until == end))


def main(arguments: list[str] | None = None) -> int:
    """Replay WIKI MONTH with the settings of the environment."""
    from readerflow.common.months import Month
    from readerflow.common.settings import load as load_settings
    from readerflow.storage import open_storage

    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2:
        print("usage: python kafka/producer.py WIKI MONTH", file=sys.stderr)
        return 2
    try:
        with open_storage(load_settings()) as storage:
            result = replay(ReplayPlan(given[0], Month.parse(given[1])), storage.pairs, storage.log)
    except ReaderFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{result.records:,} records, {result.clicks:,} clicks appended", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
