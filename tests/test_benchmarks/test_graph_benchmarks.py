"""The benchmarks of paths and related articles run, agree with their peer, and hold what is promised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.page_site import LiveSite
from tests.serving_store import MONTH, WIKI
from tests.test_benchmarks.test_peers import ROOT


def run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    LiveSite(folder).fill()
    return folder


def test_paths_are_measured_and_cost_what_the_peer_finds(home: Path) -> None:
    done = run("paths", home, WIKI, MONTH, "--pairs", "30", "--peer-pairs", "10", "--peers", "scipy")
    assert done.returncode == 0, done.stderr
    for line in ("best path, by probability: ", "five paths, by clicks: 3 pairs, ", "10 of these pairs, p50 "):
        assert line in done.stdout


def test_related_articles_are_measured(home: Path) -> None:
    done = run("related", home, WIKI, MONTH, "--questions", "")
    assert done.returncode == 0, done.stderr
    assert "any articles: p50 " in done.stdout


@pytest.mark.data
def test_related_articles_beat_the_most_popular_ones_by_what_is_promised(home: Path, data: Path) -> None:
    done = run("related", home, WIKI, MONTH, "--questions", "games")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "games: 3360 questions" in done.stdout
    assert "times most popular; at least 1.5 is promised" in done.stdout
