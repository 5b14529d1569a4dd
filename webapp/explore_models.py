"""The API's shapes of trails and what lies around their ends; see :mod:`.models`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .models import Answer, Asked, Count, Envelope, NeighbourItem, Rest

DEFAULT_NEIGHBOURS, MAX_NEIGHBOURS = 12, 100


class ExploreQuery(Asked):
    trail: list[str] = Field(description="Titles of the articles gone through: the parameter is given once for each.")
    steps: str | None = Field(
        None, description="A letter for each step: f, forwards as readers click, or b, back to where they came from."
    )
    limit: int = Field(DEFAULT_NEIGHBOURS, ge=1, le=MAX_NEIGHBOURS, description="Neighbours on each side.")


class TrailItem(Answer):
    """An article of a trail and the step to it; null for the first."""

    title: str
    display_title: str
    step: Literal["forward", "back"] | None
    clicks: Count | None
    share: float | None = Field(description="Of the clicks out of (forward) or into (back) the article before.")
    probability: float | None = Field(description="Of the trail so far: the product of the shares.")


class Neighbourhood(Answer):
    """The strongest neighbours on one side: items + rest = clicks."""

    total: int
    clicks: Count
    items: list[NeighbourItem]
    rest: Rest


class Explored(Envelope):
    title: str
    display_title: str
    wikipedia: str
    in_: Count = Field(alias="in")
    out: Count
    trail: list[TrailItem]
    sources: Neighbourhood
    destinations: Neighbourhood
