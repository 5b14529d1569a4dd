"""Positions within a sorted stream: 1, 2, 3, ... for the rows of each key.

A window function would sort once more for what is a matter of counting when the rows come sorted anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa


def number_rows(batches: Iterable[pa.RecordBatch], key: str) -> Iterator[pa.RecordBatch]:
    """Add the column ``position`` (int64) to batches whose rows come key by key; ``key`` is an integer column."""
    last_key, seen = None, 0
    for batch in batches:
        keys = batch.column(key).to_numpy()
        rows = np.arange(len(keys), dtype=np.int64)
        begins = np.ones(len(keys), dtype=bool)
        begins[1:] = keys[1:] != keys[:-1]
        positions = rows - np.maximum.accumulate(np.where(begins, rows, 0)) + 1
        if len(keys) and keys[0] == last_key:
            first = int(np.argmax(begins[1:])) + 1 if begins[1:].any() else len(keys)
            positions[:first] += seen
        if len(keys):
            last_key, seen = keys[-1], int(positions[-1])
        yield batch.append_column("position", pa.array(positions))
