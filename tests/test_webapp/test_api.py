"""The JSON API: answers, odd titles, refusals, headers; every error is a problem document."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote_to_bytes

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient

from readerflow.common.errors import Unavailable
from readerflow.common.months import HOUR
from readerflow.storage.batch_views import View
from readerflow.storage.embedded_reading import EmbeddedReading
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.storage.serving_views import ServingViews
from readerflow.webapp import models, search_models
from readerflow.webapp.app import create_app
from readerflow.webapp.context import SITE, Site
from readerflow.webapp.exchange import MAX_BODY_BYTES, MAX_URI_CHARS
from readerflow.webapp.search_models import MAX_QUERY_CHARS
from tests.api_replies import ok, problem
from tests.serving_store import MONTH, START, WIKI, Click, Store, micro_batch, numbered
from tests.small_month import ODD_TITLES

BASE = f"/api/v1/{WIKI}/{MONTH}"
MORE_ODD_TITLES = (
    "a//b",
    "a+b",
    "100%",
    "b/",
    "/b",
    "שלום",
    "=SUM(A1)",
    "\tx",
    "';_drop_table_articles;_--",
    "../../etc",
)
TITLES = tuple(dict.fromkeys(title for title in (*ODD_TITLES, *MORE_ODD_TITLES) if "\t" not in title))
CLICKS = numbered(
    [
        *(Click(place % 10, "other-search", title, "external", 20 + place) for place, title in enumerate(TITLES)),
        *(Click(hour, f"Source_{number}", "Zagreb", "link", 10 + number) for number in range(60) for hour in (2, 8)),
        *(Click(1, "Zagreb", title, "link", 11) for title in TITLES),
        Click(3, "other-google", "Zagreb", "external", 5),
    ]
)
TRENDS = [
    (window, 1, "Zagreb", 90, 3.5, 20.0, START + (10 - min(window, 10)) * HOUR, START + 10 * HOUR)
    for window in (1, 6, 24)
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("api"))
    store.publish(CLICKS, 6)
    store.stream(micro_batch(CLICKS, 1, 10, trends=TRENDS))
    return store


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[FlaskClient]:
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        app = create_app(serving, live_clients=2, heartbeat_seconds=0.2, trend_formula="clicks against expected")
        app.add_url_rule("/api/v1/broken", "broken", lambda: 1 // 0)
        yield app.test_client()


# Titles ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", TITLES)
def test_every_odd_title_is_reached_by_path_and_by_parameter(client: FlaskClient, title: str) -> None:
    batch = sum(c.clicks for c in CLICKS if c.article == title and c.hour < 6)
    live = sum(c.clicks for c in CLICKS if c.article == title and c.hour >= 6)
    for path in (f"{BASE}/article/{quote(title, safe='')}", f"{BASE}/article?title={quote(title, safe='')}"):
        answer = ok(client.get(path))
        models.Article.model_validate(answer)
        assert answer["title"] == title
        assert answer["in"] == {"clicks": batch + live, "batch": batch, "live": live}
        assert answer["display_title"] == title.replace("_", " ")
    for side in ("sources", "destinations"):
        by_path = ok(client.get(f"{BASE}/{side}/{quote(title, safe='')}"))
        assert by_path == ok(client.get(f"{BASE}/{side}?title={quote(title, safe='')}"))
        models.Neighbours.model_validate(by_path)


def test_the_community_of_an_article_is_told_and_null_outside_the_link_graph(client: FlaskClient) -> None:
    answer = ok(client.get(f"{BASE}/article/Zagreb"))
    assert answer["ranks"]["of"] == answer["community"]["size"]
    assert answer["community"]["name"] in TITLES
    assert ok(client.get(f"{BASE}/article/Source_3"))["community"] == answer["community"]
    assert "communities" in ok(client.get("/api/v1/meta"))["exports"]["views"]


def test_slashes_may_be_written_as_they_are_and_spaces_count_as_underscores(client: FlaskClient) -> None:
    for title in ("/a", "a/", "A/B", "a//b", "//", "/"):
        assert ok(client.get(f"{BASE}/article/{title}"))["title"] == title
    title = "Čovjek_koji_nije_mogao_šutjeti_(2024.)"
    assert ok(client.get(f"{BASE}/article/{quote(title.replace('_', ' '))}"))["title"] == title
    assert ok(client.get(f"{BASE}/article?title={title.replace('_', '+')}"))["title"] == title


HOSTILE = (
    "<script>alert(2)</script>", "' or 1=1 --", '"; drop table articles; --', "../../../etc/passwd", "\u202egnp.exe",
    "a\0b", "\0", "x" * 255, "š" * 200, "%s%n", "${jndi:ldap://x}", "{{7*7}}", "\ufeff", "\u2028", "🏴" * 60,
    "\r\nSet-Cookie: a=b",     "NULL", "$title", "?", "\\", "\ud7ff", "\U0010ffff",
)  # fmt: skip


@pytest.mark.parametrize("title", HOSTILE)
@pytest.mark.parametrize("kind", ["article", "sources", "destinations"])
def test_hostile_titles_are_answered_or_not_found_but_never_a_defect(
    client: FlaskClient, kind: str, title: str
) -> None:
    for path in (f"{BASE}/{kind}/{quote(title, safe='')}", f"{BASE}/{kind}?title={quote(title, safe='')}"):
        response = client.get(path)
        assert response.status_code in (200, 404)
        assert response.mimetype in ("application/json", "application/problem+json")
        assert "Set-Cookie" not in response.headers
    assert client.get(f"/api/v1/{WIKI}/suggest?q={quote(title[:200], safe='')}").status_code == 200


@pytest.mark.parametrize("raw", ["%ff", "%C3", "a%80b", "%ED%A0%80", "%C0%AF"])
def test_a_title_of_invalid_utf8_is_refused_and_not_mended(client: FlaskClient, raw: str) -> None:
    path = {"PATH_INFO": f"{BASE}/article/" + unquote_to_bytes(raw).decode("latin-1")}
    assert "UTF-8" in problem(client.get("/", environ_overrides=path), 400)["detail"]
    assert "UTF-8" in problem(client.get(f"{BASE}/article?title={raw}"), 400)["detail"]


def test_an_unknown_title_is_not_found_with_near_matches(client: FlaskClient) -> None:
    told = problem(client.get(f"{BASE}/article/zagrebacki"), 404)
    assert "Zagreb" in told["near"]
    assert problem(client.get(f"{BASE}/article/"), 404)["near"] == []
    assert problem(client.get(f"{BASE}/sources/Zagreb_na_Savi"), 404)["near"] == ["Zagreb"]


def test_near_matches_of_a_title_that_is_too_long_are_those_of_its_beginning(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    suggest = EmbeddedReading.suggest

    def noted(reading: EmbeddedReading, query: str, limit: int) -> pa.Table:
        asked.append(query)
        return suggest(reading, query, limit)

    monkeypatch.setattr(EmbeddedReading, "suggest", noted)
    title = "_".join(("Zagreb", *(f"w{number}" for number in range(700))))
    assert problem(client.get(f"{BASE}/article", query_string={"title": title}), 404)["near"] == ["Zagreb"]
    assert asked[0] == title[:MAX_QUERY_CHARS]


# Answers --------------------------------------------------------------------------------------------------------------


def test_an_articles_numbers_add_up_and_say_where_they_come_from(client: FlaskClient) -> None:
    answer = ok(client.get(f"{BASE}/article/Zagreb"))
    parts = [*answer["entries"].values(), answer["in_link"], answer["in_other"]]
    for part in ("clicks", "batch", "live"):
        assert sum(one[part] for one in parts) == answer["in"][part]
    assert answer["entries"]["search"]["clicks"] >= 5  # other-google is a search engine
    assert answer["in_pairs"] == 63
    assert answer["out_pairs"] == len(TITLES)
    assert answer["ranks"]["of"] == answer["ranks"]["of"] > 0
    assert answer["ranks"]["pagerank"]["position"] >= 1
    assert answer["wikipedia"] == "https://hr.wikipedia.org/wiki/Zagreb"
    assert answer["complete"] is True
    assert answer["horizon"] == "2025-03-01T06:00Z"
    assert answer["live_until"] == "2025-03-01T10:00Z"


@pytest.mark.parametrize("limit", [1, 7, 62, 63, 64])
def test_pages_of_sources_concatenate_and_each_adds_up_to_the_whole(client: FlaskClient, limit: int) -> None:
    whole = ok(client.get(f"{BASE}/sources/Zagreb?limit=1000"))
    assert whole["next"] is None
    assert whole["rest"]["rows"] == 0
    assert whole["total"] == len(whole["items"]) == 63
    items: list[dict[str, Any]] = []
    address = f"{BASE}/sources/Zagreb?limit={limit}"
    token = None
    while True:
        response = client.get(address + (f"&next={token}" if token else ""))
        page = ok(response)
        assert response.headers["Total-Count"] == "63"
        assert page["before"]["rows"] == len(items)
        items += page["items"]
        here = sum(one["clicks"]["clicks"] for one in page["items"])
        assert page["before"]["clicks"]["clicks"] + here + page["rest"]["clicks"]["clicks"] == page["clicks"]["clicks"]
        assert page["before"]["rows"] + len(page["items"]) + page["rest"]["rows"] == page["total"]
        token = page["next"]
        if token is None:
            break
    assert items == whole["items"]
    assert [one["position"] for one in items] == list(range(1, 64))
    ordered = [(-one["clicks"]["clicks"], one["title"].encode(), one["link_type"]) for one in items]
    assert ordered == sorted(ordered)
    assert abs(sum(one["share"] for one in items) - 1) < 1e-9
    assert {one["kind"] for one in items} == {"article", "search"}


def test_latest_is_the_greatest_month_with_a_generation_and_the_answer_names_it(client: FlaskClient) -> None:
    assert ok(client.get(f"/api/v1/{WIKI}/latest/article/Zagreb"))["month"] == MONTH


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/api/v1/meta", models.Meta),
        (f"{BASE}/classes", models.Overview),
        (f"{BASE}/status", models.Status),
        (f"{BASE}/rankings/in?limit=3", models.Ranking),
        (f"{BASE}/rankings/pagerank", models.Ranking),
        (f"{BASE}/rankings/other", models.Ranking),
        (f"/api/v1/{WIKI}/suggest?q=zag", search_models.Suggestions),
        (f"/api/v1/{WIKI}/suggest?q=", search_models.Suggestions),
        (f"/api/v1/{WIKI}/trending", models.Trending),
        (f"/api/v1/{WIKI}/trending?window=24&limit=1", models.Trending),
        ("/healthz", models.Health),
        ("/readyz", models.Ready),
    ],
)
def test_answers_have_the_shape_that_openapi_states(client: FlaskClient, path: str, model: Any) -> None:
    model.model_validate(ok(client.get(path)))


def test_a_ranking_pages_by_position(client: FlaskClient) -> None:
    first = ok(client.get(f"{BASE}/rankings/in?limit=2"))
    second = ok(client.get(f"{BASE}/rankings/in?limit=2&next={first['next']}"))
    assert [row["position"] for row in first["items"] + second["items"]] == [1, 2, 3, 4]
    assert isinstance(first["items"][0]["value"], int)


def test_trends_tell_their_parts_and_the_last_day(client: FlaskClient) -> None:
    answer = ok(client.get(f"/api/v1/{WIKI}/trending?window=1"))
    (row,) = answer["items"]
    assert (row["clicks"], row["expected"], row["score"], row["trending"]) == (90, 3.5, 20.0, True)
    assert row["times"] == pytest.approx(90 / 3.5)
    assert answer["hourly_from"] == "2025-02-28T10:00Z"
    assert len(row["hourly"]) == 24
    assert row["hourly"][:14] == [None] * 14  # before the month nothing was seen
    assert row["hourly"][22] == sum(c.clicks for c in CLICKS if c.article == "Zagreb" and c.hour == 8)
    assert "synthetic" in answer["synthetic_times"]
    assert answer["formula"] == "clicks against expected"


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/nonsense", 404),
        ("/api/v1/", 404),
        ("/api/v1/slwiki/latest/article/Zagreb", 404),
        (f"/api/v1/slwiki/{MONTH}/article/Zagreb", 404),
        (f"/api/v1/{WIKI}/2024-01/article/Zagreb", 404),
        (f"/api/v1/{WIKI}/2025-13/article/Zagreb", 400),
        (f"/api/v1/{WIKI}/March/article/Zagreb", 400),
        (f"/api/v1/Not%20a%20wiki/{MONTH}/article/Zagreb", 400),
        (f"/api/v1/..%2f/{MONTH}/article/Zagreb", 404),
        (f"{BASE}/article", 400),
        (f"{BASE}/article/Zagreb?limit=1", 400),
        (f"{BASE}/article/Zagreb?title=Split", 400),
        (f"{BASE}/sources/Zagreb?limit=0", 400),
        (f"{BASE}/sources/Zagreb?limit=1001", 400),
        (f"{BASE}/sources/Zagreb?limit=-1", 400),
        (f"{BASE}/sources/Zagreb?limit=1e2", 400),
        (f"{BASE}/sources/Zagreb?limit=", 400),
        (f"{BASE}/sources/Zagreb?limit=5&limit=6", 400),
        (f"{BASE}/sources/Zagreb?page=2", 400),
        (f"{BASE}/sources/Zagreb?next=!", 400),
        (f"{BASE}/sources/Zagreb?next=AAAA", 400),
        (f"{BASE}/sources/Zagreb?next={'A' * 2001}", 400),
        (f"{BASE}/rankings/nonsense", 404),
        (f"{BASE}/export/nonsense", 404),
        (f"{BASE}/export/articles?format=xls", 400),
        (f"/api/v1/{WIKI}/suggest", 400),
        (f"/api/v1/{WIKI}/suggest?q={'a' * 256}", 400),
        (f"/api/v1/{WIKI}/suggest?q=a&limit=51", 400),
        (f"/api/v1/{WIKI}/trending?window=2", 400),
        (f"/api/v1/{WIKI}/trending?window=x", 400),
        ("/api/v1/slwiki/trending", 404),
        ("/api/v1/slwiki/live", 404),
        ("/api/v1/meta?x=1", 400),
        ("/healthz?x=1", 400),
        ("/api/v1/broken", 500),
    ],
)
def test_what_can_not_be_answered_is_a_problem(client: FlaskClient, path: str, status: int) -> None:
    told = problem(client.get(path), status)
    assert "Traceback" not in json.dumps(told)


def test_a_defect_is_told_with_a_number_and_nothing_of_the_inside(client: FlaskClient) -> None:
    told = problem(client.get("/api/v1/broken"), 500)
    assert told["request_id"] in told["detail"]
    assert "ZeroDivision" not in json.dumps(told)


def test_an_unknown_wiki_is_told_which_ones_there_are(client: FlaskClient) -> None:
    assert problem(client.get("/api/v1/slwiki/latest/article/A"), 404)["wikis"] == [WIKI]


@pytest.mark.parametrize("limit", [1, 2, 999, 1000])
def test_limits_within_bounds_are_taken(client: FlaskClient, limit: int) -> None:
    assert len(ok(client.get(f"{BASE}/destinations/Zagreb?limit={limit}"))["items"]) == min(limit, len(TITLES))


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_site_only_reads(client: FlaskClient, method: str) -> None:
    response = getattr(client, method)(f"{BASE}/article/Zagreb", data=b"x")
    problem(response, 405)
    assert "GET" in response.headers["Allow"]


def test_bodies_up_to_the_limit_are_ignored_and_larger_ones_refused(client: FlaskClient) -> None:
    path = f"{BASE}/article/Zagreb"
    assert client.get(path, data=b"x" * MAX_BODY_BYTES).status_code == 200
    problem(client.get(path, data=b"x" * (MAX_BODY_BYTES + 1)), 413)
    problem(client.post(path, data=b"x" * (MAX_BODY_BYTES + 1)), 413)


def test_addresses_up_to_the_limit_are_taken_and_longer_ones_refused(client: FlaskClient) -> None:
    path = f"{BASE}/article/"
    for length, status in ((MAX_URI_CHARS - 1, 404), (MAX_URI_CHARS, 404), (MAX_URI_CHARS + 1, 414)):
        problem(client.get(path + "x" * (length - len(path))), status)


def test_a_token_of_a_gone_generation_or_incarnation_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.publish(CLICKS, 6)
    store.stream(micro_batch(CLICKS, 1, 10))
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        client = create_app(serving).test_client()
        path = f"{BASE}/sources/Zagreb?limit=5"
        first = ok(client.get(path))
        ranking = ok(client.get(f"{BASE}/rankings/in?limit=2"))
        store.publish(CLICKS, 7)
        second = ok(client.get(f"{path}&next={first['next']}"))
        assert second["generation"] == first["generation"]
        assert second["items"][0]["position"] == 6
        store.publish(CLICKS, 8)
        problem(client.get(f"{path}&next={first['next']}"), 410)
        problem(client.get(f"{BASE}/rankings/in?limit=2&next={ranking['next']}"), 410)
        fresh = ok(client.get(path))
        store.incarnation = "i2"
        store.stream(micro_batch(CLICKS, 1, 10))
        problem(client.get(f"{path}&next={fresh['next']}"), 410)
        assert ok(client.get(path))["incarnation"] == "i2"


def test_a_store_that_does_not_answer_makes_the_site_not_ready(tmp_path: Path) -> None:
    broken = tmp_path / "serving.db"
    broken.write_bytes(b"this is no database" * 100)
    with EmbeddedServing(broken, tmp_path / "views") as serving:
        client = create_app(serving).test_client()
        response = client.get("/readyz")
        problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 200


def test_a_store_that_is_away_is_a_503_that_keeps_its_address_to_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read(*args: object) -> NoReturn:
        raise Unavailable("Cassandra at 10.1.2.3:9042 does not answer")

    with store.serving() as serving:
        monkeypatch.setattr(serving, "read", read)
        response = create_app(serving).test_client().get(f"{BASE}/article/Zagreb")
    assert "10.1.2.3" not in problem(response, 503)["detail"]
    assert int(response.headers["Retry-After"]) > 0
    assert "10.1.2.3" in caplog.text


def test_a_question_that_takes_too_long_is_a_503(store: Store) -> None:
    with EmbeddedServing(store.serving_db, store.views_root, query_seconds=-1) as serving:
        response = create_app(serving).test_client().get(f"{BASE}/article/Zagreb")
        problem(response, 503)
        assert "Retry-After" in response.headers


# Headers --------------------------------------------------------------------------------------------------------------

EVERYTHING = (
    "/api/v1/meta", f"{BASE}/article/Zagreb", f"{BASE}/sources/Zagreb", f"{BASE}/export/classes", "/healthz", "/readyz",
    "/metrics", "/openapi.json", "/static/nothing.js", "/nonsense", f"{BASE}/article/%ff", "/api/v1/broken",
)  # fmt: skip


@pytest.mark.parametrize("path", EVERYTHING)
@pytest.mark.parametrize("method", ["get", "head", "post", "options"])
def test_security_headers_are_on_every_answer(client: FlaskClient, path: str, method: str) -> None:
    response = getattr(client, method)(path, headers={"Accept-Encoding": "gzip"}, buffered=True)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Referrer-Policy" in response.headers
    assert response.headers["Cache-Control"]
    assert "Set-Cookie" not in response.headers
    if method == "head":
        assert response.data == b""


def test_an_answer_that_did_not_change_is_not_sent_again(store: Store, tmp_path: Path) -> None:
    own = Store(tmp_path)
    own.publish(CLICKS, 6)
    with EmbeddedServing(own.serving_db, own.views_root) as serving:
        client = create_app(serving).test_client()
        paths = [
            f"{BASE}/article/Zagreb", f"{BASE}/sources/Zagreb?limit=2", f"{BASE}/rankings/in", f"{BASE}/classes",
            f"/api/v1/{WIKI}/suggest?q=z", "/api/v1/meta", f"{BASE}/export/classes",
        ]  # fmt: skip
        tags = {}
        for path in paths:
            first = client.get(path, buffered=True)
            tags[path] = first.headers["ETag"]
            again = client.get(path, headers={"If-None-Match": tags[path]})
            assert (again.status_code, again.data) == (304, b"")
            assert again.headers["ETag"] == tags[path]
            assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-cache"
            assert "Content-Security-Policy" in again.headers
        assert len(set(tags.values())) == len(paths)
        own.stream(micro_batch(CLICKS, 1, 10))
        for path in paths:
            assert client.get(path, headers={"If-None-Match": tags[path]}).status_code == 200


def test_the_status_is_sent_again_when_only_the_log_has_grown(store: Store) -> None:
    ends = {0: 10}
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        client = create_app(serving, log_ends=lambda: ends).test_client()
        tag = {"If-None-Match": client.get(f"{BASE}/status").headers["ETag"]}
        assert client.get(f"{BASE}/status", headers=tag).status_code == 304
        ends[0] = 11
        assert client.get(f"{BASE}/status", headers=tag).status_code == 200


def test_answers_over_a_kilobyte_are_compressed_for_those_who_take_it(client: FlaskClient) -> None:
    path = f"{BASE}/sources/Zagreb?limit=60"
    plain, packed = client.get(path), client.get(path, headers={"Accept-Encoding": "gzip, br"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert "Content-Encoding" not in client.get("/healthz", headers={"Accept-Encoding": "gzip"}).headers
    refused = client.get(path, headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in refused.headers


def test_head_tells_the_number_of_rows(client: FlaskClient) -> None:
    response = client.head(f"{BASE}/sources/Zagreb?limit=1")
    assert (response.status_code, response.data, response.headers["Total-Count"]) == (200, b"", "63")


# Downloads ------------------------------------------------------------------------------------------------------------


def test_csv_downloads_neutralise_cells_that_a_spreadsheet_would_run(client: FlaskClient) -> None:
    response = client.get(f"{BASE}/export/articles", buffered=True)
    assert response.headers["Content-Disposition"] == f'attachment; filename="{WIKI}-{MONTH}-articles.csv"'
    assert response.content_type == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.get_data(as_text=True))))
    names = {row["article"] for row in rows}
    assert {"'=1+1", "'=SUM(A1)", "'@here", "'-", "Zagreb", '"Quoted"'} <= names
    assert not [name for name in names if name.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_jsonl_and_parquet_downloads_are_raw(client: FlaskClient) -> None:
    lines = client.get(f"{BASE}/export/articles?format=jsonl", buffered=True).get_data(as_text=True).splitlines()
    table = pq.read_table(io.BytesIO(client.get(f"{BASE}/export/articles?format=parquet", buffered=True).data))
    assert [json.loads(line)["article"] for line in lines] == table["article"].to_pylist()
    assert "=SUM(A1)" in table["article"].to_pylist()


@pytest.mark.parametrize("view", [view.value for view in View])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_every_view_downloads_in_every_format(client: FlaskClient, view: str, form: str) -> None:
    response = client.get(f"{BASE}/export/{view}?format={form}", buffered=True)
    assert response.status_code == 200
    assert response.data
    head = client.head(f"{BASE}/export/{view}?format={form}")
    assert head.headers["Content-Disposition"] == response.headers["Content-Disposition"]
    rows = sum(batch.num_rows for batch in serving_of(client).export(head.headers["Generation"], View(view)))
    assert head.headers["Total-Count"] == response.headers["Total-Count"] == str(rows)


def serving_of(client: FlaskClient) -> ServingViews:
    site: Site = client.application.extensions[SITE]
    return site.serving


def test_head_of_a_download_does_not_make_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a download was made")

    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        monkeypatch.setattr(serving, "export", fail)
        response = create_app(serving).test_client().head(f"{BASE}/export/graph?format=parquet")
        assert (response.status_code, response.data) == (200, b"")
        assert int(response.headers["Total-Count"]) > 0


def test_downloads_have_a_bounded_number_of_places_and_give_them_back(store: Store) -> None:
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        app = create_app(serving)
        places = app.extensions["readerflow.hub"].exports
        for _ in range(3):
            app.test_client().get(f"{BASE}/export/articles").close()
            app.test_client().head(f"{BASE}/export/articles")
        assert places.taken == 0
        held = [places.take() for _ in range(places.total)]
        problem(app.test_client().get(f"{BASE}/export/articles"), 503)
        held[0]()
        held[0]()
        assert places.taken == places.total - 1


# Description ----------------------------------------------------------------------------------------------------------


def test_every_route_but_pages_and_files_is_in_the_openapi_document(client: FlaskClient) -> None:
    document = ok(client.get("/openapi.json"))
    from openapi_spec_validator import validate

    validate(document)
    app = client.application
    for rule in app.url_map.iter_rules():
        if rule.endpoint in ("static", "broken") or rule.endpoint.partition(".")[0].endswith("pages"):
            continue
        path = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule)
        operation = document["paths"][path]["get"]
        assert operation["summary"]
        assert "200" in operation["responses"]
        assert "application/problem+json" in operation["responses"]["404"]["content"]
    assert "http" not in json.dumps([one.get("servers", []) for one in document["paths"].values()])


def test_metrics_count_requests_by_route_and_not_by_title(client: FlaskClient) -> None:
    client.get(f"{BASE}/article/Zagreb")
    text = client.get("/metrics").get_data(as_text=True)
    assert 'readerflow_requests_total{route="api.article",status="200"}' in text
    assert "readerflow_live_streams 0.0" in text
    assert "readerflow_stream_late_total" in text
    assert "Zagreb" not in text
