-- The referrers that are classes: title id, class. Others are articles.
select titles.id as referrer, classes_of.class as class
from titles
join classes_of on titles.title = classes_of.referrer
