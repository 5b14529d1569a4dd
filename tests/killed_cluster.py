"""A month in the ``cluster`` profile whose commands and servers are killed: start, strike, compare what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from readerflow.common.errors import Unavailable
from readerflow.common.settings import Settings
from readerflow.kafka.dead_letters import distinct_letters
from readerflow.pipeline import servers
from readerflow.pipeline.servers import processes
from readerflow.storage import Storage, open_storage
from readerflow.storage.archive import gaps
from readerflow.storage.batch_views import BATCH_SCHEMAS, RANKINGS, View
from readerflow.storage.serving_views import Side
from readerflow.webapp.app import create_app
from tests.own_servers import as_variables
from tests.small_month import MONTH, ODD_TITLES, WIKI, rows, write_month

SERVERS = ("kafka", "namenode", "datanode", "cassandra")
#: Values that are no records; they lie before the first one.
BAD = (b"", b"{", b"\xff", b'{"source": 1}')
#: What an answer tells of its run and not of the month.
OWN = ("generation", "next", "engine", "created", "published", "incarnation", "realtime_batch")

Answers = dict[str, Any]


def wait_until(true: Callable[[], Any], seconds: float = 180, what: str = "") -> float:
    """Wait for something and tell how long it took; what can't be seen while a server is away is not there yet."""
    began = time.monotonic()
    while True:
        with suppress(Unavailable):
            if true():
                return time.monotonic() - began
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what or true}"
        time.sleep(0.1)


def kill(settings: Settings, name: str) -> None:
    """Kill a server with -9."""
    pid = servers.pid_of(settings, name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: servers.pid_of(settings, name) is None)


def strike(settings: Settings, name: str, outage: float = 0.0) -> None:
    """Kill a server with -9, and start it again after ``outage`` seconds."""
    kill(settings, name)
    time.sleep(outage)  # how long it is away is what is tested
    servers.start(settings, name)


@dataclass(frozen=True)
class Outcome:
    """What must be the same as without a strike."""

    rows: pa.Table
    letters: dict[bytes, Any]


class KilledHome:
    """A home with a topic, keyspace and HDFS folder of its own, and the month's pairs."""

    def __init__(self, stack: Settings, home: Path) -> None:
        unique = f"k{os.urandom(4).hex()}"
        own = {"home": home, "kafka_topic": unique, "cassandra_keyspace": unique, "hdfs_root": f"/{unique}"}
        self.settings = Settings(**{**stack.model_dump(exclude_unset=True), **own})
        self._logs = 0
        write_month(home / "pairs", pairs=month_pairs())
        with self.opened() as storage:
            storage.log.append_raw(1, [(None, value) for value in BAD])
            storage.log.flush()

    @contextmanager
    def opened(self) -> Iterator[Storage]:
        with open_storage(self.settings) as storage:
            yield storage

    def start(self, *arguments: str, crash_at: str | None = None) -> Command:
        """Start a command of the command line."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("READERFLOW_")}
        environment |= as_variables(self.settings)
        if crash_at is not None:
            environment |= {"READERFLOW_TESTING": "1", "READERFLOW_CRASH_AT": f"{crash_at}:kill"}
        self._logs += 1
        return Command(arguments, environment, self.settings.home / f"{self._logs}-{arguments[0]}.txt")

    def run(self, *arguments: str, crash_at: str | None = None) -> Command:
        """Run a command to its end, which is a good one unless it was told to crash."""
        command = self.start(*arguments, crash_at=crash_at)
        command.ends(0 if crash_at is None else -signal.SIGKILL)
        command.left_nothing()
        return command

    def replay(self, *options: str) -> tuple[str, ...]:
        return ("replay", WIKI, MONTH, *options)

    def batch(self, horizon: str) -> tuple[str, ...]:
        return ("batch", WIKI, MONTH, "--until", horizon)

    def tables(self) -> set[Path]:
        """What batch runs have computed and not removed yet."""
        return set((self.settings.home / "tmp").glob("spark-*/*"))

    def archived(self, storage: Storage) -> list[int]:
        """How far the archive reaches, by partition."""
        return [storage.archive.next_offset(partition) for partition in range(self.settings.partitions)]

    def streamed(self, storage: Storage) -> list[int]:
        """How far the stream's committed rows reach, by partition."""
        progress = storage.serving_views.stream()
        offsets = progress.offsets if progress else {}
        return [offsets.get(partition, 0) for partition in range(self.settings.partitions)]

    def ends(self, storage: Storage) -> list[int]:
        return [storage.log.end_offset(partition) for partition in range(self.settings.partitions)]

    def outcome(self) -> Outcome:
        """The archive's rows by (source, seq) and the distinct dead letters."""
        with self.opened() as storage:
            segments = storage.archive.segments()
            assert gaps(segments) == []
            assert len(segments) > 2 * self.settings.partitions, "one file proves little"
            found = pa.concat_tables([storage.archive.read(segment) for segment in segments])
            letters = distinct_letters(storage.dead_letters)
        # Offsets and the time of the letter are those of the run.
        found = found.drop_columns(["offset"]).sort_by([("source", "ascending"), ("seq", "ascending")])
        return Outcome(found.combine_chunks(), {key: letter | {"seen_at": ""} for key, letter in letters.items()})

    def views(self) -> dict[View, pa.Table]:
        """Every batch view of the current generation, row by row."""
        with self.opened() as storage:
            manifest = storage.batch_views.current(WIKI, MONTH)
            assert manifest is not None
            return {
                view: pa.Table.from_batches(
                    storage.batch_views.export(manifest.generation, view), BATCH_SCHEMAS[view]
                ).combine_chunks()
                for view in View
            }

    def answers(self) -> Answers:
        """What the API says of the month: batch and live rows merged."""
        titles = sorted({title for pair in month_pairs() for title in pair[:2] if not title.startswith("other-")})
        with self.opened() as storage:
            site = create_app(storage.serving_views).test_client()
            month = f"/api/v1/{WIKI}/{MONTH}"
            asked = [(f"{month}/{what}", {"title": title}) for title in titles[::8] for what in ("article", *Side)]
            asked += [(f"{month}/{what}", {"title": title}) for title in ODD_TITLES for what in ("article", *Side)]
            asked += [(f"{month}/rankings/{ranking}", {"limit": "100"}) for ranking in RANKINGS]
            return {f"{path} {query}": _without_own(site.get(path, query_string=query).json) for path, query in asked}


class Command:
    """A command that runs in a session of its own; its messages go to a file."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "readerflow.pipeline.cli", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def lives(self) -> bool:
        return self.process.poll() is None

    def ends(self, status: int = 0, seconds: float = 240) -> float:
        """Wait until it has ended with this status; tell how long that took."""
        began = time.monotonic()
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise AssertionError(f"it does not end: {self.said()[-3000:]}") from None
        assert found == status, f"exit {found}: {self.said()[-3000:]}"
        return time.monotonic() - began

    def kill(self) -> None:
        """Kill it with -9; what it had started, Java too, ends by itself."""
        self.process.kill()
        self.process.wait()
        self.left_nothing()

    def left_nothing(self) -> None:
        wait_until(lambda: not processes.members({self.process.pid}), what="its own processes to end")

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        self.process.send_signal(signal.SIGTERM)
        self.ends()

    def abandon(self) -> None:
        """End it and all that it started, at the end of a test that failed."""
        for pid in processes.members({self.process.pid}):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def month_pairs() -> list[tuple[str, str, str, int]]:
    """Odd titles and enough plain ones for several files of each partition."""
    plain = [(f"From_{n % 61}", f"To_{n}", "link", 10 + n % 60) for n in range(360)]
    return sorted([*rows(), *plain], key=lambda row: -row[3])


def _without_own(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: _without_own(value) for name, value in answer.items() if name not in OWN}
    if isinstance(answer, list):
        return [_without_own(value) for value in answer]
    return answer
