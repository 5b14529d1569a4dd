"""What only the archive in HDFS can show: lost replies, dead writers, and footers that are fetched in parts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from readerflow.common.settings import Settings
from readerflow.storage.archive import AlreadyPublished, ArchiveUnavailable
from readerflow.storage.hdfs_archive import TEMPORARY, HdfsArchive
from readerflow.storage.hdfs_files import HdfsFiles
from tests.test_storage.test_archive_contract import publish, rows_of, segment_of
from tests.test_storage.test_hdfs_files import lose

pytestmark = pytest.mark.cluster


@pytest.fixture
def settings(cluster: Settings) -> Settings:
    return cluster.model_copy(update={"hdfs_root": f"{cluster.hdfs_root}/own_{os.urandom(4).hex()}"})


@pytest.fixture
def files(settings: Settings) -> Iterator[HdfsFiles]:
    with HdfsFiles(settings) as opened:
        yield opened
        opened.remove("")


@pytest.fixture
def archive(files: HdfsFiles, tmp_path: Path) -> Iterator[HdfsArchive]:
    with HdfsArchive(files, tmp_path / "index.db") as opened:
        yield opened


def test_engines_open_a_file_by_the_address_of_the_file_system(archive: HdfsArchive, settings: Settings) -> None:
    published = publish(archive, 7, 9, partition=3)
    root = f"{settings.hdfs_rpc}{settings.hdfs_root}"
    assert published.uri == f"{root}/clicks/3/00000000000000000007.parquet"
    assert archive.segments() == [published]


def test_a_file_whose_reply_was_lost_is_published_by_its_writer(archive: HdfsArchive, files: HdfsFiles) -> None:
    lose(files, "rename")
    published = publish(archive, 0, 9)
    assert archive.segments() == [published]
    lose(files, "rename")
    with pytest.raises(AlreadyPublished):
        publish(archive, 0, 9)


@pytest.mark.parametrize("verb", ["write", "rename"])
def test_what_fails_leaves_nothing_and_works_when_it_is_tried_again(
    archive: HdfsArchive, files: HdfsFiles, verb: str
) -> None:
    lose(files, verb, done=False)
    with pytest.raises(ArchiveUnavailable):
        publish(archive, 0, 9)
    assert archive.next_offset(0) == 0
    assert list(files.list(TEMPORARY)) == []
    publish(archive, 0, 9)
    assert archive.next_offset(0) == 10


CRASHING = """
import sys
from pathlib import Path
from readerflow.common.settings import Settings
from readerflow.storage.hdfs_archive import HdfsArchive
from readerflow.storage.hdfs_files import HdfsFiles
from tests.test_storage.test_archive_contract import publish
with HdfsFiles(Settings()) as files, HdfsArchive(files, Path(sys.argv[1])) as archive:
    publish(archive, 0, 9)
"""


@pytest.mark.parametrize("point", ["archiver.file_half_written", "archiver.file_closed", "archiver.renamed"])
def test_a_writer_that_is_killed_leaves_a_whole_file_or_none_and_its_rest_is_swept(
    archive: HdfsArchive, files: HdfsFiles, settings: Settings, tmp_path: Path, point: str
) -> None:
    root = Path(__file__).parents[2]
    variables = {
        "READERFLOW_TESTING": "1",
        "READERFLOW_CRASH_AT": point,
        "READERFLOW_HDFS_WEB": settings.hdfs_web,
        "READERFLOW_HDFS_ROOT": settings.hdfs_root,
    }
    died = subprocess.run(
        [sys.executable, "-c", CRASHING, str(tmp_path / "other.db")],
        env=os.environ | variables, cwd=root, timeout=60,
    )  # fmt: skip
    assert died.returncode == -9
    renamed = point == "archiver.renamed"
    assert archive.next_offset(0) == (10 if renamed else 0)
    if not renamed:
        publish(archive, 0, 9)
        assert len(files.list(TEMPORARY)) == 1
        archive.sweep()
        assert len(files.list(TEMPORARY)) == 1, "it may still be written"
        with HdfsArchive(files, tmp_path / "index.db", abandoned_seconds=-60) as later:
            later.sweep()
    assert list(files.list(TEMPORARY)) == []
    assert archive.read(archive.segments()[0]).equals(rows_of(0, 9))


def test_footers_are_read_without_the_rows(
    archive: HdfsArchive, files: HdfsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = rows_of(0, 9).take([place % 10 for place in range(1_000_000)])
    archive.publish(segment_of(0, 999_999, hours=700), many)
    publish(archive, 1_000_000, 1_000_009)
    read, asked = files.read, []

    def noted(path: str, offset: int = 0, length: int | None = None) -> bytes:
        asked.append(length)
        return read(path, offset, length)

    monkeypatch.setattr(files, "read", noted)
    with HdfsArchive(files, tmp_path / "new.db") as cold:
        assert cold.next_offset(0) == 1_000_010
    assert all(length is not None and length <= 64 << 10 for length in asked)
    assert len(asked) == 2
    asked.clear()
    with HdfsArchive(files, tmp_path / "new.db") as warm:
        assert len(warm.segments()) == 2
    assert asked == []


def test_a_torn_file_is_named_with_what_to_do(archive: HdfsArchive, files: HdfsFiles, tmp_path: Path) -> None:
    name = "clicks/0/00000000000000000000.parquet"
    files.write(name, [b"PAR1"])
    with pytest.raises(ArchiveUnavailable, match=r"hdfs://.*00\.parquet is not a whole archive file"):
        archive.segments()
    pq.write_table(rows_of(0, 9), tmp_path / "bare.parquet")
    files.put_file(tmp_path / "bare.parquet", name)
    with pytest.raises(ArchiveUnavailable, match="not a whole archive file"):
        archive.next_offset(0)
    files.remove(name)
    assert publish(archive, 0, 9) == archive.segments()[0]
