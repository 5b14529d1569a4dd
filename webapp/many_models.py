"""The API's shapes of lists of articles; see :mod:`.models`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from .models import Asked, Envelope, NumbersOrNone

MAX_TITLES = 100


class TitlesQuery(Asked):
    title: list[str] = Field(
        min_length=1, max_length=MAX_TITLES, description="Titles of articles: the parameter is given once for each."
    )


class TitlesBody(Asked):
    """Titles of articles, as many at once as an address has no room for."""

    titles: list[str] = Field(min_length=1, max_length=MAX_TITLES)

    @model_validator(mode="before")
    @classmethod
    def _is_object(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            raise ValueError('send a JSON object like {"titles": ["Zagreb"]} as application/json')
        return body


class ListedArticle(NumbersOrNone):
    """An article of a list; all but its names is null when it is not known."""

    title: str
    display_title: str
    wikipedia: str
    known: bool = Field(description="False when no click to or from such an article is published.")


class ListedArticles(Envelope):
    """Articles in the order that was asked for."""

    total: int
    unknown: int = Field(description="How many are not known.")
    items: list[ListedArticle]
