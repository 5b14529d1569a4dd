"""The page of paths: how readers get from one article to another."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, request

from readerflow.common.titles import from_request
from readerflow.storage.serving_views import Reading

from . import answers, graph_answers, path_words, urls
from .best_paths import By
from .context import resolve_month, site
from .frame import render
from .problems import BadRequest, NotFound

#: So many paths a page shows: the best one in full, and the others in short.
SHOWN_PATHS = graph_answers.MAX_PATHS
MODES = ((By.PROBABILITY, "Most probable"), (By.CLICKS, "Most clicked"))

path_pages = Blueprint("path_pages", __name__)
path_pages.record(lambda state: state.app.jinja_env.filters.update(path_words.FILTERS))


@path_pages.get("/<wiki>/<month:month>/path")
def path(wiki: str, month: str) -> tuple[str, int]:
    month, by = resolve_month(site().serving, wiki, month), _mode()
    missing = asked = None
    with site().serving.read(wiki, month) as reading:
        data = answers.freshness(reading)
        source, target = (_title(reading, request.args.get(name, "")) for name in ("from", "to"))
        if source and target:
            try:
                asked = graph_answers.path_question(reading, source, target, SHOWN_PATHS, by)
            except NotFound as problem:
                missing = problem
    found = graph_answers.path(asked) if asked else None  # the reading is over: others may read while this searches
    address = partial(urls.path_url, wiki, month, source, target)
    ends = {"from": source, "to": target}
    page = render(
        "path.html",
        found or data,
        json_url=urls.api_url(wiki, month, "path", **ends, k=SHOWN_PATHS, by=by.value) if found else None,
        page="path",
        stay={"path_from": source, "path_to": target, "by": by.value},
        found=found,
        missing_end=missing,
        source=source,
        target=target,
        by=by.value,
        modes=[(mode.value, name, address(mode.value)) for mode, name in MODES],
        heading=path_words.heading(found) if found else None,
        explained=path_words.explained(found) if found else None,
        permalink=address(by.value),
    )
    return page, 404 if missing else 200


def _title(reading: Reading, text: str) -> str:
    """A title as it was typed; spaces around it count only where a title has them."""
    title, trimmed = from_request(text), from_request(text.strip())
    return title if title == trimmed or graph_answers.is_known(reading, title) else trimmed


def _mode() -> By:
    text = request.args.get("by", By.PROBABILITY.value)
    if text not in list(By):
        raise BadRequest("'by' is probability or clicks")
    return By(text)
