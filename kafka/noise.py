"""Profiles of time: the plain day, noisy days, bursts. All are integer weights of a month's hours.

A *profile* says how an article's clicks are spread over the month. The plain profile is the stated day of
``common/dayshape.py``. With noise each article picks one of 256 seeded profiles by hash: the plain weight of an hour
times a factor of the day (about 10 % spread) times a factor of the hour (about 15 %), together about 18 %. A factor is
exp(spread * z), roughly log-normal, with z the scaled sum of the bits of hash bytes. A burst multiplies hours of the
profile of one article, which then has one of its own.

Everything is drawn from SHAKE-256 and kept in integers, so that no version of numpy changes a replay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from readerflow.common.dayshape import month_weights
from readerflow.common.errors import BadInput
from readerflow.common.months import HOUR, Month, parse_hour

Weights = npt.NDArray[np.int64]

NOISE_PROFILES = 256
DAY_SPREAD = "0.10"
HOUR_SPREAD = "0.15"
#: Plain weights are multiplied by this before noise, so that rounding a factor to an integer costs nothing that shows.
SCALE = 10_000
MAX_FACTOR = 10_000
#: Hash bytes of one factor: their set bits are binomial with variance 64, close to a normal law.
_BYTES = 32


@dataclass(frozen=True)
class Burst:
    """An article's interest is ``factor`` times the usual one for some hours; its total stays the same."""

    title: str
    factor: Fraction
    start: datetime
    hours: int

    @classmethod
    def parse(cls, text: str) -> Burst:
        """Read ``TITLE:FACTOR:YYYY-MM-DDTHH/HOURS`` from the right; the title may hold colons.

        :raises BadInput: saying which part is wrong.
        """
        parts = text.rsplit(":", 2)
        when = parts[-1].split("/")
        if len(parts) != 3 or not parts[0] or len(when) != 2:
            raise BadInput(f"'{text}' is not a burst; write TITLE:FACTOR:YYYY-MM-DDTHH/HOURS")
        title, factor_text = parts[:2]
        try:
            factor = Fraction(factor_text)
            hours = int(when[1])
        except (ValueError, ZeroDivisionError):
            raise BadInput(f"burst '{text}': '{factor_text}' and '{when[1]}' must be numbers, like 20 and 3") from None
        if not 0 < factor <= MAX_FACTOR or SCALE % factor.denominator:
            raise BadInput(f"burst '{text}': the factor must be above 0, at most {MAX_FACTOR}, with at most 4 decimals")
        if hours < 1:
            raise BadInput(f"burst '{text}': it must last an hour or more")
        return cls(title, factor, parse_hour(when[0] + "Z"), hours)

    def __str__(self) -> str:
        factor = self.factor if self.factor.denominator == 1 else float(self.factor)
        return f"{self.title}:{factor}:{self.start:%Y-%m-%dT%H}/{self.hours}"

    @property
    def end(self) -> datetime:
        return self.start + timedelta(hours=self.hours)


def plain_weights(month: Month) -> Weights:
    """The stated day, in the units of noisy weights: shape (month.hours,)."""
    return month_weights(month) * SCALE


def noise_weights(month: Month, seed: int) -> Weights:
    """The seeded profiles of noisy days: shape (NOISE_PROFILES, month.hours), each weight at least 1."""
    days = month.hours // 24
    size = NOISE_PROFILES * (days + month.hours) * _BYTES
    name = f"readerflow noise {month} {seed}".encode()
    drawn = np.frombuffer(hashlib.shake_256(name).digest(size), dtype=np.uint8)
    bits = np.bitwise_count(drawn).reshape(NOISE_PROFILES, days + month.hours, _BYTES).sum(axis=2, dtype=np.int64)
    per_day = _factors(DAY_SPREAD)[bits[:, :days]].repeat(24, axis=1)
    per_hour = _factors(HOUR_SPREAD)[bits[:, days:]]
    weights: Weights = np.maximum(month_weights(month) * per_day * per_hour // SCALE, 1)
    return weights


def _factors(spread: str) -> Weights:
    """exp(spread * z) in units of 1 / SCALE for each number of set bits; z has mean 0 and variance 1."""
    bits = 8 * _BYTES
    step = Decimal(spread) / (Decimal(bits) / 4).sqrt()
    exponents = [(Decimal(number) - bits // 2) * step for number in range(bits + 1)]
    return np.array([int((SCALE * exponent.exp()).to_integral_value()) for exponent in exponents])


def burst_weights(base: Weights, month: Month, bursts: Sequence[Burst]) -> Weights:
    """A profile with bursts laid on: shape (month.hours,).

    :raises BadInput: when a burst lies outside the month.
    """
    exact = [int(weight) for weight in base]
    for burst in bursts:
        if burst.start < month.start or burst.end > month.end:
            raise BadInput(f"burst '{burst}' lies outside {month}; choose hours within the month")
        first = (burst.start - month.start) // HOUR
        for hour in range(first, first + burst.hours):
            exact[hour] = max(1, int(exact[hour] * burst.factor))
    return np.array(exact, dtype=np.int64)
