"""What one step of the stream adds to the realtime views: a pure function of log slices and the progress before.

Each slice goes through the fence (storage/fence.py). Rows are kept of hours from ``rows_from`` of their source: the
smallest horizon of its retained generations when the stream began, or the month's start. Records of earlier hours go
into the totals only, by which lateness is judged. Nothing is dropped by a watermark: partitions, wikis and months may
come in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import duckdb
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


def micro_batch(slices: Mapping[int, LogSlice], before: StreamProgress) -> MicroBatch:
    """Compute the rows of a slice of each partition and the progress after them.

    :param slices: partition -> entries from ``before.offsets`` on; a partition may be missing.
    """
    fenced = {
        partition: fence(piece, before.last_seqs.get(partition, {})) for partition, piece in sorted(slices.items())
    }
    progress = _progress(slices, fenced, before)
    records = pa.concat_tables(
        [
            RECORDS.append(PARTITION).empty_table(),
            *(
                part.records.append_column(PARTITION, pa.repeat(pa.scalar(partition, pa.int32()), len(part.records)))
                for partition, part in fenced.items()
            ),
        ]
    )
    return live_rows(records, progress)


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


def _progress(slices: Mapping[int, LogSlice], fenced: Mapping[int, Fenced], before: StreamProgress) -> StreamProgress:
    months = dict(before.months)
    firsts = [(*first, partition) for partition, part in fenced.items() for first in _new_sources(part, before)]
    active = dict(before.active)
    for _, source, wiki, month, _ in sorted(firsts, key=lambda first: (first[0], first[4])):
        months.setdefault(source, (wiki, month))
        active.setdefault(f"{wiki}/{month}", ActiveSource(source))
    for found, wiki, month in _replacements(fenced):
        known = active.get(f"{wiki}/{month}")
        if known is None or found.since > known.since:
            active[f"{wiki}/{month}"] = found
    return replace(
        before,
        batch_id=before.batch_id + 1,
        offsets=before.offsets | {partition: piece.next_offset for partition, piece in slices.items()},
        last_seqs=before.last_seqs
        | {
            partition: before.last_seqs.get(partition, {}) | part.last_seqs
            for partition, part in fenced.items()
            if part.last_seqs
        },
        closed=before.closed | {partition: _closed(part, before, partition) for partition, part in fenced.items()},
        months=months,
        active=active,
        rows_from={source: Month.parse(month).start for source, (_, month) in months.items()} | before.rows_from,
        records=before.records + sum(part.records.num_rows for part in fenced.values()),
        rejects=before.rejects + sum(piece.rejects.num_rows for piece in slices.values()),
        duplicates=before.duplicates + sum(part.duplicates for part in fenced.values()),
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


def _replacements(fenced: Mapping[int, Fenced]) -> list[tuple[ActiveSource, str, str]]:
    if 0 not in fenced:
        return []
    controls = fenced[0].controls
    rows = controls.filter(pc.equal(controls["kind"], int(Kind.REPLACEMENT))).to_pylist()
    return [(ActiveSource(row["source"], row["offset"]), row["wiki"], row["month"]) for row in rows]


def _closed(part: Fenced, before: StreamProgress, partition: int) -> dict[str, list[Interval]]:
    """The slots that heartbeats have closed in a partition, by source."""
    closed = dict(before.closed.get(partition, {}))
    controls = part.controls
    beats = controls.filter(pc.equal(controls["kind"], int(Kind.HEARTBEAT)))
    slots: dict[str, list[Interval]] = {}
    for row in beats.select(["source", "event_time", "until"]).to_pylist():
        slots.setdefault(row["source"], []).append((row["event_time"], row["until"]))
    for source, new in slots.items():
        closed[source] = merge_intervals([*closed.get(source, []), *new])
    return closed
