"""How fresh and how whole an answer is: the definitions of ``live_until``, late and hole. Pure functions.

An answer about (wiki, month) joins a generation (hours < T, its horizon) with realtime rows (hours >= T) of the same
source. It speaks of [month's start, ``live_until``), and it is complete when nothing is late and no hole lies in there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from readerflow.common.months import HOUR, Month, merge_intervals

from .batch_views import Interval, Manifest, NoGeneration
from .log import ActiveSource
from .realtime_views import StreamProgress
from .serving_views import Snapshot


def source_of(wiki: str, month: str, manifest: Manifest | None, active: ActiveSource | None) -> str:
    """The source whose rows an answer about (wiki, month) joins.

    :raises NoGeneration: when there is none.
    """
    source = manifest.source if manifest else active.source if active else None
    if source is None:
        raise NoGeneration(f"nothing is known of {wiki} {month}; 'readerflow replay' and 'batch' bring it in")
    return source


def version_of(pointers: Iterable[tuple[Any, ...]], incarnation: str | None, progress: StreamProgress) -> str:
    """A short text that changes with what any answer rests on.

    :param pointers: a row for each (wiki, month), in any order, that begins with these two.
    :param incarnation: the one that readers take, with its ``progress``. Retiring rows, after which a month may be live
        no longer, changes its ``rows_from`` without a new batch.
    """
    facts = sorted(pointers), incarnation, progress.batch_id, sorted(progress.rows_from.items())
    return hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()


def horizon_of(month: str, manifest: Manifest | None) -> datetime:
    """The hour from which realtime rows count: the month's start before a first generation."""
    return manifest.horizon if manifest else Month.parse(month).start


def covered_hours(manifest: Manifest) -> int:
    """Hours of its month that a generation counts."""
    month = Month.parse(manifest.month)
    return (min(manifest.horizon, month.end) - month.start) // HOUR


def snapshot(
    wiki: str,
    month: str,
    manifest: Manifest | None,
    active: ActiveSource | None,
    incarnation: str | None,
    progress: StreamProgress,
    totals: Mapping[int, Mapping[str, int]],
) -> Snapshot:
    """What an answer rests on, from the facts that one look at the stores gave.

    :param totals: partition -> link type -> clicks before the horizon that the stream knows of the source.
    :raises NoGeneration: when nothing is known of (wiki, month).
    """
    source, horizon = source_of(wiki, month, manifest, active), horizon_of(month, manifest)
    return Snapshot(
        wiki=wiki,
        month=month,
        source=source,
        manifest=manifest,
        horizon=horizon,
        incarnation=incarnation,
        batch_id=progress.batch_id,
        live_until=live_until(progress, source, horizon),
        late=late_clicks(manifest, progress, totals),
        holes=holes(manifest, progress, source, horizon, Month.parse(month)),
        replaced=manifest is not None and active is not None and active.source != manifest.source,
    )


def live_until(progress: StreamProgress, source: str, horizon: datetime) -> datetime:
    """The time that the stream has passed in every partition for a source; the horizon when it is not beyond it."""
    return max(horizon, passed(progress, source) or horizon)


def passed(progress: StreamProgress, source: str) -> datetime | None:
    """The end of the source's last slot that heartbeats have closed in every partition; None when there is none."""
    ends = [
        max((end for _, end in progress.closed.get(partition, {}).get(source, [])), default=None)
        for partition in progress.offsets
    ]
    reached = [end for end in ends if end is not None]
    return min(reached) if reached and len(reached) == len(ends) else None


def late_clicks(manifest: Manifest | None, progress: StreamProgress, totals: Mapping[int, Mapping[str, int]]) -> int:
    """Clicks before the horizon that lie beyond the offsets of the generation; 0 without a generation.

    A partition counts where the stream has passed the generation's offsets: before that it can't know.

    :param totals: partition -> link type -> clicks of hours < horizon that the stream knows of the manifest's source.
    """
    if manifest is None:
        return 0
    late = 0
    for partition, by_type in totals.items():
        if progress.offsets.get(partition, 0) >= manifest.offsets.get(partition, 0):
            held = manifest.totals.get(partition, {})
            late += sum(max(0, clicks - held.get(link_type, 0)) for link_type, clicks in by_type.items())
    return late


def holes(
    manifest: Manifest | None, progress: StreamProgress, source: str, horizon: datetime, month: Month
) -> list[Interval]:
    """The parts of [month's start, live_until) that nobody saw, merged over partitions, in order.

    Before the horizon the generation must have seen each slot's heartbeat in each partition; after it the stream must,
    and its rows must reach back so far.

    :param horizon: of the manifest, or the month's start without one.
    """
    end = live_until(progress, source, horizon)
    missing: list[Interval] = []
    if manifest is not None:
        for partition in manifest.offsets:
            missing += without((month.start, horizon), manifest.closed.get(partition, []))
    if end > horizon:
        rows_from = progress.rows_from.get(source, horizon)
        missing += without((horizon, end), [(rows_from, end)])
        for partition in progress.offsets:
            missing += without((horizon, end), progress.closed.get(partition, {}).get(source, []))
    return merge_intervals(missing)


def without(whole: Interval, parts: list[Interval]) -> list[Interval]:
    """What is left of an interval when others are taken out of it."""
    left: list[Interval] = []
    at, end = whole
    for start, stop in sorted(parts):
        if start >= end:
            break
        if start > at:
            left.append((at, start))
        at = max(at, stop)
    if at < end:
        left.append((at, end))
    return left
