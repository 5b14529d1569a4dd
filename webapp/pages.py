"""The pages: each asks :mod:`.answers` for the dicts that its JSON twin gives, and a template writes them down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import pyarrow as pa
from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from readerflow.common.tabular import encode_rows
from readerflow.common.titles import from_request
from readerflow.storage.serving_views import Reading, Side

from . import answers, charts, format, graph_answers, tables, urls, words
from .context import LATEST, live_month, resolve_month, site
from .error_pages import error_page
from .frame import asked_place, asked_title, default_place, kept_page, live_url, render, set_up
from .models import MAX_LIMIT
from .months_pages import article_history
from .problems import BadRequest, NotFound

__all__ = ["error_page", "pages"]

ARTICLE_ROWS = 12  # of each table on an article's page
PAGE_ROWS = 100
TOP_ROWS = 8
HOME_WINDOW = 6
BELOW_ROWS = 10  # of articles that do not count as trending
RELATED_ROWS = 8  # on an article's page
#: The first is beside "Rising now", the others are below it.
HOME_RANKINGS = (
    ("in", "Most clicks in"),
    ("out", "Most clicks out"),
    ("external", "Most from other web sites"),
    ("reader_rank", "Highest reader rank"),
)
RANKING_GROUPS = (
    ("Traffic", ("in", "out", "entries")),
    ("Entries by kind", ("search", "empty", "internal", "external", "other")),
    ("Ranks", ("reader_rank", "pagerank", "link_rank")),
    ("Readers against links", ("under_linked", "over_linked")),
)
#: Columns of a table of neighbours as a file.
NEIGHBOURS_FILE = pa.schema(
    [
        ("position", pa.int64()),
        ("title", pa.string()),
        ("kind", pa.string()),
        ("link_type", pa.string()),
        ("clicks", pa.int64()),
        ("batch", pa.int64()),
        ("live", pa.int64()),
    ]
)

pages = Blueprint("pages", __name__)
pages.record(lambda state: set_up(state.app))


# Home -----------------------------------------------------------------------------------------------------------------


@pages.get("/")
def start() -> str | Response:
    place = default_place()
    if place is None:
        return render(
            "message.html",
            None,
            json_url=urls.api_url("meta"),
            heading="No month has been loaded",
            text="ReaderFlow shows numbers once a month of clickstream data has been read. The demo takes about a "
            "minute:",
            command="readerflow demo",
        )
    wiki, month = place
    return home(wiki=wiki, month=month)


@pages.get("/<wiki>/<month:month>/")
@kept_page
def home(wiki: str, month: str) -> str:
    month = resolve_month(site().serving, wiki, month)
    with site().serving.read(wiki, month) as reading:
        overview = answers.overview(reading)
        tops = [_top(reading, name, heading) for name, heading in HOME_RANKINGS]
        live = site().serving.latest_live(wiki)
        trends = answers.trending(reading, HOME_WINDOW, limit=TOP_ROWS) if live == month else None
    kinds = tables.overview_table(overview)
    return render(
        "home.html",
        overview,
        json_url=urls.api_url(wiki, month, "classes"),
        page="home",
        month=overview,
        kinds=kinds,
        bar=charts.share_bar(kinds),
        tops=tops,
        trends=trends,
        rising=_trend_rows(trends)[0] if trends else [],
        live_month=live,
        live_url=live_url(overview),
        examples=_examples(tops),
    )


def _examples(tops: list[dict[str, Any]]) -> list[str]:
    """Three different titles to try, from the first rankings; the first row of each is a main page as a rule."""
    chosen: list[str] = []
    for top in tops[:3]:
        chosen += [row["title"] for row in top["rows"][1:] if row["title"] not in chosen][:1]
    return chosen


def _top(reading: Reading, name: str, heading: str) -> dict[str, Any]:
    page = answers.ranking(reading, name, limit=TOP_ROWS)
    return {**page, "heading": heading, "rows": tables.ranking_rows(page["items"])}


def _trend_rows(trends: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Trending rows and the first ones below the threshold, with their small charts."""
    over, below = tables.trending_rows(trends)
    over, below = (
        [{**row, "spark": charts.sparkline(row, trends)} for row in rows] for rows in (over, below[:BELOW_ROWS])
    )
    return over, below


# Article --------------------------------------------------------------------------------------------------------------


@pages.get("/<wiki>/<month:month>/article")
@pages.get("/<wiki>/<month:month>/article/<title:title>")
@kept_page
def article(wiki: str, month: str, title: str | None = None) -> str:
    month, title = resolve_month(site().serving, wiki, month), asked_title(title)
    with site().serving.read(wiki, month) as reading:
        numbers = answers.article(reading, title)
        came_from, went_to = (
            tables.neighbours_table(answers.neighbours(reading, side, title, limit=ARTICLE_ROWS)) for side in Side
        )
        related = graph_answers.related(reading, title, RELATED_ROWS)
    kinds = tables.classes_table(numbers)
    sides = [side.value for side in Side]
    return render(
        "article.html",
        numbers,
        json_url=urls.api_title_url(wiki, month, "article", title),
        page="article",
        stay={"title": title},
        permalink=urls.article_url(wiki, month, title),
        numbers=numbers,
        kinds=kinds,
        bar=charts.share_bar(kinds),
        heading=words.kinds_heading(kinds),
        lead=words.lead(kinds, came_from, went_to),
        stopped=tables.no_further_click(numbers),
        came_from=came_from,
        went_to=went_to,
        chart=charts.flow(numbers, came_from, went_to, partial(_node_url, wiki, month, title)),
        csv_urls={side: urls.neighbours_url(wiki, month, side, title, format="csv") for side in sides},
        json_urls={side: urls.api_title_url(wiki, month, side, title) for side in sides},
        positions=words.positions(numbers),
        linked=words.over_or_under_linked(numbers),
        related=related,
        related_json=urls.api_title_url(wiki, month, "related", title),
        history=article_history(wiki, month, title),
    )


def _node_url(wiki: str, month: str, title: str, row: Mapping[str, Any], side: str) -> str:
    """Where a node of the flow chart leads."""
    if row["kind"] == "article":
        return urls.article_url(wiki, month, row["title"])
    if row["kind"] == "rest":
        return urls.neighbours_url(wiki, month, "sources" if side == "in" else "destinations", title)
    if row["kind"] == "end":
        return "#counting"
    return urls.ranking_url(wiki, month, row["kind"])


@pages.get("/<wiki>/<month:month>/<any(sources, destinations):side>")
@pages.get("/<wiki>/<month:month>/<any(sources, destinations):side>/<title:title>")
@kept_page
def neighbours(wiki: str, month: str, side: str, title: str | None = None) -> str | Response:
    month, title = resolve_month(site().serving, wiki, month), asked_title(title)
    token, form = request.args.get("next"), request.args.get("format")
    if form == "csv":
        return _neighbours_file(wiki, month, Side(side), title)
    if form is not None:
        raise BadRequest("'format' can only be csv; JSON is under /api/v1")
    with answers.open_page(site().serving, wiki, month, token) as reading:
        page = answers.neighbours(reading, Side(side), title, limit=PAGE_ROWS, token=token)
    table = tables.neighbours_table(page)
    other = Side.DESTINATIONS if side == Side.SOURCES else Side.SOURCES
    address = partial(urls.neighbours_url, wiki, month, side, title)
    return render(
        "neighbours.html",
        page,
        json_url=urls.api_title_url(wiki, month, side, title, limit=PAGE_ROWS, next=token),
        page=side,
        stay={"title": title},
        table=table,
        first_url=address(),
        next_url=address(next=page["next"]) if page["next"] else None,
        next_rows=min(PAGE_ROWS, page["rest"]["rows"]),
        csv_url=address(format="csv"),
        other_url=urls.neighbours_url(wiki, month, other.value, title),
    )


def _neighbours_file(wiki: str, month: str, side: Side, title: str) -> Response:
    """All neighbours as CSV, of one generation and one realtime batch."""
    with site().serving.read(wiki, month) as reading:
        batches = list(_all_neighbours(reading, side, title))
    body = b"".join(encode_rows(batches, NEIGHBOURS_FILE, "csv", spreadsheet=True))
    response = Response(body, mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{wiki}-{month}-{side.value}.csv"'
    return response


def _all_neighbours(reading: Reading, side: Side, title: str) -> Iterator[pa.RecordBatch]:
    token = None
    while True:
        page = answers.neighbours(reading, side, title, limit=MAX_LIMIT, token=token)
        rows = [{**item, **item["clicks"]} for item in page["items"]]
        yield pa.RecordBatch.from_pylist(rows, schema=NEIGHBOURS_FILE)
        token = page["next"]
        if token is None:
            return


# Rankings, trends, status ---------------------------------------------------------------------------------------------


@pages.get("/<wiki>/<month:month>/rankings/<ranking>")
@kept_page
def rankings(wiki: str, month: str, ranking: str) -> str:
    month = resolve_month(site().serving, wiki, month)
    token = request.args.get("next")
    with answers.open_page(site().serving, wiki, month, token) as reading:
        page = answers.ranking(reading, ranking, limit=PAGE_ROWS, token=token)
    name, explained = format.RANKING_NAMES[ranking]
    rows = tables.ranking_rows(page["items"])
    left = page["total"] - rows[-1]["position"] if rows else 0
    return render(
        "rankings.html",
        page,
        json_url=urls.api_url(wiki, month, "rankings", ranking, limit=PAGE_ROWS, next=token),
        page="rankings",
        stay={"ranking": ranking},
        name=name,
        heading=f"Entries: {name}" if ranking in RANKING_GROUPS[1][1] else name,
        explained=explained,
        groups=RANKING_GROUPS,
        rows=rows,
        next_url=urls.ranking_url(wiki, month, ranking, page["next"]) if page["next"] else None,
        next_rows=min(PAGE_ROWS, left),
    )


@pages.get("/<wiki>/trending")
def trending(wiki: str) -> str:
    window = request.args.get("window", str(HOME_WINDOW))
    if not window.isascii() or not window.isdigit() or len(window) > 3:
        raise BadRequest("'window' is a number of hours: 1, 6 or 24")
    try:
        month = live_month(site().serving, wiki)
    except NotFound:
        return _nothing_live(wiki)
    with site().serving.read(wiki, month) as reading:
        trends = answers.trending(reading, int(window))
    over, below = _trend_rows(trends)
    return render(
        "trending.html",
        trends,
        json_url=urls.api_url(wiki, "trending", window=trends["window"]),
        page="trending",
        stay={"window": window},
        trends=trends,
        rows=over,
        below=below,
        live_url=live_url(trends),
    )


def _nothing_live(wiki: str) -> str:
    """Say that a wiki has batch views only.

    :raises NotFound: for a wiki that there is not.
    """
    month = resolve_month(site().serving, wiki, LATEST)
    with site().serving.read(wiki, month) as reading:
        data = answers.freshness(reading)
    return render(
        "message.html",
        data,
        page="trending",
        heading="Nothing is live yet",
        text=f"Trends come from clicks that the stream counts. There are none of {format.wiki_name(wiki)} yet; this "
        "brings them:",
        command="readerflow stream",
    )


@pages.get("/status")
def status() -> str:
    wiki, month = asked_place()
    with site().serving.read(wiki, month) as reading:
        found, clicks = answers.status(reading), answers.overview(reading)["clicks"]
    known = [row["lag"] for row in found["stream"]["partitions"] if row["lag"] is not None] if found["stream"] else []
    return render(
        "status.html",
        found,
        json_url=urls.api_url(wiki, month, "status"),
        page="status",
        stages=words.stages(found, clicks, known),
        summary=words.summary(found, known),
        lag_known=bool(known),
        live_url=live_url(found),
    )


# Switching ----------------------------------------------------------------------------------------------------------


@pages.get("/go")
def go() -> AnyResponse:
    """Show a page of another wiki or month, or an article that was chosen: ``?to=hrwiki/2025-03&page=&title=``."""
    wiki, _, month = request.args.get("to", "").partition("/")
    month = resolve_month(site().serving, wiki, month)
    page, title = request.args.get("page", "article"), from_request(request.args.get("title", ""))
    query = request.args.get("q", "")
    if page in ("sources", "destinations") and title:
        address = urls.neighbours_url(wiki, month, page, title)
    elif page == "article" and title:
        address = urls.article_url(wiki, month, title)
    elif page == "rankings":
        address = urls.ranking_url(wiki, month, request.args.get("ranking", "in"))
    elif page == "movers":
        chosen = {name: request.args.get(name) for name in ("by", "order")}
        address = urls.movers_url(wiki, month, **chosen)
    elif page == "changed-pairs":
        address = urls.changed_pairs_url(wiki, month)
    elif page == "changes" and title:
        address = urls.changes_url(wiki, month, title)
    elif page == "trending":
        address = urls.trending_url(wiki, request.args.get("window", HOME_WINDOW, int))
    elif page == "status":
        address = urls.status_url(wiki, month)
    elif page == "path":
        source, target = (request.args.get(name, "") for name in ("path_from", "path_to"))
        address = urls.path_url(wiki, month, source, target, request.args.get("by", "probability"))
    elif page in ("articles", "explore"):
        asked = parse_qs(request.args.get("asked", ""))
        known = {name: asked[name] for name in ("title", "trail", "steps", "limit") if name in asked}
        address = urls.address(f"/{wiki}/{month}/{page}", **known)
    elif page == "search":
        address = urls.search_url(wiki, month, query)
    else:
        address = urls.home_url(wiki, month)
    return redirect(address, 303)
