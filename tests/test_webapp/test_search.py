"""Search in the API and as a page: all hits in the order of their clicks, by pages that concatenate."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp import search_models, urls
from readerflow.webapp.app import create_app
from readerflow.webapp.paging import RankingPage
from tests.page_site import HUB, ODD_TITLES, PLAIN, LiveSite
from tests.serving_store import MONTH, WIKI

SEARCH = f"/api/v1/{WIKI}/{MONTH}/search"
BROWSER = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    home = tmp_path_factory.mktemp("search")
    LiveSite(home).fill()
    with EmbeddedServing(home / "serving.db", home / "views") as serving:
        yield create_app(serving).test_client()


def answer(client: FlaskClient, address: str, **query: Any) -> dict[str, Any]:
    response = client.get(address, query_string=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    search_models.Hits.model_validate(found)
    assert response.headers["Total-Count"] == str(found["total"])
    return found


@pytest.mark.parametrize("limit", [1, 60, 149, 150, 151, 1000])
def test_pages_of_hits_concatenate_to_all_of_them_in_the_order_of_clicks(client: FlaskClient, limit: int) -> None:
    whole = answer(client, SEARCH, q="clan", limit=1000)
    assert whole["total"] == len(whole["items"]) == 150
    assert {item["title"] for item in whole["items"]} == {f"Članak_{number}" for number in range(150)}
    keys = [(-item["in_clicks"], item["title"].encode()) for item in whole["items"]]
    assert keys == sorted(keys)
    items, token = [], None
    while True:
        page = answer(client, SEARCH, q="clan", limit=limit, **({"next": token} if token else {}))
        items += page["items"]
        token = page["next"]
        if token is None:
            break
    assert items == whole["items"]


def test_a_position_is_that_of_the_ranking_by_clicks_in(client: FlaskClient) -> None:
    ranking = client.get(f"/api/v1/{WIKI}/{MONTH}/rankings/in?limit=1000").get_json()["items"]
    positions = {row["title"]: (row["position"], row["value"]) for row in ranking}
    found = answer(client, SEARCH, q="a", limit=1000)
    assert found["items"]
    for item in found["items"]:
        assert positions[item["title"]] == (item["position"], item["in_clicks"])


def test_words_come_in_any_order_and_suggestions_are_the_first_hits(client: FlaskClient) -> None:
    found = answer(client, SEARCH, q="ZRINSKI pétar")
    assert [item["title"] for item in found["items"]] == [PLAIN]
    assert answer(client, f"/api/v1/{WIKI}/search", q="zrin")["items"] == answer(client, SEARCH, q="zrin")["items"]
    for query in ("c", "zrin", "clanak 1", "html", "日本", "9"):
        suggested = client.get(f"/api/v1/{WIKI}/suggest", query_string={"q": query, "limit": 5}).get_json()["items"]
        hits = answer(client, SEARCH, q=query, limit=5)["items"]
        assert suggested == [{name: value for name, value in hit.items() if name != "position"} for hit in hits]


@pytest.mark.parametrize("title", [title for title in ODD_TITLES if title.strip("_")])
def test_every_odd_title_is_found(client: FlaskClient, title: str) -> None:
    assert title in [item["title"] for item in answer(client, SEARCH, q=title, limit=1000)["items"]]


@pytest.mark.parametrize("query", ["", " ", "_", "qqqq", "x'; drop table articles; --", "\0", "%", "\U0010ffff"])
def test_what_nothing_has_is_no_hit_and_no_defect(client: FlaskClient, query: str) -> None:
    found = answer(client, SEARCH, q=query)
    assert (found["total"], found["next"]) == (len(found["items"]), None)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("q=" + "a" * 255, 200),
        ("q=" + "a" * 256, 400),
        ("q=a&limit=0", 400),
        ("q=a&limit=1000", 200),
        ("q=a&limit=1001", 400),
        ("q=a&next=nonsense", 400),
        ("q=a&q=b", 400),
        ("q=a&page=2", 400),
        (f"q=a&next={RankingPage('20000101T000000-00000000', 1).token()}", 410),
    ],
)
def test_what_can_not_be_searched_is_a_problem(client: FlaskClient, query: str, status: int) -> None:
    for address in (SEARCH, f"/api/v1/{WIKI}/search"):
        response = client.get(f"{address}?{query}")
        assert response.status_code == status
        assert response.mimetype == ("application/json" if status == 200 else "application/problem+json")


def links(text: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)]


def test_the_page_lists_all_hits_with_their_number(client: FlaskClient) -> None:
    address: str | None = "/search?q=clanak"
    found: list[str] = []
    pages = 0
    while address:
        response = client.get(address, headers=BROWSER)
        assert response.status_code == 200
        assert "150 titles with" in response.text
        found += [link for link in links(response.text) if link.startswith(f"/{WIKI}/{MONTH}/article/")]
        following = re.search(r'<a href="([^"]*)" rel="next">', response.text)
        address = html.unescape(following[1]) if following else None
        pages += 1
    assert pages == 3
    assert sorted(found) == sorted(urls.article_url(WIKI, MONTH, f"Članak_{number}") for number in range(150))


def test_an_exact_title_is_opened_unless_all_hits_are_asked_for(client: FlaskClient) -> None:
    response = client.get("/search", query_string={"q": "Petar IV. Zrinski"})
    assert (response.status_code, response.headers["Location"]) == (303, urls.article_url(WIKI, MONTH, PLAIN))
    response = client.get(urls.search_url(WIKI, MONTH, HUB), headers=BROWSER)
    assert response.status_code == 200
    assert urls.article_url(WIKI, MONTH, HUB) in links(response.text)


def test_the_page_says_when_there_is_nothing(client: FlaskClient) -> None:
    assert "Type words" in client.get("/search", headers=BROWSER).text
    text = client.get("/search?q=zagrebqqq", headers=BROWSER).text
    assert "No title has words that begin with" in text
    assert urls.article_url(WIKI, MONTH, HUB) in links(text)
    assert "<script>alert" not in client.get(f"/search?q={quote('<script>alert(3)')}", headers=BROWSER).text
    assert client.get(f"/search?q={'a' * 256}", headers=BROWSER).status_code == 400
    assert client.get("/search?q=a&next=nonsense", headers=BROWSER).status_code == 400
