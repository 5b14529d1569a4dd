"""What live_until, late and hole mean."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from readerflow.common.months import HOUR, Month, merge_intervals
from readerflow.storage.batch_views import Interval, Manifest
from readerflow.storage.freshness import holes, late_clicks, live_until, passed, without
from readerflow.storage.realtime_views import StreamProgress
from tests.manifests import manifest_of

MONTH = Month(2025, 2)
SOURCE = "s1"


def at(hour: int) -> datetime:
    return MONTH.start + timedelta(hours=hour)


def slots(*hours: tuple[int, int]) -> list[Interval]:
    return [(at(start), at(end)) for start, end in hours]


def manifest(
    horizon: int, closed: dict[int, list[Interval]], offsets: dict[int, int] | None = None, clicks: int = 100
) -> Manifest:
    return manifest_of(
        "testwiki",
        str(MONTH),
        SOURCE,
        at(horizon),
        offsets=offsets or dict.fromkeys(closed, 10),
        closed=closed,
        totals={partition: {"link": clicks} for partition in closed},
    )


def progress(
    closed: dict[int, list[Interval]], offsets: dict[int, int] | None = None, rows_from: int = 0
) -> StreamProgress:
    return StreamProgress(
        offsets=offsets or dict.fromkeys(closed, 20),
        closed={partition: {SOURCE: intervals} for partition, intervals in closed.items()},
        rows_from={SOURCE: at(rows_from)},
    )


def test_live_until_is_what_the_slowest_partition_has_passed() -> None:
    found = progress({0: slots((0, 30)), 1: slots((0, 27))})
    assert live_until(found, SOURCE, at(24)) == at(27)


def test_live_until_is_the_horizon_while_the_stream_is_not_beyond_it() -> None:
    found = progress({0: slots((0, 30)), 1: slots((0, 20))})
    assert live_until(found, SOURCE, at(24)) == at(24)


def test_a_partition_without_heartbeats_has_passed_nothing() -> None:
    found = StreamProgress(offsets={0: 5, 1: 0}, closed={0: {SOURCE: slots((0, 30))}})
    assert passed(found, SOURCE) is None
    assert live_until(found, SOURCE, at(0)) == at(0)
    assert live_until(StreamProgress(), SOURCE, at(0)) == at(0)


def test_heartbeats_of_another_source_move_nothing() -> None:
    found = StreamProgress(offsets={0: 5}, closed={0: {"other": slots((0, 30))}})
    assert live_until(found, SOURCE, at(24)) == at(24)


def test_late_clicks_are_those_before_the_horizon_beyond_the_offsets_of_the_generation() -> None:
    generation = manifest(24, {0: slots((0, 24)), 1: slots((0, 24))})
    totals = {0: {"link": 107, "other": 2}, 1: {"link": 100}}
    assert late_clicks(generation, progress({0: [], 1: []}), totals) == 9


def test_a_partition_where_the_stream_is_behind_the_generation_has_no_late_clicks_yet() -> None:
    generation = manifest(24, {0: slots((0, 24)), 1: slots((0, 24))})
    behind = progress({0: [], 1: []}, offsets={0: 9, 1: 10})
    assert late_clicks(generation, behind, {0: {"link": 40}, 1: {"link": 101}}) == 1


def test_nothing_is_late_without_a_generation() -> None:
    assert late_clicks(None, progress({0: []}), {0: {"link": 5}}) == 0


def test_a_clean_month_has_no_holes() -> None:
    generation = manifest(24, {0: slots((0, 24)), 1: slots((0, 24))})
    found = progress({0: slots((24, 40)), 1: slots((20, 44))}, rows_from=24)
    assert holes(generation, found, SOURCE, at(24), MONTH) == []
    assert holes(None, progress({0: slots((0, 9))}), SOURCE, at(0), MONTH) == []


def test_a_part_that_was_never_replayed_is_a_hole_of_the_generation() -> None:
    generation = manifest(24, {0: slots((5, 24)), 1: slots((5, 24))})
    assert holes(generation, StreamProgress(), SOURCE, at(24), MONTH) == slots((0, 5))


def test_a_slot_that_one_partition_missed_is_a_hole() -> None:
    generation = manifest(24, {0: slots((0, 24)), 1: slots((0, 10), (11, 24))})
    found = progress({0: slots((24, 30)), 1: slots((24, 26), (27, 30))}, rows_from=24)
    assert holes(generation, found, SOURCE, at(24), MONTH) == slots((10, 11), (26, 27))


def test_a_stream_whose_rows_begin_after_the_horizon_leaves_a_hole() -> None:
    generation = manifest(24, {0: slots((0, 24))})
    found = progress({0: slots((0, 40))}, rows_from=30)
    assert holes(generation, found, SOURCE, at(24), MONTH) == slots((24, 30))


def test_a_stream_that_is_behind_makes_no_hole() -> None:
    generation = manifest(24, {0: slots((0, 24))})
    found = progress({0: slots((0, 20))}, rows_from=30)
    assert holes(generation, found, SOURCE, at(24), MONTH) == []


HOURS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda pair: (pair[0], sum(pair))), max_size=6)


@given(HOURS)
def test_without_and_its_parts_share_out_an_interval(parts: list[tuple[int, int]]) -> None:
    whole = (at(3), at(25))
    left = without(whole, merge_intervals(slots(*parts)))
    for number in range(40):
        hour = at(number)
        inside = whole[0] <= hour < whole[1]
        taken = any(start <= number < end for start, end in parts)
        assert any(start <= hour < end for start, end in left) == (inside and not taken)
    assert all(start + HOUR <= end for start, end in left)
