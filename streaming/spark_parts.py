"""What a Spark task does with one Kafka partition of a micro-batch: decode, fence, aggregate, write its rows.

A task gives its rows to the view store itself and returns facts only, so that no row passes through the driver. It
works on ``before``, the progress that is committed, whatever Spark's checkpoint says: what lies before its offsets has
been counted, so a micro-batch that Spark does again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from readerflow.common.arrow_streams import read_streams, write_stream
from readerflow.common.decode import decode
from readerflow.common.errors import ReaderFlowError, Unavailable
from readerflow.common.facts import from_json, to_json
from readerflow.common.records import CONTROLS, RECORDS, REJECTS
from readerflow.storage.batch_views import Superseded
from readerflow.storage.log import LogSlice, OffsetGone
from readerflow.storage.realtime_views import LIVE_TOTALS, PartWriter, StreamProgress

from .microbatch import Part, live_rows, merged, tagged, take_part

#: Columns of the Kafka source that a task reads, in this order. Keys matter to dead letters only, which the archiver
#: writes.
COLUMNS = ("partition", "offset", "value")
#: What a task returns, in Spark's words: facts or an error.
OUTCOME = "partition int, part string, totals binary, error string, message string"
_OUTCOME = pa.schema(
    [
        ("partition", pa.int32()),
        ("part", pa.string()),
        ("totals", pa.binary()),
        ("error", pa.string()),
        ("message", pa.string()),
    ]
)
_ERRORS: dict[str, type[ReaderFlowError]] = {
    error.__name__: error for error in (OffsetGone, Superseded, Unavailable, ReaderFlowError)
}

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Outcome:
    """What a task has taken from its partition; ``totals`` in LIVE_TOTALS."""

    partition: int
    part: Part
    totals: pa.Table


def part_task(before: StreamProgress, write: PartWriter) -> Callable[[Batches], Batches]:
    """A function for ``mapInArrow`` over COLUMNS: one row (OUTCOME), none when the partition holds nothing new."""

    def task(batches: Batches) -> Batches:
        try:
            found = take(batches, before, write)
        except ReaderFlowError as error:
            # As a value: Spark would turn an exception into pages of text.
            yield _row(error=_kind(error), message=str(error))
            return
        if found is not None:
            yield _row(partition=found.partition, part=to_json(found.part), totals=write_stream(found.totals))

    return task


def outcomes(rows: Iterable[tuple[int, str, bytes, str | None, str]]) -> dict[int, Outcome]:
    """Read what the tasks returned, by partition.

    :raises ReaderFlowError: the error that a task met.
    """
    found = {}
    for partition, part, totals, error, message in rows:
        if error is not None:
            raise _ERRORS[error](message)
        found[partition] = Outcome(partition, from_json(Part, part), read_streams([totals], LIVE_TOTALS))
    return found


def take(batches: Iterable[pa.RecordBatch], before: StreamProgress, write: PartWriter) -> Outcome | None:
    """Take a partition's share of a micro-batch; None when there is nothing beyond the progress.

    :raises OffsetGone: when entries between the progress and the first one are missing, or some in between.
    """
    read = _read(batches, before)
    if read is None:
        return None
    partition, piece = read
    part, records = take_part(partition, piece, before)
    rows = live_rows(tagged(records, partition), merged({partition: part}, before))
    write(partition, rows)
    return Outcome(partition, part, rows.totals)


def _read(batches: Iterable[pa.RecordBatch], before: StreamProgress) -> tuple[int, LogSlice] | None:
    """Decode what lies beyond the progress: (partition, slice)."""
    partition, at = -1, 0
    decoded = []
    for batch in batches:
        if not batch.num_rows:
            continue
        numbers = batch.column("partition").to_numpy()
        if partition < 0:
            partition = int(numbers[0])
            at = before.offsets.get(partition, 0)
        if (numbers != partition).any():
            raise ReaderFlowError("Spark gave several Kafka partitions to one task; leave minPartitions unset")
        offsets = batch.column("offset").to_numpy()
        batch = batch.slice(int(np.searchsorted(offsets, at)))
        offsets = batch.column("offset")
        if not batch.num_rows:
            continue
        if offsets[0].as_py() != at or (np.diff(offsets.to_numpy()) != 1).any():
            raise OffsetGone(
                f"partition {partition} of the log lacks entries from offset {at} on; if they have expired, start the "
                "stream with --fresh, so that it begins where the archive lets it"
            )
        values = batch.column("value").cast(pa.binary())
        decoded.append(decode(offsets, pa.nulls(len(values), pa.binary()), values, raw_bytes=0))
        at += batch.num_rows
    if not decoded:
        return None
    return partition, LogSlice(
        records=pa.concat_tables([RECORDS.empty_table(), *(part.records for part in decoded)]),
        controls=pa.concat_tables([CONTROLS.empty_table(), *(part.controls for part in decoded)]),
        rejects=pa.concat_tables([REJECTS.empty_table(), *(part.rejects for part in decoded)]),
        next_offset=at,
    )


def _kind(error: ReaderFlowError) -> str:
    return next(name for name, kind in _ERRORS.items() if isinstance(error, kind))


def _row(**values: object) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([values], schema=_OUTCOME)
