"""The batch engine port: runs the SQL of ``views/*.sql`` over tables by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa

from readerflow.storage.batch_views import View, ViewWriter

if TYPE_CHECKING:
    from .distributed_ranks import DistributedLinks


@dataclass(frozen=True)
class StoredView:
    """How a view is made from the tables of a run.

    Sorting numbers is much cheaper than sorting text, so the query gives ids of the table ``titles`` in the columns
    ``titled``; they are stored as titles. ``numbered`` names the column by whose values its rows are numbered: it adds
    ``position``, in the query's order. A window function would sort the rows a second time.
    """

    view: View
    sql: str
    titled: tuple[str, ...] = ()
    numbered: str | None = None


class BatchEngine(Protocol):
    """Holds named tables for the length of one batch run.

    SQL is written in what DuckDB and Spark share; a parameter is ``:name`` and the engine spells it its way.
    """

    name: str

    def open(self, name: str, uris: Sequence[str]) -> None:
        """Make Parquet files readable as one table."""

    def put(self, name: str, rows: pa.Table) -> None:
        """Add a small table, or one that fits one machine."""

    def define(self, name: str, sql: str, values: Mapping[str, Any]) -> None:
        """Run a query once and keep its result as a table."""

    def number(self, name: str, sql: str, values: Mapping[str, Any]) -> None:
        """Run a query once that gives distinct text as ``title``, kept with ``id`` (int32) 0, 1, ... by bytes."""

    def batches(self, sql: str, values: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        """Run a query whose result fits one machine; yields at least one batch, in the query's order."""

    def titles(self) -> pa.Array:
        """The titles of the table ``titles`` (id, title) in the order of their ids 0, 1, 2, ...; for one machine."""

    def store(self, view: StoredView, values: Mapping[str, Any], writer: ViewWriter) -> int:
        """Run a view's query and hand its rows, in the query's order, to the writer, where the rows are.

        A distributed engine calls copies of the writer, one for each range of the view's first column: all rows of a
        key go to one copy, in order. A copy whose machine dies is called again: what it writes must replace, not add.

        :returns: rows written.
        """


@runtime_checkable
class DistributedEngine(Protocol):
    """What an engine can do beside whose edges don't fit one machine."""

    def links(self, sql: str) -> AbstractContextManager[DistributedLinks]:
        """Make the link graph of a query's edges (referrer, article: title ids; clicks) ready to be ranked."""
