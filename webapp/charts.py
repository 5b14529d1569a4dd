"""The pages' charts as plain dicts: the flow of an article as an ECharts option, small charts as lengths and points.

A chart shows the numbers of the table beside it, no others. The flow option says what to draw (nodes with name, title,
value, base of their share, side, kind, href); ``static/charts.js`` says how it looks in a theme and a width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from readerflow.common.dayshape import HOUR_WEIGHTS
from readerflow.common.months import HOUR, parse_time

from .format import shown
from .tables import no_further_click

SPARK_WIDTH, SPARK_HEIGHT, SPARK_MARGIN = 120.0, 28.0, 2.0
#: Fewer sources and destinations make no chart.
MIN_FLOWS = 2


def flow(
    numbers: Mapping[str, Any],
    came_from: Mapping[str, Any],
    went_to: Mapping[str, Any],
    link: Callable[[Mapping[str, Any], str], str | None],
) -> dict[str, Any] | None:
    """The flow through an article as an ECharts option; None when there is too little to draw.

    :param came_from: :func:`.tables.neighbours_table` of its sources (the first page), ``went_to`` of its destinations.
    :param link: (row, side "in" or "out") -> address.
    """
    whole_in, whole_out = numbers["in"]["clicks"], numbers["out"]["clicks"]
    sources = _side(came_from, "in", whole_in, link)
    destinations = _side(went_to, "out", whole_out, link)
    if not sources or len(sources) + len(destinations) < MIN_FLOWS:
        return None
    stopped = no_further_click(numbers)
    if stopped:
        end = {"kind": "end"}
        destinations.append(_node("out:end", "No further click", stopped, whole_in, "out", end, link(end, "out")))
    centre = {
        "name": "centre",
        "title": shown(numbers["title"]),
        "value": max(whole_in, whole_out),
        "side": "centre",
        "kind": "centre",
    }
    return {"series": [{"type": "sankey", "data": [*sources, centre, *destinations]}]}


def _side(
    table: Mapping[str, Any], side: str, whole: int, link: Callable[[Mapping[str, Any], str], str | None]
) -> list[dict[str, Any]]:
    """Nodes of a side from top to bottom: articles, the rest, other kinds."""
    articles = [row for row in table["rows"] if row["kind"] == "article"]
    kinds = [row for row in table["rows"] if row["kind"] != "article"]
    nodes = []
    for row in (*articles, table["rest"], *kinds):
        if row and row["clicks"]["clicks"]:
            name = f"{side}:{row.get('position', 'rest')}"
            nodes.append(_node(name, row["name"], row["clicks"]["clicks"], whole, side, row, link(row, side)))
    return nodes


def _node(
    name: str, title: str, value: int, base: int, side: str, row: Mapping[str, Any], href: str | None
) -> dict[str, Any]:
    node = {"name": name, "title": title, "value": value, "base": base, "side": side, "kind": row["kind"], "href": href}
    if "count" in row:
        node["count"] = row["count"]
    return node


def share_bar(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A bar in parts as wide as the table's shares: kind, x and width in percent."""
    parts, at = [], 0.0
    for row in table["rows"]:
        if row["percent"]:
            parts.append({"kind": row["kind"], "x": round(at, 1), "width": row["percent"]})
            at += row["percent"]
    return parts


def sparkline(item: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """A trending article's last hours as SVG points: ``lines`` of clicks (hours without data part them), ``expected``.

    What is expected in an hour is the window's expected clicks by the daily profile, on every hour drawn.
    """
    hourly = item["hourly"]
    if not hourly or not answer["start"]:
        return None
    first, start, end = (parse_time(answer[name]) for name in ("hourly_from", "start", "end"))

    def weights(since: Any, hours: int) -> list[int]:
        return [HOUR_WEIGHTS[(since + index * HOUR).hour] for index in range(hours)]

    window = sum(weights(start, (end - start) // HOUR))
    expected = [item["expected"] * weight / window if window else 0.0 for weight in weights(first, len(hourly))]
    highest = max((*expected, *(clicks for clicks in hourly if clicks is not None)), default=0) or 1
    step = SPARK_WIDTH / max(1, len(hourly) - 1)

    def point(index: int, clicks: float) -> str:
        height = SPARK_HEIGHT - SPARK_MARGIN - (SPARK_HEIGHT - 2 * SPARK_MARGIN) * clicks / highest
        return f"{index * step:.1f},{height:.1f}"

    lines: list[list[str]] = [[]]
    for index, clicks in enumerate(hourly):
        if clicks is None:
            lines.append([])
        else:
            lines[-1].append(point(index, clicks))
    known = [index for index, clicks in enumerate(hourly) if clicks is not None]
    return {
        "lines": [" ".join(line) for line in lines if line],
        "expected": " ".join(point(index, expected[index]) for index in known),
        "width": SPARK_WIDTH,
        "height": SPARK_HEIGHT,
    }
