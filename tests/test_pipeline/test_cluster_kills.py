"""Everything that runs in the ``cluster`` profile is killed with -9, and what it leaves equals a clean run.

One month comes in while archiver and stream follow it; servers and commands die under it, one after the other, and only
what died is started again. The tests go through the life of that month in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest

from readerflow.common.patience import patiently
from readerflow.common.settings import Settings
from readerflow.pipeline import servers
from readerflow.storage import Storage
from readerflow.storage.batch_views import View
from tests.killed_cluster import SERVERS, Answers, Command, KilledHome, Outcome, kill, strike, wait_until
from tests.own_servers import on_free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

HORIZON = "2025-02-15T00:00Z"
#: Longer than the clients of Kafka and Cassandra wait for an answer.
OUTAGE = 8.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Servers of this module; those of the session are not ours to kill."""
    home = tmp_path_factory.mktemp("killed")
    settings = on_free_ports(
        home,
        servers_home=home / "servers",
        partitions=2,
        segment_rows=2000,
        segment_seconds=1.0,
        batch_entries=6000,
        poll_seconds=0.2,
        trigger_seconds=0.5,
        kafka_timeout=5.0,
        hdfs_timeout=10.0,
        cassandra_timeout=5.0,
        spark_master="local[2]",
        spark_driver_memory="1g",
    )
    try:
        servers.up(settings, SERVERS)
        yield settings
    finally:
        servers.down(settings)


@dataclass(frozen=True)
class Clean:
    """What a run that nothing befell has left."""

    home: KilledHome
    outcome: Outcome
    views: dict[View, pa.Table]
    answers: Answers


@pytest.fixture(scope="module")
def clean(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    home = KilledHome(stack, tmp_path_factory.mktemp("clean"))
    home.run(*home.replay())
    home.run("archive")
    home.run(*home.batch(HORIZON))
    home.run("stream")
    return Clean(home, home.outcome(), home.views(), home.answers())


@dataclass
class Struck:
    """The month that comes in slowly, and the commands that work on it."""

    home: KilledHome
    storage: Storage
    replay: Command
    archive: Command
    stream: Command

    def caught_up(self) -> float:
        """Wait until archive and realtime views hold what the log holds now and more has come in since."""
        began = patiently(lambda: self.home.ends(self.storage))
        return wait_until(
            lambda: (
                all(a >= b for a, b in zip(self.home.archived(self.storage), began, strict=True))
                and all(a >= b for a, b in zip(self.home.streamed(self.storage), began, strict=True))
                and self.home.ends(self.storage) != began
            ),
            what=f"archive {self.archive.said()[-2000:]}\nstream {self.stream.said()[-2000:]}",
        )


@pytest.fixture(scope="module")
def struck(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Struck]:
    home = KilledHome(stack, tmp_path_factory.mktemp("struck"))
    with home.opened() as storage:
        running = Struck(
            home,
            storage,
            home.start(*home.replay("--duration", "900")),
            home.start("archive", "--follow"),
            home.start("stream", "--follow"),
        )
        try:
            wait_until(lambda: sum(home.streamed(storage)) > 0, what="the stream to begin")
            yield running
        finally:
            for command in (running.replay, running.archive, running.stream):
                command.abandon()


@pytest.mark.parametrize(
    ("victim", "outage"), [("namenode", 0), ("datanode", 0), ("kafka", OUTAGE), ("cassandra", OUTAGE)]
)
def test_a_server_that_dies_is_waited_for_by_all_commands(struck: Struck, victim: str, outage: float) -> None:
    strike(struck.home.settings, victim, outage)
    struck.caught_up()
    assert struck.replay.lives()
    assert struck.archive.lives()
    assert struck.stream.lives()


def test_commands_that_die_go_on_where_they_were_when_they_are_started_again(struck: Struck) -> None:
    struck.archive.kill()
    struck.stream.kill()
    struck.replay.kill()
    struck.stream = struck.home.start("stream", "--follow")
    struck.archive = struck.home.start("archive", "--follow")
    struck.home.run(*struck.home.replay())
    ends = struck.home.ends(struck.storage)
    wait_until(
        lambda: struck.home.archived(struck.storage) == ends == struck.home.streamed(struck.storage),
        what=f"all of {ends}",
    )
    struck.archive.stop()
    struck.stream.stop()


def test_the_master_dataset_and_the_dead_letters_equal_those_of_a_clean_run(struck: Struck, clean: Clean) -> None:
    found = struck.home.outcome()
    assert found.rows.equals(clean.outcome.rows)
    assert found.letters == clean.outcome.letters


def test_batch_views_and_merged_answers_equal_those_of_a_clean_run_whoever_dies_under_a_batch(
    struck: Struck, clean: Clean
) -> None:
    struck.home.run(*struck.home.batch(HORIZON), crash_at="batch.before_publish")
    before = struck.home.tables()
    batch = struck.home.start(*struck.home.batch(HORIZON))
    wait_until(lambda: len(struck.home.tables() - before) >= 3, what="the batch to begin")
    for victim in ("cassandra", "datanode"):
        kill(struck.home.settings, victim)
    servers.up(struck.home.settings, SERVERS)
    batch.ends()
    assert struck.home.views() == clean.views
    assert struck.home.answers() == clean.answers
