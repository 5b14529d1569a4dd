"""What changed between two generations: the lists, the cutting of streams, and how they are worked out once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readerflow.common.months import Month
from readerflow.storage import comparisons
from readerflow.storage.batch_views import BATCH_SCHEMAS, Manifest, NoGeneration, View
from readerflow.storage.change_lists import aligned, write_movers, write_pairs
from readerflow.storage.changes import DIRECTIONS, KEPT_ROWS, MEASURES, MOVER, ORDERS, PAIR, Changes, mover_list
from readerflow.storage.comparisons import ComparisonFailed, Comparisons
from readerflow.storage.serving_views import ChangesPending, QueryTooLong
from tests.manifests import manifest_of

TITLES = st.sampled_from(["", "A", "a/b", "Ž", "日本", "NaN", "z" * 9, "😀"])
KEYS = st.lists(TITLES, max_size=30)


def batches(table: pa.Table, rows: int) -> list[pa.RecordBatch]:
    return table.to_batches(rows)


def keyed(titles: list[str]) -> pa.Table:
    return pa.table({"article": pa.array(sorted(titles, key=str.encode), pa.string())})


@settings(deadline=None)
@given(KEYS, KEYS, st.integers(1, 9), st.integers(1, 9))
def test_pieces_hold_all_rows_of_their_articles_and_lose_none(
    left: list[str], right: list[str], rows: int, piece_rows: int
) -> None:
    pieces = list(aligned(batches(keyed(left), rows), batches(keyed(right), rows), piece_rows))
    for side, titles in enumerate((left, right)):
        found = [title for piece in pieces for title in piece[side]["article"].to_pylist()]
        assert found == sorted(titles, key=str.encode)
    seen: set[str] = set()
    for piece in pieces:
        here = {title for table in piece for title in table["article"].to_pylist()}
        assert not here & seen
        seen |= here


def articles(rows: dict[str, dict[str, int]]) -> pa.Table:
    """The view ``articles`` of what is given: title -> column -> clicks."""
    schema = BATCH_SCHEMAS[View.ARTICLES]
    found = [
        {"article": title, **dict.fromkeys(schema.names[1:12], 0), **rows[title]}
        for title in sorted(rows, key=str.encode)
    ]
    return pa.Table.from_pylist(found, schema=schema)


def value(row: dict[str, int] | None, measure: str) -> int:
    """A measure of an article, in plain Python."""
    first, *less = MEASURES[measure].split(" - ")
    return row.get(first, 0) - sum(row.get(name, 0) for name in less) if row else 0


def exact_movers(
    now: dict[str, dict[str, int]], before: dict[str, dict[str, int]], hours: tuple[int, int], name: str
) -> list[tuple[str, int | None, int | None]]:
    """The oracle of a list of movers."""
    measure, order, direction = name.split(".")
    totals = [sum(value(row, measure) for row in side.values()) for side in (now, before)]
    found = []
    for title in now.keys() | before.keys():
        a, b = value(now.get(title), measure), value(before.get(title), measure)
        change = a * hours[1] - b * hours[0] if order == "clicks" else a / max(1, totals[0]) - b / max(1, totals[1])
        change = change if direction == "rise" else -change
        if change > 0:
            found.append(
                (-change, title.encode(), (title, a if title in now else None, b if title in before else None))
            )
    return [row for _, _, row in sorted(found, key=lambda one: one[:2])]


COLUMNS = ("in_clicks", "out_clicks", "in_link_clicks", "in_other_clicks", "entries_search", "entries_external")
ROWS = st.dictionaries(TITLES, st.fixed_dictionaries({name: st.integers(0, 50) for name in COLUMNS}), max_size=8)


@settings(max_examples=15, deadline=None)
@given(ROWS, ROWS, st.sampled_from([(744, 672), (744, 744), (24, 720)]))
def test_movers_are_those_of_plain_python(
    tmp_path_factory: pytest.TempPathFactory,
    now: dict[str, dict[str, int]],
    before: dict[str, dict[str, int]],
    hours: tuple[int, int],
) -> None:
    path = tmp_path_factory.mktemp("movers") / "m.arrow"
    write_movers(path, batches(articles(now), 3), batches(articles(before), 2), hours)
    changes = Changes(path)
    for name in (mover_list(*key) for key in ((m, o, d) for m in MEASURES for o in ORDERS for d in DIRECTIONS)):
        exact = exact_movers(now, before, hours, name)
        page = changes.page(name, 0, KEPT_ROWS)
        assert page.schema == MOVER
        assert [tuple(row.values()) for row in page.to_pylist()] == exact
        assert changes.kept(name) == changes.facts["found"][name] == len(exact)
    assert changes.facts["totals"]["in"] == [sum(row["in_clicks"] for row in side.values()) for side in (now, before)]
    assert [file.name for file in path.parent.iterdir()] == ["m.arrow"]


def sources(rows: dict[tuple[str, str, str], int]) -> pa.Table:
    """The view ``sources`` of (article, referrer, link type) -> clicks."""
    ordered = sorted(rows.items(), key=lambda one: (one[0][0].encode(), -one[1], one[0][1].encode(), one[0][2]))
    found = [
        {"article": key[0], "position": place, "referrer": key[1], "link_type": key[2], "clicks": clicks}
        for place, (key, clicks) in enumerate(ordered, 1)
    ]
    return pa.Table.from_pylist(found, schema=BATCH_SCHEMAS[View.SOURCES])


PAIRS = st.dictionaries(st.tuples(TITLES, TITLES, st.sampled_from(["link", "other"])), st.integers(10, 60), max_size=30)


@settings(max_examples=25, deadline=None)
@given(PAIRS, PAIRS)
def test_pairs_are_those_of_plain_python(
    tmp_path_factory: pytest.TempPathFactory,
    now: dict[tuple[str, str, str], int],
    before: dict[tuple[str, str, str], int],
) -> None:
    path = tmp_path_factory.mktemp("pairs") / "p.arrow"
    write_pairs(path, batches(sources(now), 4), batches(sources(before), 7))
    changes = Changes(path)
    for name, mine, other in (("new", now, before), ("vanished", before, now)):
        exact = sorted(
            ((key, clicks) for key, clicks in mine.items() if key not in other),
            key=lambda one: (-one[1], one[0][0].encode(), one[0][1].encode(), one[0][2]),
        )
        page = changes.page(name, 0, KEPT_ROWS)
        assert page.schema == PAIR
        assert [tuple(row.values()) for row in page.to_pylist()] == [(k[1], k[0], k[2], n) for k, n in exact]
        assert changes.facts[name]["pairs"] == len(exact)
        assert changes.facts[name]["now" if name == "new" else "before"] == sum(n for _, n in exact)
    both = now.keys() & before.keys()
    assert changes.facts["both"] == {
        "pairs": len(both),
        "now": sum(now[key] for key in both),
        "before": sum(before[key] for key in both),
    }


def test_lists_are_cut_at_what_is_kept_and_say_how_many_there_are(tmp_path: Path) -> None:
    now = {f"T{number:05d}": {"in_clicks": 10 + number} for number in range(KEPT_ROWS + 5)}
    write_movers(tmp_path / "m.arrow", batches(articles(now), 9_999), [], (744, 744))
    changes = Changes(tmp_path / "m.arrow")
    name = mover_list("in", "clicks", "rise")
    assert changes.kept(name) == KEPT_ROWS
    assert changes.facts["found"][name] == KEPT_ROWS + 5
    assert changes.page(name, KEPT_ROWS - 1, 10)["title"].to_pylist() == ["T00005"]
    assert changes.page(name, KEPT_ROWS, 10).num_rows == 0


# Worked out once ------------------------------------------------------------------------------------------------------


def manifest(generation: str, *, month: str) -> Manifest:
    return manifest_of("hrwiki", month, "s", Month.parse(month).end, offsets={}, closed={}, generation=generation)


NOW, BEFORE = manifest("g2", month="2025-03"), manifest("g1", month="2025-02")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Exports:
    """Exports of two generations, counted; they wait for ``go``."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.go = threading.Event()

    def __call__(self, generation: str, view: View) -> Iterable[pa.RecordBatch]:
        self.calls.append(f"{generation} {view}")
        if generation == "gone":
            raise NoGeneration("gone")
        return self._rows(generation)

    def _rows(self, generation: str) -> Iterator[pa.RecordBatch]:
        assert self.go.wait(30)
        yield from articles({"A": {"in_clicks": 20 if generation == "g2" else 10}}).to_batches()


@pytest.fixture
def exports() -> Exports:
    return Exports()


def test_a_comparison_is_worked_out_once_while_who_asks_is_told_to_come_back(tmp_path: Path, exports: Exports) -> None:
    found = Comparisons(tmp_path / "c", exports, wait_seconds=0.01)
    for _ in range(3):
        with pytest.raises(ChangesPending, match="2025-02 to 2025-03"):
            found.movers(NOW, BEFORE)
    exports.go.set()
    waits = Comparisons(tmp_path / "c", exports, wait_seconds=30)
    rows = waits.movers(NOW, BEFORE).page("in.clicks.rise", 0, 9).to_pylist()
    assert rows == [{"title": "A", "now": 20, "before": 10}]
    assert exports.calls == ["g2 articles", "g1 articles"]
    assert waits.movers(NOW, BEFORE) is waits.movers(NOW, BEFORE)


@pytest.mark.parametrize(("seconds", "times"), [(60.0, 1), (-1.0, 2)])
def test_a_generation_that_is_gone_is_told_and_asked_for_anew_after_a_while(
    tmp_path: Path, exports: Exports, monkeypatch: pytest.MonkeyPatch, seconds: float, times: int
) -> None:
    monkeypatch.setattr(comparisons, "FAILED_SECONDS", seconds)
    found = Comparisons(tmp_path / "c", exports, wait_seconds=30)
    for _ in range(2):
        with pytest.raises(NoGeneration):
            found.movers(NOW, manifest("gone", month="2025-02"))
    assert exports.calls.count("gone articles") == times


def test_what_fails_after_the_wait_is_told_and_not_begun_again_at_once(
    tmp_path: Path, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        assert exports.go.wait(30)
        raise OSError("no space left")

    monkeypatch.setattr(comparisons, "write_movers", full)
    found = Comparisons(tmp_path / "c", exports, wait_seconds=0.01)
    with pytest.raises(ChangesPending):
        found.movers(NOW, BEFORE)
    exports.go.set()
    wait_for(lambda: not found._running)
    for _ in range(2):
        with pytest.raises(ComparisonFailed, match="no space left"):
            found.movers(NOW, BEFORE)
    assert exports.calls == ["g2 articles", "g1 articles"]


def test_few_comparisons_are_in_line_and_more_are_refused(tmp_path: Path, exports: Exports) -> None:
    found = Comparisons(tmp_path / "c", exports, wait_seconds=0.01)
    olds = [manifest(f"o{number}", month="2025-02") for number in range(comparisons.MAX_RUNNING + 1)]
    for old in olds[:-1]:
        with pytest.raises(ChangesPending):
            found.movers(NOW, old)
    with pytest.raises(QueryTooLong, match="already"):
        found.movers(NOW, olds[-1])
    with pytest.raises(ChangesPending):
        found.movers(NOW, olds[0])
    exports.go.set()
    wait_for(lambda: not found._running)
    assert found.movers(NOW, olds[0]).kept("in.clicks.rise") == 1
    assert not any(call.startswith(olds[-1].generation) for call in exports.calls)


@pytest.mark.parametrize(("write", "rows"), [(write_pairs, sources({})), (write_movers, articles({}))])
def test_work_is_given_up_between_lists_too(tmp_path: Path, write: Any, rows: pa.Table) -> None:
    calls = list[None]()

    def stop() -> None:
        calls.append(None)
        if len(calls) == 2:  # the first is before the only piece
            raise QueryTooLong("enough")

    hours = [(744, 672)] if write is write_movers else []
    with pytest.raises(QueryTooLong, match="enough"):
        write(tmp_path / "m.arrow", rows.to_batches(), [], *hours, stop)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_account_is_read(tmp_path: Path, exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    exports.go.set()
    Comparisons(tmp_path / "c", exports, wait_seconds=30).movers(NOW, BEFORE)

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr("os.utime", refuse)
    assert Comparisons(tmp_path / "c", exports).movers(NOW, BEFORE).kept("in.clicks.rise") == 1


def test_work_that_takes_too_long_is_given_up_and_not_begun_again(tmp_path: Path, exports: Exports) -> None:
    exports.go.set()
    found = Comparisons(tmp_path / "c", exports, wait_seconds=30, limit_seconds=-1)
    for _ in range(2):
        with pytest.raises(QueryTooLong, match="given up"):
            found.movers(NOW, BEFORE)
    assert exports.calls == ["g2 articles", "g1 articles"]
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["working.lock"]


def test_files_that_nobody_opens_go_first(tmp_path: Path, exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    exports.go.set()
    monkeypatch.setattr(comparisons, "KEPT_FILES", 2)
    found = Comparisons(tmp_path / "c", exports, wait_seconds=30)
    olds: list[Manifest] = [manifest(name, month="2025-02") for name in ("o1", "o2", "o3")]
    for old in olds:
        found.movers(NOW, old)
    assert sorted(path.name for path in (tmp_path / "c").glob("*.arrow")) == [
        "movers-g2-o2.arrow",
        "movers-g2-o3.arrow",
    ]


def test_a_folder_that_can_not_be_written_is_told_as_a_known_error(tmp_path: Path, exports: Exports) -> None:
    exports.go.set()
    (tmp_path / "c").write_text("a file")
    found = Comparisons(tmp_path / "c", exports, wait_seconds=30)
    with pytest.raises(ComparisonFailed, match="could not be worked out"):
        found.movers(NOW, BEFORE)


def test_a_damaged_file_is_worked_out_anew(tmp_path: Path, exports: Exports) -> None:
    exports.go.set()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "movers-g2-g1.arrow").write_bytes(b"ARROW1 and no more")
    found = Comparisons(tmp_path / "c", exports, wait_seconds=30).movers(NOW, BEFORE)
    assert found.kept("in.clicks.rise") == 1


def test_what_a_dead_process_left_goes(tmp_path: Path, exports: Exports) -> None:
    exports.go.set()
    left = tmp_path / "c" / "working-abc"
    left.mkdir(parents=True)
    (left / "scratch.duckdb").write_text("half")
    half = tmp_path / "c" / "movers-g0-g1.tmp"
    half.write_text("half")
    Comparisons(tmp_path / "c", exports, wait_seconds=30).movers(NOW, BEFORE)
    assert not left.exists()
    assert not half.exists()


def test_facts_survive_hostile_titles(tmp_path: Path) -> None:
    titles: list[Any] = ['"', "\\", "a\u202eb", "</script>", "x" * 255]
    write_movers(tmp_path / "m.arrow", articles({t: {"in_clicks": 5} for t in titles}).to_batches(), [], (24, 24))
    found = Changes(tmp_path / "m.arrow").page("in.share.rise", 0, 99)["title"].to_pylist()
    assert found == sorted(titles, key=str.encode)
