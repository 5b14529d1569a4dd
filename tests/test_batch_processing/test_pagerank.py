"""Ranks agree with published values and with networkx, and say how they came about."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readerflow.batch_processing.graph import link_graph
from readerflow.batch_processing.pagerank import LinkMatrix, NotConverged, Rank, fixed_sum, pagerank
from readerflow.storage.batch_views import LinkGraph

EXAMPLE = "B C,C B,D A,D B,E B,E D,E F,F B,F E,G B,G E,H B,H E,I B,I E,K E,L E"
EXAMPLE_RANKS = {
    "B": 0.384400948813554244, "C": 0.342910285508379820, "E": 0.0808856932344977353, "D": 0.0390870920999661017,
    "F": 0.0390870920999661017, "A": 0.0327814931593439912, "G": 0.0161694790168584041, "H": 0.0161694790168584041,
    "I": 0.0161694790168584041, "K": 0.0161694790168584041, "L": 0.0161694790168584041,
}  # fmt: skip


def graph_of(edges: Iterable[tuple[str, str, int]], isolated: Iterable[str] = ()) -> LinkGraph:
    rows = sorted((source.encode(), target.encode(), clicks) for source, target, clicks in edges)
    titles = sorted({title for row in rows for title in row[:2]} | {title.encode() for title in isolated})
    ids = {title: number for number, title in enumerate(titles)}
    batch = pa.record_batch(
        {
            "referrer": pa.array([ids[row[0]] for row in rows], pa.int32()),
            "article": pa.array([ids[row[1]] for row in rows], pa.int32()),
            "clicks": pa.array([row[2] for row in rows], pa.int64()),
        }
    )
    graph, _ = link_graph(pa.array([title.decode() for title in titles], pa.string()), [batch])
    return graph


def by_title(graph: LinkGraph, rank: Rank) -> dict[str, float]:
    return dict(zip(graph.titles.to_pylist(), rank.values.tolist(), strict=True))


def unweighted(edges: Iterable[tuple[str, str]]) -> tuple[LinkGraph, LinkMatrix]:
    graph = graph_of((source, target, 7 + len(source)) for source, target in set(edges))
    return graph, LinkMatrix.of_clicks(graph).unweighted(graph)


def lines(path: Path) -> list[list[str]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line.split() for line in content.decode().splitlines() if line.strip() and not line.startswith("#")]


def assert_ranks(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    worst = max(found, key=lambda title: abs(found[title] - expected[title]))
    assert abs(found[worst] - expected[worst]) <= 1e-9, worst


def test_the_eleven_node_example_has_its_published_ranks() -> None:
    graph, matrix = unweighted((edge.split()[0], edge.split()[1]) for edge in EXAMPLE.split(","))
    rank = pagerank(matrix)
    assert_ranks(by_title(graph, rank), EXAMPLE_RANKS)
    assert rank.values.sum() == pytest.approx(1, abs=1e-12)
    assert rank.facts.converged
    assert rank.facts.residual <= 1e-10


def test_the_published_files_of_the_example_and_of_wikispeedia_are_met(data: Path) -> None:
    for edges, reference in (
        ("graphs/pagerank_example_11nodes.links", "reference/pagerank_danker_example.tsv.gz"),
        ("sessions/wikispeedia_links.tsv.gz", "reference/pagerank_wikispeedia_links.tsv.gz"),
    ):
        graph, matrix = unweighted((row[0], row[1]) for row in lines(data / edges))
        expected = {title: float(value) for title, value in lines(data / reference)}
        assert_ranks(by_title(graph, pagerank(matrix)), expected)


@pytest.mark.parametrize(
    ("name", "symmetric", "iterations"), [("dir", False, None), ("undir", True, 26)], ids=["dir", "undir"]
)
def test_the_ldbc_validation_sets_are_met(data: Path, name: str, symmetric: bool, iterations: int | None) -> None:
    adjacency = lines(data / f"reference/ldbc_graphalytics_pr_{name}-input")
    edges = [(row[0], target) for row in adjacency for target in row[1:]]
    if symmetric:
        edges += [(target, source) for source, target in edges]
    graph, matrix = unweighted(edges)
    assert {row[0] for row in adjacency} == set(graph.titles.to_pylist())
    rank = pagerank(matrix, iterations=iterations)
    expected = {title: float(value) for title, value in lines(data / f"reference/ldbc_graphalytics_pr_{name}-output")}
    assert_ranks(by_title(graph, rank), expected)
    assert iterations in (None, rank.facts.iterations)


def test_the_weighted_ldbc_example_is_met_after_two_iterations_without_its_weights(data: Path) -> None:
    edges = lines(data / "reference/ldbc_graphalytics_pr_example-directed.e")
    graph, matrix = unweighted((row[0], row[1]) for row in edges)
    rank = pagerank(matrix, iterations=2)
    expected = {row[0]: float(row[1]) for row in lines(data / "reference/ldbc_graphalytics_pr_example-directed-PR")}
    assert_ranks(by_title(graph, rank), expected)
    assert (rank.facts.iterations, rank.facts.converged) == (2, False)


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_rank_as_in_networkx_with_weights_dangling_nodes_and_teleport(seed: int) -> None:
    random = np.random.default_rng(seed)
    nodes = int(random.integers(2, 120))
    pairs = {(int(a), int(b)) for a, b in random.integers(0, nodes, (int(random.integers(1, nodes * 4)), 2))}
    edges = [(f"n{a:03d}", f"n{b:03d}", int(random.zipf(1.6)) % 10**6 + 1) for a, b in pairs if a % 5 or not seed % 2]
    graph = graph_of(edges or [("n000", "n001", 1)])
    titles = graph.titles.to_pylist()
    entries = random.integers(0, 50, graph.nodes).astype(float)
    entries[0] += 1
    matrix = LinkMatrix.of_clicks(graph)
    oracle = nx.DiGraph()
    oracle.add_nodes_from(titles)
    oracle.add_weighted_edges_from(edges or [("n000", "n001", 1)])
    teleport = dict(zip(titles, entries, strict=True))
    for found, expected in (
        (pagerank(matrix), nx.pagerank(oracle, tol=1e-14, max_iter=1000)),
        (
            pagerank(matrix, teleport=entries, damping=0.6),
            nx.pagerank(oracle, 0.6, personalization=teleport, dangling=teleport, tol=1e-14, max_iter=1000),
        ),
        (pagerank(matrix.unweighted(graph)), nx.pagerank(oracle, weight=None, tol=1e-14, max_iter=1000)),
    ):
        assert_ranks(by_title(graph, found), expected)


def test_a_fixed_number_of_iterations_is_met_exactly_and_its_residual_told() -> None:
    _, matrix = unweighted([("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")])
    fixed = pagerank(matrix, iterations=10)
    before = pagerank(matrix, iterations=9)
    assert (fixed.facts.iterations, fixed.facts.converged) == (10, False)
    assert fixed.facts.residual == pytest.approx(float(np.abs(fixed.values - before.values).sum()), rel=1e-12)


def test_ranks_that_do_not_converge_are_an_error_that_carries_the_residual() -> None:
    _, matrix = unweighted([("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")])
    with pytest.raises(NotConverged, match="after 3 iterations") as caught:
        pagerank(matrix, max_iterations=3)
    assert caught.value.residual > 1e-10


def test_self_loops_are_kept() -> None:
    graph, matrix = unweighted([("a", "a"), ("a", "b"), ("b", "a")])
    expected = nx.pagerank(nx.DiGraph([("a", "a"), ("a", "b"), ("b", "a")]), tol=1e-14, max_iter=1000)
    assert_ranks(by_title(graph, pagerank(matrix)), expected)


def test_entries_that_are_all_zero_mean_a_uniform_teleport_and_a_flag() -> None:
    _, matrix = unweighted([("a", "b"), ("b", "c")])
    without = pagerank(matrix, teleport=np.zeros(3))
    assert without.facts.uniform_teleport
    assert np.array_equal(without.values, pagerank(matrix).values)
    assert not pagerank(matrix, teleport=np.array([0.0, 1.0, 0.0])).facts.uniform_teleport


def test_an_empty_graph_has_no_ranks() -> None:
    graph = graph_of([], isolated=["alone"])
    assert (graph.nodes, graph.edges, graph.offsets.tolist()) == (0, 0, [0])
    rank = pagerank(LinkMatrix.of_clicks(graph))
    assert rank.values.tolist() == []
    assert rank.positions().tolist() == []


def test_equal_ranks_take_their_positions_in_title_order() -> None:
    graph, matrix = unweighted([("z", "m"), ("a", "m"), ("é", "m")])
    positions = dict(zip(graph.titles.to_pylist(), pagerank(matrix).positions().tolist(), strict=True))
    assert positions == {"m": 1, "a": 2, "z": 3, "é": 4}


@given(st.lists(st.floats(0, 1e6), max_size=300))
def test_the_fixed_sum_is_a_sum(values: list[float]) -> None:
    assert fixed_sum(np.array(values, dtype=np.float64)) == pytest.approx(sum(values), rel=1e-12, abs=1e-300)


def test_the_order_of_the_fixed_sum_is_part_of_the_program() -> None:
    assert fixed_sum(np.array([1e16, 1.0, 1.0, -1e16, 1.0])) == ((1e16 + -1e16) + 1.0) + (1.0 + 1.0)
