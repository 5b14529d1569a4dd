"""Trends: an article that rises is found at once and let go at once, and a usual day alarms nobody."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from readerflow.common.dayshape import HOUR_WEIGHTS, weight_between
from readerflow.common.months import HOUR, Month
from readerflow.common.settings import Settings
from readerflow.kafka.noise import Burst
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import replay
from readerflow.storage.batch_views import Manifest
from readerflow.storage.log import ActiveSource
from readerflow.storage.realtime_views import ARTICLE_CLICKS, MicroBatch, StreamProgress
from readerflow.streaming.trends import FLOOR, FORMULA, SPREAD, TrendRule, Trends, scope
from tests.manifests import manifest_of
from tests.realtime_rows import live_rows
from tests.small_month import write_month
from tests.streaming_home import Generations, Home, open_home

WIKI, MONTH, SOURCE = "testwiki", Month(2025, 2), "s1"
START = MONTH.start
THRESHOLD = Settings().trend_threshold
RULE = TrendRule(min_clicks=Settings().trend_min_clicks)


def manifest(horizon: datetime, source: str = SOURCE) -> Manifest:
    return manifest_of(
        WIKI,
        str(MONTH),
        source,
        horizon,
        offsets={},
        closed={0: [(START, horizon)]},
    )


class Hours:
    """Realtime views that know the clicks of each article and hour, as far as trends ask for them."""

    def __init__(self, clicks: pa.Table) -> None:
        self.connection = duckdb.connect()
        self.connection.register("given", clicks)
        self.connection.execute(
            "create table clicks as select article, hour, sum(clicks)::bigint as clicks from given group by all"
        )

    def article_clicks(self, source: str, start: datetime, end: datetime, incarnation: str | None = None) -> pa.Table:
        query = """
            select article, sum(clicks)::bigint as in_clicks, 0::bigint as out_clicks from clicks
            where hour >= $start and hour < $end group by article
        """
        return self.connection.sql(query, params={"start": start, "end": end}).to_arrow_table().cast(ARTICLE_CLICKS)

    def generations(self, horizon: datetime | None) -> Generations:
        """Batch views of the hours before a horizon."""
        if horizon is None:
            return Generations()
        found = self.article_clicks(SOURCE, START, horizon)
        in_clicks = dict(zip(found["article"].to_pylist(), found["in_clicks"].to_pylist(), strict=True))
        return Generations([manifest(horizon)], in_clicks)


def table(rows: list[tuple[str, int, int]]) -> pa.Table:
    """Rows of (article, hour of the month, clicks)."""
    articles, hours, clicks = zip(*rows, strict=True)
    return pa.table({"article": articles, "hour": [START + hour * HOUR for hour in hours], "clicks": clicks})


def progress(end: datetime, rows_from: datetime = START) -> StreamProgress:
    return StreamProgress(
        batch_id=3,
        offsets={0: 1},
        closed={0: {SOURCE: [(START, end)]}},
        months={SOURCE: (WIKI, str(MONTH))},
        active={f"{WIKI}/{MONTH}": ActiveSource(SOURCE)},
        rows_from={SOURCE: rows_from},
    )


def newest(
    hours: Any, generations: Generations, end: datetime, rows_from: datetime = START, rule: TrendRule = RULE
) -> MicroBatch | None:
    return Trends(hours, generations, rule).newest("i1", progress(end, rows_from))  # type: ignore[arg-type]


def trends(
    hours: Any, horizon: datetime | None, end: datetime, rows_from: datetime = START, rule: TrendRule = RULE
) -> list[dict[str, Any]]:
    batch = newest(hours, hours.generations(horizon), end, rows_from, rule)
    assert batch is not None and batch.trending is not None
    found: list[dict[str, Any]] = batch.trending.to_pylist()
    return found


DAYS = table(
    [("Usual", hour, HOUR_WEIGHTS[hour % 24]) for hour in range(60)]
    + [("Risen", hour, 5 + 300 * (hour == 59)) for hour in range(60)]
    + [("New", 59, 40), ("Few", 59, 19)]
)


def test_the_score_is_the_stated_formula() -> None:
    found = {(row["window"], row["article"]): row for row in trends(Hours(DAYS), None, START + 60 * HOUR)}
    for window in (1, 6, 24):
        row = found[window, "Risen"]
        begin = START + (60 - window) * HOUR
        ratio = weight_between(MONTH, begin, START + 60 * HOUR) / weight_between(MONTH, START, begin)
        expected = 5 * (60 - window) * ratio
        assert row["clicks"] == 300 + 5 * window
        assert row["expected"] == pytest.approx(expected)
        deviation = math.sqrt((expected + SPREAD**2 * expected**2) * (1 + ratio) + FLOOR)
        assert row["score"] == pytest.approx((row["clicks"] - expected) / deviation)
        assert (row["start"], row["end"]) == (begin, START + 60 * HOUR)


def test_the_formula_on_the_page_names_the_constants_in_use() -> None:
    assert f"{SPREAD}²" in FORMULA
    assert f"+ {FLOOR:g})" in FORMULA


def test_an_article_that_follows_the_day_does_not_trend_and_one_that_rises_is_first() -> None:
    rows = [row for row in trends(Hours(DAYS), None, START + 60 * HOUR) if row["window"] == 1]
    assert [row["article"] for row in rows] == ["Risen", "New"]
    assert [row["position"] for row in rows] == [1, 2]


def test_an_article_with_too_few_clicks_is_no_trend() -> None:
    assert all(row["article"] != "Few" for row in trends(Hours(DAYS), None, START + 60 * HOUR))
    low = trends(Hours(DAYS), None, START + 60 * HOUR, rule=TrendRule(min_clicks=19))
    assert "Few" in {row["article"] for row in low}


@pytest.mark.parametrize("horizon", [1, 12, 36, 50, 59, 60])
def test_the_place_of_the_horizon_changes_no_score(horizon: int) -> None:
    hours = Hours(DAYS)
    plain = trends(hours, None, START + 60 * HOUR)
    shifted = trends(hours, START + horizon * HOUR, START + 60 * HOUR)
    assert [(row["window"], row["article"], row["clicks"]) for row in shifted] == [
        (row["window"], row["article"], row["clicks"]) for row in plain
    ]
    assert [row["score"] for row in shifted] == pytest.approx([row["score"] for row in plain])


def test_a_window_is_cut_to_the_hours_that_have_rows() -> None:
    rows_from = START + 57 * HOUR
    rows = trends(Hours(DAYS), rows_from, START + 60 * HOUR, rows_from)
    starts = {row["window"]: row["start"] for row in rows}
    assert starts == {1: START + 59 * HOUR, 6: rows_from, 24: rows_from}
    long = next(row for row in rows if row["window"] == 24 and row["article"] == "Risen")
    assert long["clicks"] == 315
    assert long["expected"] == pytest.approx(
        5 * 57 * weight_between(MONTH, rows_from, START + 60 * HOUR) / weight_between(MONTH, START, rows_from)
    )


def test_without_any_hour_before_there_is_nothing_to_expect_and_no_trend() -> None:
    assert trends(Hours(DAYS), None, START + HOUR) == []


def test_a_generation_of_another_source_is_not_compared_with() -> None:
    hours = Hours(DAYS)
    other = Generations([manifest(START + 24 * HOUR, "old")], {"Risen": 10**6})
    batch = newest(hours, other, START + 60 * HOUR)
    assert batch is not None and batch.trending is not None
    assert batch.trending.to_pylist() == trends(hours, None, START + 60 * HOUR)


def test_a_stream_behind_the_horizon_has_no_trends_yet() -> None:
    assert trends(Hours(DAYS), START + 60 * HOUR, START + 50 * HOUR) == []


def test_only_the_highest_scores_are_kept() -> None:
    rows = [(f"A{n:03}", hour, 3 + (30 + n) * (hour == 30)) for n in range(40) for hour in range(31)]
    found = trends(Hours(table(rows)), None, START + 31 * HOUR, rule=TrendRule(kept=10))
    assert [row["article"] for row in found if row["window"] == 1] == [f"A{39 - n:03}" for n in range(10)]


def test_trends_are_scored_once_an_hour_passed() -> None:
    hours, end = Hours(DAYS), START + 60 * HOUR
    first = newest(hours, Generations(), end)
    assert first is not None
    assert first.progress.batch_id == 4
    assert first.progress.trended == {SOURCE: end}
    assert first.pairs.num_rows == first.totals.num_rows == 0
    again = replace(progress(end), trended=first.progress.trended)
    assert Trends(hours, Generations(), RULE).newest("i1", again) is None  # type: ignore[arg-type]


def test_hours_of_a_part_that_was_not_replayed_are_not_expected_to_have_clicks() -> None:
    part = [(START + 24 * HOUR, START + 60 * HOUR)]
    found = scope(MONTH, START + 60 * HOUR, START, part, None)
    assert found.windows[0].before_weight == weight_between(MONTH, START + 24 * HOUR, START + 59 * HOUR)
    assert found.live_from == START + 24 * HOUR
    assert [window.begins for window in found.windows] == [START + 59 * HOUR, START + 54 * HOUR, START + 36 * HOUR]


# With noise, as the issue asks ----------------------------------------------------------------------------------------

BURSTING = "Zagreb"
DAY = START + timedelta(days=17)
BURST = Burst(BURSTING, Burst.parse(f"{BURSTING}:20:2025-02-18T10/3").factor, DAY + 10 * HOUR, 3)


def busy_month() -> list[tuple[str, str, str, int]]:
    """A heavy tail of articles, from 400 clicks in the month to 50,000; the one that bursts has 560 a day."""
    rows = [("other-search", f"Article_{n}", "external", 400 + 50_000 // (n + 1)) for n in range(120)]
    rows.append(("other-search", BURSTING, "external", 12_000))
    rows.append(("Article_0", BURSTING, "link", 3_700))
    return sorted(rows, key=lambda row: -row[3])


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Hours:
    """The clicks of a noisy month without a burst."""
    path = tmp_path_factory.mktemp("usual")
    with open_home(path) as home:
        _replay(home, DAY + 24 * HOUR, ())
        tables = [home.log.read(partition, 0, 10**9).records for partition in range(2)]
    records = pa.concat_tables(tables)
    return Hours(pa.table({"article": records["article"], "hour": records["event_time"], "clicks": records["clicks"]}))


def _replay(home: Home, until: datetime, bursts: tuple[Burst, ...]) -> str:
    pairs = write_month(home.path / "pairs", WIKI, str(MONTH), busy_month())
    return replay(ReplayPlan(WIKI, MONTH, bursts=bursts, noise=True), pairs, home.log, end=until).source


@pytest.mark.parametrize("horizon", [None, DAY])
def test_on_a_noisy_day_without_a_burst_nothing_is_over_the_threshold(usual: Hours, horizon: datetime | None) -> None:
    over = {
        row["article"]
        for hour in range(1, 25)
        for row in trends(usual, horizon, DAY + hour * HOUR, horizon or START)
        if row["score"] >= THRESHOLD
    }
    assert len(over) <= 1


def test_the_first_hours_of_a_noisy_month_alarm_nobody(usual: Hours) -> None:
    for hour in range(1, 25):
        assert all(row["score"] < THRESHOLD for row in trends(usual, None, START + hour * HOUR))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with open_home(tmp_path) as opened:
        yield opened


def test_a_burst_is_first_within_an_hour_and_gone_two_hours_after_its_end(home: Home, usual: Hours) -> None:
    def first_and_scores(until: datetime) -> tuple[str | None, dict[str, float]]:
        source = _replay(home, until, (BURST,))
        if not home.generations.manifests:
            home.archive_all(10**6)
            home.generations = usual.generations(DAY)
            home.generations.manifests = [replace(manifest(DAY, source), offsets={0: 0, 1: 0})]
        home.stream(trend_rule=RULE)
        rows = {key: row for key, row in live_rows(home.path, source)["trending"].items() if key[0] == 1}
        first = rows[1, 1][0] if rows else None
        return first, {row[0]: row[3] for row in rows.values() if row[3] >= THRESHOLD}

    assert first_and_scores(BURST.start)[1] == {}
    for hour in (1, 2, 3):
        first, over = first_and_scores(BURST.start + hour * HOUR)
        assert first == BURSTING
        assert set(over) == {BURSTING}
    assert first_and_scores(BURST.end + 2 * HOUR)[1] == {}
