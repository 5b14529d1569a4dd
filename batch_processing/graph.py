"""The link graph: rows of type ``link`` as compressed sparse rows over the articles in them, in byte order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from readerflow.storage.batch_views import LinkGraph

Ids = npt.NDArray[np.int32]
NO_LINKS = LinkGraph(
    pa.array([], pa.string()), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
)


def link_graph(titles: pa.Array, edges: Iterable[pa.RecordBatch]) -> tuple[LinkGraph, Ids]:
    """Build the graph of edges (referrer, article: title ids; clicks), each there once, in any order.

    :param titles: title i has id i; ids are in byte order.
    :returns: the graph and the title id of each node.
    """
    table = pa.Table.from_batches(edges)
    referrers, articles, clicks = (table[name].to_numpy() for name in ("referrer", "article", "clicks"))
    linked = np.zeros(len(titles), dtype=bool)
    linked[referrers] = True
    linked[articles] = True
    ids = np.flatnonzero(linked).astype(np.int32)
    node_of = np.zeros(len(titles), dtype=np.int32)
    node_of[ids] = np.arange(len(ids), dtype=np.int32)
    rows = csr_array((clicks, (node_of[referrers], node_of[articles])), shape=(len(ids), len(ids)), dtype=np.int64)
    rows.sort_indices()
    offsets, targets = rows.indptr.astype(np.int64), rows.indices.astype(np.int32)
    return LinkGraph(titles.take(pa.array(ids)), offsets, targets, rows.data), ids
