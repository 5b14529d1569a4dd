"""Errors as pages: problem details (RFC 9457) in the site's look, for people."""

from __future__ import annotations

from typing import Any

from flask import current_app, request

from readerflow.common.errors import ReaderFlowError
from readerflow.common.titles import from_request

from . import format, urls
from .context import LATEST, resolve_month, site
from .frame import default_place, render

#: Status -> (heading, what to do).
ERRORS = {
    400: ("This address is not quite right", ""),
    404: ("There is no such page", ""),
    405: ("This can only be read", ""),
    409: ("These can’t be compared", ""),
    410: ("This list has moved on", "Its numbers have been replaced by newer ones. Begin again with the first page."),
    413: ("That is too much at once", ""),
    414: ("That address is too long", ""),
    503: ("This can’t be answered right now", "Nothing is lost. Try again in a minute."),
}


def error_page(problem: dict[str, Any]) -> str:
    """Write problem details (RFC 9457) as a page; it must work when nothing else does."""
    status = problem["status"]
    heading, text = ERRORS.get(status, ("The page could not be made", "Nothing is lost. Try again in a minute."))
    detail = problem["detail"]
    if status in (400, 404, 409, 503) or "request_id" in problem:
        text = f"{_sentence(detail)} {text}".strip()
    context: dict[str, Any] = {"near": problem.get("near", []), "status": status}
    wiki, month = _asked_in_path()
    if status == 404 and "near" in problem:
        title = (request.view_args or {}).get("title") or request.args.get("title")
        heading = "No such article"
        if title and month:
            heading = f"No article “{format.isolated(format.shown(from_request(title)))}” in {format.month_name(month)}"
        elif month:
            heading = _sentence(detail).rstrip(".")
        text = "Fewer than 10 clicks led to it from every source, or its title is another one."
    if status == 410:
        context |= {"retry": _first_page(), "retry_text": "First page"}
    try:
        place = (wiki, month) if wiki and month else default_place()
        return render("message.html", None, place=place, heading=heading, text=text, **context)
    except Exception:
        current_app.logger.exception("the error page is shown without a place")
        return render("message.html", None, heading=heading, text=text, **{**context, "near": []})


def _asked_in_path() -> tuple[str, str] | tuple[None, None]:
    asked = request.view_args or {}
    try:
        wiki, month = asked["wiki"], resolve_month(site().serving, asked["wiki"], asked.get("month", LATEST))
    except (KeyError, ReaderFlowError):
        return None, None
    return (wiki, month) if (wiki, month) in site().serving.months() else (None, None)


def _first_page() -> str:
    """The address asked for, without the token."""
    title = request.args.get("title")
    return urls.address(request.path, title=title)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".") if text else ""
