"""Files of generations in HDFS, below ``<hdfs_root>/graphs``; each machine keeps a copy of those that it maps."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .hdfs_files import HdfsFiles

FOLDER = "graphs"


@dataclass(frozen=True)
class HdfsGenerationFiles:
    """See :class:`.generation_files.GenerationFiles`.

    A file that is put is seen before it is whole: nobody reads it before its generation is published.

    :param cache: a local folder that all processes of this machine share. A copy appears in it as a whole.
    """

    files: HdfsFiles
    cache: Path

    def put(self, local: Path, name: str) -> None:
        self.files.put_file(local, f"{FOLDER}/{name}")

    def local(self, folder: str) -> Path:
        copy = self.cache / folder
        if copy.is_dir():
            return copy
        with self._only_one(folder):
            if not copy.is_dir():
                self._fetch(folder, copy)
                self._forget_lost(folder)
        return copy

    def remove(self, folder: str) -> None:
        self.files.remove(f"{FOLDER}/{folder}")
        shutil.rmtree(self.cache / folder, ignore_errors=True)

    def _fetch(self, folder: str, copy: Path) -> None:
        found = [file.name for file in self.files.list(f"{FOLDER}/{folder}") if not file.is_folder]
        if not found:
            raise FileNotFoundError(self.files.uri(f"{FOLDER}/{folder}"))
        half = copy.with_name(copy.name + ".part")
        shutil.rmtree(half, ignore_errors=True)  # of a process that died
        half.mkdir(parents=True)
        for name in found:
            self.files.get_file(f"{FOLDER}/{folder}/{name}", half / name)
            _sync(half / name)
        half.rename(copy)
        _sync(copy.parent)

    def _forget_lost(self, folder: str) -> None:
        """Drop copies of generations that another machine has removed; what is mapped of them stays readable."""
        wiki, month, *_ = folder.split("/")
        there = {found.name for found in self.files.list(f"{FOLDER}/{wiki}/{month}")}
        for generation in (self.cache / wiki / month).iterdir():
            if generation.name not in there:
                shutil.rmtree(generation, ignore_errors=True)

    @contextmanager
    def _only_one(self, folder: str) -> Iterator[None]:
        """Wait until no other process or thread of this machine fetches from the same month."""
        wiki, month, *_ = folder.split("/")
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / f"{wiki}-{month}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable: a copy that is torn by a power cut would be taken for whole."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
