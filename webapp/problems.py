"""What can go wrong with a request, as problem details (RFC 9457): one shape for the API and for pages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from readerflow.common.errors import BadInput, ReaderFlowError, Unavailable
from readerflow.storage.batch_views import NoGeneration
from readerflow.storage.serving_views import ChangesPending, QueryTooLong

MEDIA_TYPE = "application/problem+json"
#: After which one asks again for what is being worked out.
PENDING_SECONDS = 5


class Problem(ReaderFlowError):
    """An answer that is not 2xx.

    ``members`` are further members of the problem details, for instance ``near``: titles like the one asked for.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.members = members


class BadRequest(Problem):
    status = HTTPStatus.BAD_REQUEST


class NotFound(Problem):
    status = HTTPStatus.NOT_FOUND


class NotComparable(Problem):
    """Two months, or an article in them, can't be compared as they are now."""

    status = HTTPStatus.CONFLICT


class Gone(Problem):
    """A ``next`` token names a generation or incarnation that is no longer kept."""

    status = HTTPStatus.GONE


class Busy(Problem):
    """The site can't take more now; ``Retry-After`` says when to come back."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, *, retry_seconds: int = 5, **members: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_seconds)}, **members)


def as_problem(error: ReaderFlowError) -> Problem:
    """Turn a known error of another layer into the problem that a visitor sees."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, BadInput):
        return BadRequest(str(error))
    if isinstance(error, NoGeneration):
        return NotFound(str(error))
    if isinstance(error, ChangesPending):
        return Busy(str(error), retry_seconds=PENDING_SECONDS)
    if isinstance(error, QueryTooLong):
        return Busy(str(error), retry_seconds=30)
    if isinstance(error, Unavailable):
        # Where the store is and how to start it is not for visitors.
        return Busy("the store of this site's numbers does not answer", retry_seconds=10)
    return Problem(str(error))


def details(status: int, detail: str, path: str, **members: Any) -> dict[str, Any]:
    """The body: type, title, status, detail, instance and further members."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "instance": path,
        **members,
    }
