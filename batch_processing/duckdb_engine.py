"""The batch engine of the ``embedded`` profile: DuckDB over a scratch file that goes with the run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from readerflow.storage.batch_views import ViewWriter
from readerflow.storage.lease import is_leased, lease

from .engine import StoredView
from .positions import number_rows

#: Rows that a query hands over at a time: DuckDB's row group, so that a writer fills one a batch.
BATCH_ROWS = 122_880
LOCK = ".lock"
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


class DuckDBEngine:
    """Tables live in a scratch database beside the views: larger than memory, compressed, gone afterwards."""

    name = f"duckdb {duckdb.__version__}"

    def __init__(self, scratch: Path, *, memory_limit: str = "6GB", threads: int = 0) -> None:
        self._scratch = scratch
        self._config: dict[str, Any] = {"memory_limit": memory_limit} | ({"threads": threads} if threads else {})
        self._titles: pa.Array | None = None

    def __enter__(self) -> DuckDBEngine:
        self._sweep()
        with ExitStack() as stack:
            folder = self._scratch / f"batch-{os.urandom(4).hex()}"
            lock = folder.with_suffix(LOCK)
            stack.callback(lock.unlink, missing_ok=True)
            stack.enter_context(lease(lock, "a batch run"))
            folder.mkdir(parents=True)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            config = self._config | {"temp_directory": str(folder / "spill")}
            self._connection = stack.enter_context(duckdb.connect(folder / "scratch.duckdb", config=config))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _sweep(self) -> None:
        """Remove what runs left that were killed."""
        for folder in self._scratch.glob("batch-*"):
            if not is_leased(folder.with_suffix(LOCK)):
                shutil.rmtree(folder, ignore_errors=True) if folder.is_dir() else folder.unlink(missing_ok=True)

    def open(self, name: str, uris: Sequence[str]) -> None:
        self._connection.read_parquet(list(uris), hive_partitioning=False).create_view(name)

    def put(self, name: str, rows: pa.Table) -> None:
        # A registered table is known to one connection only, and each query has its own.
        self._connection.register("rows_to_put", rows)
        self._connection.execute(f'create or replace table "{name}" as select * from rows_to_put')  # noqa: S608
        self._connection.unregister("rows_to_put")

    def define(self, name: str, sql: str, values: Mapping[str, Any]) -> None:
        self._connection.execute(f'create or replace table "{name}" as {_spell(sql)}', _used(sql, values))

    def number(self, name: str, sql: str, values: Mapping[str, Any]) -> None:
        numbered = f"select cast(row_number() over (order by title) - 1 as integer) as id, title from ({sql})"  # noqa: S608
        self.define(name, numbered, values)

    def batches(self, sql: str, values: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        with self._connection.cursor() as cursor:
            reader = cursor.sql(_spell(sql), params=_used(sql, values)).to_arrow_reader(BATCH_ROWS)
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)
            yield from reader

    def store(self, view: StoredView, values: Mapping[str, Any], writer: ViewWriter) -> int:
        batches = self.batches(view.sql, values)
        if view.numbered is not None:
            batches = number_rows(batches, view.numbered)
        return writer(self._titled(batch, view.titled) for batch in batches)

    def titles(self) -> pa.Array:
        """The titles in the order of their ids."""
        if self._titles is None:
            table = pa.Table.from_batches(self.batches("select id, title from titles order by id", {}))
            if not np.array_equal(table["id"].to_numpy(), np.arange(len(table))):
                raise AssertionError("title ids are not 0, 1, 2, ...")
            self._titles = pa.concat_arrays(table["title"].chunks)
        return self._titles

    def _titled(self, batch: pa.RecordBatch, titled: Sequence[str]) -> pa.RecordBatch:
        for name in titled:
            index = batch.schema.get_field_index(name)
            # A dictionary costs nothing; who needs text makes it where it is needed.
            text = pa.DictionaryArray.from_arrays(batch.column(index), self.titles(), safe=False)
            batch = batch.set_column(index, name, text)
        return batch


def _spell(sql: str) -> str:
    return _PARAMETER.sub(r"$\1", sql)


def _used(sql: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in set(_PARAMETER.findall(sql))}
