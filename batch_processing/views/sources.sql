-- Where the readers of each article come from, strongest first.
select article, referrer, link_type, clicks
from pairs
order by article, clicks desc, referrer, link_type
