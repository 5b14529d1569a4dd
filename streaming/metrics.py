"""Figures of a running stream: committed with its progress, so that any process can show them (``/metrics``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from readerflow.storage.realtime_views import BatchFigures, StreamProgress


def with_figures(
    after: StreamProgress, before: StreamProgress, ends: Mapping[int, int], seconds: float, at: datetime
) -> StreamProgress:
    """Progress with the figures of the micro-batch that led to it.

    :param ends: partition -> where the log ends; a partition whose end is unknown has no lag.
    """
    entries = sum(offset - before.offsets.get(partition, 0) for partition, offset in after.offsets.items())
    lag = {partition: max(0, end - after.offsets.get(partition, 0)) for partition, end in ends.items()}
    return replace(after, figures=BatchFigures(entries=entries, seconds=round(seconds, 3), lag=lag, committed_at=at))
