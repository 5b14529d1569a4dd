"""The API of what the link graph tells: paths and related articles. The shapes are in :mod:`.graph_models`."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from readerflow.common.titles import from_request

from . import graph_answers, models
from .best_paths import By
from .context import envelope, resolve_month, site
from .exchange import etag_of, json_response, not_modified, tagged
from .graph_models import PathQuery, Paths, Related, RelatedQuery, TitleRelatedQuery
from .replies import reply_from

graph_api = APIBlueprint(
    "graph_api", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="graph", description="The link graph, batch only.")]
)


@graph_api.get("/<wiki>/<month>/path", summary="How readers get from one article to another", responses={200: Paths})
def path(path: models.MonthPath, query: PathQuery) -> Response:
    month = resolve_month(site().serving, path.wiki, path.month)
    with site().serving.read(path.wiki, month) as reading:
        etag = etag_of(envelope(reading.snapshot))
        if not_modified(etag):
            return tagged(Response(status=304), etag)
        source, target = from_request(query.from_), from_request(query.to)
        asked = graph_answers.path_question(reading, source, target, query.k, By(query.by))
    # The reading is over, so that a long search keeps nobody from the stores.
    return tagged(json_response(graph_answers.path(asked)), etag)


@graph_api.get("/<wiki>/<month>/related/<title:title>", summary="What its readers see, too", responses={200: Related})
def related(path: models.TitlePath, query: RelatedQuery) -> Response:
    return _related(path, path.title, query.limit)


@graph_api.get("/<wiki>/<month>/related", summary="The same, by parameter", responses={200: Related})
def related_by_parameter(path: models.MonthPath, query: TitleRelatedQuery) -> Response:
    return _related(path, query.title, query.limit)


def _related(path: models.MonthPath, title: str, limit: int) -> Response:
    return reply_from(path, lambda reading: graph_answers.related(reading, from_request(title), limit))
