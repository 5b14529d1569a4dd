"""Spark's graph libraries agree with the kernels on ranks, components and, where votes are never equal, communities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from readerflow.batch_processing import graph_checks
from readerflow.batch_processing.communities import propagate
from readerflow.batch_processing.graph_checks import NoGraphFrames, graphframes_conf
from readerflow.batch_processing.pagerank import LinkMatrix, pagerank
from readerflow.batch_processing.spark_engine import SparkEngine
from readerflow.common.settings import Settings
from tests.test_batch_processing.test_pagerank import graph_of

pytestmark = pytest.mark.cluster
LINKS = "select referrer, article from links"
ROUNDS = 5


@pytest.fixture
def engine(tmp_path: Path, spark: None) -> Iterator[SparkEngine]:
    with SparkEngine(Settings(home=tmp_path, spark_master="local[2]", spark_driver_memory="1g")) as engine:
        yield engine


@pytest.fixture(params=["graphx", "graphframes"])
def wanted(request: pytest.FixtureRequest, engine: SparkEngine) -> str:
    engine.put("links", pa.table({"referrer": [1], "article": [2]}))
    try:
        with engine.graph_library(LINKS, request.param):
            return str(request.param)
    except NoGraphFrames as error:
        pytest.skip(str(error))


def test_ranks_and_components_agree(engine: SparkEngine, wanted: str) -> None:
    random = np.random.default_rng(4)
    # Ids with gaps, two components at least, some nodes dangling.
    pairs = np.unique(random.integers(0, 40, (90, 2)), axis=0)
    pairs = np.concatenate([pairs[pairs[:, 0] % 4 > 0], [[50, 51], [51, 52]]])
    engine.put("links", pa.table({"referrer": pairs[:, 0] * 10, "article": pairs[:, 1] * 10}))
    graph = graph_of((f"{a:03d}", f"{b:03d}", 1) for a, b in pairs)
    ids = [int(title) * 10 for title in graph.titles.to_pylist()]
    links = csr_array((graph.clicks, graph.targets, graph.offsets), shape=(graph.nodes, graph.nodes))
    count, components = connected_components(links, directed=False)
    with engine.graph_library(LINKS, wanted) as library:
        assert library.name == wanted
        ranks, found = (table.toArrow().sort_by("id") for table in (library.pagerank(1e-6), library.components()))
    assert ranks["id"].to_pylist() == found["id"].to_pylist() == ids
    expected = pagerank(LinkMatrix.of_clicks(graph)).values
    assert np.abs(ranks["value"].to_numpy() / graph.nodes - expected).max() < 1e-5
    assert count > 1
    smallest = {number: min(np.array(ids)[components == number]) for number in range(count)}
    assert found["value"].to_pylist() == [smallest[number] for number in components]


def votes_without_ties(rounds: int) -> csr_array:
    """Votes, even ones for oneself, that are never equal where they would decide."""
    for seed in range(1000):
        random = np.random.default_rng(seed)
        nodes = 16
        links = np.triu(random.integers(1, 60, (nodes, nodes)) * (random.random((nodes, nodes)) < 0.2), 1)
        votes = links + links.T + np.diag(2 * random.integers(5, 20, nodes))
        labels = np.arange(nodes)
        for _ in range(rounds):
            tally = np.sort(votes @ np.eye(nodes, dtype=int)[labels], axis=1)
            if (tally[:, -1] == tally[:, -2]).any():
                break
            labels = propagate(csr_array(votes), labels, 1)
        else:
            if len(set(labels.tolist())) < nodes // 2:
                return csr_array(votes)
    raise AssertionError("no such graph")


def test_label_propagation_agrees_where_there_are_no_ties(engine: SparkEngine, wanted: str) -> None:
    votes = votes_without_ties(ROUNDS)
    nodes = votes.shape[0]
    rows, columns = np.triu(votes.toarray(), 1).nonzero()
    # A link gives a vote each way; one to itself gives two.
    times = np.concatenate([votes.toarray()[rows, columns], votes.diagonal() // 2])
    links = [np.concatenate([ends, np.arange(nodes)]).repeat(times) for ends in (rows, columns)]
    engine.put("links", pa.table({"referrer": links[0], "article": links[1]}))
    with engine.graph_library(LINKS, wanted) as library:
        found = library.labels(ROUNDS).toArrow().sort_by("id")
    assert found["value"].to_pylist() == propagate(votes, np.arange(nodes), ROUNDS).tolist()


def test_graphx_serves_where_graphframes_is_not_there(engine: SparkEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(links: object) -> None:
        raise NoGraphFrames("no jar")

    monkeypatch.setattr(graph_checks, "GraphFrames", missing)
    engine.put("links", pa.table({"referrer": [1], "article": [2]}))
    with engine.graph_library(LINKS) as library:
        assert library.name == "graphx"
    with pytest.raises(NoGraphFrames), engine.graph_library(LINKS, "graphframes"):
        pass


def test_the_jar_is_a_path_or_a_coordinate(tmp_path: Path) -> None:
    assert graphframes_conf(Settings(home=tmp_path)) == {}
    file = graphframes_conf(Settings(home=tmp_path, graphframes_jar=str(tmp_path / "graphframes.jar")))
    assert file == {"spark.jars": str(tmp_path / "graphframes.jar")}
    coordinate = "io.graphframes:graphframes-spark4_2.13:1.0"
    assert graphframes_conf(Settings(home=tmp_path, graphframes_jar=coordinate)) == {"spark.jars.packages": coordinate}
