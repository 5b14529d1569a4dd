"""The laws of the merge, against a plain-Python model of log, archive, batch layer and stream."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from readerflow.common.records import CLASS_OF, CLASS_ROWS, CLASSES
from readerflow.storage.batch_views import BATCH_SCHEMAS, View
from readerflow.storage.freshness import late_clicks
from readerflow.storage.realtime_views import StreamProgress
from readerflow.storage.serving_views import LIVE_ARTICLE, PageKey
from readerflow.webapp.merge import (
    ArticleNumbers,
    Neighbour,
    count,
    merge_article,
    merge_classes,
    merge_neighbours,
    minus,
    round_shares,
    total,
)
from tests.serving_store import PARTITIONS, Click, batch_tables, exact_article, numbered, order, sums, table

TITLES = ("A", "B", "b", "Č", "NaN", "a/b", "\U0001f600")
HOURS = 6
LAW = settings(max_examples=450, deadline=None)  # six laws: more than 2,000 examples in every run


@st.composite
def click(draw: st.DrawFn) -> Click:
    referrer = draw(st.sampled_from((*TITLES, *CLASSES, "other-google")))
    kind = "external" if referrer in CLASS_OF else draw(st.sampled_from(("link", "link", "other", "redlink")))
    article = draw(st.sampled_from(TITLES))
    return Click(draw(st.integers(0, HOURS - 1)), referrer, article, kind, draw(st.integers(1, 40)))


clicks_lists = st.lists(click(), max_size=40)
horizons = st.integers(0, HOURS)


# The model ------------------------------------------------------------------------------------------------------------


@dataclass
class Live:
    """What a stream has committed: rows by their hour, totals by partition and hour, offsets."""

    rows: list[Click]
    offsets: dict[int, int]

    def from_hour(self, hour: int) -> list[Click]:
        return [one for one in self.rows if one.hour >= hour]

    def totals(self, before: int) -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = defaultdict(dict)
        early = [one for one in self.rows if one.hour < before]
        for (partition, kind), n in sums(early, "partition", "link_type").items():
            found[partition][kind] = n
        return found


def stream(log: list[Click], steps: list[tuple[int, str]]) -> Live:
    """Run a stream over a log: ``steps`` are (entries, what happens after the rows were worked out).

    ``crash`` forgets the step, so that it is done again; ``restart`` begins anew at the first offset.
    """
    by_partition = {p: [one for one in log if one.partition == p] for p in range(PARTITIONS)}
    live = Live([], dict.fromkeys(range(PARTITIONS), 0))
    for entries, end in [*steps, (len(log), "commit")]:
        offsets = {p: min(live.offsets[p] + entries, len(rows)) for p, rows in by_partition.items()}
        new = [one for p, rows in by_partition.items() for one in rows[live.offsets[p] : offsets[p]]]
        if end == "crash":
            continue
        live = Live([], dict.fromkeys(range(PARTITIONS), 0)) if end == "restart" else Live(live.rows + new, offsets)
    return live


stream_steps = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(("commit", "crash", "restart"))), max_size=6)


@lru_cache(8)
def _articles(covered: tuple[Click, ...]) -> dict[str, dict[str, Any]]:
    return {row["article"]: row for row in batch_tables(list(covered))[View.ARTICLES].to_pylist()}


def article_parts(covered: list[Click], live: list[Click], title: str) -> tuple[dict[str, Any] | None, dict[str, int]]:
    rows = _articles(tuple(covered))
    now = exact_article(live, title)
    by_class = [sum(c.clicks for c in live if c.article == title and c.class_row == name) for name in CLASS_ROWS]
    return rows.get(title), dict(zip(LIVE_ARTICLE, (now["in"], now["out"], *by_class), strict=True))


def flat(numbers: ArticleNumbers | None) -> dict[str, int]:
    if numbers is None:
        return exact_article([], "nothing")
    return {
        "in": numbers.clicks_in["clicks"],
        "out": numbers.clicks_out["clicks"],
        "in_link": numbers.in_link["clicks"],
        "in_other": numbers.in_other["clicks"],
        **{name.removeprefix("other-"): one["clicks"] for name, one in numbers.entries.items()},
    }


NEIGHBOURS = pa.schema([("title", pa.string()), ("link_type", pa.string()), ("clicks", pa.int64())])


def neighbour_rows(clicks: list[Click], title: str) -> list[tuple[str, str, int]]:
    found = sums([one for one in clicks if one.article == title], "referrer", "link_type")
    return sorted(((*key, n) for key, n in found.items()), key=lambda row: order(PageKey(row[2], row[0], row[1])))


def page_parts(
    covered: list[Click], live: list[Click], title: str, after: PageKey | None, limit: int
) -> tuple[pa.Table, pa.Table]:
    """As little of batch and live rows as a store may give for a page."""
    now = neighbour_rows(live, title)
    live_keys = {row[:2] for row in now}
    before = neighbour_rows(covered, title)
    others = [row for row in before if row[:2] not in live_keys]
    if after is not None:
        others = [row for row in others if order(PageKey(row[2], row[0], row[1])) > order(after)]
    batch = [row for row in before if row[:2] in live_keys] + others[:limit]
    return table(batch, NEIGHBOURS), table(now, NEIGHBOURS)


def all_pages(covered: list[Click], live: list[Click], title: str, limit: int) -> list[Neighbour]:
    found: list[Neighbour] = []
    after: PageKey | None = None
    while page := merge_neighbours(*page_parts(covered, live, title, after, limit), after, limit):
        found += page
        after = page[-1].key
    return found


# The laws -------------------------------------------------------------------------------------------------------------


@LAW
@given(clicks_lists, st.randoms(use_true_random=False), stream_steps, horizons)
def test_for_any_order_repeats_and_restarts_merged_numbers_are_exact_without_late_records(
    clicks: list[Click], random: Any, steps: list[tuple[int, str]], horizon: int
) -> None:
    random.shuffle(clicks)
    log = numbered(clicks)
    live = stream(log, steps)
    covered = [one for one in log if one.hour < horizon]
    for title in TITLES:
        parts = article_parts(covered, live.from_hour(horizon), title)
        assert flat(merge_article(*parts)) == exact_article(log, title)


@LAW
@given(clicks_lists, st.randoms(use_true_random=False), stream_steps, horizons, st.integers(0, 40))
def test_totals_are_exact_when_late_clicks_are_added(
    clicks: list[Click], random: Any, steps: list[tuple[int, str]], horizon: int, archived: int
) -> None:
    random.shuffle(clicks)
    log = numbered(clicks)
    known = [one for one in log if one.offset < archived]
    covered = [one for one in known if one.hour < horizon]
    ends = {p: max((one.offset + 1 for one in known if one.partition == p), default=0) for p in range(PARTITIONS)}
    totals: dict[int, dict[str, int]] = defaultdict(dict)
    for (partition, kind), n in sums(covered, "partition", "link_type").items():
        totals[partition][kind] = n
    live = stream(log, steps)
    late = late_clicks(_manifest(ends, totals), StreamProgress(offsets=live.offsets), live.totals(horizon))
    batch, now = (batch_tables(part)[View.CLASSES] for part in (covered, live.from_hour(horizon)))
    merged = total(merge_classes(batch, now).values())["clicks"]
    assert merged + late == sum(one.clicks for one in log)
    assert late == sum(one.clicks for one in log if one.hour < horizon and one.offset >= archived)


def _manifest(offsets: dict[int, int], totals: dict[int, dict[str, int]]) -> Any:
    """The two facts of a manifest by which lateness is judged."""

    @dataclass
    class Facts:
        offsets: dict[int, int]
        totals: dict[int, dict[str, int]]

    return Facts(offsets, totals)


@LAW
@given(clicks_lists, horizons, st.integers(1, 9))
def test_pages_of_neighbours_concatenate_to_the_full_list_in_order(
    clicks: list[Click], horizon: int, limit: int
) -> None:
    covered, live = [c for c in clicks if c.hour < horizon], [c for c in clicks if c.hour >= horizon]
    for title in TITLES[:3]:
        found = all_pages(covered, live, title, limit)
        assert [(one.title, one.link_type, one.clicks["clicks"]) for one in found] == neighbour_rows(clicks, title)
        assert total(one.clicks for one in found)["batch"] == sum(c.clicks for c in covered if c.article == title)


@LAW
@given(clicks_lists, horizons, horizons)
def test_a_switch_of_the_horizon_changes_no_merged_number(clicks: list[Click], one: int, other: int) -> None:
    answers = []
    for horizon in (one, other):
        covered, live = [c for c in clicks if c.hour < horizon], [c for c in clicks if c.hour >= horizon]
        numbers = [flat(merge_article(*article_parts(covered, live, title))) for title in TITLES]
        pages = [
            (found.title, found.link_type, found.clicks["clicks"])
            for title in TITLES[:2]
            for found in all_pages(covered, live, title, 4)
        ]
        answers.append((numbers, pages))
    assert answers[0] == answers[1]


@LAW
@given(clicks_lists, horizons)
def test_an_articles_classes_add_up_to_its_clicks_in_in_each_part(clicks: list[Click], horizon: int) -> None:
    covered, live = [c for c in clicks if c.hour < horizon], [c for c in clicks if c.hour >= horizon]
    for title in TITLES:
        numbers = merge_article(*article_parts(covered, live, title))
        if numbers is not None:
            parts = [*numbers.entries.values(), numbers.in_link, numbers.in_other]
            assert total(parts) == numbers.clicks_in
            share = numbers.dead_end_share
            assert (share is None) == (numbers.clicks_in["clicks"] == 0)
            assert share is None or 0 <= share <= 1


@LAW
@given(st.lists(st.integers(0, 10**9), max_size=30), st.integers(0, 10**9), st.integers(0, 2))
@example([1, 1, 1], 0, 1)
@example([], 0, 1)
def test_rounded_shares_of_a_whole_table_add_up_to_100_percent(parts: list[int], rest: int, digits: int) -> None:
    parts = [*parts, rest]
    shares = round_shares(parts, sum(parts), digits)
    unit = 10**digits
    assert sum(round(share * unit) for share in shares) == (100 * unit if sum(parts) else 0)
    for part, share in zip(parts, shares, strict=True):
        assert not sum(parts) or abs(share - 100 * part / sum(parts)) < 1 / unit + 1e-9


# Single rules ---------------------------------------------------------------------------------------------------------


def test_an_article_that_neither_batch_nor_live_rows_know_is_none() -> None:
    assert merge_article(*article_parts([], [], "A")) is None


def test_an_article_that_only_live_rows_know_is_merged() -> None:
    numbers = merge_article(*article_parts([], [Click(0, "B", "A", "link", 3)], "A"))
    assert numbers is not None
    assert numbers.clicks_in == count(0, 3)
    assert numbers.in_link == count(0, 3)


def test_without_clicks_in_there_is_no_dead_end_share() -> None:
    numbers = merge_article(*article_parts([Click(0, "A", "B", "link", 10)], [], "A"))
    assert numbers is not None
    assert numbers.dead_end_share is None


def test_more_clicks_out_than_in_give_a_dead_end_share_of_0() -> None:
    clicks = [Click(0, "A", "B", "link", 10), Click(0, "B", "A", "link", 4)]
    numbers = merge_article(*article_parts(clicks, [], "A"))
    assert numbers is not None
    assert numbers.dead_end_share == 0


def test_equal_neighbours_are_ordered_by_bytes_of_title_then_link_type() -> None:
    rows = [("b", "link", 5), ("B", "other", 5), ("B", "link", 5), ("Č", "link", 5), ("C", "link", 9)]
    merged = merge_neighbours(table(rows, NEIGHBOURS), table([], NEIGHBOURS), None, 10)
    assert [(one.title, one.link_type) for one in merged] == [
        ("C", "link"), ("B", "link"), ("B", "other"), ("b", "link"), ("Č", "link"),
    ]  # fmt: skip


def test_all_class_rows_are_there_even_without_clicks() -> None:
    empty = BATCH_SCHEMAS[View.CLASSES].empty_table()
    assert list(merge_classes(empty, empty)) == list(CLASS_ROWS)


def test_what_is_left_of_a_count_is_never_negative() -> None:
    assert minus(count(10, 1), count(4, 3)) == count(6, 0)


@pytest.mark.parametrize(
    ("parts", "whole", "expected"),
    [
        ([1, 1, 1], 3, [33.4, 33.3, 33.3]),
        ([2950, 1739, 274, 114], 5077, [58.1, 34.3, 5.4, 2.2]),
        ([1, 2], 0, [0.0, 0.0]),
        ([7], 7, [100.0]),
    ],
)
def test_shares_are_rounded_by_largest_remainder(parts: list[int], whole: int, expected: list[float]) -> None:
    assert round_shares(parts, whole) == expected


def test_the_model_restarts_and_repeats_without_counting_twice() -> None:
    log = numbered([Click(h, "B", "A", "link", h + 1) for h in range(5)])
    live = stream(log, [(2, "commit"), (2, "crash"), (1, "restart"), (3, "commit")])
    assert sorted(live.rows, key=lambda one: one.offset) == log
    assert replace(log[0], clicks=1) == log[0]
