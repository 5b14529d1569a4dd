"""What the contract leaves open of batch views in Cassandra: look-ups, parallel and repeated writers, lost answers."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from readerflow.storage.batch_views import BATCH_SCHEMAS, Generation, NoGeneration, Superseded, View
from readerflow.storage.cassandra_batch import CassandraBatchViews
from readerflow.storage.cassandra_generation import CassandraGeneration
from readerflow.storage.cassandra_leases import Leases
from readerflow.storage.cassandra_pages import BUCKET_ROWS, PAGE_ROWS, PAGE_SCHEMAS
from readerflow.storage.cassandra_pointers import read_month
from readerflow.storage.cassandra_schema import OtherTables
from readerflow.storage.cassandra_session import Cassandra, ViewsUnavailable
from readerflow.storage.cassandra_title_index import open_generation_index
from readerflow.storage.generation_files import LocalFiles
from readerflow.storage.recent import Recent
from readerflow.storage.serving_views import HITS, Side
from readerflow.storage.title_index import HITS_BYTES
from tests.cut_connection import Door
from tests.manifests import manifest_of

pytestmark = pytest.mark.cluster

MONTH = ("hrwiki", "2025-03")
SIZE = PAGE_ROWS[View.SOURCES]
LENGTHS = [1, 3, SIZE - 1, SIZE, SIZE + 1, 7 * SIZE + 2, 2, *[5] * 400]
Open = Callable[..., CassandraBatchViews]


@pytest.fixture
def open_views(empty_cassandra: Cassandra, tmp_path: Path) -> Iterator[Open]:
    opened: list[CassandraBatchViews] = []

    def open_one(cassandra: Cassandra = empty_cassandra, kept: int = 2, **options: Any) -> CassandraBatchViews:
        opened.append(
            CassandraBatchViews(cassandra, LocalFiles(tmp_path / "files"), tmp_path / "leases", kept, **options)
        )
        return opened[-1]

    yield open_one
    for views in opened:
        views.__exit__(None)


def title(number: int) -> str:
    return f"Č{number:04d}\"'/"


def sources(lengths: Sequence[int] = LENGTHS, first: int = 0) -> pa.Table:
    keys = np.repeat(np.arange(first, first + len(lengths)), lengths).tolist()
    places = [place for length in lengths for place in range(1, length + 1)]
    clicks = [100_000 - place for place in places]
    columns = [[title(key) for key in keys], places, [f"R{place}" for place in places], ["link"] * len(keys), clicks]
    return pa.table(columns, schema=BATCH_SCHEMAS[View.SOURCES])


def articles(count: int, clicks: int = 1) -> pa.Table:
    columns = [
        pa.array([title(row) for row in range(count)])
        if field.name == "article"
        else pa.array([clicks + row for row in range(count)], field.type)
        for field in BATCH_SCHEMAS[View.ARTICLES]
    ]
    return pa.table(columns, schema=BATCH_SCHEMAS[View.ARTICLES])


def publish(views: CassandraBatchViews, generation: Generation) -> None:
    manifest = manifest_of(*MONTH, "s1", datetime(2025, 3, 2), offsets={}, closed={}, generation=generation.id)
    views.publish(generation, manifest)


def exported(views: CassandraBatchViews, generation: Generation, view: View) -> pa.Table:
    return pa.Table.from_batches(views.export(generation.id, view), BATCH_SCHEMAS[view]).combine_chunks()


def of_article(table: pa.Table, name: str) -> dict[str, list[Any]]:
    rows = table.filter(pc.equal(table["article"], name))
    return rows.select(["referrer", "link_type", "clicks"]).rename_columns(["title", "link_type", "clicks"]).to_pydict()


class Counting(Cassandra):
    """Counts the reads."""

    requests = 0

    def rows(self, cql: str, values: Sequence[Any] = (), *, serial: bool = False) -> list[tuple[Any, ...]]:
        self.requests += 1
        return super().rows(cql, values, serial=serial)


def test_lists_are_found_across_pages_and_buckets(
    open_views: Open, empty_cassandra: Cassandra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUCKET_ROWS, View.SOURCES, 3 * SIZE)
    views, table = open_views(), sources()
    generation = views.begin(*MONTH)
    assert views.writer(generation, View.SOURCES)(table.to_batches(1000)) == table.num_rows
    reader = CassandraGeneration(empty_cassandra, generation.id)
    assert len(reader.bounds(View.SOURCES)) > 3
    for number, length in enumerate(LENGTHS[:20]):
        expected = of_article(table, title(number))
        assert reader.all_neighbours(Side.SOURCES, title(number)).to_pydict() == expected
        found = [reader.neighbour_page(Side.SOURCES, title(number), page) for page in range(length // SIZE + 2)]
        assert pa.concat_tables(found).to_pydict() == expected
        assert found[-1].num_rows == 0 or length % SIZE
    for unknown in ("A", "Č0003", "Ž"):
        assert reader.all_neighbours(Side.SOURCES, unknown).num_rows == 0
    publish(views, generation)
    assert exported(views, generation, View.SOURCES).equals(table.combine_chunks())


def test_a_page_of_a_list_is_one_read(open_views: Open, empty_cassandra: Cassandra) -> None:
    views = open_views()
    generation = views.begin(*MONTH)
    views.writer(generation, View.SOURCES)(sources().to_batches())
    counting = Counting(empty_cassandra.address)
    reader = CassandraGeneration(counting, generation.id)
    reader.bounds(View.SOURCES)
    before = counting.requests
    assert reader.neighbour_page(Side.SOURCES, title(5), 3).num_rows == SIZE
    assert counting.requests == before + 1
    counting.close()


def test_pages_that_were_read_are_not_read_again(open_views: Open, empty_cassandra: Cassandra) -> None:
    views = open_views()
    generation = views.begin(*MONTH)
    views.writer(generation, View.ARTICLES)(articles(700).to_batches(300))
    views.writer(generation, View.SOURCES)(sources().to_batches())
    counting = Counting(empty_cassandra.address)
    plain, keeping, ahead = (
        CassandraGeneration(counting, generation.id, kept=kept) for kept in (None, Recent(1 << 20), Recent(1 << 24))
    )
    ahead.read_ahead([View.ARTICLES, View.SOURCES], lambda: False)

    def asked(reader: CassandraGeneration, number: int) -> tuple[int, object]:
        before = counting.requests
        found = (
            reader.article(title(number)),
            reader.all_neighbours(Side.SOURCES, title(number)).slice(0, 3).to_pylist(),
        )
        return counting.requests - before, found

    first = asked(keeping, 0)
    again, near = asked(keeping, 0), asked(keeping, 1)
    assert first[0] > again[0] == near[0] == 0
    assert first[1] == again[1] == asked(plain, 0)[1]
    assert near[1] == asked(plain, 1)[1] != first[1]
    assert asked(plain, 0)[0] > 0
    assert asked(ahead, 0) == again and asked(ahead, 5)[0] == 0
    counting.close()


def test_articles_rankings_and_clicks_are_found(open_views: Open, empty_cassandra: Cassandra) -> None:
    views = open_views()
    generation = views.begin(*MONTH)
    table = articles(700)
    views.writer(generation, View.ARTICLES)(table.to_batches(300))
    rows = [("in", place, title(place), float(place)) for place in range(1, 601)] + [("out", 1, "A", 0.5)]
    ranked = pa.table([list(column) for column in zip(*rows, strict=True)], schema=BATCH_SCHEMAS[View.RANKINGS])
    views.writer(generation, View.RANKINGS)(ranked.to_batches())
    reader = CassandraGeneration(empty_cassandra, generation.id)
    assert reader.article(title(333)) == table.slice(333, 1).to_pylist()[0]
    assert reader.article("A") is None
    assert reader.article("Ž") is None
    for after, limit in ((0, 1), (0, 600), (249, 2), (250, 10), (590, 100), (600, 5)):
        expected = list(range(after + 1, min(after + limit, 600) + 1))
        assert reader.ranking("in", after, limit)["position"].to_pylist() == expected
    assert [reader.ranking_total(name) for name in ("in", "out", "none", "zzz")] == [600, 1, 0, 0]
    assert reader.ranking("none", 0, 10).num_rows == 0
    assert reader.classes().num_rows == 0
    wanted = pa.array([title(699), "A", title(0), title(699), "Ž"])
    found = reader.article_in_clicks(wanted)
    assert found.to_pydict() == {"article": [title(0), title(699)], "in_clicks": [1, 700]}
    assert reader.article_in_clicks(wanted.slice(0, 0)).num_rows == 0


def test_a_generation_without_rows_answers_nothing(open_views: Open, empty_cassandra: Cassandra) -> None:
    reader = CassandraGeneration(empty_cassandra, open_views().begin(*MONTH).id)
    assert reader.article("A") is None
    assert reader.all_neighbours(Side.SOURCES, "A").num_rows == 0
    assert reader.article_in_clicks(pa.array(["A"])).num_rows == 0
    assert list(reader.export(View.ARTICLES, 10)) == []


def test_the_word_index_is_made_of_the_parts_that_writers_leave(open_views: Open, tmp_path: Path) -> None:
    views = open_views()
    generation = views.begin(*MONTH)
    views.writer(generation, View.ARTICLES)(articles(3, clicks=7).to_batches(2))
    views.writer(generation, View.ARTICLES)(articles(9, clicks=7).slice(3).to_batches(2))
    publish(views, generation)
    index = open_generation_index(
        LocalFiles(tmp_path / "files"), f"{MONTH[0]}/{MONTH[1]}/{generation.id}", Recent(HITS_BYTES)
    )
    assert index.search("c0", 0, 3) == (
        pa.table([[1, 2, 3], [title(8), title(7), title(6)], [15, 14, 13]], schema=HITS),
        9,
    )


def test_writers_in_other_processes_share_a_view_and_one_may_run_twice(open_views: Open) -> None:
    views = open_views()
    generation = views.begin(*MONTH)
    writer = views.writer(generation, View.SOURCES)
    parts = [sources([5, 2 * SIZE + 1] * 40, first) for first in (0, 80, 160)]
    spawn = multiprocessing.get_context("spawn")
    runs = [spawn.Process(target=writer, args=(part.to_batches(700),)) for part in (*parts, parts[1])]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
        assert run.exitcode == 0
    publish(views, generation)
    assert exported(views, generation, View.SOURCES).equals(pa.concat_tables(parts).combine_chunks())


def test_a_run_that_died_half_way_and_is_done_again_leaves_the_same_pages(
    open_views: Open, empty_cassandra: Cassandra
) -> None:
    views, table = open_views(), sources([3 * SIZE] * 50)

    def dying() -> Iterator[pa.RecordBatch]:
        yield from table.slice(0, table.num_rows // 2).to_batches(900)
        raise RuntimeError("lost")

    half, whole = views.begin(*MONTH), views.begin(*MONTH)
    with pytest.raises(RuntimeError):
        views.writer(half, View.SOURCES)(dying())
    for generation in (half, whole):
        views.writer(generation, View.SOURCES)(table.to_batches())
    found = empty_cassandra.rows("select generation, bucket, bucket_position, key, position, page from {ks}.pages")
    assert {row[1:] for row in found if row[0] == half.id} == {row[1:] for row in found if row[0] == whole.id}
    views.discard(half)
    views.discard(whole)
    assert empty_cassandra.rows("select generation from {ks}.pages") == []


def test_a_child_of_a_fork_makes_a_session_of_its_own(empty_cassandra: Cassandra) -> None:
    empty_cassandra.rows("insert into {ks}.months (catalogue, wiki, month) values ('all', ?, ?)", MONTH)
    child = os.fork()
    if child == 0:
        found = empty_cassandra.rows("select wiki, month from {ks}.months")
        os._exit(0 if found == [MONTH] else 1)
    deadline = time.monotonic() + 30
    ended, status = 0, 0
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
    assert (ended, status) == (child, 0)
    assert empty_cassandra.rows("select wiki, month from {ks}.months") == [MONTH]


def test_a_cassandra_that_is_away_is_told_in_one_line(empty_cassandra: Cassandra) -> None:
    away = Cassandra(replace(empty_cassandra.address, port=1, password="secret", username="somebody"))  # noqa: S106
    with pytest.raises(ViewsUnavailable, match=r"127\.0\.0\.1:1 does not answer .*; start it") as told:
        away.rows("select wiki from {ks}.months")
    assert "\n" not in str(told.value)
    assert "secret" not in repr(away.address)


def test_missing_certificates_are_told_in_one_line(empty_cassandra: Cassandra) -> None:
    with pytest.raises(ViewsUnavailable, match="mend the cassandra_"):
        Cassandra(replace(empty_cassandra.address, ca_file="/nowhere.pem")).rows("select wiki from {ks}.months")


def test_a_load_waits_while_cassandra_is_away(open_views: Open, empty_cassandra: Cassandra) -> None:
    address = empty_cassandra.address
    with Door(address.hosts[0], address.port) as door:
        through = Cassandra(replace(address, port=door.port, timeout=3))
        views, table = open_views(through), sources([5] * 20_000)
        generation = views.begin(*MONTH)
        opened = threading.Timer(1.0, door.open)

        def batches() -> Iterator[pa.RecordBatch]:
            for number, batch in enumerate(table.to_batches(5_000)):
                if number == 10:
                    door.shut()
                    opened.start()
                yield batch

        assert views.writer(generation, View.SOURCES)(batches()) == table.num_rows
        publish(views, generation)
        assert exported(views, generation, View.SOURCES).equals(table.combine_chunks())
        opened.join()
        through.close()


class LostAnswers(Cassandra):
    """Every first compare-and-set is done, but its answer is lost."""

    lost = False

    def compare_and_set(self, *statements: tuple[str, Sequence[Any]]) -> bool:
        done = super().compare_and_set(*statements)
        self.lost = not self.lost
        if self.lost:
            raise ViewsUnavailable("the answer is lost")
        return done


def test_a_publication_whose_answer_is_lost_counts_once(open_views: Open, empty_cassandra: Cassandra) -> None:
    lossy = LostAnswers(empty_cassandra.address)
    first, second = open_views(), open_views(lossy)
    publish(first, first.begin(*MONTH))
    generation = first.begin(*MONTH)
    publish(second, generation)
    current = second.current(*MONTH)
    assert current is not None
    assert current.generation == generation.id
    assert [row.number for row in read_month(empty_cassandra, *MONTH).published()] == [1, 2]
    lossy.close()


def test_a_run_of_another_machine_is_dead_when_its_lease_has_lapsed(
    open_views: Open, empty_cassandra: Cassandra, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = open_views()
    monkeypatch.setattr(Leases, "holder", property(lambda _: "elsewhere:/leases"))
    generation = views.begin(*MONTH)
    monkeypatch.undo()
    assert views.sweep() == []
    empty_cassandra.rows("delete from {ks}.leases where generation = ?", (generation.id,))
    assert views.sweep() == [generation.id]
    with pytest.raises(Superseded, match="run the batch again"):
        publish(views, generation)
    assert views.retained() == []


def test_rows_of_a_superseded_generation_stay_for_those_who_read_them(
    open_views: Open, empty_cassandra: Cassandra
) -> None:
    views = open_views(kept=1)
    old = views.begin(*MONTH)
    views.writer(old, View.ARTICLES)(articles(5).to_batches())
    publish(views, old)
    publish(views, views.begin(*MONTH))
    reader = CassandraGeneration(empty_cassandra, old.id)
    assert views.sweep() == [old.id]
    with pytest.raises(NoGeneration):
        views.export(old.id, View.ARTICLES)
    assert reader.article(title(0)) is not None
    open_views(kept=1, query_seconds=0).sweep()
    assert reader.article(title(0)) is None
    for view in PAGE_SCHEMAS:
        assert CassandraGeneration(empty_cassandra, old.id).bounds(view) == []


def test_an_export_that_nobody_reads_to_its_end_frees_the_generation(
    open_views: Open, empty_cassandra: Cassandra
) -> None:
    views = open_views(kept=1)
    generation = views.begin(*MONTH)
    views.writer(generation, View.ARTICLES)(articles(5).to_batches())
    publish(views, generation)
    stream = views.export(generation.id, View.ARTICLES)
    leases = "select kind from {ks}.leases where generation = ?"
    assert empty_cassandra.rows(leases, (generation.id,)) == [("reader",)]
    del stream
    assert empty_cassandra.rows(leases, (generation.id,)) == []


def test_tables_of_another_version_are_refused(empty_cassandra: Cassandra) -> None:
    set_version = "update {ks}.schema_version set version = ? where id = 1"
    empty_cassandra.rows(set_version, (99,))
    other = Cassandra(empty_cassandra.address)
    try:
        with pytest.raises(OtherTables, match="schema version 99"):
            other.rows("select wiki from {ks}.months")
    finally:
        empty_cassandra.rows(set_version, (1,))
        other.close()
