"""The servers: their names, ports, heaps and folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import Settings


class NotLocal(ReaderFlowError):
    """A setting names a server elsewhere, or one with a security that local servers do not have."""


@dataclass(frozen=True)
class Server:
    """One server. ``templates`` is its folder below ``infra/servers``, ``jars`` its group or None for pyspark's."""

    title: str
    templates: str
    jars: str | None
    main_class: str
    heap: str  # the setting


#: In the order in which they start.
SERVERS = {
    "kafka": Server("Kafka", "kafka", "kafka", "kafka.Kafka", "kafka_heap"),
    "namenode": Server("HDFS NameNode", "hdfs", "hdfs", "org.apache.hadoop.hdfs.server.namenode.NameNode", "hdfs_heap"),
    "datanode": Server("HDFS DataNode", "hdfs", "hdfs", "org.apache.hadoop.hdfs.server.datanode.DataNode", "hdfs_heap"),
    "cassandra": Server(
        "Cassandra", "cassandra", "cassandra", "org.apache.cassandra.service.CassandraDaemon", "cassandra_heap"
    ),
    "spark-master": Server("Spark master", "spark", None, "org.apache.spark.deploy.master.Master", "spark_heap"),
    "spark-worker": Server("Spark worker", "spark", None, "org.apache.spark.deploy.worker.Worker", "spark_heap"),
}
ALIASES = {"hdfs": ("namenode", "datanode"), "spark": ("spark-master", "spark-worker")}


@dataclass(frozen=True)
class Port:
    """A port that a server listens on, and the setting that changes it."""

    number: int
    setting: str


def servers_home(settings: Settings) -> Path:
    """The folder of all servers' configuration, data and logs."""
    return (settings.servers_home or settings.home / "servers").absolute()


def folder(settings: Settings, name: str) -> Path:
    """The folder of one server."""
    return servers_home(settings) / name


def log_file(settings: Settings, name: str) -> Path:
    """Where a server's output goes."""
    return folder(settings, name) / f"{name}.log"


def ports_of(settings: Settings, name: str) -> list[Port]:
    """The ports that a server listens on.

    :raises NotLocal: when its address is not one of this machine, or asks for TLS or a login.
    """
    if name == "kafka":
        if settings.kafka_security != "PLAINTEXT":
            raise NotLocal(_without_security("kafka_security", settings.kafka_security))
        return [
            Port(_local_port(f"//{settings.kafka_bootstrap}", "kafka_bootstrap"), "kafka_bootstrap"),
            Port(settings.kafka_controller_port, "kafka_controller_port"),
        ]
    if name == "namenode":
        if not settings.hdfs_web.startswith("http://"):
            raise NotLocal(_without_security("hdfs_web", settings.hdfs_web))
        return [
            Port(_local_port(settings.hdfs_rpc, "hdfs_rpc"), "hdfs_rpc"),
            Port(_local_port(settings.hdfs_web, "hdfs_web"), "hdfs_web"),
        ]
    if name == "cassandra":
        if settings.cassandra_ca_file is not None:
            raise NotLocal(_without_security("cassandra_ca_file", str(settings.cassandra_ca_file)))
        _local_port(f"//{settings.cassandra_hosts}:{settings.cassandra_port}", "cassandra_hosts")
    fields = {
        "datanode": ("hdfs_data_port", "hdfs_data_web_port", "hdfs_data_ipc_port"),
        "cassandra": ("cassandra_port", "cassandra_storage_port"),
        "spark-master": ("spark_master_port", "spark_master_web_port"),
        "spark-worker": ("spark_worker_port", "spark_worker_web_port"),
    }[name]
    return [Port(getattr(settings, field), field) for field in fields]


def _local_port(url: str, setting: str) -> int:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    local = host in ("localhost", "127.0.0.1")
    if not local or not port:
        raise NotLocal(
            f"{setting} is {url.removeprefix('//')}: 'up' starts servers on 127.0.0.1 only; "
            f"set {setting} to an address there, with its port, or leave the servers to who runs them"
        )
    return port


def _without_security(setting: str, value: str) -> str:
    return f"{setting} is {value}: local servers have neither TLS nor logins; 'up' needs that setting at its default"
