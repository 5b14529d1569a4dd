"""The three ranks of one link graph by one library: time to build its graph, time of each rank, the ranks.

Usage: python -m benchmarks.peers.rankers LIBRARY FOLDER
FOLDER holds what ``rank_graph`` wrote; LIBRARY-RANK.npy are written beside it.

All get the same tolerance: an L1 distance of 1e-10 between two successive vectors. networkx and rustworkx multiply
theirs by the number of nodes, so it is divided by that before. igraph's solver has a fixed one of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .power import DAMPING, TOLERANCE, Vector, power_iteration
from .steps import Steps

MAX_ITERATIONS = 1000
#: Edges that are handed over at a time where a library wants Python tuples.
CHUNK = 1_000_000


@dataclass(frozen=True)
class Links:
    """What ``rank_graph`` wrote."""

    sources: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    clicks: npt.NDArray[np.int64]
    entries: Vector

    @classmethod
    def load(cls, folder: Path) -> Links:
        return cls(*(np.load(folder / f"{name}.npy") for name in ("sources", "targets", "clicks", "entries")))

    @property
    def nodes(self) -> int:
        return len(self.entries)


#: Builds a library's graph and returns what computes each rank that it offers.
Ranks = dict[str, Callable[[], Any]]


def readerflow(links: Links) -> Ranks:
    """The kernel of the batch layer."""
    import pyarrow as pa

    from readerflow.batch_processing.batch import RankRule, compute_ranks
    from readerflow.storage.batch_views import LinkGraph

    offsets = np.zeros(links.nodes + 1, dtype=np.int64)
    np.cumsum(np.bincount(links.sources, minlength=links.nodes), out=offsets[1:])
    graph = LinkGraph(pa.nulls(links.nodes, pa.string()), offsets, links.targets, links.clicks)
    found: dict[str, Vector] = {}

    def all_three() -> Vector:
        # They share the matrix and run side by side, as in a batch run, so there is one time for the three.
        ranks = compute_ranks(graph, links.entries, RankRule(DAMPING, TOLERANCE))
        found.update({name: rank.values for name, rank in ranks.items()})
        return found["pagerank"]

    return {"pagerank": all_three, "reader_rank": lambda: found["reader_rank"], "link_rank": lambda: found["link_rank"]}


def scipy(links: Links) -> Ranks:
    """A plain loop over a sparse matrix."""
    clicks, ones = links.clicks.astype(np.float64), np.ones(len(links.clicks))
    return {
        "pagerank": lambda: power_iteration(links.sources, links.targets, clicks, links.nodes)[0],
        "reader_rank": lambda: power_iteration(links.sources, links.targets, clicks, links.nodes, links.entries)[0],
        "link_rank": lambda: power_iteration(links.sources, links.targets, ones, links.nodes)[0],
    }


def networkit(links: Links) -> Ranks:
    """NetworKit; it has no teleport vector, so no reader_rank."""
    import networkit as nk

    def rank(weighted: bool) -> Vector:
        weights = links.clicks.astype(np.float64) if weighted else np.ones(len(links.clicks))
        graph = nk.GraphFromCoo(
            (weights, (links.sources, links.targets)), n=links.nodes, weighted=weighted, directed=True
        )
        algorithm = nk.centrality.PageRank(graph, DAMPING, TOLERANCE, False, nk.centrality.SinkHandling.DistributeSinks)
        algorithm.norm = nk.centrality.Norm.L1_NORM
        algorithm.maxIterations = MAX_ITERATIONS
        return np.array(algorithm.run().scores())

    return {"pagerank": lambda: rank(True), "link_rank": lambda: rank(False)}


def rustworkx(links: Links) -> Ranks:
    """rustworkx."""
    import rustworkx as rx

    graph = rx.PyDiGraph(multigraph=False)
    graph.add_nodes_from(range(links.nodes))
    for start in range(0, len(links.sources), CHUNK):
        part = slice(start, start + CHUNK)
        columns = (links.sources[part], links.targets[part], links.clicks[part].astype(np.float64))
        graph.add_edges_from(list(zip(*(column.tolist() for column in columns), strict=True)))
    options: dict[str, Any] = {"alpha": DAMPING, "tol": TOLERANCE / links.nodes, "max_iter": MAX_ITERATIONS}

    def rank(**more: Any) -> Vector:
        return np.fromiter(rx.pagerank(graph, **options, **more).values(), dtype=np.float64, count=links.nodes)

    jump = dict(enumerate(links.entries.tolist()))
    return {
        "pagerank": lambda: rank(weight_fn=float),
        "reader_rank": lambda: rank(weight_fn=float, personalization=jump),
        "link_rank": rank,
    }


def igraph(links: Links) -> Ranks:
    """igraph."""
    import igraph as ig

    graph = ig.Graph(n=links.nodes, edges=np.column_stack((links.sources, links.targets)), directed=True)
    clicks = links.clicks.tolist()  # it takes an array for the name of an attribute
    return {
        "pagerank": lambda: np.array(graph.pagerank(damping=DAMPING, weights=clicks)),
        "reader_rank": lambda: np.array(
            graph.personalized_pagerank(damping=DAMPING, weights=clicks, reset=links.entries.tolist())
        ),
        "link_rank": lambda: np.array(graph.pagerank(damping=DAMPING)),
    }


def networkx(links: Links) -> Ranks:
    """networkx, whose ranks are a scipy loop over a graph of Python dictionaries."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(range(links.nodes))
    columns = (links.sources, links.targets, links.clicks)
    graph.add_weighted_edges_from(zip(*(column.tolist() for column in columns), strict=True))
    options: dict[str, Any] = {"alpha": DAMPING, "tol": TOLERANCE / links.nodes, "max_iter": MAX_ITERATIONS}

    def rank(**more: Any) -> Vector:
        return np.fromiter(nx.pagerank(graph, **options, **more).values(), dtype=np.float64, count=links.nodes)

    return {
        "pagerank": rank,
        "reader_rank": lambda: rank(personalization=dict(enumerate(links.entries.tolist()))),
        "link_rank": lambda: rank(weight=None),
    }


LIBRARIES: dict[str, Callable[[Links], Ranks]] = {
    function.__name__: function for function in (readerflow, scipy, networkit, rustworkx, igraph, networkx)
}


#: What a library's functions import, where that is not its name.
MODULES = {"readerflow": ("pyarrow", "readerflow.batch_processing.batch")}


def main() -> None:
    library, folder = sys.argv[1], Path(sys.argv[2])
    for module in MODULES.get(library, (library,)):
        import_module(module)  # not timed
    steps = Steps()
    links = Links.load(folder)
    with steps.step("build"):
        ranks = LIBRARIES[library](links)
    for name, compute in ranks.items():
        with steps.step(name):
            values = compute()
        np.save(folder / f"{library}-{name}.npy", values)
    steps.tell()


if __name__ == "__main__":
    main()
