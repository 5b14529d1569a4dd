"""Which engines run batch and stream; with :func:`readerflow.storage.open_storage`, all that the profile decides."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, cast

from readerflow.batch_processing.engine import BatchEngine
from readerflow.common.settings import Settings
from readerflow.storage import Storage
from readerflow.streaming.incarnation import StreamResult


def batch_engine(settings: Settings, storage: Storage) -> AbstractContextManager[BatchEngine]:
    """The engine of one batch run."""
    if settings.profile == "embedded":
        from readerflow.batch_processing.duckdb_engine import DuckDBEngine

        return DuckDBEngine(storage.home / "tmp", memory_limit=settings.memory_limit, threads=settings.threads)
    from readerflow.batch_processing.spark_engine import SparkEngine

    return SparkEngine(settings)


def run_stream(settings: Settings, storage: Storage, **options: Any) -> StreamResult:
    """Bring the realtime views up to the log; ``options`` are those of ``streaming.stream.stream``."""
    stores = storage.log, storage.archive, storage.batch_views
    if settings.profile == "embedded":
        from readerflow.streaming.stream import stream

        return stream(*stores, storage.realtime_views, poll_seconds=settings.poll_seconds, **options)
    from readerflow.storage.realtime_views import PartedRealtimeViews
    from readerflow.streaming.spark_stream import spark_stream

    return spark_stream(settings, *stores, cast(PartedRealtimeViews, storage.realtime_views), **options)
