"""The views ``sources`` and ``destinations`` in a generation's file: numbers instead of titles.

Text that is sorted by other text hardly compresses, and a month holds each title many times over. So a table has the
ids of its titles, which lie beside it in :mod:`.title_files`; ids compare as titles do. A table is in the order of its
key, so that zone maps find an article's rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.records import LINK_TYPES

from .batch_views import BATCH_SCHEMAS, View
from .title_files import Titles, link_titles, write_titles

VIEWS = (View.SOURCES, View.DESTINATIONS)
TITLED = ("article", "referrer")
#: Enums compare by the order of their values.
LINK_TYPE = "enum(" + ", ".join(f"'{name}'" for name in sorted(LINK_TYPES)) + ")"


def titles_folder(generation: Path, view: View) -> Path:
    """Where the titles of a view lie."""
    return generation / "titles" / view.value


def write_neighbours(
    connection: duckdb.DuckDBPyConnection, folder: Path, view: View, batches: Iterable[pa.RecordBatch]
) -> None:
    """Write a view as a table of the connected file and its titles into the generation's folder."""
    titles, numbered = _as_ids(batches)
    connection.register("batches", numbered)
    first, second = (name for name in BATCH_SCHEMAS[view].names if name in TITLED)
    # The table's and the columns' names are our own.
    connection.execute(
        f"create or replace table {view.value} as select {first}, position::integer as position, {second}, "  # noqa: S608
        f"link_type::{LINK_TYPE} as link_type, clicks from batches"
    )
    connection.unregister("batches")
    _write_titles(folder, view, titles)


def export_neighbours(
    connection: duckdb.DuckDBPyConnection, titles: Titles, view: View, rows: int
) -> Iterator[pa.RecordBatch]:
    """Stream the table of a view with its titles, in key order."""
    schema = BATCH_SCHEMAS[view]
    query = f"select * replace (link_type::varchar as link_type) from generation.{view.value}"  # noqa: S608, our own name
    for batch in connection.sql(query).to_arrow_reader(rows):
        for name in TITLED:
            index = batch.schema.get_field_index(name)
            batch = batch.set_column(index, name, titles.of(batch.column(index)))
        yield batch.cast(schema)


def _as_ids(batches: Iterable[pa.RecordBatch]) -> tuple[pa.Array, pa.RecordBatchReader]:
    """The titles of a view, and its batches with ids in their place."""
    rest = iter(batches)
    first = next(rest, None)
    if first is None or not pa.types.is_dictionary(first.column("article").type):
        return _numbered(pa.Table.from_batches(chain([first] if first else [], rest), None if first else _EMPTY))
    titles = first.column("article").dictionary
    ids = (_indices(batch, titles) for batch in chain([first], rest))
    return titles, pa.RecordBatchReader.from_batches(_indices(first, titles).schema, ids)


_EMPTY = BATCH_SCHEMAS[View.SOURCES]


def _numbered(rows: pa.Table) -> tuple[pa.Array, pa.RecordBatchReader]:
    """Number the titles of a table of plain text."""
    text = pa.chunked_array([chunk for name in TITLED for chunk in rows[name].chunks], pa.string())
    titles = pa.array(sorted(text.unique().to_pylist(), key=str.encode), pa.string())
    for name in TITLED:
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, name, pc.index_in(rows[name], value_set=titles))
    return titles, rows.to_reader()


def _indices(batch: pa.RecordBatch, titles: pa.Array) -> pa.RecordBatch:
    for name in TITLED:
        index = batch.schema.get_field_index(name)
        column = batch.column(index)
        if column.dictionary.buffers()[-1].address != titles.buffers()[-1].address:
            raise ValueError(f"the batches of a view must share one dictionary; {name} has another")
        batch = batch.set_column(index, name, column.indices)
    return batch


def _write_titles(folder: Path, view: View, titles: pa.Array) -> None:
    mine = titles_folder(folder, view)
    for other in (titles_folder(folder, one) for one in VIEWS if one is not view):
        if other.exists() and Titles(other).array.equals(titles.cast(pa.large_string())):
            link_titles(mine, other)
            return
    write_titles(mine, titles)
