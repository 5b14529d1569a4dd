"""Start the site over the stores of a home."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack
from functools import partial

from flask import Flask

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import Settings
from readerflow.storage import Storage, open_storage
from readerflow.storage.log import log_ends
from readerflow.storage.pairs import NoPairs
from readerflow.storage.serving_views import ServingViews
from readerflow.streaming.trends import FORMULA
from readerflow.webapp.app import create_app
from readerflow.webapp.server import serve

from .console import say

#: Of more wikis the first visitor opens the month.
OPENED_AHEAD = 16

log = logging.getLogger(__name__)


def make_app(storage: Storage, settings: Settings) -> Flask:
    """The site with all that it shows of other layers: the trends' formula, synthetic months, the log's ends."""

    def generated(wiki: str, month: str) -> bool:
        try:
            return storage.pairs.facts(wiki, month).synthetic
        except NoPairs:
            return False

    return create_app(
        storage.serving_views,
        live_clients=settings.live_clients,
        trend_threshold=settings.trend_threshold,
        trend_min_clicks=settings.trend_min_clicks,
        trend_formula=FORMULA,
        generated=generated,
        log_ends=partial(log_ends, storage.log),
    )


class PortTaken(ReaderFlowError):
    """The site's address is in use or not this machine's."""


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(
                f"can't listen on {host}:{port}: {error.strerror}; choose another --port or --host"
            ) from None


def open_newest_months(views: ServingViews) -> None:
    """Open each wiki's newest month before visitors come.

    Whatever is wrong with the stores, the site starts: it tells visitors, and operators at ``/readyz``.
    """
    try:
        wikis = sorted({wiki for wiki, _ in views.months()})
    except Exception as error:
        log.warning("no month is opened ahead: %s: %s", type(error).__name__, error)
        return
    for wiki in wikis[:OPENED_AHEAD]:
        try:
            month = views.latest(wiki)
            if month is not None:
                views.open_ahead(wiki, month)
        except Exception as error:
            log.warning("no month of %s is opened ahead: %s: %s", wiki, type(error).__name__, error)


def serve_site(settings: Settings) -> None:
    """Serve until stopped; each worker opens the stores for itself, after the fork.

    :raises PortTaken: when another process listens there.
    """
    _check_port(settings.host, settings.port)
    stores = ExitStack()

    def open_app() -> Flask:
        storage = stores.enter_context(open_storage(settings))
        open_newest_months(storage.serving_views)
        return make_app(storage, settings)

    serve(
        open_app,
        host=settings.host,
        port=settings.port,
        workers=settings.web_workers,
        threads=settings.web_threads,
        announce=lambda url: say(f"ReaderFlow serves at {url} (stop with Ctrl-C)"),
    )
