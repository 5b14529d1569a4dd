"""The ranks as one writes them by hand with scipy: power iteration until the L1 distance is within the tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Vector = npt.NDArray[np.float64]

DAMPING = 0.85
TOLERANCE = 1e-10


def power_iteration(
    sources: npt.NDArray[Any], targets: npt.NDArray[Any], weights: Vector, nodes: int, teleport: Vector | None = None
) -> tuple[Vector, int]:
    """Rank nodes; dangling mass is spread like the teleport. Returns ranks and iterations."""
    outgoing = np.bincount(sources, weights=weights, minlength=nodes)
    links = csr_matrix((weights / outgoing[sources], (targets, sources)), shape=(nodes, nodes))
    jump = np.full(nodes, 1 / nodes) if teleport is None or not teleport.any() else teleport / teleport.sum()
    dangling = outgoing == 0
    ranks = np.full(nodes, 1 / nodes)
    iterations, distance = 0, np.inf
    while distance > TOLERANCE:
        moved = DAMPING * (links @ ranks + ranks[dangling].sum() * jump) + (1 - DAMPING) * jump
        distance = np.abs(moved - ranks).sum()
        ranks = moved
        iterations += 1
    return ranks, iterations


def three_ranks(
    sources: npt.NDArray[Any], targets: npt.NDArray[Any], clicks: npt.NDArray[Any], entries: npt.NDArray[Any]
) -> dict[str, Vector]:
    """The three ranks of ReaderFlow by name; ``entries`` has one value a node."""
    weights = clicks.astype(np.float64)
    nodes = len(entries)
    return {
        "pagerank": power_iteration(sources, targets, weights, nodes)[0],
        "reader_rank": power_iteration(sources, targets, weights, nodes, entries.astype(np.float64))[0],
        "link_rank": power_iteration(sources, targets, np.ones(len(sources)), nodes)[0],
    }


def positions(ranks: Vector) -> npt.NDArray[np.int64]:
    """Place of each node from 1, highest rank first, then by node."""
    places = np.empty(len(ranks), dtype=np.int64)
    places[np.argsort(-ranks, kind="stable")] = np.arange(1, len(ranks) + 1)
    return places
