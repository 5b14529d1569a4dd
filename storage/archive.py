"""The archive port: the master dataset, Parquet files over contiguous offset ranges.

A file is written aside and published under a name that says its partition and first offset, never over another file.
Its footer holds a :class:`Segment`, so the files alone say where the archiver goes on, how far each source has come,
and what is in them. No state lives elsewhere: the index is a cache of footers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from readerflow.common.errors import ReaderFlowError, Unavailable
from readerflow.common.records import CLICKS, OFFSET

from .log import ActiveSource

#: The columns of an archive file.
ARCHIVED = pa.schema([pa.field("partition", pa.int32()), OFFSET, *CLICKS])


class AlreadyPublished(ReaderFlowError):
    """Another archiver has published this range; the loser drops its file and looks where to go on."""


class OverlappingSegments(ReaderFlowError):
    """Two files hold the same offsets and no footer explains it: counting both would double clicks."""


@dataclass(frozen=True)
class HourFacts:
    """Records of one source and event hour in a file."""

    first_offset: int
    records: int
    clicks: dict[str, int]  # by link type


@dataclass(frozen=True)
class SourceFacts:
    """What a file holds of one source."""

    wiki: str
    month: str
    last_seq: int  # heartbeats included
    hours: dict[datetime, HourFacts] = field(default_factory=dict)
    closed: list[tuple[datetime, datetime]] = field(default_factory=list)  # slots closed by heartbeats, merged
    #: (slot's start, its end, offset of its heartbeat); None in files of archivers that did not note it.
    heartbeats: list[tuple[datetime, datetime, int]] | None = None


@dataclass(frozen=True)
class Replacement:
    """A control record that made ``source`` the active one of (wiki, month)."""

    wiki: str
    month: str
    source: str
    offset: int


@dataclass(frozen=True)
class Segment:
    """The footer of a file: offsets [first_offset, last_offset] of a partition, all accounted for.

    last_offset - first_offset + 1 = records + controls + rejects + duplicates.
    """

    partition: int
    first_offset: int
    last_offset: int
    records: int
    controls: int
    rejects: int
    duplicates: int
    sources: dict[str, SourceFacts] = field(default_factory=dict)
    replacements: list[Replacement] = field(default_factory=list)
    uri: str = ""  # where an engine opens the file; set by the archive, not stored


class Archive(Protocol):
    """The master dataset. Every verb raises ``ArchiveUnavailable`` when it can't be reached."""

    def next_offset(self, partition: int) -> int:
        """The first offset that no contiguous file holds: where the archiver goes on."""

    def next_file(self, partition: int, start: int) -> int | None:
        """The first offset of the first file beyond offset ``start``: what is written into a hole must end there."""

    def publish(self, segment: Segment, rows: pa.Table) -> Segment:
        """Make a file of rows (schema ARCHIVED) visible as a whole, with the segment in its footer.

        :raises AlreadyPublished: when a file with this partition and first offset exists.
        """

    def segments(self, wiki: str | None = None, month: str | None = None) -> list[Segment]:
        """The files, in partition and offset order; with wiki and month only those that hold something of it.

        :raises OverlappingSegments: naming the files, when two hold the same offsets.
        """

    def read(self, segment: Segment, columns: Sequence[str] = ARCHIVED.names, first_offset: int = 0) -> pa.Table:
        """The rows of a file from an offset on; it opens only the row groups that hold some."""

    def last_seq(self, partition: int, source: str, before: int | None = None) -> int | None:
        """The highest seq of a source in files that begin before offset ``before`` (None: in all)."""

    def passed(self, source: str, partition: int) -> datetime | None:
        """The end of the source's last slot that heartbeats have closed in a partition."""

    def active_source(self, wiki: str, month: str) -> ActiveSource | None:
        """The source that counts for a (wiki, month) as far as the archive reaches."""

    def sweep(self) -> None:
        """Remove temporary files that crashed archivers left."""


class ArchiveUnavailable(Unavailable):
    """The archive can't be reached or written; nothing is lost, the caller may try again."""


class ArchiveRefused(ReaderFlowError):
    """The archive answers, but will not do what it was asked (rights, quota); trying again is no use."""


def gaps(segments: list[Segment]) -> list[tuple[int, int, int]]:
    """The ranges (partition, first missing offset, last missing offset) that no file holds.

    :param segments: all files of an archive, in partition and offset order; each partition's offsets begin with 0.
    """
    missing: list[tuple[int, int, int]] = []
    reached: dict[int, int] = {}
    for segment in segments:
        expected = reached.get(segment.partition, 0)
        if segment.first_offset > expected:
            missing.append((segment.partition, expected, segment.first_offset - 1))
        reached[segment.partition] = max(expected, segment.last_offset + 1)
    return missing
