"""Search: articles by the words of their titles, all hits by pages; the answer and its route in the API."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from readerflow.common.titles import display
from readerflow.storage.serving_views import Reading

from . import models, search_models
from .answers import open_page
from .context import LATEST, envelope, resolve_month, site
from .models import DEFAULT_LIMIT
from .paging import RankingPage
from .replies import reply

api = APIBlueprint("search", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="api")])


def search(reading: Reading, query: str, *, limit: int = DEFAULT_LIMIT, token: str | None = None) -> dict[str, Any]:
    """A page of the articles in whose titles each word of the query begins another word, most clicked first.

    ``position`` is that among all articles by clicks in. Batch only. A query without words has no hits.
    """
    at = reading.snapshot
    page = RankingPage.parse(token) if token else RankingPage(at.generation, 0)
    rows, total = reading.search(query, page.position, limit + 1)
    found = rows.to_pylist()
    shown, more = found[:limit], len(found) > limit
    return {
        **envelope(at),
        "query": query,
        "total": total,
        "items": [
            {
                "position": row["position"],
                "title": row["article"],
                "display_title": display(row["article"]),
                "in_clicks": row["in_clicks"],
            }
            for row in shown
        ],
        "next": RankingPage(at.generation, shown[-1]["position"]).token() if more else None,
    }


@api.get("/<wiki>/search", summary="Articles by words of their titles", responses={200: search_models.Hits})
def search_latest(path: models.WikiPath, query: search_models.SearchQuery) -> Response:
    return _search(models.MonthPath(wiki=path.wiki, month=LATEST), query)


@api.get("/<wiki>/<month>/search", summary="The same, of another month", responses={200: search_models.Hits})
def search_month(path: models.MonthPath, query: search_models.SearchQuery) -> Response:
    return _search(path, query)


def _search(path: models.MonthPath, query: search_models.SearchQuery) -> Response:
    month = resolve_month(site().serving, path.wiki, path.month)
    with open_page(site().serving, path.wiki, month, query.next) as reading:
        return reply(reading, lambda: search(reading, query.q, limit=query.limit, token=query.next))
