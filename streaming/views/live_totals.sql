-- All clicks by partition, hour and link type, late ones and those of hours without rows too.
select
    source,
    partition,
    date_trunc('hour', event_time) as hour,
    link_type,
    cast(sum(clicks) as bigint) as clicks
from records
group by source, partition, date_trunc('hour', event_time), link_type
order by source, partition, hour, link_type
