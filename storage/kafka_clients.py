"""How every Kafka client of ReaderFlow is configured: addresses, time-outs, login and TLS, from the settings."""

from __future__ import annotations

import socket
import time
from typing import Any

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import Settings

from .log import LogUnavailable

#: Messages up to this size are taken; a dead letter holds 64 KiB of raw bytes in base64 and more in escapes.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
#: Bytes that wait for the broker at most.
BUFFER_BYTES = 256 * 1024 * 1024
#: Bytes that a consumer fetches ahead of its reader.
AHEAD_KBYTES = 32 * 1024


class BadKafkaSettings(ReaderFlowError):
    """The settings of the login to Kafka contradict each other."""


def confluent_common(settings: Settings) -> dict[str, Any]:
    """Options of confluent-kafka that producers and consumers share."""
    options: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": "readerflow",
        "security.protocol": settings.kafka_security,
        "socket.timeout.ms": _socket_milliseconds(settings),
        "socket.connection.setup.timeout.ms": max(1000, min(10_000, _milliseconds(settings))),
        "socket.keepalive.enable": True,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.fast.interval.ms": 100,
        "message.max.bytes": MAX_MESSAGE_BYTES,
    }
    if _logs_in(settings):
        username, password = _login(settings)
        options |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": username,
            "sasl.password": password,
        }
    if settings.kafka_ca_file is not None:
        options["ssl.ca.location"] = str(settings.kafka_ca_file)
    return options


def confluent_producer(settings: Settings) -> dict[str, Any]:
    """Options of the idempotent producer: all replicas confirm, in order, once."""
    return confluent_common(settings) | {
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        "linger.ms": 20,
        "batch.size": 1_000_000,
        "batch.num.messages": 100_000,
        "queue.buffering.max.messages": 2_000_000,
        "queue.buffering.max.kbytes": BUFFER_BYTES // 1024,
        "message.timeout.ms": _milliseconds(settings),
        "retry.backoff.ms": 100,
        "retry.backoff.max.ms": 1000,
        "delivery.report.only.error": True,
    }


def confluent_consumer(settings: Settings) -> dict[str, Any]:
    """Options of a consumer that is told its offsets: no group, no commit, no resetting to another place."""
    return confluent_common(settings) | {
        "group.id": "readerflow",  # the client demands one; nothing joins or commits
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        "isolation.level": "read_uncommitted",
        "fetch.queue.backoff.ms": 10,  # with the default a consumer sleeps a second whenever its queue is full
        "fetch.error.backoff.ms": 100,
        "fetch.wait.max.ms": 100,  # a reader that jumps waits for the last fetch to return
        "queued.min.messages": 200_000,
        "queued.max.messages.kbytes": AHEAD_KBYTES,
        "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
    }


def python_common(settings: Settings) -> dict[str, Any]:
    """Options of kafka-python that admin, producer and consumer share."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.kafka_bootstrap.split(",")],
        "client_id": "readerflow",
        "security_protocol": settings.kafka_security,
        "request_timeout_ms": _socket_milliseconds(settings),
        "bootstrap_timeout_ms": _milliseconds(settings),
        "reconnect_backoff_max_ms": 1000,
    }
    if _logs_in(settings):
        username, password = _login(settings)
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": username,
            "sasl_plain_password": password,
        }
    if settings.kafka_ca_file is not None:
        options["ssl_cafile"] = str(settings.kafka_ca_file)
    return options


def python_producer(settings: Settings) -> dict[str, Any]:
    """Options of kafka-python's idempotent producer."""
    return python_common(settings) | {
        "enable_idempotence": True,
        "acks": "all",
        "linger_ms": 20,
        "batch_size": 128 * 1024,
        "max_request_size": MAX_MESSAGE_BYTES,
        "max_block_ms": _milliseconds(settings),
        "request_timeout_ms": min(_milliseconds(settings) // 2, 30_000),  # the time-out of a delivery holds a retry
        "delivery_timeout_ms": _milliseconds(settings),
        "allow_auto_create_topics": False,
    }


def python_consumer(settings: Settings) -> dict[str, Any]:
    """Options of kafka-python's consumer, as :func:`confluent_consumer`."""
    return python_common(settings) | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        "max_partition_fetch_bytes": MAX_MESSAGE_BYTES,
        "fetch_max_wait_ms": 100,
    }


def check_reachable(settings: Settings) -> None:
    """Return when a broker of the settings takes a connection.

    kafka-python's clients leave sockets open when they are made while no broker can be reached.

    :raises LogUnavailable: when none does in time.
    """
    deadline = time.monotonic() + settings.kafka_timeout
    while True:
        for server in settings.kafka_bootstrap.split(","):
            host, _, port = server.strip().rpartition(":")
            try:
                with socket.create_connection((host.strip("[]"), int(port)), timeout=settings.kafka_timeout):
                    return
            except OSError as error:
                says = str(error)
            except ValueError:
                raise BadKafkaSettings(f"kafka_bootstrap holds '{server}'; write host:port") from None
        if time.monotonic() > deadline:
            raise LogUnavailable(
                f"Kafka at {settings.kafka_bootstrap} did not answer within {settings.kafka_timeout:g} s: {says};"
                " see whether it runs (readerflow status) and kafka_bootstrap names it"
            )
        time.sleep(0.1)


def spark_options(settings: Settings) -> dict[str, str]:
    """Options ``kafka.*`` of Spark's Kafka source and sink; the same login and certificates, for its Java client."""
    options = {
        "kafka.bootstrap.servers": settings.kafka_bootstrap,
        "kafka.security.protocol": settings.kafka_security,
        "kafka.request.timeout.ms": str(_milliseconds(settings)),
        "kafka.default.api.timeout.ms": str(_milliseconds(settings)),
        "kafka.max.partition.fetch.bytes": str(MAX_MESSAGE_BYTES),
    }
    if _logs_in(settings):
        username, password = _login(settings)
        module = "plain.PlainLoginModule" if settings.kafka_sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
        options |= {
            "kafka.sasl.mechanism": settings.kafka_sasl_mechanism,
            "kafka.sasl.jaas.config": f"org.apache.kafka.common.security.{module} required"
            f" username={_quoted(username)} password={_quoted(password)};",
        }
    if settings.kafka_ca_file is not None:
        options |= {
            "kafka.ssl.truststore.type": "PEM",
            "kafka.ssl.truststore.location": str(settings.kafka_ca_file),
        }
    return options


def topic_configs() -> dict[str, str]:
    """How a new topic is configured: nothing expires, since a month of 2015 must not go on arrival."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }


def _milliseconds(settings: Settings) -> int:
    return max(1, round(settings.kafka_timeout * 1000))


def _socket_milliseconds(settings: Settings) -> int:
    """A request that a stopped broker swallowed must be given up before the whole time-out is over."""
    return max(1000, min(60_000, _milliseconds(settings)))


def _logs_in(settings: Settings) -> bool:
    return settings.kafka_security.startswith("SASL")


def _login(settings: Settings) -> tuple[str, str]:
    if settings.kafka_username is None or settings.kafka_password is None:
        raise BadKafkaSettings(
            f"kafka_security is {settings.kafka_security}: set kafka_username and kafka_password"
            " (READERFLOW_KAFKA_USERNAME, READERFLOW_KAFKA_PASSWORD)"
        )
    return settings.kafka_username, settings.kafka_password.get_secret_value()


def _quoted(text: str) -> str:
    """A quoted value of a JAAS configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
