"""The tables of ``serving.db``: pointer and realtime rows in one SQLite file, so that one transaction sees both.

Days, hours and minutes are counted from 1970 in UTC. ``feed`` numbers an (incarnation, source), to keep rows small.
``live_pairs`` lies in the order of articles within a day, for pages: so a micro-batch, which brings hundreds of
thousands of new keys, touches the pages of its own days and costs the same however long the month is. ``live_days``
lists the days that a feed has, for look-ups by ``day in (...)``. ``live_articles`` lies in the order of hours, for
trend windows.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

from readerflow.common.months import HOUR

from .sqlite import connect, make_tables

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
    feed integer not null, day integer not null, article text not null, hour integer not null, referrer text not null,
    link_type text not null, clicks integer not null, from_article integer not null,
    primary key (feed, day, article, hour, referrer, link_type)
) without rowid;
create index if not exists live_destinations on live_pairs (feed, day, referrer, hour) where from_article;
create table if not exists live_days (
    feed integer not null, day integer not null, primary key (feed, day)
) without rowid;
create table if not exists live_articles (
    feed integer not null, hour integer not null, article text not null,
    in_clicks integer not null, out_clicks integer not null, primary key (feed, hour, article)
) without rowid;
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


_EPOCH = datetime(1970, 1, 1)


def hour_number(time: datetime) -> int:
    """The number of the hour that a time lies in."""
    return (time - _EPOCH) // HOUR


def hour_time(number: int) -> datetime:
    """The beginning of an hour."""
    return _EPOCH + timedelta(hours=number)


def open_serving(path: Path) -> sqlite3.Connection:
    """Open ``serving.db``, which is made where it is missing.

    :raises OtherTables: when another version of ReaderFlow made it.
    """
    connection = connect(path)
    make_tables(connection, path, TABLES)
    return connection
