"""Compare what each stage holds of a month with what it should hold: dump, pairs, log, archive, batch, merged.

Each stage covers an interval of the month: the slots that heartbeats have closed in every partition. What it should
hold comes from the law of replay over the pairs, so a part of a month is checked as exactly as the whole. Data is
counted from the data; footers and manifests are claims to be checked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.errors import ReaderFlowError
from readerflow.common.months import Month, format_time, merge_intervals
from readerflow.common.records import CLASS_OF, CLASSES, LINK_TYPES, Kind
from readerflow.common.settings import Settings
from readerflow.common.titles import check_wiki
from readerflow.kafka.cut import Law
from readerflow.kafka.dead_letters import count_letters
from readerflow.kafka.expected import expected, expected_by_hour, law_of
from readerflow.kafka.plan import ReplayPlan
from readerflow.storage import Storage, open_storage
from readerflow.storage.archive import OverlappingSegments, Segment, gaps
from readerflow.storage.batch_views import Interval, View
from readerflow.storage.fence import fence
from readerflow.storage.log import EventLog, OffsetGone
from readerflow.storage.replays import NoReplay

from .console import print_json, say, table
from .stage_totals import COUNTED_COLUMNS, Counter, Totals, differing_hours, summarise

#: Entries that are read from the log at once.
READ_ENTRIES = 1_000_000
#: Differing hours that are named a stage.
NAMED_HOURS = 5


@dataclass
class Report:
    """What was found, stage by stage."""

    wiki: str
    month: str
    source: str | None = None
    stages: list[Totals] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    batch_clicks: int | None = None
    live_clicks: int | None = None

    def compare(self, found: Totals, wanted: Totals) -> bool:
        """Keep a stage and name its differences; return whether it agrees."""
        self.stages.append(found)
        differences = [
            f"{found.stage}: {name} {have:,}, expected {want:,} ({have - want:+,})"
            for name, have, want in _pairs_of_numbers(found, wanted)
            if have != want
        ]
        self.problems += differences
        return not differences


def _pairs_of_numbers(found: Totals, wanted: Totals) -> Iterator[tuple[str, int, int]]:
    yield "clicks", found.clicks, wanted.clicks
    if found.pairs is not None and wanted.pairs is not None:
        yield "pairs", found.pairs, wanted.pairs
    for what, have, want in (("type", found.by_type, wanted.by_type), ("class", found.by_class, wanted.by_class)):
        for name, number in have.items():
            yield f"clicks of {what} {name}", number, want.get(name, 0)


def reconcile_month(settings: Settings, wiki: str, month: str, *, as_json: bool) -> int:
    """Check all stages and print the report; return 0 if they agree, else 1.

    :raises NoPairs: when the month has not been preprocessed.
    """
    report = Report(check_wiki(wiki), str(Month.parse(month)))
    with open_storage(settings) as storage:
        _check(storage, settings, report)
    if as_json:
        print_json({**asdict(report), "agrees": not report.problems})
    else:
        _print(report)
    return int(bool(report.problems))


def _check(storage: Storage, settings: Settings, report: Report) -> None:
    _check_pairs(storage, report)
    active = storage.log.active_source(report.wiki, report.month)
    if active is None:
        report.problems.append(f"log: holds nothing; run 'readerflow replay {report.wiki} {report.month}'")
        return
    report.source = active.source
    try:
        replay = storage.replays.facts(active.source)
    except NoReplay as error:
        report.problems.append(f"log: {error}")
        return
    law = law_of(ReplayPlan.of(replay), storage.pairs, storage.log.partitions)
    if law.source != active.source:
        report.problems.append("log: the pairs have changed since the replay; replay them with --replace")
        return
    scratch = storage.home / "tmp"
    with Counter(scratch, settings.memory_limit) as counter:
        _check_log(storage.log, law, replay.begin, counter, report)
    with Counter(scratch, settings.memory_limit) as counter:
        _check_archive(storage, law, replay.begin, counter, report)
    if dead := count_letters(storage.dead_letters):
        report.problems.append(f"log: {dead:,} bad records; they are in the topic clicks.dlq")
    _check_batch(storage, law, replay.begin, report)
    _check_merged(storage, law, replay.begin, report)


def _check_pairs(storage: Storage, report: Report) -> None:
    facts = storage.pairs.facts(report.wiki, report.month)
    whole = f"all of {report.month}"
    dump = Totals("dump", whole, facts.clicks, facts.accepted, facts.clicks_by_type, facts.clicks_by_class)
    report.stages.append(dump)
    if facts.read != facts.accepted + facts.rejected:
        report.problems.append(
            f"dump: {facts.read:,} lines read, but {facts.accepted:,} accepted and {facts.rejected:,} rejected"
        )
    counted, pairs = _count_pairs(storage.pairs.path(report.wiki, report.month))
    report.compare(summarise("pairs", whole, counted, pairs), dump)


def _count_pairs(path: Path) -> tuple[pa.Table, int]:
    with duckdb.connect() as connection:
        connection.register("class_of", pa.table({"referrer": list(CLASS_OF), "class": list(CLASS_OF.values())}))
        counted = connection.sql(
            """
            select link_type, coalesce(class, case when link_type = 'link' then 'link' else 'other' end) as class,
                   cast(sum(clicks) as bigint) as clicks, count(*) as pairs
            from read_parquet($file) left join class_of using (referrer) group by all
            """,
            params={"file": str(path)},
        ).to_arrow_table()
    return counted, int(pc.sum(counted["pairs"]).as_py() or 0)


# Log and archive ------------------------------------------------------------------------------------------------------


def _check_log(log: EventLog, law: Law, begin: datetime, counter: Counter, report: Report) -> None:
    """Read the whole log: first how far each partition is closed, then what it holds up to there."""
    closed: dict[int, list[Interval]] = {}
    for partition in range(log.partitions):
        closed[partition] = []
        last: dict[str, int] = {}
        start, end = 0, log.end_offset(partition)
        try:
            while start < end:
                piece = log.read(partition, start, READ_ENTRIES)
                if piece.next_offset == start:
                    break
                passed = fence(piece, last)
                last |= passed.last_seqs
                counter.count(passed.records, law.source, law.plan.month.end)
                closed[partition] += _closed(passed.controls, law.source)
                start = piece.next_offset
        except OffsetGone as error:
            report.problems.append(f"log: {error}")
    _compare_covered("log", law, begin, closed, counter, report)


def _closed(controls: pa.Table, source: str) -> list[Interval]:
    beats = controls.filter(
        pc.and_(pc.equal(controls["kind"], int(Kind.HEARTBEAT)), pc.equal(controls["source"], source))
    )
    return merge_intervals(list(zip(beats["event_time"].to_pylist(), beats["until"].to_pylist(), strict=True)))


def _check_archive(storage: Storage, law: Law, begin: datetime, counter: Counter, report: Report) -> None:
    source = law.source
    try:
        everything = storage.archive.segments()
    except OverlappingSegments as error:
        report.problems.append(f"archive: {error}")
        return
    for partition, first, last in gaps(everything):
        report.problems.append(f"archive: partition {partition} lacks offsets {first:,} to {last:,}")
    segments = [segment for segment in everything if source in segment.sources]
    for segment in segments:
        counter.count(storage.archive.read(segment, COUNTED_COLUMNS), source, law.plan.month.end)
    closed = _closed_in(segments, source, storage.log.partitions)
    _compare_covered("archive", law, begin, closed, counter, report)


def _closed_in(segments: list[Segment], source: str, partitions: int) -> dict[int, list[Interval]]:
    closed: dict[int, list[Interval]] = {partition: [] for partition in range(partitions)}
    for segment in segments:
        closed[segment.partition] += segment.sources[source].closed
    return closed


def _compare_covered(
    stage: str, law: Law, start: datetime, closed: Mapping[int, list[Interval]], counter: Counter, report: Report
) -> None:
    """Compare a stage with the law from the replay's ``start`` to the last slot that all its partitions have closed."""
    merged = {partition: merge_intervals(slots) for partition, slots in closed.items()}
    for partition, slots in merged.items():
        report.problems += [
            f"{stage}: partition {partition} has no heartbeat from {format_time(before[1])} to {format_time(after[0])}"
            for before, after in pairwise(merge_intervals([(start, start), *slots]))
        ]
    if not all(merged.values()):
        empty = ", ".join(str(partition) for partition, slots in merged.items() if not slots)
        report.problems.append(f"{stage}: no slot is closed in partition {empty}")
        return
    ends = {partition: slots[-1][1] for partition, slots in merged.items()}
    end, furthest = min(ends.values()), max(ends.values())
    if end != furthest:
        stuck = ", ".join(str(partition) for partition, reached in ends.items() if reached < furthest)
        report.problems.append(
            f"{stage}: partition {stuck} stands at {format_time(end)}, others at {format_time(furthest)}"
        )
    counted = counter.totals()
    counted = counted.filter(pc.less(counted["hour"], pa.scalar(end, counted["hour"].type)))
    covers = f"{format_time(start)} to {format_time(end)}"
    whole = (start, end) == (law.plan.month.start, law.plan.month.end)
    found = summarise(stage, covers, counted, counter.pairs() if whole else None)
    wanted = summarise(stage, covers, expected(law, start, end), law.pairs.count if whole else None)
    if not report.compare(found, wanted):
        _name_hours(stage, counted, expected_by_hour(law, start, end), report)


def _name_hours(stage: str, counted: pa.Table, wanted: pa.Table, report: Report) -> None:
    hours = differing_hours(counted, wanted)
    report.problems += [
        f"{stage}: the slot of {format_time(hour)} holds {have:,} clicks, expected {want:,}"
        for hour, have, want in hours[:NAMED_HOURS]
    ]
    if len(hours) > NAMED_HOURS:
        report.problems.append(f"{stage}: {len(hours) - NAMED_HOURS} more slots differ")


# Views ----------------------------------------------------------------------------------------------------------------


def _check_batch(storage: Storage, law: Law, begin: datetime, report: Report) -> None:
    manifest = storage.batch_views.current(report.wiki, report.month)
    if manifest is None:
        report.problems.append(f"batch: no generation; run 'readerflow batch {report.wiki} {report.month}'")
    elif manifest.source != law.source:
        report.problems.append("batch: the generation is of a replaced source; run the batch again")
    else:
        covers = f"before {format_time(manifest.horizon)}"
        wanted = expected(law, begin, _border(law, manifest.horizon))
        views = pa.Table.from_batches(storage.batch_views.export(manifest.generation, View.CLASSES))
        classes = dict(zip(views["class"].to_pylist(), views["clicks"].to_pylist(), strict=True))
        by_type = {
            name: sum(types.get(name, 0) for types in manifest.totals.values())
            for name in ("link", "external", "other")
        }
        found = Totals("batch", covers, sum(classes.values()), None, by_type, classes)
        report.compare(found, _as_views_count(summarise("", "", wanted)))
        articles = sum(
            pc.sum(rows["in_clicks"]).as_py() or 0
            for rows in storage.batch_views.export(manifest.generation, View.ARTICLES)
        )
        if articles != sum(classes.values()):
            report.problems.append(f"batch: articles sum to {articles:,}, classes to {sum(classes.values()):,} clicks")


def _check_merged(storage: Storage, law: Law, begin: datetime, report: Report) -> None:
    if (report.wiki, report.month) not in storage.serving_views.months():
        return
    with storage.serving_views.read(report.wiki, report.month) as reading:
        snapshot = reading.snapshot
        batch, live = reading.classes()
    if snapshot.source != law.source:
        return
    parts = [dict(zip(part["class"].to_pylist(), part["clicks"].to_pylist(), strict=True)) for part in (batch, live)]
    report.batch_clicks, report.live_clicks = (sum(part.values()) for part in parts)
    classes = {name: parts[0].get(name, 0) + parts[1].get(name, 0) for name in {**parts[0], **parts[1]}}
    by_type = {
        "link": classes.get("link", 0),
        "external": sum(classes.get(name, 0) for name in CLASSES),
        "other": classes.get("other", 0),
    }
    covers = f"before {format_time(snapshot.live_until)}"
    found = Totals("merged", covers, sum(classes.values()), None, by_type, classes)
    wanted = summarise("", "", expected(law, begin, _border(law, snapshot.live_until)))
    report.compare(found, _as_views_count(wanted))
    if snapshot.late:
        report.problems.append(f"merged: {snapshot.late:,} clicks came late; run the batch again to count them")
    for start, end in snapshot.holes:
        report.problems.append(f"merged: nothing is known from {format_time(start)} to {format_time(end)}")


def _as_views_count(totals: Totals) -> Totals:
    """The same totals with red links counted as other, as views do."""
    by_type = dict(totals.by_type)
    by_type["other"] += by_type.pop("redlink")
    return replace(totals, by_type=by_type)


def _border(law: Law, time: datetime) -> datetime:
    """The first border of a slot at or after ``time``: slots that start before a horizon belong to it."""
    if time > law.plan.month.end:
        raise ReaderFlowError(f"{format_time(time)} lies after the month")
    return law.slots.border(bisect_left(range(law.slots.count), time, key=law.slots.border))


# Telling --------------------------------------------------------------------------------------------------------------


def _print(report: Report) -> None:
    names = [name for name in LINK_TYPES if any(stage.by_type.get(name) for stage in report.stages)]
    rows = [
        [stage.stage, stage.covers, stage.pairs, stage.clicks, *(stage.by_type.get(name, 0) for name in names)]
        for stage in report.stages
    ]
    print(f"{report.wiki} {report.month}, source {report.source or '-'}\n")
    print(table(["stage", "covers", "pairs", "clicks", *names], rows))
    classes = list(report.stages[0].by_class)
    print()
    by_class = [[stage.stage, *(stage.by_class.get(name, 0) for name in classes)] for stage in report.stages]
    print(table(["stage", *classes], by_class))
    if report.batch_clicks is not None and report.live_clicks is not None:
        total = report.batch_clicks + report.live_clicks
        print(f"\nmerged: {report.batch_clicks:,} batch + {report.live_clicks:,} live = {total:,}")
    for problem in report.problems:
        say(f"DIFFERENCE  {problem}")
    differences = f"{len(report.problems)} difference{'s' if len(report.problems) > 1 else ''}"
    print(f"\n{differences if report.problems else 'All stages agree.'}")
