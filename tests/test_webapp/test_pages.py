"""Pages show what their JSON twins say, reach every title, and fail in the site's look."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from readerflow.storage.batch_views import RANKINGS
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp import format, urls
from readerflow.webapp.app import create_app
from readerflow.webapp.format import RANKING_NAMES
from readerflow.webapp.pages import RANKING_GROUPS, _examples
from tests.page_site import BUSY, HUB, NEARLY, ODD_TITLES, OTHER_WIKI, PLAIN, QUIET, SENDER, LiveSite
from tests.serving_store import MONTH, WIKI

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = {
    "home": "/",
    "article": urls.article_url(WIKI, MONTH, PLAIN),
    "sources": urls.neighbours_url(WIKI, MONTH, "sources", HUB),
    "destinations": urls.neighbours_url(WIKI, MONTH, "destinations", HUB),
    "ranking": urls.ranking_url(WIKI, MONTH, "in"),
    "trending": urls.trending_url(WIKI),
    "path": urls.path_url(WIKI, MONTH, PLAIN, HUB),
    "status": "/status",
    "search": "/search?q=zag",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    home = tmp_path_factory.mktemp("site")
    LiveSite(home).fill()
    with EmbeddedServing(home / "serving.db", home / "views") as serving:
        yield create_app(serving, trend_formula="score = clicks", log_ends=lambda: {0: 10_000, 1: 10_000})


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


class Page(HTMLParser):
    """A page's tags, text and tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._in_cell:
            self.rows[-1][-1] += data

    def links(self) -> list[str]:
        return [attributes["href"] for tag, attributes in self.tags if tag == "a" and "href" in attributes]

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", "".join(self.words))


def get(client: FlaskClient, address: str, status: int = 200) -> Page:
    response = client.get(address, headers=BROWSER)
    assert response.status_code == status, (address, response.status_code)
    assert response.mimetype == "text/html"
    return Page(response.text)


def answer(client: FlaskClient, address: str) -> dict[str, Any]:
    response = client.get(address)
    assert response.status_code == 200, (address, response.text)
    found: dict[str, Any] = response.get_json()
    return found


@pytest.mark.parametrize("address", PAGES.values(), ids=PAGES)
def test_every_page_has_a_json_twin_that_answers(client: FlaskClient, address: str) -> None:
    page = get(client, address)
    twins = [attributes["href"] for tag, attributes in page.tags if tag == "link" and attributes["rel"] == "alternate"]
    assert len(twins) == 1
    assert answer(client, twins[0])["month"] == MONTH
    assert twins[0] in page.links()


@pytest.mark.parametrize("address", PAGES.values(), ids=PAGES)
def test_every_page_says_how_fresh_it_is_and_that_times_are_synthetic(client: FlaskClient, address: str) -> None:
    text = get(client, address).text
    for words in ("Complete", "Batch up to 31 March, 00:00 UTC", "Live to 1 April, 00:00 UTC", "synthetic"):
        assert words in text


@pytest.mark.parametrize("address", [*PAGES.values(), "/nowhere"])
def test_pages_hold_no_inline_style_no_inline_script_and_load_nothing_foreign(
    client: FlaskClient, address: str
) -> None:
    response = client.get(address, headers=BROWSER)
    policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy
    page = Page(response.text)
    for tag, attributes in page.tags:
        assert "style" not in attributes and tag not in ("style", "base", "iframe", "object")
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "script":
            assert attributes.get("src", "").startswith("/static/") or attributes.get("type") == "application/json"
        if tag in ("link", "img", "script"):
            for name in ("href", "src"):
                assert not urlsplit(attributes.get(name, "")).netloc or attributes.get("rel") == "canonical"


@pytest.mark.parametrize("address", PAGES.values(), ids=PAGES)
def test_every_link_within_the_site_leads_somewhere(client: FlaskClient, address: str) -> None:
    for link in set(get(client, address).links()):
        if not link.startswith(("#", "https://")):
            assert client.get(urljoin(address, link), headers=BROWSER).status_code in (200, 303), link


@pytest.mark.parametrize("title", ODD_TITLES)
def test_every_title_is_reached_by_the_link_that_pages_write(client: FlaskClient, title: str) -> None:
    address = urls.article_url(WIKI, MONTH, title)
    assert address in get(client, urls.neighbours_url(WIKI, MONTH, "destinations", PLAIN)).links()
    response = client.get(address, headers=BROWSER)
    assert response.status_code == 200
    shown = html.escape(format.shown(title), quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    assert f'<h1 lang="hr" dir="auto">{shown}</h1>' in response.text
    assert answer(client, urls.api_title_url(WIKI, MONTH, "article", title))["title"] == title
    for side in ("sources", "destinations"):
        assert answer(client, urls.api_title_url(WIKI, MONTH, side, title))["title"] == title
        get(client, urls.neighbours_url(WIKI, MONTH, side, title))


def test_a_browser_does_not_fold_the_addresses_of_titles() -> None:
    """WHATWG URLs fold dot segments, escaped ones too, and turn backslashes into slashes."""
    for title in ODD_TITLES:
        path = urlsplit(urls.article_url(WIKI, MONTH, title)).path
        segments = [re.sub("%2e", ".", segment, flags=re.IGNORECASE) for segment in path.split("/")]
        assert "." not in segments and ".." not in segments
        assert "\\" not in path and "?" not in path


def test_titles_never_become_markup(client: FlaskClient) -> None:
    for address in (urls.neighbours_url(WIKI, MONTH, "destinations", PLAIN), "/search?q=%3Cscript%3Ealert(3)", "/"):
        text = client.get(address, headers=BROWSER).text
        assert "<script>alert" not in text and "<b>bold" not in text
    for title in ("<script>alert(1)</script>", "</script><script>alert(2)</script>"):
        text = client.get(urls.article_url(WIKI, MONTH, title), headers=BROWSER).text
        assert text.count("<script") == text.count("</script>")
        assert "<script>" not in text


def chart_of(text: str) -> list[dict[str, Any]]:
    data = re.search(r'<script type="application/json" id="flow-data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    nodes: list[dict[str, Any]] = json.loads(data[1])["series"][0]["data"]
    return nodes


def test_the_flow_chart_holds_the_rows_of_both_tables_and_their_links(client: FlaskClient) -> None:
    text = client.get(urls.article_url(WIKI, MONTH, PLAIN), headers=BROWSER).text
    page, nodes = Page(text), chart_of(text)
    for side in ("in", "out"):
        for node in nodes:
            if node["side"] == side and node["kind"] != "end":
                assert any(row[0].startswith(node["title"]) and row[1] == f"{node['value']:,}" for row in page.rows), (
                    node
                )
            if node["side"] == side and node["href"].startswith("/"):
                assert client.get(node["href"], headers=BROWSER).status_code == 200
    twin = answer(client, urls.api_title_url(WIKI, MONTH, "article", PLAIN))
    assert sum(node["value"] for node in nodes if node["side"] == "in") == twin["in"]["clicks"]


def test_an_article_shows_the_numbers_of_its_json(client: FlaskClient) -> None:
    twin = answer(client, urls.api_title_url(WIKI, MONTH, "article", PLAIN))
    text = get(client, urls.article_url(WIKI, MONTH, PLAIN)).text
    for number in (twin["in"], twin["out"]):
        assert f"{number['clicks']:,}" in text
        assert f"{number['batch']:,} batch + {number['live']:,} live" in text
    assert f"{100 * twin['dead_end_share']:.1f}\u202f%" in text
    assert twin["in"]["live"] > 0


def percent(cell: str) -> int:
    return round(10 * float(cell.replace("\u202f%", "")))


def test_pages_of_a_list_add_up_and_together_show_every_row_once(client: FlaskClient) -> None:
    address: str | None = urls.neighbours_url(WIKI, MONTH, "sources", HUB)
    names, pages = [], 0
    while address:
        page = get(client, address)
        rows = [row for row in page.rows[1:] if len(row) >= 4]
        *shown, foot = rows
        assert foot[0] == "All clicks in"
        assert sum(int(row[1].replace(",", "")) for row in shown) == int(foot[1].replace(",", ""))
        assert sum(int(row[2].replace(",", "")) for row in shown) == int(foot[2].replace(",", ""))
        assert sum(percent(row[3]) for row in shown) == percent(foot[3]) == 1000
        names += [row[0] for row in shown if not re.search(r"(more sources?|sources? before)$", row[0])]
        following = [a["href"] for tag, a in page.tags if tag == "a" and a.get("rel") == "next"]
        address = following[0] if following else None
        pages += 1
    total = answer(client, urls.api_title_url(WIKI, MONTH, "sources", HUB))["total"]
    assert pages > 1
    assert len(names) == total


def test_lists_come_as_csv_that_no_spreadsheet_runs(client: FlaskClient) -> None:
    response = client.get(urls.neighbours_url(WIKI, MONTH, "destinations", PLAIN, format="csv"))
    assert response.mimetype == "text/csv" and "attachment" in response.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text)))
    twin = answer(client, urls.api_title_url(WIKI, MONTH, "destinations", PLAIN, limit=1000))
    assert [int(row["clicks"]) for row in rows] == [item["clicks"]["clicks"] for item in twin["items"]]
    assert "'-" in [row["title"] for row in rows]


def test_every_ranking_has_a_tab_and_a_page(client: FlaskClient) -> None:
    assert {name for _, names in RANKING_GROUPS for name in names} == set(RANKINGS) == set(RANKING_NAMES)
    for name in RANKINGS:
        page = get(client, urls.ranking_url(WIKI, MONTH, name))
        assert "Batch views only" in page.text
        assert set(page.links()) >= {urls.ranking_url(WIKI, MONTH, other) for other in RANKINGS}


def test_a_ranking_is_paged_to_its_end(client: FlaskClient) -> None:
    address: str | None = urls.ranking_url(WIKI, MONTH, "in")
    positions = []
    while address:
        page = get(client, address)
        positions += [int(row[0]) for row in page.rows[1:] if row[0].isdigit()]
        address = next((a["href"] for tag, a in page.tags if tag == "a" and a.get("rel") == "next"), None)
    assert positions == list(range(1, len(positions) + 1))
    assert len(positions) == answer(client, urls.api_url(WIKI, MONTH, "rankings", "in"))["total"]


@pytest.mark.parametrize("window", [1, 6, 24])
def test_trends_show_window_score_and_formula(client: FlaskClient, window: int) -> None:
    page = get(client, urls.trending_url(WIKI, window))
    assert "score = clicks" in page.text
    assert "95" in [row[3] for row in page.rows if len(row) > 3]
    assert len([tag for tag, _ in page.tags if tag == "polyline"]) >= 6
    current = [a["href"] for tag, a in page.tags if tag == "a" and a.get("aria-current") == "page"]
    assert urls.trending_url(WIKI, window) in current


def test_only_what_is_over_the_threshold_counts_as_trending(client: FlaskClient) -> None:
    text = client.get(urls.trending_url(WIKI), headers=BROWSER).text
    trending, _, below = text.partition("<details")
    link = f'href="{urls.article_url(WIKI, MONTH, NEARLY)}"'
    assert link not in trending and link in below
    assert link not in client.get("/", headers=BROWSER).text.partition('id="rising"')[2].partition("</section>")[0]


def test_a_wiki_without_live_clicks_says_so_instead_of_trends(client: FlaskClient) -> None:
    assert "Nothing is live yet" in get(client, urls.trending_url(OTHER_WIKI)).text
    get(client, urls.trending_url("xxwiki"), 404)


def test_an_article_without_clicks_on_a_side_says_so(client: FlaskClient) -> None:
    quiet = get(client, urls.article_url(WIKI, MONTH, QUIET)).text
    assert "14 clicks led here, 100.0\u202f% from search engines" in quiet
    assert "No destination reached 10 clicks" in quiet
    sender = get(client, urls.article_url(WIKI, MONTH, SENDER)).text
    assert "No source reached 10 clicks" in sender and "no clicks in to compare with" in sender
    busy = get(client, urls.article_url(WIKI, MONTH, BUSY)).text
    assert "More clicks went on than came in: 90" in busy and "0.0\u202f%" in busy


def test_going_to_another_month_stays_on_the_page(client: FlaskClient) -> None:
    def location(**query: str) -> str:
        response = client.get("/go", query_string=query)
        assert response.status_code == 303
        return response.headers["Location"]

    place = f"{WIKI}/latest"
    assert location(to=place, page="article", title="a/../b") == urls.article_url(WIKI, MONTH, "a/../b")
    assert location(to=place, title="//a") == urls.article_url(WIKI, MONTH, "//a")
    assert location(to=place, page="rankings", ranking="pagerank") == urls.ranking_url(WIKI, MONTH, "pagerank")
    assert location(to=place, page="nonsense") == urls.home_url(WIKI, MONTH)
    assert location(to=f"{OTHER_WIKI}/{MONTH}", page="trending", window="24") == urls.trending_url(OTHER_WIKI, 24)
    assert location(to=place, page="rankings", ranking="in\n?#").endswith("/rankings/in%0A%3F%23")
    assert client.get("/go?to=//evil.example/x").status_code == 400


def test_the_scope_offers_every_month_and_marks_this_one(client: FlaskClient) -> None:
    page = get(client, "/")
    options = {a["value"]: a for tag, a in page.tags if tag == "option"}
    assert set(options) == {f"{WIKI}/{MONTH}", f"{OTHER_WIKI}/{MONTH}"}
    assert len([a for a in options.values() if "selected" in a]) == 1


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/nowhere", 404),
        (f"/{WIKI}/2025-13/", 400),
        (f"/{WIKI}/2024-01/", 404),
        (f"/xxwiki/{MONTH}/article/A", 404),
        (f"/{WIKI}/{MONTH}/rankings/best", 404),
        (f"/{WIKI}/{MONTH}/article/", 400),
        (f"/{WIKI}/{MONTH}/sources/{HUB}?next=nonsense", 400),
        (f"/{WIKI}/{MONTH}/sources/{HUB}?format=json", 400),
        (f"/{WIKI}/trending?window=7", 404),
        (f"/{WIKI}/trending?window=x", 400),
        (f"/search?in={WIKI}/x", 400),
    ],
)
def test_what_goes_wrong_is_told_on_a_page_of_the_site(client: FlaskClient, address: str, status: int) -> None:
    page = get(client, address, status)
    assert f"Code {status}" in page.text and "ReaderFlow" in page.text
    assert "Traceback" not in page.text


def test_a_page_can_only_be_read(client: FlaskClient) -> None:
    response = client.post("/", headers=BROWSER)
    assert response.status_code == 405 and "Code 405" in response.text


def test_an_unknown_article_offers_titles_that_begin_alike(client: FlaskClient) -> None:
    page = get(client, urls.article_url(WIKI, MONTH, "Petar_Zrinjski"), 404)
    assert "No article “\u2068Petar Zrinjski\u2069” in March 2025" in page.text
    assert urls.article_url(WIKI, MONTH, PLAIN) in page.links()


def test_programs_get_problem_details_where_people_get_pages(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers={"Accept": "application/json"})
    assert response.mimetype == "application/problem+json"


def test_a_gone_list_offers_its_first_page(client: FlaskClient, app: Flask) -> None:
    from readerflow.webapp.paging import RankingPage

    token = RankingPage("20000101T000000-00000000", 100).token()
    page = get(client, urls.ranking_url(WIKI, MONTH, "in", token), 410)
    assert urls.ranking_url(WIKI, MONTH, "in") in page.links()


def test_a_defect_is_told_with_its_number_and_without_its_cause(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret cause")

    monkeypatch.setattr("readerflow.webapp.answers.trending", fail)
    response = app.test_client().get(PAGES["trending"], headers=BROWSER)
    assert response.status_code == 500
    assert "secret cause" not in response.text and "Code 500" in response.text


def test_an_empty_site_says_how_to_fill_it(tmp_path: Path) -> None:
    with EmbeddedServing(tmp_path / "serving.db", tmp_path / "views") as serving:
        client = create_app(serving).test_client()
        page = get(client, "/")
        assert "No month has been loaded" in page.text and "readerflow demo" in page.text
        get(client, "/status", 404)
        get(client, "/search?q=a", 404)
        get(client, f"/{WIKI}/{MONTH}/", 404)


def test_a_made_up_month_is_declared_on_every_page(app: Flask) -> None:
    serving = app.extensions["readerflow"].serving
    client = create_app(serving, generated=lambda wiki, month: True).test_client()
    for address in PAGES.values():
        assert "This month is made up" in get(client, address).text


def test_missing_hours_are_told_on_every_page(tmp_path: Path) -> None:
    LiveSite(tmp_path, missing_hours=3).fill()
    with EmbeddedServing(tmp_path / "serving.db", tmp_path / "views") as serving:
        client = create_app(serving).test_client()
        for address in PAGES.values():
            text = get(client, address).text
            assert "Numbers are incomplete: 3 hours are missing" in text
            assert "Not counted: 31 March, 00:00 UTC to 31 March, 03:00 UTC." in text
            assert "Incomplete: 3 hours are missing" in text


def test_without_the_chart_library_pages_show_tables_and_say_why(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = urls.article_url(WIKI, MONTH, PLAIN), urls.address(f"/{WIKI}/{MONTH}/article", title=PLAIN)
    for installed, address in zip((True, False), addresses, strict=True):
        monkeypatch.setattr("readerflow.webapp.frame.charts_installed", lambda installed=installed: installed)
        monkeypatch.setattr("readerflow.webapp.frame.asset", lambda name: f"/static/{name}")
        text = app.test_client().get(address, headers=BROWSER).text
        assert ("flow-data" in text) is installed
        assert ("the chart library is not installed" in text) is not installed
        assert "Came from" in text


def test_the_examples_of_the_home_page_are_different_titles() -> None:
    rows = [{"title": title} for title in ("Main_Page", "B", "C")]
    tops = [{"rows": rows}, {"rows": rows}, {"rows": rows[:1]}, {"rows": rows}]
    assert _examples(tops) == ["B", "C"]
