"""A broker that is paused or killed under a replay and a following archiver: both wait, go on, and lose nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from readerflow.common.months import Month
from readerflow.common.settings import Settings
from readerflow.kafka.archiver import ArchiveResult, archive
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import ReplayResult, replay
from readerflow.kafka.replay import Grain
from readerflow.pipeline import servers
from readerflow.pipeline.servers.control import pid_of
from readerflow.storage.local_archive import LocalArchive
from readerflow.storage.sqlite_log import SQLiteLog
from tests.own_servers import on_free_ports
from tests.small_month import MONTH, WIKI, write_month

PLAN = ReplayPlan(WIKI, Month.parse(MONTH), Grain.HOUR)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A broker that nobody else needs; clients give it up after two seconds."""
    settings = on_free_ports(tmp_path_factory.mktemp("broker"), kafka_timeout=2.0)
    try:
        servers.up(settings, ("kafka",))
        yield settings
    finally:
        servers.down(settings)


def pause(settings: Settings) -> None:
    """Stop the broker for longer than its clients' time-out."""
    pid = pid_of(settings, "kafka")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(2 * settings.kafka_timeout)  # the time-out itself is what is tested
    finally:
        os.kill(pid, signal.SIGCONT)


def kill(settings: Settings) -> None:
    pid = pid_of(settings, "kafka")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    servers.up(settings, ("kafka",))


@pytest.mark.cluster
# kafka-python leaves sockets open when a client is made while the broker is paused
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("client", ["confluent", "kafka-python"])
@pytest.mark.parametrize("strike", [pause, kill])
def test_replay_and_archiver_wait_for_the_broker_and_lose_nothing(
    broker: Settings, tmp_path: Path, strike: Callable[[Settings], None], client: str
) -> None:
    from readerflow.storage.kafka_log import KafkaLog

    settings = broker.model_copy(update={"kafka_client": client})
    topic = f"{strike.__name__}-{client}"
    pairs = write_month(tmp_path / "pairs")
    with SQLiteLog(tmp_path / "log.db", "clicks", 3) as clean:
        expected = replay(PLAN, pairs, clean)
        records = {(p, seq) for p in range(3) for seq in clean.read(p, 0, 10**7).records["seq"].to_pylist()}
    stop, struck = threading.Event(), threading.Event()
    done: list[Any] = []

    def strike_once(*_: Any) -> None:
        if not struck.is_set():
            struck.set()
            strike(broker)

    with (
        KafkaLog(settings, topic, 3) as log,
        KafkaLog(settings, f"{topic}.dlq", 1) as letters,
        LocalArchive(tmp_path / "archive") as master,
    ):
        archiving = threading.Thread(
            target=lambda: done.append(
                archive(log, master, letters, follow=True, segment_seconds=0.2, poll_seconds=0.05, stop=stop)
            )
        )
        archiving.start()
        striking = threading.Thread(target=strike_once)

        def began(_: int, __: int | None, ___: str) -> None:
            if not striking.ident:
                striking.start()

        try:
            found = replay(PLAN, pairs, log, duration=1.0, progress=began)
            striking.join(60)
            wanted = [log.end_offset(partition) for partition in range(3)]
            deadline = time.monotonic() + 60
            while [master.next_offset(p) for p in range(3)] != wanted and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            stop.set()
            archiving.join(60)
        assert isinstance(found, ReplayResult) and found == expected
        assert [type(result) for result in done] == [ArchiveResult]
        rows = [pq.read_table(segment.uri, partitioning=None) for segment in master.segments()]
        archived = [
            pair for table in rows for pair in zip(*(table[n].to_pylist() for n in ("partition", "seq")), strict=True)
        ]
        assert len(archived) == len(records)
        assert set(archived) == records
