-- Every title and class of referrers once, numbered in byte order from 0: ids compare as titles do, and cost less.
select
    cast(row_number() over (order by title) - 1 as integer) as id,
    title
from (
    select article as title from archived where source = :source and event_time < :horizon
    union
    select referrer as title from archived where source = :source and event_time < :horizon
)
