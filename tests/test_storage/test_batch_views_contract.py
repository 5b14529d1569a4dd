"""What every adapter of the batch views must hold to: whole generations, one pointer, roll-back, clean-up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pytest

from readerflow.storage.batch_views import (
    BATCH_SCHEMAS,
    BatchViews,
    Generation,
    LinkGraph,
    Manifest,
    NoGeneration,
    RankFacts,
    Superseded,
    View,
)
from readerflow.storage.cassandra_batch import CassandraBatchViews
from readerflow.storage.cassandra_pointers import Change, Pointer, change_month, read_pointer
from readerflow.storage.cassandra_session import Cassandra
from readerflow.storage.duckdb_views import DuckDBViews
from readerflow.storage.generation_files import LocalFiles
from readerflow.storage.lease import is_leased
from readerflow.storage.serving_schema import open_serving

MONTH = ("hrwiki", "2025-03")
START = datetime(2025, 3, 1)
GRAPH = LinkGraph(
    pa.array(["A", "B\"/'", "Č"], pa.string()),
    np.array([0, 2, 2, 3]),
    np.array([1, 2, 0], np.int32),
    np.array([10, 20, 30]),
)
EDGES = [("A", "B\"/'", 10), ("A", "Č", 20), ("Č", "A", 30)]

Open = Callable[..., BatchViews]


class Adapter(Protocol):
    """An adapter and what tests see of it from below."""

    def open(self, kept: int) -> DuckDBViews | CassandraBatchViews: ...

    def stored(self) -> set[str]:
        """Generations of which anything is left."""

    def replace_source(self, source: str, since: int) -> None:
        """What the stream does when a replay replaces another one."""

    def source(self) -> tuple[str | None, int | None]:
        """The active source and since when it is."""

    def begin_and_die(self) -> str:
        """Begin a generation in a process that dies."""


class Embedded:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, kept: int) -> DuckDBViews:
        return DuckDBViews(self.folder / "views", kept)

    def stored(self) -> set[str]:
        return {path.name for path in (self.folder / "views").glob("*/*/*")}

    def replace_source(self, source: str, since: int) -> None:
        serving = open_serving(self.folder / "serving.db")
        serving.execute("update pointers set source = ?, since = ?", (source, since))
        serving.close()

    def source(self) -> tuple[str | None, int | None]:
        serving = open_serving(self.folder / "serving.db")
        found: tuple[str | None, int | None] = serving.execute("select source, since from pointers").fetchone()
        serving.close()
        return found

    def begin_and_die(self) -> str:
        return dying(
            "import os, sys; from pathlib import Path; from readerflow.storage.duckdb_views import DuckDBViews\n"
            "print(DuckDBViews(Path(sys.argv[1]), 2).begin('hrwiki', '2025-03').id, flush=True); os._exit(9)",
            self.folder / "views",
        )


class Cluster:
    def __init__(self, folder: Path, cassandra: Cassandra) -> None:
        self.folder = folder
        self.cassandra = cassandra

    def open(self, kept: int) -> CassandraBatchViews:
        files = LocalFiles(self.folder / "files")
        return CassandraBatchViews(self.cassandra, files, self.folder / "leases", kept, query_seconds=0)

    def stored(self) -> set[str]:
        names = {path.name for path in (self.folder / "files").glob("*/*/*")}
        for table in ("pages", "bounds", "generations", "generation_months", "leases"):
            found = self.cassandra.rows(f"select generation from {{ks}}.{table}")
            names |= {row[0] for row in found if row[0] is not None}
        return names

    def replace_source(self, source: str, since: int) -> None:
        change_month(
            self.cassandra,
            *MONTH,
            lambda state: (
                None if state.pointer.source == source else Change(Pointer(state.pointer.generation, source, since))
            ),
            patience=0,
        )

    def source(self) -> tuple[str | None, int | None]:
        pointer = read_pointer(self.cassandra, *MONTH)
        return pointer.source, pointer.since

    def begin_and_die(self) -> str:
        return dying(
            "import os, sys; from pathlib import Path\n"
            "from readerflow.storage.cassandra_session import Cassandra, CassandraAddress\n"
            "from readerflow.storage.cassandra_batch import CassandraBatchViews\n"
            "from readerflow.storage.generation_files import LocalFiles\n"
            "cassandra = Cassandra(CassandraAddress((sys.argv[2],), int(sys.argv[3]), sys.argv[4]))\n"
            "root = Path(sys.argv[1])\n"
            "views = CassandraBatchViews(cassandra, LocalFiles(root / 'files'), root / 'leases', 2)\n"
            "print(views.begin('hrwiki', '2025-03').id, flush=True); os._exit(9)",
            self.folder,
            self.cassandra.address.hosts[0],
            self.cassandra.address.port,
            self.cassandra.address.keyspace,
        )


def dying(code: str, *arguments: object) -> str:
    died = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert died.returncode == 9, died.stderr
    return died.stdout.strip()


@pytest.fixture(params=["embedded", pytest.param("cluster", marks=pytest.mark.cluster)])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    if request.param == "embedded":
        return Embedded(tmp_path)
    return Cluster(tmp_path, request.getfixturevalue("empty_cassandra"))


@pytest.fixture
def open_views(adapter: Adapter) -> Iterator[Open]:
    """Opens the adapter on the test's own store; all are closed afterwards."""
    with ExitStack() as stack:
        yield lambda kept=2: stack.enter_context(adapter.open(kept))


def manifest_of(generation: Generation, horizon_hours: int = 24, source: str = "s1", since: int = -1) -> Manifest:
    return Manifest(
        generation=generation.id, wiki=generation.wiki, month=generation.month, source=source, since=since,
        horizon=START + timedelta(hours=horizon_hours), offsets={0: 7}, totals={0: {"link": 30}},
        classes={"link": 30}, closed={0: [(START, START + timedelta(hours=24))]}, rows={"articles": 1}, articles=1,
        linked_articles=3, pairs=1, ranks={"pagerank": RankFacts(10, 1e-3, False, True)}, engine="none",
        version="0", started=START, finished=START,
    )  # fmt: skip


def article(title: str, clicks: int) -> dict[str, object]:
    values: dict[str, object] = {
        field.name: 0 if field.type == pa.int64() else None for field in BATCH_SCHEMAS[View.ARTICLES]
    }
    return values | {"article": title, "in_clicks": clicks, "pagerank_position": None}


def write(views: BatchViews, titles: tuple[str, ...] = ("A",), clicks: int = 1) -> Generation:
    generation = views.begin(*MONTH)
    rows = pa.RecordBatch.from_pylist([article(title, clicks) for title in titles], BATCH_SCHEMAS[View.ARTICLES])
    assert views.writer(generation, View.ARTICLES)(iter([rows])) == len(titles)
    views.write_graph(generation, GRAPH)
    return generation


def publish(views: BatchViews, clicks: int = 1, horizon_hours: int = 24) -> Manifest:
    generation = write(views, clicks=clicks)
    manifest = manifest_of(generation, horizon_hours)
    views.publish(generation, manifest)
    return manifest


def exported(views: BatchViews, generation: str, view: View = View.ARTICLES) -> list[dict[str, object]]:
    return [row for batch in views.export(generation, view) for row in batch.to_pylist()]


def test_nothing_is_visible_before_publish(open_views: Open) -> None:
    views = open_views()
    generation = write(views)
    assert views.current(*MONTH) is None
    assert views.retained(*MONTH) == []
    with pytest.raises(NoGeneration):
        views.export(generation.id, View.ARTICLES)
    views.publish(generation, manifest_of(generation))
    assert views.current(*MONTH) == manifest_of(generation)
    assert [row["article"] for row in exported(views, generation.id)] == ["A"]


def test_a_manifest_comes_back_as_it_was(open_views: Open) -> None:
    views = open_views()
    manifest = publish(views)
    assert open_views().current(*MONTH) == manifest
    assert open_views().retained() == [manifest]
    assert open_views().retained("hrwiki", "2025-02") == []


def test_a_second_call_of_a_writer_replaces_the_first(open_views: Open) -> None:
    views = open_views()
    generation = views.begin(*MONTH)
    writer = views.writer(generation, View.CLASSES)
    schema = BATCH_SCHEMAS[View.CLASSES]
    for name in ("link", "other"):
        rows = [{"class": name, "clicks": 1, "pairs": 1}]
        assert writer(iter([pa.RecordBatch.from_pylist(rows, schema)])) == 1
    views.publish(generation, manifest_of(generation))
    assert [row["class"] for row in exported(views, generation.id, View.CLASSES)] == ["other"]


def test_a_writer_survives_pickling(open_views: Open) -> None:
    import pickle

    views = open_views()
    generation = views.begin(*MONTH)
    writer = pickle.loads(pickle.dumps(views.writer(generation, View.CLASSES)))  # noqa: S301, our own bytes
    assert writer(iter([pa.RecordBatch.from_pylist([], BATCH_SCHEMAS[View.CLASSES])])) == 0
    views.discard(generation)


def test_the_second_of_two_runs_that_began_together_is_superseded_and_leaves_nothing(
    open_views: Open, adapter: Adapter
) -> None:
    first, second = open_views(), open_views()
    winner, loser = write(first, clicks=1), write(second, clicks=2)
    first.publish(winner, manifest_of(winner))
    with pytest.raises(Superseded, match="run the batch again"):
        second.publish(loser, manifest_of(loser))
    assert exported(first, winner.id)[0]["in_clicks"] == 1
    assert adapter.stored() == {winner.id}
    assert second.sweep() == []


def test_a_source_that_was_replaced_meanwhile_supersedes_the_run_that_counted_the_old_one(
    open_views: Open, adapter: Adapter
) -> None:
    views = open_views()
    published = publish(views)
    generation = write(views)
    adapter.replace_source("s2", 500)
    with pytest.raises(Superseded, match="replaced by s2"):
        views.publish(generation, manifest_of(generation, source="s1"))
    assert views.current(*MONTH) == published
    generation = write(views)
    views.publish(generation, manifest_of(generation, source="s2", since=500))
    assert adapter.source() == ("s2", 500)


def test_a_newer_source_supersedes_one_that_a_slow_reader_still_holds_active(open_views: Open) -> None:
    views = open_views()
    publish(views)
    generation = write(views)
    views.publish(generation, manifest_of(generation, source="s2", since=500))
    generation = write(views)
    with pytest.raises(Superseded):
        views.publish(generation, manifest_of(generation, source="s1", since=-1))


def test_a_discarded_generation_is_gone_with_its_lease(open_views: Open, adapter: Adapter, tmp_path: Path) -> None:
    views = open_views()
    generation = write(views)
    assert any(is_leased(path) for path in (tmp_path / "leases").iterdir())
    views.discard(generation)
    assert adapter.stored() == set()
    assert not any(path.is_file() for path in (tmp_path / "leases").rglob("*"))
    assert views.sweep() == []


def test_roll_back_goes_one_generation_back_each_time_and_publishing_goes_on_from_there(open_views: Open) -> None:
    views = open_views(kept=3)
    first, second, third = (publish(views, clicks=number) for number in (1, 2, 3))
    assert views.roll_back(*MONTH) == second
    assert views.roll_back(*MONTH) == first
    assert views.current(*MONTH) == first
    with pytest.raises(NoGeneration, match="no earlier generation"):
        views.roll_back(*MONTH)
    assert views.retained(*MONTH) == [first]
    assert sorted(views.sweep()) == sorted([second.generation, third.generation])
    fourth = publish(views, clicks=4)
    assert views.retained(*MONTH) == [first, fourth]
    assert views.roll_back(*MONTH) == first


def test_a_roll_back_supersedes_a_run_that_is_under_way(open_views: Open) -> None:
    views = open_views()
    publish(views)
    publish(views)
    generation = write(views)
    views.roll_back(*MONTH)
    with pytest.raises(Superseded):
        views.publish(generation, manifest_of(generation))


def test_rolling_back_an_unknown_month_is_refused(open_views: Open) -> None:
    with pytest.raises(NoGeneration):
        open_views().roll_back("hrwiki", "1999-01")


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_sweep_keeps_the_newest_generations_of_each_month(open_views: Open, adapter: Adapter, kept: int) -> None:
    views = open_views(kept)
    manifests = [publish(views, clicks=number) for number in range(5)]
    other = views.begin("hrwiki", "2025-04")
    views.publish(other, manifest_of(other))
    gone = views.sweep()
    assert sorted(gone) == sorted(manifest.generation for manifest in manifests[:-kept])
    assert views.retained(*MONTH) == manifests[-kept:]
    assert views.current("hrwiki", "2025-04") is not None
    assert adapter.stored() == {*(manifest.generation for manifest in manifests[-kept:]), other.id}
    assert views.sweep() == []


def test_sweep_leaves_a_running_build_and_takes_a_dead_one(open_views: Open, adapter: Adapter) -> None:
    views = open_views()
    running = write(views)
    dead = adapter.begin_and_die()
    assert views.sweep() == [dead]
    assert adapter.stored() == {running.id}
    views.publish(running, manifest_of(running))


def test_sweep_takes_a_folder_that_no_generation_owns(tmp_path: Path) -> None:
    orphan = tmp_path / "views" / "hrwiki" / "2025-03" / "19990101T000000-00000000"
    orphan.mkdir(parents=True)
    with DuckDBViews(tmp_path / "views", 2) as views:
        views.sweep()
    assert not orphan.exists()


def test_an_export_under_way_survives_the_sweep_of_its_generation(open_views: Open) -> None:
    views = open_views(kept=1)
    titles = tuple(f"T{number:05d}" for number in range(5000))
    old = write(views, titles)
    views.publish(old, manifest_of(old))
    rows = iter(views.export(old.id, View.ARTICLES, 1000))
    edges = iter(views.export(old.id, View.GRAPH))
    first = next(rows)
    publish(views)
    assert views.sweep() == [old.id]
    with pytest.raises(NoGeneration):
        views.export(old.id, View.ARTICLES)
    found = first["article"].to_pylist() + [title for batch in rows for title in batch["article"].to_pylist()]
    assert found == list(titles)
    assert [row for batch in edges for row in batch.to_pylist()] == [
        dict(zip(BATCH_SCHEMAS[View.GRAPH].names, edge, strict=True)) for edge in EDGES
    ]


def test_the_graph_comes_back_edge_by_edge_in_small_batches(open_views: Open) -> None:
    views = open_views()
    generation = views.begin(*MONTH)
    views.write_graph(generation, GRAPH)
    views.publish(generation, manifest_of(generation))
    batches = list(views.export(generation.id, View.GRAPH, 2))
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert all(batch.schema == BATCH_SCHEMAS[View.GRAPH] for batch in batches)
    assert [tuple(row.values()) for batch in batches for row in batch.to_pylist()] == EDGES


def test_an_empty_graph_is_written_and_exported(open_views: Open) -> None:
    views = open_views()
    generation = views.begin(*MONTH)
    nothing = np.zeros(0, np.int64)
    views.write_graph(
        generation, LinkGraph(pa.array([], pa.string()), np.zeros(1, np.int64), nothing.astype(np.int32), nothing)
    )
    views.publish(generation, manifest_of(generation))
    assert list(views.export(generation.id, View.GRAPH)) == []
