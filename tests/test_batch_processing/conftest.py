"""Fixtures of the batch layer's tests: a home with an archive made by hand, its views, and an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from readerflow.batch_processing.batch import run_batch
from readerflow.batch_processing.duckdb_engine import DuckDBEngine
from readerflow.common.settings import Settings
from readerflow.common.spark_session import spark_session
from readerflow.storage.batch_views import Manifest, View
from readerflow.storage.duckdb_views import DuckDBViews
from tests.test_batch_processing.segments import FolderArchive


@dataclass
class Home:
    """What a batch run works with."""

    folder: Path
    archive: FolderArchive
    views: DuckDBViews
    partitions: int = 1

    def run(self, wiki: str = "hrwiki", month: str = "2025-03", **options: Any) -> Manifest:
        with DuckDBEngine(self.folder / "tmp", memory_limit="1GB") as engine:
            return run_batch(
                wiki, month, self.archive, self.views, engine, **({"partitions": self.partitions} | options)
            )

    def rows(self, view: View, generation: str | None = None) -> list[dict[str, Any]]:
        if generation is None:
            manifest = self.views.current("hrwiki", "2025-03")
            assert manifest is not None
            generation = manifest.generation
        return [row for batch in self.views.export(generation, view) for row in batch.to_pylist()]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with ExitStack() as stack:
        views = stack.enter_context(DuckDBViews(tmp_path / "views", 3))
        yield Home(tmp_path, FolderArchive(tmp_path / "archive"), views)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Spark session that engines of these tests borrow: the first Python function of a session takes seconds."""
    from pyspark import cloudpickle

    from readerflow.batch_processing.graph_checks import graphframes_conf
    from readerflow.batch_processing.spark_engine import SPARK_CONF
    from tests.test_batch_processing import part_views, test_engine_contract

    # Executors can't import tests.
    for module in (part_views, test_engine_contract):
        cloudpickle.register_pickle_by_value(module)
    home = tmp_path_factory.mktemp("spark")
    jar = os.environ.get("READERFLOW_GRAPHFRAMES_JAR")
    settings = Settings(home=home, spark_master="local[2]", spark_driver_memory="1g", graphframes_jar=jar)
    with spark_session("tests", settings, SPARK_CONF | graphframes_conf(settings), kafka=False):
        yield
