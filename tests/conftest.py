"""Fixtures that all rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from readerflow.common.settings import Settings

HRWIKI = "clickstream/clickstream-hrwiki-2025-03.tsv.gz"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; tests that need it are skipped where READERFLOW_DATA does not name one."""
    folder = os.environ.get("READERFLOW_DATA")
    if not folder or not (Path(folder) / HRWIKI).exists():
        pytest.skip("set READERFLOW_DATA to a folder with the real dumps")
    return Path(folder)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of the ``cluster`` profile whose servers run: a keyspace, folder and topic of this session's own."""
    unique = f"test_{os.urandom(4).hex()}"
    return Settings(
        profile="cluster",
        home=tmp_path_factory.mktemp("cluster"),
        kafka_topic=unique,
        hdfs_root=f"/{unique}",
        cassandra_keyspace=unique,
        spark_master="local[2]",
        spark_driver_memory="2g",
    )


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see default settings: no variables (READERFLOW_DATA stays), no readerflow.toml."""
    for name in [name for name in os.environ if name.startswith("READERFLOW_") and name != "READERFLOW_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
