"""What a batch run rests on: the files of the archive, the active source, and the horizon that they allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from readerflow.common.errors import BadInput, ReaderFlowError
from readerflow.common.months import Month, floor_hour, format_time, merge_intervals
from readerflow.storage.archive import Archive, OverlappingSegments, Segment
from readerflow.storage.batch_views import Interval
from readerflow.storage.log import ActiveSource


class NothingToCover(ReaderFlowError):
    """The archive holds nothing of the month, or no hour of it has been passed in every partition."""


class BadHorizon(BadInput):
    """The wanted horizon lies outside of what a generation can cover."""


class ArchiveGap(ReaderFlowError):
    """Offsets are missing between two files: views without them would silently be too small."""


@dataclass(frozen=True)
class Coverage:
    """The files of a run and what they say about the month's active source."""

    active: ActiveSource
    horizon: datetime
    uris: list[str]  # files that hold records of the source
    offsets: dict[int, int]  # partition -> first offset not covered
    closed: dict[int, list[Interval]]  # partition -> slots that heartbeats have closed


def cover(
    archive: Archive,
    wiki: str,
    month: Month,
    partitions: int,
    *,
    until: datetime | None = None,
    not_before: datetime | None = None,
) -> Coverage:
    """List the files of the archive and choose the horizon.

    :param until: the wanted horizon; by default the latest hour that all partitions have passed.
    :param not_before: the first hour that realtime rows hold; an earlier ``until`` would leave a hole before it.
    :raises NothingToCover: when nothing of the month is archived or passed.
    :raises BadHorizon: when ``until`` can't be had.
    :raises ArchiveGap: when offsets are missing.
    :raises OverlappingSegments: when two files hold the same offsets.
    """
    name = f"{wiki} {month}"
    active = archive.active_source(wiki, str(month))
    if active is None:
        raise NothingToCover(f"the archive holds nothing of {name}; run 'readerflow replay' and 'readerflow archive'")
    # Asked before the files are listed: what has been passed by now is in the list.
    passed = [archive.passed(active.source, partition) for partition in range(partitions)]
    segments = archive.segments()
    horizon = choose_horizon(name, month, passed, until, not_before)
    held = [segment for segment in segments if active.source in segment.sources]
    closed: dict[int, list[Interval]] = {partition: [] for partition in range(partitions)}
    for segment in held:
        closed.setdefault(segment.partition, []).extend(segment.sources[active.source].closed)
    return Coverage(
        active=active,
        horizon=horizon,
        uris=[segment.uri for segment in held if segment.records],
        offsets=dict.fromkeys(range(partitions), 0) | contiguous_ends(segments),
        closed={partition: merge_intervals(slots) for partition, slots in closed.items()},
    )


def contiguous_ends(segments: Sequence[Segment]) -> dict[int, int]:
    """The first offset after each partition's files.

    :param segments: in partition and offset order.
    :raises ArchiveGap: naming partition, offsets and the file after the gap.
    :raises OverlappingSegments: naming the file that begins before the one before it ends.
    """
    ends: dict[int, int] = {}
    for segment in segments:
        expected = ends.get(segment.partition, 0)
        if segment.first_offset < expected:
            raise OverlappingSegments(
                f"{segment.uri} begins at offset {segment.first_offset} of partition {segment.partition}, but the file "
                f"before it reaches up to {expected - 1}: clicks would count twice; move the wrong one away"
            )
        if segment.first_offset > expected:
            raise ArchiveGap(
                f"the archive lacks offsets {expected} to {segment.first_offset - 1} of partition {segment.partition}, "
                f"before {segment.uri}; restore the missing file, or run "
                "'readerflow archive', which reads them from the log again"
            )
        ends[segment.partition] = segment.last_offset + 1
    return ends


def choose_horizon(
    name: str,
    month: Month,
    passed: Sequence[datetime | None],
    until: datetime | None,
    not_before: datetime | None,
) -> datetime:
    """The horizon of a run: ``until``, or the latest full hour that every partition has passed."""
    reached = [time for time in passed if time is not None]
    latest = min(floor_hour(min(reached)), month.end) if len(reached) == len(passed) and reached else month.start
    if latest <= month.start:
        raise NothingToCover(
            f"no full hour of {name} has been archived in every partition yet; let 'readerflow replay' and "
            "'readerflow archive' go on, then run the batch again"
        )
    if until is None:
        return latest
    if until != floor_hour(until) or not month.start < until <= month.end:
        raise BadHorizon(
            f"--until {format_time(until)} is not a full hour of {name}; "
            f"give one after {format_time(month.start)} and up to {format_time(month.end)}"
        )
    if until > latest:
        raise BadHorizon(
            f"--until {format_time(until)} lies beyond {format_time(latest)}, up to which the archive holds {name}; "
            "archive more first, or give an earlier hour"
        )
    if not_before is not None and until < not_before:
        raise BadHorizon(
            f"--until {format_time(until)} lies before {format_time(not_before)}, where the realtime rows begin: the "
            "hours between would be missing; give that hour or a later one"
        )
    return until
