"""Batch views as Parquet files in a folder, one for each call of a writer: engines may write from any process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from readerflow.storage.batch_views import BATCH_SCHEMAS, Generation, LinkGraph, Manifest, View


@dataclass(frozen=True)
class PartWriter:
    """Writes what one call gets as one file."""

    folder: Path
    view: View

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> int:
        schema = BATCH_SCHEMAS[self.view]
        path = self.folder / self.view.value / f"{os.urandom(8).hex()}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = 0
        with pq.ParquetWriter(path, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.select(schema.names).cast(schema))
                rows += batch.num_rows
        return rows


class PartViews:
    """As much of the batch view port as a batch run uses; one generation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.graph: LinkGraph | None = None
        self.manifest: Manifest | None = None

    def begin(self, wiki: str, month: str) -> Generation:
        return Generation("g1", wiki, month, None)

    def writer(self, generation: Generation, view: View) -> PartWriter:
        return PartWriter(self.folder, view)

    def write_graph(self, generation: Generation, graph: LinkGraph) -> None:
        self.graph = graph

    def publish(self, generation: Generation, manifest: Manifest) -> None:
        self.manifest = manifest

    def discard(self, generation: Generation) -> None: ...

    def sweep(self) -> list[str]:
        return []

    def retained(self, wiki: str | None = None, month: str | None = None) -> list[Manifest]:
        return []

    def parts(self, view: View) -> list[pa.Table]:
        """What each call of a writer wrote, in key order."""
        parts = [pq.read_table(path) for path in (self.folder / view.value).glob("*.parquet")]
        parts = [part for part in parts if part.num_rows] or parts
        return sorted(parts, key=lambda part: str(part[0][0]).encode() if part.num_rows else b"")

    def table(self, view: View) -> pa.Table:
        """The rows of a view in key order."""
        if view is View.GRAPH:
            assert self.graph is not None
            graph = self.graph
            referrers = np.repeat(np.arange(graph.nodes), np.diff(graph.offsets))
            columns = [graph.titles.take(pa.array(ids)) for ids in (referrers, graph.targets)]
            return pa.table([*columns, pa.array(graph.clicks)], schema=BATCH_SCHEMAS[view])
        return pa.concat_tables(self.parts(view))
