"""The contract of the archive, which every adapter passes."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from readerflow.common.settings import Settings
from readerflow.storage import parquet_archive
from readerflow.storage.archive import (
    ARCHIVED,
    AlreadyPublished,
    Archive,
    ArchiveUnavailable,
    HourFacts,
    OverlappingSegments,
    Replacement,
    Segment,
    SourceFacts,
    gaps,
)
from readerflow.storage.footer_index import Listing
from readerflow.storage.local_archive import LocalArchive
from readerflow.storage.log import ActiveSource
from tests.log_entries import MONTH, SOURCE, START, WIKI, record

Opener = Callable[[], Archive]


@pytest.fixture(params=["local", pytest.param("hdfs", marks=pytest.mark.cluster)])
def open_archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same archive again and again, as other processes would."""
    with ExitStack() as stack:
        if request.param == "local":
            yield lambda: stack.enter_context(LocalArchive(tmp_path / "archive"))
        else:
            yield stack.enter_context(hdfs_archives(request.getfixturevalue("cluster"), tmp_path))


@contextmanager
def hdfs_archives(settings: Settings, folder: Path) -> Iterator[Opener]:
    """Opens an archive in a folder of this test's own, which goes at its end; each has an index of its own."""
    from readerflow.storage.hdfs_archive import HdfsArchive
    from readerflow.storage.hdfs_files import HdfsFiles

    own = settings.model_copy(update={"hdfs_root": f"{settings.hdfs_root}/archive_{os.urandom(4).hex()}"})
    with ExitStack() as stack, HdfsFiles(own) as files:
        machines = count()
        yield lambda: stack.enter_context(HdfsArchive(files, folder / f"machine{next(machines)}" / "index.db"))
        files.remove("")


@pytest.fixture
def archive(open_archive: Opener) -> Archive:
    return open_archive()


def rows_of(first: int, last: int, partition: int = 0) -> pa.Table:
    rows = [{"partition": partition, "offset": offset} | record(offset) for offset in range(first, last + 1)]
    return pa.Table.from_pylist([{name: row[name] for name in ARCHIVED.names} for row in rows], schema=ARCHIVED)


def segment_of(
    first: int,
    last: int,
    partition: int = 0,
    *,
    source: str = SOURCE,
    month: str = MONTH,
    hours: int = 1,
    **changes: Any,
) -> Segment:
    """A segment of ``last - first + 1`` records whose source has closed its first ``hours`` hours."""
    count = last - first + 1
    facts = SourceFacts(
        wiki=WIKI,
        month=month,
        last_seq=last,
        hours={START: HourFacts(first, count, {"external": sum(10 + seq for seq in range(first, last + 1))})},
        closed=[(START, START + timedelta(hours=hours))],
    )
    segment = Segment(
        partition, first, last, records=count, controls=0, rejects=0, duplicates=0, sources={source: facts}
    )
    return replace(segment, **changes)


def publish(archive: Archive, first: int, last: int, partition: int = 0, **changes: Any) -> Segment:
    return archive.publish(segment_of(first, last, partition, **changes), rows_of(first, last, partition))


def bare(segments: list[Segment]) -> list[Segment]:
    return [replace(segment, uri="") for segment in segments]


def test_a_new_archive_is_empty(archive: Archive) -> None:
    assert archive.next_offset(0) == 0
    assert archive.next_file(0, 0) is None
    assert archive.segments() == []
    assert archive.segments(WIKI, MONTH) == []
    assert archive.last_seq(0, SOURCE) is None
    assert archive.passed(SOURCE, 0) is None
    assert archive.active_source(WIKI, MONTH) is None
    archive.sweep()


def test_a_published_file_is_seen_at_once_by_all_with_its_rows_and_footer(
    archive: Archive, open_archive: Opener
) -> None:
    other = open_archive()
    assert other.next_offset(0) == 0
    segment = segment_of(
        0, 9, rejects=2, duplicates=3, last_offset=14, replacements=[Replacement(WIKI, MONTH, "s2", 7)]
    )
    published = archive.publish(segment, rows_of(0, 9))
    assert replace(published, uri="") == segment
    for reader in (archive, other, open_archive()):
        assert reader.segments() == [published]
        assert reader.next_offset(0) == 15
        assert reader.read(published).equals(rows_of(0, 9))


def test_a_file_without_records_counts_too(archive: Archive) -> None:
    segment = Segment(0, 0, 4, records=0, controls=0, rejects=5, duplicates=0)
    archive.publish(segment, ARCHIVED.empty_table())
    assert archive.next_offset(0) == 5
    assert bare(archive.segments()) == [segment]
    assert archive.segments(WIKI, MONTH) == []


def test_a_range_is_published_once(archive: Archive, open_archive: Opener) -> None:
    first = publish(archive, 0, 9)
    for loser in (archive, open_archive()):
        with pytest.raises(AlreadyPublished):
            publish(loser, 0, 5)
    assert archive.segments() == [first]


def test_archivers_that_race_for_a_range_have_one_winner(open_archive: Opener) -> None:
    archives = [open_archive() for _ in range(4)]
    start = threading.Barrier(len(archives))
    results: list[str] = []

    def race(archive: Archive) -> None:
        start.wait(30)
        try:
            publish(archive, 0, 99)
            results.append("won")
        except AlreadyPublished:
            results.append("lost")

    threads = [threading.Thread(target=race, args=(archive,)) for archive in archives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == ["lost", "lost", "lost", "won"]
    assert bare(archives[0].segments()) == [segment_of(0, 99)]


def test_a_file_is_read_from_an_offset_on(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_archive, "ROW_GROUP_ROWS", 4)
    published = publish(archive, 10, 29)
    for first in (0, 10, 17, 18, 29, 30):
        found = archive.read(published, ["offset", "clicks"], first)
        assert found.equals(rows_of(max(first, 10), 29).select(["offset", "clicks"])), first


def test_segments_come_by_partition_and_offset(archive: Archive) -> None:
    for first, last, partition in ((10, 19, 1), (0, 9, 1), (0, 4, 0), (100, 119, 1), (20, 99, 1)):
        publish(archive, first, last, partition)
    assert [(s.partition, s.first_offset) for s in archive.segments()] == [(0, 0), (1, 0), (1, 10), (1, 20), (1, 100)]
    assert [archive.next_offset(partition) for partition in range(3)] == [5, 120, 0]


def test_a_month_lists_only_files_that_hold_something_of_it(archive: Archive) -> None:
    mine = publish(archive, 0, 9)
    other = publish(archive, 10, 19, month="2025-03", source="s3")
    announced = archive.publish(
        Segment(0, 20, 20, 0, 1, 0, 0, replacements=[Replacement(WIKI, MONTH, "s2", 20)]), ARCHIVED.empty_table()
    )
    assert archive.segments(WIKI, MONTH) == [mine, announced]
    assert archive.segments(WIKI, "2025-03") == [other]
    assert archive.segments("srwiki", MONTH) == []
    assert archive.segments(WIKI) == [mine, other, announced]


def test_a_hole_is_where_the_archiver_goes_on_up_to_the_next_file(archive: Archive) -> None:
    publish(archive, 0, 9)
    publish(archive, 20, 29)
    publish(archive, 40, 49)
    assert archive.next_offset(0) == 10
    assert archive.next_file(0, 10) == 20
    assert gaps(archive.segments()) == [(0, 10, 19), (0, 30, 39)]
    publish(archive, 10, 19)
    assert archive.next_offset(0) == 30
    assert gaps(archive.segments()) == [(0, 30, 39)]
    publish(archive, 5, 5, partition=2)
    assert gaps(archive.segments()) == [(0, 30, 39), (2, 0, 4)]


def test_the_last_seq_is_that_of_the_files_before_an_offset(archive: Archive) -> None:
    publish(archive, 0, 9)
    publish(archive, 10, 19)
    publish(archive, 0, 99, partition=1)
    assert archive.last_seq(0, SOURCE) == 19
    assert archive.last_seq(0, SOURCE, before=10) == 9
    assert archive.last_seq(0, SOURCE, before=11) == 19
    assert archive.last_seq(0, SOURCE, before=0) is None
    assert archive.last_seq(0, "s2") is None


def test_a_source_has_passed_the_end_of_its_last_closed_slot_in_each_partition(archive: Archive) -> None:
    publish(archive, 0, 9, hours=3)
    publish(archive, 10, 19, hours=2)
    publish(archive, 0, 9, partition=1, hours=1)
    assert archive.passed(SOURCE, 0) == START + timedelta(hours=3)
    assert archive.passed(SOURCE, 1) == START + timedelta(hours=1)
    assert archive.passed(SOURCE, 2) is None
    assert archive.passed("s2", 0) is None


def test_the_first_source_is_active_until_the_latest_replacement(archive: Archive) -> None:
    publish(archive, 0, 9, source="s1")
    publish(archive, 10, 19, source="s2")
    assert archive.active_source(WIKI, MONTH) == ActiveSource("s1", -1)
    for first, source in ((20, "s2"), (30, "s3")):
        publish(archive, first, first + 9, source=source, replacements=[Replacement(WIKI, MONTH, source, first)])
    assert archive.active_source(WIKI, MONTH) == ActiveSource("s3", 30)
    assert archive.active_source(WIKI, "2025-03") is None


def test_overlapping_files_stop_a_reader_and_both_are_named(archive: Archive) -> None:
    publish(archive, 0, 9)
    publish(archive, 9, 12)
    with pytest.raises(OverlappingSegments) as raised:
        archive.segments()
    assert f"{0:020d}.parquet" in str(raised.value)
    assert f"{9:020d}.parquet" in str(raised.value)


# What only the local adapter can show ---------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalArchive]:
    with LocalArchive(tmp_path / "archive") as archive:
        yield archive


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.parquet"))


def test_a_file_lies_under_its_partition_and_zero_padded_offset(local: LocalArchive, tmp_path: Path) -> None:
    publish(local, 7, 9, partition=3)
    assert files(tmp_path / "archive") == ["clicks/3/00000000000000000007.parquet"]


def test_a_file_that_somebody_doubled_is_named(local: LocalArchive, tmp_path: Path) -> None:
    published = Path(publish(local, 0, 9).uri)
    shutil.copy(published, published.with_name("copy.parquet"))
    with pytest.raises(OverlappingSegments, match=r"copy\.parquet"):
        local.segments(WIKI, MONTH)


def test_an_index_that_is_missing_stale_or_broken_is_made_anew_from_the_footers(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with LocalArchive(folder) as archive:
        publish(archive, 0, 9)
        whole = archive.segments()
    stale = (folder / "index.db").read_bytes()
    with LocalArchive(folder) as archive:
        publish(archive, 10, 19)
        whole = archive.segments()
        assert len(whole) == 2
    for content in (None, stale, b"", b"this is no database" * 1000, stale[: len(stale) // 2]):
        for leftover in folder.glob("index.db*"):
            leftover.unlink()
        if content is not None:
            (folder / "index.db").write_bytes(content)
        with LocalArchive(folder) as archive:
            assert archive.segments() == whole
            assert archive.last_seq(0, SOURCE) == 19


def test_files_that_went_or_changed_are_seen(local: LocalArchive) -> None:
    first, second = publish(local, 0, 9), publish(local, 10, 19)
    assert local.segments() == [first, second]
    path = Path(second.uri)
    path.unlink()
    assert local.segments() == [first]
    assert local.next_offset(0) == 10
    shorter = publish(local, 10, 14)
    os.utime(shorter.uri, ns=(1, 1))
    assert local.segments() == [first, shorter]
    assert local.last_seq(0, SOURCE) == 14


def test_a_file_that_came_back_is_seen_by_all(local: LocalArchive, tmp_path: Path) -> None:
    first, second = publish(local, 0, 9), publish(local, 10, 19)
    assert local.segments() == [first, second]
    path, away = Path(second.uri), tmp_path / "away.parquet"
    with LocalArchive(tmp_path / "archive") as other:
        path.rename(away)
        assert other.segments() == [first]
        away.rename(path)
    assert local.segments() == [first, second]


def test_a_reader_that_looked_before_a_file_appeared_does_not_hide_it_from_others(
    local: LocalArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(local, 0, 9)
    assert local.segments() == [first]
    with LocalArchive(tmp_path / "archive") as slow:
        assert slow.segments() == [first]
        second = publish(local, 10, 19)
        look = slow._listed
        third: list[Segment] = []

        def look_and_pause(partition: int | None) -> Listing:
            found = look(partition)
            if not third:
                third.append(publish(local, 20, 29))
                assert local.segments() == [first, second, *third]
            return found

        monkeypatch.setattr(slow, "_listed", look_and_pause)
        slow.next_offset(0)
        assert local.next_offset(0) == 30
        assert local.segments() == [first, second, *third]


def test_a_month_is_found_without_opening_files(local: LocalArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in range(0, 100, 10):
        publish(local, first, first + 9)
    assert len(local.segments(WIKI, MONTH)) == 10

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a footer was read though the index has it")

    monkeypatch.setattr(pq, "read_metadata", refuse)
    assert len(local.segments(WIKI, MONTH)) == 10
    assert local.next_offset(0) == 100


def test_a_torn_file_is_named_with_what_to_do(local: LocalArchive) -> None:
    path = Path(publish(local, 0, 9).uri)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(ArchiveUnavailable, match=r"00\.parquet is not a whole archive file"):
            local.segments()
    pq.write_table(rows_of(0, 9), path)  # a good Parquet file without our footer
    with pytest.raises(ArchiveUnavailable, match="not a whole archive file"):
        local.next_offset(0)


def test_a_sweep_takes_what_dead_archivers_left_and_nothing_of_a_living_one(
    local: LocalArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from readerflow.storage.lease import lease

    folder = tmp_path / "archive" / "tmp"
    folder.mkdir(parents=True)
    for name in ("dead.parquet", "dead.lock", "orphan.parquet", "alive.parquet"):
        (folder / name).touch()
    with lease(folder / "alive.lock", "a test"):
        local.sweep()
        assert sorted(path.name for path in folder.iterdir()) == ["alive.lock", "alive.parquet"]
    local.sweep()
    assert list(folder.iterdir()) == []
    publish(local, 0, 9)
    assert list(folder.iterdir()) == []


def test_an_archive_that_cannot_be_written_is_a_known_failure(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file where a folder should be")
    with LocalArchive(tmp_path / "archive") as archive:
        with pytest.raises(ArchiveUnavailable):
            archive.segments()
        with pytest.raises(ArchiveUnavailable):
            publish(archive, 0, 9)


def test_times_survive_the_footer(local: LocalArchive) -> None:
    late = datetime(2025, 2, 28, 23)
    facts = SourceFacts(WIKI, MONTH, 9, {late: HourFacts(0, 10, {"link": 1})}, [(late, late + timedelta(hours=1))])
    segment = segment_of(0, 9, sources={SOURCE: facts})
    local.publish(segment, rows_of(0, 9))
    assert bare(local.segments()) == [segment]
