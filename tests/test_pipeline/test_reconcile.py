"""Reconciliation: no alarm on clean runs, and every kind of loss or surplus named."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from readerflow.common.facts import to_json
from readerflow.common.months import HOUR, Month
from readerflow.common.settings import Settings, load
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.pipeline import steps
from readerflow.pipeline.reconcile import reconcile_month
from readerflow.storage import Storage, open_storage
from tests.small_month import MONTH, WIKI, write_month

HORIZON = Month.parse(MONTH).end - timedelta(days=1)


def run(home: Path, *, end: datetime | None = None, grain: str = "hour") -> Settings:
    """Take the small month through all stages."""
    settings = load(home=home, segment_rows=500)
    write_month(home / "pairs")
    with open_storage(settings) as storage:
        steps.replay(storage, ReplayPlan(WIKI, Month.parse(MONTH), Grain(grain)), end=end)
        steps.archive(settings, storage)
        steps.batch(settings, storage, WIKI, MONTH, HORIZON if end is None and grain == "hour" else None)
        steps.stream(settings, storage)
    return settings


@pytest.fixture(scope="module")
def clean_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clean") / "home"
    run(home)
    return home


@pytest.fixture
def settings(clean_home: Path, tmp_path: Path) -> Settings:
    """A copy of a clean run, to be broken."""
    shutil.copytree(clean_home, tmp_path / "home")
    return load(home=tmp_path / "home", segment_rows=500)


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    with open_storage(settings) as opened:
        yield opened


def differences(settings: Settings, capsys: pytest.CaptureFixture[str]) -> list[str]:
    status = reconcile_month(settings, WIKI, MONTH, as_json=False)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("DIFFERENCE")]
    assert status == bool(said)
    return said


def archive_files(settings: Settings) -> list[Path]:
    return sorted((settings.home / "archive" / "clicks").rglob("*.parquet"))


def rewrite(path: Path, keep: pc.Expression) -> int:
    """Drop rows of an archive file but keep its footer, as silent corruption would."""
    table = pq.read_table(path, partitioning=None)
    kept = table.filter(keep)
    metadata = pq.read_metadata(path).metadata
    pq.write_table(kept.replace_schema_metadata({k: v for k, v in metadata.items() if k != b"ARROW:schema"}), path)
    return int(table.num_rows - kept.num_rows)


def test_a_clean_run_raises_no_alarm(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert differences(settings, capsys) == []


@pytest.mark.parametrize("grain", ["day", "month"])
def test_a_clean_run_at_any_grain_raises_no_alarm(
    grain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert differences(run(tmp_path / "home", grain=grain), capsys) == []


def test_a_clean_part_of_a_month_raises_no_alarm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert differences(run(tmp_path / "home", end=Month.parse(MONTH).start + timedelta(days=3)), capsys) == []


def test_a_deleted_log_batch_is_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(settings.home / "log.db") as log:
        partition, first = log.execute(
            "select partition, first_offset from batches where topic = 'clicks' order by entries desc"
        ).fetchone()
        log.execute(
            "delete from batches where topic = 'clicks' and partition = ? and first_offset = ?", (partition, first)
        )
    log.close()
    assert any("log:" in line and f"partition {partition}" in line for line in differences(settings, capsys))


def test_a_doubled_archive_file_is_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    file = archive_files(settings)[0]
    double = file.with_name("9" * len(file.stem) + ".parquet")
    shutil.copy(file, double)
    said = differences(settings, capsys)
    assert any("archive:" in line and file.name in line and double.name in line for line in said)


def test_a_missing_archive_file_is_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    archive_files(settings)[1].unlink()
    assert any("archive:" in line and "lacks offsets" in line for line in differences(settings, capsys))


def test_a_missing_hour_is_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    hour = datetime(2025, 2, 10, 19)
    lost = sum(rewrite(file, pc.field("event_time") != hour) for file in archive_files(settings))
    assert lost > 0
    assert any(
        "archive: the slot of 2025-02-10T19:00Z holds 0 clicks" in line for line in differences(settings, capsys)
    )


def test_a_beginning_that_no_partition_holds_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, first = load(home=tmp_path / "home", segment_rows=500), Month.parse(MONTH).start
    write_month(settings.home / "pairs")
    with open_storage(settings) as storage:
        replayed = steps.replay(storage, ReplayPlan(WIKI, Month.parse(MONTH), Grain.HOUR), start=first + HOUR)
        steps.archive(settings, storage)
        facts = storage.replays.facts(replayed.source)
        storage.replays.path(replayed.source).write_text(to_json(replace(facts, begin=first)))
    said = differences(settings, capsys)
    for stage in ("log", "archive"):
        assert any(f"{stage}: partition 0 has no heartbeat from 2025-02-01T00:00Z" in line for line in said)
        assert any(line.startswith(f"DIFFERENCE  {stage}: clicks ") for line in said)


def test_a_quarter_percent_of_random_loss_is_flagged(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    lost = sum(rewrite(file, pc.bit_wise_and(pc.field("seq"), 255) != 7) for file in archive_files(settings))
    assert lost > 0
    assert any(line.startswith("DIFFERENCE  archive: clicks ") for line in differences(settings, capsys))


def test_a_stuck_partition_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = run(tmp_path / "home")
    last = [file for file in archive_files(settings) if file.parent.name.lstrip("0") in ("", "3")][-1]
    last.unlink()
    said = differences(settings, capsys)
    assert any("archive: partition" in line and "stands at" in line for line in said)


def test_a_changed_dump_is_told_from_the_replayed_one(
    settings: Settings, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    write_month(settings.home / "pairs", pairs=[("other-search", "A", "external", 10)])
    assert any("the pairs have changed" in line for line in differences(settings, capsys))
