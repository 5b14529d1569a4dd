"""Files in HDFS over WebHDFS: a few verbs, and errors that name the fix.

What a lost reply means: a read is asked again. A write counts only when its reply has come, so it is aimed at a name
that nobody reads yet. A rename may have happened, so the file at the target is asked for its id: HDFS keeps it.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from hdfs import Client

from readerflow.common.cluster_settings import ClusterSettings

from .archive import ArchiveUnavailable
from .hdfs_client import FAILURES, connect_hdfs, may_be_asked_again, translated

CHUNK_BYTES = 4 << 20
#: Bytes that are read with one request, and read again if it breaks.
READ_BYTES = 64 << 20
#: Pauses before a request is made again.
RETRY_SECONDS = (0.1, 0.4, 1.0)

T = TypeVar("T")


@dataclass(frozen=True)
class FileStatus:
    """A file or folder in HDFS."""

    name: str  # without its folder
    id: int  # it stays when the file is renamed
    size: int
    changed: int  # milliseconds since 1970, by the clock of the NameNode; of a folder: its last new or lost name
    is_folder: bool


class HdfsFiles:
    """The files below ``hdfs_root``, by paths relative to it. Threads may share it; it may be pickled.

    Every verb raises ``ArchiveUnavailable`` when HDFS can't be reached or refuses.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._root = settings.hdfs_root.strip("/")
        self._client: Client | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[HdfsFiles], tuple[ClusterSettings]]:
        return HdfsFiles, (self._settings,)

    def __enter__(self) -> HdfsFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client._session.close()
            self._client = None

    def uri(self, path: str) -> str:
        """Where Spark opens a file."""
        return self._settings.hdfs_rpc.rstrip("/") + self._absolute(path)

    def status(self, path: str) -> FileStatus | None:
        """What HDFS knows of a file or folder; None when there is none."""
        with suppress(FileNotFoundError):
            found = self._asked(path, lambda client: client.status(self._absolute(path)))
            return _status(path.rpartition("/")[2], found)
        return None

    def list(self, folder: str) -> Sequence[FileStatus]:
        """What is in a folder, in the order of names; nothing when there is none."""
        with suppress(FileNotFoundError):
            found = self._asked(folder, lambda client: client.list(self._absolute(folder), status=True))
            return [_status(name, facts) for name, facts in found]
        return []

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file, or so many bytes of it, which must be there.

        :raises FileNotFoundError: when the file is gone.
        """

        def ask(client: Client) -> bytes:
            with client.read(self._absolute(path), offset=offset, length=length) as reader:
                return bytes(reader.read())

        data = self._asked(path, ask)
        if length is not None and len(data) != length:
            raise ArchiveUnavailable(f"{self.uri(path)} has changed while it was read; try again")
        return data

    def open(self, path: str, size: int) -> HdfsFile:
        """Open a file of a known size to be read at any place."""
        return HdfsFile(self, path, size)

    def write(self, path: str, chunks: Iterable[bytes | memoryview]) -> FileStatus:
        """Write a file, over any that is there; it may be seen before it is whole. Folders are made.

        A file whose writer has died stays, in part.
        """
        written = 0

        def counted() -> Iterator[bytes | memoryview]:
            nonlocal written
            for chunk in chunks:
                written += len(chunk)
                yield chunk

        replication = self._settings.hdfs_replication
        with self._translated(path) as client:
            client.write(self._absolute(path), counted(), overwrite=True, replication=replication)
        found = self.status(path)
        if found is None or found.size != written:
            raise ArchiveUnavailable(f"{self.uri(path)} was changed while it was written; try again")
        return found

    def put_file(self, local: Path, path: str) -> FileStatus:
        """Copy a local file to HDFS, see :meth:`write`."""
        with local.open("rb") as file:
            return self.write(path, iter(lambda: file.read(CHUNK_BYTES), b""))

    def get_file(self, path: str, local: Path) -> None:
        """Copy a file from HDFS to a local one, which is written over.

        :raises FileNotFoundError: when it is gone.
        """
        found = self.status(path)
        if found is None:
            raise FileNotFoundError(self.uri(path))
        with local.open("wb") as file:
            for offset in range(0, found.size, READ_BYTES):
                file.write(self.read(path, offset, min(READ_BYTES, found.size - offset)))

    def make_folder(self, folder: str) -> None:
        """Make a folder and those above it, where they are missing."""
        self._asked(folder, lambda client: client.makedirs(self._absolute(folder)))

    def rename(self, path: str, target: str) -> None:
        """Rename a file; never over another one. The folder of the target is made.

        :raises FileExistsError: when there is something at the target.
        """
        mine = self.status(path)
        self.make_folder(target.rpartition("/")[0])
        try:
            with self._translated(path) as client:
                client.rename(self._absolute(path), self._absolute(target))
        except (ArchiveUnavailable, FileNotFoundError) as error:
            # HDFS has one answer for several reasons, or the reply was lost.
            there = self.status(target)
            if there is not None and mine is not None and there.id == mine.id:
                return
            if there is not None:
                raise FileExistsError(self.uri(target)) from None
            if mine is None or isinstance(error, FileNotFoundError):
                raise ArchiveUnavailable(f"{self.uri(path)} went before it could be renamed; try again") from None
            raise

    def remove(self, path: str) -> bool:
        """Remove a file, or a folder with all in it; False when there is none."""
        with suppress(FileNotFoundError):
            return bool(self._asked(path, lambda client: client.delete(self._absolute(path), recursive=True)))
        return False

    def _absolute(self, path: str) -> str:
        return "/" + "/".join(part for part in (self._root, path) if part)

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = connect_hdfs(self._settings)
            return self._client

    def _asked(self, path: str, ask: Callable[[Client], T]) -> T:
        """The answer to a request that may be made twice."""
        for pause in RETRY_SECONDS:
            try:
                return ask(self._connected())
            except FAILURES as error:
                if not may_be_asked_again(error):
                    raise translated(error, self._settings, self.uri(path)) from None
            time.sleep(pause)
        with self._translated(path) as client:
            return ask(client)

    @contextmanager
    def _translated(self, path: str) -> Iterator[Client]:
        try:
            yield self._connected()
        except FAILURES as error:
            raise translated(error, self._settings, self.uri(path)) from None


class HdfsFile:
    """A file in HDFS as Python's readers want it: each read asks for its bytes only."""

    closed = False

    def __init__(self, files: HdfsFiles, path: str, size: int) -> None:
        self._files = files
        self._path = path
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, length: int = -1) -> bytes:
        left = max(0, self._size - self._place)
        wanted = left if length < 0 else min(length, left)
        data = self._files.read(self._path, self._place, wanted) if wanted else b""
        self._place += len(data)
        return data

    def close(self) -> None:
        self.closed = True


def _status(name: str, facts: dict[str, Any]) -> FileStatus:
    return FileStatus(
        name=name,
        id=facts["fileId"],
        size=facts["length"],
        changed=facts["modificationTime"],
        is_folder=facts["type"] == "DIRECTORY",
    )
