"""Generations switch and roll back while readers ask all the time: no answer dips or counts twice."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

from readerflow.common.months import HOUR, Month
from readerflow.common.settings import Settings, load
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.pipeline import steps
from readerflow.storage import open_storage
from readerflow.storage.serving_views import Side
from readerflow.webapp.merge import merge_article, merge_classes, merge_neighbours
from tests.small_month import MONTH, WIKI, rows, write_month

SWITCHES, READERS = 10, 3
END = Month.parse(MONTH).start + timedelta(days=6)


class Readers:
    """Threads that ask for the same things again and again and keep every answer that was not the right one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self.asked = 0
        self.generations: Counter[str | None] = Counter()
        self.wrong: list[object] = []
        self.expected: object = None
        self._threads = [threading.Thread(target=self._ask) for _ in range(READERS)]

    def answer(self) -> tuple[str | None, object]:
        with open_storage(self.settings) as storage, storage.serving_views.read(WIKI, MONTH) as reading:
            numbers = merge_article(*reading.article("Zagreb"))
            assert numbers is not None
            page = merge_neighbours(*reading.neighbours(Side.SOURCES, "Main_Page", None, 20), None, 20)
            found = (
                numbers.clicks_in["clicks"],
                numbers.clicks_out["clicks"],
                [(one.title, one.link_type, one.clicks["clicks"]) for one in page],
                sum(part["clicks"] for part in merge_classes(*reading.classes()).values()),
                reading.snapshot.complete,
            )
            return reading.snapshot.generation, found

    def __enter__(self) -> Readers:
        _, self.expected = self.answer()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self) -> None:
        while not self.stop.is_set():
            generation, found = self.answer()
            self.asked += 1
            self.generations[generation] += 1
            if found != self.expected:
                self.wrong.append((generation, found))


def test_no_answer_dips_or_counts_twice_while_generations_switch_and_roll_back(tmp_path: Path) -> None:
    settings = load(home=tmp_path / "home", segment_rows=500, kept_generations=4)
    write_month(settings.home / "pairs")
    with open_storage(settings) as storage:
        steps.replay(storage, ReplayPlan(WIKI, Month.parse(MONTH), Grain.HOUR), end=END)
        steps.archive(settings, storage)
        first = steps.batch(settings, storage, WIKI, MONTH, END - (SWITCHES + 1) * 6 * HOUR)
        steps.stream(settings, storage)
        published = {first.generation}
        with Readers(settings) as readers:
            for number in range(SWITCHES, 0, -1):
                published.add(steps.batch(settings, storage, WIKI, MONTH, END - number * 6 * HOUR).generation)
                if number in (6, 3):
                    storage.batch_views.roll_back(WIKI, MONTH)
    assert readers.wrong == []
    assert readers.asked > SWITCHES
    assert set(readers.generations) <= published
    assert len(readers.generations) > SWITCHES // 2
    total = sum(clicks for _, _, _, clicks in rows())
    assert 0 < readers.expected[3] < total  # type: ignore[index]


def test_a_roll_back_twice_in_a_row_reaches_the_first_generation(tmp_path: Path) -> None:
    settings = load(home=tmp_path / "home", kept_generations=3)
    write_month(settings.home / "pairs")
    with open_storage(settings) as storage:
        steps.replay(storage, ReplayPlan(WIKI, Month.parse(MONTH), Grain.DAY))
        steps.archive(settings, storage)
        made = [steps.batch(settings, storage, WIKI, MONTH, END + day * 24 * HOUR).generation for day in range(3)]
        back = [storage.batch_views.roll_back(WIKI, MONTH).generation for _ in range(2)]
    assert back == [made[1], made[0]]
