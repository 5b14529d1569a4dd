"""One batch run on small master datasets: what the views hold, and what makes a run stop."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest

from readerflow.batch_processing.batch import RankRule
from readerflow.batch_processing.coverage import ArchiveGap, BadHorizon, NothingToCover
from readerflow.batch_processing.duckdb_engine import DuckDBEngine
from readerflow.batch_processing.pagerank import NotConverged
from readerflow.batch_processing.positions import number_rows
from readerflow.batch_processing.rebuild import archived_months, rebuild
from readerflow.common.records import CLASS_OF, CLASS_ROWS
from readerflow.storage.archive import OverlappingSegments
from readerflow.storage.batch_views import BATCH_SCHEMAS, RANKINGS, Superseded, View
from readerflow.storage.duckdb_views import DuckDBViews
from readerflow.storage.log import ActiveSource
from tests.small_month import ODD_TITLES
from tests.test_batch_processing.conftest import Home
from tests.test_batch_processing.segments import MARCH, by_partition, records

Pair = tuple[str, str, str]


def hours(count: int) -> datetime:
    return MARCH.start + timedelta(hours=count)


def random_rows(seed: int, titles: tuple[str, ...], count: int) -> list[tuple[str, str, str, int]]:
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        article = titles[int(random.integers(len(titles)))]
        if random.random() < 0.4:
            referrer, kind = list(CLASS_OF)[int(random.integers(len(CLASS_OF)))], "external"
        else:
            referrer = titles[int(random.integers(len(titles)))]
            kind = ("link", "link", "other", "redlink")[int(random.integers(4))]
        rows.append((referrer, article, kind, int(random.integers(1, 12))))
    return rows


def total(rows: list[tuple[str, str, str, int]]) -> dict[Pair, int]:
    sums: dict[Pair, int] = defaultdict(int)
    for referrer, article, kind, clicks in rows:
        sums[referrer, article, kind] += clicks
    return sums


def kind_of(pair: Pair) -> str:
    return CLASS_OF.get(pair[0], "link" if pair[2] == "link" else "other")


def expected_articles(pairs: dict[Pair, int]) -> dict[str, dict[str, int]]:
    columns = [field.name for field in BATCH_SCHEMAS[View.ARTICLES] if field.type == pa.int64()][:11]
    found: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(columns, 0))
    by_kind = {f"other-{name}": f"entries_{name}" for name in ("search", "empty", "internal", "external", "other")}
    by_kind |= {"link": "in_link_clicks", "other": "in_other_clicks"}
    for pair, clicks in pairs.items():
        row = found[pair[1]]
        row["in_clicks"] += clicks
        row["in_pairs"] += 1
        row[by_kind[kind_of(pair)]] += clicks
        if pair[0] not in CLASS_OF:
            found[pair[0]]["out_clicks"] += clicks
            found[pair[0]]["out_pairs"] += 1
    return found


def neighbours(pairs: dict[Pair, int], key: int, other: int) -> list[tuple[Any, ...]]:
    chosen = [(pair, clicks) for pair, clicks in pairs.items() if key == 1 or pair[0] not in CLASS_OF]
    chosen.sort(key=lambda row: (row[0][key].encode(), -row[1], row[0][other].encode(), row[0][2]))
    rows, position, last = [], 0, None
    for pair, clicks in chosen:
        position = position + 1 if pair[key] == last else 1
        last = pair[key]
        rows.append((pair[key], position, pair[other], pair[2], clicks))
    return rows


@pytest.fixture
def odd(home: Home) -> tuple[Home, dict[Pair, int]]:
    """A home whose archive holds odd titles and all classes and types, over four partitions and three hours."""
    home.partitions = 4
    rows = []
    for hour in range(3):
        some = random_rows(hour, ODD_TITLES, 700)
        rows += some
        for partition, part in by_partition(records(some, hour), 4).items():
            home.archive.add(partition, part, closed=(hours(hour), hours(hour + 1)))
    return home, total(rows)


def test_articles_add_up_for_odd_titles_and_all_classes_and_types(odd: tuple[Home, dict[Pair, int]]) -> None:
    home, pairs = odd
    manifest = home.run()
    assert manifest.horizon == hours(3)
    rows = home.rows(View.ARTICLES)
    expected = expected_articles(pairs)
    assert [row["article"] for row in rows] == sorted(expected, key=str.encode)
    for row in rows:
        assert {name: row[name] for name in expected[row["article"]]} == expected[row["article"]]
        entries = sum(row[f"entries_{name}"] for name in ("search", "empty", "internal", "external", "other"))
        assert row["in_clicks"] == entries + row["in_link_clicks"] + row["in_other_clicks"]


def test_neighbours_are_ordered_by_clicks_then_title_bytes_then_type(odd: tuple[Home, dict[Pair, int]]) -> None:
    home, pairs = odd
    home.run()
    assert [tuple(row.values()) for row in home.rows(View.SOURCES)] == neighbours(pairs, 1, 0)
    assert [tuple(row.values()) for row in home.rows(View.DESTINATIONS)] == neighbours(pairs, 0, 1)


def test_classes_and_totals_count_redlinks_as_other_and_names_of_2015_as_their_class(
    odd: tuple[Home, dict[Pair, int]],
) -> None:
    home, pairs = odd
    manifest = home.run()
    clicks, counts = dict.fromkeys(CLASS_ROWS, 0), dict.fromkeys(CLASS_ROWS, 0)
    types: dict[str, int] = defaultdict(int)
    for pair, number in pairs.items():
        clicks[kind_of(pair)] += number
        counts[kind_of(pair)] += 1
        types["other" if pair[2] == "redlink" else pair[2]] += number
    assert [tuple(row.values()) for row in home.rows(View.CLASSES)] == [
        (name, clicks[name], counts[name]) for name in CLASS_ROWS
    ]
    assert manifest.classes == clicks
    summed: dict[str, int] = defaultdict(int)
    for by_type in manifest.totals.values():
        for name, number in by_type.items():
            summed[name] += number
    assert summed == types
    assert manifest.pairs == len(pairs)


def test_ranks_are_those_of_the_graph_of_links_and_empty_outside(odd: tuple[Home, dict[Pair, int]]) -> None:
    home, pairs = odd
    home.archive.add(0, records([("other-search", "Alone", "external", 3)], 2), closed=(hours(2), hours(3)))
    manifest = home.run()
    graph = nx.DiGraph()
    for (referrer, article, kind), clicks in pairs.items():
        if kind == "link":
            graph.add_edge(referrer, article, weight=clicks)
    rows = {row["article"]: row for row in home.rows(View.ARTICLES)}
    linked = {title: row for title, row in rows.items() if row["pagerank"] is not None}
    assert linked.keys() == set(graph)
    assert manifest.linked_articles == len(graph)
    assert rows["Alone"]["link_rank_position"] is None
    entries = {
        title: row["in_clicks"] - row["in_link_clicks"] - row["in_other_clicks"] for title, row in linked.items()
    }
    options: dict[str, Any] = {"tol": 1e-14, "max_iter": 1000}
    for name, expected in (
        ("pagerank", nx.pagerank(graph, **options)),
        ("reader_rank", nx.pagerank(graph, personalization=entries, dangling=entries, **options)),
        ("link_rank", nx.pagerank(graph, weight=None, **options)),
    ):
        assert {title: row[name] for title, row in linked.items()} == pytest.approx(expected, abs=1e-9)
        assert sum(row[name] for row in linked.values()) == pytest.approx(1, abs=1e-9)
        ordered = sorted(linked, key=lambda title: (-linked[title][name], title.encode()))
        assert [linked[title][f"{name}_position"] for title in ordered] == list(range(1, len(ordered) + 1))
    edges = [tuple(row.values()) for row in home.rows(View.GRAPH)]
    assert edges == sorted(
        ((a, b, clicks) for (a, b, kind), clicks in pairs.items() if kind == "link"),
        key=lambda row: (row[0].encode(), row[1].encode()),
    )


def ratio(row: dict[str, Any], above: str, below: str) -> float:
    if row["in_link_clicks"] < 100 or row[above] is None or not row[above] > row[below] > 0:
        return 0.0
    return float(row[above] / row[below])


def test_rankings_hold_the_first_articles_that_have_any_value(odd: tuple[Home, dict[Pair, int]]) -> None:
    home, _ = odd
    home.run(ranking_rows=5)
    articles = home.rows(View.ARTICLES)
    rankings = home.rows(View.RANKINGS)
    measures = {
        "in": lambda row: row["in_clicks"], "out": lambda row: row["out_clicks"],
        "entries": lambda row: row["in_clicks"] - row["in_link_clicks"] - row["in_other_clicks"],
        "under_linked": lambda row: ratio(row, "reader_rank", "link_rank"),
        "over_linked": lambda row: ratio(row, "link_rank", "reader_rank"),
    }  # fmt: skip
    assert [row["ranking"] for row in rankings] == sorted(row["ranking"] for row in rankings)
    assert {row["ranking"] for row in rankings} == set(RANKINGS)
    for ranking in RANKINGS:
        column = ranking if ranking.endswith("rank") else f"entries_{ranking}"
        value = measures.get(ranking, lambda row, column=column: row[column] or 0)
        first = sorted((row for row in articles if value(row)), key=lambda r: (-value(r), r["article"].encode()))[:5]
        assert [(row["position"], row["article"], row["value"]) for row in rankings if row["ranking"] == ranking] == [
            (number, row["article"], value(row)) for number, row in enumerate(first, 1)
        ]


def test_a_horizon_within_the_month_leaves_later_records_to_the_realtime_views(home: Home) -> None:
    for hour in range(3):
        rows = records([("other-search", "A", "external", 10**hour)], hour)
        home.archive.add(0, rows, closed=(hours(hour), hours(hour + 1)))
    manifest = home.run(until=hours(2))
    assert manifest.horizon == hours(2)
    assert manifest.totals == {0: {"external": 11}}
    assert manifest.offsets == {0: 6}
    assert manifest.closed == {0: [(hours(0), hours(3))]}
    assert home.rows(View.ARTICLES)[0]["in_clicks"] == 11
    assert home.run().totals == {0: {"external": 111}}


def test_the_horizon_is_what_every_partition_has_passed_floored_to_an_hour_within_the_month(home: Home) -> None:
    rows = records([("other-search", "A", "external", 1)])
    home.partitions = 2
    home.archive.add(0, rows, closed=(hours(0), hours(7)))
    home.archive.add(1, rows, closed=(hours(0), hours(5) + timedelta(minutes=59)))
    assert home.run().horizon == hours(5)
    home.archive.add(0, rows, closed=(hours(7), hours(900)))
    home.archive.add(1, rows, closed=(hours(7), hours(900)))
    assert home.run().horizon == MARCH.end


def test_a_month_of_which_nothing_is_archived_or_passed_is_refused(home: Home) -> None:
    with pytest.raises(NothingToCover, match="holds nothing of hrwiki 2025-03"):
        home.run()
    home.archive.add(0, records([("other-search", "A", "external", 1)]), closed=(hours(0), hours(5)))
    home.partitions = 2
    with pytest.raises(NothingToCover, match="no full hour"):
        home.run()
    home.archive.add(1, records([("other-search", "B", "external", 1)]), closed=None)
    with pytest.raises(NothingToCover, match="no full hour"):
        home.run()
    assert home.views.current("hrwiki", "2025-03") is None
    assert list((home.folder / "views").glob("*/*/*")) == []


@pytest.mark.parametrize(
    ("until", "message"),
    [
        (hours(2) + timedelta(minutes=30), "not a full hour"),
        (hours(0), "not a full hour"),
        (MARCH.end + timedelta(hours=1), "not a full hour"),
        (hours(11), "lies beyond 2025-03-01T10:00Z"),
        (hours(3), "before 2025-03-01T04:00Z, where the realtime rows begin"),
    ],
)
def test_an_until_that_cannot_be_had_is_refused(home: Home, until: datetime, message: str) -> None:
    home.archive.add(0, records([("other-search", "A", "external", 1)]), closed=(hours(0), hours(10)))
    with pytest.raises(BadHorizon, match=message):
        home.run(until=until, not_before=hours(4))
    assert home.run(until=hours(4), not_before=hours(4)).horizon == hours(4)


def test_missing_offsets_stop_the_run_and_are_named(home: Home) -> None:
    rows = records([("other-search", "A", "external", 1)])
    home.archive.add(0, rows)
    late = home.archive.add(0, rows, skip=3)
    with pytest.raises(ArchiveGap, match=f"lacks offsets 2 to 4 of partition 0, before {late.uri}"):
        home.run()
    home.archive.files = [late]
    with pytest.raises(ArchiveGap, match="offsets 0 to 4"):
        home.run()
    assert home.views.current("hrwiki", "2025-03") is None


def test_overlapping_files_stop_the_run(home: Home) -> None:
    first = home.archive.add(0, records([("other-search", "A", "external", 1)]))
    home.archive.files.append(replace(first, first_offset=1, last_offset=5, uri="second.parquet"))
    with pytest.raises(OverlappingSegments, match=r"second\.parquet begins at offset 1 of partition 0"):
        home.run()
    assert home.views.current("hrwiki", "2025-03") is None


def test_only_the_active_source_counts(home: Home) -> None:
    home.archive.add(0, records([("other-search", "A", "external", 1)]), source="s1")
    home.archive.add(0, records([("other-search", "A", "external", 50)]), source="s2", closed=(hours(0), hours(9)))
    assert home.run().totals == {0: {"external": 1}}
    home.archive.active["hrwiki", "2025-03"] = ActiveSource("s2", 2)
    manifest = home.run()
    assert (manifest.source, manifest.since, manifest.horizon) == ("s2", 2, hours(9))
    assert manifest.totals == {0: {"external": 50}}


def test_a_month_without_any_link_has_an_empty_graph_and_no_ranks(home: Home) -> None:
    home.archive.add(0, records([("other-search", "A", "external", 5)]))
    manifest = home.run()
    assert (manifest.linked_articles, manifest.rows["graph"]) == (0, 0)
    assert home.rows(View.GRAPH) == []
    (row,) = home.rows(View.ARTICLES)
    assert (row["in_clicks"], row["pagerank"], row["pagerank_position"]) == (5, None, None)
    assert {row["ranking"] for row in home.rows(View.RANKINGS)} == {"in", "entries", "search"}


def test_a_passed_hour_without_records_gives_empty_views(home: Home) -> None:
    home.archive.add(0, records([("other-search", "A", "external", 5)], hour=5), closed=(hours(0), hours(6)))
    manifest = home.run(until=hours(2))
    assert manifest.rows == dict.fromkeys((view.value for view in View), 0) | {"classes": 7}
    assert manifest.totals == {0: {}}


def test_a_month_that_holds_only_heartbeats_gives_empty_views(home: Home) -> None:
    segment = home.archive.add(0, records([("other-search", "A", "external", 5)]), closed=(hours(0), hours(6)))
    home.archive.files = [replace(segment, records=0)]
    assert home.run().rows["articles"] == 0


def test_entries_that_are_all_zero_are_flagged(home: Home) -> None:
    home.archive.add(0, records([("A", "B", "link", 5)]))
    ranks = home.run().ranks
    assert ranks["reader_rank"].uniform_teleport
    home.archive.add(0, records([("other-empty", "B", "external", 5)]))
    assert not home.run().ranks["reader_rank"].uniform_teleport


def test_a_fixed_number_of_iterations_is_told_and_no_convergence_publishes_nothing(home: Home) -> None:
    home.archive.add(
        0, records([("A", "B", "link", 5), ("B", "C", "link", 5), ("C", "A", "link", 1), ("B", "A", "link", 3)])
    )
    facts = home.run(rule=RankRule(iterations=10)).ranks["link_rank"]
    assert (facts.iterations, facts.converged) == (10, False)
    before = home.views.current("hrwiki", "2025-03")
    with pytest.raises(NotConverged):
        home.run(rule=RankRule(tolerance=1e-30))
    assert home.views.current("hrwiki", "2025-03") == before


def test_a_run_that_another_one_overtook_publishes_nothing(home: Home) -> None:
    home.archive.add(0, records([("A", "B", "link", 5)]))
    winners = []

    def overtake(done: int, total: int | None = None, note: str = "") -> None:
        if note == "sources" and not winners:
            with DuckDBViews(home.folder / "views", 3) as views:
                winners.append(replace(home, views=views).run())

    with pytest.raises(Superseded):
        home.run(progress=overtake)
    assert home.views.current("hrwiki", "2025-03") == winners[0]
    assert len(list((home.folder / "views").glob("*/*/*"))) == 1


def test_ten_switches_and_two_roll_backs_leave_the_views_of_the_third_newest(home: Home) -> None:
    published = []
    for hour in range(10):
        home.archive.add(0, records([("X", f"A{hour}", "link", hour + 1)], hour), closed=(hours(hour), hours(hour + 1)))
        published.append(home.run())
        assert sum(row["clicks"] for row in home.rows(View.CLASSES)) == sum(range(hour + 2))
    assert home.views.retained("hrwiki", "2025-03") == published[-3:]
    assert home.views.roll_back("hrwiki", "2025-03") == published[-2]
    assert home.views.roll_back("hrwiki", "2025-03") == published[-3]
    assert sum(row["clicks"] for row in home.rows(View.CLASSES)) == sum(range(9))


def test_realtime_rows_before_the_smallest_retained_horizon_of_their_source_go(home: Home) -> None:
    class Realtime:
        retired: list[dict[str, datetime]] = []  # noqa: RUF012

        def retire(self, before: dict[str, datetime]) -> None:
            self.retired.append(before)

    for hour in range(5):
        home.archive.add(0, records([("X", "A", "link", 1)], hour), closed=(hours(hour), hours(hour + 1)))
        home.run(realtime=Realtime())
    assert Realtime.retired == [{"s1": hours(number)} for number in (1, 1, 1, 2, 3)]


def test_rebuild_makes_every_archived_month_again_in_an_empty_store(home: Home) -> None:
    home.archive.add(0, records([("X", "A", "link", 1)]), closed=(hours(0), hours(4)))
    home.archive.add(0, records([("X", "A", "link", 7)]), wiki="dewiki", source="d1", closed=(hours(0), hours(2)))
    home.archive.add(0, records([("X", "A", "link", 7)]), wiki="skwiki", source="k1", closed=None)
    assert archived_months(home.archive) == [(wiki, "2025-03") for wiki in ("dewiki", "hrwiki", "skwiki")]
    before = home.run()
    with DuckDBViews(home.folder / "new" / "views", 2) as views:
        done = list(
            rebuild(home.archive, views, lambda: DuckDBEngine(home.folder / "tmp", memory_limit="1GB"), partitions=1)
        )
        assert [(wiki, made and made.horizon) for wiki, _, made in done] == [
            ("dewiki", hours(2)), ("hrwiki", hours(4)), ("skwiki", None),
        ]  # fmt: skip
        again = done[1][2]
        assert again is not None
        assert (again.totals, again.rows) == (before.totals, before.rows)
        for view in View:
            found = [row for batch in views.export(again.generation, view) for row in batch.to_pylist()]
            assert found == home.rows(view)


def test_the_scratch_files_of_a_run_go_with_it(home: Home) -> None:
    home.archive.add(0, records([("X", "A", "link", 1)]))
    home.run()
    assert list((home.folder / "tmp").iterdir()) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_positions_go_on_across_batches(size: int) -> None:
    keys = [1, 1, 1, 1, 1, 2, 5, 5, 5, 6, 6, 9]
    batches = pa.table({"key": pa.array(keys, pa.int32())}).to_batches(max_chunksize=size)
    empty = pa.RecordBatch.from_pylist([], schema=batches[0].schema)
    numbered = pa.Table.from_batches(number_rows([empty, *batches, empty], "key"))
    assert numbered["position"].to_pylist() == [1, 2, 3, 4, 5, 1, 1, 2, 3, 1, 2, 1]
