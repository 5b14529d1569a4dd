"""The job of ``spark-submit batch_processing/pagerank.py``."""

from __future__ import annotations

import pyarrow as pa

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import load

from .batch import RankRule, compute_ranks, count_edges, distributed_ranks, entries_by_title, rank_columns
from .graph import link_graph
from .spark_jobs import MonthTables, arguments, month_tables, print_rows, say
from .views import sql


def run(given: list[str] | None, description: str | None) -> int:
    """Parse the arguments, rank, print; return the exit status."""
    parser = arguments(description)
    parser.add_argument("--iterations", type=int, metavar="N", help="exactly N; until the ranks converge by default")
    options = parser.parse_args(given)
    try:
        settings = load()
        rule = RankRule(settings.damping, settings.rank_tolerance, options.iterations, settings.rank_kernel_edges)
        with month_tables(settings, options) as month:
            ranks = month.titled(ranked(month, rule))
            if options.output:
                month.engine.save_table(ranks, options.output)
    except ReaderFlowError as error:
        say(f"error: {error}")
        return 1
    print_rows(pa.concat_tables(first(ranks, name, options.top) for name in ("pagerank", "reader_rank", "link_rank")))
    return 0


def ranked(month: MonthTables, rule: RankRule) -> pa.Table:
    """The ranks of a month's link graph: article (title id), and of each rank its values and positions."""
    entries = entries_by_title(month.engine)
    if rule.distributed(month.engine, count_edges(month.engine)):
        ranks, ids = distributed_ranks(month.engine, entries, rule)
    else:
        graph, ids = link_graph(month.engine.titles(), month.engine.batches(sql("edges"), {}))
        ranks = compute_ranks(graph, entries[ids], rule)
    for name, rank in ranks.items():
        say(f"{name}: {rank.facts.iterations} iterations, residual {rank.facts.residual:.3g}")
    return rank_columns(ranks, ids)


def first(ranks: pa.Table, name: str, rows: int) -> pa.Table:
    """The first articles by a rank: ranking, position, article, value."""
    best = ranks.sort_by(f"{name}_position").slice(0, rows)
    return pa.table(
        {
            "ranking": pa.repeat(name, len(best)),
            "position": best[f"{name}_position"],
            "article": best["article"],
            "value": best[name],
        }
    )
