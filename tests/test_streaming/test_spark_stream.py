"""The stream as a Spark job: it makes the rows that the embedded stream makes of the topic, whatever befalls it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from readerflow.common.months import HOUR, Month
from readerflow.common.settings import Settings
from readerflow.common.spark_session import spark_session
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import replay
from readerflow.kafka.replay import Grain
from readerflow.storage.cassandra_realtime import CassandraRealtime
from readerflow.storage.cassandra_session import Cassandra, CassandraAddress, ViewsUnavailable
from readerflow.storage.freshness import live_until
from readerflow.storage.lease import Leased
from readerflow.storage.realtime_views import MicroBatch, StreamProgress
from readerflow.streaming.spark_checkpoints import Checkpoints
from readerflow.streaming.spark_stream import CONF
from readerflow.streaming.stream import stream
from tests.log_entries import SOURCE, START, entries, heartbeat, record
from tests.realtime_rows import Rows, expected_rows, live_rows, without_trends
from tests.small_month import WIKI, write_month
from tests.spark_home import SparkHome, drop, open_spark_home, own_settings, to_text
from tests.streaming_home import open_home

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
CRASH_ENTRIES = 40


@pytest.fixture(scope="module")
def spark(cluster: Settings) -> Iterator[Any]:
    """A session that all runs of this module borrow."""
    with spark_session("tests", cluster, CONF) as session:
        yield session


@pytest.fixture
def home(cluster: Settings, spark: Any, tmp_path: Path) -> Iterator[SparkHome]:
    settings = own_settings(cluster, tmp_path)
    try:
        with open_spark_home(settings) as opened:
            yield opened
    finally:
        drop(settings)


def hours_of(first: int, last: int, seq: int = 0, article: str = "Zagreb") -> list[dict[str, Any]]:
    """Two records and the heartbeat of each hour."""
    found = []
    for hour in range(first, last):
        found.append(record(seq, hour=hour, article=article, clicks=1 + hour % 7))
        found.append(record(seq + 1, hour=hour, article="Split", referrer=article, link_type="link", clicks=3))
        found.append(heartbeat(seq + 2, hour=hour))
        seq += 3
    return found


def check(home: SparkHome, rows_from: datetime = START) -> None:
    """The views hold exactly what the log says."""
    assert without_trends(home.rows(SOURCE)) == without_trends(expected_rows(home.records(), SOURCE, rows_from))


def embedded_rows(home: SparkHome, source: str, path: Path) -> tuple[Rows, StreamProgress]:
    """What the embedded stream makes of the same topic."""
    with open_home(path, home.log.partitions) as embedded:
        result = stream(home.log, home.archive, home.generations, embedded.realtime, batch_entries=1500)
        progress = embedded.realtime.progress(result.incarnation)
    assert progress is not None
    return live_rows(path, source), progress


def test_months_are_streamed_as_by_the_embedded_stream_though_the_older_one_comes_later(
    home: SparkHome, tmp_path: Path
) -> None:
    sources = {}
    for month in ("2025-04", "2025-03"):
        pairs = write_month(tmp_path / "pairs", month=month)
        sources[month] = replay(ReplayPlan(WIKI, Month.parse(month), Grain.DAY), pairs, home.log).source
    result = home.stream(batch_entries=3000)
    assert result.batches > 3
    assert result.records == len(home.records())
    for month, source in sources.items():
        rows, progress = embedded_rows(home, source, tmp_path / month)
        assert home.rows(source) == rows
        found = home.progress()
        assert live_until(found, source, Month.parse(month).start) == Month.parse(month).end
        assert replace(found, batch_id=0, figures=None) == replace(progress, batch_id=0, figures=None)
        figures = found.figures
        assert figures is not None
        assert figures.lag == {0: 0, 1: 0}
    assert home.stream().records == 0


def test_partitions_that_are_consumed_one_to_a_hundred_lose_nothing(home: SparkHome) -> None:
    home.append(0, entries(*hours_of(0, 600)))
    home.append(1, entries(*hours_of(0, 6)))
    home.stream(batch_entries=700)
    assert live_until(home.progress(), SOURCE, START) == START + 6 * HOUR
    home.append(1, entries(*hours_of(6, 600, seq=18)))
    home.stream(batch_entries=700)
    assert live_until(home.progress(), SOURCE, START) == START + 600 * HOUR
    check(home)


def test_bad_records_duplicates_and_late_ones_are_counted(home: SparkHome) -> None:
    made = entries(*hours_of(0, 4))
    home.append(0, made)
    home.append(0, made)
    home.log.append_raw(0, [(None, b"{"), (b"k", b"\xff"), (None, b"")])
    home.log.flush()
    home.append(1, entries(*hours_of(0, 2), record(90, hour=1), *hours_of(2, 4, seq=91)))
    result = home.stream(batch_entries=5)
    assert (result.records, result.rejects, result.duplicates) == (17, 3, 12)
    assert home.progress().late == 1
    check(home)


def test_without_a_checkpoint_a_new_incarnation_is_taken_without_a_dip_under_constant_queries(
    home: SparkHome, spark: Any
) -> None:
    for partition in range(2):
        home.append(partition, entries(*hours_of(0, 60)))
    old = home.stream().incarnation
    home.archive_all(segment_rows=50)
    before = home.rows(SOURCE)
    Checkpoints(spark, home.settings).drop(old)
    for partition in range(2):
        home.append(partition, entries(*hours_of(60, 80, seq=180)))
    home.archive_all(segment_rows=50)
    seen: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        with closing(Cassandra(CassandraAddress.of(home.settings))) as cassandra:
            views = CassandraRealtime(cassandra)
            while not ended.is_set():
                seen.append(pc.sum(views.article_clicks(SOURCE, START, START + 80 * HOUR)["in_clicks"]).as_py())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        new = home.stream(batch_entries=120)
    finally:
        ended.set()
        asking.join(60)
    assert home.realtime.current() == new.incarnation != old
    check(home)
    whole = sum(row["clicks"] for row in home.records())
    assert seen[0] == sum(clicks for clicks, _ in before["live_articles"].values())
    assert seen == sorted(seen)
    assert max(seen) <= whole
    assert Checkpoints(spark, home.settings).names() == [new.incarnation]


def test_an_unfinished_new_incarnation_goes_on_after_a_restart(home: SparkHome) -> None:
    for partition in range(2):
        home.append(partition, entries(*hours_of(0, 60)))
    old = home.stream().incarnation
    home.archive_all()
    stop = threading.Event()
    broken = home.stream(fresh=True, batch_entries=20, stop=stop, progress=_after(20, stop))
    assert home.realtime.current() == old != broken.incarnation
    new = home.stream()
    assert home.realtime.current() == new.incarnation == broken.incarnation
    check(home)


def _after(wanted: int, stop: threading.Event) -> Callable[..., None]:
    """Progress that says stop once enough entries have been taken."""

    def progress(done: int, *_: Any) -> None:
        if done >= wanted:
            stop.set()

    return progress


def test_a_following_stream_takes_what_is_appended_until_it_is_stopped(home: SparkHome, tmp_path: Path) -> None:
    stop = threading.Event()
    lease = tmp_path / "stream.lock"
    running = threading.Thread(target=home.stream, kwargs={"follow": True, "stop": stop, "lease_path": lease})
    running.start()
    try:
        for start in range(0, 6, 2):
            for partition in range(2):
                home.append(partition, entries(*hours_of(start, start + 2, seq=3 * start)))
        _until(lambda: home.realtime.current() is not None and sum(home.progress().offsets.values()) == 36)
        with pytest.raises(Leased, match="stream"):
            home.stream(lease_path=lease)
    finally:
        stop.set()
        running.join(60)
    assert not running.is_alive()
    check(home)


def _until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Flaky(CassandraRealtime):
    """Views that are away at some of the commits, before or after the rows are visible, or confirm and lose them."""

    failures: list[str]

    def commit(self, incarnation: str, batch: MicroBatch) -> None:
        what = self.failures.pop() if self.failures else ""
        if what == "before":
            raise ViewsUnavailable("Cassandra is away")
        if what == "lost":
            return
        super().commit(incarnation, batch)
        if what == "after":
            raise ViewsUnavailable("Cassandra went away")


def test_when_the_view_store_is_away_the_stream_says_so_and_goes_on_by_itself(
    home: SparkHome, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readerflow.common.patience.FIRST_PAUSE", 0.1)
    for partition in range(2):
        home.append(partition, entries(*hours_of(0, 40)))
    flaky = Flaky(home.cassandra)
    flaky.failures = ["after", "", "before", "before"]
    home.realtime = flaky
    with caplog.at_level(logging.WARNING, logger="readerflow"):
        result = home.stream(batch_entries=60)
    said = [message for message in caplog.messages if "waiting: " in message]
    assert len(said) == 3
    assert (result.records, result.duplicates) == (160, 0)
    check(home)


def test_what_the_view_store_confirmed_and_lost_is_streamed_again(
    home: SparkHome, caplog: pytest.LogCaptureFixture
) -> None:
    for partition in range(2):
        home.append(partition, entries(*hours_of(0, 40)))
    flaky = Flaky(home.cassandra)
    flaky.failures = ["lost", ""]
    home.realtime = flaky
    with caplog.at_level(logging.WARNING, logger="readerflow"):
        result = home.stream(batch_entries=60)
    assert [message for message in caplog.messages if "had confirmed" in message]
    assert (result.records, result.duplicates) == (160, 0)
    check(home)


def prepare(home: SparkHome) -> None:
    """A topic with duplicates and bad values, half of it archived."""
    for part in range(4):
        for partition in range(2):
            rows = [
                row
                for hour in range(5 * part, 5 * part + 5)
                for row in (
                    *(record(6 * hour + n, hour=hour, referrer=f"R{n}", article=f"A{hour % 3}") for n in range(5)),
                    heartbeat(6 * hour + 5, hour=hour),
                )
            ]
            rows = [row | {"link_type": "link"} if row.get("referrer") else row for row in rows]
            home.append(partition, entries(*rows, *rows[:7]))
            home.log.append_raw(partition, [(None, b"{")])
            home.log.flush()
        if part == 1:
            home.archive_all(30)


def work(settings: dict[str, Any]) -> None:
    """What a driver of its own does."""
    with open_spark_home(Settings(**settings)) as home:
        home.stream(batch_entries=CRASH_ENTRIES)


def test_spark_submit_runs_the_job_with_the_settings_of_the_environment(home: SparkHome) -> None:
    for partition in range(2):
        home.append(partition, entries(*hours_of(0, 20)))
    program = Path(sys.executable).with_name("spark-submit")
    given = home.settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    environment = {f"READERFLOW_{name.upper()}": str(value) for name, value in given.items()}
    bootstrap = environment.pop("READERFLOW_KAFKA_BOOTSTRAP", home.settings.kafka_bootstrap)
    done = subprocess.run(
        [program, "streaming/trends.py", bootstrap, "--once"],
        cwd=ROOT,
        env=os.environ | {"PYSPARK_PYTHON": sys.executable} | environment,
        timeout=120,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "80 records" in done.stdout
    check(home)


@pytest.mark.parametrize("point", ["offsets_chosen", "rows_half_written", "rows_written"])
def test_a_driver_that_dies_at_a_crash_point_is_made_good_by_one_restart(
    home: SparkHome, point: str, tmp_path: Path
) -> None:
    prepare(home)
    home.stream(batch_entries=CRASH_ENTRIES, stop=(stop := threading.Event()), progress=_after(1, stop))
    program = f"""
        import json, sys
        sys.path.insert(0, {str(ROOT)!r})
        from tests.test_streaming.test_spark_stream import work
        work(json.loads({to_text(home.settings)!r}))
    """
    environment = os.environ | {"READERFLOW_TESTING": "1", "READERFLOW_CRASH_AT": f"stream.{point}:kill"}
    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        timeout=120,
        check=False,
        capture_output=True,
    )
    assert died.returncode != 0
    assert sum(home.progress().offsets.values()) < 304
    home.stream(batch_entries=CRASH_ENTRIES)
    check(home)
    progress = home.progress()
    assert (progress.records, progress.duplicates, progress.rejects) == (len(home.records()), 56, 8)
    rows, clean = embedded_rows(home, SOURCE, tmp_path / "embedded")
    assert home.rows(SOURCE)["live_totals"] == rows["live_totals"]
    assert progress.offsets == clean.offsets
    assert progress.closed == clean.closed
    assert max(end for _, end in progress.closed[0][SOURCE]) == START + timedelta(hours=20)
