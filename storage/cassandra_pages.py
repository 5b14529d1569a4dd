"""Batch views as pages: sorted rows, packed by the hundred, so that Cassandra stores tens of rows instead of thousands.

A page holds contiguous keys of a view and is named by its first (key, position); a bucket holds contiguous pages and is
named by the first of them. Keys with few rows share a page; one with more rows than a page begins a page of its own and
goes on in as many as it takes, each full. Where pages and buckets begin follows from the rows of one writer alone, so
that a task that runs twice writes the same ones.

The format of a page: length of the rest as it was before compression (4 bytes, little endian), then, zstd-compressed,
one Arrow record batch without its schema, which is one of :data:`PAGE_SCHEMAS`. Lists have a row a key, with its
entries within.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.records import LINK_TYPES

from .batch_views import BATCH_SCHEMAS, View
from .serving_views import NEIGHBOURS

Key = tuple[str, int]  # key, first position of it

#: Articles with their clicks in alone, for questions about very many of them.
IN_CLICKS = "in_clicks"
#: Clicks by class are a page of their own kind: few rows, in an order that is not that of keys.
ONE_KEY: Key = ("", 0)

_ENTRY = pa.struct([("title", pa.string()), ("link_type", pa.int8()), ("clicks", pa.int64())])
_LISTS = pa.schema([("key", pa.string()), ("position", pa.int32()), ("entries", pa.list_(_ENTRY))])
IN_CLICKS_SCHEMA = pa.schema([("article", pa.string()), ("in_clicks", pa.int64())])
PAGE_SCHEMAS: dict[str, pa.Schema] = {
    View.ARTICLES: BATCH_SCHEMAS[View.ARTICLES],
    IN_CLICKS: IN_CLICKS_SCHEMA,
    View.SOURCES: _LISTS,
    View.DESTINATIONS: _LISTS,
    View.RANKINGS: BATCH_SCHEMAS[View.RANKINGS],
    View.CLASSES: BATCH_SCHEMAS[View.CLASSES],
    View.COMMUNITIES: BATCH_SCHEMAS[View.COMMUNITIES],
}
#: Rows of a page. A reader of one row decodes a whole page, a writer pays by the page.
PAGE_ROWS: dict[str, int] = {
    View.ARTICLES: 250,
    IN_CLICKS: 2_000,
    View.SOURCES: 500,
    View.DESTINATIONS: 500,
    View.RANKINGS: 250,
    View.CLASSES: 100,
    View.COMMUNITIES: 500,
}
#: Rows of a bucket: what is read at once by an export, and one entry of the bounds that readers keep in memory.
BUCKET_ROWS: dict[str, int] = dict.fromkeys(PAGE_ROWS, 50_000) | {View.ARTICLES: 20_000}
#: Rows that are packed in one go.
CHUNK_ROWS = 65_536

_ROW_A_KEY = (View.ARTICLES, IN_CLICKS, View.COMMUNITIES)
_CODEC = pa.Codec("zstd", compression_level=1)
_TYPES = pa.array(LINK_TYPES, pa.string())


@dataclass(frozen=True)
class Page:
    """A packed page and the bucket that it lies in."""

    first: Key
    bucket: Key
    data: bytes

    @property
    def opens_bucket(self) -> bool:
        return self.first == self.bucket


def pages(view: str, batches: Iterable[pa.RecordBatch]) -> Iterator[Page]:
    """Pack the rows of a view, which come in key order and with all rows of a key.

    :param batches: columns and types as ``BATCH_SCHEMAS`` or :data:`IN_CLICKS_SCHEMA` says.
    """
    if view == View.CLASSES:
        table = pa.Table.from_batches(batches, PAGE_SCHEMAS[view])
        if table.num_rows:
            yield Page(ONE_KEY, ONE_KEY, _packed(table.combine_chunks().to_batches()[0]))
        return
    bucket: Key | None = None
    number = -1
    for offset, rows, starts in _chunks(view, batches):
        stored, borders = _stored(view, rows, starts)
        for start, (first, last) in zip(starts[:-1].tolist(), pairwise(borders), strict=True):
            page = stored.slice(first, last - first)
            name = first_key(view, page)
            if (offset + start) // BUCKET_ROWS[view] != number or bucket is None:
                number, bucket = (offset + start) // BUCKET_ROWS[view], name
            yield Page(name, bucket, _packed(page))


def _chunks(
    view: str, batches: Iterable[pa.RecordBatch]
) -> Iterator[tuple[int, pa.RecordBatch, npt.NDArray[np.int64]]]:
    """Rows that make whole pages: (rows before them, rows, where each page begins, ending with their number)."""
    offset, waiting, count = 0, list[pa.RecordBatch](), 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count < CHUNK_ROWS:
            continue
        rows = _joined(waiting)
        runs = _runs(view, rows)
        starts = _page_starts(view, offset, runs, rows.num_rows)
        # The last key may go on, and then its page may have to begin with it.
        kept = int(starts[np.searchsorted(starts, runs[-1], side="right") - 1])
        if kept:
            yield offset, rows.slice(0, kept), np.append(starts[starts < kept], kept)
        waiting, count, offset = [rows.slice(kept)], rows.num_rows - kept, offset + kept
    if count:
        rows = _joined(waiting)
        yield offset, rows, np.append(_page_starts(view, offset, _runs(view, rows), count), count)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _runs(view: str, rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Where the rows of each key begin."""
    if view in _ROW_A_KEY:
        return np.arange(rows.num_rows)
    found: npt.NDArray[np.int64] = np.flatnonzero(rows.column("position").to_numpy() == 1)
    if rows.num_rows and (not len(found) or found[0] != 0):
        raise ValueError(f"rows of {view} begin within a key")
    return found


def _page_starts(view: str, offset: int, runs: npt.NDArray[np.int64], rows: int) -> npt.NDArray[np.int64]:
    """Where pages begin: with keys, and within those that have more rows than a page."""
    size = PAGE_ROWS[view]
    lengths = np.diff(np.append(runs, rows))
    large = lengths > size
    if view == View.RANKINGS:
        large[:] = True
    places = (offset + runs) // size
    begins = np.ones(len(runs), dtype=np.bool_)
    begins[1:] = (places[1:] != places[:-1]) | large[1:] | large[:-1]
    within = [
        np.arange(run + size, run + length, size) for run, length in zip(runs[large], lengths[large], strict=True)
    ]
    starts: npt.NDArray[np.int64] = np.sort(np.concatenate([runs[begins], *within]))
    return starts


def _stored(view: str, rows: pa.RecordBatch, starts: npt.NDArray[np.int64]) -> tuple[pa.RecordBatch, list[int]]:
    """Rows in the schema of pages, and where each page begins in them."""
    if view not in (View.SOURCES, View.DESTINATIONS):
        return rows, starts.tolist()
    key, position, title, link_type, clicks = rows.columns
    codes = pc.index_in(link_type, value_set=_TYPES)
    if codes.null_count:
        raise ValueError(f"{view} has link types that records.LINK_TYPES lacks")
    entries = pa.StructArray.from_arrays([title, codes.cast(pa.int8()), clicks], fields=list(_ENTRY))
    begins = np.union1d(_runs(view, rows), starts[:-1])
    offsets = pa.array(np.append(begins, rows.num_rows), pa.int32())
    places = pa.array(begins)
    lists = pa.record_batch(
        [key.take(places), position.take(places).cast(pa.int32()), pa.ListArray.from_arrays(offsets, entries)],
        schema=_LISTS,
    )
    return lists, np.searchsorted(begins, starts).tolist()


def first_key(view: str, page: pa.RecordBatch) -> Key:
    """The key that a page in its schema of :data:`PAGE_SCHEMAS` is named by."""
    return _key_at(view, page, 0)


def last_key(view: str, page: pa.RecordBatch) -> Key:
    """The key of a page's last row: what lies between it and the first one is in this page or nowhere."""
    return _key_at(view, page, page.num_rows - 1)


def _key_at(view: str, page: pa.RecordBatch, row: int) -> Key:
    if view == View.CLASSES:
        return ONE_KEY
    if view in _ROW_A_KEY:
        return page.column(0)[row].as_py(), 0
    return page.column(0)[row].as_py(), page.column(1)[row].as_py()


def _packed(page: pa.RecordBatch) -> bytes:
    plain = page.serialize()
    return len(plain).to_bytes(4, "little") + cast(bytes, _CODEC.compress(plain, asbytes=True))


def stored_page(view: str, data: bytes) -> pa.RecordBatch:
    """What a page holds, in its schema of :data:`PAGE_SCHEMAS`."""
    plain = _CODEC.decompress(memoryview(data)[4:], int.from_bytes(data[:4], "little"))
    return pa.ipc.read_record_batch(plain, PAGE_SCHEMAS[view])


def page_rows(view: str, data: bytes) -> pa.RecordBatch:
    """The rows of a page as they were written."""
    page = stored_page(view, data)
    if view not in (View.SOURCES, View.DESTINATIONS):
        return page
    lists = page.column("entries")
    entries = lists.flatten()
    parents = pc.list_parent_indices(lists)
    offsets = lists.offsets.to_numpy() - lists.offsets[0].as_py()
    within = np.arange(len(entries)) - offsets[:-1][parents.to_numpy()]
    title, codes, clicks = entries.flatten()
    columns = [
        page.column("key").take(parents),
        pc.add(page.column("position").take(parents).cast(pa.int64()), pa.array(within)),
        title,
        _TYPES.take(codes),
        clicks,
    ]
    return pa.record_batch(columns, schema=BATCH_SCHEMAS[View(view)])


def entries_of(page: pa.RecordBatch, title: str) -> tuple[int, pa.Table]:
    """Entries of one article in a page of a list: (its first position there, title, link_type, clicks); 0 without."""
    place = pc.index(page.column("key"), title).as_py()
    if place < 0:
        return 0, NEIGHBOURS.empty_table()
    other, codes, clicks = page.column("entries")[place].values.flatten()
    return page.column("position")[place].as_py(), pa.table([other, _TYPES.take(codes), clicks], schema=NEIGHBOURS)
