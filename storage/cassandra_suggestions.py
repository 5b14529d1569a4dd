"""Suggestions of a generation: titles sorted as people type them, in one file that a machine's readers map.

The writers of ``articles`` leave the folded titles in parts (see :mod:`.cassandra_writer`); who asks first sorts them
beside those.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from .folding import folded
from .recent import Recent
from .serving_views import SUGGESTIONS
from .title_files import place_of

SORTED = "sorted.arrow"
#: No title holds the greatest code point, so it ends the titles that begin with a query.
_LAST = chr(0x10FFFF)
_SORTED = "select folded, article, in_clicks from read_parquet($parts) order by folded, article"

_opened: Recent[pa.Table] = Recent(1 << 20)
_folding = threading.Lock()
_connection: list[duckdb.DuckDBPyConnection] = []


def suggest(folder: Path, query: str, limit: int) -> pa.Table:
    """Articles whose folded title begins with the folded query, by clicks in: SUGGESTIONS.

    :param folder: holds the parts.
    """
    table = _open(folder)
    first = fold(query)
    titles = table["folded"].combine_chunks()
    start, end = place_of(titles, first), place_of(titles, first + _LAST)
    found = table.slice(start, end - start)
    order = pc.select_k_unstable(found, limit, [("in_clicks", "descending"), ("article", "ascending")])
    return found.take(order).select(SUGGESTIONS.names).cast(SUGGESTIONS)


def fold(query: str) -> str:
    """A query as titles are folded."""
    with _folding:
        if not _connection:
            _connection.append(duckdb.connect(config={"threads": 1}))
        row = _connection[0].execute(f"select {folded('$query')}", {"query": query}).fetchone()
    assert row is not None  # noqa: S101
    return str(row[0])


def _open(folder: Path) -> pa.Table:
    path = folder / SORTED
    table = _opened.get(path)
    if table is None:
        if not path.exists():
            _sort(folder, path)
        with pa.memory_map(str(path)) as source:
            table = _opened.put(path, pa.ipc.open_file(source).read_all(), 1)
    return table


def _sort(folder: Path, path: Path) -> None:
    """Write the sorted file as a whole; processes that want it at the same time wait for the first."""
    with (folder / "sorting.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        parts = sorted(str(part) for part in folder.glob("*.parquet"))
        if path.exists():
            return
        temporary = path.with_suffix(f".{os.getpid()}")
        with duckdb.connect(config={"threads": 1, "memory_limit": "512MB"}) as connection:
            empty = pa.schema([("folded", pa.large_string()), *SUGGESTIONS]).empty_table()
            found = connection.sql(_SORTED, params={"parts": parts}).to_arrow_table() if parts else empty
        found = found.set_column(0, "folded", found["folded"].cast(pa.large_string()))
        found = found.set_column(1, "article", found["article"].cast(pa.large_string())).combine_chunks()
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, found.schema) as writer:
            writer.write_table(found)
        temporary.rename(path)
