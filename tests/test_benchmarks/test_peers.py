"""The benchmark's contestants do the same work: else their times say nothing about each other."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Those that the tests' own environment has; `make bench` installs the others.
PEERS = "duckdb"
LIBRARIES = "scipy,networkx"


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run", "--size", "20k", "--folder", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bench")
    done = bench(folder, "--parts", "views,ranks", "--peers", PEERS, "--libraries", LIBRARIES)
    assert done.returncode == 0, done.stderr
    yield json.loads((folder / "results-20k.json").read_text()) | {"page": done.stdout}


def test_every_contestant_makes_the_same_rows_and_ranks(results: dict[str, Any]) -> None:
    assert results["views"]["compared"] == ["DuckDB"]
    assert [run["differences"] for run in results["views"]["runs"]] == [[], [], []]
    assert results["views"]["totals"]["sources"] == 20_000


def test_every_library_ranks_as_readerflow_does(results: dict[str, Any]) -> None:
    assert [run["library"] for run in results["ranks"]] == ["readerflow", "scipy", "networkx"]
    for run in results["ranks"]:
        assert not run["note"]
        assert not run["missing"]
        assert max(run["apart"].values()) <= 1e-10


def test_every_contestant_has_time_memory_and_size(results: dict[str, Any]) -> None:
    for run in results["views"]["runs"]:
        assert run["seconds"] > 0
        assert run["peak_mib"] > 10
        assert run["disk_mib"] > 0
        assert sum(run["steps"].values()) <= run["seconds"] + 0.01


def test_the_page_names_machine_and_ratios(results: dict[str, Any]) -> None:
    page = results["page"]
    assert "cores" in page
    assert "| ReaderFlow: preprocess, batch |" in page
    assert "ReaderFlow / it: s" in page


def test_a_row_or_a_rank_that_differs_is_named(tmp_path: Path) -> None:
    same = load_same()
    folders = {name: tmp_path / name for name in ("ours", "equal", "clicks", "rank")}
    write_views(folders["ours"])
    write_views(folders["equal"], rank=0.25 + 1e-12)
    write_views(folders["clicks"], clicks=11)
    write_views(folders["rank"], rank=0.25 + 1e-6)
    found = {name: same.differences(folders["ours"], folder) for name, folder in folders.items()}
    assert found["equal"] == []
    assert [text.split(":")[0] for text in found["clicks"]] == ["sources"]
    assert [text.split(":")[0] for text in found["rank"]] == ["pagerank", "reader_rank", "link_rank"]


def load_same() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_same", ROOT / "benchmarks" / "same.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_views(folder: Path, clicks: int = 10, rank: float = 0.25) -> None:
    """Views of one row each."""
    folder.mkdir()
    for view, columns in load_same().COLUMNS.items():
        row: dict[str, Any] = {name: "a" for name in columns}
        row |= {"position": 1, "clicks": clicks if view == "sources" else 10, "pairs": 1}
        row |= dict.fromkeys(load_same().RANKS, rank)
        pq.write_table(pa.Table.from_pylist([row]), folder / f"{view}.parquet")


def test_an_unknown_size_is_refused(tmp_path: Path) -> None:
    done = bench(tmp_path, "--size", "many")
    assert done.returncode == 1
    assert "is not a size" in done.stderr
