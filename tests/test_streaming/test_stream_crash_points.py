"""The stream dies at each named crash point, by kill -9 and by an exception; one restart makes it good.

Afterwards its rows and counts are those of a run that nothing broke, row by row.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from readerflow.common.crash import POINTS, Crashed
from readerflow.storage.realtime_views import StreamProgress
from tests.log_entries import SOURCE, entries, heartbeat, record
from tests.realtime_rows import Rows, expected_rows, live_rows, without_trends
from tests.streaming_home import StopAfter, open_home

ROOT = Path(__file__).parents[2]
MINE = [point for point in POINTS if point.startswith("stream.")]
BATCH_ENTRIES = 40


def work(home: Path) -> None:
    with open_home(home) as opened:
        opened.stream(batch_entries=BATCH_ENTRIES)


def prepare(home: Path) -> None:
    """A log with duplicates and bad values, half of it archived and its first quarter streamed."""
    with open_home(home) as opened:
        for part in range(4):
            for partition in range(2):
                hours = range(5 * part, 5 * part + 5)
                rows = [
                    row
                    for hour in hours
                    for row in (
                        *(record(6 * hour + n, hour=hour, referrer=f"R{n}", article=f"A{hour % 3}") for n in range(5)),
                        heartbeat(6 * hour + 5, hour=hour),
                    )
                ]
                opened.append(partition, entries(*rows, *rows[:7]))
                opened.log.append_raw(partition, [(None, b"{")])
                opened.log.flush()
            if part == 0:
                opened.stream(batch_entries=BATCH_ENTRIES, stop=StopAfter(1))
            if part == 1:
                opened.archive_all(30)


def result_of(home: Path) -> tuple[Rows, StreamProgress]:
    with open_home(home) as opened:
        current = opened.realtime.current()
        assert current is not None
        progress = opened.realtime.progress(current)
        assert progress is not None
        # Trends may be scored after more or fewer of the batches, which numbers them differently.
        return live_rows(home, SOURCE), replace(progress, batch_id=0, figures=None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("prepared") / "home"
    prepare(home)
    return home


@pytest.fixture(scope="module")
def clean(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, StreamProgress]:
    home = tmp_path_factory.mktemp("clean") / "home"
    shutil.copytree(prepared, home)
    work(home)
    rows, progress = result_of(home)
    with open_home(home) as opened:
        records = opened.records()
    assert without_trends(rows) == without_trends(expected_rows(records, SOURCE, progress.rows_from[SOURCE]))
    assert (progress.records, progress.duplicates, progress.rejects) == (len(records), 56, 8)
    return rows, progress


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("point", MINE)
def test_a_stream_killed_at_a_crash_point_is_made_good_by_one_restart(
    home: Path, clean: tuple[Rows, StreamProgress], point: str
) -> None:
    program = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from tests.test_streaming.test_stream_crash_points import work
        work(Path({str(home)!r}))
    """
    environment = os.environ | {"READERFLOW_TESTING": "1", "READERFLOW_CRASH_AT": f"{point}:kill"}
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    work(home)
    assert result_of(home) == clean


@pytest.mark.parametrize("point", MINE)
def test_a_stream_that_failed_at_a_crash_point_is_made_good_by_one_restart(
    home: Path, clean: tuple[Rows, StreamProgress], point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("READERFLOW_TESTING", "1")
        patch.setenv("READERFLOW_CRASH_AT", f"{point}:raise")
        with pytest.raises(Crashed, match=point):
            work(home)
    work(home)
    assert result_of(home) == clean
