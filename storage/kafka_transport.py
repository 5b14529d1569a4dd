"""What the Kafka log asks of a client: bytes out, bytes in, watermarks. One transport a client library.

A transport turns the client's errors into :class:`LogUnavailable` (try again), :class:`OffsetGone` and
:class:`LogRefused` (rights, sizes: trying again is no use).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import pyarrow as pa

from readerflow.common.settings import Settings

from .log import LogRefused, LogUnavailable, OffsetGone


@dataclass(frozen=True)
class Fetched:
    """Messages of consecutive offsets from ``start``."""

    start: int
    values: pa.Array  # binary; null where a message has none
    keys: Callable[[Sequence[int]], list[bytes | None]]  # of the messages at given places


class Transport(Protocol):
    """Moves messages of one topic. Threads may share it."""

    def send(self, partition: int, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Give messages to the client in their order; waits while too many are on their way."""

    def settle(self) -> None:
        """Return when all that was sent is durable; on failure whatever is still on its way is forgotten."""

    def watermarks(self, partition: int) -> tuple[int, int]:
        """The first offset that the partition holds, and the next one."""

    def fetch(self, partition: int, start: int, count: int) -> Fetched:
        """At least one and at most ``count`` messages from ``start``; the caller knows that they exist."""

    def close(self) -> None: ...


def open_transport(settings: Settings, topic: str) -> Transport:
    """The transport that the settings name."""
    if settings.kafka_client == "kafka-python":
        from .kafka_pure import PythonTransport

        return PythonTransport(settings, topic)
    from .kafka_confluent import ConfluentTransport

    return ConfluentTransport(settings, topic)


class Failure(Enum):
    """What an error of a client means."""

    RIGHTS = "rights"
    SIZE = "size"
    GONE = "gone"
    AWAY = "away"


def failure(settings: Settings, topic: str, kind: Failure, says: str) -> LogRefused | LogUnavailable | OffsetGone:
    """The known failure of a kind, with what the client says."""
    if kind is Failure.RIGHTS:
        return LogRefused(
            f"Kafka at {settings.kafka_bootstrap} refuses the user of the settings for topic {topic}: {says};"
            " check kafka_security, kafka_sasl_mechanism, kafka_username, kafka_password and the topic's rights"
        )
    if kind is Failure.SIZE:
        return LogRefused(
            f"topic {topic} refuses a message: {says}; raise max.message.bytes of the topic and message.max.bytes of"
            " the brokers"
        )
    if kind is Failure.GONE:
        return OffsetGone(
            f"topic {topic} no longer holds the offsets asked for: {says}; it was deleted, cut or made anew: run"
            " 'readerflow purge' and replay all months again"
        )
    return LogUnavailable(
        f"Kafka at {settings.kafka_bootstrap} did not answer within {settings.kafka_timeout:g} s: {says};"
        " see whether it runs (readerflow status) and kafka_bootstrap names it"
    )
