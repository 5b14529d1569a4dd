"""What the stream works on in the cluster profile: a topic and a keyspace of its own, and Spark."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from readerflow.common.settings import Settings
from readerflow.kafka.archiver import archive
from readerflow.storage.cassandra_realtime import CassandraRealtime
from readerflow.storage.cassandra_session import Cassandra, CassandraAddress
from readerflow.storage.fence import fence
from readerflow.storage.kafka_log import KafkaLog
from readerflow.storage.local_archive import LocalArchive
from readerflow.storage.realtime_views import PartedRealtimeViews, StreamProgress
from readerflow.storage.sqlite_log import SQLiteLog
from readerflow.streaming.incarnation import StreamResult
from readerflow.streaming.spark_stream import spark_stream
from tests.realtime_rows import CassandraRows, Rows
from tests.streaming_home import Generations


@dataclass
class SparkHome:
    settings: Settings
    log: KafkaLog
    archive: LocalArchive
    dead_letters: SQLiteLog
    cassandra: Cassandra
    realtime: PartedRealtimeViews
    generations: Any = field(default_factory=Generations)

    def append(self, partition: int, entries: pa.Table) -> None:
        self.log.append(partition, entries)
        self.log.flush()

    def archive_all(self, segment_rows: int = 1000) -> None:
        archive(self.log, self.archive, self.dead_letters, segment_rows=segment_rows)

    def stream(self, **options: Any) -> StreamResult:
        return spark_stream(self.settings, self.log, self.archive, self.generations, self.realtime, **options)

    def rows(self, source: str) -> Rows:
        return CassandraRows(self.cassandra).live(source)

    def progress(self) -> StreamProgress:
        """Of the incarnation that readers take."""
        current = self.realtime.current()
        assert current is not None
        found = self.realtime.progress(current)
        assert found is not None
        return found

    def records(self) -> list[dict[str, Any]]:
        """All records of the log without duplicates, with their partitions."""
        found = []
        for partition in range(self.log.partitions):
            piece = self.log.read(partition, 0, 10**9)
            found += [row | {"partition": partition} for row in fence(piece, {}).records.to_pylist()]
        return found


def own_settings(cluster: Settings, home: Path, partitions: int = 2) -> Settings:
    """A topic, keyspace and HDFS folder that nobody else uses."""
    unique = f"stream_{os.urandom(4).hex()}"
    return cluster.model_copy(
        update={
            "home": home,
            "kafka_topic": unique,
            "cassandra_keyspace": unique,
            "hdfs_root": f"{cluster.hdfs_root}/{unique}",
            "partitions": partitions,
            "poll_seconds": 0.1,
            "trigger_seconds": 0.1,
        }
    )


@contextmanager
def open_spark_home(settings: Settings) -> Iterator[SparkHome]:
    with ExitStack() as stack:
        cassandra = stack.enter_context(closing(Cassandra(CassandraAddress.of(settings))))
        yield SparkHome(
            settings,
            stack.enter_context(KafkaLog(settings, settings.kafka_topic, settings.partitions)),
            stack.enter_context(LocalArchive(settings.home / "archive")),
            stack.enter_context(SQLiteLog(settings.home / "letters.db", "clicks.dlq", 1)),
            cassandra,
            stack.enter_context(CassandraRealtime(cassandra)),
        )


def drop(settings: Settings) -> None:
    """Leave nothing behind in Kafka and Cassandra; HDFS is dropped by whoever made its root."""
    from confluent_kafka.admin import AdminClient

    with closing(Cassandra(CassandraAddress.of(settings))) as cassandra:
        cassandra.rows(f"drop keyspace if exists {settings.cassandra_keyspace}")
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    for done in admin.delete_topics([settings.kafka_topic]).values():
        done.result(30)


def to_text(settings: Settings) -> str:
    """Settings for another process."""
    return json.dumps(
        {name: value for name, value in json.loads(settings.model_dump_json()).items() if value is not None}
    )
