"""What the link graph tells, as plain dicts like those of :mod:`.answers`: paths, and related articles.

The graph belongs to the batch views: clicks here are those before the horizon and on links only, and have no live
part.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from readerflow.common.titles import display
from readerflow.storage.click_graph import ClickGraph
from readerflow.storage.serving_views import Reading, Snapshot

from .answers import names_of, no_such_title
from .best_paths import By, Route, best_paths, shares_of
from .context import envelope, site
from .merge import merge_article
from .path_search import Effort, Search
from .problems import NotFound
from .walks import see_also

MAX_PATHS = 5
MAX_RELATED = 50
#: What one request for paths may cost: a second or two of one core.
MAX_LINKS = 4_000_000

MEASURES = {
    By.PROBABILITY: "the product of the click shares of its links; a link's share is its clicks divided by the clicks "
    "on all links out of the same article",
    By.CLICKS: "the clicks on its least clicked link; of paths with the same number, the one with fewer steps",
}
RELATED_MEASURE = (
    "the chance that a walk ends at an article which begins here and moves once or twice, each time along a link in "
    "either direction, as often as readers clicked on it"
)


@dataclass(frozen=True)
class PathQuestion:
    """What was asked for, checked against one generation. It can be answered when the reading is over."""

    at: Snapshot
    graph: ClickGraph
    titles: tuple[str, str]
    count: int
    by: By


def is_known(reading: Reading, title: str) -> bool:
    """Whether clicks in or out of a title are known, on links or others, in batch or live."""
    graph = reading.graph()
    linked = graph is not None and graph.node(title) is not None
    return linked or merge_article(*reading.article(title)) is not None


def path_question(reading: Reading, source: str, target: str, count: int, by: By) -> PathQuestion:
    """Look the ends of a path up.

    :raises NotFound: before a first generation, and for a title that nobody knows, with ``near`` and ``parameter``.
    """
    at, graph = reading.snapshot, reading.graph()
    if graph is None:
        raise NotFound(f"{at.wiki} {at.month} has no batch views yet, and paths come with them")
    for parameter, title in (("from", source), ("to", target)):
        if not is_known(reading, title):
            problem = no_such_title(reading, title)
            problem.members["parameter"] = parameter
            raise problem
    return PathQuestion(at, graph, (source, target), count, by)


def path(asked: PathQuestion) -> dict[str, Any]:
    """The best paths from an article to another, best first; batch only.

    ``outcome``: found; none, with the ``reason``; same, when the two are one article; gave_up, when the search reached
    its limit before it knew of a path; not_kept, when the batch views hold no graph. ``complete_list`` is false when
    there may be further paths among the ``k`` best that the search did not reach.

    Of each item: ``probability``, the product of the shares; ``clicks``, those of its least clicked link; ``articles``
    with ``reached``, the probability to get so far; ``links`` between them, each with its share of ``out_clicks``.
    """
    graph, (source, target) = asked.graph, asked.titles
    outcome, reason = _without_search(asked)
    routes: list[Route] = []
    complete = True
    if outcome == "found":
        with site().workspaces.take(graph.nodes) as workspace:
            search = Search(graph, workspace, Effort(MAX_LINKS))
            found = best_paths(search, _node(graph, source), _node(graph, target), asked.count, asked.by)
        routes, complete = found.routes, not found.gave_up
        if not routes:
            outcome = "gave_up" if found.gave_up else "none"
            reason = None if found.gave_up else "not_connected"
    return {
        **envelope(asked.at),
        "from": {"title": source, "display_title": display(source)},
        "to": {"title": target, "display_title": display(target)},
        "by": asked.by.value,
        "k": asked.count,
        "measure": MEASURES[asked.by],
        "batch_only": True,
        "outcome": outcome,
        "reason": reason,
        "complete_list": complete,
        "max_links": MAX_LINKS,
        "items": [_route(graph, route, position) for position, route in enumerate(routes, 1)],
    }


def _without_search(asked: PathQuestion) -> tuple[str, str | None]:
    """(outcome, reason) of a question that needs no search; ``found`` when it takes one."""
    graph, (source, target) = asked.graph, asked.titles
    if source == target:
        return "same", None
    if _not_kept(asked.at, graph):
        return "not_kept", None
    start, end = graph.node(source), graph.node(target)
    if start is None or not graph.out_clicks[start]:
        return "none", "no_link_out"
    if end is None or graph.incoming.offsets[end] == graph.incoming.offsets[end + 1]:
        return "none", "no_link_in"
    return "found", None


def _not_kept(at: Snapshot, graph: ClickGraph) -> bool:
    """Whether the links were too many for the generation to keep its graph."""
    return not graph.nodes and at.manifest is not None and at.manifest.linked_articles > 0


def _node(graph: ClickGraph, title: str) -> int:
    node = graph.node(title)
    assert node is not None  # noqa: S101, looked up before
    return node


def _route(graph: ClickGraph, route: Route, position: int) -> dict[str, Any]:
    titles = graph.titles_of(list(route.nodes))
    shares = shares_of(graph, route.places)
    clicks = [int(graph.outgoing.clicks[place]) for place in route.places]
    reached = accumulate(shares, operator.mul, initial=1.0)
    return {
        "position": position,
        "steps": len(route.places),
        "probability": math.prod(shares),
        "clicks": min(clicks),
        "articles": [
            {"title": title, "display_title": display(title), "reached": so_far}
            for title, so_far in zip(titles, reached, strict=True)
        ],
        "links": [
            {"from": here, "to": there, "clicks": n, "out_clicks": int(graph.out_clicks[node]), "share": share}
            for here, there, n, node, share in zip(
                titles[:-1], titles[1:], clicks, route.nodes[:-1], shares, strict=True
            )
        ],
    }


def related(reading: Reading, title: str, limit: int) -> dict[str, Any]:
    """Articles that readers of an article see, too, the greatest chance first; batch only.

    ``to`` and ``from`` of an item are the clicks on links from here to it and from it to here.

    :raises NotFound: for a title that nobody knows.
    """
    if not is_known(reading, title):
        raise no_such_title(reading, title)
    at, graph = reading.snapshot, reading.graph()
    node = graph.node(title) if graph else None
    reason = None
    if graph is None:
        reason = "no_batch_views"
    elif node is None:
        reason = "not_kept" if _not_kept(at, graph) else "no_links"
    return {
        **envelope(at),
        **names_of(at.wiki, title),
        "measure": RELATED_MEASURE,
        "batch_only": True,
        "reason": reason,
        "items": _walked(at, graph, node, limit) if graph is not None and node is not None else [],
    }


def _walked(at: Snapshot, graph: ClickGraph, node: int, limit: int) -> list[dict[str, Any]]:
    """What walks from a node reach; a process remembers those that were asked for last."""
    key = (at.generation, node)
    known = site().walks.get(key)
    if known is None:
        known = site().walks.put(key, see_also(graph, node, MAX_RELATED), 16 * MAX_RELATED)
    nodes, chances = known[0][:limit], known[1][:limit]
    return [
        {
            "position": position,
            "title": title,
            "display_title": display(title),
            "chance": chance,
            "to": graph.outgoing.clicks_between(node, other),
            "from": graph.incoming.clicks_between(node, other),
        }
        for position, (title, other, chance) in enumerate(
            zip(graph.titles_of(nodes), nodes.tolist(), chances.tolist(), strict=True), 1
        )
    ]
