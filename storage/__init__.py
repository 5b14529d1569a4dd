"""The ports (event log, master dataset, views) and their adapters.

:func:`open_storage` is the one place that reads the profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from readerflow.common.records import MAX_RAW_BYTES
from readerflow.common.settings import Settings

from .archive import Archive
from .batch_views import BatchViews
from .log import EventLog
from .pairs import PairStore
from .realtime_views import RealtimeViews
from .replays import ReplayStore
from .serving_views import ServingViews

#: A dead letter is JSON that holds key and value in base64 and the source in escapes; one that is cut can't be read.
MAX_LETTER_BYTES = 12 * MAX_RAW_BYTES


@dataclass(frozen=True)
class Storage:
    """The opened ports. Adapters connect on first use."""

    home: Path
    pairs: PairStore
    replays: ReplayStore
    log: EventLog
    archive: Archive
    dead_letters: EventLog
    batch_views: BatchViews
    realtime_views: RealtimeViews
    serving_views: ServingViews

    def lease_path(self, work: str) -> Path:
        """Where the lease of a kind of work lies, for instance of the archiver."""
        return self.home / "leases" / f"{work}.lock"


@contextmanager
def open_storage(settings: Settings) -> Iterator[Storage]:
    """Open the stores of the profile; they are closed with the block."""
    with ExitStack() as stack:
        yield _PROFILES[settings.profile](settings, settings.home.absolute(), stack)


def _embedded(settings: Settings, home: Path, stack: ExitStack) -> Storage:
    from .duckdb_views import DuckDBViews
    from .embedded_serving import EmbeddedServing
    from .local_archive import LocalArchive
    from .sqlite_log import SQLiteLog
    from .sqlite_realtime import SQLiteRealtime

    batch_views = stack.enter_context(DuckDBViews(home / "views", settings.kept_generations))
    realtime_views = stack.enter_context(SQLiteRealtime(home / "serving.db"))
    return Storage(
        home=home,
        pairs=PairStore(home / "pairs"),
        replays=ReplayStore(home / "replays"),
        log=stack.enter_context(SQLiteLog(home / "log.db", "clicks", settings.partitions)),
        archive=stack.enter_context(LocalArchive(home / "archive")),
        dead_letters=stack.enter_context(SQLiteLog(home / "log.db", "clicks.dlq", 1, raw_bytes=MAX_LETTER_BYTES)),
        batch_views=batch_views,
        realtime_views=realtime_views,
        serving_views=stack.enter_context(EmbeddedServing(home / "serving.db", home / "views")),
    )


def _cluster(settings: Settings, home: Path, stack: ExitStack) -> Storage:
    from .cassandra_batch import CassandraBatchViews
    from .cassandra_realtime import CassandraRealtime
    from .cassandra_serving import CassandraServing
    from .cassandra_session import Cassandra, CassandraAddress
    from .hdfs_archive import HdfsArchive
    from .hdfs_files import HdfsFiles
    from .hdfs_generation_files import HdfsGenerationFiles
    from .kafka_log import KafkaLog

    local = home / "cluster"
    hdfs = stack.enter_context(HdfsFiles(settings))
    cassandra = stack.enter_context(closing(Cassandra(CassandraAddress.of(settings))))
    generations = HdfsGenerationFiles(hdfs, local / "generations")
    batch_views = stack.enter_context(
        CassandraBatchViews(cassandra, generations, home / "leases", settings.kept_generations)
    )
    letters = KafkaLog(settings, f"{settings.kafka_topic}.dlq", 1, raw_bytes=MAX_LETTER_BYTES)
    return Storage(
        home=home,
        pairs=PairStore(home / "pairs"),
        replays=ReplayStore(local / "replays"),
        log=stack.enter_context(
            KafkaLog(settings, settings.kafka_topic, settings.partitions, memory=local / "log-sources.json")
        ),
        archive=stack.enter_context(HdfsArchive(hdfs, local / "archive-index.db")),
        dead_letters=stack.enter_context(letters),
        batch_views=batch_views,
        realtime_views=stack.enter_context(CassandraRealtime(cassandra)),
        serving_views=stack.enter_context(CassandraServing(cassandra, generations, batch_views, local / "comparisons")),
    )


_PROFILES: dict[str, Callable[[Settings, Path, ExitStack], Storage]] = {"embedded": _embedded, "cluster": _cluster}
