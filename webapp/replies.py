"""How the site replies: an answer with its entity tag, or that the client has it already. What was asked last is kept,
since readers ask for the same articles again and again, and an answer changes with the views only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from flask import Response

from readerflow.storage.serving_views import Reading

from . import models
from .context import envelope, resolve_month, site
from .exchange import compress, etag_of, json_response, not_modified, tagged, takes_gzip

HEADERS_BYTES = 1_500  # of a response that is kept, about


def reply(reading: Reading, build: Callable[[], dict[str, Any]]) -> Response:
    """Answer from a reading, or say that the client has this answer."""
    etag = etag_of(envelope(reading.snapshot))
    if not_modified(etag):
        return tagged(Response(status=304), etag)
    return kept(etag) or keep(etag, tagged(counted(build()), etag))


def kept(key: Hashable) -> Response | None:
    """The response that was kept under a key, in the encoding that this client takes; None when there is none."""
    known = site().replies.get((key, takes_gzip()))
    return Response(known[0], headers=known[1]) if known else None


def keep(key: Hashable, response: Response) -> Response:
    """Keep a response, which nothing in the request but the address may have shaped, and give it back."""
    compress(response)
    body = response.get_data()
    site().replies.put((key, takes_gzip()), (body, list(response.headers)), len(body) + HEADERS_BYTES)
    return response


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
