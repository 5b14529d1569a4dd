"""ReaderFlow's batch views written by hand for DuckDB: dump -> one DuckDB file; the ranks with scipy.

Usage: python -m benchmarks.peers.duckdb_views DUMP FOLDER
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from .power import positions, three_ranks
from .steps import CLASSES, RANKING_ROWS, RANKINGS, Steps, arguments

READ = r"""
create temp table pairs as
select referrer, article, link_type, clicks
from read_csv(
    $dump, delim = '\t', header = false, auto_detect = false, quote = '"', escape = '\', nullstr = chr(1),
    columns = {'referrer': 'varchar', 'article': 'varchar', 'link_type': 'varchar', 'clicks': 'bigint'}
)
"""
CLASS_LIST = ", ".join(f"'{name}'" for name in CLASSES)
ENTRIES = ",\n".join(
    f"coalesce(sum(clicks) filter (referrer = '{name}'), 0)::bigint as entries_{name.removeprefix('other-')}"
    for name in CLASSES
)
INCOMING = f"""
create temp table incoming as
select
    article, sum(clicks)::bigint as in_clicks, count(*) as in_pairs, {ENTRIES},
    coalesce(sum(clicks) filter (link_type = 'link' and referrer not in ({CLASS_LIST})), 0)::bigint as in_link_clicks,
    coalesce(sum(clicks) filter (link_type <> 'link' and referrer not in ({CLASS_LIST})), 0)::bigint as in_other_clicks
from pairs
group by article
"""
OUTGOING = f"""
create temp table outgoing as
select referrer as article, sum(clicks)::bigint as out_clicks, count(*) as out_pairs
from pairs
where referrer not in ({CLASS_LIST})
group by referrer
"""
SOURCES = """
create table sources as
select
    article, row_number() over (partition by article order by clicks desc, referrer, link_type) as position,
    referrer, link_type, clicks
from pairs
order by article, position
"""
DESTINATIONS = f"""
create table destinations as
select
    referrer, row_number() over (partition by referrer order by clicks desc, article, link_type) as position,
    article, link_type, clicks
from pairs
where referrer not in ({CLASS_LIST})
order by referrer, position
"""
CLASS_ROWS = f"""
create table classes as
select
    case
        when referrer in ({CLASS_LIST}) then referrer
        when link_type = 'link' then 'link'
        else 'other'
    end as class,
    sum(clicks)::bigint as clicks,
    count(*) as pairs
from pairs
group by class
"""
GRAPH = f"""
create table graph as
select referrer, article, clicks
from pairs
where link_type = 'link' and referrer not in ({CLASS_LIST})
order by referrer, article
"""
NODES = """
create temp table nodes as
select title, row_number() over (order by title) - 1 as id
from (select referrer as title from graph union select article from graph)
"""
EDGES = """
select sources.id as source, targets.id as target, clicks
from graph
join nodes as sources on graph.referrer = sources.title
join nodes as targets on graph.article = targets.title
"""
NODE_ENTRIES = """
select coalesce(in_clicks - in_link_clicks - in_other_clicks, 0) as entries
from nodes
left join incoming on nodes.title = incoming.article
order by id
"""
ARTICLES = """
create table articles as
select
    article, coalesce(in_clicks, 0) as in_clicks, coalesce(out_clicks, 0) as out_clicks,
    coalesce(in_pairs, 0) as in_pairs, coalesce(out_pairs, 0) as out_pairs,
    coalesce(entries_search, 0) as entries_search, coalesce(entries_empty, 0) as entries_empty,
    coalesce(entries_internal, 0) as entries_internal, coalesce(entries_external, 0) as entries_external,
    coalesce(entries_other, 0) as entries_other, coalesce(in_link_clicks, 0) as in_link_clicks,
    coalesce(in_other_clicks, 0) as in_other_clicks,
    pagerank, reader_rank, link_rank, pagerank_position, reader_rank_position, link_rank_position
from incoming
full join outgoing using (article)
left join (select title as article, ranks.* exclude (id) from nodes join ranks using (id)) using (article)
order by article
"""
RANKING = """
(
    select '{name}' as ranking, article, ({value})::double as value
    from articles
    where {value} > 0
    order by value desc, article
    limit {rows}
)
"""


def rankings() -> str:
    """All rankings as one table."""
    first = "union all".join(
        RANKING.format(name=name, value=value, rows=RANKING_ROWS) for name, value in RANKINGS.items()
    )
    return (
        "create table rankings as select ranking, "
        "row_number() over (partition by ranking order by value desc, article) as position, article, value "
        f"from ({first}) order by ranking, position"
    )


def main() -> None:
    dump, folder = arguments()
    steps = Steps()
    con = duckdb.connect(
        folder / "views.duckdb",
        config={"memory_limit": "6GB", "temp_directory": str(folder / "spill"), "preserve_insertion_order": False},
    )
    with steps.step("read"):
        con.execute(READ, {"dump": str(dump)})
    with steps.step("views"):
        for statement in (INCOMING, OUTGOING, SOURCES, DESTINATIONS, CLASS_ROWS, GRAPH):
            con.execute(statement)
    with steps.step("ranks"):
        con.execute(NODES)
        edges = con.execute(EDGES).fetchnumpy()
        entries = con.execute(NODE_ENTRIES).fetchnumpy()["entries"]
        ranks = three_ranks(edges["source"], edges["target"], edges["clicks"], entries)
    with steps.step("views"):
        columns = {"id": pa.array(range(len(entries)))}
        for name, values in ranks.items():
            columns |= {name: pa.array(values), f"{name}_position": pa.array(positions(values))}
        con.register("ranks", pa.table(columns))
        con.execute(ARTICLES)
        con.execute(rankings())
    con.close()
    steps.tell()


if __name__ == "__main__":
    main()
