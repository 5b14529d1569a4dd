"""Many articles at once: each title's numbers in the order asked for, in the API and as a page."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp import many_models, urls
from readerflow.webapp.app import create_app
from readerflow.webapp.exchange import MAX_BODY_BYTES, SECURITY_HEADERS
from readerflow.webapp.many import MAX_BODY_BYTES as MAX_LIST_BYTES
from readerflow.webapp.many_models import MAX_TITLES
from tests.page_site import HUB, ODD_TITLES, PLAIN, QUIET, SENDER, LiveSite
from tests.serving_store import MONTH, WIKI

ARTICLES = f"/api/v1/{WIKI}/{MONTH}/articles"
PAGE = f"/{WIKI}/{MONTH}/articles"
BROWSER = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    home = tmp_path_factory.mktemp("many")
    LiveSite(home).fill()
    with EmbeddedServing(home / "serving.db", home / "views") as serving:
        yield create_app(serving).test_client()


def listed(response: TestResponse) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    answer = response.get_json()
    many_models.ListedArticles.model_validate(answer)
    assert answer["total"] == len(answer["items"]) == int(response.headers["Total-Count"])
    assert answer["unknown"] == sum(not item["known"] for item in answer["items"])
    assert answer["generation"] and answer["horizon"] and answer["complete"]
    items: list[dict[str, Any]] = answer["items"]
    return items


@pytest.mark.parametrize("method", ["get", "post"])
def test_each_title_has_the_numbers_of_its_article_in_the_order_asked_for(client: FlaskClient, method: str) -> None:
    titles = [QUIET, "nobody knows it", HUB, *ODD_TITLES[:30], PLAIN.replace("_", " "), HUB, SENDER]
    response = (
        client.get(ARTICLES, query_string={"title": titles})
        if method == "get"
        else client.post(ARTICLES, json={"titles": titles})
    )
    items = listed(response)
    assert [item["title"] for item in items] == [title.replace(" ", "_") for title in titles]
    for item in items:
        single = client.get(urls.api_title_url(WIKI, MONTH, "article", item["title"]))
        if not item["known"]:
            assert single.status_code == 404
            assert item["in"] is item["ranks"] is None
            continue
        numbers = single.get_json()
        assert {name: value for name, value in item.items() if name != "known"} == {
            name: numbers[name] for name in item if name != "known"
        }
    assert [item["known"] for item in items].count(False) == 1
    for name, value in SECURITY_HEADERS.items():
        assert response.headers[name] == value


def test_a_list_that_did_not_change_is_not_sent_again(client: FlaskClient) -> None:
    address = f"{ARTICLES}?title=Zagreb&title=Split"
    tag = {"If-None-Match": client.get(address).headers["ETag"]}
    assert client.get(address, headers=tag).status_code == 304
    assert client.get(f"{address}&title=Osijek", headers=tag).status_code == 200
    assert "ETag" not in client.post(ARTICLES, json={"titles": ["Zagreb"]}, headers=tag).headers


@pytest.mark.parametrize(("number", "status"), [(0, 400), (1, 200), (MAX_TITLES, 200), (MAX_TITLES + 1, 400)])
def test_the_number_of_titles_has_bounds(client: FlaskClient, number: int, status: int) -> None:
    titles = [f"T{place}" for place in range(number)]
    assert client.get(ARTICLES, query_string={"title": titles}).status_code == status
    assert client.post(ARTICLES, json={"titles": titles}).status_code == status
    assert client.post(PAGE, data={"titles": "\n".join(titles)}, headers=BROWSER).status_code in (200, status)
    if number > MAX_TITLES:
        page = client.post(PAGE, data={"titles": "\n".join(titles)}, headers=BROWSER)
        assert page.status_code == 400 and f"at most {MAX_TITLES}" in page.text


def test_a_list_of_the_longest_titles_fits_and_a_larger_body_is_refused(client: FlaskClient) -> None:
    longest = ["š" * 127] * (MAX_TITLES - 1) + ["😀" * 63]
    body = json.dumps({"titles": longest}).encode()  # each letter is spelt \\u0161
    assert MAX_BODY_BYTES < len(body) < MAX_LIST_BYTES
    assert client.post(ARTICLES, data=body, content_type="application/json").status_code == 200
    assert client.post(PAGE, data={"titles": "\n".join(longest)}, headers=BROWSER).status_code == 200
    for size, status in ((MAX_LIST_BYTES, 200), (MAX_LIST_BYTES + 1, 413)):
        padded = b'{"titles": ["Zagreb"]' + b" " * (size - 22) + b"}"
        assert len(padded) == size
        response = client.post(ARTICLES, data=padded, content_type="application/json")
        assert response.status_code == status
        assert response.mimetype == ("application/json" if status == 200 else "application/problem+json")


def test_a_body_that_does_not_tell_its_length_is_bounded_too(client: FlaskClient) -> None:
    for size, status in ((1_000, 200), (MAX_LIST_BYTES + 1, 413)):
        stream = io.BytesIO(b'{"titles": ["Zagreb"]' + b" " * (size - 22) + b"}")
        response = client.post(
            ARTICLES,
            input_stream=stream,
            content_type="application/json",
            environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
        )
        assert response.status_code == status, response.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b'"Zagreb"', "application/json"),
        (b'["Zagreb"]', "application/json"),
        (b"{}", "application/json"),
        (b'{"titles": "Zagreb"}', "application/json"),
        (b'{"titles": [1]}', "application/json"),
        (b'{"titles": [null]}', "application/json"),
        (b'{"titles": ["a"], "more": 1}', "application/json"),
        (b'{"titles": ["\\ud800"]}', "application/json"),
        (b'{"titles": ["\xff"]}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"titles": ["a"]}', "text/plain"),
        (b"titles=a", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_no_list_of_titles_is_a_problem(client: FlaskClient, body: bytes, kind: str) -> None:
    response = client.post(ARTICLES, data=body, content_type=kind)
    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["detail"]


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", "a\0b", "' or 1=1 --", "\ud7ff", "", " ", "x" * 5_000])
def test_hostile_titles_are_not_known_and_nothing_worse(client: FlaskClient, title: str) -> None:
    (item,) = listed(client.post(ARTICLES, json={"titles": [title]}))
    assert item["known"] == (title.replace(" ", "_") in ODD_TITLES)
    text = client.post(PAGE, data={"titles": title}, headers=BROWSER).text
    assert "<script>alert" not in text


@pytest.mark.parametrize("query", ["", "title=a&limit=1", "titles=a", "title=%ff"])
def test_what_is_no_list_is_refused(client: FlaskClient, query: str) -> None:
    assert client.get(f"{ARTICLES}?{query}").status_code == 400


def test_only_this_list_takes_a_parameter_twice_and_only_posts_what_is_read(client: FlaskClient) -> None:
    assert client.get(f"/api/v1/{WIKI}/{MONTH}/article?title=a&title=b").status_code == 400
    assert client.get(f"{PAGE}?title=a&format=csv&format=csv", headers=BROWSER).status_code == 400
    assert client.get(ARTICLES + "?title=" + "&title=".join(["a" * 100] * 50)).status_code == 414
    for method in ("put", "delete", "patch"):
        assert getattr(client, method)(ARTICLES).status_code == 405
    assert client.post(f"{ARTICLES}?x=1", json={"titles": ["a"]}).status_code == 400


def rows(response: TestResponse) -> list[dict[str, str]]:
    assert response.status_code == 200 and response.mimetype == "text/csv"
    assert "attachment" in response.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(response.text)))


def test_the_page_shows_a_list_and_links_to_it(client: FlaskClient) -> None:
    titles = [HUB, "Nobody_knows_it", "a/../b", ".", "<b>bold</b>"]
    page = client.post(PAGE, data={"titles": "\r\n".join([*titles, "", "  "])}, headers=BROWSER)
    assert page.status_code == 200
    assert "5 articles, 1 of them not known" in page.text
    assert "<b>bold</b>" not in page.text
    (item,) = listed(client.get(ARTICLES, query_string={"title": HUB}))
    (row,) = [row for row in page.text.split("<tr>") if f'href="{urls.article_url(WIKI, MONTH, HUB)}"' in row]
    articles = {name: item["in_link"][name] + item["in_other"][name] for name in item["in"]}
    for counts in (item["in"], item["out"], item["entries"]["search"], articles):
        assert f'data-batch="{counts["batch"]:,}" data-live="{counts["live"]:,}">{counts["clicks"]:,}</td>' in row
    (permalink,) = [link for link in re.findall(r'href="([^"]*)">Permalink', page.text)]
    again = client.get(html.unescape(permalink), headers=BROWSER)
    assert "5 articles, 1 of them not known" in again.text
    (twin,) = re.findall(r'<link rel="alternate" type="application/json" href="([^"]*)"', again.text)
    items = listed(client.get(html.unescape(twin)))
    assert [item["title"] for item in items] == titles
    assert f"{items[0]['in']['clicks']:,}" in again.text
    asked = re.search(r'name="asked" value="([^"]*)"', again.text)
    assert asked is not None
    moved = client.get(
        "/go", query_string={"to": f"{WIKI}/latest", "page": "articles", "asked": html.unescape(asked[1])}
    )
    assert moved.headers["Location"] == html.unescape(permalink)
    assert client.get(f"/go?to={WIKI}/latest&page=articles&asked=path%3Dx%26title%3Da").status_code == 303


def test_a_list_too_long_for_an_address_has_no_permalink(client: FlaskClient) -> None:
    page = client.post(PAGE, data={"titles": "\n".join(f"š{n}" * 20 for n in range(100))}, headers=BROWSER)
    assert page.status_code == 200
    assert ">Permalink" not in page.text and "has no permalink" in page.text


def test_the_file_of_a_list_has_all_numbers_and_no_formula(client: FlaskClient) -> None:
    titles = [HUB, "-", "=1+1", QUIET]
    found = rows(client.post(PAGE, data={"titles": "\n".join(titles), "format": "csv"}))
    linked = rows(client.get(urls.articles_url(WIKI, MONTH, titles, format="csv")))
    assert found == linked
    assert [row["title"] for row in found] == [HUB, "'-", "'=1+1", QUIET]
    items = listed(client.post(ARTICLES, json={"titles": titles}))
    for row, item in zip(found, items, strict=True):
        assert row["known"] == str(item["known"]).lower()
        assert row["in"] == (str(item["in"]["clicks"]) if item["known"] else "")
        assert row["in_live"] == (str(item["in"]["live"]) if item["known"] else "")
        assert row["search"] == (str(item["entries"]["search"]["clicks"]) if item["known"] else "")
    assert rows(client.get(f"{PAGE}?format=csv")) == []
    assert client.get(f"{PAGE}?format=xls", headers=BROWSER).status_code == 400


def test_an_empty_form_asks_for_titles(client: FlaskClient) -> None:
    text = client.get(PAGE, headers=BROWSER).text
    assert "Paste a list of titles" in text and "Permalink" not in text
    assert client.get(f"/xxwiki/{MONTH}/articles?title={quote('a')}", headers=BROWSER).status_code == 404
