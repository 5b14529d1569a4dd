"""Paths and related articles in the API and on pages: numbers of one generation, hostile titles, refusals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.storage.log import ActiveSource
from readerflow.webapp import graph_answers, graph_models, urls
from readerflow.webapp.app import create_app
from readerflow.webapp.path_words import odds, share_of_step
from tests.api_replies import ok, problem
from tests.page_site import BUSY, HUB, ODD_TITLES, OTHER_WIKI, PLAIN, QUIET, SENDER, LiveSite
from tests.serving_store import MONTH, SOURCE, WIKI, Click, Store, micro_batch, numbered, sums
from tests.test_webapp.test_pages import BROWSER, Page

BASE = f"/api/v1/{WIKI}/{MONTH}"
HORIZON_HOUR = 720


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> LiveSite:
    made = LiveSite(tmp_path_factory.mktemp("site"))
    made.fill()
    return made


@pytest.fixture(scope="module")
def app(site: LiveSite) -> Iterator[Flask]:
    with EmbeddedServing(site.store.serving_db, site.store.views_root) as serving:
        yield create_app(serving)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def paths(client: FlaskClient, source: str, target: str, **query: Any) -> dict[str, Any]:
    answer = ok(client.get(f"{BASE}/path", query_string={"from": source, "to": target, **query}))
    graph_models.Paths.model_validate(answer)
    return answer


def page(client: FlaskClient, source: str, target: str, status: int = 200, by: str = "probability") -> Page:
    response = client.get(urls.path_url(WIKI, MONTH, source, target, by), headers=BROWSER)
    assert (response.status_code, response.mimetype) == (status, "text/html")
    return Page(response.text)


def clicks_of(site: LiveSite) -> dict[tuple[Any, ...], int]:
    """Clicks on links before the horizon."""
    batch = [c for c in site.clicks if c.hour < HORIZON_HOUR and c.link_type == "link"]
    return sums(batch, "referrer", "article")


def test_a_path_tells_the_shares_of_its_links_and_how_many_get_so_far(client: FlaskClient, site: LiveSite) -> None:
    exact = clicks_of(site)
    answer = paths(client, BUSY, "Nikola Šubić Zrinski", k=5)
    assert (answer["outcome"], answer["complete_list"], answer["batch_only"]) == ("found", True, True)
    best = answer["items"][0]
    assert [one["title"] for one in best["articles"]] == [BUSY, PLAIN, "Nikola_Šubić_Zrinski"]
    out = sum(n for (referrer, _), n in exact.items() if referrer == PLAIN)
    clicks = exact[PLAIN, "Nikola_Šubić_Zrinski"]
    assert best["links"][1] == {
        "from": PLAIN, "to": "Nikola_Šubić_Zrinski", "clicks": clicks, "out_clicks": out, "share": clicks / out,
    }  # fmt: skip
    assert [one["reached"] for one in best["articles"]] == pytest.approx([1, 1, clicks / out])
    assert best["probability"] == pytest.approx(math.prod(link["share"] for link in best["links"]))
    assert best["clicks"] == min(link["clicks"] for link in best["links"])
    assert answer["horizon"] == "2025-03-31T00:00Z"
    assert answer["generation"]


def test_alternatives_come_in_order_of_the_measure_and_differ(client: FlaskClient) -> None:
    for by, value in (("probability", "probability"), ("clicks", "clicks")):
        items = paths(client, PLAIN, "Članak_7", k=5, by=by)["items"]
        assert len(items) == 5
        assert [item["position"] for item in items] == [1, 2, 3, 4, 5]
        assert len({tuple(one["title"] for one in item["articles"]) for item in items}) == 5
        values = [item[value] for item in items]
        assert values == sorted(values, reverse=True)
    assert len(paths(client, PLAIN, "Članak_7")["items"]) == 1
    alone = paths(client, "Članak_3", "Članak_7", k=5)  # all ways lead through the hub
    assert (len(alone["items"]), alone["complete_list"]) == (1, True)
    assert "There is no other path" in page(client, "Članak_3", "Članak_7").text


@pytest.mark.parametrize("title", ODD_TITLES)
def test_every_odd_title_can_be_the_end_of_a_path_and_have_related_articles(client: FlaskClient, title: str) -> None:
    answer = paths(client, title, PLAIN)
    assert answer["items"][0]["articles"][0]["title"] == title
    assert paths(client, PLAIN, title)["to"]["title"] == title
    shown = page(client, title, PLAIN)
    assert HUB in shown.text
    assert next(one for tag, one in shown.tags if tag == "input" and one.get("name") == "from")["value"]
    assert not [tag for tag, _ in shown.tags if tag in ("b", "style")][3:]  # shares are bold, titles are not markup
    related = ok(client.get(f"{BASE}/related/{quote(title, safe='')}"))
    graph_models.Related.model_validate(related)
    assert related == ok(client.get(f"{BASE}/related?title={quote(title, safe='')}"))
    assert {HUB, PLAIN} <= {item["title"] for item in related["items"]}


def test_no_path_is_told_apart_from_an_unknown_title_and_says_why(client: FlaskClient) -> None:
    assert paths(client, QUIET, HUB)["reason"] == "no_link_out"
    assert paths(client, HUB, SENDER)["reason"] == "no_link_in"
    assert paths(client, HUB, "Dan_pogibije_Zrinskog_i_Frankopana")["reason"] == "no_link_in"  # only by other clicks
    for source, target in ((QUIET, HUB), (HUB, SENDER)):
        answer = paths(client, source, target)
        assert (answer["outcome"], answer["items"]) == ("none", [])
        assert "No path of clicks" in page(client, source, target).text
    told = problem(client.get(f"{BASE}/path?from=Zagrxxeb&to={PLAIN}"), 404)
    assert (told["parameter"], told["near"][0]) == ("from", HUB)
    assert problem(client.get(f"{BASE}/path?from={PLAIN}&to=Qqq"), 404)["parameter"] == "to"
    shown = page(client, "Zagrxxeb", PLAIN, 404)
    assert "No article “Zagrxxeb” in March 2025" in shown.text
    assert urls.path_url(WIKI, MONTH, HUB, PLAIN) in shown.links()


def test_two_parts_that_no_click_connects_have_no_path(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.publish(numbered([Click(0, "A", "B", "link", 10), Click(0, "C", "D", "link", 10)]), 1)
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        answer = paths(create_app(serving).test_client(), "A", "D")
    assert (answer["outcome"], answer["reason"]) == ("none", "not_connected")


def test_from_and_to_may_be_the_same_article(client: FlaskClient) -> None:
    answer = paths(client, HUB, HUB)
    assert (answer["outcome"], answer["items"]) == ("same", [])
    assert "You are there already" in page(client, HUB, HUB).text


def test_a_search_that_takes_too_much_effort_says_so(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_answers, "MAX_LINKS", 1)
    answer = paths(client, "Članak_3", "Članak_7")
    assert (answer["outcome"], answer["complete_list"], answer["max_links"]) == ("gave_up", False, 1)
    assert "The search was given up" in page(client, "Članak_3", "Članak_7").text
    monkeypatch.setattr(graph_answers, "MAX_LINKS", 300)
    some = paths(client, PLAIN, "Članak_7", k=5)
    assert 1 <= len(some["items"]) < 5
    assert not some["complete_list"]
    assert "The search ended at 300 links" in page(client, PLAIN, "Članak_7").text


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("from=Zagreb", "to"), ("to=Zagreb", "from"), ("from=&to=Zagreb", "from"), ("from=Zagreb&to=A&k=0", "k"),
        ("from=Zagreb&to=A&k=6", "k"), ("from=Zagreb&to=A&k=x", "k"), ("from=Zagreb&to=A&by=luck", "by"),
        ("from=Zagreb&to=A&what=1", "what"),
    ],
)  # fmt: skip
def test_bad_questions_are_refused_by_name(client: FlaskClient, query: str, parameter: str) -> None:
    told = problem(client.get(f"{BASE}/path?{query}"), 400)
    assert [one["parameter"] for one in told["errors"]] == [parameter]


def test_related_refuses_what_is_wrong_and_knows_titles_outside_the_graph(client: FlaskClient) -> None:
    assert problem(client.get(f"{BASE}/related/Zagrxxeb"), 404)["near"][0] == HUB
    for limit in ("0", "51", "x"):
        assert problem(client.get(f"{BASE}/related/{HUB}?limit={limit}"), 400)["errors"][0]["parameter"] == "limit"
    assert ok(client.get(f"{BASE}/related/{QUIET}"))["items"] == []
    assert client.get(urls.path_url(WIKI, MONTH, HUB, PLAIN, "luck"), headers=BROWSER).status_code == 400


def test_answers_carry_a_tag_and_are_not_sent_twice(client: FlaskClient) -> None:
    for address in (f"{BASE}/path?from={HUB}&to={PLAIN}", f"{BASE}/related/{HUB}"):
        first = client.get(address)
        again = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_the_chances_of_related_articles_are_those_of_walks_of_one_or_two_clicks(
    client: FlaskClient, site: LiveSite
) -> None:
    exact = clicks_of(site)
    weights: dict[str, dict[str, int]] = {}
    for (referrer, article), n in exact.items():
        for here, there in ((referrer, article), (article, referrer)):
            weights.setdefault(here, {})[there] = weights.get(here, {}).get(there, 0) + n

    def step(chances: dict[str, float]) -> dict[str, float]:
        found: dict[str, float] = {}
        for here, chance in chances.items():
            for there, n in weights[here].items():
                found[there] = found.get(there, 0.0) + chance * n / sum(weights[here].values())
        return found

    once = step({PLAIN: 1.0})
    twice = step(once)
    both = {title: (once.get(title, 0) + twice.get(title, 0)) / 2 for title in {*once, *twice} - {PLAIN}}
    ranked = sorted(both, key=lambda title: (-both[title], title.encode()))[:50]
    answer = ok(client.get(f"{BASE}/related/{PLAIN}?limit=50"))
    assert [item["chance"] for item in answer["items"]] == pytest.approx([both[title] for title in ranked])
    for item in answer["items"]:
        assert both[item["title"]] == pytest.approx(item["chance"])
        assert item["to"] == exact.get((PLAIN, item["title"]), 0)
        assert item["from"] == exact.get((item["title"], PLAIN), 0)


def test_the_article_page_shows_what_related_tells_and_asks_for_ways_from_there(client: FlaskClient) -> None:
    shown = Page(client.get(urls.article_url(WIKI, MONTH, PLAIN), headers=BROWSER).text)
    related = ok(client.get(f"{BASE}/related/{PLAIN}?limit=8"))["items"]
    rows = [row for row in shown.rows if row[1:2] == [share_of_step(related[0]["chance"])]]
    assert rows[0][0].strip() == related[0]["display_title"]
    for item in related:
        assert urls.article_url(WIKI, MONTH, item["title"]) in shown.links()
    form = next(one for tag, one in shown.tags if tag == "form" and one["action"] == urls.path_url(WIKI, MONTH))
    assert form["data-titles"] == f"/api/v1/{WIKI}/suggest"
    assert ("input", {"type": "hidden", "name": "from", "value": PLAIN}) in shown.tags


def test_the_page_shows_the_numbers_of_its_json_twin(client: FlaskClient) -> None:
    for by in ("probability", "clicks"):
        shown = page(client, PLAIN, "Članak_7", by=by)
        twin = next(one["href"] for tag, one in shown.tags if tag == "link" and one["rel"] == "alternate")
        answer = ok(client.get(twin))
        assert (answer["by"], answer["k"]) == (by, 5)
        for link in answer["items"][0]["links"]:
            assert f"{link['clicks']:,} of {link['out_clicks']:,}" in shown.text
            assert share_of_step(link["share"]) in "".join(shown.words)
        for item in answer["items"]:
            assert odds(item["probability"]) in "".join(shown.words)
            for one in item["articles"]:
                assert urls.article_url(WIKI, MONTH, one["title"]) in shown.links()
        assert urls.path_url(WIKI, MONTH, "Članak_7", PLAIN, by) in shown.links()  # the way back


def test_the_page_without_titles_is_a_form_and_go_keeps_them(client: FlaskClient) -> None:
    shown = Page(client.get(urls.path_url(WIKI, MONTH), headers=BROWSER).text)
    names = [one.get("name") for tag, one in shown.tags if tag == "input"]
    assert {"from", "to"} <= set(names)
    assert urls.path_url(WIKI, MONTH) in shown.links()
    query = {"to": f"{WIKI}/{MONTH}", "page": "path", "path_from": HUB, "path_to": "a/../b", "by": "clicks"}
    moved = client.get("/go", query_string=query)
    assert (moved.status_code, moved.headers["Location"]) == (303, urls.path_url(WIKI, MONTH, HUB, "a/../b", "clicks"))
    assert client.get(moved.headers["Location"], headers=BROWSER).status_code == 200


def test_spaces_around_a_title_count_only_where_a_title_has_them(client: FlaskClient) -> None:
    assert "Which" not in page(client, "  Zagreb ", PLAIN).text
    shown = page(client, "a ", PLAIN)  # the title "a_", as its field shows it
    assert urls.article_url(WIKI, MONTH, "a_") in shown.links()


def test_before_a_first_generation_paths_are_not_there_yet(tmp_path: Path) -> None:
    store = Store(tmp_path)
    batch = micro_batch(numbered([Click(0, "A", "B", "link", 10)]), 1, 1)
    batch.progress.active[f"{WIKI}/{MONTH}"] = ActiveSource(SOURCE)
    store.stream(batch)
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        fresh = create_app(serving).test_client()
        assert "no batch views yet" in problem(fresh.get(f"{BASE}/path?from=A&to=B"), 404)["detail"]
        assert "No paths yet" in page(fresh, "A", "B", 404).text
        related = ok(fresh.get(f"{BASE}/related/B"))
    assert (related["items"], related["generation"]) == ([], None)
    assert related["source"] == SOURCE


def test_a_month_that_keeps_no_graph_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.publish(numbered([Click(0, "A", "B", "link", 10)]), 1)
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        client = create_app(serving).test_client()
        with serving.read(WIKI, MONTH) as reading:
            graph = reading.graph()
        assert graph is not None
        monkeypatch.setattr(type(graph), "nodes", property(lambda graph: 0))
        assert paths(client, "A", "B")["outcome"] == "not_kept"
        assert "No paths are kept" in page(client, "A", "B").text


def test_other_wikis_have_paths_of_their_own(client: FlaskClient) -> None:
    address = f"/api/v1/{OTHER_WIKI}/{MONTH}/path"
    assert problem(client.get(address, query_string={"from": HUB, "to": PLAIN}), 404)["parameter"] == "from"


@pytest.mark.parametrize(
    ("chance", "text"),
    [
        (1.0, "100.0\u202f%"), (0.1, "10.0\u202f%"), (0.0999, "1 in 10"), (1 / 6219.4, "1 in 6,220"),
        (1 / 123, "1 in 123"), (1 / 28_349, "1 in 28,300"), (None, "–"), (0.0, "never"),
        (1 / 4.52e12, "1 in 4.5\u202f×\u202f10¹²"),
    ],
)  # fmt: skip
def test_chances_are_written_as_people_read_them(chance: float | None, text: str) -> None:
    assert odds(chance) == text
