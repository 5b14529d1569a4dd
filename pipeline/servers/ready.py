"""Whether a server really answers, not only listens."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from readerflow.common.settings import Settings

from .catalogue import ports_of

PROBE_SECONDS = 5.0


def answers(settings: Settings, name: str) -> bool:
    """Ask a server something that only a ready one can answer."""
    return _listens(ports_of(settings, name)[0].number) and _PROBES[name](settings)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(PROBE_SECONDS)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _kafka(settings: Settings) -> bool:
    """The broker is registered and not fenced."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    milliseconds = int(PROBE_SECONDS * 1000)
    with _silent("kafka"):
        try:
            client = KafkaAdminClient(
                bootstrap_servers=f"127.0.0.1:{ports_of(settings, 'kafka')[0].number}",
                request_timeout_ms=milliseconds,
                bootstrap_timeout_ms=milliseconds,
            )
            with closing(client):
                return any(not broker.get("is_fenced") for broker in client.describe_cluster()["brokers"])
        except (KafkaError, OSError):
            return False


def _namenode(settings: Settings) -> bool:
    """The NameNode has loaded its image; it leaves safe mode when a DataNode reports."""
    return bool(_name_system(settings))


def _datanode(settings: Settings) -> bool:
    """HDFS is out of safe mode, and this DataNode (not one from before a crash) serves its block pool."""
    system = _name_system(settings)
    if system.get("FSState") != "Operational" or not system.get("NumLiveDataNodes"):
        return False
    node = _bean(settings.hdfs_data_web_port, "Hadoop:service=DataNode,name=DataNodeInfo")
    actors = json.loads(node.get("BPServiceActorInfo") or "[]")
    return any(actor["ActorState"] == "RUNNING" and actor["BlockPoolID"] != "null" for actor in actors)


def _cassandra(settings: Settings) -> bool:
    from cassandra import DriverException
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.policies import RoundRobinPolicy

    with _silent("cassandra"):
        cluster = Cluster(
            ["127.0.0.1"],
            port=settings.cassandra_port,
            connect_timeout=PROBE_SECONDS,
            execution_profiles={EXEC_PROFILE_DEFAULT: ExecutionProfile(RoundRobinPolicy())},
            protocol_version=5,
        )
        try:
            return cluster.connect().execute("SELECT release_version FROM system.local").one() is not None
        except (NoHostAvailable, DriverException, OSError):
            return False
        finally:
            cluster.shutdown()


def _spark_master(settings: Settings) -> bool:
    return _json(settings.spark_master_web_port, "/json/").get("status") == "ALIVE"


def _spark_worker(settings: Settings) -> bool:
    """The master knows this worker (by its port) and counts it as alive."""
    workers = _json(settings.spark_master_web_port, "/json/").get("workers", [])
    return any(worker["port"] == settings.spark_worker_port and worker["state"] == "ALIVE" for worker in workers)


def _name_system(settings: Settings) -> dict[str, Any]:
    return _bean(ports_of(settings, "namenode")[1].number, "Hadoop:service=NameNode,name=FSNamesystemState")


def _bean(port: int, name: str) -> dict[str, Any]:
    beans = _json(port, f"/jmx?qry={name}").get("beans", [])
    return beans[0] if beans else {}


def _json(port: int, path: str) -> dict[str, Any]:
    import requests

    try:
        answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=PROBE_SECONDS)
        return dict(answer.json()) if answer.ok else {}
    except (requests.RequestException, ValueError):
        return {}


@contextmanager
def _silent(client: str) -> Iterator[None]:
    """Keep a client's log lines back: a server that is not there yet is no news."""
    logger = logging.getLogger(client)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


_PROBES: dict[str, Callable[[Settings], bool]] = {
    "kafka": _kafka,
    "namenode": _namenode,
    "datanode": _datanode,
    "cassandra": _cassandra,
    "spark-master": _spark_master,
    "spark-worker": _spark_worker,
}
