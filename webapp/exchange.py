"""How the site speaks HTTP: strict requests, problem details, entity tags, compression, security headers."""

from __future__ import annotations

import gzip
import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from flask import Flask, Response, current_app, request
from flask.json.provider import DefaultJSONProvider
from flask.sansio.app import App
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestURITooLarge
from werkzeug.routing import BaseConverter

from readerflow.common.errors import ReaderFlowError, Unavailable

from .problems import MEDIA_TYPE, BadRequest, as_problem, details

ERROR_PAGE = "readerflow.error_page"  # in app.extensions: problem details -> HTML, where there are pages
MAX_URI_CHARS = 4_096
MAX_BODY_BYTES = 16 * 1024
MIN_GZIP_BYTES = 1_000
ALLOWANCES = "readerflow.allowances"  # in app.extensions: endpoint -> Allowance
COMPRESSIBLE = ("application/json", MEDIA_TYPE, "text/", "image/svg+xml", "application/javascript")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allowance:
    """What a route takes beyond what all routes take: parameters that may be repeated, larger bodies."""

    repeated: frozenset[str] = frozenset()
    body_bytes: int = MAX_BODY_BYTES


def allow(app: App, endpoint: str, allowance: Allowance) -> None:
    """Let a route take more than others do."""
    app.extensions.setdefault(ALLOWANCES, {})[endpoint] = allowance


class TitleConverter(BaseConverter):
    """A title as the last part of a path: it may hold, begin and end with slashes, or be empty."""

    regex = ".*?"
    part_isolating = False


def json_response(answer: dict[str, Any]) -> Response:
    return Response(to_json(answer), mimetype="application/json")


def problem_response(status: int, detail: str, **members: Any) -> Response:
    body = details(status, detail, request.path, **members)
    return Response(to_json(body), status, mimetype=MEDIA_TYPE)


def invalid_parameters(error: ValidationError) -> Response:
    """Say which parameter of a request is wrong."""
    errors = [
        {"parameter": ".".join(str(part) for part in one["loc"]) or "body", "reason": one["msg"]}
        for one in error.errors()
    ]
    return problem_response(400, "; ".join(f"{one['parameter']}: {one['reason']}" for one in errors), errors=errors)


def wants_problem() -> bool:
    """Whether an error should be told to a program (problem details) rather than to a person (a page)."""
    if request.path.startswith("/api/") or request.path in ("/openapi.json", "/metrics", "/healthz", "/readyz"):
        return True
    return request.accept_mimetypes.best_match(["text/html", "application/json", MEDIA_TYPE]) != "text/html"


def asked() -> bytes:
    """The address that was asked for, as it came."""
    return f"{request.environ['PATH_INFO']}?{request.environ['QUERY_STRING']}".encode("latin-1", "replace")


def etag_of(envelope: dict[str, Any]) -> str:
    """The entity tag of an answer: it changes with what it rests on and with what was asked."""
    return digest(to_json(envelope) + asked())


def digest(content: bytes) -> str:
    """An entity tag that changes with some content."""
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def not_modified(etag: str) -> bool:
    return request.if_none_match.contains_weak(etag)


def tagged(response: Response, etag: str) -> Response:
    response.set_etag(etag, weak=True)
    response.headers["Cache-Control"] = "no-cache"
    return response


class StrictJson(DefaultJSONProvider):
    """Reads JSON without Python's leniency: lone surrogates and endless nesting are no JSON."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return from_json(s)


def install(app: Flask) -> None:
    """Make an app strict about requests and complete in its answers."""
    app.json = StrictJson(app)
    app.url_map.merge_slashes = False
    app.url_map.converters["title"] = TitleConverter
    app.before_request(_check_request)
    app.register_error_handler(ReaderFlowError, _known_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)
    app.after_request(_finish)


def _check_request() -> None:
    environ = request.environ
    if len(environ.get("PATH_INFO", "")) + len(environ.get("QUERY_STRING", "")) > MAX_URI_CHARS:
        raise RequestURITooLarge(f"the address is longer than {MAX_URI_CHARS} characters")
    try:
        # WSGI hands over bytes as latin-1; Flask would turn invalid UTF-8 into U+FFFD, which is another title.
        environ.get("PATH_INFO", "").encode("latin-1").decode()
        unquote_to_bytes(environ.get("QUERY_STRING", "").encode("latin-1")).decode()
    except UnicodeError:
        raise BadRequest("the address is not valid UTF-8") from None
    allowance = current_app.extensions.get(ALLOWANCES, {}).get(request.endpoint, Allowance())
    size = request.content_length or 0
    if "HTTP_TRANSFER_ENCODING" in environ:  # a body that does not tell its length
        request.max_content_length = allowance.body_bytes + 1
        size = len(request.get_data(parse_form_data=True))
    if size > allowance.body_bytes:
        raise RequestEntityTooLarge(f"a body of more than {allowance.body_bytes} bytes; this site only reads")
    repeated = sorted(
        name for name, values in request.args.lists() if len(values) > 1 and name not in allowance.repeated
    )
    if repeated:
        raise BadRequest(f"given more than once: {', '.join(repeated)}")


def _known_error(error: ReaderFlowError) -> Response:
    problem = as_problem(error)
    if problem.status == 500 or isinstance(error, Unavailable):
        log.error("%s: %s", request.path, error)
    response = _tell(int(problem.status), problem.detail, **problem.members)
    response.headers.update(problem.headers)
    return response


def _http_error(error: HTTPException) -> Response:
    if error.response is not None:  # made by whoever aborted, for instance a redirect
        return error.get_response()  # type: ignore[return-value]
    response = _tell(error.code or 500, error.description or "")
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _defect(error: Exception) -> Response:
    number = secrets.token_hex(4)
    log.exception("request %s of %s failed", number, request.path)
    return _tell(500, f"this is our fault, not yours; the server's log tells of it as {number}", request_id=number)


def _tell(status: int, detail: str, **members: Any) -> Response:
    page = _error_page() if not wants_problem() else None
    if page is None:
        return problem_response(status, detail, **members)
    return Response(page(details(status, detail, request.path, **members)), status, mimetype="text/html")


def _error_page() -> Callable[[dict[str, Any]], str] | None:
    return cast("Callable[[dict[str, Any]], str] | None", current_app.extensions.get(ERROR_PAGE))


def _finish(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-cache")
    if not response.is_streamed or response.direct_passthrough:
        compress(response)
    return response


def compress(response: Response) -> None:
    """Compress what is large enough, once, for clients that take it."""
    if response.status_code != 200 or not (response.mimetype or "").startswith(COMPRESSIBLE):
        return
    response.vary.add("Accept-Encoding")
    if "Content-Encoding" in response.headers or not takes_gzip():
        return
    is_file = response.direct_passthrough
    response.direct_passthrough = False
    body = response.get_data()
    if len(body) < MIN_GZIP_BYTES:
        return
    response.set_data(_gzip_file(body) if is_file else gzip.compress(body, 5, mtime=0))
    response.headers["Content-Encoding"] = "gzip"


def takes_gzip() -> bool:
    return bool(request.accept_encodings["gzip"])


@lru_cache(64)
def _gzip_file(body: bytes) -> bytes:
    return gzip.compress(body, 9, mtime=0)
