"""Batch views as files: one immutable DuckDB file and one folder of graph arrays a generation, a pointer in SQLite.

``<root>/<wiki>/<month>/<generation>/views.duckdb`` holds a table for each view, sorted by its key so that zone maps
find a row. Beside it ``titles/`` holds the titles of what :mod:`.neighbour_tables` stores as numbers, ``graph/`` the
arrays of the link graph and ``search/`` the :mod:`.title_index`, all ready to be mapped. A reader takes the generation
from ``pointers`` in ``serving.db``; a folder that no pointer has named yet is nobody's business. An open file survives
its removal, so a sweep never takes rows from under a reader.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa

from readerflow.common.facts import from_json, to_json
from readerflow.common.months import now

from . import neighbour_tables
from .batch_views import (
    BATCH_SCHEMAS,
    Generation,
    LinkGraph,
    Manifest,
    NoGeneration,
    Superseded,
    View,
    ViewWriter,
    generation_gone,
    why_superseded,
)
from .generation_files import GRAPH, SEARCH
from .graph_files import export_graph, read_graph, write_graph
from .lease import is_leased, lease
from .neighbour_tables import export_neighbours, titles_folder, write_neighbours
from .serving_schema import open_serving
from .sqlite import transaction
from .title_files import Titles
from .title_index import write_index

FILE = "views.duckdb"

#: A look-up reads the strings of a whole row group, so that small tables are found three times faster in small groups;
#: in large ones the number of groups would cost more.
SMALL_ROWS = 1_000_000
SMALL_ROW_GROUP, ROW_GROUP = 4_096, 122_880


def folder(root: Path, wiki: str, month: str, generation: str) -> Path:
    """Where the files of a generation lie."""
    return root / wiki / month / generation


@dataclass(frozen=True)
class TableWriter:
    """Writes one view as a table of a generation's file."""

    path: Path
    view: View

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> int:
        first, rest = _first_rows(batches, SMALL_ROWS)
        small = sum(batch.num_rows for batch in first) < SMALL_ROWS
        with _open_for_writing(self.path, SMALL_ROW_GROUP if small else ROW_GROUP) as connection:
            if self.view in neighbour_tables.VIEWS:
                write_neighbours(connection, self.path.parent, self.view, chain(first, rest))
            else:
                _write_table(connection, self.view, chain(first, rest))
            if self.view is View.ARTICLES:
                # The table lies in key order.
                clicks = connection.sql("select article, in_clicks from articles").to_arrow_table().combine_chunks()
                write_index(
                    self.path.with_name(SEARCH), *(clicks[name].combine_chunks() for name in clicks.column_names)
                )
            rows = connection.sql(f"select count(*) from {self.view.value}").fetchall()  # noqa: S608, our own name
            return int(rows[0][0])


def _write_table(connection: duckdb.DuckDBPyConnection, view: View, batches: Iterable[pa.RecordBatch]) -> None:
    schema = BATCH_SCHEMAS[view]
    reader = pa.RecordBatchReader.from_batches(schema, (batch.select(schema.names).cast(schema) for batch in batches))
    connection.register("batches", reader)
    connection.execute(f"create or replace table {view.value} as select * from batches")  # noqa: S608, our own name
    connection.unregister("batches")


class DuckDBViews:
    """Generations of all months below a folder.

    ``generations.state`` is ``building``, ``published`` or ``withdrawn``. A roll-back withdraws the generation that it
    leaves: it is no longer retained, and the next sweep takes it.
    """

    def __init__(self, root: Path, kept: int) -> None:
        self._root = root
        self._kept = kept
        self._leases: dict[str, ExitStack] = {}
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> DuckDBViews:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for held in self._leases.values():
            held.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _serving(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_serving(self._root.parent / "serving.db")
        return self._connection

    def begin(self, wiki: str, month: str) -> Generation:
        created = now()
        name = f"{created:%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"
        held = ExitStack()
        held.enter_context(lease(self._lease(name), f"generation {name}"))
        self._leases[name] = held
        with transaction(self._serving) as serving:
            pointer = serving.execute(
                "select generation from pointers where wiki = ? and month = ?", (wiki, month)
            ).fetchone()
            serving.execute(
                "insert into generations (generation, wiki, month, state, created) values (?, ?, ?, 'building', ?)",
                (name, wiki, month, created.isoformat()),
            )
        folder(self._root, wiki, month, name).mkdir(parents=True)
        return Generation(name, wiki, month, pointer[0] if pointer else None)

    def writer(self, generation: Generation, view: View) -> ViewWriter:
        return TableWriter(self._folder(generation) / FILE, view)

    def write_graph(self, generation: Generation, graph: LinkGraph) -> None:
        write_graph(self._folder(generation) / GRAPH, graph)

    def publish(self, generation: Generation, manifest: Manifest) -> None:
        _make_durable(self._folder(generation), self._root.parent)
        with transaction(self._serving) as serving:
            pointer = serving.execute(
                "select generation, source, since from pointers where wiki = ? and month = ?",
                (generation.wiki, generation.month),
            ).fetchone() or (None, None, -1)
            reason = why_superseded(generation, manifest, *pointer)
            if reason is None:
                # A new row number: retained generations are in the order of their publication.
                serving.execute(
                    "insert or replace into generations (generation, wiki, month, state, manifest, created) "
                    "values (?, ?, ?, 'published', ?, ?)",
                    (generation.id, generation.wiki, generation.month, to_json(manifest), now().isoformat()),
                )
                serving.execute(
                    "insert into pointers (wiki, month, generation, source, since) values (?, ?, ?, ?, ?) "
                    "on conflict (wiki, month) do update set generation = excluded.generation, "
                    "source = excluded.source, since = max(since, excluded.since)",
                    (generation.wiki, generation.month, generation.id, manifest.source, manifest.since),
                )
        if reason is not None:
            self.discard(generation)
            raise Superseded(f"{generation.wiki} {generation.month}: {reason}; run the batch again")
        self._release(generation.id)

    def discard(self, generation: Generation) -> None:
        with transaction(self._serving) as serving:
            serving.execute("delete from generations where generation = ? and state = 'building'", (generation.id,))
        shutil.rmtree(self._folder(generation), ignore_errors=True)
        self._release(generation.id)

    def roll_back(self, wiki: str, month: str) -> Manifest:
        with transaction(self._serving) as serving:
            rows = serving.execute(
                "select g.generation, g.manifest from generations g join pointers p using (wiki, month) "
                "join generations c on c.generation = p.generation "
                "where g.wiki = ? and g.month = ? and g.state = 'published' and g.rowid <= c.rowid "
                "order by g.rowid desc limit 2",
                (wiki, month),
            ).fetchall()
            if len(rows) < 2:
                raise NoGeneration(f"{wiki} {month} has no earlier generation to roll back to; run the batch instead")
            (left, _), (generation, manifest) = rows
            serving.execute("update generations set state = 'withdrawn' where generation = ?", (left,))
            serving.execute(
                "update pointers set generation = ? where wiki = ? and month = ?", (generation, wiki, month)
            )
        return from_json(Manifest, manifest)

    def current(self, wiki: str, month: str) -> Manifest | None:
        row = self._serving.execute(
            "select manifest from generations join pointers using (wiki, month, generation) "
            "where wiki = ? and month = ?",
            (wiki, month),
        ).fetchone()
        return from_json(Manifest, row[0]) if row else None

    def retained(self, wiki: str | None = None, month: str | None = None) -> list[Manifest]:
        rows = self._serving.execute(
            "select manifest from generations where state = 'published' and wiki = coalesce(?, wiki) "
            "and month = coalesce(?, month) order by rowid",
            (wiki, month),
        ).fetchall()
        return [from_json(Manifest, manifest) for (manifest,) in rows]

    def export(self, generation: str, view: View, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        files = self._files(generation)
        if view is View.GRAPH:
            try:
                graph = read_graph(files / GRAPH)
            except FileNotFoundError:
                raise generation_gone(generation) from None
            return export_graph(graph, rows)
        connection = _open_for_reading(files / FILE, generation)
        if view in neighbour_tables.VIEWS:
            return _closing(connection, export_neighbours(connection, _titles(files, view, generation), view, rows))
        return _closing(connection, _export_table(connection, view, rows))

    def article_in_clicks(self, generation: str, articles: pa.Array) -> pa.Table:
        with _open_for_reading(self._files(generation) / FILE, generation) as connection:
            connection.register("wanted", pa.table({"article": articles}))
            sql = "select article, in_clicks from generation.articles semi join wanted using (article)"
            return connection.sql(sql).to_arrow_table()

    def sweep(self) -> list[str]:
        # Listed first: a generation is registered before its folder is made, so each of these is known below or gone.
        folders = list(self._root.glob("*/*/*"))
        with transaction(self._serving) as serving:
            superseded = serving.execute(
                "select generation, wiki, month from (select *, row_number() over "
                "(partition by wiki, month order by rowid desc) as age from "
                "(select rowid, * from generations where state = 'published')) where age > ? "
                "union all select generation, wiki, month from generations where state = 'withdrawn'",
                (self._kept,),
            ).fetchall()
            building = serving.execute(
                "select generation, wiki, month from generations where state = 'building'"
            ).fetchall()
            pointed = {row[0] for row in serving.execute("select generation from pointers").fetchall()}
            gone = [row for row in superseded if row[0] not in pointed]
            gone += [row for row in building if not is_leased(self._lease(row[0]))]
            serving.executemany("delete from generations where generation = ?", [row[:1] for row in gone])
            known = {row[0] for row in serving.execute("select generation from generations").fetchall()}
        for path in folders:
            if path.name not in known and not is_leased(self._lease(path.name)):
                shutil.rmtree(path, ignore_errors=True)
        for generation, _, _ in gone:
            self._lease(generation).unlink(missing_ok=True)
        return sorted(row[0] for row in gone)

    def _files(self, generation: str) -> Path:
        """The folder of a generation that has been published.

        :raises NoGeneration: when it is gone.
        """
        row = self._serving.execute(
            "select wiki, month from generations where generation = ? and state <> 'building'", (generation,)
        ).fetchone()
        if row is None:
            raise generation_gone(generation)
        return folder(self._root, str(row[0]), str(row[1]), generation)

    def _folder(self, generation: Generation) -> Path:
        return folder(self._root, generation.wiki, generation.month, generation.id)

    def _lease(self, generation: str) -> Path:
        return self._root.parent / "leases" / f"generation-{generation}.lock"

    def _release(self, generation: str) -> None:
        if held := self._leases.pop(generation, None):
            held.close()
            self._lease(generation).unlink(missing_ok=True)


def _make_durable(path: Path, top: Path) -> None:
    """Bring files and folder entries to disk before a pointer names them."""
    parents = [parent for parent in path.parents if parent.is_relative_to(top)]
    for entry in (*path.rglob("*"), path, *parents):
        handle = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _first_rows(batches: Iterable[pa.RecordBatch], rows: int) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch]]:
    """Take batches until they hold a number of rows; the second is what is left of them."""
    rest = iter(batches)
    first: list[pa.RecordBatch] = []
    while rows > 0 and (batch := next(rest, None)) is not None:
        first.append(batch)
        rows -= batch.num_rows
    return first, rest


def _open_for_writing(path: Path, row_group: int) -> duckdb.DuckDBPyConnection:
    """Open a generation's file in an instance of its own, whose memory counts beside the batch engine's."""
    connection = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(path.with_name("spill"))})
    connection.execute(f"attach {_quoted(path)} as generation (row_group_size {row_group})")
    connection.execute("use generation")
    return connection


def _open_for_reading(path: Path, generation: str) -> duckdb.DuckDBPyConnection:
    """Open a generation's file apart from other connections of the process, with little memory."""
    connection = duckdb.connect(config={"threads": 1, "memory_limit": "512MB"})
    try:
        connection.execute(f"attach {_quoted(path)} as generation (read_only)")
    except duckdb.IOException:
        connection.close()
        raise generation_gone(generation) from None
    return connection


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _titles(files: Path, view: View, generation: str) -> Titles:
    try:
        return Titles(titles_folder(files, view))
    except FileNotFoundError:
        raise generation_gone(generation) from None


def _closing(connection: duckdb.DuckDBPyConnection, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with connection:
        yield from batches


def _export_table(connection: duckdb.DuckDBPyConnection, view: View, rows: int) -> Iterator[pa.RecordBatch]:
    # The table lies in key order.
    query = f"select * from generation.{view.value}"  # noqa: S608, our own name
    for batch in connection.sql(query).to_arrow_reader(rows):
        yield batch.cast(BATCH_SCHEMAS[view])
