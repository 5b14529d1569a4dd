-- Every article that is read or from which readers come, with its ranks if it is in the link graph.
select
    article,
    coalesce(in_clicks, 0) as in_clicks,
    coalesce(out_clicks, 0) as out_clicks,
    coalesce(in_pairs, 0) as in_pairs,
    coalesce(out_pairs, 0) as out_pairs,
    coalesce(entries_search, 0) as entries_search,
    coalesce(entries_empty, 0) as entries_empty,
    coalesce(entries_internal, 0) as entries_internal,
    coalesce(entries_external, 0) as entries_external,
    coalesce(entries_other, 0) as entries_other,
    coalesce(in_link_clicks, 0) as in_link_clicks,
    coalesce(in_other_clicks, 0) as in_other_clicks,
    pagerank,
    reader_rank,
    link_rank,
    pagerank_position,
    reader_rank_position,
    link_rank_position
from incoming
full join outgoing using (article)
left join ranks using (article)
