"""Fixtures of the batch layer's tests: a home with an archive made by hand, its views, and an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from readerflow.batch_processing.batch import run_batch
from readerflow.batch_processing.duckdb_engine import DuckDBEngine
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
