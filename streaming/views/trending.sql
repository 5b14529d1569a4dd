-- The score of each article with enough clicks in a window, the highest first. The formula stands in trends.py.
select
    hours,
    position,
    article,
    clicks,
    expected,
    score
from (
    select
        hours,
        row_number() over (partition by hours order by score desc, article) as position,
        article,
        clicks,
        expected,
        score
    from (
        select
            hours,
            article,
            clicks,
            expected,
            (clicks - expected)
            / sqrt((expected + spread * spread * expected * expected) * (1 + ratio) + floor_variance) as score
        from (
            select
                window_clicks.hours,
                window_clicks.article,
                window_clicks.clicks,
                windows.window_weight / windows.before_weight as ratio,
                greatest(coalesce(batch_clicks.in_clicks, 0) + window_clicks.live_before, 0)
                * (windows.window_weight / windows.before_weight) as expected
            from window_clicks
            inner join windows using (hours)
            left join batch_clicks using (article)
        ) as compared cross join rule
    ) as scored
    where score > 0
) as ranked
where position <= (select kept from rule)
order by hours, position
