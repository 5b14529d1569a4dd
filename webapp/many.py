"""Many articles at once: the numbers of each title of a list, in its order; the answer and its routes in the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from readerflow.common.titles import from_request
from readerflow.storage.serving_views import Reading

from . import many_models, models
from .answers import UNKNOWN, article_numbers, names_of
from .context import envelope, resolve_month, site
from .exchange import Allowance, allow
from .replies import counted, reply_from

#: MAX_TITLES of 255 bytes, each of which JSON or a form may spell as three, and what is around them.
MAX_BODY_BYTES = 128 * 1024

api = APIBlueprint("many", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="api")])
api.record(lambda state: allow(state.app, "many.articles", Allowance(repeated=frozenset({"title"}))))
api.record(lambda state: allow(state.app, "many.posted_articles", Allowance(body_bytes=MAX_BODY_BYTES)))


def many(reading: Reading, titles: Sequence[str]) -> dict[str, Any]:
    """The numbers of articles in the order asked for; a title that nobody knows is an item that says so.

    :param titles: at most MAX_TITLES, which bounds what one question costs.
    """
    wiki = reading.snapshot.wiki
    found = {title: article_numbers(reading, title) for title in dict.fromkeys(titles)}
    items = [
        {**names_of(wiki, title), "known": found[title] is not None, **(found[title] or UNKNOWN)} for title in titles
    ]
    return {
        **envelope(reading.snapshot),
        "total": len(items),
        "unknown": sum(not item["known"] for item in items),
        "items": items,
    }


@api.get("/<wiki>/<month>/articles", summary="Many articles at once", responses={200: many_models.ListedArticles})
def articles(path: models.MonthPath, query: many_models.TitlesQuery) -> Response:
    return reply_from(path, lambda reading: many(reading, _stored(query.title)))


@api.post(
    "/<wiki>/<month>/articles",
    summary=f"The same for a list of up to {many_models.MAX_TITLES} titles in a JSON body",
    responses={200: many_models.ListedArticles},
)
def posted_articles(path: models.MonthPath, query: models.Nothing, body: many_models.TitlesBody) -> Response:
    month = resolve_month(site().serving, path.wiki, path.month)
    with site().serving.read(path.wiki, month) as reading:
        return counted(many(reading, _stored(body.titles)))


def _stored(titles: Sequence[str]) -> list[str]:
    return [from_request(title) for title in titles]
