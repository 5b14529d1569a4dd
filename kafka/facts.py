"""The footer of an archive file: what its records and controls say, by source and event hour."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.months import merge_intervals
from readerflow.common.records import LINK_TYPES, Kind
from readerflow.storage.archive import HourFacts, Replacement, Segment, SourceFacts

_HOUR = 3_600_000_000


def segment_of(
    partition: int, first: int, last: int, records: pa.Table, controls: pa.Table, rejects: int, duplicates: int
) -> Segment:
    """Describe the offsets [first, last] of a partition.

    :param records: schema RECORDS, without duplicates; ``controls``: schema CONTROLS, likewise.
    """
    sources: dict[str, SourceFacts] = {}
    hours = _hours(records)
    for name in _unique(records, controls):
        mine = records.filter(pc.equal(records["source"], name)) if len(hours) > 1 else records
        beats = controls.filter(
            pc.and_(pc.equal(controls["source"], name), pc.equal(controls["kind"], int(Kind.HEARTBEAT)))
        )
        known = [table for table in (mine.select(_NAMES), beats.select(_NAMES)) if table.num_rows]
        if not known or (name not in hours and beats.num_rows == 0):
            continue  # only replacements
        if name not in hours:
            known = [beats.select(_NAMES)]
        heartbeats = [(row["event_time"], row["until"], row["offset"]) for row in beats.to_pylist()]
        sources[name] = SourceFacts(
            wiki=known[0]["wiki"][0].as_py(),
            month=known[0]["month"][0].as_py(),
            last_seq=max(pc.max(table["seq"]).as_py() for table in known),
            hours=hours.get(name, {}),
            closed=merge_intervals([(start, until) for start, until, _ in heartbeats]),
            heartbeats=heartbeats,
        )
    replaced = controls.filter(pc.equal(controls["kind"], int(Kind.REPLACEMENT)))
    return Segment(
        partition=partition,
        first_offset=first,
        last_offset=last,
        records=records.num_rows,
        controls=controls.num_rows,
        rejects=rejects,
        duplicates=duplicates,
        sources=sources,
        replacements=[
            Replacement(row["wiki"], row["month"], row["source"], row["offset"]) for row in replaced.to_pylist()
        ],
    )


_NAMES = ["seq", "wiki", "month"]


def _unique(records: pa.Table, controls: pa.Table) -> list[str]:
    both = pa.chunked_array([*records["source"].chunks, *controls["source"].chunks], pa.string())
    return [str(name) for name in both.unique().to_pylist()]


def _hours(records: pa.Table) -> dict[str, dict[datetime, HourFacts]]:
    """Facts of each event hour by source."""
    codes = records["source"].combine_chunks().dictionary_encode()
    types = pc.index_in(records["link_type"], value_set=pa.array(LINK_TYPES))
    hour = records["event_time"].cast(pa.int64()).to_numpy() // _HOUR
    cells = (codes.indices.to_numpy().astype(np.int64) << 40) + (hour << 2) + types.to_numpy()
    grouped = (
        pa.table({"cell": cells, "offset": records["offset"], "clicks": records["clicks"]})
        .group_by("cell")
        .aggregate([("offset", "min"), ("offset", "count"), ("clicks", "sum")])
        .sort_by("cell")
    )
    names = codes.dictionary.to_pylist()
    found: dict[str, dict[datetime, HourFacts]] = {}
    for row in grouped.to_pylist():
        code, rest = divmod(row["cell"], 1 << 40)
        number, link_type = divmod(rest, 4)
        time = _time(number)
        by_hour = found.setdefault(names[code], {})
        before = by_hour.get(time, HourFacts(row["offset_min"], 0, {}))
        by_hour[time] = HourFacts(
            min(before.first_offset, row["offset_min"]),
            before.records + row["offset_count"],
            before.clicks | {LINK_TYPES[link_type]: row["clicks_sum"]},
        )
    return found


def _time(hour: int) -> datetime:
    time: datetime = np.datetime64(hour * _HOUR, "us").astype(datetime)
    return time
