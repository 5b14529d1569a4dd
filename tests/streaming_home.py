"""A home with the ports that the stream works on, and a stream that tests stop where they like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from readerflow.kafka.archiver import archive
from readerflow.storage.batch_views import Manifest, NoGeneration
from readerflow.storage.fence import fence
from readerflow.storage.local_archive import LocalArchive
from readerflow.storage.sqlite_log import SQLiteLog
from readerflow.storage.sqlite_realtime import SQLiteRealtime
from readerflow.streaming.stream import StreamResult, stream


@dataclass
class Generations:
    """As much of the batch views as the stream asks for."""

    manifests: list[Manifest] = field(default_factory=list)
    in_clicks: dict[str, int] = field(default_factory=dict)

    def retained(self, wiki: str | None = None, month: str | None = None) -> list[Manifest]:
        return self.manifests

    def current(self, wiki: str, month: str) -> Manifest | None:
        mine = [manifest for manifest in self.manifests if (manifest.wiki, manifest.month) == (wiki, month)]
        return mine[-1] if mine else None

    def article_in_clicks(self, generation: str, articles: pa.Array) -> pa.Table:
        if generation not in {manifest.generation for manifest in self.manifests}:
            raise NoGeneration(generation)
        known = [name for name in articles.to_pylist() if name in self.in_clicks]
        return pa.table({"article": pa.array(known, pa.string()), "in_clicks": [self.in_clicks[n] for n in known]})


class StopAfter:
    """Says stop after so many looks at it: one a round of the stream's loop."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


@dataclass
class Home:
    path: Path
    log: SQLiteLog
    dead_letters: SQLiteLog
    archive: LocalArchive
    realtime: SQLiteRealtime
    generations: Any = field(default_factory=Generations)

    def append(self, partition: int, entries: pa.Table) -> None:
        self.log.append(partition, entries)
        self.log.flush()

    def archive_all(self, segment_rows: int = 1000) -> None:
        archive(self.log, self.archive, self.dead_letters, segment_rows=segment_rows)

    def stream(self, **options: Any) -> StreamResult:
        return stream(self.log, self.archive, self.generations, self.realtime, **options)

    def records(self) -> list[dict[str, Any]]:
        """All records of the log without duplicates, with their partitions."""
        found = []
        for partition in range(self.log.partitions):
            piece = self.log.read(partition, 0, 10**9)
            for row in fence(piece, {}).records.to_pylist():
                found.append(row | {"partition": partition})
        return found


@contextmanager
def open_home(path: Path, partitions: int = 2) -> Iterator[Home]:
    with ExitStack() as stack:
        yield Home(
            path,
            stack.enter_context(SQLiteLog(path / "log.db", "clicks", partitions)),
            stack.enter_context(SQLiteLog(path / "log.db", "clicks.dlq", 1)),
            stack.enter_context(LocalArchive(path / "archive")),
            stack.enter_context(SQLiteRealtime(path / "serving.db")),
        )
