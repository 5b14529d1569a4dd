"""The master dataset in HDFS: the files of :mod:`.parquet_archive` below ``hdfs_root``, opened by Spark as ``hdfs://``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from readerflow.common.crash import crash_point
from readerflow.common.errors import ReaderFlowError

from .footer_index import StoredFile
from .hdfs_files import CHUNK_BYTES, HdfsFiles
from .parquet_archive import ParquetArchive

TEMPORARY = "tmp"
#: Age after which a temporary file has no writer any more. Should it have one, that one fails and writes it again.
ABANDONED_SECONDS = 3600.0


class HdfsArchive(ParquetArchive):
    """The archive in HDFS.

    :param index: where the cache of footers lies on this machine.
    """

    def __init__(self, files: HdfsFiles, index: Path, *, abandoned_seconds: float = ABANDONED_SECONDS) -> None:
        super().__init__(HdfsStore(files, abandoned_seconds), index)


class HdfsStore:
    """HDFS as a file store; see :class:`.parquet_archive.FileStore`.

    A file is written in ``tmp/`` and published by a rename, which never overwrites. It is as durable as HDFS makes a
    closed file: on so many DataNodes as there are replicas.
    """

    threads = 8

    def __init__(self, files: HdfsFiles, abandoned_seconds: float) -> None:
        self._files = files
        self._abandoned_seconds = abandoned_seconds

    def folders(self, folder: str) -> list[str]:
        return [found.name for found in self._files.list(folder) if found.is_folder]

    def files(self, folder: str) -> list[StoredFile]:
        return [
            StoredFile(f"{folder}/{found.name}", found.size, found.changed)
            for found in self._files.list(folder)
            if not found.is_folder
        ]

    def open(self, file: StoredFile) -> pa.NativeFile:
        return pa.PythonFile(self._files.open(file.name, file.size), mode="r")

    def publish(self, name: str, data: pa.Buffer) -> None:
        if self._files.status(name) is not None:
            raise FileExistsError(self.uri(name))
        temporary = f"{TEMPORARY}/{name.replace('/', '-').removesuffix('.parquet')}-{uuid.uuid4().hex}.parquet"
        try:
            self._files.write(temporary, _chunks(data))
            crash_point("archiver.file_closed")
            self._files.rename(temporary, name)
            crash_point("archiver.renamed")
        except BaseException:
            with suppress(ReaderFlowError):
                self._files.remove(temporary)
            raise

    def sweep(self) -> None:
        now = time.time()
        for found in self._files.list(TEMPORARY):
            if now - found.changed / 1000 > self._abandoned_seconds:
                self._files.remove(f"{TEMPORARY}/{found.name}")

    def uri(self, name: str) -> str:
        return self._files.uri(name)


def _chunks(data: pa.Buffer) -> Iterator[memoryview]:
    view = memoryview(data)
    half = len(view) // 2
    for start in range(0, half, CHUNK_BYTES):
        yield view[start : min(start + CHUNK_BYTES, half)]
    crash_point("archiver.file_half_written")
    for start in range(half, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]
