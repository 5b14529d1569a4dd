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
