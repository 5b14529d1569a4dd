"""Charts are plain dicts that show the numbers of the tables beside them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from readerflow.webapp import charts
from readerflow.webapp.merge import Count, count, minus, total
from readerflow.webapp.tables import classes_table, neighbours_table

KINDS = ("search", "empty", "internal", "external", "other")


def page(side: str, items: list[tuple[str, str, int]], whole: Count, rows: int | None = None) -> dict[str, Any]:
    """A first page of neighbours in the shape of answers: (title, kind, clicks), the rest of ``rows`` not shown."""
    shown = [
        {
            "position": position,
            "title": title,
            "display_title": title.replace("_", " "),
            "kind": kind,
            "link_type": "link" if kind == "article" else "external",
            "clicks": count(clicks, 0),
        }
        for position, (title, kind, clicks) in enumerate(items, 1)
    ]
    rest = minus(whole, *(one["clicks"] for one in shown))
    return {
        "side": side,
        "clicks": whole,
        "total": rows or len(shown),
        "before": {"rows": 0, "clicks": count(0, 0)},
        "items": shown,
        "rest": {"rows": (rows or len(shown)) - len(shown), "clicks": rest},
        "next": None,
    }


def flow(sources: dict[str, Any], destinations: dict[str, Any]) -> dict[str, Any] | None:
    numbers = {"in": sources["clicks"], "out": destinations["clicks"], "title": "A"}
    tables = neighbours_table(sources), neighbours_table(destinations)
    return charts.flow(numbers, *tables, lambda row, side: f"/{side}/{row.get('title') or row['kind']}")


def nodes(option: dict[str, Any], side: str) -> list[dict[str, Any]]:
    return [node for node in option["series"][0]["data"] if node["side"] == side]


def test_the_flow_shows_articles_first_then_the_rest_then_other_kinds() -> None:
    sources = page(
        "sources", [("other-search", "search", 50), ("B", "article", 20), ("C", "article", 5)], count(90, 0), 7
    )
    option = flow(sources, page("destinations", [("D", "article", 30)], count(30, 0)))
    assert option is not None
    assert [node["title"] for node in nodes(option, "in")] == ["B", "C", "4 more sources", "Search engines"]
    assert [node["title"] for node in nodes(option, "out")] == ["D", "No further click"]
    assert [node["value"] for node in nodes(option, "out")] == [30, 60]
    assert all(node["href"] for side in ("in", "out") for node in nodes(option, side))


def test_more_clicks_out_than_in_leave_no_further_click_out() -> None:
    option = flow(
        page("sources", [("B", "article", 10)], count(10, 0)),
        page("destinations", [("D", "article", 30)], count(30, 0)),
    )
    assert option is not None
    assert [node["title"] for node in nodes(option, "out")] == ["D"]
    assert nodes(option, "centre")[0]["value"] == 30


def test_too_little_makes_no_chart() -> None:
    nothing = page("destinations", [], count(0, 0))
    assert flow(page("sources", [], count(0, 0)), nothing) is None
    assert flow(page("sources", [("B", "article", 10)], count(10, 0)), nothing) is None
    assert flow(page("sources", [], count(0, 0)), page("destinations", [("D", "article", 9)], count(9, 0))) is None


@given(
    st.lists(st.tuples(st.sampled_from(("article", *KINDS)), st.integers(1, 10**6)), max_size=15),
    st.lists(st.integers(1, 10**6), max_size=15),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_the_flow_adds_up_to_what_the_tables_say(
    sources: list[tuple[str, int]], destinations: list[int], more_in: int, more_out: int
) -> None:
    whole_in = count(sum(clicks for _, clicks in sources) + more_in, 0)
    whole_out = count(sum(destinations) + more_out, 0)
    came_from = page(
        "sources",
        [(f"S{place}", kind, clicks) for place, (kind, clicks) in enumerate(sources)],
        whole_in,
        len(sources) + bool(more_in),
    )
    went_to = page(
        "destinations",
        [(f"D{place}", "article", clicks) for place, clicks in enumerate(destinations)],
        whole_out,
        len(destinations) + bool(more_out),
    )
    option = flow(came_from, went_to)
    if option is None:
        return
    into, out = nodes(option, "in"), nodes(option, "out")
    assert sum(node["value"] for node in into) == whole_in["clicks"]
    assert sum(node["value"] for node in out if node["kind"] != "end") == whole_out["clicks"]
    assert sum(node["value"] for node in out) == max(whole_in["clicks"], whole_out["clicks"])
    names = [node["name"] for node in option["series"][0]["data"]]
    assert len(names) == len(set(names))
    json.dumps(option)


@given(st.lists(st.integers(0, 10**6), min_size=5, max_size=5), st.integers(0, 10**6))
def test_a_share_bar_is_as_wide_as_its_parts(entries: list[int], links: int) -> None:
    counts = [count(clicks, 0) for clicks in entries]
    numbers = {
        "entries": dict(zip(KINDS, counts, strict=True)),
        "in_link": count(links, 0),
        "in_other": count(0, 0),
        "in": total([*counts, count(links, 0)]),
    }
    table = classes_table(numbers)
    at = 0.0
    for part in charts.share_bar(table):
        assert round(part["x"], 1) == round(at, 1)
        at += part["width"]
    assert round(at, 1) == table["percent"]


def trend(hourly: list[int | None], expected: float) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = {"hourly_from": "2025-03-31T00:00Z", "start": "2025-03-31T18:00Z", "end": "2025-04-01T00:00Z"}
    return {"hourly": hourly, "expected": expected}, answer


def test_a_sparkline_breaks_where_no_hour_is_known() -> None:
    line = charts.sparkline(*trend([None, 5, 6, None, 7, *[1] * 19], 30.0))
    assert line is not None
    assert [len(points.split()) for points in line["lines"]] == [2, 20]
    assert len(line["expected"].split()) == 22


def test_the_expected_line_has_the_expected_clicks_of_the_window() -> None:
    """Points have heights on a scale of the highest value, which is 100 here."""
    line = charts.sparkline(*trend([100, *[0] * 23], 60.0))
    assert line is not None
    heights = [float(point.split(",")[1]) for point in line["expected"].split()]
    clicks = [100 * (charts.SPARK_HEIGHT - 2 - height) / (charts.SPARK_HEIGHT - 4) for height in heights]
    assert abs(sum(clicks[18:]) - 60) < 2
    assert max(clicks) == clicks[20]  # the evening's peak of the daily profile


def test_no_trend_makes_no_line() -> None:
    assert charts.sparkline({"hourly": [], "expected": 1.0}, {"start": None}) is None
