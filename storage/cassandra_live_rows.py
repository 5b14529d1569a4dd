"""How realtime rows lie in Cassandra: packed, so that a micro-batch writes one row for many clicks. Pure functions.

A *stored row* belongs to a write (``id``, part, chunk) and holds entries in ``body``. Those of live_pairs are packed by
hand, since an article's page unpacks hundreds of them: the number of entries (uint32), then an ENTRY each, then the
neighbours' titles one after the other. The other views' bodies are Arrow streams.

A *fold* holds the sums of the rows of writes ``since`` to ``id``. Its part is FOLDED, so it sorts behind them, and it
counts once all its ``chunks`` are there; then the rows that it holds don't count, whether they have been deleted by
then or not. So folding needs no transaction, and who reads in the middle of it counts nothing twice.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.arrow_streams import write_stream
from readerflow.common.records import CLASS_OF, LINK_TYPES

from .serving_views import Side
from .title_files import flat

FOLDED = 2**31 - 1
#: Entries of a stored row at most.
CHUNK = 2_000
#: Partitions of a day of live_pairs: a day goes by deleting them, so a title is no part of their key.
BUCKETS = 256
#: Fewer rows than these are not worth a fold, and more bytes than these no second one.
MIN_FOLDED_ROWS, MAX_FOLDED_BYTES = 8, 512 * 1024
ENTRY = np.dtype([("clicks", "<i8"), ("link_type", "<u2"), ("length", "<u2")])
DAY = timedelta(days=1)
SIDE_NUMBERS = {Side.SOURCES: 0, Side.DESTINATIONS: 1}

_EPOCH = datetime(1970, 1, 1)
_HOUR_MICROSECONDS = 3_600_000_000
_TYPES = pa.array(LINK_TYPES)
_CLASSES = pa.array(list(CLASS_OF))


class Stored(NamedTuple):
    """A stored row without the key of its group."""

    id: int
    part: int
    chunk: int
    chunks: int  # of its fold; 0 for a row that is none
    since: int
    body: bytes


class PairRow(NamedTuple):
    """Neighbours of a title in an hour, to be stored."""

    title: str
    side: int
    hour: int
    chunk: int
    body: bytes


class Entries(NamedTuple):
    """Unpacked neighbours; ``sizes`` says how many came from each body."""

    titles: pa.StringArray
    link_types: npt.NDArray[np.uint16]  # places in LINK_TYPES
    clicks: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def day_number(time: datetime) -> int:
    return (time - _EPOCH) // DAY


def bucket_of(title: str) -> int:
    """The partition of a title within a day."""
    return zlib.crc32(title.encode()) % BUCKETS


def pack_pairs(pairs: pa.Table) -> Iterator[tuple[tuple[str, int, int], list[PairRow]]]:
    """Pack LIVE_PAIRS, both directions: ((source, day, bucket), rows), a partition once for each direction.

    The same pairs in any order give the same rows.
    """
    pairs = pairs.combine_chunks()
    is_class = pc.is_in(pairs["referrer"], value_set=_CLASSES)
    yield from _pack_side(pairs, "article", "referrer", SIDE_NUMBERS[Side.SOURCES])
    yield from _pack_side(pairs.filter(pc.invert(is_class)), "referrer", "article", SIDE_NUMBERS[Side.DESTINATIONS])


def _pack_side(pairs: pa.Table, of: str, other: str, side: int) -> Iterator[tuple[tuple[str, int, int], list[PairRow]]]:
    if not pairs.num_rows:
        return
    sources, titles = (pairs[name].combine_chunks().dictionary_encode() for name in ("source", of))
    hours = pairs["hour"].cast(pa.int64()).to_numpy() // _HOUR_MICROSECONDS
    first_hour, names = int(hours.min()), titles.dictionary.to_pylist()
    span = int(hours.max()) - first_hour + 1
    source_codes, title_codes = (column.indices.to_numpy().astype(np.int64) for column in (sources, titles))
    groups = (source_codes * len(names) + title_codes) * span + (hours - first_hour)
    order, bounds, chunks = _chunked(groups, pairs, other)
    bodies = _bodies(pairs[other], pairs["link_type"], pairs["clicks"], order, bounds)
    firsts = order[bounds[:-1]]
    buckets = np.array([bucket_of(name) for name in names])[title_codes[firsts]]
    days = hours[firsts] // 24
    by_partition = np.lexsort((buckets, days, source_codes[firsts]))
    keys = zip(
        (sources.dictionary.take(pa.array(source_codes[firsts][by_partition]))).to_pylist(),
        days[by_partition].tolist(),
        buckets[by_partition].tolist(),
        by_partition.tolist(),
        strict=True,
    )
    title_of, hour_of = title_codes[firsts].tolist(), hours[firsts].tolist()
    for partition, rows in groupby(keys, key=itemgetter(0, 1, 2)):
        places = [row[3] for row in rows]
        yield (
            partition,
            [PairRow(names[title_of[at]], side, hour_of[at], chunks[at], bodies[at]) for at in places],
        )


def _chunked(
    groups: npt.NDArray[np.int64], pairs: pa.Table, other: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[int]]:
    """An order in which groups lie together, where stored rows begin in it (and its end), and their chunk numbers."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [len(ordered)]])
    large = np.flatnonzero(np.diff(starts) > CHUNK).tolist()
    for place in large:
        # Chunks of a part that is written twice at the same time must not mix: so their order is the rows' own.
        mine = order[starts[place] : starts[place + 1]]
        keys = [(other, "ascending"), ("link_type", "ascending")]
        order[starts[place] : starts[place + 1]] = mine[pc.sort_indices(pairs.take(pa.array(mine)), keys).to_numpy()]
    if not large:
        return order, starts, [0] * (len(starts) - 1)
    bounds, chunks = list[int](), list[int]()
    for start, end in pairwise(starts.tolist()):
        pieces = range(start, end, CHUNK)
        bounds += pieces
        chunks += range(len(pieces))
    return order, np.array([*bounds, len(ordered)]), chunks


def _bodies(
    others: pa.ChunkedArray,
    link_types: pa.ChunkedArray,
    clicks: pa.ChunkedArray,
    order: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
) -> list[bytes]:
    """The bodies of the stored rows that begin (and end) at ``bounds`` of the ordered entries."""
    offsets, letters = flat(others.combine_chunks().take(pa.array(order)).cast(pa.large_string()))
    text = letters.tobytes()
    entries = np.empty(len(order), ENTRY)
    entries["clicks"] = clicks.to_numpy()[order]
    entries["link_type"] = pc.index_in(link_types, _TYPES).to_numpy()[order]
    entries["length"] = np.diff(offsets)
    fixed, width = entries.tobytes(), ENTRY.itemsize
    places = zip(pairwise(bounds.tolist()), pairwise(offsets[bounds].tolist()), strict=True)
    return [
        (end - start).to_bytes(4, "little") + fixed[start * width : end * width] + text[first:last]
        for (start, end), (first, last) in places
    ]


def pack_entries(titles: pa.Array, link_types: npt.NDArray[np.uint16], clicks: npt.NDArray[np.int64]) -> list[bytes]:
    """Pack neighbours into bodies of at most CHUNK entries."""
    kinds = pa.chunked_array([_TYPES.take(pa.array(link_types))])
    order = np.arange(len(titles))
    bounds = np.array([*range(0, len(titles), CHUNK), len(titles)])
    return _bodies(pa.chunked_array([titles]), kinds, pa.chunked_array([pa.array(clicks)]), order, bounds)


def unpack(bodies: Sequence[bytes]) -> Entries:
    """Take the entries out of bodies, in their order."""
    sizes = [int.from_bytes(body[:4], "little") for body in bodies]
    width = ENTRY.itemsize
    fixed = b"".join([body[4 : 4 + width * size] for body, size in zip(bodies, sizes, strict=True)])
    text = b"".join([body[4 + width * size :] for body, size in zip(bodies, sizes, strict=True)])
    entries = np.frombuffer(fixed, ENTRY)
    # 32-bit offsets: Arrow groups large strings six times slower.
    offsets = np.zeros(len(entries) + 1, np.int32)
    np.cumsum(entries["length"], out=offsets[1:])
    titles = pa.StringArray.from_buffers(len(entries), pa.py_buffer(offsets), pa.py_buffer(text))
    return Entries(
        titles,
        np.ascontiguousarray(entries["link_type"]),
        np.ascontiguousarray(entries["clicks"]),
        np.array(sizes, np.int64),
    )


def add_up(entries: Entries) -> tuple[pa.StringArray, npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Titles, link types and clicks of entries, each (title, link type) once."""
    # Most have few entries, for which Arrow's group_by takes three times as long.
    titles = entries.titles.dictionary_encode().indices.to_numpy().astype(np.int64)
    _, firsts, places = np.unique(titles * len(LINK_TYPES) + entries.link_types, return_index=True, return_inverse=True)
    clicks = np.zeros(len(firsts), np.int64)
    np.add.at(clicks, places, entries.clicks)
    return entries.titles.take(pa.array(firsts)), entries.link_types[firsts], clicks


def link_type_names(link_types: npt.NDArray[np.uint16]) -> pa.StringArray:
    """The names of link types by their places in LINK_TYPES."""
    return _TYPES.take(pa.array(link_types))


def pieces(table: pa.Table) -> Iterator[bytes]:
    """A table as Arrow streams of at most CHUNK rows."""
    for start in range(0, table.num_rows, CHUNK):
        yield write_stream(table.slice(start, CHUNK).combine_chunks())


def counted(rows: Sequence[Stored], until: int, aborted: Collection[int] = ()) -> list[Stored]:
    """The rows of a group that count for a reader of the writes up to ``until``.

    :param aborted: writes up to ``until`` that were given up.
    """
    folds = _whole_folds(rows, until)
    if not folds:
        return [row for row in rows if row.id <= until and row.part != FOLDED and row.id not in aborted]
    ends = sorted(folds)
    found = []
    for row in rows:
        if row.id > until:
            continue
        place = bisect_left(ends, row.id)
        if row.part == FOLDED:
            if row.id in folds and not (place + 1 < len(ends) and folds[ends[place + 1]] <= row.since):
                found.append(row)
        elif row.id not in aborted and not (place < len(ends) and folds[ends[place]] <= row.id):
            found.append(row)
    return found


def _whole_folds(rows: Sequence[Stored], until: int) -> dict[int, int]:
    """Last write -> first write of the folds that are there as a whole, without those within another."""
    there = Counter((row.id, row.since, row.chunks) for row in rows if row.part == FOLDED and row.id <= until)
    whole = {last: since for (last, since, chunks), found in there.items() if found == chunks}
    outer: dict[int, int] = {}
    first = None
    for last in sorted(whole, reverse=True):
        if first is None or whole[last] < first:
            outer[last] = first = whole[last]
    return outer


def worth_folding(rows: Sequence[Stored], until: int, aborted: Collection[int] = ()) -> list[Stored]:
    """The newest rows up to a write that a fold may hold, which are few enough bytes; none when it gains too little."""
    newest_first = sorted(counted(rows, until, aborted), key=itemgetter(0), reverse=True)
    if not newest_first or newest_first[0].part == FOLDED:
        return []  # a second fold that ends with the same write would overwrite the first before it is there
    found: list[Stored] = []
    size = 0
    for _, write in groupby(newest_first, key=itemgetter(0)):
        mine = list(write)
        size += sum(len(row.body) for row in mine)
        if size > MAX_FOLDED_BYTES and found:
            break
        found += mine
    return found if len(found) >= MIN_FOLDED_ROWS else []
