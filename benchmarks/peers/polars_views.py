"""ReaderFlow's batch views written by hand for Polars: dump -> one Parquet file a view; the ranks with scipy.

Usage: python -m benchmarks.peers.polars_views DUMP FOLDER
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from .power import positions, three_ranks
from .steps import CLASSES, RANKING_ROWS, RANKINGS, Steps, arguments

SCHEMA = {"referrer": pl.String, "article": pl.String, "link_type": pl.String, "clicks": pl.Int64}
from_class = pl.col("referrer").is_in(CLASSES)
is_link = pl.col("link_type") == "link"


def unquoted(name: str) -> pl.Expr:
    """A field as it was before the dump's writer quoted it; Polars knows no backslash escapes."""
    field = pl.col(name)
    inner = field.str.strip_prefix('"').str.strip_suffix('"').str.replace_all('\\"', '"', literal=True)
    return pl.when(field.str.starts_with('"')).then(inner).otherwise(field).alias(name)


def read(dump: Path) -> pl.DataFrame:
    """All pairs of the dump."""
    lines = pl.scan_csv(dump, separator="\t", has_header=False, quote_char=None, schema=SCHEMA)
    return lines.with_columns(unquoted("referrer"), unquoted("article")).collect()


def ranked(rows: pl.LazyFrame, key: str, other: str) -> pl.LazyFrame:
    """Rows by key, strongest first, with their position: their distance from the key's first row."""
    ordered = rows.sort(key, "clicks", other, "link_type", descending=[False, True, False, False])
    row = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    begins = (pl.col(key) != pl.col(key).shift(1)).fill_null(True)
    position = (row - pl.when(begins).then(row).forward_fill() + 1).alias("position")
    return ordered.select(key, position, other, "link_type", "clicks")


def clicks_where(condition: pl.Expr, name: str) -> pl.Expr:
    return pl.col("clicks").filter(condition).sum().alias(name)


def incoming(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Clicks into each article by where readers come from."""
    return pairs.group_by("article").agg(
        pl.col("clicks").sum().alias("in_clicks"),
        pl.len().cast(pl.Int64).alias("in_pairs"),
        *(clicks_where(pl.col("referrer") == name, f"entries_{name.removeprefix('other-')}") for name in CLASSES),
        clicks_where(is_link & ~from_class, "in_link_clicks"),
        clicks_where(~is_link & ~from_class, "in_other_clicks"),
    )


def outgoing(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Clicks out of each article."""
    return (
        pairs.filter(~from_class)
        .group_by(pl.col("referrer").alias("article"))
        .agg(pl.col("clicks").sum().alias("out_clicks"), pl.len().cast(pl.Int64).alias("out_pairs"))
    )


def classes(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Clicks and pairs by class of referrer."""
    name = pl.when(from_class).then(pl.col("referrer")).when(is_link).then(pl.lit("link")).otherwise(pl.lit("other"))
    return pairs.group_by(name.alias("class")).agg(pl.col("clicks").sum(), pl.len().cast(pl.Int64).alias("pairs"))


def ranks(graph: pl.DataFrame, entering: pl.DataFrame) -> pl.DataFrame:
    """The three ranks and positions of each article of the graph."""
    titles = pl.concat([graph["referrer"], graph["article"].rename("referrer")]).unique().sort()
    nodes = titles.to_frame("article").with_row_index("id")
    edges = (
        graph.lazy()
        .join(nodes.lazy().rename({"article": "referrer", "id": "source"}), on="referrer")
        .join(nodes.lazy().rename({"id": "target"}), on="article")
        .select("source", "target", "clicks")
        .collect()
    )
    entries = nodes.join(entering, on="article", how="left", maintain_order="left")["entries"].fill_null(0)
    source, target, clicks = (edges[name].to_numpy() for name in ("source", "target", "clicks"))
    values = three_ranks(source, target, clicks, np.asarray(entries))
    found = [pl.Series(name, rank) for name, rank in values.items()]
    places = [pl.Series(f"{name}_position", positions(rank)) for name, rank in values.items()]
    return nodes.drop("id").with_columns(*found, *places)


def articles(coming: pl.DataFrame, going: pl.DataFrame, rank: pl.DataFrame) -> pl.DataFrame:
    """One row an article."""
    counts = coming.join(going, on="article", how="full", coalesce=True).with_columns(
        pl.selectors.numeric().fill_null(0)
    )
    names = ["article", "in_clicks", "out_clicks", "in_pairs", "out_pairs"]
    rest = [name for name in counts.columns if name not in names]
    return counts.select(*names, *rest).join(rank, on="article", how="left").sort("article")


def rankings(rows: pl.DataFrame) -> pl.DataFrame:
    """The first articles by each measure."""
    parts = []
    for name, value in sorted(RANKINGS.items()):
        first = (
            rows.lazy()
            .select("article", pl.sql_expr(value).cast(pl.Float64).alias("value"))
            .filter(pl.col("value") > 0)
            .sort("value", "article", descending=[True, False])
            .head(RANKING_ROWS)
            .with_columns(
                pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("position"), pl.lit(name).alias("ranking")
            )
        )
        parts.append(first.select("ranking", "position", "article", "value"))
    return pl.concat(parts).collect()


def main() -> None:
    dump, folder = arguments()
    steps = Steps()
    with steps.step("read"):
        pairs = read(dump)
    with steps.step("views"):
        ranked(pairs.lazy(), "article", "referrer").sink_parquet(folder / "sources.parquet")
        ranked(pairs.lazy().filter(~from_class), "referrer", "article").sink_parquet(folder / "destinations.parquet")
        classes(pairs.lazy()).sink_parquet(folder / "classes.parquet")
        coming, going = pl.collect_all([incoming(pairs.lazy()), outgoing(pairs.lazy())])
        links = pairs.lazy().filter(is_link & ~from_class).select("referrer", "article", "clicks")
        graph = links.sort("referrer", "article").collect()
        del pairs
        graph.write_parquet(folder / "graph.parquet")
    with steps.step("ranks"):
        entries = pl.col("in_clicks") - pl.col("in_link_clicks") - pl.col("in_other_clicks")
        rank = ranks(graph, coming.select("article", entries.alias("entries")))
    with steps.step("views"):
        rows = articles(coming, going, rank)
        rows.write_parquet(folder / "articles.parquet")
        rankings(rows).write_parquet(folder / "rankings.parquet")
    steps.tell()


if __name__ == "__main__":
    main()
