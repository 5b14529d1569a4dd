"""The tables of ``serving.db``: pointer and realtime rows in one SQLite file, so that one transaction sees both.

Hours and minutes are counted from 1970 in UTC. ``feed`` numbers an (incarnation, source), to keep rows small.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .sqlite import connect

TABLES = """
create table if not exists generations (
    generation text primary key, wiki text not null, month text not null, state text not null,
    manifest text, created text not null
);
create table if not exists pointers (
    wiki text not null, month text not null, generation text, source text, since integer not null default -1,
    primary key (wiki, month)
) without rowid;
create table if not exists incarnations (
    incarnation text primary key, batch_id integer not null, progress text not null
);
create table if not exists current_incarnation (id integer primary key check (id = 1), incarnation text not null);
create table if not exists feeds (
    feed integer primary key, incarnation text not null, source text not null, unique (incarnation, source)
);
create table if not exists live_pairs (
    feed integer not null, hour integer not null, referrer text not null, article text not null,
    link_type text not null, clicks integer not null, from_article integer not null
);
create index if not exists live_sources on live_pairs (feed, article, hour);
create index if not exists live_destinations on live_pairs (feed, referrer, hour) where from_article;
create index if not exists live_pairs_hour on live_pairs (feed, hour);
create table if not exists live_articles (
    feed integer not null, article text not null, hour integer not null,
    in_clicks integer not null, out_clicks integer not null, primary key (feed, article, hour)
) without rowid;
create index if not exists live_articles_hour on live_articles (feed, hour);
create table if not exists live_classes (
    feed integer not null, minute integer not null, class text not null, clicks integer not null,
    primary key (feed, minute, class)
) without rowid;
create table if not exists live_totals (
    feed integer not null, partition integer not null, hour integer not null, link_type text not null,
    clicks integer not null, primary key (feed, partition, hour, link_type)
) without rowid;
create table if not exists trending (
    feed integer not null, window integer not null, position integer not null, article text not null,
    clicks integer not null, expected real not null, score real not null, start integer not null, end integer not null,
    primary key (feed, window, position)
) without rowid;
"""


def open_serving(path: Path) -> sqlite3.Connection:
    """Open ``serving.db`` and make its tables where they are missing."""
    connection = connect(path)
    connection.executescript(TABLES)
    return connection
