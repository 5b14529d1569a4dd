"""One batch run on Spark, its views written as Parquet files: all of it but the load to Cassandra.

Usage: python -m benchmarks.spark_batch HOME WIKI MONTH FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import TaskContext

from readerflow.batch_processing.batch import run_batch
from readerflow.batch_processing.spark_engine import SparkEngine
from readerflow.common.settings import load
from readerflow.storage import open_storage
from readerflow.storage.batch_views import BATCH_SCHEMAS, BatchViews, Generation, LinkGraph, Manifest, View


@dataclass(frozen=True)
class ParquetWriter:
    """A file for each task that writes the view; a task that is tried again replaces its own."""

    folder: Path
    view: View

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> int:
        schema, count = BATCH_SCHEMAS[self.view], 0
        task = TaskContext.get()
        self.folder.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(self.folder / f"{task.partitionId() if task else 0:05}.parquet", schema) as file:
            for batch in batches:
                file.write_batch(batch.cast(schema))
                count += batch.num_rows
        return count


@dataclass(frozen=True)
class ParquetViews:
    """What a batch run asks of the batch view port, and no more."""

    folder: Path

    def begin(self, wiki: str, month: str) -> Generation:
        return Generation("measured", wiki, month, None)

    def writer(self, generation: Generation, view: View) -> ParquetWriter:
        return ParquetWriter(self.folder / view.value, view)

    def write_graph(self, generation: Generation, graph: LinkGraph) -> None:
        referrers = pa.array(range(graph.nodes), pa.int32()).to_numpy().repeat(graph.offsets[1:] - graph.offsets[:-1])
        columns = [graph.titles.take(pa.array(ids)) for ids in (referrers, graph.targets)]
        rows = pa.Table.from_arrays([*columns, pa.array(graph.clicks)], ["referrer", "article", "clicks"])
        pq.write_table(rows, self.folder / f"{View.GRAPH.value}.parquet")

    def publish(self, generation: Generation, manifest: Manifest) -> None:
        """Nobody reads it."""

    def discard(self, generation: Generation) -> None:
        """It goes with its folder."""

    def sweep(self) -> list[str]:
        return []


def main() -> None:
    home, wiki, month, folder = sys.argv[1:]
    settings = load(home=Path(home))
    steps: dict[str, float] = {}
    began = time.perf_counter()

    def step(done: int, total: int | None = None, note: str = "") -> None:
        nonlocal began
        steps[note], began = time.perf_counter() - began, time.perf_counter()

    with open_storage(settings) as storage, SparkEngine(settings) as engine:
        run_batch(
            wiki,
            month,
            storage.archive,
            cast(BatchViews, ParquetViews(Path(folder).absolute())),
            engine,
            partitions=storage.log.partitions,
            ranking_rows=settings.ranking_rows,
            progress=step,
        )
    print(json.dumps({"steps": steps}))


if __name__ == "__main__":
    main()
