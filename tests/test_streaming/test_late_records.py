"""Late records, from the log to the answer: counted, incomplete until the next generation, then exact."""

from __future__ import annotations

from pathlib import Path

from readerflow.batch_processing.batch import run_batch
from readerflow.batch_processing.duckdb_engine import DuckDBEngine
from readerflow.common.months import HOUR
from readerflow.storage.duckdb_views import DuckDBViews
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.storage.serving_views import Snapshot
from tests.log_entries import MONTH, START, WIKI, entries, heartbeat, record
from tests.streaming_home import Home, open_home

HOURS, RECORDS, LATE = 20, 20_000, 1_000
HORIZON = START + 12 * HOUR


def test_late_records_are_counted_and_the_next_generation_heals_them(tmp_path: Path) -> None:
    with open_home(tmp_path) as home, DuckDBViews(tmp_path / "views", 2) as batch_views:
        home.generations = batch_views
        punctual, late = _records()
        for partition in range(2):
            home.append(partition, entries(*punctual[partition]))
        home.archive_all(10**6)
        _batch(home)
        home.stream()
        before = _snapshot(home)
        assert (before.late, before.holes, before.complete) == (0, [], True)
        assert before.live_until == START + HOURS * HOUR

        for partition in range(2):
            home.append(partition, entries(*late[partition]))
        home.stream()
        clicks = sum(row["clicks"] for rows in late.values() for row in rows if row["event_time"] < HORIZON)
        found = _snapshot(home)
        assert found.late == clicks > 0
        assert not found.complete
        assert _merged(home) == _total(punctual) + _total(late) - clicks

        home.archive_all(10**6)
        _batch(home)
        healed = _snapshot(home)
        assert (healed.late, healed.complete) == (0, True)
        assert _merged(home) == _total(punctual) + _total(late)

        batch_views.roll_back(WIKI, MONTH)
        assert _snapshot(home).late == clicks
        assert _merged(home) == _total(punctual) + _total(late) - clicks


Rows = dict[int, list[dict[str, object]]]


def _records() -> tuple[Rows, Rows]:
    """All but 1,000 of 20,000 records in the order of their hours, and these after the last hour has been passed."""
    punctual: Rows = {0: [], 1: []}
    late: Rows = {0: [], 1: []}
    seqs = {0: 0, 1: 0}
    for number in range(RECORDS - LATE):
        hour, partition = number * HOURS // (RECORDS - LATE), number % 2
        if punctual[partition] and hour > _hour(punctual[partition][-1]):
            _close(punctual, seqs, partition, hour - 1)
        seqs[partition] += 1
        fields = {"article": f"A{number % 50}", "referrer": "other-search", "clicks": 1 + number % 3}
        punctual[partition].append(record(seqs[partition], hour=hour, **fields))
    for partition in range(2):
        _close(punctual, seqs, partition, HOURS - 1)
    for number in range(LATE):
        seqs[number % 2] += 1
        fields = {"article": f"A{number % 70}", "referrer": "A1", "link_type": "link", "clicks": 2}
        late[number % 2].append(record(seqs[number % 2], hour=number * HOURS // LATE, **fields))
    return punctual, late


def _hour(row: dict[str, object]) -> int:
    return (row["event_time"] - START) // HOUR  # type: ignore[operator, return-value]


def _close(rows: Rows, seqs: dict[int, int], partition: int, hour: int) -> None:
    seqs[partition] += 1
    rows[partition].append(heartbeat(seqs[partition], hour=hour))


def _total(rows: Rows) -> int:
    return sum(int(str(row.get("clicks") or 0)) for part in rows.values() for row in part)


def _batch(home: Home) -> None:
    with DuckDBEngine(home.path / "tmp") as engine:
        run_batch(
            WIKI, MONTH, home.archive, home.generations, engine, partitions=2, realtime=home.realtime, until=HORIZON
        )


def _snapshot(home: Home) -> Snapshot:
    with EmbeddedServing(home.path / "serving.db", home.path / "views") as serving, serving.read(WIKI, MONTH) as read:
        return read.snapshot


def _merged(home: Home) -> int:
    """All clicks that an answer shows."""
    with EmbeddedServing(home.path / "serving.db", home.path / "views") as serving, serving.read(WIKI, MONTH) as read:
        return sum(sum(table["clicks"].to_pylist()) for table in read.classes())
