"""Explore: an article at the end of a trail, with the shares of those who came here and of those who went on from here;
the answer, what of it is exported, and its route in the API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from readerflow.common.titles import display
from readerflow.storage.serving_views import Reading, Side

from . import explore_models, models
from .answers import article_numbers, names_of, neighbours, no_such_title
from .context import envelope
from .exchange import Allowance, allow
from .merge import Neighbour, merge_neighbours, total
from .replies import reply_from
from .trails import BACK, FORWARD, Trail

#: Between two articles there are no more link types than this.
LINK_TYPES = 9
EDGES = pa.schema(
    [
        ("referrer", pa.string()),
        ("article", pa.string()),
        ("link_type", pa.string()),
        *((name, pa.int64()) for name in ("clicks", "batch", "live")),
    ]
)

api = APIBlueprint("explore", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="api")])
api.record(lambda state: allow(state.app, "explore.explored", Allowance(repeated=frozenset({"trail"}))))


Edges = list[Neighbour]


def explore(reading: Reading, trail: Trail, *, limit: int = explore_models.DEFAULT_NEIGHBOURS) -> dict[str, Any]:
    """The neighbourhood of a trail's last article, and how probable each step of the trail is.

    A forward step's share is that of the clicks out of the article before, a back step's that of the clicks into it.
    ``probability`` is the product of the shares so far: how often somebody gets here who takes each step as readers do,
    whatever came before. It is null where a step has no published click.

    :raises NotFound: for a title that nobody knows.
    """
    return _explored(reading, trail, limit)[0]


def _explored(reading: Reading, trail: Trail, limit: int) -> tuple[dict[str, Any], list[Edges]]:
    """The answer, and the clicks of each step by link type."""
    at = reading.snapshot
    numbers = {title: article_numbers(reading, title) for title in trail.titles}
    unknown = next((title for title, known in numbers.items() if known is None), None)
    if unknown is not None:
        raise no_such_title(reading, unknown)
    sides = {side.value: _side(reading, side, trail.current, limit) for side in Side}
    current: Mapping[str, Any] = numbers[trail.current] or {}
    edges = [merge_neighbours(*reading.between(*ends), None, LINK_TYPES) for ends in _ends(trail)]
    answer = {
        **envelope(at),
        **names_of(at.wiki, trail.current),
        "in": current["in"],
        "out": current["out"],
        "trail": list(_steps(trail, numbers, edges)),
        **sides,
    }
    return answer, edges


def _side(reading: Reading, side: Side, title: str, limit: int) -> dict[str, Any]:
    page = neighbours(reading, side, title, limit=limit)
    return {name: page[name] for name in ("total", "clicks", "items", "rest")}


def _steps(trail: Trail, numbers: Mapping[str, Any], edges: list[Edges]) -> Iterator[dict[str, Any]]:
    probability: float | None = 1.0
    before = None
    for title, step, taken in zip(trail.titles, ("", *trail.steps), ([], *edges), strict=True):
        clicks = share = None
        if before is not None:
            clicks = total(edge.clicks for edge in taken)
            whole = numbers[before]["out" if step == FORWARD else "in"]["clicks"]
            share = clicks["clicks"] / whole if whole and clicks["clicks"] else None
            probability = probability * share if probability is not None and share is not None else None
        yield {
            "title": title,
            "display_title": display(title),
            "step": {"": None, FORWARD: "forward", BACK: "back"}[step],
            "clicks": clicks,
            "share": share,
            "probability": probability,
        }
        before = title


def _ends(trail: Trail) -> Iterator[tuple[str, str]]:
    """(referrer, article) of the clicks of each step."""
    for before, title, step in zip(trail.titles, trail.titles[1:], trail.steps, strict=False):
        yield (before, title) if step == FORWARD else (title, before)


def seen(reading: Reading, trail: Trail, limit: int) -> tuple[dict[str, Any], pa.Table]:
    """The answer of :func:`explore`, and all clicks that it shows as edges (EDGES), each once.

    A referrer that is no article keeps its name, such as ``other-search``.
    """
    answer, edges = _explored(reading, trail, limit)
    found: dict[tuple[str, str, str], Any] = {}
    for ends, taken in zip(_ends(trail), edges, strict=True):
        found |= {(*ends, edge.link_type): edge.clicks for edge in taken}
    found |= {(one["title"], trail.current, one["link_type"]): one["clicks"] for one in answer["sources"]["items"]}
    found |= {(trail.current, one["title"], one["link_type"]): one["clicks"] for one in answer["destinations"]["items"]}
    rows = [{**dict(zip(EDGES.names, key, strict=False)), **clicks} for key, clicks in found.items()]
    return answer, pa.Table.from_pylist(rows, EDGES)


@api.get(
    "/<wiki>/<month>/explore", summary="An article at the end of a trail", responses={200: explore_models.Explored}
)
def explored(path: models.MonthPath, query: explore_models.ExploreQuery) -> Response:
    trail = Trail.parse(query.trail, query.steps)
    return reply_from(path, lambda reading: explore(reading, trail, limit=query.limit))
