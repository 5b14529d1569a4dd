"""The law of replay: how many of a pair's clicks have happened up to a time.

A profile has a cumulative weight W(t) with W(month's start) = 0 and W(month's end) = S = 2^32, both integers. A pair
with n clicks in the month has

    clicks(t) = (n * W(t) + r) div S,    r = hash(seed, pair) mod S

clicks up to t. The increments over any slots are non-negative and sum to exactly n, need no state, and vectorise over
all pairs. n * S < 2^63, so n < 2^31. W is linear within an hour, in whole seconds: W(hour + s) = W(hour) +
(weight of the hour * s) div 3600. Every grain follows the same W, so the clicks up to a full hour are the same in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from readerflow.common.errors import BadInput
from readerflow.common.months import HOUR, Month

Numbers = npt.NDArray[np.int64]
Remainders = npt.NDArray[np.uint32] | npt.NDArray[np.int64]

TOTAL_BITS = 32
TOTAL = 1 << TOTAL_BITS  # S
#: n * S must stay below 2^63.
MAX_CLICKS = (1 << (63 - TOTAL_BITS)) - 1
SECONDS = 3600


class Grain(StrEnum):
    """What one record stands for: a click, or all clicks of a pair in a slot of this length."""

    CLICK = "click"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def slot_hours(self, month: Month) -> int:
        """The length of the slots that heartbeats close."""
        return {Grain.CLICK: 1, Grain.HOUR: 1, Grain.DAY: 24, Grain.MONTH: month.hours}[self]


@dataclass(frozen=True)
class Slots:
    """The slots of a month at a grain: number k is [border(k), border(k + 1))."""

    month: Month
    grain: Grain

    @property
    def hours(self) -> int:
        return self.grain.slot_hours(self.month)

    @property
    def count(self) -> int:
        return self.month.hours // self.hours

    def border(self, slot: int) -> datetime:
        return self.month.start + slot * self.hours * HOUR

    def index(self, time: datetime) -> int:
        """The slot that begins at ``time``; ``count`` for the month's end.

        :raises BadInput: when no slot begins there.
        """
        slot, rest = divmod(time - self.month.start, self.hours * HOUR)
        if rest or not 0 <= slot <= self.count:
            raise BadInput(
                f"{time:%Y-%m-%dT%H:%MZ} is not the border of a slot of {self.month} at grain '{self.grain.value}';"
                f" slots of {self.hours} h begin at {self.month.start:%Y-%m-%dT%H:%MZ}"
            )
        return slot


def cumulative(weights: Numbers) -> Numbers:
    """W at the borders of a month's hours, scaled to S: weights (hours,) or (profiles, hours) -> (..., hours + 1)."""
    rows = np.atleast_2d(weights)
    scaled = np.zeros((len(rows), rows.shape[1] + 1), dtype=np.int64)
    for profile, row in enumerate(rows):
        sums = np.cumsum(row).astype(object)  # Python integers: sum * S passes 2^63
        scaled[profile, 1:] = sums * TOTAL // sums[-1]
    return scaled if weights.ndim == 2 else scaled[0]


def clicks_until(clicks: Numbers, remainders: Remainders, weight: Numbers | int) -> Numbers:
    """(n * W + r) div S for all pairs; ``weight`` is W(t), a number or one a pair."""
    reached: Numbers = (clicks * weight + remainders) >> TOTAL_BITS
    return reached


def click_seconds(
    clicks: Numbers, remainders: Remainders, before: Numbers, happened: Numbers, weight: Numbers, hour_weight: Numbers
) -> tuple[Numbers, Numbers]:
    """The second of each click within an hour, by the law.

    :param before: clicks of each pair up to the hour; ``happened``: clicks within it.
    :param weight: W at the start of the hour, ``hour_weight`` the weight of the hour; both one a pair.
    :returns: (pair, second) of each click, shape (happened.sum(),), in the order of pairs; seconds lie in [0, 3600).
    """
    pairs = np.repeat(np.arange(len(clicks)), happened)
    first = np.cumsum(happened) - happened
    number = before[pairs] + 1 + np.arange(len(pairs)) - first[pairs]
    # click k has happened at the first s with W(hour) + (hour_weight * s) div 3600 >= ceil((k * S - r) / n)
    needed = -((remainders[pairs] - number * TOTAL) // clicks[pairs]) - weight[pairs]
    seconds = -(-needed * SECONDS // hour_weight[pairs])
    return pairs, seconds - 1


def check_clicks(highest: int) -> None:
    """Refuse counts that the law's integers can't hold.

    :raises BadInput: naming the limit.
    """
    if highest > MAX_CLICKS:
        raise BadInput(f"a pair has {highest} clicks, a replay takes at most {MAX_CLICKS} a pair; split the dump's row")
