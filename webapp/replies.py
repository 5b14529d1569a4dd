"""How the API replies: an answer with its entity tag, or that the client has it already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response

from readerflow.storage.serving_views import Reading

from . import models
from .context import envelope, resolve_month, site
from .exchange import etag_of, json_response, not_modified, tagged


def reply(reading: Reading, build: Callable[[], dict[str, Any]]) -> Response:
    """Answer from a reading, or say that the client has this answer."""
    etag = etag_of(envelope(reading.snapshot))
    if not_modified(etag):
        return tagged(Response(status=304), etag)
    return tagged(counted(build()), etag)


def reply_as_it_is(answer: dict[str, Any]) -> Response:
    """Answer what changes without a new generation or micro-batch, as the log's end does: the tag is of all of it."""
    etag = etag_of(answer)
    return tagged(Response(status=304) if not_modified(etag) else counted(answer), etag)


def counted(answer: dict[str, Any]) -> Response:
    """The answer as JSON; a list's length goes into ``Total-Count``."""
    response = json_response(answer)
    length = answer.get("total", answer.get("total_count"))  # the latter is WikiNav's name
    if length is not None:
        response.headers["Total-Count"] = str(length)
    return response


def reply_from(path: models.MonthPath, build: Callable[[Reading], dict[str, Any]]) -> Response:
    """Read a month and answer from it."""
    month = resolve_month(site().serving, path.wiki, path.month)
    with site().serving.read(path.wiki, month) as reading:
        return reply(reading, lambda: build(reading))
