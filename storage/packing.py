"""How the embedded log packs entries into bytes: compressed Arrow IPC streams.

Records and controls lie apart, so that reading needs no filter; the places of the controls tell the offsets of both.
Columns of records that are constant in a batch (source, wiki and month nearly always are) go into the schema's
metadata, and link types are a dictionary: a third of the bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.decode import decode
from readerflow.common.records import CLICKS, CONTROLS, OFFSET, RECORDS, REJECTS, Kind

from .log import LogSlice

_RAW = pa.schema([("key", pa.binary()), ("value", pa.binary())])
_OPTIONS = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))
_CONSTANTS = b"constants"
_MAY_BE_CONSTANT = ("source", "wiki", "month")


@dataclass(frozen=True)
class Packed:
    """A batch of entries as bytes: raw ones, or records and controls (None when there are none)."""

    entries: int
    raw: bytes | None = None
    records: bytes | None = None
    controls: bytes | None = None


def pack(piece: LogSlice) -> Packed:
    """Pack records and controls whose offsets begin with 0."""
    records, controls = piece.records, piece.controls
    return Packed(
        entries=piece.entries,
        records=_records_bytes(records) if records.num_rows else None,
        controls=_bytes(controls) if controls.num_rows else None,
    )


def pack_raw(keys: pa.Array, values: pa.Array) -> Packed:
    """Pack raw keys and values (binary)."""
    return Packed(entries=len(values), raw=_bytes(pa.table([keys, values], schema=_RAW)))


def unpack(packed: Packed, first: int, raw_bytes: int) -> LogSlice:
    """Decode a batch whose first entry has the offset ``first``; rejects are cut at ``raw_bytes``."""
    end = first + packed.entries
    if packed.raw is not None:
        table = _table(packed.raw)
        offsets = pa.array(np.arange(first, end, dtype=np.int64))
        found = decode(offsets, *(table[name].combine_chunks() for name in _RAW.names), raw_bytes=raw_bytes)
        return LogSlice(found.records, found.controls, found.rejects, end)
    controls = CONTROLS.empty_table() if packed.controls is None else _table(packed.controls)
    places = controls["offset"].to_numpy()
    controls = controls.set_column(0, OFFSET, pa.array(places + first))
    if packed.records is None:
        records = RECORDS.empty_table()
    else:
        offsets = np.delete(np.arange(first, end, dtype=np.int64), places)
        records = _records_table(packed.records, pa.array(offsets))
    return LogSlice(records, controls, REJECTS.empty_table(), end)


def split(entries: pa.Table, first: int) -> LogSlice:
    """Part entries (schema ENTRIES) into records and controls."""
    rows = entries.num_rows
    kinds = entries["kind"].to_numpy()
    places = np.flatnonzero(kinds != Kind.RECORD)
    offsets = np.arange(first, first + rows, dtype=np.int64)
    controls = entries.take(pa.array(places)).select(CONTROLS.names[1:]) if len(places) else None
    if controls is None:
        records = entries
    elif len(places) * 256 < rows:  # joining long runs is faster than picking rows
        borders = [-1, *places.tolist(), rows]
        runs = [entries.slice(start + 1, stop - start - 1) for start, stop in pairwise(borders)]
        records = pa.concat_tables([run for run in runs if run.num_rows] or [entries.slice(0, 0)])
    else:
        records = entries.filter(pa.array(kinds == Kind.RECORD))
    records = records.select(CLICKS.names).combine_chunks()
    return LogSlice(
        records=records.add_column(0, OFFSET, pa.array(np.delete(offsets, places))),
        controls=CONTROLS.empty_table()
        if controls is None
        else controls.combine_chunks().add_column(0, OFFSET, pa.array(offsets[places])),
        rejects=REJECTS.empty_table(),
        next_offset=first + rows,
    )


def constant(column: pa.ChunkedArray) -> bool:
    """Whether all values of a column are the same, and not null."""
    return column.null_count == 0 and bool(pc.all(pc.equal(column, column[0])).as_py())


def _records_bytes(records: pa.Table) -> bytes:
    constants = {name: records[name][0].as_py() for name in _MAY_BE_CONSTANT if constant(records[name])}
    stored = records.drop_columns(["offset", *constants])
    place = stored.schema.get_field_index("link_type")
    stored = stored.set_column(place, "link_type", stored["link_type"].combine_chunks().dictionary_encode())
    return _bytes(stored.replace_schema_metadata({_CONSTANTS: json.dumps(constants).encode()}))


def _records_table(data: bytes, offsets: pa.Array) -> pa.Table:
    stored = _table(data)
    constants = json.loads(stored.schema.metadata[_CONSTANTS])
    columns = {name: pa.repeat(value, stored.num_rows) for name, value in constants.items()}
    columns |= {name: stored[name] for name in stored.schema.names}
    columns |= {"offset": offsets, "link_type": stored["link_type"].cast(pa.string())}
    return pa.table([columns[name] for name in RECORDS.names], schema=RECORDS)


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    return cast(bytes, sink.getvalue().to_pybytes())


def _table(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()
