"""What a Spark task does with its partition, without Spark: where it begins, what it refuses, what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pytest

from readerflow.common.decode import encode
from readerflow.common.errors import ReaderFlowError, Unavailable
from readerflow.common.spark_errors import SparkFailed, SparkUnavailable
from readerflow.storage.batch_views import Superseded
from readerflow.storage.log import LogUnavailable, OffsetGone
from readerflow.storage.packing import split
from readerflow.storage.realtime_views import MicroBatch, StreamProgress
from readerflow.streaming.microbatch import merged, micro_batch
from readerflow.streaming.spark_parts import COLUMNS, outcomes, part_task, take
from readerflow.streaming.spark_stream import query_error
from tests.log_entries import entries, heartbeat, record, replacement

EMPTY = StreamProgress(offsets={0: 0, 1: 0})
ROWS = [record(1), record(2, hour=1), heartbeat(3), record(4, hour=2), record(4, hour=2), replacement("s2")]


@dataclass
class Written:
    """A part writer that keeps what it gets."""

    parts: dict[int, MicroBatch] = field(default_factory=dict)

    def __call__(self, part: int, batch: MicroBatch) -> None:
        self.parts[part] = batch


def batches(values: pa.Array, first: int = 0, partition: int = 0, size: int = 2) -> list[pa.RecordBatch]:
    """What Spark gives a task."""
    count = len(values)
    columns = [pa.array([partition] * count, pa.int32()), pa.array(range(first, first + count), pa.int64()), values]
    return pa.table(columns, names=list(COLUMNS)).to_batches(max_chunksize=size)


def log_of(*rows: dict[str, object], **options: int) -> list[pa.RecordBatch]:
    return batches(encode(entries(*rows)), **options)


def test_partitions_taken_by_themselves_add_up_to_the_micro_batch_of_all() -> None:
    other = [record(7, hour=3), heartbeat(9, hour=3), record(10, hour=1, source="s3", month="2025-02")]
    expected = micro_batch({0: split(entries(*ROWS), 0), 1: split(entries(*other), 0)}, EMPTY)
    written = Written()
    found = [take(log_of(*ROWS), EMPTY, written), take(log_of(*other, partition=1), EMPTY, written)]
    parts = {one.partition: one.part for one in found if one is not None}
    assert merged(parts, EMPTY) == expected.progress
    for name in ("pairs", "articles", "classes", "totals"):
        rows = pa.concat_tables([getattr(batch, name) for batch in written.parts.values()])
        wanted = getattr(expected, name)
        keys = [(column, "ascending") for column in wanted.column_names]
        assert rows.sort_by(keys) == wanted.sort_by(keys), name


def test_entries_before_the_progress_are_passed_over() -> None:
    written = Written()
    first = take(log_of(*ROWS[:3]), EMPTY, written)
    assert first is not None
    before = merged({0: first.part}, EMPTY)
    again = take(log_of(*ROWS), before, written)
    assert again is not None
    assert (again.part.records, again.part.duplicates, again.part.next_offset) == (1, 1, 6)
    assert again.totals["clicks"].to_pylist() == [14]


def test_a_micro_batch_that_is_committed_already_gives_nothing() -> None:
    written = Written()
    assert take(log_of(*ROWS), replace(EMPTY, offsets={0: 6}), written) is None
    assert take([], EMPTY, written) is None
    assert written.parts == {}


@pytest.mark.parametrize("given", [log_of(*ROWS, first=1), [*log_of(*ROWS[:2]), *log_of(*ROWS[2:], first=3)]])
def test_missing_offsets_are_an_error(given: list[pa.RecordBatch]) -> None:
    written = Written()
    with pytest.raises(OffsetGone, match="partition 0"):
        take(given, EMPTY, written)
    assert written.parts == {}


def test_a_task_with_two_partitions_is_an_error() -> None:
    with pytest.raises(ReaderFlowError, match="minPartitions"):
        take([*log_of(*ROWS), *log_of(*ROWS, partition=1)], EMPTY, Written())


def test_bad_values_are_counted() -> None:
    values = pa.array([b"{", None, b"\xff", encode(entries(record(1)))[0].as_py()], pa.binary())
    found = take(batches(values), EMPTY, Written())
    assert found is not None
    assert (found.part.records, found.part.rejects, found.part.next_offset) == (1, 3, 4)


def test_records_after_the_heartbeat_of_their_slot_are_late() -> None:
    first = take(log_of(record(1), heartbeat(2), record(3), record(4, hour=1), heartbeat(5, hour=1)), EMPTY, Written())
    assert first is not None
    before = merged({0: first.part}, EMPTY)
    second = take(log_of(record(6, hour=1), record(7, hour=2), record(8, source="s2"), first=5), before, Written())
    assert second is not None
    assert (first.part.late, second.part.late) == (1, 1)
    assert merged({0: second.part}, before).late == 2


def rows_of(task: Callable[..., object], given: list[pa.RecordBatch]) -> list[tuple[object, ...]]:
    found: object = task(iter(given))
    return [tuple(row.values()) for batch in found for row in batch.to_pylist()]  # type: ignore[attr-defined]


def test_facts_travel_as_rows() -> None:
    written = Written()
    rows = rows_of(part_task(EMPTY, written), log_of(*ROWS, partition=1))
    assert outcomes(rows) == {1: take(log_of(*ROWS, partition=1), EMPTY, Written())}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OffsetGone, OffsetGone),
        (Superseded, Superseded),
        (LogUnavailable, Unavailable),
        (ReaderFlowError, ReaderFlowError),
    ],
)
def test_errors_of_tasks_arrive_as_what_they_are(raised: type[ReaderFlowError], kind: type[ReaderFlowError]) -> None:
    def fail(part: int, batch: MicroBatch) -> None:
        raise raised("mend it")

    rows = rows_of(part_task(EMPTY, fail), log_of(*ROWS))
    with pytest.raises(kind, match="mend it") as found:
        outcomes(rows)  # type: ignore[arg-type]
    assert type(found.value) is kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x\nCaused by: java.net.ConnectException: Connection refused", SparkUnavailable),
        ("org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment", SparkUnavailable),
        ("org.apache.hadoop.hdfs.server.namenode.SafeModeException: Cannot create file", SparkUnavailable),
        ("[KAFKA_DATA_LOSS.START_OFFSET_RESET] Some data may have been lost", OffsetGone),
        ("\njava.lang.NullPointerException", SparkFailed),
        ("Python worker exited unexpectedly (crashed)\nCaused by: java.io.EOFException", SparkFailed),
    ],
)
def test_sparks_failures_are_told_apart(text: str, kind: type[ReaderFlowError]) -> None:
    found = query_error(RuntimeError(text))
    assert type(found) is kind
    assert "\n" not in str(found)


def test_a_java_process_that_has_gone_is_no_server_that_comes_back() -> None:
    assert type(query_error(ConnectionRefusedError("Connection refused"))) is SparkFailed


def test_a_query_error_stays_what_it_is() -> None:
    error = Superseded("start it again")
    assert query_error(error) is error
