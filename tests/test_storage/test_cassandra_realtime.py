"""What the realtime views in Cassandra promise beyond the contract: parts, attempts and folds, and no click twice."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readerflow.common.records import LINK_TYPES
from readerflow.storage import cassandra_compaction
from readerflow.storage.batch_views import Superseded
from readerflow.storage.cassandra_compaction import Compaction
from readerflow.storage.cassandra_live_rows import (
    CHUNK,
    FOLDED,
    Stored,
    add_up,
    counted,
    link_type_names,
    pack_entries,
    pack_pairs,
    unpack,
    worth_folding,
)
from readerflow.storage.cassandra_realtime import CassandraRealtime
from readerflow.storage.cassandra_session import Cassandra
from readerflow.storage.realtime_views import (
    LIVE_ARTICLES,
    LIVE_CLASSES,
    LIVE_PAIRS,
    LIVE_TOTALS,
    MicroBatch,
    StreamProgress,
)
from tests.realtime_rows import CassandraRows
from tests.serving_store import SOURCE, START, Click, micro_batch, numbered, table

CLICKS = numbered(
    Click(hour, referrer, article, "link", 1 + (hour + place) % 5)
    for hour in range(4)
    for place, article in enumerate(("Zagreb", "Split", "Osijek"))
    for referrer in ("Rijeka", "other-search", f"Only_{hour}")
)


@pytest.fixture
def views(empty_cassandra: Cassandra) -> Iterator[CassandraRealtime]:
    with CassandraRealtime(empty_cassandra, 0) as opened:
        opened.begin("i1", StreamProgress(), LIVE_TOTALS.empty_table())
        opened.adopt("i1", None)
        yield opened


def without_rows(batch: MicroBatch) -> MicroBatch:
    return replace(
        batch,
        pairs=LIVE_PAIRS.empty_table(),
        articles=LIVE_ARTICLES.empty_table(),
        classes=LIVE_CLASSES.empty_table(),
    )


def in_parts(views: CassandraRealtime, batch: MicroBatch, clicks: list[Click], times: int = 1) -> None:
    writer = pickle.loads(pickle.dumps(views.part_writer("i1", batch.progress.batch_id)))  # noqa: S301, our own
    for _ in range(times):
        for part in (0, 1):
            writer(part, micro_batch([one for one in clicks if one.partition == part], 0, 4))
    views.commit("i1", without_rows(batch))


@pytest.mark.cluster
def test_parts_add_up_to_the_whole_however_often_they_are_written(
    views: CassandraRealtime, empty_cassandra: Cassandra
) -> None:
    whole = micro_batch(CLICKS, 1, 4)
    in_parts(views, whole, CLICKS, times=2)
    found = CassandraRows(empty_cassandra).live(SOURCE)
    views.begin("i2", StreamProgress(), LIVE_TOTALS.empty_table())
    views.commit("i2", whole)
    assert found == CassandraRows(empty_cassandra).live(SOURCE, "i2")


@pytest.mark.cluster
def test_what_an_attempt_left_is_never_seen_even_if_the_next_one_holds_other_rows(
    views: CassandraRealtime, empty_cassandra: Cassandra
) -> None:
    zombie = CassandraRealtime(empty_cassandra, 0).part_writer("i1", 1)
    zombie(0, micro_batch(CLICKS, 1, 4))
    views.commit("i1", micro_batch(CLICKS[:5], 1, 4))
    rows = CassandraRows(empty_cassandra).live(SOURCE)
    assert sum(n for (n,) in rows["live_pairs"].values()) == sum(one.clicks for one in CLICKS[:5])
    views.commit("i1", micro_batch([], 2, 4))
    zombie(1, micro_batch(CLICKS, 1, 4))
    assert CassandraRows(empty_cassandra).live(SOURCE) == rows


@pytest.mark.cluster
def test_nobody_writes_parts_of_an_incarnation_that_was_replaced(views: CassandraRealtime) -> None:
    views.begin("i2", StreamProgress(), LIVE_TOTALS.empty_table())
    views.adopt("i2", "i1")
    with pytest.raises(Superseded):
        views.part_writer("i1", 1)


@pytest.mark.cluster
def test_of_two_streams_of_one_incarnation_only_one_commits_a_batch(
    views: CassandraRealtime, empty_cassandra: Cassandra
) -> None:
    with CassandraRealtime(empty_cassandra, 0) as other:
        for one in (views, other):
            one.part_writer("i1", 1)(0, micro_batch(CLICKS, 1, 4))
        other.commit("i1", without_rows(micro_batch(CLICKS, 1, 4)))
        views.commit("i1", without_rows(micro_batch(CLICKS, 1, 4)))
        views.commit("i1", micro_batch([], 2, 4))
    rows = CassandraRows(empty_cassandra).live(SOURCE)
    assert sum(n for (n,) in rows["live_pairs"].values()) == sum(one.clicks for one in CLICKS)


@pytest.mark.cluster
def test_folding_changes_no_answer_and_leaves_few_rows(
    views: CassandraRealtime, empty_cassandra: Cassandra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cassandra_compaction, "FOLD_AT", 8)
    trends = [(1, 1, "Zagreb", 90, 3.5, 20.0, START, START + timedelta(hours=1))]
    for number in range(1, 21):
        in_parts(views, micro_batch(CLICKS, number, 4, trends=trends), CLICKS)
    before = CassandraRows(empty_cassandra).live(SOURCE)
    tables = ("live_pairs", "live_articles", "live_classes", "live_totals")
    rows = sum(_count(empty_cassandra, name) for name in tables)
    gone = views.compact()
    assert sum(_count(empty_cassandra, name) for name in tables) == rows - gone
    assert gone > 0.85 * rows
    assert CassandraRows(empty_cassandra).live(SOURCE) == before
    assert _count(empty_cassandra, "live_trends") == 1
    in_parts(views, micro_batch(CLICKS, 21, 4), CLICKS)
    assert views.compact() == 0
    assert CassandraRows(empty_cassandra).live(SOURCE)["live_pairs"] == {
        key: (n // 20 * 21,) for key, (n,) in before["live_pairs"].items()
    }


@pytest.mark.cluster
@pytest.mark.parametrize("requests", range(1, 12))
def test_a_fold_that_stops_anywhere_changes_no_answer_and_is_finished_by_the_next(
    views: CassandraRealtime, empty_cassandra: Cassandra, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    monkeypatch.setattr(cassandra_compaction, "FOLD_AT", 8)
    clicks = [one for one in CLICKS if one.hour == 0]
    for number in range(1, 11):
        views.commit("i1", micro_batch(clicks, number, 4))
    before = CassandraRows(empty_cassandra).live(SOURCE)
    left = [requests]

    class Stopping:
        def __getattr__(self, name: str) -> Any:
            return getattr(empty_cassandra, name)

        def writes(self) -> Any:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return empty_cassandra.writes()

    stopped = Compaction(Stopping(), 0)  # type: ignore[arg-type]
    stopped.committed("i1", 10, micro_batch(clicks, 1, 4).totals)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert CassandraRows(empty_cassandra).live(SOURCE) == before
    views.commit("i1", micro_batch([], 11, 4))
    views.compact()
    assert CassandraRows(empty_cassandra).live(SOURCE) == before


@pytest.mark.cluster
def test_only_what_every_reader_sees_is_folded(empty_cassandra: Cassandra) -> None:
    clock = [0.0]
    with CassandraRealtime(empty_cassandra, 60) as views:
        views._compaction = Compaction(empty_cassandra, 60, lambda: clock[0])
        views.begin("i1", StreamProgress(), LIVE_TOTALS.empty_table())
        for number in range(1, 31):
            views.commit("i1", micro_batch(CLICKS[:3], number, 4))
            clock[0] += 3
        assert views.compact() > 0
        folds = empty_cassandra.rows("select id from {ks}.live_totals where part = ? allow filtering", (FOLDED,))
        assert {row[0] for row in folds} == {11}  # committed 60 seconds ago


@pytest.mark.cluster
def test_rows_that_were_retired_stay_for_readers_that_are_at_them(empty_cassandra: Cassandra) -> None:
    late = [replace(one, hour=one.hour + 48) for one in CLICKS]
    with CassandraRealtime(empty_cassandra, 3600) as views:
        views.begin("i1", StreamProgress(), LIVE_TOTALS.empty_table())
        views.adopt("i1", None)
        views.commit("i1", micro_batch([*CLICKS, *late], 1, 52))
        rows = _count(empty_cassandra, "live_pairs")
        views.retire({SOURCE: START + timedelta(hours=49)})
        assert _count(empty_cassandra, "live_pairs") == rows
        assert {hour % 24 for hour, *_ in CassandraRows(empty_cassandra).live(SOURCE)["live_pairs"]} == {1, 2, 3}
    with CassandraRealtime(empty_cassandra, 0) as views:
        views.retire({SOURCE: START + timedelta(hours=49)})
    assert _count(empty_cassandra, "live_pairs") == rows // 2


def _count(cassandra: Cassandra, name: str) -> int:
    return int(cassandra.rows(f"select count(*) from {{ks}}.{name}")[0][0])


titles = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(st.lists(st.tuples(titles, st.sampled_from(range(len(LINK_TYPES))), st.integers(1, 2**40)), max_size=30))
def test_entries_come_out_as_they_went_in(rows: list[tuple[str, int, int]]) -> None:
    names, kinds, clicks = zip(*rows, strict=True) if rows else ((), (), ())
    bodies = pack_entries(pa.array(names, pa.large_string()), np.array(kinds, np.uint16), np.array(clicks, np.int64))
    found = unpack(bodies)
    assert found.titles.to_pylist() == list(names)
    assert found.link_types.tolist() == list(kinds)
    assert found.clicks.tolist() == list(clicks)


@pytest.mark.parametrize("order", [1, -1])
def test_pairs_in_any_order_give_the_same_rows(order: int) -> None:
    rows = [(SOURCE, START, f"From_{n}", "Hot", "link", n + 1) for n in range(2 * CHUNK + 5)]
    rows += [(SOURCE, START, "other-search", f"To_{n}", "external", 1) for n in range(9)]
    packed = dict.fromkeys([(key, row) for key, found in pack_pairs(table(rows, LIVE_PAIRS)) for row in found])
    again = [(key, row) for key, found in pack_pairs(table(rows[::order], LIVE_PAIRS)) for row in found]
    assert set(packed) == set(again)
    hot = [row for _, row in packed if (row.title, row.side) == ("Hot", 0)]
    assert [row.chunk for row in hot] == [0, 1, 2]
    found = unpack([row.body for row in hot])
    assert set(zip(found.titles.to_pylist(), found.clicks.tolist(), strict=True)) == {
        (f"From_{n}", n + 1) for n in range(2 * CHUNK + 5)
    }
    assert not any(row.title == "other-search" for _, row in packed)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Stored], list[int], int, int]:
    """Rows of writes, each of one click, folded and deleted as compaction does it, which may stop anywhere."""
    writes = draw(st.integers(1, 40))
    aborted = draw(st.lists(st.integers(1, writes), unique=True, max_size=5))
    rows = [
        Stored(write, part, 0, 0, 0, _body(1))
        for write in range(1, writes + 1)
        for part in range(draw(st.integers(0, 2)))
    ]
    written = list(rows)
    until = 0
    for _ in range(draw(st.integers(0, 4))):
        until = draw(st.integers(until, writes))
        old = worth_folding(rows, until, aborted)
        if not old:
            continue
        last = max(row.id for row in old)
        since = min(row.since if row.part == FOLDED else row.id for row in old)
        total = int(unpack([row.body for row in old]).clicks.sum())
        chunks = [Stored(last, FOLDED, chunk, 2, since, _body(n)) for chunk, n in enumerate((total - 1, 1))]
        step = draw(st.integers(0, 4))
        # What an unfinished fold has left under the same key is written over.
        keys = {(row.id, row.part, row.chunk) for row in chunks[:step]}
        rows = [row for row in rows if (row.id, row.part, row.chunk) not in keys] + chunks[:step]
        if step < 2:
            continue
        gone = [row for row in rows if since <= row.id <= last and row not in chunks]
        for row in gone[: len(gone) if step == 4 else draw(st.integers(0, len(gone)))]:
            rows.remove(row)
    reader = draw(st.integers(until, writes))
    exact = sum(row.id <= reader and row.id not in aborted for row in written)
    return sorted(rows), aborted, reader, exact


def _body(clicks: int) -> bytes:
    return pack_entries(pa.array(["x"], pa.large_string()), np.zeros(1, np.uint16), np.array([clicks]))[0]


@given(histories())
def test_each_write_counts_once_whatever_folding_has_come_to(history: tuple[list[Stored], list[int], int, int]) -> None:
    rows, aborted, until, exact = history
    assert int(unpack([row.body for row in counted(rows, until, aborted)]).clicks.sum()) == exact


def test_sums_have_a_key_once() -> None:
    bodies = pack_entries(pa.array(["a", "b", "a"], pa.large_string()), np.array([0, 0, 0], np.uint16), np.arange(3))
    names, kinds, clicks = add_up(unpack(bodies * 2))
    assert sorted(zip(names.to_pylist(), link_type_names(kinds).to_pylist(), clicks.tolist(), strict=True)) == [
        ("a", "link", 4),
        ("b", "link", 2),
    ]
