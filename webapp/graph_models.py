"""The API's shapes of what the link graph tells; see :mod:`.models`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .graph_answers import MAX_PATHS, MAX_RELATED
from .models import TITLE, Answer, Asked, Envelope

DEFAULT_RELATED = 20


class PathQuery(Asked):
    from_: str = Field(alias="from", min_length=1, description="The title of the article that the path begins at.")
    to: str = Field(min_length=1, description="The title of the article that it leads to.")
    k: int = Field(1, ge=1, le=MAX_PATHS, description="How many paths, the best first; none visits an article twice.")
    by: Literal["probability", "clicks"] = Field(
        "probability",
        description="The best is the most probable one, or the one whose least clicked link has most clicks.",
    )


class RelatedQuery(Asked):
    limit: int = Field(DEFAULT_RELATED, ge=1, le=MAX_RELATED, description="How many articles.")


class TitleRelatedQuery(RelatedQuery):
    title: str = TITLE


class End(Answer):
    title: str
    display_title: str


class PathArticle(End):
    reached: float = Field(description="The probability to get so far, from the start.")


class PathLink(Answer):
    """A step; share = clicks / out_clicks."""

    from_: str = Field(alias="from")
    to: str
    clicks: int
    out_clicks: int = Field(description="Clicks on all links out of the same article.")
    share: float


class PathItem(Answer):
    position: int
    steps: int
    probability: float = Field(description="The product of the shares of its links.")
    clicks: int = Field(description="Clicks on its least clicked link.")
    articles: list[PathArticle]
    links: list[PathLink]


class Paths(Envelope):
    """How readers get from one article to another, following links. Batch only."""

    from_: End = Field(alias="from")
    to: End
    by: Literal["probability", "clicks"]
    k: int
    measure: str
    batch_only: bool
    outcome: Literal["found", "none", "same", "gave_up", "not_kept"] = Field(
        description="gave_up: the search looked at `max_links` links and knew of no path yet; not_kept: the month has "
        "too many links, its batch views hold no graph."
    )
    reason: Literal["no_link_out", "no_link_in", "not_connected"] | None = Field(description="Of `none`.")
    complete_list: bool = Field(description="False when the search ended before it knew all of the k best paths.")
    max_links: int
    items: list[PathItem]


class RelatedItem(End):
    position: int
    chance: float
    to: int = Field(description="Clicks on the link from here to it; 0 without one.")
    from_: int = Field(alias="from", description="Clicks on the link from it to here.")


class Related(Envelope):
    """Articles that readers of an article see, too. Batch only."""

    title: str
    display_title: str
    wikipedia: str
    measure: str
    batch_only: bool
    reason: Literal["no_batch_views", "not_kept", "no_links"] | None = Field(description="Why there are no items.")
    items: list[RelatedItem]
