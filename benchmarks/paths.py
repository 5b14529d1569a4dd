"""Paths on a home's month: percentiles of a search beside other libraries on the same graph and the same pairs.

    python -m benchmarks.paths HOME WIKI MONTH --pairs 1000 --peer-pairs 20

Pairs are random: from any article with links out to any with links in. A peer looks for the cheapest path by
-log(share) on a few of them, and its costs must be ReaderFlow's. With ``--url`` a running site is asked as well, by
several clients at the same time. Exit status 1 when a cost differs. Where other programs use the cores, the times of
the processor are the better guide.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from readerflow.common.settings import load
from readerflow.storage import open_storage
from readerflow.storage.click_graph import ClickGraph
from readerflow.webapp.best_paths import By, best_paths, shares_of
from readerflow.webapp.graph_answers import MAX_LINKS
from readerflow.webapp.path_search import Effort, Search, Workspaces

from . import machine
from .machine import version_of

Pair = tuple[int, int]
Cost = Callable[[Pair], float]


def main() -> int:
    asked = parse()
    with open_storage(load(home=asked.home)) as storage, storage.serving_views.read(asked.wiki, asked.month) as reading:
        graph = reading.graph()
    assert graph is not None, "no generation"
    for name, fact in machine.facts().items():
        print(f"{name}: {fact}")
    print(f"{graph.nodes:,} articles, {graph.edges:,} links; random pairs, seed {asked.seed}\n")
    pairs = random_pairs(graph, asked.pairs, asked.seed)
    costs = {by: measured(f"best path, by {by}", graph, pairs, 1, by) for by in By}
    for by in By:
        measured(f"five paths, by {by}", graph, pairs[: asked.pairs // 10], 5, by)
    if asked.url:
        over_http(asked, graph, pairs)
    found = [(pair, cost) for pair, cost in zip(pairs, costs[By.PROBABILITY], strict=True) if cost < math.inf]
    few = dict(found[: asked.peer_pairs])
    apart = 0.0
    for name, open_peer in PEERS.items():
        if name in asked.peers:
            apart = max(apart, beside(name, open_peer, graph, few))
    return 1 if apart > 1e-6 else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("wiki")
    parser.add_argument("month")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--peer-pairs", type=int, default=20)
    parser.add_argument("--peers", default="scipy,igraph", type=lambda text: text.split(","))
    parser.add_argument("--url", help="a running site that serves the same home")
    parser.add_argument("--clients", type=int, default=2, help="how many ask it at the same time (2)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def random_pairs(graph: ClickGraph, count: int, seed: int) -> list[Pair]:
    """Articles with links out and others with links in."""
    rng = np.random.default_rng(seed)
    sources, targets = (
        rng.choice(np.flatnonzero(np.diff(links.offsets)), count) for links in (graph.outgoing, graph.incoming)
    )
    return [(a, b) for a, b in zip(sources.tolist(), targets.tolist(), strict=True) if a != b]


def measured(name: str, graph: ClickGraph, pairs: list[Pair], count: int, by: By) -> list[float]:
    """Search for each pair, print percentiles, return the cost of each best path (inf: none)."""
    workspaces, costs, seconds, cpu_seconds, links, unfinished = Workspaces(), [], [], [], [], 0
    for source, target in pairs:
        effort = Effort(MAX_LINKS)
        began, cpu_began = perf_counter(), process_time()
        with workspaces.take(graph.nodes) as workspace:
            found = best_paths(Search(graph, workspace, effort), source, target, count, by)
        seconds.append(perf_counter() - began)
        cpu_seconds.append(process_time() - cpu_began)
        links.append(MAX_LINKS - effort.links)
        unfinished += found.gave_up
        best = found.routes[0].places if found.routes else None
        costs.append(math.inf if best is None else -sum(map(math.log, shares_of(graph, best))))
    print(
        f"{name}: {len(pairs)} pairs, {percentiles(seconds)}; of CPU {percentiles(cpu_seconds)}; "
        f"{sum(links) / len(links):,.0f} links looked at, {sum(map(math.isinf, costs))} without a path, "
        f"{unfinished} at the limit",
        flush=True,
    )
    return costs


def percentiles(seconds: list[float]) -> str:
    p50, p95, p99, most = (1000 * float(value) for value in np.quantile(seconds, [0.5, 0.95, 0.99, 1]))
    return f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms"


def over_http(asked: argparse.Namespace, graph: ClickGraph, pairs: list[Pair]) -> None:
    """Ask a site for the best path of each pair."""

    def ask(titles: list[str]) -> float:
        query = urlencode({"from": titles[0], "to": titles[1]})
        began = perf_counter()
        with urlopen(f"{asked.url.rstrip('/')}/api/v1/{asked.wiki}/{asked.month}/path?{query}") as answer:  # noqa: S310
            answer.read()
        return perf_counter() - began

    with ThreadPoolExecutor(asked.clients) as clients:
        seconds = list(clients.map(ask, [graph.titles_of(list(pair)) for pair in pairs]))
    print(f"the site, {asked.clients} clients: {percentiles(seconds)}", flush=True)


def beside(
    name: str, peer: Callable[[ClickGraph], Iterator[Cost]], graph: ClickGraph, ours: dict[Pair, float]
) -> float:
    """Let a peer find the same paths; returns how far its costs are from ours."""
    if name != "scipy" and version_of(name) == "not installed":
        print(f"{name}: not installed")
        return 0.0
    began = perf_counter()
    cost = next(peer(graph))
    made = perf_counter() - began
    costs, seconds, cpu_seconds = [], [], []
    for pair in ours:
        began, cpu_began = perf_counter(), process_time()
        costs.append(cost(pair))
        seconds.append(perf_counter() - began)
        cpu_seconds.append(process_time() - cpu_began)
    apart: float = max((abs(a - b) for a, b in zip(costs, ours.values(), strict=True)), default=0.0)
    print(
        f"{name} {version_of(name)}: {len(ours)} of these pairs, {percentiles(seconds)}; "
        f"of CPU {percentiles(cpu_seconds)}; {made:.1f} s for its graph; "
        f"largest difference of costs {apart:.1e}",
        flush=True,
    )
    return apart


def _costs_of_links(graph: ClickGraph) -> npt.NDArray[np.float64]:
    out = np.repeat(graph.out_clicks, np.diff(graph.outgoing.offsets))
    costs: npt.NDArray[np.float64] = -np.log(graph.outgoing.clicks / out)
    return costs


def _scipy(graph: ClickGraph) -> Iterator[Cost]:
    # A stored 0 is no link for scipy.
    costs = np.maximum(_costs_of_links(graph), 1e-300)
    matrix = csr_array((costs, graph.outgoing.ends, graph.outgoing.offsets), shape=(graph.nodes, graph.nodes))
    yield lambda pair: float(dijkstra(matrix, indices=pair[0])[pair[1]])


def _igraph(graph: ClickGraph) -> Iterator[Cost]:
    import igraph

    referrers = np.repeat(np.arange(graph.nodes), np.diff(graph.outgoing.offsets))
    made = igraph.Graph(n=graph.nodes, edges=np.column_stack([referrers, graph.outgoing.ends]), directed=True)
    made.es["cost"] = _costs_of_links(graph)
    yield lambda pair: float(made.distances(pair[0], pair[1], weights="cost")[0][0])


PEERS: dict[str, Callable[[ClickGraph], Iterator[Cost]]] = {"scipy": _scipy, "igraph": _igraph}

if __name__ == "__main__":
    sys.exit(main())
