"""The stream over a real log, archive and view store: every way of running it ends in the same rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from readerflow.common.months import HOUR, Month
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import replay
from readerflow.kafka.replay import Grain
from readerflow.storage.batch_views import Manifest
from readerflow.storage.freshness import holes, late_clicks, live_until
from readerflow.storage.lease import Leased
from readerflow.storage.log import ActiveSource
from readerflow.storage.pairs import PairStore
from readerflow.storage.realtime_views import StreamProgress
from tests.log_entries import MONTH, SOURCE, START, WIKI, entries, heartbeat, record, replacement
from tests.manifests import manifest_of
from tests.realtime_rows import expected_rows, feeds, live_rows, without_trends
from tests.small_month import write_month
from tests.streaming_home import Home, StopAfter, open_home

PARTITIONS = 2


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with open_home(tmp_path, PARTITIONS) as opened:
        yield opened


def manifest(source: str, horizon: datetime, home: Home, month: str = MONTH, generation: str = "g1") -> Manifest:
    """A generation of what the archive holds of a source before a horizon."""
    month_start = Month.parse(month).start
    totals: dict[int, dict[str, int]] = {partition: {} for partition in range(PARTITIONS)}
    for part in home.archive.segments():
        for hour, held in (part.sources[source].hours if source in part.sources else {}).items():
            for link_type, clicks in held.clicks.items() if hour < horizon else ():
                by_type = totals[part.partition]
                by_type[link_type] = by_type.get(link_type, 0) + clicks
    return manifest_of(
        WIKI,
        month,
        source,
        horizon,
        offsets={partition: home.archive.next_offset(partition) for partition in range(PARTITIONS)},
        closed={partition: [(month_start, horizon)] for partition in range(PARTITIONS)},
        totals=totals,
        generation=generation,
    )


def hours_of(first: int, last: int, source: str = SOURCE, seq: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """Two records and the heartbeat of each hour."""
    found = []
    for hour in range(first, last):
        for article, referrer, kind in (("Zagreb", "other-search", "external"), ("Split", "Zagreb", "link")):
            fields = {"article": article, "referrer": referrer, "link_type": kind, "clicks": 1 + hour % 7}
            found.append(record(seq, source=source, hour=hour, **fields) | changes)
            seq += 1
        found.append(heartbeat(seq, source=source, hour=hour) | changes)
        seq += 1
    return found


def progress_of(home: Home) -> StreamProgress:
    current = home.realtime.current()
    assert current is not None
    found = home.realtime.progress(current)
    assert found is not None
    return found


def totals_before(home: Home, source: str, horizon: datetime) -> dict[int, dict[str, int]]:
    number = (horizon - datetime(1970, 1, 1)) // HOUR
    found: dict[int, dict[str, int]] = {}
    for (partition, hour, link_type), (clicks,) in live_rows(home.path, source)["live_totals"].items():
        if hour < number:
            by_type = found.setdefault(partition, {})
            by_type[link_type] = by_type.get(link_type, 0) + clicks
    return found


def late_of(home: Home, generation: Manifest) -> int:
    return late_clicks(generation, progress_of(home), totals_before(home, generation.source, generation.horizon))


def check(home: Home, source: str = SOURCE, rows_from: datetime = START) -> None:
    """The views hold exactly what the log says."""
    found = without_trends(live_rows(home.path, source))
    assert found == without_trends(expected_rows(home.records(), source, rows_from))


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, str]]:
    """A small month, replayed at grain day and archived in several files a partition."""
    path = tmp_path_factory.mktemp("replayed")
    with open_home(path, PARTITIONS) as opened:
        pairs = write_month(path / "pairs")
        result = replay(ReplayPlan(WIKI, Month.parse(MONTH), Grain.DAY), pairs, opened.log)
        opened.archive_all(segment_rows=700)
        yield opened, result.source


@pytest.fixture
def copy(replayed: tuple[Home, str], tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    """Views of their own over the replayed log and archive."""
    with ExitStack() as stack:

        def make(name: str) -> Home:
            own = stack.enter_context(open_home(tmp_path / name, PARTITIONS))
            return Home(own.path, replayed[0].log, replayed[0].dead_letters, replayed[0].archive, own.realtime)

        yield make


def test_a_month_is_streamed_exactly(copy: Callable[[str], Home], replayed: tuple[Home, str]) -> None:
    home, source = copy("a"), replayed[1]
    result = home.stream(batch_entries=1500)
    check(home, source)
    assert result.batches > 2
    assert result.records == len(home.records())
    progress = progress_of(home)
    assert progress.closed == {p: {source: [(START, Month.parse(MONTH).end)]} for p in range(PARTITIONS)}
    assert progress.active == {f"{WIKI}/{MONTH}": ActiveSource(source)}
    assert live_until(progress, source, START) == Month.parse(MONTH).end
    assert holes(None, progress, source, START, Month.parse(MONTH)) == []


def test_a_second_run_of_the_stream_changes_nothing(copy: Callable[[str], Home], replayed: tuple[Home, str]) -> None:
    home = copy("a")
    home.stream()
    rows, progress = live_rows(home.path, replayed[1]), progress_of(home)
    again = home.stream()
    assert (again.records, again.batches) == (0, 0)
    assert live_rows(home.path, replayed[1]) == rows
    assert progress_of(home) == progress


def test_a_stream_that_ends_after_every_batch_gives_the_same_rows_as_an_unbroken_one(
    copy: Callable[[str], Home], replayed: tuple[Home, str]
) -> None:
    unbroken, broken = copy("unbroken"), copy("broken")
    unbroken.stream(batch_entries=1200)
    runs = 0
    while sum(home_end(broken)) > sum(progress_of(broken).offsets.values() if runs else [0]):
        broken.stream(batch_entries=1200, stop=StopAfter(1))
        runs += 1
    broken.stream(batch_entries=1200)
    assert runs > 2
    assert live_rows(broken.path, replayed[1]) == live_rows(unbroken.path, replayed[1])
    assert progress_of(broken).offsets == progress_of(unbroken).offsets
    assert progress_of(broken).records == progress_of(unbroken).records


def home_end(home: Home) -> list[int]:
    return [home.log.end_offset(partition) for partition in range(PARTITIONS)]


@pytest.mark.parametrize("day", [1, 10, 27, 28])
def test_with_a_generation_rows_begin_at_its_horizon_and_totals_stay_exact(
    copy: Callable[[str], Home], replayed: tuple[Home, str], day: int
) -> None:
    home, source = copy("a"), replayed[1]
    horizon = START + timedelta(days=day)
    home.generations.manifests = [manifest(source, horizon, home)]
    result = home.stream(batch_entries=1000)
    check(home, source, rows_from=horizon)
    progress = progress_of(home)
    assert result.records < len(home.records())
    assert progress.closed == {p: {source: [(START, Month.parse(MONTH).end)]} for p in range(PARTITIONS)}
    assert progress.rows_from == {source: horizon}
    assert late_of(home, home.generations.manifests[0]) == 0
    assert holes(home.generations.manifests[0], progress, source, horizon, Month.parse(MONTH)) == []


def test_rows_begin_at_the_smallest_horizon_of_the_retained_generations(
    copy: Callable[[str], Home], replayed: tuple[Home, str]
) -> None:
    home, source = copy("a"), replayed[1]
    days = [START + timedelta(days=day) for day in (20, 12, 25)]
    home.generations.manifests = [manifest(source, day, home, generation=f"g{day.day}") for day in days]
    home.stream()
    check(home, source, rows_from=min(days))
    assert [late_of(home, generation) for generation in home.generations.manifests] == [0, 0, 0]


def test_replaying_a_month_twice_appends_nothing_that_counts(home: Home) -> None:
    pairs: PairStore = write_month(home.path / "pairs")
    plan = ReplayPlan(WIKI, Month.parse(MONTH), Grain.MONTH)
    source = replay(plan, pairs, home.log).source
    home.stream()
    rows = live_rows(home.path, source)
    assert replay(plan, pairs, home.log).records == 0
    home.stream()
    assert live_rows(home.path, source) == rows


def test_entries_that_a_woken_producer_appends_again_are_counted_as_duplicates(home: Home) -> None:
    made = entries(*hours_of(0, 30))
    home.append(0, made)
    home.stream()
    home.append(0, made)
    home.append(0, entries(*hours_of(30, 31, seq=90)))
    assert home.stream().duplicates == made.num_rows
    check(home)
    assert progress_of(home).records == 62


def test_partitions_that_are_consumed_unevenly_lose_nothing_and_hold_live_until_back(home: Home) -> None:
    home.append(0, entries(*hours_of(0, 40)))
    home.append(1, entries(*hours_of(0, 3)))
    home.stream()
    assert live_until(progress_of(home), SOURCE, START) == START + 3 * HOUR
    home.append(1, entries(*hours_of(3, 40, seq=9)))
    home.stream(batch_entries=7)
    assert live_until(progress_of(home), SOURCE, START) == START + 40 * HOUR
    check(home)


def test_an_older_month_after_a_newer_one_is_counted_like_any_other(home: Home) -> None:
    for partition in range(PARTITIONS):
        home.append(partition, entries(*hours_of(0, 5)))
    home.stream()
    older = {"month": "2024-12"}
    rows = [row | {"event_time": row["event_time"] - timedelta(days=62)} | _until(row) for row in hours_of(0, 5, "old")]
    for partition in range(PARTITIONS):
        home.append(partition, entries(*(row | older for row in rows)))
    home.stream()
    check(home)
    check(home, "old", datetime(2024, 12, 1))
    progress = progress_of(home)
    assert live_until(progress, "old", datetime(2024, 12, 1)) == datetime(2024, 12, 1, 5)
    assert live_until(progress, SOURCE, START) == START + 5 * HOUR
    assert set(progress.active) == {f"{WIKI}/{MONTH}", f"{WIKI}/2024-12"}


def _until(row: dict[str, Any]) -> dict[str, Any]:
    return {"until": row["until"] - timedelta(days=62)} if row.get("until") else {}


def test_an_older_month_without_a_generation_makes_the_stream_begin_before_the_newer_ones_horizon(home: Home) -> None:
    older = {"month": "2024-12"}
    rows = [row | {"event_time": row["event_time"] - timedelta(days=62)} | _until(row) for row in hours_of(0, 5, "old")]
    for partition in range(PARTITIONS):
        home.append(partition, entries(*hours_of(0, 10)))
        home.append(partition, entries(*(row | older for row in rows)))
        home.append(partition, entries(*hours_of(10, 20, seq=30)))
    home.archive_all(segment_rows=13)
    horizon = START + 15 * HOUR
    home.generations.manifests = [manifest(SOURCE, horizon, home)]
    home.stream()
    check(home, rows_from=horizon)
    check(home, "old", datetime(2024, 12, 1))
    assert late_of(home, home.generations.manifests[0]) == 0
    progress = progress_of(home)
    assert live_until(progress, SOURCE, horizon) == START + 20 * HOUR
    assert holes(home.generations.manifests[0], progress, SOURCE, horizon, Month.parse(MONTH)) == []


def test_idle_hours_around_the_horizon_leave_no_hole(home: Home) -> None:
    busy, quiet = hours_of(0, 4), [heartbeat(30 + hour, hour=hour) for hour in range(4, 20)]
    home.append(0, entries(*hours_of(0, 20)))
    home.append(1, entries(*busy, *quiet))
    home.archive_all(segment_rows=9)
    generation = manifest(SOURCE, START + 10 * HOUR, home)
    home.generations.manifests = [generation]
    home.stream()
    progress = progress_of(home)
    assert live_until(progress, SOURCE, generation.horizon) == START + 20 * HOUR
    assert holes(generation, progress, SOURCE, generation.horizon, Month.parse(MONTH)) == []
    check(home, rows_from=generation.horizon)


def test_a_partition_with_heartbeats_only_leaves_no_hole(home: Home) -> None:
    home.append(0, entries(*hours_of(0, 20)))
    home.append(1, entries(*(heartbeat(hour, hour=hour) for hour in range(20))))
    home.archive_all()
    generation = manifest(SOURCE, START + 10 * HOUR, home)
    home.generations.manifests = [generation]
    home.stream()
    assert holes(generation, progress_of(home), SOURCE, generation.horizon, Month.parse(MONTH)) == []
    assert live_until(progress_of(home), SOURCE, generation.horizon) == START + 20 * HOUR


def test_the_stream_reads_on_from_where_the_archive_ends(home: Home) -> None:
    home.append(0, entries(*hours_of(0, 10)))
    home.archive_all()
    generation = manifest(SOURCE, START + 10 * HOUR, home)
    home.generations.manifests = [generation]
    home.append(0, entries(*hours_of(10, 12, seq=30)))
    home.append(1, entries(*hours_of(10, 12)))
    home.stream()
    check(home, rows_from=generation.horizon)


def test_a_replacement_makes_another_source_active_and_keeps_the_rows_of_the_old_one(home: Home) -> None:
    for partition in range(PARTITIONS):
        home.append(partition, entries(*hours_of(0, 5)))
    home.stream()
    home.append(0, entries(replacement("s2"), *hours_of(0, 3, "s2")))
    home.append(1, entries(*hours_of(0, 3, "s2")))
    home.stream()
    check(home)
    check(home, "s2")
    assert progress_of(home).active == {f"{WIKI}/{MONTH}": ActiveSource("s2", 15)}


def test_a_new_incarnation_keeps_rows_of_sources_that_readers_can_ask_for_only(home: Home) -> None:
    home.append(0, entries(*hours_of(0, 5)))
    home.append(0, entries(replacement("s2"), *hours_of(0, 5, "s2")))
    home.archive_all()
    home.append(0, entries(*hours_of(5, 6, seq=15), *hours_of(5, 6, "s2", seq=15)))
    home.stream()
    assert progress_of(home).rows_from == {SOURCE: Month.parse(MONTH).end, "s2": START}
    check(home, rows_from=Month.parse(MONTH).end)
    check(home, "s2")


def test_after_a_replacement_rows_of_the_generation_that_readers_still_take_are_kept(home: Home) -> None:
    home.append(0, entries(*hours_of(0, 9)))
    home.append(1, entries(*hours_of(0, 9)))
    home.append(0, entries(replacement("s2"), *hours_of(0, 3, "s2")))
    home.archive_all(segment_rows=5)
    home.generations.manifests = [manifest(SOURCE, START + 6 * HOUR, home)]
    home.stream()
    check(home, rows_from=START + 6 * HOUR)
    check(home, "s2")


def test_a_fresh_incarnation_is_taken_once_it_has_come_as_far_and_the_old_rows_go(home: Home) -> None:
    for partition in range(PARTITIONS):
        home.append(partition, entries(*hours_of(0, 20)))
    old = home.stream().incarnation
    home.archive_all()
    rows = live_rows(home.path, SOURCE)
    broken = home.stream(fresh=True, batch_entries=40, stop=StopAfter(2))
    assert home.realtime.current() == old != broken.incarnation
    assert live_rows(home.path, SOURCE) == rows
    new = home.stream(fresh=True, batch_entries=40)
    assert home.realtime.current() == new.incarnation
    assert without_trends(live_rows(home.path, SOURCE)) == without_trends(rows)
    assert feeds(home.path) == {(new.incarnation, SOURCE)}


def test_late_records_are_counted_until_a_generation_holds_them(home: Home) -> None:
    for partition in range(PARTITIONS):
        home.append(partition, entries(*hours_of(0, 20)))
    home.archive_all()
    generation = manifest(SOURCE, START + 12 * HOUR, home)
    home.generations.manifests = [generation]
    home.stream()
    assert late_of(home, generation) == 0
    late = [record(1000 + number, hour=number % 15, clicks=3) for number in range(30)]
    home.append(1, entries(*late))
    home.stream()
    assert late_of(home, generation) == 3 * 24
    check(home, rows_from=generation.horizon)
    home.archive_all()
    healed = manifest(SOURCE, START + 12 * HOUR, home, generation="g2")
    assert late_of(home, healed) == 0
    assert late_of(home, generation) == 3 * 24


def test_late_records_before_the_first_offset_of_a_new_incarnation_are_known_from_the_archive(home: Home) -> None:
    for partition in range(PARTITIONS):
        home.append(partition, entries(*hours_of(0, 20)))
    home.archive_all()
    generation = manifest(SOURCE, START + 12 * HOUR, home)
    home.append(1, entries(record(1000, hour=3, clicks=5)))
    home.archive_all()
    home.append(1, entries(record(1001, hour=4, clicks=8)))
    home.generations.manifests = [generation]
    home.stream()
    assert late_of(home, generation) == 13


def test_bad_values_are_counted_and_hold_nothing_up(home: Home) -> None:
    home.append(0, entries(*hours_of(0, 2)))
    home.log.append_raw(0, [(None, b"{"), (b"k", b"\xff"), (None, b"")])
    home.log.flush()
    home.append(0, entries(*hours_of(2, 4, seq=6)))
    assert home.stream().rejects == 3
    check(home)


def test_only_one_stream_runs_at_a_time(home: Home) -> None:
    path = home.path / "leases" / "stream.lock"
    home.append(0, entries(*hours_of(0, 2)))
    stop = threading.Event()
    started = threading.Event()
    running = threading.Thread(
        target=home.stream,
        kwargs={
            "follow": True,
            "lease_path": path,
            "stop": stop,
            "poll_seconds": 0.01,
            "progress": lambda *_: started.set(),
        },
    )
    running.start()
    try:
        assert started.wait(30)
        with pytest.raises(Leased, match="stream"):
            home.stream(lease_path=path)
    finally:
        stop.set()
        running.join(30)
    assert not running.is_alive()
    home.stream(lease_path=path)


def test_a_following_stream_takes_what_is_appended_until_it_is_stopped(home: Home) -> None:
    stop = threading.Event()
    running = threading.Thread(target=home.stream, kwargs={"follow": True, "stop": stop, "poll_seconds": 0.01})
    running.start()
    try:
        for start in range(0, 6, 2):
            for partition in range(PARTITIONS):
                home.append(partition, entries(*hours_of(start, start + 2, seq=3 * start)))
        deadline = time.monotonic() + 60
        while not home.realtime.current() or sum(progress_of(home).offsets.values()) < 36:
            assert time.monotonic() < deadline
            stop.wait(0.01)
    finally:
        stop.set()
        running.join(60)
    assert not running.is_alive()
    check(home)


def test_without_follow_the_stream_ends_where_the_log_ended_when_it_began(home: Home) -> None:
    home.append(0, entries(*hours_of(0, 4)))
    appended = iter([lambda: home.append(0, entries(*hours_of(4, 8, seq=12)))])

    def progress(*_: Any) -> None:
        next(appended, lambda: None)()

    home.stream(batch_entries=6, progress=progress)
    assert progress_of(home).offsets == {0: 12, 1: 0}


def test_an_empty_log_is_no_error(home: Home) -> None:
    result = home.stream()
    assert (result.records, result.batches) == (0, 0)
    assert home.realtime.current() == result.incarnation
