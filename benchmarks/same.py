"""Proves that two contestants made the same views: every row of every view, ranks to 1e-9."""

from __future__ import annotations

from pathlib import Path

import duckdb

RANKS = ("pagerank", "reader_rank", "link_rank")
RANK_DISTANCE = 1e-9
#: View -> the columns that must be equal. Ranks are compared by distance: their last bits depend on the order of sums.
COLUMNS = {
    "articles": (
        "article", "in_clicks", "out_clicks", "in_pairs", "out_pairs", "entries_search", "entries_empty",
        "entries_internal", "entries_external", "entries_other", "in_link_clicks", "in_other_clicks",
    ),
    "sources": ("article", "position", "referrer", "link_type", "clicks"),
    "destinations": ("referrer", "position", "article", "link_type", "clicks"),
    "rankings": ("ranking", "position", "article", "value"),
    "classes": ("class", "clicks", "pairs"),
    "graph": ("referrer", "article", "clicks"),
}  # fmt: skip
#: Rankings that follow from ranks.
RANKED = (*RANKS, "under_linked", "over_linked")
WHERE = {"rankings": f"ranking not in {RANKED}", "classes": "pairs > 0"}


def differences(ours: Path, theirs: Path) -> list[str]:
    """What differs between the views in two folders; nothing when they are the same."""
    with duckdb.connect() as con:
        for side, folder in (("ours", ours), ("theirs", theirs)):
            _open(con, side, folder)
        found = []
        for view in COLUMNS:
            mine, other = _fingerprint(con, "ours", view), _fingerprint(con, "theirs", view)
            if mine != other:
                found.append(f"{view}: rows and checksum {other}, ReaderFlow {mine}")
        distances = ", ".join(f"max(abs(ours.{rank} - theirs.{rank}))" for rank in RANKS)
        mismatch = " or ".join(f"(ours.{rank} is null) <> (theirs.{rank} is null)" for rank in RANKS)
        query = f"""
            select count(*) filter ({mismatch}), {distances}
            from ours.articles as ours join theirs.articles as theirs using (article)
        """
        unranked, *apart = con.execute(query).fetchall()[0]
        if unranked:
            found.append(f"articles: {unranked} with ranks on one side only")
        found += [
            f"{rank}: {distance:.3g} apart"
            for rank, distance in zip(RANKS, apart, strict=True)
            if distance is not None and distance > RANK_DISTANCE
        ]
    return found


def totals(views: Path) -> dict[str, int]:
    """Rows of each view, and the month's clicks."""
    with duckdb.connect() as con:
        _open(con, "ours", views)
        found = {view: int(con.execute(f"select count(*) from ours.{view}").fetchall()[0][0]) for view in COLUMNS}
        found["clicks"] = int(con.execute("select sum(clicks) from ours.classes").fetchall()[0][0])
        linked = "select count(pagerank) from ours.articles"
        return found | {"linked articles": int(con.execute(linked).fetchall()[0][0])}


def _open(con: duckdb.DuckDBPyConnection, side: str, folder: Path) -> None:
    database = folder / "views.duckdb"
    if database.exists():
        con.execute(f"attach '{database}' as {side} (read_only)")
        return
    con.execute(f"create schema {side}")
    for view in COLUMNS:
        one = folder / f"{view}.parquet"
        files = one if one.exists() else folder / view / "*.parquet"
        con.execute(f"create view {side}.{view} as select * from read_parquet('{files}')")


def _fingerprint(con: duckdb.DuckDBPyConnection, side: str, view: str) -> tuple[int, int]:
    columns = ", ".join(COLUMNS[view])
    condition = WHERE.get(view, "true")
    query = f"select count(*), coalesce(sum(hash({columns})), 0) from {side}.{view} where {condition}"
    rows, checksum = con.execute(query).fetchall()[0]
    return int(rows), int(checksum)
