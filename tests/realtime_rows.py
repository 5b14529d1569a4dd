"""Reads the realtime views of a home or a keyspace, row by row, for tests of the stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from readerflow.common.arrow_streams import read_streams
from readerflow.common.records import CLASS_OF
from readerflow.storage.cassandra_compaction import ARTICLES_BODY, CLASSES_BODY, STORED
from readerflow.storage.cassandra_incarnations import read_incarnations
from readerflow.storage.cassandra_live_rows import Stored, counted, link_type_names, unpack
from readerflow.storage.cassandra_session import Cassandra
from readerflow.storage.realtime_views import LIVE_TOTALS, TRENDING
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


class SQLiteRows:
    """What the realtime views of a home hold."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def live(self, source: str, incarnation: str | None = None) -> Rows:
        return live_rows(self._home, source, incarnation)

    def feeds(self) -> set[tuple[str, str]]:
        return feeds(self._home)

    def pointer(self, wiki: str, month: str) -> tuple[str | None, int] | None:
        return pointer(self._home, wiki, month)


class CassandraRows:
    """What readers may see of the realtime views of a keyspace, read with plain scans."""

    def __init__(self, cassandra: Cassandra) -> None:
        self._cassandra = cassandra

    def live(self, source: str, incarnation: str | None = None) -> Rows:
        state = read_incarnations(self._cassandra)
        row = state.alive(incarnation or state.current)
        found: Rows = {view: {} for view in KEYS}
        if row is None:
            return found
        first = hour_number(row.progress.rows_from.get(source, EPOCH))

        def groups(table: str, *key: str) -> dict[tuple[Any, ...], list[Stored]]:
            cql = f"select incarnation, {', '.join((*key, STORED))} from {{ks}}.{table} allow filtering"
            by_key: dict[tuple[Any, ...], list[Stored]] = defaultdict(list)
            for name, *values in self._cassandra.rows(cql):
                if name == row.incarnation:
                    by_key[tuple(values[: len(key)])].append(Stored(*values[len(key) :]))
            return {name: counted(rows, row.write, row.aborted) for name, rows in by_key.items()}

        def add(view: str, key: tuple[Any, ...], *values: int) -> None:
            old = found[view].get(key, (0,) * len(values))
            found[view][key] = tuple(a + b for a, b in zip(old, values, strict=True))

        sides: dict[int, dict[tuple[Any, ...], int]] = {0: defaultdict(int), 1: defaultdict(int)}
        for (name, title, side, hour), stored in groups("live_pairs", "source", "title", "side", "hour").items():
            if name == source and hour >= first:
                entries = unpack([one.body for one in stored])
                kinds = link_type_names(entries.link_types).to_pylist()
                for other, kind, clicks in zip(entries.titles.to_pylist(), kinds, entries.clicks.tolist(), strict=True):
                    pair = (other, title) if side == 0 else (title, other)
                    sides[side][hour, *pair, kind] += clicks
        assert sides[1] == {key: n for key, n in sides[0].items() if key[1] not in CLASS_OF}
        found["live_pairs"] = {key: (n,) for key, n in sides[0].items()}
        for (name, hour, _), stored in groups("live_articles", "source", "hour", "shard").items():
            if name == source and hour >= first:
                for one in read_streams([one.body for one in stored], ARTICLES_BODY).to_pylist():
                    add("live_articles", (hour, one["article"]), one["in_clicks"], one["out_clicks"])
        for (name, _), stored in groups("live_classes", "source", "day").items():
            for one in read_streams([one.body for one in stored], CLASSES_BODY).to_pylist():
                minute = (one["minute"] - EPOCH) // timedelta(minutes=1)
                if name == source and minute >= first * 60:
                    add("live_classes", (minute, one["class"]), one["clicks"])
        for stored in groups("live_totals").values():
            for one in read_streams([one.body for one in stored], LIVE_TOTALS).to_pylist():
                if one["source"] == source:
                    add("live_totals", (one["partition"], hour_number(one["hour"]), one["link_type"]), one["clicks"])
        trends = self._cassandra.rows(
            "select id, body from {ks}.live_trends where incarnation = ? and source = ?", (row.incarnation, source)
        )
        newest = [body for write, body in trends if write <= row.write and write not in row.aborted][:1]
        for one in read_streams(newest, TRENDING).to_pylist():
            key = (one["window"], one["position"])
            times = (hour_number(one["start"]), hour_number(one["end"]))
            found["trending"][key] = (one["article"], one["clicks"], one["expected"], one["score"], *times)
        return found

    def feeds(self) -> set[tuple[str, str]]:
        return {(row[0], row[1]) for row in self._cassandra.rows("select incarnation, source from {ks}.live_days")}

    def pointer(self, wiki: str, month: str) -> tuple[str | None, int] | None:
        found = self._cassandra.rows(
            "select source, since from {ks}.generations where wiki = ? and month = ? limit 1", (wiki, month)
        )
        return (found[0][0], found[0][1]) if found else None


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
