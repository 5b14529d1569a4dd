"""The contract of batch engines, which every adapter passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from readerflow.batch_processing.duckdb_engine import DuckDBEngine
from readerflow.batch_processing.engine import BatchEngine, StoredView
from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import Settings
from readerflow.storage.archive import ARCHIVED
from readerflow.storage.batch_views import BATCH_SCHEMAS, View
from tests.small_month import ODD_TITLES
from tests.test_batch_processing.part_views import PartViews, PartWriter
from tests.test_batch_processing.segments import FolderArchive, records

#: By UTF-16, in which Java stores text, the last one would come before the one ahead of it.
TITLES = sorted({*ODD_TITLES, "a", "Z", "é", "\uffee", "\U00010400"}, key=str.encode)
SOURCES = StoredView(
    View.SOURCES,
    "select article, referrer, link_type, clicks from pairs order by article, clicks desc, referrer, link_type",
    ("article", "referrer"),
    numbered="article",
)


@contextmanager
def duckdb_engine(folder: Path) -> Iterator[BatchEngine]:
    with DuckDBEngine(folder / "tmp", memory_limit="1GB") as engine:
        yield engine


@contextmanager
def spark_engine(folder: Path) -> Iterator[BatchEngine]:
    from readerflow.batch_processing.spark_engine import SparkEngine

    with SparkEngine(Settings(home=folder, spark_master="local[2]", spark_driver_memory="1g")) as engine:
        yield engine


@pytest.fixture(params=[duckdb_engine, pytest.param(spark_engine, marks=pytest.mark.cluster)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BatchEngine]:
    if request.param is spark_engine:
        request.getfixturevalue("spark")
    with request.param(tmp_path) as engine:
        yield engine
    assert not [path for path in tmp_path.glob("tmp/*") if path.is_dir()]


def read(engine: BatchEngine, query: str, **values: Any) -> pa.Table:
    return pa.Table.from_batches(engine.batches(query, values))


def random_pairs(count: int) -> pa.Table:
    random = np.random.default_rng(1)
    return pa.table(
        {
            # A third of all rows has one article, more than fit into a fair share of any task.
            "article": pa.array(random.integers(0, len(TITLES), count) * (random.random(count) > 0.3), pa.int32()),
            "referrer": pa.array(random.integers(0, len(TITLES), count), pa.int32()),
            "link_type": pa.array(random.choice(["link", "other", "external"], count), pa.string()),
            "clicks": pa.array(random.integers(1, 4, count)),
        }
    )


def numbered_titles(engine: BatchEngine) -> None:
    engine.put("named", pa.table({"title": TITLES[::-1]}))
    engine.number("titles", "select title from named", {})


def test_parquet_files_open_as_one_table_with_the_columns_of_the_archive(engine: BatchEngine, tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive")
    files = [archive.add(partition, records([("a", "b", "link", partition + 1)] * 3)) for partition in range(3)]
    engine.open("archived", [file.uri for file in files])
    found = read(engine, "select * from archived order by `partition`, `offset`")
    assert found.schema.equals(ARCHIVED)
    assert found.to_pylist() == pa.concat_tables(pq.read_table(file.uri) for file in files).to_pylist()


def test_parameters_are_values_whatever_they_hold(engine: BatchEngine) -> None:
    text, time = "it's :other -- \\ ünï", datetime(2025, 3, 5, 7)
    engine.put("rows", pa.table({"text": [text, "x"], "happened": pa.array([time, time], pa.timestamp("us"))}))
    engine.define(
        "found", "select text from rows where text = :text and happened < :time", {"text": text, "time": time}
    )
    assert read(engine, "select count(*) as n from found")["n"].to_pylist() == [0]
    values = {"text": text, "time": time.replace(hour=8), "other": 1}
    query = "select text from rows where text = :text and happened < :time limit :other"
    assert read(engine, query, **values)["text"].to_pylist() == [text]


def test_types_are_those_of_the_views(engine: BatchEngine) -> None:
    engine.put("rows", random_pairs(10))
    found = read(
        engine,
        "select article, link_type, cast(sum(clicks) as bigint) as clicks, count(*) as pairs, "
        "cast(count(*) as double) as value from rows group by all",
    )
    assert found.schema.types == [pa.int32(), pa.string(), pa.int64(), pa.int64(), pa.float64()]


def test_an_empty_result_has_its_columns(engine: BatchEngine) -> None:
    engine.put("rows", random_pairs(10).slice(0, 0))
    found = read(engine, "select article, clicks from rows")
    assert (found.num_rows, found.schema.types) == (0, [pa.int32(), pa.int64()])


def test_a_defined_table_is_computed_once_and_outlives_what_it_was_made_of(engine: BatchEngine) -> None:
    engine.put("rows", pa.table({"n": [1, 2]}))
    engine.define("kept", "select n + :one as n from rows", {"one": 1})
    engine.put("rows", pa.table({"n": [5]}))
    assert sorted(read(engine, "select n from kept")["n"].to_pylist()) == [2, 3]


def test_titles_are_numbered_in_byte_order(engine: BatchEngine) -> None:
    numbered_titles(engine)
    found = read(engine, "select id, title from titles order by id")
    assert found.schema.types == [pa.int32(), pa.string()]
    assert found.to_pydict() == {"id": list(range(len(TITLES))), "title": TITLES}
    assert engine.titles().to_pylist() == TITLES


def test_a_view_is_stored_in_key_order_with_titles_and_positions(engine: BatchEngine, tmp_path: Path) -> None:
    numbered_titles(engine)
    pairs = random_pairs(5000)
    engine.put("pairs", pairs)
    views = PartViews(tmp_path / "views")
    assert engine.store(SOURCES, {}, PartWriter(views.folder, View.SOURCES)) == 5000
    expected = []
    rows = sorted(
        pairs.to_pylist(), key=lambda row: (row["article"], -row["clicks"], row["referrer"], row["link_type"])
    )
    for place, row in enumerate(rows):
        fresh = place == 0 or row["article"] != rows[place - 1]["article"]
        position = 1 if fresh else expected[-1]["position"] + 1
        titles = {name: TITLES[row[name]] for name in ("article", "referrer")}
        expected.append(row | titles | {"position": position})
    stored = views.table(View.SOURCES)
    assert stored.schema.equals(BATCH_SCHEMAS[View.SOURCES])
    assert stored.to_pylist() == [{name: row[name] for name in stored.column_names} for row in expected]
    keys = [key for part in views.parts(View.SOURCES) for key in part["article"].unique().to_pylist()]
    assert len(keys) == len(set(keys)), "a key is whole within one call of a writer"


def test_a_view_in_an_order_of_its_own_and_one_without_rows_are_stored(engine: BatchEngine, tmp_path: Path) -> None:
    numbered_titles(engine)
    engine.put("rows", pa.table({"place": [2, 1], "class": ["link", "other"], "clicks": [1, 2], "pairs": [1, 1]}))
    views = PartViews(tmp_path / "views")
    classes = StoredView(View.CLASSES, "select class, clicks, pairs from rows order by rows.place")
    assert engine.store(classes, {}, PartWriter(views.folder, View.CLASSES)) == 2
    assert views.table(View.CLASSES)["class"].to_pylist() == ["other", "link"]
    engine.put("pairs", random_pairs(0))
    assert engine.store(SOURCES, {}, PartWriter(views.folder, View.SOURCES)) == 0
    assert views.table(View.SOURCES).num_rows == 0


@dataclass(frozen=True)
class BrokenWriter:
    """Fails in the middle."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> int:
        next(iter(batches))
        raise ReaderFlowError("the store is full; give it a larger disk")


def test_a_known_failure_of_a_writer_is_told_in_its_own_words(engine: BatchEngine) -> None:
    numbered_titles(engine)
    engine.put("pairs", random_pairs(100))
    with pytest.raises(ReaderFlowError, match="the store is full; give it a larger disk"):
        engine.store(SOURCES, {}, BrokenWriter())
