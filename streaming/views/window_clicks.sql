-- Clicks into an article in each window, and live clicks that count for or against what came before it.
-- A piece is the clicks of the hours [begins, ends). The batch view holds [.., horizon): what it holds of the window
-- is taken out of it again; live hours [live_from, window's begin) are added to it.
select
    hours,
    article,
    clicks,
    live_before
from (
    select
        windows.hours,
        pieces.article,
        cast(sum(case when pieces.begins >= windows.begins then pieces.clicks else 0 end) as bigint) as clicks,
        cast(sum(case
            when pieces.begins >= windows.begins and pieces.ends <= windows.horizon then -pieces.clicks
            when pieces.ends <= windows.begins and pieces.begins >= windows.live_from then pieces.clicks
            else 0
        end) as bigint) as live_before
    from pieces cross join windows
    group by windows.hours, pieces.article
) as counted
where clicks >= (select min_clicks from rule)
