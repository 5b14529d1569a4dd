"""The tables of a keyspace, made by code: queries first, a constant number of tables, no partition without a bound.

Pointer, active source and generations of a (wiki, month) are one partition, so that one compare-and-set changes them
together. All batch views are *pages*: packed rows of contiguous keys, in *buckets* (partitions) of contiguous pages;
see :mod:`.cassandra_pages` and docs/adr/0010.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from readerflow.common.errors import ReaderFlowError

if TYPE_CHECKING:
    from cassandra.cluster import Session

VERSION = 1
DDL_SECONDS = 60.0

#: Rows of a dead generation go as whole partitions; a day is long enough for a repair to spread the news.
_IMMUTABLE = "gc_grace_seconds = 86400 and compaction = {'class': 'UnifiedCompactionStrategy'}"

#: Name -> columns and key, and options after ``with``.
BATCH_TABLES = {
    # One row a (wiki, month), all in one partition: a few thousand at most.
    "months": ("catalogue text, wiki text, month text, primary key (catalogue, wiki, month)", ""),
    "generations": (
        "wiki text, month text, generation text, "
        "current text static, source text static, since bigint static, version bigint static, "
        "state text, number bigint, manifest text, holder text, changed timestamp, "
        "primary key ((wiki, month), generation)",
        "",
    ),
    "generation_months": ("generation text primary key, wiki text, month text", ""),
    "leases": (
        "generation text, lease text, kind text, primary key (generation, lease)",
        "gc_grace_seconds = 3600",
    ),
    "bounds": (
        "generation text, of_view text, key text, position int, primary key ((generation, of_view), key, position)",
        _IMMUTABLE,
    ),
    "pages": (
        "generation text, of_view text, bucket text, bucket_position int, key text, position int, page blob, "
        "primary key ((generation, of_view, bucket, bucket_position), key, position)",
        # The page that holds a key is the first one at or before it.
        "clustering order by (key desc, position desc) and " + _IMMUTABLE,
    ),
}
#: Rows of days and incarnations go as whole partitions, those of a fold as ranges.
_FOLDED = "gc_grace_seconds = 86400 and compaction = {'class': 'UnifiedCompactionStrategy'}"
_STORED = "id bigint, part int, chunk int, chunks int, since bigint, body blob"

#: Tables of the realtime views; the packed ones hold the stored rows of :mod:`.cassandra_live_rows`.
LIVE_TABLES: dict[str, tuple[str, str]] = {
    # All incarnations in one partition, so that one compare-and-set sees the current one too. ``write`` is the last
    # one that was committed, ``writes`` the last one that was begun.
    "incarnations": (
        "stream text, incarnation text, current text static, places int static, place int, batch_id bigint, "
        "write bigint, writes bigint, aborted frozen<list<bigint>>, progress text, revision int, retired timestamp, "
        "gone timestamp, primary key (stream, incarnation)",
        "",
    ),
    "live_days": ("incarnation text, source text, day int, primary key (incarnation, source, day)", ""),
    "live_pairs": (
        f"incarnation text, source text, day int, bucket int, title text, side int, hour int, {_STORED}, "
        "primary key ((incarnation, source, day, bucket), title, side, hour, id, part, chunk)",
        _FOLDED,
    ),
    "live_articles": (
        f"incarnation text, source text, hour int, shard int, {_STORED}, "
        "primary key ((incarnation, source, hour, shard), id, part, chunk)",
        _FOLDED,
    ),
    "live_classes": (
        f"incarnation text, source text, day int, {_STORED}, primary key ((incarnation, source, day), id, part, chunk)",
        _FOLDED,
    ),
    "live_totals": (f"incarnation text, {_STORED}, primary key (incarnation, id, part, chunk)", _FOLDED),
    "live_trends": (
        "incarnation text, source text, id bigint, body blob, primary key ((incarnation, source), id)",
        "clustering order by (id desc) and " + _FOLDED,
    ),
}


class OtherTables(ReaderFlowError):
    """The keyspace holds the tables of another version."""


def ensure_schema(session: Session, keyspace: str, replication: str) -> None:
    """Create keyspace and tables where they are missing.

    :raises OtherTables: when another version of ReaderFlow made them.
    """
    found = session.execute(
        "select table_name from system_schema.tables where keyspace_name = %s", (keyspace,), timeout=DDL_SECONDS
    )
    tables = {row[0] for row in found}
    if not tables:
        session.execute(_keyspace(keyspace, replication), timeout=DDL_SECONDS)
    version = f"{keyspace}.schema_version"
    if "schema_version" not in tables:
        session.execute(f"create table if not exists {version} (id int primary key, version int)", timeout=DDL_SECONDS)
    row = session.execute(f"select version from {version} where id = 1").one()  # noqa: S608, our own name
    if row is not None and row[0] != VERSION:
        raise OtherTables(
            f"keyspace {keyspace} holds tables of schema version {row[0]}, this ReaderFlow has {VERSION}; "
            "set another cassandra_keyspace, or 'readerflow purge' and 'rebuild'"
        )
    for name, (columns, options) in (BATCH_TABLES | LIVE_TABLES).items():
        if name not in tables:
            ddl = f"create table if not exists {keyspace}.{name} ({columns})"
            session.execute(ddl + (f" with {options}" if options else ""), timeout=DDL_SECONDS)
    if row is None:
        session.execute(f"insert into {version} (id, version) values (1, {VERSION})")  # noqa: S608, our own name


def _keyspace(keyspace: str, replication: str) -> str:
    centres = [part.strip().partition(":") for part in replication.split(",")]
    replicas = ", ".join(f"'{name}': {int(number)}" for name, _, number in centres)
    return (
        f"create keyspace if not exists {keyspace} "
        f"with replication = {{'class': 'NetworkTopologyStrategy', {replicas}}}"
    )
