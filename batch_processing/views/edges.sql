-- The link graph: clicks of type link between articles.
select referrer, article, clicks
from pairs
where kind = 'link'
