"""Pages about months side by side: totals, movers, changed pairs, an article in two months and in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from pydantic import ValidationError

from readerflow.storage.changes import DIRECTIONS, PAIR_LISTS
from readerflow.storage.serving_views import ChangesPending, Side

from . import changes, months, months_charts, months_tables, urls
from . import months_models as shapes
from .context import resolve_month, site
from .format import missing, neighbour_name
from .frame import asked_title, default_place, render
from .problems import PENDING_SECONDS, BadRequest, NotFound

ARTICLE_ROWS = 12
TOP_ROWS = 20
PAGE_ROWS = 100
#: Months that an article's page reads at most; the JSON has all.
HISTORY_MONTHS = 24

pages = Blueprint("months_pages", __name__)

Asked = TypeVar("Asked", bound=shapes.TwoMonthsQuery)


@pages.record
def _set_up(state: BlueprintSetupState) -> None:
    state.app.jinja_env.filters.update(months_tables.FILTERS)
    state.app.jinja_env.globals["measure_names"] = months_tables.MEASURE_NAMES


class MoversAsked(shapes.MoversOf):
    direction: shapes.Direction | None = None


class PairsAsked(shapes.TwoMonthsQuery):
    kind: shapes.OneMonthKind | None = None


class ChangesAsked(shapes.ChangesOf):
    title: str | None = None
    side: shapes.SideName | None = None


def _asked(kind: type[Asked]) -> Asked:
    """The parameters of a page, as strict as the API's.

    :raises BadRequest: naming what is wrong.
    """
    try:
        return kind.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise BadRequest("; ".join(f"'{one['loc'][0]}': {one['msg']}" for one in error.errors())) from None


@pages.get("/months")
def all_months() -> str:
    wiki = request.args.get("wiki")
    if set(request.args) - {"wiki"}:
        raise BadRequest("only 'wiki' may be given")
    found = months.months(site().serving, wiki)
    wikis: dict[str, list[Mapping[str, Any]]] = {}
    for item in found["items"]:
        wikis.setdefault(item["wiki"], []).append(item)
    tables = []
    for name, items in wikis.items():
        rows = months_tables.total_rows(items)
        tables.append({"wiki": name, "rows": rows, "chart": months_charts.lines(rows, months_tables.SERIES)})
    newest = (wiki, found["items"][-1]["month"]) if wiki else default_place()
    return render(
        "months.html",
        None,
        place=newest,
        json_url=urls.api_url("months", wiki=wiki),
        page="months",
        wikis=tables,
        series=months_tables.SERIES,
        asked_wiki=wiki,
    )


def _pending(wiki: str, month: str, page: str) -> Response:
    """A page that says that a comparison is being worked out, and asks again by itself."""
    text = render(
        "message.html",
        None,
        place=(wiki, month),
        page=page,
        heading="This comparison is being worked out",
        text="It is done once for each two months and takes seconds, or minutes for the largest wikis. This page shows "
        "it as soon as it is there.",
        status=503,
    )
    response = Response(text, 503, mimetype="text/html")
    response.headers["Retry-After"] = response.headers["Refresh"] = str(PENDING_SECONDS)
    return response


def _frame(two: changes.TwoMonths) -> dict[str, Any]:
    """What every page about two months shows of them."""
    head = two.head()
    wiki, other = head["wiki"], head["against"]["month"]
    kept = [month for month in months.kept_months(site().serving, wiki) if month != head["month"]]
    return {
        "against": other,
        "others": kept[::-1],
        "spans": (head["covered"], head["against"]["covered"]),
        "before": head["against"],
        "before_missing": missing(head["against"]),
        "whole": head["covered"]["whole"] and head["against"]["covered"]["whole"],
    }


@pages.get("/<wiki>/<month:month>/movers")
def movers(wiki: str, month: str) -> str | Response:
    serving = site().serving
    month = resolve_month(serving, wiki, month)
    asked = _asked(MoversAsked)
    if asked.next and not asked.direction:
        raise BadRequest("'next' needs a 'direction': rise or fall")
    limit = PAGE_ROWS if asked.direction else TOP_ROWS
    shown = (asked.direction,) if asked.direction else DIRECTIONS
    try:
        two = changes.two_generations(serving, wiki, month, asked.against, asked.next)
        found = [changes.movers(serving, two, asked.by, asked.order, one, limit=limit) for one in shown]
    except ChangesPending:
        return _pending(wiki, month, "movers")
    frame = _frame(two)
    change = "change_per_day" if asked.order == "clicks" else "change_share"
    address = partial(urls.movers_url, wiki, month, against=frame["against"], by=asked.by, order=asked.order)
    return render(
        "movers.html",
        found[0],
        page="movers",
        stay={"by": asked.by, "order": asked.order},
        json_url=urls.api_url(
            wiki, month, "movers", against=frame["against"], by=asked.by, order=asked.order,
            direction=shown[0], limit=limit, next=asked.next,
        ),
        lists=[
            {
                **one,
                "rows": months_tables.with_bars(one["items"], change),
                "all_url": address(direction=one["direction"]),
                "next_url": address(direction=one["direction"], next=one["next"]) if one["next"] else None,
            }
            for one in found
        ],
        direction=asked.direction,
        both_url=address(),
        by=asked.by,
        order=asked.order,
        **frame,
    )  # fmt: skip


@pages.get("/<wiki>/<month:month>/changed-pairs")
def changed_pairs(wiki: str, month: str) -> str | Response:
    serving = site().serving
    month = resolve_month(serving, wiki, month)
    asked = _asked(PairsAsked)
    if asked.next and not asked.kind:
        raise BadRequest("'next' needs a 'kind': new or vanished")
    limit = PAGE_ROWS if asked.kind else TOP_ROWS
    shown = (asked.kind,) if asked.kind else PAIR_LISTS
    try:
        two = changes.two_generations(serving, wiki, month, asked.against, asked.next)
        found = [changes.month_pairs(serving, two, one, limit=limit) for one in shown]
    except ChangesPending:
        return _pending(wiki, month, "changed-pairs")
    frame = _frame(two)
    address = partial(urls.changed_pairs_url, wiki, month, against=frame["against"])
    return render(
        "changed_pairs.html",
        found[0],
        page="changed-pairs",
        json_url=urls.api_url(
            wiki, month, "changed-pairs", against=frame["against"], kind=shown[0], limit=limit, next=asked.next
        ),
        lists=[
            {
                **one,
                "rows": [{**row, "name": _source_name(row)} for row in one["items"]],
                "all_url": address(kind=one["kind"]),
                "next_url": address(kind=one["kind"], next=one["next"]) if one["next"] else None,
            }
            for one in found
        ],
        kind=asked.kind,
        both_url=address(),
        **frame,
    )


def _source_name(row: Mapping[str, Any]) -> str:
    return neighbour_name({"title": row["referrer"], "kind": row["kind"]})


@pages.get("/<wiki>/<month:month>/changes")
@pages.get("/<wiki>/<month:month>/changes/<title:title>")
def article_changes(wiki: str, month: str, title: str | None = None) -> str:
    serving = site().serving
    month, title = resolve_month(serving, wiki, month), asked_title(title)
    asked = _asked(ChangesAsked)
    if asked.side is None and (asked.next or asked.kind != "all"):
        raise BadRequest("'next' and 'kind' need a 'side': sources or destinations")
    with changes.two_months(serving, wiki, month, asked.against, asked.next) as two:
        frame = _frame(two)
        if asked.side is not None:
            listed = changes.article_pairs(two, Side(asked.side), title, kind=asked.kind, limit=PAGE_ROWS)
            return _pairs_list(wiki, month, title, listed, frame, asked)
        sides = {
            side.value: months_tables.with_names(
                changes.article_pairs(two, side, title, order="clicks", limit=ARTICLE_ROWS)
            )
            for side in Side
        }
    address = partial(urls.changes_url, wiki, month, title, against=frame["against"])
    return render(
        "changes.html",
        sides["sources"],
        page="changes",
        stay={"title": title},
        json_url=_json_url(wiki, month, title, against=frame["against"], order="clicks", limit=ARTICLE_ROWS),
        sides=sides,
        flows={
            name: months_charts.flow_of(name, title, sides, partial(_node_url, wiki, month, frame["against"], title))
            for name in ("now", "before")
        },
        list_urls={side: address(side=side) for side in sides},
        kind_urls={
            side: {kind: address(side=side, kind=kind) for kind in ("new", "vanished", "both")} for side in sides
        },
        article_urls=[
            {"month": one, "href": None if clicks is None else urls.article_url(wiki, one, title)}
            for one, clicks in zip((month, frame["against"]), sides["sources"]["clicks"].values(), strict=True)
        ],
        day=_days(sides, frame["spans"]),
        **frame,
    )


def _days(sides: Mapping[str, Mapping[str, Any]], spans: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """Clicks in and out a day in each month, and how many times as many."""
    found = {}
    for side, name in (("sources", "in"), ("destinations", "out")):
        clicks = sides[side]["clicks"]
        days = [months.per_day(clicks[one] or 0, span) for one, span in zip(("now", "before"), spans, strict=True)]
        now, before = (value or 0.0 for value in days)
        found[name] = {**clicks, "now_day": now, "before_day": before, "times": now / before if before else None}
    return found


def _node_url(wiki: str, month: str, against: str, title: str, row: Mapping[str, Any], side: str) -> str | None:
    """Where a node of a flow chart leads."""
    if row["kind"] == "article":
        return urls.changes_url(wiki, month, row["title"], against=against)
    if row["kind"] == "rest":
        return urls.changes_url(wiki, month, title, against=against, side="sources" if side == "in" else "destinations")
    return None if row["kind"] == "end" else urls.ranking_url(wiki, month, row["kind"])


def _pairs_list(
    wiki: str, month: str, title: str, listed: dict[str, Any], frame: dict[str, Any], asked: ChangesAsked
) -> str:
    address = partial(urls.changes_url, wiki, month, title, against=frame["against"], side=asked.side)
    return render(
        "changes_list.html",
        listed,
        page="changes",
        stay={"title": title},
        json_url=_json_url(
            wiki,
            month,
            title,
            against=frame["against"],
            side=asked.side,
            kind=asked.kind,
            limit=PAGE_ROWS,
            next=asked.next,
        ),
        rows=months_tables.with_names(listed)["items"],
        kind_urls={kind: address(kind=kind) for kind in changes.PAIR_KINDS},
        first_url=address(kind=asked.kind),
        next_url=address(kind=asked.kind, next=listed["next"]) if listed["next"] else None,
        both_url=urls.changes_url(wiki, month, title, against=frame["against"]),
        **frame,
    )


def _json_url(wiki: str, month: str, title: str, **query: Any) -> str:
    return urls.title_address(f"{urls.API}/{wiki}/{month}/changes", title, **query)


def article_history(wiki: str, month: str, title: str) -> dict[str, Any] | None:
    """What an article's page shows of the other months; None where its wiki has one month only."""
    kept = months.kept_months(site().serving, wiki)
    if len(kept) < 2:
        return None
    shown = kept[-HISTORY_MONTHS:]
    if month not in shown:
        shown[0] = month
    try:
        history = months.history(site().serving, wiki, title, shown)
    except NotFound:  # its only month went meanwhile
        return None
    rows = months_tables.history_rows(history)
    others = [row["month"] for row in rows if row["month"] != month]
    earlier = [other for other in others if other < month]
    compared = max(earlier) if earlier else min(others, default=None)
    return {
        "rows": [{**row, "href": urls.article_url(wiki, row["month"], title)} for row in rows],
        "chart": months_charts.lines(rows, months_tables.SERIES),
        "series": months_tables.SERIES,
        "json_url": urls.title_address(f"{urls.API}/{wiki}/history", title),
        "compare_url": urls.changes_url(wiki, month, title, against=compared) if compared else None,
        "compared": compared,
        "of": len(kept),
    }
