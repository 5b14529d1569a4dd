"""What the serving layer reads: one generation and one realtime batch, whatever happens to the stores meanwhile."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from readerflow.common.months import HOUR
from readerflow.common.records import CLASSES
from readerflow.storage import cassandra_serving, embedded_reading, embedded_serving, places
from readerflow.storage.batch_views import NoGeneration, View
from readerflow.storage.click_graph import ClickGraph, Links
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.storage.generation_files import SEARCH
from readerflow.storage.log import ActiveSource
from readerflow.storage.serving_views import ChangesPending, PageKey, QueryTooLong, Reading, ServingViews, Side
from readerflow.webapp.merge import merge_article, merge_neighbours
from tests import serving_store
from tests.serving_store import (
    MONTH,
    SOURCE,
    START,
    WIKI,
    CassandraStore,
    Click,
    Store,
    exact_article,
    micro_batch,
    numbered,
    sums,
)

TITLES = ("Zagreb", "Split", "NaN", "a/b", "Rijeka")
CLICKS = numbered(
    [
        Click(hour, referrer, article, kind, 1 + (hour * 7 + place * 5 + len(referrer)) % 23)
        for hour in range(12)
        for place, article in enumerate(TITLES)
        for referrer, kind in (
            *((name, "external") for name in CLASSES),
            (TITLES[place - 1], "link"),
            (TITLES[place - 2], "other" if hour % 2 else "link"),
            (f"New_{hour}", "link"),
        )
    ]
)


@pytest.fixture(params=["embedded", pytest.param("cluster", marks=pytest.mark.cluster)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "embedded":
        return Store(tmp_path)
    return CassandraStore(tmp_path, cassandra=request.getfixturevalue("empty_cassandra"))


@pytest.fixture
def embedded(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def serving(store: Store) -> Iterator[ServingViews]:
    with store.serving() as opened:
        yield opened


def merged(reading: Reading, title: str) -> dict[str, int]:
    numbers = merge_article(*reading.article(title))
    assert numbers is not None
    return {
        "in": numbers.clicks_in["clicks"],
        "out": numbers.clicks_out["clicks"],
        "in_link": numbers.in_link["clicks"],
        "in_other": numbers.in_other["clicks"],
        **{name.removeprefix("other-"): one["clicks"] for name, one in numbers.entries.items()},
    }


def pages(reading: Reading, side: Side, title: str, limit: int) -> list[tuple[str, str, int]]:
    found = []
    after: PageKey | None = None
    while page := merge_neighbours(*reading.neighbours(side, title, after, limit), after, limit):
        found += [(one.title, one.link_type, one.clicks["clicks"]) for one in page]
        after = page[-1].key
    return found


def exact_neighbours(side: Side, title: str) -> list[tuple[str, str, int]]:
    of, other = ("article", "referrer") if side is Side.SOURCES else ("referrer", "article")
    found = sums([one for one in CLICKS if getattr(one, of) == title], other, "link_type")
    return sorted(((*key, n) for key, n in found.items()), key=lambda row: (-row[2], row[0].encode(), row[1]))


@pytest.mark.parametrize("horizon", [0, 5, 12])
@pytest.mark.parametrize("whole_list_rows", [500, 0])
def test_batch_and_live_parts_merge_to_the_exact_numbers(
    store: Store, serving: ServingViews, monkeypatch: pytest.MonkeyPatch, horizon: int, whole_list_rows: int
) -> None:
    monkeypatch.setattr(embedded_reading, "WHOLE_LIST_ROWS", whole_list_rows)
    store.publish(CLICKS, horizon)
    half = len(CLICKS) // 2
    store.stream(micro_batch(CLICKS[:half], 1, 6), micro_batch(CLICKS[half:], 2, 12))
    with serving.read(WIKI, MONTH) as reading:
        assert reading.snapshot.horizon == START + horizon * HOUR
        assert reading.snapshot.live_until == START + 12 * HOUR
        assert reading.snapshot.complete
        assert reading.snapshot.batch_id == 2
        for title in TITLES:
            assert merged(reading, title) == exact_article(CLICKS, title)
            for side in Side:
                exact = exact_neighbours(side, title)
                assert pages(reading, side, title, 3) == exact
                assert reading.neighbour_counts(side, title) == len(exact)
            for other in (*TITLES, "New_3", "Nobody"):
                found = merge_neighbours(*reading.between(title, other), None, 9)
                exact = [row for row in exact_neighbours(Side.DESTINATIONS, title) if row[0] == other]
                assert [(one.title, one.link_type, one.clicks["clicks"]) for one in found] == exact
        assert [part.num_rows for part in reading.between("Nobody", "Zagreb")] == [0, 0]
        batch, live = reading.classes()
        assert sum(batch["clicks"].to_pylist()) + sum(live["clicks"].to_pylist()) == sum(c.clicks for c in CLICKS)


def test_before_a_first_generation_the_horizon_is_the_months_start_and_batch_parts_are_none(
    store: Store, serving: ServingViews
) -> None:
    batch = micro_batch(CLICKS, 1, 12)
    batch.progress.active[f"{WIKI}/{MONTH}"] = ActiveSource(SOURCE)
    store.stream(batch)
    with serving.read(WIKI, MONTH) as reading:
        assert reading.snapshot.generation is None
        assert reading.snapshot.horizon == START
        assert reading.article("Zagreb")[0] is None
        assert merged(reading, "Zagreb") == exact_article(CLICKS, "Zagreb")
        assert pages(reading, Side.SOURCES, "Zagreb", 4) == exact_neighbours(Side.SOURCES, "Zagreb")
        assert reading.ranking("in", 0, 10).num_rows == 0
        assert reading.ranking_total("in") == 0
        assert reading.suggest("Zag", 5).num_rows == 0
        assert reading.graph() is None
        assert (reading.search("Zag", 0, 5)[0].num_rows, reading.search("Zag", 0, 5)[1]) == (0, 0)
    assert serving.latest(WIKI) is None
    assert serving.latest_live(WIKI) == MONTH
    assert serving.months() == [(WIKI, MONTH)]


def test_what_nobody_knows_is_no_generation(serving: ServingViews) -> None:
    with pytest.raises(NoGeneration, match="nothing is known of hrwiki 2025-03"), serving.read(WIKI, MONTH):
        pass
    assert serving.months() == []
    assert serving.latest(WIKI) is None
    assert serving.latest_live(WIKI) is None
    assert serving.stream() is None
    assert serving.retained(WIKI, MONTH) == []


def test_the_version_changes_with_generation_realtime_batch_and_retirement_only(
    store: Store, serving: ServingViews
) -> None:
    versions = [serving.version()]
    store.publish(CLICKS, 5)
    versions.append(serving.version())
    store.stream(micro_batch(CLICKS, 1, 12))
    versions.append(serving.version())
    store.publish(CLICKS, 7)
    versions.append(serving.version())
    store.retire()  # rows before the first generation's horizon
    versions.append(serving.version())
    assert len(set(versions)) == 5
    store.retire()
    assert serving.version() == versions[-1]


def test_late_clicks_make_an_answer_incomplete_until_the_next_generation(store: Store, serving: ServingViews) -> None:
    late = numbered([*CLICKS, Click(2, "other-search", "Zagreb", "external", 41)])
    store.publish(CLICKS, 5)
    store.stream(micro_batch(late, 1, 12))
    with serving.read(WIKI, MONTH) as reading:
        assert (reading.snapshot.late, reading.snapshot.complete) == (41, False)
    store.publish(late, 6)
    with serving.read(WIKI, MONTH) as reading:
        assert (reading.snapshot.late, reading.snapshot.complete) == (0, True)
        assert merged(reading, "Zagreb") == exact_article(late, "Zagreb")


def test_a_replaced_source_stays_whole_but_incomplete_until_the_new_one_has_a_generation(
    store: Store, serving: ServingViews
) -> None:
    store.publish(CLICKS, 5)
    batch = micro_batch(CLICKS, 1, 12)
    batch.progress.active[f"{WIKI}/{MONTH}"] = ActiveSource("other", 77)
    store.stream(batch)
    with serving.read(WIKI, MONTH) as reading:
        assert reading.snapshot.source == SOURCE
        assert reading.snapshot.replaced
        assert not reading.snapshot.complete
        assert merged(reading, "Split") == exact_article(CLICKS, "Split")


def test_a_stream_that_began_after_the_horizon_leaves_a_hole(store: Store, serving: ServingViews) -> None:
    store.publish(CLICKS, 5)
    store.stream(micro_batch([c for c in CLICKS if c.hour >= 8], 1, 12, rows_from_hour=8))
    with serving.read(WIKI, MONTH) as reading:
        assert reading.snapshot.holes == [(START + 5 * HOUR, START + 8 * HOUR)]
        assert not reading.snapshot.complete


def test_a_switch_and_retirement_between_pointer_and_rows_neither_dips_nor_counts_twice(
    store: Store, serving: ServingViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(CLICKS, 3)
    store.stream(micro_batch(CLICKS, 1, 12))
    met = []

    def switch_here(point: str) -> None:
        if not met:
            met.append(point)
            store.publish(CLICKS, 7)
            store.publish(CLICKS, 9)  # the generation that the request has seen goes
            store.publish(CLICKS, 11)
            store.retire()

    monkeypatch.setattr(embedded_serving, "crash_point", switch_here)
    monkeypatch.setattr(cassandra_serving, "crash_point", switch_here)
    for horizon in (3, 11):
        with serving.read(WIKI, MONTH) as reading:
            assert merged(reading, "Zagreb") == exact_article(CLICKS, "Zagreb")
            assert pages(reading, Side.SOURCES, "Zagreb", 5) == exact_neighbours(Side.SOURCES, "Zagreb")
            # The first request's generation was swept before it was opened: it began again with the new pointer.
            assert reading.snapshot.horizon == START + (11 if met else horizon) * HOUR
    assert met == ["serving.pointer_read"]


def test_an_opened_generation_answers_on_after_it_was_swept(store: Store, serving: ServingViews) -> None:
    first = store.publish(CLICKS, 3)
    store.stream(micro_batch(CLICKS, 1, 12))
    with serving.read(WIKI, MONTH) as reading:
        for horizon in (7, 9, 11):
            store.publish(CLICKS, horizon)
        store.retire()
        assert first.generation not in [one.generation for one in serving.retained(WIKI, MONTH)]
        assert merged(reading, "Zagreb") == exact_article(CLICKS, "Zagreb")


def test_answers_are_exact_while_batches_switch_and_roll_back(store: Store, serving: ServingViews) -> None:
    store.publish(CLICKS, 1)
    store.stream(micro_batch(CLICKS, 1, 12))
    exact = {title: exact_article(CLICKS, title) for title in TITLES}
    stop = threading.Event()
    wrong: list[object] = []
    asked = [0]

    def ask() -> None:
        while not stop.is_set():
            for title in TITLES:
                try:
                    with serving.read(WIKI, MONTH) as reading:
                        if merged(reading, title) != exact[title]:
                            wrong.append((title, reading.snapshot))
                except Exception as error:  # told below
                    wrong.append(error)
                asked[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for step in range(10):
            store.publish(CLICKS, 2 + step)
            if step in (4, 7):
                with store.batch_views() as batch_views:
                    batch_views.roll_back(WIKI, MONTH)
            store.retire()
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert wrong == []
    assert asked[0] > 20


@pytest.mark.parametrize("mode", ["kill", "hang"])
def test_a_reader_that_dies_or_hangs_after_the_pointer_hinders_nobody(embedded: Store, mode: str) -> None:
    embedded.publish(CLICKS, 3)
    embedded.stream(micro_batch(CLICKS, 1, 12))
    program = (
        "import sys; from pathlib import Path; from readerflow.storage.embedded_serving import EmbeddedServing\n"
        "print('go', flush=True)\n"
        f"with EmbeddedServing(Path(sys.argv[1]), Path(sys.argv[2])) as s, s.read({WIKI!r}, {MONTH!r}): print('read')"
    )
    environment = {**os.environ, "READERFLOW_TESTING": "1", "READERFLOW_CRASH_AT": f"serving.pointer_read:{mode}"}
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(embedded.serving_db), str(embedded.views_root)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "go\n"
        if mode == "kill":
            assert reader.wait(30) == -9
        for horizon in (5, 7, 9):
            embedded.publish(CLICKS, horizon)
            embedded.retire()
        with EmbeddedServing(embedded.serving_db, embedded.views_root) as serving, serving.read(WIKI, MONTH) as reading:
            assert merged(reading, "Zagreb") == exact_article(CLICKS, "Zagreb")
        assert (reader.poll() is None) == (mode == "hang")
    finally:
        reader.kill()
        assert "read" not in reader.communicate()[0]


def test_a_retained_generation_can_be_read_on_and_a_gone_one_is_refused(store: Store, serving: ServingViews) -> None:
    first = store.publish(CLICKS, 3)
    store.stream(micro_batch(CLICKS, 1, 12))
    second = store.publish(CLICKS, 6)
    store.retire()
    with serving.read_at(WIKI, MONTH, first.generation) as reading:
        assert reading.snapshot.generation == first.generation
        assert merged(reading, "Zagreb") == exact_article(CLICKS, "Zagreb")
    assert [one.generation for one in serving.retained(WIKI, MONTH)] == [second.generation, first.generation]
    store.publish(CLICKS, 9)
    for gone in (first.generation, "never", None):
        with pytest.raises(NoGeneration), serving.read_at(WIKI, MONTH, gone):
            pass


def test_a_generation_whose_files_are_lost_is_told_as_a_known_error(embedded: Store) -> None:
    embedded.publish(CLICKS, 3)
    shutil.rmtree(embedded.views_root / WIKI)
    with embedded.serving() as serving, pytest.raises(embedded_serving.GenerationGone), serving.read(WIKI, MONTH):
        pass


def test_search_and_suggestions_find_words_and_come_by_clicks(store: Store, serving: ServingViews) -> None:
    clicks = [
        Click(0, "other-search", title, "external", n)
        for title, n in (("Čakovec", 5), ("cakavica", 9), ("Đakovo", 7), ("C%", 3), ("C_d", 2), ("Stari_Čaklovac", 7))
    ]
    store.publish(clicks, 1)
    with serving.read(WIKI, MONTH) as reading:
        assert reading.suggest("čAk", 9).to_pydict() == {
            "position": [1, 2, 4],
            "article": ["cakavica", "Stari_Čaklovac", "Čakovec"],
            "in_clicks": [9, 7, 5],
        }
        assert reading.suggest("ca st", 9)["article"].to_pylist() == ["Stari_Čaklovac"]
        assert reading.suggest("ca", 1)["article"].to_pylist() == ["cakavica"]
        assert reading.suggest("dako", 5)["article"].to_pylist() == ["Đakovo"]
        assert reading.suggest("c%", 5)["article"].to_pylist() == ["C%"]
        assert reading.suggest("c d", 5)["article"].to_pylist() == ["C_d"]
        assert reading.suggest("x'; drop table articles", 5).num_rows == 0
        for after, limit, found in ((0, 2, [1, 2]), (2, 2, [4]), (1, 1, [2]), (4, 5, [])):
            rows, total = reading.search("ca", after, limit)
            assert (rows["position"].to_pylist(), total) == (found, 3)
        assert reading.search("", 0, 5)[1] == 0


def test_a_generation_that_has_no_word_index_says_what_to_do(store: Store, serving: ServingViews) -> None:
    """As a version before the index would have written it."""
    store.publish(CLICKS, 5)
    (index,) = store.home.rglob(SEARCH)
    shutil.rmtree(index)
    with serving.read(WIKI, MONTH) as reading:
        assert merged(reading, "Zagreb")["in"] > 0
        with pytest.raises(NoGeneration, match=r"earlier version.*run 'readerflow batch' again"):
            reading.suggest("zag", 5)
        with pytest.raises(NoGeneration, match=r"earlier version.*run 'readerflow batch' again"):
            reading.search("zag", 0, 5)


def test_rankings_page_by_position(store: Store, serving: ServingViews) -> None:
    store.publish(CLICKS, 5)
    with serving.read(WIKI, MONTH) as reading:
        rows = reading.ranking("in", 1, 2).to_pylist()
        assert [row["position"] for row in rows] == [2, 3]
        assert rows[0]["value"] >= rows[1]["value"]
        assert reading.ranking_total("in") == len({name for one in CLICKS if one.hour < 5 for name in
                                                   (one.article, one.referrer)} - set(CLASSES))  # fmt: skip
        assert reading.ranking_total("nonsense") == 0


def test_hourly_gives_the_live_hours_that_have_clicks(store: Store, serving: ServingViews) -> None:
    store.publish(CLICKS, 3)
    store.stream(micro_batch([c for c in CLICKS if c.hour != 10], 1, 12))
    with serving.read(WIKI, MONTH) as reading:
        found = reading.hourly("Zagreb", 4).to_pydict()
    assert found["hour"] == [START + hour * HOUR for hour in (8, 9, 11)]
    assert found["clicks"] == [
        sum(c.clicks for c in CLICKS if c.hour == hour and c.article == "Zagreb") for hour in (8, 9, 11)
    ]


def test_trends_come_by_window_in_order(store: Store, serving: ServingViews) -> None:
    times = (START + 11 * HOUR, START + 12 * HOUR)
    trends = [(1, 1, "Zagreb", 90, 3.5, 20.0, *times), (1, 2, "Split", 30, 2.0, 9.0, *times)]
    store.publish(CLICKS, 3)
    store.stream(micro_batch(CLICKS, 1, 12, trends=[*trends, (6, 1, "NaN", 9, 1.0, 7.0, *times)]))
    with serving.read(WIKI, MONTH) as reading:
        rows = reading.trending(1).to_pylist()
        assert [row["article"] for row in rows] == ["Zagreb", "Split"]
        assert (rows[0]["start"], rows[0]["end"]) == times
        assert reading.trending(24).num_rows == 0


def test_an_article_of_the_link_graph_has_a_community(
    store: Store, serving: ServingViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = [*CLICKS, Click(0, "other-search", "Alone", "external", 3, 10_000)]
    store.publish(clicks, 5)
    with serving.read(WIKI, MONTH) as reading:
        row = reading.community("Zagreb")
        assert row == {"article": "Zagreb", "community": "a/b", "size": 10}
        assert reading.community("Zagreb") == row
        assert reading.community("Alone") is None
        assert reading.community("Zzz") is None
    # As a version before communities would have written it.
    tables = serving_store.batch_tables
    monkeypatch.setattr(
        serving_store,
        "batch_tables",
        lambda clicks: {view: rows for view, rows in tables(clicks).items() if view is not View.COMMUNITIES},
    )
    store.publish(CLICKS, 6)
    with serving.read(WIKI, MONTH) as reading:
        assert reading.community("Zagreb") is None


@pytest.mark.parametrize("view", [*View])
def test_export_streams_the_rows_of_a_view_in_key_order(store: Store, serving: ServingViews, view: View) -> None:
    manifest = store.publish(CLICKS, 5)
    rows = [row for batch in serving.export(manifest.generation, view) for row in batch.to_pylist()]
    assert rows
    if view is View.GRAPH:
        assert [(row["referrer"].encode(), row["article"].encode()) for row in rows] == sorted(
            (row["referrer"].encode(), row["article"].encode()) for row in rows
        )
    else:
        assert len(rows) == manifest.rows[view.value]


def test_a_query_that_takes_too_long_is_stopped_and_told(embedded: Store) -> None:
    embedded.publish(CLICKS, 5)
    embedded.stream(micro_batch(CLICKS, 1, 12))
    with (
        EmbeddedServing(embedded.serving_db, embedded.views_root, query_seconds=0.3) as serving,
        serving.read(WIKI, MONTH) as reading,
    ):
        assert isinstance(reading, embedded_reading.EmbeddedReading)
        assert reading._batch is not None
        began = time.monotonic()
        with pytest.raises(QueryTooLong, match=r"longer than 0\.3 s"):
            reading._batch.rows("select sum(a.range * b.range) from range(10000000) a, range(10000) b", {})
        assert time.monotonic() - began < 5
        with pytest.raises(QueryTooLong, match=r"longer than 0\.3 s"):
            reading.search("zag", 0, 5)
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"
    with (
        EmbeddedServing(embedded.serving_db, embedded.views_root, query_seconds=0.3) as serving,
        pytest.raises(QueryTooLong),
        serving.read(WIKI, MONTH) as reading,
    ):
        reading._live_rows(endless.replace("select 1 ", "select ? "))  # type: ignore[attr-defined]


def test_more_readers_than_places_wait_and_are_told_when_it_takes_too_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MAX_READERS", 1)
    store.publish(CLICKS, 5)
    with store.serving(query_seconds=2.0) as serving:
        inside, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with serving.read(WIKI, MONTH):
                inside.set()
                leave.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        assert inside.wait(30)
        with pytest.raises(QueryTooLong, match="no place"), serving.read(WIKI, MONTH):
            pass
        leave.set()
        thread.join(30)
        with serving.read(WIKI, MONTH) as reading:
            assert serving.stream() is None  # a thread may read while it reads
            assert merged(reading, "Zagreb")["in"] > 0


def test_a_month_that_was_opened_ahead_answers_like_any_other(store: Store, serving: ServingViews) -> None:
    with pytest.raises(NoGeneration):
        serving.open_ahead(WIKI, MONTH)
    store.publish(CLICKS, 5)
    serving.open_ahead(WIKI, MONTH)
    with serving.read(WIKI, MONTH) as reading:
        assert merged(reading, "Zagreb")["in"] == exact_article([one for one in CLICKS if one.hour < 5], "Zagreb")["in"]


def test_serving_never_writes(embedded: Store) -> None:
    embedded.publish(CLICKS, 5)
    with embedded.serving() as serving, serving.read(WIKI, MONTH) as reading:
        assert isinstance(reading, embedded_reading.EmbeddedReading)
        with pytest.raises(Exception, match="readonly"):
            reading._sqlite.execute("delete from pointers")


def test_many_threads_share_one_serving(store: Store, serving: ServingViews) -> None:
    store.publish(CLICKS, 5)
    store.stream(micro_batch(CLICKS, 1, 12))
    found: list[object] = []

    def ask(title: str) -> None:
        for _ in range(5):
            with serving.read(WIKI, MONTH) as reading:
                found.append(merged(reading, title) == exact_article(CLICKS, title))

    threads = [threading.Thread(target=ask, args=(TITLES[number % len(TITLES)],)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 100


def fill_two_wikis(store: Store) -> None:
    """A month with batch and live rows, an earlier one with batch rows, and one of another wiki with live rows only."""
    store.months.update({SOURCE: (WIKI, MONTH), "s2": ("slwiki", "2025-02"), "s3": (WIKI, "2025-01")})
    store.publish(CLICKS, 5)
    store.publish(CLICKS[:9], 5, source="s3")
    store.stream(
        micro_batch(CLICKS, 1, 12, months=store.months), micro_batch(CLICKS[:5], 2, 12, "s2", months=store.months)
    )


def test_months_of_two_wikis_are_told_apart(store: Store) -> None:
    fill_two_wikis(store)
    with store.serving() as serving:
        assert serving.months() == [(WIKI, "2025-01"), (WIKI, MONTH), ("slwiki", "2025-02")]
        assert serving.latest(WIKI) == MONTH
        assert serving.latest("slwiki") is None
        assert serving.latest_live("slwiki") == "2025-02"


def links_of(graph: ClickGraph, links: Links, referrers_first: bool) -> dict[tuple[str, str], int]:
    """A graph's links as (referrer, article) -> clicks."""
    places, counts = links.of_all(np.arange(graph.nodes))
    near = graph.titles_of(np.repeat(np.arange(graph.nodes), counts))
    far = graph.titles_of(links.ends[places])
    pairs = zip(near, far, strict=True) if referrers_first else zip(far, near, strict=True)
    return dict(zip(pairs, links.clicks[places].tolist(), strict=True))


@pytest.mark.parametrize("older", [False, True])
def test_the_graph_has_the_links_before_the_horizon_in_both_directions(
    store: Store, serving: ServingViews, older: bool
) -> None:
    store.publish(CLICKS, 8)
    store.stream(micro_batch(CLICKS, 1, 12))
    if older:  # a generation that was written before there were these files
        for name in ("in_offsets", "sources", "in_clicks", "out_clicks"):
            next(store.home.rglob(f"graph/{name}.npy")).unlink()
    with serving.read(WIKI, MONTH) as reading:
        graph = reading.graph()
    assert graph is not None
    exact = sums([c for c in CLICKS if c.hour < 8 and c.link_type == "link"], "referrer", "article")
    assert links_of(graph, graph.outgoing, True) == exact
    assert links_of(graph, graph.incoming, False) == exact
    assert (graph.nodes, graph.edges) == (len({title for pair in exact for title in pair}), len(exact))
    for title in (*TITLES, "New_3"):
        node = graph.node(title)
        assert node is not None
        assert graph.titles_of([node]) == [title]
        assert graph.out_clicks[node] == sum(n for (referrer, _), n in exact.items() if referrer == title)
        ends = graph.outgoing.ends[graph.outgoing.of(node)]
        assert [graph.outgoing.node_of(place) for place in range(*graph.outgoing.of(node).indices(graph.edges))] == [
            node
        ] * len(ends)
        assert ends.tolist() == sorted(ends.tolist())
    assert graph.node("New_9") is None
    assert graph.node("unknown") is None


def test_the_graph_of_a_generation_stays_readable_when_it_has_been_swept(store: Store, serving: ServingViews) -> None:
    store.publish(CLICKS, 4)
    with serving.read(WIKI, MONTH) as reading:
        graph = reading.graph()
    for horizon in (5, 6, 7):
        store.publish(CLICKS, horizon, kept=1)
    assert graph is not None
    exact = sums([c for c in CLICKS if c.hour < 4 and c.link_type == "link"], "referrer", "article")
    assert links_of(graph, graph.incoming, False) == exact


def test_snapshots_are_those_of_readings_without_opening_views(store: Store) -> None:
    fill_two_wikis(store)
    with store.serving() as serving:
        found = serving.snapshots()
        # The month of slwiki has rows of a source that nobody has made active, so that it can't be read either.
        assert [(one.wiki, one.month) for one in found] == [(WIKI, "2025-01"), (WIKI, MONTH)]
        assert serving.months()[-1] == ("slwiki", "2025-02")
        for one in found:
            with serving.read(one.wiki, one.month) as reading:
                assert reading.snapshot == one
    if type(store) is Store:  # files say nothing of rows in Cassandra
        shutil.rmtree(store.views_root)
        with store.serving() as serving:
            assert serving.snapshots() == found


def test_movers_and_changed_pairs_of_two_generations_are_exact(store: Store, serving: ServingViews) -> None:
    """The second half of the hours against the first, as two months of one wiki."""
    store.months.update({"s1": (WIKI, "2025-02")})
    halves = {name: [one for one in CLICKS if (one.hour < 6) == (name == "s1")] for name in ("s1", SOURCE)}
    # As if both had covered as many hours.
    before = dataclasses.replace(store.publish(halves["s1"], 12, source="s1"), month=MONTH)
    now = store.publish(halves[SOURCE], 12)
    deadline = time.monotonic() + 60
    while True:
        try:
            movers, pairs = serving.movers(now, before), serving.pair_changes(now, before)
            break
        except ChangesPending:
            assert time.monotonic() < deadline
    counted = [sums(halves[name], "article") for name in (SOURCE, "s1")]
    exact = {title: [counts.get((title,), 0) for counts in counted] for title in TITLES}
    for direction, sign in (("rise", 1), ("fall", -1)):
        page = movers.page(f"in.clicks.{direction}", 0, 99).to_pylist()
        assert {row["title"]: (row["now"], row["before"]) for row in page} == {
            title: (a, b) for title, (a, b) in exact.items() if sign * (a - b) > 0
        }
    here, there = (sums(halves[name], "referrer", "article", "link_type") for name in (SOURCE, "s1"))
    for name, mine, other in (("new", here, there), ("vanished", there, here)):
        rows = [tuple(row.values()) for row in pairs.page(name, 0, 999).to_pylist()]
        wanted = [(*key, n) for key, n in mine.items() if key not in other]
        assert rows == sorted(wanted, key=lambda row: (-row[3], row[1].encode(), row[0].encode(), row[2]))
        assert rows
    with pytest.raises(NoGeneration):
        serving.movers(now, dataclasses.replace(before, generation="never"))
