"""The bulk transport of the Kafka log: confluent-kafka, which is librdkafka."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import confluent_kafka as confluent
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from readerflow.common.settings import Settings

from .kafka_clients import confluent_consumer, confluent_producer
from .kafka_transport import Failure, Fetched, failure
from .log import OffsetGone

_logger = logging.getLogger(__name__)

#: Messages that wait for the broker at most; more would only cost memory.
QUEUE_MESSAGES = 300_000
#: Messages, and about as many bytes, that are taken from a consumer at once.
FETCH_MESSAGES = 50_000
FETCH_BYTES = 32 * 1024 * 1024
#: Consumers that are kept, each with what it has fetched ahead.
CONSUMERS = 32

Found = TypeVar("Found")


class _Quiet:
    """The client's own log lines, which repeat what is raised or retried, for whoever asks for details."""

    def log(self, level: int, text: str, *arguments: Any) -> None:
        _logger.debug(text, *arguments)


@dataclass
class _Reader:
    """A consumer of one partition, which fetches ahead from where its last reader stopped."""

    consumer: Any
    position: int | None = None
    at_once: int = 1000
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        with self.lock:
            if self.consumer is not None:
                self.consumer.close()
            self.consumer = None


_RIGHTS = {
    KafkaError._AUTHENTICATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
}
_SIZES = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}
_RANGES = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
_TOPICS = {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART}
#: Pause before a client that has met one of _TOPICS is replaced.
FORGET_SECONDS = 0.5


class ConfluentTransport:
    """The bulk transport: librdkafka."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._timeout = settings.kafka_timeout
        self._lock = threading.Lock()  # of the fields; never held while the broker is asked
        self._producer: Any = None
        self._failure: KafkaError | None = None
        self._trouble: KafkaError | None = None  # the last thing that a client said about the brokers
        self._watcher: Any = None
        self._readers: OrderedDict[int, _Reader] = OrderedDict()

    def send(self, partition: int, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        producer = self._open_producer()
        for start in range(0, len(values), FETCH_MESSAGES):
            piece = slice(start, start + FETCH_MESSAGES)
            while len(producer) > QUEUE_MESSAGES:
                producer.poll(0.01)
            produce, topic = producer.produce, self._topic
            for key, value in zip(keys[piece], values[piece], strict=True):
                try:
                    produce(topic, value, key, partition)
                except BufferError:
                    self._produce_later(producer, value, key, partition)
                except KafkaException as error:
                    self._give_up(error.args[0])
            producer.poll(0)
            if self._failure is not None:
                self._give_up(self._failure)

    def _produce_later(self, producer: Any, value: bytes, key: bytes | None, partition: int) -> None:
        """Wait for room; messages that can't go out time out, so there is room in the end."""
        while True:
            producer.poll(0.05)
            if self._failure is not None:
                self._give_up(self._failure)
            with suppress(BufferError):
                producer.produce(self._topic, value, key, partition)
                return

    def settle(self) -> None:
        producer = self._producer
        if producer is None:
            return
        deadline = time.monotonic() + self._timeout + 5.0  # each message has its own time-out, which comes first
        while producer.flush(0.5) and self._failure is None and time.monotonic() < deadline:
            pass
        if self._failure is not None or len(producer):
            self._give_up(self._failure)

    def _open_producer(self) -> Any:
        if self._producer is None:
            self._failure = None
            self._producer = confluent.Producer(
                confluent_producer(self._settings)
                | {"on_delivery": self._delivered, "error_cb": self._troubled, "logger": _Quiet()}
            )
        return self._producer

    def _delivered(self, error: KafkaError | None, _: Any) -> None:
        if error is not None and self._failure is None:
            self._failure = error

    def _troubled(self, error: KafkaError) -> None:
        self._trouble = error

    def _give_up(self, error: KafkaError | None) -> NoReturn:
        """Forget the producer with all that it holds, so that nothing of a failed flush arrives later."""
        producer, self._producer, self._failure = self._producer, None, None
        producer.purge(in_queue=True, in_flight=True, blocking=False)
        producer.flush(0)
        self._raise(error)

    def watermarks(self, partition: int) -> tuple[int, int]:
        def ask(watcher: Any, left: float) -> tuple[int, int] | None:
            found = watcher.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=min(left, 5.0))
            return None if found is None else (int(found[0]), int(found[1]))

        return self._asked(ask)

    def _open_watcher(self) -> Any:
        with self._lock:
            if self._watcher is None:
                self._watcher = self._consumer()
            return self._watcher

    def _forget(self, watcher: Any) -> None:
        """Ask another client from now on: a broker that came back said that it has no partitions yet, and this one
        remembers that for minutes. Other threads may be asking it, so it ends with the last of them."""
        with self._lock:
            if self._watcher is watcher:
                self._watcher = None

    def _asked(self, ask: Callable[[Any, float], Found | None]) -> Found:
        """Ask until there is an answer or the time is up."""
        self._trouble = None
        deadline = time.monotonic() + self._timeout
        while True:
            error: KafkaError | None = None
            watcher = self._open_watcher()
            try:
                found = ask(watcher, max(0.05, deadline - time.monotonic()))
                if found is not None:
                    return found
            except KafkaException as raised:
                error = raised.args[0]
            watcher.poll(0)  # it may have something to say about the brokers
            unknown = error is not None and error.code() in _TOPICS
            if unknown:
                self._forget(watcher)
            if time.monotonic() >= deadline or (error is not None and error.code() in _RIGHTS):
                self._raise(error)
            self._check_rights()
            time.sleep(FORGET_SECONDS if unknown else 0.05)

    def _check_rights(self) -> None:
        if self._trouble is not None and self._trouble.code() in _RIGHTS:
            self._raise(self._trouble)

    def fetch(self, partition: int, start: int, count: int) -> Fetched:
        with self._reading(partition) as reader:
            if reader.position != start:
                reader.position = None
                reader.consumer.assign([TopicPartition(self._topic, partition, start)])
            messages = self._consume(reader, min(count, reader.at_once))
            values = [message.value() for message in messages]
            if messages[0].offset() != start or messages[-1].offset() != start + len(messages) - 1:
                reader.position = None
                raise self._gap(partition, start, messages)
            reader.position = start + len(messages)
            size = sum(map(len, filter(None, values)))
            reader.at_once = max(1, min(FETCH_MESSAGES, FETCH_BYTES * len(messages) // max(size, 1)))
        return Fetched(start, pa.array(values, pa.binary()), lambda places: [messages[at].key() for at in places])

    def _consume(self, reader: _Reader, count: int) -> list[Any]:
        """At least one message; errors that librdkafka mends by itself are waited out."""
        self._trouble = last = None
        deadline = time.monotonic() + self._timeout
        while True:
            messages = reader.consumer.consume(count, 0.5)
            if messages and not any(map(confluent.Message.error, messages)):
                return list(messages)
            good = [message for message in messages if message.error() is None]
            if good:
                return good  # the error comes again, if it is one that lasts
            last = messages[-1].error() if messages else last
            self._check_rights()
            if time.monotonic() >= deadline or (last is not None and last.code() in _RIGHTS | _RANGES):
                reader.position = None
                self._raise(last)

    def _gap(self, partition: int, start: int, messages: Sequence[Any]) -> OffsetGone:
        offsets = [message.offset() for message in messages]
        expected = next(start + at for at, offset in enumerate(offsets) if offset != start + at)
        following = min((offset for offset in offsets if offset > expected), default=expected + 1)
        return OffsetGone(
            f"topic {self._topic}, partition {partition}: offsets {expected} to {following - 1} are missing;"
            " set its cleanup.policy to delete, or run 'readerflow purge' and replay all months again"
        )

    @contextmanager
    def _reading(self, partition: int) -> Iterator[_Reader]:
        """Lend the reader of a partition to one thread."""
        while True:
            with self._lock:
                reader = self._readers.pop(partition, None) or _Reader(self._consumer())
                self._readers[partition] = reader
                oldest = self._readers.popitem(last=False)[1] if len(self._readers) > CONSUMERS else None
            if oldest is not None:
                oldest.close()
            with reader.lock:
                if reader.consumer is not None:  # else another thread closed it meanwhile
                    yield reader
                    return

    def _consumer(self) -> Any:
        return confluent.Consumer(confluent_consumer(self._settings) | {"error_cb": self._troubled, "logger": _Quiet()})

    def _raise(self, error: KafkaError | None) -> NoReturn:
        known = error if error is not None and error.code() != KafkaError._TIMED_OUT else self._trouble or error
        raise _translated(self._settings, self._topic, known)

    def close(self) -> None:
        with self._lock:
            readers, self._readers = list(self._readers.values()), OrderedDict()
            watcher, self._watcher = self._watcher, None
            producer, self._producer = self._producer, None
        if producer is not None:  # what was not flushed is not promised
            producer.purge(in_queue=True, in_flight=True, blocking=False)
            producer.flush(0)
        for reader in readers:
            reader.close()
        if watcher is not None:
            watcher.close()


def _translated(settings: Settings, topic: str, error: KafkaError | None) -> Exception:
    """The known failure that an error of librdkafka means.

    A topic or partition that is unknown is not gone: a broker that was killed knows none when it starts again.
    """
    code = None if error is None else error.code()
    kinds = ((Failure.RIGHTS, _RIGHTS), (Failure.SIZE, _SIZES), (Failure.GONE, _RANGES))
    kind = next((kind for kind, codes in kinds if code in codes), Failure.AWAY)
    return failure(settings, topic, kind, "no answer" if error is None else error.str())
