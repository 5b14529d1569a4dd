"""The pairs of a month in memory, as a replay goes through them: by partition, in the dump's order within one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.errors import BadInput
from readerflow.common.records import LINK_TYPES, PARTITION_SQL
from readerflow.storage.pairs import PairStore

from .plan import REMAINDER_SQL, USUAL_PROFILE_SQL, Profiles, ReplayPlan
from .replay import Numbers, check_clicks

#: Pairs of a chunk: larger months are gone through chunk by chunk.
CHUNK_PAIRS = 1_000_000
_TEXTS = ("referrer", "article", "link_type")
_LINK_TYPES = pa.array(LINK_TYPES)
_EMPTY = pa.schema(
    [
        ("referrer", pa.string()),
        ("article", pa.string()),
        ("link_type", pa.dictionary(pa.int8(), pa.string())),
        ("clicks", pa.int64()),
        ("remainder", pa.uint32()),
        ("profile", pa.int16()),
    ]
).empty_table()


@dataclass(frozen=True)
class Chunk:
    """Some pairs of one partition."""

    first: int  # place of the first pair among all pairs, ordered by (partition, dump order)
    clicks: Numbers
    remainders: npt.NDArray[np.uint32]
    profiles: npt.NDArray[np.int16]  # which profile each pair follows
    texts: dict[str, pa.Array]  # referrer, article, link_type (a dictionary of LINK_TYPES)

    @property
    def pairs(self) -> int:
        return len(self.clicks)


@dataclass(frozen=True)
class Pairs:
    """All pairs of a month: ``partitions[p]`` are the chunks of partition p, at least one."""

    partitions: list[list[Chunk]]
    count: int

    def chunks(self) -> Iterator[tuple[int, Chunk]]:
        """(partition, chunk) in the order of pairs."""
        for partition, chunks in enumerate(self.partitions):
            for chunk in chunks:
                yield partition, chunk


def load(plan: ReplayPlan, pairs: PairStore, partitions: int, profiles: Profiles) -> Pairs:
    """Read a month's pairs and give each its partition, remainder and profile.

    :raises NoPairs: when the month has not been preprocessed.
    :raises BadInput: when the article of a burst has no pairs, or a count is too large.
    """
    pairs.facts(plan.wiki, str(plan.month))
    path = pairs.path(plan.wiki, str(plan.month))
    pieces: list[list[pa.Table]] = [[] for _ in range(partitions)]
    for table in _with_law(path, plan, partitions, profiles):
        numbers = table["partition"].to_numpy()
        table = table.drop_columns("partition")
        for partition in range(partitions):
            mine = np.flatnonzero(numbers == partition)
            if len(mine):
                pieces[partition].append(table.take(pa.array(mine)))
    _check_titles(pieces, profiles)
    loaded, first = [], 0
    for partition in range(partitions):
        chunks = _chunks(pieces[partition], first)
        first += sum(chunk.pairs for chunk in chunks)
        loaded.append(chunks)
    return Pairs(loaded, first)


def _with_law(path: Path, plan: ReplayPlan, partitions: int, profiles: Profiles) -> Iterator[pa.Table]:
    """Yield the pairs of a file in its order, with the columns partition, remainder and profile."""
    profile = USUAL_PROFILE_SQL if plan.noise else "0"
    own = "".join(f" when article = $title{number} then {number}" for number in profiles.own.values())
    if own:
        profile = f"case{own} else {profile} end"
    values = {"path": str(path), "seed": str(plan.seed), "partitions": partitions}
    values |= {f"title{number}": title for title, number in profiles.own.items()}
    query = (
        f"select {', '.join(_TEXTS)}, clicks, {PARTITION_SQL} as partition,"  # noqa: S608 - constants and numbers
        f" cast({REMAINDER_SQL} as uinteger) as remainder, cast({profile} as smallint) as profile"
        " from read_parquet($path)"
    )
    with duckdb.connect(config={"memory_limit": "2GB", "preserve_insertion_order": True}) as connection:
        for batch in connection.sql(query, params=values).to_arrow_reader(CHUNK_PAIRS):
            table = pa.table(batch)
            codes = pc.index_in(table["link_type"].combine_chunks(), value_set=_LINK_TYPES).cast(pa.int8())
            check_clicks(pc.max(table["clicks"]).as_py() or 0)
            yield table.set_column(2, "link_type", pa.DictionaryArray.from_arrays(codes, _LINK_TYPES))


def _chunks(pieces: list[pa.Table], first: int) -> list[Chunk]:
    """Join the pieces of a partition into chunks of about CHUNK_PAIRS; without pieces one chunk without pairs."""
    if not pieces:
        pieces = [_EMPTY]
    chunks: list[Chunk] = []
    waiting: list[pa.Table] = []
    pieces.reverse()
    while pieces:
        waiting.append(pieces.pop())
        if pieces and sum(piece.num_rows for piece in waiting) + pieces[-1].num_rows <= CHUNK_PAIRS:
            continue
        table = pa.concat_tables(waiting).combine_chunks()
        waiting = []
        chunks.append(
            Chunk(
                first,
                clicks=table["clicks"].to_numpy(),
                remainders=table["remainder"].to_numpy(),
                profiles=table["profile"].to_numpy(),
                texts={name: table[name].combine_chunks() for name in _TEXTS},
            )
        )
        first += table.num_rows
    return chunks


def _check_titles(pieces: list[list[pa.Table]], profiles: Profiles) -> None:
    for title, number in profiles.own.items():
        if not any(pc.any(pc.equal(table["profile"], number)).as_py() for part in pieces for table in part):
            raise BadInput(f"the burst's article '{title}' has no clicks in this month; check its spelling")
