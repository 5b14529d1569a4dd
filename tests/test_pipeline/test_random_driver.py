"""A seeded driver does what operators and accidents do, in any order; each answer is compared with a plain model."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from readerflow.batch_processing.coverage import BadHorizon, NothingToCover
from readerflow.common.crash import Crashed
from readerflow.common.months import HOUR, Month
from readerflow.common.settings import load
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import PartRefused
from readerflow.kafka.replay import Grain
from readerflow.pipeline import steps
from readerflow.storage import Storage, open_storage
from readerflow.storage.batch_views import NoGeneration
from readerflow.storage.realtime_views import StreamProgress
from readerflow.webapp.merge import merge_article
from tests.small_month import MONTH, WIKI, rows, write_month

STEPS = 40
START = Month.parse(MONTH).start
TITLES = sorted({article for _, article, _, _ in rows()})
CRASHES = {
    "replay": ("replay.appended",),
    "archive": ("archiver.polled", "archiver.file_half_written", "archiver.file_closed", "archiver.renamed"),
    "batch": ("batch.half_written", "batch.before_publish", "batch.published"),
    "stream": ("stream.offsets_chosen", "stream.rows_half_written", "stream.rows_written"),
}


class Driver:
    """Runs random steps on one home and knows what the log holds."""

    def __init__(self, home: Path, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.settings = load(home=home, segment_rows=400, batch_entries=700, kept_generations=3)
        self.reached = START
        self.done: list[str] = []
        write_month(home / "pairs")

    def step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        name = self.random.choice(["replay", "archive", "archive", "batch", "batch", "stream", "stream", "roll_back"])
        crash = self.random.random() < 0.3 and name in CRASHES
        point = self.random.choice(CRASHES[name]) if crash else ""
        self.done.append(f"{name} {point}".strip())
        monkeypatch.setenv("READERFLOW_TESTING", "1")
        monkeypatch.setenv("READERFLOW_CRASH_AT", f"{point}:raise" if point else "")
        with open_storage(self.settings) as storage, suppress(Crashed):
            getattr(self, name)(storage)
        monkeypatch.delenv("READERFLOW_CRASH_AT")

    def replay(self, storage: Storage) -> None:
        self.reached = min(self.reached + self.random.randint(1, 40) * HOUR, START + timedelta(days=20))
        plan = ReplayPlan(WIKI, Month.parse(MONTH), Grain.HOUR, seed=5)
        with suppress(PartRefused):
            steps.replay(storage, plan, end=self.reached)

    def archive(self, storage: Storage) -> None:
        steps.archive(self.settings, storage)

    def batch(self, storage: Storage) -> None:
        back = self.random.choice([None, None, self.random.randint(1, 30)])
        until = None if back is None else max(self.reached - back * HOUR, START + HOUR)
        with suppress(NothingToCover, BadHorizon):
            steps.batch(self.settings, storage, WIKI, MONTH, until)

    def stream(self, storage: Storage) -> None:
        steps.stream(self.settings, storage, fresh=self.random.random() < 0.15)

    def roll_back(self, storage: Storage) -> None:
        with suppress(NoGeneration):
            storage.batch_views.roll_back(WIKI, MONTH)

    def check(self) -> None:
        """Compare answers with a count over the records in the log, made without any of the product's merging."""
        with open_storage(self.settings) as storage:
            if (WIKI, MONTH) not in storage.serving_views.months():
                return
            with storage.serving_views.read(WIKI, MONTH) as reading:
                at = reading.snapshot
                progress = storage.serving_views.stream() or StreamProgress()
                ends = at.manifest.offsets if at.manifest else {}
                wanted: Counter[str] = Counter()
                for partition in range(storage.log.partitions):
                    for row in storage.log.read(partition, 0, 10_000_000).records.to_pylist():
                        limit = ends if row["event_time"] < at.horizon else progress.offsets
                        if row["offset"] < limit.get(partition, 0):
                            wanted[row["article"]] += row["clicks"]
                for title in TITLES:
                    numbers = merge_article(*reading.article(title))
                    found = numbers.clicks_in["clicks"] if numbers else 0
                    assert found == wanted[title], (title, at)
                assert at.complete, at
                assert at.live_until <= self.reached


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_answer_equals_the_model_whatever_happens(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path / "home", seed)
    for _ in range(STEPS):
        driver.step(monkeypatch)
        try:
            driver.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed} after {driver.done}: {error}") from error
    assert {"replay", "archive", "batch", "stream"} <= {name.split()[0] for name in driver.done}
