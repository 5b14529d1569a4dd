"""Links of a graph with too many edges for one machine, as Spark keeps them for the kernel of :mod:`.pagerank`.

A step of the kernel is a product of the link matrix and a vector, plus sums over vectors. Here the matrix stays with
the executors, in blocks of rows: all links to some contiguous nodes, as compressed sparse rows. Vectors are whole: each
step sends one to the executors and gets one back, so the driver holds some ten vectors, and each Python worker one, of
8 bytes a node. The sums of a row are added in the order of the kernel on one machine: ranks are equal to the bit.

Blocks are files in the engine's scratch folder that Spark keeps in memory as far as it fits. What a step rests on is
these files, never an earlier step; a lost executor costs the reading of its blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel
from scipy.sparse import csr_array

from .graph import Ids
from .pagerank import LinkMatrix, Vector

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame

#: Edges of a task, and of a block: a task may hold some blocks, each is a value of a row (12 bytes an edge).
TASK_EDGES, BLOCK_EDGES = 5_000_000, 1_000_000

#: ``first`` node of the rows; sources int32 and weights float64 of all links; offsets int32 of rows in them.
BLOCKS = pa.schema([("first", pa.int32()), *((name, pa.binary()) for name in ("offsets", "sources", "weights"))])
SUMS = pa.schema([("first", pa.int32()), ("sums", pa.binary())])


@dataclass(frozen=True)
class DistributedLinks:
    """A link graph in Spark: the title id of each node, and its matrices."""

    ids: Ids
    by_clicks: LinkMatrix
    unweighted: LinkMatrix


@contextmanager
def distributed_links(
    edges: DataFrame, titles: int, keep: Callable[[str, DataFrame], DataFrame]
) -> Iterator[DistributedLinks]:
    """Bring edges (referrer, article: title ids; clicks), each there once, into blocks, for as long as they are used.

    :param titles: how many there are.
    :param keep: stores a table by name and gives it back as what was stored.
    """
    ids, clicks, links = _outgoing(edges)
    nodes = len(ids)
    node_of = np.zeros(titles, dtype=np.int32)
    node_of[ids] = np.arange(nodes, dtype=np.int32)
    context = edges.sparkSession.sparkContext
    tasks = max(context.defaultParallelism, -(-int(links.sum()) // TASK_EDGES))
    numbers = context.broadcast(node_of)
    # A range of targets a task, of about as many edges each, whatever their numbers of links.
    ranged = edges.repartitionByRange(tasks, "article")
    schema = "first int, offsets binary, sources binary, weights binary"
    blocks = keep("rank_blocks", ranged.mapInArrow(cast(Any, _Pack(numbers, BLOCK_EDGES)), schema))
    numbers.destroy()
    blocks.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        yield DistributedLinks(
            ids,
            LinkMatrix(cast(Any, SparkMatrix(blocks, nodes, weighted=True)), clicks),
            LinkMatrix(cast(Any, SparkMatrix(blocks, nodes, weighted=False)), links),
        )
    finally:
        blocks.unpersist()


def _outgoing(edges: DataFrame) -> tuple[Ids, Vector, Vector]:
    """Title ids of the nodes, ascending, and of each the clicks and the links that go out."""
    both = edges.select(F.col("referrer").alias("id"), "clicks", F.lit(1).alias("links")).unionAll(
        edges.select("article", F.lit(0), F.lit(0))
    )
    table = both.groupBy("id").agg(F.sum("clicks").alias("clicks"), F.sum("links").alias("links")).toArrow()
    ids, clicks, links = (table[name].to_numpy() for name in ("id", "clicks", "links"))
    order = np.argsort(ids)
    return ids[order].astype(np.int32), clicks[order].astype(np.float64), links[order].astype(np.float64)


@dataclass(frozen=True)
class SparkMatrix:
    """Links by target in Spark. Knows the one thing that the kernel asks of a matrix: its product with a vector."""

    blocks: DataFrame
    nodes: int
    weighted: bool

    def __matmul__(self, vector: Vector) -> Vector:
        sent = self.blocks.sparkSession.sparkContext.broadcast(vector)
        try:
            found = self.blocks.mapInArrow(
                cast(Any, _Multiply(sent, self.weighted)), "first int, sums binary"
            ).toArrow()
        finally:
            sent.destroy()
        product = np.zeros(self.nodes)  # nodes to which no link leads are in no block
        for first, sums in zip(found["first"].to_pylist(), found["sums"], strict=True):
            part = np.frombuffer(sums.as_buffer(), dtype=np.float64)
            product[first : first + len(part)] = part
        return product


@dataclass(frozen=True)
class _Pack:
    """Makes blocks of a task's edges."""

    node_of: Broadcast[npt.NDArray[np.int32]]
    block_edges: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts = [batch for batch in batches if batch.num_rows]
        if not parts:
            return
        table = pa.Table.from_batches(parts)
        sources, targets = (self.node_of.value[table[name].to_numpy()] for name in ("referrer", "article"))
        weights = table["clicks"].to_numpy().astype(np.float64)
        first, last = int(targets.min()), int(targets.max())
        shape = (last - first + 1, len(self.node_of.value))
        rows = csr_array((weights, (targets - first, sources)), shape=shape)
        rows.sort_indices()
        starts = np.flatnonzero(np.diff(rows.indptr[:-1] // self.block_edges, prepend=-1))
        for start, end in zip(starts, [*starts[1:], shape[0]], strict=True):
            edges = slice(rows.indptr[start], rows.indptr[end])
            arrays = (rows.indptr[start : end + 1] - rows.indptr[start], rows.indices[edges], rows.data[edges])
            kinds = (np.int32, np.int32, np.float64)
            packed = [[array.astype(kind).tobytes()] for array, kind in zip(arrays, kinds, strict=True)]
            yield pa.record_batch([pa.array([first + start], pa.int32()), *packed], schema=BLOCKS)


@dataclass(frozen=True)
class _Multiply:
    """Multiplies blocks with a vector."""

    vector: Broadcast[Vector]
    weighted: bool

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        vector = self.vector.value
        for batch in batches:
            for first, offsets, sources, weights in zip(*batch.columns, strict=True):
                links = np.frombuffer(sources.as_buffer(), dtype=np.int32)
                rows = np.frombuffer(offsets.as_buffer(), dtype=np.int32)
                data = np.frombuffer(weights.as_buffer(), dtype=np.float64) if self.weighted else np.ones(len(links))
                sums = csr_array((data, links, rows), shape=(len(rows) - 1, len(vector))) @ vector
                yield pa.record_batch([pa.array([first.as_py()], pa.int32()), [sums.tobytes()]], schema=SUMS)
