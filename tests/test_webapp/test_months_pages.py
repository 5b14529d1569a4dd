"""Pages about months side by side show what their JSON twins say, reach every title, refuse what they do not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.storage.serving_views import ChangesPending
from readerflow.webapp import months_charts, months_tables, urls
from readerflow.webapp.app import create_app
from tests.serving_store import MONTH, WIKI
from tests.two_months import EARLIER, ODD_TITLES, OTHER_WIKI, fill, opened

from .test_pages import BROWSER, Page, answer, get

PAGES = {
    "months": urls.months_url(),
    "months of a wiki": urls.months_url(WIKI),
    "movers": urls.movers_url(WIKI, MONTH),
    "falls in share": urls.movers_url(WIKI, MONTH, by="search", order="share", direction="fall"),
    "changed pairs": urls.changed_pairs_url(WIKI, MONTH),
    "vanished pairs": urls.changed_pairs_url(WIKI, MONTH, kind="vanished"),
    "changes": urls.changes_url(WIKI, MONTH, "Zagreb"),
    "changes of a new article": urls.changes_url(WIKI, MONTH, "Only_now"),
    "new sources": urls.changes_url(WIKI, MONTH, "Zagreb", side="sources", kind="new"),
    "article": urls.article_url(WIKI, MONTH, "Zagreb"),
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServing]:
    with opened(tmp_path_factory.mktemp("months")) as serving:
        yield serving


@pytest.fixture(scope="module")
def client(serving: EmbeddedServing) -> FlaskClient:
    return create_app(serving).test_client()


@pytest.mark.parametrize("address", PAGES.values(), ids=PAGES)
def test_every_page_has_a_json_twin_that_answers(client: FlaskClient, address: str) -> None:
    page = get(client, address)
    twins = [attributes["href"] for tag, attributes in page.tags if tag == "link" and attributes["rel"] == "alternate"]
    assert len(twins) == 1
    assert answer(client, twins[0])


@pytest.mark.parametrize("address", PAGES.values(), ids=PAGES)
def test_every_link_of_a_page_leads_to_a_page(client: FlaskClient, address: str) -> None:
    for href in set(get(client, address).links()):
        if href.startswith("/") and not href.startswith("/api/"):
            response = client.get(href, headers=BROWSER)
            assert response.status_code in (200, 303), (address, href)


def test_the_months_page_shows_clicks_and_clicks_a_day(client: FlaskClient) -> None:
    rows = get(client, PAGES["months"]).rows
    for item in answer(client, "/api/v1/months")["items"]:
        name = "February 2025" if item["month"] == EARLIER else "March 2025"
        cells = [row for row in rows if row[0].startswith(name) and f"{item['clicks']['clicks']:,}" in row]
        assert cells
        assert months_tables.daily(item["clicks_per_day"]) in cells[0]
        assert f"{item['pairs']:,}" in cells[0]
    headings = [attributes["id"] for tag, attributes in get(client, PAGES["months of a wiki"]).tags if tag == "h2"]
    assert headings == [f"h-{WIKI}"]
    get(client, "/months?wiki=xxwiki", 404)
    get(client, "/months?month=2025-03", 400)


def test_movers_show_changes_a_day(client: FlaskClient) -> None:
    page = get(client, PAGES["movers"])
    for direction in ("rise", "fall"):
        twin = answer(client, f"/api/v1/{WIKI}/{MONTH}/movers?direction={direction}&limit=20")
        for item in twin["items"]:
            change = months_tables.signed_daily(item["change_per_day"])
            now = "–" if item["now"] is None else months_tables.daily(item["now_per_day"])
            assert any(change in row and now in row for row in page.rows), item
    assert "Only before gone" in page.text
    assert "Only now new" in page.text


def test_pages_of_a_list_go_on(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readerflow.webapp.months_pages.PAGE_ROWS", 3)
    for address, first in (
        (urls.movers_url(WIKI, MONTH, direction="fall"), "Only before"),
        (urls.changes_url(WIKI, MONTH, "Zagreb", side="destinations"), "Split"),
    ):
        page = get(client, address)
        following = [attributes["href"] for _, attributes in page.tags if attributes.get("rel") == "next"]
        assert len(following) == 1
        more = get(client, following[0])
        assert more.rows[1][0] != page.rows[1][0]
        back = [attributes["href"] for _, attributes in more.tags if attributes.get("rel") == "first"]
        assert get(client, back[0]).rows == page.rows
        assert first in page.text


def test_changed_pairs_say_what_new_means(client: FlaskClient) -> None:
    page = get(client, PAGES["changed pairs"])
    assert "2 pairs of source and article are published in March 2025 only" in page.text
    assert "may have had up to 9 clicks before" in page.text
    assert ["Search engines", "Only now", "50", "+41 to +50"] in page.rows
    assert ["Old source", "Zagreb", "35", "−35 to −26"] in page.rows


def test_an_article_in_two_months_adds_up(client: FlaskClient) -> None:
    page = get(client, PAGES["changes"])
    assert ["Search engines", "1,400", "3,100", "+50.0"] in page.rows
    assert ["Old source", "35", "< 10", "vanished"] in page.rows
    for side in ("sources", "destinations"):
        twin = answer(client, f"/api/v1/{WIKI}/{MONTH}/changes/Zagreb?side={side}&order=clicks&limit=12")
        total = next(row for row in page.rows if row[0] == f"All clicks {'in' if side == 'sources' else 'out'}")
        assert total[1:3] == [f"{twin['clicks']['before']:,}", f"{twin['clicks']['now']:,}"]


@pytest.mark.parametrize("title", ODD_TITLES)
def test_odd_titles_are_compared(client: FlaskClient, title: str) -> None:
    page = get(client, urls.changes_url(WIKI, MONTH, title))
    assert "<script>alert(1)" not in str([tag for tag, _ in page.tags])
    assert get(client, urls.changes_url(WIKI, MONTH, title, side="sources")).rows
    article = get(client, urls.article_url(WIKI, MONTH, title))
    assert "Clicks in by month" in article.text
    form = next(attributes for tag, attributes in page.tags if attributes.get("class") == "choose")
    kept = {a["name"]: a["value"] for tag, a in page.tags if tag == "input" and a.get("name") == "title"}
    chosen = client.get(form["action"], query_string={**kept, "against": EARLIER}, headers=BROWSER)
    assert chosen.status_code == 200


def test_an_articles_page_shows_its_months_only_where_there_are_two(client: FlaskClient) -> None:
    page = get(client, PAGES["article"])
    assert any(row[0].startswith("February 2025") and "2,079" in row for row in page.rows)
    assert urls.changes_url(WIKI, MONTH, "Zagreb", against=EARLIER) in page.links()
    new = get(client, urls.article_url(WIKI, MONTH, "Only_now"))
    dashes = next(row for row in new.rows if row[0].startswith("February 2025"))
    assert set(dashes[1:]) == {"–"}
    assert "Clicks in by month" not in get(client, urls.article_url(OTHER_WIKI, MONTH, "Zagreb")).text


def test_an_articles_page_reads_so_many_months_and_its_own(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readerflow.webapp.months_pages.HISTORY_MONTHS", 2)
    assert "of 2 months" not in get(client, PAGES["article"]).text
    monkeypatch.setattr("readerflow.webapp.months_pages.HISTORY_MONTHS", 1)
    page = get(client, urls.address(f"/{WIKI}/{MONTH}/article", title="Zagreb"))  # not asked for before, so not kept
    assert "These are 1 of 2 months; the JSON has all." in page.text
    assert any(row[0].startswith("March 2025") for row in page.rows)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"/{WIKI}/{MONTH}/movers?limit=5", 400),
        (f"/{WIKI}/{MONTH}/movers?by=pagerank", 400),
        (f"/{WIKI}/{MONTH}/movers?next=x", 400),
        (f"/{WIKI}/{MONTH}/movers?against={MONTH}", 400),
        (f"/{WIKI}/{MONTH}/changed-pairs?next=x", 400),
        (f"/{WIKI}/{MONTH}/changed-pairs?kind=both", 400),
        (f"/{WIKI}/{MONTH}/changes/Zagreb?kind=new", 400),
        (f"/{WIKI}/{MONTH}/changes/Nowhere", 404),
        (f"/{WIKI}/{MONTH}/changes", 400),
        (f"/{OTHER_WIKI}/{MONTH}/movers", 404),
    ],
)
def test_what_can_not_be_shown_is_told_on_a_page(client: FlaskClient, address: str, status: int) -> None:
    assert get(client, address, status).text


def test_a_comparison_under_way_shows_itself_when_it_is_there(
    client: FlaskClient, serving: EmbeddedServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pending(*manifests: Any) -> Any:
        raise ChangesPending("soon")

    monkeypatch.setattr(serving, "movers", pending)
    monkeypatch.setattr(serving, "pair_changes", pending)
    for address in (PAGES["movers"], PAGES["changed pairs"]):
        response = client.get(address, headers=BROWSER)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == response.headers["Refresh"] == "5"
        assert "being worked out" in Page(response.text).text


def test_another_month_of_the_same_page_is_chosen(client: FlaskClient) -> None:
    for page, rest, expected in (
        ("movers", {"by": "out"}, urls.movers_url(WIKI, EARLIER, by="out")),
        ("changed-pairs", {}, urls.changed_pairs_url(WIKI, EARLIER)),
        ("changes", {"title": "Zagreb"}, urls.changes_url(WIKI, EARLIER, "Zagreb")),
        ("months", {}, urls.home_url(WIKI, EARLIER)),
    ):
        response = client.get("/go", query_string={"to": f"{WIKI}/{EARLIER}", "page": page, **rest})
        assert response.headers["Location"] == expected


# Charts and words -----------------------------------------------------------------------------------------------------


def month(name: str, **values: float) -> dict[str, Any]:
    return {"month": name, "values": values or None}


def test_lines_stand_on_one_scale_and_part_where_a_month_is_missing() -> None:
    rows = [month("2024-12", all=100.0, other=0.0), month("2025-02", all=50.0, other=0.0), month("2025-03")]
    rows.append(month("2025-04", all=0.0, other=0.0))
    chart = months_charts.lines(rows, [("all", "All"), ("other", "Unknown")])
    assert chart is not None
    assert [tick["value"] for tick in chart["ticks"]] == [0, 50, 100]
    [line] = chart["lines"]  # nothing above 0, no line
    assert line["segments"] == []  # January was not loaded, March lacks it
    assert [(point["x"], point["y"]) for point in line["points"]] == [
        (months_charts.LEFT, months_charts.TOP),
        (51.0, (months_charts.TOP + months_charts.BOTTOM) / 2),
        (months_charts.RIGHT, months_charts.BOTTOM),
    ]
    both = months_charts.lines([*rows[:2], month("2025-03", all=25.0, other=0.0)], [("all", "All")])
    assert both is not None
    assert [segment["x2"] for segment in both["lines"][0]["segments"]] == [months_charts.RIGHT]
    assert months_charts.lines(rows[:1], [("all", "All")]) is None
    assert months_charts.lines([month("2025-02"), month("2025-03")], [("all", "All")]) is not None


def test_scales_end_at_round_numbers_and_names_of_months_do_not_crowd() -> None:
    for highest, top in ((514_728, 600_000), (0.03, 0.03), (1, 1), (99, 100), (0, 1), (1.3, 1.6), (7_000, 8_000)):
        assert months_charts._nice(highest) == pytest.approx(top)
    rows = [month(f"{2020 + number // 12}-{number % 12 + 1:02d}", all=1.0) for number in range(40)]
    chart = months_charts.lines(rows, [("all", "All")])
    assert chart is not None
    assert len(chart["labels"]) <= months_charts.MAX_LABELS
    assert chart["labels"][0] == {"x": months_charts.RIGHT, "text": "Apr 2023", "anchor": "end", "small": True}
    assert sum(label["small"] for label in chart["labels"]) <= 4


def test_flows_of_two_months_show_the_same_neighbours_in_one_order(client: FlaskClient) -> None:
    sides = {
        side: months_tables.with_names(
            answer(client, f"/api/v1/{WIKI}/{MONTH}/changes/Zagreb?side={side}&order=clicks&limit=4")
        )
        for side in ("sources", "destinations")
    }
    drawn = {}
    for name in ("now", "before"):
        option = months_charts.flow_of(name, "Zagreb", sides, lambda row, side: f"/{side}")
        assert option is not None
        json.dumps(option)
        nodes = option["series"][0]["data"]
        drawn[name] = [node["title"] for node in nodes if node["side"] == "out" and node["kind"] == "article"]
        for side, key in (("sources", "in"), ("destinations", "out")):
            shown = sum(node["value"] for node in nodes if node["side"] == key and node["kind"] != "end")
            assert shown == sides[side]["clicks"][name]
    assert [title for title in drawn["now"] if title in drawn["before"]] == [
        title for title in drawn["before"] if title in drawn["now"]
    ]
    empty = {side: {**one, "clicks": {"now": None, "before": None}, "items": [],
                    "rest": {"now": 0, "now_pairs": 0}} for side, one in sides.items()}  # fmt: skip
    assert months_charts.flow_of("now", "Zagreb", empty, lambda row, side: None) is None


def test_rates_and_changes_are_as_exact_as_they_are_large() -> None:
    assert [months_tables.daily(n) for n in (0, 0.04, 9.87, 212.4, 12_345.6, None)] == [
        "0", "0.04", "9.9", "212", "12,346", "–"
    ]  # fmt: skip
    assert [months_tables.signed_daily(n) for n in (0, 0.0018, 1.25, -212.4)] == [
        "0", "≈\u202f0", "+1.2", "−212"
    ]  # fmt: skip
    assert [months_tables.signed_ppm(n) for n in (-0.002, 0, -4e-8, 6e-8)] == [
        "−2,000\u202fppm", "0.0\u202fppm", "≈\u202f0\u202fppm", "+0.1\u202fppm"
    ]  # fmt: skip
    assert [months_tables.percent_change(n) for n in (None, 1, 1.25, 0.5, 6.26, 0.9999, 1.0004)] == [
        "–", "0.0\u202f%", "+25.0\u202f%", "−50.0\u202f%", "6.3×", "≈\u202f0\u202f%", "≈\u202f0\u202f%"
    ]  # fmt: skip
    assert months_tables.between(None) == "–"
    assert [months_tables.between({"least": a, "most": b}) for a, b in ((16, 25), (-35, -26), (7, 7), (0, 0))] == [
        "+16 to +25", "−35 to −26", "+7", "0"
    ]  # fmt: skip
    assert [months_tables.span_words({"days": days}) for days in (31.0, 1.0, 30.25)] == [
        "31 days",
        "1 day",
        "30.2 days",
    ]


def test_home_of_two_months_is_left_as_it_was(tmp_path: Path) -> None:
    store = fill(tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "views").rglob("*"))
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        serving._comparisons._wait_seconds = 60
        get(create_app(serving).test_client(), PAGES["movers"])
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "views").rglob("*")) == before
    assert [path.suffix for path in (tmp_path / "comparisons").glob("*.arrow")] == [".arrow"]
