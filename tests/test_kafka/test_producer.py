"""Replay into the log: exact, seeded, resumable, in parts, at a pace."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readerflow.common.errors import BadInput
from readerflow.common.months import HOUR, Month
from readerflow.common.records import CONTROLS, RECORDS, Kind, partition_of
from readerflow.kafka.expected import expected, expected_by_hour, law_of
from readerflow.kafka.noise import Burst
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import PartRefused, SourceRefused, replay
from readerflow.kafka.replay import Grain
from readerflow.storage.log import ActiveSource
from readerflow.storage.pairs import NoPairs, PairStore
from readerflow.storage.replays import ReplayStore
from readerflow.storage.sqlite_log import SQLiteLog
from tests.small_month import MONTH, WIKI, pairs_table, rows, write_month

FEBRUARY = Month.parse(MONTH)
ROOT = Path(__file__).parents[2]
PARTITIONS = 3
BURST = Burst.parse("Zagreb:20:2025-02-10T18/3")
GRAINS = list(Grain)


def plan_of(grain: Grain = Grain.HOUR, **changes: Any) -> ReplayPlan:
    return ReplayPlan(WIKI, FEBRUARY, grain, **changes)


@pytest.fixture
def pairs(tmp_path: Path) -> PairStore:
    return write_month(tmp_path / "pairs")


def open_log(folder: Path, name: str = "log.db") -> SQLiteLog:
    return SQLiteLog(folder / name, "clicks", PARTITIONS)


def records_of(log: SQLiteLog) -> pa.Table:
    return pa.concat_tables([log.read(p, 0, 10**7).records for p in range(log.partitions)] or [RECORDS.empty_table()])


def controls_of(log: SQLiteLog) -> pa.Table:
    return pa.concat_tables([log.read(p, 0, 10**7).controls for p in range(log.partitions)] or [CONTROLS.empty_table()])


def ends(log: SQLiteLog) -> list[int]:
    return [log.end_offset(partition) for partition in range(log.partitions)]


def clicks_of_pairs(records: pa.Table) -> dict[tuple[str, str, str], int]:
    grouped = records.group_by(["referrer", "article", "link_type"]).aggregate([("clicks", "sum")])
    return {(row["referrer"], row["article"], row["link_type"]): row["clicks_sum"] for row in grouped.to_pylist()}


def everything(log: SQLiteLog) -> list[dict[str, Any]]:
    """Records and controls of all partitions, with their offsets."""
    return [
        {"partition": partition, **row}
        for partition in range(log.partitions)
        for table in (log.read(partition, 0, 10**7).records, log.read(partition, 0, 10**7).controls)
        for row in table.to_pylist()
    ]


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize(("noise", "bursts"), [(False, ()), (True, (BURST,))])
def test_a_pair_with_n_clicks_is_replayed_as_exactly_n(
    tmp_path: Path, pairs: PairStore, grain: Grain, noise: bool, bursts: tuple[Burst, ...]
) -> None:
    with open_log(tmp_path) as log:
        result = replay(plan_of(grain, noise=noise, bursts=bursts), pairs, log)
        records = records_of(log)
    assert clicks_of_pairs(records) == {row[:3]: row[3] for row in rows()}
    assert result.clicks == sum(row[3] for row in rows())
    assert result.records == records.num_rows
    if grain is Grain.CLICK:
        assert pc.unique(records["clicks"]).to_pylist() == [1]
    assert pc.min(records["clicks"]).as_py() >= 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    seed=st.integers(0, 2**63),
    grain=st.sampled_from(GRAINS),
    noise=st.booleans(),
    partitions=st.integers(1, 5),
)
def test_any_month_is_replayed_exactly(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], seed: int, grain: Grain, noise: bool, partitions: int
) -> None:
    home = tmp_path_factory.mktemp("month")
    month = [("other-search", f"Article_{place}", "external", count) for place, count in enumerate(counts)]
    store = write_month(home / "pairs", pairs=month)
    with SQLiteLog(home / "log.db", "clicks", partitions) as log:
        replay(plan_of(grain, seed=seed, noise=noise), store, log)
        assert clicks_of_pairs(records_of(log)) == {row[:3]: row[3] for row in month}


@pytest.mark.parametrize("grain", GRAINS)
def test_records_come_in_event_time_order_with_rising_seqs_in_the_partition_of_their_article(
    tmp_path: Path, pairs: PairStore, grain: Grain
) -> None:
    with open_log(tmp_path) as log:
        replay(plan_of(grain), pairs, log)
        seqs_of_records: list[int] = []
        for partition in range(PARTITIONS):
            found = log.read(partition, 0, 10**7)
            assert all(
                partition_of(title, PARTITIONS) == partition for title in set(found.records["article"].to_pylist())
            )
            both = sorted(
                [(row["offset"], row["event_time"], row["seq"]) for row in found.records.to_pylist()]
                + [(row["offset"], row["until"], row["seq"]) for row in found.controls.to_pylist()]
            )
            assert [offset for offset, _, _ in both] == list(range(log.end_offset(partition)))
            assert [time for _, time, _ in both] == sorted(time for _, time, _ in both)
            seqs = [seq for _, _, seq in both]
            assert all(one < other for one, other in pairwise(seqs))
            assert log.last_seq(partition, found.records["source"][0].as_py()) == seqs[-1]
            seqs_of_records += found.records["seq"].to_pylist()
        assert len(set(seqs_of_records)) == len(seqs_of_records)


@pytest.mark.parametrize("grain", GRAINS)
def test_every_slot_is_closed_by_a_heartbeat_in_every_partition(tmp_path: Path, pairs: PairStore, grain: Grain) -> None:
    plan = plan_of(grain)
    slots = [(plan.slots.border(slot), plan.slots.border(slot + 1)) for slot in range(plan.slots.count)]
    with open_log(tmp_path) as log:
        result = replay(plan, pairs, log)
        seqs = []
        for partition in range(PARTITIONS):
            beats = log.read(partition, 0, 10**7).controls
            assert set(beats["kind"].to_pylist()) == {int(Kind.HEARTBEAT)}
            assert list(zip(beats["event_time"].to_pylist(), beats["until"].to_pylist(), strict=True)) == slots
            assert set(zip(beats["wiki"].to_pylist(), beats["month"].to_pylist(), strict=True)) == {(WIKI, MONTH)}
            seqs.append(beats["seq"].to_pylist())
        assert seqs[0] == seqs[1] == seqs[2]
        assert result.heartbeats == PARTITIONS * len(slots)


def test_clicks_up_to_a_full_hour_are_the_same_at_every_grain(tmp_path: Path, pairs: PairStore) -> None:
    day = FEBRUARY.start + timedelta(days=5)
    found = []
    for grain in (Grain.CLICK, Grain.HOUR, Grain.DAY):
        with open_log(tmp_path, f"{grain}.db") as log:
            replay(plan_of(grain, noise=True), pairs, log)
            records = records_of(log)
            found.append(
                clicks_of_pairs(records.filter(pc.less(records["event_time"], pa.scalar(day, pa.timestamp("us")))))
            )
    assert found[0] == found[1] == found[2]


def test_a_second_run_of_the_same_replay_appends_nothing(tmp_path: Path, pairs: PairStore) -> None:
    for grain in GRAINS:
        with open_log(tmp_path, f"{grain}.db") as log:
            replay(plan_of(grain), pairs, log)
            before = ends(log)
            again = replay(plan_of(grain), pairs, log)
            assert (again.records, again.clicks, again.heartbeats) == (0, 0, 0)
            assert ends(log) == before


def test_the_same_seed_gives_the_same_records_in_a_fresh_home_and_another_seed_others(tmp_path: Path) -> None:
    found = []
    for home, seed in (("one", 5), ("two", 5), ("three", 6)):
        store = write_month(tmp_path / home / "pairs")
        with open_log(tmp_path / home) as log:
            replay(plan_of(Grain.DAY, seed=seed, noise=True), store, log)
            found.append(records_of(log))
    assert found[0].equals(found[1])
    assert not found[0].drop_columns(["source"]).equals(found[2].drop_columns(["source"]))


def test_another_seed_is_refused_until_replace_and_the_first_source_can_come_back(
    tmp_path: Path, pairs: PairStore
) -> None:
    first, second = plan_of(Grain.DAY), plan_of(Grain.DAY, seed=1)
    with open_log(tmp_path) as log:
        one = replay(first, pairs, log).source
        before = ends(log)
        with pytest.raises(SourceRefused, match=one):
            replay(second, pairs, log)
        assert ends(log) == before
        assert log.active_source(WIKI, MONTH) == ActiveSource(one, -1)

        replaced = replay(second, pairs, log, replace=True)
        assert replaced.replaced == one
        assert log.active_source(WIKI, MONTH) == ActiveSource(replaced.source, before[0])
        control = log.read(0, before[0], 1).controls.to_pylist()[0]
        assert (control["kind"], control["source"]) == (Kind.REPLACEMENT, replaced.source)
        assert replay(second, pairs, log, replace=True).replaced is None

        back = replay(first, pairs, log, replace=True)
        assert (back.records, back.replaced) == (0, replaced.source)
        active = log.active_source(WIKI, MONTH)
        assert active is not None
        assert active.source == one


def test_a_replay_that_died_after_its_replacement_goes_on(tmp_path: Path, pairs: PairStore) -> None:
    with open_log(tmp_path) as log:
        replay(plan_of(Grain.DAY), pairs, log)
        second = plan_of(Grain.DAY, seed=1)
        store = FailingLog(log, fails_after=1)
        with pytest.raises(RuntimeError):
            replay(second, pairs, store, replace=True)  # type: ignore[arg-type]
        assert replay(second, pairs, log).records > 0


@dataclass
class FailingLog:
    """A log whose flush fails after some flushes."""

    log: SQLiteLog
    fails_after: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    def flush(self) -> None:
        if self.fails_after == 0:
            raise RuntimeError("the disk is full")
        self.fails_after -= 1
        self.log.flush()


@pytest.mark.parametrize("grain", GRAINS[:3])
def test_parts_make_the_same_log_as_the_whole(tmp_path: Path, pairs: PairStore, grain: Grain) -> None:
    middle = FEBRUARY.start + timedelta(days=7)
    with open_log(tmp_path, "whole.db") as whole, open_log(tmp_path, "parts.db") as parts:
        replay(plan_of(grain), pairs, whole)
        replay(plan_of(grain), pairs, parts, end=middle)
        assert pc.max(records_of(parts)["event_time"]).as_py() < middle
        replay(plan_of(grain), pairs, parts, start=middle)
        assert everything(whole) == everything(parts)


def test_the_seq_of_a_record_does_not_depend_on_the_part_that_is_replayed(tmp_path: Path, pairs: PairStore) -> None:
    start = FEBRUARY.start + timedelta(days=20)
    for grain in (Grain.CLICK, Grain.HOUR, Grain.DAY):
        with open_log(tmp_path, f"{grain}-whole.db") as whole, open_log(tmp_path, f"{grain}-part.db") as part:
            replay(plan_of(grain), pairs, whole)
            replay(plan_of(grain), pairs, part, start=start, replays=ReplayStore(tmp_path / f"{grain}-replays"))
            records = records_of(whole)
            late = records.filter(pc.greater_equal(records["event_time"], pa.scalar(start, pa.timestamp("us"))))
            names = ["source", "seq", "event_time", "referrer", "article", "link_type", "clicks"]
            assert records_of(part).select(names).equals(late.select(names))


def test_the_first_part_may_begin_anywhere_and_a_later_one_only_where_the_last_ended(
    tmp_path: Path, pairs: PairStore
) -> None:
    start, end = FEBRUARY.start + 48 * HOUR, FEBRUARY.start + 72 * HOUR
    with open_log(tmp_path) as log:
        replay(plan_of(), pairs, log, start=start, end=end)
        before = ends(log)
        for wrong in (end + HOUR, FEBRUARY.end - HOUR):
            with pytest.raises(PartRefused, match="2025-02-04T00:00Z"):
                replay(plan_of(), pairs, log, start=wrong)
        with pytest.raises(PartRefused, match="began at 2025-02-03T00:00Z"):
            replay(plan_of(), pairs, log, start=FEBRUARY.start)
        assert ends(log) == before
        assert replay(plan_of(), pairs, log, start=start, end=end).records == 0
        longer = replay(plan_of(), pairs, log, start=start, end=end + HOUR)
        assert longer.records > 0
        replay(plan_of(), pairs, log, start=end + HOUR)
        assert pc.min(records_of(log)["event_time"]).as_py() == start
        assert controls_of(log).num_rows == PARTITIONS * (FEBRUARY.hours - 48)


def test_a_part_without_a_begin_goes_on_where_the_replay_stands(tmp_path: Path, pairs: PairStore) -> None:
    with open_log(tmp_path) as log:
        replay(plan_of(), pairs, log, end=FEBRUARY.start + HOUR)
        result = replay(plan_of(), pairs, log, end=FEBRUARY.start + 3 * HOUR)
        assert (result.start, result.end) == (FEBRUARY.start + HOUR, FEBRUARY.start + 3 * HOUR)
        assert result.heartbeats == 2 * PARTITIONS
        assert replay(plan_of(), pairs, log, end=FEBRUARY.start + HOUR).heartbeats == 0
        facts = ReplayStore(tmp_path / "replays").facts(result.source)
        (tmp_path / "replays" / f"{result.source}.json").unlink()
        assert replay(plan_of(), pairs, log).heartbeats == (FEBRUARY.hours - 3) * PARTITIONS
        assert ReplayStore(tmp_path / "replays").facts(result.source) == facts


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (FEBRUARY.start + timedelta(minutes=30), None),
        (FEBRUARY.start - HOUR, None),
        (None, FEBRUARY.end + HOUR),
        (FEBRUARY.start + HOUR, FEBRUARY.start + HOUR),
        (FEBRUARY.start + 2 * HOUR, FEBRUARY.start + HOUR),
    ],
)
def test_a_part_that_is_none_is_refused(
    tmp_path: Path, pairs: PairStore, start: datetime | None, end: datetime | None
) -> None:
    with open_log(tmp_path) as log, pytest.raises(BadInput):
        replay(plan_of(), pairs, log, start=start, end=end)


def test_what_a_replay_was_asked_for_can_be_found_by_its_source(tmp_path: Path, pairs: PairStore) -> None:
    plan = plan_of(Grain.DAY, seed=9, noise=True, bursts=(BURST,))
    with open_log(tmp_path) as log:
        result = replay(plan, pairs, log)
    facts = ReplayStore(tmp_path / "replays").facts(result.source)
    assert ReplayPlan.of(facts) == plan
    assert (facts.partitions, facts.begin) == (PARTITIONS, FEBRUARY.start)


def test_a_burst_moves_clicks_of_its_article_and_of_no_other(tmp_path: Path, pairs: PairStore) -> None:
    found = []
    for name, bursts in (("plain", ()), ("burst", (BURST,))):
        with open_log(tmp_path, f"{name}.db") as log:
            replay(plan_of(bursts=bursts), pairs, log, replays=ReplayStore(tmp_path / name))
            records = records_of(log)
            by_hour = records.group_by(["article", "event_time"]).aggregate([("clicks", "sum")]).to_pylist()
            found.append({(row["article"], row["event_time"]): row["clicks_sum"] for row in by_hour})
    plain, burst = found
    without = [{key: clicks for key, clicks in hours.items() if key[0] != "Zagreb"} for hours in found]
    assert without[0] == without[1]
    for hour in range(3):
        key = ("Zagreb", BURST.start + hour * HOUR)
        assert burst[key] > 10 * plain[key]


def test_a_burst_of_an_unknown_article_is_refused_before_anything_is_written(tmp_path: Path, pairs: PairStore) -> None:
    burst = Burst.parse("No_such_article:20:2025-02-10T18/3")
    with open_log(tmp_path) as log:
        with pytest.raises(BadInput, match="No_such_article"):
            replay(plan_of(bursts=(burst,)), pairs, log)
        assert ends(log) == [0] * PARTITIONS
    assert not (tmp_path / "replays").exists()


def test_a_month_that_was_not_preprocessed_is_refused(tmp_path: Path) -> None:
    with open_log(tmp_path) as log, pytest.raises(NoPairs):
        replay(plan_of(), PairStore(tmp_path / "pairs"), log)


def test_a_month_without_pairs_has_heartbeats_only(tmp_path: Path) -> None:
    for grain in (Grain.CLICK, Grain.DAY):
        store = write_month(tmp_path / grain / "pairs", pairs=[])
        with open_log(tmp_path / grain) as log:
            result = replay(plan_of(grain), store, log)
            assert result.records == 0
            assert result.heartbeats == PARTITIONS * plan_of(grain).slots.count
            assert replay(plan_of(grain), store, log).heartbeats == 0


def test_months_larger_than_a_chunk_are_replayed_alike(
    tmp_path: Path, pairs: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for size in (1_000_000, 7):
        monkeypatch.setattr("readerflow.kafka.chunks.CHUNK_PAIRS", size)
        for grain in (Grain.CLICK, Grain.DAY):
            with open_log(tmp_path, f"{grain}-{size}.db") as log:
                replay(plan_of(grain, noise=True), pairs, log)
                found.append(everything(log))
    assert found[0] == found[2]
    assert found[1] == found[3]


@dataclass
class FakeTime:
    """A clock that only sleeping moves."""

    seconds: float = 100.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def test_a_replay_at_a_speed_appends_a_slot_when_its_time_has_passed(tmp_path: Path, pairs: PairStore) -> None:
    fake = FakeTime()
    seen: list[tuple[float, list[int]]] = []
    with open_log(tmp_path) as log:

        def progress(done: int, total: int | None = None, note: str = "") -> None:
            seen.append((fake.seconds - 100.0, ends(log)))

        replay(
            plan_of(), pairs, log, end=FEBRUARY.start + 4 * HOUR, speed=360.0,
            progress=progress, clock=fake.clock, sleep=fake.sleep,
        )  # fmt: skip
    assert [wall for wall, _ in seen] == pytest.approx([10.0, 20.0, 30.0, 40.0])
    assert all(one < other for (_, one), (_, other) in pairwise(seen))


def test_a_duration_is_what_the_replay_takes_and_pace_changes_no_record(tmp_path: Path, pairs: PairStore) -> None:
    end = FEBRUARY.start + 3 * HOUR
    for grain in (Grain.CLICK, Grain.HOUR):
        fake = FakeTime()
        with open_log(tmp_path, f"{grain}-slow.db") as slow, open_log(tmp_path, f"{grain}-fast.db") as fast:
            replay(plan_of(grain), pairs, slow, end=end, duration=60.0, clock=fake.clock, sleep=fake.sleep)
            replay(plan_of(grain), pairs, fast, end=end)
            assert fake.seconds - 100.0 == pytest.approx(60.0)
            assert everything(slow) == everything(fast)


@pytest.mark.parametrize(("duration", "steps"), [(60.0, 180), (1.5, 15), (0.03, 3)])
def test_steps_of_single_clicks_are_not_shorter_than_a_log_can_follow(
    tmp_path: Path, pairs: PairStore, duration: float, steps: int
) -> None:
    fake = FakeTime()
    with open_log(tmp_path) as log:
        end = FEBRUARY.start + 3 * HOUR
        replay(
            plan_of(Grain.CLICK), pairs, log, end=end, duration=duration, clock=fake.clock, sleep=fake.sleep,
        )  # fmt: skip
    assert len(fake.slept) == steps


def test_speed_and_duration_exclude_each_other(tmp_path: Path, pairs: PairStore) -> None:
    with open_log(tmp_path) as log:
        no_numbers = [{"speed": math.nan}, {"duration": math.inf}]
        for pace in ({"speed": 1.0, "duration": 1.0}, {"speed": 0.0}, {"duration": -1.0}, *no_numbers):
            with pytest.raises(BadInput):
                replay(plan_of(), pairs, log, **pace)  # type: ignore[arg-type]
        assert ends(log) == [0] * PARTITIONS


@pytest.mark.parametrize("grain", GRAINS)
def test_the_law_alone_tells_what_the_log_holds(tmp_path: Path, pairs: PairStore, grain: Grain) -> None:
    plan = plan_of(grain, noise=True)
    start = FEBRUARY.start + timedelta(days=0 if grain is Grain.MONTH else 3)
    end = FEBRUARY.end if grain is Grain.MONTH else FEBRUARY.start + timedelta(days=9)
    law = law_of(plan, pairs, PARTITIONS)
    with open_log(tmp_path) as log:
        replay(plan, pairs, log, start=start, end=end)
        told = expected(law, start, end)
        by_type = {}
        for partition in range(PARTITIONS):
            records = log.read(partition, 0, 10**7).records
            for link_type in set(records["link_type"].to_pylist()):
                mine = records.filter(pc.equal(records["link_type"], link_type))
                by_type[partition, link_type] = (pc.sum(mine["clicks"]).as_py(), mine.num_rows)
        hours = records_of(log).group_by(["event_time", "link_type"]).aggregate([("clicks", "sum")]).to_pylist()
    grouped = told.group_by(["partition", "link_type"]).aggregate([("clicks", "sum"), ("records", "sum")]).to_pylist()
    assert {(r["partition"], r["link_type"]): (r["clicks_sum"], r["records_sum"]) for r in grouped} == by_type
    told_hours = expected_by_hour(law, start, end).group_by(["hour", "link_type"]).aggregate([("clicks", "sum")])
    seen: dict[tuple[datetime, str], int] = {}
    for row in hours:
        key = (row["event_time"].replace(minute=0, second=0), row["link_type"])
        seen[key] = seen.get(key, 0) + row["clicks_sum"]
    assert {(r["hour"], r["link_type"]): r["clicks_sum"] for r in told_hours.to_pylist()} == seen


def test_the_law_tells_classes_as_the_pairs_do(pairs: PairStore) -> None:
    told = expected(law_of(plan_of(), pairs, PARTITIONS), FEBRUARY.start, FEBRUARY.end)
    grouped = told.group_by("class").aggregate([("clicks", "sum")]).to_pylist()
    facts = pairs.facts(WIKI, MONTH)
    assert {row["class"]: row["clicks_sum"] for row in grouped} == facts.clicks_by_class
    assert pc.sum(told["clicks"]).as_py() == pc.sum(pairs_table()["clicks"]).as_py()


PROGRAM = """
    import sys, time
    from pathlib import Path
    from readerflow.common.months import Month
    from readerflow.kafka import producer
    from readerflow.kafka.plan import ReplayPlan
    from readerflow.kafka.replay import Grain
    from readerflow.storage.pairs import PairStore
    from readerflow.storage.sqlite_log import SQLiteLog

    home = Path(sys.argv[1])
    producer.FLUSH_ENTRIES = 200
    plan = ReplayPlan("testwiki", Month.parse("2025-02"), Grain.HOUR)
    with SQLiteLog(home / "log.db", "clicks", 3) as log:
        slowly = lambda *_: time.sleep(0.01)
        producer.replay(plan, PairStore(home / "pairs"), log, progress=slowly)
"""


def test_a_replay_killed_at_ten_random_moments_leaves_the_log_of_an_unbroken_one(
    tmp_path: Path, pairs: PairStore
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    with open_log(tmp_path) as broken, open_log(tmp_path, "unbroken.db") as unbroken:
        replay(plan_of(), pairs, unbroken, replays=ReplayStore(tmp_path / "others"))
        whole = sum(ends(unbroken))
        killed = set()
        for moment in sorted(random.Random(seed).choices(range(whole), k=10)):  # noqa: S311 - no secret
            command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path)]
            process = subprocess.Popen(command, env=clean_env())
            deadline = time.monotonic() + 60
            while sum(ends(broken)) <= moment and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            killed.add(sum(ends(broken)))
        assert len(killed - {0, whole}) >= 2  # it really died within the month
        replay(plan_of(), pairs, broken)
        assert everything(broken) == everything(unbroken)


def clean_env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("READERFLOW_")}


def test_the_module_runs_as_a_script(tmp_path: Path, pairs: PairStore) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "kafka" / "producer.py"), WIKI, MONTH],
        env=clean_env() | {"READERFLOW_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"{sum(row[3] for row in rows()):,} clicks appended" in done.stderr
