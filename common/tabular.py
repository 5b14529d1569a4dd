"""Record batches as bytes for a person's tools: CSV, JSON lines, Parquet. Memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}


def encode_rows(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, form: Format, *, spreadsheet: bool = False
) -> Iterator[bytes]:
    """Yield batches of one schema as a file of the given form, piece by piece.

    CSV has a header line, quotes where they are needed and empty cells for nulls. ``spreadsheet`` puts an apostrophe
    before text cells that a spreadsheet would run as a formula.
    """
    if spreadsheet:
        batches = map(_neutralise, batches)
    if form == "jsonl":
        yield from _json_lines(batches)
        return
    pieces = _Pieces()
    out = pa.PythonFile(pieces, mode="w")
    options = pacsv.WriteOptions(quoting_style="needed", quoting_header="none")
    with (
        pacsv.CSVWriter(out, schema, write_options=options)
        if form == "csv"
        else pq.ParquetWriter(out, schema) as writer
    ):
        for batch in batches:
            writer.write_batch(batch)
            yield pieces.take()
    yield pieces.take()


def _json_lines(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    with duckdb.connect() as connection:
        for batch in batches:
            connection.register("batch", batch)
            lines = connection.sql("select string_agg(to_json(batch), chr(10)) || chr(10) from batch").fetchall()
            yield (lines[0][0] or "").encode()


def _neutralise(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        pc.replace_substring_regex(column, r"\A([=+\-@\t\r])", r"'\1") if pa.types.is_string(column.type) else column
        for column in batch.columns
    ]
    return pa.record_batch(columns, names=batch.schema.names)


class _Pieces:
    """A file that hands out what was written since the last look."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
