"""Tables as bytes in Arrow's stream format, to be stored or sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pyarrow as pa


def write_stream(table: pa.Table) -> bytes:
    """A table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return cast(bytes, sink.getvalue().to_pybytes())


def read_streams(bodies: Iterable[bytes], schema: pa.Schema) -> pa.Table:
    """The rows of Arrow streams one after the other."""
    batches = [batch for body in bodies for batch in pa.ipc.open_stream(body)]
    return pa.Table.from_batches(batches, schema)
