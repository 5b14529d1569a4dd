-- Clicks by minute and class of the referrer: an entry class, else the kind of link.
select
    source,
    date_trunc('minute', event_time) as minute,
    coalesce(classes.class, case when link_type = 'link' then 'link' else 'other' end) as class,
    cast(sum(clicks) as bigint) as clicks
from records
inner join kept using (source)
left join classes using (referrer)
where event_time >= kept.rows_from
group by
    source,
    date_trunc('minute', event_time),
    coalesce(classes.class, case when link_type = 'link' then 'link' else 'other' end)
order by source, minute, class
