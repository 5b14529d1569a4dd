"""What the commands tell of their results."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from readerflow.common.months import Month
from readerflow.common.settings import load
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.pipeline import commands, steps
from readerflow.pipeline.demo import run_demo
from readerflow.pipeline.purge import StillRunning, purge_home
from readerflow.storage import open_storage
from readerflow.storage.lease import is_leased
from tests.small_month import MONTH, WIKI, write_month


def test_a_rebuild_of_all_months_is_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, month = load(home=tmp_path / "home"), Month.parse(MONTH)
    write_month(settings.home / "pairs")
    with open_storage(settings) as storage:
        steps.replay(storage, ReplayPlan(WIKI, month, Grain.DAY), end=month.start + timedelta(days=2))
        steps.archive(settings, storage)
    commands.rebuild(settings, as_json=True)
    assert [(told["wiki"], told["month"]) for told in json.loads(capsys.readouterr().out)] == [(WIKI, MONTH)]


def test_a_demo_runs_again_after_later_generations(tmp_path: Path) -> None:
    dump, settings = tmp_path / "clickstream-testwiki-2025-02.tsv", load(home=tmp_path / "home")
    dump.write_text("other-search\tA\texternal\t500\nA\tB\tlink\t40\n")
    run_demo(settings, dump=dump, grain="day", serve=False)
    with open_storage(settings) as storage:
        for _ in range(settings.kept_generations):
            steps.batch(settings, storage, WIKI, MONTH)
    run_demo(settings, dump=dump, grain="day", serve=False)


def test_a_home_on_which_an_archiver_works_is_not_purged(tmp_path: Path) -> None:
    home = tmp_path / "home"
    follow = [sys.executable, "-m", "readerflow.pipeline.cli", "--home", str(home), "archive", "--follow"]
    with subprocess.Popen(follow, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as archiver:
        try:
            deadline = time.monotonic() + 60
            while not is_leased(home / "leases" / "archive.lock") and time.monotonic() < deadline:
                time.sleep(0.05)
            with pytest.raises(StillRunning, match="archive"):
                purge_home(load(home=home), ask=False)
        finally:
            archiver.terminate()
    assert archiver.returncode == 0
    purge_home(load(home=home), ask=False)
    assert not home.exists()
