"""Manifests for tests that care about what a generation covers, not about how it was made."""

from __future__ import annotations

from datetime import datetime

from readerflow.common.months import Month
from readerflow.storage.batch_views import Interval, Manifest


def manifest_of(
    wiki: str,
    month: str,
    source: str,
    horizon: datetime,
    *,
    offsets: dict[int, int],
    closed: dict[int, list[Interval]],
    totals: dict[int, dict[str, int]] | None = None,
    generation: str = "g1",
) -> Manifest:
    """A generation without rows that covers offsets, slots and totals."""
    made = Month.parse(month).start
    return Manifest(
        generation=generation,
        wiki=wiki,
        month=month,
        source=source,
        since=-1,
        horizon=horizon,
        offsets=offsets,
        totals=totals or {},
        classes={},
        closed=closed,
        rows={},
        articles=0,
        linked_articles=0,
        pairs=0,
        ranks={},
        engine="test",
        version="0",
        started=made,
        finished=made,
    )
