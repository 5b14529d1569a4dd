"""The API's shapes of search and suggestions; see :mod:`.models`."""

from __future__ import annotations

from pydantic import Field

from .models import DEFAULT_LIMIT, MAX_LIMIT, Answer, Asked, Envelope, PageQuery

MAX_SUGGESTIONS = 50
MAX_QUERY_CHARS = 255


class SuggestQuery(Asked):
    q: str = Field(
        max_length=MAX_QUERY_CHARS,
        description="Words, or how they begin, in any order; case and diacritics do not count.",
    )
    limit: int = Field(10, ge=1, le=MAX_SUGGESTIONS)


class SearchQuery(SuggestQuery, PageQuery):
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Rows of a page.")


class Suggestion(Answer):
    title: str
    display_title: str
    in_clicks: int


class Suggestions(Envelope):
    query: str
    items: list[Suggestion]


class Hit(Suggestion):
    position: int = Field(description="Among all articles by clicks in.")


class Hits(Envelope):
    """Articles in whose titles each word of the query begins another word, most clicked first. Batch only."""

    query: str
    total: int
    items: list[Hit]
    next: str | None
