"""The event log in Apache Kafka: one topic, one JSON message an entry, keyed by its article.

The topic is made on first use; one that exists keeps its number of partitions. Entries go to the partition that the
caller names, whatever a client's own hash would say. Appending buffers; ``flush`` encodes and sends, and returns when
all replicas have everything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.decode import decode, encode
from readerflow.common.records import CONTROLS, ENTRIES, MAX_RAW_BYTES, RECORDS, REJECTS
from readerflow.common.settings import Settings

from .kafka_sources import Seen, active_source, recall, remember
from .kafka_topic import Topic, open_topic
from .kafka_transport import Fetched, Transport, open_transport
from .log import ActiveSource, LogSlice, OffsetGone

#: Entries that are encoded at once: while they are, those before are compressed and sent.
ENCODE_ENTRIES = 50_000
#: Bytes that a read returns at most, by which it may end before its limit.
READ_BYTES = 512 * 1024 * 1024
#: Partitions that are read at the same time to learn what they hold.
THREADS = 2

#: What was appended: entries, or (keys, values) as they are.
Piece: TypeAlias = pa.Table | tuple[list[bytes | None], list[bytes]]


class KafkaLog:
    """A topic of Kafka; see :class:`readerflow.storage.log.EventLog`.

    Threads may share it. Nothing connects before the first verb. It does not survive a fork.

    :param raw_bytes: where the ``value`` of a reject is cut; topics of larger documents (dead letters) raise it.
    :param memory: file that keeps what was learnt of sources, so that no process reads the whole topic again.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        partitions: int,
        *,
        raw_bytes: int = MAX_RAW_BYTES,
        memory: Path | None = None,
    ) -> None:
        self._settings = settings
        self._name = topic
        self._wanted = partitions
        self._raw_bytes = raw_bytes
        self._memory = memory
        self._opening = threading.Lock()
        self._topic: Topic | None = None
        self._transport: Transport | None = None
        self._buffers: dict[int, list[Piece]] = {}
        self._lock = threading.Lock()  # of buffers and ends
        self._writing = threading.Lock()  # flushes go one after the other, while appending goes on
        self._ends: dict[int, int] = {}  # the highest end seen of each partition
        self._seen: list[Seen] = []
        self._scanning: list[threading.Lock] = []

    def __enter__(self) -> KafkaLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opening:
            transport, topic = self._transport, self._topic
            self._transport = self._topic = None
        if topic is not None and self._memory is not None and any(seen.stop > 0 for seen in self._seen):
            remember(self._memory, topic.id, self._seen)
        if transport is not None:
            transport.close()

    @property
    def partitions(self) -> int:
        return self._open().partitions

    def append(self, partition: int, entries: pa.Table) -> None:
        self._check(partition)
        if not entries.schema.equals(ENTRIES):
            raise ValueError(f"entries have the schema {entries.schema.names}, the log takes {ENTRIES.names}")
        if entries.num_rows:
            with self._lock:
                self._buffers.setdefault(partition, []).append(entries)

    def append_raw(self, partition: int, entries: Iterable[tuple[bytes | None, bytes]]) -> None:
        self._check(partition)
        pairs = list(entries)
        if pairs:
            with self._lock:
                self._buffers.setdefault(partition, []).append(
                    ([key for key, _ in pairs], [value for _, value in pairs])
                )

    def flush(self) -> None:
        with self._writing:
            with self._lock:
                buffers, self._buffers = self._buffers, {}
            if not buffers:
                return
            transport = self._connected()
            for partition, pieces in buffers.items():
                for keys, values in _messages(pieces):
                    transport.send(partition, keys, values)
            transport.settle()

    def read(self, partition: int, start: int, limit: int) -> LogSlice:
        self._check(partition)
        if start < 0 or limit < 0:
            raise ValueError(f"start {start} and limit {limit} must not be negative")
        stop = start + limit
        if stop > self._ends.get(partition, -1):
            low, end = self._watermarks(partition)
            if start < low and limit:
                raise self._gone(partition, start, low)
            stop = min(stop, end)
        return self._slice(partition, start, max(start, stop))

    def _slice(self, partition: int, start: int, stop: int) -> LogSlice:
        """Read and decode [start, stop), of which the log holds all; large messages may end it before."""
        slices: list[LogSlice] = []
        offset, size = start, 0
        transport = self._connected()
        while offset < stop and size < READ_BYTES:
            fetched = transport.fetch(partition, offset, stop - offset)
            slices.append(_decoded(fetched, self._raw_bytes))
            offset, size = slices[-1].next_offset, size + fetched.values.nbytes
        return LogSlice(
            records=_concat([piece.records for piece in slices], RECORDS),
            controls=_concat([piece.controls for piece in slices], CONTROLS),
            rejects=_concat([piece.rejects for piece in slices], REJECTS),
            next_offset=offset,
        )

    def end_offset(self, partition: int) -> int:
        self._check(partition)
        return self._watermarks(partition)[1]

    def _watermarks(self, partition: int) -> tuple[int, int]:
        low, end = self._connected().watermarks(partition)
        with self._lock:
            before = self._ends.get(partition, 0)
            self._ends[partition] = max(before, end)
        if end < before:
            raise OffsetGone(
                f"topic {self._name}, partition {partition} ended at {before} and now ends at {end}: it was cut or made"
                " anew; run 'readerflow purge' and replay all months again"
            )
        return low, end

    def _gone(self, partition: int, start: int, low: int) -> OffsetGone:
        return OffsetGone(
            f"topic {self._name}, partition {partition}: offsets {start} to {low - 1} have expired or were deleted;"
            " set its retention.ms and retention.bytes to -1, run 'readerflow purge' and replay all months again"
        )

    def last_seq(self, partition: int, source: str) -> int | None:
        self._check(partition)
        with self._scanning[partition]:
            low, end = self._watermarks(partition)
            return self._seen[partition].last_seq(source, self._reader(partition), low, end)

    def active_source(self, wiki: str, month: str) -> ActiveSource | None:
        self._read_on(0)
        if (wiki, month) not in self._seen[0].replacements:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="kafka-log") as threads:
                list(threads.map(self._read_on, range(1, self.partitions)))
        return active_source(self._seen, (wiki, month))

    def _read_on(self, partition: int) -> None:
        """Learn what the partition holds of each source, up to its end."""
        self._check(partition)
        with self._scanning[partition]:
            self._seen[partition].read_on(self._reader(partition), *self._watermarks(partition))

    def _reader(self, partition: int) -> Callable[[int, int], LogSlice]:
        return lambda start, limit: self._slice(partition, start, start + limit)

    def _check(self, partition: int) -> None:
        if not 0 <= partition < self.partitions:
            raise ValueError(f"topic {self._name} has partitions 0 to {self.partitions - 1}, not {partition}")

    def _open(self) -> Topic:
        if self._topic is None:
            with self._opening:
                if self._topic is None:
                    topic = open_topic(self._settings, self._name, self._wanted)
                    nothing = [Seen() for _ in range(topic.partitions)]
                    self._seen = recall(self._memory, topic.id, topic.partitions) if self._memory else nothing
                    self._scanning = [threading.Lock() for _ in range(topic.partitions)]
                    self._transport = open_transport(self._settings, self._name)
                    self._topic = topic
        return self._topic

    def _connected(self) -> Transport:
        self._open()
        return cast(Transport, self._transport)


def _messages(pieces: list[Piece]) -> Iterable[tuple[list[bytes | None], list[bytes]]]:
    """Yield keys and values, in the order of appending."""
    for piece in pieces:
        if isinstance(piece, tuple):
            yield piece
            continue
        for start in range(0, piece.num_rows, ENCODE_ENTRIES):
            part = piece.slice(start, ENCODE_ENTRIES)
            keys = part["article"].cast(pa.binary())
            yield _as_bytes(keys), _as_bytes(encode(part))


def _as_bytes(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    found: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    return found


def _decoded(fetched: Fetched, raw_bytes: int) -> LogSlice:
    count = len(fetched.values)
    offsets = pa.array(np.arange(fetched.start, fetched.start + count, dtype=np.int64))
    found = decode(offsets, pa.nulls(count, pa.binary()), fetched.values, raw_bytes=raw_bytes)
    rejects = found.rejects
    if rejects.num_rows:  # only they need their keys
        keys = fetched.keys([offset - fetched.start for offset in rejects["offset"].to_pylist()])
        place = rejects.schema.get_field_index("key")
        capped = pc.binary_slice(pa.array(keys, pa.binary()), 0, MAX_RAW_BYTES)
        rejects = rejects.set_column(place, REJECTS.field("key"), capped)
    return LogSlice(found.records, found.controls, rejects, fetched.start + count)


def _concat(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    tables = [table for table in tables if table.num_rows]
    return pa.concat_tables(tables) if tables else schema.empty_table()
