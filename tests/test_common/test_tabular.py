"""Views as CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from readerflow.common.tabular import encode_rows

TITLES = ['"A"', "=1+1", "a,b", "", "Čvor", "-", "+x", "@x"]
BATCH = pa.record_batch(
    {"article": TITLES, "clicks": [1, None, 3, 4, 5, 6, 7, 8], "rank": [0.5, None, 1e-9, 0.1, 0.0, 1.0, 2.0, 3.0]}
)


def encoded(form: str, **options: bool) -> bytes:
    return b"".join(encode_rows([BATCH, BATCH], BATCH.schema, form, **options))  # type: ignore[arg-type]


def test_csv_has_one_header_and_raw_cells_that_read_back() -> None:
    rows = list(csv.reader(io.StringIO(encoded("csv").decode())))
    assert rows[0] == ["article", "clicks", "rank"]
    assert [row[0] for row in rows[1:]] == TITLES * 2
    assert rows[2][1:] == ["", ""]


def test_spreadsheet_csv_runs_no_cell() -> None:
    cells = [row[0] for row in csv.reader(io.StringIO(encoded("csv", spreadsheet=True).decode()))][1:]
    assert cells == ['"A"', "'=1+1", "a,b", "", "Čvor", "'-", "'+x", "'@x"] * 2


def test_json_lines_hold_one_object_a_row() -> None:
    lines = [json.loads(line) for line in encoded("jsonl").decode().splitlines()]
    assert [line["article"] for line in lines] == TITLES * 2
    assert lines[1] == {"article": "=1+1", "clicks": None, "rank": None}


def test_parquet_reads_back() -> None:
    assert pq.read_table(pa.BufferReader(encoded("parquet"))).to_pylist() == BATCH.to_pylist() * 2


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_no_rows_are_a_valid_file(form: str) -> None:
    content = b"".join(encode_rows([], BATCH.schema, form))  # type: ignore[arg-type]
    assert content == {"csv": b"article,clicks,rank\n", "jsonl": b""}.get(form, content)
