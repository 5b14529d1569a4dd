"""The page of a search: all hits, or at once the article whose title was typed."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

from readerflow.common.titles import from_request

from . import answers, tables, urls
from .context import site
from .frame import asked_place, render
from .merge import merge_article
from .problems import BadRequest
from .search import search
from .search_models import MAX_QUERY_CHARS

PAGE_ROWS = 50

pages = Blueprint("search_pages", __name__)


@pages.get("/search")
def search_page() -> str | Response:
    """Hits of ``?q=``; a title that is typed exactly is opened at once, unless ``all`` hits are asked for."""
    wiki, month = asked_place()
    query, token = request.args.get("q", "").strip(), request.args.get("next")
    if len(query) > MAX_QUERY_CHARS:
        raise BadRequest(f"a search has at most {MAX_QUERY_CHARS} characters")
    with answers.open_page(site().serving, wiki, month, token) as reading:
        title = from_request(query)
        if title and token is None and "all" not in request.args and merge_article(*reading.article(title)):
            return redirect(urls.article_url(wiki, month, title), 303)
        found = search(reading, query, limit=PAGE_ROWS, token=token)
        near = answers.near_titles(reading, title) if title and not found["total"] else []
    return render(
        "search.html",
        found,
        json_url=urls.api_url(wiki, month, "search", q=query, limit=PAGE_ROWS, next=token),
        page="search",
        stay={"q": query},
        query=query,
        rows=tables.ranking_rows({**item, "value": item["in_clicks"]} for item in found["items"]),
        near=near,
        first_url=urls.search_url(wiki, month, query) if token else None,
        next_url=urls.search_url(wiki, month, query, found["next"]) if found["next"] else None,
    )
