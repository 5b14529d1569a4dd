"""The transport of the Kafka log without a native library: kafka-python, at a fifth of the rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    MessageSizeTooLargeError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailedError,
    UnsupportedCodecError,
)

from readerflow.common.settings import Settings

from .kafka_clients import check_reachable, python_consumer, python_producer
from .kafka_transport import Failure, Fetched, failure
from .log import LogRefused, OffsetGone

#: Messages that are on their way at most.
QUEUE_MESSAGES = 50_000
#: Messages that are taken from the consumer at once.
FETCH_MESSAGES = 20_000


class PythonTransport:
    """kafka-python. Its clients are not for several threads, so one thread uses each at a time."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._producer: Any = None
        self._sent: list[Any] = []
        self._consumer: Any = None
        self._place: tuple[int, int] | None = None  # partition and offset at which the consumer stands
        self._reading = threading.Lock()

    def send(self, partition: int, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        with self._sending():
            for key, value in zip(keys, values, strict=True):
                self._sent.append(self._producer.send(self._topic, value=value, key=key, partition=partition))
                if len(self._sent) >= QUEUE_MESSAGES:
                    self._wait()

    def settle(self) -> None:
        if self._producer is not None:
            with self._sending():
                self._wait()

    def _wait(self) -> None:
        """Return when all that was sent is durable."""
        self._producer.flush(self._settings.kafka_timeout)
        sent, self._sent = self._sent, []
        for future in sent:
            future.get(self._settings.kafka_timeout)

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """Translate errors; after one the producer is forgotten with all that it holds."""
        with self._translated():
            try:
                if self._producer is None:
                    check_reachable(self._settings)
                    self._producer = KafkaProducer(**python_producer(self._settings))
                yield
            except BaseException:
                producer, self._producer, self._sent = self._producer, None, []
                if producer is not None:
                    _drop(producer)
                raise

    def watermarks(self, partition: int) -> tuple[int, int]:
        at = TopicPartition(self._topic, partition)
        with self._reading, self._translated():
            consumer = self._open_consumer()
            return int(consumer.beginning_offsets([at])[at]), int(consumer.end_offsets([at])[at])

    def fetch(self, partition: int, start: int, count: int) -> Fetched:
        at = TopicPartition(self._topic, partition)
        with self._reading, self._translated():
            consumer = self._open_consumer()
            if self._place != (partition, start):
                self._place = None
                consumer.assign([at])
                consumer.seek(at, start)
            deadline = time.monotonic() + self._settings.kafka_timeout
            found: list[Any] = []
            while not found:
                found = consumer.poll(timeout_ms=500, max_records=min(count, FETCH_MESSAGES)).get(at, [])
                if not found and time.monotonic() > deadline:
                    raise failure(self._settings, self._topic, Failure.AWAY, "no answer to a fetch")
            if found[0].offset != start or found[-1].offset != start + len(found) - 1:
                self._place = None
                raise OffsetGone(
                    f"topic {self._topic}, partition {partition}: offsets from {start} on are missing; set its"
                    " cleanup.policy to delete, or run 'readerflow purge' and replay all months again"
                )
            self._place = (partition, start + len(found))
        values = pa.array([message.value for message in found], pa.binary())
        return Fetched(start, values, lambda places: [found[place].key for place in places])

    def _open_consumer(self) -> Any:
        if self._consumer is None:
            check_reachable(self._settings)
            self._consumer = KafkaConsumer(**python_consumer(self._settings))
            self._place = None
        return self._consumer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of the client into known failures."""
        try:
            yield
        except (AuthorizationError, SaslAuthenticationFailedError) as error:
            raise failure(self._settings, self._topic, Failure.RIGHTS, str(error)) from error
        except MessageSizeTooLargeError as error:
            raise failure(self._settings, self._topic, Failure.SIZE, str(error)) from error
        except (NoOffsetForPartitionError, OffsetOutOfRangeError) as error:
            self._place = None
            raise failure(self._settings, self._topic, Failure.GONE, str(error)) from error
        except UnsupportedCodecError as error:
            raise LogRefused(
                f"kafka-python can't read how topic {self._topic} is compressed: {error}; 'pip install lz4', or set"
                " kafka_client to confluent"
            ) from error
        except KafkaError as error:
            raise failure(self._settings, self._topic, Failure.AWAY, str(error)) from error

    def close(self) -> None:
        if self._producer is not None:
            _drop(self._producer)
        if self._consumer is not None:
            with self._reading:
                self._consumer.close()
        self._producer = self._consumer = None


def _drop(producer: KafkaProducer) -> None:
    """Close a producer with all that it holds. Its ``close`` alone first tries to send that, and fails for it."""
    producer._sender.force_close()
    producer._sender.join()
    producer.close(timeout=0)
