"""What stands in the pages' tables: rows of the answers with names and shares that are rounded together.

A row is a dict: name, kind, clicks (a Count), percent (rounded with the other rows of its table), bar (length of its
bar, percent of the longest one). Pure functions over the dicts of :mod:`.answers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .format import KIND_NAMES, neighbour_name, plural
from .merge import Count, count, round_shares, total

ENTRY_KINDS = ("search", "empty", "internal", "external", "other")
NOTHING = count(0, 0)


def _measure(rows: list[dict[str, Any]], whole: int) -> None:
    """Give each row its share and its bar."""
    parts = [row["clicks"]["clicks"] for row in rows]
    longest = max(parts, default=0)
    for row, percent in zip(rows, round_shares(parts, whole), strict=True):
        row["percent"] = percent
        row["bar"] = round(100 * row["clicks"]["clicks"] / longest, 1) if longest else 0.0


def _table(rows: list[dict[str, Any]], whole: Mapping[str, int]) -> dict[str, Any]:
    _measure(rows, whole["clicks"])
    return {"rows": rows, "clicks": whole, "percent": round(sum(row["percent"] for row in rows), 1)}


def _by_kind(counts: Mapping[str, Count]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"kind": kind, "name": KIND_NAMES[kind], "clicks": clicks} for kind, clicks in counts.items()
    ]
    rows.sort(key=lambda row: -row["clicks"]["clicks"])
    return rows


def classes_table(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """An article's clicks in by kind of source, most first; ``percent`` of the whole table is 100.0."""
    counts = {kind: numbers["entries"][kind] for kind in ENTRY_KINDS}
    counts["article"] = total((numbers["in_link"], numbers["in_other"]))
    return _table(_by_kind(counts), numbers["in"])


def overview_table(month: Mapping[str, Any]) -> dict[str, Any]:
    """All clicks of a month by kind of source, most first."""
    counts = {kind: NOTHING for kind in (*ENTRY_KINDS, "article")}
    for item in month["items"]:
        counts[item["kind"]] = total((counts[item["kind"]], item["clicks"]))
    return _table(_by_kind(counts), month["clicks"])


def neighbours_table(page: Mapping[str, Any]) -> dict[str, Any]:
    """A page of sources or destinations: rows, what is before them and after them (None if nothing), the total.

    before + rows + rest = total, in clicks and in percent.
    """
    noun = "source" if page["side"] == "sources" else "destination"
    rows = [
        {
            "position": item["position"],
            "name": neighbour_name(item),
            "title": item["title"] if item["kind"] == "article" else None,
            "kind": item["kind"],
            "link_type": item["link_type"],
            "clicks": item["clicks"],
        }
        for item in page["items"]
    ]
    before = _folded(page["before"], f"{plural(page['before']['rows'], noun)} before")
    after = page["rest"]["rows"]
    rest = _folded(page["rest"], f"{after:,} more {noun}{'' if after == 1 else 's'}")
    table = _table([row for row in (before, *rows, rest) if row], page["clicks"])
    first = page["before"]["rows"] + 1
    return {
        **table,
        "rows": rows,
        "before": before,
        "rest": rest,
        "noun": noun,
        "first": first,
        "last": first + len(rows) - 1,
        "of": page["total"],
        "next": page["next"],
    }


def _folded(part: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    if not part["rows"] and not part["clicks"]["clicks"]:
        return None
    return {"kind": "rest", "name": name, "count": part["rows"], "clicks": part["clicks"]}


def ranking_rows(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a ranking with bars as long as their values, against the first of them."""
    rows = [dict(item) for item in items]
    longest = max((row["value"] for row in rows), default=0)
    for row in rows:
        row["bar"] = round(100 * row["value"] / longest, 1) if longest else 0.0
    return rows


def trending_rows(trends: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of trends with bars as long as their scores: those that count as trending, and those below the threshold."""
    rows = [dict(item) for item in trends["items"]]
    highest = max((row["score"] for row in rows), default=0)
    for row in rows:
        row["bar"] = round(max(0.0, 100 * row["score"] / highest), 1) if highest > 0 else 0.0
    return [row for row in rows if row["trending"]], [row for row in rows if not row["trending"]]


def no_further_click(numbers: Mapping[str, Any]) -> int:
    """Clicks in that no click out followed: at most, since readers may open several links; never below 0."""
    return max(0, int(numbers["in"]["clicks"]) - int(numbers["out"]["clicks"]))
