"""Works on few requests at a time, so that a crowd waits in a line instead of in each other's way.

A worker has a thread for each live stream that it may serve, but Python runs one thread at once: with tens of them at
work, most time goes into handing the interpreter on, answers come later than one after the other, and the crowd grows.
A stream, or an export, holds no place once it has begun.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, request

from .problems import Busy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: As many as it takes to use the time in which some wait for a store.
PLACES = 4
#: Who has waited so long is told to come back: nobody looks at the answer any more.
PATIENCE_SECONDS = 10.0
#: What operators look at must answer when the site is slow.
FREE = ("/healthz", "/readyz", "/metrics")
REFUSED = "readerflow.refused"  # in a request's environ: there was no place for it in time


class Turnstile:
    """Lets at most so many requests into a WSGI app at a time; :func:`install` makes the app tell those it refuses."""

    def __init__(self, app: WSGIApplication, places: int = PLACES, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._app = app
        self._patience_seconds = patience_seconds
        self._places = threading.BoundedSemaphore(places)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") in FREE:
            return self._app(environ, start_response)
        if not self._places.acquire(timeout=self._patience_seconds):
            return self._app({**environ, REFUSED: True}, start_response)
        try:
            return self._app(environ, start_response)
        finally:
            self._places.release()


def install(app: Flask) -> None:
    """Put a turnstile before an app."""
    app.wsgi_app = Turnstile(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(_refuse)


def _refuse() -> None:
    if REFUSED in request.environ:
        raise Busy("more is asked of the site now than it can answer; try again in a moment")
