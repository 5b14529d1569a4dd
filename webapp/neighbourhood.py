"""The neighbourhood of an article as a picture: where clicks came from on the left, where they went on the right.

Names, lines as wide as their clicks (each side on a scale of its own) and a bar that they meet at, as lengths and
points for an SVG. Drawn on the server, so that it needs no JavaScript; once for wide screens and once for narrow ones,
on which names stand above their lines.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .format import isolated, number, shown


@dataclass(frozen=True)
class Shape:
    """Lengths of a picture, in pixels at its own width."""

    width: float
    row: float  # the height of a name's row
    names: float  # the width of the names of a side
    beside: bool  # names stand beside their lines, or above them
    widest: float  # line
    letter: float  # the width of most letters
    top: float = 34.0
    bar: float = 8.0
    gap: float = 10.0
    thinnest: float = 1.5


WIDE = Shape(width=960, row=34, names=318, beside=True, widest=26, letter=7.4)
NARROW = Shape(width=340, row=48, names=158, beside=False, widest=16, letter=6.6)


def neighbourhood(title: str, sources: Sequence[Any], destinations: Sequence[Any], shape: Shape) -> dict[str, Any]:
    """The picture of an article's neighbours.

    :param sources: rows of :func:`.tables.neighbours_table`, and its rest; those without clicks are left out.
    """
    sides = [[row for row in rows if row and row["clicks"]["clicks"]] for rows in (sources, destinations)]
    tall = shape.row * max(1, *map(len, sides))
    drawn = [_side(rows, place == 0, tall, shape) for place, rows in enumerate(sides)]
    bar = max(shape.widest, *(sum(one["width"] for one in rows) for rows in drawn))
    return {
        "width": shape.width,
        "height": tall + shape.top + shape.gap,
        "title": _cut(shown(title), shape.width * 0.7, shape),
        "middle": shape.width / 2,
        "bar": {
            "x": (shape.width - shape.bar) / 2,
            "y": round(shape.top + (tall - bar) / 2, 1),
            "width": shape.bar,
            "height": round(bar, 1),
        },
        "rows": [one for rows in drawn for one in rows],
    }


def _side(rows: Sequence[Mapping[str, Any]], left: bool, tall: float, shape: Shape) -> list[dict[str, Any]]:
    most = max((row["clicks"]["clicks"] for row in rows), default=1)
    widths = [max(shape.thinnest, shape.widest * row["clicks"]["clicks"] / most) for row in rows]
    y = shape.top + (tall - len(rows) * shape.row) / 2 + shape.row / 2
    at = shape.top + (tall - sum(widths)) / 2
    drawn = []
    for row, width in zip(rows, widths, strict=True):
        value = number(row["clicks"]["clicks"])
        line = y if shape.beside else y + shape.row / 4
        drawn.append(
            {
                "kind": row["kind"],
                "href": row.get("href"),
                "name": _cut(row["name"], shape.names - (len(value) + 2) * shape.letter, shape),
                "value": value,
                "x": _mirrored(shape.names if shape.beside else 0, left, shape),
                "y": round(y + 5 if shape.beside else line - width / 2 - 7, 1),
                "anchor": "end" if left == shape.beside else "start",
                "before": left == shape.beside,
                "line": _line(line, at + width / 2, left, shape),
                "width": round(width, 1),
            }
        )
        y += shape.row
        at += width
    return drawn


def _line(start: float, end: float, left: bool, shape: Shape) -> str:
    """A line from a name to the bar, or from the bar to a name."""
    outer = shape.names + shape.gap if shape.beside else 0
    inner = (shape.width - shape.bar) / 2
    middle = (outer + inner) / 2
    x0, xm, x1 = (_mirrored(x, left, shape) for x in (outer, middle, inner))
    return f"M{x0:.1f},{start:.1f} C{xm:.1f},{start:.1f} {xm:.1f},{end:.1f} {x1:.1f},{end:.1f}"


def _mirrored(x: float, left: bool, shape: Shape) -> float:
    return x if left else shape.width - x


def _cut(text: str, width: float, shape: Shape) -> str:
    """What of a text has room, kept apart from the direction of the text around it."""
    room = width / shape.letter
    kept = ""
    for character in text:
        room -= 0 if unicodedata.combining(character) else 1.8 if unicodedata.east_asian_width(character) in "WF" else 1
        if room < 1 and len(kept) + 1 < len(text):
            return isolated(f"{kept.rstrip()}…")
        kept += character
    return isolated(kept)
