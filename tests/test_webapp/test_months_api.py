"""Months side by side in the API: totals, histories, movers, changed pairs; and WikiNav's routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from flask.testing import FlaskClient

from readerflow.common.records import CLASS_ROWS
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.storage.serving_views import ChangesPending, QueryTooLong
from readerflow.webapp import changes, models, wikinav, wikinav_models
from readerflow.webapp import months_models as shapes
from readerflow.webapp.app import create_app
from tests.api_replies import ok, problem
from tests.serving_store import MONTH, WIKI, Store, micro_batch
from tests.two_months import EARLIER, END, ODD_TITLES, OTHER_WIKI, clicks, fill, pairs

BASE = f"/api/v1/{WIKI}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fill(tmp_path_factory.mktemp("months"))


@pytest.fixture(scope="module")
def serving(store: Store) -> Iterator[EmbeddedServing]:
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        serving._comparisons._wait_seconds = 60
        yield serving


@pytest.fixture(scope="module")
def client(serving: EmbeddedServing) -> FlaskClient:
    return create_app(serving).test_client()


def clicks_in(title: str, later: bool) -> int:
    return sum(n for (_, article, _), n in pairs(later).items() if article == title)


# Totals and histories -------------------------------------------------------------------------------------------------


def test_totals_of_all_months_stand_side_by_side(client: FlaskClient) -> None:
    answer = ok(client.get("/api/v1/months"), shapes.Months)
    assert [(one["wiki"], one["month"]) for one in answer["items"]] == [
        (OTHER_WIKI, MONTH), (WIKI, EARLIER), (WIKI, MONTH)
    ]  # fmt: skip
    for one, later, days in ((answer["items"][1], False, 28), (answer["items"][2], True, 31)):
        whole = sum(pairs(later).values())
        assert one["clicks"] == {"clicks": whole, "batch": whole, "live": 0}
        assert one["covered"] == {"hours": 24 * days, "days": days, "whole": True}
        assert one["clicks_per_day"] == pytest.approx(whole / days)
        assert one["pairs"] == len(pairs(later))
        assert [row["class"] for row in one["classes"]] == list(CLASS_ROWS)
        assert sum(row["clicks"]["clicks"] for row in one["classes"]) == whole
    only = ok(client.get(f"/api/v1/months?wiki={WIKI}&month={EARLIER}"), shapes.Months)
    assert only["items"] == answer["items"][1:2]
    overview = ok(client.get(f"{BASE}/{MONTH}/classes"))
    assert overview["clicks"] == answer["items"][2]["clicks"]


def test_totals_hold_live_clicks(tmp_path: Path) -> None:
    own = fill(tmp_path, end=1)
    own.stream(micro_batch(clicks(later=True, hour=2), 1, 10))
    with EmbeddedServing(own.serving_db, own.views_root) as serving:
        client = create_app(serving).test_client()
        answer = ok(client.get(f"/api/v1/months?wiki={WIKI}&month={MONTH}"), shapes.Months)["items"][0]
        assert answer["clicks"] == ok(client.get(f"{BASE}/{MONTH}/classes"))["clicks"]
        assert answer["clicks"]["live"] == sum(pairs(True).values())
        assert answer["covered"] == {"hours": 10, "days": pytest.approx(10 / 24), "whole": False}
        assert ok(client.get(f"{BASE}/history/Zagreb"))["items"][1]["in"]["live"] == clicks_in("Zagreb", True)
        assert "less than a day" in problem(client.get(f"{BASE}/{MONTH}/movers"), 409)["detail"]


def test_months_that_are_not_there_are_refused_with_those_that_are(client: FlaskClient) -> None:
    told = problem(client.get("/api/v1/months?wiki=xxwiki"), 404)
    assert told["months"] == [f"{OTHER_WIKI}/{MONTH}", f"{WIKI}/{EARLIER}", f"{WIKI}/{MONTH}"]
    problem(client.get("/api/v1/months?month=2025-13"), 400)
    problem(client.get("/api/v1/months?wiki=Nope"), 400)
    problem(client.get("/api/v1/months?year=2025"), 400)


@pytest.mark.parametrize("title", ["Zagreb", *ODD_TITLES])
def test_a_history_has_the_numbers_of_each_month(client: FlaskClient, title: str) -> None:
    answer = ok(client.get(f"{BASE}/history?title={quote(title, safe='')}"), shapes.History)
    if title not in (".", ".."):
        assert answer == ok(client.get(f"{BASE}/history/{quote(title, safe='')}"))
    assert [one["month"] for one in answer["items"]] == [EARLIER, MONTH]
    for one, later, days in zip(answer["items"], (False, True), (28, 31), strict=True):
        assert one["in"]["clicks"] == clicks_in(title, later)
        assert one["in_per_day"] == pytest.approx(clicks_in(title, later) / days)
        article = ok(client.get(f"{BASE}/{one['month']}/article?title={quote(title, safe='')}"))
        assert {name: article[name] for name in ("in", "out", "entries", "ranks", "generation", "horizon")} == {
            name: one[name] for name in ("in", "out", "entries", "ranks", "generation", "horizon")
        }


def test_a_month_that_lacks_an_article_says_null(client: FlaskClient) -> None:
    before, now = ok(client.get(f"{BASE}/history/Only_now"), shapes.History)["items"]
    assert (before["in"], before["entries"], before["ranks"], before["in_per_day"]) == (None, None, None, None)
    assert now["in"]["clicks"] == 50
    told = problem(client.get(f"{BASE}/history/Zagr"), 404)
    assert told["near"] == ["Zagreb"]
    problem(client.get("/api/v1/xxwiki/history/Zagreb"), 404)
    problem(client.get(f"{BASE}/history"), 400)


# Movers and pairs -----------------------------------------------------------------------------------------------------


def exact_movers(direction: str, order: str) -> list[str]:
    totals = [sum(pairs(later).values()) for later in (True, False)]
    titles = {title for later in (True, False) for _, title, _ in pairs(later)}
    titles |= {title for later in (True, False) for title, _, _ in pairs(later) if not title.startswith("other-")}
    found = []
    for title in titles:
        now, before = clicks_in(title, True), clicks_in(title, False)
        change = now * 28 - before * 31 if order == "clicks" else now / totals[0] - before / totals[1]
        change = change if direction == "rise" else -change
        if change > 0:
            found.append((-change, title.encode(), title))
    return [title for _, _, title in sorted(found)]


@pytest.mark.parametrize("order", ["clicks", "share"])
@pytest.mark.parametrize("direction", ["rise", "fall"])
def test_movers_compare_days_and_shares(client: FlaskClient, direction: str, order: str) -> None:
    address = f"{BASE}/{MONTH}/movers?direction={direction}&order={order}"
    answer = ok(client.get(address), shapes.Movers)
    assert [one["title"] for one in answer["items"]] == exact_movers(direction, order)
    assert answer["found"] == answer["total"] == len(answer["items"])
    assert (answer["covered"]["days"], answer["against"]["covered"]["days"]) == (31, 28)
    assert answer["against"]["month"] == EARLIER
    assert answer == ok(client.get(f"{address}&against={EARLIER}"))
    sign = 1 if direction == "rise" else -1
    for one in answer["items"]:
        assert sign * one["change_per_day" if order == "clicks" else "change_share"] > 0
        assert one["now_per_day"] == pytest.approx((one["now"] or 0) / 31)
        assert one["before_share"] == pytest.approx((one["before"] or 0) / answer["clicks"]["before"])


def test_an_article_that_a_month_lacks_moves_from_null(client: FlaskClient) -> None:
    rows = {one["title"]: one for one in ok(client.get(f"{BASE}/{MONTH}/movers?limit=1000"))["items"]}
    assert (rows["Only_now"]["now"], rows["Only_now"]["before"], rows["Only_now"]["times"]) == (50, None, None)
    falls = {one["title"]: one for one in ok(client.get(f"{BASE}/{MONTH}/movers?direction=fall&limit=1000"))["items"]}
    assert (falls["Only_before"]["now"], falls["Only_before"]["before"]) == (None, 40)


def test_the_other_way_round_a_rise_is_a_fall(client: FlaskClient) -> None:
    back = ok(client.get(f"{BASE}/{EARLIER}/movers?direction=fall"))  # without another month the one after
    assert back["against"]["month"] == MONTH
    assert [one["title"] for one in back["items"]] == exact_movers("rise", "clicks")


@pytest.mark.parametrize(
    "path", ["movers?", "changed-pairs?", "changed-pairs?kind=vanished&", "changes/Zagreb?", "changes/Zagreb?kind=new&"]
)
def test_pages_make_the_whole_list(client: FlaskClient, path: str) -> None:
    address = f"{BASE}/{MONTH}/{path}"
    whole = ok(client.get(f"{address}limit=1000"))
    assert whole["next"] is None
    found, token = [], ""
    while token is not None:
        response = client.get(f"{address}limit=1{f'&next={token}' if token else ''}")
        page = ok(response)
        assert response.headers["Total-Count"] == str(whole["total"])
        found += page["items"]
        token = page["next"]
    assert found == whole["items"]
    assert len(found) == whole["total"] > 0


def test_new_and_vanished_pairs_have_bounds(client: FlaskClient) -> None:
    now, before = pairs(True), pairs(False)
    for kind, mine, other in (("new", now, before), ("vanished", before, now)):
        answer = ok(client.get(f"{BASE}/{MONTH}/changed-pairs?kind={kind}"), shapes.ChangedPairs)
        exact = sorted((-n, key[1].encode(), key[0].encode()) for key, n in mine.items() if key not in other)
        assert [(-one["now" if kind == "new" else "before"], one["article"].encode(), one["referrer"].encode())
                for one in answer["items"]] == exact  # fmt: skip
        assert answer["absent"] == {"now": {"least": 0, "most": 9}, "before": {"least": 0, "most": 9}}
        assert answer["pairs"][kind]["pairs"] == len(exact) == 2
        for one in answer["items"]:
            n = one["now"] or -one["before"]
            assert one["change"] == ({"least": n - 9, "most": n} if kind == "new" else {"least": n, "most": n + 9})
        assert answer["pairs"]["both"]["pairs"] == len(now.keys() & before.keys())


@pytest.mark.parametrize("title", ["Zagreb", *ODD_TITLES])
def test_an_articles_pairs_of_two_months_add_up(client: FlaskClient, title: str) -> None:
    for side, of, other in (("sources", 1, 0), ("destinations", 0, 1)):
        answer = ok(
            client.get(f"{BASE}/{MONTH}/changes?title={quote(title, safe='')}&side={side}&limit=3"), shapes.Changes
        )
        if title not in (".", ".."):
            by_path = f"{BASE}/{MONTH}/changes/{quote(title, safe='')}?side={side}&limit=3"
            assert answer == ok(client.get(by_path))
        mine = {
            (key[other], key[2]): [pairs(later).get(key) for later in (True, False)]
            for key in pairs(True) | pairs(False)
            if key[of] == title
        }
        assert answer["total"] == len(mine)
        for one in answer["items"]:
            assert [one["now"], one["before"]] == mine[one["title"], one["link_type"]]
        for name, place in (("now", 0), ("before", 1)):
            whole = sum(values[place] or 0 for values in mine.values())
            assert sum(one[name] or 0 for one in answer["items"]) + answer["rest"][name] == whole
            assert (answer["clicks"][name] or 0) == whole
            assert sum(part[name] for part in answer["pairs"].values()) == whole


def test_an_articles_pairs_come_by_change_or_by_clicks(client: FlaskClient) -> None:
    rows = ok(client.get(f"{BASE}/{MONTH}/changes/Zagreb"))["items"]
    sizes = [abs(one["change_per_day"]) for one in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert [one["title"] for one in rows[:2]] == ["other-search", "other-empty"]
    by_clicks = ok(client.get(f"{BASE}/{MONTH}/changes/Zagreb?order=clicks"))["items"]
    assert [one["title"] for one in by_clicks] == ["other-search", "other-empty", "Split", "Old_source", "New_source"]
    new = ok(client.get(f"{BASE}/{MONTH}/changes/Zagreb?kind=new"))
    assert [(one["title"], one["change"]) for one in new["items"]] == [("New_source", {"least": 16, "most": 25})]
    both = {one["title"]: one["change"] for one in rows}
    assert both["Split"] == {"least": 9, "most": 9}


def test_bounds_are_null_where_a_month_is_not_whole() -> None:
    spans = {"whole": False}, {"whole": True}
    assert changes.bounds(None, 20, spans) is None
    assert changes.bounds(20, None, spans) == {"least": 11, "most": 20}
    assert changes.bounds(20, 15, spans) == {"least": 5, "most": 5}
    assert changes.absent(spans) == {"now": None, "before": {"least": 0, "most": 9}}


def test_a_part_of_a_month_is_compared_by_day_and_says_that_it_is_a_part(tmp_path: Path) -> None:
    own = fill(tmp_path, end=48)
    with EmbeddedServing(own.serving_db, own.views_root) as serving:
        serving._comparisons._wait_seconds = 60
        answer = ok(create_app(serving).test_client().get(f"{BASE}/{MONTH}/movers"), shapes.Movers)
    assert answer["covered"] == {"hours": 48, "days": 2.0, "whole": False}
    first = answer["items"][0]
    assert (first["title"], first["now_per_day"]) == ("Zagreb", clicks_in("Zagreb", True) / 2)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (f"{MONTH}/movers?against={MONTH}", 400, "itself"),
        ("latest/movers?against=latest", 400, "itself"),
        (f"{MONTH}/movers?against=2025-3", 400, "month"),
        (f"{MONTH}/movers?against=2024-01", 404, "2024-01"),
        ("2024-01/movers", 404, "2024-01"),
        (f"{MONTH}/movers?by=pagerank", 400, "by"),
        (f"{MONTH}/movers?order=up", 400, "order"),
        (f"{MONTH}/movers?direction=down", 400, "direction"),
        (f"{MONTH}/movers?limit=0", 400, "limit"),
        (f"{MONTH}/movers?limit=1001", 400, "limit"),
        (f"{MONTH}/movers?next=x", 400, "next"),
        (f"{MONTH}/movers?kind=new", 400, "kind"),
        (f"{MONTH}/changed-pairs?kind=both", 400, "kind"),
        (f"{MONTH}/changes/Zagreb?kind=none", 400, "kind"),
        (f"{MONTH}/changes/Zagreb?side=in", 400, "side"),
        (f"{MONTH}/changes/Nowhere", 404, "Nowhere"),
        (f"{MONTH}/changes", 400, "title"),
        (f"../{OTHER_WIKI}/{MONTH}/movers", 404, "no other month"),
    ],
)
def test_what_can_not_be_compared_is_refused(client: FlaskClient, path: str, status: int, words: str) -> None:
    address = f"/api/v1/{path[3:]}" if path.startswith("../") else f"{BASE}/{path}"
    assert words in problem(client.get(address), status)["detail"]


def test_an_article_with_too_many_pairs_is_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_PAIRS", 3)
    assert "4 sources" in problem(client.get(f"{BASE}/{MONTH}/changes/Zagreb"), 409)["detail"]
    monkeypatch.setattr(changes, "MAX_PAIRS", 40)
    ok(client.get(f"{BASE}/{MONTH}/changes/Zagreb?side=destinations"))


def test_a_list_whose_generation_is_gone_ends(tmp_path: Path) -> None:
    own = fill(tmp_path)
    with EmbeddedServing(own.serving_db, own.views_root) as serving:
        serving._comparisons._wait_seconds = 60
        client = create_app(serving).test_client()
        token = ok(client.get(f"{BASE}/{MONTH}/movers?limit=1"))["next"]
        own.publish(clicks(later=True), END)
        page = ok(client.get(f"{BASE}/{MONTH}/movers?limit=1&next={token}"))  # it is still kept
        assert page["items"][0]["position"] == 2
        own.publish(clicks(later=True), END)
        problem(client.get(f"{BASE}/{MONTH}/movers?limit=1&next={token}"), 410)


def test_work_under_way_says_when_to_come_back(
    client: FlaskClient, serving: EmbeddedServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, seconds in ((ChangesPending("is being worked out"), "5"), (QueryTooLong("given up"), "30")):

        def refuse(*manifests: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(serving, "movers", refuse)
        response = client.get(f"{BASE}/{MONTH}/movers")
        assert str(error) in problem(response, 503)["detail"]
        assert response.headers["Retry-After"] == seconds


def test_answers_have_a_tag(client: FlaskClient) -> None:
    for path in ("/api/v1/months", f"{BASE}/history/Zagreb", f"{BASE}/{MONTH}/movers", "/api/v1/latest/meta"):
        tag = client.get(path).headers["ETag"]
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 304


# WikiNav --------------------------------------------------------------------------------------------------------------


def test_wikinav_gets_its_fields(client: FlaskClient) -> None:
    response = client.get("/api/v1/hr/Zagreb/sources/latest?limit=2")
    answer = ok(response, wikinav_models.WikiNavList)
    assert {name: answer[name] for name in ("start", "limit", "sort", "total_count", "title", "month")} == {
        "start": 1, "limit": 2, "sort": "desc", "total_count": 4, "title": "Zagreb", "month": MONTH
    }  # fmt: skip
    assert [(one["title"], one["views"]) for one in answer["results"]] == [
        ("other-search", 3_100),
        ("other-empty", 310),
    ]
    assert response.headers["Total-Count"] == "4"
    assert client.head("/api/v1/hr/Zagreb/sources/latest").headers["Total-Count"] == "4"
    assert answer["generation"] is not None
    following = urlsplit(answer["next"])
    rest = ok(client.get(f"{following.path}?{following.query}"), wikinav_models.WikiNavList)
    assert [one["title"] for one in rest["results"]] == ["Split", "New_source"]
    assert rest["next"] == ""
    least = ok(client.get("/api/v1/hr/Zagreb/sources/latest?sort=asc"))["results"]
    assert least == (answer["results"] + rest["results"])[::-1]
    assert ok(client.get("/api/v1/latest/meta"), wikinav_models.WikiNavMeta) == {
        "month": MONTH,
        "languages": ["be-tarask", "hr"],
    }


@pytest.mark.parametrize("title", ODD_TITLES)
@pytest.mark.parametrize("escaped", [True, False])
def test_wikinav_reaches_every_title(client: FlaskClient, title: str, escaped: bool) -> None:
    path = quote(title, safe="" if escaped else "/")
    answer = ok(client.get(f"/api/v1/hr/{path}/sources/{EARLIER}"), wikinav_models.WikiNavList)
    assert (answer["title"], answer["month"], answer["wiki"]) == (title, EARLIER, WIKI)
    assert answer["results"][0]["views"] == pairs(False)["other-search", title, "external"]
    more = ok(client.get(f"/api/v1/hr/{path}/sources/{EARLIER}?limit=1"))["next"]
    assert more  # two sources
    following = urlsplit(more)
    assert ok(client.get(f"{following.path}?{following.query}"))["results"][0]["title"] == "Zagreb"


def test_a_wiki_is_never_taken_for_a_language(client: FlaskClient) -> None:
    for title in ("2025-02", "latest"):  # WikiNav would read these as months
        for month in (MONTH, "latest"):
            answer = ok(client.get(f"{BASE}/{month}/sources/{title}"), models.Neighbours)
            assert (answer["title"], answer["month"]) == (title, MONTH)
    # A title that looks like a route of ours, and a route of ours with a title that looks like WikiNav's.
    assert ok(client.get(f"/api/v1/hr/2025-02/sources/{MONTH}"), wikinav_models.WikiNavList)["title"] == "2025-02"
    assert ok(client.get("/api/v1/hr/latest/sources/latest"), wikinav_models.WikiNavList)["title"] == "latest"
    title = "a/sources/2025-02"
    assert ok(client.get(f"{BASE}/{MONTH}/article/{title}"), models.Article)["title"] == title
    assert ok(client.get(f"{BASE}/{MONTH}/sources/{title}"), models.Neighbours)["title"] == title
    assert ok(client.get(f"{BASE}/history/{title}"), shapes.History)["title"] == title
    answer = ok(client.get("/api/v1/be-tarask/Zagreb/sources/latest"), wikinav_models.WikiNavList)
    assert answer["wiki"] == OTHER_WIKI


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("hr/Nowhere/sources/latest", 404, "Nowhere"),
        ("xx/Zagreb/sources/latest", 404, "xxwiki"),
        ("hr/Zagreb/sources/2024-01", 404, "2024-01"),
        ("hr/Zagreb/sources/2025-13", 400, "month"),
        ("hr/Zagreb/sources/latest?start=9", 404, "start"),
        ("hr/Zagreb/sources/latest?start=0", 400, "start"),
        ("hr/Zagreb/sources/latest?limit=10001", 400, "limit"),
        ("hr/Zagreb/sources/latest?sort=up", 400, "sort"),
        ("hr/Zagreb/sources/latest?next=x", 400, "next"),
        ("hr/Only_now/destinations/latest", 404, "destinations"),
    ],
)
def test_wikinav_is_told_what_is_wrong(client: FlaskClient, path: str, status: int, words: str) -> None:
    assert words in problem(client.get(f"/api/v1/{path}"), status)["detail"]


def test_wikinav_reads_so_many_rows_and_no_more(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikinav, "MAX_ROWS", 3)
    assert "3 at most" in problem(client.get("/api/v1/hr/Zagreb/sources/latest?start=3&limit=2"), 400)["detail"]
    problem(client.get("/api/v1/hr/Zagreb/sources/latest?sort=asc&limit=19"), 400)
    ok(client.get("/api/v1/hr/Zagreb/sources/latest?start=3&limit=1"))
