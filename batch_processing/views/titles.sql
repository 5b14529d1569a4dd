-- Every title and class of referrers once. The engine numbers them in byte order from 0 (`id`): ids compare as titles do,
-- and cost less.
select article as title from archived where source = :source and event_time < :horizon
union
select referrer as title from archived where source = :source and event_time < :horizon
