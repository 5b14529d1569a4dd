"""The JSON API of ``/api/v1`` and what operators ask (/healthz, /readyz, /metrics); OpenAPI describes every route.

Each function finds its month, reads and hands over to :mod:`.answers`; the shapes are in :mod:`.models`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pyarrow as pa
from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from readerflow.common.tabular import MEDIA_TYPES, Format, encode_rows
from readerflow.common.titles import from_request
from readerflow.storage.batch_views import BATCH_SCHEMAS, View
from readerflow.storage.serving_views import Side

from . import answers, models, search_models
from .context import LATEST, envelope, live_month, resolve_month, site
from .exchange import etag_of, not_modified, tagged
from .live import hub, stream
from .problems import NotFound
from .replies import reply, reply_as_it_is, reply_from

api = APIBlueprint("api", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="api", description="Read-only JSON.")])


@api.get("/meta", summary="What there is: wikis, months, limits", responses={200: models.Meta})
def meta(query: models.Nothing) -> Response:
    return reply_as_it_is(answers.meta(site().serving))


@api.get("/<wiki>/<month>/classes", summary="All clicks of a month by class", responses={200: models.Overview})
def classes(path: models.MonthPath, query: models.Nothing) -> Response:
    return reply_from(path, answers.overview)


@api.get("/<wiki>/<month>/status", summary="Stages, generations, holes", responses={200: models.Status})
def status(path: models.MonthPath, query: models.Nothing) -> Response:
    month = resolve_month(site().serving, path.wiki, path.month)
    with site().serving.read(path.wiki, month) as reading:
        return reply_as_it_is(answers.status(reading))


# Each of the three is there twice: with the title in the path, and with ?title= for titles such as "." that browsers
# fold away in paths.


@api.get("/<wiki>/<month>/article/<title:title>", summary="An article's numbers", responses={200: models.Article})
def article(path: models.TitlePath, query: models.Nothing) -> Response:
    return _article(path, path.title)


@api.get("/<wiki>/<month>/article", summary="The same, by parameter", responses={200: models.Article})
def article_by_parameter(path: models.MonthPath, query: models.TitleQuery) -> Response:
    return _article(path, query.title)


def _article(path: models.MonthPath, title: str) -> Response:
    return reply_from(path, lambda reading: answers.article(reading, from_request(title)))


@api.get("/<wiki>/<month>/sources/<title:title>", summary="Where readers came from", responses={200: models.Neighbours})
def sources(path: models.TitlePath, query: models.PageQuery) -> Response:
    return _neighbours(Side.SOURCES, path, path.title, query)


@api.get("/<wiki>/<month>/sources", summary="The same, by parameter", responses={200: models.Neighbours})
def sources_by_parameter(path: models.MonthPath, query: models.TitlePageQuery) -> Response:
    return _neighbours(Side.SOURCES, path, query.title, query)


@api.get(
    "/<wiki>/<month>/destinations/<title:title>", summary="Where readers went on", responses={200: models.Neighbours}
)
def destinations(path: models.TitlePath, query: models.PageQuery) -> Response:
    return _neighbours(Side.DESTINATIONS, path, path.title, query)


@api.get("/<wiki>/<month>/destinations", summary="The same, by parameter", responses={200: models.Neighbours})
def destinations_by_parameter(path: models.MonthPath, query: models.TitlePageQuery) -> Response:
    return _neighbours(Side.DESTINATIONS, path, query.title, query)


def _neighbours(side: Side, path: models.MonthPath, title: str, query: models.PageQuery) -> Response:
    month = resolve_month(site().serving, path.wiki, path.month)
    with answers.open_page(site().serving, path.wiki, month, query.next) as reading:
        return reply(
            reading,
            lambda: answers.neighbours(reading, side, from_request(title), limit=query.limit, token=query.next),
        )


@api.get("/<wiki>/<month>/rankings/<ranking>", summary="A ranking, batch only", responses={200: models.Ranking})
def ranking(path: models.RankingPath, query: models.PageQuery) -> Response:
    month = resolve_month(site().serving, path.wiki, path.month)
    with answers.open_page(site().serving, path.wiki, month, query.next) as reading:
        return reply(reading, lambda: answers.ranking(reading, path.ranking, limit=query.limit, token=query.next))


@api.get(
    "/<wiki>/suggest", summary="The first hits of a search, for suggestions", responses={200: search_models.Suggestions}
)
def suggest(path: models.WikiPath, query: search_models.SuggestQuery) -> Response:
    month = models.MonthPath(wiki=path.wiki, month=LATEST)
    return reply_from(month, lambda reading: answers.suggest(reading, query.q, limit=query.limit))


@api.get("/<wiki>/trending", summary="What rises now", responses={200: models.Trending})
def trending(path: models.WikiPath, query: models.TrendingQuery) -> Response:
    with site().serving.read(path.wiki, live_month(site().serving, path.wiki)) as reading:
        return reply(reading, lambda: answers.trending(reading, int(query.window), limit=query.limit))


@api.get(
    "/<wiki>/<month>/export/<view>",
    summary="A whole batch view as a file",
    responses={200: {"description": "The file, streamed.", "content": {kind: {} for kind in MEDIA_TYPES.values()}}},
)
def export(path: models.ExportPath, query: models.ExportQuery) -> Response:
    month = resolve_month(site().serving, path.wiki, path.month)
    if path.view not in [view.value for view in View]:
        raise NotFound(f"no view '{path.view}'", views=[view.value for view in View])
    with site().serving.read(path.wiki, month) as reading:
        at = reading.snapshot
        etag = etag_of(envelope(at))
    if at.manifest is None:
        raise NotFound(f"{path.wiki} {month} has no batch views yet")
    if path.view not in at.manifest.rows:
        raise NotFound(f"{path.wiki} {month} has no view '{path.view}': an earlier version wrote its batch views")
    if not_modified(etag):
        return tagged(Response(status=304), etag)
    response = Response(mimetype=MEDIA_TYPES[query.format].partition(";")[0])
    if request.method != "HEAD":
        give_back = hub().exports.take()
        try:
            response.response = _file(at.manifest.generation, View(path.view), query.format)
        except BaseException:  # a generation that has just been swept: nobody will close this response
            give_back()
            raise
        response.call_on_close(give_back)
    name = f"{path.wiki}-{month}-{path.view}.{query.format}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Generation"] = at.manifest.generation
    response.headers["Total-Count"] = str(at.manifest.rows[path.view])
    return tagged(response, etag)


def _file(generation: str, view: View, form: Format) -> Iterator[bytes]:
    batches = site().serving.export(generation, view)
    return encode_rows(cast("Iterator[pa.RecordBatch]", batches), BATCH_SCHEMAS[view], form, spreadsheet=form == "csv")


@api.get(
    "/<wiki>/live",
    summary="Server-sent events: classes, trending, freshness",
    responses={200: {"description": "Events, until the client leaves.", "content": {"text/event-stream": {}}}},
)
def live(path: models.WikiPath, query: models.Nothing) -> Response:
    live_month(site().serving, path.wiki)
    response = Response(mimetype="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    if request.method == "HEAD":
        return response
    feed, leave = hub().join(path.wiki)
    response.call_on_close(leave)
    response.response = stream(feed, request.headers.get("Last-Event-ID"), site().heartbeat_seconds)
    return response
