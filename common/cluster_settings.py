"""Settings of the ``cluster`` profile: where Kafka, HDFS, Cassandra and Spark are, and how clients prove who they are.

The defaults are the addresses at which ``readerflow up`` starts them on one machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class ClusterSettings(BaseSettings):
    """The fields of the distributed engines; a part of :class:`.settings.Settings`."""

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, separated by commas.")
    kafka_topic: str = Field("clicks", description="Topic of click records; dead letters go to `<topic>.dlq`.")
    kafka_replication: int = Field(1, ge=1, description="Replicas of a new topic's partitions.")
    kafka_client: Literal["confluent", "kafka-python"] = Field(
        "confluent",
        description="Client that moves records in bulk; `kafka-python` needs no native library and is slower.",
    )
    kafka_timeout: float = Field(30.0, gt=0, description="Seconds after which Kafka counts as out of reach.")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Security protocol of the Kafka clients, Spark's included."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How Kafka clients log in."
    )
    kafka_username: str | None = Field(None, description="Kafka user.")
    kafka_password: SecretStr | None = Field(None, description="Kafka user's password.")
    kafka_ca_file: Path | None = Field(None, description="Certificates (PEM) that the brokers' are checked against.")

    hdfs_web: str = Field("http://127.0.0.1:9870", description="WebHDFS address of the NameNode (http or https).")
    hdfs_rpc: str = Field("hdfs://127.0.0.1:8020", description="Address of the file system, as Spark opens it.")
    hdfs_root: str = Field("/readerflow", description="Folder in HDFS that holds the master dataset and graphs.")
    hdfs_user: str = Field("readerflow", description="User that WebHDFS and Spark act as.")
    hdfs_token: SecretStr | None = Field(None, description="Delegation token for WebHDFS; then no user is named.")
    hdfs_ca_file: Path | None = Field(
        None, description="Certificates (PEM) that an https NameNode's is checked against."
    )
    hdfs_replication: int = Field(1, ge=1, description="Replicas of each block.")
    hdfs_timeout: float = Field(30.0, gt=0, description="Seconds after which HDFS counts as out of reach.")

    cassandra_hosts: str = Field("127.0.0.1", description="Cassandra contact points, separated by commas.")
    cassandra_port: int = Field(9042, ge=1, le=65535, description="Port of Cassandra's native protocol.")
    cassandra_keyspace: str = Field(
        "readerflow", pattern="^[a-z][a-z0-9_]{0,47}$", description="Keyspace; it is created when it is missing."
    )
    cassandra_datacenter: str = Field("datacenter1", description="Local data centre of the clients.")
    cassandra_replication: str = Field(
        "datacenter1:1", description="Replicas of a new keyspace: `centre:number`, separated by commas."
    )
    cassandra_consistency: Literal["LOCAL_ONE", "LOCAL_QUORUM", "QUORUM", "ALL"] = Field(
        "LOCAL_QUORUM", description="Replicas that a read or write waits for."
    )
    cassandra_username: str | None = Field(None, description="Cassandra user.")
    cassandra_password: SecretStr | None = Field(None, description="Cassandra user's password.")
    cassandra_ca_file: Path | None = Field(
        None, description="Certificates (PEM) that Cassandra's is checked against; switches TLS on."
    )
    cassandra_timeout: float = Field(10.0, gt=0, description="Seconds after which a Cassandra request has failed.")

    spark_master: str = Field(
        "local[*]", description="Spark master that jobs run on, for instance `spark://127.0.0.1:7077`."
    )
    spark_driver_memory: str = Field("3g", description="Heap of the Spark driver, which is everything on `local[*]`.")
    spark_executor_memory: str = Field("1g", description="Heap of each Spark executor.")
    rank_kernel_edges: int = Field(
        60_000_000, ge=0, description="Link graphs with more edges are ranked by Spark instead of on one machine."
    )
    trigger_seconds: float = Field(1.0, ge=0, description="Pause between two micro-batches of the Spark stream.")
    graphframes_jar: str | None = Field(
        None, description="Path or Maven coordinate of the GraphFrames jar; GraphX serves where it is absent."
    )

    servers_home: Path | None = Field(
        None, description="Folder of the local servers that `up` starts; `servers` in the home when not set."
    )
    servers_cache: Path | None = Field(
        None, description="Folder of downloaded jars; `readerflow` in the user's cache folder when not set."
    )
    servers_timeout: float = Field(
        90.0, gt=0, description="Seconds in which a local server must be ready after its start."
    )
    kafka_controller_port: int = Field(9093, ge=1, le=65535, description="Port of the local Kafka's controller.")
    kafka_heap: str = Field("512m", pattern="^[0-9]+[mg]$", description="Heap of the local Kafka.")
    hdfs_data_port: int = Field(9866, ge=1, le=65535, description="Port of the local DataNode's blocks.")
    hdfs_data_web_port: int = Field(9864, ge=1, le=65535, description="Port of the local DataNode's WebHDFS.")
    hdfs_data_ipc_port: int = Field(9867, ge=1, le=65535, description="Port of the local DataNode's calls.")
    hdfs_heap: str = Field("256m", pattern="^[0-9]+[mg]$", description="Heap of the local NameNode and DataNode, each.")
    cassandra_storage_port: int = Field(7000, ge=1, le=65535, description="Port between nodes of the local Cassandra.")
    cassandra_heap: str = Field("768m", pattern="^[0-9]+[mg]$", description="Heap of the local Cassandra.")
    spark_master_port: int = Field(7077, ge=1, le=65535, description="Port of the local Spark master.")
    spark_master_web_port: int = Field(8080, ge=1, le=65535, description="Port of the local Spark master's page.")
    spark_worker_port: int = Field(7078, ge=1, le=65535, description="Port of the local Spark worker.")
    spark_worker_web_port: int = Field(8081, ge=1, le=65535, description="Port of the local Spark worker's page.")
    spark_worker_cores: int = Field(2, ge=1, description="Cores that the local Spark worker gives to executors.")
    spark_worker_memory: str = Field(
        "2g", pattern="^[0-9]+[mg]$", description="Memory that the local Spark worker gives to executors."
    )
    spark_heap: str = Field(
        "256m", pattern="^[0-9]+[mg]$", description="Heap of the local Spark master and worker themselves, each."
    )
