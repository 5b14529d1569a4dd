"""Fixtures of the stores' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from readerflow.common.settings import Settings
from readerflow.storage.cassandra_schema import BATCH_TABLES, LIVE_TABLES
from readerflow.storage.cassandra_session import Cassandra, CassandraAddress


@pytest.fixture(scope="session")
def live_cassandra(cluster: Settings) -> Iterator[Cassandra]:
    """A keyspace of the realtime and serving tests' own, dropped at their end."""
    settings = cluster.model_copy(update={"cassandra_keyspace": f"{cluster.cassandra_keyspace}_live"})
    opened = Cassandra(CassandraAddress.of(settings))
    try:
        yield opened
        opened.rows(f"drop keyspace if exists {settings.cassandra_keyspace}")
    finally:
        opened.close()


@pytest.fixture
def empty_cassandra(live_cassandra: Cassandra) -> Cassandra:
    """A keyspace without rows."""
    for table in BATCH_TABLES | LIVE_TABLES:
        live_cassandra.rows(f"truncate {{ks}}.{table}")
    return live_cassandra
