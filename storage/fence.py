"""The fence: a record whose seq is not above the last one of its source and partition is a duplicate.

Replays append at least once, and a paused producer may wake up and append what its successor has appended already.
Archiver and stream judge entries in offset order, so they drop the same ones; the last seqs are part of the state that
each of them commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.records import Kind

from .log import LogSlice


@dataclass(frozen=True)
class Fenced:
    """What the fence lets through of a slice, and where each source stands after it."""

    records: pa.Table  # records.RECORDS
    controls: pa.Table  # records.CONTROLS
    duplicates: int
    last_seqs: dict[str, int]  # of the sources in the slice


def sources_of(piece: LogSlice) -> list[str]:
    """The sources that have entries in a slice."""
    both = pa.chunked_array([*piece.records["source"].chunks, *piece.controls["source"].chunks], pa.string())
    return [str(source) for source in both.unique().to_pylist()]


def fence(piece: LogSlice, last_seqs: Mapping[str, int]) -> Fenced:
    """Drop the duplicates of a slice of one partition.

    :param last_seqs: the highest seq by source before the slice, in this partition; absent means none.
        Replacements have no seq and always pass.
    """
    records, controls = piece.records, piece.controls
    beats = controls.filter(pc.equal(controls["kind"], int(Kind.HEARTBEAT))) if controls.num_rows else controls
    seqs = np.concatenate([_numbers(records, "seq"), _numbers(beats, "seq")])
    offsets = np.concatenate([_numbers(records, "offset"), _numbers(beats, "offset")])
    both = pa.chunked_array([*records["source"].chunks, *beats["source"].chunks], pa.string())
    codes = both.combine_chunks().dictionary_encode()
    order = np.argsort(offsets, kind="stable")
    passes = np.ones(len(seqs), dtype=np.bool_)
    reached: dict[str, int] = {}
    indices = codes.indices.to_numpy()
    for code, source in enumerate(codes.dictionary.to_pylist()):
        mine = order if len(codes.dictionary) == 1 else order[indices[order] == code]
        last = last_seqs.get(source, -1)
        highest = np.maximum.accumulate(np.concatenate([[last], seqs[mine]]))
        passes[mine] = seqs[mine] > highest[:-1]
        reached[source] = int(highest[-1])
    duplicates = int(len(passes) - passes.sum())
    if duplicates:
        doubled = pa.array(np.sort(offsets[~passes]))
        records = records.filter(pa.array(passes[: records.num_rows]))
        controls = controls.filter(pc.invert(pc.is_in(controls["offset"], doubled)))
    return Fenced(records, controls, duplicates, reached)


def _numbers(rows: pa.Table, column: str) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = rows[column].to_numpy()
    return values
