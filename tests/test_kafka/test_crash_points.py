"""Replay and archiver die at each named crash point, by kill -9 and by an exception; one restart makes it good.

Afterwards the archive's rows by (source, seq) and the distinct dead letters are those of a run that nothing broke.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from readerflow.common.crash import POINTS, Crashed
from readerflow.common.months import Month
from readerflow.common.records import MAX_RAW_BYTES
from readerflow.kafka import producer
from readerflow.kafka.archiver import archive
from readerflow.kafka.dead_letters import distinct_letters
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.storage.archive import gaps
from readerflow.storage.local_archive import LocalArchive
from readerflow.storage.pairs import PairStore
from readerflow.storage.sqlite_log import SQLiteLog
from tests.small_month import MONTH, WIKI, rows, write_month

ROOT = Path(__file__).parents[2]
MINE = [point for point in POINTS if point.startswith(("replay.", "archiver."))]
BAD = (b"", b"{", b"\xff", b'{"source": 1}')


def work(home: Path) -> None:
    """Replay a month with bad values before and after it, then archive it."""
    with ExitStack() as stack:
        log = stack.enter_context(SQLiteLog(home / "log.db", "clicks", 2))
        letters = stack.enter_context(SQLiteLog(home / "log.db", "clicks.dlq", 1, raw_bytes=2 * MAX_RAW_BYTES))
        master = stack.enter_context(LocalArchive(home / "archive"))
        if log.end_offset(1) == 0:
            log.append_raw(1, [(None, value) for value in BAD])
            log.flush()
        with patch.object(producer, "FLUSH_ENTRIES", 300):
            producer.replay(ReplayPlan(WIKI, Month.parse(MONTH), Grain.DAY), PairStore(home / "pairs"), log)
        archive(log, master, letters, segment_rows=1000, wall=lambda: datetime(2025, 3, 1))


@dataclass(frozen=True)
class Result:
    """What must be the same as without a crash."""

    rows: pa.Table
    letters: dict[bytes, Any]


def result_of(home: Path) -> Result:
    with ExitStack() as stack:
        letters = stack.enter_context(SQLiteLog(home / "log.db", "clicks.dlq", 1, raw_bytes=2 * MAX_RAW_BYTES))
        master = stack.enter_context(LocalArchive(home / "archive"))
        segments = master.segments()
        assert gaps(segments) == []
        assert list((home / "archive" / "tmp").iterdir()) == []
        tables = [pq.read_table(segment.uri, partitioning=None) for segment in segments]
        found = (
            pa.concat_tables(tables).drop_columns(["offset"]).sort_by([("source", "ascending"), ("seq", "ascending")])
        )
        return Result(found, distinct_letters(letters))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Result:
    home = tmp_path_factory.mktemp("clean")
    write_month(home / "pairs")
    work(home)
    found = result_of(home)
    assert sum(found.rows["clicks"].to_pylist()) == sum(row[3] for row in rows())
    assert len(found.letters) == len(BAD)
    return found


def check(home: Path, clean: Result) -> None:
    found = result_of(home)
    assert found.rows.equals(clean.rows)
    assert found.letters == clean.letters


@pytest.mark.parametrize("point", MINE)
def test_killed_at_a_crash_point_one_restart_makes_it_good(tmp_path: Path, clean: Result, point: str) -> None:
    write_month(tmp_path / "pairs")
    program = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from tests.test_kafka.test_crash_points import work
        work(Path({str(tmp_path)!r}))
    """
    environment = os.environ | {"READERFLOW_TESTING": "1", "READERFLOW_CRASH_AT": f"{point}:kill"}
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    work(tmp_path)
    check(tmp_path, clean)


@pytest.mark.parametrize("point", MINE)
def test_failed_at_a_crash_point_one_restart_makes_it_good(
    tmp_path: Path, clean: Result, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_month(tmp_path / "pairs")
    with monkeypatch.context() as environment:
        environment.setenv("READERFLOW_TESTING", "1")
        environment.setenv("READERFLOW_CRASH_AT", f"{point}:raise")
        with pytest.raises(Crashed, match=point):
            work(tmp_path)
    work(tmp_path)
    check(tmp_path, clean)
