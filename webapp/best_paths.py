"""The k best paths between two articles that visit no article twice: Yen (1971), with the savings of Lawler (1972).

Of each path that has been found, the next best one leaves it at some article: the part up to there stays, the
articles of that part are banned, and so are the links by which known paths leave it there. A search for the rest that
cannot beat the candidates at hand ends early.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from readerflow.storage.click_graph import ClickGraph

from .path_search import FEWEST_CLICKS, PROBABILITY, GaveUp, Search, few_steps

#: What a path is worth, to compare: the greatest is the best.
Worth = tuple[float, int]


class By(StrEnum):
    """What makes a path the best."""

    PROBABILITY = "probability"
    CLICKS = "clicks"


@dataclass(frozen=True)
class Route:
    """A path: its articles, and its links as places in the graph's outgoing ones."""

    nodes: tuple[int, ...]
    places: tuple[int, ...]
    left_at: int = field(default=0, compare=False)  # where it leaves the path that it was derived from


@dataclass(frozen=True)
class Found:
    """The best paths, best first; ``gave_up`` when there may be others that the effort did not reach."""

    routes: list[Route]
    gave_up: bool


def best_paths(search: Search, source: int, target: int, count: int, by: By) -> Found:
    """The ``count`` best paths from an article to another one, fewer where there are fewer."""
    graph = search.graph
    worth, onward = (_probability, _likely) if by is By.PROBABILITY else (_least_clicks, _clicked)
    found: list[Route] = []
    waiting: list[tuple[tuple[float, int], tuple[int, ...], Route]] = []  # the greatest worth comes first

    def consider(root: Route, barred: Sequence[int], floor: Worth) -> None:
        rest = onward(search, root, target, barred, floor)
        if rest is not None:
            path = _joined(graph, root, rest)
            value, steps = worth(graph, path.places)
            heapq.heappush(waiting, ((-value, -steps), path.nodes, path))

    try:
        consider(Route((source,), ()), (), (0.0, 0))
        while waiting and len(found) < count:
            path = heapq.heappop(waiting)[-1]
            found.append(path)
            wanted = count - len(found)
            for at in range(path.left_at, len(path.places) if wanted else 0):
                root = Route(path.nodes[: at + 1], path.places[:at])
                barred = [one.places[at] for one in found if one.nodes[: at + 1] == root.nodes and at < len(one.places)]
                consider(root, barred, _floor([entry[0] for entry in waiting], wanted))
    except GaveUp:
        # What waits is a path, but perhaps not the next best one.
        return Found(found, True)
    return Found(found, False)


def _floor(waiting: list[tuple[float, int]], wanted: int) -> Worth:
    """The worth that a path must not fall below to be among those still wanted."""
    if len(waiting) < wanted:
        return 0.0, 0
    value, steps = heapq.nsmallest(wanted, waiting)[-1]
    return -value, -steps


def _joined(graph: ClickGraph, root: Route, rest: Sequence[int]) -> Route:
    ends = (int(graph.outgoing.ends[place]) for place in rest)
    return Route((*root.nodes, *ends), (*root.places, *rest), len(root.places))


def shares_of(graph: ClickGraph, places: Sequence[int]) -> list[float]:
    """The click share of each link of a path."""
    return [
        int(graph.outgoing.clicks[place]) / int(graph.out_clicks[graph.outgoing.node_of(place)]) for place in places
    ]


def _probability(graph: ClickGraph, places: Sequence[int]) -> Worth:
    return math.prod(shares_of(graph, places)), -len(places)


def _least_clicks(graph: ClickGraph, places: Sequence[int]) -> Worth:
    return min((float(graph.outgoing.clicks[place]) for place in places), default=math.inf), -len(places)


def _likely(search: Search, root: Route, target: int, barred: Sequence[int], floor: Worth) -> list[int] | None:
    """The most probable rest of a path."""
    begin = _probability(search.graph, root.places)[0]
    return search.best(
        root.nodes[-1], target, PROBABILITY, begin=begin, floor=floor[0], banned=root.nodes[:-1], barred=barred
    )


def _clicked(search: Search, root: Route, target: int, barred: Sequence[int], floor: Worth) -> list[int] | None:
    """The rest of a path whose least clicked link has the most clicks, of those with the fewest steps."""
    source, banned = root.nodes[-1], root.nodes[:-1]
    begin = _least_clicks(search.graph, root.places)[0]
    # A rest as good as the floor is wanted, too: it may have fewer steps.
    widest = search.best(
        source, target, FEWEST_CLICKS, begin=begin, floor=max(floor[0] - 0.5, 0.0), banned=banned, barred=barred
    )
    if widest is None:
        return None
    clicks = min(begin, _least_clicks(search.graph, widest)[0])
    return search.best(source, target, few_steps(clicks), banned=banned, barred=barred)
