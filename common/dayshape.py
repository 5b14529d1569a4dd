"""The daily profile: how a month's clicks are spread over its hours.

The dump has no times, so ReaderFlow states one: the shape of a day below, the same every day. Replay spreads clicks by
it, trends expect clicks by it. W(t) is the cumulative weight up to t, in integers, W(month's start) = 0.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt

from .months import HOUR, Month

#: Weight of each UTC hour of a day: a night's low, a rise to noon, a higher evening. Sum 2400.
HOUR_WEIGHTS = (
    52, 36, 26, 21, 22, 32, 54, 82, 103, 115, 121, 124,
    126, 126, 127, 130, 135, 142, 152, 163, 168, 153, 111, 79,
)  # fmt: skip


def month_weights(month: Month) -> npt.NDArray[np.int64]:
    """Weight of each hour of a month: shape (month.hours,)."""
    return np.tile(np.array(HOUR_WEIGHTS, dtype=np.int64), month.hours // 24)


def weight_between(month: Month, start: datetime, end: datetime) -> int:
    """The share of a month that lies in [start, end), in units of the weights; full hours within the month."""
    first, last = ((time - month.start) // HOUR for time in (start, end))
    return int(month_weights(month)[max(first, 0) : max(last, 0)].sum())
