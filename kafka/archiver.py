"""The archiver: takes the event log into the master dataset, every entry once.

It goes on where the files end, so no state of its own can be lost. A file accounts for each offset of its range:
records, controls, rejects (written to the dead letters before the file appears) and duplicates (see storage/fence.py).

``python kafka/archiver.py`` archives what the log holds; ``readerflow archive`` has all the options.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pyarrow as pa

from readerflow.common.crash import crash_point
from readerflow.common.errors import ReaderFlowError, Unavailable
from readerflow.common.months import now
from readerflow.common.patience import Stop, patiently
from readerflow.common.progress import Progress, silent
from readerflow.kafka.dead_letters import letters
from readerflow.kafka.facts import segment_of
from readerflow.storage.archive import ARCHIVED, AlreadyPublished, Archive
from readerflow.storage.fence import Fenced, fence, sources_of
from readerflow.storage.log import EventLog, OffsetGone

#: Entries that are read at once.
READ_ENTRIES = 500_000
#: Partitions that are archived at the same time.
THREADS = 2


@dataclass(frozen=True)
class ArchiveResult:
    """What an archiver has taken from the log."""

    files: int = 0
    records: int = 0
    controls: int = 0
    rejects: int = 0
    duplicates: int = 0

    def __add__(self, other: ArchiveResult) -> ArchiveResult:
        return ArchiveResult(
            self.files + other.files,
            self.records + other.records,
            self.controls + other.controls,
            self.rejects + other.rejects,
            self.duplicates + other.duplicates,
        )

    @property
    def entries(self) -> int:
        return self.records + self.controls + self.rejects + self.duplicates


def archive(
    log: EventLog,
    master: Archive,
    dead_letters: EventLog,
    *,
    segment_rows: int = 2_000_000,
    segment_bytes: int = 512 << 20,
    segment_seconds: float = 60.0,
    follow: bool = False,
    poll_seconds: float = 0.5,
    stop: Stop | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], datetime] = now,
) -> ArchiveResult:
    """Publish what the log holds and the archive lacks; with ``follow`` go on until ``stop`` is set.

    :param segment_rows: entries after which a file ends.
    :param segment_bytes: bytes of entries in memory after which a file ends.
    :param segment_seconds: with ``follow``, age of the oldest waiting entry after which a file ends.
    :raises OffsetGone: when the log has lost entries that the archive lacks.
    :raises Unavailable: when log or archive are away; with ``follow`` the archiver waits for them.
    """
    stop = stop or threading.Event()
    tries = partial(patiently, stop=stop, limit=None if follow else 0)
    tries(master.sweep)
    burying = threading.Lock()
    lanes = [
        _Lane(partition, log, master, dead_letters, burying, segment_rows, segment_bytes, wall)
        for partition in range(tries(lambda: log.partitions))
    ]
    total = ArchiveResult()
    with ThreadPoolExecutor(min(THREADS, len(lanes)), thread_name_prefix="archiver") as threads:
        while True:
            due = clock() if follow and not stop.is_set() else None
            age = None if due is None else (due, segment_seconds)
            files = total.files
            try:
                list(threads.map(lambda lane, age=age: tries(partial(lane.work, age)), lanes))
            except Unavailable:
                if follow and stop.is_set():
                    return total  # told to stop while it waited; the log keeps what is left
                raise
            total = sum((lane.total for lane in lanes), ArchiveResult())
            progress(total.entries, None, f"{total.rejects:,} rejects, {total.duplicates:,} duplicates")
            if due is None:
                return total
            if total.files == files:
                stop.wait(poll_seconds)


@dataclass
class _Lane:
    """One partition on its way into the archive."""

    partition: int
    log: EventLog
    master: Archive
    dead_letters: EventLog
    burying: threading.Lock  # else another lane's flush could take, and lose, letters that this one believes written
    segment_rows: int
    segment_bytes: int
    wall: Callable[[], datetime]
    waiting_since: float | None = None
    total: ArchiveResult = ArchiveResult()

    def work(self, age: tuple[float, float] | None) -> None:
        """Publish the files that are due: all of the log, or with ``age`` (now, limit) only full or old ones."""
        while True:
            start = self.master.next_offset(self.partition)
            end = self.log.end_offset(self.partition)
            if end < start:
                raise OffsetGone(
                    f"partition {self.partition} of the log ends at offset {end}, but the archive reaches to {start}:"
                    " the log was cut or made anew; run 'readerflow purge' and replay all months again"
                )
            stop = min(end, start + self.segment_rows)
            stop = min(stop, self.master.next_file(self.partition, start) or stop)
            if not self._is_due(start, stop, age):
                return
            try:
                self.total += self._publish(start, stop)
            except AlreadyPublished:
                if self.master.next_offset(self.partition) == start:
                    raise  # the file of that name does not hold these offsets
            self.waiting_since = None

    def _is_due(self, start: int, stop: int, age: tuple[float, float] | None) -> bool:
        if stop <= start:
            self.waiting_since = None
            return False
        if age is None or stop - start >= self.segment_rows:
            return True
        moment, limit = age
        if self.waiting_since is None:
            self.waiting_since = moment
        return moment - self.waiting_since >= limit

    def _publish(self, start: int, stop: int) -> ArchiveResult:
        """Make one file of the offsets [start, stop), or of fewer when they are large."""
        pieces: list[Fenced] = []
        rejects: list[pa.Table] = []
        lasts: dict[str, int] = {}
        offset, held = start, 0
        while offset < stop and held < self.segment_bytes:
            piece = self.log.read(self.partition, offset, min(READ_ENTRIES, stop - offset))
            for source in sources_of(piece):
                if source not in lasts:
                    last = self.master.last_seq(self.partition, source, before=start)
                    lasts[source] = -1 if last is None else last
            pieces.append(fence(piece, lasts))
            lasts |= pieces[-1].last_seqs
            rejects.append(piece.rejects)
            held += pieces[-1].records.nbytes + piece.rejects.nbytes
            offset = piece.next_offset
        crash_point("archiver.polled")
        self._bury(pa.concat_tables(rejects))
        records = pa.concat_tables([piece.records for piece in pieces])
        controls = pa.concat_tables([piece.controls for piece in pieces])
        counts = ArchiveResult(
            files=1,
            records=records.num_rows,
            controls=controls.num_rows,
            rejects=sum(table.num_rows for table in rejects),
            duplicates=sum(piece.duplicates for piece in pieces),
        )
        segment = segment_of(self.partition, start, offset - 1, records, controls, counts.rejects, counts.duplicates)
        rows = records.add_column(
            0, ARCHIVED.field("partition"), pa.repeat(pa.scalar(self.partition, pa.int32()), records.num_rows)
        )
        self.master.publish(segment, rows)
        return counts

    def _bury(self, rejects: pa.Table) -> None:
        """Make rejects dead letters before the file says that it has passed them."""
        if rejects.num_rows == 0:
            return
        with self.burying:
            self.dead_letters.append_raw(0, letters("clicks", self.partition, rejects, self.wall()))
            self.dead_letters.flush()
        crash_point("archiver.dead_letter_written")


def main() -> int:
    """Archive with the settings of the environment."""
    from readerflow.common.settings import load
    from readerflow.storage import open_storage

    try:
        settings = load()
        with open_storage(settings) as storage:
            result = archive(
                storage.log,
                storage.archive,
                storage.dead_letters,
                segment_rows=settings.segment_rows,
                segment_bytes=settings.segment_bytes,
            )
    except ReaderFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{result.records:,} records in {result.files} files, {result.rejects:,} rejects", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
