"""Every operation of the API under hundreds of made-up requests: it answers as its description says, never with 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from readerflow.common.months import HOUR
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp.app import create_app
from tests.serving_store import MONTH, SOURCE, START, WIKI, Store, micro_batch
from tests.test_webapp.test_api import CLICKS, TITLES, TRENDS
from tests.two_months import EARLIER, EARLIER_END, EARLIER_SOURCE, clicks

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: A month of which a few hours are counted, so that it compares with no other.
BEGUN, BEGUN_SOURCE, BEGUN_END = "2025-01", "d4e5f6a7", (datetime(2025, 1, 1, 6) - START) // HOUR
MONTHS = {SOURCE: (WIKI, MONTH), EARLIER_SOURCE: (WIKI, EARLIER), BEGUN_SOURCE: (WIKI, BEGUN)}
#: What compares two months.
COMPARING = ("movers", "changed-pairs", "changes", "changes/{title}")
#: Values that lead somewhere: of made-up ones alone, hardly any gets past the first look-up.
KNOWN = {
    "wiki": (WIKI,),
    "month": (MONTH, EARLIER, BEGUN, "latest"),
    "against": (MONTH, EARLIER, BEGUN, "latest"),
    "title": TITLES,
    "from": TITLES,
    "to": TITLES,
    "ranking": ("in", "reader_rank", "search"),
    "view": ("articles", "sources", "classes"),
    "q": ("z", "Zag"),
    "limit": (1, 100),
    "next": (None,),  # left out: made-up tokens lead nowhere
}
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
CASES = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    store = Store(tmp_path_factory.mktemp("fuzz"), months=MONTHS)
    store.publish(clicks(later=False, hour=BEGUN_END - 1), BEGUN_END, source=BEGUN_SOURCE)
    store.publish(clicks(later=False, hour=EARLIER_END - 1), EARLIER_END, source=EARLIER_SOURCE)
    second_day = [replace(click, hour=click.hour + 24) for click in CLICKS]
    store.publish(second_day, 30)
    store.stream(micro_batch(second_day, 1, 34, months=MONTHS, trends=TRENDS))
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        serving._comparisons._wait_seconds = 60
        schema = schemathesis.openapi.from_wsgi("/openapi.json", _read_whole(create_app(serving)))
        schema.config.generation.update(modes=list(GenerationMode))
        yield schema.exclude(path_regex="/live$")  # it never ends


def _read_whole(app: Flask) -> WSGIApplication:
    """The app of a client that reads and closes every answer: that frees the place of a download."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        with closing(app(environ, start_response)) as body:  # type: ignore[type-var]
            return [b"".join(body)]

    return answer


@schemathesis.hook
def before_generate_path_parameters(context: Any, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _some_known(strategy)


@schemathesis.hook
def before_generate_query(context: Any, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _some_known(strategy)


def _some_known(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Parameters of which some have a value that is known to lead somewhere."""

    def replace(drawn: tuple[Any, dict[str, Any]]) -> Any:
        made, known = drawn
        if not isinstance(made, dict):
            return made
        found = made | {name: value for name, value in known.items() if name in made}
        return {name: value for name, value in found.items() if value is not None or name not in known}

    names = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in KNOWN.items()})
    return st.tuples(strategy, names).map(replace)


@pytest.mark.slow
def test_every_operation_answers_as_it_is_described(described: Any, subtests: pytest.Subtests) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 15
    compared = set[int]()
    for operation in operations:
        with subtests.test(operation.label):
            statuses = _fuzz(operation)
            if operation.path.partition("/{month}/")[2] in COMPARING:
                compared |= statuses
    assert compared >= {200, 409}, "no two months were compared, or none refused"


def _fuzz(operation: Any) -> set[int]:
    """Ask with many made-up requests; returns the statuses of answers."""
    statuses = set[int]()

    @CASES
    @given(operation.as_strategy())
    def answers(case: Case) -> None:
        response = case.call(headers={"Accept-Encoding": "identity"})
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    answers()
    return statuses
