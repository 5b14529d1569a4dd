"""Where a stream begins that has no checkpoint, and what it takes over from the archive.

Rows are needed of each source that readers may ask for: of sources with retained generations from their smallest
horizon on, of other active sources from the month's start. In each partition the stream begins at the lowest offset
that one of them needs. Its totals count every record before that offset, so that lateness is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa

from readerflow.common.months import Month, merge_intervals
from readerflow.storage.archive import Archive, Segment
from readerflow.storage.batch_views import Interval, Manifest
from readerflow.storage.log import ActiveSource
from readerflow.storage.realtime_views import LIVE_TOTALS, StreamProgress


@dataclass(frozen=True)
class Start:
    """The beginning of an incarnation."""

    progress: StreamProgress
    totals: pa.Table  # LIVE_TOTALS: clicks before the offsets of ``progress``


def smallest_horizons(retained: Iterable[Manifest]) -> dict[str, datetime]:
    """The smallest horizon of the retained generations of each source."""
    horizons: dict[str, datetime] = {}
    for manifest in retained:
        horizons[manifest.source] = min(manifest.horizon, horizons.get(manifest.source, manifest.horizon))
    return horizons


def start_without_checkpoint(archive: Archive, partitions: int, retained: Iterable[Manifest]) -> Start:
    """Choose the offsets and seed the progress and totals from the archive.

    :raises OverlappingSegments: when two archive files hold the same offsets.
    """
    # Asked before the files are listed: what the archive has reached by now is in the list.
    ends = {partition: archive.next_offset(partition) for partition in range(partitions)}
    segments = [part for part in archive.segments() if part.last_offset < ends.get(part.partition, 0)]
    months = {name: (facts.wiki, facts.month) for part in segments for name, facts in part.sources.items()}
    active = _active(archive, {*months.values(), *((r.wiki, r.month) for part in segments for r in part.replacements)})
    horizons = smallest_horizons(retained)
    needed = {found.source: Month.parse(key.rsplit("/", 1)[1]).start for key, found in active.items()} | horizons
    offsets = {
        partition: _first_needed([part for part in segments if part.partition == partition], needed, end)
        for partition, end in ends.items()
    }
    whole, partial = _before(segments, offsets)
    parts = [
        _Part(part.partition, _footer_clicks(part), {name: facts.last_seq for name, facts in part.sources.items()})
        for part in whole
    ]
    with duckdb.connect() as connection:
        parts += [_read_before(connection, archive, part, offsets[part.partition]) for part in partial]
    progress = StreamProgress(
        offsets=offsets,
        last_seqs=_last_seqs(parts, partitions),
        closed=_closed(whole, partial, offsets, partitions),
        months=months,
        active=active,
        # No rows are kept of a source that nobody can ask for.
        rows_from={name: needed.get(name, Month.parse(month).end) for name, (_, month) in months.items()},
    )
    return Start(progress, _totals(parts))


def _active(archive: Archive, months: set[tuple[str, str]]) -> dict[str, ActiveSource]:
    found = {f"{wiki}/{month}": archive.active_source(wiki, month) for wiki, month in sorted(months)}
    return {key: source for key, source in found.items() if source is not None}


def _first_needed(segments: list[Segment], needed: Mapping[str, datetime], end: int) -> int:
    """The lowest offset of a partition that one of the sources needs; ``end`` when the archive holds none."""
    firsts = (
        _first_of([part for part in segments if name in part.sources], name, hour) for name, hour in needed.items()
    )
    return min([end, *(first for first in firsts if first is not None)])


def _first_of(held: list[Segment], source: str, first_hour: datetime) -> int | None:
    """The first offset that a source needs from ``first_hour`` on; None when the files hold nothing of that.

    That is a record's or, of an idle hour, a heartbeat's: late records may lie behind the heartbeats of later hours.
    """
    records = (
        facts.first_offset for part in held for hour, facts in part.sources[source].hours.items() if hour >= first_hour
    )
    heartbeats = (offset for part in held for _, end, offset in _heartbeats(part, source) if end > first_hour)
    return min([*records, *heartbeats], default=None)


def _heartbeats(part: Segment, source: str) -> list[tuple[datetime, datetime, int]]:
    """Slots of a file with the offsets of their heartbeats; where those were not noted, none lies before the file."""
    facts = part.sources[source]
    if facts.heartbeats is not None:
        return facts.heartbeats
    return [(start, end, part.first_offset) for start, end in facts.closed]


def _before(segments: list[Segment], offsets: Mapping[int, int]) -> tuple[list[Segment], list[Segment]]:
    """The files that lie before the offsets as a whole, and those that hold them."""
    whole = [part for part in segments if part.last_offset < offsets[part.partition]]
    partial = [part for part in segments if part.first_offset < offsets[part.partition] <= part.last_offset]
    return whole, partial


@dataclass(frozen=True)
class _Part:
    """What a file that holds the first offset holds before it."""

    partition: int
    clicks: dict[tuple[str, datetime, str], int]  # (source, hour, link type)
    last_seqs: dict[str, int]


def _read_before(connection: duckdb.DuckDBPyConnection, archive: Archive, segment: Segment, offset: int) -> _Part:
    """Look into a file for its records before an offset: its footer less what lies behind, and the last seqs."""
    clicks = _footer_clicks(segment)
    seen_at = {
        name: max((h.first_offset for h in facts.hours.values() if h.first_offset < offset), default=None)
        for name, facts in segment.sources.items()
    }
    near = min((first for first in seen_at.values() if first is not None), default=offset)
    rows = archive.read(segment, ["offset", "source", "seq", "event_time", "link_type", "clicks"], near)
    connection.register("archived", rows)
    behind = connection.execute(_BEHIND, {"start": offset}).fetchall()
    lasts = connection.execute(_LAST_SEQS, {"near": near, "start": offset}).fetchall()
    for source, hour, link_type, later in behind:
        clicks[source, hour, link_type] -= later
    return _Part(segment.partition, {key: left for key, left in clicks.items() if left}, dict(lasts))


def _footer_clicks(segment: Segment) -> dict[tuple[str, datetime, str], int]:
    return {
        (name, hour, link_type): clicks
        for name, facts in segment.sources.items()
        for hour, held in facts.hours.items()
        for link_type, clicks in held.clicks.items()
    }


_BEHIND = """
    select source, date_trunc('hour', event_time), link_type, sum(clicks)::bigint
    from archived where "offset" >= $start group by all
"""
_LAST_SEQS = """
    select source, max(seq) from archived where "offset" >= $near and "offset" < $start group by source
"""


def _last_seqs(parts: list[_Part], partitions: int) -> dict[int, dict[str, int]]:
    lasts: dict[int, dict[str, int]] = {partition: {} for partition in range(partitions)}
    for part in parts:
        for source, seq in part.last_seqs.items():
            lasts[part.partition][source] = max(seq, lasts[part.partition].get(source, seq))
    return lasts


def _totals(parts: list[_Part]) -> pa.Table:
    """Clicks before the offsets by source, partition, hour and link type."""
    sums: dict[tuple[str, int, datetime, str], int] = {}
    for part in parts:
        for (source, hour, link_type), clicks in part.clicks.items():
            key = source, part.partition, hour, link_type
            sums[key] = sums.get(key, 0) + clicks
    columns = list(zip(*[(*key, clicks) for key, clicks in sums.items()], strict=True)) or [()] * len(LIVE_TOTALS)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, LIVE_TOTALS, strict=True)], schema=LIVE_TOTALS)


def _closed(
    whole: list[Segment], partial: list[Segment], offsets: Mapping[int, int], partitions: int
) -> dict[int, dict[str, list[Interval]]]:
    """Slots whose heartbeats lie before the offsets; those of a file that does not note where are read again."""
    slots: dict[int, dict[str, list[Interval]]] = {partition: {} for partition in range(partitions)}
    for part in whole:
        for name, facts in part.sources.items():
            slots[part.partition].setdefault(name, []).extend(facts.closed)
    for part in partial:
        offset = offsets[part.partition]
        for name, facts in part.sources.items():
            seen = [(start, end) for start, end, place in facts.heartbeats or [] if place < offset]
            slots[part.partition].setdefault(name, []).extend(seen)
    return {
        partition: {name: merge_intervals(found) for name, found in by_source.items() if found}
        for partition, by_source in slots.items()
    }
