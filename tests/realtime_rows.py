"""Reads the realtime views of a home, row by row, for tests of the stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from readerflow.common.records import CLASS_OF
from readerflow.storage.serving_schema import open_serving

KEYS = {
    "live_pairs": ("hour", "referrer", "article", "link_type"),
    "live_articles": ("hour", "article"),
    "live_classes": ("minute", "class"),
    "live_totals": ("partition", "hour", "link_type"),
    "trending": ("window", "position"),
}
VALUES = {
    "live_pairs": ("clicks",),
    "live_articles": ("in_clicks", "out_clicks"),
    "live_classes": ("clicks",),
    "live_totals": ("clicks",),
    "trending": ("article", "clicks", "expected", "score", "start", "end"),
}
EPOCH = datetime(1970, 1, 1)

Rows = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]


def hour_number(time: datetime) -> int:
    return (time - EPOCH) // timedelta(hours=1)


def live_rows(home: Path, source: str, incarnation: str | None = None) -> Rows:
    """The rows of a source by view and key, of the incarnation that readers take or another one."""
    connection = open_serving(home / "serving.db")
    try:
        if incarnation is None:
            incarnation = connection.execute("select incarnation from current_incarnation").fetchone()[0]
        feed = connection.execute(
            "select feed from feeds where incarnation = ? and source = ?", (incarnation, source)
        ).fetchone()
        found: Rows = {}
        for view, keys in KEYS.items():
            sql = f"select {', '.join(keys + VALUES[view])} from {view} where feed = ?"
            rows = connection.execute(sql, feed or (-1,)).fetchall()
            found[view] = {row[: len(keys)]: row[len(keys) :] for row in rows}
            assert len(found[view]) == len(rows)
        return found
    finally:
        connection.close()


def feeds(home: Path) -> set[tuple[str, str]]:
    """(incarnation, source) of all rows that there are."""
    connection = open_serving(home / "serving.db")
    try:
        return set(connection.execute("select incarnation, source from feeds").fetchall())
    finally:
        connection.close()


def pointer(home: Path, wiki: str, month: str) -> tuple[str | None, int] | None:
    """(active source, since) as readers see it."""
    connection = open_serving(home / "serving.db")
    try:
        sql = "select source, since from pointers where wiki = ? and month = ?"
        row: tuple[str | None, int] | None = connection.execute(sql, (wiki, month)).fetchone()
        return row
    finally:
        connection.close()


def expected_rows(records: Iterable[dict[str, Any]], source: str, rows_from: datetime) -> Rows:
    """The oracle: what the views must hold after these records (schema RECORDS, and partition)."""
    found: dict[str, dict[tuple[Any, ...], list[int]]] = {view: defaultdict(lambda: [0, 0]) for view in KEYS}
    for row in records:
        if row["source"] != source:
            continue
        hour, clicks = hour_number(row["event_time"]), row["clicks"]
        found["live_totals"][row["partition"], hour, row["link_type"]][0] += clicks
        if row["event_time"] < rows_from:
            continue
        found["live_pairs"][hour, row["referrer"], row["article"], row["link_type"]][0] += clicks
        found["live_articles"][hour, row["article"]][0] += clicks
        entry = CLASS_OF.get(row["referrer"])
        if entry is None:
            found["live_articles"][hour, row["referrer"]][1] += clicks
        minute = (row["event_time"] - EPOCH) // timedelta(minutes=1)
        found["live_classes"][minute, entry or ("link" if row["link_type"] == "link" else "other")][0] += clicks
    return {
        view: {key: tuple(values[: len(VALUES[view])]) for key, values in rows.items()} for view, rows in found.items()
    }


def without_trends(rows: Rows) -> Rows:
    return rows | {"trending": {}}
