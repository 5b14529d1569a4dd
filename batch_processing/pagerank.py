"""Ranks of articles: PageRank over the link graph, weighted or not, with a teleport vector.

    r' = d M r + (d m + 1 - d) v

M moves rank along links in shares that sum to 1 for each node with links, m is the rank that stands on nodes without
links (dangling mass, spread like the teleport), v the teleport vector, d the damping. Start uniform; self-loops count.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from readerflow.common.errors import ReaderFlowError
from readerflow.storage.batch_views import LinkGraph, RankFacts

Vector = npt.NDArray[np.float64]


class NotConverged(ReaderFlowError):
    """Ranks still moved more than the tolerance after the allowed iterations."""

    def __init__(self, residual: float, iterations: int, tolerance: float) -> None:
        super().__init__(
            f"ranks did not converge: residual {residual:.3g} > {tolerance:.3g} after {iterations} iterations; "
            "raise rank_tolerance, lower damping, or ask for a number of iterations"
        )
        self.residual = residual


@dataclass(frozen=True)
class Rank:
    """Ranks in the order of the graph's nodes, shape (n,), sum 1, and how they came about."""

    values: Vector
    facts: RankFacts

    def positions(self) -> npt.NDArray[np.int64]:
        """Position of each node from 1, by rank descending, then by node, which is title order."""
        order = np.argsort(-self.values, kind="stable")
        positions = np.empty(len(order), dtype=np.int64)
        positions[order] = np.arange(1, len(order) + 1)
        return positions


@dataclass(frozen=True)
class LinkMatrix:
    """Links by target: row i holds the weights of the links to node i. Ranks over one graph share its index arrays."""

    links: csr_matrix  # (n, n) float64, or what has its product with a vector
    outgoing: Vector  # (n,) sum of weights out of each node; 0 for dangling nodes

    @classmethod
    def of_clicks(cls, graph: LinkGraph) -> LinkMatrix:
        """Weigh each link by its clicks."""
        by_source = csr_matrix(
            (graph.clicks.astype(np.float64), graph.targets, graph.offsets), shape=(graph.nodes, graph.nodes)
        )
        # Sums of whole numbers below 2^53 are exact in any order.
        return cls(by_source.T.tocsr(), np.asarray(by_source.sum(axis=1), dtype=np.float64).ravel())

    def unweighted(self, graph: LinkGraph) -> LinkMatrix:
        """The same links, each of weight 1."""
        links = csr_matrix(
            (np.ones(self.links.nnz), self.links.indices, self.links.indptr), shape=self.links.shape, copy=False
        )
        return LinkMatrix(links, np.diff(graph.offsets).astype(np.float64))


def pagerank(
    matrix: LinkMatrix,
    *,
    damping: float = 0.85,
    teleport: Vector | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 1000,
    iterations: int | None = None,
) -> Rank:
    """Rank nodes by where a reader who follows links at random ends up.

    :param teleport: shape (n,), non-negative; uniform when None, or when all are 0 (``facts.uniform_teleport``).
    :param tolerance: bound on the L1 distance of two successive rank vectors.
    :param iterations: compute exactly so many, whatever the residual.
    :raises NotConverged: after ``max_iterations``; carries the last residual.

    Source: Brin & Page 1998; dangling mass as in Langville & Meyer 2006, section 8.
    """
    nodes = len(matrix.outgoing)
    target, uniform = _teleport(nodes, teleport)
    if nodes == 0:
        return Rank(np.zeros(0), RankFacts(0, 0.0, iterations is None, uniform))
    shares = np.divide(1.0, matrix.outgoing, out=np.zeros(nodes), where=matrix.outgoing > 0)
    dangling = np.flatnonzero(matrix.outgoing == 0)
    ranks = np.full(nodes, 1.0 / nodes)
    scratch = np.empty(nodes)
    residual = np.inf
    for step in range(1, (max_iterations if iterations is None else iterations) + 1):
        spread = damping * fixed_sum(ranks[dangling]) + (1.0 - damping)
        moved = matrix.links @ np.multiply(ranks, shares, out=scratch)
        moved *= damping
        moved += np.multiply(target, spread, out=scratch)
        np.subtract(ranks, moved, out=scratch)
        residual = fixed_sum(np.abs(scratch, out=scratch))
        ranks = moved
        if iterations is None and residual <= tolerance:
            return Rank(ranks, RankFacts(step, residual, True, uniform))
    if iterations is None:
        raise NotConverged(residual, max_iterations, tolerance)
    return Rank(ranks, RankFacts(iterations, residual, residual <= tolerance, uniform))


def _teleport(nodes: int, weights: Vector | None) -> tuple[Vector, bool]:
    total = 0.0 if weights is None else fixed_sum(weights.astype(np.float64))
    if weights is None or total == 0.0:
        return np.full(nodes, 1.0 / max(nodes, 1)), True
    return weights / total, False


def fixed_sum(values: Vector) -> float:
    """Sum a vector in an order that no processor changes; ``values`` is used as scratch space.

    numpy's own sum may add in another order on another CPU, and ranks would differ in the last bits. Here the upper
    half is added to the lower until one value is left: element by element, so that the order is part of the program.
    """
    size = len(values)
    while size > 1:
        half = (size + 1) // 2
        values[: size - half] += values[half:size]
        size = half
    return float(values[0]) if size else 0.0


def main(given: list[str] | None = None) -> int:
    """Rank a month of the master dataset with the settings of the environment.

    spark-submit batch_processing/pagerank.py ARCHIVE_URL [--wiki WIKI] [--month YYYY-MM] [--iterations N]

    Spark makes the link graph and this machine ranks it; or Spark does, with more links than the setting
    rank_kernel_edges. Prints the first articles by pagerank (links weigh by clicks), reader_rank (and readers start
    where they come in) and link_rank (links weigh 1). --output URL writes all articles.
    """
    from readerflow.batch_processing.rank_job import run

    return run(given, main.__doc__)


if __name__ == "__main__":
    sys.exit(main())
