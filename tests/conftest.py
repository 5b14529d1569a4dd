"""Fixtures that all rooms share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from readerflow.common.settings import Settings
from tests.own_servers import on_free_ports

#: Tests that run Spark, although their names do not say so.
SPARK_TESTS = (
    "test_distributed_ranks",
    "test_graph_checks",
    "test_broker_away",
    "test_servers",
    "test_running_servers",
)
HRWIKI = "clickstream/clickstream-hrwiki-2025-03.tsv.gz"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; tests that need it are skipped where READERFLOW_DATA does not name one."""
    folder = os.environ.get("READERFLOW_DATA")
    if not folder or not (Path(folder) / HRWIKI).exists():
        pytest.skip("set READERFLOW_DATA to a folder with the real dumps")
    return Path(folder)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of the ``cluster`` profile whose servers run: a keyspace, folder and topic of this session's own.

    Kafka, HDFS and Cassandra are the session's own too, on free ports, unless the variable TEST_SERVERS=running says
    to take those that ``readerflow up`` started. Spark runs in this process; ``spark_cluster`` starts servers for it.
    """
    from readerflow.common.jars import MavenMissing
    from readerflow.pipeline import servers
    from readerflow.pipeline.servers.machine import JavaMissing

    unique = f"test_{os.urandom(4).hex()}"
    home = tmp_path_factory.mktemp("cluster")
    own: dict[str, Any] = {
        "kafka_topic": unique,
        "hdfs_root": f"/{unique}",
        "cassandra_keyspace": unique,
        "spark_master": "local[2]",
        "spark_driver_memory": "2g",
    }
    if os.environ.get("TEST_SERVERS") == "running":
        yield Settings(profile="cluster", home=home, **own)
        return
    settings = on_free_ports(home, **own)
    try:
        try:
            servers.up(settings, ("kafka", "namenode", "datanode", "cassandra"))
        except (MavenMissing, JavaMissing) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield settings
    finally:
        servers.down(settings)


@pytest.fixture(scope="session")
def spark_cluster(cluster: Settings) -> Settings:
    """The settings of ``cluster`` with a Spark standalone master and worker that run in processes of their own."""
    from readerflow.pipeline import servers

    servers.up(cluster, ("spark-master", "spark-worker"))
    return cluster.model_copy(update={"spark_master": f"spark://127.0.0.1:{cluster.spark_master_port}"})


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see default settings: no variables (READERFLOW_DATA stays), no readerflow.toml."""
    for name in [name for name in os.environ if name.startswith("READERFLOW_") and name != "READERFLOW_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs servers or Spark, so that ``-m "not cluster"`` leaves it out."""
    asked = {"cluster", "spark_cluster"} & set(getattr(item, "fixturenames", ()))
    if asked or "spark" in item.nodeid or item.path.stem in SPARK_TESTS:
        item.add_marker(pytest.mark.cluster)
        if not (os.environ.get("CI") or os.environ.get("JAVA_HOME") or shutil.which("java")):
            item.add_marker(pytest.mark.skip("Java 17 is missing; 'readerflow doctor' says how to get it"))
