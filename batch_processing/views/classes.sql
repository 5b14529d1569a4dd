-- Clicks and pairs by class of referrer; those of articles by link type. A class without clicks has its row, too.
select
    class_rows.class as class,
    coalesce(clicks, 0) as clicks,
    coalesce(pairs, 0) as pairs
from class_rows
left join (
    select kind, cast(sum(clicks) as bigint) as clicks, count(*) as pairs
    from pairs
    group by all
) as counted on class_rows.class = counted.kind
order by class_rows.position
