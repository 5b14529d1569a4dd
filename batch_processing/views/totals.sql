-- Clicks before the horizon by partition and link type, as the stream counts them, so that late clicks are a difference.
select
    `partition`,
    case link_type when 'redlink' then 'other' else link_type end as link_type,
    cast(sum(clicks) as bigint) as clicks
from archived
where source = :source and event_time < :horizon
group by all
order by `partition`, link_type
