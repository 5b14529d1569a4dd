"""Spark's own graph libraries over the link graph: a second opinion on ranks, components and communities.

    spark-submit batch_processing/graph_checks.py ARCHIVE_URL [--library graphx|graphframes] [--wiki WIKI]

Prints how far PageRank by the library is from link_rank, how many components the graph has, and how many communities
label propagation finds in it when each link has one vote.

GraphX comes with pyspark; it has no Python interface, so its Scala objects are called through the gateway to the JVM.
GraphFrames needs its jar: the setting graphframes_jar names it, a path or a coordinate that Spark fetches; spark-submit
wants it as --jars or --packages. Without it GraphX serves. Both take links without weights and give tables of one kind.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from readerflow.common.errors import ReaderFlowError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from readerflow.batch_processing.spark_jobs import MonthTables
    from readerflow.common.settings import Settings

RESET = 0.15


class NoGraphFrames(ReaderFlowError):
    """The session has no GraphFrames jar, or Python no graphframes."""


class GraphLibrary(Protocol):
    """Algorithms over directed links. All results have the columns id and value, a row for each article with links."""

    name: str

    def pagerank(self, tolerance: float, *, damping: float = 1 - RESET) -> DataFrame:
        """Ranks that sum to the number of articles, when no rank moves by more than the tolerance."""

    def components(self) -> DataFrame:
        """The smallest id that links, taken both ways, lead to."""

    def labels(self, rounds: int) -> DataFrame:
        """The label of each article after so many rounds of synchronous label propagation; ties fall anyhow."""


class GraphX:
    """GraphX through the gateway.

    :param links: columns source and target, whole numbers.
    :param scratch: URL of a folder for what goes in and comes out, as text; the caller removes it.
    """

    name = "graphx"

    def __init__(self, links: DataFrame, scratch: str) -> None:
        self._links = links
        self._scratch = scratch
        self._graph: Any = None

    def pagerank(self, tolerance: float, *, damping: float = 1 - RESET) -> DataFrame:
        run = self._library.PageRank.runUntilConvergence
        return self._vertices(run(self._loaded(), tolerance, 1 - damping, *self._tags), "double")

    def components(self) -> DataFrame:
        return self._vertices(self._library.ConnectedComponents.run(self._loaded(), *self._tags), "long")

    def labels(self, rounds: int) -> DataFrame:
        # Vertices carry no values of interest, so there is a tag for those of edges only.
        run = self._library.LabelPropagation.run
        return self._vertices(run(self._loaded(), rounds, self._tags[0]), "long")

    @property
    def _context(self) -> Any:
        return self._links.sparkSession.sparkContext

    @property
    def _jvm(self) -> Any:
        return self._context._jvm

    @property
    def _library(self) -> Any:
        return self._jvm.org.apache.spark.graphx.lib

    @property
    def _tags(self) -> tuple[Any, Any]:
        tag = self._jvm.scala.reflect.ClassTag.apply(self._jvm.java.lang.Class.forName("java.lang.Object"))
        return tag, tag

    def _loaded(self) -> Any:
        if self._graph is None:
            url = f"{self._scratch}/links-{os.urandom(4).hex()}"
            self._links.selectExpr("concat_ws(' ', source, target)").write.text(url)
            level = self._jvm.org.apache.spark.storage.StorageLevel.MEMORY_AND_DISK()
            context = self._context._jsc.sc()
            self._graph = self._jvm.org.apache.spark.graphx.GraphLoader.edgeListFile(
                context, url, False, context.defaultParallelism(), level, level
            )
        return self._graph

    def _vertices(self, graph: Any, kind: str) -> DataFrame:
        """Values of vertices, by way of files: as objects each would pass the gateway by itself."""
        url = f"{self._scratch}/vertices-{os.urandom(4).hex()}"
        graph.vertices().saveAsTextFile(url)
        # A pair is written as (id,value).
        rows = self._links.sparkSession.read.text(url).selectExpr("split(trim(both '()' from value), ',') as pair")
        return rows.selectExpr("cast(pair[0] as long) as id", f"cast(pair[1] as {kind}) as value")


class GraphFrames:
    """GraphFrames by its Python package.

    :raises NoGraphFrames: when its jar or package is not there.
    """

    name = "graphframes"

    def __init__(self, links: DataFrame) -> None:
        from py4j.java_gateway import JavaPackage

        try:
            from graphframes import GraphFrame
        except ImportError:
            raise NoGraphFrames("graphframes-py is not installed; `pip install readerflow[cluster]`") from None
        context: Any = links.sparkSession.sparkContext
        api = context._jvm.org.graphframes.GraphFramePythonAPI
        if isinstance(api, JavaPackage):  # what py4j takes an unknown name for
            raise NoGraphFrames(
                "Spark has no GraphFrames jar; set READERFLOW_GRAPHFRAMES_JAR to its path or Maven coordinate "
                "(io.graphframes:graphframes-spark4_2.13:VERSION), or take --library graphx"
            )
        edges = links.selectExpr("cast(source as long) as src", "cast(target as long) as dst").persist()
        vertices = edges.selectExpr("src as id").unionAll(edges.selectExpr("dst")).distinct()
        self._graph = GraphFrame(vertices, edges)

    def pagerank(self, tolerance: float, *, damping: float = 1 - RESET) -> DataFrame:
        ranked = self._graph.pageRank(resetProbability=1 - damping, tol=tolerance)
        return ranked.vertices.selectExpr("id", "pagerank as value")

    def components(self) -> DataFrame:
        # Its own algorithm wants a folder for checkpoints.
        return self._graph.connectedComponents(algorithm="graphx").selectExpr("id", "component as value")

    def labels(self, rounds: int) -> DataFrame:
        return self._graph.labelPropagation(maxIter=rounds).selectExpr("id", "label as value")


def graph_library(links: DataFrame, scratch: str, wanted: str | None = None) -> GraphLibrary:
    """The library of a name; by default GraphFrames where the session has it, and GraphX elsewhere.

    :param links: columns source and target: whole numbers.
    :param scratch: as of :class:`GraphX`.
    :raises NoGraphFrames: when it is wanted and not there.
    """
    if wanted != GraphX.name:
        try:
            return GraphFrames(links)
        except NoGraphFrames:
            if wanted is not None:
                raise
    return GraphX(links, scratch)


def graphframes_conf(settings: Settings) -> dict[str, str]:
    """What puts the GraphFrames jar into a new session: Spark properties."""
    jar = settings.graphframes_jar
    if jar is None:
        return {}
    is_file = jar.endswith(".jar")
    return {"spark.jars": str(Path(jar).absolute())} if is_file else {"spark.jars.packages": jar}


def main(given: list[str] | None = None) -> int:
    """Run the job with the settings of the environment."""
    from readerflow.batch_processing.spark_jobs import arguments, month_tables
    from readerflow.common.settings import load

    parser = arguments(__doc__)
    parser.add_argument(
        "--library", choices=("graphx", "graphframes"), help="graphframes where its jar is, else graphx"
    )
    options = parser.parse_args(given)
    try:
        settings = load()
        conf = {} if options.library == GraphX.name else graphframes_conf(settings)
        with month_tables(settings, options, conf) as month:
            _print_checks(month, options.library)
    except ReaderFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _print_checks(month: MonthTables, wanted: str | None) -> None:
    import numpy as np
    import pyarrow as pa
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    from readerflow.batch_processing.graph import link_graph
    from readerflow.batch_processing.pagerank import LinkMatrix, pagerank
    from readerflow.batch_processing.spark_jobs import print_rows, say
    from readerflow.batch_processing.views import sql

    graph, ids = link_graph(month.engine.titles(), month.engine.batches(sql("edges"), {}))
    with month.engine.graph_library(sql("edges"), wanted) as library:
        say(f"{month.name}: {graph.nodes:,} articles, {graph.edges:,} links, by {library.name}")
        ranks, components, labels = (
            found.toArrow().sort_by("id") for found in (library.pagerank(1e-6), library.components(), library.labels(5))
        )
    if not all(np.array_equal(table["id"].to_numpy(), ids) for table in (ranks, components, labels)):
        raise ReaderFlowError(f"{library.name} has other articles than the link graph")
    by_clicks = LinkMatrix.of_clicks(graph)
    expected = pagerank(by_clicks.unweighted(graph)).values
    difference = np.abs(ranks["value"].to_numpy() / graph.nodes - expected).max()
    links = csr_array((graph.clicks, graph.targets, graph.offsets), shape=(graph.nodes, graph.nodes))
    rows = {
        "largest difference of a rank": f"{difference:.3g}",
        "components": len(np.unique(components["value"].to_numpy())),
        "components by scipy": connected_components(links, directed=False)[0],
        "label propagation: communities": len(np.unique(labels["value"].to_numpy())),
    }
    print_rows(pa.table({"check": list(rows), "value": [str(value) for value in rows.values()]}))


if __name__ == "__main__":
    sys.exit(main())
