-- Clicks of each (referrer, article, link type) before the horizon; referrer and article are title ids. kind is the row
-- of the view `classes` that a pair counts in: its referrer's class, else link or other.
select
    referrer,
    article,
    link_type,
    clicks,
    coalesce(class, case link_type when 'link' then 'link' else 'other' end) as kind
from (
    select
        referrers.id as referrer,
        articles.id as article,
        link_type,
        cast(sum(clicks) as bigint) as clicks
    from archived
    join titles as referrers on archived.referrer = referrers.title
    join titles as articles on archived.article = articles.title
    where source = :source and event_time < :horizon
    group by all
) as grouped
left join referrer_classes using (referrer)
