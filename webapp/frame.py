"""The frame of every page: which month it is about, how fresh that is, where its files are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial, wraps
from pathlib import Path
from typing import Any

from flask import Response, current_app, render_template, request
from flask.sansio.app import App
from markupsafe import Markup
from werkzeug.routing import BaseConverter

from readerflow.common.months import Month, parse_time
from readerflow.common.titles import from_request

from . import format, urls
from .context import LATEST, resolve_month, site
from .exchange import asked, digest, tagged
from .problems import BadRequest, NotFound
from .replies import keep, kept


class MonthConverter(BaseConverter):
    """``2025-03`` or ``latest``, so that pages do not answer for every address of two parts."""

    regex = rf"\d{{4}}-\d{{2}}|{LATEST}"


def set_up(app: App) -> None:
    """Teach an app what templates and addresses of pages need."""
    app.url_map.converters["month"] = MonthConverter
    app.jinja_env.filters.update(format.FILTERS)
    app.jinja_env.globals.update(
        {name: getattr(urls, name) for name in dir(urls) if name.endswith("_url")},
        asset=asset,
        ranking_names=format.RANKING_NAMES,
    )
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 365 * 86_400  # addresses of assets change with what is in them


def asset(name: str) -> str:
    """The address of a static file; another version of the site has another one."""
    return f"{current_app.static_url_path}/{name}?v={_fingerprint(Path(str(current_app.static_folder)) / name)}"


@cache
def _fingerprint(path: Path) -> str:
    return digest(path.read_bytes())


def charts_installed() -> bool:
    return _exists(Path(str(current_app.static_folder)) / "vendor" / "echarts.min.js")


@cache
def _exists(path: Path) -> bool:
    return path.exists()


Page = Callable[..., str | Response]


def kept_page(view: Page) -> Page:
    """Have a page written once for a version of the views. It may show nothing else that changes while a site runs."""

    @wraps(view)
    def page(**place: str) -> str | Response:
        version = site().serving.version()
        key = version, asked()
        found = kept(key)
        if found is None:
            written = view(**place)
            if not isinstance(written, str):
                return written
            etag = digest(written.encode())
            found = tagged(Response(written, mimetype="text/html"), etag)
            if site().serving.version() == version:  # else it may be of the next one
                found = keep(key, found)
        found.make_conditional(request)
        return found

    return page


def render(
    template: str,
    data: Mapping[str, Any] | None,
    *,
    place: tuple[str, str] | None = None,
    json_url: str | None = None,
    page: str = "",
    stay: Mapping[str, str | None] | None = None,
    **context: Any,
) -> str:
    """Write a page about ``data``, an answer or at least its envelope.

    :param place: (wiki, month) where there is no answer.
    :param stay: what /go needs to show the same page of another month.
    """
    place = (data["wiki"], data["month"]) if data else place
    code = format.known_language(place[0]) if place else None
    return render_template(
        template,
        data=data,
        place={"wiki": place[0], "month": place[1]} if place else None,
        places=site().serving.months() if place else [],
        lang=code,
        lang_attribute=Markup(' lang="{}"').format(code) if code else "",
        missing=format.missing(data) if data else None,
        closed=bool(data and data["complete"] and _month_is_over(data)),
        json_url=json_url,
        stay={"page": page, **(stay or {})},
        current=partial(_current, page),
        charts_installed=charts_installed(),
        **context,
    )


def _current(page: str, name: str) -> Markup:
    return Markup(' aria-current="page"') if page == name else Markup("")


def _month_is_over(data: Mapping[str, Any]) -> bool:
    """Whether the answer counts the whole month, so that nothing means: under the threshold."""
    return bool(parse_time(data["live_until"]) >= Month.parse(data["month"]).end)


def default_place() -> tuple[str, str] | None:
    """The wiki and month of the site's first page: the newest month there is, rather one with live clicks."""
    serving = site().serving
    months = serving.months()
    newest = max((month for _, month in months), default=None)
    wikis = [wiki for wiki, month in months if month == newest]
    if newest is None:
        return None
    return next((wiki for wiki in wikis if serving.latest_live(wiki) == newest), wikis[0]), newest


def asked_place() -> tuple[str, str]:
    """The wiki and month that ``?in=hrwiki/2025-03`` names, else the site's first.

    :raises NotFound: without any month.
    """
    text = request.args.get("in")
    if text:
        wiki, _, month = text.partition("/")
        return wiki, resolve_month(site().serving, wiki, month)
    place = default_place()
    if place is None:
        raise NotFound("no month has been loaded yet")
    return place


def asked_title(in_path: str | None) -> str:
    """The title asked for, in the path or as ``?title=``."""
    title = in_path or request.args.get("title")
    if not title:
        raise BadRequest("no title given")
    return from_request(title)


def live_url(data: Mapping[str, Any]) -> str | None:
    """Where the page may listen for changes; None where none will come."""
    return urls.api_url(data["wiki"], "live") if site().serving.latest_live(data["wiki"]) == data["month"] else None
