-- Where the readers of each article go, strongest first. Classes of referrers are no articles.
select referrer, article, link_type, clicks
from pairs
where kind in ('link', 'other')
order by referrer, clicks desc, article, link_type
