"""Months and hours in UTC: the units in which clickstream data is published, replayed and covered by views.

Times are naive ``datetime`` values that mean UTC, in memory, in Arrow (``timestamp[us]``) and in Parquet; text carries
a ``Z``. One meaning needs no zone to travel with it, and DuckDB and Spark then compare them alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .errors import BadInput

HOUR = timedelta(hours=1)
#: Hours are counted from 1970, and the end of a month must be a time too.
FIRST_YEAR, LAST_YEAR = "1970", "9998"
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}(:\d{2}(:\d{2}(\.\d{1,6})?)?)?Z")


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month in UTC, written ``2025-03``."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read ``YYYY-MM``, years FIRST_YEAR to LAST_YEAR.

        :raises BadInput: for any other text.
        """
        match = _MONTH.fullmatch(text)
        if match is None or not FIRST_YEAR <= match[1] <= LAST_YEAR:
            raise BadInput(f"'{text}' is not a month; write it like 2025-03")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"

    @property
    def start(self) -> datetime:
        return datetime(self.year, self.number, 1)

    @property
    def end(self) -> datetime:
        """The first instant after the month."""
        return datetime(self.year + self.number // 12, self.number % 12 + 1, 1)

    @property
    def hours(self) -> int:
        return (self.end - self.start) // HOUR


def parse_time(text: str) -> datetime:
    """Read a UTC time such as ``2025-03-31T00:00Z``; minutes and seconds may be missing.

    :raises BadInput: without the ``Z``, or for a date that does not exist.
    """
    if _TIME.fullmatch(text):
        clock = text[:-1] if ":" in text else text[:-1] + ":00"
        try:
            return datetime.fromisoformat(clock)
        except ValueError:
            pass
    raise BadInput(f"'{text}' is not a UTC time; write it like 2025-03-31T00:00Z")


def parse_hour(text: str) -> datetime:
    """Read a UTC time that is a full hour.

    :raises BadInput: for any other time.
    """
    time = parse_time(text)
    if time != floor_hour(time):
        raise BadInput(f"'{text}' is not a full hour; write it like 2025-03-31T18:00Z")
    return time


def format_time(time: datetime) -> str:
    """Write a UTC time as ISO 8601 with ``Z``, without seconds when they are 0."""
    if time.microsecond:
        return time.isoformat() + "Z"
    return time.strftime("%Y-%m-%dT%H:%MZ" if time.second == 0 else "%Y-%m-%dT%H:%M:%SZ")


def floor_hour(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)


def now() -> datetime:
    """The wall clock, as naive UTC. Only ends of the system call it; the core takes times as arguments."""
    return datetime.now(UTC).replace(tzinfo=None)


def merge_intervals(intervals: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Join half-open intervals that touch or overlap; the result is sorted."""
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
