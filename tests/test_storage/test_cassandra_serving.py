"""Both profiles answer alike on the same data, and what Cassandra's serving promises beyond the contract."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readerflow.common.facts import to_json
from readerflow.common.records import CLASSES
from readerflow.storage.cassandra_generation import CassandraGeneration
from readerflow.storage.cassandra_pages import PAGE_ROWS
from readerflow.storage.cassandra_reading import _place
from readerflow.storage.cassandra_serving import LOOKED_UP, CassandraServing
from readerflow.storage.cassandra_session import Cassandra
from readerflow.storage.generation_files import LocalFiles
from readerflow.storage.log import ActiveSource
from readerflow.storage.recent import Recent
from readerflow.storage.serving_views import NEIGHBOURS, PageKey, QueryTooLong, Reading, ServingViews, Side
from readerflow.webapp.merge import merge_neighbours
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
    order,
    table,
)

#: More neighbours than a page holds, many with the same clicks, on both sides of the horizon.
CLICKS = numbered(
    [
        *(
            Click(hour, f"From_{n}", "Hot", "link", 1 + n % 7)
            for hour in (0, 30)
            for n in range(0, 1200, 1 + hour // 10)
        ),
        *(Click(n % 31, "Hot", f"To_{n}", "link" if n % 3 else "other", 1 + n % 5) for n in range(700)),
        *(Click(hour, name, "Hot", "external", 9) for hour in (0, 26, 30) for name in CLASSES),
        Click(3, "Quiet", "Calm", "link", 2),
        Click(30, "Č", "Đ", "redlink", 2),
    ]
)
TITLES = ("Hot", "Calm", "Quiet", "Đ", "Č", "To_5", "unknown")


@pytest.fixture
def both(tmp_path: Path, empty_cassandra: Cassandra) -> list[Store]:
    (tmp_path / "e").mkdir()
    return [Store(tmp_path / "e"), CassandraStore(tmp_path, cassandra=empty_cassandra)]


def answers(serving: ServingViews, reading: Reading) -> dict[str, Any]:
    """Every verb's answer, without what names one store's generation."""
    found: dict[str, Any] = {}
    for title in TITLES:
        row, live = reading.article(title)
        found[f"article {title}"] = row, live
        found[f"hourly {title}"] = [reading.hourly(title, hours).to_pylist() for hours in (3, 40)]
        for side in Side:
            found[f"count {side} {title}"] = reading.neighbour_counts(side, title)
            found[f"pages {side} {title}"] = _pages(reading, side, title)
            live = reading.neighbours(side, title, None, 9)[1]
            found[f"live {side} {title}"] = sorted(map(str, live.to_pylist()))
        for other in ("Hot", "To_5", "From_8", "Đ"):
            parts = reading.between(title, other)
            found[f"between {title} {other}"] = [sorted(map(str, part.to_pylist())) for part in parts]
    for ranking in ("in", "pagerank", "nonsense"):
        found[f"ranking {ranking}"] = reading.ranking(ranking, 2, 5).to_pylist(), reading.ranking_total(ranking)
    found["classes"] = [sorted(map(str, part.to_pylist())) for part in reading.classes()]
    found["suggest"] = [reading.suggest(query, 7).to_pylist() for query in ("to 1", "h", "đ", "")]
    found["search"] = [
        (page.to_pylist(), total) for page, total in (reading.search(query, 2, 7) for query in ("to 1", "f", "t", ""))
    ]
    found["trending"] = [reading.trending(window).to_pylist() for window in (1, 6)]
    graph = reading.graph()
    found["graph"] = graph and [
        graph.titles.to_pylist(),
        graph.out_clicks.tolist(),
        *(
            [part.tolist() for part in (links.offsets, links.ends, links.clicks)]
            for links in (graph.outgoing, graph.incoming)
        ),
    ]
    taken = reading.snapshot
    found["snapshot"] = replace(taken, manifest=None), taken.manifest and taken.manifest.horizon
    found["months"] = serving.months(), serving.latest(WIKI), serving.latest_live(WIKI)
    found["stream"] = to_json(serving.stream())
    return found


def _pages(reading: Reading, side: Side, title: str) -> list[Any]:
    found: list[Any] = []
    after: PageKey | None = None
    while page := merge_neighbours(*reading.neighbours(side, title, after, 150), after, 150):
        found += page
        after = page[-1].key
    return found


@pytest.mark.cluster
@pytest.mark.parametrize("horizon", [None, 0, 25, 31])
def test_both_profiles_answer_alike(both: list[Store], horizon: int | None) -> None:
    found = []
    for store in both:
        if horizon is not None:
            store.publish(CLICKS, horizon)
        trends = [(1, 1, "Hot", 9, 2.5, 3.0, START, START)]
        half = len(CLICKS) // 2
        for number, clicks in enumerate((CLICKS[:half], CLICKS[half:]), 1):
            batch = micro_batch(clicks, number, 31, trends=trends)
            batch.progress.active[f"{WIKI}/{MONTH}"] = ActiveSource(SOURCE)
            store.stream(batch)
        with store.serving() as serving, serving.read(WIKI, MONTH) as reading:
            found.append(answers(serving, reading))
    assert found[0] == found[1]
    counts = found[0]["pages sources Hot"]
    assert sum(one.clicks["clicks"] for one in counts) == exact_article(CLICKS, "Hot")["in"]


@pytest.mark.cluster
@pytest.mark.parametrize("longer", Side)
def test_clicks_of_a_pair_are_read_from_the_shorter_list(
    tmp_path: Path, empty_cassandra: Cassandra, monkeypatch: pytest.MonkeyPatch, longer: Side
) -> None:
    others = [f"Other_{number}" for number in range(PAGE_ROWS[longer] + 1)]
    forward = longer is Side.DESTINATIONS
    pairs = [("Hub", title) if forward else (title, "Hub") for title in ("Zagreb", *others)]
    store = CassandraStore(tmp_path, cassandra=empty_cassandra)
    store.publish(numbered([Click(0, *pair, "link", 20) for pair in pairs]), 5)
    monkeypatch.setattr(CassandraGeneration, "all_neighbours", None)  # the long list has several pages
    with store.serving() as serving, serving.read(WIKI, MONTH) as reading:
        batch, live = reading.between(*pairs[0])
        assert batch.to_pylist() == [{"title": pairs[0][1], "link_type": "link", "clicks": 20}]
        assert live.num_rows == reading.between(*reversed(pairs[0]))[0].num_rows == 0


@pytest.mark.cluster
def test_a_request_that_is_over_its_time_is_told(tmp_path: Path, empty_cassandra: Cassandra) -> None:
    store = CassandraStore(tmp_path, cassandra=empty_cassandra)
    store.publish(CLICKS, 5)
    files = LocalFiles(tmp_path / "files")
    with (
        CassandraServing(
            empty_cassandra, files, store.batch_views(), tmp_path / "comparisons", query_seconds=0
        ) as serving,
        serving.read(WIKI, MONTH) as reading,
    ):
        for ask in (
            lambda: reading.article("Hot"),
            lambda: reading.neighbours(Side.SOURCES, "Hot", None, 5),
            reading.classes,
            lambda: reading.ranking("in", 0, 5),
            lambda: reading.search("h", 0, 5),
        ):
            with pytest.raises(QueryTooLong):
                ask()


@pytest.mark.cluster
def test_a_small_generation_is_read_ahead_once(tmp_path: Path, empty_cassandra: Cassandra) -> None:
    store = CassandraStore(tmp_path, cassandra=empty_cassandra)
    store.publish(CLICKS, 5)
    with store.serving() as serving:
        generation = serving.snapshots()[0].generation or ""
        assert serving._generations.get(generation) is None
        serving.open_ahead(WIKI, MONTH)
        serving.open_ahead(WIKI, MONTH)
        serving._reading_ahead.submit(lambda: None).result(30)  # what was begun before has ended
        batch = serving._generations.get(generation)
        assert batch is not None
        assert all(batch._known.find(view, batch.bounds(view)[0]) is not None for view in LOOKED_UP)


@pytest.mark.cluster
def test_who_has_seen_a_version_is_answered_from_it(tmp_path: Path, empty_cassandra: Cassandra) -> None:
    store = CassandraStore(tmp_path, cassandra=empty_cassandra)
    store.publish(CLICKS, 5)
    with store.serving() as serving:
        serving._states._seconds = 600
        serving.version()
        with serving.read(WIKI, MONTH) as reading:
            before = reading.snapshot.generation
        store.publish(CLICKS, 7)
        serving.version()
        with serving.read(WIKI, MONTH) as reading:
            assert reading.snapshot.generation != before


@pytest.mark.cluster
def test_a_fork_opens_a_session_of_its_own(tmp_path: Path, empty_cassandra: Cassandra) -> None:
    store = CassandraStore(tmp_path, cassandra=empty_cassandra)
    store.publish(CLICKS, 5)
    with store.serving() as serving:
        version = serving.version()
        program = f"""
import os, sys
from pathlib import Path
from readerflow.storage.cassandra_session import Cassandra, CassandraAddress
from tests.serving_store import CassandraStore
address = {empty_cassandra.address!r}
with CassandraStore(Path({str(tmp_path)!r}), cassandra=Cassandra(address)).serving() as serving:
    assert serving.version() == {version!r}
    child = os.fork()
    if child == 0:
        with serving.read({WIKI!r}, {MONTH!r}) as reading:
            print(reading.neighbour_counts("sources", "Hot"), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert serving.version() == {version!r}
"""
        root = Path(__file__).parents[2]
        told = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (told.returncode, told.stdout.strip()) == (0, str(1200 + len(CLASSES))), told.stderr


@pytest.mark.cluster
def test_answers_stay_exact_while_batches_come_and_are_folded(tmp_path: Path, empty_cassandra: Cassandra) -> None:
    """A reader adds up whole micro-batches only: all bring the same clicks, so sums are multiples of one batch's."""
    store = CassandraStore(tmp_path, cassandra=empty_cassandra, grace_seconds=0.5)
    clicks = [replace(one, hour=30) for one in CLICKS[:40]]
    one_batch = exact_article(clicks, "Hot")["in"]
    stop, wrong, asked = threading.Event(), list[object](), [0]
    first = micro_batch(clicks, 1, 31)
    first.progress.active[f"{WIKI}/{MONTH}"] = ActiveSource(SOURCE)
    store.stream(first)

    def ask() -> None:
        with store.serving() as serving:
            while not stop.is_set():
                try:
                    with serving.read(WIKI, MONTH) as reading:
                        seen = reading.article("Hot")[1]["in_clicks"]
                        if seen != one_batch * reading.snapshot.batch_id:
                            wrong.append((seen / one_batch, reading.snapshot.batch_id))
                except Exception as error:  # told below
                    wrong.append(error)
                asked[0] += 1

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with store.realtime() as realtime:
            folded = 0
            for number in range(2, 150):
                realtime.commit("i1", micro_batch(clicks, number, 31))
                if number % 10 == 0:
                    folded += realtime.compact()
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert wrong == []
    assert asked[0] > 20
    assert folded > 0


neighbours = st.lists(
    st.tuples(st.text("aAČ_", min_size=1, max_size=2), st.sampled_from(["link", "other"]), st.integers(1, 3)),
    unique_by=lambda row: row[:2],
    min_size=1,
)


@given(neighbours, st.data())
def test_the_place_after_a_key_is_that_of_the_order_of_pages(
    rows: list[tuple[str, str, int]], data: st.DataObject
) -> None:
    ranked = sorted((PageKey(clicks, title, kind) for title, kind, clicks in rows), key=order)
    key = data.draw(st.sampled_from(ranked) | st.builds(PageKey, st.integers(0, 4), st.text("aAČ_"), st.just("link")))
    found = table([(one.title, one.link_type, one.clicks) for one in ranked], NEIGHBOURS)
    assert _place(found, key) == sum(order(one) <= order(key) for one in ranked)


def test_recent_values_stay_within_their_bytes() -> None:
    recent: Recent[int] = Recent(10_000)
    for number in range(20):
        recent.put(number, number, 800)
    assert [number for number in range(20) if recent.get(number) is not None] == list(range(10, 20))
    assert recent.put("large", 1, 5_000) == 1
    assert recent.get("large") is None
