-- Clicks out of each article.
select
    referrer as article,
    cast(sum(clicks) as bigint) as out_clicks,
    count(*) as out_pairs
from pairs
where kind in ('link', 'other')
group by all
