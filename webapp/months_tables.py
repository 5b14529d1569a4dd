"""What stands in the tables of pages about months side by side. Pure functions over the dicts of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .format import KIND_NAMES, NARROW_SPACE, NO_VALUE, neighbour_name, signed
from .months import per_day
from .tables import ENTRY_KINDS

_ROUNDED_AWAY = f"≈{NARROW_SPACE}0"
#: Lines and columns of months side by side.
SERIES = (
    ("all", "All clicks"),
    ("article", "From articles"),
    *((kind, KIND_NAMES[kind]) for kind in ENTRY_KINDS),
)
MEASURE_NAMES = {
    "in": "Clicks in",
    "out": "Clicks out",
    "entries": "Entries",
    **{kind: KIND_NAMES[kind] for kind in ENTRY_KINDS},
}


def total_rows(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Months of a wiki with ``values``: clicks a day by kind; None where no hour is covered."""
    return [
        {
            **item,
            "values": _days(item["clicks"]["clicks"], _kinds(item["classes"]), item["covered"]),
        }
        for item in items
    ]


def _kinds(classes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    found = dict.fromkeys(("article", *ENTRY_KINDS), 0)
    for one in classes:
        found[one["kind"]] += one["clicks"]["clicks"]
    return found


def history_rows(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Months of an article, the same way; values are None where a month lacks it."""
    return [{**item, "values": _history_values(item)} for item in history["items"]]


def _history_values(item: Mapping[str, Any]) -> dict[str, float] | None:
    if item["in"] is None:
        return None
    kinds = {kind: item["entries"][kind]["clicks"] for kind in ENTRY_KINDS}
    kinds["article"] = item["in_link"]["clicks"] + item["in_other"]["clicks"]
    return _days(item["in"]["clicks"], kinds, item["covered"])


def _days(clicks: int, kinds: Mapping[str, int], span: Mapping[str, Any]) -> dict[str, float] | None:
    if not span["hours"]:
        return None
    return {name: per_day(n, span) or 0.0 for name, n in {"all": clicks, **kinds}.items()}


def with_names(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer about an article's pairs whose items have the names that pages show."""
    return {**answer, "items": [{**item, "name": neighbour_name(item)} for item in answer["items"]]}


def with_bars(items: Iterable[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """Rows with bars as long as a number of theirs, of either sign, against the longest of them."""
    rows = [dict(item) for item in items]
    longest = max((abs(row[name]) for row in rows), default=0)
    for row in rows:
        row["bar"] = round(100 * abs(row[name]) / longest, 1) if longest else 0.0
    return rows


def daily(value: float | None) -> str:
    """Clicks a day: whole from 100 on, one decimal below, two below 1."""
    if value is None:
        return NO_VALUE
    digits = 0 if value >= 100 or value == 0 else 1 if value >= 1 else 2
    return f"{value:,.{digits}f}"


def signed_daily(value: float) -> str:
    """A change in clicks a day; what would round to 0.00 says so."""
    return _ROUNDED_AWAY if 0 < abs(value) < 0.005 else _signed(value, daily(abs(value)))


def signed_ppm(value: float) -> str:
    """A change of a share, in parts per million; what would round to 0.0 says so."""
    parts = abs(1e6 * value)
    digits = f"{parts:,.0f}" if parts >= 1000 else f"{parts:,.1f}"
    return (_ROUNDED_AWAY if 0 < parts < 0.05 else _signed(value, digits)) + f"{NARROW_SPACE}ppm"


def percent_change(times: float | None) -> str:
    """How much more, from how many times as much: 1.25 -> ``+25 %``; in times from three on."""
    if times is None:
        return NO_VALUE
    if times >= 3:
        return f"{times:,.1f}×"
    change = abs(100 * (times - 1))
    return (_ROUNDED_AWAY if 0 < change < 0.05 else _signed(times - 1, f"{change:.1f}")) + f"{NARROW_SPACE}%"


def between(bounds: Mapping[str, int] | None) -> str:
    """A change that is known within bounds: ``+16 to +25``."""
    if bounds is None:
        return NO_VALUE
    if bounds["least"] == bounds["most"]:
        return signed(bounds["least"]) if bounds["least"] else "0"
    return f"{signed(bounds['least'])} to {signed(bounds['most'])}"


def _signed(value: float, written: str) -> str:
    return written if not value else f"{'+' if value > 0 else '−'}{written}"


def span_words(span: Mapping[str, Any]) -> str:
    """What is counted of a month: ``31 days``, ``30.5 days``."""
    days = f"{span['days']:.1f}".removesuffix(".0")
    return f"{days} day{'' if days == '1' else 's'}"


FILTERS = {
    function.__name__: function for function in (daily, signed_daily, signed_ppm, percent_change, between, span_words)
}
