"""The page of a trail, and what it shows as files: a graph (GraphML) and its edges (CSV)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa
from flask import Blueprint, Response, render_template, request

from readerflow.common.records import CLASS_OF
from readerflow.common.tabular import encode_rows
from readerflow.storage.serving_views import Side

from . import tables, urls
from .answers import KINDS
from .context import resolve_month, site
from .exchange import Allowance, allow
from .explore import explore, seen
from .explore_models import DEFAULT_NEIGHBOURS, MAX_NEIGHBOURS
from .frame import render
from .neighbourhood import NARROW, WIDE, neighbourhood
from .problems import BadRequest
from .trails import BACK, FORWARD, MAX_TRAIL, Trail

#: What XML 1.0 can't hold, though a title can.
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
STEPS = {Side.SOURCES: BACK, Side.DESTINATIONS: FORWARD}

pages = Blueprint("explore_pages", __name__)


def _allow(state: Any) -> None:
    for name in ("trail", "graphml", "edges"):
        allow(state.app, f"explore_pages.{name}", Allowance(repeated=frozenset({"trail"})))


pages.record(_allow)


@pages.get("/<wiki>/<month:month>/explore")
def trail(wiki: str, month: str) -> str:
    """The neighbours of a trail's last article, each of them a link to one more step."""
    month, asked, limit = resolve_month(site().serving, wiki, month), _asked_trail(), _asked_limit()
    with site().serving.read(wiki, month) as reading:
        found = explore(reading, asked, limit=limit)
    kept = limit if limit != DEFAULT_NEIGHBOURS else None
    sides = {side: _table(found, side, asked, partial(_url, wiki, month, kept)) for side in Side}
    sources, destinations = ([*sides[side]["rows"], sides[side]["rest"]] for side in Side)
    return render(
        "explore.html",
        found,
        json_url=urls.api_url(wiki, month, "explore", trail=asked.titles, steps=asked.steps or None, limit=kept),
        page="explore",
        stay={"asked": request.query_string.decode("latin-1")},
        came_from=sides[Side.SOURCES],
        went_to=sides[Side.DESTINATIONS],
        crumbs=[
            {**item, "href": asked.up_to(number).url(wiki, month, limit=kept)}
            for number, item in enumerate(found["trail"], 1)
        ],
        pictures={
            name: neighbourhood(asked.current, sources, destinations, shape)
            for name, shape in (("wide", WIDE), ("narrow", NARROW))
        },
        back_url=asked.up_to(len(asked.titles) - 1).url(wiki, month, limit=kept) if asked.steps else None,
        permalink=asked.url(wiki, month, limit=kept),
        graphml_url=asked.url(wiki, month, "graphml", limit=kept),
        csv_url=asked.url(wiki, month, "csv", limit=kept),
        more_url=asked.url(wiki, month, limit=MAX_NEIGHBOURS) if limit < MAX_NEIGHBOURS else None,
        limit=limit,
        longest=MAX_TRAIL,
    )


@pages.get("/<wiki>/<month:month>/explore/graphml")
def graphml(wiki: str, month: str) -> Response:
    """The trail, the neighbours and the clicks between them, as graph programs read them."""
    found, edges = _seen(wiki, month)
    rows = edges.to_pylist()
    titles = list(dict.fromkeys(row[end] for row in rows for end in ("referrer", "article"))) or [found["title"]]
    nodes = [
        {"id": f"n{number}", "title": _xml(title), "kind": KINDS[CLASS_OF[title]] if title in CLASS_OF else "article"}
        for number, title in enumerate(titles)
    ]
    ids = dict(zip(titles, (node["id"] for node in nodes), strict=True))
    text = render_template(
        "explore.graphml.xml",
        data=found,
        nodes=nodes,
        edges=[{**row, "from": ids[row["referrer"]], "to": ids[row["article"]]} for row in rows],
    )
    return _file(text.encode(), "application/graphml+xml", found, "graphml")


@pages.get("/<wiki>/<month:month>/explore/csv")
def edges(wiki: str, month: str) -> Response:
    """The same clicks, one edge a line."""
    found, rows = _seen(wiki, month)
    body = b"".join(encode_rows(rows.to_batches(), rows.schema, "csv", spreadsheet=True))
    return _file(body, "text/csv", found, "csv")


def _seen(wiki: str, month: str) -> tuple[dict[str, Any], pa.Table]:
    month, asked, limit = resolve_month(site().serving, wiki, month), _asked_trail(), _asked_limit()
    with site().serving.read(wiki, month) as reading:
        return seen(reading, asked, limit)


def _file(body: bytes, mimetype: str, found: Mapping[str, Any], ending: str) -> Response:
    response = Response(body, mimetype=mimetype)
    name = f"{found['wiki']}-{found['month']}-trail.{ending}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _xml(title: str) -> str:
    return NOT_IN_XML.sub("\ufffd", title)


def _asked_trail() -> Trail:
    return Trail.parse(request.args.getlist("trail"), request.args.get("steps"))


def _asked_limit() -> int:
    text = request.args.get("limit", str(DEFAULT_NEIGHBOURS))
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= MAX_NEIGHBOURS):
        raise BadRequest(f"'limit' is a number of neighbours, 1 to {MAX_NEIGHBOURS}")
    return int(text)


def _url(wiki: str, month: str, limit: int | None, trail: Trail) -> str:
    return trail.url(wiki, month, limit=limit)


def _table(found: Mapping[str, Any], side: Side, trail: Trail, url: Any) -> dict[str, Any]:
    """A table of neighbours whose articles link to one more step."""
    nothing = {"rows": 0, "clicks": tables.NOTHING}
    page = {**found[side.value], "side": side.value, "before": nothing, "next": None}
    table = tables.neighbours_table(page)
    for row in table["rows"]:
        if row["title"] is not None:
            row["href"] = url(trail.to(row["title"], STEPS[side]))
    return table
