"""The archiver: every entry once, in files that account for each offset, whatever the log holds."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readerflow.common.decode import encode
from readerflow.common.months import HOUR, Month
from readerflow.common.records import MAX_RAW_BYTES
from readerflow.kafka.archiver import ArchiveResult, archive
from readerflow.kafka.dead_letters import count_letters, distinct_letters
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import replay
from readerflow.kafka.replay import Grain
from readerflow.storage import MAX_LETTER_BYTES
from readerflow.storage.archive import ARCHIVED, HourFacts, Replacement, gaps
from readerflow.storage.fence import fence
from readerflow.storage.local_archive import LocalArchive
from readerflow.storage.log import LogSlice, OffsetGone
from readerflow.storage.packing import split
from readerflow.storage.sqlite_log import SQLiteLog
from tests.log_entries import MONTH, SOURCE, START, WIKI, entries, heartbeat, record, replacement
from tests.small_month import rows, write_month

FEBRUARY = Month.parse(MONTH)
PARTITIONS = 3
SEEN_AT = datetime(2025, 3, 1, 12)


@dataclass
class Home:
    """An open log, archive and dead letters."""

    log: SQLiteLog
    master: LocalArchive
    dead_letters: SQLiteLog

    def archive(self, **options: Any) -> ArchiveResult:
        return archive(self.log, self.master, self.dead_letters, wall=lambda: SEEN_AT, **options)

    def append(self, partition: int, *rows: dict[str, Any]) -> None:
        self.log.append(partition, entries(*rows))
        self.log.flush()

    def append_raw(self, partition: int, *values: bytes) -> None:
        self.log.append_raw(partition, [(b"key", value) for value in values])
        self.log.flush()

    def rows(self) -> pa.Table:
        tables = [pq.read_table(segment.uri, partitioning=None) for segment in self.master.segments()]
        return pa.concat_tables(tables or [ARCHIVED.empty_table()])

    def seqs(self, partition: int = 0, source: str = SOURCE) -> list[int]:
        found = self.rows().to_pylist()
        return [row["seq"] for row in found if row["partition"] == partition and row["source"] == source]


def open_home(stack: ExitStack, folder: Path) -> Home:
    return Home(
        stack.enter_context(SQLiteLog(folder / "log.db", "clicks", PARTITIONS)),
        stack.enter_context(LocalArchive(folder / "archive")),
        stack.enter_context(SQLiteLog(folder / "log.db", "clicks.dlq", 1, raw_bytes=MAX_LETTER_BYTES)),
    )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with ExitStack() as stack:
        yield open_home(stack, tmp_path)


def test_an_empty_log_makes_no_files(home: Home) -> None:
    assert home.archive() == ArchiveResult()
    assert home.master.segments() == []


def test_the_archive_holds_the_records_of_the_log_in_its_order(home: Home) -> None:
    for partition in (0, 2):
        home.append(partition, record(1), heartbeat(2), record(5, hour=1), record(7, hour=1))
    result = home.archive()
    assert result == ArchiveResult(files=2, records=6, controls=2)
    found = home.rows()
    assert found.schema.equals(ARCHIVED)
    expected = [
        {"partition": partition, "offset": offset} | record(seq, hour=hour)
        for partition in (0, 2)
        for offset, seq, hour in ((0, 1, 0), (2, 5, 1), (3, 7, 1))
    ]
    assert found.to_pylist() == [{name: row[name] for name in ARCHIVED.names} for row in expected]
    assert home.archive() == ArchiveResult()


def test_a_footer_accounts_for_each_offset_and_tells_hours_slots_and_sources(home: Home) -> None:
    home.append(
        0,
        record(1, clicks=3),
        record(2, clicks=4, link_type="link", referrer="A"),
        heartbeat(3),
        record(2, clicks=99),
        record(4, hour=1, clicks=5),
        heartbeat(5, hour=1),
        heartbeat(7, hour=3),
        replacement("s2"),
        record(0, source="s2", month="2025-03", event_time=datetime(2025, 3, 1), clicks=8),
    )
    home.append_raw(0, b"bad")
    home.archive()
    (segment,) = home.master.segments()
    assert (segment.first_offset, segment.last_offset) == (0, 9)
    assert (segment.records, segment.controls, segment.rejects, segment.duplicates) == (4, 4, 1, 1)
    mine = segment.sources[SOURCE]
    beats = ((0, 2), (1, 5), (3, 6))
    assert mine.heartbeats == [(START + hour * HOUR, START + (hour + 1) * HOUR, offset) for hour, offset in beats]
    assert (mine.wiki, mine.month, mine.last_seq) == (WIKI, MONTH, 7)
    assert mine.hours == {
        START: HourFacts(0, 2, {"external": 3, "link": 4}),
        START + HOUR: HourFacts(4, 1, {"external": 5}),
    }
    assert mine.closed == [(START, START + 2 * HOUR), (START + 3 * HOUR, START + 4 * HOUR)]
    other = segment.sources["s2"]
    assert (other.month, other.last_seq, other.closed) == ("2025-03", 0, [])
    assert segment.replacements == [Replacement(WIKI, MONTH, "s2", 7)]


def test_a_source_of_heartbeats_only_has_facts_and_one_of_a_replacement_only_has_none(home: Home) -> None:
    home.append(0, heartbeat(0), replacement("s2"))
    home.archive()
    (segment,) = home.master.segments()
    assert list(segment.sources) == [SOURCE]
    assert (segment.sources[SOURCE].hours, segment.sources[SOURCE].last_seq) == ({}, 0)
    assert home.master.passed(SOURCE, 0) == START + HOUR


def test_a_record_that_is_not_above_the_last_seq_is_dropped_and_counted(home: Home) -> None:
    home.append(0, record(1), record(3), record(2), record(3), record(4), record(1, source="s2"))
    assert home.archive().duplicates == 2
    home.append(0, record(4), record(3), heartbeat(4), record(5))
    home.append(1, record(3))
    result = home.archive()
    assert (result.records, result.duplicates) == (2, 3)
    assert (home.seqs(), home.seqs(1), home.seqs(source="s2")) == ([1, 3, 4, 5], [3], [1])


def test_a_paused_producer_that_wakes_up_changes_nothing_in_the_archive(tmp_path: Path) -> None:
    plan = ReplayPlan(WIKI, FEBRUARY, Grain.DAY)
    store = write_month(tmp_path / "pairs")
    with ExitStack() as stack:
        home = open_home(stack, tmp_path)
        replay(plan, store, home.log, end=FEBRUARY.start + timedelta(days=20))
        stale = [home.log.read(partition, 0, 10**6) for partition in range(PARTITIONS)]
        home.archive()
        replay(plan, store, home.log)
        home.archive()
        before = home.rows().sort_by([("partition", "ascending"), ("offset", "ascending")])
        for partition, piece in enumerate(stale):  # what it still had in its hands
            tail = piece.records.slice(piece.records.num_rows // 2)
            home.log.append(partition, entries(*({"kind": 0} | row for row in tail.drop_columns("offset").to_pylist())))
            home.log.append(partition, entries(*piece.controls.drop_columns("offset").to_pylist()))
        home.log.flush()
        result = home.archive()
        assert result.records == 0
        assert result.duplicates == sum(p.controls.num_rows + -(-p.records.num_rows // 2) for p in stale)
        assert home.rows().sort_by([("partition", "ascending"), ("offset", "ascending")]).equals(before)
        assert gaps(home.master.segments()) == []
        assert before.num_rows and sum(row[3] for row in rows()) == sum(before["clicks"].to_pylist())


def test_bad_records_become_dead_letters_and_good_ones_are_not_held_up(home: Home) -> None:
    good = encode(entries(record(1), record(2))).to_pylist()
    unknown = json.dumps(json.loads(good[0]) | {"link_type": "teleport"}).encode()
    home.append_raw(2, good[0], b"\xff\xfe", unknown, good[1], b"z" * (MAX_RAW_BYTES + 10))
    result = home.archive()
    assert (result.records, result.rejects) == (2, 3)
    letters = distinct_letters(home.dead_letters)
    assert sorted(letters) == [b"clicks/2/1", b"clicks/2/2", b"clicks/2/4"]
    first, second, third = (letters[key] for key in sorted(letters))
    assert first | {"reason": ""} == {
        "topic": "clicks",
        "partition": 2,
        "offset": 1,
        "stage": "archiver",
        "error_class": "not_utf8",
        "reason": "",
        "key": base64.b64encode(b"key").decode(),
        "raw": base64.b64encode(b"\xff\xfe").decode(),
        "cut": False,
        "seen_at": "2025-03-01T12:00Z",
    }
    assert (second["error_class"], second["source"], second["seq"]) == ("unknown_link_type", SOURCE, 1)
    assert (third["error_class"], third["cut"]) == ("not_json", True)
    assert len(base64.b64decode(str(third["raw"]))) == MAX_RAW_BYTES
    assert count_letters(home.dead_letters) == 3


def test_a_dead_letter_of_the_greatest_key_and_value_can_be_read(home: Home) -> None:
    value = b'{"source": "' + "\u0106".encode() * 32_000 + b'"}'
    home.log.append_raw(0, [(b"k" * MAX_RAW_BYTES, value)])
    home.log.flush()
    home.archive()
    (letter,) = distinct_letters(home.dead_letters).values()
    assert base64.b64decode(str(letter["raw"])) == value
    assert base64.b64decode(str(letter["key"])) == b"k" * MAX_RAW_BYTES


def test_dead_letters_that_are_written_again_count_once(home: Home) -> None:
    home.append_raw(0, b"bad", b"worse")
    home.archive()
    Path(home.master.segments()[0].uri).unlink()
    home.archive()
    assert home.dead_letters.end_offset(0) == 4
    assert count_letters(home.dead_letters) == 2


def test_a_file_ends_after_its_rows_and_ranges_are_contiguous(home: Home) -> None:
    home.append(1, *(record(seq) for seq in range(25)))
    assert home.archive(segment_rows=10).files == 3
    assert [(s.first_offset, s.last_offset) for s in home.master.segments()] == [(0, 9), (10, 19), (20, 24)]
    assert home.seqs(1) == list(range(25))


def test_a_file_ends_after_its_bytes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readerflow.kafka.archiver.READ_ENTRIES", 2)
    home.append(0, *(record(seq, article="A" * 200) for seq in range(10)))
    assert home.archive(segment_bytes=2 * 2 * 200).files == 3
    assert [(one.first_offset, one.last_offset) for one in home.master.segments()] == [(0, 3), (4, 7), (8, 9)]
    assert home.seqs() == list(range(10))


def test_a_hole_is_filled_from_the_log_without_touching_its_neighbours(home: Home) -> None:
    home.append(0, *(record(seq) for seq in range(10)))
    home.archive(segment_rows=5)
    home.append(0, record(3), *(record(seq) for seq in range(10, 15)))
    home.archive()
    whole = home.rows()
    Path(home.master.segments()[1].uri).unlink()
    assert gaps(home.master.segments()) == [(0, 5, 9)]
    assert home.archive().records == 5
    assert gaps(home.master.segments()) == []
    assert home.rows().equals(whole)


def test_a_log_that_lost_entries_stops_the_archiver(home: Home, tmp_path: Path) -> None:
    import sqlite3

    home.append(0, record(1))
    home.append(0, record(2))
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.execute("DELETE FROM batches WHERE first_offset = 0")
    connection.commit()
    connection.close()
    with pytest.raises(OffsetGone, match="partition 0"):
        home.archive()


def test_two_archivers_at_once_publish_each_entry_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        homes = [open_home(stack, tmp_path) for _ in range(3)]
        for partition in range(PARTITIONS):
            homes[0].append(partition, *(record(seq) for seq in range(200)))
        results: list[ArchiveResult] = []
        threads = [
            threading.Thread(target=lambda home=home: results.append(home.archive(segment_rows=10))) for home in homes
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sum(result.records for result in results) == 200 * PARTITIONS
        assert [homes[0].seqs(partition) for partition in range(PARTITIONS)] == [list(range(200))] * PARTITIONS


def test_a_following_archiver_ends_files_by_rows_or_age_and_the_rest_when_it_stops(home: Home) -> None:
    moment = [0.0]
    stop = threading.Event()
    looks: list[int] = []

    class Waiting:
        """Moves the clock and the log instead of waiting."""

        def is_set(self) -> bool:
            return stop.is_set()

        def wait(self, timeout: float | None = None) -> bool:
            looks.append(len(home.master.segments()))
            moment[0] += timeout or 0.0
            step = len(looks)
            if step == 1:
                home.append(0, record(0))
            elif step == 5:
                home.append(0, *(record(seq) for seq in range(1, 11)))
            elif step == 6:
                home.append(0, record(11))
            elif step == 7:
                stop.set()
            return stop.is_set()

    result = home.archive(
        follow=True, segment_rows=10, segment_seconds=2.0, poll_seconds=1.0, stop=Waiting(), clock=lambda: moment[0]
    )
    assert looks == [0, 0, 0, 1, 1, 2, 2]
    assert [(s.first_offset, s.last_offset) for s in home.master.segments()] == [(0, 0), (1, 10), (11, 11)]
    assert result.records == 12


def test_a_following_archiver_stops_when_it_is_told(home: Home) -> None:
    stop = threading.Event()
    thread = threading.Thread(
        target=lambda: home.archive(follow=True, segment_seconds=0.01, poll_seconds=0.01, stop=stop)
    )
    thread.start()
    home.append(0, record(1))
    deadline = time.monotonic() + 30
    while not home.master.segments() and time.monotonic() < deadline:
        time.sleep(0.005)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert home.seqs() == [1]


# The fence ------------------------------------------------------------------------------------------------------------

entry = st.tuples(st.sampled_from(["s1", "s2", "s3"]), st.integers(0, 12), st.booleans())


def oracle(found: list[tuple[str, int, bool]], lasts: dict[str, int]) -> tuple[list[int], int]:
    """The fence, one entry at a time: (offsets that pass, duplicates)."""
    lasts = dict(lasts)
    passed = []
    for offset, (source, seq, _) in enumerate(found):
        if seq > lasts.get(source, -1):
            lasts[source] = seq
            passed.append(offset)
    return passed, len(found) - len(passed)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(entry, max_size=40), lasts=st.dictionaries(st.sampled_from(["s1", "s2"]), st.integers(0, 8)))
def test_the_fence_judges_as_a_loop_over_entries_would(
    found: list[tuple[str, int, bool]], lasts: dict[str, int]
) -> None:
    table = entries(*((heartbeat if beat else record)(seq, source=source) for source, seq, beat in found))
    fenced = fence(split(table, 0), lasts)
    passed, duplicates = oracle(found, lasts)
    assert sorted(fenced.records["offset"].to_pylist() + fenced.controls["offset"].to_pylist()) == passed
    assert fenced.duplicates == duplicates


@settings(max_examples=50, deadline=None)
@given(found=st.lists(entry, min_size=1, max_size=40), data=st.data())
def test_the_fence_judges_alike_however_the_log_is_sliced(
    found: list[tuple[str, int, bool]], data: st.DataObject
) -> None:
    table = entries(*((heartbeat if beat else record)(seq, source=source) for source, seq, beat in found))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(found)), max_size=4)))
    lasts: dict[str, int] = {}
    passed: list[int] = []
    for start, stop in zip([0, *cuts], [*cuts, len(found)], strict=True):
        piece: LogSlice = split(table.slice(start, stop - start), start)
        fenced = fence(piece, lasts)
        lasts |= fenced.last_seqs
        passed += fenced.records["offset"].to_pylist() + fenced.controls["offset"].to_pylist()
    assert sorted(passed) == oracle(found, {})[0]


def test_replacements_pass_the_fence_and_leave_no_last_seq() -> None:
    fenced = fence(split(entries(replacement("s1"), record(0)), 0), {})
    assert fenced.controls.num_rows == 1
    assert fenced.last_seqs == {"s1": 0}
    again = fence(split(entries(replacement("s1")), 0), {"s1": 5})
    assert (again.controls.num_rows, again.duplicates) == (1, 0)
    assert np.all([again.last_seqs == {}])
