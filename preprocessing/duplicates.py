"""Repeated pairs: the first row of a (referrer, article, link type) is kept, later ones are found here, exactly.

Equal keys have equal hashes, so rows whose hash occurs once are settled by sorting numbers; only the others are
compared by their text, on disk if they are many.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

_SQL = """
    with candidates as (
        select file_row_number as place, referrer, article, link_type
        from read_parquet($path, file_row_number = true)
        where hash(referrer, article, link_type) in (select key from repeated)
    ), ranked as (
        select place, min(place) over (partition by referrer, article, link_type) as first_place from candidates
    )
    select place, first_place from ranked where place <> first_place order by place
"""


class Duplicates(NamedTuple):
    """Places (from 0, ascending) of rows to drop, and for each the place of the row that it repeats."""

    places: npt.NDArray[np.int64]
    first_places: npt.NDArray[np.int64]


def repeated_keys(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The hashes that occur more than once; sorts ``keys`` in place."""
    keys.sort()
    return np.unique(keys[1:][keys[1:] == keys[:-1]])


def find_duplicates(connection: duckdb.DuckDBPyConnection, pairs: Path, repeated: npt.NDArray[np.uint64]) -> Duplicates:
    """Find the rows of a Parquet file of pairs that repeat an earlier one, among those with the given hashes."""
    connection.register("repeated", pa.table({"key": repeated}))
    found = connection.sql(_SQL, params={"path": str(pairs)}).to_arrow_table()
    connection.unregister("repeated")
    return Duplicates(found["place"].to_numpy(), found["first_place"].to_numpy())


def line_numbers(
    places: npt.NDArray[np.int64], rejected: npt.NDArray[np.int64], first_line: int
) -> npt.NDArray[np.int64]:
    """The lines of the accepted rows at ``places``, given the ascending numbers of all rejected lines."""
    accepted_before = rejected - first_line - np.arange(len(rejected))
    return places + first_line + np.searchsorted(accepted_before, places, side="right")
