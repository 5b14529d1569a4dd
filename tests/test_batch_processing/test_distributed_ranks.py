"""Ranks that Spark computes from blocks of links are those of the kernel on one machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from readerflow.batch_processing import batch, distributed_ranks
from readerflow.batch_processing.batch import RankRule, compute_ranks, run_batch
from readerflow.batch_processing.graph import link_graph
from readerflow.batch_processing.pagerank import NotConverged, pagerank
from readerflow.batch_processing.spark_engine import SparkEngine
from readerflow.common.settings import Settings
from readerflow.storage.batch_views import View
from tests.test_batch_processing.conftest import Home
from tests.test_batch_processing.part_views import PartViews
from tests.test_batch_processing.segments import records

pytestmark = pytest.mark.cluster

TITLES = [f"n{number:03d}" for number in range(150)]
EDGES = "select referrer, article, clicks from edges"


@pytest.fixture
def engine(tmp_path: Path, spark: None) -> Iterator[SparkEngine]:
    with SparkEngine(Settings(home=tmp_path, spark_master="local[2]", spark_driver_memory="1g")) as engine:
        yield engine


def random_edges(seed: int, nodes: int, edges: int) -> pa.Table:
    """Distinct links between some of the titles, one hub among them, with links to themselves and dangling nodes."""
    random = np.random.default_rng(seed)
    pairs = random.integers(0, nodes, (edges, 2))
    pairs[: edges // 4, 1] = 7
    pairs = np.unique(pairs[pairs[:, 0] % 3 > 0], axis=0) + 5
    clicks = random.zipf(1.6, len(pairs)) % 10**6 + 1
    columns = {"referrer": pa.array(pairs[:, 0], pa.int32()), "article": pa.array(pairs[:, 1], pa.int32())}
    return pa.table(columns | {"clicks": pa.array(clicks, pa.int64())})


def test_all_ranks_are_those_of_the_kernel(engine: SparkEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed_ranks, "TASK_EDGES", 200)
    monkeypatch.setattr(distributed_ranks, "BLOCK_EDGES", 50)
    engine.put("named", pa.table({"title": TITLES}))
    engine.number("titles", "select title from named", {})
    edges = random_edges(1, 130, 900)
    engine.put("edges", edges)
    graph, ids = link_graph(engine.titles(), edges.to_batches())
    entries = np.random.default_rng(2).integers(0, 50, len(TITLES)).astype(np.float64)
    rule = RankRule(damping=0.8, tolerance=1e-3)
    expected = compute_ranks(graph, entries[ids], rule)
    exactly = pagerank(batch.LinkMatrix.of_clicks(graph), iterations=3)
    with engine.links(EDGES) as links:
        assert links.ids.tolist() == ids.tolist()
        found = batch._three_ranks(links.by_clicks, links.unweighted, entries[links.ids], rule)
        three = pagerank(links.by_clicks, iterations=3)
        with pytest.raises(NotConverged, match="after 2 iterations"):
            pagerank(links.unweighted, max_iterations=2)
    for name, rank in expected.items():
        assert np.abs(found[name].values - rank.values).max() <= 1e-9
        # More than was promised, and so positions agree too.
        assert found[name].values.tobytes() == rank.values.tobytes(), name
        assert found[name].facts == rank.facts
    assert (three.values.tobytes(), three.facts) == (exactly.values.tobytes(), exactly.facts)


def test_a_graph_without_links_has_no_ranks(engine: SparkEngine) -> None:
    engine.put("named", pa.table({"title": TITLES[:3]}))
    engine.number("titles", "select title from named", {})
    engine.put("edges", random_edges(1, 130, 900).slice(0, 0))
    with engine.links(EDGES) as links:
        assert len(links.ids) == 0
        assert len(pagerank(links.by_clicks).values) == 0


def test_a_batch_beyond_the_limits_has_ranks_and_says_what_it_lacks(
    home: Home, engine: SparkEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    edges = random_edges(3, 40, 150).to_pylist()
    rows = [(TITLES[edge["referrer"]], TITLES[edge["article"]], "link", edge["clicks"]) for edge in edges]
    home.archive.add(0, records([*rows, ("other-search", TITLES[9], "external", 70)]))
    expected = home.run(rule=RankRule(iterations=3))
    monkeypatch.setattr(batch, "GRAPH_EDGES", len(edges) - 1)
    views = PartViews(home.folder / "parts")
    rule = RankRule(iterations=3, kernel_edges=len(edges) - 1)
    with caplog.at_level(logging.WARNING):
        manifest = run_batch("hrwiki", "2025-03", home.archive, views, engine, partitions=1, rule=rule)  # type: ignore[arg-type]
    assert views.table(View.ARTICLES).to_pylist() == home.rows(View.ARTICLES)
    assert manifest.ranks == expected.ranks
    assert manifest.linked_articles == expected.linked_articles
    assert manifest.rows == expected.rows | {"graph": 0, "communities": 0}
    assert "neither its graph nor communities" in caplog.text
