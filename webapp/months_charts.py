"""Charts of months side by side: lines over months as lengths in percent, and the flow of an article in two months.

As in :mod:`.charts`, a chart shows the numbers of the table beside it. Lines are plain SVG, so that they need no
script: places are percent of the chart's box, which has no view box, so that text and strokes keep their shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from readerflow.common.months import Month

from . import charts
from .format import month_name
from .merge import count

#: Where the first and the last month stand, the greatest value and 0, in percent of the box.
LEFT, RIGHT, TOP, BOTTOM = 6.0, 96.0, 12.0, 86.0
#: Names of months below the chart, at most; a phone shows half of them.
MAX_LABELS = 12
#: Tops of scales, whose halves are round, too.
NICE = (1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def lines(rows: Sequence[Mapping[str, Any]], series: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """Lines over months; None for fewer than two months.

    :param rows: months, the oldest first: ``month``, and ``values``, a number for each key of a series; or None where
        there is nothing, which parts the line.
    :param series: (key, name) of each line; one without any value above 0 is left out.
    :returns: ``ticks`` (y, value), ``labels`` (x, text, anchor, small), ``lines`` (key, name, segments, points).
    """
    if len(rows) < 2:
        return None
    numbers = [_number(row["month"]) for row in rows]
    known = [(key, name) for key, name in series if any(_value(row, key) for row in rows)]
    top = _nice(max((_value(row, key) or 0.0 for row in rows for key, _ in known), default=0.0))
    xs = [_between(LEFT, RIGHT, (number - numbers[0]) / (numbers[-1] - numbers[0])) for number in numbers]

    def points(key: str) -> list[dict[str, Any] | None]:
        """A point a month, None where there is no value or the month before was not loaded."""
        found: list[dict[str, Any] | None] = []
        for place, (row, x) in enumerate(zip(rows, xs, strict=True)):
            if place and numbers[place] - numbers[place - 1] > 1:
                found.append(None)
            value = _value(row, key)
            found.append(
                None if value is None else {"x": x, "y": _between(BOTTOM, TOP, value / top), "month": row["month"]}
            )
        return found

    return {
        "ticks": [{"y": _between(BOTTOM, TOP, part), "value": top * part} for part in (0.0, 0.5, 1.0)],
        "labels": list(_labels(rows, xs)),
        "lines": [
            {
                "key": key,
                "name": name,
                "points": [point for point in points(key) if point],
                "segments": [
                    {"x1": a["x"], "y1": a["y"], "x2": b["x"], "y2": b["y"]}
                    for a, b in pairwise(points(key))
                    if a is not None and b is not None
                ],
            }
            for key, name in known
        ],
    }


def _value(row: Mapping[str, Any], key: str) -> float | None:
    return None if row["values"] is None else row["values"][key]


def _number(month: str) -> int:
    """Months counted from the year 0, so that those that were not loaded leave a gap."""
    found = Month.parse(month)
    return 12 * found.year + found.number


def _between(start: float, end: float, part: float) -> float:
    return round(start + (end - start) * part, 2)


def _nice(highest: float) -> float:
    """The first round number that is not below: the top of the scale."""
    if highest <= 0:
        return 1.0
    unit = 1.0
    while unit * 10 <= highest:
        unit *= 10
    while unit > highest:
        unit /= 10
    return next(step * unit for step in NICE if step * unit >= highest)


def _labels(rows: Sequence[Mapping[str, Any]], xs: Sequence[float]) -> Iterable[dict[str, Any]]:
    """Names of months, of so many that they do not touch; ``small`` says which of them a phone shows too."""
    step = -(-len(rows) // MAX_LABELS)
    chosen = list(range(len(rows) - 1, -1, -step))  # the newest has one
    sparse = 1 if len(chosen) <= 4 else -(-len(chosen) // 4)
    for place, index in enumerate(chosen):
        name, year = month_name(rows[index]["month"]).split(" ")
        anchor = "start" if index == 0 else "end" if index == len(rows) - 1 else "middle"
        yield {"x": xs[index], "text": f"{name[:3]} {year}", "anchor": anchor, "small": place % sparse == 0}


def flow_of(
    name: str,
    title: str,
    sides: Mapping[str, Mapping[str, Any]],
    link: Callable[[Mapping[str, Any], str], str | None],
) -> dict[str, Any] | None:
    """The flow through an article in one of two compared months, as :func:`.charts.flow` draws it.

    The charts of two months show the same neighbours in the same order, each on the scale of its own month.

    :param name: ``now`` or ``before``.
    :param sides: answers of :func:`.changes.article_pairs` by side, ordered by clicks, whose items have a ``name``.
    :returns: None where the month lacks the article, or there is too little to draw.
    """
    whole = {side: count(answer["clicks"][name] or 0, 0) for side, answer in sides.items()}
    numbers = {"title": title, "in": whole["sources"], "out": whole["destinations"]}
    tables = [_side(name, side, answer) for side, answer in sides.items()]
    return charts.flow(numbers, tables[0], tables[1], link)


def _side(name: str, side: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """A table of neighbours of one of the months, as :func:`.tables.neighbours_table` has it."""
    rest = answer["rest"]
    noun = side.removesuffix("s")
    return {
        "rows": [{**item, "clicks": count(item[name] or 0, 0)} for item in answer["items"]],
        "rest": {
            "kind": "rest",
            "name": f"{rest[f'{name}_pairs']:,} more {noun}{'' if rest[f'{name}_pairs'] == 1 else 's'}",
            "count": rest[f"{name}_pairs"],
            "clicks": count(rest[name], 0),
        },
    }
