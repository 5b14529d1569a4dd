-- Clicks into and out of each article by hour. Only referrers that are articles have clicks out.
select
    source,
    hour,
    article,
    cast(sum(in_clicks) as bigint) as in_clicks,
    cast(sum(out_clicks) as bigint) as out_clicks
from (
    select source, hour, article, clicks as in_clicks, 0 as out_clicks
    from live_pairs
    union all
    select source, hour, referrer as article, 0 as in_clicks, clicks as out_clicks
    from live_pairs
    where referrer not in (select referrer from classes)
) as sides
group by source, hour, article
order by hour, article
