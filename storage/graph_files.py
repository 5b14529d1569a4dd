"""The link graph as flat files that readers map into memory.

Titles (:mod:`.title_files`); ``offsets``, ``targets``, ``clicks`` of the links by referrer; ``in_offsets``,
``sources``, ``in_clicks`` of the same links by article; ``out_clicks`` of each node. Generations of older versions
lack the latter four, which are worked out in memory then.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .batch_views import BATCH_SCHEMAS, LinkGraph, View
from .click_graph import ClickGraph, Links, clicks_out, incoming_of
from .title_files import Titles, write_titles

_OUTGOING = ("offsets", "targets", "clicks")
_INCOMING = ("in_offsets", "sources", "in_clicks")
_OUT_CLICKS = "out_clicks"


def write_graph(folder: Path, graph: LinkGraph) -> None:
    """Write the arrays of a graph, one ``.npy`` file each."""
    write_titles(folder, graph.titles)
    outgoing = Links(graph.offsets, graph.targets, graph.clicks)
    _save(folder, _OUTGOING, outgoing)
    _save(folder, _INCOMING, incoming_of(outgoing))
    np.save(folder / f"{_OUT_CLICKS}.npy", clicks_out(outgoing))


def _save(folder: Path, names: tuple[str, ...], links: Links) -> None:
    arrays: tuple[npt.NDArray[Any], ...] = (links.offsets, links.ends, links.clicks)
    for name, array in zip(names, arrays, strict=True):
        np.save(folder / f"{name}.npy", array)


def read_graph(folder: Path) -> LinkGraph:
    """Map the graph that :func:`write_graph` wrote; pages are read when they are touched.

    :raises FileNotFoundError: when it is not there.
    """
    links = _links(folder, _OUTGOING)
    return LinkGraph(Titles(folder).array, links.offsets, links.ends, links.clicks)


def read_click_graph(folder: Path) -> ClickGraph:
    """Map the same graph with its links in both directions.

    :raises FileNotFoundError: when it is not there.
    """
    outgoing = _links(folder, _OUTGOING)
    try:
        both = _links(folder, _INCOMING), _mapped(folder, _OUT_CLICKS)
    except FileNotFoundError:
        return ClickGraph(Titles(folder).array, outgoing, lambda: (incoming_of(outgoing), clicks_out(outgoing)))
    return ClickGraph(Titles(folder).array, outgoing, lambda: both)


def _links(folder: Path, names: tuple[str, ...]) -> Links:
    return Links(*(_mapped(folder, name) for name in names))


def _mapped(folder: Path, name: str) -> npt.NDArray[Any]:
    # Plain arrays over the mapped file: numpy is slower with its own class of mapped ones.
    mapped: npt.NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray)
    return mapped


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
