"""The page of many articles at once: a list that is typed or pasted, its numbers as a table and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from flask import Blueprint, Response, request

from readerflow.common.tabular import encode_rows
from readerflow.common.titles import from_request

from . import answers, urls
from .context import resolve_month, site
from .exchange import MAX_URI_CHARS, Allowance, allow
from .frame import render
from .many import MAX_BODY_BYTES, many
from .many_models import MAX_TITLES
from .merge import total
from .problems import BadRequest

#: Of the longest address of a list, beside the list.
OTHER_CHARS = 200
ENTRIES = ("search", "empty", "internal", "external", "other")
RANKS = ("reader_rank", "pagerank", "link_rank")
#: Columns of the table as a file; cells of articles that are not known are empty.
FILE = pa.schema(
    [
        ("title", pa.string()),
        ("known", pa.bool_()),
        *((name, pa.int64()) for name in ("in", "in_batch", "in_live", "out", "out_batch", "out_live")),
        *((name, pa.int64()) for name in ENTRIES),
        ("in_link", pa.int64()),
        ("in_other", pa.int64()),
        ("dead_end_share", pa.float64()),
        *((f"{name}_position", pa.int64()) for name in RANKS),
    ]
)

pages = Blueprint("many_pages", __name__)
pages.record(
    lambda state: allow(state.app, "many_pages.articles", Allowance(frozenset({"title"}), body_bytes=MAX_BODY_BYTES))
)


@pages.route("/<wiki>/<month:month>/articles", methods=["GET", "POST"])
def articles(wiki: str, month: str) -> str | Response:
    """Numbers of the titles in ``?title=`` (repeated), or one a line in the form's ``titles``."""
    month = resolve_month(site().serving, wiki, month)
    titles = _asked()
    with site().serving.read(wiki, month) as reading:
        found = many(reading, titles) if titles else answers.freshness(reading)
    if _form() == "csv":
        return _file(found)
    permalink = urls.articles_url(wiki, month, titles) if titles else None
    if permalink and len(permalink) > MAX_URI_CHARS - OTHER_CHARS:
        permalink = None
    return render(
        "articles.html",
        found,
        json_url=urls.api_url(wiki, month, "articles", title=titles) if permalink else None,
        page="articles",
        stay={"asked": request.query_string.decode("latin-1")} if permalink and request.method == "GET" else None,
        titles=titles,
        items=[
            item | {"from_articles": total((item["in_link"], item["in_other"]))} if item["known"] else item
            for item in found.get("items", [])
        ],
        permalink=permalink,
        csv_url=urls.articles_url(wiki, month, titles, format="csv") if permalink else None,
        most=MAX_TITLES,
    )


def _asked() -> list[str]:
    """The titles of the request, without empty lines.

    :raises BadRequest: for more than MAX_TITLES.
    """
    lines = [*request.args.getlist("title"), *request.form.get("titles", "").splitlines()]
    titles = [from_request(line.strip()) for line in lines if line.strip()]
    if len(titles) > MAX_TITLES:
        raise BadRequest(f"{len(titles)} titles; one question has at most {MAX_TITLES}")
    return titles


def _form() -> str | None:
    form = request.values.get("format")
    if form not in (None, "csv"):
        raise BadRequest("'format' can only be csv; JSON is under /api/v1")
    return form


def _file(found: Mapping[str, Any]) -> Response:
    """The table as CSV."""
    rows = pa.RecordBatch.from_pylist(list(_rows(found.get("items", []))), schema=FILE)
    response = Response(b"".join(encode_rows([rows], FILE, "csv", spreadsheet=True)), mimetype="text/csv")
    name = f"{found['wiki']}-{found['month']}-list.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _rows(items: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for item in items:
        row = {"title": item["title"], "known": item["known"]}
        if item["known"]:
            for side in ("in", "out"):
                count = item[side]
                row |= {side: count["clicks"], f"{side}_batch": count["batch"], f"{side}_live": count["live"]}
            row |= {name: item["entries"][name]["clicks"] for name in ENTRIES}
            row |= {name: item[name]["clicks"] for name in ("in_link", "in_other")}
            row["dead_end_share"] = item["dead_end_share"]
            ranks = item["ranks"]
            row |= {f"{name}_position": ranks[name]["position"] for name in RANKS if ranks[name]}
        yield row
