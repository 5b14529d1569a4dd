"""Months, hours and intervals in UTC."""

from __future__ import annotations

from datetime import datetime

import pytest

from readerflow.common.errors import BadInput
from readerflow.common.months import Month, format_time, merge_intervals, parse_hour, parse_time


def test_a_month_knows_its_borders_and_hours() -> None:
    december = Month.parse("2024-12")
    assert (december.start, december.end) == (datetime(2024, 12, 1), datetime(2025, 1, 1))
    assert [Month.parse(text).hours for text in ("2024-02", "2025-02", "2025-03")] == [696, 672, 744]


@pytest.mark.parametrize("text", ["2025-13", "2025-3", "latest", "2025-03-01", "", "0000-01", "1969-12", "9999-12"])
def test_what_is_not_a_month_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Month.parse(text)


@pytest.mark.parametrize("text", ["2025-03-31T18Z", "2025-03-31T18:00Z", "2025-03-31T18:00:00Z"])
def test_an_hour_may_be_written_short_or_long(text: str) -> None:
    assert parse_hour(text) == datetime(2025, 3, 31, 18)


@pytest.mark.parametrize("text", ["2025-03-31T18:00", "2025-02-30T00Z", "2025-03-31", "2025-03-31T18:00+02:00", "x"])
def test_a_time_without_z_or_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_time(text)


def test_minutes_are_not_an_hour() -> None:
    with pytest.raises(BadInput, match="full hour"):
        parse_hour("2025-03-31T18:30Z")


def test_times_are_written_as_they_are_read() -> None:
    for text in ("2025-03-31T18:00Z", "2025-03-31T18:00:01Z"):
        assert format_time(parse_time(text)) == text


def test_intervals_that_touch_become_one() -> None:
    def hour(n: int) -> datetime:
        return datetime(2025, 3, 1, n)

    assert merge_intervals([(hour(2), hour(3)), (hour(0), hour(1)), (hour(1), hour(2)), (hour(5), hour(6))]) == [
        (hour(0), hour(3)),
        (hour(5), hour(6)),
    ]
