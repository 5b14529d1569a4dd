"""Trails: shares of each step, their product, links to one more step; what is seen as a graph and as edges."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from typing import Any

import networkx as nx
import pytest
from flask import render_template
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp import explore_models, urls
from readerflow.webapp.app import create_app
from readerflow.webapp.exchange import MAX_URI_CHARS
from readerflow.webapp.neighbourhood import NARROW, WIDE, neighbourhood
from readerflow.webapp.path_words import odds
from readerflow.webapp.problems import BadRequest
from readerflow.webapp.trails import MAX_TRAIL, Trail
from tests.page_site import HUB, ODD_TITLES, PLAIN, QUIET, SENDER, LiveSite
from tests.serving_store import MONTH, WIKI

API = f"/api/v1/{WIKI}/{MONTH}/explore"
PAGE = f"/{WIKI}/{MONTH}/explore"
BROWSER = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    home = tmp_path_factory.mktemp("explore")
    LiveSite(home).fill()
    with EmbeddedServing(home / "serving.db", home / "views") as serving:
        yield create_app(serving).test_client()


def explored(client: FlaskClient, *titles: str, **query: Any) -> dict[str, Any]:
    response = client.get(API, query_string={"trail": titles, **query})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    explore_models.Explored.model_validate(found)
    return found


def numbers(client: FlaskClient, kind: str, title: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(
        urls.api_title_url(WIKI, MONTH, kind, title, limit=1000 if kind != "article" else None)
    ).get_json()
    return found


def test_a_step_has_its_share_of_those_who_went_on_or_came_here(client: FlaskClient) -> None:
    """Nepročitano_pismo -> PLAIN has clicks of two link types; HUB -> PLAIN goes back."""
    found = explored(client, "Nepročitano_pismo", PLAIN, HUB, PLAIN, steps="fbf")
    first, second, third, fourth = found["trail"]
    assert (first["step"], first["clicks"], first["share"], first["probability"]) == (None, None, None, 1)
    assert (second["step"], second["clicks"]["clicks"], second["share"]) == ("forward", 345 + 12, 1)
    into = numbers(client, "article", PLAIN)["in"]["clicks"]
    assert (third["step"], third["clicks"]["clicks"]) == ("back", 685)
    assert third["share"] == pytest.approx(685 / into)
    assert third["clicks"]["batch"] + third["clicks"]["live"] == 685 and third["clicks"]["live"] > 0
    out = numbers(client, "article", HUB)["out"]["clicks"]
    assert fourth["share"] == pytest.approx(685 / out)
    assert fourth["probability"] == pytest.approx(685 / into * 685 / out)


def test_neighbours_are_those_of_their_lists(client: FlaskClient) -> None:
    found = explored(client, HUB, limit=7)
    for side in ("sources", "destinations"):
        listed = numbers(client, side, HUB)
        assert found[side]["items"] == listed["items"][:7]
        assert found[side]["total"] == listed["total"]
        shown = sum(item["clicks"]["clicks"] for item in found[side]["items"])
        assert shown + found[side]["rest"]["clicks"]["clicks"] == found[side]["clicks"]["clicks"]


def test_shares_of_all_steps_from_an_article_add_up_to_one(client: FlaskClient) -> None:
    for side, step in (("sources", "b"), ("destinations", "f")):
        titles = {item["title"] for item in numbers(client, side, PLAIN)["items"] if item["kind"] == "article"}
        shares = [explored(client, PLAIN, title, steps=step)["trail"][1]["share"] for title in titles]
        others = [item["share"] for item in numbers(client, side, PLAIN)["items"] if item["kind"] != "article"]
        assert sum(shares) + sum(others) == pytest.approx(1)


def test_a_step_that_nobody_took_has_no_probability(client: FlaskClient) -> None:
    found = explored(client, PLAIN, QUIET, HUB)
    assert [item["share"] for item in found["trail"]] == [None, None, None]
    assert [item["probability"] for item in found["trail"]] == [1, None, None]
    assert found["trail"][1]["clicks"] == {"clicks": 0, "batch": 0, "live": 0}
    text = client.get(PAGE, query_string={"trail": [PLAIN, QUIET]}, headers=BROWSER).text
    assert "has no probability" in text and "not published" in text


@pytest.mark.parametrize("complete", [True, False])
def test_the_graph_leaves_out_what_is_not_known_yet(client: FlaskClient, complete: bool) -> None:
    found = explored(client, PLAIN) | {"generation": None, "complete": complete}
    with client.application.test_request_context():
        text = render_template("explore.graphml.xml", data=found, nodes=[{"id": "n0", "title": "a", "kind": "article"}])
    told = nx.read_graphml(io.BytesIO(text.encode())).graph
    assert "generation" not in told
    assert told["complete"] is complete and told["wiki"] == WIKI


def test_a_small_probability_is_written_as_odds(client: FlaskClient) -> None:
    titles = [PLAIN, HUB] * 8
    chance = explored(client, *titles, steps="bf" * 7 + "b")["trail"][-1]["probability"]
    assert 0 < chance < 0.1
    text = client.get(PAGE, query_string={"trail": titles, "steps": "bf" * 7 + "b"}, headers=BROWSER).text
    assert f"This trail so far: <b>{odds(chance)}</b>, if" in text


@pytest.mark.parametrize("title", ODD_TITLES)
def test_every_odd_title_is_a_step(client: FlaskClient, title: str) -> None:
    found = explored(client, PLAIN, title, HUB)
    assert [item["title"] for item in found["trail"]] == [PLAIN, title, HUB]
    assert all(item["share"] for item in found["trail"][1:])
    page = client.get(PAGE, query_string={"trail": [PLAIN, title]}, headers=BROWSER)
    assert page.status_code == 200
    assert "<script>alert" not in page.text and "<b>bold" not in page.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("trail=", 400),
        ("trail=Zagreb&trail=", 400),
        ("trail=Zagreb&steps=f", 400),
        ("trail=Zagreb&steps=", 200),
        ("trail=Zagreb&trail=Zagreb&steps=x", 400),
        ("trail=Zagreb&trail=Zagreb&steps=ff", 400),
        ("trail=Zagreb&limit=0", 400),
        ("trail=Zagreb&limit=1", 200),
        ("trail=Zagreb&limit=100", 200),
        ("trail=Zagreb&limit=101", 400),
        ("trail=Zagreb&limit=x", 400),
        ("trail=Zagreb&limit=1&limit=2", 400),
        ("&".join(["trail=Zagreb"] * MAX_TRAIL), 200),
        ("&".join(["trail=Zagreb"] * (MAX_TRAIL + 1)), 400),
        ("trail=Nobody", 404),
        ("trail=Zagreb&trail=Nobody", 404),
        ("trail=%ff", 400),
        ("trail=" + "a" * MAX_URI_CHARS, 414),
    ],
)
def test_what_is_no_trail_is_told_to_programs_and_to_people(client: FlaskClient, query: str, status: int) -> None:
    answer = client.get(f"{API}?{query}")
    assert (answer.status_code, answer.mimetype) == (
        status,
        "application/json" if status == 200 else "application/problem+json",
    )
    for path in (PAGE, f"{PAGE}/graphml", f"{PAGE}/csv"):
        page = client.get(f"{path}?{query}", headers=BROWSER)
        assert page.status_code == status
        assert status == 200 or f"Code {status}" in page.text


def links(text: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'<a href="([^"]*)"', text)]


def test_each_neighbour_is_a_link_to_one_more_step(client: FlaskClient) -> None:
    page = client.get(PAGE, query_string={"trail": [HUB]}, headers=BROWSER).text
    found = explored(client, HUB)
    for side, step in (("sources", "b"), ("destinations", "f")):
        for item in found[side]["items"]:
            if item["kind"] == "article":
                address = urls.explore_url(WIKI, MONTH, [HUB, item["title"]], step)
                assert address in links(page)
    address = urls.explore_url(WIKI, MONTH, [HUB, PLAIN], "f")
    further = client.get(address, headers=BROWSER).text
    assert {urls.explore_url(WIKI, MONTH, [HUB]), urls.explore_url(WIKI, MONTH, [HUB, PLAIN, HUB], "fb")} <= set(
        links(further)
    )
    for link in set(links(further)):
        if link.startswith("/"):
            assert client.get(link, headers=BROWSER).status_code in (200, 303), link


def test_the_page_has_a_twin_its_numbers_and_no_inline_code(client: FlaskClient) -> None:
    address = urls.explore_url(WIKI, MONTH, [HUB, PLAIN, SENDER], "fb")
    text = client.get(urls.explore_url(WIKI, MONTH, [HUB, PLAIN]), headers=BROWSER).text
    (twin,) = re.findall(r'<link rel="alternate" type="application/json" href="([^"]*)"', text)
    found = client.get(html.unescape(twin)).get_json()
    assert found["title"] == PLAIN
    step = found["trail"][1]
    assert f"{100 * step['share']:.1f}\u202f%" in text
    for side in ("sources", "destinations"):
        for item in found[side]["items"]:
            assert f"{item['clicks']['clicks']:,}" in text
    assert "style=" not in text and "onclick" not in text
    assert text.count("<script") == text.count("</script>")
    for words in ("Complete", "Batch up to", "Live to"):
        assert words in text
    assert client.get(address, headers=BROWSER).status_code == 200


def test_going_to_another_month_keeps_the_trail(client: FlaskClient) -> None:
    address = urls.explore_url(WIKI, MONTH, [HUB, PLAIN, "a&b=c"], "bf", limit=5)
    text = client.get(address, headers=BROWSER).text
    asked = re.search(r'name="asked" value="([^"]*)"', text)
    assert asked is not None
    moved = client.get(
        "/go", query_string={"to": f"{WIKI}/latest", "page": "explore", "asked": html.unescape(asked[1])}
    )
    assert moved.status_code == 303
    assert client.get(moved.headers["Location"], headers=BROWSER).text == text


def graph_of(client: FlaskClient, *titles: str, **query: Any) -> nx.MultiDiGraph:
    response = client.get(f"{PAGE}/graphml", query_string={"trail": titles, **query})
    assert response.status_code == 200 and response.mimetype == "application/graphml+xml"
    assert response.headers["Content-Disposition"].endswith('-trail.graphml"')
    return nx.read_graphml(io.BytesIO(response.data), force_multigraph=True)


@pytest.mark.parametrize("limit", [1, 12, 100])
def test_what_is_seen_is_the_same_as_page_graph_and_edges(client: FlaskClient, limit: int) -> None:
    titles = (SENDER, HUB, PLAIN)
    found = explored(client, *titles, limit=limit)
    graph = graph_of(client, *titles, limit=limit)
    names = nx.get_node_attributes(graph, "title")
    edges = {
        (names[a], names[b], data["link_type"]): (data["clicks"], data["batch"], data["live"])
        for a, b, data in graph.edges(data=True)
    }
    expected = {(SENDER, HUB, "link"): 31, (HUB, PLAIN, "link"): 685}
    expected |= {(i["title"], PLAIN, i["link_type"]): i["clicks"]["clicks"] for i in found["sources"]["items"]}
    expected |= {(PLAIN, i["title"], i["link_type"]): i["clicks"]["clicks"] for i in found["destinations"]["items"]}
    assert {key: value[0] for key, value in edges.items()} == expected
    assert all(clicks == batch + live for clicks, batch, live in edges.values())
    assert graph.graph["generation"] == found["generation"]
    assert graph.graph["complete"] is found["complete"]
    response = client.get(f"{PAGE}/csv", query_string={"trail": titles, "limit": limit})
    rows = list(csv.DictReader(io.StringIO(response.text)))
    neutral = {
        (("'" + a if a[0] in "=+-@" else a), ("'" + b if b[0] in "=+-@" else b), kind): n
        for (a, b, kind), n in expected.items()
    }
    assert {(row["referrer"], row["article"], row["link_type"]): int(row["clicks"]) for row in rows} == neutral
    assert len(rows) == len(expected)


def test_the_graph_holds_hostile_titles_and_kinds(client: FlaskClient) -> None:
    graph = graph_of(client, PLAIN, limit=100)
    names = nx.get_node_attributes(graph, "title").values()
    assert {"<script>alert(1)</script>", '"Quoted"', "a&b=c", "المملكة_العربية_السعودية", "other-search"} <= set(names)
    assert set(nx.get_node_attributes(graph, "kind").values()) == {"article", "search", "empty"}
    alone = graph_of(client, QUIET)
    assert alone.number_of_edges() == 1


@given(st.lists(st.text(min_size=1, max_size=255), min_size=1, max_size=MAX_TRAIL), st.randoms(use_true_random=False))
def test_a_trail_is_what_its_address_says(titles: list[str], random: Any) -> None:
    steps = "".join(random.choice("fb") for _ in titles[1:])
    trail = Trail.parse(titles, steps)
    longer = trail.to("š" * 127, "b")
    assert longer.current == "š" * 127 and longer.steps[-1:] == ("b" if len(longer.titles) > 1 else "")
    assert longer.titles[:-1] == trail.titles[len(trail.titles) + 1 - len(longer.titles) :]
    assert len(longer.titles) <= MAX_TRAIL
    assert (
        len(longer.titles) == 1 or len(longer.url("longestwiki_of_all_wikis", MONTH, limit=100)) < MAX_URI_CHARS - 200
    )
    for number in range(1, len(titles) + 1):
        part = trail.up_to(number)
        assert Trail.parse(part.titles, part.steps) == part


def test_steps_need_not_be_given_when_all_go_forwards() -> None:
    assert Trail.parse(["a", "b c"], None) == Trail(("a", "b_c"), "f")
    for titles, steps in (([], None), (["a"], "f"), (["a", "b"], "F"), (["a", ""], None)):
        with pytest.raises(BadRequest):
            Trail.parse(titles, steps)


@pytest.mark.parametrize("shape", [WIDE, NARROW])
@pytest.mark.parametrize("counts", [([], []), ([5], []), ([9, 1], [3]), (list(range(1, 101)), [10**9, 1])])
def test_a_picture_stays_within_its_frame_and_widths_follow_clicks(
    shape: Any, counts: tuple[list[int], list[int]]
) -> None:
    sides = [[{"kind": "article", "name": "日本" * 60, "clicks": {"clicks": n}} for n in side] for side in counts]
    picture = neighbourhood("x" * 255, [*sides[0], None], sides[1], shape)
    assert len(picture["rows"]) == sum(map(len, counts))
    for row in picture["rows"]:
        points = [float(n) for n in re.findall(r"-?[\d.]+", row["line"])]
        assert all(0 <= x <= picture["width"] for x in (*points[::2], row["x"]))
        assert all(0 <= y <= picture["height"] for y in (*points[1::2], row["y"]))
        assert row["name"].endswith("…\u2069") and shape.thinnest <= row["width"] <= shape.widest
    drawn = [row["width"] for row in picture["rows"]]
    expected = [max(shape.thinnest, shape.widest * n / max(side)) for side in counts for n in side]
    assert drawn == pytest.approx(expected, abs=0.06)
