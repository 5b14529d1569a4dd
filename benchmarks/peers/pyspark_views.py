"""ReaderFlow's batch views written by hand for Spark DataFrames: dump -> Parquet; the ranks with scipy on the driver.

Usage: python -m benchmarks.peers.pyspark_views DUMP FOLDER
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from .power import positions, three_ranks
from .steps import CLASSES, RANKING_ROWS, RANKINGS, Steps, arguments

SCHEMA = "referrer string, article string, link_type string, clicks bigint"


def from_class() -> Column:
    return F.col("referrer").isin(*CLASSES)


def is_link() -> Column:
    return F.col("link_type") == "link"


def session(folder: Path) -> SparkSession:
    """A local Spark with two cores and the memory that the other contestants may use."""
    builder = SparkSession.builder.master("local[2]").appName("peer")
    for name, value in {
        "spark.driver.memory": "6g",
        "spark.driver.maxResultSize": "0",
        "spark.sql.shuffle.partitions": "16",
        "spark.local.dir": str(folder / "spill"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def read(spark: SparkSession, dump: Path, folder: Path) -> DataFrame:
    """All pairs of the dump; gzip can't be split, so they are kept as Parquet for the passes to come."""
    options = {"sep": "\t", "quote": '"', "escape": "\\", "nullValue": "\x01"}
    spark.read.csv(str(dump), schema=SCHEMA, **options).repartition(16).write.parquet(str(folder / "pairs"))
    return spark.read.parquet(str(folder / "pairs"))


def ranked(rows: DataFrame, key: str, other: str) -> DataFrame:
    """Rows by key, strongest first, with their position."""
    window = Window.partitionBy(key).orderBy(F.desc("clicks"), other, "link_type")
    return rows.select(key, F.row_number().over(window).cast("bigint").alias("position"), other, "link_type", "clicks")


def clicks_where(condition: Column) -> Column:
    return F.coalesce(F.sum(F.when(condition, F.col("clicks"))), F.lit(0))


def incoming(pairs: DataFrame) -> DataFrame:
    """Clicks into each article by where readers come from."""
    return pairs.groupBy("article").agg(
        F.sum("clicks").alias("in_clicks"),
        F.count("*").alias("in_pairs"),
        *(clicks_where(F.col("referrer") == name).alias(f"entries_{name.removeprefix('other-')}") for name in CLASSES),
        clicks_where(is_link() & ~from_class()).alias("in_link_clicks"),
        clicks_where(~is_link() & ~from_class()).alias("in_other_clicks"),
    )


def outgoing(pairs: DataFrame) -> DataFrame:
    """Clicks out of each article."""
    return (
        pairs.where(~from_class())
        .groupBy(F.col("referrer").alias("article"))
        .agg(F.sum("clicks").alias("out_clicks"), F.count("*").alias("out_pairs"))
    )


def classes(pairs: DataFrame) -> DataFrame:
    """Clicks and pairs by class of referrer."""
    name = F.when(from_class(), F.col("referrer")).when(is_link(), "link").otherwise("other")
    return pairs.groupBy(name.alias("class")).agg(F.sum("clicks").alias("clicks"), F.count("*").alias("pairs"))


def ranks(spark: SparkSession, graph: DataFrame, entering: DataFrame) -> DataFrame:
    """The three ranks and positions of each article of the graph."""
    titles = graph.select("referrer").union(graph.select("article")).distinct().withColumnRenamed("referrer", "article")
    nodes = titles.join(entering, "article", "left").orderBy("article").toArrow()
    nodes = nodes.append_column("id", pa.array(range(len(nodes)), pa.int32()))
    ids = spark.createDataFrame(nodes.select(["article", "id"]))
    edges = (
        graph.join(ids.withColumnsRenamed({"article": "referrer", "id": "source"}), "referrer")
        .join(ids.withColumnRenamed("id", "target"), "article")
        .select("source", "target", "clicks")
        .toArrow()
    )
    entries = pc.fill_null(nodes["entries"], 0).to_numpy()
    source, target, clicks = (edges[name].to_numpy() for name in ("source", "target", "clicks"))
    values = three_ranks(source, target, clicks, entries)
    columns = {"article": nodes["article"]}
    columns |= {name: pa.array(rank) for name, rank in values.items()}
    columns |= {f"{name}_position": pa.array(positions(rank)) for name, rank in values.items()}
    return spark.createDataFrame(pa.table(columns))


def articles(coming: DataFrame, going: DataFrame, rank: DataFrame) -> DataFrame:
    """One row an article."""
    counts = coming.join(going, "article", "full").fillna(0)
    names = ["article", "in_clicks", "out_clicks", "in_pairs", "out_pairs"]
    rest = [name for name in counts.columns if name not in names]
    return counts.select(*names, *rest).join(rank, "article", "left").orderBy("article")


def rankings(rows: DataFrame) -> DataFrame:
    """The first articles by each measure."""
    parts = [
        rows.select(F.lit(name).alias("ranking"), "article", F.expr(value).cast("double").alias("value"))
        .where("value > 0")
        .orderBy(F.desc("value"), "article")
        .limit(RANKING_ROWS)
        for name, value in RANKINGS.items()
    ]
    window = Window.partitionBy("ranking").orderBy(F.desc("value"), "article")
    position = F.row_number().over(window).cast("bigint").alias("position")
    return reduce(DataFrame.union, parts).select("ranking", position, "article", "value").orderBy("ranking", "position")


def main() -> None:
    dump, folder = arguments()
    steps = Steps()

    def stored(rows: DataFrame, name: str) -> DataFrame:
        rows.write.parquet(str(folder / name))
        return spark.read.parquet(str(folder / name))

    with steps.step("start"):
        spark = session(folder)
    with steps.step("read"):
        pairs = read(spark, dump, folder)
    with steps.step("views"):
        stored(ranked(pairs, "article", "referrer").orderBy("article", "position"), "sources")
        stored(
            ranked(pairs.where(~from_class()), "referrer", "article").orderBy("referrer", "position"), "destinations"
        )
        stored(classes(pairs), "classes")
        links = pairs.where(is_link() & ~from_class()).select("referrer", "article", "clicks")
        graph = stored(links.orderBy("referrer", "article"), "graph")
        coming, going = stored(incoming(pairs), "incoming"), stored(outgoing(pairs), "outgoing")
    with steps.step("ranks"):
        entries = F.expr("in_clicks - in_link_clicks - in_other_clicks").alias("entries")
        rank = ranks(spark, graph, coming.select("article", entries))
    with steps.step("views"):
        rows = stored(articles(coming, going, rank), "articles")
        stored(rankings(rows), "rankings")
    spark.stop()
    steps.tell()


if __name__ == "__main__":
    main()
