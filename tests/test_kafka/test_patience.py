"""A store that is away makes replay and archiver wait; when it is back they go on, and nothing is lost or doubled."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from readerflow.common import patience
from readerflow.common.errors import Unavailable
from readerflow.common.months import Month
from readerflow.common.patience import patiently
from readerflow.kafka import producer
from readerflow.kafka.archiver import archive
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import replay
from readerflow.kafka.replay import Grain
from readerflow.storage.local_archive import LocalArchive
from readerflow.storage.log import LogSlice, LogUnavailable, OffsetGone
from readerflow.storage.sqlite_log import SQLiteLog
from tests.log_entries import entries, record
from tests.small_month import MONTH, WIKI, write_month
from tests.streaming_home import Home, open_home

PARTITIONS = 3


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(patience, "LAST_PAUSE", 0.004)


class Fickle(SQLiteLog):
    """A log that is away now and then: of a flush that fails only ``kept`` partitions become durable."""

    failures = 0
    kept: tuple[int, ...] = ()

    def flush(self) -> None:
        if self.failures and self._buffers:
            self.failures -= 1
            self._buffers = {
                partition: self._buffers[partition] for partition in self._buffers if partition in self.kept
            }
            super().flush()
            raise LogUnavailable("the log is away")
        super().flush()

    def read(self, partition: int, start: int, limit: int) -> LogSlice:
        self._may_be_away()
        return super().read(partition, start, limit)

    def end_offset(self, partition: int) -> int:
        self._may_be_away()
        return super().end_offset(partition)

    def _may_be_away(self) -> None:
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("the log is away")


def everything(log: SQLiteLog) -> list[dict[str, Any]]:
    found = [log.read(partition, 0, 10**7) for partition in range(PARTITIONS)]
    return [row for piece in found for row in piece.records.to_pylist() + piece.controls.to_pylist()]


def test_work_is_done_again_until_it_succeeds_and_each_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    left = [3]

    def work() -> str:
        if left[0]:
            left[0] -= 1
            raise Unavailable(f"away {left[0]}")
        return "done"

    with caplog.at_level(logging.WARNING):
        assert patiently(work) == "done"
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "waiting: away 2",
        "waiting: away 1",
        "waiting: away 0",
        "going on after 0 s of waiting",
    ]


def test_other_failures_are_raised_at_once() -> None:
    def work() -> None:
        raise OffsetGone("gone")

    with pytest.raises(OffsetGone):
        patiently(work)


def test_who_is_told_to_stop_waits_no_longer() -> None:
    stop = threading.Event()
    stop.set()

    def work() -> None:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        patiently(work, stop)


@pytest.mark.parametrize(
    "kept", [(), (1,), (0, 1, 2)], ids=["nothing kept", "one partition kept", "only the reply lost"]
)
def test_a_replay_goes_on_from_what_the_log_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...]
) -> None:
    monkeypatch.setattr(producer, "FLUSH_ENTRIES", 50)
    pairs = write_month(tmp_path / "pairs")
    plan = ReplayPlan(WIKI, Month.parse(MONTH), Grain.DAY)
    with SQLiteLog(tmp_path / "clean.db", "clicks", PARTITIONS) as clean:
        expected = replay(plan, pairs, clean)
        rows = everything(clean)
    with Fickle(tmp_path / "log.db", "clicks", PARTITIONS) as log:
        log.kept = kept
        log.failures = 3
        assert replay(plan, pairs, log) == expected
        assert log.failures == 0
        assert everything(log) == rows


def test_a_replay_that_is_interrupted_does_not_wait_for_a_log_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "FLUSH_ENTRIES", 1)
    pairs = write_month(tmp_path / "pairs")
    log = Fickle(tmp_path / "log.db", "clicks", PARTITIONS)
    plan = ReplayPlan(WIKI, Month.parse(MONTH), Grain.DAY)

    class Interrupted(BaseException):
        pass

    def interrupt(*_: Any, **__: Any) -> Any:
        log.failures = 10**9
        yield 0, entries(record(1))
        raise Interrupted

    with log:
        monkeypatch.setattr(producer, "cutter", lambda law, made=producer.cutter: _Interrupting(made(law), interrupt))
        with pytest.raises(Interrupted):
            replay(plan, pairs, log)


class _Interrupting:
    def __init__(self, made: Any, cut: Callable[..., Any]) -> None:
        self.heartbeat_seqs = made.heartbeat_seqs
        self.slots_at_once = made.slots_at_once
        self.cut = cut


def test_a_following_archiver_waits_for_a_log_that_is_away(tmp_path: Path) -> None:
    stop = threading.Event()
    master = LocalArchive(tmp_path / "archive")
    with (
        Fickle(tmp_path / "log.db", "clicks", PARTITIONS) as log,
        SQLiteLog(tmp_path / "log.db", "clicks.dlq", 1) as letters,
        master,
    ):
        log.append(0, entries(*(record(seq) for seq in range(10))))
        log.flush()
        log.failures = 5
        results = []
        options: dict[str, Any] = {"follow": True, "segment_seconds": 0.01, "poll_seconds": 0.01, "stop": stop}
        thread = threading.Thread(target=lambda: results.append(archive(log, master, letters, **options)))
        thread.start()
        deadline = time.monotonic() + 30
        while master.next_offset(0) < 10 and time.monotonic() < deadline:
            time.sleep(0.005)
        stop.set()
        thread.join(30)
        assert [(result.records, result.duplicates) for result in results] == [(10, 0)]


def test_an_archiver_that_does_not_follow_says_that_the_log_is_away(tmp_path: Path) -> None:
    with (
        Fickle(tmp_path / "log.db", "clicks", PARTITIONS) as log,
        SQLiteLog(tmp_path / "log.db", "clicks.dlq", 1) as letters,
        LocalArchive(tmp_path / "archive") as master,
    ):
        log.failures = 1
        with pytest.raises(LogUnavailable):
            archive(log, master, letters)


def test_a_log_that_ends_before_the_archive_is_not_archived_over_it(tmp_path: Path) -> None:
    with (
        SQLiteLog(tmp_path / "log.db", "clicks", PARTITIONS) as log,
        SQLiteLog(tmp_path / "anew.db", "clicks", PARTITIONS) as anew,
        SQLiteLog(tmp_path / "log.db", "clicks.dlq", 1) as letters,
        LocalArchive(tmp_path / "archive") as master,
    ):
        log.append(0, entries(*(record(seq) for seq in range(10))))
        log.flush()
        archive(log, master, letters)
        anew.append(0, entries(record(0)))
        anew.flush()
        with pytest.raises(OffsetGone, match="ends at offset 1, but the archive reaches to 10"):
            archive(anew, master, letters)


def test_a_following_stream_waits_for_a_log_that_is_away(tmp_path: Path) -> None:
    stop = threading.Event()
    with open_home(tmp_path, PARTITIONS) as home, Fickle(tmp_path / "fickle.db", "clicks", PARTITIONS) as log:
        log.append(0, entries(*(record(seq) for seq in range(10))))
        log.flush()
        home.log = log
        log.failures = 5
        results = []
        options: dict[str, Any] = {"follow": True, "poll_seconds": 0.01, "stop": stop}
        thread = threading.Thread(target=lambda: results.append(home.stream(**options)), daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not _streamed(home, 10) and time.monotonic() < deadline:
            time.sleep(0.005)
        log.append(1, entries(*(record(seq) for seq in range(7))))
        log.flush()
        log.failures = 2
        while not _streamed(home, 17) and time.monotonic() < deadline:
            time.sleep(0.005)
        stop.set()
        thread.join(30)
        assert [(result.records, result.duplicates) for result in results] == [(17, 0)]


def _streamed(home: Home, records: int) -> bool:
    name = home.realtime.current()
    progress = home.realtime.progress(name) if name else None
    return progress is not None and progress.records == records
