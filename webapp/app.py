"""The Flask app: API, operators' routes and, where they are installed, pages."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flask import Flask
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from readerflow.storage.serving_views import ServingViews

from . import exchange, months_api, operations, wikinav
from .api import api
from .context import SITE, Site
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
    app.register_api(api)
    app.register_api(months_api.api)
    app.register_api(wikinav.api)
    app.register_api(operations.operations)
    _add_pages(app)
    return app


def _add_pages(app: Flask) -> None:
    if find_spec("readerflow.webapp.pages") is None:
        return
    from . import months_pages, pages

    app.register_blueprint(pages.pages)
    app.register_blueprint(months_pages.pages)
    if hasattr(pages, "error_page"):
        app.extensions[exchange.ERROR_PAGE] = pages.error_page
