"""WikiNav's routes, for programs that were written for it: a language code for the wiki, WikiNav's names of fields.

``/api/v1/<language>/<title>/sources|destinations/<YYYY-MM|latest>?start=&limit=&sort=`` and ``/api/v1/latest/meta``.
What is different: ``views`` are merged clicks, each answer also carries the envelope of all answers, and unknown or
senseless parameters are refused. A first part that ends in ``wiki`` is a wiki, never a language, so that these routes
never stand in the way of ``/api/v1/<wiki>/<month>/sources/<title>``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from werkzeug.routing import BaseConverter

from readerflow.common.titles import from_request, language
from readerflow.storage.serving_views import Reading, Side

from . import models
from . import wikinav_models as shapes
from .context import LATEST, envelope, site
from .merge import merge_article, merge_neighbours
from .problems import BadRequest, NotFound
from .replies import reply_as_it_is, reply_from
from .urls import API, address

#: Rows that a request reads at most, with those before ``start``.
MAX_ROWS = 20_000

api = APIBlueprint("wikinav", __name__, url_prefix=API, abp_tags=[Tag(name="wikinav", description="WikiNav's routes.")])


class LanguageConverter(BaseConverter):
    """A language code: ``hr``, ``simple``, ``zh-min-nan``."""

    regex = r"(?![a-z-]*wiki/)[a-z]{2,12}(?:-[a-z]{2,12}){0,3}"
    weight = 50  # asked before <wiki>, whose form is wider


class WikiNavMonth(BaseConverter):
    """``2025-03`` or ``latest``."""

    regex = rf"\d{{4}}-\d{{2}}|{LATEST}"


@api.get("/latest/meta", summary="WikiNav: the latest month and its languages", responses={200: shapes.WikiNavMeta})
def meta(query: models.Nothing) -> Response:
    months = [(at.month, language(at.wiki)) for at in site().serving.snapshots() if at.manifest]
    if not months:
        raise NotFound("no month has been loaded yet")
    newest = max(month for month, _ in months)
    answer = {"month": newest, "languages": [code for month, code in months if month == newest]}
    return reply_as_it_is(answer)


@api.get(
    "/<language:lang>/<title:title>/<any(sources, destinations):side>/<wikinav_month:month>",
    summary="WikiNav: sources or destinations",
    responses={200: shapes.WikiNavList},
)
def neighbours(path: shapes.LanguagePath, query: shapes.WikiNavQuery) -> Response:
    month = models.MonthPath(wiki=f"{path.lang.replace('-', '_')}wiki", month=path.month)
    return reply_from(month, lambda reading: page(reading, Side(path.side), from_request(path.title), query))


def page(reading: Reading, side: Side, title: str, query: shapes.WikiNavQuery) -> dict[str, Any]:
    """Rows ``start`` to ``start + limit - 1``, most clicks first, or least with ``sort=asc``.

    :raises NotFound: for a title that nobody knows, and for a start beyond the last row, as in WikiNav.
    :raises BadRequest: where more than MAX_ROWS rows would have to be read.
    """
    at = reading.snapshot
    if merge_article(*reading.article(title)) is None:
        raise NotFound(f"no article '{title}' in {at.wiki} {at.month}")
    total = reading.neighbour_counts(side, title)
    last = query.start + query.limit - 1
    if query.start > total:
        raise NotFound(f"'{title}' has {total} {side.value}; 'start' is {query.start}")
    wanted = total if query.sort == "asc" else min(last, total)
    if wanted > MAX_ROWS:
        raise BadRequest(
            f"that takes {wanted} rows, {MAX_ROWS} at most are read; follow 'next' of "
            f"{API}/{at.wiki}/{at.month}/{side.value}/..., which goes on for ever"
        )
    rows = merge_neighbours(*reading.neighbours(side, title, None, wanted), None, wanted)
    if query.sort == "asc":
        rows.reverse()
    following = {"start": last + 1, "limit": query.limit, "sort": query.sort}
    return {
        **envelope(at),
        "start": query.start,
        "limit": query.limit,
        "sort": query.sort,
        "total_count": total,
        "title": title,
        "results": [
            {
                "title": one.title,
                "views": one.clicks["clicks"],
                "batch": one.clicks["batch"],
                "live": one.clicks["live"],
                "link_type": one.link_type,
            }
            for one in rows[query.start - 1 : last]
        ],
        "next": address(_here(), **following) if last < total else "",
    }


def _here() -> str:
    """The address asked for, with its escapes, so that a title's slashes and signs lead back to it."""
    return request.host_url.rstrip("/") + quote(request.path, safe="/:")
