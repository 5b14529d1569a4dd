"""A page or an answer is built once for a version of the views, and sent only to those who lack it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp import answers
from readerflow.webapp.app import create_app
from tests.serving_store import MONTH, WIKI, Click, Store, micro_batch, numbered

CLICKS = numbered([Click(hour, "other-search", "Zagreb", "external", 5) for hour in range(10)])
PAGE, ANSWER = f"/{WIKI}/{MONTH}/article/Zagreb", f"/api/v1/{WIKI}/{MONTH}/article/Zagreb"
PACKED = {"Accept-Encoding": "gzip"}
both = pytest.mark.parametrize("address", [PAGE, ANSWER], ids=["page", "answer"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.publish(CLICKS, 3)
    store.stream(micro_batch(CLICKS, 1, 10))
    return store


@pytest.fixture
def client(store: Store) -> Iterator[FlaskClient]:
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        yield create_app(serving).test_client()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles whose numbers were looked up."""
    titles: list[str] = []
    look_up: Callable[..., Any] = answers.article

    def article(reading: Any, title: str) -> dict[str, Any]:
        titles.append(title)
        found: dict[str, Any] = look_up(reading, title)
        return found

    monkeypatch.setattr(answers, "article", article)
    return titles


@both
def test_what_was_asked_before_is_not_worked_out_again(client: FlaskClient, asked: list[str], address: str) -> None:
    first, second = client.get(address, headers=PACKED), client.get(address, headers=PACKED)
    assert asked == ["Zagreb"]
    assert second.data == first.data
    assert dict(second.headers) == dict(first.headers)


@both
def test_a_client_that_has_it_gets_it_no_second_time(client: FlaskClient, address: str) -> None:
    tag = {"If-None-Match": client.get(address).headers["ETag"]}
    again = client.get(address, headers=tag)
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == tag["If-None-Match"]


@both
def test_a_new_micro_batch_is_seen_at_once(client: FlaskClient, store: Store, address: str) -> None:
    before = client.get(address)
    store.stream(micro_batch([Click(10, "other-search", "Zagreb", "external", 7_000)], 2, 11))
    after = client.get(address, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert "7,050" in after.text or '"clicks":7050' in after.text


@pytest.mark.parametrize("address", [PAGE, f"/api/v1/{WIKI}/{MONTH}/classes"], ids=["page", "answer"])
def test_each_client_gets_the_encoding_it_takes(client: FlaskClient, address: str) -> None:
    packed, plain, again = (client.get(address, headers=headers) for headers in (PACKED, {}, PACKED))
    assert gzip.decompress(packed.data) == plain.data
    assert "Content-Encoding" not in plain.headers
    assert again.data == packed.data


def test_a_page_of_views_that_change_meanwhile_is_not_kept(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter(["old", "new", "old", "old"])
    monkeypatch.setattr(EmbeddedServing, "version", lambda serving: next(versions))
    client.get(PAGE)
    store.stream(micro_batch([Click(10, "other-search", "Zagreb", "external", 7_000)], 2, 11))
    assert "7,050" in client.get(PAGE).text
