"""Spark makes the same views as DuckDB, and its jobs run as Spark users expect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from readerflow.batch_processing import pagerank, traffic
from readerflow.batch_processing.batch import run_batch
from readerflow.batch_processing.duckdb_engine import DuckDBEngine
from readerflow.common.settings import Settings
from readerflow.common.spark_session import code_zip
from readerflow.storage.batch_views import BATCH_SCHEMAS, Manifest, View
from readerflow.storage.local_archive import LocalArchive
from tests.conftest import HRWIKI
from tests.test_batch_processing.part_views import PartViews
from tests.test_batch_processing.segments import FolderArchive, by_partition, dump_records, records

pytestmark = pytest.mark.cluster

JOBS = Path(traffic.__file__).parent
ROWS = [
    ("A", "B", "link", 5), ("B", "A", "link", 2), ("B", "C\U00010400", "link", 1), ("other-search", "A", "external", 9),
    ("A", "C\U00010400", "other", 3),
]  # fmt: skip
TOP_IN = ["in\t1\tA\t11", "in\t2\tB\t5", "in\t3\tC\U00010400\t4"]


@pytest.fixture(scope="module")
def real_views(
    spark: None, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[PartViews, Manifest], tuple[PartViews, Manifest]]:
    """The real month by DuckDB, and by Spark."""
    from readerflow.batch_processing.spark_engine import SparkEngine

    folder = tmp_path_factory.mktemp("both-engines")
    archive = FolderArchive(folder / "archive")
    for partition, rows in by_partition(dump_records(data / HRWIKI), 8).items():
        archive.add(partition, rows)
    made = []
    for engine in (DuckDBEngine(folder / "tmp", memory_limit="1GB"), SparkEngine(Settings(home=folder))):
        views = PartViews(folder / engine.name)
        with engine:
            made.append((views, run_batch("hrwiki", "2025-03", archive, views, engine, partitions=8)))
    return made[0], made[1]


@pytest.mark.data
@pytest.mark.parametrize("view", View)
def test_every_view_of_the_real_month_is_the_same_row_by_row(
    real_views: tuple[tuple[PartViews, Manifest], tuple[PartViews, Manifest]], view: View
) -> None:
    (duckdb, _), (spark, _) = real_views
    expected, found = duckdb.table(view), spark.table(view)
    assert found.schema.equals(BATCH_SCHEMAS[view])
    assert found.num_rows == expected.num_rows > 0
    assert found.combine_chunks().equals(expected.combine_chunks())


@pytest.mark.data
def test_the_manifest_of_the_real_month_is_the_same(
    real_views: tuple[tuple[PartViews, Manifest], tuple[PartViews, Manifest]],
) -> None:
    (_, duckdb), (_, spark) = real_views
    assert spark.engine.startswith("spark")
    assert (spark.pairs, sum(spark.classes.values())) == (191_934, 15_420_134)
    for name in ("totals", "classes", "rows", "ranks", "articles", "linked_articles", "pairs", "offsets", "horizon"):
        assert getattr(spark, name) == getattr(duckdb, name), name


@pytest.fixture
def master_dataset(tmp_path: Path) -> Path:
    """A small month in two partitions as the embedded profile archives it, and an older one."""
    made, root = FolderArchive(tmp_path / "made"), tmp_path / "archive"
    made.add(0, records(ROWS[:3]))
    made.add(1, records(ROWS[3:]))
    with LocalArchive(root) as archive:
        for segment in made.segments():
            archive.publish(segment, pq.read_table(segment.uri))
    return root


def submit(job: str, *arguments: str | Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a job as in an activated environment."""
    programs = Path(sys.executable).parent
    command = [programs / "spark-submit", *options, JOBS / job, *arguments]
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=180)


def test_spark_submit_prints_the_traffic_of_the_newest_month_and_writes_its_views(
    master_dataset: Path, tmp_path: Path
) -> None:
    output = tmp_path / "views"
    done = submit("traffic.py", master_dataset, "--output", output.as_uri(), options=("--master", "local[2]"))
    assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "ranking\tposition\tarticle\tclicks"
    assert [line for line in lines if line.startswith("in\t")] == TOP_IN
    assert "hrwiki 2025-03 up to 2025-04-01T00:00Z: 5 pairs, 20 clicks" in done.stderr
    sources = pq.read_table(output / "sources")
    assert sources.schema.names == BATCH_SCHEMAS[View.SOURCES].names
    assert sources.slice(0, 2).to_pylist() == [
        {"article": "A", "position": 1, "referrer": "other-search", "link_type": "external", "clicks": 9},
        {"article": "A", "position": 2, "referrer": "B", "link_type": "link", "clicks": 2},
    ]
    assert {path.name for path in output.iterdir()} == {"articles", "classes", "destinations", "rankings", "sources"}


def test_executors_in_other_processes_take_the_code_from_a_zip(
    spark_cluster: Settings, master_dataset: Path, tmp_path: Path
) -> None:
    code = code_zip(tmp_path / "readerflow.zip")
    options = ("--master", spark_cluster.spark_master, "--executor-memory", "512m", "--py-files", str(code))
    output = tmp_path / "ranks"
    done = submit("pagerank.py", master_dataset, "--iterations", "10", "--output", output.as_uri(), options=options)
    assert done.returncode == 0, done.stderr + done.stdout
    ranks = {row["article"]: row for row in pq.read_table(output).to_pylist()}
    assert ranks.keys() == {"A", "B", "C\U00010400"}
    assert sum(row["link_rank"] for row in ranks.values()) == pytest.approx(1, abs=1e-12)
    best = min(ranks.values(), key=lambda row: row["pagerank_position"])
    assert f"pagerank\t1\t{best['article']}\t{best['pagerank']}" in done.stdout.splitlines()
    assert "pagerank: 10 iterations" in done.stderr
    assert not list((master_dataset / "scratch").glob("*"))


def test_a_month_that_is_not_there_is_one_clear_line(
    master_dataset: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert traffic.main([str(master_dataset), "--month", "2024-01"]) == 1
    assert capsys.readouterr().err == "error: the archive holds nothing of any wiki 2024-01\n"
    shutil.rmtree(master_dataset / "clicks")
    assert pagerank.main([str(master_dataset)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {master_dataset} holds no master dataset")
