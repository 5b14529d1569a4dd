"""Making and looking up a topic, with kafka-python's admin client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

from readerflow.common.settings import Settings

from .kafka_clients import check_reachable, python_common, topic_configs
from .log import LogRefused, LogUnavailable


@dataclass(frozen=True)
class Topic:
    """A topic that exists."""

    name: str
    partitions: int
    id: str  # a topic that is deleted and made anew has another


def open_topic(settings: Settings, name: str, partitions: int) -> Topic:
    """Find a topic, or make it with so many partitions.

    :raises LogUnavailable: when Kafka does not answer in time.
    :raises LogRefused: when it does not let this user make or see the topic.
    """
    with _admin(settings) as admin:
        deadline = time.monotonic() + settings.kafka_timeout
        asked = False
        while True:
            found = _find(admin, name)
            if found is not None:
                return found
            if not asked:
                _create(admin, settings, name, partitions)
                asked = True
            if time.monotonic() > deadline:
                raise LogUnavailable(
                    f"Kafka at {settings.kafka_bootstrap} does not get topic {name} ready; see its log"
                )
            time.sleep(0.02)  # the brokers tell each other


def delete_topic(settings: Settings, name: str) -> None:
    """Delete a topic with all it holds; one that does not exist is no error."""
    with _admin(settings) as admin:
        try:
            admin.delete_topics([name])
        except UnknownTopicOrPartitionError:
            return
        deadline = time.monotonic() + settings.kafka_timeout
        while _find(admin, name) is not None and time.monotonic() < deadline:
            time.sleep(0.02)


def _find(admin: Any, name: str) -> Topic | None:
    """A topic; None when it does not exist or has partitions without a leader."""
    for topic in admin.describe_topics([name]):
        if topic["name"] == name and topic["error_code"] == 0:
            parts = topic["partitions"]
            led = parts and all(part["leader_id"] >= 0 for part in parts)
            return Topic(name, len(parts), str(topic["topic_id"])) if led else None
    return None


def _create(admin: Any, settings: Settings, name: str, partitions: int) -> None:
    wanted = {
        "num_partitions": partitions,
        "replication_factor": settings.kafka_replication,
        "configs": topic_configs(),
    }
    with suppress(TopicAlreadyExistsError):  # another process was faster, or a partition has no leader at the moment
        admin.create_topics({name: wanted}, timeout_ms=round(settings.kafka_timeout * 1000))


@contextmanager
def _admin(settings: Settings) -> Iterator[Any]:
    """An admin client whose errors are known failures."""
    admin = None
    try:
        check_reachable(settings)
        admin = KafkaAdminClient(**python_common(settings))
        yield admin
    except (AuthorizationError, SaslAuthenticationFailedError) as error:
        raise LogRefused(
            f"Kafka at {settings.kafka_bootstrap} refuses the user of the settings: {error};"
            " check kafka_security, kafka_sasl_mechanism, kafka_username, kafka_password and the user's rights"
        ) from error
    except KafkaError as error:
        raise LogUnavailable(
            f"Kafka at {settings.kafka_bootstrap} did not do what it was asked: {error};"
            " see whether it runs (readerflow status), kafka_bootstrap names it and kafka_replication is not too high"
        ) from error
    finally:
        if admin is not None:
            admin.close()
