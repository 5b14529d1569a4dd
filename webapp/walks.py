"""Which articles readers see together: short walks over the clicks between articles.

A walk begins at an article and moves once or twice, with even chances, each time along a link in either direction, as
often as readers clicked on it. An article's *chance* is how often such walks end there: personalised PageRank, cut off
after two steps. Clicks count in both directions, since what leads readers to an article says as much about it as where
they go on; benchmarks/related.py compares measures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from readerflow.storage.click_graph import ClickGraph, Links

#: A walk goes on from an article only where a link of it gets so much of the walks on average (Andersen, Chung & Lang
#: 2006): hubs would cost much and tell little. So the second step looks at no more than 1 / LEAST_CHANCE links.
LEAST_CHANCE = 1 / 200_000
#: The first step follows so many links on each side, those with most clicks.
MOST_LINKS = 10_000

Nodes = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float64]
Walked = tuple[Nodes, Chances]


def see_also(graph: ClickGraph, node: int, count: int) -> Walked:
    """The articles at which most walks from ``node`` end, without itself: (nodes, chances), the greatest first.

    The chances of all articles, with the walks that come back, add to at most 1.
    """
    nodes, clicks = _summed(*(np.concatenate(parts) for parts in zip(*_nearest(graph, node), strict=True)))
    once = clicks / max(clicks.sum(), 1)
    twice_at, twice = _step(graph, nodes, once)
    found, chances = _summed(np.concatenate([nodes, twice_at]), np.concatenate([once, twice]) / 2)
    chances, found = chances[found != node], found[found != node]
    order = np.lexsort((found, -chances))[:count]  # ties by title
    return found[order], chances[order]


def _nearest(graph: ClickGraph, node: int) -> list[tuple[Nodes, npt.NDArray[np.int64]]]:
    """The neighbours of an article on both sides, without itself, and the clicks."""
    sides = []
    for links in (graph.outgoing, graph.incoming):
        row = links.of(node)
        ends, clicks = links.ends[row].astype(np.int64), links.clicks[row]
        if len(clicks) > MOST_LINKS:
            most = np.argpartition(clicks, -MOST_LINKS)[-MOST_LINKS:]
            ends, clicks = ends[most], clicks[most]
        sides.append((ends[ends != node], clicks[ends != node]))
    return sides


def _step(graph: ClickGraph, nodes: Nodes, chances: Chances) -> tuple[Nodes, Chances]:
    """Where walks that stand on nodes are one move later; nodes may repeat."""
    degrees = sum(links.offsets[nodes + 1] - links.offsets[nodes] for links in (graph.outgoing, graph.incoming))
    walked = chances >= LEAST_CHANCE * degrees
    nodes, chances = nodes[walked], chances[walked]
    origins, ends, clicks = (
        np.concatenate(parts)
        for parts in zip(*(_moves(links, nodes) for links in (graph.outgoing, graph.incoming)), strict=True)
    )
    totals = np.bincount(origins, weights=clicks, minlength=len(nodes))
    return ends, chances[origins] * clicks / totals[origins]


def _moves(links: Links, nodes: Nodes) -> tuple[Nodes, Nodes, npt.NDArray[np.int64]]:
    """All links of nodes but those to themselves: (which of the nodes, the other end, clicks)."""
    places, counts = links.of_all(nodes)
    origins = np.repeat(np.arange(len(nodes)), counts)
    ends = links.ends[places].astype(np.int64)
    moving = ends != nodes[origins]
    return origins[moving], ends[moving], links.clicks[places[moving]]


def _summed(nodes: Nodes, values: npt.NDArray[Any]) -> tuple[Nodes, Chances]:
    """Values by node, each node once."""
    found, place = np.unique(nodes, return_inverse=True)
    sums: Chances = np.bincount(place, weights=values, minlength=len(found)).astype(np.float64)
    return found, sums
