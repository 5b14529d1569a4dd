"""A micro-batch as a pure function of log slices and the progress before them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from readerflow.common.records import REJECTS
from readerflow.storage.log import ActiveSource, LogSlice
from readerflow.storage.packing import split
from readerflow.storage.realtime_views import MicroBatch, StreamProgress
from readerflow.streaming.microbatch import micro_batch
from tests.log_entries import MONTH, SOURCE, START, WIKI, entries, heartbeat, record, replacement
from tests.realtime_rows import Rows, expected_rows, hour_number

EMPTY = StreamProgress(offsets={0: 0, 1: 0})


def piece(*rows: dict[str, Any], first: int = 0) -> LogSlice:
    return split(entries(*rows), first)


def hours(*pairs: tuple[int, int]) -> list[Any]:
    return [(START + timedelta(hours=start), START + timedelta(hours=end)) for start, end in pairs]


def rows_of(*batches: MicroBatch) -> Rows:
    """Rows of batches added up, in the shape of :func:`expected_rows`."""
    found: dict[str, dict[tuple[Any, ...], list[int]]] = {
        view: defaultdict(lambda: [0, 0]) for view in ("live_pairs", "live_articles", "live_classes", "live_totals")
    }

    def add(view: str, key: tuple[Any, ...], *values: int) -> None:
        for place, value in enumerate(values):
            found[view][key][place] += value

    for batch in batches:
        for row in batch.pairs.to_pylist():
            key = hour_number(row["hour"]), row["referrer"], row["article"], row["link_type"]
            add("live_pairs", key, row["clicks"])
        for row in batch.articles.to_pylist():
            add("live_articles", (hour_number(row["hour"]), row["article"]), row["in_clicks"], row["out_clicks"])
        for row in batch.classes.to_pylist():
            minute = hour_number(row["minute"]) * 60 + row["minute"].minute
            add("live_classes", (minute, row["class"]), row["clicks"])
        for row in batch.totals.to_pylist():
            add("live_totals", (row["partition"], hour_number(row["hour"]), row["link_type"]), row["clicks"])
    width = {"live_articles": 2}
    return {view: {key: tuple(v[: width.get(view, 1)]) for key, v in rows.items()} for view, rows in found.items()} | {
        "trending": {}
    }


def test_clicks_count_by_hour_pair_article_class_and_partition() -> None:
    slices = {
        0: piece(
            record(1, referrer="Zagreb", article="Split", link_type="link", clicks=3),
            record(2, referrer="Zagreb", article="Split", link_type="link", clicks=4, hour=1),
            record(3, referrer="other-search", article="Split", clicks=5),
            record(4, referrer="Zagreb", article="Pula", link_type="redlink", clicks=2),
        ),
        1: piece(record(1, referrer="other-google", article="Zagreb", clicks=9)),
    }
    found = rows_of(micro_batch(slices, EMPTY))
    first = hour_number(START)
    assert found["live_pairs"][first + 1, "Zagreb", "Split", "link"] == (4,)
    assert found["live_articles"] == {
        (first, "Split"): (8, 0),
        (first + 1, "Split"): (4, 0),
        (first, "Pula"): (2, 0),
        (first, "Zagreb"): (9, 5),
        (first + 1, "Zagreb"): (0, 4),
    }
    assert found["live_classes"] == {
        (first * 60, "link"): (3,),
        ((first + 1) * 60, "link"): (4,),
        (first * 60, "other-search"): (14,),
        (first * 60, "other"): (2,),
    }
    assert found["live_totals"][0, first, "redlink"] == (2,)
    assert found["live_totals"][1, first, "external"] == (9,)


def test_classes_count_by_minute() -> None:
    late = START + timedelta(minutes=59, seconds=59)
    found = rows_of(micro_batch({0: piece(record(1), record(2, event_time=late))}, EMPTY))
    assert {key[0] - hour_number(START) * 60 for key in found["live_classes"]} == {0, 59}


def test_a_record_whose_seq_is_not_above_the_last_is_a_duplicate() -> None:
    first = micro_batch({0: piece(record(5), record(6), record(5))}, EMPTY)
    assert (first.progress.records, first.progress.duplicates) == (2, 1)
    second = micro_batch({0: piece(record(6), record(7), first=3), 1: piece(record(5))}, first.progress)
    assert (second.progress.records, second.progress.duplicates) == (4, 2)
    assert second.progress.last_seqs == {0: {SOURCE: 7}, 1: {SOURCE: 5}}
    assert second.progress.offsets == {0: 5, 1: 1}


def test_rejects_are_counted_and_nothing_else() -> None:
    reject = {"offset": 1, "key": None, "value": b"{", "cut": False, "error_class": "not_json", "reason": "broken"}
    slice_ = replace(piece(record(1)), rejects=pa.Table.from_pylist([reject], schema=REJECTS), next_offset=2)
    found = micro_batch({0: slice_}, EMPTY).progress
    assert (found.records, found.rejects, found.duplicates, found.offsets) == (1, 1, 0, {0: 2, 1: 0})


def test_heartbeats_close_slots_of_their_partition_and_source() -> None:
    beats = [heartbeat(1, hour=0), heartbeat(2, hour=1), heartbeat(4, hour=5), heartbeat(9, hour=3, source="s2")]
    first = micro_batch({0: piece(*beats)}, EMPTY)
    assert first.progress.closed == {0: {SOURCE: hours((0, 2), (5, 6)), "s2": hours((3, 4))}}
    second = micro_batch({0: piece(heartbeat(3, hour=2), heartbeat(5, hour=2), first=4)}, first.progress)
    assert second.progress.closed[0][SOURCE] == hours((0, 3), (5, 6))
    assert second.progress.duplicates == 1


def test_the_first_source_of_a_month_is_active_until_a_replacement() -> None:
    first = micro_batch({0: piece(record(1)), 1: piece(heartbeat(1, source="s2"))}, EMPTY)
    key = f"{WIKI}/{MONTH}"
    assert first.progress.active == {key: ActiveSource(SOURCE, -1)}
    assert first.progress.months == {SOURCE: (WIKI, MONTH), "s2": (WIKI, MONTH)}
    second = micro_batch({0: piece(replacement("s2"), record(1, source="s2"), first=1)}, first.progress)
    assert second.progress.active == {key: ActiveSource("s2", 1)}


def test_an_older_replacement_does_not_bring_an_older_source_back() -> None:
    before = replace(EMPTY, active={f"{WIKI}/{MONTH}": ActiveSource("s3", 50)})
    found = micro_batch({0: piece(replacement("s2"), first=20)}, before)
    assert found.progress.active == before.active


def test_records_before_the_kept_rows_count_in_the_totals_only() -> None:
    before = replace(EMPTY, months={SOURCE: (WIKI, MONTH)}, rows_from={SOURCE: START + timedelta(hours=2)})
    found = rows_of(micro_batch({0: piece(record(1, hour=1, clicks=3), record(2, hour=2, clicks=4))}, before))
    assert sum(v[0] for v in found["live_totals"].values()) == 7
    for view in ("live_pairs", "live_articles", "live_classes"):
        assert [v[0] for v in found[view].values()] == [4]


def test_rows_of_a_source_seen_first_are_kept_from_the_months_start() -> None:
    found = micro_batch({0: piece(record(1, hour=30))}, EMPTY)
    assert found.progress.rows_from == {SOURCE: START}


def test_nothing_new_is_a_batch_without_rows() -> None:
    found = micro_batch({0: piece()}, EMPTY)
    assert found.pairs.num_rows == found.totals.num_rows == 0
    assert found.progress == replace(EMPTY, batch_id=1, closed={0: {}})


RECORD = st.tuples(
    st.integers(0, 5),
    st.sampled_from(["other-search", "other-google", "Zagreb", "Split", "other-", "NaN"]),
    st.sampled_from(["Zagreb", "Split", "NaN", "A/B"]),
    st.sampled_from(["link", "external", "other", "redlink"]),
    st.integers(1, 9),
    st.integers(0, 2),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(RECORD, max_size=25), st.lists(st.tuples(st.integers(0, 1), st.integers(1, 6)), max_size=5))
def test_any_way_of_cutting_the_log_into_batches_gives_the_same_rows(
    drawn: list[tuple[Any, ...]], cuts: list[tuple[int, int]]
) -> None:
    made: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for place, (hour, referrer, article, link_type, clicks, back) in enumerate(drawn):
        seq = place - back  # sometimes one that has been
        fields = {"referrer": referrer, "article": article, "link_type": link_type, "clicks": clicks}
        made[place % 2].append(record(seq, hour=hour, **fields))
    progress, batches = EMPTY, []
    ends = {partition: len(rows) for partition, rows in made.items()}
    for partition, size in [*cuts, (0, 100), (1, 100)]:
        start = progress.offsets[partition]
        taken = made[partition][start : start + size]
        batches.append(micro_batch({partition: piece(*taken, first=start)}, progress))
        progress = batches[-1].progress
    assert progress.offsets == ends
    accepted = []
    for partition, rows in made.items():
        last = -1
        for row in rows:
            if row["seq"] > last:
                last = row["seq"]
                accepted.append(row | {"partition": partition})
    assert rows_of(*batches) == expected_rows(accepted, SOURCE, START)
    assert progress.records == len(accepted)
    assert progress.records + progress.duplicates == len(drawn)
