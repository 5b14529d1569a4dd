-- The first articles by each measure; only those that have any of it.
select
    ranking,
    row_number() over (partition by ranking order by value desc, article) as position,
    article,
    value
from (
    (
        select 'empty' as ranking, article, cast(entries_empty as double) as value
        from articles
        where entries_empty > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'entries' as ranking, article, cast(in_clicks - in_link_clicks - in_other_clicks as double) as value
        from articles
        where in_clicks - in_link_clicks - in_other_clicks > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'external' as ranking, article, cast(entries_external as double) as value
        from articles
        where entries_external > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'in' as ranking, article, cast(in_clicks as double) as value
        from articles
        where in_clicks > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'internal' as ranking, article, cast(entries_internal as double) as value
        from articles
        where entries_internal > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'link_rank' as ranking, article, cast(link_rank as double) as value
        from articles
        where link_rank > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'other' as ranking, article, cast(entries_other as double) as value
        from articles
        where entries_other > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'out' as ranking, article, cast(out_clicks as double) as value
        from articles
        where out_clicks > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        -- Few clicks make ratios of chance, and a rank of 0 makes none: readers who never come in don't get there.
        select 'over_linked' as ranking, article, cast(link_rank / reader_rank as double) as value
        from articles
        where link_rank > reader_rank and reader_rank > 0 and in_link_clicks >= 100
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'pagerank' as ranking, article, cast(pagerank as double) as value
        from articles
        where pagerank > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'reader_rank' as ranking, article, cast(reader_rank as double) as value
        from articles
        where reader_rank > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'search' as ranking, article, cast(entries_search as double) as value
        from articles
        where entries_search > 0
        order by value desc, article
        limit :ranking_rows
    )
    union all
    (
        select 'under_linked' as ranking, article, cast(reader_rank / link_rank as double) as value
        from articles
        where reader_rank > link_rank and in_link_clicks >= 100
        order by value desc, article
        limit :ranking_rows
    )
)
order by ranking, position
