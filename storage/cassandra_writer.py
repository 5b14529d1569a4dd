"""Writes a view of a generation into Cassandra as pages: where the rows are, several at a time on disjoint keys."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .batch_views import BATCH_SCHEMAS, View
from .cassandra_pages import IN_CLICKS, IN_CLICKS_SCHEMA, pages
from .cassandra_session import Cassandra, Writes
from .generation_files import TITLES, GenerationFiles

_ADD_BOUND = "insert into {ks}.bounds (generation, of_view, key, position) values (?, ?, ?, ?)"
_ADD_PAGE = (
    "insert into {ks}.pages (generation, of_view, bucket, bucket_position, key, position, page) "
    "values (?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True)
class PagesWriter:
    """Writes one view. The same rows give the same pages, so that a task that is run again changes nothing."""

    cassandra: Cassandra
    generation: str
    view: View
    files: GenerationFiles
    folder: str  # of the generation's files

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> int:
        schema = BATCH_SCHEMAS[self.view]
        rows = _Counted(batch.select(schema.names).cast(schema) for batch in batches)
        with self.cassandra.writes() as writes:
            if self.view is View.ARTICLES:
                with tempfile.TemporaryDirectory(prefix="readerflow-") as scratch:
                    self._write_articles(writes, rows, Path(scratch) / "titles.parquet")
            else:
                self._write(writes, self.view, rows)
        return rows.count

    def _write_articles(self, writes: Writes, rows: _Counted, scratch: Path) -> None:
        """Write articles, then once more their clicks in alone, as pages and as a file for the word index."""
        with pq.ParquetWriter(scratch, IN_CLICKS_SCHEMA, compression="zstd") as part:
            self._write(writes, View.ARTICLES, _noted(rows, part))
        if rows.first is not None:
            self._write(writes, IN_CLICKS, pq.ParquetFile(scratch).iter_batches())
            # Named by its first title, so that a task that is run again writes the same file.
            name = hashlib.sha256(rows.first.encode()).hexdigest()[:16]
            self.files.put(scratch, f"{self.folder}/{TITLES}/{name}.parquet")

    def _write(self, writes: Writes, view: str, rows: Iterable[pa.RecordBatch]) -> None:
        of_view = str(view)
        for page in pages(view, rows):
            if page.opens_bucket:
                # Before its pages, since it is by the bounds that a dead generation is removed.
                self.cassandra.patiently(_ADD_BOUND, (self.generation, of_view, *page.bucket))
            writes.add(_ADD_PAGE, (self.generation, of_view, *page.bucket, *page.first, page.data))


@dataclass
class _Counted:
    """Batches that are counted as they pass."""

    batches: Iterable[pa.RecordBatch]
    count: int = field(default=0, init=False)
    first: str | None = field(default=None, init=False)  # key

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.batches:
            if batch.num_rows and self.first is None:
                self.first = batch.column(0)[0].as_py()
            self.count += batch.num_rows
            yield batch


def _noted(rows: Iterable[pa.RecordBatch], part: pq.ParquetWriter) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        part.write_batch(batch.select(IN_CLICKS_SCHEMA.names))
        yield batch
