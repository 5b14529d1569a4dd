"""The link graph as flat files that readers map into memory: titles (:mod:`.title_files`), offsets, targets, clicks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from .batch_views import BATCH_SCHEMAS, LinkGraph, View
from .title_files import Titles, write_titles


def write_graph(folder: Path, graph: LinkGraph) -> None:
    """Write the arrays of a graph, one ``.npy`` file each."""
    write_titles(folder, graph.titles)
    for name, array in (
        ("offsets", graph.offsets),
        ("targets", graph.targets),
        ("clicks", graph.clicks),
    ):
        np.save(folder / f"{name}.npy", array)


def read_graph(folder: Path) -> LinkGraph:
    """Map the graph that :func:`write_graph` wrote; pages are read when they are touched."""
    offsets, targets, clicks = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("offsets", "targets", "clicks")
    )
    return LinkGraph(Titles(folder).array, offsets, targets, clicks)


def export_graph(graph: LinkGraph, rows: int) -> Iterator[pa.RecordBatch]:
    """The edges of a graph as rows of the view ``graph``, at most ``rows`` at a time."""
    for start in range(0, graph.edges, rows):
        end = min(start + rows, graph.edges)
        sources = np.searchsorted(graph.offsets, np.arange(start, end), side="right") - 1
        columns = [
            graph.titles.take(pa.array(sources)),
            graph.titles.take(pa.array(graph.targets[start:end])),
            pa.array(graph.clicks[start:end]),
        ]
        yield pa.record_batch(columns, names=BATCH_SCHEMAS[View.GRAPH].names).cast(BATCH_SCHEMAS[View.GRAPH])
