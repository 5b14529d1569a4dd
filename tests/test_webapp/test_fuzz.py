"""Every operation of the API under hundreds of made-up requests: it answers as its description says, never with 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
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

from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp.app import create_app
from tests.serving_store import MONTH, WIKI, Store
from tests.test_webapp.test_api import CLICKS, TITLES, TRENDS, micro_batch

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: Values that lead somewhere: of made-up ones alone, hardly any gets past the first look-up.
KNOWN = {
    "wiki": (WIKI,),
    "month": (MONTH, "latest"),
    "title": TITLES,
    "from": TITLES,
    "to": TITLES,
    "ranking": ("in", "reader_rank", "search"),
    "view": ("articles", "sources", "classes"),
    "q": ("z", "Zag"),
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
    store = Store(tmp_path_factory.mktemp("fuzz"))
    store.publish(CLICKS, 6)
    store.stream(micro_batch(CLICKS, 1, 10, trends=TRENDS))
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
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
        return made | {name: value for name, value in known.items() if name in made}

    names = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in KNOWN.items()})
    return st.tuples(strategy, names).map(replace)


@pytest.mark.slow
def test_every_operation_answers_as_it_is_described(described: Any, subtests: pytest.Subtests) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 15
    for operation in operations:
        with subtests.test(operation.label):
            _fuzz(operation)


def _fuzz(operation: Any) -> None:
    @CASES
    @given(operation.as_strategy())
    def answers(case: Case) -> None:
        case.validate_response(case.call(headers={"Accept-Encoding": "identity"}), checks=CHECKS)

    answers()
