"""What only the Kafka log can show: its topics, its messages, its clients' settings, and what it remembers."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from readerflow.common.records import ENTRIES, RECORDS, REJECTS, partition_of
from readerflow.common.settings import Settings
from readerflow.storage import kafka_clients, kafka_sources
from readerflow.storage.kafka_clients import BadKafkaSettings
from readerflow.storage.kafka_sources import Seen, active_source
from readerflow.storage.log import ActiveSource, LogRefused, LogSlice, LogUnavailable, OffsetGone
from readerflow.storage.packing import split
from tests.log_entries import MONTH, SOURCE, WIKI, entries, heartbeat, record, replacement

CLIENTS = ["confluent", "kafka-python"]


# The settings reach every client --------------------------------------------------------------------------------------

SECURE = Settings(
    kafka_bootstrap="one:9093,two:9093",
    kafka_security="SASL_SSL",
    kafka_sasl_mechanism="SCRAM-SHA-256",
    kafka_username="flow",
    kafka_password='pass"word\\',  # noqa: S106
    kafka_ca_file=Path("/ca.pem"),
    kafka_timeout=7,
)


@pytest.mark.parametrize("options", [kafka_clients.confluent_producer, kafka_clients.confluent_consumer])
def test_confluent_clients_log_in_and_check_certificates(options: Callable[[Settings], dict[str, object]]) -> None:
    assert (
        options(SECURE).items()
        >= {
            "bootstrap.servers": "one:9093,two:9093",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": "flow",
            "sasl.password": 'pass"word\\',
            "ssl.ca.location": "/ca.pem",
        }.items()
    )


@pytest.mark.parametrize(
    "options", [kafka_clients.python_common, kafka_clients.python_producer, kafka_clients.python_consumer]
)
def test_kafka_python_clients_log_in_and_check_certificates(options: Callable[[Settings], dict[str, object]]) -> None:
    found = options(SECURE)
    assert found["bootstrap_servers"] == ["one:9093", "two:9093"]
    wanted = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "flow",
        "sasl_plain_password": 'pass"word\\',
        "ssl_cafile": "/ca.pem",
    }
    assert {name: found[name] for name in wanted} == wanted


def test_spark_logs_in_and_checks_certificates() -> None:
    found = kafka_clients.spark_options(SECURE)
    assert all(name.startswith("kafka.") for name in found)
    assert found["kafka.sasl.jaas.config"] == (
        'org.apache.kafka.common.security.scram.ScramLoginModule required username="flow" password="pass\\"word\\\\";'
    )
    assert found["kafka.ssl.truststore.type"] == "PEM"
    assert found["kafka.ssl.truststore.location"] == "/ca.pem"
    assert found["kafka.security.protocol"] == "SASL_SSL"


def test_plain_connections_name_neither_user_nor_certificates() -> None:
    for options in (
        kafka_clients.confluent_common(Settings()),
        kafka_clients.python_common(Settings()),
        kafka_clients.spark_options(Settings()),
    ):
        assert not [name for name in options if "sasl" in name or "ssl" in name]


def test_a_login_without_a_password_is_refused() -> None:
    settings = Settings(kafka_security="SASL_PLAINTEXT", kafka_username="flow")
    for options in (kafka_clients.confluent_common, kafka_clients.python_common, kafka_clients.spark_options):
        with pytest.raises(BadKafkaSettings, match="kafka_password"):
            options(settings)


# A broker that is away ------------------------------------------------------------------------------------------------


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_log_that_can_not_be_opened_is_unavailable(nobody: str) -> None:
    from readerflow.storage.kafka_log import KafkaLog

    with (
        KafkaLog(Settings(kafka_bootstrap=nobody, kafka_timeout=0.5), "clicks", 1) as log,
        pytest.raises(LogUnavailable, match=nobody),
    ):
        log.end_offset(0)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_verb_of_a_client_whose_broker_is_away_says_so_in_time(nobody: str, client: str) -> None:
    from readerflow.storage.kafka_transport import open_transport

    settings = Settings(kafka_bootstrap=nobody, kafka_timeout=0.5, kafka_client=client)
    transport = open_transport(settings, "clicks")
    try:
        with pytest.raises(LogUnavailable, match=nobody):
            transport.watermarks(0)
        with pytest.raises(LogUnavailable, match=nobody):
            transport.fetch(0, 0, 1)
        for _ in range(2):  # a producer that has failed is followed by a new one
            with pytest.raises(LogUnavailable, match=nobody):
                transport.send(0, [b"k"], [b"v"])
                transport.settle()
        transport.settle()
    finally:
        transport.close()


class Unknowing:
    """A client that believes a topic unknown, or one that knows it."""

    def __init__(self, offsets: tuple[int, int] | None) -> None:
        self.offsets = offsets

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        from confluent_kafka import KafkaError, KafkaException

        if self.offsets is None:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return self.offsets

    def poll(self, _: float) -> None: ...

    def close(self) -> None: ...


def test_a_topic_that_a_restarted_broker_does_not_know_yet_is_asked_for_by_another_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from readerflow.storage import kafka_confluent

    monkeypatch.setattr(kafka_confluent, "FORGET_SECONDS", 0.01)
    transport = kafka_confluent.ConfluentTransport(Settings(kafka_timeout=0.1), "clicks")
    clients = iter([Unknowing(None), Unknowing((3, 7))])
    monkeypatch.setattr(transport, "_consumer", lambda: next(clients))
    assert transport.watermarks(0) == (3, 7)
    assert transport.watermarks(0) == (3, 7)
    transport.close()
    monkeypatch.setattr(transport, "_consumer", lambda: Unknowing(None))
    with pytest.raises(LogUnavailable, match="Unknown partition"):
        transport.watermarks(0)


# What the log remembers of sources ------------------------------------------------------------------------------------


class Partition:
    """A partition in memory that counts how much of it is read."""

    def __init__(self) -> None:
        self.entries = ENTRIES.empty_table()
        self.read_entries = 0

    def append(self, *rows: dict[str, object]) -> None:
        self.entries = pa.concat_tables([self.entries, entries(*rows)])

    @property
    def end(self) -> int:
        return int(self.entries.num_rows)

    def read(self, start: int, limit: int) -> LogSlice:
        piece = self.entries.slice(start, limit)
        self.read_entries += piece.num_rows
        found = split(piece, start)
        return LogSlice(found.records.cast(RECORDS), found.controls, REJECTS.empty_table(), start + piece.num_rows)

    def last_seq(self, seen: Seen, source: str) -> int | None:
        return seen.last_seq(source, self.read, 0, self.end)


def test_a_source_at_the_end_is_found_without_reading_the_partition() -> None:
    partition, seen = Partition(), Seen()
    partition.append(*(record(seq) for seq in range(20_000)))
    assert partition.last_seq(seen, SOURCE) == 19_999
    assert partition.read_entries == kafka_sources.TAILS[0]


def test_a_source_that_the_log_lacks_is_looked_for_once() -> None:
    partition, seen = Partition(), Seen()
    partition.append(*(record(seq) for seq in range(20_000)))
    assert partition.last_seq(seen, "other") is None
    before = partition.read_entries
    assert partition.last_seq(seen, "other") is None
    assert partition.last_seq(seen, SOURCE) == 19_999
    assert partition.read_entries == before
    partition.append(record(20_000), heartbeat(3, source="other"))
    assert partition.last_seq(seen, "other") == 3
    assert partition.last_seq(seen, SOURCE) == 20_000
    assert partition.read_entries <= before + 4


def test_stale_seqs_at_the_end_do_not_lower_what_was_known() -> None:
    partition, seen = Partition(), Seen()
    partition.append(*(record(seq) for seq in range(100)))
    assert partition.last_seq(seen, "other") is None
    partition.append(*(record(seq) for seq in range(10)))
    assert partition.last_seq(seen, SOURCE) == 99


def test_a_log_that_begins_late_is_read_from_there() -> None:
    partition, seen = Partition(), Seen()
    partition.append(*(record(seq) for seq in range(50)))
    seen.read_on(partition.read, 20, partition.end)
    assert partition.read_entries == 30
    assert seen.firsts[WIKI, MONTH] == (20, SOURCE)


def test_the_first_source_is_that_of_the_lowest_offset_over_all_partitions() -> None:
    partitions = [Partition(), Partition()]
    partitions[0].append(record(1, month="2024-01"), record(1, source="b"))
    partitions[1].append(record(1, source="a"), replacement("c"))
    seen = [Seen(), Seen()]
    for partition, of in zip(partitions, seen, strict=True):
        of.read_on(partition.read, 0, partition.end)
    assert active_source(seen, (WIKI, MONTH)) == ActiveSource("a", -1)  # a replacement counts in partition 0 only
    partitions[0].append(replacement("b"))
    seen[0].read_on(partitions[0].read, 0, partitions[0].end)
    assert active_source(seen, (WIKI, MONTH)) == ActiveSource("b", 2)
    assert active_source(seen, (WIKI, "2020-01")) is None


# Against a broker -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=CLIENTS)
def settings(request: pytest.FixtureRequest, cluster: Settings) -> Iterator[Settings]:
    from readerflow.storage.kafka_topic import delete_topic

    topic = f"{cluster.kafka_topic}.{os.urandom(4).hex()}"
    found = cluster.model_copy(update={"kafka_client": request.param, "kafka_topic": topic})
    yield found
    delete_topic(found, topic)


@pytest.mark.cluster
def test_nothing_of_a_new_topic_expires_and_large_messages_fit(settings: Settings) -> None:
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    from readerflow.storage.kafka_log import KafkaLog

    with KafkaLog(settings, settings.kafka_topic, 2) as log:
        assert log.partitions == 2
    admin = KafkaAdminClient(**kafka_clients.python_common(settings))
    try:
        found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, settings.kafka_topic)])
    finally:
        admin.close()
    text = json.dumps(found, default=str)
    for name, value in kafka_clients.topic_configs().items():
        assert name in text and value in text


@pytest.mark.cluster
def test_a_record_is_one_json_message_with_its_article_as_key_in_the_partition_asked_for(settings: Settings) -> None:
    from readerflow.storage.kafka_log import KafkaLog
    from readerflow.storage.kafka_transport import open_transport

    assert partition_of("Čvor", 3) != 1
    with KafkaLog(settings, settings.kafka_topic, 3) as log:
        log.append(1, entries(record(7, article="Čvor"), heartbeat(8)))
        log.flush()
    transport = open_transport(settings, settings.kafka_topic)
    try:
        found = transport.fetch(1, 0, 2)
    finally:
        transport.close()
    first, second = zip(found.keys([0, 1]), map(json.loads, found.values.to_pylist()), strict=True)
    assert first[0] == "Čvor".encode()
    assert (first[1]["article"], first[1]["seq"], first[1]["event_time"]) == ("Čvor", 7, "2025-02-01T00:00Z")
    assert (second[0], second[1]["control"]) == (None, "heartbeat")


@pytest.mark.cluster
def test_offsets_that_were_deleted_are_gone(settings: Settings) -> None:
    from kafka import KafkaAdminClient, TopicPartition

    from readerflow.storage.kafka_log import KafkaLog

    with KafkaLog(settings, settings.kafka_topic, 1) as log:
        log.append(0, entries(*(record(seq) for seq in range(10))))
        log.flush()
        admin = KafkaAdminClient(**kafka_clients.python_common(settings))
        try:
            admin.delete_records({TopicPartition(settings.kafka_topic, 0): 4})
        finally:
            admin.close()
        for start, limit in ((0, 100), (3, 1)):
            with pytest.raises(OffsetGone, match=r"partition 0|no longer holds"):
                log.read(0, start, limit)
        assert log.read(0, 4, 100).records["seq"].to_pylist() == list(range(4, 10))
        assert log.last_seq(0, SOURCE) == 9


@pytest.mark.cluster
def test_a_topic_that_was_made_anew_is_noticed(settings: Settings) -> None:
    from readerflow.storage.kafka_log import KafkaLog
    from readerflow.storage.kafka_topic import delete_topic

    with KafkaLog(settings, settings.kafka_topic, 1) as log:
        log.append(0, entries(record(1), record(2)))
        log.flush()
        assert log.end_offset(0) == 2
        delete_topic(settings, settings.kafka_topic)
        with KafkaLog(settings, settings.kafka_topic, 1) as anew:
            assert anew.end_offset(0) == 0
        with pytest.raises(OffsetGone, match="purge"):
            log.end_offset(0)


@pytest.mark.cluster
def test_a_message_that_is_too_large_is_refused_and_the_log_goes_on(settings: Settings) -> None:
    from readerflow.storage.kafka_log import KafkaLog

    with KafkaLog(settings, settings.kafka_topic, 1) as log:
        log.append_raw(0, [(None, b"x" * (kafka_clients.MAX_MESSAGE_BYTES + 1))])
        with pytest.raises(LogRefused, match=r"max\.message\.bytes"):
            log.flush()
        log.append_raw(0, [(None, b"y" * (3 << 20)), (b"k", b"z")])
        log.flush()
        found = log.read(0, 0, 10).rejects
        assert [value[:1] for value in found["value"].to_pylist()] == [b"y", b"z"]
        assert found["key"].to_pylist() == [None, b"k"]


@pytest.mark.cluster
def test_a_message_without_a_value_is_a_reject(settings: Settings) -> None:
    from kafka import KafkaProducer

    from readerflow.storage.kafka_log import KafkaLog

    with KafkaLog(settings, settings.kafka_topic, 1) as log:
        assert log.partitions == 1
        producer = KafkaProducer(**kafka_clients.python_producer(settings))
        producer.send(settings.kafka_topic, value=None, key=b"k", partition=0)
        producer.close()
        found = log.read(0, 0, 10).rejects.to_pylist()
        assert [(row["key"], row["value"], row["error_class"]) for row in found] == [(b"k", b"", "not_json")]


@pytest.mark.cluster
def test_a_client_that_lacks_the_compression_of_the_log_says_what_to_install(
    cluster: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kafka import codec

    from readerflow.storage.kafka_log import KafkaLog

    writing = settings.model_copy(update={"kafka_client": "confluent"})
    reading = settings.model_copy(update={"kafka_client": "kafka-python"})
    with KafkaLog(writing, settings.kafka_topic, 1) as log:
        log.append(0, entries(*(record(seq) for seq in range(100))))
        log.flush()
    monkeypatch.setattr(codec, "has_lz4", lambda: False)
    with KafkaLog(reading, settings.kafka_topic, 1) as log, pytest.raises(LogRefused, match="pip install lz4"):
        log.read(0, 0, 100)


@pytest.mark.cluster
def test_what_was_learnt_of_sources_is_remembered_for_this_very_topic(cluster: Settings, tmp_path: Path) -> None:
    from readerflow.storage.kafka_log import KafkaLog
    from readerflow.storage.kafka_topic import delete_topic

    name, memory = f"{cluster.kafka_topic}-memory-{os.urandom(3).hex()}", tmp_path / "sources.json"
    with KafkaLog(cluster, name, 2, memory=memory) as log:
        log.append(1, entries(record(0), record(1)))
        log.flush()
        assert log.active_source(WIKI, MONTH) == ActiveSource(SOURCE)
    with KafkaLog(cluster, name, 2, memory=memory) as log:
        assert log.partitions == 2
        assert [seen.stop for seen in log._seen] == [-1, 2]
        assert log.active_source(WIKI, MONTH) == ActiveSource(SOURCE)
    delete_topic(cluster, name)
    with KafkaLog(cluster, name, 2, memory=memory) as log:
        assert log.active_source(WIKI, MONTH) is None
    delete_topic(cluster, name)
