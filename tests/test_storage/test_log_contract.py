"""The contract of the event log, which every adapter passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from readerflow.common.decode import ERROR_CLASSES, encode
from readerflow.common.records import CONTROLS, MAX_RAW_BYTES, RECORDS, REJECTS, Kind
from readerflow.common.settings import Settings
from readerflow.storage.log import ActiveSource, EventLog, LogUnavailable, OffsetGone
from readerflow.storage.sqlite_log import SQLiteLog
from tests.log_entries import MONTH, SOURCE, WIKI, entries, heartbeat, record, replacement

Opener = Callable[..., EventLog]
PARTITIONS = 3


def sqlite_log(folder: Path, partitions: int = PARTITIONS, topic: str = "clicks") -> AbstractContextManager[EventLog]:
    return SQLiteLog(folder / "log.db", topic, partitions)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("confluent", marks=pytest.mark.cluster),
        pytest.param("kafka-python", marks=pytest.mark.cluster),
    ]
)
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same log again and again, as other processes would: a function of (partitions, topic)."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield lambda **options: stack.enter_context(sqlite_log(tmp_path, **options))
        else:
            cluster = request.getfixturevalue("cluster").model_copy(update={"kafka_client": request.param})
            yield stack.enter_context(kafka_logs(cluster))


@contextmanager
def kafka_logs(settings: Settings) -> Iterator[Opener]:
    """Opens topics of this test's own, which are deleted at its end."""
    from readerflow.storage.kafka_log import KafkaLog
    from readerflow.storage.kafka_topic import delete_topic

    unique = os.urandom(4).hex()
    topics: set[str] = set()
    with ExitStack() as stack:

        def open_topic(partitions: int = PARTITIONS, topic: str = "clicks") -> EventLog:
            name = f"{unique}.{topic}"
            topics.add(name)
            return stack.enter_context(KafkaLog(settings, name, partitions))

        yield open_topic
    for topic in topics:
        delete_topic(settings, topic)


@pytest.fixture
def log(open_log: Opener) -> EventLog:
    return open_log()


def seqs(log: EventLog, partition: int = 0, start: int = 0, limit: int = 10**6) -> list[int]:
    return list(log.read(partition, start, limit).records["seq"].to_pylist())


def test_a_new_log_is_empty(log: EventLog) -> None:
    assert log.partitions == PARTITIONS
    for partition in range(PARTITIONS):
        assert log.end_offset(partition) == 0
        found = log.read(partition, 0, 10)
        assert (found.entries, found.next_offset) == (0, 0)
        assert log.last_seq(partition, SOURCE) is None
    assert log.active_source(WIKI, MONTH) is None


def test_entries_are_read_back_as_they_were_appended_each_kind_with_its_offset(log: EventLog) -> None:
    rows = [
        record(1),
        heartbeat(2),
        record(3, article='"NaN\\/ť😀'),
        replacement("s1"),
        record(4, clicks=2**62),
        heartbeat(5),
    ]
    log.append(0, entries(*rows))
    log.flush()
    found = log.read(0, 0, 100)
    assert found.records.schema == RECORDS
    assert found.controls.schema == CONTROLS
    assert found.rejects.schema == REJECTS
    assert found.next_offset == log.end_offset(0) == 6
    assert found.records.to_pylist() == [
        {"offset": offset} | {name: row[name] for name in RECORDS.names[1:]}
        for offset, row in enumerate(rows)
        if row["kind"] == Kind.RECORD
    ]
    assert found.controls.to_pylist() == [
        {"offset": offset} | {name: row.get(name) for name in CONTROLS.names[1:]}
        for offset, row in enumerate(rows)
        if row["kind"] != Kind.RECORD
    ]


def test_only_what_was_flushed_can_be_read(log: EventLog, open_log: Opener) -> None:
    log.append(0, entries(record(1)))
    assert log.end_offset(0) == 0
    assert seqs(open_log()) == []
    log.flush()
    assert seqs(open_log()) == [1]
    log.flush()
    assert log.end_offset(0) == 1


def test_offsets_go_on_by_partition_and_keep_the_order_of_appending(log: EventLog) -> None:
    for seq in range(6):
        log.append(seq % 2, entries(record(seq)))
        if seq % 3 == 0:
            log.flush()
    log.flush()
    assert (seqs(log, 0), seqs(log, 1), seqs(log, 2)) == ([0, 2, 4], [1, 3, 5], [])
    assert [log.end_offset(partition) for partition in range(3)] == [3, 3, 0]


def test_a_read_may_begin_and_end_anywhere(log: EventLog) -> None:
    for first in (0, 4, 5):
        log.append(1, entries(*(record(seq) if seq % 3 else heartbeat(seq) for seq in range(first, first + 4))))
        log.flush()
    kinds = [seq % 3 != 0 for first in (0, 4, 5) for seq in range(first, first + 4)]
    for start in range(13):
        for limit in (0, 1, 2, 5, 12, 13):
            found = log.read(1, start, limit)
            stop = min(start + limit, 12)
            assert found.next_offset == max(stop, start)
            assert found.records["offset"].to_pylist() == [o for o in range(start, stop) if kinds[o]]
            assert found.controls["offset"].to_pylist() == [o for o in range(start, stop) if not kinds[o]]


def test_a_read_beyond_the_end_is_empty_and_does_not_move(log: EventLog) -> None:
    log.append(0, entries(record(1)))
    log.flush()
    assert (log.read(0, 1, 5).entries, log.read(0, 1, 5).next_offset) == (0, 1)
    assert (log.read(0, 7, 5).entries, log.read(0, 7, 5).next_offset) == (0, 7)


def test_large_appends_and_many_small_ones_keep_their_order(log: EventLog) -> None:
    big = entries(record(0), heartbeat(1)).take(pa.array([0, 1] * 150_000))
    numbered = big.set_column(2, "seq", pa.array(range(300_000), pa.int64()))
    log.append(0, numbered)
    for seq in range(300_000, 300_100):
        log.append(0, entries(record(seq)))
    log.flush()
    assert log.end_offset(0) == 300_100
    found = log.read(0, 299_990, 60)
    assert sorted(found.records["seq"].to_pylist() + found.controls["seq"].to_pylist()) == list(range(299_990, 300_050))
    assert log.read(0, 0, 10**6).records.num_rows == 150_100


def test_the_last_seq_is_the_highest_of_a_source_in_a_partition_heartbeats_included(log: EventLog) -> None:
    log.append(0, entries(record(5), record(9, source="s2"), heartbeat(7)))
    log.append(1, entries(record(3)))
    log.flush()
    assert log.last_seq(0, "s1") == 7
    assert log.last_seq(0, "s2") == 9
    assert log.last_seq(1, "s1") == 3
    assert log.last_seq(2, "s1") is None
    log.append(0, entries(record(6)))
    log.flush()
    assert log.last_seq(0, "s1") == 7


def test_the_first_source_of_a_month_is_active_until_a_replacement_in_partition_0(log: EventLog) -> None:
    log.append(0, entries(record(1)))
    log.append(1, entries(record(2)))
    log.flush()
    log.append(1, entries(record(1, source="s2")))
    log.flush()
    assert log.active_source(WIKI, MONTH) == ActiveSource("s1", -1)
    assert log.active_source(WIKI, "2025-03") is None
    log.append(0, entries(record(3), replacement("s2"), record(2, source="s2")))
    log.flush()
    assert log.active_source(WIKI, MONTH) == ActiveSource("s2", 2)
    assert log.last_seq(0, "s2") == 2
    log.append(0, entries(replacement("s1")))
    log.flush()
    assert log.active_source(WIKI, MONTH) == ActiveSource("s1", 4)


def test_a_replacement_alone_makes_a_source_active_and_gives_it_no_last_seq(log: EventLog) -> None:
    log.append(0, entries(replacement("s9")))
    log.flush()
    assert log.active_source(WIKI, MONTH) == ActiveSource("s9", 0)
    assert log.last_seq(0, "s9") is None


def test_raw_entries_are_decoded_where_they_can_be_and_rejected_where_not(log: EventLog) -> None:
    good = entries(record(1), heartbeat(2), replacement("s1"))
    values = encode(good).to_pylist()
    log.append_raw(0, [(b"k", values[0]), (None, b"{"), (b"\xff", values[1]), (None, b""), (None, values[2])])
    log.append(0, entries(record(3)))
    log.flush()
    found = log.read(0, 0, 100)
    assert found.records["offset"].to_pylist() == [0, 5]
    assert found.controls["offset"].to_pylist() == [2, 4]
    rejects = found.rejects.to_pylist()
    assert [(row["offset"], row["key"], row["value"], row["cut"]) for row in rejects] == [
        (1, None, b"{", False),
        (3, None, b"", False),
    ]
    assert all(row["error_class"] in ERROR_CLASSES and row["reason"] for row in rejects)
    assert log.last_seq(0, SOURCE) == 3
    assert log.active_source(WIKI, MONTH) == ActiveSource("s1", 4)


def test_raw_bytes_of_a_reject_are_capped(log: EventLog) -> None:
    log.append_raw(0, [(None, b"x" * (MAX_RAW_BYTES + 1)), (None, b"y" * MAX_RAW_BYTES)])
    log.flush()
    rejects = log.read(0, 0, 10).rejects.to_pylist()
    assert [(len(row["value"]), row["cut"]) for row in rejects] == [(MAX_RAW_BYTES, True), (MAX_RAW_BYTES, False)]


def test_raw_and_typed_entries_keep_the_order_of_appending(log: EventLog) -> None:
    for seq in range(0, 9, 3):
        log.append(0, entries(record(seq)))
        log.append_raw(0, [(None, b"bad")])
        log.append(0, entries(record(seq + 1)))
    log.flush()
    found = log.read(0, 0, 100)
    assert found.records["offset"].to_pylist() == [0, 2, 3, 5, 6, 8]
    assert found.rejects["offset"].to_pylist() == [1, 4, 7]


def test_entries_of_another_schema_are_refused(log: EventLog) -> None:
    with pytest.raises(ValueError, match="schema"):
        log.append(0, entries(record(1)).drop_columns(["until"]))


@pytest.mark.parametrize("partition", [-1, PARTITIONS])
def test_a_partition_that_the_log_does_not_have_is_refused(log: EventLog, partition: int) -> None:
    for call in (
        lambda: log.append(partition, entries(record(1))),
        lambda: log.append_raw(partition, []),
        lambda: log.read(partition, 0, 1),
        lambda: log.end_offset(partition),
        lambda: log.last_seq(partition, SOURCE),
    ):
        with pytest.raises(ValueError, match="partition"):
            call()


def test_a_log_keeps_the_number_of_partitions_that_it_was_made_with(open_log: Opener) -> None:
    assert open_log(partitions=3).partitions == 3
    assert open_log(partitions=8).partitions == 3


def test_topics_do_not_mix(open_log: Opener) -> None:
    clicks, letters = open_log(), open_log(topic="clicks.dlq", partitions=1)
    clicks.append(0, entries(record(1)))
    letters.append_raw(0, [(b"clicks/0/0", b"{}")])
    clicks.flush()
    letters.flush()
    assert letters.partitions == 1
    assert clicks.read(0, 0, 10).rejects.num_rows == 0
    assert letters.read(0, 0, 10).rejects["key"].to_pylist() == [b"clicks/0/0"]
    assert letters.last_seq(0, SOURCE) is None


def test_writers_and_readers_of_several_threads_do_not_disturb_each_other(log: EventLog, open_log: Opener) -> None:
    failures: list[BaseException] = []
    other = open_log()

    def write(target: EventLog, source: str, partition: int) -> None:
        try:
            for seq in range(20):
                target.append(partition, entries(record(seq, source=source)))
                target.flush()
        except BaseException as error:
            failures.append(error)

    def read(target: EventLog) -> None:
        try:
            offset = 0
            while offset < 40:
                found = target.read(0, offset, 7)
                assert found.records["offset"].to_pylist() == list(range(offset, found.next_offset))
                offset = found.next_offset
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=write, args=(log, "a", 0)),
        threading.Thread(target=write, args=(other, "b", 0)),
        threading.Thread(target=write, args=(log, "a", 1)),
        threading.Thread(target=read, args=(log,)),
        threading.Thread(target=read, args=(other,)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    records = log.read(0, 0, 100).records.to_pylist()
    for source in "ab":
        assert [row["seq"] for row in records if row["source"] == source] == list(range(20))
    assert log.end_offset(1) == 20


# What only the SQLite adapter can show --------------------------------------------------------------------------------


def open_sqlite(folder: Path) -> SQLiteLog:
    return SQLiteLog(folder / "log.db", "clicks", PARTITIONS)


def test_a_lost_batch_is_named_with_its_partition_and_offsets(tmp_path: Path) -> None:
    import sqlite3

    with open_sqlite(tmp_path) as log:
        for first in (0, 10, 20):
            log.append(1, entries(*(record(seq) for seq in range(first, first + 10))))
            log.flush()
        connection = sqlite3.connect(tmp_path / "log.db")
        connection.execute("DELETE FROM batches WHERE partition = 1 AND first_offset = 10")
        connection.commit()
        connection.close()
        assert seqs(log, 1, 0, 10) == list(range(10))
        for start, limit in ((0, 11), (10, 5), (15, 10)):
            with pytest.raises(OffsetGone, match=r"partition 1: offsets 1\d to 19 are missing|offsets 10 to 1\d are"):
                log.read(1, start, limit)
        assert seqs(log, 1, 20, 10) == list(range(20, 30))


def test_a_file_that_is_no_database_is_a_known_failure(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, certainly not" * 1000)
    with open_sqlite(tmp_path) as log, pytest.raises(LogUnavailable, match=r"log\.db"):
        log.end_offset(0)


def test_a_flush_that_fails_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_sqlite(tmp_path) as log:
        log.append(0, entries(record(1)))
        log.flush()

        def fail(*_: Any) -> None:
            raise RuntimeError("out of luck")

        log.append(0, entries(record(2)))
        log.append(1, entries(record(3)))
        with monkeypatch.context() as patch:
            patch.setattr(SQLiteLog, "_write", fail)
            with pytest.raises(RuntimeError):
                log.flush()
        assert (seqs(log, 0), seqs(log, 1)) == ([1], [])
        log.append(0, entries(record(2)))
        log.flush()
        assert seqs(log, 0) == [1, 2]


PROGRAM = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from tests.log_entries import entries, record
    from readerflow.storage.sqlite_log import SQLiteLog

    with SQLiteLog(Path(sys.argv[1]) / "log.db", "clicks", 3) as log:
        log.append(0, entries(record(1)))
        log.append(1, entries(record(2)))
        log.flush()
        log.append(0, entries(record(3)))
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_flushed_survives_a_killed_process(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path), str(root)], timeout=60, check=False)
    with open_sqlite(tmp_path) as log:
        assert (seqs(log, 0), seqs(log, 1)) == ([1], [2])


def test_a_topic_of_larger_documents_keeps_them_whole(tmp_path: Path) -> None:
    document = json.dumps({"raw": "x" * MAX_RAW_BYTES}).encode()
    with SQLiteLog(tmp_path / "log.db", "clicks.dlq", 1, raw_bytes=2 * MAX_RAW_BYTES) as log:
        log.append_raw(0, [(b"k", document)])
        log.flush()
        assert log.read(0, 0, 1).rejects["value"].to_pylist() == [document]
