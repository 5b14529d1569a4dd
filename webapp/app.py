"""The Flask app: API, operators' routes and, where they are installed, pages."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from flask import Flask
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from readerflow.storage.serving_views import ServingViews

from . import exchange, explore, many, months_api, operations, search, wikinav
from .api import api
from .context import SITE, Site
from .graph_api import graph_api
from .live import HUB, Hub

API_TEXT = (
    "How readers move through Wikipedia: merged batch and realtime views of the clickstream. Read-only. Every number "
    "is clicks = batch + live; every answer names its generation, horizon and live_until and says if it is complete."
)


def create_app(serving: ServingViews, **settings: Any) -> Flask:
    """Make the app over opened stores.

    :param settings: fields of :class:`~.context.Site`, for instance ``live_clients``.
    """
    site = Site(serving, **settings)
    app = OpenAPI(
        __name__,
        info=Info(title="ReaderFlow", version=version("readerflow"), description=API_TEXT),
        validation_error_status=400,
        validation_error_callback=exchange.invalid_parameters,
        doc_ui=False,
        instance_path=str(Path(__file__).parent),
    )
    app.extensions[SITE] = site
    app.extensions[HUB] = Hub(app, site.live_clients, site.poll_seconds)
    operations.measure(app)
    exchange.install(app)
    app.url_map.converters |= {"language": wikinav.LanguageConverter, "wikinav_month": wikinav.WikiNavMonth}
    for part in (api, graph_api, search.api, many.api, explore.api, months_api.api, wikinav.api, operations.operations):
        app.register_api(part)
    _add_pages(app)
    return app


def _add_pages(app: Flask) -> None:
    from . import explore_pages, many_pages, months_pages, pages, path_pages, search_pages

    for part in (pages, search_pages, many_pages, months_pages, explore_pages):
        app.register_blueprint(part.pages)
    app.register_blueprint(path_pages.path_pages)
    app.extensions[exchange.ERROR_PAGE] = pages.error_page
