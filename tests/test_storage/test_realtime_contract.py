"""The rules that every adapter of the realtime views keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from readerflow.common.crash import Crashed
from readerflow.storage.batch_views import Superseded
from readerflow.storage.cassandra_realtime import CassandraRealtime
from readerflow.storage.cassandra_session import Cassandra
from readerflow.storage.log import ActiveSource
from readerflow.storage.realtime_views import (
    LIVE_ARTICLES,
    LIVE_CLASSES,
    LIVE_PAIRS,
    LIVE_TOTALS,
    TRENDING,
    MicroBatch,
    RealtimeViews,
    StreamProgress,
)
from readerflow.storage.sqlite_realtime import SQLiteRealtime
from tests.realtime_rows import CassandraRows, Rows, SQLiteRows, hour_number
from tests.serving_store import table

START = datetime(2025, 2, 1)
SOURCE = "s1"
MONTHS = {SOURCE: ("testwiki", "2025-02"), "s2": ("testwiki", "2025-02"), "s3": ("otherwiki", "2025-01")}
SEEDED = StreamProgress(offsets={0: 5, 1: 0}, months=MONTHS, rows_from={SOURCE: START})


@pytest.fixture(params=["embedded", pytest.param("cluster", marks=pytest.mark.cluster)])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cassandra(profile: str, request: pytest.FixtureRequest) -> Cassandra | None:
    if profile == "embedded":
        return None
    opened: Cassandra = request.getfixturevalue("empty_cassandra")
    return opened


@pytest.fixture
def views(cassandra: Cassandra | None, tmp_path: Path) -> Iterator[RealtimeViews]:
    with SQLiteRealtime(tmp_path / "serving.db") if cassandra is None else CassandraRealtime(cassandra, 0) as opened:
        yield opened


@pytest.fixture
def rows(cassandra: Cassandra | None, tmp_path: Path) -> SQLiteRows | CassandraRows:
    return SQLiteRows(tmp_path) if cassandra is None else CassandraRows(cassandra)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def number(hour: int) -> int:
    return hour_number(at(hour))


def batch(batch_id: int, hour: int = 0, clicks: int = 7, source: str = SOURCE, **changes: Any) -> MicroBatch:
    """A link Zagreb -> Split of some clicks in an hour, and as many by search."""
    rows = [
        (source, at(hour), name, "Split", kind) for name, kind in (("Zagreb", "link"), ("other-search", "external"))
    ]
    progress = StreamProgress(
        batch_id=batch_id, offsets={0: 5 + 2 * batch_id, 1: 0}, months=MONTHS, rows_from={SOURCE: START}
    )
    return MicroBatch(
        progress=replace(progress, **changes),
        pairs=table([(*row, clicks) for row in rows], LIVE_PAIRS),
        articles=table(
            [(source, at(hour), "Split", 2 * clicks, 0), (source, at(hour), "Zagreb", 0, clicks)], LIVE_ARTICLES
        ),
        classes=table([(source, at(hour), name, clicks) for name in ("link", "other-search")], LIVE_CLASSES),
        totals=table([(source, 0, at(hour), kind, clicks) for kind in ("link", "external")], LIVE_TOTALS),
    )


def trends(source: str, *articles: str) -> pa.Table:
    rows = [(source, 1, place, name, 50, 3.5, 9.25, at(3), at(4)) for place, name in enumerate(articles, 1)]
    return table(rows, TRENDING)


def begin(views: RealtimeViews, name: str = "i1") -> None:
    views.begin(name, SEEDED, table([(SOURCE, 0, at(0), "link", 100)], LIVE_TOTALS))
    views.adopt(name, None)


def test_a_batch_adds_rows_and_progress(views: RealtimeViews, rows: SQLiteRows | CassandraRows) -> None:
    begin(views)
    views.commit("i1", batch(1))
    assert views.progress("i1") == batch(1).progress
    assert rows.live(SOURCE) == {
        "live_pairs": {
            (number(0), "Zagreb", "Split", "link"): (7,),
            (number(0), "other-search", "Split", "external"): (7,),
        },
        "live_articles": {(number(0), "Split"): (14, 0), (number(0), "Zagreb"): (0, 7)},
        "live_classes": {(number(0) * 60, "link"): (7,), (number(0) * 60, "other-search"): (7,)},
        "live_totals": {(0, number(0), "link"): (107,), (0, number(0), "external"): (7,)},
        "trending": {},
    }


def test_rows_of_the_same_key_add_up(views: RealtimeViews, rows: SQLiteRows | CassandraRows) -> None:
    begin(views)
    views.commit("i1", batch(1, clicks=7))
    views.commit("i1", batch(2, clicks=3))
    found = rows.live(SOURCE)
    assert set(found["live_pairs"].values()) == {(10,)}
    assert found["live_articles"][number(0), "Split"] == (20, 0)
    assert found["live_totals"][0, number(0), "link"] == (110,)


def test_a_committed_batch_changes_nothing_when_it_comes_again(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows
) -> None:
    begin(views)
    views.commit("i1", batch(1))
    views.commit("i1", batch(2, hour=1))
    before = rows.live(SOURCE)
    views.commit("i1", batch(2, hour=1))
    views.commit("i1", batch(1))
    assert rows.live(SOURCE) == before
    assert views.progress("i1") == batch(2).progress


@pytest.mark.parametrize("point", ["stream.rows_half_written", "stream.rows_written"])
def test_a_batch_that_fails_leaves_nothing_behind(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    begin(views)
    views.commit("i1", batch(1))
    before = rows.live(SOURCE)
    with monkeypatch.context() as patch, pytest.raises(Crashed):
        patch.setenv("READERFLOW_TESTING", "1")
        patch.setenv("READERFLOW_CRASH_AT", f"{point}:raise")
        views.commit("i1", batch(2))
    assert rows.live(SOURCE) == before
    assert views.progress("i1") == batch(1).progress


def test_readers_take_an_incarnation_once_it_is_adopted(views: RealtimeViews) -> None:
    assert views.current() is None
    views.begin("i1", SEEDED, LIVE_TOTALS.empty_table())
    views.commit("i1", batch(1))
    assert views.current() is None
    views.adopt("i1", None)
    views.adopt("i1", None)
    assert views.current() == "i1"


def test_adopting_compares_before_it_sets(views: RealtimeViews) -> None:
    begin(views)
    views.begin("i2", SEEDED, LIVE_TOTALS.empty_table())
    with pytest.raises(Superseded, match="i1"):
        views.adopt("i2", None)
    with pytest.raises(Superseded, match="gone"):
        views.adopt("unknown", "i1")
    assert views.current() == "i1"


def test_an_old_incarnation_commits_until_a_newer_one_is_adopted(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows
) -> None:
    begin(views)
    views.begin("i2", SEEDED, LIVE_TOTALS.empty_table())
    views.commit("i1", batch(1))
    views.commit("i2", batch(1, clicks=9))
    assert set(rows.live(SOURCE)["live_pairs"].values()) == {(7,)}
    views.adopt("i2", "i1")
    assert set(rows.live(SOURCE)["live_pairs"].values()) == {(9,)}
    with pytest.raises(Superseded, match="start the stream again"):
        views.commit("i1", batch(2))


def test_an_incarnation_that_was_never_adopted_goes_when_another_begins(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows
) -> None:
    begin(views)
    views.commit("i1", batch(1))
    views.begin("i2", SEEDED, LIVE_TOTALS.empty_table())
    views.commit("i2", batch(1))
    views.begin("i3", SEEDED, LIVE_TOTALS.empty_table())
    assert views.progress("i2") is None
    assert rows.feeds() == {("i1", SOURCE)}
    with pytest.raises(Superseded):
        views.commit("i2", batch(2))


def test_retiring_drops_older_incarnations_and_keeps_the_one_that_catches_up(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows
) -> None:
    begin(views)
    views.commit("i1", batch(1))
    views.begin("i2", SEEDED, LIVE_TOTALS.empty_table())
    views.commit("i2", batch(1))
    views.retire({SOURCE: at(0)})
    assert rows.feeds() == {("i1", SOURCE), ("i2", SOURCE)}
    views.adopt("i2", "i1")
    views.retire({SOURCE: at(0)})
    assert rows.feeds() == {("i2", SOURCE)}
    assert views.progress("i1") is None


def test_retiring_drops_rows_before_an_hour_but_no_totals(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows
) -> None:
    begin(views)
    for place, hour in enumerate((0, 1, 2), 1):
        views.commit("i1", batch(place, hour=hour))
    views.retire({SOURCE: at(2)})
    found = rows.live(SOURCE)
    assert {key[0] for key in found["live_pairs"]} == {number(2)}
    assert {key[0] for key in found["live_articles"]} == {number(2)}
    assert {key[0] for key in found["live_classes"]} == {number(2) * 60}
    assert {key[1] for key in found["live_totals"]} == {number(0), number(1), number(2)}
    progress = views.progress("i1")
    assert progress is not None
    assert progress.rows_from == {SOURCE: at(2)}


def test_a_batch_computed_before_rows_were_retired_does_not_claim_them_back(views: RealtimeViews) -> None:
    begin(views)
    views.retire({SOURCE: at(0)})
    views.commit("i1", batch(1, hour=1))
    views.retire({SOURCE: at(2)})
    views.commit("i1", batch(2, hour=2))
    progress = views.progress("i1")
    assert progress is not None
    assert progress.rows_from == {SOURCE: at(2)}


def test_retiring_keeps_active_sources_and_drops_rows_of_those_that_nobody_asks_for(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows
) -> None:
    begin(views)
    active = {"testwiki/2025-02": ActiveSource("s2", 9)}
    views.commit("i1", batch(1))
    views.commit("i1", batch(2, source="s2", active=active))
    views.commit("i1", batch(3, source="s3", active=active))
    views.retire({"s3": at(0)})
    assert _rows(rows.live(SOURCE)) == 0
    assert _rows(rows.live("s2")) == 6
    assert _rows(rows.live("s3")) == 6
    assert rows.live(SOURCE)["live_totals"]
    progress = views.progress("i1")
    assert progress is not None
    assert progress.rows_from[SOURCE] == datetime(2025, 3, 1)


def _rows(found: Rows) -> int:
    return sum(len(found[view]) for view in ("live_pairs", "live_articles", "live_classes"))


def test_article_clicks_adds_up_the_hours_of_an_interval(views: RealtimeViews) -> None:
    begin(views)
    for place, hour in enumerate((0, 1, 2, 3), 1):
        views.commit("i1", batch(place, hour=hour, clicks=10**hour))
    found = views.article_clicks(SOURCE, at(1), at(3))
    assert sorted(found.to_pylist(), key=lambda row: row["article"]) == [
        {"article": "Split", "in_clicks": 220, "out_clicks": 0},
        {"article": "Zagreb", "in_clicks": 0, "out_clicks": 110},
    ]
    assert views.article_clicks("unknown", at(0), at(9)).num_rows == 0


def test_article_clicks_reads_the_current_incarnation_or_the_named_one(views: RealtimeViews) -> None:
    begin(views)
    views.begin("i2", SEEDED, LIVE_TOTALS.empty_table())
    views.commit("i2", batch(1))
    assert views.article_clicks(SOURCE, at(0), at(9)).num_rows == 0
    assert views.article_clicks(SOURCE, at(0), at(9), "i2").num_rows == 2


def test_trends_of_a_source_are_replaced_as_a_whole(views: RealtimeViews, rows: SQLiteRows | CassandraRows) -> None:
    begin(views)
    both = pa.concat_tables([trends(SOURCE, "Zagreb", "Split"), trends("s3", "Osijek")])
    views.commit("i1", replace(batch(1), trending=both))
    views.commit("i1", batch(2))
    assert len(rows.live(SOURCE)["trending"]) == 2
    views.commit("i1", replace(batch(3), trending=trends(SOURCE, "Rijeka")))
    assert rows.live(SOURCE)["trending"] == {(1, 1): ("Rijeka", 50, 3.5, 9.25, number(3), number(4))}
    assert len(rows.live("s3")["trending"]) == 1


def test_trends_of_a_source_end_when_nothing_trends_any_more(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows
) -> None:
    begin(views)
    views.commit("i1", replace(batch(1, trended={SOURCE: at(4)}), trending=trends(SOURCE, "Zagreb")))
    views.commit("i1", replace(batch(2, trended={SOURCE: at(5)}), trending=TRENDING.empty_table()))
    assert rows.live(SOURCE)["trending"] == {}


def test_the_active_source_is_known_to_readers_and_a_later_one_wins(
    views: RealtimeViews, rows: SQLiteRows | CassandraRows
) -> None:
    begin(views)
    for place, (active, expected) in enumerate(
        [
            (ActiveSource(SOURCE, -1), (SOURCE, -1)),
            (ActiveSource("s2", 40), ("s2", 40)),
            (ActiveSource("s0", 12), ("s2", 40)),
        ],
        1,
    ):
        views.commit("i1", batch(place, active={"testwiki/2025-02": active}))
        assert rows.pointer("testwiki", "2025-02") == expected


def test_a_reader_of_the_embedded_store_sees_whole_batches_only(tmp_path: Path) -> None:
    with SQLiteRealtime(tmp_path / "serving.db") as views, SQLiteRealtime(tmp_path / "serving.db") as other:
        begin(views)
        views.commit("i1", batch(1))
        reader = other._serving
        reader.execute("begin deferred")
        first = reader.execute("select count(*) from live_pairs").fetchone()
        views.commit("i1", batch(2, hour=1))
        assert reader.execute("select batch_id from incarnations").fetchone() == (1,)
        assert reader.execute("select count(*) from live_pairs").fetchone() == first
        reader.execute("commit")
        assert reader.execute("select batch_id from incarnations").fetchone() == (2,)
