"""One thread reads for all who ask meanwhile."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from readerflow.storage.shared_reads import SharedReads


class Reads:
    """A slow store: it waits for a sign and then gives an answer or fails."""

    def __init__(self) -> None:
        self.number = 0
        self.error: Exception | None = None
        self.began, self.go_on = threading.Event(), threading.Event()

    def read(self, key: str) -> tuple[str, int]:
        self.number += 1
        self.began.set()
        assert self.go_on.wait(30)
        if self.error is not None:
            raise self.error
        return key, self.number

    def by(self, shared: SharedReads[str, tuple[str, int]], count: int) -> list[object]:
        """What so many threads get that ask while the first one reads: a value or an error."""

        def ask() -> object:
            try:
                return shared.get("hr")
            except ConnectionError as error:
                return error

        with ThreadPoolExecutor(count) as threads:
            first = threads.submit(ask)
            assert self.began.wait(30)
            others = [threads.submit(ask) for _ in range(count - 1)]
            time.sleep(0.2)  # until they wait for the first
            self.go_on.set()
            return [one.result(30) for one in (first, *others)]


def test_one_reads_for_all_who_ask_meanwhile() -> None:
    reads = Reads()
    shared = SharedReads(reads.read, seconds=0)
    assert reads.by(shared, 5) == [("hr", 1)] * 5
    assert shared.get("hr") == ("hr", 2)
    assert shared.get("hr", fresh=True) == ("hr", 3)


def test_all_who_wait_learn_why_there_is_no_value() -> None:
    reads = Reads()
    reads.error = ConnectionError("away")
    shared = SharedReads(reads.read, seconds=0)
    assert reads.by(shared, 5) == [reads.error] * 5
    reads.error = None
    assert shared.get("hr") == ("hr", 2)


def test_a_value_is_taken_for_a_while_unless_a_fresh_one_is_needed() -> None:
    reads = Reads()
    reads.go_on.set()
    shared = SharedReads(reads.read, seconds=60)
    assert [shared.get("hr"), shared.get("hr"), shared.get("en")] == [("hr", 1), ("hr", 1), ("en", 2)]
    assert shared.get("hr", fresh=True) == ("hr", 3)
    assert shared.get("hr") == ("hr", 3)


def test_what_was_read_before_is_forgotten() -> None:
    reads = Reads()
    reads.go_on.set()
    shared = SharedReads(reads.read, seconds=60)
    shared.get("hr")
    shared.forget()
    assert [shared.get("hr"), shared.get("hr")] == [("hr", 2), ("hr", 2)]


def test_what_is_being_read_is_forgotten_too() -> None:
    reads = Reads()
    shared = SharedReads(reads.read, seconds=60)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(shared.get, "hr")
        assert reads.began.wait(30)
        shared.forget()
        reads.go_on.set()
        assert first.result(30) == ("hr", 1)
    assert [shared.get("hr"), shared.get("hr")] == [("hr", 2), ("hr", 2)]
