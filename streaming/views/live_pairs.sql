-- Clicks by hour and pair, of the hours whose rows are kept. Sorted as the view store keeps them.
select
    source,
    date_trunc('hour', event_time) as hour,
    referrer,
    article,
    link_type,
    cast(sum(clicks) as bigint) as clicks
from records inner join kept using (source)
where event_time >= kept.rows_from
group by source, date_trunc('hour', event_time), referrer, article, link_type
order by date_trunc('day', hour), article, hour
