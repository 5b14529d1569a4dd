"""Paths: what the search finds costs what networkx's Dijkstra and Yen find, whatever the graph."""

from __future__ import annotations

import itertools
import math
import threading
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readerflow.batch_processing.graph import link_graph
from readerflow.common.months import Month
from readerflow.preprocessing.data_preprocess import preprocess
from readerflow.storage.batch_views import LinkGraph
from readerflow.storage.click_graph import ClickGraph, click_graph
from readerflow.storage.pairs import PairStore
from readerflow.storage.serving_views import QueryTooLong
from readerflow.webapp.best_paths import By, Found, Route, best_paths, shares_of
from readerflow.webapp.path_search import PROBABILITY, Effort, GaveUp, Search, Workspace, Workspaces
from tests.conftest import HRWIKI

Edges = dict[tuple[int, int], int]
PLENTY = 10**9


def graph_of(edges: Edges, nodes: int) -> ClickGraph:
    """A click graph whose nodes are the numbers themselves."""
    referrers, articles = (np.array([edge[end] for edge in edges], np.int32) for end in (0, 1))
    order = np.lexsort((articles, referrers))
    offsets = np.zeros(nodes + 1, np.int64)
    np.cumsum(np.bincount(referrers, minlength=nodes), out=offsets[1:])
    titles = pa.array([f"{node:04}" for node in range(nodes)])
    return click_graph(LinkGraph(titles, offsets, articles[order], np.array([*edges.values()], np.int64)[order]))


def oracle_of(graph: ClickGraph) -> nx.DiGraph:
    """The same graph for networkx, with costs: -log(share)."""
    links = graph.outgoing
    referrers = np.repeat(np.arange(graph.nodes), np.diff(links.offsets))
    oracle = nx.DiGraph()
    oracle.add_nodes_from(range(graph.nodes))
    for source, target, clicks in zip(referrers.tolist(), links.ends.tolist(), links.clicks.tolist(), strict=True):
        oracle.add_edge(source, target, cost=-math.log(clicks / graph.out_clicks[source]), clicks=clicks)
    return oracle


def found_in(
    graph: ClickGraph, source: int, target: int, count: int, by: By = By.PROBABILITY, effort: int = PLENTY
) -> Found:
    return best_paths(Search(graph, Workspace(graph.nodes), Effort(effort)), source, target, count, by)


def costs(graph: ClickGraph, routes: list[Route]) -> list[float]:
    return [sum(-math.log(share) for share in shares_of(graph, route.places)) for route in routes]


def least_costs(oracle: nx.DiGraph, source: int, target: int, count: int) -> list[float]:
    if not nx.has_path(oracle, source, target):
        return []
    paths = nx.shortest_simple_paths(oracle, source, target, weight="cost")
    return [nx.path_weight(oracle, path, "cost") for path in itertools.islice(paths, count)]


def check_routes(graph: ClickGraph, routes: list[Route], source: int, target: int) -> None:
    """They are paths of the graph, each another one, none visits an article twice."""
    assert len({route.nodes for route in routes}) == len(routes)
    for route in routes:
        assert (route.nodes[0], route.nodes[-1]) == (source, target)
        assert len(set(route.nodes)) == len(route.nodes)
        for place, step in zip(route.places, itertools.pairwise(route.nodes), strict=True):
            assert (graph.outgoing.node_of(place), graph.outgoing.ends[place]) == step


@st.composite
def graphs(draw: st.DrawFn) -> tuple[ClickGraph, int, int]:
    nodes = draw(st.integers(2, 9))
    ends = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    edges = draw(st.dictionaries(ends, st.sampled_from([10, 11, 30, 49, 1000]), max_size=30))
    source, target = draw(st.permutations(range(nodes)))[:2]
    return graph_of(edges, nodes), source, target


@given(graphs(), st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_the_k_most_probable_paths_cost_what_networkx_finds(drawn: tuple[ClickGraph, int, int], count: int) -> None:
    graph, source, target = drawn
    found = found_in(graph, source, target, count)
    assert not found.gave_up
    check_routes(graph, found.routes, source, target)
    assert costs(graph, found.routes) == pytest.approx(least_costs(oracle_of(graph), source, target, count), abs=1e-9)


@given(graphs(), st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_the_k_most_clicked_paths_have_the_widest_least_clicked_link_then_the_fewest_steps(
    drawn: tuple[ClickGraph, int, int], count: int
) -> None:
    graph, source, target = drawn
    oracle = oracle_of(graph)
    exact = sorted(
        (-min(oracle.edges[step]["clicks"] for step in itertools.pairwise(path)), len(path) - 1)
        for path in nx.all_simple_paths(oracle, source, target)
    )
    found = found_in(graph, source, target, count, By.CLICKS)
    check_routes(graph, found.routes, source, target)
    clicks = [[int(graph.outgoing.clicks[place]) for place in route.places] for route in found.routes]
    assert [(-min(some), len(some)) for some in clicks] == exact[:count]


def test_links_that_take_all_clicks_cost_nothing_and_circles_of_them_end() -> None:
    edges = {(0, 1): 49, (1, 2): 49, (2, 0): 49, (2, 3): 7, (3, 1): 5}
    graph = graph_of(edges, 4)
    assert costs(graph, found_in(graph, 1, 3, 5).routes) == pytest.approx([-math.log(7 / 56)])
    assert found_in(graph, 3, 0, 5).routes[0].nodes == (3, 1, 2, 0)


def test_a_search_gives_up_at_its_limit_and_leaves_the_workspace_clean() -> None:
    edges = {(node, node + 1): 10 + node % 3 for node in range(60)} | {(node, node + 2): 11 for node in range(59)}
    graph = graph_of(edges, 61)
    workspace = Workspace(graph.nodes)
    with pytest.raises(GaveUp):
        Search(graph, workspace, Effort(40)).best(0, 60, PROBABILITY)
    assert not workspace.banned.any()
    assert not any(end.score.any() or end.open.any() for end in workspace.ends)
    alone = best_paths(Search(graph, workspace, Effort(PLENTY)), 0, 60, 1, By.PROBABILITY)
    oracle = oracle_of(graph)
    assert costs(graph, alone.routes) == pytest.approx([nx.dijkstra_path_length(oracle, 0, 60, weight="cost")])
    assert found_in(graph, 0, 60, 5, effort=40) == Found([], True)
    some = found_in(graph, 0, 60, 5, effort=700)
    assert some.gave_up
    assert costs(graph, some.routes) == pytest.approx(least_costs(oracle, 0, 60, 5)[: len(some.routes)])


def test_more_searches_than_places_wait_and_are_told() -> None:
    workspaces = Workspaces(places=1, wait_seconds=0.05)
    with workspaces.take(10) as first:
        told = []

        def second() -> None:
            with pytest.raises(QueryTooLong), workspaces.take(10):
                pass
            told.append(True)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(5)
        assert told == [True]
    with workspaces.take(10) as again:
        assert again is first
    with workspaces.take(11) as larger:
        assert larger is not first and larger.nodes == 11


@pytest.fixture(scope="module")
def month(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ClickGraph:
    """The link graph of the real month."""
    store = PairStore(tmp_path_factory.mktemp("pairs"))
    preprocess(data / HRWIKI, "hrwiki", Month.parse("2025-03"), store, min_clicks=10, max_rejects=0.01)
    pairs = pq.read_table(store.path("hrwiki", Month.parse("2025-03")))
    links = pairs.filter(pc.equal(pairs["link_type"], "link"))
    titles = pc.unique(pa.chunked_array([*links["referrer"].chunks, *links["article"].chunks]))
    titles = titles.take(pc.array_sort_indices(titles))
    ends = [pc.index_in(links[name], value_set=titles).combine_chunks() for name in ("referrer", "article")]
    rows = pa.record_batch([*ends, links["clicks"].combine_chunks()], names=["referrer", "article", "clicks"])
    return click_graph(link_graph(titles, [rows])[0])


def distances(graph: ClickGraph, oracle: nx.DiGraph, count: int) -> dict[tuple[int, int], float]:
    """The costs of best paths between random articles, ten from each."""
    rng = np.random.default_rng(2025)
    found: dict[tuple[int, int], float] = {}
    while len(found) < count:
        source = int(rng.integers(graph.nodes))
        reached = nx.single_source_dijkstra_path_length(oracle, source, weight="cost")
        targets = rng.permutation(sorted(reached.keys() - {source}))[:10]
        found |= {(source, target): reached[target] for target in targets.tolist()}
    return dict(itertools.islice(found.items(), count))


@pytest.mark.data
def test_a_thousand_paths_of_the_real_month_cost_what_networkx_finds(month: ClickGraph) -> None:
    oracle = oracle_of(month)
    exact = distances(month, oracle, 1000)
    found = [found_in(month, source, target, 1).routes for source, target in exact]
    assert [cost for routes in found for cost in costs(month, routes)] == pytest.approx([*exact.values()], abs=1e-9)
    assert max(len(routes[0].places) for routes in found) > 10
    for source, target in [*exact][::67]:
        five = found_in(month, source, target, 5).routes
        check_routes(month, five, source, target)
        assert costs(month, five) == pytest.approx(least_costs(oracle, source, target, 5), abs=1e-9)


@pytest.mark.data
def test_random_articles_of_the_real_month_are_connected_where_networkx_says_so(month: ClickGraph) -> None:
    oracle, rng = oracle_of(month), np.random.default_rng(3)
    for source, target in rng.integers(month.nodes, size=(200, 2)).tolist():
        if source != target:
            assert bool(found_in(month, source, target, 1).routes) == nx.has_path(oracle, source, target)
