"""The event log port: one topic of partitions whose offsets only grow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from readerflow.common.errors import ReaderFlowError, Unavailable


class LogUnavailable(Unavailable):
    """The log did not take or give data in time; nothing is lost, the caller may try again."""


class LogRefused(ReaderFlowError):
    """The log answers, but will not do what it was asked (rights, sizes); trying again is no use."""


@dataclass(frozen=True)
class LogSlice:
    """Entries [start, next_offset) of a partition, decoded, each kind in offset order."""

    records: pa.Table  # records.RECORDS
    controls: pa.Table  # records.CONTROLS
    rejects: pa.Table  # records.REJECTS
    next_offset: int

    @property
    def entries(self) -> int:
        return int(self.records.num_rows + self.controls.num_rows + self.rejects.num_rows)


@dataclass(frozen=True)
class ActiveSource:
    """The replay whose records count for a (wiki, month), and the offset in partition 0 that made it so.

    The offset is -1 for a first source, which no replacement record announced. A higher offset wins, so a reader that
    lags behind can't bring an older source back.
    """

    source: str
    since: int = -1


class EventLog(Protocol):
    """Records and controls in partitions.

    Every verb raises :class:`LogUnavailable` when the log can't be reached within its time-out.
    """

    @property
    def partitions(self) -> int:
        """How many partitions the log has, fixed when it was made."""

    def append(self, partition: int, entries: pa.Table) -> None:
        """Buffer entries (schema ``records.ENTRIES``) in their order."""

    def append_raw(self, partition: int, entries: Iterable[tuple[bytes | None, bytes]]) -> None:
        """Buffer (key, value) pairs as they are, even if no reader can decode them."""

    def flush(self) -> None:
        """Return when all that was appended is durable and readable. On failure the caller appends again."""

    def read(self, partition: int, start: int, limit: int) -> LogSlice:
        """Read at most ``limit`` entries from offset ``start``; an empty slice at the end. Never waits for new ones.

        :raises OffsetGone: when the log no longer holds ``start``.
        """

    def end_offset(self, partition: int) -> int:
        """The offset that the next entry will get."""

    def last_seq(self, partition: int, source: str) -> int | None:
        """The highest ``seq`` of a source in a partition, heartbeats included: where its replay goes on."""

    def active_source(self, wiki: str, month: str) -> ActiveSource | None:
        """The source that counts for a (wiki, month) at the log's end; None when the log holds none of it."""


class OffsetGone(ReaderFlowError):
    """An offset range is missing from the log: batches were deleted or expired."""


def log_ends(log: EventLog) -> dict[int, int]:
    """Where a log ends now: partition -> the offset that its next entry will get."""
    return {partition: log.end_offset(partition) for partition in range(log.partitions)}
