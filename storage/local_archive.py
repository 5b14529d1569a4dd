"""The master dataset in a local folder: ``clicks/<partition>/<first offset>.parquet``, see :mod:`.parquet_archive`."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from readerflow.common.crash import crash_point

from .footer_index import StoredFile
from .lease import is_leased, lease
from .parquet_archive import ParquetArchive


class LocalArchive(ParquetArchive):
    """The archive below a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(LocalFiles(root), root / "index.db")


class LocalFiles:
    """A folder as a file store; see :class:`.parquet_archive.FileStore`.

    A file is written in ``tmp/``, made durable, and published with a hard link, which never overwrites.
    """

    threads = 1

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / "tmp"

    def folders(self, folder: str) -> list[str]:
        with suppress(FileNotFoundError), os.scandir(self._root / folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
        return []

    def files(self, folder: str) -> list[StoredFile]:
        found = []
        with suppress(FileNotFoundError), os.scandir(self._root / folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it has just gone
                    facts = entry.stat()
                    found.append(StoredFile(f"{folder}/{entry.name}", facts.st_size, facts.st_mtime_ns))
        return found

    def open(self, file: StoredFile) -> pa.NativeFile:
        return pa.OSFile(str(self._root / file.name))

    def publish(self, name: str, data: pa.Buffer) -> None:
        final = self._root / name
        if final.exists():
            raise FileExistsError(final)
        self._temporary.mkdir(parents=True, exist_ok=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        flat = name.replace("/", "-").removesuffix(".parquet")
        temporary = self._temporary / f"{flat}-{os.getpid()}-{threading.get_ident()}.parquet"
        with lease(temporary.with_suffix(".lock"), f"the writing of {final}"):
            try:
                _write(temporary, data)
                crash_point("archiver.file_closed")
                os.link(temporary, final)
                _sync_folder(final.parent)
                _sync_folder(final.parent.parent)
                crash_point("archiver.renamed")
            finally:
                temporary.unlink(missing_ok=True)
                temporary.with_suffix(".lock").unlink(missing_ok=True)

    def sweep(self) -> None:
        for lock in self._temporary.glob("*.lock"):
            if not is_leased(lock):
                lock.with_suffix(".parquet").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        for file in self._temporary.glob("*.parquet"):
            if not file.with_suffix(".lock").exists():
                file.unlink(missing_ok=True)

    def uri(self, name: str) -> str:
        return str((self._root / name).absolute())


def _write(path: Path, data: pa.Buffer) -> None:
    """Write a file and make it durable."""
    view = memoryview(data)
    with path.open("wb") as file:
        file.write(view[: len(view) // 2])
        file.flush()
        crash_point("archiver.file_half_written")
        file.write(view[len(view) // 2 :])
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
