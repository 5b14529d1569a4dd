"""What one step of the stream adds to the realtime views: a pure function of log slices and the progress before.

Each slice goes through the fence (storage/fence.py). Rows are kept of hours from ``rows_from`` of their source: the
smallest horizon of its retained generations when the stream began, or the month's start. Records of earlier hours go
into the totals only, by which lateness is judged. Nothing is dropped by a watermark: partitions, wikis and months may
come in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.months import Month, merge_intervals
from readerflow.common.records import CLASS_OF, RECORDS, TIME, Kind
from readerflow.storage.batch_views import Interval
from readerflow.storage.fence import Fenced, fence
from readerflow.storage.log import ActiveSource, LogSlice
from readerflow.storage.realtime_views import (
    LIVE_ARTICLES,
    LIVE_CLASSES,
    LIVE_PAIRS,
    LIVE_TOTALS,
    MicroBatch,
    StreamProgress,
)

from .views import sql

PARTITION = pa.field("partition", pa.int32())
KEPT = pa.schema([("source", pa.string()), ("rows_from", TIME)])
_CLASSES = pa.table({"referrer": list(CLASS_OF), "class": list(CLASS_OF.values())})


@dataclass(frozen=True)
class Part:
    """What a slice of one partition brings to the progress, without its rows: small, so that it can travel."""

    next_offset: int
    last_seqs: dict[str, int]  # of the sources in the slice
    closed: dict[str, list[Interval]]  # slots that heartbeats of the slice close, by source
    firsts: list[tuple[int, str, str, str]]  # (first offset, source, wiki, month) of sources that were unknown before
    replacements: list[tuple[ActiveSource, str, str]]  # with (wiki, month)
    records: int
    rejects: int
    duplicates: int
    late: int  # records that came after the heartbeat that closed their slot


def micro_batch(slices: Mapping[int, LogSlice], before: StreamProgress) -> MicroBatch:
    """Compute the rows of a slice of each partition and the progress after them.

    :param slices: partition -> entries from ``before.offsets`` on; a partition may be missing.
    """
    taken = {partition: take_part(partition, piece, before) for partition, piece in sorted(slices.items())}
    progress = merged({partition: part for partition, (part, _) in taken.items()}, before)
    records = [tagged(records, partition) for partition, (_, records) in taken.items()]
    return live_rows(pa.concat_tables([RECORDS.append(PARTITION).empty_table(), *records]), progress)


def take_part(partition: int, piece: LogSlice, before: StreamProgress) -> tuple[Part, pa.Table]:
    """Put a slice of a partition through the fence; return what it brings and the records (RECORDS) that count."""
    fenced = fence(piece, before.last_seqs.get(partition, {}))
    part = Part(
        next_offset=piece.next_offset,
        last_seqs=fenced.last_seqs,
        closed=_slots(fenced.controls),
        firsts=sorted(_new_sources(fenced, before)),
        replacements=_replacements(fenced.controls) if partition == 0 else [],
        records=fenced.records.num_rows,
        rejects=piece.rejects.num_rows,
        duplicates=fenced.duplicates,
        late=_late(fenced, before.closed.get(partition, {})),
    )
    return part, fenced.records


def tagged(records: pa.Table, partition: int) -> pa.Table:
    """Records with their partition."""
    return records.append_column(PARTITION, pa.repeat(pa.scalar(partition, pa.int32()), records.num_rows))


def live_rows(records: pa.Table, progress: StreamProgress) -> MicroBatch:
    """Aggregate records (schema RECORDS and partition) into the live tables."""
    kept = pa.table([list(progress.rows_from), list(progress.rows_from.values())], schema=KEPT)
    with duckdb.connect() as connection:
        connection.register("records", records)
        connection.register("kept", kept)
        connection.register("classes", _CLASSES)
        pairs = _query(connection, "live_pairs", LIVE_PAIRS)
        connection.register("live_pairs", pairs)
        return MicroBatch(
            progress=progress,
            pairs=pairs,
            articles=_query(connection, "live_articles", LIVE_ARTICLES),
            classes=_query(connection, "live_classes", LIVE_CLASSES),
            totals=_query(connection, "live_totals", LIVE_TOTALS),
        )


def _query(connection: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema) -> pa.Table:
    return connection.sql(sql(name)).to_arrow_table().select(schema.names).cast(schema)


def merged(parts: Mapping[int, Part], before: StreamProgress) -> StreamProgress:
    """The progress after a part of each partition; one may be missing."""
    months = dict(before.months)
    firsts = [(*first, partition) for partition, part in parts.items() for first in part.firsts]
    active = dict(before.active)
    for _, source, wiki, month, _ in sorted(firsts, key=lambda first: (first[0], first[4])):
        months.setdefault(source, (wiki, month))
        active.setdefault(f"{wiki}/{month}", ActiveSource(source))
    for found, wiki, month in [replacement for part in parts.values() for replacement in part.replacements]:
        known = active.get(f"{wiki}/{month}")
        if known is None or found.since > known.since:
            active[f"{wiki}/{month}"] = found
    return replace(
        before,
        batch_id=before.batch_id + 1,
        offsets=before.offsets | {partition: part.next_offset for partition, part in parts.items()},
        last_seqs=before.last_seqs
        | {
            partition: before.last_seqs.get(partition, {}) | part.last_seqs
            for partition, part in parts.items()
            if part.last_seqs
        },
        closed=before.closed
        | {partition: _closed(part, before.closed.get(partition, {})) for partition, part in parts.items()},
        months=months,
        active=active,
        rows_from={source: Month.parse(month).start for source, (_, month) in months.items()} | before.rows_from,
        records=before.records + sum(part.records for part in parts.values()),
        rejects=before.rejects + sum(part.rejects for part in parts.values()),
        duplicates=before.duplicates + sum(part.duplicates for part in parts.values()),
        late=before.late + sum(part.late for part in parts.values()),
    )


def _new_sources(part: Fenced, before: StreamProgress) -> list[tuple[int, str, str, str]]:
    """(first offset, source, wiki, month) of sources that have not been seen before."""
    known = pa.array(list(before.months), pa.string())
    found = []
    for rows in (part.records, part.controls):
        new = rows.filter(pc.invert(pc.is_in(rows["source"], value_set=known)))
        firsts = new.group_by(["source", "wiki", "month"]).aggregate([("offset", "min")])
        found += [(row["offset_min"], row["source"], row["wiki"], row["month"]) for row in firsts.to_pylist()]
    return found


def _replacements(controls: pa.Table) -> list[tuple[ActiveSource, str, str]]:
    rows = controls.filter(pc.equal(controls["kind"], int(Kind.REPLACEMENT))).to_pylist()
    return [(ActiveSource(row["source"], row["offset"]), row["wiki"], row["month"]) for row in rows]


def _slots(controls: pa.Table) -> dict[str, list[Interval]]:
    """The slots that heartbeats close, by source."""
    beats = controls.filter(pc.equal(controls["kind"], int(Kind.HEARTBEAT)))
    slots: dict[str, list[Interval]] = {}
    for row in beats.select(["source", "event_time", "until"]).to_pylist():
        slots.setdefault(row["source"], []).append((row["event_time"], row["until"]))
    return {source: merge_intervals(found) for source, found in slots.items()}


def _closed(part: Part, before: Mapping[str, list[Interval]]) -> dict[str, list[Interval]]:
    """The slots that heartbeats have closed in a partition, by source."""
    new = {source: merge_intervals([*before.get(source, []), *slots]) for source, slots in part.closed.items()}
    return {**before, **new}


def _late(part: Fenced, closed: Mapping[str, list[Interval]]) -> int:
    """Records that came after a heartbeat of their source that closed their slot or a later one."""
    records, controls = part.records, part.controls
    beats = controls.filter(pc.equal(controls["kind"], int(Kind.HEARTBEAT)))
    late = 0
    for source in records["source"].unique().to_pylist():
        mine = records.filter(pc.equal(records["source"], source))
        ticks = beats.filter(pc.equal(beats["source"], source))
        passed = max((end for _, end in closed.get(source, [])), default=None)
        first = np.int64(np.iinfo(np.int64).min) if passed is None else np.datetime64(passed, "us").astype(np.int64)
        ends = np.maximum.accumulate(np.concatenate([[first], ticks["until"].cast(pa.int64()).to_numpy()]))
        seen = np.searchsorted(ticks["offset"].to_numpy(), mine["offset"].to_numpy())
        late += int(np.count_nonzero(mine["event_time"].cast(pa.int64()).to_numpy() < ends[seen]))
    return late
