"""Crash points 9 to 11: where a batch run dies, readers see one whole generation, and the next run heals all."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from readerflow.storage.batch_views import View
from readerflow.storage.duckdb_views import DuckDBViews
from tests.test_batch_processing.conftest import Home
from tests.test_batch_processing.segments import MARCH, FolderArchive, records

ROOT = Path(__file__).parents[2]
RUN = f"""
import pickle, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from readerflow.common.crash import Crashed
from readerflow.storage.duckdb_views import DuckDBViews
from tests.test_batch_processing.conftest import Home
home = Path(sys.argv[1])
with DuckDBViews(home / "views", 1) as views:
    try:
        Home(home, pickle.loads((home / "archive.pickle").read_bytes()), views).run()
    except Crashed:
        sys.exit(3)
"""


def all_rows(home: Home) -> dict[str, list[dict[str, Any]]]:
    return {view.value: home.rows(view) for view in View}


def add_hours(archive: FolderArchive, first: int, last: int) -> None:
    for hour in range(first, last):
        rows = [("other-search", "A", "external", 5), (f"R{hour}", "A", "link", 2), ("A", f"R{hour}", "link", 1 + hour)]
        start = MARCH.start + timedelta(hours=hour)
        archive.add(0, records(rows, hour), closed=(start, start + timedelta(hours=1)))


@pytest.mark.parametrize("mode", ["kill", "raise"])
@pytest.mark.parametrize("point", ["batch.half_written", "batch.before_publish", "batch.published"])
def test_a_run_that_dies_leaves_one_whole_generation_and_the_next_run_equals_a_clean_one(
    home: Home, tmp_path: Path, point: str, mode: str
) -> None:
    home.views = DuckDBViews(tmp_path / "views", 1).__enter__()
    add_hours(home.archive, 0, 2)
    before = home.run()
    old_rows = all_rows(home)
    add_hours(home.archive, 2, 4)
    (tmp_path / "archive.pickle").write_bytes(pickle.dumps(home.archive))
    environment = {**os.environ, "READERFLOW_TESTING": "1", "READERFLOW_CRASH_AT": f"{point}:{mode}"}
    died = subprocess.run([sys.executable, "-c", RUN, tmp_path], env=environment, capture_output=True, text=True)
    assert died.returncode == (-signal.SIGKILL if mode == "kill" else 3), died.stderr

    with DuckDBViews(tmp_path / "clean" / "views", 1) as views:
        clean = Home(tmp_path / "clean", home.archive, views)
        clean_manifest = clean.run()
        clean_rows = all_rows(clean)
    current = home.views.current("hrwiki", "2025-03")
    assert current is not None
    switched = point == "batch.published"
    assert (current.generation != before.generation) == switched
    assert all_rows(home) == (clean_rows if switched else old_rows)

    after = home.run()
    assert all_rows(home) == clean_rows
    assert (after.totals, after.horizon, after.offsets) == (
        clean_manifest.totals,
        clean_manifest.horizon,
        clean_manifest.offsets,
    )
    assert [path.name for path in (tmp_path / "views").glob("*/*/*")] == [after.generation]
    assert list((tmp_path / "leases").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    home.views.__exit__(None, None, None)
