"""A small master dataset for tests: records from tuples or tables, as Parquet files with their segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from readerflow.common.months import Month
from readerflow.common.records import partition_of
from readerflow.storage.archive import ARCHIVED, Segment, SourceFacts
from readerflow.storage.log import ActiveSource

MARCH = Month(2025, 3)


@dataclass
class FolderArchive:
    """Segments that a test makes by hand."""

    folder: Path
    files: list[Segment] = field(default_factory=list)
    active: dict[tuple[str, str], ActiveSource] = field(default_factory=dict)

    def add(
        self,
        partition: int,
        rows: pa.Table,
        *,
        wiki: str = "hrwiki",
        month: str = "2025-03",
        source: str = "s1",
        closed: tuple[datetime, datetime] | None = (MARCH.start, MARCH.end),
        skip: int = 0,
    ) -> Segment:
        """Add a file behind those of its partition; ``rows`` holds event_time, referrer, article, link_type, clicks."""
        first = max((s.last_offset + 1 for s in self.files if s.partition == partition), default=0) + skip
        count = rows.num_rows
        constants = {"partition": partition, "source": source, "wiki": wiki, "month": month}
        columns = {name: pa.repeat(pa.scalar(value), count) for name, value in constants.items()}
        columns |= {"offset": pa.array(range(first, first + count)), "seq": pa.array(range(first, first + count))}
        columns |= {name: rows[name] for name in rows.column_names}
        path = self.folder / f"{partition}-{first}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({name: columns[name] for name in ARCHIVED.names}).cast(ARCHIVED), path)
        facts = SourceFacts(wiki, month, first + count, {}, [closed] if closed else [])
        segment = Segment(partition, first, first + count, count, 1, 0, 0, {source: facts}, [], str(path))
        self.files.append(segment)
        self.active.setdefault((wiki, month), ActiveSource(source))
        return segment

    def segments(self, wiki: str | None = None, month: str | None = None) -> list[Segment]:
        chosen = [
            segment
            for segment in self.files
            if wiki is None or any((f.wiki, f.month) == (wiki, month) for f in segment.sources.values())
        ]
        return sorted(chosen, key=lambda segment: (segment.partition, segment.first_offset))

    def passed(self, source: str, partition: int) -> datetime | None:
        ends = [
            end
            for segment in self.files
            if segment.partition == partition and source in segment.sources
            for _, end in segment.sources[source].closed
        ]
        return max(ends, default=None)

    def active_source(self, wiki: str, month: str) -> ActiveSource | None:
        return self.active.get((wiki, month))

    def next_offset(self, partition: int) -> int:
        raise NotImplementedError

    def publish(self, segment: Segment, rows: pa.Table) -> Segment:
        raise NotImplementedError

    def last_seq(self, partition: int, source: str, before: int | None = None) -> int | None:
        raise NotImplementedError

    def sweep(self) -> None:
        raise NotImplementedError


def records(rows: Iterable[tuple[str, str, str, int]], hour: int = 0) -> pa.Table:
    """(referrer, article, link type, clicks) as records of one event hour of March 2025."""
    referrers, articles, types, clicks = zip(*rows, strict=True)
    time = MARCH.start + timedelta(hours=hour)
    return pa.table(
        {
            "event_time": pa.array([time] * len(clicks), pa.timestamp("us")),
            "referrer": pa.array(referrers, pa.string()),
            "article": pa.array(articles, pa.string()),
            "link_type": pa.array(types, pa.string()),
            "clicks": pa.array(clicks, pa.int64()),
        }
    )


def dump_records(path: Path) -> pa.Table:
    """A dump of 2025 as records of the month's first hour, read the plain DuckDB way."""
    with duckdb.connect() as connection:
        pairs = connection.read_csv(
            str(path), sep="\t", header=False, quotechar='"', escapechar="\\", auto_detect=False, na_values=chr(1),
            columns={"referrer": "varchar", "article": "varchar", "link_type": "varchar", "clicks": "bigint"},
        )  # fmt: skip
        return pairs.project(
            "timestamp '2025-03-01' as event_time, referrer, article, link_type, clicks"
        ).to_arrow_table()


def by_partition(rows: pa.Table, partitions: int) -> dict[int, pa.Table]:
    """Split records as a producer does."""
    places = pa.array([partition_of(article, partitions) for article in rows["article"].to_pylist()])
    return {number: rows.filter(pc.equal(places, number)) for number in range(partitions)}
