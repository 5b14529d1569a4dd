"""A stream without a checkpoint: wherever it begins, it ends as if it had read the whole log."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from readerflow.common.months import HOUR, Month
from readerflow.storage.batch_views import Manifest
from readerflow.storage.freshness import holes, live_until
from readerflow.streaming.start import smallest_horizons, start_without_checkpoint
from tests.log_entries import START, WIKI, entries, heartbeat, record
from tests.manifests import manifest_of
from tests.realtime_rows import expected_rows, live_rows, without_trends
from tests.streaming_home import open_home

PARTITIONS, HOURS = 2, 16
#: source -> (month, its start)
MONTHS = {
    "new": ("2025-02", START),
    "old": ("2024-12", datetime(2024, 12, 1)),
    "gone": ("2024-11", datetime(2024, 11, 1)),
}


def manifest(source: str, horizon: datetime) -> Manifest:
    month, start = MONTHS[source]
    return manifest_of(
        WIKI,
        month,
        source,
        horizon,
        offsets=dict.fromkeys(range(PARTITIONS), 0),
        closed={partition: [(start, horizon)] for partition in range(PARTITIONS)},
        generation=f"g-{source}-{horizon:%d%H}",
    )


def month_of(rng: random.Random, source: str) -> list[dict[str, Any]]:
    """A month's entries of a partition: busy and idle hours, each closed by a heartbeat."""
    month, start = MONTHS[source]
    found = []
    for hour in range(HOURS):
        for _ in range(rng.choice((0, 0, 1, 3))):
            found.append((start + hour * HOUR, rng.randint(1, 9)))
        found.append((start + hour * HOUR, None))
    rows = []
    for seq, (time, clicks) in enumerate(found):
        if clicks is None:
            rows.append(heartbeat(seq, source=source, month=month, event_time=time, until=time + HOUR))
        else:
            rows.append(
                record(
                    seq, source=source, month=month, event_time=time, clicks=clicks, article=rng.choice("ABC"),
                    referrer=rng.choice(("other-search", "A", "B")), link_type=rng.choice(("link", "external")),
                )
            )  # fmt: skip
    return rows


def shuffled_log(rng: random.Random) -> list[dict[str, Any]]:
    """Months one after the other or mixed, some entries twice, and late records at the end."""
    waiting = [month_of(rng, source) for source in rng.sample(list(MONTHS), len(MONTHS))]
    rows: list[dict[str, Any]] = []
    while waiting:
        chosen = rng.choice(waiting) if rng.random() < 0.3 else waiting[0]
        taken = rng.randint(1, 25)
        rows += chosen[:taken]
        if rng.random() < 0.3:
            rows += chosen[: rng.randint(0, taken)]
        del chosen[:taken]
        waiting = [left for left in waiting if left]
    for number in range(rng.randint(0, 6)):
        month, start = MONTHS["new"]
        rows.append(record(900 + number, source="new", month=month, event_time=start + rng.randrange(HOURS) * HOUR))
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_rows_totals_and_closed_slots_do_not_depend_on_where_the_stream_begins(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311, a test's seed
    with open_home(tmp_path, PARTITIONS) as home:
        logs = [shuffled_log(rng) for _ in range(PARTITIONS)]
        for partition, rows in enumerate(logs):
            home.append(partition, entries(*rows[: len(rows) * rng.randint(1, 4) // 4]))
        home.archive_all(rng.choice((7, 25, 60, 10**6)))
        for partition, rows in enumerate(logs):
            left = rows[home.log.end_offset(partition) :]
            if left:
                home.append(partition, entries(*left))
        archived = {name for part in home.archive.segments() for name in part.sources}
        retained = [
            manifest(source, start + rng.randint(1, HOURS) * HOUR)
            for source, (_, start) in MONTHS.items()
            if source in archived
            for _ in range(rng.randint(0, 2))
        ]
        home.generations.manifests = retained
        result = home.stream(batch_entries=rng.choice((20, 1000)))
        progress = home.realtime.progress(result.incarnation)
        assert progress is not None
        horizons = smallest_horizons(retained)
        for source, (month, start) in MONTHS.items():
            rows_from = horizons.get(source, start)
            expected = expected_rows(home.records(), source, rows_from)
            assert without_trends(live_rows(home.path, source)) == without_trends(expected)
            for generation in [one for one in retained if one.source == source]:
                assert live_until(progress, source, generation.horizon) == start + HOURS * HOUR
                assert holes(generation, progress, source, generation.horizon, Month.parse(month)) == []


def test_a_month_that_its_generation_covers_is_not_read_again(tmp_path: Path) -> None:
    rng = random.Random(1)  # noqa: S311, a test's seed
    with open_home(tmp_path, PARTITIONS) as home:
        for partition in range(PARTITIONS):
            home.append(partition, entries(*month_of(rng, "old"), *month_of(rng, "new")))
        home.archive_all()
        ends = {partition: home.archive.next_offset(partition) for partition in range(PARTITIONS)}
        covered = [manifest(source, start + HOURS * HOUR) for source, (_, start) in MONTHS.items()]
        assert start_without_checkpoint(home.archive, PARTITIONS, covered).progress.offsets == ends
        half = [covered[1], manifest("new", START + timedelta(hours=HOURS - 2))]
        offsets = start_without_checkpoint(home.archive, PARTITIONS, half).progress.offsets
        assert all(ends[partition] - 20 < offset < ends[partition] for partition, offset in offsets.items())


@pytest.mark.parametrize("noted", [True, False])
def test_heartbeats_of_idle_hours_are_read_even_where_late_records_lie_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    with open_home(tmp_path, 1) as home:
        beats = [heartbeat(hour, source="new", hour=hour) for hour in range(4)]
        home.append(0, entries(*beats, record(4, source="new", event_time=START)))
        home.archive_all()
        if not noted:  # as older archivers wrote
            parts = home.archive.segments()
            old = [replace(part, sources={"new": replace(part.sources["new"], heartbeats=None)}) for part in parts]
            monkeypatch.setattr(home.archive, "segments", lambda: old)
        generation = manifest_of(
            WIKI, MONTHS["new"][0], "new", START + HOUR, offsets={0: 1}, closed={0: [(START, START + HOUR)]}
        )
        home.generations.manifests = [generation]
        start = start_without_checkpoint(home.archive, 1, [generation]).progress
        assert start.offsets == {0: 1 if noted else 0}
        result = home.stream()
        progress = home.realtime.progress(result.incarnation)
        assert progress is not None
        assert live_until(progress, "new", generation.horizon) == START + 4 * HOUR
        assert holes(generation, progress, "new", generation.horizon, Month.parse(MONTHS["new"][0])) == []


def test_without_an_archive_the_stream_begins_with_the_log(tmp_path: Path) -> None:
    with open_home(tmp_path, PARTITIONS) as home:
        start = start_without_checkpoint(home.archive, PARTITIONS, [])
        assert start.progress.offsets == {0: 0, 1: 0}
        assert start.totals.num_rows == 0
