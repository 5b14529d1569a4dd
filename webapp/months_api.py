"""The JSON API about months side by side: totals, an article's history, movers, changed pairs."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from readerflow.common.titles import from_request
from readerflow.storage.serving_views import Side

from . import changes, models, months
from . import months_models as shapes
from .context import site
from .replies import reply_as_it_is

api = APIBlueprint(
    "months_api", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="months", description="Read-only.")]
)


@api.get("/months", summary="Totals of months and wikis side by side", responses={200: shapes.Months})
def all_months(query: shapes.MonthsQuery) -> Response:
    return reply_as_it_is(months.months(site().serving, query.wiki, query.month))


@api.get("/<wiki>/history/<title:title>", summary="An article in every month", responses={200: shapes.History})
def history(path: shapes.HistoryPath, query: models.Nothing) -> Response:
    return reply_as_it_is(months.history(site().serving, path.wiki, from_request(path.title)))


@api.get("/<wiki>/history", summary="The same, by parameter", responses={200: shapes.History})
def history_by_parameter(path: models.WikiPath, query: models.TitleQuery) -> Response:
    return reply_as_it_is(months.history(site().serving, path.wiki, from_request(query.title)))


@api.get("/<wiki>/<month>/movers", summary="Greatest rises and falls, batch only", responses={200: shapes.Movers})
def movers(path: models.MonthPath, query: shapes.MoversQuery) -> Response:
    two = changes.two_generations(site().serving, path.wiki, path.month, query.against, query.next)
    asked = query.by, query.order, query.direction
    return reply_as_it_is(changes.movers(site().serving, two, *asked, limit=query.limit))


@api.get(
    "/<wiki>/<month>/changed-pairs", summary="Pairs that came or went, batch only", responses={200: shapes.ChangedPairs}
)
def changed_pairs(path: models.MonthPath, query: shapes.ChangedPairsQuery) -> Response:
    two = changes.two_generations(site().serving, path.wiki, path.month, query.against, query.next)
    return reply_as_it_is(changes.month_pairs(site().serving, two, query.kind, limit=query.limit))


@api.get(
    "/<wiki>/<month>/changes/<title:title>",
    summary="An article's pairs in two months, batch only",
    responses={200: shapes.Changes},
)
def article_changes(path: models.TitlePath, query: shapes.ChangesQuery) -> Response:
    return _changes(path, path.title, query)


@api.get("/<wiki>/<month>/changes", summary="The same, by parameter", responses={200: shapes.Changes})
def article_changes_by_parameter(path: models.MonthPath, query: shapes.ChangesTitleQuery) -> Response:
    return _changes(path, query.title, query)


def _changes(path: models.MonthPath, title: str, query: shapes.ChangesQuery) -> Response:
    with changes.two_months(site().serving, path.wiki, path.month, query.against, query.next) as two:
        found = changes.article_pairs(
            two, Side(query.side), from_request(title), kind=query.kind, order=query.order, limit=query.limit
        )
    return reply_as_it_is(found)
