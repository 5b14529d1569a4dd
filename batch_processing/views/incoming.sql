-- Clicks into each article, by where its readers come from.
select
    article,
    cast(sum(clicks) as bigint) as in_clicks,
    count(*) as in_pairs,
    cast(coalesce(sum(clicks) filter (where kind = 'other-search'), 0) as bigint) as entries_search,
    cast(coalesce(sum(clicks) filter (where kind = 'other-empty'), 0) as bigint) as entries_empty,
    cast(coalesce(sum(clicks) filter (where kind = 'other-internal'), 0) as bigint) as entries_internal,
    cast(coalesce(sum(clicks) filter (where kind = 'other-external'), 0) as bigint) as entries_external,
    cast(coalesce(sum(clicks) filter (where kind = 'other-other'), 0) as bigint) as entries_other,
    cast(coalesce(sum(clicks) filter (where kind = 'link'), 0) as bigint) as in_link_clicks,
    cast(coalesce(sum(clicks) filter (where kind = 'other'), 0) as bigint) as in_other_clicks
from pairs
group by all
