"""The link graph as flat files that readers map into memory: titles (bytes and offsets), offsets, targets, clicks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .batch_views import BATCH_SCHEMAS, LinkGraph, View


def write_graph(folder: Path, graph: LinkGraph) -> None:
    """Write the arrays of a graph, one ``.npy`` file each."""
    folder.mkdir(parents=True, exist_ok=True)
    title_offsets, title_bytes = _flat(graph.titles.cast(pa.large_string()))
    for name, array in (
        ("title_offsets", title_offsets),
        ("title_bytes", title_bytes),
        ("offsets", graph.offsets),
        ("targets", graph.targets),
        ("clicks", graph.clicks),
    ):
        np.save(folder / f"{name}.npy", array)


def read_graph(folder: Path) -> LinkGraph:
    """Map the graph that :func:`write_graph` wrote; pages are read when they are touched."""
    title_offsets, title_bytes, offsets, targets, clicks = (
        np.load(folder / f"{name}.npy", mmap_mode="r")
        for name in ("title_offsets", "title_bytes", "offsets", "targets", "clicks")
    )
    titles = pa.LargeStringArray.from_buffers(
        len(title_offsets) - 1, pa.py_buffer(title_offsets), pa.py_buffer(title_bytes)
    )
    return LinkGraph(titles, offsets, targets, clicks)


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


def _flat(titles: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    if len(titles) == 0:
        return np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    _, offsets_buffer, data = titles.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[titles.offset : titles.offset + len(titles) + 1]
    return offsets - offsets[0], np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]
